//! How a store in memory behaves.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{Capabilities, Enforcement, HashCapability, HashKind, NameRules, PartRules};

/// Where versions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionStyle {
    /// Each write makes a new one, whatever was written (Dropbox, OneDrive, a folder).
    Revision,
    /// MD5 of the content, or of the parts' MD5s for an upload in parts: the same content written again has the same
    /// version (S3). The hash in listings is the version, and uploads in parts have none there.
    Etag,
    /// Looks like an MD5 and is none (S3 with SSE-KMS): the hash in listings is wrong.
    OpaqueEtag,
}

/// What the store does to an object after it has answered that it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alteration {
    /// Nothing.
    None,
    /// It gives it another version.
    Version,
    /// It changes the content (document services that rewrite what is uploaded), and with it the version.
    Content,
}

/// How a store in memory behaves. Begin with a preset: [`MemoryOptions::s3`], [`MemoryOptions::folder`],
/// [`MemoryOptions::drive`].
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// The remote's identity, as [`crate::Provider::describe`] tells it.
    pub identity: String,
    /// Folders exist by themselves.
    pub folders: bool,
    /// There is a call to rename.
    pub rename: bool,
    /// There is a call to copy.
    pub copy: bool,
    /// The hash that entries carry.
    pub hash: Option<HashCapability>,
    /// Where versions come from.
    pub versions: VersionStyle,
    /// What happens to an object after it was stored.
    pub alteration: Alteration,
    /// Modification times are stored in these steps; not at all when `None`.
    pub mtime_precision: Option<Duration>,
    /// Listings carry the modification time.
    pub listing_has_mtime: bool,
    /// Which conditions are enforced; the others are ignored silently. `versioning` also keeps what is displaced.
    pub enforced: Enforcement,
    /// What is listed is complete.
    pub complete_objects: bool,
    /// The provider keeps what is deleted or replaced, see [`super::MemoryStore::bin`].
    pub bin: bool,
    /// Which names can be stored.
    pub names: NameRules,
    /// Items per page of a listing.
    pub page_size: usize,
    /// Bytes per piece of a download's body.
    pub piece_size: usize,
    /// The clock at the beginning.
    pub start: DateTime<Utc>,
    /// Times of storing are told in these steps.
    pub modified_at_precision: Duration,
    /// The answer to a write tells when it was stored.
    pub write_tells_modified_at: bool,
    /// The largest body of one call, in bytes.
    pub single_put_max: u64,
    /// Rules for uploads in parts.
    pub parts: PartRules,
    /// All parts but the last must be of equal size.
    pub equal_parts: bool,
    /// Uploads outlive the process that began them.
    pub resumable_uploads: bool,
    /// How many calls may be under way at once.
    pub parallel: usize,
}

impl MemoryOptions {
    /// Like an S3 store that keeps all conditions.
    pub fn s3() -> Self {
        Self {
            identity: "memory".to_owned(),
            folders: false,
            rename: false,
            copy: true,
            hash: Some(HashCapability {
                kind: HashKind::Md5,
                difference_proves: false,
            }),
            versions: VersionStyle::Etag,
            alteration: Alteration::None,
            mtime_precision: Some(Duration::from_nanos(1)),
            listing_has_mtime: false,
            enforced: Enforcement {
                create_if_absent: true,
                replace_if_match: true,
                delete_if_match: true,
                complete_if_absent: true,
                complete_if_match: true,
                copy_if_absent: true,
                versioning: Some(false),
            },
            complete_objects: true,
            bin: false,
            names: NameRules {
                max_path_bytes: 1024,
                max_segment_bytes: 1024,
                control_characters: false,
                folds_case: false,
                folds_forms: false,
            },
            page_size: 1000,
            piece_size: 64 << 10,
            // A round date in the past: a test that takes it for today's is found out.
            start: DateTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            modified_at_precision: Duration::from_secs(1),
            write_tells_modified_at: false,
            single_put_max: 5 << 30,
            // Small, so that tests reach several parts without megabytes.
            parts: PartRules {
                min: 1 << 10,
                max: 5 << 30,
                preferred: 4 << 10,
                max_count: 10_000,
            },
            equal_parts: true,
            resumable_uploads: true,
            parallel: 16,
        }
    }

    /// Like a folder that is mounted: folders, renames, times to the nanosecond, no hashes, files that still grow.
    pub fn folder() -> Self {
        Self {
            folders: true,
            rename: true,
            hash: None,
            versions: VersionStyle::Revision,
            listing_has_mtime: true,
            complete_objects: false,
            names: NameRules {
                max_path_bytes: 4095,
                max_segment_bytes: 255,
                control_characters: true,
                folds_case: false,
                folds_forms: false,
            },
            modified_at_precision: Duration::from_nanos(1),
            write_tells_modified_at: true,
            enforced: Enforcement {
                versioning: None,
                ..Self::s3().enforced
            },
            equal_parts: false,
            ..Self::s3()
        }
    }

    /// Like a consumers' drive: folders, renames, hashes that prove, a bin, case and forms of Unicode folded, times to the second.
    pub fn drive() -> Self {
        Self {
            hash: Some(HashCapability {
                kind: HashKind::Blake3,
                difference_proves: true,
            }),
            names: NameRules {
                folds_case: true,
                folds_forms: true,
                ..Self::folder().names
            },
            complete_objects: true,
            bin: true,
            mtime_precision: Some(Duration::from_secs(1)),
            modified_at_precision: Duration::from_secs(1),
            page_size: 200,
            ..Self::folder()
        }
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "memory",
            hash: self.hash,
            folders: self.folders,
            rename: self.rename,
            copy: self.copy,
            change_feed: false,
            bin: self.bin,
            mtime_precision: self.mtime_precision,
            listing_has_mtime: self.listing_has_mtime,
            complete_objects: self.complete_objects,
            names: self.names,
            single_put_max: self.single_put_max,
            parts: self.parts,
            resumable_uploads: self.resumable_uploads,
            parallel: self.parallel,
        }
    }
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self::s3()
    }
}
