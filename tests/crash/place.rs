//! A workspace, a state directory and a remote; the binary run over them, undisturbed or killed.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ows_testkit::process::Child;
use ows_testkit::s3::{Clock, Op, Server, Then, When};
use ows_testkit::tree::{Files, OwsFolder, TempTree, read_files};
use rand::rngs::StdRng;

use crate::work::Expected;

/// The bucket, and the folder in it that is the remote.
pub const BUCKET: &str = "bucket";
pub const PREFIX: &str = "ws/";

/// No run takes longer; one that does hangs.
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteKind {
    S3,
    Folder,
}

pub enum Remote {
    S3(Box<Server>),
    Folder(TempTree),
}

/// When a run is killed.
#[derive(Debug, Clone, Copy)]
pub enum Kill {
    /// So long after its start.
    After(Duration),
    /// When the server receives the `nth` call of `op`.
    OnCall {
        op: Op,
        nth: usize,
        /// The call is carried out all the same, and nobody hears the answer; else it never happens.
        carried_out: bool,
    },
}

/// What is synced, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Mailbox,
    /// The folder `ws` of the workspace mirrors the remote, and `inbox` beside it is sent up.
    Mirror,
    /// Both sides may change; the first run unites them.
    Bisync,
}

pub struct Place {
    pub mode: Mode,
    pub workspace: TempTree,
    pub state: TempTree,
    pub remote: Remote,
    pub expected: Expected,
    pub rng: StdRng,
}

impl Place {
    pub fn new(mode: Mode, remote: RemoteKind, seed: u64) -> Self {
        use rand::SeedableRng as _;
        let remote = match remote {
            RemoteKind::S3 => {
                // S3 tells the time of storing in whole seconds, and within the second of our own upload an edit is not
                // told from what the store itself made of it. People are slower than these tests.
                let clock = Clock::manual(SystemTime::now());
                Remote::S3(Box::new(
                    Server::builder().bucket(BUCKET).clock(clock).start(),
                ))
            }
            RemoteKind::Folder => Remote::Folder(TempTree::new()),
        };
        let place = Self {
            mode,
            workspace: TempTree::new(),
            state: TempTree::new(),
            remote,
            expected: Expected::default(),
            rng: StdRng::seed_from_u64(seed),
        };
        place.state.write("config.json5", place.config());
        place
    }

    pub fn server(&self) -> &Server {
        match &self.remote {
            Remote::S3(server) => server,
            Remote::Folder(_) => panic!("the remote is a folder"),
        }
    }

    fn config(&self) -> String {
        let mode = match self.mode {
            Mode::Mailbox => "mode: 'mailbox'",
            // People change most of the few files in each round.
            Mode::Bisync => {
                "mode: 'bisync', firstSync: 'merge', conflictResolve: 'remote', maxDelete: 100, maxChange: 100"
            }
            Mode::Mirror => "mode: 'mirror', localPath: 'ws', ingest: true, maxDelete: 100",
        };
        match &self.remote {
            Remote::S3(server) => format!(
                "{{ sync: {{ provider: 's3', {mode}, remotePath: 'ws', s3: {{ endpoint: '{}', bucket: '{BUCKET}', \
                 region: 'us-east-1', accessKeyId: '{}', secretAccessKey: '{}' }} }} }}",
                server.endpoint(),
                server.access_key(),
                server.secret_key(),
            ),
            Remote::Folder(folder) => format!(
                "{{ sync: {{ provider: 'custom', {mode}, remotePath: 'ws', settle: 0, \
                 custom: {{ type: 'local', options: {{ path: {:?} }} }} }} }}",
                folder.path(),
            ),
        }
    }

    /// Everything in the remote by its path below the pair's root, `.ows` included.
    pub fn remote_files(&self) -> Files {
        match &self.remote {
            Remote::S3(server) => {
                let objects = server.objects(BUCKET).into_iter();
                objects
                    .map(|(key, object)| {
                        let path = key
                            .strip_prefix(PREFIX)
                            .expect("nothing lies beside the pair");
                        (path.to_owned(), object.content().to_vec())
                    })
                    .collect()
            }
            Remote::Folder(folder) if !folder.join("ws").exists() => Files::new(),
            Remote::Folder(folder) => read_files(&folder.join("ws"), OwsFolder::Include),
        }
    }

    /// As a person in the cloud would.
    pub fn put_remote(&self, path: &str, content: &[u8]) {
        match &self.remote {
            Remote::S3(server) => {
                server.clock().advance(Duration::from_secs(2));
                server.put(BUCKET, &format!("{PREFIX}{path}"), content.to_vec());
            }
            Remote::Folder(folder) => folder.write(&format!("ws/{path}"), content),
        }
    }

    /// As a person in the cloud would.
    pub fn delete_remote(&self, path: &str) {
        match &self.remote {
            Remote::S3(server) => {
                server.clock().advance(Duration::from_secs(2));
                server.delete(BUCKET, &format!("{PREFIX}{path}"));
            }
            Remote::Folder(folder) => folder.remove(&format!("ws/{path}")),
        }
    }

    /// Starts `ows sync` with these options.
    pub fn start(&self, options: &[&str]) -> Run {
        self.start_command(&[&["sync", "--no-progress"], options].concat())
    }

    /// Starts `ows` with these arguments.
    pub fn start_command(&self, arguments: &[&str]) -> Run {
        start(&self.state, self.workspace.path(), arguments)
    }

    /// Runs to the end, which must be a good one.
    pub fn finish(&mut self) {
        let mut run = self.start(&[]);
        let status = run.wait();
        assert!(status.success(), "{status}: {}", run.output());
    }

    /// Runs and kills. False when the run ended before that.
    pub fn run_killed(&mut self, kill: Kill) -> bool {
        match &self.remote {
            Remote::S3(server) => kill_run(server, kill, || self.start(&[])),
            Remote::Folder(_) => match kill {
                Kill::After(time) => was_killed(self.start(&[]).killed_after(time)),
                Kill::OnCall { .. } => panic!("the remote is a folder"),
            },
        }
    }

    /// A run that hangs in its first call of `op`.
    pub fn start_hung(&self, op: Op) -> Run {
        self.server().fault(When::op(op), Then::Hang);
        let run = self.start(&[]);
        self.until("the call is reached", || {
            self.server().unreached_faults().is_empty()
        });
        run
    }

    /// A run whose first call of `op` takes so long.
    pub fn start_slowed(&self, op: Op, time: Duration) -> Run {
        self.server().fault(When::op(op), Then::Delay(time));
        let run = self.start(&[]);
        self.until("the call is reached", || {
            self.server().unreached_faults().is_empty()
        });
        run
    }

    /// Until the run has the lock file open, and so waits for the lock.
    pub fn wait_until_waiting(&self, run: &Run) {
        let folder = format!("/proc/{}/fd", run.child.id());
        self.until("the run waits for the lock", || {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                return false;
            };
            entries
                .flatten()
                .filter_map(|entry| std::fs::read_link(entry.path()).ok())
                .any(|target| {
                    target
                        .extension()
                        .is_some_and(|extension| extension == "lock")
                })
        });
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < deadline, "never came: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Starts `ows` with the configuration, and the state directory `state`, that lie in `home`.
pub fn start(home: &TempTree, workspace: &Path, arguments: &[&str]) -> Run {
    let output = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let handle = || -> File { output.reopen().expect("it can be opened again") };
    let (stdout, stderr) = (handle(), File::options().append(true).open(output.path()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ows"));
    command
        .arg("--config")
        .arg(home.join("config.json5"))
        .arg("--state-dir")
        .arg(home.join("state"))
        .arg("--workspace")
        .arg(workspace)
        .args(arguments)
        .env_clear()
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr.expect("it can be opened again"));
    Run {
        child: Child::spawn(&mut command).expect("the binary can be started"),
        output,
    }
}

/// Runs against `server` what `begin` starts, and kills it. False when the run ended before that.
pub fn kill_run(server: &Server, kill: Kill, begin: impl FnOnce() -> Run) -> bool {
    let killed = match kill {
        Kill::After(time) => begin().killed_after(time),
        Kill::OnCall {
            op,
            nth,
            carried_out: true,
        } => killed_by_call(server, op, nth, begin),
        Kill::OnCall {
            op,
            nth,
            carried_out: false,
        } => killed_in_call(server, op, nth, begin),
    };
    settle(server);
    was_killed(killed)
}

fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}

fn killed_by_call(server: &Server, op: Op, nth: usize, begin: impl FnOnce() -> Run) -> ExitStatus {
    let pid = Arc::new(AtomicU32::new(0));
    let known = Arc::clone(&pid);
    let kill = move |_: &ows_testkit::s3::Access| {
        // The call may be faster than the line that tells the number.
        while known.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        let number = known.load(Ordering::SeqCst).cast_signed();
        let pid = rustix::process::Pid::from_raw(number).expect("it is no zero");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .expect("a process that was not waited for can be killed");
    };
    server.fault(When::op(op).nth(nth), Then::race(kill));
    let mut run = begin();
    pid.store(run.child.id(), Ordering::SeqCst);
    let status = run.end();
    server.clear_faults();
    status
}

fn killed_in_call(server: &Server, op: Op, nth: usize, begin: impl FnOnce() -> Run) -> ExitStatus {
    server.fault(When::op(op).nth(nth), Then::Hang);
    let status = begin().killed_when(|| server.unreached_faults().is_empty());
    server.clear_faults();
    status
}

/// Waits until the server has done with what it received. A call that outlives its client by seconds would be another
/// writer, which the next run leaves alone and reports.
fn settle(server: &Server) {
    let deadline = Instant::now() + LIMIT;
    loop {
        server.reset_calls();
        if server.most_running() == 0 {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the server does not come to rest"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A run of the binary.
pub struct Run {
    child: Child,
    output: tempfile::NamedTempFile,
}

impl Run {
    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = self.child.wait_for(LIMIT).expect("it can be waited for");
        ended.unwrap_or_else(|| panic!("the run hangs: {}", self.output()))
    }

    /// As [`Self::wait`], for a run that was killed, or was to be and was faster.
    fn end(&mut self) -> ExitStatus {
        let status = self.wait();
        let fine = status.success() || status.signal() == Some(9);
        assert!(fine, "{status}: {}", self.output());
        status
    }

    /// Kills it after this time, unless it has ended by then.
    pub fn killed_after(&mut self, time: Duration) -> ExitStatus {
        match self.child.wait_for(time).expect("it can be waited for") {
            Some(_) => self.end(),
            None => self.kill(),
        }
    }

    /// Kills it as soon as this is so, unless it has ended by then.
    pub fn killed_when(&mut self, is_so: impl Fn() -> bool) -> ExitStatus {
        loop {
            if is_so() {
                return self.kill();
            }
            let ended = self.child.wait_for(Duration::from_millis(1));
            if ended.expect("it can be waited for").is_some() {
                return self.end();
            }
        }
    }

    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().expect("it can be killed")
    }

    /// What it said.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.output.path()).unwrap_or_default()
    }
}
