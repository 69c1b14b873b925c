//! Notices that another workspace pushes into the same remote.
//!
//! In mailbox mode the workspace is the truth, so two workspaces that differ displace each other's files at every run:
//! nothing is lost, each run keeps what it displaces in the trash, but it never ends. Nothing in the remote tells an edit
//! that a person made in the cloud from one that another host uploaded, except the checkpoint that each replica stores
//! after a run that changed its base. When this run is about to displace something in the remote, and another replica has
//! stored its checkpoint later than this one, a person is told.

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use ows_providers::{Entry, ErrorKind, ListOptions, Listed, RelPath};

use super::SyncMode;
use super::run::{Observed, Opened, Run};
use crate::error::Outcome;
use crate::ids::PairId;
use crate::plan::{Direction, Side, mailbox};

/// Where this replica has no checkpoint to compare with, another one's speaks of a host that is at work only while it is
/// this young.
const RECENT: TimeDelta = TimeDelta::days(1);

/// Another replica that has changed the remote.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Other {
    replica: String,
    stored_at: DateTime<Utc>,
}

impl Run<'_> {
    /// A warning when the plan displaces remote content that another workspace may have written. Costs a listing of
    /// `.ows/`, and only where something is displaced.
    ///
    /// # Errors
    /// When `.ows/` cannot be listed.
    pub(super) async fn warn_of_others(
        &self,
        opened: &Opened,
        direction: Direction,
        observed: &Observed,
    ) -> Outcome<Option<String>> {
        let pushes = self.settings.mode == SyncMode::Mailbox && direction == Direction::Push;
        let displaced = observed
            .plan
            .actions()
            .filter(|action| action.op.writes_to() == Side::Remote && action.reason.is_surprise())
            .count();
        if !pushes || !opened.has_base || displaced == 0 {
            return Ok(None);
        }
        let checkpoints = self.bounded(self.checkpoints()).await?;
        let now = self.settings.provider.clock().unwrap_or_else(Utc::now);
        let other = newest_other(
            &checkpoints,
            &opened.pair.id,
            opened.scope.replica.as_str(),
            now,
        );
        Ok(other.map(|other| warning(&other, displaced)))
    }

    async fn checkpoints(&self) -> Outcome<Vec<Entry>> {
        let mut listing = self.settings.provider.list(ListOptions {
            below: RelPath::new(mailbox::OWN).ok(),
            shallow: true,
            ..ListOptions::default()
        });
        let mut found = Vec::new();
        while let Some(item) = listing.next().await {
            match item {
                Ok(Listed::Entry(entry)) => found.push(entry),
                Ok(_) => {}
                Err(error) if error.kind == ErrorKind::NotFound => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }
}

/// The replica, other than `ours`, that stored its checkpoint last and later than ours. Both times are the provider's.
fn newest_other(entries: &[Entry], pair: &PairId, ours: &str, now: DateTime<Utc>) -> Option<Other> {
    let prefix = format!("base-{pair}-");
    let stored = |entry: &Entry| {
        let replica = entry.path.name().strip_prefix(&prefix)?;
        Some(Other {
            replica: replica.to_owned(),
            stored_at: DateTime::from_timestamp_nanos(entry.modified_at_ns?),
        })
    };
    let (own, others): (Vec<Other>, Vec<Other>) = entries
        .iter()
        .filter_map(stored)
        .partition(|found| found.replica == ours);
    let since = own.first().map_or(now - RECENT, |own| own.stored_at);
    others
        .into_iter()
        .filter(|other| other.stored_at > since)
        .max_by_key(|other| other.stored_at)
}

fn warning(other: &Other, displaced: usize) -> String {
    let short: String = other.replica.chars().take(8).collect();
    let time = other.stored_at.format("%Y-%m-%d %H:%M:%S UTC");
    let (noun, it) = if displaced == 1 {
        ("path", "it")
    } else {
        ("paths", "them")
    };
    format!(
        "another workspace (replica {}) pushed into this remote at {time}, after this one, and may have written the \
         {displaced} {noun} that this run displaces in the remote (the trash keeps {it}); in mailbox mode two workspaces \
         that differ displace each other's files at every run: give each its own `remotePath`, or let one follow in mode \
         `mirror`",
        short.escape_debug()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(replica: &str, at: i64) -> Entry {
        let path = RelPath::new(&format!(".ows/base-p-{replica}")).unwrap();
        let mut entry = Entry::dir(path);
        entry.kind = ows_providers::EntryKind::File;
        entry.modified_at_ns = Some(at * 1_000_000_000);
        entry
    }

    fn found(entries: &[Entry]) -> Option<String> {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        newest_other(entries, &PairId::new("p"), "ours", now).map(|other| other.replica)
    }

    #[test]
    fn only_who_stored_a_checkpoint_after_ours_is_at_work() {
        let ours = checkpoint("ours", 500);
        assert_eq!(found(std::slice::from_ref(&ours)), None);
        assert_eq!(found(&[ours.clone(), checkpoint("old", 400)]), None);
        let later = [ours, checkpoint("b", 501), checkpoint("c", 600)];
        assert_eq!(found(&later).as_deref(), Some("c"));
    }

    #[test]
    fn without_one_of_ours_only_a_young_one_counts() {
        assert_eq!(found(&[checkpoint("b", 1_000_000 - 86_401)]), None);
        assert_eq!(
            found(&[checkpoint("b", 1_000_000 - 86_399)]).as_deref(),
            Some("b")
        );
    }

    #[test]
    fn other_objects_and_other_pairs_are_no_checkpoints() {
        let mut other = checkpoint("b", 999_999);
        other.path = RelPath::new(".ows/base-q-b").unwrap();
        let mut lease = checkpoint("b", 999_999);
        lease.path = RelPath::new(".ows/lease").unwrap();
        assert_eq!(found(&[other, lease]), None);
    }
}
