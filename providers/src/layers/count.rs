//! Counts calls by operation, and bytes up and down.
//!
//! A call of the trait is not always one request: a listing has pages, a copy of a large object has parts, a probe is a
//! dozen requests. The numbers shown to people must be true, so an adapter that talks HTTP is handed the same
//! [`CallCounter`] and counts each request as it sends it; the layer then only counts bytes ([`Counting::Bytes`]). For
//! an adapter that does not count, the layer counts each call of the trait as one ([`Counting::Calls`]).
//!
//! The layer lies below the retry layer, so that each attempt counts.

#![deny(clippy::missing_trait_methods)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde::Serialize;

use super::LastFailure;
use crate::{
    Capabilities, ChangePage, CopyOptions, Download, Enforcement, Entry, GetOptions, ListOptions,
    Listed, Operation, Part, Precondition, Provider, PutOptions, RelPath, RemoteIdentity, Result,
    UnfinishedUpload, Upload, UploadOptions,
};

/// Counts, shared between layer, adapter and whoever shows them.
#[derive(Debug, Default)]
pub struct CallCounter {
    calls: Mutex<BTreeMap<Operation, u64>>,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    last_failure: LastFailure,
}

/// What a [`CallCounter`] has counted so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CallCounts {
    /// Calls of all operations together.
    pub total: u64,
    /// Calls by operation; operations without a call are left out.
    pub by_operation: BTreeMap<Operation, u64>,
    /// Bytes of content handed to the provider, failed attempts included.
    pub bytes_up: u64,
    /// Bytes of content that arrived from the provider.
    pub bytes_down: u64,
}

impl CallCounts {
    /// How many calls of one operation there were.
    pub fn of(&self, operation: Operation) -> u64 {
        self.by_operation.get(&operation).copied().unwrap_or(0)
    }
}

impl CallCounter {
    /// A counter at zero.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Counts one request. Adapters call this for each request that they send, whatever becomes of it.
    pub fn count(&self, operation: Operation) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry(operation).or_default() += 1;
    }

    /// What was counted since the start or the last [`CallCounter::reset`].
    pub fn counts(&self) -> CallCounts {
        let by_operation = self
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        CallCounts {
            total: by_operation.values().sum(),
            by_operation,
            bytes_up: self.bytes_up.load(Ordering::Relaxed),
            bytes_down: self.bytes_down.load(Ordering::Relaxed),
        }
    }

    /// What is being repeated right now, for the [`RetryPolicy`](super::RetryPolicy) of the same stack.
    pub fn last_failure(&self) -> LastFailure {
        self.last_failure.clone()
    }

    /// Begins again at zero.
    pub fn reset(&self) {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.bytes_up.store(0, Ordering::Relaxed);
        self.bytes_down.store(0, Ordering::Relaxed);
    }

    fn up(&self, bytes: usize) {
        self.bytes_up.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn down(&self, bytes: usize) {
        self.bytes_down.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Who counts the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// The layer: one for each call of the trait.
    Calls,
    /// The adapter, which has the same counter; the layer counts bytes only.
    Bytes,
}

/// The counting layer.
#[derive(Debug)]
pub struct Count {
    inner: Arc<dyn Provider>,
    counter: Arc<CallCounter>,
    counting: Counting,
}

impl Count {
    /// Counts what is asked of `inner` into `counter`.
    pub fn new(inner: Arc<dyn Provider>, counter: Arc<CallCounter>, counting: Counting) -> Self {
        Self {
            inner,
            counter,
            counting,
        }
    }

    fn call(&self, operation: Operation) -> &dyn Provider {
        if self.counting == Counting::Calls {
            self.counter.count(operation);
        }
        &*self.inner
    }
}

#[async_trait]
impl Provider for Count {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn clock(&self) -> Option<DateTime<Utc>> {
        self.inner.clock()
    }

    async fn describe(&self) -> Result<RemoteIdentity> {
        self.call(Operation::Describe).describe().await
    }

    async fn probe(&self) -> Result<Enforcement> {
        self.call(Operation::Probe).probe().await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'_, Result<Listed>> {
        self.call(Operation::List).list(options)
    }

    async fn changes(&self, cursor: Option<&str>) -> Result<ChangePage> {
        self.call(Operation::Changes).changes(cursor).await
    }

    async fn stat(&self, path: &RelPath) -> Result<Entry> {
        self.call(Operation::Stat).stat(path).await
    }

    async fn get(&self, path: &RelPath, options: GetOptions) -> Result<Download> {
        let download = self.call(Operation::Get).get(path, options).await?;
        let counter = Arc::clone(&self.counter);
        let body = download.body.inspect(move |piece| {
            if let Ok(piece) = piece {
                counter.down(piece.len());
            }
        });
        Ok(Download {
            entry: download.entry,
            body: body.boxed(),
        })
    }

    async fn put(&self, path: &RelPath, body: Bytes, options: PutOptions) -> Result<Entry> {
        self.counter.up(body.len());
        self.call(Operation::Put).put(path, body, options).await
    }

    async fn start_upload(&self, path: &RelPath, options: UploadOptions) -> Result<Upload> {
        self.call(Operation::StartUpload)
            .start_upload(path, options)
            .await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        self.counter.up(body.len());
        self.call(Operation::PutPart)
            .put_part(upload, number, body)
            .await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: Precondition,
    ) -> Result<Entry> {
        self.call(Operation::CompleteUpload)
            .complete_upload(upload, parts, precondition)
            .await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.call(Operation::AbortUpload).abort_upload(upload).await
    }

    async fn list_uploads(&self) -> Result<Vec<UnfinishedUpload>> {
        self.call(Operation::ListUploads).list_uploads().await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        self.call(Operation::ListParts).list_parts(upload).await
    }

    async fn delete(&self, path: &RelPath, precondition: Precondition) -> Result<()> {
        self.call(Operation::Delete)
            .delete(path, precondition)
            .await
    }

    async fn copy(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        self.call(Operation::Copy).copy(from, to, options).await
    }

    async fn rename(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        self.call(Operation::Rename).rename(from, to, options).await
    }

    async fn create_dir(&self, path: &RelPath) -> Result<Entry> {
        self.call(Operation::CreateDir).create_dir(path).await
    }

    async fn delete_dir(&self, path: &RelPath) -> Result<()> {
        self.call(Operation::DeleteDir).delete_dir(path).await
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;
    use crate::memory::{MemoryOptions, MemoryStore};

    #[tokio::test]
    async fn calls_and_bytes_are_counted_by_operation() {
        let counter = CallCounter::new();
        let provider = Count::new(
            MemoryStore::new(MemoryOptions::s3()).provider(),
            Arc::clone(&counter),
            Counting::Calls,
        );
        let path = RelPath::new("a").unwrap();
        let body = Bytes::from_static(b"12345");
        provider
            .put(&path, body, PutOptions::default())
            .await
            .unwrap();
        let download = provider.get(&path, GetOptions::default()).await.unwrap();
        let _: Vec<Bytes> = download.body.try_collect().await.unwrap();
        assert!(provider.stat(&RelPath::new("b").unwrap()).await.is_err());

        let counts = counter.counts();
        assert_eq!(
            serde_json::to_value(&counts).unwrap(),
            serde_json::json!({
                "total": 3, "by_operation": {"put": 1, "get": 1, "stat": 1}, "bytes_up": 5, "bytes_down": 5
            })
        );
        counter.reset();
        assert_eq!(counter.counts(), CallCounts::default());
    }

    #[tokio::test]
    async fn pages_that_the_adapter_counts_are_not_counted_twice() {
        let counter = CallCounter::new();
        let store = MemoryStore::new(MemoryOptions {
            page_size: 10,
            ..MemoryOptions::s3()
        });
        for number in 0..25 {
            store.insert(&format!("file-{number:02}"), b"");
        }
        let adapter = Arc::new(store.counted_provider(Arc::clone(&counter)));
        let provider = Count::new(adapter, Arc::clone(&counter), Counting::Bytes);
        let all: Vec<Listed> = provider
            .list(ListOptions::default())
            .try_collect()
            .await
            .unwrap();
        assert_eq!(all.len(), 25);
        assert_eq!(counter.counts().of(Operation::List), 3);
    }
}
