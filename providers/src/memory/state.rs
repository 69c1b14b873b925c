//! What a store in memory holds, and the rules by which it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::options::{Alteration, MemoryOptions, VersionStyle};
use super::uploads::PendingUpload;
use crate::hash::ContentHashes;
use crate::{
    Entry, EntryKind, Error, ErrorKind, Hash, HashKind, ListOptions, Listed, Operation,
    Precondition, RelPath, Result, Version,
};

/// Why a step failed: the kind and the words; the call adds operation and path.
pub(super) type Refused = (ErrorKind, String);
pub(super) type Step<Value> = std::result::Result<Value, Refused>;

/// A stored file.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) content: Bytes,
    pub(super) mtime_ns: Option<i64>,
    pub(super) modified_at_ns: i64,
    pub(super) version: Version,
    /// The hash that listings tell.
    pub(super) listed_hash: Option<Hash>,
    /// The hash that looking at the file itself tells.
    pub(super) hash: Option<Hash>,
    /// The token of the upload that made it.
    pub(super) token: Option<String>,
}

/// What lies at a key. Folders have keys that end in `/`.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    File(File),
    Dir,
    /// A key that is no path.
    Unusable(String),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) options: MemoryOptions,
    pub(super) slots: BTreeMap<String, Slot>,
    /// On stores that fold names: each path, folded, with its spelling.
    spellings: BTreeMap<String, String>,
    pub(super) unreadable: BTreeSet<RelPath>,
    pub(super) uploads: BTreeMap<String, PendingUpload>,
    pub(super) bin: Vec<(String, Bytes)>,
    pub(super) root_is_there: bool,
    pub(super) now: DateTime<Utc>,
    pub(super) serial: u64,
}

/// How the content of a new file came.
pub(super) enum Origin {
    Single,
    Parts {
        etag: [u8; 16],
        count: usize,
        md5: Option<[u8; 16]>,
        token: String,
    },
}

impl State {
    pub(super) fn new(options: MemoryOptions) -> Self {
        Self {
            now: options.start,
            options,
            slots: BTreeMap::new(),
            spellings: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            uploads: BTreeMap::new(),
            bin: Vec::new(),
            root_is_there: true,
            serial: 0,
        }
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn now_ns(&self) -> i64 {
        let now = self.now.timestamp_nanos_opt().unwrap_or(i64::MAX);
        truncated(now, self.options.modified_at_precision)
    }

    /// `path` as it is spelled here: on stores that fold names, those that exist keep their spelling.
    pub(super) fn spelled(&self, path: &RelPath) -> RelPath {
        if !self.options.names.folds() {
            return path.clone();
        }
        let mut spelled: Option<RelPath> = None;
        for segment in path.segments() {
            let next = match &spelled {
                None => RelPath::new(segment),
                Some(above) => above.join(segment),
            };
            let Ok(next) = next else { return path.clone() };
            spelled = Some(
                match self.spellings.get(&self.options.names.folded(&next)) {
                    Some(known) => RelPath::new(known).unwrap_or(next),
                    None => next,
                },
            );
        }
        spelled.unwrap_or_else(|| path.clone())
    }

    pub(super) fn file(&self, path: &RelPath) -> Option<&File> {
        match self.slots.get(path.as_str()) {
            Some(Slot::File(file)) => Some(file),
            _ => None,
        }
    }

    pub(super) fn is_dir(&self, path: &RelPath) -> bool {
        self.options.folders && matches!(self.slots.get(&dir_key(path)), Some(Slot::Dir))
    }

    pub(super) fn insert(&mut self, path: &RelPath, slot: Slot) {
        let key = match slot {
            Slot::Dir => dir_key(path),
            _ => path.as_str().to_owned(),
        };
        self.root_is_there = true;
        self.slots.insert(key, slot);
        if self.options.names.folds() {
            self.spellings
                .insert(self.options.names.folded(path), path.as_str().to_owned());
        }
    }

    pub(super) fn take(&mut self, path: &RelPath, kind: EntryKind) -> Option<Slot> {
        let slot = match kind {
            EntryKind::File => self.slots.remove(path.as_str()),
            EntryKind::Dir => self.slots.remove(&dir_key(path)),
        };
        if slot.is_some() {
            self.spellings.remove(&self.options.names.folded(path));
        }
        slot
    }

    /// Keeps what is displaced, on stores that do.
    pub(super) fn bin(&mut self, path: &RelPath) {
        let keeps = self.options.bin || self.options.enforced.versioning == Some(true);
        let content = self.file(path).map(|file| file.content.clone());
        if let (true, Some(content)) = (keeps, content) {
            self.bin.push((path.as_str().to_owned(), content));
        }
    }

    /// Makes the folders above `path`. Fails without a change when a file is in the way.
    pub(super) fn make_parents(&mut self, path: &RelPath) -> Step<()> {
        if !self.options.folders {
            return Ok(());
        }
        let mut above: Vec<RelPath> =
            std::iter::successors(path.parent(), RelPath::parent).collect();
        above.reverse();
        if let Some(file) = above.iter().find(|folder| self.file(folder).is_some()) {
            return Err((
                ErrorKind::AlreadyExists,
                format!("`{file}` is a file, not a folder"),
            ));
        }
        for folder in above {
            self.insert(&folder, Slot::Dir);
        }
        Ok(())
    }

    /// Whether a file may be written at `path`.
    pub(super) fn check_target(
        &self,
        path: &RelPath,
        precondition: &Precondition,
        enforced: (bool, bool),
    ) -> Step<()> {
        if self.is_dir(path) {
            return Err((ErrorKind::AlreadyExists, "a folder is there".to_owned()));
        }
        check_version(
            self.file(path).map(|file| &file.version),
            precondition,
            enforced,
        )
    }

    pub(super) fn check_name(&self, path: &RelPath) -> Step<()> {
        match self.options.names.objection(path) {
            Some(objection) => Err((ErrorKind::InvalidName, objection)),
            None => Ok(()),
        }
    }

    /// Writes a file; conditions and names were checked.
    pub(super) fn write(
        &mut self,
        path: &RelPath,
        content: Bytes,
        mtime_ns: Option<i64>,
        origin: Origin,
    ) -> Step<Entry> {
        self.make_parents(path)?;
        self.bin(path);
        let mut file = self.new_file(content, mtime_ns, origin);
        let answer = self.write_answer(path, &file);
        match self.options.alteration {
            Alteration::None => {}
            Alteration::Version => {
                file.version = Version(format!("altered-{}", self.next_serial()));
            }
            Alteration::Content => {
                let altered = [&file.content[..], b"\naltered by the store\n"].concat();
                let token = file.token.take();
                file = self.new_file(altered.into(), file.mtime_ns, Origin::Single);
                file.token = token;
            }
        }
        self.insert(path, Slot::File(file));
        Ok(answer)
    }

    fn new_file(&mut self, content: Bytes, mtime_ns: Option<i64>, origin: Origin) -> File {
        let hashes = ContentHashes::of(&content);
        let serial = self.next_serial();
        let (etag, in_parts, given_md5, token) = match origin {
            Origin::Single => (hex::encode(hashes.md5), false, None, None),
            Origin::Parts {
                etag,
                count,
                md5,
                token,
            } => (
                format!("{}-{count}", hex::encode(etag)),
                true,
                md5,
                Some(token),
            ),
        };
        let wrong = ContentHashes::of(format!("opaque {serial}").as_bytes()).md5;
        let (version, listed_hash) = match self.options.versions {
            VersionStyle::Revision => (format!("revision-{serial}"), None),
            VersionStyle::Etag if in_parts => (etag, None),
            VersionStyle::Etag => (etag, Some(Hash::md5(hashes.md5))),
            VersionStyle::OpaqueEtag => (hex::encode(wrong), Some(Hash::md5(wrong))),
        };
        let (listed_hash, hash) = match self.options.hash.map(|hash| hash.kind) {
            None => (None, None),
            Some(HashKind::Md5) if self.options.versions != VersionStyle::Revision => {
                let told = given_md5.map(Hash::md5).or_else(|| listed_hash.clone());
                (listed_hash, told)
            }
            Some(kind) => (Some(hashes.get(kind)), Some(hashes.get(kind))),
        };
        File {
            content,
            mtime_ns: self.kept_mtime(mtime_ns),
            modified_at_ns: self.now_ns(),
            version: Version(version),
            listed_hash,
            hash,
            token,
        }
    }

    pub(super) fn kept_mtime(&self, mtime_ns: Option<i64>) -> Option<i64> {
        let step = self.options.mtime_precision?;
        Some(truncated(mtime_ns?, step))
    }

    pub(super) fn entry(&self, path: &RelPath, file: &File) -> Entry {
        Entry {
            path: path.clone(),
            kind: EntryKind::File,
            size: file.content.len() as u64,
            mtime_ns: file.mtime_ns,
            modified_at_ns: Some(file.modified_at_ns),
            version: Some(file.version.clone()),
            hash: file.hash.clone(),
            id: None,
        }
    }

    pub(super) fn write_answer(&self, path: &RelPath, file: &File) -> Entry {
        let mut entry = self.entry(path, file);
        if !self.options.write_tells_modified_at {
            entry.modified_at_ns = None;
        }
        entry
    }

    fn listed_entry(&self, path: RelPath, file: &File) -> Entry {
        let mut entry = self.entry(&path, file);
        entry.hash.clone_from(&file.listed_hash);
        if !self.options.listing_has_mtime {
            entry.mtime_ns = None;
        }
        entry
    }

    /// One page of a listing, from the key `from` on, and the key where the next one begins.
    pub(super) fn page(
        &self,
        options: &ListOptions,
        from: &str,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        let below = options.below.as_ref().map(|path| self.spelled(path));
        let prefix = below.as_ref().map_or_else(String::new, dir_key);
        let folder_is_there = self.root_is_there
            && below
                .as_ref()
                .is_none_or(|path| !self.options.folders || self.is_dir(path));
        if !folder_is_there {
            return Err(Error::new(
                ErrorKind::NotFound,
                Operation::List,
                prefix.trim_end_matches('/'),
                "there is no such folder",
            ));
        }
        let mut items = Vec::new();
        let mut next = from.max(&prefix).to_owned();
        loop {
            // The folder asked for is not part of its own listing.
            let Some((key, slot)) = self
                .slots
                .range(next.clone()..)
                .find(|(key, _)| **key != prefix)
                .filter(|(key, _)| key.starts_with(&prefix))
            else {
                return Ok((items, None));
            };
            if items.len() == self.options.page_size {
                return Ok((items, Some(next)));
            }
            next = self.list_slot(key, slot, &prefix, options, &mut items);
        }
    }

    /// Adds what `key` stands for; says from which key on to go on.
    fn list_slot(
        &self,
        key: &str,
        slot: &Slot,
        prefix: &str,
        options: &ListOptions,
        items: &mut Vec<Listed>,
    ) -> String {
        let after_key = format!("{key}\0");
        let skipped = options.skip.iter().map(dir_key);
        if let Some(folder) = skipped.into_iter().find(|folder| key.starts_with(folder)) {
            return after_folder(&folder);
        }
        if options.shallow
            && let Some((name, _)) = key[prefix.len()..].split_once('/')
            && let Ok(path) = RelPath::new(&format!("{prefix}{name}"))
        {
            let folder = dir_key(&path);
            items.push(Listed::Entry(Entry::dir(path)));
            return after_folder(&folder);
        }
        if let Slot::Unusable(reason) = slot {
            items.push(Listed::Unusable {
                key: key.to_owned(),
                reason: reason.clone(),
            });
            return after_key;
        }
        let Ok(path) = RelPath::new(key.trim_end_matches('/')) else {
            return after_key;
        };
        match slot {
            Slot::File(file) => items.push(Listed::Entry(self.listed_entry(path, file))),
            Slot::Dir => {
                let is_unreadable = self.unreadable.contains(&path);
                items.push(Listed::Entry(Entry::dir(path.clone())));
                if is_unreadable {
                    let error = Error::new(
                        ErrorKind::Forbidden,
                        Operation::List,
                        path.as_str(),
                        "the folder may not be read",
                    );
                    items.push(Listed::Unreadable { path, error });
                    return after_folder(key);
                }
            }
            Slot::Unusable(_) => {}
        }
        after_key
    }
}

/// Whether a condition holds; `enforced` says which of absence and version the store looks at.
pub(super) fn check_version(
    present: Option<&Version>,
    precondition: &Precondition,
    (absence, version): (bool, bool),
) -> Step<()> {
    match (precondition, present) {
        (Precondition::Absent, Some(_)) if absence => Err((
            ErrorKind::AlreadyExists,
            "something is there already".to_owned(),
        )),
        (Precondition::Version(_), None) if version => {
            Err((ErrorKind::NotFound, "nothing is there".to_owned()))
        }
        (Precondition::Version(wanted), Some(present)) if version && wanted != present => Err((
            ErrorKind::PreconditionFailed,
            format!("the version is {}", present.0),
        )),
        _ => Ok(()),
    }
}

pub(super) fn dir_key(path: &RelPath) -> String {
    format!("{path}/")
}

/// The first key behind everything in the folder whose key this is: `0` follows `/`.
fn after_folder(key: &str) -> String {
    format!("{}0", key.trim_end_matches('/'))
}

fn truncated(time_ns: i64, step: Duration) -> i64 {
    let step = i64::try_from(step.as_nanos()).unwrap_or(i64::MAX).max(1);
    time_ns.div_euclid(step).saturating_mul(step)
}
