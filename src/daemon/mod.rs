//! Runs sync at intervals until it is stopped.
//!
//! [`schedule`] says when, purely. Here is the loop around it: wait, run, tell the log, and listen to two wishes, to stop
//! and to read the configuration again. A run under way is never disturbed by the second and is ended cleanly by the
//! first; what it had finished counts, as after any other interruption.
//!
//! Whatever goes wrong in a run is told and tried again: only a configuration that is wrong at the start ends the daemon,
//! since then a person is there to read it.

pub mod schedule;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cancel::{Cancel, StopCause};
use crate::config::Config;
use crate::error::{Failure, FailureKind, Outcome};
use crate::report::{Report, Silent};
use crate::sync::connect::pair_settings;
use crate::sync::{CheckpointPace, Finished, SyncOptions, flush_checkpoint, sync};
use schedule::{Ended, Schedule};

/// How long a run that was told to stop may take to end. Supervisors kill after 10 seconds.
const ENDING: Duration = Duration::from_secs(8);

/// How long the end of the process waits for the checkpoint to be stored.
const FLUSHING: Duration = Duration::from_secs(1);

/// What the daemon is moved by.
pub struct Hands<'a> {
    /// Reads the configuration.
    pub load: &'a (dyn Fn() -> Outcome<Config> + Sync),
    /// Asks for the configuration to be read again.
    pub reload: &'a Notify,
    /// Ends the daemon.
    pub stop: &'a Cancel,
}

/// What a daemon did in its life.
#[derive(Debug, Default)]
pub struct Life {
    /// The mode it ran in at the end.
    pub mode: Option<String>,
    /// How many runs there were.
    pub runs: u64,
    /// How many of them failed.
    pub failures: u64,
    /// Why there was nothing to do at the end.
    pub idle: Option<String>,
    /// What was said about the configuration.
    pub warnings: Vec<String>,
}

/// Runs until it is stopped.
///
/// # Errors
/// Only when the configuration is wrong at the start.
pub async fn run(hands: Hands<'_>) -> Outcome<Life> {
    let began = Instant::now();
    let config = checked(hands.load)?;
    let mut daemon = Daemon {
        began,
        schedule: Schedule::starting(Duration::ZERO, None),
        config,
        life: Life::default(),
        told: Told::default(),
        pace: Arc::default(),
    };
    daemon.begin("started");
    loop {
        let due = daemon.schedule.due();
        tokio::select! {
            biased;
            () = hands.stop.stopped() => break,
            () = hands.reload.notified() => daemon.reload(hands.load),
            () = until(began, due) => daemon.run_once(hands.stop).await,
        }
    }
    daemon.flush().await;
    tracing::info!(
        runs = daemon.life.runs,
        failures = daemon.life.failures,
        "stopped"
    );
    Ok(daemon.life)
}

/// The configuration, once it is known that runs can begin with it.
fn checked(load: &(dyn Fn() -> Outcome<Config> + Sync)) -> Outcome<Config> {
    let config = load()?;
    if config.idle_reason().is_none()
        && let Some(sync) = config.sync.as_ref().filter(|sync| sync.interval.is_some())
    {
        sync.required_mode()?;
    }
    Ok(config)
}

/// Resolves at a moment, or never.
async fn until(began: Instant, due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep_until(began + due).await,
        None => std::future::pending().await,
    }
}

struct Daemon {
    began: Instant,
    schedule: Schedule,
    config: Config,
    life: Life,
    told: Told,
    /// Keeps the checkpoints of runs that come close together apart.
    pace: Arc<CheckpointPace>,
}

impl Daemon {
    /// Takes up the configuration that it holds.
    fn begin(&mut self, what: &'static str) {
        for warning in self.config.all_warnings() {
            tracing::warn!("{warning}");
            if !self.life.warnings.contains(warning) {
                self.life.warnings.push(warning.clone());
            }
        }
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
            (idle, _) => tracing::info!(
                %config,
                "{what}, idle: {}; SIGHUP reads the configuration again",
                idle.as_deref().unwrap_or_default()
            ),
        }
    }

    /// Reads the configuration again. One that is wrong is told, and changes nothing.
    fn reload(&mut self, load: &(dyn Fn() -> Outcome<Config> + Sync)) {
        match checked(load) {
            Ok(config) => {
                self.config = config;
                self.begin("configuration read again");
            }
            Err(failure) => tracing::error!(
                "the new configuration is not used, the old one stays: {}",
                failure.as_problem().message
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

/// What stopped the last runs, as the log has told it: a person is called once for each thing, not once a minute.
#[derive(Debug, Default)]
struct Told(Option<String>);

impl Told {
    /// Whether this is another text than the last one, which it replaces.
    fn is_news(&mut self, text: &str) -> bool {
        let is_news = self.0.as_deref() != Some(text);
        if is_news {
            self.0 = Some(text.to_owned());
        }
        is_news
    }

    /// A run succeeded; whether that ends something that was told.
    fn is_over(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_told_once_until_it_changes_or_ends() {
        let mut told = Told::default();
        assert!(told.is_news("25 of 30 would be deleted"));
        assert!(!told.is_news("25 of 30 would be deleted"));
        assert!(told.is_news("26 of 30 would be deleted"));
        assert!(told.is_over());
        assert!(!told.is_over(), "nothing is left to be over");
        assert!(told.is_news("26 of 30 would be deleted"));
    }
}
