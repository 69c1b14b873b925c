//! `ows check`: what differs, how it is found out, and that nothing is changed by it.

use insta::assert_snapshot;
use ows_testkit::tree::OwsFolder;
use ows_testkit::tree::read_files;
use serde_json::json;

use crate::support::{World, server};

fn differing() -> World {
    let world = World::with_folder("exclude: ['*.log'],");
    world.write("workspace/same.md", "same");
    world.write("workspace/edited.md", "edited here");
    world.write("workspace/a/only here.md", "x");
    world.write("workspace/excluded.log", "x");
    world.write("workspace/_inbox/mail", "x");
    world.write("cloud/same.md", "same");
    world.write("cloud/edited.md", "edited there, longer");
    world.write("cloud/b/only there.md", "x");
    world.write("cloud/_outbox/mail", "x");
    world
}

#[test]
fn differences_are_listed_and_nothing_is_changed() {
    let world = differing();
    let before = world.everything("");
    let content = read_files(&world.path(""), OwsFolder::Include);
    assert_snapshot!(world.ows(&["check"]).shown(), @r"
    exit code: 3
    --- stdout
    only in the workspace  a/only here.md
    only in the remote     b/only there.md
    differs                edited.md
    --- stderr
    error: the two sides differ in 3 paths
    hint: nothing was changed; `ows sync --dry-run -v` shows what a run would do about it, `ows why PATH` for one path
    ");
    let json = world.json(&["check"]);
    assert_eq!(json["exit_code"], 3);
    assert_eq!(
        json["differences"],
        json!([
            { "path": "a/only here.md", "kind": "only_local" },
            { "path": "b/only there.md", "kind": "only_remote" },
            { "path": "edited.md", "kind": "differ" },
        ])
    );
    assert_eq!(json["counts"]["unchanged"], 1);
    assert_eq!(
        world.everything(""),
        before,
        "no database, no lock, no marker"
    );
    assert_eq!(read_files(&world.path(""), OwsFolder::Include), content);
}

#[test]
fn two_equal_sides_are_told() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.write("workspace/b/c", "c");
    world.ok(&["sync"]);
    assert_snapshot!(world.ok(&["check"]).shown(), @r"
    exit code: 0
    --- stdout
    both sides are equal: 2 files
    ");
}

#[test]
fn content_of_equal_size_is_compared() {
    let world = World::with_folder("");
    world.write("workspace/a", "one");
    world.write("cloud/a", "two");
    let json = world.json(&["check"]);
    assert_eq!(
        json["differences"],
        json!([{ "path": "a", "kind": "differ" }])
    );
}

#[test]
fn what_cannot_be_observed_is_an_error_and_no_difference() {
    let server = server();
    let world = World::with_s3(&server, "");
    world.write("workspace/a", "a");
    world.ok(&["sync"]);
    server.access().put("files", "../x", "x");
    let ran = world.ows(&["check"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 3
    --- stderr
    `../x`: this name in the remote cannot be used here (the name holds a `.` or `..` segment), so it was left alone
    error: one path could not be compared
    hint: nothing was changed; `ows sync --dry-run -v` shows what a run would do about it, `ows why PATH` for one path
    ");
    let json = world.json(&["check"]);
    assert_eq!(json["differences"], json!([]));
    assert_eq!(json["errors"][0]["path"], "../x");
}

#[test]
fn a_hash_of_the_remote_is_believed_unless_everything_is_to_be_downloaded() {
    let server = server();
    let world = World::with_s3(&server, "");
    world.write("workspace/a", "a");
    world.write("workspace/b", "b");
    world.ok(&["sync"]);
    let calls = &world.json(&["check"])["api_calls"]["by_operation"];
    assert_eq!(*calls, json!({ "list": 1 }));
    let calls = &world.json(&["check", "--download"])["api_calls"]["by_operation"];
    assert_eq!(*calls, json!({ "get": 2, "list": 1 }));
}

#[test]
fn a_folder_that_is_only_on_one_side_is_told_by_what_is_in_it() {
    let world = World::with_folder("");
    world.tree().folder("workspace/empty/inner");
    world.write("workspace/full/a", "a");
    world.tree().folder("cloud");
    let json = world.json(&["check"]);
    assert_eq!(
        json["differences"],
        json!([
            { "path": "empty/inner/", "kind": "only_local" },
            { "path": "full/a", "kind": "only_local" },
        ])
    );
}

#[test]
fn a_missing_folder_or_remote_has_its_own_words() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    let json = world.json(&["check"]);
    assert_eq!(
        json["differences"],
        json!([{ "path": "a", "kind": "only_local" }])
    );
    world.remove("workspace");
    assert_snapshot!(world.ows(&["check"]).shown(), @r"
    exit code: 1
    --- stderr
    error: could not open the local folder
    cause: could not open `[ROOT]/workspace`: it is not there
    cause: No such file or directory (os error 2)
    hint: there is nothing to compare; `ows sync` says what to do about a missing folder
    ");
}
