//! The handle on one root, and the way from it to a path below.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::name;
use super::stat::{Identity, Stat};
use crate::RelPath;

/// A folder that is held open; everything below it is reached through this handle, one name at a time.
///
/// The handle keeps pointing at the folder that was opened, also when its path is given to another one.
#[derive(Debug)]
pub struct Root {
    dir: Dir,
    path: PathBuf,
}

impl Root {
    /// Opens an existing folder. Links in `path` itself are followed: who configures the root vouches for it.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            dir: open_ambient(path)?,
            path: path.to_owned(),
        })
    }

    /// Opens a folder and creates it, and those above it, where they are missing.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn create(path: &Path) -> io::Result<Self> {
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
            .collect();
        std::fs::create_dir_all(path)?;
        for created in missing {
            let parent = match created.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            name::sync_dir(&open_ambient(parent)?)?;
        }
        Self::open(path)
    }

    /// The path it was opened by; for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The handle.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Which folder it is.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn identity(&self) -> io::Result<Identity> {
        Ok(name::fstat(&self.dir)?.identity)
    }

    /// Opens a folder below the root, or the root itself for `None`.
    ///
    /// # Errors
    /// `ELOOP` when a symbolic link lies on the way ([`is_link_error`]), `ENOTDIR` when a file does, and what the
    /// system gives.
    pub fn folder(&self, path: Option<&RelPath>) -> io::Result<Dir> {
        let mut current = None;
        for segment in path.iter().flat_map(|path| path.segments()) {
            let next = name::open_dir(current.as_ref().unwrap_or(&self.dir), segment.as_ref())?;
            current = Some(next);
        }
        match current {
            Some(dir) => Ok(dir),
            None => self.dir.try_clone(),
        }
    }

    /// Opens the folder that holds `path`; the answer's second half is the name in it.
    ///
    /// # Errors
    /// As for [`Root::folder`].
    pub fn parent<'path>(&self, path: &'path RelPath) -> io::Result<(Dir, &'path OsStr)> {
        let dir = self.folder(path.parent().as_ref())?;
        Ok((dir, OsStr::new(path.name())))
    }

    /// Opens a folder below the root, creating it and those above it where they are missing. Each new folder is durable
    /// before the next is made; as root it gets the owner of the folder around it.
    ///
    /// # Errors
    /// As for [`Root::folder`].
    pub fn make_folder(&self, path: Option<&RelPath>) -> io::Result<Dir> {
        let mut current = self.dir.try_clone()?;
        for segment in path.iter().flat_map(|path| path.segments()) {
            current = open_or_make(&current, segment.as_ref())?;
        }
        Ok(current)
    }

    /// [`Root::parent`] that creates missing folders.
    ///
    /// # Errors
    /// As for [`Root::folder`].
    pub fn make_parent<'path>(&self, path: &'path RelPath) -> io::Result<(Dir, &'path OsStr)> {
        let dir = self.make_folder(path.parent().as_ref())?;
        Ok((dir, OsStr::new(path.name())))
    }

    /// What is at `path`, or `None` when nothing is, also because a folder above is missing or a file stands there.
    ///
    /// # Errors
    /// As for [`Root::folder`]: a symbolic link above the path is an error, since what lies behind is unknown.
    pub fn lstat(&self, path: &RelPath) -> io::Result<Option<Stat>> {
        match self.parent(path) {
            Ok((dir, last)) => name::lstat(&dir, last),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// As for [`name::open_regular`].
    pub fn open_regular(&self, path: &RelPath) -> io::Result<(File, Stat)> {
        match self.parent(path) {
            Ok((dir, last)) => name::open_regular(&dir, last),
            Err(error) if is_absence(&error) => Err(io::ErrorKind::NotFound.into()),
            Err(error) => Err(error),
        }
    }

    /// Bytes that this process may still write to the file system.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn free_space(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Opens a folder by its path. Not with cap-std's own function: its handles can neither be listed nor flushed (`O_PATH`).
pub(super) fn open_ambient(path: &Path) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(path, flags, Mode::empty())?;
    Ok(Dir::from_std_file(File::from(handle)))
}

/// Whether an error says that a symbolic link was met where none is followed.
pub fn is_link_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Nothing can be at a path below what is missing or is a file.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn open_or_make(parent: &Dir, segment: &OsStr) -> io::Result<Dir> {
    match name::open_dir(parent, segment) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    match name::make_dir(parent, segment) {
        // Someone else was faster: it is there, which is all that counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return name::open_dir(parent, segment);
        }
        other => other?,
    }
    let made = name::open_dir(parent, segment)?;
    if rustix::process::geteuid().is_root() {
        let around = name::fstat(parent)?;
        super::temp::set_owner(&made, around.uid, around.gid)?;
    }
    name::sync_dir(parent)?;
    Ok(made)
}
