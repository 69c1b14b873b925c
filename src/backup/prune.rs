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

use std::collections::BTreeMap;

use ows_providers::{Entry, ErrorKind, Precondition, Provider, RelPath, Version};
use serde::Serialize;

use super::catalog::{Catalog, Snapshot};
use super::intents::settle;
use super::lock::BackupLock;
use super::name::{Part, SnapshotName};
use super::retention::{Policy, decide};
use super::settings::BackupSettings;
use super::unlisted::Leftover;
use super::{run, unlisted};
use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};
use crate::ids::RunId;
use crate::report::Report;
use crate::state::{BackupOutcome, State};

/// Under which name it is remembered that a smaller snapshot was accepted.
const ACCEPTED: &str = "backup prune --accept-shrink";

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

/// What is to be removed, in this order.
#[derive(Debug, Clone, Default)]
pub struct PrunePlan {
    kept: Vec<Kept>,
    snapshots: Vec<Going>,
    /// Objects of the old plugin.
    objects: Vec<Entry>,
    /// What belongs to no snapshot.
    unlisted: BTreeMap<SnapshotName, Leftover>,
    warnings: Vec<String>,
}

/// A snapshot that goes.
#[derive(Debug, Clone)]
struct Going {
    name: SnapshotName,
    manifest_version: Option<Version>,
    /// All its objects but the manifest.
    objects: BTreeMap<String, Entry>,
}

impl PrunePlan {
    /// Decides what goes. `just_made` is the snapshot that this run has made.
    pub fn new(
        catalog: &Catalog,
        settings: &BackupSettings,
        options: &PruneOptions,
        just_made: Option<SnapshotName>,
    ) -> Self {
        let mut plan = Self::default();
        plan.judge(catalog, settings, just_made);
        if options.legacy {
            plan.judge_legacy(catalog, &settings.retain);
        }
        plan
    }

    fn judge(
        &mut self,
        catalog: &Catalog,
        settings: &BackupSettings,
        just_made: Option<SnapshotName>,
    ) {
        let of_profile = catalog
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.manifest.profile == settings.profile);
        let (whole, broken): (Vec<_>, Vec<_>) =
            of_profile.partition(|snapshot| snapshot.faults().is_empty());
        if let Some(unread) = catalog.unusable.iter().find(|unusable| unusable.unread) {
            let why = format!(
                "nothing is pruned while the manifest of `{}` cannot be fetched: which profile it belongs to is not known",
                unread.name
            );
            self.warnings.push(why.clone());
            self.kept
                .extend(whole.iter().chain(&broken).map(|snapshot| Kept {
                    name: snapshot.name.to_string(),
                    reasons: vec![why.clone()],
                }));
            self.kept.sort_by(|a, b| b.name.cmp(&a.name));
            return;
        }
        self.kept.extend(broken.into_iter().map(|snapshot| Kept {
            name: snapshot.name.to_string(),
            reasons: vec![
                "not all of its objects are there: look at it before you remove it".to_owned(),
            ],
        }));
        let (whole, plain): (Vec<_>, Vec<_>) = whole
            .into_iter()
            .partition(|snapshot| snapshot.manifest.encryption.is_on() || !settings.encrypts());
        self.kept.extend(plain.into_iter().map(|snapshot| Kept {
            name: snapshot.name.to_string(),
            reasons: vec![
                "not encrypted, and this host encrypts: look at it before you remove it".to_owned(),
            ],
        }));
        let times = whole
            .iter()
            .map(|snapshot| (snapshot.name.taken_at(), snapshot.name));
        for verdict in decide(
            times,
            &settings.retain,
            catalog.horizon(),
            just_made.as_ref(),
        ) {
            if verdict.stays() {
                self.kept.push(Kept {
                    name: verdict.snapshot.to_string(),
                    reasons: words(&verdict.reasons),
                });
            } else if let Some(snapshot) = catalog.find(verdict.snapshot) {
                self.snapshots.push(Going::from(snapshot));
            }
        }
        self.kept.sort_by(|a, b| b.name.cmp(&a.name));
    }

    fn judge_legacy(&mut self, catalog: &Catalog, policy: &Policy) {
        let times = catalog
            .legacy
            .iter()
            .filter_map(|legacy| Some((legacy.name.taken_at()?, legacy.name.clone())));
        for verdict in decide(times, policy, catalog.horizon(), None) {
            let reasons = words(&verdict.reasons);
            let found = catalog
                .legacy
                .iter()
                .find(|legacy| legacy.name == verdict.snapshot);
            match found {
                Some(legacy) if reasons.is_empty() => self.objects.push(legacy.entry.clone()),
                _ => self.kept.push(Kept {
                    name: verdict.snapshot.to_string(),
                    reasons,
                }),
            }
        }
        let timeless = catalog
            .legacy
            .iter()
            .filter(|legacy| legacy.name.taken_at().is_none());
        self.kept.extend(timeless.map(|legacy| Kept {
            name: legacy.name.to_string(),
            reasons: vec!["its name tells no time".to_owned()],
        }));
    }

    /// What it would do.
    pub fn show(&self) -> Pruned {
        let snapshots = self.snapshots.iter().map(|going| going.name.to_string());
        let left = || self.unlisted.values();
        let objects = self
            .objects
            .iter()
            .chain(left().flat_map(|left| &left.objects));
        let uploads = left().flat_map(|left| &left.uploads);
        let uploads = uploads.map(|upload| upload.path.to_string());
        let of_snapshots = self.snapshots.iter().map(Going::size);
        Pruned {
            kept: self.kept.clone(),
            removed: snapshots
                .chain(objects.clone().map(|entry| entry.path.to_string()))
                .chain(uploads)
                .collect(),
            retained: Vec::new(),
            freed: of_snapshots
                .chain(objects.map(|entry| entry.size))
                .fold(0, u64::saturating_add),
            warnings: Vec::new(),
        }
    }
}

fn words(reasons: &[super::retention::Reason]) -> Vec<String> {
    reasons
        .iter()
        .map(|reason| reason.describe().to_owned())
        .collect()
}

impl From<&Snapshot> for Going {
    fn from(snapshot: &Snapshot) -> Self {
        let mut objects = snapshot.objects.clone();
        objects.remove(&snapshot.name.object(Part::Manifest));
        Self {
            name: snapshot.name,
            manifest_version: snapshot.manifest_version.clone(),
            objects,
        }
    }
}

impl Going {
    fn size(&self) -> u64 {
        self.objects
            .values()
            .fold(0, |sum, entry| sum.saturating_add(entry.size))
    }
}

/// The newest snapshot of a profile is much smaller than the largest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrink {
    /// The newest one.
    pub newest: SnapshotName,
    /// In words: how much smaller, and what follows.
    pub message: String,
}

/// Looks whether the snapshot just made, else the newest of the profile, is smaller than `min_size` per cent of the largest
/// before it, in files or in bytes before compression; those older than one that a person has accepted do not count. What
/// is from the future is neither judged nor compared with, nor is a plain one where this host encrypts.
pub async fn shrink(
    catalog: &Catalog,
    settings: &BackupSettings,
    state: &State,
    just_made: Option<SnapshotName>,
) -> Outcome<Option<Shrink>> {
    let accepted = state
        .backup_outcomes(&catalog.remote.id, &settings.profile)
        .await?
        .into_iter()
        .find(|outcome| outcome.command == ACCEPTED)
        .and_then(|outcome| outcome.snapshot?.parse::<SnapshotName>().ok())
        .filter(|accepted| !catalog.is_from_future(*accepted));
    let judged = match just_made {
        Some(name) => catalog.find(name),
        None => catalog.newest(&settings.profile, settings.encrypts()),
    };
    let Some(newest) = judged else {
        return Ok(None);
    };
    let before = catalog
        .of_profile(&settings.profile, settings.encrypts())
        .filter(|snapshot| {
            snapshot.name != newest.name
                && !catalog.is_from_future(snapshot.name)
                && accepted.is_none_or(|accepted| snapshot.name >= accepted)
        });
    let (mut files, mut bytes) = (0, 0);
    for snapshot in before {
        files = files.max(snapshot.manifest.totals.files);
        bytes = bytes.max(snapshot.manifest.totals.bytes);
    }
    let totals = newest.manifest.totals;
    let is_small = |now: u64, before: u64| {
        u128::from(now) * 100 < u128::from(before) * u128::from(settings.min_size)
    };
    if !is_small(totals.files, files) && !is_small(totals.bytes, bytes) {
        return Ok(None);
    }
    Ok(Some(Shrink {
        newest: newest.name,
        message: format!(
            "the snapshot `{}` holds {} files with {} bytes, an earlier one held {files} files or {bytes} bytes: less \
             than {} per cent (`minSize`). It is kept, and nothing is pruned",
            newest.name, totals.files, totals.bytes, settings.min_size
        ),
    }))
}

/// The hint that goes with a [`Shrink`].
pub const SHRINK_HINT: &str = "see whether something is missing; when it is as it should be, type `ows backup prune --accept-shrink`";

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
