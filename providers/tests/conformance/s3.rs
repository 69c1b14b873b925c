//! The suite over S3: one server, turned into other stores by its quirks.

use std::sync::Arc;
use std::time::Duration;

use ows_providers::Enforcement;
use ows_testkit::s3::{Clock, Condition, ETags, Quirks, Server};

use crate::setup::{BUCKET, connect, options};
use crate::suite::{Fixture, suite};

/// What AWS enforces.
const ALL: Enforcement = Enforcement {
    create_if_absent: true,
    replace_if_match: true,
    delete_if_match: true,
    complete_if_absent: true,
    complete_if_match: true,
    copy_if_absent: true,
    versioning: Some(false),
};

const NONE: Enforcement = Enforcement {
    create_if_absent: false,
    replace_if_match: false,
    delete_if_match: false,
    complete_if_absent: false,
    complete_if_match: false,
    copy_if_absent: false,
    versioning: Some(false),
};

/// A fresh bucket, seen below `prefix`.
fn below(server: Server, prefix: &str) -> Fixture {
    let mut options = options(&server);
    options.prefix = prefix.to_owned();
    let root = match prefix {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    let access = server.access();
    Fixture::new(Arc::new(connect(options)))
        .enforces(ALL)
        .plant(move |key| {
            access.put(BUCKET, &format!("{root}{key}"), "planted");
        })
        .keep(server)
}

fn with(quirks: Quirks) -> Fixture {
    let page_size = quirks.page_size.min(20);
    let server = Server::builder().bucket(BUCKET).quirks(quirks).start();
    below(server, "").page_size(page_size)
}

#[tokio::test]
async fn s3_as_aws() {
    suite(async || with(Quirks::default())).await;
}

#[tokio::test]
async fn s3_below_a_folder() {
    suite(async || {
        let server = Server::with_bucket(BUCKET);
        // What lies beside the folder is nobody's business.
        for key in ["a/b", "a/", "a/b0", "a/a/x", "a/b-/y", "b", "a//b/c"] {
            server.put(BUCKET, key, "a stranger's");
        }
        server.begin_upload(BUCKET, "a/c", &[]);
        below(server, "a/b")
    })
    .await;
}

#[tokio::test]
async fn s3_with_pages_of_three() {
    suite(async || {
        with(Quirks {
            page_size: 3,
            ..Quirks::default()
        })
    })
    .await;
}

#[tokio::test]
async fn s3_that_ignores_conditions() {
    suite(async || {
        with(Quirks::all_conditions(Condition::Ignored))
            .enforces(NONE)
            .exempt(
                "copies_obey_their_conditions",
                "the store copies whatever is there, and its answer does not tell",
            )
    })
    .await;
}

#[tokio::test]
async fn s3_that_refuses_conditions() {
    suite(async || {
        with(Quirks::all_conditions(Condition::Unsupported))
            .enforces(NONE)
            .refuses_conditions()
    })
    .await;
}

/// As MinIO: everything but the delete.
#[tokio::test]
async fn s3_that_ignores_the_condition_of_a_delete() {
    suite(async || {
        with(Quirks {
            delete_match: Condition::Ignored,
            ..Quirks::default()
        })
        .enforces(Enforcement {
            delete_if_match: false,
            ..ALL
        })
    })
    .await;
}

/// As R2 and stores that came before the header: conditions everywhere but on the name that a copy gets.
#[tokio::test]
async fn s3_that_ignores_the_condition_on_the_new_name_of_a_copy() {
    suite(async || {
        with(Quirks {
            copy_destination: Condition::Ignored,
            ..Quirks::default()
        })
        .enforces(Enforcement {
            copy_if_absent: false,
            ..ALL
        })
    })
    .await;
}

#[tokio::test]
async fn s3_with_etags_that_are_no_md5() {
    suite(async || {
        with(Quirks {
            etags: ETags::Random,
            ..Quirks::default()
        })
    })
    .await;
}

#[tokio::test]
async fn s3_that_wants_equal_parts() {
    suite(async || {
        with(Quirks {
            equal_parts: true,
            ..Quirks::default()
        })
    })
    .await;
}

#[tokio::test]
async fn s3_that_keeps_versions() {
    suite(async || {
        let server = Server::builder().versioned_bucket(BUCKET).start();
        below(server, "").enforces(Enforcement {
            versioning: Some(true),
            ..ALL
        })
    })
    .await;
}

#[tokio::test]
async fn s3_whose_clock_stands_still_and_is_coarse() {
    suite(async || {
        let start = std::time::SystemTime::now() - Duration::from_secs(86_400);
        let server = Server::builder()
            .bucket(BUCKET)
            .clock(Clock::manual(start))
            .quirks(Quirks {
                time_granularity: Duration::from_secs(2),
                ..Quirks::default()
            })
            .start();
        below(server, "")
    })
    .await;
}

#[tokio::test]
async fn s3_over_tls() {
    suite(async || {
        let server = Server::builder().bucket(BUCKET).tls(true).start();
        let place = tempfile::tempdir().unwrap();
        let authority = place.path().join("ca.pem");
        std::fs::write(&authority, server.ca_pem().unwrap()).unwrap();
        let mut options = options(&server);
        options.http.ca_file = Some(authority);
        Fixture::new(Arc::new(connect(options)))
            .enforces(ALL)
            .keep(server)
            .keep(place)
    })
    .await;
}

#[tokio::test]
async fn s3_behind_all_layers() {
    suite(async || with(Quirks::default()).behind_all_layers()).await;
}
