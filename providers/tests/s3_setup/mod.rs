//! An adapter for the test server.

use std::sync::Arc;
use std::time::Duration;

use ows_providers::http::HttpOptions;
use ows_providers::layers::RetryPolicy;
use ows_providers::s3::{S3Credentials, S3Options, S3Provider};
use ows_testkit::s3::Server;

pub const BUCKET: &str = "bucket";

/// Repeats without waiting long.
pub fn quick_retry() -> RetryPolicy {
    RetryPolicy {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(10),
        ..RetryPolicy::metadata()
    }
}

/// Options for the bucket of `server`.
pub fn options(server: &Server) -> S3Options {
    S3Options {
        endpoint: Some(server.endpoint()),
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        region: Some("us-east-1".to_owned()),
        credentials: S3Credentials::Static {
            access_key_id: server.access_key().into(),
            secret_access_key: server.secret_key().into(),
            session_token: None,
        },
        force_path_style: None,
        sse: None,
        storage_class: None,
        http: HttpOptions::default(),
        list_retry: quick_retry(),
        counter: None,
    }
}

/// An adapter that sees nothing of the environment.
pub fn connect(options: S3Options) -> S3Provider {
    S3Provider::with_environment(options, Arc::new(|_| None)).unwrap()
}
