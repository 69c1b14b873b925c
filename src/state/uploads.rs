//! Uploads in parts that have begun: a later run resumes them while the local file is unchanged, or aborts them.

use chrono::{DateTime, Utc};
use ows_providers::{Part, Upload};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::base::{bind_fingerprint, fingerprint};
use super::{Result, State, from_ns, sql, to_ns};
use crate::ids::PairId;
use crate::tree::LocalFingerprint;

/// Names a stored upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(i64);

/// An upload in parts, with what must still hold for going on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    /// What the provider needs to go on.
    pub upload: Upload,
    /// The local file as it was when the upload began.
    pub local: LocalFingerprint,
    /// MD5 of the whole content, where it was stored with the upload.
    pub md5: Option<[u8; 16]>,
    /// When it began.
    pub started_at: DateTime<Utc>,
}

/// An upload in parts as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredUpload {
    /// Its name.
    pub id: UploadId,
    /// What was stored when it began.
    pub record: UploadRecord,
    /// The parts that the provider has acknowledged, by number.
    pub parts: Vec<Part>,
}

impl State {
    /// Stores an upload that has begun. It is durable when this returns; until then nobody but the provider knows it.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn record_upload(&self, pair: &PairId, record: &UploadRecord) -> Result<UploadId> {
        const CALL: &str = "record_upload";
        let upload = serde_json::to_string(&record.upload)
            .map_err(|error| self.failed(CALL)(sqlx::Error::Encode(Box::new(error))))?;
        let mut transaction = self.write(CALL).await?;
        let number = transaction.pair_number(pair).await?;
        let query = sqlx::query(sql::UPLOAD_INSERT).bind(number).bind(upload);
        let row = bind_fingerprint(query, &record.local)
            .bind(record.md5.map(Vec::from))
            .bind(to_ns(record.started_at))
            .fetch_one(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        let id = row.try_get(0).map(UploadId).map_err(self.failed(CALL))?;
        transaction.commit().await?;
        Ok(id)
    }

    /// Stores that the provider has a part; the same part again replaces it.
    ///
    /// # Errors
    /// [`super::StateError`], also when the upload is forgotten already.
    pub async fn record_part(&self, upload: UploadId, part: &Part) -> Result<()> {
        const CALL: &str = "record_part";
        let mut transaction = self.write(CALL).await?;
        sqlx::query(sql::PART_RECORD)
            .bind(upload.0)
            .bind(i64::from(part.number))
            .bind(part.size.cast_signed())
            .bind(&part.tag)
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// The uploads of a pair that have begun and are not forgotten, oldest first, with their parts.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn uploads(&self, pair: &PairId) -> Result<Vec<StoredUpload>> {
        const CALL: &str = "uploads";
        let mut connection = self.read(CALL).await?;
        let rows = sqlx::query(sql::UPLOADS)
            .bind(pair.as_str())
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        let mut uploads = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut upload = self.stored_upload(CALL, row)?;
            let parts = sqlx::query(sql::PARTS)
                .bind(upload.id.0)
                .fetch_all(connection.watched())
                .await
                .map_err(self.failed(CALL))?;
            for part in &parts {
                upload
                    .parts
                    .push(stored_part(part).map_err(self.failed(CALL))?);
            }
            uploads.push(upload);
        }
        Ok(uploads)
    }

    /// Forgets an upload and its parts: it was completed and recorded, or aborted. Forgetting it again is no error.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn forget_upload(&self, upload: UploadId) -> Result<()> {
        const CALL: &str = "forget_upload";
        let mut transaction = self.write(CALL).await?;
        sqlx::query(sql::UPLOAD_FORGET)
            .bind(upload.0)
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    fn stored_upload(&self, call: &'static str, row: &SqliteRow) -> Result<StoredUpload> {
        let failed = self.failed(call);
        let upload: String = row.try_get("upload").map_err(&failed)?;
        let md5: Option<Vec<u8>> = row.try_get("md5").map_err(&failed)?;
        Ok(StoredUpload {
            id: UploadId(row.try_get("number").map_err(&failed)?),
            record: UploadRecord {
                upload: self.stored_json(&upload)?,
                local: fingerprint(row).map_err(&failed)?,
                md5: md5
                    .map(<[u8; 16]>::try_from)
                    .transpose()
                    .map_err(|_| self.damaged("an MD5 has another length"))?,
                started_at: from_ns(row.try_get("started_at_ns").map_err(&failed)?),
            },
            parts: Vec::new(),
        })
    }
}

fn stored_part(row: &SqliteRow) -> Result<Part, sqlx::Error> {
    Ok(Part {
        number: row.try_get("part_number")?,
        size: row.try_get::<i64, _>("size")?.cast_unsigned(),
        tag: row.try_get("tag")?,
    })
}
