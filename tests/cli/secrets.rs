//! No secret leaves the process, whatever goes wrong and however much is said.

use std::path::Path;
use std::time::Duration;

use ows_testkit::s3::{Op, Server, Then, When};

use crate::support::{BUCKET, World};

const ACCESS_KEY: &str = "AKIDSECRETACCESSKEY1";
const SECRET_KEY: &str = "s3cr3t-key/with+signs==";
const SESSION_TOKEN: &str = "session-token-5up3r-s3cr3t";
const PROXY_PASSWORD: &str = "proxy-pa55word";
const PASSPHRASE: &str = "passphrase-c0rrect-h0rse";
const OTHER: &str = "another-variable-5ecret";
const NOTIFY: &str = "gateway-hook-t0ken";

/// All of them; an access key id is no secret by itself but has no place in an output either.
const SECRETS: [&str; 7] = [
    ACCESS_KEY,
    SECRET_KEY,
    SESSION_TOKEN,
    PROXY_PASSWORD,
    PASSPHRASE,
    OTHER,
    NOTIFY,
];

#[track_caller]
fn holds_none(what: &str, text: &[u8]) {
    for secret in SECRETS {
        let found = text
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "`{secret}` is in {what}");
    }
}

/// Every file below `folder`, but for those that a person wrote the secrets into.
fn files_hold_none(folder: &Path, written_by_people: &[&Path]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_hold_none(&path, written_by_people);
        } else if !written_by_people.contains(&path.as_path()) {
            holds_none(&path.display().to_string(), &std::fs::read(&path).unwrap());
        }
    }
}

/// Secrets in the file, in the environment, in `.env` and in openclaw.json.
fn world(server: &Server) -> World {
    let world = World::bare();
    world.write(
        "state/.env",
        format!("SECRET_KEY={SECRET_KEY}\nPROXY_PASSWORD={PROXY_PASSWORD}\n"),
    );
    world.write(
        "state/openclaw.json",
        format!("{{ env: {{ vars: {{ BACKUP_PASSPHRASE: '{PASSPHRASE}' }} }}, hooks: {{ enabled: true, token: '{NOTIFY}' }} }}"),
    );
    world.config(&format!(
        "{{ sync: {{ provider: 's3', mode: 'mailbox', remotePath: '', s3: {{ endpoint: '{}', bucket: '{BUCKET}', \
         region: 'us-east-1', accessKeyId: '{ACCESS_KEY}', secretAccessKey: '${{SECRET_KEY}}' }} }}, \
         backup: {{ encrypt: true, passphrase: '${{BACKUP_PASSPHRASE}}' }} }}",
        server.endpoint()
    ));
    world
}

fn server() -> Server {
    Server::builder()
        .bucket(BUCKET)
        .keys(ACCESS_KEY, SECRET_KEY)
        .start()
}

#[test]
fn no_secret_is_in_any_output_or_file() {
    let server = server();
    let world = world(&server);
    world.write("workspace/a", "a");
    let provoke: [(&str, Option<(When, Then)>); 6] = [
        ("nothing", None),
        (
            "refused",
            Some((When::any().always(), Then::error(403, "InvalidAccessKeyId"))),
        ),
        (
            "denied",
            Some((When::op(Op::Put).always(), Then::error(403, "AccessDenied"))),
        ),
        (
            "no S3",
            Some((When::any().always(), Then::Html { status: 400 })),
        ),
        (
            "slow",
            Some((When::op(Op::List).times(1), Then::slow_down(Some(0)))),
        ),
        ("cut", Some((When::op(Op::List).times(1), Then::CutBody))),
    ];
    for (number, (what, fault)) in provoke.into_iter().enumerate() {
        world.write("workspace/a", format!("a {number}"));
        server.access().clear_faults();
        if let Some((when, then)) = fault {
            server.access().fault(when, then);
        }
        for arguments in [
            vec!["sync", "-vvv"],
            vec!["sync", "-vvv", "--log-format", "json", "--json"],
            vec!["status", "-vvv", "--json"],
            vec!["list", "-vvv"],
        ] {
            let mut command = world.command(&arguments);
            command.env("OTHER_SECRET", OTHER);
            let ran = world.run(command);
            let what = format!("the output of {arguments:?} with {what}");
            holds_none(&what, ran.stdout.as_bytes());
            holds_none(&what, ran.stderr.as_bytes());
            assert!(
                arguments[0] != "sync" || !ran.stderr.is_empty(),
                "-vvv says something"
            );
        }
    }
    let theirs = [
        "state/.env",
        "state/openclaw.json",
        "state/ows/config.json5",
    ]
    .map(|file| world.path(file));
    let theirs: Vec<&Path> = theirs.iter().map(std::path::PathBuf::as_path).collect();
    files_hold_none(&world.path(""), &theirs);
    for (key, object) in server.access().objects(BUCKET) {
        holds_none(&key, &object.content());
        holds_none(&key, format!("{:?}", object.metadata).as_bytes());
    }
}

#[test]
fn no_secret_is_in_an_error_about_the_configuration() {
    let world = World::bare();
    for block in [
        format!("secretAccessKey: ['{SECRET_KEY}'], accessKeyId: '{ACCESS_KEY}'"),
        format!("secretAccesKey: '{SECRET_KEY}', accessKeyId: '{ACCESS_KEY}'"),
        format!(
            "secretAccessKey: '{SECRET_KEY}\\n', accessKeyId: '{ACCESS_KEY}', endpoint: 'https://u:{PROXY_PASSWORD}@x'"
        ),
        format!("secretAccessKey: '{SECRET_KEY}' accessKeyId: '{ACCESS_KEY}'"),
        format!(
            "secretAccessKey: '{SECRET_KEY}', accessKeyId: '{ACCESS_KEY}', proxy: 'socks://u:{PROXY_PASSWORD}@x'"
        ),
    ] {
        world.config(&format!(
            "{{ sync: {{ provider: 's3', mode: 'mailbox', s3: {{ bucket: 'files', {block} }} }}, \
             backup: {{ passphrase: ['{PASSPHRASE}'] }} }}"
        ));
        for arguments in [vec!["sync"], vec!["sync", "--json", "-vvv"]] {
            let ran = world.ows(&arguments);
            assert_eq!(ran.code, Some(2), "{}", ran.shown());
            holds_none(&block, ran.stdout.as_bytes());
            holds_none(&block, ran.stderr.as_bytes());
        }
    }
}

#[test]
fn the_proxy_password_and_keys_of_the_environment_are_not_shown() {
    let server = server();
    let world = World::bare();
    world.config(&format!(
        "{{ sync: {{ provider: 's3', mode: 'mailbox', s3: {{ endpoint: '{}', bucket: '{BUCKET}', region: 'us-east-1', \
         proxy: 'http://user:{PROXY_PASSWORD}@127.0.0.1:1' }} }} }}",
        server.endpoint()
    ));
    for arguments in [vec!["list", "-vvv"], vec!["status", "-vvv", "--json"]] {
        let mut command = world.command(&arguments);
        command
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_SESSION_TOKEN", SESSION_TOKEN);
        let ran = world.run(command);
        assert_eq!(
            ran.code,
            Some(1),
            "the proxy does not answer: {}",
            ran.shown()
        );
        holds_none("stdout", ran.stdout.as_bytes());
        holds_none("stderr", ran.stderr.as_bytes());
    }
}

#[test]
fn the_process_list_shows_no_secret_and_there_are_no_children() {
    let server = server();
    let world = world(&server);
    world.write("workspace/a", "a");
    server
        .access()
        .fault(When::op(Op::Put).key("a").always(), Then::Hang);
    let running = world.start(&["sync", "-vvv"]);
    while server.access().count(Op::Put) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let process = format!("/proc/{}", running.child.id());
    holds_none(
        "cmdline",
        &std::fs::read(format!("{process}/cmdline")).unwrap(),
    );
    // Variables that are only in files are not put into the environment, which other processes of this user can read.
    holds_none(
        "environ",
        &std::fs::read(format!("{process}/environ")).unwrap(),
    );
    for thread in std::fs::read_dir(format!("{process}/task")).unwrap() {
        let children = thread.unwrap().path().join("children");
        assert_eq!(std::fs::read_to_string(children).unwrap(), "");
    }
    running.child.terminate().unwrap();
    let ran = running.end();
    assert_eq!(ran.code, Some(143));
    holds_none("stderr", ran.stderr.as_bytes());
}

#[test]
fn no_secret_of_a_backup_is_in_any_output_or_file() {
    let server = server();
    let world = world(&server);
    let vault = world.path("vault");
    world.folder("vault");
    let config = world.read("state/ows/config.json5").unwrap();
    world.config(&config.replace(
        "backup: { encrypt",
        &format!(
            "backup: {{ enabled: true, provider: 'custom', custom: {{ type: 'local', options: {{ path: {vault:?} }} }}, \
             remotePath: '', heartbeatUrl: 'http://127.0.0.1:1/{OTHER}', encrypt"
        ),
    ));
    world.write("workspace/a", "a");
    for arguments in [
        &["backup", "now", "-vvv"][..],
        &["backup", "now", "-vvv", "--log-format", "json", "--json"],
        &["backup", "list", "-vvv"],
        &["backup", "ls", "latest", "-vvv", "--json"],
        &["backup", "verify", "-vvv"],
        &[
            "backup",
            "restore",
            "-vvv",
            "--path",
            "workspace",
            "--to",
            "here",
        ],
        &["backup", "drill", "-vvv"],
        &["backup", "status", "-vvv", "--json"],
        &["status", "-vvv", "--json"],
    ] {
        let ran = world.run(world.command(arguments));
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.shown());
        let what = format!("the output of {arguments:?}");
        holds_none(&what, ran.stdout.as_bytes());
        holds_none(&what, ran.stderr.as_bytes());
    }
    let theirs = [
        "state/.env",
        "state/openclaw.json",
        "state/ows/config.json5",
    ]
    .map(|file| world.path(file));
    let theirs: Vec<&Path> = theirs.iter().map(std::path::PathBuf::as_path).collect();
    files_hold_none(&world.path(""), &theirs);
}
