//! `ows backup restore`.

use ows::backup::connect::backup_settings;
use ows::backup::proving::{Finished, restore_command};
use ows::backup::restore::{RestoreOptions, Restored};
use ows::backup::source::Which;
use ows::cancel::Cancel;
use ows::error::{Failure, Outcome};
use ows::report::Report;

use super::super::args::Global;
use super::super::open;
use super::super::output::{Answer, Output};
use super::super::progress::Progress;
use super::super::text::{files, sanitise, size};
use super::args::RestoreArgs;
use super::ls::archive_path;
use super::{bad, close, cost};

pub async fn run(
    global: &Global,
    arguments: &RestoreArgs,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    answer.report.dry_run = arguments.dry_run;
    let config = open::config(global, output, answer)?;
    let only = arguments.paths.iter().map(archive_path);
    let only = only.collect::<Outcome<Vec<_>>>()?;
    let settings = backup_settings(&config)?;
    let options = RestoreOptions {
        snapshot: Which::parse(&arguments.snapshot),
        to: arguments
            .to
            .as_deref()
            .map(std::path::absolute)
            .transpose()
            .map_err(|error| Failure::usage("the target is no usable path").with_source(error))?,
        only,
        dry_run: arguments.dry_run,
        overwrite: arguments.overwrite,
    };
    let reporter = progress.reporter_saying("restoring");
    let finished = restore_command(&settings, options, reporter, cancel.clone()).await;
    progress.clear();
    let Finished {
        report,
        found,
        failure,
    } = finished;
    if let Some(found) = &found {
        tell(found, answer);
    }
    let lines = found.map_or_else(Vec::new, |found| lines(&found, &report));
    close(report, output, answer);
    for line in lines {
        output.line(&line);
    }
    failure.map_or(Ok(()), Err::<(), Failure>)
}

fn tell(restored: &Restored, answer: &mut Answer) {
    answer.set("snapshot", restored.snapshot.as_str());
    answer.set("files", restored.done.files);
    answer.set("bad", bad(&restored.done.bad));
    answer.set("target", restored.target.display().to_string());
    let replaced = restored.replaced.as_ref();
    answer.set("replaced", replaced.map(|path| path.display().to_string()));
}

fn lines(restored: &Restored, report: &Report) -> Vec<String> {
    let done = &restored.done;
    let amount = format!("{}, {}", files(done.files), size(done.bytes));
    let target = sanitise(&restored.target.display().to_string());
    if restored.dry_run {
        return vec![format!(
            "{}: {amount}, would be restored into `{target}` (dry run: nothing was written)",
            sanitise(&restored.snapshot)
        )];
    }
    let checked = match (done.bad_count, done.unproven) {
        (0, 0) => ", every file checked",
        _ => "",
    };
    let mut lines = vec![format!(
        "{}: {amount}, restored into `{target}`{checked} ({})",
        sanitise(&restored.snapshot),
        cost(report)
    )];
    if let Some(replaced) = &restored.replaced {
        lines.push(format!(
            "what was replaced is in `{}`",
            sanitise(&replaced.display().to_string())
        ));
    }
    lines
}
