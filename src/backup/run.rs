//! What every command that changes backups writes down: that it began, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use super::settings::BackupSettings;
use crate::error::{Failure, FailureKind, Outcome};
use crate::ids::RunId;
use crate::report::{Report, Reporter};
use crate::state::{BackupOutcome, State};

/// How long a command that has ended waits for the storage to say who it is, and for the database: a run that was stopped
/// must not hang on what it was stopped for.
const CLOSING: Duration = Duration::from_secs(2);

/// How often it is looked whether a call is being repeated, and after how many looks in a row a person hears of it: calls
/// are repeated for minutes, and contents for hours, but most of what fails once works the next moment.
const LOOKS: Duration = Duration::from_secs(1);
const TOLD_AFTER: u32 = 3;

/// Does `work`, and tells `reporter` when the storage has not answered as it should for a while.
pub(super) async fn telling<T>(
    work: impl Future<Output = T>,
    settings: &BackupSettings,
    reporter: &Arc<dyn Reporter>,
) -> T {
    let last_failure = settings.counter.last_failure();
    let mut looks = 0;
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = tokio::time::sleep(LOOKS) => {}
        }
        let Some(why) = last_failure.get() else {
            looks = 0;
            continue;
        };
        looks += 1;
        if looks == TOLD_AFTER {
            reporter.warning(&format!(
                "a call to the storage fails and is tried again: {why}"
            ));
        }
    }
}

/// A run that was stopped while it repeated a call says what that call failed with.
pub(super) fn waited_for(failure: Failure, settings: &BackupSettings) -> Failure {
    let is_stop = matches!(
        failure.kind,
        FailureKind::TimedOut | FailureKind::Interrupted | FailureKind::Terminated
    );
    match settings.counter.last_failure().get() {
        Some(why) if is_stop && failure.source.is_none() => failure
            .with_source(why)
            .with_hint("what was finished before it counts; see to the cause and run again"),
        _ => failure,
    }
}

/// Stores that the command of `report` begins.
pub(super) async fn begin(state: &State, report: &mut Report) -> Outcome<RunId> {
    let id = RunId::random(report.started_at);
    state
        .start_run(&id, None, &report.command, report.started_at)
        .await?;
    report.run_id = Some(id.to_string());
    Ok(id)
}

/// How a command ended.
pub(super) struct Ended<'a> {
    pub(super) settings: &'a BackupSettings,
    pub(super) snapshot: Option<String>,
    /// What it is for was reached, though perhaps not whole.
    pub(super) success: bool,
    pub(super) failure: Option<&'a Failure>,
}

/// Stores how it ended and closes the database. What cannot be stored is a warning: the backup is what it is without that.
pub(super) async fn end(state: &State, run: &RunId, ended: Ended<'_>, report: &mut Report) {
    let recording = tokio::time::timeout(CLOSING, try_end(state, run, &ended, report)).await;
    let why = match recording {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure.reason()),
        Err(_) => Some("it took too long".to_owned()),
    };
    report
        .warnings
        .extend(why.map(|why| format!("how the run ended could not be recorded: {why}")));
    if tokio::time::timeout(CLOSING, state.close()).await.is_err() {
        tracing::debug!("the database was still in use at the end of the run");
    }
}

async fn try_end(state: &State, run: &RunId, ended: &Ended<'_>, report: &Report) -> Outcome<()> {
    let mut closing = report.clone();
    closing.actions.clear();
    closing.close(ended.failure);
    let outcome = serde_json::to_value(&closing)
        .map_err(|error| Failure::failed("the run could not be recorded").with_source(error))?;
    state
        .finish_run(run, &outcome, closing.exit_code, Utc::now())
        .await?;
    let remote = ended.settings.provider.describe().await?.id;
    let message = ended.failure.map(|failure| failure.as_problem().message);
    let outcome = BackupOutcome {
        command: report.command.clone(),
        success: ended.success,
        run: run.clone(),
        snapshot: ended.snapshot.clone(),
        at: ended
            .settings
            .provider
            .clock()
            .unwrap_or_else(|| ended.settings.clock.now()),
        message,
    };
    Ok(state
        .record_backup_outcome(&remote, &ended.settings.profile, &outcome)
        .await?)
}
