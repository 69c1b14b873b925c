//! Reading a local file for an upload, so that what is sent is one real state of it.

use std::io::Read;

use ows_providers::RelPath;
use ows_providers::hash::ContentHashes;

use crate::local::{Hashed, LocalError, LocalErrorKind, LocalFolder, Observed, OpenedFile};
use crate::tree::LocalFingerprint;

const DOING: &str = "read";

/// How a file is read whose state must not change meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Any change while it is read is an error.
    Whole,
    /// The file may grow: what it held when it was opened is read, and read again when it changed, to see that this
    /// prefix stood still.
    Prefix,
}

/// The content of a small file with its fingerprint (BLAKE3 included) and MD5.
pub struct Content {
    pub bytes: Vec<u8>,
    pub hashed: Hashed,
}

/// What is at a path if it is a file; `None` when nothing is. Blocking.
pub fn look(local: &LocalFolder, path: &RelPath) -> Result<Option<LocalFingerprint>, LocalError> {
    match local.observe(path) {
        None => Ok(None),
        Some(Observed::Entry(entry)) if entry.key.kind == ows_providers::EntryKind::File => {
            Ok(Some(entry.fingerprint))
        }
        Some(_) => Err(LocalError::new(LocalErrorKind::NotRegular, DOING, path)),
    }
}

/// Whether no file is at a path; a folder may be. Blocking.
pub fn is_gone(local: &LocalFolder, path: &RelPath) -> Result<bool, LocalError> {
    match local.observe(path) {
        None => Ok(true),
        Some(Observed::Entry(entry)) => Ok(entry.key.kind == ows_providers::EntryKind::Dir),
        Some(_) => Err(LocalError::new(LocalErrorKind::NotRegular, DOING, path)),
    }
}

/// Reads the whole file. Blocking.
pub fn read(local: &LocalFolder, path: &RelPath, reading: Reading) -> Result<Content, LocalError> {
    let mut opened = local.open_read(path)?;
    let size = opened.fingerprint().size;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    opened
        .read_to_end(&mut bytes)
        .map_err(|error| LocalError::io(DOING, path, error))?;
    if bytes.len() as u64 != size {
        return Err(LocalError::new(LocalErrorKind::Changed, DOING, path));
    }
    let hashes = ContentHashes::of(&bytes);
    let mut fingerprint = opened.fingerprint().clone();
    fingerprint.blake3 = Some(hashes.blake3);
    let hashed = Hashed {
        fingerprint,
        md5: hashes.md5,
    };
    stood_still(&opened, path, &hashed, reading)?;
    Ok(Content { bytes, hashed })
}

/// Hashes the file without keeping it. Blocking.
pub fn hash(local: &LocalFolder, path: &RelPath, reading: Reading) -> Result<Hashed, LocalError> {
    let opened = local.open_read(path)?;
    let hashed = opened.hash_first(opened.fingerprint().size)?;
    stood_still(&opened, path, &hashed, reading)?;
    Ok(hashed)
}

/// Whether what was read is one real state of the file.
pub fn stood_still(
    opened: &OpenedFile,
    path: &RelPath,
    hashed: &Hashed,
    reading: Reading,
) -> Result<(), LocalError> {
    match opened.check_unchanged() {
        Err(error) if error.kind == LocalErrorKind::Changed && reading == Reading::Prefix => {
            let again = opened.hash_first(hashed.fingerprint.size)?;
            if again.fingerprint.blake3 == hashed.fingerprint.blake3 {
                return Ok(());
            }
            Err(LocalError::new(LocalErrorKind::Changed, DOING, path))
        }
        other => other,
    }
}
