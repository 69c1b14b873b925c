//! What can be typed after `ows backup`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ows::backup::verify::Level;

#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(subcommand)]
    pub command: BackupCommand,
}

impl BackupArgs {
    pub fn name(&self) -> &'static str {
        match self.command {
            BackupCommand::Now(_) => "backup now",
            BackupCommand::List => "backup list",
            BackupCommand::Ls(_) => "backup ls",
            BackupCommand::Restore(_) => "backup restore",
            BackupCommand::Verify(_) => "backup verify",
            BackupCommand::Drill => "backup drill",
            BackupCommand::Prune(_) => "backup prune",
            BackupCommand::Status(_) => "backup status",
            BackupCommand::Keygen(_) => "backup keygen",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Make a snapshot, then remove the older ones that `retain` does not keep
    Now(NowArgs),
    /// List snapshots, and when each was proven to restore
    List,
    /// List the files of a snapshot
    Ls(LsArgs),
    /// Restore a snapshot, or parts of it, into a folder
    Restore(RestoreArgs),
    /// Prove that snapshots are complete and undamaged
    Verify(VerifyArgs),
    /// Restore the newest snapshot into a scratch folder, check everything, and clean up
    Drill,
    /// Remove the snapshots that `retain` does not keep
    Prune(PruneArgs),
    /// Show the last backup, the next one, what was proven, and the total size
    Status(StatusArgs),
    /// Make the key pair that snapshots are encrypted with: `recipients` of the configuration, and its identity
    Keygen(KeygenArgs),
}

#[derive(Debug, Args)]
pub struct NowArgs {
    /// Show what a snapshot would hold, and store nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct LsArgs {
    /// Name of the snapshot as `ows backup list` shows it, or `latest`
    pub snapshot: String,
    /// Only this file or folder, such as `workspace/notes`
    pub path: Option<OsString>,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Name of the snapshot as `ows backup list` shows it, or `latest`
    #[arg(long, value_name = "NAME", default_value = "latest")]
    pub snapshot: String,
    /// Folder to restore into, instead of <state>/.backup-restore/<snapshot>
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Only this file or folder, as `ows backup ls` shows it; may be repeated
    #[arg(long = "path", value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Show what would be restored, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Restore into a folder that is not empty; what is replaced is kept in <target>.replaced-<time>
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Name of the snapshot as `ows backup list` shows it, or `latest`
    #[arg(long, value_name = "NAME", default_value = "latest")]
    pub snapshot: String,
    /// Every snapshot that is there, those of other profiles and of the old plugin too
    #[arg(long, conflicts_with = "snapshot")]
    pub all: bool,
    /// How much is proven: `list` compares manifest and listing, `hash` reads the stored objects again (no key is needed), `read`
    /// decrypts them and checks every file; without it `read` where this host has the key, else `hash`
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub level: Option<LevelArg>,
}

/// How much of a snapshot is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LevelArg {
    List,
    Hash,
    Read,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::List => Self::List,
            LevelArg::Hash => Self::Hash,
            LevelArg::Read => Self::Read,
        }
    }
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Also the snapshots of the old plugin, by the same rules
    #[arg(long)]
    pub legacy: bool,
    /// Also objects of snapshots that have no manifest, such as those of a host that died in a backup
    #[arg(long)]
    pub unlisted: bool,
    /// Prune although the newest snapshot is much smaller than the largest one that is kept (`minSize`)
    #[arg(long)]
    pub accept_shrink: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Exit with 1 when the last good backup is older than this, such as `26h` or `3d`
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub max_age: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// File for the identity, readable by you alone; never overwritten. Without it the identity is printed
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

fn span(text: &str) -> Result<Duration, String> {
    ows::config::parse_span(text)
        .filter(|span| !span.is_zero())
        .ok_or_else(|| "a span such as `26h`, `3d` or `2w` is needed".to_owned())
}
