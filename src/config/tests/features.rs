//! What this version does not serve is refused when it is asked for, and accepted when it is not.

use super::World;

#[test]
fn features_that_are_not_served_are_errors_when_asked_for() {
    let mistakes = World::with(
        "{ sync: { provider: 'dropbox', notifyOnInbox: true, notify: { url: 'https://h' },
             watch: true, heartbeatUrl: 'https://h' },
           backup: { enabled: true, provider: 'gdrive' } }",
    )
    .mistakes();
    for (key, value) in [
        ("sync.provider", "\"dropbox\" "),
        ("sync.notifyOnInbox", ""),
        ("sync.notify", ""),
        ("sync.watch", ""),
        ("sync.heartbeatUrl", ""),
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
    assert_eq!(mistakes.len(), 6, "{mistakes:#?}");
}

#[test]
fn what_is_allowed_instead_is_what_is_served() {
    for (keys, expected) in [
        (
            "provider: 'gdrive'",
            "`sync.provider`: \"gdrive\" is not available in this version; allowed: `s3`, `custom` or `off`",
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

#[test]
fn both_sides_may_change_and_each_way_to_settle_a_conflict_is_served() {
    for resolve in ["newer", "local", "remote"] {
        let text = format!(
            "{{ sync: {{ provider: 'off', mode: 'bisync', conflictResolve: '{resolve}' }} }}"
        );
        let config = World::with(&text).config();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

#[test]
fn a_way_to_settle_conflicts_where_there_are_none_is_told() {
    for (keys, told) in [
        ("mode: 'mailbox', conflictResolve: 'local'", true),
        ("mode: 'mirror', conflictResolve: 'remote'", true),
        ("mode: 'mailbox', conflictResolve: 'newer'", false),
        (
            "mode: 'mailbox', firstSync: 'merge', conflictResolve: 'local'",
            false,
        ),
        ("conflictResolve: 'local'", false),
    ] {
        let config = World::with(&format!("{{ sync: {{ provider: 'off', {keys} }} }}")).config();
        let is_told = config
            .warnings
            .iter()
            .any(|warning| warning.starts_with("`sync.conflictResolve` does nothing in "));
        assert_eq!(is_told, told, "{keys}: {:?}", config.warnings);
    }
}
