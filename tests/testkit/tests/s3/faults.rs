//! Scripted faults.

use ows_testkit::s3::{Op, Server, Then, When};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::client;
use crate::client::request;
use crate::{begin_upload, complete, put, send_part};

#[test]
fn faults_strike_the_calls_they_name() {
    let server = Server::with_bucket("bucket");
    server.fault(When::op(Op::Put).nth(2), Then::slow_down(Some(7)));
    server.fault(When::op(Op::Put).key("c"), Then::error(403, "AccessDenied"));
    assert_eq!(put(&server, "a", "v").status, 200);
    let check = AssertUnwindSafe(|| server.assert_faults_reached());
    assert!(catch_unwind(check).is_err());
    let slow = put(&server, "bucket", "v");
    assert_eq!((slow.status, slow.code().as_str()), (503, "SlowDown"));
    assert_eq!(slow.headers["retry-after"], "7");
    assert_eq!(put(&server, "bucket", "v").status, 200);
    assert_eq!(put(&server, "c", "v").code(), "AccessDenied");
    server.assert_faults_reached();
    assert_eq!(server.count(Op::Put), 4);
    assert_eq!(server.keys("bucket"), ["a", "bucket"]);
}

#[test]
fn a_dropped_connection_leaves_the_store_as_it_says() {
    let server = Server::with_bucket("bucket");
    let send = |key: &str| {
        let path = format!("/bucket/{key}");
        request(&server, "PUT", &path).body("v").send()
    };
    server.fault(When::any(), Then::DropBefore);
    assert!(send("before").is_err());
    server.fault(When::any(), Then::DropAfter);
    assert!(send("after").is_err());
    server.fault(
        When::any(),
        Then::ErrorAfter {
            status: 500,
            code: "InternalError".to_owned(),
        },
    );
    assert_eq!(send("failed").unwrap().status, 500);
    assert_eq!(server.keys("bucket"), ["after", "failed"]);
}

#[test]
fn bodies_can_be_cut_short_or_damaged() {
    let server = Server::with_bucket("bucket");
    server.put("bucket", "k", "0123456789");
    let send = || request(&server, "GET", "/bucket/k").send();
    server.fault(When::any(), Then::CutBody);
    let cut = send().unwrap_err();
    assert_eq!(cut.to_string(), "5 of 10 bytes came");
    server.fault(When::any(), Then::ShortBody);
    assert_eq!(send().unwrap().body, b"01234");
    server.fault(When::any(), Then::CorruptBody);
    assert_eq!(send().unwrap().body, b"0123446789");
    server.fault(When::any(), Then::Html { status: 200 });
    assert!(send().unwrap().text().contains("<html>"));
    assert_eq!(send().unwrap().body, b"0123456789");
}

#[test]
fn a_completion_can_fail_with_status_200() {
    let server = Server::with_bucket("bucket");
    let id = begin_upload(&server, "k");
    let parts = [(1, send_part(&server, "k", &id, 1, b"v"))];
    let code = "InternalError".to_owned();
    server.fault(When::op(Op::CompleteUpload), Then::ErrorInBody { code });
    let answer = complete(&server, "k", &id, &parts);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (200, "InternalError")
    );
    assert!(server.keys("bucket").is_empty());
}

#[test]
fn the_other_side_of_a_race_comes_first() {
    let server = Server::with_bucket("bucket");
    server.fault(
        When::op(Op::Put).key("k"),
        Then::race(|store| {
            store.put("bucket", "k", "theirs");
        }),
    );
    let sent = request(&server, "PUT", "/bucket/k").header("if-none-match", "*");
    assert_eq!(sent.body("ours").send().unwrap().status, 412);
    assert_eq!(server.get("bucket", "k").unwrap(), "theirs");
    server.assert_faults_reached();
}

#[test]
fn a_hanging_call_does_not_keep_the_server_alive() {
    let server = Server::with_bucket("bucket");
    server.fault(When::any(), Then::Hang);
    let port = server.port();
    std::thread::scope(|scope| {
        let access = server.access();
        let answer = {
            let sent = request(&server, "GET", "/bucket/k");
            let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            let message = sent.into_message();
            scope.spawn(move || client::exchange(&message, stream, false))
        };
        while access.count(Op::Get) == 0 {
            std::thread::yield_now();
        }
        drop(server);
        assert!(answer.join().unwrap().is_err());
    });
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}
