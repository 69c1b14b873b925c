//! Mirror mode: the folder is made equal to the remote, nothing is written there, and nothing that gives way is lost.

use std::time::Duration;

use ows::error::FailureKind;
use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::sync::{FirstSync, SyncMode, SyncOptions};
use ows_providers::layers::Fault;
use ows_providers::memory::MemoryOptions;
use ows_providers::{EntryKind, Operation};
use ows_testkit::tree::Files;

use crate::support::{Pair, TRANSIENT, calls, clean, files, guard, kept, kind};

/// A pair in mirror mode that was never synced; the remote holds these files.
fn mirror(options: MemoryOptions, remote: &[(&str, &str)]) -> Pair {
    let mut pair = Pair::new(options, &[]);
    pair.settings.mode = SyncMode::Mirror;
    for (path, content) in remote {
        pair.store.insert(path, content.as_bytes());
    }
    pair
}

/// One that was filled by a first run.
async fn filled(options: MemoryOptions, remote: &[(&str, &str)]) -> Pair {
    let pair = mirror(options, remote);
    clean(&pair.sync().await);
    pair.later();
    pair
}

/// Everything that the remote holds, ours included: a mirror writes none of it.
fn whole(pair: &Pair) -> Files {
    pair.store.files()
}

async fn assert_mirrored(pair: &Pair, remote: &Files) {
    assert_eq!(&whole(pair), remote, "nothing was written to the remote");
    assert_eq!(&pair.local.files(), remote);
    pair.assert_nothing_left_behind();
    pair.assert_quiet().await;
}

#[tokio::test]
async fn an_empty_folder_is_filled_with_one_read_a_file_and_the_mail_folders_are_ordinary() {
    for options in [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ] {
        let pair = mirror(
            options,
            &[("a", "x"), ("_inbox/b", "y"), ("_outbox/c", "z"), ("e", "")],
        );
        let before = whole(&pair);
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.mode.as_deref(), Some("mirror"));
        assert_eq!(finished.report.counts.download, 4);
        assert_eq!(calls(&finished), [("get", 4), ("list", 1)]);
        assert_mirrored(&pair, &before).await;
    }
}

#[tokio::test]
async fn an_empty_remote_and_an_empty_folder_are_in_sync() {
    let mut pair = mirror(MemoryOptions::s3(), &[]);
    let gone = pair.local.join("not/there");
    pair.settings.local_path = gone.clone();
    clean(&pair.sync().await);
    assert!(gone.is_dir(), "a missing folder is created without a base");
    assert!(whole(&pair).is_empty(), "no placeholder, no marker");
    assert!(!gone.join("_inbox").exists());
}

#[tokio::test]
async fn what_changes_in_the_remote_comes_down() {
    let pair = filled(
        MemoryOptions::s3(),
        &[("a", "old"), ("b", "gone"), ("d/c", "same"), ("f", "file")],
    )
    .await;
    pair.store.insert("a", b"newer");
    pair.store.remove("b");
    pair.store.insert("new/e", b"e");
    pair.store.remove("f");
    pair.store.insert("f/below", b"a folder now");
    let before = whole(&pair);
    let finished = pair.sync().await;
    clean(&finished);
    let counts = finished.report.counts;
    assert_eq!((counts.download, counts.delete_local), (3, 2));
    assert_eq!(calls(&finished), [("get", 3), ("list", 1)]);
    assert_mirrored(&pair, &before).await;
    // Deletes keep a copy, and so does a file that gave way to a folder; our own old version needs none.
    assert_eq!(pair.local_trash(), kept(&[("b", "gone"), ("f", "file")]));
}

#[tokio::test]
async fn local_edits_and_local_files_go_to_the_trash_and_are_reported() {
    let pair = filled(MemoryOptions::s3(), &[("a", "old"), ("b", "same")]).await;
    pair.local.write("a", "edited here");
    pair.local.write("mine", "only here");
    pair.local.remove("b");
    let before = whole(&pair);
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(
        pair.local_trash(),
        kept(&[("a", "edited here"), ("mine", "only here")])
    );
    let said = finished.report.warnings.join("\n");
    assert!(said.contains("`a`: edited in the workspace"), "{said}");
    assert!(said.contains("`mine`: not in the remote"), "{said}");
    assert_mirrored(&pair, &before).await;
}

#[tokio::test]
async fn both_sides_changed_to_the_same_is_no_edit() {
    let pair = filled(MemoryOptions::s3(), &[("a", "old")]).await;
    pair.local.write("a", "new");
    pair.store.insert("a", b"new");
    let before = whole(&pair);
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(finished.report.counts.download, 0);
    assert!(pair.local_trash().is_empty());
    assert_mirrored(&pair, &before).await;
}

// Guards

#[tokio::test]
async fn a_first_run_that_would_displace_local_files_asks() {
    let mut pair = mirror(MemoryOptions::s3(), &[("a", "theirs"), ("b", "both")]);
    pair.local.write("a", "mine");
    pair.local.write("b", "both");
    pair.local.write("c", "only mine");
    let before = whole(&pair);
    let finished = pair.sync().await;
    assert_eq!(guard(&finished), GuardName::FirstSync);
    let stop = finished.report.guard.expect("it was stopped");
    assert_eq!(stop.examples, ["a", "c"]);
    assert_eq!(
        pair.local.files(),
        files(&[("a", "mine"), ("b", "both"), ("c", "only mine")])
    );
    pair.settings.first_sync = FirstSync::Remote;
    clean(&pair.sync().await);
    assert_eq!(
        pair.local_trash(),
        kept(&[("a", "mine"), ("c", "only mine")])
    );
    assert_mirrored(&pair, &before).await;

    let pair = mirror(MemoryOptions::s3(), &[("a", "theirs")]);
    pair.local.write("a", "mine");
    clean(&pair.forced(&[GuardName::FirstSync]).await);
    assert_eq!(pair.local.files(), files(&[("a", "theirs")]));
}

#[tokio::test]
async fn a_remote_that_is_missing_or_empty_stops() {
    for missing in [false, true] {
        let pair = filled(MemoryOptions::folder(), &[("a", "x"), ("d/b", "y")]).await;
        pair.store.remove("a");
        pair.store.remove("d/b");
        pair.store.remove("d");
        if missing {
            pair.store.remove_root();
        }
        assert_eq!(guard(&pair.sync().await), GuardName::RemoteRoot);
        assert_eq!(pair.local.files(), files(&[("a", "x"), ("d/b", "y")]));
    }
    let pair = filled(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.store.remove("a");
    assert_eq!(guard(&pair.sync().await), GuardName::RemoteRoot);
    clean(&pair.forced(&[GuardName::RemoteRoot]).await);
    assert_eq!(pair.local_trash(), kept(&[("a", "x")]));
}

#[tokio::test]
async fn too_many_deletes_stop() {
    let names: Vec<String> = (0..30).map(|number| format!("f{number:02}")).collect();
    let remote: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let pair = filled(MemoryOptions::s3(), &remote).await;
    for name in &names[..20] {
        pair.store.remove(name);
    }
    let finished = pair.sync().await;
    assert_eq!(guard(&finished), GuardName::MaxDelete);
    assert_eq!(pair.local.files().len(), 30);
    clean(&pair.forced(&[GuardName::MaxDelete]).await);
    assert_eq!(pair.local.files().len(), 10);
    assert_eq!(pair.local_trash().len(), 20);
}

#[tokio::test]
async fn a_missing_folder_is_not_created_where_a_base_exists() {
    let mut pair = filled(MemoryOptions::s3(), &[("a", "x")]).await;
    let gone = pair.local.join("gone");
    pair.settings.local_path = gone.clone();
    assert_eq!(guard(&pair.sync().await), GuardName::LocalRoot);
    assert!(!gone.exists());
}

#[tokio::test]
async fn a_new_volume_with_a_template_is_added_to_marked_and_synced_by_the_next_run() {
    let pair = filled(
        MemoryOptions::s3(),
        &[("a", "theirs"), ("b", "b"), ("d/c", "c"), ("same", "same")],
    )
    .await;
    for left in ["a", "b", "d", "same", ".ows"] {
        pair.local.remove(left);
    }
    pair.local.write("a", "of the template");
    pair.local.write("template", "of the template too");
    pair.local.write("same", "same");
    pair.store.remove("b");
    let before = whole(&pair);
    let finished = pair.sync().await;
    assert_eq!(
        kind(&finished),
        Some(FailureKind::Partial),
        "{:?}",
        finished.failure
    );
    let said = &finished.report.warnings[0];
    assert!(said.contains("only adds what is missing"), "{said}");
    let left: Vec<&str> = finished
        .report
        .errors
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert!(
        left.contains(&"a") && left.contains(&"template"),
        "{left:?}"
    );
    assert_eq!(
        pair.local.files(),
        files(&[
            ("a", "of the template"),
            ("d/c", "c"),
            ("same", "same"),
            ("template", "of the template too"),
        ])
    );
    assert!(pair.local_trash().is_empty());
    assert_eq!(whole(&pair), before);

    pair.later();
    clean(&pair.sync().await);
    assert_eq!(
        pair.local_trash(),
        kept(&[
            ("a", "of the template"),
            ("template", "of the template too")
        ])
    );
    assert_mirrored(&pair, &before).await;
}

#[tokio::test]
async fn an_unmounted_volume_is_filled_and_nothing_is_deleted() {
    let pair = filled(MemoryOptions::s3(), &[("a", "x"), ("d/b", "y")]).await;
    for left in ["a", "d", ".ows"] {
        pair.local.remove(left);
    }
    let before = whole(&pair);
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(finished.report.counts.download, 2);
    assert_mirrored(&pair, &before).await;
}

#[tokio::test]
async fn a_folder_that_lost_nothing_but_its_marker_is_marked_again() {
    let pair = filled(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.local.remove(".ows");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(finished.report.warnings.len(), 1);
    let finished = pair.sync().await;
    clean(&finished);
    assert!(finished.report.warnings.is_empty(), "it is said once");
}

#[tokio::test]
async fn a_volume_that_goes_away_in_mid_run_ends_the_deletes() {
    let names: Vec<String> = (0..200).map(|number| format!("f{number:03}")).collect();
    let remote: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let mut pair = filled(MemoryOptions::s3(), &remote).await;
    pair.settings.max_delete = 100;
    for name in &names[..150] {
        pair.store.remove(name);
    }
    pair.store.insert("new", b"x");
    let marker = pair.local.join(".ows/replica");
    pair.faults.add(
        Fault::on(Operation::Get)
            .nth(1)
            .meanwhile(move || std::fs::remove_file(&marker).expect("it is there")),
    );
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Failed));
    assert_eq!(pair.local.files().len(), 201, "nothing was deleted");
}

// Directions

#[tokio::test]
async fn a_pull_that_is_asked_for_is_an_ordinary_run() {
    let pair = filled(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.local.write("mine", "only here");
    let before = whole(&pair);
    clean(&pair.directed(Direction::Pull).await);
    assert_eq!(pair.local_trash(), kept(&[("mine", "only here")]));
    assert_mirrored(&pair, &before).await;
}

#[tokio::test]
async fn a_push_that_is_asked_for_makes_the_remote_equal_under_all_guards() {
    let pair = filled(
        MemoryOptions::s3(),
        &[("a", "x"), ("b", "y"), ("_outbox/c", "z")],
    )
    .await;
    pair.local.write("a", "edited here");
    pair.local.remove("b");
    pair.local.write("mine", "only here");
    pair.store.insert("stray", b"theirs");
    // A folder that is not known to be the one is never pushed.
    let marker = pair.local.join(".ows/replica");
    let text = std::fs::read(&marker).expect("it is marked");
    std::fs::remove_file(&marker).expect("it is there");
    assert_eq!(
        guard(&pair.directed(Direction::Push).await),
        GuardName::LocalRoot
    );
    std::fs::write(&marker, text).expect("it can be written");

    let finished = pair.directed(Direction::Push).await;
    clean(&finished);
    assert_eq!(
        pair.remote_trash(),
        kept(&[("b", "y"), ("stray", "theirs")])
    );
    pair.later();
    let mut remote = whole(&pair);
    remote.retain(|path, _| !path.starts_with(".ows/"));
    assert_eq!(
        remote,
        files(&[
            ("_outbox/c", "z"),
            ("a", "edited here"),
            ("mine", "only here")
        ])
    );
    assert_eq!(pair.local.files(), remote);
    pair.assert_quiet().await;
}

#[tokio::test]
async fn a_dry_run_changes_neither_side() {
    let pair = filled(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.local.write("mine", "only here");
    pair.store.insert("b", b"new");
    let before = (whole(&pair), pair.local.snapshot());
    let finished = pair
        .run(SyncOptions {
            dry_run: true,
            ..SyncOptions::default()
        })
        .await;
    clean(&finished);
    let ops: Vec<(&str, &str)> = finished
        .report
        .actions
        .iter()
        .map(|action| (action.op.as_str(), action.path.as_str()))
        .collect();
    assert_eq!(ops, [("download", "b"), ("delete_local", "mine")]);
    assert_eq!((whole(&pair), pair.local.snapshot()), before);
}

// What cannot be known, and what cannot be done

#[tokio::test]
async fn links_special_files_and_what_lies_behind_them_are_left_alone() {
    let pair = filled(
        MemoryOptions::s3(),
        &[("d/a", "x"), ("loop/a", "x"), ("pipe", "x"), ("real", "x")],
    )
    .await;
    let outside = ows_testkit::tree::TempTree::with(&[("secret", "kept")]);
    for path in ["d", "loop", "pipe"] {
        pair.local.remove(path);
    }
    pair.local
        .symlink("d", outside.path().to_str().expect("it is text"));
    pair.local.symlink("loop", "loop");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        pair.local.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a pipe can be made");
    pair.store.insert("d/a", b"changed");
    pair.store.insert("d/secret", b"from the remote");
    pair.store.insert("pipe", b"changed");
    pair.store.remove("loop/a");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(finished.report.counts.unchanged, 1);
    assert_eq!(outside.files(), files(&[("secret", "kept")]));
    assert!(finished.report.warnings[0].contains("3 links and special files"));
}

#[tokio::test]
async fn a_hard_link_is_broken_by_a_download_and_the_other_name_keeps_its_content() {
    let pair = filled(MemoryOptions::s3(), &[("a", "old"), ("b", "x")]).await;
    std::fs::remove_file(pair.local.join("b")).expect("it is there");
    std::fs::hard_link(pair.local.join("a"), pair.local.join("b")).expect("a link can be made");
    pair.store.insert("a", b"newer");
    pair.store.insert("b", b"old");
    let before = whole(&pair);
    let finished = pair.sync().await;
    clean(&finished);
    let told = |finished: &ows::sync::Finished| {
        let warnings = finished.report.warnings.iter();
        warnings.filter(|text| text.contains("hard links")).count()
    };
    assert_eq!(told(&finished), 1, "{:?}", finished.report.warnings);
    assert_mirrored(&pair, &before).await;
    // From now on they are two files.
    pair.store.insert("a", b"newer still");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(told(&finished), 0, "it is said once");
}

#[tokio::test]
async fn a_sparse_file_is_replaced_by_what_the_remote_holds() {
    let pair = filled(MemoryOptions::s3(), &[("a", "x")]).await;
    let sparse = std::fs::File::create(pair.local.join("a")).expect("it can be made");
    sparse.set_len(1 << 20).expect("it can be made longer");
    drop(sparse);
    let before = whole(&pair);
    clean(&pair.sync().await);
    assert_eq!(
        pair.local_trash(),
        [("a".to_owned(), vec![0; 1 << 20])].into()
    );
    assert_mirrored(&pair, &before).await;
}

#[tokio::test]
async fn an_unreadable_folder_of_the_remote_is_left_alone() {
    let pair = filled(MemoryOptions::folder(), &[("d/a", "x"), ("b", "y")]).await;
    pair.local.write("d/mine", "only here");
    pair.store.remove("b");
    pair.store.insert("c", b"new");
    pair.store.set_unreadable("d", true);
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    assert_eq!(
        pair.local.files(),
        files(&[("c", "new"), ("d/a", "x"), ("d/mine", "only here")])
    );
}

#[tokio::test]
async fn a_listing_that_fails_changes_nothing() {
    let pair = filled(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.local.write("mine", "only here");
    pair.faults
        .add(Fault::on(Operation::List).nth(1).before(TRANSIENT));
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Failed));
    assert_eq!(
        pair.local.files(),
        files(&[("a", "x"), ("mine", "only here")])
    );
}

#[tokio::test]
async fn an_edit_between_the_look_and_the_download_is_left_for_the_next_run() {
    let pair = filled(MemoryOptions::s3(), &[("a", "old")]).await;
    pair.store.insert("a", b"newer");
    let path = pair.local.join("a");
    pair.faults.add(
        Fault::on(Operation::Get).nth(1).meanwhile(move || {
            std::fs::write(&path, "edited meanwhile").expect("it can be written")
        }),
    );
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    assert_eq!(pair.local.files(), files(&[("a", "edited meanwhile")]));
    pair.later();
    clean(&pair.sync().await);
    assert_eq!(pair.local.files(), files(&[("a", "newer")]));
    assert_eq!(pair.local_trash(), kept(&[("a", "edited meanwhile")]));
}

#[tokio::test]
async fn empty_folders_follow_the_remote_where_it_has_folders() {
    let pair = filled(MemoryOptions::folder(), &[("a", "x")]).await;
    pair.store.insert_dir("empty/inner");
    pair.local.folder("mine");
    clean(&pair.sync().await);
    assert!(pair.local.join("empty/inner").is_dir());
    assert!(!pair.local.join("mine").exists());
    pair.store.remove("empty/inner");
    pair.store.remove("empty");
    pair.later();
    clean(&pair.sync().await);
    assert!(!pair.local.join("empty").exists());
    pair.assert_quiet().await;
    assert!(
        pair.store
            .entry("a")
            .is_some_and(|entry| entry.kind == EntryKind::File)
    );
}

#[tokio::test]
async fn the_local_trash_is_emptied_after_its_time_and_the_remote_one_is_left_alone() {
    let pair = filled(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.store.insert(
        ".ows/trash/20200101T000000Z-00000000/old",
        b"of another replica",
    );
    pair.local.write("mine", "only here");
    clean(&pair.sync().await);
    assert_eq!(pair.local_trash().len(), 1);
    // Runs are named by the host's clock, which may be far ahead of where the store's began.
    pair.store
        .set_now(chrono::Utc::now() + Duration::from_secs(60 * 86_400));
    let before = whole(&pair);
    pair.local.write("mine too", "only here");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(calls(&finished), [("list", 1)]);
    assert_eq!(whole(&pair), before);
    let left = pair.local_trash();
    assert!(
        left.len() < 2,
        "what was displaced long ago is gone: {left:?}"
    );
}

#[tokio::test]
async fn a_name_of_a_file_and_a_folder_is_synced_as_one_of_them_and_told() {
    let options = MemoryOptions::s3;
    let left = |finished: &ows::sync::Finished| {
        assert_eq!(kind(finished), Some(FailureKind::Partial));
        let errors = finished.report.errors.iter();
        let told: Vec<_> = errors.map(|error| error.path.clone()).collect();
        for error in &finished.report.errors {
            let text = &error.message;
            assert!(text.contains("rename one of them"), "{text}");
        }
        told
    };
    // Nothing is here yet: the folder is synced, at every run.
    let pair = mirror(options(), &[("d/x", "file"), ("d/x/y", "below"), ("z", "")]);
    for _ in 0..3 {
        assert_eq!(left(&pair.sync().await), ["d/x"]);
        assert_eq!(pair.local.files(), files(&[("d/x/y", "below"), ("z", "")]));
        pair.later();
    }
    // The file was here first, and stays.
    let pair = filled(options(), &[("d/x", "file")]).await;
    pair.store.insert("d/x/y", b"below");
    for content in ["file", "newer file"] {
        pair.store.insert("d/x", content.as_bytes());
        assert_eq!(left(&pair.sync().await), ["d/x/y"]);
        assert_eq!(pair.local.files(), files(&[("d/x", content)]));
        pair.later();
    }
}
