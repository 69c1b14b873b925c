//! Deliveries from the remote `_outbox`, and what endpoints were found to enforce.

use chrono::{DateTime, Utc};
use ows_providers::{Enforcement, RelPath, Version};
use sqlx::Row;

use super::{Result, State, from_ns, sql, to_ns};
use crate::ids::PairId;

/// A delivery as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Where the file landed, below the local folder of the pair.
    pub inbox_name: RelPath,
    /// When.
    pub delivered_at: DateTime<Utc>,
}

impl State {
    /// Stores that this version of a remote file was delivered. It is durable when this returns, so that the remote file
    /// may be deleted, or found again, without being delivered twice.
    ///
    /// # Errors
    /// [`super::StateError`]; [`super::StateError::Unknown`] for a pair that was never stored.
    pub async fn record_delivery(
        &self,
        pair: &PairId,
        path: &RelPath,
        version: &Version,
        delivery: &Delivery,
    ) -> Result<()> {
        const CALL: &str = "record_delivery";
        let mut transaction = self.write(CALL).await?;
        let number = transaction.pair_number(pair).await?;
        sqlx::query(sql::DELIVERY_RECORD)
            .bind(number)
            .bind(path.as_str())
            .bind(&version.0)
            .bind(delivery.inbox_name.as_str())
            .bind(to_ns(delivery.delivered_at))
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }

    /// Where this version of a remote file was delivered, if it was.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn delivery(
        &self,
        pair: &PairId,
        path: &RelPath,
        version: &Version,
    ) -> Result<Option<Delivery>> {
        const CALL: &str = "delivery";
        let mut connection = self.read(CALL).await?;
        let failed = self.failed(CALL);
        let row = sqlx::query(sql::DELIVERY)
            .bind(pair.as_str())
            .bind(path.as_str())
            .bind(&version.0)
            .fetch_optional(connection.watched())
            .await
            .map_err(&failed)?;
        let Some(row) = row else { return Ok(None) };
        let name: String = row.try_get("inbox_name").map_err(&failed)?;
        Ok(Some(Delivery {
            inbox_name: RelPath::new(&name)
                .map_err(|error| self.damaged(format!("a delivered file: {error}")))?,
            delivered_at: from_ns(row.try_get("delivered_at_ns").map_err(&failed)?),
        }))
    }

    /// Forgets deliveries before `time` and says how many. Only for versions that are gone from the remote: one that is
    /// still there would be delivered again.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn forget_deliveries_older_than(
        &self,
        pair: &PairId,
        time: DateTime<Utc>,
    ) -> Result<u64> {
        const CALL: &str = "forget_deliveries_older_than";
        let mut transaction = self.write(CALL).await?;
        let done = sqlx::query(sql::DELIVERIES_FORGET)
            .bind(pair.as_str())
            .bind(to_ns(time))
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await?;
        Ok(done.rows_affected())
    }

    /// What an endpoint was found to enforce, and when. `endpoint` is any name that all pairs on it agree on.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn enforcement(
        &self,
        endpoint: &str,
    ) -> Result<Option<(Enforcement, DateTime<Utc>)>> {
        const CALL: &str = "enforcement";
        let mut connection = self.read(CALL).await?;
        let row: Option<(String, i64)> = sqlx::query_as(sql::ENFORCEMENT)
            .bind(endpoint)
            .fetch_optional(connection.watched())
            .await
            .map_err(self.failed(CALL))?;
        row.map(|(text, probed_at)| Ok((self.stored_json(&text)?, from_ns(probed_at))))
            .transpose()
    }

    /// Stores what an endpoint was found to enforce.
    ///
    /// # Errors
    /// [`super::StateError`].
    pub async fn record_enforcement(
        &self,
        endpoint: &str,
        enforcement: &Enforcement,
        probed_at: DateTime<Utc>,
    ) -> Result<()> {
        const CALL: &str = "record_enforcement";
        let text = serde_json::to_string(enforcement)
            .map_err(|error| self.failed(CALL)(sqlx::Error::Encode(Box::new(error))))?;
        let mut transaction = self.write(CALL).await?;
        sqlx::query(sql::ENFORCEMENT_RECORD)
            .bind(endpoint)
            .bind(text)
            .bind(to_ns(probed_at))
            .execute(transaction.connection())
            .await
            .map_err(self.failed(CALL))?;
        transaction.commit().await
    }
}
