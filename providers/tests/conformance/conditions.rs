//! Conditions: where the store enforces one it holds, and where the probe says that it does not, it does not.

use bytes::Bytes;
use futures::future::join_all;
use ows_providers::{ErrorKind, ListOptions, Precondition, Result};

use super::{Fixture, fails, on, other_version, path};

pub async fn creation_on_condition_of_absence(fixture: &Fixture) {
    let enforced = fixture.enforced().await.create_if_absent;
    let first = fixture
        .try_put("folder/a", b"first", on(Precondition::Absent))
        .await;
    if fixture.refuses {
        fails(first, ErrorKind::Unsupported);
        fails(fixture.stat("folder/a").await, ErrorKind::NotFound);
        return;
    }
    first.unwrap();
    let before = fixture.stat("folder/a").await.unwrap();
    let again = fixture
        .try_put("folder/a", b"second", on(Precondition::Absent))
        .await;
    if enforced {
        fails(again, ErrorKind::AlreadyExists);
        assert_eq!(fixture.read("folder/a").await.unwrap(), b"first");
        assert_eq!(fixture.stat("folder/a").await.unwrap(), before);
    } else {
        again.unwrap();
        assert_eq!(fixture.read("folder/a").await.unwrap(), b"second");
    }
}

pub async fn replacement_on_condition_of_a_version(fixture: &Fixture) {
    let enforced = fixture.enforced().await.replace_if_match;
    let first = fixture.put("a", b"first").await.version.unwrap();
    let second = fixture
        .try_put("a", b"second", on(Precondition::Version(first.clone())))
        .await;
    if fixture.refuses {
        fails(second, ErrorKind::Unsupported);
        assert_eq!(fixture.read("a").await.unwrap(), b"first");
        return;
    }
    let second = second.unwrap();
    let stale = fixture
        .try_put("a", b"third", on(Precondition::Version(first)))
        .await;
    let missing = fixture
        .try_put("missing", b"third", on(other_version()))
        .await;
    if enforced {
        fails(stale, ErrorKind::PreconditionFailed);
        fails(missing, ErrorKind::NotFound);
        assert_eq!(fixture.read("a").await.unwrap(), b"second");
        assert_eq!(fixture.stat("a").await.unwrap().version, second.version);
        fails(fixture.stat("missing").await, ErrorKind::NotFound);
    } else {
        stale.unwrap();
        assert_eq!(fixture.read("a").await.unwrap(), b"third");
    }
}

pub async fn deletion_on_condition_of_a_version(fixture: &Fixture) {
    let enforced = fixture.enforced().await.delete_if_match;
    let first = fixture.put("a", b"first").await.version.unwrap();
    let second = fixture.put("a", b"second").await.version.unwrap();
    let stale = fixture
        .provider
        .delete(&path("a"), Precondition::Version(first))
        .await;
    if enforced {
        fails(stale, ErrorKind::PreconditionFailed);
        assert_eq!(fixture.read("a").await.unwrap(), b"second");
    } else if !fixture.not_enforced(stale) {
        assert_eq!(fixture.read("a").await.unwrap(), b"second");
        return;
    }
    fixture
        .provider
        .delete(&path("a"), Precondition::Version(second))
        .await
        .unwrap();
    fails(fixture.stat("a").await, ErrorKind::NotFound);
}

/// Eight writers at once, each with a content of its own.
async fn race(fixture: &Fixture, precondition: Precondition) {
    let name = path("contested");
    let writers = (0..8_u8).map(|number| {
        let body = Bytes::from(vec![number; 2000]);
        fixture.provider.put(&name, body, on(precondition.clone()))
    });
    let results: Vec<Result<_>> = join_all(writers).await;
    let winners: Vec<usize> = (0..8).filter(|number| results[*number].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        // Some stores answer a write that comes in the middle of another with an error that passes.
        assert!(error.is_race() || error.is_transient(), "{error}");
    }
    let content = fixture.read("contested").await.unwrap();
    assert_eq!(content, vec![winners[0] as u8; 2000]);
}

pub async fn of_concurrent_creations_exactly_one_wins(fixture: &Fixture) {
    if fixture.enforced().await.create_if_absent {
        race(fixture, Precondition::Absent).await;
    }
}

pub async fn of_concurrent_replacements_exactly_one_wins(fixture: &Fixture) {
    if fixture.enforced().await.replace_if_match {
        let version = fixture.put("contested", b"before").await.version.unwrap();
        race(fixture, Precondition::Version(version)).await;
    }
}

pub async fn the_probe_finds_what_is_enforced(fixture: &Fixture) {
    if let Some(known) = fixture.enforces {
        assert_eq!(fixture.enforced().await, known);
    }
}

pub async fn probing_leaves_nothing_behind(fixture: &Fixture) {
    let found = fixture.enforced().await;
    assert!(fixture.keys(ListOptions::default()).await.is_empty());
    assert!(fixture.provider.list_uploads().await.unwrap().is_empty());

    // Beside what is there already, and again.
    fixture.put(".ows/trash/a", b"").await;
    let before = fixture.keys(ListOptions::default()).await;
    assert_eq!(fixture.enforced().await, found);
    assert_eq!(fixture.keys(ListOptions::default()).await, before);
    assert!(fixture.provider.list_uploads().await.unwrap().is_empty());
}
