//! The trash, through the library.

use ows::plan::Side;
use ows::sync::trash::{Restored, Trash};
use ows_providers::Operation;
use ows_providers::layers::Fault;
use ows_providers::memory::MemoryOptions;

use crate::bisync::agreed;
use crate::support::{Pair, clean, kept};

#[tokio::test]
async fn what_cannot_be_listed_is_unknown_and_not_absent() {
    let pair = Pair::synced(MemoryOptions::folder(), &[("d/a", "x"), ("b", "y")]).await;
    pair.local.remove("d/a");
    clean(&pair.sync().await);
    let trash = Trash::open(&pair.settings).unwrap();
    let found = trash.list().await.unwrap();
    assert_eq!((found.items.len(), found.problems.len()), (1, 0));
    let run = format!(".ows/trash/{}", found.items[0].run_id);
    pair.store.set_unreadable(&run, true);
    let found = trash.list().await.unwrap();
    assert_eq!((found.items.len(), found.problems.len()), (0, 1));
    assert_eq!(found.problems[0].path, run);
    let found = trash.select(Some("d/a"), None).await.unwrap();
    assert_eq!((found.items.len(), found.problems.len()), (0, 1));
}

#[tokio::test]
async fn emptying_removes_what_was_listed_and_nothing_that_came_later() {
    let pair = Pair::synced(MemoryOptions::folder(), &[("b", "y")]).await;
    pair.local
        .write(".ows/trash/20260101T000000Z-00000000/old", "old");
    let trash = Trash::open(&pair.settings).unwrap();
    let listed = trash.list().await.unwrap().items;
    pair.local
        .write(".ows/trash/20260101T000000Z-00000000/new", "new");
    trash.empty(&listed).await.unwrap();
    let left = trash.list().await.unwrap().items;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].path.as_str(), "new");
    let mut restored = Restored::default();
    trash.restore_all(&left, &mut restored).await.unwrap();
    assert_eq!((restored.items.len(), restored.failures.len()), (1, 0));
    assert_eq!(pair.local.read("new").as_deref(), Some(&b"new"[..]));
}

#[tokio::test]
async fn what_others_put_into_the_trash_fails_no_run() {
    let pair = Pair::synced(MemoryOptions::s3(), &[("a", "x")]).await;
    pair.store
        .plant(".ows/trash/20200101T000000Z-00000000//evil");
    // The trash is cleared once a day.
    pair.store
        .advance(std::time::Duration::from_secs(2 * 86_400));
    pair.local.write("a", "changed");
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn what_two_passes_of_a_run_displace_under_one_name_is_all_kept_and_comes_back() {
    let drive = MemoryOptions {
        bin: false,
        ..MemoryOptions::drive()
    };
    for options in [MemoryOptions::s3(), drive] {
        let pair = agreed(options, &[("x", "first"), ("a", "a"), ("keep", "k")]).await;
        clean(&pair.sync().await);
        pair.later();
        // Stored again by somebody else, and edited here.
        pair.store.insert("x", b"first");
        // Edited there and renamed here: the edit is left to a second pass.
        pair.store.insert("a", b"edited");
        pair.local.rename("a", "b");
        pair.local.write("x", "second");
        let gone = pair.local.join("x");
        // Deleted as soon as it was read: the second pass finds that.
        let uploaded = Fault::on(Operation::Put).at("x");
        pair.faults
            .add(uploaded.meanwhile(move || std::fs::remove_file(&gone).unwrap()));
        clean(&pair.sync().await);
        pair.faults.assert_all_reached();
        let both = kept(&[("x", "first"), ("x", "second")]);
        assert_eq!(pair.remote_trash(), both);
        let trash = Trash::open(&pair.settings).unwrap();
        let items = trash.list().await.unwrap().items;
        assert_eq!(items.len(), 2);
        let run = items[0].run_id.clone();
        assert!(items.iter().all(|item| item.side == Side::Remote));
        assert!(items.iter().all(|item| item.run_id == run), "{items:?}");
        assert!(items.iter().all(|item| item.trashed_at.is_some()));
        for (wanted, content) in [
            (run.clone(), "second"),
            (format!("{run}.2"), "second"),
            (format!("{run}.1"), "first"),
        ] {
            let selected = trash.select(Some("x"), Some(&wanted)).await.unwrap().items;
            let mut restored = Restored::default();
            trash.restore_all(&selected, &mut restored).await.unwrap();
            assert_eq!(restored.items.len(), 1, "{:?}", restored.failures);
            assert_eq!(pair.local.read("x").as_deref(), Some(content.as_bytes()));
            pair.local.remove("x");
        }
        trash
            .purge(chrono::Utc::now() + chrono::Duration::days(1))
            .await
            .unwrap();
        assert_eq!(pair.remote_trash(), kept(&[]));
    }
}
