//! Copying and renaming.

use ows_providers::{
    CopyOptions, Entry, ErrorKind, ListOptions, Precondition, PutOptions, Version,
};

use super::{Fixture, fails, path};

fn plain(size: u64) -> CopyOptions {
    CopyOptions {
        source: None,
        precondition: Precondition::Any,
        size,
        mtime_ns: None,
    }
}

async fn source(fixture: &Fixture) -> Entry {
    let options = PutOptions {
        mtime_ns: Some(1_600_000_000_000_000_000),
        ..PutOptions::default()
    };
    fixture
        .try_put("from/a", b"content", options)
        .await
        .unwrap()
}

pub async fn a_copy_is_equal_to_its_source(fixture: &Fixture) {
    let from = source(fixture).await;
    let copied = fixture
        .provider
        .copy(&path("from/a"), &path("new/folder/b"), plain(from.size))
        .await;
    if !fixture.provider.capabilities().copy {
        fails(copied, ErrorKind::Unsupported);
        return;
    }
    let copied = copied.unwrap();
    assert_eq!((copied.path, copied.size), (path("new/folder/b"), 7));
    let (old, new) = (
        fixture.stat("from/a").await.unwrap(),
        fixture.stat("new/folder/b").await.unwrap(),
    );
    assert_eq!(new.version, copied.version);
    assert_eq!(new.mtime_ns, old.mtime_ns);
    for name in ["from/a", "new/folder/b"] {
        assert_eq!(fixture.read(name).await.unwrap(), b"content");
    }
    // Names with characters that URLs use.
    let odd = "new/a b+c%41&?#ü";
    fixture
        .provider
        .copy(&path("new/folder/b"), &path(odd), plain(7))
        .await
        .unwrap();
    fixture
        .provider
        .copy(&path(odd), &path("from/a"), plain(7))
        .await
        .unwrap();
    assert_eq!(fixture.read(odd).await.unwrap(), b"content");
}

pub async fn copies_obey_their_conditions(fixture: &Fixture) {
    if !fixture.provider.capabilities().copy {
        return;
    }
    let enforced = fixture.enforced().await;
    let from = source(fixture).await.version;
    let (a, b) = (path("from/a"), path("b"));
    let copy = async |options| fixture.provider.copy(&a, &b, options).await;
    let stale = CopyOptions {
        source: Some(Version("0".repeat(32))),
        ..plain(7)
    };
    fails(copy(stale).await, ErrorKind::PreconditionFailed);
    fails(fixture.stat("b").await, ErrorKind::NotFound);
    let right = CopyOptions {
        source: from,
        precondition: match fixture.refuses {
            true => Precondition::Any,
            false => Precondition::Absent,
        },
        ..plain(7)
    };
    copy(right.clone()).await.unwrap();

    if enforced.copy_if_absent {
        let before = fixture.put("b", b"theirs").await.version;
        fails(copy(right).await, ErrorKind::AlreadyExists);
        assert_eq!(fixture.stat("b").await.unwrap().version, before);
    }
    if enforced.copy_if_absent && enforced.replace_if_match {
        let old = fixture.put("b", b"older").await.version.unwrap();
        let now = fixture.put("b", b"newer").await.version.unwrap();
        let on = |version| CopyOptions {
            precondition: Precondition::Version(version),
            ..plain(7)
        };
        fails(copy(on(old)).await, ErrorKind::PreconditionFailed);
        assert_eq!(fixture.read("b").await.unwrap(), b"newer");
        copy(on(now)).await.unwrap();
        assert_eq!(fixture.read("b").await.unwrap(), b"content");
    }
    let missing = fixture
        .provider
        .copy(&path("missing"), &path("c"), plain(7))
        .await;
    fails(missing, ErrorKind::NotFound);
}

pub async fn a_renamed_file_is_at_the_new_name_only(fixture: &Fixture) {
    let from = source(fixture).await;
    let before = fixture.stat("from/a").await.unwrap();
    let renamed = fixture
        .provider
        .rename(&path("from/a"), &path("new/folder/b"), plain(from.size))
        .await;
    if !fixture.provider.capabilities().rename {
        fails(renamed, ErrorKind::Unsupported);
        return;
    }
    let renamed = renamed.unwrap();
    assert_eq!((renamed.path, renamed.size), (path("new/folder/b"), 7));
    fails(fixture.stat("from/a").await, ErrorKind::NotFound);
    let after = fixture.stat("new/folder/b").await.unwrap();
    assert_eq!(after.version, renamed.version);
    assert_eq!(after.mtime_ns, before.mtime_ns);
    assert_eq!(fixture.read("new/folder/b").await.unwrap(), b"content");
}

pub async fn renames_obey_their_conditions(fixture: &Fixture) {
    if !fixture.provider.capabilities().rename {
        return;
    }
    let enforced = fixture.enforced().await;
    let from = source(fixture).await.version;
    let (a, b) = (path("from/a"), path("b"));
    let rename = async |options| fixture.provider.rename(&a, &b, options).await;
    let stale = CopyOptions {
        source: Some(Version("0".repeat(32))),
        ..plain(7)
    };
    fails(rename(stale).await, ErrorKind::PreconditionFailed);
    assert_eq!(fixture.read("from/a").await.unwrap(), b"content");
    let right = CopyOptions {
        source: from,
        precondition: Precondition::Absent,
        ..plain(7)
    };
    if enforced.create_if_absent {
        fixture.put("b", b"theirs").await;
        fails(rename(right.clone()).await, ErrorKind::AlreadyExists);
        assert_eq!(fixture.read("b").await.unwrap(), b"theirs");
        assert_eq!(fixture.read("from/a").await.unwrap(), b"content");
        fixture
            .provider
            .delete(&b, Precondition::Any)
            .await
            .unwrap();
    }
    rename(right.clone()).await.unwrap();
    fails(rename(right).await, ErrorKind::NotFound);
    assert_eq!(fixture.read("b").await.unwrap(), b"content");
}

pub async fn a_folder_is_renamed_with_what_is_in_it(fixture: &Fixture) {
    let capabilities = fixture.provider.capabilities();
    if !capabilities.rename || !capabilities.folders {
        return;
    }
    for name in ["a/1", "a/b/2", "a-/3"] {
        fixture.put(name, name.as_bytes()).await;
    }
    let renamed = fixture
        .provider
        .rename(&path("a"), &path("c/d"), plain(0))
        .await
        .unwrap();
    assert_eq!(renamed.path, path("c/d"));
    let keys = fixture.keys(ListOptions::default()).await;
    let expected = ["a-/", "a-/3", "c/", "c/d/", "c/d/1", "c/d/b/", "c/d/b/2"];
    assert_eq!(keys, expected);
    assert_eq!(fixture.read("c/d/b/2").await.unwrap(), b"a/b/2");

    // A folder that is there is neither replaced nor merged with.
    let onto = fixture
        .provider
        .rename(&path("c/d"), &path("a-"), plain(0))
        .await;
    assert!(onto.is_err());
    let inside = fixture
        .provider
        .rename(&path("c"), &path("c/d/e"), plain(0))
        .await;
    assert!(inside.is_err());
    assert_eq!(fixture.keys(ListOptions::default()).await, expected);
}
