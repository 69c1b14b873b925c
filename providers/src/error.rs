//! One error type for all providers, named by what the caller can do about it.

use std::fmt;
use std::time::Duration;

/// What kind of failure it was: decides whether to retry, to leave the path for the next run, or to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is nothing at the path.
    NotFound,
    /// The object is not the version that the call was conditional on.
    PreconditionFailed,
    /// Something is at the path, and the call was conditional on nothing being there.
    AlreadyExists,
    /// Too many requests; wait at least so long, if the provider said it.
    RateLimited {
        /// The provider's `Retry-After`.
        after: Option<Duration>,
    },
    /// The credentials are missing, wrong or expired.
    Unauthorized,
    /// The credentials are good but may not do this.
    Forbidden,
    /// The account or disk is full.
    QuotaExceeded,
    /// The provider cannot store this name.
    InvalidName,
    /// The change feed must be read again from the start.
    CursorReset,
    /// A fault that may pass: the network, a timeout, a 5xx answer. Waits at least so long, if the provider said it.
    Transient {
        /// The provider's `Retry-After`.
        after: Option<Duration>,
    },
    /// The provider cannot do this at all.
    Unsupported,
    /// Any other failure: repeating the call will not help.
    Permanent,
}

/// What a call wanted to do. The counting layer counts by these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operation {
    List,
    Changes,
    Stat,
    Get,
    Put,
    StartUpload,
    PutPart,
    CompleteUpload,
    AbortUpload,
    ListUploads,
    ListParts,
    Delete,
    Copy,
    Rename,
    CreateDir,
    DeleteDir,
    Describe,
    Probe,
}

impl Operation {
    /// The operation's name in JSON and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Changes => "changes",
            Self::Stat => "stat",
            Self::Get => "get",
            Self::Put => "put",
            Self::StartUpload => "start_upload",
            Self::PutPart => "put_part",
            Self::CompleteUpload => "complete_upload",
            Self::AbortUpload => "abort_upload",
            Self::ListUploads => "list_uploads",
            Self::ListParts => "list_parts",
            Self::Delete => "delete",
            Self::Copy => "copy",
            Self::Rename => "rename",
            Self::CreateDir => "create_dir",
            Self::DeleteDir => "delete_dir",
            Self::Describe => "describe",
            Self::Probe => "probe",
        }
    }
}

/// A failed call: the kind, and beside it what a person needs to understand it.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// What was tried.
    pub operation: Operation,
    /// On which path or key; empty for calls without one.
    pub path: String,
    /// The provider's own words, or ours; never a secret, never a URL with a signature.
    pub message: String,
    /// The provider's id of the request, where it gave one.
    pub request_id: Option<String>,
    /// What lies below.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} failed", self.operation.name())?;
        if !self.path.is_empty() {
            write!(formatter, " for `{}`", self.path.escape_debug())?;
        }
        write!(formatter, ": {}", self.message)?;
        if let Some(id) = &self.request_id {
            write!(formatter, " (request {id})")?;
        }
        Ok(())
    }
}

impl Error {
    /// A failure without a cause below it.
    pub fn new(
        kind: ErrorKind,
        operation: Operation,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            operation,
            path: path.into(),
            message: message.into(),
            request_id: None,
            source: None,
        }
    }

    /// Adds what lies below.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the provider's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, id: Option<String>) -> Self {
        self.request_id = id;
        self
    }

    /// Whether the same call may succeed later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::RateLimited { .. } | ErrorKind::Transient { .. }
        )
    }

    /// Whether the caller lost a race: the object is not what it was when it was observed.
    pub fn is_race(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::PreconditionFailed | ErrorKind::AlreadyExists | ErrorKind::NotFound
        )
    }
}

/// A result with the providers' [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
