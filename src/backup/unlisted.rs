//! What belongs to no snapshot: objects without a manifest, and uploads that were begun and never ended.
//!
//! Another host may be making a snapshot of it right now, and nothing but time tells that apart from what a dead host has
//! left. So a name that is young stays with all that carries it, as does one of whose objects or uploads one is young; and
//! whether the manifest has come meanwhile is asked again at the last moment.
//!
//! What is left to chance is a single object that takes longer than a day, of which nothing else is stored: a listing tells
//! when its upload was begun, not when its last part came. Giving it up makes that backup fail, which then says so; it
//! never makes a snapshot that is not whole, since a backup looks at all its objects before it writes the manifest.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use ows_providers::{Entry, ErrorKind, Precondition, Provider, UnfinishedUpload, Upload};

use super::catalog::Catalog;
use super::intents::{abort, has_manifest};
use super::name::{ObjectName, SnapshotName};
use super::prune::{Kept, Pruned, delete, not_removed};
use crate::error::Outcome;

/// What is younger may be a backup that another host is making right now.
const YOUNG: i64 = 24;

/// What carries the name of one snapshot that does not exist.
#[derive(Debug, Clone, Default)]
pub(super) struct Leftover {
    pub(super) objects: Vec<Entry>,
    pub(super) uploads: Vec<Upload>,
}

/// What there is, and what of it stays.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    pub(super) going: BTreeMap<SnapshotName, Leftover>,
    pub(super) kept: Vec<Kept>,
    pub(super) warnings: Vec<String>,
}

/// Finds what a prune removes.
pub(super) async fn find(catalog: &Catalog, provider: &dyn Provider) -> Outcome<Leftovers> {
    let mut found = Leftovers::default();
    let uploads = match provider.list_uploads().await {
        Ok(uploads) => uploads,
        Err(error) if error.kind == ErrorKind::Unsupported => Vec::new(),
        // Keys that may not do this are common; the objects can go without.
        Err(error) if error.kind == ErrorKind::Forbidden => {
            found.warnings.push(format!(
                "uploads that were begun and never ended could not be listed, and stay: {error}"
            ));
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let uploads: Vec<_> = uploads.into_iter().filter_map(of_snapshot).collect();
    // A backup that has taken longer has an upload that was begun since, which keys without the right to list uploads do not
    // see, nor whoever looks into a folder; or an object that was finished since.
    let mut at_work: BTreeSet<SnapshotName> = uploads
        .iter()
        .filter(|(_, upload)| {
            let begun = upload.started_at_ns.map(DateTime::from_timestamp_nanos);
            begun.is_some_and(|begun| is_young(begun, catalog.read_at))
        })
        .map(|(snapshot, _)| *snapshot)
        .collect();
    let stored_lately = catalog.unlisted.iter().filter(|unlisted| {
        let stored = unlisted.objects.values();
        let mut stored = stored.filter_map(|entry| entry.modified_at_ns);
        stored.any(|at| is_young(DateTime::from_timestamp_nanos(at), catalog.read_at))
    });
    at_work.extend(stored_lately.map(|unlisted| unlisted.name));
    let stays =
        |name: SnapshotName| is_young(name.taken_at(), catalog.read_at) || at_work.contains(&name);
    for unlisted in &catalog.unlisted {
        if stays(unlisted.name) {
            found.kept.push(Kept {
                name: unlisted.name.to_string(),
                reasons: vec![format!(
                    "younger than {YOUNG} hours: another host may be making it right now"
                )],
            });
        } else {
            let objects = unlisted.objects.values().cloned();
            let going = found.going.entry(unlisted.name).or_default();
            going.objects.extend(objects);
        }
    }
    for (snapshot, upload) in uploads {
        if !stays(snapshot) && catalog.find(snapshot).is_none() {
            let going = found.going.entry(snapshot).or_default();
            going.uploads.push(Upload {
                path: upload.path,
                id: upload.id,
                size: None,
                part_size: 0,
                token: String::new(),
            });
        }
    }
    Ok(found)
}

/// Removes what is left of one, unless it has become a snapshot meanwhile.
pub(super) async fn remove(
    provider: &dyn Provider,
    name: SnapshotName,
    left: &Leftover,
    done: &mut Pruned,
) -> Outcome<()> {
    if has_manifest(provider, name).await.map_err(not_removed)? {
        done.kept.push(Kept {
            name: name.to_string(),
            reasons: vec!["its manifest is there now: it is a snapshot".to_owned()],
        });
        return Ok(());
    }
    for entry in &left.objects {
        if delete(provider, &entry.path, Precondition::Any, done).await? {
            done.removed.push(entry.path.to_string());
            done.freed += entry.size;
        }
    }
    for upload in &left.uploads {
        match abort(provider, upload).await {
            Ok(()) => done.removed.push(upload.path.to_string()),
            Err(error) if error.kind == ErrorKind::Forbidden => {
                done.retained.push(upload.path.to_string());
            }
            Err(error) => return Err(not_removed(error)),
        }
    }
    Ok(())
}

fn of_snapshot(upload: UnfinishedUpload) -> Option<(SnapshotName, UnfinishedUpload)> {
    match ObjectName::parse(upload.path.as_str()) {
        ObjectName::Snapshot(snapshot, _) => Some((snapshot, upload)),
        _ => None,
    }
}

fn is_young(begun: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now.signed_duration_since(begun) < Duration::hours(YOUNG)
}
