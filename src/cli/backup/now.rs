//! `ows backup now`.

use ows::backup::connect::{backup_settings, require_enabled};
use ows::backup::now::{Counted, FinishedBackup, Made, NowOptions, now};
use ows::cancel::Cancel;
use ows::error::{Failure, Outcome};
use ows::report::Report;
use serde_json::json;

use super::super::args::Global;
use super::super::open;
use super::super::output::{Answer, Output};
use super::super::progress::Progress;
use super::super::text::{files, size};
use super::args::NowArgs;
use super::{close, cost};

pub async fn run(
    global: &Global,
    arguments: &NowArgs,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    answer.report.dry_run = arguments.dry_run;
    let config = open::config(global, output, answer)?;
    require_enabled(&config)?;
    let settings = backup_settings(&config)?;
    let options = NowOptions {
        dry_run: arguments.dry_run,
        ..NowOptions::default()
    };
    let reporter = progress.reporter_saying("backing up");
    let finished = now(&settings, &options, reporter, cancel.clone()).await;
    progress.clear();
    let FinishedBackup {
        report,
        made,
        failure,
    } = finished;
    tell(&made, answer);
    let lines = lines(&made, &report, output.is_verbose());
    close(report, output, answer);
    for line in lines {
        output.line(&line);
    }
    failure.map_or(Ok(()), Err::<(), Failure>)
}

fn tell(made: &Made, answer: &mut Answer) {
    answer.set("snapshot", made.snapshot.clone());
    answer.set("files", made.files);
    answer.set("bytes_read", made.bytes_read);
    answer.set("bytes_stored", made.bytes_stored);
    answer.set("unreadable", made.unreadable);
    answer.set("changed", made.changed);
    answer.set("vanished", made.vanished);
    answer.set("sqlite_unverified", made.sqlite_unverified);
    answer.set("missing_items", made.missing_items.clone());
    answer.set("left_out", json!(made.left_out));
    answer.set("removed", made.pruned.removed.clone());
    answer.set("retained", made.pruned.retained.clone());
}

/// What a backup comes to, for people.
pub fn lines(made: &Made, report: &Report, verbose: bool) -> Vec<String> {
    let Some(snapshot) = &made.snapshot else {
        let counted = report.dry_run && report.exit_code == 0;
        let text = format!(
            "{}, {}, would be in it (dry run: nothing was stored)",
            files(made.files),
            size(made.bytes_read)
        );
        let lines = counted.then_some(text).into_iter();
        return lines.chain(left_out(&made.left_out)).collect();
    };
    let mut lines = vec![format!(
        "{snapshot}: {}, {}, stored as {} ({})",
        files(made.files),
        size(made.bytes_read),
        size(made.bytes_stored),
        cost(report)
    )];
    lines.extend(left_out(&made.left_out));
    let pruned = &made.pruned;
    if verbose {
        lines.extend(pruned.removed.iter().map(|name| format!("removed {name}")));
    }
    match pruned.removed.len() {
        0 => {}
        1 => lines.push("1 older snapshot was removed, as `retain` says".to_owned()),
        count => lines.push(format!(
            "{count} older snapshots were removed, as `retain` says"
        )),
    }
    lines
}

/// What is not in it on purpose, when there is something.
fn left_out(counted: &Counted) -> Option<String> {
    let Counted {
        special,
        excluded,
        caches,
    } = *counted;
    let some = |count: u64, text: String| (count > 0).then_some(text);
    let parts = [
        match special {
            1 => Some("1 socket, pipe or device".to_owned()),
            _ => some(special, format!("{special} sockets, pipes or devices")),
        },
        match excluded {
            1 => Some("1 path that `exclude` names".to_owned()),
            _ => some(excluded, format!("{excluded} paths that `exclude` names")),
        },
        match caches {
            1 => Some("the contents of 1 cache".to_owned()),
            _ => some(caches, format!("the contents of {caches} caches")),
        },
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("left out: {}", parts.join("; ")))
}
