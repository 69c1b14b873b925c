//! Hard situations that users of other sync engines ran into, one by one. The numbers are those of the table of
//! situations in the documentation of the project's promises.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use ows::error::FailureKind;
use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::sync::{Finished, SyncOptions};
use ows_providers::layers::{Fault, Moment};
use ows_providers::memory::{Alteration, MemoryOptions, VersionStyle};
use ows_providers::{Enforcement, ErrorKind, Operation};

use crate::support::{Pair, TRANSIENT, calls, clean, files, guard, kept, kind};

/// Whether the report names the path as left or failed.
fn names(finished: &Finished, path: &str) -> bool {
    finished
        .report
        .errors
        .iter()
        .any(|error| error.path == path)
}

fn every_kind() -> [MemoryOptions; 3] {
    [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ]
}

// 1: a file becomes a folder, or the reverse

#[tokio::test]
async fn a_file_becomes_a_folder_and_a_folder_a_file() {
    for options in every_kind() {
        let has_bin = options.bin;
        let pair = Pair::synced(
            options,
            &[("f", "a file"), ("d/x", "one"), ("d/e/y", "two")],
        )
        .await;
        pair.local.remove("f");
        pair.local.write("f/inside", "in a folder");
        pair.local.remove("d");
        pair.local.write("d", "a file now");
        clean(&pair.sync().await);
        assert_eq!(
            pair.remote(),
            files(&[("f/inside", "in a folder"), ("d", "a file now")])
        );
        let displaced = kept(&[("f", "a file"), ("d/x", "one"), ("d/e/y", "two")]);
        if !has_bin {
            assert_eq!(pair.remote_trash(), displaced);
        }
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_crash_while_a_file_becomes_a_folder_is_completed() {
    for options in every_kind() {
        for call in 1..12 {
            let pair = Pair::synced(options.clone(), &[("f", "a file"), ("d/x", "one")]).await;
            pair.local.remove("f");
            pair.local.write("f/inside", "in a folder");
            pair.local.remove("d");
            pair.local.write("d", "a file now");
            pair.faults.crash_at(call, Moment::After);
            drop(pair.sync().await);
            pair.faults.clear();
            for content in ["a file", "one"] {
                assert!(pair.contents().contains(content.as_bytes()));
            }
            clean(&pair.sync().await);
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn a_file_is_renamed_and_its_old_name_becomes_a_folder() {
    for inside in [None, Some("a/inside")] {
        for options in every_kind() {
            let pair = Pair::synced(options, &[("a", "moved"), ("b", "x")]).await;
            pair.local.rename("a", "c");
            match inside {
                None => pair.local.folder("a"),
                Some(path) => pair.local.write(path, "new"),
            }
            clean(&pair.sync().await);
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn types_change_in_a_pull_too() {
    let pair = Pair::synced(MemoryOptions::folder(), &[("f", "a file"), ("d/x", "one")]).await;
    pair.store.remove("f");
    pair.store.insert("f/inside", b"in a folder");
    pair.store.remove("d");
    pair.store.insert("d", b"a file now");
    clean(&pair.directed(Direction::Pull).await);
    assert_eq!(pair.workspace(), pair.remote());
    assert_eq!(pair.local_trash(), kept(&[("f", "a file"), ("d/x", "one")]));
    pair.assert_converged().await;
}

// 6: a file vanishes during the scan

#[tokio::test]
async fn a_file_that_vanishes_after_the_scan_blocks_no_other() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "x"), ("b", "y"), ("c", "z")]);
    let path = pair.local.join("a");
    // Before the first write, and thus after the scan.
    pair.faults
        .add(Fault::on(Operation::Probe).meanwhile(move || fs::remove_file(&path).unwrap()));
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    assert!(names(&finished, "a"));
    assert_eq!(pair.remote(), files(&[("b", "y"), ("c", "z")]));
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

// 7: the source is edited between scan and end of transfer

#[tokio::test]
async fn what_is_uploaded_is_one_real_state_of_the_file() {
    for size in [100, 9000] {
        let (before, after) = ("b".repeat(size), "a".repeat(size));
        let mut options = MemoryOptions::s3();
        options.single_put_max = 4096;
        for operation in [
            Operation::Probe,
            Operation::Put,
            Operation::StartUpload,
            Operation::PutPart,
            Operation::CompleteUpload,
        ] {
            let pair = Pair::new(options.clone(), &[("f", before.as_str())]);
            let (path, content) = (pair.local.join("f"), after.clone());
            pair.faults
                .add(Fault::on(operation).meanwhile(move || fs::write(&path, &content).unwrap()));
            drop(pair.sync().await);
            if !pair.faults.unreached().is_empty() {
                // Small files are not uploaded in parts, nor large ones in one call.
                continue;
            }
            if let Some(uploaded) = pair.store.get("f") {
                let real = [before.as_bytes(), after.as_bytes()];
                assert!(real.contains(&&uploaded[..]), "{operation:?}: a mixture");
            }
            clean(&pair.sync().await);
            assert_eq!(pair.store.get("f").as_deref(), Some(after.as_bytes()));
            pair.assert_converged().await;
        }
    }
}

// 8: the local destination is edited between scan and write or delete

#[tokio::test]
async fn a_local_file_edited_after_the_scan_is_left_alone() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x"), ("b", "y"), ("c", "z")]).await;
    pair.store.insert("a", b"newer in the cloud");
    pair.store.remove("b");
    let (a, b) = (pair.local.join("a"), pair.local.join("b"));
    pair.faults
        .add(Fault::on(Operation::Get).meanwhile(move || {
            fs::write(&a, "edited while it is replaced").unwrap();
            fs::write(&b, "edited before it is deleted").unwrap();
        }));
    let finished = pair.directed(Direction::Pull).await;
    pair.faults.assert_all_reached();
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    assert!(names(&finished, "a") && names(&finished, "b"));
    assert_eq!(
        pair.workspace(),
        files(&[
            ("a", "edited while it is replaced"),
            ("b", "edited before it is deleted"),
            ("c", "z"),
        ])
    );
}

#[tokio::test]
async fn a_file_that_is_back_in_the_workspace_is_not_deleted_remotely() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x"), ("b", "y")]).await;
    pair.local.remove("a");
    pair.local.write("b", "changed");
    let back = pair.local.join("a");
    pair.faults
        .add(Fault::on(Operation::Put).meanwhile(move || fs::write(&back, "x, again").unwrap()));
    assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
    assert_eq!(pair.store.get("a").as_deref(), Some(&b"x"[..]));
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

// 9: the remote destination is edited between listing and write or delete

#[tokio::test]
async fn a_remote_file_edited_after_the_listing_is_left_for_the_next_run() {
    for options in every_kind() {
        let pair = Pair::synced(options, &[("a", "x"), ("b", "y"), ("d", "moved")]).await;
        pair.local.write("a", "changed here");
        pair.local.remove("b");
        pair.local.write("c", "new here");
        pair.local.rename("d", "e");
        let store = pair.store.clone();
        // Right after the listing, which comes second.
        pair.faults.add(Fault::any().nth(3).meanwhile(move || {
            store.advance(Duration::from_secs(2));
            for path in ["a", "b", "c", "d", "e"] {
                store.insert(path, format!("{path}, from the cloud").as_bytes());
            }
        }));
        let finished = pair.sync().await;
        pair.faults.assert_all_reached();
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        for path in ["a", "b", "c", "d", "e"] {
            let content = format!("{path}, from the cloud");
            assert!(pair.contents().contains(content.as_bytes()), "{path}");
        }
        pair.later();
        clean(&pair.sync().await);
        for path in ["a", "b", "c", "d", "e"] {
            let content = format!("{path}, from the cloud");
            assert!(pair.contents().contains(content.as_bytes()), "{path}");
        }
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn an_edit_in_the_cloud_with_the_same_size_is_seen() {
    for options in every_kind() {
        let pair = Pair::synced(options, &[("a", "ours"), ("b", "x")]).await;
        pair.store.insert("a", b"OURS");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.upload, 1);
        assert!(pair.contents().contains(&b"OURS"[..]));
        pair.assert_converged().await;
        // The same content once more is another version, and no difference.
        pair.store.insert("a", b"ours");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.upload, 0);
        pair.assert_converged().await;
    }
}

// 11, 12: times

#[tokio::test]
async fn an_edit_with_the_same_size_and_time_is_seen() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "before"), ("b", "x")]).await;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    pair.local.set_modified("a", time);
    clean(&pair.sync().await);
    pair.later();
    pair.local.write("a", "after!");
    pair.local.set_modified("a", time);
    clean(&pair.sync().await);
    assert_eq!(pair.store.get("a").as_deref(), Some(&b"after!"[..]));
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_new_time_alone_moves_nothing() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "content")]).await;
    for seconds in [1_000_000_000, 1_900_000_000, 5] {
        pair.local
            .set_modified("a", SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        pair.assert_quiet().await;
    }
}

// 13, 14: listings that fail or are cut short

#[tokio::test]
async fn a_failed_listing_changes_nothing() {
    for options in every_kind() {
        for error in [
            TRANSIENT,
            ErrorKind::Permanent,
            ErrorKind::Forbidden,
            ErrorKind::RateLimited { after: None },
            ErrorKind::NotFound,
        ] {
            for items in 1..6 {
                let mut options = options.clone();
                options.page_size = 2;
                let pair =
                    Pair::synced(options, &[("a", "x"), ("b", "y"), ("c", "z"), ("d", "w")]).await;
                pair.local.remove("a");
                pair.local.write("e", "new");
                let before = pair.store.files();
                pair.faults
                    .add(Fault::on(Operation::List).breaks_listing(items, error));
                let finished = pair.sync().await;
                pair.faults.assert_all_reached();
                assert_eq!(
                    kind(&finished),
                    Some(FailureKind::Failed),
                    "{error:?} {items}"
                );
                assert_eq!(pair.store.files(), before);
                let finished = pair.directed(Direction::Pull).await;
                clean(&finished);
                assert_eq!(pair.workspace(), pair.remote(), "only e went away");
            }
        }
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_listed_is_unknown_on_both_sides() {
    for direction in [Direction::Push, Direction::Pull] {
        let pair = Pair::synced(
            MemoryOptions::folder(),
            &[("a", "x"), ("d/b", "y"), ("d/c", "z")],
        )
        .await;
        pair.store.set_unreadable("d", true);
        pair.local.write("d/b", "changed");
        pair.local.remove("d/c");
        pair.local.write("d/new", "new");
        let finished = pair.directed(direction).await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        assert!(names(&finished, "d"), "{:?}", finished.report.errors);
        assert_eq!(
            pair.remote(),
            files(&[("a", "x"), ("d/b", "y"), ("d/c", "z")])
        );
        assert_eq!(
            pair.workspace(),
            files(&[("a", "x"), ("d/b", "changed"), ("d/new", "new")])
        );
        pair.store.set_unreadable("d", false);
        clean(&pair.sync().await);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_listing_that_shrinks_suspiciously_is_made_again() {
    let many: Vec<(String, String)> = (0..40)
        .map(|number| (format!("f{number:02}"), "x".to_owned()))
        .collect();
    let borrowed: Vec<_> = many
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_str()))
        .collect();
    let pair = Pair::synced(MemoryOptions::s3(), &borrowed).await;
    for number in 0..30 {
        pair.store.remove(&format!("f{number:02}"));
    }
    let store = pair.store.clone();
    // Whoever cut the listing short is right again the second time.
    pair.faults
        .add(Fault::on(Operation::List).nth(2).meanwhile(move || {
            for number in 0..30 {
                store.insert(&format!("f{number:02}"), b"x");
            }
        }));
    let finished = pair.directed(Direction::Pull).await;
    pair.faults.assert_all_reached();
    clean(&finished);
    assert_eq!(pair.workspace().len(), 40);
    // Twice the same answer is believed, and then the guard speaks.
    for number in 0..30 {
        pair.store.remove(&format!("f{number:02}"));
    }
    let finished = pair.directed(Direction::Pull).await;
    assert_eq!(guard(&finished), GuardName::MaxDelete);
    // The look at the checkpoint tells whether the remote was put back in time.
    assert_eq!(calls(&finished), [("list", 2), ("stat", 1)]);
    assert_eq!(pair.workspace().len(), 40);
}

// 26: the database cannot be written

#[tokio::test]
async fn without_its_database_a_run_ends_and_the_next_one_finds_what_was_done() {
    use ows::state::{FaultPoint, StateFaults};
    for call in [
        "raise_generation",
        "base_batch",
        "record_delivery",
        "finish_run",
        "record_first_sync",
    ] {
        for moment in [FaultPoint::Before, FaultPoint::After] {
            let pair = Pair::new(MemoryOptions::s3(), &[("a", "x"), ("b", "y")]);
            pair.store.insert("_outbox/note", b"dropped");
            let fails = move |name: &'static str, point| name == call && point == moment;
            let finished = pair
                .run(SyncOptions {
                    state_faults: Some(StateFaults(std::sync::Arc::new(fails))),
                    ..SyncOptions::default()
                })
                .await;
            assert_eq!(
                kind(&finished),
                Some(FailureKind::Failed),
                "{call} {moment:?}"
            );
            clean(&pair.sync().await);
            assert_eq!(
                pair.inbox(),
                files(&[("note", "dropped")]),
                "{call} {moment:?}"
            );
            pair.assert_converged().await;
        }
    }
}

// 27: the remote is full

#[tokio::test]
async fn a_full_remote_stops_uploads_and_nothing_else() {
    let mut pair = Pair::synced(MemoryOptions::s3(), &[("old", "x"), ("stays", "y")]).await;
    pair.settings.transfers = Some(1);
    pair.local.remove("old");
    for number in 0..20 {
        pair.local.write(&format!("new{number:02}"), "z");
    }
    pair.store.insert("_outbox/note", b"dropped");
    pair.faults.add(
        Fault::on(Operation::Put)
            .nth(4)
            .times(u64::MAX)
            .before(ErrorKind::QuotaExceeded),
    );
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    let puts = calls(&finished)
        .iter()
        .find(|(name, _)| *name == "put")
        .copied();
    assert_eq!(
        puts,
        Some(("put", 3)),
        "faults lie above the count: after the lease and two files none came through"
    );
    assert_eq!(finished.report.counts.upload, 2);
    assert_eq!(finished.report.counts.failed, 18);
    assert_eq!(pair.store.get("old"), None, "deletes go on");
    assert_eq!(pair.inbox(), files(&[("note", "dropped")]));
    pair.faults.clear();
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

// 28: a local folder cannot be read

#[tokio::test]
async fn an_unreadable_local_folder_is_unknown() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x"), ("d/b", "y")]).await;
    let folder = pair.local.join("d");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o0)).unwrap();
    let is_root = fs::read_dir(&folder).is_ok();
    let finished = pair.sync().await;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    if is_root {
        // Nothing is unreadable to root.
        clean(&finished);
    } else {
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        assert!(names(&finished, "d"));
    }
    assert_eq!(pair.remote(), files(&[("a", "x"), ("d/b", "y")]));
    pair.assert_converged().await;
}

// 31: names that are not UTF-8

#[tokio::test]
async fn a_name_that_is_not_utf8_is_told_and_nothing_near_it_deleted() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("d/a", "x"), ("d/b", "y")]).await;
    fs::write(
        pair.local.join("d").join(OsStr::from_bytes(b"bad\xff")),
        "z",
    )
    .unwrap();
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    assert_eq!(finished.report.errors.len(), 1);
    assert_eq!(pair.remote(), files(&[("d/a", "x"), ("d/b", "y")]));
}

// 32: empty files, markers of folders

#[tokio::test]
async fn empty_files_are_files() {
    for options in every_kind() {
        let pair = Pair::synced(options, &[("empty", ""), ("d/empty too", "")]).await;
        assert_eq!(pair.remote(), files(&[("empty", ""), ("d/empty too", "")]));
        pair.local.write("empty", "no more");
        pair.local.write("d/empty too", "");
        clean(&pair.sync().await);
        pair.assert_converged().await;
        pair.local.write("empty", "");
        clean(&pair.sync().await);
        pair.assert_converged().await;
    }
}

// 33: a file that never stops growing

#[tokio::test]
async fn a_file_that_keeps_growing_is_uploaded_as_one_prefix() {
    use std::io::Write as _;
    for size in [100, 9000] {
        let mut options = MemoryOptions::s3();
        options.single_put_max = 4096;
        let start = "s".repeat(size);
        let pair = Pair::new(options, &[("log", start.as_str()), ("other", "x")]);
        let log = pair.local.join("log");
        let grow = move || {
            let mut file = fs::File::options().append(true).open(&log).unwrap();
            file.write_all(b"one more line\n").unwrap();
        };
        pair.faults
            .add(Fault::any().times(u64::MAX).meanwhile(grow));
        let finished = pair.sync().await;
        clean(&finished);
        pair.faults.clear();
        let uploaded = pair.store.get("log").expect("it was uploaded");
        let local = pair.local.read("log").expect("it is there");
        assert!(uploaded.len() >= size && local.starts_with(&uploaded));
        clean(&pair.sync().await);
        pair.assert_converged().await;
    }
}

// 48: excluded files keep their folder

#[tokio::test]
async fn a_folder_deleted_remotely_stays_with_its_excluded_files() {
    let pair = Pair::synced(MemoryOptions::folder(), &[("d/a", "x"), ("b", "y")]).await;
    pair.local.write("d/.DS_Store", "excluded");
    pair.store.remove("d");
    clean(&pair.directed(Direction::Pull).await);
    assert_eq!(
        pair.local.files().keys().collect::<Vec<_>>(),
        ["b", "d/.DS_Store"]
    );
    assert_eq!(pair.local_trash(), kept(&[("d/a", "x")]));
    let finished = pair.directed(Direction::Pull).await;
    clean(&finished);
    assert_eq!(calls(&finished), [("list", 1)]);
}

// 51: done, and the answer lost

#[tokio::test]
async fn a_lost_answer_makes_no_duplicate_and_loses_nothing() {
    let large = "x".repeat(9000);
    for options in every_kind() {
        let mut options = options;
        options.single_put_max = 4096;
        for operation in [
            Operation::Put,
            Operation::StartUpload,
            Operation::PutPart,
            Operation::CompleteUpload,
            Operation::Copy,
            Operation::Rename,
            Operation::Delete,
        ] {
            let pair =
                Pair::synced(options.clone(), &[("a", "x"), ("b", "y"), ("m", "moved")]).await;
            pair.local.write("large", &large);
            pair.local.write("new", "new");
            pair.local.remove("b");
            pair.local.rename("m", "n");
            pair.store.insert("a", b"edited in the cloud");
            pair.store.insert("_outbox/note", b"dropped");
            pair.faults
                .add(Fault::on(operation).times(2).after(TRANSIENT));
            drop(pair.sync().await);
            pair.faults.clear();
            pair.later();
            clean(&pair.sync().await);
            assert!(pair.contents().contains(&b"edited in the cloud"[..]));
            assert_eq!(pair.inbox(), files(&[("note", "dropped")]));
            pair.assert_converged().await;
        }
    }
}

// 52: the store alters what it is given

#[tokio::test]
async fn a_store_that_alters_what_it_is_given_causes_no_loop() {
    for alteration in [Alteration::Version, Alteration::Content] {
        let mut options = MemoryOptions::s3();
        options.alteration = alteration;
        let pair = Pair::synced(options, &[("a", "x"), ("b", "y")]).await;
        for _ in 0..3 {
            pair.assert_quiet().await;
        }
        assert_eq!(pair.remote().len(), 2);
        pair.local.write("a", "changed");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.upload, 1);
        pair.assert_quiet().await;
    }
}

// 55: patterns change between runs

#[tokio::test]
async fn newly_excluded_paths_are_forgotten_and_never_deleted() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let mut pair = Pair::synced(
            options,
            &[
                ("a.log", "x"),
                ("d/b.log", "y"),
                ("logs/c", "z"),
                ("e", "w"),
            ],
        )
        .await;
        pair.settings
            .exclude
            .extend(["*.log".to_owned(), "logs/".to_owned()]);
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.delete_remote, 0);
        pair.local.remove("a.log");
        pair.store.remove("d/b.log");
        pair.store.insert("logs/c", b"edited there");
        clean(&pair.sync().await);
        assert_eq!(pair.store.get("a.log").as_deref(), Some(&b"x"[..]));
        assert_eq!(pair.local.read("d/b.log").as_deref(), Some(&b"y"[..]));
        assert_eq!(pair.local.read("logs/c").as_deref(), Some(&b"z"[..]));
        // Included again, they are new on both sides.
        pair.settings.exclude.truncate(1);
        pair.later();
        clean(&pair.sync().await);
        assert_eq!(
            pair.remote(),
            files(&[("d/b.log", "y"), ("logs/c", "z"), ("e", "w")])
        );
        let trash = pair.remote_trash();
        for displaced in kept(&[("a.log", "x"), ("logs/c", "edited there")]) {
            assert!(trash.contains(&displaced), "{displaced:?}");
        }
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn patterns_of_the_workspace_count_and_their_file_is_synced() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a.log", "x"), ("b", "y")]).await;
    pair.local.write(".sync-excludes", "# logs\n*.log\n");
    pair.local.write("c.log", "never sent");
    clean(&pair.sync().await);
    assert_eq!(pair.store.get("c.log"), None);
    assert_eq!(pair.store.get("a.log").as_deref(), Some(&b"x"[..]));
    assert!(pair.store.get(".sync-excludes").is_some());
    pair.assert_quiet().await;
}

// 57: the same name dropped twice

#[tokio::test]
async fn each_version_of_a_dropped_name_is_delivered_once() {
    for options in every_kind() {
        let pair = Pair::synced(options, &[("a", "x")]).await;
        for content in ["one", "two", "three"] {
            pair.store.insert("_outbox/note.txt", content.as_bytes());
            clean(&pair.sync().await);
            pair.later();
        }
        assert_eq!(
            pair.inbox(),
            files(&[
                ("note.txt", "one"),
                ("note (2).txt", "two"),
                ("note (3).txt", "three")
            ])
        );
    }
}

// 58: a drop that is still being written

#[tokio::test]
async fn a_growing_drop_waits_until_it_stood_still() {
    let mut pair = Pair::synced(MemoryOptions::folder(), &[("a", "x")]).await;
    pair.settings.settle = 10;
    pair.store.insert("_outbox/video", b"the beg");
    pair.store.advance(Duration::from_secs(9));
    clean(&pair.sync().await);
    assert_eq!(pair.inbox(), files(&[]));
    pair.store
        .insert("_outbox/video", b"the beginning and the end");
    pair.store.advance(Duration::from_secs(9));
    clean(&pair.sync().await);
    assert_eq!(pair.inbox(), files(&[]));
    pair.store.advance(Duration::from_secs(1));
    clean(&pair.sync().await);
    assert_eq!(
        pair.inbox(),
        files(&[("video", "the beginning and the end")])
    );
    assert_eq!(pair.outbox(), files(&[]));
    // A store that shows complete objects only does not wait.
    let mut pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.settings.settle = 10;
    pair.store.insert("_outbox/video", b"complete");
    clean(&pair.sync().await);
    assert_eq!(pair.inbox(), files(&[("video", "complete")]));
}

// 62: keys that are no paths

#[tokio::test]
async fn keys_that_are_no_paths_are_told_and_never_touched() {
    let keys = ["../x", "/a", "b//c", "d/./e", "f/../g", "h\u{1}i"];
    for direction in [Direction::Push, Direction::Pull] {
        let pair = Pair::synced(
            MemoryOptions::s3(),
            &[("a", "x"), ("b/c", "y"), ("gone", "z")],
        )
        .await;
        for key in keys {
            pair.store.plant(key);
        }
        pair.store.insert("_outbox/note", b"waits");
        let outside: Vec<_> = fs::read_dir(pair.local.path().parent().unwrap())
            .unwrap()
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .filter(|name| name == "x" || name == "a")
            .collect();
        assert_eq!(outside, Vec::<std::ffi::OsString>::new());
        match direction {
            Direction::Push => pair.local.remove("gone"),
            _ => drop(pair.store.remove("gone")),
        }
        let finished = pair.directed(direction).await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        assert_eq!(finished.report.counts.skipped, keys.len() as u64);
        assert_eq!(pair.store.planted().len(), keys.len());
        assert_eq!(pair.workspace(), files(&[("a", "x"), ("b/c", "y")]));
        assert_eq!(pair.remote(), files(&[("a", "x"), ("b/c", "y")]));
        assert!(!pair.local.path().parent().unwrap().join("x").exists());
    }
}

#[tokio::test]
async fn names_that_the_remote_cannot_store_are_told_and_the_rest_goes_on() {
    let pair = Pair::new(MemoryOptions::s3(), &[("good", "x"), ("bad\nname", "y")]);
    let long = format!("{}/{}", "d".repeat(250), "e".repeat(250));
    let long = format!(
        "{long}/{}",
        long.replace('/', "-").chars().take(200).collect::<String>()
    );
    let too_long = format!("{long}/{}/{}", "f".repeat(250), "g".repeat(250));
    pair.local.write(&too_long, "z");
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    assert_eq!(finished.report.counts.skipped, 2);
    assert_eq!(pair.remote(), files(&[("good", "x")]));
}

// 63: a folder replaced by a link

#[tokio::test]
async fn a_folder_replaced_by_a_link_is_never_a_delete() {
    let pair = Pair::synced(
        MemoryOptions::s3(),
        &[("d/a", "x"), ("d/e/b", "y"), ("c", "z")],
    )
    .await;
    pair.local.rename("d", "_inbox/elsewhere");
    pair.local.symlink("d", "_inbox/elsewhere");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(
        pair.remote(),
        files(&[("d/a", "x"), ("d/e/b", "y"), ("c", "z")])
    );
    assert!(
        finished
            .report
            .warnings
            .iter()
            .any(|text| text.contains("`d`"))
    );
    // In a pull, nothing is written through it.
    pair.store.insert("d/a", b"newer");
    clean(&pair.directed(Direction::Pull).await);
    assert_eq!(
        pair.local.read("_inbox/elsewhere/a").as_deref(),
        Some(&b"x"[..])
    );
}

#[tokio::test]
async fn links_that_are_followed_no_more_are_no_deletes() {
    let mut pair = Pair::new(MemoryOptions::s3(), &[("real/a", "x")]);
    pair.local.symlink("linked", "real");
    pair.settings.copy_symlinks = true;
    clean(&pair.sync().await);
    assert_eq!(pair.remote(), files(&[("real/a", "x"), ("linked/a", "x")]));
    pair.settings.copy_symlinks = false;
    clean(&pair.sync().await);
    assert_eq!(pair.remote(), files(&[("real/a", "x"), ("linked/a", "x")]));
}

// 64: a template-filled volume

#[tokio::test]
async fn a_template_filled_volume_changes_nothing_remotely() {
    let pair = Pair::synced(
        MemoryOptions::s3(),
        &[("AGENTS.md", "grown over months"), ("b", "y")],
    )
    .await;
    pair.local.remove(".ows");
    pair.local.remove("b");
    pair.local.write("AGENTS.md", "the template");
    assert_eq!(guard(&pair.sync().await), GuardName::LocalRoot);
    assert_eq!(
        pair.remote(),
        files(&[("AGENTS.md", "grown over months"), ("b", "y")])
    );
}

// 65: a store that ignores conditions

#[tokio::test]
async fn a_store_that_ignores_conditions_is_looked_at_before_and_after() {
    let mut options = MemoryOptions::s3();
    options.single_put_max = 4096;
    options.enforced = Enforcement {
        versioning: Some(false),
        ..Enforcement::default()
    };
    let large = "x".repeat(9000);
    let pair = Pair::synced(
        options,
        &[("a", "x"), ("b", "y"), ("large", large.as_str())],
    )
    .await;
    pair.local.write("a", "changed here");
    pair.local.remove("b");
    pair.local.write("c", "new here");
    pair.local.write("large", "y".repeat(9000));
    let store = pair.store.clone();
    // Right after the listing, which comes second.
    pair.faults.add(Fault::any().nth(3).meanwhile(move || {
        store.advance(Duration::from_secs(2));
        for path in ["a", "b", "c", "large"] {
            store.insert(path, format!("{path}, from the cloud").as_bytes());
        }
    }));
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    for path in ["a", "b", "c", "large"] {
        let content = format!("{path}, from the cloud");
        assert_eq!(pair.store.get(path).as_deref(), Some(content.as_bytes()));
    }
    pair.later();
    clean(&pair.sync().await);
    assert_eq!(pair.remote_trash().len(), 4, "the four edits");
    pair.assert_converged().await;
}

// 66: ETags that are no MD5

#[tokio::test]
async fn an_etag_that_is_no_md5_is_no_difference_and_no_failure() {
    for versions in [VersionStyle::OpaqueEtag, VersionStyle::Etag] {
        let large = "x".repeat(9000);
        let mut options = MemoryOptions::s3();
        options.versions = versions;
        options.single_put_max = 4096;
        let pair = Pair::synced(options, &[("a", "x"), ("large", large.as_str())]).await;
        pair.assert_quiet().await;
        // Without a base, equality is found out all the same.
        pair.state.remove("ows");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.upload, 0);
        pair.assert_converged().await;
        // And a pull accepts what it reads.
        pair.local.remove("a");
        pair.local.remove("large");
        let finished = pair.directed(Direction::Pull).await;
        clean(&finished);
        assert_eq!(finished.report.counts.download, 2);
        pair.assert_converged().await;
    }
}

// Unfinished uploads

#[tokio::test]
async fn an_interrupted_upload_goes_on_where_it_stopped() {
    let mut options = MemoryOptions::s3();
    options.single_put_max = 4096;
    let large = "x".repeat(20_000);
    let pair = Pair::new(options, &[("large", large.as_str())]);
    pair.faults.add(
        Fault::on(Operation::PutPart)
            .at("large")
            .nth(4)
            .times(9)
            .before(TRANSIENT),
    );
    assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
    pair.faults.clear();
    let stored = pair.store.uploads().len();
    assert_eq!(stored, 1);
    let finished = pair.sync().await;
    clean(&finished);
    let parts = finished.report.api_calls.by_operation["put_part"];
    assert!(parts < 5, "those that were stored are not sent again");
    let resumed: Vec<_> = calls(&finished)
        .into_iter()
        .filter(|(name, _)| *name != "put_part")
        .collect();
    assert_eq!(
        resumed,
        [
            ("complete_upload", 1),
            ("delete", 1),
            ("list", 1),
            ("list_parts", 1),
            ("put", 2),
            ("stat", 1),
        ],
        "one put and one delete are the lease, one stat and one put the checkpoint"
    );
    pair.assert_converged().await;
}

#[tokio::test]
async fn an_interrupted_upload_is_given_up_when_its_file_is_another_one_now() {
    let mut options = MemoryOptions::s3();
    options.single_put_max = 4096;
    let large = "x".repeat(20_000);
    for now in [
        None,
        Some("small now".to_owned()),
        Some("y".repeat(20_000)),
        Some("z".repeat(9000)),
    ] {
        let pair = Pair::new(options.clone(), &[("large", large.as_str()), ("a", "x")]);
        pair.faults.add(
            Fault::on(Operation::PutPart)
                .at("large")
                .nth(2)
                .times(9)
                .before(TRANSIENT),
        );
        assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
        pair.faults.clear();
        match &now {
            None => pair.local.remove("large"),
            Some(content) => pair.local.write("large", content),
        }
        clean(&pair.sync().await);
        pair.assert_converged().await;
    }
}

// Temporary files of a killed run

#[tokio::test]
async fn temporary_files_of_a_killed_run_are_removed_wherever_they_are() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("d/a", "x"), ("_inbox/b", "y")]).await;
    let replica = pair.local.read(".ows/replica").expect("a marker");
    let short = String::from_utf8(replica[..8].to_vec()).expect("it is text");
    let name = format!(".ows-tmp-{short}-0123456789abcdef");
    for folder in ["", "d/", "_inbox/", "_inbox/deep/"] {
        pair.local.write(&format!("{folder}{name}"), "half");
    }
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

// A replaced remote file

#[tokio::test]
async fn a_remote_file_that_is_replaced_is_there_at_every_moment() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let pair = Pair::synced(options, &[("a", "x")]).await;
        pair.local.write("a", "changed here");
        pair.store.insert("a", b"edited there");
        let store = pair.store.clone();
        let missing = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = std::sync::Arc::clone(&missing);
        pair.faults
            .add(Fault::any().times(u64::MAX).meanwhile(move || {
                if store.get("a").is_none() {
                    seen.store(true, std::sync::atomic::Ordering::SeqCst);
                }
            }));
        clean(&pair.sync().await);
        pair.faults.clear();
        assert!(!missing.load(std::sync::atomic::Ordering::SeqCst));
        assert_eq!(pair.remote_trash(), kept(&[("a", "edited there")]));
        pair.assert_converged().await;
    }
}

// 4: names that differ only in case

#[tokio::test]
async fn two_names_that_the_remote_takes_for_one_are_told_and_both_stay() {
    let pair = Pair::synced(MemoryOptions::drive(), &[("Readme", "the known one")]).await;
    pair.local.write("README", "the other one");
    for _ in 0..2 {
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        assert!(names(&finished, "README"), "{:?}", finished.report.errors);
        assert_eq!(pair.remote(), files(&[("Readme", "the known one")]));
        assert_eq!(pair.workspace().len(), 2);
        pair.later();
    }
}

// 9, 65: a drop that changes where conditions are ignored

#[tokio::test]
async fn a_drop_replaced_after_its_download_is_seen_without_conditions_too() {
    let mut options = MemoryOptions::s3();
    options.enforced = Enforcement {
        versioning: Some(false),
        ..Enforcement::default()
    };
    let pair = Pair::synced(options, &[("a", "x")]).await;
    pair.store.insert("_outbox/note", b"first");
    let store = pair.store.clone();
    pair.faults.add(
        Fault::on(Operation::Stat)
            .at("_outbox/note")
            .meanwhile(move || {
                store.advance(Duration::from_secs(2));
                store.insert("_outbox/note", b"second");
            }),
    );
    clean(&pair.sync().await);
    pair.faults.assert_all_reached();
    clean(&pair.sync().await);
    assert_eq!(
        pair.inbox(),
        files(&[("note", "first"), ("note (2)", "second")])
    );
    pair.assert_converged().await;
}

// What a killed probe leaves

#[tokio::test]
async fn what_a_killed_probe_left_is_removed() {
    use ows::state::State;
    use ows::sync::pair_id;
    use ows_providers::{Provider as _, RelPath, UploadOptions};

    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    let provider = pair.store.provider();
    let id = pair_id(&provider.describe().await.unwrap());
    let state = State::open(&pair.settings.own_dir).await.unwrap();
    let run = state.last_runs(Some(&id), 1).await.unwrap().remove(0).id;
    let payload = serde_json::json!({ "path": "" });
    state
        .record_intent(Some(&id), &run, "probe", payload)
        .await
        .unwrap();
    state.close().await;
    pair.store.insert(".ows/probe/object", b"probe");
    let path = RelPath::new(".ows/probe/object").unwrap();
    let options = UploadOptions {
        size: Some(5),
        part_size: 1024,
        mtime_ns: None,
        md5: None,
    };
    provider.start_upload(&path, options).await.unwrap();
    // A stranger's upload is left alone.
    let strangers = RelPath::new("strangers").unwrap();
    let options = UploadOptions {
        size: Some(5),
        part_size: 1024,
        mtime_ns: None,
        md5: None,
    };
    let strangers = provider.start_upload(&strangers, options).await.unwrap();
    clean(&pair.sync().await);
    assert_eq!(pair.store.uploads().len(), 1);
    assert_eq!(pair.store.uploads()[0].id, strangers.id);
    provider.abort_upload(&strangers).await.unwrap();
    pair.assert_converged().await;
}

// Content that cannot be compared

#[tokio::test]
async fn what_cannot_be_compared_is_left_alone() {
    let pair = Pair::new(MemoryOptions::folder(), &[("a", "same size"), ("b", "new")]);
    pair.store.insert("a", b"SAME SIZE");
    pair.faults
        .add(Fault::on(Operation::Get).before(ErrorKind::Forbidden));
    let finished = pair.forced(&[GuardName::FirstSync]).await;
    pair.faults.assert_all_reached();
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    assert!(names(&finished, "a"));
    assert_eq!(pair.remote(), files(&[("a", "SAME SIZE"), ("b", "new")]));
    let finished = pair.forced(&[GuardName::FirstSync]).await;
    clean(&finished);
    assert!(pair.contents().contains(&b"SAME SIZE"[..]));
    pair.assert_converged().await;
}

// Mail folders after a guard

#[tokio::test]
async fn a_first_run_that_a_guard_stopped_makes_the_mail_folders_later() {
    for options in every_kind() {
        let has_folders = options.folders;
        let pair = Pair::new(options, &[("a", "x")]);
        pair.store.insert("stray", b"y");
        assert_eq!(guard(&pair.sync().await), GuardName::FirstSync);
        assert!(!pair.local.join("_inbox").exists());
        clean(&pair.forced(&[GuardName::FirstSync]).await);
        assert!(pair.local.join("_inbox").is_dir());
        let made = if has_folders {
            pair.store.dirs().contains(&"_outbox".to_owned())
        } else {
            pair.store.get("_outbox/.keep").is_some()
        };
        assert!(made);
        pair.assert_converged().await;
    }
}

// Links and special files in the mail folders

#[tokio::test]
async fn odd_things_in_inbox_are_nobodys_business() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.local.symlink("_inbox/link", "../a");
    pair.local.symlink("_inbox/loop", ".");
    fs::write(
        pair.local
            .join("_inbox")
            .join(OsStr::from_bytes(b"bad\xff")),
        "z",
    )
    .unwrap();
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(finished.report.warnings, Vec::<String>::new());
    pair.assert_quiet().await;
}

// 65: a name that is taken while a file is renamed to it

#[tokio::test]
async fn a_renamed_file_never_takes_a_name_that_somebody_has_just_taken() {
    for copies_are_conditional in [true, false] {
        let mut options = MemoryOptions::s3();
        options.enforced.copy_if_absent = copies_are_conditional;
        let pair = Pair::synced(options, &[("m", "moved"), ("b", "x")]).await;
        pair.local.rename("m", "n");
        let store = pair.store.clone();
        // Where the copy has no condition, the look before it is the last chance to see it.
        let operation = match copies_are_conditional {
            true => Operation::Copy,
            false => Operation::Stat,
        };
        let taken = Fault::on(operation)
            .at("n")
            .meanwhile(move || store.insert("n", b"theirs"));
        pair.faults.add(taken);
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        pair.faults.assert_all_reached();
        assert_eq!(pair.store.get("n"), Some(b"theirs".to_vec()));
        pair.faults.clear();
        pair.later();
        clean(&pair.sync().await);
        assert!(pair.contents().contains(&b"theirs"[..]));
        pair.assert_converged().await;
    }
}
