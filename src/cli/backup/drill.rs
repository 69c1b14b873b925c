//! `ows backup drill`.

use ows::backup::connect::backup_settings;
use ows::backup::drill::Drilled;
use ows::backup::proving::{Finished, drill_command};
use ows::cancel::Cancel;
use ows::error::{Failure, Outcome};
use ows::report::Report;

use super::super::args::Global;
use super::super::open;
use super::super::output::{Answer, Output};
use super::super::progress::Progress;
use super::super::text::{files, sanitise, size};
use super::{bad, close, cost};

pub async fn run(
    global: &Global,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let config = open::config(global, output, answer)?;
    let settings = backup_settings(&config)?;
    let reporter = progress.reporter_saying("restoring for practice");
    let finished = drill_command(&settings, reporter, cancel.clone()).await;
    progress.clear();
    let Finished {
        report,
        found,
        failure,
    } = finished;
    if let Some(found) = &found {
        let done = &found.restored.done;
        answer.set("snapshot", found.restored.snapshot.as_str());
        answer.set("files", done.files);
        answer.set("bad", bad(&done.bad));
        answer.set("databases", found.databases);
        answer.set("compared", found.compared);
    }
    let lines = found.map_or_else(Vec::new, |found| lines(&found, &report));
    close(report, output, answer);
    for line in lines {
        output.line(&line);
    }
    failure.map_or(Ok(()), Err::<(), Failure>)
}

fn lines(drilled: &Drilled, report: &Report) -> Vec<String> {
    let done = &drilled.restored.done;
    let how = match done.bad_count {
        0 => "restored, and every file is as it was stored",
        _ => "restored, but NOT everything is as it was stored",
    };
    vec![
        format!(
            "{}: {how}: {}, {} ({})",
            sanitise(&drilled.restored.snapshot),
            files(done.files),
            size(done.bytes),
            cost(report)
        ),
        format!(
            "{} checked, {} compared with this host, where they have not changed since; what was restored was removed \
             again",
            match drilled.databases {
                1 => "1 database".to_owned(),
                count => format!("{count} databases"),
            },
            files(drilled.compared)
        ),
    ]
}
