//! What a run is told: the pair, and how this run differs from an ordinary one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ows_providers::layers::CallCounter;
use ows_providers::{Provider, RelPath};

use super::{CheckpointPace, HostClock};
use crate::error::Failure;
use crate::plan::guards::GuardName;
use crate::plan::{Caution, Direction, Resolve};
use crate::report::Report;
use crate::state::StateFaults;

/// How the two sides of a pair stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// The workspace is the truth; files come in through `_outbox`.
    Mailbox,
    /// The remote is the truth.
    Mirror,
    /// Both sides may change.
    Bisync,
}

impl SyncMode {
    /// The mode's name in the configuration and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mailbox => "mailbox",
            Self::Mirror => "mirror",
            Self::Bisync => "bisync",
        }
    }

    /// Which way an ordinary run goes.
    pub fn direction(self) -> Direction {
        match self {
            Self::Mailbox => Direction::Push,
            Self::Mirror => Direction::Pull,
            Self::Bisync => Direction::Both,
        }
    }
}

/// What a pair's first run takes as the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstSync {
    /// Stops when something would be displaced.
    Ask,
    /// The workspace, if it is not empty and the remote has no `.ows/` yet; else as `Ask`.
    Local,
    /// The remote: fills the workspace; in mailbox mode it pushes then.
    Remote,
    /// Both: each side gets what only the other has, and what differs is kept twice. See [`crate::plan::merge`].
    Merge,
}

/// What a pair is and how it is kept in sync. The command line makes it from the configuration; a program that embeds
/// the library may make it by itself.
#[derive(Debug, Clone)]
pub struct PairSettings {
    /// How the two sides stand to each other.
    pub mode: SyncMode,
    /// The remote, with its layers.
    pub provider: Arc<dyn Provider>,
    /// Counts the calls to it.
    pub counter: Arc<CallCounter>,
    /// The local folder.
    pub local_path: PathBuf,
    /// Links are followed, if at all, only inside this folder.
    pub workspace: PathBuf,
    /// Where the database and the locks are.
    pub own_dir: PathBuf,
    /// Patterns of paths that take no part.
    pub exclude: Vec<String>,
    /// The remote folder, where the remote is a folder on this host.
    pub remote_folder: Option<PathBuf>,
    /// Where snapshots go, where that is a folder on this host.
    pub backup_folder: Option<PathBuf>,
    /// The folder beside the local one whose files are sent into the folder of the same name in the remote; in mirror
    /// mode only.
    pub ingest: Option<RelPath>,
    /// Paths below the local folder that are left out whatever the patterns say.
    pub protected: Vec<RelPath>,
    /// Follow links that stay inside the workspace.
    pub copy_symlinks: bool,
    /// Per cent; see [`crate::plan::guards::max_delete`].
    pub max_delete: u8,
    /// Per cent; see [`crate::plan::guards::max_change`].
    pub max_change: u8,
    /// See [`FirstSync`].
    pub first_sync: FirstSync,
    /// Who keeps the name in a conflict.
    pub conflict_resolve: Resolve,
    /// Keep displaced remote content.
    pub trash_remote: bool,
    /// Keep displaced local content.
    pub trash_local: bool,
    /// For how many days.
    pub trash_keep_days: u32,
    /// Keep a copy of the base in the remote.
    pub checkpoint: bool,
    /// Seconds that a dropped file must have stood still, where the provider shows files that still grow.
    pub settle: u64,
    /// Files in flight at once; the provider's own number when `None`.
    pub transfers: Option<usize>,
    /// Within so many days each file is read again, though it looks unchanged; never when `None`.
    pub audit_days: Option<u32>,
    /// How long a run may take.
    pub timeout: Duration,
}

/// How one run differs from an ordinary one.
#[derive(Debug, Clone, Default)]
pub struct SyncOptions {
    /// Plan and show, change nothing.
    pub dry_run: bool,
    /// Make one side equal to the other, without a drain.
    pub direction: Option<Direction>,
    /// Unite both sides anew, whatever the base says: nothing is deleted, and what differs is kept twice. In bisync mode
    /// only.
    pub resync: bool,
    /// Guards that this run may pass.
    pub force: BTreeSet<GuardName>,
    /// Wait so long for another run to end.
    pub wait: Duration,
    /// Instead of the pair's own limit.
    pub timeout: Option<Duration>,
    /// Set a damaged database aside first.
    pub rebuild_state: bool,
    /// Keep every action in the report, not only of a dry run.
    pub keep_actions: bool,
    /// Shared by the runs of a process that makes many; without it each run stores its checkpoint at its end.
    pub checkpoint_pace: Option<Arc<CheckpointPace>>,
    /// Rely less on the base than an ordinary run does; for whoever knows that it, or the remote, was put back in time.
    pub caution: Caution,
    /// Where the run reads the time of its own host; tests bring their own.
    pub clock: HostClock,
    /// For tests: calls to the database that fail.
    pub state_faults: Option<StateFaults>,
}

/// How a run ended: the report is complete in either case.
#[derive(Debug)]
pub struct Finished {
    /// What was done.
    pub report: Report,
    /// Why the exit code is not 0.
    pub failure: Option<Failure>,
}
