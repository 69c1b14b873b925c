//! What verify proves, and what it says.

use std::sync::Arc;

use ows::backup::catalog::Catalog;
use ows::backup::contents::ls;
use ows::backup::drill::drill;
use ows::backup::name::Part;
use ows::backup::proving::{drill_command, restore_command, strongest, verify_command};
use ows::backup::seal::Seal;
use ows::backup::source::Which;
use ows::backup::verify::{Level, Subject, Verified, verify};
use ows::cancel::Cancel;
use ows::config::Encryption;
use ows::error::Outcome;
use ows::report::Silent;
use ows::state::{BackupProof, State};
use ows_providers::layers::Fault;
use ows_providers::{ErrorKind, Operation};

use super::archives::{Body, Key, Made, Members, Reader, make, members, name, told};
use super::store::{at, snapshot};

fn sealed(members: Members) -> (Reader, Made) {
    let key = Key::new();
    let reader = Reader::with_key(&key);
    let made = make(name(), &key.seal, &[members]);
    reader.put(&made);
    (reader, made)
}

async fn look(reader: &Reader, subject: Subject, level: Level) -> Outcome<Vec<Verified>> {
    let catalog = reader.catalog().await;
    reader.counter.reset();
    verify(
        &reader.settings,
        &catalog,
        &subject,
        level,
        Arc::new(Silent),
        &Cancel::new(),
    )
    .await
}

async fn latest(reader: &Reader, level: Level) -> Verified {
    let mut all = look(reader, Subject::One(Which::Latest), level)
        .await
        .unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_level_proves_what_it_says() {
    let (reader, _) = sealed(members());
    for (level, gets) in [(Level::List, 0), (Level::Hash, 2), (Level::Read, 2)] {
        let verified = latest(&reader, level).await;
        assert!(verified.is_whole(), "{:?}", verified.bad);
        assert_eq!(verified.proven, Some(level));
        assert_eq!(
            reader.counter.counts().of(Operation::Get),
            gets,
            "{level:?}"
        );
        assert_eq!(verified.files, if level == Level::Read { 6 } else { 0 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hashing_needs_no_key_and_reading_says_what_it_lacks() {
    let (mut reader, _) = sealed(members());
    reader.settings.identities.clear();
    assert_eq!(latest(&reader, Level::Hash).await.proven, Some(Level::Hash));
    let failure = look(&reader, Subject::One(Which::Latest), Level::Read)
        .await
        .unwrap_err();
    assert_eq!(failure.kind.exit_code(), 2);
    assert!(
        told(&failure).contains("no identity is configured"),
        "{}",
        told(&failure)
    );
    assert!(
        told(&failure).contains("backup.identities"),
        "{}",
        told(&failure)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_passphrase_accuses_nobody_but_the_passphrase() {
    let mut reader = Reader::new();
    let right = Encryption::Passphrase("correct horse battery staple".into());
    let seal = Seal::new(&right).unwrap();
    let made = make(name(), &seal, &[members()]);
    reader.put(&made);
    reader.settings.encryption = Encryption::Passphrase("wrong".into());
    let read = async |reader: &Reader, subject| look(reader, subject, Level::Read).await;
    let failure = read(&reader, Subject::One(Which::Latest))
        .await
        .unwrap_err();
    assert_eq!(failure.kind.exit_code(), 2, "{}", told(&failure));
    assert!(
        told(&failure).contains("backup.passphrase"),
        "{}",
        told(&failure)
    );
    let failure = read(&reader, Subject::All).await.unwrap_err();
    assert_eq!(failure.kind.exit_code(), 2, "{}", told(&failure));
    assert!(
        told(&failure).contains("backup.passphrase"),
        "{}",
        told(&failure)
    );
    // Without an index the data says the same.
    reader.store.remove(&made.manifest.index.name);
    let failure = read(&reader, Subject::One(Which::Latest))
        .await
        .unwrap_err();
    assert_eq!(failure.kind.exit_code(), 2, "{}", told(&failure));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_opens_a_single_one_reading_all_says_why() {
    let (mut reader, _) = sealed(members());
    reader.settings.identities.clear();
    let read = async |reader: &Reader| look(reader, Subject::All, Level::Read).await;
    let failure = read(&reader).await.unwrap_err();
    assert_eq!(failure.kind.exit_code(), 2, "{}", told(&failure));
    assert!(
        told(&failure).contains("no identity is configured"),
        "{}",
        told(&failure)
    );
    let gets = reader.counter.counts().of(Operation::Get);
    assert_eq!(gets, 0, "nothing is downloaded for that");
    // A slip of the pen is told also where nothing is sealed.
    reader.settings.identities = vec![reader.place.path().join("kye.txt")];
    let plain = make(snapshot("2026-01-30T00:00:00Z"), &Seal::Plain, &[members()]);
    reader.put(&plain);
    let failure = read(&reader).await.unwrap_err();
    assert_eq!(failure.kind.exit_code(), 2, "{}", told(&failure));
    assert!(told(&failure).contains("kye.txt"), "{}", told(&failure));
    // One that opens is enough to go on.
    reader.settings.identities = Vec::new();
    let all = read(&reader).await.unwrap();
    let proven: Vec<_> = all.iter().map(|one| one.proven).collect();
    assert_eq!(proven, [Some(Level::Hash), Some(Level::Read)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_snapshot_and_a_wrong_passphrase_are_told_apart_from_damage() {
    let mut reader = Reader::new();
    let object = include_bytes!("../../fixtures/backup/backup-20260131T235959Z.tar.gz.enc");
    let legacy = "backup-20260131T235959Z.tar.gz.enc";
    reader.store.insert(legacy, object);
    reader.settings.encryption = Encryption::Passphrase("wrong".into());
    let subject = Subject::One(Which::Name(legacy.to_owned()));
    let failure = look(&reader, subject, Level::Read).await.unwrap_err();
    assert_eq!(failure.kind.exit_code(), 2, "{}", told(&failure));
}

/// age tells a damaged head from another key by nothing; the manifest's hash does.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_head_is_damage_and_no_wrong_key() {
    let (reader, made) = sealed(members());
    for name in made.objects.keys().filter(|name| name.ends_with(".age")) {
        let mut damaged = made.objects[name].clone();
        // Within the stanza of the recipient.
        damaged[100] = if damaged[100] == b'A' { b'B' } else { b'A' };
        reader.store.insert(name, &damaged);
    }
    let verified = latest(&reader, Level::Read).await;
    assert!(!verified.is_whole());
    let said = format!("{:?}", verified.bad);
    assert!(said.contains("does not open"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_at_the_level_that_looks() {
    let (reader, made) = sealed(members());
    let data = &made.manifest.volumes[0].object.name;
    let mut damaged = made.objects[data].clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    reader.store.insert(data, &damaged);
    assert!(latest(&reader, Level::List).await.is_whole());
    for level in [Level::Hash, Level::Read] {
        let verified = latest(&reader, level).await;
        assert_eq!(verified.proven, None);
        assert!(
            verified
                .bad
                .iter()
                .any(|bad| bad.path.contains(data.as_str())),
            "{:?}",
            verified.bad
        );
    }
    let read = latest(&reader, Level::Read).await;
    let said = format!("{:?}", read.bad);
    assert!(said.contains("files before that are good"), "{said}");
    assert!(
        said.contains("lies behind the damage and could not be looked at"),
        "{said}"
    );
    reader.store.remove(data);
    let verified = latest(&reader, Level::List).await;
    assert_eq!(verified.bad[0].message, "it is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_proven_is_recorded_and_taken_back() {
    let (reader, made) = sealed(members());
    let state = State::open(&reader.settings.own_dir).await.unwrap();
    let catalog = reader.catalog().await;
    let proven = async || {
        let proofs = state.backup_proofs(&catalog.remote.id).await.unwrap();
        proofs
            .into_iter()
            .map(|proof| proof.level)
            .collect::<Vec<_>>()
    };
    let command = async |level| {
        let subject = Subject::One(Which::Latest);
        let (reporter, cancel) = (Arc::new(Silent), Cancel::new());
        let finished =
            verify_command(&reader.settings, subject, Some(level), reporter, cancel).await;
        finished
            .failure
            .map_or(0, |failure| failure.kind.exit_code())
    };
    assert_eq!(command(Level::Read).await, 0);
    assert_eq!(proven().await, ["read"]);
    // That the storage could not be asked, or that the key is away, says nothing about the snapshot.
    let data = &made.manifest.volumes[0].object.name;
    let unreachable = Fault::on(Operation::Get).at(data);
    reader.faults.add(unreachable.before(ErrorKind::Permanent));
    assert_ne!(command(Level::Hash).await, 0);
    assert_eq!(proven().await, ["read"]);
    reader.store.remove(&made.manifest.index.name);
    assert_eq!(command(Level::List).await, 3);
    assert_eq!(proven().await, [""; 0]);
}

/// What this host has read of a manifest before proves nothing about what is stored now.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_read_before_is_read_again() {
    let (reader, made) = sealed(members());
    let state = State::open(&reader.settings.own_dir).await.unwrap();
    let remote = reader.catalog().await.remote.id;
    let manifest = name().object(Part::Manifest);
    let good = made.objects[&manifest].clone();
    let mut rotten = good.clone();
    rotten[20] ^= 1;
    reader.store.insert(&manifest, &rotten);
    let version = reader.store.entry(&manifest).unwrap().version.unwrap();
    state
        .record_backup_manifests(
            &remote,
            &[(manifest.clone(), version, good)],
            std::slice::from_ref(&manifest),
        )
        .await
        .unwrap();
    let cached = Catalog::read(&*reader.settings.provider, Some(&state)).await;
    assert_eq!(cached.unwrap().snapshots.len(), 1, "it is taken as it was");
    for subject in [Subject::All, Subject::One(Which::Latest)] {
        for level in [Level::List, Level::Read] {
            let (reporter, cancel) = (Arc::new(Silent), Cancel::new());
            let subject = subject.clone();
            let finished =
                verify_command(&reader.settings, subject, Some(level), reporter, cancel).await;
            assert!(finished.failure.is_some(), "{level:?}");
        }
    }
    let drilled = drill_command(&reader.settings, Arc::new(Silent), Cancel::new()).await;
    assert!(drilled.failure.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_finds_damage_takes_the_proof_back() {
    let (reader, made) = sealed(members());
    let levels = async || {
        let state = State::open(&reader.settings.own_dir).await.unwrap();
        let remote = reader.catalog().await.remote.id;
        let proofs = state.backup_proofs(&remote).await.unwrap();
        state.close().await;
        let levels = proofs.into_iter().map(|proof| proof.level);
        levels.collect::<Vec<_>>()
    };
    let restore = async |only: &[&str]| {
        let mut options = reader.options(only);
        options.overwrite = true;
        let (reporter, cancel) = (Arc::new(Silent), Cancel::new());
        let finished = restore_command(&reader.settings, options, reporter, cancel).await;
        (finished.failure).map_or(0, |failure| failure.kind.exit_code())
    };
    assert_eq!(restore(&[]).await, 0);
    assert_eq!(levels().await, ["read"]);
    // A path that never was there is no damage.
    assert_eq!(restore(&["workspace/a.md", "workspace/no"]).await, 3);
    assert_eq!(levels().await, ["read"]);
    let data = &made.manifest.volumes[0].object.name;
    let mut damaged = made.objects[data].clone();
    let end = damaged.len() - 5;
    damaged[end] ^= 1;
    reader.store.insert(data, &damaged);
    assert_eq!(restore(&[]).await, 3);
    assert_eq!(levels().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_gone_is_damage_though_all_comes_back() {
    let (reader, made) = sealed(members());
    let command = async |what: &str| {
        let (reporter, cancel) = (Arc::new(Silent), Cancel::new());
        if what == "verify" {
            let one = Subject::One(Which::Latest);
            let level = Some(Level::Read);
            let finished = verify_command(&reader.settings, one, level, reporter, cancel).await;
            return finished.failure.is_none();
        }
        let options = reader.options(&[]);
        let finished = restore_command(&reader.settings, options, reporter, cancel).await;
        finished.failure.is_none()
    };
    assert!(command("verify").await);
    reader.store.remove(&made.manifest.index.name);
    assert!(command("restore").await, "nothing is missing");
    let state = State::open(&reader.settings.own_dir).await.unwrap();
    let remote = reader.catalog().await.remote.id;
    assert_eq!(state.backup_proofs(&remote).await.unwrap(), []);
}

/// A backup that nothing can be restored from must not hide behind one that can.
#[tokio::test(flavor = "multi_thread")]
async fn that_the_latest_is_not_the_newest_is_told_by_each_command() {
    let (reader, made) = sealed(members());
    let broken = snapshot("2026-02-01T08:00:00Z");
    reader.store.insert(&broken.object(Part::Manifest), b"{}");
    let key = reader_seal(&reader);
    let future = snapshot("2199-01-01T00:00:00Z");
    reader.put(&make(future, &key, &[members()]));
    let catalog = reader.catalog().await;
    let (settings, cancel) = (&reader.settings, Cancel::new());
    let mut dry = reader.options(&[]);
    dry.dry_run = true;
    let listed = ls(
        settings,
        &catalog,
        &Which::Latest,
        None,
        |_| {},
        Arc::new(Silent),
        &cancel,
    )
    .await
    .unwrap();
    let drilled = drill(
        settings,
        &catalog,
        &Which::Latest,
        Arc::new(Silent),
        &cancel,
    )
    .await;
    let all = [
        ("ls", listed.warnings),
        ("drill", drilled.unwrap().restored.warnings),
        ("verify", latest(&reader, Level::List).await.warnings),
        ("rehearsal", reader.restore(dry).await.unwrap().warnings),
        (
            "restore",
            reader.restore(reader.options(&[])).await.unwrap().warnings,
        ),
    ];
    for (command, warnings) in all {
        let told = |text: &str| warnings.iter().filter(|line| line.contains(text)).count();
        assert_eq!(told("lies in the future"), 1, "{command}: {warnings:?}");
        let newer = format!("`{broken}` is newer and cannot be used");
        assert_eq!(told(&newer), 1, "{command}: {warnings:?}");
    }
    // By its name it is what was asked for.
    let one = Subject::One(Which::Name(made.manifest.snapshot.to_string()));
    let verified = look(&reader, one, Level::List).await.unwrap();
    assert_eq!(verified[0].warnings, [""; 0]);
}

#[test]
fn a_newer_proof_that_says_less_hides_none_that_says_more() {
    let best = |levels: &[&str]| {
        let proof = |(level, day): (&&str, i32)| BackupProof {
            snapshot: format!("day {day}"),
            level: (*level).to_owned(),
            proven_at: at(&format!("2026-02-0{day}T00:00:00Z")),
        };
        strongest(levels.iter().zip(1..).map(proof)).map(|proof| proof.snapshot)
    };
    assert_eq!(best(&["drill", "hash", "list"]).unwrap(), "day 1");
    assert_eq!(best(&["list", "hash", "list"]).unwrap(), "day 2");
    assert_eq!(best(&["list", "list"]), None, "nothing of what is in them");
    assert_eq!(best(&["drill", "read", "hash"]).unwrap(), "day 2");
    assert_eq!(best(&["hash", "drill", "whatever"]).unwrap(), "day 2");
    assert_eq!(best(&[]), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_lies_is_found_by_reading() {
    let (reader, made) = sealed(members());
    // The same paths with another content: what an index of another moment looks like.
    let mut others = members();
    others[1].1 = Body::File(b"other".to_vec());
    let other = make(name(), &reader_seal(&reader), &[others]);
    let index = name().object(Part::Index { encrypted: true });
    reader.store.insert(&index, &other.objects[&index]);
    let verified = latest(&reader, Level::Read).await;
    assert_eq!(verified.proven, None);
    let said = format!("{:?}", verified.bad);
    assert!(
        said.contains("its content is not what the index says"),
        "{said}"
    );
    assert!(
        said.contains("is not the object that the manifest names"),
        "{said}"
    );
    drop(made);
}

fn reader_seal(reader: &Reader) -> Seal {
    Seal::new(&reader.settings.encryption).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_them_are_looked_at_also_those_that_nothing_here_opens() {
    let (reader, _) = sealed(members());
    let stranger = snapshot("2026-01-30T00:00:00Z");
    reader.put(&make(stranger, &Key::new().seal, &[members()]));
    let broken = snapshot("2026-01-29T00:00:00Z").object(Part::Manifest);
    reader.store.insert(&broken, b"{}");
    reader
        .store
        .insert("backup-20260131T235959Z.tar.gz", b"no gzip");
    let all = look(&reader, Subject::All, Level::Read).await.unwrap();
    let proven: Vec<_> = all.iter().map(|one| one.proven).collect();
    assert_eq!(proven, [Some(Level::Read), Some(Level::Hash), None, None]);
    assert!(
        all[1]
            .warnings
            .concat()
            .contains("its content was not looked at"),
        "{:?}",
        all[1].warnings
    );
    assert!(
        all[3].bad[0].message.contains("manifest is damaged"),
        "{:?}",
        all[3].bad
    );
}
