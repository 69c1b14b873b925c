//! Bisync of trees: folders that were deleted on one side and kept on the other, files that became folders, renames on
//! either side and on both.

use ows::report::Counts;
use ows::sync::Finished;
use ows_providers::memory::{Alteration, MemoryOptions};
use ows_testkit::tree::EntryKind;

use crate::bisync::agreed;
use crate::support::{Pair, clean, files, kept};

/// Those that have folders of their own.
fn with_folders() -> [MemoryOptions; 2] {
    [MemoryOptions::folder(), MemoryOptions::drive()]
}

/// Those that tell a hash, by which a rename can be recognised.
fn with_hashes() -> [MemoryOptions; 2] {
    [MemoryOptions::s3(), MemoryOptions::drive()]
}

fn every_kind() -> [MemoryOptions; 3] {
    [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ]
}

fn counts(finished: &Finished) -> Counts {
    Counts {
        unchanged: 0,
        ..finished.report.counts
    }
}

fn rename_there(pair: &Pair, from: &str, to: &str) {
    let content = pair.store.get(from).expect("it is there");
    pair.store.remove(from);
    pair.store.insert(to, &content);
}

fn local_folders(pair: &Pair) -> Vec<String> {
    let entries = pair.local.snapshot().into_iter();
    let folders = entries.filter(|(_, entry)| entry.kind == EntryKind::Folder);
    folders.map(|(path, _)| path).collect()
}

#[tokio::test]
async fn a_folder_that_keeps_something_on_one_side_comes_back_on_the_other() {
    for options in with_folders() {
        // Deleted here, and something new lies in it there.
        let base = &[("d/a", "1"), ("d/b", "2"), ("d/e/f", "3"), ("x", "x")];
        let pair = agreed(options.clone(), base).await;
        pair.local.remove("d");
        pair.store.insert("d/e/new", b"new");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), files(&[("d/e/new", "new"), ("x", "x")]));
        pair.assert_converged().await;
        // Deleted there, and something was edited here.
        let pair = agreed(options.clone(), base).await;
        for path in ["d/a", "d/b", "d/e/f"] {
            pair.store.remove(path);
        }
        pair.store.remove("d/e");
        pair.store.remove("d");
        pair.local.write("d/a", "edited");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), files(&[("d/a", "edited"), ("x", "x")]));
        assert_eq!(local_folders(&pair), ["d"]);
        assert_eq!(pair.local_trash(), kept(&[("d/b", "2"), ("d/e/f", "3")]));
        pair.assert_converged().await;
        // A folder alone is something too.
        let pair = agreed(options, base).await;
        pair.local.remove("d");
        pair.store.insert_dir("d/empty");
        clean(&pair.sync().await);
        assert_eq!(local_folders(&pair), ["d", "d/empty"]);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_deleted_folder_with_excluded_files_stays_with_them() {
    for options in with_folders() {
        let base = &[("d/a", "1"), ("x", "x")];
        let pair = agreed(options.clone(), base).await;
        pair.local.write("d/.DS_Store", "mine");
        pair.store.remove("d/a");
        pair.store.remove("d");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), files(&[("x", "x")]));
        assert!(pair.local.join("d/.DS_Store").exists());
        pair.assert_converged().await;
        let pair = agreed(options, base).await;
        pair.store.insert("d/.DS_Store", b"theirs");
        pair.local.remove("d");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), files(&[("x", "x")]));
        assert!(pair.store.files().contains_key("d/.DS_Store"));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_file_that_became_a_folder_and_the_reverse_is_carried_over() {
    for options in every_kind() {
        let base = &[("a", "1"), ("d/x", "2"), ("d/y/z", "3")];
        let pair = agreed(options.clone(), base).await;
        pair.local.remove("a");
        pair.local.write("a/b/c", "new");
        pair.local.remove("d");
        pair.local.write("d", "file");
        clean(&pair.sync().await);
        assert_eq!(pair.remote(), files(&[("a/b/c", "new"), ("d", "file")]));
        pair.assert_converged().await;
        let pair = agreed(options.clone(), base).await;
        pair.store.remove("a");
        pair.store.insert("a/b/c", b"new");
        for path in ["d/x", "d/y/z"] {
            pair.store.remove(path);
        }
        pair.store.remove("d/y");
        pair.store.remove("d");
        pair.store.insert("d", b"file");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), files(&[("a/b/c", "new"), ("d", "file")]));
        assert_eq!(
            pair.local_trash(),
            kept(&[("a", "1"), ("d/x", "2"), ("d/y/z", "3")])
        );
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn of_a_folder_and_an_edited_file_the_folder_keeps_the_name_and_the_file_stays_beside_it() {
    for options in every_kind() {
        let expected = files(&[("a.conflict", "edited"), ("a/b", "new")]);
        let pair = agreed(options.clone(), &[("a", "1")]).await;
        pair.local.remove("a");
        pair.local.write("a/b", "new");
        pair.store.insert("a", b"edited");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), expected);
        pair.assert_converged().await;
        let pair = agreed(options.clone(), &[("a", "1")]).await;
        pair.local.write("a", "edited");
        pair.store.remove("a");
        pair.store.insert("a/b", b"new");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), expected);
        pair.assert_converged().await;
        // The other way round: the folder became a file, and something in it was edited.
        let base = &[("d/x", "1"), ("d/y", "2")];
        let expected = files(&[("d.conflict", "file"), ("d/x", "edited")]);
        let pair = agreed(options.clone(), base).await;
        pair.local.remove("d");
        pair.local.write("d", "file");
        pair.store.insert("d/x", b"edited");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), expected);
        pair.assert_converged().await;
        let pair = agreed(options, base).await;
        pair.store.remove("d/x");
        pair.store.remove("d/y");
        pair.store.remove("d");
        pair.store.insert("d", b"file");
        pair.local.write("d/x", "edited");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), expected);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_rename_on_one_side_is_a_rename_on_the_other() {
    for options in with_hashes() {
        let base = &[("a", "content"), ("d/b", "other"), ("d/c", "third")];
        let moved = Counts {
            moved: 3,
            ..Counts::default()
        };
        let expected = files(&[("e/b", "other"), ("e/c", "third"), ("new/a", "content")]);
        let pair = agreed(options.clone(), base).await;
        pair.local.rename("a", "new/a");
        pair.local.rename("d", "e");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(
            (counts(&finished), pair.remote()),
            (moved, expected.clone())
        );
        pair.assert_converged().await;
        let pair = agreed(options, base).await;
        rename_there(&pair, "a", "new/a");
        rename_there(&pair, "d/b", "e/b");
        rename_there(&pair, "d/c", "e/c");
        pair.store.remove("d");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!((counts(&finished), pair.workspace()), (moved, expected));
        assert_eq!(finished.report.bytes.down, 0);
        assert!(pair.local_trash().is_empty());
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn an_edit_lands_at_the_new_name_that_the_other_side_gave() {
    for options in with_hashes() {
        for edit in ["edited", "CONTENT"] {
            let expected = files(&[("new/a", edit)]);
            let pair = agreed(options.clone(), &[("d/a", "content")]).await;
            pair.local.write("d/a", edit);
            rename_there(&pair, "d/a", "new/a");
            pair.store.remove("d");
            let finished = pair.sync().await;
            clean(&finished);
            assert_eq!(
                (finished.report.counts.moved, finished.report.counts.upload),
                (1, 1)
            );
            assert_eq!(pair.workspace(), expected);
            pair.assert_converged().await;
            let pair = agreed(options.clone(), &[("d/a", "content")]).await;
            pair.store.insert("d/a", edit.as_bytes());
            pair.local.rename("d/a", "new/a");
            pair.local.remove("d");
            let finished = pair.sync().await;
            clean(&finished);
            assert_eq!(
                (
                    finished.report.counts.moved,
                    finished.report.counts.download
                ),
                (1, 1)
            );
            assert_eq!(pair.workspace(), expected);
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn renamed_differently_on_both_sides_both_names_exist() {
    for options in every_kind() {
        let pair = agreed(options, &[("a", "content")]).await;
        pair.local.rename("a", "here");
        rename_there(&pair, "a", "there");
        clean(&pair.sync().await);
        assert_eq!(
            pair.workspace(),
            files(&[("here", "content"), ("there", "content")])
        );
        pair.assert_converged().await;
    }
}

/// Also what a run leaves that was killed between a rename and the base.
#[tokio::test]
async fn the_same_rename_on_both_sides_is_agreed() {
    for options in with_hashes() {
        let pair = agreed(options, &[("a", "content"), ("x", "x")]).await;
        pair.local.rename("a", "d/b");
        rename_there(&pair, "a", "d/b");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(counts(&finished), Counts::default());
        assert_eq!(pair.workspace(), files(&[("d/b", "content"), ("x", "x")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn names_that_were_swapped_or_handed_on_follow() {
    for options in every_kind() {
        let base = &[("a", "one"), ("b", "two"), ("c", "three")];
        let expected = files(&[("a", "two"), ("b", "one"), ("d", "three")]);
        let pair = agreed(options.clone(), base).await;
        pair.local.rename("a", "t");
        pair.local.rename("b", "a");
        pair.local.rename("t", "b");
        pair.local.rename("c", "d");
        clean(&pair.sync().await);
        assert_eq!(pair.remote(), expected);
        pair.assert_converged().await;
        let pair = agreed(options, base).await;
        rename_there(&pair, "a", "t");
        rename_there(&pair, "b", "a");
        rename_there(&pair, "t", "b");
        rename_there(&pair, "c", "d");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), expected);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn folders_that_were_moved_into_each_other_lose_nothing() {
    for options in every_kind() {
        let pair = agreed(options, &[("A/x", "one"), ("B/y", "two")]).await;
        pair.local.rename("A", "B/A");
        rename_there(&pair, "B/y", "A/B/y");
        pair.store.remove("B");
        clean(&pair.sync().await);
        assert_eq!(
            pair.workspace(),
            files(&[("A/B/y", "two"), ("B/A/x", "one")])
        );
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_file_that_was_added_under_the_old_name_of_a_renamed_folder_stays_there() {
    for options in every_kind() {
        let pair = agreed(options.clone(), &[("d/x", "one"), ("d/y", "two")]).await;
        pair.local.rename("d", "e");
        pair.store.insert("d/new", b"three");
        clean(&pair.sync().await);
        let expected = files(&[("d/new", "three"), ("e/x", "one"), ("e/y", "two")]);
        assert_eq!(pair.workspace(), expected);
        pair.assert_converged().await;
        let pair = agreed(options, &[("d/x", "one"), ("d/y", "two")]).await;
        rename_there(&pair, "d/x", "e/x");
        rename_there(&pair, "d/y", "e/y");
        pair.store.remove("d");
        pair.local.write("d/new", "three");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), expected);
        pair.assert_converged().await;
    }
}

/// A store that gives what it is sent another version: what lies below the deleted folder counts as edited, and comes back.
#[tokio::test]
async fn a_new_file_takes_no_name_from_a_folder_whose_files_come_back() {
    for alteration in [Alteration::None, Alteration::Version] {
        let options = MemoryOptions {
            alteration,
            ..MemoryOptions::s3()
        };
        let pair = agreed(options, &[("f", "1"), ("a/f", "2"), ("a/g.txt", "3")]).await;
        pair.store.insert("a", b"new in the cloud");
        pair.local.remove("a");
        clean(&pair.sync().await);
        let expected = match alteration {
            Alteration::None => files(&[("a", "new in the cloud"), ("f", "1")]),
            _ => files(&[
                ("a.conflict", "new in the cloud"),
                ("a/f", "2"),
                ("a/g.txt", "3"),
                ("f", "1"),
            ]),
        };
        assert_eq!(pair.workspace(), expected);
        assert_eq!(pair.remote(), expected);
        pair.assert_converged().await;
    }
}
