//! A folder that the base was not made in takes a name of its own before it is marked.
//!
//! Where a base exists and the folder does not carry this replica's marker, it is a new volume, or `localPath` names
//! another folder. From now on the base follows that one. Were it marked with the same name, the former folder would be
//! taken for it when the configuration leads there again, or the old volume comes back: what it has never heard of would
//! count as deleted in it, and what it holds from before would displace what came since. So the replica changes its name,
//! and keeps its base; the former folder carries the marker of another one then, and is only added to. Its checkpoint stays
//! in the remote, for the day on which it comes back and the database is lost.

use std::sync::Arc;

use super::checkpoint::{self, Record};
use super::run::{Observed, Opened, Run};
use super::{SyncMode, housekeeping, roots};
use crate::error::Outcome;
use crate::local::ReplicaId;
use crate::plan::Caution;

/// Gives the replica another name, if this pass is about to mark a folder that is not its own. A kill before the folder
/// is marked leaves it one that is not ours: the next run does all of this again.
///
/// # Errors
/// When the marker cannot be read or the database not be written.
pub(super) async fn part_ways(
    run: &Run<'_>,
    opened: &mut Opened,
    observed: &Observed,
) -> Outcome<()> {
    let plan = &observed.plan;
    // A first run marks the folder also when there is nothing to do.
    let will_mark = !opened.has_base
        || plan.caution == Caution::OnlyAdd
        || !plan.is_quiet()
        || !plan.records.is_empty();
    // Of a generation that is not the first, some folder was marked before, though nothing may be left of its base.
    let was_marked =
        opened.has_base || run.settings.mode == SyncMode::Bisync && opened.pair.generation > 0;
    if !was_marked || !will_mark {
        return Ok(());
    }
    if roots::marker(&opened.local)?.as_ref() == Some(&opened.scope.replica) {
        return Ok(());
    }
    // They are known by the old name.
    housekeeping::remove_leftovers(run, opened, &observed.seen.leftovers).await;
    let pair = opened.pair.id.clone();
    let none = checkpoint::as_json(&Record::default())?;
    let values = [(checkpoint::RECORD, none.as_str())];
    let (new, generation) = (ReplicaId::random(), opened.pair.generation);
    opened.pair = opened
        .state
        .rename_replica(&pair, new.as_str(), generation, &values)
        .await?;
    opened.scope = Arc::new(roots::scope(run.settings, &opened.local, &opened.pair)?);
    Ok(())
}
