//! `backup now`, `backup restore` and `backup prune`, killed: what is listed is whole, the next run removes what the killed one
//! has left and nothing else, and a restore that was killed never looks like one that was not.

use std::collections::BTreeSet;
use std::path::Path;

use ows::backup::extract::PARTIAL;
use ows::backup::name::SnapshotName;
use ows_testkit::s3::Op;
use ows_testkit::tree::{OwsFolder, TempTree, snapshot_tree};

use crate::place::{BUCKET, Kill};
use crate::vault::{Leftovers, Settings, Vault, newest};
use crate::{kills, moments, seed};

const NOW: &[&str] = &["backup", "now"];
const PRUNE: &[&str] = &["backup", "prune"];

/// More than two parts in one object.
const IN_PARTS: usize = 36;

/// In MiB: one volume is more than one part, and together they hold everything.
const VOLUME: usize = 18;

/// Every second round in volumes.
fn settings(round: u32) -> Settings {
    Settings {
        volumes: round.is_multiple_of(2).then_some(VOLUME),
        retain: crate::vault::KEPT,
    }
}

/// Checks what a killed `backup now` has left, lets the next run tidy up, checks that it has; gives what was left.
fn after_a_killed_backup(
    vault: &Vault,
    before: &BTreeSet<SnapshotName>,
    round: u32,
    what: &str,
) -> Leftovers {
    let mut listed = vault.assert_whole(what);
    let made: Vec<_> = listed.difference(before).copied().collect();
    assert!(made.len() <= 1, "{what}: {made:?}");
    match made.first() {
        None => assert_eq!(
            &listed, before,
            "{what}: nothing is made, and some are gone"
        ),
        // It may have been pruning already.
        Some(_) => assert!(
            newest(&(before | &listed)).is_subset(&listed),
            "{what}: {listed:?} of {before:?}"
        ),
    }
    let left = vault.assert_intended(what);
    vault.later();
    // A prune tidies up as well; what it does not see to is the copies of databases.
    if round.is_multiple_of(3) {
        vault.finish(PRUNE, what);
        assert_eq!(vault.assert_tidy(what), newest(&listed), "{what}");
        listed = newest(&listed);
    }
    vault.finish(NOW, what);
    let after = vault.assert_tidy(what);
    assert!(vault.spooled().is_empty(), "{what}: {:?}", vault.spooled());
    let new: BTreeSet<_> = after.difference(&listed).copied().collect();
    assert_eq!(new.len(), 1, "{what}: {after:?} after {listed:?}");
    assert_eq!(after, newest(&(&listed | &new)), "{what}");
    left
}

#[test]
fn backups_survive_a_kill_at_any_moment() {
    let seed = seed() + 40;
    let mut vault = Vault::new(seed, IN_PARTS);
    vault.add_database();
    vault.finish(NOW, "before any kill");
    vault.work();
    let whole = vault.measure(NOW);
    let (wanted, mut killed, mut in_uploads) = (kills(40), 0, 0);
    for (round, moment) in (1_u32..).zip(moments(seed)) {
        if killed >= wanted {
            break;
        }
        assert!(
            round <= wanted * 4 + 8,
            "the runs end before they are killed: {killed} of {wanted}"
        );
        vault.configure(settings(round));
        vault.work();
        let before = vault.listed().into_keys().collect();
        let at = whole.mul_f64(moment);
        let what = format!("round {round}, killed after {at:?} of {whole:?}");
        killed += u32::from(vault.killed_after(NOW, at));
        let left = after_a_killed_backup(&vault, &before, round, &what);
        in_uploads += u32::from(!left.uploads.is_empty());
    }
    assert!(
        wanted < 5 || in_uploads > 0,
        "none of {wanted} kills came while an upload in parts was under way"
    );
    let room = TempTree::new();
    let target = room.join("target");
    restore(&vault, "latest", &target, &[], "after all kills");
    // A database is copied, not read as a file.
    for tree in [vault.workspace.path(), &target.join("workspace")] {
        std::fs::remove_file(tree.join("notes.db")).expect("it is there");
    }
    assert_restored(&vault, &target, "after all kills");
}

/// Each call that makes something, carried out with nobody left to hear of it, or never.
#[test]
fn backups_survive_a_kill_on_every_kind_of_call() {
    let mut vault = Vault::new(seed() + 41, 20);
    for _ in 0..2 {
        vault.work();
        vault.finish(NOW, "before any kill");
    }
    let calls = [
        (Op::CreateUpload, 1),
        (Op::UploadPart, 2),
        (Op::CompleteUpload, 1),
        // The index, the manifest.
        (Op::Put, 1),
        (Op::Put, 2),
        // Of the snapshot that is pruned the manifest, and its first object.
        (Op::Delete, 1),
        (Op::Delete, 2),
    ];
    let calls = calls
        .into_iter()
        .flat_map(|call| [(call, true), (call, false)]);
    for (round, ((op, nth), carried_out)) in (1..).zip(calls) {
        vault.work();
        let before = vault.listed().into_keys().collect();
        let what = format!("killed on {op} number {nth}, carried out: {carried_out}");
        let kill = Kill::OnCall {
            op,
            nth,
            carried_out,
        };
        assert!(
            vault.killed_on(NOW, kill),
            "{what}: the call was not reached"
        );
        after_a_killed_backup(&vault, &before, round, &what);
    }
}

#[test]
fn the_copy_of_a_database_goes_when_its_backup_was_killed() {
    let mut vault = Vault::new(seed() + 45, 1);
    vault.add_database();
    let mut left = 0;
    for round in 1..=20 {
        vault.work();
        let before = vault.listed().into_keys().collect();
        vault.start(NOW).killed_when(|| !vault.spooled().is_empty());
        left += u32::from(!vault.spooled().is_empty());
        let what = format!("round {round}, killed in the copy of a database");
        after_a_killed_backup(&vault, &before, round, &what);
        // The copy may be done between the look and the kill.
        if left == 2 {
            return;
        }
    }
    panic!("the copies are made faster than they can be seen");
}

/// Two snapshots more than are kept, each in several objects.
fn overfill(vault: &mut Vault) -> BTreeSet<SnapshotName> {
    let mut settings = Settings {
        volumes: Some(1),
        retain: 0,
    };
    vault.configure(settings);
    let mut listed: BTreeSet<_> = vault.listed().into_keys().collect();
    while listed.len() < crate::vault::KEPT + 2 {
        vault.work();
        vault.finish(NOW, "before a prune");
        listed = vault.listed().into_keys().collect();
    }
    settings.retain = crate::vault::KEPT;
    vault.configure(settings);
    vault.later();
    listed
}

fn after_a_killed_prune(vault: &Vault, before: &BTreeSet<SnapshotName>, round: u32, what: &str) {
    let listed = vault.assert_whole(what);
    assert!(
        newest(before).is_subset(&listed) && listed.is_subset(before),
        "{what}: {listed:?} of {before:?}"
    );
    vault.assert_intended(what);
    vault.later();
    let mut expected = listed.clone();
    if round.is_multiple_of(2) {
        vault.finish(NOW, what);
        expected.extend(vault.listed().into_keys());
    } else {
        vault.finish(PRUNE, what);
    }
    assert_eq!(vault.assert_tidy(what), newest(&expected), "{what}");
}

#[test]
fn prunes_survive_a_kill_at_any_moment() {
    let seed = seed() + 42;
    let mut vault = Vault::new(seed, 3);
    overfill(&mut vault);
    let whole = vault.measure(PRUNE);
    let (wanted, mut killed) = (kills(30), 0);
    for (round, moment) in (1_u32..).zip(moments(seed)) {
        if killed >= wanted {
            break;
        }
        assert!(
            round <= wanted * 4 + 8,
            "the runs end before they are killed: {killed} of {wanted}"
        );
        let before = overfill(&mut vault);
        let at = whole.mul_f64(moment);
        let what = format!("round {round}, killed after {at:?} of {whole:?}");
        killed += u32::from(vault.killed_after(PRUNE, at));
        after_a_killed_prune(&vault, &before, round, &what);
    }
}

#[test]
fn prunes_survive_a_kill_on_every_removal() {
    let mut vault = Vault::new(seed() + 43, 3);
    let calls = (1..=4).flat_map(|nth| [(nth, true), (nth, false)]);
    for (round, (nth, carried_out)) in (1..).zip(calls) {
        let before = overfill(&mut vault);
        let what = format!("killed on DELETE number {nth}, carried out: {carried_out}");
        let kill = Kill::OnCall {
            op: Op::Delete,
            nth,
            carried_out,
        };
        assert!(
            vault.killed_on(PRUNE, kill),
            "{what}: the call was not reached"
        );
        after_a_killed_prune(&vault, &before, round, &what);
    }
}

/// Restores to the end, which must be a good one.
fn restore(vault: &Vault, snapshot: &str, to: &Path, more: &[&str], what: &str) {
    vault.finish(&[&into(snapshot, to), more].concat(), what);
}

/// The command that restores.
fn into<'a>(snapshot: &'a str, to: &'a Path) -> [&'a str; 6] {
    let to = to.to_str().expect("temporary folders have plain names");
    ["backup", "restore", "--snapshot", snapshot, "--to", to]
}

/// The workspace is there, to the last byte and time, and no mark.
fn assert_restored(vault: &Vault, target: &Path, what: &str) {
    let found = snapshot_tree(&target.join("workspace"), OwsFolder::Include);
    let expected = snapshot_tree(vault.workspace.path(), OwsFolder::Include);
    assert!(found == expected, "{what}: the workspace is another one");
    let names: Vec<_> = std::fs::read_dir(target)
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").file_name())
        .collect();
    assert_eq!(names, ["workspace"], "{what}");
}

/// A restore that was killed: marked, unless it had not begun or had come to its end.
fn assert_marked(vault: &Vault, target: &Path, what: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(target) else {
        return false;
    };
    if target.join(PARTIAL).exists() {
        return true;
    }
    if entries.count() > 0 {
        assert_restored(vault, target, &format!("{what}, without a mark"));
    }
    false
}

#[test]
fn restores_survive_a_kill_at_any_moment() {
    let seed = seed() + 44;
    let vault = Vault::new(seed, IN_PARTS);
    for round in 1..=2 {
        vault.configure(settings(round));
        vault.later();
        vault.finish(NOW, "before any kill");
    }
    let snapshots: Vec<_> = vault.listed().keys().map(ToString::to_string).collect();
    let room = TempTree::new();
    room.write("beside.md", "not the target");
    let (target, fresh) = (room.join("target"), room.join("fresh"));
    let whole = vault.measure(&into("latest", &target));
    assert_restored(&vault, &target, "an undisturbed restore");
    room.remove("target");
    let objects = vault.server.objects(BUCKET);
    let outside = || {
        let mut trees = Vec::new();
        for tree in [room.path(), vault.home.path(), vault.workspace.path()] {
            let mut tree = snapshot_tree(tree, OwsFolder::Include);
            tree.retain(|path, _| !path.starts_with("target") && !path.starts_with("state/ows"));
            trees.push(tree);
        }
        trees
    };
    let before = outside();
    let (wanted, mut killed, mut marked) = (kills(30), 0, 0);
    for (round, moment) in (1_u32..).zip(moments(seed)) {
        if killed >= wanted {
            break;
        }
        assert!(
            round <= wanted * 4 + 8,
            "the runs end before they are killed: {killed} of {wanted}"
        );
        let snapshot = &snapshots[round as usize % 2];
        let at = whole.mul_f64(moment);
        let what = format!("round {round}, killed after {at:?} of {whole:?}");
        let command = into(snapshot, &target);
        killed += u32::from(vault.killed_after(&command, at));
        assert!(
            outside() == before,
            "{what}: something outside of the target"
        );
        if assert_marked(&vault, &target, &what) {
            marked += 1;
            assert_refused(&vault, &command, &target, &what);
            if round.is_multiple_of(2) {
                restore(&vault, snapshot, &target, &["--overwrite"], &what);
                assert_restored(&vault, &target, &what);
            }
        }
        restore(&vault, snapshot, &fresh, &[], &what);
        assert_restored(&vault, &fresh, &what);
        empty(&room);
    }
    assert!(wanted < 5 || marked > 0, "no restore was killed half way");
    assert!(
        vault.server.objects(BUCKET) == objects,
        "restores have changed the bucket"
    );
}

/// What is half restored is not taken for a free place, and stays as it is.
fn assert_refused(vault: &Vault, command: &[&str], target: &Path, what: &str) {
    let before = snapshot_tree(target, OwsFolder::Include);
    let mut run = vault.start(command);
    let status = run.wait();
    let output = run.output();
    assert_eq!(status.code(), Some(2), "{what}: {output}");
    assert!(output.contains("did not end well"), "{what}: {output}");
    let after = snapshot_tree(target, OwsFolder::Include);
    assert!(after == before, "{what}: a refused restore wrote something");
}

/// Everything goes that restores have made.
fn empty(room: &TempTree) {
    for entry in std::fs::read_dir(room.path()).expect("it is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).expect("it can be removed");
        }
    }
}
