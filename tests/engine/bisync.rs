//! Bisync: each outcome of the table with the real engine, first runs, `--resync`, folders that lost their marker, and
//! rollbacks.

use std::time::{Duration, SystemTime};

use chrono::Utc;
use ows::error::FailureKind;
use ows::plan::guards::GuardName;
use ows::plan::{Direction, Resolve, Side};
use ows::sync::{FirstSync, SyncMode, SyncOptions};
use ows_providers::Operation;
use ows_providers::layers::{Fault, Moment};
use ows_providers::memory::MemoryOptions;
use ows_testkit::tree::TempTree;

use crate::support::{Pair, TRANSIENT, clean, files, guard, kept, kind};

const HOUR: Duration = Duration::from_secs(3600);

fn every_kind() -> [MemoryOptions; 3] {
    [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ]
}

/// A pair in bisync mode, before its first run; the clocks agree.
pub fn bisync(options: MemoryOptions, local: &[(&str, &str)], remote: &[(&str, &str)]) -> Pair {
    let mut pair = Pair::new(options, local);
    pair.settings.mode = SyncMode::Bisync;
    pair.store.set_now(Utc::now());
    for (path, content) in remote {
        pair.store.insert(path, content.as_bytes());
    }
    pair
}

/// A pair whose sides agree on these files.
pub async fn agreed(options: MemoryOptions, files: &[(&str, &str)]) -> Pair {
    let pair = bisync(options, files, &[]);
    clean(&pair.sync().await);
    pair.later();
    pair
}

fn resync() -> SyncOptions {
    SyncOptions {
        resync: true,
        ..SyncOptions::default()
    }
}

#[tokio::test]
async fn what_is_done_on_one_side_is_done_on_the_other() {
    for options in every_kind() {
        let pair = agreed(
            options,
            &[
                ("a", "1"),
                ("b", "2"),
                ("c", "3"),
                ("d/e", "4"),
                ("d/f", "5"),
            ],
        )
        .await;
        pair.local.write("a", "edited here");
        pair.store.insert("b", b"edited there");
        pair.local.remove("c");
        pair.store.remove("d/f");
        pair.local.write("new/here", "6");
        pair.store.insert("new/there", b"7");
        clean(&pair.sync().await);
        let expected = files(&[
            ("a", "edited here"),
            ("b", "edited there"),
            ("d/e", "4"),
            ("new/here", "6"),
            ("new/there", "7"),
        ]);
        assert_eq!(pair.workspace(), expected);
        assert_eq!(pair.local_trash(), kept(&[("d/f", "5")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_change_wins_over_a_delete_on_either_side() {
    for options in every_kind() {
        let pair = agreed(options, &[("a", "1"), ("b", "2")]).await;
        pair.local.remove("a");
        pair.store.insert("a", b"edited there");
        pair.local.write("b", "edited here");
        pair.store.remove("b");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(
            pair.workspace(),
            files(&[("a", "edited there"), ("b", "edited here")])
        );
        assert_eq!(
            finished.report.warnings.len(),
            2,
            "{:?}",
            finished.report.warnings
        );
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn the_same_done_on_both_sides_is_agreed() {
    for options in every_kind() {
        let pair = agreed(options, &[("a", "1"), ("b", "2")]).await;
        pair.local.write("a", "same");
        pair.store.insert("a", b"same");
        pair.local.remove("b");
        pair.store.remove("b");
        pair.local.write("c", "new");
        pair.store.insert("c", b"new");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(
            finished.report.counts.upload + finished.report.counts.download,
            0
        );
        assert_eq!(pair.workspace(), files(&[("a", "same"), ("c", "new")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn what_differs_on_both_sides_is_kept_twice_and_the_setting_says_who_keeps_the_name() {
    for (resolve, newer_here, name) in [
        (Resolve::Newer, true, "here"),
        (Resolve::Newer, false, "there"),
        (Resolve::Always(Side::Local), false, "here"),
        (Resolve::Always(Side::Remote), true, "there"),
    ] {
        for options in every_kind() {
            let mut pair = agreed(options, &[("a.txt", "old")]).await;
            pair.settings.conflict_resolve = resolve;
            pair.local.write("a.txt", "here");
            if newer_here {
                let long_ago = (Utc::now() - HOUR).timestamp_nanos_opt();
                pair.store.insert_with_mtime("a.txt", b"there", long_ago);
            } else {
                pair.store.insert("a.txt", b"there");
                pair.local.set_modified("a.txt", SystemTime::now() - HOUR);
            }
            let finished = pair.sync().await;
            clean(&finished);
            assert_eq!(finished.report.counts.conflict, 1);
            let other = if name == "here" { "there" } else { "here" };
            let expected = files(&[("a.txt", name), ("a.txt.conflict", other)]);
            assert_eq!(pair.workspace(), expected, "{resolve:?}");
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn a_replica_that_surprises_nobody_joins_by_itself_and_another_one_stops() {
    let both = [("a", "1"), ("b", "2")];
    for options in every_kind() {
        for (local, remote, joins) in [
            (&[][..], &both[..], true),
            (&both[..1], &both[..], true),
            (&both[..], &[][..], true),
            (&both[..], &both[..], true),
            (&both[..], &both[..1], false),
            (&[("a", "other")], &both[..], false),
        ] {
            let pair = bisync(options.clone(), local, remote);
            let finished = pair.sync().await;
            if joins {
                clean(&finished);
                assert_eq!(pair.workspace(), files(&both));
                pair.assert_converged().await;
                continue;
            }
            assert_eq!(guard(&finished), GuardName::FirstSync);
            let hint = finished
                .failure
                .as_ref()
                .and_then(|failure| failure.hint.clone());
            assert!(hint.is_some_and(|hint| hint.contains("--resync")));
            assert_eq!(pair.workspace(), files(local));
            assert_eq!(pair.remote(), files(remote));
            pair.later();
            clean(&pair.run(resync()).await);
            assert_eq!(
                pair.workspace().len(),
                2 + usize::from(local[0].1 == "other")
            );
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn first_sync_decides_unattended() {
    for options in every_kind() {
        for (first, expected) in [
            (
                FirstSync::Merge,
                &[
                    ("a", "there"),
                    ("a.conflict", "here"),
                    ("x", "x"),
                    ("y", "y"),
                ][..],
            ),
            (FirstSync::Remote, &[("a", "there"), ("y", "y")]),
            (FirstSync::Local, &[("a", "here"), ("x", "x")]),
        ] {
            let mut pair = bisync(
                options.clone(),
                &[("a", "here"), ("x", "x")],
                &[("a", "there"), ("y", "y")],
            );
            pair.settings.first_sync = first;
            pair.local.set_modified("a", SystemTime::now() - HOUR);
            clean(&pair.sync().await);
            assert_eq!(pair.workspace(), files(expected), "{first:?}");
            for content in ["here", "there", "x", "y"] {
                let kept = pair.contents().contains(content.as_bytes());
                assert!(kept, "{first:?}: {content} is nowhere");
            }
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn a_resync_deletes_nothing_and_keeps_what_differs_twice() {
    for options in every_kind() {
        let pair = agreed(options, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
        pair.local.remove("a");
        pair.store.remove("b");
        pair.local.write("c", "edited here");
        clean(&pair.run(resync()).await);
        let workspace = pair.workspace();
        assert_eq!(workspace.get("a").map(Vec::as_slice), Some(&b"1"[..]));
        assert_eq!(workspace.get("b").map(Vec::as_slice), Some(&b"2"[..]));
        let twice = ["c", "c.conflict"].map(|path| workspace.get(path).cloned());
        assert!(
            twice.contains(&Some(b"3".to_vec())) && twice.contains(&Some(b"edited here".to_vec()))
        );
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_folder_without_its_marker_is_only_filled_and_nothing_of_it_displaces_anything() {
    for options in every_kind() {
        let pair = agreed(options, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
        // Another volume: a template with a file of the same name.
        for path in ["a", "b", "c", ".ows/replica"] {
            pair.local.remove(path);
        }
        pair.local.write("b", "template");
        pair.local.write("d", "new");
        pair.store.remove("c");
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        assert_eq!(
            pair.workspace(),
            files(&[("a", "1"), ("b", "template"), ("d", "new")])
        );
        assert_eq!(pair.remote(), files(&[("a", "1"), ("b", "2")]));
        pair.later();
        clean(&pair.sync().await);
        for content in ["1", "2", "template", "new"] {
            assert!(
                pair.remote()
                    .values()
                    .any(|held| held == content.as_bytes()),
                "{content}"
            );
        }
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn an_emptied_remote_stops_the_run() {
    for options in every_kind() {
        let pair = agreed(options, &[("a", "1"), ("b", "2")]).await;
        pair.store.remove("a");
        pair.store.remove("b");
        assert_eq!(guard(&pair.sync().await), GuardName::RemoteRoot);
        assert_eq!(pair.workspace().len(), 2);
        clean(
            &pair
                .run(SyncOptions {
                    force: [GuardName::RemoteRoot].into(),
                    ..resync()
                })
                .await,
        );
        assert_eq!(pair.remote().len(), 2);
    }
}

#[tokio::test]
async fn what_is_said_of_an_emptied_remote_that_lost_its_checkpoint_too_empties_the_workspace() {
    for options in every_kind() {
        let pair = agreed(options, &[("a", "1")]).await;
        pair.local.write("b", "2");
        clean(&pair.sync().await);
        for path in pair.store.files().into_keys() {
            pair.store.remove(&path);
        }
        pair.store.insert(".DS_Store", b"it takes no part");
        let stopped = pair.sync().await;
        assert_eq!(guard(&stopped), GuardName::RemoteRoot);
        let hint = stopped.failure.and_then(|failure| failure.hint);
        let typed = "`ows sync --force remote-root --force max-delete --force state-rollback`";
        assert!(
            hint.as_ref().is_some_and(|hint| hint.contains(typed)),
            "{hint:?}"
        );
        let forced = [
            GuardName::RemoteRoot,
            GuardName::MaxDelete,
            GuardName::StateRollback,
        ];
        clean(&pair.forced(&forced).await);
        assert_eq!(pair.workspace(), files(&[]));
        assert_eq!(pair.local_trash(), kept(&[("a", "1"), ("b", "2")]));
    }
}

#[tokio::test]
async fn one_way_runs_override_what_was_done_on_the_other_side() {
    for options in every_kind() {
        for direction in [Direction::Push, Direction::Pull] {
            let pair = agreed(options.clone(), &[("a", "1"), ("b", "2")]).await;
            pair.local.write("a", "here");
            pair.store.insert("a", b"there");
            pair.local.write("x", "x");
            pair.store.insert("y", b"y");
            let expected = match direction {
                Direction::Push => files(&[("a", "here"), ("b", "2"), ("x", "x")]),
                _ => files(&[("a", "there"), ("b", "2"), ("y", "y")]),
            };
            clean(&pair.directed(direction).await);
            assert_eq!(pair.workspace(), expected);
            assert_eq!(pair.remote(), expected);
            for content in ["here", "there", "x", "y"] {
                assert!(pair.contents().contains(content.as_bytes()), "{content}");
            }
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn a_run_that_only_deletes_here_stores_its_checkpoint_too() {
    let pair = agreed(MemoryOptions::s3(), &[("a", "1"), ("b", "2")]).await;
    let checkpoint = |pair: &Pair| {
        let files = pair.store.files();
        let stored = files
            .into_iter()
            .find(|(path, _)| path.starts_with(".ows/base-"));
        stored.expect("a checkpoint is stored").1
    };
    let before = checkpoint(&pair);
    pair.store.remove("b");
    clean(&pair.sync().await);
    assert_eq!(pair.workspace(), files(&[("a", "1")]));
    assert_ne!(checkpoint(&pair), before);
}

#[tokio::test]
async fn after_a_rollback_nothing_is_deleted_and_what_differs_is_kept_twice() {
    for options in every_kind() {
        let pair = agreed(options, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
        let image = pair.state.files();
        pair.local.write("a", "edited here");
        pair.local.remove("b");
        pair.local.write("d", "new");
        clean(&pair.sync().await);
        pair.later();
        // The disk of the state is put back; since then both sides have gone on.
        for path in pair.state.files().into_keys() {
            pair.state.remove(&path);
        }
        for (path, content) in image {
            pair.state.write(&path, content);
        }
        pair.store.remove("d");
        pair.store.insert("c", b"edited there");
        pair.local.write("c", "edited here too");
        let finished = pair.sync().await;
        assert_eq!(
            kind(&finished),
            Some(FailureKind::Partial),
            "{:?}",
            finished.failure
        );
        let stop = finished.report.guard.as_ref().map(|stop| stop.name);
        assert_eq!(stop, Some(GuardName::StateRollback));
        // No later run would delete what has come back.
        let hint = finished.failure.and_then(|failure| failure.hint);
        let hint = hint.expect("it says what to do");
        assert!(hint.contains("delete again what is to be gone"), "{hint}");
        let workspace = pair.workspace();
        for content in ["edited here", "edited there", "edited here too", "new"] {
            let held = workspace.values().any(|held| held == content.as_bytes());
            assert!(held, "{content} is not in {workspace:?}");
        }
        assert_eq!(
            finished.report.counts.delete_local + finished.report.counts.delete_remote,
            0
        );
        pair.later();
        clean(&pair.sync().await);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_volume_that_comes_back_overwrites_nothing_that_came_meanwhile() {
    for (options, runs) in every_kind().into_iter().zip([1, 2, 3]) {
        let pair = agreed(options, &[("a", "old"), ("keep", "x")]).await;
        let volume = TempTree::in_memory();
        for path in ["a", "keep", ".ows/replica"] {
            let content = pair.local.read(path).expect("it is there");
            volume.write(path, content);
            pair.local.remove(path);
        }
        // Not mounted: the empty folder is filled.
        for run in 0..runs {
            let edit = format!("edited there, {run}");
            pair.store.insert("a", edit.as_bytes());
            pair.store.insert("new", edit.as_bytes());
            clean(&pair.sync().await);
            pair.later();
        }
        // Mounted again, with what it held before.
        pair.local.remove("new");
        for path in ["a", "keep", ".ows/replica"] {
            pair.local
                .write(path, volume.read(path).expect("it is there"));
        }
        assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
        pair.later();
        clean(&pair.sync().await);
        let edit = format!("edited there, {}", runs - 1);
        let workspace = pair.workspace();
        assert_eq!(workspace["new"], edit.as_bytes(), "nobody deleted it");
        let held: Vec<_> = workspace.values().map(Vec::as_slice).collect();
        assert!(held.contains(&edit.as_bytes()) && held.contains(&&b"old"[..]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_volume_that_comes_back_overwrites_nothing_also_where_nothing_was_agreed_before() {
    let pair = bisync(MemoryOptions::s3(), &[], &[]);
    clean(&pair.sync().await);
    let marker = pair.local.read(".ows/replica").expect("it was marked");
    pair.local.remove(".ows/replica");
    pair.store.insert("a", b"of another host");
    clean(&pair.sync().await);
    pair.later();
    pair.local.write("a", "written before");
    pair.local.write(".ows/replica", marker);
    pair.sync().await;
    pair.later();
    clean(&pair.sync().await);
    let held: Vec<_> = pair.workspace().into_values().collect();
    assert_eq!(held.len(), 2);
    assert!(held.contains(&b"of another host".to_vec()));
    pair.assert_converged().await;
}

/// The stored time of another host's version may be no later than ours: clocks go back, and tell whole seconds.
#[tokio::test]
async fn what_another_host_stored_in_the_same_second_is_not_taken_for_ours() {
    for options in every_kind() {
        for direction in [None, Some(Direction::Pull)] {
            let pair = bisync(options.clone(), &[("a", "ours"), ("keep", "x")], &[]);
            clean(&pair.sync().await);
            pair.store.insert("a", b"of another host");
            pair.store.set_now(pair.store.now() - HOUR);
            pair.store.insert("keep", b"z");
            let options = SyncOptions {
                direction,
                ..SyncOptions::default()
            };
            clean(&pair.run(options).await);
            let expected = files(&[("a", "of another host"), ("keep", "z")]);
            assert_eq!(pair.workspace(), expected, "{direction:?}");
            pair.assert_converged().await;
        }
    }
}

/// Two hosts at an S3 store: one makes a file of that name, the other a folder, and neither has seen the other's.
#[tokio::test]
async fn a_remote_file_below_whose_name_others_lie_gives_the_name_up() {
    for (below_is_here, resync) in [(true, false), (false, false), (true, true)] {
        let pair = agreed(MemoryOptions::s3(), &[("keep", "x"), ("d/h", "1")]).await;
        // Neither lies below the other.
        pair.store.insert("d-h", b"1");
        if !below_is_here {
            pair.store.insert("e/h", b"2");
            pair.store.insert("e", b"a file");
        } else {
            pair.store.insert("d", b"a file");
        }
        let options = SyncOptions {
            resync,
            ..SyncOptions::default()
        };
        clean(&pair.run(options).await);
        let name = if below_is_here { "d" } else { "e" };
        let copy = pair.workspace().remove(&format!("{name}.conflict"));
        assert_eq!(pair.workspace().len(), if below_is_here { 4 } else { 5 });
        assert_eq!(copy, Some(b"a file".to_vec()));
        pair.assert_converged().await;
    }
}

/// The file is the one that both sides know, and somebody puts another one below its name.
#[tokio::test]
async fn a_file_on_both_sides_gives_its_name_up_to_what_is_put_below_it_in_the_remote() {
    let pair = agreed(MemoryOptions::s3(), &[("keep", "x"), ("d", "a file")]).await;
    pair.store.insert("d/h", b"1");
    clean(&pair.sync().await);
    pair.later();
    clean(&pair.sync().await);
    let expected = files(&[("d.conflict", "a file"), ("d/h", "1"), ("keep", "x")]);
    assert_eq!(pair.workspace(), expected);
    pair.assert_converged().await;
}

#[tokio::test]
async fn patterns_that_cannot_be_used_stay_where_they_are_and_the_rest_goes_on() {
    for options in every_kind() {
        let mut pair = agreed(options, &[("a", "1"), ("b", "2")]).await;
        pair.settings.conflict_resolve = Resolve::Always(Side::Remote);
        for (path, content) in [
            (".sync-excludes", "[bad\n"),
            (".sync-excludes/x", "in a folder"),
        ] {
            pair.store.insert(path, content.as_bytes());
            pair.later();
            assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
            pair.store.insert("a", path.as_bytes());
            pair.later();
            assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
            assert_eq!(pair.workspace(), files(&[("a", path), ("b", "2")]));
            // What is left out here stays left out.
            pair.local.write(".sync-excludes", "secret\n");
            pair.local.write("secret", "left out");
            pair.later();
            for _ in 0..2 {
                assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
                pair.later();
            }
            assert!(!pair.remote().contains_key("secret"));
            pair.local.remove("secret");
            pair.local.remove(".sync-excludes");
            pair.store.remove(path);
            pair.store.remove(".sync-excludes");
            pair.later();
            clean(&pair.sync().await);
        }
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_person_hears_that_other_patterns_came_from_the_remote() {
    for content in [Some("*.log\n"), None::<&str>] {
        let base = &[(".sync-excludes", "secret\n"), ("b", "2")];
        let pair = agreed(MemoryOptions::s3(), base).await;
        pair.store.remove(".sync-excludes");
        if let Some(content) = content {
            pair.store.insert(".sync-excludes", content.as_bytes());
        }
        pair.later();
        let finished = pair.sync().await;
        clean(&finished);
        let [warning] = &finished.report.warnings[..] else {
            panic!("{:?}", finished.report.warnings);
        };
        assert!(warning.contains("what it left out"), "{warning}");
    }
}

#[tokio::test]
async fn a_new_volume_that_was_filled_in_part_deletes_nothing_there() {
    let base: Vec<(String, String)> = (0..20)
        .map(|number| (format!("d/f{number:02}"), format!("content {number}")))
        .collect();
    let base: Vec<(&str, &str)> = base.iter().map(|(a, b)| (&a[..], &b[..])).collect();
    for options in every_kind() {
        for how in [
            SyncOptions::default(),
            resync(),
            SyncOptions {
                direction: Some(Direction::Pull),
                ..SyncOptions::default()
            },
        ] {
            for is_killed in [false, true] {
                let mut pair = agreed(options.clone(), &base).await;
                pair.settings.transfers = Some(1);
                pair.local.remove("d");
                pair.local.remove(".ows");
                if is_killed {
                    pair.faults.crash_at(13, Moment::Before);
                } else {
                    let read = Fault::on(Operation::Get).nth(13);
                    pair.faults.add(read.before(TRANSIENT));
                }
                assert!(pair.run(how.clone()).await.failure.is_some());
                assert!(pair.workspace().len() < base.len());
                pair.faults.clear();
                pair.later();
                clean(&pair.sync().await);
                assert_eq!(pair.remote(), files(&base));
                pair.assert_converged().await;
            }
        }
    }
}

#[tokio::test]
async fn what_has_no_room_in_a_new_volume_is_not_deleted_there() {
    for options in every_kind() {
        let base = &[("c/x", "1"), ("t", "2"), ("b", "3")];
        let mut pair = agreed(options, base).await;
        pair.settings.trash_remote = false;
        pair.local.remove(".ows");
        pair.local.remove("c");
        pair.local.remove("t");
        pair.local.write("c", "of the template");
        pair.local.write("t/x", "of the template, too");
        assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
        assert_eq!(pair.remote(), files(base));
        pair.later();
        clean(&pair.sync().await);
        let expected = files(&[
            ("b", "3"),
            ("c.conflict", "of the template"),
            ("c/x", "1"),
            ("t.conflict", "2"),
            ("t/x", "of the template, too"),
        ]);
        assert_eq!(pair.remote(), expected);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn what_a_one_way_run_could_not_bring_back_is_not_deleted_by_the_next_run() {
    for options in every_kind() {
        for (direction, transfer) in [
            (Direction::Pull, Operation::Get),
            (Direction::Push, Operation::Put),
        ] {
            let base = &[("a", "1"), ("b", "2"), ("c", "3")];
            let pair = agreed(options.clone(), base).await;
            if direction == Direction::Pull {
                pair.local.remove("b");
            } else {
                pair.store.remove("b");
            }
            pair.faults
                .add(Fault::on(transfer).at("b").nth(1).before(TRANSIENT));
            let finished = pair.directed(direction).await;
            assert_eq!(kind(&finished), Some(FailureKind::Partial));
            pair.faults.assert_all_reached();
            pair.later();
            clean(&pair.sync().await);
            assert_eq!(pair.workspace(), files(base));
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn a_volume_that_comes_back_displaces_nothing_although_nothing_was_agreed_on_before_it_went()
{
    for options in every_kind() {
        for direction in [None, Some(Direction::Pull)] {
            let mut pair = bisync(options.clone(), &[], &[]);
            clean(&pair.sync().await);
            pair.later();
            pair.local.write("a", "on the volume");
            // The mount point below it, which is empty.
            let volume =
                std::mem::replace(&mut pair.local, ows_testkit::tree::TempTree::in_memory());
            pair.settings.local_path = pair.local.path().to_owned();
            let options = SyncOptions {
                direction,
                ..SyncOptions::default()
            };
            clean(&pair.run(options).await);
            pair.later();
            pair.local.write("a", "on the mount point");
            clean(&pair.sync().await);
            pair.later();
            pair.local = volume;
            pair.settings.local_path = pair.local.path().to_owned();
            pair.sync().await;
            pair.later();
            pair.sync().await;
            for content in ["on the volume", "on the mount point"] {
                assert!(
                    pair.contents().contains(content.as_bytes()),
                    "{direction:?}: {content}"
                );
            }
        }
    }
}
