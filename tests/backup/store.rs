//! A folder of snapshots in memory, with a script of faults, and the database of one host.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ows::backup::catalog::Catalog;
use ows::backup::entry::Digest;
use ows::backup::manifest::{Encryption, FORMAT, Manifest, StoredObject, Totals, Volume};
use ows::backup::name::{Part, SnapshotName};
use ows::backup::now::{FinishedBackup, NowOptions, now};
use ows::backup::prune::{FinishedPrune, PruneOptions, prune};
use ows::backup::retention::Policy;
use ows::backup::seal::{NewKey, keygen};
use ows::backup::settings::{BackupClock, BackupSettings};
use ows::cancel::Cancel;
use ows::config::{self, Item};
use ows::ids::RunId;
use ows::report::Silent;
use ows::state::{BackupIntentId, State};
use ows_providers::layers::{CallCounter, FaultSet, Faults};
use ows_providers::memory::{MemoryOptions, MemoryStore};
use ows_providers::{ErrorKind, PartRules, Provider};
use ows_testkit::tree::TempTree;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

/// No run takes longer than this unless it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

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

/// A host: a workspace, a state directory, a backup of both into a store.
pub struct Host {
    pub store: Store,
    pub state_dir: TempTree,
    pub settings: BackupSettings,
    pub key: NewKey,
}

/// The clock of a host, at the moment at which stores in memory begin.
fn host_clock() -> BackupClock {
    BackupClock(|| DateTime::from_timestamp(1_700_000_000, 0).unwrap())
}

impl Host {
    /// A host with a few files that keeps the newest two snapshots, and has nothing but the recipient.
    pub async fn new(options: MemoryOptions) -> Self {
        // Parts so small that a few files make several.
        let parts = PartRules {
            max: 16 << 10,
            preferred: 16 << 10,
            ..options.parts
        };
        Self::at(Store::new(MemoryOptions { parts, ..options }).await).await
    }

    pub async fn at(store: Store) -> Self {
        let state_dir = TempTree::in_memory();
        for number in 0..10 {
            let content = format!("content {number} ").repeat(200 * number);
            state_dir.write(&format!("workspace/notes/{number}.md"), content);
        }
        state_dir.write("openclaw.json", "{}");
        state_dir.write("cron/jobs.json", "[]");
        let key = keygen(Utc::now());
        let settings = BackupSettings {
            provider: Arc::clone(&store.provider),
            counter: Arc::clone(&store.counter),
            own_dir: store.own_dir.path().to_owned(),
            workspace: state_dir.join("workspace"),
            state_dir: state_dir.path().to_owned(),
            profile: "default".to_owned(),
            host: "here".to_owned(),
            encryption: config::Encryption::Recipients(vec![key.recipient.clone()]),
            passphrase: None,
            identities: Vec::new(),
            items: vec![Item::Workspace, Item::Config, Item::Cron, Item::Memory],
            exclude: vec!["*.tmp".to_owned()],
            pair_folder: None,
            destination: None,
            exclude_caches: true,
            cross_mounts: false,
            compression: 1,
            volume_size: None,
            retain: Policy::last(2),
            min_size: 70,
            heartbeat: None,
            clock: host_clock(),
        };
        store.state.close().await;
        Self {
            store,
            state_dir,
            settings,
            key,
        }
    }

    pub async fn now(&self) -> FinishedBackup {
        self.now_with(&NowOptions::default(), Cancel::new()).await
    }

    pub async fn now_with(&self, options: &NowOptions, cancel: Cancel) -> FinishedBackup {
        let run = now(&self.settings, options, Arc::new(Silent), cancel);
        tokio::time::timeout(HANGS_AFTER, run)
            .await
            .expect("the run ends")
    }

    /// A backup without any complaint; the time moves on after it.
    pub async fn clean(&self) -> SnapshotName {
        let finished = self.now().await;
        assert!(finished.failure.is_none(), "{:?}", finished.failure);
        assert_eq!(finished.report.errors, []);
        self.later(3600);
        finished.made.snapshot.unwrap().parse().unwrap()
    }

    pub async fn prune(&self, options: PruneOptions) -> FinishedPrune {
        let run = prune(&self.settings, &options, Cancel::new());
        tokio::time::timeout(HANGS_AFTER, run)
            .await
            .expect("the run ends")
    }

    pub fn later(&self, seconds: u64) {
        self.store.store.advance(Duration::from_secs(seconds));
    }

    pub async fn open_state(&self) -> State {
        State::open(&self.settings.own_dir).await.unwrap()
    }

    pub async fn catalog(&self) -> Catalog {
        let provider = self.store.store.provider();
        Catalog::read(provider.as_ref(), None).await.unwrap()
    }

    /// What the folder promises at every moment: a snapshot that is listed is whole, and opens with the key.
    pub async fn assert_whole(&self) -> Vec<SnapshotName> {
        let catalog = self.catalog().await;
        assert!(catalog.unusable.is_empty(), "{:?}", catalog.unusable);
        for snapshot in &catalog.snapshots {
            assert_eq!(snapshot.faults(), [], "{}", snapshot.name);
            for named in objects_of(&snapshot.manifest) {
                let stored = self.store.store.get(&named.name).unwrap();
                assert_eq!(Digest::of(&stored), named.sha256, "{}", named.name);
            }
            assert!(self.unpacked(snapshot.name).contains_key("openclaw.json"));
        }
        catalog.snapshots.iter().map(|found| found.name).collect()
    }

    /// The files of a snapshot, read with nothing but age, gzip and tar.
    pub fn unpacked(&self, name: SnapshotName) -> BTreeMap<String, Vec<u8>> {
        let manifest = name.object(Part::Manifest);
        let manifest = self.store.store.get(&manifest).unwrap();
        let manifest = Manifest::read(&manifest, name).unwrap();
        let mut files = BTreeMap::new();
        for volume in &manifest.volumes {
            let sealed = self.store.store.get(&volume.object.name).unwrap();
            let plain = match manifest.encryption {
                Encryption::None => sealed,
                _ => self.decrypt(&sealed),
            };
            let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(plain.as_slice()));
            for entry in archive.entries().unwrap() {
                let mut entry = entry.unwrap();
                if entry.header().entry_type().is_file() {
                    let path = entry.path().unwrap().to_string_lossy().into_owned();
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content).unwrap();
                    files.insert(path, content);
                }
            }
        }
        files
    }

    fn decrypt(&self, sealed: &[u8]) -> Vec<u8> {
        let identity = self.key.identity.expose_secret();
        let identity = identity
            .lines()
            .find(|line| line.starts_with("AGE-"))
            .unwrap();
        let identity: age::x25519::Identity = identity.parse().unwrap();
        let decryptor = age::Decryptor::new(sealed).unwrap();
        let identities = [&identity as &dyn age::Identity];
        let mut plain = Vec::new();
        decryptor
            .decrypt(identities.into_iter())
            .unwrap()
            .read_to_end(&mut plain)
            .unwrap();
        plain
    }
}
