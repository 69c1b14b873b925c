//! A run once it has begun: lock, open, and the passes that it makes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use ows_providers::{Entry, RemoteIdentity};

use super::audit::Audit;
use super::lease::{Lease, Taken};
use super::observe::Seen;
use super::roots::{self, LocalRoot};
use super::scope::Scope;
use super::{
    FirstSync, PairLock, PairSettings, SyncMode, SyncOptions, mirror, overlap, pair_id, show,
};
use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};
use crate::ids::RunId;
use crate::local::{LocalFolder, ReplicaId};
use crate::plan::guards::{GuardName, Stop};
use crate::plan::{Direction, Plan};
use crate::report::{Phase, Report, Reporter};
use crate::state::{NewPair, PairRecord, State, StateError, StateFaults};

/// How long the end of a run waits for the database to be closed.
const CLOSING: Duration = Duration::from_secs(1);

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
    pub(super) has_base: bool,
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
    /// What of the base was read again.
    pub(super) audit: Audit,
}

impl Run<'_> {
    pub(super) async fn whole(&self, report: &mut Report) -> Outcome<()> {
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
    async fn open(&self, identity: RemoteIdentity, report: &mut Report) -> Outcome<Opened> {
        let settings = self.settings;
        let pair = pair_id(&identity);
        self.reporter.phase(Phase::Waiting);
        let lock =
            PairLock::take(&settings.own_dir, &pair, self.options.wait, &self.cancel).await?;
        if self.options.rebuild_state && !self.options.dry_run {
            let kept = set_aside(&settings.own_dir).await?;
            report.warnings.extend(
                kept.map(|kept| format!("the database was set aside as `{}`", kept.display())),
            );
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
            lease: tokio::sync::Mutex::default(),
            _locks: (lock, folder_lock),
        })
    }

    async fn passes(&self, opened: &Opened, report: &mut Report) -> Outcome<()> {
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
            if self.options.dry_run || !goes_on {
                return filled;
            }
        }
        let with_mail = self.options.direction.is_none() && self.settings.mode == SyncMode::Mailbox;
        self.pass(opened, self.direction(), with_mail, report)
            .await
            .and(filled)
    }

    /// Looks at both sides, plans, and asks the guards.
    async fn look(
        &self,
        opened: &Opened,
        direction: Direction,
    ) -> Outcome<(Observed, Option<Stop>)> {
        let observed = self.observe(opened, direction).await?;
        let stop = self
            .bounded(self.guard(opened, direction, &observed))
            .await?;
        Ok((observed, stop))
    }

    /// What comes before the ordinary pass where the two sides have nothing, or not all, agreed on.
    async fn fills_first(&self, opened: &Opened) -> Outcome<Option<Direction>> {
        if self.options.direction.is_some() || self.settings.mode != SyncMode::Mailbox {
            return Ok(None);
        }
        let fills = match self.settings.first_sync {
            FirstSync::Remote => !opened.has_base || roots::needs_filling(opened).await?,
            FirstSync::Merge => roots::needs_merge(opened).await?,
            FirstSync::Ask | FirstSync::Local => false,
        };
        let direction = match self.settings.first_sync {
            FirstSync::Merge => Direction::Merge,
            _ => Direction::Pull,
        };
        Ok(fills.then_some(direction))
    }

    /// Ends with the run's stop, also while the remote does not answer.
    pub(super) async fn bounded<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        self.cancel
            .unless_stopped(work)
            .await
            .unwrap_or_else(|| Err(self.cancel.failure()))
    }

    fn direction(&self) -> Direction {
        self.options
            .direction
            .unwrap_or_else(|| self.settings.mode.direction())
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
        let (mut observed, mut stop) = self.look(opened, direction).await?;
        let caution = observed.plan.caution;
        report
            .warnings
            .extend(mirror::warning(self.settings, caution));
        if self.options.dry_run {
            show::dry_run(report, &observed, with_mail);
            report.warnings.extend(show::link_warnings(&observed.seen));
            if stop.is_none() {
                self.ingest_dry(opened, direction, report).await?;
            }
            return match stop {
                Some(stop) => Err(show::stopped(report, stop)),
                // The run itself would leave them too.
                None => crate::apply::partial(&report.counts).map_or(Ok(()), Err),
            };
        }
        match self
            .may_begin(opened, &observed, stop.is_some(), with_mail)
            .await
        {
            Ok(Taken::AtOnce) => {}
            Ok(Taken::AfterWaiting) => (observed, stop) = self.look(opened, direction).await?,
            Err(failure) => {
                return Err(match stop {
                    Some(stop) if failure.kind == FailureKind::Busy => show::stopped(report, stop),
                    _ => failure,
                });
            }
        }
        report.warnings.extend(show::link_warnings(&observed.seen));
        let audit = observed.audit.clone();
        let looked = (observed, stop);
        let (observed, stop, unsent) = self.ingest(opened, direction, looked, report).await?;
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
