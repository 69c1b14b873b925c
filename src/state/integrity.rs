//! Asks a database of somebody else whether it is whole.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

/// How many complaints are told.
const MOST: usize = 3;

/// What SQLite complains about; `None` when the database is whole. Nothing is written, and nothing may write meanwhile.
pub async fn problem(database: &Path) -> Option<String> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .read_only(true)
        .immutable(true)
        .disable_statement_logging();
    let mut connection = match SqliteConnection::connect_with(&options).await {
        Ok(connection) => connection,
        Err(error) => return Some(error.to_string()),
    };
    let complaints: Result<Vec<String>, _> = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut connection)
        .await;
    // It was only read: closing it has nothing to lose.
    let _closed = connection.close().await;
    match complaints {
        Err(error) => Some(error.to_string()),
        Ok(lines) if lines == ["ok"] => None,
        Ok(lines) => {
            let told: Vec<_> = lines.iter().take(MOST).map(String::as_str).collect();
            Some(told.join("; "))
        }
    }
}
