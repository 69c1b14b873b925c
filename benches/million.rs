//! Up to 1,000,000 paths through walk, state and planner: wall time and peak memory, at three sizes, so that linearity
//! shows.
//!
//! ```text
//! cargo bench --bench million
//! ```
//!
//! The first 300,000 files are real, in a temporary folder that is removed afterwards; those beyond are made up as they are
//! asked for, on all sides. The base is a real database. Each measurement is a process of its own, so that peaks
//! (`VmHWM`) do not mix. `OWS_BENCH_FILES` sets the number of real files, `OWS_BENCH_SIZES` the sizes.
//!
//! | case | what is timed |
//! |---|---|
//! | `walk` | the walk over the real files alone |
//! | `noop` | walk, base, listing and planner; everything is in sync |
//! | `stored` | the run after a first push: every stored time becomes known |
//! | `push` | a first push: an action for every file |

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::Utc;
use futures::StreamExt as _;
use ows::ids::{PairId, RunId};
use ows::local::{LocalFolder, Observed, WalkOptions};
use ows::plan::{Caution, Direction, Planner, Resolve, Rules, Triple};
use ows::state::{NewPair, State};
use ows::tree::{BaseRow, LocalFingerprint, RemoteStamp};
use ows_providers::{EntryKind, Hash, NameRules, RelPath, SortKey, Version};

/// Files in one folder.
const FOLDER: u64 = 1000;

/// When the store has stored everything, nanoseconds since the epoch.
const STORED_NS: i64 = 1_700_000_000_000_000_000;

/// What a child is told: its case, how many paths, the place, and how many files are real.
const TASK: &str = "OWS_BENCH_TASK";

fn main() {
    if let Ok(task) = std::env::var(TASK) {
        return child(&task);
    }
    // `cargo test --benches` starts benches too, without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("million: run with `cargo bench --bench million`");
        return;
    }
    let real = number("OWS_BENCH_FILES").unwrap_or(300_000);
    let sizes: Vec<u64> = std::env::var("OWS_BENCH_SIZES")
        .unwrap_or_else(|_| "250000,500000,1000000".to_owned())
        .split(',')
        .map(|size| size.trim().parse().expect("OWS_BENCH_SIZES holds numbers"))
        .collect();
    let largest = sizes.iter().copied().max().unwrap_or_default();
    let place = tempfile::tempdir().expect("a temporary folder");
    make_files(&place.path().join("workspace"), real);
    println!("case        paths   seconds  us/path  peak MiB  what came of it");
    measure("walk", real, place.path(), real);
    // Fills the database that the others read.
    measure("prepare", largest, place.path(), real);
    for case in ["noop", "stored", "push"] {
        for size in &sizes {
            measure(case, *size, place.path(), real);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("the variable holds a number"))
}

fn make_files(root: &Path, count: u64) {
    for file in 0..count {
        let path = root.join(name(file).as_str());
        if file.is_multiple_of(FOLDER) {
            let folder = path.parent().expect("every file lies in a folder");
            fs::create_dir_all(folder).expect("a folder");
        }
        fs::write(path, b"x").expect("a file");
    }
}

/// The names are in the order of their numbers.
fn name(number: u64) -> RelPath {
    let (folder, file) = (number / FOLDER, number % FOLDER);
    RelPath::new(&format!("project-{folder:06}/notes-{file:06}.md")).expect("it is a path")
}

/// Runs one measurement in a process of its own, which prints its line.
fn measure(case: &str, paths: u64, place: &Path, real: u64) {
    let this = std::env::current_exe().expect("this program has a path");
    let status = Command::new(this)
        .env(TASK, format!("{case} {paths} {real} {}", place.display()))
        .status()
        .expect("it starts");
    assert!(status.success(), "{case} of {paths}: {status}");
}

fn child(task: &str) {
    let mut words = task.splitn(4, ' ');
    let mut word = || words.next().expect("the task is complete");
    let (case, paths, real, place) = (word(), word(), word(), Path::new(word()));
    let paths: u64 = paths.parse().expect("a number");
    let real: u64 = real.parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let begun = Instant::now();
    let outcome = match case {
        "walk" => format!("{} files", local(place, real, real).count()),
        "prepare" => runtime.block_on(prepare(place, paths, real)),
        _ => runtime.block_on(plan(case, place, paths, real)),
    };
    let took = begun.elapsed();
    println!(
        "{case:<8} {paths:>8} {:>9.2} {:>8.2} {:>9.1}  {outcome}",
        took.as_secs_f64(),
        per_path(took, paths),
        peak_mib()
    );
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn per_path(took: Duration, paths: u64) -> f64 {
    took.as_secs_f64() * 1e6 / paths.max(1) as f64
}

/// The most memory that this process has held.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("a number");
    kib as f64 / 1024.0
}

/// The local side: the real files by a real walk, then those that are made up.
fn local(place: &Path, paths: u64, real: u64) -> impl Iterator<Item = (SortKey, LocalFingerprint)> {
    let folder = LocalFolder::open(&place.join("workspace")).expect("the folder is there");
    let walk = folder.walk(WalkOptions::default()).expect("it can be read");
    let walked = walk.filter_map(|observed| match observed {
        Observed::Entry(entry) if entry.key.kind == EntryKind::File => {
            Some((entry.key, entry.fingerprint))
        }
        _ => None,
    });
    let walked = walked.take(usize::try_from(real.min(paths)).expect("it fits"));
    walked.chain((real..paths).map(|file| {
        let fingerprint = LocalFingerprint {
            size: 1,
            mtime_ns: STORED_NS,
            ctime_ns: STORED_NS,
            inode: file,
            blake3: None,
            observed_at_ns: i64::MAX / 2,
        };
        (SortKey::file(name(file)), fingerprint)
    }))
}

fn stamp(file: u64, modified_at_ns: Option<i64>) -> RemoteStamp {
    RemoteStamp {
        size: 1,
        version: Some(Version(format!("\"{file:032x}\""))),
        modified_at_ns,
        mtime_ns: None,
        hash: Some(Hash::md5(u128::from(file).to_be_bytes())),
        id: None,
        own: modified_at_ns.is_none(),
        stored_by_ns: modified_at_ns.is_none().then_some(STORED_NS),
    }
}

fn pair() -> PairId {
    PairId::new("0123456789abcdef")
}

/// A base as a first push leaves it.
async fn prepare(place: &Path, paths: u64, real: u64) -> String {
    let state = State::open(&place.join("state")).await.expect("a database");
    let new = NewPair {
        id: pair(),
        remote_id: "bench".to_owned(),
        remote_display: "bench".to_owned(),
        local_path: place.join("workspace"),
        replica_id: "r".to_owned(),
        created_at: Utc::now(),
    };
    state.ensure_pair(&new).await.expect("a pair");
    let run = RunId::random(Utc::now());
    let pair = pair();
    let started = state.start_run(&run, Some(&pair), "sync", Utc::now());
    started.await.expect("a run");
    let writer = state.base_writer(&pair, &run);
    for ((key, mut local), file) in local(place, paths, real).zip(0..) {
        local.blake3 = Some([7; 32]);
        local.observed_at_ns = i64::MAX / 2;
        let remote = stamp(file, None);
        let row = BaseRow { key, local, remote };
        writer.agreed(row).await.expect("it is written");
    }
    writer.finish().await.expect("it is written");
    state.close().await;
    "the base of a first push".to_owned()
}

/// Merges the three sides in lock step, as a run does, and plans.
async fn plan(case: &str, place: &Path, paths: u64, real: u64) -> String {
    let first = case == "push";
    let state = State::open(&place.join("state")).await.expect("a database");
    let mut base = state.base_rows(&pair());
    let mut planner = Planner::new(Rules {
        direction: Direction::Push,
        caution: Caution::None,
        ignore_base: false,
        others_write: false,
        resolve: Resolve::Newer,
        remote_folders: false,
        remote_moves: true,
        names: NameRules {
            max_path_bytes: 1024,
            max_segment_bytes: 1024,
            control_characters: true,
            folds_case: false,
            folds_forms: false,
        },
    });
    for ((key, fingerprint), file) in local(place, paths, real).zip(0..) {
        let mut triple = Triple::new(key);
        triple.local = Some(fingerprint);
        if !first {
            let mut row = base.next().await.expect("as many rows").expect("a row");
            assert_eq!(row.key, triple.key, "the orders agree");
            if case == "noop" {
                row.remote.set_stored(STORED_NS);
            }
            triple.base = Some(row);
            triple.remote = Some(RemoteStamp {
                own: false,
                stored_by_ns: None,
                ..stamp(file, Some(STORED_NS))
            });
        }
        planner.push(triple);
    }
    assert!(planner.questions().is_empty(), "nothing is to be read");
    let plan = planner.finish();
    let (records, actions) = (plan.records.len() as u64, plan.actions().count() as u64);
    let expected = match case {
        "noop" => (0, 0),
        "stored" => (paths, 0),
        _ => (0, paths),
    };
    assert_eq!((records, actions), expected);
    format!("{records} records, {actions} actions")
}
