//! One run of `sync`, from top to bottom: lock, observe, plan, guard, apply, drain.
//!
//! Single paths are decided in [`crate::plan`] and handled in [`crate::apply`]. This module knows the order of things, and
//! what must hold between them.

pub mod connect;
mod drain;
mod housekeeping;
mod lock;
mod observe;
mod roots;
pub mod scope;
mod settings;
mod settle;
mod show;
pub mod status;
pub mod trash;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use ows_providers::{Enforcement, Entry, ErrorKind, RelPath, RemoteIdentity};

use crate::apply::{Applier, Shared};
use crate::cancel::{Cancel, StopCause};
use crate::error::{Failure, FailureKind, Outcome};
use crate::ids::{PairId, RunId};
use crate::local::{LocalFolder, ReplicaId};
use crate::plan::guards::{self, GuardName, Stop};
use crate::plan::{Direction, Plan, Planner, Rules, Side, mailbox};
use crate::report::{ApiCalls, Phase, Report, Reporter};
use crate::state::{NewPair, PairRecord, State, StateError, StateFaults};
use observe::{Seen, Sides};
use roots::LocalRoot;
use scope::Scope;

pub use lock::PairLock;
pub use settings::{Finished, FirstSync, PairSettings, SyncOptions};

/// For how long is believed what a probe has found.
const PROBE_AGAIN_AFTER: chrono::Duration = chrono::Duration::hours(24);

/// How long the end of a run waits for the database to be closed.
const CLOSING: Duration = Duration::from_secs(1);

/// Carries out one run of mailbox mode, or a one-way run of it.
pub async fn sync(
    settings: &PairSettings,
    options: &SyncOptions,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
) -> Finished {
    let mut report = Report::new("sync");
    report.mode = Some("mailbox".to_owned());
    report.dry_run = options.dry_run;
    let limit = options.timeout.unwrap_or(settings.timeout);
    let run = Run {
        settings,
        options,
        reporter,
        cancel: cancel.clone(),
        id: RunId::random(report.started_at),
    };
    report.run_id = Some(run.id.to_string());
    let result = {
        let work = run.whole(&mut report);
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => result,
            () = tokio::time::sleep(limit) => {
                cancel.stop(StopCause::TimedOut);
                work.await
            }
        }
    };
    let counts = settings.counter.counts();
    report.api_calls = ApiCalls::from(&counts);
    report.close(result.as_ref().err());
    Finished {
        report,
        failure: result.err(),
    }
}

struct Run<'a> {
    settings: &'a PairSettings,
    options: &'a SyncOptions,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
    id: RunId,
}

/// What a run works on once the lock is held.
struct Opened {
    pair: PairRecord,
    enforcement_key: String,
    state: State,
    local: Arc<LocalFolder>,
    scope: Arc<Scope>,
    has_base: bool,
    _locks: (PairLock, PairLock),
}

/// What a pass over both sides has shown.
struct Observed {
    plan: Plan,
    seen: Seen,
    /// Files of `_outbox` that are complete.
    outbox: Vec<Entry>,
}

impl Run<'_> {
    async fn whole(&self, report: &mut Report) -> Outcome<()> {
        let described = self
            .cancel
            .unless_stopped(self.settings.provider.describe())
            .await;
        let identity = described.ok_or_else(|| self.cancel.failure())??;
        let opened = self.open(identity, report).await?;
        opened
            .state
            .start_run(&self.id, Some(&opened.pair.id), "sync", report.started_at)
            .await?;
        let result = self.passes(&opened, report).await;
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
    async fn open(&self, identity: RemoteIdentity, report: &mut Report) -> Outcome<Opened> {
        let settings = self.settings;
        let pair = pair_id(&identity);
        self.reporter.phase(Phase::Waiting);
        let lock =
            PairLock::take(&settings.own_dir, &pair, self.options.wait, &self.cancel).await?;
        if self.options.rebuild_state && !self.options.dry_run {
            set_aside(&settings.own_dir).await?;
        }
        let state = match &self.options.state_faults {
            None => State::open(&settings.own_dir).await?,
            Some(StateFaults(faults)) => {
                State::open_with_faults(&settings.own_dir, Arc::clone(faults)).await?
            }
        };
        let known = state.pair(&pair).await?;
        let has_base = known.is_some() && {
            let totals = state.base_totals(&pair).await?;
            totals.files + totals.dirs > 0
        };
        let opening = roots::open_local(settings, has_base, self.direction(), self.options.dry_run);
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
        let pair = state.ensure_pair(&new).await?;
        let scope = Arc::new(roots::scope(settings, &local, &pair)?);
        Ok(Opened {
            pair,
            enforcement_key: identity.id,
            state,
            local,
            scope,
            has_base,
            _locks: (lock, folder_lock),
        })
    }

    async fn passes(&self, opened: &Opened, report: &mut Report) -> Outcome<()> {
        let fill_first = self.options.direction.is_none()
            && self.settings.first_sync == FirstSync::Remote
            && (!opened.has_base || roots::needs_filling(opened).await?);
        let mut filled = Ok(());
        if fill_first {
            filled = self.pass(opened, Direction::Pull, false, report).await;
            let is_partial =
                matches!(&filled, Err(failure) if failure.kind == FailureKind::Partial);
            let goes_on = filled.is_ok() || is_partial && !roots::needs_filling(opened).await?;
            if self.options.dry_run || !goes_on {
                return filled;
            }
        }
        let with_mail = self.options.direction.is_none();
        self.pass(opened, self.direction(), with_mail, report)
            .await
            .and(filled)
    }

    /// Ends with the run's stop, also while the remote does not answer.
    async fn bounded<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        self.cancel
            .unless_stopped(work)
            .await
            .unwrap_or_else(|| Err(self.cancel.failure()))
    }

    fn direction(&self) -> Direction {
        self.options.direction.unwrap_or(Direction::Push)
    }

    /// Makes one side equal to the other, and drains.
    async fn pass(
        &self,
        opened: &Opened,
        direction: Direction,
        with_mail: bool,
        report: &mut Report,
    ) -> Outcome<()> {
        if let Some(stop) = roots::local_root(opened, direction, self.options).await? {
            return Err(show::stopped(report, stop));
        }
        let observed = self.observe(opened, direction).await?;
        report.warnings.extend(show::link_warnings(&observed.seen));
        let stop = self
            .bounded(self.guard(opened, direction, &observed))
            .await?;
        if self.options.dry_run {
            show::dry_run(report, &observed, with_mail);
            return match stop {
                Some(stop) => Err(show::stopped(report, stop)),
                // The run itself would leave them too.
                None => crate::apply::partial(&report.counts).map_or(Ok(()), Err),
            };
        }
        let applied = self
            .apply(
                opened,
                direction,
                observed,
                stop.is_some(),
                with_mail,
                report,
            )
            .await;
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
            (None, applied) => applied,
        }
    }

    async fn observe(&self, opened: &Opened, direction: Direction) -> Outcome<Observed> {
        let provider = self.settings.provider.as_ref();
        let capabilities = provider.capabilities();
        let rules = Rules {
            direction,
            remote_folders: capabilities.folders,
            remote_moves: capabilities.rename || capabilities.copy,
            names: capabilities.names,
        };
        let sides = Sides {
            provider,
            local: &opened.local,
            state: &opened.state,
            pair: &opened.pair.id,
            scope: &opened.scope,
            reporter: self.reporter.as_ref(),
        };
        self.reporter.phase(Phase::Observing);
        let mut found = self.looking(&sides, &rules).await?;
        if found.0.totals().has_shrunk() {
            // A listing that was cut short may say that it is complete. It is believed when it says so twice.
            tracing::warn!(totals = ?found.0.totals(), "the remote holds far fewer files than before; looking again");
            found = self.looking(&sides, &rules).await?;
        }
        let (mut planner, mut seen) = found;
        self.reporter.phase(Phase::Comparing);
        let transfers = self.transfers();
        settle::settle(
            &mut planner,
            &self.settings.provider,
            &opened.local,
            transfers,
            &self.cancel,
        )
        .await?;
        let now = provider.clock().unwrap_or_else(Utc::now);
        let complete = |entry: &Entry| {
            drain::is_complete(
                entry,
                capabilities.complete_objects,
                self.settings.settle,
                now,
            )
        };
        let outbox = std::mem::take(&mut seen.outbox)
            .into_iter()
            .filter(complete)
            .collect();
        Ok(Observed {
            plan: planner.finish(),
            seen,
            outbox,
        })
    }

    async fn looking(&self, sides: &Sides<'_>, rules: &Rules) -> Outcome<(Planner, Seen)> {
        self.bounded(sides.observe(rules.clone())).await
    }

    fn transfers(&self) -> usize {
        self.settings
            .transfers
            .unwrap_or(self.settings.provider.capabilities().parallel)
            .max(1)
    }

    /// The guards that look at what was found, in the order in which a person wants to hear of them.
    async fn guard(
        &self,
        opened: &Opened,
        direction: Direction,
        observed: &Observed,
    ) -> Outcome<Option<Stop>> {
        let forced = |guard| self.options.force.contains(&guard);
        let plan = &observed.plan;
        if opened.has_base
            && plan.totals.base > 0
            && !observed.seen.remote_has_anything
            && !forced(GuardName::RemoteRoot)
        {
            return Ok(Some(guards::remote_root(plan, direction)));
        }
        if !opened.has_base && !forced(GuardName::FirstSync) {
            let side = match direction {
                Direction::Push => Side::Remote,
                Direction::Pull => Side::Local,
            };
            let decided = match (self.settings.first_sync, direction) {
                (FirstSync::Remote, Direction::Pull) => self.options.direction.is_none(),
                (FirstSync::Local, Direction::Push) => {
                    plan.totals.local > 0 && !self.remote_was_synced().await?
                }
                _ => false,
            };
            if !decided && let Some(stop) = guards::first_sync(plan, side) {
                return Ok(Some(stop));
            }
            return Ok(None);
        }
        if forced(GuardName::MaxDelete) || !opened.has_base {
            return Ok(None);
        }
        Ok(guards::max_delete(plan, self.settings.max_delete))
    }

    /// Whether another replica has been here: the remote has a `.ows/` with something in it.
    async fn remote_was_synced(&self) -> Outcome<bool> {
        use futures::StreamExt;
        let options = ows_providers::ListOptions {
            below: RelPath::new(mailbox::OWN).ok(),
            shallow: true,
            ..ows_providers::ListOptions::default()
        };
        match self.settings.provider.list(options).next().await {
            None => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(error)) if error.kind == ErrorKind::NotFound => Ok(false),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Changes both sides and the base, then drains. What was finished counts, whatever comes after it.
    async fn apply(
        &self,
        opened: &Opened,
        direction: Direction,
        observed: Observed,
        guarded: bool,
        with_mail: bool,
        report: &mut Report,
    ) -> Outcome<()> {
        let first = opened.pair.first_synced_at.is_none();
        let mut actions = observed.plan.actions();
        let pushes = actions.any(|action| action.op.writes_to() == Side::Remote);
        drop(actions);
        let drains = with_mail && !observed.outbox.is_empty();
        let writes_remote = drains || (!guarded && (pushes || (first && with_mail)));
        self.bounded(housekeeping::tidy(self, opened, &observed))
            .await?;
        let enforcement = if writes_remote {
            self.enforcement(opened).await?
        } else {
            Enforcement::default()
        };
        let quiet_plan = observed.plan.is_quiet();
        let changes_base = !guarded && (!quiet_plan || !observed.plan.records.is_empty());
        let marker = if changes_base {
            roots::begin(opened, direction).await?;
            opened.state.raise_generation(&opened.pair.id).await?;
            Some(opened.scope.replica.clone())
        } else {
            roots::marker(&opened.local)?
        };
        let known_before = observed.plan.skipped.len() as u64;
        let writer = opened.state.base_writer(&opened.pair.id, &self.id);
        let applier = Arc::new(self.applier(opened, enforcement, writer.handle(), marker));
        self.announce(&observed, guarded, with_mail);
        let quiet = observed.plan.is_quiet() && observed.outbox.is_empty();
        let mut result = if guarded {
            Ok(())
        } else {
            applier.run(observed.plan).await
        };
        let written = writer.finish().await;
        let left = {
            let tally = applier.tally();
            tally.counts.failed + tally.counts.skipped
        };
        // What was left before anything was begun (names that cannot be used here) is left by every run.
        if result.is_ok() && written.is_ok() && !guarded && left == known_before {
            roots::complete(opened).await?;
        }
        if result.is_ok() && with_mail {
            if first && !guarded {
                let made = housekeeping::first_run(self, opened, &applier);
                result = self.bounded(made).await;
            }
            self.reporter.phase(Phase::Draining);
            if result.is_ok() {
                result = drain::drain(&applier, observed.outbox).await.map(|_| ());
            }
        }
        self.add_up(&applier, report);
        result?;
        written?;
        self.reporter.phase(Phase::Finishing);
        if !quiet {
            self.bounded(housekeeping::purge(self, opened)).await?;
        }
        match applier.tally().partial() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn applier(
        &self,
        opened: &Opened,
        enforcement: Enforcement,
        base: crate::state::BaseHandle,
        marker: Option<ReplicaId>,
    ) -> Applier {
        let settings = self.settings;
        let capabilities = settings.provider.capabilities();
        let root = Arc::clone(&opened.local);
        Applier {
            provider: Arc::clone(&settings.provider),
            local: Arc::clone(&opened.local),
            state: opened.state.clone(),
            pair: opened.pair.id.clone(),
            run: self.id.clone(),
            replica: opened.scope.replica.clone(),
            base,
            enforcement,
            keep_remote: settings.trash_remote
                && !capabilities.bin
                && enforcement.versioning != Some(true),
            keep_local: settings.trash_local,
            transfers: self.transfers(),
            keep_actions: self.options.keep_actions,
            reporter: Arc::clone(&self.reporter),
            cancel: self.cancel.clone(),
            root_is_there: Box::new(move || root.still_there(marker.as_ref())),
            shared: Shared::default(),
        }
    }

    /// What the remote enforces: known from an earlier run, or found out now. Whether old versions are kept decides
    /// about the trash and may be switched off, so what is known is tried again after a day.
    async fn enforcement(&self, opened: &Opened) -> Outcome<Enforcement> {
        let now = self.settings.provider.clock().unwrap_or_else(Utc::now);
        let known = opened.state.enforcement(&opened.enforcement_key).await?;
        if let Some((known, at)) = known
            && (now - at).abs() < PROBE_AGAIN_AFTER
        {
            return Ok(known);
        }
        let intent = housekeeping::intend(self, opened, housekeeping::PROBE, "").await?;
        let probed = self
            .cancel
            .unless_stopped(self.settings.provider.probe())
            .await;
        let enforcement = probed.ok_or_else(|| self.cancel.failure())??;
        opened
            .state
            .record_enforcement(&opened.enforcement_key, &enforcement, now)
            .await?;
        opened.state.resolve_intent(intent).await?;
        Ok(enforcement)
    }

    fn announce(&self, observed: &Observed, guarded: bool, with_mail: bool) {
        let (mut files, mut bytes) = (0, 0);
        if !guarded {
            files += observed.plan.transfers.len() as u64;
            bytes += observed
                .plan
                .transfers
                .iter()
                .map(crate::plan::Action::bytes)
                .sum::<u64>();
        }
        if with_mail {
            files += observed.outbox.len() as u64;
            bytes += observed.outbox.iter().map(|entry| entry.size).sum::<u64>();
        }
        self.reporter.phase(Phase::Applying);
        self.reporter.planned(files, bytes);
    }

    fn add_up(&self, applier: &Applier, report: &mut Report) {
        let mut tally = applier.tally();
        report.counts.merge(&tally.counts);
        report.bytes.up += tally.bytes.up;
        report.bytes.down += tally.bytes.down;
        report.errors.append(&mut tally.errors);
        report.warnings.append(&mut tally.warnings);
        report.actions.append(&mut tally.actions);
    }
}

/// The pair's name: the same remote folder is the same pair, whatever keys open it.
pub fn pair_id(identity: &RemoteIdentity) -> PairId {
    PairId::new(blake3::hash(identity.id.as_bytes()).to_hex()[..16].to_owned())
}

/// Sets the database aside, when there is one.
async fn set_aside(own_dir: &Path) -> Outcome<()> {
    match State::set_aside(own_dir, Utc::now()).await {
        Ok(_) => Ok(()),
        Err(StateError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
