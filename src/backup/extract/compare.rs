//! What extraction and its kin compare: members with the index, contents with hashes, paths with what is wanted.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::backup::entry::{ArchivePath, AskedPath, Digest, EntryKind, SnapshotEntry};
use crate::backup::index::IndexError;
use crate::backup::untar::{Member, MemberKind, plain_path};

/// Whether `path` is one of `only` or lies below one, which is noted in `met`; everything is when there are none.
pub(in crate::backup) fn wanted(only: &[AskedPath], met: &mut [bool], path: &ArchivePath) -> bool {
    let mut wanted = only.is_empty();
    for (only, met) in only.iter().zip(met) {
        if only.covers(path) {
            *met = true;
            wanted = true;
        }
    }
    wanted
}

/// Whether `member` is what `entry` says, as far as the headers tell.
pub(in crate::backup) fn agrees(
    entry: &SnapshotEntry,
    path: &ArchivePath,
    member: &Member,
    volume: u32,
) -> bool {
    let same_kind = match (&entry.kind, &member.kind) {
        (EntryKind::File { size, place, .. }, MemberKind::File) => {
            (*size, place.volume, place.offset) == (member.size, volume, member.offset)
        }
        (EntryKind::Dir, MemberKind::Dir) => true,
        (EntryKind::Symlink { target }, MemberKind::Symlink { target: other }) => target == other,
        (EntryKind::HardLink { to }, MemberKind::HardLink { to: other }) => {
            plain_path(other) == Ok(Some(to.clone()))
        }
        _ => false,
    };
    same_kind && entry.path == *path
}

/// Whether a link at `path` leads out of the target, as far as its text tells.
pub(super) fn points_outside(path: &ArchivePath, target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut depth = path.segments().count() - 1;
    for segment in target.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

/// Which side a copy failed on.
pub(super) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Copies, and hashes on the way.
pub(super) fn copy(from: &mut impl Read, mut to: impl io::Write) -> Result<Digest, CopyError> {
    let mut sha256 = Sha256::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let count = from.read(&mut buffer).map_err(CopyError::Read)?;
        if count == 0 {
            return Ok(Digest(sha256.finalize().into()));
        }
        sha256.update(&buffer[..count]);
        to.write_all(&buffer[..count]).map_err(CopyError::Write)?;
    }
}

/// Hashes all that is left.
pub(in crate::backup) fn hash(from: &mut impl Read) -> io::Result<Digest> {
    copy(from, io::sink()).map_err(|error| match error {
        CopyError::Read(error) | CopyError::Write(error) => error,
    })
}

/// `error` with all that lies below it, on one line.
pub(in crate::backup) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// `error` with its cause.
pub(super) fn with_cause(error: &IndexError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error} ({cause})"),
        None => error.to_string(),
    }
}
