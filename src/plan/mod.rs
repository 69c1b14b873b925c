//! What a run will do, decided without doing anything.
//!
//! Three trees (local, remote, base) arrive as one stream of [`Triple`]s in the order of
//! [`SortKey`]. [`decide()`] looks at one triple. Where times and versions do not prove what
//! happened it asks a [`Question`] about content, which the caller answers by reading; [`Planner`] keeps only what is
//! different, recognises moves, puts the actions into phases, and gives a [`Plan`]. The [`guards`] look at the finished
//! plan.
//!
//! Pure: no I/O, no clock, no randomness, no async. The same triples and answers give the same plan.
//!
//! # The table for one-way runs
//!
//! *Source* is the side that is the truth (push: local, pull: remote), *target* the side that follows. A side is
//! *absent*, *same* as the base, *changed* against it, *new* (no base row), or *unknown*. `=` means equal content.
//!
//! | base | source  | target  | outcome |
//! |------|---------|---------|---------|
//! | any  | unknown | any     | left alone, reported |
//! | any  | any     | unknown | left alone, reported |
//! | yes  | absent  | absent  | forget the row |
//! | yes  | absent  | same    | delete at the target, to the trash |
//! | yes  | absent  | changed | delete at the target, to the trash (a stray edit) |
//! | yes  | same    | absent  | transfer again |
//! | yes  | same    | same    | nothing |
//! | yes  | same    | changed | `=`: record; else transfer, the edit goes to the trash |
//! | yes  | changed | absent  | transfer |
//! | yes  | changed | same    | transfer |
//! | yes  | changed | changed | `=`: record; else transfer, the edit goes to the trash |
//! | no   | absent  | absent  | cannot occur |
//! | no   | absent  | new     | delete at the target, to the trash (a stray file) |
//! | no   | new     | absent  | transfer |
//! | no   | new     | new     | `=`: record; else transfer, the target's goes to the trash |
//!
//! # Caution
//!
//! A run that cannot rely on what the base says of the past does less. [`Caution`] changes these outcomes, and no other:
//!
//! | outcome of the table | [`Caution::OnlyAdd`] | [`Caution::RolledBack`] |
//! |----------------------|----------------------|-------------------------|
//! | transfer, target absent | the same | the same |
//! | transfer, target there | left alone, reported | the same, and what is displaced is kept, our own versions too |
//! | delete | left alone, reported | left alone, reported, and the row is forgotten |
//! | a move | transfer; the old name is left alone as a delete is | the same |
//! | forget, record, nothing | the same | the same |
//!
//! [`Caution::OnlyOwn`] is for a push into a remote that another workspace pushes into, too. What was done there may be
//! its work, so only what was done *here* is carried over:
//!
//! | base | local   | remote  | outcome |
//! |------|---------|---------|---------|
//! | yes  | absent  | same    | the same: deleted here |
//! | yes  | absent  | changed | left alone, reported |
//! | yes  | same    | absent  | left alone, reported |
//! | yes  | same    | changed | left alone, reported, and not read: every run would read it again |
//! | yes  | changed | any     | the same: changed here |
//! | no   | new     | any     | the same: new here |
//! | no   | absent  | new     | left alone, reported |
//!
//! A move is a delete and a creation of our own, and stays one. A folder in which something is left alone stays.
//! Whatever is left alone is so for both workspaces, and what one of them has carried over is in its base: when people
//! stop, both are quiet.
//!
//! Something that needs the name of what was left alone is left alone too.
//!
//! A file and a folder of one name are two rows, `a` and `a/`: a change of type is a delete of one and a creation of the
//! other, and [`Planner`] lets the delete go first. Folders follow the same table; two folders are always `=`.
//! Where the remote has no folders of its own, rows of folders do not take part.

pub mod bisync;
mod collisions;
mod decide;
mod fate;
mod folders;
pub mod guards;
pub mod mailbox;
pub mod merge;
mod moves;
mod planner;
#[cfg(test)]
mod tests;
mod unknown;

use ows_providers::{EntryKind, RelPath, SortKey};
use serde::Serialize;

use crate::tree::{BaseRow, LocalFingerprint, RemoteStamp};

pub use decide::decide;
pub use fate::{Fate, Fates};
pub use planner::{Caution, Planner, Resolve, Rules};
pub use unknown::UnknownPaths;

/// Which way content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The remote is made equal to the local folder.
    Push,
    /// The local folder is made equal to the remote.
    Pull,
    /// Both get what only the other has; nothing is deleted. See [`merge`].
    Merge,
    /// Each side gets what was done on the other. See [`bisync`].
    Both,
}

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The folder on this host.
    Local,
    /// The folder in the cloud.
    Remote,
}

/// What is known about one path.
#[derive(Debug, Clone)]
pub struct Triple {
    /// Path and kind.
    pub key: SortKey,
    /// What was agreed.
    pub base: Option<BaseRow>,
    /// What the local side holds.
    pub local: Option<LocalFingerprint>,
    /// What the remote holds.
    pub remote: Option<RemoteStamp>,
    /// The local side could not be observed here: an absence means nothing.
    pub local_unknown: bool,
    /// The remote could not be observed here: an absence means nothing.
    pub remote_unknown: bool,
    /// The local file is to be read although it looks unchanged.
    pub audit: bool,
    /// What reading has shown since.
    pub answers: Answers,
}

impl Triple {
    /// A triple about which nothing is known yet.
    pub fn new(key: SortKey) -> Self {
        Self {
            key,
            base: None,
            local: None,
            remote: None,
            local_unknown: false,
            remote_unknown: false,
            audit: false,
            answers: Answers::default(),
        }
    }
}

/// What reading content has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Whether the local content is that of the base.
    pub local_is_base: Option<bool>,
    /// Whether both sides hold the same content.
    pub sides_equal: Option<bool>,
    /// Which side's content is newer, by [`merge::newer`].
    pub newer: Option<Side>,
    /// The local file could not be read, or changed while it was read: left for the next run, with the reason.
    pub failed: Option<String>,
}

/// Something that only content can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Does the local file still hold what the base records?
    LocalIsBase,
    /// Do both sides hold the same content? They have the same size.
    SidesEqual,
    /// Which side's content is newer? It is another one on each.
    Newer,
    /// What is the BLAKE3 of the local file? Asked when it may be the new name of a file that went away.
    LocalHash,
}

/// What is done to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// The local file goes to the remote.
    Upload,
    /// The remote file comes to the local folder.
    Download,
    /// The local file or folder is removed; a file goes to the local trash, unless it is switched off.
    DeleteLocal,
    /// The remote file or folder is removed; see [`Fate`].
    DeleteRemote,
    /// The remote file gets this action's path as its new name.
    MoveRemote {
        /// Its old name.
        from: Box<RelPath>,
        /// The base row of the old name.
        old: Box<BaseRow>,
    },
    /// The local file gets this action's path as its new name, which it has in the remote already.
    MoveLocal {
        /// Its old name.
        from: Box<RelPath>,
        /// The base row of the old name.
        old: Box<BaseRow>,
    },
    /// The folder is created locally.
    CreateDirLocal,
    /// The folder is created in the remote.
    CreateDirRemote,
    /// The sides hold different things: one keeps the name, the other is copied to a name beside it on both sides.
    Conflict {
        /// Who keeps the name.
        keeps: Keeps,
    },
}

/// Who keeps the name in a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// The local file.
    Local,
    /// The remote file.
    Remote,
    /// A folder, which is on the side where there is no file.
    Folder,
}

impl Op {
    /// The operation's name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Download => "download",
            Self::DeleteLocal => "delete_local",
            Self::DeleteRemote => "delete_remote",
            Self::MoveRemote { .. } => "move_remote",
            Self::MoveLocal { .. } => "move_local",
            Self::CreateDirLocal => "create_dir_local",
            Self::CreateDirRemote => "create_dir_remote",
            Self::Conflict { .. } => "conflict",
        }
    }

    /// The side that is changed; of both of them, the remote.
    pub fn writes_to(&self) -> Side {
        match self {
            Self::Download | Self::DeleteLocal | Self::MoveLocal { .. } | Self::CreateDirLocal => {
                Side::Local
            }
            Self::Upload
            | Self::DeleteRemote
            | Self::MoveRemote { .. }
            | Self::CreateDirRemote
            | Self::Conflict { .. } => Side::Remote,
        }
    }

    /// The side that is deleted from, if it is a delete.
    pub fn deletes_from(&self) -> Option<Side> {
        match self {
            Self::DeleteLocal => Some(Side::Local),
            Self::DeleteRemote => Some(Side::Remote),
            _ => None,
        }
    }
}

/// Why something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// New on the side that is the truth.
    New(Side),
    /// Changed on the side that is the truth.
    Changed(Side),
    /// Gone from the side that follows.
    Missing(Side),
    /// Changed on the side that follows, where changes do not count.
    Edited(Side),
    /// Differs, and no base tells which side changed.
    Differs(Side),
    /// Deleted on the side that is the truth.
    Deleted(Side),
    /// On the side that follows, and never on the other.
    Stray(Side),
    /// Renamed on the side that is the truth.
    Renamed(Side),
    /// Different on both sides; this one's is the newer, or cannot be told to be the older.
    Newer(Side),
    /// A file on one side, and a folder on this one.
    FolderHasName(Side),
    /// Changed on this side and deleted on the other: the change wins.
    Revived(Side),
    /// A folder that was deleted on the other side, and that keeps something on this one.
    Occupied(Side),
}

impl Reason {
    /// The reason in words. [`Action::told`] adds what becomes of content that gives way.
    pub fn text(self) -> &'static str {
        use Side::{Local, Remote};
        match self {
            Self::New(Local) => "new in the workspace",
            Self::New(Remote) => "new in the remote",
            Self::Changed(Local) => "changed in the workspace",
            Self::Changed(Remote) => "changed in the remote",
            Self::Missing(Local) => "missing in the workspace",
            Self::Missing(Remote) => "missing in the remote",
            Self::Edited(Local) => "edited in the workspace, where the remote is the truth",
            Self::Edited(Remote) => "edited in the remote, where the workspace is the truth",
            Self::Differs(Local) => "the workspace holds other content",
            Self::Differs(Remote) => "the remote holds other content",
            Self::Deleted(Local) => "deleted in the workspace",
            Self::Deleted(Remote) => "deleted in the remote",
            Self::Stray(Local) => "not in the remote",
            Self::Stray(Remote) => "not in the workspace",
            Self::Renamed(Local) => "renamed in the workspace",
            Self::Renamed(Remote) => "renamed in the remote",
            Self::Newer(Local) => {
                "differs, and the workspace's keeps the name; the remote's is kept beside it as `.conflict`"
            }
            Self::Newer(Remote) => {
                "differs, and the remote's keeps the name; the workspace's is kept beside it as `.conflict`"
            }
            Self::Revived(Local) => {
                "changed in the workspace and deleted in the remote: the change wins"
            }
            Self::Revived(Remote) => {
                "changed in the remote and deleted in the workspace: the change wins"
            }
            Self::Occupied(Local) => {
                "deleted in the remote, but something in it stays in the workspace"
            }
            Self::Occupied(Remote) => {
                "deleted in the workspace, but something in it stays in the remote"
            }
            Self::FolderHasName(Local) => {
                "a folder in the workspace has its name; the file is kept beside it as `.conflict`"
            }
            Self::FolderHasName(Remote) => {
                "a folder in the remote has its name; the file is kept beside it as `.conflict`"
            }
        }
    }

    /// Whether a person should hear of it even in a short report: something was changed on the side that follows.
    pub fn is_surprise(self) -> bool {
        matches!(
            self,
            Self::Edited(_)
                | Self::Stray(_)
                | Self::Differs(_)
                | Self::Newer(_)
                | Self::FolderHasName(_)
                | Self::Revived(_)
        )
    }
}

/// One step of a plan. The first push of a large folder has one for each file, so what most of them do without lies in
/// boxes of its own.
#[derive(Debug, Clone)]
pub struct Action {
    /// Path and kind.
    pub key: SortKey,
    /// What is done.
    pub op: Op,
    /// Why.
    pub reason: Reason,
    /// The local side as it was observed: what the step relies on.
    pub local: Option<Box<LocalFingerprint>>,
    /// The remote side as it was observed: what the step relies on.
    pub remote: Option<Box<RemoteStamp>>,
    /// The base row of a file that went away on one side, and that may have been renamed there.
    pub base: Option<Box<BaseRow>>,
    /// Whether the base has a row for the path.
    pub is_known: bool,
    /// What the step displaces goes to the trash first.
    pub keep_displaced: bool,
    /// Which sides hold other content than the base records.
    pub changed: Changed,
}

/// On which sides the content of a file is not that of the base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// The local one.
    pub local: bool,
    /// The remote one.
    pub remote: bool,
    /// The local one, and neither its size nor its times show it.
    pub unseen: bool,
}

impl Changed {
    /// Whether it is changed on that side.
    pub fn on(self, side: Side) -> bool {
        match side {
            Side::Local => self.local,
            Side::Remote => self.remote,
        }
    }
}

impl Action {
    /// Whether it undoes in the remote what was done there, rather than carry over what was done in the workspace: the
    /// affair of [`Caution::OnlyOwn`].
    pub fn undoes_remote(&self) -> bool {
        !decide::is_own(self)
    }

    /// Bytes that the step moves over the network.
    pub fn bytes(&self) -> u64 {
        let (up, down) = self.bytes_each_way();
        up + down
    }

    /// Bytes that the step sends, and those that it receives.
    pub fn bytes_each_way(&self) -> (u64, u64) {
        let local = self.local.as_ref().map_or(0, |local| local.size);
        let remote = self.remote.as_ref().map_or(0, |remote| remote.size);
        match self.op {
            Op::Upload => (local, 0),
            Op::Download => (0, remote),
            // The copy goes up too, wherever it came from.
            Op::Conflict { keeps } => match keeps {
                Keeps::Local => (local + remote, remote),
                Keeps::Remote | Keeps::Folder => (
                    local + if self.local.is_some() { 0 } else { remote },
                    remote,
                ),
            },
            _ => (0, 0),
        }
    }
}

/// A change of the base that needs no action on either side.
#[derive(Debug, Clone)]
pub enum Record {
    /// Both sides hold the same content, or a time has changed: this is now agreed.
    Agree(Box<BaseRow>),
    /// The listing tells when our upload was stored, and nothing else has changed. After a first push that is so for
    /// every file, so this carries no row.
    Stored {
        /// Path and kind.
        key: SortKey,
        /// When it was stored, nanoseconds since the epoch.
        modified_at_ns: i64,
    },
    /// The path is gone on both sides, or no longer takes part.
    Forget(SortKey),
}

/// A path that is left alone in this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The path, or the name as it is stored.
    pub path: String,
    /// Why, in words.
    pub reason: String,
}

/// How many files there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Files in the base.
    pub base: u64,
    /// Files listed locally.
    pub local: u64,
    /// Files listed in the remote.
    pub remote: u64,
}

impl Totals {
    /// Files listed on one side.
    pub fn listed(&self, side: Side) -> u64 {
        match side {
            Side::Local => self.local,
            Side::Remote => self.remote,
        }
    }

    /// Whether the remote holds so much less than was agreed on that its listing deserves a second look.
    pub fn has_shrunk(&self) -> bool {
        self.base > 20 && self.remote < self.base / 2
    }
}

/// What a run will do, in phases; within a phase the order does not matter but for [`Plan::deletes`] and
/// [`Plan::create_dirs`].
#[derive(Debug, Default)]
pub struct Plan {
    /// Changes of the base alone.
    pub records: Vec<Record>,
    /// Deletes that make room for something of the other type at the same name; before anything is created.
    pub clears: Vec<Action>,
    /// Folders to create, outer ones first.
    pub create_dirs: Vec<Action>,
    /// Moves within one side.
    pub moves: Vec<Action>,
    /// Uploads and downloads.
    pub transfers: Vec<Action>,
    /// Conflicts, when what lies under the names for their copies has come to both sides.
    pub conflicts: Vec<Action>,
    /// Deletes, last; what lies in a folder before the folder.
    pub deletes: Vec<Action>,
    /// Paths that are left alone and make the run incomplete.
    pub skipped: Vec<Skipped>,
    /// How many of them were left alone out of caution alone.
    pub withheld: u64,
    /// How many of them could not be decided, since their content could not be read.
    pub undecided: u64,
    /// Files that need nothing.
    pub unchanged: u64,
    /// What was counted on the way.
    pub totals: Totals,
    /// How careful the plan is, and whoever carries it out has to be.
    pub caution: Caution,
    /// Something that was edited on one side is given the name that it got on the other, and the edit is left for another
    /// pass, which is to follow at once.
    pub again: bool,
    /// A folder that cannot be deleted, since something is in it that the plan knows nothing of, is created again on the
    /// other side.
    pub brings_back: bool,
}

impl Plan {
    /// All actions in the order of their phases.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.clears
            .iter()
            .chain(&self.create_dirs)
            .chain(&self.moves)
            .chain(&self.transfers)
            .chain(&self.conflicts)
            .chain(&self.deletes)
    }

    /// Whether there is nothing to do on either side. The base may still need a record.
    pub fn is_quiet(&self) -> bool {
        self.actions().next().is_none()
    }

    /// Files that would be deleted on `side`; moves are not counted.
    pub fn deletes_on(&self, side: Side) -> impl Iterator<Item = &Action> {
        self.actions().filter(move |action| {
            action.op.deletes_from() == Some(side) && action.key.kind == EntryKind::File
        })
    }

    /// Files whose content was changed on `side` since the last run. Those that changed alike on both sides need nothing
    /// and are not among them.
    pub fn changes_on(&self, side: Side) -> impl Iterator<Item = &Action> {
        self.actions()
            .filter(move |action| action.changed.on(side) && action.key.kind == EntryKind::File)
    }
}
