//! Bisync beside real `rclone bisync`: the same world twice, the same edits in both, then what each engine makes of it.
//!
//! One or more worlds for each family of situations that rclone tests its own bisync with. Both engines sync two folders;
//! rclone gets the options that the OpenClaw plugin gives it, and the remote as its Path1. Where the outcomes differ, both
//! are written down here, and `docs/bisync.md` says why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use ows_testkit::rclone::PLUGIN;
use ows_testkit::tree::TempTree;

use crate::peers::find;
use cases::{HOUR, ORDINARY};

mod cases;

/// Paths with their contents; a folder ends with `/`.
type Tree = BTreeMap<String, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Ows,
    Rclone,
}

/// What is left after the run.
#[derive(Debug, Clone, Copy)]
enum Ends {
    /// It went well, and both sides hold this.
    Agree(&'static str),
    /// It went well, and the sides hold what the edits made of them: nothing was done.
    Nothing,
    /// It ended with this exit code, and the sides hold what the edits made of them.
    Stops(i32),
    /// It ended with this exit code; the workspace and the remote hold this.
    Apart(i32, &'static str, &'static str),
}

struct Case {
    /// As rclone calls it.
    family: &'static str,
    /// The situation in words.
    what: &'static str,
    start: fn() -> Vec<(String, String)>,
    edit: fn(&World),
    /// rclone's options beside [`PLUGIN`], from the baseline on.
    flags: &'static [&'static str],
    /// Keys of `sync`, each ended by a comma.
    keys: &'static str,
    /// Options of the run that is looked at.
    with: (&'static [&'static str], &'static [&'static str]),
    rclone: Ends,
    ows: Ends,
}

/// Two folders and an engine that keeps them in sync.
struct World {
    engine: Engine,
    here: TempTree,
    there: TempTree,
    home: TempTree,
    rclone: PathBuf,
}

impl World {
    fn new(engine: Engine, rclone: &Path, case: &Case) -> Self {
        let world = Self {
            engine,
            here: TempTree::new(),
            there: TempTree::new(),
            home: TempTree::new(),
            rclone: rclone.to_owned(),
        };
        world.configure(case.keys);
        for (path, content) in (case.start)() {
            aged(&world.here, &path, &content, HOUR);
        }
        world
    }

    fn configure(&self, keys: &str) {
        let there = self.there.path();
        let config = format!(
            "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {there:?} }} }}, \
             mode: 'bisync', remotePath: '', {keys} }} }}"
        );
        self.home.write("state/ows/config.json5", config);
    }

    /// Makes both sides agree for the first time.
    fn baseline(&self, flags: &[&str]) {
        let more: &[&str] = match self.engine {
            Engine::Ows => &[],
            Engine::Rclone => &["--resync"],
        };
        let ran = self.run(&[flags, more].concat());
        assert_eq!(ran.0, Some(0), "{:?}: {}", self.engine, ran.1);
    }

    fn run(&self, options: &[&str]) -> (Option<i32>, String) {
        let mut command = match self.engine {
            Engine::Ows => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_ows"));
                command.env_clear().arg("sync");
                command
            }
            Engine::Rclone => {
                let mut command = Command::new(&self.rclone);
                command.arg("bisync").arg(self.there.path());
                command.arg(self.here.path()).args(PLUGIN);
                command.args(["--config", "/dev/null", "--workdir"]);
                command.arg(self.home.join("work"));
                command
            }
        };
        let output = command
            .args(options)
            .env("HOME", self.home.path())
            .env("OPENCLAW_STATE_DIR", self.home.join("state"))
            .env("OPENCLAW_WORKSPACE_DIR", self.here.path())
            .output()
            .expect("it can be started");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code(), said)
    }

    fn sides(&self) -> (Tree, Tree) {
        (tree(&self.here), tree(&self.there))
    }
}

/// What a folder holds, without what is ours.
fn tree(root: &TempTree) -> Tree {
    let mut found = Tree::new();
    let mut folders = vec![root.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("it is a folder") {
            let path = entry.expect("it can be read").path();
            let shown = path.strip_prefix(root.path()).expect("it is inside");
            let shown = shown.to_string_lossy().into_owned();
            if shown == ".ows" {
                continue;
            }
            if path.is_dir() {
                found.insert(format!("{shown}/"), String::new());
                folders.push(path);
            } else {
                let content = std::fs::read(&path).expect("it can be read");
                found.insert(shown, String::from_utf8_lossy(&content).into_owned());
            }
        }
    }
    found
}

fn aged(tree: &TempTree, path: &str, content: &str, age: Duration) {
    tree.write(path, content);
    tree.set_modified(path, SystemTime::now() - age);
}

/// A tree as it is written here: `path=content | folder/ | ...`.
fn owned(text: &str) -> Tree {
    let item = |item: &str| {
        let (path, content) = item.split_once('=').unwrap_or((item, ""));
        (path.to_owned(), content.to_owned())
    };
    text.split(" | ").map(item).collect()
}

fn check(engine: Engine, rclone: &Path, case: &Case, ends: Ends) {
    let shown = format!("{}, {}: {engine:?}", case.family, case.what);
    let world = World::new(engine, rclone, case);
    let flags = match engine {
        Engine::Ows => &[],
        Engine::Rclone => case.flags,
    };
    world.baseline(flags);
    (case.edit)(&world);
    let edited = world.sides();
    let options = match engine {
        Engine::Ows => case.with.1.to_vec(),
        Engine::Rclone => [case.flags, case.with.0].concat(),
    };
    let (code, said) = world.run(&options);
    let (expected, sides) = match ends {
        Ends::Agree(tree) => (0, (owned(tree), owned(tree))),
        Ends::Nothing => (0, edited),
        Ends::Stops(code) => (code, edited),
        Ends::Apart(code, here, there) => (code, (owned(here), owned(there))),
    };
    assert_eq!(code, Some(expected), "{shown}\n{said}");
    assert_eq!(world.sides(), sides, "{shown}\n{said}");
}

fn beside_each_other(cases: &[Case]) {
    let Some(rclone) = find("OWS_RCLONE", "rclone") else {
        return;
    };
    for case in cases {
        check(Engine::Rclone, &rclone, case, case.rclone);
        check(Engine::Ows, &rclone, case, case.ows);
    }
}

#[test]
fn what_was_created_edited_deleted_and_renamed() {
    beside_each_other(&cases::changes());
}

#[test]
fn a_side_that_is_not_there_and_too_many_deletes() {
    beside_each_other(&cases::access());
}

#[test]
fn folders_without_files() {
    beside_each_other(&cases::folders());
}

#[test]
fn names_of_all_kinds() {
    beside_each_other(&cases::names());
}

#[test]
fn patterns() {
    beside_each_other(&cases::filters());
}

#[test]
fn conflicts_and_resyncs() {
    beside_each_other(&cases::conflicts());
}

/// Family `backup dir`: what a run takes away is kept, with rclone where two options name folders for it, with `ows` by
/// itself.
#[test]
fn what_is_deleted_and_replaced_is_kept() {
    let Some(rclone) = find("OWS_RCLONE", "rclone") else {
        return;
    };
    for (engine, with_folders) in [
        (Engine::Rclone, false),
        (Engine::Rclone, true),
        (Engine::Ows, false),
    ] {
        let world = World::new(engine, &rclone, &ORDINARY);
        world.baseline(&[]);
        world.here.remove("01");
        world.there.remove("02");
        let (first, second) = (world.home.join("kept/1"), world.home.join("kept/2"));
        let folders = [
            "--backup-dir1",
            first.to_str().expect("it is UTF-8"),
            "--backup-dir2",
            second.to_str().expect("it is UTF-8"),
        ];
        let (code, said) = world.run(if with_folders { &folders } else { &[] });
        assert_eq!(code, Some(0), "{said}");
        let left = owned("00=0 | 03=3");
        assert_eq!(world.sides(), (left.clone(), left));
        let mut kept = contents(&world.home.join("kept"));
        kept.extend(contents(&world.here.join(".ows/trash")));
        kept.extend(contents(&world.there.join(".ows/trash")));
        kept.sort();
        let is_kept = with_folders || engine == Engine::Ows;
        let expected: &[&str] = if is_kept { &["1", "2"] } else { &[] };
        assert_eq!(kept, expected, "{engine:?}, {with_folders}");
    }
}

/// What is in all files below a folder that may not be there.
fn contents(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(std::fs::read_to_string(&path).expect("it is text"));
            }
        }
    }
    found
}

/// Family `volatile`: files appear while a run goes on. Each is there on both sides after the next one.
#[test]
fn what_is_written_during_a_run_comes_with_the_next_one() {
    let Some(rclone) = find("OWS_RCLONE", "rclone") else {
        return;
    };
    for engine in [Engine::Rclone, Engine::Ows] {
        let world = World::new(engine, &rclone, &ORDINARY);
        world.baseline(&[]);
        world.here.write("00", "edited");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..50 {
                    world
                        .here
                        .write(&format!("volatile/{number:02}"), number.to_string());
                    world
                        .there
                        .write(&format!("volatile there/{number:02}"), number.to_string());
                    world.here.write("00", format!("edited {number}"));
                }
            });
            world.run(&[]);
        });
        let (code, said) = world.run(&[]);
        assert_eq!(code, Some(0), "{engine:?}: {said}");
        let (here, there) = world.sides();
        assert_eq!(here, there, "{engine:?}");
        assert_eq!(here.get("00").map(String::as_str), Some("edited 49"));
        assert_eq!(here.len(), 4 + 2 * 51, "{engine:?}: {here:?}");
    }
}

#[test]
fn each_family_is_compared_in_the_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bisync.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let all = [
        cases::changes(),
        cases::access(),
        cases::folders(),
        cases::names(),
        cases::filters(),
        cases::conflicts(),
    ];
    let families = all.iter().flatten().map(|case| case.family);
    for family in families.chain(["backup dir", "volatile"]) {
        assert!(
            page.lines()
                .any(|line| line.starts_with(&format!("| {family} |"))),
            "{family}"
        );
    }
}
