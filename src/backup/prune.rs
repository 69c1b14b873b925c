//! Removes the snapshots that no rule keeps.
//!
//! - Only snapshots of this backup's profile are judged, and only by their manifests. Those of other profiles, those whose
//!   manifest cannot be used, and what is none of ours stay whatever the rules say.
//! - A snapshot whose objects are not all there stays and takes part in no rule: it fills no bucket, so that it pushes no
//!   good one out.
//! - On a host that encrypts, a plain snapshot stays and takes part in no rule either: whoever can write to the storage puts
//!   one there without any key, and a few of them would push out every good one.
//! - While there is a snapshot whose manifest the storage does not hand out, no snapshot goes: it may be the newest one.
//! - The manifest goes first, then the data: at no moment is a snapshot listed that is not whole. Before that, its objects
//!   are recorded as an intent, so that a killed run's leftovers are removed by the next one.
//! - While the newest snapshot is much smaller than the largest one, nothing is removed until a person says that this is
//!   how it should be: `--accept-shrink`. What is younger than the accepted snapshot is compared from then on.
//! - The plan is a value: `--dry-run` shows it.

use ows_providers::{ErrorKind, Precondition, Provider, RelPath};
use serde::Serialize;

use super::catalog::Catalog;
use super::intents::settle;
use super::lock::BackupLock;
use super::name::{Part, SnapshotName};
use super::settings::BackupSettings;
use super::{run, unlisted};
use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};
use crate::ids::RunId;
use crate::report::Report;
use crate::state::{BackupOutcome, State};

mod plan;
mod shrink;

pub use plan::PrunePlan;
pub use shrink::{SHRINK_HINT, Shrink, shrink};

use plan::Going;
use shrink::ACCEPTED;

/// How a prune differs from the one after a backup.
#[derive(Debug, Clone, Copy, Default)]
pub struct PruneOptions {
    /// Show, remove nothing.
    pub dry_run: bool,
    /// Judge the snapshots of the old plugin too, by the same rules, among themselves.
    pub legacy: bool,
    /// Remove objects that no manifest counts.
    pub unlisted: bool,
    /// Take the newest snapshot's size as right.
    pub accept_shrink: bool,
    /// Wait so long for another command to end.
    pub wait: std::time::Duration,
}

/// A snapshot that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Why.
    pub reasons: Vec<String>,
}

/// What was, or would be, kept and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The snapshots that stay, newest first.
    pub kept: Vec<Kept>,
    /// The names of the snapshots that are gone, and of the objects without a snapshot.
    pub removed: Vec<String>,
    /// What the storage would not let go, such as locked objects: it stays for now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retained: Vec<String>,
    /// Bytes that were freed.
    pub freed: u64,
    /// What a person should hear of.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// How a prune ended: the report is complete in either case.
#[derive(Debug)]
pub struct FinishedPrune {
    /// What was done, in the words of all commands.
    pub report: Report,
    /// What was kept and removed.
    pub pruned: Pruned,
    /// Why the exit code is not 0.
    pub failure: Option<Failure>,
}

/// Prunes, and cleans what runs that failed have left.
pub async fn prune(
    settings: &BackupSettings,
    options: &PruneOptions,
    cancel: Cancel,
) -> FinishedPrune {
    let mut report = Report::new("backup prune");
    report.dry_run = options.dry_run;
    let mut pruned = Pruned::default();
    settings.counter.reset();
    let result = command(settings, options, &cancel, &mut report, &mut pruned).await;
    report.api_calls = (&settings.counter.counts()).into();
    report.close(result.as_ref().err());
    FinishedPrune {
        report,
        pruned,
        failure: result.err(),
    }
}

async fn command(
    settings: &BackupSettings,
    options: &PruneOptions,
    cancel: &Cancel,
    report: &mut Report,
    pruned: &mut Pruned,
) -> Outcome<()> {
    State::check_place(&settings.own_dir)?;
    let _lock = match options.dry_run {
        true => None,
        false => Some(BackupLock::take(&settings.own_dir, options.wait, cancel).await?),
    };
    let state = State::open(&settings.own_dir).await?;
    let id = match options.dry_run {
        true => RunId::random(report.started_at),
        false => run::begin(&state, report).await?,
    };
    let pruning = Pruning {
        settings,
        state: &state,
        run: &id,
    };
    let work = pruning.whole(options, report, pruned);
    let result = cancel.unless_stopped(work).await;
    let result = result.unwrap_or_else(|| Err(cancel.failure()));
    let result = result.map_err(|failure| run::waited_for(failure, settings));
    if !options.dry_run {
        let ended = run::Ended {
            settings,
            snapshot: None,
            success: result.is_ok(),
            failure: result.as_ref().err(),
        };
        run::end(&state, &id, ended, report).await;
    }
    result
}

/// What a prune works on. The lock is held, and earlier intents are settled.
#[derive(Debug, Clone, Copy)]
pub struct Pruning<'a> {
    /// The backup.
    pub settings: &'a BackupSettings,
    /// The database.
    pub state: &'a State,
    /// This run.
    pub run: &'a RunId,
}

impl Pruning<'_> {
    /// Settles, reads the catalog, prunes.
    async fn whole(
        &self,
        options: &PruneOptions,
        report: &mut Report,
        done: &mut Pruned,
    ) -> Outcome<()> {
        let provider = self.settings.provider.as_ref();
        if !options.dry_run {
            let remote = provider.describe().await?;
            let settled = settle(provider, self.state, &remote.id).await?;
            report.warnings.extend(settled.problems);
            done.removed.extend(settled.removed);
            done.retained.extend(settled.retained);
        }
        let catalog = Catalog::read(provider, Some(self.state)).await?;
        report
            .warnings
            .extend(catalog.warn_of_future(&self.settings.profile));
        let result = self.run(&catalog, options, None, done).await;
        report.warnings.append(&mut done.warnings);
        result
    }

    /// Plans by `catalog` and carries it out.
    ///
    /// # Errors
    /// [`FailureKind::Guard`] when the newest snapshot is much smaller; others when the storage or the database fail.
    /// What was removed before stands in `done`.
    pub async fn run(
        &self,
        catalog: &Catalog,
        options: &PruneOptions,
        just_made: Option<SnapshotName>,
        done: &mut Pruned,
    ) -> Outcome<()> {
        if let Some(shrink) = shrink(catalog, self.settings, self.state, just_made).await? {
            if !options.accept_shrink {
                return Err(Failure::new(FailureKind::Guard, shrink.message).with_hint(SHRINK_HINT));
            }
            if !options.dry_run {
                self.accept(catalog, &shrink).await?;
            }
        }
        let mut plan = PrunePlan::new(catalog, self.settings, options, just_made);
        done.warnings.append(&mut plan.warnings);
        let provider = self.settings.provider.as_ref();
        if options.unlisted {
            let found = unlisted::find(catalog, provider).await?;
            plan.kept.extend(found.kept);
            plan.unlisted = found.going;
            done.warnings.extend(found.warnings);
        }
        if options.dry_run {
            let shown = plan.show();
            (done.kept, done.removed, done.freed) = (shown.kept, shown.removed, shown.freed);
            return Ok(());
        }
        done.kept = plan.kept;
        for going in &plan.snapshots {
            self.remove(&catalog.remote.id, going, done).await?;
        }
        for entry in &plan.objects {
            if delete(provider, &entry.path, Precondition::Any, done).await? {
                done.removed.push(entry.path.to_string());
                done.freed += entry.size;
            }
        }
        for (name, left) in &plan.unlisted {
            unlisted::remove(provider, *name, left, done).await?;
        }
        Ok(())
    }

    async fn accept(&self, catalog: &Catalog, shrink: &Shrink) -> Outcome<()> {
        let outcome = BackupOutcome {
            command: ACCEPTED.to_owned(),
            success: true,
            run: self.run.clone(),
            snapshot: Some(shrink.newest.to_string()),
            at: self.settings.clock.now(),
            message: None,
        };
        Ok(self
            .state
            .record_backup_outcome(&catalog.remote.id, &self.settings.profile, &outcome)
            .await?)
    }

    /// Removes a snapshot: its manifest, by which it exists, then the rest.
    async fn remove(&self, remote: &str, going: &Going, done: &mut Pruned) -> Outcome<()> {
        let provider = self.settings.provider.as_ref();
        let name = going.name.to_string();
        let intent = self
            .state
            .record_backup_removal(
                remote,
                self.run,
                &name,
                self.settings.clock.now(),
                going.objects.keys(),
            )
            .await?;
        let manifest = RelPath::new(&going.name.object(Part::Manifest))
            .map_err(|error| Failure::failed("a snapshot has no usable name").with_source(error))?;
        let precondition = match &going.manifest_version {
            Some(version) => Precondition::Version(version.clone()),
            None => Precondition::Any,
        };
        if !delete(provider, &manifest, precondition, done).await? {
            self.state.resolve_backup_intent(intent).await?;
            let reasons = vec!["the storage refuses to remove it".to_owned()];
            done.kept.push(Kept { name, reasons });
            return Ok(());
        }
        done.removed.push(name.clone());
        self.state.forget_backup_proofs(remote, &name).await?;
        let mut is_gone = true;
        for entry in going.objects.values() {
            match delete(provider, &entry.path, Precondition::Any, done).await? {
                true => done.freed += entry.size,
                false => is_gone = false,
            }
        }
        // What is locked is removed by a later run: the intent names it until then.
        if is_gone {
            self.state.resolve_backup_intent(intent).await?;
        }
        Ok(())
    }
}

/// Deletes one object; `false` when the storage does not allow it, which is no failure: the object may be locked.
pub(super) async fn delete(
    provider: &dyn Provider,
    path: &RelPath,
    precondition: Precondition,
    done: &mut Pruned,
) -> Outcome<bool> {
    let deleted = match provider.delete(path, precondition).await {
        // Names of snapshots are random, and a manifest never changes: the condition is only a second belt.
        Err(error) if error.kind == ErrorKind::Unsupported => {
            provider.delete(path, Precondition::Any).await
        }
        result => result,
    };
    match deleted {
        Ok(()) => Ok(true),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind == ErrorKind::Forbidden => {
            done.retained.push(path.to_string());
            Ok(false)
        }
        Err(error) => Err(not_removed(error)),
    }
}

pub(super) fn not_removed(error: ows_providers::Error) -> Failure {
    let path = error.path.clone();
    let mut failure = Failure::from(error).with_path(path);
    "could not remove an object of a snapshot that is no longer kept"
        .clone_into(&mut failure.message);
    failure
}
