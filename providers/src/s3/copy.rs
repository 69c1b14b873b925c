//! Copies within the bucket.
//!
//! The metadata goes along. When the copy gets another modification time, S3 wants all of the metadata again: it is read
//! from the source with HEAD, and the copy is made conditional on the version that was read. More than
//! [`MAX_SINGLE_COPY`] bytes are copied in parts, whose metadata has to be given anew as well.
//!
//! A store that answers 501 to the condition on the source gets none from then on: the source is looked at right before,
//! as the engine itself does where a condition is not enforced.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::S3Provider;
use super::client::Call;
use super::error::{Attempt, Condition, failed_on_source};
use super::object::{
    META_MTIME, etag_of, format_mtime, parse_stored_at, portable_headers, version_of,
};
use super::upload::header;
use super::xml;
use crate::{
    CopyOptions, Entry, EntryKind, Error, ErrorKind, Operation, Precondition, RelPath, Result,
    Version,
};

pub(super) const SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const SOURCE_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");
const SOURCE_RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");
pub(super) const DIRECTIVE: HeaderName = HeaderName::from_static("x-amz-metadata-directive");

/// Amazon copies 5 GiB in one call, B2 5 GB; this is below both.
pub(super) const MAX_SINGLE_COPY: u64 = 4768 << 20;
/// The smallest part of a copy in parts.
const COPY_PART: u64 = 512 << 20;
/// No copy has more parts than an upload may have.
const MAX_COPY_PARTS: u64 = 10_000;
/// Parts that are copied at once.
const COPIES_AT_ONCE: usize = 4;
/// The slowest store that copying works on, in bytes a second.
const SLOWEST_COPY: u64 = 5_000_000;

/// What is known of the source of a copy.
struct Source {
    key: String,
    /// The version that must be there.
    version: Option<Version>,
    /// Its version was looked at, and a copy in one call is not conditional on it. One in parts is all the same, or it
    /// could be put together from two versions.
    only_looked_at: bool,
    /// Read when the metadata has to be given anew.
    head: Option<(Entry, HeaderMap)>,
}

impl S3Provider {
    pub(super) async fn copy_object(
        &self,
        from: &RelPath,
        to: &RelPath,
        options: &CopyOptions,
    ) -> Result<Entry> {
        self.capabilities.check_name(Operation::Copy, to)?;
        let look_first = self.refuses_source_conditions.load(Ordering::Relaxed);
        let outcome = self.copy_once(from, to, options, look_first).await;
        match outcome {
            Err(error)
                if error.kind == ErrorKind::Unsupported
                    && !look_first
                    && (options.source.is_some() || options.mtime_ns.is_some()) =>
            {
                let outcome = self.copy_once(from, to, options, true).await;
                let refused =
                    matches!(&outcome, Err(error) if error.kind == ErrorKind::Unsupported);
                self.refuses_source_conditions
                    .store(!refused, Ordering::Relaxed);
                outcome
            }
            outcome => outcome,
        }
    }

    /// One attempt. With `look_first` the source's version is looked at before, and the copy is not conditional on it.
    async fn copy_once(
        &self,
        from: &RelPath,
        to: &RelPath,
        options: &CopyOptions,
        look_first: bool,
    ) -> Result<Entry> {
        let attempt = Attempt::new(Operation::Copy, to.as_str())
            .on_condition(Condition::from(&options.precondition));
        let read = options.size > MAX_SINGLE_COPY
            || options.mtime_ns.is_some()
            || (look_first && options.source.is_some());
        let source = self.source(from, options, read, look_first).await?;
        // Parts are cut by the length that the source really has.
        let size = source
            .head
            .as_ref()
            .map_or(options.size, |(entry, _)| entry.size);
        let (version, stored_at_ns) = if size > MAX_SINGLE_COPY {
            let version = self
                .copy_in_parts(&attempt, &source, to, size, options)
                .await?;
            (version, None)
        } else {
            self.copy_at_once(&attempt, &source, from, to, size, options)
                .await?
        };
        let kept = source.head.and_then(|(entry, _)| entry.mtime_ns);
        Ok(Entry {
            path: to.clone(),
            kind: EntryKind::File,
            size,
            mtime_ns: options.mtime_ns.or(kept),
            modified_at_ns: stored_at_ns,
            hash: super::object::md5_of(&version).filter(|_| !self.encrypts_with_kms()),
            version: Some(version),
            id: None,
        })
    }

    async fn source(
        &self,
        from: &RelPath,
        options: &CopyOptions,
        read: bool,
        look_first: bool,
    ) -> Result<Source> {
        let mut source = Source {
            key: self.key(from),
            version: options.source.clone(),
            only_looked_at: look_first,
            head: None,
        };
        if read {
            let attempt = Attempt::new(Operation::Copy, from.as_str());
            let (entry, headers) = self.head(&attempt, from, options.source.as_ref()).await?;
            if options.source.is_some() && options.source != entry.version {
                // A store that ignores conditions has just told which version it is.
                return Err(attempt.error(
                    ErrorKind::PreconditionFailed,
                    "the object is another version than the one to be copied",
                ));
            }
            // What was read belongs to this version, and the copy must be of it.
            source.version.clone_from(&entry.version);
            source.head = Some((entry, headers));
        }
        Ok(source)
    }

    /// Headers of the copy where they are not simply kept.
    fn new_headers(
        &self,
        attempt: &Attempt,
        source: &Source,
        options: &CopyOptions,
    ) -> Result<HeaderMap> {
        let mut headers = source
            .head
            .as_ref()
            .map(|(_, headers)| portable_headers(headers))
            .unwrap_or_default();
        if let Some(mtime) = options.mtime_ns {
            headers.insert(META_MTIME, header(attempt, &format_mtime(mtime))?);
        }
        Ok(headers)
    }

    fn name_source(
        &self,
        attempt: &Attempt,
        call: Call,
        key: &str,
        version: Option<&Version>,
    ) -> Result<Call> {
        let name = self.client.address().copy_source(key);
        let call = call.header(SOURCE, header(attempt, &name)?);
        match version {
            None => Ok(call),
            Some(version) => {
                let etag = etag_of(version).ok_or_else(|| {
                    attempt.error(ErrorKind::Permanent, "the version is no ETag of S3")
                })?;
                Ok(call.header(SOURCE_IF_MATCH, etag))
            }
        }
    }

    async fn copy_at_once(
        &self,
        attempt: &Attempt,
        source: &Source,
        from: &RelPath,
        to: &RelPath,
        size: u64,
        options: &CopyOptions,
    ) -> Result<(Version, Option<i64>)> {
        let call = Call::object(Method::PUT, self.key(to))
            .headers(self.storage_headers.clone())
            .extra_time(time_for(size))
            .precondition(attempt, &options.precondition)?;
        let call = if options.mtime_ns.is_some() {
            call.header(DIRECTIVE, HeaderValue::from_static("REPLACE"))
                .headers(self.new_headers(attempt, source, options)?)
        } else {
            call.header(DIRECTIVE, HeaderValue::from_static("COPY"))
        };
        let version = source.version.as_ref().filter(|_| !source.only_looked_at);
        let call = self.name_source(attempt, call, &source.key, version)?;
        let answer = match self.client.send_keeping_body(attempt, call).await? {
            Ok(answer) => answer,
            Err(failed) => {
                return Err(self
                    .which_condition(failed.error, &failed.body, from, source)
                    .await);
            }
        };
        let text = self.client.document(attempt, answer).await?;
        copied(&text, "CopyObjectResult").map_err(|problem| attempt.unusable(problem))
    }

    /// A copy has conditions on both ends, and one status for both. Amazon says which one it was; elsewhere the source
    /// is looked at.
    async fn which_condition(
        &self,
        error: Error,
        body: &str,
        from: &RelPath,
        source: &Source,
    ) -> Error {
        if error.kind != ErrorKind::AlreadyExists {
            return error;
        }
        let on_source = match (failed_on_source(body), &source.version) {
            (Some(on_source), _) => on_source,
            (None, None) => false,
            (None, version) => {
                let attempt = Attempt::new(Operation::Copy, from.as_str());
                match self.head(&attempt, from, version.as_ref()).await {
                    Ok(_) => false,
                    Err(other) => other.kind == ErrorKind::PreconditionFailed,
                }
            }
        };
        if on_source {
            return Error {
                kind: ErrorKind::PreconditionFailed,
                path: from.to_string(),
                ..error
            };
        }
        error
    }

    async fn copy_in_parts(
        &self,
        attempt: &Attempt,
        source: &Source,
        to: &RelPath,
        size: u64,
        options: &CopyOptions,
    ) -> Result<Version> {
        let headers = self.new_headers(attempt, source, options)?;
        let (id, token) = self.create(attempt, self.key(to), headers).await?;
        let outcome = self
            .copy_parts(attempt, source, to, &id, size, &options.precondition)
            .await;
        let error = match outcome {
            Ok(version) => return Ok(version),
            Err(error) => error,
        };
        if error.is_race()
            && let Some(entry) = self.find_own(to, &token).await?
            && let Some(version) = entry.version
        {
            return Ok(version);
        }
        if let Err(abort) = self.abort(attempt, self.key(to), &id).await {
            tracing::warn!(path = %to, error = %abort, "a copy in parts failed and could not be given up");
        }
        Err(error)
    }

    async fn copy_parts(
        &self,
        attempt: &Attempt,
        source: &Source,
        to: &RelPath,
        id: &str,
        size: u64,
        precondition: &Precondition,
    ) -> Result<Version> {
        let of_source = Attempt::new(Operation::Copy, attempt.path.clone());
        let calls = (1_u32..).zip(ranges(size)).map(|(number, range)| {
            let of_source = &of_source;
            async move {
                let text = format!("bytes={}-{}", range.start, range.end - 1);
                let call = Call::object(Method::PUT, self.key(to))
                    .query("partNumber", number.to_string())
                    .query("uploadId", id)
                    .header(SOURCE_RANGE, header(of_source, &text)?)
                    .extra_time(time_for(range.end - range.start));
                let version = source.version.as_ref();
                let call = self.name_source(of_source, call, &source.key, version)?;
                let answer = self.client.send(of_source, call).await?;
                let text = self.client.document(of_source, answer).await?;
                let (version, _) = copied(&text, "CopyPartResult")
                    .map_err(|problem| of_source.unusable(problem))?;
                Ok::<_, Error>((number, version))
            }
        });
        let parts: Vec<(u32, Version)> = stream::iter(calls)
            .buffered(COPIES_AT_ONCE)
            .try_collect()
            .await?;
        let tags: Vec<_> = parts
            .iter()
            .map(|(number, version)| (*number, version.0.as_str()))
            .collect();
        let completed = self
            .complete(attempt, self.key(to), id, &tags, precondition)
            .await?;
        Ok(completed.version)
    }
}

fn time_for(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST_COPY)
}

/// Ranges of equal length that cover `size` bytes.
fn ranges(size: u64) -> impl Iterator<Item = Range<u64>> {
    let part = COPY_PART.max(size.div_ceil(MAX_COPY_PARTS));
    (0..size.div_ceil(part)).map(move |index| {
        let start = index * part;
        start..(start + part).min(size)
    })
}

pub(super) fn copied(
    text: &str,
    root: &str,
) -> std::result::Result<(Version, Option<i64>), xml::Problem> {
    let root = xml::parse_root(text, root)?;
    let version = version_of(root.required_text("ETag")?)
        .ok_or_else(|| xml::Problem::Unexpected("`ETag` is empty".to_owned()))?;
    Ok((
        version,
        root.text_of("LastModified").and_then(parse_stored_at),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_everything_once() {
        for size in [1, COPY_PART, COPY_PART + 1, MAX_SINGLE_COPY + 1, 40 << 40] {
            let mut end = 0;
            let mut count = 0;
            for range in ranges(size) {
                assert_eq!(range.start, end);
                assert!(range.end > range.start && range.end - range.start <= 5 << 30);
                end = range.end;
                count += 1;
            }
            assert_eq!(end, size);
            assert!(count <= MAX_COPY_PARTS);
        }
    }

    #[test]
    fn the_answer_to_a_copy_needs_an_etag() {
        let text = "<CopyObjectResult><ETag>&quot;e&quot;</ETag><LastModified>2015-10-21T07:28:00.000Z</LastModified></CopyObjectResult>";
        let (version, stored) = copied(text, "CopyObjectResult").unwrap();
        assert_eq!(version, Version("e".into()));
        assert_eq!(stored, Some(1_445_412_480_000_000_000));
        assert!(copied("<CopyObjectResult/>", "CopyObjectResult").is_err());
        assert!(copied(text, "CopyPartResult").is_err());
    }
}
