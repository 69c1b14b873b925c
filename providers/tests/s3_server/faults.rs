//! All layers over the adapter over a server that misbehaves: in the end there is exactly one object, with the right
//! content, and nobody else's was touched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt as _;
use ows_providers::layers::{CallCounter, Counting, RetryOptions, StackOptions, stack};
use ows_providers::{
    CopyOptions, Entry, ErrorKind, GetOptions, Operation, Precondition, Provider, PutOptions,
    RelPath, Result, UploadOptions, Version,
};
use ows_testkit::s3::{ETags, Op, Server, Then, When};

use crate::setup::{BUCKET, connect, options, quick_retry};

const OURS: &[u8] = b"our content";
const THEIRS: &[u8] = b"a stranger!";
const MTIME: i64 = 1_600_000_000_123_456_789;

/// All layers, as the engine stacks them.
struct Remote {
    server: Server,
    provider: Arc<dyn Provider>,
    counter: Arc<CallCounter>,
}

fn remote() -> Remote {
    let server = Server::with_bucket(BUCKET);
    let counter = CallCounter::new();
    let mut connection = options(&server);
    connection.counter = Some(Arc::clone(&counter));
    let stacking = StackOptions {
        retry: Some(RetryOptions {
            metadata: quick_retry(),
            transfer: quick_retry(),
        }),
        counter: Arc::clone(&counter),
        counting: Counting::Bytes,
        ..StackOptions::default()
    };
    Remote {
        provider: stack(Arc::new(connect(connection)), stacking),
        server,
        counter,
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

impl Remote {
    async fn put(&self, name: &str, precondition: Precondition) -> Result<Entry> {
        let options = PutOptions {
            precondition,
            mtime_ns: Some(MTIME),
            md5: None,
        };
        let body = Bytes::from_static(OURS);
        self.provider.put(&path(name), body, options).await
    }

    async fn upload(&self, name: &str, precondition: Precondition) -> Result<Entry> {
        let options = UploadOptions {
            size: Some(OURS.len() as u64),
            part_size: 5 << 20,
            mtime_ns: Some(MTIME),
            md5: None,
        };
        let provider = &self.provider;
        let upload = provider.start_upload(&path(name), options).await?;
        let part = provider
            .put_part(&upload, 1, Bytes::from_static(OURS))
            .await?;
        provider
            .complete_upload(&upload, &[part], precondition)
            .await
    }

    async fn copy(&self, name: &str, precondition: Precondition) -> Result<Entry> {
        let source = self.server.put(BUCKET, "source", OURS);
        let options = CopyOptions {
            source: Some(Version(source.etag)),
            precondition,
            size: source.size,
            mtime_ns: None,
        };
        let (from, to) = (path("source"), path(name));
        let copied = self.provider.copy(&from, &to, options).await;
        self.server.delete(BUCKET, "source");
        copied
    }

    /// What is stored under the one key that there is.
    #[track_caller]
    fn only(&self, key: &str) -> Bytes {
        assert_eq!(self.server.keys(BUCKET), [key]);
        assert!(self.server.uploads(BUCKET).is_empty());
        self.server.get(BUCKET, key).unwrap()
    }

    /// Does one of the ways to write.
    async fn write(&self, op: Op, precondition: Precondition) -> Result<Entry> {
        match op {
            Op::Put => self.put("a", precondition).await,
            Op::CompleteUpload => self.upload("a", precondition).await,
            _ => self.copy("a", precondition).await,
        }
    }

    fn prepare(&self, condition: &str, before: Option<&'static [u8]>) -> Precondition {
        self.server.clear(BUCKET);
        self.server.clear_faults();
        self.server.reset_calls();
        match (condition, before) {
            (_, Some(content)) => {
                let there = self.server.put(BUCKET, "a", content);
                Precondition::Version(Version(there.etag))
            }
            ("absent", _) => Precondition::Absent,
            _ => Precondition::Any,
        }
    }
}

/// The conditions, each with what must be there for it to be met.
const CONDITIONS: [(&str, Option<&'static [u8]>); 3] = [
    ("any", None),
    ("absent", None),
    ("version", Some(b"before")),
];

const WRITES: [Op; 3] = [Op::Put, Op::CompleteUpload, Op::Copy];

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_carried_out_once() {
    let remote = remote();
    for op in WRITES {
        for (condition, before) in CONDITIONS {
            for then in [
                Then::DropAfter,
                Then::DropBefore,
                Then::ErrorAfter {
                    status: 500,
                    code: "InternalError".to_owned(),
                },
                Then::slow_down(None),
            ] {
                let precondition = remote.prepare(condition, before);
                let shown = format!("{op} on {condition}, {then:?}");
                remote.server.fault(When::op(op), then);
                let entry = remote.write(op, precondition).await;
                let entry = entry.unwrap_or_else(|error| panic!("{shown}: {error}"));
                assert_eq!(remote.only("a"), OURS, "{shown}");
                let stored = remote.server.object(BUCKET, "a").unwrap();
                assert_eq!(entry.version, Some(Version(stored.etag)), "{shown}");
                remote.server.assert_faults_reached();
            }
        }
    }
}

#[tokio::test]
async fn an_object_that_a_stranger_wrote_after_the_lost_answer_stays() {
    let remote = remote();
    for op in WRITES {
        for (condition, before) in CONDITIONS {
            if condition == "any" && op != Op::CompleteUpload {
                // Who asks for no condition overwrites.
                continue;
            }
            for first in [Then::DropAfter, Then::DropBefore] {
                if condition == "any" && matches!(first, Then::DropBefore) {
                    continue;
                }
                let precondition = remote.prepare(condition, before);
                let shown = format!("{op} on {condition}, {first:?}");
                remote.server.fault(When::op(op), first);
                let strike = |access: &ows_testkit::s3::Access| {
                    access.put(BUCKET, "a", THEIRS);
                };
                remote.server.fault(When::op(op), Then::race(strike));
                let error = remote.write(op, precondition).await.unwrap_err();
                assert!(error.is_race(), "{shown}: {error}");
                let content = remote.server.get(BUCKET, "a").unwrap();
                assert_eq!(content, THEIRS, "{shown}");
                remote.server.assert_faults_reached();
            }
        }
    }
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_is_proven_by_its_content_where_tags_are_no_md5() {
    let remote = remote();
    remote
        .server
        .set_quirks(|quirks| quirks.etags = ETags::Random);
    let precondition = remote.prepare("absent", None);
    remote.server.fault(When::op(Op::Put), Then::DropAfter);
    remote.put("a", precondition).await.unwrap();
    assert_eq!(remote.only("a"), OURS);
    assert_eq!(remote.server.count(Op::Get), 1);
}

#[tokio::test]
async fn a_delete_whose_answer_was_lost_removes_no_stranger() {
    let remote = remote();
    for stranger in [false, true] {
        let precondition = remote.prepare("version", Some(b"before"));
        remote.server.fault(When::op(Op::Delete), Then::DropAfter);
        if stranger {
            let strike = |access: &ows_testkit::s3::Access| {
                access.put(BUCKET, "a", THEIRS);
            };
            remote
                .server
                .fault(When::op(Op::Delete), Then::race(strike));
        }
        let deleted = remote.provider.delete(&path("a"), precondition).await;
        if stranger {
            assert_eq!(deleted.unwrap_err().kind, ErrorKind::PreconditionFailed);
            assert_eq!(remote.only("a"), THEIRS);
        } else {
            deleted.unwrap();
            assert!(remote.server.keys(BUCKET).is_empty());
        }
        remote.server.assert_faults_reached();
    }
}

#[tokio::test]
async fn every_attempt_is_counted_and_the_wait_that_the_store_asks_for_is_kept() {
    let remote = remote();
    remote.server.put(BUCKET, "a", OURS);
    remote
        .server
        .fault(When::op(Op::Head), Then::slow_down(Some(1)));
    let started = Instant::now();
    remote.provider.stat(&path("a")).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(remote.server.count(Op::Head), 2);
    assert_eq!(remote.counter.counts().of(Operation::Stat), 2);

    // A page of a listing waits as well.
    remote
        .server
        .fault(When::op(Op::List), Then::slow_down(Some(1)));
    let started = Instant::now();
    let items = remote.provider.list(ows_providers::ListOptions::default());
    let items: Vec<_> = items.try_collect().await.unwrap();
    assert_eq!(items.len(), 1);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(remote.counter.counts().of(Operation::List), 2);
    remote.server.assert_faults_reached();
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_broke() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for range in [None, Some(1_000..2_900_000)] {
        let remote = remote();
        remote.server.put(BUCKET, "a", content.clone());
        remote
            .server
            .fault(When::op(Op::Get).times(2), Then::CutBody);
        let options = GetOptions {
            range: range.clone(),
            version: None,
        };
        let download = remote.provider.get(&path("a"), options).await.unwrap();
        let pieces: Vec<Bytes> = download.body.try_collect().await.unwrap();
        let whole = range.unwrap_or(0..content.len() as u64);
        let expected = &content[whole.start as usize..whole.end as usize];
        assert!(pieces.concat() == expected);
        assert_eq!(remote.server.count(Op::Get), 3);
        // What had come was not sent again; what was on its way when the connection broke may have been lost.
        let down = remote.counter.counts().bytes_down;
        assert_eq!(down, expected.len() as u64);
        remote.server.assert_faults_reached();
    }
}

#[tokio::test]
async fn a_download_of_an_object_that_changed_meanwhile_does_not_go_on() {
    let remote = remote();
    remote.server.put(BUCKET, "a", vec![1; 1_000_000]);
    remote.server.fault(When::op(Op::Get), Then::CutBody);
    remote.server.fault(
        When::op(Op::Get),
        Then::race(|access| {
            access.put(BUCKET, "a", vec![2; 1_000_000]);
        }),
    );
    let at = path("a");
    let download = remote.provider.get(&at, GetOptions::default());
    let body = download.await.unwrap().body;
    let error = body.try_collect::<Vec<Bytes>>().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PreconditionFailed);
    remote.server.assert_faults_reached();
}

/// The clock stands still but for what the test moves it by: a thread that may block keeps it from moving by itself
/// while the server is waited for.
#[tokio::test]
async fn a_store_that_hangs_is_given_up_and_asked_again() {
    let remote = remote();
    remote.server.put(BUCKET, "a", OURS);
    remote.server.fault(When::op(Op::Head), Then::Hang);
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    tokio::time::pause();
    let blocker = tokio::task::spawn_blocking(move || finished.recv());
    let provider = Arc::clone(&remote.provider);
    let asking = tokio::spawn(async move { provider.stat(&path("a")).await });
    while remote.server.count(Op::Head) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!asking.is_finished());
    // Longer than any request without a body may wait, and than the pause before the next attempt.
    tokio::time::advance(Duration::from_secs(61)).await;
    while !asking.is_finished() {
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    let entry = asking.await.unwrap().unwrap();
    assert_eq!(entry.size, OURS.len() as u64);
    assert_eq!(remote.server.count(Op::Head), 2);
    remote.server.assert_faults_reached();
    drop(finish);
    assert!(blocker.await.unwrap().is_err());
}
