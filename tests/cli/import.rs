//! `ows import-rclone`: what comes along, what does not and why, and that the same is synced as before.

use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::schemas::fits;
use crate::support::{BUCKET, World, server};

/// No command may show this.
const SECRET: &str = "hunter2-SECRET";

/// An openclaw.json with the plugin's entry.
fn plugin(config: &Value) -> String {
    json!({
        "env": { "vars": { "S3_SECRET": SECRET } },
        "plugins": { "entries": { "openclaw-workspace-sync": { "enabled": false, "config": config } } },
    })
    .to_string()
}

fn with_plugin(config: &Value) -> World {
    let world = World::bare();
    world.write("state/openclaw.json", plugin(config));
    world
}

fn with_conf(text: &str) -> World {
    let world = World::bare();
    world.write("state/.config/rclone/rclone.conf", text);
    world
}

/// The new file, parsed.
fn written(world: &World) -> Value {
    json5::from_str(&world.read("state/ows/config.json5").unwrap()).unwrap()
}

/// The notes, as `kind key`.
fn notes(json: &Value) -> Vec<String> {
    let notes = json["notes"].as_array().unwrap().iter();
    notes
        .map(|note| {
            format!(
                "{} {}",
                note["kind"].as_str().unwrap(),
                note["key"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn a_whole_plugin_setup_comes_along() {
    let world = with_plugin(&json!({
        "sync": {
            "provider": "s3", "mode": "mailbox", "remotePath": "team-files/agent", "localPath": "/", "interval": 300,
            "onSessionStart": true, "exclude": ["**/.DS_Store", ".git/**"], "verbose": true,
            "s3": { "endpoint": "https://s3.example.com", "bucket": "never-used", "region": "eu", "accessKeyId": "AKID",
                    "secretAccessKey": "${S3_SECRET}" },
        },
        "backup": { "enabled": true, "bucket": "snapshots", "prefix": "main/", "encrypt": true,
                    "passphrase": SECRET, "retain": { "weekly": 4 }, "exclude": ["node_modules", "*.iso"] },
    }));
    let ran = world.ows(&["import-rclone", "--dry-run"]);
    assert!(!ran.shown().contains(SECRET));
    assert_snapshot!(ran.shown(), @r#"
    exit code: 0
    --- stdout
    // Written by `ows import-rclone` from the plugin's configuration in [ROOT]/state/openclaw.json.
    {
      sync: {
        provider: "s3",
        mode: "mailbox",
        s3: {
          // the first segment of `remotePath`: that is where the plugin put the files; it made no use of `s3.bucket`
          bucket: "team-files",
          endpoint: "https://s3.example.com",
          region: "eu",
          accessKeyId: "***",
          secretAccessKey: "${S3_SECRET}",
        },
        remotePath: "agent",
        // "/" meant the workspace itself
        localPath: "",
        interval: 300,
        onSessionStart: true,
        // a leading `**/` also matches at the root here, which with rclone it does not
        exclude: ["**/.DS_Store", ".git/**"],
      },
      backup: {
        provider: "s3",
        // as with the plugin; the sync's bucket otherwise
        bucket: "snapshots",
        prefix: "main",
        enabled: true,
        encrypt: true,
        passphrase: "***",
        // a snapshot that counts as a day's counts as its week's and month's too, which the plugin did not do: it kept a few more
        retain: {
          daily: 7,
          weekly: 4,
        },
        // a bare name left out files and folders in the plugin's backups; here a folder's ends with `/`
        exclude: ["node_modules", "node_modules/", "*.iso"],
      },
    }
    changed: `sync.s3.bucket`: the bucket is `team-files`, the first segment of `remotePath`: that is where the plugin put the files; it made no use of `s3.bucket`, which was `never-used`. If the files should go there, change the file before the first sync
    changed: `sync.exclude`: a leading `**/` also matches at the root here, which with rclone it does not
    left out: `sync.verbose`: is no key that `ows` knows
    changed: `backup.encrypt`: new snapshots are encrypted with age and the same passphrase; the plugin's old ones stay what they are
    changed: `backup.retain`: a snapshot that counts as a day's counts as its week's and month's too, which the plugin did not do: it kept a few more
    changed: `backup.exclude`: a bare name left out files and folders in the plugin's backups; here a folder's ends with `/`
    would be written to `[ROOT]/state/ows/config.json5` (dry run: nothing was changed)
    "#);
    assert!(
        !world.path("state/ows").exists(),
        "a dry run writes nothing"
    );

    let json = world.json(&["import-rclone"]);
    fits("import-rclone", &json);
    assert_eq!(json["exit_code"], 0, "{json:#}");
    assert!(!json.to_string().contains(SECRET));
    assert_eq!(json["written"], true);
    let config = written(&world);
    assert_eq!(
        config["sync"]["s3"]["secretAccessKey"], "${S3_SECRET}",
        "variables stay"
    );
    assert_eq!(
        config["backup"]["passphrase"], SECRET,
        "the file itself is whole"
    );
    assert_eq!(config["backup"]["enabled"], true);
    let mode = world
        .path("state/ows/config.json5")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let mode = world
        .path("state/ows")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert_eq!(
        world.everything("state/ows"),
        ["config.json5"],
        "no temporary file is left"
    );
}

#[test]
fn what_is_imported_syncs_with_the_same_place_under_the_same_patterns() {
    let server = server();
    let world = with_plugin(&json!({
        "provider": "s3", "mode": "mailbox", "remotePath": format!("{BUCKET}/agent"), "exclude": ["*.log", "build/"],
        "s3": { "endpoint": server.endpoint(), "bucket": "other", "region": "us-east-1",
                "accessKeyId": server.access_key(), "secretAccessKey": server.secret_key() },
    }));
    world.ok(&["import-rclone"]);
    for name in ["a.md", "a.log", "build/x", "sub/b.md"] {
        world.write(&format!("workspace/{name}"), name);
    }
    world.ok(&["sync"]);
    let mut keys = server.access().keys(BUCKET);
    keys.retain(|key| !key.contains("/.ows/"));
    assert_eq!(
        keys,
        ["agent/_outbox/.keep", "agent/a.md", "agent/sub/b.md"]
    );
}

#[test]
fn a_mirror_setup_goes_on_pulling_from_the_same_folder() {
    let world = World::bare();
    let cloud = world.path("cloud");
    world.write(
        "state/openclaw.json",
        plugin(&json!({
            "provider": "custom", "mode": "mirror", "remotePath": "agent", "localPath": "shared", "ingest": true,
            "custom": { "rcloneType": "alias", "rcloneOptions": { "remote": cloud } },
        })),
    );
    world.write("cloud/agent/a.md", "a");
    world.write("workspace/inbox/up.md", "up");
    world.ok(&["import-rclone"]);
    assert_eq!(world.json(&["sync"])["mode"], "mirror");
    assert_eq!(world.read("workspace/shared/a.md").as_deref(), Some("a"));
    assert_eq!(world.read("cloud/agent/inbox/up.md").as_deref(), Some("up"));
}

#[test]
fn the_section_that_the_plugin_made_of_its_configuration_wins() {
    let world = with_plugin(&json!({
        "provider": "s3", "mode": "mailbox", "remotePath": "files",
        "s3": { "endpoint": "https://old.example.com", "accessKeyId": "AKID", "secretAccessKey": "${S3_SECRET}" },
    }));
    world.write(
        "state/.config/rclone/rclone.conf",
        format!(
            "[cloud]\ntype = s3\nendpoint = new.example.com\naccess_key_id = AKID\nsecret_access_key = {SECRET}\n\
             storage_class = ${{IA}}\n"
        ),
    );
    let json = world.json(&["import-rclone"]);
    assert_eq!(json["exit_code"], 0, "{json:#}");
    assert_eq!(
        notes(&json),
        ["changed sync.s3.endpoint", "changed sync.s3.storage_class"]
    );
    let s3 = &written(&world)["sync"]["s3"];
    assert_eq!(s3["endpoint"], "https://new.example.com");
    assert_eq!(
        s3["secretAccessKey"], "${S3_SECRET}",
        "the same behind the variable"
    );
    assert_eq!(s3["storageClass"], "$${IA}", "rclone knows no variables");
}

#[test]
fn a_section_of_an_rclone_conf_becomes_a_configuration() {
    let world = with_conf(&format!(
        "[minio]\ntype = s3\nprovider = Minio\nendpoint = http://127.0.0.1:9000\naccess_key_id = AKID\n\
         secret_access_key = {SECRET}\nacl = public-read\nchunk_size = 16M\nno_check_bucket = true\n\n\
         [short]\ntype = alias\nremote = minio:files/agent\n\n[usb]\ntype = alias\nremote = /mnt/usb\n"
    ));
    assert_snapshot!(world.ows(&["import-rclone"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: `[ROOT]/state/.config/rclone/rclone.conf` has several sections: `minio`, `short`, `usb`
    hint: choose one: `--section NAME`; nothing was written
    "#);
    assert_snapshot!(world.ows(&["import-rclone", "--section", "minio"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: `[minio]` is an S3 store, and nothing says which bucket to sync with
    hint: give it as with rclone: `--remote-path BUCKET` or `--remote-path BUCKET/FOLDER`; nothing was written
    "#);
    assert_snapshot!(
        world.ows(&["import-rclone", "--section", "minio", "--remote-path", "files/agent"]).shown(),
        @r#"
    exit code: 0
    --- stdout
    left out: `[minio].acl`: `ows` leaves access to the bucket's own rules; set them there
    left out: `[minio].chunk_size`: `ows` chooses sizes of parts by itself
    to decide: `sync.mode`: nothing runs without it. `mailbox`: the workspace is the truth; `mirror`: the remote is; `bisync`: both may change. Set it in the file, or import with `--mode MODE`
    written to `[ROOT]/state/ows/config.json5`; set `mode` in it, then `ows sync --dry-run`
    "#
    );
    assert_eq!(written(&world)["sync"]["s3"]["secretAccessKey"], SECRET);
    let ran = world.ows(&["sync"]);
    assert!(
        ran.stderr.contains("`sync.mode`: is missing"),
        "{}",
        ran.shown()
    );

    world.ok(&[
        "import-rclone",
        "--section",
        "short",
        "--mode",
        "mailbox",
        "--replace",
    ]);
    let sync = written(&world)["sync"].clone();
    assert_eq!(
        (&sync["s3"]["bucket"], &sync["remotePath"]),
        (&json!("files"), &json!("agent"))
    );
    assert_eq!(sync["mode"], "mailbox");
    world.ok(&[
        "import-rclone",
        "--section",
        "usb",
        "--mode",
        "mailbox",
        "--replace",
        "--remote-path",
        "",
    ]);
    let sync = written(&world)["sync"].clone();
    assert_eq!(
        sync["custom"],
        json!({ "type": "local", "options": { "path": "/mnt/usb" } })
    );
}

#[test]
fn providers_that_come_later_are_written_and_said_to_come_later() {
    let token = r#"{"access_token":"hunter2-SECRET","token_type":"bearer","refresh_token":"hunter2-SECRET"}"#;
    let world = with_conf(&format!("[box]\ntype = dropbox\ntoken = {token}\n"));
    let ran = world.ows(&["import-rclone", "--mode", "mailbox"]);
    assert!(!ran.shown().contains(SECRET), "{}", ran.shown());
    assert_snapshot!(ran.shown(), @r#"
    exit code: 0
    --- stdout
    changed: `[box].token`: made for rclone's own app: it ends within hours and cannot be refreshed without rclone's client id; make one of your own: `ows authorize --provider dropbox` in a later version
    not in this version: `sync.provider`: "dropbox" is written, but this version does not sync with it yet
    written to `[ROOT]/state/ows/config.json5`; this version does not sync with it yet
    "#);
    assert_eq!(written(&world)["sync"]["dropbox"]["token"], token);
    assert_eq!(world.ows(&["sync"]).code, Some(2));

    for (kind, more, block, name) in [
        (
            "drive",
            "scope = drive.file\nroot_folder_id = R\nclient_id = I",
            "gdrive",
            "rootFolderId",
        ),
        (
            "onedrive",
            "drive_id = D\ndrive_type = documentLibrary\nregion = cn",
            "onedrive",
            "driveId",
        ),
    ] {
        let world = with_conf(&format!("[x]\ntype = {kind}\ntoken = {token}\n{more}\n"));
        let json = world.json(&["import-rclone"]);
        assert_eq!(json["exit_code"], 0, "{json:#}");
        assert!(written(&world)["sync"][block][name].is_string());
        assert!(
            notes(&json).contains(&"later sync.provider".to_owned()),
            "{json:#}"
        );
    }
}

#[test]
fn secrets_in_objects_are_hidden_too_and_relative_paths_stay_where_they_were() {
    let key = json!({ "type": "service_account", "client_email": "a@b", "private_key": SECRET });
    for (account, shown) in [
        (key, "***"),
        (json!("keys/account.json"), "keys/account.json"),
    ] {
        let world = with_plugin(&json!({
            "provider": "gdrive", "mode": "mailbox", "gdrive": { "serviceAccount": account },
            "notify": { "url": format!("https://example.com/{SECRET}"), "token": SECRET },
            "heartbeatUrl": format!("https://example.com/{SECRET}"),
        }));
        for arguments in [
            &["import-rclone", "--dry-run"][..],
            &["import-rclone", "--json"],
        ] {
            let ran = world.ows(arguments);
            assert_eq!(ran.code, Some(0), "{}", ran.shown());
            assert!(!ran.shown().contains(SECRET), "{}", ran.shown());
            assert!(ran.shown().contains(shown), "{}", ran.shown());
        }
        let account = &written(&world)["sync"]["gdrive"]["serviceAccount"];
        let account = account.as_str().unwrap();
        let path = world.path("state/keys/account.json");
        assert!(
            account.contains(SECRET) || account == path.to_str().unwrap(),
            "{account}"
        );
    }
}

#[test]
fn what_does_not_carry_over_is_refused_with_the_reason() {
    let mut told = String::new();
    for section in [
        "type = crypt\nremote = s3:files\npassword = hunter2-SECRET",
        "type = chunker\nremote = s3:files",
        "type = sftp\nhost = h\npass = hunter2-SECRET",
        "type = b2\naccount = a\nkey = hunter2-SECRET",
        "type = s3\nprovider = Wasabi\naccess_key_id = a\nsecret_access_key = hunter2-SECRET",
        "type = s3\nprovider = AWS\nenv_auth = false",
        "nothing = here",
    ] {
        let world = with_conf(&format!("[x]\n{section}\n"));
        let ran = world.ows(&["import-rclone", "--remote-path", "files"]);
        assert_eq!(ran.code, Some(2));
        assert!(!ran.shown().contains(SECRET), "{}", ran.shown());
        assert!(!world.path("state/ows").exists());
        told.push_str(&ran.stderr);
    }
    assert_snapshot!(told, @r#"
    error: `[x]` is of rclone's type "crypt", which does not carry over: what it stored is encrypted by rclone, names included, and `ows` would take it for strange files; the password in it, which rclone obscures, was not read
    hint: nothing was written; copy the files out with rclone into a new folder, and let `ows` sync to that; encrypted snapshots are what `backup` is for
    error: `[x]` is of rclone's type "chunker", which does not carry over: it changes what lies in the remote behind it, or what of it is seen
    hint: nothing was written; if the files in `[s3]` behind it are plain, import that: `--section 's3'`
    error: `[x]` is of rclone's type "sftp", which does not carry over: `ows` has no such provider; the password in it, which rclone obscures, was not read
    hint: nothing was written; mount it (`rclone mount`, `sshfs`) and sync to the folder with `custom: { type: "local" }`, or use one of rclone's types `s3`, `dropbox`, `drive`, `onedrive`, `local` and `alias`
    error: `[x]` is of rclone's type "b2", which does not carry over: Backblaze B2 is served through its S3 interface
    hint: nothing was written; make an application key, and use `provider: "s3"` with `endpoint: "https://s3.<region>.backblazeb2.com"`
    error: `[x]` names the store "Wasabi" and no `endpoint`, which only AWS can do without
    hint: add `endpoint` to the section, as the store's documentation gives it; nothing was written
    error: `[x]` has no keys and `env_auth = false`, which is anonymous access and is not served
    hint: add keys, or `env_auth = true` for the usual AWS credentials; nothing was written
    error: `[x]` is of rclone's type "", which does not carry over: it has no type
    hint: nothing was written; add `type = ...` to the section
    "#);
    for kind in ["compress", "union", "combine", "hasher", "cache"] {
        let world = with_conf(&format!("[x]\ntype = {kind}\nremote = s3:files\n"));
        let ran = world.ows(&["import-rclone", "--remote-path", "files"]);
        assert_eq!(ran.code, Some(2), "{kind}");
        assert!(
            ran.stderr.contains("does not carry over"),
            "{}",
            ran.shown()
        );
        assert!(!world.path("state/ows").exists());
    }
    for (text, why) in [
        (
            "# Encrypted\nRCLONE_ENCRYPT_V0:\nabc",
            "protected by a password",
        ),
        ("", "no sections"),
    ] {
        let ran = with_conf(text).ows(&["import-rclone"]);
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains(why), "{}", ran.shown());
    }
    assert_snapshot!(World::bare().ows(&["import-rclone"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: there is nothing to import: `[ROOT]/state/openclaw.json` does not configure the plugin `openclaw-workspace-sync`, and there is no `[ROOT]/state/.config/rclone/rclone.conf`
    hint: name the file: `ows import-rclone ~/.config/rclone/rclone.conf`
    "#);
}

#[test]
fn a_mistake_in_the_source_is_told_before_anything_is_written() {
    let world = with_plugin(&json!({
        "provider": "s3", "mode": "mailboxx", "remotePath": "files", "interval": -1,
        "s3": { "accessKeyId": "${NOT_SET}", "secretAccessKey": "x" },
    }));
    assert_snapshot!(world.ows(&["import-rclone"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: what `[ROOT]/state/openclaw.json` says cannot be taken over as it is
    cause: `sync.s3.accessKeyId`: the variable `NOT_SET` is not set; allowed: a variable of the environment, of `.env` in the state directory, or of the `env` block of openclaw.json (write `$${` for a literal `${`)
      `sync.mode`: found "mailboxx"; did you mean `mailbox`? allowed: `mailbox`, `mirror` or `bisync`
      `sync.interval`: found -1; allowed: a whole number of seconds, at least 0
    hint: nothing was written; correct it there (a variable may also be set in `.env` in the state directory) and run again
    "#);
    assert!(!world.path("state/ows").exists());
    fits("import-rclone", &world.json(&["import-rclone"]));
}

#[test]
fn a_configuration_that_is_there_is_never_overwritten() {
    let world = with_conf("[usb]\ntype = alias\nremote = /mnt/usb\n");
    world.config("{ sync: {} } // mine");
    assert_snapshot!(world.ows(&["import-rclone"]).shown(), @r#"
    exit code: 2
    --- stderr
    error: `[ROOT]/state/ows/config.json5` is there already
    hint: nothing was changed; to see what would be written: `--dry-run`; to move the old file aside and write the new one: `--replace`
    "#);
    assert_eq!(
        world.read("state/ows/config.json5").as_deref(),
        Some("{ sync: {} } // mine")
    );
    world.ok(&["import-rclone", "--dry-run"]);
    let json = world.json(&["import-rclone", "--replace"]);
    let kept = json["moved_aside"].as_str().unwrap();
    assert_eq!(
        std::fs::read_to_string(kept).unwrap(),
        "{ sync: {} } // mine"
    );
    assert_eq!(written(&world)["sync"]["provider"], "custom");
    assert_eq!(world.everything("state/ows").len(), 2);
}

#[test]
fn backups_keep_their_place_and_their_number() {
    let s3 = json!({ "endpoint": "https://s3.example.com", "accessKeyId": "A", "secretAccessKey": SECRET });
    let config = |backup: Value| json!({ "sync": { "provider": "s3", "mode": "mailbox", "remotePath": "files/agent", "s3": s3 }, "backup": backup });
    for (backup, expected) in [
        // The bucket was the whole folder: `remotePath` beside it meant nothing.
        (
            json!({ "bucket": "snaps/deep", "remotePath": "ignored", "prefix": "/p/", "retain": 14, "exclude": [".git/"] }),
            json!({ "provider": "s3", "bucket": "snaps", "prefix": "deep/p", "retain": 14, "exclude": [".git/"] }),
        ),
        (
            json!({ "remotePath": "snaps", "retain": 0, "exclude": ["venv"] }),
            json!({ "provider": "s3", "bucket": "snaps", "retain": 1, "exclude": ["venv", "venv/"] }),
        ),
        (
            json!({ "bucket": "snaps", "retain": { "monthly": 6 } }),
            json!({ "provider": "s3", "bucket": "snaps", "retain": { "monthly": 6, "daily": 7 },
                    "exclude": [".git", ".git/", "node_modules", "node_modules/", "__pycache__", "__pycache__/", ".venv",
                                ".venv/", "venv", "venv/"] }),
        ),
        // Its own block has no endpoint, which was AWS; ours would take the sync's.
        (
            json!({ "s3": { "bucket": "snaps", "region": "eu-west-1", "accessKeyId": "B", "secretAccessKey": "C" },
                    "exclude": [] }),
            json!({ "provider": "s3", "bucket": "snaps", "exclude": [],
                    "s3": { "endpoint": "https://s3.eu-west-1.amazonaws.com", "region": "eu-west-1", "accessKeyId": "B",
                            "secretAccessKey": "C" } }),
        ),
    ] {
        let world = with_plugin(&config(backup.clone()));
        let json = world.json(&["import-rclone"]);
        assert_eq!(json["exit_code"], 0, "{json:#}");
        assert_eq!(written(&world)["backup"], expected, "{backup}");
        assert_eq!(
            world.ows(&["status"]).code,
            Some(1),
            "it loads; the store is not there"
        );
    }
    // One that cannot come along leaves the sync alone.
    let world = with_plugin(&config(
        json!({ "provider": "custom", "custom": { "rcloneType": "sftp", "rcloneOptions": { "pass": SECRET } } }),
    ));
    let json = world.json(&["import-rclone"]);
    assert_eq!(json["exit_code"], 0, "{json:#}");
    assert!(
        notes(&json).contains(&"left-out backup".to_owned()),
        "{json:#}"
    );
    assert!(!json.to_string().contains(SECRET));
    assert_eq!(written(&world).get("backup"), None);
}
