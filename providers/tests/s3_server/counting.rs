//! Every request is counted, and nothing else is.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use ows_providers::layers::CallCounter;
use ows_providers::{
    CopyOptions, ErrorKind, ListOptions, Listed, Operation, Precondition, Provider, PutOptions,
    RelPath, Version,
};
use ows_testkit::s3::{Op, Server, Then, When};

use crate::setup::{BUCKET, connect, options};

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

#[tokio::test]
async fn every_request_is_counted_by_its_operation() {
    let server = Server::with_bucket(BUCKET);
    let counter = CallCounter::new();
    let mut options = options(&server);
    options.counter = Some(Arc::clone(&counter));
    let provider = connect(options);
    let put = provider
        .put(&path("a"), Bytes::from_static(b"1"), PutOptions::default())
        .await
        .unwrap();
    // A copy with another time reads the source first.
    let copying = CopyOptions {
        source: put.version,
        precondition: Precondition::Any,
        size: 1,
        mtime_ns: Some(5),
    };
    provider
        .copy(&path("a"), &path("b"), copying)
        .await
        .unwrap();
    // A delete whose condition fails looks whether there is anything left to delete.
    let stale = Precondition::Version(Version("0".repeat(32)));
    let error = provider.delete(&path("a"), stale).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PreconditionFailed);
    let counts = counter.counts();
    assert_eq!(counts.of(Operation::Put), 1);
    assert_eq!(counts.of(Operation::Copy), 2);
    assert_eq!(counts.of(Operation::Delete), 2);
    assert_eq!(counts.total, server.calls().values().sum::<u64>());
    assert_eq!(counts.total, provider.http_requests());
}

#[tokio::test]
async fn pages_and_their_repetitions_are_counted() {
    let server = Server::with_bucket(BUCKET);
    server.fill(BUCKET, "", 25);
    server.set_quirks(|quirks| quirks.page_size = 10);
    server.fault(When::op(Op::List).nth(2).times(2), Then::slow_down(None));
    let counter = CallCounter::new();
    let mut options = options(&server);
    options.counter = Some(Arc::clone(&counter));
    let provider = connect(options);
    let all: Vec<Listed> = (provider.list(ListOptions::default()))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(all.len(), 25);
    assert_eq!(counter.counts().of(Operation::List), 5);
    server.assert_faults_reached();
}
