//! Notices that another workspace pushes into the same remote, and keeps the two from undoing each other's work for ever.
//!
//! In mailbox mode the workspace is the truth, so two workspaces that differ would displace each other's files at every
//! run. Nothing in the remote tells an edit that a person made in the cloud from one that another host uploaded, except
//! the checkpoint `.ows/base-<pair>-<replica>` that each replica stores after a run that changed its base. When a push is
//! about to undo something in the remote, the checkpoints are listed, which is one call; while another replica is at work
//! the pass is planned with [`Caution::OnlyOwn`](crate::plan::Caution::OnlyOwn): it carries over what was done here, and
//! leaves the rest alone. `--force overlap` makes the remote equal to the workspace all the same, and takes the others for
//! gone until they store a checkpoint again; with `--direction push` a person has said what is the truth.
//!
//! Another replica is **at work** when it stored its checkpoint after this replica began here, by the provider's clock,
//! or when its checkpoint is not the one that was met before, whatever the clock says. Then it stays so while the
//! checkpoint is there. What lies there from before is the past: of a container that is gone, or of the twin that went on
//! under the name which this replica had.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::StreamExt;
use ows_providers::{Entry, ErrorKind, ListOptions, Listed, RelPath};
use serde::{Deserialize, Serialize};

use super::SyncMode;
use super::run::{Observed, Opened, Run};
use crate::error::{Failure, Outcome};
use crate::ids::PairId;
use crate::local::ReplicaId;
use crate::plan::guards::GuardName;
use crate::plan::{Action, Direction, Plan, mailbox};
use crate::state::State;

/// The pair value that holds [`Known`].
pub(super) const OTHERS: &str = "others";

/// Another replica that pushes into this remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Other {
    /// Its checkpoint.
    object: String,
    stored_at: DateTime<Utc>,
    /// Whether it restrains the run; else a person has said what is to be done.
    pub(super) restrains: bool,
}

/// What the database knows of the replicas of this pair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// When this replica began here.
    since: Option<Beginning>,
    /// The checkpoints of others as they were met last: replica and version.
    met: BTreeMap<String, String>,
    /// Who of them is at work.
    at_work: BTreeSet<String>,
}

/// The moment at which a replica took its name, by the provider's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Beginning {
    replica: String,
    at: DateTime<Utc>,
}

/// The checkpoint of another replica.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    replica: String,
    version: String,
    stored_at: DateTime<Utc>,
}

impl Known {
    async fn load(state: &State, pair: &PairId) -> Outcome<Self> {
        let text = state.get_value(pair, OTHERS).await?;
        // One that cannot be read is as none: then who is at work is found out once more.
        Ok(text
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default())
    }

    fn as_json(&self) -> Outcome<String> {
        serde_json::to_string(self).map_err(|error| {
            Failure::failed("what is known of other workspaces could not be recorded")
                .with_source(error)
        })
    }

    async fn save(&self, state: &State, pair: &PairId) -> Outcome<()> {
        Ok(state.set_value(pair, OTHERS, &self.as_json()?).await?)
    }

    /// When this replica began here; `now` when it takes its name only now.
    fn since(&self, opened: &Opened, now: DateTime<Utc>) -> DateTime<Utc> {
        match &self.since {
            Some(since) if since.replica == opened.scope.replica.as_str() => since.at,
            Some(_) => now,
            None => opened.pair.first_synced_at.unwrap_or(now),
        }
    }

    /// Takes note of what was found, and gives who of them is at work and stored its checkpoint last.
    fn take_note(&mut self, found: &[Found], since: DateTime<Utc>) -> Option<Found> {
        let is_there = |replica: &String| found.iter().any(|found| found.replica == *replica);
        self.at_work.retain(is_there);
        self.met.retain(|replica, _| is_there(replica));
        for other in found {
            let before = self
                .met
                .insert(other.replica.clone(), other.version.clone());
            let was_at_work = before.is_some_and(|version| version != other.version);
            if was_at_work || other.stored_at > since {
                self.at_work.insert(other.replica.clone());
            }
        }
        let at_work = found
            .iter()
            .filter(|other| self.at_work.contains(&other.replica));
        at_work.max_by_key(|other| other.stored_at).cloned()
    }
}

fn now(run: &Run<'_>) -> DateTime<Utc> {
    run.settings.provider.clock().unwrap_or_else(Utc::now)
}

fn is_forced(run: &Run<'_>) -> bool {
    run.options.force.contains(&GuardName::Overlap)
}

/// Whether others matter to this pass at all.
fn matters(run: &Run<'_>, opened: &Opened, direction: Direction) -> bool {
    run.settings.mode == SyncMode::Mailbox
        && direction == Direction::Push
        && opened.has_base
        && opened.rollback.is_none()
}

/// Whether other workspaces restrain this pass; else a person has decided.
fn restrains(run: &Run<'_>) -> bool {
    run.options.direction.is_none() && !is_forced(run)
}

/// Whether another workspace was at work when this one looked last. Costs no call.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn is_expected(
    run: &Run<'_>,
    opened: &Opened,
    direction: Direction,
) -> Outcome<bool> {
    if !matters(run, opened, direction) || !restrains(run) {
        return Ok(false);
    }
    let known = Known::load(&opened.state, &opened.pair.id).await?;
    Ok(!known.at_work.is_empty())
}

/// Finds another workspace that is at work here, when the pass would undo something in the remote. Costs a listing of
/// `.ows/`, and only then.
///
/// # Errors
/// When `.ows/` cannot be listed, or the database fails.
pub(super) async fn recognise(
    run: &Run<'_>,
    opened: &Opened,
    direction: Direction,
    observed: &Observed,
) -> Outcome<Option<Other>> {
    let plan = &observed.plan;
    let undoes = plan.withheld > 0 || plan.actions().any(Action::undoes_remote);
    // An empty remote is the affair of another guard.
    if !matters(run, opened, direction) || !undoes || !observed.seen.remote_has_anything {
        return Ok(None);
    }
    let pair = &opened.pair.id;
    let listed = list_own(run).await?;
    let found = checkpoints_of_others(&listed, pair, &opened.scope.replica);
    let before = Known::load(&opened.state, pair).await?;
    let mut known = before.clone();
    let other = known.take_note(&found, known.since(opened, now(run)));
    if known != before && !run.options.dry_run {
        known.save(&opened.state, pair).await?;
    }
    Ok(other.map(|other| Other {
        object: format!("{}/{}{}", mailbox::OWN, prefix(pair), other.replica),
        stored_at: other.stored_at,
        restrains: restrains(run),
    }))
}

async fn list_own(run: &Run<'_>) -> Outcome<Vec<Entry>> {
    let mut listing = run.settings.provider.list(ListOptions {
        below: RelPath::new(mailbox::OWN).ok(),
        shallow: true,
        ..ListOptions::default()
    });
    let mut found = Vec::new();
    while let Some(item) = listing.next().await {
        match item {
            Ok(Listed::Entry(entry)) => found.push(entry),
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::NotFound => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn prefix(pair: &PairId) -> String {
    format!("base-{pair}-")
}

fn checkpoints_of_others(entries: &[Entry], pair: &PairId, ours: &ReplicaId) -> Vec<Found> {
    let prefix = prefix(pair);
    let found = |entry: &Entry| {
        let replica = ReplicaId::parse(entry.path.name().strip_prefix(&prefix)?)?;
        let stored_at_ns = entry.modified_at_ns?;
        let version = entry.version.as_ref();
        Some(Found {
            replica: replica.to_string(),
            version: version.map_or_else(|| stored_at_ns.to_string(), |version| version.0.clone()),
            stored_at: DateTime::from_timestamp_nanos(stored_at_ns),
        })
    };
    entries
        .iter()
        .filter_map(found)
        .filter(|found| found.replica != ours.as_str())
        .collect()
}

/// Remembers when this replica began here, before it changes anything for the first time under its present name.
///
/// # Errors
/// When the database fails.
pub(super) async fn note_beginning(run: &Run<'_>, opened: &Opened) -> Outcome<()> {
    let pair = &opened.pair.id;
    let mut known = Known::load(&opened.state, pair).await?;
    let at = known.since(opened, now(run));
    let ours = opened.scope.replica.to_string();
    if known.since.as_ref().map(|since| &since.replica) == Some(&ours) {
        return Ok(());
    }
    known.since = Some(Beginning { replica: ours, at });
    known.save(&opened.state, pair).await
}

/// [`OTHERS`] for a replica that goes on from its checkpoint: when it began is lost with the database, so that every other
/// one counts.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn unknown_past(replica: &ReplicaId) -> Outcome<String> {
    let since = Beginning {
        replica: replica.to_string(),
        at: DateTime::UNIX_EPOCH,
    };
    Known {
        since: Some(since),
        ..Known::default()
    }
    .as_json()
}

/// The pass goes on. One that was forced takes the others for gone: what they stored before is the past.
///
/// # Errors
/// When the database fails.
pub(super) async fn accept(run: &Run<'_>, opened: &Opened, other: Option<&Other>) -> Outcome<()> {
    if other.is_none() || !is_forced(run) {
        return Ok(());
    }
    let pair = &opened.pair.id;
    let mut known = Known::load(&opened.state, pair).await?;
    known.at_work.clear();
    known.since = Some(Beginning {
        replica: opened.scope.replica.to_string(),
        at: now(run),
    });
    known.save(&opened.state, pair).await
}

/// What a person reads about the other workspace.
pub(super) fn warning(other: Option<&Other>, plan: &Plan) -> Option<String> {
    let Other {
        object,
        stored_at,
        restrains,
    } = other?;
    let time = stored_at.format("%Y-%m-%d %H:%M:%S UTC");
    let count = if *restrains {
        plan.withheld
    } else {
        plan.actions()
            .filter(|action| action.undoes_remote())
            .count() as u64
    };
    if count == 0 {
        return None;
    }
    let noun = if count == 1 { "path" } else { "paths" };
    let says = format!(
        "another workspace pushes into this remote, last at {time} (its checkpoint is `{object}`)"
    );
    let done = if *restrains {
        format!(
            "{count} {noun} that differ there for another reason than a change in this workspace were left alone"
        )
    } else {
        format!(
            "{count} {noun} that it may have written, or removed, are made as in this workspace"
        )
    };
    Some(format!(
        "{says}: {done}; to end this, give each workspace its own `remotePath`, or let one follow in mode `mirror`; if \
         the other one is gone, remove `{object}` from the remote, or make the remote equal to this workspace once: \
         `ows sync --force overlap`"
    ))
}

#[cfg(test)]
mod tests {
    use ows_providers::{EntryKind, Version};

    use super::*;

    fn replica(letter: char) -> String {
        letter.to_string().repeat(32)
    }

    fn checkpoint(letter: char, version: &str, at: i64) -> Entry {
        let path = RelPath::new(&format!(".ows/base-p-{}", replica(letter))).unwrap();
        let mut entry = Entry::dir(path);
        entry.kind = EntryKind::File;
        entry.version = Some(Version(version.to_owned()));
        entry.modified_at_ns = Some(at * 1_000_000_000);
        entry
    }

    /// Who is at work, when this replica began at 500.
    fn judged(known: &mut Known, entries: &[Entry]) -> Option<String> {
        let ours = ReplicaId::parse(&replica('a')).unwrap();
        let found = checkpoints_of_others(entries, &PairId::new("p"), &ours);
        let since = DateTime::from_timestamp(500, 0).unwrap();
        known.take_note(&found, since).map(|found| found.replica)
    }

    #[test]
    fn who_stored_a_checkpoint_since_this_replica_began_is_at_work() {
        let ours = checkpoint('a', "1", 900);
        let mut known = Known::default();
        assert_eq!(judged(&mut known, std::slice::from_ref(&ours)), None);
        let old = checkpoint('b', "1", 500);
        assert_eq!(judged(&mut known, &[ours.clone(), old.clone()]), None);
        let later = [
            ours,
            old,
            checkpoint('c', "1", 501),
            checkpoint('d', "1", 600),
        ];
        assert_eq!(judged(&mut known, &later), Some(replica('d')));
        assert_eq!(known.at_work, [replica('c'), replica('d')].into());
    }

    #[test]
    fn whose_checkpoint_has_changed_is_at_work_whatever_the_clock_says() {
        let mut known = Known::default();
        assert_eq!(judged(&mut known, &[checkpoint('b', "1", 400)]), None);
        assert_eq!(judged(&mut known, &[checkpoint('b', "1", 400)]), None);
        for _ in 0..2 {
            let found = judged(&mut known, &[checkpoint('b', "2", 300)]);
            assert_eq!(found, Some(replica('b')));
        }
        // Somebody removed it: the replica is gone.
        assert_eq!(judged(&mut known, &[]), None);
        assert_eq!(known, Known::default());
    }

    #[test]
    fn other_objects_and_other_pairs_are_no_checkpoints() {
        let mut other = checkpoint('b', "1", 999);
        other.path = RelPath::new(&format!(".ows/base-q-{}", replica('b'))).unwrap();
        let mut lease = checkpoint('b', "1", 999);
        lease.path = RelPath::new(".ows/lease").unwrap();
        let mut hostile = checkpoint('b', "1", 999);
        hostile.path = RelPath::new(".ows/base-p-\u{1b}[2J").unwrap();
        assert_eq!(
            judged(&mut Known::default(), &[other, lease, hostile]),
            None
        );
    }
}
