//! The union of two sides that have nothing agreed on yet: a first run with `firstSync: "merge"`.
//!
//! Nothing is deleted and nothing is replaced that is not kept beside it on both sides. A run that was killed leaves rows
//! behind, so a base may be there for some paths; it tells which side changed since, and no more: what is missing on one
//! side is copied there once more.
//!
//! | base | one side | other side | outcome |
//! |------|----------|------------|---------|
//! | any  | unknown  | any        | left alone, reported |
//! | yes  | absent   | absent     | forget the row |
//! | any  | there    | absent     | copied across |
//! | yes  | same     | same       | nothing |
//! | yes  | changed  | same       | copied across |
//! | any  | changed or new | changed or new | `=`: record; else a conflict |
//!
//! In a conflict the newer one keeps the name ([`newer`]), and the other stays beside it on both sides under
//! [`conflict_name`]. Where one side has a file and the other a folder of that name, the folder keeps it.

use std::collections::{BTreeMap, BTreeSet};

use ows_providers::{EntryKind, PathError, RelPath};

use super::decide::{self, State, Verdict};
use super::{Action, Direction, Keeps, Op, Question, Reason, Record, Resolve, Rules, Side, Triple};
use crate::tree::COARSEST_TICK_NS;

/// How far the host's clock may be from the provider's before times of the two sides cannot be compared, in nanoseconds.
pub const CLOCK_SKEW_NS: i64 = 5 * 60 * 1_000_000_000;

/// How far in the future a modification time may lie before it cannot be one.
const FUTURE_NS: i64 = CLOCK_SKEW_NS;

/// Decides one path of a merge. Total: every triple has an outcome.
pub(super) fn decide(rules: &Rules, triple: &Triple, local: State, remote: State) -> Verdict {
    match (local, remote) {
        (State::Absent, State::Absent) if triple.base.is_none() => Verdict::Unchanged,
        (State::Absent, State::Absent) => Verdict::Record(Record::Forget(triple.key.clone())),
        (State::Same, State::Same) => Verdict::Unchanged,
        (State::Same | State::Touched, State::Same | State::Touched) => decide::agree(triple),
        (_, State::Absent) => decide::transfer(Direction::Push, triple, local, remote),
        (State::Absent, _) => decide::transfer(Direction::Pull, triple, remote, local),
        (State::Changed, State::Same | State::Touched) => {
            decide::transfer(Direction::Push, triple, local, remote)
        }
        _ if triple.key.kind == EntryKind::Dir => decide::agree(triple),
        // Stored again, or only its times are new: no edit that the local one could be in conflict with.
        (State::Changed, State::Changed) if decide::remote_holds_the_base(triple) => {
            decide::transfer(Direction::Push, triple, local, State::Touched)
        }
        _ => both_changed(rules, triple, local, remote),
    }
}

/// Both sides hold a file, and the remote's at least is not what the base records.
pub(super) fn both_changed(rules: &Rules, triple: &Triple, local: State, remote: State) -> Verdict {
    let size = |size: Option<u64>| size.unwrap_or_default();
    let sizes_differ = size(triple.local.as_ref().map(|side| side.size))
        != size(triple.remote.as_ref().map(|side| side.size));
    if !sizes_differ {
        match triple.answers.sides_equal {
            None => return Verdict::Ask(Question::SidesEqual),
            Some(true) => return decide::agree(triple),
            Some(false) => {}
        }
    }
    if matches!(local, State::Same | State::Touched) {
        return decide::transfer(Direction::Pull, triple, remote, local);
    }
    let winner = match (rules.resolve, triple.answers.newer) {
        (Resolve::Always(side), _) | (Resolve::Newer, Some(side)) => side,
        (Resolve::Newer, None) => return Verdict::Ask(Question::Newer),
    };
    let keeps = match winner {
        Side::Local => Keeps::Local,
        Side::Remote => Keeps::Remote,
    };
    let op = Op::Conflict { keeps };
    Verdict::Act(decide::act(triple, op, Reason::Newer(winner), false))
}

/// What is known of the times of the two sides.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// When the local content was made, nanoseconds since the epoch.
    pub local_ns: i64,
    /// When the remote content was made.
    pub remote_ns: Option<i64>,
    /// What the host's clock shows.
    pub host_now_ns: i64,
    /// What the provider's clock shows.
    pub provider_now_ns: Option<i64>,
}

/// Which side's content is newer, and so keeps the name. A tie, a time that cannot be one, and clocks that do not agree:
/// the remote's, since others see it already.
pub fn newer(times: Times) -> Side {
    let skewed = times
        .provider_now_ns
        .is_none_or(|now| now.abs_diff(times.host_now_ns) > CLOCK_SKEW_NS.unsigned_abs());
    let usable = |time: i64| time > 0 && time <= times.host_now_ns.saturating_add(FUTURE_NS);
    match times.remote_ns {
        Some(remote) if !skewed && usable(remote) && usable(times.local_ns) => {
            if times.local_ns > remote.saturating_add(COARSEST_TICK_NS) {
                Side::Local
            } else {
                Side::Remote
            }
        }
        _ => Side::Remote,
    }
}

/// What stands behind the name of a copy, and a number from 2 on.
const SUFFIX: &str = ".conflict";

/// The `attempt`-th name for the content that does not keep its name: `.conflict`, then `.conflict2` behind it. A conflict
/// about such a copy is counted on from the name that the copy lies beside, so that names do not grow without end.
///
/// # Errors
/// When the name becomes too long.
pub fn conflict_name(path: &RelPath, attempt: u32) -> Result<RelPath, PathError> {
    let name = original_name(path.name());
    match attempt {
        0 | 1 => path.with_name(&format!("{name}{SUFFIX}")),
        _ => path.with_name(&format!("{name}{SUFFIX}{attempt}")),
    }
}

/// The path that a file with the name of a conflict copy lies beside; `None` for every other name. A person may have
/// given a file such a name, so what is at the path decides whether there is a conflict.
pub fn original_of(copy: &RelPath) -> Option<RelPath> {
    let name = original_name(copy.name());
    if name == copy.name() {
        return None;
    }
    copy.with_name(name).ok()
}

/// A name without what makes it that of a copy.
fn original_name(name: &str) -> &str {
    let mut original = name;
    while let Some((before, number)) = original.rsplit_once(SUFFIX) {
        let is_plain = number.starts_with(|digit: char| digit.is_ascii_digit() && digit != '0');
        let is_counted =
            number.is_empty() || (is_plain && number.parse::<u32>().is_ok_and(|number| number > 1));
        if before.is_empty() || !is_counted {
            break;
        }
        original = before;
    }
    original
}

/// A file on one side whose name is a folder on the other gives the name up: its copy becomes a conflict.
pub(super) fn let_folders_keep_their_names(actions: &mut [Action]) {
    let mut folders: BTreeSet<(Side, RelPath)> = BTreeSet::new();
    for action in actions.iter() {
        // What is copied from a side lies in folders of that side.
        let from = match action.op {
            Op::Upload | Op::MoveRemote { .. } | Op::CreateDirRemote => Side::Local,
            Op::Download | Op::MoveLocal { .. } | Op::CreateDirLocal => Side::Remote,
            _ => continue,
        };
        let path = &action.key.path;
        let own = (action.key.kind == EntryKind::Dir).then(|| path.clone());
        let mut at = own.or_else(|| path.parent());
        while let Some(folder) = at {
            at = folder.parent();
            if !folders.insert((from, folder)) {
                break;
            }
        }
    }
    for action in actions {
        let other = match action.op {
            Op::Upload => Side::Remote,
            Op::Download => Side::Local,
            _ => continue,
        };
        if folders.contains(&(other, action.key.path.clone())) {
            action.op = Op::Conflict {
                keeps: Keeps::Folder,
            };
            action.reason = Reason::FolderHasName(other);
        }
    }
}

/// Files of a remote without folders of its own that have others below their names. No folder can hold both, so there, too,
/// the folder keeps the name: a host may have put its files below the name before it saw the file of another one.
#[derive(Debug, Default)]
pub(super) struct Overgrown {
    /// Remote files whose names what comes next may begin with.
    open: Vec<Triple>,
    found: BTreeMap<RelPath, Triple>,
}

impl Overgrown {
    /// Looks at the next triple. They come in order, so a file comes before what lies below its name, and between them only
    /// what begins with the name. `goes` tells whether it is about to be deleted in the remote.
    pub(super) fn see(&mut self, triple: &Triple, goes: impl Fn() -> bool) {
        if triple.remote.is_none() || triple.key.kind == EntryKind::Dir {
            return;
        }
        let path = triple.key.path.as_str();
        while let Some(last) = self.open.last()
            && !path.starts_with(last.key.path.as_str())
        {
            self.open.pop();
        }
        // What was deleted here and is about to go there is in nobody's way.
        let was_deleted = triple.local.is_none() && triple.base.is_some();
        let stays = self.open.is_empty() || !was_deleted || !goes();
        for file in self.open.iter().filter(|_| stays) {
            let name = file.key.path.as_str();
            if path[name.len()..].starts_with('/') {
                let entry = self.found.entry(file.key.path.clone());
                entry.or_insert_with(|| file.clone());
            }
        }
        self.open.push(triple.clone());
    }

    /// What would be downloaded to the name of a folder becomes a conflict, and so does what is on both sides already.
    pub(super) fn give_way(&mut self, actions: &mut Vec<Action>) {
        let folder = Op::Conflict {
            keeps: Keeps::Folder,
        };
        let reason = Reason::FolderHasName(Side::Remote);
        for action in actions.iter_mut() {
            let of_file = action.key.kind == EntryKind::File;
            let found = of_file && self.found.remove(&action.key.path).is_some();
            if found && action.op == Op::Download {
                action.op = folder.clone();
                action.reason = reason;
            }
        }
        for (_, triple) in std::mem::take(&mut self.found) {
            if triple.local.is_some() {
                actions.push(*decide::act(&triple, folder.clone(), reason, false));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * 1_000_000_000;
    const NOW: i64 = 1_000_000 * MINUTE;

    fn winner(local_ns: i64, remote_ns: Option<i64>, provider_now_ns: Option<i64>) -> Side {
        newer(Times {
            local_ns,
            remote_ns,
            host_now_ns: NOW,
            provider_now_ns,
        })
    }

    #[test]
    fn the_newer_one_keeps_the_name_and_the_remote_where_that_cannot_be_told() {
        let clock = Some(NOW + 4 * MINUTE);
        let early = NOW - 60 * MINUTE;
        for (local, remote, clock, expected) in [
            (early + MINUTE, Some(early), clock, Side::Local),
            (early, Some(early + MINUTE), clock, Side::Remote),
            // A tie, also where one side stores no finer times.
            (early, Some(early), clock, Side::Remote),
            (early + COARSEST_TICK_NS, Some(early), clock, Side::Remote),
            (
                early + COARSEST_TICK_NS + 1,
                Some(early),
                clock,
                Side::Local,
            ),
            // No times, or none that can be.
            (early, None, clock, Side::Remote),
            (early, Some(0), clock, Side::Remote),
            (0, Some(early), clock, Side::Remote),
            (NOW + 6 * MINUTE, Some(early), clock, Side::Remote),
            (early, Some(NOW + 6 * MINUTE), clock, Side::Remote),
            // Clocks that do not agree, or cannot be compared.
            (
                early + MINUTE,
                Some(early),
                Some(NOW + 6 * MINUTE),
                Side::Remote,
            ),
            (
                early + MINUTE,
                Some(early),
                Some(NOW - 6 * MINUTE),
                Side::Remote,
            ),
            (early + MINUTE, Some(early), None, Side::Remote),
        ] {
            assert_eq!(
                winner(local, remote, clock),
                expected,
                "{local} {remote:?} {clock:?}"
            );
        }
    }

    #[test]
    fn conflict_names_are_counted_behind_the_whole_name() {
        for (path, attempt, name) in [
            ("a.txt", 1, "a.txt.conflict"),
            ("a.txt", 2, "a.txt.conflict2"),
            ("d/.env", 12, "d/.env.conflict12"),
            // A conflict about a copy.
            ("a.txt.conflict", 1, "a.txt.conflict"),
            ("a.txt.conflict3", 2, "a.txt.conflict2"),
            ("a.conflict.conflict2", 4, "a.conflict4"),
            // None of ours.
            ("a.conflict1", 1, "a.conflict1.conflict"),
            ("a.conflict02", 1, "a.conflict02.conflict"),
            ("a.conflict+2", 1, "a.conflict+2.conflict"),
            (".conflict", 2, ".conflict.conflict2"),
            ("a.conflicts", 1, "a.conflicts.conflict"),
        ] {
            let named = conflict_name(&RelPath::new(path).unwrap(), attempt).unwrap();
            assert_eq!(named.as_str(), name);
        }
    }

    #[test]
    fn a_copy_is_known_by_its_name() {
        for (path, original) in [
            ("d/a.txt.conflict", Some("d/a.txt")),
            ("a.conflict12", Some("a")),
            ("a.conflict.conflict", Some("a")),
            ("a", None),
            ("x.conflict/a", None),
            (".conflict", None),
            (".conflict2", None),
            ("a.conflict0", None),
            ("a.conflict99999999999", None),
        ] {
            let found = original_of(&RelPath::new(path).unwrap());
            assert_eq!(found.as_ref().map(RelPath::as_str), original, "{path}");
        }
    }
}
