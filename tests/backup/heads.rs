//! Damage in the first bytes of an object, where the keys stand: age takes it for another key. What can be read without that
//! object is read, and nobody is sent to look for a key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ows::backup::contents::{Listed, ls};
use ows::backup::drill::{Drilled, drill};
use ows::backup::entry::EntryKind;
use ows::backup::seal::Seal;
use ows::backup::source::Which;
use ows::cancel::Cancel;
use ows::config::Encryption;
use ows::error::Outcome;
use ows::report::Silent;

use super::archives::{
    Body, Key, Made, Members, Reader, expected, make, members, name, noise, told,
};

/// In the magic, in the kind of the stanza, in its share, in its body.
const PLACES: [usize; 4] = [5, 27, 40, 100];

fn sealed(volumes: &[Members]) -> (Reader, Made) {
    let key = Key::new();
    let reader = Reader::with_key(&key);
    let made = make(name(), &key.seal, volumes);
    reader.put(&made);
    (reader, made)
}

/// Changes one byte of an object into one that may stand there.
fn change(reader: &Reader, made: &Made, object: &str, at: usize) {
    let mut damaged = made.objects[object].clone();
    damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
    reader.store.insert(object, &damaged);
}

async fn list(reader: &Reader) -> (Vec<(String, EntryKind)>, Outcome<Listed>) {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&shown);
    let listed = ls(
        &reader.settings,
        &reader.catalog().await,
        &Which::Latest,
        None,
        move |entry| {
            let entry = (entry.path.to_string(), entry.kind.clone());
            sink.lock().unwrap().push(entry);
        },
        Arc::new(Silent),
        &Cancel::new(),
    )
    .await;
    let shown = std::mem::take(&mut *shown.lock().unwrap());
    (shown, listed)
}

async fn practise(reader: &Reader) -> Outcome<Drilled> {
    drill(
        &reader.settings,
        &reader.catalog().await,
        &Which::Latest,
        Arc::new(Silent),
        &Cancel::new(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_head_of_its_index_all_of_a_snapshot_comes_back() {
    let (reader, made) = sealed(&[members()]);
    let (right, _) = list(&reader).await;
    for at in PLACES {
        change(&reader, &made, &made.manifest.index.name, at);
        let restored = reader.restore(reader.options(&[])).await.unwrap();
        assert!(restored.is_whole(), "{at}: {:?}", restored.done.bad);
        assert_eq!(reader.found(), expected(&members()), "{at}");
        let said = restored.warnings.join("\n");
        assert!(said.contains("nothing vouches for single files"), "{said}");
        assert!(!said.contains("other keys"), "{said}");
        std::fs::remove_dir_all(reader.target()).unwrap();

        let mut rehearsal = reader.options(&[]);
        rehearsal.dry_run = true;
        let rehearsed = reader.restore(rehearsal).await.unwrap();
        assert_eq!(rehearsed.done.files, restored.done.files, "{at}");
        let (shown, listed) = list(&reader).await;
        let said = listed.unwrap().warnings.concat();
        assert!(said.contains("the data itself is read"), "{said}");
        assert_eq!(shown, right, "{at}");
        let drilled = practise(&reader).await.unwrap();
        assert_eq!(drilled.done().files, restored.done.files, "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_volumes_behind_one_without_its_head_come_back() {
    let second: Members = vec![("workspace/later", Body::File(noise(3, 100_000)))];
    let (reader, made) = sealed(&[members(), second.clone()]);
    let first = &made.manifest.volumes[0].object.name;
    for at in PLACES {
        for has_index in [true, false] {
            change(&reader, &made, first, at);
            if !has_index {
                reader.store.remove(&made.manifest.index.name);
            }
            let restored = reader.restore(reader.options(&[])).await.unwrap();
            let mut found = reader.found();
            assert!(found.remove(".ows-partial").is_some(), "it is marked");
            assert_eq!(found["workspace/later"], noise(3, 100_000), "{at}");
            let all: BTreeMap<_, _> = expected(&members());
            assert!(found.iter().all(|(path, content)| {
                path == "workspace/later" || all.get(path) == Some(content)
            }));
            let said = format!("{:?}", restored.done.bad);
            assert!(said.contains(first.as_str()), "{said}");
            assert!(!said.contains("other keys"), "{said}");
            std::fs::remove_dir_all(reader.target()).unwrap();
            if has_index {
                continue;
            }
            let mut rehearsal = reader.options(&[]);
            rehearsal.dry_run = true;
            let rehearsed = reader.restore(rehearsal).await.unwrap();
            assert_eq!(rehearsed.done.files, 1, "{at}");
            assert_eq!(rehearsed.done.bad[0].path, *first);
            let (shown, listed) = list(&reader).await;
            assert_eq!(shown.len(), 1, "{shown:?}");
            let failure = listed.unwrap_err();
            assert_eq!(failure.kind.exit_code(), 1, "{}", told(&failure));
        }
        reader.put(&made);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_only_volume_has_no_head_is_damaged_and_wants_no_key() {
    let files: Members = vec![
        ("workspace/a.md", Body::File(b"first".to_vec())),
        ("workspace/noise", Body::File(noise(1, 10_000))),
    ];
    let (reader, made) = sealed(&[files]);
    for at in PLACES {
        change(&reader, &made, &made.manifest.volumes[0].object.name, at);
        let restored = reader.restore(reader.options(&[])).await.unwrap();
        assert_eq!(restored.done.files, 0);
        let said = format!("{:?}", restored.done.bad);
        assert!(said.contains("does not open"), "{said}");
        assert!(!said.contains("other keys"), "{said}");
        assert!(
            restored
                .done
                .bad
                .iter()
                .any(|bad| bad.path == "workspace/a.md"),
            "{said}"
        );
        assert!(!reader.target().exists(), "nothing was put there");
        assert!(practise(&reader).await.unwrap().done().bad_count > 0);
        // The index tells what was in it.
        assert_eq!(list(&reader).await.0.len(), 2);
    }
}

/// What does not open is asked once, however many files lie in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_without_its_head_is_not_asked_for_each_of_its_files() {
    let many: Members = (0..300)
        .map(|number| {
            let path: &str = Box::leak(format!("workspace/{number:03}").into_boxed_str());
            (path, Body::File(noise(number, 20_000)))
        })
        .collect();
    let (reader, made) = sealed(&[many]);
    change(&reader, &made, &made.manifest.volumes[0].object.name, 100);
    reader.catalog().await;
    reader.counter.reset();
    let restored = reader.restore(reader.options(&[])).await.unwrap();
    assert!(restored.done.bad_count >= 300);
    let gets = reader.counter.counts().of(ows_providers::Operation::Get);
    assert!(gets < 20, "{gets}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_goes_on_in_the_data_where_the_index_breaks_off() {
    let many: Members = (0..3000)
        .map(|number| {
            let path: &str = Box::leak(format!("workspace/{number:04}").into_boxed_str());
            (path, Body::File(noise(number, 10)))
        })
        .collect();
    let (reader, made) = sealed(std::slice::from_ref(&many));
    let (right, _) = list(&reader).await;
    assert_eq!(right.len(), many.len());
    let index = &made.manifest.index.name;
    let mut damaged = made.objects[index].clone();
    let end = damaged.len() - 10;
    damaged[end] ^= 1;
    reader.store.insert(index, &damaged);
    let (shown, listed) = list(&reader).await;
    let said = listed.unwrap().warnings.concat();
    assert!(said.contains("the data itself is read"), "{said}");
    assert!(shown == right, "{} paths", shown.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_passphrase_is_still_one_and_restores_nothing() {
    let mut reader = Reader::new();
    let right = Encryption::Passphrase("correct horse battery staple".into());
    let made = make(name(), &Seal::new(&right).unwrap(), &[members()]);
    reader.put(&made);
    reader.settings.encryption = Encryption::Passphrase("wrong".into());
    let index = &made.manifest.index.name;
    for has_index in [true, false] {
        if !has_index {
            change(&reader, &made, index, 100);
        }
        let mut failures = vec![reader.restore(reader.options(&[])).await.unwrap_err()];
        if has_index {
            let mut rehearsal = reader.options(&[]);
            rehearsal.dry_run = true;
            failures.push(reader.restore(rehearsal).await.unwrap_err());
            failures.push(list(&reader).await.1.unwrap_err());
            failures.push(practise(&reader).await.unwrap_err());
        }
        for failure in failures {
            assert_eq!(failure.kind.exit_code(), 2, "{}", told(&failure));
            assert!(
                told(&failure).contains("backup.passphrase"),
                "{}",
                told(&failure)
            );
        }
        assert!(!reader.target().exists());
    }
}
