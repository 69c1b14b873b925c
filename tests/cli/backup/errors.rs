//! What cannot be done, and what people read then.

use insta::assert_snapshot;

use super::world::{keygen, now, to_folder};
use crate::schemas::fits;
use crate::support::World;

#[test]
fn nothing_is_configured() {
    let world = World::with_folder("");
    for command in [
        "now", "list", "restore", "verify", "drill", "prune", "status",
    ] {
        let ran = world.ows(&["backup", command]);
        assert_eq!(ran.code, Some(2), "{}", ran.shown());
        fits(
            &format!("backup-{command}"),
            &world.json(&["backup", command]),
        );
    }
    assert_snapshot!(world.ows(&["backup", "now"]).shown(), @r"
    exit code: 2
    --- stderr
    error: no backup is configured
    path: [ROOT]/state/ows/config.json5
    hint: add a `backup` section with `enabled`, `provider`, `encrypt` and `recipients`; docs/backup.md shows one, and `ows backup keygen` makes the key
    ");
}

#[test]
fn backups_are_switched_off_and_snapshots_can_be_read() {
    let world = to_folder("");
    let config = world.read("state/ows/config.json5").unwrap();
    world.config(&config.replace("enabled: true", "enabled: false"));
    assert_snapshot!(world.ows(&["backup", "now"]).shown(), @r"
    exit code: 2
    --- stderr
    error: `backup.enabled` is not true
    path: [ROOT]/state/ows/config.json5
    hint: set it to true to make backups; nothing was done. `ows backup list`, `ls`, `restore` and `verify` work without it
    ");
    world.ok(&["backup", "list"]);
    world.ok(&["backup", "prune"]);
}

#[test]
fn nothing_says_where_snapshots_are() {
    let world = World::bare();
    world.config("{ backup: { encrypt: false } }");
    assert_snapshot!(world.ows(&["backup", "list"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: `backup` does not say where snapshots are
    path: [ROOT]/state/ows/config.json5
    hint: set `provider` and `bucket`, or `provider` "custom" with a folder; nothing was done
    "#);
    world.config("{ backup: { enabled: true } }");
    assert_snapshot!(world.ows(&["backup", "now"]).shown(), @r"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state/ows/config.json5` has one error
    cause: `backup.provider`: is missing, so there is no place for snapshots; allowed: `s3` or `custom`
    hint: nothing was done; correct the file and run again
    ");
}

#[test]
fn a_provider_that_is_not_served_is_refused() {
    let world = World::bare();
    world.config("{ backup: { enabled: true, provider: 'dropbox' } }");
    assert_snapshot!(world.ows(&["backup", "now"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state/ows/config.json5` has one error
    cause: `backup.provider`: "dropbox" is not available in this version; allowed: `s3`, `custom` or `off`
    hint: nothing was done; correct the file and run again
    "#);
}

#[test]
fn encryption_without_a_key_is_refused() {
    let world = to_folder("encrypt: true");
    assert_snapshot!(world.ows(&["backup", "now"]).shown(), @r"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state/ows/config.json5` has one error
    cause: `backup.encrypt`: is true without a key; allowed: `passphrase`, or `recipients` with `age1...` public keys (`ows backup keygen` makes one)
    hint: nothing was done; correct the file and run again
    ");
}

#[test]
fn a_missing_workspace_is_an_error_and_a_missing_item_a_warning() {
    let world = to_folder("");
    world.remove("state/cron/jobs.json");
    std::fs::remove_dir(world.path("state/cron")).unwrap();
    let ran = world.ok(&["backup", "now"]);
    assert!(
        ran.stderr.contains("the item `cron` does not exist"),
        "{}",
        ran.shown()
    );
    std::fs::remove_dir_all(world.path("workspace")).unwrap();
    let ran = world.ows(&["backup", "now"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 1
    --- stderr
    error: the workspace cannot be backed up
    path: [ROOT]/workspace
    cause: No such file or directory (os error 2)
    hint: nothing was stored; `--workspace` or `agents.defaults.workspace` says where it is
    ");
}

#[test]
fn snapshots_that_are_not_there_cannot_be_read() {
    let world = to_folder("");
    assert_snapshot!(world.ows(&["backup", "restore"]).shown(), @r"
    exit code: 1
    --- stderr
    error: there is no snapshot of the profile `default` in [ROOT]/vault
    hint: `ows backup list` shows what there is; `ows backup now` makes one
    ");
    now(&world);
    let unknown = "ows-20200101T000000Z-00000000";
    for command in [
        &["backup", "restore", "--snapshot", unknown][..],
        &["backup", "verify", "--snapshot", unknown],
        &["backup", "ls", unknown],
    ] {
        let json = world.json(command);
        assert_eq!(json["exit_code"], 2, "{json:#}");
        fits(&json["command"].as_str().unwrap().replace(' ', "-"), &json);
    }
    let ran = world.ows(&["backup", "restore", "--snapshot", unknown]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 2
    --- stderr
    error: there is no snapshot `[SNAPSHOT]` in [ROOT]/vault
    hint: `ows backup list` shows what there is
    ");
    let ran = world.ows(&["backup", "ls", "yesterday"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 2
    --- stderr
    error: no such snapshot
    cause: `yesterday` is no name of a snapshot (they look like `[SNAPSHOT]`)
    hint: `ows backup list` shows what there is
    ");
    let ran = world.ows(&["backup", "ls", "latest", "workspace/nothing"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 1
    --- stderr
    warning: `[SNAPSHOT]` is not encrypted: whoever can write to the storage can change it, and nothing would tell
    error: `[SNAPSHOT]` holds no such path
    path: workspace/nothing
    hint: `ows backup ls SNAPSHOT` shows all of them; those of the workspace begin with `workspace/`
    ");
    let ran = world.ows(&["backup", "restore", "--path", "../etc"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 2
    --- stderr
    error: this is no path in a snapshot
    path: ../etc
    cause: the path leads upwards (`..`)
    hint: give it as `ows backup ls` shows it, such as `workspace/notes/plan.md`
    ");
}

#[test]
fn a_target_that_holds_something_is_refused() {
    let world = to_folder("");
    now(&world);
    world.write("home/there/mine.txt", "mine");
    world.write("home/there/workspace/readme.txt", "older");
    let ran = world.ows(&["backup", "restore", "--to", "there"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 2
    --- stderr
    error: `[ROOT]/home/there` is not empty; nothing was restored
    hint: choose another folder with --to, or use --overwrite, which moves what it replaces aside to `[ROOT]/home/there.replaced-<time>`
    ");
    assert_eq!(
        world.read("home/there/workspace/readme.txt").as_deref(),
        Some("older")
    );
    let json = world.json(&["backup", "restore", "--to", "there", "--overwrite"]);
    fits("backup-restore", &json);
    assert_eq!(json["exit_code"], 0, "{json:#}");
    assert_eq!(
        world.read("home/there/workspace/readme.txt").as_deref(),
        Some("Read me.\n")
    );
    assert_eq!(world.read("home/there/mine.txt").as_deref(), Some("mine"));
    let replaced = std::path::PathBuf::from(json["replaced"].as_str().unwrap());
    let older = std::fs::read_to_string(replaced.join("workspace/readme.txt")).unwrap();
    assert_eq!(older, "older", "nothing is lost");
}

#[test]
fn the_wrong_passphrase_is_told_from_damage() {
    let world = to_folder("encrypt: true, passphrase: 'one two three'");
    now(&world);
    let config = world.read("state/ows/config.json5").unwrap();
    world.config(&config.replace("one two three", "three two one"));
    let ran = world.ows(&["backup", "restore", "--to", "here"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 2
    --- stderr
    error: the index could not be read
    cause: `[SNAPSHOT].index.age` does not open
    cause: the passphrase is wrong (or the first bytes of the object are damaged: age cannot tell these apart)
    hint: nothing was restored; set `backup.passphrase` to the one that it was made with; where the configuration has `recipients`, write a second one without them and name it: `--config FILE`
    ");
    assert!(!world.path("home/here").exists());
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("two"));
    world.config(&config.replace(
        "encrypt: true, passphrase: 'one two three'",
        "encrypt: false",
    ));
    let ran = world.ows(&["backup", "ls", "latest"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 2
    --- stderr
    error: the snapshot `[SNAPSHOT]` cannot be read here
    cause: it is sealed with a passphrase, and none is configured
    hint: set `backup.passphrase` to the one that it was made with; where the configuration has `recipients`, write a second one without them and name it: `--config FILE`
    ");
    world.config(&config);
    world.ok(&["backup", "restore", "--to", "here"]);
}

#[test]
fn a_passphrase_reads_where_nothing_is_written_with_it() {
    let world = to_folder("encrypt: true, passphrase: 'one two three'");
    let name = now(&world);
    let old = "fixtures/backup/backup-20260131T235959Z.tar.gz.enc";
    let old = std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(old)).unwrap();
    world.write("vault/backup-20260131T235959Z.tar.gz.enc", old);
    let writing = world.read("state/ows/config.json5").unwrap();

    // A host that only restores.
    let reading = writing
        .replace("enabled: true,", "")
        .replace("encrypt: true,", "");
    world.config(&reading);
    let ran = world.ok(&["backup", "restore", "--to", "here"]);
    assert_eq!(ran.stderr, "");
    assert_eq!(
        world.read("home/here/workspace/readme.txt").as_deref(),
        Some("Read me.\n")
    );
    let verified = world.json(&["backup", "verify", "--snapshot", &name]);
    assert_eq!(verified["level"], "read", "{verified:#}");

    // One that writes to a key by now: the hints lead to where it can be read.
    let owner = World::bare();
    let recipient = keygen(&owner);
    let both = format!("passphrase: 'one two three', recipients: ['{recipient}']");
    world.config(&writing.replace("passphrase: 'one two three'", &both));
    let ran = world.ows(&["backup", "ls", &name]);
    assert_eq!(ran.code, Some(2), "{}", ran.shown());
    assert!(ran.stderr.contains("`--config FILE`"), "{}", ran.stderr);
    let moved = writing.replace(
        "passphrase: 'one two three'",
        &format!("recipients: ['{recipient}']"),
    );
    world.config(&moved);
    now(&world);
    for snapshot in [name.as_str(), "backup-20260131T235959Z.tar.gz.enc"] {
        let ran = world.ows(&["backup", "ls", snapshot]);
        assert_eq!(ran.code, Some(2), "{}", ran.shown());
        assert!(ran.stderr.contains("`--config FILE`"), "{}", ran.stderr);
        let phrase = match snapshot == name {
            true => "one two three",
            false => "correct horse battery staple",
        };
        let file = world.path("home/older.json5");
        std::fs::write(&file, reading.replace("one two three", phrase)).unwrap();
        world.ok(&["backup", "ls", snapshot, "--config", "older.json5"]);
    }
}

#[test]
fn an_identity_that_cannot_be_read_is_named() {
    let owner = World::bare();
    let recipient = keygen(&owner);
    let world = to_folder(&format!(
        "encrypt: true, recipients: ['{recipient}'], identities: ['/nowhere/identity.txt']"
    ));
    now(&world);
    let ran = world.ows(&["backup", "drill"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 2
    --- stderr
    error: could not read the identity file `/nowhere/identity.txt`
    cause: No such file or directory (os error 2)
    hint: `backup.identities` names files with `AGE-SECRET-KEY-...` lines, as `ows backup keygen` writes them
    ");
    let config = world.read("state/ows/config.json5").unwrap();
    world.config(&config.replace(", identities: ['/nowhere/identity.txt']", ""));
    let ran = world.ows(&["backup", "verify", "--level", "read"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 2
    --- stderr
    error: the snapshot `[SNAPSHOT]` cannot be read here
    cause: it is sealed to the owners of age keys, and no identity is configured
    hint: name the file with its age identity in `backup.identities`
    ");
}

#[test]
fn wrong_usage_is_told_in_the_words_of_the_command() {
    let world = to_folder("");
    for (name, arguments) in [
        ("backup-now", &["backup", "now", "--bogus"][..]),
        ("backup-list", &["backup", "list", "x"]),
        ("backup-ls", &["backup", "ls"]),
        ("backup-restore", &["backup", "restore", "x"]),
        ("backup-verify", &["backup", "verify", "--level", "deep"]),
        (
            "backup-verify",
            &["backup", "verify", "--all", "--snapshot", "latest"],
        ),
        ("backup-drill", &["backup", "drill", "x"]),
        ("backup-prune", &["backup", "prune", "--bogus"]),
        ("backup-status", &["backup", "status", "--max-age", "soon"]),
        ("backup-keygen", &["backup", "keygen", "x"]),
        ("usage", &["backup"]),
    ] {
        let json = world.json(arguments);
        assert_eq!(json["exit_code"], 2, "{arguments:?}");
        fits(name, &json);
    }
}
