//! The remote itself, as a test sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::options::MemoryOptions;
use super::provider::MemoryProvider;
use super::state::{Origin, Slot, State};
use crate::layers::CallCounter;
use crate::{Entry, EntryKind, ErrorKind, Operation, RelPath, UnfinishedUpload};

/// A store in memory; clones are the same store.
///
/// The methods act as a stranger would: they heed no conditions, are not logged as calls, and panic when they are given
/// something that is no path, since that is an error of the test.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: MemoryOptions,
    state: Mutex<State>,
    log: Mutex<Vec<Logged>>,
}

/// One call of the trait; a listing is logged once per page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// What was asked.
    pub operation: Operation,
    /// Of which path; copies and renames: the source and the destination with ` -> ` between.
    pub path: String,
    /// How it failed, if it did.
    pub failure: Option<ErrorKind>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(options: MemoryOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new(options.clone())),
                options,
                log: Mutex::default(),
            }),
        }
    }

    /// A provider over this store: one host's view of it.
    pub fn provider(&self) -> Arc<MemoryProvider> {
        Arc::new(MemoryProvider::new(self.clone(), None))
    }

    /// A provider that counts its requests itself, each page of a listing as one.
    pub fn counted_provider(&self, counter: Arc<CallCounter>) -> MemoryProvider {
        MemoryProvider::new(self.clone(), Some(counter))
    }

    /// All files with their contents.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let files = |(key, slot): (&String, &Slot)| match slot {
            Slot::File(file) => Some((key.clone(), file.content.to_vec())),
            _ => None,
        };
        self.state().slots.iter().filter_map(files).collect()
    }

    /// All folders, on stores that have them.
    pub fn dirs(&self) -> Vec<String> {
        let state = self.state();
        let dirs = state
            .slots
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Dir));
        dirs.map(|(key, _)| key.trim_end_matches('/').to_owned())
            .collect()
    }

    /// The content of one file.
    pub fn get(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state
            .file(&state.spelled(&checked(path)))
            .map(|file| file.content.to_vec())
    }

    /// The whole entry of one file, as [`crate::Provider::stat`] tells it.
    pub fn entry(&self, path: &str) -> Option<Entry> {
        let state = self.state();
        let path = state.spelled(&checked(path));
        state.file(&path).map(|file| state.entry(&path, file))
    }

    /// Writes a file, with the store's clock as its modification time.
    ///
    /// # Panics
    /// When a file is where a folder above it would be, or a folder where it would be.
    pub fn insert(&self, path: &str, content: &[u8]) {
        let now = self.now().timestamp_nanos_opt();
        self.insert_with_mtime(path, content, now);
    }

    /// Writes a file with a modification time in nanoseconds since the epoch, or without one.
    ///
    /// # Panics
    /// As [`MemoryStore::insert`].
    pub fn insert_with_mtime(&self, path: &str, content: &[u8], mtime_ns: Option<i64>) {
        let mut state = self.state();
        let path = state.spelled(&checked(path));
        assert!(!state.is_dir(&path), "`{path}` is a folder");
        let content = Bytes::copy_from_slice(content);
        let written = state.write(&path, content, mtime_ns, Origin::Single);
        assert!(written.is_ok(), "{written:?}");
    }

    /// Makes a folder and those above it.
    ///
    /// # Panics
    /// On a store without folders, or when a file is in the way.
    pub fn insert_dir(&self, path: &str) {
        let mut state = self.state();
        assert!(state.options.folders, "this store has no folders");
        let made = state.create_dir(&checked(path));
        assert!(made.is_ok(), "{made:?}");
    }

    /// Removes a file, or a folder with everything in it; says whether something was there.
    pub fn remove(&self, path: &str) -> bool {
        let mut state = self.state();
        let path = state.spelled(&checked(path));
        state.bin(&path);
        let mut was_there = state.take(&path, EntryKind::File).is_some();
        let below: Vec<(String, bool)> = state
            .slots
            .iter()
            .filter(|(key, _)| key.starts_with(&format!("{path}/")))
            .map(|(key, slot)| (key.clone(), matches!(slot, Slot::Dir)))
            .collect();
        for (key, is_dir) in below {
            was_there = true;
            match RelPath::new(key.trim_end_matches('/')) {
                Ok(path) if is_dir => drop(state.take(&path, EntryKind::Dir)),
                Ok(path) if !key.ends_with('/') => {
                    state.bin(&path);
                    state.take(&path, EntryKind::File);
                }
                _ => drop(state.slots.remove(&key)),
            }
        }
        was_there
    }

    /// Plants a key that no [`RelPath`] can name, such as `../x` or `a//b`; it is listed as unusable.
    ///
    /// # Panics
    /// When the key can be used.
    pub fn plant(&self, key: &str) {
        let mut state = self.state();
        let reason = match RelPath::new(key) {
            Err(error) => error.to_string(),
            Ok(path) => match state.options.names.objection(&path) {
                Some(objection) => objection,
                None => panic!("`{key}` is a usable name"),
            },
        };
        state.slots.insert(key.to_owned(), Slot::Unusable(reason));
    }

    /// The keys that were planted and are still there.
    pub fn planted(&self) -> Vec<String> {
        let state = self.state();
        let planted = state
            .slots
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Unusable(_)));
        planted.map(|(key, _)| key.clone()).collect()
    }

    /// Makes a folder unreadable, or readable again: listings name it and leave out what is below.
    pub fn set_unreadable(&self, path: &str, unreadable: bool) {
        let path = checked(path);
        let mut state = self.state();
        if unreadable {
            state.unreadable.insert(path);
        } else {
            state.unreadable.remove(&path);
        }
    }

    /// Takes the whole root away with everything in it (a bucket deleted, a disk not mounted). On a store with folders
    /// the next write brings it back.
    pub fn remove_root(&self) {
        let mut state = self.state();
        let clock = state.now;
        let serial = state.serial;
        *state = State::new(self.shared.options.clone());
        state.now = clock;
        state.serial = serial;
        state.root_is_there = false;
    }

    /// Brings an empty root back.
    pub fn create_root(&self) {
        self.state().root_is_there = true;
    }

    /// Uploads that were begun and not ended.
    pub fn uploads(&self) -> Vec<UnfinishedUpload> {
        let state = self.state();
        state
            .uploads
            .values()
            .map(|pending| pending.unfinished())
            .collect()
    }

    /// What was deleted or replaced, oldest first, on stores that keep it.
    pub fn bin(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        let kept = state.bin.iter();
        kept.map(|(path, content)| (path.clone(), content.to_vec()))
            .collect()
    }

    /// The store's clock.
    pub fn now(&self) -> DateTime<Utc> {
        self.state().now
    }

    /// Sets the store's clock, forwards or backwards.
    pub fn set_now(&self, now: DateTime<Utc>) {
        self.state().now = now;
    }

    /// Moves the store's clock on.
    pub fn advance(&self, by: Duration) {
        self.state().now += by;
    }

    /// All calls since the start or the last [`MemoryStore::clear_log`], in the order in which they took effect.
    pub fn log(&self) -> Vec<Logged> {
        self.locked_log().clone()
    }

    /// Forgets the calls so far.
    pub fn clear_log(&self) {
        self.locked_log().clear();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn locked_log(&self) -> MutexGuard<'_, Vec<Logged>> {
        self.shared
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[track_caller]
fn checked(path: &str) -> RelPath {
    match RelPath::new(path) {
        Ok(path) => path,
        Err(error) => panic!("`{path}`: {error}"),
    }
}
