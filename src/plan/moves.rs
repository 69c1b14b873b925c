//! Recognises renames: a file that went away on one side, and its content under a new name there.
//!
//! What the other side still has is given the new name too, so that no content crosses the network and nothing counts as
//! deleted. A rename is certain only where hashes prove it: BLAKE3 of the new local file, or the hash that the remote
//! tells of its new one, against what the base recorded of the old name. Sizes and times only choose what is hashed.
//!
//! Where both sides may change, what went away on one side may have been edited on the other. It gets the new name all the
//! same, with its edit, and the base row of the new name keeps what the edited side was agreed to hold: so the edit is
//! still an edit, and the pass that follows ([`Plan::again`](super::Plan::again)) carries it over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ows_providers::{EntryKind, HashKind, RelPath, SortKey};

use super::folders::Needs;
use super::{Action, Caution, Direction, Op, Question, Reason, Rules, Side, Triple};
use crate::tree::BaseRow;

/// What proves one content: its size, and a hash of some kind.
type Proof = (u64, HashKind, Vec<u8>);

/// Whether renames are looked for at all: where deletes are left undone, so are renames.
fn applies(rules: &Rules) -> bool {
    let may_delete = matches!(rules.caution, Caution::None | Caution::OnlyOwn);
    may_delete && matches!(rules.direction, Direction::Push | Direction::Both)
}

/// New local files that may be a file of the base under a new name: same size and modification time as one that went away
/// here. The hash decides.
pub(super) fn questions(rules: &Rules, actions: &[Action]) -> Vec<(Triple, Question)> {
    if !applies(rules) || !rules.remote_moves {
        return Vec::new();
    }
    let gone: BTreeSet<(u64, i64)> = actions
        .iter()
        .filter(|action| renamed_on(action) == Some(Side::Local))
        .filter_map(|action| action.base.as_ref())
        .map(|base| (base.local.size, base.local.mtime_ns))
        .collect();
    let candidates = actions.iter().filter(|action| {
        is_new_on(Side::Local, action)
            && action
                .local
                .as_ref()
                .is_some_and(|local| gone.contains(&(local.size, local.mtime_ns)))
    });
    candidates
        .map(|action| {
            let mut triple = Triple::new(action.key.clone());
            triple.local = action.local.as_deref().cloned();
            (triple, Question::LocalHash)
        })
        .collect()
}

/// On which side the file of an action went away, while the other still has it: there it may have been renamed.
pub(super) fn may_be_renamed(kind: EntryKind, op: &Op, reason: Reason) -> Option<Side> {
    if kind != EntryKind::File {
        return None;
    }
    match (op, reason) {
        (Op::DeleteRemote, Reason::Deleted(Side::Local))
        | (Op::Download, Reason::Revived(Side::Remote)) => Some(Side::Local),
        (Op::DeleteLocal, Reason::Deleted(Side::Remote))
        | (Op::Upload, Reason::Revived(Side::Local)) => Some(Side::Remote),
        _ => None,
    }
}

/// The same, where the base knows what to compare with. Of an empty file nothing can be proved.
fn renamed_on(action: &Action) -> Option<Side> {
    let side = may_be_renamed(action.key.kind, &action.op, action.reason)?;
    let base = action.base.as_ref()?;
    (base.local.size > 0 && !proofs(side, base).is_empty()).then_some(side)
}

fn is_edited(action: &Action) -> bool {
    matches!(action.reason, Reason::Revived(_))
}

/// What a new file on `side` would have to show to be the file of this row.
fn proofs(side: Side, base: &BaseRow) -> Vec<Proof> {
    let read = base
        .local
        .blake3
        .map(|hash| (base.local.size, HashKind::Blake3, hash.to_vec()));
    let told = base
        .remote
        .hash
        .as_ref()
        .filter(|hash| side == Side::Remote && hash.kind != HashKind::Blake3)
        .map(|hash| (base.remote.size, hash.kind, hash.bytes.clone()));
    read.into_iter().chain(told).collect()
}

/// Whether an action carries over a file that is new on `side`, to where nothing is.
fn is_new_on(side: Side, action: &Action) -> bool {
    let creates = match side {
        Side::Local => action.op == Op::Upload && action.remote.is_none(),
        Side::Remote => action.op == Op::Download && action.local.is_none(),
    };
    creates && !action.is_known
}

/// What the new file of an action shows.
fn shown(side: Side, action: &Action, local_hashes: &HashMap<SortKey, [u8; 32]>) -> Option<Proof> {
    match side {
        Side::Local => {
            let size = action.local.as_ref()?.size;
            let hash = local_hashes.get(&action.key)?;
            Some((size, HashKind::Blake3, hash.to_vec()))
        }
        Side::Remote => {
            let remote = action.remote.as_ref()?;
            let hash = remote.hash.as_ref()?;
            Some((remote.size, hash.kind, hash.bytes.clone()))
        }
    }
}

/// Pairs each file that went away with a new one of the same content. True when an edit is left for another pass.
///
/// A file that stands where something else is `needed` must be gone before anything is created, so it cannot be the
/// source of a move.
pub(super) fn recognise(
    rules: &Rules,
    actions: Vec<Action>,
    local_hashes: &HashMap<SortKey, [u8; 32]>,
    needed: &Needs,
) -> (Vec<Action>, bool) {
    let sides: Vec<Side> = [Side::Local, Side::Remote]
        .into_iter()
        .filter(|side| match side {
            Side::Local => !local_hashes.is_empty(),
            Side::Remote => {
                let gone = |action: &Action| renamed_on(action) == Some(Side::Remote);
                rules.direction == Direction::Both
                    && applies(rules)
                    && actions.iter().any(gone)
                    && actions.iter().any(|action| is_new_on(Side::Remote, action))
            }
        })
        .collect();
    if sides.is_empty() {
        return (actions, false);
    }
    let contested = contested(rules, &actions);
    let mut by_key: BTreeMap<SortKey, Action> = actions
        .into_iter()
        .map(|action| (action.key.clone(), action))
        .collect();
    let mut again = false;
    for side in sides {
        let still_there = match side {
            Side::Local => Side::Remote,
            Side::Remote => Side::Local,
        };
        let may_go = |key: &SortKey| {
            !needed.are_blocked_by(still_there, key) && !contested.contains(&key.path)
        };
        let may_come = |key: &SortKey| !contested.contains(&key.path);
        again |= pair(side, &mut by_key, local_hashes, may_go, may_come);
    }
    (by_key.into_values().collect(), again)
}

/// The names that one side uses for a folder. Where both may change, whoever renames a file from or to such a name leaves
/// more than a rename to be settled.
fn contested(rules: &Rules, actions: &[Action]) -> BTreeSet<RelPath> {
    let mut contested = BTreeSet::new();
    if rules.direction != Direction::Both {
        return contested;
    }
    for action in actions {
        let path = &action.key.path;
        let own = (action.key.kind == EntryKind::Dir).then(|| path.clone());
        let mut at = own.or_else(|| path.parent());
        while let Some(folder) = at {
            at = folder.parent();
            if !contested.insert(folder) {
                break;
            }
        }
    }
    contested
}

fn pair(
    side: Side,
    by_key: &mut BTreeMap<SortKey, Action>,
    local_hashes: &HashMap<SortKey, [u8; 32]>,
    may_go: impl Fn(&SortKey) -> bool,
    may_come: impl Fn(&SortKey) -> bool,
) -> bool {
    // In order of names, so that of several equal files each old name goes to one new name, always the same. What was
    // edited since comes last.
    let mut old_names: BTreeMap<Proof, Vec<SortKey>> = BTreeMap::new();
    for edited in [true, false] {
        for action in by_key.values().rev() {
            let goes = renamed_on(action) == Some(side) && is_edited(action) == edited;
            if let Some(base) = action.base.as_ref().filter(|_| goes && may_go(&action.key)) {
                for proof in proofs(side, base) {
                    old_names.entry(proof).or_default().push(action.key.clone());
                }
            }
        }
    }
    let new_names: Vec<(SortKey, Proof)> = by_key
        .values()
        .filter(|action| is_new_on(side, action) && may_come(&action.key))
        .filter_map(|action| Some((action.key.clone(), shown(side, action, local_hashes)?)))
        .collect();
    let mut again = false;
    for (new_key, proof) in new_names {
        let Some(names) = old_names.get_mut(&proof) else {
            continue;
        };
        // One that has two proofs may have its new name already.
        let old = std::iter::from_fn(|| names.pop()).find_map(|name| by_key.remove(&name));
        if let Some(old) = old
            && let Some(action) = by_key.get_mut(&new_key)
        {
            again |= is_edited(&old);
            rename(side, action, old, local_hashes.get(&new_key));
        }
    }
    again
}

/// Turns the transfer of a new file into a rename of the old one.
fn rename(side: Side, action: &mut Action, old: Action, blake3: Option<&[u8; 32]>) {
    let Some(base) = old.base else {
        return;
    };
    let from = Box::new(old.key.path);
    action.reason = Reason::Renamed(side);
    action.changed = old.changed;
    match side {
        Side::Local => {
            action.op = Op::MoveRemote { from, old: base };
            action.remote = old.remote;
            if let Some(local) = &mut action.local {
                local.blake3 = blake3.copied();
            }
        }
        Side::Remote => {
            action.local = old.local;
            if let Some(local) = action.local.as_mut().filter(|_| !old.changed.local) {
                local.blake3 = base.local.blake3;
            }
            action.op = Op::MoveLocal { from, old: base };
        }
    }
}
