//! The table, cell by cell, and random trees against a model that carries plans out.

mod bisync;

use std::collections::{BTreeMap, BTreeSet};

use ows_providers::{EntryKind, Hash, NameRules, RelPath, SortKey, Version};
use proptest::prelude::*;

use super::*;
use crate::tree::{BaseRow, LocalFingerprint, RemoteStamp};

/// A file in the model: what it holds and which state of it this is. Contents 1 and 2 have the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct File {
    content: u8,
    state: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(File),
    Dir,
}

type Tree = BTreeMap<String, Node>;

#[derive(Debug, Clone, Default)]
struct World {
    local: Tree,
    remote: Tree,
    base: BTreeMap<SortKey, (BaseRow, u8)>,
    trash: BTreeSet<u8>,
    remote_folders: bool,
    /// The remote tells no hashes.
    no_hashes: bool,
}

fn size(content: u8) -> u64 {
    if content == 3 { 2 } else { 1 }
}

fn hash(content: u8) -> [u8; 32] {
    [content; 32]
}

fn local_fingerprint(file: File) -> LocalFingerprint {
    LocalFingerprint {
        size: size(file.content),
        mtime_ns: 1,
        ctime_ns: i64::from(file.state),
        inode: 1,
        blake3: None,
        observed_at_ns: 100_000_000_000,
    }
}

fn remote_stamp(file: File) -> RemoteStamp {
    RemoteStamp {
        size: size(file.content),
        version: Some(Version(format!("{}.{}", file.content, file.state))),
        modified_at_ns: Some(i64::from(file.state)),
        mtime_ns: None,
        hash: Some(Hash::md5([file.content; 16])),
        id: None,
        own: false,
        stored_by_ns: None,
    }
}

fn dir_row(key: &SortKey) -> BaseRow {
    let nothing = File {
        content: 0,
        state: 0,
    };
    BaseRow {
        key: key.clone(),
        local: local_fingerprint(nothing),
        remote: remote_stamp(nothing),
    }
}

fn base_row(key: &SortKey, local: File, remote: File) -> BaseRow {
    let mut row = BaseRow {
        key: key.clone(),
        local: local_fingerprint(local),
        remote: remote_stamp(remote),
    };
    row.local.blake3 = Some(hash(local.content));
    row.remote.own = true;
    row
}

fn other(side: Side) -> Side {
    match side {
        Side::Local => Side::Remote,
        Side::Remote => Side::Local,
    }
}

fn rules(direction: Direction, world: &World) -> Rules {
    Rules {
        ignore_base: false,
        others_write: false,
        resolve: Resolve::Newer,
        direction,
        caution: Caution::None,
        remote_folders: world.remote_folders,
        remote_moves: true,
        names: NameRules {
            max_path_bytes: 1000,
            max_segment_bytes: 255,
            control_characters: true,
            folds_case: false,
            folds_forms: false,
        },
    }
}

fn triples(world: &World) -> BTreeMap<SortKey, Triple> {
    let mut triples: BTreeMap<SortKey, Triple> = BTreeMap::new();
    let key = |path: &str, node: &Node| SortKey {
        path: RelPath::new(path).unwrap(),
        kind: if *node == Node::Dir {
            EntryKind::Dir
        } else {
            EntryKind::File
        },
    };
    let nothing = File {
        content: 0,
        state: 0,
    };
    for (path, node) in &world.local {
        let key = key(path, node);
        let file = if let Node::File(file) = node {
            *file
        } else {
            nothing
        };
        triples
            .entry(key.clone())
            .or_insert_with(|| Triple::new(key))
            .local = Some(local_fingerprint(file));
    }
    for (path, node) in &world.remote {
        let key = key(path, node);
        let file = if let Node::File(file) = node {
            *file
        } else {
            nothing
        };
        triples
            .entry(key.clone())
            .or_insert_with(|| Triple::new(key))
            .remote = Some(remote_stamp(file));
    }
    for (key, (row, _)) in &world.base {
        triples
            .entry(key.clone())
            .or_insert_with(|| Triple::new(key.clone()))
            .base = Some(row.clone());
    }
    for triple in triples.values_mut() {
        let told = triple.remote.as_mut().filter(|_| world.no_hashes);
        told.into_iter().for_each(|remote| remote.hash = None);
    }
    triples
}

fn content(tree: &Tree, path: &RelPath) -> u8 {
    match tree.get(path.as_str()) {
        Some(Node::File(file)) => file.content,
        _ => 0,
    }
}

fn plan_with(world: &World, direction: Direction, adjust: impl Fn(&mut Triple)) -> Plan {
    plan_by(rules(direction, world), world, adjust)
}

fn plan_by(rules: Rules, world: &World, adjust: impl Fn(&mut Triple)) -> Plan {
    let mut planner = Planner::new(rules);
    for (_, mut triple) in triples(world) {
        adjust(&mut triple);
        planner.push(triple);
    }
    for _ in 0..10 {
        let questions = planner.questions();
        if questions.is_empty() {
            return planner.finish();
        }
        for (triple, question) in questions {
            let local = content(&world.local, &triple.key.path);
            let mut answers = triple.answers.clone();
            match question {
                Question::LocalIsBase => {
                    answers.local_is_base = Some(world.base[&triple.key].1 == local);
                }
                Question::SidesEqual => {
                    answers.sides_equal = Some(local == content(&world.remote, &triple.key.path));
                }
                Question::LocalHash => {}
                // In the model, the larger number is the newer content.
                Question::Newer => {
                    let remote = content(&world.remote, &triple.key.path);
                    answers.newer = Some(if local > remote {
                        Side::Local
                    } else {
                        Side::Remote
                    });
                }
            }
            planner.answer(triple, question, answers, Some(hash(local)));
        }
    }
    panic!("the planner asks for ever");
}

fn plan(world: &World, direction: Direction) -> Plan {
    plan_with(world, direction, |_| {})
}

fn careful(world: &World, direction: Direction, caution: Caution) -> Plan {
    let rules = Rules {
        caution,
        ..rules(direction, world)
    };
    plan_by(rules, world, |_| {})
}

impl World {
    fn tree(&mut self, side: Side) -> &mut Tree {
        match side {
            Side::Local => &mut self.local,
            Side::Remote => &mut self.remote,
        }
    }

    fn has_folders(&self, side: Side) -> bool {
        side == Side::Local || self.remote_folders
    }

    /// Writes as a file system does: folders above are created, and a thing of the other type must not be there.
    fn write(&mut self, side: Side, path: &RelPath, file: File, keep: bool) {
        if self.has_folders(side) {
            self.make_dirs(side, path.parent());
            let below = format!("{path}/");
            // Folders that a store without folders knows nothing of are removed when they are empty.
            let occupied = self
                .tree(side)
                .iter()
                .any(|(name, node)| name.starts_with(&below) && *node != Node::Dir);
            assert!(!occupied, "{path} is a folder with something in it");
            self.tree(side).retain(|name, node| {
                !(*node == Node::Dir && (name.starts_with(&below) || name == path.as_str()))
            });
        }
        if let Some(Node::File(old)) = self.tree(side).insert(path.to_string(), Node::File(file))
            && keep
        {
            self.trash.insert(old.content);
        }
    }

    fn make_dirs(&mut self, side: Side, mut folder: Option<RelPath>) {
        while let Some(path) = folder {
            let old = self.tree(side).insert(path.to_string(), Node::Dir);
            assert!(
                !matches!(old, Some(Node::File(_))),
                "{path} is a file where a folder is needed"
            );
            folder = path.parent();
        }
    }

    fn run(&mut self, direction: Direction) -> Plan {
        self.run_carefully(direction, Caution::None)
    }

    fn run_carefully(&mut self, direction: Direction, caution: Caution) -> Plan {
        let plan = careful(self, direction, caution);
        self.carry_out(&plan);
        plan
    }

    fn carry_out(&mut self, plan: &Plan) {
        self.record(plan);
        for action in plan.actions() {
            self.act(action, plan.brings_back);
        }
    }

    fn record(&mut self, plan: &Plan) {
        for record in &plan.records {
            match record {
                Record::Forget(key) => {
                    self.base.remove(key);
                }
                Record::Stored {
                    key,
                    modified_at_ns,
                } => {
                    let known = self.base.get_mut(key).map(|(row, _)| &mut row.remote);
                    known.unwrap().set_stored(*modified_at_ns);
                }
                Record::Agree(row) => {
                    let content = content(&self.local, &row.key.path);
                    assert_eq!(
                        content,
                        super::tests::content(&self.remote, &row.key.path),
                        "agreed on different content"
                    );
                    let mut row = (**row).clone();
                    row.local.blake3.get_or_insert(hash(content));
                    self.base.insert(row.key.clone(), (row, content));
                }
            }
        }
    }

    fn act(&mut self, action: &Action, brings_back: bool) {
        let key = &action.key;
        let path = &key.path;
        match &action.op {
            Op::Upload => {
                let Node::File(file) = self.local[path.as_str()] else {
                    panic!()
                };
                self.write(Side::Remote, path, file, action.keep_displaced);
                self.base
                    .insert(key.clone(), (base_row(key, file, file), file.content));
            }
            Op::Download => {
                let Node::File(file) = self.remote[path.as_str()] else {
                    panic!()
                };
                self.write(Side::Local, path, file, action.keep_displaced);
                self.base
                    .insert(key.clone(), (base_row(key, file, file), file.content));
            }
            Op::MoveRemote { from, old } => self.rename(Side::Remote, action, from, old),
            Op::MoveLocal { from, old } => self.rename(Side::Local, action, from, old),
            Op::Conflict { keeps } => self.settle(key, *keeps),
            Op::CreateDirLocal => {
                self.make_dirs(Side::Local, Some(path.clone()));
                self.base.insert(key.clone(), (dir_row(key), 0));
            }
            Op::CreateDirRemote => {
                self.make_dirs(Side::Remote, Some(path.clone()));
                self.base.insert(key.clone(), (dir_row(key), 0));
            }
            Op::DeleteLocal | Op::DeleteRemote => {
                let side = action.op.deletes_from().unwrap();
                let below = format!("{path}/");
                let occupied = self.tree(side).keys().any(|name| name.starts_with(&below));
                if key.kind == EntryKind::Dir && occupied {
                    if brings_back {
                        self.make_dirs(other(side), Some(path.clone()));
                        self.base.insert(key.clone(), (dir_row(key), 0));
                    }
                    return;
                }
                if let Some(Node::File(old)) = self.tree(side).remove(path.as_str()) {
                    assert!(action.keep_displaced, "every delete goes to the trash");
                    self.trash.insert(old.content);
                }
                self.base.remove(key);
            }
        }
    }

    /// The file of `side` gets the name that it has on the other.
    fn rename(&mut self, side: Side, action: &Action, from: &RelPath, old: &BaseRow) {
        let (key, path) = (&action.key, &action.key.path);
        let Some(Node::File(file)) = self.tree(side).remove(from.as_str()) else {
            panic!()
        };
        let (_, agreed) = self.base.remove(&old.key).unwrap();
        let there = self.tree(side).get(path.as_str());
        let is_free = !matches!(there, Some(Node::File(_)));
        assert!(is_free, "{path} is not free for {from}");
        self.write(side, path, file, true);
        let Node::File(named) = self.tree(other(side))[path.as_str()] else {
            panic!()
        };
        assert_eq!(named.content, agreed, "moved other content");
        let (mut row, is_edited) = match side {
            Side::Remote => (base_row(key, named, file), action.changed.remote),
            Side::Local => (base_row(key, file, named), action.changed.local),
        };
        match (side, is_edited) {
            (_, false) => assert_eq!(named.content, file.content, "moved other content"),
            (Side::Remote, true) => row.remote = old.remote.clone(),
            (Side::Local, true) => row.local = old.local.clone(),
        }
        self.base.insert(key.clone(), (row, agreed));
    }

    /// As apply does it: a copy on both sides first.
    fn settle(&mut self, key: &SortKey, keeps: Keeps) {
        let path = &key.path;
        let file = |tree: &Tree| match tree.get(path.as_str()) {
            Some(Node::File(file)) => Some(*file),
            _ => None,
        };
        let (local, remote) = (file(&self.local), file(&self.remote));
        let loser = match keeps {
            Keeps::Local => remote,
            Keeps::Remote => local,
            Keeps::Folder => local.or(remote),
        };
        let loser = loser.expect("something gives its name up");
        let holds = |tree: &Tree, name: &RelPath| match tree.get(name.as_str()) {
            None => true,
            Some(Node::File(file)) => file.content == loser.content,
            Some(Node::Dir) => false,
        };
        let copy = (1..)
            .map(|attempt| merge::conflict_name(path, attempt).unwrap())
            .find(|name| holds(&self.local, name) && holds(&self.remote, name))
            .unwrap();
        let copy_key = SortKey::file(copy.clone());
        for side in [Side::Local, Side::Remote] {
            self.write(side, &copy, loser, false);
        }
        let row = base_row(&copy_key, loser, loser);
        self.base.insert(copy_key, (row, loser.content));
        let winner = match keeps {
            Keeps::Local => local,
            Keeps::Remote => remote,
            Keeps::Folder => {
                for side in [Side::Local, Side::Remote] {
                    if file(self.tree(side)).is_some() {
                        self.tree(side).remove(path.as_str());
                    }
                }
                self.base.remove(key);
                return;
            }
        };
        let winner = winner.expect("something keeps its name");
        for side in [Side::Local, Side::Remote] {
            self.write(side, path, winner, false);
        }
        let row = base_row(key, winner, winner);
        self.base.insert(key.clone(), (row, winner.content));
    }

    fn contents(&self) -> BTreeSet<u8> {
        self.local
            .values()
            .chain(self.remote.values())
            .filter_map(|node| {
                if let Node::File(file) = node {
                    Some(file.content)
                } else {
                    None
                }
            })
            .chain(self.trash.iter().copied())
            .collect()
    }

    fn shape(tree: &Tree) -> BTreeMap<&str, u8> {
        let content = |node: &Node| {
            if let Node::File(file) = node {
                file.content
            } else {
                0
            }
        };
        tree.iter()
            .map(|(path, node)| (path.as_str(), content(node)))
            .collect()
    }

    fn files(tree: &Tree) -> BTreeMap<&str, u8> {
        tree.iter()
            .filter_map(|(path, node)| {
                if let Node::File(file) = node {
                    Some((path.as_str(), file.content))
                } else {
                    None
                }
            })
            .collect()
    }
}

fn one(base: Option<u8>, local: Option<File>, remote: Option<File>) -> World {
    let mut world = World::default();
    let key = SortKey::file(RelPath::new("a").unwrap());
    if let Some(content) = base {
        let file = File { content, state: 0 };
        world
            .base
            .insert(key.clone(), (base_row(&key, file, file), content));
    }
    world
        .local
        .extend(local.map(|file| ("a".to_owned(), Node::File(file))));
    world
        .remote
        .extend(remote.map(|file| ("a".to_owned(), Node::File(file))));
    world
}

/// The outcome of one cell, in a form that a person can compare with the table of the module.
fn outcome(world: &World, direction: Direction) -> String {
    let plan = plan(world, direction);
    if let Some(action) = plan.actions().next() {
        let trash = if action.keep_displaced { " +trash" } else { "" };
        return format!(
            "{}{trash}: {}",
            action.op.name(),
            action.told(Fates::default())
        );
    }
    match plan.records.first() {
        Some(Record::Agree(_) | Record::Stored { .. }) => "record".to_owned(),
        Some(Record::Forget(_)) => "forget".to_owned(),
        None => "nothing".to_owned(),
    }
}

/// Content of the base, the local and the remote file, and what comes of them.
type Cell = (Option<u8>, Option<File>, Option<File>, String);

#[test]
fn every_cell_of_the_table_has_its_outcome() {
    let same = Some(File {
        content: 1,
        state: 0,
    });
    let touched = Some(File {
        content: 1,
        state: 1,
    });
    let changed = Some(File {
        content: 2,
        state: 1,
    });
    let bigger = Some(File {
        content: 3,
        state: 1,
    });
    let edited =
        "edited in the remote, where the workspace is the truth; the edit goes to the trash";
    let differs = "the remote holds other content; it goes to the trash";
    let cells: Vec<Cell> = vec![
        (Some(1), None, None, "forget".into()),
        (
            Some(1),
            None,
            same,
            "delete_remote +trash: deleted in the workspace".into(),
        ),
        (
            Some(1),
            None,
            changed,
            format!("delete_remote +trash: {edited}"),
        ),
        (Some(1), same, None, "upload: missing in the remote".into()),
        (Some(1), same, same, "nothing".into()),
        (Some(1), same, changed, format!("upload +trash: {edited}")),
        (Some(1), same, touched, "record".into()),
        (Some(1), same, bigger, format!("upload +trash: {edited}")),
        (
            Some(1),
            touched,
            None,
            "upload: missing in the remote".into(),
        ),
        (Some(1), touched, same, "record".into()),
        (Some(1), touched, touched, "record".into()),
        (
            Some(1),
            touched,
            changed,
            format!("upload +trash: {edited}"),
        ),
        (
            Some(1),
            changed,
            None,
            "upload: changed in the workspace".into(),
        ),
        (
            Some(1),
            changed,
            same,
            "upload: changed in the workspace".into(),
        ),
        (
            Some(1),
            changed,
            touched,
            format!("upload +trash: {edited}"),
        ),
        (Some(1), changed, changed, "record".into()),
        (Some(1), changed, bigger, format!("upload +trash: {edited}")),
        (
            Some(1),
            bigger,
            same,
            "upload: changed in the workspace".into(),
        ),
        (
            None,
            None,
            same,
            "delete_remote +trash: not in the workspace".into(),
        ),
        (None, same, None, "upload: new in the workspace".into()),
        (None, same, touched, "record".into()),
        (None, same, changed, format!("upload +trash: {differs}")),
        (None, same, bigger, format!("upload +trash: {differs}")),
    ];
    for (base, local, remote, expected) in cells {
        let world = one(base, local, remote);
        assert_eq!(
            outcome(&world, Direction::Push),
            expected,
            "base {base:?}, local {local:?}, remote {remote:?}"
        );
    }
    let edited =
        "edited in the workspace, where the remote is the truth; the edit goes to the trash";
    let pulls: Vec<Cell> = vec![
        (
            Some(1),
            same,
            None,
            "delete_local +trash: deleted in the remote".into(),
        ),
        (
            Some(1),
            touched,
            None,
            "delete_local +trash: deleted in the remote".into(),
        ),
        (
            Some(1),
            changed,
            None,
            format!("delete_local +trash: {edited}"),
        ),
        (
            Some(1),
            None,
            same,
            "download: missing in the workspace".into(),
        ),
        (
            Some(1),
            same,
            changed,
            "download: changed in the remote".into(),
        ),
        (Some(1), changed, same, format!("download +trash: {edited}")),
        (
            None,
            same,
            None,
            "delete_local +trash: not in the remote".into(),
        ),
        (None, None, same, "download: new in the remote".into()),
        (
            None,
            changed,
            same,
            "download +trash: the workspace holds other content; it goes to the trash".into(),
        ),
    ];
    for (base, local, remote, expected) in pulls {
        let world = one(base, local, remote);
        assert_eq!(
            outcome(&world, Direction::Pull),
            expected,
            "base {base:?}, local {local:?}, remote {remote:?}"
        );
    }
}

/// One cell under caution: the operation or the record, `+keep` when what is displaced is kept, `left` when it is
/// reported.
fn careful_outcome(world: &World, direction: Direction, caution: Caution) -> String {
    let plan = careful(world, direction, caution);
    let mut words: Vec<String> = Vec::new();
    for action in plan.actions() {
        let keep = if action.keep_displaced { " +keep" } else { "" };
        words.push(format!("{}{keep}", action.op.name()));
    }
    words.extend(plan.skipped.iter().map(|_| "left".to_owned()));
    words.extend(plan.records.iter().map(|record| match record {
        Record::Agree(_) | Record::Stored { .. } => "record".to_owned(),
        Record::Forget(_) => "forget".to_owned(),
    }));
    words.join(", ")
}

#[test]
fn every_cell_of_the_table_has_its_outcome_under_every_caution() {
    let absent = None;
    let file = |content, state| Some(File { content, state });
    let (same, touched, changed, bigger) = (file(1, 0), file(1, 1), file(2, 1), file(3, 1));
    // Base, source, target, then the outcome without caution, when only adding, and after a rollback. `>` is a transfer,
    // `x` a delete.
    let cells = [
        (true, absent, absent, "forget", "forget", "forget"),
        (true, absent, same, "x +keep", "left", "left, forget"),
        (true, absent, touched, "x +keep", "left", "left, forget"),
        (true, absent, changed, "x +keep", "left", "left, forget"),
        (true, absent, bigger, "x +keep", "left", "left, forget"),
        (true, same, absent, ">", ">", ">"),
        (true, same, same, "", "", ""),
        (true, same, touched, "record", "record", "record"),
        (true, same, changed, "> +keep", "left", "> +keep"),
        (true, same, bigger, "> +keep", "left", "> +keep"),
        (true, touched, absent, ">", ">", ">"),
        (true, touched, same, "record", "record", "record"),
        (true, touched, touched, "record", "record", "record"),
        (true, touched, changed, "> +keep", "left", "> +keep"),
        (true, touched, bigger, "> +keep", "left", "> +keep"),
        (true, changed, absent, ">", ">", ">"),
        (true, changed, same, ">", "left", "> +keep"),
        (true, changed, touched, ">?", "left", "> +keep"),
        (true, changed, changed, "record", "record", "record"),
        (true, changed, bigger, "> +keep", "left", "> +keep"),
        (true, bigger, absent, ">", ">", ">"),
        (true, bigger, same, ">", "left", "> +keep"),
        (true, bigger, touched, ">?", "left", "> +keep"),
        (true, bigger, changed, "> +keep", "left", "> +keep"),
        (true, bigger, bigger, "record", "record", "record"),
        (false, absent, absent, "", "", ""),
        (false, absent, same, "x +keep", "left", "left"),
        (false, same, absent, ">", ">", ">"),
        (false, same, same, "record", "record", "record"),
        (false, same, changed, "> +keep", "left", "> +keep"),
        (false, same, bigger, "> +keep", "left", "> +keep"),
    ];
    for (base, source, target, freely, adding, rolled_back) in cells {
        for direction in [Direction::Push, Direction::Pull] {
            let (local, remote, transfer, delete) = match direction {
                Direction::Push => (source, target, "upload", "delete_remote"),
                _ => (target, source, "download", "delete_local"),
            };
            // A remote file whose version is another one is not known to be our own content, even where a local one with
            // other times is.
            let stray = if direction == Direction::Push {
                " +keep"
            } else {
                ""
            };
            let world = one(base.then_some(1), local, remote);
            for (caution, expected) in [
                (Caution::None, freely),
                (Caution::OnlyAdd, adding),
                (Caution::RolledBack, rolled_back),
            ] {
                let expected = expected
                    .replace('>', transfer)
                    .replace('x', delete)
                    .replace('?', stray);
                assert_eq!(
                    careful_outcome(&world, direction, caution),
                    expected,
                    "{direction:?} {caution:?} base {base}, source {source:?}, target {target:?}"
                );
            }
        }
    }
}

#[test]
fn every_cell_of_a_push_beside_another_workspace_has_its_outcome() {
    let absent = None;
    let file = |content, state| Some(File { content, state });
    let (same, touched, changed, bigger) = (file(1, 0), file(1, 1), file(2, 1), file(3, 1));
    // Base, local, remote, then the outcome; `left` is reported.
    let cells = [
        (true, absent, absent, "forget"),
        (true, absent, same, "delete_remote +keep"),
        (true, absent, touched, "left"),
        (true, absent, changed, "left"),
        (true, absent, bigger, "left"),
        (true, same, absent, "left"),
        (true, same, same, ""),
        (true, same, touched, "left"),
        (true, same, changed, "left"),
        (true, same, bigger, "left"),
        (true, touched, absent, "left"),
        (true, touched, same, "record"),
        (true, touched, touched, "left"),
        (true, touched, changed, "left"),
        (true, touched, bigger, "left"),
        (true, changed, absent, "upload"),
        (true, changed, same, "upload"),
        (true, changed, touched, "upload +keep"),
        (true, changed, changed, "record"),
        (true, changed, bigger, "upload +keep"),
        (true, bigger, absent, "upload"),
        (true, bigger, same, "upload"),
        (true, bigger, touched, "upload +keep"),
        (true, bigger, changed, "upload +keep"),
        (true, bigger, bigger, "record"),
        (false, absent, absent, ""),
        (false, absent, same, "left"),
        (false, same, absent, "upload"),
        (false, same, same, "record"),
        (false, same, changed, "upload +keep"),
        (false, same, bigger, "upload +keep"),
    ];
    for (base, local, remote, expected) in cells {
        let world = one(base.then_some(1), local, remote);
        assert_eq!(
            careful_outcome(&world, Direction::Push, Caution::OnlyOwn),
            expected,
            "base {base}, local {local:?}, remote {remote:?}"
        );
        let plan = careful(&world, Direction::Push, Caution::OnlyOwn);
        assert_eq!(plan.withheld, u64::from(expected == "left"));
        let free = careful(&world, Direction::Push, Caution::None);
        let undoes = free.actions().any(Action::undoes_remote);
        // Equal content is only recorded, which a run that is free to reads for.
        let is_equal = remote == touched && local.is_some();
        assert_eq!(undoes, expected == "left" && !is_equal);
        // It is an affair of pushes.
        let pulled = careful_outcome(&world, Direction::Pull, Caution::OnlyOwn);
        let freely = careful_outcome(&world, Direction::Pull, Caution::None);
        assert_eq!(pulled, freely);
    }
}

#[test]
fn beside_another_workspace_a_rename_moves_and_a_folder_with_foreign_files_stays() {
    let file = |content| Node::File(File { content, state: 0 });
    let base = |world: &mut World, path: &str, content| {
        let key = SortKey::file(RelPath::new(path).unwrap());
        let agreed = File { content, state: 0 };
        let row = base_row(&key, agreed, agreed);
        world.base.insert(key, (row, content));
        world.remote.insert(path.to_owned(), file(content));
    };
    for remote_folders in [false, true] {
        let mut world = World {
            remote_folders,
            ..World::default()
        };
        base(&mut world, "d/a", 1);
        base(&mut world, "d/b", 2);
        if remote_folders {
            let dir = SortKey::dir(RelPath::new("d").unwrap());
            world.base.insert(dir.clone(), (dir_row(&dir), 0));
            world.remote.insert("d".to_owned(), Node::Dir);
        }
        // Somebody else has put this there; here the folder went away, and one file in it has a new name.
        world.remote.insert("d/foreign".to_owned(), file(3));
        world.local.insert("new".to_owned(), file(1));
        let plan = world.run_carefully(Direction::Push, Caution::OnlyOwn);
        assert_eq!((plan.moves.len(), plan.withheld), (1, 1), "{plan:?}");
        let expected = [("d/foreign", 3), ("new", 1)].into();
        assert_eq!(World::files(&world.remote), expected);
        let second = world.run_carefully(Direction::Push, Caution::OnlyOwn);
        assert!(second.is_quiet() && second.records.is_empty(), "{second:?}");
        assert_eq!(second.withheld, 1);
        // What was left keeps its name.
        world.local.insert("d".to_owned(), file(2));
        let third = world.run_carefully(Direction::Push, Caution::OnlyOwn);
        assert_eq!(third.is_quiet(), remote_folders, "{third:?}");
        assert!(world.remote.contains_key("d/foreign"));
    }
}

#[test]
fn a_careful_run_does_not_move_and_gives_what_was_left_no_second_use_of_its_name() {
    for caution in [Caution::OnlyAdd, Caution::RolledBack] {
        // `a` was renamed to `b/c`: the new name is filled, the old one stays.
        let mut world = one(
            Some(1),
            None,
            Some(File {
                content: 1,
                state: 0,
            }),
        );
        world.local.insert("b".into(), Node::Dir);
        world.local.insert(
            "b/c".into(),
            Node::File(File {
                content: 1,
                state: 0,
            }),
        );
        let plan = world.run_carefully(Direction::Push, caution);
        assert!(plan.moves.is_empty() && plan.deletes.is_empty());
        assert_eq!(World::files(&world.remote), [("a", 1), ("b/c", 1)].into());
        // The file `a` became a folder with a file in it: there is no room for it while the file stays.
        for remote_folders in [false, true] {
            let mut world = one(
                Some(1),
                None,
                Some(File {
                    content: 1,
                    state: 0,
                }),
            );
            world.remote_folders = remote_folders;
            world.local.insert("a".into(), Node::Dir);
            world.local.insert(
                "a/x".into(),
                Node::File(File {
                    content: 2,
                    state: 0,
                }),
            );
            let plan = world.run_carefully(Direction::Push, caution);
            let left = if remote_folders { 3 } else { 1 };
            assert_eq!(plan.skipped.len(), left, "{:?}", plan.skipped);
            assert!(World::files(&world.remote).contains_key("a"));
        }
        // The folder `a` became a file.
        for remote_folders in [false, true] {
            let mut world = one(
                None,
                None,
                Some(File {
                    content: 1,
                    state: 0,
                }),
            );
            world.remote_folders = remote_folders;
            world.local.insert("a".into(), Node::Dir);
            world.local.insert(
                "a/x".into(),
                Node::File(File {
                    content: 2,
                    state: 0,
                }),
            );
            let before = world.local.clone();
            let plan = world.run_carefully(Direction::Pull, caution);
            let left = if remote_folders { 3 } else { 2 };
            assert_eq!((plan.skipped.len(), &world.local), (left, &before));
        }
    }
}

#[test]
fn every_cell_of_a_merge_has_its_outcome() {
    let absent = None;
    let file = |content, state| Some(File { content, state });
    let (same, touched, changed, bigger) = (file(1, 0), file(1, 1), file(2, 1), file(3, 1));
    let (here, there) = (
        "conflict: differs, and the workspace's keeps the name; the remote's is kept beside it as `.conflict`",
        "conflict: differs, and the remote's keeps the name; the workspace's is kept beside it as `.conflict`",
    );
    // Base, local, remote.
    for (base, local, remote, expected) in [
        (None, absent, same, "download: new in the remote"),
        (None, same, absent, "upload: new in the workspace"),
        (None, same, touched, "record"),
        (None, changed, same, here),
        (None, same, changed, there),
        (None, bigger, changed, here),
        (None, changed, bigger, there),
        // What a killed merge has recorded.
        (Some(1), absent, absent, "forget"),
        (Some(1), absent, same, "download: missing in the workspace"),
        (Some(1), absent, changed, "download: changed in the remote"),
        (Some(1), same, absent, "upload: missing in the remote"),
        (Some(1), changed, absent, "upload: changed in the workspace"),
        (Some(1), same, same, "nothing"),
        (Some(1), touched, same, "record"),
        (Some(1), same, touched, "record"),
        (Some(1), changed, same, "upload: changed in the workspace"),
        (Some(1), same, changed, "download: changed in the remote"),
        (Some(1), touched, bigger, "download: changed in the remote"),
        (Some(1), changed, changed, "record"),
        (Some(1), bigger, changed, here),
        (Some(1), changed, bigger, there),
    ] {
        let world = one(base, local, remote);
        assert_eq!(
            outcome(&world, Direction::Merge),
            expected,
            "base {base:?}, local {local:?}, remote {remote:?}"
        );
    }
}

#[test]
fn an_unknown_side_is_left_alone_whatever_the_other_holds() {
    let files = [
        None,
        Some(File {
            content: 1,
            state: 0,
        }),
        Some(File {
            content: 2,
            state: 1,
        }),
    ];
    for base in [None, Some(1)] {
        for local in files {
            for remote in files {
                for direction in [Direction::Push, Direction::Pull, Direction::Merge] {
                    let world = one(base, local, remote);
                    for side in [Side::Local, Side::Remote] {
                        let plan = plan_with(&world, direction, |triple| match side {
                            Side::Local => triple.local_unknown = true,
                            Side::Remote => triple.remote_unknown = true,
                        });
                        assert!(plan.is_quiet() && plan.records.is_empty());
                    }
                }
            }
        }
    }
}

#[test]
fn what_the_store_made_of_our_upload_is_recorded_and_not_sent_again() {
    let mut world = one(
        Some(1),
        Some(File {
            content: 1,
            state: 0,
        }),
        Some(File {
            content: 2,
            state: 5,
        }),
    );
    for (row, _) in world.base.values_mut() {
        row.remote.modified_at_ns = None;
        row.remote.stored_by_ns = Some(5);
    }
    let plan = plan(&world, Direction::Push);
    let [Record::Agree(row)] = &plan.records[..] else {
        panic!("{plan:?}")
    };
    assert!(
        plan.is_quiet() && !row.remote.own,
        "replacing it later keeps a copy"
    );
    // The same one moment later is somebody's edit.
    for (row, _) in world.base.values_mut() {
        row.remote.stored_by_ns = Some(4);
    }
    assert!(!super::tests::plan(&world, Direction::Push).is_quiet());
}

#[test]
fn a_stored_time_that_becomes_known_is_a_record_without_a_row() {
    let file = Some(File {
        content: 1,
        state: 0,
    });
    let mut world = one(Some(1), file, file);
    for (row, _) in world.base.values_mut() {
        row.remote.modified_at_ns = None;
        row.remote.stored_by_ns = Some(5);
    }
    let plan = world.run(Direction::Push);
    assert!(matches!(
        &plan.records[..],
        [Record::Stored {
            modified_at_ns: 0,
            ..
        }]
    ));
    let row = world.base.values().next().map(|(row, _)| &row.remote);
    assert!(row.is_some_and(|remote| remote.own && remote.stored_by_ns.is_none()));
    let second = super::tests::plan(&world, Direction::Push);
    assert!(second.is_quiet() && second.records.is_empty());
}

#[test]
fn a_renamed_file_is_moved_and_not_counted_as_deleted() {
    let mut world = one(
        Some(1),
        None,
        Some(File {
            content: 1,
            state: 0,
        }),
    );
    world.local.insert(
        "b/c".into(),
        Node::File(File {
            content: 1,
            state: 7,
        }),
    );
    world.local.insert("b".into(), Node::Dir);
    let plan = world.run(Direction::Push);
    assert_eq!(plan.moves.len(), 1);
    assert_eq!(plan.deletes_on(Side::Remote).count(), 0);
    assert!(world.trash.is_empty());
    assert_eq!(World::files(&world.remote), World::files(&world.local));
}

#[test]
fn names_that_the_remote_cannot_store_are_reported_before_any_transfer() {
    let mut world = World::default();
    world.local.insert(
        "x".repeat(300),
        Node::File(File {
            content: 1,
            state: 0,
        }),
    );
    world.local.insert(
        "y".into(),
        Node::File(File {
            content: 1,
            state: 0,
        }),
    );
    let plan = plan(&world, Direction::Push);
    assert_eq!((plan.skipped.len(), plan.transfers.len()), (1, 1));
}

#[test]
fn guards_compare_deletes_with_the_larger_of_base_and_listing() {
    let mut world = World::default();
    for number in 0..40 {
        let key = SortKey::file(RelPath::new(&format!("f{number:02}")).unwrap());
        let file = File {
            content: 1,
            state: 0,
        };
        world
            .base
            .insert(key.clone(), (base_row(&key, file, file), 1));
        world.remote.insert(key.path.to_string(), Node::File(file));
        if number >= 20 {
            world.local.insert(key.path.to_string(), Node::File(file));
        }
    }
    let plan = plan(&world, Direction::Push);
    assert_eq!(
        guards::max_delete(&plan, 50),
        None,
        "exactly the limit is allowed"
    );
    let stop = guards::max_delete(&plan, 49).unwrap();
    assert_eq!(
        (stop.count, stop.examples.len(), stop.examples[0].as_str()),
        (20, 20, "f00")
    );
    assert!(guards::max_delete(&plan, 0).is_some() && guards::max_delete(&plan, 100).is_none());
}

#[test]
fn a_few_deletes_stop_only_when_none_is_allowed() {
    let world = one(
        Some(1),
        None,
        Some(File {
            content: 1,
            state: 0,
        }),
    );
    let plan = plan(&world, Direction::Push);
    assert!(guards::max_delete(&plan, 1).is_none() && guards::max_delete(&plan, 0).is_some());
}

const NAMES: [&str; 7] = ["a", "a/x", "a/y", "a-b", "b", "b/x/z", "c"];

fn tree_of(picks: &[(usize, u8, u8)], folders: bool) -> Tree {
    let mut tree = Tree::new();
    for &(name, content, state) in picks {
        let path = NAMES[name % NAMES.len()];
        let below = format!("{path}/");
        let blocked = folders
            && (tree.keys().any(|other| other.starts_with(&below))
                || path
                    .match_indices('/')
                    .any(|(end, _)| matches!(tree.get(&path[..end]), Some(Node::File(_)))));
        if blocked {
            continue;
        }
        if folders {
            for (end, _) in path.match_indices('/') {
                tree.insert(path[..end].to_owned(), Node::Dir);
            }
        }
        tree.insert(path.to_owned(), Node::File(File { content, state }));
    }
    tree
}

fn picks() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    prop::collection::vec((0..NAMES.len(), 1..4_u8, 1..4_u8), 0..7)
}

fn world() -> impl Strategy<Value = World> {
    (picks(), picks(), picks(), any::<bool>()).prop_map(
        |(origin, local, remote, remote_folders)| {
            // Sync one tree, then perturb both sides, so that every relation to the base occurs.
            let mut world = World {
                remote_folders,
                local: tree_of(&origin, true),
                ..World::default()
            };
            world.run(Direction::Push);
            let overlay = |tree: &mut Tree, picks: &[(usize, u8, u8)], folders: bool| {
                // A state that was never seen before: an edit always shows in the change time or the version.
                let fresh: Vec<_> = picks
                    .iter()
                    .map(|&(name, content, state)| (name, content, state + 10))
                    .collect();
                let fresh = tree_of(&fresh, folders);
                tree.retain(|name, _| name.len() % 2 == picks.len() % 2);
                for (name, node) in fresh {
                    let below = format!("{name}/");
                    let clash = tree.keys().any(|other| other.starts_with(&below))
                        || name
                            .match_indices('/')
                            .any(|(end, _)| matches!(tree.get(&name[..end]), Some(Node::File(_))));
                    if !(folders && clash) {
                        tree.insert(name, node);
                    }
                }
                if folders {
                    let parents: Vec<String> = tree
                        .keys()
                        .flat_map(|name| {
                            name.match_indices('/')
                                .map(|(end, _)| name[..end].to_owned())
                                .collect::<Vec<_>>()
                        })
                        .collect();
                    for parent in parents {
                        tree.insert(parent, Node::Dir);
                    }
                }
            };
            overlay(&mut world.local, &local, true);
            overlay(&mut world.remote, &remote, remote_folders);
            world
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("OWS_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_loses_nothing_converges_and_is_then_quiet(start in world(), pull in any::<bool>()) {
        // A store without folders may hold `a` and `a/x`, which no local folder can.
        let clash = start.remote.iter().any(|(name, node)| {
            let below = format!("{name}/");
            *node != Node::Dir && start.remote.keys().any(|other| other.starts_with(&below))
        });
        let pull = pull && !clash;
        let direction = if pull { Direction::Pull } else { Direction::Push };
        let source_before = if pull { start.remote.clone() } else { start.local.clone() };
        let mut world = start.clone();
        let first = world.run(direction);
        let source_after = if pull { &world.remote } else { &world.local };
        prop_assert_eq!(&source_before, source_after, "the side that is the truth was written to");
        prop_assert_eq!(World::files(&world.local), World::files(&world.remote));
        if start.remote_folders {
            prop_assert_eq!(World::shape(&world.local), World::shape(&world.remote));
        }
        // What the target held and the source did not is in the trash, unless the run replaced its own version.
        for content in start.contents() {
            let replaced_own = first.actions().any(|action| {
                !action.keep_displaced && start.base.get(&action.key).is_some_and(|(_, known)| *known == content)
            });
            prop_assert!(world.contents().contains(&content) || replaced_own, "content {} is lost", content);
        }
        let second = plan(&world, direction);
        prop_assert!(second.is_quiet(), "{:?}", second);
    }

    #[test]
    fn a_merge_unites_both_sides_and_is_then_quiet_in_every_direction(start in world(), killed in any::<bool>()) {
        let clash = start.remote.iter().any(|(name, node)| {
            let below = format!("{name}/");
            *node != Node::Dir && start.remote.keys().any(|other| other.starts_with(&below))
        });
        if clash {
            return Ok(());
        }
        let mut world = start.clone();
        if !killed {
            world.base.clear();
        }
        let contents = |world: &World| -> BTreeSet<u8> {
            let files = World::files(&world.local).into_values().chain(World::files(&world.remote).into_values());
            files.collect()
        };
        let before = world.clone();
        let plan = world.run(Direction::Merge);
        prop_assert!(plan.actions().all(|action| action.op.deletes_from().is_none()));
        prop_assert_eq!(World::files(&world.local), World::files(&world.remote));
        if killed {
            // What was recorded before may have been replaced by what came of it.
            for content in contents(&before) {
                let replaced = plan.actions().any(|action| action.changed != Changed::default());
                prop_assert!(world.contents().contains(&content) || replaced, "content {} is lost", content);
            }
        } else {
            prop_assert_eq!(contents(&before), contents(&world));
            for name in World::files(&before.local).keys().chain(World::files(&before.remote).keys()) {
                let below = format!("{name}/");
                let is_there = world.local.keys().any(|other| other == name || other.starts_with(&below));
                prop_assert!(is_there, "{} went away", name);
            }
        }
        for direction in [Direction::Merge, Direction::Push, Direction::Pull] {
            let second = super::tests::plan(&world, direction);
            prop_assert!(second.is_quiet(), "{:?} {:?}", direction, second);
        }
    }

    #[test]
    fn a_careful_run_deletes_nothing_and_loses_nothing(start in world(), pull in any::<bool>(), only_add in any::<bool>()) {
        let clash = start.remote.iter().any(|(name, node)| {
            let below = format!("{name}/");
            *node != Node::Dir && start.remote.keys().any(|other| other.starts_with(&below))
        });
        let direction = if pull && !clash { Direction::Pull } else { Direction::Push };
        let caution = if only_add { Caution::OnlyAdd } else { Caution::RolledBack };
        let mut world = start.clone();
        let plan = world.run_carefully(direction, caution);
        prop_assert!(plan.actions().all(|action| action.op.deletes_from().is_none()));
        for side in [Side::Local, Side::Remote] {
            let mut before = start.clone();
            for (name, node) in before.tree(side).clone() {
                let now = world.tree(side).get(&name).copied();
                // A local folder with nothing in it gives way where the remote knows of none.
                prop_assert!(now.is_some() || node == Node::Dir, "{} went away", name);
                if only_add {
                    prop_assert!(now == Some(node) || node == Node::Dir, "{} was replaced", name);
                }
            }
        }
        for content in start.contents() {
            prop_assert!(world.contents().contains(&content), "content {} is lost", content);
        }
    }

    #[test]
    fn beside_another_workspace_nothing_of_it_is_undone_and_the_second_run_is_quiet(start in world()) {
        let mut world = start.clone();
        let plan = world.run_carefully(Direction::Push, Caution::OnlyOwn);
        for action in plan.actions() {
            prop_assert!(!action.undoes_remote(), "{:?}", action);
        }
        for content in start.contents() {
            // An own version that its owner replaces has no copy.
            let replaced = plan.actions().any(|action| action.remote.is_some() && !action.keep_displaced);
            prop_assert!(world.contents().contains(&content) || replaced, "content {} is lost", content);
        }
        // What found no room at first may find some when deletes have made it; then there is nothing to be done.
        for _ in 0..2 {
            world.run_carefully(Direction::Push, Caution::OnlyOwn);
        }
        let last = careful(&world, Direction::Push, Caution::OnlyOwn);
        prop_assert!(last.is_quiet(), "{:?}", last);
    }

    #[test]
    fn an_unknown_folder_is_never_deleted_from(start in world(), pull in any::<bool>(), name in 0..NAMES.len(), remote in any::<bool>()) {
        let direction = if pull { Direction::Pull } else { Direction::Push };
        let mut unknown = UnknownPaths::default();
        unknown.insert(RelPath::new(NAMES[name]).unwrap());
        let plan = plan_with(&start, direction, |triple| {
            if unknown.covers(&triple.key.path) {
                if remote { triple.remote_unknown = true } else { triple.local_unknown = true }
            }
        });
        for action in plan.actions() {
            prop_assert!(!unknown.covers(&action.key.path), "{:?}", action);
            if let Op::MoveRemote { from, .. } = &action.op {
                prop_assert!(!unknown.covers(from));
            }
        }
    }
}

/// With a million files to transfer, each byte is a megabyte.
#[test]
fn an_action_stays_small() {
    assert!(
        std::mem::size_of::<Action>() <= 88,
        "{} bytes",
        std::mem::size_of::<Action>()
    );
}
