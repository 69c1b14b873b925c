//! Each exit code of the specification, by the real process. 5 is in `errors`, 130 and 143 are in `signals`.

use std::time::Duration;

use ows_testkit::s3::{Op, Quirks, Server, Then, When};

use crate::support::{BUCKET, World, server};

fn code(world: &World, arguments: &[&str]) -> Option<i32> {
    world.ows(arguments).code
}

#[test]
fn done_is_0() {
    let world = World::with_folder("");
    assert_eq!(code(&world, &["sync"]), Some(0));
    assert_eq!(code(&world, &["status"]), Some(0));
    assert_eq!(code(&world, &["list"]), Some(0));
    assert_eq!(code(&world, &["trash", "list"]), Some(0));
}

#[test]
fn failed_is_1() {
    let server = server();
    let world = World::with_s3(&server, "");
    server.access().fault(
        When::op(Op::List).always(),
        Then::error(400, "InvalidArgument"),
    );
    assert_eq!(code(&world, &["sync"]), Some(1));
    assert_eq!(code(&world, &["list"]), Some(1));
    assert_eq!(code(&world, &["status"]), Some(1));
}

#[test]
fn wrong_usage_and_configuration_are_2() {
    let world = World::bare();
    assert_eq!(code(&world, &["sync"]), Some(2));
    assert_eq!(code(&world, &["sync", "--no-such-option"]), Some(2));
    assert_eq!(
        code(&world, &["sync", "--rebuild-state", "--dry-run"]),
        Some(2)
    );
}

#[test]
fn finished_with_files_left_is_3() {
    let server = server();
    let world = World::with_s3(&server, "");
    world.write("workspace/a", "a");
    let denied = When::op(Op::Put).key("a").always();
    server
        .access()
        .fault(denied, Then::error(403, "AccessDenied"));
    assert_eq!(code(&world, &["sync"]), Some(3));
}

#[test]
fn patterns_links_and_special_files_do_not_make_3() {
    let world = World::with_folder("exclude: ['*.log'],");
    world.write("workspace/a.log", "a");
    world.tree().symlink("workspace/link", "/etc/passwd");
    let ran = world.ok(&["sync"]);
    assert!(
        ran.stderr
            .contains("1 links and special files were left alone")
            || ran.stderr.contains("link"),
        "{}",
        ran.stderr
    );
    assert!(!world.path("cloud/link").exists());
}

#[test]
fn a_guard_is_4() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.write("cloud/b", "b");
    assert_eq!(code(&world, &["sync"]), Some(4));
    assert_eq!(code(&world, &["sync", "--dry-run"]), Some(4));
}

#[test]
fn another_run_is_6() {
    let server = server();
    let world = World::with_s3(&server, "");
    world.write("workspace/a", "a");
    server
        .access()
        .fault(When::op(Op::List).always(), Then::Hang);
    let first = world.start(&["sync"]);
    while server.access().count(Op::List) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = world.ows(&["sync"]);
    insta::assert_snapshot!(second.shown(), @r#"
    exit code: 6
    --- stderr
    error: another run of this pair is in progress on this host
    hint: wait for it to end, or give `--wait SECONDS`; nothing was changed
    "#);
    assert_eq!(world.json(&["sync", "--wait", "0.3"])["exit_code"], 6);
    assert_eq!(code(&world, &["trash", "empty", "--yes"]), Some(6));
    first.child.terminate().unwrap();
    assert_eq!(first.end().code, Some(143));
    server.access().clear_faults();
    assert_eq!(code(&world, &["sync", "--wait", "10"]), Some(0));
    assert!(server.access().get(BUCKET, "a").is_some());
}

#[test]
fn a_run_out_of_time_says_what_it_was_waiting_for() {
    let world = World::with_folder("");
    // A port that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    world.config(&format!(
        "{{ sync: {{ provider: 's3', mode: 'mailbox', s3: {{ endpoint: 'http://127.0.0.1:{port}', bucket: 'b', \
         region: 'us-east-1', accessKeyId: 'k', secretAccessKey: 'hunter2' }} }} }}"
    ));
    let ran = world.ows(&["sync", "--timeout", "1"]);
    assert_eq!(ran.code, Some(124), "{}", ran.shown());
    let text = ran.stderr.to_lowercase();
    assert!(text.contains("cause: list failed: "), "{}", ran.shown());
    assert!(!text.contains("hunter2"), "{}", ran.shown());
}

#[test]
fn a_run_out_of_time_is_124_and_what_was_finished_counts() {
    let server = Server::builder()
        .bucket(BUCKET)
        .quirks(Quirks::default())
        .start();
    let world = World::with_s3(&server, "");
    world.write("workspace/a", "a");
    world.write("workspace/b", "b");
    let second = When::op(Op::Put).key("b").always();
    server.access().fault(second, Then::Hang);
    let ran = world.ows(&["sync", "--timeout", "8"]);
    insta::assert_snapshot!(ran.shown(), @r#"
    exit code: 124
    --- stdout
    1 uploaded (1 B, 37 calls, [SECONDS] s)
    --- stderr
    error: the run's time is over
    hint: what was finished before it counts; run again to go on, or raise `timeout`
    "#);
    let json = world.json(&["sync", "--timeout", "8"]);
    assert_eq!(json["exit_code"], 124);
    assert_eq!(json["counts"]["unchanged"], 1);
    server.access().clear_faults();
    let json = world.json(&["sync"]);
    assert_eq!(json["counts"]["upload"], 1);
}
