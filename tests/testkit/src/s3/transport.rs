//! Connections: accepting, TLS, HTTP/1.1, and what a fault does to a call.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::service::S3Service;
use s3s::{Body, S3Error, S3ErrorCode, StdError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::calls::{Call, Op};
use super::faults::Then;
use super::{Access, Shared};

/// Accepts connections until it is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    service: S3Service,
) {
    loop {
        // Accepting fails for reasons of the client, or for want of file descriptors, and may be tried again.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        shared.counters.connected();
        let shared = Arc::clone(&shared);
        let service = service.clone();
        let tls = tls.clone();
        tokio::spawn(connection(stream, tls, shared, service));
    }
}

/// Serves one connection to its end. What goes wrong on it is the client's to notice; the store is unharmed.
async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    service: S3Service,
) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match tls {
        None => http(stream, shared, service).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                http(stream, shared, service).await;
            }
        }
    }
}

fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shared: Arc<Shared>,
    service: S3Service,
) -> BoxFuture<'static, ()> {
    let handler = service_fn(move |request| -> BoxFuture<'static, _> {
        let shared = Arc::clone(&shared);
        let service = service.clone();
        Box::pin(async move { call(&shared, &service, request).await })
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(1 << 20)
        .serve_connection(TokioIo::new(stream), handler);
    Box::pin(connection.map(drop))
}

/// An error from here ends the connection without an answer.
async fn call(
    shared: &Arc<Shared>,
    service: &S3Service,
    request: Request<Incoming>,
) -> Result<Response<Body>, StdError> {
    let call = Call::classify(request.method(), request.uri(), request.headers());
    let _running = shared.counters.begin(&call);
    let latency = shared.quirks().latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let mut response = match shared.faults.strike(&call) {
        None => handle(service, request).await?,
        Some(fault) => struck(shared, service, request, fault).await?,
    };
    if matches!(
        call.op,
        Op::List | Op::ListV1 | Op::ListVersions | Op::ListUploads
    ) {
        escape_control_characters(&mut response);
    }
    if !shared.clock.is_system() {
        let date = HeaderValue::try_from(http_date(shared.clock.now()))?;
        response.headers_mut().insert(header::DATE, date);
    }
    Ok(response)
}

async fn handle(
    service: &S3Service,
    request: Request<Incoming>,
) -> Result<Response<Body>, StdError> {
    let answer = service.call(request.map(Body::from)).await;
    answer.map_err(StdError::from)
}

async fn struck(
    shared: &Arc<Shared>,
    service: &S3Service,
    request: Request<Incoming>,
    fault: Then,
) -> Result<Response<Body>, StdError> {
    match fault {
        Then::Error {
            status,
            code,
            retry_after,
        } => {
            drain(request).await;
            let mut response = error(status, &code)?;
            if let Some(seconds) = retry_after {
                let value = HeaderValue::from(seconds);
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            Ok(response)
        }
        Then::ErrorAfter { status, code } => {
            handle(service, request).await?;
            error(status, &code)
        }
        Then::ErrorInBody { code } => {
            drain(request).await;
            error(200, &code)
        }
        Then::Html { status } => {
            drain(request).await;
            let page = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><p>Welcome</body></html>";
            let response = Response::builder()
                .status(status)
                .header(header::CONTENT_TYPE, "text/html")
                .body(Body::from(page.to_owned()))?;
            Ok(response)
        }
        Then::DropBefore => Err(dropped()),
        Then::DropAfter => {
            handle(service, request).await?;
            Err(dropped())
        }
        Then::CutBody => cut_body(handle(service, request).await?).await,
        Then::ShortBody => {
            let response = handle(service, request).await?;
            change_body(response, |bytes| bytes.slice(..bytes.len() / 2)).await
        }
        Then::CorruptBody => {
            let response = handle(service, request).await?;
            change_body(response, flip_a_bit).await
        }
        Then::Hang => {
            // With an unread body in its way, or after one that broke off, the end of the connection goes unnoticed.
            if !drain(request).await {
                return Err(dropped());
            }
            std::future::pending().await
        }
        Then::Delay(time) => {
            tokio::time::sleep(time).await;
            handle(service, request).await
        }
        Then::Wait(gate) => {
            gate.pass().await;
            handle(service, request).await
        }
        Then::Race(action) => {
            action(&Access(Arc::clone(shared)));
            handle(service, request).await
        }
    }
}

/// Reads a body to its end, so that the client sees the answer instead of a connection that was reset under its upload.
/// False when it broke off.
async fn drain(request: Request<Incoming>) -> bool {
    let mut body = request.into_body();
    loop {
        match body.frame().await {
            None => return true,
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
        }
    }
}

fn dropped() -> StdError {
    io::Error::new(io::ErrorKind::ConnectionAborted, "dropped by a fault").into()
}

fn error(status: u16, code: &str) -> Result<Response<Body>, StdError> {
    let code = S3ErrorCode::from_bytes(code.as_bytes())
        .unwrap_or_else(|| S3ErrorCode::Custom(code.into()));
    let mut error = S3Error::with_message(code, "a scripted fault");
    error.set_status_code(StatusCode::from_u16(status)?);
    error.set_request_id("0123456789ABCDEF");
    error
        .to_http_response()
        .map_err(|error| StdError::from(error.to_string()))
}

/// Sends half of the body under the length of the whole, then gives up.
async fn cut_body(response: Response<Body>) -> Result<Response<Body>, StdError> {
    let (mut parts, body) = response.into_parts();
    let bytes = http_body_util::BodyExt::collect(body).await?.to_bytes();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let half = Frame::data(bytes.slice(..bytes.len() / 2));
    // The error must not be ready together with the data, or hyper would close before it wrote anything.
    let pause = stream::once(async {
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        Err::<Frame<Bytes>, StdError>(dropped())
    });
    let frames = stream::iter([Ok(half)]).chain(pause);
    let body = Body::http_body_unsync(StreamBody::new(frames));
    Ok(Response::from_parts(parts, body))
}

async fn change_body(
    response: Response<Body>,
    change: impl FnOnce(Bytes) -> Bytes,
) -> Result<Response<Body>, StdError> {
    let (mut parts, body) = response.into_parts();
    let bytes = change(http_body_util::BodyExt::collect(body).await?.to_bytes());
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

fn flip_a_bit(bytes: Bytes) -> Bytes {
    let mut bytes = BytesMut::from(bytes);
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.freeze()
}

/// Control characters in keys are character references on AWS; `s3s` writes them as they are, and a parser then turns a
/// carriage return into a newline.
fn escape_control_characters(response: &mut Response<Body>) {
    let Some(bytes) = response.body().bytes() else {
        return;
    };
    if !bytes.iter().any(|byte| *byte < 0x20) {
        return;
    }
    let mut escaped = Vec::with_capacity(bytes.len() + 64);
    for byte in &bytes {
        if *byte < 0x20 {
            escaped.extend_from_slice(format!("&#x{byte:X};").as_bytes());
        } else {
            escaped.push(*byte);
        }
    }
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(escaped);
}

fn http_date(time: SystemTime) -> String {
    DateTime::<Utc>::from(time)
        .format("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}
