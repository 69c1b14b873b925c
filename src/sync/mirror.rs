//! What is particular to mirror mode: a folder that lost its marker is only added to.

use super::run::Opened;
use super::{PairSettings, SyncMode, roots};
use crate::error::Outcome;
use crate::plan::{Caution, Direction};

/// How far a pull of a mirror may rely on its base. Without this replica's marker the folder is a new volume, an empty
/// mount point or a template: what differs in it was perhaps never synced, so only what is missing is created. Nothing
/// is written to the remote by such a run, so there is nothing that a person must decide first.
///
/// # Errors
/// When the marker cannot be read.
pub(super) fn caution(
    settings: &PairSettings,
    opened: &Opened,
    direction: Direction,
) -> Outcome<Caution> {
    let pulls = settings.mode == SyncMode::Mirror && direction == Direction::Pull;
    if !pulls || !opened.has_base {
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
    let adds = settings.mode == SyncMode::Mirror && caution == Caution::OnlyAdd;
    let removes = if settings.trash_local {
        "moves what the remote does not hold into the local trash"
    } else {
        "removes what the remote does not hold"
    };
    adds.then(|| {
        format!(
            "the local folder `{}` does not carry this replica's marker `.ows/replica`, so it is not known to be the \
             folder that was synced before: this run only adds what is missing and marks the folder; the next run is an \
             ordinary one, which {removes}",
            settings.local_path.display()
        )
    })
}
