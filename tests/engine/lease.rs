//! One run at a time across hosts: the lease `.ows/lease`, as whole runs take it, wait for it, lose it and give it back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ows::cancel::{Cancel, StopCause};
use ows::error::FailureKind;
use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::sync::status::status;
use ows::sync::{Finished, FirstSync, HostClock, Reading, SyncMode, SyncOptions};
use ows_providers::layers::{Fault, Moment};
use ows_providers::memory::{MemoryOptions, MemoryStore};
use ows_providers::{ErrorKind, Operation};

use crate::support::{Pair, TRANSIENT, clean, files, guard, kind};

const PATH: &str = ".ows/lease";

/// A lease as another host writes it.
fn foreign(store: &MemoryStore) {
    let since = store.now().to_rfc3339();
    let body = format!(
        r#"{{"format":1,"replica":"{}","host":"elsewhere","run":"20260101T000000Z-00000000","fence":7,"seconds":120,
        "since":"{since}","word":"x"}}"#,
        "f".repeat(32)
    );
    store.insert(PATH, body.as_bytes());
}

/// How often the lease was written or deleted.
fn lease_calls(store: &MemoryStore) -> usize {
    let log = store.log();
    log.iter().filter(|call| call.path == PATH).count()
}

fn message(finished: &Finished) -> String {
    let failure = finished.failure.as_ref().expect("it failed");
    format!(
        "{}; {}",
        failure.message,
        failure.hint.as_deref().unwrap_or_default()
    )
}

fn every_kind() -> [MemoryOptions; 3] {
    [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Clocks of a host that a test moves.
#[derive(Clone)]
struct Clocks(Arc<Mutex<Reading>>);

impl Clocks {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Reading {
            wall: DateTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            steady: Duration::ZERO,
        })))
    }

    /// The host sleeps: only the wall clock notices.
    fn suspend(&self, seconds: i64) {
        lock(&self.0).wall += TimeDelta::seconds(seconds);
    }

    fn options(&self) -> SyncOptions {
        let clocks = self.clone();
        SyncOptions {
            clock: HostClock::new(move || *lock(&clocks.0)),
            ..SyncOptions::default()
        }
    }
}

#[tokio::test]
async fn a_writing_run_takes_it_and_gives_it_back() {
    for options in every_kind() {
        let pair = Pair::new(options, &[("a", "x")]);
        let store = pair.store.clone();
        let held = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&held);
        pair.faults.add(
            Fault::on(Operation::Put)
                .at("a")
                .meanwhile(move || seen.lock().unwrap().extend(store.get(PATH))),
        );
        clean(&pair.sync().await);
        let body = held.lock().unwrap().pop().expect("it was held");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["format"], 1);
        assert_eq!(body["seconds"], 120);
        assert!(body["fence"].as_u64().unwrap() > 0);
        for name in ["replica", "host", "run", "since"] {
            assert!(!body[name].as_str().unwrap().is_empty(), "{name}");
        }
        assert_eq!(pair.store.get(PATH), None, "given back");
        // Also by a run that fails, on a path or as a whole.
        for error in [ErrorKind::Forbidden, ErrorKind::Unauthorized] {
            pair.local.write("b", "new");
            pair.faults
                .add(Fault::on(Operation::Put).at("b").before(error));
            assert!(pair.sync().await.failure.is_some());
            assert_eq!(pair.store.get(PATH), None, "{error:?}");
        }
        pair.faults.assert_all_reached();
    }
}

#[tokio::test]
async fn runs_with_nothing_to_write_take_none() {
    for options in every_kind() {
        let mut pair = Pair::synced(options, &[("a", "x"), ("b", "y")]).await;
        pair.store.clear_log();
        // Nothing to do.
        clean(&pair.sync().await);
        // Only the base changes: a time.
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        pair.local.set_modified("a", time);
        clean(&pair.sync().await);
        // Something to do, and only shown.
        pair.local.write("new", "z");
        clean(
            &pair
                .run(SyncOptions {
                    dry_run: true,
                    ..SyncOptions::default()
                })
                .await,
        );
        // A pull writes to the workspace.
        pair.store.insert("from-cloud", b"z");
        clean(&pair.directed(Direction::Pull).await);
        // A guard stops it.
        pair.settings.max_delete = 0;
        pair.local.remove("a");
        assert_eq!(guard(&pair.sync().await), GuardName::MaxDelete);
        // In mirror mode.
        pair.settings.mode = SyncMode::Mirror;
        pair.store.insert("more", b"z");
        pair.sync().await;
        assert_eq!(lease_calls(&pair.store), 0);
    }
}

#[tokio::test]
async fn while_another_host_holds_it_nothing_is_changed() {
    for options in every_kind() {
        let pair = Pair::synced(options, &[("a", "x")]).await;
        pair.local.write("b", "new");
        pair.store.insert("_outbox/note", b"dropped");
        foreign(&pair.store);
        let before = (pair.store.files(), pair.local.files());
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Busy));
        let text = message(&finished);
        for part in [
            "`elsewhere`",
            " since 2023-11-14 22:13:2",
            "--wait SECONDS",
            "nothing was changed",
            "ends by itself at",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!((pair.store.files(), pair.local.files()), before);
        // It died.
        pair.store.advance(Duration::from_secs(120));
        clean(&pair.sync().await);
        assert_eq!(pair.inbox(), files(&[("note", "dropped")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_guard_is_told_also_when_the_drain_has_to_wait() {
    let mut pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.settings.max_delete = 0;
    pair.local.remove("a");
    pair.store.insert("_outbox/note", b"dropped");
    foreign(&pair.store);
    assert_eq!(guard(&pair.sync().await), GuardName::MaxDelete);
    assert!(pair.inbox().is_empty());
}

#[tokio::test]
async fn who_waits_looks_again_before_anything_is_changed() {
    for options in every_kind() {
        let pair = Pair::synced(options, &[("a", "x"), ("b", "y")]).await;
        pair.local.write("a", "newer");
        foreign(&pair.store);
        let store = pair.store.clone();
        // The other host replaces what this run has planned to replace, and ends.
        let looks = Fault::on(Operation::Get).at(PATH).nth(2);
        pair.faults.add(looks.meanwhile(move || {
            store.advance(Duration::from_secs(3));
            store.insert("a", b"by the other host");
            store.remove(PATH);
        }));
        let finished = pair
            .run(SyncOptions {
                wait: Duration::from_secs(30),
                ..SyncOptions::default()
            })
            .await;
        clean(&finished);
        assert_eq!(finished.report.counts.upload, 1);
        assert_eq!(pair.store.get("a").unwrap(), b"newer");
        assert!(pair.contents().contains(&b"by the other host"[..]));
        assert!(
            finished
                .report
                .warnings
                .iter()
                .any(|word| word.contains("edited in the remote")),
            "the plan was made after the wait: {:?}",
            finished.report.warnings
        );
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn waiting_ends_when_the_time_is_over_or_the_run_is_stopped() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.local.write("b", "new");
    foreign(&pair.store);
    let waiting = |wait| SyncOptions {
        wait: Duration::from_millis(wait),
        ..SyncOptions::default()
    };
    let finished = pair.run(waiting(150)).await;
    assert_eq!(kind(&finished), Some(FailureKind::Busy));
    let cancel = Cancel::new();
    let stop = cancel.clone();
    let looks = Fault::on(Operation::Get).at(PATH);
    pair.faults
        .add(looks.meanwhile(move || stop.stop(StopCause::Interrupted)));
    let finished = pair.run_until(waiting(600_000), cancel).await;
    assert_eq!(kind(&finished), Some(FailureKind::Interrupted));
    assert_eq!(pair.store.get("b"), None);
}

#[tokio::test]
async fn a_killed_run_is_followed_at_once_on_its_own_host() {
    for options in every_kind() {
        let pair = Pair::synced(options, &[("a", "x")]).await;
        for number in 0..4 {
            pair.local.write(&format!("new{number}"), "z");
        }
        // Its process dies right after it took the lease, or some calls later.
        pair.faults.crash_at(3, Moment::After);
        drop(pair.sync().await);
        pair.faults.clear();
        assert!(pair.store.get(PATH).is_some(), "left behind");
        clean(&pair.sync().await);
        assert_eq!(pair.store.get(PATH), None);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn it_is_given_back_after_a_stop_and_after_a_timeout() {
    for cause in [
        StopCause::Interrupted,
        StopCause::Terminated,
        StopCause::TimedOut,
    ] {
        let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
        pair.local.write("b", "new");
        let cancel = Cancel::new();
        let stop = cancel.clone();
        let put = Fault::on(Operation::Put).at("b");
        pair.faults.add(put.meanwhile(move || stop.stop(cause)));
        let finished = pair.run_until(SyncOptions::default(), cancel).await;
        assert!(finished.failure.is_some());
        pair.faults.assert_all_reached();
        assert_eq!(pair.store.get(PATH), None, "{cause:?}");
    }
}

#[tokio::test]
async fn a_lease_that_cannot_be_given_back_is_worth_a_word() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.local.write("b", "new");
    let delete = Fault::on(Operation::Delete).at(PATH);
    pair.faults.add(delete.before(TRANSIENT));
    let finished = pair.sync().await;
    clean(&finished);
    let words = finished.report.warnings.join("\n");
    assert!(words.contains("could not be given back"), "{words}");
}

// 40: a host is suspended in mid-run, its lease ends, it resumes

#[tokio::test]
async fn a_host_that_resumes_after_its_lease_was_taken_over_stops() {
    for options in every_kind() {
        let mut pair = Pair::synced(options, &[("a", "x"), ("b", "y"), ("c", "z")]).await;
        pair.settings.transfers = Some(1);
        pair.settings.max_delete = 100;
        pair.local.write("new1", "1");
        pair.local.write("new2", "2");
        pair.local.remove("b");
        let (clocks, store) = (Clocks::new(), pair.store.clone());
        let sleeper = clocks.clone();
        pair.faults
            .add(Fault::on(Operation::Put).at("new1").meanwhile(move || {
                sleeper.suspend(3600);
                store.advance(Duration::from_secs(3600));
                foreign(&store);
            }));
        let finished = pair.run(clocks.options()).await;
        assert_eq!(kind(&finished), Some(FailureKind::Failed));
        let text = message(&finished);
        assert!(
            text.contains("`elsewhere` has taken over the lease"),
            "{text}"
        );
        assert!(text.contains("nothing more was changed"), "{text}");
        assert_eq!(pair.store.get("new2"), None, "nothing more is uploaded");
        assert!(pair.store.get("b").is_some(), "nothing is deleted");
        assert!(pair.store.get(PATH).is_some(), "it is the other host's");
        pair.store.remove(PATH);
        clean(&pair.sync().await);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_host_that_resumes_looks_before_each_batch_of_deletes_and_before_each_drain() {
    for drains in [false, true] {
        let mut pair = Pair::synced(MemoryOptions::s3(), &[("a", "x"), ("b", "y")]).await;
        pair.settings.max_delete = 100;
        pair.local.write("new", "1");
        if drains {
            pair.store.insert("_outbox/note", b"dropped");
        } else {
            pair.local.remove("b");
        }
        let (clocks, store) = (Clocks::new(), pair.store.clone());
        let sleeper = clocks.clone();
        pair.faults
            .add(Fault::on(Operation::Put).at("new").meanwhile(move || {
                sleeper.suspend(3600);
                store.advance(Duration::from_secs(3600));
                foreign(&store);
            }));
        let finished = pair.run(clocks.options()).await;
        assert_eq!(kind(&finished), Some(FailureKind::Failed));
        assert!(pair.store.get("b").is_some());
        assert!(pair.inbox().is_empty());
        assert_eq!(pair.outbox().len(), usize::from(drains));
    }
}

#[tokio::test]
async fn a_host_that_resumes_and_finds_its_lease_goes_on() {
    let mut pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.settings.transfers = Some(1);
    pair.local.write("new1", "1");
    pair.local.write("new2", "2");
    let (clocks, store) = (Clocks::new(), pair.store.clone());
    let sleeper = clocks.clone();
    pair.faults
        .add(Fault::on(Operation::Put).at("new1").meanwhile(move || {
            sleeper.suspend(3600);
            store.advance(Duration::from_secs(3600));
        }));
    pair.store.clear_log();
    clean(&pair.run(clocks.options()).await);
    assert_eq!(lease_calls(&pair.store), 3, "taken, renewed, given back");
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_damaged_lease_is_replaced_when_its_time_is_over() {
    for content in [&b""[..], b"{", b"\xff\xfe", br#"{"format":9}"#] {
        let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
        pair.local.write("b", "new");
        pair.store.insert(PATH, content);
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Busy));
        assert!(message(&finished).contains("damaged or of a newer version"));
        pair.store.advance(Duration::from_secs(120));
        clean(&pair.sync().await);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn without_a_usable_time_it_ends_when_the_same_version_was_seen_long_enough() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.local.write("b", "new");
    let now = pair.store.now();
    pair.store.set_now(now + TimeDelta::days(1));
    foreign(&pair.store);
    pair.store.set_now(now);
    let clocks = Clocks::new();
    for _ in 0..4 {
        assert_eq!(
            kind(&pair.run(clocks.options()).await),
            Some(FailureKind::Busy)
        );
        clocks.suspend(35);
    }
    // 140 seconds after it was seen first.
    clean(&pair.run(clocks.options()).await);
    assert!(pair.store.get("b").is_some());
}

#[tokio::test]
async fn where_conditions_are_ignored_there_is_none_and_status_says_so() {
    let mut options = MemoryOptions::s3();
    options.enforced.create_if_absent = false;
    let pair = Pair::synced(options, &[("a", "x")]).await;
    pair.local.write("b", "new");
    clean(&pair.sync().await);
    assert_eq!(lease_calls(&pair.store), 0);
    let (told, failures) = status(&pair.settings).await;
    assert!(failures.is_empty());
    let enforces = told.enforces.unwrap();
    assert!(!enforces.lease);
    let (_, word) = enforces.named()[0];
    assert!(word.starts_with("no ("), "{word}");
}

#[tokio::test]
async fn status_names_the_host_that_holds_it() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    let (told, _) = status(&pair.settings).await;
    assert!(told.lease.is_none() && told.enforces.unwrap().lease);
    foreign(&pair.store);
    let (told, _) = status(&pair.settings).await;
    let lease = told.lease.unwrap();
    assert_eq!(lease.host.as_deref(), Some("elsewhere"));
    assert!(
        lease.text().contains("2023-11-14 22:13:2"),
        "{}",
        lease.text()
    );
    pair.store.advance(Duration::from_secs(121));
    assert!(
        status(&pair.settings).await.0.lease.is_none(),
        "it has ended"
    );
}

#[tokio::test]
async fn a_full_remote_is_emptied_without_one() {
    let mut pair = Pair::synced(MemoryOptions::drive(), &[("a", "x"), ("b", "y")]).await;
    pair.settings.max_delete = 100;
    pair.local.remove("b");
    let full = Fault::on(Operation::Put).times(u64::MAX);
    pair.faults.add(full.before(ErrorKind::QuotaExceeded));
    clean(&pair.sync().await);
    assert_eq!(pair.store.get("b"), None);
}

/// Two hosts with the same files run at once: one writes, the other is told to come again.
#[tokio::test]
async fn of_two_runs_at_once_one_writes() {
    for options in every_kind() {
        let first = Pair::synced(options, &[("a", "x")]).await;
        let mut second = Pair::joined(&first, &[]);
        second.settings.first_sync = FirstSync::Remote;
        clean(&second.sync().await);
        first.later();
        first.local.write("one", "1");
        second.local.write("two", "2");
        // The first is in the middle of an upload that does not come to its end.
        first
            .faults
            .add(Fault::on(Operation::Put).at("one").hangs());
        let cancel = Cancel::new();
        let run = first.run_until(SyncOptions::default(), cancel.clone());
        let meanwhile = async {
            while first.store.get(PATH).is_none() {
                tokio::task::yield_now().await;
            }
            let refused = second.sync().await;
            cancel.stop(StopCause::Interrupted);
            refused
        };
        let (_, refused) = tokio::join!(run, meanwhile);
        assert_eq!(kind(&refused), Some(FailureKind::Busy));
        assert_eq!(second.store.get("two"), None);
        clean(&second.sync().await);
        assert!(second.store.get("two").is_some());
    }
}

#[tokio::test]
async fn the_time_of_this_host_does_not_matter() {
    // 10: hours off, in either direction, and the provider's own clock decides.
    for hours in [-30, 30] {
        let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
        pair.local.write("b", "new");
        foreign(&pair.store);
        let off = move || Reading {
            wall: Utc::now() + TimeDelta::hours(hours),
            steady: Duration::ZERO,
        };
        let finished = pair
            .run(SyncOptions {
                clock: HostClock::new(off),
                ..SyncOptions::default()
            })
            .await;
        assert_eq!(kind(&finished), Some(FailureKind::Busy));
    }
}
