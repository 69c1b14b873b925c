//! What a pass does: both sides and the base are changed, then `_outbox` is drained.

use std::sync::Arc;

use chrono::Utc;
use ows_providers::{Enforcement, Entry, EntryKind};

use super::lease::Taken;
use super::run::{Observed, Opened, Run};
use super::{SyncMode, drain, housekeeping, identity, others, roots};
use crate::apply::{Applier, Permit, Shared};
use crate::error::Outcome;
use crate::local::ReplicaId;
use crate::plan::{Action, Caution, Direction, Fate, Fates, Op, Plan, Record, Side};
use crate::report::{Phase, Report};
use crate::state::BaseWriter;

/// For how long is believed what a probe has found.
const PROBE_AGAIN_AFTER: chrono::Duration = chrono::Duration::hours(24);

impl Observed {
    /// Whether the remote is about to be changed.
    fn writes_remote(&self, opened: &Opened, guarded: bool, with_mail: bool) -> bool {
        let first = opened.pair.first_synced_at.is_none();
        let mut actions = self.plan.actions();
        // A folder that keeps something here is created again there.
        let may_bring_back = |action: &Action| {
            self.plan.brings_back
                && action.op == Op::DeleteLocal
                && action.key.kind == EntryKind::Dir
        };
        let pushes =
            actions.any(|action| action.op.writes_to() == Side::Remote || may_bring_back(action));
        let drains = with_mail && !self.outbox.is_empty();
        drains || (!guarded && (pushes || (first && with_mail)))
    }
}

impl Run<'_> {
    /// Takes the lease when the remote is about to be changed.
    ///
    /// # Errors
    /// When another host has it, or it cannot be found out who has it.
    pub(super) async fn may_begin(
        &self,
        opened: &Opened,
        observed: &Observed,
        guarded: bool,
        with_mail: bool,
    ) -> Outcome<Taken> {
        if !observed.writes_remote(opened, guarded, with_mail) {
            return Ok(Taken::AtOnce);
        }
        let enforcement = self.enforcement(opened).await?;
        self.take_lease(opened, enforcement).await
    }

    /// Changes both sides and the base, then drains. What was finished counts, whatever comes after it.
    pub(super) async fn apply(
        &self,
        opened: &Opened,
        direction: Direction,
        observed: Observed,
        guarded: bool,
        with_mail: bool,
        report: &mut Report,
    ) -> Outcome<()> {
        let first = opened.pair.first_synced_at.is_none();
        let writes_remote = observed.writes_remote(opened, guarded, with_mail);
        let (applier, writer) = self
            .prepare(opened, direction, &observed, guarded, with_mail)
            .await?;
        if with_mail {
            report.settling = observed.settling;
        }
        report.fates.learn(&observed.plan, applier.fates);
        let known_before = observed.plan.skipped.len() as u64;
        let undecided = observed.plan.undecided;
        let caution = observed.plan.caution;
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
        // What could not be read is another matter: the next run decides about it.
        if result.is_ok() && written.is_ok() && !guarded && left == known_before && undecided == 0 {
            roots::complete(opened).await?;
            identity::settled(opened).await?;
            // A cautious run may have left out of the base what is on both sides.
            if caution == Caution::None {
                let ended = opened.state.forget_ended_conflicts(&opened.pair.id);
                ended.await?;
            }
        }
        if result.is_ok() && with_mail {
            let is_first = first && !guarded;
            result = self
                .deliver(opened, &applier, observed.outbox, is_first)
                .await;
        }
        self.add_up(&applier, report);
        result?;
        written?;
        self.reporter.phase(Phase::Finishing);
        if !quiet {
            let has_sent = writes_remote || report.counts.upload > 0;
            applier.may_write().await?;
            self.bounded(housekeeping::purge(self, opened, has_sent))
                .await?;
        }
        match applier.tally().partial() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Marks the beginning in the base and in the folder, and hands out what carries the plan out.
    async fn prepare(
        &self,
        opened: &Opened,
        direction: Direction,
        observed: &Observed,
        guarded: bool,
        with_mail: bool,
    ) -> Outcome<(Arc<Applier>, BaseWriter)> {
        self.bounded(housekeeping::tidy(self, opened, observed))
            .await?;
        let enforcement = if observed.writes_remote(opened, guarded, with_mail) {
            self.enforcement(opened).await?
        } else {
            Enforcement::default()
        };
        let plan = &observed.plan;
        // A folder that was only added to is this replica's from now on, also when there was nothing to add.
        let takes_over = plan.caution == Caution::OnlyAdd;
        // A first run marks the folder also when there is nothing in it yet.
        let is_first = !opened.has_base;
        let changes_base =
            !guarded && (!plan.is_quiet() || takes_over || is_first || !plan.records.is_empty());
        // Asked before the beginning is noted, which changes what is known of the past.
        let keeps_all = self.keeps_all(opened, plan).await?;
        let marker = if changes_base {
            others::note_beginning(self, opened).await?;
            let brings_back = opened.has_base
                && (direction != Direction::Both || roots::is_another_folder(opened)?);
            // A mirror may be a bisync the next time.
            if self.settings.mode != SyncMode::Mailbox && brings_back {
                self.forget_what_is_missing(opened, plan).await?;
            }
            roots::begin(opened, direction).await?;
            opened.state.raise_generation(&opened.pair.id).await?;
            Some(opened.scope.replica.clone())
        } else {
            roots::marker(&opened.local)?
        };
        let writer = opened.state.base_writer(&opened.pair.id, &self.id);
        let mut applier = self.applier(opened, enforcement, writer.handle(), marker, keeps_all);
        let lease = opened.lease.lock().await.clone();
        applier.permit = lease.map(|lease| lease as Arc<dyn Permit>);
        Ok((Arc::new(applier), writer))
    }

    /// What is missing in another folder than the one that the base was made in was deleted by nobody, and what a one-way
    /// run or a resync brings back is not to be deleted after all. Before anything is done, and before the folder is marked,
    /// the base forgets that, and what the run leaves alone: where a transfer fails, or the run is killed, the next one
    /// finds what is new on one side, and not what seems to be deleted on the other.
    async fn forget_what_is_missing(&self, opened: &Opened, plan: &Plan) -> Outcome<()> {
        let writer = opened.state.base_writer(&opened.pair.id, &self.id);
        let base = writer.handle();
        // Whether an action knows of a row does not tell whether there is one: a resync leaves rows out of account.
        let fills = plan.actions().filter(|action| match action.op {
            Op::Download | Op::CreateDirLocal => action.local.is_none(),
            Op::Upload | Op::CreateDirRemote => action.remote.is_none(),
            _ => false,
        });
        let left = plan.records.iter().filter_map(|record| match record {
            Record::Forget(key) => Some(key),
            Record::Agree(_) | Record::Stored { .. } => None,
        });
        for key in fills.map(|action| &action.key).chain(left) {
            base.forget(key.clone()).await?;
        }
        Ok(writer.finish().await?)
    }

    /// Carries the files of `_outbox` to `_inbox`.
    async fn deliver(
        &self,
        opened: &Opened,
        applier: &Arc<Applier>,
        outbox: Vec<Entry>,
        is_first: bool,
    ) -> Outcome<()> {
        if is_first {
            let made = housekeeping::first_run(self, opened, applier);
            self.bounded(made).await?;
        }
        self.reporter.phase(Phase::Draining);
        drain::drain(applier, outbox).await.map(|_| ())
    }

    pub(super) fn applier(
        &self,
        opened: &Opened,
        enforcement: Enforcement,
        base: crate::state::BaseHandle,
        marker: Option<ReplicaId>,
        keep_all: bool,
    ) -> Applier {
        let settings = self.settings;
        let root = Arc::clone(&opened.local);
        Applier {
            provider: Arc::clone(&settings.provider),
            local: Arc::clone(&opened.local),
            state: opened.state.clone(),
            pair: opened.pair.id.clone(),
            run: self.id.clone(),
            pass: opened.pass,
            replica: opened.scope.replica.clone(),
            base,
            enforcement,
            fates: self.fates(enforcement, keep_all),
            transfers: self.transfers(),
            keep_actions: self.options.keep_actions,
            reporter: Arc::clone(&self.reporter),
            cancel: self.cancel.clone(),
            permit: None,
            root_is_there: Box::new(move || root.still_there(marker.as_ref())),
            shared: Shared::default(),
        }
    }

    /// What becomes of displaced content. Whoever keeps all does so also where the trash is switched off.
    pub(super) fn fates(&self, enforcement: Enforcement, keep_all: bool) -> Fates {
        let settings = self.settings;
        let has_own = settings.provider.capabilities().bin || enforcement.versioning == Some(true);
        let kept = |switched_on| {
            if switched_on || keep_all {
                Fate::Trash
            } else {
                Fate::Dropped
            }
        };
        Fates {
            local: kept(settings.trash_local),
            remote: if has_own {
                Fate::Provider
            } else {
                kept(settings.trash_remote)
            },
        }
    }

    /// The same for a run that only looks. What the remote enforces is what an earlier run has found out.
    pub(super) async fn fates_seen(&self, opened: &Opened, plan: &Plan) -> Outcome<Fates> {
        let known = opened.state.enforcement(&opened.enforcement_key).await?;
        let enforcement = known.map_or_else(Enforcement::default, |(known, _)| known);
        Ok(self.fates(enforcement, self.keeps_all(opened, plan).await?))
    }

    /// Where the past is in doubt, and in a first run, everything is kept, also by those who otherwise keep nothing.
    async fn keeps_all(&self, opened: &Opened, plan: &Plan) -> Outcome<bool> {
        Ok(!opened.has_base
            || plan.caution == Caution::RolledBack
            || roots::first_run_is_open(opened).await?
            || roots::needs_filling(opened).await?)
    }

    /// What the remote enforces: known from an earlier run, or found out now. Whether old versions are kept decides
    /// about the trash and may be switched off, so what is known is tried again after a day.
    pub(super) async fn enforcement(&self, opened: &Opened) -> Outcome<Enforcement> {
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

    pub(super) fn add_up(&self, applier: &Applier, report: &mut Report) {
        let mut tally = applier.tally();
        report.counts.merge(&tally.counts);
        report.bytes.up += tally.bytes.up;
        report.bytes.down += tally.bytes.down;
        report.errors.append(&mut tally.errors);
        report.warnings.append(&mut tally.warnings);
        report.actions.append(&mut tally.actions);
    }
}
