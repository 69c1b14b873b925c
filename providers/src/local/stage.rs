//! `.ows/tmp`: where files are written before they are put in place.
//!
//! The writer of a file there holds the system's lock on it, which a crash frees; whoever comes next removes the files
//! that nobody holds. A lock on the folder itself keeps conditional changes of several `ows` apart. Both are advice that
//! other programs do not follow, and where a file system has no locks, nothing is swept.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;

use cap_std::fs::Dir;

use crate::RelPath;
use crate::folder::{Found, Kind, Root, Step, Temp, Walk, WalkOptions, name};

/// The folder at the root that belongs to `ows`.
pub(super) const OWN_FOLDER: &str = ".ows";

/// Files that are being written, below [`OWN_FOLDER`].
pub(super) const TMP: &str = "tmp";

/// So often is a name tried anew when a sweep was faster than the lock.
const ATTEMPTS: usize = 16;

/// The folder `.ows/tmp`.
pub(super) struct Stage {
    pub(super) dir: Dir,
}

/// Holds the lock on the stage while it lives.
pub(super) struct StageLock {
    _file: Option<File>,
}

impl Stage {
    /// Opens the folder, creating it where it is missing. Nobody else may read what is half-written there.
    pub(super) fn open(root: &Root) -> io::Result<Self> {
        let own = root.make_folder(Some(&own_path(OWN_FOLDER)?))?;
        match rustix::fs::mkdirat(&own, TMP, rustix::fs::Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            dir: name::open_dir(&own, OsStr::new(TMP))?,
        })
    }

    /// Waits until no other `ows` is in the middle of a conditional change.
    pub(super) fn lock(&self) -> io::Result<StageLock> {
        // A handle of its own: the lock belongs to the handle, and copies of one handle would share it.
        let handle = rustix::fs::openat(
            &self.dir,
            ".",
            rustix::fs::OFlags::RDONLY
                | rustix::fs::OFlags::DIRECTORY
                | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let file = File::from(handle);
        match file.lock() {
            Ok(()) => Ok(StageLock { _file: Some(file) }),
            Err(error) => {
                tracing::debug!(%error, "the remote folder's file system has no locks");
                Ok(StageLock { _file: None })
            }
        }
    }

    /// A new file, locked.
    pub(super) fn create(&self) -> io::Result<Temp> {
        for _ in 0..ATTEMPTS {
            let temp = Temp::create(self.dir.try_clone()?, random_name(), false)?;
            match temp.file().try_lock() {
                // A sweep holds it and is about to remove it.
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    tracing::debug!(%error, "the remote folder's file system has no locks");
                    return Ok(temp);
                }
                Ok(()) => {}
            }
            if name::fstat(temp.file())?.links > 0 {
                return Ok(temp);
            }
        }
        Err(io::Error::other(
            "temporary files are removed as fast as they are made",
        ))
    }

    /// Removes what writers that are dead left behind.
    pub(super) fn sweep(&self, root: &Root) -> io::Result<()> {
        // What a conditional change has put here for a moment bears no lock of its own.
        let _lock = self.lock()?;
        let below = own_path(&format!("{OWN_FOLDER}/{TMP}"))?;
        let options = WalkOptions {
            below: Some(below),
            shallow: true,
            ..WalkOptions::default()
        };
        for step in Walk::new(root, options)? {
            if let Step::Found(Found { path, stat }) = step
                && stat.kind == Kind::File
                && is_ours(path.name())
            {
                self.sweep_one(OsStr::new(path.name()))?;
            }
        }
        Ok(())
    }

    fn sweep_one(&self, last: &OsStr) -> io::Result<()> {
        let file = match name::open_regular(&self.dir, last) {
            Ok((file, _)) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return Ok(()),
        }
        match name::unlink(&self.dir, last) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A name for a file on the stage: 32 hexadecimal digits.
pub(super) fn random_name() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Files with other names were put there by a person, or are kept for one.
fn is_ours(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn own_path(text: &str) -> io::Result<RelPath> {
    RelPath::new(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
