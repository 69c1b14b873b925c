//! Some hosts, their folders and databases, one remote, and the people who work on all of them.
//!
//! The model is [`World::required`]: every content that a person wrote is another one, and stays in there until a person
//! deletes or overwrites it at a place that holds it at that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{TimeDelta, Utc};
use ows::sync::{FirstSync, SyncMode};
use ows_providers::memory::MemoryStore;
use ows_testkit::tree::{EntryKind, OwsFolder, TempTree, read_files, snapshot_tree};

use super::step::{Kind, Place, Setting, Step};
use crate::support::Pair;

/// How far the times of files lie back at least: none of them is later than the clock, whatever clocks were set to.
const PAST: Duration = Duration::from_secs(10 * 86_400);

/// Characters of a line of the diary.
const LINE: usize = 500;

pub struct World {
    pub setting: Setting,
    pub hosts: Vec<Host>,
    pub store: MemoryStore,
    start: SystemTime,
    /// Contents that exist, and that nobody has deleted or overwritten by hand.
    required: Mutex<BTreeSet<Vec<u8>>>,
    count: AtomicI64,
    /// What was done, for a failing test.
    diary: Mutex<Vec<String>>,
}

pub struct Host {
    pub pair: Pair,
    /// Seconds by which its clock is wrong.
    pub offset: AtomicI64,
    /// Its database as it was once.
    snapshot: Mutex<Option<TempTree>>,
    /// The folder while it is not mounted.
    volume: TempTree,
    is_mounted: AtomicBool,
    /// What nothing is remembered of may have to ask a person.
    pub may_ask: AtomicBool,
}

impl Host {
    fn new(pair: Pair) -> Self {
        Self {
            pair,
            offset: AtomicI64::new(0),
            snapshot: Mutex::default(),
            volume: TempTree::in_memory(),
            is_mounted: AtomicBool::new(true),
            may_ask: AtomicBool::new(true),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.pair.local.join(path)
    }
}

impl World {
    pub fn new(setting: &Setting) -> Self {
        let first = Pair::new(setting.store.clone(), &[]);
        let store = first.store.clone();
        store.set_now(Utc::now() + TimeDelta::milliseconds(500));
        let others = (1..setting.hosts).map(|_| Pair::joined(&first, &[]));
        let mut pairs: Vec<Pair> = others.collect();
        pairs.insert(0, first);
        for pair in &mut pairs {
            pair.settings.mode = SyncMode::Bisync;
            pair.settings.first_sync = setting.first_sync;
            pair.settings.conflict_resolve = setting.resolve;
            pair.settings.transfers = Some(setting.transfers);
            pair.settings.max_delete = 100;
            pair.settings.max_change = 100;
        }
        let world = Self {
            setting: setting.clone(),
            hosts: pairs.into_iter().map(Host::new).collect(),
            store,
            start: SystemTime::now() - PAST,
            required: Mutex::default(),
            count: AtomicI64::new(0),
            diary: Mutex::default(),
        };
        for (host, holds_files) in setting.holds_files.iter().enumerate() {
            if *holds_files {
                for path in ["f", "a/f", "a/g.txt"] {
                    world.write_locally(host, path, 30);
                }
            }
        }
        world
    }

    pub fn note(&self, mut text: String) {
        if let Some((end, _)) = text.char_indices().nth(LINE) {
            text.truncate(end);
        }
        lock(&self.diary).push(text);
    }

    pub fn diary(&self) -> Vec<String> {
        lock(&self.diary).clone()
    }

    /// Somebody does something. Runs are not for people alone, see [`super::play`].
    pub fn act(&self, step: &Step) {
        match *step {
            Step::Write(Place::Host(host), path, size) => self.write_locally(host, path, size),
            Step::Write(Place::Cloud, path, size) => self.write_remotely(path, size),
            Step::Rewrite(host, path) => self.rewrite(host, path),
            Step::Touch(host, path, seconds) => self.touch(host, path, seconds),
            Step::Delete(Place::Host(host), path) => self.forget_locally(host, path),
            Step::Delete(Place::Cloud, path) => self.delete_remotely(path),
            Step::Rename(Place::Host(host), from, to) => self.rename_locally(host, from, to),
            Step::Rename(Place::Cloud, from, to) => self.rename_remotely(from, to),
            Step::MakeDir(Place::Host(host), path) => self.make_dir(host, path),
            Step::MakeDir(Place::Cloud, path) => {
                if self.setting.store.folders && self.is_free_remotely(path) {
                    self.store.insert_dir(path);
                }
            }
            Step::Clock(Place::Host(host), seconds) => {
                self.hosts[host].offset.store(seconds, Ordering::SeqCst);
            }
            Step::Clock(Place::Cloud, seconds) => {
                self.store
                    .set_now(self.store.now() + TimeDelta::seconds(seconds));
            }
            Step::Wait => self.wait(Duration::from_secs(600)),
            Step::LoseMarker(host) => {
                let marker = self.hosts[host].at(".ows/replica");
                if marker.exists() {
                    fs::remove_file(marker).expect("a file that can be removed");
                    self.hosts[host].may_ask.store(true, Ordering::SeqCst);
                }
            }
            Step::Unmount(host) => self.unmount(host),
            Step::Mount(host) => self.mount(host),
            Step::NewVolume(host) => self.lose_volume(host),
            Step::Snapshot(host) => self.snapshot(host),
            Step::Rollback(host) => self.rollback(host),
            Step::LoseState(host) => self.lose_state(host),
            Step::LoseStateAndCheckpoint(host) => {
                self.lose_state(host);
                for path in self.store.files().into_keys() {
                    if path.starts_with(".ows/base-") {
                        self.store.remove(&path);
                    }
                }
            }
            Step::Run(..) => {}
        }
    }

    /// Time goes by for everybody.
    pub fn wait(&self, time: Duration) {
        self.store.advance(time);
        for host in &self.hosts {
            let seconds = i64::try_from(time.as_secs()).expect("a short time");
            host.offset.fetch_add(seconds, Ordering::SeqCst);
        }
    }

    // Content

    fn content(&self, size: usize) -> Vec<u8> {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let mut content = format!("content number {number:06}").into_bytes();
        content.resize(content.len().max(size), b'.');
        content
    }

    fn require(&self, content: Vec<u8>) {
        lock(&self.required).insert(content);
    }

    fn give_up(&self, content: &[u8]) {
        lock(&self.required).remove(content);
    }

    /// What nobody gave up, and is nowhere.
    pub fn lost(&self) -> Vec<String> {
        let there = self.contents();
        let required = lock(&self.required);
        let lost = required.difference(&there);
        lost.map(|content| shown(content)).collect()
    }

    /// Every content that exists anywhere: on a side, or in a trash.
    fn contents(&self) -> BTreeSet<Vec<u8>> {
        let mut all: BTreeSet<Vec<u8>> = self.store.files().into_values().collect();
        all.extend(self.store.bin().into_iter().map(|(_, content)| content));
        for host in &self.hosts {
            for folder in [host.pair.local.path(), host.volume.path()] {
                all.extend(read_files(folder, OwsFolder::Include).into_values());
            }
        }
        all
    }

    /// Who changes a volume for another one gives up what is nowhere else.
    fn give_up_what_is_gone(&self) {
        let there = self.contents();
        lock(&self.required).retain(|content| there.contains(content));
    }

    // On a host

    fn write_locally(&self, host: usize, path: &str, size: usize) {
        let content = self.content(size);
        self.note(format!("  host {host}: {path} = {}", shown(&content)));
        let at = self.hosts[host].at(path);
        if let Some(file) = self.file_above(host, path) {
            self.forget_locally(host, &file);
        }
        match fs::read(&at) {
            Ok(old) => self.give_up(&old),
            Err(_) => self.forget_locally(host, path),
        }
        fs::create_dir_all(at.parent().expect("it is inside")).expect("a folder");
        fs::write(&at, &content).expect("a file");
        let number = self.count.load(Ordering::SeqCst);
        let offset = self.hosts[host].offset.load(Ordering::SeqCst);
        self.set_modified(&at, number + offset);
        self.require(content);
    }

    fn set_modified(&self, at: &Path, seconds: i64) {
        let by = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 {
            self.start - by
        } else {
            self.start + by
        };
        set_modified(at, time);
    }

    fn rewrite(&self, host: usize, path: &str) {
        let at = self.hosts[host].at(path);
        let Ok(old) = fs::read(&at) else {
            return;
        };
        let mut new = self.content(old.len());
        new.truncate(old.len());
        self.note(format!("  host {host}: {path} = {}", shown(&new)));
        let modified = fs::metadata(&at).and_then(|data| data.modified());
        fs::write(&at, &new).expect("a file");
        set_modified(&at, modified.expect("a time"));
        self.give_up(&old);
        self.require(new);
    }

    fn touch(&self, host: usize, path: &str, seconds: i64) {
        let at = self.hosts[host].at(path);
        if at.is_file() {
            self.set_modified(&at, seconds);
        }
    }

    /// A person deletes what stands here, if anything does.
    fn forget_locally(&self, host: usize, path: &str) {
        let at = self.hosts[host].at(path);
        if at.is_dir() {
            for content in read_files(&at, OwsFolder::Include).into_values() {
                self.give_up(&content);
            }
            fs::remove_dir_all(&at).expect("a folder that can be removed");
        } else if let Ok(content) = fs::read(&at) {
            self.give_up(&content);
            fs::remove_file(&at).expect("a file that can be removed");
        }
    }

    fn rename_locally(&self, host: usize, from: &str, to: &str) {
        let (old, new) = (self.hosts[host].at(from), self.hosts[host].at(to));
        if !old.exists() || overlap(from, to) || self.file_above(host, to).is_some() {
            return;
        }
        if new.is_dir() || new.exists() && old.is_dir() {
            return;
        }
        self.forget_locally(host, to);
        fs::create_dir_all(new.parent().expect("it is inside")).expect("a folder");
        fs::rename(old, new).expect("a rename");
    }

    fn make_dir(&self, host: usize, path: &str) {
        if !self.hosts[host].at(path).exists() && self.file_above(host, path).is_none() {
            fs::create_dir_all(self.hosts[host].at(path)).expect("a folder");
        }
    }

    fn file_above(&self, host: usize, path: &str) -> Option<String> {
        above(path).find(|folder| self.hosts[host].at(folder).is_file())
    }

    // In the cloud

    fn write_remotely(&self, path: &str, size: usize) {
        if !self.fits_remotely(path) {
            return;
        }
        let content = self.content(size);
        self.note(format!("  cloud: {path} = {}", shown(&content)));
        if let Some(old) = self.store.get(path) {
            self.give_up(&old);
        }
        self.store.advance(Duration::from_secs(2));
        self.store.insert(path, &content);
        self.require(content);
    }

    fn delete_remotely(&self, path: &str) {
        for (_, content) in self.remote_at(path) {
            self.give_up(&content);
        }
        self.store.advance(Duration::from_secs(2));
        self.store.remove(path);
    }

    fn rename_remotely(&self, from: &str, to: &str) {
        let moved = self.remote_at(from);
        if moved.is_empty() || overlap(from, to) || !self.is_free_remotely(to) {
            return;
        }
        self.store.advance(Duration::from_secs(2));
        // The store's own bin would keep what was only renamed: that hides nothing that the model asks for.
        self.store.remove(from);
        for (path, content) in moved {
            let path = format!("{to}{}", &path[from.len()..]);
            self.store.insert(&path, &content);
        }
    }

    /// What lies in the remote at this path or below it.
    fn remote_at(&self, path: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.store.files();
        let below = format!("{path}/");
        files.retain(|other, _| other == path || other.starts_with(&below));
        files
    }

    /// Without folders a file may lie below another one. A first run that takes the remote as the truth has no place for that.
    fn fits_remotely(&self, path: &str) -> bool {
        if !self.setting.store.folders && self.setting.first_sync != FirstSync::Remote {
            return true;
        }
        let below = format!("{path}/");
        let is_folder = self.store.files().keys().any(|key| key.starts_with(&below))
            || self.store.dirs().iter().any(|dir| dir == path);
        !is_folder && !above(path).any(|folder| self.store.get(&folder).is_some())
    }

    fn is_free_remotely(&self, path: &str) -> bool {
        self.fits_remotely(path) && self.remote_at(path).is_empty()
    }

    // What is around them

    fn unmount(&self, host: usize) {
        let host = &self.hosts[host];
        if host.is_mounted.swap(false, Ordering::SeqCst) {
            fs::remove_dir(host.volume.path()).expect("an empty folder");
            fs::rename(host.pair.local.path(), host.volume.path()).expect("a rename");
            fs::create_dir(host.pair.local.path()).expect("a folder");
            host.may_ask.store(true, Ordering::SeqCst);
        }
    }

    /// What is under the mount point is not seen any more.
    pub fn mount(&self, host: usize) {
        let host = &self.hosts[host];
        if !host.is_mounted.swap(true, Ordering::SeqCst) {
            fs::remove_dir_all(host.pair.local.path()).expect("a folder that can be removed");
            fs::rename(host.volume.path(), host.pair.local.path()).expect("a rename");
            fs::create_dir(host.volume.path()).expect("a folder");
            host.may_ask.store(true, Ordering::SeqCst);
            self.give_up_what_is_gone();
        }
    }

    fn lose_volume(&self, host: usize) {
        let local = self.hosts[host].pair.local.path();
        fs::remove_dir_all(local).expect("a folder that can be removed");
        fs::create_dir(local).expect("a folder");
        self.hosts[host].may_ask.store(true, Ordering::SeqCst);
        self.give_up_what_is_gone();
    }

    fn snapshot(&self, host: usize) {
        let host = &self.hosts[host];
        if host.pair.settings.own_dir.exists() {
            let kept = TempTree::in_memory();
            copy_folder(&host.pair.settings.own_dir, &kept.join("ows"));
            *lock(&host.snapshot) = Some(kept);
        }
    }

    fn rollback(&self, host: usize) {
        let host = &self.hosts[host];
        let snapshot = lock(&host.snapshot);
        if let Some(kept) = &*snapshot {
            if host.pair.settings.own_dir.exists() {
                host.pair.state.remove("ows");
            }
            copy_folder(&kept.join("ows"), &host.pair.settings.own_dir);
            host.may_ask.store(true, Ordering::SeqCst);
        }
    }

    fn lose_state(&self, host: usize) {
        let host = &self.hosts[host];
        if host.pair.settings.own_dir.exists() {
            host.pair.state.remove("ows");
            host.may_ask.store(true, Ordering::SeqCst);
        }
    }

    // What is seen at the end

    /// Everything that takes part on a host: files with their contents, and folders where the remote has them.
    pub fn local_tree(&self, host: usize) -> BTreeMap<String, Option<Vec<u8>>> {
        let local = &self.hosts[host].pair.local;
        let files = local.files().into_iter();
        let mut tree: BTreeMap<_, _> = files.map(|(path, content)| (path, Some(content))).collect();
        if self.setting.store.folders {
            let entries = snapshot_tree(local.path(), OwsFolder::Skip).into_iter();
            let folders = entries.filter(|(_, entry)| entry.kind == EntryKind::Folder);
            tree.extend(folders.map(|(path, _)| (path, None)));
        }
        tree
    }

    /// The same for the remote.
    pub fn remote_tree(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let is_own = |path: &String| path == ".ows" || path.starts_with(".ows/");
        let files = self.store.files().into_iter();
        let folders = self.store.dirs().into_iter().map(|path| (path, None));
        files
            .map(|(path, content)| (path, Some(content)))
            .chain(folders)
            .filter(|(path, _)| !is_own(path))
            .collect()
    }

    pub fn is_careless(&self) -> bool {
        self.setting.kind == Kind::CarelessS3
    }
}

/// A path in words: what it holds.
pub fn shown(content: &[u8]) -> String {
    let start = String::from_utf8_lossy(&content[..content.len().min(21)]).into_owned();
    start.replace("content number ", "#")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn above(path: &str) -> impl Iterator<Item = String> {
    path.match_indices('/').map(|(at, _)| path[..at].to_owned())
}

fn overlap(one: &str, other: &str) -> bool {
    let is_in = |one: &str, other: &str| one == other || one.starts_with(&format!("{other}/"));
    is_in(one, other) || is_in(other, one)
}

fn set_modified(at: &Path, time: SystemTime) {
    let file = fs::File::options().write(true).open(at);
    file.and_then(|file| file.set_modified(time))
        .expect("a time");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
