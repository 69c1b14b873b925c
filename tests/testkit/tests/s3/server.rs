//! The server itself: keys, TLS, time, parallel calls.

use ows_testkit::s3::{Access, Clock, Op, Quirks, Server, Then, When};
use std::sync::{Arc, Barrier};
use std::time::{Duration, SystemTime};

use crate::client::request;
use crate::{get, put};

#[test]
fn a_wrong_secret_is_refused() {
    let server = Server::with_bucket("bucket");
    let answer = request(&server, "GET", "/bucket")
        .secret("wrong")
        .send()
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "SignatureDoesNotMatch")
    );
}

#[test]
fn latency_is_added_to_every_call() {
    let latency = Duration::from_millis(30);
    let quirks = Quirks {
        latency,
        ..Quirks::default()
    };
    let server = Server::builder().bucket("bucket").quirks(quirks).start();
    let start = std::time::Instant::now();
    put(&server, "k", "v");
    get(&server, "k");
    assert!(start.elapsed() >= 2 * latency);
}

#[test]
fn connections_are_served_in_parallel_and_counted() {
    let server = Server::with_bucket("bucket");
    // Each of the two calls waits for the other one: they end only when they run at the same time.
    let barrier = Arc::new(Barrier::new(2));
    let meet = move |_: &Access| {
        barrier.wait();
    };
    server.fault(When::op(Op::Put).times(2), Then::race(meet));
    std::thread::scope(|scope| {
        for key in ["a", "b"] {
            let server = &server;
            scope.spawn(move || put(server, key, "v"));
        }
    });
    assert_eq!(server.most_running(), 2);
    assert_eq!(server.connections(), 2);
    assert_eq!(server.count(Op::Put), 2);
    server.reset_calls();
    assert!(server.calls().is_empty());
    assert_eq!(server.most_running(), 0);
}

#[test]
fn times_follow_the_clock_at_its_granularity() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_900);
    let server = Server::builder()
        .bucket("bucket")
        .clock(Clock::manual(start))
        .start();
    put(&server, "k", "v");
    let answer = get(&server, "k");
    assert_eq!(
        answer.headers["last-modified"],
        "Sun, 09 Sep 2001 01:46:40 GMT"
    );
    assert_eq!(answer.headers["date"], "Sun, 09 Sep 2001 01:46:40 GMT");
    server.clock().advance(Duration::from_secs(1));
    server.set_quirks(|quirks| quirks.time_granularity = Duration::from_millis(1));
    put(&server, "k", "v");
    let list = request(&server, "GET", "/bucket")
        .query("list-type", "2")
        .send();
    let shown = list.unwrap().element("LastModified").unwrap();
    assert_eq!(shown, "2001-09-09T01:46:41.900Z");
}

#[test]
fn tls_is_served_under_the_given_names() {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};

    let server = Server::builder()
        .bucket("bucket")
        .tls(true)
        .host("s3.test")
        .start();
    server.put("bucket", "k", "v");
    assert!(server.endpoint().starts_with("https://localhost:"));
    let ca = CertificateDer::from_pem_slice(server.ca_pem().unwrap().as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let ask = |name: &'static str| {
        let tcp = std::net::TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        let name = ServerName::try_from(name).unwrap();
        let session = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
        let stream = rustls::StreamOwned::new(session, tcp);
        request(&server, "GET", "/bucket/k").send_over(stream)
    };
    assert_eq!(ask("localhost").unwrap().body, b"v");
    assert_eq!(ask("s3.test").unwrap().body, b"v");
    assert!(ask("elsewhere.test").is_err());
}

#[tokio::test]
async fn the_server_starts_and_ends_inside_of_a_runtime() {
    let server = Server::with_bucket("bucket");
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await;
    assert!(stream.is_ok());
    drop(server);
}
