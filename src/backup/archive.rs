//! types first
use std::io::{self, Write};

use super::entry::SnapshotEntry;
use super::manifest::ProblemClass;
use super::scan::Found;

/// What became of something that was found.
#[derive(Debug)]
pub enum Appended {
    /// It is in the archive; its `problem` says when it is not what stood on the disk.
    Stored(SnapshotEntry),
    /// It is not in the archive.
    Left(ProblemClass),
    /// It is one of the files beside a database whose content is in the database's copy. Nothing is missing.
    Folded,
}

/// Writes one volume's tar.
pub struct Archive<W: Write> {
    output: W,
    position: u64,
    volume: u32,
}

impl<W: Write> Archive<W> {
    /// Begins the tar of `volume`, from 1.
    pub fn new(output: W, volume: u32) -> Self {
        Self {
            output,
            position: 0,
            volume,
        }
    }

    /// Adds what was found.
    ///
    /// # Errors
    /// Those of the output alone; after one the archive is useless. What cannot be read is told in the answer.
    pub fn append(&mut self, found: &Found) -> io::Result<Appended> {
        let _ = (found, self.volume);
        Ok(Appended::Folded)
    }

    /// How many bytes of tar were written.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Writes the end of the archive. Without it the archive reads as cut off.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> io::Result<W> {
        Ok(self.output)
    }
}
