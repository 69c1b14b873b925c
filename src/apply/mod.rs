//! Carries a plan out: phases in order, bounded concurrency, a check before each act and after it, a commit per action.
//!
//! What an action relies on is what was observed for it. Every remote change is conditional on the observed version, and
//! every local change re-checks the observed fingerprint right before its rename, so whoever loses a race is left for
//! the next run. Nothing is displaced before it lies in the trash, except the very version that this replica itself
//! wrote or read last. The base learns of an action only after both sides were seen to hold its result.
//!
//! Why an action exists is the planner's affair.

mod buffers;
mod compare;
mod conditions;
mod conflict;
mod fetch;
mod links;
mod moves;
mod outcome;
mod parts;
mod patterns;
mod remove;
mod source;
mod upload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ows_providers::{Enforcement, EntryKind, Provider, SortKey};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cancel::Cancel;
use crate::error::Failure;
use crate::ids::{PairId, RunId};
use crate::local::{LocalFolder, ReplicaId, is_half_of_database};
use crate::plan::{Action, Fates, Op, Plan, Record, Side, merge};
use crate::report::{ActionLine, Reporter};
use crate::state::{BaseHandle, State};
use crate::tree::{BaseRow, LocalFingerprint, RemoteStamp};

pub use compare::sides_equal;
pub use conditions::Conditional;
pub use fetch::{Fetched, Landing, fetch};
pub use outcome::{Problem, Tally, chain, partial};

/// How many deletes are carried out between two looks at the replica marker.
const DELETE_BATCH: usize = 64;

/// Intent: an upload in parts is being begun for the named path.
pub const INTENT_UPLOAD: &str = "upload";

/// Intent: files are being delivered into `_inbox`, where no run looks otherwise; temporary files may lie there.
pub const INTENT_DRAIN: &str = "drain";

/// Memory for content in flight, in KiB: whatever the number of transfers, no more than this is held at once.
const BUDGET_KIB: u32 = 48 * 1024;

/// Says whether this run may still change the remote: another host may have taken over while this one was suspended.
#[async_trait]
pub trait Permit: Send + Sync {
    /// Called before each change of the remote. Costs nothing while the answer is known.
    ///
    /// # Errors
    /// When it may not, or it cannot be found out: the run ends.
    async fn confirm(&self) -> Result<(), Failure>;
}

/// Everything that an action needs. Shared by the tasks of one run.
pub struct Applier {
    /// The remote.
    pub provider: Arc<dyn Provider>,
    /// The local folder.
    pub local: Arc<LocalFolder>,
    /// The database.
    pub state: State,
    /// Which pair this is.
    pub pair: PairId,
    /// Which run this is.
    pub run: RunId,
    /// Which pass of the run, from 1.
    pub pass: u32,
    /// Which replica this is.
    pub replica: ReplicaId,
    /// Where agreed rows go.
    pub base: BaseHandle,
    /// Which conditions the remote enforces.
    pub enforcement: Enforcement,
    /// What becomes of displaced content: what goes to `.ows/trash` is copied, or moved, there first.
    pub fates: Fates,
    /// Files in flight at once.
    pub transfers: usize,
    /// Keep a line for each action; with a million of them that is a lot of memory.
    pub keep_actions: bool,
    /// Who listens.
    pub reporter: Arc<dyn Reporter>,
    /// What stops the run.
    pub cancel: Cancel,
    /// Says whether the remote may still be changed; `None` where nobody else is kept from changing it.
    pub permit: Option<Arc<dyn Permit>>,
    /// Says whether the local folder is still the one that the base belongs to.
    pub root_is_there: Box<dyn Fn() -> bool + Send + Sync>,
    /// What the tasks share beside the handles; begins empty.
    pub shared: Shared,
}

/// What the tasks share beside the handles.
pub struct Shared {
    budget: Arc<Semaphore>,
    buffers: Arc<buffers::Buffers>,
    hashing: Semaphore,
    tally: Mutex<Tally>,
    uploads_stopped: AtomicBool,
    brings_back: AtomicBool,
    fatal: Mutex<Option<Failure>>,
    deferred: Mutex<Vec<Action>>,
    naming: conflict::Naming,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            budget: Arc::new(Semaphore::new(BUDGET_KIB as usize)),
            buffers: Arc::default(),
            hashing: Semaphore::new(
                std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            ),
            tally: Mutex::new(Tally::default()),
            uploads_stopped: AtomicBool::new(false),
            brings_back: AtomicBool::new(false),
            fatal: Mutex::new(None),
            deferred: Mutex::new(Vec::new()),
            naming: conflict::Naming::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A task that panicked while it counted has not left the count in a state that matters.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Applier {
    /// Carries out the whole plan. Problems of single paths are in the tally; an error is what ended the run.
    ///
    /// # Errors
    /// The failure that made it impossible to go on: the database, the credentials, a vanished folder, a stop.
    pub async fn run(self: &Arc<Self>, plan: Plan) -> Result<(), Failure> {
        for record in plan.records {
            let recorded = match record {
                Record::Agree(row) => self.base.agreed(*row).await,
                Record::Stored {
                    key,
                    modified_at_ns,
                } => self.base.stored(key, modified_at_ns).await,
                Record::Forget(key) => self.base.forget(key).await,
            };
            recorded.map_err(Failure::from)?;
        }
        for skipped in plan.skipped {
            lock(&self.shared.tally).left(&skipped.path, skipped.reason);
        }
        lock(&self.shared.tally).counts.unchanged = plan.unchanged;
        self.shared
            .brings_back
            .store(plan.brings_back, Ordering::Relaxed);
        self.in_batches(plan.clears).await?;
        self.one_by_one(plan.create_dirs).await?;
        self.check_root()?;
        self.side_by_side(plan.moves).await?;
        self.side_by_side(plan.transfers).await?;
        self.try_deferred().await?;
        self.side_by_side(plan.conflicts).await?;
        self.in_batches(plan.deletes).await
    }

    /// Uploads one file and gives what both sides hold then; the base is not told. On the `last_try` the file may have
    /// grown meanwhile: what it held when it was opened is sent.
    ///
    /// # Errors
    /// [`Problem`]; [`Problem::Changing`] is worth a last try.
    pub async fn send(
        self: &Arc<Self>,
        action: &Action,
        last_try: bool,
    ) -> Result<BaseRow, Problem> {
        let reading = if last_try {
            source::Reading::Prefix
        } else {
            source::Reading::Whole
        };
        self.upload(action, reading).await
    }

    /// What it added up to.
    pub fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        lock(&self.shared.tally)
    }

    /// Takes room for `bytes` of content in memory; a transfer larger than the budget takes all of it.
    async fn hold(&self, bytes: u64) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
        let kib = u32::try_from(bytes.div_ceil(1024).max(1))
            .unwrap_or(u32::MAX)
            .min(BUDGET_KIB);
        Arc::clone(&self.shared.budget)
            .acquire_many_owned(kib)
            .await
            .map_err(|_| Problem::Stopped)
    }

    /// Whether this run may still change the remote; when it may not, it ends.
    ///
    /// # Errors
    /// [`Permit::confirm`].
    pub async fn may_write(&self) -> Result<(), Failure> {
        match &self.permit {
            None => Ok(()),
            Some(permit) => permit.confirm().await,
        }
    }

    /// The volume may have gone away in mid-run: then absence means nothing, and nothing more is changed.
    fn check_root(&self) -> Result<(), Failure> {
        if (self.root_is_there)() {
            return Ok(());
        }
        Err(Failure::failed(
            "the local folder went away or was replaced while the run was under way",
        )
        .with_path(self.local.path().display().to_string())
        .with_hint("nothing more was changed; bring the folder back and run again"))
    }

    /// Deletes: the marker of the local folder is looked at before each batch.
    async fn in_batches(self: &Arc<Self>, actions: Vec<Action>) -> Result<(), Failure> {
        // What lies in a folder goes before the folder, so files first, then folders from the inside out.
        let (files, folders): (Vec<_>, Vec<_>) = actions
            .into_iter()
            .partition(|action| action.key.kind == EntryKind::File);
        // While the other half of a database is there it counts as open.
        let (halves, files): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|action| is_half_of_database(&action.key.path));
        for files in [halves, files] {
            let mut files = files.into_iter();
            loop {
                let batch: Vec<_> = files.by_ref().take(DELETE_BATCH).collect();
                if batch.is_empty() {
                    break;
                }
                self.check_root()?;
                self.side_by_side(batch).await?;
            }
        }
        self.one_by_one(folders).await
    }

    async fn one_by_one(self: &Arc<Self>, actions: Vec<Action>) -> Result<(), Failure> {
        for action in actions {
            Arc::clone(self).act(action, source::Reading::Whole).await;
            self.go_on()?;
        }
        Ok(())
    }

    async fn side_by_side(self: &Arc<Self>, actions: Vec<Action>) -> Result<(), Failure> {
        let mut tasks = JoinSet::new();
        let mut result = Ok(());
        for action in actions {
            while tasks.len() >= self.transfers {
                self.ended(tasks.join_next().await);
            }
            result = self.go_on();
            if result.is_err() {
                break;
            }
            let applier = Arc::clone(self);
            tasks.spawn(async move { applier.act(action, source::Reading::Whole).await });
        }
        while let Some(ended) = tasks.join_next().await {
            self.ended(Some(ended));
        }
        result.and_then(|()| self.go_on())
    }

    /// A task reports by itself, unless it panicked: then nobody knows what it has done, and the run ends.
    fn ended(&self, ended: Option<Result<(), tokio::task::JoinError>>) {
        if let Some(Err(error)) = ended {
            lock(&self.shared.fatal).get_or_insert_with(|| {
                Failure::failed("an internal error ended the work on a path").with_source(error)
            });
        }
    }

    /// Files that changed while they were read have had time to come to rest. One that still grows is uploaded as far as
    /// it went when it was opened.
    async fn try_deferred(self: &Arc<Self>) -> Result<(), Failure> {
        let deferred = std::mem::take(&mut *lock(&self.shared.deferred));
        for action in deferred {
            Arc::clone(self).act(action, source::Reading::Prefix).await;
            self.go_on()?;
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), Failure> {
        if let Some(failure) = lock(&self.shared.fatal).take() {
            return Err(failure);
        }
        if self.cancel.is_stopped() {
            return Err(self.cancel.failure());
        }
        Ok(())
    }

    async fn act(self: Arc<Self>, action: Action, reading: source::Reading) {
        if self.shared.naming.has_overtaken(&action) {
            return;
        }
        if action.op == Op::Upload && self.shared.uploads_stopped.load(Ordering::Relaxed) {
            let text =
                "not uploaded: the remote has no room; free space there and run again".to_owned();
            lock(&self.shared.tally).failed(action.key.path.as_str(), text);
            return;
        }
        let result = self
            .cancel
            .unless_stopped(self.carry_out(&action, reading))
            .await;
        let problem = match result {
            None => return,
            Some(Ok(())) => return self.count(&action),
            Some(Err(problem)) => problem,
        };
        let path = action.key.path.to_string();
        match problem {
            Problem::Stopped => {}
            Problem::Changing if reading == source::Reading::Whole && action.op == Op::Upload => {
                lock(&self.shared.deferred).push(action);
            }
            Problem::Changing => lock(&self.shared.tally).left(
                &path,
                "it kept changing while it was read; the next run tries again".into(),
            ),
            Problem::Left(text) => lock(&self.shared.tally).left(&path, text),
            Problem::Failed(text) => lock(&self.shared.tally).failed(&path, text),
            Problem::Quota(text) => {
                self.shared.uploads_stopped.store(true, Ordering::Relaxed);
                lock(&self.shared.tally).failed(&path, text);
            }
            Problem::Fatal(failure) => {
                lock(&self.shared.fatal).get_or_insert(failure);
            }
        }
    }

    async fn carry_out(
        self: &Arc<Self>,
        action: &Action,
        reading: source::Reading,
    ) -> Result<(), Problem> {
        tracing::debug!(op = action.op.name(), path = %action.key.path, "begin");
        if action.op.writes_to() == Side::Remote {
            self.may_write().await?;
        }
        self.leads_through_no_link(action).await?;
        self.patterns_stay_usable(action).await?;
        let path = &action.key.path;
        match &action.op {
            Op::Upload => {
                self.base
                    .agreed(self.upload(action, reading).await?)
                    .await?
            }
            // Where the remote cannot keep two hosts from giving two copies one name, this is where the other one is lost.
            Op::Download if merge::original_of(path).is_some() => {
                let kept = Action {
                    keep_displaced: true,
                    ..action.clone()
                };
                self.base.agreed(self.download(&kept).await?).await?
            }
            Op::Download => self.base.agreed(self.download(action).await?).await?,
            Op::MoveRemote { from, old } => {
                let row = self.move_remote(action, from, old).await?;
                self.renamed(row, &old.key).await?;
            }
            Op::MoveLocal { from, old } => {
                let row = self.move_local(action, from, old).await?;
                self.renamed(row, &old.key).await?;
            }
            Op::DeleteLocal => {
                let gone = self.delete_local(action).await?;
                self.deleted(action, gone).await?;
            }
            Op::DeleteRemote => {
                let gone = self.delete_remote(action).await?;
                self.deleted(action, gone).await?;
            }
            Op::Conflict { keeps } => self.conflict(action, *keeps).await?,
            Op::CreateDirLocal => {
                self.create_dir_local(path).await?;
                self.base.agreed(folder_row(&action.key, action)).await?;
            }
            Op::CreateDirRemote => {
                self.provider.create_dir(path).await?;
                self.base.agreed(folder_row(&action.key, action)).await?;
            }
        }
        Ok(())
    }

    /// The new name first: of two rows the next run makes the right thing, of none a file that is new on both sides.
    async fn renamed(&self, row: BaseRow, from: &SortKey) -> Result<(), Problem> {
        self.base.agreed(row).await?;
        Ok(self.base.forget(from.clone()).await?)
    }

    /// What a delete leaves of the base row. A folder in which something stayed is there on both sides again, where both
    /// may change: else the next run would take it for a new one.
    async fn deleted(&self, action: &Action, gone: bool) -> Result<(), Problem> {
        if gone || !self.shared.brings_back.load(Ordering::Relaxed) {
            return Ok(self.base.forget(action.key.clone()).await?);
        }
        if action.op.writes_to() == Side::Local {
            self.may_write().await?;
            self.provider.create_dir(&action.key.path).await?;
        } else {
            self.create_dir_local(&action.key.path).await?;
        }
        Ok(self.base.agreed(folder_row(&action.key, action)).await?)
    }

    fn count(&self, action: &Action) {
        let line = ActionLine {
            op: action.op.name().to_owned(),
            path: action.key.path.to_string(),
            bytes: action.bytes(),
            reason: action.told(self.fates),
        };
        self.reporter.done(&line);
        let mut tally = lock(&self.shared.tally);
        if action.key.kind == EntryKind::File {
            tally.counts.add(&line.op);
        }
        let (up, down) = action.bytes_each_way();
        tally.bytes.up += up;
        tally.bytes.down += down;
        if action.reason.is_surprise() {
            tally
                .warnings
                .push(format!("`{}`: {}", line.path, line.reason));
        }
        tally.warnings.extend(patterns::warning(action));
        if self.keep_actions {
            tally.actions.push(line);
        }
    }
}

/// The row of a folder: that it is there is all that is agreed.
fn folder_row(key: &SortKey, action: &Action) -> BaseRow {
    let local = action
        .local
        .as_deref()
        .cloned()
        .unwrap_or(LocalFingerprint {
            size: 0,
            mtime_ns: 0,
            ctime_ns: 0,
            inode: 0,
            blake3: None,
            observed_at_ns: 0,
        });
    let remote = action.remote.as_deref().cloned().unwrap_or(RemoteStamp {
        size: 0,
        version: None,
        modified_at_ns: None,
        mtime_ns: None,
        hash: None,
        id: None,
        own: true,
        stored_by_ns: None,
    });
    BaseRow {
        key: key.clone(),
        local,
        remote,
    }
}
