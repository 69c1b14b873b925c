//! Every key of `sync` and `backup`: defaults, ranges, raised values.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::super::{Encryption, FirstSync, Item, Mode, Notify, ProviderConfig, Retain};
use super::{World, backup_mistake, sync_mistake};

const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

#[test]
fn sync_defaults_are_those_of_the_specification() {
    let world = World::with("{ sync: {} }");
    let config = world.config();
    assert!(config.backup.is_none());
    let sync = config.sync.unwrap();
    assert!(matches!(sync.provider, ProviderConfig::Off));
    assert_eq!(sync.mode, None);
    assert_eq!(
        sync.remote_path.as_ref().unwrap().as_str(),
        "openclaw-share"
    );
    assert_eq!(sync.local_path, None);
    assert_eq!(sync.local_folder, world.path(".openclaw/workspace"));
    assert_eq!(sync.interval, None);
    assert_eq!(sync.timeout, Duration::from_secs(1800));
    assert!(!sync.on_session_start && !sync.on_session_end && !sync.copy_symlinks);
    assert_eq!(sync.exclude, [".DS_Store"]);
    assert!(sync.ingest.is_none() && !sync.notify_on_inbox && sync.notify.is_none());
    assert_eq!(sync.remote_name, "cloud");
    assert_eq!(
        sync.config_path,
        world.path(".openclaw/.config/rclone/rclone.conf")
    );
    assert_eq!((sync.max_delete, sync.max_change), (50, 100));
    assert_eq!(sync.first_sync, FirstSync::Ask);
    assert!(sync.checkpoint && !sync.watch);
    assert_eq!(sync.settle, Duration::from_secs(10));
    assert_eq!(sync.audit_days, Some(7));
    assert!(
        sync.bandwidth.up.is_none() && sync.bandwidth.down.is_none() && sync.transfers.is_none()
    );
    assert_eq!(
        (sync.trash.keep_days, sync.trash.remote, sync.trash.local),
        (30, true, true)
    );
    assert!(sync.heartbeat_url.is_none());
}

#[test]
fn sync_values_are_taken_over() {
    let world = World::with(
        "{ sync: { mode: 'bisync', remotePath: '/a/b/', localPath: './x/../shared/', interval: 300, timeout: 90.0,
           onSessionStart: true, onSessionEnd: true, exclude: [], copySymlinks: true, conflictResolve: 'remote',
           ingest: true, ingestPath: 'drop', notify: { command: ['say', 'hi'] }, notifyOnInbox: true,
           remoteName: 'my remote', configPath: 'r.conf', maxDelete: 0, firstSync: 'merge', checkpoint: false,
           watch: true, settle: 0, auditDays: 0, bandwidth: '500k/s', transfers: 16,
           trash: { keepDays: 0, remote: false, local: false }, heartbeatUrl: 'https://hc.example/x' } }",
    );
    let sync = world.whole().sync.unwrap();
    assert_eq!(sync.mode, Some(Mode::Bisync));
    assert_eq!(sync.remote_path.unwrap().as_str(), "a/b");
    assert_eq!(sync.local_path.unwrap().as_str(), "shared");
    assert_eq!(sync.interval, Some(Duration::from_secs(300)));
    assert_eq!(sync.timeout, Duration::from_secs(90));
    assert!(sync.exclude.is_empty());
    assert_eq!(sync.ingest.unwrap().as_str(), "drop");
    assert!(matches!(sync.notify, Some(Notify::Command(words)) if words == ["say", "hi"]));
    assert_eq!(sync.remote_name, "my remote");
    assert_eq!(sync.config_path, world.path(".openclaw/ows/r.conf"));
    assert_eq!((sync.max_delete, sync.max_change), (0, 80));
    assert_eq!(sync.audit_days, None);
    assert_eq!(sync.bandwidth.up.unwrap().get(), 500_000);
    assert_eq!(sync.bandwidth.down.unwrap().get(), 500_000);
    assert_eq!(sync.transfers.unwrap().get(), 16);
    assert_eq!(
        (sync.trash.keep_days, sync.trash.remote, sync.trash.local),
        (0, false, false)
    );
    assert!(sync.heartbeat_url.is_some());
}

#[test]
fn short_times_are_raised_with_a_warning() {
    let config =
        World::with("{ sync: { interval: 1, timeout: 59 }, backup: { interval: 299 } }").whole();
    let sync = config.sync.unwrap();
    assert_eq!(sync.interval, Some(Duration::from_secs(60)));
    assert_eq!(sync.timeout, Duration::from_secs(60));
    assert_eq!(
        config.backup.unwrap().interval,
        Some(Duration::from_secs(300))
    );
    for text in [
        "`sync.interval` is 1 seconds, which is too short: 60 seconds are used",
        "`sync.timeout` is 59 seconds, which is too short: 60 seconds are used",
        "`backup.interval` is 299 seconds, which is too short: 300 seconds are used",
    ] {
        assert!(
            config.warnings.iter().any(|warning| warning == text),
            "{:?}",
            config.warnings
        );
    }
    let config =
        World::with("{ sync: { interval: 60, timeout: 60 }, backup: { interval: 300 } }").whole();
    assert!(
        config
            .warnings
            .iter()
            .all(|warning| !warning.contains("too short"))
    );
    assert_eq!(
        World::with("{ backup: { interval: 0 } }")
            .config()
            .backup
            .unwrap()
            .interval,
        None
    );
}

#[test]
fn wrong_sync_values_are_refused() {
    for (keys, expected) in [
        (
            "mode: 'mailbx'",
            "`sync.mode`: found \"mailbx\"; did you mean `mailbox`? allowed: `mailbox`, `mirror` or `bisync`",
        ),
        (
            "provider: 'gcs'",
            "`sync.provider`: found \"gcs\"; allowed: `s3`, `dropbox`, `gdrive`, `onedrive`, `custom` or `off`",
        ),
        (
            "localPath: '/abs'",
            "`sync.localPath`: found \"/abs\": it is no relative path",
        ),
        (
            "localPath: 'a/../../b'",
            "`sync.localPath`: found \"a/../../b\": it leaves the workspace",
        ),
        (
            "localPath: '.ows/x'",
            "`sync.localPath`: found \".ows/x\": `.ows` belongs",
        ),
        (
            "remotePath: 'a/../b'",
            "`sync.remotePath`: the name holds a `.` or `..` segment",
        ),
        ("remotePath: 5", "`sync.remotePath`: found a number"),
        (
            "interval: -1",
            "`sync.interval`: found -1; allowed: a whole number of seconds, at least 0",
        ),
        ("interval: '60'", "`sync.interval`: found a text"),
        ("timeout: 1.5", "`sync.timeout`: found 1.5"),
        (
            "onSessionStart: 1",
            "`sync.onSessionStart`: found a number; allowed: `true` or `false`",
        ),
        ("onSessionEnd: 'yes'", "`sync.onSessionEnd`: found a text"),
        (
            "exclude: '*.log'",
            "`sync.exclude`: found a text; allowed: a list of patterns",
        ),
        ("copySymlinks: null", "`sync.copySymlinks`: found null"),
        (
            "conflictResolve: 'both'",
            "`sync.conflictResolve`: found \"both\"; allowed: `newer`, `local` or `remote`",
        ),
        ("ingest: 'inbox'", "`sync.ingest`: found a text"),
        (
            "ingestPath: 'a/b'",
            "`sync.ingestPath`: is no folder name that every provider takes; allowed: one plain",
        ),
        ("ingestPath: '..'", "`sync.ingestPath`: is no folder name"),
        (
            "ingestPath: 'in*'",
            "`sync.ingestPath`: is no folder name that every provider takes; allowed: one plain folder name, such as \
             `inbox`, of at most 255 bytes and without `/`",
        ),
        (
            "ingestPath: 'a\\nb'",
            "`sync.ingestPath`: holds control characters; allowed: one plain folder name",
        ),
        (
            concat!(
                "ingestPath: '",
                "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
                "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
                "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
                "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn'"
            ),
            "`sync.ingestPath`: is too long; allowed: one plain folder name",
        ),
        (
            "notify: {}",
            "`sync.notify`: has neither `url` nor `command`",
        ),
        (
            "notify: { command: [] }",
            "`sync.notify.command`: names no program",
        ),
        (
            "notify: { url: 'https://h', command: ['x'] }",
            "`sync.notify`: has both",
        ),
        ("notify: { url: 'nowhere' }", "`sync.notify.url`: is no URL"),
        (
            "remoteName: '../up'",
            "`sync.remoteName`: is no name for credentials",
        ),
        ("configPath: ''", "`sync.configPath`: is empty"),
        (
            "maxDelete: 101",
            "`sync.maxDelete`: found 101; allowed: a whole number of per cent from 0 to 100",
        ),
        ("maxChange: -5", "`sync.maxChange`: found -5"),
        (
            "firstSync: 'push'",
            "`sync.firstSync`: found \"push\"; allowed: `ask`, `local`, `remote` or `merge`",
        ),
        (
            "mode: 'mirror', firstSync: 'local'",
            "`sync.firstSync`: is `local`, but in mirror mode",
        ),
        (
            "mode: 'mirror', firstSync: 'merge'",
            "`sync.firstSync`: is `merge`, but in mirror mode",
        ),
        ("checkpoint: 0", "`sync.checkpoint`: found a number"),
        ("settle: 90000", "`sync.settle`: found 90000"),
        ("auditDays: -1", "`sync.auditDays`: found -1"),
        (
            "bandwidth: 'fast'",
            "`sync.bandwidth`: found \"fast\"; allowed: a rate such as `4MiB/s`",
        ),
        ("bandwidth: { up: 5 }", "`sync.bandwidth.up`: found 5"),
        (
            "bandwidth: { upp: '1M' }",
            "`sync.bandwidth.upp`: is no known key; did you mean `up`?",
        ),
        (
            "transfers: 0",
            "`sync.transfers`: found 0; allowed: a whole number of files from 1 to 256",
        ),
        (
            "trash: { keepdays: 3 }",
            "`sync.trash.keepdays`: is no known key; did you mean `keepDays`?",
        ),
        (
            "trash: { remote: 'no' }",
            "`sync.trash.remote`: found a text",
        ),
        ("heartbeatUrl: 'x'", "`sync.heartbeatUrl`: is no URL"),
        (
            "maxdelete: 5",
            "`sync.maxdelete`: is no known key; did you mean `maxDelete`?",
        ),
    ] {
        let mistake = sync_mistake(keys);
        assert!(mistake.starts_with(expected), "{keys}: {mistake}");
    }
}

#[test]
fn a_missing_mode_is_explained_when_a_run_needs_it() {
    let sync = World::with("{ sync: {} }").config().sync.unwrap();
    let failure = sync.required_mode().unwrap_err();
    assert_eq!(failure.kind.exit_code(), 2);
    let hint = failure.hint.unwrap();
    for mode in [
        "`mailbox`: the workspace is the truth",
        "`mirror`: the remote is the truth",
        "`bisync`: both sides may change",
    ] {
        assert!(hint.contains(mode), "{hint}");
    }
    assert!(
        !hint.contains("not available"),
        "all of them are served: {hint}"
    );
    let sync = World::with("{ sync: { mode: 'mailbox' } }")
        .config()
        .sync
        .unwrap();
    assert_eq!(sync.required_mode().unwrap(), Mode::Mailbox);
}

#[test]
fn backup_defaults_are_those_of_the_specification() {
    let backup = World::with("{ backup: {} }").config().backup.unwrap();
    assert!(!backup.enabled && backup.location.is_none());
    assert_eq!(backup.remote_name, "backup");
    assert_eq!(backup.profile, "default");
    assert_eq!(backup.interval, Some(Duration::from_secs(86_400)));
    assert!(matches!(backup.encryption, Encryption::None) && backup.identities.is_empty());
    assert_eq!(
        backup.include,
        [Item::Workspace, Item::Config, Item::Cron, Item::Memory]
    );
    assert_eq!(
        backup.exclude,
        ["node_modules/", "__pycache__/", ".venv/", "venv/"]
    );
    assert!(backup.exclude_caches && !backup.cross_mounts);
    assert_eq!(
        backup.retain,
        Retain {
            last: 7,
            ..Retain::default()
        }
    );
    assert_eq!((backup.compression, backup.min_size), (6, 70));
    assert!(backup.volume_size.is_none() && backup.verify_interval.is_none());
}

#[test]
fn backup_takes_over_what_sync_says() {
    let config = World::with(
        "{ sync: { exclude: ['*.log'], configPath: '/r.conf', provider: 'custom', remotePath: 'share',
             custom: { type: 'local', options: { path: '/mnt/usb' } } },
           backup: { enabled: true, remotePath: 'snapshots', prefix: 'agent' } }",
    )
    .whole();
    let backup = config.backup.unwrap();
    assert_eq!(backup.exclude, ["*.log"]);
    assert_eq!(backup.config_path.to_str(), Some("/r.conf"));
    let location = backup.location.unwrap();
    assert!(
        matches!(location.provider, ProviderConfig::Local { path } if path.to_str() == Some("/mnt/usb"))
    );
    assert_eq!(location.folder.unwrap().as_str(), "snapshots/agent");
}

#[test]
fn retention_has_two_forms_and_a_way_to_keep_everything() {
    let retain = |text: &str| {
        World::with(&format!("{{ backup: {{ retain: {text} }} }}"))
            .config()
            .backup
            .unwrap()
            .retain
    };
    assert_eq!(retain("3").last, 3);
    for text in ["0", "{}", "{ last: 0, daily: 0 }"] {
        assert!(retain(text).keeps_everything(), "{text}");
    }
    let tiers =
        retain("{ last: 1, hourly: 2, daily: 3, weekly: 4, monthly: 5, yearly: 6, within: '30d' }");
    assert_eq!((tiers.hourly, tiers.yearly), (2, 6));
    assert_eq!(tiers.within, Some(Duration::from_secs(30 * 86_400)));
    assert!(!tiers.keeps_everything());
}

#[test]
fn encryption_takes_a_passphrase_or_recipients() {
    let backup = |keys: &str| World::with(&format!("{{ backup: {{ {keys} }} }}")).config();
    let config = backup("encrypt: true, passphrase: 'p'");
    assert!(matches!(
        config.backup.unwrap().encryption,
        Encryption::Passphrase(_)
    ));
    let config = backup(&format!("encrypt: true, recipients: ['{KEY}']"));
    assert!(
        matches!(config.backup.unwrap().encryption, Encryption::Recipients(keys) if keys == [KEY])
    );
    let config = backup(&format!("recipients: ['{KEY}']"));
    assert_eq!(
        config.warnings,
        ["`backup.recipients` is set, but `encrypt` is not true: snapshots are not encrypted"]
    );
}

#[test]
fn a_passphrase_is_there_to_read_with_whatever_is_written() {
    let backup = |keys: &str| World::with(&format!("{{ backup: {{ {keys} }} }}")).config();
    let place = "provider: 'custom', custom: { type: 'local', options: { path: '/mnt/usb' } }";
    let writing = format!("enabled: true, {place}, passphrase: 'p'");
    for (keys, warnings) in [
        ("encrypt: true, passphrase: 'p'", vec![]),
        // Whoever only restores.
        ("passphrase: 'p'", vec![]),
        (
            writing.as_str(),
            vec![
                "`backup.passphrase` is set, but `encrypt` is not true: it opens snapshots, and new ones are not encrypted",
            ],
        ),
    ] {
        let config = backup(keys);
        assert_eq!(config.warnings, warnings, "{keys}");
        let backup = config.backup.unwrap();
        assert_eq!(backup.passphrase.unwrap().expose_secret(), "p", "{keys}");
        let seals = matches!(backup.encryption, Encryption::Passphrase(_));
        assert_eq!(seals, keys.contains("encrypt"), "{keys}");
    }
}

#[test]
fn wrong_backup_values_are_refused() {
    let both = format!("encrypt: true, passphrase: 'p', recipients: ['{KEY}']");
    for (keys, expected) in [
        ("enabled: 'yes'", "`backup.enabled`: found a text"),
        (
            "enabled: true",
            "`backup.provider`: is missing, so there is no place for snapshots",
        ),
        (
            "provider: 's3', bucket: 'a/b'",
            "`backup.bucket`: is no bucket's name",
        ),
        (
            "provider: 's3', bucket: 'a', s3: { bucket: 'b' }",
            "`backup.bucket`: stands beside `s3.bucket`",
        ),
        (
            "provider: 's3', prefix: 'only'",
            "`backup.s3.bucket`: is missing",
        ),
        (
            "provider: 'dropbox', bucket: 'a'",
            "`backup.bucket`: means something for S3 only",
        ),
        ("profile: 'a/b'", "`backup.profile`: is no profile's name"),
        ("interval: -1", "`backup.interval`: found -1"),
        ("encrypt: true", "`backup.encrypt`: is true without a key"),
        (
            both.as_str(),
            "`backup.recipients`: stand beside `passphrase`",
        ),
        (
            "encrypt: true, passphrase: ''",
            "`backup.passphrase`: is empty",
        ),
        (
            "encrypt: true, recipients: []",
            "`backup.recipients`: is empty",
        ),
        (
            "recipients: ['ssh-ed25519 AAAA']",
            "`backup.recipients[0]`: is an ssh key; these are refused, because",
        ),
        (
            "recipients: ['AGE-SECRET-KEY-1XYZ']",
            "`backup.recipients[0]`: is a SECRET key",
        ),
        (
            "recipients: ['age1abc']",
            "`backup.recipients[0]`: is no whole `age1...` key",
        ),
        (
            "recipients: ['bob']",
            "`backup.recipients[0]`: is no age public key",
        ),
        (
            "identities: ['AGE-SECRET-KEY-1XYZ']",
            "`backup.identities[0]`: is a secret key itself",
        ),
        (
            "include: ['workspce']",
            "`backup.include[0]`: found \"workspce\"; allowed: `workspace`, `config`",
        ),
        ("include: []", "`backup.include`: is empty"),
        ("excludeCaches: 1", "`backup.excludeCaches`: found a number"),
        ("retain: -1", "`backup.retain`: found -1"),
        (
            "retain: '7'",
            "`backup.retain`: found a text; allowed: a number of snapshots",
        ),
        (
            "retain: { dayly: 7 }",
            "`backup.retain.dayly`: is no known key; did you mean `daily`?",
        ),
        (
            "retain: { within: '3m' }",
            "`backup.retain.within`: found \"3m\"; allowed: a span",
        ),
        ("crossMounts: 0", "`backup.crossMounts`: found a number"),
        ("compression: 10", "`backup.compression`: found 10"),
        (
            "volumeSize: '10k'",
            "`backup.volumeSize`: found \"10k\"; allowed: a number of bytes",
        ),
        ("minSize: 101", "`backup.minSize`: found 101"),
        (
            "verifyInterval: 'daily'",
            "`backup.verifyInterval`: found a text",
        ),
        ("heartbeatUrl: 'x'", "`backup.heartbeatUrl`: is no URL"),
        ("mode: 'mailbox'", "`backup.mode`: is no known key"),
    ] {
        let mistake = backup_mistake(keys);
        assert!(mistake.starts_with(expected), "{keys}: {mistake}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_reported_together() {
    let mistakes = World::with(
        "{ sync: { mode: 'x', interval: -1, s3: { bucket: 5, endpont: '' } }, backup: { retain: [], foo: 1 }, bar: 2 }",
    )
    .mistakes();
    assert_eq!(mistakes.len(), 7, "{mistakes:#?}");
}

#[test]
fn the_stand_alone_fixture_is_understood() {
    let world = World::with(include_str!("../../../fixtures/config/stand-alone.json5"));
    let config = world.config();
    let sync = config.sync.unwrap();
    let ProviderConfig::S3(s3) = &sync.provider else {
        panic!("{sync:?}")
    };
    assert_eq!(
        (s3.bucket.as_str(), sync.remote_path.as_ref()),
        ("files", None)
    );
    assert!(s3.force_path_style && s3.credentials.is_some());
    assert_eq!(sync.bandwidth.up.unwrap().get(), 4 << 20);
    assert_eq!(sync.bandwidth.down, None);
    assert_eq!(sync.first_sync, FirstSync::Local);
    let backup = config.backup.unwrap();
    assert_eq!(backup.exclude, ["*.iso"]);
    assert_eq!(backup.volume_size, Some(1 << 30));
}
