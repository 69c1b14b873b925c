//! Pairs, runs, intents, uploads, deliveries, enforcement, values.

use ows_providers::{Enforcement, Part, RelPath, Upload};
use serde_json::json;

use super::*;
use crate::state::{ConflictRecord, Delivery, NewIntent, Result, StateError, UploadRecord};
use crate::tree::Lost;

fn outbox(name: &str) -> (RelPath, Version) {
    (
        RelPath::new(&format!("_outbox/{name}")).unwrap(),
        Version(format!("v1 of {name}")),
    )
}

pub(super) async fn delivered(state: &State) -> Option<Delivery> {
    let (path, version) = outbox("a.txt");
    state.delivery(&pair_id(), &path, &version).await.unwrap()
}

fn upload() -> UploadRecord {
    UploadRecord {
        upload: Upload {
            path: RelPath::new("big.bin").unwrap(),
            id: "upload-7".to_owned(),
            size: Some(20),
            part_size: 8,
            token: "token".to_owned(),
        },
        local: row("big.bin", 20).local,
        md5: Some([7; 16]),
        started_at: time(4),
    }
}

fn part(number: u32, tag: &str) -> Part {
    Part {
        number,
        size: 8,
        tag: tag.to_owned(),
    }
}

fn conflict(path: &str, number: u32) -> ConflictRecord {
    let path = RelPath::new(path).unwrap();
    ConflictRecord {
        copy: crate::plan::merge::conflict_name(&path, number).unwrap(),
        path,
        lost: Lost::Local,
        run: run_id(1),
        at: time(8),
    }
}

/// Puts something into every table, for the fixture.
pub(super) async fn fill(state: &State) {
    try_fill(state).await.unwrap();
}

/// Like [`fill`], with errors. Done twice it changes nothing more, but for the generation and new ids.
pub(super) async fn try_fill(state: &State) -> Result<()> {
    let pair = &pair_id();
    state
        .record_intent(Some(pair), &run_id(1), "drain", json!({"path": "a"}))
        .await?;
    let id = state.record_upload(pair, &upload()).await?;
    state.record_part(id, &part(2, "second")).await?;
    state.record_part(id, &part(1, "first")).await?;
    let (path, version) = outbox("a.txt");
    let delivery = Delivery {
        inbox_name: RelPath::new("_inbox/a (2).txt").unwrap(),
        delivered_at: time(5),
    };
    state
        .record_delivery(pair, &path, &version, &delivery)
        .await?;
    state
        .record_enforcement("https://s3.example", &Enforcement::default(), time(6))
        .await?;
    state.set_value(pair, "trash_purged_at", "2027").await?;
    state.record_conflict(pair, &conflict("a", 1)).await?;
    state
        .finish_run(&run_id(1), &json!({"ok": false}), 3, time(7))
        .await
}

/// Puts something into the tables that schema 4 and 5 brought and that [`fill`] leaves empty, for the fixture.
pub(super) async fn fill_what_schema_6_has(state: &State) {
    let sent = [row("sent.md", 30)];
    state.record_ingested(&pair_id(), &sent).await.unwrap();
}

/// Whether that is read.
pub(super) async fn keeps_what_schema_6_has(state: &State) {
    let ingested = state.ingested_after(&pair_id(), None).await.unwrap();
    let sent = row("sent.md", 30);
    assert_eq!(ingested.len(), 1);
    assert_eq!(
        (&ingested[0].key, &ingested[0].local),
        (&sent.key, &sent.local)
    );
    assert_eq!(ingested[0].remote.version, sent.remote.version);
    let conflicts = state.conflicts(&pair_id()).await.unwrap();
    assert_eq!(conflicts, [conflict("a", 1)]);
}

#[tokio::test]
async fn a_pair_is_stored_once_and_described_anew() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    state.raise_generation(&pair_id()).await.unwrap();
    state.record_first_sync(&pair_id(), time(2)).await.unwrap();
    state.record_first_sync(&pair_id(), time(3)).await.unwrap();
    let again = NewPair {
        remote_display: "s3://bucket/elsewhere".to_owned(),
        local_path: std::ffi::OsString::from_vec(b"/srv/\xff".to_vec()).into(),
        replica_id: "replica-2".to_owned(),
        created_at: time(100),
        ..new_pair(pair_id())
    };
    let record = state.ensure_pair(&again).await.unwrap();
    assert_eq!(state.pair(&pair_id()).await.unwrap(), Some(record.clone()));
    assert_eq!(record.remote_display, again.remote_display);
    assert_eq!(record.local_path, again.local_path);
    assert_eq!(record.replica_id, "replica-1");
    assert_eq!(record.created_at, time(0));
    assert_eq!(record.generation, 1);
    assert_eq!(record.first_synced_at, Some(time(2)));
    assert_eq!(state.pair(&PairId::new("other")).await.unwrap(), None);
}

#[tokio::test]
async fn a_new_replica_starts_without_a_base() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let other = PairId::new("pair-b");
    state.ensure_pair(&new_pair(other.clone())).await.unwrap();
    write_rows(&state, [row("a", 1)]).await;
    let writer = state.base_writer(&other, &run_id(1));
    writer.agreed(row("b", 2)).await.unwrap();
    writer.finish().await.unwrap();
    state.raise_generation(&pair_id()).await.unwrap();
    state.record_first_sync(&pair_id(), time(2)).await.unwrap();

    state.begin_replica(&pair_id(), "replica-2").await.unwrap();
    let record = state.pair(&pair_id()).await.unwrap().unwrap();
    assert_eq!(record.replica_id, "replica-2");
    assert_eq!((record.generation, record.first_synced_at), (0, None));
    assert_eq!(all_rows(&state).await, []);
    assert_eq!(state.base_totals(&other).await.unwrap().files, 1);
}

#[tokio::test]
async fn another_name_keeps_the_base_and_the_higher_generation() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    write_rows(&state, [row("a", 1)]).await;
    state.raise_generation(&pair_id()).await.unwrap();
    let pair = pair_id();
    let values = [("was", "replica-1")];
    for (told, kept) in [(7, 7), (3, 7)] {
        let renamed = state.rename_replica(&pair, "replica-2", told, &values);
        let record = renamed.await.unwrap();
        assert_eq!(record.replica_id, "replica-2");
        assert_eq!(record.generation, kept);
        assert_eq!(Some(record), state.pair(&pair_id()).await.unwrap());
    }
    assert_eq!(all_rows(&state).await, [row("a", 1)]);
    let was = state.get_value(&pair_id(), "was").await.unwrap();
    assert_eq!(was.as_deref(), Some("replica-1"));
}

#[tokio::test]
async fn a_base_is_taken_up_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).await.unwrap();
    let many: Vec<_> = (0..2500)
        .map(|number| row(&format!("f{number:04}"), number))
        .collect();
    let new = new_pair(pair_id());
    let values = [("checkpoint", "{}")];
    // The last row cannot be read.
    let broken = many.iter().cloned().map(Ok).chain([Err("broken")]);
    let taken = state.take_up_base(&new, 7, broken, &values);
    assert_eq!(taken.await.unwrap(), Err("broken"));
    assert_eq!(state.pair(&pair_id()).await.unwrap(), None);

    let whole = many.iter().cloned().map(Ok::<_, &str>);
    let taken = state.take_up_base(&new, 7, whole, &values);
    let record = taken.await.unwrap().unwrap();
    assert_eq!(
        (record.generation, record.replica_id.as_str()),
        (7, "replica-1")
    );
    assert!(record.first_synced_at.is_some());
    assert_eq!(all_rows(&state).await, many);
    let value = state.get_value(&pair_id(), "checkpoint").await.unwrap();
    assert_eq!(value.as_deref(), Some("{}"));
    // What was there gives way; a generation that no database can hold is cut.
    let less = [row("a", 1)].map(Ok::<_, &str>).into_iter();
    let taken = state.take_up_base(&new, u64::MAX, less, &[]);
    taken.await.unwrap().unwrap();
    assert_eq!(all_rows(&state).await, [row("a", 1)]);
    state.raise_generation(&pair_id()).await.unwrap();
}

#[tokio::test]
async fn the_generation_rises_by_one_and_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    assert_eq!(state.raise_generation(&pair_id()).await.unwrap(), 1);
    assert_eq!(state.raise_generation(&pair_id()).await.unwrap(), 2);
    crash_image(folder.path(), image.path());
    let state = State::open(image.path()).await.unwrap();
    assert_eq!(state.raise_generation(&pair_id()).await.unwrap(), 3);
}

#[tokio::test]
async fn a_pair_or_run_that_was_never_stored_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let other = &PairId::new("other");
    let errors = [
        state.raise_generation(other).await.unwrap_err(),
        state.begin_replica(other, "r").await.unwrap_err(),
        state.record_first_sync(other, time(0)).await.unwrap_err(),
        state.rename_replica(other, "r", 1, &[]).await.unwrap_err(),
        state.set_value(other, "a", "b").await.unwrap_err(),
        state
            .start_run(&run_id(2), Some(other), "sync", time(0))
            .await
            .unwrap_err(),
        state.open_intents(Some(other)).await.unwrap_err(),
        state
            .finish_run(&run_id(3), &json!({}), 0, time(0))
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StateError::Unknown { .. }), "{error}");
    }
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_a_killed_one_has_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let pair = pair_id();
    for number in 2..=3 {
        let at = time(i64::from(number));
        state
            .start_run(&run_id(number), Some(&pair), "sync", at)
            .await
            .unwrap();
    }
    state
        .start_run(&run_id(4), None, "backup now", time(4))
        .await
        .unwrap();
    let outcome = json!({"counts": {"upload": 3}});
    state
        .finish_run(&run_id(2), &outcome, 124, time(20))
        .await
        .unwrap();
    let runs = state.last_runs(Some(&pair), 2).await.unwrap();
    assert_eq!(
        runs.iter().map(|run| run.id.clone()).collect::<Vec<_>>(),
        [run_id(3), run_id(2)]
    );
    assert_eq!((runs[0].ended_at, runs[0].exit_code), (None, None));
    assert_eq!(runs[1].outcome, Some(outcome));
    assert_eq!(
        (runs[1].started_at, runs[1].ended_at, runs[1].exit_code),
        (time(2), Some(time(20)), Some(124))
    );
    let outside = state.last_runs(None, 10).await.unwrap();
    assert_eq!(outside.len(), 1);
    assert_eq!(outside[0].command, "backup now");
}

#[tokio::test]
async fn old_runs_are_forgotten_and_their_base_rows_stay() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let pair = pair_id();
    write_rows(&state, [row("a", 1)]).await;
    let key = row("a", 1).key;
    assert_eq!(state.base_run(&pair, &key).await.unwrap(), Some(run_id(1)));
    state
        .start_run(&run_id(99), None, "backup now", time(2))
        .await
        .unwrap();
    for number in 2..=5 {
        let run = run_id(number);
        state
            .start_run(&run, Some(&pair), "sync", time(2))
            .await
            .unwrap();
        state
            .finish_run_keeping(&run, &json!({}), 0, time(2), 3)
            .await
            .unwrap();
    }
    let runs = state.last_runs(Some(&pair), 10).await.unwrap();
    assert_eq!(
        runs.into_iter().map(|run| run.id).collect::<Vec<_>>(),
        [run_id(5), run_id(4), run_id(3)]
    );
    assert_eq!(state.last_runs(None, 10).await.unwrap().len(), 1);
    assert_eq!(state.base_run(&pair, &key).await.unwrap(), None);
    assert_eq!(all_rows(&state).await, [row("a", 1)]);
}

#[tokio::test]
async fn an_intent_outlives_the_process_until_it_is_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let pair = pair_id();
    let payload = json!({"path": "a\u{0}b", "to": ["x", 1]});
    let first = state
        .record_intent(Some(&pair), &run_id(1), "drain", payload.clone())
        .await
        .unwrap();
    let more: Vec<_> = (0..3)
        .map(|number| NewIntent {
            kind: "trash".to_owned(),
            payload: json!(number),
        })
        .collect();
    let ids = state
        .record_intents(Some(&pair), &run_id(1), &more)
        .await
        .unwrap();
    state
        .record_intent(None, &run_id(1), "snapshot", json!(null))
        .await
        .unwrap();
    crash_image(folder.path(), image.path());

    let state = State::open(image.path()).await.unwrap();
    let open = state.open_intents(Some(&pair)).await.unwrap();
    assert_eq!(open.len(), 4);
    assert_eq!((open[0].id, &open[0].payload), (first, &payload));
    assert_eq!((open[3].id, &open[3].payload), (ids[2], &json!(2)));
    assert_eq!(open[0].run, run_id(1));
    state.resolve_intent(first).await.unwrap();
    state.resolve_intent(first).await.unwrap();
    state.resolve_intents(&ids[..2]).await.unwrap();
    let open = state.open_intents(Some(&pair)).await.unwrap();
    assert_eq!(
        open.iter().map(|open| open.id).collect::<Vec<_>>(),
        [ids[2]]
    );
    assert_eq!(state.open_intents(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_upload_is_found_again_with_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let pair = pair_id();
    let id = state.record_upload(&pair, &upload()).await.unwrap();
    state.record_part(id, &part(3, "three")).await.unwrap();
    state.record_part(id, &part(1, "one")).await.unwrap();
    state.record_part(id, &part(1, "one again")).await.unwrap();
    let other = state.record_upload(&pair, &upload()).await.unwrap();
    crash_image(folder.path(), image.path());

    let state = State::open(image.path()).await.unwrap();
    let uploads = state.uploads(&pair).await.unwrap();
    assert_eq!(uploads.len(), 2);
    assert_eq!((uploads[0].id, &uploads[0].record), (id, &upload()));
    assert_eq!(uploads[0].parts, [part(1, "one again"), part(3, "three")]);
    assert_eq!(uploads[1].parts, []);
    state.forget_upload(id).await.unwrap();
    state.forget_upload(id).await.unwrap();
    assert!(state.record_part(id, &part(4, "four")).await.is_err());
    let left = state.uploads(&pair).await.unwrap();
    assert_eq!(left.iter().map(|left| left.id).collect::<Vec<_>>(), [other]);
}

#[tokio::test]
async fn each_version_is_delivered_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let pair = pair_id();
    fill(&state).await;
    let (path, version) = outbox("a.txt");
    let found = delivered(&state).await.unwrap();
    assert_eq!(found.delivered_at, time(5));
    let newer = Version("v2".to_owned());
    assert_eq!(state.delivery(&pair, &path, &newer).await.unwrap(), None);
    let (other, _) = outbox("b.txt");
    assert_eq!(state.delivery(&pair, &other, &version).await.unwrap(), None);

    let forget = |at| state.forget_deliveries_older_than(&pair, time(at));
    assert_eq!(forget(5).await.unwrap(), 0);
    assert_eq!(forget(6).await.unwrap(), 1);
    assert_eq!(delivered(&state).await, None);
}

#[tokio::test]
async fn what_an_endpoint_enforces_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).await.unwrap();
    let found = Enforcement {
        create_if_absent: true,
        versioning: Some(false),
        ..Enforcement::default()
    };
    assert_eq!(state.enforcement("e").await.unwrap(), None);
    state
        .record_enforcement("e", &Enforcement::default(), time(1))
        .await
        .unwrap();
    state
        .record_enforcement("e", &found, time(2))
        .await
        .unwrap();
    assert_eq!(
        state.enforcement("e").await.unwrap(),
        Some((found, time(2)))
    );
    assert_eq!(state.enforcement("f").await.unwrap(), None);
}

#[tokio::test]
async fn values_belong_to_their_pair() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let other = PairId::new("pair-b");
    state.ensure_pair(&new_pair(other.clone())).await.unwrap();
    state.set_value(&pair_id(), "name", "one").await.unwrap();
    state.set_value(&pair_id(), "name", "two").await.unwrap();
    let value = state.get_value(&pair_id(), "name").await.unwrap();
    assert_eq!(value.as_deref(), Some("two"));
    assert_eq!(state.get_value(&other, "name").await.unwrap(), None);
}

use std::os::unix::ffi::OsStringExt;

#[tokio::test]
async fn a_conflict_is_stored_once_for_each_copy_until_it_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let pair = &pair_id();
    let (first, second) = (conflict("a", 1), conflict("a", 2));
    let again = ConflictRecord {
        lost: Lost::Remote,
        at: time(9),
        ..first.clone()
    };
    for conflict in [&second, &first, &again] {
        state.record_conflict(pair, conflict).await.unwrap();
    }
    assert_eq!(
        state.conflicts(pair).await.unwrap(),
        [again, second.clone()]
    );
    for _ in 0..2 {
        state.forget_conflict(pair, &first.copy).await.unwrap();
    }
    assert_eq!(state.conflicts(pair).await.unwrap(), [second]);
    let stranger = PairId::new("never stored");
    assert_eq!(state.conflicts(&stranger).await.unwrap(), []);
    let refused = state.record_conflict(&stranger, &first).await;
    assert!(matches!(refused, Err(StateError::Unknown { .. })));
}

#[tokio::test]
async fn a_conflict_ends_when_one_of_its_files_is_gone_from_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let state = state_with_pair(folder.path()).await;
    let pair = &pair_id();
    let names = ["both", "copy gone", "path gone", "a folder", "bare folder"];
    for name in names {
        let conflict = conflict(name, 1);
        state.record_conflict(pair, &conflict).await.unwrap();
    }
    let keys = [
        "both",
        "both.conflict",
        "copy gone",
        "path gone.conflict",
        // Neither of them is what `path gone` was.
        "path gone!",
        "path gone1",
        "a folder/",
        "a folder.conflict",
        "bare folder/x",
        "bare folder.conflict",
    ];
    write_rows(&state, keys.iter().zip(1..).map(|(key, n)| row(key, n))).await;
    state.forget_ended_conflicts(pair).await.unwrap();
    let left = state.conflicts(pair).await.unwrap();
    let paths: Vec<_> = left.iter().map(|left| left.path.as_str()).collect();
    assert_eq!(paths, ["a folder", "bare folder", "both"]);
}
