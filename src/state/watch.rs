//! Waiting for the database, with an end to every wait.
//!
//! The driver runs each connection in a thread of its own. When such a thread ends early, which is a panic in the driver,
//! the driver takes the rows that came so far for all rows, and a command that was sent while the thread ended is never
//! answered. So every statement goes through [`Watched`]: rows without an end are an error, and nothing more is asked of
//! a state that has lost a thread. For what is left (a disk that does not answer) there are time limits.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::sqlite::{SqliteQueryResult, SqliteRow, SqliteStatement, SqliteTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, SqlStr, Sqlite, SqliteConnection};
use sqlx::{SqlitePool, pool::PoolConnection};
use tokio::time::timeout;

/// How long a statement may take to give its next row, or to end. The longest is the check on opening, which reads the
/// whole database: 60 GB at 100 MB/s.
const ANSWER_LIMIT: Duration = Duration::from_secs(600);

/// How long closing waits for the connections. Nothing is lost when it stops waiting.
const CLOSE_LIMIT: Duration = Duration::from_secs(60);

/// Whether a thread of the driver was lost. Shared by all connections of a state.
#[derive(Debug, Clone)]
pub(super) struct Health {
    lost: Arc<AtomicBool>,
    pub(super) answer_limit: Duration,
    pub(super) close_limit: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            lost: Arc::default(),
            answer_limit: ANSWER_LIMIT,
            close_limit: CLOSE_LIMIT,
        }
    }
}

impl Health {
    /// Refuses to ask when a thread was lost: its connection may never be given back.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Error::WorkerCrashed);
        }
        Ok(())
    }

    /// Waits for an answer, as long as one may take.
    pub(super) async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.check()?;
        match timeout(self.answer_limit, answer).await {
            Ok(Err(Error::WorkerCrashed)) => Err(self.lose()),
            Ok(answer) => answer,
            Err(_) => Err(self.no_answer()),
        }
    }

    fn no_answer(&self) -> Error {
        Error::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("waited for {:?}", self.answer_limit),
        ))
    }

    /// Notes that a thread has ended before it was told to.
    fn lose(&self) -> Error {
        self.lost.store(true, Ordering::Relaxed);
        Error::WorkerCrashed
    }

    /// Closes a pool, which refuses new calls from now on.
    pub(super) async fn close(&self, file: &Path, pool: &SqlitePool) {
        // Closed by the call alone; the future only waits for the connections.
        let closed = pool.close();
        if self.check().is_ok() && timeout(self.close_limit, closed).await.is_err() {
            tracing::warn!(
                file = %file.display(),
                "the state database did not close in {:?}; what was finished is stored",
                self.close_limit
            );
        }
    }
}

/// A connection that reads.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) connection: PoolConnection<Sqlite>,
    pub(super) health: Health,
}

impl Reading {
    pub(super) fn watched(&mut self) -> Watched<'_> {
        Watched::new(&mut self.connection, &self.health)
    }
}

/// A connection for one statement, which ends with an answer or an error.
#[derive(Debug)]
pub(super) struct Watched<'c> {
    connection: &'c mut SqliteConnection,
    health: Health,
}

impl<'c> Watched<'c> {
    pub(super) fn new(connection: &'c mut SqliteConnection, health: &Health) -> Self {
        Self {
            connection,
            health: health.clone(),
        }
    }
}

type Answer = Either<SqliteQueryResult, SqliteRow>;

/// Passes answers on. Each statement ends with a result (`Left`): an end without it is the end of the thread.
fn watch<'e>(
    answers: BoxStream<'e, Result<Answer, Error>>,
    health: Health,
) -> BoxStream<'e, Result<Answer, Error>> {
    stream::try_unfold(
        (answers, health, false),
        |(mut answers, health, ended)| async move {
            let Ok(answer) = timeout(health.answer_limit, answers.next()).await else {
                return Err(health.no_answer());
            };
            match answer {
                Some(Ok(answer)) => {
                    let ended = answer.is_left();
                    Ok(Some((answer, (answers, health, ended))))
                }
                None if ended => Ok(None),
                None | Some(Err(Error::WorkerCrashed)) => Err(health.lose()),
                Some(Err(error)) => Err(error),
            }
        },
    )
    .boxed()
}

impl<'c> Executor<'c> for Watched<'c> {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Answer, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        if let Err(error) = self.health.check() {
            return stream::iter([Err(error)]).boxed();
        }
        watch(self.connection.fetch_many(query), self.health)
    }

    /// Reads to the end, which statements that give one row at most reach at once.
    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<SqliteRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let mut answers = self.fetch_many(query);
        Box::pin(async move {
            let mut first = None;
            while let Some(answer) = answers.try_next().await? {
                if let Either::Right(row) = answer {
                    first.get_or_insert(row);
                }
            }
            Ok(first)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, Result<SqliteStatement, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let prepared = self.connection.prepare_with(sql, parameters);
            self.health.answer(prepared).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Sqlite>, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let described = self.connection.describe(sql);
            self.health.answer(described).await
        })
    }
}
