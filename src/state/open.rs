//! Opening the database: what must hold before anything in it is believed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rustix::fs::{Access, access};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use super::faults::{self, FaultPoint, Faults};
use super::watch::{Health, Watched};
use super::{Result, State, StateError, database_path, sql};

/// The schema, one file after the other.
pub(super) static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// What migration 1 writes into the file's header: "ows1".
const APPLICATION_ID: i64 = 0x6f77_7331;

/// The first bytes of every SQLite database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// How long a call waits for another process that holds the database. Transactions take milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a call waits for a connection that other calls of this process use.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(300);

/// The name of the call for faults and errors.
const CALL: &str = "open";

impl State {
    /// Opens the database in `own_dir` (`<state>/ows`), creating the folder (mode 0700) and the file (0600) when they
    /// are not there, and bringing an older schema up to date. A damaged file is refused before anything is written.
    ///
    /// # Errors
    /// [`StateError`], one variant for each way out.
    pub async fn open(own_dir: &Path) -> Result<Self> {
        Self::open_in(own_dir, None, BUSY_TIMEOUT).await
    }

    /// Like [`State::open`], for tests: calls fail when `faults` says so.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn open_with_faults(own_dir: &Path, faults: Faults) -> Result<Self> {
        Self::open_in(own_dir, Some(faults), BUSY_TIMEOUT).await
    }

    /// Like [`State::open`], but creates nothing: `None` when there is no database yet.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn open_existing(own_dir: &Path) -> Result<Option<Self>> {
        let file = absolute(own_dir)?;
        Self::check_place(&file)?;
        match fs::metadata(database_path(&file)) {
            // Who only looks does not make a database of an empty file.
            Ok(metadata) if metadata.is_file() && metadata.len() == 0 => Ok(None),
            Ok(_) => Self::open(own_dir).await.map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StateError::from_io(&database_path(&file), "read", error)),
        }
    }

    /// Looks whether the folder of the state, and what lies in it, can be what they must be. Who makes something in that
    /// folder asks before, or the system's words about it will name neither what is in the way nor the way out.
    ///
    /// # Errors
    /// [`StateError::InTheWay`].
    pub fn check_place(own_dir: &Path) -> Result<()> {
        let own_dir = absolute(own_dir)?;
        let in_the_way = |path: &Path, found, needed| {
            Err(StateError::InTheWay {
                path: path.to_owned(),
                found,
                needed,
            })
        };
        for folder in [own_dir.join("locks").as_path()]
            .into_iter()
            .chain(own_dir.ancestors())
        {
            match fs::metadata(folder) {
                Ok(metadata) if !metadata.is_dir() => {
                    return in_the_way(folder, "no folder", "a folder");
                }
                // What cannot be looked at is told by whoever opens it.
                _ => {}
            }
        }
        let file = database_path(&own_dir);
        match fs::metadata(&file) {
            Ok(metadata) if metadata.is_dir() => in_the_way(&file, "a folder", "a file"),
            Ok(metadata) if !metadata.is_file() => in_the_way(&file, "no ordinary file", "a file"),
            _ => Ok(()),
        }
    }

    /// Whether there is a database that nothing was ever written to, or that was emptied: a crash, or a disk without
    /// room, leaves such a file. It is opened as a new one.
    pub fn is_emptied(own_dir: &Path) -> bool {
        fs::metadata(database_path(own_dir))
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
    }

    /// Moves a damaged database, with its log, out of the way: to `state.db.damaged-<time>` beside it, never over
    /// anything that is there. Returns the new path of the database. No process may have it open.
    ///
    /// # Errors
    /// [`StateError::Io`] and its kin, also when there is no database.
    pub async fn set_aside(own_dir: &Path, now: DateTime<Utc>) -> Result<PathBuf> {
        let file = database_path(&absolute(own_dir)?);
        let time = now.format("%Y%m%dT%H%M%SZ").to_string();
        for attempt in 1..1000 {
            let suffix = match attempt {
                1 => format!(".damaged-{time}"),
                _ => format!(".damaged-{time}-{attempt}"),
            };
            let target = with_suffix(&file, &suffix);
            match reserve(&target) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(StateError::from_io(&target, "create", error)),
            }
            return move_aside(&file, &target).map(|()| target);
        }
        Err(StateError::from_io(
            &file,
            "find a free name beside",
            io::Error::from(io::ErrorKind::AlreadyExists),
        ))
    }

    pub(super) async fn open_in(
        own_dir: &Path,
        faults: Option<Faults>,
        busy_timeout: Duration,
    ) -> Result<Self> {
        faults::check(faults.as_ref(), CALL, FaultPoint::Before)?;
        let own_dir = absolute(own_dir)?;
        Self::check_place(&own_dir)?;
        let file = database_path(&own_dir);
        prepare_folder(&own_dir)?;
        prepare_file(&file)?;
        let health = Health::default();
        let writer = connect(&file, false, busy_timeout).await?;
        if let Err(error) = prepare_database(&file, &writer, &health).await {
            health.close(&file, &writer).await;
            return Err(error);
        }
        let state = Self {
            writer,
            reader: connect(&file, true, busy_timeout).await?,
            health,
            file: file.into(),
            faults,
        };
        faults::check(state.faults.as_ref(), CALL, FaultPoint::After)?;
        Ok(state)
    }
}

/// Checks that the file is ours, whole and of a known schema, then brings the schema up to date. Before the checks are
/// done nothing is set or written.
async fn prepare_database(file: &Path, writer: &SqlitePool, health: &Health) -> Result<()> {
    let failed = |error| StateError::from_sqlx(file, CALL, error);
    let mut connection = writer.acquire().await.map_err(failed)?;
    check_owner(file, &mut connection, health).await?;
    let report: String = sqlx::query_scalar(sql::QUICK_CHECK)
        .fetch_one(Watched::new(&mut connection, health))
        .await
        .map_err(failed)?;
    if report != "ok" {
        return Err(StateError::Damaged {
            file: file.to_owned(),
            reason: report
                .trim_start_matches("*** in database main ***\n")
                .replace('\n', ", "),
        });
    }
    check_schema_text(file, &mut connection, health).await?;
    use_log(file, &mut connection, health).await?;
    let migrated = async { Ok(migrate(file, &mut connection).await) };
    health.answer(migrated).await.map_err(failed)?
}

/// Refuses a database that another program made.
async fn check_owner(
    file: &Path,
    connection: &mut SqliteConnection,
    health: &Health,
) -> Result<()> {
    let failed = |error| StateError::from_sqlx(file, CALL, error);
    let tables: i64 = sqlx::query_scalar(sql::TABLE_COUNT)
        .fetch_one(Watched::new(connection, health))
        .await
        .map_err(failed)?;
    let application: i64 = sqlx::query_scalar(sql::APPLICATION_ID)
        .fetch_one(Watched::new(connection, health))
        .await
        .map_err(failed)?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(StateError::NotADatabase {
            file: file.to_owned(),
            reason: "another program made it".to_owned(),
        });
    }
    Ok(())
}

/// Refuses a schema that is not text: no check of the database looks at it, and the driver panics on a name or a type of
/// a column that is not.
async fn check_schema_text(
    file: &Path,
    connection: &mut SqliteConnection,
    health: &Health,
) -> Result<()> {
    let texts: Vec<Vec<u8>> = sqlx::query_scalar(sql::SCHEMA_TEXTS)
        .fetch_all(Watched::new(connection, health))
        .await
        .map_err(|error| StateError::from_sqlx(file, CALL, error))?;
    if texts.iter().any(|text| std::str::from_utf8(text).is_err()) {
        return Err(StateError::Damaged {
            file: file.to_owned(),
            reason: "the description of its tables is not text".to_owned(),
        });
    }
    Ok(())
}

/// Switches a new database to the write-ahead log, which it then remembers. The switch does not wait for another process
/// that does the same, so it is tried again here.
async fn use_log(file: &Path, connection: &mut SqliteConnection, health: &Health) -> Result<()> {
    let started = Instant::now();
    loop {
        let switched = sqlx::query(sql::USE_LOG)
            .execute(Watched::new(connection, health))
            .await;
        match switched.map_err(|error| StateError::from_sqlx(file, CALL, error)) {
            Ok(_) => return Ok(()),
            Err(StateError::Locked { .. }) if started.elapsed() < BUSY_TIMEOUT => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Brings the schema up to date, all migrations in one transaction: two processes that open a new database at the
/// same time take turns, and a crash leaves the old schema.
async fn migrate(file: &Path, connection: &mut SqliteConnection) -> Result<()> {
    let failed = |error| StateError::from_sqlx(file, CALL, error);
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed)?;
    let inner: &mut SqliteConnection = &mut transaction;
    match MIGRATOR.run_direct(None, inner, false).await {
        Ok(()) => transaction.commit().await.map_err(failed),
        Err(error) => Err(migration_failed(file, error)),
    }
}

fn migration_failed(file: &Path, error: MigrateError) -> StateError {
    let known = MIGRATOR
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    let file = file.to_owned();
    match error {
        MigrateError::VersionMissing(found) if found > known => {
            StateError::NewerSchema { file, found, known }
        }
        MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version) => {
            StateError::OtherSchema { file, version }
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            StateError::from_sqlx(&file, CALL, error)
        }
        other => StateError::from_sqlx(&file, CALL, sqlx::Error::Migrate(Box::new(other))),
    }
}

/// The folder's path from the root on: the working folder may change, and SQLite takes a relative `file:...` for a URI.
fn absolute(own_dir: &Path) -> Result<PathBuf> {
    std::path::absolute(own_dir).map_err(|error| StateError::from_io(own_dir, "resolve", error))
}

/// Makes our own folder, closed to others, and sees that files can be made in it.
fn prepare_folder(own_dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(own_dir)
        .map_err(|error| StateError::from_io(own_dir, "create", error))?;
    close_to_others(own_dir, 0o700)?;
    // The database makes two more files beside it, and would name neither the folder nor the reason.
    access(own_dir, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| StateError::from_io(own_dir, "write to", error.into()))
}

/// Makes the file, closed to others before anything is in it, or looks whether the one that is there can be ours. The
/// database gives its log and index the same mode.
fn prepare_file(file: &Path) -> Result<()> {
    match reserve(file) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(StateError::from_io(file, "create", error)),
    }
    let mut header = Vec::new();
    let opened = OpenOptions::new().read(true).write(true).open(file);
    opened
        .and_then(|opened| opened.take(100).read_to_end(&mut header))
        .map_err(|error| StateError::from_io(file, "open", error))?;
    // An empty file is a database that was never written to: a crash may leave one.
    if !header.is_empty() && !header.starts_with(MAGIC) {
        return Err(StateError::NotADatabase {
            file: file.to_owned(),
            reason: "it has another format".to_owned(),
        });
    }
    if !header.is_empty() && header.len() < 100 {
        return Err(StateError::Damaged {
            file: file.to_owned(),
            reason: format!("only {} bytes are left of it", header.len()),
        });
    }
    for suffix in ["", "-wal", "-shm"] {
        match close_to_others(&with_suffix(file, suffix), 0o600) {
            Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// Takes the rights of group and others away. A file system that keeps no modes, or a file of another owner that we may
/// write to, is no reason to stop; it is logged.
fn close_to_others(path: &Path, mode: u32) -> Result<()> {
    let metadata = fs::metadata(path).map_err(|error| StateError::from_io(path, "read", error))?;
    if metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    if let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
        tracing::warn!(path = %path.display(), %error, "others can read this and it could not be changed");
    }
    Ok(())
}

/// Creates an empty file that must not be there yet.
fn reserve(file: &Path) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map(drop)
}

/// Renames the database over the empty file `target`, then its log and index. In this order, since a log without its
/// database is ignored, while a database without its log would be an older state than the one that was lost.
fn move_aside(file: &Path, target: &Path) -> Result<()> {
    if let Err(error) = fs::rename(file, target) {
        fs::remove_file(target).map_err(|error| StateError::from_io(target, "remove", error))?;
        return Err(StateError::from_io(file, "rename", error));
    }
    for suffix in ["-wal", "-shm"] {
        let from = with_suffix(file, suffix);
        match fs::rename(&from, with_suffix(target, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StateError::from_io(&from, "rename", error)),
        }
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| StateError::from_io(folder, "flush", error))
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens one connection that writes, or up to two that read.
async fn connect(file: &Path, read_only: bool, busy_timeout: Duration) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(read_only)
        .busy_timeout(busy_timeout)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // A container may have no writable folder for temporary files.
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(if read_only { 2 } else { 1 })
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(|error| StateError::from_sqlx(file, CALL, error))
}
