//! `ows backup prune`.

use ows::backup::connect::backup_settings;
use ows::backup::prune::{FinishedPrune, PruneOptions, Pruned, prune};
use ows::cancel::Cancel;
use ows::error::{Failure, Outcome};
use ows::report::Report;
use serde_json::json;

use super::super::args::Global;
use super::super::open;
use super::super::output::{Answer, Output};
use super::super::text::{sanitise, size};
use super::args::PruneArgs;
use super::{close, cost};

pub async fn run(
    global: &Global,
    arguments: &PruneArgs,
    output: &Output,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    answer.report.dry_run = arguments.dry_run;
    let config = open::config(global, output, answer)?;
    let settings = backup_settings(&config)?;
    let options = PruneOptions {
        dry_run: arguments.dry_run,
        legacy: arguments.legacy,
        unlisted: arguments.unlisted,
        accept_shrink: arguments.accept_shrink,
        ..PruneOptions::default()
    };
    let FinishedPrune {
        report,
        pruned,
        failure,
    } = prune(&settings, &options, cancel.clone()).await;
    answer.set("kept", json!(pruned.kept));
    answer.set("removed", pruned.removed.clone());
    answer.set("retained", pruned.retained.clone());
    answer.set("freed", pruned.freed);
    let lines = lines(&pruned, &report);
    close(report, output, answer);
    for line in lines {
        output.line(&line);
    }
    failure.map_or(Ok(()), Err::<(), Failure>)
}

fn lines(pruned: &Pruned, report: &Report) -> Vec<String> {
    let goes = if report.dry_run { "goes" } else { "gone" };
    let kept = pruned.kept.iter().map(|kept| {
        format!(
            "stays  {}: {}",
            kept.name,
            sanitise(&kept.reasons.join(", "))
        )
    });
    let removed = pruned
        .removed
        .iter()
        .map(|name| format!("{goes}   {}", sanitise(name)));
    let mut lines: Vec<String> = kept.chain(removed).collect();
    for name in &pruned.retained {
        lines.push(format!(
            "kept by the storage, which does not let it go: {}",
            sanitise(name)
        ));
    }
    if report.exit_code == 0 || !pruned.removed.is_empty() {
        lines.push(sum(pruned, report));
    }
    lines
}

fn sum(pruned: &Pruned, report: &Report) -> String {
    let (stay, go) = (pruned.kept.len(), pruned.removed.len());
    match (report.dry_run, go) {
        (true, 0) => format!("{stay} kept, nothing to remove (dry run)"),
        (true, go) => format!(
            "{stay} kept, {go} to remove, {} (dry run: nothing was removed)",
            size(pruned.freed)
        ),
        (false, 0) => format!("{stay} kept, nothing was removed ({})", cost(report)),
        (false, go) => format!(
            "{stay} kept, {go} removed, {} freed ({})",
            size(pruned.freed),
            cost(report)
        ),
    }
}
