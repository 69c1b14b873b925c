//! Where results go: text for people or one JSON object, both from one value.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use clap::{Command, CommandFactory};
use ows::config::Problems;
use ows::error::{Failure, FailureKind};
use ows::report::{PathProblem, Report};
use serde_json::{Map, Value, json};

use super::args::{Cli, Global};
use super::text::{action_line, sanitise, sanitise_lines, summary};

/// What a command has found out so far.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The common part.
    pub report: Report,
    /// The library has closed the report already: its first error is the failure that ended the command.
    pub is_closed: bool,
    own: Map<String, Value>,
}

impl Answer {
    /// Nothing was found out yet. The command's own keys are there all the same: who reads the JSON need not ask whether
    /// they are.
    pub fn new(command: &str) -> Self {
        let own = match command {
            "check" => json!({ "differences": [] }),
            "list" => json!({ "entries": [] }),
            "why" => json!({
                "path": null, "verdict": null, "explanation": null, "pattern": null, "base": null, "local": null,
                "remote": null,
            }),
            "status" => json!({
                "provider": null, "remote": null, "local": null, "connection": null, "state": null, "base": null, "checkpoint": null, "last_run": null,
                "conflicts": 0, "trash": { "local": null, "remote": null }, "enforces": {}, "backup": null,
            }),
            "conflicts" => json!({ "conflicts": [] }),
            "conflicts resolve" => json!({
                "conflicts": [], "keep": null, "renamed_to": null, "trashed": null,
            }),
            "trash list" | "trash restore" | "trash empty" => json!({ "items": [] }),
            "session start" | "session end" => json!({ "idle": null }),
            "import-rclone" => json!({
                "source": null, "section": null, "target": null, "written": false, "moved_aside": null, "notes": [],
                "config": null,
            }),
            "backup now" => json!({
                "snapshot": null, "files": 0, "bytes_read": 0, "bytes_stored": 0, "unreadable": 0, "changed": 0,
                "vanished": 0, "sqlite_unverified": 0, "missing_items": [],
                "left_out": { "special": 0, "excluded": 0, "caches": 0 }, "removed": [], "retained": [],
            }),
            "backup prune" => json!({ "kept": [], "removed": [], "retained": [], "freed": 0 }),
            "backup status" => json!({
                "profile": null, "remote": null, "snapshots": 0, "total_size": 0, "newest": null, "last_success": null,
                "last_failure": null, "next_run": null, "proven": null, "unlisted": 0, "unusable": 0, "legacy": 0,
            }),
            "backup ls" => json!({ "snapshot": null, "entries": [] }),
            "backup restore" => json!({
                "snapshot": null, "files": 0, "bad": [], "target": null, "replaced": null,
            }),
            "backup verify" => json!({
                "snapshot": null, "files": 0, "bad": [], "target": null, "level": null, "verified": [],
            }),
            "backup drill" => json!({
                "snapshot": null, "files": 0, "bad": [], "target": null, "databases": 0, "compared": 0,
            }),
            "backup list" => json!({ "snapshots": [], "damaged": [], "unlisted": [] }),
            "backup keygen" => json!({
                "recipient": null, "fingerprint": null, "path": null, "identity": null, "sheet": null,
            }),
            "daemon" => json!({
                "idle": null, "runs": 0, "failures": 0, "backups": 0, "backup_failures": 0, "verifications": 0,
                "verification_failures": 0,
            }),
            "demo" => json!({ "steps": [], "kept": null }),
            "completions" | "man" => json!({ "text": null }),
            _ => json!({}),
        };
        Self {
            report: Report::new(command),
            is_closed: false,
            own: match own {
                Value::Object(own) => own,
                _ => Map::new(),
            },
        }
    }

    /// Sets one of the command's own keys.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.own.insert(key.to_owned(), value.into());
    }

    fn into_json(self, failure: Option<&Failure>) -> String {
        let mut report = self.report;
        let problems = failure
            .and_then(|failure| failure.source.as_ref())
            .and_then(|source| source.downcast_ref::<Problems>());
        if let Some(Problems(problems)) = problems {
            // One error for each mistake, instead of one with all of them.
            let each = problems.iter().map(|problem| PathProblem {
                path: problem.file.display().to_string(),
                message: problem.to_string(),
            });
            report.errors = each.collect();
        }
        let mut object = match serde_json::to_value(&report) {
            Ok(Value::Object(object)) => object,
            // A report is plain data; should it ever fail to serialize, the exit code still tells.
            _ => Map::new(),
        };
        object.extend(self.own);
        format!("{}\n", Value::Object(object))
    }

    /// The end of the one object, of which `begun` is printed already.
    fn ending(mut self, begun: &Begun, failure: Option<&Failure>) -> String {
        self.own.remove(begun.key);
        let whole = self.into_json(failure);
        // The common part is never empty: a comma is right.
        format!("],{}", whole.strip_prefix('{').unwrap_or(&whole))
    }
}

/// The one object is printed once, also when a second signal and the end of the command meet.
static FINISHED: AtomicBool = AtomicBool::new(false);

/// The part of the one object that is printed before its end: an array that may have a million elements.
struct Begun {
    /// Its key.
    key: &'static str,
    /// What is not printed yet.
    waiting: Vec<u8>,
}

static BEGUN: Mutex<Option<Begun>> = Mutex::new(None);

/// So much of an array is printed at once.
const PIECE: usize = 64 << 10;

/// Where and how results are shown.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
    may_draw: bool,
}

impl Output {
    pub fn new(global: &Global) -> Self {
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            may_draw: !global.no_progress
                && !global.json
                && !global.quiet
                && std::io::stderr().is_terminal(),
        }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether a progress bar has a place.
    pub fn may_draw(&self) -> bool {
        self.may_draw
    }

    /// Whether there is somebody who can answer a question.
    pub fn may_ask(&self) -> bool {
        !self.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// One line of the result, for people; nothing with `--json` or `--quiet`.
    pub fn line(&self, text: &str) {
        if !self.json && !self.quiet {
            write_out(format!("{text}\n").as_bytes());
        }
    }

    /// A result that is made for a program; nothing with `--json`, where it is a key.
    pub fn verbatim(&self, text: &str) {
        if !self.json {
            write_out(text.as_bytes());
        }
    }

    /// One more element of the array `key`, with `--json`: the one object begins with it and is open until the command
    /// ends. Whether the array is whole stands behind it, as `ok`. A command has one such array at most.
    pub fn element(&self, key: &'static str, element: &Value) {
        let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.json || FINISHED.load(Ordering::SeqCst) {
            return;
        }
        let waiting = match begun.as_mut() {
            Some(begun) => {
                begun.waiting.push(b',');
                &mut begun.waiting
            }
            None => {
                let waiting = format!("{{\"{key}\":[").into_bytes();
                &mut begun.insert(Begun { key, waiting }).waiting
            }
        };
        waiting.extend_from_slice(element.to_string().as_bytes());
        if waiting.len() >= PIECE {
            write_out(waiting);
            waiting.clear();
        }
    }

    /// A warning, on standard error; nothing with `--quiet`.
    pub fn warning(&self, text: &str) {
        if !self.quiet {
            write_err(&format!("warning: {}\n", sanitise(text)));
        }
    }

    /// Asks on the terminal. Anything but a yes is a no. Dropped in the middle, it leaves its thread to the end of the
    /// process.
    pub async fn ask(&self, question: String) -> bool {
        let asked = tokio::task::spawn_blocking(move || {
            write_err(&format!("{question} [y/N] "));
            let mut answer = String::new();
            let read = std::io::stdin().read_line(&mut answer);
            read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
        });
        asked.await.unwrap_or(false)
    }

    /// Prints the end of a command and gives its exit code.
    pub fn finish(&self, mut answer: Answer, failure: Option<&Failure>) -> ExitCode {
        if FINISHED.swap(true, Ordering::SeqCst) {
            // Another thread is printing the end; it also ends the process.
            std::thread::sleep(std::time::Duration::from_secs(1));
        } else if self.json {
            if !answer.is_closed {
                answer.report.close(failure);
            }
            // Whoever adds an element holds this, and sees behind it that nothing is to be added any more.
            let begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner).take();
            match begun {
                Some(begun) => {
                    let end = answer.ending(&begun, failure);
                    write_out(&[begun.waiting.as_slice(), end.as_bytes()].concat());
                }
                None => write_out(answer.into_json(failure).as_bytes()),
            }
        } else {
            let is_first = failure.is_some_and(|failure| failure.kind != FailureKind::Partial);
            let told_below = usize::from(answer.is_closed && is_first);
            for problem in answer.report.errors.iter().skip(told_below) {
                write_err(&render_problem(problem));
            }
            if let Some(failure) = failure {
                write_err(&render_failure(failure, &answer.report));
            }
        }
        written(failure.map_or(0, |failure| failure.kind.exit_code()))
    }

    /// The text of a sync.
    pub fn sync(&self, report: &Report) {
        if report.dry_run || self.verbose {
            for action in &report.actions {
                self.line(&action_line(action));
            }
        }
        let is_over = report.exit_code == 0 || report.exit_code == FailureKind::Partial.exit_code();
        // What was finished before a stop counts, so it is told.
        let counts = &report.counts;
        let has_acted = !report.dry_run
            && counts.upload
                + counts.download
                + counts.moved
                + counts.delete_local
                + counts.delete_remote
                > 0;
        if is_over || has_acted {
            self.line(&summary(report));
        }
    }
}

/// A command line that could not be read, or asked for help.
pub fn usage_error(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let text = error.render().to_string();
    if !error.use_stderr() {
        // Help and version are results.
        write_out(text.as_bytes());
        return written(0);
    }
    let options = arguments
        .iter()
        .take_while(|argument| argument.as_os_str() != "--");
    if options.clone().any(|argument| argument == "--json") {
        let failure = Failure::usage(usage_message(&text)).with_hint("see `ows --help`");
        let mut answer = Answer::new(&command_of(arguments));
        answer.report.close(Some(&failure));
        write_out(answer.into_json(Some(&failure)).as_bytes());
    } else {
        write_err(&text);
    }
    written(FailureKind::Usage.exit_code())
}

/// What clap says, on one line, without its reminder of the usage.
fn usage_message(text: &str) -> String {
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(|line| line.trim().trim_start_matches("error: "))
        .filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

/// The command that was meant, as far as it can be told.
fn command_of(arguments: &[OsString]) -> String {
    let parsed = Cli::command()
        .ignore_errors(true)
        .try_get_matches_from(arguments);
    let mut names = Vec::new();
    let mut known: Command = Cli::command();
    let mut matches = parsed.as_ref().ok();
    while let Some((name, below)) = matches.and_then(clap::ArgMatches::subcommand) {
        let Some(next) = known.find_subcommand(name).cloned() else {
            break;
        };
        names.push(name.to_owned());
        known = next;
        matches = Some(below);
    }
    if names.is_empty() {
        "ows".to_owned()
    } else {
        names.join(" ")
    }
}

fn render_problem(problem: &PathProblem) -> String {
    let message = sanitise_lines(&problem.message);
    if problem.path.is_empty() {
        return format!("error: {message}\n");
    }
    format!("`{}`: {message}\n", sanitise(&problem.path))
}

fn render_failure(failure: &Failure, report: &Report) -> String {
    let mut text = format!("error: {}", sanitise_lines(&failure.message));
    let told = |path: &String| {
        failure.message.contains(path) || failure.causes().iter().any(|cause| cause.contains(path))
    };
    if let Some(path) = failure.path.as_ref().filter(|path| !told(path)) {
        text.push_str(&format!("\npath: {}", sanitise(path)));
    }
    for cause in failure.causes() {
        text.push_str(&format!("\ncause: {}", sanitise_lines(&cause)));
    }
    if let Some(guard) = &report.guard {
        for example in &guard.examples {
            text.push_str(&format!("\n  {}", sanitise(example)));
        }
        let more = guard.count.saturating_sub(guard.examples.len() as u64);
        if more > 0 && !guard.examples.is_empty() {
            text.push_str(&format!("\n  and {more} more"));
        }
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("\nhint: {}", sanitise_lines(hint)));
    }
    text.push('\n');
    text
}

/// Why part of the result could not be written.
static UNWRITTEN: OnceLock<std::io::Error> = OnceLock::new();

fn write_out(text: &[u8]) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => {}
        // A reader that went away (`ows list | head`) is no failure of ours.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            // The first one tells why.
            UNWRITTEN.get_or_init(|| error);
        }
    }
}

/// The exit code of a command whose own is `code`: a result that did not reach its reader is no success.
fn written(code: u8) -> ExitCode {
    let Some(error) = UNWRITTEN.get() else {
        return ExitCode::from(code);
    };
    write_err(&format!(
        "error: the result could not be written to standard output\ncause: {error}\nhint: what the command did stays \
         done; run it again where its output can be written\n"
    ));
    match code {
        0 => ExitCode::from(FailureKind::Failed.exit_code()),
        code => ExitCode::from(code),
    }
}

fn write_err(text: &str) {
    let mut out = std::io::stderr().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}
