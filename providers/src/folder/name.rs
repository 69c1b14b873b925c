//! Calls on one name in one folder. A name is a single path segment; nothing here follows a symbolic link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::stat::{Kind, Stat};

/// What the name stands for, or `None` when there is nothing.
///
/// # Errors
/// As the system gives them; a missing name is none.
pub fn lstat(dir: &Dir, name: &OsStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(raw) => Ok(Some(Stat::from(&raw))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The attributes of what is open.
///
/// # Errors
/// As the system gives them.
pub fn fstat(file: impl AsFd) -> io::Result<Stat> {
    Ok(Stat::from(&rustix::fs::fstat(file)?))
}

/// Opens a folder.
///
/// # Errors
/// `ELOOP` for a symbolic link, `ENOTDIR` for anything else that is no folder, and what the system gives.
pub fn open_dir(dir: &Dir, name: &OsStr) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(handle) => Ok(Dir::from_std_file(File::from(handle))),
        // Linux answers ENOTDIR for a link here, other systems ELOOP: callers must be able to tell.
        Err(Errno::NOTDIR) => match lstat(dir, name)? {
            Some(stat) if stat.kind == Kind::Symlink => Err(Errno::LOOP.into()),
            _ => Err(Errno::NOTDIR.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Opens a regular file for reading, without ever opening anything else: a pipe would hang or disturb its writer, and
/// opening a device may act. The answer's attributes belong to what was opened.
///
/// # Errors
/// `NotFound`, `ELOOP` for a symbolic link, `EISDIR` for a folder, `InvalidInput` for other kinds, and what the system
/// gives.
pub fn open_regular(dir: &Dir, name: &OsStr) -> io::Result<(File, Stat)> {
    let seen = lstat(dir, name)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    refuse_irregular(&seen)?;
    // The name may have been given to something else since: O_NONBLOCK keeps a pipe from hanging, and the kind is
    // looked at again.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    let stat = fstat(&file)?;
    refuse_irregular(&stat)?;
    Ok((file, stat))
}

/// Fails unless the attributes are those of a regular file.
///
/// # Errors
/// As for [`open_regular`].
pub fn refuse_irregular(stat: &Stat) -> io::Result<()> {
    match stat.kind {
        Kind::File => Ok(()),
        Kind::Symlink => Err(Errno::LOOP.into()),
        Kind::Dir => Err(Errno::ISDIR.into()),
        other => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("it is a {}", other.describe()),
        )),
    }
}

/// Creates a file that must not be there, open for reading and writing. `mode` is reduced by the umask.
///
/// # Errors
/// `AlreadyExists`, and what the system gives.
pub fn create_new(dir: &Dir, name: &OsStr, mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?;
    Ok(File::from(handle))
}

/// Creates a folder with 0777 less the umask.
///
/// # Errors
/// `AlreadyExists`, and what the system gives.
pub fn make_dir(dir: &Dir, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o777))?)
}

/// Removes a name that is no folder.
///
/// # Errors
/// As the system gives them.
pub fn unlink(dir: &Dir, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
}

/// Removes an empty folder.
///
/// # Errors
/// `DirectoryNotEmpty`, and what the system gives.
pub fn remove_dir(dir: &Dir, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// Renames, replacing what is at the new name.
///
/// # Errors
/// As the system gives them.
pub fn rename(from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> io::Result<()> {
    Ok(rustix::fs::renameat(from.0, from.1, to.0, to.1)?)
}

/// Renames unless something is at the new name, in one step where the file system can do it.
///
/// Where it cannot, a file is given its new name as a hard link and then loses the old one, which is as good. Without
/// hard links either, and for folders, it is a look and then a rename: what appears between the two is replaced.
///
/// # Errors
/// `AlreadyExists`, and what the system gives.
pub fn rename_noreplace(from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> io::Result<()> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        Err(error) if is_unsupported(error) => rename_noreplace_by_link(from, to),
        other => Ok(other?),
    }
}

/// [`rename_noreplace`] for file systems that cannot do it in one step.
pub(super) fn rename_noreplace_by_link(from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> io::Result<()> {
    match rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty()) {
        Ok(()) => unlink(from.0, from.1),
        Err(Errno::EXIST) => Err(Errno::EXIST.into()),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
            if lstat(to.0, to.1)?.is_some() {
                return Err(Errno::EXIST.into());
            }
            rename(from, to)
        }
        Err(error) => Err(error.into()),
    }
}

/// Lets two names trade places in one step. `false` where the file system cannot do it; nothing has changed then.
///
/// # Errors
/// As the system gives them.
pub fn exchange(one: (&Dir, &OsStr), other: (&Dir, &OsStr)) -> io::Result<bool> {
    match rustix::fs::renameat_with(one.0, one.1, other.0, other.1, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(error) if is_unsupported(error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes what was created, renamed or removed in a folder last through a loss of power.
///
/// # Errors
/// As the system gives them. File systems that cannot flush a folder are none.
pub fn sync_dir(dir: &Dir) -> io::Result<()> {
    match rustix::fs::fsync(dir) {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

/// Sets the modification time, in nanoseconds since the epoch, and leaves the access time alone.
///
/// # Errors
/// As the system gives them.
pub fn set_mtime(file: &File, mtime_ns: i64) -> io::Result<()> {
    let nanoseconds = mtime_ns.rem_euclid(1_000_000_000);
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: nanoseconds,
        },
    };
    Ok(rustix::fs::futimens(file, &times)?)
}

fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}
