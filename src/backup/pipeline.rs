//! Writes the data and the index of a snapshot: what the scan finds goes through tar, gzip and age into objects, in one pass,
//! without a temporary file, in constant memory.
//!
//! ```text
//! scan -> archive -> gzip ==> seal -> SHA-256 and length -> object of the volume
//!            |         `- restart points
//!            `- entries -> index -> gzip -> seal -> SHA-256 and length -> object of the index
//! ```
//!
//! All of it blocks. `==>` goes over to threads of its own (`gzip`); the rest of the first line is on one of
//! those, and everything else on the thread that calls [`write()`]. A sink that is slow stops the scan. Memory is
//!
//! ```text
//! gzip::memory(threads) + 8 B * MiB of tar in a volume + 3 MiB + what the scan, the archive and the sink hold
//! ```
//!
//! (3 MiB: a line of the index and its compressor, the chunks of age, the names of problems.)
//! With a passphrase, scrypt takes 128 MiB more for a moment when an object is begun; the first line's memory is free then.
//!
//! # Volumes
//! With a volume size each volume is an object of its own: a whole archive in a whole gzip member in a whole age file. An
//! entry is never split, so a volume is about so long: one that holds several entries is not longer, and one that holds a
//! single file may be. The same tree gives the same volumes on the same number of threads.
//!
//! # What is left when it fails
//! Nothing that could be taken for a snapshot: there is no manifest. The object that was being written is dropped without
//! being finished and never becomes visible, like the index; volumes that were finished before stay, and are for the caller
//! to remove, by the snapshot's name. Objects are finished only after everything that leads to them has ended without an
//! error; the last volume and the index only when both are written.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::archive::{Appended, Archive};
use super::entry::{ArchivePath, Digest, EntryKind, RestartPoints, SnapshotEntry};
use super::gzip::ParallelGzip;
use super::index::IndexWriter;
use super::manifest::{MOST_NAMES, Problem, ProblemClass, StoredObject, Totals, Volume};
use super::name::{MOST_VOLUMES, Part, SnapshotName};
use super::scan::{Found, LeftOut, Scan};
use super::seal::{Seal, Sealed};
use super::sink::{ObjectSink, ObjectWriter};
use crate::cancel::Cancel;
use crate::secret_names::{SecretFiles, looks_secret};

/// How often progress is told: after so many bytes of tar, or so many paths.
const TELL_BYTES: u64 = 1 << 20;
const TELL_PATHS: u64 = 256;

/// What a volume grows by beside the content of its entries and gzip: headers of tar and the header of age.
const HEADROOM: u64 = 64 << 10;

/// What a snapshot is written with.
#[derive(Debug, Clone, Copy)]
pub struct PipelineOptions {
    /// Its name, which names its objects.
    pub snapshot: SnapshotName,
    /// The gzip level, 0 (store everything) to 9.
    pub level: u8,
    /// On how many threads to compress; see [`default_threads`](super::gzip::default_threads).
    pub threads: usize,
    /// About how many bytes a volume has; `None` for a single one, whose name has no number.
    pub volume_size: Option<u64>,
}

/// How far the writing has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Paths that the scan found.
    pub paths: u64,
    /// Bytes of tar.
    pub bytes: u64,
}

/// What was written: all that the manifest says of the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The volumes, in order; at least one.
    pub volumes: Vec<Volume>,
    /// The index.
    pub index: StoredObject,
    /// What the snapshot holds.
    pub totals: Totals,
    /// What it does not hold as it was, by class.
    pub problems: Vec<Problem>,
    /// What was left out on purpose.
    pub left_out: LeftOut,
    /// Files in it whose names say that they hold secrets.
    pub secrets: SecretFiles,
}

/// Why nothing was written that counts.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The run was stopped.
    #[error("the run was stopped")]
    Stopped,
    /// An object could not be written.
    #[error("`{object}` could not be written")]
    Object {
        /// Its name.
        object: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes what `scan` finds as the data and the index of a snapshot, and finishes the objects. Blocks until it has ended.
/// `progress` is called on this thread, now and then and at the end.
///
/// When the run is stopped it ends at the next write, and a write into the sink that is under way is waited for: the
/// sink has to end it.
pub fn write(
    mut scan: Scan,
    seal: &Seal,
    sink: &dyn ObjectSink,
    options: &PipelineOptions,
    progress: &dyn Fn(Progress),
    cancel: &Cancel,
) -> Result<Written, WriteError> {
    let meter = Meter::new(progress, cancel);
    let output = Output {
        seal,
        sink,
        options,
        meter: &meter,
    };
    let written = output.write(&mut scan);
    if cancel.is_stopped() && written.is_err() {
        return Err(WriteError::Stopped);
    }
    let (volumes, index, tally) = written?;
    meter.tell();
    Ok(Written {
        volumes,
        index,
        totals: tally.totals,
        problems: tally.problems.into_values().collect(),
        left_out: scan.left_out().clone(),
        secrets: tally.secrets,
    })
}

/// Where the objects of one snapshot go.
struct Output<'a> {
    seal: &'a Seal,
    sink: &'a dyn ObjectSink,
    options: &'a PipelineOptions,
    meter: &'a Meter<'a>,
}

/// An object on its way: named, so that an error can say which one it was.
struct Named<T> {
    name: String,
    inner: T,
}

impl<T> Named<T> {
    fn new(name: String, made: io::Result<T>) -> Result<Self, WriteError> {
        match made {
            Ok(inner) => Ok(Self { name, inner }),
            Err(source) => Err(WriteError::Object {
                object: name,
                source,
            }),
        }
    }

    /// Goes on with what `next` makes of it.
    fn then<U>(self, next: impl FnOnce(T) -> io::Result<U>) -> Result<Named<U>, WriteError> {
        Named::new(self.name, next(self.inner))
    }

    /// Does something with it.
    fn with<U>(&mut self, act: impl FnOnce(&mut T) -> io::Result<U>) -> Result<U, WriteError> {
        act(&mut self.inner).map_err(|source| WriteError::Object {
            object: self.name.clone(),
            source,
        })
    }
}

type Index = Named<IndexWriter<Sealed<Hashed>>>;

/// A volume that is being written.
struct OpenVolume<'a> {
    number: u32,
    is_empty: bool,
    archive: Named<Archive<Watched<'a>>>,
}

/// A volume all of whose bytes are with the sink.
struct ClosedVolume {
    object: Named<Hashed>,
    tar_size: u64,
    points: RestartPoints,
}

impl<'a> Output<'a> {
    fn write(&self, scan: &mut Scan) -> Result<(Vec<Volume>, StoredObject, Tally), WriteError> {
        let mut tally = Tally::default();
        let mut volumes = Vec::new();
        let mut index = self.begin_index()?;
        let mut volume = self.begin_volume(1)?;
        for found in scan {
            if self.is_full(&volume, &found) {
                let number = volume.number + 1;
                let closed = volume.close()?;
                index.with(|index| index.blocks(number - 1, &closed.points))?;
                volumes.push(closed.finish()?);
                volume = self.begin_volume(number)?;
            }
            self.meter.path();
            match volume.archive.with(|archive| archive.append(&found))? {
                Appended::Stored(entry) => {
                    volume.is_empty = false;
                    tally.stored(&entry);
                    index.with(|index| index.entry(&entry))?;
                }
                Appended::Left(class) => tally.problem(class, &found.path),
                Appended::Folded => {}
            }
        }
        let number = volume.number;
        let closed = volume.close()?;
        index.with(|index| index.blocks(number, &closed.points))?;
        let index = index.then(IndexWriter::finish)?.then(Sealed::finish)?;
        // A stop that came while nothing was written counts as well.
        self.meter.check().map_err(|_| WriteError::Stopped)?;
        volumes.push(closed.finish()?);
        Ok((volumes, finish(index)?, tally))
    }

    fn begin_index(&self) -> Result<Index, WriteError> {
        let part = Part::Index {
            encrypted: self.seal.is_on(),
        };
        self.begin(part)?
            .then(|sealed| IndexWriter::new(sealed, self.options.snapshot))
    }

    fn begin_volume(&self, number: u32) -> Result<OpenVolume<'a>, WriteError> {
        let part = Part::Data {
            volume: self.options.volume_size.map(|_| number),
            encrypted: self.seal.is_on(),
        };
        let (level, threads) = (self.options.level.into(), self.options.threads);
        let archive = self.begin(part)?.then(|sealed| {
            let gzip = ParallelGzip::new(sealed, level, threads)?;
            let meter = self.meter;
            Ok(Archive::new(Watched { gzip, meter }, number))
        })?;
        Ok(OpenVolume {
            number,
            is_empty: true,
            archive,
        })
    }

    fn begin(&self, part: Part) -> Result<Named<Sealed<Hashed>>, WriteError> {
        let name = self.options.snapshot.object(part);
        let sealed = (self.meter.check())
            .and_then(|()| self.sink.create(&name))
            .and_then(|writer| self.seal.seal(Hashed::new(writer)));
        Named::new(name, sealed)
    }

    /// Whether `next` belongs into another volume. The last number that there is takes all the rest.
    fn is_full(&self, volume: &OpenVolume<'_>, next: &Found) -> bool {
        let Some(limit) = self.options.volume_size else {
            return false;
        };
        // age adds 16 bytes to 64 KiB.
        let compressed = self.meter.compressed.get();
        let longest = [compressed / 4096, next.size(), HEADROOM]
            .into_iter()
            .fold(compressed, u64::saturating_add);
        !volume.is_empty && volume.number < MOST_VOLUMES && longest > limit
    }
}

impl OpenVolume<'_> {
    /// Ends the archive, the gzip member and the seal, each only after the one before it ended well.
    fn close(self) -> Result<ClosedVolume, WriteError> {
        let gzip = self.archive.then(|archive| Ok(archive.finish()?.gzip))?;
        let mut finished = gzip.then(ParallelGzip::finish)?;
        let tar_size = finished.inner.content;
        let points = std::mem::take(&mut finished.inner.points);
        let object = finished.then(|finished| finished.output.finish())?;
        Ok(ClosedVolume {
            object,
            tar_size,
            points,
        })
    }
}

impl ClosedVolume {
    /// Makes the object visible.
    fn finish(self) -> Result<Volume, WriteError> {
        Ok(Volume {
            object: finish(self.object)?,
            tar_size: self.tar_size,
        })
    }
}

fn finish(object: Named<Hashed>) -> Result<StoredObject, WriteError> {
    let Named {
        name,
        inner: (size, sha256),
    } = object.then(Hashed::finish)?;
    Ok(StoredObject { name, size, sha256 })
}

/// Counts and hashes what goes into an object.
struct Hashed {
    writer: Box<dyn ObjectWriter>,
    sha256: Sha256,
    size: u64,
}

impl Hashed {
    fn new(writer: Box<dyn ObjectWriter>) -> Self {
        Self {
            writer,
            sha256: Sha256::new(),
            size: 0,
        }
    }

    fn finish(self) -> io::Result<(u64, Digest)> {
        self.writer.finish()?;
        Ok((self.size, Digest(self.sha256.finalize().into())))
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.writer.write(bytes)?;
        self.sha256.update(bytes.get(..taken).unwrap_or(bytes));
        self.size += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Between tar and gzip: counts, and ends the writing when the run is stopped, also in the middle of a long file.
struct Watched<'a> {
    gzip: ParallelGzip<Sealed<Hashed>>,
    meter: &'a Meter<'a>,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.meter.check()?;
        let taken = self.gzip.write(bytes)?;
        self.meter.wrote(taken as u64, self.gzip.longest());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.gzip.flush()
    }
}

/// What is told while the snapshot is written. All of it happens on one thread.
struct Meter<'a> {
    progress: &'a dyn Fn(Progress),
    cancel: &'a Cancel,
    now: Cell<Progress>,
    told: Cell<Progress>,
    /// How long the gzip member of the volume is at most.
    compressed: Cell<u64>,
}

impl<'a> Meter<'a> {
    fn new(progress: &'a dyn Fn(Progress), cancel: &'a Cancel) -> Self {
        Self {
            progress,
            cancel,
            now: Cell::default(),
            told: Cell::default(),
            compressed: Cell::default(),
        }
    }

    /// Not as [`io::ErrorKind::Interrupted`]: whoever writes would try again.
    fn check(&self) -> io::Result<()> {
        match self.cancel.is_stopped() {
            true => Err(io::Error::other("the run was stopped")),
            false => Ok(()),
        }
    }

    fn path(&self) {
        let now = self.now.get();
        self.now.set(Progress {
            paths: now.paths + 1,
            ..now
        });
        self.tell_now_and_then();
    }

    fn wrote(&self, bytes: u64, compressed: u64) {
        let now = self.now.get();
        self.now.set(Progress {
            bytes: now.bytes + bytes,
            ..now
        });
        self.compressed.set(compressed);
        self.tell_now_and_then();
    }

    fn tell_now_and_then(&self) {
        let (now, told) = (self.now.get(), self.told.get());
        if now.bytes - told.bytes >= TELL_BYTES || now.paths - told.paths >= TELL_PATHS {
            self.tell();
        }
    }

    fn tell(&self) {
        self.told.set(self.now.get());
        (self.progress)(self.now.get());
    }
}

/// Counts what a snapshot holds, and what it does not hold as it was.
#[derive(Default)]
struct Tally {
    totals: Totals,
    problems: BTreeMap<ProblemClass, Problem>,
    secrets: SecretFiles,
}

impl Tally {
    fn stored(&mut self, entry: &SnapshotEntry) {
        match &entry.kind {
            EntryKind::File { size, .. } => {
                if is_secret(&entry.path) {
                    self.secrets.add(&entry.path);
                }
                self.totals.files += 1;
                self.totals.bytes = self.totals.bytes.saturating_add(*size);
            }
            EntryKind::Dir => self.totals.dirs += 1,
            EntryKind::Symlink { .. } => self.totals.symlinks += 1,
            EntryKind::HardLink { .. } => self.totals.hard_links += 1,
        }
        if let Some(class) = entry.problem {
            self.problem(class, &entry.path);
        }
    }

    fn problem(&mut self, class: ProblemClass, path: &ArchivePath) {
        let problem = self.problems.entry(class).or_insert_with(|| Problem {
            class,
            count: 0,
            names: Vec::new(),
        });
        problem.count += 1;
        if problem.names.len() < MOST_NAMES {
            problem.names.push(path.to_string());
        }
    }
}

/// Whether a file is one of OpenClaw's credentials, or has a name that says that it holds a secret.
fn is_secret(path: &ArchivePath) -> bool {
    let is_credential = path.segments().next() == Some(b"credentials".as_slice());
    is_credential || std::str::from_utf8(path.name()).is_ok_and(looks_secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_of_problems_counts_all_and_names_the_first_hundred() {
        let mut tally = Tally::default();
        for number in 0..150 {
            let path = ArchivePath::new(format!("workspace/{number}\u{1b}")).expect("a path");
            tally.problem(ProblemClass::Vanished, &path);
            if number < 2 {
                tally.problem(ProblemClass::Unreadable, &path);
            }
        }
        let problems: Vec<_> = tally.problems.into_values().collect();
        assert_eq!(problems.len(), 2);
        assert_eq!(problems[0].class, ProblemClass::Unreadable);
        assert_eq!((problems[0].count, problems[0].names.len()), (2, 2));
        assert_eq!(
            (problems[1].count, problems[1].names.len()),
            (150, MOST_NAMES)
        );
        assert_eq!(problems[1].names[99], "workspace/99\\u{1b}", "escaped");
    }
}
