//! The folder that is restored into: whether it may be, what it was before, and where goes what is replaced in it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use chrono::{DateTime, Utc};

use super::extract::PARTIAL;
use crate::error::{Failure, Outcome};

/// Whether the target holds nothing; refuses one that does, unless it may be overwritten.
pub(super) fn look_at(target: &Path, may_overwrite: bool) -> Outcome<bool> {
    let shown = target.display();
    let empty = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            return Err(Failure::usage(format!("cannot restore into `{shown}`")).with_source(error));
        }
    };
    if empty || may_overwrite {
        return Ok(empty);
    }
    let partial = fs::symlink_metadata(target.join(PARTIAL)).is_ok();
    let state = match partial {
        true => "holds an earlier restore that did not end well",
        false => "is not empty",
    };
    Err(
        Failure::usage(format!("`{shown}` {state}; nothing was restored")).with_hint(format!(
            "choose another folder with --to, or use --overwrite, which moves what it replaces aside to \
             `{shown}.replaced-<time>`"
        )),
    )
}

/// Makes the folder, for us alone, and what lies above it.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// A new folder for what is replaced in `target`, open as `dir`.
///
/// # Errors
/// When there can be none, or nothing could be moved into it: each path that is in the way would fail by itself.
pub(super) fn aside_for(target: &Path, dir: &Dir, now: DateTime<Utc>) -> Outcome<(PathBuf, Dir)> {
    let shown = target.display();
    let (path, aside) = make_aside(target, now).map_err(|error| {
        Failure::failed(format!("could not make a folder beside `{shown}`")).with_source(error)
    })?;
    if can_move(dir, &aside) {
        return Ok((path, aside));
    }
    if let Err(error) = fs::remove_dir(&path) {
        tracing::warn!(path = %path.display(), %error, "an empty folder stays");
    }
    Err(Failure::usage(format!(
        "`{shown}` is a mount of its own, so that what is replaced in it cannot be moved aside; nothing was restored"
    ))
    .with_hint("restore into another folder with --to, and take from there what you need"))
}

/// Whether files can be moved between the two: not over the border of a mount, which is told before it is looked for the
/// file. There is none of this name.
fn can_move(from: &Dir, to: &Dir) -> bool {
    let name = format!(".ows-{:032x}", rand::random::<u128>());
    let moved = rustix::fs::renameat(from, &name, to, &name);
    moved != Err(rustix::io::Errno::XDEV)
}

/// A new folder beside the target, for what is replaced.
fn make_aside(target: &Path, now: DateTime<Utc>) -> io::Result<(PathBuf, Dir)> {
    // A target like `..` has no name that something could be put beside.
    let target = fs::canonicalize(target)?;
    let mut number = 1;
    loop {
        let mut name = target.clone().into_os_string();
        name.push(format!(".replaced-{}", now.format("%Y%m%dT%H%M%SZ")));
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let path = PathBuf::from(name);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {
                let dir = Dir::open_ambient_dir(&path, ambient_authority())?;
                return Ok((path, dir));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 100 => {
                number += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Removes a new target that holds the mark of a partial restore and nothing else.
pub(super) fn is_taken_back(target: &Path) -> bool {
    let is_mark = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_str() == Some(PARTIAL))
    };
    fs::read_dir(target).is_ok_and(|mut entries| entries.all(is_mark))
        && match fs::remove_file(target.join(PARTIAL)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => false,
            _ => fs::remove_dir(target).is_ok(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_of_its_own_is_told_from_folders_of_one_mount() {
        let place = tempfile::tempdir().expect("a folder");
        let open = |path: &Path| Dir::open_ambient_dir(path, ambient_authority()).expect("opens");
        fs::create_dir(place.path().join("target")).expect("a folder");
        fs::create_dir(place.path().join("aside")).expect("a folder");
        let [target, aside] = ["target", "aside"].map(|name| open(&place.path().join(name)));
        assert!(can_move(&target, &aside));
        assert_eq!(aside.entries().expect("a list").count(), 0);
        assert!(!can_move(&open(Path::new("/proc")), &aside));
    }
}
