//! Names that are a file here and a folder there, and folders that cannot go because something in them stays.

use std::collections::BTreeSet;

use ows_providers::{EntryKind, RelPath, SortKey};

use super::{Action, Op, Reason, Side};

/// Where both sides may change, a folder that was deleted on one side but keeps something on the other stays, and is
/// created again where it was deleted. `kept` are folders about which that is known otherwise.
pub(super) fn bring_back_what_is_not_empty(
    actions: &mut [Action],
    kept: &BTreeSet<(Side, RelPath)>,
) {
    let goes = |action: &Action| {
        let side = action.op.deletes_from()?;
        (action.key.kind == EntryKind::Dir).then_some(side)
    };
    if !actions.iter().any(|action| goes(action).is_some()) {
        return;
    }
    let mut occupied: BTreeSet<(Side, RelPath)> = BTreeSet::new();
    for action in actions.iter() {
        for side in stays_on(action) {
            let mut at = action.key.path.parent();
            while let Some(folder) = at {
                at = folder.parent();
                if !occupied.insert((*side, folder)) {
                    break;
                }
            }
        }
    }
    for action in actions {
        let Some(side) = goes(action) else {
            continue;
        };
        let folder = (side, action.key.path.clone());
        if occupied.contains(&folder) || kept.contains(&folder) {
            action.op = match side {
                Side::Local => Op::CreateDirRemote,
                Side::Remote => Op::CreateDirLocal,
            };
            action.reason = Reason::Occupied(side);
        }
    }
}

/// The sides that held something under the name of an action before it is carried out, and hold something there, or
/// beside it, afterwards.
fn stays_on(action: &Action) -> &'static [Side] {
    match action.op {
        Op::Upload | Op::CreateDirRemote | Op::MoveRemote { .. } => &[Side::Local],
        Op::Download | Op::CreateDirLocal | Op::MoveLocal { .. } => &[Side::Remote],
        Op::Conflict { .. } => &[Side::Local, Side::Remote],
        Op::DeleteLocal | Op::DeleteRemote => &[],
    }
}

/// The keys of deletes that make room: on a side with folders, a file that stands where a folder is needed, and a folder
/// (with all in it) that stands where a file is needed.
pub(super) fn names_in_the_way(actions: &[Action], remote_folders: bool) -> BTreeSet<SortKey> {
    let mut needed_dirs: BTreeSet<(Side, RelPath)> = BTreeSet::new();
    let mut needed_files: BTreeSet<(Side, RelPath)> = BTreeSet::new();
    for action in actions {
        let side = match action.op {
            Op::Upload | Op::MoveRemote { .. } | Op::CreateDirRemote => Side::Remote,
            Op::Download | Op::MoveLocal { .. } | Op::CreateDirLocal => Side::Local,
            Op::DeleteLocal | Op::DeleteRemote | Op::Conflict { .. } => continue,
        };
        if side == Side::Remote && !remote_folders {
            continue;
        }
        if action.key.kind == EntryKind::File {
            needed_files.insert((side, action.key.path.clone()));
        } else {
            needed_dirs.insert((side, action.key.path.clone()));
        }
        let mut above = action.key.path.parent();
        while let Some(folder) = above {
            above = folder.parent();
            if !needed_dirs.insert((side, folder)) {
                break;
            }
        }
    }
    let in_the_way = |action: &&Action| {
        let Some(side) = action.op.deletes_from() else {
            return false;
        };
        let path = &action.key.path;
        if action.key.kind == EntryKind::File && needed_dirs.contains(&(side, path.clone())) {
            return true;
        }
        let mut at = (action.key.kind == EntryKind::Dir)
            .then(|| path.clone())
            .or_else(|| path.parent());
        while let Some(folder) = at {
            if needed_files.contains(&(side, folder.clone())) {
                return true;
            }
            at = folder.parent();
        }
        false
    };
    actions
        .iter()
        .filter(in_the_way)
        .map(|action| action.key.clone())
        .collect()
}
