//! Runs sync and backups at intervals until it is stopped.
//!
//! [`schedule`] says when, purely. Syncs (`syncs`) and backups (`backups`) go on side by side, each kind one after the
//! other; here is what they have in common: the wish to stop, and the configuration, which is read again when that is asked for. A run under way is never
//! disturbed by the second and is ended cleanly by the first; what it had finished counts, as after any other
//! interruption.
//!
//! Whatever goes wrong in a run is told and tried again: only a configuration that is wrong at the start ends the daemon,
//! since then a person is there to read it.

mod backups;
pub mod schedule;
mod syncs;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::config::Config;
use crate::error::Outcome;
use backups::Backups;
use syncs::Syncs;

/// How long a run that was told to stop may take to end. Supervisors kill after 10 seconds.
const ENDING: Duration = Duration::from_secs(8);

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
    /// How many syncs there were.
    pub runs: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many backups there were.
    pub backups: u64,
    /// How many of them failed.
    pub backup_failures: u64,
    /// How often snapshots were verified.
    pub verifications: u64,
    /// How often that failed.
    pub verification_failures: u64,
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
    let mut life = Life::default();
    let config = checked(hands.load)?;
    warn(&config, &mut life);
    let (newest, config) = watch::channel(Arc::new(config));
    let syncs = Syncs::new(began, config.clone()).live(hands.stop);
    let backups = Backups::new(began, config).live(hands.stop);
    let ((), synced, backed) = tokio::join!(keep(&hands, &newest, &mut life), syncs, backups);
    life.mode = synced.mode;
    life.runs = synced.runs;
    life.failures = synced.failures;
    life.idle = synced.idle.filter(|_| backed.idle.is_some());
    life.backups = backed.backups;
    life.backup_failures = backed.backup_failures;
    life.verifications = backed.verifications;
    life.verification_failures = backed.verification_failures;
    match life.backups + life.verifications {
        0 => tracing::info!(runs = life.runs, failures = life.failures, "stopped"),
        _ => tracing::info!(
            runs = life.runs,
            failures = life.failures,
            backups = life.backups,
            backup_failures = life.backup_failures,
            verifications = life.verifications,
            verification_failures = life.verification_failures,
            "stopped"
        ),
    }
    Ok(life)
}

/// Reads the configuration again whenever that is asked for. One that is wrong is told, and changes nothing.
async fn keep(hands: &Hands<'_>, newest: &watch::Sender<Arc<Config>>, life: &mut Life) {
    loop {
        tokio::select! {
            biased;
            () = hands.stop.stopped() => return,
            () = hands.reload.notified() => {}
        }
        match checked(hands.load) {
            Ok(config) => {
                warn(&config, life);
                newest.send_replace(Arc::new(config));
            }
            Err(failure) => tracing::error!(
                "the new configuration is not used, the old one stays: {}",
                failure.as_problem().message
            ),
        }
    }
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

fn warn(config: &Config, life: &mut Life) {
    for warning in config.all_warnings() {
        tracing::warn!("{warning}");
        if !life.warnings.contains(warning) {
            life.warnings.push(warning.clone());
        }
    }
}

/// Resolves at a moment, or never.
async fn until(began: Instant, due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep_until(began + due).await,
        None => std::future::pending().await,
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
