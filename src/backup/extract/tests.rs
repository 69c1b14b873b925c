//! Each attack is an archive made for it. Around the target lies a witness that nothing may touch.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use proptest::prelude::*;
use tar::{EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::backup::entry::Place;

/// Builds an archive, also one that no tool would write.
#[derive(Clone, Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn header(name: &str, kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        header
    }

    fn add(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        let header = Self::header(name, EntryType::Regular, content.len() as u64);
        self.add(header, content.as_bytes())
    }

    fn dir(self, name: &str, mode: u32) -> Self {
        let mut header = Self::header(name, EntryType::Directory, 0);
        header.set_mode(mode);
        self.add(header, b"")
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(name, kind, 0);
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        self.add(header, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Link, name, target)
    }

    fn pax(self, kind: EntryType, data: &[u8]) -> Self {
        self.add(Self::header("pax", kind, data.len() as u64), data)
    }

    /// As [`Self::pax`], in a header as it was before POSIX.
    fn unknown_form(self, kind: EntryType, data: &[u8]) -> Self {
        let mut header = Self::header("pax", kind, data.len() as u64);
        header.as_mut_bytes()[257..265].fill(0);
        self.add(header, data)
    }

    fn records(self, records: &[(&str, &str)]) -> Self {
        let data: String = records
            .iter()
            .map(|(key, value)| record(key, value))
            .collect();
        self.pax(EntryType::XHeader, data.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let length = (1..)
        .find(|length: &usize| length.to_string().len() + rest.len() == *length)
        .expect("a length");
    format!("{length}{rest}")
}

/// A target with a witness beside it.
struct Room {
    place: TempDir,
    target: Dir,
}

impl Room {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        fs::create_dir(place.path().join("target")).expect("makes");
        fs::create_dir(place.path().join("witness")).expect("makes");
        fs::write(place.path().join("witness/secret"), "secret").expect("writes");
        fs::set_permissions(
            place.path().join("witness"),
            PermissionsExt::from_mode(0o711),
        )
        .expect("sets");
        let target =
            Dir::open_ambient_dir(place.path().join("target"), ambient_authority()).expect("opens");
        Self { place, target }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join("target").join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect(name)
    }

    fn extract_with(
        &self,
        tar: &[u8],
        options: ExtractOptions<'_>,
    ) -> Result<Extracted, ExtractError> {
        let mut extractor = Extractor::new(&self.target, options)?;
        let done = extractor.volume(tar).and_then(|()| extractor.finish());
        self.check_witness();
        done
    }

    fn extract(&self, tar: &[u8]) -> Extracted {
        self.extract_with(tar, ExtractOptions::default())
            .expect("extracts")
    }

    /// What lies beside the target is as it was.
    fn check_witness(&self) {
        let witness = self.place.path().join("witness");
        let names = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path)
                .expect("lists")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&witness), ["secret"]);
        assert_eq!(names(self.place.path()), ["target", "witness"]);
        assert_eq!(
            fs::read_to_string(witness.join("secret")).expect("reads"),
            "secret"
        );
        assert_eq!(
            fs::metadata(&witness).expect("is there").mode() & 0o7777,
            0o711
        );
        assert_eq!(
            fs::metadata(witness.join("secret"))
                .expect("is there")
                .nlink(),
            1
        );
    }

    fn is_partial(&self) -> bool {
        self.path(PARTIAL).exists()
    }
}

fn bad(done: &Extracted) -> Vec<String> {
    assert_eq!(done.bad.len() as u64, done.bad_count);
    done.bad
        .iter()
        .map(|bad| format!("{}: {}", bad.path, bad.message))
        .collect()
}

/// The error with its cause.
fn stop(error: &ExtractError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

#[test]
fn an_ordinary_tree_comes_out_field_by_field() {
    let long = "n".repeat(200);
    let tar = Tar::default()
        .dir("./", 0o755)
        .dir("./a/", 0o555)
        .records(&[("mtime", "1500000000.123456789")])
        .file("./a/f", "content")
        .records(&[("path", &format!("a/{long}"))])
        .file("short", "")
        .symlink("a/l", "f")
        .hard_link("a/h", "./a/f")
        .dir("a/empty/", 0o2770)
        .end();
    let room = Room::new();
    let done = room.extract(&tar);
    assert_eq!(bad(&done), [""; 0]);
    assert_eq!(
        (
            done.files,
            done.dirs,
            done.symlinks,
            done.hard_links,
            done.bytes
        ),
        (2, 2, 1, 1, 7)
    );
    assert_eq!(
        (done.unproven, done.links_outside, done.repeated),
        (2, 0, 0)
    );
    let file = fs::metadata(room.path("a/f")).expect("is there");
    assert_eq!(
        (file.mtime(), file.mtime_nsec()),
        (1_500_000_000, 123_456_789)
    );
    assert_eq!((file.mode() & 0o7777, file.nlink()), (0o644, 2));
    assert_eq!(room.read("a/h"), "content");
    assert_eq!(room.read(&format!("a/{long}")), "");
    assert_eq!(
        fs::read_link(room.path("a/l")).expect("a link"),
        Path::new("f")
    );
    assert_eq!(
        fs::symlink_metadata(room.path("a/l"))
            .expect("a link")
            .mtime(),
        1_700_000_000
    );
    let folder = fs::metadata(room.path("a")).expect("is there");
    assert_eq!(
        (folder.mode() & 0o7777, folder.mtime()),
        (0o555, 1_700_000_000)
    );
    assert_eq!(
        fs::metadata(room.path("a/empty")).expect("is there").mode() & 0o7777,
        0o770,
        "set-gid is dropped"
    );
    assert!(!room.is_partial());
    fs::set_permissions(room.path("a"), PermissionsExt::from_mode(0o755)).expect("sets");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let room = Room::new();
    let tar = Tar::default()
        .file("/etc/ows-test", "x")
        .file("../witness/evil", "x")
        .file("a/../../witness/evil", "x")
        .file("a//b", "x")
        .symlink("./", "x")
        .symlink("..", "x")
        .hard_link("/h", "good")
        .records(&[("path", "../witness/evil")])
        .file("innocent", "x")
        .file("good", "good")
        .end();
    let done = room.extract(&tar);
    assert_eq!(
        bad(&done),
        [
            "/etc/ows-test: the path is absolute",
            "../witness/evil: the path leads upwards (`..`)",
            "a/../../witness/evil: the path leads upwards (`..`)",
            "a//b: the path has an empty segment or a `.`",
            "./: it is the target itself",
            "..: the path leads upwards (`..`)",
            "/h: the path is absolute",
            "../witness/evil: the path leads upwards (`..`)",
        ],
    );
    assert_eq!(room.read("good"), "good");
    assert!(room.is_partial());
}

#[test]
fn nothing_is_written_through_a_link() {
    let room = Room::new();
    let tar = Tar::default()
        .symlink("out", "../witness")
        .file("out/evil", "x")
        .symlink("f", "../witness/secret")
        .file("f", "x")
        .symlink("d", "../witness")
        .dir("d", 0o777)
        .symlink("abs", "/etc/passwd")
        .end();
    let done = room.extract(&tar);
    let twice = "the archive has it twice, or two names that are one here; the first one stays";
    // Links come last, so what has the name of one comes first and is an ordinary file or folder.
    assert_eq!(
        bad(&done),
        [
            format!("out: {twice}"),
            format!("f: {twice}"),
            format!("d: {twice}")
        ]
    );
    assert_eq!(
        (room.read("out/evil"), room.read("f")),
        ("x".into(), "x".into())
    );
    assert!(
        fs::symlink_metadata(room.path("d"))
            .expect("is there")
            .is_dir()
    );
    assert_eq!((done.symlinks, done.links_outside), (1, 1));
    assert_eq!(
        fs::read_link(room.path("abs")).expect("a link"),
        Path::new("/etc/passwd")
    );
}

#[test]
fn links_made_before_their_time_are_not_followed_either() {
    let room = Room::new();
    let mut extractor = Extractor::new(&room.target, ExtractOptions::default()).expect("begins");
    extractor
        .volume(Tar::default().symlink("out", "../witness").end().as_slice())
        .expect("reads");
    extractor.make_links().expect("makes");
    let second = Tar::default()
        .file("out/evil", "x")
        .dir("out", 0o777)
        .file("out", "x")
        .hard_link("s", "out/secret")
        .end();
    extractor.volume(second.as_slice()).expect("reads");
    let done = extractor.finish().expect("ends");
    assert_eq!(done.bad_count, 4, "{:?}", done.bad);
    assert!(
        fs::symlink_metadata(room.path("out"))
            .expect("is there")
            .is_symlink()
    );
    assert!(!room.path("s").exists());
    room.check_witness();
}

#[test]
fn hard_links_reach_only_what_the_archive_made() {
    let room = Room::new();
    fs::write(room.path("before"), "before").expect("writes");
    let tar = Tar::default()
        .file("f", "x")
        .hard_link("h1", "../witness/secret")
        .hard_link("h2", "/etc/passwd")
        .hard_link("h3", "before")
        .hard_link("h4", "nowhere")
        .symlink("s", "../witness/secret")
        .hard_link("h5", "s/x")
        .hard_link("h6", "s")
        .hard_link("f", "f")
        .dir("d", 0o755)
        .hard_link("h7", "d")
        .end();
    let done = room.extract(&tar);
    let none = "the file that it is another name of was not restored";
    assert_eq!(
        bad(&done),
        [
            "h1: it is a link to `../witness/secret`, outside the snapshot".to_owned(),
            "h2: it is a link to `/etc/passwd`, outside the snapshot".to_owned(),
            format!("h3: {none}"),
            format!("h4: {none}"),
            format!("h5: {none}"),
            "f: the archive has it twice, or two names that are one here; the first one stays"
                .to_owned(),
            format!("h7: {none}"),
        ],
    );
    // Another name of a link is a link, and was not followed.
    assert_eq!(
        fs::read_link(room.path("h6")).expect("a link"),
        Path::new("../witness/secret")
    );
    assert_eq!(
        fs::metadata(room.path("before")).expect("is there").nlink(),
        1
    );
}

#[test]
fn devices_and_the_like_are_refused_and_set_uid_is_dropped() {
    let room = Room::new();
    let mut tar = Tar::default();
    for (name, kind) in [
        ("c", EntryType::Char),
        ("b", EntryType::Block),
        ("p", EntryType::Fifo),
        ("s", EntryType::GNUSparse),
        ("v", EntryType::new(b'V')),
    ] {
        tar = tar.add(Tar::header(name, kind, 0), b"");
    }
    let mut header = Tar::header("suid", EntryType::Regular, 1);
    header.set_mode(0o7755);
    header.set_uid(0);
    let done = room.extract(&tar.add(header, b"x").end());
    let says: Vec<_> = [
        "c: it is a device",
        "b: it is a device",
        "p: it is a fifo",
        "s: it is a sparse file",
        "v: it is of an unknown type",
    ]
    .map(|says| format!("{says}, which is not restored"))
    .into();
    assert_eq!(bad(&done), says);
    let file = fs::metadata(room.path("suid")).expect("is there");
    assert_eq!(file.mode() & 0o7777, 0o755);
    assert_eq!(file.uid(), rustix::process::geteuid().as_raw());
}

#[test]
fn an_archive_that_two_readers_could_read_differently_stops_the_run() {
    let hidden = Tar::default().file("hidden", "x").0;
    let hidden = String::from_utf8(hidden).expect("text");
    let x = EntryType::XHeader;
    let global = EntryType::XGlobalHeader;
    let archives = [
        // TARmageddon: the header says 0, the record says that a whole member follows; and the other way round.
        Tar::default()
            .records(&[("size", &hidden.len().to_string())])
            .add(Tar::header("f", EntryType::Regular, 0), hidden.as_bytes()),
        Tar::default().records(&[("size", "0")]).file("f", &hidden),
        Tar::default().records(&[("size", "1")]).dir("d", 0o755),
        Tar::default().add(
            Tar::header("d", EntryType::Directory, hidden.len() as u64),
            hidden.as_bytes(),
        ),
        Tar::default().add(
            Tar::header("l", EntryType::Symlink, hidden.len() as u64),
            hidden.as_bytes(),
        ),
        Tar::default().add(
            Tar::header("h", EntryType::Link, hidden.len() as u64),
            hidden.as_bytes(),
        ),
        Tar::default()
            .pax(x, b"5 a=\n")
            .pax(x, b"5 a=\n")
            .file("f", ""),
        Tar::default()
            .pax(x, b"12 path=abc\n12 path=abd\n")
            .file("f", ""),
        Tar::default().pax(x, b"8 path=\n").file("f", ""),
        Tar::default().pax(x, b"5 a=b\n").file("f", ""),
        Tar::default().pax(x, b"99 a=b\n").file("f", ""),
        Tar::default().pax(x, b"6 a=b ").file("f", ""),
        Tar::default().pax(x, b"-6 a=b\n").file("f", ""),
        Tar::default().pax(x, b"0 a=b\n").file("f", ""),
        Tar::default().pax(x, b"1 ").file("f", ""),
        Tar::default().pax(x, b"6 =ab\n").file("f", ""),
        Tar::default()
            .pax(x, b"99999999999999999999 a=b\n")
            .file("f", ""),
        Tar::default().records(&[("size", "+1")]).file("f", "x"),
        Tar::default()
            .records(&[("size", "18446744073709551615")])
            .file("f", "x"),
        Tar::default().records(&[("mtime", "nan")]).file("f", "x"),
        Tar::default().records(&[("path", "a\0b")]).file("f", "x"),
        Tar::default()
            .pax(global, record("path", "a").as_bytes())
            .file("f", "x"),
        Tar::default()
            .pax(global, record("size", "1").as_bytes())
            .file("f", "x"),
        Tar::default()
            .pax(EntryType::GNULongName, b"a\0")
            .pax(EntryType::GNULongName, b"b\0")
            .file("f", "x"),
        Tar::default()
            .pax(EntryType::GNULongName, b"a\0")
            .records(&[("path", "b")])
            .file("f", "x"),
        Tar::default()
            .pax(EntryType::GNULongName, b"a\0b\0")
            .file("f", "x"),
        Tar::default().records(&[("path", "x")]),
        Tar::default()
            .unknown_form(EntryType::GNULongName, b"a\0")
            .file("f", "x"),
        Tar::default()
            .unknown_form(x, record("path", "a").as_bytes())
            .file("f", "x"),
        Tar::default().pax(x, &vec![b'x'; 2 << 20]).file("f", "x"),
    ];
    for (number, tar) in archives.into_iter().enumerate() {
        let room = Room::new();
        let tar = Tar::default()
            .file("good", "good")
            .0
            .into_iter()
            .chain(tar.end())
            .collect::<Vec<_>>();
        let error = room
            .extract_with(&tar, ExtractOptions::default())
            .expect_err("deceives");
        let ExtractError::Archive {
            after: Some(after),
            source: TarError::Damaged { .. },
        } = &error
        else {
            panic!("{number}: {error:?}");
        };
        assert_eq!(after, "good");
        assert_eq!(room.read("good"), "good");
        assert!(
            !room.path("hidden").exists() && room.is_partial(),
            "{number}"
        );
    }
}

#[test]
fn zeros_and_data_at_the_end_are_as_they_should_be() {
    let good = Tar::default().file("f", "x");
    let two = [0; 1024];
    let cases: [(&str, Vec<u8>); 4] = [
        (
            "a lone block of zeros",
            [&good.0[..], &two[..512], &good.0[..], &two[..]].concat(),
        ),
        (
            "more data behind the end",
            [good.clone().end().as_slice(), b"x"].concat(),
        ),
        (
            "more data behind the end",
            [good.clone().end(), good.clone().end()].concat(),
        ),
        (
            "a header with a wrong checksum",
            [&good.0[..], &[1; 512], &two[..]].concat(),
        ),
    ];
    for (says, tar) in cases {
        let error = Room::new()
            .extract_with(&tar, ExtractOptions::default())
            .expect_err(says);
        assert!(stop(&error).ends_with(says), "{}", stop(&error));
    }
    let padded = [good.end().as_slice(), &[0; 9216]].concat();
    assert_eq!(Room::new().extract(&padded).files, 1);
}

#[test]
fn no_truncation_passes_as_whole() {
    let tar = Tar::default()
        .file("a", "content")
        .records(&[("path", "b")])
        .file("x", &"y".repeat(600))
        .dir("d", 0o755)
        .end();
    for length in (0..tar.len()).step_by(64).chain([tar.len() - 1]) {
        let room = Room::new();
        let error = room
            .extract_with(&tar[..length], ExtractOptions::default())
            .expect_err("cut off");
        assert!(
            stop(&error).contains("the archive was cut off after"),
            "{length}: {}",
            stop(&error)
        );
        assert!(room.is_partial());
        assert!(
            !room.path("b").exists() || room.read("b").len() == 600,
            "no half file stays"
        );
    }
}

#[test]
fn more_than_announced_stops_before_it_is_written() {
    let tar = Tar::default().file("a", "1234").file("b", "5678").end();
    let limits = |most_paths, most_bytes| ExtractOptions {
        most_paths,
        most_bytes,
        ..ExtractOptions::default()
    };
    assert_eq!(
        Room::new()
            .extract_with(&tar, limits(Some(2), Some(8)))
            .expect("fits")
            .files,
        2
    );
    for (options, what) in [
        (limits(Some(1), None), "paths"),
        (limits(None, Some(7)), "bytes"),
    ] {
        let room = Room::new();
        let error = room.extract_with(&tar, options).expect_err("too much");
        assert!(
            error
                .to_string()
                .starts_with(&format!("the archive holds more {what} than")),
            "{error}"
        );
        assert!(room.path("a").exists() && !room.path("b").exists() && room.is_partial());
    }
    // A header may announce any size; nothing is set aside for it.
    let mut header = Tar::header("bomb", EntryType::Regular, 0);
    header.set_size(i64::MAX.unsigned_abs());
    let error = Room::new()
        .extract_with(
            &Tar::default().add(header, b"x").0,
            ExtractOptions::default(),
        )
        .expect_err("a bomb");
    assert!(stop(&error).contains("cut off"), "{}", stop(&error));
}

#[test]
fn of_two_members_with_one_name_the_first_stays() {
    let room = Room::new();
    let tar = Tar::default()
        .file("f", "first")
        .file("f", "second")
        .file("f", "first")
        .dir("d", 0o755)
        .dir("d/", 0o700)
        .file("d", "x")
        .file("f/below", "x")
        .symlink("l", "f")
        .symlink("l", "d")
        .end();
    let done = room.extract(&tar);
    let twice = "the archive has it twice, or two names that are one here; the first one stays";
    assert_eq!(
        bad(&done),
        [
            format!("f: {twice}"),
            format!("d: {twice}"),
            format!("f/below: {twice}"),
            format!("l: {twice}")
        ]
    );
    assert_eq!((room.read("f").as_str(), done.repeated), ("first", 2));
    assert_eq!(
        fs::read_link(room.path("l")).expect("a link"),
        Path::new("f")
    );
}

#[test]
fn what_was_there_stays_or_moves_aside() {
    let tar = Tar::default()
        .file("f", "new")
        .file("d/x", "new")
        .file("through/x", "new")
        .symlink("l", "f")
        .file("kept/y", "new")
        .end();
    let room = Room::new();
    let prepare = |room: &Room| {
        fs::write(room.path("f"), "old").expect("writes");
        fs::write(room.path("d"), "old").expect("writes");
        symlink("../witness", room.path("through")).expect("links");
        fs::create_dir(room.path("l")).expect("makes");
        fs::write(room.path("l/deep"), "old").expect("writes");
        fs::create_dir(room.path("kept")).expect("makes");
        fs::write(room.path("kept/x"), "old").expect("writes");
    };
    prepare(&room);
    let done = room.extract(&tar);
    assert_eq!(
        bad(&done),
        [
            "f: something else is there already, and stays",
            "d/x: a folder on the way to it is a file or a link, which is not followed",
            "through/x: a folder on the way to it is a file or a link, which is not followed",
            "l: something else is there already, and stays",
        ],
    );
    assert_eq!(
        (room.read("f"), room.read("d"), room.read("kept/y")),
        ("old".into(), "old".into(), "new".into())
    );

    let room = Room::new();
    prepare(&room);
    let place = tempfile::tempdir().expect("a folder");
    let aside = Dir::open_ambient_dir(place.path(), ambient_authority()).expect("opens");
    let done = room
        .extract_with(
            &tar,
            ExtractOptions {
                aside: Some(aside),
                ..ExtractOptions::default()
            },
        )
        .expect("extracts");
    assert_eq!(bad(&done), [""; 0]);
    for name in ["f", "d/x", "through/x", "kept/y"] {
        assert_eq!(room.read(name), "new", "{name}");
    }
    assert_eq!(room.read("kept/x"), "old");
    let old = |name: &str| fs::read_to_string(place.path().join(name)).expect(name);
    assert_eq!(
        (old("f"), old("d"), old("l/deep")),
        ("old".into(), "old".into(), "old".into())
    );
    assert!(
        fs::symlink_metadata(place.path().join("through"))
            .expect("is there")
            .is_symlink()
    );
}

/// The index that belongs to `entries`.
struct Entries(std::vec::IntoIter<SnapshotEntry>);

impl Proof for Entries {
    fn next_entry(&mut self) -> Result<Option<SnapshotEntry>, IndexError> {
        Ok(self.0.next())
    }
}

fn entry(path: &str, kind: EntryKind) -> SnapshotEntry {
    let path = ArchivePath::new(path).expect("a path");
    SnapshotEntry {
        path,
        kind,
        mode: 0o644,
        mtime_ns: 0,
        uid: 0,
        gid: 0,
        user: None,
        group: None,
        problem: None,
    }
}

fn file(path: &str, content: &str, offset: u64) -> SnapshotEntry {
    let place = Place { volume: 1, offset };
    entry(
        path,
        EntryKind::File {
            size: content.len() as u64,
            sha256: Digest::of(content.as_bytes()),
            place,
        },
    )
}

fn proven(entries: Vec<SnapshotEntry>) -> ExtractOptions<'static> {
    ExtractOptions {
        proof: Some(Box::new(Entries(entries.into_iter()))),
        ..ExtractOptions::default()
    }
}

#[test]
fn a_file_that_was_not_read_to_its_end_is_restored_and_told() {
    let tar = Tar::default()
        .file("a", "half\0\0\0\0")
        .file("b", "torn")
        .end();
    let marked = |mut entry: SnapshotEntry, problem| {
        entry.problem = Some(problem);
        entry
    };
    let entries = vec![
        marked(file("a", "half\0\0\0\0", 512), ProblemClass::Unreadable),
        marked(file("b", "torn", 1536), ProblemClass::Changed),
    ];
    let room = Room::new();
    let done = room.extract_with(&tar, proven(entries)).expect("extracts");
    assert_eq!(bad(&done), [format!("a: {INCOMPLETE}")]);
    assert_eq!(
        (room.read("a").len(), room.read("b")),
        (8, "torn".to_owned())
    );
    assert!(room.is_partial());
}

#[test]
fn every_file_is_compared_with_the_index() {
    let tar = Tar::default()
        .dir("d", 0o755)
        .file("d/a", "one")
        .file("d/b", "two")
        .symlink("l", "d/a")
        .end();
    let d = || entry("d", EntryKind::Dir);
    let l = |target: &[u8]| {
        entry(
            "l",
            EntryKind::Symlink {
                target: target.to_vec(),
            },
        )
    };
    let (a, b) = (|| file("d/a", "one", 1024), || file("d/b", "two", 2048));

    let done = Room::new()
        .extract_with(&tar, proven(vec![d(), a(), b(), l(b"d/a")]))
        .expect("extracts");
    assert_eq!((bad(&done), done.files, done.unproven), (vec![], 2, 0));

    let room = Room::new();
    let done = room
        .extract_with(
            &tar,
            proven(vec![d(), file("d/a", "eno", 1024), b(), l(b"d/a")]),
        )
        .expect("extracts");
    assert_eq!(
        bad(&done),
        ["d/a: its content is not what the index says; it was not kept"]
    );
    assert!(!room.path("d/a").exists() && room.is_partial());
    assert_eq!(room.read("d/b"), "two");

    for wrong in [
        vec![d(), b(), a(), l(b"d/a")],
        vec![d(), file("d/a", "longer", 1024), b(), l(b"d/a")],
        vec![d(), file("d/a", "one", 512), b(), l(b"d/a")],
        vec![d(), entry("d/a", EntryKind::Dir), b(), l(b"d/a")],
        vec![d(), a(), b(), l(b"d/b")],
        vec![d(), a(), b()],
        vec![],
    ] {
        let room = Room::new();
        let done = room.extract_with(&tar, proven(wrong)).expect("extracts");
        assert_eq!((done.bad_count, done.files), (1, 2), "{:?}", done.bad);
        assert!(
            done.bad[0]
                .message
                .ends_with("the rest is restored without proof"),
            "{:?}",
            done.bad
        );
        assert!(room.is_partial());
    }

    let more = vec![d(), a(), b(), l(b"d/a"), file("gone", "", 0)];
    let done = Room::new()
        .extract_with(&tar, proven(more))
        .expect("extracts");
    assert_eq!(
        bad(&done),
        ["gone: it is in the index and not in the archive"]
    );
}

#[test]
fn only_what_was_asked_for_comes_out() {
    let tar = Tar::default()
        .file("a/x", "1")
        .file("ab/x", "2")
        .file("b", "3")
        .end();
    let room = Room::new();
    let only = ["a", "b", "missing"]
        .map(|path| AskedPath::new(path).expect("a path"))
        .to_vec();
    let done = room
        .extract_with(
            &tar,
            ExtractOptions {
                only,
                ..ExtractOptions::default()
            },
        )
        .expect("extracts");
    assert_eq!(bad(&done), ["missing: it is not in the snapshot"]);
    assert_eq!(
        (room.read("a/x"), room.read("b"), done.files),
        ("1".into(), "3".into(), 2)
    );
    assert!(!room.path("ab").exists());
}

#[test]
fn the_mark_of_a_partial_restore_is_ours() {
    let room = Room::new();
    let done = room.extract(
        &Tar::default()
            .file(PARTIAL, "forged")
            .file(".ows-partial/x", "x")
            .symlink(PARTIAL, "x")
            .end(),
    );
    assert_eq!(done.bad_count, 3);
    assert!(
        room.read(PARTIAL)
            .starts_with("This folder is not, or not wholly, restored")
    );
    // A link in its place is not followed.
    let room = Room::new();
    symlink("../witness/secret", room.path(PARTIAL)).expect("links");
    assert!(Extractor::new(&room.target, ExtractOptions::default()).is_err());
    room.check_witness();
}

#[test]
fn a_path_of_endless_depth_is_refused() {
    let room = Room::new();
    let deep = "d/".repeat(100_000) + "f";
    let done = room.extract(
        &Tar::default()
            .records(&[("path", &deep)])
            .file("f", "x")
            .file("good", "good")
            .end(),
    );
    assert_eq!(done.bad_count, 1);
    assert_eq!(done.bad[0].message, "it lies more than 1024 folders deep");
    assert_eq!(room.read("good"), "good");
}

#[test]
fn what_gnu_tar_writes_comes_out() {
    let source = tempfile::tempdir().expect("a folder");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    fs::create_dir_all(
        source
            .path()
            .join(Path::new(&long).parent().expect("a parent")),
    )
    .expect("makes");
    fs::write(source.path().join(&long), "long").expect("writes");
    fs::hard_link(source.path().join(&long), source.path().join("hard")).expect("links");
    symlink("t".repeat(150), source.path().join("soft")).expect("links");
    for format in ["gnu", "pax", "posix"] {
        let output = std::process::Command::new("tar")
            .args(["-c", "--format", format, "-C"])
            .arg(source.path())
            .arg(".")
            .output();
        let Ok(output) = output else {
            let required = std::env::var("OWS_REQUIRE_PEERS").is_ok_and(|value| value == "1");
            assert!(!required, "tar is required");
            writeln!(io::stderr(), "skipped: tar was not found").expect("stderr is open");
            return;
        };
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let room = Room::new();
        let done = room.extract(&output.stdout);
        assert_eq!(
            (
                bad(&done),
                done.files,
                done.dirs,
                done.hard_links,
                done.symlinks
            ),
            (vec![], 1, 1, 1, 1),
            "{format}"
        );
        assert_eq!(room.read(&long), "long");
        assert_eq!(
            fs::metadata(room.path("hard")).expect("is there").nlink(),
            2
        );
        assert_eq!(
            fs::read_link(room.path("soft")).expect("a link"),
            Path::new(&"t".repeat(150))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_archives_never_reach_beyond_the_target(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), fix: bool) {
        let mut tar = Tar::default()
            .file("a/f", "content").symlink("a/l", "../../witness").records(&[("path", "a/p"), ("mtime", "1.5")])
            .file("x", "y").hard_link("a/h", "a/f").dir("d", 0o755).file("a/l/x", "z").end();
        for (at, byte) in flips {
            let at = at.index(tar.len());
            tar[at] = byte;
            if fix {
                // With a right checksum the damage gets past the first gate.
                let block = at / 512 * 512;
                let mut header = Header::from_byte_slice(&tar[block..block + 512]).clone();
                header.set_cksum();
                tar[block..block + 512].copy_from_slice(header.as_bytes());
            }
        }
        let room = Room::new();
        let done = room.extract_with(&tar, ExtractOptions::default());
        prop_assert_eq!(room.is_partial(), !done.is_ok_and(|done| done.bad_count == 0));
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Room::new().extract_with(&bytes, ExtractOptions::default()).is_err());
    }
}
