//! Two hosts as real processes: each with a state directory and a workspace of its own, at one remote; random edits on both
//! and by a person in the cloud, drops, SIGKILL at random moments, and a clock of the store that is set. At the end nothing
//! is lost, nothing is left lying about, and no host writes any more, whatever the two workspaces hold.
//!
//! - `OWS_KILLS`: how many runs are killed over all tests together; 20 by default.
//! - `OWS_SEED`: replays the work.

mod bisync;
mod mystery;
mod world;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use ows_testkit::random::Seed;
use ows_testkit::s3::{Gate, Op, Then, When};
use ows_testkit::tree::Files;
use rand::RngExt as _;
use world::{RemoteKind, World};

/// The seed when none is given: the tests of two machines are the same.
const SEED: u64 = 0x0005_eed1;

/// Runs of each host after which none writes any more when people have stopped.
const SETTLES_WITHIN: usize = 4;

fn seed() -> u64 {
    match std::env::var_os("OWS_SEED") {
        Some(_) => Seed::new().0,
        None => SEED,
    }
}

fn kills() -> u32 {
    std::env::var("OWS_KILLS").map_or(20, |text| text.parse().expect("OWS_KILLS is a number")) / 2
}

fn play(remote: RemoteKind, seed: u64) {
    let mut world = World::new(remote, seed);
    let (wanted, mut killed, mut rounds) = (kills().max(1), 0, 0);
    while killed < wanted {
        rounds += 1;
        assert!(
            rounds <= wanted * 6 + 10,
            "the runs end before they are killed"
        );
        for _ in 0..world.rng.random_range(1..5) {
            world.act();
        }
        let first = world.rng.random_range(0..2_usize);
        let mut one = world.start(first, &[]);
        // Sometimes both at once.
        let other = world
            .rng
            .random_bool(0.4)
            .then(|| world.start(1 - first, &["--wait", "2"]));
        if world.rng.random_bool(0.7) {
            let moment = Duration::from_millis(world.rng.random_range(1..120));
            killed += u32::from(one.kill_after(moment));
        }
        one.end();
        if let Some(mut other) = other {
            other.end();
        }
        world.assert_nothing_lost(&format!("round {rounds}"));
    }
    world.assert_becomes_quiet(SETTLES_WITHIN);
}

#[test]
fn two_hosts_at_s3_lose_nothing_and_become_quiet() {
    play(RemoteKind::S3, seed());
}

#[test]
fn two_hosts_at_a_folder_lose_nothing_and_become_quiet() {
    play(RemoteKind::Folder, seed() + 1);
}

/// The whole way of a host that is held up: exit code 6, `--wait`, and the lease of one that was killed.
#[test]
fn a_host_waits_for_another_one_and_outlives_it() {
    let world = World::new(RemoteKind::S3, seed() + 2);
    world.write(0, "slow", b"of the first");
    world.write(1, "other", b"of the second");
    world
        .server()
        .fault(When::op(Op::Put).key("ws/slow"), Then::Hang);
    let mut first = world.start(0, &[]);
    world.until("the upload has begun", || {
        world.server().unreached_faults().is_empty()
    });
    assert_eq!(world.start(1, &[]).end(), Some(6));
    assert_eq!(world.start(1, &["--wait", "0.2"]).end(), Some(6));
    let mut waiting = world.start(1, &["--wait", "60"]);
    assert!(first.kill_after(Duration::ZERO));
    first.end();
    world.server().clear_faults();
    // The lease of the dead ends by the clock of the store.
    world.server().clock().advance(Duration::from_secs(130));
    assert_eq!(waiting.end(), Some(0));
    assert!(world.remote_files().contains_key("other"));
    assert!(!world.remote_files().contains_key(".ows/lease"));
    world.assert_becomes_quiet(SETTLES_WITHIN);
}

/// Paths whose content is not the same in both.
fn changed(before: &Files, after: &Files) -> Vec<String> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .cloned()
        .collect()
}

/// A host is suspended in the middle of a run, its lease ends, another one takes over, does its work and ends. What the first
/// one looked at is history when it resumes: it must change nothing more. Its own clocks are real, so this takes as long as it
/// believes in a lease without a look at it.
#[test]
fn a_host_that_was_suspended_past_the_end_of_its_lease_changes_nothing_more() {
    let world = World::new(RemoteKind::S3, seed() + 3);
    world.one_at_a_time(0);
    world.write(0, "a", b"of the first");
    world.write(0, "b", b"of the first, too");
    world.write(0, "c", b"nobody else has it");
    world.write(1, "b", b"of the second");
    let gate = Gate::closed();
    let waits = Then::Wait(gate.clone());
    world.server().fault(When::op(Op::Put).key("ws/a"), waits);
    let mut first = world.start(0, &[]);
    world.until("the upload has begun", || {
        world.server().unreached_faults().is_empty()
    });
    let suspended = SystemTime::now();
    first.suspend();
    gate.open();
    world.until("the store has the file", || {
        world.remote_files().contains_key("a")
    });
    assert_eq!(world.start(1, &[]).end(), Some(6), "the lease is held");
    world.server().clock().advance(Duration::from_secs(130));
    assert!(matches!(world.start(1, &[]).end(), Some(0 | 3)));
    let before = world.remote_files();
    assert_eq!(before["b"], b"of the second");
    world.until("the host would no longer believe in its lease", || {
        let time = suspended.elapsed().unwrap_or_default();
        time > Duration::from_secs(46)
    });
    first.resume();
    assert_eq!(first.end_somehow(), Some(1), "{}", first.output());
    let told = first.output();
    assert!(told.contains("lease of this run"), "{told}");
    assert!(told.contains("nothing more was changed"), "{told}");
    // What it did before it was suspended is agreed on all the same, so that its own checkpoint may follow.
    let changed: Vec<String> = changed(&before, &world.remote_files());
    assert!(
        changed.iter().all(|path| path.starts_with(".ows/base-")),
        "it has changed the remote: {changed:?}"
    );
    world.assert_becomes_quiet(SETTLES_WITHIN);
    let all = world.everywhere();
    for content in [&b"of the first"[..], b"of the first, too", b"of the second"] {
        assert!(all.contains(content));
    }
}

/// The clock of the store jumps while a host is in the middle of a run. Forward, its lease has ended for everybody else though
/// it is alive: both write then, and the conditions keep them from overwriting each other. Backward, no time can be told, and
/// the other host stays away.
#[test]
fn a_clock_that_jumps_in_mid_run_loses_nothing() {
    for forward in [true, false] {
        let world = World::new(RemoteKind::S3, seed() + 4);
        world.one_at_a_time(0);
        world.write(0, "a", b"of the first");
        world.write(0, "b", b"of the first, too");
        world.write(1, "b", b"of the second");
        let gate = Gate::closed();
        let waits = Then::Wait(gate.clone());
        world.server().fault(When::op(Op::Put).key("ws/a"), waits);
        let mut first = world.start(0, &[]);
        world.until("the upload has begun", || {
            world.server().unreached_faults().is_empty()
        });
        let (clock, hour) = (world.server().clock(), Duration::from_secs(3600));
        let now = clock.now();
        clock.set(if forward { now + hour } else { now - hour });
        let second = world.start(1, &[]).end();
        let mine = world.remote_files().remove("b");
        if forward {
            assert!(matches!(second, Some(0 | 3)), "{second:?}");
            assert_eq!(mine.as_deref(), Some(&b"of the second"[..]));
        } else {
            assert_eq!((second, mine), (Some(6), None));
        }
        gate.open();
        let code = first.end_somehow();
        assert!(matches!(code, Some(0 | 1 | 3)), "{}", first.output());
        if forward {
            assert_eq!(world.remote_files()["b"], b"of the second");
        }
        world.assert_becomes_quiet(SETTLES_WITHIN);
        let all = world.everywhere();
        for content in [&b"of the first"[..], b"of the first, too", b"of the second"] {
            assert!(all.contains(content));
        }
    }
}
