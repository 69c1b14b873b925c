//! Reading one real state of a file.
//!
//! A file is read up to the length that it had when it was opened, so that one that never stops growing ends; afterwards
//! its attributes say whether what was read is a state that the file really had.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use md5::{Digest as _, Md5};
use ows_providers::RelPath;
use ows_providers::folder::{Kind, LinkProblem, Stat, is_link_error, name, now_ns};

use super::error::Context;
use super::{LocalError, LocalErrorKind, LocalFolder, fingerprint};
use crate::tree::LocalFingerprint;

/// Bytes read in one call.
const CHUNK: usize = 256 * 1024;

/// A regular file that is open for reading. [`Read`] ends at the length that the file had when it was opened.
#[derive(Debug)]
pub struct OpenedFile {
    path: RelPath,
    file: File,
    stat: Stat,
    fingerprint: LocalFingerprint,
    position: u64,
}

/// The hashes of one state of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// The state, with its BLAKE3.
    pub fingerprint: LocalFingerprint,
    /// MD5 of the same bytes.
    pub md5: [u8; 16],
}

impl OpenedFile {
    /// The file as it was when it was opened; without a hash.
    pub fn fingerprint(&self) -> &LocalFingerprint {
        &self.fingerprint
    }

    /// Mode and owner among others.
    pub(super) fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Reads at an offset, leaving the position of [`Read`] alone; up to the end of the buffer, or of the length that
    /// the file had when it was opened. Fewer bytes than that: the file was cut short.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.fingerprint.size.saturating_sub(offset);
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let mut filled = 0;
        while filled < wanted {
            let at = offset + filled as u64;
            match self.file.read_at(&mut buffer[filled..wanted], at) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Fails with [`LocalErrorKind::Changed`] when the file is no longer as it was when it was opened: what was read in
    /// between may be no state that it ever had.
    ///
    /// # Errors
    /// Also what the system says.
    pub fn check_unchanged(&self) -> Result<(), LocalError> {
        const DOING: &str = "read";
        let now = name::fstat(&self.file).at(DOING, &self.path)?;
        if now.unchanged_since(&self.stat) {
            return Ok(());
        }
        Err(LocalError::new(LocalErrorKind::Changed, DOING, &self.path))
    }

    /// Hashes the content in one pass. Fails with [`LocalErrorKind::Changed`] when it changed meanwhile.
    ///
    /// # Errors
    /// Also what the system says.
    pub fn hash(&self) -> Result<Hashed, LocalError> {
        let hashed = self.hash_first(self.fingerprint.size)?;
        self.check_unchanged()?;
        Ok(hashed)
    }

    /// Hashes the first `length` bytes without asking whether the file grew. Where the same bytes hash the same before
    /// and after they were sent, they are a consistent beginning of a file that never stops growing.
    ///
    /// # Errors
    /// [`LocalErrorKind::Changed`] when the file is shorter now, and what the system says.
    pub fn hash_first(&self, length: u64) -> Result<Hashed, LocalError> {
        const DOING: &str = "read";
        let mut blake3 = blake3::Hasher::new();
        let mut md5 = Md5::new();
        let mut buffer = vec![0; CHUNK];
        let mut offset = 0;
        while offset < length {
            let wanted = usize::try_from(length - offset).map_or(CHUNK, |left| left.min(CHUNK));
            let filled = self
                .read_at(&mut buffer[..wanted], offset)
                .at(DOING, &self.path)?;
            if filled < wanted {
                return Err(LocalError::new(LocalErrorKind::Changed, DOING, &self.path));
            }
            blake3.update(&buffer[..filled]);
            md5.update(&buffer[..filled]);
            offset += filled as u64;
        }
        Ok(Hashed {
            fingerprint: LocalFingerprint {
                size: length,
                blake3: Some(*blake3.finalize().as_bytes()),
                ..self.fingerprint.clone()
            },
            md5: md5.finalize().into(),
        })
    }
}

impl Read for OpenedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.read_at(buffer, self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

impl LocalFolder {
    /// Opens a regular file for reading; never anything else, so that a pipe cannot hang the run.
    ///
    /// # Errors
    /// [`LocalErrorKind::NotFound`], [`LocalErrorKind::NotRegular`], [`LocalErrorKind::Link`], and what the system says.
    pub fn open_read(&self, path: &RelPath) -> Result<OpenedFile, LocalError> {
        const DOING: &str = "read";
        let observed_at_ns = now_ns();
        let opened = match self.root.open_regular(path) {
            Err(error) if is_link_error(&error) => match self.resolve(path) {
                Some(Ok(resolved)) if resolved.stat.kind == Kind::File => {
                    name::open_regular(&resolved.dir, &resolved.name)
                }
                Some(Ok(_)) => {
                    return Err(LocalError::new(LocalErrorKind::NotRegular, DOING, path));
                }
                Some(Err(LinkProblem::Io(error))) => Err(error),
                Some(Err(_)) | None => Err(error),
            },
            other => other,
        };
        let (file, stat) = opened.at(DOING, path)?;
        Ok(OpenedFile {
            path: path.clone(),
            file,
            fingerprint: fingerprint(&stat, observed_at_ns),
            stat,
            position: 0,
        })
    }

    /// Reads a file and hashes it. Fails with [`LocalErrorKind::Changed`] when it changed meanwhile.
    ///
    /// # Errors
    /// As for [`LocalFolder::open_read`].
    pub fn hash(&self, path: &RelPath) -> Result<Hashed, LocalError> {
        self.open_read(path)?.hash()
    }
}
