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
    answer.set("backups", ended.backups);
    answer.set("backup_failures", ended.backup_failures);
    answer.set("verifications", ended.verifications);
    answer.set("verification_failures", ended.verification_failures);
    if let Some(idle) = ended.idle {
        answer.set("idle", idle);
    }
    let mut told = vec![amount(ended.runs, "run", ended.failures)];
    if ended.backups > 0 {
        told.push(amount(ended.backups, "backup", ended.backup_failures));
    }
    if ended.verifications > 0 {
        let failures = ended.verification_failures;
        told.push(amount(ended.verifications, "verification", failures));
    }
    output.line(&format!("stopped after {}", told.join(", ")));
    Ok(())
}

/// `1 run (0 failed)`, `2 backups (1 failed)`.
fn amount(count: u64, what: &str, failures: u64) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s} ({failures} failed)")
}
