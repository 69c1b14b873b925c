//! Runs that do not rely on their base: what they leave alone, and what they keep.

use ows::error::FailureKind;
use ows::plan::{Caution, Direction};
use ows::sync::{Finished, SyncOptions};
use ows_providers::memory::MemoryOptions;

use crate::support::{Pair, files, kept, kind};

async fn careful(pair: &Pair, caution: Caution, direction: Option<Direction>) -> Finished {
    pair.run(SyncOptions {
        caution,
        direction,
        ..SyncOptions::default()
    })
    .await
}

/// Three files in sync; then each is changed, removed, renamed or added to in the workspace.
async fn perturbed() -> Pair {
    let pair = Pair::synced(
        MemoryOptions::s3(),
        &[("edited", "old"), ("removed", "gone"), ("renamed", "same")],
    )
    .await;
    pair.local.write("edited", "newer");
    pair.local.remove("removed");
    std::fs::rename(pair.local.join("renamed"), pair.local.join("new name"))
        .expect("the file is renamed");
    pair.local.write("added", "x");
    pair
}

#[tokio::test]
async fn a_rolled_back_push_deletes_nothing_and_keeps_what_it_replaces_whatever_the_configuration_says()
 {
    let mut pair = perturbed().await;
    pair.settings.trash_remote = false;
    let finished = careful(&pair, Caution::RolledBack, None).await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    let expected = [
        ("added", "x"),
        ("edited", "newer"),
        ("new name", "same"),
        ("removed", "gone"),
        ("renamed", "same"),
    ];
    assert_eq!(pair.remote(), files(&expected));
    assert_eq!(pair.remote_trash(), kept(&[("edited", "old")]));
    let report = &finished.report;
    assert_eq!((report.counts.skipped, report.counts.delete_remote), (2, 0));
    assert_eq!(report.counts.moved, 0);
    assert!(
        report.errors[0]
            .message
            .contains("this run deletes nothing"),
        "{:?}",
        report.errors
    );
    // The rows of what is missing here are forgotten: a pull has nothing to tell it from a new file.
    pair.later();
    let finished = pair.directed(Direction::Pull).await;
    assert_eq!(finished.report.counts.download, 2);
    assert_eq!(pair.workspace(), files(&expected));
}

#[tokio::test]
async fn a_rolled_back_pull_keeps_what_it_replaces_whatever_the_configuration_says() {
    let mut pair = Pair::synced(MemoryOptions::s3(), &[("a", "old"), ("b", "stays")]).await;
    pair.settings.trash_local = false;
    pair.store.insert("a", b"newer");
    pair.store.remove("b");
    let finished = careful(&pair, Caution::RolledBack, Some(Direction::Pull)).await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    assert_eq!(pair.workspace(), files(&[("a", "newer"), ("b", "stays")]));
    assert_eq!(pair.local_trash(), kept(&[("a", "old")]));
}

#[tokio::test]
async fn a_run_that_only_adds_leaves_everything_else_as_it_is_on_both_sides() {
    let pair = perturbed().await;
    let finished = careful(&pair, Caution::OnlyAdd, None).await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    assert_eq!(
        pair.remote(),
        files(&[
            ("added", "x"),
            ("edited", "old"),
            ("new name", "same"),
            ("removed", "gone"),
            ("renamed", "same"),
        ])
    );
    assert_eq!(pair.remote_trash(), kept(&[]));
    assert_eq!(finished.report.counts.skipped, 3);
    // The base has kept its rows: an ordinary run goes on from here.
    pair.later();
    crate::support::clean(&pair.sync().await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_dry_run_tells_what_caution_leaves_alone() {
    let pair = perturbed().await;
    let before = pair.store.files();
    let finished = pair
        .run(SyncOptions {
            caution: Caution::RolledBack,
            dry_run: true,
            ..SyncOptions::default()
        })
        .await;
    assert_eq!(finished.report.counts.skipped, 2);
    assert_eq!(pair.store.files(), before);
}
