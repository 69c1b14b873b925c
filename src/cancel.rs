//! One way to stop a run: by a signal, by its time limit, or by the program that embeds it.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::error::{Failure, FailureKind};

/// Why a run was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// SIGINT, or the embedding program.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// The time given to the run is over.
    TimedOut,
}

/// Stops a run. Clones stop together.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    token: CancellationToken,
    cause: Arc<OnceLock<StopCause>>,
}

impl Cancel {
    /// Nothing has stopped it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the run. Only the first cause counts.
    pub fn stop(&self, cause: StopCause) {
        // A second cause is no error: the first one is what the person hears about.
        let _first = self.cause.set(cause);
        self.token.cancel();
    }

    /// Why it was stopped, when it was.
    pub fn cause(&self) -> Option<StopCause> {
        self.cause.get().copied()
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when it is stopped.
    pub async fn stopped(&self) {
        self.token.cancelled().await;
    }

    /// Runs `work` until it ends or the run is stopped, whichever comes first; `None` when stopped. What `work` was
    /// doing is dropped in the middle, as by a crash: everything that it does must survive that.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.token.cancelled() => None,
            value = work => Some(value),
        }
    }

    /// What a person reads about the stop.
    pub fn failure(&self) -> Failure {
        let (kind, message) = match self.cause.get() {
            Some(StopCause::TimedOut) => (FailureKind::TimedOut, "the run's time is over"),
            Some(StopCause::Terminated) => (FailureKind::Terminated, "the run was terminated"),
            _ => (FailureKind::Interrupted, "the run was interrupted"),
        };
        let hint = match kind {
            FailureKind::TimedOut => {
                "what was finished before it counts; run again to go on, or raise `timeout`"
            }
            _ => "what was finished before it counts; run again to go on",
        };
        Failure::new(kind, message).with_hint(hint)
    }
}
