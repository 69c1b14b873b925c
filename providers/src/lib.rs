//! Storage providers: one trait, its adapters, and the layers around them.
//!
//! This crate knows how to talk to a place that stores files: an S3 bucket, a folder, memory. It knows nothing of pairs,
//! plans, bases or backups; those live in the crate `ows`, which builds on this one.
//!
//! - [`Provider`] is the trait. Its promises stand in the comments of its methods, and the conformance suite in
//!   `tests/conformance.rs` holds every adapter to them.
//! - [`Capabilities`] are facts about an adapter. Callers branch on facts, never on an adapter's name.
//! - [`Error`] is one enum by what the caller can do.
//! - [`layers`] wrap a `Provider` in a `Provider`: retry, rate limit, counting, bandwidth, scripted faults. Adapters stay
//!   free of them.

mod capabilities;
mod error;
pub mod folder;
pub mod hash;
pub mod http;
pub mod layers;
pub mod local;
pub mod memory;
mod path;
pub mod ping;
pub mod s3;

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

pub use capabilities::{Capabilities, Enforcement, HashCapability, NameRules, PartRules};
pub use error::{Error, ErrorKind, Operation, Result};
pub use path::{EntryKind, PathError, RelPath, SortKey};

/// What a provider uses to tell one content of an object from the next: an ETag, a revision. Opaque: compare it, store
/// it, give it back in a [`Precondition`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub String);

/// A hash of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKind {
    /// MD5, RFC 1321.
    Md5,
    /// BLAKE3, 32 bytes.
    Blake3,
}

/// The hash of an object's content, as the provider states it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hash {
    /// Which hash.
    pub kind: HashKind,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Hash {
    /// An MD5 hash.
    pub fn md5(bytes: [u8; 16]) -> Self {
        Self {
            kind: HashKind::Md5,
            bytes: bytes.to_vec(),
        }
    }
}

/// Something that a provider holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where, relative to the provider's root.
    pub path: RelPath,
    /// File or folder.
    pub kind: EntryKind,
    /// Length in bytes; 0 for folders.
    pub size: u64,
    /// The time that the uploader gave to the content (its modification time on the uploader's disk), in nanoseconds
    /// since the Unix epoch; `None` where this call does not tell it (S3 listings do not).
    pub mtime_ns: Option<i64>,
    /// When the provider stored this version, by its clock, in nanoseconds since the epoch; `None` where this call
    /// does not tell it (S3's answer to a PUT does not).
    pub modified_at_ns: Option<i64>,
    /// The version; `None` for folders on providers that give folders none.
    pub version: Option<Version>,
    /// The content's hash where the provider tells it. Equality proves equal content; whether a difference proves
    /// anything says [`HashCapability::difference_proves`].
    pub hash: Option<Hash>,
    /// The provider's own id of the item, on providers that have ids.
    pub id: Option<String>,
}

impl Entry {
    /// A folder without attributes.
    pub fn dir(path: RelPath) -> Self {
        Self {
            path,
            kind: EntryKind::Dir,
            size: 0,
            mtime_ns: None,
            modified_at_ns: None,
            version: None,
            hash: None,
            id: None,
        }
    }

    /// The key by which listings are ordered.
    pub fn sort_key(&self) -> SortKey {
        SortKey {
            path: self.path.clone(),
            kind: self.kind,
        }
    }
}

/// An item of a listing.
#[derive(Debug)]
pub enum Listed {
    /// A file or folder.
    Entry(Entry),
    /// A stored name that is no path here (`a//b`, `../x`, control characters): reported, never touched.
    Unusable {
        /// The name as the provider has it.
        key: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// A folder that could not be read: what lies below it is unknown, not absent.
    Unreadable {
        /// The folder.
        path: RelPath,
        /// Why.
        error: Error,
    },
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Only what lies below this folder; everything without one.
    pub below: Option<RelPath>,
    /// Only the direct children, folders among them (on providers without folders: the common prefixes).
    pub shallow: bool,
    /// Folders that are not entered or shown, e.g. `.ows`.
    pub skip: Vec<RelPath>,
    /// Where the listing may be cut into pieces of about one page, so that an adapter can fetch several at once: file
    /// names in order, as the caller knows them from before. A hint: whatever they are, the listing is complete and in
    /// order, and adapters may ignore them.
    pub splits: Vec<RelPath>,
}

/// A condition on what is at a path when a change is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// None.
    Any,
    /// Nothing is there. Fails with [`ErrorKind::AlreadyExists`].
    Absent,
    /// Exactly this version is there. Fails with [`ErrorKind::PreconditionFailed`], or [`ErrorKind::NotFound`] when
    /// nothing is there.
    Version(Version),
}

/// How to read an object.
#[derive(Debug, Clone, Default)]
pub struct GetOptions {
    /// Only these bytes.
    pub range: Option<Range<u64>>,
    /// Fail with [`ErrorKind::PreconditionFailed`] unless it is this version.
    pub version: Option<Version>,
}

/// An object that is being read.
pub struct Download {
    /// The object as it is while it is read, with `mtime_ns` and `hash` where the provider stores them.
    pub entry: Entry,
    /// The bytes asked for. Ends with an error when fewer arrive than were announced.
    pub body: BoxStream<'static, Result<Bytes>>,
}

impl Debug for Download {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Download")
            .field("entry", &self.entry)
            .finish_non_exhaustive()
    }
}

/// How to write an object in one call.
#[derive(Debug, Clone)]
pub struct PutOptions {
    /// What must be there now.
    pub precondition: Precondition,
    /// The content's modification time, in nanoseconds since the epoch, stored with it.
    pub mtime_ns: Option<i64>,
    /// MD5 of the content, when the caller has it.
    pub md5: Option<[u8; 16]>,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            precondition: Precondition::Any,
            mtime_ns: None,
            md5: None,
        }
    }
}

/// How to begin an upload in parts.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    /// Length of the whole object in bytes; `None` for a stream whose length only its end tells. Then nothing is checked
    /// against it, and what the parts amount to is the object.
    pub size: Option<u64>,
    /// Length of every part but the last. At least [`PartRules::min`] unless one part holds everything, and few enough
    /// parts for [`PartRules::max_count`]: see [`PartRules::part_size`]. For a stream the caller estimates.
    pub part_size: u64,
    /// The content's modification time, in nanoseconds since the epoch, stored with it.
    pub mtime_ns: Option<i64>,
    /// MD5 of the whole content, stored with the object where the provider has no hash of its own for such uploads.
    pub md5: Option<[u8; 16]>,
}

/// An upload in parts that has begun. It can be stored, and resumed by another process where
/// [`Capabilities::resumable_uploads`] says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Where the object will be.
    pub path: RelPath,
    /// The provider's id of the upload.
    pub id: String,
    /// Length of the whole object in bytes; `None` for a stream whose length was not known when it began.
    pub size: Option<u64>,
    /// Length of every part but the last.
    pub part_size: u64,
    /// A random word that the finished object carries, so that a lost answer to the completion can be told from a
    /// stranger's object.
    pub token: String,
}

impl Upload {
    /// Whether these are all of its parts: in order, without a gap, of equal length but for the last, and as long as was
    /// announced. Some stores (R2) refuse unequal parts, and all refuse gaps; it costs less to see it here.
    pub(crate) fn is_whole(&self, parts: &[Part]) -> bool {
        let in_order = parts
            .iter()
            .zip(1..)
            .all(|(part, number)| part.number == number);
        let equal = parts.split_last().is_some_and(|(last, full)| {
            last.size <= self.part_size && full.iter().all(|part| part.size == self.part_size)
        });
        in_order && equal && self.size.is_none_or(|size| size == total_size(parts))
    }
}

/// What parts amount to, in bytes.
pub(crate) fn total_size(parts: &[Part]) -> u64 {
    parts
        .iter()
        .fold(0, |sum, part| sum.saturating_add(part.size))
}

/// A part that the provider has stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its number, from 1.
    pub number: u32,
    /// Its length in bytes.
    pub size: u64,
    /// What the provider answered for it (S3: the part's ETag).
    pub tag: String,
}

/// An upload that was begun and neither completed nor aborted, as the provider lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// Where the object would be.
    pub path: RelPath,
    /// The provider's id of the upload.
    pub id: String,
    /// When it was begun, in nanoseconds since the epoch, by the provider's clock.
    pub started_at_ns: Option<i64>,
}

/// How to copy or rename within the provider.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// The version that the source must have; any when `None`. Fails with [`ErrorKind::PreconditionFailed`].
    pub source: Option<Version>,
    /// What must be at the destination now.
    pub precondition: Precondition,
    /// The source's length in bytes: S3 copies more than 5 GiB only in parts.
    pub size: u64,
    /// Modification time of the copy; the source's when `None`.
    pub mtime_ns: Option<i64>,
}

/// Which remote this is, apart from the keys that open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteIdentity {
    /// Names the remote whatever keys open it: S3: endpoint, bucket and folder; a folder: its canonical path.
    pub id: String,
    /// For people: `s3://bucket/folder`.
    pub display: String,
}

/// A page of a change feed.
#[derive(Debug)]
pub struct ChangePage {
    /// What changed.
    pub changes: Vec<Change>,
    /// Where to go on; store it in the transaction that stores the changes.
    pub cursor: String,
    /// Whether another page is waiting.
    pub more: bool,
}

/// One change in a feed.
#[derive(Debug)]
pub enum Change {
    /// The item is now like this.
    Upsert(Entry),
    /// The item, and what lay below it, is gone.
    Removed {
        /// Where it was, if the feed says so.
        path: Option<RelPath>,
        /// Its id, if the feed says so.
        id: Option<String>,
    },
}

/// A place that stores files under relative paths below one root.
///
/// Promises that every adapter keeps, and the conformance suite tests:
/// - A listing is complete or ends with an error. A page that failed is never the end of a listing.
/// - A write is visible whole or not at all.
/// - Deleting what is already gone succeeds, whatever the precondition was.
/// - A failed precondition changes nothing. Where the store does not enforce one ([`Enforcement`]) the adapter sends it
///   all the same, and the caller looks before and after.
/// - A path that came in as a [`RelPath`] never reaches anything outside the root.
#[async_trait]
pub trait Provider: Debug + Send + Sync + 'static {
    /// Facts about this adapter.
    fn capabilities(&self) -> &Capabilities;

    /// The provider's clock: the newest time that it has told, moved on by what has passed here since. `None` before
    /// the first answer.
    fn clock(&self) -> Option<DateTime<Utc>>;

    /// Which remote this is.
    async fn describe(&self) -> Result<RemoteIdentity>;

    /// Finds out what the store enforces, by trying it under `.ows/probe`, and whether it keeps old versions. Leaves
    /// nothing behind.
    async fn probe(&self) -> Result<Enforcement>;

    /// Lists files and folders in the order of [`SortKey`]. Fails with [`ErrorKind::NotFound`] where the root, or the
    /// folder asked for, can be missing and is; a provider without folders gives an empty listing instead.
    fn list(&self, options: ListOptions) -> BoxStream<'_, Result<Listed>>;

    /// What has changed since `cursor`, or everything without one. Only with [`Capabilities::change_feed`].
    async fn changes(&self, cursor: Option<&str>) -> Result<ChangePage>;

    /// Looks at one path. Where a name can be both a file and a prefix (S3), the file is meant.
    async fn stat(&self, path: &RelPath) -> Result<Entry>;

    /// Reads a file.
    async fn get(&self, path: &RelPath, options: GetOptions) -> Result<Download>;

    /// Writes a file of at most [`Capabilities::single_put_max`] bytes in one call, creating the folders above it.
    /// The answer holds at least path, size and version.
    async fn put(&self, path: &RelPath, body: Bytes, options: PutOptions) -> Result<Entry>;

    /// Begins an upload in parts. Nothing is visible before it is completed.
    async fn start_upload(&self, path: &RelPath, options: UploadOptions) -> Result<Upload>;

    /// Stores one part; storing it again replaces it. Parts may be stored in any order and at the same time. An object
    /// without content has one part of no length.
    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part>;

    /// Makes the object of an upload visible. The parts are in order and complete. Completing an upload once more
    /// succeeds as long as the object still is the one that it made, which its token tells, whatever the precondition:
    /// the answer to the first completion may have been lost.
    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: Precondition,
    ) -> Result<Entry>;

    /// Gives an upload up and frees its parts. Aborting one that is gone succeeds.
    async fn abort_upload(&self, upload: &Upload) -> Result<()>;

    /// Uploads that were begun and never ended, below the root.
    async fn list_uploads(&self) -> Result<Vec<UnfinishedUpload>>;

    /// The parts that are already stored for an upload, in order; for resuming it. [`ErrorKind::NotFound`] when the
    /// upload is gone.
    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>>;

    /// Deletes a file. [`Precondition::Absent`] makes no sense here and is refused.
    async fn delete(&self, path: &RelPath, precondition: Precondition) -> Result<()>;

    /// Copies a file within the provider, creating the folders above the copy.
    async fn copy(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry>;

    /// Renames a file or folder. Only with [`Capabilities::rename`].
    async fn rename(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry>;

    /// Creates a folder and those above it; succeeds when it is there. Only with [`Capabilities::folders`].
    async fn create_dir(&self, path: &RelPath) -> Result<Entry>;

    /// Deletes an empty folder; [`ErrorKind::PreconditionFailed`] when it is not empty. Only with
    /// [`Capabilities::folders`].
    async fn delete_dir(&self, path: &RelPath) -> Result<()>;
}
