//! Folders, where they exist by themselves.

use ows_providers::{EntryKind, ErrorKind, ListOptions};

use super::{Fixture, fails, path};

pub async fn folders_are_made_with_those_above_them(fixture: &Fixture) {
    if !fixture.has_folders() {
        return;
    }
    for _ in 0..2 {
        let made = fixture.provider.create_dir(&path("a/b/c")).await.unwrap();
        assert_eq!((made.path, made.kind), (path("a/b/c"), EntryKind::Dir));
        let keys = fixture.keys(ListOptions::default()).await;
        assert_eq!(keys, ["a/", "a/b/", "a/b/c/"]);
    }
    let stat = fixture.stat("a/b").await.unwrap();
    assert_eq!((stat.path, stat.kind), (path("a/b"), EntryKind::Dir));
    assert!(fixture.read("a/b").await.is_err());
}

pub async fn only_empty_folders_are_deleted(fixture: &Fixture) {
    if !fixture.has_folders() {
        return;
    }
    let provider = &fixture.provider;
    provider.create_dir(&path("a/b")).await.unwrap();
    fixture.put("a-/x", b"").await;
    fails(
        provider.delete_dir(&path("a")).await,
        ErrorKind::PreconditionFailed,
    );
    fails(
        provider.delete_dir(&path("a-")).await,
        ErrorKind::PreconditionFailed,
    );
    for name in ["a/b", "a", "a", "missing/folder"] {
        provider.delete_dir(&path(name)).await.unwrap();
    }
    assert_eq!(fixture.keys(ListOptions::default()).await, ["a-/", "a-/x"]);
}

pub async fn a_file_in_the_way_of_a_folder_stays(fixture: &Fixture) {
    if !fixture.has_folders() {
        return;
    }
    fixture.put("a", b"content").await;
    fixture.put("b/c", b"content").await;
    let provider = &fixture.provider;
    assert!(provider.create_dir(&path("a")).await.is_err());
    assert!(provider.create_dir(&path("a/b")).await.is_err());
    let below = fixture.try_put("a/b", b"", Default::default()).await;
    assert!(below.is_err());
    let instead = fixture.try_put("b", b"", Default::default()).await;
    assert!(instead.is_err());
    assert!(provider.delete_dir(&path("a")).await.is_err());
    assert_eq!(fixture.read("a").await.unwrap(), b"content");
    let keys = fixture.keys(ListOptions::default()).await;
    assert_eq!(keys, ["a", "b/", "b/c"]);
}

pub async fn stores_without_folders_say_so(fixture: &Fixture) {
    if fixture.has_folders() {
        return;
    }
    let name = path("a");
    fails(
        fixture.provider.create_dir(&name).await,
        ErrorKind::Unsupported,
    );
    fails(
        fixture.provider.delete_dir(&name).await,
        ErrorKind::Unsupported,
    );
}
