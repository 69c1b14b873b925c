//! Someone who works on both sides of a pair at random, and remembers what must not be lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ows_providers::memory::MemoryStore;
use ows_testkit::tree::{OwsFolder, read_files};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

const FOLDERS: &[&str] = &["", "", "a/", "a/b/", "two words/", "e/"];
const NAMES: &[&str] = &[
    "f0",
    "f1.txt",
    "f2",
    "a",
    "b",
    ".env",
    "ünï.md",
    ".DS_Store",
];

pub struct Person {
    rng: StdRng,
    local: PathBuf,
    store: MemoryStore,
    has_folders: bool,
    large: usize,
    count: u64,
    /// Some runs are pulls: then whoever overwrites a remote file means the workspace's too.
    pub pulls: bool,
    /// Contents that exist, and that nobody has deleted or overwritten by hand.
    pub required: BTreeSet<Vec<u8>>,
    /// Contents dropped into `_outbox` that nobody has taken back.
    pub dropped: BTreeSet<Vec<u8>>,
    /// What was done, for a failing test.
    pub diary: Vec<String>,
}

impl Person {
    /// `large`: the size from which on files are uploaded in parts.
    pub fn new(
        seed: u64,
        local: &Path,
        store: &MemoryStore,
        has_folders: bool,
        large: usize,
    ) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            local: local.to_owned(),
            store: store.clone(),
            has_folders,
            large,
            count: 0,
            pulls: false,
            required: BTreeSet::new(),
            dropped: BTreeSet::new(),
            diary: Vec::new(),
        }
    }

    /// Something, on either side.
    pub fn act(&mut self) {
        match self.rng.random_range(0..16) {
            0..=3 => self.write_locally(),
            4 | 5 => self.delete_locally(),
            6 | 7 => self.rename_locally(),
            8 => self.touch_locally(),
            9 => self.make_folder_locally(),
            10 => self.rewrite_in_place(),
            11 | 12 => self.write_remotely(),
            13 => self.delete_remotely(),
            _ => self.drop_into_outbox(),
        }
    }

    pub fn write_locally(&mut self) {
        let path = self.any_path();
        let content = self.content();
        self.note("local write", &path);
        self.make_room_locally(&path);
        fs::create_dir_all(self.at(&path).parent().expect("it is inside")).expect("a folder");
        fs::write(self.at(&path), &content).expect("a file");
        self.required.insert(content);
    }

    fn delete_locally(&mut self) {
        let Some(path) = self.local_file() else {
            return;
        };
        let folder = path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        match folder {
            Some(folder) if self.rng.random_bool(0.2) => {
                self.note("local delete of folder", &folder);
                self.forget_locally(&folder);
            }
            _ => {
                self.note("local delete", &path);
                self.forget_locally(&path);
            }
        }
    }

    fn rename_locally(&mut self) {
        let Some(from) = self.local_file() else {
            return;
        };
        let to = self.any_path();
        if to == from || to.starts_with(&format!("{from}/")) || from.starts_with(&format!("{to}/"))
        {
            return;
        }
        self.note("local rename", &format!("{from} -> {to}"));
        self.make_room_locally(&to);
        fs::create_dir_all(self.at(&to).parent().expect("it is inside")).expect("a folder");
        fs::rename(self.at(&from), self.at(&to)).expect("a rename");
    }

    fn touch_locally(&mut self) {
        let Some(path) = self.local_file() else {
            return;
        };
        self.note("local touch", &path);
        let time = std::time::SystemTime::UNIX_EPOCH
            + Duration::from_secs(self.rng.random_range(1..1_800_000_000));
        let file = fs::File::options().write(true).open(self.at(&path));
        file.and_then(|file| file.set_modified(time))
            .expect("a time");
    }

    fn make_folder_locally(&mut self) {
        let path = self.any_path();
        if !self.at(&path).exists() && self.file_above(&path).is_none() {
            self.note("local folder", &path);
            fs::create_dir_all(self.at(&path)).expect("a folder");
        }
    }

    /// Another content of the same size in the same inode with the same time.
    fn rewrite_in_place(&mut self) {
        let Some(path) = self.local_file() else {
            return;
        };
        let old = fs::read(self.at(&path)).expect("a file");
        let mut new = self.content();
        new.resize(old.len().max(20), b'.');
        self.note("local rewrite", &path);
        let modified = fs::metadata(self.at(&path)).and_then(|data| data.modified());
        fs::write(self.at(&path), &new).expect("a file");
        let file = fs::File::options().write(true).open(self.at(&path));
        file.and_then(|file| file.set_modified(modified.expect("a time")))
            .expect("a time");
        self.required.remove(&old);
        self.required.insert(new);
    }

    pub fn write_remotely(&mut self) {
        let path = match self.remote_file() {
            Some(path) if self.rng.random() => path,
            _ => self.any_path(),
        };
        // An excluded file keeps the folder that it is in, and a file of that name can never be pushed.
        let keeps_folder = self.has_folders && path.ends_with("/.DS_Store");
        if keeps_folder || self.has_folders && !self.fits_remotely(&path) {
            return;
        }
        self.note("remote write", &path);
        let old = self.store.get(&path);
        self.forget_remotely(&path);
        let mut content = self.content();
        if let Some(old) = old
            && self.rng.random()
        {
            content.resize(old.len().max(21), b'.');
        }
        self.store.advance(Duration::from_secs(2));
        self.store.insert(&path, &content);
        self.required.insert(content);
    }

    fn delete_remotely(&mut self) {
        let Some(path) = self.remote_file() else {
            return;
        };
        self.note("remote delete", &path);
        // Where there are no folders, a file may have others below its name, which go too.
        let below = format!("{path}/");
        let gone = |other: &String| *other == path || other.starts_with(&below);
        for path in self.store.files().into_keys().filter(gone) {
            self.forget_remotely(&path);
        }
        self.store.advance(Duration::from_secs(2));
        self.store.remove(&path);
    }

    fn drop_into_outbox(&mut self) {
        let name = NAMES.choose(&mut self.rng).copied().unwrap_or("f0");
        // Half-written files and what patterns exclude are never delivered.
        let name = if name == ".DS_Store" { "g" } else { name };
        let folder = ["", "", "d/"].choose(&mut self.rng).copied().unwrap_or("");
        let path = format!("_outbox/{folder}{name}");
        if self.has_folders && !self.fits_remotely(&path) {
            return;
        }
        self.note("drop", &path);
        if let Some(old) = self.store.get(&path) {
            self.required.remove(&old);
            self.dropped.remove(&old);
        }
        let content = self.content();
        self.store.advance(Duration::from_secs(2));
        self.store.insert(&path, &content);
        self.required.insert(content.clone());
        self.dropped.insert(content);
    }

    fn note(&mut self, what: &str, path: &str) {
        self.diary.push(format!("{what} {path}"));
    }

    /// A content that there has never been.
    fn content(&mut self) -> Vec<u8> {
        self.count += 1;
        let mut content = format!("content number {:06}", self.count).into_bytes();
        let size = match self.rng.random_range(0..10) {
            0 => self.large + self.rng.random_range(0..2 * self.large),
            _ => self.rng.random_range(0..300),
        };
        content.resize(content.len().max(size), b'.');
        self.diary
            .push(format!("  content {}, {} bytes", self.count, content.len()));
        content
    }

    fn any_path(&mut self) -> String {
        let folder = FOLDERS.choose(&mut self.rng).copied().unwrap_or("");
        let name = NAMES.choose(&mut self.rng).copied().unwrap_or("f0");
        format!("{folder}{name}")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.local.join(path)
    }

    fn local_file(&mut self) -> Option<String> {
        let files = read_files(&self.local, OwsFolder::Skip);
        let own = files.into_keys().filter(|path| {
            !path.starts_with("_inbox/") && path != "keep.md" && !path.contains(".ows-tmp-")
        });
        own.collect::<Vec<_>>().choose(&mut self.rng).cloned()
    }

    fn remote_file(&mut self) -> Option<String> {
        let files = self.store.files().into_keys().filter(|path| {
            !path.starts_with(".ows/") && !path.starts_with("_outbox/") && path != "keep.md"
        });
        files.collect::<Vec<_>>().choose(&mut self.rng).cloned()
    }

    fn file_above(&self, path: &str) -> Option<String> {
        path.match_indices('/')
            .map(|(at, _)| path[..at].to_owned())
            .find(|folder| self.at(folder).is_file())
    }

    /// Whatever stands where a file is to be is deleted by hand.
    fn make_room_locally(&mut self, path: &str) {
        if let Some(file) = self.file_above(path) {
            self.forget_locally(&file);
        }
        self.forget_locally(path);
    }

    fn forget_locally(&mut self, path: &str) {
        let at = self.at(path);
        if at.is_dir() {
            for content in read_files(&at, OwsFolder::Include).into_values() {
                self.required.remove(&content);
            }
            // A run may be putting files there at this moment.
            while fs::remove_dir_all(&at).is_err() {}
        } else if let Ok(content) = fs::read(&at) {
            self.required.remove(&content);
            fs::remove_file(&at).expect("a file that can be removed");
        }
    }

    /// What is overwritten or deleted in the remote by hand is lost on purpose, unless the workspace has it too.
    fn forget_remotely(&mut self, path: &str) {
        let Some(content) = self.store.get(path) else {
            return;
        };
        let workspace = read_files(&self.local, OwsFolder::Skip);
        if self.pulls || !workspace.values().any(|local| *local == content) {
            self.required.remove(&content);
        }
    }

    fn fits_remotely(&self, path: &str) -> bool {
        let files = self.store.files();
        let below_a_file = path
            .match_indices('/')
            .any(|(at, _)| files.contains_key(&path[..at]));
        !below_a_file && !self.store.dirs().iter().any(|folder| folder == path)
    }
}
