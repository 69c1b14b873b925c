use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use futures::{StreamExt, TryStreamExt};

use super::read::CHUNK;
use super::*;

mod listing;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn place() -> (tempfile::TempDir, LocalProvider) {
    let temp = tempfile::tempdir().unwrap();
    let provider = LocalProvider::open(&temp.path().join("remote")).unwrap();
    (temp, provider)
}

fn with(precondition: Precondition) -> PutOptions {
    PutOptions {
        precondition,
        mtime_ns: Some(1_600_000_000_123_456_789),
        md5: None,
    }
}

fn copying(source: Option<Version>, precondition: Precondition) -> CopyOptions {
    CopyOptions {
        source,
        precondition,
        size: 0,
        mtime_ns: None,
    }
}

async fn put(provider: &LocalProvider, at: &str, content: &str) -> Entry {
    let body = Bytes::copy_from_slice(content.as_bytes());
    let options = with(Precondition::Any);
    provider.put(&path(at), body, options).await.unwrap()
}

async fn read(provider: &LocalProvider, at: &str) -> String {
    let download = provider
        .get(&path(at), GetOptions::default())
        .await
        .unwrap();
    let pieces: Vec<Bytes> = download.body.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

async fn listing(provider: &LocalProvider, options: ListOptions) -> Vec<String> {
    let items: Vec<Listed> = provider.list(options).try_collect().await.unwrap();
    items
        .into_iter()
        .map(|item| match item {
            Listed::Entry(entry) => entry.sort_key().to_text(),
            Listed::Unusable { key, reason } => format!("{key}: {reason}"),
            Listed::Unreadable { path, .. } => format!("{path} unreadable"),
        })
        .collect()
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind
}

fn version_of(entry: &Entry) -> Precondition {
    Precondition::Version(entry.version.clone().unwrap())
}

#[tokio::test]
async fn missing_folder_is_not_found_and_created_by_the_first_write() {
    let (temp, provider) = place();
    let all: Result<Vec<_>> = provider.list(ListOptions::default()).try_collect().await;
    assert_eq!(kind(all), ErrorKind::NotFound);
    assert_eq!(kind(provider.stat(&path("a")).await), ErrorKind::NotFound);
    provider
        .delete(&path("a"), Precondition::Any)
        .await
        .unwrap();
    provider.delete_dir(&path("a")).await.unwrap();
    let id = provider.describe().await.unwrap().id;
    assert!(!temp.path().join("remote").exists());
    put(&provider, "a/b", "x").await;
    assert_eq!(provider.describe().await.unwrap().id, id);
    assert_eq!(
        listing(&provider, ListOptions::default()).await,
        ["a/", "a/b"]
    );
}

#[tokio::test]
async fn what_was_written_is_read_back() {
    let (temp, provider) = place();
    let entry = put(&provider, "a/file", "content").await;
    assert_eq!(entry, provider.stat(&path("a/file")).await.unwrap());
    assert_eq!(entry.mtime_ns, Some(1_600_000_000_123_456_789));
    assert_eq!(read(&provider, "a/file").await, "content");
    let range = GetOptions {
        range: Some(2..5),
        version: entry.version.clone(),
    };
    let download = provider.get(&path("a/file"), range).await.unwrap();
    let pieces: Vec<Bytes> = download.body.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"nte");
    let beyond = GetOptions {
        range: Some(8..9),
        version: None,
    };
    let beyond = provider.get(&path("a/file"), beyond).await;
    assert_eq!(kind(beyond), ErrorKind::Permanent);
    put(&provider, "empty", "").await;
    assert_eq!(read(&provider, "empty").await, "");
    let left = fs::read_dir(temp.path().join("remote/.ows/tmp")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn conditions_are_enforced_and_change_nothing() {
    let (_temp, provider) = place();
    let first = put(&provider, "file", "first").await;
    let file = path("file");
    let write = |precondition| provider.put(&file, Bytes::from_static(b"new"), with(precondition));
    assert_eq!(
        kind(write(Precondition::Absent).await),
        ErrorKind::AlreadyExists
    );
    // The same length and time, another file: the version tells them apart.
    let second = put(&provider, "file", "other").await;
    assert_ne!(first.version, second.version);
    assert_eq!(
        kind(write(version_of(&first)).await),
        ErrorKind::PreconditionFailed
    );
    let delete = |precondition| provider.delete(&file, precondition);
    assert_eq!(
        kind(delete(version_of(&first)).await),
        ErrorKind::PreconditionFailed
    );
    assert_eq!(
        kind(delete(Precondition::Absent).await),
        ErrorKind::Unsupported
    );
    let stale = GetOptions {
        range: None,
        version: first.version.clone(),
    };
    assert_eq!(
        kind(provider.get(&file, stale).await),
        ErrorKind::PreconditionFailed
    );
    assert_eq!(read(&provider, "file").await, "other");
    let third = write(version_of(&second)).await.unwrap();
    assert_eq!(read(&provider, "file").await, "new");
    delete(version_of(&third)).await.unwrap();
    delete(version_of(&third)).await.unwrap();
    assert_eq!(kind(write(version_of(&third)).await), ErrorKind::NotFound);
    write(Precondition::Absent).await.unwrap();
    let probed = provider.probe().await.unwrap();
    assert!(probed.create_if_absent && probed.delete_if_match && probed.complete_if_absent);
    assert_eq!(listing(&provider, ListOptions::default()).await, ["file"]);
}

#[tokio::test]
async fn one_of_many_writers_wins_each_version() {
    let (_temp, provider) = place();
    let mut entry = put(&provider, "counter", "0").await;
    for round in 0..10 {
        let attempts = (0..8).map(|writer| {
            // Each with a provider of its own, as different processes have.
            let provider = LocalProvider::open(&provider.inner.path).unwrap();
            let precondition = version_of(&entry);
            tokio::spawn(async move {
                let body = Bytes::from(format!("{round}-{writer}"));
                let result = provider
                    .put(&path("counter"), body, with(precondition))
                    .await;
                result.map(|entry| (writer, entry))
            })
        });
        let mut winners = Vec::new();
        for attempt in attempts.collect::<Vec<_>>() {
            match attempt.await.unwrap() {
                Ok(winner) => winners.push(winner),
                Err(error) => assert_eq!(error.kind, ErrorKind::PreconditionFailed),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let (writer, written) = winners.remove(0);
        assert_eq!(
            read(&provider, "counter").await,
            format!("{round}-{writer}")
        );
        entry = written;
    }
}

#[tokio::test]
async fn listing_is_in_order_and_tells_what_cannot_be_used() {
    let (temp, provider) = place();
    for at in ["a/b/c", "a-b", "a0", "skipped/x", ".ows/trash/r/x"] {
        put(&provider, at, "x").await;
    }
    let root = temp.path().join("remote");
    symlink("/etc", root.join("link")).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"z\xff")), "").unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(root.join("pipe"))
        .status();
    assert!(made.unwrap().success());
    let options = ListOptions {
        skip: vec![path("skipped"), path(".ows")],
        ..ListOptions::default()
    };
    assert_eq!(
        listing(&provider, options).await,
        [
            "a-b",
            "a/",
            "a/b/",
            "a/b/c",
            "a0",
            "link: it is a symbolic link",
            "pipe: it is a named pipe",
            "z\u{fffd}: the name is not UTF-8",
        ]
    );
    let below = ListOptions {
        below: Some(path(".ows")),
        ..ListOptions::default()
    };
    assert_eq!(
        listing(&provider, below).await,
        [".ows/trash/", ".ows/trash/r/", ".ows/trash/r/x"]
    );
    let shallow = ListOptions {
        below: Some(path("a")),
        shallow: true,
        skip: Vec::new(),
        splits: Vec::new(),
    };
    assert_eq!(listing(&provider, shallow).await, ["a/b/"]);
    // A listing that nobody reads to the end does no harm.
    let mut stream = provider.list(ListOptions::default());
    assert!(stream.next().await.is_some());
    drop(stream);
}

#[tokio::test]
async fn links_in_the_folder_never_lead_outside() {
    let (temp, provider) = place();
    let outside = temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    put(&provider, "file", "x").await;
    let root = temp.path().join("remote");
    symlink(&outside, root.join("dir")).unwrap();
    symlink(outside.join("secret"), root.join("direct")).unwrap();
    let any = || with(Precondition::Any);
    for at in ["dir/secret", "dir/new", "direct"] {
        let at = path(at);
        let body = || Bytes::from_static(b"x");
        let copy = copying(None, Precondition::Any);
        for failed in [
            provider.stat(&at).await.map(drop),
            provider.get(&at, GetOptions::default()).await.map(drop),
            provider.put(&at, body(), any()).await.map(drop),
            provider.delete(&at, Precondition::Any).await,
            provider
                .copy(&path("file"), &at, copy.clone())
                .await
                .map(drop),
            provider
                .rename(&path("file"), &at, copy.clone())
                .await
                .map(drop),
            provider
                .copy(&at, &path("stolen"), copy.clone())
                .await
                .map(drop),
            provider.rename(&at, &path("stolen"), copy).await.map(drop),
            provider.delete_dir(&at).await,
        ] {
            assert_eq!(kind(failed), ErrorKind::Permanent, "{at}");
        }
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    assert_eq!(read(&provider, "file").await, "x");
    // Nor does a link in place of our own folder.
    fs::remove_dir_all(root.join(".ows")).unwrap();
    symlink(&outside, root.join(".ows")).unwrap();
    let refused = provider.put(&path("b"), Bytes::new(), any()).await;
    assert_eq!(kind(refused), ErrorKind::Permanent);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[tokio::test]
async fn upload_is_seen_when_it_is_complete() {
    let (_temp, provider) = place();
    let options = UploadOptions {
        size: Some(10),
        part_size: 4,
        mtime_ns: Some(1_500_000_000_000_000_000),
        md5: None,
    };
    let at = path("big");
    let upload = provider.start_upload(&at, options.clone()).await.unwrap();
    let mut parts = Vec::new();
    for (number, content) in [(3, "89"), (1, "wwww"), (2, "4567"), (1, "0123")] {
        let part = provider.put_part(&upload, number, Bytes::from_static(content.as_bytes()));
        parts.push(part.await.unwrap());
    }
    let wrong = provider.put_part(&upload, 3, Bytes::from_static(b"too long"));
    assert_eq!(kind(wrong.await), ErrorKind::Permanent);
    assert_eq!(provider.list_uploads().await.unwrap().len(), 1);
    assert!(listing(&provider, ListOptions::default()).await.is_empty());
    let short = provider.complete_upload(&upload, &[], Precondition::Absent);
    assert_eq!(kind(short.await), ErrorKind::Permanent);
    let parts = provider.list_parts(&upload).await.unwrap();
    assert_eq!(
        parts.iter().map(|part| part.number).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let entry = provider
        .complete_upload(&upload, &parts, Precondition::Absent)
        .await
        .unwrap();
    assert_eq!(entry.mtime_ns, Some(1_500_000_000_000_000_000));
    assert_eq!(read(&provider, "big").await, "0123456789");

    let second = provider.start_upload(&at, options).await.unwrap();
    provider.abort_upload(&second).await.unwrap();
    provider.abort_upload(&second).await.unwrap();
    let gone = provider.list_parts(&second).await;
    assert_eq!(kind(gone), ErrorKind::NotFound);
    assert_eq!(listing(&provider, ListOptions::default()).await, ["big"]);
}

#[tokio::test]
async fn what_dead_writers_left_is_swept_and_living_ones_stay() {
    let (temp, provider) = place();
    let options = UploadOptions {
        size: Some(1),
        part_size: 1,
        mtime_ns: None,
        md5: None,
    };
    let upload = provider
        .start_upload(&path("alive"), options)
        .await
        .unwrap();
    let stage = temp.path().join("remote/.ows/tmp");
    let dead = stage.join("0123456789abcdef0123456789abcdef");
    fs::write(&dead, "half").unwrap();
    fs::write(stage.join("kept-0123456789abcdef0123456789abcdef"), "x").unwrap();
    let other = LocalProvider::open(&temp.path().join("remote")).unwrap();
    put(&other, "file", "x").await;
    assert!(!dead.exists());
    assert_eq!(fs::read_dir(&stage).unwrap().count(), 2);
    let part = provider
        .put_part(&upload, 1, Bytes::from_static(b"1"))
        .await;
    let parts = [part.unwrap()];
    let done = provider.complete_upload(&upload, &parts, Precondition::Absent);
    done.await.unwrap();
    assert_eq!(read(&provider, "alive").await, "1");
}

#[tokio::test]
async fn files_and_folders_are_copied_and_renamed() {
    let (temp, provider) = place();
    let entry = put(&provider, "a/file", "x").await;
    put(&provider, "taken", "y").await;
    let absent = || copying(entry.version.clone(), Precondition::Absent);
    let from = path("a/file");
    let copied = provider
        .copy(&from, &path("b/copy"), absent())
        .await
        .unwrap();
    assert_eq!(copied.mtime_ns, entry.mtime_ns);
    let taken = provider.copy(&from, &path("taken"), absent()).await;
    assert_eq!(kind(taken), ErrorKind::AlreadyExists);
    let taken = provider.rename(&from, &path("taken"), absent()).await;
    assert_eq!(kind(taken), ErrorKind::AlreadyExists);
    let stale = copying(Some(Version("other".to_owned())), Precondition::Absent);
    let stale = provider.rename(&from, &path("moved"), stale).await;
    assert_eq!(kind(stale), ErrorKind::PreconditionFailed);
    provider
        .rename(&from, &path("moved"), absent())
        .await
        .unwrap();
    let any = || copying(None, Precondition::Any);
    provider
        .rename(&path("b"), &path("a/c"), any())
        .await
        .unwrap();
    let onto = provider.rename(&path("a/c"), &path("taken"), any()).await;
    assert!(onto.is_err());
    let root = temp.path().join("remote");
    fs::hard_link(root.join("moved"), root.join("twin")).unwrap();
    let moved = path("moved");
    provider.rename(&moved, &moved, any()).await.unwrap();
    assert_eq!(read(&provider, "moved").await, "x");
    provider
        .rename(&path("moved"), &path("twin"), any())
        .await
        .unwrap();
    let inside = provider.rename(&path("a"), &path("a/c/a"), any()).await;
    assert!(inside.is_err());
    assert_eq!(
        listing(&provider, ListOptions::default()).await,
        ["a/", "a/c/", "a/c/copy", "taken", "twin"]
    );
    assert_eq!(read(&provider, "taken").await, "y");
}

#[tokio::test]
async fn folders_go_only_when_they_are_empty() {
    let (_temp, provider) = place();
    provider.create_dir(&path("a/b")).await.unwrap();
    provider.create_dir(&path("a/b")).await.unwrap();
    put(&provider, "file", "x").await;
    let full = provider.delete_dir(&path("a")).await;
    assert_eq!(kind(full), ErrorKind::PreconditionFailed);
    provider.delete_dir(&path("a/b")).await.unwrap();
    provider.delete_dir(&path("a/b")).await.unwrap();
    let file = provider.create_dir(&path("file/x")).await;
    assert_eq!(kind(file), ErrorKind::AlreadyExists);
    let body = Bytes::new();
    let over = provider
        .put(&path("a"), body, with(Precondition::Any))
        .await;
    assert_eq!(kind(over), ErrorKind::Permanent);
    assert_eq!(
        listing(&provider, ListOptions::default()).await,
        ["a/", "file"]
    );
}

#[tokio::test]
async fn file_that_changes_while_it_is_read_ends_with_an_error() {
    let (temp, provider) = place();
    put(&provider, "log", &"x".repeat(2 * CHUNK)).await;
    let download = provider
        .get(&path("log"), GetOptions::default())
        .await
        .unwrap();
    let at = temp.path().join("remote/log");
    let log = fs::OpenOptions::new().append(true).open(at).unwrap();
    std::io::Write::write_all(&mut &log, b"more").unwrap();
    let pieces: Result<Vec<Bytes>> = download.body.try_collect().await;
    assert_eq!(kind(pieces), ErrorKind::PreconditionFailed);
}

#[tokio::test]
async fn folder_that_gives_way_to_another_is_an_error() {
    let (temp, provider) = place();
    put(&provider, "file", "x").await;
    fs::rename(temp.path().join("remote"), temp.path().join("away")).unwrap();
    let all: Result<Vec<_>> = provider.list(ListOptions::default()).try_collect().await;
    assert_eq!(kind(all), ErrorKind::NotFound);
    let body = Bytes::new();
    let at = path("b");
    let written = provider.put(&at, body.clone(), with(Precondition::Any));
    assert_eq!(kind(written.await), ErrorKind::NotFound, "not made anew");
    fs::create_dir(temp.path().join("remote")).unwrap();
    let written = provider
        .put(&path("b"), body, with(Precondition::Any))
        .await;
    assert_eq!(kind(written), ErrorKind::Permanent);
}

#[tokio::test]
async fn replaced_file_keeps_its_mode() {
    let (temp, provider) = place();
    put(&provider, "file", "x").await;
    let at = temp.path().join("remote/file");
    fs::set_permissions(&at, fs::Permissions::from_mode(0o640)).unwrap();
    put(&provider, "file", "y").await;
    let mode = fs::metadata(&at).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    let wrong = PutOptions {
        md5: Some([0; 16]),
        ..with(Precondition::Any)
    };
    let file = path("file");
    let refused = provider.put(&file, Bytes::from_static(b"z"), wrong);
    assert_eq!(kind(refused.await), ErrorKind::Permanent);
    assert_eq!(read(&provider, "file").await, "y");
}
