//! What can be typed after `ows backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(subcommand)]
    pub command: BackupCommand,
}

impl BackupArgs {
    pub fn name(&self) -> &'static str {
        match self.command {
            BackupCommand::Keygen(_) => "backup keygen",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Make the key pair that snapshots are encrypted with: `recipients` of the configuration, and its identity
    Keygen(KeygenArgs),
}

#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// File for the identity, readable by you alone; never overwritten. Without it the identity is printed
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
