//! What a person reads when something failed, and the exit code that goes with it.
//!
//! Inside the library every layer has its own errors. Where a command ends, one of them becomes a [`Failure`]: what
//! failed, on which path, why, what to do next. The text never repeats its cause; [`Failure::causes`] walks those.

use std::error::Error as StdError;
use std::fmt;

/// The class of a failure: decides the exit code, and nothing else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// It failed; running again may help.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// It finished, but some files were skipped or failed.
    Partial,
    /// A guard stopped it; a person must decide.
    Guard,
    /// Authorization is needed.
    Unauthorized,
    /// Another run is in progress.
    Busy,
    /// The time given to the run was over.
    TimedOut,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl FailureKind {
    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Guard => 4,
            Self::Unauthorized => 5,
            Self::Busy => 6,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

/// A failure as a person reads it.
#[derive(Debug)]
pub struct Failure {
    /// Its class.
    pub kind: FailureKind,
    /// What failed, in one sentence without a full stop.
    pub message: String,
    /// On which path, when there is one.
    pub path: Option<String>,
    /// What to do next, and what did not happen.
    pub hint: Option<String>,
    /// Why.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    /// A failure of the given class.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            path: None,
            hint: None,
            source: None,
        }
    }

    /// Wrong usage or configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// Something failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Failed, message)
    }

    /// Adds the path that it happened on.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The causes, outermost first, each as its own text.
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next: Option<&(dyn StdError + 'static)> = self
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static));
        while let Some(error) = next {
            let text = error.to_string();
            causes.push(text);
            next = error.source();
        }
        // Where a text tells the last cause too, what lies between them says only by which layers it came.
        if let Some(last) = causes.last()
            && let Some(told) = causes.iter().position(|text| text.contains(last.as_str()))
        {
            causes.truncate(told + 1);
        }
        causes.dedup();
        causes
    }
}

impl Failure {
    /// Why, in a few words: the innermost cause, or the message when it is its own reason.
    pub fn reason(&self) -> String {
        self.causes().pop().unwrap_or_else(|| self.message.clone())
    }

    /// The failure as one line of a report: the message with its causes and the hint.
    pub fn as_problem(&self) -> crate::report::PathProblem {
        let mut message = self.message.clone();
        for cause in self.causes() {
            message = format!("{message}: {cause}");
        }
        if let Some(hint) = &self.hint {
            message = format!("{message}; {hint}");
        }
        crate::report::PathProblem {
            path: self.path.clone().unwrap_or_default(),
            message,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// A result whose error is meant for a person.
pub type Outcome<T> = Result<T, Failure>;

impl From<ows_providers::Error> for Failure {
    fn from(error: ows_providers::Error) -> Self {
        use ows_providers::{ErrorKind, Operation};
        let message = match error.operation {
            Operation::Describe => "could not open the remote",
            Operation::List | Operation::Changes => "could not list the remote",
            Operation::Probe => "could not find out what the remote enforces",
            _ => "the remote could not be read or written",
        };
        let (kind, hint) = match error.kind {
            ErrorKind::Unauthorized => (
                FailureKind::Unauthorized,
                Some("check the credentials in the configuration or the environment"),
            ),
            ErrorKind::Forbidden => (
                FailureKind::Failed,
                Some(
                    "the credentials are accepted but may not do this; grant the permission and run again",
                ),
            ),
            ErrorKind::QuotaExceeded => (
                FailureKind::Failed,
                Some("free space or raise the quota, then run again"),
            ),
            ErrorKind::RateLimited { .. } | ErrorKind::Transient { .. } => (
                FailureKind::Failed,
                Some("check the network and the address of the remote, then run again"),
            ),
            _ => (
                FailureKind::Failed,
                Some("check what the configuration says about the remote"),
            ),
        };
        Self {
            kind,
            message: message.to_owned(),
            path: None,
            hint: hint.map(str::to_owned),
            source: Some(Box::new(error)),
        }
    }
}
