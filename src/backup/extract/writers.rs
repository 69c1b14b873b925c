//! Threads that fill short files, while the thread that reads the archive creates the next ones.
//!
//! Of a short file the system calls take most of the time, not its bytes, and those of different files do not wait for each
//! other. What is written is hashed first: a content that is not the expected one never reaches the disk.
//!
//! Memory: [`MOST_THREADS`] * 4 contents of [`SHORT`] bytes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::place::set_attributes;
use crate::backup::entry::{ArchivePath, Digest};

/// Up to which length a file is written here: more bytes than these cost more than making the file.
pub(super) const SHORT: u64 = 256 << 10;

/// More threads than this wait for the same locks of the file system.
const MOST_THREADS: usize = 4;

/// A file to fill.
pub(super) struct Job {
    /// New and empty.
    pub(super) file: File,
    /// All of it.
    pub(super) content: Vec<u8>,
    /// What it must be.
    pub(super) expected: Option<Digest>,
    pub(super) mode: u32,
    pub(super) mtime_ns: i128,
}

/// What became of a file.
#[derive(Debug)]
pub(super) enum Written {
    /// It is as it should be.
    Whole,
    /// Nothing was written: the content is not the expected one.
    Different,
    /// Part of it may have been written.
    Failed(io::Error),
    /// Its content is right; mode and time are not.
    NoAttributes(io::Error),
}

/// A file that was handed over.
pub(super) struct Handed {
    pub(super) path: ArchivePath,
    pub(super) size: u64,
    pub(super) is_proven: bool,
    done: Receiver<Done>,
}

/// The threads, begun with the first file, and what they have in work, in the order in which it came.
#[derive(Default)]
pub(super) struct Writers {
    threads: Option<Threads>,
    handed: VecDeque<Handed>,
    /// Contents to fill again.
    spare: Vec<Vec<u8>>,
}

/// What became of a file, and its content to fill again.
type Done = (Written, Vec<u8>);

struct Threads {
    jobs: SyncSender<(Job, SyncSender<Done>)>,
    joined: Vec<JoinHandle<()>>,
}

impl Writers {
    /// How many files may be handed over before the first must be taken back.
    pub(super) const MOST: usize = MOST_THREADS * 4;

    /// Something to put a content into.
    pub(super) fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Hands a file over. At most [`Self::MOST`] may be, or this waits for ever.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn write(&mut self, path: &ArchivePath, job: Job) -> io::Result<()> {
        let threads = match &self.threads {
            Some(threads) => threads,
            None => self.threads.insert(Threads::begin()?),
        };
        let (sender, done) = sync_channel(1);
        let (size, is_proven) = (job.content.len() as u64, job.expected.is_some());
        threads
            .jobs
            .send((job, sender))
            .map_err(|_| io::Error::other("the threads that write files have ended"))?;
        self.handed.push_back(Handed {
            path: path.clone(),
            size,
            is_proven,
            done,
        });
        Ok(())
    }

    /// Takes the oldest file back, when more than `most` are handed over.
    pub(super) fn take(&mut self, most: usize) -> Option<(Handed, Written)> {
        if self.handed.len() <= most {
            return None;
        }
        let handed = self.handed.pop_front()?;
        let written = match handed.done.recv() {
            Ok((written, mut content)) => {
                content.clear();
                self.spare.push(content);
                written
            }
            Err(_) => Written::Failed(io::Error::other("the thread that wrote it has ended")),
        };
        Some((handed, written))
    }
}

impl Threads {
    fn begin() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let (jobs, queue) = sync_channel::<(Job, SyncSender<Done>)>(Writers::MOST);
        let queue = Arc::new(Mutex::new(queue));
        let mut joined = Vec::new();
        for _ in 0..count.min(MOST_THREADS) {
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new().name("write-file".to_owned());
            joined.push(thread.spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((job, done)) = next else {
                        return;
                    };
                    let written = write(&job);
                    // Closed before it is told: whoever hears of it may remove the file.
                    let Job { content, file, .. } = job;
                    drop(file);
                    // When nobody wants to know, the extraction has failed.
                    let _unheard = done.send((written, content));
                }
            })?);
        }
        Ok(Self { jobs, joined })
    }
}

fn write(job: &Job) -> Written {
    if job
        .expected
        .is_some_and(|expected| Digest::of(&job.content) != expected)
    {
        return Written::Different;
    }
    if let Err(error) = (&job.file).write_all(&job.content) {
        return Written::Failed(error);
    }
    match set_attributes(&job.file, job.mode, job.mtime_ns) {
        Ok(()) => Written::Whole,
        Err(error) => Written::NoAttributes(error),
    }
}

impl Drop for Writers {
    /// Nothing is written any more when the extraction has ended, however it did.
    fn drop(&mut self) {
        let Some(Threads { jobs, joined }) = self.threads.take() else {
            return;
        };
        drop(jobs);
        for thread in joined {
            // A thread that panicked wrote no more either; that its file failed was told by its silence.
            let _panicked = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    fn job(file: &std::path::Path, content: &[u8], expected: Option<&[u8]>) -> Job {
        Job {
            file: File::create_new(file).expect("a new file"),
            content: content.to_vec(),
            expected: expected.map(Digest::of),
            mode: 0o640,
            mtime_ns: 1_000_000_007,
        }
    }

    fn path(name: &str) -> ArchivePath {
        ArchivePath::new(name).expect("a path")
    }

    #[test]
    fn results_come_in_order_and_nothing_unexpected_reaches_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |number: usize| folder.path().join(number.to_string());
        let mut writers = Writers::default();
        let mut taken = Vec::new();
        for number in 0..100 {
            let content = vec![7; number * 1000];
            let expected = match number % 10 {
                3 => Some(&b"something else"[..]),
                5 => None,
                _ => Some(&content[..]),
            };
            taken.extend(writers.take(Writers::MOST - 1));
            writers
                .write(
                    &path(&number.to_string()),
                    job(&at(number), &content, expected),
                )
                .expect("a thread");
        }
        taken.extend(std::iter::from_fn(|| writers.take(0)));
        assert_eq!(taken.len(), 100);
        for (number, (handed, written)) in taken.iter().enumerate() {
            assert_eq!(handed.path, path(&number.to_string()));
            assert_eq!(handed.is_proven, number % 10 != 5);
            let found = fs::metadata(at(number)).expect("the file");
            match number % 10 {
                3 => {
                    assert!(matches!(written, Written::Different), "{written:?}");
                    assert_eq!(found.len(), 0);
                }
                _ => {
                    assert!(matches!(written, Written::Whole), "{written:?}");
                    assert_eq!(found.len(), handed.size);
                    assert_eq!(found.permissions().mode() & 0o7777, 0o640);
                    assert_eq!((found.mtime(), found.mtime_nsec()), (1, 7));
                }
            }
        }
    }

    #[test]
    fn an_error_of_writing_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        let mut job = job(&file, b"content", None);
        job.file = File::open(&file).expect("the file, to read");
        let mut writers = Writers::default();
        writers.write(&path("file"), job).expect("a thread");
        let (_, written) = writers.take(0).expect("one file");
        assert!(matches!(written, Written::Failed(_)), "{written:?}");
    }

    #[test]
    fn whoever_drops_it_waits_until_nothing_is_written_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writers = Writers::default();
        for number in 0..Writers::MOST {
            let file = folder.path().join(number.to_string());
            let job = job(&file, &[7; 200_000], None);
            writers.write(&path("file"), job).expect("a thread");
        }
        drop(writers);
        for number in 0..Writers::MOST {
            let found = fs::metadata(folder.path().join(number.to_string())).expect("the file");
            assert_eq!(found.len(), 200_000);
        }
    }
}
