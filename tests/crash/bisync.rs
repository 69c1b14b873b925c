//! What people do on both sides in bisync mode, and what must have become of it: what was done on one side is done on the
//! other, what differs is kept twice, and what was deleted or replaced lies in a trash, whenever a run was killed.
//!
//! Within a round no path is touched twice: what a killed run had carried over, and nobody had recorded, would be a conflict
//! with what is written later, and rightly so. That is for the tests of several hosts.

use ows_testkit::tree::Files;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use crate::checks::{assert_held, assert_same};
use crate::place::Place;
use crate::work::{MIB, digest};

/// Both sides hold files before they are united: some the same, and some that differ.
pub fn first_work(place: &mut Place) {
    for _ in 0..12 {
        put_here(place, 3000);
        put_there(place, 3000);
    }
    for _ in 0..3 {
        let path = new_path(place);
        let content = place.content(3000);
        place.workspace.write(&path, &content);
        place.put_remote(&path, &content);
        place.expected.files.insert(path, content);
    }
    for _ in 0..2 {
        let path = new_path(place);
        differ(place, &path);
    }
    put_here(place, 9 * MIB);
    put_there(place, 9 * MIB);
}

/// A round: files added, replaced, deleted and renamed on either side, and on both.
pub fn work(place: &mut Place) {
    place.expected.touched.clear();
    for _ in 0..place.rng.random_range(2..5) {
        put_here(place, 3000);
        put_there(place, 3000);
    }
    for _ in 0..3 {
        edit_here(place);
        edit_there(place);
    }
    for _ in 0..2 {
        delete_here(place);
        delete_there(place);
        rename_here(place);
        rename_there(place);
    }
    if let Some(path) = some_file(place) {
        differ(place, &path);
    }
    change_wins(place);
    if place.rng.random_ratio(1, 3) {
        put_here(place, 9 * MIB);
        put_there(place, 9 * MIB);
    }
}

/// What happens after a kill: the next run meets half of the old work and the new.
pub fn more_work(place: &mut Place) {
    put_here(place, 3000);
    put_there(place, 3000);
    edit_here(place);
    edit_there(place);
    delete_here(place);
    delete_there(place);
}

/// Both sides hold what they should, and nothing that gave way is lost.
pub fn check(place: &Place, local: &Files, remote: &Files, what: &str) {
    let expected: Vec<_> = place.expected.files.iter().collect();
    for (side, files) in [("the workspace", local), ("the remote", remote)] {
        let content = files.iter().filter(|(path, _)| !path.starts_with(".ows/"));
        let content: Vec<_> = content.collect();
        assert_same(&content, &expected, &format!("{what}: {side}"));
    }
    assert_held(remote, ".ows/trash/", &place.expected.displaced, what);
    assert_held(local, ".ows/trash/", &place.expected.displaced_here, what);
}

fn new_path(place: &mut Place) -> String {
    let path = place.fresh_path();
    place.expected.touched.insert(path.clone());
    path
}

fn new_content(place: &mut Place, size: usize) -> Vec<u8> {
    if size > MIB {
        place.large(size)
    } else {
        place.content(size)
    }
}

/// A small file that both sides know and nobody has touched in this round.
fn some_file(place: &mut Place) -> Option<String> {
    let expected = &place.expected;
    let free = expected.files.iter().filter(|(path, content)| {
        content.len() < MIB && !expected.touched.contains(*path) && !path.contains(".conflict")
    });
    let free: Vec<String> = free.map(|(path, _)| path.clone()).collect();
    let path = free.choose(&mut place.rng)?.clone();
    place.expected.touched.insert(path.clone());
    Some(path)
}

fn put_here(place: &mut Place, size: usize) {
    let path = new_path(place);
    let content = new_content(place, size);
    place.workspace.write(&path, &content);
    place.expected.files.insert(path, content);
}

fn put_there(place: &mut Place, size: usize) {
    let path = new_path(place);
    let content = new_content(place, size);
    place.put_remote(&path, &content);
    place.expected.files.insert(path, content);
}

fn edit_here(place: &mut Place) {
    if let Some(path) = some_file(place) {
        let content = place.content(3000);
        place.workspace.write(&path, &content);
        place.expected.files.insert(path, content);
    }
}

fn edit_there(place: &mut Place) {
    if let Some(path) = some_file(place) {
        let content = place.content(3000);
        place.put_remote(&path, &content);
        place.expected.files.insert(path, content);
    }
}

fn delete_here(place: &mut Place) {
    if let Some(path) = some_file(place) {
        place.workspace.remove(&path);
        let content = place.expected.files.remove(&path).expect("it is there");
        place.expected.displaced.insert(digest(&content));
    }
}

fn delete_there(place: &mut Place) {
    if let Some(path) = some_file(place) {
        place.delete_remote(&path);
        let content = place.expected.files.remove(&path).expect("it is there");
        place.expected.displaced_here.insert(digest(&content));
    }
}

/// Small files that both sides hold.
pub fn small_files(place: &mut Place, count: usize) {
    for _ in 0..count {
        put_here(place, 300);
    }
}

/// Every file gets another name in the remote.
pub fn rename_all_there(place: &mut Place) {
    place.expected.touched.clear();
    for _ in 0..place.expected.files.len() {
        rename_there(place);
    }
}

/// A conflict that was kept twice. The remote's has the name; the answer is that name, and the other content.
pub fn conflict(place: &mut Place) -> (String, Vec<u8>) {
    let path = new_path(place);
    differ(place, &path);
    place.finish();
    let copy = format!("{path}.conflict");
    let here = place.expected.files.remove(&copy);
    (path, here.expect("it was kept"))
}

fn rename_here(place: &mut Place) {
    if let Some(from) = some_file(place) {
        let to = new_path(place);
        place.workspace.rename(&from, &to);
        let content = place.expected.files.remove(&from).expect("it is there");
        place.expected.files.insert(to, content);
    }
}

fn rename_there(place: &mut Place) {
    if let Some(from) = some_file(place) {
        let to = new_path(place);
        let content = place.expected.files.remove(&from).expect("it is there");
        place.delete_remote(&from);
        place.put_remote(&to, &content);
        place.expected.files.insert(to, content);
    }
}

/// Written on both sides. The remote's keeps the name, as the configuration says.
fn differ(place: &mut Place, path: &str) {
    let (here, there) = (place.content(2000), place.content(2000));
    place.workspace.write(path, &here);
    place.put_remote(path, &there);
    let is_free = |copy: &String| !place.expected.files.contains_key(copy);
    let mut names = (1..).map(|number: u32| match number {
        1 => format!("{path}.conflict"),
        _ => format!("{path}.conflict{number}"),
    });
    let copy = names.find(is_free).expect("numbers do not end");
    place.expected.files.insert(path.to_owned(), there);
    place.expected.files.insert(copy, here);
}

/// Deleted on one side and changed on the other.
fn change_wins(place: &mut Place) {
    if let Some(path) = some_file(place) {
        let content = place.content(2000);
        place.workspace.remove(&path);
        place.put_remote(&path, &content);
        place.expected.files.insert(path, content);
    }
    if let Some(path) = some_file(place) {
        let content = place.content(2000);
        place.delete_remote(&path);
        place.workspace.write(&path, &content);
        place.expected.files.insert(path, content);
    }
}
