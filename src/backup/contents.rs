//! `backup ls`: what a snapshot holds, from its index, or from its data where it has none.

use std::sync::Arc;

use super::catalog::Catalog;
use super::entry::{AskedPath, EntryKind, Place, SnapshotEntry, escape};
use super::extract::{hash, with_causes};
use super::index::{IndexError, IndexRecord};
use super::restore::blocking;
use super::settings::BackupSettings;
use super::source::{Source, SourceError, Which, failure, is_network};
use super::untar::{Member, MemberKind, TarError, TarReader, plain_path};
use crate::cancel::Cancel;
use crate::error::Outcome;
use crate::report::Reporter;

/// What was listed.
#[derive(Debug, Default)]
pub struct Listed {
    /// The snapshot.
    pub snapshot: String,
    /// How many paths were shown.
    pub paths: u64,
    /// What a person must know.
    pub warnings: Vec<String>,
}

/// Shows each path of a snapshot to `show`, in the order of the archive: those at or below `below`, or all. Constant memory.
///
/// # Errors
/// When it cannot be read to its end. What was shown before may then be wrong.
pub async fn ls(
    settings: &BackupSettings,
    catalog: &Catalog,
    which: &Which,
    below: Option<AskedPath>,
    mut show: impl FnMut(&SnapshotEntry) + Send + 'static,
    reporter: Arc<dyn Reporter>,
    cancel: &Cancel,
) -> Outcome<Listed> {
    let source = Source::choose(settings, catalog, which, reporter, cancel)?;
    let mut warnings = source.chosen.warnings(settings);
    let cancel = cancel.clone();
    blocking(move || {
        let mut paths = 0;
        let from = each(&source, &mut |entry| {
            if below.as_ref().is_none_or(|below| below.covers(&entry.path)) {
                paths += 1;
                show(entry);
            }
        })
        .map_err(|error| {
            let name = source.chosen.name();
            failure(
                format!("the snapshot `{name}` could not be listed to its end"),
                error,
                &cancel,
            )
        })?;
        warnings.extend(from.warnings);
        Ok(Listed {
            snapshot: source.chosen.name(),
            paths,
            warnings,
        })
    })
    .await
}

/// Where a listing came from.
#[derive(Default)]
pub(super) struct Origin {
    pub(super) warnings: Vec<String>,
}

/// Why a listing ends early.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// An object does not open.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The index does not read to its end.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The data does not read to its end.
    #[error(transparent)]
    Tar(#[from] TarError),
}

/// Shows each path of the index, or of the data.
pub(super) fn each(
    source: &Source,
    show: &mut dyn FnMut(&SnapshotEntry),
) -> Result<Origin, ListError> {
    let mut origin = Origin::default();
    match source.index() {
        Ok(Some(mut index)) => {
            while let Some(record) = index.reader.next_record()? {
                if let IndexRecord::Entry(entry) = record {
                    show(&entry);
                }
            }
            origin.warnings.extend(index.check.fault());
            return Ok(origin);
        }
        Ok(None) => {}
        Err(error @ SourceError::Open { .. }) => return Err(error.into()),
        Err(error) if is_network(&error) => return Err(error.into()),
        Err(error) => origin.warnings.push(format!(
            "the index cannot be used, the data itself is read: {}",
            with_causes(&error)
        )),
    }
    for number in 1..=source.volumes() {
        let volume = source.volume(number)?;
        let mut tar = TarReader::new(volume.tar);
        while let Some(member) = tar.next_member()? {
            match entry_of(&member, number, &mut tar)? {
                Ok(entry) => show(&entry),
                Err(warning) => origin.warnings.extend(warning),
            }
        }
        origin.warnings.extend(volume.check.fault());
    }
    Ok(origin)
}

/// `member` as an index would have it; or what is wrong about its name, if anything is.
fn entry_of<R: std::io::Read>(
    member: &Member,
    volume: u32,
    tar: &mut TarReader<R>,
) -> Result<Result<SnapshotEntry, Option<String>>, TarError> {
    let name = escape(&member.name);
    let path = match member.path() {
        Ok(Some(path)) => path,
        Ok(None) => return Ok(Err(None)),
        Err(problem) => return Ok(Err(Some(format!("`{name}`: {problem}")))),
    };
    let kind = match &member.kind {
        MemberKind::File => EntryKind::File {
            size: member.size,
            sha256: hash(tar).map_err(|error| tar.failed(error))?,
            place: Place {
                volume,
                offset: member.offset,
            },
        },
        MemberKind::Dir => EntryKind::Dir,
        MemberKind::Symlink { target } => EntryKind::Symlink {
            target: target.clone(),
        },
        MemberKind::HardLink { to } => match plain_path(to) {
            Ok(Some(to)) => EntryKind::HardLink { to },
            _ => return Ok(Err(Some(format!("`{name}` is a link out of the snapshot")))),
        },
        MemberKind::Other(what) => {
            return Ok(Err(Some(format!(
                "`{name}` is {what}, which is not restored"
            ))));
        }
    };
    Ok(Ok(SnapshotEntry {
        path,
        kind,
        mode: member.mode,
        mtime_ns: member.mtime_ns,
        uid: 0,
        gid: 0,
        user: None,
        group: None,
        problem: None,
    }))
}
