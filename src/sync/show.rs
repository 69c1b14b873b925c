//! What a run puts into its report beside the tally: guards, links, the plan of a dry run.

use super::drain;
use super::observe::Seen;
use super::run::Observed;
use crate::error::{Failure, FailureKind};
use crate::plan::Fates;
use crate::plan::guards::Stop;
use crate::report::{ActionLine, PathProblem, Report};

pub(super) fn stopped(report: &mut Report, stop: Stop) -> Failure {
    let failure = Failure::new(
        FailureKind::Guard,
        format!(
            "stopped by the guard `{}`: {}",
            stop.name.name(),
            stop.message
        ),
    )
    .with_hint(stop.hint.clone());
    report.guard = Some(stop);
    failure
}

/// Links are left alone by design; a few words are enough.
pub(super) fn link_warnings(seen: &Seen) -> Option<String> {
    const SHOWN: usize = 5;
    if seen.links.is_empty() {
        return None;
    }
    let shown: Vec<String> = seen
        .links
        .iter()
        .take(SHOWN)
        .map(|link| format!("`{}` ({})", link.path, link.reason))
        .collect();
    let more = seen.links.len().saturating_sub(SHOWN);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(format!(
        "{} links and special files were left alone: {}{rest}",
        seen.links.len(),
        shown.join(", ")
    ))
}

/// Fills the report of a dry run.
pub(super) fn dry_run(report: &mut Report, observed: &Observed, with_mail: bool, fates: Fates) {
    report.fates.learn(&observed.plan, fates);
    for action in observed.plan.actions() {
        if action.key.kind == ows_providers::EntryKind::File {
            report.counts.add(action.op.name());
        }
        report.actions.push(ActionLine {
            op: action.op.name().to_owned(),
            path: action.key.path.to_string(),
            bytes: action.bytes(),
            reason: action.told(fates),
        });
    }
    if with_mail {
        for entry in &observed.outbox {
            report.counts.add("drain");
            report.actions.push(ActionLine {
                op: "drain".to_owned(),
                path: entry.path.to_string(),
                bytes: entry.size,
                reason: drain::REASON.to_owned(),
            });
        }
    }
    report.counts.unchanged = observed.plan.unchanged;
    report.counts.skipped = observed.plan.skipped.len() as u64;
    for skipped in &observed.plan.skipped {
        report.errors.push(PathProblem {
            path: skipped.path.clone(),
            message: skipped.reason.clone(),
        });
    }
}
