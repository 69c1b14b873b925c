//! `ows session start|end`: what a session hook calls. A session must not fail because there is nothing to do for it, or
//! because the daemon is syncing at that moment: then the exit code is 0, and the reason is told.

use ows::cancel::Cancel;
use ows::config::Config;
use ows::error::{FailureKind, Outcome};
use ows::sync::SyncOptions;

use super::args::{Global, SessionArgs, SessionEvent};
use super::open;
use super::output::{Answer, Output};
use super::progress::Progress;
use super::sync::carry_out;

pub async fn run(
    global: &Global,
    arguments: &SessionArgs,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let config = open::config(global, output, answer)?;
    let mode = config.sync.as_ref().and_then(|sync| sync.mode);
    answer.report.mode = mode.map(|mode| mode.name().to_owned());
    if let Some(reason) = idle_reason(&config, &arguments.event) {
        output.line(&format!("nothing to do: {reason}"));
        answer.set("idle", reason);
        return Ok(());
    }
    let settings = ows::sync::connect::pair_settings(&config)?;
    let (SessionEvent::Start(wait) | SessionEvent::End(wait)) = &arguments.event;
    let options = SyncOptions {
        wait: wait.wait,
        keep_actions: output.is_verbose(),
        ..SyncOptions::default()
    };
    let failure = carry_out(&settings, &options, output, progress, cancel, answer).await;
    answer.report.command = arguments.name().to_owned();
    match failure {
        Some(failure) if failure.kind == FailureKind::Busy => {
            let warning = format!(
                "{}, so nothing was done for the session; what it changed is synced by a later run",
                failure.message
            );
            output.warning(&warning);
            answer.report.errors.clear();
            answer.report.warnings.push(warning);
            answer.report.close(None);
            Ok(())
        }
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// Why the hook does nothing; `None` when it syncs.
fn idle_reason(config: &Config, event: &SessionEvent) -> Option<String> {
    config.idle_reason().or_else(|| {
        let sync = config.sync.as_ref()?;
        let (name, asked) = match event {
            SessionEvent::Start(_) => ("onSessionStart", sync.on_session_start),
            SessionEvent::End(_) => ("onSessionEnd", sync.on_session_end),
        };
        (!asked).then(|| format!("`{}.{name}` is not true", sync.key))
    })
}
