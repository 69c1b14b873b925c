//! `ows sync`.

use ows::cancel::Cancel;
use ows::error::{Failure, Outcome};
use ows::sync::{Finished, PairSettings, SyncMode, SyncOptions, sync};

use super::args::{Global, SyncArgs};
use super::open;
use super::output::{Answer, Output};
use super::progress::Progress;

pub async fn run(
    global: &Global,
    arguments: &SyncArgs,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    answer.report.dry_run = arguments.dry_run;
    let config = open::config_to_sync(global, output, answer)?;
    let settings = ows::sync::connect::pair_settings(&config)?;
    if arguments.resync && settings.mode != SyncMode::Bisync {
        return Err(Failure::usage(format!(
            "`--resync` unites both sides in bisync mode; this pair is in {} mode",
            settings.mode.name()
        ))
        .with_hint("to choose a side: `ows sync --direction pull` or `ows sync --direction push`; nothing was changed"));
    }
    let options = SyncOptions {
        dry_run: arguments.dry_run,
        direction: arguments.direction.map(Into::into),
        resync: arguments.resync,
        force: arguments.force.iter().copied().collect(),
        wait: arguments.wait.unwrap_or_default(),
        timeout: arguments.timeout,
        rebuild_state: arguments.rebuild_state,
        keep_actions: output.is_verbose(),
        ..SyncOptions::default()
    };
    let failure = carry_out(&settings, &options, output, progress, cancel, answer).await;
    failure.map_or(Ok(()), Err)
}

/// Runs it and shows what came of it. The answer is then complete, also when it failed.
pub async fn carry_out(
    settings: &PairSettings,
    options: &SyncOptions,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Option<Failure> {
    let Finished {
        mut report,
        failure,
    } = sync(settings, options, progress.reporter(), cancel.clone()).await;
    progress.clear();
    for warning in &report.warnings {
        output.warning(warning);
    }
    output.sync(&report);
    report
        .warnings
        .splice(0..0, answer.report.warnings.drain(..));
    answer.report = report;
    answer.is_closed = true;
    failure
}
