//! Delivers what people dropped into the remote `_outbox`: into `_inbox`, verified and flushed, and only then deleted
//! remotely, if it is still the version that was delivered.
//!
//! Between landing and delete the delivery is recorded in the database. A drain that is killed
//! - before the file landed: delivers it in the next run;
//! - after it landed, before it was recorded: finds the same content under the landing name, and delivers nothing twice;
//! - after it was recorded: only deletes.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use futures::StreamExt;
use ows_providers::{Entry, EntryKind, ErrorKind, PathError, Precondition, RelPath, Version};

use crate::apply::{Applier, Fetched, INTENT_DRAIN, Landing, Problem};
use crate::error::Outcome;
use crate::local::{Displace, Expect, LocalError, LocalFolder, Observed, UnknownReason};
use crate::plan::mailbox;
use crate::report::ActionLine;
use crate::state::Delivery;
use crate::tree::RemoteStamp;

/// How long a delivery is remembered after its remote file was last seen.
const REMEMBER: Duration = Duration::days(90);

/// Why a drain is done, in words.
pub const REASON: &str = "dropped into _outbox";

/// Where a file of `_outbox` lands when the name is free.
pub fn landing(entry: &Entry) -> Option<RelPath> {
    let outbox = RelPath::new(mailbox::OUTBOX).ok()?;
    let below = entry.path.strip_folder(&outbox)?;
    RelPath::new(mailbox::INBOX)
        .ok()
        .map(|inbox| inbox.join_path(&below))
}

/// Whether a file is complete. Where the provider shows files that still grow, it must have stood still for `settle`
/// seconds.
pub fn is_complete(entry: &Entry, complete_objects: bool, settle: u64, now: DateTime<Utc>) -> bool {
    if complete_objects {
        return true;
    }
    let Some(modified) = entry.modified_at_ns.or(entry.mtime_ns) else {
        return false;
    };
    let settle_ns = i64::try_from(settle)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000_000);
    let now_ns = now.timestamp_nanos_opt().unwrap_or(i64::MAX);
    modified.saturating_add(settle_ns) <= now_ns
}

/// What tells one drop from the next: the same content dropped again is another drop.
fn drop_version(entry: &Entry) -> Version {
    let version = entry
        .version
        .as_ref()
        .map_or("", |version| version.0.as_str());
    Version(format!(
        "{version}|{}|{}",
        entry.size,
        entry.modified_at_ns.unwrap_or_default()
    ))
}

/// Drains all of `entries`. Gives the names that landed, in order of their landing.
///
/// # Errors
/// What made it impossible to go on.
pub async fn drain(applier: &Arc<Applier>, entries: Vec<Entry>) -> Outcome<Vec<RelPath>> {
    let mut landed = Vec::new();
    if entries.is_empty() {
        return Ok(landed);
    }
    let intent = applier
        .state
        .record_intent(
            Some(&applier.pair),
            &applier.run,
            INTENT_DRAIN,
            serde_json::json!({}),
        )
        .await?;
    let mut running = futures::stream::iter(entries.into_iter().map(|entry| {
        let applier = Arc::clone(applier);
        async move {
            let result = applier
                .cancel
                .unless_stopped(deliver(&applier, &entry))
                .await;
            (entry, result)
        }
    }))
    .buffer_unordered(applier.transfers.max(1));
    while let Some((entry, result)) = running.next().await {
        let path = entry.path.to_string();
        match result {
            None | Some(Err(Problem::Stopped)) => return Err(applier.cancel.failure()),
            Some(Ok(Some(name))) => {
                count(applier, &entry);
                landed.push(name);
            }
            Some(Ok(None)) => {}
            Some(Err(Problem::Fatal(failure))) => return Err(failure),
            Some(Err(Problem::Left(text))) => applier.tally().left(&path, text),
            Some(Err(Problem::Changing)) => {
                applier.tally().left(
                    &path,
                    "it changed while it was read; the next run delivers it".into(),
                );
            }
            Some(Err(Problem::Failed(text) | Problem::Quota(text))) => {
                applier.tally().failed(&path, text)
            }
        }
    }
    drop(running);
    let before = Utc::now() - REMEMBER;
    applier
        .state
        .forget_deliveries_older_than(&applier.pair, before)
        .await?;
    applier.state.resolve_intent(intent).await?;
    Ok(landed)
}

/// Delivers one file. `None` when it had been delivered by an earlier run.
async fn deliver(applier: &Arc<Applier>, entry: &Entry) -> Result<Option<RelPath>, Problem> {
    applier.may_write().await?;
    let version = drop_version(entry);
    let known = applier
        .state
        .delivery(&applier.pair, &entry.path, &version)
        .await?;
    let name = if let Some(delivery) = known {
        // Still there, so still to be remembered.
        let delivery = Delivery {
            delivered_at: Utc::now(),
            ..delivery
        };
        applier
            .state
            .record_delivery(&applier.pair, &entry.path, &version, &delivery)
            .await?;
        None
    } else {
        let Some(name) = landing(entry) else {
            return Ok(None);
        };
        let fetched = land(applier, entry, name).await?;
        let delivery = Delivery {
            inbox_name: fetched.path.clone(),
            delivered_at: Utc::now(),
        };
        applier
            .state
            .record_delivery(&applier.pair, &entry.path, &version, &delivery)
            .await?;
        Some(fetched.path)
    };
    applier.may_write().await?;
    let precondition = entry
        .version
        .clone()
        .map_or(Precondition::Any, Precondition::Version);
    match applier.delete_delivered(&entry.path, precondition).await {
        Ok(()) => Ok(name),
        // Somebody dropped a new version meanwhile: this one was delivered, the next run delivers the new one.
        Err(error)
            if matches!(
                error.kind,
                ErrorKind::PreconditionFailed | ErrorKind::NotFound
            ) =>
        {
            Ok(name)
        }
        Err(error) => {
            applier.tally().failed(
                entry.path.as_str(),
                format!("it was delivered but could not be removed from _outbox; the next run removes it: {error}"),
            );
            Ok(name)
        }
    }
}

/// Fetches to the first free name. Where a taken one holds the same content already, nothing is written.
async fn land(applier: &Arc<Applier>, entry: &Entry, name: RelPath) -> Result<Fetched, Problem> {
    let stamp = RemoteStamp::from_entry(entry, false);
    loop {
        let (local, wanted) = (Arc::clone(&applier.local), name.clone());
        let names = tokio::task::spawn_blocking(move || free_name(&local, &wanted));
        let (path, taken) = names.await.map_err(|error| {
            Problem::Failed(format!("an internal error ended the delivery: {error}"))
        })??;
        let landing = Landing {
            path: path.clone(),
            expect: Expect::Absent,
            displaced: Displace::Trash,
            run: applier.run.clone(),
            replica: applier.replica.clone(),
            unless_in: taken,
        };
        match applier.fetch(&entry.path, &stamp, landing).await {
            // Somebody took the name while the file arrived.
            Err(Problem::Left(_)) if applier.local.observe(&path).is_some() => {}
            other => return other,
        }
    }
}

/// The first name at which nothing is, and those before it. Blocking.
///
/// # Errors
/// When it cannot be told what is at a name: the folder cannot be made or read, or the name has become too long.
fn free_name(local: &LocalFolder, wanted: &RelPath) -> Result<(RelPath, Vec<RelPath>), LocalError> {
    let wanted = match wanted.parent() {
        None => wanted.clone(),
        Some(folder) => {
            let folder = free_folder(local, &folder)?;
            // A link or file in place of `_inbox` would make every name look taken.
            local.create_dir(&folder)?;
            folder
                .join(wanted.name())
                .map_err(|error| unusable(wanted, error))?
        }
    };
    let mut taken = Vec::new();
    loop {
        let attempt = u32::try_from(taken.len() + 1).unwrap_or(u32::MAX);
        let name = mailbox::landing_name(&wanted, attempt);
        match local.observe(&name) {
            None => return Ok((name, taken)),
            Some(Observed::Unknown {
                reason: UnknownReason::Unreadable(error),
                ..
            }) => return Err(LocalError::io("look at", &name, error)),
            Some(_) => taken.push(name),
        }
    }
}

/// The folder for a delivery. Where something that is no folder has the name of one below `_inbox`, that folder gets the
/// next free name, as a file does. Blocking.
fn free_folder(local: &LocalFolder, wanted: &RelPath) -> Result<RelPath, LocalError> {
    let mut segments = wanted.as_str().split('/');
    let inbox = segments.next().unwrap_or_default();
    let mut folder = RelPath::new(inbox).map_err(|error| unusable(wanted, error))?;
    for segment in segments {
        let plain = folder
            .join(segment)
            .map_err(|error| unusable(wanted, error))?;
        let mut attempt = 1;
        folder = loop {
            let name = mailbox::landing_name(&plain, attempt);
            match local.observe(&name) {
                None => break name,
                Some(Observed::Entry(entry)) if entry.key.kind == EntryKind::Dir => break name,
                Some(Observed::Unknown {
                    reason: UnknownReason::Unreadable(error),
                    ..
                }) => return Err(LocalError::io("look at", &name, error)),
                Some(_) => attempt += 1,
            }
        };
    }
    Ok(folder)
}

fn unusable(path: &RelPath, error: PathError) -> LocalError {
    let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, error);
    LocalError::io("deliver", path, error)
}

fn count(applier: &Applier, entry: &Entry) {
    let line = ActionLine {
        op: "drain".to_owned(),
        path: entry.path.to_string(),
        bytes: entry.size,
        reason: REASON.to_owned(),
    };
    applier.reporter.done(&line);
    let mut tally = applier.tally();
    tally.counts.add("drain");
    tally.bytes.down += entry.size;
    if applier.keep_actions {
        tally.actions.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, modified_s: i64) -> Entry {
        let path = RelPath::new(path).unwrap();
        let mut entry = Entry::dir(path);
        entry.kind = ows_providers::EntryKind::File;
        entry.modified_at_ns = Some(modified_s * 1_000_000_000);
        entry
    }

    #[test]
    fn a_growing_file_waits_until_it_stands_still() {
        let now = DateTime::from_timestamp(1000, 0).unwrap();
        assert!(is_complete(&entry("_outbox/a", 990), false, 10, now));
        assert!(!is_complete(&entry("_outbox/a", 991), false, 10, now));
        assert!(
            !is_complete(&entry("_outbox/a", 2000), false, 0, now),
            "a time in the future proves nothing"
        );
        assert!(is_complete(&entry("_outbox/a", 2000), true, 10, now));
    }

    #[test]
    fn files_keep_their_relative_path() {
        assert_eq!(
            landing(&entry("_outbox/d/a", 0)),
            RelPath::new("_inbox/d/a").ok()
        );
    }

    #[test]
    fn the_same_content_dropped_again_is_another_drop() {
        assert_ne!(
            drop_version(&entry("_outbox/a", 1)),
            drop_version(&entry("_outbox/a", 2))
        );
    }
}
