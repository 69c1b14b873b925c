use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};

use super::*;
use crate::layers::CallCounter;
use crate::{
    Entry, ErrorKind, ListOptions, Listed, Operation, Part, Precondition, Provider, PutOptions,
    RelPath, Result, UploadOptions,
};

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

async fn put(provider: &dyn Provider, name: &str, content: &'static [u8]) -> Result<Entry> {
    let body = Bytes::from_static(content);
    provider.put(&path(name), body, PutOptions::default()).await
}

async fn list(provider: &dyn Provider) -> Result<Vec<Listed>> {
    provider.list(ListOptions::default()).try_collect().await
}

fn describe(item: &Listed) -> String {
    match item {
        Listed::Entry(entry) => entry.sort_key().to_text(),
        Listed::Unusable { key, .. } => format!("unusable {key}"),
        Listed::Unreadable { path, .. } => format!("unreadable {path}"),
    }
}

#[tokio::test]
async fn hosts_share_one_remote_and_the_test_sees_it() {
    let store = MemoryStore::new(MemoryOptions::s3());
    let (here, there) = (store.provider(), store.provider());
    put(&*here, "a", b"from here").await.unwrap();
    assert_eq!(there.stat(&path("a")).await.unwrap().size, 9);
    store.insert("b", b"from the test");
    assert_eq!(here.stat(&path("b")).await.unwrap().size, 13);
    assert!(store.remove("a"));
    assert!(!store.remove("a"));
    assert_eq!(
        there.stat(&path("a")).await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    let files: Vec<_> = store.files().into_iter().collect();
    assert_eq!(files, [("b".to_owned(), b"from the test".to_vec())]);
}

#[tokio::test]
async fn the_same_calls_give_the_same_answers() {
    async fn answers() -> Vec<String> {
        let store = MemoryStore::new(MemoryOptions::drive());
        let provider = store.provider();
        let mut answers = Vec::new();
        for name in ["b", "a/c", "B"] {
            answers.push(format!("{:?}", put(&*provider, name, b"x").await));
        }
        answers.push(format!("{:?}", list(&*provider).await));
        answers
    }
    assert_eq!(answers().await, answers().await);
}

#[tokio::test]
async fn the_clock_stands_still_until_it_is_moved_and_times_are_coarse() {
    let store = MemoryStore::new(MemoryOptions::s3());
    let provider = store.provider();
    assert_eq!(provider.clock(), None);
    let start = store.now();
    assert_eq!(
        put(&*provider, "a", b"x").await.unwrap().modified_at_ns,
        None
    );
    assert_eq!(provider.clock(), Some(start));
    store.advance(Duration::from_millis(1999));
    put(&*provider, "b", b"x").await.unwrap();
    let stored = provider.stat(&path("b")).await.unwrap().modified_at_ns;
    let second = start + Duration::from_secs(1);
    assert_eq!(stored, second.timestamp_nanos_opt());
    let past: DateTime<Utc> = DateTime::UNIX_EPOCH;
    store.set_now(past);
    assert_eq!(provider.clock(), Some(past));
}

#[tokio::test]
async fn versions_follow_their_style() {
    for (versions, same_again) in [
        (VersionStyle::Etag, true),
        (VersionStyle::Revision, false),
        (VersionStyle::OpaqueEtag, false),
    ] {
        let store = MemoryStore::new(MemoryOptions {
            versions,
            ..MemoryOptions::s3()
        });
        let provider = store.provider();
        let first = put(&*provider, "a", b"x").await.unwrap().version;
        store.remove("a");
        let second = put(&*provider, "a", b"x").await.unwrap().version;
        assert_eq!(first == second, same_again, "{versions:?}");
    }
}

#[tokio::test]
async fn an_altering_store_answers_first_and_alters_then() {
    for (alteration, altered) in [
        (Alteration::Version, &b"x"[..]),
        (Alteration::Content, b"x\naltered by the store\n"),
    ] {
        let store = MemoryStore::new(MemoryOptions {
            alteration,
            ..MemoryOptions::s3()
        });
        let provider = store.provider();
        let answer = put(&*provider, "a", b"x").await.unwrap();
        assert_eq!(answer.size, 1);
        let stat = provider.stat(&path("a")).await.unwrap();
        assert_ne!(stat.version, answer.version);
        assert_eq!(store.get("a").unwrap(), altered);
    }
}

#[tokio::test]
async fn what_is_displaced_is_in_the_bin() {
    let store = MemoryStore::new(MemoryOptions::drive());
    let provider = store.provider();
    put(&*provider, "a", b"1").await.unwrap();
    put(&*provider, "A", b"2").await.unwrap();
    provider
        .delete(&path("a"), Precondition::Any)
        .await
        .unwrap();
    let kept = [
        ("a".to_owned(), b"1".to_vec()),
        ("a".to_owned(), b"2".to_vec()),
    ];
    assert_eq!(store.bin(), kept);
    assert!(store.files().is_empty());
}

#[tokio::test]
async fn case_alone_can_be_renamed() {
    let store = MemoryStore::new(MemoryOptions::drive());
    store.insert("Folder/name", b"x");
    let provider = store.provider();
    let options = crate::CopyOptions {
        source: None,
        precondition: Precondition::Absent,
        size: 1,
        mtime_ns: None,
    };
    provider
        .rename(&path("folder/name"), &path("folder/NAME"), options.clone())
        .await
        .unwrap();
    assert_eq!(
        store.files().into_keys().collect::<Vec<_>>(),
        ["Folder/NAME"]
    );
    provider
        .rename(&path("folder"), &path("FOLDER"), options)
        .await
        .unwrap();
    assert_eq!(
        store.files().into_keys().collect::<Vec<_>>(),
        ["FOLDER/NAME"]
    );
    assert_eq!(store.dirs(), ["FOLDER"]);
}

#[tokio::test]
async fn unreadable_folders_and_planted_keys_are_listed_as_such() {
    let store = MemoryStore::new(MemoryOptions::folder());
    for name in ["a/1", "b/2", "c"] {
        store.insert(name, b"");
    }
    store.set_unreadable("a", true);
    store.plant("b//x");
    let provider = store.provider();
    let items: Vec<String> = list(&*provider)
        .await
        .unwrap()
        .iter()
        .map(describe)
        .collect();
    assert_eq!(
        items,
        ["a/", "unreadable a", "b/", "unusable b//x", "b/2", "c"]
    );
    assert_eq!(store.planted(), ["b//x"]);
    store.set_unreadable("a", false);
    assert_eq!(list(&*provider).await.unwrap().len(), 6);
}

#[tokio::test]
async fn pages_are_read_when_they_are_reached() {
    let store = MemoryStore::new(MemoryOptions {
        page_size: 2,
        ..MemoryOptions::s3()
    });
    for name in ["a", "b", "c", "d", "e"] {
        store.insert(name, b"");
    }
    let counter = CallCounter::new();
    let provider = store.counted_provider(Arc::clone(&counter));
    let mut listing = provider.list(ListOptions::default());
    let mut seen = vec![describe(&listing.next().await.unwrap().unwrap())];
    store.insert("bb", b"");
    store.remove("d");
    while let Some(item) = listing.next().await {
        seen.push(describe(&item.unwrap()));
    }
    assert_eq!(seen, ["a", "b", "bb", "c", "e"]);
    assert_eq!(counter.counts().of(Operation::List), 3);
    assert_eq!(store.log().len(), 3);
}

#[tokio::test]
async fn a_root_can_be_lost() {
    let bucket = MemoryStore::new(MemoryOptions::s3());
    let folder = MemoryStore::new(MemoryOptions::folder());
    for store in [&bucket, &folder] {
        store.insert("a", b"");
        store.remove_root();
        let provider = store.provider();
        let error = list(&*provider).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(store.files().is_empty());
    }
    let error = put(&*bucket.provider(), "a", b"").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    put(&*folder.provider(), "a", b"").await.unwrap();
    assert_eq!(list(&*folder.provider()).await.unwrap().len(), 1);
    bucket.create_root();
    assert!(list(&*bucket.provider()).await.unwrap().is_empty());
}

#[tokio::test]
async fn calls_are_logged_with_their_outcome() {
    let store = MemoryStore::new(MemoryOptions::s3());
    let provider = store.provider();
    put(&*provider, "a", b"x").await.unwrap();
    let copy = crate::CopyOptions {
        source: None,
        precondition: Precondition::Any,
        size: 1,
        mtime_ns: None,
    };
    provider
        .copy(&path("missing"), &path("b"), copy)
        .await
        .unwrap_err();
    let logged = |operation, path: &str, failure| Logged {
        operation,
        path: path.to_owned(),
        failure,
    };
    let expected = [
        logged(Operation::Put, "a", None),
        logged(Operation::Copy, "missing -> b", Some(ErrorKind::NotFound)),
    ];
    assert_eq!(store.log(), expected);
    store.clear_log();
    assert!(store.log().is_empty());
}

#[tokio::test]
async fn rules_for_parts_are_kept() {
    let store = MemoryStore::new(MemoryOptions::s3());
    let provider = store.provider();
    let options = |size, part_size| UploadOptions {
        size: Some(size),
        part_size,
        mtime_ns: None,
        md5: None,
    };
    let (a, small) = (path("a"), Bytes::from(vec![0; 100]));
    // Too small a part size, and too many parts.
    assert!(provider.start_upload(&a, options(3000, 100)).await.is_err());
    let many = options(1024 * 10_001, 1024);
    assert!(provider.start_upload(&a, many).await.is_err());

    let upload = provider
        .start_upload(&a, options(3000, 1024))
        .await
        .unwrap();
    assert_eq!(store.uploads().len(), 1);
    let unequal = provider.put_part(&upload, 1, small.clone()).await;
    assert_eq!(unequal.unwrap_err().kind, ErrorKind::Permanent);
    let body = Bytes::from(vec![0; 1024]);
    let first = provider.put_part(&upload, 1, body).await.unwrap();
    let wrong = Part {
        tag: "other".to_owned(),
        ..first.clone()
    };
    for parts in [vec![], vec![first], vec![wrong]] {
        let completed = provider.complete_upload(&upload, &parts, Precondition::Any);
        assert_eq!(completed.await.unwrap_err().kind, ErrorKind::Permanent);
    }
    assert!(store.files().is_empty());
    provider.abort_upload(&upload).await.unwrap();
    assert!(store.uploads().is_empty());
}
