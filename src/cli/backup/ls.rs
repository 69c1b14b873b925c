//! `ows backup ls`. Paths are shown as they are read, in JSON too: a snapshot may hold millions.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use chrono::{DateTime, SecondsFormat, Utc};
use ows::backup::catalog::Catalog;
use ows::backup::connect::backup_settings_to_look;
use ows::backup::contents::ls;
use ows::backup::entry::{AskedPath, EntryKind, SnapshotEntry, escape};
use ows::backup::settings::BackupSettings;
use ows::backup::source::Which;
use ows::cancel::Cancel;
use ows::error::{Failure, Outcome};
use ows::report::ApiCalls;
use serde_json::{Value, json};

use super::super::args::Global;
use super::super::open;
use super::super::output::{Answer, Output};
use super::super::progress::Progress;
use super::super::text::size;
use super::args::LsArgs;
use super::proofs::known;
use super::text_or_hex;

pub async fn run(
    global: &Global,
    arguments: &LsArgs,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let config = open::config(global, output, answer)?;
    let below = arguments.path.as_deref().map(archive_path).transpose()?;
    let settings = backup_settings_to_look(&config)?;
    let shown = *output;
    let show = move |entry: &SnapshotEntry| {
        if shown.is_json() {
            shown.element("entries", &as_json(entry));
        } else {
            shown.line(&line(entry));
        }
    };
    let listed = list(
        &settings, arguments, below, show, output, progress, cancel, answer,
    )
    .await;
    answer.report.api_calls = ApiCalls::from(&settings.counter.counts());
    listed
}

#[expect(clippy::too_many_arguments, reason = "they are what every command has")]
async fn list(
    settings: &BackupSettings,
    arguments: &LsArgs,
    below: Option<AskedPath>,
    show: impl FnMut(&SnapshotEntry) + Send + 'static,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let state = known(settings, output, answer).await;
    let reading = Catalog::read(settings.provider.as_ref(), state.as_ref());
    let catalog = cancel.unless_stopped(reading).await;
    let catalog = catalog.unwrap_or_else(|| Err(cancel.failure()))?;
    let which = Which::parse(&arguments.snapshot);
    let asked = below.as_ref().map(AskedPath::to_string);
    // No bar: the lines are what is seen.
    let reporter = progress.log_only();
    let listed = ls(settings, &catalog, &which, below, show, reporter, cancel).await?;
    answer.set("snapshot", listed.snapshot.as_str());
    for warning in &listed.warnings {
        output.warning(warning);
    }
    answer.report.warnings.extend(listed.warnings);
    if let Some(asked) = asked
        && listed.paths == 0
    {
        return Err(Failure::failed(format!(
            "`{}` holds no such path",
            listed.snapshot
        ))
        .with_path(asked)
        .with_hint("`ows backup ls SNAPSHOT` shows all of them; those of the workspace begin with `workspace/`"));
    }
    Ok(())
}

/// A path as `ls` shows it, or as it is; a slash at its end says nothing.
pub fn archive_path(typed: impl AsRef<OsStr>) -> Outcome<AskedPath> {
    let typed = typed.as_ref().as_bytes();
    let mut path = typed.strip_prefix(b"./").unwrap_or(typed);
    while let Some(shorter) = path.strip_suffix(b"/") {
        path = shorter;
    }
    AskedPath::new(path).map_err(|error| {
        Failure::usage("this is no path in a snapshot")
            .with_path(escape(typed))
            .with_source(error)
            .with_hint("give it as `ows backup ls` shows it, such as `workspace/notes/plan.md`")
    })
}

fn modified_at(entry: &SnapshotEntry) -> Option<DateTime<Utc>> {
    let nanoseconds = i64::try_from(entry.mtime_ns).ok()?;
    Some(DateTime::from_timestamp_nanos(nanoseconds))
}

fn kind(entry: &SnapshotEntry) -> &'static str {
    match entry.kind {
        EntryKind::File { .. } => "file",
        EntryKind::Dir => "dir",
        EntryKind::Symlink { .. } => "symlink",
        EntryKind::HardLink { .. } => "hardlink",
    }
}

fn as_json(entry: &SnapshotEntry) -> Value {
    let (size, sha256, target) = match &entry.kind {
        EntryKind::File { size, sha256, .. } => (Some(*size), Some(sha256.to_string()), None),
        EntryKind::Dir => (None, None, None),
        EntryKind::Symlink { target } => (None, None, Some(target.as_slice())),
        EntryKind::HardLink { to } => (None, None, Some(to.as_bytes())),
    };
    let (path, path_hex) = text_or_hex(entry.path.as_bytes());
    let (target, target_hex) = target.map(text_or_hex).unzip();
    json!({
        "path": path,
        "path_hex": path_hex,
        "kind": kind(entry),
        "size": size,
        "mode": format!("{:04o}", entry.mode & 0o7777),
        "modified_at": modified_at(entry).map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true)),
        "target": target,
        "target_hex": target_hex.flatten(),
        "sha256": sha256,
    })
}

fn line(entry: &SnapshotEntry) -> String {
    let (bytes, tail) = match &entry.kind {
        EntryKind::File { size: bytes, .. } => (size(*bytes), String::new()),
        EntryKind::Dir => ("-".to_owned(), "/".to_owned()),
        EntryKind::Symlink { target } => ("-".to_owned(), format!(" -> {}", escape(target))),
        EntryKind::HardLink { to } => ("-".to_owned(), format!(" = {to}")),
    };
    let time = modified_at(entry).map_or_else(
        || "-".to_owned(),
        |time| time.to_rfc3339_opts(SecondsFormat::Secs, true),
    );
    // Nothing is left in a path that a terminal should not see, and what is shown can be given to `--path`.
    format!("{bytes:>12}  {time:<20}  {}{tail}", entry.path)
}
