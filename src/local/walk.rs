//! Looking at the folder: what is there, and what cannot be known.

use std::io;

use ows_providers::folder::{
    self, Found, Kind, LinkProblem, MODE_PROBE, Step, Walk, is_link_error, now_ns,
};
use ows_providers::{EntryKind, RelPath, SortKey};

use super::error::Context;
use super::{LocalError, LocalErrorKind, LocalFolder, OWN_FOLDER, ReplicaId, fingerprint, is_hex};
use crate::tree::LocalFingerprint;

/// How the names of our temporary files begin.
const TEMP_PREFIX: &str = ".ows-tmp-";

/// Says whether a path is left out.
pub type SkipFn = Box<dyn Fn(&RelPath) -> bool + Send>;

/// What to walk. Our own folder is always left out.
pub struct WalkOptions {
    /// Only what lies below this folder; everything without one.
    pub below: Option<RelPath>,
    /// Files that are left out.
    pub skip_file: SkipFn,
    /// Folders that are left out, with everything below.
    pub skip_folder: SkipFn,
    /// Whose temporary files are told as [`Observed::Leftover`]; those of others are files like any other.
    pub replica: Option<ReplicaId>,
}

impl Default for WalkOptions {
    fn default() -> Self {
        Self {
            below: None,
            skip_file: Box::new(|_| false),
            skip_folder: Box::new(|_| false),
            replica: None,
        }
    }
}

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEntry {
    /// Where, and which of the two.
    pub key: SortKey,
    /// What tells this content from the next; without a hash.
    pub fingerprint: LocalFingerprint,
    /// How many names the file has: with more than one, replacing it breaks a hard link.
    pub hard_links: u64,
}

/// One thing that is met when looking.
#[derive(Debug)]
pub enum Observed {
    /// A file or folder.
    Entry(LocalEntry),
    /// Something is there, but what it holds is unknown: nothing at this path or below it may be deleted or replaced on
    /// either side.
    ///
    /// It concerns the path both as a file and as a folder. A walk may tell it after keys that it concerns: a folder may
    /// turn out unreadable half-way, and a link sorts like a file.
    Unknown {
        /// Where.
        path: RelPath,
        /// Why.
        reason: UnknownReason,
    },
    /// A name that is not UTF-8; it has no path here. Nothing near it is to be deleted.
    NotUtf8 {
        /// The folder that holds it; `None` is the root.
        parent: Option<RelPath>,
        /// The name as far as it can be shown, control characters escaped.
        shown: String,
    },
    /// A temporary file that a run of this replica left behind; [`LocalFolder::remove_leftover`] takes it away.
    Leftover(RelPath),
}

/// Why something is unknown.
#[derive(Debug, thiserror::Error)]
pub enum UnknownReason {
    /// A symbolic link, at the path or above it, and links are not followed.
    #[error("a symbolic link, which is not followed")]
    Symlink,
    /// A link that is to be followed and cannot be.
    #[error("a symbolic link that cannot be followed")]
    Link(#[source] LinkProblem),
    /// A pipe, socket or device; never opened.
    #[error("a {}", .0.describe())]
    Special(Kind),
    /// It became something else while the folder was walked.
    #[error("it was replaced while the folder was read")]
    Changed,
    /// It could not be read.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
}

impl UnknownReason {
    /// Whether the next run will find the same: a skipped link or special file, which is no failure.
    pub fn is_skipped(&self) -> bool {
        matches!(self, Self::Symlink | Self::Link(_) | Self::Special(_))
    }
}

/// A walk over the folder in the order of [`SortKey`].
pub struct LocalWalk {
    inner: Walk,
    replica: Option<ReplicaId>,
}

impl Iterator for LocalWalk {
    type Item = Observed;

    fn next(&mut self) -> Option<Observed> {
        // Read before the file is looked at: a change after the look is then never older than the observation.
        let observed_at_ns = now_ns();
        let step = self.inner.next()?;
        Some(match step {
            Step::Found(found) if is_leftover(&found, self.replica.as_ref()) => {
                Observed::Leftover(found.path)
            }
            Step::Found(found) => Observed::Entry(entry(found, observed_at_ns)),
            Step::Other { path, kind } => Observed::Unknown {
                path,
                reason: reason_for(kind),
            },
            Step::Link { path, problem } => Observed::Unknown {
                path,
                reason: UnknownReason::Link(problem),
            },
            Step::Changed { path } => Observed::Unknown {
                path,
                reason: UnknownReason::Changed,
            },
            Step::Unreadable { path, error } => Observed::Unknown {
                path,
                reason: UnknownReason::Unreadable(error),
            },
            Step::NotUtf8 { parent, name } => Observed::NotUtf8 {
                parent,
                shown: name.to_string_lossy().escape_debug().to_string(),
            },
        })
    }
}

impl LocalFolder {
    /// Walks the folder in the order of [`SortKey`], looking at each path when its turn comes. Memory is the names of
    /// the folders on the way to where the walk is.
    ///
    /// # Errors
    /// When the folder to begin with cannot be read at all.
    pub fn walk(&self, options: WalkOptions) -> Result<LocalWalk, LocalError> {
        let WalkOptions {
            below,
            skip_file,
            skip_folder,
            replica,
        } = options;
        let start = match &below {
            Some(below) => below.to_string(),
            None => self.path().display().to_string(),
        };
        let temporary_of = replica.clone();
        let inner = folder::WalkOptions {
            below,
            shallow: false,
            skip: Box::new(move |path, kind| {
                if path.as_str() == OWN_FOLDER {
                    return true;
                }
                match kind {
                    Kind::File if is_temp_name(path.name(), temporary_of.as_ref()) => false,
                    Kind::File => skip_file(path),
                    Kind::Dir => skip_folder(path),
                    // What it would be, if it were anything, is not known.
                    _ => skip_file(path) || skip_folder(path),
                }
            }),
            links: self.links.clone(),
        };
        Ok(LocalWalk {
            inner: Walk::new(&self.root, inner).at("read", start)?,
            replica,
        })
    }

    /// Looks at one path: an [`Observed::Entry`] or [`Observed::Unknown`], or `None` when nothing is there.
    pub fn observe(&self, path: &RelPath) -> Option<Observed> {
        let observed_at_ns = now_ns();
        let seen = self.root.lstat(path);
        let behind_link = match &seen {
            Ok(stat) => stat.is_some_and(|stat| stat.kind == Kind::Symlink),
            Err(error) => is_link_error(error),
        };
        if behind_link && let Some(resolved) = self.resolve(path) {
            return Some(match resolved {
                Ok(resolved) => Observed::Entry(entry(
                    Found {
                        path: path.clone(),
                        stat: resolved.stat,
                    },
                    observed_at_ns,
                )),
                Err(problem) => Observed::Unknown {
                    path: path.clone(),
                    reason: UnknownReason::Link(problem),
                },
            });
        }
        let reason = match seen {
            Ok(None) => return None,
            Ok(Some(stat)) if matches!(stat.kind, Kind::File | Kind::Dir) => {
                let path = path.clone();
                return Some(Observed::Entry(entry(Found { path, stat }, observed_at_ns)));
            }
            Ok(Some(stat)) => reason_for(stat.kind),
            Err(_) if behind_link => UnknownReason::Symlink,
            Err(error) => UnknownReason::Unreadable(error),
        };
        Some(Observed::Unknown {
            path: path.clone(),
            reason,
        })
    }

    /// Removes a temporary file of a dead run. Only while no other run is under way in this folder.
    ///
    /// # Errors
    /// [`LocalErrorKind::Denied`] when the name is not one of this replica's temporary names, and what the system says.
    pub fn remove_leftover(&self, path: &RelPath, replica: &ReplicaId) -> Result<(), LocalError> {
        const DOING: &str = "remove";
        if !is_temp_name(path.name(), Some(replica)) {
            return Err(LocalError::new(LocalErrorKind::Denied, DOING, path));
        }
        let (dir, last) = self.root.parent(path).at(DOING, path)?;
        super::absent_is_none(folder::name::unlink(&dir, last))
            .map(drop)
            .at(DOING, path)
    }
}

/// A temporary name of this replica, never used before.
pub(super) fn temp_name(replica: &ReplicaId) -> String {
    format!("{TEMP_PREFIX}{}-{}", replica.short(), super::random_word())
}

fn is_temp_name(name: &str, replica: Option<&ReplicaId>) -> bool {
    let Some(replica) = replica else {
        return false;
    };
    name.strip_prefix(TEMP_PREFIX)
        .and_then(|rest| rest.strip_prefix(replica.short()))
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|random| is_hex(random.strip_suffix(MODE_PROBE).unwrap_or(random), 16))
}

fn is_leftover(found: &Found, replica: Option<&ReplicaId>) -> bool {
    found.stat.kind == Kind::File && is_temp_name(found.path.name(), replica)
}

fn entry(found: Found, observed_at_ns: i64) -> LocalEntry {
    let kind = match found.stat.kind {
        Kind::Dir => EntryKind::Dir,
        _ => EntryKind::File,
    };
    LocalEntry {
        fingerprint: fingerprint(&found.stat, observed_at_ns),
        hard_links: found.stat.links,
        key: SortKey {
            path: found.path,
            kind,
        },
    }
}

fn reason_for(kind: Kind) -> UnknownReason {
    match kind {
        Kind::Symlink => UnknownReason::Symlink,
        other => UnknownReason::Special(other),
    }
}
