//! Which replica this is, its checkpoint, and databases, folders and remotes that are lost or put back in time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ows::error::FailureKind;
use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::state::State;
use ows::sync::{CheckpointPace, Finished, FirstSync, SyncOptions, flush_checkpoint};
use ows_providers::memory::{MemoryOptions, MemoryStore};
use ows_providers::{Operation, layers::Fault};
use ows_testkit::tree::{Files, TempTree};

use crate::support::{Pair, TRANSIENT, calls, clean, files, guard, kept, kind};

/// Files `f00`, `f01`, ... of a size that makes no question of contents.
const FILES: &[(&str, &str)] = &[
    ("a", "one"),
    ("d/b", "two"),
    ("d/e/c", "three"),
    ("f", "four"),
];

async fn synced() -> Pair {
    Pair::synced(MemoryOptions::s3(), FILES).await
}

/// The checkpoints in the remote.
fn checkpoints(store: &MemoryStore) -> Files {
    let mut files = store.files();
    files.retain(|path, _| path.starts_with(".ows/base-"));
    files
}

/// The only checkpoint.
#[track_caller]
fn checkpoint(pair: &Pair) -> (String, Vec<u8>) {
    let mut all = checkpoints(&pair.store).into_iter();
    let first = all.next().expect("a checkpoint");
    assert!(all.next().is_none(), "one checkpoint");
    first
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a copy");
    for entry in fs::read_dir(from).expect("a copy") {
        let entry = entry.expect("a copy");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

impl Pair {
    /// The disk with the database is gone.
    fn lose_state(&self) {
        self.state.remove("ows");
    }

    /// The database as it is now.
    fn keep_state(&self) -> TempTree {
        let kept = TempTree::in_memory();
        copy_folder(&self.settings.own_dir, &kept.join("ows"));
        kept
    }

    /// Puts a database back that was kept.
    fn restore_state(&self, kept: &TempTree) {
        self.lose_state();
        copy_folder(&kept.join("ows"), &self.settings.own_dir);
    }

    /// Every content that people made and that exists anywhere.
    fn made(&self) -> BTreeSet<Vec<u8>> {
        let mut all = self.contents();
        let marker = self.marker().into_bytes();
        all.retain(|content| !content.starts_with(b"ows-base") && *content != marker);
        all
    }

    fn marker(&self) -> String {
        fs::read_to_string(self.local.join(".ows/replica")).expect("a marker")
    }

    /// Another container from the same image: the same files, marker and database.
    fn twin(&self) -> Self {
        let local = TempTree::in_memory();
        copy_folder(self.local.path(), local.path());
        let state = TempTree::in_memory();
        copy_folder(self.state.path(), state.path());
        let mut settings = self.settings.clone();
        settings.local_path = local.path().to_owned();
        settings.workspace = local.path().to_owned();
        settings.own_dir = state.join("ows");
        Self {
            store: self.store.clone(),
            faults: Arc::clone(&self.faults),
            local,
            state,
            settings,
        }
    }

    /// The remote as it is now, to be put back later.
    fn keep_remote(&self) -> Files {
        self.store.files()
    }

    /// The remote is put back, as from a backup: old contents, stored anew.
    fn restore_remote(&self, kept: &Files) {
        self.later();
        for path in self.store.files().into_keys() {
            if !kept.contains_key(&path) {
                self.store.remove(&path);
            }
        }
        for (path, content) in kept {
            if self.store.get(path).as_ref() != Some(content) {
                self.store.insert(path, content);
            }
        }
        self.later();
    }

    async fn generation(&self) -> u64 {
        let state = State::open(&self.settings.own_dir).await;
        let state = state.expect("a database");
        let pair = state.pair_ids().await.expect("pairs").remove(0);
        let record = state.pair(&pair).await.expect("a pair");
        state.close().await;
        record.expect("a pair").generation
    }

    async fn twice_then_quiet(&self) {
        for _ in 0..2 {
            self.later();
            drop(self.sync().await);
        }
        self.assert_quiet().await;
    }
}

/// The run went on in spite of the guard, with exit code 3.
#[track_caller]
fn cautious(finished: &Finished) {
    assert_eq!(
        kind(finished),
        Some(FailureKind::Partial),
        "{:?} {:?}",
        finished.failure,
        finished.report.errors
    );
    assert_eq!(finished.report.exit_code, 3);
    let stop = finished.report.guard.as_ref().expect("a guard");
    assert_eq!(stop.name, GuardName::StateRollback);
    let words = match finished.report.dry_run {
        true => "the run would delete nothing",
        false => "nothing was deleted in this run",
    };
    let told = |text: &String| text.contains(words);
    assert!(
        finished.report.warnings.iter().any(told),
        "{:?}",
        finished.report.warnings
    );
    let counts = &finished.report.counts;
    assert_eq!((counts.delete_local, counts.delete_remote), (0, 0));
}

fn warned(finished: &Finished, text: &str) -> bool {
    finished
        .report
        .warnings
        .iter()
        .any(|warning| warning.contains(text))
}

// 20: the state is lost

#[tokio::test]
async fn a_redeployed_container_carries_on_without_any_transfer() {
    for options in [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ] {
        let pair = Pair::synced(options, FILES).await;
        let (marker, before) = (pair.marker(), pair.store.files());
        pair.lose_state();
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(calls(&finished), [("get", 1), ("list", 1)]);
        assert_eq!(finished.report.counts.unchanged, 4);
        assert!(warned(&finished, "it goes on from its checkpoint"));
        assert_eq!(pair.store.files(), before, "nothing was written");
        assert_eq!(pair.marker(), marker);
        // From now on as if nothing had been.
        pair.local.write("a", "changed");
        pair.local.remove("f");
        pair.later();
        clean(&pair.sync().await);
        assert_eq!(pair.remote_trash_or_bin(), kept(&[("f", "four")]));
        pair.assert_converged().await;
        assert_eq!(checkpoints(&pair.store).len(), 1);
    }
}

impl Pair {
    /// What was displaced in the remote, wherever it is kept.
    fn remote_trash_or_bin(&self) -> BTreeSet<(String, Vec<u8>)> {
        let mut all = self.remote_trash();
        let bin = self.store.bin().into_iter();
        all.extend(bin.filter(|(path, content)| !path.starts_with(".ows/") && content != b"one"));
        all
    }
}

#[tokio::test]
async fn deletes_and_edits_made_while_the_state_was_lost_are_carried_over() {
    let pair = synced().await;
    pair.lose_state();
    pair.local.remove("a");
    pair.local.write("f", "four, edited");
    pair.local.rename("d/b", "d/moved");
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(finished.report.counts.moved, 1, "the base knows its hash");
    assert_eq!(finished.report.counts.delete_remote, 1);
    assert_eq!(pair.remote_trash(), kept(&[("a", "one")]));
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_checkpoint_in_many_parts_is_taken_up_as_well() {
    let mut options = MemoryOptions::s3();
    options.single_put_max = 4096;
    let mut pair = Pair::new(options, &[]);
    for number in 0..1200 {
        pair.local.write(&format!("d{}/f{number}", number % 7), "x");
    }
    pair.settings.transfers = Some(8);
    clean(&pair.sync().await);
    assert!(checkpoint(&pair).1.len() > 3 * 4096);
    pair.lose_state();
    pair.later();
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(calls(&finished), [("get", 1), ("list", 2)]);
    pair.local.write("new", "x");
    pair.later();
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_kill_while_the_checkpoint_is_taken_up_leaves_no_half_base() {
    let pair = synced().await;
    let before = pair.store.files();
    for point in [
        ows::state::FaultPoint::Before,
        ows::state::FaultPoint::After,
    ] {
        pair.lose_state();
        let faults: ows::state::Faults =
            Arc::new(move |call, at| call == "take_up_base" && at == point);
        let finished = pair
            .run(SyncOptions {
                state_faults: Some(ows::state::StateFaults(faults)),
                ..SyncOptions::default()
            })
            .await;
        assert_eq!(kind(&finished), Some(FailureKind::Failed));
        let finished = pair.sync().await;
        clean(&finished);
        assert_eq!(finished.report.counts.unchanged, 4);
        assert_eq!(pair.store.files(), before);
    }
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_read_ends_the_run_and_changes_nothing() {
    let pair = synced().await;
    pair.lose_state();
    pair.local.remove("a");
    let before = pair.store.files();
    pair.faults
        .add(Fault::on(Operation::Get).times(9).before(TRANSIENT));
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Failed));
    assert_eq!(pair.store.files(), before);
    pair.faults.clear();
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

// 15, 64: the folder is lost

#[tokio::test]
async fn a_lost_folder_is_filled_again_and_the_base_stays() {
    for template in [false, true] {
        let pair = synced().await;
        let before = pair.remote();
        for path in ["a", "d", "f", ".ows"] {
            pair.local.remove(path);
        }
        if template {
            pair.local.write("a", "from a template");
            pair.local.write("new", "from a template too");
        }
        assert_eq!(guard(&pair.sync().await), GuardName::LocalRoot);
        assert_eq!(
            guard(&pair.forced(&GuardName::ALL).await),
            GuardName::LocalRoot
        );
        assert_eq!(pair.remote(), before);
        clean(&pair.directed(Direction::Pull).await);
        assert_eq!(pair.workspace(), before);
        if template {
            let trash = pair.local_trash();
            let expected = kept(&[("a", "from a template"), ("new", "from a template too")]);
            assert_eq!(trash, expected);
        }
        pair.later();
        drop(pair.sync().await);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_new_volume_is_filled_unattended_where_that_is_configured() {
    let mut pair = synced().await;
    for path in ["a", "d", "f", ".ows"] {
        pair.local.remove(path);
    }
    pair.settings.first_sync = FirstSync::Remote;
    clean(&pair.sync().await);
    assert_eq!(pair.workspace(), files(FILES));
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_host_that_lost_both_is_a_new_replica() {
    let pair = synced().await;
    let (marker, before) = (pair.marker(), pair.remote());
    for path in ["a", "d", "f", ".ows"] {
        pair.local.remove(path);
    }
    pair.lose_state();
    assert_eq!(guard(&pair.sync().await), GuardName::FirstSync);
    assert_eq!(pair.remote(), before);
    clean(&pair.directed(Direction::Pull).await);
    assert_ne!(pair.marker(), marker);
    pair.later();
    clean(&pair.sync().await);
    pair.assert_converged().await;
    // That of the replica that is gone is left alone.
    assert_eq!(checkpoints(&pair.store).len(), 2);
}

#[tokio::test]
async fn a_volume_that_is_mounted_late_is_known_by_its_marker() {
    let pair = synced().await;
    pair.lose_state();
    // The first run of the new container sees an empty folder.
    let empty = TempTree::in_memory();
    let mut early = pair.settings.clone();
    early.local_path = empty.path().to_owned();
    early.workspace = empty.path().to_owned();
    let options = SyncOptions::default();
    let run = ows::sync::sync(
        &early,
        &options,
        Arc::new(ows::report::Silent),
        ows::cancel::Cancel::new(),
    );
    assert_eq!(guard(&run.await), GuardName::FirstSync);
    let marker = pair.marker();
    pair.local.remove("a");
    clean(&pair.sync().await);
    assert_eq!(pair.marker(), marker);
    assert_eq!(pair.remote_trash(), kept(&[("a", "one")]));
    pair.assert_converged().await;
}

// 16: the volume goes away in mid-run

#[tokio::test]
async fn a_volume_lost_in_mid_run_is_no_delete_and_its_return_carries_on() {
    let pair = synced().await;
    for number in 0..100 {
        pair.local.write(&format!("g/{number}"), "x");
    }
    clean(&pair.sync().await);
    pair.later();
    pair.local.remove("g");
    let marker = pair.local.join(".ows");
    let aside = TempTree::in_memory();
    let there = aside.join("ows");
    pair.faults
        .add(Fault::on(Operation::Delete).nth(3).meanwhile({
            let (marker, there) = (marker.clone(), there.clone());
            move || {
                copy_folder(&marker, &there);
                fs::remove_dir_all(&marker).unwrap();
            }
        }));
    let finished = pair.forced(&[GuardName::MaxDelete]).await;
    assert_eq!(kind(&finished), Some(FailureKind::Failed));
    pair.faults.assert_all_reached();
    assert!(pair.remote().len() > 4);
    copy_folder(&there, &marker);
    pair.later();
    clean(&pair.forced(&[GuardName::MaxDelete]).await);
    pair.assert_converged().await;
}

// 21: the database is put back

/// A history of runs, with the database, the checkpoint and the remote as they were after each of them.
struct History {
    pair: Pair,
    states: Vec<TempTree>,
    remotes: Vec<Files>,
}

async fn history() -> History {
    let pair = synced().await;
    let (mut states, mut remotes) = (vec![pair.keep_state()], vec![pair.keep_remote()]);
    for step in 0..5 {
        pair.later();
        match step {
            0 => pair.local.write("g", "five"),
            1 => pair.local.write("a", "one, edited"),
            2 => pair.local.remove("f"),
            3 => pair.local.rename("d/b", "d/moved"),
            _ => pair.local.write("h/i", "six"),
        }
        clean(&pair.sync().await);
        states.push(pair.keep_state());
        remotes.push(pair.keep_remote());
    }
    pair.later();
    History {
        pair,
        states,
        remotes,
    }
}

#[tokio::test]
async fn every_older_database_deletes_nothing_and_becomes_a_replica_of_its_own() {
    for older in 0..5 {
        let History { pair, states, .. } = history().await;
        let marker = pair.marker();
        let generation = pair.generation().await;
        pair.restore_state(&states[older]);
        pair.local.remove("d/e/c");
        pair.local
            .write("new", "written after the database was put back");
        pair.store.insert("stray", b"dropped beside");
        let before = pair.made();
        cautious(&pair.sync().await);
        assert!(pair.generation().await > generation, "above both");
        assert_ne!(pair.marker(), marker);
        assert!(before.is_subset(&pair.made()), "nothing is lost");
        assert!(pair.remote().contains_key("d/e/c"), "nothing is deleted");
        assert!(pair.remote().contains_key("stray"));
        // The next run knows again what it is doing.
        pair.later();
        let finished = pair.sync().await;
        clean(&finished);
        assert!(finished.report.guard.is_none());
        assert!(before.is_subset(&pair.made()), "it lies in the trash");
        pair.assert_converged().await;
        assert_eq!(
            checkpoints(&pair.store).len(),
            2,
            "the other's is left alone"
        );
    }
}

#[tokio::test]
async fn a_rolled_back_database_keeps_whatever_is_replaced() {
    let History {
        mut pair, states, ..
    } = history().await;
    pair.settings.trash_remote = false;
    pair.restore_state(&states[0]);
    pair.local.write("a", "one, edited once more");
    let before = pair.made();
    cautious(&pair.sync().await);
    assert!(before.is_subset(&pair.made()), "also without a trash");
    assert_eq!(
        pair.remote_trash(),
        kept(&[("a", "one, edited"), ("f", "four")])
    );
}

#[tokio::test]
async fn a_run_with_nothing_to_do_does_not_look() {
    let History { pair, states, .. } = history().await;
    pair.restore_state(&states[5]);
    pair.assert_quiet().await;
}

#[tokio::test]
async fn a_dry_run_tells_of_the_rollback_and_changes_nothing() {
    let History { pair, states, .. } = history().await;
    pair.restore_state(&states[1]);
    pair.local.remove("d/e/c");
    let (marker, before) = (pair.marker(), pair.store.files());
    let finished = pair
        .run(SyncOptions {
            dry_run: true,
            ..SyncOptions::default()
        })
        .await;
    cautious(&finished);
    assert_eq!(pair.marker(), marker);
    assert_eq!(pair.store.files(), before);
    cautious(&pair.sync().await);
}

#[tokio::test]
async fn forced_it_deletes_and_still_parts_ways() {
    let History { pair, states, .. } = history().await;
    let marker = pair.marker();
    pair.restore_state(&states[4]);
    pair.local.remove("d/e/c");
    let finished = pair.forced(&[GuardName::StateRollback]).await;
    clean(&finished);
    assert!(finished.report.guard.is_none());
    assert!(!pair.remote().contains_key("d/e/c"));
    assert_ne!(pair.marker(), marker);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_cautious_run_that_does_not_end_is_followed_by_another() {
    for call in ["finish_run", "base_batch", "rename_replica", "set_value"] {
        for point in [
            ows::state::FaultPoint::Before,
            ows::state::FaultPoint::After,
        ] {
            let History { pair, states, .. } = history().await;
            pair.restore_state(&states[2]);
            pair.local.remove("d/e/c");
            pair.local.write("new", "new");
            pair.faults
                .add(Fault::on(Operation::Put).times(9).before(TRANSIENT));
            let faults: ows::state::Faults = Arc::new(move |name, at| name == call && at == point);
            drop(
                pair.run(SyncOptions {
                    state_faults: Some(ows::state::StateFaults(faults)),
                    ..SyncOptions::default()
                })
                .await,
            );
            assert!(pair.remote().contains_key("d/e/c"), "{call} {point:?}");
            pair.faults.clear();
            pair.later();
            cautious(&pair.sync().await);
            assert!(pair.remote().contains_key("d/e/c"), "{call} {point:?}");
            pair.later();
            clean(&pair.sync().await);
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn two_containers_from_one_image_part_ways_and_lose_nothing() {
    for (first_edit, second_edit) in [("a", "a"), ("a", "f"), ("new", "other")] {
        let one = synced().await;
        let two = one.twin();
        assert_eq!(one.marker(), two.marker());
        one.local.write(first_edit, "edited in the first");
        two.local.write(second_edit, "edited in the second");
        let before: BTreeSet<_> = one.made().union(&two.made()).cloned().collect();
        clean(&one.sync().await);
        one.later();
        cautious(&two.sync().await);
        assert_ne!(one.marker(), two.marker());
        one.later();
        // Each leaves the other's work alone from now on.
        drop(one.sync().await);
        let after: BTreeSet<_> = one.made().union(&two.made()).cloned().collect();
        // The one thing that is not there is what was replaced by whoever had written it.
        let mut lost: Vec<_> = before.difference(&after).cloned().collect();
        lost.retain(|content| content != b"one");
        assert_eq!(lost, Vec::<Vec<u8>>::new());
        // Once both hold the same, both are quiet.
        two.later();
        clean(&two.directed(Direction::Pull).await);
        clean(&one.directed(Direction::Pull).await);
        one.assert_quiet().await;
        two.assert_quiet().await;
        assert_eq!(checkpoints(&one.store).len(), 2);
    }
}

#[tokio::test]
async fn two_containers_that_start_at_the_same_time_are_told_apart_by_their_runs() {
    // Both had no state and raise the same generation; the second one's checkpoint is refused.
    let one = synced().await;
    let two = one.twin();
    one.local.write("a", "the first");
    two.local.write("f", "the second");
    let other = two.settings.clone();
    // The whole run of the second falls between the first one's look and its upload.
    let done = Arc::new(std::sync::Mutex::new(None));
    one.faults.add(Fault::on(Operation::Put).nth(1).meanwhile({
        let done = Arc::clone(&done);
        move || {
            let other = other.clone();
            let run = std::thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(ows::sync::sync(
                    &other,
                    &SyncOptions::default(),
                    Arc::new(ows::report::Silent),
                    ows::cancel::Cancel::new(),
                ))
            });
            *done.lock().unwrap() = Some(run.join().unwrap());
        }
    }));
    let finished = one.sync().await;
    one.faults.assert_all_reached();
    clean(&finished);
    assert!(warned(
        &finished,
        "is not the one that this replica stored last"
    ));
    clean(&done.lock().unwrap().take().unwrap());
    one.later();
    one.local.write("a", "the first again");
    cautious(&one.sync().await);
    assert_ne!(one.marker(), two.marker());
}

// 19: the remote is put back

#[tokio::test]
async fn every_older_remote_is_filled_again_and_loses_nothing() {
    for older in 0..5 {
        let History { pair, remotes, .. } = history().await;
        let marker = pair.marker();
        pair.restore_remote(&remotes[older]);
        pair.local.remove("d/e/c");
        pair.store
            .insert("person", b"written after the remote was put back");
        let before = pair.made();
        cautious(&pair.sync().await);
        assert_eq!(pair.marker(), marker, "the database is right");
        assert!(before.is_subset(&pair.made()), "nothing is lost");
        assert!(pair.remote().contains_key("d/e/c"), "nothing is deleted");
        assert!(pair.remote().contains_key("person"));
        for (path, content) in pair.workspace() {
            assert_eq!(pair.remote().get(&path), Some(&content), "{path}");
        }
        pair.later();
        clean(&pair.sync().await);
        assert!(before.is_subset(&pair.made()));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_checkpoint_that_a_person_deleted_is_stored_anew() {
    let pair = synced().await;
    let (path, _) = checkpoint(&pair);
    pair.store.remove(&path);
    pair.assert_quiet().await;
    pair.local.write("a", "changed");
    cautious(&pair.sync().await);
    assert_eq!(checkpoint(&pair).0, path);
    pair.later();
    pair.local.write("a", "changed again");
    clean(&pair.sync().await);
    pair.assert_converged().await;
}

// 67 and the like: the checkpoint is older than what was done since

#[tokio::test]
async fn every_older_checkpoint_may_ask_for_more_and_loses_nothing() {
    for older in 0..5 {
        let History { pair, remotes, .. } = history().await;
        let (path, _) = checkpoint(&pair);
        pair.store.insert(&path, &remotes[older][&path]);
        pair.lose_state();
        pair.local.remove("d/e/c");
        pair.local.write("new", "new");
        pair.store.insert("stray", b"dropped beside");
        let before = pair.made();
        pair.later();
        drop(pair.sync().await);
        assert!(before.is_subset(&pair.made()), "nothing is lost");
        pair.twice_then_quiet().await;
        assert!(before.is_subset(&pair.made()), "nothing is lost");
        assert_eq!(pair.remote(), pair.workspace());
    }
}

#[tokio::test]
async fn the_same_content_put_back_counts_as_new_for_a_stale_checkpoint() {
    let pair = synced().await;
    let stale = checkpoint(&pair);
    pair.local.remove("a");
    clean(&pair.sync().await);
    assert_eq!(pair.remote_trash().len(), 1);
    // Somebody puts the same content back, whose ETag is the old one.
    pair.later();
    pair.later();
    pair.store.insert("a", b"one");
    pair.store.insert(&stale.0, &stale.1);
    pair.lose_state();
    pair.local.write("a", "another one");
    let finished = pair.sync().await;
    clean(&finished);
    // Twice: from the delete, and from now.
    let copies = pair.store.files().into_iter();
    let copies =
        copies.filter(|(path, content)| path.starts_with(".ows/trash/") && content == b"one");
    assert_eq!(copies.count(), 2);
    pair.assert_converged().await;
}

// Checkpoints that are none

#[tokio::test]
async fn a_checkpoint_that_is_none_is_told_and_replaced() {
    let whole = checkpoint(&synced().await).1;
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let mut newer = whole.clone();
    newer[8] = 2;
    let cut = whole[..whole.len() - 1].to_vec();
    let foreign = whole;
    for (bytes, reason) in [
        (flipped, "its checksum is wrong"),
        (cut, "its checksum is wrong"),
        (Vec::new(), "it does not begin as one does"),
        (b"ows-".to_vec(), "it does not begin as one does"),
        (b"ows-base\x01\0\0\0".to_vec(), "it is cut off"),
        (newer, "a newer version of ows wrote it (format 2"),
        (foreign, "it belongs to another replica"),
    ] {
        let pair = synced().await;
        let (path, _) = checkpoint(&pair);
        pair.store.insert(&path, &bytes);
        pair.lose_state();
        let finished = pair.sync().await;
        assert!(
            warned(&finished, reason),
            "{reason}: {:?}",
            finished.report.warnings
        );
        assert!(warned(&finished, &path));
        // As without a checkpoint: both sides hold the same, so the replica joins by itself.
        clean(&finished);
        assert_eq!(finished.report.counts.unchanged, 4);
        assert_eq!(
            pair.store.get(&path),
            Some(bytes.clone()),
            "nothing was written"
        );
        // The next one that has something to say takes its place.
        pair.local.write("a", "changed");
        pair.later();
        clean(&pair.sync().await);
        assert_ne!(pair.store.get(&path), Some(bytes));
        pair.lose_state();
        let finished = pair.sync().await;
        clean(&finished);
        assert!(warned(&finished, "it goes on from its checkpoint"));
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn without_checkpoints_none_is_written_and_none_is_read() {
    let mut pair = Pair::new(MemoryOptions::s3(), FILES);
    pair.settings.checkpoint = false;
    clean(&pair.sync().await);
    assert_eq!(checkpoints(&pair.store), Files::new());
    pair.later();
    pair.local.write("a", "changed");
    let finished = pair.sync().await;
    clean(&finished);
    // One put and one delete are the lease.
    assert_eq!(calls(&finished), [("delete", 1), ("list", 1), ("put", 2)]);
    pair.later();
    pair.local.write("a", "changed again");
    pair.lose_state();
    assert_eq!(guard(&pair.sync().await), GuardName::FirstSync);
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_stored_is_a_warning() {
    let pair = synced().await;
    let before = checkpoint(&pair);
    pair.local.write("a", "changed");
    pair.faults.add(
        Fault::on(Operation::Put)
            .at(&before.0)
            .times(9)
            .before(ows_providers::ErrorKind::Forbidden),
    );
    let finished = pair.sync().await;
    clean(&finished);
    assert!(warned(&finished, "could not store the checkpoint"));
    assert_eq!(checkpoint(&pair), before);
    pair.faults.clear();
    pair.assert_quiet().await;
    pair.local.write("a", "changed again");
    clean(&pair.sync().await);
    assert_ne!(checkpoint(&pair), before);
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_checkpoint_whose_answer_was_lost_is_known_as_ours() {
    let pair = synced().await;
    pair.local.write("a", "changed");
    let (path, _) = checkpoint(&pair);
    pair.faults
        .add(Fault::on(Operation::Put).at(&path).after(TRANSIENT));
    let finished = pair.sync().await;
    clean(&finished);
    assert!(warned(&finished, "could not store the checkpoint"));
    pair.faults.clear();
    pair.later();
    pair.local.write("a", "changed again");
    let finished = pair.sync().await;
    clean(&finished);
    assert!(
        finished.report.warnings.is_empty(),
        "{:?}",
        finished.report.warnings
    );
    pair.assert_converged().await;
}

// 22: the database is damaged

#[tokio::test]
async fn a_damaged_database_is_refused_and_rebuilt_from_the_checkpoint() {
    let pair = synced().await;
    pair.state
        .write("ows/state.db", b"no database at all".repeat(500));
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Failed));
    let hint = finished.failure.unwrap().hint.unwrap();
    assert!(hint.contains("--rebuild-state"), "{hint}");
    let finished = pair
        .run(SyncOptions {
            rebuild_state: true,
            ..SyncOptions::default()
        })
        .await;
    clean(&finished);
    assert!(warned(&finished, "was set aside as"));
    assert_eq!(calls(&finished), [("get", 1), ("list", 1)]);
    assert_eq!(finished.report.counts.unchanged, 4);
    pair.local.remove("a");
    clean(&pair.sync().await);
    assert_eq!(pair.remote_trash(), kept(&[("a", "one")]));
    pair.assert_converged().await;
}

// How often

#[tokio::test]
async fn one_process_stores_no_more_than_its_pace_allows_and_the_rest_at_its_end() {
    let pair = Pair::new(MemoryOptions::s3(), FILES);
    let pace = Arc::new(CheckpointPace::new(Duration::from_secs(3600)));
    let options = SyncOptions {
        checkpoint_pace: Some(Arc::clone(&pace)),
        ..SyncOptions::default()
    };
    clean(&pair.run(options.clone()).await);
    let first = checkpoint(&pair);
    for content in ["two", "three"] {
        pair.later();
        pair.local.write("a", content);
        clean(&pair.run(options.clone()).await);
        assert_eq!(checkpoint(&pair), first);
    }
    let limit = Duration::from_secs(60);
    assert!(flush_checkpoint(&pair.settings, limit).await.unwrap());
    assert_ne!(checkpoint(&pair), first);
    assert!(
        !flush_checkpoint(&pair.settings, limit).await.unwrap(),
        "once"
    );
    pair.lose_state();
    let finished = pair.sync().await;
    clean(&finished);
    assert_eq!(calls(&finished), [("get", 1), ("list", 1)]);
    // A pace that has no pause stores each time.
    let options = SyncOptions {
        checkpoint_pace: Some(Arc::new(CheckpointPace::new(Duration::ZERO))),
        ..SyncOptions::default()
    };
    let before = checkpoint(&pair);
    pair.later();
    pair.local.write("a", "four");
    clean(&pair.run(options).await);
    assert_ne!(checkpoint(&pair), before);
}

#[tokio::test]
async fn a_stopped_run_still_stores_its_checkpoint() {
    let mut pair = synced().await;
    pair.settings.transfers = Some(1);
    let before = checkpoint(&pair);
    pair.local.write("a", "changed");
    pair.local.write("z", "may not get there");
    let cancel = ows::cancel::Cancel::new();
    let stopping = cancel.clone();
    pair.faults.add(
        Fault::on(Operation::Put)
            .at("z")
            .meanwhile(move || stopping.stop(ows::cancel::StopCause::Terminated)),
    );
    let finished = pair.run_until(SyncOptions::default(), cancel).await;
    assert_eq!(kind(&finished), Some(FailureKind::Terminated));
    assert_ne!(checkpoint(&pair), before);
    pair.faults.clear();
    pair.later();
    clean(&pair.sync().await);
    pair.assert_converged().await;
}
