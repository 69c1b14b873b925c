//! The remote is that of another account than before: somebody has signed in anew, or the keys are those of another one.
//! Who it is, is part of what the pair is, so nothing that was agreed on with the former one is applied to it.

use ows::error::FailureKind;
use ows::plan::guards::GuardName;
use ows::sync::SyncMode;
use ows_providers::layers::CallCounter;
use ows_providers::memory::{MemoryOptions, MemoryStore};

use crate::support::{Pair, clean, files, guard, kind};

const FILES: &[(&str, &str)] = &[("a", "one"), ("d/b", "two")];

/// A store of another account, with these files.
pub fn another_account(mut options: MemoryOptions, content: &[(&str, &str)]) -> MemoryStore {
    options.identity = "memory, of somebody else".to_owned();
    let store = MemoryStore::new(options);
    for (path, text) in content {
        store.insert(path, text.as_bytes());
    }
    store
}

impl Pair {
    /// From now on the configuration leads to `store`. What led to before is in the answer.
    pub fn sign_in(&mut self, store: &MemoryStore) -> MemoryStore {
        let counter = CallCounter::new();
        self.settings.provider =
            std::sync::Arc::new(store.counted_provider(std::sync::Arc::clone(&counter)));
        self.settings.counter = counter;
        std::mem::replace(&mut self.store, store.clone())
    }
}

#[tokio::test]
async fn another_account_with_files_stops_the_run_and_the_former_one_goes_on_later() {
    for options in [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ] {
        let mut pair = Pair::synced(options.clone(), FILES).await;
        let theirs = another_account(options, &[("a", "theirs"), ("more", "theirs too")]);
        let ours = pair.sign_in(&theirs);
        let before = (theirs.files(), ours.files(), pair.local.files());
        // Deleted here since: what was agreed on with the former account must not delete in this one.
        pair.local.remove("d/b");
        for force in [&[][..], &[GuardName::RemoteRoot, GuardName::MaxDelete]] {
            assert_eq!(guard(&pair.forced(force).await), GuardName::FirstSync);
        }
        pair.local.write("d/b", "two");
        assert_eq!((theirs.files(), ours.files(), pair.local.files()), before);
        // Back to the right account: as if nothing had been.
        pair.sign_in(&ours);
        pair.local.write("a", "changed");
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.delete_remote, 0);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn an_account_that_holds_nothing_takes_nothing_away() {
    let mut pair = Pair::synced(MemoryOptions::s3(), FILES).await;
    let theirs = another_account(MemoryOptions::s3(), &[]);
    let ours = pair.sign_in(&theirs);
    let before = ours.files();
    clean(&pair.sync().await);
    assert_eq!(pair.workspace(), files(FILES));
    assert_eq!(pair.remote(), files(FILES));
    assert_eq!(ours.files(), before, "nobody asked for a change there");
    pair.assert_converged().await;
    pair.sign_in(&ours);
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn in_mirror_mode_another_account_displaces_nothing_unasked() {
    for theirs in [&[][..], &[("a", "theirs")]] {
        let mut pair = Pair::new(MemoryOptions::s3(), &[]);
        pair.settings.mode = SyncMode::Mirror;
        for (path, text) in FILES {
            pair.store.insert(path, text.as_bytes());
        }
        clean(&pair.sync().await);
        assert_eq!(pair.workspace(), files(FILES));
        let ours = pair.sign_in(&another_account(MemoryOptions::s3(), theirs));
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Guard));
        assert_eq!(pair.workspace(), files(FILES));
        pair.sign_in(&ours);
        pair.later();
        clean(&pair.sync().await);
        pair.assert_quiet().await;
    }
}

/// The folder was made anew and holds something else. What was agreed on is gone, the checkpoint with it.
#[tokio::test]
async fn a_remote_that_was_made_anew_with_something_in_it_deletes_nothing() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let pair = Pair::synced(options, FILES).await;
        pair.store.remove_root();
        pair.store.create_root();
        pair.store.insert("theirs", b"found there");
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        let stop = finished.report.guard.expect("a guard");
        assert_eq!(stop.name, GuardName::StateRollback);
        assert_eq!(pair.workspace(), files(FILES));
        let mut all = files(FILES);
        all.insert("theirs".to_owned(), b"found there".to_vec());
        assert_eq!(pair.remote(), all);
    }
}

#[tokio::test]
async fn a_mirror_of_a_remote_that_was_made_anew_stops_before_it_loses_its_files() {
    let names: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
    let mut pair = Pair::new(MemoryOptions::s3(), &[]);
    pair.settings.mode = SyncMode::Mirror;
    for name in &names {
        pair.store.insert(name, b"x");
    }
    clean(&pair.sync().await);
    pair.store.remove_root();
    pair.store.create_root();
    pair.store.insert("theirs", b"found there");
    assert_eq!(guard(&pair.sync().await), GuardName::MaxDelete);
    assert_eq!(pair.workspace().len(), 20);
}
