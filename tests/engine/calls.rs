//! How many calls each kind of run makes: exact numbers, by operation.

use std::collections::BTreeMap;

use ows::plan::guards::GuardName;
use ows::plan::{Direction, Resolve, Side};
use ows::sync::SyncMode;
use ows_providers::Operation;
use ows_providers::memory::MemoryOptions;

use crate::support::{Pair, calls, clean, files};

/// What the probe of a store in memory costs: every condition on one object and its copy, tried once.
const PROBE: [(&str, u64); 7] = [
    ("abort_upload", 2),
    ("complete_upload", 2),
    ("copy", 2),
    ("delete", 3),
    ("put", 3),
    ("put_part", 2),
    ("start_upload", 2),
];

/// What a run makes that writes to the remote: its own calls, and the lease, which is created before and deleted after
/// them.
fn with_lease<'a>(own: &[(&'a str, u64)]) -> Vec<(&'a str, u64)> {
    let mut calls: BTreeMap<&str, u64> = own.iter().copied().collect();
    for name in ["put", "delete"] {
        *calls.entry(name).or_default() += 1;
    }
    calls.into_iter().collect()
}

/// What a run makes that writes to the remote and changes the base: also a look at the checkpoint, which is stored anew
/// at its end.
fn stored<'a>(own: &[(&'a str, u64)]) -> Vec<(&'a str, u64)> {
    let mut calls: BTreeMap<&str, u64> = with_lease(own).into_iter().collect();
    for name in ["stat", "put"] {
        *calls.entry(name).or_default() += 1;
    }
    calls.into_iter().collect()
}

#[tokio::test]
async fn a_run_with_nothing_to_do_lists_once() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x"), ("d/b", "y")]).await;
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(calls(&finished), [("list", 1)]);
    assert_eq!(finished.report.counts.unchanged, 2);
}

#[tokio::test]
async fn a_run_with_nothing_to_do_asks_for_one_page_per_thousand_objects() {
    let mut pair = Pair::new(MemoryOptions::s3(), &[]);
    for number in 0..2500 {
        pair.local.write(&format!("d{}/f{number}", number % 7), "x");
    }
    pair.settings.transfers = Some(8);
    let first = pair.sync().await;
    clean(&first);
    assert_eq!(first.report.counts.upload, 2500);
    pair.later();
    let finished = pair.sync().await;
    clean(&finished);
    // One object is the placeholder in `_outbox`.
    assert_eq!(calls(&finished), [("list", 3)]);
}

#[tokio::test]
async fn a_first_push_probes_once_and_writes_each_file_once() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "x"), ("d/b", "y"), ("e", "")]);
    let finished = pair.sync().await;
    clean(&finished);
    let mut expected = PROBE.to_vec();
    expected.push(("list", 1));
    // Three files, the placeholder, and the checkpoint, which nothing can be in the way of yet.
    expected
        .iter_mut()
        .filter(|(name, _)| *name == "put")
        .for_each(|put| put.1 += 5);
    assert_eq!(calls(&finished), with_lease(&expected));
}

#[tokio::test]
async fn each_change_costs_its_own_calls_and_no_more() {
    let large = "x".repeat(9000);
    let mut options = MemoryOptions::s3();
    options.single_put_max = 4096;
    let pair = Pair::synced(
        options,
        &[
            ("a", "x"),
            ("b", "y"),
            ("c", "z"),
            ("m", "moved"),
            ("stays", "same"),
        ],
    )
    .await;
    let step = async |expected: &[(&str, u64)]| {
        pair.later();
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(calls(&finished), expected);
        assert_eq!(pair.remote(), pair.workspace());
    };
    // A replaced file of our own.
    pair.local.write("a", "xxx");
    step(&stored(&[("list", 1), ("put", 1)])).await;
    // A delete, with its copy in the trash.
    pair.local.remove("b");
    step(&stored(&[("copy", 1), ("delete", 1), ("list", 1)])).await;
    // An edit in the cloud gives way: a copy, then the upload.
    pair.store.insert("c", b"an edit in the cloud");
    // The second listing looks for another workspace that may have written it.
    step(&stored(&[("copy", 1), ("list", 2), ("put", 1)])).await;
    // A move is a copy that wants the new name free, and a delete.
    pair.local.rename("m", "n");
    step(&stored(&[("copy", 1), ("delete", 1), ("list", 1)])).await;
    // A large file: three parts.
    pair.local.write("large", &large);
    step(&stored(&[
        ("complete_upload", 1),
        ("list", 1),
        ("put_part", 3),
        ("start_upload", 1),
    ]))
    .await;
    // A drop: read once, deleted once. It is not in the base.
    pair.store.insert("_outbox/note", b"dropped");
    step(&with_lease(&[("delete", 1), ("get", 1), ("list", 1)])).await;
    // Only the time: nothing.
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    pair.local.set_modified("stays", time);
    step(&[("list", 1)]).await;
    // Once a day the trash is looked at too, and what the store enforces is tried again.
    pair.store.advance(std::time::Duration::from_secs(86_400));
    pair.local.write("a", "x");
    let mut daily = PROBE.to_vec();
    daily.push(("list", 2));
    daily
        .iter_mut()
        .filter(|(name, _)| *name == "put")
        .for_each(|put| put.1 += 1);
    step(&stored(&daily)).await;
    pair.assert_converged().await;
}

#[tokio::test]
async fn adopting_equal_files_reads_none_of_them_where_the_hash_tells() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "both"), ("b", "both too")]);
    pair.store.insert("a", b"both");
    pair.store.insert("b", b"both too");
    let finished = pair.directed(Direction::Push).await;
    clean(&finished);
    assert_eq!(calls(&finished), [("list", 1)]);
    assert_eq!(pair.remote(), files(&[("a", "both"), ("b", "both too")]));
}

#[tokio::test]
async fn a_pull_reads_each_file_once() {
    let pair = Pair::new(MemoryOptions::s3(), &[]);
    pair.store.insert("a", b"x");
    pair.store.insert("d/b", b"y");
    let finished = pair.directed(Direction::Pull).await;
    clean(&finished);
    // A pull has not tried what the store enforces, so it looks before and after it stores the checkpoint.
    assert_eq!(
        calls(&finished),
        [("get", 2), ("list", 1), ("put", 1), ("stat", 2)]
    );
    assert_eq!(pair.workspace(), pair.remote());
}

#[tokio::test]
async fn over_a_folder_a_move_is_one_call() {
    let pair = Pair::synced(MemoryOptions::folder(), &[("a", "moved"), ("b", "x")]).await;
    pair.local.rename("a", "c");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(calls(&finished), stored(&[("list", 1), ("rename", 1)]));
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_comparison_reads_while_it_lists_and_keeps_no_list_of_all_that_is_to_be_read() {
    let mut options = MemoryOptions::s3();
    options.hash = None;
    let pair = Pair::new(options, &[]);
    for number in 0..9000 {
        let content = format!("{number:05}");
        pair.local.write(&format!("f{content}"), &content);
        pair.store
            .insert(&format!("f{content}"), content.as_bytes());
    }
    pair.store.insert("f00007", b"other");
    pair.store.clear_log();
    let checked = ows::sync::check::check(
        &pair.settings,
        false,
        std::sync::Arc::new(ows::report::Silent),
        ows::cancel::Cancel::new(),
    )
    .await;
    assert_eq!(checked.report.counts.unchanged, 8999);
    let different: Vec<_> = checked.differences.iter().map(|one| &one.path).collect();
    assert_eq!(different, ["f00007"]);
    let log = pair.store.log();
    let first_read = log.iter().position(|call| call.operation == Operation::Get);
    let last_page = log
        .iter()
        .rposition(|call| call.operation == Operation::List);
    assert!(first_read < last_page, "{first_read:?} {last_page:?}");
}

/// A pair in bisync mode with so many files, all agreed on.
async fn agreed(count: usize) -> Pair {
    let mut pair = Pair::new(MemoryOptions::s3(), &[]);
    pair.settings.mode = SyncMode::Bisync;
    pair.settings.transfers = Some(8);
    for number in 0..count {
        pair.local.write(&format!("d{}/f{number}", number % 7), "x");
    }
    clean(&pair.sync().await);
    pair.later();
    pair
}

#[tokio::test]
async fn a_bisync_with_nothing_to_do_asks_for_what_a_push_with_nothing_to_do_asks_for() {
    let pair = agreed(2500).await;
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(calls(&finished), [("list", 3)]);
    assert_eq!(finished.report.counts.unchanged, 2500);
    // Also the first time after another host, or a person in the cloud, has changed something that came down.
    pair.store.insert("d0/f0", b"of another host");
    clean(&pair.sync().await);
    pair.assert_quiet().await;
}

#[tokio::test]
async fn a_bisync_costs_one_call_for_each_file_that_changed() {
    let pair = agreed(1000).await;
    let names = |from: usize| (from..from + 100).map(|number| format!("d{}/f{number}", number % 7));
    for name in names(0) {
        pair.local.write(&name, "edited here");
    }
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(calls(&finished), stored(&[("list", 1), ("put", 100)]));
    pair.later();
    for name in names(0) {
        pair.store.insert(&name, b"edited there, longer");
    }
    let finished = pair.sync().await;
    clean(&finished);
    // Nothing but the checkpoint is written, which needs no lease.
    assert_eq!(
        calls(&finished),
        [("get", 100), ("list", 1), ("put", 1), ("stat", 1)]
    );
    pair.later();
    // Deleted here: a copy for the trash, and the delete. Deleted there: nothing is asked.
    for name in names(0) {
        pair.local.remove(&name);
    }
    for name in names(100) {
        pair.store.remove(&name);
    }
    let finished = pair.forced(&[GuardName::MaxDelete]).await;
    clean(&finished);
    assert_eq!(
        calls(&finished),
        stored(&[("copy", 100), ("delete", 100), ("list", 1)])
    );
    assert_eq!(pair.remote(), pair.workspace());
    // What was done to both in the same way is compared by its hash.
    pair.later();
    for name in names(200) {
        pair.local.write(&name, "the same on both");
        pair.store.insert(&name, b"the same on both");
    }
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(calls(&finished), [("list", 1)]);
    pair.assert_converged().await;
}

/// A look at the name for the copy, the copy's upload, and what keeps the name.
#[tokio::test]
async fn a_conflict_costs_a_look_and_one_call_for_each_of_the_two_files() {
    let mut pair = agreed(10).await;
    pair.settings.conflict_resolve = Resolve::Always(Side::Remote);
    pair.local.write("d0/f0", "edited here");
    pair.store.insert("d0/f0", b"edited there");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(
        calls(&finished),
        stored(&[("get", 1), ("list", 1), ("put", 1), ("stat", 1)])
    );
    pair.assert_converged().await;
}
