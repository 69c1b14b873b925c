//! Which replica this is, and whether its database or the remote was put back in time.
//!
//! - A database that is gone, in a folder that still carries the marker: the replica's checkpoint is taken up as its base
//!   before anything is looked at, in one transaction, so that a killed run leaves all of it or nothing.
//! - Before a plan that does something is carried out, the checkpoint is looked at: one call while its version is the
//!   one that was stored last. A generation above the one that the database knows, or a copy that another host stored
//!   under our name, means that the *database* is an older one, or that two hosts came from one image. A generation below
//!   the one that certainly was there means that the *remote* is an older one. Either way what is absent was perhaps never
//!   deleted by a person: the pass is planned again with [`Caution::RolledBack`].
//! - After a rolled-back database the replica takes a new name, so that two hosts from one image part ways; it keeps
//!   its base. The name changes in the database first, then in the folder; [`WAS`] tells a run that comes after a kill
//!   in between that the marker is still ours.
//! - A folder that lost its marker takes a new name, too: see [`super::parting`].
//! - A cautious run that did not come to its end is followed by another one: [`ROLLED_BACK`] remembers.
//!
//! What a checkpoint is made of is the affair of [`super::checkpoint`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use ows_providers::{Enforcement, EntryKind, ErrorKind};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::checkpoint::{self, Fetched, Header, Record, Refused, Stamp};
use super::run::{Observed, Opened, Run};
use super::{PairLock, PairSettings, SyncMode, housekeeping, others, pair_id, roots};
use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};
use crate::ids::{PairId, RunId};
use crate::local::{LocalFolder, ReplicaId};
use crate::plan::guards::{GuardName, Stop};
use crate::plan::{Action, Caution};
use crate::report::Report;
use crate::state::{NewPair, PairRecord, State};
use crate::tree::STORE_CLOCK_NS;

/// The pair value that holds a [`Rollback`] while no cautious run has come to its end since it was found.
const ROLLED_BACK: &str = "rolled_back";

/// The pair value that holds the replica's former name while the folder may still carry it; else it is empty.
const WAS: &str = "replica_was";

/// How long a run that was stopped, or that failed, still tries to store its checkpoint.
const GRACE: Duration = Duration::from_secs(3);

/// How often one process stores a checkpoint, when runs come close together.
const PACE: Duration = Duration::from_secs(60);

/// What was put back in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rollback {
    /// The database of this host, or another host has the same one.
    Database,
    /// The remote.
    Remote,
}

impl Rollback {
    fn message(self) -> &'static str {
        match self {
            Self::Database => {
                "the database of this host is older than the checkpoint that this replica stored in the remote: it was \
                 restored from a copy, or another host came from the same image"
            }
            Self::Remote => {
                "the checkpoint in the remote is gone or older than the one that this replica stored there: the remote was \
                 restored from a copy, or somebody removed files from its `.ows` folder"
            }
        }
    }

    fn consequence(self, dry_run: bool) -> &'static str {
        match self {
            Self::Database if dry_run => {
                "the run would delete nothing and put what it replaces into the trash, and this folder would go on as a \
                 replica of its own"
            }
            Self::Remote if dry_run => {
                "the run would delete nothing, and put what it replaces into the trash"
            }
            Self::Database => {
                "nothing was deleted in this run, what was replaced lies in the trash, and this folder goes on as a replica \
                 of its own"
            }
            Self::Remote => {
                "nothing was deleted in this run, and what was replaced lies in the trash"
            }
        }
    }

    fn guard(self, hint: &str) -> Stop {
        Stop {
            name: GuardName::StateRollback,
            message: self.message().to_owned(),
            count: 0,
            examples: Vec::new(),
            hint: hint.to_owned(),
        }
    }
}

/// What helps. Where one side is the truth, deletes are left undone and follow in the next run; where both sides may change,
/// the cautious run unites them, so that no run after it knows of a delete.
fn hint(run: &Run<'_>) -> &'static str {
    let unites = run.settings.mode == SyncMode::Bisync && run.options.direction.is_none();
    match (unites, run.options.dry_run) {
        (true, true) => {
            "what is gone on one side would come back, and what differs be kept twice; to skip this caution: \
             `ows sync --force state-rollback`"
        }
        (true, false) => {
            "what was gone on one side is back, and what differed is kept twice; look at both, and delete again what is to \
             be gone"
        }
        (false, _) => {
            "look at what is left alone; the run after it deletes again what is to be deleted; to skip this caution: \
             `ows sync --force state-rollback`"
        }
    }
}

/// What a look at the checkpoint has shown, to be recorded when the run goes on.
pub(super) struct Finding {
    pub(super) rollback: Rollback,
    /// The generation there, if a copy is there.
    generation: u64,
    record: Record,
}

impl SyncMode {
    /// Whether runs of this mode keep a copy of the base in the remote. Mirror writes nothing there.
    fn keeps_checkpoint(self) -> bool {
        match self {
            Self::Mailbox | Self::Bisync => true,
            Self::Mirror => false,
        }
    }
}

fn is_kept(settings: &PairSettings) -> bool {
    settings.checkpoint && settings.mode.keeps_checkpoint()
}

/// Takes the replica's checkpoint up where the database knows nothing of the pair, or was never part of a run that got
/// anywhere, and the folder carries a marker. `None` when there is none to be taken up.
///
/// # Errors
/// When the remote cannot be read or the database not be written.
pub(super) async fn take_up(
    settings: &PairSettings,
    state: &State,
    new: &NewPair,
    known: Option<&PairRecord>,
    local: &LocalFolder,
    report: &mut Report,
) -> Outcome<Option<PairRecord>> {
    let is_fresh = known.is_none_or(|known| known.generation == 0);
    let Some(marker) = roots::marker(local)?.filter(|_| is_fresh && is_kept(settings)) else {
        return Ok(None);
    };
    let new = NewPair {
        replica_id: marker.to_string(),
        ..new.clone()
    };
    let fetched = checkpoint::fetch(settings.provider.as_ref(), &new.id, &marker).await?;
    let (refused, version) = match fetched {
        Fetched::Absent => return Ok(None),
        Fetched::Refused(refused, version) => (refused, version),
        Fetched::Copy(
            Header {
                stamp, rows: count, ..
            },
            rows,
            version,
        ) => {
            let generation = stamp.generation;
            let record = Record {
                confirmed: Some(stamp),
                version: Some(version.clone()),
                ..Record::default()
            };
            let text = checkpoint::as_json(&record)?;
            let others = others::unknown_past(&marker)?;
            let values = [
                (checkpoint::RECORD, text.as_str()),
                (others::OTHERS, others.as_str()),
            ];
            match state.take_up_base(&new, generation, rows, &values).await? {
                Ok(pair) => {
                    let noun = if count == 1 { "path" } else { "paths" };
                    report.warnings.push(format!(
                        "the database knew nothing of this folder; it goes on from its checkpoint in the remote ({count} {noun}, \
                         generation {generation})"
                    ));
                    return Ok(Some(pair));
                }
                Err(refused) => (refused, Some(version)),
            }
        }
    };
    warn_refused(&new.id, &marker, &refused, report);
    let pair = state.ensure_pair(&new).await?;
    let record = Record {
        version,
        ..Record::default()
    };
    checkpoint::save(state, &pair.id, &record).await?;
    Ok(Some(pair))
}

fn warn_refused(pair: &PairId, replica: &ReplicaId, refused: &Refused, report: &mut Report) {
    let path =
        checkpoint::path(pair, replica).map_or_else(|_| String::new(), |path| path.to_string());
    report.warnings.push(format!(
        "the checkpoint `{path}` in the remote was ignored: {refused}; the next run that changes something stores a new one"
    ));
}

/// Finishes a change of the replica's name that a kill cut short, and recalls a rollback that no run has come to terms
/// with.
///
/// # Errors
/// When the marker or the database cannot be read or written.
pub(super) async fn recall(run: &Run<'_>, opened: &mut Opened) -> Outcome<()> {
    let state = &opened.state;
    let was = state.get_value(&opened.pair.id, WAS).await?;
    if let Some(was) = was.as_deref().and_then(ReplicaId::parse)
        && !run.options.dry_run
    {
        if roots::marker(&opened.local)?.as_ref() == Some(&was) {
            roots::mark(opened).await?;
        }
        state.set_value(&opened.pair.id, WAS, "").await?;
    }
    let open = state.get_value(&opened.pair.id, ROLLED_BACK).await?;
    opened.rollback = open.and_then(|text| serde_json::from_str(&text).ok());
    Ok(())
}

/// How careful the pass must be.
pub(super) fn caution(run: &Run<'_>, opened: &Opened) -> Caution {
    match opened.rollback {
        Some(_) if !is_forced(run) => Caution::RolledBack,
        _ => run.options.caution,
    }
}

fn is_forced(run: &Run<'_>) -> bool {
    run.options.force.contains(&GuardName::StateRollback)
}

/// Looks at the checkpoint before `observed` is acted on. What is found is recorded by [`accept`], when the run goes on.
///
/// # Errors
/// When the remote or the database cannot be read.
pub(super) async fn examine(
    run: &Run<'_>,
    opened: &Opened,
    observed: &Observed,
    report: &mut Report,
) -> Outcome<Option<Finding>> {
    // An empty remote is the affair of another guard; whoever forces that one knows.
    let matters = is_kept(run.settings)
        && opened.rollback.is_none()
        && observed.plan.actions().any(matters)
        && observed.seen.remote_has_anything;
    if !matters {
        return Ok(None);
    }
    let pair = &opened.pair;
    let mut record = checkpoint::load(&opened.state, &pair.id).await?;
    if pair.generation == 0 && record == Record::default() {
        // Nothing was ever stored under this name.
        return Ok(None);
    }
    let provider = run.settings.provider.as_ref();
    let replica = &opened.scope.replica;
    let path = checkpoint::path(&pair.id, replica)
        .map_err(|error| Failure::failed("the checkpoint has no usable name").with_source(error))?;
    let (found, stored_at_ns) = match provider.stat(&path).await {
        Ok(entry) if entry.version.is_some() && entry.version == record.version => return Ok(None),
        Ok(entry) => (
            checkpoint::fetch(provider, &pair.id, replica).await?,
            entry.modified_at_ns,
        ),
        Err(error) if error.kind == ErrorKind::NotFound => (Fetched::Absent, None),
        Err(error) => return Err(error.into()),
    };
    let was_there = record.confirmed.is_some();
    let (rollback, generation) = match found {
        Fetched::Absent => {
            record.forget();
            (was_there.then_some(Rollback::Remote), 0)
        }
        Fetched::Refused(refused, version) => {
            warn_refused(&pair.id, replica, &refused, report);
            let rollback = match refused {
                // Another host, of a newer version, goes on under our name.
                Refused::Newer(_) => Some(Rollback::Database),
                // The store made this of what we stored last: it tells nothing of the past.
                _ if is_no_later(stored_at_ns, &record) => None,
                _ => was_there.then_some(Rollback::Remote),
            };
            record.forget();
            record.version = version;
            (rollback, 0)
        }
        Fetched::Copy(header, _, version) => {
            let rollback = compare(&header.stamp, &record, pair.generation);
            let generation = header.stamp.generation;
            record.forget();
            record.version = Some(version);
            record.confirmed = Some(header.stamp);
            (rollback, generation)
        }
    };
    let Some(rollback) = rollback else {
        if !run.options.dry_run {
            checkpoint::save(&opened.state, &pair.id, &record).await?;
        }
        return Ok(None);
    };
    Ok(Some(Finding {
        rollback,
        generation,
        record,
    }))
}

/// Whether an action says something of the past: all do but the removal of folders that are empty and never were in the
/// base. Where one of them holds something excluded, every run tries again.
fn matters(action: &Action) -> bool {
    action.key.kind == EntryKind::File || changes_base(action)
}

/// Whether an action changes the base: all do but the removal of what never was in it.
pub(super) fn changes_base(action: &Action) -> bool {
    action.op.deletes_from().is_none() || action.is_known
}

/// Whether what was stored at this time was there when our own upload had ended.
fn is_no_later(stored_at_ns: Option<i64>, record: &Record) -> bool {
    let ended = record.stored_at.and_then(|at| at.timestamp_nanos_opt());
    matches!((stored_at_ns, ended), (Some(at), Some(ended)) if at <= ended.saturating_add(STORE_CLOCK_NS))
}

/// What a copy says that is not the one that was stored last.
fn compare(found: &Stamp, record: &Record, generation: u64) -> Option<Rollback> {
    let confirmed = record.confirmed.as_ref();
    if confirmed == Some(found) || record.pending.as_ref() == Some(found) {
        return None;
    }
    match confirmed {
        Some(confirmed) if found.generation < confirmed.generation => Some(Rollback::Remote),
        _ if found.generation > generation => Some(Rollback::Database),
        // Of a generation that this database has been through, but not by a run that it knows: another host's.
        _ => Some(Rollback::Database),
    }
}

/// The run goes on in spite of what was found: it is recorded before anything is changed, and after a rolled-back
/// database the replica takes a new name.
///
/// # Errors
/// When the database or the marker cannot be written.
pub(super) async fn accept(
    run: &Run<'_>,
    opened: &mut Opened,
    finding: Finding,
    observed: &Observed,
) -> Outcome<()> {
    let pair = opened.pair.id.clone();
    // Also when caution leaves nothing to be done: what lies in the remote is not what the next run should find.
    opened.has_changed = true;
    let rolled_back = serde_json::json!(finding.rollback).to_string();
    match finding.rollback {
        Rollback::Remote => {
            let state = &opened.state;
            // In this order: a kill in between finds the rollback again, or remembers it.
            state.set_value(&pair, ROLLED_BACK, &rolled_back).await?;
            checkpoint::save(state, &pair, &finding.record).await?;
        }
        Rollback::Database => {
            // They are known by the old name.
            housekeeping::remove_leftovers(run, opened, &observed.seen.leftovers).await;
            let was = opened.scope.replica.to_string();
            let record = checkpoint::as_json(&Record::default())?;
            let values = [
                (ROLLED_BACK, rolled_back.as_str()),
                (WAS, was.as_str()),
                (checkpoint::RECORD, record.as_str()),
            ];
            let new = ReplicaId::random();
            opened.pair = opened
                .state
                .rename_replica(&pair, new.as_str(), finding.generation, &values)
                .await?;
            opened.scope = Arc::new(roots::scope(run.settings, &opened.local, &opened.pair)?);
            roots::mark(opened).await?;
            opened.state.set_value(&pair, WAS, "").await?;
        }
    }
    Ok(())
}

/// A cautious run has come to its end with nothing undone: the base can be relied on again.
///
/// # Errors
/// When the database cannot be written.
pub(super) async fn settled(opened: &Opened) -> Outcome<()> {
    let open = opened.state.get_value(&opened.pair.id, ROLLED_BACK).await?;
    if open.is_some_and(|open| !open.is_empty()) {
        opened
            .state
            .set_value(&opened.pair.id, ROLLED_BACK, "")
            .await?;
    }
    Ok(())
}

/// Tells of a rollback in the report. A run that went well all the same did not do everything that it was asked to.
///
/// # Errors
/// What `result` was, or that the run was a cautious one.
pub(super) fn tell(
    run: &Run<'_>,
    rollback: Option<Rollback>,
    report: &mut Report,
    result: Outcome<()>,
) -> Outcome<()> {
    let Some(rollback) = rollback.filter(|_| !is_forced(run)) else {
        return result;
    };
    let message = rollback.message();
    report.warnings.push(format!(
        "guard `{}`: {message}; {}",
        GuardName::StateRollback.name(),
        rollback.consequence(run.options.dry_run)
    ));
    report
        .guard
        .get_or_insert_with(|| rollback.guard(hint(run)));
    let finished = if run.options.dry_run {
        "the run would be made with caution, since the database or the remote was put back in time"
    } else {
        "finished with caution, since the database or the remote was put back in time"
    };
    match result {
        Ok(()) => Err(Failure::new(FailureKind::Partial, finished).with_hint(hint(run))),
        // What was left alone was left alone for that reason, so that this is what helps.
        Err(failure) if failure.kind == FailureKind::Partial => Err(failure.with_hint(hint(run))),
        Err(failure) => Err(failure),
    }
}

/// Keeps the checkpoints of one process apart: hand one to all its runs of a pair, and call [`flush_checkpoint`] at its
/// end.
#[derive(Debug)]
pub struct CheckpointPace {
    every: Duration,
    last: Mutex<Option<Instant>>,
}

impl Default for CheckpointPace {
    fn default() -> Self {
        Self::new(PACE)
    }
}

impl CheckpointPace {
    /// At most one checkpoint in this time.
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            last: Mutex::new(None),
        }
    }

    fn is_due(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last.elapsed() >= self.every)
    }

    fn stored(&self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Instant::now());
    }
}

/// Stores the checkpoint at the end of a run that changed the base. That it could not be stored is a warning: the base
/// is here, and the next run that changes it tries again. A run that was stopped or that failed tries for a moment
/// only.
pub(super) async fn store(
    run: &Run<'_>,
    opened: &Opened,
    result: &Outcome<()>,
    report: &mut Report,
) {
    let pace = run.options.checkpoint_pace.as_deref();
    if !opened.has_changed || !is_kept(run.settings) || !pace.is_none_or(CheckpointPace::is_due) {
        return;
    }
    let failed = result
        .as_ref()
        .is_err_and(|failure| failure.kind != FailureKind::Partial);
    let is_over = async {
        if !failed {
            run.cancel.stopped().await;
        }
        tokio::time::sleep(GRACE).await;
    };
    let storing = store_if_behind(
        run.settings,
        &opened.state,
        &opened.pair.id,
        &opened.enforcement_key,
        &run.id,
    );
    let stored = tokio::select! {
        biased;
        stored = storing => stored,
        () = is_over => Err(Failure::failed(
            "the checkpoint of the base could not be stored in the time that was left",
        )),
    };
    match stored {
        Ok(true) => {
            if let Some(pace) = pace {
                pace.stored();
            }
        }
        Ok(false) => {}
        Err(failure) => report.warnings.push(format!(
            "{}; the next run that changes something tries again",
            crate::apply::chain(&failure)
        )),
    }
}

/// Stores the checkpoint that [`CheckpointPace`] has put off, if there is one. For the end of a process; waits for no
/// other run, and for the remote no longer than `limit`.
///
/// # Errors
/// When another run is under way, the remote or the database fails, or the time is over: then the checkpoint that is
/// stored stays the older one.
pub async fn flush_checkpoint(settings: &PairSettings, limit: Duration) -> Outcome<bool> {
    if !is_kept(settings) {
        return Ok(false);
    }
    let flushing = async {
        let identity = settings.provider.describe().await?;
        let pair = pair_id(&identity);
        let _lock =
            PairLock::take(&settings.own_dir, &pair, Duration::ZERO, &Cancel::new()).await?;
        let Some(state) = State::open_existing(&settings.own_dir).await? else {
            return Ok(false);
        };
        let run = RunId::random(Utc::now());
        let stored = store_if_behind(settings, &state, &pair, &identity.id, &run).await;
        state.close().await;
        stored
    };
    tokio::time::timeout(limit, flushing)
        .await
        .unwrap_or_else(|_| {
            Err(Failure::failed(
                "the checkpoint of the base could not be stored in time",
            ))
        })
}

/// Stores the base when its generation is above that of the checkpoint.
async fn store_if_behind(
    settings: &PairSettings,
    state: &State,
    pair: &PairId,
    enforcement_key: &str,
    run: &RunId,
) -> Outcome<bool> {
    let Some(known) = state.pair(pair).await? else {
        return Ok(false);
    };
    let record = checkpoint::load(state, pair).await?;
    let stored = record.confirmed.map_or(0, |stamp| stamp.generation);
    // A remote that was put back in time holds less than what was confirmed; then a run has raised the generation above it.
    if known.generation <= stored {
        return Ok(false);
    }
    let replica = ReplicaId::parse(&known.replica_id)
        .ok_or_else(|| Failure::failed("the state database names a replica that is none"))?;
    let enforcement = state.enforcement(enforcement_key).await?;
    let stamp = Stamp {
        generation: known.generation,
        run: run.to_string(),
    };
    checkpoint::upload(
        settings.provider.as_ref(),
        state,
        pair,
        &replica,
        stamp,
        run,
        // What was never tried is not relied on: looked at before and after instead.
        enforcement.map_or_else(Enforcement::default, |(enforcement, _)| enforcement),
    )
    .await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_process_stores_a_checkpoint_once_a_minute_at_most() {
        let pace = CheckpointPace::default();
        assert!(pace.is_due());
        pace.stored();
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!pace.is_due());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(pace.is_due());
    }
}
