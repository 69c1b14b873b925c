//! Guards that look at a finished plan: they stop a run before it changes anything that a person did not mean.

use serde::Serialize;

use super::{Action, Direction, Op, Plan, Side};

/// The guards, by the names that `--force` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardName {
    /// The local folder is not the one that the base belongs to.
    LocalRoot,
    /// The remote folder is missing or empty, and the base is not.
    RemoteRoot,
    /// Too many deletes.
    MaxDelete,
    /// Too many files whose content was changed.
    MaxChange,
    /// No base yet, and something would be displaced.
    FirstSync,
    /// The database or the remote was put back in time. Warns and goes on.
    StateRollback,
    /// Folders that must not overlap do.
    Overlap,
}

impl GuardName {
    /// All guards.
    pub const ALL: [Self; 7] = [
        Self::LocalRoot,
        Self::RemoteRoot,
        Self::MaxDelete,
        Self::MaxChange,
        Self::FirstSync,
        Self::StateRollback,
        Self::Overlap,
    ];

    /// The name that `--force` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::LocalRoot => "local-root",
            Self::RemoteRoot => "remote-root",
            Self::MaxDelete => "max-delete",
            Self::MaxChange => "max-change",
            Self::FirstSync => "first-sync",
            Self::StateRollback => "state-rollback",
            Self::Overlap => "overlap",
        }
    }
}

impl std::str::FromStr for GuardName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|guard| guard.name() == text)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|guard| guard.name()).collect();
                format!(
                    "no guard has this name; the guards are {}",
                    names.join(", ")
                )
            })
    }
}

/// A guard that stopped a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// Which guard.
    pub name: GuardName,
    /// What it saw, for a person.
    pub message: String,
    /// How many files it is about.
    pub count: u64,
    /// Some of them, at most [`EXAMPLES`].
    pub examples: Vec<String>,
    /// What to type.
    #[serde(skip)]
    pub hint: String,
}

impl Stop {
    /// For a run with `--direction`: what it tells to type holds for such a run. Without the option the same words
    /// would start another run. What names a direction of its own keeps it.
    pub fn directed(mut self, direction: Option<Direction>) -> Self {
        let option = match direction {
            None => return self,
            Some(Direction::Push) => "push",
            Some(Direction::Pull) => "pull",
            // No option asks for these.
            Some(Direction::Merge | Direction::Both) => return self,
        };
        for with in ["--force", "--dry-run"] {
            self.hint = self.hint.replace(
                &format!("`ows sync {with}"),
                &format!("`ows sync --direction {option} {with}"),
            );
        }
        self
    }
}

/// How many names a guard gives.
pub const EXAMPLES: usize = 20;

/// Deletes, or changes, up to this number never stop a run, unless `maxDelete`, or `maxChange`, is 0.
pub const FEW: u64 = 10;

/// Guard `max-delete`: the plan would delete more than `percent` per cent of the larger of the base and what is listed
/// on that side, and more than [`FEW`] files. 0 stops at the first delete, 100 never.
pub fn max_delete(plan: &Plan, percent: u8) -> Option<Stop> {
    [Side::Remote, Side::Local].into_iter().find_map(|side| {
        let count = plan.deletes_on(side).count() as u64;
        let total = plan.totals.base.max(plan.totals.listed(side));
        exceeds(count, total, percent).then(|| Stop {
            name: GuardName::MaxDelete,
            message: format!(
                "{count} of {total} files would be deleted {}, more than maxDelete ({percent} %) allows",
                place(side)
            ),
            count,
            examples: examples(plan.deletes_on(side)),
            hint: "if the deletes are meant: `ows sync --force max-delete`; to see them all: \
                   `ows sync --dry-run -v`; nothing was changed"
                .to_owned(),
        })
    })
}

/// Guard `max-change`: on one side the content of more than `percent` per cent of the files was changed, counted as
/// [`max_delete`] counts. A bad script or an extortionist rewrites files, and what they wrote shall not be carried over
/// before a person has seen it.
pub fn max_change(plan: &Plan, percent: u8) -> Option<Stop> {
    [Side::Local, Side::Remote].into_iter().find_map(|side| {
        let count = plan.changes_on(side).count() as u64;
        let total = plan.totals.base.max(plan.totals.listed(side));
        exceeds(count, total, percent).then(|| Stop {
            name: GuardName::MaxChange,
            message: format!(
                "{count} of {total} files were changed {}, more than maxChange ({percent} %) allows",
                place(side)
            ),
            count,
            examples: examples(plan.changes_on(side)),
            hint: "if the changes are meant: `ows sync --force max-change`; to see what would be done: \
                   `ows sync --dry-run -v`; nothing was changed"
                .to_owned(),
        })
    })
}

/// Whether a guard that counts shall stop.
fn exceeds(count: u64, total: u64, percent: u8) -> bool {
    match percent {
        0 => count > 0,
        100.. => false,
        _ => count > FEW && u128::from(count) * 100 > u128::from(total) * u128::from(percent),
    }
}

/// Guard `remote-root`: the remote is missing or empty, and the base is not. After a rollback (`skips_caution`) a run
/// deletes nothing, unless it is told to.
pub fn remote_root(plan: &Plan, direction: Direction, skips_caution: bool) -> Stop {
    let skip = if skips_caution {
        " --force state-rollback"
    } else {
        ""
    };
    let hint = match direction {
        Direction::Push | Direction::Merge => {
            "if it is meant to be empty, and the workspace shall be pushed again: \
             `ows sync --force remote-root`; if it is another bucket or folder, correct the configuration; nothing was \
             changed"
                .to_owned()
        }
        Direction::Both => format!(
            "if it is another bucket or folder, correct the configuration; if the workspace shall be copied into it again: \
             `ows sync --resync --force remote-root`; if it is meant to be empty, and the workspace shall be emptied too \
             (into its trash): `ows sync --force remote-root --force max-delete{skip}`; nothing was changed"
        ),
        Direction::Pull => format!(
            "if it is meant to be empty, and the workspace shall be emptied too: \
             `ows sync --direction pull --force remote-root{skip}`; nothing was changed"
        ),
    };
    Stop {
        name: GuardName::RemoteRoot,
        message: format!(
            "the remote is missing or empty, and {} files were in sync with it before",
            plan.totals.base
        ),
        count: plan.totals.base,
        examples: Vec::new(),
        hint,
    }
}

/// What a first run would take from the side that gives way: deletes, and transfers over other content.
pub fn displaced(plan: &Plan) -> Vec<&Action> {
    plan.actions()
        .filter(|action| match action.op {
            Op::DeleteLocal | Op::DeleteRemote => action.key.kind == ows_providers::EntryKind::File,
            Op::Upload => action.remote.is_some(),
            Op::Download => action.local.is_some(),
            _ => false,
        })
        .collect()
}

/// Guard `first-sync`: no base, and the side that gives way holds files that would be removed or replaced.
pub fn first_sync(plan: &Plan, giving_way: Side) -> Option<Stop> {
    let displaced = displaced(plan);
    if displaced.is_empty() {
        return None;
    }
    let removed = displaced
        .iter()
        .filter(|action| action.op.deletes_from().is_some())
        .count();
    let replaced = displaced.len() - removed;
    let would = match (removed, replaced) {
        (removed, 0) => format!("{removed} would be removed"),
        (0, replaced) => format!("{replaced} would be replaced"),
        _ => format!("{removed} would be removed and {replaced} replaced"),
    };
    Some(Stop {
        name: GuardName::FirstSync,
        message: format!(
            "this is the first run, and {}: {would} (files in the workspace: \
             {}, in the remote: {})",
            match giving_way {
                Side::Local => "the workspace holds files that the remote does not",
                Side::Remote => "the remote holds files that the workspace does not",
            },
            plan.totals.local,
            plan.totals.remote,
        ),
        count: displaced.len() as u64,
        examples: examples(displaced.into_iter()),
        hint: match giving_way {
            Side::Local => "to take the remote as the truth, with what the workspace loses kept in its trash: \
                `ows sync --direction pull --force first-sync`; to see it all: `ows sync --direction pull --dry-run -v`; \
                nothing was changed",
            Side::Remote => "to make the workspace equal to the remote first: `ows sync --direction pull`, which stops once more if the \
               workspace would lose anything; to make the remote equal \
               to the workspace, with what it displaces kept in the trash: `ows sync --force first-sync`; to decide it \
               in the configuration: `firstSync`; nothing was changed",
        }
        .to_owned(),
    })
}

/// Guard `first-sync` in bisync mode: no base, and both sides hold something that the other does not. Where only one of
/// them does, or one is empty, uniting them surprises nobody.
pub fn join(plan: &Plan) -> Option<Stop> {
    let (mut here, mut there, mut differ) = (0_u64, 0_u64, 0_u64);
    let files = |action: &&Action| action.key.kind == ows_providers::EntryKind::File;
    for action in plan.actions().filter(files) {
        match action.op {
            Op::Upload => here += 1,
            Op::Download => there += 1,
            Op::Conflict { .. } => differ += 1,
            _ => {}
        }
    }
    let is_subset = here == 0 && differ == 0;
    if is_subset || plan.totals.local == 0 || plan.totals.remote == 0 {
        return None;
    }
    Some(Stop {
        name: GuardName::FirstSync,
        message: format!(
            "this is the first run, and both sides hold files: {here} only in the workspace, {there} only in the remote, \
             {differ} on both with different content"
        ),
        count: here + there + differ,
        examples: examples(plan.actions().filter(files)),
        hint: "to unite both sides: `ows sync --resync`, which deletes nothing: each side gets what only the other has, and \
               of what differs one keeps the name and the other stays beside it as `.conflict` (`firstSync: \"merge\"` does it \
               unattended); to see it first: `ows sync --resync --dry-run -v`; to take one side as the truth, with what the other \
               loses kept in the trash: `ows sync --direction pull --force first-sync` for the remote, `ows sync --direction \
               push --force first-sync` for the workspace; nothing was changed"
            .to_owned(),
    })
}

fn place(side: Side) -> &'static str {
    match side {
        Side::Local => "in the workspace",
        Side::Remote => "in the remote",
    }
}

fn examples<'a>(actions: impl Iterator<Item = &'a Action>) -> Vec<String> {
    let mut names: Vec<String> = actions.map(|action| action.key.path.to_string()).collect();
    names.sort();
    names.truncate(EXAMPLES);
    names
}
