//! What a monitoring service hears.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

use super::world::to_folder;

/// A service that notes what is called, and answers with `status`.
pub struct Monitor {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Monitor {
    pub fn answering(status: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte).unwrap() > 0 {
                    head.extend(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                notes.lock().unwrap().push(path);
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                connection.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { port, heard }
    }

    /// The key of `backup` that names it.
    pub fn key(&self) -> String {
        format!(
            "heartbeatUrl: 'http://127.0.0.1:{}/ping/secret-id'",
            self.port
        )
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

#[test]
fn a_good_backup_is_told_at_its_start_and_its_end() {
    let monitor = Monitor::answering("200 OK");
    let world = to_folder(&monitor.key());
    world.ok(&["backup", "now", "--dry-run"]);
    assert_eq!(monitor.heard(), [""; 0], "a dry run is no backup");
    world.ok(&["backup", "now"]);
    assert_eq!(
        monitor.heard(),
        ["/ping/secret-id/start", "/ping/secret-id"]
    );
}

#[test]
fn a_failed_backup_is_told_too() {
    let monitor = Monitor::answering("200 OK");
    let world = to_folder(&monitor.key());
    world.remove("workspace");
    assert_ne!(world.ows(&["backup", "now"]).code, Some(0));
    assert_eq!(
        monitor.heard(),
        ["/ping/secret-id/start", "/ping/secret-id/fail"]
    );
}

#[test]
fn a_monitoring_that_does_not_answer_is_a_warning_without_its_address() {
    let monitor = Monitor::answering("503 Service Unavailable");
    let world = to_folder(&monitor.key());
    let ran = world.ok(&["backup", "now"]);
    assert!(
        ran.stderr.contains("`heartbeatUrl` was not told"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("503"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("secret-id"), "{}", ran.stderr);
}
