//! What the folder of the snapshots holds, read anew: a snapshot exists by its manifest and by nothing else.
//!
//! One listing, and the manifests that this host has not read before, several at once. A manifest is created only if absent
//! and never changed, so that what was read of its version is kept in the database; a host whose database is gone reads them
//! all. Verifying reads the manifest itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use ows_providers::{
    Download, Entry, EntryKind, Error, ErrorKind, GetOptions, ListOptions, Listed, Provider,
    RelPath, RemoteIdentity, Version,
};

use super::entry::Digest;
use super::manifest::{LONGEST, Manifest, ManifestError};
use super::name::{LegacyName, ObjectName, Part, SnapshotName};
use crate::error::{Failure, Outcome};
use crate::state::State;

/// Manifests that are read at once. One is a few kilobytes.
const READ_AT_ONCE: usize = 16;

/// What a snapshot's name may be ahead of the clock: clocks that are not quite the same, and snapshots of one second, which
/// are named one after the other. What is further ahead is from the future: a clock jumped, or someone planted it.
pub const AHEAD: Duration = Duration::seconds(60);

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
    /// A newer version of `ows` wrote it; otherwise it is damaged, or could not be fetched.
    pub newer: bool,
    /// The storage does not hand it out: it may be as good as any other.
    pub unread: bool,
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
        faults(&self.manifest, &self.objects)
    }
}

/// The same of a snapshot that may not exist yet.
pub(super) fn faults(
    manifest: &Manifest,
    objects: &BTreeMap<String, Entry>,
) -> Vec<(String, String)> {
    let volumes = manifest.volumes.iter().map(|volume| &volume.object);
    volumes
        .chain([&manifest.index])
        .filter_map(|named| match objects.get(&named.name) {
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

impl Catalog {
    /// The newest snapshot of the profile that is not from the future, and with `encrypted_only` not a plain one: every
    /// protection looks at this one, so that a single snapshot with a wrong time switches none of them off.
    pub fn newest(&self, profile: &str, encrypted_only: bool) -> Option<&Snapshot> {
        self.of_profile(profile, encrypted_only)
            .find(|snapshot| !self.is_from_future(snapshot.name))
    }

    /// The snapshot that `latest` means: the newest of the profile, and where this host encrypts not a plain one, so that
    /// nobody who can write to the storage slips in one of his own. One from the future only when there is no other.
    pub fn latest(&self, profile: &str, encrypted_only: bool) -> Option<&Snapshot> {
        self.newest(profile, encrypted_only)
            .or_else(|| self.of_profile(profile, encrypted_only).next())
    }

    /// The snapshots of the profile, newest first; with `encrypted_only` without the plain ones.
    pub fn of_profile(
        &self,
        profile: &str,
        encrypted_only: bool,
    ) -> impl Iterator<Item = &Snapshot> {
        self.snapshots.iter().filter(move |snapshot| {
            snapshot.manifest.profile == profile
                && (snapshot.manifest.encryption.is_on() || !encrypted_only)
        })
    }

    /// What is taken later than this is from the future.
    pub fn horizon(&self) -> DateTime<Utc> {
        self.read_at + AHEAD
    }

    /// Whether it claims to be taken after now.
    pub fn is_from_future(&self, name: SnapshotName) -> bool {
        name.taken_at() > self.horizon()
    }

    /// A warning for each snapshot of the profile that is from the future.
    pub fn warn_of_future(&self, profile: &str) -> Vec<String> {
        self.of_profile(profile, false)
            .filter(|snapshot| self.is_from_future(snapshot.name))
            .map(|snapshot| {
                format!(
                    "the snapshot `{}` lies in the future: a clock was wrong, or someone put it there; until then it \
                     counts neither as the newest nor for any rule, and it is kept",
                    snapshot.name
                )
            })
            .collect()
    }

    /// The snapshot of this name.
    pub fn find(&self, name: SnapshotName) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.name == name)
    }
}

/// What a listing shows, sorted by what it is.
#[derive(Default)]
pub(super) struct Folder {
    /// The objects of each snapshot, by name, whether it has a manifest or not.
    pub(super) snapshots: BTreeMap<SnapshotName, BTreeMap<String, Entry>>,
    legacy: Vec<Legacy>,
    foreign: u64,
    has_recover: bool,
}

/// A manifest's bytes, and whether they came from the provider just now.
struct ManifestBytes {
    name: SnapshotName,
    entry: Entry,
    body: Vec<u8>,
    fresh: bool,
}

/// The manifests that are listed.
#[derive(Default)]
struct Manifests {
    read: Vec<ManifestBytes>,
    /// Those that the storage does not hand out, and why.
    unread: Vec<(SnapshotName, Error)>,
    /// Whether what was known holds more than is listed.
    is_stale: bool,
}

impl Catalog {
    /// Reads the folder. With `state`, manifests that were read before are not read again.
    ///
    /// # Errors
    /// When the folder cannot be listed to its end, or a manifest that is there cannot be read: what is not known could be
    /// the newest snapshot. A manifest that was read and makes no sense is no error, it is [`Unusable`]; nor is one that the
    /// storage refuses to hand out for good (an archived object, another key, other rights): it would fail everything for
    /// ever.
    pub async fn read(provider: &dyn Provider, state: Option<&State>) -> Outcome<Self> {
        let remote = provider.describe().await?;
        let folder = list(provider).await?;
        let read_at = provider.clock().unwrap_or_else(Utc::now);
        let known = match state {
            Some(state) => state.backup_manifests(&remote.id).await?,
            None => BTreeMap::new(),
        };
        let manifests = read_manifests(provider, &folder, known).await?;
        if let Some(state) = state {
            remember(state, &remote.id, &manifests.read, manifests.is_stale).await?;
        }
        Ok(Self::put_together(remote, read_at, folder, manifests))
    }

    fn put_together(
        remote: RemoteIdentity,
        read_at: DateTime<Utc>,
        mut folder: Folder,
        manifests: Manifests,
    ) -> Self {
        let (mut snapshots, mut unusable) = (Vec::new(), Vec::new());
        for ManifestBytes {
            name, entry, body, ..
        } in manifests.read
        {
            let objects = folder.snapshots.remove(&name).unwrap_or_default();
            match Manifest::read(&body, name) {
                Ok(manifest) => snapshots.push(Snapshot {
                    name,
                    manifest,
                    manifest_sha256: Digest::of(&body),
                    manifest_version: entry.version,
                    objects,
                }),
                Err(error) => unusable.push(Unusable {
                    name,
                    newer: matches!(error, ManifestError::Newer { .. }),
                    unread: false,
                    reason: error.to_string(),
                    objects,
                }),
            }
        }
        for (name, error) in manifests.unread {
            unusable.push(Unusable {
                name,
                reason: format!("its manifest cannot be fetched: {error}"),
                newer: false,
                unread: true,
                objects: folder.snapshots.remove(&name).unwrap_or_default(),
            });
        }
        snapshots.sort_by_key(|found| Reverse(found.name));
        unusable.sort_by_key(|found| Reverse(found.name));
        let mut legacy = folder.legacy;
        legacy.sort_by(|a, b| {
            let key = |legacy: &Legacy| (legacy.name.taken_at(), legacy.name.clone());
            key(b).cmp(&key(a))
        });
        let unlisted = folder
            .snapshots
            .into_iter()
            // Gone between the listing and the reading: whoever removes it is at work.
            .filter(|(name, objects)| !objects.contains_key(&name.object(Part::Manifest)))
            .map(|(name, objects)| Unlisted { name, objects })
            .collect();
        Self {
            remote,
            read_at,
            snapshots,
            unusable,
            legacy,
            unlisted,
            foreign: folder.foreign,
            has_recover: folder.has_recover,
        }
    }
}

/// Lists the folder; nothing in it is read.
pub(super) async fn list(provider: &dyn Provider) -> Outcome<Folder> {
    let mut folder = Folder::default();
    let mut listing = provider.list(ListOptions {
        shallow: true,
        ..ListOptions::default()
    });
    while let Some(item) = listing.next().await {
        match item {
            Ok(Listed::Entry(entry)) if entry.kind == EntryKind::File => folder.add(entry),
            // Folders, what is no path, and folders that cannot be read: no object of ours lies there.
            Ok(_) => {}
            // A folder that nobody has made yet holds no snapshots.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Folder::default()),
            Err(error) => {
                let mut failure = Failure::from(error);
                "could not list the snapshots".clone_into(&mut failure.message);
                return Err(failure);
            }
        }
    }
    Ok(folder)
}

impl Folder {
    fn add(&mut self, entry: Entry) {
        let name = entry.path.as_str().to_owned();
        match ObjectName::parse(&name) {
            ObjectName::Snapshot(snapshot, _) => {
                let objects = self.snapshots.entry(snapshot).or_default();
                objects.insert(name, entry);
            }
            ObjectName::Legacy(name) => self.legacy.push(Legacy { name, entry }),
            ObjectName::Recover => self.has_recover = true,
            ObjectName::Foreign => self.foreign += 1,
        }
    }
}

/// Whether asking again cannot help.
fn is_for_good(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Forbidden | ErrorKind::Permanent | ErrorKind::Unsupported
    )
}

/// Those that are not `known` are fetched.
async fn read_manifests(
    provider: &dyn Provider,
    folder: &Folder,
    mut known: BTreeMap<String, (Version, Vec<u8>)>,
) -> Outcome<Manifests> {
    let mut manifests = Manifests::default();
    let mut unread = Vec::new();
    for (name, objects) in &folder.snapshots {
        let Some(entry) = objects.get(&name.object(Part::Manifest)) else {
            continue;
        };
        let before = known.remove(entry.path.as_str());
        match before.filter(|(version, _)| entry.version.as_ref() == Some(version)) {
            Some((_, body)) => manifests.read.push(ManifestBytes {
                name: *name,
                entry: entry.clone(),
                body,
                fresh: false,
            }),
            None => unread.push((*name, entry.clone())),
        }
    }
    let mut reading = futures::stream::iter(unread)
        .map(|(name, entry)| async move {
            match read_whole(provider, &entry.path).await {
                Ok(body) => Ok(Some(Ok(ManifestBytes {
                    name,
                    entry,
                    body,
                    fresh: true,
                }))),
                Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
                Err(error) if is_for_good(&error.kind) => Ok(Some(Err((name, error)))),
                Err(error) => {
                    let mut failure = Failure::from(error).with_path(entry.path.to_string());
                    "could not read the manifest of a snapshot".clone_into(&mut failure.message);
                    Err(failure)
                }
            }
        })
        .buffer_unordered(READ_AT_ONCE);
    while let Some(manifest) = reading.try_next().await? {
        match manifest {
            Some(Ok(manifest)) => manifests.read.push(manifest),
            Some(Err(unread)) => manifests.unread.push(unread),
            None => {}
        }
    }
    manifests.is_stale = !known.is_empty();
    Ok(manifests)
}

/// Reads an object of no more than a manifest's length; of a longer one only so much that it is seen to be none.
pub(super) async fn read_whole(provider: &dyn Provider, path: &RelPath) -> Result<Vec<u8>, Error> {
    let download = provider.get(path, GetOptions::default()).await?;
    let Download { entry, mut body } = download;
    let mut bytes = Vec::new();
    while let Some(piece) = body.try_next().await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > LONGEST {
            return Ok(bytes);
        }
    }
    if bytes.len() as u64 == entry.size {
        return Ok(bytes);
    }
    // What arrived is not what is stored: nothing about the snapshot follows from it.
    Err(Error::new(
        ErrorKind::Transient { after: None },
        ows_providers::Operation::Get,
        path.as_str(),
        format!("{} of {} bytes arrived", bytes.len(), entry.size),
    ))
}

async fn remember(
    state: &State,
    remote: &str,
    manifests: &[ManifestBytes],
    is_stale: bool,
) -> Outcome<()> {
    if !is_stale && manifests.iter().all(|manifest| !manifest.fresh) {
        return Ok(());
    }
    let read: Vec<_> = manifests
        .iter()
        .filter(|manifest| manifest.fresh && manifest.body.len() <= LONGEST)
        .filter_map(|manifest| {
            let version = manifest.entry.version.clone()?;
            Some((
                manifest.entry.path.to_string(),
                version,
                manifest.body.clone(),
            ))
        })
        .collect();
    let listed: BTreeSet<_> = manifests
        .iter()
        .map(|manifest| manifest.entry.path.to_string())
        .collect();
    let listed: Vec<_> = listed.into_iter().collect();
    Ok(state
        .record_backup_manifests(remote, &read, &listed)
        .await?)
}
