//! What was sent from the ingest folder: one row a file, for the version of it that was sent last.
//!
//! A row stays when its file goes away: each version is sent once, and a file that comes back, from a copy or because a
//! volume was not there for a while, is not another version. So the rows grow with the number of names that were ever
//! sent, by some two hundred bytes each.

use ows_providers::{RelPath, SortKey, Version};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::base::{bind_fingerprint, fingerprint};
use super::{Result, State, sql};
use crate::ids::PairId;
use crate::tree::{BaseRow, RemoteStamp};

/// Rows on one page.
const PAGE: usize = 1000;

impl State {
    /// A page of what was sent, in order of the paths: what comes after `after`, or the first page. The last page is
    /// the first one that is empty.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn ingested_after(
        &self,
        pair: &PairId,
        after: Option<&RelPath>,
    ) -> Result<Vec<BaseRow>> {
        const CALL: &str = "ingested_after";
        let mut connection = self.read(CALL).await?;
        let number = self.pair_number(CALL, connection.watched(), pair).await?;
        let rows = sqlx::query(sql::INGESTED_PAGE)
            .bind(number)
            .bind(after.map_or("", RelPath::as_str))
            .bind(PAGE as i64)
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        rows.iter()
            .map(|row| self.ingested_row(CALL, row))
            .collect()
    }

    /// Stores what was sent, in one transaction. Each row has the BLAKE3 of its content: without one it could not be
    /// known again, so such a row is an error.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored. None is stored then.
    pub async fn record_ingested(&self, pair: &PairId, rows: &[BaseRow]) -> Result<()> {
        const CALL: &str = "record_ingested";
        let mut transaction = self.write(CALL).await?;
        let number = transaction.pair_number(pair).await?;
        for row in rows {
            let query = sqlx::query(sql::INGESTED_RECORD)
                .bind(number)
                .bind(row.key.path.as_str());
            bind_fingerprint(query, &row.local)
                .bind(
                    row.remote
                        .version
                        .as_ref()
                        .map(|version| version.0.as_str()),
                )
                .bind(row.remote.modified_at_ns)
                .bind(row.remote.stored_by_ns)
                .execute(transaction.connection())
                .await
                .map_err(self.failed(CALL))?;
        }
        transaction.commit().await
    }

    fn ingested_row(&self, call: &'static str, row: &SqliteRow) -> Result<BaseRow> {
        let failed = self.failed(call);
        let path: String = row.try_get("path").map_err(&failed)?;
        let path = RelPath::new(&path)
            .map_err(|error| self.damaged(format!("a file that was sent: {error}")))?;
        let local = fingerprint(row).map_err(&failed)?;
        let version: Option<String> = row.try_get("remote_version").map_err(&failed)?;
        let remote = RemoteStamp {
            size: local.size,
            version: version.map(Version),
            modified_at_ns: row.try_get("remote_modified_at_ns").map_err(&failed)?,
            mtime_ns: None,
            hash: None,
            id: None,
            own: true,
            stored_by_ns: row.try_get("remote_stored_by_ns").map_err(&failed)?,
        };
        Ok(BaseRow {
            key: SortKey::file(path),
            local,
            remote,
        })
    }
}
