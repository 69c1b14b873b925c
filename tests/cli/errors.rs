//! Each class of error as a person reads it: what failed, where, why, what to do, what did not happen.

use insta::assert_snapshot;
use ows_testkit::process::free_port;
use ows_testkit::s3::{Server, Then, When};

use crate::support::{BUCKET, World, s3_config, server};

fn configured(text: &str) -> World {
    let world = World::bare();
    world.config(text);
    world
}

fn sync_of(text: &str) -> String {
    configured(text).ows(&["sync"]).shown()
}

#[test]
fn no_configuration() {
    assert_snapshot!(World::bare().ows(&["sync"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: there is no configuration; looked for `[ROOT]/state/ows/config.json5`, `[ROOT]/state/openclaw.json`
    hint: give `--config FILE`, or write `[ROOT]/state/ows/config.json5`, for example:
      { sync: { provider: "custom", mode: "mailbox", remotePath: "agent",
      custom: { type: "local", options: { path: "/mnt/usb" } } } }
    "#);
}

#[test]
fn a_named_configuration_that_is_missing() {
    assert_snapshot!(World::bare().ows(&["status", "--config", "nowhere.json5"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: could not read the configuration `[ROOT]/home/nowhere.json5`
    cause: No such file or directory (os error 2)
    hint: nothing was done
    "#);
}

#[test]
fn the_configuration_is_a_folder() {
    let world = World::bare();
    let folder = world.path("state");
    assert_snapshot!(world.ows(&["sync", "--config", folder.to_str().unwrap()]).shown(), @r#"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state` is a folder, not a file
    hint: nothing was done
    "#);
}

#[test]
fn a_syntax_error() {
    assert_snapshot!(sync_of("{ sync: { provider: 's3'\n mode: 'mailbox' } }"), @r#"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state/ows/config.json5` is no valid JSON5: expected comma, at line 2, column 2
    hint: nothing was done; correct the file and run again
    "#);
}

#[test]
fn an_unknown_key_with_a_suggestion() {
    let text = "{ sync: { provider: 'custom', custom: { type: 'local', options: { path: '/x' } }, mode: 'mailbox', maxDeletes: 3 } }";
    assert_snapshot!(sync_of(text), @r#"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state/ows/config.json5` has one error
    cause: `sync.maxDeletes`: is no known key; did you mean `maxDelete`?
    hint: nothing was done; correct the file and run again
    "#);
}

#[test]
fn all_mistakes_together() {
    let text = "{ sync: { provider: 's4', mode: 'mail', timeout: 'long', localPath: '../x' }, backup: { retain: -1 } }";
    assert_snapshot!(sync_of(text), @r#"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state/ows/config.json5` has 5 errors
    cause: `sync.provider`: found "s4"; allowed: `s3`, `dropbox`, `gdrive`, `onedrive`, `custom` or `off`
      `sync.mode`: found "mail"; did you mean `mailbox`? allowed: `mailbox`, `mirror` or `bisync`
      `sync.localPath`: found "../x": it leaves the workspace; allowed: a folder within the workspace, such as `shared`, or `""` for the workspace itself
      `sync.timeout`: found a text; allowed: a whole number of seconds, at least 0
      `backup.retain`: found -1; allowed: a whole number of snapshots from 0 to 1000000
    hint: nothing was done; correct the file and run again
    "#);
}

#[test]
fn all_mistakes_are_single_errors_in_json() {
    let text = "{ sync: { provider: 's4', mode: 'mail' } }";
    let json = configured(text).json(&["sync"]);
    let errors = json["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0]["path"]
            .as_str()
            .unwrap()
            .ends_with("config.json5")
    );
}

#[test]
fn no_mode() {
    let text =
        "{ sync: { provider: 'custom', custom: { type: 'local', options: { path: '/x' } } } }";
    assert_snapshot!(sync_of(text), @r#"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state/ows/config.json5` has one error
    cause: `sync.mode`: is missing, and is chosen for nobody; allowed: `mailbox` (the workspace is the truth and the remote is made equal to it; people send files to the agent through the remote folder `_outbox`) or `mirror` (the remote is the truth and the local folder is made equal to it) or `bisync` (both sides may change; changes go both ways, conflicts keep both versions)
    hint: nothing was done; correct the file and run again
    "#);
}

#[test]
fn provider_off() {
    assert_snapshot!(sync_of("{ sync: { provider: 'off', mode: 'mailbox' } }"), @r#"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state/ows/config.json5` has one error
    cause: `sync.provider`: is "off", so there is nothing to sync with; allowed: `s3`, or `custom` with `type: "local"`
    hint: nothing was done; correct the file and run again
    "#);
}

#[test]
fn nothing_but_a_backup() {
    assert_snapshot!(sync_of("{ backup: { enabled: false } }"), @r#"
    exit code: 2
    --- stderr
    error: nothing is configured to be synced
    path: [ROOT]/state/ows/config.json5
    hint: add a `sync` section with `provider` and `mode`; the README shows one
    "#);
}

#[test]
fn an_unset_variable() {
    let text =
        "{ sync: { provider: 's3', mode: 'mailbox', s3: { bucket: '${NO_SUCH_VARIABLE}' } } }";
    assert_snapshot!(sync_of(text), @r#"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state/ows/config.json5` has one error
    cause: `sync.s3.bucket`: the variable `NO_SUCH_VARIABLE` is not set; allowed: a variable of the environment, of `.env` in the state directory, or of the `env` block of openclaw.json (write `$${` for a literal `${`)
    hint: nothing was done; correct the file and run again
    "#);
}

#[test]
fn plain_http_to_a_distant_host() {
    let text = "{ sync: { provider: 's3', mode: 'mailbox', s3: { bucket: 'files', endpoint: 'http://s3.example.com' } } }";
    assert_snapshot!(sync_of(text), @r#"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state/ows/config.json5` has one error
    cause: `sync.s3.endpoint`: is a plain `http://` address; allowed: `https://`, `http://` for loopback addresses such as `127.0.0.1`, or any when `allowHttp` is true
    hint: nothing was done; correct the file and run again
    "#);
}

#[test]
fn wrong_keys() {
    let server = server();
    let world = World::with_s3(&server, "");
    let wrong = Then::error(403, "InvalidAccessKeyId");
    server.access().fault(When::any().always(), wrong);
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 5
    --- stderr
    error: could not list the remote
    cause: list failed: a scripted fault (InvalidAccessKeyId) (request [ID])
    hint: check the credentials in the configuration or the environment; nothing was changed: an incomplete listing is never acted on
    "#);
}

#[test]
fn a_wrong_secret() {
    let server = server();
    let config = s3_config(&server, "").replace(server.secret_key(), "wrong-secret");
    let world = configured(&config);
    world.write("workspace/a", "a");
    assert_snapshot!(world.ows(&["list"]).shown(), @r#"
    exit code: 5
    --- stderr
    error: could not list the remote
    cause: list failed: SignatureDoesNotMatch
    hint: check the credentials in the configuration or the environment
    "#);
}

#[test]
fn no_keys_at_all() {
    let server = server();
    let text = format!(
        "{{ sync: {{ provider: 's3', mode: 'mailbox', s3: {{ bucket: 'files', region: 'us-east-1', endpoint: '{}' }} }} }}",
        server.endpoint()
    );
    assert_snapshot!(sync_of(&text), @r#"
    exit code: 5
    --- stderr
    error: could not open the remote
    cause: describe failed: no keys are configured, none are in the environment (AWS_ACCESS_KEY_ID) or in profile `default` of `[ROOT]/home/.aws/credentials` and `[ROOT]/home/.aws/config`
    hint: check the credentials in the configuration or the environment
    "#);
}

#[test]
fn no_permission() {
    let server = server();
    let world = World::with_s3(&server, "");
    let denied = When::any().always();
    server
        .access()
        .fault(denied, Then::error(403, "AccessDenied"));
    assert_snapshot!(world.ows(&["list"]).shown(), @r#"
    exit code: 1
    --- stderr
    error: could not list the remote
    cause: list failed: a scripted fault (AccessDenied) (request [ID])
    hint: the credentials are accepted but may not do this; grant the permission and run again
    "#);
}

#[test]
fn no_such_bucket() {
    let server = Server::with_bucket("another");
    let world = World::with_s3(&server, "");
    world.write("workspace/a", "a");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 1
    --- stderr
    error: could not find out what the remote enforces
    cause: probe failed for `.ows/probe/[ID]-a`: there is no bucket `files`
    hint: check what the configuration says about the remote
    "#);
}

#[test]
fn an_endpoint_that_is_no_s3() {
    let server = server();
    let world = World::with_s3(&server, "");
    server
        .access()
        .fault(When::any().always(), Then::Html { status: 200 });
    assert_snapshot!(world.ows(&["list"]).shown(), @r#"
    exit code: 1
    --- stderr
    error: could not list the remote
    cause: list failed: the answer is not what S3 sends: it has a document type
    hint: check what the configuration says about the remote
    "#);
}

#[test]
fn an_unreachable_endpoint() {
    let text = format!(
        "{{ sync: {{ provider: 's3', mode: 'mailbox', s3: {{ bucket: 'files', region: 'us-east-1', \
         endpoint: 'http://127.0.0.1:{}', accessKeyId: 'a', secretAccessKey: 'b' }} }} }}",
        free_port().unwrap()
    );
    let world = configured(&text);
    world.write("workspace/a", "a");
    assert_snapshot!(world.ows(&["list"]).shown(), @r#"
    exit code: 1
    --- stderr
    error: could not list the remote
    cause: list failed: the store could not be reached: Connection refused (os error 111)
    hint: check the network and the address of the remote, then run again
    "#);
}

#[test]
fn a_missing_workspace_with_an_empty_remote_is_made() {
    let world = World::with_folder("");
    world.remove("workspace");
    world.write("cloud/.ows/x", "");
    world.ok(&["sync"]);
    assert!(world.path("workspace/_inbox").is_dir());
}

#[test]
fn a_workspace_that_is_a_file() {
    let world = World::with_folder("");
    world.remove("workspace");
    world.write("workspace", "file");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 1
    --- stderr
    error: could not open the local folder
    cause: could not open `[ROOT]/workspace`: something else is there
    cause: Not a directory (os error 20)
    hint: nothing was changed; check the workspace and `localPath`
    "#);
}

#[test]
fn a_damaged_database() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.ok(&["sync"]);
    let mut database = std::fs::read(world.path("state/ows/state.db")).unwrap();
    database[4096..].fill(0x5a);
    world.write("state/ows/state.db", &database);
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 1
    --- stderr
    error: the state of the sync could not be read or written
    cause: the state database `[ROOT]/state/ows/state.db` is damaged: error returned from database: (code: 11) database disk image is malformed
    hint: run `ows sync --rebuild-state`: it keeps the damaged file aside and starts as without one; nothing was synced or deleted
    "#);
    assert_snapshot!(world.ows(&["status"]).shown(), @r#"
    exit code: 1
    --- stdout
    provider:    local
    mode:        mailbox
    remote:      [ROOT]/cloud
    local:       [ROOT]/workspace
    connection:  ok
    state:       the state database `[ROOT]/state/ows/state.db` is damaged: error returned from database: (code: 11) database disk image is malformed
    trash:       local empty, remote empty
    --- stderr
    error: the state of the sync could not be read or written
    cause: the state database `[ROOT]/state/ows/state.db` is damaged: error returned from database: (code: 11) database disk image is malformed
    hint: run `ows sync --rebuild-state`: it keeps the damaged file aside and starts as without one; nothing was synced or deleted
    "#);
    assert_snapshot!(world.ows(&["sync", "--rebuild-state"]).shown(), @r"
    exit code: 0
    --- stdout
    nothing to do, 1 unchanged (3 calls, [SECONDS] s)
    --- stderr
    warning: the database was set aside as `[ROOT]/state/ows/state.db.damaged-[TIME]`
    warning: the database knew nothing of this folder; it goes on from its checkpoint in the remote (1 path, generation 1)
    ");
}

#[tokio::test]
async fn a_newer_database() {
    use sqlx::{Connection as _, SqliteConnection};
    let world = World::with_folder("");
    world.ok(&["sync"]);
    let url = format!("sqlite://{}", world.path("state/ows/state.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (999, 'of the future', TRUE, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    assert_snapshot!(world.ows(&["sync"]).shown(), @r"
    exit code: 1
    --- stderr
    error: the state of the sync could not be read or written
    cause: the state database `[ROOT]/state/ows/state.db` was written by a newer ows (its schema is 999, this one knows up to 6)
    hint: upgrade ows on this host, or point `--state-dir` at another folder; nothing was changed
    ");
}

#[test]
fn a_state_that_is_no_database() {
    let world = World::with_folder("");
    world.write("state/ows/state.db", "not a database");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 1
    --- stderr
    error: the state of the sync could not be read or written
    cause: the file `[ROOT]/state/ows/state.db` is not a state database of ows: it has another format
    hint: move the file away, or run `ows sync --rebuild-state`, which keeps it aside and starts as without one; nothing was changed
    "#);
}

#[test]
fn rebuilding_a_state_that_is_not_there_is_an_ordinary_first_run() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.ok(&["sync", "--rebuild-state"]);
    assert_eq!(world.read("cloud/a").as_deref(), Some("a"));
}

#[test]
fn a_state_directory_that_is_a_file() {
    let world = World::with_folder("");
    let config = world.path("state/ows/config.json5");
    world.write("elsewhere", "a file");
    let state = world.path("elsewhere");
    let arguments = [
        "sync",
        "--config",
        config.to_str().unwrap(),
        "--state-dir",
        state.to_str().unwrap(),
    ];
    assert_snapshot!(world.ows(&arguments).shown(), @r#"
    exit code: 2
    --- stderr
    error: the state of the sync could not be read or written
    cause: `[ROOT]/elsewhere` is no folder, and ows needs a folder of this name
    hint: move it away, or point `--state-dir` at another folder; nothing was changed
    "#);
}

#[test]
fn a_wrong_pattern_in_the_configuration() {
    let world = World::with_folder("exclude: ['ok', 'a[b'],");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: the configuration `[ROOT]/state/ows/config.json5` has one error
    cause: `sync.exclude[1]`: found "a[b", which cannot be used: a `[` has no `]`; allowed: patterns such as `*.log` or `/build/**`
    hint: nothing was done; correct the file and run again
    "#);
}

#[test]
fn a_wrong_pattern_in_the_workspace() {
    let world = World::with_folder("");
    world.write("workspace/.sync-excludes", "# fine\n*.log\n{a,b\n[z\n");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: wrong patterns in `[ROOT]/workspace/.sync-excludes`
    cause: line 3: the pattern `{a,b` cannot be used: a `{` has no `}`
      line 4: the pattern `[z` cannot be used: a `[` has no `]`
    hint: correct the file; nothing was changed, and what lies in `_outbox` waits there
    "#);
}

#[test]
fn resync_is_for_bisync() {
    assert_snapshot!(World::with_folder("").ows(&["sync", "--resync"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: `--resync` unites both sides in bisync mode; this pair is in mailbox mode
    hint: to choose a side: `ows sync --direction pull` or `ows sync --direction push`; nothing was changed
    "#);
}

#[test]
fn an_unknown_guard() {
    assert_snapshot!(World::bare().ows(&["sync", "--force", "everything"]).shown(), @r"
    exit code: 2
    --- stderr
    error: invalid value 'everything' for '--force <GUARD>': no guard has this name; the guards are local-root, remote-root, max-delete, max-change, first-sync, state-rollback, overlap

    For more information, try '--help'.
    ");
}

#[test]
fn an_unknown_direction() {
    assert_snapshot!(World::bare().ows(&["sync", "--direction", "sideways"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: invalid value 'sideways' for '--direction <DIRECTION>'
      [possible values: pull, push]

    For more information, try '--help'.
    "#);
}

#[test]
fn an_unknown_command() {
    assert_snapshot!(World::bare().ows(&["snyc"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: unrecognized subcommand 'snyc'

      tip: a similar subcommand exists: 'sync'

    Usage: ows [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
}

#[test]
fn a_bad_path_to_list() {
    let world = World::with_folder("");
    assert_snapshot!(world.ows(&["list", "notes/../../x"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: the path does not name anything in the remote
    path: notes/../../x
    cause: the name holds a `.` or `..` segment
    hint: give it as `ows list -R` shows it, such as `notes/plan.md`
    "#);
}

#[test]
fn a_path_to_list_that_is_not_there() {
    let world = World::with_folder("");
    world.write("cloud/a", "a");
    assert_snapshot!(world.ows(&["list", "notes"]).shown(), @r#"
    exit code: 1
    --- stderr
    error: there is no such file or folder in the remote
    path: notes
    hint: `ows list -R` shows everything that is there
    "#);
}

#[test]
fn a_remote_folder_that_is_not_there() {
    let world = World::with_folder("");
    assert_snapshot!(world.ows(&["list"]).shown(), @r#"
    exit code: 1
    --- stderr
    error: the remote folder is not there
    hint: the first `ows sync` makes it; if it was there before, see `ows status`
    "#);
}

#[test]
fn nothing_in_the_trash() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.ok(&["sync"]);
    assert_snapshot!(world.ows(&["trash", "list"]).shown(), @r#"
    exit code: 0
    --- stdout
    the trash is empty
    "#);
    assert_snapshot!(world.ows(&["trash", "restore", "a"]).shown(), @r#"
    exit code: 1
    --- stderr
    error: nothing in the trash fits
    hint: `ows trash list` shows what is there
    "#);
    assert_snapshot!(world.ows(&["trash", "restore", "../a"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: `../a` does not name anything in the trash
    cause: the name holds a `.` or `..` segment
    hint: give it as `ows trash list` shows it, such as `notes/plan.md`
    "#);
    assert_snapshot!(world.ows(&["trash", "empty"]).shown(), @r#"
    exit code: 0
    --- stdout
    the trash is empty
    "#);
}

#[test]
fn nothing_is_restored_over_a_file() {
    let world = World::with_folder("");
    world.write("workspace/notes/a", "first");
    world.ok(&["sync"]);
    world.remove("workspace/notes/a");
    world.ok(&["sync"]);
    world.write("workspace/notes/a", "second");
    assert_snapshot!(world.ows(&["trash", "restore", "notes/a"]).shown(), @r"
    exit code: 1
    --- stderr
    error: could not restore `notes/a`: something of this name is in the workspace already
    hint: nothing was overwritten; move `notes/a` away and restore again, or take the copy from `.ows/trash/[RUN]/notes/a` in the remote
    ");
    assert_eq!(world.read("workspace/notes/a").as_deref(), Some("second"));
}

#[test]
fn a_script_empties_the_trash_without_being_asked() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.ok(&["sync"]);
    world.remove("workspace/a");
    world.ok(&["sync"]);
    assert_eq!(
        world.json(&["trash", "empty", "--dry-run"])["items"][0]["path"],
        "a"
    );
    assert_eq!(world.json(&["trash", "list"])["items"][0]["path"], "a");
    world.ok(&["trash", "empty"]);
    assert_eq!(
        world.json(&["trash", "list"])["items"],
        serde_json::json!([])
    );
}

#[test]
fn one_bad_file_does_not_end_a_run() {
    let server = server();
    let world = World::with_s3(&server, "");
    world.write("workspace/bad", "a");
    world.write("workspace/good", "b");
    let bad = When::any().key("bad").always();
    server.access().fault(bad, Then::error(403, "AccessDenied"));
    assert_snapshot!(world.ows(&["sync"]).shown(), @r"
    exit code: 3
    --- stdout
    1 uploaded, 1 failed (1 B, 38 calls, [SECONDS] s)
    --- stderr
    `bad`: put failed: a scripted fault (AccessDenied) (request [ID])
    error: finished, but 1 path could not be synced
    hint: nothing was lost; run again after looking at the messages above
    ");
    assert!(server.access().get(BUCKET, "good").is_some());
}

#[test]
fn something_else_has_the_name_of_the_state() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    let config = world.path("state/ows/config.json5");
    let config = config.to_str().unwrap();
    world.write("elsewhere/a-file", "");
    world.write("elsewhere/locked/ows/locks", "");
    std::fs::create_dir_all(world.path("elsewhere/folder/ows/state.db")).unwrap();
    for (place, in_the_way) in [
        (
            "a-file",
            "[ROOT]/elsewhere/a-file` is no folder, and ows needs a folder",
        ),
        ("locked", "ows/locks` is no folder, and ows needs a folder"),
        ("folder", "ows/state.db` is a folder, and ows needs a file"),
    ] {
        let state = world.path(&format!("elsewhere/{place}"));
        let state = state.to_str().unwrap();
        for command in ["sync", "status", "why"] {
            let mut line = vec![command, "--config", config, "--state-dir", state];
            line.extend((command == "why").then_some("a"));
            let shown = world.ows(&line).shown();
            assert!(shown.contains("exit code: 2"), "{command} {place}: {shown}");
            assert!(shown.contains(in_the_way), "{command} {place}: {shown}");
            assert!(shown.contains("hint: move it away, or point `--state-dir`"));
        }
    }
    assert_eq!(world.read("cloud/a"), None);
}

#[test]
fn an_emptied_database_is_told() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.ok(&["sync"]);
    world.write("state/ows/state.db", "");
    let told = world.ows(&["status"]).shown();
    assert!(told.contains("empty (0 bytes)"), "{told}");
    assert_eq!(world.read("state/ows/state.db").as_deref(), Some(""));
    let shown = world.ows(&["sync"]).shown();
    assert!(shown.contains("exit code: 0"), "{shown}");
    assert!(shown.contains("`state.db` is empty (0 bytes)"), "{shown}");
    assert!(!world.ows(&["sync"]).shown().contains("empty"));
}

#[test]
fn a_drop_that_is_not_complete_yet_is_told_and_waits() {
    let world = World::bare();
    let cloud = world.path("cloud");
    world.config(&format!(
        "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {cloud:?} }} }}, \
         mode: 'mailbox', remotePath: '', settle: 3600 }} }}"
    ));
    world.write("workspace/a", "a");
    world.ok(&["sync"]);
    world.write("cloud/_outbox/growing", "half of it");
    for option in ["-v", "--dry-run"] {
        let shown = world.ows(&["sync", option]).shown();
        assert!(shown.contains("exit code: 0"), "{shown}");
        assert!(
            shown.contains("1 in `_outbox` not complete yet, 1 unchanged"),
            "{shown}"
        );
    }
    assert_eq!(world.json(&["sync"])["settling"], 1);
}
