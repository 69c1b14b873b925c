//! Two hosts in mailbox mode at one remote, and a person who edits in the cloud: with kills, clocks that jump, and runs at
//! the same time. Nothing may be lost, and when people stop, nothing is written after a few runs of each, whatever the two
//! workspaces hold.
//!
//! `OWS_SEED=N` replays one history; `OWS_SEEDS=N` plays so many.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ows::error::FailureKind;
use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::sync::{Finished, FirstSync, HostClock, Reading, SyncOptions};
use ows_providers::ErrorKind;
use ows_providers::layers::{Fault, Moment};
use ows_providers::memory::{MemoryOptions, MemoryStore};
use ows_testkit::tree::Files;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{Pair, calls, clean, files, kept, kind};

/// Histories of each kind, without `OWS_SEEDS`.
const SEEDS: u64 = 25;

/// Runs of each host after which no host writes any more when people have stopped.
const SETTLES_WITHIN: usize = 4;

/// A run that came to its end, perhaps with something left alone.
#[track_caller]
fn settles(finished: &Finished) {
    assert!(
        matches!(kind(finished), None | Some(FailureKind::Partial)),
        "{:?} {:?}",
        finished.failure,
        finished.report.errors
    );
    assert_eq!(finished.report.counts.failed, 0, "{:?}", finished.report);
}

/// A host: its pair, and a wall clock that may be anywhere.
struct Host {
    pair: Pair,
    wall: Arc<Mutex<DateTime<Utc>>>,
}

impl Host {
    fn new(mut pair: Pair) -> Self {
        pair.settings.max_delete = 100;
        pair.settings.max_change = 100;
        Self {
            pair,
            wall: Arc::new(Mutex::new(Utc::now())),
        }
    }

    fn set_back(&self, by: TimeDelta) {
        *self.wall.lock().unwrap_or_else(PoisonError::into_inner) -= by;
    }

    async fn run(&self) -> Finished {
        self.forced(&[]).await
    }

    async fn forced(&self, guards: &[GuardName]) -> Finished {
        let wall = Arc::clone(&self.wall);
        let options = SyncOptions {
            clock: HostClock::new(move || Reading {
                wall: *wall.lock().unwrap_or_else(PoisonError::into_inner),
                steady: Duration::ZERO,
            }),
            force: guards.iter().copied().collect(),
            ..SyncOptions::default()
        };
        self.pair.run(options).await
    }
}

struct World {
    rng: StdRng,
    store: MemoryStore,
    hosts: [Host; 2],
    count: u32,
    /// What the person put into the cloud and has not taken away again.
    in_cloud: BTreeSet<Vec<u8>>,
    dropped: BTreeSet<Vec<u8>>,
    diary: Vec<String>,
}

impl World {
    async fn new(seed: u64, options: MemoryOptions) -> Self {
        let hosts = two(options, &[("keep.md", "stays")]).await;
        Self {
            rng: StdRng::seed_from_u64(seed),
            store: hosts[0].pair.store.clone(),
            hosts,
            count: 0,
            in_cloud: BTreeSet::new(),
            dropped: BTreeSet::new(),
            diary: Vec::new(),
        }
    }

    fn content(&mut self) -> Vec<u8> {
        self.count += 1;
        format!("content {}", self.count).into_bytes()
    }

    fn path(&mut self) -> String {
        format!(
            "d{}/f{}",
            self.rng.random_range(0..2),
            self.rng.random_range(0..3)
        )
    }

    /// Somebody does something: on a host, in the cloud, or to a clock.
    fn act(&mut self) {
        let (path, content) = (self.path(), self.content());
        let host = self.rng.random_range(0..2_usize);
        let what = self.rng.random_range(0..10);
        let text = String::from_utf8_lossy(&content).into_owned();
        self.diary.push(format!("{what} host {host} {path} {text}"));
        let local = &self.hosts[host].pair.local;
        match what {
            0..=3 => local.write(&path, &text),
            4 if local.files().contains_key(&path) => local.remove(&path),
            5 | 6 => {
                self.take_away(&path);
                self.store.insert(&path, &content);
                self.in_cloud.insert(content);
            }
            7 => {
                self.take_away(&path);
                self.store.remove(&path);
            }
            8 => {
                self.store
                    .insert(&format!("_outbox/n{}", self.count), &content);
                self.dropped.insert(content);
            }
            _ => {
                let hours = self.rng.random_range(-48..48);
                self.hosts[host].set_back(TimeDelta::hours(hours));
            }
        }
    }

    /// Who overwrites or removes a file in the cloud means what is in it.
    fn take_away(&mut self, path: &str) {
        if let Some(content) = self.store.get(path) {
            self.in_cloud.remove(&content);
        }
    }

    /// One of the hosts runs, or both at once; some are killed in the middle.
    async fn runs(&mut self) {
        for host in &self.hosts {
            if self.rng.random_bool(0.3) {
                let call = self.rng.random_range(1..25);
                let moment = if self.rng.random_bool(0.5) {
                    Moment::Before
                } else {
                    Moment::After
                };
                host.pair.faults.crash_at(call, moment);
            }
        }
        let before = self.workspaces();
        let [first, second] = &self.hosts;
        match self.rng.random_range(0..3) {
            0 => drop(first.run().await),
            1 => drop(second.run().await),
            _ => drop(tokio::join!(first.run(), second.run())),
        }
        for host in &self.hosts {
            host.pair.faults.clear();
        }
        assert_eq!(self.workspaces(), before, "no run changes a workspace");
        // The provider's clock may be set, too, if not often.
        if self.rng.random_bool(0.1) {
            let seconds = self.rng.random_range(-200..4000);
            self.store
                .set_now(self.store.now() + TimeDelta::seconds(seconds));
        }
        self.store.advance(Duration::from_secs(2));
        self.assert_nothing_lost();
    }

    fn workspaces(&self) -> [Files; 2] {
        [
            self.hosts[0].pair.workspace(),
            self.hosts[1].pair.workspace(),
        ]
    }

    fn assert_nothing_lost(&self) {
        let [first, second] = &self.hosts;
        let mut everywhere = first.pair.contents();
        everywhere.extend(second.pair.contents());
        for content in self.in_cloud.iter().chain(&self.dropped) {
            let text = String::from_utf8_lossy(content);
            assert!(everywhere.contains(content), "lost: {text}");
        }
    }

    /// People stop: after a few runs of each host none writes any more, whatever the two workspaces hold.
    async fn become_quiet(&mut self) {
        for host in &self.hosts {
            *host.wall.lock().unwrap_or_else(PoisonError::into_inner) = Utc::now();
        }
        // Leases of killed runs end; what a kill left is taken up; each side has had its last word.
        for _ in 0..SETTLES_WITHIN {
            self.store.advance(Duration::from_secs(6000));
            for host in &self.hosts {
                let finished = host.run().await;
                if kind(&finished) == Some(FailureKind::Busy) {
                    host.set_back(TimeDelta::minutes(-10));
                    settles(&host.run().await);
                } else {
                    settles(&finished);
                }
            }
            self.assert_nothing_lost();
        }
        let before = self.store.files();
        for _ in 0..2 {
            for host in &self.hosts {
                self.store.advance(Duration::from_secs(600));
                let finished = host.run().await;
                settles(&finished);
                let calls = calls(&finished);
                // One of the whole remote, and one that tells who else is at work where something is left alone.
                assert!(
                    calls == [("list", 1)] || calls == [("list", 2)],
                    "not quiet: {calls:?} {:?}",
                    finished.report
                );
                let left = finished.report.counts.skipped > 0;
                assert_eq!(calls == [("list", 2)], left, "{:?}", finished.report);
            }
        }
        assert_eq!(self.store.files(), before, "nothing was written");
        assert_eq!(self.hosts[0].pair.outbox(), Files::new());
        self.assert_nothing_lost();
    }

    /// Both workspaces come to hold the same: from then on nothing is left alone, either.
    async fn come_to_rest(&mut self) {
        let truth = self.hosts[0].pair.workspace();
        let follower = &self.hosts[1].pair.local;
        for path in self.hosts[1].pair.workspace().keys() {
            follower.remove(path);
        }
        // Folders that are empty on one of them alone would be a difference, too.
        for host in &self.hosts {
            for folder in ["d0", "d1"] {
                let folder = host.pair.local.join(folder);
                let is_empty =
                    std::fs::read_dir(&folder).is_ok_and(|mut items| items.next().is_none());
                if is_empty {
                    std::fs::remove_dir(&folder).expect("it is empty");
                }
            }
        }
        for (path, content) in &truth {
            follower.write(path, content);
        }
        for host in &self.hosts {
            *host.wall.lock().unwrap_or_else(PoisonError::into_inner) = Utc::now();
        }
        // What is in neither of them a person has to give up.
        clean(&self.hosts[0].forced(&[GuardName::Overlap]).await);
        for host in &self.hosts {
            self.store.advance(Duration::from_secs(6000));
            clean(&host.run().await);
        }
        self.store.clear_log();
        for _ in 0..3 {
            for host in &self.hosts {
                host.set_back(TimeDelta::hours(-2));
                host.pair.assert_converged().await;
                assert_eq!(calls(&host.run().await), [("list", 1)]);
            }
        }
        assert_eq!(self.hosts[0].pair.outbox(), Files::new());
        let delivered: BTreeSet<Vec<u8>> = self
            .hosts
            .iter()
            .flat_map(|host| host.pair.inbox().into_values())
            .collect();
        assert!(delivered.is_superset(&self.dropped), "every drop arrived");
        self.assert_nothing_lost();
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a failing test must show how to run it again"
)]
fn histories(options: &MemoryOptions) {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let seeds = match number("OWS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OWS_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let mut world = runtime.block_on(World::new(seed, options.clone()));
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                for _ in 0..world.rng.random_range(2..8) {
                    for _ in 0..world.rng.random_range(0..5) {
                        world.act();
                    }
                    world.runs().await;
                }
                world.become_quiet().await;
                world.come_to_rest().await;
            });
        }));
        if let Err(panic) = played {
            eprintln!(
                "OWS_SEED={seed} plays this again:\n{}",
                world.diary.join("\n")
            );
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn two_hosts_and_a_person_lose_nothing_over_s3() {
    histories(&MemoryOptions::s3());
}

#[test]
fn two_hosts_and_a_person_lose_nothing_over_a_folder() {
    histories(&MemoryOptions::folder());
}

#[test]
fn two_hosts_and_a_person_lose_nothing_over_a_drive() {
    histories(&MemoryOptions::drive());
}

/// Two hosts at one remote with the same files: the second has filled its workspace from the remote.
async fn two(options: MemoryOptions, items: &[(&str, &str)]) -> [Host; 2] {
    let first = Host::new(Pair::new(options, items));
    let mut second = Host::new(Pair::joined(&first.pair, &[]));
    second.pair.settings.first_sync = FirstSync::Remote;
    for host in [&first, &second, &first, &second] {
        clean(&host.run().await);
        host.pair.later();
    }
    second.pair.settings.first_sync = FirstSync::Ask;
    [first, second]
}

#[tokio::test]
async fn equal_workspaces_are_quiet_however_they_became_equal() {
    let [first, second] = two(MemoryOptions::s3(), &[("a", "x"), ("b", "y")]).await;
    for host in [&first, &second] {
        host.pair.assert_quiet().await;
    }
    // The same edit on both, as by a `git pull`: one uploads it, the other finds it there.
    for host in [&first, &second] {
        host.pair.local.write("a", "newer");
        host.pair.local.remove("b");
    }
    clean(&first.run().await);
    first.pair.later();
    let finished = second.run().await;
    clean(&finished);
    assert_eq!(finished.report.counts.upload, 0);
    for host in [&first, &second, &first, &second] {
        host.pair.assert_quiet().await;
    }
}

/// Two workspaces that differ at one remote. Each carries over what was done in it, and undoes nothing of the other.
#[tokio::test]
async fn workspaces_that_differ_leave_each_others_work_alone_and_become_quiet() {
    for options in [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ] {
        let [first, second] = two(options, &[("a", "x"), ("b", "y"), ("c", "z")]).await;
        first.pair.local.write("a", "by the first");
        first.pair.local.write("new/one", "by the first too");
        clean(&first.run().await);
        first.pair.later();
        second.pair.local.write("b", "by the second");
        second.pair.local.remove("c");
        let finished = second.run().await;
        settles(&finished);
        let counts = &finished.report.counts;
        assert_eq!((counts.upload, counts.delete_remote), (1, 1));
        assert_eq!(finished.report.exit_code, 3);
        let told: Vec<_> = finished
            .report
            .warnings
            .iter()
            .filter(|text| text.contains("another workspace pushes into this remote"))
            .collect();
        assert_eq!(told.len(), 1, "{:?}", finished.report.warnings);
        for part in [
            "`.ows/base-",
            "give each workspace its own `remotePath`",
            "`ows sync --force overlap`",
        ] {
            assert!(told[0].contains(part), "{}", told[0]);
        }
        let expected = files(&[
            ("a", "by the first"),
            ("b", "by the second"),
            ("new/one", "by the first too"),
        ]);
        assert_eq!(first.pair.remote(), expected);
        // The first one meets the second's work, and looks once more with what it knows now.
        assert_eq!(calls(&first.run().await), [("list", 3)]);
        for _ in 0..3 {
            for host in [&first, &second] {
                host.pair.later();
                let finished = host.run().await;
                assert_eq!(finished.report.exit_code, 3);
                assert_eq!(calls(&finished), [("list", 2)], "{:?}", finished.report);
            }
        }
        assert_eq!(first.pair.remote(), expected);
        // Both change one file: who comes last has its way, once.
        for (host, text) in [(&first, "once"), (&second, "twice, and longer")] {
            host.pair.local.write("a", text);
            host.pair.later();
            settles(&host.run().await);
        }
        first.pair.later();
        assert_eq!(calls(&first.run().await), [("list", 2)]);
        assert_eq!(first.pair.store.get("a").unwrap(), b"twice, and longer");
        assert!(first.pair.contents().contains(&b"once"[..]));
    }
}

#[tokio::test]
async fn when_the_other_host_is_gone_one_forced_run_makes_the_remote_equal_again() {
    let [first, second] = two(MemoryOptions::s3(), &[("a", "x")]).await;
    first.pair.local.write("stray", "by the first");
    clean(&first.run().await);
    second.pair.later();
    assert_eq!(second.run().await.report.exit_code, 3);
    let finished = second.pair.forced(&[GuardName::Overlap]).await;
    clean(&finished);
    let told = finished.report.warnings.join("\n");
    assert!(told.contains("are made as in this workspace"), "{told}");
    assert_eq!(second.pair.remote(), files(&[("a", "x")]));
    assert_eq!(
        second.pair.remote_trash(),
        kept(&[("stray", "by the first")])
    );
    // From then on it is alone: an edit in the cloud gives way as ever.
    second.pair.later();
    second.pair.store.insert("a", b"edited in the cloud");
    clean(&second.run().await);
    second.pair.assert_quiet().await;
    // Until the other one is there again after all.
    first.pair.later();
    first.pair.local.write("again", "by the first");
    settles(&first.run().await);
    second.pair.later();
    assert_eq!(second.run().await.report.exit_code, 3);
    assert_eq!(second.pair.remote().len(), 2);
}

#[tokio::test]
async fn a_checkpoint_that_a_person_removes_ends_it_too() {
    let [first, second] = two(MemoryOptions::s3(), &[("a", "x")]).await;
    first.pair.local.write("stray", "by the first");
    clean(&first.run().await);
    second.pair.later();
    let finished = second.run().await;
    let told = finished.report.warnings.join("\n");
    let object = told.split('`').find(|part| part.starts_with(".ows/base-"));
    second.pair.store.remove(object.expect("it is named"));
    clean(&second.run().await);
    assert_eq!(second.pair.remote(), files(&[("a", "x")]));
}

#[tokio::test]
async fn a_push_that_was_asked_for_makes_the_remote_equal_and_says_whose_work_that_may_be() {
    let [first, second] = two(MemoryOptions::s3(), &[("a", "x")]).await;
    first.pair.local.write("stray", "by the first");
    clean(&first.run().await);
    second.pair.later();
    let finished = second.pair.directed(Direction::Push).await;
    clean(&finished);
    let told = finished.report.warnings.join("\n");
    assert!(told.contains("another workspace pushes"), "{told}");
    assert_eq!(second.pair.remote(), files(&[("a", "x")]));
}

#[tokio::test]
async fn a_dry_run_says_what_is_left_alone_and_notes_nothing() {
    let [first, second] = two(MemoryOptions::s3(), &[("a", "x")]).await;
    first.pair.local.write("stray", "by the first");
    clean(&first.run().await);
    second.pair.later();
    for _ in 0..2 {
        let options = SyncOptions {
            dry_run: true,
            ..SyncOptions::default()
        };
        let finished = second.pair.run(options).await;
        assert_eq!(finished.report.exit_code, 3);
        // Nothing is remembered, so that it looks once more with what it has found.
        assert_eq!(calls(&finished), [("list", 3)]);
        assert_eq!(finished.report.counts.skipped, 1);
    }
}

#[tokio::test]
async fn without_checkpoints_nobody_is_recognised() {
    let [mut first, second] = two(MemoryOptions::s3(), &[("a", "x")]).await;
    first.pair.settings.checkpoint = false;
    second.pair.local.write("b", "y");
    clean(&second.run().await);
    for path in second.pair.store.files().into_keys() {
        if path.starts_with(".ows/base-") {
            second.pair.store.remove(&path);
        }
    }
    first.pair.later();
    clean(&first.run().await);
    assert_eq!(first.pair.remote(), files(&[("a", "x")]));
    assert_eq!(first.pair.remote_trash(), kept(&[("b", "y")]));
}

#[tokio::test]
async fn an_edit_in_the_cloud_alone_speaks_of_no_other_workspace() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.store.insert("a", b"edited in the cloud");
    let finished = pair.sync().await;
    clean(&finished);
    let words = finished.report.warnings.join("\n");
    assert!(
        words.contains("edited in the remote") && !words.contains("another workspace"),
        "{words}"
    );
}

#[tokio::test]
async fn what_cannot_be_listed_there_ends_the_run_before_anything_is_displaced() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.store.insert("a", b"edited in the cloud");
    let list = Fault::on(ows_providers::Operation::List).at(".ows");
    pair.faults.add(list.before(ErrorKind::Forbidden));
    assert_eq!(kind(&pair.sync().await), Some(FailureKind::Failed));
    assert_eq!(pair.store.get("a").unwrap(), b"edited in the cloud");
    clean(&pair.sync().await);
}
