//! What can go wrong on the local side, by what the caller can do about it.

use std::io;

use ows_providers::folder::is_link_error;

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalErrorKind {
    /// It is not what was observed, or changed while it was read: left alone, to be looked at again.
    Changed,
    /// Something is where nothing was expected.
    Exists,
    /// Nothing is there.
    NotFound,
    /// The folder is not empty.
    NotEmpty,
    /// It is no regular file.
    NotRegular,
    /// A symbolic link stands in the way; nothing is read or written through it.
    Link,
    /// A database that some program has open: it is not replaced.
    InUse,
    /// Something is mounted inside the folder there: nothing can be moved between it and the rest, the trash included.
    OtherVolume,
    /// The disk or the quota is full.
    NoSpace,
    /// The system does not permit it, or the path belongs to `ows` itself.
    Denied,
    /// Any other failure.
    Io,
}

impl LocalErrorKind {
    fn describe(self) -> &'static str {
        match self {
            Self::Changed => "it changed meanwhile and is left alone",
            Self::Exists => "something else is there",
            Self::NotFound => "it is not there",
            Self::NotEmpty => "the folder is not empty",
            Self::NotRegular => "it is no regular file",
            Self::Link => "a symbolic link is in the way",
            Self::InUse => "it is a database in use",
            Self::OtherVolume => {
                "it lies on another volume, which is mounted inside the folder, and cannot be moved to or from there, so \
                 nothing was changed; leave that volume out with a pattern, and sync it as a folder of its own"
            }
            Self::NoSpace => "no space is left",
            Self::Denied => "it is not permitted",
            Self::Io => "the system reported an error",
        }
    }
}

/// A failure on the local side.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} `{}`: {}", .path.escape_debug(), .kind.describe())]
pub struct LocalError {
    /// What the caller can do about it.
    pub kind: LocalErrorKind,
    /// What was tried: `read`, `replace`.
    pub doing: &'static str,
    /// On which path below the folder; the folder's own path when it is about the folder.
    pub path: String,
    /// What the system said.
    #[source]
    pub source: Option<io::Error>,
}

impl LocalError {
    /// A failure that the system did not report but we found.
    pub fn new(kind: LocalErrorKind, doing: &'static str, path: impl ToString) -> Self {
        Self {
            kind,
            doing,
            path: path.to_string(),
            source: None,
        }
    }

    /// A failure that the system reported.
    pub fn io(doing: &'static str, path: impl ToString, error: io::Error) -> Self {
        Self {
            kind: kind_of(&error),
            doing,
            path: path.to_string(),
            source: Some(error),
        }
    }

    /// Whether the path is not what it was when it was observed: nothing was done, the next run looks again.
    pub fn is_race(&self) -> bool {
        matches!(
            self.kind,
            LocalErrorKind::Changed | LocalErrorKind::Exists | LocalErrorKind::NotFound
        )
    }
}

/// Adds what was tried, and where, to the system's errors.
pub(super) trait Context<T> {
    fn at(self, doing: &'static str, path: impl ToString) -> Result<T, LocalError>;
}

impl<T> Context<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: impl ToString) -> Result<T, LocalError> {
        self.map_err(|error| LocalError::io(doing, path, error))
    }
}

fn kind_of(error: &io::Error) -> LocalErrorKind {
    if is_link_error(error) {
        return LocalErrorKind::Link;
    }
    match error.kind() {
        io::ErrorKind::NotFound => LocalErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => LocalErrorKind::Exists,
        io::ErrorKind::DirectoryNotEmpty => LocalErrorKind::NotEmpty,
        // A file stands where a folder would have to be.
        io::ErrorKind::NotADirectory => LocalErrorKind::Exists,
        io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput => LocalErrorKind::NotRegular,
        io::ErrorKind::CrossesDevices => LocalErrorKind::OtherVolume,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LocalErrorKind::NoSpace,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            LocalErrorKind::Denied
        }
        _ => LocalErrorKind::Io,
    }
}
