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

/// The names that are needed on the sides that have folders.
#[derive(Debug, Default)]
pub(super) struct Needs {
    dirs: BTreeSet<(Side, RelPath)>,
    files: BTreeSet<(Side, RelPath)>,
}

impl Needs {
    /// What the actions create.
    pub(super) fn of(actions: &[Action], remote_folders: bool) -> Self {
        let mut needs = Self::default();
        for action in actions {
            let side = match action.op {
                Op::Upload | Op::MoveRemote { .. } | Op::CreateDirRemote => Side::Remote,
                Op::Download | Op::MoveLocal { .. } | Op::CreateDirLocal => Side::Local,
                Op::DeleteLocal | Op::DeleteRemote | Op::Conflict { .. } => continue,
            };
            if side == Side::Local || remote_folders {
                needs.add(side, &action.key);
            }
        }
        needs
    }

    fn add(&mut self, side: Side, key: &SortKey) {
        let path = key.path.clone();
        match key.kind {
            EntryKind::File => self.files.insert((side, path)),
            EntryKind::Dir => self.dirs.insert((side, path)),
        };
        let mut above = key.path.parent();
        while let Some(folder) = above {
            above = folder.parent();
            if !self.dirs.insert((side, folder)) {
                break;
            }
        }
    }

    /// Whether something on a side stands where something of the other type is needed: a file where a folder is, or a
    /// folder, or anything in one, where a file is.
    pub(super) fn are_blocked_by(&self, side: Side, key: &SortKey) -> bool {
        let path = &key.path;
        if key.kind == EntryKind::File && self.dirs.contains(&(side, path.clone())) {
            return true;
        }
        let own = (key.kind == EntryKind::Dir).then(|| path.clone());
        std::iter::successors(own.or_else(|| path.parent()), RelPath::parent)
            .any(|folder| self.files.contains(&(side, folder)))
    }

    /// The keys of deletes that make room.
    pub(super) fn make_room(&self, actions: &[Action]) -> BTreeSet<SortKey> {
        let in_the_way = |action: &&Action| {
            let side = action.op.deletes_from();
            side.is_some_and(|side| self.are_blocked_by(side, &action.key))
        };
        let deletes = actions.iter().filter(in_the_way);
        deletes.map(|action| action.key.clone()).collect()
    }
}
