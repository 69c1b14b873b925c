//! What a drill compares and asks, and what it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{SecondsFormat, TimeDelta, Utc};
use ows::backup::drill::drill;
use ows::backup::manifest::ProblemClass;
use ows::backup::proving::drill_command;
use ows::backup::settings::BackupClock;
use ows::backup::source::Which;
use ows::cancel::{Cancel, StopCause};
use ows::report::{Reporter, Silent};
use ows::state::State;

use super::archives::{Body, Key, Made, Members, Reader, make, make_marked, members, name, noise};
use super::store::{at, snapshot};

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_restores_compares_and_leaves_nothing() {
    let database = database().await;
    let live: Members = vec![
        ("workspace", Body::Dir),
        ("workspace/same", Body::File(noise(1, 1000))),
        ("workspace/other", Body::File(noise(2, 1000))),
        ("workspace/newer", Body::File(noise(3, 1000))),
        ("workspace/good.db", Body::File(database.clone())),
        ("openclaw.json", Body::File(b"{}".to_vec())),
    ];
    let (reader, _) = sealed_later(live);
    let workspace = &reader.settings.workspace;
    std::fs::write(workspace.join("same"), noise(1, 1000)).unwrap();
    std::fs::write(workspace.join("other"), noise(9, 1000)).unwrap();
    std::fs::write(reader.settings.state_dir.join("openclaw.json"), b"{}").unwrap();
    let drilled = practise(&reader).await;
    assert_eq!(drilled.databases, 1);
    assert_eq!(drilled.compared, 3);
    let bad = &drilled.done().bad;
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!(bad[0].path, "workspace/other");
    assert_no_scratch(&reader);

    let mut broken = database;
    let at = broken.len() - 4096;
    broken[at..at + 200].fill(0xee);
    let (reader, _) = sealed_later(vec![("workspace/bad.db", Body::File(broken))]);
    let drilled = practise(&reader).await;
    let said = format!("{:?}", drilled.done().bad);
    assert!(said.contains("the database is not whole"), "{said}");
    assert_no_scratch(&reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_fails_leaves_nothing_either() {
    let key = Key::new();
    let reader = Reader::with_key(&key);
    let made = make(name(), &key.seal, &[members()]);
    reader.put(&made);
    std::fs::create_dir_all(reader.settings.own_dir.join("drill-left/restored")).unwrap();
    let catalog = reader.catalog().await;
    for name in made.objects.keys() {
        reader.store.remove(name);
    }
    let result = drill(
        &reader.settings,
        &catalog,
        &Which::Latest,
        Arc::new(Silent),
        &Cancel::new(),
    )
    .await;
    assert!(result.is_err());
    assert_no_scratch(&reader);
}

/// The host's clock and the storage's are never quite the same: what was written around the begin of a snapshot is compared
/// with nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_behind_makes_no_damage() {
    let minutes = TimeDelta::minutes;
    for (ahead, clock) in [
        // Half a minute, of which the clocks tell nothing any more.
        (
            TimeDelta::seconds(30),
            BackupClock(|| at("2026-02-01T12:00:00Z")),
        ),
        // Ten minutes: the file was written one after the begin.
        (minutes(9), BackupClock(|| at("2026-02-01T11:50:00Z"))),
    ] {
        let key = Key::new();
        let mut reader = Reader::with_key(&key);
        reader.settings.clock = clock;
        let began = (Utc::now() + ahead).to_rfc3339_opts(SecondsFormat::Secs, true);
        let stored: Members = vec![("workspace/plan", Body::File(b"as it was".to_vec()))];
        reader.put(&make(snapshot(&began), &key.seal, &[stored]));
        std::fs::write(reader.settings.workspace.join("plan"), b"changed").unwrap();
        let drilled = practise(&reader).await;
        assert_eq!(drilled.compared, 0, "{ahead}");
        assert_eq!(drilled.done().bad, [], "{ahead}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_on_another_host_is_compared_with_nothing() {
    let live: Members = vec![("workspace/plan", Body::File(b"theirs".to_vec()))];
    let (mut reader, _) = sealed_later(live);
    reader.settings.host = "elsewhere".to_owned();
    std::fs::write(reader.settings.workspace.join("plan"), b"ours").unwrap();
    let drilled = practise(&reader).await;
    assert_eq!(drilled.compared, 0);
    assert_eq!(drilled.done().bad, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_stored_broken_is_as_it_was_stored() {
    let key = Key::new();
    let reader = Reader::with_key(&key);
    let mut broken = database().await;
    let middle = broken.len() - 4096;
    broken[middle..middle + 200].fill(0xee);
    let members: Members = vec![
        ("workspace/bad.db", Body::File(broken)),
        // The magic, and too short for a database.
        (
            "workspace/short.db",
            Body::File(b"SQLite format 3\0".to_vec()),
        ),
    ];
    let marked = [("workspace/bad.db", ProblemClass::SqliteUnverified)];
    let made = make_marked(name(), &key.seal, &[members], &marked);
    reader.put(&made);
    let drilled = practise(&reader).await;
    assert_eq!(drilled.databases, 1);
    assert_eq!(drilled.done().bad, []);
    let said = drilled.restored.warnings.join("\n");
    assert!(
        said.contains("the database `workspace/bad.db` is not whole, and was not when"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_nothing_about_a_snapshot_takes_no_proof_back() {
    let live: Members = vec![("workspace/plan", Body::File(b"stored".to_vec()))];
    let (reader, made) = sealed_later(live);
    let levels = async || {
        let state = State::open(&reader.settings.own_dir).await.unwrap();
        let remote = reader.catalog().await.remote.id;
        let proofs = state.backup_proofs(&remote).await.unwrap();
        state.close().await;
        let levels = proofs.into_iter().map(|proof| proof.level);
        levels.collect::<Vec<_>>()
    };
    let (reporter, cancel) = (Arc::new(Silent), Cancel::new);
    let command = async || {
        let finished = drill_command(&reader.settings, reporter.clone(), cancel()).await;
        finished
            .failure
            .map_or(0, |failure| failure.kind.exit_code())
    };
    assert_eq!(command().await, 0);
    assert_eq!(levels().await, ["drill"]);
    std::fs::write(reader.settings.workspace.join("plan"), b"another").unwrap();
    assert_eq!(command().await, 3);
    assert_eq!(levels().await, ["drill"], "the snapshot is as it was");
    let data = &made.manifest.volumes[0].object.name;
    let mut damaged = made.objects[data].clone();
    let end = damaged.len() - 5;
    damaged[end] ^= 1;
    reader.store.insert(data, &damaged);
    assert_eq!(command().await, 3);
    assert_eq!(levels().await, [""; 0]);
}

/// Stops the run when everything has come.
struct StopAt {
    left: AtomicU64,
    cancel: Cancel,
}

impl Reporter for StopAt {
    fn moved(&self, bytes: u64) {
        let before = self.left.fetch_sub(bytes, Ordering::Relaxed);
        if bytes > 0 && before == bytes {
            self.cancel.stop(StopCause::Interrupted);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_is_stopped_has_not_passed() {
    let live: Members = vec![("workspace/plan", Body::File(b"stored".to_vec()))];
    let (reader, made) = sealed_later(live);
    let of = |name: &String| made.objects[name].len() as u64;
    let manifest = &made.manifest;
    let cancel = Cancel::new();
    let reporter = StopAt {
        left: AtomicU64::new(of(&manifest.index.name) + of(&manifest.volumes[0].object.name)),
        cancel: cancel.clone(),
    };
    let finished = drill_command(&reader.settings, Arc::new(reporter), cancel.clone()).await;
    assert!(cancel.is_stopped());
    assert_eq!(finished.failure.unwrap().kind.exit_code(), 130);
    assert!(finished.found.is_none());
    assert_no_scratch(&reader);
}

/// A snapshot of a time that what is written in this test is older than.
fn sealed_later(members: Members) -> (Reader, Made) {
    let key = Key::new();
    let reader = Reader::with_key(&key);
    let made = make(snapshot("2199-01-31T23:59:59Z"), &key.seal, &[members]);
    reader.put(&made);
    (reader, made)
}

async fn practise(reader: &Reader) -> ows::backup::drill::Drilled {
    drill(
        &reader.settings,
        &reader.catalog().await,
        &Which::Latest,
        Arc::new(Silent),
        &Cancel::new(),
    )
    .await
    .unwrap()
}

fn assert_no_scratch(reader: &Reader) {
    let left: Vec<_> = std::fs::read_dir(&reader.settings.own_dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("drill-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A database of some pages: our own, which any state directory has.
async fn database() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    ows::state::State::open(folder.path())
        .await
        .unwrap()
        .close()
        .await;
    let file = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            std::fs::read(path)
                .unwrap()
                .starts_with(b"SQLite format 3\0")
        })
        .expect("a database");
    std::fs::read(file).unwrap()
}
