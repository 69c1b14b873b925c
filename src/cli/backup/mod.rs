//! `ows backup`: one file a subcommand.

pub mod args;
mod drill;
mod keygen;
mod list;
mod ls;
mod now;
mod proofs;
mod prune;
mod restore;
pub mod status;
mod verify;

use ows::backup::entry::{escape, unescape};
use ows::backup::extract::Bad;
use ows::cancel::Cancel;
use ows::error::Outcome;
use ows::report::Report;
use serde_json::{Value, json};

use super::args::Global;
use super::output::{Answer, Output};
use super::progress::Progress;
use super::stoppable;
use args::{BackupArgs, BackupCommand};
pub use ls::archive_path;
pub use now::lines as backup_lines;

pub async fn run(
    global: &Global,
    arguments: &BackupArgs,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    match &arguments.command {
        BackupCommand::Now(arguments) => {
            now::run(global, arguments, output, progress, cancel, answer).await
        }
        BackupCommand::Prune(arguments) => {
            prune::run(global, arguments, output, cancel, answer).await
        }
        BackupCommand::Ls(arguments) => {
            ls::run(global, arguments, output, progress, cancel, answer).await
        }
        BackupCommand::Restore(arguments) => {
            restore::run(global, arguments, output, progress, cancel, answer).await
        }
        BackupCommand::Verify(arguments) => {
            verify::run(global, arguments, output, progress, cancel, answer).await
        }
        BackupCommand::Drill => drill::run(global, output, progress, cancel, answer).await,
        BackupCommand::Status(arguments) => {
            stoppable(cancel, status::run(global, arguments, output, answer)).await
        }
        BackupCommand::List => stoppable(cancel, list::run(global, output, answer)).await,
        BackupCommand::Keygen(arguments) => keygen::run(arguments, output, answer),
    }
}

/// Takes over the report of a command of the library, and shows its warnings.
fn close(mut report: Report, output: &Output, answer: &mut Answer) {
    for warning in &report.warnings {
        output.warning(warning);
    }
    report
        .warnings
        .splice(0..0, answer.report.warnings.drain(..));
    if output.is_json() {
        for problem in &mut report.errors {
            problem.path = in_json(&problem.path).0;
        }
    }
    answer.report = report;
    answer.is_closed = true;
}

/// What a command cost: calls and time.
fn cost(report: &Report) -> String {
    let took = (report.finished_at - report.started_at).num_milliseconds();
    format!(
        "{} calls, {:.1} s",
        report.api_calls.total,
        took as f64 / 1000.0
    )
}

/// What is bad, as JSON has it.
fn bad<'a>(bad: impl IntoIterator<Item = &'a Bad>) -> Value {
    bad.into_iter()
        .map(|bad| {
            let (path, path_hex) = in_json(&bad.path);
            json!({ "path": path, "path_hex": path_hex, "message": bad.message })
        })
        .collect()
}

/// A path that is shown as on a terminal, as JSON has it: JSON escapes in its own way.
fn in_json(shown: &str) -> (String, Option<String>) {
    // What was cut short, or is no path, stays as it is.
    unescape(shown).map_or_else(|| (shown.to_owned(), None), |bytes| text_or_hex(&bytes))
}

/// A name as JSON has it: the name itself, or, where it is no UTF-8, as it is shown on a terminal, and its bytes in
/// hexadecimal.
fn text_or_hex(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (escape(bytes), Some(hex::encode(bytes))),
    }
}
