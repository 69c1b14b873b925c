//! `ows trash`.

use ows::cancel::Cancel;
use ows::error::{Failure, FailureKind, Outcome};
use ows::report::ApiCalls;
use ows::sync::trash::{Contents, Item, Restored, Trash};
use ows::sync::{PairLock, PairSettings, pair_id};
use serde_json::json;

use super::args::{Global, TrashArgs, TrashCommand};
use super::output::{Answer, Output};
use super::text::{files, sanitise, size};
use super::{open, stoppable};

pub async fn run(
    global: &Global,
    arguments: &TrashArgs,
    output: &Output,
    cancel: &Cancel,
    answer: &mut Answer,
) -> Outcome<()> {
    let config = open::config(global, output, answer)?;
    let settings = open::pair(&config)?;
    let job = Job {
        trash: Trash::open(&settings)?,
        settings: &settings,
        output,
        cancel,
    };
    let result = match &arguments.command {
        TrashCommand::List => stoppable(cancel, job.list(answer)).await,
        TrashCommand::Restore { path, run, dry_run } => {
            answer.report.dry_run = *dry_run;
            job.restore(path.as_deref(), run.as_deref(), *dry_run, answer)
                .await
        }
        TrashCommand::Empty { dry_run, yes } => {
            answer.report.dry_run = *dry_run;
            stoppable(cancel, job.empty(*dry_run, *yes, answer)).await
        }
    };
    answer.report.api_calls = ApiCalls::from(&settings.counter.counts());
    result
}

struct Job<'a> {
    trash: Trash,
    settings: &'a PairSettings,
    output: &'a Output,
    cancel: &'a Cancel,
}

impl Job<'_> {
    async fn list(&self, answer: &mut Answer) -> Outcome<()> {
        let Contents { items, problems } = self.trash.list().await?;
        answer.set("items", json!(items));
        answer.report.errors = problems;
        self.show(&items);
        self.sum_up(&items, "in the trash", answer);
        unknown(answer)
    }

    /// What was restored before it was stopped stays so, and is told.
    async fn restore(
        &self,
        path: Option<&str>,
        run: Option<&str>,
        dry_run: bool,
        answer: &mut Answer,
    ) -> Outcome<()> {
        let _lock = if dry_run {
            None
        } else {
            self.trash.lock(self.cancel).await?
        };
        let selected = stoppable(self.cancel, self.trash.select(path, run)).await?;
        let Contents { items, problems } = selected;
        answer.report.errors = problems;
        if dry_run {
            answer.set("items", json!(items));
            self.show(&items);
            self.sum_up(&items, "to restore (dry run: nothing was changed)", answer);
            return unknown(answer);
        }
        let mut restored = Restored::default();
        let restoring = self.trash.restore_all(&items, &mut restored);
        let result = stoppable(self.cancel, restoring).await;
        let Restored { items, failures } = restored;
        answer.set("items", json!(items));
        self.show(&items);
        if !items.is_empty() || answer.report.errors.is_empty() && failures.is_empty() {
            let what = "restored into the workspace; the next `ows sync` sends it up";
            self.sum_up(&items, what, answer);
        }
        result?;
        unrestored(items.len(), failures, answer)
    }

    /// This cannot be undone, so a person at a terminal is asked, and no run may be putting anything there meanwhile.
    async fn empty(&self, dry_run: bool, yes: bool, answer: &mut Answer) -> Outcome<()> {
        let identity = self.settings.provider.describe().await?;
        let no_wait = std::time::Duration::ZERO;
        let _locks = if dry_run {
            None
        } else {
            let pair = pair_id(&identity);
            let pair = PairLock::take(&self.settings.own_dir, &pair, no_wait, self.cancel).await?;
            Some((pair, self.trash.lock(self.cancel).await?))
        };
        let Contents { items, problems } = self.trash.list().await?;
        answer.report.errors = problems;
        if dry_run {
            answer.set("items", json!(items));
            self.show(&items);
            let what = "to remove for good (dry run: nothing was changed)";
            self.sum_up(&items, what, answer);
            return unknown(answer);
        }
        // A script that types this command means it.
        if !items.is_empty() && !yes && self.output.may_ask() {
            self.confirm(&items).await?;
        }
        self.trash.empty(&items).await?;
        answer.set("items", json!(items));
        self.sum_up(&items, "removed for good", answer);
        unknown(answer)
    }

    async fn confirm(&self, items: &[Item]) -> Outcome<()> {
        self.show(items);
        let question = format!(
            "Remove {}, {}, for good? This cannot be undone.",
            files(items.len() as u64),
            size(total(items))
        );
        if self.output.ask(question).await {
            Ok(())
        } else {
            Err(Failure::failed("not confirmed").with_hint("nothing was removed"))
        }
    }

    fn show(&self, items: &[Item]) {
        for item in items {
            self.output.line(&line(item));
        }
    }

    fn sum_up(&self, items: &[Item], what: &str, answer: &Answer) {
        if items.is_empty() {
            if answer.report.errors.is_empty() {
                self.output.line("the trash is empty");
            }
        } else {
            let count = files(items.len() as u64);
            self.output
                .line(&format!("{count}, {}, {what}", size(total(items))));
        }
    }
}

/// The failure of a command that could not look at all of the trash.
fn unknown(answer: &Answer) -> Outcome<()> {
    if answer.report.errors.is_empty() {
        return Ok(());
    }
    let message = "part of the trash could not be looked at, so there may be more in it";
    Err(Failure::new(FailureKind::Partial, message)
        .with_hint("see the messages above; what is told lies there all the same"))
}

/// One failure is told as it is when it is all that there is to tell.
fn unrestored(restored: usize, mut failures: Vec<Failure>, answer: &mut Answer) -> Outcome<()> {
    let is_all = restored == 0 && answer.report.errors.is_empty();
    let first = match failures.pop() {
        None => return unknown(answer),
        Some(only) if failures.is_empty() && is_all => return Err(only),
        Some(last) => last,
    };
    failures.push(first);
    answer
        .report
        .errors
        .extend(failures.iter().map(Failure::as_problem));
    let count = files(failures.len() as u64);
    let (kind, message) = if restored == 0 {
        (
            FailureKind::Failed,
            format!("{count} could not be restored"),
        )
    } else {
        let message = format!("restored, but {count} could not be");
        (FailureKind::Partial, message)
    };
    Err(Failure::new(kind, message).with_hint("see the messages above; nothing was overwritten"))
}

fn total(items: &[Item]) -> u64 {
    items.iter().map(|item| item.size).sum()
}

/// One item on one line.
pub fn line(item: &Item) -> String {
    let side = match item.side {
        ows::plan::Side::Local => "local",
        ows::plan::Side::Remote => "remote",
    };
    format!(
        "{side:<6}  {}  {:>12}  {}",
        sanitise(&item.slot_name()),
        size(item.size),
        sanitise(item.path.as_str())
    )
}
