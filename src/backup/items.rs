//! types first
use std::path::PathBuf;

use super::entry::ArchivePath;
use crate::config::Item;
use crate::error::Outcome;

/// Where items lie, and what is left out of all of them.
#[derive(Debug, Clone)]
pub struct ItemPlaces {
    /// The workspace.
    pub workspace: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
    /// Our own folder, wherever it is.
    pub own_dir: PathBuf,
    /// The local folder of the pair, whose `.ows` is left out.
    pub pair: Option<PathBuf>,
    /// Where snapshots go, when that is a local folder.
    pub destination: Option<PathBuf>,
}

/// What of an item is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Only {
    /// All that patterns leave.
    All,
    /// Files whose names end in `.jsonl`, and the folders that lead to them.
    Transcripts,
}

/// A file or folder that is stored with everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ItemRoot {
    pub prefix: ArchivePath,
    pub path: PathBuf,
    pub only: Only,
    /// Paths below it that are left out, relative to it.
    pub holes: Vec<PathBuf>,
}

/// The items of a snapshot, found.
#[derive(Debug, Clone)]
pub struct Items {
    pub(super) roots: Vec<ItemRoot>,
    /// The items that the snapshot holds.
    pub present: Vec<Item>,
    /// The items that do not exist.
    pub missing: Vec<Item>,
}

impl Items {
    /// Finds the items of `include`. Blocks.
    ///
    /// # Errors
    /// When the workspace is to be stored and does not exist.
    pub fn find(include: &[Item], places: &ItemPlaces) -> Outcome<Self> {
        let _ = places;
        Ok(Self {
            roots: Vec::new(),
            present: include.to_vec(),
            missing: Vec::new(),
        })
    }
}
