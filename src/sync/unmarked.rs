//! A folder that lost its marker is only added to: mirror and bisync.

use super::run::Opened;
use super::{PairSettings, SyncMode, roots};
use crate::error::Outcome;
use crate::plan::{Caution, Direction};

/// How far a run of a mirror, or one in both directions, may rely on its base. Without this replica's marker the folder is
/// a new volume, an empty mount point or a template: what differs in it was perhaps never synced, so only what is missing
/// is created. Nothing is written to the remote by such a run, so there is nothing that a person must decide first.
///
/// # Errors
/// When the marker cannot be read.
pub(super) fn caution(
    settings: &PairSettings,
    opened: &Opened,
    direction: Direction,
) -> Outcome<Caution> {
    let adds = matches!(
        (settings.mode, direction),
        (SyncMode::Mirror, Direction::Pull) | (SyncMode::Bisync, Direction::Both)
    );
    if !adds || !opened.has_base {
        return Ok(Caution::None);
    }
    let ours = roots::marker(&opened.local)?.as_ref() == Some(&opened.scope.replica);
    Ok(if ours {
        Caution::None
    } else {
        Caution::OnlyAdd
    })
}

/// What a person reads when a run is so cautious.
pub(super) fn warning(settings: &PairSettings, caution: Caution) -> Option<String> {
    let then = match settings.mode {
        SyncMode::Mailbox => return None,
        SyncMode::Mirror if settings.trash_local => {
            "which moves what the remote does not hold into the local trash"
        }
        SyncMode::Mirror => "which removes what the remote does not hold",
        SyncMode::Bisync => "which takes what differs for new on both sides, and keeps it twice",
    };
    (caution == Caution::OnlyAdd).then(|| {
        format!(
            "the local folder `{}` does not carry this replica's marker `.ows/replica`, so it is not known to be the \
             folder that was synced before: this run only adds what is missing and marks the folder; the next run is an \
             ordinary one, {then}",
            settings.local_path.display()
        )
    })
}
