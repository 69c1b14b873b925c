//! The way up in mirror mode: the folder beside the local one is copied into the folder of the same name in the remote.
//!
//! Each version of a file is sent once: what was sent is remembered by fingerprint and BLAKE3, also after a person
//! deleted it in the remote, and after it went away here. Nothing is ever deleted in the remote, and content there that
//! is not what this replica sent before goes to the trash first. A missing folder means that there is nothing to send;
//! it is not created, since it lies outside of the pair.
//!
//! Files are sent after the guards have spoken and before the mirror pass: a run that a guard stops sends nothing, and
//! what was sent comes down into the mirrored folder in the same run, so that the next one is quiet. A run with nothing
//! to send makes no call to the remote for it.
//!
//! A run that is killed between an upload and the record of it finds equal content in the remote the next time: that
//! counts as sent. The same holds when the database is lost.
//!
//! The folder is opened from its parent, so that a path below the parent is at the same time the path in the remote.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use ows_providers::{Enforcement, EntryKind, ErrorKind, ListOptions, Listed, RelPath, SortKey};

use super::observe::on_thread;
use super::run::{Observed, Opened, Run};
use super::{PairSettings, SyncMode, settle};
use crate::apply::{Applier, Problem, chain, sides_equal};
use crate::error::{Failure, Outcome};
use crate::local::{LocalErrorKind, LocalFolder, Observed as Looked, WalkOptions};
use crate::plan::guards::Stop;
use crate::plan::{Action, Direction, Fates, Op, Reason, Side, Skipped, UnknownPaths};
use crate::report::{ActionLine, PathProblem, Phase, Report};
use crate::tree::{BaseRow, LocalFingerprint, RemoteStamp};

/// The folder whose files are sent, if there is one.
pub(super) fn folder(settings: &PairSettings) -> Option<PathBuf> {
    let name = settings.ingest.as_ref()?;
    let parent = settings.local_path.parent()?;
    (settings.mode == SyncMode::Mirror).then(|| parent.join(name.as_str()))
}

/// Whether an unfinished upload is one of the ingest folder's, which are settled here.
pub(super) fn is_ours(settings: &PairSettings, path: &RelPath) -> bool {
    let name = settings.ingest.as_ref();
    settings.mode == SyncMode::Mirror && name.is_some_and(|name| path.is_below(name))
}

/// A file that is not known to have been sent.
struct Candidate {
    path: RelPath,
    local: LocalFingerprint,
    sent_before: Option<BaseRow>,
}

/// What is to be done.
#[derive(Default)]
struct Work {
    sends: Vec<Action>,
    /// Content that was sent already, under attributes that were not known.
    known: Vec<BaseRow>,
    skipped: Vec<Skipped>,
    failed: Vec<Skipped>,
}

impl Run<'_> {
    /// Whether this run sends the ingest folder.
    fn ingests(&self, direction: Direction) -> bool {
        folder(self.settings).is_some() && direction == Direction::Pull
    }

    /// Sends what is new, if no guard has stopped the run; then both sides are looked at again. The last value is the
    /// failure of a run that could not send everything.
    pub(super) async fn ingest(
        &self,
        opened: &Opened,
        direction: Direction,
        looked: (Observed, Option<Stop>),
        report: &mut Report,
    ) -> Outcome<(Observed, Option<Stop>, Option<Failure>)> {
        let (observed, stop) = looked;
        if stop.is_some() || !self.ingests(direction) {
            return Ok((observed, stop, None));
        }
        let Some(folder) = self.open_ingest(report)? else {
            return Ok((observed, stop, None));
        };
        let work = self.bounded(self.ingest_work(opened, &folder)).await?;
        let sends = !work.sends.is_empty();
        let failure = self.send(opened, folder, work, report).await?;
        if !sends {
            return Ok((observed, stop, failure));
        }
        let observed = self.observe(opened, direction).await?;
        let stop = self
            .bounded(self.guard(opened, direction, &observed))
            .await?;
        Ok((observed, stop, failure))
    }

    /// Adds to the report of a dry run what would be sent.
    pub(super) async fn ingest_dry(
        &self,
        opened: &Opened,
        direction: Direction,
        report: &mut Report,
    ) -> Outcome<()> {
        if !self.ingests(direction) {
            return Ok(());
        }
        let Some(folder) = self.open_ingest(report)? else {
            return Ok(());
        };
        let work = self.bounded(self.ingest_work(opened, &folder)).await?;
        let known = opened.state.enforcement(&opened.enforcement_key).await?;
        let enforcement = known.map_or_else(Enforcement::default, |(known, _)| known);
        let fates = self.fates(enforcement, false);
        for action in &work.sends {
            report.counts.add(action.op.name());
            report.actions.push(line(action, fates));
        }
        report.counts.skipped += work.skipped.len() as u64;
        report.counts.failed += work.failed.len() as u64;
        let problems = work.skipped.into_iter().chain(work.failed);
        report.errors.extend(problems.map(|skipped| PathProblem {
            path: skipped.path,
            message: skipped.reason,
        }));
        Ok(())
    }

    /// Opens the parent of the ingest folder; `None` when there is nothing to send.
    fn open_ingest(&self, report: &mut Report) -> Outcome<Option<Arc<LocalFolder>>> {
        let (Some(name), Some(path)) = (&self.settings.ingest, folder(self.settings)) else {
            return Ok(None);
        };
        let failed = |error| {
            Failure::failed("could not open the ingest folder")
                .with_path(path.display().to_string())
                .with_source(error)
                .with_hint("check its permissions, or set `ingest: false`; nothing was sent")
        };
        let Some(parent) = path.parent() else {
            return Ok(None);
        };
        let mut folder = LocalFolder::open(parent).map_err(failed)?;
        // Links are followed, if at all, inside the workspace; a folder beside the workspace has none to follow.
        if self.settings.copy_symlinks && parent.starts_with(&self.settings.workspace) {
            folder = folder
                .following_links(&self.settings.workspace)
                .map_err(failed)?;
        }
        match folder.observe(name) {
            None => Ok(None),
            Some(Looked::Entry(entry)) if entry.key.kind == EntryKind::Dir => {
                Ok(Some(Arc::new(folder)))
            }
            Some(other) => {
                let what = match other {
                    Looked::Unknown { reason, .. } => chain(&reason),
                    _ => "it is no folder".to_owned(),
                };
                report.warnings.push(format!(
                    "nothing was sent from the ingest folder `{}`: {what}",
                    path.display()
                ));
                Ok(None)
            }
        }
    }

    /// Finds what is to be sent. The remote is asked only when there may be something.
    async fn ingest_work(&self, opened: &Opened, folder: &Arc<LocalFolder>) -> Outcome<Work> {
        let mut work = Work::default();
        let candidates = self.ingest_candidates(opened, folder, &mut work).await?;
        let mut unsent = Vec::new();
        for candidate in candidates {
            match &candidate.sent_before {
                Some(row) if row.local.size == candidate.local.size => {
                    match settle::hash_local(Arc::clone(folder), candidate.path.clone()).await {
                        Err(reason) => work.failed.push(left(&candidate.path, reason)),
                        Ok((local, _)) if local.blake3 == row.local.blake3 => {
                            let row = BaseRow {
                                local,
                                ..row.clone()
                            };
                            work.known.push(row);
                        }
                        Ok((local, _)) => unsent.push(Candidate { local, ..candidate }),
                    }
                }
                _ => unsent.push(candidate),
            }
        }
        if unsent.is_empty() {
            return Ok(work);
        }
        let (remote, unknown) = self.ingest_remote(&unsent).await?;
        for candidate in unsent {
            if unknown.covers(&candidate.path) {
                let reason = "its folder in the remote could not be listed, so it was not sent";
                work.skipped.push(left(&candidate.path, reason.to_owned()));
                continue;
            }
            let there = remote.get(&candidate.path).cloned();
            self.decide(folder, candidate, there, &mut work).await;
        }
        Ok(work)
    }

    /// The files that are not known to have been sent as they are: by their attributes, where these prove it.
    async fn ingest_candidates(
        &self,
        opened: &Opened,
        folder: &Arc<LocalFolder>,
        work: &mut Work,
    ) -> Outcome<Vec<Candidate>> {
        let (files, folders) = (Arc::clone(&opened.scope), Arc::clone(&opened.scope));
        let walk = folder.walk(WalkOptions {
            below: self.settings.ingest.clone(),
            skip_file: Box::new(move |path| !files.takes_part(path)),
            skip_folder: Box::new(move |path| folders.prunes(path)),
            replica: None,
        });
        let walk = match walk {
            Ok(walk) => walk,
            // It went away since it was looked at.
            Err(error) if error.kind == LocalErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(Failure::failed("could not read the ingest folder").with_source(error));
            }
        };
        let (mut walked, walking) = on_thread(walk);
        let mut rows = SentRows::new(opened);
        let mut candidates = Vec::new();
        while let Some(item) = walked.next().await {
            match item {
                Looked::Entry(entry) if entry.key.kind == EntryKind::File => {
                    let row = rows.find(&entry.key.path).await?;
                    let same = |row: &BaseRow| {
                        row.local.trusted() && row.local.same_attributes(&entry.fingerprint)
                    };
                    if !row.as_ref().is_some_and(same) {
                        candidates.push(Candidate {
                            path: entry.key.path,
                            local: entry.fingerprint,
                            sent_before: row,
                        });
                    }
                }
                // Links are left alone by design, as in a push.
                Looked::Unknown { reason, .. } if reason.is_skipped() => {}
                Looked::Unknown { path, reason } => work.skipped.push(left(&path, chain(&reason))),
                Looked::NotUtf8 { parent, shown } => {
                    let path = parent.map_or_else(|| shown.clone(), |at| format!("{at}/{shown}"));
                    work.skipped.push(Skipped {
                        path,
                        reason: "its name is not UTF-8, so it was not sent; rename it".to_owned(),
                    });
                }
                Looked::Entry(_) | Looked::Leftover(_) => {}
            }
        }
        walking.await.map_err(|error| {
            Failure::failed("an internal error cut the look at the ingest folder short")
                .with_source(error)
        })?;
        Ok(candidates)
    }

    /// What the remote holds under the names of the candidates.
    async fn ingest_remote(
        &self,
        candidates: &[Candidate],
    ) -> Outcome<(HashMap<RelPath, RemoteStamp>, UnknownPaths)> {
        let mut found = HashMap::new();
        let mut unknown = UnknownPaths::default();
        let wanted: std::collections::HashSet<&RelPath> =
            candidates.iter().map(|candidate| &candidate.path).collect();
        let mut listing = self.settings.provider.list(ListOptions {
            below: self.settings.ingest.clone(),
            ..ListOptions::default()
        });
        while let Some(item) = listing.next().await {
            match item {
                Ok(Listed::Entry(entry)) if entry.kind == EntryKind::File => {
                    if wanted.contains(&entry.path) {
                        let stamp = RemoteStamp::from_entry(&entry, false);
                        found.insert(entry.path, stamp);
                    }
                }
                Ok(Listed::Entry(_)) => {}
                Ok(Listed::Unusable { key, .. }) => unknown.extend(RelPath::new(&key).ok()),
                Ok(Listed::Unreadable { path, .. }) => unknown.insert(path),
                Err(error) if error.kind == ErrorKind::NotFound => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((found, unknown))
    }

    /// Decides about one file that was not sent as it is.
    async fn decide(
        &self,
        folder: &Arc<LocalFolder>,
        candidate: Candidate,
        there: Option<RemoteStamp>,
        work: &mut Work,
    ) {
        let provider = self.settings.provider.as_ref();
        let path = &candidate.path;
        if let Some(objection) = provider.capabilities().names.objection(path) {
            let reason = format!("the remote cannot store this name: {objection}");
            return work.skipped.push(left(path, reason));
        }
        let sent = candidate.sent_before.as_ref().map(|row| &row.remote);
        let is_ours =
            matches!((sent, &there), (Some(sent), Some(there)) if sent.same_version(there));
        if let Some(remote) = there
            .as_ref()
            .filter(|there| !is_ours && there.size == candidate.local.size)
        {
            let (local, hashes) = match settle::hash_local(Arc::clone(folder), path.clone()).await {
                Ok(hashed) => hashed,
                Err(reason) => return work.failed.push(left(path, reason)),
            };
            match sides_equal(provider, path, remote, &hashes).await {
                Ok(true) => {
                    let remote = RemoteStamp {
                        own: true,
                        ..remote.clone()
                    };
                    let key = SortKey::file(path.clone());
                    return work.known.push(BaseRow { key, local, remote });
                }
                Ok(false) => {}
                Err(error) => {
                    let reason = format!("what the remote holds could not be compared: {error}");
                    return work.failed.push(left(path, reason));
                }
            }
        }
        let reason = match (&there, is_ours) {
            (None, _) if candidate.sent_before.is_none() => Reason::New(Side::Local),
            (Some(_), false) => Reason::Differs(Side::Remote),
            _ => Reason::Changed(Side::Local),
        };
        work.sends.push(Action {
            key: SortKey::file(candidate.path),
            op: Op::Upload,
            reason,
            local: Some(Box::new(candidate.local)),
            keep_displaced: there.is_some() && !is_ours,
            remote: there.map(Box::new),
            base: None,
            is_known: candidate.sent_before.is_some(),
            changed: crate::plan::Changed::default(),
        });
    }

    /// Sends, and records what was sent. The answer is the failure of a run that could not send everything.
    async fn send(
        &self,
        opened: &Opened,
        folder: Arc<LocalFolder>,
        work: Work,
        report: &mut Report,
    ) -> Outcome<Option<Failure>> {
        let state = &opened.state;
        self.bounded(self.give_up_stale(opened, &work.sends))
            .await?;
        if !work.known.is_empty() {
            state.record_ingested(&opened.pair.id, &work.known).await?;
        }
        let enforcement = if work.sends.is_empty() {
            Enforcement::default()
        } else {
            self.enforcement(opened).await?
        };
        let writer = state.base_writer(&opened.pair.id, &self.id);
        let mut applier = self.applier(opened, enforcement, writer.handle(), None, false);
        applier.local = folder;
        // Nothing is deleted, so nothing hangs on what is absent.
        applier.root_is_there = Box::new(|| true);
        let applier = Arc::new(applier);
        for skipped in work.skipped {
            applier.tally().left(&skipped.path, skipped.reason);
        }
        for skipped in work.failed {
            applier.tally().failed(&skipped.path, skipped.reason);
        }
        if !work.sends.is_empty() {
            self.reporter.phase(Phase::Applying);
            let bytes = work.sends.iter().map(Action::bytes).sum();
            self.reporter.planned(work.sends.len() as u64, bytes);
        }
        let sent = self.send_all(opened, &applier, work.sends).await;
        // It was handed out and never used: the base knows nothing of what is sent.
        let finished = writer.finish().await;
        let failure = applier.tally().partial();
        self.add_up(&applier, report);
        sent?;
        finished?;
        Ok(failure)
    }

    async fn send_all(
        &self,
        opened: &Opened,
        applier: &Arc<Applier>,
        actions: Vec<Action>,
    ) -> Outcome<()> {
        let changing = self.send_batch(opened, applier, actions, false).await?;
        // They have had time to come to rest.
        self.send_batch(opened, applier, changing, true).await?;
        Ok(())
    }

    /// Sends side by side. Gives the files that changed while they were read.
    async fn send_batch(
        &self,
        opened: &Opened,
        applier: &Arc<Applier>,
        actions: Vec<Action>,
        last_try: bool,
    ) -> Outcome<Vec<Action>> {
        let no_room = AtomicBool::new(false);
        let no_room = &no_room;
        let mut changing = Vec::new();
        let mut running = futures::stream::iter(actions.into_iter().map(|action| async move {
            if no_room.load(Ordering::Relaxed) {
                let text = "not sent: the remote has no room; free space there and run again";
                return (action, Some(Err(Problem::Failed(text.to_owned()))));
            }
            let sent = send_one(opened, applier, &action, last_try);
            let result = applier.cancel.unless_stopped(sent).await;
            if matches!(result, Some(Err(Problem::Quota(_)))) {
                no_room.store(true, Ordering::Relaxed);
            }
            (action, result)
        }))
        .buffer_unordered(applier.transfers.max(1));
        // Nothing may be awaited in here: the sends stand still meanwhile, and one of them may hold the database.
        while let Some((action, result)) = running.next().await {
            let path = action.key.path.to_string();
            match result {
                None | Some(Err(Problem::Stopped)) => return Err(applier.cancel.failure()),
                Some(Ok(())) => count(applier, &action),
                Some(Err(Problem::Fatal(failure))) => return Err(failure),
                Some(Err(Problem::Changing)) if !last_try => changing.push(action),
                Some(Err(Problem::Changing)) => applier.tally().left(
                    &path,
                    "it kept changing while it was read; the next run tries again".to_owned(),
                ),
                Some(Err(Problem::Left(text))) => applier.tally().left(&path, text),
                Some(Err(Problem::Failed(text) | Problem::Quota(text))) => {
                    applier.tally().failed(&path, text);
                }
            }
        }
        Ok(changing)
    }

    /// Aborts uploads in parts that nobody will go on with: the file changed or went away since they were begun.
    async fn give_up_stale(&self, opened: &Opened, sends: &[Action]) -> Outcome<()> {
        for stored in opened.state.uploads(&opened.pair.id).await? {
            let upload = &stored.record.upload;
            let goes_on = sends.iter().any(|action| {
                action.key.path == upload.path && Some(action.bytes()) == upload.size
            });
            if goes_on || !is_ours(self.settings, &upload.path) {
                continue;
            }
            match self.settings.provider.abort_upload(upload).await {
                Ok(()) => opened.state.forget_upload(stored.id).await?,
                Err(error) => self.reporter.warning(&format!(
                    "could not give up an unfinished upload; the next run tries again: {error}"
                )),
            }
        }
        Ok(())
    }
}

/// Sends one file and remembers it.
async fn send_one(
    opened: &Opened,
    applier: &Arc<Applier>,
    action: &Action,
    last_try: bool,
) -> Result<(), Problem> {
    let row = applier.send(action, last_try).await?;
    let rows = std::slice::from_ref(&row);
    Ok(opened.state.record_ingested(&opened.pair.id, rows).await?)
}

fn left(path: &RelPath, reason: String) -> Skipped {
    Skipped {
        path: path.to_string(),
        reason,
    }
}

/// The words of this module: the files are no part of the workspace.
fn line(action: &Action, fates: Fates) -> ActionLine {
    let reason = match action.reason {
        Reason::Differs(_) => format!(
            "in the ingest folder; the remote holds other content, which {}",
            fates.remote.clause()
        ),
        Reason::Changed(_) => "changed in the ingest folder".to_owned(),
        _ => "new in the ingest folder".to_owned(),
    };
    ActionLine {
        op: action.op.name().to_owned(),
        path: action.key.path.to_string(),
        bytes: action.bytes(),
        reason,
    }
}

fn count(applier: &Applier, action: &Action) {
    let line = line(action, applier.fates);
    applier.reporter.done(&line);
    let mut tally = applier.tally();
    tally.counts.add(&line.op);
    tally.bytes.up += line.bytes;
    if action.keep_displaced {
        let text = format!("`{}`: {}", line.path, line.reason);
        tally.warnings.push(text);
    }
    if applier.keep_actions {
        tally.actions.push(line);
    }
}

/// What was sent before, read page by page beside the walk, which comes in the same order.
struct SentRows<'a> {
    opened: &'a Opened,
    page: VecDeque<BaseRow>,
    last: Option<RelPath>,
    ended: bool,
}

impl<'a> SentRows<'a> {
    fn new(opened: &'a Opened) -> Self {
        Self {
            opened,
            page: VecDeque::new(),
            last: None,
            ended: false,
        }
    }

    /// The row of a path. Paths must be asked for in order.
    async fn find(&mut self, path: &RelPath) -> Outcome<Option<BaseRow>> {
        loop {
            while let Some(row) = self.page.front() {
                match row.key.path.as_str().cmp(path.as_str()) {
                    std::cmp::Ordering::Less => drop(self.page.pop_front()),
                    std::cmp::Ordering::Equal => return Ok(self.page.pop_front()),
                    std::cmp::Ordering::Greater => return Ok(None),
                }
            }
            if self.ended {
                return Ok(None);
            }
            let state = &self.opened.state;
            let page = state
                .ingested_after(&self.opened.pair.id, self.last.as_ref())
                .await?;
            self.ended = page.is_empty();
            self.last = page.last().map(|row| row.key.path.clone());
            self.page = page.into();
        }
    }
}
