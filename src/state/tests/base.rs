//! Reading and writing the base.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use sqlx::Row as _;

use super::*;
use crate::state::{FaultPoint, Faults, StateError, sql};

#[tokio::test]
async fn rows_come_in_the_order_of_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let keys = [
        "a/b",
        "a",
        "a-b",
        "a0",
        "a/",
        "a/b/",
        "a/b/c",
        "B",
        "é",
        "e\u{301}",
        "z",
        "日本/",
        "日本",
        "日本/x",
        "\u{10ffff}",
        "\u{ffff}",
        "a\nb",
        "a\\b",
        "%",
        "_",
    ];
    let mut rows: Vec<_> = keys.iter().zip(1..).map(|(key, n)| row(key, n)).collect();
    write_rows(&state, rows.clone()).await;
    rows.sort_by(|left, right| left.key.cmp(&right.key));
    assert_eq!(all_rows(&state).await, rows);
}

#[tokio::test]
async fn pages_join_without_a_gap_or_a_repetition() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    for count in [0_u64, 1, 999, 1000, 1001, 2000, 2500] {
        state.begin_replica(&pair_id(), "r").await.unwrap();
        write_rows(&state, (0..count).map(|n| row(&format!("f{n:05}"), n))).await;
        let rows = all_rows(&state).await;
        assert_eq!(rows.len() as u64, count);
        assert!(rows.windows(2).all(|pair| pair[0].key < pair[1].key));
    }
}

#[tokio::test]
async fn one_row_and_the_totals_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let pair = pair_id();
    assert_eq!(
        state.base_totals(&pair).await.unwrap(),
        crate::state::BaseTotals::default()
    );
    write_rows(&state, [row("a", 5), row("d/", 6), row("d/é", 7)]).await;
    let totals = state.base_totals(&pair).await.unwrap();
    assert_eq!((totals.files, totals.dirs, totals.bytes), (2, 1, 12));
    let found = state.base_row(&pair, &row("d/", 0).key).await.unwrap();
    assert_eq!(found, Some(row("d/", 6)));
    let file = SortKey::from_text("d").unwrap();
    assert_eq!(state.base_row(&pair, &file).await.unwrap(), None);
}

#[tokio::test]
async fn what_was_flushed_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let writer = state.base_writer(&pair_id(), &run_id(1));
    for number in 0..1500 {
        writer
            .agreed(row(&format!("f{number:05}"), number))
            .await
            .unwrap();
    }
    writer.forget(row("f00007", 0).key).await.unwrap();
    writer.flush().await.unwrap();
    crash_image(folder.path(), image.path());
    let copy = State::open(image.path()).await.unwrap();
    assert_eq!(all_rows(&copy).await.len(), 1499);
    writer.finish().await.unwrap();
}

#[tokio::test]
async fn rows_become_durable_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let writer = state.base_writer(&pair_id(), &run_id(1));
    writer.agreed(row("a", 1)).await.unwrap();
    let key = row("a", 1).key;
    let seen = async {
        while state.base_row(&pair_id(), &key).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), seen)
        .await
        .unwrap();
    writer.finish().await.unwrap();
}

#[tokio::test]
async fn the_last_word_on_a_path_counts_within_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let writer = state.base_writer(&pair_id(), &run_id(1));
    writer.agreed(row("a", 1)).await.unwrap();
    writer.forget(row("a", 1).key).await.unwrap();
    writer.agreed(row("a", 2)).await.unwrap();
    writer.agreed(row("b", 3)).await.unwrap();
    writer.forget(row("b", 3).key).await.unwrap();
    writer.forget(row("never there", 0).key).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(all_rows(&state).await, [row("a", 2)]);
}

/// Fails the n-th batch, counted from 0.
fn failing_batch(n: usize, point: FaultPoint) -> Faults {
    let count = AtomicUsize::new(0);
    Arc::new(move |call, at| {
        call == "base_batch" && at == point && count.fetch_add(1, Ordering::SeqCst) == n
    })
}

#[tokio::test]
async fn after_a_failed_batch_nothing_more_is_written_and_all_hear_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open_with_faults(folder.path(), failing_batch(1, FaultPoint::Before))
        .await
        .unwrap();
    add_pair_and_run(&state).await;
    let writer = state.base_writer(&pair_id(), &run_id(1));
    let handle = writer.handle();
    handle.agreed(row("first", 1)).await.unwrap();
    handle.flush().await.unwrap();
    handle.agreed(row("second", 2)).await.unwrap();
    for _ in 0..3 {
        let error = handle.flush().await.unwrap_err();
        assert!(matches!(error, StateError::Injected { .. }), "{error}");
    }
    let error = handle.agreed(row("third", 3)).await.unwrap_err();
    assert!(matches!(error, StateError::Injected { .. }), "{error}");
    let error = writer.finish().await.unwrap_err();
    assert!(matches!(error, StateError::Injected { .. }), "{error}");
    assert_eq!(all_rows(&state).await, [row("first", 1)]);
}

#[tokio::test]
async fn finishing_tells_of_a_failure_that_nobody_heard_of() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open_with_faults(folder.path(), failing_batch(0, FaultPoint::After))
        .await
        .unwrap();
    add_pair_and_run(&state).await;
    let writer = state.base_writer(&pair_id(), &run_id(1));
    writer.agreed(row("a", 1)).await.unwrap();
    let error = writer.finish().await.unwrap_err();
    assert!(matches!(error, StateError::Injected { .. }), "{error}");
    // Committed although nobody was told, as after a lost answer.
    assert_eq!(all_rows(&state).await, [row("a", 1)]);
}

#[tokio::test]
async fn a_row_that_the_schema_refuses_takes_its_batch_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let writer = state.base_writer(&pair_id(), &run_id(1));
    writer.agreed(row("a", 1)).await.unwrap();
    let mut impossible = row("b", 2);
    impossible.local.size = u64::MAX;
    writer.agreed(impossible).await.unwrap();
    writer.agreed(row("c", 3)).await.unwrap();
    let error = writer.finish().await.unwrap_err();
    assert!(matches!(error, StateError::Database { .. }), "{error}");
    assert_eq!(all_rows(&state).await, []);
}

#[tokio::test]
async fn a_writer_for_an_unknown_pair_or_run_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    for (pair, run) in [(PairId::new("other"), run_id(1)), (pair_id(), run_id(77))] {
        let writer = state.base_writer(&pair, &run);
        writer.agreed(row("a", 1)).await.unwrap();
        let error = writer.finish().await.unwrap_err();
        assert!(matches!(error, StateError::Unknown { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_finished_writer_refuses_rows_and_keeps_what_it_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let writer = state.base_writer(&pair_id(), &run_id(1));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let handle = writer.handle();
            tokio::spawn(async move {
                let mut accepted = 0;
                for number in 0..100_000_u64 {
                    let key = format!("w{worker}/{number}");
                    if let Err(error) = handle.agreed(row(&key, number)).await {
                        assert!(matches!(error, StateError::Closed { .. }), "{error}");
                        break;
                    }
                    accepted += 1;
                }
                accepted
            })
        })
        .collect();
    writer.flush().await.unwrap();
    writer.finish().await.unwrap();
    let mut accepted = 0;
    for worker in workers {
        accepted += worker.await.unwrap();
    }
    assert_eq!(state.base_totals(&pair_id()).await.unwrap().files, accepted);
}

#[tokio::test]
async fn a_dropped_writer_writes_whole_batches_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let writer = state.base_writer(&pair_id(), &run_id(1));
    writer.agreed(row("a", 1)).await.unwrap();
    writer.flush().await.unwrap();
    writer.agreed(row("b", 2)).await.unwrap();
    let handle = writer.handle();
    drop(writer);
    let error = handle.flush().await.unwrap_err();
    assert!(matches!(error, StateError::Closed { .. }), "{error}");
    // The connection is free again and in no transaction.
    write_rows(&state, [row("c", 3)]).await;
    let keys: Vec<_> = all_rows(&state).await;
    assert_eq!(keys.first(), Some(&row("a", 1)));
    assert_eq!(keys.last(), Some(&row("c", 3)));
}

#[derive(Debug, Clone)]
enum Step {
    Agreed(&'static str, u64),
    Forget(&'static str),
    Flush,
    Finish,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = &["a", "a/", "a/b", "a-", "é", "é/", "日本", "z"];
    let key = proptest::sample::select(&keys[..]);
    prop_oneof![
        6 => (key.clone(), 0..1000_u64).prop_map(|(key, number)| Step::Agreed(key, number)),
        3 => key.prop_map(Step::Forget),
        1 => Just(Step::Flush),
        1 => Just(Step::Finish),
        1 => Just(Step::Kill),
    ]
}

/// Does the steps to a database and to a map; after a kill the map is what was last made durable, or later.
async fn follow(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let mut place = 0;
    let at = |place: usize| folder.path().join(place.to_string());
    let mut state = state_with_pair(&at(place)).await;
    let mut writer = state.base_writer(&pair_id(), &run_id(1));
    let mut model = BTreeMap::new();
    for step in steps {
        match step {
            Step::Agreed(key, number) => {
                let row = row(key, number);
                model.insert(row.key.clone(), row.clone());
                writer.agreed(row).await.unwrap();
            }
            Step::Forget(key) => {
                let key = SortKey::from_text(key).unwrap();
                model.remove(&key);
                writer.forget(key).await.unwrap();
            }
            Step::Flush => {
                writer.flush().await.unwrap();
                let expected: Vec<_> = model.values().cloned().collect();
                assert_eq!(all_rows(&state).await, expected);
            }
            Step::Finish => {
                writer.finish().await.unwrap();
                writer = state.base_writer(&pair_id(), &run_id(1));
            }
            Step::Kill => {
                writer.flush().await.unwrap();
                crash_image(&at(place), &at(place + 1));
                place += 1;
                state = State::open(&at(place)).await.unwrap();
                writer = state.base_writer(&pair_id(), &run_id(1));
            }
        }
    }
    writer.finish().await.unwrap();
    let expected: Vec<_> = model.values().cloned().collect();
    assert_eq!(all_rows(&state).await, expected);
    let totals = state.base_totals(&pair_id()).await.unwrap();
    assert_eq!(totals.files + totals.dirs, expected.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_ends_in_what_a_map_would_hold(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow(steps));
    }
}

#[tokio::test]
async fn a_stored_time_changes_its_row_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    // Those of 7 and 14 have the end of their upload, and no stored time.
    write_rows(&state, (1..20).map(|n| row(&format!("f{n:02}"), n))).await;
    let writer = state.base_writer(&pair_id(), &run_id(1));
    let handle = writer.handle();
    let key = |text: &str| SortKey::from_text(text).unwrap();
    handle.stored(key("f07"), 70).await.unwrap();
    handle.stored(key("nothing"), 80).await.unwrap();
    // The last word on a path counts, also within a batch.
    handle.stored(key("f14"), 1).await.unwrap();
    handle.stored(key("f14"), 140).await.unwrap();
    writer.agreed(row("f13", 13)).await.unwrap();
    handle.stored(key("f13"), 130).await.unwrap();
    writer.forget(key("f01")).await.unwrap();
    handle.stored(key("f01"), 10).await.unwrap();
    writer.finish().await.unwrap();
    let mut expected: Vec<_> = (2..20).map(|n| row(&format!("f{n:02}"), n)).collect();
    for (place, time) in [(5, 70), (12, 140), (11, 130)] {
        expected[place].remote.set_stored(time);
    }
    assert_eq!(all_rows(&state).await, expected);
}

/// A million rows, a thousand at a time: a statement that reads all rows for each batch, or the batch for each row,
/// would take hours.
#[tokio::test]
async fn batches_find_their_rows_by_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    for statement in [sql::BASE_STORED, sql::BASE_FORGET] {
        let explained = sqlx::query(sqlx::AssertSqlSafe(format!(
            "EXPLAIN QUERY PLAN {statement}"
        )))
        .fetch_all(&state.reader)
        .await
        .unwrap();
        let steps: Vec<String> = explained.iter().map(|step| step.get("detail")).collect();
        let base = "SEARCH base USING PRIMARY KEY (pair=? AND key=?)";
        assert!(steps.iter().any(|step| step == base), "{steps:#?}");
        let walked = steps.iter().any(|step| step.contains("(pair=?)"));
        assert!(!walked, "{steps:#?}");
    }
}
