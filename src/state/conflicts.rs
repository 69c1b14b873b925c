//! Conflicts that were made here: which side's content gave its name up, which the files do not tell.

use chrono::{DateTime, Utc};
use ows_providers::RelPath;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Result, State, from_ns, sql, to_ns};
use crate::ids::{PairId, RunId};
use crate::tree::Lost;

/// A conflict as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictRecord {
    /// The name that both sides had something under.
    pub path: RelPath,
    /// Where the content lies that gave it up.
    pub copy: RelPath,
    /// Whose content that is.
    pub lost: Lost,
    /// The run that made the copy.
    pub run: RunId,
    /// When.
    pub at: DateTime<Utc>,
}

impl State {
    /// Stores a conflict; what is stored of the same copy gives way. It is durable when this returns.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn record_conflict(&self, pair: &PairId, conflict: &ConflictRecord) -> Result<()> {
        const CALL: &str = "record_conflict";
        let mut transaction = self.write(CALL).await?;
        let number = transaction.pair_number(pair).await?;
        sqlx::query(sql::CONFLICT_RECORD)
            .bind(number)
            .bind(conflict.copy.as_str())
            .bind(conflict.path.as_str())
            .bind(conflict.lost.name())
            .bind(conflict.run.as_str())
            .bind(to_ns(conflict.at))
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// The conflicts of a pair, by their copies. Some of the copies may be gone since.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn conflicts(&self, pair: &PairId) -> Result<Vec<ConflictRecord>> {
        const CALL: &str = "conflicts";
        let mut connection = self.read(CALL).await?;
        let rows = sqlx::query(sql::CONFLICTS)
            .bind(pair.as_str())
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        rows.iter()
            .map(|row| self.conflict_record(CALL, row))
            .collect()
    }

    /// Forgets the conflict with this copy. Forgetting it again is no error.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn forget_conflict(&self, pair: &PairId, copy: &RelPath) -> Result<()> {
        const CALL: &str = "forget_conflict";
        let mut transaction = self.write(CALL).await?;
        sqlx::query(sql::CONFLICT_FORGET)
            .bind(pair.as_str())
            .bind(copy.as_str())
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// Forgets the conflicts whose copy, or whose other file, neither side has: only when everything that is on a side
    /// is in the base.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn forget_ended_conflicts(&self, pair: &PairId) -> Result<()> {
        const CALL: &str = "forget_ended_conflicts";
        if self.conflicts(pair).await?.is_empty() {
            return Ok(());
        }
        let mut transaction = self.write(CALL).await?;
        sqlx::query(sql::CONFLICTS_FORGET_ENDED)
            .bind(pair.as_str())
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    fn conflict_record(&self, call: &'static str, row: &SqliteRow) -> Result<ConflictRecord> {
        let failed = self.failed(call);
        let path = |name: &str| -> Result<RelPath> {
            let text: String = row.try_get(name).map_err(&failed)?;
            RelPath::new(&text).map_err(|error| self.damaged(format!("a conflict: {error}")))
        };
        let lost: String = row.try_get("lost").map_err(&failed)?;
        let run: String = row.try_get("run").map_err(&failed)?;
        Ok(ConflictRecord {
            path: path("path")?,
            copy: path("copy")?,
            lost: Lost::from_name(&lost)
                .ok_or_else(|| self.damaged(format!("a conflict names the side {lost:?}")))?,
            run: self.stored_run(&run)?,
            at: from_ns(row.try_get("at_ns").map_err(&failed)?),
        })
    }
}
