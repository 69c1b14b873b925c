//! Provider blocks: merging, translation, rclone.conf, and folders that overlap.

use secrecy::ExposeSecret;

use super::super::{ProviderConfig, S3Config, S3Encryption};
use super::{World, sync_mistake};

fn s3(text: &str) -> (S3Config, Option<String>) {
    let sync = World::with(text).config().sync.unwrap();
    let folder = sync.remote_path.map(|path| path.to_string());
    match sync.provider {
        ProviderConfig::S3(s3) => (s3, folder),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_bucket_the_first_segment_is_the_bucket() {
    for (keys, bucket, folder) in [
        (
            "remotePath: 'files/agents/main'",
            "files",
            Some("agents/main"),
        ),
        ("remotePath: 'files'", "files", None),
        ("", "openclaw-share", None),
        (
            "remotePath: 'agents', s3: { bucket: 'files' }",
            "files",
            Some("agents"),
        ),
        ("remotePath: '', s3: { bucket: 'files' }", "files", None),
    ] {
        let (s3, found) = s3(&format!("{{ sync: {{ provider: 's3', {keys} }} }}"));
        assert_eq!(
            (s3.bucket.as_str(), found.as_deref()),
            (bucket, folder),
            "{keys}"
        );
        assert!(s3.credentials.is_none() && !s3.force_path_style);
    }
    assert!(
        sync_mistake("provider: 's3', remotePath: ''").starts_with("`sync.s3.bucket`: is missing")
    );
}

#[test]
fn every_key_of_the_s3_block_is_taken_over() {
    let (s3, _) = s3(
        "{ sync: { provider: 's3', s3: { endpoint: 'https://s3.example.com/', bucket: 'b', region: 'r',
            accessKeyId: 'id', secretAccessKey: 'secret', sessionToken: 'token', forcePathStyle: false,
            sse: 'aws:kms', storageClass: 'STANDARD_IA', caFile: '~/ca.pem', proxy: 'http://p:1' } } }",
    );
    assert_eq!(s3.http.endpoint.as_deref(), Some("https://s3.example.com"));
    assert_eq!(s3.region.as_deref(), Some("r"));
    let credentials = s3.credentials.unwrap();
    assert_eq!(credentials.secret_access_key.expose_secret(), "secret");
    assert_eq!(credentials.session_token.unwrap().expose_secret(), "token");
    assert!(!s3.force_path_style);
    assert_eq!(s3.sse, Some(S3Encryption::Kms));
    assert_eq!(s3.storage_class.as_deref(), Some("STANDARD_IA"));
    assert!(s3.http.ca_file.unwrap().ends_with("ca.pem") && s3.http.proxy.is_some());
}

#[test]
fn wrong_s3_values_are_refused() {
    for (keys, expected) in [
        (
            "endpoint: 's3.example.com'",
            "`sync.s3.endpoint`: is no URL",
        ),
        (
            "endpoint: 'http://s3.example.com'",
            "`sync.s3.endpoint`: is a plain `http://` address",
        ),
        (
            "endpoint: 'https://a:b@h'",
            "`sync.s3.endpoint`: holds a user or a password",
        ),
        (
            "accessKeyId: 'id', secretAccessKey: 5",
            "`sync.s3.secretAccessKey`: found a number",
        ),
        ("accessKeyId: 'id'", "`sync.s3.secretAccessKey`: is missing"),
        ("secretAccessKey: 's'", "`sync.s3.accessKeyId`: is missing"),
        ("sessionToken: 's'", "`sync.s3.accessKeyId`: is missing"),
        (
            "sse: 'none'",
            "`sync.s3.sse`: found \"none\"; allowed: `AES256`, `aws:kms` or `aws:kms:dsse`",
        ),
        ("bucket: 'a b'", "`sync.s3.bucket`: is no bucket's name"),
        (
            "authEndpoint: 'https://h'",
            "`sync.s3.authEndpoint`: S3 has no authorization server",
        ),
        (
            "secretKey: 's'",
            "`sync.s3.secretKey`: is no known key; did you mean `secretAccessKey`?",
        ),
        (
            "proxy: 'p:1'",
            "`sync.s3.proxy`: is no `http` or `https` URL",
        ),
    ] {
        let mistake = sync_mistake(&format!("provider: 's3', s3: {{ {keys} }}"));
        assert!(mistake.starts_with(expected), "{keys}: {mistake}");
    }
}

#[test]
fn plain_http_is_for_loopback_or_on_request() {
    for endpoint in [
        "http://127.0.0.1:9000",
        "http://localhost:9000",
        "http://[::1]:9000",
        "http://127.9.9.9",
    ] {
        s3(&format!(
            "{{ sync: {{ provider: 's3', s3: {{ endpoint: '{endpoint}' }} }} }}"
        ));
    }
    let (config, _) =
        s3("{ sync: { provider: 's3', s3: { endpoint: 'http://nas', allowHttp: true } } }");
    assert!(config.http.allow_http && config.force_path_style);
    // The permission may stand in the shared block.
    s3("{ s3: { allowHttp: true }, sync: { provider: 's3', s3: { endpoint: 'http://nas' } } }");
}

#[test]
fn blocks_merge_key_by_key() {
    let config = World::with(
        "{ s3: { endpoint: 'https://e', region: 'shared', accessKeyId: 'i', secretAccessKey: 's', sessionToken: 't' },
           sync: { provider: 's3', s3: { bucket: 'files', region: 'own' } },
           backup: { s3: { bucket: 'snaps', accessKeyId: 'i2', secretAccessKey: 's2' } } }",
    )
    .config();
    let ProviderConfig::S3(sync) = config.sync.unwrap().provider else {
        panic!()
    };
    assert_eq!(
        (sync.region.as_deref(), sync.http.endpoint.as_deref()),
        (Some("own"), Some("https://e"))
    );
    assert!(sync.credentials.unwrap().session_token.is_some());
    let ProviderConfig::S3(backup) = config.backup.unwrap().location.unwrap().provider else {
        panic!()
    };
    assert_eq!(backup.bucket, "snaps");
    assert_eq!(backup.http.endpoint.as_deref(), Some("https://e"));
    let credentials = backup.credentials.unwrap();
    assert_eq!(credentials.access_key_id.expose_secret(), "i2");
    assert!(
        credentials.session_token.is_none(),
        "a session token belongs to its own keys"
    );
}

#[test]
fn custom_local_and_alias_are_folders() {
    for (custom, remote_path, path, folder) in [
        (
            "type: 'local', options: { path: '/mnt/usb' }",
            "share",
            "/mnt/usb",
            Some("share"),
        ),
        (
            "rcloneType: 'alias', rcloneOptions: { remote: '/mnt/usb/' }",
            "",
            "/mnt/usb",
            None,
        ),
        (
            "rcloneType: 'alias', rcloneOptions: { remote: ':local:/mnt' }",
            "a",
            "/mnt",
            Some("a"),
        ),
        (
            "rcloneType: 'local'",
            "/mnt/usb/share",
            "/mnt/usb/share",
            None,
        ),
    ] {
        let world = World::with(&format!(
            "{{ sync: {{ provider: 'custom', remotePath: '{remote_path}', custom: {{ {custom} }} }} }}"
        ));
        let sync = world.config().sync.unwrap();
        assert!(
            matches!(&sync.provider, ProviderConfig::Local { path: found } if found.to_str() == Some(path)),
            "{custom}"
        );
        assert_eq!(
            sync.remote_path.as_ref().map(|path| path.as_str()),
            folder,
            "{custom}"
        );
    }
    let world = World::with(
        "{ sync: { provider: 'custom', custom: { type: 'local', options: { path: '~/usb' } } } }",
    );
    assert!(
        matches!(world.config().sync.unwrap().provider, ProviderConfig::Local { path } if path == world.path("usb"))
    );
}

#[test]
fn custom_s3_is_translated() {
    let (s3, _) = s3(
        "{ sync: { provider: 'custom', remotePath: 'files/x', custom: { rcloneType: 's3', rcloneOptions: {
            provider: 'Cloudflare', access_key_id: 'id', secret_access_key: 'secret', endpoint: 'r2.example.com',
            region: 'auto', force_path_style: 'true', server_side_encryption: 'AES256', storage_class: 'STANDARD',
            env_auth: 'false', acl: 'private', no_check_bucket: 'true', session_token: '' } } } }",
    );
    assert_eq!(s3.bucket, "files");
    assert_eq!(s3.http.endpoint.as_deref(), Some("https://r2.example.com"));
    assert_eq!(s3.sse, Some(S3Encryption::Aes256));
    let credentials = s3.credentials.unwrap();
    assert_eq!(credentials.access_key_id.expose_secret(), "id");
    assert!(credentials.session_token.is_none() && s3.force_path_style);
}

#[test]
fn custom_values_that_cannot_be_honoured_are_refused() {
    for (custom, expected) in [
        (
            "type: 'sftp'",
            "`sync.custom.type`: found \"sftp\", a type that `ows` does not serve; allowed: `local`, `alias` or `s3`",
        ),
        (
            "rcloneType: 'drive'",
            "`sync.custom.rcloneType`: found \"drive\", a type that `ows` does not serve",
        ),
        ("", "`sync.custom.type`: is missing"),
        (
            "type: 'local', rcloneType: 'local', options: { path: '/x' }",
            "`sync.custom.rcloneType`: stands beside `type`",
        ),
        ("type: 'local'", "`sync.custom.options.path`: is missing"),
        (
            "type: 'local', options: { path: 'rel' }",
            "`sync.custom.options.path`: is no absolute path",
        ),
        (
            "type: 'alias', options: { remote: 'other:x' }",
            "`sync.custom.options.remote`: is no absolute path",
        ),
        (
            "type: 'local', options: { path: '/x', nounc: true }",
            "`sync.custom.options.nounc`: is no option that `ows` honours",
        ),
        (
            "type: 's3', options: { acl: 'public-read' }",
            "`sync.custom.options.acl`: cannot be honoured",
        ),
        (
            "type: 's3', options: { env_auth: false }",
            "`sync.custom.options.env_auth`: is `false` without keys",
        ),
        (
            "type: 's3', options: { chunk_size: '5M' }",
            "`sync.custom.options.chunk_size`: is no option that `ows` honours",
        ),
        (
            "type: 's3', options: { secretAccessKey: 'x' }",
            "`sync.custom.options.secretAccessKey`: is no option that `ows` honours; did you mean `secret_access_key`?",
        ),
        (
            "type: 's3', options: { provider: 'Minio' }",
            "`sync.custom.options.endpoint`: is missing",
        ),
        (
            "type: 's3', options: { server_side_encryption: 'x' }",
            "`sync.custom.options.server_side_encryption`: is unknown",
        ),
        (
            "type: 's3', options: { region: ['x'] }",
            "`sync.custom.options.region`: found a list",
        ),
        (
            "type: 's3', opts: {}",
            "`sync.custom.opts`: is no known key",
        ),
    ] {
        let mistake = sync_mistake(&format!("provider: 'custom', custom: {{ {custom} }}"));
        assert!(mistake.starts_with(expected), "{custom}: {mistake}");
    }
    assert!(sync_mistake("provider: 'custom'").starts_with("`sync.custom`: is missing"));
}

#[test]
fn an_rclone_conf_supplies_the_credentials_that_are_lacking() {
    let conf = include_str!("../../../fixtures/config/rclone.conf");
    let world =
        World::with("{ sync: { provider: 's3', s3: { bucket: 'b' } }, backup: { bucket: 'c' } }");
    world.write(".openclaw/.config/rclone/rclone.conf", conf);
    let config = world.config();
    let ProviderConfig::S3(s3) = config.sync.unwrap().provider else {
        panic!()
    };
    assert_eq!(
        s3.http.endpoint.as_deref(),
        Some("https://minio.example.net")
    );
    assert_eq!(s3.region.as_deref(), Some("eu-west-1"));
    assert_eq!(
        s3.credentials.unwrap().secret_access_key.expose_secret(),
        "CONFSECRET"
    );
    // The backup has nothing under its own name and uses sync's.
    let ProviderConfig::S3(backup) = config.backup.unwrap().location.unwrap().provider else {
        panic!()
    };
    assert_eq!(
        backup.credentials.unwrap().access_key_id.expose_secret(),
        "CONFID"
    );

    let own = World::with(
        "{ sync: { provider: 's3', s3: { bucket: 'b', accessKeyId: 'i', secretAccessKey: 's' } } }",
    );
    own.write(".openclaw/.config/rclone/rclone.conf", conf);
    let ProviderConfig::S3(s3) = own.config().sync.unwrap().provider else {
        panic!()
    };
    assert_eq!(
        s3.http.endpoint, None,
        "a file that is not needed is not read"
    );
}

#[test]
fn an_rclone_conf_of_no_use_is_told() {
    let world =
        World::with("{ sync: { provider: 's3', remoteName: 'box', configPath: '~/r.conf' } }");
    assert!(world.config().warnings[0].contains("does not exist"));
    world.write(
        "r.conf",
        include_str!("../../../fixtures/config/rclone.conf"),
    );
    assert!(world.config().warnings[0].contains("is of another type than `s3`"));
    world.write(
        "r.conf",
        "[box]\ntype = s3\nendpoint = http://nas\naccess_key_id = i\nsecret_access_key = s\n",
    );
    assert!(
        world.mistakes()[0].starts_with("`~/r.conf: box.endpoint`: is a plain `http://` address")
    );
    world.write("r.conf", "[other]\ntype = s3\n");
    assert!(world.config().warnings[0].contains("has no section `[box]`"));
    world.write(
        "r.conf",
        "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nAAAA\n",
    );
    let mistakes = world.mistakes();
    assert!(
        mistakes[0].contains("is protected by a password") && mistakes[0].contains("~/r.conf"),
        "{mistakes:?}"
    );
}

#[test]
fn oauth_providers_are_read_ahead_of_their_time() {
    let world = World::with(
        r#"{ sync: { provider: 'dropbox', remoteName: 'box', configPath: '~/r.conf', dropbox: { appFolder: true } } }"#,
    );
    world.write(
        "r.conf",
        include_str!("../../../fixtures/config/rclone.conf"),
    );
    let config = world.whole();
    let ProviderConfig::Dropbox(dropbox) = config.sync.unwrap().provider else {
        panic!()
    };
    assert!(dropbox.app_folder);
    assert_eq!(
        dropbox.token.unwrap().access_token.expose_secret(),
        "CONFTOKEN"
    );
    assert_eq!(config.warnings.len(), 1);
    assert!(
        config.warnings[0].contains("run `ows authorize --provider dropbox`"),
        "{:?}",
        config.warnings
    );

    let config = World::with(
        r#"{ sync: { provider: 'gdrive', gdrive: { clientId: 'id', clientSecret: 's', teamDrive: 't', scope: 'drive.file',
             token: { access_token: 'a', refresh_token: 'r' }, serviceAccount: '/key.json' } },
           backup: { provider: 'onedrive', onedrive: { driveType: 'business', driveId: 'd', tenant: 'example.com' } } }"#,
    )
    .whole();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(
        matches!(config.sync.unwrap().provider, ProviderConfig::Gdrive(drive) if drive.token.is_some())
    );
    assert!(
        sync_mistake("provider: 'gdrive', gdrive: { serviceAccount: '{}' }")
            .contains("is no service account's key")
    );
    assert!(
        sync_mistake("onedrive: { driveType: 'home' }")
            .contains("`personal`, `business` or `sharepoint`")
    );
}

#[test]
fn snapshots_and_the_remote_folder_must_not_overlap() {
    let both = |sync: &str, backup: &str| {
        World::with(&format!(
            "{{ s3: {{ bucket: 'b' }}, sync: {{ provider: 's3', {sync} }}, backup: {{ {backup} }} }}"
        ))
    };
    for (sync, backup, how) in [
        ("remotePath: 'share'", "prefix: 'share/snaps'", "lies in"),
        ("remotePath: 'a/share'", "prefix: 'a'", "lies around"),
        ("remotePath: 'share'", "remotePath: 'share'", "is"),
        ("remotePath: ''", "prefix: 'snaps'", "lies in"),
        ("remotePath: 'share'", "bucket: 'b'", "lies around"),
    ] {
        let mistakes = both(sync, backup).mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(
            mistakes[0].starts_with("`backup.remotePath`")
                && mistakes[0].contains(&format!("{how} the remote folder")),
            "{mistakes:?}"
        );
    }
    both("remotePath: 'share'", "prefix: 'share2'").config();
    both("remotePath: 'share'", "bucket: 'c', prefix: 'share'").config();
    both(
        "remotePath: 'share'",
        "s3: { endpoint: 'https://other' }, prefix: 'share'",
    )
    .config();
}

#[test]
fn a_local_remote_must_not_overlap_the_workspace() {
    for (path, remote) in [
        ("~/.openclaw/workspace", "share"),
        ("~/.openclaw", "workspace"),
        ("~", ""),
    ] {
        let mistakes = World::with(&format!(
            "{{ sync: {{ provider: 'custom', remotePath: '{remote}', custom: {{ type: 'local', options: {{ path: '{path}' }} }} }} }}"
        ))
        .mistakes();
        assert!(
            mistakes[0].contains("allowed: folders that do not overlap"),
            "{mistakes:?}"
        );
    }
    let mistakes = World::with(
        "{ backup: { provider: 'custom', custom: { type: 'local', options: { path: '~/.openclaw/workspace/b' } } } }",
    )
    .mistakes();
    assert!(
        mistakes[0].contains("snapshots would go into the workspace"),
        "{mistakes:?}"
    );
}

#[cfg(unix)]
#[test]
fn overlaps_are_seen_through_links() {
    let world = World::with(
        "{ sync: { provider: 'custom', remotePath: 'x', localPath: 'out', custom: { type: 'local', options: { path: '~/link' } } } }",
    );
    std::fs::create_dir_all(world.path(".openclaw/workspace/out")).unwrap();
    std::os::unix::fs::symlink(world.path(".openclaw/workspace/out"), world.path("link")).unwrap();
    assert!(world.mistakes()[0].contains("lies in the local folder"));
    std::fs::remove_dir(world.path(".openclaw/workspace/out")).unwrap();
    std::fs::create_dir(world.path("outside")).unwrap();
    std::os::unix::fs::symlink(world.path("outside"), world.path(".openclaw/workspace/out"))
        .unwrap();
    assert!(world.mistakes()[0].contains("leaves the workspace through a symbolic link"));
}

#[test]
fn the_state_inside_the_workspace_is_protected() {
    let mut world = World::with("{ sync: {} }");
    world.write(".openclaw/openclaw.json", "{}");
    world.invocation.workspace = Some(world.path(""));
    let protected = |world: &World| -> Vec<String> {
        world
            .config()
            .sync
            .unwrap()
            .protected
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(
        protected(&world),
        [
            ".openclaw/ows",
            ".openclaw/openclaw.json",
            ".openclaw/credentials"
        ]
    );
    world.invocation.workspace = Some(world.path(".openclaw"));
    assert_eq!(protected(&world), ["ows", "openclaw.json", "credentials"]);
    world.invocation.workspace = Some(world.path("elsewhere"));
    assert!(protected(&world).is_empty());
    world.invocation.workspace = Some(world.path(".openclaw/ows/w"));
    assert!(world.mistakes()[0].contains("lies in the folder of `ows` itself"));
}
