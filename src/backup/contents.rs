//! `backup ls`: what a snapshot holds, from its index, or from its data where it has none.

use std::sync::Arc;

use super::catalog::Catalog;
use super::entry::{AskedPath, EntryKind, Place, SnapshotEntry, escape};
use super::extract::{hash, with_causes};
use super::index::IndexRecord;
use super::restore::blocking;
use super::settings::BackupSettings;
use super::source::{Source, SourceError, Which, failure, is_about_keys, is_network};
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
/// When it cannot be read to its end: what could be read of it was shown, and may be wrong.
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
    let mut warnings = which.warnings(settings, catalog);
    warnings.extend(source.chosen.warnings(settings));
    let cancel = cancel.clone();
    blocking(move || {
        let mut paths = 0;
        let not_to_its_end = |error| {
            let name = source.chosen.name();
            failure(
                format!("the snapshot `{name}` could not be listed to its end"),
                error,
                &cancel,
            )
        };
        let from = each(&source, &mut |entry| {
            if below.as_ref().is_none_or(|below| below.covers(&entry.path)) {
                paths += 1;
                show(entry);
            }
        })
        .map_err(not_to_its_end)?;
        if let Some((_, error)) = from.lost.into_iter().next() {
            return Err(not_to_its_end(error));
        }
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
    /// Volumes that do not read to their end, and why.
    pub(super) lost: Vec<(String, ListError)>,
}

/// Why a listing ends early.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// An object does not open, or the index does not read to its end.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The data does not read to its end.
    #[error(transparent)]
    Tar(#[from] TarError),
}

/// Shows each path of the index, or of the data. Both have the same paths in the same order: where the index breaks off,
/// the data goes on.
pub(super) fn each(
    source: &Source,
    show: &mut dyn FnMut(&SnapshotEntry),
) -> Result<Origin, ListError> {
    let mut origin = Origin::default();
    let mut shown = 0;
    match of_index(source, &mut shown, show) {
        Ok(Some(fault)) => {
            origin.warnings.extend(fault);
            return Ok(origin);
        }
        Ok(None) => {}
        Err(error) if is_network(&error) || is_about_keys(&error) => return Err(error.into()),
        Err(error) => origin.warnings.push(format!(
            "the index cannot be used, the data itself is read: {}",
            with_causes(&error)
        )),
    }
    let mut before = shown;
    for number in 1..=source.volumes() {
        let read = of_volume(
            source,
            number,
            &mut origin,
            &mut |entry| match before.checked_sub(1) {
                Some(less) => before = less,
                None => show(entry),
            },
        );
        match read {
            Ok(()) => {}
            Err(error) if is_network(&error) || is_about_keys(&error) => return Err(error),
            // The next one is another object.
            Err(error) => {
                origin.lost.push((source.volume_name(number), error));
                // How many of its paths were shown before is not known: twice is better than never.
                before = 0;
            }
        }
    }
    Ok(origin)
}

/// Shows the paths of the index and counts them; what is wrong about its object, or `None` where it has none by nature.
fn of_index(
    source: &Source,
    shown: &mut u64,
    show: &mut dyn FnMut(&SnapshotEntry),
) -> Result<Option<Option<String>>, SourceError> {
    let Some(mut index) = source.index()? else {
        return Ok(None);
    };
    while let Some(record) = index.reader.next_record()? {
        if let IndexRecord::Entry(entry) = record {
            *shown += 1;
            show(&entry);
        }
    }
    Ok(Some(index.check.fault()))
}

/// Shows the paths of a volume.
fn of_volume(
    source: &Source,
    number: u32,
    origin: &mut Origin,
    show: &mut dyn FnMut(&SnapshotEntry),
) -> Result<(), ListError> {
    let volume = source.volume(number)?;
    let mut tar = TarReader::new(volume.tar);
    while let Some(member) = tar.next_member()? {
        match entry_of(&member, number, &mut tar)? {
            Ok(entry) => show(&entry),
            Err(warning) => origin.warnings.extend(warning),
        }
    }
    origin.warnings.extend(volume.check.fault());
    Ok(())
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
