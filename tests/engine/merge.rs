//! First runs of both sides that hold something: every value of `firstSync`, and `merge` in all that may go wrong with it.

use std::time::{Duration, SystemTime};

use chrono::Utc;
use ows::error::FailureKind;
use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::sync::{FirstSync, SyncOptions};
use ows_providers::layers::{Fault, Moment};
use ows_providers::memory::MemoryOptions;
use ows_providers::{Operation, hash};
use ows_testkit::tree::{Files, OwsFolder, read_files};

use crate::support::{Pair, TRANSIENT, calls, clean, files, guard, kind};

const HOUR: Duration = Duration::from_secs(3600);

/// A pair that merges on its first run; the clocks agree.
fn merging(options: MemoryOptions, local: &[(&str, &str)], remote: &[(&str, &str)]) -> Pair {
    let mut pair = Pair::new(options, local);
    pair.settings.first_sync = FirstSync::Merge;
    pair.store.set_now(Utc::now());
    for (path, content) in remote {
        pair.store.insert(path, content.as_bytes());
    }
    pair
}

fn every_kind() -> [MemoryOptions; 3] {
    [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ]
}

/// Makes the local file older, or newer, than anything in the remote.
fn dated(pair: &Pair, path: &str, newer: bool) {
    if newer {
        let content = pair.store.get(path).expect("it is in the remote");
        let long_ago = (Utc::now() - HOUR).timestamp_nanos_opt();
        pair.store.insert_with_mtime(path, &content, long_ago);
    } else {
        pair.local.set_modified(path, SystemTime::now() - HOUR);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    BothEmpty,
    LocalOnly,
    RemoteOnly,
    Equal,
    Differing,
}

#[tokio::test]
async fn each_value_of_first_sync_does_what_it_says_from_each_start() {
    use FirstSync::{Ask, Local, Merge, Remote};
    use Start::{BothEmpty, Differing, Equal, LocalOnly, RemoteOnly};
    let (mine, theirs) = (("mine", "m"), ("theirs", "t"));
    let both_differ = [("a", "here"), mine];
    let there = [("a", "there"), theirs];
    for (first_sync, start, expected) in [
        (Ask, BothEmpty, Some(vec![])),
        (Ask, LocalOnly, Some(vec![mine])),
        (Ask, RemoteOnly, None),
        (Ask, Equal, Some(vec![("a", "x")])),
        (Ask, Differing, None),
        (Local, BothEmpty, Some(vec![])),
        (Local, LocalOnly, Some(vec![mine])),
        (Local, RemoteOnly, None),
        (Local, Equal, Some(vec![("a", "x")])),
        (Local, Differing, Some(both_differ.to_vec())),
        (Remote, BothEmpty, Some(vec![])),
        (Remote, LocalOnly, Some(vec![mine])),
        (Remote, RemoteOnly, Some(vec![theirs])),
        (Remote, Equal, Some(vec![("a", "x")])),
        (Remote, Differing, Some(there.to_vec())),
        (Merge, BothEmpty, Some(vec![])),
        (Merge, LocalOnly, Some(vec![mine])),
        (Merge, RemoteOnly, Some(vec![theirs])),
        (Merge, Equal, Some(vec![("a", "x")])),
        (
            Merge,
            Differing,
            Some(vec![("a", "there"), ("a.conflict", "here"), mine, theirs]),
        ),
    ] {
        let (local, remote): (&[_], &[_]) = match start {
            BothEmpty => (&[], &[]),
            LocalOnly => (&[mine], &[]),
            RemoteOnly => (&[], &[theirs]),
            Equal => (&[("a", "x")], &[("a", "x")]),
            Differing => (&both_differ, &there),
        };
        let mut pair = merging(MemoryOptions::s3(), local, remote);
        pair.settings.first_sync = first_sync;
        if start == Differing {
            dated(&pair, "a", false);
        }
        let finished = pair.sync().await;
        let Some(expected) = expected else {
            assert_eq!(
                guard(&finished),
                GuardName::FirstSync,
                "{first_sync:?} {start:?}"
            );
            assert_eq!(pair.remote(), files(remote));
            assert_eq!(pair.workspace(), files(local));
            continue;
        };
        assert!(
            finished.failure.is_none(),
            "{first_sync:?} {start:?}: {finished:?}"
        );
        assert_eq!(pair.remote(), files(&expected), "{first_sync:?} {start:?}");
        if start == BothEmpty {
            assert_eq!(pair.workspace(), files(&[]));
        } else if expected.is_empty() {
            assert_eq!(pair.workspace(), files(&[]), "{first_sync:?} {start:?}");
        } else {
            pair.assert_converged().await;
        }
        // Nothing is lost, whatever was chosen.
        for (_, content) in local.iter().chain(remote) {
            assert!(pair.contents().contains(content.as_bytes()), "{content}");
        }
    }
}

#[tokio::test]
async fn the_newer_one_keeps_the_name_and_the_other_stays_beside_it_on_both_sides() {
    for options in every_kind() {
        for local_is_newer in [true, false] {
            let pair = merging(
                options.clone(),
                &[("d/report.md", "from the workspace"), ("same", "both")],
                &[("d/report.md", "from the cloud"), ("same", "both")],
            );
            dated(&pair, "d/report.md", local_is_newer);
            let finished = pair.sync().await;
            clean(&finished);
            let (winner, loser) = if local_is_newer {
                ("from the workspace", "from the cloud")
            } else {
                ("from the cloud", "from the workspace")
            };
            assert_eq!(
                pair.remote(),
                files(&[
                    ("d/report.md", winner),
                    ("d/report.md.conflict", loser),
                    ("same", "both")
                ])
            );
            let counts = finished.report.counts;
            assert_eq!((counts.conflict, counts.upload, counts.download), (1, 0, 0));
            let told = finished.report.warnings.join("\n");
            assert!(told.contains("`d/report.md`: differs"), "{told}");
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_lets_the_remote_keep_the_name() {
    let pair = merging(MemoryOptions::s3(), &[("a", "here")], &[("a", "there")]);
    dated(&pair, "a", true);
    pair.store.set_now(Utc::now() + Duration::from_secs(600));
    clean(&pair.sync().await);
    assert_eq!(
        pair.remote(),
        files(&[("a", "there"), ("a.conflict", "here")])
    );
}

#[tokio::test]
async fn names_of_conflicts_are_used_only_where_nothing_is_on_either_side() {
    let pair = merging(
        MemoryOptions::s3(),
        &[
            ("a", "here"),
            ("a.conflict", "older conflict"),
            ("a.conflict3", "x"),
        ],
        &[
            ("a", "there"),
            ("a.conflict2", "another one"),
            ("a.conflict4/in", "y"),
        ],
    );
    dated(&pair, "a", false);
    clean(&pair.sync().await);
    assert_eq!(
        pair.remote(),
        files(&[
            ("a", "there"),
            ("a.conflict", "older conflict"),
            ("a.conflict2", "another one"),
            ("a.conflict3", "x"),
            ("a.conflict4/in", "y"),
            ("a.conflict5", "here"),
        ])
    );
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_folder_keeps_its_name_and_the_file_of_that_name_stays_beside_it() {
    for options in every_kind() {
        let pair = merging(
            options,
            &[("here a folder/x", "1"), ("there a folder", "a file here")],
            &[
                ("here a folder", "a file there"),
                ("there a folder/y/z", "2"),
            ],
        );
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.conflict, 2);
        assert_eq!(
            pair.remote(),
            files(&[
                ("here a folder/x", "1"),
                ("here a folder.conflict", "a file there"),
                ("there a folder/y/z", "2"),
                ("there a folder.conflict", "a file here"),
            ])
        );
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_dry_run_shows_the_merge_and_changes_nothing() {
    let pair = merging(
        MemoryOptions::s3(),
        &[("a", "here"), ("mine", "m")],
        &[("a", "there"), ("theirs", "t")],
    );
    dated(&pair, "a", false);
    let before = (pair.store.files(), pair.local.files());
    let dry = SyncOptions {
        dry_run: true,
        ..SyncOptions::default()
    };
    let finished = pair.run(dry).await;
    clean(&finished);
    let counts = finished.report.counts;
    assert_eq!((counts.conflict, counts.upload, counts.download), (1, 1, 1));
    let conflict = finished
        .report
        .actions
        .iter()
        .find(|action| action.op == "conflict");
    assert_eq!(conflict.map(|action| action.path.as_str()), Some("a"));
    assert_eq!((pair.store.files(), pair.local.files()), before);
}

#[tokio::test]
async fn mail_is_no_part_of_a_merge_and_is_drained_in_the_same_run() {
    let pair = merging(
        MemoryOptions::s3(),
        &[("a", "x"), ("_inbox/old", "read")],
        &[("b", "y"), ("_outbox/note", "dropped"), ("_inbox/odd", "z")],
    );
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(pair.inbox(), files(&[("note", "dropped"), ("old", "read")]));
    assert_eq!(pair.remote(), files(&[("a", "x"), ("b", "y")]));
    pair.assert_converged().await;
}

/// What a merge of [`scene`] ends in.
fn merged() -> Files {
    files(&[
        ("folder/in it", "1"),
        ("folder.conflict", "a file"),
        ("mine", "m"),
        ("newer here", "newer"),
        ("newer here.conflict", "older, there"),
        ("newer there", "newer, there"),
        ("newer there.conflict", "older"),
        ("same", "both"),
        ("theirs", "t"),
    ])
}

fn scene(options: MemoryOptions) -> Pair {
    let mut pair = merging(
        options,
        &[
            ("folder", "a file"),
            ("mine", "m"),
            ("newer here", "newer"),
            ("newer there", "older"),
            ("same", "both"),
        ],
        &[
            ("folder/in it", "1"),
            ("newer here", "older, there"),
            ("newer there", "newer, there"),
            ("same", "both"),
            ("theirs", "t"),
        ],
    );
    dated(&pair, "newer here", true);
    dated(&pair, "newer there", false);
    // One after the other, so that the n-th call is always the same.
    pair.settings.transfers = Some(1);
    pair
}

#[tokio::test]
async fn a_merge_that_failed_or_was_killed_at_any_call_is_completed_without_conflicts_of_conflicts()
{
    for options in every_kind() {
        let undisturbed = scene(options.clone());
        clean(&undisturbed.sync().await);
        assert_eq!(undisturbed.remote(), merged());
        undisturbed.assert_converged().await;
        let mut reached = 0;
        for nth in 1.. {
            let mut any = false;
            for moment in [Moment::Before, Moment::After] {
                for dies in [false, true] {
                    let pair = scene(options.clone());
                    match (dies, moment) {
                        (true, _) => {
                            pair.faults.crash_at(nth, moment);
                        }
                        (false, Moment::Before) => {
                            pair.faults.add(Fault::any().nth(nth).before(TRANSIENT));
                        }
                        (false, Moment::After) => {
                            pair.faults.add(Fault::any().nth(nth).after(TRANSIENT));
                        }
                    }
                    drop(pair.sync().await);
                    any |= pair.faults.unreached().is_empty();
                    pair.faults.clear();
                    pair.store.advance(Duration::from_secs(5));
                    let finished = pair.sync().await;
                    let what = format!("call {nth}, {moment:?}, dies: {dies}");
                    assert!(
                        finished.failure.is_none(),
                        "{what}: {:?} {:?}",
                        finished.failure,
                        finished.report.errors
                    );
                    assert_eq!(pair.workspace(), merged(), "{what}");
                    assert_eq!(pair.remote(), merged(), "{what}");
                    pair.assert_converged().await;
                }
            }
            if !any {
                break;
            }
            reached = nth;
        }
        assert!(reached > 15, "only {reached} calls were disturbed");
    }
}

#[tokio::test]
async fn a_merge_that_was_killed_is_not_gone_on_with_as_a_push() {
    let mut pair = scene(MemoryOptions::s3());
    // The first download fails, and with it the merge: what is missing here was never here.
    pair.faults
        .add(Fault::on(Operation::Get).nth(1).before(TRANSIENT));
    let finished = pair.sync().await;
    pair.faults.assert_all_reached();
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    assert_eq!(finished.report.counts.delete_remote, 0);
    pair.settings.first_sync = FirstSync::Ask;
    let before = pair.store.files();
    let finished = pair.sync().await;
    assert_eq!(guard(&finished), GuardName::LocalRoot);
    let told = finished
        .report
        .guard
        .map(|stop| stop.message)
        .unwrap_or_default();
    assert!(told.contains("uniting both sides"), "{told}");
    assert_eq!(pair.store.files(), before);
    pair.settings.first_sync = FirstSync::Merge;
    clean(&pair.sync().await);
    assert_eq!(pair.remote(), merged());
    pair.assert_converged().await;
}

#[tokio::test]
async fn an_edit_during_a_merge_is_left_for_the_next_run_and_nothing_is_lost() {
    // The remote file changes after the listing; the local one before its copy is made.
    for remotely in [true, false] {
        let pair = scene(MemoryOptions::s3());
        let (store, edited) = (pair.store.clone(), pair.local.join("newer there"));
        pair.faults
            .add(Fault::on(Operation::Put).nth(1).meanwhile(move || {
                if remotely {
                    store.insert("newer here", b"edited in the cloud");
                } else {
                    std::fs::write(&edited, "edited here").expect("it is written");
                }
            }));
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        pair.faults.clear();
        pair.store.advance(Duration::from_secs(5));
        clean(&pair.sync().await);
        let edit: &[u8] = if remotely {
            b"edited in the cloud"
        } else {
            b"edited here"
        };
        assert!(pair.remote().values().any(|content| content == edit));
        for content in merged().values() {
            let edited_over: &[u8] = if remotely { b"older, there" } else { b"older" };
            assert!(content == edited_over || pair.contents().contains(content));
        }
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn after_a_merge_the_workspace_is_the_truth_again_and_a_quiet_run_lists_once() {
    let pair = scene(MemoryOptions::s3());
    clean(&pair.sync().await);
    pair.later();
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(calls(&finished), [("list", 1)]);
    pair.local.remove("theirs");
    clean(&pair.sync().await);
    assert_eq!(pair.store.get("theirs"), None);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_run_with_a_direction_does_not_merge() {
    let pair = scene(MemoryOptions::s3());
    assert_eq!(
        guard(&pair.directed(Direction::Pull).await),
        GuardName::FirstSync
    );
    assert_eq!(
        guard(&pair.directed(Direction::Push).await),
        GuardName::FirstSync
    );
}

#[tokio::test]
async fn the_stored_time_decides_where_the_listing_does_not_tell_it() {
    // The object was uploaded just now, and what is in it is old.
    let pair = merging(MemoryOptions::s3(), &[("a", "here")], &[]);
    let long_ago = (Utc::now() - HOUR).timestamp_nanos_opt();
    pair.store.insert_with_mtime("a", b"there", long_ago);
    let listed = hash::ContentHashes::of(b"there");
    assert!(
        pair.store
            .entry("a")
            .and_then(|entry| entry.hash)
            .is_some_and(|hash| listed.agree_with(&hash))
    );
    pair.local.set_modified("a", SystemTime::now() - HOUR / 2);
    clean(&pair.sync().await);
    assert_eq!(
        pair.remote(),
        files(&[("a", "here"), ("a.conflict", "there")])
    );
}

#[tokio::test]
async fn a_copy_beside_a_private_file_is_seen_by_no_more_people() {
    use std::os::unix::fs::PermissionsExt as _;
    let pair = merging(MemoryOptions::s3(), &[("a", "here")], &[("a", "there")]);
    dated(&pair, "a", false);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(pair.local.join("a"), private).expect("it is ours");
    clean(&pair.sync().await);
    let copy = read_files(pair.local.path(), OwsFolder::Include);
    assert_eq!(copy["a.conflict"], b"here");
    let mode = |path: &str| {
        let metadata = std::fs::metadata(pair.local.join(path)).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("a"), mode("a.conflict")), (0o600, 0o600));
}
