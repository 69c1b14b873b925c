//! A run once it has begun: lock, open, and the passes that it makes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use ows_providers::{Entry, RemoteIdentity};

use super::audit::Audit;
use super::identity::{self, Finding, Rollback};
use super::lease::{Lease, Taken};
use super::observe::Seen;
use super::others::{self, Other};
use super::roots::{self, LocalRoot};
use super::scope::Scope;
use super::{
    FirstSync, PairLock, PairSettings, SyncMode, SyncOptions, overlap, pair_id, parting, secrets,
    show, unmarked,
};
use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};
use crate::ids::{PairId, RunId};
use crate::local::{LocalFolder, ReplicaId};
use crate::plan::guards::{GuardName, Stop};
use crate::plan::{Direction, Plan};
use crate::report::{Phase, Report, Reporter};
use crate::state::{NewPair, PairRecord, State, StateError, StateFaults};

/// How many passes a run makes where each leaves something to the next.
const MOST_PASSES: u32 = 3;

/// How long the end of a run waits for the database to be closed.
const CLOSING: Duration = Duration::from_secs(1);

/// What a person reads of a database without content.
const EMPTIED: &str = "the state database `state.db` is empty (0 bytes), as a crash or a full disk leaves it: whatever it knew \
                       of earlier runs is lost, and this run begins as without one";

pub(super) struct Run<'a> {
    pub(super) settings: &'a PairSettings,
    pub(super) options: &'a SyncOptions,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(super) cancel: Cancel,
    pub(super) id: RunId,
}

/// What a run works on once the lock is held.
pub(super) struct Opened {
    pub(super) pair: PairRecord,
    pub(super) enforcement_key: String,
    pub(super) state: State,
    pub(super) local: Arc<LocalFolder>,
    pub(super) scope: Arc<Scope>,
    /// Both sides agreed on something, or this replica came past its first run in this folder and nothing is left of it.
    /// Without it a run is a first one.
    pub(super) has_base: bool,
    /// What was put back in time, until a cautious run has come to its end.
    pub(super) rollback: Option<Rollback>,
    /// Another workspace pushes into this remote: the pass carries over only what was done here.
    pub(super) only_own: bool,
    /// A pass that changes the base was begun.
    pub(super) has_changed: bool,
    /// The last pass has left something to one that follows at once.
    pub(super) again: bool,
    /// Which pass is under way, from 1.
    pub(super) pass: u32,
    /// The lease, once the run has something to write.
    pub(super) lease: tokio::sync::Mutex<Option<Arc<Lease>>>,
    pub(super) _locks: (PairLock, PairLock),
}

/// What a pass over both sides has shown.
pub(super) struct Observed {
    pub(super) plan: Plan,
    pub(super) seen: Seen,
    /// Files of `_outbox` that are complete.
    pub(super) outbox: Vec<Entry>,
    /// How many more there are that are not.
    pub(super) settling: u64,
    /// What of the base was read again.
    pub(super) audit: Audit,
}

/// What is known before anything is changed.
pub(super) struct Looked {
    pub(super) observed: Observed,
    pub(super) stop: Option<Stop>,
    pub(super) finding: Option<Finding>,
    pub(super) other: Option<Other>,
}

impl Run<'_> {
    pub(super) async fn whole(&self, report: &mut Report) -> Outcome<()> {
        let described = self
            .cancel
            .unless_stopped(self.settings.provider.describe())
            .await;
        let identity = described.ok_or_else(|| self.cancel.failure())??;
        let mut opened = self.open(identity, report).await?;
        opened
            .state
            .start_run(&self.id, Some(&opened.pair.id), "sync", report.started_at)
            .await?;
        let result = self.passes(&mut opened, report).await;
        let result = identity::tell(self, opened.rollback, report, result);
        identity::store(self, &opened, &result, report).await;
        report.warnings.extend(opened.release_lease().await);
        let mut closing = report.clone();
        closing.actions.clear();
        closing.close(result.as_ref().err());
        let outcome = serde_json::to_value(&closing)
            .map_err(|error| Failure::failed("the run could not be recorded").with_source(error))?;
        let recorded = opened
            .state
            .finish_run(&self.id, &outcome, closing.exit_code, Utc::now())
            .await;
        // Leaves one file instead of three. A call that hangs must not keep the process from ending.
        let closed = tokio::time::timeout(CLOSING, opened.state.close()).await;
        if closed.is_err() {
            tracing::debug!("the database was still in use at the end of the run");
        }
        result?;
        Ok(recorded?)
    }

    /// Takes the lock, opens the database and the folder, and finds out which replica this is.
    pub(super) async fn open(
        &self,
        identity: RemoteIdentity,
        report: &mut Report,
    ) -> Outcome<Opened> {
        let settings = self.settings;
        let pair = pair_id(&identity);
        self.reporter.phase(Phase::Waiting);
        State::check_place(&settings.own_dir)?;
        let lock =
            PairLock::take(&settings.own_dir, &pair, self.options.wait, &self.cancel).await?;
        if self.options.rebuild_state && !self.options.dry_run {
            let kept = set_aside(&settings.own_dir).await?;
            report.warnings.extend(
                kept.map(|kept| format!("the database was set aside as `{}`", kept.display())),
            );
        }
        if State::is_emptied(&settings.own_dir) {
            report.warnings.push(EMPTIED.to_owned());
        }
        let state = match &self.options.state_faults {
            None => State::open(&settings.own_dir).await?,
            Some(StateFaults(faults)) => {
                State::open_with_faults(&settings.own_dir, Arc::clone(faults)).await?
            }
        };
        let known = state.pair(&pair).await?;
        let has_rows = known.is_some() && holds_something(&state, &pair).await?;
        let opening = roots::open_local(settings, has_rows, self.direction(), self.options.dry_run);
        let local = match self.bounded(opening).await? {
            LocalRoot::Open(local) => local,
            LocalRoot::Stop(stop) => return Err(show::stopped(report, stop)),
        };
        let folder_lock =
            PairLock::take_folder(local.path(), self.options.wait, &self.cancel).await?;
        let marker = roots::marker(&local)?;
        let replica = match (&known, marker) {
            (Some(known), _) => known.replica_id.clone(),
            (None, Some(marker)) => marker.to_string(),
            (None, None) => ReplicaId::random().to_string(),
        };
        let new = NewPair {
            id: pair,
            remote_id: identity.id.clone(),
            remote_display: identity.display,
            local_path: settings.local_path.clone(),
            replica_id: replica,
            created_at: Utc::now(),
        };
        let taking_up = identity::take_up(settings, &state, &new, known.as_ref(), &local, report);
        let (pair, has_rows) = match self.bounded(taking_up).await? {
            Some(pair) => (pair, holds_something(&state, &new.id).await?),
            None => (state.ensure_pair(&new).await?, has_rows),
        };
        let scope = Arc::new(roots::scope(settings, &local, &pair)?);
        let mut opened = Opened {
            pair,
            enforcement_key: identity.id,
            state,
            local,
            scope,
            has_base: has_rows,
            rollback: None,
            only_own: false,
            has_changed: false,
            again: false,
            pass: 0,
            lease: tokio::sync::Mutex::default(),
            _locks: (lock, folder_lock),
        };
        identity::recall(self, &mut opened).await?;
        opened.has_base = has_rows || roots::came_past_first_run(&opened).await?;
        Ok(opened)
    }

    async fn passes(&self, opened: &mut Opened, report: &mut Report) -> Outcome<()> {
        let forced = self.options.force.contains(&GuardName::Overlap);
        if let Some(stop) = overlap::guard(self.settings, opened, forced).await? {
            return Err(show::stopped(report, stop));
        }
        let mut filled = Ok(());
        if let Some(direction) = self.fills_first(opened).await? {
            filled = self.pass(opened, direction, false, report).await;
            let is_partial =
                matches!(&filled, Err(failure) if failure.kind == FailureKind::Partial);
            let goes_on = filled.is_ok() || is_partial && !roots::needs_filling(opened).await?;
            // Where both sides may change, the first run is all that there is to do.
            if self.options.dry_run || !goes_on || self.settings.mode == SyncMode::Bisync {
                return filled;
            }
        }
        let with_mail = self.options.direction.is_none() && self.settings.mode == SyncMode::Mailbox;
        self.ordinary(opened, with_mail, report).await.and(filled)
    }

    /// The ordinary pass, and those that finish what it has begun.
    async fn ordinary(
        &self,
        opened: &mut Opened,
        with_mail: bool,
        report: &mut Report,
    ) -> Outcome<()> {
        let before = (report.counts, report.errors.len());
        let mut passes = 1;
        loop {
            opened.again = false;
            let result = self.pass(opened, self.direction(), with_mail, report).await;
            let goes_on = match &result {
                Ok(()) => true,
                Err(failure) => failure.kind == FailureKind::Partial,
            };
            if !(opened.again && goes_on) || passes == MOST_PASSES {
                return result;
            }
            passes += 1;
            // What was left is looked at once more, and counts if it is left then.
            report.counts.skipped = before.0.skipped;
            report.counts.failed = before.0.failed;
            report.errors.truncate(before.1);
        }
    }

    /// Looks at both sides, plans, and asks the guards; once more with caution when something was put back in time.
    pub(super) async fn look(
        &self,
        opened: &mut Opened,
        direction: Direction,
        report: &mut Report,
    ) -> Outcome<Looked> {
        opened.only_own = others::is_expected(self, opened, direction).await?;
        let mut observed = self.observe(opened, direction).await?;
        let other = self
            .bounded(others::recognise(self, opened, direction, &observed))
            .await?;
        let restrains = other.as_ref().is_some_and(|other| other.restrains);
        if opened.only_own && observed.plan.withheld > 0 && !restrains
            || restrains && !opened.only_own
        {
            opened.only_own = restrains;
            observed = self.observe(opened, direction).await?;
        }
        let finding = self
            .bounded(identity::examine(self, opened, &observed, report))
            .await?;
        if let Some(finding) = &finding {
            opened.rollback = Some(finding.rollback);
            observed = self.observe(opened, direction).await?;
        }
        let stop = self
            .bounded(self.guard(opened, direction, &observed))
            .await?;
        Ok(Looked {
            observed,
            stop,
            finding,
            other,
        })
    }

    /// What comes before the ordinary pass where the two sides have nothing, or not all, agreed on.
    pub(super) async fn fills_first(&self, opened: &Opened) -> Outcome<Option<Direction>> {
        if self.options.direction.is_some() || self.settings.mode == SyncMode::Mirror {
            return Ok(None);
        }
        if self.settings.mode == SyncMode::Bisync {
            return self.joins(opened).await;
        }
        let fills = match self.settings.first_sync {
            // An empty remote is no truth that could be taken: there is nothing to fill from, and all to be pushed.
            FirstSync::Remote if !opened.has_base => self.remote_holds_something(opened).await?,
            FirstSync::Remote => roots::needs_filling(opened).await?,
            FirstSync::Merge => roots::needs_merge(opened).await?,
            FirstSync::Ask | FirstSync::Local => false,
        };
        let direction = match self.settings.first_sync {
            FirstSync::Merge => Direction::Merge,
            _ => Direction::Pull,
        };
        Ok(fills.then_some(direction))
    }

    /// How a replica joins in bisync mode, instead of an ordinary run.
    async fn joins(&self, opened: &Opened) -> Outcome<Option<Direction>> {
        if self.options.resync {
            return Ok(Some(Direction::Merge));
        }
        if opened.has_base {
            let resumes = self.settings.first_sync == FirstSync::Remote
                && roots::is_filled_in_part(opened).await?;
            return Ok(resumes.then_some(Direction::Pull));
        }
        Ok(Some(match self.settings.first_sync {
            // An empty remote is no truth that could be taken.
            FirstSync::Remote if self.remote_holds_something(opened).await? => Direction::Pull,
            FirstSync::Local if self.pushes_first(opened).await? => Direction::Push,
            _ => Direction::Merge,
        }))
    }

    /// Ends with the run's stop, also while the remote does not answer.
    pub(super) async fn bounded<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        self.cancel
            .unless_stopped(work)
            .await
            .unwrap_or_else(|| Err(self.cancel.failure()))
    }

    pub(super) fn direction(&self) -> Direction {
        self.options
            .direction
            .unwrap_or_else(|| self.settings.mode.direction())
    }

    /// Makes one side equal to the other, and drains.
    async fn pass(
        &self,
        opened: &mut Opened,
        direction: Direction,
        with_mail: bool,
        report: &mut Report,
    ) -> Outcome<()> {
        opened.pass += 1;
        if let Some(stop) = roots::local_root(opened, direction, self.options).await? {
            return Err(show::stopped(report, stop));
        }
        let looked = self.look(opened, direction, report).await?;
        let caution = looked.observed.plan.caution;
        report
            .warnings
            .extend(unmarked::warning(self.settings, caution));
        let is_first = match self.settings.mode {
            SyncMode::Mailbox => opened.pair.first_synced_at.is_none(),
            SyncMode::Mirror | SyncMode::Bisync => !opened.has_base,
        };
        if is_first && looked.stop.is_none() {
            let plan = &looked.observed.plan;
            report.warnings.extend(secrets::warning(plan));
        }
        if self.options.dry_run {
            return self
                .show(opened, direction, looked, with_mail, report)
                .await;
        }
        let looked = self
            .begin(opened, direction, looked, with_mail, report)
            .await?;
        self.carry_out(opened, direction, looked, with_mail, report)
            .await
    }

    /// Tells what the pass would do.
    async fn show(
        &self,
        opened: &Opened,
        direction: Direction,
        looked: Looked,
        with_mail: bool,
        report: &mut Report,
    ) -> Outcome<()> {
        report.warnings.extend(others::warning(
            looked.other.as_ref(),
            &looked.observed.plan,
        ));
        if with_mail {
            report.settling = looked.observed.settling;
        }
        let fates = self.fates_seen(opened, &looked.observed.plan).await?;
        show::dry_run(report, &looked.observed, with_mail, fates);
        report
            .warnings
            .extend(show::link_warnings(&looked.observed.seen));
        if looked.stop.is_none() {
            self.ingest_dry(opened, direction, report).await?;
        }
        match looked.stop {
            Some(stop) => Err(show::stopped(report, stop)),
            // The run itself would leave them too.
            None => crate::apply::partial(&report.counts).map_or(Ok(()), Err),
        }
    }

    /// Takes the lease where it is needed; whoever had to wait for it looks again.
    async fn begin(
        &self,
        opened: &mut Opened,
        direction: Direction,
        mut looked: Looked,
        with_mail: bool,
        report: &mut Report,
    ) -> Outcome<Looked> {
        if let (None, Some(finding)) = (&looked.stop, looked.finding.take()) {
            identity::accept(self, opened, finding, &looked.observed).await?;
        }
        let is_stopped = looked.stop.is_some();
        match self
            .may_begin(opened, &looked.observed, is_stopped, with_mail)
            .await
        {
            Ok(Taken::AtOnce) => {}
            Ok(Taken::AfterWaiting) => {
                looked = self.look(opened, direction, report).await?;
                if let (None, Some(finding)) = (&looked.stop, looked.finding.take()) {
                    identity::accept(self, opened, finding, &looked.observed).await?;
                }
            }
            Err(failure) => {
                return Err(match looked.stop {
                    Some(stop) if failure.kind == FailureKind::Busy => show::stopped(report, stop),
                    stop => {
                        report.guard = stop;
                        failure
                    }
                });
            }
        }
        if looked.stop.is_none() {
            parting::part_ways(self, opened, &looked.observed).await?;
        }
        Ok(looked)
    }

    /// Does what the look has shown, as far as the guards let it.
    async fn carry_out(
        &self,
        opened: &mut Opened,
        direction: Direction,
        looked: Looked,
        with_mail: bool,
        report: &mut Report,
    ) -> Outcome<()> {
        let Looked {
            observed,
            stop,
            other,
            ..
        } = looked;
        opened.again = stop.is_none() && observed.plan.again;
        opened.has_changed |= stop.is_none() && observed.plan.actions().any(identity::changes_base);
        report.warnings.extend(show::link_warnings(&observed.seen));
        if stop.is_none() {
            others::accept(self, opened, other.as_ref()).await?;
            let told = others::warning(other.as_ref(), &observed.plan);
            report.warnings.extend(told);
        }
        let audit = observed.audit.clone();
        let looked = (observed, stop);
        let (observed, stop, unsent) = self.ingest(opened, direction, looked, report).await?;
        let guarded = stop.is_some();
        let applied = self
            .apply(opened, direction, observed, guarded, with_mail, report)
            .await;
        if stop.is_none() {
            self.audited(opened, &audit, &applied).await?;
        }
        match (stop, applied) {
            // Who stopped the run wants to hear that it stopped; the guard will speak again.
            (Some(stop), Err(failure)) if self.cancel.is_stopped() => {
                report.guard = Some(stop);
                Err(failure)
            }
            (Some(stop), Err(failure)) if failure.kind != FailureKind::Partial => {
                report.close(Some(&failure));
                Err(show::stopped(report, stop))
            }
            (Some(stop), _) => Err(show::stopped(report, stop)),
            (None, applied) => applied.and(unsent.map_or(Ok(()), Err)),
        }
    }
}

/// Whether a pair has a base.
async fn holds_something(state: &State, pair: &PairId) -> Outcome<bool> {
    let totals = state.base_totals(pair).await?;
    Ok(totals.files + totals.dirs > 0)
}

/// Sets the database aside, when there is one.
async fn set_aside(own_dir: &Path) -> Outcome<Option<PathBuf>> {
    match State::set_aside(own_dir, Utc::now()).await {
        Ok(kept) => Ok(Some(kept)),
        Err(StateError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
