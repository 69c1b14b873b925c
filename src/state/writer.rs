//! Writing the base while a run goes on: rows are collected and written in batches, one transaction each.
//!
//! A killed run loses at most what it finished in the last 200 ms; the next run observes those paths again. An error is
//! never lost: after a batch has failed, every later call, and [`BaseWriter::finish`], returns that error, and nothing
//! more is written, since what comes later may rely on what failed.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ows_providers::SortKey;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::{Result, State, StateError, base, sql};
use crate::ids::{PairId, RunId};
use crate::tree::BaseRow;

/// Rows in one transaction at most.
const BATCH_ROWS: usize = 1000;

/// How long a row waits for others.
const BATCH_TIME: Duration = Duration::from_millis(200);

/// Rows on the way to the writer; who finishes work faster than the disk takes it waits.
const QUEUE: usize = 1024;

/// The name of the call that writes a batch.
const CALL: &str = "base_batch";

enum Message {
    Agreed(Box<BaseRow>),
    Stored(SortKey, i64),
    Forget(SortKey),
    /// Answered when everything before it is durable. Dropped when that will never be.
    Flush(oneshot::Sender<()>),
    /// Like `Flush`, and nothing more is taken.
    Finish(oneshot::Sender<()>),
}

/// Writes the base of one pair for one run. Dropped without [`BaseWriter::finish`], rows that are not written yet are
/// lost, as if the process had been killed.
#[derive(Debug)]
pub struct BaseWriter {
    handle: BaseHandle,
    tasks: JoinSet<()>,
}

/// Sends rows to a [`BaseWriter`]. Cheap to clone, one for each worker.
#[derive(Debug, Clone)]
pub struct BaseHandle {
    sender: mpsc::Sender<Message>,
    failure: Arc<OnceLock<StateError>>,
    closed: StateError,
}

impl BaseWriter {
    pub(super) fn start(state: State, pair: PairId, run: RunId) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let failure = Arc::new(OnceLock::new());
        let handle = BaseHandle {
            sender,
            failure: Arc::clone(&failure),
            closed: StateError::Closed {
                file: state.file().to_path_buf(),
            },
        };
        let task = Task {
            state,
            pair,
            run,
            receiver,
            failure,
            finished: None,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run());
        Self { handle, tasks }
    }

    /// A sender for a worker.
    pub fn handle(&self) -> BaseHandle {
        self.handle.clone()
    }

    /// Both sides agree on this path now. Durable within 200 ms, or after [`BaseWriter::flush`].
    ///
    /// # Errors
    /// The error of an earlier batch.
    pub async fn agreed(&self, row: BaseRow) -> Result<()> {
        self.handle.agreed(row).await
    }

    /// The path leaves the base.
    ///
    /// # Errors
    /// The error of an earlier batch.
    pub async fn forget(&self, key: SortKey) -> Result<()> {
        self.handle.forget(key).await
    }

    /// Waits until everything that was sent before is durable.
    ///
    /// # Errors
    /// The error of the batch that failed; what it held is not written.
    pub async fn flush(&self) -> Result<()> {
        self.handle.flush().await
    }

    /// Writes what is left and ends the writer. Handles that are still around are refused from now on.
    ///
    /// # Errors
    /// The error of the batch that failed; what it held, and all after it, is not written.
    pub async fn finish(mut self) -> Result<()> {
        let finished = self.handle.wait(Message::Finish).await;
        // The task ends by itself, be it after `Finish` or after an error. A panic in it becomes ours.
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        match self.handle.failure.get() {
            Some(error) => Err(error.clone()),
            None => finished,
        }
    }
}

impl BaseHandle {
    /// Like [`BaseWriter::agreed`].
    ///
    /// # Errors
    /// The error of an earlier batch; [`StateError::Closed`] after the writer has finished.
    pub async fn agreed(&self, row: BaseRow) -> Result<()> {
        self.send(Message::Agreed(Box::new(row))).await
    }

    /// The stored time of our own upload is known now; a path without a row gets none.
    ///
    /// # Errors
    /// The error of an earlier batch; [`StateError::Closed`] after the writer has finished.
    pub async fn stored(&self, key: SortKey, modified_at_ns: i64) -> Result<()> {
        self.send(Message::Stored(key, modified_at_ns)).await
    }

    /// Like [`BaseWriter::forget`].
    ///
    /// # Errors
    /// The error of an earlier batch; [`StateError::Closed`] after the writer has finished.
    pub async fn forget(&self, key: SortKey) -> Result<()> {
        self.send(Message::Forget(key)).await
    }

    /// Like [`BaseWriter::flush`].
    ///
    /// # Errors
    /// The error of the batch that failed; [`StateError::Closed`] after the writer has finished.
    pub async fn flush(&self) -> Result<()> {
        self.wait(Message::Flush).await
    }

    async fn send(&self, message: Message) -> Result<()> {
        match self.sender.send(message).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.refusal()),
        }
    }

    async fn wait(&self, message: impl FnOnce(oneshot::Sender<()>) -> Message) -> Result<()> {
        let (done, wait) = oneshot::channel();
        self.send(message(done)).await?;
        wait.await.map_err(|_| self.refusal())
    }

    fn refusal(&self) -> StateError {
        self.failure.get().unwrap_or(&self.closed).clone()
    }
}

/// The task that owns the receiving end.
struct Task {
    state: State,
    pair: PairId,
    run: RunId,
    receiver: mpsc::Receiver<Message>,
    failure: Arc<OnceLock<StateError>>,
    finished: Option<oneshot::Sender<()>>,
}

/// What waits to be written, by key. The last word on a path counts.
type Batch = BTreeMap<String, Change>;

/// What becomes of a row.
enum Change {
    Agreed(Box<BaseRow>),
    Stored(i64),
    Forgotten,
}

/// Why a batch ended.
enum End {
    /// It is full or old enough.
    Due,
    /// Someone waits for it.
    Flush(oneshot::Sender<()>),
    /// It is the last one.
    Last,
}

impl Task {
    async fn run(mut self) {
        loop {
            let (batch, end) = self.collect().await;
            if let Err(error) = self.write(&batch).await {
                // Set before anybody is told by a closed channel, so that the reason is there when it is looked for.
                // There is one task, so it is set once.
                let _ = self.failure.set(error);
                return;
            }
            // Who waits may have given up, which changes nothing here.
            match end {
                End::Due => {}
                End::Flush(done) => {
                    let _ = done.send(());
                }
                End::Last => {
                    if let Some(done) = self.finished {
                        let _ = done.send(());
                    }
                    return;
                }
            }
        }
    }

    /// Takes changes until the batch is full, old enough, or waited for.
    async fn collect(&mut self) -> (Batch, End) {
        let mut batch = Batch::new();
        let mut due = None;
        while batch.len() < BATCH_ROWS {
            let message = match due {
                None => self.receiver.recv().await,
                Some(due) => match timeout_at(due, self.receiver.recv()).await {
                    Ok(message) => message,
                    Err(_) => return (batch, End::Due),
                },
            };
            match message {
                Some(Message::Agreed(row)) => {
                    batch.insert(row.key.to_text(), Change::Agreed(row));
                }
                Some(Message::Stored(key, modified_at_ns)) => {
                    match batch.entry(key.to_text()).or_insert(Change::Stored(0)) {
                        Change::Agreed(row) => row.remote.set_stored(modified_at_ns),
                        Change::Stored(time) => *time = modified_at_ns,
                        Change::Forgotten => {}
                    }
                }
                Some(Message::Forget(key)) => {
                    batch.insert(key.to_text(), Change::Forgotten);
                }
                Some(Message::Flush(done)) => return (batch, End::Flush(done)),
                Some(Message::Finish(done)) => {
                    // What was accepted before this moment is still in the channel and is written too.
                    self.receiver.close();
                    self.finished = Some(done);
                }
                None => return (batch, End::Last),
            }
            due.get_or_insert_with(|| Instant::now() + BATCH_TIME);
        }
        (batch, End::Due)
    }

    /// Writes a batch in one transaction: all of it or nothing.
    async fn write(&self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut transaction = self.state.write(CALL).await?;
        let failed = self.state.failed(CALL);
        let pair = transaction.pair_number(&self.pair).await?;
        let run: i64 = sqlx::query_scalar(sql::RUN_NUMBER)
            .bind(self.run.as_str())
            .fetch_optional(transaction.connection())
            .await
            .map_err(&failed)?
            .ok_or_else(|| self.state.unknown("run", self.run.as_str()))?;
        let mut agreed = Vec::new();
        let mut forgotten = Vec::new();
        let mut stored = Vec::new();
        for (key, change) in batch {
            match change {
                Change::Agreed(row) => agreed.push(base::row_as_json(key, row)),
                Change::Stored(time) => stored.push(serde_json::json!([key, time])),
                Change::Forgotten => forgotten.push(key.as_str()),
            }
        }
        if !agreed.is_empty() {
            sqlx::query(sql::BASE_AGREED)
                .bind(pair)
                .bind(run)
                .bind(serde_json::Value::Array(agreed).to_string())
                .execute(transaction.connection())
                .await
                .map_err(&failed)?;
        }
        if !stored.is_empty() {
            sqlx::query(sql::BASE_STORED)
                .bind(pair)
                .bind(run)
                .bind(serde_json::Value::Array(stored).to_string())
                .execute(transaction.connection())
                .await
                .map_err(&failed)?;
        }
        if !forgotten.is_empty() {
            sqlx::query(sql::BASE_FORGET)
                .bind(pair)
                .bind(serde_json::json!(forgotten).to_string())
                .execute(transaction.connection())
                .await
                .map_err(&failed)?;
        }
        transaction.commit().await
    }
}
