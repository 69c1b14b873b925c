//! Single files: writing, reading, looking, deleting.

use ows_providers::hash::ContentHashes;
use ows_providers::{EntryKind, ErrorKind, GetOptions, ListOptions, Precondition, PutOptions};

use super::{Fixture, fails, on, other_version, path};

pub async fn what_was_put_is_read_back(fixture: &Fixture) {
    let put = fixture.put("folder/file.txt", b"some content").await;
    assert_eq!(put.path, path("folder/file.txt"));
    assert_eq!(put.kind, EntryKind::File);
    assert_eq!(put.size, 12);
    assert!(put.version.is_some());
    assert_eq!(
        fixture.read("folder/file.txt").await.unwrap(),
        b"some content"
    );
    let stat = fixture.stat("folder/file.txt").await.unwrap();
    assert_eq!((stat.kind, stat.size), (EntryKind::File, 12));
    assert!(stat.modified_at_ns.is_some());
}

pub async fn what_is_missing_is_not_found(fixture: &Fixture) {
    fixture.put("folder/file", b"").await;
    for name in ["missing", "folder/missing", "missing/missing", "folder/fil"] {
        fails(fixture.stat(name).await, ErrorKind::NotFound);
        fails(fixture.read(name).await, ErrorKind::NotFound);
    }
    if !fixture.has_folders() {
        fails(fixture.stat("folder").await, ErrorKind::NotFound);
    }
}

pub async fn empty_files_are_files(fixture: &Fixture) {
    fixture.put("empty", b"").await;
    assert_eq!(fixture.read("empty").await.unwrap(), b"");
    let stat = fixture.stat("empty").await.unwrap();
    assert_eq!((stat.kind, stat.size), (EntryKind::File, 0));
    assert_eq!(fixture.listed("empty").await.size, 0);
}

pub async fn a_file_is_replaced_whole(fixture: &Fixture) {
    let first = fixture.put("a", b"a long first content").await;
    let second = fixture.put("a", b"short").await;
    assert_ne!(first.version, second.version);
    assert_eq!(fixture.read("a").await.unwrap(), b"short");
    assert_eq!(fixture.keys(ListOptions::default()).await, ["a"]);
}

pub async fn ranges_are_exact(fixture: &Fixture) {
    let content: Vec<u8> = (0..=255_u8).cycle().take(3000).collect();
    fixture.put("a", &content).await;
    for range in [0..1, 3..7, 999..1001, 2999..3000, 0..3000, 2500..4000] {
        let options = GetOptions {
            range: Some(range.clone()),
            version: None,
        };
        let download = fixture
            .provider
            .get(&path("a"), options.clone())
            .await
            .unwrap();
        assert_eq!(download.entry.size, 3000, "the entry is the whole object's");
        let read = fixture.read_with("a", options).await.unwrap();
        let end = (range.end as usize).min(content.len());
        assert_eq!(read, content[range.start as usize..end], "{range:?}");
    }
}

pub async fn reading_another_version_fails(fixture: &Fixture) {
    let of = |version| GetOptions {
        range: Some(0..2),
        version,
    };
    let first = fixture.put("a", b"first").await.version;
    assert_eq!(
        fixture.read_with("a", of(first.clone())).await.unwrap(),
        b"fi"
    );
    let second = fixture.put("a", b"second").await.version;
    fails(
        fixture.read_with("a", of(first)).await,
        ErrorKind::PreconditionFailed,
    );
    assert_eq!(fixture.read_with("a", of(second)).await.unwrap(), b"se");
}

pub async fn versions_are_the_same_in_every_answer(fixture: &Fixture) {
    for content in [&b"one"[..], b"", b"another"] {
        let put = fixture.put("folder/a", content).await;
        let stat = fixture.stat("folder/a").await.unwrap();
        assert_eq!(stat.version, put.version);
        assert_eq!(fixture.listed("folder/a").await.version, put.version);
        let download = fixture
            .provider
            .get(&path("folder/a"), GetOptions::default())
            .await
            .unwrap();
        assert_eq!(download.entry.version, put.version);
        if put.modified_at_ns.is_some() {
            assert_eq!(put.modified_at_ns, stat.modified_at_ns);
        }
    }
}

pub async fn modification_times_come_back(fixture: &Fixture) {
    let capabilities = fixture.provider.capabilities();
    for given in [
        1_600_000_000_123_456_789,
        1_600_000_001_000_000_000,
        4_102_444_800_999_999_999,
        0,
        -86_399_000_000_001,
    ] {
        let options = PutOptions {
            mtime_ns: Some(given),
            ..PutOptions::default()
        };
        fixture.try_put("a", b"content", options).await.unwrap();
        let stat = fixture.stat("a").await.unwrap().mtime_ns;
        let download = fixture
            .provider
            .get(&path("a"), GetOptions::default())
            .await
            .unwrap();
        assert_eq!(download.entry.mtime_ns, stat);
        let Some(step) = capabilities.mtime_precision else {
            assert_eq!(stat, None);
            continue;
        };
        let off = stat.unwrap().abs_diff(given);
        assert!(
            u128::from(off) < step.as_nanos(),
            "{given} came back as {stat:?}"
        );
        if capabilities.listing_has_mtime {
            assert_eq!(fixture.listed("a").await.mtime_ns, stat);
        }
    }
}

pub async fn hashes_are_those_of_the_content(fixture: &Fixture) {
    fixture.put("a", b"content").await;
    fixture.put("b", b"CONTENT").await;
    let listed = [fixture.listed("a").await, fixture.listed("b").await];
    let Some(promised) = fixture.provider.capabilities().hash else {
        assert!(listed.iter().all(|entry| entry.hash.is_none()));
        return;
    };
    let stat = fixture.stat("a").await.unwrap();
    for hash in listed
        .iter()
        .chain([&stat])
        .filter_map(|entry| entry.hash.as_ref())
    {
        assert_eq!(hash.kind, promised.kind);
    }
    if let (Some(first), Some(second)) = (&listed[0].hash, &listed[1].hash) {
        assert_ne!(first, second, "equal hashes prove equal content");
    }
    if promised.difference_proves {
        let hashes = ContentHashes::of(b"content");
        assert_eq!(listed[0].hash, Some(hashes.get(promised.kind)));
        assert_eq!(stat.hash, listed[0].hash);
    }
}

pub async fn large_bodies_arrive_whole(fixture: &Fixture) {
    let content: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    let options = PutOptions {
        md5: Some(ContentHashes::of(&content).md5),
        ..PutOptions::default()
    };
    fixture.try_put("large", &content, options).await.unwrap();
    assert!(fixture.read("large").await.unwrap() == content);
}

pub async fn deleting_removes_and_deleting_again_succeeds(fixture: &Fixture) {
    fixture.put("folder/a", b"content").await;
    fixture.put("folder/b", b"content").await;
    for precondition in [Precondition::Any, Precondition::Any, other_version()] {
        if fixture.refuses && precondition != Precondition::Any {
            continue;
        }
        fixture.delete("folder/a", precondition).await.unwrap();
        fails(fixture.stat("folder/a").await, ErrorKind::NotFound);
    }
    let nowhere = path("missing/folder/a");
    fixture
        .provider
        .delete(&nowhere, Precondition::Any)
        .await
        .unwrap();
    assert_eq!(fixture.read("folder/b").await.unwrap(), b"content");
}

pub async fn a_delete_on_condition_of_absence_is_refused(fixture: &Fixture) {
    fixture.put("a", b"content").await;
    let deleted = fixture.delete("a", Precondition::Absent).await;
    assert!(deleted.is_err());
    assert_eq!(fixture.read("a").await.unwrap(), b"content");
}

pub async fn the_provider_tells_its_time_and_its_identity(fixture: &Fixture) {
    let identity = fixture.provider.describe().await.unwrap();
    assert!(!identity.id.is_empty() && !identity.display.is_empty());
    fixture
        .try_put("a", b"", on(Precondition::Any))
        .await
        .unwrap();
    let stored = fixture.stat("a").await.unwrap().modified_at_ns.unwrap();
    let clock = fixture.provider.clock().unwrap();
    let off = clock.timestamp_nanos_opt().unwrap().abs_diff(stored);
    assert!(
        off < 60_000_000_000,
        "stored at {stored}, by a clock of {clock}"
    );
    assert_eq!(fixture.provider.describe().await.unwrap(), identity);
}
