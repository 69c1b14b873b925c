//! What the folder of the snapshots holds, read anew: a snapshot exists by its manifest and by nothing else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ows_providers::{Entry, RemoteIdentity, Version};

use super::entry::Digest;
use super::manifest::Manifest;
use super::name::{LegacyName, SnapshotName};

/// The folder of the snapshots at one moment.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Which folder it is.
    pub remote: RemoteIdentity,
    /// When it was read, by the provider's clock; by this host's where the provider has told no time.
    pub read_at: DateTime<Utc>,
    /// Snapshots whose manifest could be read, newest first, of all profiles.
    pub snapshots: Vec<Snapshot>,
    /// Snapshots whose manifest cannot be used, newest first: nobody knows their profile, and nothing removes them.
    pub unusable: Vec<Unusable>,
    /// Snapshots of the old plugin, newest first; those whose names tell no time come last.
    pub legacy: Vec<Legacy>,
    /// Objects of ours that no manifest counts: of runs that failed or are under way somewhere else.
    pub unlisted: Vec<Unlisted>,
    /// How many objects are none of ours. They are never touched.
    pub foreign: u64,
    /// `RECOVER.txt` is there.
    pub has_recover: bool,
}

/// A snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its name.
    pub name: SnapshotName,
    /// Its manifest.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's bytes.
    pub manifest_sha256: Digest,
    /// The version of the manifest's object.
    pub manifest_version: Option<Version>,
    /// Every object that carries the snapshot's name, by its own, the manifest too; whether the manifest names it or not.
    pub objects: BTreeMap<String, Entry>,
}

/// A snapshot whose manifest cannot be used.
#[derive(Debug, Clone)]
pub struct Unusable {
    /// Its name.
    pub name: SnapshotName,
    /// Why, in words.
    pub reason: String,
    /// A newer version of `ows` wrote it; otherwise it is damaged.
    pub newer: bool,
    /// Every object that carries its name.
    pub objects: BTreeMap<String, Entry>,
}

/// A snapshot of the old plugin.
#[derive(Debug, Clone)]
pub struct Legacy {
    /// Its name, which is its object's.
    pub name: LegacyName,
    /// Its object.
    pub entry: Entry,
}

/// What a snapshot that does not exist has left, or is going to be made of.
#[derive(Debug, Clone)]
pub struct Unlisted {
    /// The name that its objects carry.
    pub name: SnapshotName,
    /// The objects, by name.
    pub objects: BTreeMap<String, Entry>,
}

impl Snapshot {
    /// Bytes stored for it, the manifest not counted.
    pub fn stored_bytes(&self) -> u64 {
        let index = self.manifest.index.size;
        self.manifest
            .volumes
            .iter()
            .fold(index, |sum, volume| sum.saturating_add(volume.object.size))
    }

    /// What its manifest names and the listing lacks, or shows with another size: the object's name, and what is wrong.
    pub fn faults(&self) -> Vec<(String, String)> {
        let volumes = self.manifest.volumes.iter().map(|volume| &volume.object);
        volumes
            .chain([&self.manifest.index])
            .filter_map(|named| match self.objects.get(&named.name) {
                None => Some((named.name.clone(), "it is missing".to_owned())),
                Some(found) if found.size != named.size => Some((
                    named.name.clone(),
                    format!(
                        "it has {} bytes, the manifest says {}",
                        found.size, named.size
                    ),
                )),
                Some(_) => None,
            })
            .collect()
    }
}

impl Catalog {
    /// The snapshot that `latest` means: the newest of the profile, and where this host encrypts not a plain one, so that
    /// nobody who can write to the storage slips in one of his own.
    pub fn latest(&self, profile: &str, encrypted_only: bool) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| {
            snapshot.manifest.profile == profile
                && (snapshot.manifest.encryption.is_on() || !encrypted_only)
        })
    }

    /// The snapshot of this name.
    pub fn find(&self, name: SnapshotName) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.name == name)
    }
}
