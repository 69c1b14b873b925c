//! What a run tells while it works, and the one value that text and JSON are rendered from when it is over.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use ows_providers::layers::CallCounts;
use serde::{Serialize, Serializer};

use crate::error::Failure;
use crate::plan::Fates;
use crate::plan::guards::Stop;

/// Takes part in a run as a listener. The command line draws a bar; tests collect; a program that embeds the library
/// does what it likes. All methods are called from many threads and must not block.
pub trait Reporter: Send + Sync {
    /// A new phase has begun.
    fn phase(&self, _phase: Phase) {}
    /// So many files have been looked at.
    fn observed(&self, _files: u64) {}
    /// The plan is made: so many files and bytes are to be moved.
    fn planned(&self, _files: u64, _bytes: u64) {}
    /// So many more bytes have been moved.
    fn moved(&self, _bytes: u64) {}
    /// An action has ended well.
    fn done(&self, _action: &ActionLine) {}
    /// Something is worth a word.
    fn warning(&self, _text: &str) {}
}

/// A reporter that says nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Reporter for Silent {}

/// The phases of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Phase {
    Waiting,
    Observing,
    Comparing,
    Applying,
    Draining,
    Finishing,
}

/// How many paths met which end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub upload: u64,
    pub download: u64,
    pub delete_local: u64,
    pub delete_remote: u64,
    #[serde(rename = "move")]
    pub moved: u64,
    pub conflict: u64,
    pub unchanged: u64,
    pub skipped: u64,
    pub failed: u64,
}

impl Counts {
    /// Adds what another part of the run counted.
    pub fn merge(&mut self, other: &Self) {
        self.upload += other.upload;
        self.download += other.download;
        self.delete_local += other.delete_local;
        self.delete_remote += other.delete_remote;
        self.moved += other.moved;
        self.conflict += other.conflict;
        self.unchanged = other.unchanged;
        self.skipped += other.skipped;
        self.failed += other.failed;
    }

    /// Counts one action by the name that JSON gives it. A drain is a download; folders are not counted.
    pub fn add(&mut self, op: &str) {
        match op {
            "upload" => self.upload += 1,
            "download" | "drain" => self.download += 1,
            "delete_local" => self.delete_local += 1,
            "delete_remote" => self.delete_remote += 1,
            "move_local" | "move_remote" => self.moved += 1,
            "conflict" => self.conflict += 1,
            _ => {}
        }
    }
}

/// Bytes of content that crossed the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Bytes {
    pub up: u64,
    pub down: u64,
}

/// Calls to the provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ApiCalls {
    /// All of them.
    pub total: u64,
    /// By operation.
    pub by_operation: BTreeMap<String, u64>,
}

impl From<&CallCounts> for ApiCalls {
    fn from(counts: &CallCounts) -> Self {
        let by_operation = counts
            .by_operation
            .iter()
            .map(|(operation, count)| (operation.name().to_owned(), *count))
            .collect();
        Self {
            total: counts.total,
            by_operation,
        }
    }
}

/// One action, as `--dry-run` and `-v` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActionLine {
    /// What is done.
    pub op: String,
    /// To which path.
    pub path: String,
    /// Bytes that it moves.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

/// Something that went wrong on one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathProblem {
    /// The path; empty when it is about the run as a whole.
    pub path: String,
    /// What went wrong and what did not happen.
    pub message: String,
}

/// The result of a command: what `--json` prints, and what the text is made from.
#[derive(Debug, Clone, Serialize)]
#[expect(
    missing_docs,
    reason = "the names are those of the JSON, described in the README"
)]
pub struct Report {
    pub command: String,
    pub run_id: Option<String>,
    pub ok: bool,
    pub exit_code: u8,
    pub dry_run: bool,
    pub mode: Option<String>,
    #[serde(serialize_with = "rfc3339")]
    pub started_at: DateTime<Utc>,
    #[serde(serialize_with = "rfc3339")]
    pub finished_at: DateTime<Utc>,
    pub counts: Counts,
    pub bytes: Bytes,
    pub api_calls: ApiCalls,
    pub actions: Vec<ActionLine>,
    pub warnings: Vec<String>,
    pub errors: Vec<PathProblem>,
    pub guard: Option<Stop>,
    /// Files of `_outbox` that still grow: a later run delivers them.
    #[serde(skip_serializing_if = "is_none")]
    pub settling: u64,
    /// What became, or would become, of what was deleted: the words of the text, where JSON tells it with each action.
    #[serde(skip)]
    pub fates: Fates,
}

impl Report {
    /// The report of a command that has just begun.
    pub fn new(command: &str) -> Self {
        let now = Utc::now();
        Self {
            command: command.to_owned(),
            run_id: None,
            ok: true,
            exit_code: 0,
            dry_run: false,
            mode: None,
            started_at: now,
            finished_at: now,
            counts: Counts::default(),
            bytes: Bytes::default(),
            api_calls: ApiCalls::default(),
            actions: Vec::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
            guard: None,
            settling: 0,
            fates: Fates::default(),
        }
    }

    /// Writes down how the command ended. The failure's text becomes the first error, with its causes and the hint.
    pub fn close(&mut self, failure: Option<&Failure>) {
        self.finished_at = Utc::now();
        self.exit_code = failure.map_or(0, |failure| failure.kind.exit_code());
        self.ok = self.exit_code == 0;
        if let Some(failure) = failure
            && !matches!(failure.kind, crate::error::FailureKind::Partial)
        {
            self.errors.insert(0, failure.as_problem());
        }
    }
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Serializes a time as RFC 3339 in UTC with milliseconds.
///
/// # Errors
/// Those of the serializer.
pub fn rfc3339<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
