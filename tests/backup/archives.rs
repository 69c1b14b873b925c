//! Snapshots made piece by piece, so that each piece can be other than it should be; and the host that reads them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use age::x25519;
use ows::backup::catalog::Catalog;
use ows::backup::entry::{ArchivePath, AskedPath, Digest, EntryKind, Place, SnapshotEntry};
use ows::backup::gzip::ParallelGzip;
use ows::backup::index::IndexWriter;
use ows::backup::manifest::{FORMAT, Manifest, ProblemClass, StoredObject, Totals, Volume};
use ows::backup::name::{Part, SnapshotName};
use ows::backup::restore::{RestoreOptions, Restored, restore};
use ows::backup::retention::Policy;
use ows::backup::seal::Seal;
use ows::backup::settings::{BackupClock, BackupSettings};
use ows::backup::source::Which;
use ows::cancel::Cancel;
use ows::config::Encryption;
use ows::error::{Failure, Outcome};
use ows::report::Silent;
use ows_providers::Provider;
use ows_providers::layers::{CallCounter, Count, Counting, FaultSet, Faults};
use ows_providers::memory::{MemoryOptions, MemoryStore};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::store::{at, snapshot};

/// What stands under a path.
#[derive(Clone)]
pub enum Body {
    File(Vec<u8>),
    Dir,
    Symlink(&'static str),
    HardLink(&'static str),
}

pub type Members = Vec<(&'static str, Body)>;

/// A key, its file and what seals to it.
pub struct Key {
    pub identity: x25519::Identity,
    pub seal: Seal,
}

impl Key {
    pub fn new() -> Self {
        let identity = x25519::Identity::generate();
        let seal = Seal::Recipients(vec![identity.to_public()]);
        Self { identity, seal }
    }
}

/// A snapshot as its objects.
pub struct Made {
    pub manifest: Manifest,
    pub objects: BTreeMap<String, Vec<u8>>,
}

/// The time of the snapshot that most tests read.
pub const TIME: &str = "2026-01-31T23:59:59Z";

/// The time at which it is read.
const NOW: &str = "2026-02-01T12:00:00Z";

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn sealed(seal: &Seal, plain: &[u8]) -> Vec<u8> {
    let mut output = seal.seal(Vec::new()).unwrap();
    output.write_all(plain).unwrap();
    output.finish().unwrap()
}

/// A header of tar with room for all that the tests need.
pub fn header(path: &str, body: &Body, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_size(size);
    header.set_mode(if matches!(body, Body::Dir) {
        0o750
    } else {
        0o640
    });
    header.set_mtime(1_700_000_000);
    header.set_uid(1000);
    header.set_gid(1000);
    header.set_entry_type(match body {
        Body::File(_) => tar::EntryType::Regular,
        Body::Dir => tar::EntryType::Directory,
        Body::Symlink(_) => tar::EntryType::Symlink,
        Body::HardLink(_) => tar::EntryType::Link,
    });
    if let Body::Symlink(target) | Body::HardLink(target) = body {
        header.set_link_name(target).unwrap();
    }
    header.set_cksum();
    header
}

pub fn entry(path: &str, body: &Body, place: Place) -> SnapshotEntry {
    SnapshotEntry {
        path: ArchivePath::new(path).unwrap(),
        kind: match body {
            Body::File(content) => EntryKind::File {
                size: content.len() as u64,
                sha256: Digest::of(content),
                place,
            },
            Body::Dir => EntryKind::Dir,
            Body::Symlink(target) => EntryKind::Symlink {
                target: target.as_bytes().to_vec(),
            },
            Body::HardLink(to) => EntryKind::HardLink {
                to: ArchivePath::new(*to).unwrap(),
            },
        },
        mode: if matches!(body, Body::Dir) {
            0o750
        } else {
            0o640
        },
        mtime_ns: 1_700_000_000_000_000_000,
        uid: 1000,
        gid: 1000,
        user: None,
        group: None,
        problem: None,
    }
}

/// Makes a snapshot with these volumes.
pub fn make(name: SnapshotName, seal: &Seal, volumes: &[Members]) -> Made {
    make_marked(name, seal, volumes, &[])
}

/// Makes one whose index says of these paths that they were not whole.
pub fn make_marked(
    name: SnapshotName,
    seal: &Seal,
    volumes: &[Members],
    marked: &[(&str, ProblemClass)],
) -> Made {
    let encrypted = seal.is_on();
    let mut objects = BTreeMap::new();
    let mut stored = Vec::new();
    let mut totals = Totals::default();
    let mut index = IndexWriter::new(seal.seal(Vec::new()).unwrap(), name).unwrap();
    for (members, number) in volumes.iter().zip(1..) {
        let mut gzip = ParallelGzip::new(seal.seal(Vec::new()).unwrap(), 6, 1).unwrap();
        let mut position = 0;
        for (path, body) in members {
            let content: &[u8] = match body {
                Body::File(content) => content,
                _ => &[],
            };
            gzip.write_all(header(path, body, content.len() as u64).as_bytes())
                .unwrap();
            let place = Place {
                volume: number,
                offset: position + 512,
            };
            gzip.write_all(content).unwrap();
            let padded = content.len().next_multiple_of(512);
            gzip.write_all(&vec![0; padded - content.len()]).unwrap();
            position += 512 + padded as u64;
            let mut entry = entry(path, body, place);
            entry.problem = (marked.iter())
                .find(|(marked, _)| marked == path)
                .map(|(_, class)| *class);
            index.entry(&entry).unwrap();
            totals.bytes += content.len() as u64;
            match body {
                Body::File(_) => totals.files += 1,
                Body::Dir => totals.dirs += 1,
                Body::Symlink(_) => totals.symlinks += 1,
                Body::HardLink(_) => totals.hard_links += 1,
            }
        }
        gzip.write_all(&[0; 1024]).unwrap();
        let finished = gzip.finish().unwrap();
        index.blocks(number, &finished.points).unwrap();
        let object = finished.output.finish().unwrap();
        let volume = (volumes.len() > 1).then_some(number);
        let object_name = name.object(Part::Data { volume, encrypted });
        stored.push(Volume {
            object: stored_as(&object_name, &object),
            tar_size: finished.content,
        });
        objects.insert(object_name, object);
    }
    let object = index.finish().unwrap().finish().unwrap();
    let index_name = name.object(Part::Index { encrypted });
    let manifest = Manifest {
        format: FORMAT,
        snapshot: name,
        profile: "default".to_owned(),
        host: "here".to_owned(),
        started_at: name.taken_at(),
        finished_at: name.taken_at(),
        tool: "ows test".to_owned(),
        encryption: seal.describe(),
        items: vec!["workspace".to_owned()],
        volumes: stored,
        index: stored_as(&index_name, &object),
        totals,
        problems: Vec::new(),
        previous: None,
    };
    objects.insert(index_name, object);
    objects.insert(name.object(Part::Manifest), manifest.write().unwrap());
    Made { manifest, objects }
}

pub fn stored_as(name: &str, content: &[u8]) -> StoredObject {
    StoredObject {
        name: name.to_owned(),
        size: content.len() as u64,
        sha256: Digest::of(content),
    }
}

/// A host that reads snapshots out of a store in memory.
pub struct Reader {
    pub store: MemoryStore,
    pub faults: Arc<FaultSet>,
    pub counter: Arc<CallCounter>,
    pub settings: BackupSettings,
    pub place: TempDir,
}

impl Reader {
    pub fn new() -> Self {
        // The store's clock is that of the host: what lies ahead of it is from the future.
        let store = MemoryStore::new(MemoryOptions {
            start: at(NOW),
            ..MemoryOptions::s3()
        });
        let faults = FaultSet::new();
        let counter = CallCounter::new();
        // Counted by the layer: it knows the bytes too.
        let counted = Count::new(store.provider(), Arc::clone(&counter), Counting::Calls);
        let provider = Arc::new(Faults::new(Arc::new(counted), Arc::clone(&faults)));
        let place = tempfile::tempdir().unwrap();
        let settings = settings(provider, Arc::clone(&counter), place.path());
        Self {
            store,
            faults,
            counter,
            settings,
            place,
        }
    }

    /// One that has the key.
    pub fn with_key(key: &Key) -> Self {
        let mut reader = Self::new();
        reader.give(key);
        reader
    }

    pub fn give(&mut self, key: &Key) {
        let file = self.place.path().join("key.txt");
        std::fs::write(&file, key.identity.to_string().expose_secret()).unwrap();
        self.settings.identities = vec![file];
        self.settings.encryption =
            Encryption::Recipients(vec![key.identity.to_public().to_string()]);
    }

    pub fn put(&self, made: &Made) {
        for (name, object) in &made.objects {
            self.store.insert(name, object);
        }
    }

    pub async fn catalog(&self) -> Catalog {
        Catalog::read(&*self.settings.provider, None).await.unwrap()
    }

    pub fn target(&self) -> std::path::PathBuf {
        self.place.path().join("target")
    }

    pub fn options(&self, only: &[&str]) -> RestoreOptions {
        RestoreOptions {
            snapshot: Which::Latest,
            to: Some(self.target()),
            only: only
                .iter()
                .map(|path| AskedPath::new(*path).unwrap())
                .collect(),
            dry_run: false,
            overwrite: false,
        }
    }

    pub async fn restore(&self, options: RestoreOptions) -> Outcome<Restored> {
        let catalog = self.catalog().await;
        let cancel = Cancel::new();
        restore(&self.settings, &catalog, options, Arc::new(Silent), &cancel).await
    }

    /// What the target holds: files by path, and what links say.
    pub fn found(&self) -> BTreeMap<String, Vec<u8>> {
        tree(&self.target())
    }
}

pub fn settings(
    provider: Arc<dyn Provider>,
    counter: Arc<CallCounter>,
    place: &Path,
) -> BackupSettings {
    for folder in ["state/ows", "workspace"] {
        std::fs::create_dir_all(place.join(folder)).unwrap();
    }
    BackupSettings {
        provider,
        counter,
        own_dir: place.join("state/ows"),
        state_dir: place.join("state"),
        workspace: place.join("workspace"),
        profile: "default".to_owned(),
        host: "here".to_owned(),
        encryption: Encryption::None,
        passphrase: None,
        identities: Vec::new(),
        items: Vec::new(),
        exclude: Vec::new(),
        pair_folder: None,
        destination: None,
        exclude_caches: true,
        cross_mounts: false,
        compression: 6,
        volume_size: None,
        retain: Policy::last(7),
        min_size: 70,
        heartbeat: None,
        clock: BackupClock(|| at(NOW)),
    }
}

/// Every file below `root` with its content, and every link with `-> ` and its target.
pub fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if metadata.is_dir() {
                waiting.push(path);
            } else if metadata.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                found.insert(name, format!("-> {}", target.display()).into_bytes());
            } else {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

pub fn name() -> SnapshotName {
    snapshot(TIME)
}

/// The failure with its causes and hint, on one line.
pub fn told(failure: &Failure) -> String {
    let mut text = failure.message.clone();
    for cause in failure.causes() {
        text = format!("{text}: {cause}");
    }
    format!("{text} | {}", failure.hint.as_deref().unwrap_or_default())
}

/// A tree with a bit of everything, over three MiB, so that there are several blocks.
pub fn members() -> Members {
    vec![
        ("workspace", Body::Dir),
        ("workspace/a.md", Body::File(b"first".to_vec())),
        ("workspace/deep", Body::Dir),
        ("workspace/deep/noise", Body::File(noise(1, 1_500_000))),
        ("workspace/deep/small", Body::File(noise(2, 10_240))),
        ("workspace/empty", Body::File(Vec::new())),
        ("workspace/link", Body::Symlink("a.md")),
        ("workspace/out", Body::Symlink("/etc/passwd")),
        ("workspace/second", Body::HardLink("workspace/a.md")),
        ("workspace/text", Body::File(b"line\n".repeat(300_000))),
        ("openclaw.json", Body::File(b"{}".to_vec())),
    ]
}

/// What a restore of [`members`] leaves.
pub fn expected(members: &Members) -> BTreeMap<String, Vec<u8>> {
    let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (path, body) in members {
        let content = match body {
            Body::Dir => continue,
            Body::File(content) => content.clone(),
            Body::Symlink(target) => format!("-> {target}").into_bytes(),
            Body::HardLink(to) => found[*to].clone(),
        };
        found.insert((*path).to_owned(), content);
    }
    found
}
