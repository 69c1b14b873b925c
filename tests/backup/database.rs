//! SQLite databases with a real writer at work: another process, since SQLite's locks mean nothing within one.
//!
//! The writer moves money between accounts, one transaction after the other, and the sum never changes. A copy that is no
//! state that the database ever had has another sum, or is damaged.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use ows::backup::database::Spool;
use ows::backup::entry::EntryKind;
use ows::backup::manifest::ProblemClass;
use ows::backup::scan::ScanOptions;
use rusqlite::Connection;

use crate::tree::{Archived, Host};

const PATH: &str = "OWS_TEST_WRITER_DATABASE";
const MODE: &str = "OWS_TEST_WRITER_MODE";

/// How the writer behaves: the journal, and a statement before it begins.
const MODES: [(&str, &str); 4] = [
    ("wal", "PRAGMA wal_autocheckpoint = 20"),
    ("delete", ""),
    ("truncate", ""),
    ("persist", ""),
];

const ACCOUNTS: i64 = 2000;
const SUM: i64 = ACCOUNTS * 100;

/// Not a test: what [`Writer`] starts. It says `ready`, and writes until its standard input ends.
#[test]
#[ignore = "run by the other tests as a process of its own"]
#[expect(clippy::print_stdout, reason = "this is how it says that it began")]
fn a_writer() {
    let (Some(path), Ok(mode)) = (std::env::var_os(PATH), std::env::var(MODE)) else {
        return;
    };
    let mut database = Connection::open(path).unwrap();
    database
        .busy_timeout(std::time::Duration::from_secs(60))
        .unwrap();
    let (_, begin) = MODES.iter().find(|(name, _)| *name == mode).unwrap();
    database.execute_batch(begin).unwrap();
    let (end, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        let _ = end.send(());
    });
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as i64 % ACCOUNTS
    };
    let mut count = 0;
    while ended.try_recv().is_err() {
        let transaction = database
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .unwrap();
        for _ in 0..20 {
            let (from, to) = (next(), next());
            transaction
                .execute(
                    "UPDATE accounts SET money = money - 1, note = randomblob(300) WHERE id = ?1",
                    [from],
                )
                .unwrap();
            transaction
                .execute(
                    "UPDATE accounts SET money = money + 1, note = randomblob(200) WHERE id = ?1",
                    [to],
                )
                .unwrap();
        }
        transaction.commit().unwrap();
        // Nobody writes without a break; without one SQLite's readers starve.
        std::thread::sleep(std::time::Duration::from_millis(2));
        count += 1;
        if count == 3 {
            println!("\nready");
        }
    }
}

/// With what it says: a test that cannot print its result fails.
struct Writer(Child, BufReader<ChildStdout>);

impl Writer {
    fn start(database: &Path, mode: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "database::a_writer", "--ignored", "--nocapture"])
            .env(PATH, database)
            .env(MODE, mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut lines = said.by_ref().lines();
        assert!(
            lines.any(|line| line.unwrap() == "ready"),
            "the writer began"
        );
        Self(child, said)
    }

    /// Kills it in the middle of what it does, so that its journal stays.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn finish(mut self) {
        drop(self.0.stdin.take());
        io::copy(&mut self.1, &mut io::sink()).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn create(path: &Path, mode: &str) {
    let database = Connection::open(path).unwrap();
    database
        .query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(()))
        .unwrap();
    database
        .execute_batch(&format!(
            "CREATE TABLE accounts (id INTEGER PRIMARY KEY, money INTEGER NOT NULL, note BLOB);
             CREATE INDEX by_money ON accounts (money);
             WITH RECURSIVE n (id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < {ACCOUNTS} - 1)
             INSERT INTO accounts SELECT id, 100, randomblob(250) FROM n;"
        ))
        .unwrap();
}

/// Whether a database file is a state that there was.
fn check(file: &Path) {
    let database = Connection::open(file).unwrap();
    let sum: i64 = database
        .query_row("SELECT sum(money) FROM accounts", [], |row| row.get(0))
        .unwrap();
    let answer: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!((sum, answer.as_str()), (SUM, "ok"));
}

fn with_spool(host: &Host) -> ScanOptions {
    ScanOptions {
        spool: Some(Spool::open(&host.own_dir()).unwrap()),
        ..ScanOptions::default()
    }
}

fn problems(archived: &Archived) -> Vec<(String, ProblemClass)> {
    let problem =
        |entry: &ows::backup::entry::SnapshotEntry| Some((entry.path.to_string(), entry.problem?));
    archived.entries.iter().filter_map(problem).collect()
}

fn names(archived: &Archived) -> Vec<String> {
    archived
        .entries
        .iter()
        .map(|entry| entry.path.to_string())
        .collect()
}

/// The names in a folder, sorted.
fn listed(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn spool_is_empty(host: &Host) {
    assert_eq!(listed(&host.own_dir().join("spool")), Vec::<String>::new());
}

#[test]
fn every_copy_is_a_state_that_the_database_had_while_a_writer_is_at_work() {
    for (mode, _) in MODES {
        let host = Host::new();
        let path = host.workspace().join("money.db");
        create(&path, mode);
        let writer = Writer::start(&path, mode);
        let mut copies = Vec::new();
        for _ in 0..8 {
            let archived = host.archive(with_spool(&host));
            assert_eq!(problems(&archived), [], "{mode}");
            assert_eq!(
                names(&archived),
                ["workspace", "workspace/money.db"],
                "{mode}"
            );
            let target = archived.extract();
            let copy = target.path().join("workspace/money.db");
            copies.push(fs::read(&copy).unwrap());
            check(&copy);
        }
        copies.dedup();
        assert!(copies.len() > 1, "the writer was at work");
        spool_is_empty(&host);
        writer.finish();
        check(&path);
    }
}

/// Copied in steps, between which the writer makes it begin again, and at last in one go.
#[test]
fn a_large_database_is_copied_while_a_writer_is_at_work() {
    let host = Host::new();
    let path = host.workspace().join("money.db");
    create(&path, "truncate");
    let database = Connection::open(&path).unwrap();
    let filler = "PRAGMA synchronous = OFF; CREATE TABLE filler (bytes BLOB);
        WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 70)
        INSERT INTO filler SELECT zeroblob(1 << 20) FROM n;";
    database.execute_batch(filler).unwrap();
    drop(database);
    assert!(fs::metadata(&path).unwrap().len() > 70 << 20);
    let _writer = Writer::start(&path, "truncate");
    let archived = host.archive(with_spool(&host));
    assert_eq!(problems(&archived), []);
    check(&archived.extract().path().join("workspace/money.db"));
}

#[test]
fn what_a_killed_writer_left_is_in_the_copy_and_stays_beside_the_database() {
    for (mode, _) in MODES {
        let host = Host::new();
        let path = host.workspace().join("money.db");
        create(&path, mode);
        Writer::start(&path, mode).kill();
        let snapshot = || -> Vec<(String, Vec<u8>)> {
            let names = listed(&host.workspace())
                .into_iter()
                .filter(|name| !name.ends_with("-shm"));
            names
                .map(|name| (name.clone(), fs::read(host.workspace().join(name)).unwrap()))
                .collect()
        };
        let before = snapshot();
        let archived = host.archive(with_spool(&host));
        assert_eq!(problems(&archived), [], "{mode}");
        assert_eq!(names(&archived).len(), 2, "{mode}: {:?}", names(&archived));
        check(&archived.extract().path().join("workspace/money.db"));
        assert_eq!(snapshot(), before, "{mode}: the database was not touched");
        spool_is_empty(&host);
    }
}

/// The journal of a transaction that was half written to the database when its writer died.
#[test]
fn a_hot_journal_is_rolled_back_in_the_copy_alone() {
    let host = Host::new();
    let path = host.workspace().join("money.db");
    create(&path, "delete");
    let aside = host.path().join("aside");
    fs::create_dir(&aside).unwrap();
    {
        // With a cache this small, pages are written to the database before the commit.
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("PRAGMA cache_size = 5; BEGIN; UPDATE accounts SET money = money + 1, note = randomblob(300)").unwrap();
        for name in ["money.db", "money.db-journal"] {
            fs::copy(host.workspace().join(name), aside.join(name)).unwrap();
        }
    }
    for name in ["money.db", "money.db-journal"] {
        fs::rename(aside.join(name), host.workspace().join(name)).unwrap();
    }
    let before = fs::read(host.workspace().join("money.db-journal")).unwrap();
    assert!(
        before[..8] == *b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",
        "the journal is hot"
    );
    let archived = host.archive(with_spool(&host));
    assert_eq!(problems(&archived), []);
    assert_eq!(archived.folded, ["workspace/money.db-journal"]);
    check(&archived.extract().path().join("workspace/money.db"));
    assert_eq!(
        fs::read(host.workspace().join("money.db-journal")).unwrap(),
        before
    );
    spool_is_empty(&host);
}

#[test]
fn nothing_appears_beside_a_database_that_nobody_has_open() {
    for mode in ["wal", "delete"] {
        let host = Host::new();
        let path = host.workspace().join("money.db");
        create(&path, mode);
        let before = fs::read(&path).unwrap();
        assert_eq!(before[19], if mode == "wal" { 2 } else { 1 });
        let archived = host.archive(with_spool(&host));
        assert_eq!(problems(&archived), []);
        check(&archived.extract().path().join("workspace/money.db"));
        assert_eq!(listed(&host.workspace()), ["money.db"], "{mode}");
        assert_eq!(fs::read(&path).unwrap(), before, "{mode}");
    }
}

#[test]
fn a_log_without_its_shared_memory_is_brought_into_the_copy() {
    let host = Host::new();
    let path = host.workspace().join("money.db");
    create(&path, "wal");
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE accounts SET note = 'in the log'")
        .unwrap();
    let aside = Host::new();
    for name in ["money.db", "money.db-wal"] {
        fs::copy(host.workspace().join(name), aside.workspace().join(name)).unwrap();
    }
    let archived = aside.archive(with_spool(&aside));
    assert_eq!(problems(&archived), []);
    assert_eq!(archived.folded, ["workspace/money.db-wal"]);
    let target = archived.extract();
    let copy = Connection::open(target.path().join("workspace/money.db")).unwrap();
    let notes: i64 = copy
        .query_row(
            "SELECT count(*) FROM accounts WHERE note = 'in the log'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(notes, ACCOUNTS);
    assert_eq!(listed(&aside.workspace()), ["money.db", "money.db-wal"]);
}

#[test]
fn without_a_copy_the_database_and_what_lies_beside_it_are_stored_as_they_are_and_told() {
    let unverified = |path: &str| (path.to_owned(), ProblemClass::SqliteUnverified);
    // Without a place for copies.
    let host = Host::new();
    let path = host.workspace().join("money.db");
    create(&path, "wal");
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE accounts SET note = 'in the log'")
        .unwrap();
    let archived = host.archive(ScanOptions::default());
    assert_eq!(problems(&archived), [unverified("workspace/money.db")]);
    assert_eq!(
        names(&archived).len(),
        4,
        "database, log and shared memory: {:?}",
        names(&archived)
    );
    check(&archived.extract().path().join("workspace/money.db"));
    // What only looks like a database.
    let host = Host::new();
    let content = [&b"SQLite format 3\0"[..], &[b'x'; 5000]].concat();
    fs::write(host.workspace().join("fake.db"), &content).unwrap();
    let archived = host.archive(with_spool(&host));
    assert_eq!(problems(&archived), [unverified("workspace/fake.db")]);
    let target = archived.extract();
    assert_eq!(
        fs::read(target.path().join("workspace/fake.db")).unwrap(),
        content
    );
    spool_is_empty(&host);
}

#[test]
fn a_damaged_database_is_stored_and_told() {
    let host = Host::new();
    let path = host.workspace().join("money.db");
    create(&path, "delete");
    let mut content = fs::read(&path).unwrap();
    let middle = content.len() / 2;
    content[middle..middle + 5000].fill(0x55);
    fs::write(&path, &content).unwrap();
    let archived = host.archive(with_spool(&host));
    assert_eq!(
        problems(&archived),
        [(
            "workspace/money.db".to_owned(),
            ProblemClass::SqliteUnverified
        )]
    );
    spool_is_empty(&host);
}

#[test]
fn what_a_killed_run_left_in_the_spool_goes_and_the_spool_is_ours_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let host = Host::new();
    let spool = host.own_dir().join("spool");
    fs::create_dir_all(&spool).unwrap();
    fs::set_permissions(&spool, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["0123.db", "0123.db-journal"] {
        fs::File::create(spool.join(name))
            .unwrap()
            .write_all(b"secret")
            .unwrap();
    }
    Spool::open(&host.own_dir()).unwrap();
    spool_is_empty(&host);
    assert_eq!(
        fs::metadata(&spool).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn databases_with_odd_names_in_odd_places_are_copied() {
    use std::os::unix::ffi::OsStrExt as _;
    let host = Host::new();
    let deep = host
        .workspace()
        .join("d".repeat(200))
        .join("d".repeat(200))
        .join("d".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    let made = host.path().join("made.db");
    create(&made, "wal");
    let odd = [
        deep.join("beyond what SQLite opens.db"),
        host.workspace().join("a ? b # c % d ' e"),
        host.workspace()
            .join(std::ffi::OsStr::from_bytes(b"\xff.db")),
        host.workspace().join("n".repeat(255)),
    ];
    for path in &odd {
        fs::copy(&made, path).unwrap();
    }
    let archived = host.archive(with_spool(&host));
    assert_eq!(problems(&archived), []);
    let target = archived.extract();
    for path in &odd {
        let copy = target
            .path()
            .join("workspace")
            .join(path.strip_prefix(host.workspace()).unwrap());
        // Where SQLite opens it.
        let there = host.path().join("checked.db");
        fs::copy(copy, &there).unwrap();
        check(&there);
    }
}

#[test]
fn a_second_name_of_a_database_is_a_link_to_its_copy() {
    let host = Host::new();
    let path = host.workspace().join("money.db");
    create(&path, "delete");
    fs::hard_link(&path, host.workspace().join("other.db")).unwrap();
    let archived = host.archive(with_spool(&host));
    assert_eq!(problems(&archived), []);
    assert!(matches!(
        archived.entries[2].kind,
        EntryKind::HardLink { .. }
    ));
}
