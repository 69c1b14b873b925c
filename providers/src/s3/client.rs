//! Signed requests to one bucket.
//!
//! Every request is built and signed here, with object_store's signer and over the same [`HttpStack`] that its
//! credential providers use, rather than some here and some through object_store's `ObjectStore`. That one lacks the
//! conditional delete, copy and completion and the listings of uploads and parts, refuses keys that are no `Path`, and
//! keeps status, `Retry-After` and the store's own code to itself; two ways to send a PUT would mean two mappings of
//! errors. Nothing is repeated here: that is the retry layer's decision.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use md5::{Digest, Md5};
use object_store::aws::{AwsAuthorizer, AwsCredential, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody, HttpResponse, HttpService};

use super::address::{Address, encode_value};
use super::error::{self, Answer, Attempt};
use super::object::etag_of;
use crate::http::{ExtraTime, HttpStack, is_loopback};
use crate::layers::CallCounter;
use crate::{ErrorKind, Precondition, Result};

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// No document of S3 is longer: a page of 1,000 keys of 1,024 bytes, each byte encoded as three.
const MAX_DOCUMENT: usize = 16 << 20;
/// Of an error more is not looked at.
const MAX_ERROR_DOCUMENT: usize = 64 << 10;
/// Larger bodies are hashed on a thread that may block.
const HASH_INLINE: usize = 256 << 10;
/// How long the credential chain may take, its own repeats included.
const CREDENTIAL_TIMEOUT: Duration = Duration::from_secs(60);

/// One request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// The bucket itself when `None`.
    pub(super) key: Option<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// How much longer than others the store may take.
    pub(super) extra_time: Duration,
}

impl Call {
    pub(super) fn bucket(method: Method) -> Self {
        Self {
            method,
            key: None,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            extra_time: Duration::ZERO,
        }
    }

    pub(super) fn object(method: Method, key: String) -> Self {
        Self {
            key: Some(key),
            ..Self::bucket(method)
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(super) fn extra_time(mut self, time: Duration) -> Self {
        self.extra_time = time;
        self
    }

    /// Adds the header of a precondition.
    pub(super) fn precondition(
        self,
        attempt: &Attempt,
        precondition: &Precondition,
    ) -> Result<Self> {
        Ok(match precondition {
            Precondition::Any => self,
            Precondition::Absent => self.header(IF_NONE_MATCH, HeaderValue::from_static("*")),
            Precondition::Version(version) => {
                let etag = etag_of(version).ok_or_else(|| {
                    attempt.error(ErrorKind::Permanent, "the version is no ETag of S3")
                })?;
                self.header(IF_MATCH, etag)
            }
        })
    }
}

/// Sends calls to one bucket.
pub(super) struct Client {
    http: HttpStack,
    address: Address,
    region: String,
    credentials: AwsCredentialProvider,
    /// A bucket whose objects are locked wants `Content-MD5` with every write. It is found out by the first refusal,
    /// because computing MD5 for all would cost more than everything else together.
    wants_md5: AtomicBool,
    /// What is sent cannot be altered on its way: TLS, or no way at all. Then the content of large bodies is not part of
    /// the signature, as with Amazon's own tools: SHA-256 over it would cost as much as all else that is done to it.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>, `UNSIGNED-PAYLOAD`.
    is_safe_way: bool,
    counter: Option<Arc<CallCounter>>,
}

impl fmt::Debug for Client {
    // By hand, to leave the credentials out whatever they print.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("bucket_url", &self.address.bucket_url())
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(
        http: HttpStack,
        address: Address,
        region: String,
        credentials: AwsCredentialProvider,
        counter: Option<Arc<CallCounter>>,
    ) -> Self {
        Self {
            is_safe_way: is_safe_way(address.bucket_url()),
            http,
            address,
            region,
            credentials,
            wants_md5: AtomicBool::new(false),
            counter,
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn http(&self) -> &HttpStack {
        &self.http
    }

    /// Sends a call that writes content, with `Content-MD5` where the bucket wants it.
    pub(super) async fn send_content(&self, attempt: &Attempt, call: Call) -> Result<HttpResponse> {
        let with_md5 = self.wants_md5.load(Ordering::Relaxed);
        let again = (!with_md5).then(|| Call {
            method: call.method.clone(),
            key: call.key.clone(),
            query: call.query.clone(),
            headers: call.headers.clone(),
            body: call.body.clone(),
            extra_time: call.extra_time,
        });
        let first = if with_md5 { add_md5(call) } else { call };
        match (self.send(attempt, first).await, again) {
            (Err(error), Some(again))
                if error.kind == ErrorKind::Permanent && error.message.contains("Content-MD5") =>
            {
                self.wants_md5.store(true, Ordering::Relaxed);
                self.send(attempt, add_md5(again)).await
            }
            (outcome, _) => outcome,
        }
    }

    /// Sends a call. The answer is one of success; every other is an error.
    pub(super) async fn send(&self, attempt: &Attempt, call: Call) -> Result<HttpResponse> {
        let (answer, failed) = self.exchange(attempt, call).await?;
        match failed {
            None => Ok(answer),
            Some(failed) => Err(failed.error),
        }
    }

    /// As [`Client::send`], but a failed answer comes with its body, for callers who need more than the error.
    pub(super) async fn send_keeping_body(
        &self,
        attempt: &Attempt,
        call: Call,
    ) -> Result<std::result::Result<HttpResponse, Failed>> {
        let (answer, failed) = self.exchange(attempt, call).await?;
        Ok(failed.map_or(Ok(answer), Err))
    }

    async fn exchange(
        &self,
        attempt: &Attempt,
        call: Call,
    ) -> Result<(HttpResponse, Option<Failed>)> {
        let method = call.method.clone();
        let credential = self.credential(attempt).await?;
        let request = self.request(attempt, call)?;
        let request = self.sign(attempt, request, &credential).await?;
        tracing::trace!(operation = attempt.operation.name(), path = attempt.path, %method, "request");
        if let Some(counter) = &self.counter {
            counter.count(attempt.operation);
        }
        let answer = self
            .http
            .call(request)
            .await
            .map_err(|error| error::from_transport(attempt, error))?;
        if answer.status().is_success() {
            return Ok((answer, None));
        }
        let (parts, body) = answer.into_parts();
        // An error whose body breaks off is still the error that its status says.
        let body = read(body, MAX_ERROR_DOCUMENT).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&body).into_owned();
        let mut error = error::from_answer(
            attempt,
            &Answer {
                method: &method,
                status: parts.status,
                headers: &parts.headers,
                body: &text,
                bucket: self.address.bucket(),
            },
        );
        error.message = redact(error.message, &credential);
        let answer = HttpResponse::from_parts(parts, Bytes::new().into());
        Ok((answer, Some(Failed { error, body: text })))
    }

    /// Reads the document that an answer of success carries. An error in it is returned as one.
    pub(super) async fn document(&self, attempt: &Attempt, answer: HttpResponse) -> Result<String> {
        let (parts, body) = answer.into_parts();
        let bytes = read(body, MAX_DOCUMENT)
            .await
            .map_err(|failure| failure.into_error(attempt))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            attempt.error(
                ErrorKind::Transient { after: None },
                "the answer is not UTF-8",
            )
        })?;
        match error::in_success(attempt, &parts.headers, &text, self.address.bucket()) {
            Some(error) => Err(error),
            None => Ok(text),
        }
    }

    async fn credential(&self, attempt: &Attempt) -> Result<Arc<AwsCredential>> {
        let unauthorized = |message: String| attempt.error(ErrorKind::Unauthorized, message);
        let credential =
            tokio::time::timeout(CREDENTIAL_TIMEOUT, self.credentials.get_credential())
                .await
                .map_err(|_| unauthorized("no credentials came within a minute".to_owned()))?
                .map_err(|error| unauthorized(super::credentials::explain(&error)))?;
        // The signer puts them into headers and panics on what cannot be in one.
        if !is_printable(&credential.key_id)
            || !is_printable(&credential.secret_key)
            || credential
                .token
                .as_deref()
                .is_some_and(|token| !is_printable(token))
        {
            return Err(unauthorized(
                "the access key, secret key or session token is empty or holds characters that none has"
                    .to_owned(),
            ));
        }
        Ok(credential)
    }

    fn request(&self, attempt: &Attempt, call: Call) -> Result<HttpRequest> {
        let mut url = match &call.key {
            Some(key) => self.address.object_url(key),
            None => self.address.bucket_url().to_owned(),
        };
        let mut separator = '?';
        for (name, value) in &call.query {
            url.push(separator);
            url.push_str(name);
            url.push('=');
            url.push_str(&encode_value(value));
            separator = '&';
        }
        let length = call.body.len();
        let writes = matches!(call.method, Method::PUT | Method::POST);
        let mut request = http::Request::builder()
            .method(call.method)
            .uri(url)
            .body(HttpRequestBody::from(call.body))
            .map_err(|error| attempt.error(ErrorKind::InvalidName, error.to_string()))?;
        *request.headers_mut() = call.headers;
        if writes {
            request
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if !call.extra_time.is_zero() {
            request.extensions_mut().insert(ExtraTime(call.extra_time));
        }
        Ok(request)
    }

    async fn sign(
        &self,
        attempt: &Attempt,
        mut request: HttpRequest,
        credential: &Arc<AwsCredential>,
    ) -> Result<HttpRequest> {
        let failed = |text: String| {
            attempt.error(
                ErrorKind::Permanent,
                format!("the request cannot be signed: {text}"),
            )
        };
        // The signer panics on headers that are not UTF-8; only metadata of strangers can be that.
        if let Some((name, _)) = request
            .headers()
            .iter()
            .find(|(_, value)| std::str::from_utf8(value.as_bytes()).is_err())
        {
            return Err(failed(format!("header {name} is not UTF-8")));
        }
        let small = request.body().content_length() <= HASH_INLINE;
        let region = self.region.clone();
        let credential = Arc::clone(credential);
        let signs_content = small || !self.is_safe_way;
        let sign = move || {
            let outcome = AwsAuthorizer::new(&credential, "s3", &region)
                .with_sign_payload(signs_content)
                .try_authorize(&mut request, None);
            outcome.map(|()| request)
        };
        if !signs_content || small {
            return sign().map_err(|error| failed(error.to_string()));
        }
        tokio::task::spawn_blocking(sign)
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))
    }
}

/// A failed answer.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: crate::Error,
    pub(super) body: String,
}

enum ReadFailure {
    Transport(object_store::client::HttpError),
    TooLong(usize),
}

impl ReadFailure {
    fn into_error(self, attempt: &Attempt) -> crate::Error {
        match self {
            Self::Transport(error) => error::from_transport(attempt, error),
            Self::TooLong(limit) => attempt.error(
                ErrorKind::Permanent,
                format!("the answer is longer than {limit} bytes"),
            ),
        }
    }
}

async fn read(
    body: object_store::client::HttpResponseBody,
    limit: usize,
) -> std::result::Result<Vec<u8>, ReadFailure> {
    let mut stream = body.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(ReadFailure::Transport)?;
        if bytes.len() + chunk.len() > limit {
            return Err(ReadFailure::TooLong(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Whether nobody can alter what is sent to an address.
fn is_safe_way(address: &str) -> bool {
    url::Url::parse(address).is_ok_and(|url| {
        url.scheme() == "https" || url.host().is_some_and(|host| is_loopback(&host))
    })
}

fn add_md5(call: Call) -> Call {
    let text = BASE64_STANDARD.encode(Md5::digest(&call.body));
    match HeaderValue::from_str(&text) {
        Ok(value) => call.header(CONTENT_MD5, value),
        // Base64 is ASCII; there is no other case.
        Err(_) => call,
    }
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Takes out what a store repeats of the credentials: some name the key in their message.
fn redact(message: String, credential: &AwsCredential) -> String {
    let secrets = [
        Some(&credential.key_id),
        Some(&credential.secret_key),
        credential.token.as_ref(),
    ];
    let message = secrets
        .into_iter()
        .flatten()
        .filter(|secret| secret.len() >= 4)
        .fold(message, |text, secret| {
            text.replace(secret.as_str(), "[hidden]")
        });
    match message.find("Signature=") {
        Some(at) => format!("{}[hidden]", &message[..at]),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::is_safe_way;

    #[test]
    fn only_what_cannot_be_altered_on_its_way_goes_without_a_signature_over_its_content() {
        for (address, safe) in [
            ("https://s3.eu-west-1.amazonaws.com/box", true),
            ("http://127.0.0.1:9000/box", true),
            ("http://localhost:9000/box", true),
            ("http://[::1]:9000/box", true),
            ("http://10.0.0.7:9000/box", false),
            ("http://minio.internal/box", false),
            ("no address", false),
        ] {
            assert_eq!(is_safe_way(address), safe, "{address}");
        }
    }
}
