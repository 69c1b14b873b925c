use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, mpsc};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::{EntryKind, RelPath, SortKey};

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn pipe(at: &Path) {
    let made = std::process::Command::new("mkfifo")
        .arg(at)
        .status()
        .unwrap();
    assert!(made.success());
}

/// The walk in one word per step.
fn steps(root: &Root, options: WalkOptions) -> Vec<String> {
    Walk::new(root, options).unwrap().map(describe).collect()
}

fn describe(step: Step) -> String {
    match step {
        Step::Found(found) if found.stat.kind == Kind::Dir => format!("{}/", found.path),
        Step::Found(found) => found.path.to_string(),
        Step::Other { path, kind } => format!("{path} is a {}", kind.describe()),
        Step::Link { path, problem } => format!("{path}: {problem}"),
        Step::Changed { path } => format!("{path} changed"),
        Step::Unreadable { path, .. } => format!("{path} unreadable"),
        Step::NotUtf8 { parent, name } => {
            let parent = parent.map_or(String::new(), |parent| format!("{parent}/"));
            format!("{parent}{} is not UTF-8", name.to_string_lossy())
        }
    }
}

fn skipping(skip: impl Fn(&RelPath, Kind) -> bool + Send + 'static) -> WalkOptions {
    WalkOptions {
        skip: Box::new(skip),
        ..WalkOptions::default()
    }
}

#[test]
fn walk_is_in_the_order_of_sort_keys() {
    for seed in 0..40_u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let temp = tempfile::tempdir().unwrap();
        let mut expected = BTreeSet::new();
        for _ in 0..60 {
            let depth = random.random_range(1..4);
            let names = ["a", "a-", "a.b", "a0", "b", "aa", "é", "a b", "-", "Z"];
            let chosen: Vec<_> = (0..depth)
                .map(|_| names[random.random_range(0..names.len())])
                .collect();
            let text = chosen.join("/");
            let target = temp.path().join(&text);
            let parent = target.parent().unwrap();
            if fs::create_dir_all(parent).is_err() || target.exists() {
                continue;
            }
            if random.random_bool(0.5) {
                fs::write(&target, text.as_bytes()).unwrap();
            } else {
                fs::create_dir(&target).unwrap();
            }
        }
        collect(temp.path(), temp.path(), &mut expected);
        let root = Root::open(temp.path()).unwrap();
        let walked: Vec<SortKey> = Walk::new(&root, WalkOptions::default())
            .unwrap()
            .map(|step| match step {
                Step::Found(found) if found.stat.kind == Kind::Dir => SortKey::dir(found.path),
                Step::Found(found) => SortKey::file(found.path),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            walked,
            expected.into_iter().collect::<Vec<_>>(),
            "seed {seed}"
        );
    }
}

fn collect(root: &Path, folder: &Path, into: &mut BTreeSet<SortKey>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let below = entry.path();
        let relative = path(below.strip_prefix(root).unwrap().to_str().unwrap());
        let is_dir = entry.file_type().unwrap().is_dir();
        let kind = if is_dir {
            EntryKind::Dir
        } else {
            EntryKind::File
        };
        into.insert(SortKey {
            path: relative,
            kind,
        });
        if is_dir {
            collect(root, &below, into);
        }
    }
}

#[test]
fn thousand_levels_are_walked_with_few_handles() {
    let temp = tempfile::tempdir().unwrap();
    let root = Root::open(temp.path()).unwrap();
    // Names long enough that the path exceeds what the system takes in one call; a file after each folder makes the
    // walk come back to every level.
    let name = "level-0123456789";
    let mut deep = path(name);
    for _ in 1..1000 {
        deep = deep.join(name).unwrap();
    }
    let mut dir = root.make_folder(Some(&deep)).unwrap();
    drop(name::create_new(&dir, OsStr::new("bottom"), 0o666).unwrap());
    let mut above = deep.parent();
    while let Some(folder) = above {
        if folder.segments().count() % 100 == 0 {
            dir = root.folder(Some(&folder)).unwrap();
            drop(name::create_new(&dir, OsStr::new("z"), 0o666).unwrap());
        }
        above = folder.parent();
    }
    let handles = || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let before = handles();
    let mut most = 0;
    let mut files = Vec::new();
    let mut folders = 0;
    for step in Walk::new(&root, WalkOptions::default()).unwrap() {
        most = most.max(handles());
        match step {
            Step::Found(found) if found.stat.kind == Kind::Dir => folders += 1,
            Step::Found(found) => files.push(found.path.segments().count()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(folders, 1000);
    assert_eq!(files, [1001, 901, 801, 701, 601, 501, 401, 301, 201, 101]);
    // Other tests of this process open files too, hence the room.
    assert!(most < before + 300, "{before} handles, then {most}");
    assert_eq!(
        root.lstat(&deep.join("bottom").unwrap())
            .unwrap()
            .unwrap()
            .kind,
        Kind::File
    );
    assert!(root.open_regular(&deep.join("bottom").unwrap()).is_ok());
}

#[test]
fn special_files_links_and_foreign_names_are_told_and_never_opened() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("d")).unwrap();
    pipe(&temp.path().join("d/pipe"));
    symlink("/etc", temp.path().join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(temp.path().join("socket")).unwrap();
    fs::write(temp.path().join("d").join(OsStr::from_bytes(b"\xff")), "x").unwrap();
    let root = Root::open(temp.path()).unwrap();
    assert_eq!(
        steps(&root, WalkOptions::default()),
        [
            "d/",
            "d/pipe is a named pipe",
            "d/\u{fffd} is not UTF-8",
            "link is a symbolic link",
            "socket is a socket"
        ]
    );
    // Would hang, were it opened.
    let error = root.open_regular(&path("d/pipe")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(is_link_error(
        &root.open_regular(&path("link")).unwrap_err()
    ));
}

#[test]
fn folder_swapped_for_a_link_never_leads_outside() {
    let temp = tempfile::tempdir().unwrap();
    let outside = temp.path().join("outside");
    let inside = temp.path().join("inside");
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::write(outside.join("deep/secret"), "secret").unwrap();
    fs::create_dir_all(inside.join("a/deep")).unwrap();
    let root = Root::open(&inside).unwrap();
    assert!(root.lstat(&path("a/deep/secret")).unwrap().is_none());

    fs::rename(inside.join("a"), inside.join("b")).unwrap();
    symlink(&outside, inside.join("a")).unwrap();
    let target = path("a/deep/secret");
    for error in [
        root.lstat(&target).map(drop).unwrap_err(),
        root.open_regular(&target).map(drop).unwrap_err(),
        root.parent(&target).map(drop).unwrap_err(),
        root.folder(Some(&path("a"))).map(drop).unwrap_err(),
        root.make_folder(Some(&path("a/deep/new")))
            .map(drop)
            .unwrap_err(),
        root.make_parent(&path("a/new")).map(drop).unwrap_err(),
    ] {
        assert!(is_link_error(&error), "{error}");
    }
    assert_eq!(fs::read_dir(outside.join("deep")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn folder_swapped_for_a_link_in_mid_walk_is_changed() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir_all(temp.path().join("outside/secret")).unwrap();
    let inside = temp.path().join("inside");
    fs::create_dir_all(inside.join("a")).unwrap();
    let root = Root::open(&inside).unwrap();
    let outside = temp.path().join("outside");
    let options = skipping(move |path, kind| {
        // Asked after the folder's names were read, before this one is looked at.
        if path.as_str() == "a" && kind == Kind::Dir {
            fs::remove_dir(inside.join("a")).unwrap();
            symlink(&outside, inside.join("a")).unwrap();
        }
        false
    });
    assert_eq!(steps(&root, options), ["a changed"]);
}

#[test]
fn name_that_vanishes_in_mid_walk_is_absent() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(temp.path().join(name), "").unwrap();
    }
    fs::create_dir(temp.path().join("d")).unwrap();
    let root = Root::open(temp.path()).unwrap();
    let place = temp.path().to_owned();
    let options = skipping(move |path, _| {
        match path.as_str() {
            "b" => fs::remove_file(place.join("b")).unwrap(),
            "d" => fs::remove_dir(place.join("d")).unwrap(),
            _ => {}
        }
        false
    });
    assert_eq!(steps(&root, options), ["a", "c"]);
}

#[test]
fn folder_that_gives_way_while_it_is_closed_is_unreadable() {
    let temp = tempfile::tempdir().unwrap();
    let root = Root::open(temp.path()).unwrap();
    let mut deep = path("d");
    for _ in 1..60 {
        deep = deep.join("d").unwrap();
    }
    root.make_folder(Some(&deep)).unwrap();
    // `z` in the second folder is visited on the way back, when that folder must be opened again.
    fs::write(temp.path().join("d/d/z"), "").unwrap();
    fs::write(temp.path().join("z"), "").unwrap();
    let place = temp.path().to_owned();
    let options = skipping(move |path, _| {
        if path.segments().count() == 60 {
            fs::rename(place.join("d"), place.join("moved")).unwrap();
            fs::create_dir_all(place.join("d/d")).unwrap();
        }
        false
    });
    let told = steps(&root, options);
    assert_eq!(told[60..], ["d/d unreadable", "z"]);
}

#[test]
fn unreadable_folder_is_told_and_the_rest_is_walked() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir_all(temp.path().join("closed/in")).unwrap();
    fs::write(temp.path().join("open"), "").unwrap();
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(
        temp.path().join("closed"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    let root = Root::open(temp.path()).unwrap();
    let told = as_nobody(move || steps(&root, WalkOptions::default()));
    fs::set_permissions(
        temp.path().join("closed"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    assert_eq!(told, ["closed unreadable", "open"]);
}

/// Runs on a thread of its own that has given up root's rights, where it had them; the rest of the process keeps its.
pub(crate) fn as_nobody<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        work()
    })
    .join()
    .unwrap()
}

#[test]
fn skipped_folder_is_not_entered() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir_all(temp.path().join("a/skipped/in")).unwrap();
    fs::write(temp.path().join("a/kept"), "").unwrap();
    let root = Root::open(temp.path()).unwrap();
    let options = skipping(|path, _| path.name() == "skipped");
    assert_eq!(steps(&root, options), ["a/", "a/kept"]);
    let shallow = WalkOptions {
        shallow: true,
        below: Some(path("a")),
        ..WalkOptions::default()
    };
    assert_eq!(steps(&root, shallow), ["a/kept", "a/skipped/"]);
}

#[test]
fn links_are_followed_inside_the_workspace_only() {
    let temp = tempfile::tempdir().unwrap();
    let workspace = temp.path().join("workspace");
    let folder = workspace.join("pair");
    fs::create_dir_all(folder.join("own")).unwrap();
    fs::create_dir_all(folder.join(".ows")).unwrap();
    fs::create_dir_all(workspace.join("beside/deep")).unwrap();
    fs::write(workspace.join("beside/deep/file"), "x").unwrap();
    fs::write(folder.join(".ows/replica"), "x").unwrap();
    fs::write(temp.path().join("outside"), "x").unwrap();
    for (target, link) in [
        ("../beside", "beside"),
        ("../../outside", "escape"),
        ("/etc/passwd", "absolute"),
        ("../../workspace/beside", "out-and-in"),
        (".ows/replica", "ours"),
        ("nowhere", "dangling"),
        ("self", "self"),
        ("..", "around"),
        ("../beside/deep/file", "file"),
        ("..", "own/up"),
    ] {
        symlink(target, folder.join(link)).unwrap();
    }
    symlink(workspace.join("beside/deep"), folder.join("inner")).unwrap();
    let scope = Arc::new(LinkScope::new(&workspace, &folder).unwrap());
    let root = Root::open(&folder).unwrap();
    let options = WalkOptions {
        links: Some(Arc::clone(&scope)),
        skip: Box::new(|path, _| path.as_str() == ".ows"),
        ..WalkOptions::default()
    };
    let outside = "the link leads out of the workspace";
    let again = "the link leads back to itself";
    assert_eq!(
        steps(&root, options),
        [
            &format!("absolute: {outside}"),
            &format!("around: {again}"),
            "beside/",
            "beside/deep/",
            "beside/deep/file",
            "dangling: the link leads nowhere",
            &format!("escape: {outside}"),
            "file",
            "inner/",
            "inner/file",
            &format!("ours: {outside}"),
            &format!("out-and-in: {outside}"),
            "own/",
            &format!("own/up: {again}"),
            &format!("self: {again}"),
        ]
    );
    let resolved = scope.resolve(&path("beside/deep/file")).unwrap();
    assert_eq!(resolved.stat.size, 1);
}

#[test]
fn nothing_is_replaced_where_nothing_may_be() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("old"), "old").unwrap();
    let root = Root::open(temp.path()).unwrap();
    let dir = root.dir();
    for by_link in [false, true] {
        fs::write(temp.path().join("new"), "new").unwrap();
        let rename = |to: &str| {
            let (from, to) = ((dir, OsStr::new("new")), (dir, OsStr::new(to)));
            if by_link {
                name::rename_noreplace_by_link(from, to)
            } else {
                name::rename_noreplace(from, to)
            }
        };
        assert_eq!(
            rename("old").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(temp.path().join("old")).unwrap(), b"old");
        rename(&format!("free{by_link}")).unwrap();
        assert!(!temp.path().join("new").exists());
    }
}

#[test]
fn dropped_temporary_file_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let root = Root::open(temp.path()).unwrap();
    let file = Temp::create(root.folder(None).unwrap(), "t", false).unwrap();
    file.file().write_all(b"x").unwrap();
    drop(file);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    fs::write(temp.path().join("taken"), "old").unwrap();
    let file = Temp::create(root.folder(None).unwrap(), "t", false).unwrap();
    assert!(file.place_new(root.dir(), OsStr::new("taken")).is_err());
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn mode_time_and_owner_are_set_before_the_file_is_seen() {
    let temp = tempfile::tempdir().unwrap();
    let root = Root::open(temp.path()).unwrap();
    fs::write(temp.path().join("plain"), "").unwrap();
    let usual = fs::metadata(temp.path().join("plain")).unwrap().mode() & 0o7777;
    for (ownership, private, mode) in [
        (Ownership::New, false, usual),
        (Ownership::New, true, usual),
        (keep(0o640), true, 0o640),
        (keep(0o4755), true, 0o755),
    ] {
        let file = Temp::create(root.folder(None).unwrap(), "t", private).unwrap();
        let sealed = file.seal(ownership, Some(-1_500_000_001), root.dir());
        assert!(sealed.unwrap());
        file.place_over(root.dir(), OsStr::new("f")).unwrap();
        let seen = fs::metadata(temp.path().join("f")).unwrap();
        assert_eq!(seen.mode() & 0o7777, mode);
        let stat = root.lstat(&path("f")).unwrap().unwrap();
        assert_eq!(stat.mtime_ns, -1_500_000_001);
    }
}

fn keep(mode: u32) -> Ownership {
    Ownership::Keep {
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    }
}

#[test]
fn folder_that_changes_under_its_reader_shows_every_lasting_name() {
    // A writer renames files back and forth while the folder is walked; names that are there all the time must be in
    // every walk.
    let temp = tempfile::tempdir().unwrap();
    for index in 0..200 {
        fs::write(temp.path().join(format!("stays-{index:03}")), "").unwrap();
    }
    let root = Root::open(temp.path()).unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let place = temp.path().to_owned();
    let writer = std::thread::spawn(move || {
        let counter = Cell::new(0_u32);
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            let name = place.join(format!("m{}", counter.get() % 7));
            counter.set(counter.get() + 1);
            fs::write(&name, "").unwrap();
            fs::remove_file(&name).unwrap();
        }
    });
    for _ in 0..20 {
        let walked = steps(&root, WalkOptions::default());
        let lasting = walked.iter().filter(|step| step.starts_with("stays"));
        assert_eq!(lasting.count(), 200);
    }
    drop(stop);
    writer.join().unwrap();
}
