//! A small S3 client over blocking sockets: it signs, sends one request per connection and shows the answer as it came.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use chrono::Utc;
use ows_testkit::s3::{REGION, Server};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::{digest, hmac};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The content of the first XML element of this name.
    pub fn element(&self, name: &str) -> Option<String> {
        self.elements(name).into_iter().next()
    }

    /// The contents of all XML elements of this name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let parts = text.split(&open).skip(1);
        parts
            .filter_map(|part| part.split(&close).next())
            .map(str::to_owned)
            .collect()
    }

    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }

    pub fn etag(&self) -> String {
        self.headers
            .get("etag")
            .map(|etag| etag.trim_matches('"').to_owned())
            .unwrap_or_default()
    }
}

/// A request in the making.
pub struct Request<'a> {
    server: &'a Server,
    method: &'a str,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    secret: String,
}

/// `path` is `/bucket/key`, not encoded.
pub fn request<'a>(server: &'a Server, method: &'a str, path: &str) -> Request<'a> {
    Request {
        server,
        method,
        path: utf8_percent_encode(path, PATH).to_string(),
        query: BTreeMap::new(),
        headers: BTreeMap::new(),
        body: Vec::new(),
        secret: server.secret_key().to_owned(),
    }
}

impl Request<'_> {
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
        self.query.insert(encode(name), encode(value));
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn secret(mut self, secret: &str) -> Self {
        secret.clone_into(&mut self.secret);
        self
    }

    /// Sends it over plain TCP.
    ///
    /// # Errors
    /// When the connection ends before the answer does.
    pub fn send(self) -> io::Result<Answer> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server.port()))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        self.send_over(stream)
    }

    /// Sends it over a stream that is connected already.
    pub fn send_over(self, stream: impl Read + Write) -> io::Result<Answer> {
        let is_head = self.method == "HEAD";
        exchange(&self.into_message(), stream, is_head)
    }

    /// The bytes to send, signed.
    pub fn into_message(mut self) -> Vec<u8> {
        let time = Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
        let date = &time[..8];
        let host = format!("127.0.0.1:{}", self.server.port());
        self.headers.insert("host".to_owned(), host);
        self.headers.insert("x-amz-date".to_owned(), time.clone());
        let hash = hex::encode(digest::digest(&digest::SHA256, &self.body));
        let hash = self
            .headers
            .entry("x-amz-content-sha256".to_owned())
            .or_insert(hash)
            .clone();
        let query: Vec<String> = self.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let query = query.join("&");
        let names: Vec<&str> = self.headers.keys().map(String::as_str).collect();
        let names = names.join(";");
        let lines: String = self
            .headers
            .iter()
            .map(|(k, v)| format!("{k}:{}\n", v.trim()))
            .collect();
        let canonical = format!(
            "{}\n{}\n{query}\n{lines}\n{names}\n{hash}",
            self.method, self.path
        );
        let canonical = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        let scope = format!("{date}/{REGION}/s3/aws4_request");
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical}");
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in [date, REGION, "s3", "aws4_request", &to_sign] {
            let signer = hmac::Key::new(hmac::HMAC_SHA256, &key);
            key = hmac::sign(&signer, part.as_bytes()).as_ref().to_vec();
        }
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.server.access_key(),
            hex::encode(key)
        );
        let target = match query.as_str() {
            "" => self.path,
            query => format!("{}?{query}", self.path),
        };
        let mut message = format!("{} {target} HTTP/1.1\r\n", self.method);
        for (name, value) in &self.headers {
            message.push_str(&format!("{name}: {value}\r\n"));
        }
        message.push_str(&format!(
            "authorization: {authorization}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.body.len()
        ));
        let mut message = message.into_bytes();
        message.extend(self.body);
        message
    }
}

/// Sends a message and reads the answer.
pub fn exchange(
    message: &[u8],
    mut stream: impl Read + Write,
    is_head: bool,
) -> io::Result<Answer> {
    // A server that drops the connection may do so before everything is written; what it answered counts.
    let written = stream.write_all(message);
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        written?;
        read?;
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    parse(&bytes, is_head)
}

fn parse(bytes: &[u8], is_head: bool) -> io::Result<Answer> {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let body = bytes[end + 4..].to_vec();
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse::<usize>().ok());
    if let Some(length) = length.filter(|length| !is_head && *length != body.len()) {
        let text = format!("{} of {length} bytes came", body.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    Ok(Answer {
        status: status
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0),
        headers,
        body,
    })
}
