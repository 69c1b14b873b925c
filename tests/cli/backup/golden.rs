//! Whole snapshots as earlier versions wrote them: whatever changes, these are still read.
//!
//! `fixtures/backup/golden/` has a folder for each, with its objects and `RECOVER.txt` as they were stored, and beside them
//! `expected.txt`, what was on the host. The identity there is known to everybody: it is for these tests alone.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ows::backup::entry::{Digest, escape};
use ows_testkit::s3::{Clock, Server};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::world::{bucket, configure, now};
use crate::support::{BUCKET, World};

/// The snapshots: the folder of each, and the keys of `backup` that it was made with.
const SNAPSHOTS: [(&str, &str); 3] = [
    ("plain-1", ""),
    ("sealed-1", "encrypt: true, recipients: ['RECIPIENT']"),
    (
        "volumes-1",
        "encrypt: true, recipients: ['RECIPIENT'], volumeSize: '1MiB'",
    ),
];

const IDENTITY: &str = "identity-for-tests-only.txt";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/backup/golden")
}

/// A line for each path below `root`: path, kind, mode, time of the content, and its hash or the target of a link.
fn described(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let stat = path.symlink_metadata().unwrap();
            let (kind, tail) = if stat.is_dir() {
                folders.push(path.clone());
                ("dir", "-".to_owned())
            } else if stat.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                ("symlink", escape(target.as_os_str().as_bytes()))
            } else {
                let content = std::fs::read(&path).unwrap();
                ("file", Digest::of(&content).to_string())
            };
            let mode = if stat.is_symlink() {
                "-".to_owned()
            } else {
                format!("{:04o}", stat.mode() & 0o7777)
            };
            let shown = escape(path.strip_prefix(root).unwrap().as_os_str().as_bytes());
            let (seconds, nanoseconds) = (stat.mtime(), stat.mtime_nsec());
            lines.push(format!(
                "{shown}\t{kind}\t{mode}\t{seconds}.{nanoseconds:09}\t{tail}"
            ));
        }
    }
    lines.sort();
    lines
}

fn expected() -> Vec<String> {
    let text = std::fs::read_to_string(fixtures().join("expected.txt")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A host that reads one of them, and the name of the snapshot.
fn reader(folder: &str) -> (World, String) {
    let world = World::bare();
    world.folder("vault");
    let mut name = None;
    for object in std::fs::read_dir(fixtures().join(folder)).unwrap() {
        let path = object.unwrap().path();
        let object = path.file_name().unwrap().to_str().unwrap();
        std::fs::copy(&path, world.path("vault").join(object)).unwrap();
        name = name.or(object.strip_suffix(".manifest.json").map(str::to_owned));
    }
    let (vault, identity) = (world.path("vault"), fixtures().join(IDENTITY));
    world.config(&format!(
        "{{ backup: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {vault:?} }} }}, remotePath: '', \
         identities: [{identity:?}] }} }}"
    ));
    (world, name.expect("there is a manifest"))
}

#[test]
fn snapshots_of_every_format_restore_verify_and_list() {
    let expected = expected();
    for (folder, _) in SNAPSHOTS {
        let (world, name) = reader(folder);
        world.ok(&["backup", "restore", "--snapshot", &name, "--to", "restored"]);
        let restored = world.path("home/restored");
        assert_eq!(described(&restored), expected, "{folder}");
        let inode = |name: &str| {
            let path = restored.join("workspace/linked").join(name);
            path.metadata().unwrap().ino()
        };
        assert_eq!(inode("first"), inode("second"), "{folder}");

        let verified = world.json(&["backup", "verify", "--snapshot", &name, "--level", "read"]);
        assert_eq!(verified["exit_code"], 0, "{folder}: {verified:#}");
        assert_eq!(verified["verified"][0]["proven"], "read", "{verified:#}");

        let mut listed: Vec<String> = world
            .ok(&["backup", "ls", &name])
            .stdout
            .lines()
            .map(|line| {
                let path = line.get(36..).unwrap();
                let path = path.split_once(" -> ").map_or(path, |(path, _)| path);
                let path = path.split_once(" = ").map_or(path, |(path, _)| path);
                path.trim_end_matches('/').to_owned()
            })
            .collect();
        listed.sort();
        let mut paths: Vec<&str> = expected
            .iter()
            .filter_map(|line| line.split('\t').next())
            .collect();
        paths.sort_unstable();
        assert_eq!(listed, paths, "{folder}");
    }
}

#[test]
fn what_recover_txt_says_changes_on_purpose_alone() {
    for (folder, _) in SNAPSHOTS {
        let text = std::fs::read_to_string(fixtures().join(folder).join("RECOVER.txt")).unwrap();
        assert!(
            text == ows::backup::recover::TEXT,
            "RECOVER.txt is not what it was when `{folder}` was made. Who has the older one must be able to restore new \
             snapshots with it; if that holds, take the new text into the fixtures"
        );
    }
}

#[test]
fn every_golden_snapshot_is_read() {
    let mut found: Vec<String> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, SNAPSHOTS.map(|(folder, _)| folder));
    for (folder, keys) in SNAPSHOTS {
        let objects = std::fs::read_dir(fixtures().join(folder)).unwrap().count();
        let expected = if keys.contains("volumeSize") { 6 } else { 4 };
        assert_eq!(
            objects, expected,
            "{folder}: data, index, manifest, RECOVER.txt"
        );
    }
}

/// What is on the host. Everything that the formats tell of is there once.
fn fill(world: &World) {
    let root = world.path("workspace");
    world.write("workspace/notes/plan.md", "The plan.\n");
    world.write("workspace/notes/cafe\u{301}.md", "An accent of its own.\n");
    world.write("workspace/notes/back\\slash", "One.\n");
    std::fs::write(
        root.join("notes")
            .join(std::ffi::OsStr::from_bytes(b"no text \xff\xfe")),
        "Bytes.\n",
    )
    .unwrap();
    world.write(
        &format!("workspace/{}/deep.md", "long".repeat(60)),
        "Long.\n",
    );
    world.write("workspace/empty.txt", "");
    // Compresses to nothing, and is too large for what is left of a volume.
    world.write("workspace/middle/zeros.bin", vec![0; 1_200_000]);
    world.write("workspace/run.sh", "#!/bin/sh\n");
    world.write("workspace/linked/first", "Twice.\n");
    std::fs::hard_link(root.join("linked/first"), root.join("linked/second")).unwrap();
    world.tree().symlink("workspace/link", "notes/plan.md");
    world.tree().symlink("workspace/dangling", "no/where");
    world.folder("workspace/shut/empty");
    world.write("state/openclaw.json", "{}\n");
    world.write("state/cron/jobs.json", "[]\n");
    for (path, mode) in [("run.sh", 0o755), ("shut", 0o700), ("empty.txt", 0o600)] {
        std::fs::set_permissions(root.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut number = 0;
    for below in ["workspace", "state/openclaw.json", "state/cron"] {
        set_times(&world.path(below), &mut number);
    }
}

/// Gives each path a time of its own, a folder after what lies in it.
fn set_times(path: &Path, number: &mut i64) {
    if path.symlink_metadata().unwrap().is_dir() {
        let children = std::fs::read_dir(path).unwrap();
        let mut children: Vec<PathBuf> = children.map(|child| child.unwrap().path()).collect();
        children.sort();
        for child in children {
            set_times(&child, number);
        }
    }
    *number += 1;
    let time = Timespec {
        tv_sec: 1_700_000_000 + *number,
        tv_nsec: *number * 1001,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Makes the snapshots of [`SNAPSHOTS`] by the present version, all of one host, and `expected.txt`.
#[test]
#[ignore = "run by hand when a format changes, on a host that is called `gateway`: OWS_GOLDEN=folder"]
fn write_golden_snapshots_of_the_present_formats() {
    let folder = PathBuf::from(std::env::var_os("OWS_GOLDEN").unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    let world = World::bare();
    let identity = folder.join(IDENTITY);
    let made = world.json(&["backup", "keygen", "--output", identity.to_str().unwrap()]);
    let recipient = made["recipient"].as_str().unwrap();
    let key = std::fs::read_to_string(&identity).unwrap();
    let warning =
        "# FOR TESTS ONLY. Everybody has this key: nothing that is sealed to it is secret.\n";
    std::fs::write(&identity, format!("{warning}{key}")).unwrap();
    fill(&world);
    let everything = described(&world.path(""));
    let mut lines: Vec<&str> = everything
        .iter()
        .map(|line| line.strip_prefix("state/").unwrap_or(line))
        .filter(|line| {
            ["workspace", "cron", "openclaw.json"]
                .iter()
                .any(|item| line.starts_with(item))
        })
        .collect();
    lines.sort_unstable();
    std::fs::write(folder.join("expected.txt"), lines.join("\n") + "\n").unwrap();
    for (name, keys) in SNAPSHOTS {
        // The time of the name is the server's.
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_903_999);
        let server = Server::builder()
            .bucket(BUCKET)
            .clock(Clock::manual(time))
            .start();
        let keys = keys.replace("RECIPIENT", recipient);
        configure(&world, &format!("{}, {keys}", bucket(&server)));
        now(&world);
        std::fs::create_dir(folder.join(name)).unwrap();
        for key in server.access().keys(BUCKET) {
            let object = key.strip_prefix("snapshots/").unwrap();
            if !object.starts_with('.') {
                let content = server.access().get(BUCKET, &key).unwrap();
                std::fs::write(folder.join(name).join(object), content).unwrap();
            }
        }
    }
}
