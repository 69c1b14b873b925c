//! Folds decisions about single paths into a plan: keeps what is different, recognises moves, orders phases.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ows_providers::{EntryKind, NameRules, RelPath, SortKey};

use super::collisions::FoldedNames;
use super::decide::{Verdict, Withheld, decide};
use super::{
    Action, Answers, Direction, Keeps, Op, Plan, Question, Record, Side, Skipped, Triple,
    UnknownPaths, folders, merge, moves,
};

/// How far a run relies on what the base says of the past; the module's second table has the outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Caution {
    /// The base is this folder's and up to date.
    #[default]
    None,
    /// The folder that follows is perhaps not the one that the base speaks of: only what is absent there is created.
    OnlyAdd,
    /// Another workspace pushes into the same remote: only what was done in this one is carried over.
    OnlyOwn,
    /// The base, or the remote, is older than it was: nothing is deleted, and whatever is replaced is kept.
    RolledBack,
}

/// Which side's content keeps the name in a conflict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Resolve {
    /// The newer one, by [`merge::newer`].
    #[default]
    Newer,
    /// Always this side's.
    Always(Side),
}

/// What the planner must know beside the trees.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Which side is the truth.
    pub direction: Direction,
    /// How far the base is relied on.
    pub caution: Caution,
    /// The base counts only where both sides are still as it says: elsewhere it is as if there were none. For whoever
    /// unites both sides anew.
    pub ignore_base: bool,
    /// Others write to the remote as this replica does: what stands in the place of an upload of ours is theirs, and never
    /// taken for what the store made of ours, whatever its time says. Clocks go back, and within one second two hosts may
    /// store a file each.
    pub others_write: bool,
    /// Who keeps the name in a conflict.
    pub resolve: Resolve,
    /// The remote has folders of its own; without them, folders take no part.
    pub remote_folders: bool,
    /// The remote can copy or rename by itself, so that moves need no transfer.
    pub remote_moves: bool,
    /// Which names the remote can store.
    pub names: NameRules,
}

/// Takes triples in order, asks about content, and gives the plan.
///
/// 1. [`Planner::push`] each triple; 2. answer each of [`Planner::questions`] with [`Planner::answer`] until there is none;
/// 3. [`Planner::finish`].
#[derive(Debug)]
pub struct Planner {
    rules: Rules,
    plan: Plan,
    open: Vec<Triple>,
    actions: Vec<Action>,
    /// Folders that are to be deleted on a side.
    doomed: BTreeSet<(Side, RelPath)>,
    /// Those of them that stay, because something is in them that is no part of the plan.
    kept: BTreeSet<(Side, RelPath)>,
    names: FoldedNames,
    local_hashes: HashMap<SortKey, [u8; 32]>,
    hashes_asked: bool,
    /// What caution left where it is.
    withheld: BTreeSet<SortKey>,
    /// Remote files whose names begin the last one, and whether a local file has their name.
    above: Vec<(RelPath, bool)>,
    /// Those of them that are the folder of others, too.
    both: BTreeMap<RelPath, bool>,
    overgrown: merge::Overgrown,
}

impl Planner {
    /// A planner that has seen nothing yet.
    pub fn new(rules: Rules) -> Self {
        let plan = Plan {
            caution: rules.caution,
            ..Plan::default()
        };
        Self {
            rules,
            plan,
            open: Vec::new(),
            actions: Vec::new(),
            doomed: BTreeSet::new(),
            kept: BTreeSet::new(),
            names: FoldedNames::default(),
            local_hashes: HashMap::new(),
            hashes_asked: false,
            withheld: BTreeSet::new(),
            above: Vec::new(),
            both: BTreeMap::new(),
            overgrown: merge::Overgrown::default(),
        }
    }

    /// Takes the next triple.
    pub fn push(&mut self, mut triple: Triple) {
        if self.rules.others_write
            && let (Some(base), Some(remote)) = (&mut triple.base, &triple.remote)
            && !base.remote.same_version(remote)
        {
            base.remote.own = false;
        }
        if triple.remote.is_some() {
            self.names.see(&self.rules.names, &triple.key.path);
        }
        if triple.key.kind == EntryKind::Dir && !self.rules.remote_folders {
            if triple.base.is_some() {
                self.plan.records.push(Record::Forget(triple.key));
            }
            return;
        }
        if self.unites() && !self.rules.remote_folders {
            let goes = || match decide(&self.rules, &triple) {
                Verdict::Act(action) => action.op.deletes_from() == Some(Side::Remote),
                _ => false,
            };
            self.overgrown.see(&triple, goes);
        }
        if triple.key.kind == EntryKind::File {
            self.plan.totals.base += u64::from(triple.base.is_some());
            self.plan.totals.local += u64::from(triple.local.is_some());
            self.plan.totals.remote += u64::from(triple.remote.is_some());
            self.note_name(&triple);
        }
        self.consider(triple);
    }

    /// Notes a file of a store without folders that others have as their folder. Paths come in order, so those that one
    /// may lie below are a few that begin it, letter by letter.
    fn note_name(&mut self, triple: &Triple) {
        if triple.remote.is_none()
            || self.rules.remote_folders
            || self.rules.direction != Direction::Pull
        {
            return;
        }
        let path = &triple.key.path;
        self.above
            .retain(|(name, _)| path.as_str().starts_with(name.as_str()));
        for (name, is_here) in &self.above {
            if path.is_below(name) {
                self.both.insert(name.clone(), *is_here);
            }
        }
        self.above.push((path.clone(), triple.local.is_some()));
    }

    /// Whether both sides keep what they have.
    fn unites(&self) -> bool {
        matches!(self.rules.direction, Direction::Merge | Direction::Both)
    }

    /// What was counted so far.
    pub fn totals(&self) -> super::Totals {
        self.plan.totals
    }

    /// A path that no longer takes part (a pattern excludes it now): its row leaves the base, and nothing else happens.
    pub fn forget(&mut self, key: SortKey) {
        self.plan.records.push(Record::Forget(key));
    }

    /// Something on a side takes no part: the folders above it stay, or every run would try to delete them. Paths come in
    /// order, so those folders have come before.
    pub fn occupied(&mut self, side: Side, path: &RelPath) {
        if side == Side::Remote {
            self.names.see(&self.rules.names, path);
        }
        if self.doomed.is_empty() {
            return;
        }
        for folder in std::iter::successors(path.parent(), RelPath::parent) {
            self.kept.extend(self.doomed.take(&(side, folder)));
        }
    }

    /// What is left alone, or not carried over, stays on the sides that have it. One-way runs find that out when they come
    /// to delete the folder.
    fn stays(&mut self, triple: &Triple) {
        if self.rules.direction != Direction::Both {
            return;
        }
        if triple.local.is_some() {
            self.occupied(Side::Local, &triple.key.path);
        }
        if triple.remote.is_some() {
            self.occupied(Side::Remote, &triple.key.path);
        }
    }

    /// A path that is left alone and makes the run incomplete.
    pub fn skip(&mut self, skipped: Skipped) {
        self.plan.skipped.push(skipped);
    }

    /// Leaves alone what `unknown` covers, also where it passed before it was known to be unknown.
    pub fn leave(&mut self, side: Side, unknown: &UnknownPaths) {
        if unknown.is_empty() {
            return;
        }
        for triple in &mut self.open {
            let covered = unknown.covers(&triple.key.path);
            match side {
                Side::Local => triple.local_unknown |= covered,
                Side::Remote => triple.remote_unknown |= covered,
            }
        }
        if self.rules.direction == Direction::Both {
            for path in unknown.iter() {
                self.occupied(side, path);
            }
        }
        self.actions
            .retain(|action| !unknown.covers(&action.key.path));
        self.plan.records.retain(|record| match record {
            Record::Agree(_) | Record::Stored { .. } => true,
            Record::Forget(key) => !unknown.covers(&key.path),
        });
    }

    fn consider(&mut self, triple: Triple) {
        match self.decide(&triple) {
            Verdict::Unchanged => self.count_unchanged(&triple),
            Verdict::Record(record) => {
                if !matches!(record, Record::Forget(_)) {
                    self.count_unchanged(&triple);
                }
                self.plan.records.push(record);
            }
            Verdict::Ask(_) => self.open.push(triple),
            Verdict::Act(action) => self.accept(*action),
            Verdict::Leave(skipped) => {
                self.stays(&triple);
                self.plan.undecided += u64::from(triple.answers.failed.is_some());
                self.plan.skipped.extend(skipped);
            }
            Verdict::Withheld(Withheld { skipped, forget }) => {
                self.plan.skipped.push(skipped);
                self.plan.withheld += 1;
                if triple.remote.is_some() {
                    self.occupied(Side::Remote, &triple.key.path);
                }
                self.stays(&triple);
                if forget {
                    self.plan.records.push(Record::Forget(triple.key.clone()));
                }
                // Where folders take no part, those above it stay all the same.
                let above = std::iter::successors(triple.key.path.parent(), RelPath::parent);
                self.withheld.extend(above.map(SortKey::dir));
                self.withheld.insert(triple.key);
            }
        }
    }

    fn decide(&self, triple: &Triple) -> Verdict {
        decide(&self.rules, triple)
    }

    fn count_unchanged(&mut self, triple: &Triple) {
        self.plan.unchanged += u64::from(triple.key.kind == EntryKind::File);
    }

    fn accept(&mut self, action: Action) {
        if matches!(action.op, Op::Upload | Op::CreateDirRemote)
            && let Some(objection) = self.rules.names.objection(&action.key.path)
        {
            self.plan.skipped.push(Skipped {
                path: action.key.path.to_string(),
                reason: format!("the remote cannot store this name: {objection}"),
            });
            if self.rules.direction == Direction::Both {
                self.occupied(Side::Local, &action.key.path);
            }
            return;
        }
        if let Some(side) = action.op.deletes_from()
            && action.key.kind == EntryKind::Dir
        {
            self.doomed.insert((side, action.key.path.clone()));
        }
        self.actions.push(action);
    }

    /// Whether so many triples wait for an answer.
    pub fn is_waiting_for(&self, answers: usize) -> bool {
        self.open.len() >= answers
    }

    /// Forgets what the base would have to learn: for whoever only compares.
    pub fn drop_records(&mut self) {
        self.plan.records.clear();
    }

    /// What must be read before the plan is complete: each with its triple. Empty when nothing is left to ask.
    pub fn questions(&mut self) -> Vec<(Triple, Question)> {
        let open = std::mem::take(&mut self.open);
        let mut questions = Vec::with_capacity(open.len());
        for triple in open {
            match self.decide(&triple) {
                Verdict::Ask(question) => questions.push((triple, question)),
                _ => self.consider(triple),
            }
        }
        if questions.is_empty() && !self.hashes_asked {
            self.hashes_asked = true;
            questions = moves::questions(&self.rules, &self.actions);
        }
        questions
    }

    /// Takes the answer to a question.
    pub fn answer(
        &mut self,
        mut triple: Triple,
        question: Question,
        answers: Answers,
        blake3: Option<[u8; 32]>,
    ) {
        if question == Question::LocalHash {
            if let Some(hash) = blake3 {
                self.local_hashes.insert(triple.key, hash);
            }
            return;
        }
        if let (Some(local), Some(hash)) = (&mut triple.local, blake3) {
            local.blake3 = Some(hash);
        }
        triple.answers = answers;
        self.consider(triple);
    }

    /// The plan.
    pub fn finish(mut self) -> Plan {
        debug_assert!(self.open.is_empty(), "every question has its answer");
        let kept = std::mem::take(&mut self.kept);
        let both = self.rules.direction == Direction::Both;
        if !both {
            let stays = |action: &Action| {
                action.op == Op::DeleteRemote
                    && action.key.kind == EntryKind::Dir
                    && kept.contains(&(Side::Remote, action.key.path.clone()))
            };
            self.actions.retain(|action| !stays(action));
        }
        self.withhold_what_has_no_room();
        self.settle_names_of_files_and_folders();
        let needs = |actions: &[Action]| folders::Needs::of(actions, self.rules.remote_folders);
        let actions = std::mem::take(&mut self.actions);
        let needed = needs(&actions);
        let (mut actions, again) =
            moves::recognise(&self.rules, actions, &self.local_hashes, &needed);
        if both {
            folders::bring_back_what_is_not_empty(&mut actions, &kept);
        }
        if self.unites() {
            self.overgrown.give_way(&mut actions);
            merge::let_folders_keep_their_names(&mut actions);
        }
        let settled = std::mem::take(&mut self.names).settle(&self.rules.names, actions);
        let mut actions = settled.actions;
        let mut blocked = needs(&actions).make_room(&actions);
        blocked.extend(settled.clears);
        let mut plan = self.plan;
        plan.again = again;
        plan.brings_back = both;
        plan.skipped.extend(settled.skipped);
        let transfers = |action: &mut Action| matches!(action.op, Op::Upload | Op::Download);
        // The others are taken out: of a million transfers there is no second list at any time.
        for action in actions.extract_if(.., |action| !transfers(action)) {
            match &action.op {
                Op::Upload | Op::Download => {}
                // The file makes room for the folder.
                Op::Conflict {
                    keeps: Keeps::Folder,
                } => plan.clears.push(action),
                Op::Conflict { .. } => plan.conflicts.push(action),
                Op::CreateDirLocal | Op::CreateDirRemote => plan.create_dirs.push(action),
                // A folder's new name comes before those of what is in it.
                Op::MoveRemote { .. } if action.key.kind == EntryKind::Dir => {
                    plan.create_dirs.push(action)
                }
                Op::MoveLocal { .. } | Op::MoveRemote { .. } => plan.moves.push(action),
                Op::DeleteLocal | Op::DeleteRemote => {
                    if blocked.contains(&action.key) {
                        plan.clears.push(action);
                    } else {
                        plan.deletes.push(action);
                    }
                }
            }
        }
        plan.transfers = actions;
        plan.create_dirs.sort_by(|a, b| a.key.cmp(&b.key));
        // Backwards, what lies in a folder comes before the folder.
        plan.clears.sort_by(|a, b| b.key.cmp(&a.key));
        plan.deletes.sort_by(|a, b| b.key.cmp(&a.key));
        plan
    }

    /// What was left alone keeps its name: a file there is no folder, and a folder there is no file.
    fn withhold_what_has_no_room(&mut self) {
        if self.withheld.is_empty() {
            return;
        }
        let withheld = std::mem::take(&mut self.withheld);
        let has_folders = |side| side == Side::Local || self.rules.remote_folders;
        let no_room = |action: &Action| {
            if !has_folders(action.op.writes_to()) {
                return false;
            }
            let path = &action.key.path;
            let other = match action.key.kind {
                EntryKind::File => SortKey::dir(path.clone()),
                EntryKind::Dir => SortKey::file(path.clone()),
            };
            withheld.contains(&other)
                || std::iter::successors(path.parent(), RelPath::parent)
                    .any(|folder| withheld.contains(&SortKey::file(folder)))
        };
        let (left, actions): (Vec<_>, Vec<_>) = std::mem::take(&mut self.actions)
            .into_iter()
            .partition(no_room);
        self.actions = actions;
        self.plan.withheld += left.len() as u64;
        if self.rules.direction == Direction::Both {
            // With its row kept it would count as deleted here, and the next run would delete it there.
            let known = left.iter().filter(|action| action.is_known);
            let forget = known.map(|action| Record::Forget(action.key.clone()));
            self.plan.records.extend(forget);
        }
        self.plan
            .skipped
            .extend(left.into_iter().map(|action| {
                Skipped {
                    path: action.key.path.to_string(),
                    reason: "something that was left alone has its name, so it was left alone too"
                        .to_owned(),
                }
            }));
    }

    /// A store without folders can hold a file under the name that others have as their folder, and no folder here can.
    /// The file here keeps its name; where there is none, the folder does. What has no room is told at every run, until
    /// somebody renames one of them.
    fn settle_names_of_files_and_folders(&mut self) {
        let both = std::mem::take(&mut self.both);
        if both.is_empty() {
            return;
        }
        let reason = |action: &Action| {
            let path = &action.key.path;
            let above = || std::iter::successors(path.parent(), RelPath::parent);
            if action.op != Op::Download {
                return None;
            }
            if both.get(path) == Some(&false) {
                return Some(format!(
                    "the remote holds a file `{path}` and others in a folder of this name, and a folder here can have only \
                     one of them: the folder is synced, the file is left alone; rename one of them in the remote"
                ));
            }
            let holder = above().find(|folder| both.get(folder) == Some(&true))?;
            Some(format!(
                "the remote holds a file `{holder}` and this one in a folder of that name, and a folder here can have only \
                 one of them: the file is synced, the folder is left alone; rename one of them in the remote"
            ))
        };
        let (mut kept, mut left) = (Vec::with_capacity(self.actions.len()), Vec::new());
        for action in std::mem::take(&mut self.actions) {
            match reason(&action) {
                None => kept.push(action),
                Some(reason) => left.push(Skipped {
                    path: action.key.path.to_string(),
                    reason,
                }),
            }
        }
        self.actions = kept;
        self.plan.skipped.extend(left);
    }
}
