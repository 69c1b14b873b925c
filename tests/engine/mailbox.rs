//! Mailbox mode, sentence by sentence: the push, the drain, and what goes to the trash.

use std::time::Duration;

use chrono::Utc;
use ows::error::FailureKind;
use ows::plan::{Direction, Fate};
use ows::sync::SyncOptions;
use ows_providers::layers::Fault;
use ows_providers::memory::MemoryOptions;
use ows_providers::{ErrorKind, Operation};

use crate::support::{Pair, TRANSIENT, clean, files, kept, kind};

#[tokio::test]
async fn the_remote_is_made_equal_to_the_workspace() {
    for options in [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ] {
        let pair = Pair::new(options, &[("a.md", "one"), ("d/b.md", "two"), ("e", "")]);
        clean(&pair.sync().await);
        assert_eq!(
            pair.remote(),
            files(&[("a.md", "one"), ("d/b.md", "two"), ("e", "")])
        );
        pair.assert_converged().await;
        pair.local.write("a.md", "one, edited");
        pair.local.remove("d/b.md");
        pair.local.write("d/c.md", "three");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.upload, 2);
        assert_eq!(finished.report.counts.delete_remote, 1);
        assert_eq!(finished.report.counts.unchanged, 1);
        assert_eq!(
            pair.remote(),
            files(&[("a.md", "one, edited"), ("d/c.md", "three"), ("e", "")])
        );
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn mail_folders_and_our_own_take_no_part_in_the_push() {
    let pair = Pair::new(
        MemoryOptions::s3(),
        &[
            ("a", "x"),
            ("_inbox/b", "y"),
            ("_outbox/c", "z"),
            ("d/_inbox/e", "part of it"),
        ],
    );
    clean(&pair.sync().await);
    assert_eq!(
        pair.remote(),
        files(&[("a", "x"), ("d/_inbox/e", "part of it")])
    );
    pair.store.insert("_inbox/f", b"a stranger's");
    pair.store.insert(".ows/g", b"ours");
    clean(&pair.sync().await);
    assert_eq!(
        pair.store.get("_inbox/f").as_deref(),
        Some(&b"a stranger's"[..])
    );
    assert_eq!(pair.store.get(".ows/g").as_deref(), Some(&b"ours"[..]));
    assert_eq!(pair.local.read("_outbox/c").as_deref(), Some(&b"z"[..]));
    assert_eq!(pair.local.read("_inbox/f"), None);
}

#[tokio::test]
async fn stray_files_and_cloud_edits_go_to_the_trash_and_are_told() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let pair = Pair::synced(options, &[("a.md", "ours"), ("b.md", "deleted remotely")]).await;
        pair.store.insert("a.md", b"edited in the cloud");
        pair.store.insert("d/stray.md", b"stray");
        pair.store.remove("b.md");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(
            pair.remote_trash(),
            kept(&[("a.md", "edited in the cloud"), ("d/stray.md", "stray")])
        );
        let told = |path: &str| {
            let path = format!("`{path}`");
            finished
                .report
                .warnings
                .iter()
                .any(|text| text.contains(&path))
        };
        assert!(
            told("a.md") && told("d/stray.md"),
            "{:?}",
            finished.report.warnings
        );
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_provider_with_a_bin_of_its_own_needs_no_copies() {
    for mut options in [MemoryOptions::s3(), MemoryOptions::drive()] {
        if !options.bin {
            options.enforced.versioning = Some(true);
        }
        let pair = Pair::synced(options, &[("a", "one"), ("b", "two")]).await;
        pair.store.insert("a", b"edited in the cloud");
        pair.local.remove("b");
        clean(&pair.sync().await);
        assert_eq!(pair.remote_trash(), kept(&[]));
        let bin = pair.store.bin();
        for lost in [&b"edited in the cloud"[..], b"two"] {
            assert!(bin.iter().any(|(_, content)| content == lost), "{bin:?}");
        }
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn every_delete_goes_to_the_trash() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let pair = Pair::synced(options, &[("a", "one"), ("d/b", "two"), ("c", "stays")]).await;
        pair.local.remove("a");
        pair.local.remove("d");
        clean(&pair.sync().await);
        assert_eq!(pair.remote_trash(), kept(&[("a", "one"), ("d/b", "two")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn replacing_what_this_replica_uploaded_last_keeps_no_copy() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "one")]).await;
    for content in ["two", "three", "four is longer"] {
        pair.local.write("a", content);
        clean(&pair.sync().await);
        pair.later();
    }
    assert_eq!(pair.remote_trash(), kept(&[]));
    pair.assert_converged().await;
}

#[tokio::test]
async fn without_a_remote_trash_what_is_displaced_is_gone() {
    let mut pair = Pair::synced(MemoryOptions::s3(), &[("a", "one"), ("b", "two")]).await;
    pair.settings.trash_remote = false;
    pair.store.insert("a", b"edited in the cloud");
    pair.local.remove("b");
    clean(&pair.sync().await);
    assert_eq!(pair.remote_trash(), kept(&[]));
    pair.assert_converged().await;
}

#[tokio::test]
async fn what_is_told_of_displaced_content_is_what_becomes_of_it() {
    let mut versioned = MemoryOptions::s3();
    versioned.enforced.versioning = Some(true);
    for (options, trash_remote, fate, told) in [
        (MemoryOptions::s3(), true, Fate::Trash, "goes to the trash"),
        (MemoryOptions::s3(), false, Fate::Dropped, "is not kept"),
        (MemoryOptions::drive(), false, Fate::Provider, "is kept by"),
        (versioned, true, Fate::Provider, "is kept by the provider"),
    ] {
        let mut pair = Pair::synced(options, &[("a", "one"), ("b", "two"), ("c", "3")]).await;
        pair.settings.trash_remote = trash_remote;
        pair.store.insert("a", b"edited in the cloud");
        pair.local.remove("b");
        for dry_run in [true, false] {
            let finished = pair
                .run(SyncOptions {
                    dry_run,
                    keep_actions: true,
                    ..SyncOptions::default()
                })
                .await;
            clean(&finished);
            let report = finished.report;
            let edit = report.actions.iter().find(|action| action.path == "a");
            let reason = &edit.expect("the edit gives way").reason;
            assert!(reason.contains(told), "{told}: {reason}");
            assert_eq!(report.fates.remote, fate, "{told}, dry run: {dry_run}");
        }
        let is_kept = pair.contents().contains(&b"edited in the cloud"[..]);
        assert_eq!(is_kept, fate != Fate::Dropped);
    }
}

#[tokio::test]
async fn a_pull_keeps_what_it_displaces_locally() {
    let mut pair = Pair::synced(
        MemoryOptions::s3(),
        &[("a", "one"), ("b", "two"), ("c", "three")],
    )
    .await;
    pair.store.insert("a", b"newer in the cloud");
    pair.store.insert("b", b"newer too");
    pair.store.remove("c");
    pair.local.write("b", "edited here");
    pair.local.write("d", "only here");
    clean(&pair.directed(Direction::Pull).await);
    // `a` was exactly what the base records, so that no copy of it is kept.
    let trash = kept(&[("b", "edited here"), ("c", "three"), ("d", "only here")]);
    assert_eq!(pair.local_trash(), trash);
    assert_eq!(
        pair.workspace(),
        files(&[("a", "newer in the cloud"), ("b", "newer too")])
    );
    pair.assert_converged().await;

    pair.settings.trash_local = false;
    pair.store.remove("a");
    clean(&pair.directed(Direction::Pull).await);
    assert_eq!(pair.local_trash(), trash, "nothing more");
    assert_eq!(pair.workspace(), files(&[("b", "newer too")]));
}

#[tokio::test]
async fn the_trash_is_purged_after_its_days_by_the_providers_clock() {
    let mut options = MemoryOptions::s3();
    options.start = Utc::now();
    let pair = Pair::synced(options, &[("a", "one"), ("b", "two"), ("c", "three")]).await;
    pair.local.remove("a");
    clean(&pair.sync().await);
    let day = Duration::from_secs(24 * 3600);
    pair.store.advance(29 * day);
    pair.local.remove("b");
    clean(&pair.sync().await);
    assert_eq!(pair.remote_trash(), kept(&[("a", "one"), ("b", "two")]));
    pair.store.advance(2 * day);
    // A run with nothing to do purges nothing.
    pair.assert_quiet().await;
    assert_eq!(pair.remote_trash().len(), 2);
    pair.local.write("d", "four");
    clean(&pair.sync().await);
    assert_eq!(pair.remote_trash(), kept(&[("b", "two")]));
    pair.store.advance(29 * day);
    pair.local.write("d", "five");
    clean(&pair.sync().await);
    assert_eq!(pair.remote_trash(), kept(&[]));
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_host_whose_clock_was_far_behind_loses_no_trash_early() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "one")]).await;
    let kept_by = ".ows/trash/19700101T000000Z-0123abcd/old";
    pair.store.insert(kept_by, b"displaced a moment ago");
    let day = Duration::from_secs(24 * 3600);
    for (days, is_kept) in [(2, true), (27, true), (2, false)] {
        pair.store.advance(days * day);
        pair.local.write("a", format!("{days} {is_kept}"));
        clean(&pair.sync().await);
        assert_eq!(pair.store.get(kept_by).is_some(), is_kept, "{days}");
    }
}

#[tokio::test]
async fn dropped_files_are_delivered_and_then_removed() {
    for options in [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ] {
        let pair = Pair::synced(options, &[("a", "x")]).await;
        pair.store.insert("_outbox/report.pdf", b"for the agent");
        pair.store.insert("_outbox/sub/deep/note", b"deeper");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.download, 2);
        assert_eq!(finished.report.counts.delete_remote, 0);
        assert_eq!(
            pair.inbox(),
            files(&[("report.pdf", "for the agent"), ("sub/deep/note", "deeper")])
        );
        assert_eq!(pair.outbox(), files(&[]));
        assert_eq!(
            pair.remote_trash(),
            kept(&[]),
            "it was delivered, not displaced"
        );
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn folders_of_the_outbox_stay() {
    let pair = Pair::synced(MemoryOptions::folder(), &[("a", "x")]).await;
    pair.store.insert("_outbox/sub/note", b"x");
    clean(&pair.sync().await);
    assert!(pair.store.dirs().contains(&"_outbox/sub".to_owned()));
    pair.assert_quiet().await;
}

#[tokio::test]
async fn half_written_and_excluded_files_stay_in_the_outbox() {
    let mut pair = Pair::new(MemoryOptions::s3(), &[("a", "x")]);
    pair.settings.exclude.push("*.secret".to_owned());
    clean(&pair.sync().await);
    for name in [
        "~$doc.docx",
        ".~lock",
        "x.tmp",
        ".DS_Store",
        "my.secret",
        "d/y.tmp",
    ] {
        pair.store.insert(&format!("_outbox/{name}"), b"x");
    }
    clean(&pair.sync().await);
    assert_eq!(pair.inbox(), files(&[]));
    assert_eq!(pair.outbox().len(), 6);
    pair.assert_quiet().await;
}

#[tokio::test]
async fn a_taken_name_gets_a_number_and_nothing_is_overwritten() {
    let pair = Pair::synced(
        MemoryOptions::s3(),
        &[("_inbox/a.tar.gz", "mine"), ("_inbox/.env", "mine")],
    )
    .await;
    for round in ["first", "second"] {
        pair.store.insert("_outbox/a.tar.gz", round.as_bytes());
        pair.store.insert("_outbox/.env", round.as_bytes());
        clean(&pair.sync().await);
        pair.later();
    }
    assert_eq!(
        pair.inbox(),
        files(&[
            ("a.tar.gz", "mine"),
            ("a.tar (2).gz", "first"),
            ("a.tar (3).gz", "second"),
            (".env", "mine"),
            (".env (2)", "first"),
            (".env (3)", "second"),
        ])
    );
}

#[tokio::test]
async fn the_same_content_under_a_taken_name_is_delivered_already() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("_inbox/a", "same")]).await;
    pair.store.insert("_outbox/a", b"same");
    clean(&pair.sync().await);
    assert_eq!(pair.inbox(), files(&[("a", "same")]));
    assert_eq!(pair.outbox(), files(&[]));
}

#[tokio::test]
async fn a_drop_replaced_after_its_download_is_delivered_too() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let pair = Pair::synced(options, &[("a", "x")]).await;
        pair.store.insert("_outbox/note", b"first");
        let store = pair.store.clone();
        pair.faults.add(
            Fault::on(Operation::Delete)
                .at("_outbox/note")
                .meanwhile(move || {
                    store.advance(Duration::from_secs(5));
                    store.insert("_outbox/note", b"second");
                }),
        );
        clean(&pair.sync().await);
        pair.faults.assert_all_reached();
        assert_eq!(pair.outbox(), files(&[("note", "second")]), "not deleted");
        clean(&pair.sync().await);
        assert_eq!(
            pair.inbox(),
            files(&[("note", "first"), ("note (2)", "second")])
        );
        assert_eq!(pair.outbox(), files(&[]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_delivery_whose_removal_fails_is_not_repeated() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.store.insert("_outbox/note", b"once");
    pair.faults.add(
        Fault::on(Operation::Delete)
            .at("_outbox/note")
            .before(TRANSIENT),
    );
    assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
    // The agent takes it: the name is free again, and it must not come back.
    pair.local.remove("_inbox/note");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(finished.report.counts.download, 0);
    assert_eq!(pair.inbox(), files(&[]));
    assert_eq!(pair.outbox(), files(&[]));
}

#[tokio::test]
async fn a_short_or_broken_download_is_never_delivered() {
    for broken in [None, Some(TRANSIENT), Some(ErrorKind::Permanent)] {
        let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
        pair.store.insert("_outbox/note", b"the whole content");
        pair.faults
            .add(Fault::on(Operation::Get).short_body(5, broken));
        assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
        pair.faults.assert_all_reached();
        assert_eq!(pair.inbox(), files(&[]));
        assert_eq!(pair.outbox().len(), 1);
        pair.assert_nothing_left_behind();
        clean(&pair.sync().await);
        assert_eq!(pair.inbox(), files(&[("note", "the whole content")]));
    }
}

#[tokio::test]
async fn after_loss_of_the_state_a_drop_arrives_at_least_once() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.store.insert("_outbox/note", b"once");
    pair.faults.add(
        Fault::on(Operation::Delete)
            .at("_outbox/note")
            .before(TRANSIENT),
    );
    assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
    pair.local.rename("_inbox/note", "note taken.md");
    pair.state.remove("ows");
    clean(&pair.sync().await);
    assert_eq!(pair.inbox(), files(&[("note", "once")]));
    assert_eq!(pair.outbox(), files(&[]));
}

#[tokio::test]
async fn the_first_run_makes_the_mail_folders() {
    let pair = Pair::new(MemoryOptions::folder(), &[("a", "x")]);
    clean(&pair.sync().await);
    assert!(pair.store.dirs().contains(&"_outbox".to_owned()));
    assert!(pair.local.join("_inbox").is_dir());

    let pair = Pair::new(MemoryOptions::s3(), &[("a", "x")]);
    clean(&pair.sync().await);
    assert_eq!(pair.store.get("_outbox/.keep").as_deref(), Some(&b""[..]));
    assert!(pair.local.join("_inbox").is_dir());
    pair.assert_quiet().await;
    assert_eq!(pair.inbox(), files(&[]), "the placeholder is never drained");
}

#[tokio::test]
async fn an_empty_workspace_still_makes_the_mail_folders_and_drains() {
    let pair = Pair::new(MemoryOptions::s3(), &[]);
    pair.store
        .insert("_outbox/note", b"dropped before the first run");
    clean(&pair.sync().await);
    assert_eq!(
        pair.inbox(),
        files(&[("note", "dropped before the first run")])
    );
    pair.assert_converged().await;
}

#[tokio::test]
async fn one_way_runs_leave_mail_alone() {
    for direction in [Direction::Push, Direction::Pull] {
        let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x"), ("_inbox/b", "y")]).await;
        pair.store.insert("_outbox/note", b"waits");
        clean(&pair.directed(direction).await);
        assert_eq!(pair.outbox(), files(&[("note", "waits")]));
        assert_eq!(pair.inbox(), files(&[("b", "y")]));
    }
}

#[tokio::test]
async fn one_way_runs_update_the_base() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x"), ("b", "y")]).await;
    pair.store.insert("a", b"from the cloud");
    clean(&pair.directed(Direction::Pull).await);
    assert_eq!(
        pair.local.read("a").as_deref(),
        Some(&b"from the cloud"[..])
    );
    pair.assert_converged().await;
    pair.local.write("b", "from here, by a push");
    clean(&pair.directed(Direction::Push).await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_move_is_carried_out_within_the_remote() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let pair = Pair::synced(options, &[("a.md", "the content"), ("b", "x")]).await;
        pair.local.rename("a.md", "new folder/c.md");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.moved, 1);
        assert_eq!(finished.report.counts.upload, 0);
        assert_eq!(finished.report.counts.delete_remote, 0);
        assert_eq!(pair.remote_trash(), kept(&[]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn empty_folders_are_kept_in_sync_where_there_are_folders() {
    let pair = Pair::synced(MemoryOptions::folder(), &[("a", "x")]).await;
    pair.local.folder("empty/inner");
    clean(&pair.sync().await);
    assert!(pair.store.dirs().contains(&"empty/inner".to_owned()));
    pair.assert_converged().await;
    pair.local.remove("empty");
    clean(&pair.sync().await);
    assert!(
        !pair
            .store
            .dirs()
            .iter()
            .any(|folder| folder.starts_with("empty"))
    );
    pair.assert_converged().await;

    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.local.folder("empty/inner");
    pair.assert_quiet().await;
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x"), ("b", "y"), ("c", "z")]).await;
    pair.local.write("a", "edited");
    pair.local.remove("b");
    pair.store.insert("_outbox/note", b"waits");
    let before = (pair.store.files(), pair.local.files());
    let finished = pair
        .run(SyncOptions {
            dry_run: true,
            ..SyncOptions::default()
        })
        .await;
    clean(&finished);
    let lines: Vec<_> = finished
        .report
        .actions
        .iter()
        .map(|line| (line.op.as_str(), line.path.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            ("upload", "a"),
            ("delete_remote", "b"),
            ("drain", "_outbox/note")
        ]
    );
    assert_eq!((pair.store.files(), pair.local.files()), before);
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_file_where_a_dropped_folder_needs_to_go_gives_the_folder_another_name() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let pair = Pair::synced(options, &[("a", "x")]).await;
        pair.local.write("_inbox/dir", "a file of the agent's");
        pair.store.insert("_outbox/dir/x", b"dropped");
        pair.store.insert("_outbox/dir/sub/y", b"too");
        clean(&pair.sync().await);
        let read = |path: &str| pair.local.read(path);
        assert_eq!(
            read("_inbox/dir").as_deref(),
            Some(&b"a file of the agent's"[..])
        );
        assert_eq!(read("_inbox/dir (2)/x").as_deref(), Some(&b"dropped"[..]));
        assert_eq!(read("_inbox/dir (2)/sub/y").as_deref(), Some(&b"too"[..]));
        pair.assert_converged().await;
    }
}
