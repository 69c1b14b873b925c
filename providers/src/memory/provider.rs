//! The trait over a store in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use super::state::{Origin, State, Step};
use super::store::{Logged, MemoryStore};
use crate::layers::CallCounter;
use crate::{
    Capabilities, ChangePage, CopyOptions, Download, Enforcement, Entry, Error, ErrorKind,
    GetOptions, ListOptions, Listed, Operation, Part, Precondition, Provider, PutOptions, RelPath,
    RemoteIdentity, Result, UnfinishedUpload, Upload, UploadOptions,
};

/// A provider over a [`MemoryStore`]: one host's view of it.
#[derive(Debug)]
pub struct MemoryProvider {
    store: MemoryStore,
    capabilities: Capabilities,
    counter: Option<Arc<CallCounter>>,
    has_answered: AtomicBool,
}

impl MemoryProvider {
    pub(super) fn new(store: MemoryStore, counter: Option<Arc<CallCounter>>) -> Self {
        Self {
            capabilities: store.shared.options.capabilities(),
            store,
            counter,
            has_answered: AtomicBool::new(false),
        }
    }

    /// The store that it is over.
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// One call: counted, carried out as one step, logged.
    async fn call<Value>(
        &self,
        operation: Operation,
        path: impl Into<String> + Send,
        step: impl FnOnce(&mut State) -> Step<Value> + Send,
    ) -> Result<Value> {
        tokio::task::yield_now().await;
        self.step(operation, path.into(), step)
    }

    fn step<Value>(
        &self,
        operation: Operation,
        path: String,
        step: impl FnOnce(&mut State) -> Step<Value>,
    ) -> Result<Value> {
        if let Some(counter) = &self.counter {
            counter.count(operation);
        }
        self.has_answered.store(true, Ordering::Relaxed);
        let mut state = self.store.state();
        let bucket_is_gone = !state.root_is_there && !state.options.folders;
        let result = if bucket_is_gone {
            Err((ErrorKind::NotFound, "the root is gone".to_owned()))
        } else {
            step(&mut state)
        };
        self.store.locked_log().push(Logged {
            operation,
            path: path.clone(),
            failure: result.as_ref().err().map(|(kind, _)| *kind),
        });
        result.map_err(|(kind, message)| Error::new(kind, operation, path, message))
    }

    fn only_with(&self, supported: bool, operation: Operation, path: &RelPath) -> Result<()> {
        if supported {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            operation,
            path.as_str(),
            "this store cannot do it",
        ))
    }
}

/// A listing under way.
struct Listing<'provider> {
    provider: &'provider MemoryProvider,
    options: ListOptions,
    page: VecDeque<Listed>,
    next: Option<String>,
}

impl Listing<'_> {
    async fn item(&mut self) -> Option<Result<Listed>> {
        while self.page.is_empty() {
            let from = self.next.take()?;
            let options = &self.options;
            let below = options.below.as_ref().map_or("", |path| path.as_str());
            let page = self.provider.call(Operation::List, below, |state| {
                state
                    .page(options, &from)
                    .map_err(|error| (error.kind, error.message))
            });
            match page.await {
                Ok((items, next)) => {
                    self.page = items.into();
                    self.next = next;
                }
                Err(error) => return Some(Err(error)),
            }
        }
        self.page.pop_front().map(Ok)
    }
}

#[async_trait]
impl Provider for MemoryProvider {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn clock(&self) -> Option<DateTime<Utc>> {
        self.has_answered
            .load(Ordering::Relaxed)
            .then(|| self.store.now())
    }

    async fn describe(&self) -> Result<RemoteIdentity> {
        let id = self.store.shared.options.identity.clone();
        Ok(RemoteIdentity {
            display: format!("memory:{id}"),
            id,
        })
    }

    async fn probe(&self) -> Result<Enforcement> {
        let found = super::probe::probe(self).await?;
        Ok(Enforcement {
            versioning: self.store.shared.options.enforced.versioning,
            ..found
        })
    }

    fn list(&self, options: ListOptions) -> BoxStream<'_, Result<Listed>> {
        let listing = Listing {
            provider: self,
            options,
            page: VecDeque::new(),
            next: Some(String::new()),
        };
        stream::unfold(listing, |mut listing| async move {
            let item = listing.item().await?;
            Some((item, listing))
        })
        .boxed()
    }

    async fn changes(&self, _cursor: Option<&str>) -> Result<ChangePage> {
        Err(Error::new(
            ErrorKind::Unsupported,
            Operation::Changes,
            "",
            "a store in memory has no change feed",
        ))
    }

    async fn stat(&self, path: &RelPath) -> Result<Entry> {
        self.call(Operation::Stat, path.as_str(), |state| {
            let path = state.spelled(path);
            match state.file(&path) {
                Some(file) => Ok(state.entry(&path, file)),
                None if state.is_dir(&path) => Ok(Entry::dir(path)),
                None => Err((ErrorKind::NotFound, "nothing is there".to_owned())),
            }
        })
        .await
    }

    async fn get(&self, path: &RelPath, options: GetOptions) -> Result<Download> {
        let (entry, content) = self
            .call(Operation::Get, path.as_str(), |state| {
                let path = state.spelled(path);
                let Some(file) = state.file(&path) else {
                    return Err((ErrorKind::NotFound, "there is no such file".to_owned()));
                };
                if options
                    .version
                    .as_ref()
                    .is_some_and(|version| *version != file.version)
                {
                    let now = format!("the version is {}", file.version.0);
                    return Err((ErrorKind::PreconditionFailed, now));
                }
                Ok((state.entry(&path, file), file.content.clone()))
            })
            .await?;
        let content = match options.range {
            None => content,
            Some(range) => {
                let end = range.end.min(entry.size);
                let start = range.start.min(end);
                // Both are at most the length of what lies in memory.
                content.slice(start as usize..end as usize)
            }
        };
        let piece = self.store.shared.options.piece_size.max(1);
        let pieces = (0..content.len())
            .step_by(piece)
            .map(move |start| Ok(content.slice(start..content.len().min(start + piece))));
        Ok(Download {
            entry,
            body: stream::iter(pieces).boxed(),
        })
    }

    async fn put(&self, path: &RelPath, body: Bytes, options: PutOptions) -> Result<Entry> {
        self.call(Operation::Put, path.as_str(), |state| {
            state.check_name(path)?;
            if body.len() as u64 > state.options.single_put_max {
                return Err((
                    ErrorKind::Permanent,
                    format!("{} bytes are too many for one call", body.len()),
                ));
            }
            let enforced = state.options.enforced;
            let enforced = (enforced.create_if_absent, enforced.replace_if_match);
            let path = state.spelled(path);
            state.check_target(&path, &options.precondition, enforced)?;
            state.write(&path, body, options.mtime_ns, Origin::Single)
        })
        .await
    }

    async fn start_upload(&self, path: &RelPath, options: UploadOptions) -> Result<Upload> {
        self.call(Operation::StartUpload, path.as_str(), |state| {
            state.start_upload(path, options)
        })
        .await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        self.call(Operation::PutPart, upload.path.as_str(), |state| {
            state.put_part(upload, number, body)
        })
        .await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: Precondition,
    ) -> Result<Entry> {
        self.call(Operation::CompleteUpload, upload.path.as_str(), |state| {
            state.complete_upload(upload, parts, &precondition)
        })
        .await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.call(Operation::AbortUpload, upload.path.as_str(), |state| {
            state.uploads.remove(&upload.id);
            Ok(())
        })
        .await
    }

    async fn list_uploads(&self) -> Result<Vec<UnfinishedUpload>> {
        self.call(Operation::ListUploads, "", |state| {
            Ok(state
                .uploads
                .values()
                .map(|pending| pending.unfinished())
                .collect())
        })
        .await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        self.call(Operation::ListParts, upload.path.as_str(), |state| {
            state.list_parts(upload)
        })
        .await
    }

    async fn delete(&self, path: &RelPath, precondition: Precondition) -> Result<()> {
        self.call(Operation::Delete, path.as_str(), |state| {
            state.delete(path, &precondition)
        })
        .await
    }

    async fn copy(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        self.only_with(self.capabilities.copy, Operation::Copy, to)?;
        self.call(Operation::Copy, format!("{from} -> {to}"), |state| {
            state.copy(from, to, &options)
        })
        .await
    }

    async fn rename(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        self.only_with(self.capabilities.rename, Operation::Rename, from)?;
        self.call(Operation::Rename, format!("{from} -> {to}"), |state| {
            state.rename(from, to, &options)
        })
        .await
    }

    async fn create_dir(&self, path: &RelPath) -> Result<Entry> {
        self.only_with(self.capabilities.folders, Operation::CreateDir, path)?;
        self.call(Operation::CreateDir, path.as_str(), |state| {
            state.create_dir(path)
        })
        .await
    }

    async fn delete_dir(&self, path: &RelPath) -> Result<()> {
        self.only_with(self.capabilities.folders, Operation::DeleteDir, path)?;
        self.call(Operation::DeleteDir, path.as_str(), |state| {
            state.delete_dir(path)
        })
        .await
    }
}
