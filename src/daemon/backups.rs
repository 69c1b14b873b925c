//! Backups and verifications at their intervals, one after the other, beside the syncs: a backup of hours holds none of
//! those up, and none of them holds it up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::schedule::{Ended, Schedule, pause_before_first};
use super::{ENDING, Told, until};
use crate::backup::connect::{backup_settings, backup_settings_to_look};
use crate::backup::now::{FinishedBackup, NowOptions, now};
use crate::backup::proving::{Finished, verify_command};
use crate::backup::source::Which;
use crate::backup::status::status;
use crate::backup::verify::{Level, Subject};
use crate::cancel::{Cancel, StopCause};
use crate::config::Config;
use crate::error::{FailureKind, Outcome};
use crate::report::{Report, Silent};

/// What came of the backups.
#[derive(Debug, Default)]
pub(super) struct Backed {
    pub(super) backups: u64,
    pub(super) backup_failures: u64,
    pub(super) verifications: u64,
    pub(super) verification_failures: u64,
    /// Why nothing was to be done at the end.
    pub(super) idle: Option<String>,
}

/// What is done at an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Backup,
    Verification,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Verification => "verification",
        }
    }
}

pub(super) struct Backups {
    began: Instant,
    newest: watch::Receiver<Arc<Config>>,
    config: Arc<Config>,
    backup: Lane,
    verification: Lane,
    life: Backed,
}

/// One of the two, with what the log has told of it.
struct Lane {
    task: Task,
    schedule: Schedule,
    told: Told,
}

impl Lane {
    fn idle(task: Task) -> Self {
        Self {
            task,
            schedule: Schedule::starting(Duration::ZERO, None),
            told: Told::default(),
        }
    }
}

impl Backups {
    pub(super) fn new(began: Instant, mut newest: watch::Receiver<Arc<Config>>) -> Self {
        let config = Arc::clone(&newest.borrow_and_update());
        let idle = config.backup_idle_reason();
        Self {
            began,
            newest,
            config,
            backup: Lane::idle(Task::Backup),
            verification: Lane::idle(Task::Verification),
            // Known also when it is stopped before it begins.
            life: Backed {
                idle,
                ..Backed::default()
            },
        }
    }

    /// Runs until it is stopped.
    pub(super) async fn live(mut self, stop: &Cancel) -> Backed {
        if stop.unless_stopped(self.begin()).await.is_none() {
            return self.life;
        }
        loop {
            let due = [&self.backup, &self.verification].map(|lane| lane.schedule.due());
            let [backup, verification] = due.map(|due| until(self.began, due));
            let task = tokio::select! {
                biased;
                () = stop.stopped() => break,
                Ok(()) = self.newest.changed() => None,
                () = backup => Some(Task::Backup),
                () = verification => Some(Task::Verification),
            };
            match task {
                Some(task) => self.run_once(task, stop).await,
                None => {
                    self.config = Arc::clone(&self.newest.borrow_and_update());
                    if stop.unless_stopped(self.begin()).await.is_none() {
                        break;
                    }
                }
            }
        }
        self.life
    }

    /// Takes up the configuration that it holds.
    async fn begin(&mut self) {
        self.life.idle = self.config.backup_idle_reason();
        let backup = self.config.backup.as_ref();
        let backup = backup.filter(|_| self.life.idle.is_none());
        let (interval, verify_interval) = backup
            .map(|backup| (backup.interval, backup.verify_interval))
            .unwrap_or_default();
        let ages = match interval.or(verify_interval) {
            Some(_) => ages(&self.config).await,
            None => Ages::default(),
        };
        for (lane, interval, age) in [
            (&mut self.backup, interval, ages.backup),
            (&mut self.verification, verify_interval, ages.verification),
        ] {
            let now = self.began.elapsed();
            let pause = interval.map(|interval| pause_before_first(interval, age));
            lane.schedule = Schedule::first_after(now, pause.unwrap_or_default(), interval);
            lane.told = Told::default();
            if let (Some(interval), Some(pause)) = (interval, pause) {
                tracing::info!(
                    interval = interval.as_secs(),
                    first_in = pause.as_secs(),
                    "{}s are scheduled",
                    lane.task.name()
                );
            }
        }
    }

    async fn run_once(&mut self, task: Task, stop: &Cancel) {
        let started = self.began.elapsed();
        let Some(ended) = self.carry_out(task, stop).await else {
            tracing::warn!(
                "the {} did not end in time and was cut off; the next one removes what it has stored",
                task.name()
            );
            return;
        };
        let (count, failures, lane) = match task {
            Task::Backup => (
                &mut self.life.backups,
                &mut self.life.backup_failures,
                &mut self.backup,
            ),
            Task::Verification => (
                &mut self.life.verifications,
                &mut self.life.verification_failures,
                &mut self.verification,
            ),
        };
        *count += 1;
        if stop.is_stopped() {
            return;
        }
        let how = Ended::of(ended.as_ref().err().map(|failure| failure.kind));
        if how == Ended::Failed {
            *failures += 1;
        }
        let now = self.began.elapsed();
        lane.schedule.ran(started, now, how, rand::random());
        let due = lane.schedule.due().unwrap_or(now);
        tell(lane, ended, due.saturating_sub(now).as_secs());
    }

    /// One run. `None` when it was told to stop and did not within its time.
    async fn carry_out(&self, task: Task, stop: &Cancel) -> Option<Outcome<String>> {
        let cancel = Cancel::new();
        let work = async {
            match task {
                Task::Backup => make(&self.config, &cancel).await,
                Task::Verification => verify(&self.config, &cancel).await,
            }
        };
        tokio::pin!(work);
        tokio::select! {
            ended = &mut work => Some(ended),
            () = stop.stopped() => {
                cancel.stop(stop.cause().unwrap_or(StopCause::Terminated));
                tokio::time::timeout(ENDING, work).await.ok()
            }
        }
    }
}

fn tell(lane: &mut Lane, ended: Outcome<String>, next_in: u64) {
    let name = lane.task.name();
    let failure = match ended {
        Ok(text) => {
            tracing::info!(next_in, "{name}: {text}");
            if lane.told.is_over() {
                tracing::info!("{name}s succeed again");
            }
            return;
        }
        Err(failure) => failure,
    };
    let text = failure.as_problem().message;
    match failure.kind {
        FailureKind::Busy => tracing::info!(next_in, "{}", failure.message),
        FailureKind::Partial => tracing::warn!(next_in, "{name}: {text}"),
        _ => {
            lane.told.is_news(&text);
            let failures = lane.schedule.failures();
            tracing::error!(failures, next_in, "{name}: {text}");
        }
    }
}

/// How old the last backup and the last verification are.
#[derive(Debug, Default)]
struct Ages {
    backup: Option<Duration>,
    verification: Option<Duration>,
}

/// As the storage and this host know them. A container that has lost its disk learns from the storage when the last backup
/// was. When neither answers, the first run finds out why.
async fn ages(config: &Config) -> Ages {
    let found = match backup_settings_to_look(config) {
        Ok(settings) => status(&settings, None).await,
        Err(failure) => Err(failure),
    };
    let found = match found {
        Ok(found) => found,
        Err(failure) => {
            tracing::debug!(%failure, "when the last backup was is not known");
            return Ages::default();
        }
    };
    for warning in &found.warnings {
        tracing::warn!("{warning}");
    }
    Ages {
        backup: found.backup_age(),
        verification: found.verification_age(),
    }
}

async fn make(config: &Config, cancel: &Cancel) -> Outcome<String> {
    let settings = backup_settings(config)?;
    let options = NowOptions::default();
    let FinishedBackup {
        report,
        made,
        failure,
    } = now(&settings, &options, Arc::new(Silent), cancel.clone()).await;
    tell_report(&report, failure.is_some());
    match failure {
        Some(failure) => Err(failure),
        None => Ok(format!(
            "{}: {} files, {} bytes, stored as {} bytes; {} removed",
            made.snapshot.unwrap_or_default(),
            made.files,
            made.bytes_read,
            made.bytes_stored,
            made.pruned.removed.len()
        )),
    }
}

/// Verifies the newest snapshot, as deeply as the keys of this host allow.
async fn verify(config: &Config, cancel: &Cancel) -> Outcome<String> {
    let settings = backup_settings(config)?;
    let subject = Subject::One(Which::Latest);
    let Finished {
        report,
        found,
        failure,
    } = verify_command(&settings, subject, None, Arc::new(Silent), cancel.clone()).await;
    tell_report(&report, failure.is_some());
    if let Some(failure) = failure {
        return Err(failure);
    }
    let lines = found.unwrap_or_default().into_iter().map(|verified| {
        let level = verified.proven.map_or("nothing", Level::name);
        format!("{}: proven: {level}", verified.snapshot)
    });
    Ok(lines.collect::<Vec<_>>().join(", "))
}

fn tell_report(report: &Report, has_failed: bool) {
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    // The first one of a failure is told with it.
    let errors = report.errors.iter().filter(|error| !error.path.is_empty());
    for problem in errors.take(if has_failed { 100 } else { 0 }) {
        tracing::warn!(path = %problem.path, "{}", problem.message);
    }
}
