//! Pairs, their replica, and small values that belong to a pair.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Result, State, WriteTransaction, base, from_ns, sql, to_ns};
use crate::ids::PairId;
use crate::tree::BaseRow;

/// A pair that is seen for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPair {
    /// Its name.
    pub id: PairId,
    /// What the remote is, apart from the keys that open it: [`ows_providers::RemoteIdentity::id`].
    pub remote_id: String,
    /// The remote for people.
    pub remote_display: String,
    /// The local folder.
    pub local_path: PathBuf,
    /// The random name of this local copy, which is also in the folder's `.ows/replica`.
    pub replica_id: String,
    /// When it was seen first.
    pub created_at: DateTime<Utc>,
}

/// A pair as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairRecord {
    /// Its name.
    pub id: PairId,
    /// What the remote is, apart from the keys that open it.
    pub remote_id: String,
    /// The remote for people.
    pub remote_display: String,
    /// The local folder.
    pub local_path: PathBuf,
    /// The random name of this local copy.
    pub replica_id: String,
    /// How often a run has changed the base, see [`State::raise_generation`].
    pub generation: u64,
    /// When it was seen first.
    pub created_at: DateTime<Utc>,
    /// When a run first ended with a base; `None` before.
    pub first_synced_at: Option<DateTime<Utc>>,
}

impl State {
    /// The pair of this name.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn pair(&self, pair: &PairId) -> Result<Option<PairRecord>> {
        const CALL: &str = "pair";
        let mut connection = self.read(CALL).await?;
        let row = sqlx::query(sql::PAIR)
            .bind(pair.as_str())
            .fetch_optional(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        row.map(|row| pair_record(pair, &row).map_err(self.failed(CALL)))
            .transpose()
    }

    /// The names of all pairs, oldest first.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn pair_ids(&self) -> Result<Vec<PairId>> {
        const CALL: &str = "pair_ids";
        let mut connection = self.read(CALL).await?;
        let ids: Vec<String> = sqlx::query_scalar(sql::PAIR_IDS)
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        Ok(ids.into_iter().map(PairId::new).collect())
    }

    /// Stores a pair unless it is there, and returns what is stored now. Of a pair that was there, only the remote's
    /// display and the local path are brought up to date: another replica is the affair of [`State::begin_replica`].
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn ensure_pair(&self, pair: &NewPair) -> Result<PairRecord> {
        const CALL: &str = "ensure_pair";
        let mut transaction = self.write(CALL).await?;
        transaction.describe_pair(pair).await?;
        let record = transaction.pair(&pair.id).await?;
        transaction.commit().await?;
        Ok(record)
    }

    /// Makes the local folder a new replica, at once: its base is forgotten, its generation is 0, and it has not synced
    /// yet.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn begin_replica(&self, pair: &PairId, replica_id: &str) -> Result<()> {
        const CALL: &str = "begin_replica";
        let mut transaction = self.write(CALL).await?;
        transaction.pair_number(pair).await?;
        sqlx::query(sql::PAIR_NEW_REPLICA)
            .bind(pair.as_str())
            .bind(replica_id)
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        sqlx::query(sql::BASE_CLEAR)
            .bind(pair.as_str())
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// Gives the local copy another name, at once, and keeps its base: another host goes on under the old name. The
    /// generation goes on from the higher of the two, and `values` are stored with it.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn rename_replica(
        &self,
        pair: &PairId,
        replica_id: &str,
        generation: u64,
        values: &[(&str, &str)],
    ) -> Result<PairRecord> {
        const CALL: &str = "rename_replica";
        let mut transaction = self.write(CALL).await?;
        let number = transaction.pair_number(pair).await?;
        sqlx::query(sql::PAIR_RENAME_REPLICA)
            .bind(pair.as_str())
            .bind(replica_id)
            .bind(stored_generation(generation))
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        for (name, value) in values {
            transaction.set_value(number, name, value).await?;
        }
        let record = transaction.pair(pair).await?;
        transaction.commit().await?;
        Ok(record)
    }

    /// Takes a base up that was kept elsewhere, at once: the pair as `pair` says, its generation, all rows, and `values`.
    /// Whatever base was there gives way. An error among the rows takes all of it back, and is given as the inner one.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn take_up_base<E>(
        &self,
        pair: &NewPair,
        generation: u64,
        rows: impl Iterator<Item = Result<BaseRow, E>>,
        values: &[(&str, &str)],
    ) -> Result<Result<PairRecord, E>> {
        const CALL: &str = "take_up_base";
        let mut transaction = self.write(CALL).await?;
        transaction.describe_pair(pair).await?;
        let number = transaction.pair_number(&pair.id).await?;
        sqlx::query(sql::BASE_CLEAR)
            .bind(pair.id.as_str())
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        sqlx::query(sql::PAIR_TAKE_UP)
            .bind(pair.id.as_str())
            .bind(&pair.replica_id)
            .bind(stored_generation(generation))
            .bind(to_ns(pair.created_at))
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        let mut batch = Vec::with_capacity(TAKE_UP_BATCH);
        for row in rows {
            match row {
                Ok(row) => batch.push(base::row_as_json(&row.key.to_text(), &row)),
                Err(error) => return Ok(Err(error)),
            }
            if batch.len() == TAKE_UP_BATCH {
                transaction.agreed(number, &mut batch).await?;
            }
        }
        transaction.agreed(number, &mut batch).await?;
        for (name, value) in values {
            transaction.set_value(number, name, value).await?;
        }
        let record = transaction.pair(&pair.id).await?;
        transaction.commit().await?;
        Ok(Ok(record))
    }

    /// Remembers when a run first ended with a base. A time that is stored already stays.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn record_first_sync(&self, pair: &PairId, at: DateTime<Utc>) -> Result<()> {
        const CALL: &str = "record_first_sync";
        let mut transaction = self.write(CALL).await?;
        transaction.pair_number(pair).await?;
        sqlx::query(sql::PAIR_FIRST_SYNCED)
            .bind(pair.as_str())
            .bind(to_ns(at))
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// Raises the generation of a pair by one and returns it. It is durable when this returns, so that a generation that
    /// is seen in the remote was never unknown here, unless the database was rolled back.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn raise_generation(&self, pair: &PairId) -> Result<u64> {
        const CALL: &str = "raise_generation";
        let mut transaction = self.write(CALL).await?;
        transaction.pair_number(pair).await?;
        let generation: i64 = sqlx::query_scalar(sql::PAIR_RAISE_GENERATION)
            .bind(pair.as_str())
            .fetch_one(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await?;
        Ok(generation.cast_unsigned())
    }

    /// A small value of a pair, such as when its trash was last purged.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn get_value(&self, pair: &PairId, name: &str) -> Result<Option<String>> {
        const CALL: &str = "get_value";
        let mut connection = self.read(CALL).await?;
        sqlx::query_scalar(sql::VALUE)
            .bind(pair.as_str())
            .bind(name)
            .fetch_optional(connection.watched())
            .await
            .map_err(self.failed(CALL))
    }

    /// Stores a small value of a pair.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn set_value(&self, pair: &PairId, name: &str, value: &str) -> Result<()> {
        const CALL: &str = "set_value";
        let mut transaction = self.write(CALL).await?;
        let number = transaction.pair_number(pair).await?;
        sqlx::query(sql::VALUE_SET)
            .bind(number)
            .bind(name)
            .bind(value)
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }
}

/// Rows that are taken up with one statement.
const TAKE_UP_BATCH: usize = 1000;

/// The run of a row that was agreed on by a run that is not known here.
const UNKNOWN_RUN: i64 = 0;

/// A generation as it is stored. No honest one reaches the end of this range, and one above it must not wrap.
fn stored_generation(generation: u64) -> i64 {
    i64::try_from(generation).unwrap_or(i64::MAX - 1)
}

impl WriteTransaction<'_> {
    /// Inserts a pair that is not there, and says where it is.
    async fn describe_pair(&mut self, pair: &NewPair) -> Result<()> {
        let (state, call) = (self.state, self.call);
        sqlx::query(sql::PAIR_INSERT)
            .bind(pair.id.as_str())
            .bind(&pair.remote_id)
            .bind(&pair.remote_display)
            .bind(pair.local_path.as_os_str().as_bytes())
            .bind(&pair.replica_id)
            .bind(to_ns(pair.created_at))
            .execute(self.connection())
            .await
            .map_err(state.failed(call))?;
        sqlx::query(sql::PAIR_DESCRIBE)
            .bind(pair.id.as_str())
            .bind(&pair.remote_display)
            .bind(pair.local_path.as_os_str().as_bytes())
            .execute(self.connection())
            .await
            .map_err(state.failed(call))?;
        Ok(())
    }

    /// The pair as it is stored.
    async fn pair(&mut self, pair: &PairId) -> Result<PairRecord> {
        let (state, call) = (self.state, self.call);
        let row = sqlx::query(sql::PAIR)
            .bind(pair.as_str())
            .fetch_one(self.connection())
            .await
            .map_err(state.failed(call))?;
        pair_record(pair, &row).map_err(state.failed(call))
    }

    async fn set_value(&mut self, pair: i64, name: &str, value: &str) -> Result<()> {
        let (state, call) = (self.state, self.call);
        sqlx::query(sql::VALUE_SET)
            .bind(pair)
            .bind(name)
            .bind(value)
            .execute(self.connection())
            .await
            .map_err(state.failed(call))?;
        Ok(())
    }

    /// Writes rows, and leaves `batch` empty.
    async fn agreed(&mut self, pair: i64, batch: &mut Vec<serde_json::Value>) -> Result<()> {
        let (state, call) = (self.state, self.call);
        let rows = serde_json::Value::Array(std::mem::take(batch));
        sqlx::query(sql::BASE_AGREED)
            .bind(pair)
            .bind(UNKNOWN_RUN)
            .bind(rows.to_string())
            .execute(self.connection())
            .await
            .map_err(state.failed(call))?;
        Ok(())
    }
}

fn pair_record(id: &PairId, row: &SqliteRow) -> Result<PairRecord, sqlx::Error> {
    let local_path: Vec<u8> = row.try_get("local_path")?;
    Ok(PairRecord {
        id: id.clone(),
        remote_id: row.try_get("remote_id")?,
        remote_display: row.try_get("remote_display")?,
        local_path: PathBuf::from(OsStr::from_bytes(&local_path)),
        replica_id: row.try_get("replica_id")?,
        generation: row.try_get::<i64, _>("generation")?.cast_unsigned(),
        created_at: from_ns(row.try_get("created_at_ns")?),
        first_synced_at: row
            .try_get::<Option<i64>, _>("first_synced_at_ns")?
            .map(from_ns),
    })
}
