//! The daemon as a supervisor sees it: it starts, runs, reads its configuration again, ends when it is told to.

use std::io::Read;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use ows_testkit::process::Child;
use ows_testkit::s3::{Op, Quirks, Server, Then, When};

use crate::support::{BUCKET, World, s3_config};

/// No moment that a test waits for is so far away, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a container's runtime leaves before it kills.
const GRACE: Duration = Duration::from_secs(10);

pub struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    out: Arc<Mutex<String>>,
}

impl Daemon {
    pub fn start(world: &World, arguments: &[&str]) -> Self {
        let mut all = vec!["daemon"];
        all.extend(arguments);
        let mut command = world.command(&all);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Child::spawn(&mut command).unwrap();
        let log = follow(child.take_stderr().unwrap());
        let out = follow(child.take_stdout().unwrap());
        Self { child, log, out }
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log says this `times` times.
    #[track_caller]
    pub fn says(&self, text: &str, times: usize) {
        wait_until(
            || self.log().matches(text).count() >= times,
            || format!("{text:?} in\n{}", self.log()),
        );
    }

    /// Waits until something else is so.
    #[track_caller]
    pub fn waits_until(&self, is_so: impl Fn() -> bool) {
        wait_until(is_so, || self.log());
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.child.hang_up().unwrap();
    }

    /// Sends SIGTERM and waits for a clean end.
    #[track_caller]
    pub fn end(mut self) -> (String, String) {
        let begin = Instant::now();
        self.child.terminate().unwrap();
        let status = self.child.wait_for(PATIENCE).unwrap();
        let code = status.expect("the daemon hangs").code();
        assert_eq!(code, Some(0), "{}", self.log());
        assert!(begin.elapsed() < GRACE, "{:?}", begin.elapsed());
        wait_until(|| self.log().contains("stopped"), || self.log());
        let out = self.out.lock().unwrap().clone();
        (self.log(), out)
    }
}

fn follow(mut pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let all = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&all);
    std::thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut part) {
            let text = String::from_utf8_lossy(&part[..count]).into_owned();
            shared.lock().unwrap().push_str(&text);
        }
    });
    all
}

#[track_caller]
fn wait_until(is_so: impl Fn() -> bool, what: impl Fn() -> String) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "never: {}", what());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Without times, which differ.
fn messages(log: &str, world: &World) -> String {
    let root = world.path("").display().to_string();
    let lines = log.lines().map(|line| match line.split_once('Z') {
        Some((_, rest)) => rest.trim().to_owned(),
        None => line.to_owned(),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.replace(root.trim_end_matches('/'), "[ROOT]");
    regex::Regex::new(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
        .unwrap()
        .replace_all(&text, "[RUN]")
        .into_owned()
}

#[test]
fn the_first_run_comes_soon_and_sigterm_ends_the_daemon() {
    let world = World::with_folder("interval: 300,");
    world.write("workspace/a", "a");
    let begin = Instant::now();
    let daemon = Daemon::start(&world, &[]);
    daemon.says("synced", 1);
    assert!(begin.elapsed() >= Duration::from_secs(5), "not at once");
    assert_eq!(world.read("cloud/a").as_deref(), Some("a"));
    let (log, out) = daemon.end();
    assert_snapshot!(messages(&log, &world), @r#"
    INFO started config=[ROOT]/state/ows/config.json5 mode="mailbox" interval=300 first_in=5
    INFO synced run_id="[RUN]" upload=1 download=0 moved=0 delete_local=0 delete_remote=0 skipped=0 failed=0 bytes_up=1 bytes_down=0 calls=8
    INFO stopped runs=1 failures=0
    "#);
    assert_eq!(out, "stopped after 1 run (0 failed)\n");
    let json = world.json(&["sync"]);
    assert_eq!(json["counts"]["unchanged"], 1, "it left nothing to do");
}

#[test]
fn sigterm_in_the_middle_of_a_run_keeps_what_was_finished() {
    let quirks = Quirks {
        latency: Duration::from_millis(30),
        ..Quirks::default()
    };
    let server = Server::builder().bucket(BUCKET).quirks(quirks).start();
    let world = World::with_s3(&server, "transfers: 2, interval: 60,");
    for number in 0..40 {
        world.write(&format!("workspace/{number:03}"), "x");
    }
    // What comes after the tenth file is never answered.
    let put = || {
        let keys = server.access().keys(BUCKET);
        keys.iter().filter(|key| key.len() == 3).count()
    };
    let daemon = Daemon::start(&world, &["--json"]);
    wait_until(|| put() >= 5, || daemon.log());
    server
        .access()
        .fault(When::op(Op::Put).always(), Then::Hang);
    let (log, out) = daemon.end();
    assert!(log.contains("upload"), "{log}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    crate::schemas::fits("daemon", &json);
    assert_eq!(json["command"], "daemon");
    assert_eq!((&json["runs"], &json["exit_code"]), (&1.into(), &0.into()));
    server.access().clear_faults();
    let json = world.json(&["sync"]);
    assert_eq!(json["exit_code"], 0);
    assert!(json["counts"]["unchanged"].as_u64().unwrap() >= 4, "{json}");
    assert_eq!(put(), 40);
}

#[test]
fn sighup_reads_the_configuration_again_and_a_broken_one_changes_nothing() {
    let world = World::with_folder("interval: 0,");
    world.write("workspace/a", "a");
    let daemon = Daemon::start(&world, &[]);
    daemon.says("idle", 1);
    let whole = world.read("state/ows/config.json5").unwrap();
    world.config("{ sync: { mode: 'nonsense' } }");
    daemon.child.hang_up().unwrap();
    daemon.says("the old one stays", 1);
    world.config(&whole.replace("interval: 0", "interval: 90"));
    daemon.child.hang_up().unwrap();
    daemon.says("interval=90", 1);
    daemon.says("synced", 1);
    assert_eq!(world.read("cloud/a").as_deref(), Some("a"));
    let (log, _) = daemon.end();
    assert!(log.contains("`sync.mode`"), "{log}");
    assert!(!log.contains("interval=0"), "{log}");
}

#[test]
fn a_failed_run_is_told_and_tried_again() {
    let server = Server::with_bucket(BUCKET);
    let world = World::bare();
    world.config(&s3_config(&server, "interval: 300,"));
    server
        .access()
        .fault(When::any().always(), Then::error(403, "AccessDenied"));
    let daemon = Daemon::start(&world, &["--log-format", "json"]);
    daemon.says("\"failures\":1", 1);
    let (log, out) = daemon.end();
    assert_eq!(out, "stopped after 1 run (1 failed)\n");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let error = lines.iter().find(|line| line["level"] == "ERROR").unwrap();
    let next_in = error["fields"]["next_in"].as_u64().unwrap();
    assert!(
        (50..=66).contains(&next_in),
        "sooner than the interval: {error}"
    );
}

#[test]
fn a_guard_is_told_and_does_not_end_the_daemon() {
    let world = World::with_folder("interval: 60,");
    world.write("workspace/mine", "x");
    world.write("cloud/theirs", "y");
    let daemon = Daemon::start(&world, &[]);
    daemon.says("first-sync", 1);
    let (log, out) = daemon.end();
    assert!(log.contains("ERROR"), "{log}");
    assert!(log.contains("--force first-sync"), "what to type: {log}");
    assert_eq!(out, "stopped after 1 run (0 failed)\n");
    assert_eq!(world.read("cloud/theirs").as_deref(), Some("y"));
}

#[test]
fn nothing_to_run_is_idle_and_says_why() {
    let disabled = r#"{ "plugins": { "entries": { "openclaw-workspace-sync": { "enabled": false, "config": { "sync": {
        "mode": "mailbox", "interval": 60, "provider": "custom",
        "custom": { "type": "local", "options": { "path": "/nowhere" } } } } } } } }"#;
    for (file, text, why) in [
        (
            "state/ows/config.json5",
            "{ sync: { provider: 'off', interval: 60 } }",
            "`sync.provider` is \"off\"",
        ),
        (
            "state/ows/config.json5",
            "{ backup: {} }",
            "no `sync` section",
        ),
        ("state/openclaw.json", disabled, "enabled` is false"),
    ] {
        let world = World::bare();
        world.write(file, text);
        let daemon = Daemon::start(&world, &["--json"]);
        daemon.says("idle", 1);
        let (log, out) = daemon.end();
        assert!(log.contains(why), "{log}");
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(json["idle"].as_str().unwrap().contains(why), "{json}");
        assert_eq!(json["runs"], 0);
    }
}

#[test]
fn a_wrong_configuration_at_the_start_ends_it() {
    let world = World::bare();
    world.config("{ sync: { mode: 'nonsense' } }");
    assert_eq!(world.ows(&["daemon"]).code, Some(2));
    world.config(
        "{ sync: { interval: 60, provider: 'custom', custom: { type: 'local', options: { path: '/nowhere' } } } }",
    );
    let ran = world.ows(&["daemon"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("`sync.mode` is not set"),
        "{}",
        ran.shown()
    );
    let ran = world.ows(&["daemon", "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.code, Some(2), "not in this version, so not accepted");
}
