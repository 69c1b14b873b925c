//! Syncs at their interval, one after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::schedule::{self, Ended, Schedule};
use super::{ENDING, Told, until};
use crate::cancel::{Cancel, StopCause};
use crate::config::Config;
use crate::error::{Failure, FailureKind};
use crate::report::{Report, Silent};
use crate::sync::connect::pair_settings;
use crate::sync::{CheckpointPace, Finished, SyncOptions, flush_checkpoint, sync};

/// How long the end of the process waits for the checkpoint to be stored.
const FLUSHING: Duration = Duration::from_secs(1);

/// What came of the syncs.
#[derive(Debug, Default)]
pub(super) struct Synced {
    pub(super) mode: Option<String>,
    pub(super) runs: u64,
    pub(super) failures: u64,
    pub(super) idle: Option<String>,
}

pub(super) struct Syncs {
    began: Instant,
    schedule: Schedule,
    newest: watch::Receiver<Arc<Config>>,
    config: Arc<Config>,
    life: Synced,
    told: Told,
    /// Keeps the checkpoints of runs that come close together apart.
    pace: Arc<CheckpointPace>,
}

impl Syncs {
    pub(super) fn new(began: Instant, mut newest: watch::Receiver<Arc<Config>>) -> Self {
        let config = Arc::clone(&newest.borrow_and_update());
        Self {
            began,
            schedule: Schedule::starting(Duration::ZERO, None),
            newest,
            config,
            life: Synced::default(),
            told: Told::default(),
            pace: Arc::default(),
        }
    }

    /// Runs until it is stopped.
    pub(super) async fn live(mut self, stop: &Cancel) -> Synced {
        self.begin("started");
        loop {
            let due = self.schedule.due();
            tokio::select! {
                biased;
                () = stop.stopped() => break,
                Ok(()) = self.newest.changed() => {
                    self.config = Arc::clone(&self.newest.borrow_and_update());
                    self.begin("configuration read again");
                }
                () = until(self.began, due) => self.run_once(stop).await,
            }
        }
        self.flush().await;
        self.life
    }

    /// Takes up the configuration that it holds.
    fn begin(&mut self, what: &'static str) {
        let sync = self.config.sync.as_ref();
        let interval = sync.and_then(|sync| sync.interval);
        let mode = sync
            .and_then(|sync| sync.mode)
            .map(crate::config::Mode::name);
        self.life.mode = mode.map(str::to_owned);
        self.life.idle = self.config.idle_reason().or_else(|| {
            let key = sync.map_or("sync", |sync| sync.key.as_str());
            interval
                .is_none()
                .then(|| format!("`{key}.interval` is 0, so nothing runs by itself"))
        });
        let interval = interval.filter(|_| self.life.idle.is_none());
        self.schedule = Schedule::starting(self.began.elapsed(), interval);
        self.told = Told::default();
        // It may be another pair now.
        self.pace = Arc::default();
        let config = self.config.source.display();
        match (&self.life.idle, interval) {
            (None, Some(interval)) => tracing::info!(
                %config,
                mode = mode.unwrap_or_default(),
                interval = interval.as_secs(),
                first_in = schedule::FIRST.as_secs(),
                "{what}"
            ),
            (Some(idle), _) if self.config.backup_idle_reason().is_none() => {
                tracing::info!(%config, "{what}, without sync: {idle}");
            }
            (idle, _) => tracing::info!(
                %config,
                "{what}, idle: {}; SIGHUP reads the configuration again",
                idle.as_deref().unwrap_or_default()
            ),
        }
    }

    async fn run_once(&mut self, stop: &Cancel) {
        let started = self.began.elapsed();
        let Some(Finished { report, failure }) = self.one_sync(stop).await else {
            tracing::warn!(
                "the run did not end in time and was cut off; what was finished counts, the next one goes on"
            );
            return;
        };
        self.life.runs += 1;
        if stop.is_stopped() {
            self.tell_counts(&report);
            return;
        }
        let how = Ended::of(failure.as_ref().map(|failure| failure.kind));
        if how == Ended::Failed {
            self.life.failures += 1;
        }
        let ended = self.began.elapsed();
        self.schedule.ran(started, ended, how, rand::random());
        self.tell(&report, failure.as_ref());
    }

    /// Stores the checkpoint that was put off. Without it the next run goes on from the database all the same.
    async fn flush(&self) {
        if self.life.runs == 0 {
            return;
        }
        let Ok(settings) = pair_settings(&self.config) else {
            // What is wrong was said when a run met it.
            return;
        };
        if let Err(failure) = flush_checkpoint(&settings, FLUSHING).await {
            tracing::warn!("{}", failure.as_problem().message);
        }
    }

    /// One run. `None` when it was told to stop and did not within its time.
    async fn one_sync(&self, stop: &Cancel) -> Option<Finished> {
        let settings = match pair_settings(&self.config) {
            Ok(settings) => settings,
            Err(failure) => {
                let mut report = Report::new("sync");
                report.close(Some(&failure));
                return Some(Finished {
                    report,
                    failure: Some(failure),
                });
            }
        };
        // A run's own: its time limit must not end the daemon.
        let cancel = Cancel::new();
        let options = SyncOptions {
            checkpoint_pace: Some(Arc::clone(&self.pace)),
            ..SyncOptions::default()
        };
        let work = sync(&settings, &options, Arc::new(Silent), cancel.clone());
        tokio::pin!(work);
        tokio::select! {
            finished = &mut work => Some(finished),
            () = stop.stopped() => {
                cancel.stop(stop.cause().unwrap_or(StopCause::Terminated));
                tokio::time::timeout(ENDING, work).await.ok()
            }
        }
    }

    fn tell(&mut self, report: &Report, failure: Option<&Failure>) {
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        self.tell_counts(report);
        let Some(failure) = failure else {
            if self.told.is_over() {
                tracing::info!("runs succeed again");
            }
            return;
        };
        let next_in = self
            .schedule
            .due()
            .map_or(0, |due| due.saturating_sub(self.began.elapsed()).as_secs());
        let text = failure.as_problem().message;
        if failure.kind == FailureKind::Partial {
            for problem in &report.errors {
                tracing::warn!(path = %problem.path, "{}", problem.message);
            }
        }
        match failure.kind {
            FailureKind::Busy => {
                tracing::info!(next_in, "{}", failure.message);
            }
            // A person must decide: said once, loudly, and again when it is about something else.
            FailureKind::Guard if !self.told.is_news(&text) => {
                tracing::debug!(next_in, "{text}");
            }
            FailureKind::Guard => {
                let guard = report.guard.as_ref();
                tracing::error!(
                    guard = guard.map(|guard| guard.name.name()).unwrap_or_default(),
                    examples = guard
                        .map(|guard| guard.examples.join(", "))
                        .unwrap_or_default(),
                    next_in,
                    "{text}"
                );
            }
            FailureKind::Partial => tracing::warn!(next_in, "{text}"),
            _ => {
                self.told.is_news(&text);
                let failures = self.schedule.failures();
                tracing::error!(failures, next_in, "{text}");
            }
        }
    }

    /// One line for a run that did something; a quiet one is told at a finer level only.
    fn tell_counts(&self, report: &Report) {
        let run_id = report.run_id.as_deref().unwrap_or_default();
        let counts = &report.counts;
        let acted = counts.upload
            + counts.download
            + counts.moved
            + counts.delete_local
            + counts.delete_remote;
        if acted == 0 {
            tracing::debug!(run_id, unchanged = counts.unchanged, "nothing to do");
            return;
        }
        tracing::info!(
            run_id,
            upload = counts.upload,
            download = counts.download,
            moved = counts.moved,
            delete_local = counts.delete_local,
            delete_remote = counts.delete_remote,
            skipped = counts.skipped,
            failed = counts.failed,
            bytes_up = report.bytes.up,
            bytes_down = report.bytes.down,
            calls = report.api_calls.total,
            "synced"
        );
    }
}
