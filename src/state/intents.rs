//! Intents: what is about to be done and cannot be undone, durable before it is done.

use sqlx::Row;

use super::{Result, State, sql};
use crate::ids::{PairId, RunId};

/// Names a stored intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntentId(i64);

/// What is about to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct NewIntent {
    /// The kind of act, in the words of whoever acts.
    pub kind: String,
    /// What is needed to tell later whether it was done, and to complete or undo it.
    pub payload: serde_json::Value,
}

/// An intent as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// Its name.
    pub id: IntentId,
    /// The run that had it.
    pub run: RunId,
    /// The kind of act.
    pub kind: String,
    /// What is needed to settle it.
    pub payload: serde_json::Value,
}

impl State {
    /// Stores one intent. It is durable when this returns.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn record_intent(
        &self,
        pair: Option<&PairId>,
        run: &RunId,
        kind: &str,
        payload: serde_json::Value,
    ) -> Result<IntentId> {
        let intent = NewIntent {
            kind: kind.to_owned(),
            payload,
        };
        let mut transaction = self.write("record_intent").await?;
        let scope = transaction.scope_number(pair).await?;
        let id = insert(&mut transaction, scope, run, &intent).await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// Stores many intents in one transaction, which costs one flush of the disk. The names come in the same order.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored. None is stored then.
    pub async fn record_intents(
        &self,
        pair: Option<&PairId>,
        run: &RunId,
        intents: &[NewIntent],
    ) -> Result<Vec<IntentId>> {
        let mut transaction = self.write("record_intents").await?;
        let scope = transaction.scope_number(pair).await?;
        let mut ids = Vec::with_capacity(intents.len());
        for intent in intents {
            ids.push(insert(&mut transaction, scope, run, intent).await?);
        }
        transaction.commit().await?;
        Ok(ids)
    }

    /// Forgets an intent: the act is done and recorded, or it will not be done. Forgetting it again is no error.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn resolve_intent(&self, intent: IntentId) -> Result<()> {
        self.resolve("resolve_intent", &[intent]).await
    }

    /// Forgets many intents in one transaction.
    ///
    /// # Errors
    /// [`super::StateError`]. None is forgotten then.
    pub async fn resolve_intents(&self, intents: &[IntentId]) -> Result<()> {
        self.resolve("resolve_intents", intents).await
    }

    async fn resolve(&self, call: &'static str, intents: &[IntentId]) -> Result<()> {
        let mut transaction = self.write(call).await?;
        for intent in intents {
            sqlx::query(sql::INTENT_RESOLVE)
                .bind(intent.0)
                .execute(transaction.connection())
                .await
                .map_err(self.failed(call))?;
        }
        transaction.commit().await
    }

    /// The intents of a pair (or of runs outside any pair) that are not resolved, oldest first. When a run starts they
    /// are those of runs that were killed.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn open_intents(&self, pair: Option<&PairId>) -> Result<Vec<Intent>> {
        const CALL: &str = "open_intents";
        let mut connection = self.read(CALL).await?;
        let scope = self.scope_number(CALL, connection.watched(), pair).await?;
        let rows = sqlx::query(sql::INTENTS_OPEN)
            .bind(scope)
            .fetch_all(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        let failed = self.failed(CALL);
        rows.iter()
            .map(|row| {
                let run: String = row.try_get("run").map_err(&failed)?;
                let payload: String = row.try_get("payload").map_err(&failed)?;
                Ok(Intent {
                    id: IntentId(row.try_get("number").map_err(&failed)?),
                    run: self.stored_run(&run)?,
                    kind: row.try_get("kind").map_err(&failed)?,
                    payload: self.stored_json(&payload)?,
                })
            })
            .collect()
    }
}

async fn insert(
    transaction: &mut super::WriteTransaction<'_>,
    scope: Option<i64>,
    run: &RunId,
    intent: &NewIntent,
) -> Result<IntentId> {
    let (state, call) = (transaction.state, transaction.call);
    sqlx::query_scalar(sql::INTENT_INSERT)
        .bind(scope)
        .bind(run.as_str())
        .bind(&intent.kind)
        .bind(intent.payload.to_string())
        .fetch_one(transaction.connection())
        .await
        .map(IntentId)
        .map_err(state.failed(call))
}
