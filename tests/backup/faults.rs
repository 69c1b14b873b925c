//! Every call to the storage fails in every way, during a backup and during a prune. What holds: a snapshot that is listed is
//! whole; the next run removes exactly what the intents name; a run that says it succeeded did.

use std::collections::BTreeSet;
use std::time::Duration;

use ows::backup::name::{ObjectName, RECOVER};
use ows::backup::prune::PruneOptions;
use ows::config::Encryption;
use ows_providers::layers::{Fault, Moment};
use ows_providers::memory::{Alteration, MemoryOptions};
use ows_providers::{ErrorKind, Operation};

use super::store::{Host, TRANSIENT, snapshot};

/// What is not this host's to remove, beside its snapshots.
const STRANGERS: [&str; 3] = [
    "ows-20231101T000000Z-0000000f.tar.gz.age",
    "backup-20230101T000000Z.tar.gz.enc",
    "photo.jpg",
];

async fn host() -> Host {
    let mut host = Host::new(MemoryOptions::s3()).await;
    // Several parts.
    host.settings.compression = 0;
    for name in STRANGERS {
        host.store.store.insert(name, b"not ours");
    }
    host
}

/// One way in which a call fails.
#[derive(Debug, Clone, Copy)]
enum Way {
    Error,
    AfterEffect,
    Conflict,
    NotFoundAfterEffect,
    Truncated,
    Slow,
    Dies(Moment),
}

const WAYS: [Way; 8] = [
    Way::Error,
    Way::AfterEffect,
    Way::Conflict,
    Way::NotFoundAfterEffect,
    Way::Truncated,
    Way::Slow,
    Way::Dies(Moment::Before),
    Way::Dies(Moment::After),
];

impl Way {
    fn arm(self, host: &Host, call: u64) {
        let fault = Fault::any().nth(call);
        let fault = match self {
            Self::Error => fault.before(TRANSIENT),
            Self::AfterEffect => fault.after(TRANSIENT),
            Self::Conflict => fault.before(ErrorKind::AlreadyExists),
            Self::NotFoundAfterEffect => fault.after(ErrorKind::NotFound),
            Self::Truncated => fault.short_body(20, None),
            Self::Slow => fault.slow(Duration::from_millis(20)),
            Self::Dies(moment) => {
                host.store.faults.crash_at(call, moment);
                return;
            }
        };
        host.store.faults.add(fault);
    }
}

/// Afterwards nothing is left but whole snapshots and what is not ours.
async fn assert_tidy(host: &Host, context: &str) {
    let snapshots: BTreeSet<_> = host.assert_whole().await.into_iter().collect();
    assert!(host.store.store.uploads().is_empty(), "{context}");
    for name in host.store.names() {
        if name == RECOVER || STRANGERS.contains(&name.as_str()) {
            continue;
        }
        match ObjectName::parse(&name) {
            ObjectName::Snapshot(of, _) if snapshots.contains(&of) => {}
            _ => panic!("{context}: `{name}` was left"),
        }
    }
    for name in STRANGERS {
        assert!(host.store.store.get(name).is_some(), "{context}: {name}");
    }
}

#[tokio::test]
async fn whatever_call_of_a_backup_fails_what_is_listed_is_whole_and_the_next_one_tidies_up() {
    let whole = host().await;
    whole.clean().await;
    let before = whole.store.faults.calls();
    whole.clean().await;
    let calls = whole.store.faults.calls() - before;
    assert!(calls > 15, "{calls}");
    for way in WAYS {
        for call in 1..=calls {
            let host = host().await;
            let first = host.clean().await;
            way.arm(&host, call);
            let finished = host.now().await;
            host.store.faults.clear();
            let context = format!("{way:?} at call {call}: {:?}", finished.failure);
            let listed = host.assert_whole().await;
            assert!(listed.contains(&first), "{context}");
            match &finished.made.snapshot {
                // What is slow works.
                None if matches!(way, Way::Slow) => panic!("{context}"),
                Some(made) => {
                    let made = made.parse().unwrap();
                    assert!(listed.contains(&made), "{context}");
                }
                None => assert!(finished.failure.is_some(), "{context}"),
            }
            host.later(3600);
            let second = host.clean().await;
            assert!(host.assert_whole().await.contains(&second), "{context}");
            assert_tidy(&host, &context).await;
        }
    }
}

#[tokio::test]
async fn whatever_call_of_a_prune_fails_what_is_listed_is_whole_and_the_next_one_tidies_up() {
    let pruned = async || {
        let mut host = host().await;
        host.settings.encryption = Encryption::None;
        for day in ["01", "02", "03", "04"] {
            let name = snapshot(&format!("2023-11-{day}T00:00:00Z"));
            host.store.plant(name, |_| ());
        }
        host
    };
    let whole = pruned().await;
    let before = whole.store.faults.calls();
    whole.prune(PruneOptions::default()).await;
    let calls = whole.store.faults.calls() - before;
    assert!(calls > 8, "{calls}");
    for way in WAYS {
        for call in 1..=calls {
            let host = pruned().await;
            way.arm(&host, call);
            let finished = host.prune(PruneOptions::default()).await;
            host.store.faults.clear();
            let context = format!("{way:?} at call {call}: {:?}", finished.failure);
            if matches!(way, Way::Slow) {
                assert!(finished.failure.is_none(), "{context}");
            }
            let catalog = host.catalog().await;
            assert!(catalog.snapshots.len() >= 2, "{context}");
            let is_whole = |found: &ows::backup::catalog::Snapshot| found.faults().is_empty();
            assert!(catalog.snapshots.iter().all(is_whole), "{context}");
            let finished = host.prune(PruneOptions::default()).await;
            assert!(
                finished.failure.is_none(),
                "{context}: {:?}",
                finished.failure
            );
            let catalog = host.catalog().await;
            assert_eq!(catalog.snapshots.len(), 2, "{context}");
            let left = host.store.names().len();
            assert_eq!(left, 6 + STRANGERS.len(), "{context}");
        }
    }
}

/// Every call takes its time: all of it is made, restores, and is pruned as ever, and comes to an end.
#[tokio::test]
async fn a_store_that_is_slow_all_the_time_changes_nothing() {
    let host = host().await;
    let slow = Fault::any().times(u64::MAX);
    host.store.faults.add(slow.slow(Duration::from_millis(5)));
    let made = [host.clean().await, host.clean().await, host.clean().await];
    assert_eq!(host.assert_whole().await, [made[2], made[1]]);
    assert_tidy(&host, "slow").await;
}

/// A store that rewrites what it was given has made no snapshot, whatever it answered.
#[tokio::test]
async fn a_manifest_that_is_not_read_back_as_it_was_written_is_no_success() {
    let host = Host::new(MemoryOptions {
        alteration: Alteration::Content,
        ..MemoryOptions::s3()
    })
    .await;
    let finished = host.now().await;
    assert!(finished.failure.is_some());
    assert_eq!(finished.made.snapshot, None);
}

/// A call that never comes back is ended by the person, or by the time limit of the run, and the next run tidies up.
#[tokio::test]
async fn a_call_that_hangs_can_be_stopped() {
    for operation in [
        Operation::List,
        Operation::Stat,
        Operation::Put,
        Operation::StartUpload,
        Operation::PutPart,
        Operation::CompleteUpload,
    ] {
        for after in [false, true] {
            let host = host().await;
            let first = host.clean().await;
            let fault = Fault::on(operation);
            host.store.faults.add(match after {
                false => fault.hangs(),
                true => fault.hangs_after(),
            });
            let cancel = ows::cancel::Cancel::new();
            let stopping = cancel.clone();
            let faults = host.store.faults.clone();
            let stop = tokio::spawn(async move {
                let reached = async {
                    while !faults.unreached().is_empty() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
                reached.expect("the call is made");
                stopping.stop(ows::cancel::StopCause::Terminated);
            });
            let options = ows::backup::now::NowOptions::default();
            let finished = host.now_with(&options, cancel).await;
            stop.await.unwrap();
            let context = format!("{operation:?}, {after}");
            assert!(finished.failure.is_some(), "{context}");
            assert!(host.assert_whole().await.contains(&first), "{context}");
            host.later(3600);
            host.clean().await;
            assert_tidy(&host, &context).await;
        }
    }
}
