//! Backups by themselves.

use ows_testkit::s3::{Op, Then, When};

use super::heartbeat::Monitor;
use super::world::{bucket, fill, to_folder};
use crate::daemon::Daemon;
use crate::schemas::fits;
use crate::support::{BUCKET, World, server};

#[test]
fn the_daemon_makes_a_backup_and_verifies_it_while_it_syncs() {
    let monitor = Monitor::answering("200 OK");
    let world = to_folder(&format!("verifyInterval: 3600, {}", monitor.key()));
    let config = world.read("state/ows/config.json5").unwrap();
    let cloud = world.path("cloud");
    world.config(&config.replacen(
        '{',
        &format!(
            "{{ sync: {{ mode: 'mailbox', interval: 60, provider: 'custom', remotePath: '', custom: {{ type: 'local', \
             options: {{ path: {cloud:?} }} }} }},"
        ),
        1,
    ));
    let daemon = Daemon::start(&world, &["--json"]);
    daemon.says("synced", 1);
    daemon.says("backup: ows-", 1);
    daemon.says("verification: ows-", 1);
    let (log, out) = daemon.end();
    assert!(log.contains("first_in=30"), "{log}");
    assert!(log.contains("proven: read"), "{log}");
    assert!(!log.contains("secret-id"), "{log}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    fits("daemon", &json);
    assert_eq!(
        (&json["backups"], &json["backup_failures"]),
        (&1.into(), &0.into())
    );
    assert_eq!(json["verifications"], 1);
    assert_eq!(
        monitor.heard(),
        ["/ping/secret-id/start", "/ping/secret-id"]
    );
    let listed = world.json(&["backup", "list"]);
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(listed["snapshots"][0]["level"], "read");
}

#[test]
fn a_backup_that_is_not_due_is_waited_for_and_without_sync_the_daemon_is_not_idle() {
    let world = to_folder("interval: 86400");
    world.ok(&["backup", "now"]);
    let daemon = Daemon::start(&world, &["--json"]);
    daemon.says("backups are scheduled interval=86400 first_in=863", 1);
    let (log, out) = daemon.end();
    assert!(log.contains("without sync"), "{log}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(json["idle"].is_null(), "{json}");
    assert_eq!(json["backups"], 0);
}

#[test]
fn a_backup_that_hangs_holds_up_neither_the_syncs_nor_the_end() {
    let server = server();
    server.access().fault(
        When::op(Op::Put).key_prefix("snapshots/ows-").always(),
        Then::Hang,
    );
    let world = World::bare();
    let cloud = world.path("cloud");
    let backup = bucket(&server);
    world.config(&format!(
        "{{ sync: {{ mode: 'mailbox', interval: 3600, provider: 'custom', remotePath: '', custom: {{ type: 'local', \
         options: {{ path: {cloud:?} }} }} }}, backup: {{ enabled: true, {backup} }} }}"
    ));
    fill(&world);
    let daemon = Daemon::start(&world, &["-vv"]);
    daemon.says("synced", 1);
    // The first object that a backup stores, before those that are not answered.
    let begun = || {
        server
            .access()
            .keys(BUCKET)
            .contains(&"snapshots/RECOVER.txt".to_owned())
    };
    daemon.waits_until(begun);
    world.write("workspace/meanwhile", "x");
    // The syncs take the configuration up at once, and run five seconds later.
    daemon.hang_up();
    daemon.says("synced", 2);
    assert_eq!(world.read("cloud/meanwhile").as_deref(), Some("x"));
    let (log, out) = daemon.end();
    assert!(!log.contains("backup: ows-"), "it hangs: {log}");
    assert!(out.contains("2 runs (0 failed)"), "{out}");
    server.access().clear_faults();
    let keys = server.access().keys(BUCKET);
    assert!(!keys.iter().any(|key| key.contains("manifest")), "{keys:?}");
    super::world::now(&world);
}
