use http::HeaderValue;

use super::*;
use std::time::Duration;

fn ask(
    operation: Operation,
    condition: Condition,
    method: Method,
    status: u16,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Error {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect();
    from_answer(
        &Attempt::new(operation, "a/b").on_condition(condition),
        &Answer {
            method: &method,
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            body,
            bucket: "box",
        },
    )
}

fn document(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>the words</Message><RequestId>R1</RequestId>\
         <AWSAccessKeyId>AKIAKEY</AWSAccessKeyId><StringToSign>STS</StringToSign>\
         <SignatureProvided>SIG</SignatureProvided></Error>"
    )
}

fn put(condition: Condition, status: u16, code: &str) -> Error {
    ask(
        Operation::Put,
        condition,
        Method::PUT,
        status,
        &[],
        &document(code),
    )
}

#[test]
fn codes_decide_what_the_caller_can_do() {
    let limited = ErrorKind::RateLimited { after: None };
    let transient = ErrorKind::Transient { after: None };
    for (status, code, kind) in [
        (404, "NoSuchKey", ErrorKind::NotFound),
        (404, "NoSuchUpload", ErrorKind::NotFound),
        (404, "NoSuchBucket", ErrorKind::NotFound),
        (503, "SlowDown", limited),
        (503, "ServiceUnavailable", limited),
        (429, "TooManyRequests", limited),
        (403, "InvalidAccessKeyId", ErrorKind::Unauthorized),
        (403, "SignatureDoesNotMatch", ErrorKind::Unauthorized),
        (400, "ExpiredToken", ErrorKind::Unauthorized),
        (400, "InvalidToken", ErrorKind::Unauthorized),
        (403, "AccessDenied", ErrorKind::Forbidden),
        (403, "RequestTimeTooSkewed", ErrorKind::Permanent),
        (403, "SomethingNew", ErrorKind::Forbidden),
        (401, "SomethingNew", ErrorKind::Unauthorized),
        (403, "QuotaExceeded", ErrorKind::QuotaExceeded),
        (507, "XMinioStorageFull", ErrorKind::QuotaExceeded),
        (507, "SomethingNew", ErrorKind::QuotaExceeded),
        (400, "KeyTooLongError", ErrorKind::InvalidName),
        (501, "NotImplemented", ErrorKind::Unsupported),
        (500, "InternalError", transient),
        (400, "RequestTimeout", transient),
        (400, "BadDigest", transient),
        (502, "SomethingNew", transient),
        (400, "InvalidArgument", ErrorKind::Permanent),
        (400, "EntityTooSmall", ErrorKind::Permanent),
        (301, "PermanentRedirect", ErrorKind::Permanent),
        (307, "TemporaryRedirect", ErrorKind::Permanent),
        (416, "InvalidRange", ErrorKind::Permanent),
    ] {
        let error = put(Condition::None, status, code);
        assert_eq!(error.kind, kind, "{status} {code}");
        assert_eq!(error.request_id.as_deref(), Some("R1"));
    }
}

#[test]
fn an_unmet_condition_says_which_one() {
    for (condition, status, code, kind) in [
        (
            Condition::Absent,
            412,
            "PreconditionFailed",
            ErrorKind::AlreadyExists,
        ),
        (
            Condition::Version,
            412,
            "PreconditionFailed",
            ErrorKind::PreconditionFailed,
        ),
        (Condition::Absent, 304, "", ErrorKind::AlreadyExists),
        (Condition::Version, 404, "NoSuchKey", ErrorKind::NotFound),
    ] {
        assert_eq!(
            put(condition, status, code).kind,
            kind,
            "{condition:?} {status}"
        );
    }
}

#[test]
fn a_conflict_is_tried_again_but_an_upload_in_parts_is_lost() {
    let transient = ErrorKind::Transient { after: None };
    for condition in [Condition::Absent, Condition::Version] {
        assert_eq!(
            put(condition, 409, "ConditionalRequestConflict").kind,
            transient
        );
        assert_eq!(put(condition, 409, "").kind, transient);
    }
    let complete = |condition| {
        let body = document("ConditionalRequestConflict");
        ask(
            Operation::CompleteUpload,
            condition,
            Method::POST,
            409,
            &[],
            &body,
        )
        .kind
    };
    assert_eq!(complete(Condition::Absent), ErrorKind::AlreadyExists);
    assert_eq!(complete(Condition::Version), ErrorKind::PreconditionFailed);
    assert_eq!(
        put(Condition::None, 409, "BucketNotEmpty").kind,
        ErrorKind::Permanent
    );
}

#[test]
fn the_wait_that_is_asked_for_is_passed_on() {
    let wait = |headers: &[(&'static str, &str)]| {
        ask(
            Operation::List,
            Condition::None,
            Method::GET,
            503,
            headers,
            "",
        )
        .kind
    };
    let seconds = |seconds| ErrorKind::RateLimited {
        after: Some(Duration::from_secs(seconds)),
    };
    assert_eq!(wait(&[("retry-after", "7")]), seconds(7));
    let dates = [
        ("date", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT"),
    ];
    assert_eq!(wait(&dates), seconds(30));
    assert_eq!(
        wait(&[("retry-after", "soon")]),
        ErrorKind::RateLimited { after: None }
    );
}

#[test]
fn messages_name_bucket_region_and_clock() {
    let text = |status, code| put(Condition::None, status, code).to_string();
    assert!(text(404, "NoSuchBucket").contains("`box`"));
    assert!(text(403, "RequestTimeTooSkewed").contains("clock"));
    assert_eq!(
        text(403, "AccessDenied"),
        "put failed for `a/b`: the words (AccessDenied) (request R1)"
    );
    for (method, status, body) in [
        (Method::HEAD, 301, String::new()),
        (Method::HEAD, 400, String::new()),
        (Method::GET, 307, document("TemporaryRedirect")),
        (Method::GET, 400, document("AuthorizationHeaderMalformed")),
    ] {
        let region = [("x-amz-bucket-region", "eu-west-3")];
        let error = ask(
            Operation::Stat,
            Condition::None,
            method,
            status,
            &region,
            &body,
        );
        assert_eq!(error.kind, ErrorKind::Permanent, "{status}");
        assert!(
            error.message.contains("eu-west-3") && error.message.contains("x-amz-bucket-region")
        );
    }
}

#[test]
fn answers_that_are_no_s3_say_so_and_prove_no_absence() {
    let page = "<html><body>Not here</body></html>";
    let get = ask(Operation::Get, Condition::None, Method::GET, 404, &[], page);
    assert_eq!(get.kind, ErrorKind::Permanent);
    assert!(get.message.contains("did not come from an S3 store"));
    let refused = ask(Operation::Get, Condition::None, Method::GET, 403, &[], page);
    assert_eq!(refused.kind, ErrorKind::Permanent);
    let head = ask(Operation::Stat, Condition::None, Method::HEAD, 404, &[], "");
    assert_eq!(head.kind, ErrorKind::NotFound);
}

#[test]
fn no_key_and_no_signature_reach_the_text() {
    let error = put(Condition::None, 403, "SignatureDoesNotMatch");
    for text in [error.to_string(), format!("{error:?}")] {
        for secret in ["AKIAKEY", "STS", "SIG"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn an_error_within_a_success_is_an_error() {
    let attempt = Attempt::new(Operation::CompleteUpload, "a");
    let headers = HeaderMap::new();
    let error = in_success(&attempt, &headers, &document("InternalError"), "box").unwrap();
    assert_eq!(error.kind, ErrorKind::Transient { after: None });
    let error = in_success(&attempt, &headers, &document("AccessDenied"), "box").unwrap();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    let fine = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>";
    assert!(in_success(&attempt, &headers, fine, "box").is_none());
}

#[test]
fn a_long_or_wild_message_is_tamed() {
    let body = format!(
        "<Error><Code>Odd</Code><Message>a\u{1b}[31m&#10;{}</Message></Error>",
        "x".repeat(9999)
    );
    let error = ask(
        Operation::Put,
        Condition::None,
        Method::PUT,
        400,
        &[],
        &body,
    );
    assert!(error.message.len() < 400);
    assert!(!error.message.contains(['\u{1b}', '\n']));
}

#[test]
fn the_failed_condition_of_a_copy_is_told_apart() {
    let body = |condition: &str| {
        format!("<Error><Code>PreconditionFailed</Code><Condition>{condition}</Condition></Error>")
    };
    assert_eq!(
        failed_on_source(&body("x-amz-copy-source-If-Match")),
        Some(true)
    );
    assert_eq!(failed_on_source(&body("If-None-Match")), Some(false));
    assert_eq!(failed_on_source(&document("PreconditionFailed")), None);
}

#[test]
fn a_certificate_that_is_not_trusted_is_not_tried_again() {
    use std::io::Error as IoError;

    let attempt = Attempt::new(Operation::Stat, "a");
    let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    let wrapped = IoError::other(IoError::other(untrusted));
    let error = from_transport(&attempt, HttpError::new(HttpErrorKind::Connect, wrapped));
    assert_eq!(error.kind, ErrorKind::Permanent);
    assert!(error.message.contains("caFile"), "{error}");
    let reset = IoError::from(std::io::ErrorKind::ConnectionReset);
    let error = from_transport(&attempt, HttpError::new(HttpErrorKind::Interrupted, reset));
    assert_eq!(error.kind, ErrorKind::Transient { after: None });
}
