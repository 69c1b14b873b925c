//! What this version does not serve is refused when it is asked for, and accepted when it is not.

use super::World;

#[test]
fn features_that_are_not_served_are_errors_when_asked_for() {
    let mistakes = World::with(
        "{ sync: { provider: 'dropbox', mode: 'bisync', conflictResolve: 'local',
             notifyOnInbox: true, notify: { url: 'https://h' }, checkpoint: true,
             watch: true, heartbeatUrl: 'https://h' },
           backup: { enabled: true, provider: 'gdrive' } }",
    )
    .mistakes();
    for name in [
        "sync.provider: \"dropbox\"",
        "sync.mode: \"bisync\"",
        "sync.conflictResolve",
        "sync.notifyOnInbox",
        "sync.notify",
        "sync.checkpoint",
        "sync.watch",
        "sync.heartbeatUrl",
        "backup.enabled",
        "backup.provider: \"gdrive\"",
    ] {
        let expected = format!("`{name}` is not available in this version");
        assert!(
            mistakes.iter().any(|mistake| mistake.ends_with(&expected)),
            "{name}: {mistakes:#?}"
        );
    }
    assert_eq!(mistakes.len(), 10, "{mistakes:#?}");
    assert_eq!(
        World::with("{ sync: { mode: 'bisync' } }").mistakes(),
        ["`sync.mode`: `sync.mode: \"bisync\"` is not available in this version"]
    );
}

#[test]
fn inactive_values_written_out_are_fine() {
    let config = World::with(
        "{ sync: { provider: 'off', mode: 'mailbox', firstSync: 'merge', conflictResolve: 'newer', ingest: false,
             ingestPath: 'inbox', notifyOnInbox: false, maxChange: 100, checkpoint: false, watch: false, auditDays: 0,
             interval: 0, onSessionStart: false, onSessionEnd: false },
           backup: { enabled: false } }",
    )
    .config();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn what_runs_by_itself_is_served() {
    let config = World::with(
        "{ sync: { provider: 'off', interval: 60, onSessionStart: true, onSessionEnd: true } }",
    )
    .config();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}
