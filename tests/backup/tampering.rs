//! Whoever runs the storage changes what lies there: never is a wrong file restored as a right one, and what is said names
//! what is damaged.

use std::collections::BTreeMap;

use ows::backup::entry::Digest;
use ows::backup::manifest::Manifest;
use ows::backup::name::Part;
use ows::backup::restore::Restored;
use ows::backup::seal::Seal;
use ows::error::Outcome;
use ows_testkit::random::Seed;
use rand::RngExt as _;

use super::archives::{
    Body, Key, Made, Members, Reader, expected, make, name, noise, stored_as, told,
};
use super::store::snapshot;

/// Chunks of age hold so much, and 16 bytes more when sealed.
const CHUNK: usize = 65_552;

fn small() -> Members {
    vec![
        ("workspace", Body::Dir),
        ("workspace/a.md", Body::File(b"first\n".repeat(40))),
        ("workspace/noise", Body::File(noise(7, 3000))),
        ("workspace/link", Body::Symlink("a.md")),
        ("workspace/second", Body::HardLink("workspace/a.md")),
        ("openclaw.json", Body::File(b"{ agents: {} }".to_vec())),
    ]
}

fn data(encrypted: bool) -> String {
    name().object(Part::Data {
        volume: None,
        encrypted,
    })
}

/// A snapshot, whoever reads it, and what it holds.
struct Case {
    reader: Reader,
    made: Made,
    right: BTreeMap<String, Vec<u8>>,
}

impl Case {
    fn new(key: &Key, encrypted: bool, members: Members) -> Self {
        let mut reader = Reader::new();
        let seal = match encrypted {
            true => key.seal.clone(),
            false => Seal::Plain,
        };
        if encrypted {
            reader.give(key);
        }
        let made = make(name(), &seal, std::slice::from_ref(&members));
        reader.put(&made);
        let right = expected(&members);
        Self {
            reader,
            made,
            right,
        }
    }

    /// Restores, and checks that each file that came is a right one or was reported; gives the report.
    async fn check(&self, only: &[&str], what: &str) -> Outcome<Restored> {
        let result = self.reader.restore(self.reader.options(only)).await;
        let found = match self.reader.target().exists() {
            true => self.reader.found(),
            false => BTreeMap::new(),
        };
        let partial = found.contains_key(".ows-partial");
        let whole = matches!(&result, Ok(restored) if restored.is_whole());
        for (path, content) in &found {
            if path == ".ows-partial" {
                continue;
            }
            assert!(
                !whole || self.right.get(path) == Some(content),
                "{what}: `{path}` is wrong, and nobody said so"
            );
        }
        if whole && only.is_empty() {
            assert_eq!(
                found.len(),
                self.right.len(),
                "{what}: something is missing"
            );
        }
        assert!(
            whole || partial || found.is_empty(),
            "{what}: not marked as partial"
        );
        match &result {
            Ok(restored) if !whole => {
                assert!(
                    restored.done.bad.iter().all(|bad| !bad.message.is_empty()),
                    "{what}"
                );
            }
            Err(failure) => assert!(failure.hint.is_some(), "{what}: {}", told(failure)),
            Ok(_) => {}
        }
        if self.reader.target().exists() {
            std::fs::remove_dir_all(self.reader.target()).unwrap();
        }
        result
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_bit_is_restored_as_something_else() {
    let seed = Seed::new();
    let mut rng = seed.rng();
    let key = Key::new();
    for encrypted in [true, false] {
        let case = Case::new(&key, encrypted, small());
        let names: Vec<_> = case.made.objects.keys().cloned().collect();
        let mut noticed = 0;
        for _ in 0..250 {
            let object = &names[rng.random_range(0..names.len())];
            let mut damaged = case.made.objects[object].clone();
            let bit = rng.random_range(0..damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            case.reader.store.insert(object, &damaged);
            let what = format!("bit {bit} of `{object}` ({seed:?})");
            let result = case.check(&[], &what).await;
            let whole = matches!(&result, Ok(restored) if restored.is_whole());
            noticed += u64::from(!whole);
            if object.contains(".tar.gz") {
                assert!(!whole, "{what} was not noticed");
            }
            case.reader.store.insert(object, &case.made.objects[object]);
        }
        assert!(noticed > 50, "the bits were flipped somewhere else");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_truncation_is_restored_as_whole() {
    let seed = Seed::new();
    let mut rng = seed.rng();
    let key = Key::new();
    for encrypted in [true, false] {
        let case = Case::new(&key, encrypted, small());
        let names: Vec<_> = case.made.objects.keys().cloned().collect();
        for _ in 0..100 {
            let object = &names[rng.random_range(0..names.len())];
            let whole = &case.made.objects[object];
            let length = rng.random_range(0..whole.len());
            case.reader.store.insert(object, &whole[..length]);
            let what = format!("`{object}` cut off at {length} ({seed:?})");
            let result = case.check(&[], &what).await;
            // Without its index a snapshot restores, with a warning; the manifest ends with an empty line.
            match result {
                Ok(restored) if object.contains(".index") => {
                    assert!(
                        !restored.warnings.is_empty() || !restored.is_whole(),
                        "{what}"
                    );
                }
                Ok(_) if object.contains(".manifest") => assert!(length + 1 == whole.len()),
                Ok(restored) => assert!(!restored.is_whole(), "{what}"),
                Err(_) => {}
            }
            case.reader.store.insert(object, whole);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_before_the_damage_and_in_other_volumes_comes_back() {
    let key = Key::new();
    let first: Members = vec![
        ("workspace/before", Body::File(noise(1, 100_000))),
        ("workspace/damaged", Body::File(noise(2, 200_000))),
        ("workspace/behind", Body::File(noise(3, 100_000))),
    ];
    let second: Members = vec![("workspace/other", Body::File(noise(4, 50_000)))];
    let reader = Reader::with_key(&key);
    let made = make(name(), &key.seal, &[first.clone(), second.clone()]);
    reader.put(&made);
    let object = &made.manifest.volumes[0].object.name;
    let mut damaged = made.objects[object].clone();
    damaged[200_000] ^= 1;
    reader.store.insert(object, &damaged);
    let restored = reader.restore(reader.options(&[])).await.unwrap();
    let all: BTreeMap<_, _> = expected(&first.into_iter().chain(second).collect());
    let found = reader.found();
    for path in ["workspace/before", "workspace/other"] {
        assert_eq!(found[path], all[path], "{path}");
    }
    // That one stands in the same block as the damage.
    assert_eq!(found.len(), 3, "these two and the mark");
    assert_eq!(restored.done.unproven, 0, "the index was found again");
    let told: Vec<_> = restored
        .done
        .bad
        .iter()
        .map(|bad| format!("{}: {}", bad.path, bad.message))
        .collect();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert_eq!(
        told[0],
        "workspace/damaged: it lies in the damage; it was not kept"
    );
    assert!(
        told[1].starts_with(&format!(
            "{object}: nothing behind `workspace/damaged` could be restored"
        )) && told[1].contains("it is damaged: what it holds at byte"),
        "{}",
        told[1]
    );
    assert!(
        told[2].starts_with("workspace/behind: it is damaged: what it holds at byte"),
        "{}",
        told[2]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_behind_the_damage_in_blocks_that_are_whole_comes_back() {
    let key = Key::new();
    let members: Members = vec![
        ("workspace/before", Body::File(noise(1, 1000))),
        ("workspace/damaged", Body::File(noise(2, 2_500_000))),
        ("workspace/deep", Body::Dir),
        ("workspace/deep/behind", Body::File(noise(3, 2_000_000))),
        ("workspace/deep/link", Body::HardLink("workspace/before")),
        ("workspace/deep/empty", Body::File(Vec::new())),
    ];
    for encrypted in [true, false] {
        let case = Case::new(&key, encrypted, members.clone());
        let mut damaged = case.made.objects[&data(encrypted)].clone();
        damaged[900_000] ^= 1;
        case.reader.store.insert(&data(encrypted), &damaged);
        let restored = case.reader.restore(case.reader.options(&[])).await.unwrap();
        let mut found = case.reader.found();
        found.remove(".ows-partial").expect("it is marked");
        let mut right = case.right;
        right.remove("workspace/damaged");
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            right.keys().collect::<Vec<_>>()
        );
        assert!(found == right, "something is wrong");
        assert!(!restored.is_whole());
        assert!(
            restored
                .done
                .bad
                .iter()
                .any(|bad| bad.path == "workspace/damaged")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_behind_the_damage_can_still_be_fetched() {
    let key = Key::new();
    let members: Members = vec![
        ("workspace/damaged", Body::File(noise(2, 2_500_000))),
        ("workspace/behind", Body::File(noise(3, 5000))),
        ("workspace/rest", Body::File(noise(4, 3_000_000))),
    ];
    let case = Case::new(&key, true, members);
    let mut damaged = case.made.objects[&data(true)].clone();
    damaged[500_000] ^= 1;
    case.reader.store.insert(&data(true), &damaged);
    let restored = case.check(&["workspace/behind"], "behind").await.unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    let restored = case
        .check(&["workspace/behind", "workspace/damaged"], "both")
        .await
        .unwrap();
    assert_eq!(restored.done.bad.len(), 1, "{:?}", restored.done.bad);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_other_dates_are_told() {
    let key = Key::new();
    for encrypted in [true, false] {
        let case = Case::new(&key, encrypted, small());
        let mut older = small();
        older[1].1 = Body::File(b"as it was\n".repeat(24));
        let other = snapshot("2025-12-31T00:00:00Z");
        let seal = match encrypted {
            true => key.seal.clone(),
            false => Seal::Plain,
        };
        let old = make(other, &seal, std::slice::from_ref(&older));
        let named = |part: Part| (name().object(part), &old.objects[&other.object(part)]);
        let (data, old_data) = named(Part::Data {
            volume: None,
            encrypted,
        });
        let (index, old_index) = named(Part::Index { encrypted });

        case.reader.store.insert(&data, old_data);
        let restored = case.check(&[], "other data").await.unwrap();
        assert!(!restored.is_whole());
        // By ranges too: there the place and the hash are all that is looked at.
        let restored = case.check(&["workspace/a.md"], "other data").await.unwrap();
        assert!(!restored.is_whole());

        case.reader.store.insert(&index, old_index);
        let restored = case.check(&[], "other data and index").await.unwrap();
        assert!(!restored.is_whole());

        case.reader.store.insert(&data, &case.made.objects[&data]);
        let restored = case.check(&[], "other index").await.unwrap();
        let said = format!("{:?} {:?}", restored.warnings, restored.done.bad);
        assert!(said.contains("the index is that of"), "{said}");

        // Even a manifest that was made to fit does not make an old snapshot a new one unnoticed.
        let mut forged: Manifest = case.made.manifest.clone();
        forged.volumes[0].object = stored_as(&data, old_data);
        forged.index = stored_as(&index, old_index);
        case.reader.store.insert(&data, old_data);
        let manifest = name().object(Part::Manifest);
        case.reader
            .store
            .insert(&manifest, &forged.write().unwrap());
        let restored = case.check(&[], "a forged manifest").await.unwrap();
        assert!(!restored.is_whole(), "{:?}", restored.warnings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_are_moved_or_repeated_are_told() {
    let key = Key::new();
    let members: Members = vec![
        ("workspace/one", Body::File(noise(1, 150_000))),
        ("workspace/two", Body::File(noise(2, 150_000))),
    ];
    let case = Case::new(&key, true, members);
    let object = &case.made.objects[&data(true)];
    let find = |from: usize, what: &[u8]| {
        let found = object[from..]
            .windows(what.len())
            .position(|bytes| bytes == what);
        from + found.unwrap()
    };
    // Behind the line with the MAC comes a nonce of 16 bytes.
    let mac = find(0, b"\n--- ");
    let header = find(mac + 1, b"\n") + 1 + 16;
    let chunks: Vec<&[u8]> = object[header..].chunks(CHUNK).collect();
    assert!(chunks.len() >= 4, "{}", chunks.len());
    let last = chunks.len() - 1;
    for order in [
        vec![1, 0, 2, 3],
        vec![0, 0, 1, 2, 3],
        vec![0, 2, 1, 3],
        vec![0, 1, 3],
        vec![0, 1, 2],
        vec![0, 1, 2, 3, 3],
    ] {
        let mut other = object[..header].to_vec();
        for number in order.iter().chain((4..=last).collect::<Vec<_>>().iter()) {
            other.extend_from_slice(chunks[*number]);
        }
        // The manifest is made to fit: only age's own proof is left.
        let mut forged = case.made.manifest.clone();
        forged.volumes[0].object.size = other.len() as u64;
        forged.volumes[0].object.sha256 = Digest::of(&other);
        let manifest = name().object(Part::Manifest);
        case.reader
            .store
            .insert(&manifest, &forged.write().unwrap());
        case.reader.store.insert(&data(true), &other);
        let what = format!("chunks {order:?}");
        let restored = case.check(&[], &what).await.unwrap();
        assert!(!restored.is_whole(), "{what}");
        let said = format!("{:?}", restored.done.bad);
        assert!(
            said.contains("damaged") || said.contains("cut off"),
            "{what}: {said}"
        );
    }
}
