//! The one place where S3's answers become kinds of errors.
//!
//! The store's code decides where it is known, else the status. The text keeps the store's own words and its id of the
//! request. What else an error document holds (the string to sign, the signature, the access key) is never looked at.

use std::error::Error as StdError;

use http::header::HeaderMap;
use http::{Method, StatusCode};
use object_store::client::{HttpError, HttpErrorKind};

use super::xml::{self, Problem};
use crate::http::{HttpSetupError, retry_after};
use crate::{Error, ErrorKind, Operation, Precondition};

/// The store's words are cut after so many characters.
const MAX_MESSAGE: usize = 300;

/// What a call is conditional on, as far as its errors are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    None,
    Absent,
    Version,
}

impl From<&Precondition> for Condition {
    fn from(precondition: &Precondition) -> Self {
        match precondition {
            Precondition::Any => Self::None,
            Precondition::Absent => Self::Absent,
            Precondition::Version(_) => Self::Version,
        }
    }
}

/// What was tried, for the error.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) operation: Operation,
    pub(super) path: String,
    pub(super) condition: Condition,
}

impl Attempt {
    pub(super) fn new(operation: Operation, path: impl Into<String>) -> Self {
        Self {
            operation,
            path: path.into(),
            condition: Condition::None,
        }
    }

    pub(super) fn on_condition(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    pub(super) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, self.operation, self.path.clone(), message)
    }

    /// An answer that said success and cannot be used.
    pub(super) fn unusable(&self, problem: Problem) -> Error {
        let kind = match problem {
            Problem::Broken(_) => ErrorKind::Transient { after: None },
            Problem::Unexpected(_) => ErrorKind::Permanent,
        };
        self.error(kind, problem.to_string()).with_source(problem)
    }
}

/// A failed answer as it came, body included.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) method: &'a Method,
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a str,
    pub(super) bucket: &'a str,
}

/// Whether the call was answered with success, and the answer could not be used.
pub(super) fn is_unusable(error: &Error) -> bool {
    error
        .source
        .as_ref()
        .is_some_and(|source| source.is::<Problem>())
}

/// What an error document says.
#[derive(Debug, Default)]
struct Document {
    code: String,
    message: String,
    request_id: Option<String>,
    region: Option<String>,
    condition: String,
}

impl Document {
    fn read(body: &str) -> Option<Self> {
        let root = xml::parse_root(body, "Error").ok()?;
        let text = |name| root.text_of(name).unwrap_or_default().trim().to_owned();
        let some = |name| Some(text(name)).filter(|text| !text.is_empty());
        Some(Self {
            code: text("Code"),
            message: text("Message"),
            request_id: some("RequestId"),
            region: some("Region"),
            condition: text("Condition"),
        })
    }
}

/// The error that a failed answer means.
pub(super) fn from_answer(attempt: &Attempt, answer: &Answer<'_>) -> Error {
    let read = Document::read(answer.body);
    let foreign = read.is_none() && !answer.body.trim().is_empty();
    let document = read.unwrap_or_default();
    let region = header_text(answer.headers, "x-amz-bucket-region").or(document.region.clone());
    let kind = kind(attempt, answer, &document, region.as_deref(), foreign);
    let message = message(answer, &document, region.as_deref(), foreign);
    let request_id =
        header_text(answer.headers, "x-amz-request-id").or(document.request_id.clone());
    attempt.error(kind, message).with_request_id(request_id)
}

/// The error that lies in an answer of 200: Amazon begins to answer a copy or a completion before it knows how it ends.
pub(super) fn in_success(
    attempt: &Attempt,
    headers: &HeaderMap,
    body: &str,
    bucket: &str,
) -> Option<Error> {
    Document::read(body)?;
    Some(from_answer(
        attempt,
        &Answer {
            method: &Method::POST,
            status: StatusCode::OK,
            headers,
            body,
            bucket,
        },
    ))
}

/// Whether the condition that a copy failed on was the one on its source; `None` when the store does not say.
pub(super) fn failed_on_source(body: &str) -> Option<bool> {
    let condition = Document::read(body)?.condition.to_ascii_lowercase();
    (!condition.is_empty()).then(|| condition.contains("copy-source"))
}

fn kind(
    attempt: &Attempt,
    answer: &Answer<'_>,
    document: &Document,
    region: Option<&str>,
    foreign: bool,
) -> ErrorKind {
    let after = retry_after(answer.headers);
    match document.code.as_str() {
        "NoSuchKey" | "NoSuchUpload" | "NoSuchVersion" | "NoSuchBucket" => ErrorKind::NotFound,
        "PreconditionFailed" => unmet(attempt.condition),
        "ConditionalRequestConflict" | "OperationAborted" => conflict(attempt),
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "ServiceUnavailable"
        | "Busy" => ErrorKind::RateLimited { after },
        // A signature for another region: the credentials are good.
        "AuthorizationHeaderMalformed" if region.is_some() => ErrorKind::Permanent,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "AuthorizationHeaderMalformed"
        | "InvalidSecurity"
        | "Unauthorized" => ErrorKind::Unauthorized,
        "QuotaExceeded"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "XMinioAdminQuotaExceeded"
        | "StorageFull"
        | "InsufficientStorage"
        | "CapExceeded"
        | "UserQuotaExceeded" => ErrorKind::QuotaExceeded,
        "KeyTooLongError" | "KeyTooLong" | "InvalidObjectName" | "XMinioInvalidObjectName" => {
            ErrorKind::InvalidName
        }
        "NotImplemented" | "MethodNotAllowed" => ErrorKind::Unsupported,
        "InternalError"
        | "InternalServerError"
        | "RequestTimeout"
        | "BadDigest"
        | "IncompleteBody"
        | "XAmzContentSHA256Mismatch"
        | "ClientDisconnected" => ErrorKind::Transient { after },
        "RequestTimeTooSkewed"
        | "InvalidObjectState"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException" => ErrorKind::Permanent,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "NotSignedUp" => {
            ErrorKind::Forbidden
        }
        _ => kind_of_status(attempt, answer, foreign),
    }
}

fn kind_of_status(attempt: &Attempt, answer: &Answer<'_>, foreign: bool) -> ErrorKind {
    let after = retry_after(answer.headers);
    match answer.status.as_u16() {
        401 => ErrorKind::Unauthorized,
        // A proxy's refusal says nothing about the credentials.
        403 if foreign => ErrorKind::Permanent,
        403 => ErrorKind::Forbidden,
        // A page of something that is no S3 says nothing about the object.
        404 if foreign && answer.method != Method::HEAD => ErrorKind::Permanent,
        404 => ErrorKind::NotFound,
        405 | 501 => ErrorKind::Unsupported,
        409 if attempt.condition != Condition::None => conflict(attempt),
        // Some stores answer 304 to an unmet If-None-Match of a write.
        304 | 412 => unmet(attempt.condition),
        429 | 503 => ErrorKind::RateLimited { after },
        507 => ErrorKind::QuotaExceeded,
        408 | 425 | 500 | 502 | 504..=506 | 520..=530 => ErrorKind::Transient { after },
        // An error within a success whose code is not known: nothing says that it would come again.
        200 => ErrorKind::Transient { after },
        _ => ErrorKind::Permanent,
    }
}

fn unmet(condition: Condition) -> ErrorKind {
    match condition {
        Condition::Absent => ErrorKind::AlreadyExists,
        Condition::None | Condition::Version => ErrorKind::PreconditionFailed,
    }
}

/// Another write to the key was under way. A put or delete may simply be sent again, and gets the decisive answer; an
/// upload in parts would have to be begun anew, so that it counts as lost to the other writer.
fn conflict(attempt: &Attempt) -> ErrorKind {
    if attempt.operation == Operation::CompleteUpload && attempt.condition != Condition::None {
        return unmet(attempt.condition);
    }
    ErrorKind::Transient { after: None }
}

fn message(
    answer: &Answer<'_>,
    document: &Document,
    region: Option<&str>,
    foreign: bool,
) -> String {
    let status = answer.status;
    let words = own_words(&document.message, &document.code);
    let redirected = matches!(status.as_u16(), 301 | 302 | 307 | 308);
    if let Some(region) = region
        && (redirected
            || matches!(
                document.code.as_str(),
                "AuthorizationHeaderMalformed"
                    | "PermanentRedirect"
                    | "IllegalLocationConstraintException"
            )
            || (answer.method == Method::HEAD && status == StatusCode::BAD_REQUEST))
    {
        return format!(
            "the bucket `{}` is in region `{}` (header x-amz-bucket-region): set `region` to it",
            answer.bucket,
            region.escape_debug()
        );
    }
    match document.code.as_str() {
        "NoSuchBucket" => format!("there is no bucket `{}`", answer.bucket),
        "RequestTimeTooSkewed" => format!(
            "this host's clock is wrong by more than the store allows: set it right ({words})"
        ),
        "" if redirected => format!(
            "the store answered with a redirect ({status}), which usually means that endpoint or region are wrong"
        ),
        "" if foreign => {
            format!("the answer ({status}) did not come from an S3 store; check endpoint and proxy")
        }
        "" => format!("the store answered {status}"),
        _ => words,
    }
}

fn own_words(message: &str, code: &str) -> String {
    let clean: String = message
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(MAX_MESSAGE)
        .collect();
    let code: String = code.chars().filter(|c| !c.is_control()).take(80).collect();
    match (clean.trim(), code.as_str()) {
        ("", code) => code.to_owned(),
        (clean, code) => format!("{clean} ({code})"),
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// The error of a request that got no answer, or whose answer's body broke off.
pub(super) fn from_transport(attempt: &Attempt, error: HttpError) -> Error {
    let (kind, message) = match permanent_cause(&error) {
        Some(message) => (ErrorKind::Permanent, message),
        None => {
            let what = match error.kind() {
                HttpErrorKind::Connect => "the store could not be reached",
                HttpErrorKind::Timeout => "the store did not answer in time",
                _ => "the connection failed",
            };
            (
                ErrorKind::Transient { after: None },
                format!("{what}: {}", innermost(&error)),
            )
        }
    };
    attempt.error(kind, message).with_source(error)
}

/// Faults of the connection that no waiting mends: a certificate that is not trusted, an address that is refused here.
fn permanent_cause(error: &HttpError) -> Option<String> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(refused) = cause.downcast_ref::<HttpSetupError>() {
            return Some(refused.to_string());
        }
        if let Some(rustls::Error::InvalidCertificate(reason)) = tls_error(cause) {
            return Some(format!(
                "the store's certificate is not trusted ({reason}): if it is signed by an own authority, name that one's certificate in `caFile`"
            ));
        }
        next = cause.source();
    }
    None
}

/// The TLS error that an error is, or that I/O errors wrap, which leave out what they hold when asked for their source.
fn tls_error<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    tls_error(cause.downcast_ref::<std::io::Error>()?.get_ref()?)
}

fn innermost(error: &dyn StdError) -> String {
    let mut deepest = error;
    while let Some(next) = deepest.source() {
        deepest = next;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests;
