//! Imports from sources of every kind: nothing panics, nothing secret is shown, the place is the one that rclone used.

use secrecy::ExposeSecret;

use super::World;
use crate::config::import::{Import, ImportRequest, NoteKind, prepare};
use crate::config::{Mode, ProviderConfig};
use crate::error::Failure;

const SECRET: &str = "hunter2-SECRET";

fn request(path: Option<&str>) -> ImportRequest {
    ImportRequest {
        mode: Some(Mode::Mailbox),
        remote_path: path.map(str::to_owned),
        ..ImportRequest::default()
    }
}

fn import(world: &World, request: &ImportRequest) -> Result<Import, Failure> {
    prepare(&world.invocation(), request)
}

fn with_conf(text: &str) -> World {
    let world = World::new();
    world.write(".openclaw/.config/rclone/rclone.conf", text);
    world
}

/// Bucket and folder of an import.
fn place(import: &Import) -> (String, Option<String>) {
    let sync = import.config.sync.as_ref().unwrap();
    let ProviderConfig::S3(s3) = &sync.provider else {
        panic!("no S3: {:?}", sync.provider.name());
    };
    let path = sync.remote_path.as_ref().map(ToString::to_string);
    (s3.bucket.clone(), path)
}

#[test]
fn the_first_segment_is_the_bucket_wherever_it_comes_from() {
    let keys = format!("access_key_id = AKID\nsecret_access_key = {SECRET}");
    for (section, path, bucket, folder) in [
        ("", "files", "files", None),
        ("", "/files//", "files", None),
        ("", "files/a/b", "files", Some("a/b")),
        (
            "[x]\ntype = alias\nremote = cloud:files\n",
            "a",
            "files",
            Some("a"),
        ),
        (
            "[x]\ntype = alias\nremote = cloud:\n",
            "files/a",
            "files",
            Some("a"),
        ),
        (
            "[y]\ntype = alias\nremote = cloud:files/a\n[x]\ntype = alias\nremote = y:b\n",
            "",
            "files",
            Some("a/b"),
        ),
    ] {
        let world = with_conf(&format!("[cloud]\ntype = s3\n{keys}\n{section}"));
        let mut request = request(Some(path));
        request.section = Some(if section.is_empty() { "cloud" } else { "x" }.to_owned());
        let import = import(&world, &request).unwrap();
        let expected = (bucket.to_owned(), folder.map(str::to_owned));
        assert_eq!(place(&import), expected, "{section} {path}");
    }
}

#[test]
fn a_variable_in_the_remote_path_names_the_bucket_still() {
    let mut world = World::new();
    world.set("BUCKET", "files");
    world.write(
        ".openclaw/openclaw.json",
        "{ plugins: { entries: { 'openclaw-workspace-sync': { config: { provider: 's3', mode: 'mailbox',
           remotePath: '${BUCKET}/agent', s3: { bucket: 'x', accessKeyId: 'a', secretAccessKey: 'b' } } } } } }",
    );
    let import = import(&world, &ImportRequest::default()).unwrap();
    assert_eq!(
        place(&import),
        ("files".to_owned(), Some("agent".to_owned()))
    );
    assert!(
        import.shown().contains("\"${BUCKET}\""),
        "{}",
        import.shown()
    );
    assert!(import.can_sync());
}

#[test]
fn without_keys_the_usual_credentials_apply() {
    let world =
        with_conf("[cloud]\ntype = s3\nprovider = AWS\nenv_auth = true\nregion = eu-west-1\n");
    let import = import(&world, &request(Some("files"))).unwrap();
    let ProviderConfig::S3(s3) = &import.config.sync.as_ref().unwrap().provider else {
        panic!("no S3");
    };
    assert!(s3.credentials.is_none());
    assert!(import.notes.is_empty(), "{:?}", import.notes);
}

#[test]
fn aliases_of_each_other_end() {
    let world = with_conf("[a]\ntype = alias\nremote = b:\n[b]\ntype = alias\nremote = a:\n");
    let mut request = request(None);
    request.section = Some("a".to_owned());
    assert!(import(&world, &request).is_err());
}

#[test]
fn a_token_of_rclones_own_app_is_named_and_one_of_an_own_app_is_not() {
    let token = format!(r#"{{"access_token":"{SECRET}","refresh_token":"{SECRET}"}}"#);
    for (client, notes) in [("", 1), ("client_id = mine\nclient_secret = s\n", 0)] {
        let world = with_conf(&format!(
            "[cloud]\ntype = dropbox\ntoken = {token}\n{client}"
        ));
        let import = import(&world, &request(None)).unwrap();
        let changed = import
            .notes
            .iter()
            .filter(|note| note.kind == NoteKind::Changed);
        assert_eq!(changed.count(), notes, "{:?}", import.notes);
        let ProviderConfig::Dropbox(dropbox) = &import.config.sync.as_ref().unwrap().provider
        else {
            panic!("no Dropbox");
        };
        let read = dropbox.token.as_ref().unwrap();
        assert_eq!(read.access_token.expose_secret(), SECRET);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 300, ..Default::default() })]

    #[test]
    fn any_section_is_imported_or_refused_without_a_panic_or_a_secret(
        kind in "(s3|local|alias|dropbox|drive|onedrive|crypt|sftp|[a-z]{0,3})",
        options in proptest::collection::vec(
            ("(provider|endpoint|region|access_key_id|secret_access_key|env_auth|token|client_id|scope|drive_type|path|remote|[a-z_]{1,6})",
             "(true|false|AWS|Minio|drive|personal|/mnt/x|a:b|https://h|\\$\\{X\\}|[ -~é\u{2028}]{0,12})"),
            0..6,
        ),
        path in proptest::option::of("[a-z/.$ {}é]{0,8}"),
    ) {
        let mut text = format!("[cloud]\ntype = {kind}\nsecret_access_key = {SECRET}\nclient_secret = {SECRET}\n");
        for (name, value) in &options {
            text.push_str(&format!("{name} = {value}\n"));
        }
        let world = with_conf(&text);
        let shown = match import(&world, &request(path.as_deref())) {
            Ok(import) => format!("{}{:?}", import.shown(), import.notes),
            Err(failure) => super::told(&failure),
        };
        proptest::prop_assert!(!shown.contains(SECRET), "{}", shown);
    }
}
