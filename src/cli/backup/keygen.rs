//! `ows backup keygen`. The secret half is shown where it was asked for and nowhere else: in the file, or on standard
//! output when no file was named.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chrono::Utc;
use ows::backup::seal::{NewKey, keygen};
use ows::error::{Failure, Outcome};
use secrecy::{ExposeSecret, SecretString};

use super::super::output::{Answer, Output};
use super::super::text::sanitise;
use super::args::KeygenArgs;

pub fn run(arguments: &KeygenArgs, output: &Output, answer: &mut Answer) -> Outcome<()> {
    let key = keygen(Utc::now());
    let Some(path) = &arguments.output else {
        return print(&key, output, answer);
    };
    write(path, &key.identity)?;
    let shown = path.display().to_string();
    let sheet = sheet(&key, &format!("in the file {shown}"), &shown);
    output.line(&format!("identity:   `{}`", sanitise(&shown)));
    output.line(&format!("recipient:  {}\n", key.recipient));
    for line in sheet.lines() {
        output.line(&sanitise(line));
    }
    tell(&key, sheet, answer);
    answer.set("path", shown);
    Ok(())
}

/// All of it on standard output, as one text that is an identity file too: the sheet is in its comments.
fn print(key: &NewKey, output: &Output, answer: &mut Answer) -> Outcome<()> {
    let sheet = sheet(key, "above, the line AGE-SECRET-KEY-1...", "identity.txt");
    if is_open_to_others() {
        let warning = "standard output is a file that others on this host can read: `chmod 600` it, or use `--output \
                       FILE`, which does so by itself";
        output.warning(warning);
        answer.report.warnings.push(warning.to_owned());
    }
    output.verbatim(key.identity.expose_secret());
    output.verbatim("#\n");
    for line in sheet.lines() {
        output.verbatim(&format!("{}\n", format!("# {line}").trim_end()));
    }
    tell(key, sheet, answer);
    let secret = key.identity.expose_secret().lines();
    answer.set(
        "identity",
        secret
            .filter(|line| !line.starts_with('#'))
            .collect::<String>(),
    );
    Ok(())
}

fn tell(key: &NewKey, sheet: String, answer: &mut Answer) {
    answer.set("recipient", key.recipient.as_str());
    answer.set("fingerprint", key.fingerprint.as_str());
    answer.set("sheet", sheet);
}

/// What a person keeps beside the key, on paper.
fn sheet(key: &NewKey, place: &str, file: &str) -> String {
    let NewKey {
        recipient,
        fingerprint,
        ..
    } = key;
    format!(
        "RECOVERY SHEET of `ows backup`

Public key:   {recipient}
Fingerprint:  {fingerprint} (manifests of snapshots name it)
Secret key:   {place}

Whoever has the secret key can read every snapshot made for the public key.
Whoever has lost it can read none; nobody can help, nor can the storage provider.
Keep it in two places, away from the host that makes the backups and from the
storage: in a password manager, and on paper, with the line AGE-SECRET-KEY-1...

To encrypt with it, on the host that makes the backups:
  backup: {{ encrypt: true, recipients: [\"{recipient}\"] }}

To restore, on any host that has the secret key in the file {file}:
  backup: {{ identities: [\"{file}\"] }}
  ows backup list
  ows backup restore --to DIR

To restore without `ows`, with `age` and `tar`; RECOVER.txt beside the snapshots
tells it word for word:
  age -d -i {file} ows-....tar.gz.age | tar -xzpf -
"
    )
}

fn write(path: &Path, text: &SecretString) -> Outcome<()> {
    let failed = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::AlreadyExists {
            "what is there is never overwritten, it may be the only key to your snapshots; give another name"
        } else {
            "no key was made; check the folder, then run again"
        };
        Failure::failed("could not write the identity")
            .with_path(path.display().to_string())
            .with_source(error)
            .with_hint(hint)
    };
    // Only a name that is free, and no link either: with one, the key would be where nobody looks for it.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let written = file
        .write_all(text.expose_secret().as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| flush_folder(path));
    written.map_err(|error| {
        // Half a key is none. Should it stay all the same, the next try says that the name is taken.
        drop(std::fs::remove_file(path));
        failed(error)
    })
}

/// So that the name survives a power failure, too.
fn flush_folder(path: &Path) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Whether standard output is a file that more than its owner can read.
fn is_open_to_others() -> bool {
    use rustix::fs::{FileType, fstat};
    fstat(std::io::stdout()).is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            && found.st_mode & 0o077 != 0
    })
}
