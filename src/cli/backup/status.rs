//! `ows backup status`.

use ows::backup::connect::backup_settings_to_look;
use ows::backup::status::{BackupStatus, LastRun, status};
use ows::config::Config;
use ows::error::Outcome;
use ows::report::ApiCalls;
use serde_json::{Value, json};

use super::super::args::Global;
use super::super::open;
use super::super::output::{Answer, Output};
use super::super::text::{sanitise, size};
use super::args::StatusArgs;

pub async fn run(
    global: &Global,
    arguments: &StatusArgs,
    output: &Output,
    answer: &mut Answer,
) -> Outcome<()> {
    let config = open::config(global, output, answer)?;
    let settings = backup_settings_to_look(&config)?;
    let found = status(&settings, interval(&config)).await;
    answer.report.api_calls = ApiCalls::from(&settings.counter.counts());
    let found = found?;
    for warning in &found.warnings {
        output.warning(warning);
        answer.report.warnings.push(warning.clone());
    }
    if let Value::Object(own) = json!(found) {
        for (key, value) in own {
            answer.set(&key, value);
        }
    }
    show(&found, output);
    match arguments.max_age {
        Some(max_age) => found.require_younger(max_age),
        None => Ok(()),
    }
}

/// The time between the backups that a daemon makes.
pub fn interval(config: &Config) -> Option<std::time::Duration> {
    let backup = config.backup.as_ref().filter(|backup| backup.enabled)?;
    backup.interval
}

fn show(status: &BackupStatus, output: &Output) {
    let row = |name: &str, text: &str| {
        output.line(&format!("{:<14} {}", format!("{name}:"), sanitise(text)));
    };
    row("remote", &status.remote);
    row("profile", &status.profile);
    row("snapshots", &snapshots(status));
    row(
        "newest",
        &status
            .newest
            .as_ref()
            .map_or("none".to_owned(), |newest| newest.name.clone()),
    );
    row("last success", &last(status.last_success.as_ref()));
    row("last failure", &last(status.last_failure.as_ref()));
    let next = status.next_run.map_or_else(
        || "not scheduled".to_owned(),
        |next| {
            format!(
                "due {} (while `ows daemon` runs)",
                next.format("%Y-%m-%d %H:%M:%S UTC")
            )
        },
    );
    row("next", &next);
    let proven = status.proven.as_ref().map_or_else(
        || "nothing yet (`ows backup verify` does)".to_owned(),
        |proven| {
            format!(
                "{} at {} ({})",
                proven.snapshot,
                proven.at.format("%Y-%m-%d %H:%M:%S UTC"),
                proven.level
            )
        },
    );
    row("proven", &proven);
}

fn snapshots(status: &BackupStatus) -> String {
    let mut text = format!("{}, {} in all", status.snapshots, size(status.total_size));
    for (count, what) in [
        (status.legacy, "of the old plugin"),
        (status.unusable, "that cannot be used"),
        (status.unlisted, "objects without a manifest"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// One line about a run.
pub fn last(run: Option<&LastRun>) -> String {
    let Some(run) = run else {
        return "none that this host knows of".to_owned();
    };
    let time = run.at.format("%Y-%m-%d %H:%M:%S UTC");
    match (&run.snapshot, &run.message) {
        (Some(snapshot), Some(message)) => format!("{time}, {snapshot}: {message}"),
        (Some(snapshot), None) => format!("{time}, {snapshot}"),
        (None, Some(message)) => format!("{time}: {message}"),
        (None, None) => time.to_string(),
    }
}
