//! Writing a file aside and putting it in place.
//!
//! At every instant the path holds its old content or its new one, and what gives way is in the trash before it is out of
//! sight: the new file takes the place in the trash that the old one is meant for, and then the two trade places in one
//! step. What comes out of that step is looked at again, and when it is not what was expected, they trade back. Where the
//! file system cannot let names trade places, the old file moves to the trash first and the new one follows; a crash in
//! between leaves the old content in the trash.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use cap_std::fs::Dir;
use md5::{Digest as _, Md5};
use ows_providers::RelPath;
use ows_providers::folder::{Kind, Ownership, Stat, Temp, name, now_ns};

use super::error::Context;
use super::trash::Slot;
use super::walk::temp_name;
use super::{
    LocalError, LocalErrorKind, LocalFolder, OpenedFile, ReplicaId, fingerprint, refuse_own,
};
use crate::tree::LocalFingerprint;

const DOING: &str = "write";

/// Lets two names trade places; `false` where the file system cannot.
type Exchange = fn((&Dir, &OsStr), (&Dir, &OsStr)) -> io::Result<bool>;

/// What must be at a path when it is written or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// The file that was observed.
    Exactly(LocalFingerprint),
}

/// What becomes of content that gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Displace {
    /// It goes to the trash of the run.
    Trash,
    /// It is gone. Only for content that the remote is known to hold: it is hashed once more right before it gives way
    /// when the fingerprint has a hash; without one it must be [trusted](LocalFingerprint::trusted).
    Drop,
}

/// How to put a file in place.
#[derive(Debug, Clone)]
pub struct Commit<'run> {
    /// What must be there.
    pub expect: Expect,
    /// What becomes of it.
    pub displaced: Displace,
    /// The name of the run, under which displaced content is kept.
    pub run: &'run str,
    /// The modification time that the file gets, in nanoseconds since the epoch; that of writing when `None`.
    pub mtime_ns: Option<i64>,
}

/// A file that was put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The file as it is now, with its hash.
    pub fingerprint: LocalFingerprint,
    /// Where in the folder the displaced content lies now.
    pub displaced: Option<RelPath>,
    /// The file has the owner that it should have; false when the system would not give it to us.
    pub owner_kept: bool,
    /// The file that gave way had other names as well; those still lead to the old content.
    pub broke_hard_link: bool,
}

/// Length and hashes of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3.
    pub blake3: [u8; 32],
    /// MD5.
    pub md5: [u8; 16],
}

/// A file that is being written beside its destination. Dropping it removes it.
#[derive(Debug)]
pub struct TempFile {
    folder: LocalFolder,
    dest: RelPath,
    temp: Temp,
    size: u64,
    blake3: blake3::Hasher,
    md5: Md5,
    exchange: Exchange,
    /// The file that this is a copy of: it gets the same mode and owner.
    like: Option<Stat>,
}

impl LocalFolder {
    /// Begins a file that is to be put at `dest`, in the folder of `dest`, which is created where it is missing.
    ///
    /// # Errors
    /// [`LocalErrorKind::Exists`] when a file is where a folder must be, [`LocalErrorKind::Link`] when a link is, and
    /// what the system says.
    pub fn new_file(&self, dest: &RelPath, replica: &ReplicaId) -> Result<TempFile, LocalError> {
        self.begin(dest, replica, None)
    }

    /// Begins a copy of a file, which gets that file's mode and owner: a copy of what is private is private.
    ///
    /// # Errors
    /// As [`LocalFolder::new_file`].
    pub fn new_copy(
        &self,
        dest: &RelPath,
        replica: &ReplicaId,
        source: &OpenedFile,
    ) -> Result<TempFile, LocalError> {
        self.begin(dest, replica, Some(*source.stat()))
    }

    fn begin(
        &self,
        dest: &RelPath,
        replica: &ReplicaId,
        like: Option<Stat>,
    ) -> Result<TempFile, LocalError> {
        refuse_own(dest, DOING)?;
        let create = || -> io::Result<Temp> {
            let (dir, last) = self.root.make_parent(dest)?;
            // Until it is sealed nobody else may read what may replace a file with narrower rights.
            let private = like.is_some() || name::lstat(&dir, last)?.is_some();
            Temp::create(dir, temp_name(replica), private)
        };
        Ok(TempFile {
            folder: self.clone(),
            dest: dest.clone(),
            temp: create().at(DOING, dest)?,
            size: 0,
            blake3: blake3::Hasher::new(),
            md5: Md5::new(),
            exchange: name::exchange,
            like,
        })
    }
}

impl Write for TempFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let length = self.temp.file().write(buffer)?;
        self.size += length as u64;
        self.blake3.update(&buffer[..length]);
        self.md5.update(&buffer[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temp.file().flush()
    }
}

impl TempFile {
    /// Length and hashes of what was written so far; for checking it before it is put in place.
    pub fn digest(&self) -> Digest {
        Digest {
            size: self.size,
            blake3: *self.blake3.finalize().as_bytes(),
            md5: self.md5.clone().finalize().into(),
        }
    }

    /// Makes the content durable and puts the file in place, if what is there is still what was observed. On an error
    /// the destination is as it was, and the temporary file is gone.
    ///
    /// An existing file keeps mode and owner; a new one gets 0666 less the umask, and as root its folder's owner.
    ///
    /// # Errors
    /// [`LocalErrorKind::Changed`], [`LocalErrorKind::Exists`] or [`LocalErrorKind::NotFound`] when the destination is
    /// not as expected, [`LocalErrorKind::InUse`] when it is a live database, and what the system says.
    pub fn commit(self, options: &Commit<'_>) -> Result<Placed, LocalError> {
        let dest = self.dest.clone();
        let folder = self.folder.clone();
        let (dir, last) = folder.root.parent(&dest).at(DOING, &dest)?;
        let same_folder = || -> io::Result<bool> {
            let written = name::fstat(self.temp.place().0)?;
            Ok(name::fstat(&dir)?.identity == written.identity)
        };
        if !same_folder().at(DOING, &dest)? {
            return Err(self.error(LocalErrorKind::Changed));
        }
        let there = self.check(&dir, last, &options.expect)?;
        let owner_kept = self
            .temp
            .seal(
                Ownership::of(there.as_ref().or(self.like.as_ref())),
                options.mtime_ns,
                &dir,
            )
            .at(DOING, &dest)?;
        let written = name::fstat(self.temp.file()).at(DOING, &dest)?;
        let blake3 = self.digest().blake3;
        let (file, displaced) = match (&options.expect, there) {
            (Expect::Exactly(expected), Some(old)) => {
                self.prove(expected, options.displaced)?;
                // Sealing and hashing take their time: look again right before the act.
                self.check(&dir, last, &options.expect)?;
                self.replace(&dir, last, &old, options)?
            }
            _ => (self.temp.place_new(&dir, last).at(DOING, &dest)?, None),
        };
        name::sync_dir(&dir).at(DOING, &dest)?;
        let observed_at_ns = now_ns();
        let placed = name::fstat(&file).at(DOING, &dest)?;
        Ok(Placed {
            fingerprint: LocalFingerprint {
                // Length and time are those that we gave it: a program that has written to it since must show up as a
                // change.
                size: written.size,
                mtime_ns: written.mtime_ns,
                blake3: Some(blake3),
                ..fingerprint(&placed, observed_at_ns)
            },
            displaced,
            owner_kept,
            broke_hard_link: there.is_some_and(|old| old.links > 1),
        })
    }

    /// What is at the destination, if it is as expected.
    fn check(&self, dir: &Dir, last: &OsStr, expect: &Expect) -> Result<Option<Stat>, LocalError> {
        let there = name::lstat(dir, last).at(DOING, &self.dest)?;
        match (expect, there) {
            (Expect::Absent, None) => Ok(None),
            (Expect::Absent, Some(_)) => Err(self.error(LocalErrorKind::Exists)),
            (Expect::Exactly(_), None) => Err(self.error(LocalErrorKind::NotFound)),
            (Expect::Exactly(expected), Some(stat)) if is_exactly(&stat, expected) => {
                Ok(Some(stat))
            }
            (Expect::Exactly(_), Some(_)) => Err(self.error(LocalErrorKind::Changed)),
        }
    }

    fn prove(&self, expected: &LocalFingerprint, displaced: Displace) -> Result<(), LocalError> {
        if self.folder.is_live_database(&self.dest)? {
            return Err(self.error(LocalErrorKind::InUse));
        }
        prove_content(&self.folder, &self.dest, expected, displaced, DOING)
    }

    fn replace(
        mut self,
        dir: &Dir,
        last: &OsStr,
        old: &Stat,
        options: &Commit<'_>,
    ) -> Result<(std::fs::File, Option<RelPath>), LocalError> {
        let home: OsString = self.temp.place().1.to_owned();
        let slot = self.folder.free_slot(options.run, &self.dest)?;
        let slot_dir = slot.dir.try_clone().at(DOING, &self.dest)?;
        self.temp
            .move_to(slot_dir, &slot.name)
            .at(DOING, &self.dest)?;
        let swapped =
            (self.exchange)((&slot.dir, &slot.name), (dir, last)).at(DOING, &self.dest)?;
        let file = if swapped {
            self.after_exchange(dir, last, old, &slot)?
        } else {
            let home_dir = dir.try_clone().at(DOING, &self.dest)?;
            self.temp.move_to(home_dir, &home).at(DOING, &self.dest)?;
            self.replace_in_two_steps(dir, last, old, &slot)?
        };
        Ok((file, slot.settle(options.displaced)?))
    }

    /// The names have traded places: what lies in the trash now must be what was expected to give way.
    fn after_exchange(
        &mut self,
        dir: &Dir,
        last: &OsStr,
        old: &Stat,
        slot: &Slot,
    ) -> Result<std::fs::File, LocalError> {
        // From here on the temporary name holds a person's content and must not be removed with this value.
        let file = self.temp.forget().at(DOING, &self.dest)?;
        let out = name::lstat(&slot.dir, &slot.name).at(DOING, &self.dest)?;
        if out.is_some_and(|out| out.same_content_as(old)) {
            return Ok(file);
        }
        let changed = self.error(LocalErrorKind::Changed);
        match name::exchange((&slot.dir, &slot.name), (dir, last)) {
            Ok(true) => {
                let ours = name::fstat(&file).at(DOING, &self.dest)?;
                let back = name::lstat(&slot.dir, &slot.name).at(DOING, &self.dest)?;
                if back.is_some_and(|back| back.identity == ours.identity) {
                    name::unlink(&slot.dir, &slot.name).at(DOING, &self.dest)?;
                }
            }
            // The destination is gone already: what was taken out goes back, or stays in the trash.
            Ok(false) | Err(_) => {
                name::rename_noreplace((&slot.dir, &slot.name), (dir, last))
                    .at(DOING, &self.dest)?;
            }
        }
        Err(changed)
    }

    fn replace_in_two_steps(
        self,
        dir: &Dir,
        last: &OsStr,
        old: &Stat,
        slot: &Slot,
    ) -> Result<std::fs::File, LocalError> {
        let dest = self.dest.clone();
        let changed = self.error(LocalErrorKind::Changed);
        slot.take(dir, last, old)
            .at(DOING, &dest)?
            .then_some(())
            .ok_or(changed)?;
        match self.temp.place_new(dir, last) {
            Ok(file) => Ok(file),
            Err(error) => {
                // Someone else's file at the destination stays; the old one is safe in the trash then.
                if error.kind() != io::ErrorKind::AlreadyExists {
                    slot.put_back(dir, last).at(DOING, &dest)?;
                }
                Err(LocalError::io(DOING, &dest, error))
            }
        }
    }

    fn error(&self, kind: LocalErrorKind) -> LocalError {
        LocalError::new(kind, DOING, &self.dest)
    }

    /// Pretends that the file system cannot let names trade places.
    #[cfg(test)]
    pub(super) fn without_exchange(mut self) -> Self {
        self.exchange = |_, _| Ok(false);
        self
    }

    /// Runs `meddle` in place of the exchange, which then takes place.
    #[cfg(test)]
    pub(super) fn with_exchange(mut self, exchange: Exchange) -> Self {
        self.exchange = exchange;
        self
    }
}

/// Whether a regular file is, by its attributes, the one that was observed.
pub(super) fn is_exactly(stat: &Stat, expected: &LocalFingerprint) -> bool {
    stat.kind == Kind::File && fingerprint(stat, 0).same_attributes(expected)
}

/// Content that will be gone for good must be what it is taken for; see [`Displace::Drop`].
pub(super) fn prove_content(
    folder: &LocalFolder,
    path: &RelPath,
    expected: &LocalFingerprint,
    displaced: Displace,
    doing: &'static str,
) -> Result<(), LocalError> {
    let proven = match (displaced, expected.blake3) {
        (Displace::Trash, _) => true,
        (Displace::Drop, Some(blake3)) => folder.hash(path)?.fingerprint.blake3 == Some(blake3),
        (Displace::Drop, None) => expected.trusted(),
    };
    if proven {
        return Ok(());
    }
    Err(LocalError::new(LocalErrorKind::Changed, doing, path))
}
