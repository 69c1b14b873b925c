//! Making, listing and pruning snapshots.

use insta::assert_snapshot;
use ows_testkit::s3::{Op, Then, When};

use super::world::{self, configure, keygen, later, now, to_bucket, to_folder};
use crate::schemas::fits;
use crate::support::{BUCKET, World, server};

/// Sizes of what is sealed differ by a few bytes from run to run.
pub fn shown(text: &str) -> String {
    let sizes = regex::Regex::new(r"\d+(\.\d+)? (B|KiB|MiB)\b").unwrap();
    let days = regex::Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC").unwrap();
    let calls = regex::Regex::new(r"\d+ calls").unwrap();
    // How wide their column is follows from them.
    let gaps = regex::Regex::new(r" {2,}\[SIZE\]").unwrap();
    let proven = regex::Regex::new(r"proven \d{4}-\d\d-\d\d").unwrap();
    let text = sizes.replace_all(text, "[SIZE]");
    let text = gaps.replace_all(&text, "  [SIZE]");
    let text = proven.replace_all(&text, "proven [DAY]");
    let hashes = regex::Regex::new(r"\b[0-9a-f]{64}\b").unwrap();
    let text = days.replace_all(&text, "[TIME]");
    let text = hashes.replace_all(&text, "[SHA-256]");
    calls.replace_all(&text, "[CALLS] calls").into_owned()
}

#[test]
fn a_first_backup_is_looked_at_made_and_listed() {
    let owner = World::bare();
    let recipient = keygen(&owner);
    let world = to_folder(&format!("encrypt: true, recipients: ['{recipient}']"));
    let dry = world.ok(&["backup", "now", "--dry-run"]);
    assert_eq!(world.everything("vault"), [""; 0]);
    assert!(!world.path("state/ows/state.db").exists());
    let made = world.ok(&["backup", "now"]);
    let listed = world.ok(&["backup", "list"]);
    let status = world.ok(&["backup", "status"]);
    let pruned = world.ok(&["backup", "prune"]);
    let all = [dry, made, listed, status, pruned].map(|ran| shown(&ran.shown()));
    assert_snapshot!(all.join("\n"), @r"
    exit code: 0
    --- stdout
    5 files, [SIZE], would be in it (dry run: nothing was stored)

    exit code: 0
    --- stdout
    [SNAPSHOT]: 5 files, [SIZE], stored as [SIZE] ([CALLS] calls, [SECONDS] s)

    exit code: 0
    --- stdout
    [SNAPSHOT]       [TIME]  [SIZE]       5 files  encrypted  not proven
    1 snapshot, [SIZE]

    exit code: 0
    --- stdout
    remote:        [ROOT]/vault
    profile:       default
    snapshots:     1, [SIZE] in all
    newest:        [SNAPSHOT]
    last success:  [TIME], [SNAPSHOT]
    last failure:  none that this host knows of
    next:          due [TIME] (while `ows daemon` runs)
    proven:        nothing yet (`ows backup verify` does)

    exit code: 0
    --- stdout
    stays  [SNAPSHOT]: newest, last
    1 kept, nothing was removed ([CALLS] calls, [SECONDS] s)
    ");
}

#[test]
fn only_what_retain_keeps_stays_and_a_dry_run_says_why() {
    let world = to_folder("retain: 0");
    let mut names: Vec<String> = (0..3).map(|_| now(&world)).collect();
    names.sort();
    let vault = world.path("vault");
    let keys = format!(
        "provider: 'custom', custom: {{ type: 'local', options: {{ path: {vault:?} }} }}, remotePath: '', retain: 1"
    );
    configure(&world, &keys);
    let dry = world.json(&["backup", "prune", "--dry-run"]);
    fits("backup-prune", &dry);
    assert_eq!(dry["kept"].as_array().unwrap().len(), 1, "{dry:#}");
    assert_eq!(dry["removed"].as_array().unwrap().len(), 2);
    assert_eq!(
        world.json(&["backup", "list"])["snapshots"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let ran = world.ok(&["backup", "prune", "--dry-run"]);
    assert_snapshot!(shown(&ran.shown()), @r"
    exit code: 0
    --- stdout
    stays  [SNAPSHOT]: newest, last
    goes   [SNAPSHOT]
    goes   [SNAPSHOT]
    1 kept, 2 to remove, [SIZE] (dry run: nothing was removed)
    ");
    let ran = world.ok(&["backup", "prune"]);
    assert_snapshot!(shown(&ran.shown()), @r"
    exit code: 0
    --- stdout
    stays  [SNAPSHOT]: newest, last
    gone   [SNAPSHOT]
    gone   [SNAPSHOT]
    1 kept, 2 removed, [SIZE] freed ([CALLS] calls, [SECONDS] s)
    ");
    let left = world.json(&["backup", "list"]);
    assert_eq!(left["snapshots"].as_array().unwrap().len(), 1);
    let left = world.everything("vault");
    assert_eq!(
        left.iter().filter(|name| name.starts_with("ows-")).count(),
        3,
        "{left:?}"
    );
}

#[test]
fn files_that_cannot_be_read_are_named_and_make_three() {
    // Root reads everything.
    let world = to_folder("");
    world.write("workspace/notes/secret.md", "x");
    world.tree().symlink("workspace/dangling", "nowhere");
    let json = world.json(&["backup", "now"]);
    fits("backup-now", &json);
    assert_eq!(
        json["exit_code"], 0,
        "a link is no file that is missing: {json:#}"
    );
    assert_eq!(json["files"], 6);
}

#[test]
fn what_is_left_out_on_purpose_is_counted() {
    let world = to_folder("exclude: ['*.tmp']");
    let pipe = world.path("workspace/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for name in ["a.tmp", "notes/b.tmp"] {
        world.write(&format!("workspace/{name}"), "x");
    }
    let tag = "Signature: 8a477f597d28d172789f06886806bc55";
    world.write("workspace/cache/CACHEDIR.TAG", tag);
    world.write("workspace/cache/thing", "x");
    let dry = world.ok(&["backup", "now", "--dry-run"]);
    let made = world.ok(&["backup", "now"]);
    assert_snapshot!([dry, made].map(|ran| shown(&ran.shown())).join("\n"), @r"
    exit code: 0
    --- stdout
    6 files, [SIZE], would be in it (dry run: nothing was stored)
    left out: 1 socket, pipe or device; 2 paths that `exclude` names; the contents of 1 cache

    exit code: 0
    --- stdout
    [SNAPSHOT]: 6 files, [SIZE], stored as [SIZE] ([CALLS] calls, [SECONDS] s)
    left out: 1 socket, pipe or device; 2 paths that `exclude` names; the contents of 1 cache
    ");
    let json = world.json(&["backup", "now"]);
    fits("backup-now", &json);
    let expected = serde_json::json!({ "special": 1, "excluded": 2, "caches": 1 });
    assert_eq!(json["left_out"], expected, "{json:#}");
}

#[test]
fn a_much_smaller_snapshot_stops_the_pruning_until_a_person_accepts_it() {
    let server = world::server();
    let world = to_bucket(&server, "retain: 1");
    world.write("workspace/large.txt", "word ".repeat(10_000));
    now(&world);
    later(&server);
    world.remove("workspace/large.txt");
    let ran = world.ows(&["backup", "now"]);
    assert_snapshot!(shown(&ran.shown()), @r"
    exit code: 3
    --- stdout
    [SNAPSHOT]: 5 files, [SIZE], stored as [SIZE] ([CALLS] calls, [SECONDS] s)
    --- stderr
    error: the snapshot `[SNAPSHOT]` holds 5 files with 35 bytes, an earlier one held 6 files or 50035 bytes: less than 70 per cent (`minSize`). It is kept, and nothing is pruned
    hint: see whether something is missing; when it is as it should be, type `ows backup prune --accept-shrink`
    ");
    let ran = world.ows(&["backup", "prune"]);
    assert_snapshot!(shown(&ran.shown()), @r"
    exit code: 4
    --- stderr
    error: the snapshot `[SNAPSHOT]` holds 5 files with 35 bytes, an earlier one held 6 files or 50035 bytes: less than 70 per cent (`minSize`). It is kept, and nothing is pruned
    hint: see whether something is missing; when it is as it should be, type `ows backup prune --accept-shrink`
    ");
    fits("backup-prune", &world.json(&["backup", "prune"]));
    let accepted = world.json(&["backup", "prune", "--accept-shrink"]);
    assert_eq!(accepted["exit_code"], 0, "{accepted:#}");
    assert_eq!(accepted["removed"].as_array().unwrap().len(), 1);
}

#[test]
fn snapshots_of_the_old_plugin_are_listed_and_stay() {
    let world = to_folder("retain: 1");
    world.write("vault/backup-20260131T235959Z.tar.gz.enc", "Salted__");
    world.write("vault/backup-20250131T235959Z.tar.gz", "x");
    world.write("vault/notes.txt", "somebody's own");
    now(&world);
    let ran = world.ok(&["backup", "list"]);
    // How wide the columns are depends on how long the sizes are.
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: Vec<_> = shown(&ran.shown()).lines().map(words).collect();
    assert_snapshot!(shown.join("\n"), @r"
    exit code: 0
    --- stdout
    [SNAPSHOT] [TIME] [SIZE] 5 files plain not proven
    backup-20260131T235959Z.tar.gz.enc [TIME] [SIZE] - encrypted legacy, carries no proof
    backup-20250131T235959Z.tar.gz [TIME] [SIZE] - plain legacy, carries no proof
    3 snapshots, [SIZE]
    ");
    world.ok(&["backup", "prune"]);
    assert!(world.path("vault/backup-20250131T235959Z.tar.gz").exists());
    let json = world.json(&["backup", "prune", "--legacy"]);
    assert_eq!(
        json["removed"],
        serde_json::json!(["backup-20250131T235959Z.tar.gz"])
    );
    assert!(world.path("vault/notes.txt").exists());
}

#[test]
fn a_damaged_manifest_is_told_and_the_others_count() {
    let world = to_folder("");
    let (bad, good) = (now(&world), now(&world));
    world.write(&format!("vault/{bad}.manifest.json"), "{");
    let ran = world.ows(&["backup", "list"]);
    assert_eq!(ran.code, Some(3), "{}", ran.shown());
    assert!(
        ran.stdout.contains(&good) && ran.stderr.contains(&bad),
        "{}",
        ran.shown()
    );
    let json = world.json(&["backup", "list"]);
    fits("backup-list", &json);
    assert_eq!(json["damaged"][0]["name"], bad.as_str());
}

#[test]
fn the_age_of_the_last_backup_can_be_watched() {
    let world = to_folder("interval: 3600");
    let none = world.ows(&["backup", "status", "--max-age", "26h"]);
    assert_eq!(none.code, Some(1), "{}", none.shown());
    fits("backup-status", &world.json(&["backup", "status"]));
    let name = now(&world);
    world.ok(&["backup", "status", "--max-age", "26h"]);
    let json = world.json(&["backup", "status"]);
    fits("backup-status", &json);
    assert_eq!(json["newest"]["name"], name.as_str());
    assert_eq!(json["last_success"]["snapshot"], name.as_str());
    assert!(json["next_run"].is_string());
    // A thousand years ago by its name, which is all that counts.
    let past = |text: &str| text.replacen("ows-2", "ows-1", 1);
    for object in world.everything("vault") {
        if object.starts_with(&name) {
            let content = world.tree().read(&format!("vault/{object}")).unwrap();
            let content = String::from_utf8_lossy(&content).replace(&name, &past(&name));
            world.write(&format!("vault/{}", past(&object)), content);
            world.remove(&format!("vault/{object}"));
        }
    }
    let old = world.ows(&["backup", "status", "--max-age", "26h"]);
    assert!(
        old.stderr.contains("days old, 26 hours are allowed"),
        "{}",
        old.stderr
    );
    assert!(
        old.stderr.contains("type `ows backup now`"),
        "{}",
        old.stderr
    );
    assert_eq!(old.code, Some(1));
    for wrong in ["26", "soon", "0h"] {
        assert_eq!(
            world.ows(&["backup", "status", "--max-age", wrong]).code,
            Some(2)
        );
    }
}

#[test]
fn a_failed_backup_leaves_nothing_that_is_listed_and_says_what_to_do() {
    let server = server();
    let world = to_bucket(&server, "");
    server.access().fault(
        When::op(Op::Put).key_prefix("snapshots/ows-").always(),
        Then::error(403, "AccessDenied"),
    );
    let ran = world.ows(&["backup", "now"]);
    assert_snapshot!(shown(&ran.shown()), @r"
    exit code: 1
    --- stderr
    error: could not store an object of the snapshot
    cause: put failed for `[SNAPSHOT].tar.gz`: a scripted fault (AccessDenied) (request [ID])
    hint: the credentials are accepted but may not do this; grant the permission and run again
    ");
    let json = world.json(&["backup", "now"]);
    fits("backup-now", &json);
    assert!(json["snapshot"].is_null());
    server.access().clear_faults();
    assert_eq!(server.access().keys(BUCKET), ["snapshots/RECOVER.txt"]);
    let status = world.json(&["backup", "status"]);
    assert!(status["last_failure"]["message"].is_string(), "{status:#}");
    now(&world);
    fits("backup-list", &world.json(&["backup", "list"]));
    assert_eq!(
        world.json(&["backup", "list"])["snapshots"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_plain_snapshot_says_that_it_holds_secrets() {
    let owner = World::bare();
    let recipient = keygen(&owner);
    let sealed = format!("encrypt: true, recipients: ['{recipient}']");
    for (keys, is_told) in [("", true), (sealed.as_str(), false)] {
        let world = to_folder(&format!("include: ['workspace', 'credentials'], {keys}"));
        world.write("workspace/app/.env", "x");
        world.write("workspace/app/.env.example", "x");
        world.write("state/credentials/oauth.json", "x");
        let ran = world.ok(&["backup", "now"]);
        let told = "not encrypted and holds 2 files that look like a secret: `credentials/oauth.json`, \
                    `workspace/app/.env`";
        assert_eq!(ran.stderr.contains(told), is_told, "{}", ran.stderr);
    }
}
