//! Tests of the state as a whole, over real files.

mod backups;
mod base;
mod damage;
mod domain;
mod opening;
mod sweep;

use std::path::Path;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use ows_providers::{Hash, SortKey, Version};

use super::{NewPair, State};
use crate::ids::{PairId, RunId};
use crate::tree::{BaseRow, LocalFingerprint, RemoteStamp};

fn pair_id() -> PairId {
    PairId::new("pair-a")
}

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 123_456_789).unwrap()
}

fn run_id(number: u32) -> RunId {
    RunId::new(time(i64::from(number)), number)
}

fn new_pair(id: PairId) -> NewPair {
    NewPair {
        id,
        remote_id: "s3|https://s3.example|bucket|agent".to_owned(),
        remote_display: "s3://bucket/agent".to_owned(),
        local_path: "/srv/workspace".into(),
        replica_id: "replica-1".to_owned(),
        created_at: time(0),
    }
}

/// A row whose fields all differ, made from its key and a number.
fn row(key: &str, number: u64) -> BaseRow {
    let signed = i64::try_from(number).unwrap();
    let file = !key.ends_with('/');
    BaseRow {
        key: SortKey::from_text(key).unwrap(),
        local: LocalFingerprint {
            size: if file { number } else { 0 },
            mtime_ns: -signed,
            ctime_ns: signed + 1,
            inode: u64::MAX - number,
            blake3: (number.is_multiple_of(2))
                .then(|| *blake3::hash(&number.to_le_bytes()).as_bytes()),
            observed_at_ns: signed + 2,
        },
        remote: RemoteStamp {
            size: if file { number } else { 0 },
            version: file.then(|| Version(format!("\"etag-{number}\""))),
            modified_at_ns: (number.is_multiple_of(3)).then_some(signed + 3),
            mtime_ns: (number % 3 == 1).then_some(signed + 4),
            hash: (number % 2 == 1).then(|| Hash::md5([u8::try_from(number % 256).unwrap(); 16])),
            id: (number.is_multiple_of(5)).then(|| format!("id-{number}")),
            own: number.is_multiple_of(2),
            stored_by_ns: number.is_multiple_of(7).then_some(signed + 5),
        },
    }
}

/// An open state with one pair and one run.
async fn state_with_pair(own_dir: &Path) -> State {
    let state = State::open(own_dir).await.unwrap();
    add_pair_and_run(&state).await;
    state
}

async fn add_pair_and_run(state: &State) {
    state.ensure_pair(&new_pair(pair_id())).await.unwrap();
    state
        .start_run(&run_id(1), Some(&pair_id()), "sync", time(1))
        .await
        .unwrap();
}

async fn write_rows(state: &State, rows: impl IntoIterator<Item = BaseRow>) {
    let writer = state.base_writer(&pair_id(), &run_id(1));
    for row in rows {
        writer.agreed(row).await.unwrap();
    }
    writer.finish().await.unwrap();
}

async fn all_rows(state: &State) -> Vec<BaseRow> {
    state.base_rows(&pair_id()).try_collect().await.unwrap()
}

/// Copies the database as it is on disk at this moment, which is what a killed process leaves.
fn crash_image(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
