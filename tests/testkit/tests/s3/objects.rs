//! Objects: what is stored, checked, copied, versioned.

use ows_testkit::s3::{ETags, Quirks, Server};

use crate::client::request;
use crate::{get, md5, put};

#[test]
fn what_is_put_is_got_back_with_its_metadata() {
    let server = Server::with_bucket("bucket");
    let answer = request(&server, "PUT", "/bucket/folder/a b+ü%&?.txt")
        .header("content-type", "text/plain")
        .header("x-amz-meta-mtime", "123.5")
        .body("hello")
        .send()
        .unwrap();
    assert_eq!((answer.status, answer.etag()), (200, md5(b"hello")));

    let head = request(&server, "HEAD", "/bucket/folder/a b+ü%&?.txt").send();
    let head = head.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["x-amz-meta-mtime"], "123.5");
    assert_eq!(head.headers["content-type"], "text/plain");
    assert_eq!(head.headers["content-length"], "5");
    assert_eq!(get(&server, "folder/a b+ü%&?.txt").body, b"hello");
    assert_eq!(
        server
            .object("bucket", "folder/a b+ü%&?.txt")
            .unwrap()
            .metadata["mtime"],
        "123.5"
    );
    assert_eq!(server.keys("bucket"), ["folder/a b+ü%&?.txt"]);
}

#[test]
fn a_payload_that_is_not_what_was_signed_is_refused() {
    let server = Server::with_bucket("bucket");
    let answer = request(&server, "PUT", "/bucket/k")
        .header("x-amz-content-sha256", &"0".repeat(64))
        .body("content")
        .send()
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "XAmzContentSHA256Mismatch")
    );
    assert!(server.keys("bucket").is_empty());
}

#[test]
fn wrong_digests_are_refused_and_right_ones_kept() {
    let server = Server::with_bucket("bucket");
    let wrong = [
        ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        (
            "x-amz-checksum-sha256",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
    ];
    for (name, value) in wrong {
        let answer = request(&server, "PUT", "/bucket/k")
            .header(name, value)
            .body("x");
        let answer = answer.send().unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "BadDigest"),
            "{name}"
        );
    }
    assert!(server.keys("bucket").is_empty());
    // CRC-32 of "hello" is 3610a686.
    let right = request(&server, "PUT", "/bucket/k").header("x-amz-checksum-crc32", "NhCmhg==");
    assert_eq!(right.body("hello").send().unwrap().status, 200);
    let head = request(&server, "HEAD", "/bucket/k").header("x-amz-checksum-mode", "ENABLED");
    assert_eq!(
        head.send().unwrap().headers["x-amz-checksum-crc32"],
        "NhCmhg=="
    );
}

#[test]
fn a_chunked_body_is_checked_against_its_trailer() {
    let server = Server::with_bucket("bucket");
    let put = |checksum: &str| {
        let body = format!("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n");
        request(&server, "PUT", "/bucket/k")
            .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", "5")
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .body(body)
            .send()
            .unwrap()
    };
    let wrong = put("AAAAAA==");
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "BadDigest"));
    assert_eq!(put("NhCmhg==").status, 200);
    let got = get(&server, "k");
    assert_eq!(got.body, b"hello");
    assert_eq!(got.headers.get("content-encoding"), None);
}

#[test]
fn what_is_missing_is_said() {
    let server = Server::with_bucket("bucket");
    let ask = |method, path| request(&server, method, path).send().unwrap();
    assert_eq!(ask("GET", "/bucket/k").code(), "NoSuchKey");
    assert_eq!(ask("GET", "/missing/k").code(), "NoSuchBucket");
    assert_eq!(ask("GET", "/missing").code(), "NoSuchBucket");
    assert_eq!(ask("HEAD", "/bucket/k").status, 404);
    assert_eq!(ask("HEAD", "/missing").status, 404);
    assert_eq!(ask("HEAD", "/bucket").status, 200);
    server.remove_bucket("bucket");
    assert_eq!(ask("PUT", "/bucket/k").code(), "NoSuchBucket");
}

#[test]
fn a_copy_keeps_or_replaces_metadata() {
    let server = Server::with_bucket("bucket");
    server.put_with("bucket", "old name", "v", &[("mtime", "1")]);
    let copy = |key: &str, directive: &str| {
        request(&server, "PUT", &format!("/bucket/{key}"))
            .header("x-amz-copy-source", "/bucket/old%20name")
            .header("x-amz-metadata-directive", directive)
            .header("x-amz-meta-mtime", "2")
            .send()
            .unwrap()
            .status
    };
    assert_eq!(copy("kept", "COPY"), 200);
    assert_eq!(copy("replaced", "REPLACE"), 200);
    assert_eq!(
        server.object("bucket", "kept").unwrap().metadata["mtime"],
        "1"
    );
    assert_eq!(
        server.object("bucket", "replaced").unwrap().metadata["mtime"],
        "2"
    );
    assert_eq!(copy("old name", "COPY"), 400);
    assert_eq!(copy("old name", "REPLACE"), 200);
}

#[test]
fn versions_are_kept_while_versioning_is_on() {
    let server = Server::builder().versioned_bucket("bucket").start();
    let first = put(&server, "k", "1").headers["x-amz-version-id"].clone();
    put(&server, "k", "2");
    let deleted = request(&server, "DELETE", "/bucket/k").send().unwrap();
    assert_eq!(deleted.headers["x-amz-delete-marker"], "true");
    assert_eq!(get(&server, "k").status, 404);
    assert!(server.keys("bucket").is_empty());
    let old = request(&server, "GET", "/bucket/k").query("versionId", &first);
    assert_eq!(old.send().unwrap().body, b"1");
    assert_eq!(server.versions("bucket", "k").len(), 3);
    let listed = request(&server, "GET", "/bucket")
        .query("versions", "")
        .send();
    let listed = listed.unwrap();
    assert_eq!(listed.elements("Version").len(), 2);
    assert_eq!(listed.elements("DeleteMarker").len(), 1);
}

#[test]
fn entity_tags_can_be_opaque() {
    let quirks = Quirks {
        etags: ETags::Random,
        ..Quirks::default()
    };
    let server = Server::builder().bucket("bucket").quirks(quirks).start();
    let etag = put(&server, "k", "v").etag();
    assert_ne!(etag, md5(b"v"));
    assert_eq!(etag.len(), 32);
    assert_eq!(get(&server, "k").etag(), etag);
}

#[test]
fn the_store_can_alter_what_was_uploaded() {
    let quirks = Quirks {
        alters_content: true,
        ..Quirks::default()
    };
    let server = Server::builder().bucket("bucket").quirks(quirks).start();
    assert_eq!(put(&server, "k", "v").etag(), md5(b"v"));
    let stored = server.object("bucket", "k").unwrap();
    assert_ne!(stored.etag, md5(b"v"));
    assert!(stored.size > 1);
}
