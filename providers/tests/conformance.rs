//! One suite for every provider: a named case per promise of [`ows_providers::Provider`], run over each adapter.
//!
//! To add an adapter, add a test that hands [`suite::suite`] a function making a fresh, empty [`suite::Fixture`].

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    reason = "this is a test"
)]

#[path = "conformance/local.rs"]
mod local;
#[path = "conformance/moto.rs"]
mod moto;
#[path = "conformance/s3.rs"]
mod s3;
#[path = "s3_setup/mod.rs"]
mod setup;
#[path = "conformance/suite.rs"]
mod suite;

use std::time::Duration;

use ows_providers::Enforcement;
use ows_providers::memory::{Alteration, MemoryOptions, MemoryStore, VersionStyle};
use suite::{Fixture, failures, suite};

fn memory(options: MemoryOptions) -> Fixture {
    let enforced = options.enforced;
    let store = MemoryStore::new(MemoryOptions {
        page_size: 7,
        piece_size: 1000,
        ..options
    });
    let planted = store.clone();
    Fixture::new(store.provider())
        .page_size(7)
        .enforces(enforced)
        .plant(move |key| planted.plant(key))
}

#[tokio::test]
async fn memory_like_s3() {
    suite(async || memory(MemoryOptions::s3())).await;
}

#[tokio::test]
async fn memory_like_s3_with_etags_that_are_no_md5() {
    suite(async || {
        memory(MemoryOptions {
            versions: VersionStyle::OpaqueEtag,
            ..MemoryOptions::s3()
        })
    })
    .await;
}

#[tokio::test]
async fn memory_that_ignores_conditions() {
    suite(async || {
        memory(MemoryOptions {
            enforced: Enforcement::default(),
            ..MemoryOptions::s3()
        })
    })
    .await;
}

#[tokio::test]
async fn memory_that_knows_only_creation() {
    suite(async || {
        memory(MemoryOptions {
            enforced: Enforcement {
                create_if_absent: true,
                complete_if_match: true,
                versioning: Some(true),
                ..Enforcement::default()
            },
            copy: false,
            hash: None,
            mtime_precision: None,
            ..MemoryOptions::s3()
        })
    })
    .await;
}

#[tokio::test]
async fn memory_like_a_folder() {
    suite(async || memory(MemoryOptions::folder())).await;
}

#[tokio::test]
async fn memory_like_a_drive() {
    suite(async || memory(MemoryOptions::drive())).await;
}

#[tokio::test]
async fn memory_with_coarse_times() {
    suite(async || {
        memory(MemoryOptions {
            mtime_precision: Some(Duration::from_secs(2)),
            ..MemoryOptions::folder()
        })
    })
    .await;
}

/// The layers keep every promise of what they wrap.
#[tokio::test]
async fn memory_behind_all_layers() {
    suite(async || Fixture::behind_all_layers(memory(MemoryOptions::s3()))).await;
}

/// The suite itself can fail.
#[tokio::test]
async fn a_store_that_breaks_a_promise_is_found_out() {
    let altering = failures(async || {
        memory(MemoryOptions {
            alteration: Alteration::Version,
            ..MemoryOptions::s3()
        })
    })
    .await;
    assert!(altering.contains(&"versions_are_the_same_in_every_answer"));
    assert!(!altering.contains(&"what_was_put_is_read_back"));
}
