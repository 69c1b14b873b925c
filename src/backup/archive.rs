//! Writes what a scan finds as tar, one volume at a time.
//!
//! **The archive is never corrupt, whatever the files do.** A header's size comes from the open file, and exactly so many
//! bytes follow. Up to 1 MiB of a file is read before its header is written: what changes until then is read again, twice
//! at most, and is then stored as what was read last, with the class `changed`. A longer file whose header is written
//!
//! - is cut where its header says when it grew, and filled up with zeros when it shrank: class `changed`;
//! - is filled up with zeros behind an error of reading: class `unreadable`. The index marks the entry, and so no reader
//!   takes the zeros for content, though their hash is right.
//!
//! What gave way to a link is stored as that link; to anything else, it has vanished. SQLite databases are stored as
//! consistent copies (`database`), and what lies beside a copied one is part of the copy.
//!
//! A file with several names is stored once per volume, so that each volume opens by itself; its further names are hard
//! links to the first. Only to one that was stored without any problem.
//!
//! Memory: a buffer of 1 MiB; the first names of files with more names than were met so far, up to 32 MiB. Files beyond that
//! are stored under each of their names.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use ows_providers::folder::{Identity, Kind, Stat, name};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::database::{MAGIC, SMALLEST};
use super::entry::{ArchivePath, Digest, EntryKind, Place as Position, SnapshotEntry};
use super::header::{BLOCK, Head};
use super::manifest::ProblemClass;
use super::scan::{Found, FoundKind, Place, is_gone, look_twice};

/// How much of a file is read before its header is written, and at a time.
const CHUNK: usize = 1 << 20;

/// How often a file is begun.
const ATTEMPTS: usize = 3;

/// How many bytes of first names are kept.
const MOST_LINKS: usize = 32 << 20;

/// What became of something that was found.
#[derive(Debug)]
pub enum Appended {
    /// It is in the archive; its `problem` says when it is not what stood on the disk.
    Stored(SnapshotEntry),
    /// It is not in the archive.
    Left(ProblemClass),
    /// It is one of the files beside a database whose content is in the database's copy. Nothing is missing.
    Folded,
}

/// Writes one volume's tar.
pub struct Archive<W: Write> {
    output: W,
    position: u64,
    volume: u32,
    buffer: Vec<u8>,
    links: FirstNames,
    observer: Option<Observer>,
}

/// Where the storing of a file is; for tests, which then change the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before it is opened.
    Open,
    /// Before so many of its bytes have been read.
    Read(u64),
    /// Before its attributes are looked at again.
    Check,
}

/// Called at each moment. An error stands for one of the file.
type Observer = Box<dyn FnMut(Moment) -> io::Result<()> + Send>;

/// A file whose header can be written.
enum Begun {
    /// The buffer holds all of it.
    Whole {
        stat: Stat,
        length: usize,
        problem: Option<ProblemClass>,
    },
    /// The buffer holds its beginning.
    Long {
        file: File,
        stat: Stat,
        problem: Option<ProblemClass>,
    },
    /// A consistent copy of the database that it is; the buffer holds nothing.
    Copied {
        file: File,
        stat: Stat,
        size: u64,
        problem: Option<ProblemClass>,
    },
    /// It is a link now.
    Link(Stat),
}

impl<W: Write> Archive<W> {
    /// Begins the tar of `volume`, from 1.
    pub fn new(output: W, volume: u32) -> Self {
        Self {
            output,
            position: 0,
            volume,
            buffer: vec![0; CHUNK],
            links: FirstNames::default(),
            observer: None,
        }
    }

    /// Adds what was found.
    ///
    /// # Errors
    /// Those of the output alone; after one the archive is useless. What cannot be read is told in the answer.
    pub fn append(&mut self, found: &Found) -> io::Result<Appended> {
        let Some(place) = &found.place else {
            return Ok(Appended::Left(match found.kind {
                FoundKind::Lost(class) => class,
                _ => ProblemClass::Unreadable,
            }));
        };
        match found.kind {
            FoundKind::Lost(class) => Ok(Appended::Left(class)),
            FoundKind::Dir { unreadable } => {
                let mut entry = entry(found, place, &place.stat, EntryKind::Dir);
                entry.problem = unreadable.then_some(ProblemClass::Unreadable);
                self.without_content(entry)
            }
            FoundKind::Symlink => self.symlink(found, place, &place.stat),
            FoundKind::File => self.file(found, place),
        }
    }

    /// How many bytes of tar were written.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Writes the end of the archive. Without it the archive reads as cut off.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.write(&[0; 2 * BLOCK])?;
        Ok(self.output)
    }

    fn symlink(&mut self, found: &Found, place: &Place, stat: &Stat) -> io::Result<Appended> {
        match rustix::fs::readlinkat(&*place.dir, &place.name, Vec::new()) {
            Ok(target) => {
                let target = target.into_bytes();
                self.without_content(entry(found, place, stat, EntryKind::Symlink { target }))
            }
            // It is no link any more.
            Err(rustix::io::Errno::INVAL) => Ok(Appended::Left(ProblemClass::Vanished)),
            Err(error) => Ok(Appended::Left(class_of(&error.into()))),
        }
    }

    fn file(&mut self, found: &Found, place: &Place) -> io::Result<Appended> {
        if place.shared.is_folded(&found.path) {
            return Ok(Appended::Folded);
        }
        if let Some(to) = self.links.find(&place.stat) {
            return self.without_content(entry(
                found,
                place,
                &place.stat,
                EntryKind::HardLink { to },
            ));
        }
        let begun = match self.begin(found, place) {
            Ok(begun) => begun,
            Err(class) => return Ok(Appended::Left(class)),
        };
        let (stat, stored) = match begun {
            Begun::Link(stat) => return self.symlink(found, place, &stat),
            Begun::Whole {
                stat,
                length,
                problem,
            } => (stat, self.whole(found, place, (stat, length), problem)?),
            Begun::Long {
                file,
                stat,
                problem,
            } => (stat, self.long(found, place, (file, stat), problem)?),
            Begun::Copied {
                mut file,
                stat,
                size,
                problem,
            } => {
                let offset = self.head(&head(found, place, &stat, size))?;
                let (sha256, failed) = self.content(&mut file, 0, size, false)?;
                let kind = self.kind(size, sha256, offset);
                let mut entry = entry(found, place, &stat, kind);
                entry.problem = failed.or(problem);
                (stat, entry)
            }
        };
        if stored.problem.is_none() {
            self.links.note(&stat, &found.path);
        }
        Ok(Appended::Stored(stored))
    }

    /// Opens a file and reads its beginning, again when it changes meanwhile.
    fn begin(&mut self, found: &Found, place: &Place) -> Result<Begun, ProblemClass> {
        let mut attempt = 1;
        loop {
            let is_last = attempt == ATTEMPTS;
            match self.attempt(found, place, is_last) {
                Ok(Some(begun)) => return Ok(begun),
                Err(ProblemClass::Vanished) if !is_last => {}
                Err(class) => return Err(class),
                Ok(None) => {}
            }
            attempt += 1;
        }
    }

    /// `None` when the file changed while it was read; never when this is the last attempt.
    fn attempt(
        &mut self,
        found: &Found,
        place: &Place,
        mut is_last: bool,
    ) -> Result<Option<Begun>, ProblemClass> {
        let opened =
            (self.moment(Moment::Open)).and_then(|()| name::open_regular(&place.dir, &place.name));
        let (mut file, stat) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.instead(place, &error).map(Some),
        };
        let mut problem = None;
        if is_database(&file, &stat) {
            let copied = match &place.shared.spool {
                Some(spool) => spool.copy(place, &stat).map_err(|error| {
                    tracing::warn!(path = %found.path, %error, "a database is stored as it is");
                }),
                None => Err(()),
            };
            if let Ok(copy) = copied {
                place.shared.fold(&found.path);
                return Ok(Some(Begun::Copied {
                    file: copy.file,
                    stat,
                    size: copy.size,
                    problem: (!copy.verified).then_some(ProblemClass::SqliteUnverified),
                }));
            }
            problem = Some(ProblemClass::SqliteUnverified);
            // Another copy would not do better, and waiting for one takes long.
            is_last = true;
        }
        let length = self
            .fill(&mut file)
            .map_err(|error| unreadable(found, &error))?;
        let now = self
            .moment(Moment::Check)
            .and_then(|()| name::fstat(&file))
            .map_err(|error| unreadable(found, &error))?;
        let is_long = length == CHUNK && now.size > CHUNK as u64;
        let agrees = is_long || now.size == length as u64;
        if !(agrees && now.unchanged_since(&stat)) {
            if !is_last {
                return Ok(None);
            }
            problem = problem.or(Some(ProblemClass::Changed));
        }
        Ok(Some(if is_long {
            Begun::Long {
                file,
                stat: now,
                problem,
            }
        } else {
            Begun::Whole {
                stat: now,
                length,
                problem,
            }
        }))
    }

    /// What to do about a file that cannot be opened.
    fn instead(&mut self, place: &Place, error: &io::Error) -> Result<Begun, ProblemClass> {
        let irregular = matches!(
            error.kind(),
            io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput
        );
        if !irregular && !is_gone(error) {
            return Err(ProblemClass::Unreadable);
        }
        match look_twice(&place.dir, &place.name) {
            Ok(Some(stat)) if stat.kind == Kind::Symlink => Ok(Begun::Link(stat)),
            Ok(_) => Err(ProblemClass::Vanished),
            Err(error) => Err(class_of(&error)),
        }
    }

    /// Reads into the buffer, until it is full or the file ends.
    fn fill(&mut self, file: &mut File) -> io::Result<usize> {
        let mut filled = 0;
        while filled < CHUNK {
            self.moment(Moment::Read(filled as u64))?;
            match file.read(&mut self.buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Stores a file that is in the buffer.
    fn whole(
        &mut self,
        found: &Found,
        place: &Place,
        (stat, length): (Stat, usize),
        problem: Option<ProblemClass>,
    ) -> io::Result<SnapshotEntry> {
        let size = length as u64;
        let offset = self.head(&head(found, place, &stat, size))?;
        let sha256 = Digest::of(&self.buffer[..length]);
        self.write_buffer(length)?;
        self.fill_block(size)?;
        let mut entry = entry(found, place, &stat, self.kind(size, sha256, offset));
        entry.problem = problem;
        Ok(entry)
    }

    /// Stores a file whose beginning is in the buffer.
    fn long(
        &mut self,
        found: &Found,
        place: &Place,
        (mut file, stat): (File, Stat),
        problem: Option<ProblemClass>,
    ) -> io::Result<SnapshotEntry> {
        let size = stat.size;
        let offset = self.head(&head(found, place, &stat, size))?;
        let (sha256, failed) = self.content(&mut file, CHUNK, size, true)?;
        let now = self.moment(Moment::Check).and_then(|()| name::fstat(&file));
        let changed = !now.is_ok_and(|now| now.unchanged_since(&stat));
        let mut entry = entry(found, place, &stat, self.kind(size, sha256, offset));
        entry.problem = match failed {
            Some(ProblemClass::Unreadable) => failed,
            _ => problem
                .or(failed)
                .or(changed.then_some(ProblemClass::Changed)),
        };
        Ok(entry)
    }

    /// Writes `size` bytes: the first `begun` of the buffer, then what the file holds, then zeros if that is too little. Tells
    /// why it was, if so.
    fn content(
        &mut self,
        file: &mut File,
        begun: usize,
        size: u64,
        observed: bool,
    ) -> io::Result<(Digest, Option<ProblemClass>)> {
        let mut sha256 = Sha256::new();
        sha256.update(&self.buffer[..begun]);
        self.write_buffer(begun)?;
        let mut done = begun as u64;
        let mut problem = None;
        while done < size {
            let wanted = usize::try_from(size - done).map_or(CHUNK, |left| left.min(CHUNK));
            let read = match observed {
                true => self.moment(Moment::Read(done)),
                false => Ok(()),
            };
            let read = match problem {
                None => read.and_then(|()| file.read(&mut self.buffer[..wanted])),
                Some(_) => Ok(0),
            };
            let count = match read {
                Ok(0) => {
                    problem = problem.or(Some(ProblemClass::Changed));
                    self.buffer[..wanted].fill(0);
                    wanted
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::debug!(%error, "the rest of a file cannot be read");
                    problem = Some(ProblemClass::Unreadable);
                    continue;
                }
            };
            sha256.update(&self.buffer[..count]);
            self.write_buffer(count)?;
            done += count as u64;
        }
        self.fill_block(size)?;
        Ok((Digest(sha256.finalize().into()), problem))
    }

    fn without_content(&mut self, entry: SnapshotEntry) -> io::Result<Appended> {
        let folder = [entry.path.as_bytes(), b"/"].concat();
        let mut head = Head {
            path: entry.path.as_bytes(),
            kind: EntryType::Directory,
            link: &[],
            size: 0,
            mode: entry.mode,
            mtime_ns: entry.mtime_ns,
            uid: entry.uid,
            gid: entry.gid,
            user: entry.user.as_deref().unwrap_or_default(),
            group: entry.group.as_deref().unwrap_or_default(),
        };
        match &entry.kind {
            EntryKind::Dir => head.path = &folder,
            EntryKind::Symlink { target } => {
                head.kind = EntryType::Symlink;
                head.link = target;
            }
            EntryKind::HardLink { to } => {
                head.kind = EntryType::Link;
                head.link = to.as_bytes();
            }
            EntryKind::File { .. } => head.kind = EntryType::Regular,
        }
        self.head(&head)?;
        Ok(Appended::Stored(entry))
    }

    /// Writes a header; the answer is where the content begins.
    fn head(&mut self, head: &Head<'_>) -> io::Result<u64> {
        self.write(&head.blocks())?;
        Ok(self.position)
    }

    fn kind(&self, size: u64, sha256: Digest, offset: u64) -> EntryKind {
        EntryKind::File {
            size,
            sha256,
            place: Position {
                volume: self.volume,
                offset,
            },
        }
    }

    fn fill_block(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if rest > 0 {
            self.write(&[0; BLOCK][rest..])?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn write_buffer(&mut self, length: usize) -> io::Result<()> {
        self.output.write_all(&self.buffer[..length])?;
        self.position += length as u64;
        Ok(())
    }

    fn moment(&mut self, moment: Moment) -> io::Result<()> {
        match &mut self.observer {
            Some(observer) => observer(moment),
            None => Ok(()),
        }
    }
}

/// The first names of files that have more.
#[derive(Default)]
struct FirstNames {
    names: HashMap<Identity, FirstName>,
    bytes: usize,
}

struct FirstName {
    path: ArchivePath,
    stat: Stat,
    /// How many names of it were not met yet, wherever they are.
    left: u64,
}

impl FirstNames {
    /// The first name of this file, when it was stored as it still is.
    fn find(&mut self, stat: &Stat) -> Option<ArchivePath> {
        let first = self.names.get_mut(&stat.identity)?;
        if !stat.same_content_as(&first.stat) {
            return None;
        }
        let path = first.path.clone();
        first.left = first.left.saturating_sub(1);
        if first.left == 0 {
            self.bytes = self.bytes.saturating_sub(cost(&path));
            self.names.remove(&stat.identity);
        }
        Some(path)
    }

    fn note(&mut self, stat: &Stat, path: &ArchivePath) {
        let cost = cost(path);
        if stat.links < 2 || self.bytes + cost > MOST_LINKS {
            return;
        }
        let first = FirstName {
            path: path.clone(),
            stat: *stat,
            left: stat.links - 1,
        };
        match self.names.insert(stat.identity, first) {
            Some(before) => self.bytes = self.bytes.saturating_sub(self::cost(&before.path)) + cost,
            None => self.bytes += cost,
        }
    }
}

fn cost(path: &ArchivePath) -> usize {
    path.as_bytes().len() + size_of::<(Identity, FirstName)>()
}

fn is_database(file: &File, stat: &Stat) -> bool {
    let mut magic = [0; MAGIC.len()];
    stat.size >= SMALLEST && file.read_exact_at(&mut magic, 0).is_ok() && magic == *MAGIC
}

fn class_of(error: &io::Error) -> ProblemClass {
    if is_gone(error) {
        ProblemClass::Vanished
    } else {
        ProblemClass::Unreadable
    }
}

fn unreadable(found: &Found, error: &io::Error) -> ProblemClass {
    tracing::debug!(path = %found.path, %error, "a file cannot be read");
    ProblemClass::Unreadable
}

fn head<'a>(found: &'a Found, place: &'a Place, stat: &Stat, size: u64) -> Head<'a> {
    let owners = &place.shared.owners;
    Head {
        path: found.path.as_bytes(),
        kind: EntryType::Regular,
        link: &[],
        size,
        mode: stat.mode,
        mtime_ns: stat.mtime_ns.into(),
        uid: stat.uid.into(),
        gid: stat.gid.into(),
        user: owners.user(stat.uid).unwrap_or_default(),
        group: owners.group(stat.gid).unwrap_or_default(),
    }
}

fn entry(found: &Found, place: &Place, stat: &Stat, kind: EntryKind) -> SnapshotEntry {
    let owners = &place.shared.owners;
    SnapshotEntry {
        path: found.path.clone(),
        kind,
        mode: stat.mode,
        mtime_ns: stat.mtime_ns.into(),
        uid: stat.uid.into(),
        gid: stat.gid.into(),
        user: owners.user(stat.uid).map(str::to_owned),
        group: owners.group(stat.gid).map(str::to_owned),
        problem: None,
    }
}

#[cfg(test)]
mod tests;
