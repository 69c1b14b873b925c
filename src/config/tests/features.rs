//! What this version does not serve is refused when it is asked for, and accepted when it is not.

use super::World;

#[test]
fn features_that_are_not_served_are_errors_when_asked_for() {
    let mistakes = World::with(
        "{ sync: { provider: 'dropbox', mode: 'bisync', conflictResolve: 'local',
             notifyOnInbox: true, notify: { url: 'https://h' },
             watch: true, heartbeatUrl: 'https://h' },
           backup: { enabled: true, provider: 'gdrive' } }",
    )
    .mistakes();
    for (key, value) in [
        ("sync.provider", "\"dropbox\" "),
        ("sync.mode", "\"bisync\" "),
        ("sync.conflictResolve", "\"local\" "),
        ("sync.notifyOnInbox", ""),
        ("sync.notify", ""),
        ("sync.watch", ""),
        ("sync.heartbeatUrl", ""),
        ("backup.enabled", ""),
        ("backup.provider", "\"gdrive\" "),
    ] {
        let expected = format!("`{key}`: {value}is not available in this version");
        assert!(
            mistakes
                .iter()
                .any(|mistake| mistake.starts_with(&expected)),
            "{key}: {mistakes:#?}"
        );
    }
    assert_eq!(mistakes.len(), 9, "{mistakes:#?}");
}

#[test]
fn what_is_allowed_instead_is_what_is_served() {
    for (keys, expected) in [
        (
            "mode: 'bisync'",
            "`sync.mode`: \"bisync\" is not available in this version; allowed: `mailbox` or `mirror`",
        ),
        (
            "provider: 'gdrive'",
            "`sync.provider`: \"gdrive\" is not available in this version; allowed: `s3`, `custom` or `off`",
        ),
        (
            "conflictResolve: 'local'",
            "`sync.conflictResolve`: \"local\" is not available in this version; allowed: `newer`",
        ),
        (
            "notify: 5",
            "`sync.notify`: is not available in this version; remove it",
        ),
        (
            "conflictResolve: 'old'",
            "`sync.conflictResolve`: found \"old\"; allowed: `newer`, `local` or `remote`",
        ),
    ] {
        let mistakes = World::with(&format!("{{ sync: {{ {keys} }} }}")).mistakes();
        assert_eq!(mistakes, [expected]);
    }
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
