//! The `ows` command. Everything that it does is a call of the library of the same name.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os().collect())
}
