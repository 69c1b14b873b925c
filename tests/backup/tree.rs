//! A tree with everything odd in it, archived, and read back by our reader, GNU tar and Python.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use ows::backup::archive::{Appended, Archive};
use ows::backup::entry::{Digest, EntryKind, SnapshotEntry};
use ows::backup::extract::{ExtractOptions, Extractor, Proof};
use ows::backup::index::IndexError;
use ows::backup::items::{ItemPlaces, Items};
use ows::backup::scan::{Scan, ScanOptions};
use ows::config::Item;
use tempfile::TempDir;

/// A host with a workspace `ws`, beside it a state directory.
pub struct Host(pub TempDir);

/// What became of a workspace.
pub struct Archived {
    pub tar: Vec<u8>,
    pub entries: Vec<SnapshotEntry>,
    pub left: Vec<String>,
    pub folded: Vec<String>,
}

impl Host {
    pub fn new() -> Self {
        let host = Self(TempDir::new().unwrap());
        fs::create_dir(host.workspace()).unwrap();
        host
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn workspace(&self) -> PathBuf {
        self.path().join("ws")
    }

    pub fn own_dir(&self) -> PathBuf {
        self.path().join("state/ows")
    }

    pub fn scan(&self, options: ScanOptions) -> Scan {
        let places = ItemPlaces {
            workspace: self.workspace(),
            state_dir: self.path().join("state"),
            own_dir: self.own_dir(),
            pair: None,
            destination: None,
        };
        Scan::new(Items::find(&[Item::Workspace], &places).unwrap(), options)
    }

    pub fn archive(&self, options: ScanOptions) -> Archived {
        let mut archive = Archive::new(Vec::new(), 1);
        let mut done = Archived {
            tar: Vec::new(),
            entries: Vec::new(),
            left: Vec::new(),
            folded: Vec::new(),
        };
        for found in self.scan(options) {
            match archive.append(&found).unwrap() {
                Appended::Stored(entry) => done.entries.push(entry),
                Appended::Left(class) => done.left.push(format!("{} {class:?}", found.path)),
                Appended::Folded => done.folded.push(found.path.to_string()),
            }
        }
        done.tar = archive.finish().unwrap();
        done
    }
}

struct Expected(std::vec::IntoIter<SnapshotEntry>);

impl Proof for Expected {
    fn next_entry(&mut self) -> Result<Option<SnapshotEntry>, IndexError> {
        Ok(self.0.next())
    }
}

impl Archived {
    /// Unpacks with our own extractor, against the entries.
    pub fn extract(&self) -> TempDir {
        let target = TempDir::new().unwrap();
        let dir = cap_std::fs::Dir::open_ambient_dir(target.path(), cap_std::ambient_authority())
            .unwrap();
        let options = ExtractOptions {
            proof: Some(Box::new(Expected(self.entries.clone().into_iter()))),
            ..ExtractOptions::default()
        };
        let mut extractor = Extractor::new(&dir, options).unwrap();
        extractor.volume(self.tar.as_slice()).unwrap();
        let extracted = extractor.finish().unwrap();
        assert_eq!(extracted.bad, []);
        assert_eq!(extracted.unproven, 0);
        target
    }
}

/// All that a file system says of a path.
#[derive(Debug, PartialEq)]
struct Attributes {
    kind: String,
    mode: u32,
    mtime: (i64, i64),
    owner: (u32, u32),
    content: Option<Digest>,
    target: Option<PathBuf>,
    /// The first path, in order, of the same file.
    first_name: Option<PathBuf>,
}

fn look(root: &Path, mask: u32) -> BTreeMap<PathBuf, Attributes> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for child in fs::read_dir(root.join(&folder)).unwrap() {
            let path = folder.join(child.unwrap().file_name());
            let full = root.join(&path);
            let stat = fs::symlink_metadata(&full).unwrap();
            if stat.is_dir() {
                folders.push(path.clone());
            }
            let attributes = Attributes {
                kind: format!("{:?}", stat.file_type()),
                // The mode of a link means nothing.
                mode: if stat.is_symlink() {
                    0
                } else {
                    stat.mode() & mask
                },
                mtime: (stat.mtime(), stat.mtime_nsec()),
                owner: (stat.uid(), stat.gid()),
                content: stat
                    .is_file()
                    .then(|| Digest::of(&fs::read(&full).unwrap())),
                target: fs::read_link(&full).ok(),
                first_name: None,
            };
            found.insert(
                path,
                (
                    attributes,
                    (stat.nlink() > 1 && stat.is_file()).then(|| stat.ino()),
                ),
            );
        }
    }
    let mut first_names = BTreeMap::new();
    found
        .into_iter()
        .map(|(path, (mut attributes, inode))| {
            attributes.first_name = inode.map(|inode| {
                first_names
                    .entry(inode)
                    .or_insert_with(|| path.clone())
                    .clone()
            });
            (path, attributes)
        })
        .collect()
}

fn name(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

fn set_time(path: &Path, seconds: i64, nanoseconds: u32) {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        UNIX_EPOCH - whole
    } else {
        UNIX_EPOCH + whole
    };
    File::open(path)
        .unwrap()
        .set_modified(time + Duration::from_nanos(nanoseconds.into()))
        .unwrap();
}

/// Everything odd that one folder can hold and that GNU tar can bring back.
fn odd_tree() -> Host {
    let host = Host::new();
    let ws = host.workspace();
    let names: Vec<Vec<u8>> = vec![
        vec![b'n'; 255],
        "\u{e4}".repeat(127).into_bytes(),
        [vec![0xff; 250], b".log".to_vec()].concat(),
        b"\xff\xfe".to_vec(),
        b"line\nfeed".to_vec(),
        b"\x1b[31m\t\x01".to_vec(),
        b"-rf".to_vec(),
        b" before and after ".to_vec(),
        b"back\\slash \"quotes\" 'and' `these`".to_vec(),
        "a\u{308}".as_bytes().to_vec(),
        "\u{e4}".as_bytes().to_vec(),
        b"...".to_vec(),
        b"17 path=x".to_vec(),
    ];
    for (number, bytes) in names.iter().enumerate() {
        fs::write(ws.join(name(bytes)), number.to_string()).unwrap();
    }
    // Around the hundred bytes of the field, for files and folders.
    for length in 85..95 {
        fs::write(ws.join("f".repeat(length)), "x").unwrap();
        fs::create_dir(ws.join("d".repeat(length))).unwrap();
        symlink("t".repeat(length + 10), ws.join(format!("link{length}"))).unwrap();
    }
    let long = "e".repeat(200);
    let folder = ws.join(&long).join(&long).join(&long);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("in a long folder"), "content").unwrap();
    fs::hard_link(folder.join("in a long folder"), ws.join("zz far from it")).unwrap();

    for (file, mode) in [
        ("private", 0o600),
        ("none", 0o000),
        ("setuid", 0o4755),
        ("setgid", 0o2750),
        ("all", 0o7777),
    ] {
        fs::write(ws.join(file), file).unwrap();
        fs::set_permissions(ws.join(file), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (folder, mode) in [("shut", 0o700), ("sticky", 0o1777), ("read only", 0o555)] {
        fs::create_dir(ws.join(folder)).unwrap();
        fs::write(ws.join(folder).join("inside"), "x").unwrap();
        fs::set_permissions(ws.join(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(ws.join("empty")).unwrap();

    for (file, target) in [
        ("dangling", "no/where"),
        ("absolute", "/etc/passwd"),
        ("outside", "../../x"),
        ("self", "self"),
        ("folder link", "empty"),
    ] {
        symlink(target, ws.join(file)).unwrap();
    }
    symlink(OsStr::from_bytes(&[b'\xfe'; 3]), ws.join("no text")).unwrap();
    symlink("l/".repeat(2000), ws.join("long link")).unwrap();

    fs::write(ws.join("first"), "linked").unwrap();
    for more in ["second", "empty/third"] {
        fs::hard_link(ws.join("first"), ws.join(more)).unwrap();
    }

    let mut sparse = File::create(ws.join("sparse")).unwrap();
    sparse.seek(SeekFrom::Start(1 << 20)).unwrap();
    sparse.write_all(b"data between holes").unwrap();
    sparse.set_len(3 << 20).unwrap();

    for (file, seconds, nanoseconds) in [
        ("t1", 1_700_000_000, 123_456_789),
        ("t2", 0, 0),
        ("t3", 0, 1),
        ("t4", -86_400, 250_000_000),
        ("t5", 1 << 33, 500),
        ("t6", -1, 999_999_999),
    ] {
        fs::write(ws.join(file), "x").unwrap();
        set_time(&ws.join(file), seconds, nanoseconds);
    }
    set_time(&ws.join("empty"), 1_600_000_000, 1);
    host
}

#[test]
fn our_extractor_brings_an_odd_tree_back_field_by_field() {
    let host = odd_tree();
    let archived = host.archive(ScanOptions::default());
    assert_eq!(archived.left, Vec::<String>::new());
    let target = archived.extract();
    // Set-id bits are dropped, and owners are those of whoever restores.
    let mask = 0o777;
    assert_eq!(
        look(&target.path().join("workspace"), mask),
        look(&host.workspace(), mask)
    );
}

#[test]
fn gnu_tar_brings_an_odd_tree_back_field_by_field() {
    let host = odd_tree();
    let archived = host.archive(ScanOptions::default());
    let target = TempDir::new().unwrap();
    let file = target.path().join("odd.tar");
    fs::write(&file, &archived.tar).unwrap();
    let answer = Command::new("tar")
        .args(["-x", "-p", "-f"])
        .arg(&file)
        .arg("-C")
        .arg(target.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{said}");
    let unexpected: Vec<&str> = said
        .lines()
        .filter(|line| {
            !line.contains("hdrcharset")
                && !line.contains("implausibly old")
                && !line.contains("in the future")
        })
        .collect();
    assert_eq!(unexpected, Vec::<&str>::new());
    assert_eq!(
        look(&target.path().join("workspace"), 0o7777),
        look(&host.workspace(), 0o7777)
    );
}

/// One line per member: everything that Python knows of it, names in hexadecimal.
const PYTHON: &str = r#"
import sys, tarfile, hashlib, os
with tarfile.open(sys.argv[1], sys.argv[2], encoding="utf-8", errors="surrogateescape") as archive:
    for member in archive:
        content = archive.extractfile(member).read() if member.isreg() else b""
        kind = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink"}[member.type]
        print(os.fsencode(member.name).hex(), kind, member.size if member.isreg() else 0, oct(member.mode)[2:],
              member.pax_headers.get("mtime", member.mtime), member.uid, member.gid, member.uname or "-", member.gname or "-",
              os.fsencode(member.linkname).hex() or "-", hashlib.sha256(content).hexdigest())
"#;

fn as_python_says(entry: &SnapshotEntry) -> String {
    let (kind, size, link, sha256) = match &entry.kind {
        EntryKind::File { size, sha256, .. } => ("file", *size, Vec::new(), *sha256),
        EntryKind::Dir => ("dir", 0, Vec::new(), Digest::of(b"")),
        EntryKind::Symlink { target } => ("symlink", 0, target.clone(), Digest::of(b"")),
        EntryKind::HardLink { to } => ("hardlink", 0, to.as_bytes().to_vec(), Digest::of(b"")),
    };
    let link = if link.is_empty() {
        "-".to_owned()
    } else {
        hex::encode(link)
    };
    format!(
        "{} {kind} {size} {:o} {} {} {} {} {} {link} {sha256}",
        hex::encode(entry.path.as_bytes()),
        entry.mode,
        ows::backup::entry::seconds(entry.mtime_ns),
        entry.uid,
        entry.gid,
        entry.user.as_deref().unwrap_or("-"),
        entry.group.as_deref().unwrap_or("-"),
    )
}

#[test]
fn python_reads_an_odd_tree_as_the_index_has_it_from_files_and_from_streams() {
    let host = odd_tree();
    let archived = host.archive(ScanOptions::default());
    let file = host.path().join("odd.tar");
    fs::write(&file, &archived.tar).unwrap();
    let expected: Vec<String> = archived.entries.iter().map(as_python_says).collect();
    for mode in ["r:", "r|"] {
        let answer = Command::new("python3")
            .arg("-c")
            .arg(PYTHON)
            .arg(&file)
            .arg(mode)
            .env("PYTHONUTF8", "1")
            .output()
            .unwrap();
        assert!(
            answer.status.success(),
            "{}",
            String::from_utf8_lossy(&answer.stderr)
        );
        let said = String::from_utf8(answer.stdout).unwrap();
        assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{mode}");
    }
}

#[test]
fn paths_longer_than_the_system_takes_survive() {
    let host = Host::new();
    let segment = "s".repeat(250);
    let root = ows_providers::folder::Root::open(&host.workspace()).unwrap();
    let mut dir = root.dir().try_clone().unwrap();
    for _ in 0..40 {
        ows_providers::folder::name::make_dir(&dir, OsStr::new(&segment)).unwrap();
        dir = ows_providers::folder::name::open_dir(&dir, OsStr::new(&segment)).unwrap();
    }
    let mut file =
        ows_providers::folder::name::create_new(&dir, OsStr::new("deep"), 0o640).unwrap();
    file.write_all(b"at the bottom").unwrap();
    rustix::fs::linkat(&dir, "deep", &dir, "linked", rustix::fs::AtFlags::empty()).unwrap();
    rustix::fs::symlinkat("deep", &dir, "symbolic").unwrap();
    let archived = host.archive(ScanOptions::default());
    assert_eq!(archived.left, Vec::<String>::new());
    let longest = archived
        .entries
        .iter()
        .map(|entry| entry.path.as_bytes().len())
        .max();
    assert!(longest.unwrap() > 10_000);

    let target = archived.extract();
    let root = ows_providers::folder::Root::open(target.path()).unwrap();
    let mut dir =
        ows_providers::folder::name::open_dir(root.dir(), OsStr::new("workspace")).unwrap();
    for _ in 0..40 {
        dir = ows_providers::folder::name::open_dir(&dir, OsStr::new(&segment)).unwrap();
    }
    let (_, first) = ows_providers::folder::name::open_regular(&dir, OsStr::new("deep")).unwrap();
    let (_, second) =
        ows_providers::folder::name::open_regular(&dir, OsStr::new("linked")).unwrap();
    assert_eq!((first.size, first.identity), (13, second.identity));

    let file = host.path().join("deep.tar");
    fs::write(&file, &archived.tar).unwrap();
    let answer = Command::new("tar").arg("-tf").arg(&file).output().unwrap();
    assert!(
        answer.status.success(),
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    let listed = String::from_utf8(answer.stdout).unwrap();
    assert_eq!(listed.lines().count(), archived.entries.len());
    assert!(
        listed
            .lines()
            .any(|line| line.len() > 10_000 && line.ends_with("/deep"))
    );
}
