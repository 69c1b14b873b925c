//! How backups stand, as far as proofs and the database of the host matter.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use ows::backup::proving::verify_command;
use ows::backup::source::Which;
use ows::backup::status::status;
use ows::backup::verify::{Level, Subject};
use ows::cancel::Cancel;
use ows::report::Silent;
use ows::state::{BackupProof, State};
use ows_providers::memory::MemoryOptions;

use super::store::Host;

/// The strongest proof is shown, and may be old; that somebody looked since puts the next verification off all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_look_counts_for_the_schedule_and_the_deepest_for_people() {
    let host = Host::new(MemoryOptions::s3()).await;
    let name = host.clean().await;
    let old = BackupProof {
        snapshot: name.to_string(),
        level: "read".to_owned(),
        proven_at: host.settings.clock.now() - TimeDelta::days(10),
    };
    let Host { store, .. } = &host;
    let state = State::open(&host.settings.own_dir).await.unwrap();
    (state.record_backup_proof(&store.remote, &old).await).unwrap();
    state.close().await;
    let verify = async |level| {
        let subject = Subject::One(Which::Latest);
        let (reporter, cancel) = (Arc::new(Silent), Cancel::new());
        verify_command(&host.settings, subject, Some(level), reporter, cancel).await
    };
    assert!(verify(Level::Hash).await.failure.is_none());
    host.later(600);
    let found = status(&host.settings, None).await.unwrap();
    assert_eq!(found.proven.as_ref().unwrap().level, "read");
    let age = found.verification_age().unwrap();
    assert!(age <= Duration::from_secs(600 + 7200), "{age:?}");
    // One that finds damage is one as well.
    let snapshot = host.catalog().await.snapshots.remove(0);
    store.store.remove(&snapshot.manifest.index.name);
    host.later(36_000);
    assert!(verify(Level::Hash).await.failure.is_some());
    host.later(60);
    let found = status(&host.settings, None).await.unwrap();
    assert!(found.proven.is_none());
    let age = found.verification_age().unwrap();
    assert!(age <= Duration::from_secs(600), "{age:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_keeps_nobody_from_the_status() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    let name = host.clean().await;
    let own_dir = tempfile::tempdir().unwrap();
    std::fs::write(own_dir.path().join("state.db"), b"no database".repeat(1000)).unwrap();
    host.settings.own_dir = own_dir.path().to_owned();
    let found = status(&host.settings, None).await.unwrap();
    assert_eq!(found.newest.unwrap().name, name.to_string());
    let warnings = found.warnings.join("\n");
    assert!(
        warnings.contains("what this host remembers of its backups cannot be read"),
        "{warnings}"
    );
}
