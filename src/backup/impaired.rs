//! Files that were not whole when the snapshot was made: the index marks them, and whoever restores hears of them.

use std::sync::{Arc, Mutex, PoisonError};

use super::entry::SnapshotEntry;
use super::extract::{Bad, Proof};
use super::index::IndexError;
use super::manifest::ProblemClass;

/// How many of them are named.
const MOST_NAMED: usize = 100;

/// Files that were not whole when the snapshot was made.
#[derive(Clone, Default)]
pub(super) struct Impaired(Arc<Mutex<(u64, Vec<Bad>)>>);

impl Impaired {
    pub(super) fn look(&self, entry: &SnapshotEntry) {
        let message = match entry.problem {
            // One that was not read to its end is bad, and told as such.
            None | Some(ProblemClass::Unreadable) => return,
            Some(ProblemClass::Changed) => "changed while the snapshot was made",
            Some(ProblemClass::SqliteUnverified) => {
                "is a database that was stored as its file was, not as a consistent copy"
            }
            Some(_) => "was not stored as it was",
        };
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.0 += 1;
        if held.1.len() < MOST_NAMED {
            held.1.push(Bad {
                path: entry.path.to_string(),
                message: message.to_owned(),
            });
        }
    }

    pub(super) fn take(&self) -> Vec<String> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, named) = std::mem::take(&mut *held);
        let more = count.saturating_sub(named.len() as u64);
        let mut lines: Vec<_> = (named.iter())
            .map(|bad| format!("`{}` {}", bad.path, bad.message))
            .collect();
        if more > 0 {
            lines.push(format!("and {more} more were not stored as they were"));
        }
        lines
    }
}

/// Notes what the index says about files that were not whole.
pub(super) struct Noting<P> {
    pub(super) proof: P,
    pub(super) impaired: Impaired,
}

impl<P: Proof> Proof for Noting<P> {
    fn next_entry(&mut self) -> Result<Option<SnapshotEntry>, IndexError> {
        let entry = self.proof.next_entry()?;
        if let Some(entry) = &entry {
            self.impaired.look(entry);
        }
        Ok(entry)
    }
}
