//! `ows why PATH`: what is known of one path, and what the next run would do about it and why.
//!
//! Both sides are observed as a whole and planned by the same code as a run: a move, or a folder that cannot be read, is
//! only seen in the whole. Nothing is changed; like a dry run it takes the lock, so that no run changes what it looks at.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use ows_providers::{Entry, EntryKind, ErrorKind, RelPath, SortKey};
use serde::Serialize;

use super::run::{Observed, Opened, Run};
use super::{PairSettings, SyncOptions, drain, others, overlap, roots, unmarked};
use crate::apply::chain;
use crate::cancel::Cancel;
use crate::error::{FailureKind, Outcome};
use crate::ids::RunId;
use crate::local::Observed as Looked;
use crate::plan::guards::{GuardName, Stop};
use crate::plan::{Action, Fate, Fates, Op, Record, mailbox};
use crate::report::{ActionLine, ApiCalls, Report, Reporter};
use crate::tree::{LocalFingerprint, RemoteStamp};

/// The kind of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The next run does something; the actions are in the report.
    Acts,
    /// Both sides agree.
    Unchanged,
    /// Only what is remembered changes.
    Records,
    /// It is left alone and reported by every run until somebody does something about it.
    Skipped,
    /// A link or special file, or below one: left alone by design.
    Link,
    /// A pattern leaves it out.
    Excluded,
    /// It is never synced, whatever the patterns say.
    Protected,
    /// It belongs to `ows`.
    Own,
    /// It lies in a mail folder of mailbox mode.
    Mail,
    /// A guard stops the run before it does anything about it.
    Stopped,
    /// It is on neither side, and was not.
    Absent,
}

/// One side of a path, or what was agreed about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Known {
    /// `file`, `dir`, `other` for a link or special file, or `unreadable` where it cannot be told.
    pub kind: &'static str,
    /// Length in bytes.
    pub size: u64,
    /// The content's modification time, or when the provider stored it.
    pub modified_at: Option<String>,
    /// The remote's version.
    pub version: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, Serialize)]
pub struct Why {
    /// The path that was asked about.
    pub path: RelPath,
    /// The kind of answer.
    pub verdict: Verdict,
    /// The answer for people: what the next run does about it, and why.
    pub explanation: String,
    /// The pattern that leaves it out.
    pub pattern: Option<String>,
    /// What both sides agreed on.
    pub base: Option<Known>,
    /// What the workspace holds.
    pub local: Option<Known>,
    /// What the remote holds.
    pub remote: Option<Known>,
}

/// The answer with the common part of a report. Its actions are what the next run does to the path and below it.
#[derive(Debug)]
pub struct Explained {
    /// The common part.
    pub report: Report,
    /// The answer; `None` when there is none.
    pub why: Option<Why>,
    /// Why there is none.
    pub failure: Option<crate::error::Failure>,
}

/// Explains one path.
pub async fn why(
    settings: &PairSettings,
    path: &RelPath,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
) -> Explained {
    let mut report = Report::new("why");
    report.mode = Some(settings.mode.name().to_owned());
    let options = SyncOptions {
        dry_run: true,
        ..SyncOptions::default()
    };
    let run = Run {
        settings,
        options: &options,
        reporter,
        cancel: cancel.clone(),
        id: RunId::random(report.started_at),
    };
    let asked = cancel.unless_stopped(run.explain(path, &mut report)).await;
    let result = asked.unwrap_or_else(|| Err(cancel.failure()));
    report.api_calls = ApiCalls::from(&settings.counter.counts());
    report.close(result.as_ref().err());
    match result {
        Ok(why) => Explained {
            report,
            why: Some(why),
            failure: None,
        },
        Err(failure) => Explained {
            report,
            why: None,
            failure: Some(failure),
        },
    }
}

/// What the path alone, or the run as a whole, already answers.
struct Answer {
    verdict: Verdict,
    explanation: String,
    pattern: Option<String>,
}

impl Answer {
    fn new(verdict: Verdict, explanation: impl Into<String>) -> Self {
        Self {
            verdict,
            explanation: explanation.into(),
            pattern: None,
        }
    }
}

impl Run<'_> {
    async fn explain(&self, path: &RelPath, report: &mut Report) -> Outcome<Why> {
        let identity = self.settings.provider.describe().await?;
        let mut opened = match self.open(identity, report).await {
            Ok(opened) => opened,
            // The missing folder is the answer, for every path.
            Err(failure) if failure.kind == FailureKind::Guard => {
                let hint = failure.hint.unwrap_or_default();
                return Ok(Why {
                    path: path.clone(),
                    verdict: Verdict::Stopped,
                    explanation: format!("{}; {hint}", failure.message),
                    pattern: None,
                    base: None,
                    local: None,
                    remote: self.remote_side(path).await?,
                });
            }
            Err(failure) => return Err(failure),
        };
        let explained = self.explain_in(&mut opened, path, report).await;
        opened.state.close().await;
        explained
    }

    async fn explain_in(
        &self,
        opened: &mut Opened,
        path: &RelPath,
        report: &mut Report,
    ) -> Outcome<Why> {
        let mut why = Why {
            path: path.clone(),
            verdict: Verdict::Absent,
            explanation: String::new(),
            pattern: None,
            base: base_side(opened, path).await?,
            local: local_side(opened, path),
            remote: self.remote_side(path).await?,
        };
        let answer = match by_path(opened, &why) {
            Some(answer) => answer,
            None => self.by_run(opened, &why, report).await?,
        };
        why.verdict = answer.verdict;
        why.explanation = answer.explanation;
        why.pattern = answer.pattern;
        Ok(why)
    }

    async fn remote_side(&self, path: &RelPath) -> Outcome<Option<Known>> {
        match self.settings.provider.stat(path).await {
            Ok(entry) => Ok(Some(remote_known(&entry))),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the next run does, found by looking at everything as it would.
    async fn by_run(&self, opened: &mut Opened, why: &Why, report: &mut Report) -> Outcome<Answer> {
        if let Some(stop) = overlap::guard(self.settings, opened, false).await? {
            return Ok(stopped(report, stop, None));
        }
        let filling = self.fills_first(opened).await?;
        let direction = filling.unwrap_or_else(|| self.direction());
        if let Some(stop) = roots::local_root(opened, direction, self.options).await? {
            return Ok(stopped(report, stop, None));
        }
        let looked = self.look(opened, direction, report).await?;
        let (observed, stop) = (looked.observed, looked.stop);
        let caution = observed.plan.caution;
        report
            .warnings
            .extend(unmarked::warning(self.settings, caution));
        report
            .warnings
            .extend(others::warning(looked.other.as_ref(), &observed.plan));
        let path = &why.path;
        if opened.scope.is_mail(path) {
            return Ok(self.mail(&observed, why, report));
        }
        let fates = self.fates_seen(opened, &observed.plan).await?;
        report.actions = observed
            .plan
            .actions()
            .filter(|action| concerns(action, path))
            .map(|action| line(action, fates))
            .collect();
        let answer = self.planned(&observed, why, &report.actions, fates);
        Ok(match stop {
            Some(stop) if answer.verdict == Verdict::Acts => stopped(report, stop, Some(answer)),
            _ => answer,
        })
    }

    /// The answer of the plan.
    fn planned(
        &self,
        observed: &Observed,
        why: &Why,
        actions: &[ActionLine],
        fates: Fates,
    ) -> Answer {
        let path = &why.path;
        // Two where a file becomes a folder, or the reverse.
        let deeds: Vec<String> = observed
            .plan
            .actions()
            .filter(|action| is_about(action, path))
            .map(|action| deed(action, path, fates))
            .collect();
        if !deeds.is_empty() {
            let text = format!("the next run {}", deeds.join("; then it "));
            return Answer::new(Verdict::Acts, text);
        }
        let covers = |at: &str| at == path.as_str() || is_below(path.as_str(), at);
        if let Some(link) = observed.seen.links.iter().find(|link| covers(&link.path)) {
            let text = format!(
                "`{}` is {}: it is left alone on both sides, with everything below",
                link.path, link.reason
            );
            return Answer::new(Verdict::Link, text);
        }
        if let Some(skipped) = observed.plan.skipped.iter().find(|at| covers(&at.path)) {
            let text = if skipped.path == path.as_str() {
                format!("it is left alone: {}", skipped.reason)
            } else {
                format!("`{}` is left alone: {}", skipped.path, skipped.reason)
            };
            return Answer::new(Verdict::Skipped, text);
        }
        if !actions.is_empty() {
            let text = match actions.len() {
                1 => "the next run does something to one path below it".to_owned(),
                count => format!("the next run does something to {count} paths below it"),
            };
            return Answer::new(Verdict::Acts, text);
        }
        let record = observed.plan.records.iter().find(|record| match record {
            Record::Agree(row) => row.key.path == *path,
            Record::Forget(key) => key.path == *path,
            // Only a time becomes known.
            Record::Stored { .. } => false,
        });
        match record {
            // A file as young as the last look is looked at again: nothing that a person needs to hear of.
            Some(Record::Agree(_)) if why.base.is_some() => self.at_rest(why),
            Some(Record::Agree(_)) => Answer::new(
                Verdict::Records,
                "both sides hold the same content; the next run only takes note of it",
            ),
            Some(Record::Forget(_)) => Answer::new(
                Verdict::Records,
                "it is gone on both sides, or no longer takes part; the next run only forgets it",
            ),
            Some(Record::Stored { .. }) | None => self.at_rest(why),
        }
    }

    /// The plan does nothing about the path.
    fn at_rest(&self, why: &Why) -> Answer {
        let folders = self.settings.provider.capabilities().folders;
        match (&why.local, &why.remote) {
            (Some(local), None) if local.kind == "dir" && !folders => Answer::new(
                Verdict::Unchanged,
                "this remote has no folders: what is in it takes part, the folder itself does not; the next run does \
                 nothing",
            ),
            (None, None) => Answer::new(
                Verdict::Absent,
                "there is no such file or folder on either side, and none is remembered",
            ),
            _ => Answer::new(
                Verdict::Unchanged,
                "both sides agree; the next run does nothing about it",
            ),
        }
    }

    fn mail(&self, observed: &Observed, why: &Why, report: &mut Report) -> Answer {
        let path = &why.path;
        if mailbox::is_inbox(path) {
            let text = "it lies in `_inbox`, where files from people arrive: it is never sent and never deleted";
            return Answer::new(Verdict::Mail, text);
        }
        let drained: Vec<&Entry> = observed
            .outbox
            .iter()
            .filter(|entry| entry.path == *path || entry.path.is_below(path))
            .collect();
        report.actions = drained
            .iter()
            .map(|entry| ActionLine {
                op: "drain".to_owned(),
                path: entry.path.to_string(),
                bytes: entry.size,
                reason: drain::REASON.to_owned(),
            })
            .collect();
        if let Some(entry) = drained.first() {
            let text = match drain::landing(entry) {
                Some(landing) if entry.path == *path => format!(
                    "the next run delivers it to `{landing}`, or to the first name like it that is free, and then \
                     removes it from the remote"
                ),
                _ => format!(
                    "the next run delivers {} files from it to `_inbox`",
                    drained.len()
                ),
            };
            return Answer::new(Verdict::Mail, text);
        }
        let below = RelPath::new(mailbox::OUTBOX)
            .ok()
            .and_then(|outbox| path.strip_folder(&outbox));
        let text = match below {
            Some(below) if !mailbox::is_deliverable(&below) => {
                "it has the name of a half-written file or of a placeholder, so it stays in `_outbox`"
            }
            Some(_)
                if why
                    .remote
                    .as_ref()
                    .is_some_and(|remote| remote.kind == "file") =>
            {
                "it changed too recently to be complete; a later run delivers it"
            }
            _ => {
                "it lies in `_outbox`: files that people put there in the remote are delivered to `_inbox`; what is \
                  in the workspace's own `_outbox` is never sent"
            }
        };
        Answer::new(Verdict::Mail, text)
    }
}

/// What the path alone tells.
fn by_path(opened: &Opened, why: &Why) -> Option<Answer> {
    let (scope, path) = (&opened.scope, &why.path);
    if mailbox::is_own(path) {
        let text = "it belongs to `ows` itself and is never synced";
        return Some(Answer::new(Verdict::Own, text));
    }
    if scope.is_protected(path) {
        let text = "it is never synced, whatever the patterns say: it holds the state, the configuration or credentials \
                    of the agent";
        return Some(Answer::new(Verdict::Protected, text));
    }
    let known = [&why.local, &why.remote, &why.base];
    let kind = known
        .into_iter()
        .flatten()
        .find_map(|known| match known.kind {
            "file" => Some(EntryKind::File),
            "dir" => Some(EntryKind::Dir),
            _ => None,
        });
    let pattern = scope.pattern_of(path, kind)?.to_owned();
    let text = format!(
        "the pattern `{pattern}` leaves it out: it is neither transferred nor deleted on either side"
    );
    Some(Answer {
        pattern: Some(pattern),
        ..Answer::new(Verdict::Excluded, text)
    })
}

async fn base_side(opened: &Opened, path: &RelPath) -> Outcome<Option<Known>> {
    for (key, kind) in [
        (SortKey::file(path.clone()), "file"),
        (SortKey::dir(path.clone()), "dir"),
    ] {
        let row = opened.state.base_row(&opened.pair.id, &key).await?;
        if let Some(row) = row {
            return Ok(Some(Known {
                kind,
                size: row.local.size,
                modified_at: (kind == "file").then(|| time(row.local.mtime_ns)),
                version: version(&row.remote),
            }));
        }
    }
    Ok(None)
}

fn local_side(opened: &Opened, path: &RelPath) -> Option<Known> {
    match opened.local.observe(path)? {
        Looked::Entry(entry) => Some(local_known(entry.key.kind, &entry.fingerprint)),
        Looked::Unknown { reason, .. } => {
            tracing::debug!(path = %path, reason = chain(&reason), "not a file or folder");
            Some(Known {
                kind: if reason.is_skipped() {
                    "other"
                } else {
                    "unreadable"
                },
                size: 0,
                modified_at: None,
                version: None,
            })
        }
        Looked::NotUtf8 { .. } | Looked::Leftover(_) => None,
    }
}

fn local_known(kind: EntryKind, local: &LocalFingerprint) -> Known {
    Known {
        kind: kind_name(kind),
        size: local.size,
        modified_at: Some(time(local.mtime_ns)),
        version: None,
    }
}

fn remote_known(entry: &Entry) -> Known {
    Known {
        kind: kind_name(entry.kind),
        size: entry.size,
        modified_at: entry.mtime_ns.or(entry.modified_at_ns).map(time),
        version: entry.version.as_ref().map(|version| version.0.clone()),
    }
}

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Dir => "dir",
    }
}

fn version(remote: &RemoteStamp) -> Option<String> {
    remote.version.as_ref().map(|version| version.0.clone())
}

fn time(ns: i64) -> String {
    DateTime::<Utc>::from_timestamp_nanos(ns).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Whether an action changes the path, or something below it.
fn concerns(action: &Action, path: &RelPath) -> bool {
    is_about(action, path) || action.key.path.is_below(path)
}

fn is_about(action: &Action, path: &RelPath) -> bool {
    let moved_from = matches!(
        &action.op,
        Op::MoveRemote { from, .. } | Op::MoveLocal { from, .. } if **from == *path
    );
    action.key.path == *path || moved_from
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn deed(action: &Action, path: &RelPath, fates: Fates) -> String {
    let what = match &action.op {
        Op::Upload => "uploads it".to_owned(),
        Op::Download => "downloads it".to_owned(),
        Op::DeleteLocal if fates.local == Fate::Trash => {
            "moves it from the workspace into the local trash".to_owned()
        }
        Op::DeleteLocal => format!("deletes it in the workspace; it {}", fates.local.clause()),
        Op::DeleteRemote => format!(
            "deletes it in the remote, where it {}",
            fates.remote.clause()
        ),
        Op::MoveRemote { from, .. } if **from == *path => {
            format!("gives it the name `{}` in the remote", action.key.path)
        }
        Op::MoveRemote { from, .. } => format!("renames `{from}` to it in the remote"),
        Op::MoveLocal { from, .. } if **from == *path => {
            format!("gives it the name `{}` in the workspace", action.key.path)
        }
        Op::MoveLocal { from, .. } => format!("renames `{from}` to it in the workspace"),
        Op::Conflict { .. } => "keeps both versions, one of them under another name".to_owned(),
        Op::CreateDirLocal => "creates the folder in the workspace".to_owned(),
        Op::CreateDirRemote => "creates the folder in the remote".to_owned(),
    };
    format!("{what}: {}", action.told(fates))
}

fn line(action: &Action, fates: Fates) -> ActionLine {
    ActionLine {
        op: action.op.name().to_owned(),
        path: action.key.path.to_string(),
        bytes: action.bytes(),
        reason: action.told(fates),
    }
}

/// The run would not come to act.
fn stopped(report: &mut Report, stop: Stop, without: Option<Answer>) -> Answer {
    let name: GuardName = stop.name;
    let mut text = format!(
        "the next run stops before it does anything, by the guard `{}`: {}",
        name.name(),
        stop.message
    );
    if let Some(answer) = without {
        text.push_str(&format!("; let through, {}", answer.explanation));
    }
    text.push_str(&format!("; {}", stop.hint));
    report.guard = Some(stop);
    Answer::new(Verdict::Stopped, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_below_a_folder_and_not_below_a_namesake() {
        assert!(is_below("a/b", "a") && is_below("a/b/c", "a/b"));
        assert!(!is_below("ab", "a") && !is_below("a", "a"));
    }
}
