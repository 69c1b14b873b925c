//! `ows trash`.

use ows::cancel::Cancel;
use ows::error::{Failure, Outcome};
use ows::report::ApiCalls;
use ows::sync::trash::{Item, Trash};
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
            let restored = job.restore(path.as_deref(), run.as_deref(), *dry_run, answer);
            stoppable(cancel, restored).await
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
        let items = self.trash.list().await?;
        answer.set("items", json!(items));
        self.show(&items);
        self.sum_up(&items, "in the trash");
        Ok(())
    }

    /// What was restored before one item failed stays so, and is told.
    async fn restore(
        &self,
        path: Option<&str>,
        run: Option<&str>,
        dry_run: bool,
        answer: &mut Answer,
    ) -> Outcome<()> {
        let items = self.trash.select(path, run).await?;
        if dry_run {
            answer.set("items", json!(items));
            self.show(&items);
            self.sum_up(&items, "to restore (dry run: nothing was changed)");
            return Ok(());
        }
        let mut restored = Vec::new();
        let mut failure = None;
        for item in items {
            match self.trash.restore(&item).await {
                Ok(()) => restored.push(item),
                Err(failed) => {
                    failure = Some(failed);
                    break;
                }
            }
            answer.set("items", json!(restored));
        }
        self.show(&restored);
        if failure.is_none() || !restored.is_empty() {
            self.sum_up(
                &restored,
                "restored into the workspace; the next `ows sync` sends it up",
            );
        }
        failure.map_or(Ok(()), Err)
    }

    /// This cannot be undone, so a person at a terminal is asked, and no run may be putting anything there meanwhile.
    async fn empty(&self, dry_run: bool, yes: bool, answer: &mut Answer) -> Outcome<()> {
        let identity = self.settings.provider.describe().await?;
        let no_wait = std::time::Duration::ZERO;
        let _lock = if dry_run {
            None
        } else {
            let pair = pair_id(&identity);
            Some(PairLock::take(&self.settings.own_dir, &pair, no_wait, self.cancel).await?)
        };
        let items = self.trash.list().await?;
        if dry_run {
            answer.set("items", json!(items));
            self.show(&items);
            self.sum_up(&items, "to remove for good (dry run: nothing was changed)");
            return Ok(());
        }
        // A script that types this command means it.
        if !items.is_empty() && !yes && self.output.may_ask() {
            self.confirm(&items).await?;
        }
        self.trash.empty(&items).await?;
        answer.set("items", json!(items));
        self.sum_up(&items, "removed for good");
        Ok(())
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

    fn sum_up(&self, items: &[Item], what: &str) {
        if items.is_empty() {
            self.output.line("the trash is empty");
        } else {
            let count = files(items.len() as u64);
            self.output
                .line(&format!("{count}, {}, {what}", size(total(items))));
        }
    }
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
        sanitise(&item.run_id),
        size(item.size),
        sanitise(item.path.as_str())
    )
}
