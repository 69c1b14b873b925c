//! Finds out which conditions a store enforces. Some S3 stores ignore the headers silently, others refuse them.
//!
//! Everything happens to fresh keys under `.ows/probe/`, and every condition is tried both ways: it must stop what it
//! should stop and let pass what it should let pass. What was stored is removed again, with the unfinished uploads and,
//! in a bucket with versioning, the versions that were made.

use bytes::Bytes;
use http::Method;
use http::header::HeaderValue;

use super::S3Provider;
use super::client::Call;
use super::copy::{DIRECTIVE, SOURCE, copied};
use super::error::{Attempt, Condition, is_unusable};
use super::upload::{header, version_id_in};
use super::xml;
use crate::{Enforcement, Error, ErrorKind, Operation, Precondition, Result, Version};

/// An ETag that no object of the probe has.
const OTHER: &str = "00000000000000000000000000000000";

/// What there is to clean up.
#[derive(Default)]
struct Litter {
    keys: Vec<String>,
    versions: Vec<(String, String)>,
    uploads: Vec<(String, String)>,
}

/// How a conditional call went.
enum Verdict<T> {
    /// It was carried out.
    Done(T),
    /// The condition stopped it.
    Stopped,
    /// The store does not take the condition, or not from these credentials.
    Refused,
}

fn verdict<T>(outcome: Result<T>) -> Result<Verdict<T>> {
    match outcome {
        Ok(value) => Ok(Verdict::Done(value)),
        Err(Error { kind, .. }) if is_unmet(kind) => Ok(Verdict::Stopped),
        // It was carried out, and how the store says so cannot be read: that is no refusal.
        Err(error) if is_unusable(&error) => Err(error),
        // The plain write before has shown that bucket and credentials are right.
        Err(Error {
            kind:
                ErrorKind::Unsupported
                | ErrorKind::Permanent
                | ErrorKind::Forbidden
                | ErrorKind::NotFound,
            ..
        }) => Ok(Verdict::Refused),
        Err(error) => Err(error),
    }
}

fn is_unmet(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::AlreadyExists | ErrorKind::PreconditionFailed
    )
}

struct Probe<'a> {
    provider: &'a S3Provider,
    folder: String,
    litter: Litter,
}

impl S3Provider {
    pub(super) async fn find_enforcement(&self) -> Result<Enforcement> {
        let name = hex::encode(rand::random::<[u8; 8]>());
        let mut probe = Probe {
            provider: self,
            folder: format!("{}.ows/probe/{name}", self.client.address().prefix()),
            litter: Litter::default(),
        };
        let outcome = probe.run().await;
        probe.clean_up().await;
        outcome
    }
}

impl Probe<'_> {
    async fn run(&mut self) -> Result<Enforcement> {
        let key = format!("{}-a", self.folder);
        // Without any condition first: what fails here is no matter of conditions.
        let first = self.put(&key, "1", Precondition::Any).await?;
        let create_if_absent = self.create_if_absent(&key).await?;
        let replace_if_match = self.replace_if_match(&key).await?;
        let complete_if_absent = self.complete_if_absent(&key).await?;
        let complete_if_match = self.complete_if_match(&key).await?;
        let copy_if_absent = self.copy_if_absent(&key).await?;
        let delete_if_match = self.delete_if_match(&key).await?;
        tracing::debug!(first = %first.0, "probed");
        Ok(Enforcement {
            create_if_absent,
            replace_if_match,
            delete_if_match,
            complete_if_absent,
            complete_if_match,
            copy_if_absent,
            versioning: self.versioning().await?,
        })
    }

    async fn create_if_absent(&mut self, key: &str) -> Result<bool> {
        let fresh = format!("{}-b", self.folder);
        let created = verdict(self.put(&fresh, "1", Precondition::Absent).await)?;
        let again = verdict(self.put(key, "2", Precondition::Absent).await)?;
        Ok(matches!(
            (created, again),
            (Verdict::Done(_), Verdict::Stopped)
        ))
    }

    async fn replace_if_match(&mut self, key: &str) -> Result<bool> {
        let wrong = verdict(self.put(key, "3", other()).await)?;
        let current = self.put(key, "4", Precondition::Any).await?;
        let right = verdict(self.put(key, "5", Precondition::Version(current)).await)?;
        Ok(matches!(
            (wrong, right),
            (Verdict::Stopped, Verdict::Done(_))
        ))
    }

    async fn complete_if_absent(&mut self, key: &str) -> Result<bool> {
        let fresh = format!("{}-c", self.folder);
        let created = self.complete(&fresh, Precondition::Absent).await?;
        let again = self.complete(key, Precondition::Absent).await?;
        Ok(matches!(
            (created, again),
            (Verdict::Done(_), Verdict::Stopped)
        ))
    }

    async fn complete_if_match(&mut self, key: &str) -> Result<bool> {
        let wrong = self.complete(key, other()).await?;
        let current = self.put(key, "6", Precondition::Any).await?;
        let right = self.complete(key, Precondition::Version(current)).await?;
        Ok(matches!(
            (wrong, right),
            (Verdict::Stopped, Verdict::Done(_))
        ))
    }

    /// The condition on the new name of a copy came years after copies, and some stores have another header for it.
    async fn copy_if_absent(&mut self, key: &str) -> Result<bool> {
        let fresh = format!("{}-d", self.folder);
        let copied = self.copy(key, &fresh).await?;
        let again = self.copy(key, &fresh).await?;
        Ok(matches!(
            (copied, again),
            (Verdict::Done(()), Verdict::Stopped)
        ))
    }

    async fn delete_if_match(&mut self, key: &str) -> Result<bool> {
        let current = self.put(key, "7", Precondition::Any).await?;
        let wrong = verdict(self.delete(key, other()).await)?;
        let right = verdict(self.delete(key, Precondition::Version(current)).await)?;
        Ok(matches!(
            (wrong, right),
            (Verdict::Stopped, Verdict::Done(()))
        ))
    }

    fn attempt(&self, operation: Operation, key: &str, condition: &Precondition) -> Attempt {
        let shown = key.strip_prefix(self.provider.client.address().prefix());
        Attempt::new(operation, shown.unwrap_or(key)).on_condition(Condition::from(condition))
    }

    async fn put(&mut self, key: &str, body: &'static str, on: Precondition) -> Result<Version> {
        let attempt = self.attempt(Operation::Probe, key, &on);
        let call = Call::object(Method::PUT, key.to_owned())
            .headers(self.provider.storage_headers.clone())
            .body(Bytes::from_static(body.as_bytes()))
            .precondition(&attempt, &on)?;
        self.note_key(key);
        let answer = self.provider.client.send_content(&attempt, call).await?;
        if let Some(id) = version_id_in(&answer) {
            self.litter.versions.push((key.to_owned(), id));
        }
        super::object::version_in(answer.headers())
            .ok_or_else(|| attempt.error(ErrorKind::Permanent, "the answer has no ETag"))
    }

    async fn delete(&mut self, key: &str, on: Precondition) -> Result<()> {
        let attempt = self.attempt(Operation::Probe, key, &on);
        let call = Call::object(Method::DELETE, key.to_owned()).precondition(&attempt, &on)?;
        let answer = self.provider.client.send(&attempt, call).await?;
        if let Some(id) = version_id_in(&answer) {
            self.litter.versions.push((key.to_owned(), id));
        }
        Ok(())
    }

    async fn copy(&mut self, key: &str, to: &str) -> Result<Verdict<()>> {
        let on = Precondition::Absent;
        let attempt = self.attempt(Operation::Probe, to, &on);
        let source = self.provider.client.address().copy_source(key);
        let call = Call::object(Method::PUT, to.to_owned())
            .headers(self.provider.storage_headers.clone())
            .header(SOURCE, header(&attempt, &source)?)
            .header(DIRECTIVE, HeaderValue::from_static("COPY"))
            .precondition(&attempt, &on)?;
        self.note_key(to);
        let answer = match verdict(self.provider.client.send(&attempt, call).await)? {
            Verdict::Done(answer) => answer,
            Verdict::Stopped => return Ok(Verdict::Stopped),
            Verdict::Refused => return Ok(Verdict::Refused),
        };
        if let Some(id) = version_id_in(&answer) {
            self.litter.versions.push((to.to_owned(), id));
        }
        // A copy may fail after its status was sent.
        let told = self.provider.client.document(&attempt, answer).await;
        Ok(match verdict(told)? {
            Verdict::Done(text) if copied(&text, "CopyObjectResult").is_ok() => Verdict::Done(()),
            Verdict::Stopped => Verdict::Stopped,
            // Nothing that could be relied on.
            _ => Verdict::Refused,
        })
    }

    async fn complete(&mut self, key: &str, on: Precondition) -> Result<Verdict<()>> {
        let attempt = self.attempt(Operation::Probe, key, &Precondition::Any);
        let provider = self.provider;
        let headers = http::HeaderMap::new();
        let (id, _) = provider.create(&attempt, key.to_owned(), headers).await?;
        self.litter.uploads.push((key.to_owned(), id.clone()));
        self.note_key(key);
        let body = Bytes::from_static(b"part");
        let tag = provider
            .send_part(&attempt, key.to_owned(), &id, 1, body)
            .await?;
        let attempt = self.attempt(Operation::CompleteUpload, key, &on);
        let parts = [(1, tag.as_str())];
        let outcome = provider
            .complete(&attempt, key.to_owned(), &id, &parts, &on)
            .await;
        if let Ok(completed) = &outcome {
            self.litter.uploads.retain(|(_, known)| *known != id);
            if let Some(version) = &completed.version_id {
                self.litter.versions.push((key.to_owned(), version.clone()));
            }
        }
        verdict(outcome.map(|_| ()))
    }

    async fn versioning(&self) -> Result<Option<bool>> {
        let attempt = Attempt::new(Operation::Probe, "");
        let call = Call::bucket(Method::GET).query("versioning", "");
        let answer = match self.provider.client.send(&attempt, call).await {
            Ok(answer) => answer,
            Err(error) if error.is_transient() => return Err(error),
            // Stores without versioning, and credentials that may not ask, do not say.
            Err(error) => {
                tracing::debug!(%error, "the store does not say whether it keeps versions");
                return Ok(None);
            }
        };
        let text = self.provider.client.document(&attempt, answer).await?;
        let root = xml::parse_root_or(
            &text,
            "VersioningConfiguration",
            "GetBucketVersioningResponse",
        );
        match root {
            Ok(root) => Ok(Some(root.text_of("Status") == Some("Enabled"))),
            Err(xml::Problem::Unexpected(_)) => Ok(None),
            Err(problem) => Err(attempt.unusable(problem)),
        }
    }

    fn note_key(&mut self, key: &str) {
        if !self.litter.keys.iter().any(|known| known == key) {
            self.litter.keys.push(key.to_owned());
        }
    }

    /// Removes what the probe made. A failure here takes nothing from what was found out; it is logged, and what stays
    /// is a few bytes under `.ows/`.
    async fn clean_up(&mut self) {
        let provider = self.provider;
        let attempt = Attempt::new(Operation::Probe, "");
        for (key, id) in std::mem::take(&mut self.litter.uploads) {
            report(provider.abort(&attempt, key, &id).await);
        }
        for key in std::mem::take(&mut self.litter.keys) {
            // Where versions are kept, this delete makes another one: a mark, noted to be removed below.
            report(self.delete(&key, Precondition::Any).await);
        }
        for (key, id) in std::mem::take(&mut self.litter.versions) {
            let call = Call::object(Method::DELETE, key).query("versionId", id);
            report(provider.client.send(&attempt, call).await.map(|_| ()));
        }
    }
}

fn other() -> Precondition {
    Precondition::Version(Version(OTHER.to_owned()))
}

fn report(outcome: Result<()>) {
    match outcome {
        Err(error) if error.kind != ErrorKind::NotFound => {
            tracing::warn!(%error, "something of the probe could not be removed");
        }
        _ => {}
    }
}
