//! Settling one conflict: find out which is meant, decide what to do, do it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use ows_providers::{NameRules, RelPath, SortKey};
use serde::Serialize;

use super::{Conflict, Found, NONE_IN_MIRROR, Original, look, open_local, recorded};
use crate::cancel::Cancel;
use crate::error::{Failure, Outcome};
use crate::ids::{PairId, RunId};
use crate::local::{Displace, LocalError, LocalErrorKind, LocalFolder};
use crate::plan::{mailbox, merge};
use crate::state::State;
use crate::sync::{PairLock, PairSettings, SyncMode, pair_id};
use crate::tree::{LocalFingerprint, Lost};

/// How many names are tried for a copy that becomes an ordinary file.
const NAMES: u32 = 1000;

/// Which content is kept under the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// That of the local side.
    Local,
    /// That of the remote.
    Remote,
    /// Both, the copy under an ordinary name.
    Both,
}

impl Keep {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Both => "both",
        }
    }
}

/// What was done to a conflict, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The conflict.
    pub conflict: Conflict,
    /// What was chosen.
    pub keep: Keep,
    /// The name that the copy has now; `None` when it is in the trash.
    pub renamed_to: Option<RelPath>,
    /// What went to the trash, by its path before that.
    pub trashed: Option<RelPath>,
    /// Under which name of a run it lies there.
    pub run: RunId,
    /// The trash is switched off, and it was kept all the same.
    pub kept_anyway: bool,
}

/// Settles one conflict, named by its copy, or by the other file where there is one copy. A dry run changes nothing.
///
/// # Errors
/// [`crate::error::FailureKind::Busy`] while a run is under way, [`crate::error::FailureKind::Usage`] when it cannot be
/// told what is meant, and what the system says. Nothing is changed then, but for what the error tells.
pub async fn resolve(
    settings: &PairSettings,
    path: &RelPath,
    keep: Keep,
    dry_run: bool,
    cancel: &Cancel,
) -> Outcome<Resolved> {
    if settings.mode == SyncMode::Mirror {
        return Err(Failure::usage("there is no conflict to settle")
            .with_source(NONE_IN_MIRROR)
            .with_hint("nothing was changed; `ows trash list` shows what gave way to the remote"));
    }
    let pair = pair_id(&settings.provider.describe().await?);
    let _locks = if dry_run {
        None
    } else {
        let taking = PairLock::take(&settings.own_dir, &pair, Duration::ZERO, cancel);
        let pair = taking.await?;
        Some((pair, lock_folder(settings, cancel).await?))
    };
    let recorded = recorded(settings, &pair).await?;
    let Some(folder) = open_local(settings, recorded.len())? else {
        return Err(unknown_path(path, &[]));
    };
    let (found, _) = look(settings, &folder, recorded).await?;
    let found = select(found, path)?;
    let deed = decide(&found, keep)?;
    let job = Job {
        folder,
        run: RunId::random(Utc::now()),
        taken: taken_names(settings, &pair, &found.conflict, &deed).await?,
        names: settings.provider.capabilities().names,
        dry_run,
    };
    let conflict = found.conflict.clone();
    let run = job.run.clone();
    let done = tokio::task::spawn_blocking(move || job.carry_out(&found, &deed))
        .await
        .map_err(|error| {
            Failure::failed("the conflict could not be settled").with_source(error)
        })??;
    if !dry_run && let Some(state) = State::open_existing(&settings.own_dir).await? {
        let forgotten = state.forget_conflict(&pair, &conflict.copy).await;
        state.close().await;
        forgotten?;
    }
    Ok(Resolved {
        conflict,
        keep,
        kept_anyway: done.trashed.is_some() && !settings.trash_local,
        renamed_to: done.renamed_to,
        trashed: done.trashed,
        run,
    })
}

/// What is to be done about a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Deed {
    /// The copy goes to the trash.
    DropCopy,
    /// What kept the name goes to the trash, if it is there, and the copy takes the name.
    Exchange,
    /// The copy gets an ordinary name.
    Rename,
}

async fn lock_folder(settings: &PairSettings, cancel: &Cancel) -> Outcome<Option<PairLock>> {
    if !settings.local_path.exists() {
        return Ok(None);
    }
    let taking = PairLock::take_folder(&settings.local_path, Duration::ZERO, cancel);
    taking.await.map(Some)
}

/// The conflict that `path` names: the one of this copy, or the only one about this path.
fn select(found: Vec<Found>, path: &RelPath) -> Outcome<Found> {
    if let Some(one) = found.iter().find(|found| found.conflict.copy == *path) {
        return Ok(one.clone());
    }
    let about: Vec<&Found> = found
        .iter()
        .filter(|found| found.conflict.path == *path)
        .collect();
    match about[..] {
        [] => Err(unknown_path(path, &found)),
        [one] => Ok(one.clone()),
        _ => {
            let copies = about.iter().map(|found| {
                let lost = match found.conflict.lost {
                    Lost::Unknown => String::new(),
                    lost => format!(", the {} content", side_name(lost)),
                };
                format!("{}{lost}", described(&found.conflict.copy, &found.copy))
            });
            let first = &about[0].conflict.copy;
            Err(Failure::usage(format!(
                "`{path}` has {} copies, and it must be said which of them is meant",
                about.len()
            ))
            .with_source(copies.collect::<Vec<_>>().join("\n"))
            .with_hint(format!(
                "name the copy: `ows conflicts resolve --keep both {}`; nothing was changed",
                quoted(first)
            )))
        }
    }
}

fn unknown_path(path: &RelPath, found: &[Found]) -> Failure {
    let names = found
        .iter()
        .flat_map(|found| [&found.conflict.copy, &found.conflict.path])
        .map(RelPath::as_str);
    let near = crate::config::nearest(path.as_str(), names);
    let meant = near.map_or(String::new(), |near| format!("did you mean `{near}`? "));
    Failure::usage(format!("`{path}` is not in conflict")).with_hint(format!(
        "{meant}`ows conflicts` lists those that are; nothing was changed"
    ))
}

/// What to do, from what is there and what was chosen.
fn decide(found: &Found, keep: Keep) -> Outcome<Deed> {
    let Conflict {
        path, copy, lost, ..
    } = &found.conflict;
    let kept_copy = match (keep, lost) {
        (Keep::Both, _) => return Ok(Deed::Rename),
        (_, Lost::Unknown) => return Err(side_unknown(found, keep)),
        (Keep::Local, Lost::Local) | (Keep::Remote, Lost::Remote) => true,
        (Keep::Local, Lost::Remote) | (Keep::Remote, Lost::Local) => false,
    };
    match (kept_copy, &found.path) {
        (true, None | Some(Original::File(_))) => Ok(Deed::Exchange),
        (false, Some(Original::File(_) | Original::Folder)) => Ok(Deed::DropCopy),
        (false, None) => Err(Failure::usage(format!(
            "`{path}` is not there any more, so `{copy}` is all that is left of the two, and was not removed"
        ))
        .with_hint(format!(
            "to give it the name: `ows conflicts resolve --keep {} {}`; else remove it by hand; nothing was changed",
            lost.name(),
            quoted(copy)
        ))),
        (true, Some(Original::Folder)) => Err(Failure::usage(format!(
            "`{path}` is a folder, which does not give way to a file"
        ))
        .with_hint(format!(
            "to keep the file too, under an ordinary name: `ows conflicts resolve --keep both {}`; or rename the \
             folder by hand first; nothing was changed",
            quoted(copy)
        ))),
        (_, Some(Original::Other)) => Err(Failure::usage(format!(
            "`{path}` is a link or cannot be read, so it is left as it is"
        ))
        .with_hint(format!(
            "to keep the file too, under an ordinary name: `ows conflicts resolve --keep both {}`; nothing was changed",
            quoted(copy)
        ))),
    }
}

/// Nobody remembers whose content is where, so a person has to look.
fn side_unknown(found: &Found, keep: Keep) -> Failure {
    let Conflict { path, copy, .. } = &found.conflict;
    let kept = match &found.path {
        Some(Original::File(file)) => described(path, file),
        Some(Original::Folder) => format!("`{path}`: a folder"),
        _ => format!("`{path}`: a link, or it cannot be read"),
    };
    Failure::usage(format!(
        "it is not known which of the two is the {} one: this host did not make the copy, or has forgotten it",
        keep.name()
    ))
    .with_source(format!("{kept}\n{}", described(copy, &found.copy)))
    .with_hint(format!(
        "to keep both under ordinary names: `ows conflicts resolve --keep both {}`; to keep one of them, look at both \
         and remove the other, or move the copy over it, by hand in the workspace; the next `ows sync` carries that \
         over; nothing was changed",
        quoted(copy)
    ))
}

/// Names that the remote still holds something under, as far as it was agreed on.
async fn taken_names(
    settings: &PairSettings,
    pair: &PairId,
    conflict: &Conflict,
    deed: &Deed,
) -> Outcome<Vec<RelPath>> {
    let mut taken = Vec::new();
    if *deed != Deed::Rename {
        return Ok(taken);
    }
    let Some(state) = State::open_existing(&settings.own_dir).await? else {
        return Ok(taken);
    };
    let mut result = Ok(());
    for attempt in 2..=NAMES {
        let name = mailbox::landing_name(&ordinary(&conflict.path), attempt);
        match state.base_row(pair, &SortKey::file(name.clone())).await {
            Ok(Some(_)) => taken.push(name),
            Ok(None) => break,
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    state.close().await;
    result?;
    Ok(taken)
}

/// The name that an ordinary one for a copy is made from: a conflict may be about a copy.
fn ordinary(path: &RelPath) -> RelPath {
    merge::original_of(path).unwrap_or_else(|| path.clone())
}

/// A path with what tells one version of it from another.
fn described(path: &RelPath, file: &LocalFingerprint) -> String {
    let time = DateTime::from_timestamp_nanos(file.mtime_ns).format("%Y-%m-%d %H:%M:%S UTC");
    let bytes = match file.size {
        1 => "1 byte".to_owned(),
        size => format!("{size} bytes"),
    };
    format!("`{path}`: {bytes}, changed {time}")
}

/// A side's name for people.
pub fn side_name(lost: Lost) -> &'static str {
    match lost {
        Lost::Local => "workspace's",
        Lost::Remote => "remote's",
        Lost::Unknown => "other",
    }
}

/// A path as it can be typed into a shell.
fn quoted(path: &RelPath) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/@%+=:,".contains(&byte);
    let text = path.as_str();
    if text.bytes().all(is_plain) && !text.starts_with('-') {
        return text.to_owned();
    }
    let dashes = if text.starts_with('-') { "./" } else { "" };
    format!("'{dashes}{}'", text.replace('\'', "'\\''"))
}

/// What the steps work with.
struct Job {
    folder: LocalFolder,
    run: RunId,
    taken: Vec<RelPath>,
    names: NameRules,
    dry_run: bool,
}

/// What the steps have done.
struct Done {
    renamed_to: Option<RelPath>,
    trashed: Option<RelPath>,
}

impl Job {
    /// Blocking. A dry run looks and does nothing.
    fn carry_out(&self, found: &Found, deed: &Deed) -> Outcome<Done> {
        let Conflict { path, copy, .. } = &found.conflict;
        match deed {
            Deed::DropCopy => {
                self.to_trash(copy, &found.copy)?;
                Ok(Done {
                    renamed_to: None,
                    trashed: Some(copy.clone()),
                })
            }
            Deed::Exchange => {
                self.is_at_rest(copy)?;
                let trashed = match &found.path {
                    Some(Original::File(file)) => {
                        self.to_trash(path, file)?;
                        Some(path.clone())
                    }
                    _ => None,
                };
                self.rename(copy, path, &found.copy).map_err(|failure| {
                    match &trashed {
                        None => failure,
                        Some(_) => failure.with_hint(format!(
                            "`{path}` is in the trash, and `{copy}` where it was; run the command again to go on, or \
                             `ows trash restore --run {} {}` to undo it",
                            self.run,
                            quoted(path)
                        )),
                    }
                })?;
                Ok(Done {
                    renamed_to: Some(path.clone()),
                    trashed,
                })
            }
            Deed::Rename => {
                let name = self.free_name(&ordinary(path))?;
                self.is_at_rest(copy)?;
                self.rename(copy, &name, &found.copy)?;
                Ok(Done {
                    renamed_to: Some(name),
                    trashed: None,
                })
            }
        }
    }

    fn to_trash(&self, path: &RelPath, expected: &LocalFingerprint) -> Outcome<()> {
        self.is_at_rest(path)?;
        if self.dry_run {
            return Ok(());
        }
        self.folder
            .remove(path, self.run.as_str(), expected, Displace::Trash)
            .map(drop)
            .map_err(|error| could_not("move", path, error))
    }

    fn rename(&self, from: &RelPath, to: &RelPath, expected: &LocalFingerprint) -> Outcome<()> {
        if self.dry_run {
            return Ok(());
        }
        self.folder
            .rename(from, to, expected)
            .map(drop)
            .map_err(|error| could_not("rename", from, error))
    }

    /// A database that a program has open is not moved away from its other files.
    fn is_at_rest(&self, path: &RelPath) -> Outcome<()> {
        let is_live = self.folder.is_live_database(path);
        if !is_live.map_err(|error| could_not("look at", path, error))? {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "`{path}` is a database that a program has open, or that was not closed"
        ))
        .with_path(path.to_string())
        .with_hint("close it, then run the command again; nothing was changed"))
    }

    /// The first ordinary name beside `path` that is free.
    fn free_name(&self, path: &RelPath) -> Outcome<RelPath> {
        let none = |why: String| {
            Failure::failed(format!(
                "no ordinary name could be found for the copy of `{path}`"
            ))
            .with_source(why)
            .with_hint("rename it by hand; nothing was changed")
        };
        for attempt in 2..=NAMES {
            let name = mailbox::landing_name(path, attempt);
            if name == *path {
                return Err(none("the name would be too long".to_owned()));
            }
            if let Some(objection) = self.names.objection(&name) {
                return Err(none(objection.to_string()));
            }
            if !self.taken.contains(&name) && self.folder.observe(&name).is_none() {
                return Ok(name);
            }
        }
        Err(none(format!("{NAMES} names are taken")))
    }
}

fn could_not(deed: &str, path: &RelPath, error: LocalError) -> Failure {
    let hint = match error.kind {
        LocalErrorKind::Changed | LocalErrorKind::NotFound | LocalErrorKind::Exists => {
            "it changed meanwhile; look at it and run the command again; nothing was lost"
        }
        _ => "nothing was lost; see to the cause and run the command again",
    };
    Failure::failed(format!("could not {deed} `{path}`"))
        .with_path(path.to_string())
        .with_source(error)
        .with_hint(hint)
}
