//! Both programs on one remote find each other's work in order, times included.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use chrono::DateTime;
use ows_testkit::s3::{Op, Server};
use ows_testkit::tree::TempTree;

use crate::peers::{Counts, Place, Store, counts, fill, find, succeeded};

const BUCKET: &str = "bucket";

/// What is ours alone.
const LEAVE_OUT: [&str; 6] = [
    "--exclude",
    "/.ows/**",
    "--exclude",
    "/_inbox/**",
    "--exclude",
    "/_outbox/**",
];

/// Parts of the smallest size, so that what is larger than two of them is sent in parts.
const IN_PARTS: [&str; 4] = ["--s3-upload-cutoff", "5Mi", "--s3-chunk-size", "5Mi"];

/// rclone and the remote that it shares with `ows`.
struct Rclone {
    program: PathBuf,
    remote: String,
    environment: Vec<(String, String)>,
}

impl Rclone {
    fn on_s3(server: &Server) -> Option<Self> {
        let options = [
            ("TYPE", "s3".to_owned()),
            ("PROVIDER", "Other".to_owned()),
            ("ENDPOINT", server.endpoint()),
            ("REGION", "us-east-1".to_owned()),
            ("ACCESS_KEY_ID", server.access_key().to_owned()),
            ("SECRET_ACCESS_KEY", server.secret_key().to_owned()),
            ("FORCE_PATH_STYLE", "true".to_owned()),
        ];
        let name = |key| format!("RCLONE_CONFIG_SHARED_{key}");
        Some(Self {
            program: find("OWS_RCLONE", "rclone")?,
            remote: format!("shared:{BUCKET}/ws"),
            environment: options
                .into_iter()
                .map(|(key, value)| (name(key), value))
                .collect(),
        })
    }

    fn on_folder(folder: &Path) -> Option<Self> {
        Some(Self {
            program: find("OWS_RCLONE", "rclone")?,
            remote: folder
                .join("ws")
                .to_str()
                .expect("the path is UTF-8")
                .to_owned(),
            environment: Vec::new(),
        })
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.program)
            .args(["--config", "/dev/null", "--retries", "1"])
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("rclone can be started")
    }

    /// Copies everything to the remote.
    fn push(&self, from: &TempTree, options: &[&str]) {
        let from = from.path().to_str().expect("the path is UTF-8");
        let arguments = [&["copy", from, &self.remote][..], &LEAVE_OUT, options].concat();
        succeeded("rclone copy", &self.run(&arguments));
    }

    /// Hashes, contents and times are the same, and a sync would do nothing.
    fn finds_equal(&self, workspace: &TempTree) {
        let local = workspace.path().to_str().expect("the path is UTF-8");
        for more in [&[][..], &["--download"]] {
            let arguments = [&["check", local, &self.remote][..], &LEAVE_OUT, more].concat();
            succeeded("rclone check", &self.run(&arguments));
        }
        let arguments = [
            &[
                "sync",
                "--dry-run",
                "--no-update-dir-modtime",
                local,
                &self.remote,
            ][..],
            &LEAVE_OUT,
        ]
        .concat();
        let output = self.run(&arguments);
        succeeded("rclone sync", &output);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !said.contains("Skipped"),
            "rclone would do something: {said}"
        );
        assert_eq!(self.times(), times_of(workspace));
    }

    /// Modification times as rclone shows them, in nanoseconds since the epoch.
    fn times(&self) -> BTreeMap<String, i64> {
        let arguments = [
            &["lsjson", "-R", "--files-only", &self.remote][..],
            &LEAVE_OUT,
        ]
        .concat();
        let listed = succeeded("rclone lsjson", &self.run(&arguments));
        let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).expect("it is JSON");
        listed
            .iter()
            .map(|entry| {
                let text = |name: &str| entry[name].as_str().expect("it is there");
                let time = DateTime::parse_from_rfc3339(text("ModTime")).expect("it is a time");
                (
                    text("Path").to_owned(),
                    time.timestamp_nanos_opt().expect("it is near"),
                )
            })
            .collect()
    }
}

fn times_of(tree: &TempTree) -> BTreeMap<String, i64> {
    tree.snapshot()
        .into_iter()
        .filter(|(path, entry)| !path.starts_with('_') && !entry.hash.is_empty())
        .map(|(path, entry)| (path, nanoseconds(entry.modified)))
        .collect()
}

fn nanoseconds(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is after 1970");
    i64::try_from(since.as_nanos()).expect("it is near")
}

fn place_on(server: &Server) -> Place {
    Place::on_s3(&Store {
        endpoint: &server.endpoint(),
        bucket: BUCKET,
        access_key: server.access_key(),
        secret_key: server.secret_key(),
    })
}

#[test]
fn rclone_finds_equal_what_ows_pushed_to_s3() {
    let server = Server::with_bucket(BUCKET);
    let Some(rclone) = Rclone::on_s3(&server) else {
        return;
    };
    let place = place_on(&server);
    let files = fill(&place.workspace);
    assert_eq!(place.sync().upload, files);
    let large = server
        .object(BUCKET, "ws/video/large.bin")
        .expect("it was pushed");
    assert_eq!(
        large.parts,
        Some(2),
        "the large file was to be sent in parts"
    );
    rclone.finds_equal(&place.workspace);

    // What is moved within the remote keeps hash and time as well.
    place.workspace.rename("video/large.bin", "moved/large.bin");
    place.workspace.rename("plain.txt", "moved/plain.txt");
    assert_eq!(place.sync().moved, 2);
    rclone.finds_equal(&place.workspace);
}

#[test]
fn ows_finds_equal_what_rclone_pushed_to_s3() {
    let server = Server::with_bucket(BUCKET);
    let Some(rclone) = Rclone::on_s3(&server) else {
        return;
    };
    for options in [&[][..], &IN_PARTS] {
        server.clear(BUCKET);
        let place = place_on(&server);
        let files = fill(&place.workspace);
        rclone.push(&place.workspace, options);
        let large = server
            .object(BUCKET, "ws/video/large.bin")
            .expect("it was pushed");
        assert_eq!(large.parts.is_some(), !options.is_empty());

        server.reset_calls();
        let expected = Counts {
            unchanged: files,
            ..Counts::default()
        };
        assert_eq!(place.sync(), expected, "the first run");
        let moved = server.log().into_iter().filter(|call| {
            let ours = call.key.starts_with("ws/.ows/") || call.key == "ws/_outbox/.keep";
            !ours && !matches!(call.op, Op::List | Op::Head | Op::GetVersioning)
        });
        assert_eq!(
            moved.collect::<Vec<_>>(),
            [],
            "equality is told by size, ETag and metadata"
        );

        server.reset_calls();
        assert_eq!(place.sync(), expected, "the second run");
        assert!(
            server.calls().keys().all(|op| *op == Op::List),
            "{:?}",
            server.calls()
        );
        rclone.finds_equal(&place.workspace);
    }
}

#[test]
fn ows_fills_a_workspace_with_what_rclone_pushed() {
    let server = Server::with_bucket(BUCKET);
    let Some(rclone) = Rclone::on_s3(&server) else {
        return;
    };
    let source = TempTree::new();
    let files = fill(&source);
    rclone.push(&source, &IN_PARTS);
    let place = place_on(&server);
    let report = place.ows(&["sync", "--direction", "pull"]);
    assert_eq!(counts(&report).download, files);
    assert_eq!(place.workspace.files(), source.files());
    assert_eq!(times_of(&place.workspace), times_of(&source));
    rclone.finds_equal(&place.workspace);
}

#[test]
fn what_rclone_drops_into_outbox_is_delivered_with_its_time() {
    let server = Server::with_bucket(BUCKET);
    let Some(rclone) = Rclone::on_s3(&server) else {
        return;
    };
    let place = place_on(&server);
    place.workspace.write("a", "a");
    place.sync();
    let source = TempTree::new();
    let files = fill(&source);
    let from = source.path().to_str().expect("the path is UTF-8");
    let to = format!("{}/_outbox", rclone.remote);
    succeeded(
        "rclone copy",
        &rclone.run(&[&["copy", from, &to][..], &IN_PARTS].concat()),
    );

    assert_eq!(place.sync().download, files);
    let inbox = TempTree::new();
    std::fs::remove_dir(inbox.path()).expect("it is empty");
    std::fs::rename(place.workspace.join("_inbox"), inbox.path()).expect("it can be moved");
    assert_eq!(inbox.files(), source.files());
    assert_eq!(times_of(&inbox), times_of(&source));
    let left = server
        .keys(BUCKET)
        .into_iter()
        .filter(|key| key.starts_with("ws/_outbox/"));
    assert_eq!(left.collect::<Vec<_>>(), ["ws/_outbox/.keep"]);
}

#[test]
fn rclone_finds_equal_what_ows_pushed_to_a_folder() {
    let folder = TempTree::new();
    let Some(rclone) = Rclone::on_folder(folder.path()) else {
        return;
    };
    let place = Place::on_folder(folder.path());
    let files = fill(&place.workspace);
    assert_eq!(place.sync().upload, files);
    rclone.finds_equal(&place.workspace);
}

#[test]
fn ows_finds_equal_what_rclone_pushed_to_a_folder() {
    let folder = TempTree::new();
    let Some(rclone) = Rclone::on_folder(folder.path()) else {
        return;
    };
    let place = Place::on_folder(folder.path());
    let files = fill(&place.workspace);
    rclone.push(&place.workspace, &[]);
    let expected = Counts {
        unchanged: files,
        ..Counts::default()
    };
    assert_eq!(place.sync(), expected, "the first run");
    assert_eq!(place.sync(), expected, "the second run");
    rclone.finds_equal(&place.workspace);
}
