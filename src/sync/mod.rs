//! One run of `sync`, from top to bottom: lock, observe, plan, guard, apply, drain.
//!
//! Single paths are decided in [`crate::plan`] and handled in [`crate::apply`]. This module knows the order of things, and
//! what must hold between them.

mod assess;
mod audit;
pub mod check;
mod checkpoint;
pub mod conflicts;
pub mod connect;
mod drain;
mod housekeeping;
mod identity;
mod ingest;
mod lease;
mod lock;
mod observe;
mod others;
mod overlap;
mod parting;
mod roots;
mod run;
pub mod scope;
mod secrets;
mod settings;
mod settle;
mod show;
pub mod status;
pub mod trash;
mod unmarked;
pub mod why;
mod work;

use std::sync::Arc;

use ows_providers::RemoteIdentity;

use crate::cancel::{Cancel, StopCause};
use crate::error::{Failure, FailureKind};
use crate::ids::{PairId, RunId};
use crate::report::{ApiCalls, Report, Reporter};
use run::Run;

pub use identity::{CheckpointPace, flush_checkpoint};
pub use lease::{HostClock, Reading};
pub use lock::PairLock;
pub use settings::{Finished, FirstSync, PairSettings, SyncMode, SyncOptions};

/// Carries out one run.
pub async fn sync(
    settings: &PairSettings,
    options: &SyncOptions,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
) -> Finished {
    let mut report = Report::new("sync");
    report.mode = Some(settings.mode.name().to_owned());
    report.dry_run = options.dry_run;
    let limit = options.timeout.unwrap_or(settings.timeout);
    let run = Run {
        settings,
        options,
        reporter,
        cancel: cancel.clone(),
        id: RunId::random(report.started_at),
    };
    report.run_id = Some(run.id.to_string());
    let result = {
        let work = run.whole(&mut report);
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => result,
            () = tokio::time::sleep(limit) => {
                cancel.stop(StopCause::TimedOut);
                work.await
            }
        }
    };
    let result = result.map_err(|failure| waited_for(failure, settings));
    let counts = settings.counter.counts();
    report.api_calls = ApiCalls::from(&counts);
    report.close(result.as_ref().err());
    Finished {
        report,
        failure: result.err(),
    }
}

/// A run that was cut off while it repeated a call says what that call failed with.
fn waited_for(failure: Failure, settings: &PairSettings) -> Failure {
    match settings.counter.last_failure().get() {
        Some(why) if failure.kind == FailureKind::TimedOut && failure.source.is_none() => failure
            .with_source(why)
            .with_hint(
                "what was finished before it counts; see to the cause and run again to go on, or raise `timeout`",
            ),
        _ => failure,
    }
}

/// The pair's name: the same remote folder is the same pair, whatever keys open it.
pub fn pair_id(identity: &RemoteIdentity) -> PairId {
    PairId::new(blake3::hash(identity.id.as_bytes()).to_hex()[..16].to_owned())
}
