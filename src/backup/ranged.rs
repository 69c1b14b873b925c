//! Reads an object of the provider from a blocking thread, from the begin or in the middle: [`Read`] and [`Seek`] over ranges.
//!
//! A task on tokio fetches; a bounded channel hands its pieces over, so a reader that is slow stops the download, and the
//! network goes on while the reader inflates. One request covers what is known to be wanted ([`Reach`]), up to its last
//! byte: reading an object from begin to end is one request, and reading one file out of a snapshot is one for the header of
//! age and one for the blocks that hold it.
//!
//! A download that breaks goes on where it broke, with the same version, when it gets further: not every provider
//! has a layer below that does it, and a snapshot takes hours. An object that was exchanged meanwhile is an error.
//!
//! Memory: `PIECES` pieces as the provider hands them out, cut to `PIECE`.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use ows_providers::{Entry, Error, ErrorKind, GetOptions, Operation, Provider, RelPath, Version};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::cancel::Cancel;

/// How many pieces wait between the network and the reader.
const PIECES: usize = 16;

/// The longest piece.
const PIECE: usize = 256 << 10;

/// What is fetched where nobody said how much is wanted: enough for any header of age.
const LEAST: u64 = 64 << 10;

/// How often a download may break without having got further.
const ATTEMPTS: u32 = 4;

/// The pause after a download broke; it doubles each time.
const PAUSE: Duration = Duration::from_millis(250);

/// Where objects are read from. Made on tokio, used on blocking threads.
#[derive(Debug, Clone)]
pub struct Remote {
    provider: Arc<dyn Provider>,
    handle: Handle,
    cancel: Cancel,
}

impl Remote {
    /// Of the runtime that this is called on.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(provider: Arc<dyn Provider>, cancel: Cancel) -> Self {
        Self {
            provider,
            handle: Handle::current(),
            cancel,
        }
    }

    /// Whether the run was stopped.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Opens the object of `entry`. Nothing is read yet. `reach` is up to where it is going to be read.
    pub fn open(&self, entry: &Entry, reach: Reach) -> Ranged {
        Ranged {
            remote: self.clone(),
            path: entry.path.clone(),
            version: entry.version.clone(),
            size: entry.size,
            at: 0,
            reach,
            flow: None,
        }
    }

    /// Opens the object of `entry` to read all of it.
    pub fn open_whole(&self, entry: &Entry) -> Ranged {
        self.open(entry, Reach::up_to(entry.size))
    }
}

/// Up to which byte of an object reading is going to go on. Shared with whoever knows: what stands between may be a layer
/// that only reads.
#[derive(Debug, Clone, Default)]
pub struct Reach(Arc<AtomicU64>);

impl Reach {
    /// Up to this byte.
    pub fn up_to(end: u64) -> Self {
        Self(Arc::new(AtomicU64::new(end)))
    }

    /// From the next request on, up to this byte.
    pub fn set(&self, end: u64) {
        self.0.store(end, Ordering::Relaxed);
    }
}

/// An object that is read in ranges. Not for async code: reading blocks.
#[derive(Debug)]
pub struct Ranged {
    remote: Remote,
    path: RelPath,
    version: Option<Version>,
    size: u64,
    at: u64,
    reach: Reach,
    flow: Option<Flow>,
}

/// A download under way. Dropped, it ends.
#[derive(Debug)]
struct Flow {
    /// Where its next unread byte stands.
    at: u64,
    /// Where it ends.
    end: u64,
    piece: Bytes,
    pieces: mpsc::Receiver<Result<Bytes, Error>>,
    _task: AbortOnDropHandle<()>,
}

impl Ranged {
    fn flow(&mut self) -> &mut Flow {
        let (at, size) = (self.at, self.size);
        let fits = self
            .flow
            .as_ref()
            .is_some_and(|flow| flow.at == at && flow.at < flow.end);
        if !fits {
            self.flow = None;
        }
        let reach = self.reach.0.load(Ordering::Relaxed);
        let remote = &self.remote;
        let (path, version) = (&self.path, &self.version);
        self.flow.get_or_insert_with(|| {
            let end = reach.max(at.saturating_add(LEAST)).min(size);
            let (sender, pieces) = mpsc::channel(PIECES);
            let fetch = Fetch {
                provider: Arc::clone(&remote.provider),
                path: path.clone(),
                version: version.clone(),
                at,
                end,
                // A plain read of the whole object needs no range; not every server is good at those.
                whole: at == 0 && end == size,
            };
            let cancel = remote.cancel.clone();
            // A reader that waits for a piece learns of the stop when the channel ends.
            let task = remote.handle.spawn(async move {
                cancel.unless_stopped(fetch.run(sender)).await;
            });
            Flow {
                at,
                end,
                piece: Bytes::new(),
                pieces,
                _task: AbortOnDropHandle::new(task),
            }
        })
    }
}

impl Read for Ranged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.at >= self.size {
            return Ok(0);
        }
        if self.remote.cancel.is_stopped() {
            return Err(io::Error::other(Stopped));
        }
        let flow = self.flow();
        while flow.piece.is_empty() {
            match flow.pieces.blocking_recv() {
                Some(Ok(piece)) => flow.piece = piece,
                Some(Err(error)) => return Err(io::Error::other(error)),
                // The task sends all that was asked for, or an error; it ends without either only with its runtime.
                None => return Err(io::Error::other(Stopped)),
            }
        }
        let count = flow.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&flow.piece.split_to(count));
        flow.at += count as u64;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Ranged {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let target = match position {
            SeekFrom::Start(target) => Some(target),
            SeekFrom::Current(distance) => self.at.checked_add_signed(distance),
            SeekFrom::End(distance) => self.size.checked_add_signed(distance),
        };
        self.at = target.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "before the begin of the object",
            )
        })?;
        Ok(self.at)
    }
}

/// The run was stopped while it read.
#[derive(Debug, thiserror::Error)]
#[error("the run was stopped")]
pub struct Stopped;

/// Fetches a range and hands its pieces over.
struct Fetch {
    provider: Arc<dyn Provider>,
    path: RelPath,
    version: Option<Version>,
    at: u64,
    end: u64,
    whole: bool,
}

impl Fetch {
    async fn run(mut self, pieces: mpsc::Sender<Result<Bytes, Error>>) {
        let mut attempts = 0;
        loop {
            let before = self.at;
            let error = match self.attempt(&pieces).await {
                Ok(()) => return,
                Err(error) => error,
            };
            attempts = if self.at > before { 1 } else { attempts + 1 };
            if !error.is_transient() || attempts >= ATTEMPTS {
                // A reader that has gone away does not want to know.
                let _gone = pieces.send(Err(error)).await;
                return;
            }
            tracing::debug!(path = %self.path, at = self.at, %error, "a download broke and goes on");
            tokio::time::sleep(PAUSE * 2u32.pow(attempts - 1)).await;
        }
    }

    /// Hands over what is left; `Ok` also when nobody wants it any more.
    async fn attempt(&mut self, pieces: &mpsc::Sender<Result<Bytes, Error>>) -> Result<(), Error> {
        let options = GetOptions {
            range: (!self.whole || self.at > 0).then_some(self.at..self.end),
            version: self.version.clone(),
        };
        let mut download = self.provider.get(&self.path, options).await?;
        // What comes later must be of the same object.
        if self.version.is_none() {
            self.version = download.entry.version.take();
        }
        while let Some(piece) = download.body.next().await {
            let mut piece = piece?;
            while !piece.is_empty() {
                let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
                if left == 0 {
                    return Err(
                        self.error(ErrorKind::Permanent, "it is longer than the listing says")
                    );
                }
                let part = piece.split_to(piece.len().min(PIECE).min(left));
                let length = part.len() as u64;
                if pieces.send(Ok(part)).await.is_err() {
                    return Ok(());
                }
                self.at += length;
            }
        }
        match self.at < self.end {
            true => Err(self.error(
                ErrorKind::Transient { after: None },
                "the answer ended too early",
            )),
            false => Ok(()),
        }
    }

    fn error(&self, kind: ErrorKind, message: &str) -> Error {
        Error::new(kind, Operation::Get, self.path.as_str(), message)
    }
}
