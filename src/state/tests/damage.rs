//! A damaged file is refused as such, or read: never a panic, never an error that names no way out.

use std::fs;
use std::future::Future;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::state::{Result, StateError};

/// Fails when a step does not end. No step takes a second, but the machine may be busy.
async fn in_time<T>(what: &str, step: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), step).await {
        Ok(done) => done,
        Err(_) => panic!("{what} does not end"),
    }
}

/// A database of many pages, closed, as bytes.
async fn healthy() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    write_rows(&state, (0..400).map(|n| row(&format!("folder/{n:05}"), n))).await;
    domain::fill(&state).await;
    state.close().await;
    fs::read(folder.path().join("state.db")).unwrap()
}

/// Opens `bytes` as a database and reads all of it.
async fn read_all(bytes: &[u8]) -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state.db"), bytes).unwrap();
    let state = in_time("opening", State::open(folder.path())).await?;
    let pair = pair_id();
    let read = async {
        let _rows: Vec<_> = state.base_rows(&pair).try_collect().await?;
        state.base_totals(&pair).await?;
        state.pair(&pair).await?;
        state.last_runs(Some(&pair), 100).await?;
        state.open_intents(Some(&pair)).await?;
        state.uploads(&pair).await?;
        Ok(())
    };
    let result = in_time("reading", read).await;
    in_time("closing", state.close()).await;
    result
}

fn is_told_as_damage(error: &StateError) -> bool {
    matches!(
        error,
        StateError::Damaged { .. }
            | StateError::NotADatabase { .. }
            | StateError::OtherSchema { .. }
            | StateError::NewerSchema { .. }
    )
}

#[tokio::test]
async fn garbage_is_no_database() {
    for bytes in [&b"x"[..], b"SQLite format 2\0", &[0; 5000], &[0xff; 5000]] {
        let error = read_all(bytes).await.unwrap_err();
        assert!(matches!(error, StateError::NotADatabase { .. }), "{error}");
        assert!(error.hint().unwrap().contains("--rebuild-state"));
    }
}

#[tokio::test]
async fn an_empty_file_is_a_new_database() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state.db"), "").unwrap();
    state_with_pair(folder.path()).await;
}

#[tokio::test]
async fn a_truncated_file_is_refused_and_left_as_it_is() {
    let bytes = healthy().await;
    for length in [
        16,
        99,
        100,
        512,
        4096,
        4097,
        bytes.len() / 2,
        bytes.len() - 4096,
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        fs::write(&file, &bytes[..length]).unwrap();
        let error = in_time("opening", State::open(folder.path()))
            .await
            .unwrap_err();
        assert!(
            matches!(error, StateError::Damaged { .. }),
            "{length}: {error}"
        );
        assert!(error.hint().unwrap().contains("--rebuild-state"));
        assert_eq!(fs::read(&file).unwrap(), &bytes[..length]);
    }
}

#[tokio::test]
async fn an_overwritten_page_is_refused() {
    let bytes = healthy().await;
    for page in 1..bytes.len() / 4096 {
        let mut damaged = bytes.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xa5);
        let error = read_all(&damaged).await.unwrap_err();
        assert!(is_told_as_damage(&error), "page {page}: {error:?}");
    }
}

/// Where the types of columns are that the database takes as they come, and the driver does not: those of the table of
/// migrations, which the driver makes. Our own tables are strict.
fn free_types(bytes: &[u8]) -> Vec<usize> {
    let column = b"version BIGINT";
    let found = bytes.windows(column.len()).enumerate();
    found
        .filter(|(_, text)| text == column)
        .map(|(at, _)| at + column.len() - 2)
        .collect()
}

#[tokio::test]
async fn a_schema_that_is_not_text_is_refused() {
    let bytes = healthy().await;
    let mut refused = 0;
    for at in free_types(&bytes) {
        let mut damaged = bytes.clone();
        damaged[at] = 0xff;
        match read_all(&damaged).await {
            // What the database moved is left in the old place too, where nobody looks at it.
            Ok(()) => {}
            Err(StateError::Damaged { reason, .. }) if reason.contains("not text") => refused += 1,
            Err(error) => panic!("{at}: {error:?}"),
        }
    }
    assert_eq!(refused, 1);
}

/// `OWS_SEED` replays another run, `OWS_SEEDS` makes more of them.
fn seeds() -> impl Iterator<Item = u64> {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let first = number("OWS_SEED").unwrap_or(1);
    first..first + number("OWS_SEEDS").unwrap_or(1)
}

#[tokio::test]
async fn flipped_bytes_are_refused_or_harmless() {
    let bytes = healthy().await;
    for seed in seeds() {
        let mut random = SmallRng::seed_from_u64(seed);
        for round in 0..300 {
            let mut damaged = bytes.clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..damaged.len());
                damaged[at] ^= random.random_range(1..=255);
            }
            match read_all(&damaged).await {
                // The flip hit the pair's name.
                Ok(()) | Err(StateError::Unknown { what: "pair", .. }) => {}
                Err(error) => assert!(
                    is_told_as_damage(&error),
                    "OWS_SEED={seed}, round {round}: {error:?}"
                ),
            }
        }
    }
}

/// Makes the schema one that the driver panics on, behind the back of those who have the database open: they read the
/// schema again when its version changes.
async fn break_schema(file: &std::path::Path) {
    use sqlx::Connection;
    let mut other = sqlx::SqliteConnection::connect(file.to_str().unwrap())
        .await
        .unwrap();
    let text = "SELECT CAST(sql AS BLOB) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let mut text: Vec<u8> = sqlx::query_scalar(text)
        .fetch_one(&mut other)
        .await
        .unwrap();
    for at in free_types(&text) {
        text[at] = 0xff;
    }
    sqlx::raw_sql("PRAGMA writable_schema = ON")
        .execute(&mut other)
        .await
        .unwrap();
    let change = "UPDATE sqlite_schema SET sql = CAST(?1 AS TEXT) WHERE name = '_sqlx_migrations'";
    let changed = sqlx::query(change).bind(text).execute(&mut other).await;
    assert_eq!(changed.unwrap().rows_affected(), 1);
    sqlx::raw_sql("PRAGMA schema_version = 1000000")
        .execute(&mut other)
        .await
        .unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn rows_without_an_end_are_an_error_and_nothing_waits_after_it() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let state = state_with_pair(folder.path()).await;
        break_schema(state.file()).await;
        // Sees that there is a new schema, which the next statement is made for.
        in_time("reading", state.pair_ids()).await.unwrap();
        // The thread of the driver panics, which looks to the driver's other end as if there were no rows.
        let mut connection = state.read("test").await.unwrap();
        let rows =
            sqlx::query("SELECT version FROM _sqlx_migrations").fetch_all(connection.watched());
        let error = in_time("reading", rows).await.unwrap_err();
        assert!(matches!(error, sqlx::Error::WorkerCrashed), "{error:?}");
        drop(connection);
        for _ in 0..3 {
            in_time("reading", state.pair_ids()).await.unwrap_err();
        }
        in_time("writing", state.raise_generation(&pair_id()))
            .await
            .unwrap_err();
        in_time("closing", state.close()).await;
        let error = in_time("opening", State::open(folder.path()))
            .await
            .unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_database_that_does_not_answer_ends_the_call_and_the_closing() {
    use sqlx::Connection;
    let folder = tempfile::tempdir().unwrap();
    let mut state = state_with_pair(folder.path()).await;
    state.health.answer_limit = Duration::from_millis(100);
    state.health.close_limit = Duration::from_millis(100);
    let mut other = sqlx::SqliteConnection::connect(state.file().to_str().unwrap())
        .await
        .unwrap();
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = in_time("writing", state.raise_generation(&pair_id()))
        .await
        .unwrap_err();
    assert!(matches!(error, StateError::NoAnswer { .. }), "{error:?}");
    assert!(error.hint().is_some());
    in_time("closing", state.close()).await;
    held.rollback().await.unwrap();
}
