//! The table of the module docs as a function of one triple.

use ows_providers::EntryKind;

use super::{
    Action, Caution, Changed, Direction, Op, Question, Reason, Record, Rules, Side, Skipped,
    Triple, bisync, merge, moves,
};
use crate::tree::BaseRow;

/// What is to be done about one path.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Nothing, and nothing to record.
    Unchanged,
    /// Only the base changes.
    Record(Record),
    /// Content must be read first.
    Ask(Question),
    /// Something is done.
    Act(Box<Action>),
    /// The path is left alone; when it is worth a word, with the word.
    Leave(Option<Skipped>),
    /// Something would have been done but for the caution of the run.
    Withheld(Withheld),
}

/// What caution kept from being done: the target keeps what it has.
#[derive(Debug, Clone)]
pub struct Withheld {
    /// The word about it.
    pub skipped: Skipped,
    /// The base row goes, since nothing is known of the past.
    pub forget: bool,
}

/// How one side stands to the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Absent,
    Same,
    /// Same content, but what was recorded about it is out of date.
    Touched,
    Changed,
    New,
    /// Only reading can tell `Same` from `Changed`.
    Doubtful,
}

/// Decides one path. Total: every triple has an outcome.
pub fn decide(rules: &Rules, triple: &Triple) -> Verdict {
    match decide_freely(rules, triple) {
        Verdict::Act(action) => restrain(rules, action),
        // It is left alone by every run: none of them reads it again.
        Verdict::Ask(Question::SidesEqual)
            if is_left_unread(rules.direction, rules.caution, triple) =>
        {
            let mut triple = triple.clone();
            triple.answers.sides_equal = Some(false);
            decide(rules, &triple)
        }
        other => other,
    }
}

/// Whether only the remote has changed, and that is left alone whatever it holds.
fn is_left_unread(direction: Direction, caution: Caution, triple: &Triple) -> bool {
    caution == Caution::OnlyOwn
        && direction == Direction::Push
        && matches!(local_state(triple), State::Same | State::Touched)
}

/// What caution leaves of an action.
fn restrain(rules: &Rules, mut action: Box<Action>) -> Verdict {
    let deletes = action.op.deletes_from().is_some();
    let replaces = match action.op {
        Op::Upload => action.remote.is_some(),
        Op::Download => action.local.is_some(),
        _ => false,
    };
    let withheld = |text: &str, forget| {
        Verdict::Withheld(Withheld {
            skipped: Skipped {
                path: action.key.path.to_string(),
                reason: format!("{}, but {text}, so it was left alone", action.reason.text()),
            },
            forget,
        })
    };
    match rules.caution {
        // What differs here was perhaps never synced: with its row gone, the next run takes both sides for new.
        Caution::OnlyAdd if rules.direction == Direction::Both && !bisync::only_fills(&action) => {
            withheld(
                "this run only adds what is missing in the workspace",
                action.is_known,
            )
        }
        Caution::OnlyAdd if deletes || replaces => {
            withheld("this run only adds what is missing", false)
        }
        Caution::OnlyOwn if !is_own(&action) => withheld(
            "another workspace pushes into this remote and this run carries over only what was done here",
            false,
        ),
        Caution::RolledBack if deletes => withheld("this run deletes nothing", action.is_known),
        Caution::RolledBack => {
            action.keep_displaced |= replaces;
            Verdict::Act(action)
        }
        Caution::None | Caution::OnlyAdd | Caution::OnlyOwn => Verdict::Act(action),
    }
}

/// Whether a push carries over what was done in the workspace. Else it undoes what was done in the remote. What is not
/// written to the remote is of no concern.
pub(super) fn is_own(action: &Action) -> bool {
    if action.op.writes_to() != Side::Remote {
        return true;
    }
    match action.reason {
        Reason::New(side)
        | Reason::Changed(side)
        | Reason::Deleted(side)
        | Reason::Renamed(side) => side == Side::Local,
        // New here, and something else is there.
        Reason::Differs(side) => side == Side::Remote,
        Reason::Edited(_) => action.op == Op::Upload && action.changed.local,
        Reason::Missing(_) | Reason::Stray(_) => false,
        // A merge takes nothing away from anybody.
        Reason::Newer(_) | Reason::FolderHasName(_) | Reason::Revived(_) | Reason::Occupied(_) => {
            true
        }
    }
}

fn decide_freely(rules: &Rules, triple: &Triple) -> Verdict {
    if let Some(reason) = &triple.answers.failed {
        return Verdict::Leave(Some(Skipped {
            path: triple.key.path.to_string(),
            reason: reason.clone(),
        }));
    }
    if triple.local_unknown || triple.remote_unknown {
        // The caller has reported the unknown path itself; a word for each path below it would only repeat it.
        return Verdict::Leave(None);
    }
    let local = local_state(triple);
    let remote = remote_state(triple);
    if local == State::Doubtful {
        return Verdict::Ask(Question::LocalIsBase);
    }
    let direction = rules.direction;
    let (source, target) = match direction {
        Direction::Push => (local, remote),
        Direction::Pull => (remote, local),
        Direction::Merge | Direction::Both if rules.ignore_base && triple.base.is_some() => {
            return without_base(rules, triple, local, remote);
        }
        Direction::Merge => return merge::decide(rules, triple, local, remote),
        Direction::Both => return bisync::decide(rules, triple, local, remote),
    };
    match (source, target) {
        (State::Absent, State::Absent) if triple.base.is_none() => Verdict::Unchanged,
        (State::Absent, State::Absent) => Verdict::Record(Record::Forget(triple.key.clone())),
        (State::Same, State::Same) => Verdict::Unchanged,
        (State::Absent, _) => delete(direction, triple, target),
        (State::Same | State::Touched, State::Same | State::Touched) => agree(triple),
        (_, State::Absent) => transfer(direction, triple, source, target),
        _ => differ(direction, triple, source, target),
    }
}

/// The outcome where the base says nothing but that both sides agree, if they still do.
fn without_base(rules: &Rules, triple: &Triple, local: State, remote: State) -> Verdict {
    let still = |state| matches!(state, State::Same | State::Touched);
    let both_absent = (local, remote) == (State::Absent, State::Absent);
    if both_absent || still(local) && still(remote) {
        return merge::decide(rules, triple, local, remote);
    }
    let mut bare = triple.clone();
    bare.base = None;
    merge::decide(rules, &bare, local_state(&bare), remote_state(&bare))
}

/// Both sides hold something, and at least one of them is not what the base records.
fn differ(direction: Direction, triple: &Triple, source: State, target: State) -> Verdict {
    if triple.key.kind == EntryKind::Dir {
        return agree(triple);
    }
    let sizes = (
        triple.local.as_ref().map(|side| side.size),
        triple.remote.as_ref().map(|side| side.size),
    );
    // One side is proved to be the base, the other proved not to be: no need to read.
    let proved_different = matches!(
        (local_state(triple), remote_state(triple)),
        (State::Changed, State::Same | State::Touched)
    );
    if sizes.0 != sizes.1 || proved_different {
        return transfer(direction, triple, source, target);
    }
    match triple.answers.sides_equal {
        None => Verdict::Ask(Question::SidesEqual),
        Some(true) => agree(triple),
        Some(false) => transfer(direction, triple, source, target),
    }
}

fn local_state(triple: &Triple) -> State {
    let Some(local) = &triple.local else {
        return State::Absent;
    };
    let Some(base) = &triple.base else {
        return State::New;
    };
    if triple.key.kind == EntryKind::Dir {
        return State::Same;
    }
    if local.size != base.local.size {
        return State::Changed;
    }
    let looks_unchanged = local.same_attributes(&base.local) && base.local.trusted();
    match triple.answers.local_is_base {
        // An audit that finds nothing leaves nothing to record.
        Some(true) if looks_unchanged => State::Same,
        Some(true) => State::Touched,
        Some(false) => State::Changed,
        None if looks_unchanged && !triple.audit => State::Same,
        None => State::Doubtful,
    }
}

fn remote_state(triple: &Triple) -> State {
    let Some(remote) = &triple.remote else {
        return State::Absent;
    };
    let Some(base) = &triple.base else {
        return State::New;
    };
    if triple.key.kind == EntryKind::Dir {
        return State::Same;
    }
    if base.remote.same_version(remote) {
        if base.remote.modified_at_ns.is_none() && remote.modified_at_ns.is_some() {
            return State::Touched;
        }
        return State::Same;
    }
    if base.remote.altered_by_store(remote) {
        return State::Touched;
    }
    State::Changed
}

/// Whether another version in the remote holds what the base records, by the hash that the remote tells.
pub(super) fn remote_holds_the_base(triple: &Triple) -> bool {
    match (&triple.base, &triple.remote) {
        (Some(base), Some(remote)) => {
            let recorded = &base.remote;
            recorded.size == remote.size && remote.hash.is_some() && recorded.hash == remote.hash
        }
        _ => false,
    }
}

/// The stored time of our own upload, when that is all that the base does not know.
fn only_stored_time(triple: &Triple) -> Option<i64> {
    let (base, remote) = (triple.base.as_ref()?, triple.remote.as_ref()?);
    let recorded = &base.remote;
    let only_time = recorded.same_version(remote)
        && recorded.modified_at_ns.is_none()
        && (remote.mtime_ns.is_none() || remote.mtime_ns == recorded.mtime_ns)
        && (remote.hash.is_none() || remote.hash == recorded.hash)
        && remote.id == recorded.id;
    (only_time && local_state(triple) == State::Same)
        .then_some(remote.modified_at_ns)
        .flatten()
}

/// Both sides hold the same content: the base shall say so.
pub(super) fn agree(triple: &Triple) -> Verdict {
    let (Some(local), Some(remote)) = (&triple.local, &triple.remote) else {
        return Verdict::Unchanged;
    };
    if let Some(modified_at_ns) = only_stored_time(triple) {
        let key = triple.key.clone();
        return Verdict::Record(Record::Stored {
            key,
            modified_at_ns,
        });
    }
    let mut local = local.clone();
    let mut remote = remote.clone();
    if let Some(base) = &triple.base {
        if local.blake3.is_none() && local_state(triple) != State::Changed {
            local.blake3 = base.local.blake3;
        }
        // What the store made of our upload is agreed, but it is not what we wrote: replacing it keeps a copy.
        remote.own = base.remote.own && base.remote.same_version(&remote);
        remote.mtime_ns = remote.mtime_ns.or(base.remote.mtime_ns);
        remote.hash = remote.hash.take().or_else(|| {
            base.remote
                .same_version(&remote)
                .then(|| base.remote.hash.clone())
                .flatten()
        });
    }
    // Its content was compared with ours, or is ours: nothing is lost when it is replaced.
    if triple.answers.sides_equal == Some(true) {
        remote.own = true;
    }
    let row = BaseRow {
        key: triple.key.clone(),
        local,
        remote,
    };
    Verdict::Record(Record::Agree(Box::new(row)))
}

/// Source and target, where one side is the truth.
fn ends(direction: Direction) -> (Side, Side) {
    match direction {
        Direction::Push => (Side::Local, Side::Remote),
        Direction::Pull | Direction::Merge | Direction::Both => (Side::Remote, Side::Local),
    }
}

pub(super) fn transfer(
    direction: Direction,
    triple: &Triple,
    source: State,
    target: State,
) -> Verdict {
    let (source_side, target_side) = ends(direction);
    let op = match (target_side, triple.key.kind) {
        (Side::Remote, EntryKind::File) => Op::Upload,
        (Side::Remote, EntryKind::Dir) => Op::CreateDirRemote,
        (Side::Local, EntryKind::File) => Op::Download,
        (Side::Local, EntryKind::Dir) => Op::CreateDirLocal,
    };
    let reason = match (source, target) {
        (State::New, State::Absent) => Reason::New(source_side),
        (State::New, _) => Reason::Differs(target_side),
        (State::Same | State::Touched, State::Absent) => Reason::Missing(target_side),
        (_, State::Changed | State::New) => Reason::Edited(target_side),
        _ => Reason::Changed(source_side),
    };
    Verdict::Act(act(
        triple,
        op,
        reason,
        displaces_something_else(triple, target_side, target),
    ))
}

pub(super) fn delete(direction: Direction, triple: &Triple, target: State) -> Verdict {
    let (source_side, target_side) = ends(direction);
    let op = match target_side {
        Side::Remote => Op::DeleteRemote,
        Side::Local => Op::DeleteLocal,
    };
    let reason = match target {
        State::New => Reason::Stray(target_side),
        State::Changed => Reason::Edited(target_side),
        _ => Reason::Deleted(source_side),
    };
    Verdict::Act(act(triple, op, reason, true))
}

/// Whether what a transfer replaces is anything but exactly the content that this replica itself last wrote or read.
fn displaces_something_else(triple: &Triple, target_side: Side, target: State) -> bool {
    match (target_side, target) {
        (_, State::Absent) => false,
        (Side::Local, State::Same | State::Touched) => false,
        (Side::Remote, State::Same | State::Touched) => {
            let recorded = triple.base.as_ref().map(|base| &base.remote);
            !matches!((recorded, &triple.remote), (Some(recorded), Some(seen)) if recorded.own && recorded.same_version(seen))
        }
        _ => true,
    }
}

pub(super) fn act(triple: &Triple, op: Op, reason: Reason, keep_displaced: bool) -> Box<Action> {
    // A folder may have got another spelling, where the remote folds names.
    let may_be_renamed = moves::may_be_renamed(triple.key.kind, &op, reason).is_some()
        || op == Op::DeleteRemote && triple.key.kind == EntryKind::Dir;
    Box::new(Action {
        key: triple.key.clone(),
        op,
        reason,
        local: triple.local.clone().map(Box::new),
        remote: triple.remote.clone().map(Box::new),
        base: triple
            .base
            .as_ref()
            .filter(|_| may_be_renamed)
            .map(|base| Box::new(base.clone())),
        is_known: triple.base.is_some(),
        keep_displaced,
        changed: changed(triple),
    })
}

fn changed(triple: &Triple) -> Changed {
    let local = local_state(triple) == State::Changed;
    let looks_the_same = match (&triple.base, &triple.local) {
        (Some(base), Some(local)) => local.same_attributes(&base.local),
        _ => false,
    };
    Changed {
        local,
        remote: remote_state(triple) == State::Changed,
        unseen: local && looks_the_same,
    }
}
