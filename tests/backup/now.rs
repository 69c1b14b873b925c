//! A backup from its beginning to its end.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::DateTime;
use ows::backup::catalog::Catalog;
use ows::backup::lock::BackupLock;
use ows::backup::manifest::ProblemClass;
use ows::backup::name::{Part, RECOVER, SnapshotName};
use ows::backup::now::{NowOptions, now};
use ows::backup::retention::Policy;
use ows::backup::settings::BackupClock;
use ows::backup::status::status;
use ows::cancel::{Cancel, StopCause};
use ows::config::{Encryption, Item};
use ows::error::{Failure, FailureKind};
use ows::report::Reporter;
use ows_providers::layers::{Fault, Retry, RetryOptions};
use ows_providers::local::LocalProvider;
use ows_providers::memory::{MemoryOptions, MemoryStore};
use ows_providers::{ErrorKind, Operation};

use super::store::{Host, TRANSIENT, snapshot};

#[tokio::test]
async fn a_snapshot_holds_every_item_and_names_the_one_before() {
    let host = Host::new(MemoryOptions::s3()).await;
    let started = host.store.store.now();
    let finished = host.now().await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
    let made = finished.made;
    assert_eq!((made.files, made.unreadable, made.changed), (12, 0, 0));
    assert_eq!(made.missing_items, ["memory"]);
    assert_eq!(
        finished.report.warnings,
        ["the item `memory` does not exist"]
    );
    let first = made.snapshot.unwrap().parse().unwrap();
    let files = host.unpacked(first);
    assert_eq!(files.len(), 12);
    assert_eq!(
        files["workspace/notes/3.md"],
        host.state_dir.read("workspace/notes/3.md").unwrap()
    );
    assert_eq!(files["cron/jobs.json"], b"[]");

    host.later(3600);
    let second = host.clean().await;
    let catalog = host.catalog().await;
    let [newer, older] = &catalog.snapshots[..] else {
        panic!("{catalog:?}")
    };
    assert_eq!((newer.name, older.name), (second, first));
    let previous = newer.manifest.previous.as_ref().unwrap();
    assert_eq!(previous.snapshot, first);
    assert_eq!(previous.sha256, older.manifest_sha256);
    assert!(older.manifest.previous.is_none());
    assert_eq!(older.manifest.started_at, started);
    assert_eq!(first.taken_at(), started);
    assert_eq!(older.manifest.items, ["workspace", "config", "cron"]);
    assert!(older.manifest.encryption.is_on());
    assert!(catalog.unlisted.is_empty() && catalog.has_recover);
    assert_eq!(host.assert_whole().await, [second, first]);
    let state = host.open_state().await;
    assert!(
        state
            .open_backup_intents("memory")
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(state.last_runs(None, 9).await.unwrap().len(), 2);
}

/// What a backup asks of a store: the second one makes no more calls than the first, but for the manifest that it prunes.
#[tokio::test]
async fn the_calls_of_a_backup_are_counted() {
    let host = Host::new(MemoryOptions::s3()).await;
    host.now().await;
    host.later(3600);
    let finished = host.now().await;
    let calls = &finished.report.api_calls.by_operation;
    let count = |operation: Operation| calls.get(operation.name()).copied().unwrap_or(0);
    // Before, right before the manifest, and after. The manifest is read back, and both snapshots' manifests are known from
    // then on.
    assert_eq!(count(Operation::List), 3);
    assert_eq!(count(Operation::Get), 2);
    assert_eq!(count(Operation::Stat), 2);
    assert_eq!(count(Operation::Delete), 0);
    assert_eq!(count(Operation::Probe), 0);
}

#[tokio::test]
async fn the_provider_tells_the_time_and_a_wrong_host_is_warned() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    host.settings.clock = BackupClock(|| DateTime::from_timestamp(1_700_000_061, 0).unwrap());
    let finished = host.now().await;
    assert!(finished.failure.is_none());
    let warned = |warnings: &[String]| {
        let warnings = warnings.iter();
        warnings.filter(|text| text.contains("clock")).count()
    };
    assert_eq!(warned(&finished.report.warnings), 1);
    let name = finished.made.snapshot.unwrap();
    assert!(name.starts_with("ows-20231114T221320Z-"), "{name}");
    host.settings.clock = BackupClock(|| DateTime::from_timestamp(1_700_000_060, 0).unwrap());
    assert_eq!(warned(&host.now().await.report.warnings), 0);
}

#[tokio::test]
async fn another_host_in_the_profile_is_told() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    host.clean().await;
    host.settings.host = "there".to_owned();
    let finished = host.now().await;
    assert!(finished.failure.is_none());
    let warnings = finished.report.warnings.join("\n");
    assert!(warnings.contains("made by the host \"here\""), "{warnings}");
    // Also when the newest one is this host's own: its next prune removes the other's.
    host.later(3600);
    let warnings = host.now().await.report.warnings.join("\n");
    assert!(warnings.contains("made by the host \"here\""), "{warnings}");
    let mut day = 1;
    for name in ["b", "b", "c", "d", "e"] {
        let time = format!("2023-11-{day:02}T00:00:00Z");
        host.store
            .plant(snapshot(&time), |manifest| manifest.host = name.to_owned());
        day += 1;
    }
    let options = NowOptions {
        dry_run: true,
        ..NowOptions::default()
    };
    let looked = host.now_with(&options, Cancel::new()).await;
    let warnings = looked.report.warnings.join("\n");
    let told = "made by the hosts \"e\", \"d\", \"c\" and 1 more, this one is \"there\"";
    assert!(warnings.contains(told), "{warnings}");
    host.settings.profile = "own".to_owned();
    let warnings = host.now().await.report.warnings.join("\n");
    assert!(!warnings.contains("made by the host"), "{warnings}");
}

#[tokio::test]
async fn an_item_that_is_gone_since_the_last_snapshot_makes_it_partial() {
    let host = Host::new(MemoryOptions::s3()).await;
    host.clean().await;
    host.state_dir.remove("cron");
    let finished = host.now().await;
    let failure = finished.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Partial);
    assert!(failure.message.contains("cron"), "{failure}");
    assert!(finished.made.snapshot.is_some());
    host.later(3600);
    // From now on it is the last snapshot that lacks it.
    host.clean().await;
}

#[tokio::test]
async fn a_planted_plain_snapshot_hides_no_item_that_is_gone() {
    let host = Host::new(MemoryOptions::s3()).await;
    host.clean().await;
    // It holds the workspace alone.
    let planted = SnapshotName::new(host.store.store.now(), 1).unwrap();
    host.store.plant(planted, |_| ());
    host.state_dir.remove("cron");
    let failure = host.now().await.failure.unwrap();
    assert!(failure.message.contains("cron"), "{failure}");
}

#[tokio::test]
async fn a_missing_workspace_is_an_error() {
    let host = Host::new(MemoryOptions::s3()).await;
    host.state_dir.remove("workspace");
    let finished = host.now().await;
    assert!(finished.failure.is_some() && finished.made.snapshot.is_none());
    assert!(host.catalog().await.snapshots.is_empty());
}

#[tokio::test]
async fn unreadable_files_are_named_and_the_snapshot_is_made() {
    // Root reads everything; what becomes of files that fail is also under test in `scan` and `archive`.
    if rustix::process::geteuid().is_root() {
        return;
    }
    let host = Host::new(MemoryOptions::s3()).await;
    let path = host.state_dir.join("workspace/notes/7.md");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o0)).unwrap();
    let finished = host.now().await;
    assert_eq!(finished.failure.unwrap().kind, FailureKind::Partial);
    assert_eq!((finished.made.files, finished.made.unreadable), (11, 1));
    assert_eq!(finished.report.errors[0].path, "workspace/notes/7.md");
    let catalog = host.catalog().await;
    let problem = &catalog.snapshots[0].manifest.problems[0];
    assert_eq!(problem.class, ProblemClass::Unreadable);
}

#[tokio::test]
async fn a_database_that_could_not_be_copied_makes_it_partial() {
    let host = Host::new(MemoryOptions::s3()).await;
    let content = [&b"SQLite format 3\0"[..], &[b'x'; 5000]].concat();
    host.state_dir.write("workspace/fake.db", content);
    let finished = host.now().await;
    assert_eq!(finished.failure.unwrap().kind, FailureKind::Partial);
    assert_eq!(finished.made.sqlite_unverified, 1);
    assert_eq!(finished.report.errors[0].path, "workspace/fake.db");
    assert!(finished.made.snapshot.is_some());
}

#[tokio::test]
async fn one_backup_at_a_time() {
    let host = Host::new(MemoryOptions::s3()).await;
    let (own_dir, cancel) = (host.settings.own_dir.clone(), Cancel::new());
    let lock = BackupLock::take(&own_dir, Duration::ZERO, &cancel);
    let lock = lock.await.unwrap();
    let finished = host.now().await;
    assert_eq!(finished.failure.unwrap().kind, FailureKind::Busy);
    assert_eq!(finished.report.api_calls.total, 0);
    drop(lock);
    host.clean().await;
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let host = Host::new(MemoryOptions::s3()).await;
    let options = NowOptions {
        dry_run: true,
        ..NowOptions::default()
    };
    let finished = host.now_with(&options, Cancel::new()).await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
    assert_eq!((finished.made.files, finished.made.snapshot), (12, None));
    assert!(host.store.names().is_empty());
    let made = host.now().await.made;
    assert_eq!(finished.made.bytes_read, made.bytes_read);
}

#[tokio::test]
async fn a_stopped_backup_leaves_nothing() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    host.settings.compression = 0;
    let cancel = Cancel::new();
    let stopping = cancel.clone();
    let store = host.store.store.clone();
    host.store
        .faults
        .add(Fault::on(Operation::PutPart).nth(2).meanwhile(move || {
            assert_eq!(store.uploads().len(), 1);
            stopping.stop(StopCause::Terminated);
        }));
    let finished = host.now_with(&NowOptions::default(), cancel).await;
    host.store.faults.assert_all_reached();
    assert_eq!(finished.failure.unwrap().kind, FailureKind::Terminated);
    assert!(host.store.store.uploads().is_empty());
    assert_eq!(
        host.store.names().into_iter().collect::<Vec<_>>(),
        [RECOVER]
    );
    host.clean().await;
}

/// How many calls a backup without complaint makes, and what it warns of.
async fn calls_and_warnings(host: &Host) -> (u64, String) {
    let before = host.store.faults.calls();
    let finished = host.now().await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
    host.later(3600);
    let calls = host.store.faults.calls() - before;
    (calls, finished.report.warnings.join("\n"))
}

/// Keys without the right to delete: what a failed run has left is told until somebody has removed it, and costs nothing then.
#[tokio::test]
async fn what_may_not_be_removed_is_told_until_somebody_else_has_removed_it() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    host.settings.retain = Policy::default();
    host.clean().await;
    let (ordinary, _) = calls_and_warnings(&host).await;
    let deletes = Fault::on(Operation::Delete).times(u64::MAX);
    host.store.faults.add(deletes.before(ErrorKind::Forbidden));
    // The index.
    let fails = Fault::on(Operation::Put).nth(2).before(TRANSIENT);
    host.store.faults.add(fails);
    assert!(host.now().await.failure.is_some());
    host.later(3600);
    let left = host.catalog().await.unlisted[0].clone();
    let told = format!(
        "could not be removed: the storage does not let it go (it is locked, or these keys may not delete). \
         `ows backup prune --unlisted` with keys that may removes what is older than a day: {}",
        left.name
    );
    for _ in 0..2 {
        let (_, warnings) = calls_and_warnings(&host).await;
        assert!(warnings.contains(&told), "{warnings}");
    }
    for name in left.objects.keys() {
        host.store.store.remove(name);
    }
    let (_, warnings) = calls_and_warnings(&host).await;
    assert!(!warnings.contains("could not be removed"), "{warnings}");
    assert_eq!(calls_and_warnings(&host).await.0, ordinary);
}

/// Stops the run as soon as it is told anything.
struct Impatient {
    cancel: Cancel,
    told: Mutex<Vec<String>>,
}

impl Reporter for Impatient {
    fn warning(&self, text: &str) {
        self.told.lock().unwrap().push(text.to_owned());
        self.cancel.stop(StopCause::Interrupted);
    }
}

#[tokio::test]
async fn a_storage_that_cannot_be_reached_is_told_and_is_the_reason_of_a_stop() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    let mut retry = RetryOptions::default();
    retry.transfer.last_failure = host.settings.counter.last_failure();
    host.settings.provider = Arc::new(Retry::new(Arc::clone(&host.store.provider), retry));
    let fault = Fault::on(Operation::Put).at(RECOVER).times(u64::MAX);
    host.store.faults.add(fault.before(TRANSIENT));
    let reporter = Arc::new(Impatient {
        cancel: Cancel::new(),
        told: Mutex::default(),
    });
    let cancel = reporter.cancel.clone();
    let options = NowOptions::default();
    let run = now(
        &host.settings,
        &options,
        Arc::clone(&reporter) as Arc<dyn Reporter>,
        cancel,
    );
    let finished = tokio::time::timeout(Duration::from_secs(60), run).await;
    let failure = finished.expect("it is told").failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Interrupted);
    let cause = failure.causes().join(": ");
    let why = "put failed for `RECOVER.txt`: a scripted fault";
    assert!(cause.contains(why), "{cause}");
    let told = reporter.told.lock().unwrap().join("\n");
    let expected = format!("a call to the storage fails and is tried again: {why}");
    assert_eq!(told, expected);
}

#[tokio::test]
async fn volumes_are_whole_by_themselves() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    host.settings.volume_size = Some(100 << 10);
    host.settings.compression = 0;
    for number in 0..6 {
        let content = vec![number; 60 << 10];
        host.state_dir
            .write(&format!("workspace/big/{number}"), content);
    }
    let name = host.clean().await;
    let volumes = host.catalog().await.snapshots[0].manifest.volumes.len();
    assert!(volumes > 2, "{volumes}");
    assert_eq!(host.unpacked(name).len(), 18);
    assert_eq!(host.assert_whole().await, [name]);
}

/// The data is stored and was looked at; while the index is looked at, somebody acts.
async fn disturbed(act: impl Fn(&MemoryStore, &str) + Send + Sync + 'static) -> (Host, Failure) {
    let host = Host::new(MemoryOptions::s3()).await;
    let first = host.clean().await;
    let store = host.store.store.clone();
    let of_first = first.to_string();
    let fault = Fault::on(Operation::Stat).nth(2).meanwhile(move || {
        let names = store.files().into_keys();
        let mut data = names.filter(|name| name.ends_with(".tar.gz.age"));
        let data = data.find(|name| !name.starts_with(&of_first)).unwrap();
        act(&store, &data);
    });
    host.store.faults.add(fault);
    let finished = host.now().await;
    host.store.faults.assert_all_reached();
    assert_eq!(finished.made.snapshot, None);
    assert_eq!(host.assert_whole().await, [first]);
    (host, finished.failure.unwrap())
}

/// Another host takes a backup of days for left over, or puts something else in the place of an object.
#[tokio::test]
async fn a_snapshot_that_lost_an_object_before_its_manifest_is_none() {
    let (host, failure) = disturbed(|store, data| {
        store.remove(data);
    })
    .await;
    assert_eq!(failure.kind, FailureKind::Failed);
    assert!(failure.message.contains("it is missing"), "{failure}");
    assert!(failure.path.unwrap().ends_with(".tar.gz.age"));
    // What is left of it is removed, and the next one is made.
    host.later(3600);
    host.clean().await;
    assert!(host.catalog().await.unlisted.is_empty());

    let (_, failure) = disturbed(|store, data| store.insert(data, b"other")).await;
    assert!(failure.message.contains("it has 5 bytes"), "{failure}");
}

/// So late that the manifest is there: it is told, and does not look like a success.
#[tokio::test]
async fn a_snapshot_that_loses_an_object_after_its_manifest_is_told() {
    let host = Host::new(MemoryOptions::s3()).await;
    let store = host.store.store.clone();
    let fault = Fault::on(Operation::List).nth(3).meanwhile(move || {
        let mut names = store.files().into_keys();
        let data = names.find(|name| name.ends_with(".tar.gz.age")).unwrap();
        store.remove(&data);
    });
    host.store.faults.add(fault);
    let finished = host.now().await;
    host.store.faults.assert_all_reached();
    let failure = finished.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Partial);
    assert!(failure.message.contains("not whole any more"), "{failure}");
}

#[tokio::test]
async fn every_way_to_seal_works() {
    for encryption in [
        Encryption::None,
        Encryption::Passphrase("correct horse".to_owned().into()),
    ] {
        let mut host = Host::new(MemoryOptions::s3()).await;
        let sealed = !matches!(encryption, Encryption::None);
        host.settings.encryption = encryption;
        let name = host.clean().await;
        let data = Part::Data {
            volume: None,
            encrypted: sealed,
        };
        assert!(host.store.names().contains(&name.object(data)));
        if !sealed {
            host.assert_whole().await;
        }
    }
}

/// The host that has nothing but a recipient backs up, lists and prunes: no test here gives it an identity. Its backup reads
/// nothing of the data.
#[tokio::test]
async fn a_host_with_a_recipient_alone_backs_up_lists_and_prunes() {
    let host = Host::new(MemoryOptions::s3()).await;
    assert!(host.settings.identities.is_empty());
    let reads = host.store.faults.clone();
    let manifest = Part::Manifest.to_string();
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(host.clean().await);
    }
    let listed = Catalog::read(host.settings.provider.as_ref(), None).await;
    let listed: Vec<_> = listed
        .unwrap()
        .snapshots
        .iter()
        .map(|found| found.name)
        .collect();
    assert_eq!(listed, [names[2], names[1]]);
    reads.assert_all_reached();
    for logged in host.store.store.log() {
        if logged.operation == Operation::Get {
            assert!(logged.path.ends_with(&manifest), "{logged:?}");
        }
    }
}

#[tokio::test]
async fn the_status_tells_success_failure_and_age() {
    let host = Host::new(MemoryOptions::s3()).await;
    let before = status(&host.settings, None).await.unwrap();
    assert!(before.newest.is_none() && before.last_success.is_none());
    assert!(before.require_younger(Duration::from_secs(1)).is_err());
    let name = host.clean().await;
    host.store
        .faults
        .add(Fault::on(Operation::Put).times(u64::MAX).before(TRANSIENT));
    assert!(host.now().await.failure.is_some());
    host.store.faults.clear();
    let interval = Duration::from_secs(86_400);
    let status = status(&host.settings, Some(interval)).await.unwrap();
    assert_eq!(status.newest.as_ref().unwrap().name, name.to_string());
    assert_eq!(status.newest.as_ref().unwrap().age_seconds, 3600);
    let success = status.last_success.as_ref().unwrap();
    assert_eq!(success.snapshot.as_deref(), Some(name.to_string().as_str()));
    let why = status
        .last_failure
        .as_ref()
        .unwrap()
        .message
        .clone()
        .unwrap();
    assert!(why.contains("could not store"), "{why}");
    assert_eq!(status.snapshots, 1);
    assert!(status.total_size > 0);
    // The failure an hour later puts nothing off: the daemon tries again soon.
    assert_eq!(status.next_run, Some(success.at + interval));
    assert!(status.require_younger(Duration::from_secs(3600)).is_ok());
    let old = status.require_younger(Duration::from_secs(3599));
    assert_eq!(old.unwrap_err().kind, FailureKind::Failed);
}

#[tokio::test]
async fn the_status_counts_no_snapshot_from_the_future() {
    let host = Host::new(MemoryOptions::s3()).await;
    let name = host.clean().await;
    let future = snapshot("2030-01-01T00:00:00Z");
    host.store.plant(future, |_| ());
    let interval = Duration::from_secs(86_400);
    let found = status(&host.settings, Some(interval)).await.unwrap();
    assert_eq!(found.newest.as_ref().unwrap().name, name.to_string());
    assert!(found.require_younger(Duration::from_secs(3599)).is_err());
    assert_eq!(found.backup_age(), Some(Duration::from_secs(3600)));
    assert!(found.next_run.unwrap() < future.taken_at());
    let warnings = found.warnings.join("\n");
    assert!(warnings.contains(&future.to_string()), "{warnings}");

    // Nothing else there, on a host that has lost its disk: a backup is due, not put off until then.
    let mut bare = Host::new(MemoryOptions::s3()).await;
    bare.store.plant(future, |_| ());
    bare.settings.own_dir = bare.state_dir.join("none");
    let found = status(&bare.settings, Some(interval)).await.unwrap();
    assert!(found.newest.is_none() && found.backup_age().is_none());
    assert!(found.require_younger(interval).is_err());
}

#[tokio::test]
async fn a_plain_snapshot_keeps_no_status_green_on_a_host_that_encrypts() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    let name = host.clean().await;
    let plain = SnapshotName::new(host.store.store.now(), 1).unwrap();
    host.store.plant(plain, |_| ());
    let newest = async |host: &Host| status(&host.settings, None).await.unwrap().newest;
    assert_eq!(newest(&host).await.unwrap().name, name.to_string());
    host.settings.encryption = Encryption::None;
    assert_eq!(newest(&host).await.unwrap().name, plain.to_string());
}

/// The endings of names are random: with one clock for all, any of these could be the newest.
#[tokio::test]
async fn snapshots_of_one_second_are_in_the_order_in_which_they_were_made() {
    let host = Host::new(MemoryOptions::s3()).await;
    let mut made = Vec::new();
    for _ in 0..8 {
        let finished = host.now().await;
        assert!(finished.failure.is_none(), "{:?}", finished.failure);
        let name: SnapshotName = finished.made.snapshot.unwrap().parse().unwrap();
        assert!(
            made.last().is_none_or(|last| *last < name),
            "{made:?} {name}"
        );
        made.push(name);
        let catalog = host.catalog().await;
        assert_eq!(catalog.latest("default", true).unwrap().name, name);
    }
    let kept = host.catalog().await.snapshots;
    let kept: Vec<_> = kept.iter().map(|found| found.name).collect();
    assert_eq!(kept, [made[7], made[6]]);
}

/// Also where the store is a folder: what lies in it is what the names say, and nothing else is left.
#[tokio::test]
async fn a_folder_on_this_host_holds_whole_snapshots_and_nothing_else() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("not/made/yet");
    host.settings.provider = Arc::new(LocalProvider::open(&place).unwrap());
    host.settings.destination = Some(place.clone());
    for _ in 0..2 {
        let finished = host.now().await;
        assert!(finished.failure.is_none(), "{:?}", finished.failure);
    }
    let catalog = Catalog::read(host.settings.provider.as_ref(), None).await;
    let catalog = catalog.unwrap();
    assert_eq!(catalog.snapshots.len(), 2);
    assert!(
        catalog
            .snapshots
            .iter()
            .all(|found| found.faults().is_empty())
    );
    assert!(catalog.unlisted.is_empty() && catalog.has_recover);
    let left = std::fs::read_dir(&place).unwrap();
    let left = left.filter(|entry| entry.as_ref().unwrap().file_name() != ".ows");
    assert_eq!(left.count(), 7);
}

/// An exclude that cannot be used is found before anything is asked.
#[tokio::test]
async fn a_pattern_that_cannot_be_used_is_wrong_usage() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    host.settings.exclude = vec!["[".to_owned()];
    host.settings.items = vec![Item::Config];
    let finished = host.now().await;
    assert_eq!(finished.failure.unwrap().kind, FailureKind::Usage);
    assert!(host.store.names().is_empty());
    drop(Arc::clone(&host.store.faults));
}
