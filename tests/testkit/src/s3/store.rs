//! The store behind the server: buckets, objects and their versions, and the conditions under which they change.
//!
//! One lock guards everything and is held for the change itself only: bodies are read and hashed before, answers are made
//! after. Keys are kept in byte order, which is the order of S3's listings.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rand::RngExt as _;
use s3s::dto::{Checksum, ServerSideEncryption, StorageClass};
use s3s::{S3Result, s3_error};

use super::body::Content;
use super::quirks::{Condition, ETags, Quirks};
use super::uploads::Upload;

/// What a request demands of the object that it is about to replace or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    None,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: *`, on deletes only
    Present,
    /// `If-Match: "etag"`
    Match(String),
}

/// The headers that are stored with an object and given back with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headers {
    pub metadata: HashMap<String, String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub content_type: Option<String>,
    pub encryption: Option<ServerSideEncryption>,
    pub storage_class: Option<StorageClass>,
}

/// What an object consists of, before it has a version and a time.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub content: Content,
    pub etag: String,
    pub headers: Headers,
    pub checksum: Checksum,
    pub parts: Option<i32>,
    /// AWS dates a multipart upload back to its start.
    pub modified: Option<SystemTime>,
}

/// One version of an object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub content: Content,
    pub etag: String,
    pub headers: Headers,
    pub checksum: Checksum,
    pub parts: Option<i32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// `null` when versioning was off at the time.
    pub id: String,
    pub modified: SystemTime,
    /// `None`: a delete marker.
    pub object: Option<Arc<Object>>,
}

/// The versions of one key, oldest first, never empty.
#[derive(Debug)]
pub(crate) struct Entry {
    pub versions: Vec<Version>,
    /// Number of the first listing that may show the key.
    pub listed_from: u64,
}

impl Entry {
    /// The newest version, unless that is a delete marker.
    pub(crate) fn current(&self) -> Option<(&Version, &Arc<Object>)> {
        let version = self.versions.last()?;
        Some((version, version.object.as_ref()?))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versioning {
    Never,
    Enabled,
    Suspended,
}

#[derive(Debug)]
pub(crate) struct Bucket {
    pub created: SystemTime,
    pub versioning: Versioning,
    pub entries: BTreeMap<String, Entry>,
    /// By key, then upload id: the order of `ListMultipartUploads`.
    pub uploads: BTreeMap<(String, String), Upload>,
    /// How many listings were begun.
    pub listings: u64,
}

/// What a delete did.
#[derive(Debug, Default, Clone)]
pub(crate) struct Deleted {
    /// The version removed, or the delete marker made.
    pub version_id: Option<String>,
    pub is_marker: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub buckets: BTreeMap<String, Bucket>,
}

impl Store {
    pub(crate) fn bucket(&self, name: &str) -> S3Result<&Bucket> {
        self.buckets
            .get(name)
            .ok_or_else(|| s3_error!(NoSuchBucket, "the bucket {name} does not exist"))
    }

    pub(crate) fn bucket_mut(&mut self, name: &str) -> S3Result<&mut Bucket> {
        self.buckets
            .get_mut(name)
            .ok_or_else(|| s3_error!(NoSuchBucket, "the bucket {name} does not exist"))
    }

    pub(crate) fn create_bucket(&mut self, name: &str, now: SystemTime) -> S3Result<()> {
        // `s3s` refuses requests to any other name, as AWS does.
        if !s3s::path::check_bucket_name(name) {
            return Err(s3_error!(
                InvalidBucketName,
                "`{name}` is no bucket name: 3 to 63 lower case letters, digits, dots and dashes"
            ));
        }
        if self.buckets.contains_key(name) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        let bucket = Bucket {
            created: now,
            versioning: Versioning::Never,
            entries: BTreeMap::new(),
            uploads: BTreeMap::new(),
            listings: 0,
        };
        self.buckets.insert(name.to_owned(), bucket);
        Ok(())
    }
}

impl Bucket {
    /// The version of `key` that a request names, by default the newest.
    pub(crate) fn find(
        &self,
        key: &str,
        version_id: Option<&str>,
    ) -> S3Result<(Version, Arc<Object>)> {
        let missing = || s3_error!(NoSuchKey, "the key does not exist");
        let entry = self.entries.get(key);
        let Some(version_id) = version_id else {
            let (version, object) = entry.and_then(Entry::current).ok_or_else(missing)?;
            return Ok((version.clone(), Arc::clone(object)));
        };
        let version = entry
            .and_then(|entry| entry.versions.iter().find(|v| v.id == version_id))
            .ok_or_else(|| s3_error!(NoSuchVersion))?;
        match &version.object {
            Some(object) => Ok((version.clone(), Arc::clone(object))),
            None => Err(s3_error!(
                MethodNotAllowed,
                "the version is a delete marker"
            )),
        }
    }

    /// Fails unless `key` is what `precondition` demands.
    pub(crate) fn check(&self, key: &str, precondition: &Precondition) -> S3Result<()> {
        let current = self.entries.get(key).and_then(Entry::current);
        let failed = || s3_error!(PreconditionFailed, "a precondition did not hold");
        match (precondition, current) {
            (Precondition::None, _)
            | (Precondition::Absent, None)
            | (Precondition::Present, Some(_)) => Ok(()),
            (Precondition::Absent, Some(_)) => Err(failed()),
            (Precondition::Match(etag), Some((_, object))) if *etag == object.etag => Ok(()),
            (Precondition::Match(_), Some(_)) => Err(failed()),
            // A delete marker is a state of the key, and one that does not match.
            (Precondition::Match(_) | Precondition::Present, None)
                if self.entries.contains_key(key) =>
            {
                Err(failed())
            }
            (Precondition::Match(_) | Precondition::Present, None) => {
                Err(s3_error!(NoSuchKey, "the key does not exist"))
            }
        }
    }

    /// Stores `draft` under `key`; returns the version and what its answer says. The answer's entity tag is the draft's even
    /// when the store goes on to alter the content.
    pub(crate) fn put(
        &mut self,
        key: &str,
        mut draft: Draft,
        precondition: &Precondition,
        quirks: &Quirks,
        now: SystemTime,
    ) -> S3Result<Version> {
        self.check(key, precondition)?;
        if quirks.alters_content {
            let mut pieces = draft.content.pieces().to_vec();
            pieces.push(Bytes::from_static(b"\n<!-- altered by the store -->\n"));
            draft.content = Content::new(pieces);
            draft.etag = random_hex(32);
            draft.checksum = Checksum::default();
        }
        let version = Version {
            id: match self.versioning {
                Versioning::Enabled => random_hex(32),
                Versioning::Never | Versioning::Suspended => "null".to_owned(),
            },
            modified: cut(draft.modified.unwrap_or(now), quirks.time_granularity),
            object: Some(Arc::new(Object {
                content: draft.content,
                etag: draft.etag,
                headers: draft.headers,
                checksum: draft.checksum,
                parts: draft.parts,
            })),
        };
        let listed_from = self.listings + 1 + u64::from(quirks.list_lag);
        self.push_version(key, version.clone(), listed_from);
        Ok(version)
    }

    fn push_version(&mut self, key: &str, version: Version, listed_from: u64) {
        if let Some(entry) = self.entries.get_mut(key) {
            if entry.current().is_none() {
                entry.listed_from = listed_from;
            }
            // There is one version `null` at most, and it is replaced.
            if version.id == "null" {
                entry.versions.retain(|old| old.id != "null");
            }
            entry.versions.push(version);
        } else {
            let entry = Entry {
                versions: vec![version],
                listed_from,
            };
            self.entries.insert(key.to_owned(), entry);
        }
    }

    /// Deletes `key`, or one version of it. Deleting what does not exist succeeds, as on AWS, when nothing was demanded.
    pub(crate) fn delete(
        &mut self,
        key: &str,
        version_id: Option<&str>,
        precondition: &Precondition,
        quirks: &Quirks,
        now: SystemTime,
    ) -> S3Result<Deleted> {
        self.check(key, precondition)?;
        if let Some(version_id) = version_id {
            return Ok(self.delete_version(key, version_id));
        }
        if self.versioning == Versioning::Never {
            self.entries.remove(key);
            return Ok(Deleted::default());
        }
        let id = match self.versioning {
            Versioning::Enabled => random_hex(32),
            Versioning::Never | Versioning::Suspended => "null".to_owned(),
        };
        let marker = Version {
            id: id.clone(),
            modified: cut(now, quirks.time_granularity),
            object: None,
        };
        self.push_version(key, marker, self.listings + 1);
        Ok(Deleted {
            version_id: Some(id),
            is_marker: true,
        })
    }

    fn delete_version(&mut self, key: &str, version_id: &str) -> Deleted {
        let mut is_marker = false;
        if let Some(entry) = self.entries.get_mut(key) {
            is_marker = entry
                .versions
                .iter()
                .any(|v| v.id == version_id && v.object.is_none());
            entry.versions.retain(|version| version.id != version_id);
            if entry.versions.is_empty() {
                self.entries.remove(key);
            }
        }
        Deleted {
            version_id: Some(version_id.to_owned()),
            is_marker,
        }
    }
}

/// Applies a quirk to a precondition: what is left to be checked.
pub(crate) fn honour(precondition: Precondition, condition: Condition) -> S3Result<Precondition> {
    match condition {
        _ if precondition == Precondition::None => Ok(precondition),
        Condition::Enforced => Ok(precondition),
        Condition::Ignored => Ok(Precondition::None),
        Condition::Unsupported => Err(s3_error!(
            NotImplemented,
            "a header you provided implies functionality that is not implemented"
        )),
    }
}

/// The entity tag of content with this MD5.
pub(crate) fn etag_for(md5: [u8; 16], headers: &Headers, quirks: &Quirks) -> String {
    if is_opaque(headers, quirks) {
        random_hex(32)
    } else {
        hex::encode(md5)
    }
}

/// Whether entity tags of objects with these headers say nothing about the content.
pub(crate) fn is_opaque(headers: &Headers, quirks: &Quirks) -> bool {
    let encryption = headers.encryption.as_ref();
    quirks.etags == ETags::Random
        || encryption.is_some_and(|sse| sse.as_str() != ServerSideEncryption::AES256)
}

pub(crate) fn random_hex(digits: usize) -> String {
    let bytes: Vec<u8> = (0..digits.div_ceil(2))
        .map(|_| rand::rng().random())
        .collect();
    let mut text = hex::encode(bytes);
    text.truncate(digits);
    text
}

/// `time` cut down to a multiple of `granularity` since 1970.
fn cut(time: SystemTime, granularity: Duration) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let rest = since.as_nanos() % granularity.as_nanos().max(1);
    time - Duration::from_nanos(u64::try_from(rest).unwrap_or_default())
}
