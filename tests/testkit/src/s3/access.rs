//! What tests do to a server past HTTP: look into the store, change it, turn knobs, script faults, count calls.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use s3s::dto::Checksum;

use super::body::Content;
use super::calls::{Call, Op};
use super::clock::Clock;
use super::faults::{Then, When};
use super::quirks::Quirks;
use super::store::{Draft, Headers, Object, Precondition, Version, Versioning, etag_for};
use super::uploads::StoredPart;
use super::{Server, Shared};

/// A handle to a server's inside. Clones reach the same server.
#[derive(Clone)]
pub struct Access(pub(crate) Arc<Shared>);

/// An object as the store holds it.
#[derive(Clone, Debug)]
pub struct StoredObject {
    /// Size in bytes.
    pub size: u64,
    /// Entity tag, without quotes.
    pub etag: String,
    /// `LastModified`.
    pub modified: SystemTime,
    /// User metadata, names in lower case without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// `Content-Type`, when the client gave one.
    pub content_type: Option<String>,
    /// `x-amz-storage-class`, when the client gave one.
    pub storage_class: Option<String>,
    /// `x-amz-server-side-encryption`, when the client gave one.
    pub encryption: Option<String>,
    /// Version id; `null` when versioning was off.
    pub version_id: String,
    /// Number of parts, when it was a multipart upload.
    pub parts: Option<i32>,
    content: Content,
}

impl StoredObject {
    /// The content.
    #[must_use]
    pub fn content(&self) -> Bytes {
        self.content.to_bytes()
    }

    fn new(version: &Version, object: &Object) -> Self {
        let headers = &object.headers;
        let metadata = headers.metadata.iter();
        Self {
            size: object.content.size(),
            etag: object.etag.clone(),
            modified: version.modified,
            metadata: metadata.map(|(k, v)| (k.clone(), v.clone())).collect(),
            content_type: headers.content_type.clone(),
            storage_class: headers
                .storage_class
                .as_ref()
                .map(|c| c.as_str().to_owned()),
            encryption: headers.encryption.as_ref().map(|c| c.as_str().to_owned()),
            version_id: version.id.clone(),
            parts: object.parts,
            content: object.content.clone(),
        }
    }
}

impl PartialEq for StoredObject {
    fn eq(&self, other: &Self) -> bool {
        (&self.etag, self.modified, &self.metadata, &self.version_id)
            == (
                &other.etag,
                other.modified,
                &other.metadata,
                &other.version_id,
            )
            && self.content() == other.content()
    }
}

/// An upload that was neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUpload {
    /// The key it is for.
    pub key: String,
    /// Its id.
    pub upload_id: String,
    /// When it began.
    pub initiated: SystemTime,
    /// Sizes in bytes by part number.
    pub parts: BTreeMap<i32, u64>,
}

/// The store. Everything here panics when the bucket does not exist: a test that names the wrong one is wrong.
impl Access {
    /// Stores an object as a client would, with its MD5 as entity tag (or as the quirks say), without conditions.
    pub fn put(&self, bucket: &str, key: &str, content: impl Into<Bytes>) -> StoredObject {
        self.put_with(bucket, key, content, &[])
    }

    /// Stores an object with user metadata.
    pub fn put_with(
        &self,
        bucket: &str,
        key: &str,
        content: impl Into<Bytes>,
        metadata: &[(&str, &str)],
    ) -> StoredObject {
        let content = Content::from(content.into());
        let headers = Headers {
            metadata: metadata
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Headers::default()
        };
        let quirks = self.0.quirks();
        let draft = Draft {
            etag: etag_for(content.md5(), &headers, &quirks),
            content,
            headers,
            checksum: Checksum::default(),
            parts: None,
            modified: None,
        };
        let now = self.0.clock.now();
        let mut store = self.0.store();
        let version = store
            .bucket_mut(bucket)
            .and_then(|bucket| bucket.put(key, draft, &Precondition::None, &quirks, now))
            .unwrap_or_else(|error| panic!("{error}"));
        let object = version.object.as_ref().expect("an object was stored");
        StoredObject::new(&version, object)
    }

    /// Stores `count` small objects `PREFIX00000000`, `PREFIX00000001`, ..., 1,000 to a folder: `PREFIX` + `000/000000`.
    pub fn fill(&self, bucket: &str, prefix: &str, count: usize) {
        for number in 0..count {
            let key = format!("{prefix}{:04}/{number:08}.txt", number / 1_000);
            self.put(bucket, &key, format!("content of {number}\n"));
        }
    }

    /// The newest version of an object.
    #[must_use]
    pub fn object(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        let store = self.0.store();
        let bucket = store
            .bucket(bucket)
            .unwrap_or_else(|error| panic!("{error}"));
        let (version, object) = bucket.entries.get(key)?.current()?;
        Some(StoredObject::new(version, object))
    }

    /// The content of an object.
    #[must_use]
    pub fn get(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.object(bucket, key).map(|object| object.content())
    }

    /// Deletes an object (makes a delete marker where versioning is on); returns whether there was one.
    pub fn delete(&self, bucket: &str, key: &str) -> bool {
        let existed = self.object(bucket, key).is_some();
        let quirks = self.0.quirks();
        let now = self.0.clock.now();
        self.0
            .store()
            .bucket_mut(bucket)
            .and_then(|bucket| bucket.delete(key, None, &Precondition::None, &quirks, now))
            .unwrap_or_else(|error| panic!("{error}"));
        existed
    }

    /// Removes all objects, versions and uploads of a bucket.
    pub fn clear(&self, bucket: &str) {
        let mut store = self.0.store();
        let bucket = store
            .bucket_mut(bucket)
            .unwrap_or_else(|error| panic!("{error}"));
        bucket.entries.clear();
        bucket.uploads.clear();
    }

    /// The keys of a bucket, in byte order, lagging or not.
    #[must_use]
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.objects(bucket).into_keys().collect()
    }

    /// The newest version of every object.
    #[must_use]
    pub fn objects(&self, bucket: &str) -> BTreeMap<String, StoredObject> {
        let store = self.0.store();
        let bucket = store
            .bucket(bucket)
            .unwrap_or_else(|error| panic!("{error}"));
        let entries = bucket.entries.iter();
        entries
            .filter_map(|(key, entry)| {
                let (version, object) = entry.current()?;
                Some((key.clone(), StoredObject::new(version, object)))
            })
            .collect()
    }

    /// All versions of a key, oldest first; `None` is a delete marker.
    #[must_use]
    pub fn versions(&self, bucket: &str, key: &str) -> Vec<Option<StoredObject>> {
        let store = self.0.store();
        let bucket = store
            .bucket(bucket)
            .unwrap_or_else(|error| panic!("{error}"));
        let versions = bucket.entries.get(key).map(|entry| &entry.versions);
        versions
            .into_iter()
            .flatten()
            .map(|version| {
                let object = version.object.as_ref()?;
                Some(StoredObject::new(version, object))
            })
            .collect()
    }

    /// The unfinished multipart uploads of a bucket.
    #[must_use]
    pub fn uploads(&self, bucket: &str) -> Vec<StoredUpload> {
        let store = self.0.store();
        let bucket = store
            .bucket(bucket)
            .unwrap_or_else(|error| panic!("{error}"));
        let uploads = bucket.uploads.iter();
        uploads
            .map(|((key, upload_id), upload)| StoredUpload {
                key: key.clone(),
                upload_id: upload_id.clone(),
                initiated: upload.initiated,
                parts: upload
                    .parts
                    .iter()
                    .map(|(number, part)| (*number, part.content.size()))
                    .collect(),
            })
            .collect()
    }

    /// Begins an upload that a client left behind, with parts of these contents; returns its id.
    pub fn begin_upload(&self, bucket: &str, key: &str, parts: &[&[u8]]) -> String {
        let now = self.0.clock.now();
        let mut store = self.0.store();
        let bucket = store
            .bucket_mut(bucket)
            .unwrap_or_else(|error| panic!("{error}"));
        let id = bucket.begin_upload(key, Headers::default(), now);
        let upload = bucket.upload_mut(key, &id).expect("it was just begun");
        for (number, content) in (1..).zip(parts) {
            let content = Content::from(Bytes::copy_from_slice(content));
            let md5 = content.md5();
            let part = StoredPart {
                etag: hex::encode(md5),
                content,
                md5,
                checksum: Checksum::default(),
                modified: now,
            };
            upload.parts.insert(number, part);
        }
        id
    }

    /// The names of the buckets.
    #[must_use]
    pub fn buckets(&self) -> Vec<String> {
        self.0.store().buckets.keys().cloned().collect()
    }

    /// Makes a bucket.
    pub fn create_bucket(&self, name: &str) {
        let now = self.0.clock.now();
        let made = self.0.store().create_bucket(name, now);
        made.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Removes a bucket with all that is in it: a bucket that was deleted behind a client's back.
    pub fn remove_bucket(&self, name: &str) {
        self.0.store().buckets.remove(name);
    }

    /// Turns versioning on, or suspends it.
    pub fn set_versioning(&self, bucket: &str, is_on: bool) {
        let mut store = self.0.store();
        let bucket = store
            .bucket_mut(bucket)
            .unwrap_or_else(|error| panic!("{error}"));
        bucket.versioning = if is_on {
            Versioning::Enabled
        } else {
            Versioning::Suspended
        };
    }
}

/// Behaviour.
impl Access {
    /// The clock of `LastModified` and `Date`.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The knobs as they stand.
    #[must_use]
    pub fn quirks(&self) -> Quirks {
        (*self.0.quirks()).clone()
    }

    /// Turns knobs; holds from the next request on.
    pub fn set_quirks(&self, change: impl FnOnce(&mut Quirks)) {
        let mut quirks = self
            .0
            .quirks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut quirks));
    }

    /// Puts a fault at the end of the queue.
    pub fn fault(&self, when: When, then: Then) {
        self.0.faults.push(when, then);
    }

    /// Forgets all faults, reached or not.
    pub fn clear_faults(&self) {
        self.0.faults.clear();
    }

    /// A description of each fault that was not reached.
    #[must_use]
    pub fn unreached_faults(&self) -> Vec<String> {
        self.0.faults.unreached()
    }

    /// Fails when a fault was not reached: the test did not see what it is about.
    ///
    /// # Panics
    /// When a fault was not reached.
    #[track_caller]
    pub fn assert_faults_reached(&self) {
        let unreached = self.unreached_faults();
        assert!(
            unreached.is_empty(),
            "faults that were never reached:\n{}\ncalls: {:?}",
            unreached.join("\n"),
            self.calls()
        );
    }
}

/// Counting.
impl Access {
    /// Calls by operation since the last reset; operations that were not called are not in it.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<Op, u64> {
        self.0.counters.counts()
    }

    /// Calls of one operation since the last reset.
    #[must_use]
    pub fn count(&self, op: Op) -> u64 {
        self.calls().get(&op).copied().unwrap_or_default()
    }

    /// All calls since the last reset, in order of arrival.
    #[must_use]
    pub fn log(&self) -> Vec<Call> {
        self.0.counters.log()
    }

    /// The most requests that ran at the same moment since the last reset.
    #[must_use]
    pub fn most_running(&self) -> usize {
        self.0.counters.most_running()
    }

    /// Connections accepted since the last reset.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.counters.connections()
    }

    /// Starts counting anew.
    pub fn reset_calls(&self) {
        self.0.counters.reset();
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

impl From<&Server> for Access {
    fn from(server: &Server) -> Self {
        server.access()
    }
}
