//! Guards, options of a run, and what stops it.

use std::sync::Arc;
use std::time::Duration;

use ows::cancel::{Cancel, StopCause};
use ows::error::FailureKind;
use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::sync::{FirstSync, SyncOptions};
use ows_providers::Operation;
use ows_providers::layers::Fault;
use ows_providers::memory::MemoryOptions;
use ows_testkit::tree::TempTree;

use crate::support::{Pair, clean, files, guard, kept, kind};

/// Files `f00`, `f01`, ...
fn many(count: usize) -> Vec<(String, String)> {
    let file = |number| (format!("f{number:02}"), format!("content {number}"));
    (0..count).map(file).collect()
}

async fn synced_many(count: usize) -> Pair {
    let files = many(count);
    let files: Vec<_> = files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_str()))
        .collect();
    Pair::synced(MemoryOptions::s3(), &files).await
}

fn remove_many(pair: &Pair, count: usize) {
    for number in 0..count {
        pair.local.remove(&format!("f{number:02}"));
    }
}

// local-root

#[tokio::test]
async fn an_unmarked_folder_deletes_nothing_and_cannot_be_forced() {
    let mut pair = synced_many(5).await;
    pair.local.remove(".ows");
    pair.store.insert("_outbox/note", b"waits");
    let before = pair.store.files();
    for force in [&[][..], &GuardName::ALL] {
        assert_eq!(guard(&pair.forced(force).await), GuardName::LocalRoot);
    }
    assert_eq!(pair.store.files(), before, "nothing was drained either");
    // Empty, as after the loss of a volume.
    remove_many(&pair, 5);
    assert_eq!(
        guard(&pair.forced(&GuardName::ALL).await),
        GuardName::LocalRoot
    );
    assert_eq!(pair.store.files(), before);
    // It offers a pull, and `firstSync: "remote"` does it unattended.
    clean(&pair.directed(Direction::Pull).await);
    assert_eq!(pair.workspace(), pair.remote());
    clean(&pair.sync().await);
    pair.assert_converged().await;

    pair.local.remove(".ows");
    remove_many(&pair, 5);
    pair.settings.first_sync = FirstSync::Remote;
    clean(&pair.sync().await);
    assert_eq!(pair.workspace().len(), 5);
    pair.assert_converged().await;
}

#[tokio::test]
async fn another_replicas_marker_stops_until_it_is_forced() {
    let pair = synced_many(3).await;
    pair.local
        .write(".ows/replica", "0123456789abcdef0123456789abcdef\n");
    pair.local.remove("f00");
    let before = pair.store.files();
    assert_eq!(guard(&pair.sync().await), GuardName::LocalRoot);
    assert_eq!(pair.store.files(), before);
    clean(&pair.forced(&[GuardName::LocalRoot]).await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_missing_local_folder_is_never_created_where_a_base_exists() {
    let mut pair = synced_many(3).await;
    let gone = pair.local.join("gone");
    pair.settings.local_path = gone.clone();
    for direction in [None, Some(Direction::Pull)] {
        let options = SyncOptions {
            direction,
            ..SyncOptions::default()
        };
        let finished = pair.run(options).await;
        assert_eq!(kind(&finished), Some(FailureKind::Guard));
        assert!(!gone.exists());
    }
    assert_eq!(pair.remote().len(), 3);
}

#[tokio::test]
async fn a_missing_local_folder_is_created_when_the_remote_is_empty_too() {
    let mut pair = Pair::new(MemoryOptions::s3(), &[]);
    let gone = pair.local.join("gone");
    pair.settings.local_path = gone.clone();
    clean(&pair.sync().await);
    assert!(gone.join("_inbox").is_dir());

    let mut pair = Pair::new(MemoryOptions::s3(), &[]);
    let gone = pair.local.join("gone");
    pair.settings.local_path = gone.clone();
    pair.store.insert("a", b"x");
    assert_eq!(kind(&pair.sync().await), Some(FailureKind::Guard));
    assert!(!gone.exists());
}

#[tokio::test]
async fn a_folder_that_goes_away_in_mid_run_ends_the_deletes() {
    let pair = synced_many(100).await;
    remove_many(&pair, 99);
    let marker = pair.local.join(".ows");
    let aside = pair.local.join("aside");
    // Right before the third delete, so that those of the same batch may still go on.
    pair.faults.add(
        Fault::on(Operation::Delete)
            .nth(3)
            .meanwhile(move || std::fs::rename(&marker, &aside).unwrap()),
    );
    let finished = pair.forced(&[GuardName::MaxDelete]).await;
    pair.faults.assert_all_reached();
    assert_eq!(kind(&finished), Some(FailureKind::Failed));
    assert!(pair.remote().len() >= 100 - 64, "{}", pair.remote().len());
}

// remote-root

#[tokio::test]
async fn an_empty_or_missing_remote_stops_both_directions() {
    for missing in [false, true] {
        for direction in [None, Some(Direction::Push), Some(Direction::Pull)] {
            let pair = synced_many(3).await;
            pair.store.remove_root();
            if !missing {
                pair.store.create_root();
            }
            let options = SyncOptions {
                direction,
                ..SyncOptions::default()
            };
            assert_eq!(guard(&pair.run(options).await), GuardName::RemoteRoot);
            assert_eq!(pair.workspace().len(), 3);
            assert!(pair.store.files().is_empty());
        }
    }
}

#[tokio::test]
async fn an_empty_remote_is_filled_again_when_it_is_forced() {
    let pair = synced_many(3).await;
    pair.store.remove_root();
    pair.store.create_root();
    clean(&pair.forced(&[GuardName::RemoteRoot]).await);
    pair.assert_converged().await;
}

// max-delete

#[tokio::test]
async fn many_deletes_stop_and_the_drain_still_runs() {
    let pair = synced_many(20).await;
    remove_many(&pair, 11);
    pair.store.insert("_outbox/note", b"delivered all the same");
    let finished = pair.sync().await;
    assert_eq!(guard(&finished), GuardName::MaxDelete);
    assert_eq!(finished.report.guard.as_ref().unwrap().count, 11);
    assert_eq!(pair.remote().len(), 20);
    assert_eq!(pair.inbox(), files(&[("note", "delivered all the same")]));
    assert_eq!(pair.outbox(), files(&[]));
    clean(&pair.forced(&[GuardName::MaxDelete]).await);
    pair.assert_converged().await;
}

/// The same for the other guards that stop a push: what was dropped is nobody's doubt.
#[tokio::test]
async fn the_drain_runs_whatever_else_stopped_the_push() {
    for stopped_by in [GuardName::RemoteRoot, GuardName::MaxChange] {
        let mut pair = synced_many(20).await;
        pair.settings.max_change = 50;
        for number in 0..20 {
            let name = format!("f{number:02}");
            match stopped_by {
                GuardName::RemoteRoot => drop(pair.store.remove(&name)),
                _ => pair.local.write(&name, "rewritten"),
            }
        }
        pair.store.insert("_outbox/note", b"dropped");
        let before = (pair.remote(), pair.workspace());
        assert_eq!(guard(&pair.sync().await), stopped_by);
        assert_eq!(
            pair.inbox(),
            files(&[("note", "dropped")]),
            "{stopped_by:?}"
        );
        assert_eq!(pair.outbox(), files(&[]));
        assert_eq!((pair.remote(), pair.workspace()), before);
    }
}

#[tokio::test]
async fn ten_deletes_never_stop_and_half_is_not_more_than_half() {
    let pair = synced_many(10).await;
    remove_many(&pair, 10);
    pair.local.write("new", "x");
    clean(&pair.sync().await);
    pair.assert_converged().await;
    let pair = synced_many(22).await;
    remove_many(&pair, 11);
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn zero_stops_at_the_first_delete_and_a_hundred_never() {
    let mut pair = synced_many(20).await;
    pair.settings.max_delete = 0;
    remove_many(&pair, 1);
    assert_eq!(guard(&pair.sync().await), GuardName::MaxDelete);
    pair.settings.max_delete = 100;
    pair.local.write("stays", "x");
    for number in 1..20 {
        pair.local.remove(&format!("f{number:02}"));
    }
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn moves_and_drained_files_are_no_deletes() {
    let pair = synced_many(20).await;
    for number in 0..20 {
        let name = format!("f{number:02}");
        pair.local.rename(&name, &format!("moved/{name}"));
        pair.store.insert(&format!("_outbox/{name}"), b"x");
    }
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(finished.report.counts.moved, 20);
    pair.assert_converged().await;
}

#[tokio::test]
async fn strays_count_as_deletes() {
    let pair = synced_many(5).await;
    for number in 0..30 {
        pair.store.insert(&format!("stray{number}"), b"x");
    }
    assert_eq!(guard(&pair.sync().await), GuardName::MaxDelete);
    assert_eq!(pair.remote().len(), 35);
}

// first-sync

fn unequal() -> Pair {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "here"), ("same", "both")]);
    pair.store.insert("a", b"there");
    pair.store.insert("b", b"only there");
    pair.store.insert("same", b"both");
    pair.store.insert("_outbox/note", b"dropped");
    pair
}

#[tokio::test]
async fn a_first_run_that_would_displace_something_stops_and_drains() {
    let pair = unequal();
    let finished = pair.sync().await;
    assert_eq!(guard(&finished), GuardName::FirstSync);
    let stop = finished.report.guard.as_ref().unwrap();
    assert_eq!(
        (stop.count, stop.examples.clone()),
        (2, vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(
        pair.remote(),
        files(&[("a", "there"), ("b", "only there"), ("same", "both")])
    );
    assert_eq!(pair.inbox(), files(&[("note", "dropped")]));
    // Still the first one.
    assert_eq!(guard(&pair.sync().await), GuardName::FirstSync);
}

#[tokio::test]
async fn a_first_run_names_twenty_files_at_most() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "x")]);
    for number in 0..30 {
        pair.store.insert(&format!("stray{number}"), b"x");
    }
    let finished = pair.sync().await;
    assert_eq!(guard(&finished), GuardName::FirstSync);
    let stop = finished.report.guard.unwrap();
    assert_eq!((stop.count, stop.examples.len()), (30, 20));
}

#[tokio::test]
async fn a_first_run_adopts_what_is_equal() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "both"), ("b", "new")]);
    pair.store.insert("a", b"both");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(finished.report.counts.upload, 1);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_forced_first_run_keeps_what_it_displaces() {
    let pair = unequal();
    clean(&pair.forced(&[GuardName::FirstSync]).await);
    assert_eq!(
        pair.remote_trash(),
        kept(&[("a", "there"), ("b", "only there")])
    );
    pair.assert_converged().await;
}

#[tokio::test]
async fn first_sync_local_takes_the_workspace() {
    let mut pair = unequal();
    pair.settings.first_sync = FirstSync::Local;
    clean(&pair.sync().await);
    assert_eq!(pair.remote(), files(&[("a", "here"), ("same", "both")]));
    assert_eq!(
        pair.remote_trash(),
        kept(&[("a", "there"), ("b", "only there")])
    );
    pair.assert_converged().await;
}

#[tokio::test]
async fn first_sync_local_asks_when_the_workspace_is_empty_or_another_replica_was_there() {
    let mut pair = Pair::new(MemoryOptions::s3(), &[]);
    pair.settings.first_sync = FirstSync::Local;
    pair.store.insert("a", b"there");
    assert_eq!(guard(&pair.sync().await), GuardName::FirstSync);
    let mut pair = unequal();
    pair.settings.first_sync = FirstSync::Local;
    pair.store.insert(".ows/trash/x/y", b"z");
    assert_eq!(guard(&pair.sync().await), GuardName::FirstSync);
}

#[tokio::test]
async fn first_sync_remote_fills_the_workspace_then_pushes() {
    let mut pair = unequal();
    pair.settings.first_sync = FirstSync::Remote;
    pair.local.write("only here", "displaced too");
    clean(&pair.sync().await);
    assert_eq!(
        pair.workspace(),
        files(&[("a", "there"), ("b", "only there"), ("same", "both")])
    );
    assert_eq!(
        pair.local_trash(),
        kept(&[("a", "here"), ("only here", "displaced too")])
    );
    assert_eq!(pair.remote_trash(), kept(&[]));
    assert_eq!(pair.inbox(), files(&[("note", "dropped")]));
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_first_pull_that_would_displace_something_stops() {
    let pair = unequal();
    assert_eq!(
        guard(&pair.directed(Direction::Pull).await),
        GuardName::FirstSync
    );
    assert_eq!(pair.workspace(), files(&[("a", "here"), ("same", "both")]));
}

#[tokio::test]
async fn a_dry_run_meets_the_guards_and_prints_its_plan() {
    let pair = unequal();
    let finished = pair
        .run(SyncOptions {
            dry_run: true,
            ..SyncOptions::default()
        })
        .await;
    assert_eq!(guard(&finished), GuardName::FirstSync);
    assert_eq!(finished.report.actions.len(), 3);
    assert_eq!(pair.inbox(), files(&[]), "not even the drain");
}

// Options and stops

#[tokio::test]
async fn rebuilding_the_state_sets_it_aside_and_starts_anew() {
    let pair = synced_many(3).await;
    std::fs::write(pair.state.join("ows/state.db"), "this is no database").unwrap();
    let broken = pair.sync().await;
    assert_eq!(kind(&broken), Some(FailureKind::Failed));
    let finished = pair
        .run(SyncOptions {
            rebuild_state: true,
            ..SyncOptions::default()
        })
        .await;
    clean(&finished);
    assert_eq!(finished.report.counts.upload, 0, "equal files are adopted");
    let aside = |name: &String| name.contains("damaged");
    assert!(pair.state.files().keys().any(aside));
    pair.assert_converged().await;
}

#[tokio::test]
async fn rebuilding_a_state_that_is_not_there_is_no_failure() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "x")]);
    let finished = pair
        .run(SyncOptions {
            rebuild_state: true,
            ..SyncOptions::default()
        })
        .await;
    clean(&finished);
    pair.assert_converged().await;
}

#[tokio::test]
async fn what_was_finished_before_the_timeout_counts() {
    let mut pair = Pair::new(MemoryOptions::s3(), &[("a", "x"), ("b", "y"), ("c", "z")]);
    pair.settings.transfers = Some(1);
    pair.faults.add(Fault::on(Operation::Put).at("b").hangs());
    let finished = pair
        .run(SyncOptions {
            timeout: Some(Duration::from_secs(4)),
            ..SyncOptions::default()
        })
        .await;
    pair.faults.assert_all_reached();
    assert_eq!(kind(&finished), Some(FailureKind::TimedOut));
    assert_eq!(finished.report.exit_code, 124);
    let done = finished.report.counts.upload;
    assert_eq!(done, pair.remote().len() as u64);
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(finished.report.counts.upload, 3 - done);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_run_can_be_stopped_in_each_phase() {
    let phases = [
        Operation::List,
        Operation::Probe,
        Operation::Put,
        Operation::StartUpload,
        Operation::PutPart,
        Operation::CompleteUpload,
        Operation::Copy,
        Operation::Delete,
        Operation::Get,
    ];
    let mut options = MemoryOptions::s3();
    options.single_put_max = 4096;
    for operation in phases {
        for after in [false, true] {
            let large = "x".repeat(9000);
            let pair = Pair::synced(options.clone(), &[("a", "x"), ("b", "y"), ("c", "z")]).await;
            // The probe is tried again when it is a day old.
            pair.store.advance(Duration::from_secs(2 * 86_400));
            pair.local.remove("a");
            pair.local.write("large", &large);
            pair.local.write("new", "new");
            pair.store.insert("b", b"edited");
            pair.store.insert("_outbox/note", b"dropped");
            let fault = Fault::on(operation);
            pair.faults.add(if after {
                fault.hangs_after()
            } else {
                fault.hangs()
            });
            let cancel = Cancel::new();
            let stop = cancel.clone();
            let reached = Arc::clone(&pair.faults);
            let stopping = tokio::spawn(async move {
                while !reached.unreached().is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                stop.stop(StopCause::Terminated);
            });
            let finished = pair.run_until(SyncOptions::default(), cancel).await;
            stopping.await.unwrap();
            assert_eq!(
                kind(&finished),
                Some(FailureKind::Terminated),
                "{operation:?}"
            );
            pair.later();
            clean(&pair.sync().await);
            assert_eq!(pair.inbox(), files(&[("note", "dropped")]), "{operation:?}");
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn a_second_run_is_busy_or_waits() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "x")]);
    pair.faults.add(Fault::on(Operation::List).hangs());
    let cancel = Cancel::new();
    let first = pair.run_until(SyncOptions::default(), cancel.clone());
    let second = async {
        while !pair.faults.unreached().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let busy = pair.sync().await;
        assert_eq!(kind(&busy), Some(FailureKind::Busy));
        assert_eq!(busy.report.exit_code, 6);
        let waiting = SyncOptions {
            wait: Duration::from_secs(30),
            ..SyncOptions::default()
        };
        let stop = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            cancel.stop(StopCause::Interrupted);
        };
        let (finished, ()) = tokio::join!(pair.run(waiting), stop);
        clean(&finished);
    };
    let (first, ()) = tokio::join!(first, second);
    assert_eq!(kind(&first), Some(FailureKind::Interrupted));
    pair.assert_converged().await;
}

#[tokio::test]
async fn two_pairs_with_one_state_directory_do_not_disturb_each_other() {
    let one = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    let mut options = MemoryOptions::s3();
    options.identity = "another bucket".to_owned();
    let mut other = Pair::new(options, &[("b", "y")]);
    other.settings.own_dir = one.settings.own_dir.clone();
    clean(&other.sync().await);
    one.local.remove("a");
    one.local.write("c", "z");
    clean(&one.sync().await);
    one.assert_converged().await;
    other.assert_converged().await;
    assert_eq!(other.remote(), files(&[("b", "y")]));
    drop(TempTree::new());
}
