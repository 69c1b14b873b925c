//! `ows status`.

use ows::backup::connect::backup_settings_to_look;
use ows::backup::status::status as backup_status;
use ows::config::{Config, ProviderConfig};
use ows::error::{Failure, FailureKind, Outcome};
use ows::report::ApiCalls;
use ows::sync::status::{Amount, Status, status};
use serde_json::{Value, json};

use super::args::Global;
use super::backup::status::interval;
use super::open;
use super::output::{Answer, Output};
use super::text::{files, sanitise, size};

pub async fn run(global: &Global, output: &Output, answer: &mut Answer) -> Outcome<()> {
    let config = open::config(global, output, answer)?;
    let mode = config.sync.as_ref().and_then(|sync| sync.mode);
    answer.report.mode = mode.map(|mode| mode.name().to_owned());
    if config
        .sync
        .as_ref()
        .is_none_or(|sync| matches!(sync.provider, ProviderConfig::Off))
    {
        answer.set("provider", "off");
        output.line("provider:    off (nothing is synced; set `sync.provider` to change that)");
        let failures = Vec::from_iter(backup(&config, output, answer).await);
        return fail_with(failures, answer);
    }
    let settings = open::pair(&config)?;
    let (status, mut failures) = status(&settings).await;
    answer.report.api_calls = ApiCalls::from(&settings.counter.counts());
    if let Value::Object(own) = json!(status) {
        for (key, value) in own {
            // A key that is not known keeps what stands for that.
            if !(key == "enforces" && value.is_null()) {
                answer.set(&key, value);
            }
        }
    }
    show(&status, answer.report.mode.as_deref(), output);
    failures.extend(backup(&config, output, answer).await);
    fail_with(failures, answer)
}

/// All of the failures are told; the first decides the exit code, unless it only says that something was left out.
fn fail_with(mut failures: Vec<Failure>, answer: &mut Answer) -> Outcome<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let decisive = failures
        .iter()
        .position(|failure| failure.kind != FailureKind::Partial);
    let failure = match decisive {
        Some(index) => failures.remove(index),
        None => Failure::new(FailureKind::Partial, "not everything could be looked at")
            .with_hint("see the messages above; what is told holds all the same"),
    };
    for failure in failures {
        answer.report.errors.push(failure.as_problem());
    }
    Err(failure)
}

/// How backups stand, where some are made or can be read; gives why that cannot be told.
async fn backup(config: &Config, output: &Output, answer: &mut Answer) -> Option<Failure> {
    let backup = config.backup.as_ref()?;
    backup.location.as_ref()?;
    let row = |text: &str| output.line(&format!("{:<12} {}", "backup:", sanitise(text)));
    let found = match backup_settings_to_look(config) {
        Ok(settings) => backup_status(&settings, interval(config)).await,
        Err(failure) => Err(failure),
    };
    match found {
        Ok(found) => {
            for warning in &found.warnings {
                output.warning(warning);
                answer.report.warnings.push(warning.clone());
            }
            let newest = found.newest.as_ref().map_or_else(
                || "no snapshot".to_owned(),
                |newest| {
                    let at = newest.created_at.format("%Y-%m-%d %H:%M:%S UTC");
                    format!("newest {at}, {} in all", found.snapshots)
                },
            );
            let hint = "(`ows backup status` tells more)";
            match &found.last_failure {
                Some(failed)
                    if found
                        .last_success
                        .as_ref()
                        .is_none_or(|last| last.at < failed.at) =>
                {
                    row(&format!("{newest}; THE LAST ONE FAILED {hint}"));
                }
                _ => row(&format!("{newest} {hint}")),
            }
            answer.set("backup", json!(found));
            None
        }
        Err(failure) => {
            row(&format!("not known: {}", failure.reason()));
            Some(failure)
        }
    }
}

fn show(status: &Status, mode: Option<&str>, output: &Output) {
    let row = |name: &str, text: &str| {
        let row = format!("{:<12} {}", format!("{name}:"), sanitise(text));
        output.line(row.trim_end());
    };
    row("provider", &status.provider);
    row("mode", mode.unwrap_or("not set (nothing runs without it)"));
    row("remote", &status.remote);
    row("local", &status.local);
    row("connection", &status.connection);
    if status.state != "ok" {
        row("state", &status.state);
        row("trash", &trash(status));
        return;
    }
    match &status.base {
        None => row("base", "none (nothing was synced yet)"),
        Some(base) => row(
            "base",
            &format!(
                "{}, {}, generation {}",
                files(base.files),
                size(base.bytes),
                base.generation
            ),
        ),
    }
    match &status.checkpoint {
        None => row("checkpoint", "none"),
        Some(checkpoint) => row("checkpoint", &checkpoint.text()),
    }
    match &status.last_run {
        None => row("last run", "none"),
        Some(run) => row("last run", &run.text()),
    }
    if let Some(lease) = &status.lease {
        row("lease", &lease.text());
    }
    row("conflicts", &conflicts(status.conflicts));
    row("trash", &trash(status));
    match &status.enforces {
        None => row(
            "enforces",
            "not known yet (found out by the first run that writes)",
        ),
        Some(enforces) => {
            row("enforces", "");
            for (name, value) in enforces.named() {
                output.line(&format!("  {name:<44} {value}"));
            }
        }
    }
}

fn conflicts(count: u64) -> String {
    match count {
        0 => "none".to_owned(),
        _ => format!("{count} (`ows conflicts` lists them)"),
    }
}

fn trash(status: &Status) -> String {
    format!(
        "local {}, remote {}",
        amount(status.trash.local.as_ref()),
        amount(status.trash.remote.as_ref())
    )
}

fn amount(amount: Option<&Amount>) -> String {
    match amount {
        None => "not known".to_owned(),
        Some(Amount { files: 0, .. }) => "empty".to_owned(),
        Some(amount) => format!("{} ({})", files(amount.files), size(amount.bytes)),
    }
}
