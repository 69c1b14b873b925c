//! What the system says, as the providers' one error type.

use std::io;

use rustix::io::Errno;

use crate::folder::is_link_error;
use crate::{Error, ErrorKind, Operation, Result};

/// Adds what was tried, and where, to the system's errors.
pub(super) trait Context<T> {
    fn during(self, operation: Operation, path: impl AsRef<str>) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn during(self, operation: Operation, path: impl AsRef<str>) -> Result<T> {
        self.map_err(|error| from_io(operation, path.as_ref(), &error))
    }
}

/// The worker ended without an answer.
pub(super) fn stopped(operation: Operation, path: &str) -> Error {
    Error::new(
        ErrorKind::Permanent,
        operation,
        path,
        "the work was stopped before it was done",
    )
}

/// Something is at a path that is neither file nor folder, or not the one of the two that the call is for.
pub(super) fn in_the_way(operation: Operation, path: &str, what: &str) -> Error {
    let message = format!("a {what} is there, which is left alone");
    Error::new(ErrorKind::Permanent, operation, path, message)
}

pub(super) fn not_found(operation: Operation, path: &str) -> Error {
    Error::new(ErrorKind::NotFound, operation, path, "nothing is there")
}

pub(super) fn changed(operation: Operation, path: &str) -> Error {
    let message = "it is not the version that was expected";
    Error::new(ErrorKind::PreconditionFailed, operation, path, message)
}

pub(super) fn exists(operation: Operation, path: &str) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        operation,
        path,
        "something is there already",
    )
}

pub(super) fn from_io(operation: Operation, path: &str, error: &io::Error) -> Error {
    let message = match error.kind() {
        _ if is_link_error(error) => "a symbolic link is in the way".to_owned(),
        _ => error.to_string(),
    };
    Error::new(kind_of(operation, error), operation, path, message)
}

fn kind_of(operation: Operation, error: &io::Error) -> ErrorKind {
    let creates = matches!(
        operation,
        Operation::Put
            | Operation::StartUpload
            | Operation::CompleteUpload
            | Operation::Copy
            | Operation::Rename
            | Operation::CreateDir
    );
    let system = error.raw_os_error().map(Errno::from_raw_os_error);
    match (error.kind(), system) {
        (io::ErrorKind::NotFound, _) => ErrorKind::NotFound,
        (io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory, _) => ErrorKind::AlreadyExists,
        // A file stands where a folder would have to be.
        (io::ErrorKind::NotADirectory, _) if creates => ErrorKind::AlreadyExists,
        (io::ErrorKind::NotADirectory, _) => ErrorKind::NotFound,
        (io::ErrorKind::DirectoryNotEmpty, _) => ErrorKind::PreconditionFailed,
        (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, _) => {
            ErrorKind::Forbidden
        }
        (
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge,
            _,
        ) => ErrorKind::QuotaExceeded,
        (io::ErrorKind::InvalidFilename, _) => ErrorKind::InvalidName,
        // What file systems with narrow rules for names (FAT) answer.
        (_, Some(Errno::INVAL | Errno::ILSEQ)) if creates => ErrorKind::InvalidName,
        (
            _,
            Some(
                Errno::IO
                | Errno::AGAIN
                | Errno::BUSY
                | Errno::INTR
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOMEM
                | Errno::STALE
                | Errno::TIMEDOUT,
            ),
        ) => ErrorKind::Transient { after: None },
        _ => ErrorKind::Permanent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_have_their_kind() {
        for (errno, kind) in [
            (Errno::NOSPC, ErrorKind::QuotaExceeded),
            (Errno::DQUOT, ErrorKind::QuotaExceeded),
            (Errno::ACCESS, ErrorKind::Forbidden),
            (Errno::ROFS, ErrorKind::Forbidden),
            (Errno::NAMETOOLONG, ErrorKind::InvalidName),
            (Errno::INVAL, ErrorKind::InvalidName),
            (Errno::NOENT, ErrorKind::NotFound),
            (Errno::NOTDIR, ErrorKind::AlreadyExists),
            (Errno::IO, ErrorKind::Transient { after: None }),
            (Errno::LOOP, ErrorKind::Permanent),
        ] {
            let error = from_io(Operation::Put, "a", &errno.into());
            assert_eq!(error.kind, kind, "{errno:?}");
        }
        let error = from_io(Operation::Stat, "a", &Errno::NOTDIR.into());
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
}
