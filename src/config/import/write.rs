//! Puts the new file in its place: whole or not at all, for its owner alone, and never over one that is there.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::Utc;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use secrecy::{ExposeSecret, SecretString};

use crate::error::{Failure, Outcome};

/// Writes `text` to `target`. The answer is where the file that was there went to.
pub(super) fn write(target: &Path, text: &SecretString, replace: bool) -> Outcome<Option<PathBuf>> {
    let is_there = target.symlink_metadata().is_ok();
    if is_there && !replace {
        return Err(taken(target));
    }
    let failed = |error: std::io::Error| {
        Failure::failed("could not write the configuration")
            .with_path(target.display().to_string())
            .with_source(error)
            .with_hint(
                "nothing was changed; check the permissions and the space of the state directory",
            )
    };
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{:08x}.tmp", rand::random::<u32>()));
    let result = store(&temporary, text)
        .map_err(failed)
        .and_then(|()| put(&temporary, target, is_there));
    if result.is_err() {
        // It holds secrets; that it cannot be removed would be told by the error above already.
        drop(std::fs::remove_file(&temporary));
    }
    let kept = result?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)?;
    Ok(kept)
}

fn store(path: &Path, text: &SecretString) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.expose_secret().as_bytes())?;
    file.sync_all()
}

/// Moves what is there aside first. In the moment between the two there is no file, which stops a run and harms none.
fn put(temporary: &Path, target: &Path, is_there: bool) -> Outcome<Option<PathBuf>> {
    let failed = |error: Errno| {
        Failure::failed("could not put the configuration in its place")
            .with_path(target.display().to_string())
            .with_source(std::io::Error::from(error))
            .with_hint("what was there is beside it, under its name with `.replaced-` and the time, if it was moved")
    };
    let kept = if is_there {
        let time = Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
        Some(move_aside(target, &time).map_err(failed)?)
    } else {
        None
    };
    match rename(temporary, target) {
        Ok(()) => Ok(kept),
        // Somebody was quicker.
        Err(Errno::EXIST) => Err(taken(target)),
        Err(error) => Err(failed(error)),
    }
}

/// Gives the file a name with the time; two in one second get a number.
fn move_aside(target: &Path, time: &str) -> Result<PathBuf, Errno> {
    let mut number = 1;
    loop {
        let mut kept = target.as_os_str().to_owned();
        kept.push(format!(".replaced-{time}"));
        if number > 1 {
            kept.push(format!("-{number}"));
        }
        match rename(target, Path::new(&kept)) {
            Ok(()) => return Ok(kept.into()),
            Err(Errno::EXIST) => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Renames and never replaces, as far as the file system can tell.
fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_ok() => Err(Errno::EXIST),
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(from, to),
        result => result,
    }
}

fn taken(target: &Path) -> Failure {
    Failure::usage(format!("`{}` is there already", target.display())).with_hint(
        "nothing was changed; to see what would be written: `--dry-run`; to move the old file aside and write the new \
         one: `--replace`",
    )
}
