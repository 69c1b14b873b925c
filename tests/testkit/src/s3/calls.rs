//! Which operation a request is, and counting them.
//!
//! Every request that arrives counts, also one that a fault answers: a call is what a client pays for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use hyper::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// An operation of S3, under a short name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Op {
            $($(#[$doc])* $variant,)*
        }

        impl Op {
            /// Every operation.
            pub const ALL: &[Op] = &[$(Op::$variant,)*];

            /// The name that counts are printed under.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Op::$variant => $name,)*
                }
            }
        }
    };
}

operations! {
    /// `ListObjectsV2`
    List = "LIST",
    /// `ListObjects`
    ListV1 = "LIST_V1",
    /// `ListObjectVersions`
    ListVersions = "LIST_VERSIONS",
    /// `HeadObject`
    Head = "HEAD",
    /// `GetObject`
    Get = "GET",
    /// `PutObject`
    Put = "PUT",
    /// `CopyObject`
    Copy = "COPY",
    /// `DeleteObject`
    Delete = "DELETE",
    /// `DeleteObjects`
    DeleteMany = "DELETE_MANY",
    /// `CreateMultipartUpload`
    CreateUpload = "CREATE_UPLOAD",
    /// `UploadPart`
    UploadPart = "UPLOAD_PART",
    /// `UploadPartCopy`
    CopyPart = "COPY_PART",
    /// `CompleteMultipartUpload`
    CompleteUpload = "COMPLETE_UPLOAD",
    /// `AbortMultipartUpload`
    AbortUpload = "ABORT_UPLOAD",
    /// `ListMultipartUploads`
    ListUploads = "LIST_UPLOADS",
    /// `ListParts`
    ListParts = "LIST_PARTS",
    /// `ListBuckets`
    ListBuckets = "LIST_BUCKETS",
    /// `HeadBucket`
    HeadBucket = "HEAD_BUCKET",
    /// `CreateBucket`
    CreateBucket = "CREATE_BUCKET",
    /// `GetBucketVersioning`
    GetVersioning = "GET_VERSIONING",
    /// `PutBucketVersioning`
    PutVersioning = "PUT_VERSIONING",
    /// `GetBucketLocation`
    GetLocation = "GET_LOCATION",
    /// Anything else, which the server does not know.
    Other = "OTHER",
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// What it asks for.
    pub op: Op,
    /// The bucket in its path, or nothing.
    pub bucket: String,
    /// The object's key; for listings the prefix.
    pub key: String,
}

impl Call {
    /// Tells the operation from method, path, query and headers, for path-style addresses.
    pub(crate) fn classify(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let path = uri.path().strip_prefix('/').unwrap_or(uri.path());
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = Query(uri.query().unwrap_or_default());
        let copies = headers.contains_key("x-amz-copy-source");
        let op = if bucket.is_empty() {
            match *method {
                Method::GET => Op::ListBuckets,
                _ => Op::Other,
            }
        } else if key.is_empty() {
            bucket_operation(method, &query)
        } else {
            object_operation(method, &query, copies)
        };
        let key = match op {
            Op::List | Op::ListV1 | Op::ListVersions | Op::ListUploads => {
                query.value("prefix").unwrap_or_default()
            }
            _ => percent_decode_str(key).decode_utf8_lossy().into_owned(),
        };
        Self {
            op,
            bucket: bucket.to_owned(),
            key,
        }
    }
}

fn bucket_operation(method: &Method, query: &Query<'_>) -> Op {
    match *method {
        Method::GET if query.has("list-type") => Op::List,
        Method::GET if query.has("uploads") => Op::ListUploads,
        Method::GET if query.has("versions") => Op::ListVersions,
        Method::GET if query.has("versioning") => Op::GetVersioning,
        Method::GET if query.has("location") => Op::GetLocation,
        Method::GET => Op::ListV1,
        Method::HEAD => Op::HeadBucket,
        Method::PUT if query.has("versioning") => Op::PutVersioning,
        Method::PUT => Op::CreateBucket,
        Method::POST if query.has("delete") => Op::DeleteMany,
        _ => Op::Other,
    }
}

fn object_operation(method: &Method, query: &Query<'_>, copies: bool) -> Op {
    let in_upload = query.has("uploadId");
    match *method {
        Method::GET if in_upload => Op::ListParts,
        Method::GET => Op::Get,
        Method::HEAD => Op::Head,
        Method::PUT if in_upload && copies => Op::CopyPart,
        Method::PUT if in_upload => Op::UploadPart,
        Method::PUT if copies => Op::Copy,
        Method::PUT => Op::Put,
        Method::POST if query.has("uploads") => Op::CreateUpload,
        Method::POST if in_upload => Op::CompleteUpload,
        Method::DELETE if in_upload => Op::AbortUpload,
        Method::DELETE => Op::Delete,
        _ => Op::Other,
    }
}

struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn has(&self, name: &str) -> bool {
        self.pairs().any(|(key, _)| key == name)
    }

    fn value(&self, name: &str) -> Option<String> {
        let (_, value) = self.pairs().find(|(key, _)| *key == name)?;
        let value = value.replace('+', " ");
        Some(percent_decode_str(&value).decode_utf8_lossy().into_owned())
    }
}

/// Counts by operation, the calls in their order of arrival, and how many ran at once.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    log: Mutex<Vec<Call>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
    connections: AtomicU64,
}

impl Counters {
    /// Notes a call, which runs until the returned guard is dropped.
    pub(crate) fn begin(&self, call: &Call) -> Running<'_> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call.clone());
        Running(self)
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn most_running(&self) -> usize {
        self.most_running.load(Ordering::SeqCst)
    }

    pub(crate) fn log(&self) -> Vec<Call> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn counts(&self) -> BTreeMap<Op, u64> {
        let mut counts = BTreeMap::new();
        for call in self
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            *counts.entry(call.op).or_default() += 1;
        }
        counts
    }

    pub(crate) fn reset(&self) {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let running = self.running.load(Ordering::SeqCst);
        self.most_running.store(running, Ordering::SeqCst);
        self.connections.store(0, Ordering::SeqCst);
    }
}

pub(crate) struct Running<'a>(&'a Counters);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
