//! How backups stand: what the folder holds, how the last runs went, what was proven. Changes nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::catalog::{AHEAD, Catalog};
use super::proving::{VERIFY, strongest};
use super::settings::BackupSettings;
use crate::error::{Failure, Outcome};
use crate::report::rfc3339;
use crate::state::{BackupOutcome, BackupProof, State};

/// How the backups of a profile stand.
#[derive(Debug, Clone, Serialize)]
pub struct BackupStatus {
    /// The profile.
    pub profile: String,
    /// Where snapshots go, for people.
    pub remote: String,
    /// Snapshots of the profile.
    pub snapshots: u64,
    /// What all snapshots in the folder take, in bytes, those of other profiles and of the old plugin too.
    pub total_size: u64,
    /// The newest snapshot of the profile.
    pub newest: Option<Newest>,
    /// The last backup of this host that made a snapshot.
    pub last_success: Option<LastRun>,
    /// The last backup of this host that made none.
    pub last_failure: Option<LastRun>,
    /// When the next one is due, when they are made at intervals.
    #[serde(serialize_with = "optional_time")]
    pub next_run: Option<DateTime<Utc>>,
    /// The strongest proof of a snapshot that still exists.
    pub proven: Option<Proven>,
    /// Objects that no manifest counts.
    pub unlisted: u64,
    /// Snapshots whose manifest cannot be used.
    pub unusable: u64,
    /// Snapshots of the old plugin.
    pub legacy: u64,
    /// When this host last looked whether a snapshot is whole, however deeply, and whatever it found.
    #[serde(skip)]
    pub last_verified: Option<DateTime<Utc>>,
    /// When this was so, by the storage's clock.
    #[serde(skip)]
    pub read_at: DateTime<Utc>,
    /// What a person should hear of, such as snapshots from the future.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// The newest snapshot that is not from the future, and where this host encrypts not a plain one.
#[derive(Debug, Clone, Serialize)]
pub struct Newest {
    /// Its name.
    pub name: String,
    /// When it was made, by the storage's clock.
    #[serde(serialize_with = "rfc3339")]
    pub created_at: DateTime<Utc>,
    /// How old it is by the same clock, in seconds.
    pub age_seconds: i64,
}

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct LastRun {
    /// When it ended.
    #[serde(serialize_with = "rfc3339")]
    pub at: DateTime<Utc>,
    /// What it made.
    pub snapshot: Option<String>,
    /// Why it failed, or what was not whole about it.
    pub message: Option<String>,
}

/// What was proven.
#[derive(Debug, Clone, Serialize)]
pub struct Proven {
    /// Of which snapshot.
    pub snapshot: String,
    /// How deeply.
    pub level: String,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: DateTime<Utc>,
}

fn optional_time<S: serde::Serializer>(
    time: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => rfc3339(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// Looks. `interval` is the time between backups that are made by themselves.
///
/// # Errors
/// When the folder cannot be read. That the database cannot is a warning: the snapshots are all in the storage.
pub async fn status(
    settings: &BackupSettings,
    interval: Option<Duration>,
) -> Outcome<BackupStatus> {
    let (state, damage) = match State::open_existing(&settings.own_dir).await {
        Ok(state) => (state, None),
        Err(error) => (None, Some(error)),
    };
    let catalog = Catalog::read(settings.provider.as_ref(), state.as_ref()).await?;
    let remote = &catalog.remote.id;
    let (outcomes, proofs) = match &state {
        Some(state) => (
            state.backup_outcomes(remote, &settings.profile).await?,
            state.backup_proofs(remote).await?,
        ),
        None => (Vec::new(), Vec::new()),
    };
    if let Some(state) = state {
        state.close().await;
    }
    let mut warnings = catalog.warn_of_future(&settings.profile);
    warnings.extend(
        damage.map(|error| {
            format!("what this host remembers of its backups cannot be read: {error}")
        }),
    );
    let last = |success| {
        let mut outcomes = outcomes.iter();
        outcomes
            .find(|outcome| outcome.command == "backup now" && outcome.success == success)
            .map(last_run)
    };
    let last_success = last(true);
    let last_failure = last(false);
    let newest = catalog
        .newest(&settings.profile, settings.encrypts())
        .map(|latest| Newest {
            name: latest.name.to_string(),
            created_at: latest.name.taken_at(),
            age_seconds: catalog
                .read_at
                .signed_duration_since(latest.name.taken_at())
                .num_seconds(),
        });
    // A failure puts nothing off: the daemon tries again within minutes.
    let from = last_success
        .as_ref()
        .map(|last| last.at)
        .filter(|at| *at <= catalog.horizon())
        .max(newest.as_ref().map(|newest| newest.created_at));
    let next_run = interval.and_then(|interval| {
        let interval = chrono::Duration::from_std(interval).ok()?;
        Some(from.map_or(catalog.read_at, |from| from + interval))
    });
    Ok(BackupStatus {
        profile: settings.profile.clone(),
        remote: catalog.remote.display.clone(),
        snapshots: count(
            catalog
                .snapshots
                .iter()
                .filter(|snapshot| snapshot.manifest.profile == settings.profile),
        ),
        total_size: total_size(&catalog),
        newest,
        last_success,
        last_failure,
        next_run,
        last_verified: last_verified(&catalog, &outcomes, &proofs),
        proven: strongest_proof(&catalog, proofs),
        unlisted: count(
            catalog
                .unlisted
                .iter()
                .flat_map(|unlisted| &unlisted.objects),
        ),
        unusable: count(catalog.unusable.iter()),
        legacy: count(catalog.legacy.iter()),
        read_at: catalog.read_at,
        warnings,
    })
}

impl BackupStatus {
    /// How long ago the last backup ended that is known here or there. What is from the future tells nothing, so that it puts
    /// no backup off.
    pub fn backup_age(&self) -> Option<Duration> {
        let success = self.last_success.as_ref().map(|last| last.at);
        let newest = self.newest.as_ref().map(|newest| newest.created_at);
        let ages = [success, newest].into_iter().flatten();
        ages.filter_map(|at| self.age(at)).min()
    }

    /// How long ago a snapshot was last verified.
    pub fn verification_age(&self) -> Option<Duration> {
        self.age(self.last_verified?)
    }

    fn age(&self, at: DateTime<Utc>) -> Option<Duration> {
        let age = self.read_at.signed_duration_since(at);
        (age >= -AHEAD).then(|| age.to_std().unwrap_or_default())
    }

    /// Fails when the newest snapshot is older than `max_age`, or there is none.
    ///
    /// # Errors
    /// As said.
    pub fn require_younger(&self, max_age: Duration) -> Outcome<()> {
        let limit = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
        let hint = "look at `ows backup status` for why, or type `ows backup now`";
        match &self.newest {
            Some(newest) if newest.age_seconds <= limit => Ok(()),
            Some(newest) => Err(Failure::failed(format!(
                "the newest snapshot `{}` is {} old, {} are allowed",
                newest.name,
                span(newest.age_seconds),
                span(limit)
            ))
            .with_hint(hint)),
            None => Err(Failure::failed(format!(
                "there is no snapshot of the profile \"{}\"",
                self.profile
            ))
            .with_hint(hint)),
        }
    }
}

/// A span of time for people, rounded down.
fn span(seconds: i64) -> String {
    if seconds < 2 * 3_600 {
        format!("{} minutes", seconds / 60)
    } else if seconds < 2 * 86_400 {
        format!("{} hours", seconds / 3_600)
    } else {
        format!("{} days", seconds / 86_400)
    }
}

fn last_run(outcome: &BackupOutcome) -> LastRun {
    LastRun {
        at: outcome.at,
        snapshot: outcome.snapshot.clone(),
        message: outcome.message.clone(),
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.fold(0, |count, _| count + 1)
}

fn total_size(catalog: &Catalog) -> u64 {
    let snapshots = catalog.snapshots.iter().map(|found| &found.objects);
    let unusable = catalog.unusable.iter().map(|found| &found.objects);
    let unlisted = catalog.unlisted.iter().map(|found| &found.objects);
    let legacy = catalog.legacy.iter().map(|found| found.entry.size);
    snapshots
        .chain(unusable)
        .chain(unlisted)
        .flat_map(|objects| objects.values().map(|entry| entry.size))
        .chain(legacy)
        .fold(0, u64::saturating_add)
}

/// What is from the future tells nothing.
fn last_verified(
    catalog: &Catalog,
    outcomes: &[BackupOutcome],
    proofs: &[BackupProof],
) -> Option<DateTime<Utc>> {
    // Stored only of runs that came to a result, be it damage.
    let ended = (outcomes.iter())
        .filter(|outcome| outcome.command == VERIFY)
        .map(|outcome| outcome.at);
    ended
        .chain(proofs.iter().map(|proof| proof.proven_at))
        .filter(|at| *at <= catalog.horizon())
        .max()
}

fn strongest_proof(catalog: &Catalog, proofs: Vec<BackupProof>) -> Option<Proven> {
    let exists = |name: &str| {
        let mut snapshots = catalog.snapshots.iter();
        let mut legacy = catalog.legacy.iter();
        snapshots.any(|found| found.name.to_string() == name)
            || legacy.any(|found| found.name.as_str() == name)
    };
    strongest(proofs.into_iter().filter(|proof| exists(&proof.snapshot))).map(|proof| Proven {
        snapshot: proof.snapshot,
        level: proof.level,
        at: proof.proven_at,
    })
}
