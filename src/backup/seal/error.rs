//! Why something that was sealed does not open, or does not read on.

use std::io;

use super::WORK_FACTOR;

/// Why something that was sealed does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It wants a passphrase, and there is none.
    #[error("it is sealed with a passphrase, and none is configured")]
    NoPassphrase,
    /// It wants an identity, and there is none.
    #[error("it is sealed to the owners of age keys, and no identity is configured")]
    NoIdentity,
    /// The passphrase does not open it.
    #[error(
        "the passphrase is wrong (or the first bytes of the object are damaged: age cannot tell these apart)"
    )]
    WrongPassphrase,
    /// None of the identities opens it.
    #[error(
        "it is sealed to other keys than {} (or the first bytes of the object are damaged: age cannot tell these apart)",
        if *.tried == 1 { "that of the one identity here".to_owned() } else { format!("those of the {tried} identities here") }
    )]
    OtherKeys {
        /// How many identities were tried.
        tried: usize,
    },
    /// scrypt would take more work than `ows` ever asks for.
    #[error(
        "its passphrase takes 2^{factor} of scrypt's work, and `ows` seals with 2^{WORK_FACTOR}: it is not from `ows`, or was changed (`age -d` opens it if it is whole)"
    )]
    TooMuchWork {
        /// The work factor that it asks for.
        factor: u8,
    },
    /// It does not begin as age's files do.
    #[error("it is not sealed with age, or its beginning is damaged")]
    NotAge,
    /// It begins as age's files do, and goes on as none does.
    #[error("its header is damaged")]
    BadHeader,
    /// It was changed after it was sealed.
    #[error("its header was changed after it was sealed")]
    ChangedHeader,
    /// It ends in its header.
    #[error("it was cut off in its header")]
    CutOff,
    /// A later version of age wrote it.
    #[error("a newer version of age sealed it than this version of ows reads")]
    Newer,
    /// It could not be read.
    #[error("it could not be read")]
    Io(#[source] io::Error),
}

impl OpenError {
    /// Whether another key may help.
    pub fn is_about_keys(&self) -> bool {
        matches!(
            self,
            Self::NoPassphrase | Self::NoIdentity | Self::WrongPassphrase | Self::OtherKeys { .. }
        )
    }
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => error,
            OpenError::CutOff => Self::new(io::ErrorKind::UnexpectedEof, error),
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// Why what was opened does not read on. Errors in mid-stream carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenSeal {
    /// It ends where more must follow.
    #[error("it was cut off: what it holds from byte {at} on is missing")]
    CutOff {
        /// Where, in what it holds.
        at: u64,
    },
    /// Its last bytes are not those that were sealed, or not all of them.
    #[error("its end is missing or damaged: what it holds from byte {at} on cannot be opened")]
    BadEnd {
        /// Where, in what it holds.
        at: u64,
    },
    /// These bytes are not those that were sealed at this place.
    #[error("it is damaged: what it holds at byte {at} was changed, moved or exchanged")]
    Damaged {
        /// Where, in what it holds.
        at: u64,
    },
}

impl From<BrokenSeal> for io::Error {
    fn from(error: BrokenSeal) -> Self {
        let kind = match error {
            BrokenSeal::CutOff { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
