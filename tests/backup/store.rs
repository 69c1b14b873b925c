//! A folder of snapshots in memory, with a script of faults, and the database of one host.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use ows::backup::entry::Digest;
use ows::backup::manifest::{Encryption, FORMAT, Manifest, StoredObject, Totals, Volume};
use ows::backup::name::{Part, SnapshotName};
use ows::ids::RunId;
use ows::state::{BackupIntentId, State};
use ows_providers::layers::{CallCounter, FaultSet, Faults};
use ows_providers::memory::{MemoryOptions, MemoryStore};
use ows_providers::{ErrorKind, Provider};
use tempfile::TempDir;

/// What a network does.
pub const TRANSIENT: ErrorKind = ErrorKind::Transient { after: None };

pub struct Store {
    pub store: MemoryStore,
    pub faults: Arc<FaultSet>,
    pub counter: Arc<CallCounter>,
    pub provider: Arc<dyn Provider>,
    pub own_dir: TempDir,
    pub state: State,
    pub remote: String,
}

impl Store {
    pub async fn new(options: MemoryOptions) -> Self {
        let store = MemoryStore::new(options);
        let faults = FaultSet::new();
        let counter = CallCounter::new();
        let counted = store.counted_provider(Arc::clone(&counter));
        let provider = Arc::new(Faults::new(Arc::new(counted), Arc::clone(&faults)));
        let own_dir = tempfile::tempdir().unwrap();
        Self {
            remote: provider.describe().await.unwrap().id,
            state: State::open(own_dir.path()).await.unwrap(),
            store,
            faults,
            counter,
            provider,
            own_dir,
        }
    }

    pub async fn intent(&self, snapshot: SnapshotName) -> BackupIntentId {
        let run = RunId::random(Utc::now());
        let snapshot = snapshot.to_string();
        self.state
            .record_backup_intent(&self.remote, &run, &snapshot, Utc::now())
            .await
            .unwrap()
    }

    /// Puts a snapshot there whose data and index hold a few bytes.
    pub fn plant(&self, name: SnapshotName, change: impl FnOnce(&mut Manifest)) -> Manifest {
        let manifest = manifest(name, change);
        for object in objects_of(&manifest) {
            self.store.insert(&object.name, b"content");
        }
        let path = name.object(Part::Manifest);
        self.store.insert(&path, &manifest.write().unwrap());
        manifest
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.store.files().into_keys().collect()
    }
}

pub fn objects_of(manifest: &Manifest) -> Vec<StoredObject> {
    let volumes = manifest.volumes.iter().map(|volume| volume.object.clone());
    volumes.chain([manifest.index.clone()]).collect()
}

/// The manifest of a plain snapshot of the profile `default`, one volume.
pub fn manifest(name: SnapshotName, change: impl FnOnce(&mut Manifest)) -> Manifest {
    let object = |part| StoredObject {
        name: name.object(part),
        size: 7,
        sha256: Digest::of(b"content"),
    };
    let data = Part::Data {
        volume: None,
        encrypted: false,
    };
    let mut manifest = Manifest {
        format: FORMAT,
        snapshot: name,
        profile: "default".to_owned(),
        host: "here".to_owned(),
        started_at: name.taken_at(),
        finished_at: name.taken_at(),
        tool: "ows test".to_owned(),
        encryption: Encryption::None,
        items: vec!["workspace".to_owned()],
        volumes: vec![Volume {
            object: object(data),
            tar_size: 10_240,
        }],
        index: object(Part::Index { encrypted: false }),
        totals: Totals {
            files: 10,
            bytes: 1000,
            ..Totals::default()
        },
        problems: Vec::new(),
        previous: None,
    };
    change(&mut manifest);
    manifest
}

pub fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub fn snapshot(time: &str) -> SnapshotName {
    SnapshotName::new(at(time), 0x1a2b_3c4d).unwrap()
}
