//! Consistent copies of SQLite databases that other programs may be writing to.
//!
//! Copied page by page with SQLite's online backup into a file of ours, the one temporary file that a backup has: in the
//! folder `spool` of our own state, readable to nobody else, and unlinked before it is read. What a killed run left there
//! is removed by the next. (Through rusqlite, in the version whose SQLite is the one that sqlx links: there is one SQLite in
//! the program, and sqlx does not have this call.)
//!
//! **The user's database is never written to, and no file is left beside it:** it is opened for reading only. Such a
//! connection would
//!
//! - create `-wal` and `-shm` beside a database in WAL mode that nobody has open, and leave them there;
//! - refuse one with a hot journal, that of a program that died, because it may not roll it back.
//!
//! In these cases, and where SQLite cannot open the path (it knows none of more than 512 bytes) or does not get its turn,
//! the files are copied as they are, and again until nothing about them changed meanwhile. What is in the journal is then
//! brought into the copy, by SQLite. (A `-shm` that is there is shared memory; a reader may update it, as it always does.)
//!
//! In WAL mode the copy is a snapshot, and writers go on. Otherwise readers keep writers waiting, so that a large database is
//! copied in steps between which they may write; when they did so too often, it is read in one go.
//!
//! A copy is checked (`quick_check`) before it counts as verified. That also catches what locks cannot: POSIX gives a
//! process's locks on a file up when any of its handles on that file is closed, and a sync may run meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ows_providers::folder::{Kind, Root, Stat, children, name};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::scan::Place;

/// How a database begins.
pub(super) const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The smallest page that SQLite knows, and so the smallest database.
pub(super) const SMALLEST: u64 = 512;

/// How the names of the files end in which SQLite keeps what is not in the database yet.
pub(super) const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What is left free on the disk of the spool.
const RESERVE: u64 = 64 << 20;

/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pages in one step.
const STEP: i32 = 4096;

/// Databases up to this size are read in one go: writers wait for a fraction of a second.
const ONE_GO: u64 = 64 << 20;

/// How often writers may make a copy begin again before it is made in one go.
const RESTARTS: u32 = 3;

/// How often files are copied as they are until nothing changed meanwhile, and how often a copy is made that fails its check.
const ATTEMPTS: u32 = 3;

/// The folder in our own one in which copies of databases are made.
#[derive(Debug)]
pub struct Spool {
    root: Root,
    path: PathBuf,
}

/// A copy of a database.
#[derive(Debug)]
pub(super) struct Copied {
    /// Its content; it has no name any more.
    pub file: File,
    /// Its length.
    pub size: u64,
    /// Whether SQLite finds nothing wrong with it.
    pub verified: bool,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    /// The disk of our state is too full.
    #[error("a copy needs {needed} bytes and {free} are free")]
    NoSpace {
        /// With a reserve.
        needed: u64,
        /// Now.
        free: u64,
    },
    /// SQLite cannot.
    #[error("SQLite cannot copy it: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A file cannot be read, or the copy not be written.
    #[error("it cannot be copied: {0}")]
    Io(#[from] io::Error),
    /// A writer never let go.
    #[error("it is locked")]
    Locked,
    /// Nothing stood still for long enough.
    #[error("it changes all the time")]
    Unstable,
    /// Its path leads to another file now.
    #[error("another file has its name now")]
    Replaced,
    /// What was in the journal is not all in the copy.
    #[error("its journal could not be brought in")]
    Unfinished,
}

/// A database and the files beside it.
#[derive(Debug, PartialEq)]
struct Files {
    database: Option<Stat>,
    wal: Option<Stat>,
    shm: Option<Stat>,
    journal: Option<Stat>,
}

impl Spool {
    /// Opens it, creates it where it is missing, and removes what a killed run left there: one backup at a time uses it.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn open(own_dir: &Path) -> io::Result<Self> {
        let path = own_dir.join("spool");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
        let path = path.canonicalize()?;
        let root = Root::open(&path)?;
        for (leftover, kind) in children(root.dir())? {
            if kind != Kind::Dir {
                name::unlink(root.dir(), &leftover)?;
            }
        }
        Ok(Self { root, path })
    }

    /// Copies the database at `place`, which was `stat` when it was opened.
    ///
    /// No other handle of this process on the database may be closed before this returns.
    pub(super) fn copy(&self, place: &Place, stat: &Stat) -> Result<Copied, CopyError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let target = self.copy_once(place, stat)?;
            let verified = is_sound(&target);
            let (file, stat) = name::open_regular(self.root.dir(), target.name.as_ref())?;
            let copied = Copied {
                file,
                size: stat.size,
                verified,
            };
            if verified {
                return Ok(copied);
            }
            last = Some(copied);
        }
        last.ok_or(CopyError::Unstable)
    }

    fn copy_once(&self, place: &Place, stat: &Stat) -> Result<Target<'_>, CopyError> {
        let files = Files::look(place)?;
        let size = |file: &Option<Stat>| file.map_or(0, |file| file.size);
        // What is in the log goes into the copy as well.
        let needed = stat.size + 2 * size(&files.wal) + size(&files.journal) + RESERVE;
        let free = self.root.free_space()?;
        if free < needed {
            return Err(CopyError::NoSpace { needed, free });
        }
        let is_attached = match (&files.wal, &files.shm) {
            (Some(_), Some(_)) => true,
            (Some(_), None) => false,
            (None, _) => !is_wal(place)?,
        };
        if !is_attached {
            return self.copy_files(place);
        }
        match self.copy_online(place, stat, files.wal.is_some()) {
            Ok(target) => Ok(target),
            Err(error) => {
                tracing::debug!(path = %place.path.display(), %error, "a database is copied without SQLite");
                self.copy_files(place).map_err(|second| {
                    tracing::debug!(path = %place.path.display(), error = %second, "nor so");
                    error
                })
            }
        }
    }

    /// Copies with SQLite's online backup.
    fn copy_online(&self, place: &Place, stat: &Stat, wal: bool) -> Result<Target<'_>, CopyError> {
        let target = self.target()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let source = Connection::open_with_flags(&place.path, flags)?;
        source.busy_timeout(PATIENCE)?;
        require_same(place, stat)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(target.path(), flags)?;
        copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
        {
            let backup = Backup::new(&source, &mut copy)?;
            run(&source, &backup, wal || stat.size <= ONE_GO)?;
        }
        copy.close().map_err(|(_, error)| error)?;
        source.close().map_err(|(_, error)| error)?;
        require_same(place, stat)?;
        Ok(target)
    }

    /// Copies the files, until nothing changed meanwhile.
    fn copy_files(&self, place: &Place) -> Result<Target<'_>, CopyError> {
        for _ in 0..ATTEMPTS {
            let before = Files::look(place)?;
            let target = self.reserve();
            self.copy_file(place, "", &target)?;
            for (file, suffix) in [(&before.wal, "-wal"), (&before.journal, "-journal")] {
                if file.is_some() {
                    self.copy_file(place, suffix, &target)?;
                }
            }
            if Files::look(place)? == before {
                if before.wal.is_some() || before.journal.is_some() {
                    settle(&target)?;
                }
                return Ok(target);
            }
        }
        Err(CopyError::Unstable)
    }

    fn copy_file(&self, place: &Place, suffix: &str, target: &Target<'_>) -> io::Result<()> {
        let (from, stat) = name::open_regular(&place.dir, &beside(&place.name, suffix))?;
        let to = OsString::from(format!("{}{suffix}", target.name));
        let mut file = name::create_new(self.root.dir(), &to, 0o600)?;
        // A file that never stops growing ends here.
        io::copy(&mut from.take(stat.size), &mut file).map(drop)
    }

    /// A new name.
    fn reserve(&self) -> Target<'_> {
        Target {
            spool: self,
            name: format!("{:016x}.db", rand::random::<u64>()),
        }
    }

    /// A new, empty file.
    fn target(&self) -> io::Result<Target<'_>> {
        let target = self.reserve();
        name::create_new(self.root.dir(), target.name.as_ref(), 0o600)?;
        Ok(target)
    }
}

/// A copy in the making. It goes, with what SQLite puts beside it.
struct Target<'spool> {
    spool: &'spool Spool,
    name: String,
}

impl Target<'_> {
    fn path(&self) -> PathBuf {
        self.spool.path.join(&self.name)
    }

    fn has(&self, suffix: &str) -> io::Result<bool> {
        let name = format!("{}{suffix}", self.name);
        let stat = name::lstat(self.spool.root.dir(), name.as_ref())?;
        Ok(stat.is_some_and(|stat| stat.size > 0))
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        for suffix in ["", COMPANIONS[0], COMPANIONS[1], COMPANIONS[2]] {
            let name = format!("{}{suffix}", self.name);
            match name::unlink(self.spool.root.dir(), name.as_ref()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(name, %error, "a copy of a database could not be removed; the next backup tries again");
                }
                _ => {}
            }
        }
    }
}

impl Files {
    fn look(place: &Place) -> io::Result<Self> {
        let file = |suffix| match name::lstat(&place.dir, &beside(&place.name, suffix)) {
            // No file system takes names this long, so that nothing has this one.
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => Ok(None),
            other => other,
        };
        Ok(Self {
            database: file("")?,
            wal: file("-wal")?,
            shm: file("-shm")?,
            journal: file("-journal")?,
        })
    }
}

fn beside(name: &OsStr, suffix: &str) -> OsString {
    let mut beside = name.to_owned();
    beside.push(suffix);
    beside
}

/// Whether the database says that it is in WAL mode.
fn is_wal(place: &Place) -> io::Result<bool> {
    const READ_VERSION: u64 = 19;
    let (file, _) = name::open_regular(&place.dir, &place.name)?;
    let mut version = [0];
    file.read_exact_at(&mut version, READ_VERSION)?;
    Ok(version == [2])
}

/// SQLite goes by the path: it must lead to what was opened by its handle.
fn require_same(place: &Place, stat: &Stat) -> Result<(), CopyError> {
    let now = std::fs::symlink_metadata(&place.path)?;
    if (now.dev(), now.ino()) == (stat.identity.device, stat.identity.inode) {
        Ok(())
    } else {
        Err(CopyError::Replaced)
    }
}

/// Carries a backup out, `pinned` to one state of the database from the start or when writers came between too often.
fn run(source: &Connection, backup: &Backup<'_, '_>, mut pinned: bool) -> Result<(), CopyError> {
    let pin = || {
        source.execute_batch("BEGIN")?;
        source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    };
    if pinned {
        pin()?;
    }
    let mut restarts = 0;
    let mut remaining = i32::MAX;
    loop {
        match backup.step(STEP)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            // It was waited for already.
            _ => return Err(CopyError::Locked),
        }
        let now = backup.progress().remaining;
        restarts += u32::from(now > remaining);
        remaining = now;
        if !pinned && restarts >= RESTARTS {
            pin()?;
            pinned = true;
        }
    }
}

/// Lets SQLite bring what is in the journal of a copy into it.
fn settle(target: &Target<'_>) -> Result<(), CopyError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copy = Connection::open_with_flags(target.path(), flags)?;
    copy.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    copy.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    copy.close().map_err(|(_, error)| error)?;
    if target.has("-wal")? {
        return Err(CopyError::Unfinished);
    }
    Ok(())
}

/// Whether SQLite finds nothing wrong with a copy. What it cannot check, for want of an extension, is not wrong.
fn is_sound(target: &Target<'_>) -> bool {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let checked = Connection::open_with_flags(immutable(&target.path()), flags).and_then(|copy| {
        copy.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    });
    match checked {
        Ok(answer) => answer == "ok",
        Err(error) => {
            tracing::debug!(%error, "a copy of a database could not be checked");
            !matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            )
        }
    }
}

/// The address of a database that nobody writes to: without it, one in WAL mode would get a log beside it.
fn immutable(path: &Path) -> String {
    let mut address = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => address.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => address.push(char::from(*byte)),
            byte => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address + "?immutable=1"
}
