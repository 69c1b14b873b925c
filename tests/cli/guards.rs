//! Each guard: exit code 4, what it saw, examples, what to type, and nothing changed.

use insta::assert_snapshot;
use ows_testkit::s3::{Op, Server, Then, When};
use ows_testkit::tree::{Files, OwsFolder, read_files};

use crate::support::{BUCKET, World, server};

/// What is on both sides, the folders of `ows` included.
fn sides(world: &World) -> (Files, Files) {
    let read = |below: &str| {
        let folder = world.path(below);
        if folder.is_dir() {
            read_files(&folder, OwsFolder::Include)
        } else {
            Files::new()
        }
    };
    (read("workspace"), read("cloud"))
}

/// A pair with `count` files that were synced.
fn synced(count: usize) -> World {
    let world = World::with_folder("");
    for number in 0..count {
        world.write(&format!("workspace/{number:02}.md"), format!("{number}"));
    }
    world.ok(&["sync"]);
    world
}

#[test]
fn first_sync_with_files_on_the_other_side() {
    let world = World::with_folder("");
    world.write("workspace/both.md", "mine");
    world.write("cloud/both.md", "theirs");
    for number in 0..25 {
        world.write(&format!("cloud/theirs/{number:02}.md"), "theirs");
    }
    let before = world.tree().snapshot();
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `first-sync`: this is the first run, and the remote holds files that the workspace does not: 25 would be removed and 1 replaced (files in the workspace: 1, in the remote: 26)
      both.md
      theirs/00.md
      theirs/01.md
      theirs/02.md
      theirs/03.md
      theirs/04.md
      theirs/05.md
      theirs/06.md
      theirs/07.md
      theirs/08.md
      theirs/09.md
      theirs/10.md
      theirs/11.md
      theirs/12.md
      theirs/13.md
      theirs/14.md
      theirs/15.md
      theirs/16.md
      theirs/17.md
      theirs/18.md
      and 6 more
    hint: to make the workspace equal to the remote first: `ows sync --direction pull`, which stops once more if the workspace would lose anything; to make the remote equal to the workspace, with what it displaces kept in the trash: `ows sync --force first-sync`; to decide it in the configuration: `firstSync`; nothing was changed
    "#);
    let json = world.json(&["sync"]);
    assert_eq!(json["guard"]["name"], "first-sync");
    assert_eq!(json["guard"]["count"], 26);
    assert_eq!(json["guard"]["examples"].as_array().unwrap().len(), 20);
    assert_eq!(world.read("cloud/both.md").as_deref(), Some("theirs"));
    assert!(!before.is_empty());
    world.ok(&["sync", "--force", "first-sync"]);
    assert_eq!(world.read("cloud/both.md").as_deref(), Some("mine"));
    let trash = world.json(&["trash", "list"]);
    assert_eq!(trash["items"].as_array().unwrap().len(), 26);
}

#[test]
fn a_missing_workspace_with_files_in_the_remote() {
    let world = World::with_folder("");
    world.remove("workspace");
    world.write("cloud/a", "a");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `first-sync`: the local folder `[ROOT]/workspace` is missing, and the remote is not empty
    hint: nothing was changed; to fill the folder from the remote: `ows sync --direction pull`; if it is another folder, set `--workspace` or `localPath`
    "#);
    assert_eq!(world.json(&["sync"])["guard"]["name"], "first-sync");
    assert!(!world.path("workspace").exists());
}

#[test]
fn max_change() {
    let world = World::with_folder("maxChange: 50,");
    for number in 0..12 {
        world.write(&format!("workspace/{number:02}.md"), format!("{number}"));
    }
    world.ok(&["sync"]);
    for number in 0..11 {
        world.write(&format!("workspace/{number:02}.md"), "encrypted");
    }
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `max-change`: 11 of 12 files were changed in the workspace, more than maxChange (50 %) allows
      00.md
      01.md
      02.md
      03.md
      04.md
      05.md
      06.md
      07.md
      08.md
      09.md
      10.md
    hint: if the changes are meant: `ows sync --force max-change`; to see what would be done: `ows sync --dry-run -v`; nothing was changed
    "#);
    assert_eq!(world.read("cloud/00.md").as_deref(), Some("0"));
    world.ok(&["sync", "--force", "max-change"]);
    assert_eq!(world.read("cloud/00.md").as_deref(), Some("encrypted"));
}

#[test]
fn max_delete() {
    let world = synced(30);
    for number in 0..25 {
        world.remove(&format!("workspace/{number:02}.md"));
    }
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `max-delete`: 25 of 30 files would be deleted in the remote, more than maxDelete (50 %) allows
      00.md
      01.md
      02.md
      03.md
      04.md
      05.md
      06.md
      07.md
      08.md
      09.md
      10.md
      11.md
      12.md
      13.md
      14.md
      15.md
      16.md
      17.md
      18.md
      19.md
      and 5 more
    hint: if the deletes are meant: `ows sync --force max-delete`; to see them all: `ows sync --dry-run -v`; nothing was changed
    "#);
    assert_snapshot!(world.ows(&["sync", "--dry-run", "-q"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `max-delete`: 25 of 30 files would be deleted in the remote, more than maxDelete (50 %) allows
      00.md
      01.md
      02.md
      03.md
      04.md
      05.md
      06.md
      07.md
      08.md
      09.md
      10.md
      11.md
      12.md
      13.md
      14.md
      15.md
      16.md
      17.md
      18.md
      19.md
      and 5 more
    hint: if the deletes are meant: `ows sync --force max-delete`; to see them all: `ows sync --dry-run -v`; nothing was changed
    "#);
    assert_eq!(world.read("cloud/00.md").as_deref(), Some("0"));
    world.ok(&["sync", "--force", "max-delete"]);
    assert_eq!(world.read("cloud/00.md"), None);
}

#[test]
fn remote_root() {
    let world = synced(2);
    world.remove("cloud");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `remote-root`: the remote is missing or empty, and 2 files were in sync with it before
    hint: if it is meant to be empty, and the workspace shall be pushed again: `ows sync --force remote-root`; if it is another bucket or folder, correct the configuration; nothing was changed
    "#);
    assert_eq!(world.json(&["sync"])["guard"]["name"], "remote-root");
    assert_eq!(world.read("workspace/00.md").as_deref(), Some("0"));
}

#[test]
fn local_root_without_its_marker() {
    let world = synced(2);
    world.remove("workspace/.ows");
    world.remove("workspace/00.md");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `local-root`: the local folder does not carry the replica marker `.ows/replica`: it is not the folder that was synced before, or its volume is not mounted
    hint: if a volume is not mounted, mount it; if the folder is new, fill it from the remote: `ows sync --direction pull` (or set `firstSync: "remote"`); nothing was changed
    "#);
    assert_snapshot!(world.ows(&["sync", "--force", "local-root"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `local-root`: the local folder does not carry the replica marker `.ows/replica`: it is not the folder that was synced before, or its volume is not mounted
    hint: if a volume is not mounted, mount it; if the folder is new, fill it from the remote: `ows sync --direction pull` (or set `firstSync: "remote"`); nothing was changed
    "#);
    assert_eq!(world.read("cloud/00.md").as_deref(), Some("0"));
}

#[test]
fn local_root_with_another_marker() {
    let (world, other) = (synced(2), synced(1));
    let marker = other.read("workspace/.ows/replica").unwrap();
    world.write("workspace/.ows/replica", marker);
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `local-root`: the local folder carries the marker of another replica, so what is missing in it was perhaps never there
    hint: to fill it from the remote: `ows sync --direction pull`; if it really is this workspace: `ows sync --force local-root`; nothing was changed
    "#);
    assert_eq!(world.json(&["sync"])["guard"]["name"], "local-root");
}

#[test]
fn a_synced_folder_that_is_missing() {
    let world = synced(2);
    world.remove("workspace");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `local-root`: the local folder `[ROOT]/workspace` is missing, and it was synced before
    hint: nothing was changed; if a volume is not mounted, mount it; if the folder is really lost, create it and run `ows sync --direction pull` to fill it from the remote
    "#);
    let json = world.json(&["sync"]);
    assert_eq!(json["guard"]["name"], "local-root");
    assert!(!world.path("workspace").exists());
    assert_eq!(world.read("cloud/00.md").as_deref(), Some("0"));
}

#[test]
fn names_in_a_guard_cannot_speak_to_the_terminal() {
    let world = World::with_folder("");
    world.write("workspace/a", "mine");
    world.write("cloud/\u{1b}[31mred\u{202e}gpj", "theirs");
    let ran = world.ows(&["sync"]);
    assert_eq!(ran.code, Some(4));
    assert!(
        ran.stderr.contains("\\u{1b}[31mred\\u{202e}gpj"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains(['\u{1b}', '\u{202e}']));
}

#[test]
fn state_rollback_warns_and_goes_on() {
    /// The database is older than what the remote holds.
    fn put_back() -> World {
        let world = synced(3);
        let kept = world.path("tmp/state.db");
        std::fs::copy(world.path("state/ows/state.db"), &kept).unwrap();
        world.write("workspace/later.md", "later");
        world.ok(&["sync"]);
        std::fs::copy(&kept, world.path("state/ows/state.db")).unwrap();
        world
    }

    let world = put_back();
    world.remove("workspace/00.md");
    assert_snapshot!(world.ows(&["sync", "--dry-run"]).shown(), @r#"
    exit code: 3
    --- stdout
    1 left alone, 3 unchanged (dry run: nothing was changed)
    --- stderr
    warning: guard `state-rollback`: the database of this host is older than the checkpoint that this replica stored in the remote: it was restored from a copy, or another host came from the same image; the run would delete nothing and put what it replaces into the trash, and this folder would go on as a replica of its own
    `00.md`: deleted in the workspace, but this run deletes nothing, so it was left alone
    error: finished, but 1 path could not be synced
    hint: look at what is left alone; the run after it deletes again what is to be deleted; to skip this caution: `ows sync --force state-rollback`
    "#);
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 3
    --- stdout
    1 left alone, 3 unchanged (8 calls, [SECONDS] s)
    --- stderr
    warning: guard `state-rollback`: the database of this host is older than the checkpoint that this replica stored in the remote: it was restored from a copy, or another host came from the same image; nothing was deleted in this run, what was replaced lies in the trash, and this folder goes on as a replica of its own
    `00.md`: deleted in the workspace, but this run deletes nothing, so it was left alone
    error: finished, but 1 path could not be synced
    hint: look at what is left alone; the run after it deletes again what is to be deleted; to skip this caution: `ows sync --force state-rollback`
    "#);
    assert_eq!(world.read("cloud/00.md").as_deref(), Some("0"));
    // The next one knows again what it is doing.
    world.ok(&["sync"]);
    assert_eq!(world.read("cloud/00.md"), None);

    // Whoever knows better skips the caution.
    let world = put_back();
    world.remove("workspace/01.md");
    let json = world.json(&["sync", "--force", "state-rollback"]);
    assert_eq!(json["exit_code"], 0, "{json}");
    assert_eq!(json["guard"], serde_json::Value::Null);
    assert_eq!(world.read("cloud/01.md"), None);
}

#[test]
fn a_guard_that_stops_changes_neither_side_and_so_does_a_dry_run() {
    type Disturb = fn(&World);
    let all: [(&str, Disturb); 5] = [
        ("local-root", |world| world.remove("workspace/.ows")),
        ("remote-root", |world| {
            for number in 0..30 {
                world.remove(&format!("cloud/{number:02}.md"));
            }
        }),
        ("max-delete", |world| {
            for number in 0..25 {
                world.remove(&format!("workspace/{number:02}.md"));
            }
        }),
        ("max-change", |world| {
            for number in 0..25 {
                world.write(&format!("workspace/{number:02}.md"), "rewritten");
            }
        }),
        ("first-sync", |world| {
            world.remove("state/ows/state.db");
            world.remove("workspace/.ows");
            world.write("workspace/00.md", "mine");
        }),
    ];
    for (name, disturb) in all {
        let world = World::with_folder("maxChange: 50,");
        for number in 0..30 {
            world.write(&format!("workspace/{number:02}.md"), format!("{number}"));
        }
        world.ok(&["sync"]);
        disturb(&world);
        let before = sides(&world);
        for arguments in [&["sync", "--dry-run"][..], &["sync"]] {
            let json = world.json(arguments);
            assert_eq!(json["exit_code"], 4, "{name}: {json}");
            assert_eq!(json["guard"]["name"], name, "{json}");
            assert_eq!(sides(&world), before, "{name}");
        }
    }
}

#[test]
fn several_guards_are_forced_at_once_and_for_one_run_only() {
    let world = World::with_folder("maxDelete: 0, maxChange: 0,");
    for name in ["a", "b", "c", "d", "e"] {
        world.write(&format!("workspace/{name}"), name);
    }
    world.ok(&["sync"]);
    let disturb = |gone: &str, changed: &str| {
        world.remove(&format!("workspace/{gone}"));
        world.write(&format!("workspace/{changed}"), "changed");
    };
    disturb("a", "b");
    let one = world.json(&["sync", "--force", "max-delete"]);
    assert_eq!(one["guard"]["name"], "max-change", "{one}");
    let both = ["sync", "--force", "max-delete", "--force", "max-change"];
    world.ok(&both);
    assert_eq!(world.read("cloud/a"), None);
    disturb("c", "d");
    assert_eq!(world.json(&["sync"])["guard"]["name"], "max-delete");
}

#[test]
fn local_root_of_a_folder_that_was_filled_in_part() {
    /// One of two files could not be fetched.
    fn partly(server: &Server) -> World {
        let world = World::with_s3(server, "");
        for name in ["a", "b"] {
            server.access().put(BUCKET, name, name);
        }
        let denied = When::op(Op::Get).key("b").always();
        server
            .access()
            .fault(denied, Then::error(403, "AccessDenied"));
        let json = world.json(&["sync", "--direction", "pull"]);
        assert_eq!(json["exit_code"], 3, "{json}");
        server.access().clear_faults();
        world
    }

    let server = server();
    let world = partly(&server);
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `local-root`: the local folder was being filled from the remote, and that did not come to its end, so what is missing in it was never there
    hint: to fill the rest: `ows sync --direction pull`; to give the rest up, and remove it from the remote: `ows sync --force local-root`; nothing was changed
    "#);
    assert!(server.access().get(BUCKET, "b").is_some());
    world.ok(&["sync", "--direction", "pull"]);
    assert_eq!(world.read("workspace/b").as_deref(), Some("b"));
    world.ok(&["sync"]);

    // The other way out.
    let server = crate::support::server();
    let world = partly(&server);
    let json = world.json(&["sync", "--force", "local-root"]);
    assert_eq!(json["counts"]["delete_remote"], 1, "{json}");
    let kept = |key: &String| key.starts_with(".ows/trash/") && key.ends_with("/b");
    let keys = server.access().keys(BUCKET);
    assert!(keys.iter().any(kept), "it lies in the trash: {keys:?}");
}
