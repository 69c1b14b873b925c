//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use ows::config::Mode;
use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::sync::conflicts::Keep;

use super::backup::args::BackupArgs;

/// Keeps an agent's workspace in sync with cloud storage.
#[derive(Debug, Parser)]
#[command(name = "ows", version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file, instead of the first that exists of $OWS_CONFIG, <state>/ows/config.json5,
    /// $OPENCLAW_CONFIG_PATH and <state>/openclaw.json
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// State directory, instead of $OPENCLAW_STATE_DIR or ~/.openclaw
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Workspace, instead of the configured one
    #[arg(long, global = true, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Take the workspace of this agent
    #[arg(long, global = true, value_name = "ID")]
    pub agent: Option<String>,
    /// Print one JSON object on standard output at the end
    #[arg(long, global = true)]
    pub json: bool,
    /// Form of the log on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Say more; twice for each step, three times for each request
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Draw no progress bar
    #[arg(long, global = true)]
    pub no_progress: bool,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the main job with no account and no server, in a temporary place
    Demo(DemoArgs),
    /// Run one sync
    Sync(SyncArgs),
    /// Run sync and backups again and again, every `interval` seconds, until it is stopped
    #[command(after_help = DAEMON_HELP)]
    Daemon,
    /// Run one sync for a session hook, when `onSessionStart` or `onSessionEnd` asks for it
    Session(SessionArgs),
    /// Show the remote, what it enforces, the base, the last run, conflicts, the trash and backups
    Status,
    /// Compare both sides by content, and change nothing
    Check(CheckArgs),
    /// List remote files
    List(ListArgs),
    /// Tell what is known of one path, and what the next run would do about it and why
    Why(WhyArgs),
    /// List conflict files, and settle them
    Conflicts(ConflictsArgs),
    /// Show, bring back or empty what was displaced
    Trash(TrashArgs),
    /// Make, list, restore and prove encrypted snapshots of the whole agent system
    Backup(BackupArgs),
    /// Turn the plugin's setup, or a remote of rclone, into <state>/ows/config.json5
    ImportRclone(ImportArgs),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

impl Command {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Demo(_) => "demo",
            Self::Sync(_) => "sync",
            Self::Daemon => "daemon",
            Self::Session(arguments) => arguments.name(),
            Self::Status => "status",
            Self::Check(_) => "check",
            Self::List(_) => "list",
            Self::Why(_) => "why",
            Self::Conflicts(arguments) => arguments.name(),
            Self::Trash(arguments) => arguments.name(),
            Self::Backup(arguments) => arguments.name(),
            Self::ImportRclone(_) => "import-rclone",
            Self::Completions { .. } => "completions",
            Self::Man => "man",
        }
    }
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leave the sample workspace and its remote folder for you to look at
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Show what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Make one side equal to the other, without a drain: `push` the remote, `pull` the workspace
    #[arg(long, value_enum, value_name = "DIRECTION")]
    pub direction: Option<DirectionArg>,
    /// Unite both sides as on a first run (bisync mode only)
    #[arg(long, conflicts_with = "direction")]
    pub resync: bool,
    /// Let this run pass a guard: local-root, remote-root, max-delete, max-change, first-sync, state-rollback, overlap; may be repeated
    #[arg(long, value_name = "GUARD")]
    pub force: Vec<GuardName>,
    /// Wait so many seconds for another run to end
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<Duration>,
    /// Stop after so many seconds, instead of the configured `timeout`; what was finished counts
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Set a damaged database aside and start as without one
    #[arg(long, conflicts_with = "dry_run")]
    pub rebuild_state: bool,
}

/// What the daemon does with signals, and what it does not do yet.
const DAEMON_HELP: &str = "\
The first sync starts after 5 seconds, the first backup after 30 or when the last one is due. SIGTERM and SIGINT end it cleanly within 10 seconds, with exit code 0; \
SIGHUP reads the configuration again. Not in this version: reacting to changes between \
intervals (`watch`), a port for health and metrics (`--listen`).";

#[derive(Debug, Args)]
pub struct SessionArgs {
    #[command(subcommand)]
    pub event: SessionEvent,
}

impl SessionArgs {
    pub fn name(&self) -> &'static str {
        match self.event {
            SessionEvent::Start(_) => "session start",
            SessionEvent::End(_) => "session end",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum SessionEvent {
    /// A session begins: sync when `onSessionStart` is true
    Start(SessionWait),
    /// A session has ended: sync when `onSessionEnd` is true
    End(SessionWait),
}

#[derive(Debug, Args)]
pub struct SessionWait {
    /// Wait so many seconds for another run to end; when it goes on longer, nothing is done and the exit code is 0
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    pub wait: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DirectionArg {
    Pull,
    Push,
}

impl From<DirectionArg> for Direction {
    fn from(direction: DirectionArg) -> Self {
        match direction {
            DirectionArg::Pull => Self::Pull,
            DirectionArg::Push => Self::Push,
        }
    }
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Read the content of every remote file, instead of believing the hash that the remote tells
    #[arg(long)]
    pub download: bool,
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// File or folder, below the root of the pair
    pub path: String,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// An openclaw.json or an rclone.conf; without one the plugin's configuration in openclaw.json, else
    /// <state>/.config/rclone/rclone.conf
    pub file: Option<PathBuf>,
    /// The section of the rclone.conf, where it has several
    #[arg(long, value_name = "NAME")]
    pub section: Option<String>,
    /// The mode, where the source does not say it
    #[arg(long, value_enum, value_name = "MODE")]
    pub mode: Option<ModeArg>,
    /// The folder to sync with, as after the colon of rclone's `remote:path`; on S3 it begins with the bucket
    #[arg(long, value_name = "PATH")]
    pub remote_path: Option<String>,
    /// Move a configuration that is there already aside
    #[arg(long)]
    pub replace: bool,
    /// Show what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The modes, by their names in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    Mailbox,
    Mirror,
    Bisync,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Mailbox => Self::Mailbox,
            ModeArg::Mirror => Self::Mirror,
            ModeArg::Bisync => Self::Bisync,
        }
    }
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Folder or file below the remote folder; everything without one
    pub path: Option<String>,
    /// Also what lies in folders
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

#[derive(Debug, Args)]
pub struct ConflictsArgs {
    #[command(subcommand)]
    pub command: Option<ConflictsCommand>,
}

impl ConflictsArgs {
    pub fn name(&self) -> &'static str {
        match self.command {
            None => "conflicts",
            Some(ConflictsCommand::Resolve { .. }) => "conflicts resolve",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum ConflictsCommand {
    /// Settle a conflict in the workspace; the next sync carries it to the remote
    Resolve {
        /// Whose content keeps the name, the other goes to the trash; with `both` the copy gets an ordinary name
        #[arg(long, value_enum, value_name = "SIDE")]
        keep: KeepArg,
        /// The copy, or the file that it lies beside
        path: String,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

/// What is kept of a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeepArg {
    Local,
    Remote,
    Both,
}

impl From<KeepArg> for Keep {
    fn from(keep: KeepArg) -> Self {
        match keep {
            KeepArg::Local => Self::Local,
            KeepArg::Remote => Self::Remote,
            KeepArg::Both => Self::Both,
        }
    }
}

#[derive(Debug, Args)]
pub struct TrashArgs {
    #[command(subcommand)]
    pub command: TrashCommand,
}

impl TrashArgs {
    pub fn name(&self) -> &'static str {
        match self.command {
            TrashCommand::List => "trash list",
            TrashCommand::Restore { .. } => "trash restore",
            TrashCommand::Empty { .. } => "trash empty",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum TrashCommand {
    /// List displaced files by their original path
    List,
    /// Bring displaced files back into the workspace; nothing that is there is overwritten
    Restore {
        /// Only this file or folder: the newest copy of each; everything of the newest run without one
        path: Option<String>,
        /// Only what this run displaced, as the list shows it; RUN.1 is the first of several folders of a run
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
        /// Show what would be brought back
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove everything in the trash on both sides, for good
    Empty {
        /// Show what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Do not ask; without a terminal, and with --json, nobody is asked
        #[arg(short, long)]
        yes: bool,
    },
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => {
            Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
        }
        _ => Err("a number of seconds is needed, such as 30".to_owned()),
    }
}
