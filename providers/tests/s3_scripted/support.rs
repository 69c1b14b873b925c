//! A server that gives the answers of a script, one for each request, and keeps what it was asked.

use std::sync::{Arc, Mutex};

use ows_providers::http::HttpOptions;
use ows_providers::layers::RetryPolicy;
use ows_providers::s3::{S3Credentials, S3Options, S3Provider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const ACCESS_KEY: &str = "AKIAACCESSKEY";
pub const SECRET_KEY: &str = "secretkeyofthetest";
pub const TOKEN: &str = "sessiontokenofthetest";

/// What the server was asked.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What the server answers.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    announced: Option<usize>,
}

pub fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer {
        status,
        headers: Vec::new(),
        body: body.into(),
        announced: None,
    }
}

impl Answer {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Announces another length than the body has.
    pub fn announcing(mut self, length: usize) -> Self {
        self.announced = Some(length);
        self
    }

    fn bytes(&self, head: bool) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", self.status);
        let length = self.announced.unwrap_or(self.body.len());
        if !matches!(self.status, 204 | 304) {
            text.push_str(&format!("Content-Length: {length}\r\n"));
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if !head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

type Script = Arc<dyn Fn(usize, &Asked) -> Answer + Send + Sync>;

/// A running server; it ends with the test's runtime.
pub struct Server {
    pub endpoint: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers every request by a function of its number and of what was asked.
    pub async fn answering(
        script: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(script);
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { endpoint, asked }
    }

    /// Gives these answers in turn; a request too many fails the test by a status that no test expects.
    pub async fn scripted(answers: Vec<Answer>) -> Self {
        Self::answering(move |number, _| {
            answers
                .get(number)
                .cloned()
                .unwrap_or_else(|| answer(418, "the script is over"))
        })
        .await
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// A provider for the folder `pre` of the bucket `box` on this server.
    pub fn provider(&self) -> S3Provider {
        self.provider_with(|_| ())
    }

    pub fn provider_with(&self, change: impl FnOnce(&mut S3Options)) -> S3Provider {
        let mut options = S3Options {
            endpoint: Some(self.endpoint.clone()),
            bucket: "box".to_owned(),
            prefix: "pre".to_owned(),
            region: Some("us-east-1".to_owned()),
            credentials: S3Credentials::Static {
                access_key_id: ACCESS_KEY.into(),
                secret_access_key: SECRET_KEY.into(),
                session_token: Some(TOKEN.into()),
            },
            force_path_style: None,
            sse: None,
            storage_class: None,
            http: HttpOptions::default(),
            // One attempt: a script holds an answer for each.
            list_retry: RetryPolicy {
                attempts: 1,
                ..RetryPolicy::metadata()
            },
            counter: None,
        };
        change(&mut options);
        S3Provider::with_environment(options, Arc::new(|_| None)).unwrap()
    }
}

async fn serve(mut stream: TcpStream, script: Script, log: Arc<Mutex<Vec<Asked>>>) {
    let Some(asked) = read(&mut stream).await else {
        return;
    };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(asked.clone());
        log.len() - 1
    };
    let bytes = script(number, &asked).bytes(asked.method == "HEAD");
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let mut asked = Asked {
        method: first.next().unwrap().to_owned(),
        target: first.next().unwrap().to_owned(),
        ..Asked::default()
    };
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        let pair = (name.to_ascii_lowercase(), value.trim().to_owned());
        asked.headers.push(pair);
    }
    let length: usize = asked
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    bytes.drain(..head_end + 4);
    while bytes.len() < length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    asked.body = bytes;
    Some(asked)
}
