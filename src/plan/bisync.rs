//! Both sides may change: what was done on one is carried over to the other.
//!
//! A side is *absent*, *same* as the base, *changed* against it, *new* (no base row), or *unknown*. `=` means equal
//! content. The table is symmetric; each outcome holds with the sides exchanged.
//!
//! | base | one side | other side | outcome |
//! |------|----------|------------|---------|
//! | any  | unknown  | any        | left alone, reported |
//! | yes  | absent   | absent     | forget the row |
//! | yes  | absent   | same       | deleted there, to the trash |
//! | yes  | absent   | changed    | the change wins: copied back, reported |
//! | yes  | same     | same       | nothing |
//! | yes  | changed  | same       | copied across |
//! | yes  | changed  | changed    | `=`: record; else a conflict |
//! | no   | new      | absent     | copied across |
//! | no   | new      | new        | `=`: record; else a conflict |
//!
//! Conflicts are those of [`merge`]. Without any base the table is that of a merge, so a first run that unites both sides
//! and was killed goes on with this one.
//!
//! A side that only has other times is *same*, and they are recorded. A remote file of another version is *changed* until
//! its content, or the hash that the remote tells of it, shows that it is not; where there is no local one to compare it
//! with, it stays so.
//!
//! # More than one path
//!
//! **Folders** follow the same table, and two folders are always `=`. One that is to be deleted and keeps something on
//! its side (a file that is new or edited, one that takes no part, one that could not be looked at) stays, and is created
//! again on the other. Where one side holds a file and the other a folder of that name, and both are to stay, the folder
//! keeps the name and the file becomes a conflict.
//!
//! **Renames** that hashes prove are carried over as such, in either direction ([`super::Op::MoveRemote`],
//! [`super::Op::MoveLocal`]). What was edited on the other side is renamed with its edit, and another pass carries that
//! over. Renamed differently on both sides, both names exist. What hashes do not prove is a delete and a new file.
//!
//! **Spellings** that are one name to the remote and two here: the one that is known stays in sync, the other is left
//! alone and reported by every run.

use super::decide::{self, State, Verdict};
use super::{Action, Caution, Direction, Op, Reason, Record, Rules, Side, Triple, merge};

/// Decides one path of a run in which both sides may change. Total: every triple has an outcome.
pub(super) fn decide(rules: &Rules, triple: &Triple, local: State, remote: State) -> Verdict {
    use State::{Absent, Same, Touched};
    if triple.base.is_none() {
        return merge::decide(rules, triple, local, remote);
    }
    // In a folder that is perhaps another one, absence says nothing: the file is missing.
    let fills = rules.caution == Caution::OnlyAdd;
    match (local, remote) {
        (Absent, Absent) => Verdict::Record(Record::Forget(triple.key.clone())),
        (Absent, Same | Touched) if fills => {
            decide::transfer(Direction::Pull, triple, remote, local)
        }
        (Absent, Same | Touched) => decide::delete(Direction::Push, triple, remote),
        (Same | Touched, Absent) => decide::delete(Direction::Pull, triple, local),
        (Absent, _) => revive(triple, Side::Remote),
        (_, Absent) => revive(triple, Side::Local),
        _ => merge::decide(rules, triple, local, remote),
    }
}

/// Copies back what one side changed and the other deleted.
fn revive(triple: &Triple, changed: Side) -> Verdict {
    let op = match changed {
        Side::Local => Op::Upload,
        Side::Remote => Op::Download,
    };
    Verdict::Act(decide::act(triple, op, Reason::Revived(changed), false))
}

/// Whether an action only brings to the workspace what is missing there.
pub(super) fn only_fills(action: &Action) -> bool {
    let creates = matches!(action.op, Op::Download | Op::CreateDirLocal);
    creates && action.local.is_none()
}
