//! How single actions end, and what a run adds up.

use ows_providers::{Error as ProviderError, ErrorKind};

use crate::error::{Failure, FailureKind};
use crate::local::{LocalError, LocalErrorKind};
use crate::report::{ActionLine, Bytes, Counts, PathProblem};
use crate::state::StateError;

/// Why an action did not come to its end.
#[derive(Debug)]
pub enum Problem {
    /// A race was lost or a condition is not met: nothing was changed, the next run looks again.
    Left(String),
    /// The local file changed while it was read: worth another try when the others are done.
    Changing,
    /// It failed on this path; others go on.
    Failed(String),
    /// The remote has no room: no more uploads in this run.
    Quota(String),
    /// The run cannot go on.
    Fatal(Failure),
    /// The run was stopped in the middle of it.
    Stopped,
}

/// An error with its causes on one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Self {
        match error.kind {
            ErrorKind::PreconditionFailed | ErrorKind::AlreadyExists | ErrorKind::NotFound => {
                Self::Left(format!(
                    "the remote changed after it was listed, so nothing was overwritten ({}); the next run looks again",
                    error.message
                ))
            }
            ErrorKind::QuotaExceeded => Self::Quota(chain(&error)),
            ErrorKind::Unauthorized => Self::Fatal(error.into()),
            _ => Self::Failed(chain(&error)),
        }
    }
}

impl From<LocalError> for Problem {
    fn from(error: LocalError) -> Self {
        match error.kind {
            LocalErrorKind::Changed => Self::Changing,
            LocalErrorKind::Exists | LocalErrorKind::NotFound => Self::Left(format!(
                "{}; the workspace changed after it was looked at, the next run looks again",
                chain(&error)
            )),
            _ => Self::Failed(chain(&error)),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Fatal(failure)
    }
}

impl From<StateError> for Problem {
    fn from(error: StateError) -> Self {
        // Without the database nothing that is done can be agreed on.
        Self::Fatal(error.into())
    }
}

/// What the actions of a run add up to.
#[derive(Debug, Default)]
pub struct Tally {
    /// By operation.
    pub counts: Counts,
    /// Moved over the network.
    pub bytes: Bytes,
    /// Each action that ended well.
    pub actions: Vec<ActionLine>,
    /// Paths that failed or were left.
    pub errors: Vec<PathProblem>,
    /// Worth a word.
    pub warnings: Vec<String>,
}

impl Tally {
    /// Adds a path that failed.
    pub fn failed(&mut self, path: &str, message: String) {
        self.counts.failed += 1;
        self.problem(path, &message);
    }

    /// Adds a path that is left for the next run.
    pub fn left(&mut self, path: &str, message: String) {
        self.counts.skipped += 1;
        self.problem(path, &message);
    }

    /// The path stands beside the message, so the message need not name it again.
    fn problem(&mut self, path: &str, message: &str) {
        let again = format!(" for `{}`", path.escape_debug());
        self.errors.push(PathProblem {
            path: path.to_owned(),
            message: message.replacen(&again, "", 1),
        });
    }

    /// The failure of a run that finished without some of its paths.
    pub fn partial(&self) -> Option<Failure> {
        partial(&self.counts)
    }
}

/// The failure of a run, or of a dry run, that finished without some of its paths.
pub fn partial(counts: &Counts) -> Option<Failure> {
    let count = counts.failed + counts.skipped;
    (count > 0).then(|| {
        let noun = if count == 1 { "path" } else { "paths" };
        Failure::new(
            FailureKind::Partial,
            format!("finished, but {count} {noun} could not be synced"),
        )
        .with_hint("nothing was lost; run again after looking at the messages above")
    })
}
