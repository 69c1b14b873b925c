//! Looking into snapshots, restoring and proving them.

use insta::assert_snapshot;

use super::made::shown;
use super::world::{keygen, now, to_folder};
use crate::schemas::fits;
use crate::support::World;

/// A host that has its identity.
fn sealed() -> World {
    let keys = World::bare();
    let recipient = keygen(&keys);
    let world = to_folder(&format!(
        "encrypt: true, recipients: ['{recipient}'], identities: ['../../home/identity.txt']"
    ));
    let identity = keys.read("home/identity.txt").unwrap();
    world.write("home/identity.txt", identity);
    world
}

#[test]
fn a_snapshot_is_looked_into_restored_and_proven() {
    let world = sealed();
    world.tree().symlink("workspace/link", "readme.txt");
    now(&world);
    let all = [
        &["backup", "ls", "latest"][..],
        &["backup", "ls", "latest", "workspace/notes/"],
        &["backup", "verify", "--level", "list"],
        &["backup", "verify", "--level", "hash"],
        &["backup", "verify"],
        &["backup", "restore", "--dry-run"],
        &["backup", "restore"],
        &[
            "backup",
            "restore",
            "--to",
            "part",
            "--path",
            "workspace/readme.txt",
        ],
        &["backup", "drill"],
        &["backup", "list"],
    ]
    .map(|arguments| {
        format!(
            "$ {}\n{}",
            arguments.join(" "),
            shown(&world.ok(arguments).shown())
        )
    });
    assert_snapshot!(all.join("\n"), @r"
    $ backup ls latest
    exit code: 0
    --- stdout
               -  [TIME]  cron/
      [SIZE]  [TIME]  cron/jobs.json
      [SIZE]  [TIME]  openclaw.json
               -  [TIME]  workspace/
               -  [TIME]  workspace/link -> readme.txt
               -  [TIME]  workspace/memory/
      [SIZE]  [TIME]  workspace/memory/2026.md
               -  [TIME]  workspace/notes/
      [SIZE]  [TIME]  workspace/notes/plan.md
      [SIZE]  [TIME]  workspace/readme.txt

    $ backup ls latest workspace/notes/
    exit code: 0
    --- stdout
               -  [TIME]  workspace/notes/
      [SIZE]  [TIME]  workspace/notes/plan.md

    $ backup verify --level list
    exit code: 0
    --- stdout
    [SNAPSHOT]: every object is there, in its length

    $ backup verify --level hash
    exit code: 0
    --- stdout
    [SNAPSHOT]: every object is, byte by byte, the one that was stored (not decrypted)

    $ backup verify
    exit code: 0
    --- stdout
    [SNAPSHOT]: every file is as it was stored: 5 files, [SIZE]

    $ backup restore --dry-run
    exit code: 0
    --- stdout
    [SNAPSHOT]: 5 files, [SIZE], would be restored into `[ROOT]/state/.backup-restore/[SNAPSHOT]` (dry run: nothing was written)

    $ backup restore
    exit code: 0
    --- stdout
    [SNAPSHOT]: 5 files, [SIZE], restored into `[ROOT]/state/.backup-restore/[SNAPSHOT]`, every file checked ([CALLS] calls, [SECONDS] s)

    $ backup restore --to part --path workspace/readme.txt
    exit code: 0
    --- stdout
    [SNAPSHOT]: 1 file, [SIZE], restored into `[ROOT]/home/part`, every file checked ([CALLS] calls, [SECONDS] s)

    $ backup drill
    exit code: 0
    --- stdout
    [SNAPSHOT]: restored, and every file is as it was stored: 5 files, [SIZE] ([CALLS] calls, [SECONDS] s)
    0 databases checked, 0 files compared with this host, where they have not changed since; what was restored was removed again

    $ backup list
    exit code: 0
    --- stdout
    [SNAPSHOT]       [TIME]  [SIZE]       5 files  encrypted  proven [DAY] (drill)
    1 snapshot, [SIZE]
    ");
    assert_eq!(
        world.everything("home/part"),
        ["workspace", "workspace/readme.txt"]
    );
    let left = world.everything("state/ows");
    assert!(!left.iter().any(|name| name.contains("drill")), "{left:?}");
}

#[test]
fn json_fits_the_schemas() {
    let world = sealed();
    world.tree().symlink("workspace/link", "readme.txt");
    let name = now(&world);
    let listed = world.json(&["backup", "ls", &name]);
    fits("backup-ls", &listed);
    let entries = listed["entries"].as_array().unwrap();
    let readme = entries
        .iter()
        .find(|entry| entry["path"] == "workspace/readme.txt")
        .unwrap();
    assert_eq!(
        (&readme["kind"], &readme["size"]),
        (&"file".into(), &9.into())
    );
    for arguments in [
        &["backup", "restore", "--dry-run"][..],
        &["backup", "restore", "--to", "all"],
    ] {
        let json = world.json(arguments);
        fits("backup-restore", &json);
        assert_eq!(
            (&json["files"], &json["snapshot"]),
            (&5.into(), &name.as_str().into())
        );
        assert!(json["target"].is_string());
    }
    for (level, proven) in [("list", "list"), ("hash", "hash"), ("read", "read")] {
        let json = world.json(&["backup", "verify", "--level", level]);
        fits("backup-verify", &json);
        assert_eq!(json["verified"][0]["proven"], proven);
    }
    fits("backup-verify", &world.json(&["backup", "verify", "--all"]));
    fits("backup-drill", &world.json(&["backup", "drill"]));
    let listed = world.json(&["backup", "list"]);
    fits("backup-list", &listed);
    assert_eq!(listed["snapshots"][0]["level"], "drill");
    let status = world.json(&["backup", "status"]);
    fits("backup-status", &status);
    assert_eq!(status["proven"]["snapshot"], name.as_str());
}

#[test]
fn damage_is_named_and_the_rest_is_restored() {
    let world = to_folder("compression: 0, exclude: []");
    let name = now(&world);
    let object = format!("vault/{name}.tar.gz");
    let mut bytes = world.tree().read(&object).unwrap();
    let text = b"Read me.\n";
    let at = bytes
        .windows(text.len())
        .position(|part| part == text)
        .unwrap();
    bytes[at] = b'B';
    world.write(&object, &bytes);
    let shown_all = [
        &["backup", "verify", "--level", "list"][..],
        &["backup", "verify", "--level", "hash"],
        &["backup", "restore", "--to", "here"],
        &["backup", "drill"],
    ]
    .map(|arguments| {
        format!(
            "$ {}\n{}",
            arguments.join(" "),
            shown(&world.ows(arguments).shown())
        )
    });
    assert_snapshot!(shown_all.join("\n"), @r"
    $ backup verify --level list
    exit code: 0
    --- stdout
    [SNAPSHOT]: every object is there, in its length
    --- stderr
    warning: `[SNAPSHOT]` is not encrypted: whoever can write to the storage can change it, and nothing would tell

    $ backup verify --level hash
    exit code: 3
    --- stdout
    [SNAPSHOT]: NOT as it was stored, see below
    --- stderr
    warning: `[SNAPSHOT]` is not encrypted: whoever can write to the storage can change it, and nothing would tell
    `[SNAPSHOT].tar.gz`: `[SNAPSHOT].tar.gz` is not the object that the manifest names: its SHA-256 is [SHA-256], not [SHA-256]
    error: 1 thing is not as it was stored
    hint: what is bad stands above; everything else is as it was stored. Look whether another snapshot has it

    $ backup restore --to here
    exit code: 3
    --- stdout
    [SNAPSHOT]: 4 files, [SIZE], restored into `[ROOT]/home/here` ([CALLS] calls, [SECONDS] s)
    --- stderr
    warning: `[SNAPSHOT]` is not encrypted: whoever can write to the storage can change it, and nothing would tell
    `workspace/readme.txt`: its content is not what the index says; it was not kept
    `[SNAPSHOT].tar.gz`: nothing behind `workspace/readme.txt` could be restored: the archive could not be read after 17408 bytes: corrupt gzip stream does not have a matching checksum
    error: 2 things are not as they were stored
    hint: what is bad stands above; everything else is as it was stored. Look whether another snapshot has it

    $ backup drill
    exit code: 3
    --- stdout
    [SNAPSHOT]: restored, but NOT everything is as it was stored: 4 files, [SIZE] ([CALLS] calls, [SECONDS] s)
    0 databases checked, 0 files compared with this host, where they have not changed since; what was restored was removed again
    --- stderr
    warning: `[SNAPSHOT]` is not encrypted: whoever can write to the storage can change it, and nothing would tell
    `workspace/readme.txt`: its content is not what the index says; it was not kept
    `[SNAPSHOT].tar.gz`: nothing behind `workspace/readme.txt` could be restored: the archive could not be read after 17408 bytes: corrupt gzip stream does not have a matching checksum
    error: 2 things are not as they were stored
    hint: what is bad stands above; everything else is as it was stored. Look whether another snapshot has it
    ");
    let json = world.json(&["backup", "verify"]);
    fits("backup-verify", &json);
    assert_eq!(json["exit_code"], 3);
    let json = world.json(&["backup", "restore", "--to", "again"]);
    fits("backup-restore", &json);
    assert_eq!(json["exit_code"], 3);
    assert!(world.path("home/again/.ows-partial").exists());
    assert_eq!(
        world.read("home/again/workspace/notes/plan.md").as_deref(),
        Some("The plan.\n")
    );
    let listed = world.json(&["backup", "list"]);
    assert!(
        listed["snapshots"][0]["level"].is_null(),
        "nothing is proven"
    );
}

#[test]
fn what_is_found_damaged_is_proven_no_more() {
    let world = to_folder("");
    let name = now(&world);
    let level = || world.json(&["backup", "list"])["snapshots"][0]["level"].clone();
    world.ok(&["backup", "drill"]);
    assert_eq!(level(), "drill");
    world.ok(&["backup", "verify", "--level", "list"]);
    assert_eq!(level(), "drill");
    world.ok(&["backup", "verify"]);
    assert_eq!(level(), "read", "as deep, and newer");
    let object = format!("vault/{name}.tar.gz");
    let whole = world.tree().read(&object).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    world.write(&object, &bytes);
    for command in ["verify", "drill"] {
        assert_eq!(world.json(&["backup", command])["exit_code"], 3);
        assert!(level().is_null(), "{command}: {}", level());
        let shown = world.ok(&["backup", "list"]).shown();
        assert!(!shown.contains("proven 2"), "{shown}");
        world.write(&object, &whole);
        world.ok(&["backup", "verify"]);
        assert_eq!(level(), "read");
        world.write(&object, &bytes);
    }
}

#[test]
fn a_path_that_the_snapshot_does_not_hold_is_no_damage() {
    let world = to_folder("encrypt: false");
    now(&world);
    let restore = |paths: &[&str]| {
        let paths = paths.iter().flat_map(|path| ["--path", path]);
        let arguments: Vec<_> = ["backup", "restore"].into_iter().chain(paths).collect();
        shown(&world.ows(&arguments).shown())
    };
    let slip = restore(&["workspace/readme.md"]);
    assert!(!world.path("state/.backup-restore").exists());
    let all = [slip, restore(&["workspace/readme.txt"]), {
        std::fs::remove_dir_all(world.path("state/.backup-restore")).unwrap();
        restore(&["workspace/readme.txt", "workspace/readme.md"])
    }];
    assert_snapshot!(all.join("\n"), @r"
    exit code: 2
    --- stderr
    error: the snapshot `[SNAPSHOT]` holds no such path; nothing was restored
    path: workspace/readme.md
    hint: `ows backup ls [SNAPSHOT]` shows which paths it holds

    exit code: 0
    --- stdout
    [SNAPSHOT]: 1 file, [SIZE], restored into `[ROOT]/state/.backup-restore/[SNAPSHOT]`, every file checked ([CALLS] calls, [SECONDS] s)
    --- stderr
    warning: `[SNAPSHOT]` is not encrypted: whoever can write to the storage can change it, and nothing would tell

    exit code: 3
    --- stdout
    [SNAPSHOT]: 1 file, [SIZE], restored into `[ROOT]/state/.backup-restore/[SNAPSHOT]` ([CALLS] calls, [SECONDS] s)
    --- stderr
    warning: `[SNAPSHOT]` is not encrypted: whoever can write to the storage can change it, and nothing would tell
    `workspace/readme.md`: it is not in the snapshot
    error: 1 path is not in the snapshot
    hint: `ows backup ls` shows which paths it holds; the others are as they were stored
    ");
}

#[test]
fn a_snapshot_of_the_old_plugin_is_restored_with_a_warning() {
    let world = to_folder("encrypt: true, passphrase: 'correct horse battery staple'");
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/backup/backup-20260131T235959Z.tar.gz.enc");
    world.write(
        "vault/backup-20260131T235959Z.tar.gz.enc",
        std::fs::read(fixture).unwrap(),
    );
    let json = world.json(&["backup", "restore", "--to", "here"]);
    assert_eq!(json["exit_code"], 1, "it is never `latest`: {json:#}");
    let ran = world.ows(&[
        "backup",
        "restore",
        "--to",
        "here",
        "--snapshot",
        "backup-20260131T235959Z.tar.gz.enc",
    ]);
    assert_snapshot!(shown(&ran.shown()), @r"
    exit code: 0
    --- stdout
    backup-20260131T235959Z.tar.gz.enc: 2 files, [SIZE], restored into `[ROOT]/home/here` ([CALLS] calls, [SECONDS] s)
    --- stderr
    warning: `backup-20260131T235959Z.tar.gz.enc` is a snapshot of the old plugin; its encryption proves nothing: what was changed may not be noticed
    warning: 2 of the files are as the archive has them, without an index that vouches for them
    ");
}

#[test]
fn what_a_killed_drill_left_goes_with_the_next_command() {
    let world = to_folder("");
    now(&world);
    for command in ["verify", "restore", "drill"] {
        let left = "state/ows/drill-0123456789abcdef/restored/workspace/secret";
        world.write(left, "in the clear");
        world.ok(&["backup", command]);
        assert!(
            !world.path("state/ows/drill-0123456789abcdef").exists(),
            "{command}"
        );
    }
}

#[test]
fn status_shows_how_backups_stand() {
    let world = to_folder("interval: 3600");
    now(&world);
    let ran = world.ok(&["status"]);
    assert_snapshot!(shown(&ran.shown()), @r"
    exit code: 0
    --- stdout
    provider:    off (nothing is synced; set `sync.provider` to change that)
    backup:      newest [TIME], 1 in all (`ows backup status` tells more)
    ");
    let json = world.json(&["status"]);
    fits("status", &json);
    assert_eq!(json["backup"]["snapshots"], 1);
}
