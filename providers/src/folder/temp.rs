//! A file that is written aside and then put in place, whole and durable.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use cap_std::fs::Dir;
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;

use super::name;
use super::stat::Stat;

/// Bits that a file's new content may inherit. Set-user-id and set-group-id stay behind: content from elsewhere must not
/// run with another person's rights. (The kernel drops them at a write, too.)
const KEPT_MODE: u32 = 0o1777;

/// What the name of a file that [`default_mode`] makes for a moment ends with, after the name that it was given.
pub const MODE_PROBE: &str = "m";

/// Mode and owner of a finished file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Those of the file that gives way.
    Keep {
        /// Permission bits.
        mode: u32,
        /// The owner's number.
        uid: u32,
        /// The group's number.
        gid: u32,
    },
    /// 0666 less the umask; as root the owner of the folder around it.
    New,
}

impl Ownership {
    /// Those of the file that is there, or those of a new one.
    pub fn of(replaced: Option<&Stat>) -> Self {
        match replaced {
            Some(stat) => Self::Keep {
                mode: stat.mode,
                uid: stat.uid,
                gid: stat.gid,
            },
            None => Self::New,
        }
    }
}

/// A temporary file. Dropping it removes it, unless it was put in place.
#[derive(Debug)]
pub struct Temp {
    dir: Dir,
    name: OsString,
    file: File,
    private: bool,
    kept: bool,
}

impl Temp {
    /// Creates a file `name` in `dir`. `private`: readable for nobody else until it is sealed, for content that may
    /// replace a file with narrower rights than a new one would get.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn create(dir: Dir, name: impl Into<OsString>, private: bool) -> io::Result<Self> {
        let name = name.into();
        let file = name::create_new(&dir, &name, if private { 0o600 } else { 0o666 })?;
        Ok(Self {
            dir,
            name,
            file,
            private,
            kept: false,
        })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The folder and the name in it where the file lies now.
    pub fn place(&self) -> (&Dir, &OsStr) {
        (&self.dir, &self.name)
    }

    /// Gives the file its mode, owner and modification time, and makes its content durable. `folder` is the one that it
    /// will lie in. `false` when the system
    /// would not give it its owner; everything else is done then.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn seal(
        &self,
        ownership: Ownership,
        mtime_ns: Option<i64>,
        folder: &Dir,
    ) -> io::Result<bool> {
        let mut owned = true;
        match ownership {
            Ownership::Keep { mode, uid, gid } => {
                // Owner before mode: a change of owner takes bits of the mode away.
                owned = set_owner(&self.file, uid, gid)?;
                rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & KEPT_MODE))?;
            }
            Ownership::New => {
                if rustix::process::geteuid().is_root() {
                    let around = name::fstat(folder)?;
                    owned = set_owner(&self.file, around.uid, around.gid)?;
                }
                if self.private {
                    let mode = default_mode(folder, &self.name)?;
                    rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?;
                }
            }
        }
        if let Some(mtime_ns) = mtime_ns {
            name::set_mtime(&self.file, mtime_ns)?;
        }
        self.file.sync_all()?;
        Ok(owned)
    }

    /// Moves the file to a name that must be free. It stays temporary: dropping it still removes it.
    ///
    /// # Errors
    /// `AlreadyExists`, and what the system gives.
    pub fn move_to(&mut self, dir: Dir, name: &OsStr) -> io::Result<()> {
        name::rename_noreplace((&self.dir, &self.name), (&dir, name))?;
        self.dir = dir;
        self.name = name.to_owned();
        Ok(())
    }

    /// Puts the file at a name that must be free, for good.
    ///
    /// # Errors
    /// `AlreadyExists`, and what the system gives; the file is removed then.
    pub fn place_new(mut self, dir: &Dir, name: &OsStr) -> io::Result<File> {
        name::rename_noreplace((&self.dir, &self.name), (dir, name))?;
        self.forget()
    }

    /// Puts the file at a name, replacing what is there, for good.
    ///
    /// # Errors
    /// As the system gives them; the file is removed then.
    pub fn place_over(mut self, dir: &Dir, name: &OsStr) -> io::Result<File> {
        name::rename((&self.dir, &self.name), (dir, name))?;
        self.forget()
    }

    /// Lets the name be: what lies there now is no longer this temporary file.
    ///
    /// # Errors
    /// When the open file cannot be handed out a second time.
    pub fn forget(&mut self) -> io::Result<File> {
        self.kept = true;
        self.file.try_clone()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = name::unlink(&self.dir, &self.name)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(name = %self.name.display(), %error, "a temporary file could not be removed");
        }
    }
}

/// The mode of a new file in this folder, found by making one: reading the umask means setting it, which other threads
/// would notice, and a folder's default access list may change the outcome.
///
/// # Errors
/// As the system gives them.
pub fn default_mode(dir: &Dir, beside: &OsStr) -> io::Result<u32> {
    let mut probe = beside.to_owned();
    probe.push(MODE_PROBE);
    let file = name::create_new(dir, &probe, 0o666)?;
    let stat = name::fstat(&file);
    name::unlink(dir, &probe)?;
    Ok(stat?.mode)
}

/// Sets owner and group. `false` when this process may not do that or the file system has no owners.
pub(super) fn set_owner(file: impl AsFd, uid: u32, gid: u32) -> io::Result<bool> {
    let now = name::fstat(file.as_fd())?;
    if (now.uid, now.gid) == (uid, gid) {
        return Ok(true);
    }
    match rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
        Ok(()) => Ok(true),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
