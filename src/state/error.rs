//! What can go wrong with the state database, by what a person can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Failure, FailureKind};

/// Why the state cannot be used. Cheap to clone, since one failure may have to be told to several callers.
///
/// The text names the file and what is wrong; [`StateError::hint`] says the way out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// A newer `ows` has written the file.
    #[error(
        "the state database `{}` was written by a newer ows (its schema is {found}, this one knows up to {known})",
        .file.display()
    )]
    NewerSchema {
        /// The database.
        file: PathBuf,
        /// The newest migration in it.
        found: i64,
        /// The newest migration that is known here.
        known: i64,
    },
    /// The file has a migration that differs from ours by its content: no release wrote it.
    #[error("the state database `{}` has another schema {version} than this ows", .file.display())]
    OtherSchema {
        /// The database.
        file: PathBuf,
        /// The migration that differs.
        version: i64,
    },
    /// The file is a database with a damaged structure or impossible content.
    #[error("the state database `{}` is damaged: {reason}", .file.display())]
    Damaged {
        /// The database.
        file: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file is no SQLite database, or another program's.
    #[error("the file `{}` is not a state database of ows: {reason}", .file.display())]
    NotADatabase {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// Something else has the name of a folder or file of ours.
    #[error("`{}` is {found}, and ows needs {needed} of this name", .path.display())]
    InTheWay {
        /// What is in the way.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What is needed.
        needed: &'static str,
    },
    /// Another process holds the database.
    #[error("the state database `{}` is locked by another process", .file.display())]
    Locked {
        /// The database.
        file: PathBuf,
        /// What the database said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A call waited for the database as long as one may.
    #[error("the state database `{}` gave no answer in `{call}`", .file.display())]
    NoAnswer {
        /// The database.
        file: PathBuf,
        /// The name of the call.
        call: &'static str,
        /// How long was waited, and for what.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The file or its folder may not be read or written by this user.
    #[error("no permission to read and write `{}`", .file.display())]
    NoPermission {
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The file or its folder is on a disk that cannot be written to.
    #[error("`{}` is on a read-only disk", .file.display())]
    ReadOnly {
        /// The file or folder.
        file: PathBuf,
    },
    /// The disk is full.
    #[error("the disk that holds the state database `{}` is full", .file.display())]
    DiskFull {
        /// The database.
        file: PathBuf,
    },
    /// A file operation failed in another way.
    #[error("could not {operation} `{}`", .file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What was tried, as a verb.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The database refused a call in another way.
    #[error("the state database `{}` failed in `{call}`", .file.display())]
    Database {
        /// The database.
        file: PathBuf,
        /// The name of the call.
        call: &'static str,
        /// What the database said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A call named something that was never recorded, or is forgotten: an error of the caller.
    #[error("the state database `{}` knows no {what} `{name}`", .file.display())]
    Unknown {
        /// The database.
        file: PathBuf,
        /// What it is: a pair, a run.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The state was closed before the call.
    #[error("the state database `{}` is closed already", .file.display())]
    Closed {
        /// The database.
        file: PathBuf,
    },
    /// A test asked for this failure.
    #[error("`{call}` failed because a test asked for it")]
    Injected {
        /// The name of the call.
        call: &'static str,
    },
}

impl StateError {
    /// The way out, for a person.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NewerSchema { .. } => {
                "upgrade ows on this host, or point `--state-dir` at another folder; nothing was changed"
            }
            Self::OtherSchema { .. } => {
                "use the ows that wrote it, or run `ows sync --rebuild-state`, which keeps the file aside and starts \
                 as without one; nothing was changed"
            }
            Self::Damaged { .. } => {
                "run `ows sync --rebuild-state`: it keeps the damaged file aside and starts as without one; nothing \
                 was synced or deleted"
            }
            Self::NotADatabase { .. } => {
                "move the file away, or run `ows sync --rebuild-state`, which keeps it aside and starts as without \
                 one; nothing was changed"
            }
            Self::InTheWay { .. } => {
                "move it away, or point `--state-dir` at another folder; nothing was changed"
            }
            Self::Locked { .. } => "wait until the other process is done, then run again",
            Self::NoPermission { .. } => {
                "run as the user who owns it, give it to this user, or point `--state-dir` at another folder"
            }
            Self::ReadOnly { .. } => {
                "make the disk writable, or point `--state-dir` at a folder that is"
            }
            Self::DiskFull { .. } => "free some space, then run again; what was finished counts",
            Self::Io { .. } | Self::Database { .. } | Self::NoAnswer { .. } => {
                "check the disk, then run again; what was finished counts"
            }
            Self::Unknown { .. } | Self::Closed { .. } | Self::Injected { .. } => return None,
        };
        Some(hint.to_owned())
    }

    /// Sorts an error of the database by what can be done. `call` names what was asked of it.
    pub(super) fn from_sqlx(file: &Path, call: &'static str, error: sqlx::Error) -> Self {
        let file = file.to_owned();
        match &error {
            sqlx::Error::PoolClosed => Self::Closed { file },
            sqlx::Error::PoolTimedOut => Self::NoAnswer {
                file,
                call,
                source: Arc::new(error),
            },
            sqlx::Error::Io(reason) if reason.kind() == io::ErrorKind::TimedOut => Self::NoAnswer {
                file,
                call,
                source: Arc::new(error),
            },
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Damaged {
                file,
                reason: error.to_string(),
            },
            sqlx::Error::Database(database) => {
                let code = database.code().and_then(|code| code.parse().ok());
                Self::from_code(file, call, code, Arc::new(error))
            }
            _ => Self::Database {
                file,
                call,
                source: Arc::new(error),
            },
        }
    }

    /// By SQLite's extended result code (<https://www.sqlite.org/rescode.html>); its lower byte is the primary code.
    fn from_code(
        file: PathBuf,
        call: &'static str,
        code: Option<u32>,
        source: Arc<sqlx::Error>,
    ) -> Self {
        const IOERR_SHORT_READ: u32 = 522;
        const IOERR_CORRUPTFS: u32 = 8458;
        let denied = |source: &sqlx::Error| Arc::new(io::Error::other(source.to_string()));
        match code {
            Some(IOERR_SHORT_READ | IOERR_CORRUPTFS) => Self::Damaged {
                file,
                reason: source.to_string(),
            },
            Some(code) => match code & 0xff {
                // Every statement is right for the schema that was checked on opening, which a test proves.
                1 => Self::Damaged {
                    file,
                    reason: format!("its tables are not what they should be, {source}"),
                },
                3 | 23 => Self::NoPermission {
                    file,
                    source: denied(&source),
                },
                5 | 6 => Self::Locked { file, source },
                8 => Self::ReadOnly { file },
                11 => Self::Damaged {
                    file,
                    reason: source.to_string(),
                },
                13 => Self::DiskFull { file },
                26 => Self::NotADatabase {
                    file,
                    reason: "it has another format".to_owned(),
                },
                _ => Self::Database { file, call, source },
            },
            None => Self::Database { file, call, source },
        }
    }

    /// Sorts an error of the file system by what can be done.
    pub(super) fn from_io(file: &Path, operation: &'static str, error: io::Error) -> Self {
        let file = file.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NoPermission {
                file,
                source: Arc::new(error),
            },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { file },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { file },
            _ => Self::Io {
                file,
                operation,
                source: Arc::new(error),
            },
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let kind = match error {
            StateError::Locked { .. } => FailureKind::Busy,
            StateError::InTheWay { .. } => FailureKind::Usage,
            _ => FailureKind::Failed,
        };
        let mut failure = Failure::new(kind, "the state of the sync could not be read or written");
        failure.hint = error.hint();
        failure.with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_io(kind: io::ErrorKind) -> StateError {
        StateError::from_io(Path::new("/x/state.db"), "open", io::Error::from(kind))
    }

    #[test]
    fn errors_of_the_disk_are_told_apart() {
        use io::ErrorKind;
        assert!(matches!(
            from_io(ErrorKind::PermissionDenied),
            StateError::NoPermission { .. }
        ));
        assert!(matches!(
            from_io(ErrorKind::ReadOnlyFilesystem),
            StateError::ReadOnly { .. }
        ));
        assert!(matches!(
            from_io(ErrorKind::StorageFull),
            StateError::DiskFull { .. }
        ));
        assert!(matches!(
            from_io(ErrorKind::NotADirectory),
            StateError::Io { .. }
        ));
    }

    #[test]
    fn codes_of_sqlite_are_told_apart() {
        let of = |code| {
            StateError::from_code(
                PathBuf::from("/x/state.db"),
                "pair",
                Some(code),
                Arc::new(sqlx::Error::RowNotFound),
            )
        };
        assert!(matches!(of(5), StateError::Locked { .. }));
        assert!(matches!(of(517), StateError::Locked { .. }));
        assert!(matches!(of(8), StateError::ReadOnly { .. }));
        assert!(matches!(of(1032), StateError::ReadOnly { .. }));
        assert!(matches!(of(11), StateError::Damaged { .. }));
        assert!(matches!(of(522), StateError::Damaged { .. }));
        assert!(matches!(of(13), StateError::DiskFull { .. }));
        assert!(matches!(of(26), StateError::NotADatabase { .. }));
        assert!(matches!(of(3), StateError::NoPermission { .. }));
        assert!(matches!(of(266), StateError::Database { .. }));
    }

    #[test]
    fn a_person_reads_what_failed_where_and_the_way_out() {
        let damaged = StateError::Damaged {
            file: PathBuf::from("/s/ows/state.db"),
            reason: "page 3 is never used".to_owned(),
        };
        let failure = Failure::from(damaged);
        assert_eq!(
            failure.causes(),
            ["the state database `/s/ows/state.db` is damaged: page 3 is never used"]
        );
        assert!(failure.hint.unwrap().contains("--rebuild-state"));
    }
}
