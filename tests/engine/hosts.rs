//! Two hosts in mailbox mode at one remote, and a person who edits in the cloud: with kills, clocks that jump, and runs at
//! the same time. Nothing may be lost, and when people stop and both workspaces hold the same, nothing is written.
//!
//! `OWS_SEED=N` replays one history; `OWS_SEEDS=N` plays so many.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ows::error::FailureKind;
use ows::sync::{Finished, FirstSync, HostClock, Reading, SyncOptions};
use ows_providers::ErrorKind;
use ows_providers::layers::{Fault, Moment};
use ows_providers::memory::{MemoryOptions, MemoryStore};
use ows_testkit::tree::Files;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{Pair, calls, clean, files, kind};

/// Histories of each kind, without `OWS_SEEDS`.
const SEEDS: u64 = 25;

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
        let wall = Arc::clone(&self.wall);
        let options = SyncOptions {
            clock: HostClock::new(move || Reading {
                wall: *wall.lock().unwrap_or_else(PoisonError::into_inner),
                steady: Duration::ZERO,
            }),
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

    /// People stop, and both workspaces come to hold the same: from then on nothing is written.
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
        // Leases of killed runs end.
        for _ in 0..2 {
            self.store.advance(Duration::from_secs(6000));
            for host in &self.hosts {
                let finished = host.run().await;
                if kind(&finished) == Some(FailureKind::Busy) {
                    host.set_back(TimeDelta::minutes(-10));
                    clean(&host.run().await);
                } else {
                    clean(&finished);
                }
            }
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

/// What mailbox mode means for two workspaces that differ, until a person settles it: the workspace is the truth, so each
/// run displaces what the other one pushed. Nothing is lost, and each such run says what is going on.
#[tokio::test]
async fn workspaces_that_differ_displace_each_other_and_say_so() {
    let [first, second] = two(MemoryOptions::s3(), &[("a", "x"), ("b", "y")]).await;
    first.pair.local.write("a", "by the first");
    clean(&first.run().await);
    first.pair.later();
    let remote = first.pair.settings.provider.describe().await.unwrap();
    let identity = ows::sync::pair_id(&remote);
    // The checkpoint that the first host stores after its run.
    let checkpoint = format!(".ows/base-{identity}-{}", "a".repeat(32));
    for _ in 0..2 {
        first.pair.store.insert(&checkpoint, b"a checkpoint");
        first.pair.later();
        let finished = second.run().await;
        clean(&finished);
        assert_eq!(finished.report.counts.upload, 1);
        let words = finished.report.warnings.join("\n");
        assert!(
            words.contains("another workspace (replica aaaaaaaa)"),
            "{words}"
        );
        assert!(words.contains("give each its own `remotePath`"), "{words}");
        first.pair.later();
        clean(&first.run().await);
        first.pair.later();
    }
    assert!(second.pair.contents().contains(&b"by the first"[..]));
    assert_eq!(second.pair.workspace(), files(&[("a", "x"), ("b", "y")]));
    // Settled: one of them follows.
    second.pair.local.write("a", "by the first");
    clean(&second.run().await);
    for host in [&first, &second] {
        host.pair.assert_quiet().await;
    }
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
