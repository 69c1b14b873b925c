//! What goes, what stays, and what stops it.

use ows::backup::name::{Part, SnapshotName};
use ows::backup::prune::PruneOptions;
use ows::config::Encryption;
use ows::error::FailureKind;
use ows_providers::layers::Fault;
use ows_providers::memory::MemoryOptions;
use ows_providers::{ErrorKind, Operation, Provider as _};

use super::store::{Host, objects_of, snapshot};

async fn plain(options: PruneOptions, host: &Host) -> (Vec<String>, Vec<String>) {
    let finished = host.prune(options).await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
    let kept = finished.pruned.kept.into_iter().map(|kept| kept.name);
    (kept.collect(), finished.pruned.removed)
}

fn texts(names: &[SnapshotName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A host at whose store these snapshots were made, oldest first: plain ones, as it makes them.
async fn with(times: &[&str]) -> (Host, Vec<SnapshotName>) {
    let mut host = Host::new(MemoryOptions::s3()).await;
    host.settings.encryption = Encryption::None;
    let names: Vec<_> = times.iter().map(|time| snapshot(time)).collect();
    for name in &names {
        host.store.plant(*name, |_| ());
    }
    (host, names)
}

const DAYS: [&str; 4] = [
    "2023-11-01T00:00:00Z",
    "2023-11-02T00:00:00Z",
    "2023-11-03T00:00:00Z",
    "2023-11-04T00:00:00Z",
];

#[tokio::test]
async fn what_no_rule_keeps_goes_with_all_its_objects() {
    let (host, names) = with(&DAYS).await;
    let dry = PruneOptions {
        dry_run: true,
        ..PruneOptions::default()
    };
    let before = host.store.names();
    let expected = (texts(&[names[3], names[2]]), texts(&[names[1], names[0]]));
    assert_eq!(plain(dry, &host).await, expected);
    assert_eq!(host.store.names(), before);
    assert_eq!(plain(PruneOptions::default(), &host).await, expected);
    assert_eq!(host.store.names().len(), 6);
    // The manifest goes before the data.
    let deleted: Vec<_> = host
        .store
        .store
        .log()
        .into_iter()
        .filter(|logged| logged.operation == Operation::Delete)
        .map(|logged| logged.path)
        .collect();
    assert_eq!(deleted.len(), 6);
    assert_eq!(deleted[0], names[1].object(Part::Manifest));
    assert_eq!(deleted[3], names[0].object(Part::Manifest));
    let again = (expected.0, Vec::new());
    assert_eq!(plain(PruneOptions::default(), &host).await, again);
}

#[tokio::test]
async fn other_profiles_damaged_and_foreign_ones_stay() {
    let (host, names) = with(&DAYS).await;
    let other = snapshot("2023-10-01T00:00:00Z");
    host.store
        .plant(other, |manifest| manifest.profile = "other".to_owned());
    let damaged = snapshot("2023-10-02T00:00:00Z");
    host.store.plant(damaged, |_| ());
    let store = &host.store.store;
    store.insert(&damaged.object(Part::Manifest), b"{");
    // Data that is gone: it fills no bucket, and is left to a person.
    let broken = snapshot("2023-11-05T00:00:00Z");
    let manifest = host.store.plant(broken, |_| ());
    store.remove(&objects_of(&manifest)[0].name);
    store.insert("backup-20230101T000000Z.tar.gz", b"old");
    store.insert("photo.jpg", b"mine");
    let unlisted = snapshot("2023-10-03T00:00:00Z").object(Part::Index { encrypted: true });
    store.insert(&unlisted, b"left");
    let (kept, removed) = plain(PruneOptions::default(), &host).await;
    assert_eq!(kept, texts(&[broken, names[3], names[2]]));
    assert_eq!(removed, texts(&[names[1], names[0]]));
    let left = host.store.names();
    for name in ["backup-20230101T000000Z.tar.gz", "photo.jpg", &unlisted] {
        assert!(left.contains(name), "{name}");
    }
    for name in [other, damaged, broken] {
        assert!(left.contains(&name.object(Part::Manifest)));
    }
}

#[tokio::test]
async fn legacy_and_unlisted_go_only_when_asked() {
    let (host, _) = with(&DAYS[3..]).await;
    let store = &host.store.store;
    let legacy = [
        "backup-20230101T000000Z.tar.gz.enc",
        "backup-20230102T000000Z.tar.gz.enc",
        "backup-20230103T000000Z.tar.gz",
        "backup-by-hand.tar.gz",
    ];
    for name in legacy {
        store.insert(name, b"old");
    }
    let unlisted = snapshot("2023-10-03T00:00:00Z").object(Part::Index { encrypted: true });
    store.insert(&unlisted, b"left");
    host.later(25 * 3600);
    let upload = ows_providers::UploadOptions {
        size: None,
        part_size: 1024,
        mtime_ns: None,
        md5: None,
    };
    let path = ows_providers::RelPath::new(&unlisted).unwrap();
    let begin = || async { store.provider().start_upload(&path, upload.clone()).await };
    let under_way = begin().await.unwrap();

    let (_, removed) = plain(
        PruneOptions {
            legacy: true,
            ..PruneOptions::default()
        },
        &host,
    )
    .await;
    assert_eq!(removed, [legacy[0]]);
    let asked = PruneOptions {
        unlisted: true,
        ..PruneOptions::default()
    };
    // It may be a backup that another host is making: a long one, whose upload is under way, or one that just began.
    let begun = snapshot(&store.now().to_rfc3339()).object(Part::Index { encrypted: true });
    store.insert(&begun, b"left");
    assert!(plain(asked, &host).await.1.is_empty());
    assert!(store.get(&unlisted).is_some() && store.uploads().len() == 1);
    store.provider().abort_upload(&under_way).await.unwrap();
    let (_, removed) = plain(asked, &host).await;
    assert_eq!(removed, std::slice::from_ref(&unlisted));
    begin().await.unwrap();
    host.later(48 * 3600);
    let (_, removed) = plain(asked, &host).await;
    assert_eq!(removed, [unlisted.clone(), begun.clone()]);
    assert!(store.get(&begun).is_none() && store.uploads().is_empty());
}

#[tokio::test]
async fn what_the_storage_has_locked_is_retained_and_no_failure() {
    let (host, names) = with(&DAYS).await;
    // The manifest of one, the data of the other.
    let manifest = names[1].object(Part::Manifest);
    let data = names[0].object(Part::Data {
        volume: None,
        encrypted: false,
    });
    let locked = || {
        for path in [&manifest, &data] {
            let fault = Fault::on(Operation::Delete).at(path).times(u64::MAX);
            host.store.faults.add(fault.before(ErrorKind::Forbidden));
        }
    };
    locked();
    let finished = host.prune(PruneOptions::default()).await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
    assert_eq!(finished.pruned.retained, [manifest.clone(), data.clone()]);
    assert_eq!(finished.pruned.removed, texts(&[names[0]]));
    assert!(host.store.names().contains(&data));
    // It is tried again, and when the lock is over it goes, without being asked for.
    let finished = host.prune(PruneOptions::default()).await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
    assert!(
        finished.report.warnings.is_empty(),
        "{:?}",
        finished.report.warnings
    );
    host.store.faults.clear();
    let finished = host.prune(PruneOptions::default()).await;
    assert!(finished.pruned.retained.is_empty());
    assert_eq!(host.store.names().len(), 6);
}

#[tokio::test]
async fn a_snapshot_that_is_much_smaller_stops_the_pruning_until_it_is_accepted() {
    let host = Host::new(MemoryOptions::s3()).await;
    for _ in 0..2 {
        host.clean().await;
    }
    for number in 0..8 {
        host.state_dir
            .remove(&format!("workspace/notes/{number}.md"));
    }
    let finished = host.now().await;
    let failure = finished.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Partial);
    assert!(failure.hint.unwrap().contains("--accept-shrink"));
    assert!(finished.made.snapshot.is_some());
    host.later(3600);
    assert_eq!(host.catalog().await.snapshots.len(), 3);
    // Neither the next backup nor a prune removes anything.
    assert_eq!(host.now().await.failure.unwrap().kind, FailureKind::Partial);
    host.later(3600);
    let refused = host.prune(PruneOptions::default()).await;
    assert_eq!(refused.failure.unwrap().kind, FailureKind::Guard);
    assert_eq!(host.catalog().await.snapshots.len(), 4);

    let accepted = PruneOptions {
        accept_shrink: true,
        ..PruneOptions::default()
    };
    assert_eq!(plain(accepted, &host).await.1.len(), 2);
    // It stays accepted.
    host.clean().await;
    assert_eq!(host.catalog().await.snapshots.len(), 2);
    // A further loss is another one.
    host.state_dir.remove("workspace/notes");
    host.state_dir.folder("workspace/notes");
    assert_eq!(host.now().await.failure.unwrap().kind, FailureKind::Partial);
}

/// A clock jumped once, or someone planted it.
#[tokio::test]
async fn a_snapshot_from_the_future_switches_no_protection_off() {
    let host = Host::new(MemoryOptions::s3()).await;
    let good = [host.clean().await, host.clean().await];
    let future = snapshot("2030-01-01T00:00:00Z");
    host.store.plant(future, |manifest| {
        manifest.totals.files = 1;
        manifest.totals.bytes = 1;
    });
    host.state_dir.remove("workspace/notes");
    host.state_dir.folder("workspace/notes");
    let finished = host.now().await;
    let hint = finished.failure.unwrap().hint.unwrap();
    assert!(hint.contains("--accept-shrink"), "{hint}");
    let made: SnapshotName = finished.made.snapshot.unwrap().parse().unwrap();
    let told = finished.report.warnings.join("\n");
    assert!(told.contains(&future.to_string()), "{told}");
    let refused = host.prune(PruneOptions::default()).await;
    assert_eq!(refused.failure.unwrap().kind, FailureKind::Guard);
    let told = refused.report.warnings.join("\n");
    assert!(told.contains(&future.to_string()), "{told}");
    let catalog = host.catalog().await;
    for name in good.iter().chain([&made, &future]) {
        assert!(catalog.find(*name).is_some(), "{name}");
    }

    // What is accepted is the small one, so that a further loss is noticed again.
    let accepted = PruneOptions {
        accept_shrink: true,
        ..PruneOptions::default()
    };
    let (kept, removed) = plain(accepted, &host).await;
    assert_eq!(kept, texts(&[future, made, good[1]]));
    assert_eq!(removed, texts(&good[..1]));
    host.later(3600);
    host.state_dir.remove("openclaw.json");
    let failure = host.now().await.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Partial);
    assert!(failure.message.contains("minSize"), "{failure}");
}

/// Whoever can write to the storage puts a plain snapshot there: it stands for none of this host's.
#[tokio::test]
async fn a_plain_snapshot_does_not_hide_a_smaller_one_on_a_host_that_encrypts() {
    let host = Host::new(MemoryOptions::s3()).await;
    let good = host.clean().await;
    host.state_dir.remove("workspace/notes");
    host.state_dir.folder("workspace/notes");
    assert!(host.now().await.failure.is_some());
    host.later(3600);
    let now = host.store.store.now();
    let planted = SnapshotName::new(now, 1).unwrap();
    host.store
        .plant(planted, |manifest| manifest.totals.bytes = 1 << 40);
    host.later(3600);
    let refused = host.prune(PruneOptions::default()).await;
    let failure = refused.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Guard);
    assert!(!failure.message.contains(&planted.to_string()), "{failure}");
    assert!(host.catalog().await.find(good).is_some());
}

/// Nor do they push out any, however many there are: they fill no bucket, and are left to a person.
#[tokio::test]
async fn planted_plain_snapshots_push_out_nothing_on_a_host_that_encrypts() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    let good = [host.clean().await, host.clean().await];
    let now = host.store.store.now();
    let planted: Vec<_> = (1..=3)
        .map(|number| SnapshotName::new(now, number).unwrap())
        .collect();
    for name in &planted {
        host.store.plant(*name, |_| ());
    }
    let newest_first = [planted[2], planted[1], planted[0], good[1], good[0]];
    let finished = host.prune(PruneOptions::default()).await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
    assert_eq!(finished.pruned.removed, [""; 0]);
    let kept: Vec<_> = (finished.pruned.kept.iter())
        .map(|kept| kept.name.clone())
        .collect();
    assert_eq!(kept, texts(&newest_first));
    let reason = &finished.pruned.kept[0].reasons;
    assert!(reason[0].contains("not encrypted"), "{reason:?}");
    let reason = &finished.pruned.kept[3].reasons;
    assert!(reason.contains(&"newest".to_owned()), "{reason:?}");

    // A backup prunes its own kind alone.
    host.later(60);
    let made = host.clean().await;
    let left = host.catalog().await.snapshots;
    let left: Vec<_> = left.iter().map(|found| found.name).collect();
    assert_eq!(
        left,
        [made, planted[2], planted[1], planted[0], good[1]],
        "{good:?}"
    );
    // Who does not encrypt makes such ones, and prunes them.
    host.settings.encryption = Encryption::None;
    let (kept, _) = plain(PruneOptions::default(), &host).await;
    assert_eq!(kept, texts(&[made, planted[2]]));
}

const UNLISTED: PruneOptions = PruneOptions {
    dry_run: false,
    legacy: false,
    unlisted: true,
    accept_shrink: false,
    wait: std::time::Duration::ZERO,
};

/// The manifest of a backup of days arrives between the listing and the removing.
#[tokio::test]
async fn what_has_become_a_snapshot_meanwhile_is_not_taken_for_left_over() {
    let (host, _) = with(&DAYS[3..]).await;
    let late = snapshot("2023-10-03T00:00:00Z");
    let manifest = host.store.plant(late, |_| ());
    let path = late.object(Part::Manifest);
    let bytes = host.store.store.get(&path).unwrap();
    host.store.store.remove(&path);
    host.later(25 * 3600);
    let (store, arriving) = (host.store.store.clone(), path.clone());
    let arrives = Fault::on(Operation::ListUploads).meanwhile(move || {
        store.insert(&arriving, &bytes);
    });
    host.store.faults.add(arrives);
    let (kept, removed) = plain(UNLISTED, &host).await;
    host.store.faults.assert_all_reached();
    assert_eq!(removed, [""; 0]);
    assert!(kept.contains(&late.to_string()), "{kept:?}");
    for object in objects_of(&manifest) {
        assert!(host.store.store.get(&object.name).is_some());
    }
}

#[tokio::test]
async fn an_old_upload_stays_while_its_snapshot_has_a_young_one() {
    let (host, _) = with(&DAYS[3..]).await;
    let name = snapshot(&host.store.store.now().to_rfc3339());
    let begin = async |volume| {
        let part = Part::Data {
            volume: Some(volume),
            encrypted: true,
        };
        let path = ows_providers::RelPath::new(&name.object(part)).unwrap();
        let options = ows_providers::UploadOptions {
            size: None,
            part_size: 1024,
            mtime_ns: None,
            md5: None,
        };
        let provider = host.store.store.provider();
        provider.start_upload(&path, options).await.unwrap()
    };
    begin(1).await;
    host.later(30 * 3600);
    begin(2).await;
    assert!(plain(UNLISTED, &host).await.1.is_empty());
    assert_eq!(host.store.store.uploads().len(), 2);
    host.later(30 * 3600);
    assert_eq!(plain(UNLISTED, &host).await.1.len(), 2);
    assert!(host.store.store.uploads().is_empty());
}

/// A backup of days in volumes: its name is old, and keys that may not list uploads, or a folder, show no upload of it.
#[tokio::test]
async fn what_has_an_object_stored_within_a_day_stays_whatever_its_name_says() {
    let (host, _) = with(&DAYS[3..]).await;
    let name = snapshot("2023-10-03T00:00:00Z");
    let volume = |volume| {
        let part = Part::Data {
            volume: Some(volume),
            encrypted: true,
        };
        name.object(part)
    };
    host.store.store.insert(&volume(1), b"of yesterday");
    host.later(20 * 3600);
    host.store.store.insert(&volume(2), b"of today");
    host.later(23 * 3600);
    let fault = Fault::on(Operation::ListUploads).before(ErrorKind::Forbidden);
    host.store.faults.add(fault);
    let finished = host.prune(UNLISTED).await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
    assert_eq!(finished.pruned.removed, [""; 0]);
    let kept = &finished.pruned.kept;
    assert!(
        kept.iter().any(|kept| kept.name == name.to_string()),
        "{kept:?}"
    );
    host.later(3600);
    assert_eq!(plain(UNLISTED, &host).await.1, [volume(1), volume(2)]);
}

#[tokio::test]
async fn keys_that_may_not_list_uploads_remove_the_unlisted_objects_all_the_same() {
    let (host, _) = with(&DAYS[3..]).await;
    let left = snapshot("2023-10-03T00:00:00Z").object(Part::Index { encrypted: true });
    host.store.store.insert(&left, b"left");
    host.later(25 * 3600);
    let fault = Fault::on(Operation::ListUploads).before(ErrorKind::Forbidden);
    host.store.faults.add(fault);
    let finished = host.prune(UNLISTED).await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
    assert_eq!(finished.pruned.removed, [left]);
    let warnings = finished.report.warnings.join("\n");
    assert!(warnings.contains("could not be listed"), "{warnings}");
}

#[tokio::test]
async fn while_a_manifest_is_not_handed_out_no_snapshot_goes() {
    let (host, names) = with(&DAYS).await;
    let path = names[3].object(Part::Manifest);
    let fault = Fault::on(Operation::Get).at(&path).times(u64::MAX);
    host.store.faults.add(fault.before(ErrorKind::Forbidden));
    let finished = host.prune(PruneOptions::default()).await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
    assert_eq!(finished.pruned.removed, [""; 0]);
    assert_eq!(finished.pruned.kept.len(), 3);
    let reason = &finished.pruned.kept[0].reasons[0];
    assert!(reason.contains(&names[3].to_string()), "{reason}");
    assert!(finished.report.warnings.contains(reason));
    // A backup is made, and says it too.
    let finished = host.now().await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
    assert!(finished.report.warnings.contains(reason));
    host.store.faults.clear();
    assert_eq!(host.catalog().await.snapshots.len(), 5);
}
