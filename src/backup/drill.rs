//! `backup drill`: restores the newest snapshot for practice, looks at what came out, and cleans up.
//!
//! - Every file is compared with the index, as any restore does.
//! - Databases of SQLite are asked whether they are whole. One that was not when the snapshot was made, and was told so then,
//!   is as it was stored.
//! - What stands on the host that made the snapshot, and is older, must be what was restored. Databases are left out of that:
//!   they are stored as a consistent copy, which need not be the same bytes.
//!
//! The scratch folder lies in our own one, is locked while it is used, and goes whatever happens; one that a killed run
//! left goes with the next command that looks for it ([`sweep`]): it holds everything in the clear.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::TimeDelta;
use rustix::fs::{FlockOperation, flock};

use super::catalog::{AHEAD, Catalog, Snapshot};
use super::contents::each;
use super::entry::Digest;
use super::extract::{Extracted, hash};
use super::restore::{RestoreOptions, Restored, blocking, restore};
use super::settings::BackupSettings;
use super::source::{Chosen, Source, Which, failure};
use crate::cancel::Cancel;
use crate::error::{Failure, Outcome};
use crate::report::Reporter;
use crate::state::integrity;

/// What scratch folders are called in our own one.
const PREFIX: &str = "drill-";

/// The first bytes of every SQLite database.
const SQLITE: &[u8; 16] = b"SQLite format 3\0";

/// No database is shorter: SQLite's smallest page.
const SMALLEST: u64 = 512;

/// How a drill went.
#[derive(Debug)]
pub struct Drilled {
    /// How the restore went, with all that is bad; its target is gone.
    pub restored: Restored,
    /// Databases that were asked.
    pub databases: u64,
    /// Files that were compared with those on this host.
    pub compared: u64,
}

/// Drills.
///
/// # Errors
/// As [`restore`]; and when the scratch folder cannot be made or read.
pub async fn drill(
    settings: &BackupSettings,
    catalog: &Catalog,
    which: &Which,
    reporter: Arc<dyn Reporter>,
    cancel: &Cancel,
) -> Outcome<Drilled> {
    let chosen = Chosen::find(settings, catalog, which)?;
    let own_dir = settings.own_dir.clone();
    let scratch = blocking(move || {
        sweep(&own_dir);
        Scratch::new(&own_dir).map_err(|error| {
            Failure::failed("could not make a scratch folder for the drill")
                .with_path(own_dir.display().to_string())
                .with_source(error)
        })
    })
    .await?;
    let options = RestoreOptions {
        snapshot: Which::Name(chosen.name()),
        to: Some(scratch.target()),
        only: Vec::new(),
        dry_run: false,
        overwrite: false,
    };
    let restored = restore(settings, catalog, options, Arc::clone(&reporter), cancel).await?;
    let compare = Compare {
        root: scratch.target(),
        workspace: settings.workspace.clone(),
        state_dir: settings.state_dir.clone(),
        before_ns: match &chosen {
            Chosen::Snapshot(snapshot) => before_ns(settings, snapshot),
            Chosen::Legacy(_) => None,
        },
        cancel: cancel.clone(),
        found: Found::default(),
    };
    let found = blocking(move || {
        compare.run().map_err(|error| {
            Failure::failed("could not look through what was restored").with_source(error)
        })
    })
    .await?;
    let mut drilled = Drilled {
        restored,
        databases: 0,
        compared: found.compared,
    };
    // The restore was asked for it by name.
    let newer = which.warnings(settings, catalog);
    drilled.restored.warnings.splice(0..0, newer);
    for (path, message) in &found.bad {
        drilled.restored.done.note(path, message);
    }
    let broken = drilled.ask(&found.databases, &scratch, cancel).await?;
    if !broken.is_empty() {
        let which = Which::Name(chosen.name());
        let source = Source::choose(settings, catalog, &which, reporter, cancel)?;
        let known = known_problems(source, cancel).await?;
        drilled.tell_broken(broken, &known);
    }
    blocking(move || {
        scratch.remove().map_err(|error| {
            Failure::failed("the scratch folder of the drill could not be removed")
                .with_source(error)
        })
    })
    .await?;
    Ok(drilled)
}

/// Live files that are older than this are what was stored, when they stand on the host that made the snapshot. Its time is
/// the storage's and theirs this host's: what the two differ by now is taken off, and a margin, for then it was not the same.
fn before_ns(settings: &BackupSettings, snapshot: &Snapshot) -> Option<i128> {
    if snapshot.manifest.host != settings.host {
        return None;
    }
    let skew = match settings.provider.clock() {
        Some(clock) => clock.signed_duration_since(settings.clock.now()).abs(),
        None => TimeDelta::zero(),
    };
    let before = snapshot.manifest.started_at.checked_sub_signed(AHEAD)?;
    let before = before.checked_sub_signed(skew)?;
    before.timestamp_nanos_opt().map(i128::from)
}

/// The archive paths of files that were not whole when the snapshot was made.
async fn known_problems(source: Source, cancel: &Cancel) -> Outcome<BTreeSet<Vec<u8>>> {
    let cancel = cancel.clone();
    blocking(move || {
        let mut known = BTreeSet::new();
        let read = each(&source, &mut |entry| {
            if entry.problem.is_some() {
                known.insert(entry.path.as_bytes().to_vec());
            }
        });
        let message = "could not look up what was whole when the snapshot was made";
        match read {
            Ok(_) => Ok(known),
            Err(error) => Err(failure(message.to_owned(), error, &cancel)),
        }
    })
    .await
}

/// A folder that goes when it is dropped.
struct Scratch {
    path: PathBuf,
    /// Locked, so that nobody takes it for one that was left behind.
    _lock: File,
}

impl Scratch {
    fn new(own_dir: &Path) -> io::Result<Self> {
        // Another process may sweep between the making and the locking: then there is another try.
        for _ in 0..10 {
            if let Some(scratch) = Self::try_new(own_dir)? {
                return Ok(scratch);
            }
        }
        Err(io::Error::other(
            "the folder vanishes each time that it is made",
        ))
    }

    fn try_new(own_dir: &Path) -> io::Result<Option<Self>> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = own_dir.join(format!("{PREFIX}{:016x}", rand::random::<u64>()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let lock = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            locked => locked?,
        }
        // Whoever had the lock before us removed it.
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(_) => Ok(Some(Self { path, _lock: lock })),
        }
    }

    fn target(&self) -> PathBuf {
        self.path.join("restored")
    }

    fn remove(self) -> io::Result<()> {
        remove(&self.path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a scratch folder stays");
        }
    }
}

/// Removes scratch folders that nobody uses: those of drills that were killed.
pub fn sweep(own_dir: &Path) {
    let Ok(entries) = fs::read_dir(own_dir) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        let removed = File::open(&path).and_then(|lock| {
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            remove(&path)
        });
        if let Err(error) = removed {
            tracing::debug!(path = %path.display(), %error, "a scratch folder is in use or stays");
        }
    }
}

/// Removes a folder, also where a restored mode keeps us out. Links are not followed.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(_) => open_up(path)?,
    }
    fs::remove_dir_all(path)
}

/// Makes each folder below one that may be read and emptied.
fn open_up(path: &Path) -> io::Result<()> {
    let mut waiting = vec![path.to_owned()];
    while let Some(folder) = waiting.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Found {
    databases: Vec<PathBuf>,
    compared: u64,
    bad: Vec<(String, String)>,
}

/// Walks what was restored.
struct Compare {
    root: PathBuf,
    workspace: PathBuf,
    state_dir: PathBuf,
    /// What was last changed before is as it was stored; `None` where nothing is known to be.
    before_ns: Option<i128>,
    cancel: Cancel,
    found: Found,
}

impl Compare {
    fn run(mut self) -> io::Result<Found> {
        // Where nothing at all could be restored there is no folder.
        if !self.root.try_exists()? {
            return Ok(self.found);
        }
        // Nobody else is in there; modes go with the folder.
        open_up(&self.root)?;
        let mut waiting = vec![self.root.clone()];
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(&folder)? {
                // Whoever called asks as well, and takes this for no result.
                if self.cancel.is_stopped() {
                    return Ok(self.found);
                }
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    waiting.push(entry.path());
                } else if kind.is_file() {
                    self.file(&entry.path())?;
                }
            }
        }
        Ok(self.found)
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let mut file = File::open(path)?;
        let mut head = Vec::new();
        (&mut file)
            .take(SQLITE.len() as u64)
            .read_to_end(&mut head)?;
        if head == SQLITE && file.metadata()?.len() >= SMALLEST {
            self.found.databases.push(path.to_owned());
            return Ok(());
        }
        let Ok(name) = path.strip_prefix(&self.root) else {
            return Ok(());
        };
        let Some(live) = self.live(name) else {
            return Ok(());
        };
        // Someone may be changing it: what cannot be read, or is not the same before and after, says nothing.
        let Some(digest) = self.unchanged(&live) else {
            return Ok(());
        };
        self.found.compared += 1;
        if hash(&mut File::open(path)?)? != digest {
            self.found.bad.push((
                name.display().to_string(),
                "it is not what stands on this host, and that is older than the snapshot"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Where the archive path `name` came from.
    fn live(&self, name: &Path) -> Option<PathBuf> {
        let text = name.to_string_lossy();
        // What belongs to a database changes with it.
        if ["-wal", "-shm", "-journal"]
            .iter()
            .any(|end| text.ends_with(end))
        {
            return None;
        }
        match name.strip_prefix("workspace") {
            Ok(rest) => Some(self.workspace.join(rest)),
            Err(_) => Some(self.state_dir.join(name)),
        }
    }

    /// The hash of a live file that is older than the snapshot, by the time of its content and that of its inode.
    fn unchanged(&self, live: &Path) -> Option<Digest> {
        let stamp = || {
            let metadata = fs::symlink_metadata(live).ok()?;
            let at = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
            let modified = at(metadata.mtime(), metadata.mtime_nsec());
            let changed = at(metadata.ctime(), metadata.ctime_nsec());
            let is_older = modified.max(changed) < self.before_ns?;
            (metadata.is_file() && is_older).then_some((changed, metadata.ino(), metadata.len()))
        };
        let before = stamp()?;
        let digest = hash(&mut File::open(live).ok()?).ok()?;
        (stamp()? == before).then_some(digest)
    }
}

/// A database that is not whole: its path in the snapshot, and why.
type Broken = (PathBuf, String);

impl Drilled {
    /// Asks the databases whether they are whole.
    ///
    /// # Errors
    /// When the run was stopped, also before: what was not looked at proves nothing.
    async fn ask(
        &mut self,
        databases: &[PathBuf],
        scratch: &Scratch,
        cancel: &Cancel,
    ) -> Outcome<Vec<Broken>> {
        let mut broken = Vec::new();
        for path in databases {
            if cancel.is_stopped() {
                return Err(cancel.failure());
            }
            self.databases += 1;
            if let Some(problem) = integrity::problem(path).await {
                let inside = path.strip_prefix(scratch.target()).unwrap_or(path);
                broken.push((inside.to_owned(), problem));
            }
        }
        match cancel.is_stopped() {
            true => Err(cancel.failure()),
            false => Ok(broken),
        }
    }

    /// Takes in which databases are not whole: those that were `known` not to be are as they were stored.
    fn tell_broken(&mut self, broken: Vec<Broken>, known: &BTreeSet<Vec<u8>>) {
        for (path, problem) in broken {
            let shown = path.display();
            if known.contains(path.as_os_str().as_bytes()) {
                self.restored.warnings.push(format!(
                    "the database `{shown}` is not whole, and was not when the snapshot was made: {problem}"
                ));
            } else {
                let message = format!("the database is not whole: {problem}");
                self.restored.done.note(&shown.to_string(), &message);
            }
        }
    }

    /// What was done and what is bad.
    pub fn done(&self) -> &Extracted {
        &self.restored.done
    }
}
