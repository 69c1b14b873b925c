//! Makes a snapshot, readable from top to bottom: lock, clean what failed runs left, look, name, record the intent, write data
//! and index, check that all of it is there, write the manifest only if absent, read it back, look again, prune.
//!
//! The manifest is what makes a snapshot exist, so everything before it can fail at any point and nothing is listed; what it
//! leaves is removed in this run if possible, else by the next, exactly by the intent. Pruning begins only after the manifest
//! was read back.
//!
//! Time is the provider's: a host whose clock is wrong does not disturb retention, it is only told.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ows_providers::{ErrorKind, Provider, RelPath};
use serde::Serialize;

use super::catalog::Catalog;
use super::gzip::default_threads;
use super::heartbeat::Beat;
use super::intents::settle;
use super::items::Items;
use super::lock::BackupLock;
use super::manifest::{FORMAT, Manifest, Previous};
use super::name::{RECOVER, SnapshotName};
use super::pipeline::{self, PipelineOptions, Progress, WriteError, Written};
use super::prune::{PruneOptions, Pruned, Pruning, SHRINK_HINT, shrink};
use super::scan::{LeftOut, Scan, ScanOptions};
use super::seal::Seal;
use super::settings::BackupSettings;
use super::sink::{Cut, ProviderSink, SinkParts, put_new};
use super::{recover, run};
use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};
use crate::pattern::Patterns;
use crate::report::{Phase, Report, Reporter};
use crate::secret_names::SecretFiles;
use crate::state::{BackupIntentId, State};

mod look;
mod publish;
mod tell;

use look::{dry_run, find_items, newly_missing, patterns, spool, time_of_next};
use publish::{require_there, require_whole, write_manifest};
use tell::{tell_catalog, tell_left_out, tell_made, tell_missing, tell_secrets, tell_settled};

/// How long a run that failed or was stopped goes on tidying up.
const TIDYING: Duration = Duration::from_secs(5);

/// How one backup differs from an ordinary one.
#[derive(Debug, Clone, Default)]
pub struct NowOptions {
    /// Walk and count, store and remove nothing.
    pub dry_run: bool,
    /// Wait so long for another backup to end.
    pub wait: Duration,
}

/// How a backup ended: the report is complete in either case.
#[derive(Debug)]
pub struct FinishedBackup {
    /// What was done, in the words of all commands.
    pub report: Report,
    /// What was made.
    pub made: Made,
    /// Why the exit code is not 0.
    pub failure: Option<Failure>,
}

/// What a backup made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Made {
    /// The snapshot, when there is one now.
    pub snapshot: Option<String>,
    /// Files in it; in a dry run those that would be.
    pub files: u64,
    /// Their content in bytes.
    pub bytes_read: u64,
    /// What is stored for it in bytes, the manifest not counted.
    pub bytes_stored: u64,
    /// Files that could not be read, and are not in it, or not whole.
    pub unreadable: u64,
    /// Files that changed while they were read.
    pub changed: u64,
    /// Files that were gone before they could be read.
    pub vanished: u64,
    /// Databases that were stored as their files are.
    pub sqlite_unverified: u64,
    /// Items that do not exist.
    pub missing_items: Vec<String>,
    /// What was left out on purpose.
    pub left_out: Counted,
    /// What was pruned afterwards.
    pub pruned: Pruned,
}

/// How much was left out on purpose, by why. Mount points that were not followed are named one by one instead, as warnings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Sockets, named pipes and devices.
    pub special: u64,
    /// Files and folders that a pattern of `exclude` names; a folder counts as one.
    pub excluded: u64,
    /// Folders whose contents a `CACHEDIR.TAG` declares to be a cache.
    pub caches: u64,
}

impl From<&LeftOut> for Counted {
    fn from(left_out: &LeftOut) -> Self {
        Self {
            special: left_out.special,
            excluded: left_out.excluded,
            caches: left_out.caches,
        }
    }
}

impl Made {
    /// Fails when what is on the disk could not be stored as it is. A file that changes or vanishes meanwhile is what files
    /// of a living system do: it is told, and the backup is whole.
    fn require_whole(&self) -> Outcome<()> {
        let lost = self.unreadable + self.sqlite_unverified;
        match lost {
            0 => Ok(()),
            _ => Err(Failure::new(
                FailureKind::Partial,
                format!("the snapshot was made, but {lost} files are not in it as they are"),
            )),
        }
    }
}

/// Makes a snapshot.
pub async fn now(
    settings: &BackupSettings,
    options: &NowOptions,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
) -> FinishedBackup {
    let mut report = Report::new("backup now");
    report.dry_run = options.dry_run;
    let mut made = Made::default();
    settings.counter.reset();
    let teller = Arc::clone(&reporter);
    let work = async {
        match options.dry_run {
            true => dry_run(settings, &cancel, &mut report, &mut made).await,
            false => locked(settings, options, reporter, &cancel, &mut report, &mut made).await,
        }
    };
    let result = run::telling(work, settings, &teller).await;
    let result = result.map_err(|failure| run::waited_for(failure, settings));
    report.api_calls = (&settings.counter.counts()).into();
    report.bytes.up = settings.counter.counts().bytes_up;
    report.bytes.down = settings.counter.counts().bytes_down;
    report.close(result.as_ref().err());
    FinishedBackup {
        report,
        made,
        failure: result.err(),
    }
}

async fn locked(
    settings: &BackupSettings,
    options: &NowOptions,
    reporter: Arc<dyn Reporter>,
    cancel: &Cancel,
    report: &mut Report,
    made: &mut Made,
) -> Outcome<()> {
    reporter.phase(Phase::Waiting);
    State::check_place(&settings.own_dir)?;
    let _lock = BackupLock::take(&settings.own_dir, options.wait, cancel).await?;
    let state = State::open(&settings.own_dir).await?;
    let id = run::begin(&state, report).await?;
    let backup = Backup {
        settings,
        state: &state,
        reporter,
        cancel,
        run: id,
    };
    backup.beat(Beat::Start, report).await;
    let result = backup.whole(report, made).await;
    // Before anything else is asked of the storage.
    let result = result.map_err(|failure| run::waited_for(failure, settings));
    let is_made = made.snapshot.is_some();
    let beat = match is_made {
        true => Beat::Success,
        false => Beat::Fail,
    };
    backup.beat(beat, report).await;
    let outcome = run::Ended {
        settings,
        snapshot: made.snapshot.clone(),
        success: is_made,
        failure: result.as_ref().err(),
    };
    run::end(&state, &backup.run, outcome, report).await;
    result
}

/// A backup under way.
struct Backup<'a> {
    settings: &'a BackupSettings,
    state: &'a State,
    reporter: Arc<dyn Reporter>,
    cancel: &'a Cancel,
    run: crate::ids::RunId,
}

/// What is known before anything is stored.
struct Begun {
    catalog: Catalog,
    items: Items,
    seal: Seal,
    patterns: Patterns,
    name: SnapshotName,
    started_at: DateTime<Utc>,
}

impl Backup<'_> {
    async fn whole(&self, report: &mut Report, made: &mut Made) -> Outcome<()> {
        let begun = self.bounded(self.look(report, made)).await?;
        let intent = self
            .state
            .record_backup_intent(
                &begun.catalog.remote.id,
                &self.run,
                &begun.name.to_string(),
                begun.started_at,
            )
            .await?;
        let missed = newly_missing(&begun, self.settings);
        let mut manifest_sent = false;
        let stored = self.store(begun, intent, &mut manifest_sent, report).await;
        let stored = match stored {
            Ok(stored) => stored,
            // A manifest whose answer is lost may still arrive: what it names is not touched now.
            Err(failure) if manifest_sent => return Err(failure),
            Err(failure) => {
                self.tidy(report).await;
                return Err(failure);
            }
        };
        tell_made(&stored.manifest, made, report);
        self.state.resolve_backup_intent(intent).await?;
        tell_left_out(&stored.left_out, made, report);
        if !stored.manifest.encryption.is_on() {
            tell_secrets(&stored.secrets, report);
        }
        self.prune(&stored, made, report).await?;
        made.require_whole()?;
        match missed.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(
                FailureKind::Partial,
                format!(
                    "the snapshot was made, but the last one also held: {}",
                    missed.join(", ")
                ),
            )),
        }
    }

    /// Cleans, reads the catalog, finds the items, names the snapshot.
    async fn look(&self, report: &mut Report, made: &mut Made) -> Outcome<Begun> {
        let settings = self.settings;
        let provider = settings.provider.as_ref();
        // What cannot work is found before anything is asked.
        let seal = Seal::new(&settings.encryption)?;
        let patterns = patterns(settings)?;
        self.reporter.phase(Phase::Observing);
        let remote = provider.describe().await?;
        tell_settled(settle(provider, self.state, &remote.id).await?, report);
        let catalog = Catalog::read(provider, Some(self.state)).await?;
        tell_catalog(&catalog, settings, report);
        let items = find_items(settings).await?;
        tell_missing(&items, made, report);
        let started_at = catalog.read_at;
        let name =
            SnapshotName::random(time_of_next(&catalog, &settings.profile)).ok_or_else(|| {
                Failure::failed(format!(
                    "the provider's clock says {started_at}, which no name can hold"
                ))
            })?;
        if !catalog.has_recover {
            self.explain(provider, report).await;
        }
        Ok(Begun {
            catalog,
            items,
            seal,
            patterns,
            name,
            started_at,
        })
    }

    /// Puts `RECOVER.txt` there. Without it the snapshots are as good.
    async fn explain(&self, provider: &dyn Provider, report: &mut Report) {
        let Ok(path) = RelPath::new(RECOVER) else {
            return;
        };
        match put_new(provider, &path, recover::TEXT.into()).await {
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::AlreadyExists => {}
            Err(error) => report
                .warnings
                .push(format!("`{RECOVER}` could not be stored: {error}")),
        }
    }

    /// Writes data, index and manifest.
    async fn store(
        &self,
        begun: Begun,
        intent: BackupIntentId,
        manifest_sent: &mut bool,
        report: &mut Report,
    ) -> Outcome<Stored> {
        let settings = self.settings;
        let provider = &settings.provider;
        self.reporter.phase(Phase::Applying);
        let latest = begun.catalog.latest(&settings.profile, false);
        let previous = latest.map(|latest| Previous {
            snapshot: latest.name,
            sha256: latest.manifest_sha256,
        });
        let largest = latest.map_or(0, |latest| {
            // As listed: a manifest may claim any size, and parts of it would take as much memory.
            let volumes = latest.manifest.volumes.iter();
            let listed = volumes.filter_map(|volume| latest.objects.get(&volume.object.name));
            listed.map(|entry| entry.size).max().unwrap_or(0)
        });
        let sink = ProviderSink::new(SinkParts {
            provider: Arc::clone(provider),
            state: self.state.clone(),
            intent,
            cut: Cut::new(provider.capabilities(), largest),
            reporter: Arc::clone(&self.reporter),
            cancel: self.cancel.clone(),
        });
        let encryption = begun.seal.describe();
        let items = begun.items.present.iter();
        let items = items.map(|item| item.name().to_owned()).collect();
        let spool = spool(settings, report).await;
        let work = Work {
            scan: Scan::new(
                begun.items,
                ScanOptions {
                    patterns: begun.patterns,
                    exclude_caches: settings.exclude_caches,
                    cross_mounts: settings.cross_mounts,
                    spool,
                },
            ),
            seal: begun.seal,
            sink,
            options: PipelineOptions {
                snapshot: begun.name,
                level: settings.compression,
                threads: default_threads(),
                volume_size: settings.volume_size,
            },
            reporter: Arc::clone(&self.reporter),
            cancel: self.cancel.clone(),
        };
        let written = work.run().await?;
        self.reporter.phase(Phase::Finishing);
        let manifest = Manifest {
            format: FORMAT,
            snapshot: begun.name,
            profile: settings.profile.clone(),
            host: settings.host.clone(),
            started_at: begun.started_at,
            finished_at: provider.clock().unwrap_or_else(|| settings.clock.now()),
            tool: concat!("ows ", env!("CARGO_PKG_VERSION")).to_owned(),
            encryption,
            items,
            volumes: written.volumes,
            index: written.index,
            totals: written.totals,
            problems: written.problems,
            previous,
        };
        self.bounded(require_there(provider.as_ref(), &manifest))
            .await?;
        *manifest_sent = true;
        self.bounded(write_manifest(provider.as_ref(), &manifest))
            .await?;
        Ok(Stored {
            manifest,
            left_out: written.left_out,
            secrets: written.secrets,
        })
    }

    /// After a failure: removes what this run has stored, if that can be done at once.
    async fn tidy(&self, report: &mut Report) {
        let provider = self.settings.provider.as_ref();
        let settling = async {
            let remote = provider.describe().await?;
            settle(provider, self.state, &remote.id).await
        };
        match tokio::time::timeout(TIDYING, settling).await {
            // Those of earlier runs were told before.
            Ok(Ok(settled)) => report.warnings.extend(settled.problems),
            Ok(Err(failure)) => tracing::debug!(%failure, "the next run tidies up"),
            Err(_) => tracing::debug!("the next run tidies up"),
        }
    }

    /// Prunes by a catalog that holds the new snapshot. A prune that fails is told and does not make the backup fail.
    async fn prune(&self, stored: &Stored, made: &mut Made, report: &mut Report) -> Outcome<()> {
        let provider = self.settings.provider.as_ref();
        let work = async {
            let catalog = Catalog::read(provider, Some(self.state)).await?;
            require_whole(&catalog, stored.manifest.snapshot)?;
            let just_made = Some(stored.manifest.snapshot);
            if let Some(shrink) = shrink(&catalog, self.settings, self.state, just_made).await? {
                return Err(
                    Failure::new(FailureKind::Partial, shrink.message).with_hint(SHRINK_HINT)
                );
            }
            let pruning = Pruning {
                settings: self.settings,
                state: self.state,
                run: &self.run,
            };
            let options = PruneOptions::default();
            pruning
                .run(&catalog, &options, just_made, &mut made.pruned)
                .await
        };
        let result = self.bounded(work).await;
        report.warnings.append(&mut made.pruned.warnings);
        match result {
            Ok(()) => Ok(()),
            Err(failure) if failure.kind == FailureKind::Partial => Err(failure),
            Err(failure) if self.cancel.is_stopped() => Err(failure),
            Err(failure) => {
                let problem = failure.as_problem();
                report.errors.push(problem);
                let message = "the snapshot was made, but old ones could not be pruned";
                Err(Failure::new(FailureKind::Partial, message)
                    .with_source(failure)
                    .with_hint("run `ows backup prune`"))
            }
        }
    }

    async fn bounded<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let result = self.cancel.unless_stopped(work).await;
        result.unwrap_or_else(|| Err(self.cancel.failure()))
    }

    async fn beat(&self, beat: Beat, report: &mut Report) {
        if let Some(heartbeat) = &self.settings.heartbeat {
            report.warnings.extend(heartbeat.tell(beat).await);
        }
    }
}

/// A snapshot that exists.
struct Stored {
    manifest: Manifest,
    left_out: LeftOut,
    secrets: SecretFiles,
}

/// The blocking side of a backup.
struct Work {
    scan: Scan,
    seal: Seal,
    sink: ProviderSink,
    options: PipelineOptions,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
}

impl Work {
    async fn run(self) -> Outcome<Written> {
        let Self {
            scan,
            seal,
            sink,
            options,
            reporter,
            cancel,
        } = self;
        let (own_sink, own_cancel) = (sink.clone(), cancel.clone());
        let writing = tokio::task::spawn_blocking(move || {
            let progress = |progress: Progress| reporter.observed(progress.paths);
            pipeline::write(scan, &seal, &own_sink, &options, &progress, &own_cancel)
        });
        match writing.await {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(WriteError::Stopped)) => Err(cancel.failure()),
            // Its own text says only that an object could not be written; the sink knows why.
            Ok(Err(error)) => Err(sink.take_failure().unwrap_or_else(|| {
                Failure::failed("the snapshot could not be written").with_source(error)
            })),
            Err(error) => Err(Failure::failed(
                "an internal error ended the writing of the snapshot; nothing of it counts",
            )
            .with_source(error)),
        }
    }
}
