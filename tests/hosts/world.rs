//! Two hosts, a remote, and the people who work with them.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use ows_testkit::process::Child;
use ows_testkit::s3::{Clock, Op, Server};
use ows_testkit::tree::{Files, OwsFolder, TempTree, read_files};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

/// The bucket, and the folder in it that is the remote.
const BUCKET: &str = "bucket";
const PREFIX: &str = "ws/";

/// No run takes longer; one that does hangs.
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy)]
pub enum RemoteKind {
    S3,
    Folder,
}

enum Remote {
    S3(Box<Server>),
    Folder(TempTree),
}

/// How the hosts sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Mailbox,
    Bisync,
}

struct Host {
    workspace: TempTree,
    /// Where people keep what they take out of the workspace, or are about to put in.
    aside: TempTree,
    state: TempTree,
}

pub struct World {
    hosts: Vec<Host>,
    mode: Mode,
    remote: Remote,
    pub rng: StdRng,
    count: u32,
    /// What people put into the cloud and have not taken away again, drops included.
    in_cloud: BTreeSet<Vec<u8>>,
}

impl World {
    /// Two hosts in mailbox mode. Both hold the same, and so does the remote.
    pub fn new(remote: RemoteKind, seed: u64) -> Self {
        let world = Self::started(remote, Mode::Mailbox, 2, seed);
        world.write(0, "keep.md", b"stays");
        assert_eq!(world.start(0, &[]).end(), Some(0));
        world.later();
        assert_eq!(world.start(1, &["--direction", "pull"]).end(), Some(0));
        world.later();
        world
    }

    /// So many hosts in bisync mode, all of which hold the same.
    pub fn bisync(remote: RemoteKind, hosts: usize, seed: u64) -> Self {
        let world = Self::started(remote, Mode::Bisync, hosts, seed);
        world.write(0, "keep.md", b"stays");
        for host in 0..hosts {
            assert_eq!(world.start(host, &[]).end(), Some(0));
        }
        world
    }

    fn started(remote: RemoteKind, mode: Mode, hosts: usize, seed: u64) -> Self {
        let remote = match remote {
            RemoteKind::S3 => {
                let clock = Clock::manual(SystemTime::now());
                let server = Server::builder().bucket(BUCKET).clock(clock);
                Remote::S3(Box::new(server.start()))
            }
            RemoteKind::Folder => Remote::Folder(TempTree::new()),
        };
        let host = || Host {
            workspace: TempTree::new(),
            aside: TempTree::new(),
            state: TempTree::new(),
        };
        let world = Self {
            hosts: (0..hosts).map(|_| host()).collect(),
            mode,
            remote,
            rng: StdRng::seed_from_u64(seed),
            count: 0,
            in_cloud: BTreeSet::new(),
        };
        for host in &world.hosts {
            host.state.write("config.json5", world.config());
        }
        world
    }

    fn config(&self) -> String {
        let mode = match self.mode {
            Mode::Mailbox => "mailbox",
            Mode::Bisync => "bisync",
        };
        let common = format!("mode: '{mode}', remotePath: 'ws', maxDelete: 100, maxChange: 100");
        match &self.remote {
            Remote::S3(server) => format!(
                "{{ sync: {{ provider: 's3', {common}, s3: {{ endpoint: '{}', bucket: '{BUCKET}', region: 'us-east-1', \
                 accessKeyId: '{}', secretAccessKey: '{}' }} }} }}",
                server.endpoint(),
                server.access_key(),
                server.secret_key(),
            ),
            Remote::Folder(folder) => format!(
                "{{ sync: {{ provider: 'custom', {common}, settle: 0, custom: {{ type: 'local', options: {{ path: {:?} }} }} }} }}",
                folder.path(),
            ),
        }
    }

    /// From now on a host has one transfer in flight at a time, in the order of the names.
    pub fn one_at_a_time(&self, host: usize) {
        let config = self
            .config()
            .replace("mode: 'mailbox'", "mode: 'mailbox', transfers: 1");
        self.hosts[host].state.write("config.json5", config);
    }

    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    pub fn server(&self) -> &Server {
        match &self.remote {
            Remote::S3(server) => server,
            Remote::Folder(_) => panic!("the remote is a folder"),
        }
    }

    /// S3 tells the time of storing in whole seconds; people are slower than these tests.
    fn later(&self) {
        if let Remote::S3(server) = &self.remote {
            server.clock().advance(Duration::from_secs(2));
        }
    }

    pub fn write(&self, host: usize, path: &str, content: &[u8]) {
        self.hosts[host].workspace.write(path, content);
    }

    /// What the file holds on this host.
    pub fn read(&self, host: usize, path: &str) -> Option<Vec<u8>> {
        self.hosts[host].workspace.read(path)
    }

    /// Replaces a file, or deletes it, in one step that tells what was there: a run may be under way. The file's folder is
    /// there.
    pub fn exchange(&self, host: usize, path: &str, content: Option<&[u8]>) -> Option<Vec<u8>> {
        let at = self.hosts[host].workspace.join(path);
        let aside = self.hosts[host].aside.join("file");
        let rename = |from: &Path, to: &Path, flags| match rustix::fs::renameat_with(
            CWD, from, CWD, to, flags,
        ) {
            Ok(()) => true,
            Err(Errno::NOENT | Errno::EXIST) => false,
            Err(error) => panic!("{} to {}: {error}", from.display(), to.display()),
        };
        let old = match content {
            None => rename(&at, &aside, RenameFlags::NOREPLACE),
            Some(content) => loop {
                self.hosts[host].aside.write("file", content);
                if rename(&aside, &at, RenameFlags::EXCHANGE) {
                    break true;
                }
                if rename(&aside, &at, RenameFlags::NOREPLACE) {
                    break false;
                }
            },
        };
        old.then(|| {
            let content = self.hosts[host].aside.read("file");
            self.hosts[host].aside.remove("file");
            content.expect("it was just put there")
        })
    }

    /// The workspace of a host, without what belongs to `ows`.
    pub fn workspace_files(&self, host: usize) -> Files {
        self.hosts[host].workspace.files()
    }

    /// Somebody does something: on a host, in the cloud, or to the clock of the store.
    pub fn act(&mut self) {
        self.count += 1;
        let content = format!("content {}\n", self.count)
            .repeat(self.rng.random_range(1..400))
            .into_bytes();
        let folder = self.rng.random_range(0..2);
        let path = format!("d{folder}/f{}", self.rng.random_range(0..4));
        let host = self.rng.random_range(0..2_usize);
        match self.rng.random_range(0..10) {
            0..=3 => self.write(host, &path, &content),
            4 => {
                let workspace = &self.hosts[host].workspace;
                if workspace.files().contains_key(&path) {
                    workspace.remove(&path);
                }
            }
            5 | 6 => {
                self.take_away(&path);
                self.put_remote(&path, &content);
                self.in_cloud.insert(content);
            }
            7 => {
                self.take_away(&path);
                self.remove_remote(&path);
            }
            8 => {
                self.put_remote(&format!("_outbox/n{}", self.count), &content);
                self.in_cloud.insert(content);
            }
            _ => {
                let seconds = self.rng.random_range(-100..2000_i64);
                let by = Duration::from_secs(seconds.unsigned_abs());
                if let Remote::S3(server) = &self.remote {
                    let now = server.clock().now();
                    let then = if seconds < 0 { now - by } else { now + by };
                    server.clock().set(then);
                }
            }
        }
    }

    /// Who overwrites or removes a file in the cloud means what is in it.
    fn take_away(&mut self, path: &str) {
        if let Some(content) = self.remote_files().get(path) {
            self.in_cloud.remove(content);
        }
    }

    fn put_remote(&self, path: &str, content: &[u8]) {
        self.later();
        match &self.remote {
            Remote::S3(server) => {
                server.put(BUCKET, &format!("{PREFIX}{path}"), content.to_vec());
            }
            Remote::Folder(folder) => folder.write(&format!("ws/{path}"), content),
        }
    }

    fn remove_remote(&self, path: &str) {
        match &self.remote {
            Remote::S3(server) => {
                server.delete(BUCKET, &format!("{PREFIX}{path}"));
            }
            Remote::Folder(folder) if folder.join(&format!("ws/{path}")).exists() => {
                folder.remove(&format!("ws/{path}"));
            }
            Remote::Folder(_) => {}
        }
    }

    /// Everything in the remote, `.ows` included.
    pub fn remote_files(&self) -> Files {
        match &self.remote {
            Remote::S3(server) => {
                let objects = server.objects(BUCKET).into_iter();
                let strip = |key: String| key.strip_prefix(PREFIX).expect("its own").to_owned();
                objects
                    .map(|(key, object)| (strip(key), object.content().to_vec()))
                    .collect()
            }
            Remote::Folder(folder) => read_files(&folder.join("ws"), OwsFolder::Include),
        }
    }

    /// Starts `ows sync` on a host.
    pub fn start(&self, host: usize, options: &[&str]) -> Run {
        self.later();
        let host = &self.hosts[host];
        let output = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let handle = || -> File { output.reopen().expect("it can be opened again") };
        let mut command = Command::new(env!("CARGO_BIN_EXE_ows"));
        command
            .args(["sync", "--no-progress", "--config"])
            .arg(host.state.join("config.json5"))
            .arg("--state-dir")
            .arg(host.state.join("state"))
            .arg("--workspace")
            .arg(host.workspace.path())
            .args(options)
            .env_clear()
            .env("HOME", host.state.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(handle());
        Run {
            child: Child::spawn(&mut command).expect("the binary can be started"),
            output,
        }
    }

    /// Every content that is anywhere.
    pub fn everywhere(&self) -> BTreeSet<Vec<u8>> {
        let mut all: BTreeSet<Vec<u8>> = self.remote_files().into_values().collect();
        for host in &self.hosts {
            all.extend(read_files(host.workspace.path(), OwsFolder::Include).into_values());
        }
        all
    }

    pub fn assert_nothing_lost(&self, what: &str) {
        let all = self.everywhere();
        for content in &self.in_cloud {
            let text = String::from_utf8_lossy(content);
            let line = text.lines().next().unwrap_or_default();
            assert!(all.contains(content), "{what}: lost: {line}");
        }
    }

    /// People have stopped. After a few runs of each host none writes any more, and nothing is left over.
    pub fn assert_becomes_quiet(&self, rounds: usize) {
        for _ in 0..rounds {
            self.end_leases();
            for host in 0..self.hosts.len() {
                self.start(host, &[]).end();
            }
        }
        let before = self.remote_files();
        for host in (0..self.hosts.len()).cycle().take(2 * self.hosts.len()) {
            if let Remote::S3(server) = &self.remote {
                server.reset_calls();
            }
            let mut run = self.start(host, &[]);
            let code = run.end();
            assert!(matches!(code, Some(0 | 3)), "{code:?}: {}", run.output());
            if let Remote::S3(server) = &self.remote {
                let calls = server.calls();
                assert!(
                    calls
                        .iter()
                        .all(|(op, count)| *op == Op::List && *count <= 2),
                    "not quiet: {calls:?} {}",
                    run.output()
                );
            }
            assert!(self.remote_files() == before, "a quiet run has written");
        }
        self.assert_nothing_lost("at the end");
        for path in before.keys() {
            let is_own = path.starts_with(".ows/");
            // A lease that has ended stays until somebody has something to write.
            let stays = path.starts_with(".ows/trash/")
                || path.starts_with(".ows/base-")
                || path == ".ows/lease";
            assert!(!is_own || stays, "left in the remote: {path}");
            assert!(!path.starts_with("_outbox/n"), "not delivered: {path}");
        }
        for host in &self.hosts {
            let files = read_files(host.workspace.path(), OwsFolder::Include);
            let temporary = files.keys().find(|path| path.contains(".ows-tmp-"));
            assert_eq!(temporary, None, "a temporary file is left");
        }
        if let Remote::S3(server) = &self.remote {
            assert!(server.uploads(BUCKET).is_empty(), "unfinished uploads");
        }
    }

    /// Leases of killed runs end: time goes by for the store.
    fn end_leases(&self) {
        match &self.remote {
            Remote::S3(server) => server.clock().advance(Duration::from_secs(6000)),
            Remote::Folder(folder) if folder.join("ws/.ows/lease").exists() => {
                // The system's clock cannot be set: what time would do to it is done here.
                folder.remove("ws/.ows/lease");
            }
            Remote::Folder(_) => {}
        }
    }

    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < deadline, "never came: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A run of the binary.
pub struct Run {
    child: Child,
    output: tempfile::NamedTempFile,
}

impl Run {
    /// Waits for its end. `None` when it was killed; else it ended well, left something alone, or met another host.
    pub fn end(&mut self) -> Option<i32> {
        let ended = self.child.wait_for(LIMIT).expect("it can be waited for");
        let status = ended.unwrap_or_else(|| panic!("the run hangs: {}", self.output()));
        let fine = matches!(status.code(), Some(0 | 3 | 6)) || status.signal() == Some(9);
        assert!(fine, "{status}: {}", self.output());
        status.code()
    }

    /// Waits for its end, whatever that is. `None` when it was killed.
    pub fn end_somehow(&mut self) -> Option<i32> {
        let ended = self.child.wait_for(LIMIT).expect("it can be waited for");
        ended
            .unwrap_or_else(|| panic!("the run hangs: {}", self.output()))
            .code()
    }

    /// Stops it in its tracks until [`Self::resume`], as a host that is suspended.
    pub fn suspend(&self) {
        self.child.suspend().expect("it can be stopped");
    }

    pub fn resume(&self) {
        self.child.resume().expect("it can go on");
    }

    /// Kills it when it still runs after this time. False when it has ended by itself.
    pub fn kill_after(&mut self, time: Duration) -> bool {
        let ended = self.child.wait_for(time).expect("it can be waited for");
        ended.is_none() && self.child.kill().expect("it can be killed").signal() == Some(9)
    }

    /// What it said.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.output.path()).unwrap_or_default()
    }
}
