//! The S3 adapter against a server that others wrote: moto, MinIO, Garage, or a real bucket.
//!
//! Runs when `OWS_TEST_S3_ENDPOINT` and `OWS_TEST_S3_BUCKET` are set, with keys from `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`, and `OWS_TEST_S3_CA_FILE` where the server's certificate needs it; says that it was skipped otherwise.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and says when it is skipped"
)]

use bytes::Bytes;
use futures::TryStreamExt;
use md5::{Digest, Md5};
use ows_providers::http::HttpOptions;
use ows_providers::layers::RetryPolicy;
use ows_providers::s3::{S3Credentials, S3Options, S3Provider};
use ows_providers::{
    CopyOptions, ErrorKind, GetOptions, ListOptions, Listed, Precondition, Provider, PutOptions,
    RelPath, UploadOptions, Version,
};

const MIB: usize = 1 << 20;
const NAMES: [&str; 18] = [
    "plain",
    "a b",
    "a+b",
    "100%",
    "%41",
    "%2e%2e",
    "#hash",
    "what?",
    "x&y=z",
    "it's",
    "star*",
    "tilde~",
    ".hidden",
    "..dots",
    "é/日本/🦀",
    "quote\"<>\\",
    "semi;colon,:@!$()[]{}|^`",
    "a/b/c",
];

fn provider(prefix: &str) -> Option<S3Provider> {
    let variable = |name: &str| std::env::var(name).ok();
    let (endpoint, bucket) = (
        variable("OWS_TEST_S3_ENDPOINT"),
        variable("OWS_TEST_S3_BUCKET"),
    );
    let (Some(endpoint), Some(bucket)) = (endpoint, bucket) else {
        eprintln!("skipped: OWS_TEST_S3_ENDPOINT and OWS_TEST_S3_BUCKET are not set");
        return None;
    };
    let run = hex::encode(rand::random::<[u8; 6]>());
    let options = S3Options {
        endpoint: Some(endpoint),
        bucket,
        prefix: format!("ows test+{run}/{prefix}"),
        region: None,
        credentials: S3Credentials::Chain,
        force_path_style: None,
        sse: None,
        storage_class: None,
        http: HttpOptions {
            ca_file: variable("OWS_TEST_S3_CA_FILE").map(Into::into),
            ..HttpOptions::default()
        },
        list_retry: RetryPolicy::metadata(),
        counter: None,
    };
    Some(S3Provider::new(options).unwrap())
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

async fn put(provider: &S3Provider, name: &str, body: &'static str) -> Version {
    let body = Bytes::from_static(body.as_bytes());
    let entry = provider
        .put(&path(name), body, PutOptions::default())
        .await
        .unwrap();
    entry.version.unwrap()
}

async fn names(provider: &S3Provider, options: ListOptions) -> Vec<String> {
    let listed: Vec<Listed> = provider.list(options).try_collect().await.unwrap();
    listed
        .into_iter()
        .map(|item| match item {
            Listed::Entry(entry) => entry.sort_key().to_text(),
            other => panic!("{other:?}"),
        })
        .collect()
}

async fn clear(provider: &S3Provider) {
    for name in names(provider, ListOptions::default()).await {
        provider
            .delete(&path(&name), Precondition::Any)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn odd_names_survive_every_call() {
    let Some(provider) = provider("odd é") else {
        return;
    };
    for name in NAMES {
        let at = path(name);
        let mtime = 1_700_000_000_123_456_789;
        let options = PutOptions {
            mtime_ns: Some(mtime),
            precondition: Precondition::Absent,
            md5: None,
        };
        let put = provider
            .put(&at, Bytes::from_static(b"hello"), options)
            .await
            .unwrap();
        let stat = provider.stat(&at).await.unwrap();
        assert_eq!(stat.version, put.version, "{name}");
        assert_eq!(stat.mtime_ns, Some(mtime));
        assert_eq!(stat.hash.unwrap().bytes, Md5::digest(b"hello").to_vec());
        let options = GetOptions {
            range: Some(1..3),
            version: put.version.clone(),
        };
        let download = provider.get(&at, options).await.unwrap();
        assert_eq!(download.entry.size, 5);
        let body: Vec<Bytes> = download.body.try_collect().await.unwrap();
        assert_eq!(body.concat(), b"el");

        let copy = path(&format!("copies/{name}"));
        let options = CopyOptions {
            source: put.version.clone(),
            precondition: Precondition::Any,
            size: 5,
            mtime_ns: None,
        };
        provider.copy(&at, &copy, options.clone()).await.unwrap();
        assert_eq!(provider.stat(&copy).await.unwrap().mtime_ns, Some(mtime));
        let options = CopyOptions {
            mtime_ns: Some(1_500_000_000),
            ..options
        };
        provider.copy(&at, &copy, options).await.unwrap();
        assert_eq!(
            provider.stat(&copy).await.unwrap().mtime_ns,
            Some(1_500_000_000)
        );
    }
    let mut expected: Vec<String> = NAMES
        .iter()
        .flat_map(|name| [(*name).to_owned(), format!("copies/{name}")])
        .collect();
    expected.sort();
    assert_eq!(names(&provider, ListOptions::default()).await, expected);
    let shallow = ListOptions {
        shallow: true,
        ..ListOptions::default()
    };
    let top = names(&provider, shallow).await;
    assert!(top.contains(&"é/".to_owned()) && top.contains(&"a/".to_owned()));
    assert!(top.is_sorted());
    let below = ListOptions {
        below: Some(path("é/日本")),
        ..ListOptions::default()
    };
    assert_eq!(names(&provider, below).await, ["é/日本/🦀"]);
    let skip = ListOptions {
        skip: vec![path("copies")],
        ..ListOptions::default()
    };
    assert_eq!(names(&provider, skip).await.len(), NAMES.len());
    clear(&provider).await;
    assert!(names(&provider, ListOptions::default()).await.is_empty());
}

#[tokio::test]
async fn conditions_are_probed_and_nothing_stays() {
    let Some(provider) = provider("probe") else {
        return;
    };
    let enforcement = provider.probe().await.unwrap();
    eprintln!("{enforcement:?}");
    assert!(names(&provider, ListOptions::default()).await.is_empty());
    assert!(provider.list_uploads().await.unwrap().is_empty());
    let at = path("a");
    let first = put(&provider, "a", "1").await;
    let second = put(&provider, "a", "2").await;
    let with = |precondition| PutOptions {
        precondition,
        ..PutOptions::default()
    };
    let body = Bytes::from_static(b"3");
    if enforcement.create_if_absent {
        let error = provider
            .put(&at, body.clone(), with(Precondition::Absent))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists);
    }
    if enforcement.replace_if_match {
        let stale = with(Precondition::Version(first.clone()));
        let error = provider.put(&at, body.clone(), stale).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::PreconditionFailed);
        let gone = with(Precondition::Version(first.clone()));
        let error = provider.put(&path("gone"), body, gone).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
    if enforcement.delete_if_match {
        let stale = Precondition::Version(first);
        let error = provider.delete(&at, stale).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::PreconditionFailed);
    }
    provider
        .delete(&at, Precondition::Version(second.clone()))
        .await
        .unwrap();
    provider
        .delete(&at, Precondition::Version(second))
        .await
        .unwrap();
    provider.delete(&at, Precondition::Any).await.unwrap();
    assert_eq!(
        provider.stat(&at).await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    assert!(provider.clock().is_some());
    clear(&provider).await;
}

#[tokio::test]
async fn an_upload_in_parts_can_be_resumed_and_completed_twice() {
    let Some(provider) = provider("parts") else {
        return;
    };
    let content: Vec<u8> = (0..11 * MIB).map(|index| (index % 251) as u8).collect();
    let content = Bytes::from(content);
    let md5: [u8; 16] = Md5::digest(&content).into();
    let at = path("dir/big file+");
    let options = UploadOptions {
        size: Some(content.len() as u64),
        part_size: 5 * MIB as u64,
        mtime_ns: Some(1_600_000_000_500_000_000),
        md5: Some(md5),
    };
    let upload = provider.start_upload(&at, options).await.unwrap();
    assert_eq!(
        provider.stat(&at).await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    provider
        .put_part(&upload, 2, content.slice(5 * MIB..10 * MIB))
        .await
        .unwrap();
    provider
        .put_part(&upload, 1, content.slice(..5 * MIB))
        .await
        .unwrap();
    provider
        .put_part(&upload, 3, content.slice(10 * MIB..))
        .await
        .unwrap();
    let unfinished = provider.list_uploads().await.unwrap();
    assert!(
        unfinished
            .iter()
            .any(|known| known.id == upload.id && known.path == at)
    );
    let parts = provider.list_parts(&upload).await.unwrap();
    assert_eq!(
        parts.iter().map(|part| part.number).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let done = provider
        .complete_upload(&upload, &parts, Precondition::Absent)
        .await
        .unwrap();
    // As if the answer had been lost.
    let again = provider
        .complete_upload(&upload, &parts, Precondition::Absent)
        .await
        .unwrap();
    assert_eq!(again.version, done.version);
    let stat = provider.stat(&at).await.unwrap();
    assert_eq!(stat.size, content.len() as u64);
    assert_eq!(stat.version, done.version);
    assert_eq!(stat.mtime_ns, Some(1_600_000_000_500_000_000));
    assert_eq!(stat.hash.unwrap().bytes, md5);
    let download = provider.get(&at, GetOptions::default()).await.unwrap();
    let body: Vec<Bytes> = download.body.try_collect().await.unwrap();
    assert_eq!(body.concat(), content);

    let options = UploadOptions {
        size: Some(1),
        part_size: 5 * MIB as u64,
        mtime_ns: None,
        md5: None,
    };
    let given_up = provider.start_upload(&path("x"), options).await.unwrap();
    provider.abort_upload(&given_up).await.unwrap();
    provider.abort_upload(&given_up).await.unwrap();
    let error = provider.list_parts(&given_up).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    clear(&provider).await;
}

#[tokio::test]
async fn a_thousand_objects_cost_one_call() {
    let Some(provider) = provider("many") else {
        return;
    };
    for index in 0..1_050 {
        put(&provider, &format!("f{index:04}"), "").await;
    }
    for index in 0..30 {
        put(&provider, &format!(".ows/trash/{index:04}"), "").await;
    }
    let before = provider.http_requests();
    let skip = ListOptions {
        skip: vec![path(".ows")],
        ..ListOptions::default()
    };
    assert_eq!(names(&provider, skip).await.len(), 1_050);
    assert_eq!(provider.http_requests() - before, 2);
    clear(&provider).await;
}

#[tokio::test]
async fn a_missing_object_and_bucket_are_not_found() {
    let Some(provider) = provider("none") else {
        return;
    };
    let error = provider
        .get(&path("a"), GetOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(names(&provider, ListOptions::default()).await.is_empty());
}
