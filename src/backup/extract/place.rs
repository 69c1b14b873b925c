//! The places beneath the target: every way to them leads over folders that are opened one by one, never through a link.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};

use crate::backup::entry::ArchivePath;

/// How deep a path may lead. Ordinary tools take 4,095 bytes of path, and each folder costs a call for each way to it.
const MOST_SEGMENTS: usize = 1024;

/// How many folders are kept open. Of those that lie deeper, the way is walked again from the last one of these.
const MOST_OPEN: usize = 64;

/// What the mark of a partial restore says.
const MARK: &[u8] =
    b"This folder is not, or not wholly, restored: what is missing or wrong was reported by ows.\n";

/// Why a member gets no place.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// This run already made something there.
    #[error("the archive has it twice, or two names that are one here; the first one stays")]
    Twice,
    /// Something from before is there.
    #[error("something else is there already, and stays")]
    InTheWay,
    /// A folder on the way to it is none.
    #[error("a folder on the way to it is a file or a link, which is not followed")]
    NoFolder,
    /// More folders above it than anybody has.
    #[error("it lies more than {MOST_SEGMENTS} folders deep")]
    TooDeep,
    /// A hard link to what this run did not make.
    #[error("the file that it is another name of was not restored")]
    NoSource,
    /// The system refuses.
    #[error("the system reported an error ({0})")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for Refusal {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

/// What this run made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// A file or a link.
    Leaf,
    /// A folder that the archive has.
    Dir,
    /// A folder that it has not named so far, on the way to something.
    Way,
}

/// The target, and what this run made in it, by device and inode: that also tells names that the file system takes for
/// one.
pub(super) struct Places<'a> {
    target: &'a Dir,
    aside: Option<Dir>,
    made: HashMap<(u64, u64), Made>,
    /// The folders on the way to the last one that was used; members mostly come folder by folder.
    way: Vec<(ArchivePath, Dir)>,
}

impl<'a> Places<'a> {
    pub(super) fn new(target: &'a Dir, aside: Option<Dir>) -> Self {
        Self {
            target,
            aside,
            made: HashMap::new(),
            way: Vec::new(),
        }
    }

    /// Makes the file that marks the target as partial, unless an earlier run left one; whether it is new. What has its name
    /// and is not ours is the user's: it is moved aside like anything else in the way.
    pub(super) fn mark(&mut self, mark: &ArchivePath) -> io::Result<bool> {
        if self.is_marked(mark)? {
            return Ok(false);
        }
        let mut file = self.file(mark).map_err(|refusal| match refusal {
            Refusal::Io(error) => error,
            other => io::Error::other(other),
        })?;
        // It is no member of the archive, and goes: nothing is to become another name of it.
        let metadata = rustix::fs::fstat(&file)?;
        self.made.remove(&(metadata.st_dev, metadata.st_ino));
        file.write_all(MARK)?;
        Ok(true)
    }

    /// Whether a mark is there. Nothing else is opened: a fifo would wait for a writer.
    fn is_marked(&mut self, mark: &ArchivePath) -> io::Result<bool> {
        let length = MARK.len() as u64;
        match self.target.symlink_metadata(name(mark)) {
            Ok(metadata) if metadata.is_file() && metadata.len() == length => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        let mut text = Vec::new();
        self.open_file(mark)?
            .take(length + 1)
            .read_to_end(&mut text)?;
        Ok(text == MARK)
    }

    pub(super) fn unmark(&self, name: &str) -> io::Result<()> {
        self.target.remove_file(name)
    }

    /// Creates a new file.
    pub(super) fn file(&mut self, path: &ArchivePath) -> Result<File, Refusal> {
        let parent = self.parent(path)?;
        let name = name(path);
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .follow(FollowSymlinks::No);
        let file = match parent.open_with(name, &options) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.make_way(&parent, path)?;
                parent.open_with(name, &options)?
            }
            other => other?,
        };
        let metadata = file.metadata()?;
        self.made
            .insert((metadata.dev(), metadata.ino()), Made::Leaf);
        Ok(file.into_std())
    }

    /// Opens a file that this run made.
    pub(super) fn open_file(&mut self, path: &ArchivePath) -> io::Result<File> {
        let parent = self.parent(path).map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .follow(FollowSymlinks::No)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let file = parent.open_with(name(path), &options)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        Ok(file.into_std())
    }

    /// Removes a file that this run made.
    pub(super) fn remove_file(&mut self, path: &ArchivePath) -> io::Result<()> {
        let parent = self.parent(path).map_err(io::Error::other)?;
        let metadata = parent.symlink_metadata(name(path))?;
        self.made.remove(&(metadata.dev(), metadata.ino()));
        parent.remove_file(name(path))
    }

    /// Makes a folder, or takes the one that is there. `false` when the archive had it before.
    pub(super) fn dir(&mut self, path: &ArchivePath) -> Result<bool, Refusal> {
        let parent = self.parent(path)?;
        self.step(&parent, path)?;
        let metadata = parent.symlink_metadata(name(path))?;
        let before = self
            .made
            .insert((metadata.dev(), metadata.ino()), Made::Dir);
        Ok(before != Some(Made::Dir))
    }

    /// Makes a symbolic link that says `target`.
    pub(super) fn symlink(
        &mut self,
        path: &ArchivePath,
        target: &[u8],
        mtime_ns: i128,
    ) -> Result<(), Refusal> {
        let parent = self.parent(path)?;
        let target = OsStr::from_bytes(target);
        // Not cap-std: it refuses absolute targets. Nothing here is followed, neither the parent nor the new link.
        match rustix::fs::symlinkat(target, &parent, name(path)) {
            Err(rustix::io::Errno::EXIST) => {
                self.make_way(&parent, path)?;
                rustix::fs::symlinkat(target, &parent, name(path))?;
            }
            other => other?,
        }
        self.note_leaf(&parent, path)?;
        rustix::fs::utimensat(
            &parent,
            name(path),
            &times(mtime_ns),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        Ok(())
    }

    /// Makes another name of `to`, which this run must have made: else a mode set later would reach beyond the archive.
    pub(super) fn hard_link(
        &mut self,
        path: &ArchivePath,
        to: &ArchivePath,
    ) -> Result<(), Refusal> {
        let source = self.existing_parent(to).map_err(|_| Refusal::NoSource)?;
        let metadata = source
            .symlink_metadata(name(to))
            .map_err(|_| Refusal::NoSource)?;
        if self.made.get(&(metadata.dev(), metadata.ino())) != Some(&Made::Leaf) {
            return Err(Refusal::NoSource);
        }
        let parent = self.parent(path)?;
        let link = || rustix::fs::linkat(&source, name(to), &parent, name(path), AtFlags::empty());
        match link() {
            Err(rustix::io::Errno::EXIST) => {
                self.make_way(&parent, path)?;
                Ok(link()?)
            }
            other => Ok(other?),
        }
    }

    /// Sets mode and time of a folder.
    pub(super) fn finish_dir(
        &mut self,
        path: &ArchivePath,
        mode: u32,
        mtime_ns: i128,
    ) -> Result<(), Refusal> {
        let parent = self.existing_parent(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&parent, name(path), flags, Mode::empty())?;
        Ok(set_attributes(dir, mode, mtime_ns)?)
    }

    fn note_leaf(&mut self, parent: &Dir, path: &ArchivePath) -> io::Result<()> {
        let metadata = parent.symlink_metadata(name(path))?;
        self.made
            .insert((metadata.dev(), metadata.ino()), Made::Leaf);
        Ok(())
    }

    /// The folder that holds `path`, made where it is missing. [`MOST_SEGMENTS`] bounds the recursion.
    fn parent(&mut self, path: &ArchivePath) -> Result<Dir, Refusal> {
        let Some(parent) = path.parent() else {
            return Ok(self.target.try_clone()?);
        };
        while let Some((last, dir)) = self.way.last() {
            if *last == parent {
                return Ok(dir.try_clone()?);
            }
            if parent.is_within(last) {
                break;
            }
            self.way.pop();
        }
        if path.segments().count() > MOST_SEGMENTS {
            return Err(Refusal::TooDeep);
        }
        let dir = self.parent(&parent)?;
        let dir = self.step(&dir, &parent)?;
        if self.way.len() < MOST_OPEN {
            self.way.push((parent, dir.try_clone()?));
        }
        Ok(dir)
    }

    /// The folder that holds `path`; none is made.
    fn existing_parent(&self, path: &ArchivePath) -> io::Result<Dir> {
        let mut dir = self.target.try_clone()?;
        if let Some(parent) = path.parent() {
            for segment in parent.segments() {
                dir = dir.open_dir_nofollow(OsStr::from_bytes(segment))?;
            }
        }
        Ok(dir)
    }

    /// Opens the folder `path` in its `parent`, or makes it, for us alone until the end.
    fn step(&mut self, parent: &Dir, path: &ArchivePath) -> Result<Dir, Refusal> {
        let name = name(path);
        match parent.symlink_metadata(name) {
            Ok(metadata) if metadata.is_dir() => {
                // From here on it holds what this run makes: it is not moved aside any more.
                self.made
                    .entry((metadata.dev(), metadata.ino()))
                    .or_insert(Made::Way);
                return Ok(parent.open_dir_nofollow(name)?);
            }
            Ok(_) => self
                .make_way(parent, path)
                .map_err(|refusal| match refusal {
                    Refusal::InTheWay => Refusal::NoFolder,
                    other => other,
                })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        parent.create_dir_with(name, &builder)?;
        let metadata = parent.symlink_metadata(name)?;
        self.made
            .insert((metadata.dev(), metadata.ino()), Made::Way);
        Ok(parent.open_dir_nofollow(name)?)
    }

    /// Moves what is at `path` aside, when it is from before this run and there is a place for it.
    fn make_way(&mut self, parent: &Dir, path: &ArchivePath) -> Result<(), Refusal> {
        let metadata = parent.symlink_metadata(name(path))?;
        if self.made.contains_key(&(metadata.dev(), metadata.ino())) {
            return Err(Refusal::Twice);
        }
        let Some(aside) = &self.aside else {
            return Err(Refusal::InTheWay);
        };
        let mut folder = aside.try_clone()?;
        if let Some(above) = path.parent() {
            for segment in above.segments() {
                let segment = OsStr::from_bytes(segment);
                match folder.create_dir(segment) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error.into());
                    }
                    _ => folder = folder.open_dir_nofollow(segment)?,
                }
            }
        }
        // A rename onto a file would replace it; the folder aside is new, so something there is our own doing.
        if folder.symlink_metadata(name(path)).is_ok() {
            return Err(Refusal::InTheWay);
        }
        Ok(parent.rename(name(path), &folder, name(path))?)
    }
}

/// Sets permission bits and time of an open file or folder.
pub(super) fn set_attributes(file: impl AsFd, mode: u32, mtime_ns: i128) -> io::Result<()> {
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(rustix::fs::futimens(&file, &times(mtime_ns))?)
}

/// Times that file systems do not know become the nearest that they may.
fn times(mtime_ns: i128) -> Timestamps {
    let seconds = i64::try_from(mtime_ns.div_euclid(1_000_000_000));
    let nanoseconds = i64::try_from(mtime_ns.rem_euclid(1_000_000_000)).unwrap_or_default();
    let time = Timespec {
        tv_sec: seconds.unwrap_or(if mtime_ns < 0 { i64::MIN } else { i64::MAX }),
        tv_nsec: nanoseconds,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn name(path: &ArchivePath) -> &OsStr {
    OsStr::from_bytes(path.name())
}
