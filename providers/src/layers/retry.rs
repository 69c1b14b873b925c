//! Repeats calls that failed for a reason that may pass.
//!
//! The pause before attempt n is random between nothing and `base * 2^n`, at most `cap`: the "full jitter" of
//! <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>, which spreads the callers best. A
//! provider's `Retry-After` is the least that is waited. A call ends after so many attempts or so much time, whichever
//! comes first; time is tokio's, and an attempt that hangs is cut off when the time is over.
//!
//! **Answers that were lost.** When an attempt ended in doubt, the next one may find our own work and call it a race:
//! `AlreadyExists` for the object that we wrote ourselves. Then the layer looks before it reports. What is there counts
//! as ours only when it is proven to be what we would have written (length, hash or the content itself, modification
//! time); otherwise the race is reported, and the caller looks for itself. Two writers of identical content cannot be
//! told apart by this, and need not be, unless the writing itself is the message: a lease must hold a random word.
//! The completion of an upload needs no look: by contract it succeeds once more for the object that carries the
//! upload's token.
//!
//! **Listings** are not repeated here: only an adapter can ask for the same page again, and going on behind the last
//! name could skip what was added meanwhile. Adapters repeat the request for a page with [`retry`].
//!
//! **Downloads** that break go on where they broke, with the same version; one without a version is not resumed.
//!
//! A call that is dropped is given up at once; the layer holds nothing that would have to be tidied up.

#![deny(clippy::missing_trait_methods)]

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::{
    Capabilities, ChangePage, CopyOptions, Download, Enforcement, Entry, Error, ErrorKind,
    GetOptions, ListOptions, Listed, Operation, Part, Precondition, Provider, PutOptions, RelPath,
    RemoteIdentity, Result, UnfinishedUpload, Upload, UploadOptions,
};

mod lost_answer;
mod resume;

/// How often and how long a call is repeated.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// The longest pause before the second attempt; it doubles with each further one.
    pub base: Duration,
    /// The longest pause, unless the provider asks for a longer one.
    pub cap: Duration,
    /// Attempts altogether, at least 1.
    pub attempts: u32,
    /// No attempt begins later than this after the first began, and none lasts longer.
    pub budget: Duration,
    /// Makes the pauses the same each time, for tests; random when `None`.
    pub seed: Option<u64>,
    /// Where the failure of the last attempt stands while a call is repeated.
    pub last_failure: LastFailure,
}

/// Why a call is being repeated right now. Clones share it: whoever cuts a run off can ask what it was waiting for.
#[derive(Debug, Clone, Default)]
pub struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    /// What the last attempt failed with, unless the call has come to an end since. Without secrets, as the texts of all
    /// [`Error`]s.
    pub fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl RetryPolicy {
    /// For calls without content: they are answered soon or not at all.
    pub fn metadata() -> Self {
        Self {
            base: Duration::from_millis(200),
            cap: Duration::from_secs(20),
            attempts: 12,
            budget: Duration::from_secs(5 * 60),
            seed: None,
            last_failure: LastFailure::default(),
        }
    }

    /// For calls with content: a slow line may fail often, and what was sent before is worth waiting for.
    pub fn transfer() -> Self {
        Self {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(60),
            attempts: 200,
            budget: Duration::from_secs(3 * 60 * 60),
            seed: None,
            last_failure: LastFailure::default(),
        }
    }
}

/// The policies of the retry layer.
#[derive(Debug, Clone)]
pub struct RetryOptions {
    /// For calls without content.
    pub metadata: RetryPolicy,
    /// For contents and parts, copies, and the completion of uploads, which ends hours of work.
    pub transfer: RetryPolicy,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            metadata: RetryPolicy::metadata(),
            transfer: RetryPolicy::transfer(),
        }
    }
}

/// Repeats `call` while its failure [is transient](Error::is_transient) and `policy` allows. For adapters: the request
/// for one page, one step of a larger call. The result of such a request must not depend on an earlier attempt.
///
/// # Errors
/// The last attempt's.
pub async fn retry<Value, Call, Answer>(policy: &RetryPolicy, mut call: Call) -> Result<Value>
where
    Call: FnMut() -> Answer,
    Answer: Future<Output = Result<Value>>,
{
    let mut backoff = Backoff::new(policy);
    loop {
        match call().await {
            Ok(value) => {
                backoff.over();
                return Ok(value);
            }
            Err(error) => backoff.pause(error).await?,
        }
    }
}

/// The pauses of one call.
struct Backoff<'policy> {
    policy: &'policy RetryPolicy,
    started: Instant,
    failures: u32,
    seeded: Option<StdRng>,
}

impl<'policy> Backoff<'policy> {
    fn new(policy: &'policy RetryPolicy) -> Self {
        Self {
            policy,
            started: Instant::now(),
            failures: 0,
            seeded: policy.seed.map(StdRng::seed_from_u64),
        }
    }

    fn remaining(&self) -> Duration {
        self.policy.budget.saturating_sub(self.started.elapsed())
    }

    /// The call has succeeded, so nothing is being repeated.
    fn over(&self) {
        if self.failures > 0 {
            self.policy.last_failure.set(None);
        }
    }

    /// Waits until the next attempt is due, or gives `error` back when there is none.
    async fn pause(&mut self, error: Error) -> Result<()> {
        let repeated = self.failures > 0;
        self.failures += 1;
        let is_last = !error.is_transient() || self.failures >= self.policy.attempts;
        let pause = self.next_pause(&error);
        if is_last || pause >= self.remaining() {
            if repeated {
                self.policy.last_failure.set(None);
            }
            return Err(error);
        }
        self.policy.last_failure.set(Some(error.to_string()));
        tracing::debug!(
            operation = error.operation.name(),
            path = error.path,
            attempt = self.failures,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            %error,
            "trying again"
        );
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn next_pause(&mut self, error: &Error) -> Duration {
        let doublings = (self.failures - 1).min(31);
        let longest = self
            .policy
            .base
            .saturating_mul(1 << doublings)
            .min(self.policy.cap);
        let share = match &mut self.seeded {
            Some(random) => random.random_range(0.0..=1.0),
            None => rand::random_range(0.0..=1.0),
        };
        let asked = match error.kind {
            ErrorKind::RateLimited { after } | ErrorKind::Transient { after } => after,
            _ => None,
        };
        longest.mul_f64(share).max(asked.unwrap_or_default())
    }

    /// Lets one attempt last no longer than the time that is left.
    async fn attempt<Value>(
        &self,
        operation: Operation,
        path: &str,
        call: impl Future<Output = Result<Value>>,
    ) -> Result<Value> {
        match tokio::time::timeout(self.remaining(), call).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(
                ErrorKind::Transient { after: None },
                operation,
                path,
                format!("no answer after {} s", self.started.elapsed().as_secs()),
            )),
        }
    }
}

/// A call that failed for good.
struct Failed {
    error: Error,
    /// An earlier attempt ended in doubt: it may have been carried out.
    in_doubt: bool,
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// The retry layer.
#[derive(Debug, Clone)]
pub struct Retry {
    inner: Arc<dyn Provider>,
    options: RetryOptions,
}

impl Retry {
    /// Repeats what is asked of `inner`.
    pub fn new(inner: Arc<dyn Provider>, options: RetryOptions) -> Self {
        Self { inner, options }
    }

    async fn attempts<Value, Call, Answer>(
        &self,
        policy: &RetryPolicy,
        operation: Operation,
        path: &str,
        mut call: Call,
    ) -> std::result::Result<Value, Failed>
    where
        Call: FnMut() -> Answer + Send,
        Answer: Future<Output = Result<Value>> + Send,
    {
        let mut backoff = Backoff::new(policy);
        let mut in_doubt = false;
        loop {
            match backoff.attempt(operation, path, call()).await {
                Ok(value) => {
                    backoff.over();
                    return Ok(value);
                }
                Err(error) => {
                    backoff
                        .pause(error)
                        .await
                        .map_err(|error| Failed { error, in_doubt })?;
                    in_doubt = true;
                }
            }
        }
    }

    async fn metadata<Value, Call, Answer>(
        &self,
        operation: Operation,
        path: &str,
        call: Call,
    ) -> Result<Value>
    where
        Call: FnMut() -> Answer + Send,
        Answer: Future<Output = Result<Value>> + Send,
    {
        Ok(self
            .attempts(&self.options.metadata, operation, path, call)
            .await?)
    }
}

#[async_trait]
impl Provider for Retry {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn clock(&self) -> Option<DateTime<Utc>> {
        self.inner.clock()
    }

    async fn describe(&self) -> Result<RemoteIdentity> {
        self.metadata(Operation::Describe, "", || self.inner.describe())
            .await
    }

    async fn probe(&self) -> Result<Enforcement> {
        self.metadata(Operation::Probe, "", || self.inner.probe())
            .await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'_, Result<Listed>> {
        self.inner.list(options)
    }

    async fn changes(&self, cursor: Option<&str>) -> Result<ChangePage> {
        self.metadata(Operation::Changes, "", || self.inner.changes(cursor))
            .await
    }

    async fn stat(&self, path: &RelPath) -> Result<Entry> {
        self.metadata(Operation::Stat, path.as_str(), || self.inner.stat(path))
            .await
    }

    async fn get(&self, path: &RelPath, options: GetOptions) -> Result<Download> {
        let download = self
            .attempts(
                &self.options.transfer,
                Operation::Get,
                path.as_str(),
                || self.inner.get(path, options.clone()),
            )
            .await?;
        Ok(self.resumable(path, options, download))
    }

    async fn put(&self, path: &RelPath, body: Bytes, options: PutOptions) -> Result<Entry> {
        let call = || self.inner.put(path, body.clone(), options.clone());
        let policy = &self.options.transfer;
        match self
            .attempts(policy, Operation::Put, path.as_str(), call)
            .await
        {
            Err(failed) if failed.in_doubt && failed.error.is_race() => {
                self.settle_put(failed.error, path, &body, &options).await
            }
            result => Ok(result?),
        }
    }

    /// A lost answer leaves an upload that nobody knows; [`Provider::list_uploads`] finds it.
    async fn start_upload(&self, path: &RelPath, options: UploadOptions) -> Result<Upload> {
        self.metadata(Operation::StartUpload, path.as_str(), || {
            self.inner.start_upload(path, options.clone())
        })
        .await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        let call = || self.inner.put_part(upload, number, body.clone());
        let policy = &self.options.transfer;
        Ok(self
            .attempts(policy, Operation::PutPart, upload.path.as_str(), call)
            .await?)
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: Precondition,
    ) -> Result<Entry> {
        let call = || {
            self.inner
                .complete_upload(upload, parts, precondition.clone())
        };
        let policy = &self.options.transfer;
        let path = upload.path.as_str();
        Ok(self
            .attempts(policy, Operation::CompleteUpload, path, call)
            .await?)
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.metadata(Operation::AbortUpload, upload.path.as_str(), || {
            self.inner.abort_upload(upload)
        })
        .await
    }

    async fn list_uploads(&self) -> Result<Vec<UnfinishedUpload>> {
        self.metadata(Operation::ListUploads, "", || self.inner.list_uploads())
            .await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        self.metadata(Operation::ListParts, upload.path.as_str(), || {
            self.inner.list_parts(upload)
        })
        .await
    }

    /// A lost answer does no harm: deleting what is gone succeeds, and what came after our delete is another version.
    async fn delete(&self, path: &RelPath, precondition: Precondition) -> Result<()> {
        self.metadata(Operation::Delete, path.as_str(), || {
            self.inner.delete(path, precondition.clone())
        })
        .await
    }

    async fn copy(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        let call = || self.inner.copy(from, to, options.clone());
        let policy = &self.options.transfer;
        match self
            .attempts(policy, Operation::Copy, to.as_str(), call)
            .await
        {
            Err(failed) if failed.in_doubt && failed.error.is_race() => {
                self.settle_copy(failed.error, from, to, &options).await
            }
            result => Ok(result?),
        }
    }

    async fn rename(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        let call = || self.inner.rename(from, to, options.clone());
        let policy = &self.options.metadata;
        match self
            .attempts(policy, Operation::Rename, from.as_str(), call)
            .await
        {
            Err(failed) if failed.in_doubt && failed.error.is_race() => {
                self.settle_rename(failed.error, from, to, &options).await
            }
            result => Ok(result?),
        }
    }

    async fn create_dir(&self, path: &RelPath) -> Result<Entry> {
        self.metadata(Operation::CreateDir, path.as_str(), || {
            self.inner.create_dir(path)
        })
        .await
    }

    async fn delete_dir(&self, path: &RelPath) -> Result<()> {
        self.metadata(Operation::DeleteDir, path.as_str(), || {
            self.inner.delete_dir(path)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
