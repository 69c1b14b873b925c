//! What must hold after a run that came to its end, whatever was killed before it.

use std::collections::{BTreeMap, BTreeSet};

use ows_testkit::s3::Op;
use ows_testkit::tree::{Files, OwsFolder, TempTree, TreeEntry, read_files, snapshot_tree};

use crate::place::{BUCKET, Mode, Place, Remote};
use crate::work::{Digest, digest};
use crate::{bisync, mirror};

/// Everything, and then that one more run is quiet.
pub fn all(place: &Place, what: &str) {
    let local = read_files(place.workspace.path(), OwsFolder::Include);
    let remote = place.remote_files();
    match place.mode {
        Mode::Mirror => mirror::check(place, &local, &remote, what),
        Mode::Bisync => bisync::check(place, &local, &remote, what),
        Mode::Mailbox => {
            trees_are_right(place, &local, &remote, what);
            each_drop_arrived_once(place, &local, what);
        }
    }
    nothing_is_left_over(place, &local, &remote, what);
    the_database_is_whole(place, what);
    the_next_run_is_quiet(place, what);
}

/// As [`all`], but for what only the lost database knew: a drop may arrive twice, and an upload that was begun on S3 is
/// nobody's.
pub fn after_rebuild(place: &Place, what: &str) {
    let local = read_files(place.workspace.path(), OwsFolder::Include);
    let remote = place.remote_files();
    trees_are_right(place, &local, &remote, what);
    let arrived: BTreeSet<Digest> = inbox(&local).map(|(_, content)| digest(content)).collect();
    for (name, content) in &place.expected.drops {
        assert!(
            arrived.contains(&digest(content)),
            "{what}: the drop `{name}` never arrived"
        );
    }
    the_database_is_whole(place, what);
    the_next_run_is_quiet(place, what);
}

fn inbox(local: &Files) -> impl Iterator<Item = (&str, &Vec<u8>)> {
    local
        .iter()
        .filter_map(|(path, content)| Some((path.strip_prefix("_inbox/")?, content)))
}

fn trees_are_right(place: &Place, local: &Files, remote: &Files, what: &str) {
    let is_content = |path: &str, mail: &str| !path.starts_with(".ows/") && !path.starts_with(mail);
    let workspace = local.iter().filter(|(path, _)| is_content(path, "_inbox/"));
    let expected: Vec<_> = place.expected.files.iter().collect();
    assert_same(
        &workspace.collect::<Vec<_>>(),
        &expected,
        &format!("{what}: the workspace"),
    );
    let pushed = remote
        .iter()
        .filter(|(path, _)| is_content(path, "_outbox/"));
    assert_same(
        &pushed.collect::<Vec<_>>(),
        &expected,
        &format!("{what}: the remote"),
    );

    assert_held(remote, ".ows/trash/", &place.expected.displaced, what);
}

/// What was displaced lies in the trash, which is below `trash`.
pub fn assert_held(files: &Files, trash: &str, displaced: &BTreeSet<Digest>, what: &str) {
    let held: BTreeSet<Digest> = files
        .iter()
        .filter(|(path, _)| path.starts_with(trash))
        .map(|(_, content)| digest(content))
        .collect();
    let lost: Vec<_> = displaced.difference(&held).collect();
    assert!(
        lost.is_empty(),
        "{what}: {} displaced contents are in no trash below `{trash}`",
        lost.len()
    );
}

/// These contents are in the workspace or in its trash.
pub fn are_held(place: &Place, contents: [&Vec<u8>; 2], what: &str) {
    let local = read_files(place.workspace.path(), OwsFolder::Include);
    for content in contents {
        let is_held = local.values().any(|held| held == content);
        assert!(
            is_held,
            "{what}: a content of {} bytes is lost",
            content.len()
        );
    }
}

/// The name of the one file that holds this content.
pub fn name_of(tree: &TempTree, content: &[u8], what: &str) -> String {
    let files = tree.files().into_iter();
    let mut names = files.filter_map(|(path, held)| (held == content).then_some(path));
    let name = names.next();
    let name = name.unwrap_or_else(|| panic!("{what}: a content is under no name"));
    assert_eq!(names.next(), None, "{what}: a content is there twice");
    name
}

/// Names and sizes say enough, and megabytes are not printed.
pub fn assert_same(found: &[(&String, &Vec<u8>)], expected: &[(&String, &Vec<u8>)], what: &str) {
    let summary = |files: &[(&String, &Vec<u8>)]| -> BTreeMap<String, String> {
        files
            .iter()
            .map(|(path, content)| {
                (
                    (*path).clone(),
                    format!("{} bytes, {}", content.len(), blake3::hash(content)),
                )
            })
            .collect()
    };
    let (found, expected) = (summary(found), summary(expected));
    let missing: Vec<_> = expected
        .iter()
        .filter(|(path, content)| found.get(*path) != Some(content))
        .collect();
    let surplus: Vec<_> = found
        .iter()
        .filter(|(path, content)| expected.get(*path) != Some(content))
        .collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "{what} is wrong\nmissing: {missing:#?}\nsurplus: {surplus:#?}"
    );
}

fn each_drop_arrived_once(place: &Place, local: &Files, what: &str) {
    let mut arrived: BTreeMap<Digest, Vec<&str>> = BTreeMap::new();
    for (name, content) in inbox(local) {
        arrived.entry(digest(content)).or_default().push(name);
    }
    for (name, content) in &place.expected.drops {
        let names = arrived.remove(&digest(content)).unwrap_or_default();
        assert_eq!(
            names.len(),
            1,
            "{what}: the drop `{name}` arrived as {names:?}"
        );
        let stem = name.trim_end_matches(".gz").trim_end_matches(".txt");
        assert!(
            names[0].starts_with(stem),
            "{what}: the drop `{name}` arrived as {names:?}"
        );
    }
    assert!(arrived.is_empty(), "{what}: nobody dropped {arrived:?}");
}

fn nothing_is_left_over(place: &Place, local: &Files, remote: &Files, what: &str) {
    let temporary: Vec<&String> = local
        .keys()
        .filter(|path| path.contains(".ows-tmp-"))
        .collect();
    assert!(
        temporary.is_empty(),
        "{what}: temporary files are left in the workspace: {temporary:?}"
    );
    let (checkpoints, left): (Vec<&String>, Vec<&String>) = remote
        .keys()
        .filter(|path| path.starts_with(".ows/") && !path.starts_with(".ows/trash/"))
        // A killed run gives no lease back. It ends by itself, and a run with nothing to write does not look at it.
        .filter(|path| *path != ".ows/lease")
        .partition(|path| path.starts_with(".ows/base-"));
    assert!(
        checkpoints.len() <= 1,
        "{what}: one replica has one checkpoint: {checkpoints:?}"
    );
    assert!(
        left.is_empty(),
        "{what}: these are left in the remote: {left:?}"
    );
    let waiting: Vec<&String> = remote
        .keys()
        .filter(|path| path.starts_with("_outbox/") && *path != "_outbox/.keep")
        .collect();
    assert!(
        waiting.is_empty(),
        "{what}: drops were not taken: {waiting:?}"
    );
    if let Remote::S3(server) = &place.remote {
        let uploads = server.uploads(BUCKET);
        assert!(
            uploads.is_empty(),
            "{what}: uploads are unfinished: {uploads:?}"
        );
    }
}

fn the_database_is_whole(place: &Place, what: &str) {
    let file = place.state.join("state/ows/state.db");
    let report = tokio::runtime::Runtime::new()
        .expect("a runtime can be made")
        .block_on(async {
            use sqlx::{ConnectOptions as _, Connection as _};
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
            let mut database = options.connect().await.expect("the database opens");
            let rows: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
                .fetch_all(&mut database)
                .await
                .expect("the database can be checked");
            let open: Vec<String> = sqlx::query_scalar("SELECT kind FROM intents")
                .fetch_all(&mut database)
                .await
                .expect("the database can be read");
            database.close().await.expect("the database closes");
            (rows, open)
        });
    assert_eq!(report.0, ["ok"], "{what}: {}", file.display());
    assert!(
        report.1.is_empty(),
        "{what}: intents are open after a run that ended well: {:?}",
        report.1
    );
}

fn the_next_run_is_quiet(place: &Place, what: &str) {
    let before = whole_remote(place);
    if let Remote::S3(server) = &place.remote {
        server.reset_calls();
    }
    let mut run = place.start(&["--json"]);
    let status = run.wait();
    assert!(status.success(), "{what}, one more run: {}", run.output());
    match &place.remote {
        Remote::S3(server) => {
            let calls = server.calls();
            assert!(
                calls.keys().all(|op| *op == Op::List),
                "{what}: the next run is not quiet: {calls:?}"
            );
        }
        Remote::Folder(_) => {
            assert!(
                whole_remote(place) == before,
                "{what}: the next run changed the remote: {}",
                run.output()
            );
        }
    }
}

fn whole_remote(place: &Place) -> BTreeMap<String, TreeEntry> {
    match &place.remote {
        Remote::S3(_) => BTreeMap::new(),
        Remote::Folder(folder) => snapshot_tree(folder.path(), OwsFolder::Include),
    }
}
