//! Where the blocking side of a backup puts its objects, and how they come to a provider.
//!
//! Tar, gzip and age write into a [`Write`] on their own threads. [`ProviderSink`] cuts what they write into parts of equal
//! size (some stores, R2, refuse others) and hands each to a task; a slow store makes the writer wait.
//!
//! # Memory
//! Part size x (parts in flight + open objects), whatever the size of a snapshot: a writer fills one part, and gives it away
//! only when one of the places for parts in flight is free, which all open objects share. With data and index open, four
//! places and parts of 16 MiB that is 96 MiB.
//!
//! # Time
//! A part is sent again, signed anew, until the retry layer's budget for content is over, which is hours. How long one
//! attempt may take follows from the part's length and the slowest line that is served, in the HTTP layer.
//!
//! # What a crash leaves
//! Before the first call that makes something of an object its name is durable in the database, and right after an upload
//! has begun its id is: [`super::intents`] removes both, in this process or in the next. So a writer that is dropped does
//! nothing but stop sending.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ows_providers::{
    Capabilities, Entry, Error, ErrorKind, Operation, Part, Precondition, Provider, PutOptions,
    RelPath, Upload, UploadOptions,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cancel::Cancel;
use crate::error::{Failure, Outcome};
use crate::report::Reporter;
use crate::state::{BackupIntentId, State};

/// Makes objects.
pub trait ObjectSink: Send + Sync {
    /// Begins the object of this name below the folder of the snapshots. Several may be open at once.
    ///
    /// # Errors
    /// When it cannot be begun. Some sinks find out only while it is written.
    fn create(&self, name: &str) -> io::Result<Box<dyn ObjectWriter>>;
}

/// An object that is being written. Nothing of it is visible before [`ObjectWriter::finish`] has come back without an
/// error; one that is dropped before never becomes visible.
pub trait ObjectWriter: Write + Send {
    /// Makes the object visible, unless one of its name is there.
    ///
    /// # Errors
    /// When it could not be stored whole. Then it does not count as stored, whatever the provider shows.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Parts in flight at once, all objects together.
const IN_FLIGHT: usize = 4;

/// The least that a snapshot may grow to without volumes, whatever the last one had.
const LEAST_ROOM: u64 = 128 << 30;

/// How many times the size of the last snapshot the next one may have without volumes.
const GROWTH: u64 = 4;

/// The first piece of memory of an object: an index or a manifest is often smaller than this.
const FIRST_CAPACITY: usize = 64 << 10;

/// How parts are cut and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Length of every part but the last of an object, in bytes.
    pub part_size: usize,
    /// Parts in flight at once.
    pub in_flight: usize,
}

impl Cut {
    /// For a provider with these capabilities, and a snapshot about as large as the last one, which had `last` bytes in its
    /// largest object. How large it will be nobody knows before its end.
    pub fn new(capabilities: &Capabilities, last: u64) -> Self {
        let estimate = last.saturating_mul(GROWTH).max(LEAST_ROOM);
        let part_size = capabilities.parts.part_size(estimate);
        Self {
            part_size: usize::try_from(part_size).unwrap_or(usize::MAX).max(1),
            in_flight: capabilities.parallel.clamp(1, IN_FLIGHT),
        }
    }
}

/// Puts objects into a provider. Its methods and those of its writers block, and must not be called on a thread that
/// runs async tasks.
#[derive(Clone)]
pub struct ProviderSink {
    shared: Arc<Shared>,
}

/// What a sink needs.
pub struct SinkParts {
    /// The folder of the snapshots.
    pub provider: Arc<dyn Provider>,
    /// Where the intents are.
    pub state: State,
    /// The intent that names every object.
    pub intent: BackupIntentId,
    /// How parts are cut.
    pub cut: Cut,
    /// Hears of every part that is stored.
    pub reporter: Arc<dyn Reporter>,
    /// Stops everything.
    pub cancel: Cancel,
}

struct Shared {
    parts: SinkParts,
    runtime: Handle,
    places: Arc<Semaphore>,
    /// What failed first. The writers' errors pass through encoders that keep only their text.
    failure: Mutex<Option<Failure>>,
}

impl ProviderSink {
    /// A sink whose calls to the provider are made on the present runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(parts: SinkParts) -> Self {
        Self {
            shared: Arc::new(Shared {
                runtime: Handle::current(),
                places: Arc::new(Semaphore::new(parts.cut.in_flight)),
                failure: Mutex::new(None),
                parts,
            }),
        }
    }

    /// What failed first, when something has.
    pub fn take_failure(&self) -> Option<Failure> {
        self.shared.failure().take()
    }
}

impl ObjectSink for ProviderSink {
    fn create(&self, name: &str) -> io::Result<Box<dyn ObjectWriter>> {
        let path = RelPath::new(name).map_err(io::Error::other)?;
        self.shared.check()?;
        Ok(Box::new(ProviderWriter {
            shared: Arc::clone(&self.shared),
            path,
            buffer: Vec::new(),
            written: 0,
            upload: None,
            sent: 0,
            sending: JoinSet::new(),
            stored: Vec::new(),
        }))
    }
}

impl Shared {
    fn failure(&self) -> std::sync::MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what failed first, and gives the writer something to stop with.
    fn fail(&self, failure: Failure) -> io::Error {
        let text = failure.message.clone();
        self.failure().get_or_insert(failure);
        // Never `Interrupted`: `write_all` would try again for ever.
        io::Error::other(text)
    }

    /// Once something has failed there is no snapshot, and nobody need wait for the rest.
    fn check(&self) -> io::Result<()> {
        if self.parts.cancel.is_stopped() {
            return Err(self.fail(self.parts.cancel.failure()));
        }
        match &*self.failure() {
            Some(failure) => Err(io::Error::other(failure.message.clone())),
            None => Ok(()),
        }
    }

    /// Runs `work` to its end, or until the run is stopped.
    fn run<T>(&self, work: impl Future<Output = Outcome<T>>) -> io::Result<T> {
        let bounded = self.parts.cancel.unless_stopped(work);
        let result = self.runtime.block_on(bounded);
        let result = result.unwrap_or_else(|| Err(self.parts.cancel.failure()));
        result.map_err(|failure| self.fail(failure))
    }
}

/// An object on its way.
struct ProviderWriter {
    shared: Arc<Shared>,
    path: RelPath,
    /// The part that is being filled.
    buffer: Vec<u8>,
    /// Bytes taken in all.
    written: u64,
    upload: Option<Arc<Upload>>,
    /// Number of the last part that was handed to a task.
    sent: u32,
    sending: JoinSet<Result<Part, Error>>,
    stored: Vec<Part>,
}

impl Write for ProviderWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shared.check()?;
        let part_size = self.shared.parts.cut.part_size;
        // A full part is sent when more follows: only then is it certain not to be the last one.
        if self.buffer.len() == part_size && !bytes.is_empty() {
            self.send()?;
        }
        let taken = bytes.len().min(part_size - self.buffer.len());
        let (piece, _) = bytes.split_at(taken);
        self.make_room(taken);
        self.buffer.extend_from_slice(piece);
        self.written += taken as u64;
        Ok(taken)
    }

    /// What is short of a part stays here: parts are equal.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ObjectWriter for ProviderWriter {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.shared.check()?;
        let single = self.shared.parts.provider.capabilities().single_put_max;
        if self.upload.is_none() && self.written <= single {
            return self.put();
        }
        self.send()?;
        self.complete()
    }
}

impl ProviderWriter {
    /// Makes room for so many more bytes, never for more than a part.
    fn make_room(&mut self, more: usize) {
        let needed = self.buffer.len() + more;
        if needed > self.buffer.capacity() {
            let doubled = self.buffer.capacity().max(FIRST_CAPACITY / 2) * 2;
            let capacity = doubled
                .max(needed)
                .min(self.shared.parts.cut.part_size.max(needed));
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
    }

    /// Hands the part to a task as soon as there is a place for it.
    fn send(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let upload = match &self.upload {
            Some(upload) => Arc::clone(upload),
            None => {
                let upload = Arc::new(shared.run(shared.begin(&self.path))?);
                Arc::clone(self.upload.insert(upload))
            }
        };
        let number = self.sent + 1;
        let most = shared.parts.provider.capabilities().parts.max_count;
        if u64::from(number) > most {
            return Err(shared.fail(too_long(&self.path, most, upload.part_size)));
        }
        let place = shared.run(async {
            let place = Arc::clone(&shared.places).acquire_owned().await;
            place.map_err(|error| Failure::failed("no place for a part").with_source(error))
        })?;
        self.collect()?;
        let body = Bytes::from(std::mem::take(&mut self.buffer));
        let (provider, reporter) = (
            Arc::clone(&shared.parts.provider),
            Arc::clone(&shared.parts.reporter),
        );
        let task = async move {
            let length = body.len() as u64;
            let part = provider.put_part(&upload, number, body).await?;
            reporter.moved(length);
            drop(place);
            Ok(part)
        };
        self.sending.spawn_on(task, &shared.runtime);
        self.sent = number;
        Ok(())
    }

    /// Takes the parts that are stored by now.
    fn collect(&mut self) -> io::Result<()> {
        while let Some(sent) = self.sending.try_join_next() {
            let part = self.shared.part(&self.path, sent);
            self.stored
                .push(part.map_err(|failure| self.shared.fail(failure))?);
        }
        Ok(())
    }

    /// Stores a small object in one call.
    fn put(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let body = Bytes::from(std::mem::take(&mut self.buffer));
        let length = body.len() as u64;
        shared.run(async {
            shared.announce(&self.path, None).await?;
            put_new(shared.parts.provider.as_ref(), &self.path, body)
                .await
                .map_err(|error| not_stored(&self.path, error))?;
            shared.parts.reporter.moved(length);
            shared.look(&self.path, length).await
        })
    }

    /// Waits for the last parts and makes the object visible.
    fn complete(mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let Some(upload) = self.upload.take() else {
            return Err(shared.fail(Failure::failed("an upload ended before it began")));
        };
        shared.run(async {
            while let Some(sent) = self.sending.join_next().await {
                self.stored.push(shared.part(&self.path, sent)?);
            }
            self.stored.sort_by_key(|part| part.number);
            complete_new(shared.parts.provider.as_ref(), &upload, &self.stored)
                .await
                .map_err(|error| not_stored(&self.path, error))?;
            shared.look(&self.path, self.written).await
        })
    }
}

impl Shared {
    /// Begins the upload of an object, in the order that lets a later run find it.
    async fn begin(&self, path: &RelPath) -> Outcome<Upload> {
        self.announce(path, None).await?;
        let options = UploadOptions {
            size: None,
            part_size: self.parts.cut.part_size as u64,
            mtime_ns: None,
            md5: None,
        };
        let upload = self.parts.provider.start_upload(path, options).await;
        let upload = upload.map_err(|error| not_stored(path, error))?;
        self.announce(path, Some(&upload)).await?;
        Ok(upload)
    }

    /// Makes it durable that something is about to be made of the object.
    async fn announce(&self, path: &RelPath, upload: Option<&Upload>) -> Outcome<()> {
        let SinkParts { state, intent, .. } = &self.parts;
        state
            .record_backup_object(*intent, path.as_str(), upload)
            .await?;
        Ok(())
    }

    fn part(
        &self,
        path: &RelPath,
        sent: Result<Result<Part, Error>, tokio::task::JoinError>,
    ) -> Outcome<Part> {
        match sent {
            Ok(Ok(part)) => Ok(part),
            Ok(Err(error)) => Err(not_stored(path, error)),
            Err(error) => Err(Failure::failed("an internal error ended an upload")
                .with_path(path.to_string())
                .with_source(error)),
        }
    }

    /// An object counts as stored when the provider shows it with its length.
    async fn look(&self, path: &RelPath, length: u64) -> Outcome<()> {
        let found = self.parts.provider.stat(path).await;
        let found = found.map_err(|error| not_stored(path, error))?;
        if found.size == length {
            return Ok(());
        }
        let message = format!(
            "an object was stored with {} bytes, {length} were sent",
            found.size
        );
        Err(Failure::failed(message)
            .with_path(path.to_string())
            .with_hint("no snapshot was made; run again"))
    }
}

/// Writes a small object where nothing is, also on a store that refuses conditions: the names are random, and a look before
/// is all that can be done there.
pub(super) async fn put_new(
    provider: &dyn Provider,
    path: &RelPath,
    body: Bytes,
) -> Result<Entry, Error> {
    let options = PutOptions {
        precondition: Precondition::Absent,
        ..PutOptions::default()
    };
    match provider.put(path, body.clone(), options).await {
        Err(error) if error.kind == ErrorKind::Unsupported => {
            absent(provider, path, Operation::Put).await?;
            provider.put(path, body, PutOptions::default()).await
        }
        result => result,
    }
}

async fn complete_new(
    provider: &dyn Provider,
    upload: &Upload,
    parts: &[Part],
) -> Result<Entry, Error> {
    let completed = provider.complete_upload(upload, parts, Precondition::Absent);
    match completed.await {
        Err(error) if error.kind == ErrorKind::Unsupported => {
            absent(provider, &upload.path, Operation::CompleteUpload).await?;
            provider
                .complete_upload(upload, parts, Precondition::Any)
                .await
        }
        result => result,
    }
}

async fn absent(
    provider: &dyn Provider,
    path: &RelPath,
    operation: Operation,
) -> Result<(), Error> {
    match provider.stat(path).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(Error::new(
            ErrorKind::AlreadyExists,
            operation,
            path.as_str(),
            "something is there already",
        )),
    }
}

fn not_stored(path: &RelPath, error: Error) -> Failure {
    let mut failure = Failure::from(error).with_path(path.to_string());
    "could not store an object of the snapshot".clone_into(&mut failure.message);
    failure
}

fn too_long(path: &RelPath, most: u64, part_size: u64) -> Failure {
    let room = most.saturating_mul(part_size) >> 30;
    Failure::failed(format!(
        "the snapshot has become longer than {most} parts of {part_size} bytes ({room} GiB), which is all that one object \
         may have"
    ))
    .with_path(path.to_string())
    .with_hint("set `backup.volumeSize`, e.g. \"32GiB\", so that it is split; no snapshot was made")
}
