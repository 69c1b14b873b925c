//! Files that are more than a name and a content: with holes, with several names, and such as are no files.

use ows::error::FailureKind;
use ows::plan::Direction;
use ows_providers::memory::MemoryOptions;
use ows_testkit::tree::TempTree;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::bisync::{agreed, bisync};
use crate::support::{Pair, clean, files, kind};

// 35: hard links

#[tokio::test]
async fn two_names_of_one_file_are_two_files_in_the_remote() {
    let pair = Pair::new(MemoryOptions::s3(), &[("a", "same"), ("b", "x")]);
    std::fs::hard_link(pair.local.join("a"), pair.local.join("c")).expect("a link can be made");
    clean(&pair.sync().await);
    assert_eq!(
        pair.remote(),
        files(&[("a", "same"), ("b", "x"), ("c", "same")])
    );
    pair.later();
    // Written through one name, it is changed under both.
    pair.local.write("c", "changed");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(finished.report.counts.upload, 2);
    pair.assert_converged().await;
    // One name goes away, and the other stays.
    pair.local.remove("a");
    clean(&pair.sync().await);
    assert_eq!(pair.remote(), files(&[("b", "x"), ("c", "changed")]));
    pair.assert_converged().await;
}

// 36: sparse files

#[tokio::test]
async fn a_file_with_holes_is_sent_with_its_whole_content() {
    use std::os::unix::fs::FileExt as _;
    let mut options = MemoryOptions::s3();
    options.single_put_max = 1 << 20;
    let pair = Pair::new(options, &[]);
    let sparse = std::fs::File::create(pair.local.join("sparse")).expect("it can be made");
    sparse.set_len(3 << 20).expect("it can be made longer");
    sparse
        .write_all_at(b"in the middle", 1 << 20)
        .expect("it can be written");
    drop(sparse);
    clean(&pair.sync().await);
    let stored = pair.store.get("sparse").expect("it was sent");
    let content = std::fs::read(pair.local.join("sparse")).expect("it can be read");
    assert!(stored == content, "the same bytes");
    pair.assert_converged().await;
}

// 37: pipes, sockets, devices

#[tokio::test]
async fn what_is_no_file_is_never_opened_and_counted() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x"), ("pipe", "a file")]).await;
    pair.local.remove("pipe");
    // Whoever opens a pipe that nobody writes to waits for ever.
    mknodat(CWD, pair.local.join("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    let _socket = std::os::unix::net::UnixListener::bind(pair.local.join("socket"))
        .expect("a socket can be made");
    let mut there = 2;
    // Only root may make a device.
    let device = rustix::fs::makedev(1, 3);
    let zero = pair.local.join("device");
    if mknodat(CWD, zero, FileType::CharacterDevice, Mode::RUSR, device).is_ok() {
        there += 1;
    }
    let finished = pair.sync().await;
    clean(&finished);
    let told = format!("{there} links and special files");
    assert!(
        finished
            .report
            .warnings
            .iter()
            .any(|text| text.contains(&told)),
        "{:?}",
        finished.report.warnings
    );
    // What was a file before is not deleted: it cannot be known.
    assert_eq!(pair.remote(), files(&[("a", "x"), ("pipe", "a file")]));
}

// 34: links in circles, and links that lead out

#[tokio::test]
async fn links_that_are_followed_end_and_stay_inside_the_workspace() {
    let outside = TempTree::with(&[("secret", "kept")]);
    let mut pair = Pair::new(MemoryOptions::s3(), &[("d/a", "x"), ("real/b", "y")]);
    pair.settings.copy_symlinks = true;
    pair.local.symlink("d/up", "..");
    pair.local.symlink("d/self", "self");
    pair.local.symlink("one", "two");
    pair.local.symlink("two", "one");
    pair.local.symlink("inside", "real");
    let folder = outside.path().to_str().expect("it is text");
    pair.local.symlink("out", folder);
    pair.local.symlink("out file", &format!("{folder}/secret"));
    let finished = pair.sync().await;
    assert_ne!(kind(&finished), Some(FailureKind::Failed));
    assert_eq!(
        pair.remote(),
        files(&[("d/a", "x"), ("inside/b", "y"), ("real/b", "y")])
    );
    assert!(
        !pair
            .store
            .files()
            .values()
            .any(|content| content == b"kept")
    );
    // Nor does anything that the remote holds get out that way.
    pair.later();
    pair.store.insert("out/secret", b"from the remote");
    pair.store.insert("out/new", b"from the remote");
    drop(pair.directed(Direction::Pull).await);
    assert_eq!(outside.files(), files(&[("secret", "kept")]));
}

#[tokio::test]
async fn what_was_done_in_the_remote_to_what_a_link_leads_to_is_left_and_told_with_the_reason() {
    let start = &[("real/a", "1"), ("real/b", "2"), ("other", "3"), ("x", "4")];
    let mut pair = bisync(MemoryOptions::s3(), start, &[]);
    pair.settings.copy_symlinks = true;
    pair.local.symlink("folder", "real");
    pair.local.symlink("file", "other");
    pair.local.symlink("both", "x");
    clean(&pair.sync().await);
    pair.later();
    pair.store.insert("file", b"edited there");
    pair.store.insert("folder/a", b"edited there");
    pair.store.insert("folder/new", b"new there");
    pair.store.remove("folder/b");
    pair.store.advance(std::time::Duration::from_secs(60));
    pair.store.insert("both", b"edited there");
    pair.local.write("x", "edited here");
    let before = pair.local.files();
    for _ in 0..2 {
        pair.later();
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        let told = |path: &str, link: &str| {
            let mut errors = finished.report.errors.iter();
            let problem = errors.find(|problem| problem.path == path);
            let problem = problem.unwrap_or_else(|| panic!("{:?}", finished.report.errors));
            let reason = format!("`{link}` is a symbolic link: with `copySymlinks`");
            assert!(problem.message.starts_with(&reason), "{problem:?}");
        };
        told("file", "file");
        told("both", "both");
        for path in ["folder/a", "folder/b", "folder/new"] {
            told(path, "folder");
        }
        assert_eq!(pair.local.files(), before);
    }
    // What it says to do helps.
    for path in ["file", "folder", "both"] {
        pair.local.remove(path);
    }
    pair.local.write("file", "3");
    pair.local.write("folder/a", "1");
    pair.local.write("folder/b", "2");
    pair.local.write("both", "edited here");
    pair.later();
    clean(&pair.sync().await);
    assert_eq!(pair.workspace()["file"], b"edited there");
    assert_eq!(pair.workspace()["folder/a"], b"edited there");
    assert_eq!(pair.workspace()["both"], b"edited there");
    assert_eq!(pair.workspace()["both.conflict"], b"edited here");
    pair.assert_converged().await;
}

// An open database

#[tokio::test]
async fn a_database_with_changes_beside_it_is_not_deleted() {
    let database = "SQLite format 3\0 and what is in it";
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let mut pair = agreed(options, &[("x.db", database), ("b", "2")]).await;
        pair.settings.trash_local = false;
        pair.local.write("x.db-wal", "written since");
        pair.store.remove("x.db");
        pair.later();
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        assert_eq!(pair.local.read("x.db"), Some(database.into()));
        // Closed: what was written since is in it, so that it comes back.
        pair.local.remove("x.db-wal");
        pair.local.write("x.db", format!("{database}, and more"));
        pair.later();
        clean(&pair.sync().await);
        assert!(pair.remote().contains_key("x.db"));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_database_and_its_other_half_that_are_both_deleted_there_go_at_once() {
    let database = "SQLite format 3\0 and what is in it";
    let base = &[("x.db", database), ("x.db-wal", "1"), ("b", "2")];
    let pair = agreed(MemoryOptions::s3(), base).await;
    pair.store.remove("x.db");
    pair.store.remove("x.db-wal");
    pair.later();
    clean(&pair.sync().await);
    assert_eq!(pair.workspace(), files(&[("b", "2")]));
    pair.assert_converged().await;
}
