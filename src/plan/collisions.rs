//! Names that are one name to a remote which folds case, or the forms of Unicode, and two to the workspace.
//!
//! Such a remote has room for one of them. The one that is there stays in sync. What would be written under the other is
//! left where it is and reported by every run: it would replace a file that it is no version of. Of two new names the
//! first in order has the name. Where one goes away and the other comes, that is a change of spelling, and carried over.
//!
//! Of the names that are there only hashes are kept, eight bytes each, and only for a remote that folds. Two names of one
//! hash that do not fold to one are as unlikely as harmless: one of them is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use ows_providers::{EntryKind, NameRules, RelPath, SortKey};

use super::{Action, Keeps, Op, Reason, Side, Skipped};

/// What the remote holds, by folded names.
#[derive(Debug, Default)]
pub(super) struct FoldedNames {
    there: BTreeSet<u64>,
}

/// What is left of a plan's actions.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) actions: Vec<Action>,
    pub(super) skipped: Vec<Skipped>,
    /// Deletes that make room for another spelling.
    pub(super) clears: BTreeSet<SortKey>,
}

fn folded(names: &NameRules, path: &RelPath) -> u64 {
    // Its keys are constant, so that the same names always give the same plan.
    let mut hasher = DefaultHasher::new();
    names.folded(path).hash(&mut hasher);
    hasher.finish()
}

impl FoldedNames {
    /// Notes a name that the remote holds.
    pub(super) fn see(&mut self, names: &NameRules, path: &RelPath) {
        if names.folds() {
            self.there.insert(folded(names, path));
        }
    }

    /// Takes out what would be written to a name that is taken.
    pub(super) fn settle(mut self, names: &NameRules, mut actions: Vec<Action>) -> Settled {
        if !names.folds() {
            return Settled {
                actions,
                ..Settled::default()
            };
        }
        respell_folders(names, &mut actions);
        let mut going: BTreeMap<u64, SortKey> = BTreeMap::new();
        for action in &actions {
            match &action.op {
                Op::DeleteRemote => {
                    going.insert(folded(names, &action.key.path), action.key.clone());
                }
                Op::MoveRemote { from, .. } => {
                    self.there.remove(&folded(names, from));
                }
                // The file makes room for the folder of its name.
                Op::Conflict {
                    keeps: Keeps::Folder,
                } => {
                    self.there.remove(&folded(names, &action.key.path));
                }
                _ => {}
            }
        }
        for name in going.keys() {
            self.there.remove(name);
        }
        // Folders come before what is in them.
        actions.sort_by(|one, other| one.key.cmp(&other.key));
        let mut settled = Settled::default();
        let mut taken: BTreeSet<RelPath> = BTreeSet::new();
        for action in actions {
            if !creates_in_remote(&action) {
                settled.actions.push(action);
                continue;
            }
            let path = &action.key.path;
            let above = || std::iter::successors(path.parent(), RelPath::parent);
            // Its folder was reported.
            if above().any(|folder| taken.contains(&folder)) {
                continue;
            }
            let name = folded(names, path);
            if self.there.insert(name) {
                settled.clears.extend(going.remove(&name));
                settled.actions.push(action);
                continue;
            }
            settled.skipped.push(Skipped {
                path: path.to_string(),
                reason: "the remote has no room for this name beside another one that differs from it only in case, or in \
                         how its characters are encoded, so it was left alone; rename one of the two"
                    .to_owned(),
            });
            if action.key.kind == EntryKind::Dir {
                taken.insert(path.clone());
            }
        }
        settled
    }
}

fn creates_in_remote(action: &Action) -> bool {
    match action.op {
        Op::Upload => action.remote.is_none(),
        Op::CreateDirRemote | Op::MoveRemote { .. } => true,
        _ => false,
    }
}

/// A folder that goes, and one that comes with another spelling of its name, are one folder with a new name.
fn respell_folders(names: &NameRules, actions: &mut Vec<Action>) {
    let is_dir = |action: &&Action| action.key.kind == EntryKind::Dir;
    let goes = |action: &&Action| action.op == Op::DeleteRemote;
    let mut going: BTreeMap<String, Action> = actions
        .iter()
        .filter(is_dir)
        .filter(goes)
        .map(|action| (names.folded(&action.key.path), action.clone()))
        .collect();
    if going.is_empty() {
        return;
    }
    let mut renamed = BTreeSet::new();
    for action in actions.iter_mut() {
        if action.op != Op::CreateDirRemote {
            continue;
        }
        let Some(old) = going.remove(&names.folded(&action.key.path)) else {
            continue;
        };
        let Some(base) = old.base else {
            continue;
        };
        renamed.insert(old.key.clone());
        action.op = Op::MoveRemote {
            from: Box::new(old.key.path),
            old: base,
        };
        action.reason = Reason::Renamed(Side::Local);
        action.remote = old.remote;
    }
    actions.retain(|action| action.op != Op::DeleteRemote || !renamed.contains(&action.key));
}
