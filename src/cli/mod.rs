//! The command line: what was typed becomes options of the library, what it answers becomes text or JSON.
//!
//! One file a command. No decisions are made here. A command fills its [`Answer`] as it goes, so that what it found out
//! before it failed, or before a signal came, is shown all the same.

mod args;
mod backup;
mod check;
mod conflicts;
mod daemon;
mod demo;
mod import;
mod list;
mod open;
mod output;
mod progress;
mod session;
mod signals;
mod status;
mod sync;
mod text;
mod trash;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use ows::cancel::Cancel;
use ows::error::{Failure, Outcome};
use tracing_subscriber::{EnvFilter, fmt};

use args::{Cli, Command};
use output::{Answer, Output};
use progress::{LogWriter, Progress};

/// Runs the program and gives its exit code.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return output::usage_error(&error, &arguments),
    };
    let output = Output::new(&cli.global);
    let progress = Progress::new(output.may_draw());
    start_logging(&cli, &progress);
    let answer = Answer::new(cli.command.name());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::failed("could not start").with_source(error);
            return output.finish(answer, Some(&failure));
        }
    };
    let code = runtime.block_on(dispatch(cli, &output, &progress, answer));
    // Threads that still wait for a disk or a server that does not answer are not waited for.
    runtime.shutdown_background();
    code
}

async fn dispatch(cli: Cli, output: &Output, progress: &Progress, mut answer: Answer) -> ExitCode {
    let cancel = Cancel::new();
    let result = match signals::listen(&cancel, output, cli.command.name()) {
        Ok(()) => run(&cli, output, progress, &cancel, &mut answer).await,
        Err(failure) => Err(failure),
    };
    progress.clear();
    output.finish(answer, result.as_ref().err())
}

async fn run(
    cli: &Cli,
    output: &Output,
    progress: &Progress,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let global = &cli.global;
    match &cli.command {
        Command::Sync(arguments) => {
            sync::run(global, arguments, output, progress, cancel, answer).await
        }
        Command::Daemon => daemon::run(global, output, cancel, answer).await,
        Command::Session(arguments) => {
            session::run(global, arguments, output, progress, cancel, answer).await
        }
        Command::Demo(arguments) => demo::run(arguments, output, cancel, answer).await,
        Command::Status => stoppable(cancel, status::run(global, output, answer)).await,
        Command::List(arguments) => {
            stoppable(cancel, list::run(global, arguments, output, answer)).await
        }
        Command::Check(arguments) => {
            check::run(global, arguments, output, progress, cancel, answer).await
        }
        Command::Why(arguments) => {
            why::run(global, arguments, output, progress, cancel, answer).await
        }
        Command::Conflicts(arguments) => {
            conflicts::run(global, arguments, output, cancel, answer).await
        }
        Command::Trash(arguments) => trash::run(global, arguments, output, cancel, answer).await,
        Command::Backup(arguments) => {
            backup::run(global, arguments, output, progress, cancel, answer).await
        }
        Command::ImportRclone(arguments) => import::run(global, arguments, output, answer),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "ows", &mut text);
            generated(output, answer, text)
        }
        Command::Man => {
            let mut text = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut text);
            rendered.map_err(|error| {
                Failure::failed("could not make the manual page").with_source(error)
            })?;
            generated(output, answer, text)
        }
    }
}

/// A text made for another program. With `--json` it is a key of the one object.
fn generated(output: &Output, answer: &mut Answer, text: Vec<u8>) -> Outcome<()> {
    let text = String::from_utf8(text)
        .map_err(|error| Failure::failed("the text is not UTF-8").with_source(error))?;
    output.verbatim(&text);
    answer.set("text", text);
    Ok(())
}

async fn stoppable<T>(cancel: &Cancel, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    cancel
        .unless_stopped(work)
        .await
        .unwrap_or_else(|| Err(cancel.failure()))
}

/// Logs go to standard error, so that standard output holds the result alone.
fn start_logging(cli: &Cli, progress: &Progress) {
    let global = &cli.global;
    // The log is all that a daemon says, so it says more.
    let said = match cli.command {
        Command::Daemon => global.verbose.saturating_add(1),
        _ => global.verbose,
    };
    let level = match (global.quiet, said) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    // Only our own crates: a library below may log what we must not show.
    let filter = EnvFilter::new(format!("off,ows={level},ows_providers={level}"));
    let is_json = global.log_format == args::LogFormat::Json;
    let writer = LogWriter::new(progress, !is_json);
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(move || writer.clone());
    let started = if is_json {
        builder.json().try_init()
    } else {
        // Without colours: what looks like an escape sequence in a line came from a stranger's file name.
        builder.with_target(false).with_ansi(false).try_init()
    };
    // A program that calls this twice keeps its first logger; that is all it means.
    drop(started);
}
