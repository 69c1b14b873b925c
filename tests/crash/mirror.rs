//! What people do around a mirrored folder and the ingest folder beside it, and what must have become of it.

use ows_testkit::tree::Files;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use crate::checks::{assert_held, assert_same};
use crate::place::Place;
use crate::work::{MIB, digest};

/// The mirrored folder, the ingest folder beside it, and where that lies in the remote.
const MIRRORED: &str = "ws/";
const INGEST: &str = "inbox/";

/// A remote to begin with, and files that wait to be sent.
pub fn first_work(place: &mut Place) {
    // It is the person's to create; a missing one where a base exists is a volume that is not mounted.
    place.workspace.folder("ws");
    for _ in 0..20 {
        put_new(place, 3000);
    }
    put_new(place, 9 * MIB);
    for _ in 0..5 {
        send_new(place, 3000);
    }
    send_new(place, 9 * MIB);
}

/// A round: people change the remote, and what was sent to it; the agent works in the mirrored folder, and sends.
pub fn work(place: &mut Place) {
    for _ in 0..place.rng.random_range(2..6) {
        put_new(place, 3000);
    }
    for _ in 0..3 {
        if let Some(path) = some_file(place, false) {
            let content = place.content(3000);
            put(place, &path, content);
        }
    }
    for _ in 0..2 {
        if let Some(path) = some_file(place, false) {
            place.delete_remote(&path);
            place.expected.files.remove(&path);
        }
    }
    if place.rng.random_ratio(1, 3) {
        put_new(place, 9 * MIB);
    }
    meddle(place);
    people_change_what_was_sent(place);
    send_new(place, 3000);
    send_again(place);
    if place.rng.random_ratio(1, 3) {
        send_new(place, 9 * MIB);
    }
    forget_one(place);
}

/// What happens after a kill: the next run meets half of the old work and the new.
pub fn more_work(place: &mut Place) {
    put_new(place, 3000);
    send_new(place, 3000);
    meddle(place);
}

/// Both sides hold what they should, nothing that gave way is lost, and the ingest folder is as it was.
pub fn check(place: &Place, local: &Files, remote: &Files, what: &str) {
    let expected: Vec<_> = place.expected.files.iter().collect();
    let mirrored: Files = below(local, MIRRORED);
    assert_same(
        &content(&mirrored),
        &expected,
        &format!("{what}: the mirrored folder"),
    );
    assert_same(&content(remote), &expected, &format!("{what}: the remote"));
    let ingest = below(local, INGEST);
    assert_same(
        &ingest.iter().collect::<Vec<_>>(),
        &place.expected.ingest.iter().collect::<Vec<_>>(),
        &format!("{what}: the ingest folder"),
    );
    assert_held(remote, ".ows/trash/", &place.expected.displaced, what);
    assert_held(
        &mirrored,
        ".ows/trash/",
        &place.expected.displaced_here,
        what,
    );
    let ours: Vec<_> = remote
        .keys()
        .filter(|path| path.starts_with(".ows/") && !path.starts_with(".ows/trash/"))
        .collect();
    assert!(
        ours.is_empty(),
        "{what}: a mirror keeps nothing in the remote: {ours:?}"
    );
}

fn below(files: &Files, folder: &str) -> Files {
    files
        .iter()
        .filter_map(|(path, content)| {
            Some((path.strip_prefix(folder)?.to_owned(), content.clone()))
        })
        .collect()
}

fn content(files: &Files) -> Vec<(&String, &Vec<u8>)> {
    files
        .iter()
        .filter(|(path, _)| !path.starts_with(".ows/"))
        .collect()
}

fn put(place: &mut Place, path: &str, content: Vec<u8>) {
    place.put_remote(path, &content);
    place.expected.files.insert(path.to_owned(), content);
}

fn put_new(place: &mut Place, size: usize) {
    let path = place.fresh_path();
    let content = if size > MIB {
        place.large(size)
    } else {
        place.content(size)
    };
    put(place, &path, content);
}

/// A small file of the remote, one that was sent or one that a person put there.
fn some_file(place: &mut Place, sent: bool) -> Option<String> {
    let small: Vec<String> = place
        .expected
        .files
        .iter()
        .filter(|(path, content)| path.starts_with(INGEST) == sent && content.len() < MIB)
        .map(|(path, _)| path.clone())
        .collect();
    small.choose(&mut place.rng).cloned()
}

/// The agent edits and adds in the mirrored folder: that gives way, and lies in the local trash.
fn meddle(place: &mut Place) {
    let edited = some_file(place, false);
    let stray = place.fresh_path();
    for path in edited.into_iter().chain([stray]) {
        let content = place.content(500);
        place.expected.displaced_here.insert(digest(&content));
        place.workspace.write(&format!("{MIRRORED}{path}"), content);
    }
}

fn send(place: &mut Place, name: &str, content: Vec<u8>) {
    place.workspace.write(&format!("{INGEST}{name}"), &content);
    place
        .expected
        .files
        .insert(format!("{INGEST}{name}"), content.clone());
    place.expected.ingest.insert(name.to_owned(), content);
}

fn send_new(place: &mut Place, size: usize) {
    let content = if size > MIB {
        place.large(size)
    } else {
        place.content(size)
    };
    let name = format!("d{}/{}", place.rng.random_range(0..3), digest(&content)[0]);
    let remote = format!("{INGEST}{name}");
    // A name that was used before is an edit of it, which is another test.
    if !place.expected.ingest.contains_key(&name) && !place.expected.files.contains_key(&remote) {
        send(place, &name, content);
    }
}

/// People edit one of the files that were sent, and delete another. Neither comes back.
fn people_change_what_was_sent(place: &mut Place) {
    if let Some(path) = some_file(place, true) {
        place.delete_remote(&path);
        place.expected.files.remove(&path);
    }
    if let Some(path) = some_file(place, true) {
        let content = place.content(500);
        put(place, &path, content);
    }
}

/// A new version of a file that was sent. What a person made of it in the remote goes to the trash there.
fn send_again(place: &mut Place) {
    let names: Vec<String> = place
        .expected
        .ingest
        .iter()
        .filter(|(_, content)| content.len() < MIB)
        .map(|(name, _)| name.clone())
        .collect();
    let Some(name) = names.choose(&mut place.rng).cloned() else {
        return;
    };
    let remote = format!("{INGEST}{name}");
    let there = place.expected.files.get(&remote).cloned();
    if let Some(there) = there.filter(|there| place.expected.ingest.get(&name) != Some(there)) {
        place.expected.displaced.insert(digest(&there));
    }
    let content = place.content(3000);
    send(place, &name, content);
}

/// A file goes away here. What was sent stays.
fn forget_one(place: &mut Place) {
    let names: Vec<String> = place.expected.ingest.keys().cloned().collect();
    // Not one of this round, which may not have been sent yet.
    let sent = place.remote_files();
    let name = names
        .iter()
        .find(|name| sent.get(&format!("{INGEST}{name}")) == place.expected.ingest.get(*name));
    if let Some(name) = name.cloned() {
        place.workspace.remove(&format!("{INGEST}{name}"));
        place.expected.ingest.remove(&name);
    }
}
