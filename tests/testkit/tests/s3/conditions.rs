//! Conditional reads, writes and deletes, and the knobs that weaken them.

use ows_testkit::s3::{Condition, Quirks, Server};

use crate::client::request;
use crate::{begin_upload, complete_if, md5, send_part};

#[test]
fn put_if_absent_writes_once() {
    let server = Server::with_bucket("bucket");
    let put = |content: &str| {
        let sent = request(&server, "PUT", "/bucket/k").header("if-none-match", "*");
        sent.body(content).send().unwrap()
    };
    assert_eq!(put("first").status, 200);
    let second = put("second");
    assert_eq!(
        (second.status, second.code().as_str()),
        (412, "PreconditionFailed")
    );
    assert_eq!(server.get("bucket", "k").unwrap(), "first");
}

#[test]
fn put_if_match_replaces_only_the_version_named() {
    let server = Server::with_bucket("bucket");
    let put = |etag: &str, content: &str| {
        let sent = request(&server, "PUT", "/bucket/k").header("if-match", &format!("\"{etag}\""));
        sent.body(content).send().unwrap()
    };
    assert_eq!(put(&md5(b"old"), "new").code(), "NoSuchKey");
    server.put("bucket", "k", "old");
    assert_eq!(put(&md5(b"other"), "new").status, 412);
    assert_eq!(put(&md5(b"old"), "new").status, 200);
    assert_eq!(server.get("bucket", "k").unwrap(), "new");
}

#[test]
fn delete_if_match_deletes_only_the_version_named() {
    let server = Server::with_bucket("bucket");
    let delete = |etag: &str| {
        let sent = request(&server, "DELETE", "/bucket/k").header("if-match", etag);
        sent.send().unwrap().status
    };
    server.put("bucket", "k", "v");
    assert_eq!(delete("\"00000000000000000000000000000000\""), 412);
    assert_eq!(delete(&format!("\"{}\"", md5(b"v"))), 204);
    assert_eq!(delete("*"), 404);
    assert_eq!(
        request(&server, "DELETE", "/bucket/k")
            .send()
            .unwrap()
            .status,
        204
    );
}

#[test]
fn only_one_of_many_conditional_puts_wins() {
    let server = Server::with_bucket("bucket");
    let wins: usize = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..16)
            .map(|number| {
                let server = &server;
                scope.spawn(move || {
                    let sent = request(server, "PUT", "/bucket/k").header("if-none-match", "*");
                    let answer = sent.body(format!("{number}")).send().unwrap();
                    usize::from(answer.status == 200)
                })
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).sum()
    });
    assert_eq!(wins, 1);
}

#[test]
fn conditions_can_be_ignored_or_unsupported() {
    let server = Server::with_bucket("bucket");
    server.put("bucket", "k", "old");
    let put = || {
        let sent = request(&server, "PUT", "/bucket/k").header("if-none-match", "*");
        sent.body("new").send().unwrap().status
    };
    server.set_quirks(|quirks| quirks.put_absent = Condition::Unsupported);
    assert_eq!(put(), 501);
    assert_eq!(server.get("bucket", "k").unwrap(), "old");
    server.set_quirks(|quirks| quirks.put_absent = Condition::Ignored);
    assert_eq!(put(), 200);
    assert_eq!(server.get("bucket", "k").unwrap(), "new");
}

#[test]
fn each_condition_is_a_knob_of_its_own() {
    let wrong = format!("\"{}\"", "0".repeat(32));
    let outcomes = |quirks: Quirks| {
        let server = Server::builder().bucket("bucket").quirks(quirks).start();
        server.put("bucket", "k", "v");
        server.put("bucket", "source", "s");
        let with = |method, name: &str, value: &str| {
            let sent = request(&server, method, "/bucket/k").header(name, value);
            sent.send().unwrap().status
        };
        let copy = |name: &str, value: &str| {
            let sent =
                request(&server, "PUT", "/bucket/k").header("x-amz-copy-source", "/bucket/source");
            sent.header(name, value).send().unwrap().status
        };
        let id = begin_upload(&server, "k");
        let parts = [(1, send_part(&server, "k", &id, 1, b"part"))];
        [
            with("PUT", "if-none-match", "*"),
            with("PUT", "if-match", &wrong),
            copy("if-none-match", "*"),
            copy("x-amz-copy-source-if-match", &wrong),
            complete_if(&server, "k", &id, &parts, &[("if-none-match", "*")]).status,
            with("DELETE", "if-match", &wrong),
        ]
    };
    let all = Quirks::all_conditions;
    assert_eq!(outcomes(Quirks::default()), [412; 6]);
    assert_eq!(outcomes(all(Condition::Unsupported)), [501; 6]);
    let ignored = outcomes(all(Condition::Ignored));
    assert_eq!(ignored, [200, 200, 200, 200, 200, 204]);
}

#[test]
fn reads_honour_conditions_and_ranges() {
    let server = Server::with_bucket("bucket");
    let object = server.put("bucket", "k", "0123456789");
    let read = |name: &str, value: &str| {
        let sent = request(&server, "GET", "/bucket/k").header(name, value);
        sent.send().unwrap()
    };
    assert_eq!(read("if-match", "\"no\"").status, 412);
    let unchanged = read("if-none-match", &format!("\"{}\"", object.etag));
    assert_eq!((unchanged.status, unchanged.etag()), (304, object.etag));
    let middle = read("range", "bytes=2-4");
    assert_eq!((middle.status, middle.text().as_str()), (206, "234"));
    assert_eq!(middle.headers["content-range"], "bytes 2-4/10");
    assert_eq!(read("range", "bytes=-3").text(), "789");
    assert_eq!(read("range", "bytes=7-").text(), "789");
    assert_eq!(read("range", "bytes=10-").status, 416);
}

#[test]
fn many_are_deleted_at_once_each_under_its_condition() {
    let server = Server::with_bucket("bucket");
    server.put("bucket", "a", "1");
    server.put("bucket", "c", "2");
    let list = "<Delete><Object><Key>a</Key></Object><Object><Key>c</Key><ETag>\"0\"</ETag></Object>\
        <Object><Key>gone</Key></Object></Delete>";
    let send = |digest: Option<&str>| {
        let mut sent = request(&server, "POST", "/bucket")
            .query("delete", "")
            .body(list);
        if let Some(digest) = digest {
            sent = sent.header("content-md5", digest);
        }
        sent.send().unwrap()
    };
    assert_eq!(send(None).status, 400);
    let answer = send(Some("unchecked"));
    assert_eq!(answer.elements("Deleted").len(), 2);
    assert_eq!(answer.code(), "PreconditionFailed");
    assert_eq!(server.keys("bucket"), ["c"]);
}
