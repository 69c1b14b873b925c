//! Which file is read, in which shape, and which folders follow from it.

use super::super::{ProviderConfig, Shape};
use super::{World, told};

const OWN: &str = "{ sync: {} }";
const PLUGIN: &str =
    r#"{ plugins: { entries: { "openclaw-workspace-sync": { config: { sync: {} } } } } }"#;

#[test]
fn the_first_file_that_exists_is_read() {
    let mut world = World::new();
    world.write(".openclaw/openclaw.json", PLUGIN);
    assert_eq!(world.config().source, world.path(".openclaw/openclaw.json"));
    world.write("elsewhere.json", PLUGIN);
    let elsewhere = world.path("elsewhere.json");
    world.set("OPENCLAW_CONFIG_PATH", &elsewhere);
    assert_eq!(world.config().source, elsewhere);
    world.write(".openclaw/ows/config.json5", OWN);
    assert_eq!(
        world.config().source,
        world.path(".openclaw/ows/config.json5")
    );
    world.write("env.json5", OWN);
    let named = world.path("env.json5");
    world.set("OWS_CONFIG", &named);
    assert_eq!(world.config().source, named);
    world.write("option.json5", OWN);
    world.invocation.config = Some("option.json5".into());
    assert_eq!(world.config().source, world.path("option.json5"));
}

#[test]
fn a_file_that_a_variable_names_in_vain_is_warned_of() {
    let mut world = World::with(OWN);
    world.set("OWS_CONFIG", "gone.json5");
    let warnings = world.config().warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        world.short(&warnings[0]),
        "`$OWS_CONFIG` names `~/gone.json5`, which does not exist; `~/.openclaw/ows/config.json5` is read instead"
    );
}

#[test]
fn a_file_that_the_command_line_names_in_vain_is_an_error() {
    let mut world = World::with(OWN);
    world.invocation.config = Some("gone.json5".into());
    let failure = world.load().unwrap_err();
    assert_eq!(
        world.short(&failure.message),
        "could not read the configuration `~/gone.json5`"
    );
    assert_eq!(failure.kind.exit_code(), 2);
}

#[test]
fn without_any_file_the_places_and_an_example_are_told() {
    let world = World::new();
    let text = world.short(&told(&world.load().unwrap_err()));
    assert!(
        text.contains("`~/.openclaw/ows/config.json5`, `~/.openclaw/openclaw.json`"),
        "{text}"
    );
    assert!(text.contains("provider: \"custom\""), "{text}");
}

#[test]
fn files_that_cannot_be_read_say_why() {
    for (content, expected) in [
        (
            b"{ sync: { a \xff } }".to_vec(),
            "is no valid UTF-8: byte 13 cannot be read",
        ),
        (
            vec![b' '; (4 << 20) + 1],
            "is larger than 4 MiB, the most that is read",
        ),
        (
            b"{ sync: ".to_vec(),
            "is no valid JSON5: the file ends before the value does, at line 1, column 9",
        ),
    ] {
        let world = World::new();
        world.write(".openclaw/ows/config.json5", content);
        let message = world.load().unwrap_err().message;
        assert!(message.ends_with(expected), "{message}");
    }
    let world = World::new();
    std::fs::create_dir_all(world.path(".openclaw/ows/config.json5")).unwrap();
    assert!(
        world
            .load()
            .unwrap_err()
            .message
            .ends_with("is a folder, not a file")
    );
}

#[test]
fn the_three_shapes_are_told_apart() {
    let world = World::new();
    world.write(
        ".openclaw/openclaw.json",
        include_str!("../../../fixtures/config/flat.json"),
    );
    let config = world.config();
    assert_eq!(config.shape, Shape::Flat);
    assert!(config.plugin_enabled);
    let sync = config.sync.unwrap();
    assert!(
        matches!(&sync.provider, ProviderConfig::Local { path } if path.to_str() == Some("/mnt/usb"))
    );
    assert_eq!(sync.remote_path.unwrap().as_str(), "openclaw-share");
    let backup = config.backup.unwrap();
    assert_eq!(backup.retain.last, 14);
    assert_eq!(
        backup.location.unwrap().folder.unwrap().as_str(),
        "snapshots"
    );

    world.write(
        ".openclaw/ows/config.json5",
        include_str!("../../../fixtures/config/stand-alone.json5"),
    );
    assert_eq!(world.config().shape, Shape::StandAlone);
    world.write(".openclaw/ows/config.json5", "{ provider: 'off' }");
    assert_eq!(world.config().shape, Shape::Flat);
}

#[test]
fn the_openclaw_shape_gives_workspace_gateway_and_variables() {
    let mut world = World::new();
    world.write(
        ".openclaw/openclaw.json",
        include_str!("../../../fixtures/config/openclaw.json"),
    );
    world.write(
        ".openclaw/.env",
        "HOOKS_TOKEN=hook\nR2_SECRET_ACCESS_KEY='s3cret'\nR2_REGION=wnam\n",
    );
    world
        .set("R2_ACCESS_KEY_ID", "id")
        .set("BACKUP_PASSPHRASE", "pass");
    let config = world.config();
    assert_eq!(config.shape, Shape::OpenClaw);
    assert!(!config.plugin_enabled);
    assert_eq!(config.engine_warning, None);
    assert_eq!(config.workspace, world.path("clawd"));
    assert_eq!(config.own_dir, world.path(".openclaw/ows"));
    assert_eq!(config.gateway.port, 19001);
    assert!(config.gateway.hooks_enabled && config.gateway.hooks_token.is_some());
    assert_eq!(config.gateway.hooks_path, "/wake-hooks");
    let sync = config.sync.unwrap();
    assert_eq!(sync.local_folder, world.path("clawd/shared"));
    let ProviderConfig::S3(s3) = &sync.provider else {
        panic!("{sync:?}")
    };
    // From the environment of openclaw.json, and from `.env` before it.
    assert_eq!(
        s3.http.endpoint.as_deref(),
        Some("https://accountid.r2.cloudflarestorage.com")
    );
    assert_eq!(s3.region.as_deref(), Some("wnam"));
    let ProviderConfig::S3(s3) = config.backup.unwrap().location.unwrap().provider else {
        panic!()
    };
    assert_eq!(s3.bucket, "clawd-backups");
    assert!(
        s3.credentials.is_some(),
        "the shared block's keys apply to the backup"
    );

    world.invocation.agent = Some("Research".to_owned());
    assert_eq!(world.config().workspace, world.path("research"));
    world.invocation.agent = Some("main".to_owned());
    assert_eq!(
        world.config().workspace,
        world.path(".openclaw/agents/main/workspace")
    );
    world.invocation.agent = Some("reserch".to_owned());
    let mistakes = world.mistakes();
    assert!(
        mistakes[0].contains("no such agent") && mistakes[0].ends_with("did you mean `research`?"),
        "{mistakes:?}"
    );
    world.invocation.agent = Some("../main".to_owned());
    assert!(world.mistakes()[0].contains("is no agent's id"));
}

#[test]
fn the_workspace_is_looked_up_in_order() {
    let mut world = World::with(OWN);
    assert_eq!(world.config().workspace, world.path(".openclaw/workspace"));
    world.write(
        ".openclaw/openclaw.json",
        "{ agents: { defaults: { workspace: '${W}/x' } }, env: { W: '/w' } }",
    );
    assert_eq!(world.config().workspace.to_str(), Some("/w/x"));
    world.set("OPENCLAW_WORKSPACE_DIR", "~/from-env");
    assert_eq!(world.config().workspace, world.path("from-env"));
    world.invocation.workspace = Some("option".into());
    assert_eq!(world.config().workspace, world.path("option"));
    world.invocation.agent = Some("main".to_owned());
    assert!(world.mistakes()[0].contains("both choose a workspace"));
    world.invocation.workspace = None;
    assert_eq!(
        world.config().workspace,
        world.path(".openclaw/agents/main/workspace")
    );
}

#[test]
fn a_workspace_that_is_not_absolute_is_an_error_of_openclaw_json() {
    let world = World::with(OWN);
    world.write(
        ".openclaw/openclaw.json",
        "{ agents: { defaults: { workspace: 'clawd' } } }",
    );
    let failure = world.load().unwrap_err();
    assert!(told(&failure).contains("`agents.defaults.workspace`: is no absolute path"));
    assert_eq!(world.mistakes().len(), 1);
}

#[test]
fn a_damaged_openclaw_json_stops_only_whom_it_concerns() {
    let mut world = World::with(OWN);
    world.write(".openclaw/openclaw.json", "{ broken");
    assert!(
        world
            .load()
            .unwrap_err()
            .message
            .contains("is no valid JSON5")
    );
    world.invocation.workspace = Some("w".into());
    assert!(world.config().warnings[0].contains("is no valid JSON5"));
}

#[test]
fn the_state_directory_is_looked_up_in_order() {
    let mut world = World::with(OWN);
    world.write("other/ows/config.json5", OWN);
    world.write("third/ows/config.json5", OWN);
    world.set("OPENCLAW_STATE_DIR", "other");
    assert_eq!(world.config().state_dir, world.path("other"));
    world.invocation.state_dir = Some("third".into());
    assert_eq!(world.config().state_dir, world.path("third"));
    let mut homeless = World::new();
    homeless.environment.clear();
    assert!(told(&homeless.load().unwrap_err()).contains("`HOME` is not set"));
}

#[test]
fn keys_both_nested_and_flat_are_named() {
    let mistakes =
        World::with("{ sync: { mode: 'mailbox' }, provider: 's3', interval: 60 }").mistakes();
    assert_eq!(
        mistakes,
        [
            "sync keys stand both in `sync` and beside it: `interval`, `provider`; allowed: all of them in `sync`"
        ]
    );
}

#[test]
fn an_openclaw_json_without_our_entry_says_what_is_missing() {
    let world = World::new();
    world.write(".openclaw/openclaw.json", "{ plugins: { entries: {} } }");
    assert!(
        world.mistakes()[0]
            .starts_with("`plugins.entries[\"openclaw-workspace-sync\"]`: is missing")
    );
}

#[test]
fn an_installed_or_enabled_plugin_is_warned_of() {
    let world = World::new();
    world.write(".openclaw/openclaw.json", PLUGIN);
    let warning = world.config().engine_warning.unwrap();
    assert!(
        warning.contains("two engines on one folder lose data")
            && warning.contains("is switched on"),
        "{warning}"
    );
    assert!(
        world
            .short(&warning)
            .contains("~/.openclaw/ows/config.json5")
    );

    world.write(".openclaw/ows/config.json5", OWN);
    world.write(".openclaw/openclaw.json", "{}");
    assert_eq!(world.config().engine_warning, None);
    world.write(
        ".openclaw/extensions/any-name/openclaw.plugin.json",
        r#"{ "id": "openclaw-workspace-sync" }"#,
    );
    assert!(
        world
            .config()
            .engine_warning
            .unwrap()
            .contains("is installed in")
    );
}

#[test]
fn unknown_keys_of_openclaw_are_ignored_and_ours_are_not() {
    let world = World::new();
    world.write(
        ".openclaw/openclaw.json",
        r#"{ whatever: 1, plugins: { slots: {}, entries: { "openclaw-workspace-sync": { hooks: {}, config: {
            sync: { mod: 'mailbox' }, backups: {} } } } } }"#,
    );
    let prefix = "plugins.entries[\"openclaw-workspace-sync\"].config";
    assert_eq!(
        world.mistakes(),
        [
            format!("`{prefix}.sync.mod`: is no known key; did you mean `mode`?"),
            format!("`{prefix}.backups`: is no known key; did you mean `backup`?"),
        ]
    );
    let flat = World::with("{ provdier: 's3' }").mistakes();
    assert_eq!(
        flat,
        ["`provdier`: is no known key; did you mean `provider`?"]
    );
}

#[test]
fn unset_variables_are_named_with_their_key() {
    let world = World::with(
        "{ sync: { remotePath: '${NOPE}', exclude: ['a', '${GONE}'], localPath: '$${x}' } }",
    );
    let mistakes = world.mistakes();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[1].starts_with("`sync.remotePath`: the variable `NOPE` is not set"));
    assert!(mistakes[0].starts_with("`sync.exclude[1]`: the variable `GONE` is not set"));
}

#[test]
fn a_literal_dollar_brace_can_be_written() {
    let config = World::with("{ sync: { exclude: ['$${x}'] } }").config();
    assert_eq!(config.sync.unwrap().exclude, ["${x}"]);
}

#[test]
fn doubled_keys_of_ours_are_errors() {
    let mistakes = World::with("{ sync: { interval: 0, interval: 60 } }").mistakes();
    assert_eq!(
        mistakes,
        ["`sync.interval`: is written twice in one object; allowed: once"]
    );
}
