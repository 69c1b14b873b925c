//! Running `ows` over a workspace.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

pub use ows_testkit::peers::find;
use ows_testkit::tree::TempTree;
use serde_json::Value;

/// A workspace with its state directory and configuration.
pub struct Place {
    pub workspace: TempTree,
    state: TempTree,
}

/// Where an S3 server is and what lets in.
pub struct Store<'a> {
    pub endpoint: &'a str,
    pub bucket: &'a str,
    pub access_key: &'a str,
    pub secret_key: &'a str,
}

impl Place {
    pub fn on_s3(store: &Store<'_>) -> Self {
        Self::with_config(&format!(
            "{{ sync: {{ provider: 's3', mode: 'mailbox', remotePath: 'ws', s3: {{ endpoint: '{}', bucket: '{}', \
             region: 'us-east-1', accessKeyId: '{}', secretAccessKey: '{}' }} }} }}",
            store.endpoint, store.bucket, store.access_key, store.secret_key
        ))
    }

    pub fn on_folder(folder: &Path) -> Self {
        Self::with_config(&format!(
            "{{ sync: {{ provider: 'custom', mode: 'mailbox', remotePath: 'ws', settle: 0, \
             custom: {{ type: 'local', options: {{ path: {folder:?} }} }} }} }}"
        ))
    }

    fn with_config(config: &str) -> Self {
        let state = TempTree::with(&[("config.json5", config)]);
        Self {
            workspace: TempTree::new(),
            state,
        }
    }

    /// Runs `ows` with `--json`, which must end well, and gives what it printed.
    pub fn ows(&self, arguments: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_ows"))
            .args(arguments)
            .args(["--json", "--config"])
            .arg(self.state.join("config.json5"))
            .arg("--state-dir")
            .arg(self.state.join("state"))
            .arg("--workspace")
            .arg(self.workspace.path())
            .env_clear()
            .env("HOME", self.state.path())
            .output()
            .expect("the binary can be started");
        let printed = succeeded("ows", &output);
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    /// Runs `ows sync` and gives its counts.
    pub fn sync(&self) -> Counts {
        counts(&self.ows(&["sync"]))
    }
}

/// What a run counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub upload: u64,
    pub download: u64,
    pub delete_local: u64,
    pub delete_remote: u64,
    pub moved: u64,
    pub unchanged: u64,
}

pub fn counts(report: &Value) -> Counts {
    let count = |name: &str| report["counts"][name].as_u64().expect("it is counted");
    Counts {
        upload: count("upload"),
        download: count("download"),
        delete_local: count("delete_local"),
        delete_remote: count("delete_remote"),
        moved: count("move"),
        unchanged: count("unchanged"),
    }
}

/// What a program printed, which must have ended well.
pub fn succeeded(name: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{name}: {}\n{stdout}\n{stderr}",
        output.status
    );
    stdout
}

/// Files of all kinds that both programs can handle, with times that a careless program would round: eight, of which the last
/// is sent in parts.
pub fn fill(tree: &TempTree) -> u64 {
    let large: Vec<u8> = (0..13_000_000_u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let files: [(&str, &[u8]); 8] = [
        ("plain.txt", b"plain"),
        ("empty", b""),
        ("notes/2024/plan.md", b"# Plan"),
        ("two words & more.txt", b"spaces"),
        ("100% +plus %41.txt", b"percent"),
        ("d/ünïcode 日本語 👩‍👧.txt", b"unicode"),
        ("it's \"quoted\" [1]{a,b}.txt", b"quotes"),
        ("video/large.bin", &large),
    ];
    let times = [
        Duration::new(1_700_000_000, 123_456_789),
        Duration::new(1_700_000_001, 0),
        Duration::new(86_400, 1),
        Duration::new(1_600_000_000, 500_000_000),
        Duration::new(1_999_999_999, 999_999_999),
        Duration::new(1_354_040_105, 120_000_000),
        Duration::new(1_711_843_200, 7),
        Duration::new(1_650_000_000, 987_654_321),
    ];
    for ((path, content), time) in files.into_iter().zip(times) {
        tree.write(path, content);
        tree.set_modified(path, SystemTime::UNIX_EPOCH + time);
    }
    files.len() as u64
}
