//! The S3 server of the test kit as a process, for scripts and benches.
//!
//! Prints one line of JSON with `endpoint`, `control`, `bucket`, `access_key`, `secret_key` and, with TLS, `ca_file`; then
//! serves until stdin is closed or SIGTERM or SIGINT arrives. The control address is apart from the S3 port, so that looking
//! does not count as a call:
//!
//! | request | answer |
//! |---|---|
//! | `GET /calls` | `{"calls": {"LIST": 3, ...}, "total": 3, "most_running": 8, "connections": 2}` |
//! | `POST /reset` | starts counting anew |
//! | `GET /uploads?bucket=B` | unfinished multipart uploads |
//! | `GET /keys?bucket=B` | keys in byte order |
//! | `GET /objects?bucket=B` | size, ETag and user metadata by key |
//! | `POST /fill?bucket=B&prefix=P&count=N` | stores N small objects |
//! | `POST /clear?bucket=B` | empties the bucket |
//! | `POST /latency?ms=N` | time added to every request from now on |

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ows_testkit::s3::{Access, Quirks, Server};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
usage: s3-server [--port N] [--bucket NAME]... [--latency-ms N] [--access-key KEY --secret-key KEY]
                 [--tls] [--host NAME]... [--ca-file FILE] [--threads N]
Serves S3 on 127.0.0.1 from memory until stdin is closed or SIGTERM arrives.
";

struct Options {
    port: u16,
    buckets: Vec<String>,
    latency: Duration,
    access_key: String,
    secret_key: String,
    tls: bool,
    hosts: Vec<String>,
    ca_file: Option<String>,
    threads: usize,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done when stderr is gone too.
            let _ = write!(std::io::stderr(), "s3-server: {error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, Error> {
    let mut options = Options {
        port: 0,
        buckets: Vec::new(),
        latency: Duration::ZERO,
        access_key: "AKIATESTKIT".to_owned(),
        secret_key: "testkit-secret-key".to_owned(),
        tls: false,
        hosts: Vec::new(),
        ca_file: None,
        threads: 2,
    };
    while let Some(name) = arguments.next() {
        if name == "--tls" {
            options.tls = true;
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("`{name}` needs a value"))?;
        match name.as_str() {
            "--port" => options.port = value.parse()?,
            "--bucket" => options.buckets.push(value),
            "--latency-ms" => options.latency = Duration::from_millis(value.parse()?),
            "--access-key" => options.access_key = value,
            "--secret-key" => options.secret_key = value,
            "--host" => options.hosts.push(value),
            "--ca-file" => options.ca_file = Some(value),
            "--threads" => options.threads = value.parse()?,
            _ => return Err(format!("unknown option `{name}`").into()),
        }
    }
    if options.buckets.is_empty() {
        options.buckets.push("bench".to_owned());
    }
    if options.tls != options.ca_file.is_some() {
        return Err("`--tls` and `--ca-file` go together".into());
    }
    Ok(options)
}

#[tokio::main(flavor = "current_thread")]
async fn run(options: Options) -> Result<(), Error> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let control = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let server = start(&options);
    if let (Some(file), Some(pem)) = (&options.ca_file, server.ca_pem()) {
        std::fs::write(file, pem)?;
    }
    let line = json!({
        "endpoint": server.endpoint(),
        "control": format!("http://{}", control.local_addr()?),
        "bucket": options.buckets.first(),
        "access_key": server.access_key(),
        "secret_key": server.secret_key(),
        "ca_file": options.ca_file,
    });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;

    let (closed, stdin_closed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // An unreadable stdin is as good as a closed one.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = closed.send(());
    });
    tokio::select! {
        result = serve_control(control, server.access()) => result,
        _ = stdin_closed => Ok(()),
        _ = terminated.recv() => Ok(()),
        _ = interrupted.recv() => Ok(()),
    }
}

fn start(options: &Options) -> Server {
    let mut builder = Server::builder()
        .port(options.port)
        .keys(&options.access_key, &options.secret_key)
        .tls(options.tls)
        .threads(options.threads)
        .quirks(Quirks {
            latency: options.latency,
            ..Quirks::default()
        });
    for bucket in &options.buckets {
        builder = builder.bucket(bucket);
    }
    for host in &options.hosts {
        builder = builder.host(host);
    }
    builder.start()
}

async fn serve_control(listener: TcpListener, access: Access) -> Result<(), Error> {
    loop {
        let (stream, _) = listener.accept().await?;
        let access = access.clone();
        let handler = service_fn(move |request| {
            let answer = answer(&access, &request);
            async move { answer }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), handler),
        );
    }
}

fn answer(
    access: &Access,
    request: &Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    let query = query(request.uri().query().unwrap_or_default());
    let (status, body) = match handle(access, request.method(), request.uri().path(), &query) {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => (
            StatusCode::BAD_REQUEST,
            json!({ "error": error.to_string() }),
        ),
    };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
}

fn handle(
    access: &Access,
    method: &Method,
    path: &str,
    query: &HashMap<String, String>,
) -> Result<Value, Error> {
    let value = |name: &str| {
        let value = query.get(name).map(String::as_str);
        value.ok_or_else(|| format!("`{name}` is missing"))
    };
    let bucket = || {
        let name = value("bucket")?;
        if !access.buckets().iter().any(|known| known == name) {
            return Err(format!("there is no bucket `{name}`"));
        }
        Ok(name)
    };
    match (method.as_str(), path) {
        ("GET", "/calls") => Ok(calls(access)),
        ("GET", "/uploads") => Ok(uploads(access, bucket()?)),
        ("GET", "/keys") => Ok(json!(access.keys(bucket()?))),
        ("GET", "/objects") => Ok(objects(access, bucket()?)),
        ("POST", "/reset") => {
            access.reset_calls();
            Ok(json!({}))
        }
        ("POST", "/fill") => {
            let prefix = query.get("prefix").map(String::as_str).unwrap_or_default();
            access.fill(bucket()?, prefix, value("count")?.parse()?);
            Ok(json!({}))
        }
        ("POST", "/clear") => {
            access.clear(bucket()?);
            Ok(json!({}))
        }
        ("POST", "/latency") => {
            let latency = Duration::from_millis(value("ms")?.parse()?);
            access.set_quirks(|quirks| quirks.latency = latency);
            Ok(json!({}))
        }
        _ => Err(format!("there is no {method} {path}").into()),
    }
}

fn calls(access: &Access) -> Value {
    let calls = access.calls();
    json!({
        "total": calls.values().sum::<u64>(),
        "calls": calls
            .iter()
            .map(|(op, count)| (op.to_string(), *count))
            .collect::<HashMap<_, _>>(),
        "most_running": access.most_running(),
        "connections": access.connections(),
    })
}

fn uploads(access: &Access, bucket: &str) -> Value {
    let uploads = access.uploads(bucket);
    uploads
        .iter()
        .map(|upload| {
            json!({
                "key": upload.key,
                "upload_id": upload.upload_id,
                "parts": upload.parts.len(),
                "bytes": upload.parts.values().sum::<u64>(),
            })
        })
        .collect()
}

fn objects(access: &Access, bucket: &str) -> Value {
    let objects = access.objects(bucket);
    objects
        .iter()
        .map(|(key, object)| {
            let line =
                json!({ "size": object.size, "etag": object.etag, "metadata": object.metadata });
            (key.clone(), line)
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn query(text: &str) -> HashMap<String, String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}
