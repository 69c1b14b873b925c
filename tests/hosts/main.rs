//! Two hosts as real processes: each with a state directory and a workspace of its own, at one remote; random edits on both
//! and by a person in the cloud, drops, SIGKILL at random moments, and a clock of the store that is set. At the end nothing
//! is lost, nothing is left lying about, and no host writes any more, whatever the two workspaces hold.
//!
//! - `OWS_KILLS`: how many runs are killed over all tests together; 20 by default.
//! - `OWS_SEED`: replays the work.

mod world;

use std::time::Duration;

use ows_testkit::random::Seed;
use ows_testkit::s3::{Op, Then, When};
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
