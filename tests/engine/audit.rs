//! The rolling audit: a file whose size, times and inode are unchanged, and whose content is not, is found in time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ows::cancel::{Cancel, StopCause};
use ows::error::FailureKind;
use ows::ids::{PairId, RunId};
use ows::state::State;
use ows::sync::{Finished, HostClock, Reading, SyncMode, SyncOptions};
use ows_providers::layers::Fault;
use ows_providers::memory::MemoryOptions;
use ows_providers::{ErrorKind, Operation, RelPath, SortKey};

use crate::support::{Pair, calls, clean, kind};

const HOUR: i64 = 3600;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pair that was synced long ago, so that its files count as unchanged without being read, and a clock.
struct Audited {
    pair: Pair,
    now: Arc<Mutex<DateTime<Utc>>>,
}

impl Audited {
    async fn new(files: usize) -> Self {
        let names: Vec<String> = (0..files).map(|number| format!("f{number:03}")).collect();
        let items: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "text")).collect();
        let pair = Pair::new(MemoryOptions::s3(), &items);
        let audited = Self {
            pair,
            now: Arc::new(Mutex::new(Utc::now())),
        };
        // The second run learns when the remote stored the files.
        for _ in 0..2 {
            clean(&audited.run().await);
            audited.pair.later();
        }
        audited
            .rewrite(&names.iter().map(String::as_str).collect::<Vec<_>>(), false)
            .await;
        audited
    }

    /// Says that the rows of the base were written long after the files had come to rest; with `altered` also that the
    /// files held something else then.
    async fn rewrite(&self, names: &[&str], altered: bool) {
        self.rewrite_as_seen(60, names, altered).await;
    }

    /// The same, so many seconds after the files had come to rest.
    async fn rewrite_as_seen(&self, seconds: i64, names: &[&str], altered: bool) {
        let state = State::open(&self.pair.settings.own_dir)
            .await
            .expect("the database can be used");
        let pair: PairId = state
            .pair_ids()
            .await
            .expect("the database can be used")
            .remove(0);
        let run = RunId::random(Utc::now());
        state
            .start_run(&run, Some(&pair), "sync", Utc::now())
            .await
            .expect("the database can be used");
        let writer = state.base_writer(&pair, &run);
        for name in names {
            let key = SortKey::file(RelPath::new(name).expect("a path"));
            let mut row = state
                .base_row(&pair, &key)
                .await
                .expect("the database can be read")
                .expect("it is there");
            row.local.observed_at_ns = row.local.ctime_ns + seconds * 1_000_000_000;
            if altered {
                row.local.blake3 = Some([7; 32]);
            }
            writer
                .handle()
                .agreed(row)
                .await
                .expect("the database can be used");
        }
        writer.finish().await.expect("the database can be used");
        state
            .finish_run(&run, &serde_json::json!({}), 0, Utc::now())
            .await
            .expect("the database can be used");
        state.close().await;
    }

    fn pass(&self, seconds: i64) {
        *lock(&self.now) += TimeDelta::seconds(seconds);
        self.pair.later();
    }

    fn options(&self) -> SyncOptions {
        let now = Arc::clone(&self.now);
        SyncOptions {
            clock: HostClock::new(move || Reading {
                wall: *lock(&now),
                steady: Duration::ZERO,
            }),
            ..SyncOptions::default()
        }
    }

    async fn run(&self) -> Finished {
        self.pair.run(self.options()).await
    }

    async fn generation(&self) -> u64 {
        let state = State::open(&self.pair.settings.own_dir)
            .await
            .expect("the database can be used");
        let pair = state
            .pair_ids()
            .await
            .expect("the database can be used")
            .remove(0);
        let record = state
            .pair(&pair)
            .await
            .expect("the database can be read")
            .expect("it is there");
        state.close().await;
        record.generation
    }

    async fn uploads(&self) -> u64 {
        let finished = self.run().await;
        clean(&finished);
        finished.report.counts.upload
    }
}

// 11: an edit with the same size and time

#[tokio::test]
async fn an_edit_that_only_the_change_time_shows_is_uploaded() {
    use std::os::unix::fs::MetadataExt as _;
    let mut audited = Audited::new(2).await;
    audited.pair.settings.audit_days = None;
    let path = audited.pair.local.join("f001");
    let before = std::fs::metadata(&path).expect("it is there");
    audited.pair.local.write("f001", "TEXT");
    let modified = before.modified().expect("it has a time");
    audited.pair.local.set_modified("f001", modified);
    let after = std::fs::metadata(&path).expect("it is there");
    let shown = |seen: &std::fs::Metadata| (seen.len(), seen.mtime_nsec(), seen.ino());
    assert_eq!(shown(&before), shown(&after));
    assert_eq!(audited.uploads().await, 1);
    audited.pair.assert_converged().await;
}

/// A file system's clock has steps, so a file can change once more without its times showing it.
#[tokio::test]
async fn a_file_that_was_as_young_as_the_look_at_it_is_read_again() {
    let mut audited = Audited::new(2).await;
    audited.pair.settings.audit_days = None;
    audited.rewrite_as_seen(3, &["f000"], true).await;
    assert_eq!(audited.uploads().await, 0, "it was at rest");
    audited.rewrite_as_seen(1, &["f001"], true).await;
    assert_eq!(audited.uploads().await, 1);
    audited.pair.assert_converged().await;
}

// 11: an edit with the same size, times and inode

#[tokio::test]
async fn what_changed_without_a_trace_is_found_in_time_and_uploaded() {
    let audited = Audited::new(20).await;
    audited.rewrite(&["f003", "f017"], true).await;
    let mut found = 0;
    for _ in 0..7 * 24 {
        audited.pass(HOUR);
        found += audited.uploads().await;
        if found == 2 {
            break;
        }
    }
    assert_eq!(found, 2);
    audited.pair.assert_converged().await;
}

#[tokio::test]
async fn an_audit_that_finds_nothing_makes_no_call_and_changes_no_base() {
    let audited = Audited::new(20).await;
    let before = audited.generation().await;
    for _ in 0..30 {
        audited.pass(HOUR);
        let finished = audited.run().await;
        clean(&finished);
        assert_eq!(calls(&finished), [("list", 1)]);
        assert_eq!(finished.report.counts.unchanged, 20);
    }
    assert_eq!(audited.generation().await, before);
}

#[tokio::test]
async fn without_audit_days_nothing_is_read_again() {
    let mut audited = Audited::new(4).await;
    audited.pair.settings.audit_days = None;
    audited.rewrite(&["f001"], true).await;
    for _ in 0..10 {
        audited.pass(24 * HOUR);
        assert_eq!(audited.uploads().await, 0);
    }
}

#[tokio::test]
async fn a_jump_of_the_clock_makes_no_run_read_everything() {
    let audited = Audited::new(70).await;
    let names: Vec<String> = (0..70).map(|number| format!("f{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    audited.rewrite(&names, true).await;
    audited.pair.later();
    let mut all = 0;
    for jump in [400 * 24, -800 * 24, 900 * 24, 1, 1, 1, 1, 1, 1, 1, 1] {
        audited.pass(jump * HOUR);
        let found = audited.uploads().await;
        assert!(found <= 10, "a day's share of 70 files: {found}");
        all += found;
    }
    assert_eq!(all, 70, "and it catches up by the hour");
}

#[tokio::test]
async fn a_dry_run_shows_what_it_finds_and_records_nothing() {
    let audited = Audited::new(1).await;
    audited.rewrite(&["f000"], true).await;
    audited.pass(HOUR);
    for _ in 0..2 {
        let options = SyncOptions {
            dry_run: true,
            ..audited.options()
        };
        let finished = audited.pair.run(options).await;
        clean(&finished);
        assert_eq!(finished.report.counts.upload, 1);
    }
    assert_eq!(audited.uploads().await, 1);
    assert_eq!(audited.uploads().await, 0);
}

#[tokio::test]
async fn a_run_that_did_not_come_to_its_end_skips_no_slice() {
    let audited = Audited::new(2).await;
    audited.rewrite(&["f000"], true).await;
    audited.pass(HOUR);
    let put = || Fault::on(Operation::Put).at("f000");
    // It is stopped, it fails on the path, it fails as a whole.
    let cancel = Cancel::new();
    let stop = cancel.clone();
    audited
        .pair
        .faults
        .add(put().meanwhile(move || stop.stop(StopCause::Terminated)));
    audited.pair.faults.add(put().hangs());
    let finished = audited.pair.run_until(audited.options(), cancel).await;
    assert_eq!(kind(&finished), Some(FailureKind::Terminated));
    audited.pair.faults.clear();
    for (error, expected) in [
        (ErrorKind::Forbidden, FailureKind::Partial),
        (ErrorKind::Unauthorized, FailureKind::Unauthorized),
    ] {
        audited.rewrite(&["f000"], true).await;
        audited.pair.faults.add(put().before(error));
        assert_eq!(kind(&audited.run().await), Some(expected));
    }
    audited.pair.faults.assert_all_reached();
    assert_eq!(audited.uploads().await, 1, "the same slice was read again");
}

#[tokio::test]
async fn paths_that_no_run_can_sync_do_not_hold_the_audit_up() {
    let audited = Audited::new(3).await;
    audited.pair.store.plant("a//b");
    audited.rewrite(&["f002"], true).await;
    let mut found = 0;
    for _ in 0..4 {
        audited.pass(HOUR);
        let finished = audited.run().await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        found += finished.report.counts.upload;
    }
    assert_eq!(found, 1);
}

#[tokio::test]
async fn excluded_files_are_not_audited_and_the_round_goes_on_without_them() {
    let mut audited = Audited::new(4).await;
    audited.pass(HOUR);
    assert_eq!(audited.uploads().await, 0);
    audited.pair.settings.exclude.push("f00[012]".to_owned());
    audited
        .rewrite(&["f000", "f001", "f002", "f003"], true)
        .await;
    let mut uploaded = 0;
    for _ in 0..5 {
        audited.pass(HOUR);
        uploaded += audited.uploads().await;
    }
    assert_eq!(uploaded, 1);
}

#[tokio::test]
async fn in_mirror_mode_what_changed_without_a_trace_goes_to_the_trash() {
    let mut audited = Audited::new(2).await;
    audited.pair.settings.mode = SyncMode::Mirror;
    audited.rewrite(&["f000", "f001"], true).await;
    let mut names = BTreeSet::new();
    for _ in 0..3 {
        audited.pass(HOUR);
        clean(&audited.run().await);
        names.extend(audited.pair.local_trash().into_iter().map(|(name, _)| name));
    }
    assert_eq!(names.len(), 2, "{names:?}");
}
