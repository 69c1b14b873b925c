//! What `ows` remembers between runs, in one SQLite database: `<state>/ows/state.db`.
//!
//! It keeps what was observed and agreed, not a list of work: after a crash the next run looks and plans again. The few
//! exceptions are intents (what cannot be undone and was about to be done) and uploads in parts (to resume or abort).
//!
//! - All SQL of the project is in this folder, in `sql`, behind functions with the names of the domain. The schema is
//!   made by the numbered files in `migrations/`, which are embedded.
//! - One connection writes, two read. The journal is a write-ahead log and every commit is flushed (`synchronous=FULL`):
//!   what a function has returned from survives the loss of power.
//! - Transactions are short and nobody waits for a network inside one. Rows of the base are written in batches, see
//!   [`BaseWriter`].
//! - The SQLite driver has its own thread per connection, so nothing here blocks a thread of the runtime, except for a
//!   few metadata calls on opening.
//!
//! When to call what, and what it means for a sync, is left to the callers.

mod backups;
mod base;
mod conflicts;
mod deliveries;
mod error;
mod faults;
mod ingested;
pub mod integrity;
mod intents;
mod open;
mod pairs;
mod runs;
mod sql;
mod uploads;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::{Sqlite, SqlitePool, Transaction};

pub use backups::{BackupIntent, BackupIntentId, BackupOutcome, BackupProof};
pub use base::BaseTotals;
pub use conflicts::ConflictRecord;
pub use deliveries::Delivery;
pub use error::StateError;
pub use faults::{FaultPoint, Faults, StateFaults};
pub use intents::{Intent, IntentId, NewIntent};
pub use pairs::{NewPair, PairRecord};
pub use runs::RunRecord;
pub use uploads::{StoredUpload, UploadId, UploadRecord};
pub use writer::{BaseHandle, BaseWriter};

use crate::ids::PairId;
use watch::{Health, Reading, Watched};

/// A result of this module.
pub type Result<T, E = StateError> = std::result::Result<T, E>;

/// The open state database. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct State {
    file: Arc<Path>,
    writer: SqlitePool,
    reader: SqlitePool,
    health: Health,
    faults: Option<Faults>,
}

impl State {
    /// Where the database is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Closes all connections, when what they are doing is done, and folds the write-ahead log into the database. Calls
    /// after it fail with [`StateError::Closed`]. A state that is dropped without it loses nothing, so a database that
    /// does not answer is not waited for beyond a minute for those that read and one for the one that writes.
    pub async fn close(&self) {
        // The last connection cleans the log up, which one that may only read cannot.
        self.health.close(&self.file, &self.reader).await;
        self.health.close(&self.file, &self.writer).await;
    }

    /// A connection that reads, for the call of this name.
    async fn read(&self, call: &'static str) -> Result<Reading> {
        faults::check(self.faults.as_ref(), call, FaultPoint::Before)?;
        let connection = self.health.answer(self.reader.acquire()).await;
        Ok(Reading {
            connection: connection.map_err(self.failed(call))?,
            health: self.health.clone(),
        })
    }

    /// A transaction that writes, for the call of this name. It takes the write lock at once: one that begins with
    /// reading could not wait for the lock later.
    async fn write(&self, call: &'static str) -> Result<WriteTransaction<'_>> {
        faults::check(self.faults.as_ref(), call, FaultPoint::Before)?;
        let begun = self.writer.begin_with("BEGIN IMMEDIATE");
        let transaction = self.health.answer(begun).await.map_err(self.failed(call))?;
        Ok(WriteTransaction {
            state: self,
            call,
            transaction,
        })
    }

    /// Turns an error of the database into one of this module.
    fn failed(&self, call: &'static str) -> impl Fn(sqlx::Error) -> StateError + '_ {
        move |error| StateError::from_sqlx(&self.file, call, error)
    }

    /// A stored value that no version of `ows` writes.
    fn damaged(&self, reason: impl Into<String>) -> StateError {
        StateError::Damaged {
            file: self.file.to_path_buf(),
            reason: reason.into(),
        }
    }

    fn unknown(&self, what: &'static str, name: impl Into<String>) -> StateError {
        StateError::Unknown {
            file: self.file.to_path_buf(),
            what,
            name: name.into(),
        }
    }

    /// Reads JSON that was stored.
    fn stored_json<T: serde::de::DeserializeOwned>(&self, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|error| self.damaged(format!("stored JSON: {error}")))
    }

    /// The number of a pair inside the database.
    async fn pair_number(
        &self,
        call: &'static str,
        connection: Watched<'_>,
        pair: &PairId,
    ) -> Result<i64> {
        sqlx::query_scalar(sql::PAIR_NUMBER)
            .bind(pair.as_str())
            .fetch_optional(connection)
            .await
            .map_err(self.failed(call))?
            .ok_or_else(|| self.unknown("pair", pair.as_str()))
    }

    /// The number of a pair, or `None` for what belongs to no pair.
    async fn scope_number(
        &self,
        call: &'static str,
        connection: Watched<'_>,
        pair: Option<&PairId>,
    ) -> Result<Option<i64>> {
        match pair {
            Some(pair) => Ok(Some(self.pair_number(call, connection, pair).await?)),
            None => Ok(None),
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("State")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// A transaction that writes. Dropped without [`WriteTransaction::commit`] it is rolled back.
struct WriteTransaction<'a> {
    state: &'a State,
    call: &'static str,
    transaction: Transaction<'static, Sqlite>,
}

impl WriteTransaction<'_> {
    fn connection(&mut self) -> Watched<'_> {
        Watched::new(&mut self.transaction, &self.state.health)
    }

    /// The number of a pair inside the database.
    async fn pair_number(&mut self, pair: &PairId) -> Result<i64> {
        let (state, call) = (self.state, self.call);
        state.pair_number(call, self.connection(), pair).await
    }

    /// The number of a pair, or `None` for what belongs to no pair.
    async fn scope_number(&mut self, pair: Option<&PairId>) -> Result<Option<i64>> {
        let (state, call) = (self.state, self.call);
        state.scope_number(call, self.connection(), pair).await
    }

    /// Makes it durable.
    async fn commit(self) -> Result<()> {
        let committed = self.state.health.answer(self.transaction.commit());
        committed.await.map_err(self.state.failed(self.call))?;
        faults::check(self.state.faults.as_ref(), self.call, FaultPoint::After)
    }
}

/// A time as it is stored. Times before 1678 and after 2261 become the nearest that can be stored.
fn to_ns(time: DateTime<Utc>) -> i64 {
    time.timestamp_nanos_opt()
        .unwrap_or(if time.timestamp() < 0 {
            i64::MIN
        } else {
            i64::MAX
        })
}

/// A stored time.
fn from_ns(ns: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(ns)
}

/// The name of the database in our own folder.
const FILE_NAME: &str = "state.db";

/// The database's path in our own folder.
fn database_path(own_dir: &Path) -> PathBuf {
    own_dir.join(FILE_NAME)
}
