//! Snapshots that are being made, how runs went, what was proven, manifests that were read.

use ows_providers::{RelPath, Upload};

use super::*;
use crate::state::{BackupOutcome, BackupProof, Result};

const REMOTE: &str = "s3|https://s3.example|bucket|backups";

fn upload(name: &str) -> Upload {
    Upload {
        path: RelPath::new(name).unwrap(),
        id: format!("upload-of-{name}"),
        size: None,
        part_size: 8,
        token: "token".to_owned(),
    }
}

fn outcome(success: bool, number: u32) -> BackupOutcome {
    BackupOutcome {
        command: "backup now".to_owned(),
        success,
        run: run_id(number),
        snapshot: success.then(|| format!("snapshot-{number}")),
        at: time(i64::from(number)),
        message: (!success).then(|| "the disk is full".to_owned()),
    }
}

fn proof(snapshot: &str, level: &str, seconds: i64) -> BackupProof {
    BackupProof {
        snapshot: snapshot.to_owned(),
        level: level.to_owned(),
        proven_at: time(seconds),
    }
}

/// Every call that writes, once.
pub(super) async fn try_fill(state: &State) -> Result<()> {
    let intent = state
        .record_backup_intent(REMOTE, &run_id(1), "snapshot-1", time(1))
        .await?;
    state.record_backup_object(intent, "a", None).await?;
    state
        .record_backup_object(intent, "a", Some(&upload("a")))
        .await?;
    state.resolve_backup_intent(intent).await?;
    let objects = ["a".to_owned(), "b".to_owned()];
    let removal = state
        .record_backup_removal(REMOTE, &run_id(1), "snapshot-1", time(1), objects.iter())
        .await?;
    let open = state.open_backup_intents(REMOTE).await?;
    assert!(open.len() == 1 && open[0].id == removal && open[0].objects.len() == 2);
    state.resolve_backup_intent(removal).await?;
    state
        .record_backup_outcome(REMOTE, "default", &outcome(true, 1))
        .await?;
    state
        .record_backup_proof(REMOTE, &proof("snapshot-1", "hash", 1))
        .await?;
    state.forget_backup_proofs(REMOTE, "snapshot-1").await?;
    let read = [("m".to_owned(), Version("1".to_owned()), b"{}".to_vec())];
    state
        .record_backup_manifests(REMOTE, &read, &["m".to_owned()])
        .await?;
    state.open_backup_intents(REMOTE).await?;
    state.backup_outcomes(REMOTE, "default").await?;
    state.backup_proofs(REMOTE).await?;
    state.backup_manifests(REMOTE).await?;
    Ok(())
}

/// Puts something into every table that stays, for the fixture.
pub(super) async fn fill(state: &State) {
    let intent = state
        .record_backup_intent(REMOTE, &run_id(1), "snapshot-1", time(1))
        .await
        .unwrap();
    let upload = upload("data");
    for object in [("data", Some(&upload)), ("index", None)] {
        let recorded = state.record_backup_object(intent, object.0, object.1);
        recorded.await.unwrap();
    }
    for outcome in [outcome(true, 1), outcome(false, 2)] {
        let recorded = state.record_backup_outcome(REMOTE, "default", &outcome);
        recorded.await.unwrap();
    }
    let recorded = proof("snapshot-1", "read", 3);
    state.record_backup_proof(REMOTE, &recorded).await.unwrap();
    let read = [("m".to_owned(), Version("1".to_owned()), b"{}".to_vec())];
    let listed = ["m".to_owned()];
    let recorded = state.record_backup_manifests(REMOTE, &read, &listed);
    recorded.await.unwrap();
}

/// Whether what [`fill`] wrote is read.
pub(super) async fn is_filled(state: &State) {
    let open = state.open_backup_intents(REMOTE).await.unwrap();
    let objects: Vec<_> = open[0].objects.clone().into_iter().collect();
    let expected = [
        ("data".to_owned(), Some(upload("data"))),
        ("index".to_owned(), None),
    ];
    assert_eq!((open.len(), open[0].snapshot.as_str()), (1, "snapshot-1"));
    assert_eq!(objects, expected);
    let outcomes = state.backup_outcomes(REMOTE, "default").await.unwrap();
    assert_eq!(outcomes, [outcome(false, 2), outcome(true, 1)]);
    let proofs = state.backup_proofs(REMOTE).await.unwrap();
    assert_eq!(proofs, [proof("snapshot-1", "read", 3)]);
    let manifests = state.backup_manifests(REMOTE).await.unwrap();
    assert_eq!(manifests["m"], (Version("1".to_owned()), b"{}".to_vec()));
}

#[tokio::test]
async fn an_intent_holds_every_object_until_it_is_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).await.unwrap();
    let record = |snapshot, at| {
        let state = state.clone();
        async move {
            let run = run_id(1);
            let intent = state.record_backup_intent(REMOTE, &run, snapshot, time(at));
            intent.await.unwrap()
        }
    };
    let first = record("snapshot-1", 1).await;
    let second = record("snapshot-2", 2).await;
    state
        .record_backup_object(first, "data", None)
        .await
        .unwrap();
    state
        .record_backup_object(first, "index", None)
        .await
        .unwrap();
    state
        .record_backup_object(first, "data", Some(&upload("data")))
        .await
        .unwrap();

    let open = state.open_backup_intents(REMOTE).await.unwrap();
    assert_eq!(open.len(), 2);
    assert_eq!((open[0].id, open[1].id), (first, second));
    assert_eq!(
        (open[0].run.clone(), open[0].begun_at),
        (run_id(1), time(1))
    );
    let objects: Vec<_> = open[0].objects.clone().into_iter().collect();
    let expected = [
        ("data".to_owned(), Some(upload("data"))),
        ("index".to_owned(), None),
    ];
    assert_eq!(objects, expected);
    assert!(open[1].objects.is_empty());
    assert_eq!(open[1].snapshot, "snapshot-2");
    assert_eq!(state.open_backup_intents("other").await.unwrap(), []);

    state.resolve_backup_intent(first).await.unwrap();
    state.resolve_backup_intent(first).await.unwrap();
    let late = state.record_backup_object(first, "late", None).await;
    assert!(late.is_err(), "an object without its intent is nobody's");
    let open = state.open_backup_intents(REMOTE).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].id, second);
}

#[tokio::test]
async fn the_last_success_and_the_last_failure_stay() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).await.unwrap();
    for outcome in [outcome(true, 1), outcome(false, 2), outcome(true, 3)] {
        state
            .record_backup_outcome(REMOTE, "default", &outcome)
            .await
            .unwrap();
    }
    let stored = state.backup_outcomes(REMOTE, "default").await.unwrap();
    assert_eq!(stored, [outcome(true, 3), outcome(false, 2)]);
    assert_eq!(state.backup_outcomes(REMOTE, "other").await.unwrap(), []);
    assert_eq!(state.backup_outcomes("other", "default").await.unwrap(), []);
}

#[tokio::test]
async fn the_newest_proof_of_each_level_stays_until_the_snapshot_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).await.unwrap();
    for proof in [
        proof("a", "hash", 1),
        proof("a", "read", 2),
        proof("b", "hash", 3),
        proof("a", "hash", 4),
    ] {
        state.record_backup_proof(REMOTE, &proof).await.unwrap();
    }
    let stored = state.backup_proofs(REMOTE).await.unwrap();
    let expected = [
        proof("a", "hash", 4),
        proof("a", "read", 2),
        proof("b", "hash", 3),
    ];
    assert_eq!(stored, expected);
    state.forget_backup_proofs(REMOTE, "a").await.unwrap();
    let stored = state.backup_proofs(REMOTE).await.unwrap();
    assert_eq!(stored, [proof("b", "hash", 3)]);
}

#[tokio::test]
async fn manifests_are_kept_as_long_as_they_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).await.unwrap();
    let manifest = |name: &str, version: &str| {
        let body = format!("{name}-{version}").into_bytes();
        (name.to_owned(), Version(version.to_owned()), body)
    };
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let read = [manifest("a", "1"), manifest("b", "1"), manifest("c", "1")];
    state
        .record_backup_manifests(REMOTE, &read, &names(&["a", "b", "c"]))
        .await
        .unwrap();
    state
        .record_backup_manifests(REMOTE, &[manifest("b", "2")], &names(&["a", "b"]))
        .await
        .unwrap();
    let stored = state.backup_manifests(REMOTE).await.unwrap();
    let stored: Vec<_> = stored
        .into_iter()
        .map(|(name, (version, body))| (name, version, body))
        .collect();
    assert_eq!(stored, [manifest("a", "1"), manifest("b", "2")]);
    assert!(state.backup_manifests("other").await.unwrap().is_empty());
}
