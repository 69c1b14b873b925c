//! Every command over a real S3 server, with all counts.

use insta::assert_snapshot;
use ows_testkit::s3::Op;
use serde_json::{Value, json};

use crate::support::{BUCKET, World, server};

fn counts(json: &Value) -> Value {
    let counts = json["counts"].as_object().unwrap();
    counts
        .iter()
        .filter(|(_, count)| **count != 0)
        .map(|(name, count)| (name.clone(), count.clone()))
        .collect()
}

#[test]
fn a_round_of_all_commands() {
    let server = server();
    let store = server.access();
    let world = World::with_s3(&server, "");
    world.write("workspace/a.md", "aaaa");
    world.write("workspace/notes/b.md", "bb");
    world.write("workspace/notes/deep/c.md", "c");

    let json = world.json(&["sync", "--dry-run"]);
    assert_eq!(counts(&json), json!({ "upload": 3 }));
    assert_eq!(json["actions"].as_array().unwrap().len(), 3);
    assert_eq!(json["actions"][0]["op"], "upload");
    assert_eq!(json["dry_run"], true);
    assert_eq!(store.keys(BUCKET), Vec::<String>::new());

    let json = world.json(&["sync", "-v"]);
    assert_eq!(counts(&json), json!({ "upload": 3 }));
    assert_eq!(json["bytes"], json!({ "up": 7, "down": 0 }));
    assert_eq!(json["actions"].as_array().unwrap().len(), 3);
    assert_eq!(json["mode"], "mailbox");
    let calls: u64 = store.calls().values().sum();
    assert!(json["api_calls"]["total"].as_u64().unwrap() <= calls);

    store.reset_calls();
    let json = world.json(&["sync"]);
    assert_eq!(counts(&json), json!({ "unchanged": 3 }));
    assert_eq!(
        json["actions"],
        json!([]),
        "filled only with -v and --dry-run"
    );
    assert_eq!(store.count(Op::List), 1);
    assert_eq!(
        json["api_calls"],
        json!({ "total": 1, "by_operation": { "list": 1 } })
    );

    // One of everything: an edit, a move, a delete, a stray remote file, an edit in the cloud, a drop.
    world.write("workspace/a.md", "aaaa, edited");
    std::fs::rename(
        world.path("workspace/notes/b.md"),
        world.path("workspace/moved.md"),
    )
    .unwrap();
    store.put(BUCKET, "stray.txt", "stray");
    store.put(BUCKET, "notes/deep/c.md", "edited in the cloud");
    store.put(BUCKET, "_outbox/in/report.csv", "1,2");
    let json = world.json(&["sync", "-v"]);
    assert_eq!(
        counts(&json),
        json!({ "upload": 2, "move": 1, "delete_remote": 1, "download": 1 })
    );
    assert_eq!(json["bytes"], json!({ "up": 13, "down": 3 }));
    let ops: Vec<&str> = json["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|action| action["op"].as_str().unwrap())
        .collect();
    for op in ["upload", "move_remote", "delete_remote", "drain"] {
        assert!(ops.contains(&op), "{ops:?}");
    }
    let surprises = json["warnings"].as_array().unwrap();
    assert_eq!(
        surprises.len(),
        2,
        "the stray file and the edit: {surprises:?}"
    );
    assert_eq!(
        world.read("workspace/_inbox/in/report.csv").as_deref(),
        Some("1,2")
    );

    assert_snapshot!(world.ows(&["list"]).shown(), @r#"
    exit code: 0
    --- stdout
               -  -                     _outbox/
            12 B  [TIME]  a.md
             2 B  [TIME]  moved.md
               -  -                     notes/
    "#);
    assert_snapshot!(world.ows(&["list", "-R"]).shown(), @r#"
    exit code: 0
    --- stdout
             0 B  [TIME]  _outbox/.keep
            12 B  [TIME]  a.md
             2 B  [TIME]  moved.md
             1 B  [TIME]  notes/deep/c.md
    "#);
    assert_snapshot!(world.ows(&["list", "/notes/", "-R"]).shown(), @r#"
    exit code: 0
    --- stdout
             1 B  [TIME]  notes/deep/c.md
    "#);
    assert_snapshot!(world.ows(&["list", "moved.md"]).shown(), @r#"
    exit code: 0
    --- stdout
             2 B  [TIME]  moved.md
    "#);
    assert_snapshot!(world.ows(&["trash", "list"]).shown(), @r#"
    exit code: 0
    --- stdout
    remote  [RUN]          19 B  notes/deep/c.md
    remote  [RUN]           5 B  stray.txt
    2 files, 24 B, in the trash
    "#);
    assert_snapshot!(world.ows(&["status"]).shown(), @r#"
    exit code: 0
    --- stdout
    provider:    s3
    mode:        mailbox
    remote:      s3://files
    local:       [ROOT]/workspace
    connection:  ok
    base:        3 files, 15 B, generation 3
    checkpoint:  generation 3, stored [TIME]
    last run:    [TIME], ok
    conflicts:   none
    trash:       local empty, remote 2 files (24 B)
    enforces:
      lease between hosts                          yes
      create only if absent                        yes
      replace only the version seen                yes
      delete only the version seen                 yes
      large files: create only if absent           yes
      large files: replace only the version seen   yes
      copy only if absent                          yes
      keeps old versions                           no
    "#);

    assert_snapshot!(world.ows(&["trash", "restore", "stray.txt", "--dry-run"]).shown(), @r#"
    exit code: 0
    --- stdout
    remote  [RUN]           5 B  stray.txt
    1 file, 5 B, to restore (dry run: nothing was changed)
    "#);
    assert_eq!(world.read("workspace/stray.txt"), None);
    assert_snapshot!(world.ows(&["trash", "restore", "stray.txt"]).shown(), @r#"
    exit code: 0
    --- stdout
    remote  [RUN]           5 B  stray.txt
    1 file, 5 B, restored into the workspace; the next `ows sync` sends it up
    "#);
    assert_eq!(world.read("workspace/stray.txt").as_deref(), Some("stray"));
    let json = world.json(&["sync"]);
    assert_eq!(counts(&json), json!({ "upload": 1, "unchanged": 3 }));

    let json = world.json(&["trash", "empty", "--yes"]);
    assert_eq!(json["items"].as_array().unwrap().len(), 2);
    let trash = |key: &String| key.starts_with(".ows/trash/");
    assert_eq!(
        store.keys(BUCKET).iter().filter(|key| trash(key)).count(),
        0
    );
    assert_eq!(counts(&world.json(&["sync"])), json!({ "unchanged": 4 }));
}

#[test]
fn a_dry_run_shows_the_plan_and_why() {
    let server = server();
    let world = World::with_s3(&server, "");
    world.write("workspace/a.md", "aaaa");
    world.write("workspace/b.md", "bb");
    world.ok(&["sync"]);
    world.write("workspace/a.md", "edited");
    world.remove("workspace/b.md");
    server.access().put(BUCKET, "_outbox/x", "x");
    server.access().put(BUCKET, "stray", "x");
    assert_snapshot!(world.ows(&["sync", "--dry-run"]).shown(), @r#"
    exit code: 0
    --- stdout
    upload            a.md (6 B): changed in the workspace
    delete remote     stray: not in the workspace
    delete remote     b.md: deleted in the workspace
    drain             _outbox/x (1 B): dropped into _outbox
    1 to upload, 1 to download, 2 remote to the trash (dry run: nothing was changed)
    "#);
}

#[test]
fn verbose_shows_what_was_done_and_logs_go_to_standard_error() {
    let world = World::with_folder("");
    world.write("workspace/a.md", "aaaa");
    let ran = world.ok(&["sync", "-v"]);
    assert!(
        ran.stdout.starts_with("upload            a.md (4 B): "),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("INFO"), "{}", ran.stderr);
    let ran = world.ok(&["sync", "-vv", "--log-format", "json", "--json"]);
    ran.json();
    for line in ran.stderr.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(event["level"].is_string());
    }
    let quiet = world.ok(&["sync", "-q"]);
    assert_eq!(quiet.stdout + &quiet.stderr, "");
}

#[test]
fn status_creates_nothing_and_needs_no_mode() {
    let world = World::bare();
    let cloud = world.path("cloud");
    world.config(&format!(
        "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {cloud:?} }} }} }} }}"
    ));
    let before = world.everything("");
    assert_snapshot!(world.ows(&["status"]).shown(), @r#"
    exit code: 0
    --- stdout
    provider:    local
    mode:        not set (nothing runs without it)
    remote:      [ROOT]/cloud/openclaw-share
    local:       [ROOT]/workspace
    connection:  the remote folder is not there (the first run makes it)
    base:        none (nothing was synced yet)
    checkpoint:  none
    last run:    none
    conflicts:   none
    trash:       local empty, remote empty
    enforces:    not known yet (found out by the first run that writes)
    "#);
    world.ok(&["trash", "list"]);
    assert_eq!(world.ows(&["list"]).code, Some(1));
    assert_eq!(world.everything(""), before);
}

#[test]
fn status_of_a_provider_that_is_off() {
    let world = World::bare();
    world.config("{ sync: { provider: 'off' } }");
    assert_snapshot!(world.ows(&["status"]).shown(), @r#"
    exit code: 0
    --- stdout
    provider:    off (nothing is synced; set `sync.provider` to change that)
    "#);
    assert_eq!(world.json(&["status"])["provider"], "off");
}

#[test]
fn status_without_its_remote_shows_the_rest() {
    let server = server();
    let world = World::with_s3(&server, "");
    world.write("workspace/a.md", "aaaa");
    world.ok(&["sync"]);
    drop(server);
    assert_snapshot!(world.ows(&["status"]).shown(), @r#"
    exit code: 1
    --- stdout
    provider:    s3
    mode:        mailbox
    remote:      s3://files
    local:       [ROOT]/workspace
    connection:  list failed: the store could not be reached: Connection refused (os error 111)
    base:        1 file, 4 B, generation 1
    checkpoint:  generation 1, stored [TIME]
    last run:    [TIME], ok
    conflicts:   none
    trash:       local empty, remote not known
    enforces:
      lease between hosts                          yes
      create only if absent                        yes
      replace only the version seen                yes
      delete only the version seen                 yes
      large files: create only if absent           yes
      large files: replace only the version seen   yes
      copy only if absent                          yes
      keeps old versions                           no
    --- stderr
    error: could not list the remote
    cause: list failed: the store could not be reached: Connection refused (os error 111)
    hint: check the network and the address of the remote, then run again
    "#);
    let json = world.json(&["status"]);
    assert_eq!(json["exit_code"], 1);
    assert_eq!(json["base"]["files"], 1);
    assert_eq!(json["trash"]["remote"], Value::Null);
    assert_eq!(json["trash"]["local"], json!({ "files": 0, "bytes": 0 }));
}

#[test]
fn warnings_are_said_by_every_command_and_are_in_the_json() {
    let world = World::with_folder("interval: 30,");
    world.write(
        "state/extensions/workspace-sync/openclaw.plugin.json",
        r#"{ "id": "openclaw-workspace-sync" }"#,
    );
    world.write("cloud/.keep", "");
    world.ok(&["sync", "--force", "first-sync"]);
    for command in [
        vec!["sync"],
        vec!["status"],
        vec!["list"],
        vec!["trash", "list"],
    ] {
        let ran = world.ows(&command);
        let engines = ran.stderr.contains("two engines on one folder lose data");
        assert!(engines, "{command:?}: {}", ran.shown());
        assert!(ran.stderr.contains("interval"), "{command:?}");
        let json = world.json(&command);
        let warnings = json["warnings"].to_string();
        assert!(warnings.contains("two engines"), "{command:?}: {warnings}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    for arguments in [&["sync", "--json"][..], &["status"], &["--help"]] {
        let mut command = world.command(arguments);
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = command.stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        let expected =
            "error: the result could not be written to standard output\ncause: No space left";
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
    // Whoever reads no further has what they wanted.
    let mut command = world.command(&["status"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}
