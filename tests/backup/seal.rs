//! The ordinary tools open what `ows` seals, and `ows` restores what they packed.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use ows::backup::manifest::{Encryption, Totals};
use ows::backup::name::Part;
use ows::backup::seal::{Keys, Seal};
use ows_testkit::peers;
use secrecy::ExposeSecret as _;

use super::archives::{Key, Reader, make, members, name, sealed, stored_as};

fn peer(name: &str) -> Option<PathBuf> {
    peers::find(&format!("OWS_{}", name.to_uppercase()), name)
}

fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    feed.join().unwrap().unwrap();
    output.stdout
}

fn key_file(folder: &Path, key: &Key) -> PathBuf {
    let file = folder.join("key.txt");
    std::fs::write(&file, key.identity.to_string().expose_secret()).unwrap();
    file
}

#[test]
fn age_opens_what_ows_seals_and_the_other_way_round() {
    let Some(age) = peer("age") else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = Key::new();
    let identity = key_file(folder.path(), &key);
    let plain: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let opened = run(
        Command::new(&age).arg("-d").arg("-i").arg(&identity),
        &sealed(&key.seal, &plain),
    );
    assert!(opened == plain, "age reads something else");
    let recipient = key.identity.to_public().to_string();
    let object = run(Command::new(&age).args(["-r", &recipient]), &plain);
    let keys = Keys::new(None, vec![key.identity]);
    let mut opened = Vec::new();
    keys.open(object.as_slice())
        .unwrap()
        .read_to_end(&mut opened)
        .unwrap();
    assert!(opened == plain, "ows reads something else");
}

#[test]
fn age_opens_with_a_passphrase_what_ows_seals_with_it() {
    let (Some(age), Some(python)) = (peer("age"), peer("python3")) else {
        return;
    };
    // age asks on the terminal and nowhere else.
    const TYPIST: &str = r#"
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
os.read(terminal, 1024)
os.write(terminal, sys.argv[1].encode() + b"\n")
try:
    while os.read(terminal, 1024):
        pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("object"), folder.path().join("plain"));
    let seal = Seal::Passphrase("correct horse battery staple".into());
    std::fs::write(&from, sealed(&seal, b"a snapshot")).unwrap();
    run(
        Command::new(python)
            .args(["-c", TYPIST, "correct horse battery staple"])
            .arg(age)
            .args(["-d", "-o"])
            .args([&to, &from]),
        b"",
    );
    assert_eq!(std::fs::read(to).unwrap(), b"a snapshot");
}

#[test]
fn age_and_tar_alone_restore_a_snapshot() {
    let (Some(age), Some(tar)) = (peer("age"), peer("tar")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let key = Key::new();
    let identity = key_file(folder.path(), &key);
    let made = make(name(), &key.seal, &[members()]);
    let opened = run(
        Command::new(&age).arg("-d").arg("-i").arg(&identity),
        &made.objects[&made.manifest.volumes[0].object.name],
    );
    let listed = run(Command::new(tar).arg("tz"), &opened);
    assert_eq!(
        String::from_utf8(listed).unwrap().lines().count(),
        members().len()
    );
    // The index too is there for the ordinary tools.
    let index = run(
        Command::new(&age).arg("-d").arg("-i").arg(&identity),
        &made.objects[&made.manifest.index.name],
    );
    let mut lines = String::new();
    GzDecoder::new(index.as_slice())
        .read_to_string(&mut lines)
        .unwrap();
    assert_eq!(lines.lines().count(), members().len() + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tar_and_age_packed_restores() {
    let (Some(age), Some(tar)) = (peer("age"), peer("tar")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path().join("workspace");
    std::fs::create_dir_all(workspace.join("deep")).unwrap();
    std::fs::write(workspace.join("deep/a.md"), b"by hand").unwrap();
    let long = "long".repeat(50);
    std::fs::write(workspace.join(&long), b"a long name").unwrap();
    let packed = run(
        Command::new(tar)
            .arg("cz")
            .arg("-C")
            .arg(folder.path())
            .arg("workspace"),
        b"",
    );
    let key = Key::new();
    let recipient = key.identity.to_public().to_string();
    let object = run(Command::new(age).args(["-r", &recipient]), &packed);

    let reader = Reader::with_key(&key);
    let mut manifest = make(name(), &key.seal, &[members()]).manifest;
    let data = name().object(Part::Data {
        volume: None,
        encrypted: true,
    });
    manifest.volumes[0].object = stored_as(&data, &object);
    manifest.totals = Totals {
        files: 10,
        bytes: 1000,
        ..Totals::default()
    };
    assert!(matches!(manifest.encryption, Encryption::Recipients { .. }));
    reader.store.insert(&data, &object);
    let path = name().object(Part::Manifest);
    reader.store.insert(&path, &manifest.write().unwrap());
    let restored = reader.restore(reader.options(&[])).await.unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    assert_eq!(restored.done.unproven, 2);
    let found = reader.found();
    assert_eq!(found["workspace/deep/a.md"], b"by hand");
    assert_eq!(found[&format!("workspace/{long}")], b"a long name");
}
