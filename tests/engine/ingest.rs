//! The way up in mirror mode: each version of a file in the ingest folder is sent once, and nothing is ever deleted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ows::error::FailureKind;
use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::state::{FaultPoint, StateFaults};
use ows::sync::{Finished, SyncMode, SyncOptions};
use ows_providers::layers::{Fault, Moment};
use ows_providers::memory::MemoryOptions;
use ows_providers::{ErrorKind, Operation, RelPath};
use ows_testkit::tree::{Files, OwsFolder, read_files};

use crate::support::{Pair, TRANSIENT, calls, clean, files, guard, kept, kind};

/// A mirror whose local folder is `ws`, with the ingest folder `in` beside it.
fn pair(options: MemoryOptions, remote: &[(&str, &str)], ingest: &[(&str, &str)]) -> Pair {
    let mut pair = Pair::new(options, &[]);
    pair.settings.mode = SyncMode::Mirror;
    pair.settings.local_path = pair.local.join("ws");
    pair.settings.ingest = RelPath::new("in").ok();
    pair.settings.transfers = Some(1);
    for (path, content) in remote {
        pair.store.insert(path, content.as_bytes());
    }
    for (path, content) in ingest {
        pair.local.write(&format!("in/{path}"), content);
    }
    pair
}

async fn sent(options: MemoryOptions, remote: &[(&str, &str)], ingest: &[(&str, &str)]) -> Pair {
    let pair = pair(options, remote, ingest);
    clean(&pair.sync().await);
    pair.later();
    pair
}

fn mirrored(pair: &Pair) -> Files {
    read_files(&pair.local.join("ws"), OwsFolder::Skip)
}

fn uploads(finished: &Finished) -> u64 {
    finished.report.counts.upload
}

#[tokio::test]
async fn files_are_sent_and_come_down_in_the_same_run() {
    for options in [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ] {
        let pair = pair(options, &[("a", "x")], &[("note", "sent"), ("d/deep", "")]);
        let finished = pair.sync().await;
        clean(&finished);
        let counts = finished.report.counts;
        assert_eq!((counts.upload, counts.download), (2, 3));
        assert_eq!(finished.report.bytes.up, 4);
        let all = files(&[("a", "x"), ("in/d/deep", ""), ("in/note", "sent")]);
        assert_eq!(pair.remote(), all);
        assert_eq!(mirrored(&pair), all);
        pair.assert_nothing_left_behind();
        pair.assert_quiet().await;
    }
}

#[tokio::test]
async fn each_version_is_sent_once_also_after_a_person_deleted_it() {
    let pair = sent(
        MemoryOptions::s3(),
        &[("a", "x")],
        &[("note", "one"), ("b", "b")],
    )
    .await;
    pair.store.remove("in/note");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(uploads(&finished), 0);
    assert_eq!(pair.store.get("in/note"), None);
    // Only touched, or written anew with the same content: still the version that was sent.
    pair.local.write("in/note", "one");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(
        (uploads(&finished), calls(&finished)),
        (0, vec![("list", 1)])
    );
    // Another version is sent, and only it.
    pair.local.write("in/note", "two");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(uploads(&finished), 1);
    assert_eq!(pair.store.get("in/note").as_deref(), Some(&b"two"[..]));
    pair.assert_quiet().await;
}

#[tokio::test]
async fn nothing_is_deleted_in_the_remote_when_files_go_away_here() {
    let pair = sent(MemoryOptions::s3(), &[], &[("note", "one"), ("d/b", "b")]).await;
    let before = pair.store.files();
    pair.local.remove("in/note");
    pair.assert_quiet().await;
    pair.local.remove("in");
    pair.assert_quiet().await;
    assert_eq!(pair.store.files(), before);
}

#[tokio::test]
async fn a_missing_folder_means_nothing_to_send_and_is_not_created() {
    let pair = sent(MemoryOptions::s3(), &[("a", "x")], &[]).await;
    assert!(!pair.local.join("in").exists());
    pair.assert_quiet().await;
}

#[tokio::test]
async fn what_was_sent_before_is_replaced_without_a_copy_and_anything_else_goes_to_the_trash() {
    let pair = sent(
        MemoryOptions::s3(),
        &[("in/theirs", "of a person")],
        &[("mine", "one"), ("edited", "one")],
    )
    .await;
    pair.store.insert("in/edited", b"edited by a person");
    pair.local.write("in/mine", "two");
    pair.local.write("in/edited", "two");
    pair.local.write("in/theirs", "mine now");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(uploads(&finished), 3);
    assert_eq!(
        pair.remote_trash(),
        kept(&[
            ("in/edited", "edited by a person"),
            ("in/theirs", "of a person")
        ])
    );
    let said = finished.report.warnings.join("\n");
    assert!(
        said.contains("`in/edited`: in the ingest folder; the remote holds other content"),
        "{said}"
    );
    assert_eq!(
        pair.remote(),
        files(&[
            ("in/edited", "two"),
            ("in/mine", "two"),
            ("in/theirs", "mine now")
        ])
    );
    pair.assert_quiet().await;
}

#[tokio::test]
async fn after_loss_of_the_state_equal_content_is_not_sent_again() {
    let mut options = MemoryOptions::s3();
    options.single_put_max = 4096;
    let large = "x".repeat(9000);
    let pair = sent(options, &[], &[("note", "one"), ("large", &large)]).await;
    std::fs::remove_dir_all(pair.state.join("ows")).expect("it is there");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(uploads(&finished), 0, "{:?}", calls(&finished));
    assert!(pair.remote_trash().is_empty());
    pair.assert_quiet().await;
}

#[tokio::test]
async fn a_send_costs_its_own_calls_and_a_quiet_run_none() {
    let pair = sent(MemoryOptions::s3(), &[("a", "x")], &[("note", "one")]).await;
    assert_eq!(calls(&pair.sync().await), [("list", 1)]);
    pair.local.write("in/new", "n");
    let finished = pair.sync().await;
    clean(&finished);
    // Both sides, the ingest folder, and both sides again with what was sent.
    assert_eq!(calls(&finished), [("get", 1), ("list", 3), ("put", 1)]);
}

#[tokio::test]
async fn a_run_that_a_guard_stops_sends_nothing() {
    let pair = pair(MemoryOptions::s3(), &[("a", "theirs")], &[("note", "one")]);
    pair.local.write("ws/a", "mine");
    assert_eq!(guard(&pair.sync().await), GuardName::FirstSync);
    assert_eq!(pair.store.files(), files(&[("a", "theirs")]));

    let pair = sent(MemoryOptions::s3(), &[("a", "x")], &[]).await;
    pair.store.remove("a");
    pair.local.write("in/note", "one");
    assert_eq!(guard(&pair.sync().await), GuardName::RemoteRoot);
    assert!(pair.store.files().is_empty(), "an empty remote stays empty");
}

#[tokio::test]
async fn a_dry_run_tells_what_would_be_sent_and_a_push_sends_nothing() {
    let pair = pair(MemoryOptions::s3(), &[("a", "x")], &[("note", "one")]);
    let options = SyncOptions {
        dry_run: true,
        ..SyncOptions::default()
    };
    let finished = pair.run(options).await;
    clean(&finished);
    assert_eq!(uploads(&finished), 1);
    let line = finished.report.actions.last().expect("it is told");
    assert_eq!(
        (line.op.as_str(), line.path.as_str(), line.reason.as_str()),
        ("upload", "in/note", "new in the ingest folder")
    );
    assert_eq!(pair.store.files(), files(&[("a", "x")]));
    clean(&pair.sync().await);
    pair.local.write("in/other", "two");
    clean(&pair.directed(Direction::Push).await);
    assert_eq!(pair.store.get("in/other"), None);
    clean(&pair.directed(Direction::Pull).await);
    assert!(
        pair.store.get("in/other").is_some(),
        "a pull is an ordinary run"
    );
}

#[tokio::test]
async fn patterns_links_and_names_that_cannot_be_stored_are_left() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut pair = pair(
        MemoryOptions::s3(),
        &[],
        &[
            ("a.log", "excluded"),
            ("sub/.DS_Store", "excluded"),
            ("good", "x"),
        ],
    );
    pair.settings.exclude = vec!["/in/*.log".to_owned(), ".DS_Store".to_owned()];
    pair.local.symlink("in/link", "good");
    let strange = pair
        .local
        .join("in")
        .join(std::ffi::OsStr::from_bytes(b"\xff"));
    std::fs::write(strange, "x").expect("it can be written");
    let finished = pair.sync().await;
    assert_eq!(
        kind(&finished),
        Some(FailureKind::Partial),
        "{:?}",
        finished.failure
    );
    assert_eq!(pair.remote(), files(&[("in/good", "x")]));
    assert_eq!(mirrored(&pair), files(&[("in/good", "x")]));
    assert!(finished.report.errors[0].message.contains("not UTF-8"));
}

#[tokio::test]
async fn a_file_in_place_of_the_folder_sends_nothing_and_is_told() {
    let pair = pair(MemoryOptions::s3(), &[("a", "x")], &[]);
    pair.local.write("in", "a file");
    let finished = pair.sync().await;
    clean(&finished);
    assert!(finished.report.warnings[0].contains("it is no folder"));
    assert_eq!(pair.store.files(), files(&[("a", "x")]));
}

#[tokio::test]
async fn an_ingest_folder_that_is_the_local_folder_is_refused_whatever_is_forced() {
    let mut pair = pair(MemoryOptions::s3(), &[("a", "x")], &[]);
    pair.local.write("ws/mine", "x");
    pair.settings.ingest = RelPath::new("ws").ok();
    let finished = pair.forced(&GuardName::ALL).await;
    assert_eq!(guard(&finished), GuardName::Overlap);
    // By another name.
    pair.local.symlink("in", "ws");
    pair.settings.ingest = RelPath::new("in").ok();
    assert_eq!(guard(&pair.sync().await), GuardName::Overlap);
    assert_eq!(pair.store.files(), files(&[("a", "x")]));
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_sent_is_sent_as_it_was_or_left() {
    let pair = pair(
        MemoryOptions::s3(),
        &[],
        &[("a", "before"), ("b", "before")],
    );
    let path = pair.local.join("in/b");
    pair.faults.add(
        Fault::on(Operation::Put)
            .at("in/a")
            .nth(1)
            .meanwhile(move || std::fs::write(&path, "after, longer").expect("it can be written")),
    );
    clean(&pair.sync().await);
    assert_eq!(
        pair.remote(),
        files(&[("in/a", "before"), ("in/b", "after, longer")])
    );
    pair.assert_quiet().await;
}

#[tokio::test]
async fn a_remote_without_room_stops_the_sending_and_the_mirror_goes_on() {
    let pair = pair(
        MemoryOptions::s3(),
        &[("a", "x")],
        &[("m", "1"), ("n", "2")],
    );
    pair.faults.add(
        Fault::on(Operation::Put)
            .at("in/m")
            .nth(1)
            .before(ErrorKind::QuotaExceeded),
    );
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    assert_eq!(finished.report.counts.failed, 2);
    assert_eq!(mirrored(&pair), files(&[("a", "x")]));
    pair.faults.clear();
    clean(&pair.sync().await);
    pair.assert_quiet().await;
}

/// A run in which the n-th call fails, or after which nothing answers any more.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Call(u64, Moment),
    Death(u64, Moment),
    Database(u64),
}

async fn scene(options: &MemoryOptions) -> Pair {
    let large = "l".repeat(9000);
    let pair = sent(
        options.clone(),
        &[("a", "x"), ("gone", "y"), ("in/theirs", "of a person")],
        &[("same", "same"), ("changed", "one"), ("deleted there", "d")],
    )
    .await;
    pair.local.write("in/changed", "two");
    pair.local.write("in/theirs", "mine");
    pair.local.write("in/large", large);
    pair.local.write("ws/stray", "only here");
    pair.store.remove("in/deleted there");
    pair.store.remove("gone");
    pair.store.insert("new", b"new");
    pair.later();
    pair
}

fn database(failing: u64) -> (StateFaults, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&count);
    let faults = move |_: &'static str, _: FaultPoint| {
        counting.fetch_add(1, Ordering::SeqCst) + 1 == failing
    };
    (StateFaults(Arc::new(faults)), count)
}

async fn run_with(pair: &Pair, failing: u64) -> (Finished, u64) {
    let (faults, count) = database(failing);
    let finished = pair
        .run(SyncOptions {
            state_faults: Some(faults),
            ..SyncOptions::default()
        })
        .await;
    (finished, count.load(Ordering::SeqCst))
}

type End = (Files, Files, BTreeSet<(String, Vec<u8>)>, bool);

/// What a person sees in the end. A disturbed run may keep a copy more.
fn end(pair: &Pair) -> End {
    let of_a_person = pair
        .remote_trash()
        .contains(&("in/theirs".to_owned(), b"of a person".to_vec()));
    let trash = read_files(&pair.local.join("ws"), OwsFolder::Include);
    let stray = trash
        .into_iter()
        .filter(|(path, _)| path.ends_with("/stray"))
        .map(|(_, content)| ("stray".to_owned(), content))
        .collect();
    (pair.remote(), mirrored(pair), stray, of_a_person)
}

#[tokio::test]
async fn any_failed_call_of_a_mirror_run_with_ingest_heals() {
    for base in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let options = MemoryOptions {
            single_put_max: 4096,
            ..base
        };
        let pair = scene(&options).await;
        let before = pair.faults.calls();
        let (finished, in_database) = run_with(&pair, 0).await;
        clean(&finished);
        let in_remote = pair.faults.calls() - before;
        let wanted = end(&pair);
        assert!(wanted.3 && !wanted.2.is_empty() && wanted.0 == wanted.1);
        assert!(!wanted.0.contains_key("in/deleted there"));

        let mut failures: Vec<Failure> = (1..=in_database).map(Failure::Database).collect();
        for nth in 1..=in_remote {
            for moment in [Moment::Before, Moment::After] {
                failures.push(Failure::Call(nth, moment));
                failures.push(Failure::Death(nth, moment));
            }
        }
        for failure in failures {
            let pair = scene(&options).await;
            let mut failing = 0;
            match failure {
                Failure::Call(nth, Moment::Before) => {
                    pair.faults.add(Fault::any().nth(nth).before(TRANSIENT));
                }
                Failure::Call(nth, Moment::After) => {
                    pair.faults.add(Fault::any().nth(nth).after(TRANSIENT));
                }
                Failure::Death(nth, moment) => {
                    pair.faults.crash_at(nth, moment);
                }
                Failure::Database(nth) => failing = nth,
            }
            let (_, reached) = run_with(&pair, failing).await;
            assert!(
                pair.faults.unreached().is_empty() && reached >= failing,
                "{failure:?}"
            );
            pair.faults.clear();
            pair.later();
            let finished = pair.sync().await;
            assert!(
                finished.failure.is_none(),
                "{failure:?}: {:?} {:?}",
                finished.failure,
                finished.report.errors
            );
            assert_eq!(end(&pair), wanted, "after {failure:?}");
            pair.assert_nothing_left_behind();
            pair.assert_quiet().await;
        }
    }
}
