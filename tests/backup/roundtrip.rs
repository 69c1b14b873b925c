//! What `now` made comes back as it was: whole, in single paths, in volumes, with every seal.

use std::path::Path;
use std::sync::Arc;

use ows::backup::drill::drill;
use ows::backup::entry::AskedPath;
use ows::backup::now::{NowOptions, now};
use ows::backup::settings::BackupClock;
use ows::backup::source::Which;
use ows::backup::verify::{Level, Subject, verify};
use ows::cancel::Cancel;
use ows::config::{Encryption, Item};
use ows::report::Silent;
use ows_testkit::tree::{OwsFolder, snapshot_tree};

use super::archives::{Key, Reader};
use super::shelf;
use super::store::at;

/// Later than anything that a test writes.
const LATER: &str = "2199-01-01T00:00:00Z";

/// A host with a bit of everything, and one that reads.
fn host(encryption: Option<Encryption>) -> (shelf::Host, Reader) {
    let host = shelf::Host::new();
    let mut reader = Reader::new();
    match encryption {
        Some(encryption) => reader.settings.encryption = encryption,
        None => reader.give(&Key::new()),
    }
    reader.store.set_now(at(LATER));
    let settings = &mut reader.settings;
    settings.workspace = host.workspace.path().to_owned();
    settings.state_dir = host.state.path().to_owned();
    settings.own_dir = host.state.join("ows");
    settings.items = vec![Item::Workspace, Item::Config];
    settings.clock = BackupClock(|| at(LATER));
    (host, reader)
}

async fn back_up(reader: &Reader) {
    let options = NowOptions::default();
    let finished = now(&reader.settings, &options, Arc::new(Silent), Cancel::new()).await;
    assert!(finished.failure.is_none(), "{:?}", finished.failure);
}

fn assert_same(restored: &Path, host: &shelf::Host) {
    let tree = |root: &Path| snapshot_tree(root, OwsFolder::Include);
    assert_eq!(
        tree(&restored.join("workspace")),
        tree(host.workspace.path())
    );
    assert_eq!(
        std::fs::read(restored.join("openclaw.json")).unwrap(),
        b"{}"
    );
    assert_eq!(std::fs::read_dir(restored).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_comes_back_as_it_was() {
    let passphrase = Encryption::Passphrase("correct horse battery staple".into());
    for (encryption, volume_size) in [
        (None, None),
        (None, Some(1 << 20)),
        (Some(passphrase), None),
        (Some(Encryption::None), Some(1 << 20)),
    ] {
        let (host, mut reader) = host(encryption);
        reader.settings.volume_size = volume_size;
        back_up(&reader).await;
        let restored = reader.restore(reader.options(&[])).await.unwrap();
        assert!(restored.is_whole(), "{:?}", restored.done.bad);
        assert_eq!(restored.done.unproven, 0);
        assert_same(&reader.target(), &host);
        let catalog = reader.catalog().await;
        let volumes = catalog.snapshots[0].manifest.volumes.len();
        assert_eq!(volumes > 1, volume_size.is_some(), "{volumes} volumes");
        let (subject, cancel) = (Subject::All, Cancel::new());
        let verified = verify(
            &reader.settings,
            &catalog,
            &subject,
            Level::Read,
            Arc::new(Silent),
            &cancel,
        )
        .await
        .unwrap();
        assert_eq!(
            verified[0].proven,
            Some(Level::Read),
            "{:?}",
            verified[0].bad
        );
        assert_eq!(
            verified[0].files,
            catalog.snapshots[0].manifest.totals.files
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_comes_back_alone() {
    let (host, mut reader) = host(None);
    reader.settings.volume_size = Some(1 << 20);
    back_up(&reader).await;
    let whole = snapshot_tree(host.workspace.path(), OwsFolder::Include);
    for (path, expected) in &whole {
        let archive_path = format!("workspace/{path}");
        let options = ows::backup::restore::RestoreOptions {
            only: vec![AskedPath::new(archive_path.as_str()).unwrap()],
            ..reader.options(&[])
        };
        let restored = reader.restore(options).await.unwrap();
        assert!(restored.is_whole(), "{path}: {:?}", restored.done.bad);
        let found = snapshot_tree(&reader.target().join("workspace"), OwsFolder::Include);
        assert_eq!(found.get(path), Some(expected), "{path}");
        std::fs::remove_dir_all(reader.target()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_compares_what_was_backed_up_with_what_stands_here() {
    let (host, reader) = host(None);
    back_up(&reader).await;
    let practise = async || {
        let catalog = reader.catalog().await;
        let (which, cancel) = (Which::Latest, Cancel::new());
        drill(
            &reader.settings,
            &catalog,
            &which,
            Arc::new(Silent),
            &cancel,
        )
        .await
        .unwrap()
    };
    let drilled = practise().await;
    assert!(drilled.restored.is_whole(), "{:?}", drilled.done().bad);
    assert_eq!(drilled.compared, 8, "every name of every file");
    // Whoever stands there with another content, and is older, was not what was backed up.
    host.workspace.write("a/private", "another");
    let drilled = practise().await;
    assert_eq!(drilled.done().bad.len(), 1, "{:?}", drilled.done().bad);
    assert_eq!(drilled.done().bad[0].path, "workspace/a/private");
}
