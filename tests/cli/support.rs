//! A place for one test, and the binary run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ows_testkit::process::Child;
use ows_testkit::s3::Server;
use ows_testkit::tree::TempTree;
use regex::Regex;
use serde_json::Value;

/// No run of a test takes so long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The bucket of every server here.
pub const BUCKET: &str = "files";

/// A home with a state, a workspace and a folder `cloud` that may serve as remote.
pub struct World {
    root: TempTree,
}

impl World {
    /// Folders and no configuration.
    pub fn bare() -> Self {
        let root = TempTree::new();
        for folder in ["home", "tmp", "state", "workspace"] {
            root.folder(folder);
        }
        Self { root }
    }

    /// The folder `cloud` as the remote, in mailbox mode; `more` are keys of `sync`, each ended by a comma.
    pub fn with_folder(more: &str) -> Self {
        let world = Self::bare();
        let cloud = world.path("cloud");
        world.config(&format!(
            "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {cloud:?} }} }}, \
             mode: 'mailbox', remotePath: '', settle: 0, {more} }} }}"
        ));
        world
    }

    /// A bucket as the remote, in mailbox mode.
    pub fn with_s3(server: &Server, more: &str) -> Self {
        let world = Self::bare();
        world.config(&s3_config(server, more));
        world
    }

    pub fn config(&self, text: &str) {
        self.root.write("state/ows/config.json5", text);
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Writes a file below the root: `workspace/notes.md`, `cloud/_outbox/a`.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        self.root.write(path, content);
    }

    pub fn folder(&self, path: &str) {
        self.root.folder(path);
    }

    pub fn read(&self, path: &str) -> Option<String> {
        let content = self.root.read(path)?;
        Some(String::from_utf8(content).unwrap())
    }

    pub fn remove(&self, path: &str) {
        self.root.remove(path);
    }

    pub fn tree(&self) -> &TempTree {
        &self.root
    }

    /// Everything below `root`, ours included, as paths.
    pub fn everything(&self, below: &str) -> Vec<String> {
        let root = self.path(below);
        let mut found = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(&root).unwrap().display().to_string());
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// The binary, with nothing of the surrounding environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ows"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("OPENCLAW_STATE_DIR", self.path("state"))
            .env("OPENCLAW_WORKSPACE_DIR", self.path("workspace"))
            .env("NO_COLOR", "1")
            .env("TZ", "UTC")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .current_dir(self.path("home"))
            .stdin(Stdio::null());
        command
    }

    pub fn ows(&self, arguments: &[&str]) -> Ran {
        self.run(self.command(arguments))
    }

    /// Runs to the end.
    pub fn run(&self, command: Command) -> Ran {
        Running::start(command, self.path("")).end()
    }

    /// Starts and does not wait.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments), self.path(""))
    }

    /// Runs and must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.ows(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.shown());
        ran
    }

    /// Runs with `--json` and gives the one object.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        self.ows(&all).json()
    }
}

/// The configuration for a server's bucket.
pub fn s3_config(server: &Server, more: &str) -> String {
    format!(
        "{{ sync: {{ provider: 's3', mode: 'mailbox', remotePath: '', {more} s3: {{ endpoint: '{}', bucket: '{BUCKET}', \
         region: 'us-east-1', accessKeyId: '{}', secretAccessKey: '{}' }} }} }}",
        server.endpoint(),
        server.access_key(),
        server.secret_key()
    )
}

/// A process under way. Both outputs are read all the time, so that it never waits for us.
pub struct Running {
    pub child: Child,
    stdout: std::thread::JoinHandle<Vec<u8>>,
    stderr: std::thread::JoinHandle<Vec<u8>>,
    root: PathBuf,
}

impl Running {
    fn start(mut command: Command, root: PathBuf) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Child::spawn(&mut command).unwrap();
        let stdout = read(child.take_stdout().unwrap());
        let stderr = read(child.take_stderr().unwrap());
        Self {
            child,
            stdout,
            stderr,
            root,
        }
    }

    /// Waits for its end.
    pub fn end(self) -> Ran {
        self.end_within(PATIENCE).0
    }

    /// Waits for its end, and gives the most memory that it held, in MiB. What an ended process held is no longer told, so
    /// that is looked at every few milliseconds: it only ever rises.
    pub fn end_within(mut self, patience: Duration) -> (Ran, u64) {
        let begun = Instant::now();
        let mut peak_kib = 0;
        let status = loop {
            peak_kib = self.child.peak_kib().unwrap_or_default().max(peak_kib);
            match self.child.wait_for(Duration::from_millis(1)).unwrap() {
                Some(status) => break status,
                None => assert!(begun.elapsed() < patience, "the command hangs"),
            }
        };
        let ran = Ran {
            code: status.code(),
            stdout: String::from_utf8(self.stdout.join().unwrap()).unwrap(),
            stderr: String::from_utf8(self.stderr.join().unwrap()).unwrap(),
            root: self.root,
        };
        (ran, peak_kib >> 10)
    }
}

fn read(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).unwrap();
        all
    })
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    root: PathBuf,
}

impl Ran {
    /// The one object, and nothing else, on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.shown());
        let value: Value = serde_json::from_str(&self.stdout).unwrap();
        assert_eq!(value["exit_code"].as_i64(), self.code.map(i64::from));
        assert_eq!(value["ok"], self.code == Some(0));
        value
    }

    /// For snapshots: exit code and both outputs, with everything replaced that differs from run to run.
    pub fn shown(&self) -> String {
        let code = self
            .code
            .map_or_else(|| "by a signal".to_owned(), |code| code.to_string());
        let mut text = format!("exit code: {code}\n");
        for (name, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !output.is_empty() {
                text.push_str(&format!("--- {name}\n{output}"));
            }
        }
        filtered(&text, &self.root)
    }
}

fn filtered(text: &str, root: &Path) -> String {
    let root = root.display().to_string();
    let text = text.replace(root.trim_end_matches('/'), "[ROOT]");
    let filters = [
        (r"ows-\d{8}T\d{6}Z-[0-9a-f]{8}", "[SNAPSHOT]"),
        (r"age1[a-z0-9]{58}", "[RECIPIENT]"),
        (r"AGE-SECRET-KEY-1[A-Z0-9]{58}", "[IDENTITY]"),
        (r"\b[0-9a-f]{16} \(manifests", "[FINGERPRINT] (manifests"),
        (r"\d{8}T\d{6}Z-[0-9a-f]{8}", "[RUN]"),
        (r"locks/[0-9a-f]{16}", "locks/[PAIR]"),
        (
            r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| UTC)",
            "[TIME]",
        ),
        (r"127\.0\.0\.1:\d+", "[SERVER]"),
        (r"\d+\.\d s\)", "[SECONDS] s)"),
        (r"request [0-9A-Za-z-]+", "request [ID]"),
        (r"probe/[0-9a-f]{16}", "probe/[ID]"),
        (r"\.damaged-\d{8}T\d{6}Z", ".damaged-[TIME]"),
    ];
    filters.iter().fold(text, |text, (pattern, with)| {
        Regex::new(pattern)
            .unwrap()
            .replace_all(&text, *with)
            .into_owned()
    })
}

/// A server with one bucket.
pub fn server() -> Server {
    Server::with_bucket(BUCKET)
}
