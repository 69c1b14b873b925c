//! `ows demo`: the main job and a backup in a temporary place, with a folder as the remote. What is shown is what really happened: the
//! same library calls as in the other commands, on real files.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;
use ows::backup::connect::backup_settings;
use ows::backup::now::{NowOptions, now};
use ows::backup::proving::restore_command;
use ows::backup::restore::RestoreOptions;
use ows::backup::seal::keygen;
use ows::backup::source::Which;
use ows::cancel::Cancel;
use ows::config::{Config, Environment, Invocation, load};
use ows::error::{Failure, Outcome};
use ows::ids::RunId;
use ows::report::Silent;
use ows::sync::trash::Trash;
use ows::sync::{SyncOptions, connect::pair_settings, sync};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::args::DemoArgs;
use super::backup::{archive_path, backup_lines};
use super::output::{Answer, Output};
use super::text::{files, summary};
use super::trash::line as trash_line;

const CONFIG: &str = r#"{
  sync: {
    mode: "mailbox",
    provider: "custom",
    custom: { type: "local", options: { path: "CLOUD" } },
    remotePath: "",
    settle: 0,
  },
  backup: {
    enabled: true,
    provider: "custom",
    custom: { type: "local", options: { path: "VAULT" } },
    remotePath: "",
    include: ["workspace"],
    encrypt: true,
    recipients: ["RECIPIENT"],
    identities: ["identity.txt"],
  },
}
"#;

const NEXT: &str = r#"Where to go next
  Write ~/.openclaw/ows/config.json5, for a bucket of your own:
    { sync: { mode: "mailbox", provider: "s3", s3: { bucket: "NAME", region: "REGION" } } }
  $ ows sync --dry-run    shows what a run would do, and changes nothing
  $ ows sync              does it
  $ ows status            shows what is known of both sides
  $ ows backup keygen     begins with backups; docs/backup.md goes on
  $ ows --help            shows everything else"#;

pub async fn run(
    arguments: &DemoArgs,
    output: &Output,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let place = Place::new()?;
    let told = Story::begin(&place, output, cancel, answer)?.tell().await;
    if arguments.keep && told.is_ok() {
        let path = place.keep().display().to_string();
        output.line(&format!(
            "Kept for you: {path}\n  $ ows --config {path}/ows.json5 --state-dir {path}/state --workspace {path}/workspace status"
        ));
        answer.set("kept", path);
        return Ok(());
    }
    let removed = place.remove();
    told.and(removed)
}

/// The temporary folder. It is removed whatever happens, unless it is kept.
struct Place {
    root: PathBuf,
    is_kept: bool,
}

impl Place {
    fn new() -> Outcome<Self> {
        let root = std::env::temp_dir().join(format!("ows-demo-{}", RunId::random(Utc::now())));
        // A name that is taken is an error: what lies there is not ours.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&root)
            .map_err(|error| {
                failed("could not make a temporary folder", &root, error)
                    .with_hint("set TMPDIR to a folder that can be written to; nothing was changed")
            })?;
        Ok(Self {
            root,
            is_kept: false,
        })
    }

    fn keep(mut self) -> PathBuf {
        self.is_kept = true;
        self.root.clone()
    }

    fn remove(mut self) -> Outcome<()> {
        self.is_kept = true;
        fs::remove_dir_all(&self.root)
            .map_err(|error| failed("could not remove the demo's folder", &self.root, error))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = fs::remove_dir_all(&self.root)
        {
            tracing::warn!(path = %self.root.display(), %error, "the demo's folder could not be removed");
        }
    }
}

fn failed(message: &str, path: &Path, error: std::io::Error) -> Failure {
    Failure::failed(message)
        .with_path(path.display().to_string())
        .with_source(error)
}

/// Tells the steps, and does them.
struct Story<'a> {
    workspace: PathBuf,
    cloud: PathBuf,
    config: Config,
    output: &'a Output,
    cancel: &'a Cancel,
    answer: &'a mut Answer,
    steps: Vec<Step>,
}

/// What was typed and what came of it.
struct Step {
    title: &'static str,
    commands: Vec<String>,
    output: Vec<String>,
}

impl<'a> Story<'a> {
    fn begin(
        place: &Place,
        output: &'a Output,
        cancel: &'a Cancel,
        answer: &'a mut Answer,
    ) -> Outcome<Self> {
        let (workspace, cloud) = (place.root.join("workspace"), place.root.join("cloud"));
        let file = place.root.join("ows.json5");
        let vault = place.root.join("vault");
        let key = keygen(Utc::now());
        // Written as JSON, the path may hold whatever a path may hold.
        let quoted = |path: &Path| Value::from(path.display().to_string()).to_string();
        let config = CONFIG
            .replace("RECIPIENT", &key.recipient)
            .replace("\"CLOUD\"", &quoted(&cloud))
            .replace("\"VAULT\"", &quoted(&vault));
        let sources = [
            (&file, config),
            (
                &place.root.join("identity.txt"),
                key.identity.expose_secret().to_owned(),
            ),
            (
                &workspace.join("AGENTS.md"),
                "Be kind. Keep notes.\n".to_owned(),
            ),
            (&workspace.join("notes/plan.md"), "1. sync\n".to_owned()),
            (&workspace.join("notes/todo.md"), "- write\n".to_owned()),
        ];
        for folder in [&workspace.join("notes"), &cloud, &vault] {
            fs::create_dir_all(folder)
                .map_err(|error| failed("could not make a folder", folder, error))?;
        }
        for (path, text) in sources {
            write(path, &text)?;
        }
        // Nobody's configuration, variables or proxies take part.
        let mut invocation = Invocation::new(Environment::default(), &place.root);
        invocation.config = Some(file);
        invocation.state_dir = Some(place.root.join("state"));
        invocation.workspace = Some(workspace.clone());
        Ok(Self {
            config: load(&invocation)?,
            workspace,
            cloud,
            output,
            cancel,
            answer,
            steps: Vec::new(),
        })
    }

    async fn tell(mut self) -> Outcome<()> {
        self.output.line(
            "A workspace, and a folder `cloud` that stands for the remote. No account, no server.",
        );
        self.step("Push: the remote is made equal to the workspace");
        self.sync().await?;
        self.trees()?;

        self.step("Change something; only that goes up");
        self.typed("echo \"- test\" >> workspace/notes/todo.md");
        write(&self.workspace.join("notes/todo.md"), "- write\n- test\n")?;
        self.sync().await?;

        self.step("Send the agent a file: drop it into _outbox, from any device");
        self.typed("echo \"a,b\" > cloud/_outbox/data.csv");
        write(&self.cloud.join("_outbox/data.csv"), "a,b\n")?;
        self.sync().await?;
        self.trees()?;

        self.step("Delete something, and think better of it: the trash has it");
        self.typed("rm workspace/notes/plan.md");
        let plan = self.workspace.join("notes/plan.md");
        fs::remove_file(&plan).map_err(|error| failed("could not remove", &plan, error))?;
        self.sync().await?;
        self.typed("ows trash list");
        let trash = Trash::open(&pair_settings(&self.config)?)?;
        for item in &trash.list().await?.items {
            self.says(trash_line(item));
        }
        self.typed("ows trash restore notes/plan.md");
        for item in &trash.select(Some("notes/plan.md"), None).await?.items {
            trash.restore(item).await?;
            self.says(trash_line(item));
        }
        self.sync().await?;
        self.trees()?;

        self.step("Back it all up, sealed to a key, and restore a file of it");
        self.backup().await?;
        self.restore().await?;
        self.output.line(&format!("\n{NEXT}"));
        self.hand_in();
        Ok(())
    }

    fn step(&mut self, title: &'static str) {
        self.hand_in();
        let number = self.steps.len() + 1;
        self.output.line(&format!("\n{number}. {title}"));
        self.steps.push(Step {
            title,
            commands: Vec::new(),
            output: Vec::new(),
        });
    }

    fn typed(&mut self, command: &str) {
        self.output.line(&format!("   $ {command}"));
        if let Some(step) = self.steps.last_mut() {
            step.commands.push(command.to_owned());
        }
    }

    fn says(&mut self, line: String) {
        self.output.line(&format!("     {line}"));
        if let Some(step) = self.steps.last_mut() {
            step.output.push(line);
        }
    }

    /// What is finished is in the JSON, also when a later step fails.
    fn hand_in(&mut self) {
        let steps = self.steps.iter().map(
            |step| json!({ "title": step.title, "commands": step.commands, "output": step.output }),
        );
        self.answer.set("steps", steps.collect::<Value>());
    }

    async fn sync(&mut self) -> Outcome<()> {
        self.typed("ows sync");
        let options = SyncOptions::default();
        let silent = Arc::new(Silent);
        // Opened anew for each run, as it is for each command that is typed.
        let settings = pair_settings(&self.config)?;
        let finished = sync(&settings, &options, silent, self.cancel.clone()).await;
        if let Some(failure) = finished.failure {
            return Err(failure);
        }
        let report = &finished.report;
        self.says(summary(report));
        let total = &mut self.answer.report;
        total.mode.clone_from(&report.mode);
        total.counts.merge(&report.counts);
        total.bytes.up += report.bytes.up;
        total.bytes.down += report.bytes.down;
        total.api_calls.total += report.api_calls.total;
        for (operation, count) in &report.api_calls.by_operation {
            *total
                .api_calls
                .by_operation
                .entry(operation.clone())
                .or_default() += count;
        }
        Ok(())
    }

    async fn backup(&mut self) -> Outcome<()> {
        self.typed("ows backup now");
        let settings = backup_settings(&self.config)?;
        let options = NowOptions::default();
        let finished = now(&settings, &options, Arc::new(Silent), self.cancel.clone()).await;
        if let Some(failure) = finished.failure {
            return Err(failure);
        }
        for line in backup_lines(&finished.made, &finished.report, false) {
            self.says(line);
        }
        Ok(())
    }

    async fn restore(&mut self) -> Outcome<()> {
        self.typed("ows backup restore --to restored --path workspace/AGENTS.md");
        let settings = backup_settings(&self.config)?;
        let options = RestoreOptions {
            snapshot: Which::Latest,
            to: Some(self.workspace.with_file_name("restored")),
            only: vec![archive_path("workspace/AGENTS.md")?],
            dry_run: false,
            overwrite: false,
        };
        let finished =
            restore_command(&settings, options, Arc::new(Silent), self.cancel.clone()).await;
        if let Some(failure) = finished.failure {
            return Err(failure);
        }
        let done = finished.found.map(|restored| restored.done.files);
        self.says(format!(
            "{} restored into `restored`, every file checked",
            files(done.unwrap_or_default())
        ));
        Ok(())
    }

    /// Both sides beside each other.
    fn trees(&mut self) -> Outcome<()> {
        let local = tree(&self.workspace)?;
        let remote = tree(&self.cloud)?;
        let width = 3 + local
            .iter()
            .map(|line| line.chars().count())
            .max()
            .unwrap_or(0);
        self.output
            .line(&format!("     {:<width$}  cloud/", "workspace/"));
        for row in 0..local.len().max(remote.len()) {
            let cell = |lines: &[String]| lines.get(row).cloned().unwrap_or_default();
            let line = format!("       {:<width$}  {}", cell(&local), cell(&remote));
            self.output.line(line.trim_end());
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    fs::write(path, text).map_err(|error| failed("could not write", path, error))
}

/// The files and the empty folders below `root`, sorted; what belongs to `ows` itself is left out.
fn tree(root: &Path) -> Outcome<Vec<String>> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let cannot_read = |error| failed("could not read the folder", &folder, error);
        let mut is_empty = true;
        for entry in fs::read_dir(&folder).map_err(cannot_read)? {
            let entry = entry.map_err(cannot_read)?;
            is_empty = false;
            if entry.file_name() == ows::plan::mailbox::OWN {
                continue;
            }
            if entry.file_type().map_err(cannot_read)?.is_dir() {
                folders.push(entry.path());
            } else {
                lines.push(shown(root, &entry.path(), ""));
            }
        }
        if is_empty && folder != root {
            lines.push(shown(root, &folder, "/"));
        }
    }
    lines.sort();
    Ok(lines)
}

fn shown(root: &Path, path: &Path, end: &str) -> String {
    format!("{}{end}", path.strip_prefix(root).unwrap_or(path).display())
}
