//! Guard `max-change`: most files were rewritten at once.

use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::sync::SyncOptions;
use ows_providers::memory::MemoryOptions;

use crate::support::{Pair, clean, guard};

/// A pair of `count` files in sync, that stops when more than `percent` per cent of them were changed.
async fn synced(count: usize, percent: u8) -> Pair {
    let files: Vec<_> = (0..count)
        .map(|number| (name(number), "as it was"))
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (name.as_str(), *text))
        .collect();
    let mut pair = Pair::synced(MemoryOptions::s3(), &files).await;
    pair.settings.max_change = percent;
    pair
}

fn name(number: usize) -> String {
    format!("f{number:02}")
}

fn rewrite(pair: &Pair, count: usize) {
    for number in 0..count {
        pair.local.write(&name(number), "encrypted");
    }
}

#[tokio::test]
async fn a_workspace_that_was_rewritten_stops_until_it_is_forced() {
    let pair = synced(40, 50).await;
    rewrite(&pair, 21);
    let before = pair.store.files();
    for _ in 0..2 {
        let finished = pair.sync().await;
        assert_eq!(guard(&finished), GuardName::MaxChange);
        let stop = finished.report.guard.expect("it names the guard");
        assert_eq!((stop.count, stop.examples.len()), (21, 20));
        assert_eq!(stop.examples[0], "f00");
        assert_eq!(
            stop.message,
            "21 of 40 files were changed in the workspace, more than maxChange (50 %) allows"
        );
    }
    assert_eq!(pair.store.files(), before);
    let dry = pair
        .run(SyncOptions {
            dry_run: true,
            ..SyncOptions::default()
        })
        .await;
    assert_eq!(guard(&dry), GuardName::MaxChange);
    clean(&pair.forced(&[GuardName::MaxChange]).await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn half_is_not_more_than_half_and_ten_never_stop() {
    let pair = synced(40, 50).await;
    rewrite(&pair, 20);
    clean(&pair.sync().await);
    pair.assert_converged().await;
    let pair = synced(10, 1).await;
    rewrite(&pair, 10);
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn zero_stops_at_the_first_change_and_a_hundred_never() {
    let mut pair = synced(20, 0).await;
    rewrite(&pair, 1);
    assert_eq!(guard(&pair.sync().await), GuardName::MaxChange);
    pair.settings.max_change = 100;
    rewrite(&pair, 20);
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn new_moved_touched_and_equally_changed_files_are_no_changes() {
    let pair = synced(20, 0).await;
    for number in 0..20 {
        pair.local.write(&format!("new{number}"), "x");
        match number % 3 {
            0 => pair.local.rename(&name(number), &format!("moved/{number}")),
            // Same content, another time.
            1 => pair.local.write(&name(number), "as it was"),
            _ => {
                pair.local.write(&name(number), "the same");
                pair.store.insert(&name(number), b"the same");
            }
        }
    }
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_remote_that_was_rewritten_stops_both_directions_and_is_told_what_to_type() {
    let pair = synced(30, 50).await;
    for number in 0..30 {
        pair.store.insert(&name(number), b"encrypted");
    }
    let before = (pair.store.files(), pair.workspace());
    for (direction, command) in [
        (None, "`ows sync --force max-change`"),
        (
            Some(Direction::Pull),
            "`ows sync --direction pull --force max-change`",
        ),
        (
            Some(Direction::Push),
            "`ows sync --direction push --force max-change`",
        ),
    ] {
        let finished = pair
            .run(SyncOptions {
                direction,
                ..SyncOptions::default()
            })
            .await;
        assert_eq!(guard(&finished), GuardName::MaxChange);
        let stop = finished.report.guard.expect("it names the guard");
        assert!(stop.message.contains("in the remote"), "{}", stop.message);
        assert!(stop.hint.contains(command), "{}", stop.hint);
    }
    assert_eq!((pair.store.files(), pair.workspace()), before);
}

#[tokio::test]
async fn deletes_are_told_before_changes() {
    let pair = synced(40, 10).await;
    for number in 0..25 {
        pair.local.remove(&name(number));
    }
    for number in 25..40 {
        pair.local.write(&name(number), "encrypted");
    }
    assert_eq!(guard(&pair.sync().await), GuardName::MaxDelete);
    assert_eq!(
        guard(&pair.forced(&[GuardName::MaxDelete]).await),
        GuardName::MaxChange
    );
    assert_eq!(
        guard(&pair.forced(&[GuardName::MaxChange]).await),
        GuardName::MaxDelete
    );
    clean(
        &pair
            .forced(&[GuardName::MaxDelete, GuardName::MaxChange])
            .await,
    );
    pair.assert_converged().await;
}
