//! What a session hook gets: a sync when it was asked for, and never a failed session because there is nothing to do.

use insta::assert_snapshot;
use ows_testkit::s3::{Op, Then, When};

use crate::support::{World, server};

#[test]
fn a_hook_syncs_when_it_was_asked_for() {
    let world = World::with_folder("onSessionStart: true,");
    world.write("workspace/a", "a");
    assert_snapshot!(world.ows(&["session", "start"]).shown(), @r#"
    exit code: 0
    --- stdout
    1 uploaded (1 B, 8 calls, [SECONDS] s)
    "#);
    assert_eq!(world.read("cloud/a").as_deref(), Some("a"));
    world.write("workspace/b", "b");
    assert_snapshot!(world.ows(&["session", "end"]).shown(), @r#"
    exit code: 0
    --- stdout
    nothing to do: `sync.onSessionEnd` is not true
    "#);
    assert_eq!(world.read("cloud/b"), None);
    let json = world.json(&["session", "start"]);
    assert_eq!(json["command"], "session start");
    assert_eq!(json["counts"]["upload"], 1);
    assert_eq!(json["mode"], "mailbox");
    assert_eq!(json["idle"], serde_json::Value::Null);
    assert!(json["run_id"].is_string());
    let json = world.json(&["session", "end"]);
    assert_eq!(json["command"], "session end");
    assert_eq!(json["idle"], "`sync.onSessionEnd` is not true");
}

#[test]
fn a_session_goes_on_when_nothing_is_configured_to_be_synced() {
    let off = World::bare();
    off.config("{ sync: { provider: 'off', onSessionStart: true } }");
    assert_snapshot!(off.ows(&["session", "start"]).shown(), @r#"
    exit code: 0
    --- stdout
    nothing to do: `sync.provider` is "off"
    "#);
    let disabled = World::bare();
    disabled.write(
        "state/openclaw.json",
        r#"{ "plugins": { "entries": { "openclaw-workspace-sync": { "enabled": false, "config": { "sync": {
            "mode": "mailbox", "onSessionStart": true, "provider": "custom",
            "custom": { "type": "local", "options": { "path": "/nowhere" } } } } } } } }"#,
    );
    assert_snapshot!(disabled.ows(&["session", "start"]).shown(), @r#"
    exit code: 0
    --- stdout
    nothing to do: `plugins.entries["openclaw-workspace-sync"].enabled` is false in `[ROOT]/state/openclaw.json`
    "#);
}

#[test]
fn what_is_wrong_is_told_with_the_usual_exit_codes() {
    let world = World::with_folder("onSessionStart: true,");
    world.write("cloud/theirs", "x");
    world.write("workspace/mine", "y");
    let json = world.json(&["session", "start"]);
    assert_eq!(json["exit_code"], 4);
    assert_eq!(json["guard"]["name"], "first-sync");
    assert_eq!(json["command"], "session start");
    assert_eq!(World::bare().json(&["session", "start"])["exit_code"], 2);
    let modeless = World::bare();
    modeless.config(
        "{ sync: { provider: 'custom', custom: { type: 'local', options: { path: '/nowhere' } }, onSessionEnd: true } }",
    );
    let ran = modeless.ows(&["session", "end"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("`sync.mode` is not set"),
        "{}",
        ran.shown()
    );
    assert_eq!(modeless.ows(&["session"]).code, Some(2));
}

#[test]
fn a_session_goes_on_while_another_run_is_in_progress() {
    let server = server();
    let world = World::with_s3(&server, "onSessionEnd: true,");
    world.ok(&["sync"]);
    server
        .access()
        .fault(When::op(Op::List).always(), Then::Hang);
    server.access().reset_calls();
    let running = world.start(&["sync"]);
    while server.access().count(Op::List) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_snapshot!(world.ows(&["session", "end", "--wait", "0"]).shown(), @r#"
    exit code: 0
    --- stderr
    warning: another run of this pair is in progress on this host, so nothing was done for the session; what it changed is synced by a later run
    "#);
    let json = world.json(&["session", "end", "--wait", "0.3"]);
    assert_eq!(json["exit_code"], 0);
    assert_eq!(json["errors"].as_array().unwrap().len(), 0);
    assert!(
        json["warnings"][0]
            .as_str()
            .unwrap()
            .contains("in progress")
    );

    // It waits for the other one, and then does its own work.
    let waiting = world.start(&["session", "end", "--json"]);
    running.child.interrupt().unwrap();
    assert_eq!(running.end().code, Some(130));
    server.access().clear_faults();
    let json = waiting.end().json();
    assert!(json["run_id"].is_string());
    assert_eq!(json["exit_code"], 0, "{json:#}");
    assert_eq!(json["warnings"].as_array().unwrap().len(), 0, "{json:#}");
}
