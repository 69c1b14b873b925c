//! What is known of a pair, without changing anything.

use chrono::{DateTime, Utc};
use futures::StreamExt;
use ows_providers::{Enforcement, ErrorKind, ListOptions, RemoteIdentity};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::lease::{Holder, held_now};
use super::trash::{Contents, Trash};
use super::{PairSettings, pair_id};
use crate::error::{Failure, FailureKind, Outcome};
use crate::ids::PairId;
use crate::local::LocalFolder;
use crate::report::PathProblem;
use crate::state::State;

/// What `ows status` tells.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The adapter: `s3`, `local`.
    pub provider: String,
    /// The remote for people.
    pub remote: String,
    /// The local folder.
    pub local: String,
    /// `ok`, or why the remote cannot be read.
    pub connection: String,
    /// `ok`, or why the database cannot be read: then what it holds is not known.
    pub state: String,
    /// What was agreed on; `None` before the first run.
    pub base: Option<BaseStatus>,
    /// The copy of the base in the remote, as far as this host knows; `None` when none was stored.
    pub checkpoint: Option<CheckpointStatus>,
    /// The newest run that is recorded.
    pub last_run: Option<LastRun>,
    /// Conflict files in the local folder; mirror mode makes none.
    pub conflicts: u64,
    /// What lies in the trash.
    pub trash: TrashStatus,
    /// What the remote enforces, once it was found out.
    pub enforces: Option<Enforces>,
    /// The host that is at work in the remote, if one is.
    pub lease: Option<LeaseStatus>,
    /// How backups stand; whoever knows of them fills it in.
    pub backup: Option<Value>,
}

/// The lease of a run that is under way, or was killed a moment ago. What its object does not say is `None`.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names are those of the JSON")]
pub struct LeaseStatus {
    pub host: Option<String>,
    pub run_id: Option<String>,
    #[serde(serialize_with = "maybe_rfc3339")]
    pub since: Option<DateTime<Utc>>,
}

impl LeaseStatus {
    fn of(holder: Holder) -> Self {
        let (host, run_id) = holder.who.unzip();
        Self {
            host,
            run_id,
            since: holder.since,
        }
    }

    /// One line for people.
    pub fn text(&self) -> String {
        let host = self
            .host
            .as_deref()
            .unwrap_or("a host that cannot be named");
        let since = self.since.map_or_else(String::new, |since| {
            format!(" since {}", since.format("%Y-%m-%d %H:%M:%S UTC"))
        });
        format!("held by {host}{since}")
    }
}

pub(super) fn maybe_rfc3339<S: Serializer>(
    time: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => crate::report::rfc3339(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// What both sides agree on.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names are those of the JSON")]
pub struct BaseStatus {
    pub files: u64,
    pub bytes: u64,
    pub generation: u64,
}

/// The copy of the base that was stored last.
#[derive(Debug, Serialize)]
pub struct CheckpointStatus {
    /// The generation of the base that it holds. Behind the base's own after runs that only took note of something.
    pub generation: u64,
    /// When it was stored, by the provider's clock; `None` when it was taken up by this host and not stored since.
    #[serde(serialize_with = "maybe_rfc3339")]
    pub stored_at: Option<DateTime<Utc>>,
}

impl CheckpointStatus {
    /// One line for people.
    pub fn text(&self) -> String {
        let stored = match self.stored_at {
            Some(at) => format!(", stored {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
            None => String::new(),
        };
        format!("generation {}{stored}", self.generation)
    }
}

/// A run that ended, or was killed.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names are those of the JSON")]
pub struct LastRun {
    pub run_id: String,
    #[serde(serialize_with = "crate::report::rfc3339")]
    pub started_at: DateTime<Utc>,
    pub exit_code: Option<u8>,
    pub counts: Option<Value>,
    pub error: Option<String>,
}

impl LastRun {
    /// One line for people.
    pub fn text(&self) -> String {
        let time = self.started_at.format("%Y-%m-%d %H:%M:%S UTC");
        match (self.exit_code, &self.error) {
            (None, _) => format!("{time}, did not end (it was killed, or is under way)"),
            (Some(0), _) => format!("{time}, ok"),
            (Some(code), Some(error)) => format!("{time}, exit code {code}: {error}"),
            (Some(code), None) => format!("{time}, exit code {code}"),
        }
    }
}

/// Files and bytes in the trash of each side; `None` where it could not be read.
#[derive(Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the names are those of the JSON")]
pub struct TrashStatus {
    pub local: Option<Amount>,
    pub remote: Option<Amount>,
}

/// A number of files.
#[derive(Debug, Default, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "the names are those of the JSON")]
pub struct Amount {
    pub files: u64,
    pub bytes: u64,
}

/// What the remote was found to enforce, and when.
#[derive(Debug, Serialize)]
pub struct Enforces {
    /// The conditions.
    #[serde(flatten)]
    pub conditions: Enforcement,
    /// Whether runs of several hosts keep each other out by a lease: it needs a conditional create.
    pub lease: bool,
    /// When it was found out.
    #[serde(serialize_with = "crate::report::rfc3339")]
    pub probed_at: DateTime<Utc>,
}

impl Enforces {
    /// Each condition with a word about it.
    pub fn named(&self) -> Vec<(&'static str, &'static str)> {
        let word = |enforced: bool| {
            if enforced {
                "yes"
            } else {
                "no (looked at before and after instead)"
            }
        };
        let conditions = &self.conditions;
        let lease = if self.lease {
            "yes"
        } else {
            "no (runs of two hosts are kept apart by the conditions alone)"
        };
        vec![
            ("lease between hosts", lease),
            ("create only if absent", word(conditions.create_if_absent)),
            (
                "replace only the version seen",
                word(conditions.replace_if_match),
            ),
            (
                "delete only the version seen",
                word(conditions.delete_if_match),
            ),
            (
                "large files: create only if absent",
                word(conditions.complete_if_absent),
            ),
            (
                "large files: replace only the version seen",
                word(conditions.complete_if_match),
            ),
            ("copy only if absent", word(conditions.copy_if_absent)),
            (
                "keeps old versions",
                match conditions.versioning {
                    Some(true) => "yes (no copies in .ows/trash)",
                    Some(false) => "no",
                    None => "it does not say",
                },
            ),
        ]
    }
}

/// Looks at a pair and changes nothing. What could not be looked at is told beside what could: the remote first, then the
/// state, then the local folder.
pub async fn status(settings: &PairSettings) -> (Status, Vec<Failure>) {
    let provider = settings.provider.as_ref();
    let mut status = Status {
        provider: provider.capabilities().name.to_owned(),
        remote: String::new(),
        local: settings.local_path.display().to_string(),
        connection: "ok".to_owned(),
        state: "ok".to_owned(),
        base: None,
        checkpoint: None,
        last_run: None,
        conflicts: 0,
        trash: TrashStatus::default(),
        enforces: None,
        lease: None,
        backup: None,
    };
    let mut failures = Vec::new();
    let identity = provider.describe().await;
    match remote_side(settings, &mut status, &mut failures).await {
        Ok(()) => {}
        Err(failure) => {
            status.connection = failure.reason();
            failures.push(failure);
        }
    }
    match identity {
        Ok(identity) => {
            match remember(settings, &identity, &mut status).await {
                Ok(()) => failures.extend(conflicts(settings, &identity, &mut status).await),
                Err(failure) => {
                    status.state = failure.reason();
                    failures.push(failure);
                }
            }
            status.remote = identity.display;
        }
        Err(error) => {
            let failure = Failure::from(error);
            status.state = format!("not looked at: {}", failure.reason());
            failures.push(failure);
        }
    }
    if status.connection == MISSING && status.base.as_ref().is_some_and(|base| base.files > 0) {
        status.connection =
            "the remote folder is not there, though it was synced before".to_owned();
    }
    failures.extend(damaged_marker(settings));
    match Trash::list_of_local(settings).await {
        Ok(found) => status.trash.local = amount(found, &mut failures),
        Err(failure) => failures.push(failure),
    }
    (status, failures)
}

/// Counts the conflicts, and gives what kept from counting all of them.
async fn conflicts(
    settings: &PairSettings,
    identity: &RemoteIdentity,
    status: &mut Status,
) -> Vec<Failure> {
    match super::conflicts::list_of(settings, identity).await {
        Ok(found) => {
            status.conflicts = found.conflicts.len() as u64;
            let problems = found.problems.into_iter();
            let unread = |problem: PathProblem| {
                Failure::new(FailureKind::Partial, problem.message).with_path(problem.path)
            };
            problems.map(unread).collect()
        }
        Err(failure) => vec![failure],
    }
}

/// A marker that is none stops every push. A folder that is not there is told elsewhere.
fn damaged_marker(settings: &PairSettings) -> Option<Failure> {
    let folder = LocalFolder::open(&settings.local_path).ok()?;
    match super::roots::is_damaged(&folder) {
        Ok(false) => None,
        Ok(true) => Some(
            Failure::failed("the replica marker of the local folder is damaged")
                .with_path(folder.path().join(".ows/replica").display().to_string())
                .with_hint("to make the folder equal to the remote, and mark it again: `ows sync --direction pull`"),
        ),
        Err(failure) => Some(failure),
    }
}

const MISSING: &str = "the remote folder is not there (the first run makes it)";

/// Whether the remote answers, and what its trash holds.
async fn remote_side(
    settings: &PairSettings,
    status: &mut Status,
    failures: &mut Vec<Failure>,
) -> Outcome<()> {
    let provider = settings.provider.as_ref();
    let mut listing = provider.list(ListOptions {
        shallow: true,
        ..ListOptions::default()
    });
    match listing.next().await {
        // A folder comes with the first run. A bucket does not.
        Some(Err(error))
            if error.kind == ErrorKind::NotFound && provider.capabilities().folders =>
        {
            status.connection = MISSING.to_owned();
        }
        Some(Err(error)) => return Err(error.into()),
        _ => {}
    }
    drop(listing);
    status.lease = held_now(provider).await?.map(LeaseStatus::of);
    status.trash.remote = amount(super::trash::list_remote(provider).await?, failures);
    Ok(())
}

/// What the database knows of the pair.
async fn remember(
    settings: &PairSettings,
    identity: &RemoteIdentity,
    status: &mut Status,
) -> Outcome<()> {
    let pair = pair_id(identity);
    if State::is_emptied(&settings.own_dir) {
        status.state =
            "empty (0 bytes), as a crash or a full disk leaves it: nothing is remembered"
                .to_owned();
        return Ok(());
    }
    let Some(state) = State::open_existing(&settings.own_dir).await? else {
        return Ok(());
    };
    let told = recall(&state, &pair, identity, status).await;
    state.close().await;
    told
}

async fn recall(
    state: &State,
    pair: &PairId,
    identity: &RemoteIdentity,
    status: &mut Status,
) -> Outcome<()> {
    status.enforces = state
        .enforcement(&identity.id)
        .await?
        .map(|(conditions, probed_at)| Enforces {
            lease: conditions.create_if_absent,
            conditions,
            probed_at,
        });
    let Some(record) = state.pair(pair).await? else {
        return Ok(());
    };
    let totals = state.base_totals(pair).await?;
    status.base = (record.generation > 0).then_some(BaseStatus {
        files: totals.files,
        bytes: totals.bytes,
        generation: record.generation,
    });
    let record = super::checkpoint::load(state, pair).await?;
    status.checkpoint = record.confirmed.map(|stamp| CheckpointStatus {
        generation: stamp.generation,
        stored_at: record.stored_at,
    });
    status.last_run = state.last_runs(Some(pair), 1).await?.pop().map(last);
    Ok(())
}

fn last(run: crate::state::RunRecord) -> LastRun {
    let error = run.outcome.as_ref().and_then(|outcome| {
        outcome["guard"]["message"]
            .as_str()
            .or_else(|| outcome["errors"][0]["message"].as_str())
            .map(str::to_owned)
    });
    LastRun {
        run_id: run.id.to_string(),
        started_at: run.started_at,
        exit_code: run.exit_code,
        counts: run.outcome.map(|mut outcome| outcome["counts"].take()),
        error,
    }
}

/// `None` when part of a trash could not be read: half of it would be taken for all.
fn amount(found: Contents, failures: &mut Vec<Failure>) -> Option<Amount> {
    let is_known = found.problems.is_empty();
    failures.extend(found.problems.into_iter().map(|problem| {
        Failure::new(FailureKind::Partial, problem.message).with_path(problem.path)
    }));
    is_known.then(|| Amount {
        files: found.items.len() as u64,
        bytes: found.items.iter().map(|item| item.size).sum(),
    })
}
