//! Walks the items of a snapshot: what is there, in a fixed order.
//!
//! Everything goes through folder handles and one name at a time, and no link is followed, so that whoever swaps a folder
//! for a link meanwhile gets an error instead of a look elsewhere. Names are bytes. Within a folder the order is that of
//! names, a folder counting as its name plus `/`; items come in the order of their places in the snapshot.
//!
//! - What cannot be read or has gone is told as a [`FoundKind`], never as the end of the walk.
//! - What is left out on purpose is counted in [`LeftOut`]: what a pattern excludes, the contents of caches, sockets, pipes
//!   and devices, and folders on other file systems. Only folders count as mount points: overlay file systems, on
//!   which containers live, show files with the device of the layer that they come from.
//! - An item itself is never left out by a pattern, as a cache or as a mount point: it was asked for by name.
//! - Our own folder, and unfinished downloads, are left out without a word.
//!
//! Memory: the names of the folders on the way to where the walk is, and their common path once. Of a deep path only the
//! innermost folders are held open. A path of more than 64 KiB ends the walk there and is told as unreadable.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::Dir;
use ows_providers::folder::{Identity, Kind, Root, Stat, children, name};

use super::database::{COMPANIONS, Spool};
use super::entry::ArchivePath;
use super::items::{ItemRoot, Items, Only, is_temporary};
use super::manifest::{MOST_NAMES, ProblemClass};
use super::owners::Owners;
use crate::local::OWN_FOLDER;
use crate::pattern::Patterns;

/// So many of the innermost folders stay open; those above are opened again on the way back.
const OPEN_FOLDERS: usize = 32;

/// The longest path that is stored. Two of them, escaped as badly as can be, fit into a line of the index.
const LONGEST_PATH: usize = 64 << 10;

/// The file by which a folder declares itself a cache, and how it begins: <https://bford.info/cachedir/>.
const CACHE_TAG: &str = "CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The file in our own folder by which it is known, whatever folder it is in.
const OWN_MARKER: &str = "replica";

/// One thing that belongs into the snapshot, as it was when its turn came. Archiving looks again.
#[derive(Debug)]
pub struct Found {
    /// Where it belongs in the snapshot.
    pub path: ArchivePath,
    /// What it is.
    pub kind: FoundKind,
    /// The way to it; `None` for what is lost.
    pub(super) place: Option<Place>,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundKind {
    /// A regular file.
    File,
    /// A folder; what it holds follows.
    Dir {
        /// It could not be read, or not to its end: what follows is not all.
        unreadable: bool,
    },
    /// A symbolic link, never followed.
    Symlink,
    /// Nothing that can be stored; or the rest of a folder that was found before.
    Lost(ProblemClass),
}

/// The way to what was found.
#[derive(Debug)]
pub(super) struct Place {
    /// The folder that it is in.
    pub dir: Arc<Dir>,
    /// Its name there.
    pub name: OsString,
    /// What it was.
    pub stat: Stat,
    /// Its path on this host, for those who cannot be given a handle.
    pub path: PathBuf,
    /// What all of the scan have in common.
    pub shared: Arc<Shared>,
}

/// What all that one scan finds have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// Names of owners.
    pub owners: Owners,
    /// Where databases are copied to.
    pub spool: Option<Spool>,
    /// The databases whose copies hold what the files beside them hold; those that may still be met.
    folded: Mutex<Vec<ArchivePath>>,
}

impl Shared {
    /// Notes that the files beside the database `path` are not needed.
    pub fn fold(&self, path: &ArchivePath) {
        self.databases().push(path.clone());
    }

    /// Whether `path` is one of the files beside a database that was copied.
    pub fn is_folded(&self, path: &ArchivePath) -> bool {
        let mut databases = self.databases();
        // The walk is in order: a database whose last companion would stand before this is done with.
        databases.retain(|database| *path.as_bytes() <= *[database.as_bytes(), b"-wal"].concat());
        databases.iter().any(|database| {
            let rest = path.as_bytes().strip_prefix(database.as_bytes());
            rest.is_some_and(|rest| COMPANIONS.iter().any(|suffix| suffix.as_bytes() == rest))
        })
    }

    fn databases(&self) -> std::sync::MutexGuard<'_, Vec<ArchivePath>> {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// Its length when it was found; 0 for what is no file. Only an estimate of what the archive grows by.
    pub fn size(&self) -> u64 {
        match (self.kind, &self.place) {
            (FoundKind::File, Some(place)) => place.stat.size,
            _ => 0,
        }
    }
}

/// What a scan left out on purpose. No reason for exit 3.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Files and folders that a pattern excludes; a folder counts as one.
    pub excluded: u64,
    /// Folders whose contents a `CACHEDIR.TAG` declares to be a cache.
    pub caches: u64,
    /// Sockets, named pipes and devices.
    pub special: u64,
    /// Folders on other file systems that were not followed; they are stored as empty ones.
    pub mounts: u64,
    /// The first 100 of them.
    pub mount_paths: Vec<ArchivePath>,
}

/// How to walk.
#[derive(Debug, Default)]
pub struct ScanOptions {
    /// What is left out, by its path below the item's root.
    pub patterns: Patterns,
    /// Leave out the contents of folders with a valid `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Follow mount points.
    pub cross_mounts: bool,
    /// Where databases are copied to; without it they are stored as they are.
    pub spool: Option<Spool>,
}

/// Walks the items of a snapshot in a fixed order.
#[derive(Debug)]
pub struct Scan {
    patterns: Patterns,
    exclude_caches: bool,
    cross_mounts: bool,
    shared: Arc<Shared>,
    roots: std::vec::IntoIter<ItemRoot>,
    walk: Option<Walk>,
    left_out: LeftOut,
}

/// The walk through one item.
#[derive(Debug)]
struct Walk {
    root: ItemRoot,
    /// On which device it began.
    device: u64,
    /// Where it is, as a place in the snapshot: that of the innermost folder.
    path: Vec<u8>,
    frames: Vec<Frame>,
}

/// A folder on the way to where the walk is.
#[derive(Debug)]
struct Frame {
    /// How much of the path names the folder around this one.
    around: usize,
    name: OsString,
    identity: Identity,
    /// The outermost is never closed.
    handle: Option<Arc<Dir>>,
    children: std::vec::IntoIter<(OsString, Kind)>,
}

/// A name whose turn it is.
struct Turn {
    dir: Arc<Dir>,
    name: OsString,
    path: ArchivePath,
    /// The item itself, which was asked for by name.
    is_root: bool,
}

impl Scan {
    /// A scan of `items`. Nothing of them is read before the first call of `next`.
    pub fn new(items: Items, options: ScanOptions) -> Self {
        Self {
            patterns: options.patterns,
            exclude_caches: options.exclude_caches,
            cross_mounts: options.cross_mounts,
            shared: Arc::new(Shared {
                owners: Owners::of_this_host(),
                spool: options.spool,
                folded: Mutex::default(),
            }),
            roots: items.roots.into_iter(),
            walk: None,
            left_out: LeftOut::default(),
        }
    }

    /// What was left out so far.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// Begins with the next item.
    fn begin(&mut self, root: ItemRoot) -> Option<Found> {
        let path = root.prefix.clone();
        let name = root.path.file_name().unwrap_or(OsStr::new("."));
        let parent = root.path.parent().unwrap_or(&root.path);
        let opened = Root::open(parent).and_then(|parent| parent.dir().try_clone());
        let turn = Turn {
            dir: match opened {
                Ok(dir) => Arc::new(dir),
                Err(error) => return Some(lost(path, &error)),
            },
            name: name.to_owned(),
            path,
            is_root: true,
        };
        self.walk = Some(Walk {
            device: 0,
            path: Vec::new(),
            frames: Vec::new(),
            root,
        });
        self.look(turn)
    }

    /// The next name of the innermost folder.
    fn step(&mut self, name: OsString, listed: Kind) -> Option<Found> {
        let walk = self.walk.as_mut()?;
        let path = [&walk.path, &b"/"[..], name.as_bytes()].concat();
        let path = match ArchivePath::new(path) {
            Ok(path) if path.as_bytes().len() <= LONGEST_PATH => path,
            _ => {
                let folder = ArchivePath::new(walk.path.clone()).ok()?;
                return Some(Found::lost(folder, ProblemClass::Unreadable));
            }
        };
        if walk.is_never_stored(&path, &name, listed) {
            return None;
        }
        if is_excluded(&self.patterns, &walk.root, &path, listed) {
            self.left_out.excluded += 1;
            return None;
        }
        let dir = match walk.handle() {
            Ok(dir) => dir,
            Err(error) => {
                let folder = ArchivePath::new(walk.path.clone()).ok()?;
                walk.leave();
                return Some(lost(folder, &error));
            }
        };
        self.look(Turn {
            dir,
            name,
            path,
            is_root: false,
        })
    }

    /// Looks at a name, which may have become something else since it was listed.
    fn look(&mut self, turn: Turn) -> Option<Found> {
        let stat = match look_twice(&turn.dir, &turn.name) {
            Ok(Some(stat)) => stat,
            Ok(None) => return Some(Found::lost(turn.path, ProblemClass::Vanished)),
            Err(error) => return Some(lost(turn.path, &error)),
        };
        let walk = self.walk.as_ref()?;
        let is_transcript = turn.name.as_bytes().ends_with(b".jsonl");
        match stat.kind {
            Kind::Dir => self.folder(turn, stat),
            _ if walk.root.only == Only::Transcripts && !is_transcript => None,
            Kind::File => Some(self.found(turn, FoundKind::File, stat)),
            Kind::Symlink => Some(self.found(turn, FoundKind::Symlink, stat)),
            Kind::Fifo | Kind::Socket | Kind::Device | Kind::Other => {
                self.left_out.special += 1;
                None
            }
        }
    }

    fn found(&self, turn: Turn, kind: FoundKind, stat: Stat) -> Found {
        let path = self
            .walk
            .as_ref()
            .map(|walk| {
                walk.root
                    .path
                    .join(OsStr::from_bytes(walk.below(&turn.path)))
            })
            .unwrap_or_default();
        Found {
            path: turn.path,
            kind,
            place: Some(Place {
                dir: turn.dir,
                name: turn.name,
                stat,
                path,
                shared: Arc::clone(&self.shared),
            }),
        }
    }

    /// Enters a folder, unless something speaks against it.
    fn folder(&mut self, turn: Turn, seen: Stat) -> Option<Found> {
        let walk = self.walk.as_mut()?;
        // What was listed as something else and is a folder now was not compared with the patterns for folders.
        if !turn.is_root && is_excluded(&self.patterns, &walk.root, &turn.path, Kind::Dir) {
            self.left_out.excluded += 1;
            return None;
        }
        let opened =
            name::open_dir(&turn.dir, &turn.name).and_then(|dir| Ok((name::fstat(&dir)?, dir)));
        let (stat, dir) = match opened {
            Ok(opened) => opened,
            Err(error) if is_gone(&error) => {
                return Some(Found::lost(turn.path, ProblemClass::Vanished));
            }
            Err(error) => {
                tracing::debug!(path = %turn.path, %error, "a folder cannot be read");
                return Some(self.found(turn, FoundKind::Dir { unreadable: true }, seen));
            }
        };
        if turn.is_root {
            walk.device = stat.identity.device;
        } else if stat.identity.device != walk.device && !self.cross_mounts {
            self.left_out.mounts += 1;
            if self.left_out.mount_paths.len() < MOST_NAMES {
                self.left_out.mount_paths.push(turn.path.clone());
            }
            return Some(self.found(turn, FoundKind::Dir { unreadable: false }, stat));
        }
        if walk.root.in_workspace && turn.name == OWN_FOLDER && is_ours(&dir) {
            return None;
        }
        let mut unreadable = false;
        let children = if self.exclude_caches && !turn.is_root && is_cache(&dir) {
            self.left_out.caches += 1;
            vec![(OsString::from(CACHE_TAG), Kind::File)]
        } else {
            children(&dir).unwrap_or_else(|error| {
                tracing::debug!(path = %turn.path, %error, "a folder cannot be listed");
                unreadable = true;
                Vec::new()
            })
        };
        walk.enter(&turn, stat.identity, dir, children);
        Some(self.found(turn, FoundKind::Dir { unreadable }, stat))
    }
}

impl Iterator for Scan {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let found = match self.walk.as_mut().and_then(|walk| walk.frames.last_mut()) {
                None => {
                    let root = self.roots.next()?;
                    self.begin(root)
                }
                Some(frame) => match frame.children.next() {
                    Some((name, listed)) => self.step(name, listed),
                    None => {
                        if let Some(walk) = &mut self.walk {
                            walk.leave();
                        }
                        None
                    }
                },
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

impl Found {
    fn lost(path: ArchivePath, class: ProblemClass) -> Self {
        Self {
            path,
            kind: FoundKind::Lost(class),
            place: None,
        }
    }
}

/// What an error at `path` means for the snapshot.
fn lost(path: ArchivePath, error: &io::Error) -> Found {
    tracing::debug!(%path, %error, "this cannot be looked at");
    let class = if is_gone(error) {
        ProblemClass::Vanished
    } else {
        ProblemClass::Unreadable
    };
    Found::lost(path, class)
}

/// Whether what was there gave way to something else or to nothing.
pub(super) fn is_gone(error: &io::Error) -> bool {
    ows_providers::folder::is_link_error(error)
        || matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::StaleNetworkFileHandle
        )
}

/// A name that was listed and is gone may be in the middle of being replaced: it is absent when a second look agrees.
pub(super) fn look_twice(dir: &Dir, name: &OsStr) -> io::Result<Option<Stat>> {
    match name::lstat(dir, name)? {
        Some(stat) => Ok(Some(stat)),
        None => name::lstat(dir, name),
    }
}

fn is_excluded(patterns: &Patterns, root: &ItemRoot, path: &ArchivePath, kind: Kind) -> bool {
    let below = below(root, path);
    match kind {
        Kind::Dir => patterns.excludes_folder_bytes(below),
        _ => patterns.is_excluded_file_bytes(below),
    }
}

/// `path` without the place of its item.
fn below<'path>(root: &ItemRoot, path: &'path ArchivePath) -> &'path [u8] {
    let rest = path.as_bytes().strip_prefix(root.prefix.as_bytes());
    rest.and_then(|rest| rest.strip_prefix(b"/"))
        .unwrap_or_default()
}

/// Whether a folder named as ours carries our marker: that of a pair which the configuration no longer has.
fn is_ours(dir: &Dir) -> bool {
    matches!(name::lstat(dir, OsStr::new(OWN_MARKER)), Ok(Some(stat)) if stat.kind == Kind::File)
}

fn is_cache(dir: &Dir) -> bool {
    let Ok((tag, _)) = name::open_regular(dir, OsStr::new(CACHE_TAG)) else {
        return false;
    };
    let mut begin = [0; CACHE_SIGNATURE.len()];
    tag.read_exact_at(&mut begin, 0).is_ok() && begin == *CACHE_SIGNATURE
}

impl Walk {
    fn below<'path>(&self, path: &'path ArchivePath) -> &'path [u8] {
        below(&self.root, path)
    }

    fn is_never_stored(&self, path: &ArchivePath, name: &OsStr, listed: Kind) -> bool {
        let below = Path::new(OsStr::from_bytes(self.below(path)));
        self.root.holes.iter().any(|hole| hole == below)
            || (listed == Kind::File && is_temporary(name))
    }

    fn enter(&mut self, turn: &Turn, identity: Identity, dir: Dir, names: Vec<(OsString, Kind)>) {
        let around = std::mem::replace(&mut self.path, turn.path.as_bytes().to_vec()).len();
        self.frames.push(Frame {
            around,
            name: turn.name.clone(),
            identity,
            handle: Some(Arc::new(dir)),
            children: names.into_iter(),
        });
        if let Some(index) = self.frames.len().checked_sub(OPEN_FOLDERS + 1)
            && index > 0
        {
            self.frames[index].handle = None;
        }
    }

    /// Leaves the innermost folder.
    fn leave(&mut self) {
        if let Some(frame) = self.frames.pop() {
            self.path.truncate(frame.around);
        }
    }

    /// The innermost folder, opened again when it was closed.
    fn handle(&mut self) -> io::Result<Arc<Dir>> {
        let open = self.frames.iter().rposition(|frame| frame.handle.is_some());
        let mut current: Option<Arc<Dir>> = None;
        let count = self.frames.len();
        for (index, frame) in self.frames.iter_mut().enumerate().skip(open.unwrap_or(0)) {
            let next = match (&frame.handle, &current) {
                (Some(handle), _) => Arc::clone(handle),
                (None, None) => return Err(io::ErrorKind::NotFound.into()),
                (None, Some(around)) => {
                    let again = name::open_dir(around, &frame.name)?;
                    if name::fstat(&again)?.identity != frame.identity {
                        // Another folder has its name now.
                        return Err(io::ErrorKind::NotFound.into());
                    }
                    Arc::new(again)
                }
            };
            if index + OPEN_FOLDERS >= count {
                frame.handle = Some(Arc::clone(&next));
            }
            current = Some(next);
        }
        current.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests;
