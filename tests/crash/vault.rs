//! A host whose snapshots go to a bucket that others use too, and what must hold in that bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::time::{Duration, Instant, SystemTime};

use ows::backup::manifest::Manifest;
use ows::backup::name::{ObjectName, Part, SnapshotName};
use ows::backup::seal::keygen;
use ows_testkit::s3::{Clock, Op, Server, StoredObject, StoredUpload, Then, When};
use ows_testkit::tree::TempTree;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use secrecy::ExposeSecret as _;

use crate::place::{self, BUCKET, Kill, Run};
use crate::work::MIB;

/// The folder of the snapshots.
const FOLDER: &str = "snapshots/";

/// A snapshot that another host is making, or has died in.
const THEIRS: &str = "snapshots/ows-20231101T000000Z-0000000f";

/// How many snapshots a retention that keeps some keeps.
pub const KEPT: usize = 2;

/// The database among the files: copied through the spool, and too large to be copied in no time.
const DATABASE: &str = "notes.db";

/// What `backup` says of a host.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub volumes: Option<usize>,
    pub retain: usize,
}

/// A host, the bucket, and what is not the host's there.
pub struct Vault {
    pub server: Server,
    pub workspace: TempTree,
    pub home: TempTree,
    /// Another host: it has a snapshot of its own profile, and looks at what is there.
    other: TempTree,
    recipient: String,
    big: usize,
    rng: StdRng,
    strange_objects: BTreeMap<String, StoredObject>,
    strange_uploads: Vec<StoredUpload>,
}

impl Vault {
    /// A host with `big` files of one MiB, which do not compress, and many small ones.
    pub fn new(seed: u64, big: usize) -> Self {
        let clock = Clock::manual(SystemTime::now());
        let server = Server::builder().bucket(BUCKET).clock(clock).start();
        let mut vault = Self {
            server,
            workspace: TempTree::new(),
            home: TempTree::new(),
            other: TempTree::new(),
            recipient: String::new(),
            big,
            rng: StdRng::seed_from_u64(seed),
            strange_objects: BTreeMap::new(),
            strange_uploads: Vec::new(),
        };
        vault.fill();
        vault.configure(Settings {
            volumes: None,
            retain: KEPT,
        });
        vault.bring_in_strangers();
        vault
    }

    fn fill(&mut self) {
        let key = keygen(chrono::Utc::now());
        self.home
            .write("identity.txt", key.identity.expose_secret());
        self.recipient = key.recipient;
        self.home.write("state/openclaw.json", "{}");
        for number in 0..self.big {
            self.rewrite(number);
        }
        for number in 0..100 {
            let content = format!("line {number}\n").repeat(number);
            self.workspace
                .write(&format!("notes/{}/{number}.md", number % 7), content);
        }
        self.workspace.folder("empty");
        self.workspace.symlink("link.md", "notes/1/1.md");
    }

    fn rewrite(&mut self, number: usize) {
        let mut content = vec![0_u8; MIB];
        // Faster than the generator itself, which tests do not optimise.
        let seed: [u8; 32] = self.rng.random();
        blake3::Hasher::new()
            .update(&seed)
            .finalize_xof()
            .fill(&mut content);
        self.workspace.write(&format!("big/{number}"), content);
    }

    /// Adds a database of a few MiB.
    pub fn add_database(&self) {
        let file = self.workspace.join(DATABASE);
        let database = rusqlite::Connection::open(file).expect("a database can be made");
        let rows = "CREATE TABLE notes (note BLOB); WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 \
                    FROM numbers WHERE n < 12000) INSERT INTO notes SELECT randomblob(1000) FROM numbers";
        database.execute_batch(rows).expect("it can be filled");
    }

    /// What must be the same whatever our host does and however it dies.
    fn bring_in_strangers(&mut self) {
        self.other.write(
            "config.json5",
            format!("{{ backup: {{ {}, profile: 'other' }} }}", self.bucket()),
        );
        self.other.write("workspace/theirs.md", "theirs");
        self.other_host(&["backup", "now"], "before any kill");
        for key in [
            "photo.jpg".to_owned(),
            format!("{FOLDER}photo.jpg"),
            format!("{FOLDER}backup-20230101T000000Z.tar.gz.enc"),
            format!("{THEIRS}.v0001.tar.gz.age"),
            format!("{THEIRS}.index.age"),
        ] {
            self.server.put(BUCKET, &key, b"not ours".as_slice());
        }
        let uploads = ["film.mkv", &format!("{THEIRS}.v0002.tar.gz.age")].map(str::to_owned);
        for key in uploads {
            self.server.begin_upload(BUCKET, &key, &[b"not ours"]);
        }
        self.strange_objects = self.server.objects(BUCKET);
        self.strange_uploads = self.server.uploads(BUCKET);
    }

    /// The keys of `backup` that both hosts have.
    fn bucket(&self) -> String {
        format!(
            "enabled: true, provider: 's3', prefix: 'snapshots', include: ['workspace'], encrypt: true, \
             recipients: ['{}'], s3: {{ endpoint: '{}', bucket: '{BUCKET}', region: 'us-east-1', accessKeyId: '{}', \
             secretAccessKey: '{}' }}",
            self.recipient,
            self.server.endpoint(),
            self.server.access_key(),
            self.server.secret_key(),
        )
    }

    pub fn configure(&self, settings: Settings) {
        let volumes = settings
            .volumes
            .map_or(String::new(), |size| format!("volumeSize: {},", size * MIB));
        self.home.write(
            "config.json5",
            format!(
                "{{ backup: {{ {}, {volumes} retain: {}, identities: [{:?}] }} }}",
                self.bucket(),
                settings.retain,
                self.home.join("identity.txt"),
            ),
        );
    }

    /// Every call takes a moment, and a part longer, as they do over a network: kills hit what is under way.
    fn slow_down(&self) {
        let part = Then::Delay(Duration::from_millis(300));
        self.server.fault(When::op(Op::UploadPart).always(), part);
        let call = Then::Delay(Duration::from_millis(10));
        self.server.fault(When::any().always(), call);
    }

    /// How long a run takes over a slow network, which must end well.
    pub fn measure(&self, arguments: &[&str]) -> Duration {
        self.slow_down();
        let begin = Instant::now();
        self.finish(arguments, "an undisturbed run");
        let whole = begin.elapsed();
        self.server.clear_faults();
        whole
    }

    /// A run over a slow network that is killed after this time. False when it was faster.
    pub fn killed_after(&self, arguments: &[&str], time: Duration) -> bool {
        self.slow_down();
        let hit = place::kill_run(&self.server, Kill::After(time), || self.start(arguments));
        self.server.clear_faults();
        hit
    }

    /// False when the call was not reached.
    pub fn killed_on(&self, arguments: &[&str], call: Kill) -> bool {
        place::kill_run(&self.server, call, || self.start(arguments))
    }

    /// The agent works on its files; time passes.
    pub fn work(&mut self) {
        let number = self.rng.random_range(0..self.big);
        self.rewrite(number);
        let content = self.rng.random::<u64>().to_string();
        self.workspace.write("notes/today.md", content);
        self.later();
    }

    /// Snapshots are told apart by their second.
    pub fn later(&self) {
        self.server.clock().advance(Duration::from_secs(2));
    }

    pub fn start(&self, arguments: &[&str]) -> Run {
        place::start(&self.home, self.workspace.path(), arguments)
    }

    /// Runs to the end, which must be a good one.
    pub fn finish(&self, arguments: &[&str], what: &str) {
        let mut run = self.start(arguments);
        let status = run.wait();
        assert!(status.success(), "{what}: {status}: {}", run.output());
    }

    /// Our snapshots, oldest first: those with a manifest.
    pub fn listed(&self) -> BTreeMap<SnapshotName, Manifest> {
        let ours = self.ours().into_iter();
        ours.filter_map(|(key, object)| {
            let ObjectName::Snapshot(name, Part::Manifest) = ObjectName::parse(&key) else {
                return None;
            };
            let manifest = Manifest::read(&object.content(), name);
            Some((name, manifest.expect("what is listed can be read")))
        })
        .collect()
    }

    /// What lies in the folder and is no stranger's, by its name there.
    fn ours(&self) -> BTreeMap<String, StoredObject> {
        let objects = self.server.objects(BUCKET).into_iter();
        objects
            .filter(|(key, _)| !self.strange_objects.contains_key(key))
            .map(|(key, object)| {
                let name = key
                    .strip_prefix(FOLDER)
                    .expect("nothing is put beside the folder");
                (name.to_owned(), object)
            })
            .collect()
    }

    /// Objects that no manifest counts, and unfinished uploads, that are no stranger's.
    pub fn leftovers(&self) -> Leftovers {
        let counted: BTreeSet<String> = self.listed().into_iter().flat_map(names_of).collect();
        let objects = self.ours().into_keys();
        let uploads = self.server.uploads(BUCKET).into_iter();
        Leftovers {
            objects: objects.filter(|name| !counted.contains(name)).collect(),
            uploads: uploads
                .filter(|upload| !self.strange_uploads.contains(upload))
                .map(|upload| upload.key.trim_start_matches(FOLDER).to_owned())
                .collect(),
        }
    }

    /// What holds at every moment: what is listed is whole, as another host finds that keeps nothing of ours, and what is not
    /// ours is as it was.
    pub fn assert_whole(&self, what: &str) -> BTreeSet<SnapshotName> {
        self.assert_strangers(what);
        let listed = self.listed();
        for manifest in listed.values() {
            for name in names_of((manifest.snapshot, manifest.clone())) {
                let key = format!("{FOLDER}{name}");
                let is_there = self.server.object(BUCKET, &key).is_some();
                assert!(is_there, "{what}: `{name}` is missing");
            }
        }
        self.other_host(&["backup", "list"], what);
        for name in listed.keys() {
            let arguments = [
                "backup",
                "verify",
                "--level",
                "hash",
                "--snapshot",
                &name.to_string(),
            ];
            self.other_host(&arguments, what);
        }
        listed.into_keys().collect()
    }

    fn assert_strangers(&self, what: &str) {
        for (key, object) in &self.strange_objects {
            let found = self.server.object(BUCKET, key);
            assert!(found.as_ref() == Some(object), "{what}: `{key}`, not ours");
        }
        let uploads = self.server.uploads(BUCKET);
        for upload in &self.strange_uploads {
            assert!(uploads.contains(upload), "{what}: {upload:?}, not ours");
        }
    }

    /// A command of the other host, which must end well.
    fn other_host(&self, arguments: &[&str], what: &str) {
        let mut run = place::start(&self.other, &self.other.join("workspace"), arguments);
        let status = run.wait();
        assert!(
            status.success(),
            "{what}: {arguments:?}: {status}: {}",
            run.output()
        );
    }

    /// Whatever of ours no manifest counts, an intent of the host names: the next run knows it.
    pub fn assert_intended(&self, what: &str) -> Leftovers {
        let left = self.leftovers();
        let named = self.intents().1;
        for name in left.objects.iter().chain(&left.uploads) {
            assert!(
                named.contains(name),
                "{what}: `{name}` was left, and the intents name only {named:?}"
            );
        }
        left
    }

    /// How many intents are open, and the objects they name. A copy of the database is read, so that the killed run's journal
    /// is left to the next run.
    fn intents(&self) -> (usize, BTreeSet<String>) {
        let copy = TempTree::new();
        for name in ["state.db", "state.db-wal"] {
            if let Some(content) = self.home.read(&format!("state/ows/{name}")) {
                copy.write(name, content);
            }
        }
        if copy.read("state.db").is_none() {
            return (0, BTreeSet::new());
        }
        let database = rusqlite::Connection::open(copy.join("state.db")).expect("it opens");
        let has_tables = database
            .table_exists(None, "backup_objects")
            .expect("it can be read");
        if !has_tables {
            return (0, BTreeSet::new());
        }
        let all = |query| -> rusqlite::Result<Vec<String>> {
            let mut statement = database.prepare(query)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        };
        let open = all("SELECT snapshot FROM backup_intents").expect("it can be read");
        let named = all("SELECT name FROM backup_objects").expect("it can be read");
        (open.len(), named.into_iter().collect())
    }

    /// After a run that came to its end: nothing is left of those that did not, and nothing else is gone.
    pub fn assert_tidy(&self, what: &str) -> BTreeSet<SnapshotName> {
        let listed = self.assert_whole(what);
        assert_eq!(self.leftovers(), Leftovers::default(), "{what}");
        assert_eq!(
            self.server.uploads(BUCKET).len(),
            self.strange_uploads.len(),
            "{what}"
        );
        assert_eq!(self.intents().0, 0, "{what}: intents are open");
        listed
    }

    /// The copies of databases that are there.
    pub fn spooled(&self) -> Vec<OsString> {
        let Ok(entries) = std::fs::read_dir(self.home.join("state/ows/spool")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.expect("it can be read").file_name());
        names.collect()
    }
}

/// What a killed run has left in the bucket, by its name in the folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    pub objects: BTreeSet<String>,
    pub uploads: BTreeSet<String>,
}

/// All objects of a snapshot.
fn names_of((name, manifest): (SnapshotName, Manifest)) -> Vec<String> {
    let volumes = manifest.volumes.into_iter();
    let volumes = volumes.map(|volume| volume.object.name);
    let others = [manifest.index.name, name.object(Part::Manifest)];
    volumes.chain(others).collect()
}

/// The newest ones: what a retention by number keeps.
pub fn newest(of: &BTreeSet<SnapshotName>) -> BTreeSet<SnapshotName> {
    of.iter().rev().take(KEPT).copied().collect()
}
