//! Random histories in which databases, checkpoints, markers and whole remotes are lost or put back in time.
//!
//! The model: every content that a person wrote, and did not delete or overwrite by hand, is at the end on a side or in a
//! trash, whatever was put back; and once nobody edits any more two runs bring both sides together, and a third has
//! nothing to do.
//!
//! `OWS_SEED=N` replays one history; `OWS_SEEDS=N` plays so many of each kind, from that one on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::state::{FaultPoint, State, StateFaults};
use ows::sync::{Finished, SyncOptions};
use ows_providers::memory::MemoryOptions;
use ows_testkit::tree::{Files, TempTree};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::person::Person;
use crate::support::Pair;

/// Histories of each kind, without `OWS_SEEDS`.
const SEEDS: u64 = 80;

/// Files larger than this are uploaded in parts.
const LARGE: usize = 6 << 10;

/// Small enough that checkpoints come in parts, too, now and then.
const SINGLE_PUT_MAX: u64 = 1 << 10;

#[test]
fn nothing_that_is_put_back_in_time_loses_anything_over_s3() {
    histories("s3", &MemoryOptions::s3());
}

#[test]
fn nothing_that_is_put_back_in_time_loses_anything_over_a_folder() {
    histories("folder", &MemoryOptions::folder());
}

#[test]
fn nothing_that_is_put_back_in_time_loses_anything_over_a_drive() {
    histories("drive", &MemoryOptions::drive());
}

#[expect(
    clippy::print_stderr,
    reason = "a failing test must show how to run it again"
)]
fn histories(kind: &str, options: &MemoryOptions) {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let seeds = match number("OWS_SEED") {
        Some(seed) => seed..seed.saturating_add(number("OWS_SEEDS").unwrap_or(1)),
        None => 0..number("OWS_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let mut history = History::new(seed, options.clone());
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.play()));
        if let Err(panic) = played {
            let diary = history.person.diary.join("\n");
            eprintln!("{kind}: OWS_SEED={seed} plays this again:\n{diary}");
            std::panic::resume_unwind(panic);
        }
    }
}

struct History {
    rng: StdRng,
    pair: Pair,
    person: Person,
    /// Databases as they were.
    states: Vec<TempTree>,
    /// Checkpoints as they were, by their names.
    checkpoints: Vec<(String, Vec<u8>)>,
    /// Remotes as they were.
    remotes: Vec<Files>,
}

impl History {
    fn new(seed: u64, options: MemoryOptions) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let options = MemoryOptions {
            single_put_max: SINGLE_PUT_MAX,
            ..options
        };
        let folders = options.folders;
        let mut pair = Pair::new(options, &[("keep.md", "stays")]);
        pair.settings.max_delete = 100;
        pair.settings.trash_remote = true;
        pair.settings.transfers = Some(rng.random_range(1..4));
        let mut person = Person::new(rng.random(), pair.local.path(), &pair.store, folders, LARGE);
        // A folder without its marker is filled by a pull, in which the remote is the truth.
        person.pulls = rng.random_bool(0.5);
        Self {
            rng,
            pair,
            person,
            states: Vec::new(),
            checkpoints: Vec::new(),
            remotes: Vec::new(),
        }
    }

    fn play(&mut self) {
        for _ in 0..self.rng.random_range(2..7) {
            for _ in 0..self.rng.random_range(0..6) {
                self.person.act();
            }
            if self.rng.random_bool(0.5) {
                self.put_back();
            }
            self.run();
            self.assert_nothing_lost();
            self.remember();
        }
        // Nobody edits any more.
        self.settle();
        self.assert_nothing_lost();
        // Unfinished uploads that only a lost database knew of are the store's to clear away.
        let pair = &self.pair;
        assert_eq!(pair.remote(), pair.workspace(), "remote and workspace");
        runtime().block_on(pair.assert_quiet());
    }

    /// Keeps everything as it is now.
    fn remember(&mut self) {
        let own = &self.pair.settings.own_dir;
        if own.exists() {
            let kept = TempTree::in_memory();
            copy_folder(own, &kept.join("ows"));
            self.states.push(kept);
        }
        let files = self.pair.store.files();
        let copies = files
            .iter()
            .filter(|(path, _)| path.starts_with(".ows/base-"));
        let copies: Vec<_> = copies
            .map(|(path, bytes)| (path.clone(), bytes.clone()))
            .collect();
        self.checkpoints.extend(copies);
        self.remotes.push(files);
    }

    /// Something is lost, or put back as it was at some time before.
    fn put_back(&mut self) {
        let own = self.pair.settings.own_dir.clone();
        match self.rng.random_range(0..9) {
            0..=2 if !self.states.is_empty() => {
                let at = self.rng.random_range(0..self.states.len());
                self.note(&format!("the database of run {at} is put back"));
                self.pair.state.remove("ows");
                copy_folder(&self.states[at].join("ows"), &own);
            }
            3 | 4 if !self.checkpoints.is_empty() => {
                let at = self.rng.random_range(0..self.checkpoints.len());
                let (path, bytes) = self.checkpoints[at].clone();
                self.note(&format!("checkpoint {at} is put back"));
                self.pair.later();
                self.pair.store.insert(&path, &bytes);
            }
            5 if own.exists() => {
                self.note("the database is lost");
                self.pair.state.remove("ows");
            }
            6 if self.person.pulls && self.pair.local.join(".ows/replica").exists() => {
                self.note("the marker is lost");
                self.pair.local.remove(".ows/replica");
            }
            7 if own.exists() => {
                self.note("the database and a checkpoint are lost");
                self.pair.state.remove("ows");
                if let Some((path, _)) = self.checkpoints.last() {
                    self.pair.store.remove(path);
                }
            }
            8 if !self.remotes.is_empty() => self.put_remote_back(),
            _ => {}
        }
    }

    /// Whatever was written since, and is nowhere else, was given up by whoever restored the remote.
    fn put_remote_back(&mut self) {
        let at = self.rng.random_range(0..self.remotes.len());
        self.note(&format!("the remote of run {at} is put back"));
        let store = &self.pair.store;
        let old = &self.remotes[at];
        self.pair.later();
        for path in store.files().into_keys() {
            // What was delivered is not dropped once more: a person would have to wish for that.
            if !old.contains_key(&path) {
                store.remove(&path);
            }
        }
        for (path, bytes) in old {
            let below_file = path
                .match_indices('/')
                .any(|(end, _)| store.get(&path[..end]).is_some());
            let is_dir = store.dirs().iter().any(|dir| dir == path);
            let has_folders = self.pair.settings.provider.capabilities().folders;
            if has_folders && (below_file || is_dir) {
                continue;
            }
            if store.get(path).as_ref() != Some(bytes) {
                store.insert(path, bytes);
            }
        }
        let there = self.pair.contents();
        self.person
            .required
            .retain(|content| there.contains(content));
        self.pair.later();
    }

    fn note(&mut self, text: &str) {
        self.person.diary.push(text.to_owned());
    }

    /// A run, which may be killed at any call to the database.
    fn run(&mut self) {
        let mut options = forced();
        // A person answers the guard that nothing passes, as it says.
        let answers = self.rng.random_bool(0.3);
        let dies_at = self
            .rng
            .random_bool(0.4)
            .then(|| self.rng.random_range(1..60_u64));
        if let Some(dies_at) = dies_at {
            options.state_faults = Some(dying(dies_at));
        }
        self.note(&format!("run, dies at {dies_at:?}"));
        let finished = self.carry_out(options);
        let unmarked = is_unmarked(&finished);
        self.ended(&finished);
        if unmarked && answers {
            self.pull();
        }
        self.pair.later();
    }

    /// The way out that the guard `local-root` offers. What the workspace has beside the remote goes to its trash.
    fn pull(&mut self) {
        let options = SyncOptions {
            direction: Some(Direction::Pull),
            ..forced()
        };
        self.note("pull");
        let finished = self.carry_out(options);
        self.ended(&finished);
    }

    fn ended(&mut self, finished: &Finished) {
        let text = format!(
            "ended: {:?} {:?} {:?}",
            finished.failure.as_ref().map(|failure| &failure.message),
            finished.report.errors,
            finished.report.warnings
        );
        self.note(&text);
    }

    fn carry_out(&self, options: SyncOptions) -> Finished {
        let runtime = runtime();
        let finished = runtime.block_on(self.pair.run(options));
        // The threads of a database that was not closed may still be busy with it: the last one to close folds the log.
        let log = self.pair.settings.own_dir.join("state.db-wal");
        for _ in 0..1000 {
            if !log.exists() {
                break;
            }
            runtime.block_on(async {
                let state = State::open(&self.pair.settings.own_dir).await;
                state.expect("a whole database").close().await;
            });
        }
        finished
    }

    /// Two runs bring both sides together; a folder without its marker needs a person before.
    fn settle(&mut self) {
        self.pair.later();
        let finished = self.carry_out(forced());
        self.ended(&finished);
        if is_unmarked(&finished) {
            self.pair.later();
            self.pull();
            self.pair.later();
            let finished = self.carry_out(forced());
            self.ended(&finished);
        }
        self.pair.later();
        let finished = self.carry_out(forced());
        self.ended(&finished);
        assert!(finished.failure.is_none(), "{:?}", finished.failure);
    }

    fn assert_nothing_lost(&self) {
        let there = self.pair.contents();
        let lost: Vec<_> = self
            .person
            .required
            .difference(&there)
            .map(|content| String::from_utf8_lossy(&content[..content.len().min(22)]).into_owned())
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
}

/// Every guard but the caution that this is about.
fn forced() -> SyncOptions {
    let force: BTreeSet<_> = GuardName::ALL
        .into_iter()
        .filter(|guard| *guard != GuardName::StateRollback)
        .collect();
    SyncOptions {
        force,
        ..SyncOptions::default()
    }
}

fn is_unmarked(finished: &Finished) -> bool {
    let guard = finished.report.guard.as_ref();
    guard.is_some_and(|stop| stop.name == GuardName::LocalRoot)
}

/// From this call on no call to the database succeeds, as for a process that was killed.
fn dying(at: u64) -> StateFaults {
    let steps = std::sync::atomic::AtomicU64::new(0);
    StateFaults(Arc::new(move |_call: &'static str, _point: FaultPoint| {
        steps.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 >= at
    }))
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}
