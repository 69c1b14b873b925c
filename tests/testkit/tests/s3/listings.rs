//! Listings: pages, folders, names.

use ows_testkit::s3::{Op, Quirks, Server};

use crate::client::request;
use crate::{get, put};

#[test]
fn a_listing_comes_in_pages_of_at_most_1000() {
    let server = Server::with_bucket("bucket");
    server.fill("bucket", "p/", 2_500);
    let mut keys = Vec::new();
    let mut token: Option<String> = None;
    let mut pages = 0;
    loop {
        let mut sent = request(&server, "GET", "/bucket")
            .query("list-type", "2")
            .query("prefix", "p/")
            .query("max-keys", "5000");
        if let Some(token) = &token {
            sent = sent.query("continuation-token", token);
        }
        let answer = sent.send().unwrap();
        keys.extend(answer.elements("Key"));
        pages += 1;
        token = answer.element("NextContinuationToken");
        let is_truncated = answer.element("IsTruncated").unwrap() == "true";
        assert_eq!(is_truncated, token.is_some());
        if token.is_none() {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(keys, server.keys("bucket"));
    assert_eq!(server.count(Op::List), 3);
    assert_eq!(server.log()[0].key, "p/");
}

#[test]
fn a_wrong_continuation_token_is_refused() {
    let server = Server::with_bucket("bucket");
    let answer = request(&server, "GET", "/bucket")
        .query("list-type", "2")
        .query("continuation-token", "?")
        .send()
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "InvalidArgument")
    );
}

#[test]
fn listings_show_folders_start_after_and_encoded_names() {
    let server = Server::with_bucket("bucket");
    for key in ["a b", "dir/1", "dir/2", "z\r\u{1}"] {
        server.put("bucket", key, "x");
    }
    let list = |name: &str, value: &str| {
        let sent = request(&server, "GET", "/bucket").query("list-type", "2");
        sent.query("delimiter", "/")
            .query(name, value)
            .send()
            .unwrap()
    };
    let encoded = list("encoding-type", "url");
    assert_eq!(encoded.elements("Key"), ["a+b", "z%0D%01"]);
    assert_eq!(encoded.element("KeyCount").unwrap(), "3");
    let plain = list("start-after", "a b");
    assert_eq!(plain.elements("Key"), ["z&#xD;&#x1;"]);
    assert!(
        plain
            .text()
            .contains("<CommonPrefixes><Prefix>dir/</Prefix>")
    );
}

#[test]
fn a_lagging_listing_shows_new_keys_later() {
    let quirks = Quirks {
        list_lag: 2,
        ..Quirks::default()
    };
    let server = Server::builder().bucket("bucket").quirks(quirks).start();
    let list = || {
        let sent = request(&server, "GET", "/bucket").query("list-type", "2");
        sent.send().unwrap().elements("Key").len()
    };
    put(&server, "k", "v");
    assert_eq!(get(&server, "k").status, 200);
    assert_eq!([list(), list(), list()], [0, 0, 1]);
}

#[test]
fn the_first_version_of_listing_pages_by_marker() {
    let server = Server::with_bucket("bucket");
    for key in ["a", "b/1", "b/2", "c"] {
        server.put("bucket", key, "x");
    }
    let list = |delimiter: &str, marker: &str| {
        let sent = request(&server, "GET", "/bucket").query("max-keys", "2");
        let sent = sent.query("delimiter", delimiter).query("marker", marker);
        sent.send().unwrap()
    };
    let first = list("/", "");
    assert_eq!(first.element("NextMarker").unwrap(), "b/");
    assert_eq!(list("/", "b/").elements("Key"), ["c"]);
    let flat = list("", "a");
    assert_eq!(flat.elements("Key"), ["b/1", "b/2"]);
    assert_eq!(flat.element("IsTruncated").unwrap(), "true");
    assert_eq!(server.count(Op::ListV1), 3);
}
