//! Listings: whole, in order, and only what was asked for.

use futures::StreamExt as _;
use futures::stream;
use ows_providers::{EntryKind, ErrorKind, ListOptions, Listed, SortKey};

use super::{Fixture, fails, path};

/// Puts empty files.
async fn fill(fixture: &Fixture, names: &[&str]) {
    for name in names {
        fixture.put(name, b"").await;
    }
}

/// What is expected where folders are listed (they end in `/`), and where they are not.
fn expected(fixture: &Fixture, keys: &[&str]) -> Vec<String> {
    let shown = |key: &&&str| fixture.has_folders() || !key.ends_with('/');
    keys.iter().filter(shown).map(ToString::to_string).collect()
}

fn below(folder: &str) -> ListOptions {
    ListOptions {
        below: Some(path(folder)),
        ..ListOptions::default()
    }
}

pub async fn an_empty_root_lists_nothing(fixture: &Fixture) {
    assert!(fixture.keys(ListOptions::default()).await.is_empty());
}

pub async fn items_come_in_the_order_of_their_keys(fixture: &Fixture) {
    fill(
        fixture,
        &[
            "b", "a/b", "a0", "a-b", "a/c/d", "a/b-", "Z", "ä", "a/b0/x", " ", "~",
        ],
    )
    .await;
    let keys = fixture.keys(ListOptions::default()).await;
    let expected = expected(
        fixture,
        &[
            " ", "Z", "a-b", "a/", "a/b", "a/b-", "a/b0/", "a/b0/x", "a/c/", "a/c/d", "a0", "b",
            "~", "ä",
        ],
    );
    assert_eq!(keys, expected);
}

pub async fn more_than_one_page_is_listed_whole(fixture: &Fixture) {
    // One less than two pages, two pages, and one more, the folder among them.
    let page = fixture.page_size;
    let mut names: Vec<String> = (0..page * 2 - 2).map(|n| format!("f/{n:06}")).collect();
    let puts = names.iter().map(|name| fixture.put(name, b""));
    stream::iter(puts)
        .buffer_unordered(16)
        .collect::<Vec<_>>()
        .await;
    for number in 0..3 {
        let keys = fixture.keys(below("f")).await;
        assert_eq!(keys, names);
        let all = fixture.keys(ListOptions::default()).await;
        assert_eq!(all.len(), names.len() + usize::from(fixture.has_folders()));
        let name = format!("f/x{number}");
        fixture.put(&name, b"").await;
        names.push(name);
    }
}

pub async fn a_listing_below_a_folder_holds_only_that(fixture: &Fixture) {
    fill(
        fixture,
        &[
            "a/b/1", "a/b/c/2", "a/b-/3", "a/b0/4", "a/bb/5", "a/6", "b/b/7", "ab",
        ],
    )
    .await;
    let keys = fixture.keys(below("a/b")).await;
    assert_eq!(keys, expected(fixture, &["a/b/1", "a/b/c/", "a/b/c/2"]));
}

pub async fn a_shallow_listing_holds_only_children(fixture: &Fixture) {
    fill(
        fixture,
        &["a/b/1", "a/b/2", "a/c", "a/d/e/f", "a-", "a0", "z/1"],
    )
    .await;
    let shallow = |options| ListOptions {
        shallow: true,
        ..options
    };
    let keys = fixture.keys(shallow(ListOptions::default())).await;
    assert_eq!(keys, ["a-", "a/", "a0", "z/"]);
    let keys = fixture.keys(shallow(below("a"))).await;
    assert_eq!(keys, ["a/b/", "a/c", "a/d/"]);
    let skipping = ListOptions {
        skip: vec![path("a/b")],
        ..shallow(below("a"))
    };
    assert_eq!(fixture.keys(skipping).await, ["a/c", "a/d/"]);
}

pub async fn skipped_folders_are_not_entered(fixture: &Fixture) {
    fill(
        fixture,
        &[
            ".ows/trash/1",
            ".ows/x",
            ".ows-",
            ".owst/2",
            "a/.ows/3",
            "a/b/4",
            "a/c",
        ],
    )
    .await;
    let options = ListOptions {
        skip: vec![path(".ows"), path("a/b"), path("nowhere")],
        ..ListOptions::default()
    };
    let keys = fixture.keys(options).await;
    let expected = expected(
        fixture,
        &[
            ".ows-", ".owst/", ".owst/2", "a/", "a/.ows/", "a/.ows/3", "a/c",
        ],
    );
    assert_eq!(keys, expected);

    // Only folders: a file of that name is content.
    let options = ListOptions {
        skip: vec![path("a/c")],
        below: Some(path("a")),
        ..ListOptions::default()
    };
    assert!(fixture.keys(options).await.contains(&"a/c".to_owned()));
}

pub async fn a_folder_that_is_missing(fixture: &Fixture) {
    fixture.put("a/b", b"").await;
    for name in ["missing", "a/missing", "a/b/c"] {
        let listed = fixture.list(below(name)).await;
        if fixture.has_folders() {
            fails(listed, ErrorKind::NotFound);
        } else {
            assert!(listed.unwrap().is_empty());
        }
    }
}

pub async fn entries_tell_what_the_capabilities_promise(fixture: &Fixture) {
    fixture.put("folder/a", b"content").await;
    let options = ListOptions {
        shallow: true,
        ..ListOptions::default()
    };
    let folder = fixture.entries(options).await.remove(0);
    assert_eq!(folder.sort_key(), SortKey::dir(path("folder")));
    assert_eq!((folder.kind, folder.size), (EntryKind::Dir, 0));
    let file = fixture.listed("folder/a").await;
    assert_eq!((file.kind, file.size), (EntryKind::File, 7));
    assert!(file.version.is_some() && file.modified_at_ns.is_some());
    let hash = fixture.provider.capabilities().hash;
    if hash.is_some_and(|hash| hash.difference_proves) {
        assert!(file.hash.is_some());
    }
}

pub async fn keys_that_are_no_paths_are_reported(fixture: &Fixture) {
    let Some(plant) = &fixture.plant else { return };
    let hostile = [
        "../x",
        "/a",
        "a//b",
        "a/./b",
        "a/../../etc/passwd",
        "b/",
        ".",
    ];
    for key in hostile {
        plant(key);
    }
    fill(fixture, &["a/b", "c"]).await;
    let mut unusable = Vec::new();
    let mut usable = Vec::new();
    for item in fixture.list(ListOptions::default()).await.unwrap() {
        match item {
            Listed::Entry(entry) => usable.push(entry.sort_key().to_text()),
            Listed::Unusable { key, reason } => {
                assert!(!reason.is_empty());
                unusable.push(key);
            }
            Listed::Unreadable { .. } => panic!("{item:?}"),
        }
    }
    assert_eq!(usable, expected(fixture, &["a/", "a/b", "c"]));
    // The marker of an empty folder may be taken for what it is; everything else is reported, by the name that the store
    // has it under.
    unusable.retain(|key| !key.ends_with("b/"));
    let hostile: Vec<&str> = (hostile.into_iter()).filter(|key| *key != "b/").collect();
    assert_eq!(unusable.len(), hostile.len(), "{unusable:?}");
    for key in hostile {
        assert!(unusable.iter().any(|shown| shown.ends_with(key)), "{key}");
    }
}
