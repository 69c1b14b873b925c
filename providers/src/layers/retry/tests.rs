use futures::TryStreamExt as _;

use super::*;
use crate::layers::{Fault, FaultSet, Faults};
use crate::memory::{MemoryOptions, MemoryStore};

const TRANSIENT: ErrorKind = ErrorKind::Transient { after: None };
const BODY: &[u8] = b"our content";

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn over(store: &MemoryStore) -> (Retry, Arc<FaultSet>) {
    let set = FaultSet::new();
    let faults = Faults::new(store.provider(), Arc::clone(&set));
    (Retry::new(Arc::new(faults), RetryOptions::default()), set)
}

fn no_hashes() -> MemoryOptions {
    MemoryOptions {
        hash: None,
        ..MemoryOptions::s3()
    }
}

fn wrong_hashes() -> MemoryOptions {
    MemoryOptions {
        versions: crate::memory::VersionStyle::OpaqueEtag,
        ..MemoryOptions::s3()
    }
}

/// Every kind of store on which an answer can be lost.
fn stores() -> Vec<MemoryStore> {
    let options = [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
        no_hashes(),
        wrong_hashes(),
    ];
    options.map(MemoryStore::new).into()
}

fn conditional(precondition: Precondition) -> PutOptions {
    PutOptions {
        precondition,
        mtime_ns: Some(1_600_000_000_000_000_000),
        md5: None,
    }
}

async fn put(provider: &Retry, precondition: Precondition) -> Result<Entry> {
    let body = Bytes::from_static(BODY);
    provider
        .put(&path("a"), body, conditional(precondition))
        .await
}

#[tokio::test(start_paused = true)]
async fn faults_that_pass_are_outlived_and_others_are_not_repeated() {
    let store = MemoryStore::new(MemoryOptions::s3());
    store.insert("a", BODY);
    let (provider, set) = over(&store);
    set.add(
        Fault::on(Operation::Stat)
            .times(5)
            .before(ErrorKind::RateLimited { after: None }),
    );
    provider.stat(&path("a")).await.unwrap();
    assert_eq!(set.calls(), 6);
    set.add(Fault::on(Operation::Stat).before(ErrorKind::Forbidden));
    let error = provider.stat(&path("a")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    assert_eq!(set.calls(), 7);
    set.assert_all_reached();
}

#[tokio::test(start_paused = true)]
async fn attempts_and_time_are_bounded() {
    let policy = RetryPolicy {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(8),
        attempts: 5,
        budget: Duration::from_secs(1000),
        seed: Some(1),
        last_failure: LastFailure::default(),
    };
    let fails = |after| Error::new(ErrorKind::Transient { after }, Operation::List, "", "down");
    let mut calls = 0;
    let start = Instant::now();
    let result: Result<()> = retry(&policy, || {
        calls += 1;
        async { Err(fails(None)) }
    })
    .await;
    assert!(result.is_err());
    assert_eq!(calls, 5);
    // Full jitter: at most 1 + 2 + 4 + 8 seconds.
    assert!(start.elapsed() <= Duration::from_secs(15));
    assert!(start.elapsed() > Duration::from_millis(100));

    let start = Instant::now();
    let mut calls = 0;
    let short = RetryPolicy {
        budget: Duration::from_secs(25),
        attempts: 1000,
        ..policy
    };
    let asked = Duration::from_secs(10);
    let result: Result<()> = retry(&short, || {
        calls += 1;
        async move { Err(fails(Some(asked))) }
    })
    .await;
    assert!(result.is_err());
    // At 0, 10 and 20 seconds; a fourth would come too late, and there is no point in waiting for it.
    assert_eq!(calls, 3);
    assert_eq!(start.elapsed(), Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_and_stay_under_the_cap() {
    let policy = RetryPolicy {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(8),
        attempts: 1000,
        budget: Duration::from_secs(100_000),
        seed: Some(2),
        last_failure: LastFailure::default(),
    };
    let error = Error::new(TRANSIENT, Operation::List, "", "down");
    for (failures, limit) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (900, 8)] {
        let mut backoff = Backoff::new(&policy);
        backoff.failures = failures;
        let pauses: Vec<Duration> = (0..200).map(|_| backoff.next_pause(&error)).collect();
        let longest = pauses.iter().max().unwrap();
        let limit = Duration::from_secs(limit);
        assert!(
            *longest <= limit && *longest > limit.mul_f64(0.9),
            "{longest:?} of {limit:?}"
        );
        assert!(
            pauses.iter().min().unwrap() < &limit.mul_f64(0.1),
            "no full jitter"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_cut_off_when_the_time_is_over() {
    let store = MemoryStore::new(MemoryOptions::s3());
    let (provider, set) = over(&store);
    set.add(Fault::on(Operation::Stat).hangs());
    let start = Instant::now();
    let error = provider.stat(&path("a")).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(start.elapsed(), RetryPolicy::metadata().budget);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_conditional_put_is_found_to_be_ours() {
    for store in stores() {
        let (provider, set) = over(&store);
        set.add(Fault::on(Operation::Put).after(TRANSIENT));
        let created = put(&provider, Precondition::Absent).await.unwrap();
        assert_eq!(created.version, store.entry("a").unwrap().version);

        store.insert("a", b"older");
        let before = store.entry("a").unwrap().version.unwrap();
        set.add(Fault::on(Operation::Put).after(TRANSIENT));
        let replaced = put(&provider, Precondition::Version(before)).await.unwrap();
        assert_eq!(replaced.version, store.entry("a").unwrap().version);
        assert_eq!(replaced.size, BODY.len() as u64);
        assert_eq!(store.get("a").unwrap(), BODY);
        set.assert_all_reached();
    }
}

#[tokio::test(start_paused = true)]
async fn a_strangers_write_is_never_taken_for_ours() {
    let same_length = b"OUR CONTENT";
    let given = conditional(Precondition::Any).mtime_ns;
    let theirs: [(&[u8], Option<i64>); 3] = [
        (b"theirs", given),
        (same_length, given),
        // The very content, but of another time: not what we would have written.
        (BODY, Some(1_600_000_009_000_000_000)),
    ];
    for store in stores() {
        for (content, mtime) in theirs {
            for moment_is_after in [false, true] {
                store.remove("a");
                let (provider, set) = over(&store);
                let fault = Fault::on(Operation::Put);
                set.add(match moment_is_after {
                    true => fault.after(TRANSIENT),
                    false => fault.before(TRANSIENT),
                });
                let (stranger, content) = (store.clone(), content.to_vec());
                set.add(Fault::on(Operation::Put).nth(2).meanwhile(move || {
                    stranger.insert_with_mtime("a", &content, mtime);
                }));
                let error = put(&provider, Precondition::Absent).await.unwrap_err();
                assert_eq!(error.kind, ErrorKind::AlreadyExists, "{moment_is_after}");
                set.assert_all_reached();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_race_without_a_lost_answer_is_reported_without_a_look() {
    let store = MemoryStore::new(MemoryOptions::s3());
    store.insert_with_mtime("a", BODY, conditional(Precondition::Any).mtime_ns);
    let (provider, set) = over(&store);
    let error = put(&provider, Precondition::Absent).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
    assert_eq!(set.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_proves_nothing() {
    let store = MemoryStore::new(MemoryOptions::s3());
    let (provider, set) = over(&store);
    set.add(Fault::on(Operation::Put).after(TRANSIENT))
        .add(Fault::on(Operation::Stat).before(ErrorKind::Forbidden));
    let error = put(&provider, Precondition::Absent).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
    set.assert_all_reached();
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_completion_is_no_race() {
    for store in stores() {
        let (provider, set) = over(&store);
        set.add(Fault::on(Operation::CompleteUpload).after(TRANSIENT));
        let options = UploadOptions {
            size: Some(BODY.len() as u64),
            part_size: 4 << 10,
            mtime_ns: None,
            md5: None,
        };
        let upload = provider.start_upload(&path("a"), options).await.unwrap();
        let part = provider
            .put_part(&upload, 1, Bytes::from_static(BODY))
            .await
            .unwrap();
        let parts = [part];
        let entry = provider
            .complete_upload(&upload, &parts, Precondition::Absent)
            .await
            .unwrap();
        assert_eq!(entry.version, store.entry("a").unwrap().version);

        // A stranger's object in its place is one.
        store.insert("a", BODY);
        let error = provider
            .complete_upload(&upload, &parts, Precondition::Absent)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        set.assert_all_reached();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_copy_is_found_to_be_ours_where_hashes_prove_it() {
    for (options, proves) in [
        (MemoryOptions::s3(), true),
        (MemoryOptions::drive(), true),
        (no_hashes(), false),
        (wrong_hashes(), false),
    ] {
        let store = MemoryStore::new(options);
        store.insert("a", BODY);
        let (provider, set) = over(&store);
        set.add(Fault::on(Operation::Copy).after(TRANSIENT));
        let options = CopyOptions {
            source: store.entry("a").unwrap().version,
            precondition: Precondition::Absent,
            size: BODY.len() as u64,
            mtime_ns: None,
        };
        let result = provider.copy(&path("a"), &path("b"), options).await;
        match (result, proves) {
            (Ok(copy), true) => assert_eq!(copy.path, path("b")),
            (Err(error), false) => assert_eq!(error.kind, ErrorKind::AlreadyExists),
            (result, _) => panic!("{result:?}"),
        }
        assert_eq!(store.files().len(), 2);
        set.assert_all_reached();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_rename_is_found_to_be_ours() {
    let store = MemoryStore::new(MemoryOptions::folder());
    store.insert("a", BODY);
    let (provider, set) = over(&store);
    set.add(Fault::on(Operation::Rename).after(TRANSIENT).times(2));
    let options = |name: &str| CopyOptions {
        source: store.entry(name).unwrap().version,
        precondition: Precondition::Absent,
        size: BODY.len() as u64,
        mtime_ns: None,
    };
    let moved = provider
        .rename(&path("a"), &path("b"), options("a"))
        .await
        .unwrap();
    assert_eq!(moved.path, path("b"));

    // The source vanished and something else is at the destination.
    let stale = options("b");
    let stranger = store.clone();
    set.add(Fault::on(Operation::Rename).nth(1).meanwhile(move || {
        stranger.remove("b");
        stranger.insert("c", b"theirs");
    }));
    let result = provider.rename(&path("b"), &path("c"), stale).await;
    assert!(result.unwrap_err().is_race());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_delete_is_no_failure() {
    let store = MemoryStore::new(MemoryOptions::s3());
    store.insert("a", BODY);
    let version = store.entry("a").unwrap().version.unwrap();
    let (provider, set) = over(&store);
    set.add(Fault::on(Operation::Delete).after(TRANSIENT));
    provider
        .delete(&path("a"), Precondition::Version(version.clone()))
        .await
        .unwrap();

    // What a stranger writes between the attempts stays.
    store.insert("a", BODY);
    set.add(Fault::on(Operation::Delete).after(TRANSIENT));
    let stranger = store.clone();
    set.add(Fault::on(Operation::Delete).nth(2).meanwhile(move || {
        stranger.insert("a", b"newer");
    }));
    let error = provider
        .delete(&path("a"), Precondition::Version(version))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::PreconditionFailed);
    assert_eq!(store.get("a").unwrap(), b"newer");
    set.assert_all_reached();
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_breaks_is_an_error() {
    let store = MemoryStore::new(MemoryOptions::s3());
    store.insert("a", BODY);
    store.insert("b", BODY);
    let (provider, set) = over(&store);
    set.add(Fault::on(Operation::List).breaks_listing(1, TRANSIENT));
    let result: Result<Vec<Listed>> = provider.list(ListOptions::default()).try_collect().await;
    assert!(result.unwrap_err().is_transient());
    assert_eq!(set.calls(), 1);
}

async fn download(provider: &Retry, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>> {
    let options = GetOptions {
        range,
        version: None,
    };
    let download = provider.get(&path("a"), options).await?;
    let pieces: Vec<Bytes> = download.body.try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test(start_paused = true)]
async fn a_download_goes_on_where_it_broke() {
    let content: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
    let store = MemoryStore::new(MemoryOptions {
        piece_size: 1000,
        ..MemoryOptions::s3()
    });
    store.insert("a", &content);
    let (provider, set) = over(&store);
    // With an error, without one, before the first byte, and behind the last.
    for (bytes, kind) in [(4321, Some(TRANSIENT)), (17, None), (0, Some(TRANSIENT))] {
        set.add(Fault::on(Operation::Get).short_body(bytes, kind));
    }
    assert_eq!(download(&provider, None).await.unwrap(), content);
    set.add(Fault::on(Operation::Get).short_body(40_000, Some(TRANSIENT)));
    assert!(download(&provider, None).await.is_ok());
    set.add(Fault::on(Operation::Get).short_body(1500, None));
    let range = 100..20_100;
    let expected = &content[100..20_100];
    assert_eq!(download(&provider, Some(range)).await.unwrap(), expected);
    set.assert_all_reached();
}

#[tokio::test(start_paused = true)]
async fn a_download_is_never_put_together_from_two_versions() {
    let store = MemoryStore::new(MemoryOptions::s3());
    store.insert("a", BODY);
    let (provider, set) = over(&store);
    set.add(Fault::on(Operation::Get).short_body(5, Some(TRANSIENT)));
    let stranger = store.clone();
    set.add(Fault::on(Operation::Get).nth(2).meanwhile(move || {
        stranger.insert("a", b"OUR CONTENT");
    }));
    let error = download(&provider, None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PreconditionFailed);
    set.assert_all_reached();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_given_up_at_once() {
    let store = MemoryStore::new(MemoryOptions::s3());
    let (provider, set) = over(&store);
    set.add(Fault::on(Operation::Put).times(1000).before(TRANSIENT));
    let limit = Duration::from_secs(30);
    let given_up = tokio::time::timeout(limit, put(&provider, Precondition::Any)).await;
    assert!(given_up.is_err());
    let calls = set.calls();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(set.calls(), calls);
    assert!(store.files().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_being_repeated_is_known_until_it_is_over() {
    let policy = RetryPolicy {
        seed: Some(3),
        ..RetryPolicy::metadata()
    };
    let last = policy.last_failure.clone();
    let mut calls = 0;
    let mut seen = Vec::new();
    let result: Result<()> = retry(&policy, || {
        calls += 1;
        seen.push(last.get());
        let kind = ErrorKind::Transient { after: None };
        let failure =
            (calls < 3).then(|| Error::new(kind, Operation::List, "", format!("down {calls}")));
        async move { failure.map_or(Ok(()), Err) }
    })
    .await;
    assert!(result.is_ok());
    assert_eq!(seen[0], None);
    assert!(
        seen[2].as_ref().is_some_and(|text| text.contains("down 2")),
        "{seen:?}"
    );
    assert_eq!(last.get(), None);
}
