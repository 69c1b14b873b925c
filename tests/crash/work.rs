//! What people do between two runs: in the workspace, in the cloud, and by dropping files. And what must have become of it.

use std::collections::BTreeSet;

use ows_testkit::tree::Files;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::place::{Mode, Place};
use crate::{bisync, mirror};

pub const MIB: usize = 1 << 20;

/// What must hold after a run that came to its end.
#[derive(Default)]
pub struct Expected {
    /// The workspace without `_inbox`, or the mirrored folder; the remote is the same.
    pub files: Files,
    /// Names and contents dropped so far, in order.
    pub drops: Vec<(String, Vec<u8>)>,
    /// BLAKE3 of contents that were displaced in the remote, and so must be found in its trash.
    pub displaced: BTreeSet<Digest>,
    /// The same for the local trash.
    pub displaced_here: BTreeSet<Digest>,
    /// The ingest folder.
    pub ingest: Files,
    /// Paths that somebody has worked on in this round of a bisync.
    pub touched: BTreeSet<String>,
    next: u64,
}

/// BLAKE3 of a content.
pub type Digest = [u8; 32];

pub fn digest(content: &[u8]) -> Digest {
    *blake3::hash(content).as_bytes()
}

impl Place {
    /// A workspace to begin with, and drops that are there already.
    pub fn first_work(&mut self) {
        match self.mode {
            Mode::Mirror => return mirror::first_work(self),
            Mode::Bisync => return bisync::first_work(self),
            Mode::Mailbox => {}
        }
        for _ in 0..30 {
            let path = self.fresh_path();
            let content = self.content(3000);
            self.write(path, content);
        }
        let path = self.fresh_path();
        let size = 12 * MIB + self.rng.random_range(0..MIB);
        let content = self.large(size);
        self.write(path, content);
        self.write("empty".to_owned(), Vec::new());
        self.drop_files(3, 2000);
    }

    /// A round: files added, replaced, deleted, moved, turned into folders; edits and strays in the cloud; drops.
    pub fn work(&mut self) {
        match self.mode {
            Mode::Mirror => return mirror::work(self),
            Mode::Bisync => return bisync::work(self),
            Mode::Mailbox => {}
        }
        let before = self.expected.files.clone();
        for _ in 0..self.rng.random_range(4..10) {
            let path = self.fresh_path();
            let content = self.content(3000);
            self.write(path, content);
        }
        self.replace(4);
        for _ in 0..3 {
            if let Some(path) = self.some_file() {
                self.delete(&path);
            }
        }
        for _ in 0..3 {
            if let Some(from) = self.some_file() {
                let to = self.fresh_path();
                self.rename(&from, &to);
            }
        }
        self.large_file();
        self.swap_kinds();
        self.note_deleted(&before);
        self.meddle();
        self.drop_files(3, 2000);
        if self.rng.random_ratio(1, 4) {
            self.drop_files(1, 9 * MIB);
        }
    }

    /// What people do while nothing runs, after a kill: the next run meets half of the old work and the new.
    pub fn more_work(&mut self) {
        match self.mode {
            Mode::Mirror => return mirror::more_work(self),
            Mode::Bisync => return bisync::more_work(self),
            Mode::Mailbox => {}
        }
        let path = self.fresh_path();
        let content = self.content(3000);
        self.write(path, content);
        self.replace(3);
        self.drop_files(1, 2000);
    }

    /// Every file has other content than before.
    pub fn edit_everything(&mut self) {
        let paths: Vec<String> = self.expected.files.keys().cloned().collect();
        for path in paths {
            let content = self.content(3000);
            self.write(path, content);
        }
    }

    /// What was in the remote and stands under no name any more was deleted. A name that holds something else now was
    /// replaced by its owner, which keeps no copy.
    fn note_deleted(&mut self, before: &Files) {
        let files = &self.expected.files;
        let there: BTreeSet<Digest> = files.values().map(|content| digest(content)).collect();
        let deleted = before
            .iter()
            .filter(|(path, _)| !files.contains_key(*path))
            .map(|(_, content)| digest(content))
            .filter(|digest| !there.contains(digest));
        self.expected.displaced.extend(deleted);
    }

    fn write(&mut self, path: String, content: Vec<u8>) {
        self.workspace.write(&path, &content);
        self.expected.files.insert(path, content);
    }

    fn replace(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(path) = self.some_file() {
                let content = self.content(3000);
                self.write(path, content);
            }
        }
    }

    fn delete(&mut self, path: &str) {
        self.workspace.remove(path);
        self.expected.files.remove(path);
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.workspace.rename(from, to);
        let content = self.expected.files.remove(from).expect("it is there");
        self.expected.files.insert(to.to_owned(), content);
    }

    /// A file that is sent in parts is added, or takes the place of another; one may move.
    fn large_file(&mut self) {
        let is_large = |content: &&Vec<u8>| content.len() > 8 * MIB;
        let known: Vec<String> = self
            .expected
            .files
            .iter()
            .filter(|(_, content)| is_large(content))
            .map(|(path, _)| path.clone())
            .collect();
        let old = known.choose(&mut self.rng).cloned();
        let content = self.some_large();
        match old {
            // Few are kept, or each round would take longer than the one before.
            Some(path) if known.len() >= 2 => self.write(path, content),
            old => {
                if let Some(path) = old
                    && self.rng.random()
                {
                    let to = self.fresh_path();
                    self.rename(&path, &to);
                }
                let path = self.fresh_path();
                self.write(path, content);
            }
        }
    }

    fn some_large(&mut self) -> Vec<u8> {
        let most = if self.rng.random_ratio(1, 5) { 40 } else { 16 };
        let size = self.rng.random_range(12 * MIB..most * MIB);
        self.large(size)
    }

    /// A file becomes a folder, or the other way round.
    fn swap_kinds(&mut self) {
        let Some(path) = self.some_file() else {
            return;
        };
        match path.rsplit_once('/') {
            Some((folder, _)) if !folder.contains('/') && self.rng.random() => {
                let below: Vec<String> = self
                    .expected
                    .files
                    .keys()
                    .filter(|path| path.starts_with(&format!("{folder}/")))
                    .cloned()
                    .collect();
                if below.len() > 3 {
                    return;
                }
                let folder = folder.to_owned();
                for path in below {
                    self.delete(&path);
                }
                self.workspace.remove(&folder);
                let content = self.content(500);
                self.write(folder, content);
            }
            _ => {
                self.delete(&path);
                let content = self.content(500);
                self.write(format!("{path}/inside"), content);
            }
        }
    }

    /// People who work in the mirrored folder: their work gives way to the workspace, and lies in the trash.
    fn meddle(&mut self) {
        let stray = self.content(500);
        let name = format!("stray-{}", self.expected.next);
        self.put_remote(&name, &stray);
        self.expected.displaced.insert(digest(&stray));
        let remote = self.remote_files();
        let there: Vec<String> = self
            .expected
            .files
            .iter()
            .filter(|(path, content)| remote.get(*path) == Some(content) && content.len() < MIB)
            .map(|(path, _)| path.clone())
            .collect();
        if let Some(path) = there.choose(&mut self.rng).cloned() {
            let edit = self.content(500);
            self.put_remote(&path, &edit);
            self.expected.displaced.insert(digest(&edit));
        }
    }

    /// The same few names again and again, so that `_inbox` has them taken. Within a round no name comes twice: that would
    /// be a person who takes a drop back.
    fn drop_files(&mut self, count: usize, size: usize) {
        let remote = self.remote_files();
        for index in 0..count {
            let name = ["a.txt", "b", "d/c.tar.gz", ".env"][index % 4];
            if remote.contains_key(&format!("_outbox/{name}")) {
                continue;
            }
            let mut content = self.content(2000);
            content.resize(content.len().max(size), 0x2e);
            self.put_remote(&format!("_outbox/{name}"), &content);
            self.expected.drops.push((name.to_owned(), content));
        }
    }

    fn some_file(&mut self) -> Option<String> {
        let small: Vec<&String> = self
            .expected
            .files
            .iter()
            .filter(|(path, content)| content.len() < MIB && *path != "empty")
            .map(|(path, _)| path)
            .collect();
        small.choose(&mut self.rng).map(|path| (*path).clone())
    }

    /// A path that was never used, in a folder that has not become a file since.
    pub fn fresh_path(&mut self) -> String {
        self.expected.next += 1;
        let number = self.expected.next;
        let path = match self.rng.random_range(0..4) {
            0 => format!("file {number}.txt"),
            1 => format!("notes{}/f{number}.md", self.rng.random_range(0..1000)),
            2 => format!("code/src/ünï-{number}+%41.rs"),
            _ => format!("code/{number}"),
        };
        let is_file = |(end, _)| self.expected.files.contains_key(&path[..end]);
        if path.match_indices('/').any(is_file) {
            return format!("file {number}.txt");
        }
        path
    }

    /// Content that never was before.
    pub fn content(&mut self, most: usize) -> Vec<u8> {
        self.expected.next += 1;
        let mut content = format!("content {}\n", self.expected.next).into_bytes();
        let more = self.rng.random_range(0..most);
        content.extend(random_bytes(&mut self.rng, more));
        content
    }

    pub fn large(&mut self, size: usize) -> Vec<u8> {
        let mut content = self.content(1);
        let block = random_bytes(&mut self.rng, 64 << 10);
        while content.len() < size {
            content.extend(&block);
        }
        content.truncate(size);
        content
    }
}

fn random_bytes(rng: &mut StdRng, count: usize) -> Vec<u8> {
    (0..count).map(|_| rng.random()).collect()
}
