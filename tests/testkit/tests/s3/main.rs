//! What the server promises, seen through HTTP. Here stands what several of the modules use.

#![expect(
    clippy::unwrap_used,
    reason = "what is unexpected fails the test, in helpers as well"
)]

mod client;
mod conditions;
mod faults;
mod listings;
mod multipart;
mod objects;
mod server;

use client::{Answer, request};
use md5::{Digest as _, Md5};
use ows_testkit::s3::Server;

pub(crate) fn md5(content: &[u8]) -> String {
    hex::encode(Md5::digest(content))
}

pub(crate) fn put(server: &Server, key: &str, content: &str) -> Answer {
    let path = format!("/bucket/{key}");
    request(server, "PUT", &path).body(content).send().unwrap()
}

pub(crate) fn get(server: &Server, key: &str) -> Answer {
    request(server, "GET", &format!("/bucket/{key}"))
        .send()
        .unwrap()
}

pub(crate) fn begin_upload(server: &Server, key: &str) -> String {
    let path = format!("/bucket/{key}");
    let answer = request(server, "POST", &path).query("uploads", "").send();
    answer.unwrap().element("UploadId").unwrap()
}

pub(crate) fn send_part(
    server: &Server,
    key: &str,
    id: &str,
    number: usize,
    content: &[u8],
) -> String {
    let answer = request(server, "PUT", &format!("/bucket/{key}"))
        .query("partNumber", &number.to_string())
        .query("uploadId", id)
        .body(content)
        .send()
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.etag()
}

pub(crate) fn part_list(parts: &[(usize, String)]) -> String {
    let line = |(number, etag): &(usize, String)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>")
    };
    let lines: String = parts.iter().map(line).collect();
    format!("<CompleteMultipartUpload>{lines}</CompleteMultipartUpload>")
}

pub(crate) fn complete(server: &Server, key: &str, id: &str, parts: &[(usize, String)]) -> Answer {
    complete_if(server, key, id, parts, &[])
}

pub(crate) fn complete_if(
    server: &Server,
    key: &str,
    id: &str,
    parts: &[(usize, String)],
    headers: &[(&str, &str)],
) -> Answer {
    let path = format!("/bucket/{key}");
    let mut sent = request(server, "POST", &path)
        .query("uploadId", id)
        .body(part_list(parts));
    for (name, value) in headers {
        sent = sent.header(name, value);
    }
    sent.send().unwrap()
}
