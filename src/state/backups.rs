//! What this host knows of its backups: snapshots that are being made, how the last runs went, what was proven, and
//! manifests that were read before.
//!
//! `remote` is always the id of the folder that holds the snapshots.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ows_providers::{Upload, Version};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Result, State, from_ns, sql, to_ns};
use crate::ids::RunId;

/// Names a stored intent to make a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackupIntentId(i64);

/// A snapshot that a run began to make and did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupIntent {
    /// Its name.
    pub id: BackupIntentId,
    /// The run that had it.
    pub run: RunId,
    /// The snapshot.
    pub snapshot: String,
    /// When it began.
    pub begun_at: DateTime<Utc>,
    /// The names of its objects that were or were about to be stored, with their uploads as far as those are known to
    /// have begun.
    pub objects: BTreeMap<String, Option<Upload>>,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupOutcome {
    /// The command: `backup now`.
    pub command: String,
    /// Whether it succeeded.
    pub success: bool,
    /// The run.
    pub run: RunId,
    /// The snapshot that it was about.
    pub snapshot: Option<String>,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Why it failed, or what was not whole about a success.
    pub message: Option<String>,
}

/// What was proven of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupProof {
    /// The snapshot.
    pub snapshot: String,
    /// How deeply it was looked into, in the words of whoever looked.
    pub level: String,
    /// When last.
    pub proven_at: DateTime<Utc>,
}

impl State {
    /// Stores that a run begins to make a snapshot. It is durable when this returns.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn record_backup_intent(
        &self,
        remote: &str,
        run: &RunId,
        snapshot: &str,
        begun_at: DateTime<Utc>,
    ) -> Result<BackupIntentId> {
        const CALL: &str = "record_backup_intent";
        let mut transaction = self.write(CALL).await?;
        let id = sqlx::query_scalar(sql::BACKUP_INTENT_INSERT)
            .bind(remote)
            .bind(run.as_str())
            .bind(snapshot)
            .bind(to_ns(begun_at))
            .fetch_one(transaction.connection())
            .await
            .map(BackupIntentId)
            .map_err(self.failed(CALL))?;
        transaction.commit().await?;
        Ok(id)
    }

    /// Stores that a run begins to remove a snapshot, and all that is to go after its manifest. It is durable when this
    /// returns.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn record_backup_removal(
        &self,
        remote: &str,
        run: &RunId,
        snapshot: &str,
        begun_at: DateTime<Utc>,
        objects: impl Iterator<Item = &String>,
    ) -> Result<BackupIntentId> {
        const CALL: &str = "record_backup_removal";
        let mut transaction = self.write(CALL).await?;
        let id: i64 = sqlx::query_scalar(sql::BACKUP_INTENT_INSERT)
            .bind(remote)
            .bind(run.as_str())
            .bind(snapshot)
            .bind(to_ns(begun_at))
            .fetch_one(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        for name in objects {
            sqlx::query(sql::BACKUP_OBJECT_RECORD)
                .bind(id)
                .bind(name)
                .bind(None::<String>)
                .execute(transaction.connection())
                .await
                .map_err(self.failed(CALL))?;
        }
        transaction.commit().await?;
        Ok(BackupIntentId(id))
    }

    /// Stores that an object of the snapshot is about to be stored, and then, with `upload`, which upload makes it. It is
    /// durable when this returns.
    ///
    /// # Errors
    /// [`super::StateError`]; also when the intent is resolved already.
    pub async fn record_backup_object(
        &self,
        intent: BackupIntentId,
        name: &str,
        upload: Option<&Upload>,
    ) -> Result<()> {
        const CALL: &str = "record_backup_object";
        let upload = upload
            .map(serde_json::to_string)
            .transpose()
            .map_err(|error| self.damaged(format!("an upload cannot be stored: {error}")))?;
        let mut transaction = self.write(CALL).await?;
        sqlx::query(sql::BACKUP_OBJECT_RECORD)
            .bind(intent.0)
            .bind(name)
            .bind(upload)
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// Forgets an intent: the snapshot has its manifest, or nothing is left of it. Forgetting it again is no error.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn resolve_backup_intent(&self, intent: BackupIntentId) -> Result<()> {
        const CALL: &str = "resolve_backup_intent";
        let mut transaction = self.write(CALL).await?;
        sqlx::query(sql::BACKUP_INTENT_RESOLVE)
            .bind(intent.0)
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// The intents that are not resolved, oldest first. When a run starts they are those of runs that failed or were
    /// killed.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn open_backup_intents(&self, remote: &str) -> Result<Vec<BackupIntent>> {
        const CALL: &str = "open_backup_intents";
        let mut connection = self.read(CALL).await?;
        let rows = sqlx::query(sql::BACKUP_INTENTS)
            .bind(remote)
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        let failed = self.failed(CALL);
        let mut intents: Vec<BackupIntent> = Vec::new();
        for row in &rows {
            let id = BackupIntentId(row.try_get("number").map_err(&failed)?);
            if intents.last().is_none_or(|last| last.id != id) {
                let run: String = row.try_get("run").map_err(&failed)?;
                intents.push(BackupIntent {
                    id,
                    run: self.stored_run(&run)?,
                    snapshot: row.try_get("snapshot").map_err(&failed)?,
                    begun_at: from_ns(row.try_get("begun_at_ns").map_err(&failed)?),
                    objects: BTreeMap::new(),
                });
            }
            let name: Option<String> = row.try_get("name").map_err(&failed)?;
            let upload: Option<String> = row.try_get("upload").map_err(&failed)?;
            if let (Some(intent), Some(name)) = (intents.last_mut(), name) {
                let upload = upload.map(|text| self.stored_json(&text)).transpose()?;
                intent.objects.insert(name, upload);
            }
        }
        Ok(intents)
    }

    /// Stores how a run of the profile went, in the place of the last one of its command that went the same way.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn record_backup_outcome(
        &self,
        remote: &str,
        profile: &str,
        outcome: &BackupOutcome,
    ) -> Result<()> {
        const CALL: &str = "record_backup_outcome";
        let mut transaction = self.write(CALL).await?;
        sqlx::query(sql::BACKUP_OUTCOME_RECORD)
            .bind(remote)
            .bind(profile)
            .bind(&outcome.command)
            .bind(outcome.success)
            .bind(outcome.run.as_str())
            .bind(&outcome.snapshot)
            .bind(to_ns(outcome.at))
            .bind(&outcome.message)
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// The last success and the last failure of each command of the profile, newest first.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn backup_outcomes(&self, remote: &str, profile: &str) -> Result<Vec<BackupOutcome>> {
        const CALL: &str = "backup_outcomes";
        let mut connection = self.read(CALL).await?;
        let rows = sqlx::query(sql::BACKUP_OUTCOMES)
            .bind(remote)
            .bind(profile)
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        rows.iter()
            .map(|row| self.backup_outcome(CALL, row))
            .collect()
    }

    fn backup_outcome(&self, call: &'static str, row: &SqliteRow) -> Result<BackupOutcome> {
        let failed = self.failed(call);
        let run: String = row.try_get("run").map_err(&failed)?;
        Ok(BackupOutcome {
            command: row.try_get("command").map_err(&failed)?,
            success: row.try_get("success").map_err(&failed)?,
            run: self.stored_run(&run)?,
            snapshot: row.try_get("snapshot").map_err(&failed)?,
            at: from_ns(row.try_get("at_ns").map_err(&failed)?),
            message: row.try_get("message").map_err(&failed)?,
        })
    }

    /// Stores that something was proven of a snapshot.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn record_backup_proof(&self, remote: &str, proof: &BackupProof) -> Result<()> {
        const CALL: &str = "record_backup_proof";
        let mut transaction = self.write(CALL).await?;
        sqlx::query(sql::BACKUP_PROOF_RECORD)
            .bind(remote)
            .bind(&proof.snapshot)
            .bind(&proof.level)
            .bind(to_ns(proof.proven_at))
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// All that was proven, by snapshot and level.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn backup_proofs(&self, remote: &str) -> Result<Vec<BackupProof>> {
        const CALL: &str = "backup_proofs";
        let mut connection = self.read(CALL).await?;
        let rows = sqlx::query(sql::BACKUP_PROOFS)
            .bind(remote)
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        let failed = self.failed(CALL);
        rows.iter()
            .map(|row| {
                Ok(BackupProof {
                    snapshot: row.try_get("snapshot").map_err(&failed)?,
                    level: row.try_get("level").map_err(&failed)?,
                    proven_at: from_ns(row.try_get("proven_at_ns").map_err(&failed)?),
                })
            })
            .collect()
    }

    /// Forgets what was proven of a snapshot: it is gone.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn forget_backup_proofs(&self, remote: &str, snapshot: &str) -> Result<()> {
        const CALL: &str = "forget_backup_proofs";
        let mut transaction = self.write(CALL).await?;
        sqlx::query(sql::BACKUP_PROOFS_FORGET)
            .bind(remote)
            .bind(snapshot)
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// Manifests that were read before: by the object's name its version and bytes.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn backup_manifests(
        &self,
        remote: &str,
    ) -> Result<BTreeMap<String, (Version, Vec<u8>)>> {
        const CALL: &str = "backup_manifests";
        let mut connection = self.read(CALL).await?;
        let rows = sqlx::query(sql::BACKUP_MANIFESTS)
            .bind(remote)
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        let failed = self.failed(CALL);
        rows.iter()
            .map(|row| {
                let version = Version(row.try_get("version").map_err(&failed)?);
                let body = row.try_get("body").map_err(&failed)?;
                Ok((row.try_get("name").map_err(&failed)?, (version, body)))
            })
            .collect()
    }

    /// Stores manifests that were just read, and forgets those that are no longer `listed`.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn record_backup_manifests(
        &self,
        remote: &str,
        read: &[(String, Version, Vec<u8>)],
        listed: &[String],
    ) -> Result<()> {
        const CALL: &str = "record_backup_manifests";
        let mut transaction = self.write(CALL).await?;
        for (name, version, body) in read {
            sqlx::query(sql::BACKUP_MANIFEST_RECORD)
                .bind(remote)
                .bind(name)
                .bind(&version.0)
                .bind(body)
                .execute(transaction.connection())
                .await
                .map_err(self.failed(CALL))?;
        }
        let listed = serde_json::Value::from(listed).to_string();
        sqlx::query(sql::BACKUP_MANIFESTS_FORGET)
            .bind(remote)
            .bind(listed)
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }
}
