//! What tells one version of a remote file from the next, when its content and so its ETag are the same.

use std::time::Duration;

use ows_providers::memory::MemoryOptions;

use crate::support::{Pair, calls, clean, kept};

/// After a first push the base knows the answers to its uploads only, which do not tell when they were stored.
async fn pushed() -> Pair {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "content")]);
    clean(&pair.sync().await);
    pair
}

#[tokio::test]
async fn what_was_pushed_is_recognised_in_the_listing_and_replaced_without_a_copy() {
    let pair = pushed().await;
    pair.store.advance(Duration::from_secs(3600));
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(calls(&finished), [("list", 1)]);
    pair.local.write("a", "edited");
    clean(&pair.sync().await);
    assert_eq!(pair.remote_trash(), kept(&[]));
    pair.assert_converged().await;
}

#[tokio::test]
async fn the_same_content_put_back_after_a_delete_counts_as_new() {
    let pair = pushed().await;
    pair.store.advance(Duration::from_secs(3600));
    pair.store.remove("a");
    pair.store.insert("a", b"content");
    pair.local.remove("a");
    let finished = pair.sync().await;
    clean(&finished);
    let told = finished.report.warnings.join("\n");
    assert!(told.contains("edited in the remote"), "{told}");
    assert_eq!(pair.remote_trash(), kept(&[("a", "content")]));
    pair.assert_converged().await;

    // What is replaced is not our own upload, so a copy of it is kept.
    let pair = pushed().await;
    pair.store.advance(Duration::from_secs(3600));
    pair.store.remove("a");
    pair.store.insert("a", b"content");
    pair.local.write("a", "edited");
    clean(&pair.sync().await);
    assert_eq!(pair.remote_trash(), kept(&[("a", "content")]));
}

#[tokio::test]
async fn the_same_content_put_back_is_compared_once_and_then_quiet() {
    let pair = pushed().await;
    pair.store.advance(Duration::from_secs(3600));
    pair.store.remove("a");
    pair.store.insert("a", b"content");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(
        calls(&finished),
        [("list", 1)],
        "its MD5 proves that nothing is different"
    );
    pair.assert_converged().await;
}
