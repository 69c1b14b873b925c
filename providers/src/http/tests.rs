use super::*;

#[test]
fn plain_http_is_for_loopback() {
    for (address, allowed) in [
        ("https://example.com", true),
        ("http://127.0.0.1:9000", true),
        ("http://127.8.9.1/", true),
        ("http://[::1]:1", true),
        ("http://LOCALHOST", true),
        ("http://example.com", false),
        ("http://10.0.0.1", false),
        ("http://localhost.example.com", false),
        ("http://127.0.0.1.example.com", false),
    ] {
        assert_eq!(check_address(address, false).is_ok(), allowed, "{address}");
        assert!(check_address(address, true).is_ok(), "{address}");
    }
}

#[tokio::test]
async fn plain_http_is_refused_where_requests_are_sent_as_well() {
    let stack = HttpStack::new(&HttpOptions::default(), Protocols::Http1).unwrap();
    let request = http::Request::builder()
        .uri("http://192.0.2.1/")
        .body(object_store::client::HttpRequestBody::empty())
        .unwrap();
    let error = stack.call(request).await.unwrap_err();
    assert!(error.to_string().contains("not encrypted"));
    assert_eq!(stack.requests(), 0);
}

fn with_ca(content: &str) -> Result<HttpStack, HttpSetupError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, content).unwrap();
    let options = HttpOptions {
        ca_file: Some(path),
        ..HttpOptions::default()
    };
    HttpStack::new(&options, Protocols::Http1)
}

#[test]
fn a_ca_file_that_gives_nothing_is_an_error() {
    assert!(matches!(
        with_ca("").unwrap_err(),
        HttpSetupError::CaFileEmpty(_)
    ));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        with_ca(broken).unwrap_err(),
        HttpSetupError::CaFile { .. }
    ));
    let options = HttpOptions {
        ca_file: Some("/nonexistent/ca.pem".into()),
        ..HttpOptions::default()
    };
    let error = HttpStack::new(&options, Protocols::Http1).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/ca.pem"));
}

#[test]
fn a_proxy_that_cannot_be_used_is_an_error_without_its_password() {
    for proxy in [
        "socks5://user:hunter2@proxy:1",
        "user:hunter2@proxy",
        "http://",
        "nonsense",
    ] {
        let options = HttpOptions {
            proxy: Some(proxy.to_owned()),
            ..HttpOptions::default()
        };
        let error = HttpStack::new(&options, Protocols::Http1).unwrap_err();
        assert!(
            !format!("{error} {error:?} {options:?}").contains("hunter2"),
            "{proxy}"
        );
    }
    let options = HttpOptions {
        proxy: Some("http://user:hunter2@proxy:3128".to_owned()),
        ..HttpOptions::default()
    };
    assert!(HttpStack::new(&options, Protocols::Http2).is_ok());
    assert!(!format!("{options:?}").contains("hunter2"));
}

#[test]
fn an_upload_gets_the_time_that_a_slow_line_needs() {
    assert_eq!(time_for_body(0), Duration::ZERO);
    assert_eq!(time_for_body(30_000), Duration::from_secs(1));
    assert!(time_for_body(16 << 20) > Duration::from_secs(500));
}

#[test]
fn the_clock_is_the_newest_date_that_was_told() {
    let stack = HttpStack::new(&HttpOptions::default(), Protocols::Http1).unwrap();
    assert_eq!(stack.clock(), None);
    let told = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, text.parse().unwrap());
        stack.observe(&headers)
    };
    assert!(told("Wed, 21 Oct 2015 07:28:10 GMT").is_some());
    assert!(told("Wed, 21 Oct 2015 07:28:00 GMT").is_some());
    assert!(told("yesterday").is_none());
    let newest = parse_http_date("Wed, 21 Oct 2015 07:28:10 GMT").unwrap();
    assert!(stack.clock().unwrap() >= newest);
    assert_eq!(stack.observe(&HeaderMap::new()), None);
}

#[tokio::test(start_paused = true)]
async fn only_waiting_for_data_counts_as_standing_still() {
    use futures::StreamExt;

    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    struct Channel(tokio::sync::mpsc::UnboundedReceiver<Bytes>);
    impl Body for Channel {
        type Data = Bytes;
        type Error = HttpError;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
            self.0
                .poll_recv(context)
                .map(|data| data.map(|data| Ok(Frame::data(data))))
        }
    }
    let limit = Duration::from_secs(10);
    let body = IdleBody::new(HttpResponseBody::new(Channel(receiver)), limit);
    let mut stream = HttpResponseBody::new(body).bytes_stream();
    sender.send(Bytes::from_static(b"a")).unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    // The reader takes his time.
    tokio::time::advance(limit * 3).await;
    sender.send(Bytes::from_static(b"b")).unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::Timeout);
}
