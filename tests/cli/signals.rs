//! SIGINT and SIGTERM in the middle of a run: a clean end, soon, with the one object; the next run goes on.

use std::time::{Duration, Instant};

use ows_testkit::process::Child;
use ows_testkit::s3::{Op, Quirks, Server, Then, When};
use serde_json::Value;

use crate::support::{BUCKET, Ran, World};

/// A container's runtime waits about so long before it kills. Nothing that was slowed down here takes less.
const SOON: Duration = Duration::from_secs(10);

/// Small files of a push that is stopped in the middle.
const FILES: u64 = 80;

const MIB: usize = 1 << 20;

fn slow_server() -> Server {
    let quirks = Quirks {
        latency: Duration::from_millis(30),
        ..Quirks::default()
    };
    Server::builder().bucket(BUCKET).quirks(quirks).start()
}

/// Runs `sync --json` until `is_time`, sends the signal, and gives what came of it.
fn stop_sync(
    world: &World,
    signal: impl Fn(&Child),
    is_time: impl Fn() -> bool,
) -> (Ran, Duration) {
    let running = world.start(&["sync", "--json"]);
    let waiting = Instant::now();
    while !is_time() {
        assert!(
            waiting.elapsed() < Duration::from_secs(60),
            "the moment never came"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(&running.child);
    let begin = Instant::now();
    let ran = running.end();
    (ran, begin.elapsed())
}

fn interrupt(child: &Child) {
    child.interrupt().unwrap();
}

fn terminate(child: &Child) {
    child.terminate().unwrap();
}

#[test]
fn an_interrupted_push_ends_soon_and_what_was_finished_counts() {
    for (signal, code) in [(interrupt as fn(&Child), 130), (terminate, 143)] {
        let server = slow_server();
        let world = World::with_s3(&server, "transfers: 2,");
        for number in 0..FILES {
            world.write(&format!("workspace/{number:03}"), format!("{number}"));
        }
        let put = || {
            server
                .access()
                .keys(BUCKET)
                .iter()
                .filter(|key| key.len() == 3)
                .count()
        };
        let (ran, took) = stop_sync(&world, signal, || put() >= 10);
        assert_eq!(ran.code, Some(code), "{}", ran.shown());
        assert!(took < SOON, "{took:?}");
        let json = ran.json();
        assert_eq!(json["command"], "sync");
        assert!(
            json["errors"][0]["message"]
                .as_str()
                .unwrap()
                .contains("run again")
        );
        let told = json["counts"]["upload"].as_u64().unwrap();
        let stored = put() as u64;
        assert!((10..FILES).contains(&stored), "{stored}");
        // What was under way when the signal came may have arrived without being told.
        assert!(
            told <= stored && told + 2 >= stored,
            "told {told}, stored {stored}"
        );

        let json = world.json(&["sync"]);
        assert_eq!(json["exit_code"], 0);
        assert_eq!(
            json["counts"]["upload"].as_u64().unwrap()
                + json["counts"]["unchanged"].as_u64().unwrap(),
            FILES
        );
        assert!(json["counts"]["unchanged"].as_u64().unwrap() >= told);
        assert_eq!(put() as u64, FILES);
    }
}

#[test]
fn a_stopped_large_upload_goes_on_where_it_was() {
    let server = slow_server();
    let world = World::with_s3(&server, "");
    // The first run probes the store, with small uploads in parts of its own.
    world.write("workspace/small", "small");
    assert_eq!(world.json(&["sync"])["exit_code"], 0);
    server.access().reset_calls();
    let content: Vec<u8> = (0..60 * MIB).map(|index| (index / 7919) as u8).collect();
    world.write("workspace/large", &content);
    let parts = || server.access().count(Op::UploadPart);
    // From the fifth part on nothing is answered, so that the signal comes in the middle for sure.
    let later = When::op(Op::UploadPart).nth(5).always();
    server.access().fault(later, Then::Hang);
    let arrived = || {
        server
            .access()
            .uploads(BUCKET)
            .first()
            .map_or(0, |upload| upload.parts.len())
    };
    let (ran, took) = stop_sync(&world, terminate, || parts() >= 5 && arrived() >= 4);
    assert_eq!(ran.code, Some(143), "{}", ran.shown());
    assert!(took < SOON, "{took:?}");
    assert_eq!(ran.json()["counts"]["upload"], 0);
    assert!(server.access().object(BUCKET, "large").is_none());

    server.access().clear_faults();
    server.access().reset_calls();
    let json = world.json(&["sync"]);
    assert_eq!(json["exit_code"], 0, "{json:#}");
    let stored = server.access().object(BUCKET, "large").unwrap();
    assert!(stored.content() == content, "the content is whole");
    let all = u64::try_from(stored.parts.unwrap()).unwrap();
    assert!(all > 5, "{all}");
    assert!(
        parts() <= all - 4,
        "{} of {all} parts were sent again",
        parts()
    );
    assert!(
        server.access().uploads(BUCKET).is_empty(),
        "nothing is left unfinished"
    );
}

#[test]
fn commands_that_only_look_stop_too() {
    for arguments in [
        &["list", "--json"][..],
        &["status", "--json"],
        &["trash", "list", "--json"],
    ] {
        let server = slow_server();
        let world = World::with_s3(&server, "");
        server.access().fault(When::any().always(), Then::Hang);
        let running = world.start(arguments);
        while server.access().calls().values().sum::<u64>() == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        running.child.interrupt().unwrap();
        let begin = Instant::now();
        let ran = running.end();
        assert!(begin.elapsed() < SOON);
        assert_eq!(ran.code, Some(130));
        let json: Value = ran.json();
        assert_eq!(json["ok"], false);
    }
}

#[test]
fn the_same_signal_twice_at_once_is_one_wish() {
    let server = slow_server();
    let world = World::with_s3(&server, "");
    server
        .access()
        .fault(When::op(Op::List).always(), Then::Hang);
    let listed = || server.access().count(Op::List) > 0;
    let twice = |child: &Child| {
        child.interrupt().unwrap();
        child.interrupt().unwrap();
        child.terminate().unwrap();
    };
    let (ran, _) = stop_sync(&world, twice, listed);
    // Of two kinds of signals that are pending at once, either may be seen first.
    assert!(matches!(ran.code, Some(130 | 143)), "{}", ran.shown());
    let json = ran.json();
    assert!(json["run_id"].is_string(), "a clean end, not a cut: {json}");
}
