//! What a backup tells: warnings, counts, and what could not be stored.

use super::Made;
use crate::backup::catalog::Catalog;
use crate::backup::intents::Settled;
use crate::backup::items::Items;
use crate::backup::manifest::{Manifest, Problem, ProblemClass};
use crate::backup::scan::LeftOut;
use crate::backup::settings::BackupSettings;
use crate::report::{PathProblem, Report};
use crate::secret_names::SecretFiles;

/// How far the clocks of host and provider may be apart before a person hears of it.
const CLOCKS_APART: i64 = 60;

/// So many other hosts are named, those of the newest snapshots.
const MOST_HOSTS: usize = 3;

pub(super) fn tell_settled(settled: Settled, report: &mut Report) {
    if !settled.removed.is_empty() {
        tracing::info!(
            objects = settled.removed.len(),
            "removed what failed runs had left"
        );
    }
    report.warnings.extend(settled.warnings());
}

pub(super) fn tell_catalog(catalog: &Catalog, settings: &BackupSettings, report: &mut Report) {
    if let Some(theirs) = settings.provider.clock() {
        let apart = settings.clock.now().signed_duration_since(theirs);
        if apart.num_seconds().abs() > CLOCKS_APART {
            report.warnings.push(format!(
                "the clock of this host is {} s {} that of the storage, by which snapshots are named",
                apart.num_seconds().abs(),
                if apart.num_seconds() > 0 { "ahead of" } else { "behind" }
            ));
        }
    }
    report.warnings.extend(warn_of_others(catalog, settings));
    report
        .warnings
        .extend(catalog.warn_of_future(&settings.profile));
    for unusable in &catalog.unusable {
        report.warnings.push(format!(
            "the snapshot `{}` cannot be used: {}",
            unusable.name, unusable.reason
        ));
    }
    for unlisted in &catalog.unlisted {
        report.warnings.push(format!(
            "`{}` is unlisted: {} objects without a manifest, of a run that failed or is under way on another host; \
             `ows backup prune --unlisted` removes them",
            unlisted.name,
            unlisted.objects.len()
        ));
    }
}

/// A warning when another host has snapshots in the profile, whether the newest one or not: each prunes the other's.
fn warn_of_others(catalog: &Catalog, settings: &BackupSettings) -> Option<String> {
    let mut others: Vec<String> = Vec::new();
    for snapshot in catalog.of_profile(&settings.profile, false) {
        let host = format!("\"{}\"", snapshot.manifest.host);
        if snapshot.manifest.host != settings.host && !others.contains(&host) {
            others.push(host);
        }
    }
    let more = others.len().saturating_sub(MOST_HOSTS);
    others.truncate(MOST_HOSTS);
    if more > 0 {
        others.push(format!("{more} more"));
    }
    let hosts = match others.as_slice() {
        [] => return None,
        [only] => format!("the host {only}"),
        [first @ .., last] => format!("the hosts {} and {last}", first.join(", ")),
    };
    Some(format!(
        "snapshots of the profile \"{}\" were also made by {hosts}, this one is \"{}\": two hosts in one profile prune \
         each other's snapshots; give each its own `profile`. Where it is only a new name of this host, the warning ends \
         when the old snapshots are pruned",
        settings.profile, settings.host
    ))
}

pub(super) fn tell_missing(items: &Items, made: &mut Made, report: &mut Report) {
    for item in &items.missing {
        made.missing_items.push(item.name().to_owned());
        report
            .warnings
            .push(format!("the item `{}` does not exist", item.name()));
    }
}

pub(super) fn tell_made(manifest: &Manifest, made: &mut Made, report: &mut Report) {
    made.snapshot = Some(manifest.snapshot.to_string());
    made.files = manifest.totals.files;
    made.bytes_read = manifest.totals.bytes;
    let index = manifest.index.size;
    made.bytes_stored = manifest
        .volumes
        .iter()
        .fold(index, |sum, volume| sum.saturating_add(volume.object.size));
    tell_problems(&manifest.problems, made, report);
}

fn tell_problems(problems: &[Problem], made: &mut Made, report: &mut Report) {
    for problem in problems {
        let (count, what) = match problem.class {
            ProblemClass::Unreadable => (
                &mut made.unreadable,
                "could not be read: it is not in the snapshot, or not whole",
            ),
            ProblemClass::Changed => (&mut made.changed, "changed while it was read"),
            ProblemClass::Vanished => (&mut made.vanished, "was gone when it was its turn"),
            ProblemClass::SqliteUnverified => (
                &mut made.sqlite_unverified,
                "is a database that could not be copied consistently: its file was stored as it is",
            ),
            ProblemClass::Other => continue,
        };
        *count += problem.count;
        let serious = matches!(
            problem.class,
            ProblemClass::Unreadable | ProblemClass::SqliteUnverified
        );
        for name in &problem.names {
            match serious {
                true => report.errors.push(PathProblem {
                    path: name.clone(),
                    message: what.to_owned(),
                }),
                false => report.warnings.push(format!("`{name}` {what}")),
            }
        }
    }
    report.counts.failed = made.unreadable + made.sqlite_unverified;
    report.counts.skipped = made.vanished;
}

/// Whoever runs the storage can read them.
pub(super) fn tell_secrets(secrets: &SecretFiles, report: &mut Report) {
    if let Some((what, names)) = secrets.told() {
        report.warnings.push(format!(
            "the snapshot is not encrypted and holds {what}: {names}; set `encrypt` and `recipients`, or name them in \
             `exclude`"
        ));
    }
}

pub(super) fn tell_left_out(left_out: &LeftOut, made: &mut Made, report: &mut Report) {
    made.left_out = left_out.into();
    let more = left_out
        .mounts
        .saturating_sub(left_out.mount_paths.len() as u64);
    for path in &left_out.mount_paths {
        report.warnings.push(format!(
            "`{path}` is another file system, and was not followed; `crossMounts: true` does"
        ));
    }
    if more > 0 {
        report
            .warnings
            .push(format!("{more} more mount points were not followed"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{FailureKind, Outcome};

    fn told(class: ProblemClass) -> (Outcome<()>, Report) {
        let (mut made, mut report) = (Made::default(), Report::new("backup now"));
        let problem = Problem {
            class,
            count: 1,
            names: vec!["workspace/a".to_owned()],
        };
        tell_problems(&[problem], &mut made, &mut report);
        (made.require_whole(), report)
    }

    #[test]
    fn what_changed_or_vanished_is_told_and_the_backup_is_whole() {
        for class in [ProblemClass::Changed, ProblemClass::Vanished] {
            let (ended, report) = told(class);
            assert!(ended.is_ok(), "{class:?}");
            assert_eq!((report.warnings.len(), report.errors.len()), (1, 0));
            assert!(report.warnings[0].contains("workspace/a"));
        }
    }

    #[test]
    fn what_could_not_be_stored_as_it_is_makes_it_partial() {
        for class in [ProblemClass::Unreadable, ProblemClass::SqliteUnverified] {
            let (ended, report) = told(class);
            let failure = ended.expect_err("is not whole");
            assert_eq!(failure.kind, FailureKind::Partial, "{class:?}");
            assert_eq!((report.warnings.len(), report.errors.len()), (0, 1));
        }
        // One whose reading failed midway is there, with zeros where it could not be read.
        let (_, report) = told(ProblemClass::Unreadable);
        assert!(report.errors[0].message.ends_with("or not whole"));
    }
}
