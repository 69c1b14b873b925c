//! Backups by themselves.

use super::heartbeat::Monitor;
use super::world::to_folder;
use crate::daemon::Daemon;
use crate::schemas::fits;

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
