//! Restoring: all of it, some of it, over something, without an index, and what is said when it is not as it should be.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;

use ows::backup::contents::ls;
use ows::backup::entry::AskedPath;
use ows::backup::name::Part;
use ows::backup::seal::Seal;
use ows::backup::source::Which;
use ows::cancel::{Cancel, StopCause};
use ows::report::Silent;
use ows_providers::layers::Fault;
use ows_providers::{ErrorKind, Operation};

use super::archives::{
    Body, Key, Made, Members, Reader, expected, make, members, name, noise, told, tree,
};
use super::store::{TRANSIENT, snapshot};

fn data() -> String {
    name().object(Part::Data {
        volume: None,
        encrypted: true,
    })
}

fn index() -> String {
    name().object(Part::Index { encrypted: true })
}

fn sealed(volumes: &[Members]) -> (Reader, Made) {
    let key = Key::new();
    let reader = Reader::with_key(&key);
    let made = make(name(), &key.seal, volumes);
    reader.put(&made);
    (reader, made)
}

fn is_partial(reader: &Reader) -> bool {
    reader.target().join(".ows-partial").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_snapshot_comes_back_and_is_checked() {
    let (reader, _) = sealed(&[members()]);
    let restored = reader.restore(reader.options(&[])).await.unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    assert_eq!(reader.found(), expected(&members()));
    assert_eq!(restored.done.unproven, 0);
    assert_eq!(restored.done.files, 6);
    assert_eq!(
        restored.warnings,
        ["1 symbolic links point out of the target; nothing was written through them"]
    );
    assert_eq!(restored.replaced, None);
    let file = reader.target().join("workspace/deep/small");
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    assert_eq!(metadata.mtime(), 1_700_000_000);
    assert_eq!(
        reader.target().metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_target_it_goes_into_the_state_directory() {
    let (reader, _) = sealed(&[members()]);
    let mut options = reader.options(&[]);
    options.to = None;
    let restored = reader.restore(options).await.unwrap();
    let target = (reader.settings.state_dir).join(format!(".backup-restore/{}", name()));
    assert_eq!(restored.target, target);
    assert_eq!(tree(&target), expected(&members()));
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_restored_one_after_the_other() {
    let second: Members = vec![("workspace/later", Body::File(noise(3, 100_000)))];
    let (reader, made) = sealed(&[members(), second.clone()]);
    assert_eq!(made.manifest.volumes.len(), 2);
    let restored = reader.restore(reader.options(&[])).await.unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    let all: Members = members().into_iter().chain(second).collect();
    assert_eq!(reader.found(), expected(&all));
}

#[tokio::test(flavor = "multi_thread")]
async fn single_paths_are_fetched_by_ranges() {
    let second: Members = vec![
        ("workspace/last", Body::File(b"the last".to_vec())),
        ("workspace/later", Body::File(noise(3, 3_000_000))),
    ];
    let (reader, made) = sealed(&[members(), second]);
    let restored = reader
        .restore(reader.options(&["workspace/deep/small", "workspace/last", "workspace/link"]))
        .await
        .unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    let found = reader.found();
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["workspace/deep/small", "workspace/last", "workspace/link"]
    );
    assert_eq!(found["workspace/deep/small"], noise(2, 10_240));
    assert_eq!(found["workspace/last"], b"the last");
    let stored: u64 = made
        .objects
        .values()
        .map(|object| object.len() as u64)
        .sum();
    let down = reader.counter.counts().bytes_down;
    // Two headers and two blocks, and not what stands behind those.
    assert!(0 < down && down < 2_500_000, "{down} of {stored} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_link_alone_becomes_a_file() {
    let (reader, _) = sealed(&[members()]);
    let restored = reader
        .restore(reader.options(&["workspace/second"]))
        .await
        .unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    assert_eq!(reader.found()["workspace/second"], b"first");
}

/// More than half of the data is read from begin to end, but not where it holds other names of files that were not asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_hard_link_becomes_a_file_also_in_a_choice_of_nearly_everything() {
    let linked: Members = vec![
        ("first", Body::File(noise(1, 5000))),
        ("workspace", Body::Dir),
        ("workspace/most", Body::File(noise(2, 3_000_000))),
        ("workspace/second", Body::HardLink("first")),
    ];
    let (reader, _) = sealed(std::slice::from_ref(&linked));
    let restored = reader
        .restore(reader.options(&["workspace"]))
        .await
        .unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    let mut right = expected(&linked);
    right.remove("first");
    assert!(reader.found() == right, "{:?}", reader.found().keys());
    assert!(!is_partial(&reader));
    std::fs::remove_dir_all(reader.target()).unwrap();
    // Without an index nothing tells where that file lies: what helps is said.
    reader.store.remove(&index());
    let restored = reader
        .restore(reader.options(&["workspace"]))
        .await
        .unwrap();
    let [bad] = restored.done.bad.as_slice() else {
        panic!("{:?}", restored.done.bad)
    };
    assert_eq!(bad.path, "workspace/second");
    assert!(
        bad.message.contains("name it with --path too"),
        "{}",
        bad.message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_there_is_told() {
    let (reader, _) = sealed(&[members()]);
    let restored = reader
        .restore(reader.options(&["workspace/a.md", "workspace/nothing"]))
        .await
        .unwrap();
    assert_eq!(restored.done.bad.len(), 1);
    assert_eq!(restored.done.bad[0].path, "workspace/nothing");
    assert!(is_partial(&reader));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_of_the_pen_leaves_nothing_and_the_right_path_then_works() {
    for has_index in [true, false] {
        for dry_run in [true, false] {
            let (reader, _) = sealed(&[members()]);
            if !has_index {
                reader.store.remove(&index());
            }
            let mut options = reader.options(&["workspace/b.md"]);
            options.dry_run = dry_run;
            let failure = reader.restore(options).await.unwrap_err();
            let said = told(&failure);
            assert_eq!(failure.kind.exit_code(), 2, "{said}");
            assert!(said.contains("holds no such path"), "{said}");
            assert!(said.contains("ows backup ls"), "{said}");
            assert!(!reader.target().exists());
            let right = reader.options(&["workspace/a.md"]);
            assert!(reader.restore(right).await.unwrap().is_whole());
        }
        // What stands in the target is as whole as before.
        let (reader, _) = sealed(&[members()]);
        if !has_index {
            reader.store.remove(&index());
        }
        std::fs::create_dir(reader.target()).unwrap();
        std::fs::write(reader.target().join("mine"), b"mine").unwrap();
        let mut options = reader.options(&["workspace/b.md", "nothing"]);
        options.overwrite = true;
        let failure = reader.restore(options).await.unwrap_err();
        let said = told(&failure);
        assert!(said.contains("holds none of these paths"), "{said}");
        let names: Vec<_> = reader.found().into_keys().collect();
        assert_eq!(names, ["mine"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_got_nothing_is_free_for_the_next_try() {
    let only: Members = vec![("workspace/a.md", Body::File(b"first".to_vec()))];
    let (reader, made) = sealed(&[only]);
    reader.store.insert(&data(), b"not what it was");
    let restored = reader.restore(reader.options(&[])).await.unwrap();
    assert!(!restored.is_whole());
    assert!(!reader.target().exists());
    reader.put(&made);
    let restored = reader.restore(reader.options(&[])).await.unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_the_name_of_the_mark_and_is_the_users_is_moved_aside() {
    for is_fifo in [true, false] {
        let (reader, _) = sealed(&[members()]);
        std::fs::create_dir(reader.target()).unwrap();
        let mark = reader.target().join(".ows-partial");
        if is_fifo {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, &mark, rustix::fs::FileType::Fifo, mode, 0)
                .unwrap();
        } else {
            std::fs::write(&mark, b"mine").unwrap();
        }
        let mut options = reader.options(&[]);
        options.overwrite = true;
        let restored = reader.restore(options).await.unwrap();
        assert!(restored.is_whole(), "{:?}", restored.done.bad);
        assert!(!is_partial(&reader));
        let aside = restored.replaced.unwrap().join(".ows-partial");
        let metadata = aside.symlink_metadata().unwrap();
        assert_eq!(metadata.is_file(), !is_fifo);
        assert!(is_fifo || std::fs::read(&aside).unwrap() == b"mine");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_of_an_earlier_try_is_taken_over() {
    let (reader, _) = sealed(&[members()]);
    let some = reader.options(&["workspace/a.md", "workspace/nothing"]);
    reader.restore(some).await.unwrap();
    assert!(is_partial(&reader));
    // A slip of the pen does not make it whole.
    let mut slip = reader.options(&["workspace/b.md"]);
    slip.overwrite = true;
    reader.restore(slip).await.unwrap_err();
    assert!(is_partial(&reader));
    let mut options = reader.options(&[]);
    options.overwrite = true;
    let restored = reader.restore(options).await.unwrap();
    assert!(!is_partial(&reader));
    let aside = tree(&restored.replaced.unwrap());
    assert_eq!(aside.keys().collect::<Vec<_>>(), ["workspace/a.md"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_writes_nothing_and_counts_the_same() {
    let (reader, _) = sealed(&[members()]);
    let mut options = reader.options(&["workspace/deep", "workspace/nothing"]);
    options.dry_run = true;
    let restored = reader.restore(options).await.unwrap();
    assert!(!reader.target().exists());
    assert_eq!((restored.done.files, restored.done.dirs), (2, 1));
    assert_eq!(restored.done.bytes, 1_510_240);
    assert_eq!(restored.done.bad[0].path, "workspace/nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_is_moved_aside() {
    let (reader, _) = sealed(&[members()]);
    std::fs::create_dir_all(reader.target().join("workspace")).unwrap();
    std::fs::write(reader.target().join("workspace/a.md"), b"mine").unwrap();
    std::fs::write(reader.target().join("workspace/other"), b"stays").unwrap();
    let failure = reader.restore(reader.options(&[])).await.unwrap_err();
    assert_eq!(failure.kind.exit_code(), 2);
    assert!(
        told(&failure)
            .contains("is not empty; nothing was restored | choose another folder with --to")
    );
    assert_eq!(reader.found().len(), 2);

    let mut options = reader.options(&[]);
    options.overwrite = true;
    let restored = reader.restore(options.clone()).await.unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    let aside = restored.replaced.expect("something was replaced");
    assert!(
        aside.ends_with("target.replaced-20260201T120000Z"),
        "{aside:?}"
    );
    assert_eq!(tree(&aside)["workspace/a.md"], b"mine");
    assert_eq!(tree(&aside).len(), 1);
    assert_eq!(reader.found()["workspace/a.md"], b"first");
    assert_eq!(reader.found()["workspace/other"], b"stays");
    // A second one within the same second finds another name.
    let again = reader.restore(options).await.unwrap();
    let again = again.replaced.expect("everything was replaced");
    assert!(
        again.ends_with("target.replaced-20260201T120000Z-2"),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_index_all_comes_back_and_nothing_vouches_for_it() {
    let (reader, _) = sealed(&[members()]);
    reader.store.remove(&index());
    let restored = reader.restore(reader.options(&[])).await.unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    assert_eq!(reader.found(), expected(&members()));
    assert_eq!(restored.done.unproven, 6);
    let warnings = restored.warnings.join("\n");
    assert!(
        warnings.contains("nothing vouches for single files"),
        "{warnings}"
    );
    std::fs::remove_dir_all(reader.target()).unwrap();
    let one = reader
        .restore(reader.options(&["openclaw.json"]))
        .await
        .unwrap();
    assert!(one.is_whole(), "{:?}", one.done.bad);
    assert_eq!(reader.found()["openclaw.json"], b"{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_never_a_plain_one_where_this_host_encrypts() {
    let (reader, _) = sealed(&[members()]);
    let newer = snapshot("2026-02-01T08:00:00Z");
    let planted: Members = vec![("workspace/evil", Body::File(b"planted".to_vec()))];
    reader.put(&make(newer, &Seal::Plain, &[planted]));
    let restored = reader.restore(reader.options(&[])).await.unwrap();
    assert_eq!(restored.snapshot, name().to_string());
    let mut options = reader.options(&[]);
    options.to = Some(reader.place.path().join("plain"));
    options.snapshot = Which::Name(newer.to_string());
    let restored = reader.restore(options).await.unwrap();
    assert!(
        restored.warnings[0].contains("is not encrypted"),
        "{:?}",
        restored.warnings
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_the_key_is_told_so_before_anything_is_downloaded() {
    let key = Key::new();
    let mut reader = Reader::new();
    reader.put(&make(name(), &key.seal, &[members()]));
    reader.catalog().await;
    reader.counter.reset();
    let failure = reader.restore(reader.options(&[])).await.unwrap_err();
    assert_eq!(failure.kind.exit_code(), 2);
    assert!(
        told(&failure).contains("no identity is configured"),
        "{}",
        told(&failure)
    );
    assert_eq!(
        reader.counter.counts().of(Operation::Get),
        1,
        "the manifest alone"
    );
    assert!(!reader.target().exists());
    reader.give(&Key::new());
    let failure = reader.restore(reader.options(&[])).await.unwrap_err();
    assert!(
        told(&failure).contains("sealed to other keys"),
        "{}",
        told(&failure)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_goes_on() {
    let (reader, _) = sealed(&[members()]);
    let on_data = || Fault::on(Operation::Get).at(&data());
    reader
        .faults
        .add(on_data().short_body(200_000, Some(TRANSIENT)));
    reader.faults.add(on_data().nth(2).before(TRANSIENT));
    reader
        .faults
        .add(on_data().nth(3).short_body(300_000, None));
    let restored = reader.restore(reader.options(&[])).await.unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    assert_eq!(reader.found(), expected(&members()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_leaves_a_marked_target_and_says_so() {
    let (reader, _) = sealed(&[members()]);
    let catalog = reader.catalog().await;
    let cancel = Cancel::new();
    cancel.stop(StopCause::Interrupted);
    let options = reader.options(&[]);
    let result = ows::backup::restore::restore(
        &reader.settings,
        &catalog,
        options,
        Arc::new(Silent),
        &cancel,
    )
    .await;
    assert_eq!(result.unwrap_err().kind.exit_code(), 130);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_exchanged_meanwhile_is_an_error() {
    let (reader, made) = sealed(&[members()]);
    let catalog = reader.catalog().await;
    let mut other = made.objects[&data()].clone();
    other.push(0);
    reader.store.insert(&data(), &other);
    let cancel = Cancel::new();
    let options = reader.options(&[]);
    let failure = ows::backup::restore::restore(
        &reader.settings,
        &catalog,
        options,
        Arc::new(Silent),
        &cancel,
    )
    .await
    .unwrap_err();
    assert!(
        told(&failure).contains("nothing was restored"),
        "{}",
        told(&failure)
    );
    assert!(
        !reader.target().exists(),
        "the place is free for the next try"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_restore_leaves_is_marked() {
    let (reader, _) = sealed(&[members()]);
    reader.catalog().await;
    let broken = Fault::on(Operation::Get).at(&data());
    reader
        .faults
        .add(broken.short_body(1_400_000, Some(ErrorKind::Permanent)));
    let failure = reader.restore(reader.options(&[])).await.unwrap_err();
    assert!(
        told(&failure).contains("is partial, and marked as such"),
        "{}",
        told(&failure)
    );
    assert!(is_partial(&reader));
    assert_eq!(reader.found()["workspace/a.md"], b"first");
    assert!(!reader.target().join("workspace/deep/noise").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_snapshot_comes_back_with_a_warning() {
    let mut reader = Reader::new();
    let object = include_bytes!("../../fixtures/backup/backup-20260131T235959Z.tar.gz.enc");
    let legacy = "backup-20260131T235959Z.tar.gz.enc";
    reader.store.insert(legacy, object);
    let mut options = reader.options(&[]);
    let failure = reader.restore(options.clone()).await.unwrap_err();
    assert!(
        told(&failure).contains("taken by name only"),
        "{}",
        told(&failure)
    );
    options.snapshot = Which::Name(legacy.to_owned());
    let failure = reader.restore(options.clone()).await.unwrap_err();
    assert_eq!(failure.kind.exit_code(), 2);
    reader.settings.encryption = ows::config::Encryption::Passphrase("wrong".into());
    let failure = reader.restore(options.clone()).await.unwrap_err();
    assert!(
        told(&failure).contains("the passphrase is wrong"),
        "{}",
        told(&failure)
    );
    assert_eq!(failure.kind.exit_code(), 2);
    assert!(!reader.target().exists());
    reader.settings.encryption =
        ows::config::Encryption::Passphrase("correct horse battery staple".into());
    let restored = reader.restore(options).await.unwrap();
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    assert!(
        restored.warnings[0].contains("proves nothing"),
        "{:?}",
        restored.warnings
    );
    let names: Vec<_> = reader.found().into_keys().collect();
    assert_eq!(names, ["openclaw.json", "workspace/MEMORY.md"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_lists_from_its_index_and_from_its_data() {
    let (reader, _) = sealed(&[members()]);
    let list = async |below: Option<&str>| {
        let shown = Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = Arc::clone(&shown);
        let listed = ls(
            &reader.settings,
            &reader.catalog().await,
            &Which::Latest,
            below.map(|path| AskedPath::new(path).unwrap()),
            move |entry| {
                sink.lock()
                    .unwrap()
                    .push((entry.path.to_string(), entry.kind.clone()))
            },
            Arc::new(Silent),
            &Cancel::new(),
        )
        .await
        .unwrap();
        let shown = std::mem::take(&mut *shown.lock().unwrap());
        assert_eq!(listed.paths, shown.len() as u64);
        (shown, listed.warnings)
    };
    let (from_index, warnings) = list(None).await;
    assert_eq!(from_index.len(), members().len());
    assert_eq!(warnings, [""; 0]);
    assert_eq!(list(Some("workspace/deep")).await.0.len(), 3);
    reader.store.remove(&index());
    let (from_data, warnings) = list(None).await;
    assert_eq!(from_data, from_index);
    assert!(
        warnings.concat().contains("the data itself is read"),
        "{warnings:?}"
    );
}
