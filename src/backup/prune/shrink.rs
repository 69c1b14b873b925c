//! The guard against an emptied host: the newest snapshot is much smaller than an earlier one.

use crate::backup::catalog::Catalog;
use crate::backup::name::SnapshotName;
use crate::backup::settings::BackupSettings;
use crate::error::Outcome;
use crate::state::State;

/// Under which name it is remembered that a smaller snapshot was accepted.
pub(super) const ACCEPTED: &str = "backup prune --accept-shrink";

/// The newest snapshot of a profile is much smaller than the largest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrink {
    /// The newest one.
    pub newest: SnapshotName,
    /// In words: how much smaller, and what follows.
    pub message: String,
}

/// Looks whether the snapshot just made, else the newest of the profile, is smaller than `min_size` per cent of the largest
/// before it, in files or in bytes before compression; those older than one that a person has accepted do not count. What
/// is from the future is neither judged nor compared with, nor is a plain one where this host encrypts.
pub async fn shrink(
    catalog: &Catalog,
    settings: &BackupSettings,
    state: &State,
    just_made: Option<SnapshotName>,
) -> Outcome<Option<Shrink>> {
    let accepted = state
        .backup_outcomes(&catalog.remote.id, &settings.profile)
        .await?
        .into_iter()
        .find(|outcome| outcome.command == ACCEPTED)
        .and_then(|outcome| outcome.snapshot?.parse::<SnapshotName>().ok())
        .filter(|accepted| !catalog.is_from_future(*accepted));
    let judged = match just_made {
        Some(name) => catalog.find(name),
        None => catalog.newest(&settings.profile, settings.encrypts()),
    };
    let Some(newest) = judged else {
        return Ok(None);
    };
    let before = catalog
        .of_profile(&settings.profile, settings.encrypts())
        .filter(|snapshot| {
            snapshot.name != newest.name
                && !catalog.is_from_future(snapshot.name)
                && accepted.is_none_or(|accepted| snapshot.name >= accepted)
        });
    let (mut files, mut bytes) = (0, 0);
    for snapshot in before {
        files = files.max(snapshot.manifest.totals.files);
        bytes = bytes.max(snapshot.manifest.totals.bytes);
    }
    let totals = newest.manifest.totals;
    let is_small = |now: u64, before: u64| {
        u128::from(now) * 100 < u128::from(before) * u128::from(settings.min_size)
    };
    if !is_small(totals.files, files) && !is_small(totals.bytes, bytes) {
        return Ok(None);
    }
    Ok(Some(Shrink {
        newest: newest.name,
        message: format!(
            "the snapshot `{}` holds {} files with {} bytes, an earlier one held {files} files or {bytes} bytes: less \
             than {} per cent (`minSize`). It is kept, and nothing is pruned",
            newest.name, totals.files, totals.bytes, settings.min_size
        ),
    }))
}

/// The hint that goes with a [`Shrink`].
pub const SHRINK_HINT: &str = "see whether something is missing; when it is as it should be, type `ows backup prune --accept-shrink`";
