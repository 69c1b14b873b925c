//! `ows why`.

use ows::cancel::Cancel;
use ows::error::{Failure, Outcome};
use ows::sync::why::{Explained, Known, Why, why};
use serde_json::json;

use super::args::{Global, WhyArgs};
use super::open;
use super::output::{Answer, Output};
use super::progress::Progress;
use super::text::{action_line, sanitise, size};

/// How many actions below a folder are shown.
const SHOWN: usize = 20;

pub async fn run(
    global: &Global,
    arguments: &WhyArgs,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let config = open::config_to_sync(global, output, answer)?;
    let settings = ows::sync::connect::pair_settings(&config)?;
    let path = open::below(&settings, &arguments.path)?;
    let Explained {
        mut report,
        why,
        failure,
    } = why(&settings, &path, progress.reporter(), cancel.clone()).await;
    progress.clear();
    for warning in &report.warnings {
        output.warning(warning);
    }
    if let Some(why) = &why {
        show(output, why);
        let on_itself = report.actions.len() == 1 && report.actions[0].path == why.path.as_str();
        if !on_itself {
            for action in report.actions.iter().take(SHOWN) {
                output.line(&action_line(action));
            }
            if report.actions.len() > SHOWN {
                output.line(&format!("and {} more", report.actions.len() - SHOWN));
            }
        }
        for (key, value) in [
            ("path", json!(why.path)),
            ("verdict", json!(why.verdict)),
            ("explanation", json!(why.explanation)),
            ("pattern", json!(why.pattern)),
            ("base", json!(why.base)),
            ("local", json!(why.local)),
            ("remote", json!(why.remote)),
        ] {
            answer.set(key, value);
        }
    }
    report
        .warnings
        .splice(0..0, answer.report.warnings.drain(..));
    answer.report = report;
    answer.is_closed = true;
    failure.map_or(Ok(()), Err::<(), Failure>)
}

fn show(output: &Output, why: &Why) {
    output.line(&sanitise(why.path.as_str()));
    for (name, known) in [
        ("base", &why.base),
        ("workspace", &why.local),
        ("remote", &why.remote),
    ] {
        output.line(&format!("  {name:<10} {}", known_line(known.as_ref())));
    }
    output.line(&format!("  {:<10} {}", "next", sanitise(&why.explanation)));
}

fn known_line(known: Option<&Known>) -> String {
    let Some(known) = known else {
        return "-".to_owned();
    };
    match known.kind {
        "file" => {
            let time = known.modified_at.as_deref().unwrap_or("no time");
            format!("{}, {time}", size(known.size))
        }
        "dir" => "a folder".to_owned(),
        "unreadable" => "cannot be read".to_owned(),
        _ => "a link or special file".to_owned(),
    }
}
