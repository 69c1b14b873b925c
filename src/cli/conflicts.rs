//! `ows conflicts`.

use ows::cancel::Cancel;
use ows::error::{Failure, FailureKind, Outcome};
use ows::report::ApiCalls;
use ows::sync::conflicts::{
    Conflict, Conflicts, Keep, NONE_IN_MIRROR, Resolved, list, resolve, side_name,
};
use ows::sync::{PairSettings, SyncMode};
use ows::tree::Lost;
use serde_json::json;

use super::args::{ConflictsArgs, ConflictsCommand, Global};
use super::output::{Answer, Output};
use super::text::sanitise;
use super::{open, stoppable};

pub async fn run(
    global: &Global,
    arguments: &ConflictsArgs,
    output: &Output,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let config = open::config(global, output, answer)?;
    let settings = open::pair(&config)?;
    answer.report.mode = config
        .sync
        .as_ref()
        .and_then(|sync| sync.mode)
        .map(|mode| mode.name().to_owned());
    let result = match &arguments.command {
        None => stoppable(cancel, show_all(&settings, output, answer)).await,
        Some(ConflictsCommand::Resolve {
            keep,
            path,
            dry_run,
        }) => {
            answer.report.dry_run = *dry_run;
            let keep = Keep::from(*keep);
            settle(&settings, keep, path, *dry_run, output, cancel, answer).await
        }
    };
    answer.report.api_calls = ApiCalls::from(&settings.counter.counts());
    result
}

async fn show_all(settings: &PairSettings, output: &Output, answer: &mut Answer) -> Outcome<()> {
    let Conflicts {
        conflicts,
        problems,
    } = list(settings).await?;
    answer.set("conflicts", json!(conflicts));
    for conflict in &conflicts {
        output.line(&line(conflict));
    }
    let how = "to settle one: `ows conflicts resolve --keep local|remote|both PATH`";
    match conflicts.len() {
        0 if settings.mode == SyncMode::Mirror => output.line(NONE_IN_MIRROR),
        0 if problems.is_empty() => output.line("no conflicts"),
        0 => {}
        1 => output.line(&format!("1 conflict; {how}")),
        count => output.line(&format!("{count} conflicts; {how}")),
    }
    if problems.is_empty() {
        return Ok(());
    }
    answer.report.errors = problems;
    let message = "part of the workspace could not be looked at, so there may be more conflicts";
    Err(Failure::new(FailureKind::Partial, message).with_hint("see the messages above"))
}

/// One conflict on one line.
fn line(conflict: &Conflict) -> String {
    let copy = sanitise(conflict.copy.as_str());
    let path = sanitise(conflict.path.as_str());
    match (conflict.lost, conflict.at) {
        (Lost::Unknown, _) => format!("{copy}  beside {path}; whose content it is, is not known"),
        (lost, at) => {
            let since = at.map_or_else(String::new, |at| {
                format!(", since {}", at.format("%Y-%m-%d %H:%M:%S UTC"))
            });
            format!("{copy}  the {} content of {path}{since}", side_name(lost))
        }
    }
}

async fn settle(
    settings: &PairSettings,
    keep: Keep,
    path: &str,
    dry_run: bool,
    output: &Output,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let path = open::below(settings, path)?;
    let Resolved {
        conflict,
        keep,
        renamed_to,
        trashed,
        run,
        kept_anyway,
    } = resolve(settings, &path, keep, dry_run, cancel).await?;
    answer.set("conflicts", json!([conflict]));
    answer.set("keep", json!(keep));
    answer.set("renamed_to", json!(renamed_to));
    answer.set("trashed", json!(trashed));
    if let Some(trashed) = &trashed {
        output.line(&format!("to the trash  {}", sanitise(trashed.as_str())));
        if !dry_run {
            answer.report.run_id = Some(run.to_string());
        }
    }
    if let Some(name) = &renamed_to {
        let copy = sanitise(conflict.copy.as_str());
        output.line(&format!(
            "renamed       {copy} -> {}",
            sanitise(name.as_str())
        ));
    }
    if kept_anyway {
        let text = "the local trash is switched off (`trash.local`), and what gives way here is kept in it all the same";
        output.warning(text);
        answer.report.warnings.push(text.to_owned());
    }
    output.line(if dry_run {
        "dry run: nothing was changed"
    } else {
        "settled in the workspace; the next `ows sync` carries it to the remote"
    });
    Ok(())
}
