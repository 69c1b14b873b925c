//! `ows why`: each kind of answer.

use insta::assert_snapshot;

use crate::support::{World, server};

/// The answer as a person reads it, without the sizes and times of what was found.
fn answer(world: &World, path: &str) -> String {
    let ran = world.ows(&["why", path]);
    assert_eq!(ran.code, Some(0), "{}", ran.shown());
    let shown = ran.shown();
    let lines = shown.lines().filter(|line| {
        let told = ["exit code", "--- ", "  base", "  workspace", "  remote"];
        !told.iter().any(|start| line.starts_with(start))
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_cannot_be_read_is_not_taken_for_a_link() {
    let server = server();
    let world = World::with_s3(&server, "");
    // S3 takes so long a name and no file system here does, so nobody can look at it, root neither.
    let shown = world.ows(&["why", &"x".repeat(300)]).shown();
    assert!(shown.contains("workspace  cannot be read"), "{shown}");
}

/// The folder `cloud` as the remote, in mirror mode.
fn mirror() -> World {
    let world = World::with_folder("");
    let cloud = world.path("cloud");
    world.config(&format!(
        "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {cloud:?} }} }}, remotePath: '', \
         mode: 'mirror' }} }}"
    ));
    world
}

fn synced() -> World {
    let world = World::with_folder("exclude: ['*.log', 'build/'],");
    world.write("workspace/same.md", "same");
    world.write("workspace/edited.md", "one");
    world.write("workspace/old name.md", "renamed");
    world.write("workspace/d/a.md", "a");
    world.write("workspace/d/b.md", "b");
    world.ok(&["sync"]);
    world
}

#[test]
fn a_path_at_rest() {
    let world = synced();
    assert_snapshot!(answer(&world, "same.md"), @r"
    same.md
      next       both sides agree; the next run does nothing about it
    ");
    assert_snapshot!(answer(&world, "d"), @r"
    d
      next       both sides agree; the next run does nothing about it
    ");
    assert_snapshot!(answer(&world, "no such"), @r"
    no such
      next       there is no such file or folder on either side, and none is remembered
    ");
    let ran = world.ows(&["why", "same.md"]);
    assert!(ran.stdout.contains("  base       4 B, "), "{}", ran.stdout);
    let json = world.json(&["why", world.path("workspace/same.md").to_str().unwrap()]);
    assert_eq!(json["path"], "same.md");
    assert_eq!(json["verdict"], "unchanged");
    assert_eq!(
        (&json["base"]["size"], &json["remote"]["kind"]),
        (&4.into(), &"file".into())
    );
}

#[test]
fn a_path_that_the_next_run_changes() {
    let world = synced();
    world.write("workspace/edited.md", "two, longer");
    world.write("cloud/stray.md", "stray");
    std::fs::rename(
        world.path("workspace/old name.md"),
        world.path("workspace/new name.md"),
    )
    .unwrap();
    world.remove("workspace/d/a.md");
    world.write("workspace/d/new.md", "n");
    assert_snapshot!(answer(&world, "edited.md"), @r"
    edited.md
      next       the next run uploads it: changed in the workspace
    ");
    assert_snapshot!(answer(&world, "stray.md"), @r"
    stray.md
      next       the next run deletes it in the remote, where it goes to the trash: not in the workspace
    ");
    assert_snapshot!(answer(&world, "old name.md"), @r"
    old name.md
      next       the next run gives it the name `new name.md` in the remote: renamed in the workspace
    move remote       new name.md: renamed in the workspace
    ");
    assert_snapshot!(answer(&world, "new name.md"), @r"
    new name.md
      next       the next run renames `old name.md` to it in the remote: renamed in the workspace
    ");
    assert_snapshot!(answer(&world, "d"), @r"
    d
      next       the next run does something to 2 paths below it
    upload            d/new.md (1 B): new in the workspace
    delete remote     d/a.md: deleted in the workspace
    ");
    let json = world.json(&["why", "stray.md"]);
    assert_eq!(json["verdict"], "acts");
    assert_eq!(json["actions"][0]["op"], "delete_remote");
    // What it said is what happens, and it changed nothing itself.
    let json = world.json(&["sync", "-v"]);
    assert_eq!(json["counts"]["move"], 1);
    assert_eq!(json["counts"]["upload"], 2);
    assert_eq!(json["counts"]["delete_remote"], 2);
}

#[test]
fn a_path_that_takes_no_part() {
    let world = synced();
    world.write("workspace/x.log", "x");
    world.write("workspace/build/out", "x");
    world.write("workspace/.sync-excludes", "/secret.md\n");
    world.write("workspace/_inbox/mail", "x");
    world.write("cloud/_outbox/mail", "x");
    world.write("cloud/_outbox/half.tmp", "x");
    world.tree().symlink("workspace/link", "same.md");
    for path in ["x.log", "build", "build/out", "secret.md"] {
        let json = world.json(&["why", path]);
        assert_eq!(json["verdict"], "excluded", "{path}");
    }
    assert_eq!(world.json(&["why", "build/out"])["pattern"], "build/");
    assert_snapshot!(answer(&world, "x.log"), @r"
    x.log
      next       the pattern `*.log` leaves it out: it is neither transferred nor deleted on either side
    ");
    assert_snapshot!(answer(&world, ".ows/replica"), @r"
    .ows/replica
      next       it belongs to `ows` itself and is never synced
    ");
    assert_snapshot!(answer(&world, "_inbox/mail"), @r"
    _inbox/mail
      next       it lies in `_inbox`, where files from people arrive: it is never sent and never deleted
    ");
    assert_snapshot!(answer(&world, "_outbox/mail"), @r"
    _outbox/mail
      next       the next run delivers it to `_inbox/mail`, or to the first name like it that is free, and then removes it from the remote
    ");
    assert_snapshot!(answer(&world, "_outbox/half.tmp"), @r"
    _outbox/half.tmp
      next       it has the name of a half-written file or of a placeholder, so it stays in `_outbox`
    ");
    assert_snapshot!(answer(&world, "link/below"), @r"
    link/below
      next       `link` is a symbolic link, which is not followed: it is left alone on both sides, with everything below
    ");
    assert!(
        world.path("cloud/_outbox/mail").exists(),
        "nothing was delivered"
    );
}

#[test]
fn a_path_that_the_first_run_only_takes_note_of() {
    let world = World::with_folder("");
    world.write("workspace/both.md", "same");
    world.write("cloud/both.md", "same");
    assert_snapshot!(answer(&world, "both.md"), @r"
    both.md
      next       both sides hold the same content; the next run only takes note of it
    ");
}

#[test]
fn a_path_that_is_protected() {
    let world = World::bare();
    let cloud = world.path("cloud");
    world.config(&format!(
        "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {cloud:?} }} }}, mode: 'mailbox', \
         remotePath: '' }} }}"
    ));
    let mut command = world.command(&["why", "credentials/token", "--json"]);
    command.env("OPENCLAW_WORKSPACE_DIR", world.path("state"));
    let json = world.run(command).json();
    assert_eq!(json["verdict"], "protected");
}

#[test]
fn a_run_that_a_guard_stops() {
    let world = World::with_folder("");
    world.write("workspace/a.md", "mine");
    world.write("cloud/a.md", "theirs");
    assert_snapshot!(answer(&world, "a.md"), @r"
    a.md
      next       the next run stops before it does anything, by the guard `first-sync`: this is the first run, and the remote holds files that the workspace does not: 1 would be replaced (files in the workspace: 1, in the remote: 1); let through, the next run uploads it: the remote holds other content; it goes to the trash; to make the workspace equal to the remote first: `ows sync --direction pull`, which stops once more if the workspace would lose anything; to make the remote equal to the workspace, with what it displaces kept in the trash: `ows sync --force first-sync`; to decide it in the configuration: `firstSync`; nothing was changed
    ");
    world.remove("workspace");
    let json = world.json(&["why", "a.md"]);
    assert_eq!(
        (&json["verdict"], &json["ok"]),
        (&"stopped".into(), &true.into())
    );
    assert_eq!(json["guard"]["name"], "first-sync");
}

#[test]
fn in_mirror_mode_the_remote_is_the_truth_and_mail_folders_are_ordinary() {
    let world = mirror();
    world.write("cloud/a.md", "a");
    world.write("cloud/_inbox/b.md", "b");
    world.ok(&["sync"]);
    world.write("workspace/a.md", "edited here");
    world.write("workspace/mine.md", "x");
    world.remove("workspace/_inbox/b.md");
    assert_snapshot!(answer(&world, "a.md"), @r"
    a.md
      next       the next run downloads it: edited in the workspace, where the remote is the truth; the edit goes to the trash
    ");
    assert_snapshot!(answer(&world, "mine.md"), @r"
    mine.md
      next       the next run moves it from the workspace into the local trash: not in the remote
    ");
    assert_snapshot!(answer(&world, "_inbox/b.md"), @r"
    _inbox/b.md
      next       the next run downloads it: missing in the workspace
    ");
    world.remove("workspace/.ows");
    assert_snapshot!(answer(&world, "mine.md"), @r"
    mine.md
      next       it is left alone: not in the remote, but this run only adds what is missing, so it was left alone
    warning: the local folder `[ROOT]/workspace` does not carry this replica's marker `.ows/replica`, so it is not known to be the folder that was synced before: this run only adds what is missing and marks the folder; the next run is an ordinary one, which moves what the remote does not hold into the local trash
    ");
}

#[test]
fn a_path_that_is_none_is_wrong_usage() {
    let world = World::with_folder("");
    assert_snapshot!(world.ows(&["why", "../x"]).shown(), @r"
    exit code: 2
    --- stderr
    error: the path does not name anything in the pair
    path: ../x
    cause: the name holds a `.` or `..` segment
    hint: give it below the root of the pair, as `ows list` shows it, such as `notes/plan.md`
    ");
}
