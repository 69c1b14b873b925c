//! A host with a tree on it, and a shelf that holds what is written, in memory, and can fail.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ows::backup::items::{ItemPlaces, Items};
use ows::backup::name::SnapshotName;
use ows::backup::pipeline::{PipelineOptions, WriteError, Written, write};
use ows::backup::scan::{Scan, ScanOptions};
use ows::backup::seal::Seal;
use ows::backup::sink::{ObjectSink, ObjectWriter};
use ows::cancel::Cancel;
use ows::config::Item;
use ows_testkit::random::Seed;
use ows_testkit::tree::TempTree;
use rand::Rng as _;

pub fn name() -> SnapshotName {
    "ows-20260131T235959Z-1a2b3c4d".parse().expect("a name")
}

pub fn options() -> PipelineOptions {
    PipelineOptions {
        snapshot: name(),
        level: 6,
        threads: 2,
        volume_size: None,
    }
}

/// `length` bytes that do not compress, the same for the same seed.
pub fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Seed(seed).rng().fill_bytes(&mut bytes);
    bytes
}

/// A workspace and a state directory.
pub struct Host {
    pub workspace: TempTree,
    pub state: TempTree,
}

impl Host {
    /// With nothing on it.
    pub fn empty() -> Self {
        Self {
            workspace: TempTree::new(),
            state: TempTree::new(),
        }
    }

    /// With files, folders and links of every kind, some over the ends of blocks. Nothing on it is of the present.
    pub fn new() -> Self {
        let host = Self::empty();
        let tree = &host.workspace;
        let text: String = (0..200_000)
            .map(|line| format!("{}\n", line % 5003))
            .collect();
        tree.write("text.md", text);
        tree.write("a/random.bin", random(1, 2_500_000));
        tree.write("a/empty", "");
        tree.write("a/private", "secret");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(tree.join("a/private"), private).expect("a mode");
        tree.write(
            &format!("long/{0}/{0}/{0}.txt", "n".repeat(120)),
            "a long name",
        );
        tree.write("ünïcode 日本語 👩‍👧/\"it's\" [1]\n.txt", "a name");
        tree.folder("empty folder");
        tree.symlink("link", "a/random.bin");
        tree.symlink("dangling", "../nowhere");
        std::fs::hard_link(tree.join("text.md"), tree.join("z second name.md")).expect("a link");
        tree.set_modified(
            "text.md",
            SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
        );
        let folder = std::fs::File::open(tree.join("empty folder"));
        folder
            .and_then(|folder| {
                folder.set_modified(SystemTime::UNIX_EPOCH + Duration::new(86_400, 1))
            })
            .expect("a time");
        host.state.write("openclaw.json", "{}");
        host.state.write("other", "not an item");
        host
    }

    pub fn scan(&self) -> Scan {
        let places = ItemPlaces {
            workspace: self.workspace.path().to_owned(),
            state_dir: self.state.path().to_owned(),
            own_dir: self.state.join("ows"),
            pair: None,
            destination: None,
        };
        let items = Items::find(&[Item::Workspace, Item::Config], &places).expect("items");
        Scan::new(items, ScanOptions::default())
    }

    /// Writes what is on it.
    pub fn write(
        &self,
        seal: &Seal,
        shelf: &Shelf,
        options: &PipelineOptions,
    ) -> Result<Written, WriteError> {
        write(self.scan(), seal, shelf, options, &|_| {}, &Cancel::new())
    }
}

/// Objects in memory. Only what was finished is seen.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Vec<u8>>,
    calls: usize,
    fail_at: Option<usize>,
}

impl Shelf {
    /// Fails at one call, counted from 0: creations, writes and finishes together.
    pub fn failing_at(call: usize) -> Self {
        let shelf = Self::default();
        shelf.0.lock().expect("whole").fail_at = Some(call);
        shelf
    }

    pub fn calls(&self) -> usize {
        self.0.lock().expect("whole").calls
    }

    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.lock().expect("whole").objects.clone()
    }

    fn call(&self) -> io::Result<()> {
        let mut inner = self.0.lock().expect("whole");
        inner.calls += 1;
        match inner.fail_at {
            Some(call) if call + 1 == inner.calls => Err(io::Error::other("made for this test")),
            _ => Ok(()),
        }
    }
}

impl ObjectSink for Shelf {
    fn create(&self, name: &str) -> io::Result<Box<dyn ObjectWriter>> {
        self.call()?;
        Ok(Box::new(OnShelf {
            shelf: self.clone(),
            name: name.to_owned(),
            bytes: Vec::new(),
        }))
    }
}

struct OnShelf {
    shelf: Shelf,
    name: String,
    bytes: Vec<u8>,
}

impl Write for OnShelf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shelf.call()?;
        // Whoever writes must look at what was taken.
        let taken = bytes.len().min(100_000);
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ObjectWriter for OnShelf {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.shelf.call()?;
        let Self { shelf, name, bytes } = *self;
        let before = shelf.0.lock().expect("whole").objects.insert(name, bytes);
        assert!(before.is_none(), "an object is written once");
        Ok(())
    }
}
