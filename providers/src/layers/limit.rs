//! Keeps a provider from being asked too much at once: requests per second, and calls under way.
//!
//! The rate is governor's (a token bucket without a thread); it runs on tokio's clock, so that tests can stop time.
//!
//! Bodies of downloads have places of their own. Were they to share those of the calls, a task that reads one object
//! while it writes another could wait for a place that it holds itself. Listings take none for the same reason: whoever
//! reads a listing makes calls while it is open; their pages come one after the other anyway.

#![deny(clippy::missing_trait_methods)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::{
    Capabilities, ChangePage, CopyOptions, Download, Enforcement, Entry, GetOptions, ListOptions,
    Listed, Part, Precondition, Provider, PutOptions, RelPath, RemoteIdentity, Result,
    UnfinishedUpload, Upload, UploadOptions,
};

/// How much may be asked of a provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitOptions {
    /// Calls begun per second, after a burst of as many; no limit when `None`.
    pub calls_per_second: Option<NonZeroU32>,
    /// Calls waiting for their answer, and, counted apart, downloads being read; no limit when `None`.
    pub concurrent: Option<NonZeroU32>,
}

/// Tokio's clock, for governor.
#[derive(Debug, Clone)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Rate = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>;

/// The limiting layer.
#[derive(Debug)]
pub struct Limit {
    inner: Arc<dyn Provider>,
    rate: Option<Rate>,
    calls: Option<Arc<Semaphore>>,
    downloads: Option<Arc<Semaphore>>,
}

impl Limit {
    /// Limits what is asked of `inner`.
    pub fn new(inner: Arc<dyn Provider>, options: LimitOptions) -> Self {
        let semaphore = || {
            options
                .concurrent
                .map(|places| Arc::new(Semaphore::new(places.get() as usize)))
        };
        Self {
            inner,
            rate: options.calls_per_second.map(|rate| {
                RateLimiter::direct_with_clock(Quota::per_second(rate), TokioClock(Instant::now()))
            }),
            calls: semaphore(),
            downloads: semaphore(),
        }
    }

    /// Waits until the rate allows another call.
    async fn turn(&self) {
        let Some(rate) = &self.rate else { return };
        while let Err(not_until) = rate.check() {
            tokio::time::sleep(not_until.wait_time_from(rate.clock().now())).await;
        }
    }

    /// Waits for a place and a turn. The place is free again when what comes back is dropped.
    async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        let place = place(self.calls.as_ref()).await;
        self.turn().await;
        place
    }
}

/// A place of a semaphore that is never closed.
async fn place(semaphore: Option<&Arc<Semaphore>>) -> Option<OwnedSemaphorePermit> {
    match semaphore {
        Some(semaphore) => Arc::clone(semaphore).acquire_owned().await.ok(),
        None => None,
    }
}

#[async_trait]
impl Provider for Limit {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn clock(&self) -> Option<DateTime<Utc>> {
        self.inner.clock()
    }

    async fn describe(&self) -> Result<RemoteIdentity> {
        let _place = self.enter().await;
        self.inner.describe().await
    }

    async fn probe(&self) -> Result<Enforcement> {
        let _place = self.enter().await;
        self.inner.probe().await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'_, Result<Listed>> {
        self.turn()
            .map(|()| self.inner.list(options))
            .flatten_stream()
            .boxed()
    }

    async fn changes(&self, cursor: Option<&str>) -> Result<ChangePage> {
        let _place = self.enter().await;
        self.inner.changes(cursor).await
    }

    async fn stat(&self, path: &RelPath) -> Result<Entry> {
        let _place = self.enter().await;
        self.inner.stat(path).await
    }

    async fn get(&self, path: &RelPath, options: GetOptions) -> Result<Download> {
        let download_place = place(self.downloads.as_ref()).await;
        self.turn().await;
        let download = self.inner.get(path, options).await?;
        let body = download.body.map(move |piece| {
            // Captured, so that the place is free again when the body is read or dropped.
            let _held = &download_place;
            piece
        });
        Ok(Download {
            entry: download.entry,
            body: body.boxed(),
        })
    }

    async fn put(&self, path: &RelPath, body: Bytes, options: PutOptions) -> Result<Entry> {
        let _place = self.enter().await;
        self.inner.put(path, body, options).await
    }

    async fn start_upload(&self, path: &RelPath, options: UploadOptions) -> Result<Upload> {
        let _place = self.enter().await;
        self.inner.start_upload(path, options).await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        let _place = self.enter().await;
        self.inner.put_part(upload, number, body).await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: Precondition,
    ) -> Result<Entry> {
        let _place = self.enter().await;
        self.inner
            .complete_upload(upload, parts, precondition)
            .await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        let _place = self.enter().await;
        self.inner.abort_upload(upload).await
    }

    async fn list_uploads(&self) -> Result<Vec<UnfinishedUpload>> {
        let _place = self.enter().await;
        self.inner.list_uploads().await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        let _place = self.enter().await;
        self.inner.list_parts(upload).await
    }

    async fn delete(&self, path: &RelPath, precondition: Precondition) -> Result<()> {
        let _place = self.enter().await;
        self.inner.delete(path, precondition).await
    }

    async fn copy(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        let _place = self.enter().await;
        self.inner.copy(from, to, options).await
    }

    async fn rename(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        let _place = self.enter().await;
        self.inner.rename(from, to, options).await
    }

    async fn create_dir(&self, path: &RelPath) -> Result<Entry> {
        let _place = self.enter().await;
        self.inner.create_dir(path).await
    }

    async fn delete_dir(&self, path: &RelPath) -> Result<()> {
        let _place = self.enter().await;
        self.inner.delete_dir(path).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;
    use crate::layers::{Fault, FaultSet, Faults};
    use crate::memory::{MemoryOptions, MemoryStore};

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_for_their_turn() {
        let store = MemoryStore::new(MemoryOptions::s3());
        store.insert("a", b"");
        let provider = Limit::new(
            store.provider(),
            LimitOptions {
                calls_per_second: NonZeroU32::new(10),
                concurrent: None,
            },
        );
        let start = Instant::now();
        for _ in 0..35 {
            provider.stat(&path("a")).await.unwrap();
        }
        // Ten at once, then one each 100 ms.
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(2_500), "{took:?}");
        assert!(took <= Duration::from_millis(2_600), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_calls_are_under_way_than_allowed() {
        let store = MemoryStore::new(MemoryOptions::s3());
        let faults = FaultSet::new();
        faults.add(Fault::on(Operation::Stat).times(2).hangs());
        let provider = Limit::new(
            Arc::new(Faults::new(store.provider(), Arc::clone(&faults))),
            LimitOptions {
                calls_per_second: None,
                concurrent: NonZeroU32::new(2),
            },
        );
        let wait = Duration::from_secs(1);
        let name = path("a");
        {
            let first = provider.stat(&name);
            let second = provider.stat(&name);
            let third = tokio::time::timeout(wait, provider.delete(&name, Precondition::Any));
            tokio::select! {
                biased;
                _ = first => panic!("it hangs"),
                _ = second => panic!("it hangs"),
                third = third => assert!(third.is_err(), "a third call got through"),
            }
        }
        // The two were given up: their places are free.
        provider.delete(&name, Precondition::Any).await.unwrap();
        faults.assert_all_reached();
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_that_is_read_keeps_its_place_but_blocks_no_other_call() {
        let store = MemoryStore::new(MemoryOptions::s3());
        store.insert("a", b"content");
        let provider = Limit::new(
            store.provider(),
            LimitOptions {
                calls_per_second: None,
                concurrent: NonZeroU32::new(1),
            },
        );
        let download = provider
            .get(&path("a"), GetOptions::default())
            .await
            .unwrap();
        provider.stat(&path("a")).await.unwrap();
        let wait = Duration::from_secs(1);
        let name = path("a");
        let second = provider.get(&name, GetOptions::default());
        assert!(tokio::time::timeout(wait, second).await.is_err());
        drop(download);
        provider
            .get(&path("a"), GetOptions::default())
            .await
            .unwrap();
    }
}
