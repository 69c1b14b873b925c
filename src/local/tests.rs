use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use chrono::DateTime;

use super::*;

const RUN: &str = "20260131T235959Z-1a2b3c4d";

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn replica() -> ReplicaId {
    ReplicaId::parse("0123456789abcdef0123456789abcdef").unwrap()
}

struct Place {
    temp: tempfile::TempDir,
    folder: LocalFolder,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let folder = LocalFolder::create(&temp.path().join("pair")).unwrap();
        Self { temp, folder }
    }

    fn at(&self, text: &str) -> std::path::PathBuf {
        self.folder.path().join(text)
    }

    fn write(&self, text: &str, content: &str) -> LocalFingerprint {
        let at = self.at(text);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, content).unwrap();
        self.seen(text)
    }

    fn read(&self, text: &str) -> String {
        fs::read_to_string(self.at(text)).unwrap()
    }

    fn seen(&self, text: &str) -> LocalFingerprint {
        match self.folder.observe(&path(text)) {
            Some(Observed::Entry(entry)) => entry.fingerprint,
            other => panic!("{other:?}"),
        }
    }

    fn hashed(&self, text: &str) -> LocalFingerprint {
        self.folder.hash(&path(text)).unwrap().fingerprint
    }

    fn begin(&self, dest: &str, content: &str) -> TempFile {
        let mut file = self.folder.new_file(&path(dest), &replica()).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    /// Everything but our own folder and the trash, with content.
    fn tree(&self) -> Vec<String> {
        let options = WalkOptions {
            replica: Some(replica()),
            ..WalkOptions::default()
        };
        let walk = self.folder.walk(options).unwrap();
        walk.map(|observed| match observed {
            Observed::Entry(entry) => entry.key.to_text(),
            Observed::Unknown { path, reason } => format!("{path}: {reason}"),
            Observed::NotUtf8 { shown, .. } => format!("{shown} is not UTF-8"),
            Observed::Leftover(path) => format!("{path} left over"),
        })
        .collect()
    }

    fn trash(&self) -> Vec<(String, String)> {
        let items = self.folder.trash_list().unwrap();
        items
            .map(|item| {
                let item = item.unwrap();
                (item.path.to_string(), self.read(item.place.as_str()))
            })
            .collect()
    }
}

fn expecting(expect: Expect, displaced: Displace) -> Commit<'static> {
    Commit {
        expect,
        displaced,
        run: RUN,
        mtime_ns: Some(1_600_000_000_123_456_789),
    }
}

fn kind_of<T: std::fmt::Debug>(result: Result<T, LocalError>) -> LocalErrorKind {
    result.unwrap_err().kind
}

#[test]
fn walk_shows_what_is_there_and_what_is_unknown() {
    let place = Place::new();
    place.write("a/file", "x");
    place.write("a-b", "x");
    place.write(".ows/replica", "x");
    place.write("a/.ows/inner", "x");
    place.write(".ows-tmp-01234567-0123456789abcdef", "ours");
    place.write(".ows-tmp-01234567-0123456789abcdefm", "ours");
    place.write(".ows-tmp-76543210-0123456789abcdef", "another's");
    place.write(".ows-tmp-01234567-notes", "a person's");
    symlink("a", place.at("link")).unwrap();
    fs::write(place.at("").join(OsStr::from_bytes(b"\x1b\xff")), "").unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(place.at("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(
        place.tree(),
        [
            "\\u{1b}\u{fffd} is not UTF-8",
            ".ows-tmp-01234567-0123456789abcdef left over",
            ".ows-tmp-01234567-0123456789abcdefm left over",
            ".ows-tmp-01234567-notes",
            ".ows-tmp-76543210-0123456789abcdef",
            "a-b",
            "a/",
            "a/.ows/",
            "a/.ows/inner",
            "a/file",
            "link: a symbolic link, which is not followed",
            "pipe: a named pipe",
        ]
    );
    assert_eq!(
        kind_of(place.folder.open_read(&path("pipe"))),
        LocalErrorKind::NotRegular
    );
    let leftover = path(".ows-tmp-01234567-0123456789abcdef");
    let foreign = path(".ows-tmp-76543210-0123456789abcdef");
    place.folder.remove_leftover(&leftover, &replica()).unwrap();
    assert!(!place.at(leftover.as_str()).exists());
    assert_eq!(
        kind_of(place.folder.remove_leftover(&foreign, &replica())),
        LocalErrorKind::Denied
    );
}

#[test]
fn folder_replaced_by_a_link_is_unknown_with_all_below() {
    let place = Place::new();
    place.write("a/file", "x");
    place.write("other/file", "x");
    fs::remove_dir_all(place.at("a")).unwrap();
    symlink(place.at("other"), place.at("a")).unwrap();
    for text in ["a", "a/file", "a/missing/deep"] {
        let seen = place.folder.observe(&path(text));
        let unknown = matches!(
            seen,
            Some(Observed::Unknown {
                reason: UnknownReason::Symlink,
                ..
            })
        );
        assert!(unknown, "{text}: {seen:?}");
    }
    assert!(place.folder.observe(&path("b/file")).is_none());
    for result in [
        place.folder.new_file(&path("a/new"), &replica()).map(drop),
        place.folder.create_dir(&path("a/new")),
        place.folder.open_read(&path("a/file")).map(drop),
        place.folder.remove_empty_dir(&path("a")),
        place
            .folder
            .remove(
                &path("a/file"),
                RUN,
                &place.seen("other/file"),
                Displace::Trash,
            )
            .map(drop),
    ] {
        assert_eq!(kind_of(result), LocalErrorKind::Link);
    }
    assert_eq!(place.read("other/file"), "x");
    let following = place
        .folder
        .clone()
        .following_links(place.temp.path())
        .unwrap();
    let opened = following.open_read(&path("a/file")).unwrap();
    assert_eq!(opened.fingerprint().size, 1);
    assert_eq!(
        kind_of(following.new_file(&path("a/new"), &replica())),
        LocalErrorKind::Link
    );
}

#[test]
fn destination_behind_a_swapped_folder_is_never_written() {
    let place = Place::new();
    let outside = place.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let file = place.begin("a/file", "new");
    fs::rename(place.at("a"), place.at("b")).unwrap();
    symlink(&outside, place.at("a")).unwrap();
    let result = file.commit(&expecting(Expect::Absent, Displace::Trash));
    assert_eq!(kind_of(result), LocalErrorKind::Link);
    // Another folder of that name is not the one that was written in either.
    let file = place.begin("c/file", "new");
    fs::rename(place.at("c"), place.at("d")).unwrap();
    fs::create_dir(place.at("c")).unwrap();
    let result = file.commit(&expecting(Expect::Absent, Displace::Trash));
    assert_eq!(kind_of(result), LocalErrorKind::Changed);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(place.tree().iter().filter(|t| !t.ends_with('/')).count(), 1);
}

#[test]
fn new_file_is_whole_with_time_and_hash() {
    let place = Place::new();
    let file = place.begin("deep/in/file", "content");
    assert!(!place.at("deep/in/file").exists());
    let digest = file.digest();
    assert_eq!(digest.blake3, *blake3::hash(b"content").as_bytes());
    assert_eq!(hex::encode(digest.md5), "9a0364b9e99bb480dd25e1f0284c8555");
    let placed = file
        .commit(&expecting(Expect::Absent, Displace::Trash))
        .unwrap();
    assert_eq!(place.read("deep/in/file"), "content");
    assert_eq!(placed.fingerprint.mtime_ns, 1_600_000_000_123_456_789);
    assert!(
        placed
            .fingerprint
            .same_attributes(&place.seen("deep/in/file"))
    );
    assert_eq!(placed.fingerprint.blake3, Some(digest.blake3));
    assert!(placed.displaced.is_none() && placed.owner_kept && !placed.broke_hard_link);
    assert!(!placed.fingerprint.trusted());
    let result = place
        .begin("deep/in/file", "other")
        .commit(&expecting(Expect::Absent, Displace::Trash));
    assert_eq!(kind_of(result), LocalErrorKind::Exists);
    assert_eq!(place.tree(), ["deep/", "deep/in/", "deep/in/file"]);
}

#[test]
fn replaced_file_is_in_the_trash_and_keeps_its_mode() {
    for exchange in [true, false] {
        let place = Place::new();
        let old = place.write("a/file", "old");
        fs::set_permissions(place.at("a/file"), fs::Permissions::from_mode(0o640)).unwrap();
        let stale = expecting(Expect::Exactly(old), Displace::Trash);
        fs::hard_link(place.at("a/file"), place.at("second")).unwrap();
        let result = place.begin("a/file", "new").commit(&stale);
        assert_eq!(kind_of(result), LocalErrorKind::Changed, "its mode changed");

        let now = expecting(Expect::Exactly(place.seen("a/file")), Displace::Trash);
        let mut file = place.begin("a/file", "new");
        if !exchange {
            file = file.without_exchange();
        }
        let placed = file.commit(&now).unwrap();
        assert_eq!(place.read("a/file"), "new");
        let mode = fs::metadata(place.at("a/file")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert!(placed.broke_hard_link);
        assert_eq!(place.read(placed.displaced.unwrap().as_str()), "old");
        assert_eq!(place.trash(), [("a/file".to_owned(), "old".to_owned())]);
        assert_eq!(place.tree(), ["a/", "a/file", "second"]);
        assert_eq!(place.read(".ows/.gitignore"), "*\n");
    }
}

#[test]
fn dropped_content_leaves_no_trace_and_must_be_proven() {
    for exchange in [true, false] {
        let place = Place::new();
        let old = place.write("a/file", "old");
        // Too young to be trusted, and no hash.
        let unproven = expecting(Expect::Exactly(old.clone()), Displace::Drop);
        let result = place.begin("a/file", "new").commit(&unproven);
        assert_eq!(kind_of(result), LocalErrorKind::Changed);
        let wrong = LocalFingerprint {
            blake3: Some([0; 32]),
            ..old
        };
        let wrong = expecting(Expect::Exactly(wrong), Displace::Drop);
        let result = place.begin("a/file", "new").commit(&wrong);
        assert_eq!(kind_of(result), LocalErrorKind::Changed);
        assert_eq!(place.read("a/file"), "old");

        let proven = expecting(Expect::Exactly(place.hashed("a/file")), Displace::Drop);
        let mut file = place.begin("a/file", "new");
        if !exchange {
            file = file.without_exchange();
        }
        assert_eq!(file.commit(&proven).unwrap().displaced, None);
        assert_eq!(place.read("a/file"), "new");
        assert!(place.trash().is_empty());
        assert!(!place.at(".ows/trash").join(RUN).exists());
        assert_eq!(place.tree(), ["a/", "a/file"]);
    }
}

/// Files are replaced side by side: the folders that one of them has no more use for are another's place in the trash.
#[test]
fn dropped_content_leaves_the_place_of_another_file_alone() {
    let place = Place::new();
    place.write("a/b/kept", "kept");
    place.write("a/b/dropped", "old");
    let kept = path("a/b/kept");
    let slot = place.folder.free_slot(RUN, &kept).unwrap();
    let proven = expecting(Expect::Exactly(place.hashed("a/b/dropped")), Displace::Drop);
    place.begin("a/b/dropped", "new").commit(&proven).unwrap();
    let (dir, last) = place.folder.root.parent(&kept).unwrap();
    let old = name::lstat(&dir, last).unwrap().unwrap();
    assert!(slot.take(&dir, last, &old).unwrap());
    slot.settle(Displace::Trash).unwrap();
    let kept = [("a/b/kept".to_owned(), "kept".to_owned())];
    assert_eq!(place.trash(), kept);

    // Whoever is last leaves nothing behind, in whatever order.
    let proven = expecting(Expect::Exactly(place.hashed("a/b/dropped")), Displace::Drop);
    let unused = place
        .folder
        .free_slot("20260131T235959Z-00000000", &path("c/d"));
    place.begin("a/b/dropped", "newer").commit(&proven).unwrap();
    drop(unused);
    assert!(!place.at(".ows/trash/20260131T235959Z-00000000").exists());
    assert_eq!(place.trash(), kept);
}

#[test]
fn edit_between_the_last_look_and_the_rename_is_kept() {
    let place = Place::new();
    place.write("file", "old");
    let now = expecting(Expect::Exactly(place.seen("file")), Displace::Trash);
    let file = place.begin("file", "new").with_exchange(|slot, dest| {
        // A person's editor saves at the worst moment.
        let mut edited = name::create_new(dest.0, os("edited"), 0o666)?;
        edited.write_all(b"edited")?;
        name::rename((dest.0, os("edited")), dest)?;
        name::exchange(slot, dest)
    });
    assert_eq!(kind_of(file.commit(&now)), LocalErrorKind::Changed);
    assert_eq!(place.read("file"), "edited");
    assert_eq!(place.tree(), ["file"]);
    assert!(place.trash().is_empty());

    // The same where names cannot trade places.
    let now = expecting(Expect::Exactly(place.seen("file")), Displace::Trash);
    let file = place.begin("file", "new").with_exchange(|_, dest| {
        let mut edited = name::create_new(dest.0, os("edited"), 0o666)?;
        edited.write_all(b"edited again")?;
        name::rename((dest.0, os("edited")), dest)?;
        Ok(false)
    });
    assert_eq!(kind_of(file.commit(&now)), LocalErrorKind::Changed);
    assert_eq!(place.read("file"), "edited again");
    assert_eq!(place.tree(), ["file"]);
}

#[test]
fn a_file_is_renamed_only_as_it_was_seen_and_only_to_where_nothing_is() {
    let place = Place::new();
    let rename = |from: &str, to: &str, seen: &LocalFingerprint| {
        place.folder.rename(&path(from), &path(to), seen)
    };
    let mut seen = place.write("a", "content");
    seen.blake3 = Some([7; 32]);
    let moved = rename("a", "d/e/b", &seen).unwrap();
    assert_eq!(place.tree(), ["d/", "d/e/", "d/e/b"]);
    assert_eq!((moved.inode, moved.blake3), (seen.inode, seen.blake3));
    assert!(moved.same_attributes(&place.seen("d/e/b")));
    // The name is taken: by a file, a folder, a link to nowhere.
    place.write("file", "other");
    fs::create_dir(place.at("folder")).unwrap();
    symlink("nowhere", place.at("link")).unwrap();
    for to in ["file", "folder", "link"] {
        assert_eq!(kind_of(rename("d/e/b", to, &moved)), LocalErrorKind::Exists);
    }
    assert_eq!(
        (place.read("d/e/b"), place.read("file")),
        ("content".into(), "other".into())
    );
    // It is another file than was seen, or gone, or ours.
    place.write("d/e/b", "edited");
    assert_eq!(
        kind_of(rename("d/e/b", "c", &moved)),
        LocalErrorKind::Changed
    );
    assert_eq!(
        kind_of(rename("gone", "c", &moved)),
        LocalErrorKind::NotFound
    );
    let now = place.seen("d/e/b");
    assert_eq!(
        kind_of(rename("d/e/b", ".ows/c", &now)),
        LocalErrorKind::Denied
    );
    assert_eq!(place.read("d/e/b"), "edited");
}

#[test]
fn a_database_in_use_keeps_its_name() {
    let place = Place::new();
    let database = place.write("a.db", "SQLite format 3\0 and pages");
    place.write("a.db-wal", "the rest");
    let renamed = place.folder.rename(&path("a.db"), &path("b.db"), &database);
    assert_eq!(kind_of(renamed), LocalErrorKind::InUse);
    assert_eq!(place.tree(), ["a.db", "a.db-wal"]);
}

#[test]
fn removed_file_is_in_the_trash_under_its_path() {
    let place = Place::new();
    let file = place.write("a", "file");
    let trashed = place.folder.remove(&path("a"), RUN, &file, Displace::Trash);
    assert_eq!(
        trashed.unwrap().unwrap().as_str(),
        &format!(".ows/trash/{RUN}/a")
    );
    // A folder takes the name: its children cannot lie below a file.
    let inner = place.write("a/b", "inner");
    place
        .folder
        .remove(&path("a/b"), RUN, &inner, Displace::Trash)
        .unwrap();
    let again = place.write("a/b", "again");
    place
        .folder
        .remove(&path("a/b"), RUN, &again, Displace::Trash)
        .unwrap();
    let kept: Vec<_> = place.trash().into_iter().map(|(_, text)| text).collect();
    assert_eq!(kept, ["file", "inner", "again"]);
    assert_eq!(place.tree(), ["a/"]);
    let result = place
        .folder
        .remove(&path("a/b"), RUN, &again, Displace::Trash);
    assert_eq!(kind_of(result), LocalErrorKind::NotFound);

    let items: Vec<_> = place
        .folder
        .trash_list()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(items.iter().all(|item| item.run == RUN));
    let restore = |index: usize| place.folder.trash_restore(&items[index]);
    assert_eq!(kind_of(restore(0)), LocalErrorKind::Exists);
    restore(1).unwrap();
    assert_eq!(place.read("a/b"), "inner");
    assert_eq!(kind_of(restore(2)), LocalErrorKind::Exists);
    assert_eq!(place.read("a/b"), "inner");
    assert!(!place.at(&format!(".ows/trash/{RUN}.2")).exists());
}

#[test]
fn old_runs_are_purged_and_nothing_else() {
    let place = Place::new();
    let outside = place.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    for run in [
        "20260101T000000Z-00000000/a/b",
        "20260101T000000Z-00000000.2/a",
        "20260201T000000Z-00000000/a",
        "notes/a",
    ] {
        place.write(&format!(".ows/trash/{run}"), "12345");
    }
    symlink(
        &outside,
        place.at(".ows/trash/20260101T000000Z-00000000/a/link"),
    )
    .unwrap();
    symlink(&outside, place.at(".ows/trash/20250101T000000Z-00000000")).unwrap();
    let totals = place.folder.trash_totals().unwrap();
    assert_eq!((totals.files, totals.bytes), (4, 20));
    let cutoff = DateTime::parse_from_rfc3339("2026-01-15T00:00:00Z").unwrap();
    let purged = place.folder.trash_purge(cutoff.to_utc()).unwrap();
    assert_eq!((purged.files, purged.bytes), (2, 10));
    assert_eq!(place.trash().len(), 2);
    let remove = |text: &str| place.folder.trash_remove(&path(text));
    remove(".ows/trash/notes/a").unwrap();
    assert!(!place.at(".ows/trash/notes").exists(), "emptied by that");
    assert_eq!(place.trash().len(), 1);
    assert_eq!(kind_of(remove("kept")), LocalErrorKind::Denied);
    assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
    assert_eq!(
        Place::new().folder.trash_totals().unwrap(),
        TrashTotals::default()
    );
}

#[test]
fn file_that_changes_while_it_is_read_is_not_hashed() {
    let place = Place::new();
    place.write("log", "one\n");
    let mut opened = place.folder.open_read(&path("log")).unwrap();
    let before = opened.hash_first(4).unwrap();
    let mut log = fs::OpenOptions::new()
        .append(true)
        .open(place.at("log"))
        .unwrap();
    log.write_all(b"two\n").unwrap();
    let mut read = String::new();
    opened.read_to_string(&mut read).unwrap();
    assert_eq!(read, "one\n", "reading ends where the file ended");
    assert_eq!(kind_of(opened.hash()), LocalErrorKind::Changed);
    assert_eq!(kind_of(opened.check_unchanged()), LocalErrorKind::Changed);
    // But its beginning is still what it was.
    assert_eq!(opened.hash_first(4).unwrap(), before);
    log.set_len(2).unwrap();
    assert_eq!(kind_of(opened.hash_first(4)), LocalErrorKind::Changed);
    let hashed = place.folder.hash(&path("log")).unwrap();
    let on = blake3::hash(b"on");
    assert_eq!(hashed.fingerprint.blake3, Some(*on.as_bytes()));
}

#[test]
fn live_database_is_not_replaced() {
    let place = Place::new();
    place.write("db", "SQLite format 3\0 and more");
    assert!(!place.folder.is_live_database(&path("db")).unwrap());
    place.write("db-wal", "");
    place.write("text", "no database");
    place.write("text-journal", "");
    assert!(place.folder.is_live_database(&path("db")).unwrap());
    assert!(!place.folder.is_live_database(&path("text")).unwrap());
    assert!(!place.folder.is_live_database(&path("missing")).unwrap());
    let now = expecting(Expect::Exactly(place.seen("db")), Displace::Trash);
    let result = place.begin("db", "new").commit(&now);
    assert_eq!(kind_of(result), LocalErrorKind::InUse);
    assert_eq!(place.tree(), ["db", "db-wal", "text", "text-journal"]);
}

#[test]
fn marker_tells_whether_the_folder_is_the_same() {
    let place = Place::new();
    let folder = &place.folder;
    assert_eq!(folder.replica().unwrap(), None);
    assert!(folder.still_there(None));
    folder.write_replica(&replica()).unwrap();
    folder.write_replica(&replica()).unwrap();
    assert_eq!(folder.replica().unwrap(), Some(replica()));
    assert!(folder.still_there(Some(&replica())));
    assert!(!folder.still_there(None));
    assert!(!folder.still_there(Some(&ReplicaId::random())));
    place.write(".ows/replica", "something else");
    assert_eq!(folder.replica().unwrap(), None);
    assert!(folder.has_damaged_marker().unwrap());
    folder.write_replica(&replica()).unwrap();
    assert!(!folder.has_damaged_marker().unwrap());
    // Another volume at the same path, even with a copy of the marker.
    fs::rename(folder.path(), place.temp.path().join("away")).unwrap();
    assert!(!folder.still_there(Some(&replica())));
    let other = LocalFolder::create(folder.path()).unwrap();
    other.write_replica(&replica()).unwrap();
    assert!(!folder.still_there(Some(&replica())));
    assert!(other.still_there(Some(&replica())));
}

#[test]
fn our_own_folder_is_never_content() {
    let place = Place::new();
    let stolen = path(".ows/replica");
    let denied = LocalErrorKind::Denied;
    assert_eq!(kind_of(place.folder.new_file(&stolen, &replica())), denied);
    assert_eq!(kind_of(place.folder.create_dir(&path(".ows"))), denied);
    assert_eq!(
        kind_of(place.folder.remove_empty_dir(&path(".ows"))),
        denied
    );
    symlink(place.temp.path(), place.at(".ows")).unwrap();
    assert!(place.folder.write_replica(&replica()).is_err());
    assert!(!Path::new(place.temp.path()).join("replica").exists());
    assert!(place.tree().is_empty());
}

#[test]
fn folders_come_and_go() {
    let place = Place::new();
    place.folder.create_dir(&path("a/b/c")).unwrap();
    place.folder.create_dir(&path("a/b/c")).unwrap();
    place.write("a/file", "");
    let kind = |text: &str| kind_of(place.folder.remove_empty_dir(&path(text)));
    assert_eq!(kind("a"), LocalErrorKind::NotEmpty);
    assert_eq!(kind("a/file"), LocalErrorKind::Exists);
    place.folder.remove_empty_dir(&path("a/b/c")).unwrap();
    place.folder.remove_empty_dir(&path("a/b/c")).unwrap();
    assert_eq!(place.tree(), ["a/", "a/b/", "a/file"]);
    let result = place.folder.create_dir(&path("a/file/x"));
    assert_eq!(kind_of(result), LocalErrorKind::Exists);
    assert!(place.folder.free_space().unwrap() > 0);
}

#[test]
fn nothing_lands_outside_while_folders_and_links_trade_places() {
    let place = Place::new();
    let outside = place.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "secret").unwrap();
    fs::create_dir(place.at("a")).unwrap();
    symlink(&outside, place.at("b")).unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let root = Root::open(place.folder.path()).unwrap();
    let swapping = std::thread::spawn(move || {
        let mut swaps = 0_u32;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let (one, other) = ((root.dir(), os("a")), (root.dir(), os("b")));
            assert!(name::exchange(one, other).unwrap());
            swaps += 1;
        }
        swaps
    });
    let (mut written, mut refused) = (0, 0);
    for round in 0..3000 {
        let dest = path(&format!("a/new-{}", round % 5));
        let wrote = place
            .folder
            .new_file(&dest, &replica())
            .and_then(|mut file| {
                file.write_all(b"new").unwrap();
                file.commit(&expecting(Expect::Absent, Displace::Trash))
            });
        match wrote {
            Ok(_) => written += 1,
            Err(_) => refused += 1,
        }
        if let Some(Observed::Entry(entry)) = place.folder.observe(&dest) {
            // May lose the race, in which case nothing happens.
            drop(
                place
                    .folder
                    .remove(&dest, RUN, &entry.fingerprint, Displace::Trash),
            );
        }
        if let Ok(mut file) = place.folder.open_read(&path("a/file")) {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            panic!("read {text:?} from outside");
        }
        // Walks may show the folder, the link or neither, and never what lies behind it.
        let tree = place.tree();
        assert!(!tree.iter().any(|item| item.ends_with("/file")), "{tree:?}");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(swapping.join().unwrap() > 0);
    for name in ["a", "b"] {
        for item in fs::read_dir(place.at(name)).unwrap() {
            let name = item.unwrap().file_name();
            assert!(!name.to_string_lossy().starts_with(".ows-tmp"), "{name:?}");
        }
    }
    assert!(written + refused == 3000);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "secret");
}

#[test]
fn a_file_gets_another_name_only_where_nothing_has_it_and_while_it_is_what_was_seen() {
    let place = Place::new();
    let seen = place.write("d/a", "one");
    place.write("taken", "two");
    let rename =
        |to: &str, seen: &LocalFingerprint| place.folder.rename(&path("d/a"), &path(to), seen);
    assert_eq!(kind_of(rename("taken", &seen)), LocalErrorKind::Exists);
    let other = LocalFingerprint {
        size: 4,
        ..seen.clone()
    };
    assert_eq!(kind_of(rename("b", &other)), LocalErrorKind::Changed);
    assert_eq!(kind_of(rename(".ows/b", &seen)), LocalErrorKind::Denied);
    assert_eq!(
        (place.read("d/a"), place.read("taken")),
        ("one".into(), "two".into())
    );
    rename("new/b", &seen).unwrap();
    assert_eq!(place.read("new/b"), "one");
    assert_eq!(kind_of(rename("b", &seen)), LocalErrorKind::NotFound);
    symlink(place.at("taken"), place.at("d/a")).unwrap();
    assert_eq!(kind_of(rename("b", &seen)), LocalErrorKind::Changed);
}

#[test]
fn what_is_mounted_inside_the_folder_is_named_as_the_reason() {
    let refused = std::io::Error::from(std::io::ErrorKind::CrossesDevices);
    let error = LocalError::io("remove", "data/a", refused);
    assert_eq!(error.kind, LocalErrorKind::OtherVolume);
    assert!(!error.is_race());
    let text = error.to_string();
    assert!(text.starts_with("could not remove `data/a`: it lies on another volume"));
}
