//! What a run does beside syncing: tidying up after a killed run, the first run's folders, the trash's age.

use std::collections::BTreeSet;

use chrono::Utc;
use futures::StreamExt;
use ows_providers::{ErrorKind, ListOptions, Listed, Precondition, Provider, PutOptions, RelPath};

use super::run::{Observed, Opened, Run};
use super::{SyncMode, ingest, trash};
use crate::apply::{Applier, INTENT_DRAIN, INTENT_UPLOAD};
use crate::error::{Failure, Outcome};
use crate::local::{LocalErrorKind, Observed as Looked, WalkOptions};
use crate::plan::{Op, mailbox};
use crate::state::{IntentId, StoredUpload};

/// Intent: the remote is being probed; objects may lie under `.ows/probe`.
pub(super) const PROBE: &str = "probe";

/// When the trash was last purged.
const PURGED_AT: &str = "trash_purged_at";

/// The same for a mirror, which empties its local trash alone.
const PURGED_LOCAL_AT: &str = "local_trash_purged_at";

/// Purging lists the trash, so it is done at most once a day.
const PURGE_EVERY: chrono::Duration = chrono::Duration::hours(24);

/// Records what is about to be done, durably.
pub(super) async fn intend(
    run: &Run<'_>,
    opened: &Opened,
    kind: &str,
    path: &str,
) -> Outcome<IntentId> {
    let intent = serde_json::json!({ "path": path });
    Ok(opened
        .state
        .record_intent(Some(&opened.pair.id), &run.id, kind, intent)
        .await?)
}

/// Tidies up after runs that were killed: temporary files, probes, uploads that nobody will go on with. What cannot be
/// tidied up is told and tried again by the next run; it is no reason not to sync.
///
/// # Errors
/// When the database cannot be read or changed.
pub(super) async fn tidy(run: &Run<'_>, opened: &Opened, observed: &Observed) -> Outcome<()> {
    remove_leftovers(run, opened, &observed.seen.leftovers).await;
    // Only a file of the same length, and too large for one call, can be gone on with.
    let in_one_call = run.settings.provider.capabilities().single_put_max;
    let going_on: BTreeSet<(&RelPath, Option<u64>)> = observed
        .plan
        .transfers
        .iter()
        .filter(|action| action.op == Op::Upload && action.bytes() > in_one_call)
        .map(|action| (&action.key.path, Some(action.bytes())))
        .collect();
    let stored = opened.state.uploads(&opened.pair.id).await?;
    for upload in &stored {
        let upload_of = &upload.record.upload;
        let is_ingest = ingest::is_ours(run.settings, &upload_of.path);
        if is_ingest || going_on.contains(&(&upload_of.path, upload_of.size)) {
            continue;
        }
        match run.settings.provider.abort_upload(upload_of).await {
            Ok(()) => opened.state.forget_upload(upload.id).await?,
            Err(error) => told(run, "could not give up an unfinished upload", &error),
        }
    }
    let mut begun = Vec::new();
    let mut probed = Vec::new();
    let mut drained = Vec::new();
    for intent in opened.state.open_intents(Some(&opened.pair.id)).await? {
        match intent.kind.as_str() {
            INTENT_UPLOAD => begun.push(intent),
            PROBE => probed.push(intent),
            INTENT_DRAIN => drained.push(intent),
            // Of a newer version, or of another command: not ours to judge.
            _ => {}
        }
    }
    let mut done: Vec<IntentId> = Vec::new();
    let paths: Vec<&str> = begun
        .iter()
        .filter_map(|intent| intent.payload["path"].as_str())
        .collect();
    if !begun.is_empty() || !probed.is_empty() {
        match give_up_unknown(run, &stored, &paths, !probed.is_empty()).await {
            Ok(()) => done.extend(begun.iter().map(|intent| intent.id)),
            Err(error) => told(run, "could not look for unfinished uploads", &error),
        }
    }
    if !probed.is_empty() {
        match remove_probes(run).await {
            Ok(()) => done.extend(probed.iter().map(|intent| intent.id)),
            Err(error) => told(run, "could not remove the probe of an earlier run", &error),
        }
    }
    if !drained.is_empty() {
        let left = leftovers_in_inbox(opened).await?;
        remove_leftovers(run, opened, &left).await;
        done.extend(drained.iter().map(|intent| intent.id));
    }
    Ok(opened.state.resolve_intents(&done).await?)
}

fn told(run: &Run<'_>, what: &str, error: &ows_providers::Error) {
    let error = crate::apply::chain(error);
    run.reporter
        .warning(&format!("{what}; the next run tries again: {error}"));
}

/// Removes temporary files of this replica. One that stays is worth a warning and will be met again.
pub(super) async fn remove_leftovers(run: &Run<'_>, opened: &Opened, leftovers: &[RelPath]) {
    for leftover in leftovers {
        let (local, path, replica) = (
            std::sync::Arc::clone(&opened.local),
            leftover.clone(),
            opened.scope.replica.clone(),
        );
        let removed =
            tokio::task::spawn_blocking(move || local.remove_leftover(&path, &replica)).await;
        let why = match removed {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => crate::apply::chain(&error),
            Err(error) => error.to_string(),
        };
        run.reporter.warning(&format!(
            "could not remove the temporary file `{leftover}`: {why}"
        ));
    }
}

/// Temporary files of a drain that was killed. The walk of a run does not enter `_inbox`, which may have grown large.
async fn leftovers_in_inbox(opened: &Opened) -> Outcome<Vec<RelPath>> {
    let (local, replica) = (
        std::sync::Arc::clone(&opened.local),
        opened.scope.replica.clone(),
    );
    let looking = tokio::task::spawn_blocking(move || {
        let walk = local.walk(WalkOptions {
            below: RelPath::new(mailbox::INBOX).ok(),
            replica: Some(replica),
            ..WalkOptions::default()
        });
        match walk {
            Ok(walk) => Ok(walk
                .filter_map(|item| match item {
                    Looked::Leftover(path) => Some(path),
                    _ => None,
                })
                .collect()),
            Err(error) if error.kind == LocalErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    });
    let failed = || Failure::failed("could not look for temporary files in `_inbox`");
    looking
        .await
        .map_err(|error| failed().with_source(error))?
        .map_err(|error| failed().with_source(error))
}

/// Aborts uploads that were begun and never recorded: those to `paths`, and those of a probe.
async fn give_up_unknown(
    run: &Run<'_>,
    stored: &[StoredUpload],
    paths: &[&str],
    probed: bool,
) -> ows_providers::Result<()> {
    let probe = format!("{}/probe/", mailbox::OWN);
    for upload in run.settings.provider.list_uploads().await? {
        let path = upload.path.as_str();
        let ours = paths.contains(&path) || (probed && path.starts_with(&probe));
        let known = stored
            .iter()
            .any(|stored| stored.record.upload.id == upload.id);
        if ours && !known {
            let dead = ows_providers::Upload {
                path: upload.path,
                id: upload.id,
                size: None,
                part_size: 0,
                token: String::new(),
            };
            run.settings.provider.abort_upload(&dead).await?;
        }
    }
    Ok(())
}

async fn remove_probes(run: &Run<'_>) -> ows_providers::Result<()> {
    let provider = run.settings.provider.as_ref();
    let Ok(probe) = RelPath::new(&format!("{}/probe", mailbox::OWN)) else {
        // Without its name nothing may be listed here: what is listed is deleted.
        return Ok(());
    };
    let mut listing = provider.list(ListOptions {
        below: Some(probe.clone()),
        ..ListOptions::default()
    });
    let mut found = Vec::new();
    while let Some(item) = listing.next().await {
        match item {
            Ok(Listed::Entry(entry))
                if entry.kind == ows_providers::EntryKind::File && entry.path.is_below(&probe) =>
            {
                found.push(entry.path);
            }
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    drop(listing);
    for path in found {
        provider.delete(&path, Precondition::Any).await?;
    }
    Ok(())
}

/// The first run makes the folders for mail, so that people see where to put files. Where something else has the name of
/// one of them it is told, and the next run tries again.
///
/// # Errors
/// When the remote, the folder or the database fails.
pub(super) async fn first_run(run: &Run<'_>, opened: &Opened, applier: &Applier) -> Outcome<()> {
    let in_the_way = |folder: &str| {
        let text = "something else has this name, so that no folder could be made; move it away";
        applier.tally().failed(folder, text.to_owned());
    };
    applier.may_write().await?;
    match make_outbox(run.settings.provider.as_ref()).await {
        Ok(()) => {}
        Err(error) if error.kind == ErrorKind::AlreadyExists => {
            in_the_way(mailbox::OUTBOX);
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    }
    let failed = || Failure::failed("could not create the folder `_inbox`");
    let local = std::sync::Arc::clone(&opened.local);
    let made = tokio::task::spawn_blocking(move || {
        RelPath::new(mailbox::INBOX).map_or(Ok(()), |inbox| local.create_dir(&inbox))
    })
    .await
    .map_err(|error| failed().with_source(error))?;
    match made {
        Ok(()) => {}
        Err(error) if matches!(error.kind, LocalErrorKind::Exists | LocalErrorKind::Link) => {
            in_the_way(mailbox::INBOX);
            return Ok(());
        }
        Err(error) => return Err(failed().with_source(error)),
    }
    Ok(opened
        .state
        .record_first_sync(&opened.pair.id, Utc::now())
        .await?)
}

/// Makes the remote `_outbox`, or what stands for it where there are no folders.
async fn make_outbox(provider: &dyn Provider) -> ows_providers::Result<()> {
    let bad_name = |error: ows_providers::PathError| {
        ows_providers::Error::new(
            ErrorKind::InvalidName,
            ows_providers::Operation::CreateDir,
            mailbox::OUTBOX,
            error.to_string(),
        )
    };
    let outbox = RelPath::new(mailbox::OUTBOX).map_err(bad_name)?;
    if provider.capabilities().folders {
        return provider.create_dir(&outbox).await.map(drop);
    }
    let keep = outbox.join(mailbox::KEEP).map_err(bad_name)?;
    let options = PutOptions {
        precondition: Precondition::Absent,
        ..PutOptions::default()
    };
    match provider.put(&keep, bytes::Bytes::new(), options).await {
        Err(error)
            if matches!(
                error.kind,
                ErrorKind::AlreadyExists | ErrorKind::PreconditionFailed
            ) =>
        {
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Empties what has lain in the trash for longer than it is kept, at most once a day, by the provider's clock. A mirror
/// writes nothing to the remote, so that it empties the trash there only in a run that has written (`writes_remote`).
pub(super) async fn purge(run: &Run<'_>, opened: &Opened, writes_remote: bool) -> Outcome<()> {
    let provider = run.settings.provider.as_ref();
    let only_local = run.settings.mode == SyncMode::Mirror && !writes_remote;
    let name = if only_local {
        PURGED_LOCAL_AT
    } else {
        PURGED_AT
    };
    let now = provider.clock().unwrap_or_else(Utc::now);
    let last = opened.state.get_value(&opened.pair.id, name).await?;
    let recent = last
        .and_then(|text| chrono::DateTime::parse_from_rfc3339(&text).ok())
        .is_some_and(|last| now.signed_duration_since(last) < PURGE_EVERY);
    if recent {
        return Ok(());
    }
    let before = now - trash::keep(run.settings.trash_keep_days);
    let trash = trash::Trash::of(&run.settings.provider, &opened.local);
    let purged = if only_local {
        trash.purge_local(before).await
    } else if opened.pair.first_synced_at.is_some() || run.settings.mode != SyncMode::Mailbox {
        trash.purge(before).await
    } else {
        Ok(())
    };
    if let Err(failure) = purged {
        // What somebody else put into the trash must not make every run a failed one.
        run.reporter.warning(&format!(
            "the trash could not be cleared of what is old; the next run tries again: {}",
            crate::apply::chain(&failure)
        ));
        return Ok(());
    }
    Ok(opened
        .state
        .set_value(&opened.pair.id, name, &now.to_rfc3339())
        .await?)
}
