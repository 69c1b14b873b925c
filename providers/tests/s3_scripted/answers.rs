//! Calls and their answers, good and bad.

use crate::support::{ACCESS_KEY, Answer, SECRET_KEY, Server, TOKEN, answer};
use bytes::Bytes;
use futures::TryStreamExt;
use ows_providers::{
    CopyOptions, Error, ErrorKind, GetOptions, ListOptions, Listed, Part, Precondition, Provider,
    PutOptions, RelPath, Upload, Version,
};

const TRANSIENT: ErrorKind = ErrorKind::Transient { after: None };
const MORE: &str =
    "<IsTruncated>true</IsTruncated><NextContinuationToken>t1</NextContinuationToken>";
const END: &str = "<IsTruncated>false</IsTruncated>";

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn item(key: &str, size: u64) -> String {
    format!(
        "<Contents><Key>{key}</Key><LastModified>2024-01-02T03:04:05.678Z</LastModified>\
         <ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>{size}</Size></Contents>"
    )
}

fn page(inner: &str) -> Answer {
    answer(
        200,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>box</Name><EncodingType>url</EncodingType>{inner}</ListBucketResult>"
        ),
    )
}

fn failure(status: u16, code: &str) -> Answer {
    answer(
        status,
        format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>words</Message>\
             <RequestId>R7</RequestId></Error>"
        ),
    )
}

/// The keys listed before the end, and how it ended.
async fn list(server: &Server, options: ListOptions) -> (Vec<String>, Option<Error>) {
    let provider = server.provider();
    let mut listing = provider.list(options);
    let mut keys = Vec::new();
    loop {
        match listing.try_next().await {
            Ok(Some(Listed::Entry(entry))) => keys.push(entry.sort_key().to_text()),
            Ok(Some(Listed::Unusable { key, .. })) => keys.push(format!("unusable {key}")),
            Ok(Some(other)) => panic!("{other:?}"),
            Ok(None) => return (keys, None),
            Err(error) => return (keys, Some(error)),
        }
    }
}

async fn list_error(answers: Vec<Answer>) -> Error {
    let server = Server::scripted(answers).await;
    let (_, error) = list(&server, ListOptions::default()).await;
    error.expect("the listing ended as if it were complete")
}

#[tokio::test]
async fn a_listing_that_fails_ends_with_an_error_on_any_page() {
    let limited = ErrorKind::RateLimited { after: None };
    for (status, code, kind) in [
        (400, "InvalidArgument", ErrorKind::Permanent),
        (401, "Unauthorized", ErrorKind::Unauthorized),
        (403, "AccessDenied", ErrorKind::Forbidden),
        (403, "InvalidAccessKeyId", ErrorKind::Unauthorized),
        (403, "SignatureDoesNotMatch", ErrorKind::Unauthorized),
        (404, "NoSuchBucket", ErrorKind::NotFound),
        (404, "NoSuchKey", ErrorKind::NotFound),
        (301, "PermanentRedirect", ErrorKind::Permanent),
        (400, "ExpiredToken", ErrorKind::Unauthorized),
        (429, "TooManyRequests", limited),
        (500, "InternalError", TRANSIENT),
        (501, "NotImplemented", ErrorKind::Unsupported),
        (502, "BadGateway", TRANSIENT),
        (503, "SlowDown", limited),
        (504, "GatewayTimeout", TRANSIENT),
        (200, "InternalError", TRANSIENT),
        (200, "AccessDenied", ErrorKind::Forbidden),
    ] {
        let first = list_error(vec![failure(status, code)]).await;
        assert_eq!(first.kind, kind, "{status} {code}");
        assert_eq!(first.request_id.as_deref(), Some("R7"));
        let good = page(&format!("{}{MORE}", item("pre/a", 1)));
        let second = list_error(vec![good, failure(status, code)]).await;
        assert_eq!(second.kind, kind, "{status} {code} on the second page");
    }
}

#[tokio::test]
async fn a_page_that_is_not_whole_is_an_error() {
    let whole = format!(
        "<ListBucketResult>{}{END}</ListBucketResult>",
        item("pre/a", 1)
    );
    for cut in [0, 1, 20, whole.len() / 2, whole.len() - 1] {
        let error = list_error(vec![answer(200, &whole.as_bytes()[..cut])]).await;
        assert_eq!(error.kind, TRANSIENT, "cut at {cut}");
    }
    let broken_off = answer(200, whole.as_bytes()).announcing(whole.len() + 10);
    assert_eq!(list_error(vec![broken_off]).await.kind, TRANSIENT);
    for text in [
        "<html><body>Login</body></html>",
        "{\"a\":1}",
        "<!DOCTYPE html><html></html>",
    ] {
        list_error(vec![answer(200, text)]).await;
    }
    list_error(vec![answer(
        200,
        b"<ListBucketResult>\xff</ListBucketResult>".to_vec(),
    )])
    .await;
    list_error(vec![answer(204, "")]).await;
}

#[tokio::test]
async fn a_page_that_lacks_something_is_an_error() {
    let good = format!("{}{END}", item("pre/a", 1));
    let etag = "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>";
    for (what, with) in [
        ("<Key>pre/a</Key>", ""),
        (etag, ""),
        (etag, "<ETag></ETag>"),
        ("<Size>1</Size>", ""),
        ("<Size>1</Size>", "<Size>many</Size>"),
        (END, ""),
        (END, "<IsTruncated>true</IsTruncated>"),
        (
            END,
            "<IsTruncated>true</IsTruncated><NextContinuationToken/>",
        ),
        ("pre/a", "elsewhere/a"),
        ("pre/a", "prefix"),
    ] {
        assert!(good.contains(what));
        let error = list_error(vec![page(&good.replace(what, with))]).await;
        assert_eq!(error.kind, ErrorKind::Permanent, "{what} -> {with}");
    }
}

#[tokio::test]
async fn pages_that_repeat_or_go_backwards_are_an_error() {
    let one = page(&format!("{}{}{MORE}", item("pre/a", 1), item("pre/b", 1)));
    let same_token = page(&format!("{}{MORE}", item("pre/c", 1)));
    let error = list_error(vec![one.clone(), same_token]).await;
    assert!(error.message.contains("token"), "{error}");
    for second in [
        item("pre/a", 1),
        item("pre/b", 1),
        item("pre/d", 1) + &item("pre/c", 1),
        item("pre/c", 1) + &item("pre/c", 1),
    ] {
        let error = list_error(vec![one.clone(), page(&(second + END))]).await;
        assert!(error.message.contains("order"), "{error}");
    }
}

#[tokio::test]
async fn endless_paging_is_an_error_with_and_without_keys() {
    for with_keys in [false, true] {
        let server = Server::answering(move |number, _| {
            let key = if with_keys { item("pre/a", 1) } else { String::new() };
            page(&format!(
                "{key}<IsTruncated>true</IsTruncated><NextContinuationToken>t{number}</NextContinuationToken>"
            ))
        })
        .await;
        let (_, error) = list(&server, ListOptions::default()).await;
        assert_eq!(error.unwrap().kind, ErrorKind::Permanent);
    }
}

#[tokio::test]
async fn an_empty_page_with_a_token_is_not_the_end() {
    let server = Server::scripted(vec![
        page(MORE),
        page(&format!("{}{END}", item("pre/a", 1))),
    ])
    .await;
    let (keys, error) = list(&server, ListOptions::default()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(keys, ["a"]);
    let asked = server.asked();
    assert_eq!(
        asked[0].target,
        "/box?list-type=2&encoding-type=url&max-keys=1000&prefix=pre%2F"
    );
    assert!(asked[1].target.ends_with("&continuation-token=t1"));
}

#[tokio::test]
async fn keys_that_are_no_paths_are_shown_and_markers_are_not() {
    let keys = [
        item("pre/", 0),
        item("pre/%0Anew", 1),
        item("pre/%2E%2E/x", 1),
        item("pre//a", 1),
        item("pre/a", 0),
        item("pre/a+b%2B", 5),
        item("pre/a/", 0),
        item("pre/a/%FF", 1),
        item("pre/a/./b", 1),
        item("pre/b/", 3),
    ];
    let server = Server::scripted(vec![page(&(keys.concat() + END))]).await;
    let (keys, error) = list(&server, ListOptions::default()).await;
    assert!(error.is_some(), "bytes order: \\xff sorts behind `.`");
    assert!(keys.is_empty());

    let keys = [
        item("pre/", 0),
        item("pre/%0Anew", 1),
        item("pre/%2E%2E/x", 1),
        item("pre//a", 1),
        item("pre/a", 0),
        item("pre/a+b%2B", 5),
        item("pre/a/", 0),
        item("pre/a/./b", 1),
        item("pre/a/%FF", 1),
        item("pre/b/", 3),
    ];
    let server = Server::scripted(vec![page(&(keys.concat() + END))]).await;
    let (keys, error) = list(&server, ListOptions::default()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(
        keys,
        [
            "unusable pre/\nnew",
            "unusable pre/../x",
            "unusable pre//a",
            "a",
            "a b+",
            "unusable pre/a/./b",
            "unusable pre/a/\u{fffd}",
            "unusable pre/b/",
        ]
    );
}

#[tokio::test]
async fn a_skipped_folder_is_jumped_over() {
    let skipped: String = (0..3)
        .map(|index| item(&format!("pre/.ows/{index}"), 1))
        .collect();
    let server = Server::scripted(vec![
        page(&format!("{}{skipped}{MORE}", item("pre/-", 1))),
        page(&format!("{}{END}", item("pre/.owz", 1))),
    ])
    .await;
    let options = ListOptions {
        skip: vec![path(".ows")],
        ..ListOptions::default()
    };
    let (keys, error) = list(&server, options).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(keys, ["-", ".owz"]);
    let second = &server.asked()[1].target;
    assert!(
        second.ends_with("&start-after=pre%2F.ows%2F%F4%8F%BF%BF"),
        "{second}"
    );
    assert!(!second.contains("continuation-token"));
}

#[tokio::test]
async fn a_shallow_listing_shows_folders_in_order() {
    let folder = |key: &str| format!("<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>");
    let inner = [
        item("pre/a", 1),
        item("pre/a-b", 1),
        folder("pre/.ows/"),
        folder("pre//"),
        folder("pre/a/"),
    ];
    let server = Server::scripted(vec![page(&(inner.concat() + END))]).await;
    let options = ListOptions {
        shallow: true,
        skip: vec![path(".ows")],
        ..ListOptions::default()
    };
    let (keys, error) = list(&server, options).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(keys, ["unusable pre//", "a", "a-b", "a/"]);
    assert!(
        server.asked()[0]
            .target
            .ends_with("&prefix=pre%2F&delimiter=%2F")
    );
}

async fn put_error(condition: Precondition, reply: Answer) -> Error {
    let server = Server::scripted(vec![reply]).await;
    let options = PutOptions {
        precondition: condition,
        ..PutOptions::default()
    };
    let body = Bytes::from_static(b"x");
    server
        .provider()
        .put(&path("a"), body, options)
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_put_carries_its_condition_and_tells_how_it_failed() {
    let etag = || answer(200, "").header("ETag", "\"e2\"");
    let server = Server::scripted(vec![etag(), etag(), etag(), etag()]).await;
    let provider = server.provider_with(|options| {
        options.sse = Some("aws:kms".to_owned());
        options.storage_class = Some("STANDARD_IA".to_owned());
    });
    let conditions = [
        Precondition::Any,
        Precondition::Absent,
        Precondition::Version(Version("e1".into())),
    ];
    for precondition in conditions {
        let options = PutOptions {
            precondition,
            mtime_ns: Some(1_500_000_000),
            md5: Some([0; 16]),
        };
        let body = Bytes::from_static(b"hello");
        let entry = provider.put(&path("a b"), body, options).await.unwrap();
        assert_eq!(entry.version, Some(Version("e2".into())));
    }
    let asked = server.asked();
    assert_eq!(asked[0].header("if-match"), None);
    assert_eq!(asked[0].header("if-none-match"), None);
    assert_eq!(asked[1].header("if-none-match"), Some("*"));
    assert_eq!(asked[2].header("if-match"), Some("\"e1\""));
    for request in &asked {
        assert_eq!(request.target, "/box/pre/a%20b");
        assert_eq!(request.body, b"hello");
        assert_eq!(request.header("x-amz-meta-mtime"), Some("1.5"));
        assert_eq!(
            request.header("x-amz-meta-md5chksum"),
            Some("AAAAAAAAAAAAAAAAAAAAAA==")
        );
        assert_eq!(
            request.header("x-amz-server-side-encryption"),
            Some("aws:kms")
        );
        assert_eq!(request.header("x-amz-storage-class"), Some("STANDARD_IA"));
        assert_eq!(
            request.header("x-amz-content-sha256"),
            Some("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
        );
        assert_eq!(request.header("x-amz-security-token"), Some(TOKEN));
    }

    let large = Bytes::from(vec![7; 1 << 20]);
    let options = PutOptions {
        precondition: Precondition::Any,
        mtime_ns: None,
        md5: None,
    };
    let loopback = provider.put(&path("a b"), large, options).await;
    loopback.unwrap();
    assert_eq!(
        server
            .asked()
            .last()
            .unwrap()
            .header("x-amz-content-sha256"),
        Some("UNSIGNED-PAYLOAD")
    );

    let version = || Precondition::Version(Version("e1".into()));
    for (condition, reply, kind) in [
        (
            Precondition::Absent,
            failure(412, "PreconditionFailed"),
            ErrorKind::AlreadyExists,
        ),
        (
            version(),
            failure(412, "PreconditionFailed"),
            ErrorKind::PreconditionFailed,
        ),
        (version(), failure(404, "NoSuchKey"), ErrorKind::NotFound),
        (
            Precondition::Absent,
            failure(409, "ConditionalRequestConflict"),
            TRANSIENT,
        ),
        (Precondition::Any, answer(200, ""), ErrorKind::Permanent),
        (
            Precondition::Any,
            failure(507, "XMinioStorageFull"),
            ErrorKind::QuotaExceeded,
        ),
    ] {
        let text = format!("{condition:?} {reply:?}");
        assert_eq!(put_error(condition, reply).await.kind, kind, "{text}");
    }
}

#[tokio::test]
async fn a_bucket_with_locked_objects_gets_its_md5() {
    let refusal = answer(
        400,
        "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is required for Put \
         Object requests with Object Lock parameters</Message></Error>",
    );
    let done = || answer(200, "").header("ETag", "\"e\"");
    let server = Server::scripted(vec![refusal, done(), done()]).await;
    let provider = server.provider();
    for _ in 0..2 {
        let body = Bytes::from_static(b"hello");
        provider
            .put(&path("a"), body, PutOptions::default())
            .await
            .unwrap();
    }
    let sent: Vec<_> = server
        .asked()
        .iter()
        .map(|asked| asked.header("content-md5").map(str::to_owned))
        .collect();
    let md5 = Some("XUFAKrxLKna5cZ2REBfFkg==".to_owned());
    assert_eq!(sent, [None, md5.clone(), md5]);
}

#[tokio::test]
async fn a_download_that_is_cut_short_is_an_error() {
    let reply = answer(200, "hel").header("ETag", "\"e\"").announcing(5);
    let server = Server::scripted(vec![reply]).await;
    let download = server
        .provider()
        .get(&path("a"), GetOptions::default())
        .await
        .unwrap();
    assert_eq!(download.entry.size, 5);
    let error = download.body.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind, TRANSIENT);
}

#[tokio::test]
async fn a_range_is_the_one_asked_for_or_an_error() {
    let ranged = |told: &str| {
        answer(206, "ell")
            .header("ETag", "\"e\"")
            .header("Content-Range", told)
    };
    for (reply, fits) in [
        (ranged("bytes 1-3/5"), true),
        (ranged("bytes 0-2/5"), false),
        (ranged("bytes 1-3/*"), false),
        (ranged("bytes 1-2/5"), false),
        (answer(200, "hello").header("ETag", "\"e\""), false),
        (answer(206, "ell").header("ETag", "\"e\""), false),
    ] {
        let server = Server::scripted(vec![reply.clone()]).await;
        let options = GetOptions {
            range: Some(1..4),
            version: None,
        };
        let outcome = server.provider().get(&path("a"), options).await;
        assert_eq!(outcome.is_ok(), fits, "{reply:?}");
        assert_eq!(server.asked()[0].header("range"), Some("bytes=1-3"));
        if let Ok(download) = outcome {
            assert_eq!(download.entry.size, 5);
        }
    }
}

#[tokio::test]
async fn a_store_that_ignores_the_version_to_read_is_noticed() {
    let reply = answer(200, "new").header("ETag", "\"e2\"");
    let server = Server::scripted(vec![reply]).await;
    let options = GetOptions {
        range: None,
        version: Some(Version("e1".into())),
    };
    let error = server
        .provider()
        .get(&path("a"), options)
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::PreconditionFailed);
    assert_eq!(server.asked()[0].header("if-match"), Some("\"e1\""));
}

#[tokio::test]
async fn deleting_what_is_gone_succeeds_whatever_the_store_answers() {
    let version = || Precondition::Version(Version("e1".into()));
    let there = || answer(200, "").header("ETag", "\"e2\"");
    for (answers, outcome) in [
        (vec![answer(204, "")], Ok(())),
        (vec![failure(404, "NoSuchKey")], Ok(())),
        (
            vec![failure(412, "PreconditionFailed"), answer(404, "")],
            Ok(()),
        ),
        (
            vec![failure(412, "PreconditionFailed"), there()],
            Err(ErrorKind::PreconditionFailed),
        ),
        (vec![failure(404, "NoSuchBucket")], Err(ErrorKind::NotFound)),
        (
            vec![failure(403, "AccessDenied")],
            Err(ErrorKind::Forbidden),
        ),
    ] {
        let text = format!("{answers:?}");
        let server = Server::scripted(answers).await;
        let deleted = server.provider().delete(&path("a"), version()).await;
        assert_eq!(deleted.map_err(|error| error.kind), outcome, "{text}");
        assert_eq!(server.asked()[0].header("if-match"), Some("\"e1\""));
    }
    let server = Server::scripted(vec![]).await;
    let refused = server
        .provider()
        .delete(&path("a"), Precondition::Absent)
        .await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Unsupported);
    assert!(server.asked().is_empty());
}

fn upload() -> (Upload, Vec<Part>) {
    let upload = Upload {
        path: path("a"),
        id: "u/1+".into(),
        size: Some(3),
        part_size: 5 << 20,
        token: "ours".into(),
    };
    let part = Part {
        number: 1,
        size: 3,
        tag: "p1".into(),
    };
    (upload, vec![part])
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_recognised_by_its_token() {
    let object = |token: &str| {
        answer(200, "abc")
            .header("ETag", "\"e-1\"")
            .header("x-amz-meta-ows-upload", token)
    };
    for (reply, found, outcome) in [
        (failure(404, "NoSuchUpload"), object("ours"), Ok(())),
        (failure(412, "PreconditionFailed"), object("ours"), Ok(())),
        (
            failure(409, "ConditionalRequestConflict"),
            object("ours"),
            Ok(()),
        ),
        (
            failure(404, "NoSuchUpload"),
            object("theirs"),
            Err(ErrorKind::NotFound),
        ),
        (
            failure(404, "NoSuchUpload"),
            answer(404, ""),
            Err(ErrorKind::NotFound),
        ),
        (
            failure(412, "PreconditionFailed"),
            object("theirs"),
            Err(ErrorKind::AlreadyExists),
        ),
    ] {
        let text = format!("{reply:?} {found:?}");
        let server = Server::scripted(vec![reply, found]).await;
        let (upload, parts) = upload();
        let completed = server
            .provider()
            .complete_upload(&upload, &parts, Precondition::Absent)
            .await;
        let entry = completed.map_err(|error| error.kind);
        assert_eq!(
            entry.as_ref().map(|_| ()).map_err(|kind| *kind),
            outcome,
            "{text}"
        );
        if let Ok(entry) = entry {
            assert_eq!(entry.version, Some(Version("e-1".into())));
            assert_eq!(entry.size, 3);
        }
        let asked = server.asked();
        assert_eq!(asked[0].target, "/box/pre/a?uploadId=u%2F1%2B");
        assert_eq!(asked[0].header("if-none-match"), Some("*"));
        assert_eq!(asked[1].method, "HEAD");
    }
}

#[tokio::test]
async fn an_error_within_a_success_fails_completion_and_copy() {
    let late = || {
        answer(
            200,
            "  \n<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>",
        )
    };
    let server = Server::scripted(vec![late(), late()]).await;
    let provider = server.provider();
    let (upload, parts) = upload();
    let error = provider
        .complete_upload(&upload, &parts, Precondition::Any)
        .await
        .unwrap_err();
    assert_eq!(error.kind, TRANSIENT);
    let error = provider
        .copy(&path("a"), &path("b"), copying())
        .await
        .unwrap_err();
    assert_eq!(error.kind, TRANSIENT);
}

fn copying() -> CopyOptions {
    CopyOptions {
        source: Some(Version("s1".into())),
        precondition: Precondition::Absent,
        size: 3,
        mtime_ns: None,
    }
}

const COPIED: &str = "<CopyObjectResult><ETag>&quot;c&quot;</ETag></CopyObjectResult>";

#[tokio::test]
async fn a_copy_names_source_and_both_conditions() {
    let server = Server::scripted(vec![answer(200, COPIED)]).await;
    let entry = server
        .provider()
        .copy(&path("é +%#"), &path("b"), copying())
        .await
        .unwrap();
    assert_eq!(entry.version, Some(Version("c".into())));
    let asked = &server.asked()[0];
    assert_eq!(asked.target, "/box/pre/b");
    assert_eq!(
        asked.header("x-amz-copy-source"),
        Some("box/pre/%C3%A9%20%2B%25%23")
    );
    assert_eq!(asked.header("x-amz-copy-source-if-match"), Some("\"s1\""));
    assert_eq!(asked.header("if-none-match"), Some("*"));
    assert_eq!(asked.header("x-amz-metadata-directive"), Some("COPY"));
}

#[tokio::test]
async fn a_copy_with_another_time_sends_the_metadata_again() {
    let source = answer(200, "abc")
        .header("ETag", "\"s1\"")
        .header("Content-Type", "text/plain")
        .header("x-amz-meta-mine", "kept")
        .header("x-amz-meta-mtime", "1")
        .header("x-amz-meta-ows-upload", "old");
    let server = Server::scripted(vec![source, answer(200, COPIED)]).await;
    let options = CopyOptions {
        source: None,
        mtime_ns: Some(2_500_000_000),
        ..copying()
    };
    let entry = server
        .provider()
        .copy(&path("a"), &path("b"), options)
        .await
        .unwrap();
    assert_eq!(entry.mtime_ns, Some(2_500_000_000));
    let asked = &server.asked()[1];
    assert_eq!(asked.header("x-amz-metadata-directive"), Some("REPLACE"));
    assert_eq!(asked.header("x-amz-copy-source-if-match"), Some("\"s1\""));
    assert_eq!(asked.header("content-type"), Some("text/plain"));
    assert_eq!(asked.header("x-amz-meta-mine"), Some("kept"));
    assert_eq!(asked.header("x-amz-meta-mtime"), Some("2.5"));
    assert_eq!(asked.header("x-amz-meta-ows-upload"), None);
}

#[tokio::test]
async fn the_end_on_which_a_copy_failed_is_told() {
    let said = |condition: &str| {
        answer(
            412,
            format!(
                "<Error><Code>PreconditionFailed</Code><Condition>{condition}</Condition></Error>"
            ),
        )
    };
    let silent = || failure(412, "PreconditionFailed");
    let unchanged = || answer(200, "abc").header("ETag", "\"s1\"");
    for (answers, kind) in [
        (
            vec![said("x-amz-copy-source-If-Match")],
            ErrorKind::PreconditionFailed,
        ),
        (vec![said("If-None-Match")], ErrorKind::AlreadyExists),
        (
            vec![silent(), answer(412, "")],
            ErrorKind::PreconditionFailed,
        ),
        (vec![silent(), unchanged()], ErrorKind::AlreadyExists),
    ] {
        let text = format!("{answers:?}");
        let server = Server::scripted(answers).await;
        let error = server
            .provider()
            .copy(&path("a"), &path("b"), copying())
            .await
            .unwrap_err();
        assert_eq!(error.kind, kind, "{text}");
    }
}

#[tokio::test]
async fn a_large_copy_goes_in_parts_and_is_given_up_when_it_fails() {
    const SIZE: u64 = 5 << 30;
    for fails in [false, true] {
        let server = Server::answering(move |_, asked| match asked.method.as_str() {
            "HEAD" => answer(200, "").header("ETag", "\"s1\"").header("x-amz-meta-mtime", "1.5").announcing(SIZE as usize),
            "POST" if asked.target.ends_with("?uploads=") => answer(
                200,
                "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
            ),
            "PUT" if fails && asked.target.contains("partNumber=7&") => failure(403, "AccessDenied"),
            "PUT" => answer(200, "<CopyPartResult><ETag>&quot;p&quot;</ETag></CopyPartResult>"),
            "POST" => answer(
                200,
                "<CompleteMultipartUploadResult><ETag>&quot;c-10&quot;</ETag></CompleteMultipartUploadResult>",
            ),
            _ => answer(204, ""),
        })
        .await;
        let options = CopyOptions {
            size: SIZE,
            ..copying()
        };
        let copied = server
            .provider()
            .copy(&path("a"), &path("b"), options)
            .await;
        let asked = server.asked();
        let create = &asked[1];
        assert_eq!(create.header("x-amz-meta-mtime"), Some("1.5"));
        let last = asked.last().unwrap();
        if fails {
            assert_eq!(copied.unwrap_err().kind, ErrorKind::Forbidden);
            assert_eq!(
                (last.method.as_str(), last.target.as_str()),
                ("DELETE", "/box/pre/b?uploadId=u")
            );
            continue;
        }
        assert_eq!(copied.unwrap().version, Some(Version("c-10".into())));
        assert_eq!(last.header("if-none-match"), Some("*"));
        let mut ranges: Vec<_> = asked
            .iter()
            .filter(|asked| asked.method == "PUT")
            .map(|asked| {
                assert_eq!(asked.header("x-amz-copy-source-if-match"), Some("\"s1\""));
                asked.header("x-amz-copy-source-range").unwrap().to_owned()
            })
            .collect();
        ranges.sort();
        assert_eq!(ranges.len(), 10);
        assert_eq!(ranges[0], "bytes=0-536870911");
    }
}

#[tokio::test]
async fn no_text_ever_holds_a_key() {
    let talkative = answer(
        403,
        format!(
            "<Error><Code>AccessDenied</Code><Message>Forbidden: no such key {ACCESS_KEY}, {SECRET_KEY}, {TOKEN}, \
             Signature=abcdef</Message></Error>"
        ),
    );
    let server = Server::scripted(vec![talkative]).await;
    let mut text = String::new();
    let provider = server.provider_with(|options| text = format!("{options:?}"));
    let error = provider.stat(&path("a")).await.unwrap_err();
    text += &format!("{error} {error:?}");
    let server = Server::scripted(vec![answer(
        403,
        format!("<Error><Code>AccessDenied</Code><Message>{ACCESS_KEY} {SECRET_KEY} Signature=abcdef</Message></Error>"),
    )])
    .await;
    let other = server.provider();
    let error = other
        .get(&path("a"), GetOptions::default())
        .await
        .unwrap_err();
    assert!(error.message.contains("[hidden]"), "{error}");
    text += &format!("{error} {error:?} {provider:?} {other:?}");
    for secret in [ACCESS_KEY, SECRET_KEY, TOKEN, "abcdef"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_a_passing_fault() {
    let server = Server::scripted(vec![]).await;
    let nobody = server.provider_with(|options| {
        options.endpoint = Some("http://127.0.0.1:1".to_owned());
    });
    let error = nobody.stat(&path("a")).await.unwrap_err();
    assert_eq!(error.kind, TRANSIENT);
    assert!(error.message.contains("could not be reached"), "{error}");
}

#[tokio::test]
async fn the_clock_is_the_stores() {
    let reply = answer(404, "").header("Date", "Wed, 21 Oct 2015 07:28:00 GMT");
    let server = Server::scripted(vec![reply]).await;
    let provider = server.provider();
    assert!(provider.clock().is_none());
    provider.stat(&path("a")).await.unwrap_err();
    let told = provider.clock().unwrap();
    assert_eq!(
        told.format("%Y-%m-%dT%H:%M").to_string(),
        "2015-10-21T07:28"
    );
    assert_eq!(provider.http_requests(), 1);
}

#[tokio::test]
async fn keys_that_no_header_can_hold_are_refused_before_they_are_used() {
    let server = Server::scripted(vec![]).await;
    let provider = server.provider_with(|options| {
        options.credentials = ows_providers::s3::S3Credentials::Static {
            access_key_id: "a\nb".into(),
            secret_access_key: "s".into(),
            session_token: None,
        };
    });
    let error = provider.stat(&path("a")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unauthorized);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_proxy_that_is_named_is_used() {
    let proxy = Server::scripted(vec![answer(404, "")]).await;
    let provider = proxy.provider_with(|options| {
        options.endpoint = Some("http://store.invalid".to_owned());
        options.http.allow_http = true;
        options.http.proxy = Some(proxy.endpoint.clone());
    });
    let error = provider.stat(&path("a")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(proxy.asked()[0].target, "http://store.invalid/box/pre/a");
}
