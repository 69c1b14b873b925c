//! The suite over moto, a server that others wrote.
//!
//! `moto_server` is looked for on `PATH`, or is what `OWS_MOTO` names. Where there is none the test says that it is
//! skipped, unless `OWS_REQUIRE_MOTO=1` says that there must be one.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ows_providers::http::HttpOptions;
use ows_providers::s3::{S3Credentials, S3Options};
use ows_testkit::process::{Child, free_port};

use crate::setup::{connect, quick_retry};
use crate::suite::{Fixture, suite};

/// A running server; it ends with this value.
struct Moto {
    port: u16,
    buckets: AtomicU32,
    _process: Child,
}

fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("OWS_MOTO") {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("moto_server"))
        .find(|program| program.is_file())
}

impl Moto {
    /// `None` where it is not installed.
    fn start() -> Option<Self> {
        let required = std::env::var("OWS_REQUIRE_MOTO").is_ok_and(|value| value == "1");
        let Some(program) = program() else {
            assert!(!required, "moto_server is required and not on PATH");
            eprintln!("skipped: there is no moto_server on PATH, and OWS_MOTO names none");
            return None;
        };
        let port = free_port().unwrap();
        let mut command = Command::new(&program);
        command
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = Child::spawn(&mut command).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if process
                .wait_for(Duration::from_millis(50))
                .unwrap()
                .is_some()
            {
                // A launcher that finds no moto behind it.
                assert!(!required, "{} ended at once", program.display());
                eprintln!("skipped: {} ended at once", program.display());
                return None;
            }
            assert!(Instant::now() < deadline, "moto_server does not listen");
        }
        Some(Self {
            port,
            buckets: AtomicU32::new(0),
            _process: process,
        })
    }

    /// Makes a bucket; moto asks for no signature.
    fn bucket(&self) -> String {
        let name = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let request = format!(
            "PUT /{name} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            self.port
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        name
    }

    fn fixture(&self) -> Fixture {
        let options = S3Options {
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            bucket: self.bucket(),
            prefix: "a/b".to_owned(),
            region: Some("us-east-1".to_owned()),
            credentials: S3Credentials::Static {
                access_key_id: "testing".into(),
                secret_access_key: "testing".into(),
                session_token: None,
            },
            force_path_style: None,
            sse: None,
            storage_class: None,
            http: HttpOptions::default(),
            list_retry: quick_retry(),
            counter: None,
        };
        let in_turn = "moto looks and writes in two steps, and its threads meet";
        Fixture::new(Arc::new(connect(options)))
            .exempt("parts_may_come_in_any_order_and_at_once", in_turn)
            .exempt("of_concurrent_creations_exactly_one_wins", in_turn)
            .exempt("of_concurrent_replacements_exactly_one_wins", in_turn)
            .exempt("completion_on_condition_of_absence", in_turn)
            .exempt(
                "copies_obey_their_conditions",
                "moto ignores the condition on the source of a copy",
            )
    }
}

#[tokio::test]
async fn moto() {
    let Some(moto) = Moto::start() else { return };
    suite(async || moto.fixture()).await;
}
