//! The HTTP client under every adapter that speaks HTTP.
//!
//! One [`HttpStack`] is one connection pool with explicit roots, proxy and timeouts. It is used through object_store's
//! [`HttpService`], so that requests that we sign ourselves and requests that object_store's credential providers make
//! take the same way, are counted together, and tell the provider's clock alike. The stack changes nothing about a
//! request or an answer, follows no redirect (a signature is good for one address only) and repeats nothing: repeating
//! is the retry layer's decision.
//!
//! TLS is rustls with ring over roots that are named here. Neither reqwest's nor object_store's own setup is used: both
//! ask the platform for its roots and cannot build a client at all where there are none, as in an empty container.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::Uri;
use http::header::{DATE, HeaderMap};
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::Sleep;
use url::{Host, Url};

/// How long connecting may take, name lookup and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long any request may wait for its answer, apart from the time that its body takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The slowest line that uploads work on, in bytes a second. A fixed timeout would make a part of 16 MiB fail for ever
/// on such a line.
const SLOWEST_RATE: u64 = 30_000;
/// How long an answer's body may stand still.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Servers close idle connections, many after 20 to 75 seconds; a request on one that is being closed fails.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Instance metadata is one hop away or not there at all.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// How to reach HTTP servers.
#[derive(Clone, Default)]
pub struct HttpOptions {
    /// Root certificates in PEM that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// URL of a proxy, `http://` or `https://`, with user and password in it where needed. Without one `HTTPS_PROXY`
    /// and `HTTP_PROXY` of the environment are used; `NO_PROXY` counts for both.
    pub proxy: Option<String>,
    /// Unencrypted requests are allowed to any address. Without this only to loopback addresses.
    pub allow_http: bool,
    /// What to send as `User-Agent`; `ows/<version>` without one.
    pub user_agent: Option<String>,
}

impl fmt::Debug for HttpOptions {
    // By hand, because the proxy's URL may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpOptions")
            .field("ca_file", &self.ca_file)
            .field("proxy", &self.proxy.as_deref().map(without_password))
            .field("allow_http", &self.allow_http)
            .field("user_agent", &self.user_agent)
            .finish()
    }
}

/// Which versions of HTTP to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1 alone: for object stores, where many connections carry more than many streams on one.
    Http1,
    /// HTTP/2 where the server has it, else HTTP/1.1.
    Http2,
}

/// Why no HTTP client can be built, or an address not be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpSetupError {
    /// The file with root certificates cannot be read.
    #[error("the CA file `{}` cannot be read: {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file with root certificates holds none.
    #[error("the CA file `{}` holds no certificate in PEM form", .0.display())]
    CaFileEmpty(PathBuf),
    /// The proxy's URL cannot be used. The URL is not repeated, since it may hold a password.
    #[error("the proxy's URL cannot be used: {0}")]
    Proxy(String),
    /// The address is no URL that can be used.
    #[error("`{url}` is no usable address: {reason}")]
    Address {
        /// The address, without user and password.
        url: String,
        /// Why.
        reason: String,
    },
    /// An unencrypted address that is not loopback.
    #[error(
        "`http://{0}` is not encrypted; only loopback addresses are allowed without TLS, unless `allowHttp` is true"
    )]
    NotEncrypted(String),
    /// The client cannot be built for another reason.
    #[error("no HTTP client can be built: {0}")]
    Client(String),
}

/// When the server answered, by its own clock: an extension of every answer that had a `Date` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerDate(pub DateTime<Utc>);

/// An extension of a request whose answer takes the server longer than its body lets one expect, such as a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtraTime(pub Duration);

/// A connection pool with its roots, proxy and timeouts. Clones share the pool, the count and the clock.
#[derive(Clone)]
pub struct HttpStack {
    client: reqwest::Client,
    allow_http: bool,
    answer_timeout: Duration,
    idle_timeout: Duration,
    observed: Arc<Observed>,
}

#[derive(Default)]
struct Observed {
    requests: AtomicU64,
    newest_date: Mutex<Option<(DateTime<Utc>, Instant)>>,
}

impl fmt::Debug for HttpStack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpStack")
            .field("allow_http", &self.allow_http)
            .field("requests", &self.requests())
            .finish_non_exhaustive()
    }
}

impl HttpStack {
    /// Builds the client.
    ///
    /// # Errors
    /// [`HttpSetupError`] when the CA file or the proxy cannot be used.
    pub fn new(options: &HttpOptions, protocols: Protocols) -> Result<Self, HttpSetupError> {
        let mut builder = builder(options, protocols)?.connect_timeout(CONNECT_TIMEOUT);
        if let Some(proxy) = &options.proxy {
            builder = builder.proxy(explicit_proxy(proxy)?);
        }
        Ok(Self {
            client: build(builder)?,
            allow_http: options.allow_http,
            answer_timeout: ANSWER_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            observed: Arc::default(),
        })
    }

    /// A client for the metadata services of cloud machines and containers: plain HTTP to link-local addresses, never
    /// through a proxy, and quick to give up, since on most machines nobody answers.
    ///
    /// # Errors
    /// [`HttpSetupError`] as for [`HttpStack::new`].
    pub fn for_metadata(options: &HttpOptions) -> Result<Self, HttpSetupError> {
        let builder = builder(options, Protocols::Http1)?
            .connect_timeout(METADATA_TIMEOUT)
            .no_proxy();
        Ok(Self {
            client: build(builder)?,
            allow_http: true,
            answer_timeout: METADATA_TIMEOUT,
            idle_timeout: METADATA_TIMEOUT,
            observed: Arc::default(),
        })
    }

    /// How many requests were sent, each attempt counted.
    pub fn requests(&self) -> u64 {
        self.observed.requests.load(Ordering::Relaxed)
    }

    /// The server's clock: the newest `Date` that it sent, moved on by what has passed since.
    pub fn clock(&self) -> Option<DateTime<Utc>> {
        let newest = self.observed.newest_date();
        let (date, seen_at) = (*newest)?;
        let passed = chrono::TimeDelta::from_std(seen_at.elapsed()).ok()?;
        date.checked_add_signed(passed)
    }

    /// This stack as object_store's type.
    pub fn client(&self) -> HttpClient {
        HttpClient::new(self.clone())
    }

    /// Asks for an address, for the status of the answer alone. The error's text does not repeat the address.
    pub(crate) async fn get(&self, url: Url) -> Result<reqwest::StatusCode, String> {
        self.observed.requests.fetch_add(1, Ordering::Relaxed);
        let answer = self.client.get(url).send().await;
        answer
            .map(|answer| answer.status())
            .map_err(|error| innermost(&error.without_url()))
    }

    fn observe(&self, headers: &HeaderMap) -> Option<ServerDate> {
        let date = parse_http_date(headers.get(DATE)?.to_str().ok()?)?;
        let mut newest = self.observed.newest_date();
        if newest.is_none_or(|(known, _)| date >= known) {
            *newest = Some((date, Instant::now()));
        }
        Some(ServerDate(date))
    }

    fn refuse_unencrypted(&self, uri: &Uri) -> Result<(), HttpError> {
        let encrypted = uri.scheme() != Some(&http::uri::Scheme::HTTP);
        let host = uri.host().unwrap_or_default();
        if encrypted || self.allow_http || is_loopback_name(host) {
            return Ok(());
        }
        let refused = HttpSetupError::NotEncrypted(host.to_owned());
        Err(HttpError::new(HttpErrorKind::Unknown, refused))
    }
}

impl Observed {
    fn newest_date(&self) -> std::sync::MutexGuard<'_, Option<(DateTime<Utc>, Instant)>> {
        // What the mutex guards is a plain value that is never half-written.
        self.newest_date
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HttpService for HttpStack {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.refuse_unencrypted(request.uri())?;
        let extra = request.extensions().get::<ExtraTime>().map(|extra| extra.0);
        let limit = self.answer_timeout
            + extra.unwrap_or_default()
            + time_for_body(request.body().content_length() as u64);
        self.observed.requests.fetch_add(1, Ordering::Relaxed);
        let answer = tokio::time::timeout(limit, self.client.call(request))
            .await
            .map_err(|_| timed_out("no answer came", limit))??;
        let date = self.observe(answer.headers());
        let (mut parts, body) = answer.into_parts();
        if let Some(date) = date {
            parts.extensions.insert(date);
        }
        let idle = self.idle_timeout + extra.unwrap_or_default();
        let body = HttpResponseBody::new(IdleBody::new(body, idle));
        Ok(HttpResponse::from_parts(parts, body))
    }
}

impl HttpConnector for HttpStack {
    // The options are object_store's way to say what this stack was already told.
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.client())
    }
}

/// Checks the address of a server: `https://`, or `http://` where that is allowed; no user, query or fragment.
///
/// # Errors
/// [`HttpSetupError::Address`] and [`HttpSetupError::NotEncrypted`].
pub fn check_address(text: &str, allow_http: bool) -> Result<Url, HttpSetupError> {
    let refuse = |reason: &str| HttpSetupError::Address {
        url: without_password(text),
        reason: reason.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    let host = url.host().ok_or_else(|| refuse("it names no host"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it holds a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it holds a query or fragment"));
    }
    match url.scheme() {
        "https" => {}
        "http" if allow_http || is_loopback(&host) => {}
        "http" => return Err(HttpSetupError::NotEncrypted(host.to_string())),
        _ => return Err(refuse("it begins with neither https:// nor http://")),
    }
    Ok(url)
}

/// Reads a date as HTTP headers hold it.
pub(crate) fn parse_http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text.trim())
        .ok()
        .map(|date| date.to_utc())
}

/// The wait that a `Retry-After` header asks for: seconds, or a date, which is meant by the server's clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let until = parse_http_date(text)?;
    let now = headers
        .get(DATE)
        .and_then(|value| parse_http_date(value.to_str().ok()?))
        .unwrap_or_else(Utc::now);
    Some((until - now).to_std().unwrap_or_default())
}

fn time_for_body(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST_RATE)
}

fn builder(
    options: &HttpOptions,
    protocols: Protocols,
) -> Result<reqwest::ClientBuilder, HttpSetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpSetupError::Client(error.to_string()))?
        .with_root_certificates(roots(options)?)
        .with_no_client_auth();
    // reqwest leaves the protocols of a configuration that it did not make alone.
    tls.alpn_protocols = match protocols {
        Protocols::Http1 => vec![b"http/1.1".to_vec()],
        Protocols::Http2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    let user_agent = options
        .user_agent
        .clone()
        .unwrap_or_else(|| concat!("ows/", env!("CARGO_PKG_VERSION")).to_owned());
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT);
    Ok(match protocols {
        Protocols::Http1 => builder.http1_only(),
        Protocols::Http2 => builder,
    })
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, HttpSetupError> {
    builder
        .build()
        .map_err(|error| HttpSetupError::Client(innermost(&error)))
}

/// The system's roots, or Mozilla's as they were when this was built, and those of the CA file.
fn roots(options: &HttpOptions) -> Result<RootCertStore, HttpSetupError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "system root certificates");
    }
    let (usable, _) = roots.add_parsable_certificates(system.certs);
    if usable == 0 {
        if let Some(path) = std::env::var_os("SSL_CERT_FILE") {
            tracing::warn!(path = %path.display(), "SSL_CERT_FILE holds no root certificates; using the built-in ones");
        }
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = &options.ca_file {
        let unreadable = |reason: String| HttpSetupError::CaFile {
            path: path.clone(),
            reason,
        };
        let pem = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| unreadable(error.to_string()))?;
            found += 1;
        }
        if found == 0 {
            return Err(HttpSetupError::CaFileEmpty(path.clone()));
        }
    }
    Ok(roots)
}

fn explicit_proxy(text: &str) -> Result<reqwest::Proxy, HttpSetupError> {
    let refuse = |reason: &str| HttpSetupError::Proxy(reason.to_owned());
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("it begins with neither http:// nor https://"));
    }
    if url.host().is_none() {
        return Err(refuse("it names no host"));
    }
    reqwest::Proxy::all(url)
        .map(|proxy| proxy.no_proxy(reqwest::NoProxy::from_env()))
        .map_err(|error| refuse(&innermost(&error.without_url())))
}

pub(crate) fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => is_loopback_name(name),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn is_loopback_name(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.has_authority() => {
            if url.set_username("").is_err() || url.set_password(None).is_err() {
                return "[unreadable URL]".to_owned();
            }
            url.to_string()
        }
        // What is no URL can hold a password as well.
        _ if text.contains('@') => "[unreadable URL]".to_owned(),
        _ => text.to_owned(),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(next) = deepest.source() {
        deepest = next;
    }
    deepest.to_string()
}

#[derive(Debug, thiserror::Error)]
#[error("{what} within {seconds} seconds")]
struct TimedOut {
    what: &'static str,
    seconds: u64,
}

fn timed_out(what: &'static str, after: Duration) -> HttpError {
    let seconds = after.as_secs();
    HttpError::new(HttpErrorKind::Timeout, TimedOut { what, seconds })
}

/// An answer's body that fails when it stands still. Only time in which somebody waits for it counts, so that a reader
/// who takes his time (a bandwidth limit, a slow disk) is no failure of the server.
struct IdleBody {
    inner: HttpResponseBody,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl IdleBody {
    fn new(inner: HttpResponseBody, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            timer: None,
            waiting: false,
        }
    }
}

impl Body for IdleBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            this.waiting = false;
            return Poll::Ready(frame);
        }
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(this.limit)));
        if !this.waiting {
            timer
                .as_mut()
                .reset(tokio::time::Instant::now() + this.limit);
            this.waiting = true;
        }
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(timed_out("no data came", this.limit)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
