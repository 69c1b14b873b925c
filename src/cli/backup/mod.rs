//! `ows backup`: one file a subcommand.

pub mod args;
mod keygen;

use ows::error::Outcome;

use super::output::{Answer, Output};
use args::{BackupArgs, BackupCommand};

pub fn run(arguments: &BackupArgs, output: &Output, answer: &mut Answer) -> Outcome<()> {
    match &arguments.command {
        BackupCommand::Keygen(arguments) => keygen::run(arguments, output, answer),
    }
}
