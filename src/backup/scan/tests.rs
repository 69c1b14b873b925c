use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use tempfile::TempDir;

use super::*;
use crate::backup::items::ItemPlaces;
use crate::config::Item;

fn places(root: &Path) -> ItemPlaces {
    ItemPlaces {
        workspace: root.join("ws"),
        state_dir: root.join("state"),
        own_dir: root.join("state/ows"),
        pair: None,
        destination: None,
    }
}

/// A host with a workspace of these files; a name that ends in a slash is a folder.
fn host(files: &[&str]) -> TempDir {
    let host = TempDir::new().expect("a folder");
    fs::create_dir(host.path().join("ws")).expect("made");
    for file in files {
        let path = host.path().join("ws").join(file);
        if file.ends_with('/') {
            fs::create_dir_all(path).expect("made");
        } else {
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs::write(path, *file).expect("written");
        }
    }
    host
}

fn scan(host: &TempDir, include: &[Item], options: ScanOptions) -> Scan {
    let items = Items::find(include, &places(host.path())).expect("found");
    Scan::new(items, options)
}

fn shown(found: &Found) -> String {
    match found.kind {
        FoundKind::File => found.path.to_string(),
        FoundKind::Dir { unreadable: false } => format!("{}/", found.path),
        FoundKind::Dir { unreadable: true } => format!("{}/ unreadable", found.path),
        FoundKind::Symlink => format!("{}@", found.path),
        FoundKind::Lost(class) => format!("{} {class:?}", found.path),
    }
}

fn all(scan: &mut Scan) -> Vec<String> {
    scan.map(|found| shown(&found)).collect()
}

fn patterns(patterns: &[&str]) -> ScanOptions {
    ScanOptions {
        patterns: Patterns::new(patterns).expect("patterns"),
        ..ScanOptions::default()
    }
}

#[expect(clippy::print_stderr, reason = "a test that was not made says so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

#[test]
fn everything_is_found_once_in_the_order_of_names() {
    let host = host(&[
        "b/c",
        "b.md",
        "b/",
        "a",
        "empty/",
        "b/a/x",
        "b-",
        ".ows-tmp-0123abcd-0123456789abcdef",
    ]);
    symlink("nowhere", host.path().join("ws/link")).expect("made");
    let name = OsString::from_vec(b"\xff\n".to_vec());
    fs::write(host.path().join("ws").join(name), "").expect("written");
    assert_eq!(
        all(&mut scan(&host, &[Item::Workspace], ScanOptions::default())),
        [
            "workspace/",
            "workspace/a",
            "workspace/b-",
            "workspace/b.md",
            "workspace/b/",
            "workspace/b/a/",
            "workspace/b/a/x",
            "workspace/b/c",
            "workspace/empty/",
            "workspace/link@",
            "workspace/\\xff\\n",
        ]
    );
}

#[test]
fn patterns_are_anchored_at_the_root_of_each_item_and_never_take_an_item_itself() {
    let host = host(&[
        "x",
        "d/x",
        "memory/x",
        "MEMORY.md",
        "node_modules/y/z",
        "d/node_modules/y",
        "k.log",
    ]);
    let mut scan = scan(
        &host,
        &[Item::Workspace],
        patterns(&["/x", "node_modules/**", "*.log"]),
    );
    assert_eq!(
        all(&mut scan),
        [
            "workspace/",
            "workspace/MEMORY.md",
            "workspace/d/",
            "workspace/d/x",
            "workspace/memory/",
            "workspace/memory/x"
        ]
    );
    assert_eq!(scan.left_out().excluded, 4);
    let mut scan = super::tests::scan(
        &host,
        &[Item::Memory],
        patterns(&["/x", "*.md", "memory/**"]),
    );
    assert_eq!(all(&mut scan), ["workspace/MEMORY.md", "workspace/memory/"]);
}

#[test]
fn names_that_are_no_text_meet_patterns_as_well() {
    let host = host(&["a"]);
    for name in [&b"\xff.log"[..], b"\xff.md"] {
        fs::write(
            host.path()
                .join("ws")
                .join(OsString::from_vec(name.to_vec())),
            "",
        )
        .expect("written");
    }
    let found = all(&mut scan(&host, &[Item::Workspace], patterns(&["*.log"])));
    assert_eq!(found, ["workspace/", "workspace/a", "workspace/\\xff.md"]);
}

#[test]
fn what_is_in_a_cache_is_left_out_but_for_its_tag() {
    let host = host(&["cache/a/b", "cache/c", "false/a", "CACHEDIR.TAG", "a"]);
    let tag = [&CACHE_SIGNATURE[..], b"\n# a comment"].concat();
    for folder in ["cache", "."] {
        fs::write(
            host.path().join("ws").join(folder).join("CACHEDIR.TAG"),
            &tag,
        )
        .expect("written");
    }
    fs::write(host.path().join("ws/false/CACHEDIR.TAG"), &tag[1..]).expect("written");
    let on = ScanOptions {
        exclude_caches: true,
        ..ScanOptions::default()
    };
    let mut with = scan(&host, &[Item::Workspace], on);
    assert_eq!(
        all(&mut with),
        [
            "workspace/",
            "workspace/CACHEDIR.TAG",
            "workspace/a",
            "workspace/cache/",
            "workspace/cache/CACHEDIR.TAG",
            "workspace/false/",
            "workspace/false/CACHEDIR.TAG",
            "workspace/false/a",
        ],
        "the workspace was asked for by name, whatever it says of itself"
    );
    assert_eq!(with.left_out().caches, 1);
    let mut without = scan(&host, &[Item::Workspace], ScanOptions::default());
    assert_eq!(all(&mut without).len(), 11);
    assert_eq!(without.left_out().caches, 0);
}

#[test]
fn pipes_and_sockets_are_counted_and_never_opened() {
    let host = host(&["a"]);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let pipe = host.path().join("ws/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("made");
    let _socket =
        std::os::unix::net::UnixListener::bind(host.path().join("ws/socket")).expect("bound");
    let mut scan = scan(&host, &[Item::Workspace], ScanOptions::default());
    assert_eq!(all(&mut scan), ["workspace/", "workspace/a"]);
    assert_eq!(scan.left_out().special, 2);
}

#[test]
fn a_folder_on_another_file_system_is_named_and_not_entered() {
    let device = |path: &str| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let folder = "/dev/shm";
    if device(folder).is_none() || device(folder) == device("/dev") {
        skipped("there is no file system to cross");
        return;
    }
    let inside = tempfile::Builder::new()
        .prefix("ows")
        .tempdir_in(folder)
        .expect("a folder");
    let name = inside
        .path()
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let state = TempDir::new().expect("a folder");
    for cross_mounts in [false, true] {
        let places = ItemPlaces {
            workspace: "/dev".into(),
            ..places(state.path())
        };
        let items = Items::find(&[Item::Workspace], &places).expect("found");
        let options = ScanOptions {
            cross_mounts,
            ..ScanOptions::default()
        };
        let mut scan = Scan::new(items, options);
        let found = all(&mut scan);
        assert!(found.contains(&"workspace/shm/".to_owned()));
        assert_eq!(
            found.contains(&format!("workspace/shm/{name}/")),
            cross_mounts
        );
        let left_out = scan.left_out();
        let named = left_out
            .mount_paths
            .iter()
            .any(|path| path.as_bytes() == b"workspace/shm");
        assert_eq!(named, !cross_mounts);
        assert_eq!(left_out.mounts > 0, !cross_mounts);
        assert!(left_out.special > 0, "devices are no content");
    }
}

#[test]
fn our_own_folders_are_left_out_and_those_of_the_same_name_are_not() {
    let host = host(&[
        ".ows/replica",
        ".ows/trash/x",
        "sub/.ows/replica",
        "sub/.ows/y",
        "theirs/.ows/y",
    ]);
    assert_eq!(
        all(&mut scan(&host, &[Item::Workspace], ScanOptions::default())),
        [
            "workspace/",
            "workspace/sub/",
            "workspace/theirs/",
            "workspace/theirs/.ows/",
            "workspace/theirs/.ows/y"
        ]
    );
}

#[test]
fn transcripts_are_only_those() {
    let host = host(&[]);
    for file in [
        "sessions/a.jsonl",
        "sessions/a.json",
        "sessions/old/b.jsonl",
        "agents/x/sessions/c.jsonl",
        "agents/x/d.jsonl",
    ] {
        let path = host.path().join("state").join(file);
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        fs::write(path, "").expect("written");
    }
    assert_eq!(
        all(&mut scan(
            &host,
            &[Item::Transcripts],
            ScanOptions::default()
        )),
        [
            "agents/x/sessions/",
            "agents/x/sessions/c.jsonl",
            "sessions/",
            "sessions/a.jsonl",
            "sessions/old/",
            "sessions/old/b.jsonl"
        ]
    );
}

#[test]
fn what_goes_while_the_walk_is_on_is_told() {
    let host = host(&["a", "b", "c", "d/x", "e/x", "f"]);
    let mut scan = scan(&host, &[Item::Workspace], ScanOptions::default());
    assert_eq!(
        scan.next().map(|found| shown(&found)),
        Some("workspace/".to_owned())
    );
    let at = |name: &str| host.path().join("ws").join(name);
    fs::remove_file(at("a")).expect("removed");
    fs::remove_file(at("b")).expect("removed");
    fs::create_dir(at("b")).expect("made");
    fs::write(at("b/inside"), "").expect("written");
    fs::remove_dir_all(at("d")).expect("removed");
    fs::write(at("d"), "").expect("written");
    fs::remove_dir_all(at("e")).expect("removed");
    symlink("/etc", at("e")).expect("made");
    assert_eq!(
        all(&mut scan),
        [
            "workspace/a Vanished",
            "workspace/b/",
            "workspace/b/inside",
            "workspace/c",
            "workspace/d",
            "workspace/e@",
            "workspace/f",
        ]
    );
}

#[test]
fn a_path_far_beyond_what_the_system_takes_is_walked_with_few_open_folders() {
    const DEEP: usize = 300;
    let host = host(&[]);
    let name = "d".repeat(100);
    let mut dir = Root::open(&host.path().join("ws"))
        .expect("opens")
        .dir()
        .try_clone()
        .expect("cloned");
    for _ in 0..DEEP {
        name::make_dir(&dir, OsStr::new(&name)).expect("made");
        dir = name::open_dir(&dir, OsStr::new(&name)).expect("opens");
    }
    for file in ["a", "z"] {
        name::create_new(&dir, OsStr::new(file), 0o600).expect("made");
    }
    fs::write(host.path().join("ws/z"), "").expect("written");
    let mut scan = scan(&host, &[Item::Workspace], ScanOptions::default());
    let mut found = Vec::new();
    while let Some(next) = scan.next() {
        if let Some(walk) = &scan.walk {
            let open = walk
                .frames
                .iter()
                .filter(|frame| frame.handle.is_some())
                .count();
            assert!(open <= OPEN_FOLDERS + 1);
        }
        found.push(next.path);
    }
    assert_eq!(found.len(), 1 + DEEP + 2 + 1);
    assert_eq!(
        found[1 + DEEP + 1].as_bytes().len(),
        "workspace".len() + DEEP * 101 + 2
    );
}

#[test]
fn a_path_that_no_index_could_hold_is_told_and_the_walk_goes_on() {
    let host = host(&["z"]);
    let name = "d".repeat(250);
    let mut dir = Root::open(&host.path().join("ws"))
        .expect("opens")
        .dir()
        .try_clone()
        .expect("cloned");
    for _ in 0..300 {
        name::make_dir(&dir, OsStr::new(&name)).expect("made");
        dir = name::open_dir(&dir, OsStr::new(&name)).expect("opens");
    }
    let found: Vec<Found> = scan(&host, &[Item::Workspace], ScanOptions::default()).collect();
    let lost: Vec<&Found> = found
        .iter()
        .filter(|found| matches!(found.kind, FoundKind::Lost(_)))
        .collect();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].kind, FoundKind::Lost(ProblemClass::Unreadable));
    assert!(lost[0].path.as_bytes().len() <= LONGEST_PATH);
    assert_eq!(found.last().map(shown), Some("workspace/z".to_owned()));
}

#[test]
fn a_folder_that_moved_away_while_it_was_walked_is_told_also_when_another_has_its_name() {
    for another in [false, true] {
        let host = host(&[]);
        let deep: Vec<String> = (0..OPEN_FOLDERS + 8).map(|_| "d".to_owned()).collect();
        let bottom = host.path().join("ws").join(deep.join("/"));
        fs::create_dir_all(&bottom).expect("made");
        fs::write(bottom.join("x"), "").expect("written");
        let place = host.path().join("ws/d/d");
        fs::write(place.join("z"), "").expect("written");
        let mut scan = scan(&host, &[Item::Workspace], ScanOptions::default());
        for found in scan.by_ref() {
            if found.path.name() == b"x" {
                break;
            }
        }
        fs::rename(&place, host.path().join("ws/d/moved")).expect("renamed");
        if another {
            fs::create_dir(&place).expect("made");
            fs::write(place.join("z"), "of another folder").expect("written");
        }
        assert_eq!(all(&mut scan), ["workspace/d/d Vanished"]);
    }
}

#[test]
fn a_folder_that_may_not_be_read_is_stored_and_told() {
    let host = host(&["locked/x", "z"]);
    let locked = host.path().join("ws/locked");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o0)).expect("set");
    let is_root = rustix::process::geteuid().is_root();
    let found = all(&mut scan(&host, &[Item::Workspace], ScanOptions::default()));
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).expect("set");
    if is_root {
        skipped("root may read everything");
        return;
    }
    assert_eq!(
        found,
        ["workspace/", "workspace/locked/ unreadable", "workspace/z"]
    );
}

#[test]
fn the_files_beside_a_copied_database_are_known_until_they_have_passed() {
    let path = |text: &str| ArchivePath::new(text).expect("a path");
    let shared = Shared {
        owners: Owners::default(),
        spool: None,
        folded: Mutex::default(),
    };
    shared.fold(&path("workspace/a.db"));
    for (name, folded) in [
        ("workspace/a.db-", false),
        ("workspace/a.db-journal", true),
        ("workspace/a.db-notes/x", false),
        ("workspace/a.db-shm", true),
        ("workspace/a.db-wal", true),
        ("workspace/a.db-wal2", false),
    ] {
        assert_eq!(shared.is_folded(&path(name)), folded, "{name}");
    }
    assert!(shared.databases().is_empty());
}
