//! Names that an enemy chose, in the remote.

use crate::support::{BUCKET, World, server};

/// Keys of which none may become a file here.
const NO_PATHS: [&str; 12] = [
    "../escape",
    "/absolute",
    "a//b",
    "a/./b",
    "a/../../b",
    "./a",
    "..",
    "a/",
    "_outbox/../../escape",
    "_outbox//double",
    "_outbox/a/../../../escape",
    "_outbox/nul\u{0}byte",
];

#[test]
fn keys_that_are_no_paths_never_escape_and_are_reported() {
    let server = server();
    let store = server.access();
    let world = World::with_s3(&server, "");
    world.write("workspace/mine", "mine");
    world.ok(&["sync"]);
    for key in NO_PATHS {
        store.put(BUCKET, key, "evil");
    }
    let before = world.everything("");
    for arguments in [
        vec!["sync"],
        vec!["sync", "--dry-run"],
        vec!["sync", "--direction", "pull"],
    ] {
        let ran = world.ows(&arguments);
        assert_eq!(ran.code, Some(3), "{arguments:?}: {}", ran.shown());
        for shown in [
            "`../escape`",
            "`/absolute`",
            "`a//b`",
            "`a/./b`",
            "`_outbox/../../escape`",
        ] {
            assert!(
                ran.stderr.contains(shown),
                "{arguments:?} {shown}: {}",
                ran.stderr
            );
        }
    }
    let after: Vec<String> = world
        .everything("")
        .into_iter()
        .filter(|path| !before.contains(path) && !path.starts_with("state/ows/"))
        .collect();
    assert_eq!(after, Vec::<String>::new());
    for key in NO_PATHS {
        assert!(store.object(BUCKET, key).is_some(), "`{key}` was removed");
    }
    let list = world.ows(&["list", "-R"]);
    assert_eq!(list.code, Some(3), "{}", list.shown());
    assert!(list.stdout.contains("mine"));
}

#[test]
fn names_that_speak_to_the_terminal_are_escaped_everywhere() {
    let server = server();
    let store = server.access();
    let world = World::with_s3(&server, "");
    world.write("workspace/mine", "mine");
    world.ok(&["sync"]);
    let names = [
        "_outbox/\u{1b}[2J\u{1b}]0;title\u{7}.txt",
        "_outbox/bell\u{8}\r\nerror: forged",
        "_outbox/fdp.\u{202e}exe",
        "_outbox/zero\u{200b}width",
        "\u{1b}[31mstray",
        "stray\u{2028}line",
    ];
    for name in names {
        store.put(BUCKET, name, "x");
    }
    let is_raw = |text: &str| {
        text.contains([
            '\u{1b}', '\u{7}', '\u{8}', '\r', '\u{202e}', '\u{200b}', '\u{2028}',
        ]) || text.contains("\nerror: forged")
    };
    let commands: [&[&str]; 7] = [
        &["list", "-R"],
        &["sync", "--dry-run"],
        &["sync", "-vvv"],
        &["trash", "list"],
        &["status"],
        &["trash", "restore"],
        &["sync", "-v"],
    ];
    for arguments in commands {
        let ran = world.ows(arguments);
        assert!(!is_raw(&ran.stdout), "{arguments:?}: {:?}", ran.stdout);
        assert!(!is_raw(&ran.stderr), "{arguments:?}: {:?}", ran.stderr);
        assert!(
            matches!(ran.code, Some(0 | 3)),
            "{arguments:?}: {}",
            ran.shown()
        );
    }
}

#[test]
fn a_key_of_1024_bytes_is_reported_or_handled_and_never_crashes() {
    let server = server();
    let store = server.access();
    let world = World::with_s3(&server, "");
    world.write("workspace/mine", "mine");
    world.ok(&["sync"]);
    let segment = "n".repeat(255);
    let deep = format!("_outbox/{}", [segment.as_str(); 4].join("/"));
    let deep = &deep[..1024];
    let long = "m".repeat(1024);
    let long_drop = format!("_outbox/{}", "o".repeat(1016));
    for key in [deep, &long, &long_drop] {
        store.put(BUCKET, key, "x");
    }
    let ran = world.ows(&["sync"]);
    assert_eq!(ran.code, Some(3), "{}", ran.shown());
    assert!(
        ran.stderr.contains(&long_drop),
        "a name that fits no file system is reported"
    );
    assert!(
        store.object(BUCKET, &long_drop).is_some(),
        "and not removed"
    );
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert_eq!(world.ows(&["list", "-R"]).code, Some(0));
}
