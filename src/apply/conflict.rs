//! Conflicts: what does not keep its name is on both sides under another one before anything takes its place.
//!
//! First it is recorded whose content goes where, and a copy of it is made locally, under a name that is free on both
//! sides. Then the copy is uploaded, and the base learns of it. What keeps the name replaces it last. A run that is killed
//! in between leaves the sides different as they were; the next one finds the copy, sees that it holds the same, and goes on
//! from there, so that no copy is made of what has one.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use chrono::Utc;
use ows_providers::hash::ContentHashes;
use ows_providers::{EntryKind, ErrorKind, RelPath, SortKey};

use super::conditions::expect;
use super::fetch::Landing;
use super::outcome::Problem;
use super::source::Reading;
use super::upload::blocking;
use super::{Applier, lock, sides_equal};
use crate::local::{
    Commit, Displace, Expect, Hashed, LocalError, LocalErrorKind, LocalFolder, Observed, ReplicaId,
    UnknownReason,
};
use crate::plan::{Action, Keeps, Op, merge};
use crate::state::ConflictRecord;
use crate::tree::{BaseRow, LocalFingerprint, Lost, RemoteStamp};

/// How many names are tried for a copy.
const NAMES: u32 = 1000;

/// How often another name is looked for when somebody else has taken the one that was chosen.
const TRIES: u32 = 4;

/// Bytes copied at once.
const CHUNK: usize = 256 * 1024;

/// What gives its name up.
enum Loser {
    /// The local file, with its hashes.
    Local(Hashed),
    /// The remote file.
    Remote(RemoteStamp),
}

/// A name for the copy, and what is there already: the copy itself, made by an earlier run.
struct Place {
    path: RelPath,
    local: Option<Hashed>,
    remote: Option<RemoteStamp>,
}

impl Applier {
    /// Settles one conflict.
    pub(super) async fn conflict(
        self: &Arc<Self>,
        action: &Action,
        keeps: Keeps,
    ) -> Result<(), Problem> {
        // To the end: another one would read what this one replaces.
        let _turn = self.shared.naming.turn(&action.key.path).await;
        let loser = self.loser(action, keeps).await?;
        self.keep_copy(action, &loser).await?;
        match (keeps, loser) {
            (Keeps::Local, _) => {
                let row = self
                    .upload(&unkept(action, Op::Upload), Reading::Whole)
                    .await?;
                Ok(self.base.agreed(row).await?)
            }
            (Keeps::Remote, Loser::Local(hashed)) => {
                let mut action = unkept(action, Op::Download);
                action.local = Some(Box::new(hashed.fingerprint));
                let row = self.download(&action).await?;
                Ok(self.base.agreed(row).await?)
            }
            (Keeps::Remote, Loser::Remote(_)) => Err(Problem::Failed(
                "what keeps its name cannot give it up too".into(),
            )),
            (Keeps::Folder, Loser::Remote(stamp)) => {
                self.conditional()
                    .delete(&action.key.path, expect(Some(&stamp)))
                    .await?;
                Ok(self.base.forget(action.key.clone()).await?)
            }
            (Keeps::Folder, Loser::Local(hashed)) => {
                let (local, path) = (Arc::clone(&self.local), action.key.path.clone());
                let run = self.run.clone();
                blocking(move || {
                    local.remove(&path, run.as_str(), &hashed.fingerprint, Displace::Drop)
                })
                .await??;
                Ok(self.base.forget(action.key.clone()).await?)
            }
        }
    }

    /// Sees to it that what gives its name up is on both sides under another one. Two hosts may choose the same name at
    /// once: whoever finds it taken looks for the next one, and takes the copy that it has made already along.
    async fn keep_copy(self: &Arc<Self>, action: &Action, loser: &Loser) -> Result<(), Problem> {
        let path = &action.key.path;
        let mut made = None;
        let mut tries_left = TRIES;
        loop {
            tries_left -= 1;
            let place = self.place(path, loser).await?;
            self.remember(path, &place.path, loser).await?;
            match self.copy_aside(action, loser, place, &mut made).await {
                Err(Problem::Left(why)) if tries_left > 0 => {
                    tracing::debug!(%path, why, "the copy of a conflict is tried again");
                }
                other => return other,
            }
        }
    }

    /// Records which side's content lies under the name of the copy, before it lies there.
    async fn remember(&self, path: &RelPath, copy: &RelPath, loser: &Loser) -> Result<(), Problem> {
        let conflict = ConflictRecord {
            path: path.clone(),
            copy: copy.clone(),
            lost: match loser {
                Loser::Local(_) => Lost::Local,
                Loser::Remote(_) => Lost::Remote,
            },
            run: self.run.clone(),
            at: Utc::now(),
        };
        Ok(self.state.record_conflict(&self.pair, &conflict).await?)
    }

    async fn loser(&self, action: &Action, keeps: Keeps) -> Result<Loser, Problem> {
        let remote = match (keeps, &action.local, &action.remote) {
            (Keeps::Local, _, Some(remote)) | (Keeps::Folder, None, Some(remote)) => remote,
            (Keeps::Remote | Keeps::Folder, Some(seen), _) => {
                let (local, path) = (Arc::clone(&self.local), action.key.path.clone());
                let hashed = blocking(move || {
                    // It would not give way in the end, and each run would make a copy of what it holds by then.
                    if local.is_live_database(&path)? {
                        return Err(LocalError::new(LocalErrorKind::InUse, "replace", &path));
                    }
                    local.hash(&path)
                })
                .await??;
                if !hashed.fingerprint.same_attributes(seen) {
                    return Err(Problem::Changing);
                }
                return Ok(Loser::Local(hashed));
            }
            _ => {
                return Err(Problem::Failed(
                    "the plan names no file that gives its name up".into(),
                ));
            }
        };
        Ok(Loser::Remote((**remote).clone()))
    }

    /// The first name that is free on both sides, or has the copy.
    async fn place(&self, path: &RelPath, loser: &Loser) -> Result<Place, Problem> {
        let too_long = |reason: String| {
            Problem::Failed(format!(
                "it differs, and the name for the copy of one of them cannot be used ({reason}), so both were left alone"
            ))
        };
        for attempt in 1..=NAMES {
            let candidate =
                merge::conflict_name(path, attempt).map_err(|error| too_long(error.to_string()))?;
            // It is about this very file.
            if candidate == *path {
                continue;
            }
            if let Some(objection) = self.provider.capabilities().names.objection(&candidate) {
                return Err(too_long(objection.to_string()));
            }
            if let Some(place) = self.is_free(path, candidate, loser).await? {
                return Ok(place);
            }
        }
        Err(Problem::Failed(format!(
            "it differs, and there are {NAMES} conflicts of this name already; settle some of them"
        )))
    }

    async fn is_free(
        &self,
        path: &RelPath,
        candidate: RelPath,
        loser: &Loser,
    ) -> Result<Option<Place>, Problem> {
        let (local, look) = (Arc::clone(&self.local), candidate.clone());
        let there = blocking(move || match local.observe(&look) {
            None => Ok(Some(None)),
            Some(Observed::Entry(entry)) if entry.key.kind == EntryKind::File => {
                local.hash(&look).map(|hashed| Some(Some(hashed)))
            }
            // No other number makes it shorter.
            Some(Observed::Unknown {
                reason: UnknownReason::Unreadable(error),
                ..
            }) if error.kind() == std::io::ErrorKind::InvalidFilename => {
                Err(LocalError::io("copy it to", &look, error))
            }
            Some(_) => Ok(None),
        })
        .await??;
        let Some(local) = there else {
            return Ok(None);
        };
        let same = match (&local, loser) {
            (None, _) => true,
            (Some(copy), Loser::Local(hashed)) => {
                hashed.fingerprint.blake3 == copy.fingerprint.blake3
            }
            (Some(copy), Loser::Remote(stamp)) => self.equal(path, stamp, copy).await?,
        };
        if !same {
            return Ok(None);
        }
        let remote = match self.provider.stat(&candidate).await {
            Ok(entry) if entry.kind == EntryKind::Dir => return Ok(None),
            Ok(entry) => Some(RemoteStamp::from_entry(&entry, false)),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let holds_it = match (&local, &remote) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(copy), Some(stamp)) => self.equal(&candidate, stamp, copy).await?,
        };
        Ok(holds_it.then_some(Place {
            path: candidate,
            local,
            remote,
        }))
    }

    async fn equal(
        &self,
        path: &RelPath,
        remote: &RemoteStamp,
        local: &Hashed,
    ) -> Result<bool, Problem> {
        if remote.size != local.fingerprint.size {
            return Ok(false);
        }
        let hashes = ContentHashes {
            md5: local.md5,
            blake3: local.fingerprint.blake3.unwrap_or_default(),
        };
        Ok(sides_equal(self.provider.as_ref(), path, remote, &hashes).await?)
    }

    /// Makes what is missing of the copy on both sides, and records it. `made` is the copy that was made for another
    /// place, which turned out to be taken: it is moved here.
    async fn copy_aside(
        self: &Arc<Self>,
        action: &Action,
        loser: &Loser,
        place: Place,
        made: &mut Option<(RelPath, LocalFingerprint)>,
    ) -> Result<(), Problem> {
        let Place {
            path: copy,
            local,
            remote,
        } = place;
        let fingerprint = match (local, made.take(), loser) {
            (Some(there), _, _) => there.fingerprint,
            (None, Some((taken, fingerprint)), _) => {
                self.move_copy(taken, &copy, fingerprint).await?
            }
            (None, None, Loser::Local(hashed)) => {
                let (local, from, to) = (
                    Arc::clone(&self.local),
                    action.key.path.clone(),
                    copy.clone(),
                );
                let (replica, run, expected) = (
                    self.replica.clone(),
                    self.run.clone(),
                    hashed.fingerprint.clone(),
                );
                blocking(move || copy_local(&local, &from, &to, &expected, &replica, run.as_str()))
                    .await??
            }
            (None, None, Loser::Remote(stamp)) => {
                let landing = Landing {
                    path: copy.clone(),
                    expect: Expect::Absent,
                    displaced: Displace::Trash,
                    run: self.run.clone(),
                    replica: self.replica.clone(),
                    unless_in: Vec::new(),
                };
                self.fetch(&action.key.path, stamp, landing).await?.local
            }
        };
        *made = Some((copy.clone(), fingerprint.clone()));
        let key = SortKey::file(copy);
        let row = match remote {
            Some(mut remote) => {
                // Its content was compared with ours.
                remote.own = true;
                BaseRow {
                    key,
                    local: fingerprint,
                    remote,
                }
            }
            None => {
                let mut upload = unkept(action, Op::Upload);
                upload.key = key;
                upload.local = Some(Box::new(fingerprint));
                upload.remote = None;
                self.upload(&upload, Reading::Whole).await?
            }
        };
        self.shared.naming.settled(row.key.path.clone());
        Ok(self.base.agreed(row).await?)
    }

    /// Gives a copy of this run the next name.
    async fn move_copy(
        &self,
        taken: RelPath,
        copy: &RelPath,
        fingerprint: LocalFingerprint,
    ) -> Result<LocalFingerprint, Problem> {
        let (local, from, to) = (Arc::clone(&self.local), taken.clone(), copy.clone());
        let renamed = blocking(move || local.rename(&from, &to, &fingerprint)).await??;
        self.state.forget_conflict(&self.pair, &taken).await?;
        Ok(renamed)
    }
}

/// Lets the conflicts about one name, and about the copies beside it, be settled one after the other, and knows where
/// they have put their copies.
#[derive(Debug, Default)]
pub(super) struct Naming {
    turns: Mutex<HashMap<RelPath, Arc<tokio::sync::Mutex<()>>>>,
    copies: Mutex<HashSet<RelPath>>,
}

impl Naming {
    async fn turn(&self, path: &RelPath) -> tokio::sync::OwnedMutexGuard<()> {
        let original = merge::original_of(path).unwrap_or_else(|| path.clone());
        let turn = Arc::clone(lock(&self.turns).entry(original).or_default());
        turn.lock_owned().await
    }

    /// The copy is on both sides.
    fn settled(&self, copy: RelPath) {
        lock(&self.copies).insert(copy);
    }

    /// Whether a conflict of this run has found its copy where the plan, which was made before, saw a file to be sent or to
    /// be deleted. It is on both sides now, and it may be all that is left of what gave its name up.
    pub(super) fn has_overtaken(&self, action: &Action) -> bool {
        matches!(action.op, Op::Upload | Op::DeleteLocal)
            && lock(&self.copies).contains(&action.key.path)
    }
}

/// The same action with another operation that keeps nothing: what it displaces has its copy.
fn unkept(action: &Action, op: Op) -> Action {
    Action {
        op,
        keep_displaced: false,
        ..action.clone()
    }
}

/// Copies a local file to a name where nothing is. Blocking.
fn copy_local(
    local: &LocalFolder,
    from: &RelPath,
    to: &RelPath,
    expected: &LocalFingerprint,
    replica: &ReplicaId,
    run: &str,
) -> Result<LocalFingerprint, LocalError> {
    let io = |error| LocalError::io("copy", to, error);
    let mut source = local.open_read(from)?;
    let mut temp = local.new_copy(to, replica, &source)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = source.read(&mut buffer).map_err(io)?;
        if length == 0 {
            break;
        }
        temp.write_all(&buffer[..length]).map_err(io)?;
    }
    source.check_unchanged()?;
    if expected.blake3 != Some(temp.digest().blake3) {
        return Err(LocalError::new(LocalErrorKind::Changed, "copy", from));
    }
    let placed = temp.commit(&Commit {
        expect: Expect::Absent,
        displaced: Displace::Trash,
        run,
        mtime_ns: Some(expected.mtime_ns),
    })?;
    Ok(placed.fingerprint)
}
