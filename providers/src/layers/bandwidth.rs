//! Holds content to so many bytes per second, up and down.
//!
//! Each direction has one clock that says when the next byte is due. A transfer books at most 64 KiB at a time and waits
//! for its turn before it books more, so that all transfers get on at the same pace and a small file does not wait
//! behind a large one. A download is paced as it is read. A body that goes up is handed to the adapter in one piece, so
//! its time is spent before the call: on the wire it is a burst of the size of one part. An adapter that streams its
//! bodies can pace them itself with [`Bandwidth::up`].

#![deny(clippy::missing_trait_methods)]

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::time::Instant;

use crate::{
    Capabilities, ChangePage, CopyOptions, Download, Enforcement, Entry, GetOptions, ListOptions,
    Listed, Part, Precondition, Provider, PutOptions, RelPath, RemoteIdentity, Result,
    UnfinishedUpload, Upload, UploadOptions,
};

/// What a transfer books at once, in bytes.
const SLICE: usize = 64 << 10;

/// Limits in bytes per second; no limit where `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BandwidthOptions {
    /// Towards the provider.
    pub up: Option<NonZeroU64>,
    /// From the provider.
    pub down: Option<NonZeroU64>,
}

/// One direction's clock, shared by all transfers.
#[derive(Debug)]
pub struct Pacer {
    bytes_per_second: NonZeroU64,
    next_free: Mutex<Instant>,
}

impl Pacer {
    /// A clock that starts now.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self {
            bytes_per_second,
            next_free: Mutex::new(Instant::now()),
        }
    }

    /// Waits until `bytes` more may have passed.
    pub async fn pace(&self, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            let slice = left.min(SLICE);
            tokio::time::sleep_until(self.book(slice)).await;
            left -= slice;
        }
    }

    /// Books the next `bytes`; says when they will have passed. Idle time is not saved up: a pause earns no burst.
    fn book(&self, bytes: usize) -> Instant {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut next_free = self
            .next_free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *next_free = (*next_free).max(Instant::now()) + takes;
        *next_free
    }
}

/// The layer that limits the bandwidth.
#[derive(Debug)]
pub struct Bandwidth {
    inner: Arc<dyn Provider>,
    up: Option<Arc<Pacer>>,
    down: Option<Arc<Pacer>>,
}

impl Bandwidth {
    /// Limits what goes to and comes from `inner`.
    pub fn new(inner: Arc<dyn Provider>, options: BandwidthOptions) -> Self {
        let pacer = |rate: NonZeroU64| Arc::new(Pacer::new(rate));
        Self {
            inner,
            up: options.up.map(pacer),
            down: options.down.map(pacer),
        }
    }

    /// The clock of what goes up, if there is a limit.
    pub fn up(&self) -> Option<&Arc<Pacer>> {
        self.up.as_ref()
    }

    async fn send(&self, bytes: usize) {
        if let Some(up) = &self.up {
            up.pace(bytes).await;
        }
    }
}

#[async_trait]
impl Provider for Bandwidth {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn clock(&self) -> Option<DateTime<Utc>> {
        self.inner.clock()
    }

    async fn describe(&self) -> Result<RemoteIdentity> {
        self.inner.describe().await
    }

    async fn probe(&self) -> Result<Enforcement> {
        self.inner.probe().await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'_, Result<Listed>> {
        self.inner.list(options)
    }

    async fn changes(&self, cursor: Option<&str>) -> Result<ChangePage> {
        self.inner.changes(cursor).await
    }

    async fn stat(&self, path: &RelPath) -> Result<Entry> {
        self.inner.stat(path).await
    }

    async fn get(&self, path: &RelPath, options: GetOptions) -> Result<Download> {
        let download = self.inner.get(path, options).await?;
        let Some(down) = self.down.clone() else {
            return Ok(download);
        };
        let body = download.body.then(move |piece| {
            let down = Arc::clone(&down);
            async move {
                if let Ok(piece) = &piece {
                    down.pace(piece.len()).await;
                }
                piece
            }
        });
        Ok(Download {
            entry: download.entry,
            body: body.boxed(),
        })
    }

    async fn put(&self, path: &RelPath, body: Bytes, options: PutOptions) -> Result<Entry> {
        self.send(body.len()).await;
        self.inner.put(path, body, options).await
    }

    async fn start_upload(&self, path: &RelPath, options: UploadOptions) -> Result<Upload> {
        self.inner.start_upload(path, options).await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        self.send(body.len()).await;
        self.inner.put_part(upload, number, body).await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: Precondition,
    ) -> Result<Entry> {
        self.inner
            .complete_upload(upload, parts, precondition)
            .await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.inner.abort_upload(upload).await
    }

    async fn list_uploads(&self) -> Result<Vec<UnfinishedUpload>> {
        self.inner.list_uploads().await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        self.inner.list_parts(upload).await
    }

    async fn delete(&self, path: &RelPath, precondition: Precondition) -> Result<()> {
        self.inner.delete(path, precondition).await
    }

    async fn copy(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        self.inner.copy(from, to, options).await
    }

    async fn rename(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        self.inner.rename(from, to, options).await
    }

    async fn create_dir(&self, path: &RelPath) -> Result<Entry> {
        self.inner.create_dir(path).await
    }

    async fn delete_dir(&self, path: &RelPath) -> Result<()> {
        self.inner.delete_dir(path).await
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;
    use crate::memory::{MemoryOptions, MemoryStore};

    const MIB: u64 = 1 << 20;

    fn limited(store: &MemoryStore) -> Bandwidth {
        Bandwidth::new(
            store.provider(),
            BandwidthOptions {
                up: NonZeroU64::new(MIB),
                down: NonZeroU64::new(2 * MIB),
            },
        )
    }

    async fn read(provider: &Bandwidth, name: &str) -> Duration {
        let start = Instant::now();
        let path = RelPath::new(name).unwrap();
        let download = provider.get(&path, GetOptions::default()).await.unwrap();
        let _: Vec<Bytes> = download.body.try_collect().await.unwrap();
        start.elapsed()
    }

    fn about(took: Duration, seconds: f64) {
        let off = (took.as_secs_f64() - seconds).abs();
        assert!(off < 0.15, "took {took:?}, not about {seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_take_their_time_up_and_down() {
        let store = MemoryStore::new(MemoryOptions::s3());
        let provider = limited(&store);
        let path = RelPath::new("a").unwrap();
        let start = Instant::now();
        let body = Bytes::from(vec![1; 4 << 20]);
        provider
            .put(&path, body, PutOptions::default())
            .await
            .unwrap();
        about(start.elapsed(), 4.0);
        about(read(&provider, "a").await, 2.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_file_does_not_wait_behind_a_large_one() {
        let store = MemoryStore::new(MemoryOptions::s3());
        store.insert("large", &vec![1; 8 << 20]);
        store.insert("small", &vec![2; 1 << 20]);
        let provider = limited(&store);
        let (large, small) = tokio::join!(read(&provider, "large"), read(&provider, "small"));
        about(large, 4.5);
        about(small, 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_is_not_saved_up() {
        let pacer = Pacer::new(NonZeroU64::new(MIB).unwrap());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        pacer.pace(2 << 20).await;
        about(start.elapsed(), 2.0);
    }
}
