//! Names that are two in the workspace and one in the remote, which folds case and the forms of Unicode.

use ows::error::FailureKind;
use ows::sync::Finished;
use ows_providers::Operation;
use ows_providers::layers::Fault;
use ows_providers::memory::MemoryOptions;

use crate::bisync::{agreed, bisync};
use crate::support::{Pair, clean, files, kind};

/// The paths that a run has reported.
fn reported(finished: &Finished) -> Vec<&str> {
    assert_eq!(kind(finished), Some(FailureKind::Partial));
    let errors = finished.report.errors.iter();
    errors.map(|problem| problem.path.as_str()).collect()
}

async fn again(pair: &Pair) -> Finished {
    pair.later();
    pair.sync().await
}

#[tokio::test]
async fn the_known_one_of_two_names_stays_in_sync_and_the_other_is_reported_by_every_run() {
    for (known, new) in [
        ("README.md", "Readme.md"),
        ("d/caf\u{e9}", "d/cafe\u{301}"),
        ("b", "B"),
    ] {
        let pair = agreed(MemoryOptions::drive(), &[(known, "known")]).await;
        pair.local.write(new, "new");
        for _ in 0..2 {
            assert_eq!(reported(&again(&pair).await), [new]);
            assert_eq!(pair.remote(), files(&[(known, "known")]));
            assert_eq!(pair.workspace(), files(&[(known, "known"), (new, "new")]));
        }
        pair.local.write(known, "edited here");
        assert_eq!(reported(&again(&pair).await), [new]);
        assert_eq!(pair.remote(), files(&[(known, "edited here")]));
        pair.store.insert(known, b"edited there");
        assert_eq!(reported(&again(&pair).await), [new]);
        let both = files(&[(known, "edited there"), (new, "new")]);
        assert_eq!(pair.workspace(), both);
        // The known one goes, and there is room for the other.
        pair.local.remove(known);
        clean(&again(&pair).await);
        assert_eq!(pair.remote(), files(&[(new, "new")]));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn of_two_new_names_the_remote_one_is_downloaded_and_the_local_one_reported() {
    let pair = agreed(MemoryOptions::drive(), &[("x", "x")]).await;
    pair.local.write("README.md", "here");
    pair.store.insert("Readme.md", b"there");
    pair.local.write("Docs/a", "here");
    pair.store.insert("docs/b", b"there");
    for _ in 0..2 {
        assert_eq!(reported(&again(&pair).await), ["Docs", "README.md"]);
        let remote = [("Readme.md", "there"), ("docs/b", "there"), ("x", "x")];
        assert_eq!(pair.remote(), files(&remote));
        let mut local = remote.to_vec();
        local.extend([("README.md", "here"), ("Docs/a", "here")]);
        assert_eq!(pair.workspace(), files(&local));
    }
    // Of two that are new here, the first has the name.
    let pair = bisync(MemoryOptions::drive(), &[("A", "one"), ("a", "two")], &[]);
    assert_eq!(reported(&pair.sync().await), ["a"]);
    assert_eq!(pair.remote(), files(&[("A", "one")]));
}

#[tokio::test]
async fn another_spelling_is_carried_over_as_a_rename() {
    for (old, new) in [
        ("readme", "README"),
        ("d/caf\u{e9}", "d/cafe\u{301}"),
        ("docs/a", "Docs/a"),
        ("docs/sub/a", "DOCS/Sub/A"),
    ] {
        let base = &[(old, "content"), ("x", "x")];
        let expected = files(&[(new, "content"), ("x", "x")]);
        let pair = agreed(MemoryOptions::drive(), base).await;
        pair.local.rename(old, new);
        remove_empty(&pair, old);
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(pair.remote(), expected, "{old} {new}");
        assert_eq!(finished.report.bytes.up, 0);
        pair.assert_converged().await;
        let pair = agreed(MemoryOptions::drive(), base).await;
        pair.local.rename(old, new);
        remove_empty(&pair, old);
        pair.local.write(new, "edited");
        clean(&pair.sync().await);
        assert_eq!(
            pair.remote(),
            files(&[(new, "edited"), ("x", "x")]),
            "{old} {new}"
        );
        pair.assert_converged().await;
        let pair = agreed(MemoryOptions::drive(), base).await;
        pair.store.remove(old.split('/').next().unwrap());
        pair.store.insert(new, b"content");
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), expected, "{old} {new}");
        pair.assert_converged().await;
    }
}

/// The version that was listed has got the new spelling by that of its folder; what replaced it meanwhile was agreed on by
/// nobody.
#[tokio::test]
async fn an_edit_while_its_folder_gets_another_spelling_is_an_edit() {
    let pair = agreed(MemoryOptions::drive(), &[("docs/a", "content")]).await;
    pair.local.rename("docs/a", "Docs/a");
    pair.local.remove("docs");
    let store = pair.store.clone();
    pair.faults.add(
        Fault::on(Operation::Stat)
            .at("Docs/a")
            .meanwhile(move || store.insert("Docs/a", b"edited there")),
    );
    clean(&pair.sync().await);
    pair.faults.assert_all_reached();
    clean(&again(&pair).await);
    assert_eq!(pair.workspace(), files(&[("Docs/a", "edited there")]));
    pair.assert_converged().await;
}

fn remove_empty(pair: &Pair, old: &str) {
    if let Some((folder, _)) = old.split_once('/')
        && !pair.workspace().keys().any(|path| path.starts_with(folder))
    {
        pair.local.remove(folder);
    }
}
