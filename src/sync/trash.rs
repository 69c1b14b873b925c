//! The trash of a pair, on both sides: what lies in it, how it comes back, and when it is emptied.
//!
//! Remote content lies under `.ows/trash/<run id>/<path>` in the remote, local content under the same path in the local
//! folder. What one run displaces under a name that has its copy there already lies in `<run id>.2`, and so on. The
//! provider's own bin and version history are never touched.

use std::sync::Arc;

use chrono::{DateTime, Duration, NaiveDateTime, Utc};
use futures::StreamExt;
use ows_providers::{
    Entry, EntryKind, ErrorKind, ListOptions, Listed, Precondition, Provider, RelPath,
};
use serde::Serialize;

use super::{PairLock, PairSettings};
use crate::apply::{Landing, Problem, fetch};
use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};
use crate::ids::RunId;
use crate::local::{
    Displace, Expect, LocalError, LocalErrorKind, LocalFolder, Observed, ReplicaId, Trashed,
    slot_name, split_slot,
};
use crate::plan::{Side, mailbox};
use crate::report::{PathProblem, Silent};
use crate::tree::RemoteStamp;

/// Something in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// On which side it lies.
    pub side: Side,
    /// The run that displaced it.
    pub run_id: String,
    /// Its path before that.
    pub path: RelPath,
    /// Length in bytes.
    pub size: u64,
    /// When that run began; `None` when its name tells no time.
    pub trashed_at: Option<DateTime<Utc>>,
    /// Where it lies, below the root of its side.
    pub place: RelPath,
}

impl Item {
    fn of_local(item: Trashed) -> Self {
        Self {
            side: Side::Local,
            trashed_at: run_time(&item.run),
            run_id: item.run,
            path: item.path,
            size: item.size,
            place: item.place,
        }
    }

    fn of_remote(entry: &Entry) -> Option<Self> {
        if entry.kind != EntryKind::File {
            return None;
        }
        let below = entry.path.strip_folder(&remote_trash()?)?;
        let (slot, path) = below.as_str().split_once('/')?;
        let (run, _) = split_slot(slot);
        Some(Self {
            side: Side::Remote,
            run_id: run.to_owned(),
            path: RelPath::new(path).ok()?,
            size: entry.size,
            trashed_at: run_time(run).map(|time| time.max(stored_at(entry))),
            place: entry.path.clone(),
        })
    }

    /// Which of the run's folders in the trash it lies in, from 1: a run may displace a path more than once.
    pub fn slot(&self) -> u32 {
        let below = remote_trash().and_then(|trash| self.place.strip_folder(&trash));
        let slot = below
            .as_ref()
            .and_then(|path| path.as_str().split('/').next());
        slot.map_or(1, |slot| split_slot(slot).1)
    }

    /// The name of that folder.
    pub fn slot_name(&self) -> String {
        slot_name(&self.run_id, self.slot())
    }
}

/// What lies in a trash, and what of it could not be told.
#[derive(Debug, Default)]
pub struct Contents {
    /// What was found.
    pub items: Vec<Item>,
    /// Folders that could not be read and names that cannot be used: what lies there is unknown, not absent.
    pub problems: Vec<PathProblem>,
}

/// What came of restoring several items.
#[derive(Debug, Default)]
pub struct Restored {
    /// What is back in the workspace.
    pub items: Vec<Item>,
    /// What is not, and why.
    pub failures: Vec<Failure>,
}

/// The trash of one pair.
#[derive(Debug)]
pub struct Trash {
    provider: Arc<dyn Provider>,
    local: Option<Arc<LocalFolder>>,
}

impl Trash {
    /// Opens the trash of both sides. A missing local folder has none.
    ///
    /// # Errors
    /// When the local folder is there and cannot be opened.
    pub fn open(settings: &PairSettings) -> Outcome<Self> {
        let local = match LocalFolder::open(&settings.local_path) {
            Ok(folder) => Some(Arc::new(folder)),
            Err(error) if error.kind == LocalErrorKind::NotFound => None,
            Err(error) => return Err(failed("could not open the local folder").with_source(error)),
        };
        Ok(Self {
            provider: Arc::clone(&settings.provider),
            local,
        })
    }

    /// What lies in the trash of the local folder; nothing when there is no such folder.
    ///
    /// # Errors
    /// When it could not be looked at.
    pub async fn list_of_local(settings: &PairSettings) -> Outcome<Contents> {
        match Self::open(settings)?.local {
            Some(local) => list_local(&local).await,
            None => Ok(Contents::default()),
        }
    }

    /// Keeps runs out of the local folder, which put things into its trash and remove the temporary files in it. Held
    /// until it is dropped; `None` where there is no such folder.
    ///
    /// # Errors
    /// [`crate::error::FailureKind::Busy`] when a run is in progress there.
    pub async fn lock(&self, cancel: &Cancel) -> Outcome<Option<PairLock>> {
        match &self.local {
            None => Ok(None),
            Some(local) => PairLock::take_folder(local.path(), std::time::Duration::ZERO, cancel)
                .await
                .map(Some),
        }
    }

    /// Everything in it, the oldest run first, the local side before the remote, the copies of one path by their age.
    ///
    /// # Errors
    /// When one side could not be listed at all.
    pub async fn list(&self) -> Outcome<Contents> {
        let mut found = match &self.local {
            Some(local) => list_local(local).await?,
            None => Contents::default(),
        };
        let remote = list_remote(self.provider.as_ref()).await?;
        found.items.extend(remote.items);
        found.problems.extend(remote.problems);
        let place = |item: &Item| {
            (
                item.run_id.clone(),
                item.side,
                item.path.clone(),
                item.slot(),
            )
        };
        found.items.sort_by_cached_key(place);
        Ok(found)
    }

    /// What to restore: of `path`, a file or folder, the newest copy of each file; without a path everything that the
    /// newest run displaced. `run` narrows it to one run, or, with a number behind it, to one folder of that run.
    ///
    /// # Errors
    /// When nothing fits in a trash that could be read, or it could not be listed at all.
    pub async fn select(&self, path: Option<&str>, run: Option<&str>) -> Outcome<Contents> {
        let Contents {
            mut items,
            problems,
        } = self.list().await?;
        if let Some(run) = run {
            let (of_run, number) = split_slot(run);
            items.retain(|item| {
                let is_in_folder = item.run_id == of_run && item.slot() == number;
                item.run_id == run || of_run != run && is_in_folder
            });
        }
        match path.map(|path| path.trim_end_matches('/')) {
            Some(path) => {
                let wanted = RelPath::new(path).map_err(|error| {
                    Failure::usage(format!("`{path}` does not name anything in the trash"))
                        .with_source(error)
                        .with_hint("give it as `ows trash list` shows it, such as `notes/plan.md`")
                })?;
                items.retain(|item| item.path == wanted || item.path.is_below(&wanted));
            }
            None if run.is_none() => {
                let newest = items.iter().map(|item| item.run_id.clone()).max();
                items.retain(|item| Some(&item.run_id) == newest.as_ref());
            }
            None => {}
        }
        if items.is_empty() && problems.is_empty() {
            return Err(Failure::failed("nothing in the trash fits")
                .with_hint("`ows trash list` shows what is there"));
        }
        // The newest copy of each path, which the order of the list puts last.
        let mut newest = std::collections::BTreeMap::new();
        for item in items {
            newest.insert(item.path.clone(), item);
        }
        Ok(Contents {
            items: newest.into_values().collect(),
            problems,
        })
    }

    /// Brings all of `items` back, as [`Trash::restore`] does, going on where one of them cannot be. `restored` is
    /// filled as it goes, so that it is right also when this is dropped in the middle.
    ///
    /// # Errors
    /// What makes it pointless to go on, such as credentials that are refused.
    pub async fn restore_all(&self, items: &[Item], restored: &mut Restored) -> Outcome<()> {
        for item in items {
            match self.restore(item).await {
                Ok(()) => restored.items.push(item.clone()),
                Err(failure) if failure.kind == FailureKind::Failed => {
                    restored.failures.push(failure)
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Brings an item back into the local folder under its own name; the next push sends it up. What lies there is never
    /// overwritten. Out of the local trash the item is moved, in the remote trash it stays until that is emptied.
    ///
    /// # Errors
    /// When something is at the name already, or the content could not be brought.
    pub async fn restore(&self, item: &Item) -> Outcome<()> {
        let could_not = || {
            failed(format!("could not restore `{}`", item.path)).with_path(item.path.to_string())
        };
        let Some(local) = &self.local else {
            return Err(
                could_not().with_hint("the local folder is missing; the first `ows sync` makes it")
            );
        };
        let (folder, path) = (Arc::clone(local), item.path.clone());
        let obstacle = tokio::task::spawn_blocking(move || obstacle(&folder, &path))
            .await
            .map_err(|error| could_not().with_source(error))?;
        if let Some(obstacle) = obstacle {
            return Err(self.in_the_way(item, &obstacle));
        }
        match item.side {
            Side::Local => {
                let (folder, item) = (Arc::clone(local), item.clone());
                let trashed = Trashed {
                    run: item.run_id,
                    path: item.path,
                    size: item.size,
                    mtime_ns: 0,
                    place: item.place,
                };
                tokio::task::spawn_blocking(move || folder.trash_restore(&trashed))
                    .await
                    .map_err(|error| could_not().with_source(error))?
                    .map_err(|error| could_not().with_source(error).with_hint(UNTOUCHED))
            }
            Side::Remote => {
                let entry = self
                    .provider
                    .stat(&item.place)
                    .await
                    .map_err(|error| could_not().with_source(error))?;
                let landing = Landing {
                    path: item.path.clone(),
                    expect: Expect::Absent,
                    displaced: Displace::Trash,
                    run: RunId::random(Utc::now()),
                    replica: local
                        .replica()
                        .ok()
                        .flatten()
                        .unwrap_or_else(ReplicaId::random),
                    unless_in: Vec::new(),
                };
                let stamp = RemoteStamp::from_entry(&entry, false);
                match fetch(
                    self.provider.as_ref(),
                    local,
                    &Silent,
                    &item.place,
                    &stamp,
                    landing,
                )
                .await
                {
                    Ok(_) => Ok(()),
                    Err(Problem::Fatal(failure)) => Err(failure),
                    Err(Problem::Left(why) | Problem::Failed(why) | Problem::Quota(why)) => {
                        Err(could_not().with_source(why).with_hint(UNTOUCHED))
                    }
                    Err(Problem::Changing | Problem::Stopped) => {
                        Err(could_not().with_hint("it changed meanwhile; try again"))
                    }
                }
            }
        }
    }

    fn in_the_way(&self, item: &Item, obstacle: &RelPath) -> Failure {
        let message = if *obstacle == item.path {
            format!(
                "could not restore `{obstacle}`: something of this name is in the workspace already"
            )
        } else {
            format!(
                "could not restore `{}`: `{obstacle}` is in the workspace, where a folder is needed",
                item.path
            )
        };
        let copy = match (item.side, &self.local) {
            (Side::Local, Some(local)) => {
                format!("`{}`", local.path().join(item.place.as_str()).display())
            }
            _ => format!("`{}` in the remote", item.place),
        };
        failed(message)
            .with_path(item.path.to_string())
            .with_hint(format!(
                "nothing was overwritten; move `{obstacle}` away and restore again, or take the copy from {copy}"
            ))
    }

    /// Removes these items, and nothing else, for good.
    ///
    /// # Errors
    /// What could not be removed; what was removed before stays so.
    pub async fn empty(&self, items: &[Item]) -> Outcome<()> {
        for item in items {
            match (item.side, &self.local) {
                (Side::Remote, _) => remove_remote(self.provider.as_ref(), &item.place).await?,
                (Side::Local, Some(local)) => remove_local(local, &item.place).await?,
                (Side::Local, None) => {}
            }
        }
        Ok(())
    }

    /// Removes, for good, what runs before `before` displaced.
    ///
    /// # Errors
    /// What could not be looked at or removed; what was removed before stays so.
    pub async fn purge(&self, before: DateTime<Utc>) -> Outcome<()> {
        let found = list_remote(self.provider.as_ref()).await?;
        for item in found.items {
            if item.trashed_at.is_some_and(|time| time < before) {
                remove_remote(self.provider.as_ref(), &item.place).await?;
            }
        }
        self.purge_local(before).await?;
        match found.problems.into_iter().next() {
            None => Ok(()),
            Some(problem) => Err(failed(problem.message).with_path(problem.path)),
        }
    }

    /// [`Trash::purge`] on the local side alone.
    ///
    /// # Errors
    /// What could not be removed; what was removed before stays so.
    pub async fn purge_local(&self, before: DateTime<Utc>) -> Outcome<()> {
        match &self.local {
            Some(local) => purge_local(local, before).await,
            None => Ok(()),
        }
    }

    /// The trash of sides that are open already.
    pub(super) fn of(provider: &Arc<dyn Provider>, local: &Arc<LocalFolder>) -> Self {
        Self {
            provider: Arc::clone(provider),
            local: Some(Arc::clone(local)),
        }
    }
}

/// When a run began, from its name. A name that tells no time has none, and never grows old.
fn run_time(run: &str) -> Option<DateTime<Utc>> {
    let (time, _) = run.split_once('-')?;
    NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ")
        .ok()
        .map(|time| time.and_utc())
}

/// When the provider stored a copy. The name of a run tells the time of its host, whose clock may have been far behind:
/// what the provider says was stored lately has not lain here for long.
fn stored_at(entry: &Entry) -> DateTime<Utc> {
    entry
        .modified_at_ns
        .map_or(DateTime::UNIX_EPOCH, DateTime::from_timestamp_nanos)
}

/// For how long displaced content is kept.
pub fn keep(days: u32) -> Duration {
    Duration::days(i64::from(days))
}

fn remote_trash() -> Option<RelPath> {
    RelPath::new(&format!("{}/trash", mailbox::OWN)).ok()
}

pub(super) async fn list_remote(provider: &dyn Provider) -> Outcome<Contents> {
    let mut found = Contents::default();
    let mut listing = provider.list(ListOptions {
        below: remote_trash(),
        ..ListOptions::default()
    });
    while let Some(item) = listing.next().await {
        match item {
            Ok(Listed::Entry(entry)) => found.items.extend(Item::of_remote(&entry)),
            Ok(Listed::Unusable { key, reason }) => found.problems.push(PathProblem {
                path: key,
                message: format!("this name in the remote trash cannot be used here: {reason}"),
            }),
            Ok(Listed::Unreadable { path, error }) => found.problems.push(PathProblem {
                path: path.to_string(),
                message: format!(
                    "this folder of the remote trash could not be read, so what lies in it is not known: {error}"
                ),
            }),
            Err(error) if error.kind == ErrorKind::NotFound => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

async fn list_local(local: &Arc<LocalFolder>) -> Outcome<Contents> {
    let folder = Arc::clone(local);
    let list = move || {
        let mut found = Contents::default();
        let all = match folder.trash_list() {
            Ok(all) => all,
            Err(error) => {
                found.problems.push(unread(error));
                return found;
            }
        };
        for item in all {
            match item {
                Ok(item) => found.items.push(Item::of_local(item)),
                Err(error) => found.problems.push(unread(error)),
            }
        }
        found
    };
    tokio::task::spawn_blocking(list)
        .await
        .map_err(|error| failed("could not read the local trash").with_source(error))
}

/// What of the local trash could not be read.
fn unread(error: LocalError) -> PathProblem {
    let path = error.path.clone();
    let failure = failed("the local trash could not be read here, so what lies in it is not known");
    failure.with_path(path).with_source(error).as_problem()
}

/// What keeps `path` from being made: something at its name, or no folder at one of those above it. Blocking.
fn obstacle(folder: &LocalFolder, path: &RelPath) -> Option<RelPath> {
    let mut above = Vec::new();
    let mut next = path.parent();
    while let Some(parent) = next {
        next = parent.parent();
        above.push(parent);
    }
    for parent in above.into_iter().rev() {
        match folder.observe(&parent) {
            None => return None,
            Some(Observed::Entry(entry)) if entry.key.kind == EntryKind::Dir => {}
            Some(_) => return Some(parent),
        }
    }
    folder.observe(path).is_some().then(|| path.clone())
}

async fn remove_local(local: &Arc<LocalFolder>, place: &RelPath) -> Outcome<()> {
    let (folder, place) = (Arc::clone(local), place.clone());
    tokio::task::spawn_blocking(move || folder.trash_remove(&place))
        .await
        .map_err(|error| failed("could not empty the local trash").with_source(error))?
        .map_err(|error| failed("could not empty the local trash").with_source(error))
}

async fn purge_local(local: &Arc<LocalFolder>, before: DateTime<Utc>) -> Outcome<()> {
    let folder = Arc::clone(local);
    tokio::task::spawn_blocking(move || folder.trash_purge(before))
        .await
        .map_err(|error| failed("could not empty the local trash").with_source(error))?
        .map_err(|error| failed("could not empty the local trash").with_source(error))?;
    Ok(())
}

async fn remove_remote(provider: &dyn Provider, place: &RelPath) -> Outcome<()> {
    provider.delete(place, Precondition::Any).await?;
    // Folders above it, innermost first, as far as they are empty now.
    let mut above = place.parent().filter(|_| provider.capabilities().folders);
    while let Some(folder) = above {
        if Some(&folder) == remote_trash().as_ref() || provider.delete_dir(&folder).await.is_err() {
            break;
        }
        above = folder.parent();
    }
    Ok(())
}

const UNTOUCHED: &str = "nothing was overwritten, and the copy in the trash stays; try again";

fn failed(message: impl Into<String>) -> Failure {
    Failure::failed(message)
}
