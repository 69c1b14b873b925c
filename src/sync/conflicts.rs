//! The conflicts of a pair: what there is to settle, and settling it.
//!
//! A conflict is a file beside another one, under a name that [`merge::conflict_name`] gives. A recorded one tells whose
//! content lies in the copy; one that another host made, or whose record is lost, is known by its name alone, while
//! something lies under the name that it was made from. Without that it is an ordinary file.
//!
//! Settling works on the local folder alone: the next run carries over what was done. It removes nothing that is not in
//! the trash then, also where nothing else is kept there. Killed between its two steps it leaves one file in the trash
//! and the other under its name, and the same command goes on from there.

mod resolve;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use ows_providers::{EntryKind, RelPath, RemoteIdentity};
use serde::Serialize;

use super::status::maybe_rfc3339;
use super::{PairSettings, SyncMode, pair_id, roots};
use crate::error::{Failure, Outcome};
use crate::ids::PairId;
use crate::local::{
    LocalEntry, LocalError, LocalErrorKind, LocalFolder, Observed, ReplicaId, WalkOptions,
};
use crate::plan::merge;
use crate::report::PathProblem;
use crate::state::{ConflictRecord, State};
use crate::tree::{LocalFingerprint, Lost};

pub use resolve::{Keep, Resolved, resolve, side_name};

/// Why there is nothing to settle in mirror mode.
pub const NONE_IN_MIRROR: &str = "mirror mode makes no conflicts: the remote is the truth, and what gives way to it goes to the local trash";

/// A conflict that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The name that both sides had something under.
    pub path: RelPath,
    /// Where the content lies that gave it up.
    pub copy: RelPath,
    /// Whose content that is.
    pub lost: Lost,
    /// When the copy was made; `None` when nobody remembers.
    #[serde(serialize_with = "maybe_rfc3339")]
    pub at: Option<DateTime<Utc>>,
}

/// The conflicts of a pair, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Conflicts {
    /// By the paths of their copies.
    pub conflicts: Vec<Conflict>,
    /// Folders that could not be read: what lies there is unknown, not absent.
    pub problems: Vec<PathProblem>,
}

/// Lists the conflicts of a pair. The workspace is looked at, and the remote is not.
///
/// # Errors
/// When the local folder is missing although conflicts are recorded, or it or the database cannot be read.
pub async fn list(settings: &PairSettings) -> Outcome<Conflicts> {
    if settings.mode == SyncMode::Mirror {
        return Ok(Conflicts::default());
    }
    list_of(settings, &settings.provider.describe().await?).await
}

/// The same for a remote that has said who it is.
///
/// # Errors
/// Those of [`list`].
pub(super) async fn list_of(
    settings: &PairSettings,
    identity: &RemoteIdentity,
) -> Outcome<Conflicts> {
    if settings.mode == SyncMode::Mirror {
        return Ok(Conflicts::default());
    }
    let recorded = recorded(settings, &pair_id(identity)).await?;
    let Some(folder) = open_local(settings, recorded.len())? else {
        return Ok(Conflicts::default());
    };
    let (found, problems) = look(settings, &folder, recorded).await?;
    let conflicts = found
        .into_iter()
        .filter(|found| found.path.is_some())
        .map(|found| found.conflict)
        .collect();
    Ok(Conflicts {
        conflicts,
        problems,
    })
}

/// A conflict with what lies in the folder.
#[derive(Debug, Clone)]
struct Found {
    conflict: Conflict,
    copy: LocalFingerprint,
    /// What has the other name; nothing when it is gone.
    path: Option<Original>,
}

/// What lies under the name that a copy was made from.
#[derive(Debug, Clone)]
enum Original {
    File(LocalFingerprint),
    Folder,
    /// A link or something that cannot be read.
    Other,
}

/// What is recorded of a pair's conflicts, by their copies.
async fn recorded(
    settings: &PairSettings,
    pair: &PairId,
) -> Outcome<BTreeMap<RelPath, ConflictRecord>> {
    let Some(state) = State::open_existing(&settings.own_dir).await? else {
        return Ok(BTreeMap::new());
    };
    let rows = state.conflicts(pair).await;
    state.close().await;
    let by_copy = |row: ConflictRecord| (row.copy.clone(), row);
    Ok(rows?.into_iter().map(by_copy).collect())
}

/// `None` when there is no folder, and nothing is known to be in it. Links are not followed: nothing is changed through
/// one.
fn open_local(settings: &PairSettings, recorded: usize) -> Outcome<Option<LocalFolder>> {
    let could_not = |error: LocalError| {
        Failure::failed("could not open the local folder")
            .with_path(settings.local_path.display().to_string())
            .with_source(error)
            .with_hint("nothing was changed; if a volume is not mounted, mount it")
    };
    match LocalFolder::open(&settings.local_path) {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.kind == LocalErrorKind::NotFound && recorded == 0 => Ok(None),
        Err(error) => Err(could_not(error)),
    }
}

/// Walks the folder for copies, in the order of their paths.
async fn look(
    settings: &PairSettings,
    folder: &LocalFolder,
    recorded: BTreeMap<RelPath, ConflictRecord>,
) -> Outcome<(Vec<Found>, Vec<PathProblem>)> {
    let replica = roots::marker(folder)?.unwrap_or_else(ReplicaId::random);
    let scope = Arc::new(roots::scope_of(settings, folder, replica)?);
    let folder = folder.clone();
    let failed = || {
        Failure::failed("could not read the local folder")
            .with_path(settings.local_path.display().to_string())
    };
    let walking = tokio::task::spawn_blocking(move || {
        let (files, folders) = (Arc::clone(&scope), Arc::clone(&scope));
        let walk = folder.walk(WalkOptions {
            below: None,
            skip_file: Box::new(move |path| !files.takes_part(path)),
            skip_folder: Box::new(move |path| folders.prunes(path)),
            replica: Some(scope.replica.clone()),
        })?;
        let mut found = Vec::new();
        let mut problems = Vec::new();
        for item in walk {
            match item {
                Observed::Entry(entry) if entry.key.kind == EntryKind::File => {
                    found.extend(recognise(&folder, entry, &recorded));
                }
                Observed::Unknown { path, reason } if !reason.is_skipped() => {
                    problems.push(PathProblem {
                        path: path.to_string(),
                        message: crate::apply::chain(&reason),
                    });
                }
                _ => {}
            }
        }
        Ok((found, problems))
    });
    let walked: Result<_, LocalError> =
        walking.await.map_err(|error| failed().with_source(error))?;
    walked.map_err(|error| failed().with_source(error))
}

/// Whether a file is the copy of a conflict. Blocking.
fn recognise(
    folder: &LocalFolder,
    entry: LocalEntry,
    recorded: &BTreeMap<RelPath, ConflictRecord>,
) -> Option<Found> {
    let copy = entry.key.path;
    let by_name = merge::original_of(&copy)?;
    let found = |conflict: Conflict, path: Option<Original>| Found {
        conflict,
        copy: entry.fingerprint.clone(),
        path,
    };
    let known = recorded.get(&copy).map(|row| {
        let conflict = Conflict {
            path: row.path.clone(),
            copy: copy.clone(),
            lost: row.lost,
            at: Some(row.at),
        };
        found(conflict, original(folder, &row.path))
    });
    match known {
        // Of what was recorded nothing but the copy is left: it may be one beside another file now.
        Some(known) if known.path.is_some() || known.conflict.path == by_name => Some(known),
        known => {
            let conflict = Conflict {
                path: by_name.clone(),
                copy: copy.clone(),
                lost: Lost::Unknown,
                at: None,
            };
            match original(folder, &by_name) {
                None => known,
                there => Some(found(conflict, there)),
            }
        }
    }
}

fn original(folder: &LocalFolder, path: &RelPath) -> Option<Original> {
    match folder.observe(path)? {
        Observed::Entry(entry) if entry.key.kind == EntryKind::File => {
            Some(Original::File(entry.fingerprint))
        }
        Observed::Entry(_) => Some(Original::Folder),
        _ => Some(Original::Other),
    }
}
