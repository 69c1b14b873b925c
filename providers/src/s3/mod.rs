//! Amazon S3 and the stores that speak its protocol: R2, B2, MinIO, Ceph, Garage.
//!
//! - `address`: endpoint, bucket and folder become URLs and keys.
//! - `client`: one signed request, and why all are signed here.
//! - `credentials`, `profile`: where the keys come from.
//! - `error`: answers become kinds of errors, all of them there.
//! - `xml`: answers read strictly. `list`: the listing. `object`: headers and metadata. `upload`, `copy`, `probe`: the
//!   calls that take more than one request.
//!
//! S3 has no folders: an empty one does not exist, and nothing here makes one. It has no rename either. What it has is
//! atomic objects, listings in the order of keys, and on most stores conditions on what is written, which
//! [`Provider::probe`] finds out.

mod address;
mod client;
mod copy;
mod credentials;
mod error;
mod list;
mod object;
mod probe;
mod profile;
mod upload;
mod xml;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use http::header::{
    CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, RANGE,
};
use http::{Method, StatusCode};
use object_store::client::HttpResponse;

use crate::http::{HttpOptions, HttpSetupError, HttpStack, Protocols};
use crate::layers::{CallCounter, RetryPolicy};
use crate::{
    Capabilities, ChangePage, CopyOptions, Download, Enforcement, Entry, EntryKind, Error,
    ErrorKind, GetOptions, HashCapability, HashKind, ListOptions, Listed, NameRules, Operation,
    Part, PartRules, Precondition, Provider, PutOptions, RelPath, RemoteIdentity, Result,
    UnfinishedUpload, Upload, UploadOptions, Version,
};
use address::{Address, MAX_KEY_BYTES};
use client::{Call, Client};
pub use credentials::{Environment, S3Credentials};
use error::{Attempt, Condition};
use object::{META_MD5, META_MTIME, SSE, entry_in, etag_of, format_md5, format_mtime, length_in};

const MIB: u64 = 1 << 20;
/// Rules for uploads in parts, which all stores keep to.
const PARTS: PartRules = PartRules {
    min: 5 * MIB,
    max: 5 << 30,
    preferred: 8 * MIB,
    max_count: 10_000,
};
const STORAGE_CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");

/// A folder in a bucket, and how to get at it.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// URL of the store; Amazon's for the region when `None`.
    pub endpoint: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// The remote folder within the bucket; the bucket itself when empty.
    pub prefix: String,
    /// The region; see [`S3Provider::new`] for what counts without one.
    pub region: Option<String>,
    /// The keys.
    pub credentials: S3Credentials,
    /// The bucket stands in the path of URLs, not in the host's name. Without a value: true with an endpoint of one's
    /// own, and for names with dots, which no certificate covers.
    pub force_path_style: Option<bool>,
    /// Encryption by the store: `AES256`, `aws:kms`, `aws:kms:dsse`.
    pub sse: Option<String>,
    /// Storage class of what is written, such as `STANDARD_IA`.
    pub storage_class: Option<String>,
    /// Roots, proxy and the like.
    pub http: HttpOptions,
    /// How often and how long the request for a page of a listing is repeated. Nothing else is repeated here.
    pub list_retry: RetryPolicy,
    /// Where every request to the store is counted, each attempt and each page, by the operation that it was sent for.
    /// Requests for credentials are not counted.
    pub counter: Option<Arc<CallCounter>>,
}

/// [`Provider`] for S3.
pub struct S3Provider {
    client: Client,
    capabilities: Capabilities,
    /// Headers of everything that is written: encryption and storage class.
    storage_headers: HeaderMap,
    list_retry: RetryPolicy,
    /// The store answers 501 to a condition on the source of a copy. Found out by the first refusal.
    refuses_source_conditions: AtomicBool,
}

impl fmt::Debug for S3Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("S3Provider")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl S3Provider {
    /// Prepares the adapter; sends nothing yet. The region is the given one, else `AWS_REGION`, `AWS_DEFAULT_REGION`,
    /// with [`S3Credentials::Chain`] the profile's, else `us-east-1`.
    ///
    /// # Errors
    /// [`ErrorKind::Permanent`] when the options make no address or no HTTP client, [`ErrorKind::Unauthorized`] when no
    /// credentials can be found.
    pub fn new(options: S3Options) -> Result<Self> {
        Self::with_environment(options, Arc::new(|name| std::env::var(name).ok()))
    }

    /// As [`S3Provider::new`] with another environment to look up credentials and region in.
    ///
    /// # Errors
    /// As [`S3Provider::new`].
    pub fn with_environment(options: S3Options, environment: Environment) -> Result<Self> {
        let attempt = Attempt::new(Operation::Describe, "");
        let invalid = |message: String| attempt.error(ErrorKind::Permanent, message);
        let environment = credentials::non_empty(environment);
        let region = credentials::region(
            options.region.as_deref(),
            &options.credentials,
            &environment,
        )
        .map_err(invalid)?;
        let address = Address::new(
            options.endpoint.as_deref(),
            &options.bucket,
            &options.prefix,
            &region,
            options.force_path_style,
            options.http.allow_http,
        )
        .map_err(invalid)?;
        let http = HttpStack::new(&options.http, Protocols::Http1)
            .map_err(|error: HttpSetupError| invalid(error.to_string()))?;
        let credentials = credentials::provider(
            &options.credentials,
            &environment,
            &region,
            &http,
            &options.http,
        )
        .map_err(|message| attempt.error(ErrorKind::Unauthorized, message))?;
        let mut storage_headers = HeaderMap::new();
        for (name, option, value) in [
            (SSE, "sse", &options.sse),
            (STORAGE_CLASS, "storageClass", &options.storage_class),
        ] {
            if let Some(value) = value {
                let value = HeaderValue::from_str(value)
                    .map_err(|error| invalid(format!("`{option}` cannot be used: {error}")))?;
                storage_headers.insert(name, value);
            }
        }
        Ok(Self {
            capabilities: capabilities(&address),
            client: Client::new(http, address, region, credentials, options.counter),
            storage_headers,
            list_retry: options.list_retry,
            refuses_source_conditions: AtomicBool::new(false),
        })
    }

    /// How many HTTP requests were sent, each attempt counted.
    pub fn http_requests(&self) -> u64 {
        self.client.http().requests()
    }

    fn key(&self, path: &RelPath) -> String {
        self.client.address().key(path)
    }

    /// ETags of what is written are no MD5.
    fn encrypts_with_kms(&self) -> bool {
        self.storage_headers
            .get(SSE)
            .is_some_and(|value| value.as_bytes().starts_with(b"aws:kms"))
    }

    /// Looks at an object, on condition that it is `version`.
    async fn head(
        &self,
        attempt: &Attempt,
        path: &RelPath,
        version: Option<&Version>,
    ) -> Result<(Entry, HeaderMap)> {
        let call = Call::object(Method::HEAD, self.key(path));
        let (attempt, call) = on_version(attempt.clone(), call, version)?;
        let answer = self.client.send(&attempt, call).await?;
        let size = length_in(answer.headers()).ok_or_else(|| {
            attempt.error(ErrorKind::Permanent, "the answer does not tell the length")
        })?;
        let entry = entry_in(path, answer.headers(), size)
            .map_err(|problem| attempt.error(ErrorKind::Permanent, problem))?;
        Ok((entry, answer.into_parts().0.headers))
    }

    /// Whether a delete that failed found nothing to delete, which is success.
    async fn is_gone(&self, path: &RelPath, error: &Error) -> Result<bool> {
        // A missing bucket is no deleted object; HEAD cannot tell the two apart, but the message of the DELETE could.
        if error.kind == ErrorKind::NotFound {
            return Ok(!error.message.starts_with("there is no bucket"));
        }
        if error.kind != ErrorKind::PreconditionFailed {
            return Ok(false);
        }
        let attempt = Attempt::new(Operation::Delete, path.as_str());
        match self.head(&attempt, path, None).await {
            Ok(_) => Ok(false),
            Err(looked) if looked.kind == ErrorKind::NotFound => Ok(true),
            Err(looked) => Err(looked),
        }
    }

    fn unsupported(&self, operation: Operation, path: &str) -> Error {
        Attempt::new(operation, path).error(ErrorKind::Unsupported, "S3 has no such call")
    }
}

fn capabilities(address: &Address) -> Capabilities {
    let longest = MAX_KEY_BYTES.saturating_sub(address.prefix().len());
    Capabilities {
        name: "s3",
        hash: Some(HashCapability {
            kind: HashKind::Md5,
            difference_proves: false,
        }),
        folders: false,
        rename: false,
        copy: true,
        change_feed: false,
        bin: false,
        mtime_precision: Some(Duration::from_nanos(1)),
        listing_has_mtime: false,
        complete_objects: true,
        names: NameRules {
            max_path_bytes: longest,
            max_segment_bytes: longest,
            control_characters: false,
            folds_case: false,
            folds_forms: false,
        },
        single_put_max: 8 * MIB,
        parts: PARTS,
        resumable_uploads: true,
        parallel: 64,
    }
}

fn on_version(attempt: Attempt, call: Call, version: Option<&Version>) -> Result<(Attempt, Call)> {
    let Some(version) = version else {
        return Ok((attempt, call));
    };
    let etag = etag_of(version)
        .ok_or_else(|| attempt.error(ErrorKind::Permanent, "the version is no ETag of S3"))?;
    let attempt = attempt.on_condition(Condition::Version);
    Ok((attempt, call.header(IF_MATCH, etag)))
}

/// Length of the whole object, and of what is sent of it.
fn lengths(
    answer: &HttpResponse,
    asked: Option<&Range<u64>>,
) -> std::result::Result<(u64, u64), &'static str> {
    let sent = length_in(answer.headers()).ok_or("the answer does not tell the length")?;
    let Some(asked) = asked else {
        return Ok((sent, sent));
    };
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Err("a range was asked for, and the whole object answered");
    }
    let told = answer
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("bytes ")?.split_once('/'))
        .and_then(|(range, whole)| Some((range.split_once('-')?, whole.parse::<u64>().ok()?)));
    let Some(((start, end), whole)) = told else {
        return Err("the answer does not tell its range");
    };
    let expected = asked.start..asked.end.min(whole);
    let fits = start.parse() == Ok(expected.start)
        && end.parse::<u64>().ok().and_then(|end| end.checked_add(1)) == Some(expected.end)
        && expected.start.checked_add(sent) == Some(expected.end);
    if fits {
        Ok((whole, sent))
    } else {
        Err("the answer is another range than the one asked for")
    }
}

/// The body of an answer, which fails when it is shorter or longer than announced.
fn checked_body(
    attempt: Attempt,
    answer: HttpResponse,
    announced: u64,
) -> BoxStream<'static, Result<Bytes>> {
    let transport = attempt.clone();
    let body = answer
        .into_body()
        .bytes_stream()
        .map_err(move |error| error::from_transport(&transport, error));
    stream::try_unfold((body, 0_u64), move |(mut body, seen)| {
        let attempt = attempt.clone();
        async move {
            let wrong = |seen: u64| {
                attempt.error(
                    ErrorKind::Transient { after: None },
                    format!("{seen} bytes arrived, {announced} were announced"),
                )
            };
            match body.try_next().await? {
                Some(chunk) => {
                    let seen = seen + chunk.len() as u64;
                    if seen > announced {
                        return Err(wrong(seen));
                    }
                    Ok(Some((chunk, (body, seen))))
                }
                None if seen == announced => Ok(None),
                None => Err(wrong(seen)),
            }
        }
    })
    .boxed()
}

#[async_trait]
impl Provider for S3Provider {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn clock(&self) -> Option<DateTime<Utc>> {
        self.client.http().clock()
    }

    async fn describe(&self) -> Result<RemoteIdentity> {
        Ok(self.client.address().identity().clone())
    }

    async fn probe(&self) -> Result<Enforcement> {
        self.find_enforcement().await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'_, Result<Listed>> {
        list::list(&self.client, &self.list_retry, options)
    }

    async fn changes(&self, _cursor: Option<&str>) -> Result<ChangePage> {
        Err(self.unsupported(Operation::Changes, ""))
    }

    async fn stat(&self, path: &RelPath) -> Result<Entry> {
        let attempt = Attempt::new(Operation::Stat, path.as_str());
        Ok(self.head(&attempt, path, None).await?.0)
    }

    async fn get(&self, path: &RelPath, options: GetOptions) -> Result<Download> {
        let attempt = Attempt::new(Operation::Get, path.as_str());
        if let Some(range) = &options.range
            && range.is_empty()
        {
            // HTTP has no way to ask for no bytes.
            let (entry, _) = self.head(&attempt, path, options.version.as_ref()).await?;
            let body = stream::empty().boxed();
            return Ok(Download { entry, body });
        }
        let mut call = Call::object(Method::GET, self.key(path));
        if let Some(range) = &options.range {
            let text = format!("bytes={}-{}", range.start, range.end - 1);
            call = call.header(RANGE, upload::header(&attempt, &text)?);
        }
        let (attempt, call) = on_version(attempt, call, options.version.as_ref())?;
        let answer = self.client.send(&attempt, call).await?;
        let unusable = |problem: &str| attempt.error(ErrorKind::Permanent, problem);
        let (whole, sent) = lengths(&answer, options.range.as_ref()).map_err(unusable)?;
        let entry = entry_in(path, answer.headers(), whole).map_err(unusable)?;
        if options.version.is_some() && entry.version != options.version {
            // A store that ignores the condition has just told so.
            return Err(attempt.error(
                ErrorKind::PreconditionFailed,
                "the object is another version than the one asked for",
            ));
        }
        Ok(Download {
            entry,
            body: checked_body(attempt, answer, sent),
        })
    }

    async fn put(&self, path: &RelPath, body: Bytes, options: PutOptions) -> Result<Entry> {
        let attempt = Attempt::new(Operation::Put, path.as_str())
            .on_condition(Condition::from(&options.precondition));
        self.capabilities.check_name(Operation::Put, path)?;
        let size = body.len() as u64;
        let mut call = Call::object(Method::PUT, self.key(path))
            .headers(self.storage_headers.clone())
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            )
            .body(body)
            .precondition(&attempt, &options.precondition)?;
        if let Some(mtime) = options.mtime_ns {
            call = call.header(META_MTIME, upload::header(&attempt, &format_mtime(mtime))?);
        }
        if let Some(md5) = &options.md5
            && self.encrypts_with_kms()
        {
            call = call.header(META_MD5, upload::header(&attempt, &format_md5(md5))?);
        }
        let answer = self.client.send_content(&attempt, call).await?;
        let version = object::version_in(answer.headers())
            .ok_or_else(|| attempt.error(ErrorKind::Permanent, "the answer has no ETag"))?;
        Ok(Entry {
            path: path.clone(),
            kind: EntryKind::File,
            size,
            mtime_ns: options.mtime_ns,
            modified_at_ns: None,
            hash: object::hash_in(answer.headers(), &version).filter(|_| !self.encrypts_with_kms()),
            version: Some(version),
            id: None,
        })
    }

    async fn start_upload(&self, path: &RelPath, options: UploadOptions) -> Result<Upload> {
        self.begin(path, &options).await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        self.store_part(upload, number, body).await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: Precondition,
    ) -> Result<Entry> {
        self.finish(upload, parts, &precondition).await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        let attempt = Attempt::new(Operation::AbortUpload, upload.path.as_str());
        self.abort(&attempt, self.key(&upload.path), &upload.id)
            .await
    }

    async fn list_uploads(&self) -> Result<Vec<UnfinishedUpload>> {
        self.uploads().await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        self.parts(upload).await
    }

    async fn delete(&self, path: &RelPath, precondition: Precondition) -> Result<()> {
        let attempt = Attempt::new(Operation::Delete, path.as_str())
            .on_condition(Condition::from(&precondition));
        if precondition == Precondition::Absent {
            return Err(attempt.error(
                ErrorKind::Unsupported,
                "a delete cannot be conditional on nothing being there",
            ));
        }
        let call =
            Call::object(Method::DELETE, self.key(path)).precondition(&attempt, &precondition)?;
        match self.client.send(&attempt, call).await {
            Ok(_) => Ok(()),
            Err(error) if self.is_gone(path, &error).await? => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn copy(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        self.copy_object(from, to, &options).await
    }

    async fn rename(&self, from: &RelPath, _to: &RelPath, _options: CopyOptions) -> Result<Entry> {
        Err(self.unsupported(Operation::Rename, from.as_str()))
    }

    async fn create_dir(&self, path: &RelPath) -> Result<Entry> {
        Err(self.unsupported(Operation::CreateDir, path.as_str()))
    }

    async fn delete_dir(&self, path: &RelPath) -> Result<()> {
        Err(self.unsupported(Operation::DeleteDir, path.as_str()))
    }
}
