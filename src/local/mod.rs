//! The local side of a pair: one folder, held open, and everything that a run does in it.
//!
//! - [`LocalFolder::walk`] and [`LocalFolder::observe`] say what is there, and what cannot be known.
//! - [`LocalFolder::open_read`] and [`LocalFolder::hash`] read one real state of a file.
//! - [`LocalFolder::new_file`] writes aside; [`TempFile::commit`] puts the file in place, whole and durable, if the
//!   place is still as it was observed.
//! - [`LocalFolder::rename`] gives a file another name; nothing is replaced.
//! - [`LocalFolder::remove`] and the rest of `trash.rs` keep what gave way.
//! - [`LocalFolder::replica`] is the marker by which the folder is known again.
//!
//! It relies on [`ows_providers::folder`]: nothing outside the folder can be reached, whatever links are put into it. What
//! to do about what was seen is decided elsewhere. All functions block; call them on blocking threads. A [`LocalFolder`]
//! is cheap to clone.

mod error;
mod marker;
mod read;
mod rename;
mod trash;
mod walk;
mod write;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ows_providers::RelPath;
use ows_providers::folder::{Kind, LinkScope, Resolved, Root, Stat, name};

use self::error::Context;
use crate::tree::LocalFingerprint;

pub use error::{LocalError, LocalErrorKind};
pub use marker::ReplicaId;
pub use read::{Hashed, OpenedFile};
pub use trash::{TrashTotals, Trashed, slot_name, split_slot};
pub use walk::{LocalEntry, LocalWalk, Observed, UnknownReason, WalkOptions};
pub use write::{Commit, Digest, Displace, Expect, Placed, TempFile};

/// The folder at the root of a pair that belongs to `ows`.
pub const OWN_FOLDER: &str = ".ows";

/// The first bytes of a SQLite database.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// How the names of the files end in which SQLite keeps what is not in the database yet.
const OTHER_HALVES: [&str; 2] = ["-wal", "-journal"];

/// Whether a file may be the other half of a database.
pub fn is_half_of_database(path: &RelPath) -> bool {
    let name = path.name();
    OTHER_HALVES.iter().any(|suffix| name.ends_with(suffix))
}

/// A local folder, held open.
#[derive(Debug, Clone)]
pub struct LocalFolder {
    root: Arc<Root>,
    links: Option<Arc<LinkScope>>,
    slots: Arc<trash::OpenSlots>,
}

impl LocalFolder {
    /// Opens an existing folder.
    ///
    /// # Errors
    /// [`LocalErrorKind::NotFound`] when it is missing, and what the system says.
    pub fn open(path: &Path) -> Result<Self, LocalError> {
        let root = Root::open(path).at("open", path.display())?;
        Ok(Self {
            root: Arc::new(root),
            links: None,
            slots: Arc::default(),
        })
    }

    /// Opens a folder, creating it and those above it where they are missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path) -> Result<Self, LocalError> {
        let root = Root::create(path).at("create", path.display())?;
        Ok(Self {
            root: Arc::new(root),
            links: None,
            slots: Arc::default(),
        })
    }

    /// From now on, symbolic links that stay inside `workspace` are followed when something is looked at or read. Writes
    /// never go through a link.
    ///
    /// # Errors
    /// When the workspace cannot be opened, or the folder does not lie in it.
    pub fn following_links(mut self, workspace: &Path) -> Result<Self, LocalError> {
        let scope = LinkScope::new(workspace, self.root.path()).at("open", workspace.display())?;
        self.links = Some(Arc::new(scope));
        Ok(self)
    }

    /// Whether links are followed when something is looked at or read.
    pub fn follows_links(&self) -> bool {
        self.links.is_some()
    }

    /// The first symbolic link on the way to `path`, which may be `path` itself. `None` also where that cannot be seen.
    pub fn link_on(&self, path: &RelPath) -> Option<RelPath> {
        let above = std::iter::successors(Some(path.clone()), RelPath::parent);
        let is_link = |path: &RelPath| {
            let stat = self.root.lstat(path).ok().flatten();
            stat.is_some_and(|stat| stat.kind == Kind::Symlink)
        };
        above.filter(is_link).last()
    }

    /// The path that it was opened by; for messages.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Whether the path still leads to the folder that is held open, and the folder still carries this marker (`None`:
    /// it never had one). False after the volume was unmounted or replaced: nothing may be concluded from what is
    /// missing then.
    pub fn still_there(&self, replica: Option<&ReplicaId>) -> bool {
        let again = || -> Result<bool, LocalError> {
            let now = Self::open(self.path())?;
            let same = |folder: &Self| folder.root.identity().at("look at", self.path().display());
            Ok(same(&now)? == same(self)? && now.replica()?.as_ref() == replica)
        };
        match again() {
            Ok(there) => there,
            Err(error) => {
                tracing::debug!(%error, "the local folder could not be opened again");
                false
            }
        }
    }

    /// Bytes that may still be written.
    ///
    /// # Errors
    /// What the system says.
    pub fn free_space(&self) -> Result<u64, LocalError> {
        self.root
            .free_space()
            .at("measure the free space of", self.path().display())
    }

    /// Creates a folder and those above it; succeeds when it is there.
    ///
    /// # Errors
    /// [`LocalErrorKind::Exists`] when a file is in the way, [`LocalErrorKind::Link`] when a link is.
    pub fn create_dir(&self, path: &RelPath) -> Result<(), LocalError> {
        refuse_own(path, "create")?;
        self.root
            .make_folder(Some(path))
            .map(drop)
            .at("create", path)
    }

    /// Removes a folder that is empty; succeeds when it is gone.
    ///
    /// # Errors
    /// [`LocalErrorKind::NotEmpty`] when it holds anything, [`LocalErrorKind::Exists`] when it is no folder.
    pub fn remove_empty_dir(&self, path: &RelPath) -> Result<(), LocalError> {
        const DOING: &str = "remove";
        refuse_own(path, DOING)?;
        let Some((dir, last)) = absent_is_none(self.root.parent(path)).at(DOING, path)? else {
            return Ok(());
        };
        match name::lstat(&dir, last).at(DOING, path)? {
            None => return Ok(()),
            Some(stat) if stat.kind == Kind::Symlink => {
                return Err(LocalError::new(LocalErrorKind::Link, DOING, path));
            }
            Some(_) => {}
        }
        if absent_is_none(name::remove_dir(&dir, last))
            .at(DOING, path)?
            .is_some()
        {
            name::sync_dir(&dir).at(DOING, path)?;
        }
        Ok(())
    }

    /// Whether a file is a SQLite database that some program has open, or that was not closed properly: then the rest of
    /// its content lies in a file beside it, and replacing the one without the other would destroy it.
    ///
    /// # Errors
    /// What the system says; a missing or special file is no database.
    pub fn is_live_database(&self, path: &RelPath) -> Result<bool, LocalError> {
        const DOING: &str = "read";
        let mut beside = false;
        for suffix in OTHER_HALVES {
            let companion = path
                .with_name(&format!("{}{suffix}", path.name()))
                .map_err(|_| LocalError::new(LocalErrorKind::Io, DOING, path))?;
            beside |= match self.root.lstat(&companion) {
                Ok(stat) => stat.is_some(),
                // No file system takes names this long, so that nothing has this one.
                Err(error) if error.kind() == io::ErrorKind::InvalidFilename => false,
                Err(error) => return Err(LocalError::io(DOING, &companion, error)),
            };
        }
        if !beside {
            return Ok(false);
        }
        match self.open_read(path) {
            Ok(file) => {
                let mut magic = [0; SQLITE_MAGIC.len()];
                let length = file.read_at(&mut magic, 0).at(DOING, path)?;
                Ok(magic[..length] == *SQLITE_MAGIC)
            }
            Err(error)
                if matches!(
                    error.kind,
                    LocalErrorKind::NotFound | LocalErrorKind::NotRegular | LocalErrorKind::Link
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The place where `path` really lies, when links are followed and one was met.
    fn resolve(
        &self,
        path: &RelPath,
    ) -> Option<Result<Resolved, ows_providers::folder::LinkProblem>> {
        self.links.as_ref().map(|links| links.resolve(path))
    }
}

/// What the attributes say, observed at the given time.
fn fingerprint(stat: &Stat, observed_at_ns: i64) -> LocalFingerprint {
    LocalFingerprint {
        size: match stat.kind {
            Kind::Dir => 0,
            _ => stat.size,
        },
        mtime_ns: stat.mtime_ns,
        ctime_ns: stat.ctime_ns,
        inode: stat.identity.inode,
        blake3: None,
        observed_at_ns,
    }
}

/// What belongs to `ows` is never written as content, whatever a remote calls its files.
fn refuse_own(path: &RelPath, doing: &'static str) -> Result<(), LocalError> {
    if path.segments().next() == Some(OWN_FOLDER) {
        return Err(LocalError::new(LocalErrorKind::Denied, doing, path));
    }
    Ok(())
}

/// A path inside our own folder, from segments that are known to be good.
fn own_path(rest: &str) -> Result<RelPath, LocalError> {
    let text = format!("{OWN_FOLDER}/{rest}");
    RelPath::new(&text).map_err(|error| {
        let error = io::Error::new(io::ErrorKind::InvalidInput, error);
        LocalError::io("use", text, error)
    })
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The random ending of temporary names: 16 hexadecimal digits.
fn random_word() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A name in a folder as the system takes it.
fn os(text: &str) -> &OsStr {
    OsStr::new(text)
}

#[cfg(test)]
mod tests;
