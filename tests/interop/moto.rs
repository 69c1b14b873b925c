//! moto: an S3 server that shares no code with the one of our tests. Whatever it makes of conditions, the outcome is the same.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ows_testkit::process::{Child, free_port};
use ows_testkit::tree::TempTree;

use crate::peers::{Counts, Place, Store, fill, find};

const BUCKET: &str = "bucket";

struct Moto {
    _child: Child,
    _log: TempTree,
    port: u16,
}

impl Moto {
    /// Starts a server with one bucket.
    fn start() -> Option<Self> {
        let program = find("OWS_MOTO", "moto_server")?;
        let port = free_port().expect("a port is free");
        let log = TempTree::new();
        let output = || {
            File::options()
                .create(true)
                .append(true)
                .open(log.join("log"))
                .expect("it can be written")
        };
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output());
        let moto = Self {
            _child: Child::spawn(&mut command).expect("moto can be started"),
            port,
            _log: log,
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = std::fs::read_to_string(moto._log.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "moto does not come up: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let (status, body) = moto.ask("PUT", &format!("/{BUCKET}"));
        assert_eq!(status, 200, "{body}");
        Some(moto)
    }

    fn place(&self) -> Place {
        Place::on_s3(&Store {
            endpoint: &format!("http://127.0.0.1:{}", self.port),
            bucket: BUCKET,
            access_key: "key",
            secret_key: "secret",
        })
    }

    /// With a signature that is none, which moto does not look at.
    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        self.send(method, path, b"")
    }

    fn send(&self, method: &str, path: &str, content: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("moto is there");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=key/20240101/us-east-1/s3/aws4_request, SignedHeaders=host, \
             Signature=0\r\n\r\n",
            content.len()
        );
        stream
            .write_all(&[head.as_bytes(), content].concat())
            .expect("moto takes it");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("moto answers");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        (status.expect("it has a status"), body.to_owned())
    }

    fn keys(&self) -> Vec<String> {
        let (status, body) = self.ask("GET", &format!("/{BUCKET}?list-type=2"));
        assert_eq!(status, 200, "{body}");
        let keys = body.split("<Key>").skip(1);
        keys.filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned()))
            .collect()
    }
}

#[test]
fn the_whole_job_is_done_on_moto() {
    let Some(moto) = Moto::start() else {
        return;
    };
    let place = moto.place();
    let files = fill(&place.workspace);
    assert_eq!(
        place.sync(),
        Counts {
            upload: files,
            ..Counts::default()
        },
        "the first push"
    );
    assert_eq!(
        place.sync(),
        Counts {
            unchanged: files,
            ..Counts::default()
        },
        "a quiet run"
    );

    place.workspace.write("plain.txt", "edited");
    place.workspace.write("notes/new.md", "new");
    place.workspace.remove("empty");
    place
        .workspace
        .rename("notes/2024/plan.md", "notes/plan.md");
    assert_eq!(
        moto.send("PUT", &format!("/{BUCKET}/ws/_outbox/a.txt"), b"dropped")
            .0,
        200
    );
    assert_eq!(
        moto.send("PUT", &format!("/{BUCKET}/ws/stray.txt"), b"stray")
            .0,
        200
    );
    let expected = Counts {
        upload: 2,
        download: 1,
        delete_remote: 2,
        moved: 1,
        unchanged: files - 3,
        ..Counts::default()
    };
    assert_eq!(place.sync(), expected, "edits, a drop and a stray");
    assert_eq!(
        place.workspace.read("_inbox/a.txt").as_deref(),
        Some(&b"dropped"[..])
    );
    assert_eq!(
        moto.ask("GET", &format!("/{BUCKET}/ws/plain.txt")),
        (200, "edited".to_owned())
    );

    let keys = moto.keys();
    let below = |prefix: &str| {
        keys.iter()
            .filter(|key| key.starts_with(prefix))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(below("ws/_outbox/"), ["ws/_outbox/.keep"]);
    assert_eq!(below("ws/stray"), [""; 0]);
    assert!(
        below("ws/.ows/trash/")
            .iter()
            .any(|key| key.ends_with("/stray.txt")),
        "{keys:?}"
    );
    assert_eq!(below("ws/.ows/base-").len(), 1, "{keys:?}");
    assert_eq!(
        below("ws/.ows/").len(),
        below("ws/.ows/trash/").len() + 1,
        "nothing but the checkpoint and the trash is left: {keys:?}"
    );
    let (status, uploads) = moto.ask("GET", &format!("/{BUCKET}?uploads"));
    assert!(
        status == 200 && !uploads.contains("<UploadId>"),
        "{uploads}"
    );

    let quiet = Counts {
        unchanged: files,
        ..Counts::default()
    };
    assert_eq!(place.sync(), quiet, "the last run");
}
