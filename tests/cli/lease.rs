//! Two hosts at one remote, as people meet them: exit code 6 with a word about the other one, `--wait`, `status`.

use chrono::Utc;

use crate::support::World;

/// A lease as another host writes it, in a remote folder that is mounted on both.
fn held_elsewhere(world: &World, seconds: u64) {
    let since = Utc::now().to_rfc3339();
    let body = format!(
        r#"{{"format":1,"replica":"{}","host":"elsewhere","run":"20260101T000000Z-00000000","fence":1,
        "seconds":{seconds},"since":"{since}","word":"x"}}"#,
        "f".repeat(32)
    );
    world.write("cloud/.ows/lease", body);
}

/// Another host: the same remote, a state and a workspace of its own, filled from the remote.
fn other_host(world: &World) -> [String; 6] {
    let config = world.read("state/ows/config.json5").unwrap();
    world.write("state2/ows/config.json5", config);
    world.tree().folder("workspace2");
    let path = |below| world.path(below).display().to_string();
    let arguments = [
        "--state-dir".to_owned(),
        path("state2"),
        "--workspace".to_owned(),
        path("workspace2"),
        "sync".to_owned(),
        "--json".to_owned(),
    ];
    let mut first: Vec<&str> = arguments.iter().map(String::as_str).collect();
    first.extend(["--direction", "pull"]);
    assert_eq!(world.ows(&first).json()["exit_code"], 0);
    arguments
}

#[test]
fn while_another_host_is_at_work_it_is_6() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.ok(&["sync"]);
    world.write("workspace/b", "b");
    held_elsewhere(&world, 120);
    let ran = world.ows(&["sync"]);
    assert_eq!(ran.code, Some(6));
    for part in [
        "error: the host `elsewhere` is at work in this remote since 20",
        "(run 20260101T000000Z-00000000)",
        "hint: wait for it to end, or give `--wait SECONDS`; if that host is gone, its lease ends by itself at 20",
        "; nothing was changed",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(!world.path("cloud/b").exists());
    assert_eq!(world.json(&["sync", "--wait", "0.2"])["exit_code"], 6);
    // Who only looks is not held up, and is told.
    assert_eq!(world.json(&["sync", "--dry-run"])["exit_code"], 0);
    assert_eq!(world.json(&["status"])["lease"]["host"], "elsewhere");
    let status = world.ok(&["status"]);
    assert!(
        status
            .stdout
            .contains("lease:       held by elsewhere since 20"),
        "{}",
        status.stdout
    );
}

#[test]
fn who_waits_goes_on_when_the_other_host_has_ended() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.ok(&["sync"]);
    world.write("workspace/b", "b");
    held_elsewhere(&world, 1);
    let json = world.json(&["sync", "--wait", "30"]);
    assert_eq!(json["exit_code"], 0, "{json}");
    assert_eq!(world.read("cloud/b").as_deref(), Some("b"));
    assert!(!world.path("cloud/.ows/lease").exists(), "given back");
}

#[test]
fn two_hosts_at_one_remote_take_turns() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.ok(&["sync"]);
    let second = other_host(&world);
    let second: Vec<&str> = second.iter().map(String::as_str).collect();
    assert_eq!(world.read("workspace2/a").as_deref(), Some("a"));
    for number in 0..3 {
        world.write(&format!("workspace/{number}"), "same");
        world.write(&format!("workspace2/{number}"), "same");
        let mut waiting = second.clone();
        waiting.extend(["--wait", "30"]);
        let first = world.start(&["sync", "--json", "--wait", "30"]);
        let other = world.ows(&waiting).json();
        let first = first.end().json();
        for json in [&first, &other] {
            // Who looked before the other one had ended finds the file there, and leaves it to its next run.
            let code = &json["exit_code"];
            assert!(*code == 0 || *code == 3, "{json}");
        }
        let uploads = |json: &serde_json::Value| json["counts"]["upload"].as_u64().unwrap();
        assert_eq!(uploads(&first) + uploads(&other), 1, "{first} {other}");
        assert_eq!(world.json(&["sync"])["exit_code"], 0);
        assert_eq!(world.ows(&second).json()["exit_code"], 0);
    }
    assert_eq!(world.ows(&second).json()["counts"]["unchanged"], 4);
}
