//! `ows check`: compares both sides by content and changes nothing, not even what is remembered.
//!
//! It believes nothing that was remembered either: the base and its fingerprints take no part. Two files are equal when
//! their sizes are and a hash that the remote tells (ETag, or the MD5 in the metadata) is that of the local content, which
//! is always read. Where the remote tells none that proves it, its content is read and hashed too. With `download` every
//! file of the remote is read, so that what the provider says about a file is proved as well.
//!
//! What takes part is what takes part in a run: patterns, protected paths and mail folders are left out, skipped links are
//! told as a warning. What could not be observed is an error, not a difference.

use std::sync::Arc;

use ows_providers::NameRules;
use serde::Serialize;

use super::audit::Audit;
use super::observe::Sides;
use super::scope::Scope;
use super::{PairSettings, roots, settle, show};
use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};
use crate::local::{LocalErrorKind, LocalFolder, ReplicaId};
use crate::plan::{Action, Caution, Direction, Op, Planner, Resolve, Rules};
use crate::report::{ApiCalls, PathProblem, Phase, Report, Reporter};

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Only in the workspace.
    OnlyLocal,
    /// Only in the remote.
    OnlyRemote,
    /// On both sides, with different content.
    Differ,
}

/// A path that is not the same on both sides. Folders end with a slash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where.
    pub path: String,
    /// How.
    pub kind: DifferenceKind,
}

/// What a comparison has found.
#[derive(Debug)]
pub struct Checked {
    /// The common part; `counts.unchanged` are the files that are equal.
    pub report: Report,
    /// In order of the paths.
    pub differences: Vec<Difference>,
    /// Why the exit code is not 0.
    pub failure: Option<Failure>,
}

/// Compares both sides. `download`: read the content of every file of the remote that has a counterpart of its size.
pub async fn check(
    settings: &PairSettings,
    download: bool,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
) -> Checked {
    let mut report = Report::new("check");
    report.mode = Some(settings.mode.name().to_owned());
    let mut differences = Vec::new();
    let compared = compare(settings, download, reporter, &cancel, &mut report);
    let result = match cancel.unless_stopped(compared).await {
        None => Err(cancel.failure()),
        Some(Err(failure)) => Err(failure),
        Some(Ok(found)) => {
            differences = found;
            verdict(&report, differences.len())
        }
    };
    report.api_calls = ApiCalls::from(&settings.counter.counts());
    report.close(result.as_ref().err());
    Checked {
        report,
        differences,
        failure: result.err(),
    }
}

fn verdict(report: &Report, differences: usize) -> Outcome<()> {
    let unknown = report.counts.skipped;
    let differ = match differences {
        0 => None,
        1 => Some("the two sides differ in one path".to_owned()),
        count => Some(format!("the two sides differ in {count} paths")),
    };
    let left = match unknown {
        0 => None,
        1 => Some("one path could not be compared".to_owned()),
        count => Some(format!("{count} paths could not be compared")),
    };
    let text = match (differ, left) {
        (None, None) => return Ok(()),
        (Some(text), None) | (None, Some(text)) => text,
        (Some(differ), Some(left)) => format!("{differ}, and {left}"),
    };
    let hint = "nothing was changed; `ows sync --dry-run -v` shows what a run would do about it, `ows why PATH` for one path";
    Err(Failure::new(FailureKind::Partial, text).with_hint(hint))
}

async fn compare(
    settings: &PairSettings,
    download: bool,
    reporter: Arc<dyn Reporter>,
    cancel: &Cancel,
    report: &mut Report,
) -> Outcome<Vec<Difference>> {
    let local = Arc::new(open_local(settings)?);
    // Names the temporary files of a run, which are no content; an unmarked folder holds none of ours.
    let replica = roots::marker(&local)?.unwrap_or_else(ReplicaId::random);
    let scope: Arc<Scope> = Arc::new(roots::scope_of(settings, &local, replica)?);
    let capabilities = settings.provider.capabilities();
    let rules = Rules {
        // The plan of a push without a base says how the sides differ: what it would upload, replace, delete.
        direction: Direction::Push,
        caution: Caution::None,
        ignore_base: false,
        others_write: false,
        resolve: Resolve::Newer,
        remote_folders: capabilities.folders,
        remote_moves: false,
        // A name that the remote cannot store is only here, whatever the reason.
        names: NameRules {
            max_path_bytes: usize::MAX,
            max_segment_bytes: usize::MAX,
            control_characters: true,
            folds_case: false,
            folds_forms: false,
        },
    };
    let sides = Sides {
        provider: settings.provider.as_ref(),
        local: &local,
        base: None,
        audit: &Audit::default(),
        scope: &scope,
        reporter: reporter.as_ref(),
    };
    let parallel = settings.transfers.unwrap_or(capabilities.parallel);
    let proof = if download {
        settle::Proof::Content
    } else {
        settle::Proof::Hash
    };
    // Every pair of files of one size is to be read, so that of a million of them only some wait at any time. What is
    // equal leaves nothing behind.
    let settled = async |planner: &mut Planner| {
        let provider = &settings.provider;
        settle::settle_by(proof, planner, provider, &local, parallel, cancel).await?;
        planner.drop_records();
        Ok(())
    };
    reporter.phase(Phase::Observing);
    let (mut planner, seen) = sides.observe_in_batches(rules, settled).await?;
    report.warnings.extend(show::link_warnings(&seen));
    reporter.phase(Phase::Comparing);
    settled(&mut planner).await?;
    Ok(differences(planner, report))
}

fn open_local(settings: &PairSettings) -> Outcome<LocalFolder> {
    let failed = |error: crate::local::LocalError| {
        let missing = error.kind == LocalErrorKind::NotFound;
        Failure::failed("could not open the local folder")
            .with_path(settings.local_path.display().to_string())
            .with_source(error)
            .with_hint(if missing {
                "there is nothing to compare; `ows sync` says what to do about a missing folder"
            } else {
                "check the workspace and `localPath`"
            })
    };
    let folder = LocalFolder::open(&settings.local_path).map_err(failed)?;
    if settings.copy_symlinks {
        return folder.following_links(&settings.workspace).map_err(failed);
    }
    Ok(folder)
}

fn differences(planner: Planner, report: &mut Report) -> Vec<Difference> {
    let plan = planner.finish();
    report.counts.unchanged = plan.unchanged;
    report.counts.skipped = plan.skipped.len() as u64;
    let problems = plan.skipped.iter().map(|skipped| PathProblem {
        path: skipped.path.clone(),
        message: skipped.reason.clone(),
    });
    report.errors.extend(problems);
    let mut found: Vec<Difference> = plan.actions().filter_map(difference).collect();
    found.sort_by(|one, other| one.path.cmp(&other.path));
    // A folder is told by what is in it, which comes right after it.
    let told = |at: usize| {
        let next = found.get(at + 1);
        found[at].path.ends_with('/')
            && next.is_some_and(|next| next.path.starts_with(&found[at].path))
    };
    let keep: Vec<bool> = (0..found.len()).map(|at| !told(at)).collect();
    let mut keep = keep.into_iter();
    found.retain(|_| keep.next().unwrap_or(true));
    found
}

fn difference(action: &Action) -> Option<Difference> {
    let kind = match action.op {
        Op::Upload if action.remote.is_some() => DifferenceKind::Differ,
        Op::Upload | Op::CreateDirRemote => DifferenceKind::OnlyLocal,
        Op::DeleteRemote => DifferenceKind::OnlyRemote,
        _ => return None,
    };
    Some(Difference {
        path: action.key.to_text(),
        kind,
    })
}
