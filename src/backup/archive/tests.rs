//! Files that change while they are stored: an observer acts at the very moment, so that nothing waits and nothing is left
//! to chance. Every archive is read back by the reader that believes nothing, and compared with what the index would say.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use proptest::prelude::*;
use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::backup::items::{ItemPlaces, Items};
use crate::backup::scan::{Scan, ScanOptions};
use crate::backup::untar::{MemberKind, TarReader};
use crate::config::Item;

/// Longer than what is read before the header is written.
const LONG: usize = 3 * CHUNK + 77;

/// What was stored, what was left out, and the content of what was stored.
type Run = (
    Vec<SnapshotEntry>,
    Vec<(String, ProblemClass)>,
    Vec<Vec<u8>>,
);

/// A workspace, and an archive that is written from it.
struct Bench {
    folder: TempDir,
    archive: Archive<Vec<u8>>,
    stored: Vec<SnapshotEntry>,
    left: Vec<(String, ProblemClass)>,
}

impl Bench {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir(folder.path().join("ws")).expect("made");
        let bench = Self {
            folder,
            archive: Archive::new(Vec::new(), 1),
            stored: Vec::new(),
            left: Vec::new(),
        };
        for (name, content) in files {
            fs::write(bench.path(name), content).expect("written");
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("ws").join(name)
    }

    fn scan(&self) -> Scan {
        let root = self.folder.path();
        let places = ItemPlaces {
            workspace: root.join("ws"),
            state_dir: root.join("state"),
            own_dir: root.join("state/ows"),
            pair: None,
            destination: None,
        };
        let items = Items::find(&[Item::Workspace], &places).expect("found");
        Scan::new(items, ScanOptions::default())
    }

    /// Calls `act` with how often a moment came, and the moment.
    fn observe(&mut self, mut act: impl FnMut(usize, Moment) -> io::Result<()> + Send + 'static) {
        let mut count = 0;
        self.archive.observer = Some(Box::new(move |moment| {
            count += 1;
            act(count, moment)
        }));
    }

    /// Does `act` the first `times` that `moment` comes.
    fn at(&mut self, moment: Moment, times: usize, act: impl Fn() + Send + 'static) {
        let mut count = 0;
        self.observe(move |_, now| {
            if now == moment && count < times {
                count += 1;
                act();
            }
            Ok(())
        });
    }

    /// Stores everything and reads the archive back: name and content of each file.
    fn run(mut self) -> Run {
        for found in self.scan() {
            match self.archive.append(&found).expect("the output takes all") {
                Appended::Stored(entry) => self.stored.push(entry),
                Appended::Left(class) => self.left.push((found.path.to_string(), class)),
                Appended::Folded => {}
            }
        }
        let position = self.archive.position();
        let tar = self.archive.finish().expect("finished");
        assert_eq!(tar.len() as u64, position + 1024);
        let contents = read_back(&tar, &self.stored);
        (self.stored, self.left, contents)
    }
}

/// The content of each member, after comparing all of it with the entries.
fn read_back(tar: &[u8], entries: &[SnapshotEntry]) -> Vec<Vec<u8>> {
    let mut reader = TarReader::new(tar);
    let mut contents = Vec::new();
    for entry in entries {
        let member = reader.next_member().expect("reads").expect("is there");
        assert_eq!(member.path(), Ok(Some(entry.path.clone())));
        assert_eq!((member.mode, member.mtime_ns), (entry.mode, entry.mtime_ns));
        let mut content = Vec::new();
        reader.read_to_end(&mut content).expect("reads");
        match &entry.kind {
            EntryKind::File {
                size,
                sha256,
                place,
            } => {
                assert_eq!(member.kind, MemberKind::File);
                assert_eq!((*size, place.offset), (member.size, member.offset));
                assert_eq!(content.len() as u64, *size);
                assert_eq!(Digest::of(&content), *sha256);
            }
            EntryKind::Dir => assert_eq!(member.kind, MemberKind::Dir),
            EntryKind::Symlink { target } => {
                assert_eq!(
                    member.kind,
                    MemberKind::Symlink {
                        target: target.clone()
                    }
                );
            }
            EntryKind::HardLink { to } => {
                let to = to.as_bytes().to_vec();
                assert_eq!(member.kind, MemberKind::HardLink { to });
            }
        }
        contents.push(content);
    }
    assert_eq!(reader.next_member().expect("reads"), None);
    contents
}

fn long() -> Vec<u8> {
    (0..LONG).map(|at| (at % 251) as u8 + 1).collect()
}

fn append(path: &std::path::Path, bytes: &[u8]) {
    let mut file = fs::File::options().append(true).open(path).expect("opens");
    file.write_all(bytes).expect("written");
}

/// The second entry, the file behind the workspace's own; its problem and content.
fn only((stored, left, contents): Run) -> (Option<ProblemClass>, Vec<u8>) {
    assert_eq!((stored.len(), left.len()), (2, 0));
    (stored[1].problem, contents[1].clone())
}

#[test]
fn undisturbed_files_of_all_sizes_are_stored_without_a_problem() {
    for length in [
        0,
        1,
        511,
        512,
        513,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        2 * CHUNK,
        LONG,
    ] {
        let content = &long()[..length];
        let stored = only(Bench::with(&[("f", content)]).run());
        assert_eq!(stored, (None, content.to_vec()), "{length}");
    }
}

#[test]
fn a_file_that_changes_once_is_read_again() {
    for (content, moment) in [
        (b"short".to_vec(), Moment::Check),
        (long(), Moment::Check),
        (long(), Moment::Read(0)),
    ] {
        let mut bench = Bench::with(&[("f", &content)]);
        let path = bench.path("f");
        bench.at(moment, 1, move || append(&path, b" and more"));
        let expected = [content, b" and more".to_vec()].concat();
        assert_eq!(only(bench.run()), (None, expected));
    }
}

#[test]
fn a_short_file_that_grows_all_the_time_is_what_was_read_last() {
    let mut bench = Bench::with(&[("f", b"line\n")]);
    let path = bench.path("f");
    bench.at(Moment::Check, usize::MAX, move || append(&path, b"line\n"));
    assert_eq!(
        only(bench.run()),
        (Some(ProblemClass::Changed), b"line\nline\nline\n".to_vec())
    );
}

#[test]
fn a_file_that_outgrows_the_buffer_while_it_is_read_is_cut_where_its_header_says() {
    let mut bench = Bench::with(&[("f", b"begin ")]);
    let path = bench.path("f");
    bench.at(Moment::Read(0), usize::MAX, move || {
        append(&path, &[b'x'; CHUNK])
    });
    let (problem, content) = only(bench.run());
    assert_eq!(problem, Some(ProblemClass::Changed));
    assert!(content.starts_with(b"begin xxx"));
    assert_eq!(content.len() % CHUNK, 6);
}

#[test]
fn a_long_file_that_grows_is_cut_where_its_header_says() {
    let mut bench = Bench::with(&[("f", &long())]);
    let path = bench.path("f");
    bench.at(Moment::Read(CHUNK as u64), 1, move || {
        append(&path, &[b'x'; 5 * CHUNK])
    });
    assert_eq!(only(bench.run()), (Some(ProblemClass::Changed), long()));
}

#[test]
fn a_long_file_that_shrinks_is_filled_up() {
    let mut bench = Bench::with(&[("f", &long())]);
    let path = bench.path("f");
    bench.at(Moment::Read(2 * CHUNK as u64), 1, move || {
        let file = fs::File::options().write(true).open(&path).expect("opens");
        file.set_len(2 * CHUNK as u64 + 5).expect("cut");
    });
    let (problem, content) = only(bench.run());
    assert_eq!(problem, Some(ProblemClass::Changed));
    assert_eq!(content.len(), LONG);
    assert_eq!(content[..2 * CHUNK + 5], long()[..2 * CHUNK + 5]);
    assert!(content[2 * CHUNK + 5..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_long_file_that_is_written_to_without_growing_is_told() {
    let mut bench = Bench::with(&[("f", &long())]);
    let path = bench.path("f");
    bench.at(Moment::Read(2 * CHUNK as u64), 1, move || {
        let file = fs::File::options().write(true).open(&path).expect("opens");
        file.write_all_at(b"X", 0).expect("written");
    });
    assert_eq!(only(bench.run()), (Some(ProblemClass::Changed), long()));
}

#[test]
fn an_error_in_the_middle_of_a_long_file_marks_the_entry_and_the_next_file_is_whole() {
    let mut bench = Bench::with(&[("f", &long()), ("g", b"good")]);
    bench.observe(|_, moment| match moment {
        Moment::Read(at) if at == 2 * CHUNK as u64 => Err(Errno::IO.into()),
        _ => Ok(()),
    });
    let (stored, left, contents) = bench.run();
    assert!(left.is_empty());
    assert_eq!(stored[1].problem, Some(ProblemClass::Unreadable));
    assert_eq!(contents[1].len(), LONG);
    assert_eq!(contents[1][..2 * CHUNK], long()[..2 * CHUNK]);
    assert!(contents[1][2 * CHUNK..].iter().all(|byte| *byte == 0));
    assert_eq!(
        (stored[2].problem, contents[2].as_slice()),
        (None, &b"good"[..])
    );
}

#[test]
fn what_fails_before_its_header_is_left_out() {
    for (moment, error) in [
        (Moment::Open, Errno::ACCESS),
        (Moment::Open, Errno::IO),
        (Moment::Read(0), Errno::IO),
        (Moment::Check, Errno::IO),
    ] {
        let mut bench = Bench::with(&[("f", b"content")]);
        bench.observe(move |_, now| match now == moment {
            true => Err(error.into()),
            false => Ok(()),
        });
        let (stored, left, _) = bench.run();
        assert_eq!(stored.len(), 1);
        assert_eq!(left, [("workspace/f".to_owned(), ProblemClass::Unreadable)]);
    }
}

#[test]
fn an_interrupted_call_is_made_again() {
    let mut bench = Bench::with(&[("f", &long())]);
    let mut interrupted = 0;
    bench.observe(move |_, moment| match moment {
        Moment::Read(at) if at > 0 && interrupted < 3 => {
            interrupted += 1;
            Err(Errno::INTR.into())
        }
        _ => Ok(()),
    });
    assert_eq!(only(bench.run()), (None, long()));
}

#[test]
fn what_gave_way_to_something_else_has_vanished_unless_that_is_a_link() {
    type Change = fn(&std::path::Path);
    let changes: [(Change, Option<&[u8]>); 4] = [
        (|path| fs::remove_file(path).expect("removed"), None),
        (
            |path| {
                fs::remove_file(path).expect("removed");
                fs::create_dir(path).expect("made");
            },
            None,
        ),
        (
            |path| {
                fs::remove_file(path).expect("removed");
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("made");
            },
            None,
        ),
        (
            |path| {
                fs::remove_file(path).expect("removed");
                symlink("/etc/passwd", path).expect("made");
            },
            Some(b"/etc/passwd"),
        ),
    ];
    for (change, link) in changes {
        let mut bench = Bench::with(&[("f", b"content"), ("g", b"good")]);
        let path = bench.path("f");
        bench.at(Moment::Open, 1, move || change(&path));
        let (stored, left, contents) = bench.run();
        match link {
            None => assert_eq!(left, [("workspace/f".to_owned(), ProblemClass::Vanished)]),
            Some(link) => {
                let target = link.to_vec();
                assert_eq!(stored[1].kind, EntryKind::Symlink { target });
                assert_eq!(stored[1].problem, None);
            }
        }
        assert_eq!(contents.last().expect("g"), b"good");
    }
}

#[test]
fn a_file_that_is_replaced_whole_is_stored_in_its_new_state() {
    let mut bench = Bench::with(&[("f", &long())]);
    let path = bench.path("f");
    let aside = bench.folder.path().join("aside");
    fs::write(&aside, b"new").expect("written");
    bench.at(Moment::Open, 1, move || {
        fs::rename(&aside, &path).expect("renamed")
    });
    assert_eq!(only(bench.run()), (None, b"new".to_vec()));
}

#[test]
fn a_file_with_several_names_is_stored_once_per_volume() {
    let mut bench = Bench::with(&[("a", b"content")]);
    for name in ["b", "c"] {
        fs::hard_link(bench.path("a"), bench.path(name)).expect("linked");
    }
    let found: Vec<Found> = bench.scan().collect();
    for found in &found[..3] {
        bench.archive.append(found).expect("stored");
    }
    let mut second = Archive::new(Vec::new(), 2);
    let Appended::Stored(entry) = second.append(&found[3]).expect("stored") else {
        panic!("it is stored");
    };
    assert!(matches!(
        entry.kind,
        EntryKind::File {
            size: 7,
            place: Position { volume: 2, .. },
            ..
        }
    ));
    let (stored, _, contents) = {
        let mut bench = Bench::with(&[("a", b"content")]);
        for name in ["b", "c"] {
            fs::hard_link(bench.path("a"), bench.path(name)).expect("linked");
        }
        bench.archive = Archive::new(Vec::new(), 1);
        bench.run()
    };
    let to = stored[1].path.clone();
    assert_eq!(stored[2].kind, EntryKind::HardLink { to: to.clone() });
    assert_eq!(stored[3].kind, EntryKind::HardLink { to });
    assert_eq!(contents[1], b"content");
}

#[test]
fn nothing_is_linked_to_what_was_not_stored_as_it_was() {
    let mut bench = Bench::with(&[("a", b"content")]);
    fs::hard_link(bench.path("a"), bench.path("b")).expect("linked");
    bench.observe(|count, moment| match (count, moment) {
        (1, Moment::Open) => Err(Errno::IO.into()),
        _ => Ok(()),
    });
    let (stored, left, contents) = bench.run();
    assert_eq!(left, [("workspace/a".to_owned(), ProblemClass::Unreadable)]);
    assert_eq!(
        (stored[1].path.to_string(), contents[1].as_slice()),
        ("workspace/b".to_owned(), &b"content"[..])
    );
}

#[test]
fn a_second_name_of_a_file_that_changed_since_is_stored_by_itself() {
    let mut bench = Bench::with(&[("a", b"content")]);
    fs::hard_link(bench.path("a"), bench.path("b")).expect("linked");
    let mut scan = bench.scan();
    let first = [scan.next().expect("the root"), scan.next().expect("a")];
    for found in first {
        bench.archive.append(&found).expect("stored");
    }
    append(&bench.path("a"), b" and more");
    let second = scan.next().expect("b");
    let Appended::Stored(entry) = bench.archive.append(&second).expect("stored") else {
        panic!("it is stored");
    };
    assert!(matches!(entry.kind, EntryKind::File { size: 16, .. }));
}

#[test]
fn first_names_are_forgotten_when_all_names_were_met_and_never_fill_the_memory() {
    let mut names = FirstNames::default();
    let bench = Bench::with(&[("a", b"content")]);
    let mut stat = name::lstat(
        bench
            .scan()
            .next()
            .and_then(|found| found.place)
            .expect("found")
            .dir
            .as_ref(),
        "ws".as_ref(),
    )
    .expect("looked at")
    .expect("is there");
    stat.links = 3;
    let path = |number: u64| ArchivePath::new(format!("{number:0>1000}")).expect("a path");
    names.note(&stat, &path(0));
    assert_eq!(names.find(&stat), Some(path(0)));
    assert_eq!(names.find(&stat), Some(path(0)));
    assert_eq!(
        (names.find(&stat), names.bytes, names.names.len()),
        (None, 0, 0)
    );
    for inode in 0..100_000 {
        stat.identity.inode = inode;
        names.note(&stat, &path(inode));
    }
    assert!(names.bytes <= MOST_LINKS && names.names.len() < 40_000);
    stat.identity.inode = 5;
    assert_eq!(names.find(&stat), Some(path(5)));
}

#[test]
fn modes_and_odd_times_are_kept() {
    let bench = Bench::with(&[("f", b"content")]);
    let file = fs::File::open(bench.path("f")).expect("opens");
    fs::set_permissions(bench.path("f"), fs::Permissions::from_mode(0o6751)).expect("set");
    let before_the_epoch = std::time::UNIX_EPOCH - std::time::Duration::new(86_400, 250_000_000);
    file.set_modified(before_the_epoch).expect("set");
    let (stored, _, _) = bench.run();
    assert_eq!(stored[1].mode, 0o6751);
    assert_eq!(stored[1].mtime_ns, -86_400_250_000_000);
}

#[test]
fn only_an_error_of_the_output_is_an_error() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let bench = Bench::with(&[("f", &long())]);
    for room in [0, 600, 1600, 2 * CHUNK, LONG + 100] {
        let mut archive = Archive::new(Full(room), 1);
        let error = bench
            .scan()
            .try_for_each(|found| archive.append(&found).map(drop))
            .expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{room}");
    }
}

/// What somebody does to the file.
#[derive(Debug, Clone)]
enum Act {
    Append(usize),
    Cut(usize),
    Overwrite,
    Replace(usize),
    Remove,
    Fail,
}

fn acts() -> impl Strategy<Value = Vec<(usize, Act)>> {
    let act = prop_oneof![
        (1..2 * CHUNK).prop_map(Act::Append),
        (0..LONG).prop_map(Act::Cut),
        Just(Act::Overwrite),
        (0..LONG).prop_map(Act::Replace),
        Just(Act::Remove),
        Just(Act::Fail),
    ];
    prop::collection::vec((1..12usize, act), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// `run` compares every archive with its entries. Without a problem the content is a state that the file had.
    #[test]
    fn whatever_is_done_to_a_file_the_archive_is_whole_and_nothing_wrong_looks_right(
        length in prop_oneof![0..2000usize, CHUNK - 2..CHUNK + 3, Just(LONG)],
        acts in acts(),
    ) {
        let begin = long()[..length].to_vec();
        let mut bench = Bench::with(&[("f", &begin), ("g", b"good")]);
        let path = bench.path("f");
        let states = std::sync::Arc::new(std::sync::Mutex::new(vec![begin]));
        let seen = std::sync::Arc::clone(&states);
        bench.observe(move |count, _| {
            for (_, act) in acts.iter().filter(|(at, _)| *at == count) {
                let current = fs::read(&path).unwrap_or_default();
                match act {
                    Act::Fail => return Err(Errno::IO.into()),
                    Act::Remove => drop(fs::remove_file(&path)),
                    Act::Append(more) => fs::write(&path, [current, vec![7; *more]].concat()).expect("written"),
                    Act::Cut(length) => fs::write(&path, &current[..current.len().min(*length)]).expect("written"),
                    Act::Overwrite => fs::write(&path, vec![9; current.len()]).expect("written"),
                    Act::Replace(length) => {
                        let aside = path.with_file_name("aside");
                        fs::write(&aside, vec![3; *length]).expect("written");
                        fs::rename(&aside, &path).expect("renamed");
                    }
                }
                if let Ok(state) = fs::read(&path) {
                    seen.lock().expect("mine").push(state);
                }
            }
            Ok(())
        });
        let (stored, left, contents) = bench.run();
        for (entry, content) in stored.iter().zip(&contents) {
            if entry.path.name() == b"f" && entry.problem.is_none() {
                prop_assert!(states.lock().expect("mine").contains(content));
            }
        }
        let is_told = |name: &str| stored.iter().any(|entry| entry.path.name() == name.as_bytes())
            || left.iter().any(|(path, _)| path.ends_with(name));
        prop_assert!(is_told("f") && is_told("g"));
    }
}
