//! `ows trash` where something stands in the way.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::World;

/// A workspace whose files `a` and `b` were both displaced by the newest run.
fn both_displaced() -> World {
    let world = World::with_folder("maxDelete: 100,");
    world.write("workspace/a", "a");
    world.write("workspace/b", "b");
    world.ok(&["sync"]);
    world.write("cloud/a", "edited in the cloud");
    world.remove("workspace/b");
    world.ok(&["sync"]);
    world
}

#[test]
fn restoring_goes_on_where_a_name_is_taken() {
    let world = both_displaced();
    assert_snapshot!(world.ows(&["trash", "restore"]).shown(), @r"
    exit code: 3
    --- stdout
    remote  [RUN]           1 B  b
    1 file, 1 B, restored into the workspace; the next `ows sync` sends it up
    --- stderr
    `a`: could not restore `a`: something of this name is in the workspace already; nothing was overwritten; move `a` away and restore again, or take the copy from `.ows/trash/[RUN]/a` in the remote
    error: restored, but 1 file could not be
    hint: see the messages above; nothing was overwritten
    ");
    assert_eq!(world.read("workspace/a").as_deref(), Some("a"));
    assert_eq!(world.read("workspace/b").as_deref(), Some("b"));
}

#[test]
fn each_item_that_is_not_restored_is_an_error_of_its_own() {
    let world = both_displaced();
    world.write("workspace/b", "again");
    let none = world.json(&["trash", "restore"]);
    assert_eq!(none["exit_code"], 1, "{none}");
    assert_eq!(none["items"], json!([]));
    let paths: Vec<_> = none["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["path"])
        .collect();
    assert_eq!(paths, ["", "a", "b"], "{none}");
    world.remove("workspace/b");
    let some = world.json(&["trash", "restore"]);
    assert_eq!(some["exit_code"], 3, "{some}");
    assert_eq!(some["items"][0]["path"], "b");
    assert_eq!(some["errors"].as_array().unwrap().len(), 1, "{some}");
    assert_eq!(some["errors"][0]["path"], "a");
}

#[test]
fn a_file_where_a_folder_is_needed_is_named() {
    let world = World::with_folder("");
    world.write("workspace/d/x", "x");
    world.ok(&["sync"]);
    world.tree().remove("workspace/d");
    world.write("workspace/d", "a file now");
    world.ok(&["sync"]);
    assert_snapshot!(world.ows(&["trash", "restore", "d/x"]).shown(), @r"
    exit code: 1
    --- stderr
    error: could not restore `d/x`: `d` is in the workspace, where a folder is needed
    hint: nothing was overwritten; move `d` away and restore again, or take the copy from `.ows/trash/[RUN]/d/x` in the remote
    ");
    assert_eq!(world.read("workspace/d").as_deref(), Some("a file now"));
}

#[test]
fn what_of_the_trash_cannot_be_looked_at_is_told() {
    let world = both_displaced();
    world.write("elsewhere/x", "x");
    let link = world.path("cloud/.ows/trash/20260101T000000Z-00000000");
    std::os::unix::fs::symlink(world.path("elsewhere"), link).unwrap();
    assert_snapshot!(world.ows(&["trash", "list"]).shown(), @r"
    exit code: 3
    --- stdout
    remote  [RUN]          19 B  a
    remote  [RUN]           1 B  b
    2 files, 20 B, in the trash
    --- stderr
    `.ows/trash/[RUN]`: this name in the remote trash cannot be used here: it is a symbolic link
    error: part of the trash could not be looked at, so there may be more in it
    hint: see the messages above; what is told lies there all the same
    ");
    let status = world.json(&["status"]);
    assert_eq!(status["trash"]["remote"], json!(null), "{status}");
    assert_eq!(status["trash"]["local"]["files"], 0, "{status}");
    assert_eq!(status["exit_code"], 3, "{status}");
    assert_snapshot!(world.ows(&["trash", "empty"]).shown(), @r"
    exit code: 3
    --- stdout
    2 files, 20 B, removed for good
    --- stderr
    `.ows/trash/[RUN]`: this name in the remote trash cannot be used here: it is a symbolic link
    error: part of the trash could not be looked at, so there may be more in it
    hint: see the messages above; what is told lies there all the same
    ");
    assert_eq!(world.read("elsewhere/x").as_deref(), Some("x"));
    let restored = world.json(&["trash", "restore"]);
    assert_eq!(restored["exit_code"], 3, "{restored}");
    assert_eq!(
        restored["errors"].as_array().unwrap().len(),
        1,
        "{restored}"
    );
}

#[test]
fn nothing_is_restored_into_a_folder_that_a_run_works_on() {
    let world = both_displaced();
    world.remove("workspace/a");
    let folder = std::fs::File::open(world.path("workspace")).unwrap();
    folder.lock().unwrap();
    for command in [["trash", "restore"], ["trash", "empty"]] {
        assert_eq!(world.ows(&command).code, Some(6), "{command:?}");
    }
    assert_eq!(world.read("workspace/a"), None);
    world.ok(&["trash", "restore", "--dry-run"]);
    folder.unlock().unwrap();
    world.ok(&["trash", "restore"]);
}

#[test]
fn everything_that_one_run_displaced_comes_back_together() {
    let world = World::with_folder("maxDelete: 100,");
    for name in ["a", "d/b", "c", "stays"] {
        world.write(&format!("workspace/{name}"), name);
    }
    world.ok(&["sync"]);
    world.remove("workspace/a");
    world.tree().remove("workspace/d");
    let first = world.json(&["sync"]);
    world.remove("workspace/c");
    let second = world.json(&["sync"]);
    let run = |json: &serde_json::Value| json["run_id"].as_str().unwrap().to_owned();
    let (first, second) = (run(&first), run(&second));
    assert_ne!(first, second);

    let shown = world.json(&["trash", "restore", "--run", &first, "--dry-run"]);
    let paths = |json: &serde_json::Value| -> Vec<String> {
        let items = json["items"].as_array().unwrap().iter();
        items
            .map(|item| item["path"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(paths(&shown), ["a", "d/b"]);
    assert_eq!(world.read("workspace/a"), None, "only shown");
    let restored = world.json(&["trash", "restore", "--run", &first]);
    assert_eq!(paths(&restored), ["a", "d/b"], "{restored}");
    assert_eq!(world.read("workspace/a").as_deref(), Some("a"));
    assert_eq!(world.read("workspace/d/b").as_deref(), Some("d/b"));
    assert_eq!(world.read("workspace/c"), None, "of the other run");
    // One path of a run, and a run that is not there.
    let one = world.json(&["trash", "restore", "--run", &second, "c"]);
    assert_eq!(paths(&one), ["c"]);
    let none = world.ows(&["trash", "restore", "--run", "20000101T000000Z-00000000"]);
    assert_eq!(none.code, Some(1), "{}", none.shown());
    // What came back goes up again.
    assert_eq!(world.json(&["sync"])["counts"]["upload"], 3);
    assert_eq!(world.read("cloud/d/b").as_deref(), Some("d/b"));
}
