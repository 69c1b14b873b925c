//! Faults on purpose, for tests: the n-th call fails before or after it took effect, hangs, is slow, answers short, or the
//! process is dead from then on.
//!
//! A [`FaultSet`] is the script; it can be shared by several [`Faults`] layers, and is asked at each call. Faults are
//! consumed: [`FaultSet::assert_all_reached`] fails a test whose script was not played to its end, since such a test
//! shows nothing. (The idea is kopia's `internal/fault`.)
//!
//! The layer lies directly around the adapter, below the retry layer: scripted faults are what the network does.

#![deny(clippy::missing_trait_methods)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use crate::{
    Capabilities, ChangePage, CopyOptions, Download, Enforcement, Entry, ErrorKind, GetOptions,
    ListOptions, Listed, Operation, Part, Precondition, Provider, PutOptions, RelPath,
    RemoteIdentity, Result, UnfinishedUpload, Upload, UploadOptions,
};

mod script;

pub use script::{Fault, FaultSet, Moment};
use script::{Play, scripted};

/// The layer that plays a [`FaultSet`].
#[derive(Debug)]
pub struct Faults {
    inner: Arc<dyn Provider>,
    set: Arc<FaultSet>,
}

impl Faults {
    /// Plays `set` on what is asked of `inner`.
    pub fn new(inner: Arc<dyn Provider>, set: Arc<FaultSet>) -> Self {
        Self { inner, set }
    }

    async fn play<Value>(
        &self,
        operation: Operation,
        path: &str,
        call: impl Future<Output = Result<Value>> + Send,
    ) -> Result<Value> {
        let play = self.set.next(operation, path);
        if let Play::Slow(delay) = play {
            tokio::time::sleep(delay).await;
        }
        match play {
            Play::Pass | Play::Slow(_) | Play::ShortBody { .. } | Play::BreakListing { .. } => {
                let answer = call.await;
                self.set.alive(operation, path)?;
                answer
            }
            Play::Fail {
                moment: Moment::Before,
                kind,
            } => Err(scripted(kind, operation, path)),
            Play::Fail {
                moment: Moment::After,
                kind,
            } => {
                call.await?;
                Err(scripted(kind, operation, path))
            }
            Play::Hang(moment) => {
                if moment == Moment::After {
                    call.await?;
                }
                std::future::pending().await
            }
        }
    }

    async fn play_get(&self, path: &RelPath, options: GetOptions) -> Result<Download> {
        let name = path.as_str();
        let cut = match self.set.next(Operation::Get, name) {
            Play::Fail { kind, .. } => return Err(scripted(kind, Operation::Get, name)),
            Play::Hang(_) => return std::future::pending().await,
            Play::ShortBody { bytes, kind } => Some((bytes, kind)),
            Play::Slow(delay) => {
                tokio::time::sleep(delay).await;
                None
            }
            Play::Pass | Play::BreakListing { .. } => None,
        };
        let download = self.inner.get(path, options).await?;
        let set = Arc::clone(&self.set);
        let name = name.to_owned();
        let body = match cut {
            None => download.body,
            Some((bytes, kind)) => cut_off(download.body, bytes, kind, name.clone()),
        };
        Ok(Download {
            entry: download.entry,
            body: body
                .map(move |piece| {
                    set.alive(Operation::Get, &name)?;
                    piece
                })
                .boxed(),
        })
    }
}

/// The first `bytes` of a body, then an error, or just the end without a kind.
fn cut_off(
    body: BoxStream<'static, Result<Bytes>>,
    bytes: u64,
    kind: Option<ErrorKind>,
    path: String,
) -> BoxStream<'static, Result<Bytes>> {
    let pieces = body.scan(bytes, |left, piece| {
        let piece = piece.map(|mut piece| {
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= piece.len() as u64;
            piece
        });
        let nothing_left = matches!(&piece, Ok(piece) if piece.is_empty());
        std::future::ready((!nothing_left).then_some(piece))
    });
    let end = stream::iter(kind.map(|kind| Err(scripted(kind, Operation::Get, &path))));
    pieces.chain(end).boxed()
}

#[async_trait]
impl Provider for Faults {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn clock(&self) -> Option<DateTime<Utc>> {
        self.inner.clock()
    }

    async fn describe(&self) -> Result<RemoteIdentity> {
        self.play(Operation::Describe, "", self.inner.describe())
            .await
    }

    async fn probe(&self) -> Result<Enforcement> {
        self.play(Operation::Probe, "", self.inner.probe()).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'_, Result<Listed>> {
        let path = options
            .below
            .as_ref()
            .map_or_else(String::new, RelPath::to_string);
        let play = self.set.next(Operation::List, &path);
        let delay = match play {
            Play::Slow(delay) => delay,
            _ => Duration::ZERO,
        };
        let (items, end) = match play {
            Play::Pass | Play::Slow(_) | Play::ShortBody { .. } => (usize::MAX, None),
            Play::Fail {
                moment: Moment::Before,
                kind,
            } => (0, Some(kind)),
            Play::Fail {
                moment: Moment::After,
                kind,
            } => (usize::MAX, Some(kind)),
            Play::BreakListing { items, kind } => (items, Some(kind)),
            Play::Hang(_) => return stream::pending().boxed(),
        };
        let error = end.map(|kind| Err(scripted(kind, Operation::List, &path)));
        let listing = self.inner.list(options);
        let waiting = async move {
            if delay > Duration::ZERO {
                tokio::time::sleep(delay).await;
            }
        };
        stream::once(waiting)
            .flat_map(|()| stream::empty())
            .chain(listing)
            .take(items)
            .map(move |item| {
                self.set.alive(Operation::List, &path)?;
                item
            })
            .chain(stream::iter(error))
            .boxed()
    }

    async fn changes(&self, cursor: Option<&str>) -> Result<ChangePage> {
        self.play(Operation::Changes, "", self.inner.changes(cursor))
            .await
    }

    async fn stat(&self, path: &RelPath) -> Result<Entry> {
        self.play(Operation::Stat, path.as_str(), self.inner.stat(path))
            .await
    }

    async fn get(&self, path: &RelPath, options: GetOptions) -> Result<Download> {
        self.play_get(path, options).await
    }

    async fn put(&self, path: &RelPath, body: Bytes, options: PutOptions) -> Result<Entry> {
        let call = self.inner.put(path, body, options);
        self.play(Operation::Put, path.as_str(), call).await
    }

    async fn start_upload(&self, path: &RelPath, options: UploadOptions) -> Result<Upload> {
        let call = self.inner.start_upload(path, options);
        self.play(Operation::StartUpload, path.as_str(), call).await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        let call = self.inner.put_part(upload, number, body);
        self.play(Operation::PutPart, upload.path.as_str(), call)
            .await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: Precondition,
    ) -> Result<Entry> {
        let call = self.inner.complete_upload(upload, parts, precondition);
        self.play(Operation::CompleteUpload, upload.path.as_str(), call)
            .await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        let call = self.inner.abort_upload(upload);
        self.play(Operation::AbortUpload, upload.path.as_str(), call)
            .await
    }

    async fn list_uploads(&self) -> Result<Vec<UnfinishedUpload>> {
        self.play(Operation::ListUploads, "", self.inner.list_uploads())
            .await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        let call = self.inner.list_parts(upload);
        self.play(Operation::ListParts, upload.path.as_str(), call)
            .await
    }

    async fn delete(&self, path: &RelPath, precondition: Precondition) -> Result<()> {
        let call = self.inner.delete(path, precondition);
        self.play(Operation::Delete, path.as_str(), call).await
    }

    async fn copy(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        let call = self.inner.copy(from, to, options);
        self.play(Operation::Copy, to.as_str(), call).await
    }

    async fn rename(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        let call = self.inner.rename(from, to, options);
        self.play(Operation::Rename, from.as_str(), call).await
    }

    async fn create_dir(&self, path: &RelPath) -> Result<Entry> {
        self.play(
            Operation::CreateDir,
            path.as_str(),
            self.inner.create_dir(path),
        )
        .await
    }

    async fn delete_dir(&self, path: &RelPath) -> Result<()> {
        self.play(
            Operation::DeleteDir,
            path.as_str(),
            self.inner.delete_dir(path),
        )
        .await
    }
}

#[cfg(test)]
mod tests;
