//! Runs: what was started, and how it ended.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Result, State, from_ns, sql, to_ns};
use crate::ids::{PairId, RunId};

/// How many runs of a pair are remembered. At one a minute it is a week.
const KEPT_RUNS: i64 = 10_000;

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// Its name.
    pub id: RunId,
    /// The command: `sync`, `backup now`.
    pub command: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; `None` while it runs, and for ever when it was killed.
    pub ended_at: Option<DateTime<Utc>>,
    /// What it exited with; `None` like `ended_at`.
    pub exit_code: Option<u8>,
    /// What it did, in the form of `--json`; `None` like `ended_at`.
    pub outcome: Option<serde_json::Value>,
}

impl State {
    /// Stores that a run begins. `pair` is `None` for runs outside any pair, such as backups.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn start_run(
        &self,
        run: &RunId,
        pair: Option<&PairId>,
        command: &str,
        started_at: DateTime<Utc>,
    ) -> Result<()> {
        const CALL: &str = "start_run";
        let mut transaction = self.write(CALL).await?;
        let scope = transaction.scope_number(pair).await?;
        sqlx::query(sql::RUN_INSERT)
            .bind(run.as_str())
            .bind(scope)
            .bind(command)
            .bind(to_ns(started_at))
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// Stores how a run ended, and forgets runs of the same pair that are older than its newest 10,000.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a run that was never started.
    pub async fn finish_run(
        &self,
        run: &RunId,
        outcome: &serde_json::Value,
        exit_code: u8,
        ended_at: DateTime<Utc>,
    ) -> Result<()> {
        self.finish_run_keeping(run, outcome, exit_code, ended_at, KEPT_RUNS)
            .await
    }

    pub(super) async fn finish_run_keeping(
        &self,
        run: &RunId,
        outcome: &serde_json::Value,
        exit_code: u8,
        ended_at: DateTime<Utc>,
        kept: i64,
    ) -> Result<()> {
        const CALL: &str = "finish_run";
        let mut transaction = self.write(CALL).await?;
        let scope: Option<Option<i64>> = sqlx::query_scalar(sql::RUN_FINISH)
            .bind(run.as_str())
            .bind(to_ns(ended_at))
            .bind(i64::from(exit_code))
            .bind(outcome.to_string())
            .fetch_optional(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        let Some(scope) = scope else {
            return Err(self.unknown("run", run.as_str()));
        };
        sqlx::query(sql::RUNS_PRUNE)
            .bind(scope)
            .bind(kept)
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// The last `count` runs of a pair (or of those outside any pair), newest first.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn last_runs(&self, pair: Option<&PairId>, count: u32) -> Result<Vec<RunRecord>> {
        const CALL: &str = "last_runs";
        let mut connection = self.read(CALL).await?;
        let scope = self.scope_number(CALL, connection.watched(), pair).await?;
        let rows = sqlx::query(sql::RUNS_LAST)
            .bind(scope)
            .bind(i64::from(count))
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        rows.iter().map(|row| self.run_record(CALL, row)).collect()
    }

    fn run_record(&self, call: &'static str, row: &SqliteRow) -> Result<RunRecord> {
        let failed = self.failed(call);
        let id: String = row.try_get("id").map_err(&failed)?;
        let exit_code: Option<i64> = row.try_get("exit_code").map_err(&failed)?;
        let outcome: Option<String> = row.try_get("outcome").map_err(&failed)?;
        let ended_at: Option<i64> = row.try_get("ended_at_ns").map_err(&failed)?;
        Ok(RunRecord {
            id: self.stored_run(&id)?,
            command: row.try_get("command").map_err(&failed)?,
            started_at: from_ns(row.try_get("started_at_ns").map_err(&failed)?),
            ended_at: ended_at.map(from_ns),
            exit_code: exit_code
                .map(u8::try_from)
                .transpose()
                .map_err(|_| self.damaged("an exit code is out of range"))?,
            outcome: outcome.map(|text| self.stored_json(&text)).transpose()?,
        })
    }

    /// Reads the name of a run that was stored.
    pub(super) fn stored_run(&self, text: &str) -> Result<RunId> {
        RunId::parse(text).ok_or_else(|| self.damaged("the name of a run is none"))
    }
}
