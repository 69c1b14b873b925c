//! Whole runs in situations where an engine loses files, hangs, or says nothing: over a store in memory with scripted
//! faults, and a real folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ows::cancel::Cancel;
use ows::error::FailureKind;
use ows::plan::guards::GuardName;
use ows::plan::{Direction, Resolve};
use ows::report::Silent;
use ows::sync::{Finished, FirstSync, PairSettings, SyncMode, SyncOptions, sync};
use ows_providers::layers::CallCounter;
use ows_providers::layers::{Fault, FaultSet, Faults};
use ows_providers::memory::{MemoryOptions, MemoryStore};
use ows_providers::{ErrorKind, Operation};
use ows_testkit::tree::TempTree;

/// What a network does.
const TRANSIENT: ErrorKind = ErrorKind::Transient { after: None };

/// No run here takes longer than this unless it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(20);

/// A run gets so long to come to the call that hangs, on a machine that has much else to do.
const TIME_TO_HANG: Duration = Duration::from_secs(4);

struct Pair {
    store: MemoryStore,
    faults: Arc<FaultSet>,
    local: TempTree,
    state: TempTree,
    settings: PairSettings,
}

impl Pair {
    fn new(options: MemoryOptions, files: &[(&str, &str)]) -> Self {
        let store = MemoryStore::new(options);
        let faults = FaultSet::new();
        let local = TempTree::with(files);
        let state = TempTree::new();
        let settings = PairSettings {
            mode: SyncMode::Mailbox,
            provider: Arc::new(Faults::new(store.provider(), Arc::clone(&faults))),
            counter: CallCounter::new(),
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

    async fn run(&self, options: SyncOptions) -> Finished {
        let run = sync(&self.settings, &options, Arc::new(Silent), Cancel::new());
        tokio::time::timeout(HANGS_AFTER, run)
            .await
            .expect("the run ends")
    }

    async fn sync(&self) -> Finished {
        self.run(SyncOptions::default()).await
    }

    async fn pull(&self) -> Finished {
        self.run(SyncOptions {
            direction: Some(Direction::Pull),
            ..SyncOptions::default()
        })
        .await
    }

    /// The files of the remote without our own.
    fn remote(&self) -> Vec<String> {
        let files = self.store.files().into_keys();
        files
            .filter(|path| !path.starts_with(".ows/") && path != "_outbox/.keep")
            .collect()
    }

    /// Moves the folder to another place, as if its volume had been replaced by an empty one.
    fn empty_volume(&mut self) -> PathBuf {
        self.local = TempTree::new();
        self.settings.local_path = self.local.path().to_owned();
        self.settings.workspace = self.local.path().to_owned();
        self.local.path().to_owned()
    }
}

fn kind(finished: &Finished) -> Option<FailureKind> {
    finished.failure.as_ref().map(|failure| failure.kind)
}

fn clean(finished: &Finished) {
    assert!(
        finished.failure.is_none(),
        "{:?} {:?}",
        finished.failure,
        finished.report.errors
    );
}

fn numbered(count: usize) -> Vec<(String, String)> {
    (0..count)
        .map(|number| (format!("f{number:02}"), format!("content {number}")))
        .collect()
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_str()))
        .collect()
}

#[tokio::test]
async fn lost_credentials_end_the_run_and_are_told() {
    let files = numbered(40);
    let pair = Pair::new(MemoryOptions::s3(), &borrowed(&files));
    pair.faults.add(
        Fault::on(Operation::Put)
            .at("f00")
            .before(ErrorKind::Unauthorized),
    );
    let finished = pair.sync().await;
    pair.faults.assert_all_reached();
    assert_eq!(kind(&finished), Some(FailureKind::Unauthorized));
}

#[tokio::test]
async fn an_unfinished_fill_of_a_new_volume_deletes_nothing_remotely() {
    let files = numbered(8);
    let mut pair = Pair::new(MemoryOptions::s3(), &borrowed(&files));
    clean(&pair.sync().await);
    pair.empty_volume();
    pair.faults.add(
        Fault::on(Operation::Get)
            .nth(3)
            .times(100)
            .before(TRANSIENT),
    );
    assert_eq!(kind(&pair.pull().await), Some(FailureKind::Partial));
    pair.faults.clear();

    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Guard));
    assert_eq!(
        finished.report.guard.map(|stop| stop.name),
        Some(GuardName::LocalRoot)
    );
    assert_eq!(pair.remote().len(), 8);

    clean(&pair.pull().await);
    clean(&pair.sync().await);
    assert_eq!(pair.remote().len(), 8);
    assert_eq!(pair.local.files().len(), 8);
}

#[tokio::test]
async fn an_unfinished_first_fill_is_gone_on_with() {
    let mut pair = Pair::new(MemoryOptions::s3(), &[("mine", "local")]);
    pair.settings.first_sync = FirstSync::Remote;
    for (path, content) in numbered(8) {
        pair.store.insert(&path, content.as_bytes());
    }
    pair.faults.add(
        Fault::on(Operation::Get)
            .nth(3)
            .times(100)
            .before(TRANSIENT),
    );
    assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
    pair.faults.clear();
    assert_eq!(pair.remote().len(), 8);

    clean(&pair.sync().await);
    assert_eq!(
        pair.remote().len(),
        8,
        "no file of the remote was taken for a stray"
    );
    assert!(pair.local.read("f07").is_some());
}

#[tokio::test]
async fn a_fill_of_a_new_volume_happens_unattended_where_it_is_configured() {
    let files = numbered(8);
    let mut pair = Pair::new(MemoryOptions::s3(), &borrowed(&files));
    clean(&pair.sync().await);
    pair.empty_volume();
    pair.settings.first_sync = FirstSync::Remote;
    clean(&pair.sync().await);
    assert_eq!(pair.remote().len(), 8);
    assert!(pair.local.read("f07").is_some());
}

#[tokio::test]
async fn a_fill_given_up_can_be_forced_to_end() {
    let files = numbered(8);
    let mut pair = Pair::new(MemoryOptions::s3(), &borrowed(&files));
    clean(&pair.sync().await);
    pair.empty_volume();
    pair.faults
        .add(Fault::on(Operation::Get).at("f07").before(TRANSIENT));
    assert_eq!(kind(&pair.pull().await), Some(FailureKind::Partial));
    let force = |guard| SyncOptions {
        force: [guard].into(),
        ..SyncOptions::default()
    };
    clean(&pair.run(force(GuardName::LocalRoot)).await);
    assert_eq!(pair.remote().len(), 7);
    clean(&pair.sync().await);
}

#[tokio::test]
async fn a_drop_ends_when_inbox_is_a_link_or_a_file() {
    let elsewhere = TempTree::new();
    for blocked in ["link", "file"] {
        let pair = Pair::new(MemoryOptions::s3(), &[("a", "1")]);
        match blocked {
            "link" => {
                std::os::unix::fs::symlink(elsewhere.path(), pair.local.join("_inbox")).unwrap()
            }
            _ => pair.local.write("_inbox", "in the way"),
        }
        pair.store.insert("_outbox/x", b"dropped");
        let finished = pair.sync().await;
        assert!(finished.failure.is_some(), "{blocked}");
        assert_eq!(
            pair.store.get("_outbox/x").as_deref(),
            Some(&b"dropped"[..])
        );
        assert!(elsewhere.files().is_empty());
        assert!(pair.store.get("a").is_some(), "the push goes on");
    }
}

#[tokio::test]
async fn a_drop_whose_name_cannot_be_numbered_ends() {
    let pair = Pair::new(MemoryOptions::s3(), &[]);
    let name = "n".repeat(255);
    pair.local.write(&format!("_inbox/{name}"), "another");
    pair.store.insert(&format!("_outbox/{name}"), b"dropped");
    assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
    assert!(pair.store.get(&format!("_outbox/{name}")).is_some());
}

#[tokio::test]
async fn names_that_look_numbered_are_delivered_once_each() {
    let pair = Pair::new(MemoryOptions::s3(), &[]);
    for (path, content) in [("a.txt", "1"), ("a (2).txt", "2"), ("a (2) (2).txt", "3")] {
        pair.local
            .write(&format!("_inbox/{path}"), format!("old {content}"));
        pair.store
            .insert(&format!("_outbox/{path}"), content.as_bytes());
    }
    clean(&pair.sync().await);
    let mut found: Vec<Vec<u8>> = pair.local.files().into_values().collect();
    found.sort();
    let contents: Vec<&[u8]> = vec![b"1", b"2", b"3", b"old 1", b"old 2", b"old 3"];
    assert_eq!(found, contents);
    assert!(pair.remote().is_empty());
}

#[tokio::test]
async fn a_pull_writes_nothing_remotely() {
    let pair = Pair::new(MemoryOptions::s3(), &[]);
    pair.store.insert("a", b"1");
    let before = pair.store.files();
    for operation in [Operation::Put, Operation::Delete, Operation::Probe] {
        pair.faults.add(
            Fault::on(operation)
                .times(1000)
                .before(ErrorKind::Forbidden),
        );
    }
    clean(&pair.pull().await);
    assert_eq!(pair.store.files(), before);
    assert_eq!(pair.local.read("a").as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_stopped_first_run_writes_nothing_remotely() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "1")]);
    pair.store.insert("stray", b"2");
    pair.faults.add(
        Fault::on(Operation::Probe)
            .times(1000)
            .before(ErrorKind::Forbidden),
    );
    assert_eq!(kind(&pair.sync().await), Some(FailureKind::Guard));
    assert_eq!(pair.store.files().len(), 1);
}

#[tokio::test]
async fn a_remote_folder_kept_by_an_excluded_file_is_no_difference() {
    let mut pair = Pair::new(MemoryOptions::folder(), &[("d/x/a", "1"), ("b", "2")]);
    pair.settings.exclude = vec!["*.log".to_owned()];
    clean(&pair.sync().await);
    pair.store.insert("d/x/keep.log", b"excluded");
    pair.local.remove("d");
    clean(&pair.sync().await);
    assert!(pair.store.get("d/x/a").is_none() && pair.store.get("d/x/keep.log").is_some());
    let calls = pair.faults.calls();
    let finished = pair
        .run(SyncOptions {
            keep_actions: true,
            ..SyncOptions::default()
        })
        .await;
    clean(&finished);
    assert!(
        finished.report.actions.is_empty() && finished.report.warnings.is_empty(),
        "{:?}",
        finished.report
    );
    assert_eq!(pair.faults.calls() - calls, 2, "describe and list");
}

#[tokio::test]
async fn an_outbox_that_is_a_file_stops_nothing_else() {
    let pair = Pair::new(MemoryOptions::folder(), &[("a", "1")]);
    pair.store.insert("_outbox", b"a file");
    let finished = pair
        .run(SyncOptions {
            force: [GuardName::FirstSync].into(),
            ..SyncOptions::default()
        })
        .await;
    assert_eq!(
        kind(&finished),
        Some(FailureKind::Partial),
        "{:?}",
        finished.failure
    );
    assert_eq!(pair.store.get("_outbox").as_deref(), Some(&b"a file"[..]));
    assert!(pair.store.get("a").is_some());
}

#[tokio::test]
async fn versioning_that_was_switched_off_is_noticed() {
    let mut options = MemoryOptions::s3();
    options.enforced.versioning = Some(true);
    let mut pair = Pair::new(options, &[("a", "1"), ("b", "2")]);
    clean(&pair.sync().await);
    // The same remote without versioning.
    let plain = MemoryStore::new(MemoryOptions::s3());
    plain.set_now(pair.store.now() + chrono::Duration::hours(25));
    for (path, content) in pair.store.files() {
        plain.insert(&path, &content);
    }
    pair.store = plain;
    pair.settings.provider = pair.store.provider();
    pair.local.remove("a");
    clean(&pair.sync().await);
    let kept = pair
        .store
        .files()
        .into_iter()
        .any(|(path, content)| path.starts_with(".ows/trash/") && content == b"1");
    assert!(kept);
}

#[tokio::test]
async fn what_a_killed_run_left_is_no_reason_to_fail_for_ever() {
    let pair = Pair::new(
        MemoryOptions {
            single_put_max: 4 << 10,
            ..MemoryOptions::s3()
        },
        &[("big", &"x".repeat(20_000))],
    );
    pair.faults.add(
        Fault::on(Operation::PutPart)
            .nth(1)
            .times(100)
            .before(TRANSIENT),
    );
    assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
    pair.faults.clear();
    pair.local.remove("big");
    pair.local.write("small", "1");
    pair.faults
        .add(Fault::on(Operation::AbortUpload).before(ErrorKind::Forbidden));
    clean(&pair.sync().await);
    pair.faults.assert_all_reached();
    assert_eq!(pair.store.get("small").as_deref(), Some(&b"1"[..]));
    assert_eq!(pair.store.uploads().len(), 1);
    pair.local.write("small", "22");
    clean(&pair.sync().await);
    assert!(pair.store.uploads().is_empty());
}

#[tokio::test]
async fn a_run_stops_in_time_whatever_it_is_doing() {
    for operation in [
        Operation::AbortUpload,
        Operation::CreateDir,
        Operation::List,
        Operation::Probe,
        Operation::Put,
    ] {
        let options = MemoryOptions {
            single_put_max: 4 << 10,
            ..MemoryOptions::folder()
        };
        let pair = Pair::new(options, &[("big", &"x".repeat(20_000))]);
        if operation == Operation::AbortUpload {
            pair.faults.add(
                Fault::on(Operation::PutPart)
                    .nth(1)
                    .times(100)
                    .before(TRANSIENT),
            );
            assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
            pair.faults.clear();
            pair.local.remove("big");
        }
        pair.local.write("small", "1");
        pair.faults.add(Fault::on(operation).hangs());
        let options = SyncOptions {
            timeout: Some(TIME_TO_HANG),
            ..SyncOptions::default()
        };
        assert_eq!(
            kind(&pair.run(options).await),
            Some(FailureKind::TimedOut),
            "{operation:?}"
        );
        pair.faults.assert_all_reached();
    }
}

#[tokio::test]
async fn a_listing_whose_folder_vanishes_midway_is_not_an_empty_one() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "1"), ("b", "2"), ("c", "3")]);
    clean(&pair.sync().await);
    pair.store.insert("_outbox/x", b"dropped");
    pair.faults
        .add(Fault::on(Operation::List).breaks_listing(2, ErrorKind::NotFound));
    let finished = pair.pull().await;
    pair.faults.assert_all_reached();
    assert_eq!(kind(&finished), Some(FailureKind::Failed));
    assert_eq!(pair.local.files().len(), 3);
}

#[tokio::test]
async fn an_interrupted_run_says_so_although_a_guard_stopped_its_push() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "1")]);
    pair.store.insert("stray", b"2");
    pair.store.insert("_outbox/x", b"dropped");
    pair.faults
        .add(Fault::on(Operation::Get).at("_outbox/x").hangs());
    let options = SyncOptions {
        timeout: Some(TIME_TO_HANG),
        ..SyncOptions::default()
    };
    let finished = pair.run(options).await;
    assert_eq!(kind(&finished), Some(FailureKind::TimedOut));
    assert_eq!(finished.report.exit_code, 124);
    assert!(finished.report.guard.is_some());
}

#[tokio::test]
async fn two_state_directories_do_not_work_in_one_folder_at_once() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "1")]);
    clean(&pair.sync().await);
    let other = PairSettings {
        own_dir: pair.state.join("other"),
        ..pair.settings.clone()
    };
    pair.local.write("a", "2");
    let (entered, inside) = std::sync::mpsc::channel();
    pair.faults.add(
        Fault::on(Operation::Put)
            .at("a")
            .meanwhile(move || assert!(entered.send(()).is_ok())),
    );
    pair.faults.add(Fault::on(Operation::Put).at("a").hangs());
    let cancel = Cancel::new();
    let first = {
        let (settings, cancel) = (pair.settings.clone(), cancel.clone());
        tokio::spawn(async move {
            sync(&settings, &SyncOptions::default(), Arc::new(Silent), cancel).await
        })
    };
    tokio::task::spawn_blocking(move || inside.recv_timeout(HANGS_AFTER))
        .await
        .unwrap()
        .unwrap();
    let second = sync(
        &other,
        &SyncOptions::default(),
        Arc::new(Silent),
        Cancel::new(),
    )
    .await;
    assert_eq!(kind(&second), Some(FailureKind::Busy));
    cancel.stop(ows::cancel::StopCause::Interrupted);
    first.await.unwrap();
    let third = sync(
        &other,
        &SyncOptions::default(),
        Arc::new(Silent),
        Cancel::new(),
    )
    .await;
    assert_ne!(kind(&third), Some(FailureKind::Busy));
}

#[tokio::test]
async fn a_dry_run_changes_nothing_at_all() {
    use std::os::unix::fs::PermissionsExt;
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "1")]);
    clean(&pair.sync().await);
    let mode = std::fs::metadata(pair.state.join("ows"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    pair.local.write("a", "22");
    pair.store.insert("_outbox/x", b"dropped");
    let before = (pair.store.files(), pair.local.snapshot());
    let options = SyncOptions {
        dry_run: true,
        ..SyncOptions::default()
    };
    clean(&pair.run(options).await);
    assert_eq!((pair.store.files(), pair.local.snapshot()), before);
}
