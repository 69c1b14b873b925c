//! What the benches against other programs have in common: their server, and what a process takes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ows_testkit::process::Child;

/// The number in the variable `name`.
pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("it is a number"))
}

/// The `ows` that is measured.
pub fn ows() -> PathBuf {
    std::env::var_os("OWS_BENCH_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_ows").into(), PathBuf::from)
}

/// The first line of what `program` says of itself.
pub fn about(program: &Path, option: &str) -> String {
    let output = Command::new(program).arg(option).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Content that does not compress, the same for the same seed.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// The one in the middle.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Seconds.
    pub wall: f64,
    /// Seconds of user and system time, of the process and of those that it started and waited for.
    pub cpu: f64,
    /// The peak memory of the largest of these processes.
    pub peak_kib: u64,
}

/// Runs `command`, called `name` in messages, which must succeed.
pub fn measure(name: &str, mut command: Command) -> Usage {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let begin = Instant::now();
    let mut child = Child::spawn(&mut command).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut errors = child.take_stderr().expect("it is piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        // What it said is only for the message about a failure.
        errors.read_to_string(&mut text).unwrap_or_default();
        text
    });
    let (cpu, peak_kib) = watch(child.id());
    let wall = begin.elapsed().as_secs_f64();
    let status = child.wait().expect("it can be waited for");
    let said = reader.join().unwrap_or_default();
    assert!(status.success(), "{name}: {status}: {said}");
    Usage {
        wall,
        cpu,
        peak_kib,
    }
}

/// Follows a process to its end. The CPU time is read when it has ended and nobody has waited for it; peak memory is gone by
/// then, so it is looked at every few milliseconds: it only ever rises.
fn watch(pid: u32) -> (f64, u64) {
    let mut peak = 0;
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if line(&status, "State:").is_none_or(|state| state.starts_with('Z')) {
            break;
        }
        peak = peak.max(peak_of_tree(pid, &status));
        std::thread::sleep(Duration::from_millis(2));
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(f64::NAN)
    };
    // Fields 14 to 17 of the manual page, in hundredths of a second.
    ((11..15).map(ticks).sum::<f64>() / 100.0, peak)
}

/// The largest peak among a process and its children, in KiB. One that has just ended has none.
fn peak_of_tree(pid: u32, status: &str) -> u64 {
    let own = line(status, "VmHWM:").and_then(|text| text.trim_end_matches(" kB").parse().ok());
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .map(|child| {
            let status = fs::read_to_string(format!("/proc/{child}/status"));
            peak_of_tree(child, &status.unwrap_or_default())
        })
        .chain(own)
        .max()
        .unwrap_or_default()
}

fn line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name));
    rest.map(str::trim)
}

/// The server, in a process of its own.
pub struct S3 {
    _child: Child,
    control: String,
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
    pub buckets: Vec<String>,
}

impl S3 {
    pub fn start(buckets: &[&str]) -> Self {
        let program = std::env::var_os("OWS_BENCH_SERVER").map_or_else(built, PathBuf::from);
        let mut command = Command::new(program);
        for bucket in buckets {
            command.args(["--bucket", bucket]);
        }
        // It ends when its stdin is closed.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Child::spawn(&mut command).expect("the server can be started");
        let mut line = String::new();
        BufReader::new(child.take_stdout().expect("it is piped"))
            .read_line(&mut line)
            .expect("the server says where it is");
        let about: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        let text = |name: &str| about[name].as_str().expect("it is there").to_owned();
        Self {
            _child: child,
            control: text("control").trim_start_matches("http://").to_owned(),
            endpoint: text("endpoint"),
            access_key: text("access_key"),
            secret_key: text("secret_key"),
            buckets: buckets.iter().map(|bucket| (*bucket).to_owned()).collect(),
        }
    }

    pub fn post(&self, path: &str) {
        self.ask("POST", path);
    }

    pub fn get(&self, path: &str) -> serde_json::Value {
        self.ask("GET", path)
    }

    fn ask(&self, method: &str, path: &str) -> serde_json::Value {
        let mut stream = TcpStream::connect(&self.control).expect("the server is there");
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: control\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .expect("it can be asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {body}");
        serde_json::from_str(body).expect("it is JSON")
    }
}

/// Builds the server for release, and tells where it is.
fn built() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "ows-testkit",
            "--bin",
            "s3-server",
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be started");
    assert!(built.status.success(), "the server cannot be built");
    String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names what it built")
}
