//! `ows daemon`. It says what it does in the log; what it prints at the end is how often it ran.

use std::sync::Arc;

use ows::cancel::Cancel;
use ows::daemon::{self, Hands};
use ows::error::{Failure, Outcome};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::args::Global;
use super::open;
use super::output::{Answer, Output};

pub async fn run(
    global: &Global,
    output: &Output,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let invocation = open::invocation(global)?;
    let reload = Arc::new(Notify::new());
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| Failure::failed("could not listen for signals").with_source(error))?;
    let told = Arc::clone(&reload);
    let listener = tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            told.notify_one();
        }
    });
    let hands = Hands {
        load: &|| ows::config::load(&invocation),
        reload: &reload,
        stop: cancel,
    };
    let ended = daemon::run(hands).await;
    listener.abort();
    let ended = ended?;
    answer.report.mode = ended.mode;
    answer.report.warnings.extend(ended.warnings);
    answer.set("runs", ended.runs);
    answer.set("failures", ended.failures);
    if let Some(idle) = ended.idle {
        answer.set("idle", idle);
    }
    output.line(&format!(
        "stopped after {} ({} failed)",
        match ended.runs {
            1 => "1 run".to_owned(),
            runs => format!("{runs} runs"),
        },
        ended.failures
    ));
    Ok(())
}
