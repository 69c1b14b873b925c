//! The base: reading what both sides agreed on. Writing it is the affair of [`super::BaseWriter`].

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use ows_providers::{Hash, HashKind, RelPath, SortKey, Version};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row, Sqlite, query::Query};

use super::{BaseWriter, Result, State, sql};
use crate::ids::{PairId, RunId};
use crate::tree::{BaseRow, LocalFingerprint, RemoteStamp};

/// Rows in a page. Between two pages no transaction is open, so that a slow reader does not keep the log from being
/// folded into the database.
const PAGE: usize = 1000;

/// What a base holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BaseTotals {
    /// Files.
    pub files: u64,
    /// Folders.
    pub dirs: u64,
    /// Bytes of all files, as the local side has them.
    pub bytes: u64,
}

impl State {
    /// The base of a pair in the order of [`SortKey`]. Rows that are written while this is read may or may not be
    /// seen; no row is seen twice. The stream ends after an error.
    pub fn base_rows(&self, pair: &PairId) -> BoxStream<'static, Result<BaseRow>> {
        let state = self.clone();
        let pair = pair.clone();
        stream::try_unfold(Some(String::new()), move |after| {
            let state = state.clone();
            let pair = pair.clone();
            async move {
                let Some(after) = after else { return Ok(None) };
                let page = state.base_page(&pair, &after).await?;
                let next = match page.last() {
                    Some(last) if page.len() == PAGE => Some(last.key.to_text()),
                    _ => None,
                };
                Ok(Some((stream::iter(page.into_iter().map(Ok)), next)))
            }
        })
        .try_flatten()
        .boxed()
    }

    async fn base_page(&self, pair: &PairId, after: &str) -> Result<Vec<BaseRow>> {
        const CALL: &str = "base_rows";
        let mut connection = self.read(CALL).await?;
        let number = self.pair_number(CALL, connection.watched(), pair).await?;
        let rows = sqlx::query(sql::BASE_PAGE)
            .bind(number)
            .bind(after)
            .bind(PAGE as i64)
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        rows.iter().map(|row| self.stored_row(CALL, row)).collect()
    }

    /// The base at one path.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn base_row(&self, pair: &PairId, key: &SortKey) -> Result<Option<BaseRow>> {
        const CALL: &str = "base_row";
        let mut connection = self.read(CALL).await?;
        let row = sqlx::query(sql::BASE_ROW)
            .bind(pair.as_str())
            .bind(key.to_text())
            .fetch_optional(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        row.map(|row| self.stored_row(CALL, &row)).transpose()
    }

    /// The run that agreed on a path last; `None` when the path is not in the base, or the run is forgotten since.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn base_run(&self, pair: &PairId, key: &SortKey) -> Result<Option<RunId>> {
        const CALL: &str = "base_run";
        let mut connection = self.read(CALL).await?;
        let run: Option<String> = sqlx::query_scalar(sql::BASE_RUN)
            .bind(pair.as_str())
            .bind(key.to_text())
            .fetch_optional(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        run.map(|run| self.stored_run(&run)).transpose()
    }

    /// The name of every `every`-th file of the base, in order: where the remote's listing may be cut into pieces.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn base_splits(&self, pair: &PairId, every: u32) -> Result<Vec<RelPath>> {
        const CALL: &str = "base_splits";
        let mut connection = self.read(CALL).await?;
        let rows = sqlx::query(sql::BASE_SPLITS)
            .bind(pair.as_str())
            .bind(every)
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        rows.iter()
            .map(|row| {
                let key: String = row.try_get(0).map_err(self.failed(CALL))?;
                RelPath::new(&key)
                    .map_err(|error| self.damaged(format!("a path of the base: {error}")))
            })
            .collect()
    }

    /// How many files of the base come behind `after`, in the order of keys; the empty text is before every key.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn base_files_after(&self, pair: &PairId, after: &str) -> Result<u64> {
        const CALL: &str = "base_files_after";
        let mut connection = self.read(CALL).await?;
        let count: i64 = sqlx::query_scalar(sql::BASE_FILES_AFTER)
            .bind(pair.as_str())
            .bind(after)
            .fetch_one(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        Ok(count.cast_unsigned())
    }

    /// The key of the `place`-th file of the base behind `after`, counted from 1.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn base_file_after(
        &self,
        pair: &PairId,
        after: &str,
        place: u64,
    ) -> Result<Option<String>> {
        const CALL: &str = "base_file_after";
        let mut connection = self.read(CALL).await?;
        sqlx::query_scalar(sql::BASE_FILE_AFTER)
            .bind(pair.as_str())
            .bind(after)
            .bind(place.saturating_sub(1).cast_signed())
            .fetch_optional(connection.watched())
            .await
            .map_err(self.failed(CALL))
    }

    /// What the base of a pair holds; zeros for a pair that was never stored.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn base_totals(&self, pair: &PairId) -> Result<BaseTotals> {
        const CALL: &str = "base_totals";
        let mut connection = self.read(CALL).await?;
        let (files, dirs, bytes): (i64, i64, i64) = sqlx::query_as(sql::BASE_TOTALS)
            .bind(pair.as_str())
            .fetch_one(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        Ok(BaseTotals {
            files: files.cast_unsigned(),
            dirs: dirs.cast_unsigned(),
            bytes: bytes.cast_unsigned(),
        })
    }

    /// A writer of the base of a pair, for one run that was started. It must be ended with [`BaseWriter::finish`].
    pub fn base_writer(&self, pair: &PairId, run: &RunId) -> BaseWriter {
        BaseWriter::start(self.clone(), pair.clone(), run.clone())
    }

    fn stored_row(&self, call: &'static str, row: &SqliteRow) -> Result<BaseRow> {
        let failed = self.failed(call);
        let key: &str = row.try_get("key").map_err(&failed)?;
        let kind: Option<String> = row.try_get("remote_hash_kind").map_err(&failed)?;
        let bytes: Option<Vec<u8>> = row.try_get("remote_hash").map_err(&failed)?;
        let hash = match (kind, bytes) {
            (Some(kind), Some(bytes)) => Some(Hash {
                kind: hash_kind(&kind).ok_or_else(|| self.damaged("a hash of no known kind"))?,
                bytes,
            }),
            _ => None,
        };
        Ok(BaseRow {
            key: SortKey::from_text(key)
                .map_err(|error| self.damaged(format!("a path of the base: {error}")))?,
            local: fingerprint(row).map_err(&failed)?,
            remote: stamp(row, hash).map_err(&failed)?,
        })
    }
}

type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Binds the columns of a local fingerprint, in the order of the tables.
pub(super) fn bind_fingerprint<'q>(query: Bound<'q>, local: &LocalFingerprint) -> Bound<'q> {
    query
        .bind(local.size.cast_signed())
        .bind(local.mtime_ns)
        .bind(local.ctime_ns)
        .bind(local.inode.cast_signed())
        .bind(local.blake3.map(Vec::from))
        .bind(local.observed_at_ns)
}

/// Reads what [`bind_fingerprint`] wrote.
pub(super) fn fingerprint(row: &SqliteRow) -> Result<LocalFingerprint, sqlx::Error> {
    let blake3: Option<Vec<u8>> = row.try_get("local_blake3")?;
    Ok(LocalFingerprint {
        size: row.try_get::<i64, _>("local_size")?.cast_unsigned(),
        mtime_ns: row.try_get("local_mtime_ns")?,
        ctime_ns: row.try_get("local_ctime_ns")?,
        inode: row.try_get::<i64, _>("local_inode")?.cast_unsigned(),
        blake3: blake3
            .map(<[u8; 32]>::try_from)
            .transpose()
            .map_err(|_| sqlx::Error::Decode("a BLAKE3 has another length".into()))?,
        observed_at_ns: row.try_get("local_observed_at_ns")?,
    })
}

/// `row` as [`sql::BASE_AGREED`] takes it.
pub(super) fn row_as_json(key: &str, row: &BaseRow) -> serde_json::Value {
    let (local, remote) = (&row.local, &row.remote);
    serde_json::json!([
        key,
        local.size.cast_signed(),
        local.mtime_ns,
        local.ctime_ns,
        local.inode.cast_signed(),
        local.blake3.map(hex::encode),
        local.observed_at_ns,
        remote.size.cast_signed(),
        remote.version,
        remote.modified_at_ns,
        remote.mtime_ns,
        remote.hash.as_ref().map(|hash| hash_kind_name(hash.kind)),
        remote.hash.as_ref().map(|hash| hex::encode(&hash.bytes)),
        remote.id,
        i64::from(remote.own),
        remote.stored_by_ns,
    ])
}

fn stamp(row: &SqliteRow, hash: Option<Hash>) -> Result<RemoteStamp, sqlx::Error> {
    Ok(RemoteStamp {
        size: row.try_get::<i64, _>("remote_size")?.cast_unsigned(),
        version: row
            .try_get::<Option<String>, _>("remote_version")?
            .map(Version),
        modified_at_ns: row.try_get("remote_modified_at_ns")?,
        mtime_ns: row.try_get("remote_mtime_ns")?,
        hash,
        id: row.try_get("remote_id")?,
        own: row.try_get("remote_own")?,
        stored_by_ns: row.try_get("remote_stored_by_ns")?,
    })
}

fn hash_kind_name(kind: HashKind) -> &'static str {
    match kind {
        HashKind::Md5 => "md5",
        HashKind::Blake3 => "blake3",
    }
}

fn hash_kind(name: &str) -> Option<HashKind> {
    match name {
        "md5" => Some(HashKind::Md5),
        "blake3" => Some(HashKind::Blake3),
        _ => None,
    }
}
