//! One rich scenario, and the failure of each single call to the remote or the database in it: the next clean run
//! always ends in the same trees. Pairs of failures are sampled.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ows::plan::guards::GuardName;
use ows::state::{FaultPoint, StateFaults};
use ows::sync::SyncOptions;
use ows_providers::ErrorKind;
use ows_providers::layers::{Fault, Moment};
use ows_providers::memory::MemoryOptions;
use ows_testkit::tree::Files;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{Pair, TRANSIENT, clean};

/// Pairs of failures that are tried, for each kind of store.
const PAIRS: u64 = 60;

/// What is uploaded in parts.
fn large(letter: u8) -> String {
    String::from_utf8(vec![letter; 9000]).expect("it is ASCII")
}

fn options(base: MemoryOptions) -> MemoryOptions {
    MemoryOptions {
        single_put_max: 4096,
        ..base
    }
}

/// A pair as it is before the run that is disturbed: synced once or never, and then changed on both sides.
async fn scene(options: MemoryOptions, is_first: bool) -> Pair {
    let large_a = large(b'a');
    let before = [
        ("same.md", "same"),
        ("edited.md", "edited before"),
        ("edited remotely.md", "edited remotely, before"),
        ("moved.md", "to be moved"),
        ("deleted.md", "to be deleted"),
        ("file-or-folder", "a file"),
        ("folder/or-file", "a file in a folder"),
        ("large.bin", large_a.as_str()),
        ("_inbox/note.txt", "taken"),
        ("d/.DS_Store", "excluded"),
    ];
    let mut pair = Pair::new(options, &before);
    // One after the other, so that the n-th call is always the same.
    pair.settings.transfers = Some(1);
    if is_first {
        pair.store.insert("same.md", b"same");
    } else {
        clean(&pair.sync().await);
    }
    pair.later();
    pair.local.write("edited.md", "edited after, longer");
    pair.local.rename("moved.md", "elsewhere/moved too.md");
    pair.local.remove("deleted.md");
    pair.local.remove("file-or-folder");
    pair.local.write("file-or-folder/inside", "a file inside");
    pair.local.remove("folder");
    pair.local.write("folder", "a file now");
    pair.local.write("large.bin", large(b'b'));
    pair.local.write("new/large.bin", large(b'c'));
    pair.local.write("new/small.md", "small");
    pair.local.write("new/empty", "");
    pair.store
        .insert("edited remotely.md", b"edited remotely, after");
    pair.store.insert("stray/file.txt", b"stray");
    pair.store
        .insert("excluded/.DS_Store", b"excluded in the remote");
    pair.store
        .insert("_outbox/note.txt", b"dropped, and the name is taken");
    pair.store.insert("_outbox/sub/free.txt", b"dropped");
    pair.store.insert("_outbox/half.tmp", b"half written");
    pair.later();
    pair
}

/// All that a person sees in the end, and what was kept.
#[derive(Debug, PartialEq, Eq)]
struct End {
    local: Files,
    remote: Files,
    outbox: Files,
    kept: BTreeSet<Vec<u8>>,
}

impl End {
    fn of(pair: &Pair) -> Self {
        let mut remote = pair.store.files();
        remote.retain(|path, _| !path.starts_with(".ows/") && !path.starts_with("_outbox/"));
        let bin = pair.store.bin().into_iter().map(|(_, content)| content);
        // A disturbed run may keep a copy more than an undisturbed one. What a person made in the remote is always kept.
        let mine =
            |content: &Vec<u8>| [&b"edited remotely, after"[..], b"stray"].contains(&&content[..]);
        let trash = pair.remote_trash().into_iter().map(|(_, content)| content);
        Self {
            local: pair.local.files(),
            remote,
            outbox: pair.outbox(),
            kept: trash.chain(bin).filter(mine).collect(),
        }
    }
}

/// Something that goes wrong in a run.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// The n-th call to the remote, from 1.
    Call(u64, Moment, ErrorKind),
    /// The n-th call to the database, from 1, before or after it took effect.
    Database(u64),
    /// Everything from the n-th call to the remote on.
    Death(u64, Moment),
}

/// The run with failures, then the clean one. Says whether all of the failures were reached.
async fn disturbed(pair: &Pair, failures: &[Failure]) -> bool {
    let mut database = BTreeSet::new();
    let calls_before = pair.faults.calls();
    for failure in failures {
        match *failure {
            Failure::Call(nth, Moment::Before, kind) => {
                pair.faults.add(Fault::any().nth(nth).before(kind));
            }
            Failure::Call(nth, Moment::After, kind) => {
                pair.faults.add(Fault::any().nth(nth).after(kind));
            }
            Failure::Death(nth, moment) => {
                pair.faults.crash_at(nth, moment);
            }
            Failure::Database(nth) => {
                database.insert(nth);
            }
        }
    }
    let (faults, count) = database_faults(database.clone());
    let options = SyncOptions {
        state_faults: Some(faults),
        ..forced()
    };
    drop(pair.run(options).await);
    let last = database.last().copied().unwrap_or(0);
    let reached = pair.faults.unreached().is_empty() && count.load(Ordering::SeqCst) >= last;
    assert!(pair.faults.calls() > calls_before || !database.is_empty());
    pair.faults.clear();
    reached
}

/// A first run displaces what the remote holds.
fn forced() -> SyncOptions {
    SyncOptions {
        force: [GuardName::FirstSync].into(),
        ..SyncOptions::default()
    }
}

fn database_faults(failing: BTreeSet<u64>) -> (StateFaults, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&count);
    let faults = move |_: &'static str, _: FaultPoint| {
        failing.contains(&(counting.fetch_add(1, Ordering::SeqCst) + 1))
    };
    (StateFaults(Arc::new(faults)), count)
}

/// After the disturbed run: one clean run, the end that it should have, and nothing more to do.
async fn assert_heals(pair: &Pair, wanted: &End, failures: &[Failure]) {
    pair.later();
    let finished = pair.run(forced()).await;
    assert!(
        finished.failure.is_none(),
        "after {failures:?}: {:?} {:?}",
        finished.failure,
        finished.report.errors
    );
    assert_eq!(End::of(pair), *wanted, "after {failures:?}");
    pair.assert_nothing_left_behind();
    pair.assert_quiet().await;
}

async fn undisturbed(options: &MemoryOptions, is_first: bool) -> (End, u64, u64) {
    let pair = scene(options.clone(), is_first).await;
    let before = pair.faults.calls();
    let (faults, count) = database_faults(BTreeSet::new());
    let run = SyncOptions {
        state_faults: Some(faults),
        ..forced()
    };
    clean(&pair.run(run).await);
    let calls = pair.faults.calls() - before;
    let database = count.load(Ordering::SeqCst);
    let wanted = End::of(&pair);
    assert_eq!(
        wanted.local["_inbox/note (2).txt"],
        b"dropped, and the name is taken"
    );
    assert_eq!(wanted.outbox.len(), 1, "what is half written stays");
    assert_eq!(wanted.kept.len(), 2, "what a person made in the remote");
    pair.assert_quiet().await;
    (wanted, calls, database)
}

async fn sweep(base: MemoryOptions, is_first: bool) {
    let options = options(base);
    let (wanted, calls, database) = undisturbed(&options, is_first).await;
    let mut failures = Vec::new();
    for nth in 1..=calls {
        for moment in [Moment::Before, Moment::After] {
            failures.push(Failure::Call(nth, moment, TRANSIENT));
            failures.push(Failure::Death(nth, moment));
        }
        failures.push(Failure::Call(nth, Moment::Before, ErrorKind::Permanent));
    }
    failures.extend((1..=database).map(Failure::Database));
    for failure in failures {
        let pair = scene(options.clone(), is_first).await;
        assert!(
            disturbed(&pair, &[failure]).await,
            "{failure:?} was not reached"
        );
        assert_heals(&pair, &wanted, &[failure]).await;
    }
}

async fn pairs(base: MemoryOptions, is_first: bool) {
    let options = options(base);
    let (wanted, calls, database) = undisturbed(&options, is_first).await;
    let random = Arc::new(Mutex::new(StdRng::seed_from_u64(7)));
    let failure = || {
        let mut random = random.lock().expect("nobody panicked");
        let moment = if random.random() {
            Moment::Before
        } else {
            Moment::After
        };
        match random.random_range(0..3) {
            0 => Failure::Database(random.random_range(1..=database)),
            1 => Failure::Death(random.random_range(1..=calls), moment),
            _ => Failure::Call(random.random_range(1..=calls), moment, TRANSIENT),
        }
    };
    for _ in 0..PAIRS {
        let both = [failure(), failure()];
        let pair = scene(options.clone(), is_first).await;
        // Half of them in one run, half in two runs in a row. The first may keep the second from being reached.
        if failure_in_one_run(&both) {
            disturbed(&pair, &both).await;
        } else {
            disturbed(&pair, &both[..1]).await;
            disturbed(&pair, &both[1..]).await;
        }
        assert_heals(&pair, &wanted, &both).await;
    }
}

fn failure_in_one_run(both: &[Failure; 2]) -> bool {
    matches!(both, [Failure::Call(..), _] | [_, Failure::Call(..)])
}

#[tokio::test]
async fn any_failed_call_of_a_run_over_s3_heals() {
    sweep(MemoryOptions::s3(), false).await;
}

#[tokio::test]
async fn any_failed_call_of_a_run_over_a_folder_heals() {
    sweep(MemoryOptions::folder(), false).await;
}

#[tokio::test]
async fn any_failed_call_of_a_run_over_a_drive_heals() {
    sweep(MemoryOptions::drive(), false).await;
}

#[tokio::test]
async fn any_failed_call_of_a_first_run_over_s3_heals() {
    sweep(MemoryOptions::s3(), true).await;
}

#[tokio::test]
async fn any_failed_call_of_a_first_run_over_a_folder_heals() {
    sweep(MemoryOptions::folder(), true).await;
}

#[tokio::test]
async fn any_two_failed_calls_over_s3_heal() {
    pairs(MemoryOptions::s3(), false).await;
}

#[tokio::test]
async fn any_two_failed_calls_over_a_folder_heal() {
    pairs(MemoryOptions::folder(), false).await;
}
