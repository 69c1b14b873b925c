//! What was seen and what was agreed: the plain values that observation, planning, applying and the database share.
//!
//! Nothing here does I/O or reads a clock.

use ows_providers::{Entry, Hash, SortKey, Version};

/// How far a change time must lie behind the moment of observation before an unchanged fingerprint proves unchanged
/// content, in nanoseconds. FAT stores modification times in steps of two seconds; other file systems are finer.
pub const COARSEST_TICK_NS: i64 = 2_000_000_000;

/// How far a stored time may lie after the end of the upload that it belongs to, in nanoseconds. A store tells its clock
/// in whole seconds (`Date`), some list times in milliseconds, and the machines of one store differ a little.
pub const STORE_CLOCK_NS: i64 = 2_000_000_000;

/// What tells one state of a local file from the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFingerprint {
    /// Length in bytes; 0 for folders.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Time of the last change of the inode, nanoseconds since the epoch.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
    /// BLAKE3 of the content, once it was read.
    pub blake3: Option<[u8; 32]>,
    /// The clock just before the file was looked at, nanoseconds since the epoch.
    pub observed_at_ns: i64,
}

impl LocalFingerprint {
    /// Whether both are the same state of the same file, as far as the file system tells.
    pub fn same_attributes(&self, other: &Self) -> bool {
        (self.size, self.mtime_ns, self.ctime_ns, self.inode)
            == (other.size, other.mtime_ns, other.ctime_ns, other.inode)
    }

    /// Whether a later observation of the same state proves the same content. A file that changed as late as it was
    /// looked at may change again without its times showing it, and must be read.
    pub fn trusted(&self) -> bool {
        self.ctime_ns
            .max(self.mtime_ns)
            .saturating_add(COARSEST_TICK_NS)
            < self.observed_at_ns
    }
}

/// What tells one state of a remote file from the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStamp {
    /// Length in bytes; 0 for folders.
    pub size: u64,
    /// The provider's version.
    pub version: Option<Version>,
    /// When the provider stored it, by its clock, nanoseconds since the epoch. `None` while only the answer to our own
    /// upload is known, which on S3 does not tell it.
    pub modified_at_ns: Option<i64>,
    /// The content's modification time as stored with it, nanoseconds since the epoch.
    pub mtime_ns: Option<i64>,
    /// The content's hash, where the provider tells it.
    pub hash: Option<Hash>,
    /// The provider's id of the item.
    pub id: Option<String>,
    /// This replica itself wrote or read exactly this version: replacing it needs no copy in the trash.
    pub own: bool,
    /// For our own uploads: the provider's clock when the upload had ended, nanoseconds since the epoch. A stored time
    /// not later than this is our upload, even when the store altered it.
    pub stored_by_ns: Option<i64>,
}

impl RemoteStamp {
    /// What `entry` says. `own`: this replica itself wrote or read exactly this version.
    pub fn from_entry(entry: &Entry, own: bool) -> Self {
        Self {
            size: entry.size,
            version: entry.version.clone(),
            modified_at_ns: entry.modified_at_ns,
            mtime_ns: entry.mtime_ns,
            hash: entry.hash.clone(),
            id: entry.id.clone(),
            own,
            stored_by_ns: None,
        }
    }

    /// Whether `self`, as recorded, and `seen`, as listed now, are one version. A recorded stamp without a stored time
    /// (the answer to our upload) matches what was stored until that upload had ended. What was stored later is new even
    /// when it has the same content, and so the same ETag: somebody deleted the file and put it back.
    pub fn same_version(&self, seen: &Self) -> bool {
        self.size == seen.size
            && self.version == seen.version
            && match (self.modified_at_ns, seen.modified_at_ns) {
                (Some(recorded), Some(seen)) => recorded == seen,
                (None, Some(seen)) => self
                    .stored_by_ns
                    .is_none_or(|by| seen <= by.saturating_add(STORE_CLOCK_NS)),
                (_, None) => true,
            }
    }

    /// The listing tells when our upload was stored: the end of the upload says nothing more.
    pub fn set_stored(&mut self, modified_at_ns: i64) {
        self.modified_at_ns = Some(modified_at_ns);
        self.stored_by_ns = None;
    }

    /// Whether `seen` is what the store made of our own upload: another version, stored no later than the upload ended.
    pub fn altered_by_store(&self, seen: &Self) -> bool {
        self.own
            && self.modified_at_ns.is_none()
            && matches!((self.stored_by_ns, seen.modified_at_ns), (Some(by), Some(at)) if at <= by)
    }
}

/// What both sides agreed on for one path after the last verified action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRow {
    /// Path and kind.
    pub key: SortKey,
    /// The local side.
    pub local: LocalFingerprint,
    /// The remote side.
    pub remote: RemoteStamp,
}

/// Whose content gave its name up in a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// That of the local side.
    Local,
    /// That of the remote.
    Remote,
    /// Nobody remembers.
    Unknown,
}

impl Lost {
    /// Its name in the database and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Unknown => "unknown",
        }
    }

    /// What has this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Local, Self::Remote, Self::Unknown]
            .into_iter()
            .find(|lost| lost.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn stamp(modified_at_ns: Option<i64>, stored_by_ns: Option<i64>) -> RemoteStamp {
        RemoteStamp {
            size: 3,
            version: Some(Version("etag".to_owned())),
            modified_at_ns,
            mtime_ns: None,
            hash: None,
            id: None,
            own: true,
            stored_by_ns,
        }
    }

    #[test]
    fn the_answer_to_our_upload_matches_what_was_stored_by_then_and_nothing_later() {
        let told = 100 * SECOND;
        for (stored, matches) in [
            // An upload in parts may carry the time of its beginning.
            (told - 3600 * SECOND, true),
            (told, true),
            // Listed in milliseconds, while `Date` told whole seconds.
            (told + 999_000_000, true),
            (told + STORE_CLOCK_NS, true),
            (told + STORE_CLOCK_NS + 1, false),
            (told + 3600 * SECOND, false),
        ] {
            let recorded = stamp(None, Some(told));
            assert_eq!(
                recorded.same_version(&stamp(Some(stored), None)),
                matches,
                "{stored}"
            );
        }
        // Where no clock was told, and where no time is listed, the version alone decides.
        assert!(stamp(None, None).same_version(&stamp(Some(told), None)));
        assert!(stamp(None, Some(told)).same_version(&stamp(None, None)));
        // Once the stored time is known it is compared exactly.
        assert!(!stamp(Some(told), Some(told)).same_version(&stamp(Some(told + 1), None)));
    }
}
