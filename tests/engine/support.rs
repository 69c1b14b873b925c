//! A pair for tests: a store in memory with a script of faults, a local folder, a database; and what is in all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ows::cancel::Cancel;
use ows::error::FailureKind;
use ows::plan::guards::GuardName;
use ows::plan::{Direction, Resolve};
use ows::report::{Counts, Silent};
use ows::sync::{Finished, FirstSync, PairSettings, SyncMode, SyncOptions, sync};
use ows_providers::ErrorKind;
use ows_providers::layers::{CallCounter, FaultSet, Faults};
use ows_providers::memory::{MemoryOptions, MemoryStore};
use ows_testkit::tree::{Files, OwsFolder, TempTree, read_files};

/// What a network does.
pub const TRANSIENT: ErrorKind = ErrorKind::Transient { after: None };

/// No run takes longer than this unless it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

pub struct Pair {
    pub store: MemoryStore,
    pub faults: Arc<FaultSet>,
    pub local: TempTree,
    pub state: TempTree,
    pub settings: PairSettings,
}

impl Pair {
    /// A pair that was never synced, with these local files.
    pub fn new(options: MemoryOptions, files: &[(&str, &str)]) -> Self {
        Self::at(MemoryStore::new(options), files)
    }

    /// Another host at the remote of `other`: its own folder with these files, its own database.
    pub fn joined(other: &Self, files: &[(&str, &str)]) -> Self {
        Self::at(other.store.clone(), files)
    }

    fn at(store: MemoryStore, files: &[(&str, &str)]) -> Self {
        let faults = FaultSet::new();
        let local = TempTree::in_memory();
        for (path, content) in files {
            local.write(path, content);
        }
        let state = TempTree::in_memory();
        let counter = CallCounter::new();
        let counted = store.counted_provider(Arc::clone(&counter));
        let settings = PairSettings {
            mode: SyncMode::Mailbox,
            provider: Arc::new(Faults::new(Arc::new(counted), Arc::clone(&faults))),
            counter,
            local_path: local.path().to_owned(),
            workspace: local.path().to_owned(),
            own_dir: state.join("ows"),
            exclude: vec![".DS_Store".to_owned()],
            remote_folder: None,
            backup_folder: None,
            ingest: None,
            protected: Vec::new(),
            copy_symlinks: false,
            max_delete: 50,
            max_change: 100,
            first_sync: FirstSync::Ask,
            conflict_resolve: Resolve::Newer,
            trash_remote: true,
            trash_local: true,
            trash_keep_days: 30,
            checkpoint: true,
            settle: 0,
            transfers: None,
            audit_days: Some(7),
            timeout: Duration::from_secs(1800),
        };
        Self {
            store,
            faults,
            local,
            state,
            settings,
        }
    }

    /// A pair whose files were pushed by a first run.
    pub async fn synced(options: MemoryOptions, files: &[(&str, &str)]) -> Self {
        let pair = Self::new(options, files);
        clean(&pair.sync().await);
        pair.later();
        pair
    }

    /// What happens next, happens later by the provider's clock.
    pub fn later(&self) {
        self.store.advance(Duration::from_secs(2));
    }

    pub async fn sync(&self) -> Finished {
        self.run(SyncOptions::default()).await
    }

    pub async fn directed(&self, direction: Direction) -> Finished {
        self.run(SyncOptions {
            direction: Some(direction),
            ..SyncOptions::default()
        })
        .await
    }

    pub async fn forced(&self, guards: &[GuardName]) -> Finished {
        self.run(SyncOptions {
            force: guards.iter().copied().collect(),
            ..SyncOptions::default()
        })
        .await
    }

    pub async fn run(&self, options: SyncOptions) -> Finished {
        self.run_until(options, Cancel::new()).await
    }

    pub async fn run_until(&self, options: SyncOptions, cancel: Cancel) -> Finished {
        self.settings.counter.reset();
        let run = sync(&self.settings, &options, Arc::new(Silent), cancel);
        tokio::time::timeout(HANGS_AFTER, run)
            .await
            .expect("the run ends")
    }

    /// The run that follows a clean one does nothing, and asks for nothing but a listing.
    pub async fn assert_quiet(&self) {
        self.later();
        let finished = self.sync().await;
        clean(&finished);
        let counts = Counts {
            unchanged: finished.report.counts.unchanged,
            ..Counts::default()
        };
        assert_eq!(finished.report.counts, counts, "nothing is left to do");
        let calls = calls(&finished);
        assert!(
            calls.iter().all(|(name, _)| *name == "list"),
            "a listing is enough: {calls:?}"
        );
    }

    /// Both sides hold the same, nothing is left behind, and the next run is quiet.
    pub async fn assert_converged(&self) {
        assert_eq!(self.remote(), self.workspace(), "remote and workspace");
        self.assert_nothing_left_behind();
        self.assert_quiet().await;
    }

    pub fn assert_nothing_left_behind(&self) {
        assert_eq!(self.store.uploads(), [], "unfinished uploads");
        let probes: Vec<_> = self.store.files().into_keys().collect();
        assert!(
            probes.iter().all(|path| !path.starts_with(".ows/probe")),
            "{probes:?}"
        );
        let local = read_files(self.local.path(), OwsFolder::Include);
        let temporary = |path: &&String| path.contains(".ows-tmp-") || path.ends_with(".new");
        assert_eq!(local.keys().find(temporary), None, "temporary files");
    }

    /// What takes part in the push, on the local side.
    pub fn workspace(&self) -> Files {
        let mut files = self.local.files();
        files.retain(|path, _| !is_mail(path) && !is_excluded(path));
        files
    }

    /// What takes part in the push, in the remote.
    pub fn remote(&self) -> Files {
        let mut files = self.store.files();
        files.retain(|path, _| !is_mail(path) && !path.starts_with(".ows/") && !is_excluded(path));
        files
    }

    /// Files in `_inbox`, by their paths below it.
    pub fn inbox(&self) -> Files {
        below(self.local.files(), "_inbox/")
    }

    /// Files in the remote `_outbox`, by their paths below it, without the placeholder.
    pub fn outbox(&self) -> Files {
        let mut files = below(self.store.files(), "_outbox/");
        files.remove(".keep");
        files
    }

    /// What lies in the remote trash, whatever run put it there.
    pub fn remote_trash(&self) -> BTreeSet<(String, Vec<u8>)> {
        trash(self.store.files())
    }

    /// What lies in the local trash, whatever run put it there.
    pub fn local_trash(&self) -> BTreeSet<(String, Vec<u8>)> {
        trash(read_files(self.local.path(), OwsFolder::Include))
    }

    /// Every content that exists anywhere: on a side, or in a trash.
    pub fn contents(&self) -> BTreeSet<Vec<u8>> {
        let local = read_files(self.local.path(), OwsFolder::Include).into_values();
        let bin = self.store.bin().into_iter().map(|(_, content)| content);
        local
            .chain(self.store.files().into_values())
            .chain(bin)
            .collect()
    }
}

fn is_mail(path: &str) -> bool {
    path.starts_with("_inbox/") || path.starts_with("_outbox/")
}

/// By the patterns that every pair here has.
fn is_excluded(path: &str) -> bool {
    path.rsplit('/').next() == Some(".DS_Store")
}

fn below(files: Files, folder: &str) -> Files {
    let strip = |(path, content): (String, Vec<u8>)| {
        path.strip_prefix(folder)
            .map(|rest| (rest.to_owned(), content))
    };
    files.into_iter().filter_map(strip).collect()
}

fn trash(files: Files) -> BTreeSet<(String, Vec<u8>)> {
    let in_run = |(path, content): (String, Vec<u8>)| {
        let (_run, path) = path.split_once('/')?;
        Some((path.to_owned(), content))
    };
    below(files, ".ows/trash/")
        .into_iter()
        .filter_map(in_run)
        .collect()
}

/// What was kept, in the form of [`Pair::remote_trash`].
pub fn kept(items: &[(&str, &str)]) -> BTreeSet<(String, Vec<u8>)> {
    let owned = |(path, content): &(&str, &str)| ((*path).to_owned(), content.as_bytes().to_vec());
    items.iter().map(owned).collect()
}

/// Files in the form of [`Pair::remote`].
pub fn files(items: &[(&str, &str)]) -> Files {
    kept(items).into_iter().collect()
}

/// The calls of a run by operation, those without a call left out.
pub fn calls(finished: &Finished) -> Vec<(&str, u64)> {
    let calls: &BTreeMap<String, u64> = &finished.report.api_calls.by_operation;
    calls
        .iter()
        .map(|(name, count)| (name.as_str(), *count))
        .collect()
}

pub fn kind(finished: &Finished) -> Option<FailureKind> {
    finished.failure.as_ref().map(|failure| failure.kind)
}

#[track_caller]
pub fn clean(finished: &Finished) {
    assert!(
        finished.failure.is_none(),
        "{:?} {:?}",
        finished.failure,
        finished.report.errors
    );
}

/// The guard that stopped a run.
#[track_caller]
pub fn guard(finished: &Finished) -> GuardName {
    assert_eq!(
        kind(finished),
        Some(FailureKind::Guard),
        "{:?}",
        finished.failure
    );
    match &finished.report.guard {
        Some(stop) => stop.name,
        None => panic!("the report names no guard: {:?}", finished.failure),
    }
}
