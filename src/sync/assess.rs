//! What a pass over both sides shows, and whether a guard stops it.

use std::sync::Arc;

use chrono::Utc;
use futures::StreamExt;
use ows_providers::{Entry, ErrorKind, Listed, RelPath};

use super::observe::Seen;
use super::observe::Sides;
use super::run::{Observed, Opened, Run};
use super::{FirstSync, SyncMode, drain, identity, roots, settle, unmarked};
use crate::error::{Failure, Outcome};
use crate::plan::guards::{self, GuardName, Stop};
use crate::plan::{Caution, Direction, Planner, Rules, Side, mailbox};
use crate::report::Phase;

impl Run<'_> {
    pub(super) async fn observe(&self, opened: &Opened, direction: Direction) -> Outcome<Observed> {
        let provider = self.settings.provider.as_ref();
        let capabilities = provider.capabilities();
        let rules = Rules {
            direction,
            caution: match identity::caution(self, opened) {
                Caution::None if opened.only_own => Caution::OnlyOwn,
                Caution::None => unmarked::caution(self.settings, opened, direction)?,
                asked_for => asked_for,
            },
            ignore_base: self.ignores_base(opened),
            others_write: self.settings.mode == SyncMode::Bisync,
            resolve: self.settings.conflict_resolve,
            remote_folders: capabilities.folders,
            remote_moves: capabilities.rename || capabilities.copy,
            names: capabilities.names,
        };
        let mut audit = self.audit(opened).await?;
        let sides = Sides {
            provider,
            local: &opened.local,
            base: Some((&opened.state, &opened.pair.id)),
            scope: &opened.scope,
            audit: &audit,
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
        let (outbox, settling): (Vec<Entry>, Vec<Entry>) = std::mem::take(&mut seen.outbox)
            .into_iter()
            .partition(complete);
        let plan = planner.finish();
        audit.look_at(&plan);
        Ok(Observed {
            plan,
            seen,
            outbox,
            settling: settling.len() as u64,
            audit,
        })
    }

    /// Whether the base counts only where both sides are still as it says: when somebody asks for that, and where both
    /// sides may change after one of them was put back in time.
    fn ignores_base(&self, opened: &Opened) -> bool {
        let is_rolled_back = identity::caution(self, opened) == Caution::RolledBack;
        self.options.resync || self.settings.mode == SyncMode::Bisync && is_rolled_back
    }

    async fn looking(&self, sides: &Sides<'_>, rules: &Rules) -> Outcome<(Planner, Seen)> {
        self.bounded(sides.observe(rules.clone())).await
    }

    pub(super) fn transfers(&self) -> usize {
        self.settings
            .transfers
            .unwrap_or(self.settings.provider.capabilities().parallel)
            .max(1)
    }

    /// The guards that look at what was found, in the order in which a person wants to hear of them.
    pub(super) async fn guard(
        &self,
        opened: &Opened,
        direction: Direction,
        observed: &Observed,
    ) -> Outcome<Option<Stop>> {
        let forced = |guard| self.options.force.contains(&guard);
        let plan = &observed.plan;
        if opened.has_base
            && plan.totals.base > 0
            && !observed.seen.remote_takes_part
            && !forced(GuardName::RemoteRoot)
        {
            // Whoever unites both sides again has the choices of an ordinary run.
            let direction = if self.options.resync {
                Direction::Both
            } else {
                direction
            };
            let skips_caution = identity::caution(self, opened) == Caution::RolledBack;
            let stop = guards::remote_root(plan, direction, skips_caution);
            return Ok(Some(stop.directed(self.options.direction)));
        }
        // A merge deletes nothing, and what differs is kept twice.
        if direction == Direction::Merge {
            let decided = self.options.resync
                || self.settings.first_sync == FirstSync::Merge
                || forced(GuardName::FirstSync);
            return Ok(guards::join(plan).filter(|_| !decided));
        }
        if !opened.has_base && !forced(GuardName::FirstSync) {
            let side = match direction {
                Direction::Push => Side::Remote,
                Direction::Pull | Direction::Merge | Direction::Both => Side::Local,
            };
            let decided = match (self.settings.first_sync, direction) {
                (FirstSync::Remote, Direction::Pull) => {
                    self.options.direction.is_none() && roots::may_be_filled_over(opened).await?
                }
                (FirstSync::Local, Direction::Push) => {
                    plan.totals.local > 0 && !self.remote_was_synced().await?
                }
                _ => false,
            };
            let stop = guards::first_sync(plan, side).filter(|_| !decided);
            return Ok(stop.map(|stop| stop.directed(self.options.direction)));
        }
        if !opened.has_base {
            return Ok(None);
        }
        // What would be lost comes before what was changed.
        let (deletes, changes) = (self.settings.max_delete, self.settings.max_change);
        let stop = guards::max_delete(plan, deletes)
            .filter(|stop| !forced(stop.name))
            .or_else(|| guards::max_change(plan, changes).filter(|stop| !forced(stop.name)));
        Ok(stop.map(|stop| stop.directed(self.options.direction)))
    }

    /// Whether anything in the remote takes part in the sync. Asked before a first fill only, at the cost of one listing
    /// that ends with the first such path.
    pub(super) async fn remote_holds_something(&self, opened: &Opened) -> Outcome<bool> {
        let options = ows_providers::ListOptions {
            skip: RelPath::new(mailbox::OWN).into_iter().collect(),
            ..ows_providers::ListOptions::default()
        };
        let mut listing = self.settings.provider.list(options);
        while let Some(item) = self.bounded(async { Ok(listing.next().await) }).await? {
            match item {
                Ok(Listed::Entry(entry)) if !opened.scope.takes_part(&entry.path) => {}
                // What cannot be used or listed is there all the same.
                Ok(_) => return Ok(true),
                Err(error) if error.kind == ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Whether the first run takes the workspace as the truth under `firstSync: "local"`: it holds something, and no
    /// other replica was here.
    ///
    /// # Errors
    /// When either side cannot be looked at.
    pub(super) async fn pushes_first(&self, opened: &Opened) -> Outcome<bool> {
        let (local, scope) = (Arc::clone(&opened.local), Arc::clone(&opened.scope));
        let looked = tokio::task::spawn_blocking(move || {
            let mut walk = super::observe::walk(&local, &scope)?;
            Ok::<_, Failure>(walk.any(|seen| matches!(seen, crate::local::Observed::Entry(_))))
        });
        let holds_something = looked.await.map_err(|error| {
            Failure::failed("an internal error ended the look at the local folder")
                .with_source(error)
        })??;
        Ok(holds_something && !self.remote_was_synced().await?)
    }

    /// Whether another replica has been here: the remote has a `.ows/` with something in it.
    pub(super) async fn remote_was_synced(&self) -> Outcome<bool> {
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
}
