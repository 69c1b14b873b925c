//! types first
use std::ffi::OsString;
use std::sync::Arc;

use cap_std::fs::Dir;
use ows_providers::folder::Stat;

use super::database::Spool;
use super::entry::ArchivePath;
use super::items::Items;
use super::manifest::ProblemClass;
use crate::pattern::Patterns;

/// One thing that belongs into the snapshot, as it was when its turn came. Archiving looks again.
#[derive(Debug)]
pub struct Found {
    /// Where it belongs in the snapshot.
    pub path: ArchivePath,
    /// What it is.
    pub kind: FoundKind,
    pub(super) place: Option<Place>,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundKind {
    /// A regular file.
    File,
    /// A folder; what it holds follows.
    Dir {
        /// It could not be read (to its end): what follows is not all.
        unreadable: bool,
    },
    /// A symbolic link, never followed.
    Symlink,
    /// Nothing that could be stored.
    Lost(ProblemClass),
}

/// The way to what was found.
#[derive(Debug)]
pub(super) struct Place {
    pub dir: Arc<Dir>,
    pub name: OsString,
    pub stat: Stat,
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
    /// Folders on other file systems that were not followed.
    pub mounts: u64,
    /// The first of them.
    pub mount_paths: Vec<ArchivePath>,
}

/// Walks the items of a snapshot in a fixed order.
pub struct Scan {
    left_out: LeftOut,
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

impl Scan {
    /// A scan of `items`. Nothing is read before the first call of `next`.
    pub fn new(items: Items, options: ScanOptions) -> Self {
        let _ = (items, options);
        Self {
            left_out: LeftOut::default(),
        }
    }

    /// What was left out so far.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }
}

impl Iterator for Scan {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        None
    }
}
