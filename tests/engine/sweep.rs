//! One rich scenario, and the failure of each single call to the remote or the database in it: the next clean run
//! always ends in the same trees. Pairs of failures are sampled.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ows::plan::guards::GuardName;
use ows::plan::{Resolve, Side};
use ows::state::{FaultPoint, StateFaults};
use ows::sync::{FirstSync, SyncMode, SyncOptions};
use ows_providers::ErrorKind;
use ows_providers::layers::{Fault, Moment};
use ows_providers::memory::MemoryOptions;
use ows_testkit::tree::Files;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{Pair, TRANSIENT, clean};

/// Pairs of failures that are tried, for each kind of store.
const PAIRS: u64 = 60;

/// What is renamed on one side, and edited on the other under the old name.
const MOVED_AND_EDITED: &str = "moved and edited";
const EDITED_WHERE_IT_WAS: &[u8] = b"edited there, where it was before";

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

/// What the run that is disturbed has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// A push and a drain.
    Mailbox,
    /// The same without a base.
    FirstMailbox,
    /// Everything that may be done on either side, or on both.
    Bisync,
    /// Two sides that were never united.
    FirstBisync,
}

impl Scene {
    async fn set(self, options: MemoryOptions) -> Pair {
        // Each is a large future, and a test has a small stack.
        match self {
            Self::Mailbox => Box::pin(scene(options, false)).await,
            Self::FirstMailbox => Box::pin(scene(options, true)).await,
            Self::Bisync => Box::pin(two_way(options, false)).await,
            Self::FirstBisync => Box::pin(two_way(options, true)).await,
        }
    }
}

/// A pair in bisync mode as it is before the run that is disturbed: everything was done that can be, on either side and on
/// both.
async fn two_way(options: MemoryOptions, is_first: bool) -> Pair {
    let (large_a, large_b) = (large(b'a'), large(b'b'));
    let before = [
        ("same.md", "same"),
        ("edited here.md", "edited here, before"),
        ("edited there.md", "edited there, before"),
        ("both alike.md", "both alike, before"),
        ("both.md", "both, before"),
        ("deleted here.md", "to be deleted here"),
        ("deleted there.md", "to be deleted there"),
        ("deleted and edited.md", "deleted and edited, before"),
        ("edited and deleted.md", "edited and deleted, before"),
        ("moved.md", "to be moved here"),
        ("d/moved too.md", "to be moved there"),
        ("moved and edited.md", "moved and edited, before"),
        ("file-or-folder", "a file"),
        ("folder/or-file", "a file in a folder"),
        ("kept/deleted here.md", "to be deleted with its folder"),
        ("large.bin", large_a.as_str()),
        ("d/.DS_Store", "excluded"),
    ];
    let mut pair = Pair::new(options, &before);
    pair.settings.mode = SyncMode::Bisync;
    pair.settings.first_sync = FirstSync::Merge;
    pair.settings.conflict_resolve = Resolve::Always(Side::Remote);
    // One after the other, so that the n-th call is always the same.
    pair.settings.transfers = Some(1);
    if is_first {
        for (path, content) in &before[..8] {
            pair.store.insert(path, content.as_bytes());
        }
    } else {
        clean(&pair.sync().await);
    }
    pair.later();
    let (local, store) = (&pair.local, &pair.store);
    local.write("edited here.md", "edited here, longer");
    store.insert("edited there.md", b"edited there, longer");
    local.write("both alike.md", "the same on both");
    store.insert("both alike.md", b"the same on both");
    local.write("both.md", "of this host");
    store.insert("both.md", b"of another host");
    local.remove("deleted here.md");
    store.remove("deleted there.md");
    local.remove("deleted and edited.md");
    store.insert("deleted and edited.md", b"edited after all, there");
    local.write("edited and deleted.md", "edited after all, here");
    store.remove("edited and deleted.md");
    local.rename("moved.md", "elsewhere/moved.md");
    store.remove("d/moved too.md");
    store.insert("elsewhere/moved too.md", b"to be moved there");
    local.rename("moved and edited.md", "elsewhere/moved and edited.md");
    store.insert("moved and edited.md", EDITED_WHERE_IT_WAS);
    local.remove("file-or-folder");
    local.write("file-or-folder/inside", "a file inside");
    store.remove("folder");
    store.insert("folder", b"a file now");
    local.remove("kept");
    store.insert(
        "kept/new there.md",
        b"new in a folder that was deleted here",
    );
    local.write("large.bin", &large_b);
    local.write("new/large.bin", large(b'c'));
    local.write("new/empty", "");
    store.insert("new/large there.bin", large(b'd').as_bytes());
    store.insert("new/small there.md", b"small");
    pair.later();
    pair
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
#[derive(PartialEq, Eq)]
struct End {
    local: Files,
    remote: Files,
    /// What was edited on one side and renamed on the other is on both.
    edit_is_there: bool,
    outbox: Files,
    kept: BTreeSet<Vec<u8>>,
}

impl End {
    fn of(pair: &Pair) -> Self {
        let mut remote = pair.store.files();
        remote.retain(|path, _| !path.starts_with(".ows/") && !path.starts_with("_outbox/"));
        let bin = pair.store.bin().into_iter().map(|(_, content)| content);
        // A disturbed run may keep a copy more than an undisturbed one. What a person made in the remote is always kept.
        let mine = |content: &Vec<u8>| {
            let made: [&[u8]; 5] = [
                b"edited remotely, after",
                b"stray",
                b"to be deleted here",
                b"to be deleted there",
                b"to be deleted with its folder",
            ];
            made.contains(&&content[..])
        };
        let trash = pair.remote_trash().into_iter().chain(pair.local_trash());
        let trash = trash.map(|(_, content)| content);
        let mut local = pair.local.files();
        // A run that dies after it has carried a rename over, and before it has noted that, leaves an edit at the new name
        // that looks like one of its own: then what was there before is kept beside it.
        let is_edited = |files: &mut Files| {
            let found = files.extract_if(.., |path, _| path.contains(MOVED_AND_EDITED));
            let contents: BTreeSet<Vec<u8>> = found.map(|(_, content)| content).collect();
            contents.contains(EDITED_WHERE_IT_WAS)
        };
        let edit_is_there = is_edited(&mut local) && is_edited(&mut remote);
        Self {
            local,
            remote,
            edit_is_there,
            outbox: pair.outbox(),
            kept: trash.chain(bin).filter(mine).collect(),
        }
    }
}

impl fmt::Debug for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (side, files) in [("here", &self.local), ("there", &self.remote)] {
            for (path, content) in files {
                let start = String::from_utf8_lossy(&content[..content.len().min(40)]);
                writeln!(formatter, "{side}: {path} = {start}")?;
            }
        }
        let kept = self
            .kept
            .iter()
            .map(|content| String::from_utf8_lossy(content));
        writeln!(formatter, "edit: {}", self.edit_is_there)?;
        writeln!(formatter, "kept: {:?}", kept.collect::<Vec<_>>())?;
        writeln!(
            formatter,
            "dropped: {:?}",
            self.outbox.keys().collect::<Vec<_>>()
        )
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
    drop(Box::pin(pair.run(options)).await);
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
    let finished = Box::pin(pair.run(forced())).await;
    assert!(
        finished.failure.is_none(),
        "after {failures:?}: {:?} {:?}",
        finished.failure,
        finished.report.errors
    );
    let end = End::of(pair);
    assert!(
        end == *wanted,
        "after {failures:?}\n{end:?}\ninstead of\n{wanted:?}"
    );
    pair.assert_nothing_left_behind();
    pair.assert_quiet().await;
}

async fn undisturbed(options: &MemoryOptions, scene: Scene) -> (End, u64, u64) {
    let pair = scene.set(options.clone()).await;
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
    match scene {
        Scene::Mailbox | Scene::FirstMailbox => {
            assert_eq!(
                wanted.local["_inbox/note (2).txt"],
                b"dropped, and the name is taken"
            );
            assert_eq!(wanted.outbox.len(), 1, "what is half written stays");
            assert_eq!(wanted.kept.len(), 2, "what a person made in the remote");
        }
        Scene::Bisync => {
            assert_eq!(wanted.local["both.md.conflict"], b"of this host");
            assert!(wanted.edit_is_there);
            assert_eq!(wanted.kept.len(), 3, "what was deleted");
        }
        Scene::FirstBisync => assert_eq!(wanted.kept.len(), 0, "a merge deletes nothing"),
    }
    pair.assert_quiet().await;
    (wanted, calls, database)
}

async fn sweep(base: MemoryOptions, scene: Scene) {
    let options = options(base);
    let (wanted, calls, database) = undisturbed(&options, scene).await;
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
        let pair = scene.set(options.clone()).await;
        assert!(
            disturbed(&pair, &[failure]).await,
            "{failure:?} was not reached"
        );
        assert_heals(&pair, &wanted, &[failure]).await;
    }
}

async fn pairs(base: MemoryOptions, scene: Scene) {
    let options = options(base);
    let (wanted, calls, database) = undisturbed(&options, scene).await;
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
        let pair = scene.set(options.clone()).await;
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
    sweep(MemoryOptions::s3(), Scene::Mailbox).await;
}

#[tokio::test]
async fn any_failed_call_of_a_run_over_a_folder_heals() {
    sweep(MemoryOptions::folder(), Scene::Mailbox).await;
}

#[tokio::test]
async fn any_failed_call_of_a_run_over_a_drive_heals() {
    sweep(MemoryOptions::drive(), Scene::Mailbox).await;
}

#[tokio::test]
async fn any_failed_call_of_a_first_run_over_s3_heals() {
    sweep(MemoryOptions::s3(), Scene::FirstMailbox).await;
}

#[tokio::test]
async fn any_failed_call_of_a_first_run_over_a_folder_heals() {
    sweep(MemoryOptions::folder(), Scene::FirstMailbox).await;
}

#[tokio::test]
async fn any_two_failed_calls_over_s3_heal() {
    pairs(MemoryOptions::s3(), Scene::Mailbox).await;
}

#[tokio::test]
async fn any_two_failed_calls_over_a_folder_heal() {
    pairs(MemoryOptions::folder(), Scene::Mailbox).await;
}

#[tokio::test]
async fn any_failed_call_of_a_bisync_over_s3_heals() {
    sweep(MemoryOptions::s3(), Scene::Bisync).await;
}

#[tokio::test]
async fn any_failed_call_of_a_bisync_over_a_drive_heals() {
    sweep(MemoryOptions::drive(), Scene::Bisync).await;
}

#[tokio::test]
async fn any_failed_call_of_a_first_bisync_over_s3_heals() {
    sweep(MemoryOptions::s3(), Scene::FirstBisync).await;
}

#[tokio::test]
async fn any_two_failed_calls_of_a_bisync_over_s3_heal() {
    pairs(MemoryOptions::s3(), Scene::Bisync).await;
}
