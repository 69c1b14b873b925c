//! `ows demo`: shows the main job with nothing but a temporary folder.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::World;

#[test]
fn the_demo_tells_a_whole_story() {
    let world = World::bare();
    let ran = world.ows(&["demo"]);
    // What is sealed differs by a few bytes from run to run.
    let sealed = regex::Regex::new(r"stored as [0-9.]+ KiB").unwrap();
    assert_snapshot!(sealed.replace(&ran.shown(), "stored as [SIZE]"), @r#"
    exit code: 0
    --- stdout
    A workspace, and a folder `cloud` that stands for the remote. No account, no server.

    1. Push: the remote is made equal to the workspace
       $ ows sync
         3 uploaded (37 B, 11 calls, [SECONDS] s)
         workspace/        cloud/
           AGENTS.md         AGENTS.md
           _inbox/           _outbox/
           notes/plan.md     notes/plan.md
           notes/todo.md     notes/todo.md

    2. Change something; only that goes up
       $ echo "- test" >> workspace/notes/todo.md
       $ ows sync
         1 uploaded, 2 unchanged (15 B, 7 calls, [SECONDS] s)

    3. Send the agent a file: drop it into _outbox, from any device
       $ echo "a,b" > cloud/_outbox/data.csv
       $ ows sync
         1 downloaded, 3 unchanged (4 B, 6 calls, [SECONDS] s)
         workspace/          cloud/
           AGENTS.md           AGENTS.md
           _inbox/data.csv     _outbox/
           notes/plan.md       notes/plan.md
           notes/todo.md       notes/todo.md

    4. Delete something, and think better of it: the trash has it
       $ rm workspace/notes/plan.md
       $ ows sync
         1 remote moved to the trash, 2 unchanged (7 calls, [SECONDS] s)
       $ ows trash list
         remote  [RUN]           8 B  notes/plan.md
       $ ows trash restore notes/plan.md
         remote  [RUN]           8 B  notes/plan.md
       $ ows sync
         1 uploaded, 2 unchanged (8 B, 7 calls, [SECONDS] s)
         workspace/          cloud/
           AGENTS.md           AGENTS.md
           _inbox/data.csv     _outbox/
           notes/plan.md       notes/plan.md
           notes/todo.md       notes/todo.md

    5. Back it all up, sealed to a key, and restore a file of it
       $ ows backup now
         [SNAPSHOT]: 4 files, 48 B, stored as [SIZE] (15 calls, [SECONDS] s)
       $ ows backup restore --to restored --path workspace/AGENTS.md
         1 file restored into `restored`, every file checked

    Where to go next
      Write ~/.openclaw/ows/config.json5, for a bucket of your own:
        { sync: { mode: "mailbox", provider: "s3", s3: { bucket: "NAME", region: "REGION" } } }
      $ ows sync --dry-run    shows what a run would do, and changes nothing
      $ ows sync              does it
      $ ows status            shows what is known of both sides
      $ ows backup keygen     begins with backups; docs/backup.md goes on
      $ ows --help            shows everything else
    "#);
    assert!(ran.stdout.lines().count() < 60);
    assert!(ran.stdout.lines().all(|line| line.len() <= 100));
}

#[test]
fn the_demo_leaves_nothing_behind_and_reads_no_configuration() {
    let world = World::bare();
    world.config("{ this is no configuration");
    let before = world.everything("");
    world.ok(&["demo"]);
    assert_eq!(world.everything(""), before);
}

#[test]
fn a_kept_demo_can_be_gone_on_with() {
    let world = World::bare();
    let ran = world.ok(&["demo", "--keep"]);
    let command = ran.stdout.lines().find(|line| line.contains("--config"));
    let words: Vec<&str> = command.unwrap().split_whitespace().skip(2).collect();
    let status = world.ok(&words);
    assert!(
        status.stdout.contains("base:        3 files"),
        "{}",
        status.stdout
    );
}

#[test]
fn the_demo_in_json_is_one_object() {
    let json = World::bare().json(&["demo"]);
    let titles = json["steps"].as_array().unwrap();
    assert_eq!(titles.len(), 5);
    assert_eq!(titles[0]["commands"], json!(["ows sync"]));
    assert_eq!(json["counts"]["upload"], 5);
    assert_eq!(json["counts"]["download"], 1);
    assert_eq!(json["counts"]["delete_remote"], 1);
}

#[test]
fn the_demo_needs_a_place_for_it() {
    let world = World::bare();
    let mut command = world.command(&["demo"]);
    command.env("TMPDIR", world.path("nowhere"));
    assert_snapshot!(world.run(command).shown(), @r#"
    exit code: 1
    --- stderr
    error: could not make a temporary folder
    path: [ROOT]/nowhere/ows-demo-[RUN]
    cause: No such file or directory (os error 2)
    hint: set TMPDIR to a folder that can be written to; nothing was changed
    "#);
}
