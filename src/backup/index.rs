//! The index of a snapshot: every path with its attributes, its SHA-256 and where its content lies, so that listing a
//! snapshot and restoring one file do not read the data.
//!
//! # Format 1
//!
//! A gzip member of JSON lines; with encryption that member is sealed with age. `age -d FILE | zcat` shows it.
//!
//! - First the header: `{"format":1,"snapshot":"ows-..."}`. A reader that knows only older formats stops here.
//! - A line per path, in the order of the archive: `path`, `type` (`file`, `dir`, `symlink`, `hardlink`), `mode` (octal
//!   text), `mtime` (seconds since the epoch as in pax: `1769903999.25`), `uid`, `gid`, and `user` and `group` where
//!   known. A file has `size`, `sha256`, `volume` (from 1) and `offset` (of its first byte in that volume's tar); a
//!   symbolic link `target`; a hard link `to`, a path before it. What is not as it stood on the disk has `problem`, a class of
//!   the manifest: `unreadable` is a file that could not be read to its end, zeros stand for the rest. What is no UTF-8 stands in hexadecimal under `path_hex`,
//!   `target_hex`, `to_hex` instead.
//! - After the paths of a volume its table of blocks, in lines of up to 4,096: `{"type":"blocks","volume":1,
//!   "starts":[...]}`. Each number is the distance of a block's compressed start from the start of the block before it,
//!   the first of the volume from the begin of the gzip stream.
//! - Last `{"type":"end","paths":N}`. An index without it was cut off.
//!
//! The tables stand behind the paths because they are known only then: the index is written while the data is, in
//! constant memory. A reader takes unknown keys for additions and goes on; an unknown type is damage. gzip's CRC covers all
//! of it; where nothing is encrypted, the manifest has the SHA-256 of the object.
//!
//! Both sides hold one line at a time; the reader also the table of one volume (8 bytes per MiB of tar).

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::entry::{
    ArchivePath, Digest, EntryKind, Place, RestartPoints, SnapshotEntry, escape, parse_seconds,
    seconds,
};
use super::manifest::ProblemClass;
use super::name::SnapshotName;

/// The format that is written, and the newest that is read.
pub const FORMAT: u32 = 1;

/// How many blocks a line holds.
const BLOCKS_PER_LINE: usize = 4096;

/// The longest line that is written or read. Paths and targets of links are far shorter on any file system.
const LONGEST_LINE: usize = 1 << 20;

/// Why an index cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A newer tool wrote it.
    #[error(
        "the index has format {found}, and this version of ows reads formats up to {FORMAT}: use a newer ows"
    )]
    Newer {
        /// The format that it names.
        found: u64,
    },
    /// It belongs to another snapshot.
    #[error("the index is that of `{found}`, not of `{expected}`")]
    Swapped {
        /// Whose index was wanted.
        expected: SnapshotName,
        /// Whose index it is.
        found: SnapshotName,
    },
    /// It was cut off or changed.
    #[error("the index is damaged after {paths} paths: {what}")]
    Damaged {
        /// How many paths were read before.
        paths: u64,
        /// What is wrong.
        what: String,
    },
    /// The bytes could not be read; what decrypts reports damage this way too.
    #[error("the index could not be read after {paths} paths")]
    Io {
        /// How many paths were read before.
        paths: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u64,
    snapshot: SnapshotName,
}

/// Any line but the header. One flat form: a tagged enum would be read twice, and there are a million of them.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    path_hex: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    target_hex: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    to: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    to_hex: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    mode: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    mtime: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    group: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemClass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<u64>,
}

/// Writes an index, a path at a time, while the archive is written.
pub struct IndexWriter<W: Write> {
    gzip: GzEncoder<W>,
    line: Vec<u8>,
    paths: u64,
}

impl<W: Write> IndexWriter<W> {
    /// Begins the index of `snapshot` in `output`.
    pub fn new(output: W, snapshot: SnapshotName) -> io::Result<Self> {
        let mut writer = Self {
            gzip: GzEncoder::new(output, Compression::default()),
            line: Vec::new(),
            paths: 0,
        };
        writer.write_line(&Header {
            format: FORMAT.into(),
            snapshot,
        })?;
        Ok(writer)
    }

    /// Adds `entry`. Entries come in the order of the archive.
    pub fn entry(&mut self, entry: &SnapshotEntry) -> io::Result<()> {
        let (path, path_hex) = text_or_hex(entry.path.as_bytes());
        let mut line = Line {
            path,
            path_hex,
            mode: Some(format!("{:04o}", entry.mode).into()),
            mtime: Some(seconds(entry.mtime_ns).into()),
            uid: Some(entry.uid),
            gid: Some(entry.gid),
            user: entry.user.as_deref().map(Cow::Borrowed),
            group: entry.group.as_deref().map(Cow::Borrowed),
            problem: entry.problem,
            ..Line::default()
        };
        match &entry.kind {
            EntryKind::File {
                size,
                sha256,
                place,
            } => {
                line.kind = "file".into();
                line.size = Some(*size);
                line.sha256 = Some(*sha256);
                line.volume = Some(place.volume);
                line.offset = Some(place.offset);
            }
            EntryKind::Dir => line.kind = "dir".into(),
            EntryKind::Symlink { target } => {
                line.kind = "symlink".into();
                (line.target, line.target_hex) = text_or_hex(target);
            }
            EntryKind::HardLink { to } => {
                line.kind = "hardlink".into();
                (line.to, line.to_hex) = text_or_hex(to.as_bytes());
            }
        }
        self.write_line(&line)?;
        self.paths += 1;
        Ok(())
    }

    /// Adds the table of `volume`, once all of its entries are written.
    pub fn blocks(&mut self, volume: u32, points: &RestartPoints) -> io::Result<()> {
        let mut before = 0;
        for starts in points.starts().chunks(BLOCKS_PER_LINE) {
            let distances = starts
                .iter()
                .map(|start| start - std::mem::replace(&mut before, *start));
            let line = Line {
                kind: "blocks".into(),
                volume: Some(volume),
                starts: Some(distances.collect()),
                ..Line::default()
            };
            self.write_line(&line)?;
        }
        Ok(())
    }

    /// Ends the index. Without this it reads as cut off.
    pub fn finish(mut self) -> io::Result<W> {
        let end = Line {
            kind: "end".into(),
            paths: Some(self.paths),
            ..Line::default()
        };
        self.write_line(&end)?;
        self.gzip.finish()
    }

    fn write_line(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        if self.line.len() > LONGEST_LINE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a path is too long for the index",
            ));
        }
        self.gzip.write_all(&self.line)
    }
}

/// What an index holds, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexRecord {
    /// A path.
    Entry(SnapshotEntry),
    /// A piece of the table of a volume, behind its paths: the pieces follow one another.
    Blocks {
        /// Which volume.
        volume: u32,
        /// Where its next blocks begin in the compressed stream, ascending; for [`RestartPoints::push`].
        starts: Vec<u64>,
    },
}

/// Reads an index, a record at a time. That the whole is undamaged is known only at its end: who believes a record before
/// must be ready to take it back.
pub struct IndexReader<R: Read> {
    gzip: BufReader<GzDecoder<BufReader<R>>>,
    line: Vec<u8>,
    paths: u64,
    table: Option<(u32, u64)>,
    ended: bool,
}

impl<R: Read> IndexReader<R> {
    /// Begins to read the index of `snapshot`.
    pub fn open(input: R, snapshot: SnapshotName) -> Result<Self, IndexError> {
        /// Looked at before the rest of the header, which a newer format may have changed.
        #[derive(Deserialize)]
        struct Probe {
            format: u64,
        }
        let mut reader = Self {
            gzip: BufReader::new(GzDecoder::new(BufReader::new(input))),
            line: Vec::new(),
            paths: 0,
            table: None,
            ended: false,
        };
        reader.read_line()?;
        let probe: Probe = parse(&reader.line).map_err(|what| reader.damaged(what))?;
        if probe.format > u64::from(FORMAT) {
            return Err(IndexError::Newer {
                found: probe.format,
            });
        }
        let header: Header = parse(&reader.line).map_err(|what| reader.damaged(what))?;
        if header.format != u64::from(FORMAT) {
            return Err(reader.damaged(format!("there is no format {}", header.format)));
        }
        if header.snapshot != snapshot {
            return Err(IndexError::Swapped {
                expected: snapshot,
                found: header.snapshot,
            });
        }
        Ok(reader)
    }

    /// The next record; `None` after the last one, once the end of the stream and its check were seen.
    pub fn next_record(&mut self) -> Result<Option<IndexRecord>, IndexError> {
        if self.ended {
            return Ok(None);
        }
        self.read_line()?;
        let record =
            parse(&self.line).and_then(|line| record_of(line, &mut self.table, self.paths));
        match record {
            Ok(Some(record)) => {
                if matches!(record, IndexRecord::Entry(_)) {
                    self.paths += 1;
                }
                Ok(Some(record))
            }
            Ok(None) => {
                self.expect_end()?;
                self.ended = true;
                Ok(None)
            }
            Err(what) => Err(self.damaged(what)),
        }
    }

    fn read_line(&mut self) -> Result<(), IndexError> {
        self.line.clear();
        let longest = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
        let read = (&mut self.gzip)
            .take(longest)
            .read_until(b'\n', &mut self.line);
        read.map_err(|error| self.failed(error))?;
        if self.line.pop() == Some(b'\n') {
            return Ok(());
        }
        let what = if self.line.len() + 1 >= LONGEST_LINE {
            "a line is far too long"
        } else {
            "it ends too early"
        };
        Err(self.damaged(what.to_owned()))
    }

    /// Reads the check behind the last line, and that nothing follows.
    fn expect_end(&mut self) -> Result<(), IndexError> {
        let mut more = [0];
        let inflated = self
            .gzip
            .read(&mut more)
            .map_err(|error| self.failed(error))?;
        let behind = self.gzip.get_mut().get_mut().fill_buf().map(<[u8]>::len);
        match (inflated, behind) {
            (0, Ok(0)) => Ok(()),
            (_, Err(error)) => Err(self.failed(error)),
            _ => Err(self.damaged("something stands behind its end".to_owned())),
        }
    }

    fn damaged(&self, what: String) -> IndexError {
        IndexError::Damaged {
            paths: self.paths,
            what,
        }
    }

    /// flate2 reports damage of the stream by these kinds, and a stream that ends too early as the end of the file.
    fn failed(&self, error: io::Error) -> IndexError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends too early".to_owned()),
            io::ErrorKind::InvalidInput if error.get_ref().is_some() => {
                self.damaged(error.to_string())
            }
            _ => IndexError::Io {
                paths: self.paths,
                source: error,
            },
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line)
        .map_err(|error| format!("a line is not as it was written ({error})"))
}

/// What `line` says; `None` for the end. `table` is the volume whose table is being read and the start of its last
/// block, `paths` how many paths were read.
fn record_of(
    line: Line<'_>,
    table: &mut Option<(u32, u64)>,
    paths: u64,
) -> Result<Option<IndexRecord>, String> {
    match line.kind.as_ref() {
        "blocks" => blocks_of(line, table).map(Some),
        "end" if line.paths == Some(paths) => Ok(None),
        "end" => Err("some of its lines are missing".to_owned()),
        _ => entry_of(line).map(|entry| Some(IndexRecord::Entry(entry))),
    }
}

fn blocks_of(line: Line<'_>, table: &mut Option<(u32, u64)>) -> Result<IndexRecord, String> {
    let volume = line.volume.ok_or("a table names no volume")?;
    let mut before = match *table {
        Some((same, start)) if same == volume => Some(start),
        _ => None,
    };
    let mut starts = line.starts.ok_or("a table has no blocks")?;
    for start in &mut starts {
        let from = before.unwrap_or(0);
        let sum = from
            .checked_add(*start)
            .filter(|sum| before.is_none() || *sum > from);
        *start = sum.ok_or_else(|| format!("the table of volume {volume} does not ascend"))?;
        before = Some(*start);
    }
    *table = before.map(|start| (volume, start));
    Ok(IndexRecord::Blocks { volume, starts })
}

fn entry_of(line: Line<'_>) -> Result<SnapshotEntry, String> {
    let bytes = bytes_of("path", line.path, line.path_hex)?;
    let path = ArchivePath::new(bytes.as_slice())
        .map_err(|problem| format!("`{}`: {problem}", escape(&bytes)))?;
    let missing = |what: &str| format!("`{path}` has no valid {what}");
    let kind = match line.kind.as_ref() {
        "file" => EntryKind::File {
            size: line.size.ok_or_else(|| missing("size"))?,
            sha256: line.sha256.ok_or_else(|| missing("sha256"))?,
            place: Place {
                volume: line
                    .volume
                    .filter(|volume| *volume > 0)
                    .ok_or_else(|| missing("volume"))?,
                offset: line.offset.ok_or_else(|| missing("offset"))?,
            },
        },
        "dir" => EntryKind::Dir,
        "symlink" => EntryKind::Symlink {
            target: bytes_of("target", line.target, line.target_hex)?,
        },
        "hardlink" => EntryKind::HardLink {
            to: ArchivePath::new(bytes_of("to", line.to, line.to_hex)?)
                .map_err(|_| missing("to"))?,
        },
        other => {
            return Err(format!(
                "`{path}` is of unknown type `{}`",
                other.escape_debug()
            ));
        }
    };
    let mode = line
        .mode
        .and_then(|mode| u32::from_str_radix(&mode, 8).ok());
    let mtime_ns = line.mtime.and_then(|mtime| parse_seconds(mtime.as_bytes()));
    Ok(SnapshotEntry {
        kind,
        mode: mode
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| missing("mode"))?,
        mtime_ns: mtime_ns.ok_or_else(|| missing("mtime"))?,
        uid: line.uid.ok_or_else(|| missing("uid"))?,
        gid: line.gid.ok_or_else(|| missing("gid"))?,
        user: line.user.map(Cow::into_owned),
        group: line.group.map(Cow::into_owned),
        problem: line.problem,
        path,
    })
}

/// `bytes` as the text of one key or the hexadecimal of the other.
fn text_or_hex(bytes: &[u8]) -> (Option<Cow<'_, str>>, Option<Cow<'_, str>>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.into()), None),
        Err(_) => (None, Some(hex::encode(bytes).into())),
    }
}

fn bytes_of(
    key: &str,
    text: Option<Cow<'_, str>>,
    hexadecimal: Option<Cow<'_, str>>,
) -> Result<Vec<u8>, String> {
    match (text, hexadecimal) {
        (Some(text), None) => Ok(text.into_owned().into_bytes()),
        (None, Some(digits)) => {
            hex::decode(digits.as_bytes()).map_err(|_| format!("a `{key}_hex` is not hexadecimal"))
        }
        _ => Err(format!("a line has not exactly one `{key}`")),
    }
}

#[cfg(test)]
mod tests;
