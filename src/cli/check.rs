//! `ows check`.

use ows::cancel::Cancel;
use ows::error::{Failure, Outcome};
use ows::sync::check::{Checked, Difference, DifferenceKind, check};
use serde_json::json;

use super::args::{CheckArgs, Global};
use super::open;
use super::output::{Answer, Output};
use super::progress::Progress;
use super::text::sanitise;

pub async fn run(
    global: &Global,
    arguments: &CheckArgs,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let config = open::config(global, output, answer)?;
    let settings = open::pair(&config)?;
    let Checked {
        mut report,
        differences,
        failure,
    } = check(
        &settings,
        arguments.download,
        progress.reporter(),
        cancel.clone(),
    )
    .await;
    progress.clear();
    for warning in &report.warnings {
        output.warning(warning);
    }
    for difference in &differences {
        output.line(&line(difference));
    }
    if failure.is_none() {
        output.line(&equal(report.counts.unchanged));
    }
    report
        .warnings
        .splice(0..0, answer.report.warnings.drain(..));
    answer.report = report;
    answer.is_closed = true;
    answer.set("differences", json!(differences));
    failure.map_or(Ok(()), Err::<(), Failure>)
}

fn line(difference: &Difference) -> String {
    let kind = match difference.kind {
        DifferenceKind::OnlyLocal => "only in the workspace",
        DifferenceKind::OnlyRemote => "only in the remote",
        DifferenceKind::Differ => "differs",
    };
    format!("{kind:<22} {}", sanitise(&difference.path))
}

fn equal(count: u64) -> String {
    match count {
        1 => "both sides are equal: one file".to_owned(),
        count => format!("both sides are equal: {count} files"),
    }
}
