//! The trash of a pair, on both sides: what lies in it, how it comes back, and when it is emptied.
//!
//! Remote content lies under `.ows/trash/<run id>/<path>` in the remote, local content under the same path in the local
//! folder. The provider's own bin and version history are never touched.

use std::sync::Arc;

use chrono::{DateTime, Duration, NaiveDateTime, Utc};
use futures::StreamExt;
use ows_providers::{
    Entry, EntryKind, ErrorKind, ListOptions, Listed, Precondition, Provider, RelPath,
};
use serde::Serialize;

use super::PairSettings;
use crate::apply::{Landing, Problem, fetch};
use crate::error::{Failure, Outcome};
use crate::ids::RunId;
use crate::local::{Displace, Expect, LocalError, LocalErrorKind, LocalFolder, ReplicaId, Trashed};
use crate::plan::{Side, mailbox};
use crate::report::Silent;
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
        let (run, path) = below.as_str().split_once('/')?;
        Some(Self {
            side: Side::Remote,
            run_id: run.to_owned(),
            path: RelPath::new(path).ok()?,
            size: entry.size,
            trashed_at: run_time(run).map(|time| time.max(stored_at(entry))),
            place: entry.path.clone(),
        })
    }
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
    /// When it could not be read to its end.
    pub async fn list_of_local(settings: &PairSettings) -> Outcome<Vec<Item>> {
        match Self::open(settings)?.local {
            Some(local) => list_local(&local).await,
            None => Ok(Vec::new()),
        }
    }

    /// Everything in it, the oldest run first, the local side before the remote.
    ///
    /// # Errors
    /// When one side could not be read to its end.
    pub async fn list(&self) -> Outcome<Vec<Item>> {
        let mut items = match &self.local {
            Some(local) => list_local(local).await?,
            None => Vec::new(),
        };
        items.extend(list_remote(self.provider.as_ref()).await?);
        items.sort_by(|a, b| (&a.run_id, a.side, &a.path).cmp(&(&b.run_id, b.side, &b.path)));
        Ok(items)
    }

    /// What to restore: of `path`, a file or folder, the newest copy of each file; without a path everything that the
    /// newest run displaced. `run` narrows it to one run.
    ///
    /// # Errors
    /// When nothing fits, or the trash could not be read.
    pub async fn select(&self, path: Option<&str>, run: Option<&str>) -> Outcome<Vec<Item>> {
        let mut items = self.list().await?;
        if let Some(run) = run {
            items.retain(|item| item.run_id == run);
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
        if items.is_empty() {
            return Err(Failure::failed("nothing in the trash fits")
                .with_hint("`ows trash list` shows what is there"));
        }
        // The newest copy of each path, which the order of the list puts last.
        let mut newest = std::collections::BTreeMap::new();
        for item in items {
            newest.insert(item.path.clone(), item);
        }
        Ok(newest.into_values().collect())
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
        let taken_name = tokio::task::spawn_blocking(move || folder.observe(&path).is_some())
            .await
            .map_err(|error| could_not().with_source(error))?;
        if taken_name {
            return Err(failed(format!(
                "could not restore `{}`: something of this name is in the workspace already",
                item.path
            ))
            .with_path(item.path.to_string())
            .with_hint("move it away first; nothing was overwritten"));
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
                    .map_err(|error| taken(could_not(), error))
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
                match fetch(self.provider.as_ref(), local, &Silent, &item.place, &stamp, landing).await {
                    Ok(_) => Ok(()),
                    Err(Problem::Fatal(failure)) => Err(failure),
                    Err(Problem::Left(why) | Problem::Failed(why) | Problem::Quota(why)) => Err(could_not()
                        .with_source(why)
                        .with_hint("nothing was overwritten; if something is there already, move it away first")),
                    Err(Problem::Changing | Problem::Stopped) => {
                        Err(could_not().with_hint("it changed meanwhile; try again"))
                    }
                }
            }
        }
    }

    /// Removes these items for good.
    ///
    /// # Errors
    /// What could not be removed; what was removed before stays so.
    pub async fn empty(&self, items: &[Item]) -> Outcome<()> {
        for item in items.iter().filter(|item| item.side == Side::Remote) {
            remove_remote(self.provider.as_ref(), &item.place).await?;
        }
        if let Some(local) = &self.local {
            purge_local(local, None).await?;
        }
        Ok(())
    }

    /// Removes, for good, what runs before `before` displaced.
    ///
    /// # Errors
    /// What could not be removed; what was removed before stays so.
    pub async fn purge(&self, before: DateTime<Utc>) -> Outcome<()> {
        for item in list_remote(self.provider.as_ref()).await? {
            if item.trashed_at.is_some_and(|time| time < before) {
                remove_remote(self.provider.as_ref(), &item.place).await?;
            }
        }
        self.purge_local(before).await
    }

    /// [`Trash::purge`] on the local side alone.
    ///
    /// # Errors
    /// What could not be removed; what was removed before stays so.
    pub async fn purge_local(&self, before: DateTime<Utc>) -> Outcome<()> {
        match &self.local {
            Some(local) => purge_local(local, Some(before)).await,
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

pub(super) async fn list_remote(provider: &dyn Provider) -> Outcome<Vec<Item>> {
    let mut items = Vec::new();
    let mut listing = provider.list(ListOptions {
        below: remote_trash(),
        ..ListOptions::default()
    });
    while let Some(item) = listing.next().await {
        match item {
            Ok(Listed::Entry(entry)) => items.extend(Item::of_remote(&entry)),
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::NotFound => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(items)
}

async fn list_local(local: &Arc<LocalFolder>) -> Outcome<Vec<Item>> {
    let folder = Arc::clone(local);
    let list = move || -> Result<Vec<Trashed>, LocalError> { folder.trash_list()?.collect() };
    let found = tokio::task::spawn_blocking(list)
        .await
        .map_err(|error| failed("could not read the local trash").with_source(error))?
        .map_err(|error| failed("could not read the local trash").with_source(error))?;
    Ok(found.into_iter().map(Item::of_local).collect())
}

async fn purge_local(local: &Arc<LocalFolder>, before: Option<DateTime<Utc>>) -> Outcome<()> {
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

fn failed(message: impl Into<String>) -> Failure {
    Failure::failed(message)
}

fn taken(failure: Failure, error: LocalError) -> Failure {
    let exists = error.kind == LocalErrorKind::Exists;
    let failure = failure.with_source(error);
    if exists {
        failure.with_hint("something is there already: move it away first; nothing was overwritten")
    } else {
        failure
    }
}
