//! Every call fails once, before and after its commit: what follows never contradicts what was reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::state::{FaultPoint, Faults, Result, StateError};

async fn scenario(state: &State) -> Result<()> {
    state.ensure_pair(&new_pair(pair_id())).await?;
    state
        .start_run(&run_id(1), Some(&pair_id()), "sync", time(1))
        .await?;
    state.pair(&pair_id()).await?;
    state.raise_generation(&pair_id()).await?;
    let writer = state.base_writer(&pair_id(), &run_id(1));
    writer.agreed(row("a", 1)).await?;
    writer.flush().await?;
    writer.agreed(row("b", 2)).await?;
    writer.finish().await?;
    state.base_totals(&pair_id()).await?;
    backups::try_fill(state).await?;
    domain::try_fill(state).await
}

/// Fails the n-th question, counted from 0, and counts them.
fn nth(n: usize) -> (Faults, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let faults: Faults = Arc::new(move |_, _| counter.fetch_add(1, Ordering::SeqCst) == n);
    (faults, count)
}

#[tokio::test]
async fn any_call_can_fail_and_the_database_stays_whole() {
    let (faults, count) = nth(usize::MAX);
    let folder = tempfile::tempdir().unwrap();
    let state = State::open_with_faults(folder.path(), faults)
        .await
        .unwrap();
    scenario(&state).await.unwrap();
    let questions = count.load(Ordering::SeqCst);
    assert!(questions > 25, "{questions}");

    for n in 0..questions {
        let folder = tempfile::tempdir().unwrap();
        let (faults, count) = nth(n);
        let result = async {
            let state = State::open_with_faults(folder.path(), faults).await?;
            scenario(&state).await
        };
        let error = result.await.unwrap_err();
        assert!(matches!(error, StateError::Injected { .. }), "{n}: {error}");
        // Nothing goes on after a failure, so that the one asked for is the last one asked about.
        assert_eq!(count.load(Ordering::SeqCst), n + 1);
        let state = State::open(folder.path()).await.unwrap();
        let rows = match state.pair(&pair_id()).await.unwrap() {
            Some(_) => all_rows(&state).await.len(),
            None => 0,
        };
        assert!(rows <= 2);
    }
}

#[tokio::test]
async fn a_failure_before_the_commit_leaves_no_trace_and_one_after_it_does() {
    for (point, left) in [(FaultPoint::Before, 0), (FaultPoint::After, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let faults: Faults = Arc::new(move |call, at| call == "record_intent" && at == point);
        let state = State::open_with_faults(folder.path(), faults)
            .await
            .unwrap();
        let intent = state
            .record_intent(None, &run_id(1), "drain", serde_json::json!({}))
            .await;
        assert!(matches!(
            intent,
            Err(StateError::Injected {
                call: "record_intent"
            })
        ));
        assert_eq!(state.open_intents(None).await.unwrap().len(), left);
    }
}
