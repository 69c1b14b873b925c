//! What a folder of snapshots is taken for.

use ows::backup::catalog::Catalog;
use ows::backup::manifest::Encryption;
use ows::backup::name::{Part, RECOVER, SnapshotName};
use ows::error::FailureKind;
use ows_providers::layers::Fault;
use ows_providers::memory::MemoryOptions;
use ows_providers::{ErrorKind, Operation};

use super::store::{Store, TRANSIENT, snapshot};

async fn read(store: &Store) -> Catalog {
    Catalog::read(store.provider.as_ref(), Some(&store.state))
        .await
        .unwrap()
}

#[tokio::test]
async fn every_object_is_taken_for_what_it_is() {
    let store = Store::new(MemoryOptions::s3()).await;
    let (old, new) = (
        snapshot("2026-01-01T00:00:00Z"),
        snapshot("2026-01-02T00:00:00Z"),
    );
    store.plant(old, |_| ());
    store.plant(new, |manifest| manifest.profile = "other".to_owned());
    let damaged = snapshot("2026-01-03T00:00:00Z");
    store.plant(damaged, |_| ());
    store
        .store
        .insert(&damaged.object(Part::Manifest), b"{\"format\":1");
    let newer = snapshot("2026-01-04T00:00:00Z");
    store
        .store
        .insert(&newer.object(Part::Manifest), b"{\"format\":2}");
    let unlisted = snapshot("2026-01-05T00:00:00Z").object(Part::Index { encrypted: true });
    store.store.insert(&unlisted, b"x");
    store.store.insert(RECOVER, b"x");
    store
        .store
        .insert("backup-20260101T000000Z.tar.gz.enc", b"x");
    store.store.insert("backup-x.tar.gz", b"x");
    store.store.insert("photo.jpg", b"x");
    store
        .store
        .insert("folder/ows-20260101T000000Z-1a2b3c4d.index", b"x");

    let catalog = read(&store).await;
    let names: Vec<_> = catalog.snapshots.iter().map(|found| found.name).collect();
    assert_eq!(names, [new, old]);
    assert!(
        catalog
            .snapshots
            .iter()
            .all(|found| found.faults().is_empty())
    );
    assert_eq!(catalog.snapshots[0].objects.len(), 3);
    assert_eq!(catalog.snapshots[0].stored_bytes(), 14);
    let unusable: Vec<_> = catalog
        .unusable
        .iter()
        .map(|found| (found.name, found.newer))
        .collect();
    assert_eq!(unusable, [(newer, true), (damaged, false)]);
    assert_eq!(catalog.unusable[1].objects.len(), 3);
    let legacy: Vec<_> = catalog.legacy.iter().map(|old| old.name.as_str()).collect();
    assert_eq!(
        legacy,
        ["backup-20260101T000000Z.tar.gz.enc", "backup-x.tar.gz"]
    );
    assert_eq!(catalog.unlisted.len(), 1);
    assert!(catalog.unlisted[0].objects.contains_key(&unlisted));
    assert_eq!((catalog.foreign, catalog.has_recover), (1, true));
    assert_eq!(catalog.read_at, store.store.now());
}

#[tokio::test]
async fn a_folder_that_nobody_has_made_yet_is_empty() {
    let store = Store::new(MemoryOptions::folder()).await;
    store.store.remove_root();
    let catalog = read(&store).await;
    assert!(catalog.snapshots.is_empty() && !catalog.has_recover);
}

#[tokio::test]
async fn what_was_read_once_is_not_read_again() {
    let store = Store::new(MemoryOptions::s3()).await;
    let (old, new) = (
        snapshot("2026-01-01T00:00:00Z"),
        snapshot("2026-01-02T00:00:00Z"),
    );
    store.plant(old, |_| ());
    store.plant(new, |_| ());
    let gets = async || {
        store.counter.reset();
        let catalog = read(&store).await;
        (
            catalog.snapshots.len(),
            store.counter.counts().of(Operation::Get),
        )
    };
    assert_eq!(gets().await, (2, 2));
    assert_eq!(gets().await, (2, 0));
    // Another version is another content.
    store.plant(old, |manifest| manifest.host = "there".to_owned());
    assert_eq!(gets().await, (2, 1));
    assert!(store.store.remove(&new.object(Part::Manifest)));
    assert_eq!(gets().await, (1, 0));
    let kept = store.state.backup_manifests(&store.remote).await.unwrap();
    assert_eq!(kept.len(), 1);
    // A catalog without a database reads them all.
    store.counter.reset();
    Catalog::read(store.provider.as_ref(), None).await.unwrap();
    assert_eq!(store.counter.counts().of(Operation::Get), 1);
}

/// What could not be read could be the newest snapshot.
#[tokio::test]
async fn a_folder_is_read_to_its_end_or_not_at_all() {
    let store = Store::new(MemoryOptions::s3()).await;
    let name = snapshot("2026-01-01T00:00:00Z");
    store.plant(name, |_| ());
    for fault in [
        Fault::on(Operation::List).before(TRANSIENT),
        Fault::on(Operation::List).breaks_listing(1, TRANSIENT),
        Fault::on(Operation::Get).before(TRANSIENT),
        Fault::on(Operation::Get).before(ErrorKind::Unauthorized),
        Fault::on(Operation::Get).short_body(10, Some(TRANSIENT)),
        Fault::on(Operation::Get).short_body(10, None),
    ] {
        store.faults.add(fault);
        let failure = Catalog::read(store.provider.as_ref(), Some(&store.state)).await;
        let kind = failure.unwrap_err().kind;
        assert!(
            matches!(kind, FailureKind::Failed | FailureKind::Unauthorized),
            "{kind:?}"
        );
        store.faults.assert_all_reached();
    }
    // Removed by someone else between the two calls: neither a snapshot nor left over.
    store
        .faults
        .add(Fault::on(Operation::Get).before(ErrorKind::NotFound));
    let catalog = read(&store).await;
    assert!(catalog.snapshots.is_empty() && catalog.unlisted.is_empty());
    assert_eq!(read(&store).await.snapshots.len(), 1);
}

#[tokio::test]
async fn the_latest_is_of_the_profile_and_not_a_plain_one_where_this_host_encrypts() {
    let store = Store::new(MemoryOptions::s3()).await;
    let [oldest, sealed, plain, other] =
        ["01", "02", "03", "04"].map(|day| snapshot(&format!("2026-01-{day}T00:00:00Z")));
    store.plant(oldest, |_| ());
    let mut manifest = super::store::manifest(sealed, |_| ());
    manifest.encryption = Encryption::Passphrase;
    manifest.index.name = sealed.object(Part::Index { encrypted: true });
    manifest.volumes[0].object.name = sealed.object(Part::Data {
        volume: None,
        encrypted: true,
    });
    store
        .store
        .insert(&sealed.object(Part::Manifest), &manifest.write().unwrap());
    store.plant(plain, |_| ());
    store.plant(other, |manifest| manifest.profile = "other".to_owned());
    let catalog = read(&store).await;
    let latest = |profile, encrypted| catalog.latest(profile, encrypted).map(|found| found.name);
    assert_eq!(latest("default", false), Some(plain));
    assert_eq!(latest("default", true), Some(sealed));
    assert_eq!(latest("other", false), Some(other));
    assert_eq!(latest("other", true), None);
    assert_eq!(latest("none", false), None);
    // Its objects were never stored.
    let faults = catalog.find(sealed).unwrap().faults();
    assert_eq!(faults.len(), 2);
}

#[tokio::test]
async fn the_latest_is_from_the_future_only_when_there_is_no_other() {
    let store = Store::new(MemoryOptions::s3()).await;
    let now = store.store.now();
    let ahead = |seconds| {
        let time = now + chrono::Duration::seconds(seconds);
        SnapshotName::new(time, 7).unwrap()
    };
    let (further, future) = (ahead(86_400), ahead(61));
    store.plant(further, |_| ());
    store.plant(future, |_| ());
    let catalog = read(&store).await;
    assert!(catalog.newest("default", false).is_none());
    assert_eq!(catalog.latest("default", false).unwrap().name, further);
    assert_eq!(catalog.warn_of_future("default").len(), 2);
    // Clocks may be a little apart.
    let near = ahead(60);
    store.plant(near, |_| ());
    let catalog = read(&store).await;
    assert_eq!(catalog.newest("default", false).unwrap().name, near);
    assert_eq!(catalog.latest("default", false).unwrap().name, near);
    let warnings = catalog.warn_of_future("default").join("\n");
    assert!(warnings.contains(&future.to_string()), "{warnings}");
    assert!(!warnings.contains(&near.to_string()), "{warnings}");
}

/// Archived, sealed with another key of the storage, or with rights of its own: it must not fail everything for ever.
#[tokio::test]
async fn a_manifest_that_the_storage_does_not_hand_out_is_one_snapshot_that_cannot_be_used() {
    let store = Store::new(MemoryOptions::s3()).await;
    let good = snapshot("2023-11-01T00:00:00Z");
    let sealed = snapshot("2023-11-02T00:00:00Z");
    store.plant(good, |_| ());
    store.plant(sealed, |_| ());
    for kind in [ErrorKind::Forbidden, ErrorKind::Permanent] {
        let path = sealed.object(Part::Manifest);
        store
            .faults
            .add(Fault::on(Operation::Get).at(&path).before(kind));
        let catalog = read(&store).await;
        store.faults.assert_all_reached();
        assert_eq!(catalog.latest("default", false).unwrap().name, good);
        let [unusable] = &catalog.unusable[..] else {
            panic!("{catalog:?}")
        };
        assert_eq!((unusable.name, unusable.unread), (sealed, true));
        assert!(unusable.reason.contains("cannot be fetched"));
        assert!(catalog.unlisted.is_empty());
    }
    // Nothing is remembered of that.
    assert_eq!(read(&store).await.snapshots.len(), 2);
}
