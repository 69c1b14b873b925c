//! Looks at both sides and the base at once, and hands the planner one path after the other.
//!
//! The three streams arrive in the order of [`SortKey`] and are merged in lock step, so that only differences are kept in
//! memory. A remote listing that is not in this order is refused: merged with the others it would make files look absent.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use ows_providers::{Entry, EntryKind, ListOptions, Listed, Provider, RelPath, SortKey};
use tokio::sync::mpsc;

use super::audit::Audit;
use super::scope::Scope;
use crate::apply::chain;
use crate::error::{Failure, Outcome};
use crate::ids::PairId;
use crate::local::{LocalEntry, LocalFolder, LocalWalk, Observed, WalkOptions};
use crate::plan::{Planner, Rules, Side, Skipped, Triple, UnknownPaths, mailbox};
use crate::report::Reporter;
use crate::state::State;
use crate::tree::{BaseRow, RemoteStamp};

/// Items that cross from the walking thread at once.
const BATCH: usize = 256;

/// Batches between the walking thread and the merge.
const QUEUE: usize = 8;

/// Keys on one page of an S3 listing: where the listing is cut so that pages can be fetched at the same time.
const PAGE: u32 = 1000;

/// How many triples may wait for answers before some of them are answered.
pub const OPEN_AT_ONCE: usize = 4096;

/// How many paths are looked at between two words to the reporter.
const REPORT_EVERY: u64 = 500;

/// What was seen beside the paths that the planner took.
#[derive(Debug, Default)]
pub struct Seen {
    /// Files in the remote `_outbox` that take part in a drain, paths below the pair's root.
    pub outbox: Vec<Entry>,
    /// Temporary files of a dead run.
    pub leftovers: Vec<RelPath>,
    /// Links and special files that are left alone.
    pub links: Vec<Skipped>,
    /// Whether the remote holds anything at all besides `.ows`.
    pub remote_has_anything: bool,
    /// Whether it holds anything that takes part: mail and what patterns leave out are no sign that the rest was not wiped.
    pub remote_takes_part: bool,
}

/// Both sides of a pair, ready to be read.
pub struct Sides<'a> {
    /// The remote.
    pub provider: &'a dyn Provider,
    /// The local folder.
    pub local: &'a Arc<LocalFolder>,
    /// The base, where there is one that counts.
    pub base: Option<(&'a State, &'a PairId)>,
    /// What takes part.
    pub scope: &'a Arc<Scope>,
    /// What of the base is read again though it looks unchanged.
    pub audit: &'a Audit,
    /// Who listens.
    pub reporter: &'a dyn Reporter,
}

impl Sides<'_> {
    /// Reads all three trees.
    ///
    /// # Errors
    /// When one of them could not be read to its end.
    pub async fn observe(&self, rules: Rules) -> Outcome<(Planner, Seen)> {
        self.observe_in_batches(rules, async |_: &mut Planner| Ok(()))
            .await
    }

    /// The same for whoever has too much to ask to keep it all: `settle` answers what is open whenever that is
    /// [`OPEN_AT_ONCE`] triples.
    ///
    /// # Errors
    /// Those of [`Sides::observe`], and those of `settle`.
    pub async fn observe_in_batches(
        &self,
        rules: Rules,
        mut settle: impl AsyncFnMut(&mut Planner) -> Outcome<()>,
    ) -> Outcome<(Planner, Seen)> {
        let remote_folders = rules.remote_folders;
        let mut merge = Merge {
            scope: self.scope,
            audit: self.audit,
            planner: Planner::new(rules),
            seen: Seen::default(),
            local_unknown: UnknownPaths::default(),
            remote_unknown: UnknownPaths::default(),
        };
        let (walked, walking) = on_thread(walk(self.local, self.scope)?);
        let mut heads = Heads {
            local: Head::new(walked),
            remote: Head::new(self.listing().await?),
            base: Head::new(match self.base {
                Some((state, pair)) => state.base_rows(pair),
                None => futures::stream::empty().boxed(),
            }),
            remote_answered: false,
        };
        let mut count = 0_u64;
        while let Some(key) = heads.next_key(&mut merge).await? {
            let Some(triple) = heads.triple(key, &mut merge).await? else {
                continue;
            };
            merge.push(triple, remote_folders);
            if merge.planner.is_waiting_for(OPEN_AT_ONCE) {
                settle(&mut merge.planner).await?;
            }
            count += 1;
            if count.is_multiple_of(REPORT_EVERY) {
                self.reporter.observed(count);
            }
        }
        self.reporter.observed(count);
        walking.await.map_err(|error| {
            Failure::failed("an internal error cut the look at the local folder short")
                .with_source(error)
                .with_hint("nothing was changed")
        })?;
        // A folder may turn out unreadable after some of its keys have passed.
        merge.planner.leave(Side::Local, &merge.local_unknown);
        merge.planner.leave(Side::Remote, &merge.remote_unknown);
        Ok((merge.planner, merge.seen))
    }

    /// The remote, cut where the base lets expect that its pages end.
    async fn listing(&self) -> Outcome<BoxStream<'_, ows_providers::Result<Listed>>> {
        let splits = match self.base {
            Some((state, pair)) => state.base_splits(pair, PAGE).await?,
            None => Vec::new(),
        };
        Ok(self.provider.list(ListOptions {
            below: None,
            shallow: false,
            skip: RelPath::new(mailbox::OWN).into_iter().collect(),
            splits,
        }))
    }
}

/// What takes part of the local folder.
///
/// # Errors
/// When it cannot be read at all.
pub(super) fn walk(local: &LocalFolder, scope: &Arc<Scope>) -> Outcome<LocalWalk> {
    let (files, folders) = (Arc::clone(scope), Arc::clone(scope));
    let options = WalkOptions {
        below: None,
        skip_file: Box::new(move |path| !files.takes_part(path)),
        skip_folder: Box::new(move |path| folders.leaves_out(path)),
        replica: Some(scope.replica.clone()),
    };
    local.walk(options).map_err(|error| {
        Failure::failed("could not read the local folder")
            .with_path(local.path().display().to_string())
            .with_source(error)
    })
}

/// Walks on another thread. The walk is complete only if that thread ended well: what a panic cut off is not absent.
pub(super) fn on_thread(
    walk: impl Iterator<Item = Observed> + Send + 'static,
) -> (
    impl Stream<Item = Observed> + Send + Unpin,
    tokio::task::JoinHandle<()>,
) {
    let (sender, mut receiver) = mpsc::channel::<Vec<Observed>>(QUEUE);
    let walking = tokio::task::spawn_blocking(move || {
        let mut batch = Vec::with_capacity(BATCH);
        for item in walk {
            batch.push(item);
            if batch.len() == BATCH && sender.blocking_send(std::mem::take(&mut batch)).is_err() {
                // The run has ended: nobody wants to know more.
                return;
            }
        }
        if sender.blocking_send(batch).is_err() {
            tracing::debug!("the run ended before the walk did");
        }
    });
    let batches = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    (batches.map(futures::stream::iter).flatten(), walking)
}

fn listing_failed(error: ows_providers::Error) -> Failure {
    let mut failure = Failure::from(error);
    let advice = failure.hint.take();
    let unchanged = "nothing was changed: an incomplete listing is never acted on";
    failure.with_hint(advice.map_or_else(
        || unchanged.to_owned(),
        |advice| format!("{advice}; {unchanged}"),
    ))
}

fn out_of_order(key: &SortKey) -> Failure {
    Failure::failed("the remote's listing is not in order, so it cannot be trusted to be complete")
        .with_path(key.path.to_string())
        .with_hint(
            "nothing was changed; the store does not list keys in byte order, as S3 promises",
        )
}

struct Merge<'a> {
    scope: &'a Scope,
    audit: &'a Audit,
    planner: Planner,
    seen: Seen,
    local_unknown: UnknownPaths,
    remote_unknown: UnknownPaths,
}

impl Merge<'_> {
    /// Takes what is no entry. False when it is one, and stays where it is.
    fn note_local(&mut self, item: &Observed) -> bool {
        match item {
            Observed::Entry(_) => return false,
            // The walk goes there for our temporary files only.
            Observed::Unknown { path, .. } if self.scope.is_mail(path) => {}
            Observed::NotUtf8 {
                parent: Some(parent),
                ..
            } if self.scope.is_mail(parent) => {}
            Observed::Unknown { path, reason } => {
                let skipped = Skipped {
                    path: path.to_string(),
                    reason: chain(reason),
                };
                if reason.is_skipped() {
                    self.seen.links.push(skipped);
                } else {
                    self.planner.skip(skipped);
                }
                self.local_unknown.insert(path.clone());
            }
            Observed::NotUtf8 { parent, shown } => {
                let path = parent
                    .as_ref()
                    .map_or_else(|| shown.clone(), |parent| format!("{parent}/{shown}"));
                let reason = "its name is not UTF-8, so it was left alone; rename it".to_owned();
                self.planner.skip(Skipped { path, reason });
            }
            Observed::Leftover(path) => self.seen.leftovers.push(path.clone()),
        }
        true
    }

    fn note_remote(&mut self, item: &Listed) -> bool {
        match item {
            Listed::Entry(_) => return false,
            Listed::Unusable { key, reason } => {
                self.seen.remote_has_anything = true;
                self.seen.remote_takes_part = true;
                let reason = format!(
                    "this name in the remote cannot be used here ({reason}), so it was left alone"
                );
                self.planner.skip(Skipped {
                    path: key.clone(),
                    reason,
                });
                // A link in a remote folder has a path: what lies behind it is not absent.
                self.remote_unknown.extend(RelPath::new(key).ok());
            }
            Listed::Unreadable { path, error } => {
                self.seen.remote_has_anything = true;
                self.seen.remote_takes_part = true;
                let reason = format!(
                    "this folder of the remote could not be listed, so it was left alone: {error}"
                );
                self.planner.skip(Skipped {
                    path: path.to_string(),
                    reason,
                });
                self.remote_unknown.insert(path.clone());
            }
        }
        true
    }

    /// Files in `_outbox` are for the drain; the mail folders take no part otherwise.
    fn is_mail(&mut self, entry: &Entry) -> bool {
        if !self.scope.is_mail(&entry.path) {
            return false;
        }
        let below = RelPath::new(mailbox::OUTBOX)
            .ok()
            .and_then(|outbox| entry.path.strip_folder(&outbox));
        if let Some(below) = below
            && entry.kind == EntryKind::File
            && mailbox::is_deliverable(&below)
            && !self.scope.is_excluded(&entry.path)
        {
            self.seen.outbox.push(entry.clone());
        }
        true
    }

    fn push(&mut self, mut triple: Triple, remote_folders: bool) {
        let path = &triple.key.path;
        if !self.scope.takes_part(path)
            || (triple.key.kind == EntryKind::Dir && self.scope.prunes(path))
        {
            if triple.remote.is_some() {
                self.planner.occupied(Side::Remote, path);
            }
            if triple.base.is_some() {
                self.planner.forget(triple.key);
            }
            return;
        }
        if triple.key.kind == EntryKind::Dir && !remote_folders && triple.base.is_none() {
            return;
        }
        triple.audit = self.audit.asks_for(&triple);
        triple.local_unknown = self.local_unknown.covers(path);
        triple.remote_unknown = self.remote_unknown.covers(path);
        self.planner.push(triple);
    }
}

/// The next item of each of the three streams.
struct Heads<'a, L: Stream<Item = Observed>> {
    local: Head<L>,
    remote: Head<BoxStream<'a, ows_providers::Result<Listed>>>,
    base: Head<BoxStream<'static, Result<BaseRow, crate::state::StateError>>>,
    /// The remote has told something: from now on a missing folder is an error.
    remote_answered: bool,
}

impl<L: Stream<Item = Observed> + Unpin> Heads<'_, L> {
    /// The smallest key that one of the streams is at; what is no entry is noted on the way. `None` at the end of all.
    async fn next_key(&mut self, merge: &mut Merge<'_>) -> Outcome<Option<SortKey>> {
        while let Some(item) = self.local.peek().await {
            if !merge.note_local(item) {
                break;
            }
            self.local.take();
        }
        self.note_remote(merge).await;
        if let Some(Err(_)) = self.remote.peek().await
            && let Some(Err(error)) = self.remote.take()
        {
            return Err(listing_failed(error));
        }
        if let Some(Err(_)) = self.base.peek().await
            && let Some(Err(error)) = self.base.take()
        {
            return Err(error.into());
        }
        let keys = [
            local_key(&mut self.local).await,
            remote_key(&mut self.remote).await,
            base_key(&mut self.base).await,
        ];
        Ok(keys.into_iter().flatten().min())
    }

    async fn note_remote(&mut self, merge: &mut Merge<'_>) {
        while let Some(item) = self.remote.peek().await {
            match item {
                // There is no remote folder yet.
                Err(error)
                    if error.kind == ows_providers::ErrorKind::NotFound
                        && !self.remote_answered => {}
                Err(_) => return,
                Ok(listed) => {
                    self.remote_answered = true;
                    if !merge.note_remote(listed) {
                        return;
                    }
                }
            }
            self.remote.take();
        }
    }

    /// Takes what the streams hold at `key`. `None` for what is mail.
    async fn triple(&mut self, key: SortKey, merge: &mut Merge<'_>) -> Outcome<Option<Triple>> {
        let mut triple = Triple::new(key.clone());
        if local_key(&mut self.local).await.as_ref() == Some(&key)
            && let Some(Observed::Entry(entry)) = self.local.take()
        {
            triple.local = Some(entry.fingerprint);
        }
        if remote_key(&mut self.remote).await.as_ref() == Some(&key)
            && let Some(Ok(Listed::Entry(entry))) = self.remote.take()
        {
            let next = remote_key(&mut self.remote).await;
            if next.is_some_and(|next| next <= key) {
                return Err(out_of_order(&key));
            }
            merge.seen.remote_has_anything = true;
            if merge.is_mail(&entry) {
                return Ok(None);
            }
            merge.seen.remote_takes_part |= merge.scope.takes_part(&entry.path);
            triple.remote = Some(RemoteStamp::from_entry(&entry, false));
        }
        if base_key(&mut self.base).await.as_ref() == Some(&key)
            && let Some(Ok(row)) = self.base.take()
        {
            triple.base = Some(row);
        }
        Ok(Some(triple))
    }
}

/// A stream with a look at its next item.
struct Head<S: Stream> {
    stream: S,
    next: Option<S::Item>,
    ended: bool,
}

impl<S: Stream + Unpin> Head<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            next: None,
            ended: false,
        }
    }

    async fn peek(&mut self) -> Option<&S::Item> {
        if self.next.is_none() && !self.ended {
            self.next = self.stream.next().await;
            self.ended = self.next.is_none();
        }
        self.next.as_ref()
    }

    fn take(&mut self) -> Option<S::Item> {
        self.next.take()
    }
}

async fn local_key(head: &mut Head<impl Stream<Item = Observed> + Unpin>) -> Option<SortKey> {
    match head.peek().await {
        Some(Observed::Entry(LocalEntry { key, .. })) => Some(key.clone()),
        _ => None,
    }
}

async fn remote_key(
    head: &mut Head<BoxStream<'_, ows_providers::Result<Listed>>>,
) -> Option<SortKey> {
    match head.peek().await {
        Some(Ok(Listed::Entry(entry))) => Some(entry.sort_key()),
        _ => None,
    }
}

async fn base_key(
    head: &mut Head<BoxStream<'_, Result<BaseRow, crate::state::StateError>>>,
) -> Option<SortKey> {
    match head.peek().await {
        Some(Ok(row)) => Some(row.key.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_walk_that_panics_is_not_one_that_ended() {
        let walk = (0..3).map(|number| {
            assert!(number < 2, "the third item cannot be had");
            let path = RelPath::new(&format!("f{number}")).unwrap();
            Observed::Leftover(path)
        });
        let (walked, walking) = on_thread(walk);
        walked.collect::<Vec<_>>().await;
        assert!(walking.await.is_err());
    }
}
