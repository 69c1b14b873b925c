//! A folder that the base was not made in takes a name of its own before it is marked.
//!
//! Where a base exists and the folder does not carry this replica's marker, it is a new volume, or `localPath` names
//! another folder. From now on the base follows that one. Were it marked with the same name, the former folder would be
//! taken for it when the configuration leads there again, or the old volume comes back: what it has never heard of would
//! count as deleted in it. So the replica changes its name, and keeps its base; the former folder carries the marker of
//! another one then, and is only added to.

use std::sync::Arc;

use ows_providers::{ErrorKind, Precondition};

use super::checkpoint::{self, Record};
use super::run::{Observed, Opened, Run};
use super::{SyncMode, housekeeping, roots};
use crate::apply::chain;
use crate::error::{Failure, Outcome};
use crate::local::ReplicaId;
use crate::plan::Caution;

/// Gives the replica another name, if this pass is about to mark a folder that is not its own. A kill before the folder
/// is marked leaves it one that is not ours.
///
/// # Errors
/// When the marker cannot be read or the database not be written.
pub(super) async fn part_ways(
    run: &Run<'_>,
    opened: &mut Opened,
    observed: &Observed,
) -> Outcome<()> {
    let plan = &observed.plan;
    let will_mark =
        plan.caution == Caution::OnlyAdd || !plan.is_quiet() || !plan.records.is_empty();
    // Of a generation that is not the first, some folder was marked before, though nothing may be left of its base.
    let was_marked =
        opened.has_base || run.settings.mode == SyncMode::Bisync && opened.pair.generation > 0;
    if !was_marked || !will_mark {
        return Ok(());
    }
    let was = opened.scope.replica.clone();
    if roots::marker(&opened.local)?.as_ref() == Some(&was) {
        return Ok(());
    }
    // They are known by the old name.
    housekeeping::remove_leftovers(run, opened, &observed.seen.leftovers).await;
    let pair = opened.pair.id.clone();
    let record = checkpoint::load(&opened.state, &pair).await?;
    let none = checkpoint::as_json(&Record::default())?;
    let new = ReplicaId::random();
    let (generation, values) = (
        opened.pair.generation,
        [(checkpoint::RECORD, none.as_str())],
    );
    opened.pair = opened
        .state
        .rename_replica(&pair, new.as_str(), generation, &values)
        .await?;
    opened.scope = Arc::new(roots::scope(run.settings, &opened.local, &opened.pair)?);
    remove_former(run, opened, &was, &record).await
}

/// Removes the checkpoint under the former name, unless somebody else has stored another one there. It would never be
/// used again: each new volume would leave one behind. That it stays is no failure.
async fn remove_former(
    run: &Run<'_>,
    opened: &Opened,
    was: &ReplicaId,
    record: &Record,
) -> Outcome<()> {
    let Some(version) = &record.version else {
        return Ok(());
    };
    let path = checkpoint::path(&opened.pair.id, was)
        .map_err(|error| Failure::failed("the checkpoint has no usable name").with_source(error))?;
    let provider = run.settings.provider.as_ref();
    let removing = async {
        match provider.stat(&path).await {
            Ok(entry) if entry.version.as_ref() == Some(version) => {
                provider.delete(&path, Precondition::Any).await
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    };
    if let Err(error) = run.bounded(async { Ok(removing.await) }).await? {
        tracing::debug!(path = %path, error = chain(&error), "the former checkpoint stays");
    }
    Ok(())
}
