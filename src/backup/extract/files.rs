//! The contents of files: the short ones are written on other threads, the long ones as they are read.

use std::fs::File;
use std::io::Read;

use super::compare::{CopyError, copy, hash};
use super::place::{self, Refusal};
use super::writers::{Job, Writers, Written};
use super::{Content, ExtractError, Extractor};
use crate::backup::entry::{ArchivePath, Digest};
use crate::backup::untar::{Member, TarReader};

/// Said of a file in whose content the archive ends or is damaged.
const IN_DAMAGE: &str = "it lies in the damage; it was not kept";

/// Said of a file with another hash.
const DIFFERENT: &str = "its content is not what the index says; it was not kept";

impl Extractor<'_> {
    /// Makes a file of at most [`SHORT`](super::writers::SHORT) bytes; what becomes of it is told by [`Self::settle`].
    pub(super) fn short(
        &mut self,
        path: &ArchivePath,
        member: &Member,
        expected: Option<Digest>,
        tar: &mut TarReader<impl Read>,
    ) -> Result<(), ExtractError> {
        let Some(file) = self.create(path, tar)? else {
            return Ok(());
        };
        let mut content = self.writers.spare();
        if let Err(error) = tar.read_to_end(&mut content) {
            self.remove(path);
            self.bad(&path.to_string(), IN_DAMAGE);
            return Err(self.stopped(tar.failure(error)));
        }
        let job = Job {
            file,
            content,
            expected,
            mode: member.mode & 0o777,
            mtime_ns: member.mtime_ns,
        };
        self.settle(Writers::MOST - 1)?;
        match self.writers.write(path, job) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.remove(path);
                self.refused(path, Refusal::Io(error))
            }
        }
    }

    /// Takes note of what became of files that were handed over, until at most `most` are still in work. The first error that
    /// ends the run is returned after the last of them.
    pub(super) fn settle(&mut self, most: usize) -> Result<(), ExtractError> {
        let mut result = Ok(());
        while let Some((handed, written)) = self.writers.take(most) {
            let path = &handed.path;
            let noted = match written {
                Written::Whole => {
                    self.done.files += 1;
                    self.done.bytes += handed.size;
                    self.done.unproven += u64::from(!handed.is_proven);
                    Ok(())
                }
                Written::Different => self.different(path),
                Written::Failed(error) => {
                    self.remove(path);
                    self.refused(path, Refusal::Io(error))
                }
                Written::NoAttributes(error) => self.refused(path, Refusal::Io(error)),
            };
            result = result.and(noted);
        }
        result
    }

    pub(super) fn file(
        &mut self,
        path: &ArchivePath,
        member: &Member,
        expected: Option<Digest>,
        tar: &mut impl Content,
    ) -> Result<(), ExtractError> {
        let Some(file) = self.create(path, tar)? else {
            return Ok(());
        };
        let digest = match copy(tar, &file) {
            Ok(digest) => digest,
            Err(CopyError::Read(error)) => {
                self.remove(path);
                self.bad(&path.to_string(), IN_DAMAGE);
                return Err(self.stopped(tar.failure(error)));
            }
            Err(CopyError::Write(error)) => {
                self.remove(path);
                return self.refused(path, Refusal::Io(error));
            }
        };
        if expected.is_some_and(|expected| expected != digest) {
            return self.different(path);
        }
        if let Err(error) = place::set_attributes(&file, member.mode & 0o777, member.mtime_ns) {
            return self.refused(path, Refusal::Io(error));
        }
        self.done.files += 1;
        self.done.bytes += member.size;
        self.done.unproven += u64::from(expected.is_none());
        Ok(())
    }

    /// Creates a file, or notes why there is none.
    fn create(
        &mut self,
        path: &ArchivePath,
        tar: &mut impl Content,
    ) -> Result<Option<File>, ExtractError> {
        let mut made = self.places.file(path);
        if matches!(made, Err(Refusal::Twice)) {
            // The first one may still be in work, and may not stay.
            self.settle(0)?;
            made = self.places.file(path);
        }
        match made {
            Ok(file) => return Ok(Some(file)),
            Err(Refusal::Twice) => self.again(path, tar)?,
            Err(refusal) => self.refused(path, refusal)?,
        }
        Ok(None)
    }

    /// Removes a file with another content than the expected one.
    fn different(&mut self, path: &ArchivePath) -> Result<(), ExtractError> {
        if let Err(error) = self.places.remove_file(path) {
            return self.refused(path, Refusal::Io(error));
        }
        self.bad(&path.to_string(), DIFFERENT);
        Ok(())
    }

    /// Removes what was begun.
    fn remove(&mut self, path: &ArchivePath) {
        if let Err(error) = self.places.remove_file(path) {
            self.bad(
                &path.to_string(),
                &format!("its beginning could not be removed ({error})"),
            );
        }
    }

    /// A second member of one name. The same content again is harmless.
    fn again(&mut self, path: &ArchivePath, tar: &mut impl Content) -> Result<(), ExtractError> {
        let second = match hash(tar) {
            Ok(digest) => digest,
            Err(error) => return Err(self.stopped(tar.failure(error))),
        };
        match self
            .places
            .open_file(path)
            .and_then(|mut file| hash(&mut file))
        {
            Ok(first) if first == second => self.done.repeated += 1,
            _ => return self.refused(path, Refusal::Twice),
        }
        Ok(())
    }
}
