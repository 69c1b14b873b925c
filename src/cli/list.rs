//! `ows list`.

use chrono::{DateTime, SecondsFormat, Utc};
use futures::StreamExt;
use ows::error::{Failure, FailureKind, Outcome};
use ows::report::{ApiCalls, PathProblem};
use ows_providers::{Entry, EntryKind, ErrorKind, ListOptions, Listed, Provider, RelPath};
use serde_json::{Value, json};

use super::args::{Global, ListArgs};
use super::open;
use super::output::{Answer, Output};
use super::text::{sanitise, size};

pub async fn run(
    global: &Global,
    arguments: &ListArgs,
    output: &Output,
    answer: &mut Answer,
) -> Outcome<()> {
    let config = open::config(global, output, answer)?;
    let below = below(arguments.path.as_deref())?;
    let settings = open::pair(&config)?;
    let found = collect(settings.provider.as_ref(), below, arguments.recursive).await;
    answer.report.api_calls = ApiCalls::from(&settings.counter.counts());
    let found = found?;
    for entry in &found.entries {
        output.line(&line(entry));
    }
    answer.set(
        "entries",
        found.entries.iter().map(as_json).collect::<Value>(),
    );
    answer.report.counts.skipped = found.problems.len() as u64;
    answer.report.errors = found.problems;
    match answer.report.errors.len() {
        0 => Ok(()),
        count => Err(Failure::new(
            FailureKind::Partial,
            match count {
                1 => "one entry of the remote cannot be shown".to_owned(),
                _ => format!("{count} entries of the remote cannot be shown"),
            },
        )
        .with_hint("the reasons stand above; everything else was listed")),
    }
}

/// The folder or file that was asked for; a slash at either end says nothing.
fn below(path: Option<&str>) -> Outcome<Option<RelPath>> {
    match path.map(|path| path.trim_matches('/')) {
        None | Some("" | ".") => Ok(None),
        Some(path) => RelPath::new(path).map(Some).map_err(|error| {
            Failure::usage("the path does not name anything in the remote")
                .with_path(path)
                .with_source(error)
                .with_hint("give it as `ows list -R` shows it, such as `notes/plan.md`")
        }),
    }
}

struct Found {
    entries: Vec<Entry>,
    problems: Vec<PathProblem>,
}

async fn collect(
    provider: &dyn Provider,
    below: Option<RelPath>,
    recursive: bool,
) -> Outcome<Found> {
    let mut listing = provider.list(ListOptions {
        below: below.clone(),
        shallow: !recursive,
        skip: RelPath::new(ows::plan::mailbox::OWN).into_iter().collect(),
        ..ListOptions::default()
    });
    let mut found = Found {
        entries: Vec::new(),
        problems: Vec::new(),
    };
    let mut missing = None;
    while let Some(item) = listing.next().await {
        match item {
            Ok(Listed::Entry(entry)) => found.entries.push(entry),
            Ok(Listed::Unusable { key, reason }) => found.problems.push(PathProblem {
                path: key,
                message: format!("this name cannot be used here: {reason}"),
            }),
            Ok(Listed::Unreadable { path, error }) => found.problems.push(PathProblem {
                path: path.to_string(),
                message: format!("this folder could not be listed: {error}"),
            }),
            Err(error) if error.kind == ErrorKind::NotFound => {
                missing = Some(error);
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    drop(listing);
    match below {
        Some(path) if found.entries.is_empty() && found.problems.is_empty() => {
            found.entries.extend(file_at(provider, &path).await?);
            Ok(found)
        }
        _ => match missing {
            // A folder comes with the first run. A bucket does not.
            Some(_) if provider.capabilities().folders => Err(Failure::failed(
                "the remote folder is not there",
            )
            .with_hint("the first `ows sync` makes it; if it was there before, see `ows status`")),
            Some(error) => Err(error.into()),
            None => Ok(found),
        },
    }
}

/// The path may name a file, or an empty folder.
async fn file_at(provider: &dyn Provider, path: &RelPath) -> Outcome<Option<Entry>> {
    match provider.stat(path).await {
        Ok(entry) if entry.kind == EntryKind::File => Ok(Some(entry)),
        Ok(_) => Ok(None),
        Err(error) if error.kind == ErrorKind::NotFound => Err(Failure::failed(
            "there is no such file or folder in the remote",
        )
        .with_path(path.to_string())
        .with_hint("`ows list -R` shows everything that is there")),
        Err(error) => Err(error.into()),
    }
}

fn modified_at(entry: &Entry) -> Option<String> {
    let time = DateTime::<Utc>::from_timestamp_nanos(entry.mtime_ns.or(entry.modified_at_ns)?);
    Some(time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn as_json(entry: &Entry) -> Value {
    json!({
        "path": entry.path,
        "kind": match entry.kind {
            EntryKind::File => "file",
            EntryKind::Dir => "dir",
        },
        "size": entry.size,
        "modified_at": modified_at(entry),
        "version": entry.version,
    })
}

fn line(entry: &Entry) -> String {
    let (bytes, slash) = match entry.kind {
        EntryKind::File => (size(entry.size), ""),
        EntryKind::Dir => ("-".to_owned(), "/"),
    };
    let time = modified_at(entry).unwrap_or_else(|| "-".to_owned());
    format!(
        "{bytes:>12}  {time:<20}  {}{slash}",
        sanitise(entry.path.as_str())
    )
}
