//! Bisync by the real binary: first runs, `--resync`, conflicts, what is told of each path, guards and what they say to
//! type, the daemon and the session hooks.

use std::cell::RefCell;

use insta::assert_snapshot;
use ows_testkit::s3::{Op, Then, When};
use regex::Regex;

use crate::daemon::Daemon;
use crate::support::{BUCKET, World, s3_config, server};

/// The folder `cloud` as the remote, in bisync mode; `more` are keys of `sync`, each ended by a comma.
fn bisync(more: &str) -> World {
    let world = World::bare();
    configure(&world, more);
    world
}

fn configure(world: &World, more: &str) {
    let cloud = world.path("cloud");
    world.config(&format!(
        "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {cloud:?} }} }}, \
         mode: 'bisync', remotePath: '', {more} }} }}"
    ));
}

/// Files on both sides that were synced.
fn agreed(files: &[(&str, &str)]) -> World {
    let world = bisync("");
    for (path, content) in files {
        world.write(&format!("workspace/{path}"), content);
    }
    world.ok(&["sync"]);
    world
}

/// The files of one side, without ours.
fn side(world: &World, side: &str) -> Vec<(String, String)> {
    let files =
        ows_testkit::tree::read_files(&world.path(side), ows_testkit::tree::OwsFolder::Skip);
    let text = |content: Vec<u8>| String::from_utf8(content).unwrap();
    files
        .into_iter()
        .map(|(path, content)| (path, text(content)))
        .collect()
}

#[track_caller]
fn assert_sides(world: &World, expected: &[(&str, &str)]) {
    let owned = |(path, content): &(&str, &str)| ((*path).to_owned(), (*content).to_owned());
    let expected: Vec<_> = expected.iter().map(owned).collect();
    assert_eq!(side(world, "workspace"), expected, "the workspace");
    assert_eq!(side(world, "cloud"), expected, "the remote");
}

/// What lies in the trash of one side, by its original path.
fn trash(world: &World, side: &str) -> Vec<String> {
    let listed = world.json(&["trash", "list"]);
    let items = listed["items"].as_array().unwrap().clone();
    let mut paths: Vec<String> = items
        .iter()
        .filter(|item| item["side"] == side)
        .map(|item| item["path"].as_str().unwrap().to_owned())
        .collect();
    paths.sort();
    paths
}

/// The commands that a hint says to type, in its order.
fn commands(shown: &str) -> Vec<Vec<String>> {
    let quoted = Regex::new("`ows ([^`]+)`").unwrap();
    let hints = shown.lines().filter(|line| line.starts_with("hint: "));
    let text = hints.collect::<String>();
    quoted
        .captures_iter(&text)
        .map(|found| found[1].split(' ').map(str::to_owned).collect())
        .collect()
}

/// Types what a guard's hint says: each command in a world of its own, made anew. `met` is what meets the guard.
fn typed(make: impl Fn() -> World, met: &[&str], expected: &[&str]) -> Vec<World> {
    let stopped = make().ows(met);
    assert_eq!(stopped.code, Some(4), "{}", stopped.shown());
    let commands = commands(&stopped.shown());
    let lines: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
    assert_eq!(lines, expected, "{}", stopped.shown());
    let type_it = |words: &Vec<String>| {
        let world = make();
        assert_eq!(world.ows(met).code, Some(4));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        world.ok(&words);
        world
    };
    commands.iter().map(type_it).collect()
}

/// Two sides that have nothing to do with each other but for one name.
fn strangers() -> World {
    let world = bisync("");
    world.write("workspace/both.md", "mine");
    world.write("workspace/mine.md", "m");
    world.write("cloud/both.md", "theirs");
    world.write("cloud/theirs.md", "t");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    world.tree().set_modified("workspace/both.md", long_ago);
    world
}

#[test]
fn a_replica_that_surprises_nobody_joins_by_itself() {
    let world = bisync("");
    world.write("cloud/a.md", "a");
    world.write("cloud/b.md", "b");
    world.write("workspace/a.md", "a");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r"
    exit code: 0
    --- stdout
    1 downloaded, 1 unchanged (1 B, 8 calls, [SECONDS] s)
    ");
    assert_sides(&world, &[("a.md", "a"), ("b.md", "b")]);
    assert_snapshot!(world.ows(&["sync"]).shown(), @r"
    exit code: 0
    --- stdout
    nothing to do, 2 unchanged (2 calls, [SECONDS] s)
    ");
}

#[test]
fn a_first_run_of_strangers_stops_and_says_what_each_way_out_does() {
    let world = strangers();
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 4
    --- stderr
    error: stopped by the guard `first-sync`: this is the first run, and both sides hold files: 1 only in the workspace, 1 only in the remote, 1 on both with different content
      both.md
      mine.md
      theirs.md
    hint: to unite both sides: `ows sync --resync`, which deletes nothing: each side gets what only the other has, and of what differs one keeps the name and the other stays beside it as `.conflict` (`firstSync: "merge"` does it unattended); to see it first: `ows sync --resync --dry-run -v`; to take one side as the truth, with what the other loses kept in the trash: `ows sync --direction pull --force first-sync` for the remote, `ows sync --direction push --force first-sync` for the workspace; nothing was changed
    "#);
    let json = world.json(&["sync"]);
    assert_eq!(json["guard"]["name"], "first-sync");
    assert_eq!(json["guard"]["count"], 3);
    assert_eq!(json["mode"], "bisync");
    assert_eq!(world.json(&["sync", "--dry-run"])["exit_code"], 4);
    assert_eq!(side(&world, "workspace").len(), 2);
    assert_eq!(side(&world, "cloud").len(), 2);

    let worlds = typed(
        strangers,
        &["sync"],
        &[
            "sync --resync",
            "sync --resync --dry-run -v",
            "sync --direction pull --force first-sync",
            "sync --direction push --force first-sync",
        ],
    );
    let united = [
        ("both.md", "theirs"),
        ("both.md.conflict", "mine"),
        ("mine.md", "m"),
        ("theirs.md", "t"),
    ];
    assert_sides(&worlds[0], &united);
    assert_eq!(side(&worlds[1], "workspace").len(), 2, "only shown");
    assert_sides(&worlds[2], &[("both.md", "theirs"), ("theirs.md", "t")]);
    assert_eq!(trash(&worlds[2], "local"), ["both.md", "mine.md"]);
    assert_sides(&worlds[3], &[("both.md", "mine"), ("mine.md", "m")]);
    assert_eq!(trash(&worlds[3], "remote"), ["both.md", "theirs.md"]);
    // And what it says of the configuration.
    let world = strangers();
    configure(&world, "firstSync: 'merge',");
    world.ok(&["sync"]);
    assert_sides(&world, &united);
}

#[test]
fn a_resync_is_shown_before_it_is_done_and_a_conflict_is_told() {
    let world = strangers();
    assert_snapshot!(world.ows(&["sync", "--resync", "--dry-run"]).shown(), @r"
    exit code: 0
    --- stdout
    upload            mine.md (1 B): new in the workspace
    download          theirs.md (1 B): new in the remote
    conflict          both.md (10 B): differs, and the remote's keeps the name; the workspace's is kept beside it as `.conflict`
    1 to upload, 1 to download, 1 in conflict (dry run: nothing was changed)
    ");
    let json = world.json(&["sync", "--resync", "--dry-run"]);
    assert_eq!(json["counts"]["conflict"], 1);
    let actions = json["actions"].as_array().unwrap();
    let conflict = actions.iter().find(|action| action["op"] == "conflict");
    assert_eq!(conflict.unwrap()["path"], "both.md");
    assert_eq!(side(&world, "workspace").len(), 2, "only shown");
    assert_snapshot!(world.ows(&["sync", "--resync"]).shown(), @r"
    exit code: 0
    --- stdout
    1 uploaded, 1 downloaded, 1 in conflict (12 B, 12 calls, [SECONDS] s)
    --- stderr
    warning: `both.md`: differs, and the remote's keeps the name; the workspace's is kept beside it as `.conflict`
    ");
    assert_snapshot!(world.ows(&["sync", "--resync"]).shown(), @r"
    exit code: 0
    --- stdout
    nothing to do, 4 unchanged (2 calls, [SECONDS] s)
    ");
}

#[test]
fn a_conflict_between_two_edits_is_told_in_text_and_json() {
    let world = agreed(&[("plan.md", "one")]);
    let edit = |world: &World, here: &str, there: &str| {
        world.write("workspace/plan.md", here);
        world.write("cloud/plan.md", there);
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        world.tree().set_modified("cloud/plan.md", long_ago);
    };
    edit(&world, "mine", "theirs, longer");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r"
    exit code: 0
    --- stdout
    1 in conflict (32 B, 10 calls, [SECONDS] s)
    --- stderr
    warning: `plan.md`: differs, and the workspace's keeps the name; the remote's is kept beside it as `.conflict`
    ");
    assert_sides(
        &world,
        &[("plan.md", "mine"), ("plan.md.conflict", "theirs, longer")],
    );
    edit(&world, "mine again", "theirs again, longer");
    let json = world.json(&["sync", "-v"]);
    assert_eq!(json["ok"], true);
    assert_eq!(json["counts"]["conflict"], 1);
    assert_eq!(json["actions"][0]["op"], "conflict");
    assert_eq!(json["actions"][0]["path"], "plan.md");
    let names: Vec<String> = side(&world, "cloud")
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(names, ["plan.md", "plan.md.conflict", "plan.md.conflict2"]);
    let status = world.ok(&["status"]);
    assert!(status.stdout.contains("bisync"), "{}", status.shown());
}

#[test]
fn the_setting_says_who_keeps_the_name_and_the_report_does_not_call_it_newer() {
    for (resolve, name) in [("local", "mine"), ("remote", "theirs")] {
        let world = agreed(&[("plan.md", "one")]);
        configure(&world, &format!("conflictResolve: '{resolve}',"));
        world.write("workspace/plan.md", "mine");
        world.write("cloud/plan.md", "theirs");
        let ran = world.ok(&["sync", "-v"]);
        assert!(!ran.shown().contains("newer"), "{}", ran.shown());
        assert_eq!(world.read("workspace/plan.md").as_deref(), Some(name));
        assert_eq!(world.read("cloud/plan.md").as_deref(), Some(name));
    }
}

#[test]
fn resync_is_refused_where_it_means_nothing() {
    let world = bisync("");
    assert_snapshot!(world.ows(&["sync", "--resync", "--direction", "push"]).shown(), @r"
    exit code: 2
    --- stderr
    error: the argument '--resync' cannot be used with '--direction <DIRECTION>'

    Usage: ows sync --resync

    For more information, try '--help'.
    ");
    let mirror = World::bare();
    let cloud = mirror.path("cloud");
    mirror.config(&format!(
        "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {cloud:?} }} }}, mode: 'mirror' }} }}"
    ));
    assert_snapshot!(mirror.ows(&["sync", "--resync"]).shown(), @r"
    exit code: 2
    --- stderr
    error: `--resync` unites both sides in bisync mode; this pair is in mirror mode
    hint: to choose a side: `ows sync --direction pull` or `ows sync --direction push`; nothing was changed
    ");
}

/// The answer as a person reads it, without the sizes and times of what was found.
fn next(world: &World, path: &str) -> String {
    let ran = world.ows(&["why", path]);
    assert_eq!(ran.code, Some(0), "{}", ran.shown());
    let line = ran.stdout.lines().find_map(|line| {
        let line = line.strip_prefix("  next")?;
        Some(line.trim_start().to_owned())
    });
    line.unwrap_or_else(|| panic!("{}", ran.shown()))
}

#[test]
fn each_cell_of_the_table_is_explained_before_it_happens() {
    let names = [
        "gone both",
        "gone here",
        "gone there",
        "gone here, changed there",
        "gone there, changed here",
        "same",
        "changed here",
        "changed there",
        "changed alike",
        "changed both",
        "turned/in",
    ];
    let world = agreed(&names.map(|name| (name, "old")));
    for name in names {
        let (here, there) = (format!("workspace/{name}"), format!("cloud/{name}"));
        match name {
            "gone both" => {
                world.remove(&here);
                world.remove(&there);
            }
            "gone here" => world.remove(&here),
            "gone there" => world.remove(&there),
            "gone here, changed there" => {
                world.remove(&here);
                world.write(&there, "changed");
            }
            "gone there, changed here" => {
                world.remove(&there);
                world.write(&here, "changed");
            }
            "changed here" => world.write(&here, "changed"),
            "changed there" => world.write(&there, "changed"),
            "changed alike" => {
                world.write(&here, "changed");
                world.write(&there, "changed");
            }
            "changed both" => {
                world.write(&here, "mine");
                world.write(&there, "theirs");
                let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
                world.tree().set_modified(&there, long_ago);
            }
            _ => {}
        }
    }
    world.write("workspace/new here", "a");
    world.write("cloud/new there", "b");
    world.write("workspace/new alike", "c");
    world.write("cloud/new alike", "c");
    world.write("workspace/new both", "mine");
    world.write("cloud/new both", "theirs");
    world.tree().set_modified(
        "workspace/new both",
        std::time::SystemTime::now() - std::time::Duration::from_secs(3600),
    );
    world.write("workspace/odd", "a file");
    world.write("cloud/odd/inside", "a folder");
    world.remove("workspace/turned");
    world.write("workspace/turned", "now a file");
    let asked = [
        "same",
        "gone both",
        "gone here",
        "gone there",
        "gone here, changed there",
        "gone there, changed here",
        "changed here",
        "changed there",
        "changed alike",
        "changed both",
        "new here",
        "new there",
        "new alike",
        "new both",
        "odd",
        "turned",
        "turned/in",
        "never was",
    ];
    let told: String = asked
        .iter()
        .map(|name| format!("{name}: {}\n", next(&world, name)))
        .collect();
    assert_snapshot!(told, @r"
    same: both sides agree; the next run does nothing about it
    gone both: it is gone on both sides, or no longer takes part; the next run only forgets it
    gone here: the next run deletes it in the remote, where it goes to the trash: deleted in the workspace
    gone there: the next run moves it from the workspace into the local trash: deleted in the remote
    gone here, changed there: the next run downloads it: changed in the remote and deleted in the workspace: the change wins
    gone there, changed here: the next run uploads it: changed in the workspace and deleted in the remote: the change wins
    changed here: the next run uploads it: changed in the workspace
    changed there: the next run downloads it: changed in the remote
    changed alike: both sides agree; the next run does nothing about it
    changed both: the next run keeps both versions, one of them under another name: differs, and the workspace's keeps the name; the remote's is kept beside it as `.conflict`
    new here: the next run uploads it: new in the workspace
    new there: the next run downloads it: new in the remote
    new alike: both sides hold the same content; the next run only takes note of it
    new both: the next run keeps both versions, one of them under another name: differs, and the remote's keeps the name; the workspace's is kept beside it as `.conflict`
    odd: the next run keeps both versions, one of them under another name: a folder in the remote has its name; the file is kept beside it as `.conflict`; then it creates the folder in the workspace: new in the remote
    turned: the next run deletes it in the remote, where it goes to the trash: deleted in the workspace; then it uploads it: new in the workspace
    turned/in: the next run deletes it in the remote, where it goes to the trash: deleted in the workspace
    never was: there is no such file or folder on either side, and none is remembered
    ");
    // And so it happens.
    world.ok(&["sync"]);
    let after: Vec<String> = side(&world, "workspace")
        .into_iter()
        .map(|(path, content)| format!("{path}: {content}"))
        .collect();
    assert_snapshot!(after.join("\n"), @r"
    changed alike: changed
    changed both: mine
    changed both.conflict: theirs
    changed here: changed
    changed there: changed
    gone here, changed there: changed
    gone there, changed here: changed
    new alike: c
    new both: theirs
    new both.conflict: mine
    new here: a
    new there: b
    odd.conflict: a file
    odd/inside: a folder
    same: old
    turned: now a file
    ");
    assert_eq!(side(&world, "workspace"), side(&world, "cloud"));
    assert_eq!(
        next(&world, "same"),
        "both sides agree; the next run does nothing about it"
    );
}

#[test]
fn a_stop_is_explained_for_each_path() {
    let world = strangers();
    let told = next(&world, "both.md");
    assert!(
        told.contains("`first-sync`") && told.contains("`ows sync --resync`"),
        "{told}"
    );
    assert!(told.contains("keeps both versions"), "{told}");
    let json = world.json(&["why", "both.md"]);
    assert_eq!(json["verdict"], "stopped");
    assert_eq!(json["guard"]["name"], "first-sync");
}

#[test]
fn check_and_status_know_the_mode() {
    let world = agreed(&[("a", "1"), ("b", "2")]);
    world.ok(&["check"]);
    world.write("workspace/a", "changed");
    world.write("cloud/c", "new");
    world.remove("workspace/b");
    let ran = world.ows(&["check"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 3
    --- stdout
    differs                a
    only in the remote     b
    only in the remote     c
    --- stderr
    error: the two sides differ in 3 paths
    hint: nothing was changed; `ows sync --dry-run -v` shows what a run would do about it, `ows why PATH` for one path
    ");
    let json = world.json(&["check"]);
    assert_eq!(json["differences"].as_array().unwrap().len(), 3);
    assert_eq!(json["mode"], "bisync");
    world.ok(&["sync"]);
    world.ok(&["check"]);
    assert_eq!(world.json(&["status"])["mode"], "bisync");
    assert_sides(&world, &[("a", "changed"), ("c", "new")]);
}

#[test]
fn an_emptied_remote_stops_the_run_and_each_way_out_does_what_it_says() {
    let make = || {
        let world = agreed(&[("a", "1"), ("b", "2")]);
        world.remove("cloud");
        world
    };
    assert_snapshot!(make().ows(&["sync"]).shown(), @r"
    exit code: 4
    --- stderr
    error: stopped by the guard `remote-root`: the remote is missing or empty, and 2 files were in sync with it before
    hint: if it is another bucket or folder, correct the configuration; if the workspace shall be copied into it again: `ows sync --resync --force remote-root`; if it is meant to be empty, and the workspace shall be emptied too (into its trash): `ows sync --force remote-root --force max-delete`; nothing was changed
    ");
    let worlds = typed(
        make,
        &["sync"],
        &[
            "sync --resync --force remote-root",
            "sync --force remote-root --force max-delete",
        ],
    );
    assert_sides(&worlds[0], &[("a", "1"), ("b", "2")]);
    assert_eq!(side(&worlds[1], "workspace"), []);
    assert_eq!(trash(&worlds[1], "local"), ["a", "b"]);
    // Whoever asked for a resync is told the same.
    typed(
        make,
        &["sync", "--resync"],
        &[
            "sync --resync --force remote-root",
            "sync --force remote-root --force max-delete",
        ],
    );
    // Whoever asked for a direction goes on in it.
    let pushed = typed(
        make,
        &["sync", "--direction", "push"],
        &["sync --direction push --force remote-root"],
    );
    assert_sides(&pushed[0], &[("a", "1"), ("b", "2")]);
    let pulled = typed(
        make,
        &["sync", "--direction", "pull"],
        &["sync --direction pull --force remote-root"],
    );
    assert_eq!(side(&pulled[0], "workspace"), []);
    assert_eq!(trash(&pulled[0], "local"), ["a", "b"]);
}

#[test]
fn a_first_run_in_one_direction_goes_on_in_it() {
    let met = strangers().ows(&["sync", "--direction", "push"]);
    let lines: Vec<String> = commands(&met.shown())
        .iter()
        .map(|words| words.join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "sync --direction pull",
            "sync --direction push --force first-sync"
        ]
    );
    let world = strangers();
    assert_eq!(
        world.ows(&["sync", "--direction", "pull"]).code,
        Some(4),
        "it stops once more"
    );
    world.ok(&["sync", "--direction", "push", "--force", "first-sync"]);
    assert_sides(&world, &[("both.md", "mine"), ("mine.md", "m")]);
}

#[test]
fn too_many_deletes_and_too_many_changes_stop_the_run() {
    let many = |world: &World, path: &str, content: Option<&str>| {
        for number in 0..12 {
            let path = format!("{path}/{number:02}.md");
            match content {
                Some(content) => world.write(&path, content),
                None => world.remove(&path),
            }
        }
    };
    let deleted = |at: &'static str| {
        move || {
            let world = bisync("");
            many(&world, "workspace", Some("old"));
            world.write("workspace/stays.md", "s");
            world.ok(&["sync"]);
            many(&world, at, None);
            world
        }
    };
    for (at, side) in [("workspace", "remote"), ("cloud", "local")] {
        let expected = ["sync --force max-delete", "sync --dry-run -v"];
        let make = deleted(at);
        let stopped = make().ows(&["sync"]);
        assert_eq!(stopped.code, Some(4));
        assert_eq!(
            commands(&stopped.shown())
                .iter()
                .map(|words| words.join(" "))
                .collect::<Vec<_>>(),
            expected
        );
        let world = make();
        assert_eq!(
            world.ows(&["sync", "--dry-run", "-v"]).code,
            Some(4),
            "only shown"
        );
        world.ok(&["sync", "--force", "max-delete"]);
        assert_sides(&world, &[("stays.md", "s")]);
        assert_eq!(trash(&world, side).len(), 12);
    }
    let world = bisync("");
    many(&world, "workspace", Some("old"));
    world.ok(&["sync"]);
    many(&world, "cloud", Some("encrypted"));
    let stopped = world.ows(&["sync"]);
    assert_snapshot!(stopped.shown().lines().nth(2).unwrap(), @"error: stopped by the guard `max-change`: 12 of 12 files were changed in the remote, more than maxChange (80 %) allows");
    assert_eq!(stopped.code, Some(4));
    assert_eq!(world.read("workspace/00.md").as_deref(), Some("old"));
    world.ok(&["sync", "--force", "max-change"]);
    assert_eq!(world.read("workspace/00.md").as_deref(), Some("encrypted"));
}

#[test]
fn a_folder_without_its_marker_is_only_filled_and_nothing_forces_more() {
    for force in [&["sync"][..], &["sync", "--force", "local-root"]] {
        let world = agreed(&[("a", "1"), ("b", "2")]);
        // A new volume with a template on it.
        for path in ["a", "b", ".ows"] {
            world.remove(&format!("workspace/{path}"));
        }
        world.write("workspace/b", "template");
        let ran = world.ows(force);
        if force.len() == 1 {
            assert_snapshot!(ran.shown(), @r"
            exit code: 3
            --- stdout
            1 downloaded, 1 left alone (1 B, 5 calls, [SECONDS] s)
            --- stderr
            warning: the local folder `[ROOT]/workspace` does not carry this replica's marker `.ows/replica`, so it is not known to be the folder that was synced before: this run only adds what is missing and marks the folder; the next run is an ordinary one, which takes what differs for new on both sides, and keeps it twice
            `b`: changed in the workspace, but this run only adds what is missing in the workspace, so it was left alone
            error: finished, but 1 path could not be synced
            hint: nothing was lost; run again after looking at the messages above
            ");
        }
        assert_eq!(ran.code, Some(3), "{}", ran.shown());
        assert_eq!(world.read("workspace/a").as_deref(), Some("1"));
        assert_eq!(world.read("cloud/a").as_deref(), Some("1"));
        assert_eq!(world.read("cloud/b").as_deref(), Some("2"));
        world.ok(&["sync"]);
        let kept: Vec<String> = side(&world, "cloud")
            .into_iter()
            .map(|(_, content)| content)
            .collect();
        assert!(
            kept.contains(&"2".to_owned()) && kept.contains(&"template".to_owned()),
            "{kept:?}"
        );
    }
}

#[test]
fn a_push_from_an_unmarked_folder_stops_and_what_it_says_fills_it() {
    let make = || {
        let world = agreed(&[("a", "1"), ("b", "2")]);
        for path in ["a", "b", ".ows"] {
            world.remove(&format!("workspace/{path}"));
        }
        world
    };
    assert_snapshot!(make().ows(&["sync", "--direction", "push"]).shown(), @r"
    exit code: 4
    --- stderr
    error: stopped by the guard `local-root`: the local folder does not carry the replica marker `.ows/replica`: it is not the folder that was synced before, or its volume is not mounted
    hint: if a volume is not mounted, mount it; if the folder is new, fill it from the remote: `ows sync`, which only adds what is missing; nothing was changed
    ");
    let worlds = typed(make, &["sync", "--direction", "push"], &["sync"]);
    assert_sides(&worlds[0], &[("a", "1"), ("b", "2")]);
    let forced = make().ows(&["sync", "--direction", "push", "--force", "local-root"]);
    assert_eq!(forced.code, Some(4), "never forced: {}", forced.shown());
    // The marker of another replica may be.
    let other = agreed(&[("x", "x")])
        .read("workspace/.ows/replica")
        .unwrap();
    let worlds = typed(
        || {
            let world = agreed(&[("a", "1"), ("b", "2")]);
            world.remove("workspace/a");
            world.write("workspace/.ows/replica", &other);
            world
        },
        &["sync", "--direction", "push"],
        &[
            "sync --direction pull",
            "sync --direction push --force local-root",
        ],
    );
    assert_sides(&worlds[0], &[("a", "1"), ("b", "2")]);
    assert_sides(&worlds[1], &[("b", "2")]);
}

#[test]
fn a_push_after_a_resync_that_did_not_come_to_its_end_stops_and_both_ways_out_work() {
    let servers = RefCell::new(Vec::new());
    let make = || {
        let server = server();
        let world = World::bare();
        world.config(&s3_config(&server, "").replace("'mailbox'", "'bisync'"));
        world.write("workspace/mine", "m");
        for name in ["a", "b"] {
            server.access().put(BUCKET, name, name);
        }
        let denied = When::op(Op::Get).key("b").always();
        server
            .access()
            .fault(denied, Then::error(403, "AccessDenied"));
        let ran = world.ows(&["sync", "--resync"]);
        assert_eq!(ran.code, Some(3), "{}", ran.shown());
        server.access().clear_faults();
        servers.borrow_mut().push(server);
        world
    };
    assert_snapshot!(make().ows(&["sync", "--direction", "push"]).shown(), @r"
    exit code: 4
    --- stderr
    error: stopped by the guard `local-root`: the first run was uniting both sides, and that did not come to its end, so what is missing in the local folder was never there
    hint: to go on: `ows sync`; to give the rest up, and make the remote equal to the workspace: `ows sync --direction push --force local-root`; nothing was changed
    ");
    servers.borrow_mut().clear();
    let worlds = typed(
        make,
        &["sync", "--direction", "push"],
        &["sync", "sync --direction push --force local-root"],
    );
    let names = |world: &World| side(world, "workspace").len();
    assert_eq!(names(&worlds[0]), 3, "united");
    assert_eq!(names(&worlds[1]), 2, "given up");
    // The first was only asked what it would say.
    let holds_b = |index: usize| servers.borrow()[index].access().get(BUCKET, "b").is_some();
    assert_eq!((holds_b(1), holds_b(2)), (true, false));
}

#[test]
fn a_missing_folder_stops_the_run_and_filling_it_works() {
    let world = agreed(&[("a", "1"), ("b", "2")]);
    world.remove("workspace");
    for arguments in [
        &["sync"][..],
        &["sync", "--resync"],
        &["sync", "--force", "local-root"],
    ] {
        let ran = world.ows(arguments);
        assert_eq!(ran.code, Some(4), "{}", ran.shown());
        assert!(ran.stderr.contains("`local-root`"), "{}", ran.shown());
        assert!(!world.path("workspace").exists());
    }
    world.tree().folder("workspace");
    world.ok(&["sync", "--direction", "pull"]);
    assert_sides(&world, &[("a", "1"), ("b", "2")]);
}

#[test]
fn session_hooks_sync_both_ways() {
    let world = bisync("onSessionStart: true, onSessionEnd: true,");
    world.write("cloud/theirs", "t");
    world.ok(&["session", "start"]);
    assert_eq!(world.read("workspace/theirs").as_deref(), Some("t"));
    world.write("workspace/mine", "m");
    let json = world.json(&["session", "end"]);
    assert_eq!(
        (&json["mode"], &json["ok"]),
        (&"bisync".into(), &true.into())
    );
    assert_sides(&world, &[("mine", "m"), ("theirs", "t")]);
}

#[test]
fn the_daemon_syncs_both_ways_and_tells_of_a_first_run_that_waits_for_a_person() {
    let world = bisync("interval: 60,");
    world.write("cloud/theirs", "t");
    let stopped = strangers();
    configure(&stopped, "interval: 60,");
    let (daemon, waiting) = (Daemon::start(&world, &[]), Daemon::start(&stopped, &[]));
    daemon.says("synced", 1);
    assert_eq!(world.read("workspace/theirs").as_deref(), Some("t"));
    waiting.says("first-sync", 1);
    waiting.says("--resync", 1);
    daemon.end();
    waiting.end();
    assert_eq!(side(&stopped, "workspace").len(), 2);
}

#[test]
fn two_engines_on_one_folder_are_warned_of() {
    let world = World::bare();
    let cloud = world.path("cloud").display().to_string();
    let plugin = |enabled: bool| {
        format!(
            r#"{{ "gateway": {{ "port": 18789 }}, "plugins": {{ "entries": {{ "openclaw-workspace-sync": {{ "enabled": {enabled},
            "config": {{ "sync": {{ "mode": "bisync", "provider": "custom", "remotePath": "", "conflictResolve": "newer",
            "custom": {{ "type": "local", "options": {{ "path": "{cloud}" }} }} }} }} }} }} }} }}"#
        )
    };
    world.write("state/openclaw.json", plugin(true));
    world.write("workspace/a", "a");
    let ran = world.ows(&["sync"]);
    assert_eq!(ran.code, Some(0), "{}", ran.shown());
    assert!(
        ran.stderr.contains("two engines on one folder lose data"),
        "{}",
        ran.shown()
    );
    assert_eq!(world.read("cloud/a").as_deref(), Some("a"));
    world.write("state/openclaw.json", plugin(false));
    assert!(!world.ok(&["sync"]).stderr.contains("two engines"));
    // The setup is taken over as it is.
    let ran = world.ok(&["import-rclone"]);
    assert!(
        !ran.shown().contains("not in this version"),
        "{}",
        ran.shown()
    );
    let config = world.read("state/ows/config.json5").unwrap();
    assert!(config.contains("mode: \"bisync\""), "{config}");
    assert_eq!(world.json(&["sync"])["mode"], "bisync");
}
