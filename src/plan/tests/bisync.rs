//! Runs in which both sides may change: the table of [`crate::plan::bisync`] row by row, all small worlds, and random
//! trees that were changed on both sides.

use super::*;

const ROWS: &str = include_str!("../bisync.rs");

fn file(content: u8, state: u8) -> Option<File> {
    Some(File { content, state })
}

/// The table of the module docs: base, one side, other side, outcome.
fn table() -> Vec<[String; 4]> {
    let lines = ROWS.lines().filter_map(|line| line.strip_prefix("//! | "));
    let rows = lines.filter(|line| !line.starts_with("base ") && !line.starts_with("--"));
    rows.map(|line| {
        let cells: Vec<String> = line
            .trim_end_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect();
        <[String; 4]>::try_from(cells).expect("four columns")
    })
    .collect()
}

/// Whether a cell of the table speaks of a file. `base` is its content in the base; a remote file of another version that
/// there is no local one to compare with counts as changed, whatever it holds.
fn speaks_of(cell: &str, base: Option<u8>, file: Option<File>, unknown: bool) -> bool {
    match (cell, file) {
        ("any", _) => true,
        ("unknown", _) => unknown,
        ("absent", None) => !unknown,
        ("same", Some(file)) => !unknown && base == Some(file.content),
        ("changed", Some(file)) => !unknown && base.is_some_and(|base| base != file.content),
        ("new", Some(_)) => !unknown && base.is_none(),
        ("absent" | "same" | "changed" | "new", _) => false,
        (other, _) => panic!("the table speaks of `{other}`"),
    }
}

/// What a plan does, in the words of the table, seen from the `other` side.
fn does(plan: &Plan, other: Side, equal: bool) -> String {
    let text = match plan.actions().collect::<Vec<_>>()[..] {
        [action] => match (&action.op, action.reason) {
            (Op::Upload | Op::Download, Reason::Revived(side)) => {
                assert_eq!(side, other, "the change is on the other side");
                "the change wins: copied back, reported"
            }
            (Op::Upload | Op::Download, _) => "copied across",
            (op, _) if op.deletes_from() == Some(other) => "deleted there, to the trash",
            (Op::Conflict { .. }, _) if !equal => "`=`: record; else a conflict",
            (op, reason) => panic!("{op:?} {reason:?}"),
        },
        [] => match plan.records[..] {
            [Record::Forget(_)] => "forget the row",
            [Record::Agree(_)] if equal => "`=`: record; else a conflict",
            [] => "nothing",
            _ => panic!("{plan:?}"),
        },
        _ => panic!("{plan:?}"),
    };
    text.to_owned()
}

#[test]
fn every_cell_has_the_outcome_that_the_docs_tell() {
    let table = table();
    assert_eq!(table.len(), 9);
    let files = [
        None,
        file(1, 0),
        file(1, 1),
        file(2, 1),
        file(4, 1),
        file(3, 1),
    ];
    let mut used = BTreeSet::new();
    for base in [None, Some(1)] {
        for (one_file, other_file) in files
            .into_iter()
            .flat_map(|one| files.map(|other| (one, other)))
        {
            for (unknown, side) in [None, Some(Side::Local), Some(Side::Remote)]
                .into_iter()
                .flat_map(|unknown| [(unknown, Side::Local), (unknown, Side::Remote)])
            {
                if (base, one_file, other_file) == (None, None, None) {
                    continue;
                }
                let (local, remote) = match side {
                    Side::Local => (one_file, other_file),
                    Side::Remote => (other_file, one_file),
                };
                if local.is_none() && remote == file(1, 1) && base.is_some() {
                    continue;
                }
                let is_row = |row: &[String; 4]| {
                    let [base_cell, one_cell, other_cell, _] = row;
                    let base_fits = match base_cell.as_str() {
                        "any" => true,
                        "yes" => base.is_some(),
                        _ => base.is_none(),
                    };
                    base_fits
                        && speaks_of(one_cell, base, one_file, unknown == Some(side))
                        && speaks_of(other_cell, base, other_file, unknown == Some(other(side)))
                };
                let Some(row) = table.iter().position(is_row) else {
                    continue;
                };
                used.insert((row, base, side));
                let world = one(base, local, remote);
                let plan = plan_with(&world, Direction::Both, |triple| {
                    triple.local_unknown = unknown == Some(Side::Local);
                    triple.remote_unknown = unknown == Some(Side::Remote);
                });
                let equal =
                    one_file.map(|file| file.content) == other_file.map(|file| file.content);
                let mut done = does(&plan, other(side), equal);
                let expected = &table[row][3];
                // A file that only looks another one is recorded as it looks now.
                if expected == "nothing" && done == "`=`: record; else a conflict" {
                    done = "nothing".into();
                }
                let left_alone = expected == "left alone, reported";
                if left_alone && done == "nothing" {
                    assert!(plan.records.is_empty());
                    continue;
                }
                assert_eq!(
                    &done, expected,
                    "base {base:?}, {side:?} {one_file:?}, other side {other_file:?}"
                );
            }
        }
    }
    // Each row was met, from either side.
    assert!((0..table.len()).all(|row| {
        [Side::Local, Side::Remote].into_iter().all(|side| {
            used.iter()
                .any(|(met, _, from)| (*met, *from) == (row, side))
        })
    }));
}

#[test]
fn every_cell_is_met_by_a_row_from_one_side_or_the_other() {
    let table = table();
    let files = [None, file(1, 0), file(1, 1), file(2, 1), file(3, 1)];
    for base in [None, Some(1)] {
        for local in files {
            for remote in files {
                if (base, local, remote) == (None, None, None) {
                    continue;
                }
                let fits = |one, other| {
                    table.iter().any(|[base_cell, one_cell, other_cell, _]| {
                        (base_cell == "any" || (base_cell == "yes") == base.is_some())
                            && speaks_of(one_cell, base, one, false)
                            && speaks_of(other_cell, base, other, false)
                    })
                };
                assert!(
                    fits(local, remote) || fits(remote, local),
                    "{base:?} {local:?} {remote:?}"
                );
            }
        }
    }
}

impl World {
    fn side(&self, side: Side) -> &Tree {
        match side {
            Side::Local => &self.local,
            Side::Remote => &self.remote,
        }
    }

    fn agree_on(&mut self, path: &str, node: Node) {
        let path = RelPath::new(path).unwrap();
        let row = match node {
            Node::Dir => {
                let key = SortKey::dir(path);
                (dir_row(&key), 0, key)
            }
            Node::File(file) => {
                let key = SortKey::file(path);
                (base_row(&key, file, file), file.content, key)
            }
        };
        self.base.insert(row.2, (row.0, row.1));
    }

    fn shown(&self) -> String {
        let base: BTreeMap<_, _> = self
            .base
            .iter()
            .map(|(key, (_, content))| (key.to_text(), content))
            .collect();
        format!(
            "base {base:?}\nlocal {:?}\nremote {:?}",
            World::shape(&self.local),
            World::shape(&self.remote)
        )
    }

    /// What a person made: content that the base does not know.
    fn made(&self) -> BTreeSet<u8> {
        let known: BTreeSet<u8> = self.base.values().map(|(_, content)| *content).collect();
        self.held().difference(&known).copied().collect()
    }

    fn held(&self) -> BTreeSet<u8> {
        let local = World::files(&self.local).into_values();
        local
            .chain(World::files(&self.remote).into_values())
            .collect()
    }

    /// As many passes as a run makes.
    fn bisync(&mut self) -> Result<Vec<Plan>, String> {
        let mut plans = Vec::new();
        for _ in 0..3 {
            let plan = plan(self, Direction::Both);
            check_deletes(self, &plan)?;
            self.carry_out(&plan);
            let again = plan.again;
            plans.push(plan);
            if !again {
                return Ok(plans);
            }
        }
        Err("it wants another pass for ever".to_owned())
    }

    fn converged(&self) -> Result<(), String> {
        if World::files(&self.local) != World::files(&self.remote) {
            return Err(format!("differ: {}", self.shown()));
        }
        if self.remote_folders && World::shape(&self.local) != World::shape(&self.remote) {
            return Err(format!(
                "folders differ: {:?} and {:?}",
                self.local, self.remote
            ));
        }
        let second = plan(self, Direction::Both);
        if second.is_quiet() && second.records.is_empty() && !second.again {
            return Ok(());
        }
        let todo: Vec<_> = second
            .actions()
            .map(|action| (action.op.name(), &action.key, action.reason))
            .collect();
        Err(format!("not quiet: {todo:?} {:?}", second.records))
    }
}

/// A file is deleted only where it is what the base says, and the other side has no file.
fn check_deletes(world: &World, plan: &Plan) -> Result<(), String> {
    for action in plan.actions() {
        let Some(side) = action.op.deletes_from() else {
            continue;
        };
        if action.key.kind == EntryKind::Dir {
            continue;
        }
        let path = action.key.path.as_str();
        let known = world.base.get(&action.key).map(|(_, content)| *content);
        let there = World::files(world.side(side)).get(path).copied();
        let elsewhere = World::files(world.side(other(side))).contains_key(path);
        if known.is_none() || known != there || elsewhere || !action.keep_displaced {
            return Err(format!("nobody has deleted it: {action:?}"));
        }
    }
    Ok(())
}

/// A run keeps what people made, ends with both sides equal, and has nothing to do afterwards.
fn survives(start: &World) -> Result<(), String> {
    let mut world = start.clone();
    world.bisync()?;
    world.converged()?;
    let lost: Vec<u8> = start.made().difference(&world.held()).copied().collect();
    if lost.is_empty() {
        return Ok(());
    }
    Err(format!("lost {lost:?}"))
}

/// Every tree of the names `a`, `a/x`, and `b`, with so many contents.
fn small_trees(contents: u8) -> Vec<Vec<(&'static str, Option<u8>)>> {
    let mut trees = Vec::new();
    let mut first: Vec<Vec<(&str, Option<u8>)>> = vec![vec![], vec![("a", None)]];
    for content in 1..=contents {
        first.push(vec![("a", Some(content))]);
        first.push(vec![("a", None), ("a/x", Some(content))]);
    }
    for tree in first {
        trees.push(tree.clone());
        for content in 1..=contents {
            let mut with = tree.clone();
            with.push(("b", Some(content)));
            trees.push(with);
        }
    }
    trees
}

fn small_world(
    base: &[(&str, Option<u8>)],
    local: &[(&str, Option<u8>)],
    remote: &[(&str, Option<u8>)],
    remote_folders: bool,
) -> World {
    let mut world = World {
        remote_folders,
        ..World::default()
    };
    let node = |content: Option<u8>, state| match content {
        None => Node::Dir,
        Some(content) => Node::File(File { content, state }),
    };
    for (path, content) in base {
        if remote_folders || content.is_some() {
            world.agree_on(path, node(*content, 0));
        }
    }
    for (side, tree) in [(Side::Local, local), (Side::Remote, remote)] {
        for (path, content) in tree {
            let is_same = base.contains(&(path, *content));
            if side == Side::Local || remote_folders || content.is_some() {
                let node = node(*content, u8::from(!is_same));
                world.tree(side).insert((*path).to_owned(), node);
            }
        }
    }
    world
}

#[test]
fn every_small_world_survives() {
    let trees = small_trees(3);
    let mut count = 0_usize;
    // Of two million there is time for some in each run, and for all when they are asked for.
    let step = if std::env::var_os("OWS_SEEDS").is_some() {
        1
    } else {
        19
    };
    for base in &trees {
        for local in &trees {
            for remote in &trees {
                count += 1;
                if !count.is_multiple_of(step) {
                    continue;
                }
                for remote_folders in [false, true] {
                    let world = small_world(base, local, remote, remote_folders);
                    if let Err(reason) = survives(&world) {
                        panic!(
                            "{reason}\nbase {base:?}\nlocal {local:?}\nremote {remote:?}\nfolders {remote_folders}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn without_the_past_and_with_caution_nothing_is_deleted_in_any_small_world() {
    let trees = small_trees(2);
    let resolves = [
        Resolve::Newer,
        Resolve::Always(Side::Local),
        Resolve::Always(Side::Remote),
    ];
    for (number, ((base, local), remote)) in trees
        .iter()
        .flat_map(|base| trees.iter().map(move |local| (base, local)))
        .flat_map(|pair| trees.iter().map(move |remote| (pair, remote)))
        .enumerate()
    {
        let world = small_world(base, local, remote, number % 2 == 0);
        for (caution, ignore_base) in [
            (Caution::None, true),
            (Caution::OnlyAdd, false),
            (Caution::RolledBack, true),
        ] {
            let rules = Rules {
                caution,
                ignore_base,
                resolve: resolves[number % 3],
                ..rules(Direction::Both, &world)
            };
            let plan = plan_by(rules, &world, |_| {});
            for action in plan.actions() {
                assert_eq!(action.op.deletes_from(), None, "{caution:?} {action:?}");
                if caution == Caution::OnlyAdd {
                    assert!(
                        matches!(action.op, Op::Download | Op::CreateDirLocal),
                        "{action:?}"
                    );
                    assert!(action.local.is_none(), "{action:?}");
                }
            }
            let mut after = world.clone();
            if caution != Caution::OnlyAdd {
                after.carry_out(&plan);
            }
            let lost: Vec<u8> = world.made().difference(&after.held()).copied().collect();
            assert!(lost.is_empty(), "{lost:?} {caution:?} {world:?} {plan:?}");
        }
    }
}

const PLACES: [&str; 10] = [
    "a", "a/x", "a/y", "a-b", "b", "b/x", "b/x/z", "c", "d/e", "d/f/g",
];

/// What a person does on one side. The second place is the other name of a rename or swap.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Write(usize),
    /// The same as is written on the other side by the deed with this number.
    WriteSame(usize, u8),
    Touch(usize),
    Delete(usize),
    Rename(usize, usize),
    Swap(usize, usize),
    Retype(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let place = || 0..PLACES.len();
    prop_oneof![
        4 => place().prop_map(Deed::Write),
        1 => (place(), 0..3_u8).prop_map(|(place, same)| Deed::WriteSame(place, same)),
        1 => place().prop_map(Deed::Touch),
        3 => place().prop_map(Deed::Delete),
        4 => (place(), place()).prop_map(|(from, to)| Deed::Rename(from, to)),
        1 => (place(), place()).prop_map(|(one, other)| Deed::Swap(one, other)),
        2 => place().prop_map(Deed::Retype),
    ]
}

/// A tree on which deeds are done as a file system lets them be done.
struct Hand<'a> {
    tree: &'a mut Tree,
    folders: bool,
    fresh: u8,
}

impl Hand<'_> {
    fn below(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}/");
        let names = self.tree.keys();
        names
            .filter(|name| name.starts_with(&prefix) || *name == path)
            .cloned()
            .collect()
    }

    fn is_free(&self, path: &str) -> bool {
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        self.below(path).is_empty()
            && above
                .into_iter()
                .all(|folder| !matches!(self.tree.get(folder), Some(Node::File(_))))
    }

    fn put(&mut self, path: &str, node: Node) {
        if self.folders {
            for (end, _) in path.match_indices('/') {
                self.tree.insert(path[..end].to_owned(), Node::Dir);
            }
        }
        if self.folders || node != Node::Dir {
            self.tree.insert(path.to_owned(), node);
        }
    }

    fn file(&mut self, content: u8) -> Node {
        self.fresh += 1;
        let state = self.fresh;
        Node::File(File { content, state })
    }

    fn write(&mut self, path: &str, content: u8) {
        let is_file = matches!(self.tree.get(path), Some(Node::File(_)));
        if is_file || self.is_free(path) {
            let node = self.file(content);
            self.put(path, node);
        }
    }

    fn take(&mut self, path: &str) -> Vec<(String, Node)> {
        let names = self.below(path);
        names
            .into_iter()
            .filter_map(|name| {
                let node = self.tree.remove(&name)?;
                Some((name[path.len()..].to_owned(), node))
            })
            .collect()
    }

    fn give(&mut self, path: &str, taken: Vec<(String, Node)>) {
        for (rest, node) in taken {
            let node = match node {
                Node::Dir => Node::Dir,
                // A new name is a new state on both sides.
                Node::File(old) => self.file(old.content),
            };
            self.put(&format!("{path}{rest}"), node);
        }
    }

    fn does(&mut self, deed: Deed) {
        let fresh = self.fresh + 1;
        match deed {
            Deed::Write(place) => self.write(PLACES[place], fresh),
            Deed::WriteSame(place, same) => self.write(PLACES[place], 240 + same),
            Deed::Touch(place) => {
                if let Some(Node::File(old)) = self.tree.get(PLACES[place]).copied() {
                    let node = self.file(old.content);
                    self.put(PLACES[place], node);
                }
            }
            Deed::Delete(place) => drop(self.take(PLACES[place])),
            Deed::Rename(from, to) => {
                let (from, to) = (PLACES[from], PLACES[to]);
                let is_inside = to.starts_with(&format!("{from}/"));
                if self.is_free(to) && !is_inside {
                    let taken = self.take(from);
                    self.give(to, taken);
                }
            }
            Deed::Swap(one, other) => {
                let (one, other) = (PLACES[one], PLACES[other]);
                let apart = !one.starts_with(other) && !other.starts_with(one);
                if apart && !self.below(one).is_empty() && !self.below(other).is_empty() {
                    let (first, second) = (self.take(one), self.take(other));
                    self.give(one, second);
                    self.give(other, first);
                }
            }
            Deed::Retype(place) => {
                let path = PLACES[place];
                let was_file = matches!(self.tree.get(path), Some(Node::File(_)));
                if self.take(path).is_empty() {
                    return;
                }
                if was_file {
                    self.write(&format!("{path}/n"), fresh);
                } else {
                    self.write(path, fresh);
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
struct History {
    origin: Vec<(usize, u8)>,
    local: Vec<Deed>,
    remote: Vec<Deed>,
    remote_folders: bool,
    no_hashes: bool,
}

fn history() -> impl Strategy<Value = History> {
    (
        prop::collection::vec((0..PLACES.len(), 1..6_u8), 0..7),
        prop::collection::vec(deed(), 0..6),
        prop::collection::vec(deed(), 0..6),
        any::<bool>(),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(origin, local, remote, remote_folders, no_hashes)| History {
                origin,
                local,
                remote,
                remote_folders,
                no_hashes,
            },
        )
}

impl History {
    fn world(&self) -> World {
        let mut world = World {
            remote_folders: self.remote_folders,
            no_hashes: self.no_hashes,
            ..World::default()
        };
        let mut hand = Hand {
            tree: &mut world.local,
            folders: true,
            fresh: 0,
        };
        for (place, content) in &self.origin {
            hand.write(PLACES[*place], *content);
        }
        world.run(Direction::Push);
        for (side, deeds, fresh) in [
            (Side::Local, &self.local, 20),
            (Side::Remote, &self.remote, 120),
        ] {
            let folders = world.has_folders(side);
            let mut hand = Hand {
                tree: world.tree(side),
                folders,
                fresh,
            };
            for deed in deeds {
                hand.does(*deed);
            }
        }
        world
    }
}

/// The plan's actions with those that may be carried out in any order turned round.
fn turned_round(mut plan: Plan) -> Plan {
    plan.moves.reverse();
    plan.transfers.reverse();
    plan.conflicts.reverse();
    plan
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("OWS_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_done_on_both_sides_is_on_both_sides_and_nothing_is_lost(history in history()) {
        let start = history.world();
        if let Err(reason) = survives(&start) {
            prop_assert!(false, "{}\n{}", reason, start.shown());
        }
    }

    #[test]
    fn a_plan_is_the_same_each_time_and_in_any_order(history in history()) {
        let start = history.world();
        let first = plan(&start, Direction::Both);
        let again = plan(&start, Direction::Both);
        prop_assert_eq!(format!("{first:?}"), format!("{again:?}"));
        // Where no names are one name to it, a remote that folds names is like any other.
        let folded = plan_by(folding(&start), &start, |_| {});
        let all = |plan: &Plan| -> BTreeSet<String> {
            plan.actions().map(|action| format!("{action:?}")).collect()
        };
        prop_assert_eq!(all(&first), all(&folded));
        prop_assert_eq!(folded.skipped.len(), 0);
        let (mut forwards, mut backwards) = (start.clone(), start);
        forwards.carry_out(&first);
        backwards.carry_out(&turned_round(again));
        prop_assert_eq!(World::shape(&forwards.local), World::shape(&backwards.local));
        prop_assert_eq!(World::shape(&forwards.remote), World::shape(&backwards.remote));
        prop_assert_eq!(forwards.base, backwards.base);
    }

    #[test]
    fn a_run_that_was_killed_is_completed_by_the_next(history in history(), after in 0..12_usize) {
        let start = history.world();
        let mut world = start.clone();
        let plan = plan(&start, Direction::Both);
        world.record(&plan);
        for action in plan.actions().take(after) {
            world.act(action, plan.brings_back);
        }
        if let Err(reason) = world.bisync().map(drop).and_then(|()| world.converged()) {
            prop_assert!(false, "{}\n{}", reason, start.shown());
        }
        let lost: Vec<u8> = start.made().difference(&world.held()).copied().collect();
        prop_assert!(lost.is_empty(), "lost {:?}", lost);
    }

    #[test]
    fn what_is_unknown_is_left_alone_with_all_that_is_in_it(history in history(), place in 0..PLACES.len(), side in any::<bool>()) {
        let start = history.world();
        let mut unknown = UnknownPaths::default();
        unknown.insert(RelPath::new(PLACES[place]).unwrap());
        let plan = plan_with(&start, Direction::Both, |triple| {
            let covered = unknown.covers(&triple.key.path);
            if side { triple.remote_unknown = covered } else { triple.local_unknown = covered }
        });
        if let Err(reason) = check_deletes(&start, &plan) {
            prop_assert!(false, "{}", reason);
        }
        for action in plan.actions() {
            prop_assert!(!unknown.covers(&action.key.path), "{:?}", action);
            if let Some(side) = action.op.deletes_from() {
                let is_in_it = |name: &&String| {
                    let name = RelPath::new(name).unwrap();
                    unknown.covers(&name) && name.is_below(&action.key.path)
                };
                prop_assert_eq!(start.side(side).keys().find(is_in_it), None, "{:?}", action);
            }
            if let Op::MoveRemote { from, .. } | Op::MoveLocal { from, .. } = &action.op {
                prop_assert!(!unknown.covers(from), "{:?}", action);
            }
        }
    }
}

fn guarded(missing: Side, edited: Side) -> Plan {
    let mut world = World::default();
    for number in 0..40_u8 {
        let path = format!("f{number:02}");
        let file = File {
            content: number + 1,
            state: 0,
        };
        world.agree_on(&path, Node::File(file));
        for side in [Side::Local, Side::Remote] {
            let name = match (number, side == missing) {
                (0..12, true) => continue,
                // Renamed, and no delete.
                (12..30, true) => format!("g{number:02}"),
                _ => path.clone(),
            };
            let is_edited = number >= 26 && side == edited;
            let file = File {
                content: if is_edited { 100 + number } else { number + 1 },
                state: u8::from(is_edited || name != path),
            };
            world.tree(side).insert(name, Node::File(file));
        }
    }
    plan(&world, Direction::Both)
}

#[test]
fn guards_count_what_was_deleted_and_changed_on_either_side_and_no_renames() {
    for missing in [Side::Local, Side::Remote] {
        let plan = guarded(missing, other(missing));
        assert_eq!(plan.deletes_on(other(missing)).count(), 12);
        assert_eq!(plan.deletes_on(missing).count(), 0);
        assert_eq!(plan.moves.len(), 18);
        assert_eq!(plan.changes_on(other(missing)).count(), 14);
        assert_eq!(plan.changes_on(missing).count(), 0);
        assert!(guards::max_delete(&plan, 30).is_none());
        assert_eq!(
            guards::max_delete(&plan, 29).map(|stop| stop.count),
            Some(12)
        );
        assert!(guards::max_change(&plan, 35).is_none());
        assert_eq!(
            guards::max_change(&plan, 34).map(|stop| stop.count),
            Some(14)
        );
    }
}

fn folding(world: &World) -> Rules {
    let mut rules = rules(Direction::Both, world);
    rules.names.folds_case = true;
    rules
}

#[test]
fn of_names_that_fold_to_one_only_one_is_written_and_none_is_deleted_for_the_other() {
    let node = |content| Node::File(File { content, state: 1 });
    // Base, local, remote, then what is uploaded or moved there, and what is reported.
    for (base, local, remote, written, reported) in [
        (&["a"][..], &["a", "A"][..], &["a"][..], &[][..], &["A"][..]),
        (&[], &["A", "a"], &[], &["A"], &["a"]),
        (&[], &["A"], &["a"], &[], &["A"]),
        (&["a"], &["A"], &["a"], &["A"], &[]),
        (&["d/a"], &["d/a", "D/b", "D/c"], &["d/a"], &[], &["D"]),
        (&["a"], &["a", "b"], &["a"], &["b"], &[]),
    ] {
        let mut world = World {
            remote_folders: true,
            ..World::default()
        };
        for (side, tree) in [(Side::Local, local), (Side::Remote, remote)] {
            for (number, path) in (1_u8..).zip(tree) {
                if let Some((folder, _)) = path.split_once('/') {
                    world.tree(side).insert(folder.to_owned(), Node::Dir);
                }
                let is_known = base.contains(path);
                let content = if is_known { 1 } else { number + 10 };
                world.tree(side).insert((*path).to_owned(), node(content));
            }
        }
        for path in base {
            if let Some((folder, _)) = path.split_once('/') {
                world.agree_on(folder, Node::Dir);
            }
            world.agree_on(path, node(1));
        }
        let plan = plan_by(folding(&world), &world, |_| {});
        let creates = |action: &&Action| {
            action.op.writes_to() == Side::Remote && action.op.deletes_from().is_none()
        };
        let names: Vec<&str> = plan
            .actions()
            .filter(creates)
            .map(|action| action.key.path.as_str())
            .collect();
        let left: Vec<&str> = plan
            .skipped
            .iter()
            .map(|skipped| skipped.path.as_str())
            .collect();
        assert_eq!(
            (&names[..], &left[..]),
            (written, reported),
            "{base:?} {local:?} {remote:?}"
        );
        if let Err(reason) = check_deletes(&world, &plan) {
            panic!("{reason}");
        }
    }
}
