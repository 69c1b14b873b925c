//! `ows backup verify`.

use ows::backup::connect::backup_settings;
use ows::backup::proving::{Finished, verify_command};
use ows::backup::source::Which;
use ows::backup::verify::{Level, Subject, Verified};
use ows::cancel::Cancel;
use ows::error::{Failure, Outcome};
use serde_json::{Value, json};

use super::super::args::Global;
use super::super::open;
use super::super::output::{Answer, Output};
use super::super::progress::Progress;
use super::super::text::{files, sanitise, size};
use super::args::VerifyArgs;
use super::{bad, close};

pub async fn run(
    global: &Global,
    arguments: &VerifyArgs,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let config = open::config(global, output, answer)?;
    let settings = backup_settings(&config)?;
    let subject = match arguments.all {
        true => Subject::All,
        false => Subject::One(Which::parse(&arguments.snapshot)),
    };
    let level = arguments.level.map(Level::from);
    let reporter = progress.reporter_saying("verifying");
    let finished = verify_command(&settings, subject, level, reporter, cancel.clone()).await;
    progress.clear();
    let Finished {
        report,
        found,
        failure,
    } = finished;
    let found = found.unwrap_or_default();
    tell(&found, answer);
    close(report, output, answer);
    for verified in &found {
        output.line(&line(verified));
    }
    failure.map_or(Ok(()), Err::<(), Failure>)
}

fn tell(found: &[Verified], answer: &mut Answer) {
    if let [only] = found {
        answer.set("snapshot", only.snapshot.as_str());
    }
    let level = found.first().map(|verified| verified.level.name());
    answer.set("level", level);
    let count: u64 = found.iter().map(|verified| verified.files).sum();
    answer.set("files", count);
    let all = found.iter().flat_map(|verified| &verified.bad);
    answer.set("bad", bad(all));
    let verified = found.iter().map(|verified| {
        json!({
            "name": verified.snapshot,
            "proven": verified.proven.map(Level::name),
            "files": verified.files,
            "bad": verified.bad_count,
        })
    });
    answer.set("verified", verified.collect::<Value>());
}

fn line(verified: &Verified) -> String {
    let name = sanitise(&verified.snapshot);
    let found = match verified.proven {
        _ if verified.bad_count > 0 => return format!("{name}: NOT as it was stored, see below"),
        None => return format!("{name}: it can be read, which proves nothing about its content"),
        Some(Level::List) => "every object is there, in its length",
        Some(Level::Hash) => {
            "every object is, byte by byte, the one that was stored (not decrypted)"
        }
        Some(Level::Read) => {
            return format!(
                "{name}: every file is as it was stored: {}, {}",
                files(verified.files),
                size(verified.bytes)
            );
        }
    };
    format!("{name}: {found}")
}
