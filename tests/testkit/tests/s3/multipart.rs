//! Multipart uploads.

use md5::{Digest as _, Md5};
use ows_testkit::s3::{Clock, Quirks, Server};
use std::time::{Duration, SystemTime};

use crate::client::request;
use crate::{begin_upload, complete, complete_if, md5, send_part};

#[test]
fn a_multipart_upload_has_the_etag_of_its_parts() {
    let server = Server::with_bucket("bucket");
    let first = vec![b'a'; 5 << 20];
    let id = begin_upload(&server, "k");
    let parts = [
        (1, send_part(&server, "k", &id, 1, &first)),
        (3, send_part(&server, "k", &id, 3, b"end")),
    ];
    assert_eq!(server.uploads("bucket")[0].parts[&3], 3);
    let listed = request(&server, "GET", "/bucket/k").query("uploadId", &id);
    assert_eq!(listed.send().unwrap().elements("PartNumber"), ["1", "3"]);

    assert_eq!(complete(&server, "k", &id, &parts).status, 200);
    let mut joined = Md5::digest(&first).to_vec();
    joined.extend(Md5::digest(b"end"));
    let object = server.object("bucket", "k").unwrap();
    assert_eq!(object.etag, format!("{}-2", md5(&joined)));
    assert_eq!(object.size, (5 << 20) + 3);
    assert_eq!(object.parts, Some(2));
    assert!(server.uploads("bucket").is_empty());
    // A range across the border of two parts.
    let sent = request(&server, "GET", "/bucket/k").header("range", "bytes=5242878-5242881");
    assert_eq!(sent.send().unwrap().body, b"aaen");
    assert_eq!(complete(&server, "k", &id, &parts).code(), "NoSuchUpload");
}

#[test]
fn parts_must_be_in_order_large_enough_and_known() {
    let server = Server::with_bucket("bucket");
    let id = begin_upload(&server, "k");
    let one = (1, send_part(&server, "k", &id, 1, b"small"));
    let two = (2, send_part(&server, "k", &id, 2, b"end"));
    let fails = |parts: &[(usize, String)]| complete(&server, "k", &id, parts).code();
    assert_eq!(fails(&[two.clone(), one.clone()]), "InvalidPartOrder");
    assert_eq!(fails(&[one.clone(), two.clone()]), "EntityTooSmall");
    assert_eq!(fails(&[(1, two.1.clone())]), "InvalidPart");
    assert_eq!(fails(&[one.clone(), (7, two.1.clone())]), "InvalidPart");
    assert_eq!(fails(&[]), "MalformedXML");
    server.set_quirks(|quirks| quirks.min_part_size = 1);
    assert_eq!(complete(&server, "k", &id, &[one, two]).status, 200);
}

#[test]
fn unequal_parts_can_be_refused() {
    let quirks = Quirks {
        min_part_size: 1,
        equal_parts: true,
        ..Quirks::default()
    };
    let server = Server::builder().bucket("bucket").quirks(quirks).start();
    let upload = |contents: [&[u8]; 3]| {
        let id = begin_upload(&server, "k");
        let parts: Vec<_> = (1..)
            .zip(contents)
            .map(|(number, content)| (number, send_part(&server, "k", &id, number, content)))
            .collect();
        complete(&server, "k", &id, &parts).status
    };
    assert_eq!(upload([b"aa", b"bucket", b"c"]), 400);
    assert_eq!(upload([b"aa", b"bb", b"ccc"]), 400);
    assert_eq!(upload([b"aa", b"bb", b"c"]), 200);
}

#[test]
fn a_failed_completion_leaves_the_upload() {
    let server = Server::with_bucket("bucket");
    let id = begin_upload(&server, "k");
    let parts = [(1, send_part(&server, "k", &id, 1, b"new"))];
    server.put("bucket", "k", "old");
    let refused = complete_if(&server, "k", &id, &parts, &[("if-none-match", "*")]);
    assert_eq!(refused.status, 412);
    let etag = format!("\"{}\"", md5(b"old"));
    let done = complete_if(&server, "k", &id, &parts, &[("if-match", &etag)]);
    assert_eq!(done.status, 200);
    assert_eq!(server.get("bucket", "k").unwrap(), "new");
}

#[test]
fn an_upload_that_was_left_behind_can_be_completed() {
    let server = Server::with_bucket("bucket");
    let id = server.begin_upload("bucket", "k", &[b"left"]);
    assert_eq!(server.uploads("bucket")[0].upload_id, id);
    assert_eq!(
        complete(&server, "k", &id, &[(1, md5(b"left"))]).status,
        200
    );
    assert_eq!(server.get("bucket", "k").unwrap(), "left");
}

#[test]
fn part_copies_take_a_range_of_their_source() {
    let server = Server::with_bucket("bucket");
    server.put("bucket", "source", "0123456789");
    let id = begin_upload(&server, "k");
    let copied = request(&server, "PUT", "/bucket/k")
        .query("partNumber", "1")
        .query("uploadId", &id)
        .header("x-amz-copy-source", "/bucket/source")
        .header("x-amz-copy-source-range", "bytes=3-5")
        .send()
        .unwrap();
    let etag = copied.element("ETag").unwrap();
    assert!(etag.contains(&md5(b"345")), "{etag}");
    assert_eq!(complete(&server, "k", &id, &[(1, md5(b"345"))]).status, 200);
    assert_eq!(server.get("bucket", "k").unwrap(), "345");
}

#[test]
fn a_multipart_upload_is_dated_back_to_its_start() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let clock = Clock::manual(start);
    let server = Server::builder()
        .bucket("bucket")
        .clock(clock.clone())
        .start();
    let id = server.begin_upload("bucket", "k", &[b"part"]);
    clock.advance(Duration::from_secs(60));
    complete(&server, "k", &id, &[(1, md5(b"part"))]);
    assert_eq!(server.object("bucket", "k").unwrap().modified, start);
}

#[test]
fn unfinished_uploads_are_listed_in_pages_and_aborted() {
    let server = Server::with_bucket("bucket");
    let ids: Vec<String> = (0..3).map(|_| begin_upload(&server, "p/k")).collect();
    begin_upload(&server, "other");
    let list = |markers: Option<(&str, &str)>| {
        let mut sent = request(&server, "GET", "/bucket")
            .query("uploads", "")
            .query("prefix", "p/")
            .query("max-uploads", "2");
        if let Some((key, id)) = markers {
            sent = sent.query("key-marker", key).query("upload-id-marker", id);
        }
        sent.send().unwrap()
    };
    let first = list(None);
    assert_eq!(first.element("IsTruncated").unwrap(), "true");
    let marker = first.element("NextUploadIdMarker").unwrap();
    let second = list(Some(("p/k", &marker)));
    let mut seen = first.elements("UploadId");
    seen.extend(second.elements("UploadId"));
    let mut expected = ids.clone();
    expected.sort();
    assert_eq!(seen, expected);
    for id in &ids {
        let sent = request(&server, "DELETE", "/bucket/p/k").query("uploadId", id);
        assert_eq!(sent.send().unwrap().status, 204);
    }
    assert_eq!(server.uploads("bucket").len(), 1);
}

#[test]
fn claims_about_the_whole_upload_are_checked() {
    let server = Server::with_bucket("bucket");
    let id = server.begin_upload("bucket", "k", &[b"hello"]);
    let parts = [(1, md5(b"hello"))];
    let with = |headers: &[(&str, &str)]| complete_if(&server, "k", &id, &parts, headers);
    let full = ("x-amz-checksum-type", "FULL_OBJECT");
    assert_eq!(
        with(&[("x-amz-mp-object-size", "4")]).code(),
        "InvalidRequest"
    );
    assert_eq!(with(&[("x-amz-checksum-crc32", "NhCmhg==")]).status, 501);
    let wrong = with(&[("x-amz-checksum-crc32", "AAAAAA=="), full]);
    assert_eq!(wrong.code(), "BadDigest");
    let right = with(&[("x-amz-checksum-crc32", "NhCmhg=="), full]);
    assert_eq!(right.status, 200);
}
