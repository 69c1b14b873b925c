//! Uploads in parts.

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use ows_providers::hash::ContentHashes;
use ows_providers::{ErrorKind, ListOptions, Part, Precondition, Upload, UploadOptions};

use super::{Fixture, fails, other_version, path};

/// The content of an upload: two whole parts and a bit, of the smallest size allowed.
struct Content {
    part_size: usize,
    bytes: Bytes,
}

impl Content {
    fn new(fixture: &Fixture, seed: u8) -> Self {
        let part_size = fixture.provider.capabilities().parts.min.max(1000) as usize;
        let bytes = (0..part_size * 2 + 77)
            .map(|index| (index / 251) as u8 ^ (index % 251) as u8 ^ seed)
            .collect();
        Self { part_size, bytes }
    }

    fn part(&self, number: u32) -> Bytes {
        let start = (number as usize - 1) * self.part_size;
        let end = (start + self.part_size).min(self.bytes.len());
        self.bytes.slice(start..end)
    }

    fn options(&self) -> UploadOptions {
        UploadOptions {
            size: Some(self.bytes.len() as u64),
            part_size: self.part_size as u64,
            mtime_ns: None,
            md5: None,
        }
    }
}

async fn start(fixture: &Fixture, name: &str, content: &Content) -> Upload {
    let provider = &fixture.provider;
    provider
        .start_upload(&path(name), content.options())
        .await
        .unwrap()
}

async fn put_parts(fixture: &Fixture, upload: &Upload, content: &Content) -> Vec<Part> {
    let parts = (1..=3).map(|number| {
        fixture
            .provider
            .put_part(upload, number, content.part(number))
    });
    try_join_all(parts).await.unwrap()
}

pub async fn an_upload_in_parts_becomes_one_file(fixture: &Fixture) {
    let content = Content::new(fixture, 0);
    let upload = start(fixture, "new/folder/a", &content).await;
    assert_eq!(upload.path, path("new/folder/a"));
    let size = content.bytes.len() as u64;
    assert_eq!(upload.size, Some(size));
    let mut parts = Vec::new();
    for number in 1..=3 {
        let body = content.part(number);
        let length = body.len() as u64;
        let part = fixture
            .provider
            .put_part(&upload, number, body)
            .await
            .unwrap();
        assert_eq!((part.number, part.size), (number, length));
        parts.push(part);
    }
    let entry = fixture
        .provider
        .complete_upload(&upload, &parts, Precondition::Any)
        .await
        .unwrap();
    assert_eq!(entry.path, upload.path);
    assert_eq!(entry.size, size);
    assert!(fixture.read("new/folder/a").await.unwrap() == content.bytes);
    let stat = fixture.stat("new/folder/a").await.unwrap();
    assert_eq!((stat.size, &stat.version), (size, &entry.version));
    assert_eq!(fixture.listed("new/folder/a").await.version, entry.version);
    assert!(fixture.provider.list_uploads().await.unwrap().is_empty());
}

/// A stream, whose length only its end tells: of several parts, of one, of nothing.
pub async fn a_stream_of_unknown_length_becomes_one_file(fixture: &Fixture) {
    let content = Content::new(fixture, 11);
    let options = UploadOptions {
        size: None,
        ..content.options()
    };
    let provider = &fixture.provider;
    for (name, length) in [
        ("several", content.bytes.len()),
        ("even", 2 * content.part_size),
        ("one", 77),
        ("nothing", 0),
    ] {
        let bytes = content.bytes.slice(..length);
        let upload = provider
            .start_upload(&path(name), options.clone())
            .await
            .unwrap();
        assert_eq!((upload.size, &upload.path), (None, &path(name)));
        let pieces = (0..length.max(1)).step_by(content.part_size);
        let bodies = pieces.map(|start| bytes.slice(start..length.min(start + content.part_size)));
        let mut parts = Vec::new();
        // What is stored twice counts as it was stored last, though it was longer before.
        for (number, body) in (1..).zip(bodies) {
            let longer = content.bytes.slice(..content.part_size);
            provider.put_part(&upload, number, longer).await.unwrap();
            parts.push(provider.put_part(&upload, number, body).await.unwrap());
        }
        let entry = provider
            .complete_upload(&upload, &parts, Precondition::Any)
            .await
            .unwrap();
        assert_eq!(entry.size, length as u64, "{name}");
        assert!(fixture.read(name).await.unwrap() == bytes, "{name}");
        let stat = fixture.stat(name).await.unwrap();
        assert_eq!((stat.size, &stat.version), (entry.size, &entry.version));
    }
    assert!(provider.list_uploads().await.unwrap().is_empty());
}

/// Whatever of a stream is missing or misplaced keeps it from becoming visible.
pub async fn a_stream_with_a_gap_or_without_parts_is_refused(fixture: &Fixture) {
    let content = Content::new(fixture, 12);
    let options = UploadOptions {
        size: None,
        ..content.options()
    };
    let provider = &fixture.provider;
    let upload = provider.start_upload(&path("a"), options).await.unwrap();
    let parts = put_parts(fixture, &upload, &content).await;
    let gap = [parts[0].clone(), parts[2].clone()];
    for wrong in [&gap[..], &[]] {
        let completed = provider.complete_upload(&upload, wrong, Precondition::Any);
        assert!(completed.await.is_err());
    }
    fails(fixture.stat("a").await, ErrorKind::NotFound);
    provider.abort_upload(&upload).await.unwrap();
}

pub async fn parts_may_come_in_any_order_and_at_once(fixture: &Fixture) {
    let content = Content::new(fixture, 1);
    let upload = start(fixture, "a", &content).await;
    let mut parts = Vec::new();
    for number in [3, 1] {
        let body = content.part(number);
        let part = fixture.provider.put_part(&upload, number, body);
        parts.push(part.await.unwrap());
    }
    let twice = [2, 2].map(|number| {
        fixture
            .provider
            .put_part(&upload, number, content.part(number))
    });
    try_join_all(twice).await.unwrap();
    // Which of the two came last only the provider knows.
    let stored = fixture.provider.list_parts(&upload).await.unwrap();
    parts.push(stored[1].clone());
    parts.sort_by_key(|part| part.number);
    fixture
        .provider
        .complete_upload(&upload, &parts, Precondition::Any)
        .await
        .unwrap();
    assert!(fixture.read("a").await.unwrap() == content.bytes);
}

pub async fn a_part_that_is_stored_again_is_replaced(fixture: &Fixture) {
    let content = Content::new(fixture, 2);
    let other = Content::new(fixture, 3);
    let upload = start(fixture, "a", &content).await;
    put_parts(fixture, &upload, &other).await;
    let parts = put_parts(fixture, &upload, &content).await;
    assert_eq!(fixture.provider.list_parts(&upload).await.unwrap(), parts);
    fixture
        .provider
        .complete_upload(&upload, &parts, Precondition::Any)
        .await
        .unwrap();
    assert!(fixture.read("a").await.unwrap() == content.bytes);
}

pub async fn nothing_is_visible_before_completion(fixture: &Fixture) {
    fixture.put("old", b"before").await;
    let content = Content::new(fixture, 4);
    for name in ["new", "old"] {
        let upload = start(fixture, name, &content).await;
        put_parts(fixture, &upload, &content).await;
    }
    fails(fixture.stat("new").await, ErrorKind::NotFound);
    assert_eq!(fixture.read("old").await.unwrap(), b"before");
    assert_eq!(fixture.keys(ListOptions::default()).await, ["old"]);
}

pub async fn unfinished_uploads_are_listed_and_can_be_resumed(fixture: &Fixture) {
    let content = Content::new(fixture, 5);
    let provider = &fixture.provider;
    assert!(provider.list_uploads().await.unwrap().is_empty());
    let upload = start(fixture, "folder/a", &content).await;
    let other = start(fixture, "b", &content).await;
    let mut unfinished = provider.list_uploads().await.unwrap();
    unfinished.sort_by_key(|found| found.path.clone());
    let found: Vec<_> = unfinished
        .iter()
        .map(|found| (found.path.as_str(), found.id.as_str()))
        .collect();
    assert_eq!(
        found,
        [("b", other.id.as_str()), ("folder/a", upload.id.as_str())]
    );

    assert!(provider.list_parts(&upload).await.unwrap().is_empty());
    for number in [3, 1] {
        let body = content.part(number);
        provider.put_part(&upload, number, body).await.unwrap();
    }
    if !provider.capabilities().resumable_uploads {
        return;
    }
    // As a later process would: from what was stored.
    let stored = serde_json::to_string(&upload).unwrap();
    let upload: Upload = serde_json::from_str(&stored).unwrap();
    let mut parts = provider.list_parts(&upload).await.unwrap();
    let numbers: Vec<u32> = parts.iter().map(|part| part.number).collect();
    assert_eq!(numbers, [1, 3]);
    let body = content.part(2);
    parts.insert(1, provider.put_part(&upload, 2, body).await.unwrap());
    provider
        .complete_upload(&upload, &parts, Precondition::Any)
        .await
        .unwrap();
    assert!(fixture.read("folder/a").await.unwrap() == content.bytes);
}

pub async fn an_aborted_upload_is_gone(fixture: &Fixture) {
    let content = Content::new(fixture, 6);
    let provider = &fixture.provider;
    let upload = start(fixture, "a", &content).await;
    let parts = put_parts(fixture, &upload, &content).await;
    for _ in 0..2 {
        provider.abort_upload(&upload).await.unwrap();
        assert!(provider.list_uploads().await.unwrap().is_empty());
        fails(provider.list_parts(&upload).await, ErrorKind::NotFound);
    }
    let body = content.part(1);
    assert!(provider.put_part(&upload, 1, body).await.is_err());
    let completed = provider.complete_upload(&upload, &parts, Precondition::Any);
    assert!(completed.await.is_err());
    assert!(fixture.keys(ListOptions::default()).await.is_empty());
}

pub async fn completion_on_condition_of_absence(fixture: &Fixture) {
    let enforced = fixture.enforced().await.complete_if_absent;
    let content = Content::new(fixture, 7);
    let uploads = [
        start(fixture, "a", &content).await,
        start(fixture, "a", &content).await,
        start(fixture, "a", &content).await,
    ];
    let results = join_all(uploads.iter().map(async |upload| {
        let parts = put_parts(fixture, upload, &content).await;
        fixture
            .provider
            .complete_upload(upload, &parts, Precondition::Absent)
            .await
    }))
    .await;
    if fixture.refuses {
        for result in results {
            fails(result, ErrorKind::Unsupported);
        }
        fails(fixture.stat("a").await, ErrorKind::NotFound);
        return;
    }
    let wins = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(wins, if enforced { 1 } else { 3 });
    for error in results.into_iter().filter_map(Result::err) {
        assert!(
            error.kind == ErrorKind::AlreadyExists || error.is_transient(),
            "{error}"
        );
    }
    assert!(fixture.read("a").await.unwrap() == content.bytes);
}

pub async fn completion_on_condition_of_a_version(fixture: &Fixture) {
    let enforced = fixture.enforced().await.complete_if_match;
    let content = Content::new(fixture, 8);
    let first = fixture.put("a", b"first").await.version.unwrap();
    let second = fixture.put("a", b"second").await.version.unwrap();
    for (version, is_current) in [(first, false), (second, true)] {
        let upload = start(fixture, "a", &content).await;
        let parts = put_parts(fixture, &upload, &content).await;
        let completed = fixture
            .provider
            .complete_upload(&upload, &parts, Precondition::Version(version))
            .await;
        if fixture.refuses {
            fails(completed, ErrorKind::Unsupported);
            assert_eq!(fixture.read("a").await.unwrap(), b"second");
            return;
        }
        if is_current || !enforced {
            completed.unwrap();
            assert!(fixture.read("a").await.unwrap() == content.bytes);
            return;
        }
        fails(completed, ErrorKind::PreconditionFailed);
        assert_eq!(fixture.read("a").await.unwrap(), b"second");
        fixture.provider.abort_upload(&upload).await.unwrap();
    }
}

pub async fn completing_again_succeeds_while_the_file_is_ours(fixture: &Fixture) {
    let content = Content::new(fixture, 9);
    let provider = &fixture.provider;
    let upload = start(fixture, "a", &content).await;
    let parts = put_parts(fixture, &upload, &content).await;
    // Conditions that the store refuses are not sent by those who asked the probe.
    let absent = match fixture.refuses {
        true => Precondition::Any,
        false => Precondition::Absent,
    };
    let first = provider
        .complete_upload(&upload, &parts, absent.clone())
        .await
        .unwrap();
    for precondition in [Precondition::Absent, Precondition::Any, other_version()] {
        if fixture.refuses && precondition != Precondition::Any {
            continue;
        }
        let again = provider
            .complete_upload(&upload, &parts, precondition)
            .await
            .unwrap();
        assert_eq!((again.size, &again.version), (first.size, &first.version));
    }
    // A stranger's file in its place is not ours, and stays.
    fixture.put("a", b"theirs").await;
    let again = provider.complete_upload(&upload, &parts, absent);
    let error = again.await.unwrap_err();
    assert!(error.is_race(), "{error}");
    assert_eq!(fixture.read("a").await.unwrap(), b"theirs");
}

pub async fn uploads_keep_time_and_hash(fixture: &Fixture) {
    let content = Content::new(fixture, 10);
    let capabilities = fixture.provider.capabilities();
    let given = 1_600_000_000_123_456_789;
    let hashes = ContentHashes::of(&content.bytes);
    let options = UploadOptions {
        mtime_ns: Some(given),
        md5: Some(hashes.md5),
        ..content.options()
    };
    let upload = fixture
        .provider
        .start_upload(&path("a"), options)
        .await
        .unwrap();
    let parts = put_parts(fixture, &upload, &content).await;
    fixture
        .provider
        .complete_upload(&upload, &parts, Precondition::Any)
        .await
        .unwrap();
    let stat = fixture.stat("a").await.unwrap();
    if let Some(step) = capabilities.mtime_precision {
        let off = stat.mtime_ns.unwrap().abs_diff(given);
        assert!(u128::from(off) < step.as_nanos());
    }
    if let Some(hash) = capabilities.hash {
        // The MD5 that was given at the start, or the provider's own hash.
        assert_eq!(stat.hash, Some(hashes.get(hash.kind)));
        let listed = fixture.listed("a").await.hash;
        assert!(!hash.difference_proves || listed == stat.hash);
    }
}
