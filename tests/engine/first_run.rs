//! What counts as a first run: that this replica never came past one, not that the base holds nothing.

use ows::error::FailureKind;
use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::sync::{FirstSync, SyncMode, SyncOptions};
use ows_providers::layers::Fault;
use ows_providers::memory::MemoryOptions;
use ows_providers::{ErrorKind, Operation};

use crate::support::{Pair, clean, files, guard, kept, kind};

/// A pair that fills its workspace from the remote in its first run.
fn remote_first(items: &[(&str, &str)]) -> Pair {
    let mut pair = Pair::new(MemoryOptions::s3(), items);
    pair.settings.first_sync = FirstSync::Remote;
    pair
}

// The base is empty after the first run

#[tokio::test]
async fn what_is_written_after_a_first_run_over_nothing_is_pushed() {
    for keep in [true, false] {
        let mut pair = remote_first(&[]);
        pair.settings.trash_local = keep;
        clean(&pair.sync().await);
        pair.assert_quiet().await;
        pair.local.write("work.md", "work");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), files(&[("work.md", "work")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn what_is_written_after_the_last_file_was_deleted_is_pushed() {
    let mut pair = remote_first(&[("old.md", "old")]);
    pair.settings.trash_local = false;
    clean(&pair.sync().await);
    pair.later();
    pair.local.remove("old.md");
    clean(&pair.sync().await);
    assert_eq!(pair.remote(), files(&[]));
    pair.local.write("work.md", "work");
    clean(&pair.sync().await);
    assert_eq!(pair.workspace(), files(&[("work.md", "work")]));
    pair.assert_converged().await;
}

#[tokio::test]
async fn patterns_that_leave_everything_out_for_a_run_cost_nothing() {
    let pair = remote_first(&[("a", "1"), ("b", "2")]);
    clean(&pair.sync().await);
    pair.later();
    pair.local.write(".sync-excludes", "**\n");
    clean(&pair.sync().await);
    pair.local.remove(".sync-excludes");
    pair.local.write("a", "1, edited");
    pair.local.write("c", "3");
    clean(&pair.sync().await);
    let all = files(&[("a", "1, edited"), ("b", "2"), ("c", "3")]);
    assert_eq!(pair.workspace(), all);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_stray_beside_an_empty_base_is_an_ordinary_stray() {
    for first_sync in [FirstSync::Ask, FirstSync::Remote] {
        let mut pair = Pair::new(MemoryOptions::s3(), &[]);
        pair.settings.first_sync = first_sync;
        clean(&pair.sync().await);
        pair.later();
        pair.store.insert("stray", b"dropped");
        clean(&pair.sync().await);
        assert_eq!(pair.remote(), files(&[]));
        assert_eq!(pair.workspace(), files(&[]));
        assert_eq!(pair.remote_trash(), kept(&[("stray", "dropped")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn an_empty_base_of_a_mirror_is_an_ordinary_one() {
    let mut pair = Pair::new(MemoryOptions::s3(), &[]);
    pair.settings.mode = SyncMode::Mirror;
    clean(&pair.sync().await);
    pair.local.write("mine", "x");
    clean(&pair.sync().await);
    assert_eq!(pair.workspace(), files(&[]));
    assert_eq!(pair.local_trash(), kept(&[("mine", "x")]));
}

// The first run

#[tokio::test]
async fn an_empty_remote_is_no_truth_that_could_be_taken() {
    let mut pair = remote_first(&[("work.md", "work")]);
    pair.settings.trash_local = false;
    pair.store.insert("_outbox/.keep", b"");
    let dry = pair
        .run(SyncOptions {
            dry_run: true,
            ..SyncOptions::default()
        })
        .await;
    clean(&dry);
    assert_eq!(dry.report.counts.delete_local, 0, "{:?}", dry.report.counts);
    clean(&pair.sync().await);
    assert_eq!(pair.workspace(), files(&[("work.md", "work")]));
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_first_run_keeps_what_it_displaces_whatever_the_trash_is_set_to() {
    let mut pair = remote_first(&[("a", "here"), ("mine", "m")]);
    (pair.settings.trash_local, pair.settings.trash_remote) = (false, false);
    pair.store.insert("a", b"there");
    clean(&pair.sync().await);
    assert_eq!(pair.workspace(), files(&[("a", "there")]));
    assert_eq!(pair.local_trash(), kept(&[("a", "here"), ("mine", "m")]));
    pair.assert_converged().await;

    let mut pair = Pair::new(MemoryOptions::s3(), &[("a", "here")]);
    (pair.settings.trash_local, pair.settings.trash_remote) = (false, false);
    pair.store.insert("a", b"there");
    pair.store.insert("theirs", b"t");
    clean(&pair.forced(&[GuardName::FirstSync]).await);
    assert_eq!(
        pair.remote_trash(),
        kept(&[("a", "there"), ("theirs", "t")])
    );
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_folder_that_carries_a_marker_is_not_filled_over_its_content_when_the_state_is_lost() {
    let mut pair = remote_first(&[("a", "1")]);
    pair.settings.checkpoint = false;
    clean(&pair.sync().await);
    pair.later();
    pair.local.write("a", "1, edited");
    pair.local.write("work.md", "work");
    std::fs::remove_dir_all(pair.state.join("ows")).unwrap();
    assert_eq!(guard(&pair.sync().await), GuardName::FirstSync);
    assert_eq!(
        pair.workspace(),
        files(&[("a", "1, edited"), ("work.md", "work")])
    );
    assert_eq!(pair.remote(), files(&[("a", "1")]));
    // Whoever decides can do so, either way.
    clean(
        &pair
            .run(SyncOptions {
                direction: Some(Direction::Push),
                force: [GuardName::FirstSync].into(),
                ..SyncOptions::default()
            })
            .await,
    );
    assert_eq!(pair.remote(), pair.workspace());
}

#[tokio::test]
async fn a_marked_folder_that_loses_nothing_is_filled_when_the_state_is_lost() {
    let mut pair = remote_first(&[("a", "1")]);
    pair.settings.checkpoint = false;
    clean(&pair.sync().await);
    pair.later();
    std::fs::remove_dir_all(pair.state.join("ows")).unwrap();
    pair.store.insert("b", b"2");
    clean(&pair.sync().await);
    assert_eq!(pair.workspace(), files(&[("a", "1"), ("b", "2")]));
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_new_volume_after_an_empty_base_is_a_first_run_again() {
    let pair = remote_first(&[]);
    clean(&pair.sync().await);
    pair.local.remove(".ows");
    pair.store.insert("a", b"there");
    clean(&pair.sync().await);
    assert_eq!(pair.workspace(), files(&[("a", "there")]));
    pair.assert_converged().await;

    let pair = Pair::new(MemoryOptions::s3(), &[]);
    clean(&pair.sync().await);
    pair.local.remove(".ows");
    pair.store.insert("a", b"there");
    assert_eq!(kind(&pair.sync().await), Some(FailureKind::Guard));
    assert_eq!(pair.remote(), files(&[("a", "there")]));
}

// A first push that was cut short

#[tokio::test]
async fn what_a_first_push_wrote_before_it_died_is_no_reason_to_stop() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "1"), ("b", "2")]);
    let dies =
        |name: &'static str, point| name == "base_batch" && point == ows::state::FaultPoint::Before;
    let finished = pair
        .run(SyncOptions {
            state_faults: Some(ows::state::StateFaults(std::sync::Arc::new(dies))),
            ..SyncOptions::default()
        })
        .await;
    assert_eq!(kind(&finished), Some(FailureKind::Failed));
    assert!(!pair.remote().is_empty(), "something was uploaded");
    pair.later();
    pair.local.write("a", "1, edited");
    pair.local.write("b", "2, edited");
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_first_push_that_a_guard_stopped_stays_a_first_one() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "here")]);
    pair.store.insert("a", b"there");
    for _ in 0..2 {
        assert_eq!(guard(&pair.sync().await), GuardName::FirstSync);
    }
    assert_eq!(pair.remote(), files(&[("a", "there")]));
}

// What is left of a remote that was wiped, and a marker that is none

#[tokio::test]
async fn mail_is_no_sign_that_the_remote_was_not_wiped() {
    for direction in [None, Some(Direction::Pull), Some(Direction::Push)] {
        let pair = Pair::synced(MemoryOptions::s3(), &[("a", "1"), ("b", "2")]).await;
        pair.store.remove("a");
        pair.store.remove("b");
        pair.store.insert("x/.DS_Store", b"left out");
        assert!(pair.store.files().contains_key("_outbox/.keep"));
        let finished = pair
            .run(SyncOptions {
                direction,
                ..SyncOptions::default()
            })
            .await;
        assert_eq!(guard(&finished), GuardName::RemoteRoot);
        assert_eq!(pair.workspace().len(), 2);
    }
}

#[tokio::test]
async fn a_damaged_marker_makes_the_folder_nobodys_until_a_pull_marks_it_again() {
    for is_folder in [false, true] {
        let pair = Pair::synced(MemoryOptions::s3(), &[("a", "1"), ("b", "2")]).await;
        pair.local.remove(".ows/replica");
        if is_folder {
            pair.local.write(".ows/replica/x", "y");
        } else {
            pair.local.write(".ows/replica", "");
        }
        let finished = pair.sync().await;
        assert_eq!(guard(&finished), GuardName::LocalRoot);
        let message = finished.report.guard.unwrap().message;
        assert!(message.contains("damaged"), "{message}");
        let (_, failures) = ows::sync::status::status(&pair.settings).await;
        assert!(
            failures
                .iter()
                .any(|failure| failure.message.contains("marker")),
            "{failures:?}"
        );
        clean(&pair.directed(Direction::Pull).await);
        assert!(pair.local.join(".ows/replica").is_file());
        clean(&pair.sync().await);
        pair.assert_converged().await;
    }
}

// Secrets

#[tokio::test]
async fn a_first_push_that_holds_secrets_says_so_and_a_later_one_does_not() {
    let told = |finished: &ows::sync::Finished| {
        let warnings = finished.report.warnings.iter();
        warnings.filter(|text| text.contains(".env")).count()
    };
    let pair = Pair::new(
        MemoryOptions::s3(),
        &[("app/.env", "KEY=1"), ("a", "x"), ("id_rsa", "key")],
    );
    let dry = SyncOptions {
        dry_run: true,
        ..SyncOptions::default()
    };
    assert_eq!(told(&pair.run(dry).await), 1, "before anything is sent");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(told(&finished), 1, "{:?}", finished.report.warnings);
    pair.later();
    pair.local.write("other/.env", "KEY=2");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(told(&finished), 0);
}

#[tokio::test]
async fn an_empty_outbox_is_nobodys_content() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let has_folders = options.folders;
        let mut pair = Pair::new(options, &[]);
        pair.settings.local_path = pair.local.join("not-there-yet");
        if has_folders {
            pair.store.insert_dir("_outbox");
        } else {
            pair.store.insert("_outbox/.keep", b"");
        }
        clean(&pair.sync().await);
        assert!(pair.settings.local_path.join("_inbox").is_dir());
    }
    // A file that somebody dropped is content.
    let mut pair = Pair::new(MemoryOptions::s3(), &[]);
    pair.settings.local_path = pair.local.join("not-there-yet");
    pair.store.insert("_outbox/note", b"dropped");
    assert_eq!(guard(&pair.sync().await), GuardName::FirstSync);
}

// A forced first push that was cut short

#[tokio::test]
async fn what_goes_on_with_a_first_run_keeps_all_as_well() {
    let mut pair = Pair::new(MemoryOptions::s3(), &[("a", "here"), ("b", "here too")]);
    (pair.settings.trash_local, pair.settings.trash_remote) = (false, false);
    pair.store.insert("a", b"there");
    pair.store.insert("b", b"there too");
    pair.store.insert("theirs", b"only there");
    let dies = Fault::on(Operation::Put)
        .at("b")
        .before(ErrorKind::Unauthorized);
    pair.faults.add(dies);
    let finished = pair.forced(&[GuardName::FirstSync]).await;
    assert_eq!(kind(&finished), Some(FailureKind::Unauthorized));
    pair.faults.clear();
    assert!(pair.store.get("theirs").is_some(), "deletes come last");
    pair.later();
    clean(&pair.sync().await);
    for content in ["there", "there too", "only there"] {
        assert!(pair.contents().contains(content.as_bytes()), "{content}");
    }
    pair.assert_converged().await;
    // From now on the trash is off, as it was asked for.
    pair.local.remove("b");
    clean(&pair.sync().await);
    assert!(!pair.contents().contains(&b"here too"[..]));
}
