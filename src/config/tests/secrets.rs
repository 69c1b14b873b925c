//! Nothing that may be a secret is ever shown.

use super::super::load_serving;
use super::World;
use super::told;

/// Every secret of the texts below begins so.
const MARK: &str = "hunter2";

const FULL: &str = r#"{
  gateway: { port: 1 },
  hooks: { enabled: true, token: 'hunter2-hook' },
  env: { vars: { FROM_OPENCLAW: 'hunter2-openclaw' } },
  plugins: { entries: { "openclaw-workspace-sync": { config: {
    s3: { accessKeyId: 'hunter2-id', secretAccessKey: '${FROM_ENV}', sessionToken: '${FROM_DOTENV}',
          proxy: 'http://user:hunter2-proxy@p:1' },
    dropbox: { appKey: 'k', appSecret: 'hunter2-app', token: 'hunter2-bare' },
    gdrive: { clientSecret: '${FROM_OPENCLAW}', token: '{"access_token":"hunter2-a","refresh_token":"hunter2-r"}',
              serviceAccount: { type: 'service_account', client_email: 'x', private_key: 'hunter2-key' } },
    onedrive: { clientSecret: 'hunter2-one', token: { access_token: 'hunter2-b', refresh_token: 'hunter2-c' } },
    custom: { type: 's3', options: { access_key_id: 'hunter2-x', secret_access_key: 'hunter2-y' } },
    sync: { provider: 'PROVIDER', mode: 'mailbox', remotePath: 'b/c', heartbeatUrl: 'https://h/hunter2-beat',
            notify: { url: 'https://h/hunter2-url', token: 'hunter2-notify' }, s3: { bucket: 'b' } },
    backup: { encrypt: true, passphrase: 'hunter2-pass', heartbeatUrl: 'https://h/hunter2-beat', prefix: 'd',
              bucket: 'e' },
  } } } },
}"#;

fn world(text: &str) -> World {
    let mut world = World::new();
    world.write(".openclaw/openclaw.json", text);
    world.write(".openclaw/.env", "FROM_DOTENV=hunter2-dotenv\n");
    world.set("FROM_ENV", "hunter2-env");
    world
}

#[test]
fn debug_of_a_configuration_full_of_secrets_shows_none() {
    for provider in ["s3", "custom"] {
        let config = world(&FULL.replace("PROVIDER", provider)).whole();
        let text = format!("{config:?}");
        assert!(text.contains("REDACTED") && !text.contains(MARK), "{text}");
        assert!(
            config
                .warnings
                .iter()
                .all(|warning| !warning.contains(MARK))
        );
    }
    for provider in ["dropbox", "gdrive", "onedrive"] {
        let text = FULL
            .replace("PROVIDER", provider)
            .replace("bucket: 'e'", "provider: 's3', bucket: 'e'");
        let config = world(&text).whole();
        let text = format!("{config:?}");
        assert!(text.contains("REDACTED") && !text.contains(MARK), "{text}");
        assert!(
            config
                .warnings
                .iter()
                .all(|warning| !warning.contains(MARK))
        );
    }
}

#[test]
fn no_error_shows_a_secret_of_the_wrong_kind_or_place() {
    for keys in [
        "s3: { secretAccessKey: ['hunter2'] }",
        "s3: { secretAccessKey: { a: 'hunter2' }, accessKeyId: 'hunter2' }",
        "s3: 'hunter2'",
        "s3: { endpoint: 'https://hunter2@h' }",
        "s3: { endpoint: 'hunter2' }",
        "s3: { region: 'hunter2 x' }",
        "s3: { bucket: 'hunter2/x' }",
        "s3: { sessionKey: 'hunter2' }",
        "s3: { sse: '${SECRET}' }",
        "s3: { proxy: 'hunter2' }",
        "dropbox: { token: '{\"access_token\": hunter2}' }",
        "dropbox: { token: 'hunter2 and more' }",
        "dropbox: { token: ['hunter2'] }",
        "gdrive: { token: '{\"access_token\":\"a\",\"expiry\":\"hunter2\"}' }",
        "gdrive: { serviceAccount: '{\"private_key\":\"hunter2\"}' }",
        "gdrive: { serviceAccount: ['hunter2'] }",
        "custom: { type: 's3', options: { secret_access_key: ['hunter2'] } }",
        "provider: 'custom', custom: { type: 's3', options: { pass: 'hunter2', acl: 'hunter2', endpoint: 'hunter2 x' } }",
        "provider: 'custom', custom: { type: 'local', options: { path: 'hunter2' } }",
        "notify: { url: 'hunter2', token: 5 }",
        "notify: 'https://hunter2'",
        "heartbeatUrl: 'hunter2'",
        "mode: '${SECRET}'",
        "localPath: '/${SECRET}'",
        "bandwidth: '${SECRET}'",
        "remoteName: '../${SECRET}'",
        "remotePath: '../${SECRET}'",
        "hunterkey: 'hunter2'",
    ] {
        check(&format!("{{ sync: {{ {keys} }} }}"));
    }
    for keys in [
        "passphrase: ['hunter2']",
        "encrypt: true, passphrase: 'hunter2', recipients: ['hunter2']",
        "recipients: ['AGE-SECRET-KEY-1hunter2']",
        "identities: ['AGE-SECRET-KEY-1hunter2']",
        "include: ['${SECRET}']",
        "profile: 'hunter2/x'",
        "retain: { within: '${SECRET}' }",
    ] {
        check(&format!("{{ backup: {{ {keys} }} }}"));
    }
    // Even where the file cannot be parsed.
    check("{ sync: { s3: { secretAccessKey: 'hunter2' ");
    check("{ sync: { s3: { secretAccessKey: hunter2 } } }");
}

fn check(text: &str) {
    let mut world = World::with(text);
    world.set("SECRET", "hunter2");
    let failure = load_serving(&world.invocation(), &[]).expect_err(text);
    let shown = format!("{}\n{failure:?}", told(&failure));
    assert!(!shown.contains(MARK), "{text}: {shown}");
}

#[test]
fn values_from_variables_are_shown_as_they_are_written() {
    let mut world = World::with("{ sync: { mode: '${SECRET}' } }");
    world.set("SECRET", "hunter2");
    assert_eq!(
        world.mistakes(),
        ["`sync.mode`: found \"${SECRET}\"; allowed: `mailbox`, `mirror` or `bisync`"]
    );
}
