//! The words that the write side and the read side of a backup share: a path in an archive, what is stored under it, and
//! where the compressed stream can be entered.
//!
//! Plain values: nothing here does I/O.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

use super::manifest::ProblemClass;

pub use super::spelling::{AskedPath, escape, is_unsafe, unescape};

/// How many bytes of tar one block of the gzip stream holds; the last one of a volume holds what is left.
pub const BLOCK_BYTES: u64 = 1 << 20;

/// A path within a snapshot: relative, `/` between its segments, none of them empty, `.` or `..`, no zero byte.
///
/// Names on Unix are bytes and need not be UTF-8, so this holds bytes; [`fmt::Display`] escapes what a terminal should not
/// see. Paths order by their bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArchivePath(Box<[u8]>);

/// Why bytes are no [`ArchivePath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Nothing is left of it.
    #[error("the path is empty")]
    Empty,
    /// It begins at the root of the file system.
    #[error("the path is absolute")]
    Absolute,
    /// It holds a `..`.
    #[error("the path leads upwards (`..`)")]
    Upwards,
    /// It holds a `.` or two slashes in a row, so that one file would have several names.
    #[error("the path has an empty segment or a `.`")]
    Unclear,
    /// It holds a zero byte, which no file system stores.
    #[error("the path holds a zero byte")]
    ZeroByte,
}

impl ArchivePath {
    /// Takes `bytes` as they are. A slash at the end is an empty segment; readers of tar cut it off first.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathProblem> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(PathProblem::Empty);
        }
        if bytes.first() == Some(&b'/') {
            return Err(PathProblem::Absolute);
        }
        if bytes.contains(&0) {
            return Err(PathProblem::ZeroByte);
        }
        for segment in bytes.split(|byte| *byte == b'/') {
            match segment {
                b".." => return Err(PathProblem::Upwards),
                b"" | b"." => return Err(PathProblem::Unclear),
                _ => {}
            }
        }
        Ok(Self(bytes.into_boxed_slice()))
    }

    /// The path as it stands in the archive.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as text, when it is some.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Its segments from the top; there is at least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    /// The folder that holds it; `None` at the top of the snapshot.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Self(self.0.get(..slash)?.into()))
    }

    /// Its last segment.
    pub fn name(&self) -> &[u8] {
        self.segments().next_back().unwrap_or_default()
    }

    /// `name` in this folder. `name` may hold several segments.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathProblem> {
        let mut bytes = self.0.to_vec();
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self::new(bytes)
    }

    /// Whether this is `folder` or lies below it.
    pub fn is_within(&self, folder: &Self) -> bool {
        self.0
            .strip_prefix(&*folder.0)
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }
}

impl fmt::Display for ArchivePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0).fmt(formatter)
    }
}

impl fmt::Debug for ArchivePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{self}`")
    }
}

/// A time as pax and the index write it: seconds since the epoch, with as many decimals as it has.
pub fn seconds(time_ns: i128) -> String {
    let (sign, ns) = (if time_ns < 0 { "-" } else { "" }, time_ns.unsigned_abs());
    let text = format!("{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads what [`seconds`] writes, in nanoseconds since the epoch. Other writers have more decimals; what is finer than a
/// nanosecond is cut off. `None` when it is no such number, or one that no file system knows.
pub fn parse_seconds(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let whole = parts.next()?;
    let decimals = parts.next();
    let numeric = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if whole.is_empty() || !numeric(whole) || !decimals.is_none_or(numeric) {
        return None;
    }
    let whole: u64 = std::str::from_utf8(whole).ok()?.parse().ok()?;
    let decimals = decimals
        .unwrap_or_default()
        .iter()
        .chain(std::iter::repeat(&b'0'))
        .take(9);
    let fraction = decimals.fold(0, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    let time_ns = i128::from(whole) * 1_000_000_000 + fraction;
    Some(if negative { -time_ns } else { time_ns })
}

/// A SHA-256, written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// A text that is no SHA-256 in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 of 64 lower-case hexadecimal digits")]
pub struct NotADigest;

impl Digest {
    /// That of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        // One spelling only: the text is compared in places.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(NotADigest);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotADigest)?;
        Ok(Self(bytes))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the content of a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which volume, from 1.
    pub volume: u32,
    /// Offset of the first byte of the content in that volume's uncompressed tar.
    pub offset: u64,
}

/// What is stored under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// SHA-256 of the bytes in the archive.
        sha256: Digest,
        /// Where they lie.
        place: Place,
    },
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink {
        /// What it says, as bytes; it may point anywhere.
        target: Vec<u8>,
    },
    /// Another name of a file that stands before it in the archive.
    HardLink {
        /// The first name of that file.
        to: ArchivePath,
    },
}

/// One path of a snapshot, as the archive and the index have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Where it belongs.
    pub path: ArchivePath,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, set-uid, set-gid and sticky included (`0o7777`).
    pub mode: u32,
    /// When the content changed last, nanoseconds since the epoch.
    pub mtime_ns: i128,
    /// Number of the owner.
    pub uid: u64,
    /// Number of the group.
    pub gid: u64,
    /// Name of the owner, where the host knew one.
    pub user: Option<String>,
    /// Name of the group, where the host knew one.
    pub group: Option<String>,
    /// Why this is not what stood under the path; `None` when it is.
    pub problem: Option<ProblemClass>,
}

/// Where each block of one volume's gzip stream begins, so that reading may start there.
///
/// Every block holds [`BLOCK_BYTES`] of tar but for the last one, and can be inflated without what stands before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestartPoints {
    starts: Vec<u64>,
}

impl RestartPoints {
    /// A volume without blocks as yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes the next block, which begins at `compressed_offset` of the gzip stream (its header included). `false`, and
    /// nothing noted, when that lies not behind the block before: such a table is damaged.
    #[must_use]
    pub fn push(&mut self, compressed_offset: u64) -> bool {
        let ascends = self
            .starts
            .last()
            .is_none_or(|last| *last < compressed_offset);
        if ascends {
            self.starts.push(compressed_offset);
        }
        ascends
    }

    /// The compressed offset of each block, ascending.
    pub fn starts(&self) -> &[u64] {
        &self.starts
    }

    /// Where to begin for the byte at `tar_offset`: the compressed offset of its block, and how many inflated bytes stand
    /// before it there. `None` when the volume has no such block.
    pub fn enter(&self, tar_offset: u64) -> Option<(u64, u64)> {
        let block = usize::try_from(tar_offset / BLOCK_BYTES).ok()?;
        Some((*self.starts.get(block)?, tar_offset % BLOCK_BYTES))
    }

    /// The compressed offset behind the last block that `tar_offset` up to `tar_offset + length` touches. `None` when
    /// that is the last block of the volume (its end is the end of the stream) or there is no such block.
    pub fn leave(&self, tar_offset: u64, length: u64) -> Option<u64> {
        let last = tar_offset.checked_add(length.saturating_sub(1))? / BLOCK_BYTES;
        let next = usize::try_from(last).ok()?.checked_add(1)?;
        self.starts.get(next).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ArchivePath {
        ArchivePath::new(text).expect("a path")
    }

    #[test]
    fn a_path_is_relative_and_has_one_spelling() {
        for (bytes, problem) in [
            (&b""[..], PathProblem::Empty),
            (b"/etc/passwd", PathProblem::Absolute),
            (b"/", PathProblem::Absolute),
            (b"..", PathProblem::Upwards),
            (b"a/../b", PathProblem::Upwards),
            (b"a/..", PathProblem::Upwards),
            (b".", PathProblem::Unclear),
            (b"./a", PathProblem::Unclear),
            (b"a//b", PathProblem::Unclear),
            (b"a/", PathProblem::Unclear),
            (b"a\0b", PathProblem::ZeroByte),
        ] {
            assert_eq!(ArchivePath::new(bytes), Err(problem), "{}", escape(bytes));
        }
        for good in [
            &b"a"[..],
            b"a/b",
            b"...",
            b"a/..b/.c",
            b"\xff\xfe/x",
            b"a\\b",
            b"C:",
        ] {
            assert_eq!(
                ArchivePath::new(good).map(|path| path.as_bytes().to_vec()),
                Ok(good.to_vec())
            );
        }
    }

    #[test]
    fn a_path_knows_its_parent_name_and_folder() {
        let deep = path("workspace/notes/a.md");
        assert_eq!(deep.parent(), Some(path("workspace/notes")));
        assert_eq!(path("workspace").parent(), None);
        assert_eq!(deep.name(), b"a.md");
        assert_eq!(path("workspace").join(b"notes/a.md"), Ok(deep.clone()));
        assert_eq!(deep.join(b"../x"), Err(PathProblem::Upwards));
        assert!(deep.is_within(&path("workspace")));
        assert!(deep.is_within(&deep));
        assert!(!deep.is_within(&path("work")));
        assert!(!path("workspace").is_within(&deep));
    }

    #[test]
    fn times_read_back_as_they_were_written() {
        for (time_ns, text) in [
            (0, "0"),
            (1_700_000_000_000_000_000, "1700000000"),
            (1_700_000_000_120_000_000, "1700000000.12"),
            (1, "0.000000001"),
            (-1, "-0.000000001"),
            (-1_500_000_000, "-1.5"),
            (100_000_000_000, "100"),
        ] {
            assert_eq!(seconds(time_ns), text);
            assert_eq!(parse_seconds(text.as_bytes()), Some(time_ns));
        }
        assert_eq!(parse_seconds(b"1.1234567899"), Some(1_123_456_789));
        assert_eq!(parse_seconds(b"007."), Some(7_000_000_000));
        for wrong in [
            &b""[..],
            b"-",
            b".5",
            b"+1",
            b" 1",
            b"1e9",
            b"1.-2",
            b"--1",
            b"1.2.3",
            b"99999999999999999999",
        ] {
            assert_eq!(parse_seconds(wrong), None, "{}", escape(wrong));
        }
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        for wrong in ["", "ba", &text.to_uppercase(), &format!("{text}00")] {
            assert_eq!(wrong.parse::<Digest>(), Err(NotADigest), "{wrong}");
        }
    }

    #[test]
    fn restart_points_lead_to_the_block_of_an_offset() {
        let mut points = RestartPoints::new();
        assert!(points.push(10) && points.push(500) && points.push(501));
        assert!(!points.push(501), "offsets ascend");
        assert_eq!(points.starts(), [10, 500, 501]);
        assert_eq!(points.enter(0), Some((10, 0)));
        assert_eq!(points.enter(BLOCK_BYTES - 1), Some((10, BLOCK_BYTES - 1)));
        assert_eq!(points.enter(BLOCK_BYTES + 7), Some((500, 7)));
        assert_eq!(points.enter(3 * BLOCK_BYTES), None);
        assert_eq!(points.leave(0, BLOCK_BYTES), Some(500));
        assert_eq!(points.leave(0, BLOCK_BYTES + 1), Some(501));
        assert_eq!(points.leave(5, 0), Some(500));
        assert_eq!(
            points.leave(2 * BLOCK_BYTES, 1),
            None,
            "up to the end of the stream"
        );
        assert_eq!(points.enter(u64::MAX), None);
        assert_eq!(points.leave(u64::MAX, 2), None);
    }
}
