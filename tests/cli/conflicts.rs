//! `ows conflicts` and `ows conflicts resolve`.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::World;

/// Both sides may change, and the workspace's content keeps the name in a conflict; `more` are keys of `sync`.
fn bisync(more: &str) -> World {
    let world = World::bare();
    let cloud = world.path("cloud");
    world.config(&format!(
        "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {cloud:?} }} }}, \
         mode: 'bisync', remotePath: '', firstSync: 'merge', conflictResolve: 'local', {more} }} }}"
    ));
    world
}

/// `notes.md` was written on both sides; the remote's content lies in the copy.
fn in_conflict(more: &str) -> World {
    let world = bisync(more);
    world.write("workspace/notes.md", "from here");
    world.write("cloud/notes.md", "from the cloud");
    world.ok(&["sync"]);
    world
}

/// What the two sides hold, which is the same: names and contents.
#[track_caller]
fn synced(world: &World, expected: &[(&str, &str)]) {
    world.ok(&["sync"]);
    for side in ["workspace", "cloud"] {
        let mut names = world.everything(side);
        names.retain(|name| !name.starts_with(".ows") && !world.path(side).join(name).is_dir());
        let wanted: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, wanted, "{side}");
        for (name, content) in expected {
            let held = world.read(&format!("{side}/{name}"));
            assert_eq!(held.as_deref(), Some(*content), "{side}/{name}");
        }
    }
}

#[test]
fn a_conflict_is_listed_until_it_is_settled() {
    let world = bisync("");
    assert_snapshot!(world.ows(&["conflicts"]).shown(), @r"
    exit code: 0
    --- stdout
    no conflicts
    ");
    world.write("workspace/notes.md", "from here");
    world.write("cloud/notes.md", "from the cloud");
    world.ok(&["sync"]);
    assert_snapshot!(world.ows(&["conflicts"]).shown(), @r"
    exit code: 0
    --- stdout
    notes.md.conflict  the remote's content of notes.md, since [TIME]
    1 conflict; to settle one: `ows conflicts resolve --keep local|remote|both PATH`
    ");
    let json = world.json(&["conflicts"]);
    let listed = &json["conflicts"][0];
    assert_eq!(listed["path"], "notes.md", "{json}");
    assert_eq!(listed["copy"], "notes.md.conflict", "{json}");
    assert_eq!(listed["lost"], "remote", "{json}");
    assert!(listed["at"].is_string(), "{json}");
    let status = world.ok(&["status"]);
    let told = "conflicts:   1 (`ows conflicts` lists them)";
    assert!(status.stdout.contains(told), "{}", status.shown());
    assert_eq!(world.json(&["status"])["conflicts"], 1);
    world.ok(&["conflicts", "resolve", "--keep", "local", "notes.md"]);
    assert_eq!(world.json(&["conflicts"])["conflicts"], json!([]));
    assert_eq!(world.json(&["status"])["conflicts"], 0);
}

#[test]
fn the_side_that_kept_the_name_is_kept() {
    let world = in_conflict("");
    let keep = ["conflicts", "resolve", "--keep", "local", "notes.md"];
    assert_snapshot!(world.ows(&keep).shown(), @r"
    exit code: 0
    --- stdout
    to the trash  notes.md.conflict
    settled in the workspace; the next `ows sync` carries it to the remote
    ");
    synced(&world, &[("notes.md", "from here")]);
    world.ok(&["trash", "restore", "notes.md.conflict"]);
    let back = world.read("workspace/notes.md.conflict");
    assert_eq!(back.as_deref(), Some("from the cloud"));
}

#[test]
fn the_side_that_gave_its_name_up_gets_it_back() {
    let world = in_conflict("");
    let keep = [
        "conflicts",
        "resolve",
        "--keep",
        "remote",
        "notes.md.conflict",
    ];
    assert_snapshot!(world.ows(&keep).shown(), @r"
    exit code: 0
    --- stdout
    to the trash  notes.md
    renamed       notes.md.conflict -> notes.md
    settled in the workspace; the next `ows sync` carries it to the remote
    ");
    synced(&world, &[("notes.md", "from the cloud")]);
    world.remove("workspace/notes.md");
    world.ok(&["trash", "restore", "notes.md"]);
    assert_eq!(
        world.read("workspace/notes.md").as_deref(),
        Some("from here")
    );
}

#[test]
fn both_are_kept_under_ordinary_names() {
    let world = in_conflict("");
    world.write("workspace/notes (2).md", "another one");
    let json = world.json(&["conflicts", "resolve", "--keep", "both", "notes.md"]);
    assert_eq!(json["renamed_to"], "notes (3).md", "{json}");
    assert_eq!(json["trashed"], json!(null), "{json}");
    synced(
        &world,
        &[
            ("notes (2).md", "another one"),
            ("notes (3).md", "from the cloud"),
            ("notes.md", "from here"),
        ],
    );
    assert_eq!(world.json(&["conflicts"])["conflicts"], json!([]));
}

#[test]
fn a_dry_run_shows_what_would_be_done_and_changes_nothing() {
    let world = in_conflict("");
    let before = world.everything("workspace");
    for (keep, path) in [("local", "notes.md.conflict"), ("remote", "notes.md")] {
        let arguments = [
            "conflicts",
            "resolve",
            "--dry-run",
            "--keep",
            keep,
            "notes.md",
        ];
        let json = world.json(&arguments);
        assert_eq!(json["dry_run"], true, "{json}");
        assert_eq!(json["trashed"], path, "{json}");
    }
    let both = [
        "conflicts",
        "resolve",
        "--dry-run",
        "--keep",
        "both",
        "notes.md",
    ];
    assert_snapshot!(world.ows(&both).shown(), @r"
    exit code: 0
    --- stdout
    renamed       notes.md.conflict -> notes (2).md
    dry run: nothing was changed
    ");
    assert_eq!(world.everything("workspace"), before);
    assert_eq!(
        world.read("workspace/notes.md").as_deref(),
        Some("from here")
    );
    assert_eq!(world.json(&["conflicts"])["conflicts"][0]["lost"], "remote");
}

#[test]
fn what_gives_way_is_in_the_trash_also_where_that_is_switched_off() {
    let world = in_conflict("trash: { local: false },");
    let keep = ["conflicts", "resolve", "--keep", "remote", "notes.md"];
    assert_snapshot!(world.ows(&keep).shown(), @r"
    exit code: 0
    --- stdout
    to the trash  notes.md
    renamed       notes.md.conflict -> notes.md
    settled in the workspace; the next `ows sync` carries it to the remote
    --- stderr
    warning: the local trash is switched off (`trash.local`), and what gives way here is kept in it all the same
    ");
    let trash = world.json(&["trash", "list"]);
    let local = trash["items"].as_array().unwrap().iter();
    let kept: Vec<_> = local.filter(|item| item["side"] == "local").collect();
    assert_eq!(kept.len(), 1, "{trash}");
    assert_eq!(kept[0]["path"], "notes.md", "{trash}");
}

#[test]
fn a_conflict_of_another_host_is_known_by_its_name_and_a_person_looks() {
    let world = in_conflict("");
    world.tree().remove("state/ows/state.db");
    world.write("workspace/ordinary.conflict", "there is no `ordinary`");
    let json = world.json(&["conflicts"]);
    let unknown = json!([{
        "path": "notes.md", "copy": "notes.md.conflict", "lost": "unknown", "at": null,
    }]);
    assert_eq!(json["conflicts"], unknown);
    assert_snapshot!(world.ows(&["conflicts"]).shown(), @r"
    exit code: 0
    --- stdout
    notes.md.conflict  beside notes.md; whose content it is, is not known
    1 conflict; to settle one: `ows conflicts resolve --keep local|remote|both PATH`
    ");
    let before = world.everything("workspace");
    for keep in ["local", "remote"] {
        let ran = world.ows(&["conflicts", "resolve", "--keep", keep, "notes.md"]);
        assert_eq!(ran.code, Some(2), "{}", ran.shown());
    }
    let keep = ["conflicts", "resolve", "--keep", "local", "notes.md"];
    assert_snapshot!(world.ows(&keep).shown(), @r"
    exit code: 2
    --- stderr
    error: it is not known which of the two is the local one: this host did not make the copy, or has forgotten it
    cause: `notes.md`: 9 bytes, changed [TIME]
      `notes.md.conflict`: 14 bytes, changed [TIME]
    hint: to keep both under ordinary names: `ows conflicts resolve --keep both notes.md.conflict`; to keep one of them, look at both and remove the other, or move the copy over it, by hand in the workspace; the next `ows sync` carries that over; nothing was changed
    ");
    assert_eq!(world.everything("workspace"), before);
    world.ok(&["conflicts", "resolve", "--keep", "both", "notes.md"]);
    let both = world.read("workspace/notes (2).md");
    assert_eq!(both.as_deref(), Some("from the cloud"));
}

#[test]
fn of_several_copies_the_one_that_is_meant_must_be_named() {
    let world = in_conflict("");
    world.write("workspace/notes.md", "from here again");
    world.write("cloud/notes.md", "from the cloud again");
    world.ok(&["sync"]);
    let keep = ["conflicts", "resolve", "--keep", "local", "notes.md"];
    assert_snapshot!(world.ows(&keep).shown(), @r"
    exit code: 2
    --- stderr
    error: `notes.md` has 2 copies, and it must be said which of them is meant
    cause: `notes.md.conflict`: 14 bytes, changed [TIME], the remote's content
      `notes.md.conflict2`: 20 bytes, changed [TIME], the remote's content
    hint: name the copy: `ows conflicts resolve --keep both notes.md.conflict`; nothing was changed
    ");
    world.ok(&[
        "conflicts",
        "resolve",
        "--keep",
        "local",
        "notes.md.conflict",
    ]);
    world.ok(&["conflicts", "resolve", "--keep", "remote", "notes.md"]);
    synced(&world, &[("notes.md", "from the cloud again")]);
}

#[test]
fn a_path_that_is_not_in_conflict_is_told_with_the_nearest() {
    let world = in_conflict("");
    for path in ["note.md", "nothing/like/it", "../x"] {
        let ran = world.ows(&["conflicts", "resolve", "--keep", "both", path]);
        assert_eq!(ran.code, Some(2), "{}", ran.shown());
    }
    let keep = ["conflicts", "resolve", "--keep", "both", "note.md"];
    assert_snapshot!(world.ows(&keep).shown(), @r"
    exit code: 2
    --- stderr
    error: `note.md` is not in conflict
    hint: did you mean `notes.md`? `ows conflicts` lists those that are; nothing was changed
    ");
}

#[test]
fn nothing_is_settled_while_a_run_is_under_way() {
    let world = in_conflict("");
    let folder = std::fs::File::open(world.path("workspace")).unwrap();
    folder.lock().unwrap();
    let keep = ["conflicts", "resolve", "--keep", "local", "notes.md"];
    assert_eq!(world.ows(&keep).code, Some(6));
    world.ok(&["conflicts"]);
    world.ok(&[
        "conflicts",
        "resolve",
        "--dry-run",
        "--keep",
        "local",
        "notes.md",
    ]);
    folder.unlock().unwrap();
    assert!(world.read("workspace/notes.md.conflict").is_some());
    world.ok(&keep);
}

#[test]
fn a_folder_does_not_give_way_to_a_file() {
    let world = bisync("");
    world.write("workspace/d", "a file");
    world.write("cloud/d/x", "in a folder");
    world.ok(&["sync"]);
    let keep = ["conflicts", "resolve", "--keep", "local", "d"];
    assert_snapshot!(world.ows(&keep).shown(), @r"
    exit code: 2
    --- stderr
    error: `d` is a folder, which does not give way to a file
    hint: to keep the file too, under an ordinary name: `ows conflicts resolve --keep both d.conflict`; or rename the folder by hand first; nothing was changed
    ");
    world.ok(&["conflicts", "resolve", "--keep", "both", "d"]);
    synced(&world, &[("d (2)", "a file"), ("d/x", "in a folder")]);
}

#[test]
fn a_command_that_was_killed_between_its_steps_is_given_again() {
    let world = in_conflict("");
    // The first step: what kept the name lies in the trash.
    world.ok(&[
        "conflicts",
        "resolve",
        "--keep",
        "remote",
        "notes.md",
        "--dry-run",
    ]);
    let kept = world.read("workspace/notes.md").unwrap();
    world.write(
        "workspace/.ows/trash/20260101T000000Z-00000000/notes.md",
        kept,
    );
    world.remove("workspace/notes.md");
    let winner = ["conflicts", "resolve", "--keep", "local", "notes.md"];
    assert_snapshot!(world.ows(&winner).shown(), @r"
    exit code: 2
    --- stderr
    error: `notes.md` is not there any more, so `notes.md.conflict` is all that is left of the two, and was not removed
    hint: to give it the name: `ows conflicts resolve --keep remote notes.md.conflict`; else remove it by hand; nothing was changed
    ");
    world.ok(&["conflicts", "resolve", "--keep", "remote", "notes.md"]);
    synced(&world, &[("notes.md", "from the cloud")]);
}

#[test]
fn a_database_that_is_open_is_left_alone() {
    let world = in_conflict("");
    let database = b"SQLite format 3\0 and more";
    world.write("workspace/notes.md", database);
    world.write("workspace/notes.md-wal", "the rest");
    let keep = ["conflicts", "resolve", "--keep", "remote", "notes.md"];
    assert_snapshot!(world.ows(&keep).shown(), @r"
    exit code: 1
    --- stderr
    error: `notes.md` is a database that a program has open, or that was not closed
    hint: close it, then run the command again; nothing was changed
    ");
    assert!(world.read("workspace/notes.md").is_some());
    assert!(world.read("workspace/notes.md.conflict").is_some());
}

#[test]
fn a_mirror_has_no_conflicts() {
    let world = World::bare();
    let cloud = world.path("cloud");
    world.config(&format!(
        "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {cloud:?} }} }}, \
         mode: 'mirror', remotePath: '' }} }}"
    ));
    world.write("cloud/a", "a");
    world.write("cloud/a.conflict", "b");
    world.ok(&["sync"]);
    assert_snapshot!(world.ows(&["conflicts"]).shown(), @r"
    exit code: 0
    --- stdout
    mirror mode makes no conflicts: the remote is the truth, and what gives way to it goes to the local trash
    ");
    assert_eq!(world.json(&["conflicts"])["conflicts"], json!([]));
    let keep = ["conflicts", "resolve", "--keep", "local", "a"];
    assert_snapshot!(world.ows(&keep).shown(), @r"
    exit code: 2
    --- stderr
    error: there is no conflict to settle
    cause: mirror mode makes no conflicts: the remote is the truth, and what gives way to it goes to the local trash
    hint: nothing was changed; `ows trash list` shows what gave way to the remote
    ");
}

#[test]
fn mailbox_mode_settles_what_its_first_run_kept_twice() {
    let world = World::with_folder("firstSync: 'merge',");
    world.write("workspace/a", "from here");
    world.write("cloud/a", "from the cloud");
    world.ok(&["sync"]);
    let lost = world.json(&["conflicts"])["conflicts"][0]["lost"].clone();
    let lost = lost.as_str().unwrap();
    let content = world.read("workspace/a.conflict").unwrap();
    world.ok(&["conflicts", "resolve", "--keep", lost, "a"]);
    world.ok(&["sync"]);
    assert_eq!(world.read("cloud/a"), Some(content));
    assert_eq!(world.read("cloud/a.conflict"), None);
}

#[test]
fn a_missing_folder_is_no_settled_conflict() {
    let world = in_conflict("");
    std::fs::rename(world.path("workspace"), world.path("elsewhere")).unwrap();
    let ran = world.ows(&["conflicts"]);
    assert_eq!(ran.code, Some(1), "{}", ran.shown());
}
