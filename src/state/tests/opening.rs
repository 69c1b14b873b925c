//! What opening makes, checks and refuses.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, SqlSafeStr, SqliteConnection};

use super::*;
use crate::state::open::MIGRATOR;
use crate::state::{StateError, sql};

async fn raw(own_dir: &Path) -> SqliteConnection {
    SqliteConnection::connect(own_dir.join("state.db").to_str().unwrap())
        .await
        .unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[tokio::test]
async fn every_statement_can_be_prepared_on_a_fresh_database() {
    let folder = tempfile::tempdir().unwrap();
    State::open(folder.path()).await.unwrap().close().await;
    let mut connection = raw(folder.path()).await;
    assert!(sql::ALL.len() > 30);
    for (name, text) in sql::ALL {
        let prepared = connection.prepare(text.into_sql_str()).await;
        assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
    }
}

#[tokio::test]
async fn pages_of_the_base_are_read_by_key_without_sorting() {
    let folder = tempfile::tempdir().unwrap();
    State::open(folder.path()).await.unwrap().close().await;
    let mut connection = raw(folder.path()).await;
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql::BASE_PAGE));
    let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let steps: Vec<_> = plan.into_iter().map(|step| step.3).collect();
    assert_eq!(steps, ["SEARCH base USING PRIMARY KEY (pair=? AND key>?)"]);
}

#[test]
fn every_migration_file_is_embedded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files = fs::read_dir(folder).unwrap().count();
    assert_eq!(MIGRATOR.iter().count(), files);
}

#[tokio::test]
async fn folder_and_files_are_closed_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let own_dir = folder.path().join("a/ows");
    let state = state_with_pair(&own_dir).await;
    assert_eq!(mode(&own_dir), 0o700);
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        assert_eq!(mode(&own_dir.join(name)), 0o600, "{name}");
    }
    state.close().await;

    fs::set_permissions(&own_dir, fs::Permissions::from_mode(0o755)).unwrap();
    let file = own_dir.join("state.db");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    State::open(&own_dir).await.unwrap().close().await;
    assert_eq!((mode(&own_dir), mode(&file)), (0o700, 0o600));
}

#[tokio::test]
async fn looking_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let own_dir = folder.path().join("ows");
    assert!(State::open_existing(&own_dir).await.unwrap().is_none());
    assert!(!own_dir.exists());
    fs::create_dir(&own_dir).unwrap();
    assert!(State::open_existing(&own_dir).await.unwrap().is_none());
    assert_eq!(fs::read_dir(&own_dir).unwrap().count(), 0);

    state_with_pair(&own_dir).await.close().await;
    let state = State::open_existing(&own_dir).await.unwrap().unwrap();
    assert!(state.pair(&pair_id()).await.unwrap().is_some());
}

#[tokio::test]
async fn opened_at_the_same_time_a_new_database_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let opened = futures::future::join_all((0..8).map(|_| State::open(folder.path()))).await;
    for state in opened {
        add_pair_if_missing(&state.unwrap()).await;
    }
    let state = State::open(folder.path()).await.unwrap();
    assert_eq!(state.pair_ids().await.unwrap(), [pair_id()]);
}

async fn add_pair_if_missing(state: &State) {
    state.ensure_pair(&new_pair(pair_id())).await.unwrap();
}

#[tokio::test]
async fn a_closed_state_leaves_one_file_and_refuses_calls() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    state.close().await;
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["state.db"]);
    let error = state.pair(&pair_id()).await.unwrap_err();
    assert!(matches!(error, StateError::Closed { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    state_with_pair(folder.path()).await.close().await;
    let mut connection = raw(folder.path()).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9001, 'from the future', TRUE, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let before = fs::read(folder.path().join("state.db")).unwrap();

    let error = State::open(folder.path()).await.unwrap_err();
    assert!(
        matches!(error, StateError::NewerSchema { found: 9001, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("state.db"), "{error}");
    assert!(error.hint().unwrap().contains("upgrade ows"));
    assert_eq!(fs::read(folder.path().join("state.db")).unwrap(), before);
}

#[tokio::test]
async fn a_changed_migration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    state_with_pair(folder.path()).await.close().await;
    let mut connection = raw(folder.path()).await;
    sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let error = State::open(folder.path()).await.unwrap_err();
    assert!(
        matches!(error, StateError::OtherSchema { version: 1, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn the_database_of_another_program_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE theirs (a)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let before = fs::read(&file).unwrap();

    let error = State::open(folder.path()).await.unwrap_err();
    assert!(matches!(error, StateError::NotADatabase { .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn a_lock_that_another_process_keeps_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let mut connection = raw(folder.path()).await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await
        .unwrap();
    let error = State::open_in(folder.path(), None, Duration::from_millis(10))
        .await
        .unwrap_err();
    assert!(matches!(error, StateError::Locked { .. }), "{error}");
    // Who only reads does not wait.
    assert!(state.pair(&pair_id()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_or_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = State::open(&file.join("ows")).await.unwrap_err();
    assert!(matches!(error, StateError::InTheWay { .. }), "{error}");
    let error = State::open_existing(&file.join("ows")).await.unwrap_err();
    assert!(matches!(error, StateError::InTheWay { .. }), "{error}");
    let missing = State::open_existing(&folder.path().join("ows")).await;
    assert!(missing.unwrap().is_none());

    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    let error = State::open(&closed).await;
    if rustix::process::geteuid().is_root() {
        // No folder is closed to root.
        assert!(error.is_ok());
    } else {
        let error = error.unwrap_err();
        assert!(matches!(error, StateError::NoPermission { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_damaged_database_is_set_aside_with_its_log_and_never_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = Vec::new();
    for text in ["first", "second", "third"] {
        fs::write(folder.path().join("state.db"), text).unwrap();
        fs::write(folder.path().join("state.db-wal"), format!("{text} log")).unwrap();
        let aside = State::set_aside(folder.path(), time(0)).await.unwrap();
        kept.push((aside, text));
    }
    for (aside, text) in &kept {
        assert_eq!(fs::read_to_string(aside).unwrap(), *text);
        let log = format!("{}-wal", aside.display());
        assert_eq!(fs::read_to_string(log).unwrap(), format!("{text} log"));
        let name = aside.file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with("state.db.damaged-20270115T080000Z"),
            "{name}"
        );
    }
    assert!(State::open_existing(folder.path()).await.unwrap().is_none());
    assert!(State::set_aside(folder.path(), time(0)).await.is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 6);
    state_with_pair(folder.path()).await;
}

/// The databases that `write_the_fixture_of_the_present_schema` made when these schemas were current.
#[tokio::test]
async fn the_databases_of_older_schemas_are_still_read() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/state");
    // Rows are numbered from here on; from schema 2 on one of them has the time by which it was stored.
    let made = [("schema-1.db", 1), ("schema-2.db", 2), ("schema-6.db", 2)];
    for (name, first) in made {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(fixtures.join(name), folder.path().join("state.db")).unwrap();
        let state = State::open(folder.path()).await.unwrap();
        still_read(&state, fixture_rows(first)).await;
        if name == "schema-6.db" {
            domain::keeps_what_schema_6_has(&state).await;
            backups::is_filled(&state).await;
        }
    }
    assert_eq!(fs::read_dir(fixtures).unwrap().count(), made.len());
}

async fn still_read(state: &State, rows: Vec<BaseRow>) {
    assert_eq!(all_rows(state).await, rows);
    let pair = state.pair(&pair_id()).await.unwrap().unwrap();
    assert_eq!((pair.generation, pair.first_synced_at), (2, Some(time(9))));
    let intents = state.open_intents(Some(&pair_id())).await.unwrap();
    assert_eq!(intents[0].payload, serde_json::json!({"path": "a"}));
    let runs = state.last_runs(Some(&pair_id()), 10).await.unwrap();
    assert_eq!(runs[0].exit_code, Some(3));
    let delivered = domain::delivered(state).await;
    assert_eq!(delivered.unwrap().inbox_name.as_str(), "_inbox/a (2).txt");
    assert_eq!(state.uploads(&pair_id()).await.unwrap()[0].parts.len(), 2);
}

fn fixture_rows(first: u64) -> Vec<BaseRow> {
    ["a", "a-b", "a/", "a/b", "é", "日本/"]
        .iter()
        .zip(first..)
        .map(|(key, number)| row(key, number))
        .collect()
}

#[tokio::test]
#[ignore = "run by hand when the schema changes: OWS_FIXTURE=fixtures/state/schema-N.db"]
async fn write_the_fixture_of_the_present_schema() {
    let target = std::env::var("OWS_FIXTURE").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    write_rows(&state, fixture_rows(2)).await;
    state.raise_generation(&pair_id()).await.unwrap();
    state.raise_generation(&pair_id()).await.unwrap();
    state.record_first_sync(&pair_id(), time(9)).await.unwrap();
    domain::fill(&state).await;
    domain::fill_what_schema_6_has(&state).await;
    backups::fill(&state).await;
    state.close().await;
    fs::copy(folder.path().join("state.db"), target).unwrap();
}
