//! The suite over a folder of the file system.

use std::sync::Arc;

use ows_providers::Enforcement;
use ows_providers::local::LocalProvider;

use crate::suite::{Fixture, suite};

/// What Linux enforces on the file systems that can let two names trade places, as all common ones can.
const ALL: Enforcement = Enforcement {
    create_if_absent: true,
    replace_if_match: true,
    delete_if_match: true,
    complete_if_absent: true,
    complete_if_match: true,
    copy_if_absent: true,
    versioning: Some(false),
};

fn folder() -> Fixture {
    let place = tempfile::tempdir().unwrap();
    let provider = LocalProvider::open(place.path()).unwrap();
    Fixture::new(Arc::new(provider)).enforces(ALL).keep(place)
}

#[tokio::test]
async fn local_folder() {
    suite(async || folder()).await;
}

#[tokio::test]
async fn local_folder_behind_all_layers() {
    suite(async || folder().behind_all_layers()).await;
}
