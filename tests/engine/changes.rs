//! The configuration changes between two runs in bisync mode: patterns, the local folder, the remote. None of it is taken
//! for something that a person did to a file.

use ows::error::FailureKind;
use ows::plan::guards::GuardName;
use ows::sync::SyncMode;
use ows_providers::layers::Fault;
use ows_providers::memory::MemoryOptions;
use ows_providers::{ErrorKind, Operation};
use ows_testkit::tree::{Files, TempTree};

use crate::accounts::another_account;
use crate::bisync::{agreed, bisync};
use crate::support::{Pair, clean, files, guard, kind};

fn every_kind() -> [MemoryOptions; 3] {
    [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ]
}

fn held(files: &Files, path: &str) -> Option<String> {
    let content = files.get(path)?;
    Some(String::from_utf8_lossy(content).into_owned())
}

impl Pair {
    fn exclude(&mut self, patterns: &[&str]) {
        self.settings.exclude = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    }

    /// From now on the configuration names this folder. What it named before is in the answer.
    fn move_to(&mut self, folder: TempTree) -> TempTree {
        self.settings.local_path = folder.path().to_owned();
        self.settings.workspace = folder.path().to_owned();
        std::mem::replace(&mut self.local, folder)
    }
}

#[tokio::test]
async fn what_is_newly_excluded_is_forgotten_and_neither_deleted_nor_changed_on_either_side() {
    for options in every_kind() {
        let mut pair = agreed(
            options,
            &[
                ("a.log", "1"),
                ("b.log", "2"),
                ("c.log", "3"),
                ("d/e.log", "4"),
                ("keep", "5"),
            ],
        )
        .await;
        pair.exclude(&["*.log"]);
        pair.local.remove("a.log");
        pair.store.remove("b.log");
        pair.local.write("c.log", "edited here");
        pair.store.insert("d/e.log", b"edited there");
        pair.local.write("keep", "edited");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.upload, 1);
        assert_eq!(
            pair.workspace(),
            files(&[
                ("b.log", "2"),
                ("c.log", "edited here"),
                ("d/e.log", "4"),
                ("keep", "edited"),
            ])
        );
        assert_eq!(
            pair.remote(),
            files(&[
                ("a.log", "1"),
                ("c.log", "3"),
                ("d/e.log", "edited there"),
                ("keep", "edited"),
            ])
        );
        pair.assert_quiet().await;

        // Newly included: as new on both sides. Nothing is known of the past, so nothing was deleted.
        pair.exclude(&[]);
        clean(&pair.sync().await);
        let workspace = pair.workspace();
        assert_eq!(held(&workspace, "a.log").as_deref(), Some("1"));
        assert_eq!(held(&workspace, "b.log").as_deref(), Some("2"));
        for (path, contents) in [
            ("c.log", ["edited here", "3"]),
            ("d/e.log", ["edited there", "4"]),
        ] {
            let mut found = [path.to_owned(), format!("{path}.conflict")]
                .map(|path| held(&workspace, &path).unwrap_or_default());
            found.sort();
            let mut contents = contents.map(str::to_owned);
            contents.sort();
            assert_eq!(found, contents, "{path}");
        }
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn what_is_newly_included_and_the_same_on_both_sides_is_not_sent_again() {
    for options in every_kind() {
        let mut pair = agreed(options, &[("a.log", "1"), ("b/c", "2")]).await;
        pair.exclude(&["*.log", "b/"]);
        clean(&pair.sync().await);
        pair.exclude(&[]);
        let finished = pair.sync().await;
        clean(&finished);
        let counts = finished.report.counts;
        assert_eq!(
            (counts.upload, counts.download, counts.conflict),
            (0, 0, 0),
            "{counts:?}"
        );
        pair.assert_converged().await;
        // And is known again: a delete is one.
        pair.local.remove("a.log");
        clean(&pair.sync().await);
        assert_eq!(pair.remote(), files(&[("b/c", "2")]));
    }
}

#[tokio::test]
async fn patterns_that_leave_everything_out_empty_neither_side() {
    for options in every_kind() {
        let mut pair = agreed(options, &[("a", "1"), ("b/c", "2")]).await;
        pair.exclude(&["**"]);
        clean(&pair.sync().await);
        assert_eq!((pair.workspace().len(), pair.remote().len()), (2, 2));
        // One side is emptied meanwhile: that is no delete when the patterns are gone again.
        pair.local.remove("a");
        pair.local.remove("b");
        pair.exclude(&[]);
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), files(&[("a", "1"), ("b/c", "2")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_folder_that_is_deleted_on_one_side_stays_where_it_holds_what_is_newly_excluded() {
    for options in every_kind() {
        for here in [true, false] {
            let mut pair = agreed(
                options.clone(),
                &[("d/known", "1"), ("d/x.log", "2"), ("stays", "3")],
            )
            .await;
            pair.exclude(&["*.log"]);
            if here {
                pair.local.remove("d");
            } else {
                pair.store.remove("d/known");
                pair.store.remove("d/x.log");
                pair.store.remove("d");
            }
            clean(&pair.sync().await);
            let (gone, left) = if here {
                (pair.workspace(), pair.remote())
            } else {
                (pair.remote(), pair.workspace())
            };
            assert_eq!(gone, files(&[("stays", "3")]));
            assert_eq!(left, files(&[("d/x.log", "2"), ("stays", "3")]));
        }
    }
}

#[tokio::test]
async fn patterns_that_arrive_from_the_remote_hold_from_the_next_run_on_and_delete_nothing() {
    for options in every_kind() {
        let pair = agreed(options, &[("a.log", "1"), ("b", "2")]).await;
        pair.store.insert(".sync-excludes", b"*.log\n");
        clean(&pair.sync().await);
        pair.later();
        pair.local.remove("a.log");
        clean(&pair.sync().await);
        assert_eq!(held(&pair.remote(), "a.log").as_deref(), Some("1"));
        pair.assert_quiet().await;
    }
}

#[tokio::test]
async fn another_local_folder_is_only_filled_and_the_former_one_is_another_one_from_then_on() {
    for options in every_kind() {
        let mut pair = agreed(options, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
        let other = TempTree::in_memory();
        other.write("b", "of the other folder");
        other.write("x", "new in the other folder");
        let former = pair.move_to(other);
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        assert_eq!(pair.remote(), files(&[("a", "1"), ("b", "2"), ("c", "3")]));
        pair.later();
        clean(&pair.sync().await);
        assert_eq!(
            held(&pair.remote(), "x").as_deref(),
            Some("new in the other folder")
        );
        pair.assert_converged().await;

        // A file is made and another one deleted here, and then the configuration names the former folder again. That
        // has never heard of either.
        pair.local.write("made since", "4");
        pair.local.remove("c");
        clean(&pair.sync().await);
        pair.later();
        former.write("a", "edited in the former folder");
        pair.move_to(former);
        let finished = pair.sync().await;
        assert_eq!(
            kind(&finished),
            Some(FailureKind::Partial),
            "{:?}",
            finished.failure
        );
        assert_eq!(finished.report.counts.delete_remote, 0);
        assert_eq!(finished.report.counts.delete_local, 0);
        pair.later();
        clean(&pair.sync().await);
        let remote = pair.remote();
        for content in [
            "1",
            "2",
            "3",
            "4",
            "of the other folder",
            "edited in the former folder",
        ] {
            assert!(
                remote.values().any(|held| held == content.as_bytes()),
                "{content}: {remote:?}"
            );
        }
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_folder_that_was_moved_with_its_marker_goes_on_as_before() {
    for options in every_kind() {
        let mut pair = agreed(options, &[("a", "1"), ("b", "2")]).await;
        let moved = TempTree::in_memory();
        moved.write_all(&ows_testkit::tree::read_files(
            pair.local.path(),
            ows_testkit::tree::OwsFolder::Include,
        ));
        let former = pair.move_to(moved);
        drop(former);
        pair.local.remove("b");
        clean(&pair.sync().await);
        assert_eq!(pair.remote(), files(&[("a", "1")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn another_remote_is_another_pair_and_what_was_agreed_with_the_former_one_stays_with_that() {
    for options in every_kind() {
        let mut pair = agreed(options.clone(), &[("a", "1"), ("b", "2")]).await;
        // Deleted here since, which the new remote must not hear of as a delete.
        pair.local.remove("b");
        let strange = another_account(options.clone(), &[("a", "1"), ("b", "2"), ("c", "3")]);
        strange.set_now(chrono::Utc::now());
        let former = pair.sign_in(&strange);
        clean(&pair.sync().await);
        assert_eq!(
            pair.workspace(),
            files(&[("a", "1"), ("b", "2"), ("c", "3")])
        );
        pair.assert_converged().await;
        assert_eq!(former.get("b").as_deref(), Some(&b"2"[..]));

        // Back again: the former remote is in step with what it knows. What was done since is carried over.
        pair.local.write("a", "edited");
        pair.local.remove("b");
        pair.sign_in(&former);
        clean(&pair.sync().await);
        assert_eq!(pair.remote(), files(&[("a", "edited"), ("c", "3")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn another_remote_that_holds_something_else_stops_the_run() {
    for options in every_kind() {
        let mut pair = agreed(options.clone(), &[("a", "1"), ("b", "2")]).await;
        let strange = another_account(options.clone(), &[("a", "theirs"), ("c", "3")]);
        strange.set_now(chrono::Utc::now());
        let former = pair.sign_in(&strange);
        assert_eq!(guard(&pair.sync().await), GuardName::FirstSync);
        assert_eq!(pair.workspace(), files(&[("a", "1"), ("b", "2")]));
        assert_eq!(pair.remote(), files(&[("a", "theirs"), ("c", "3")]));
        // An empty one is filled.
        let empty = another_account(options, &[]);
        empty.set_now(chrono::Utc::now());
        pair.sign_in(&empty);
        clean(&pair.sync().await);
        pair.assert_converged().await;
        assert_eq!(former.files().len(), empty.files().len());
    }
}

#[tokio::test]
async fn a_new_pair_is_not_mistaken_for_the_one_that_marked_the_folder() {
    // The folder carries a marker, of another pair and another database.
    for options in every_kind() {
        let first = agreed(options.clone(), &[("a", "1"), ("b", "2")]).await;
        let marker = first.local.read(".ows/replica").unwrap_or_default();
        let pair = bisync(options, &[("a", "1")], &[("a", "1"), ("b", "2")]);
        pair.local.write(".ows/replica", &marker);
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), files(&[("a", "1"), ("b", "2")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn what_a_mirror_could_not_bring_back_is_not_deleted_when_the_mode_becomes_bisync() {
    for options in every_kind() {
        let base = &[("a", "1"), ("b", "2"), ("c", "3")];
        let mut pair = bisync(options, &[], base);
        pair.settings.mode = SyncMode::Mirror;
        clean(&pair.sync().await);
        pair.later();
        pair.local.remove("b");
        let refused = Fault::on(Operation::Get).at("b").nth(1);
        pair.faults.add(refused.before(ErrorKind::Forbidden));
        assert_eq!(kind(&pair.sync().await), Some(FailureKind::Partial));
        pair.faults.assert_all_reached();
        pair.later();
        pair.settings.mode = SyncMode::Bisync;
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), files(base));
        pair.assert_converged().await;
    }
}
