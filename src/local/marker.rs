//! The marker `.ows/replica`, by which a folder is known to be the one that the base speaks of, and our own folder.

use std::fmt;
use std::io::{self, Read, Write};

use cap_std::fs::Dir;
use ows_providers::folder::{Kind, Ownership, Temp, name};

use super::error::Context;
use super::{LocalError, LocalFolder, OWN_FOLDER, absent_is_none, is_hex, os, own_path};

/// A marker is 33 bytes long; whatever is longer than this is none.
const LONGEST_MARKER: u64 = 4096;

/// The random id of one local copy of a pair: 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(String);

impl ReplicaId {
    /// A new id.
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// Reads an id back; `None` when `text` is none.
    pub fn parse(text: &str) -> Option<Self> {
        is_hex(text, 32).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first eight digits, for names of files.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl LocalFolder {
    /// The id that the folder carries; `None` when it carries none, also when what stands there is no marker: that makes
    /// the folder nobody's, see [`Self::has_damaged_marker`].
    ///
    /// # Errors
    /// When the marker is there but cannot be read: that proves neither presence nor absence.
    pub fn replica(&self) -> Result<Option<ReplicaId>, LocalError> {
        const DOING: &str = "read the replica marker";
        let path = own_path("replica")?;
        if self.marker_kind()? != Some(Kind::File) {
            return Ok(None);
        }
        let Some((file, _)) = absent_is_none(self.root.open_regular(&path)).at(DOING, &path)?
        else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(LONGEST_MARKER)
            .read_to_end(&mut bytes)
            .at(DOING, &path)?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        Ok(ReplicaId::parse(text.trim_end()))
    }

    /// Whether something has the marker's name that is none: an empty file, other text, a folder, a link.
    ///
    /// # Errors
    /// As for [`Self::replica`].
    pub fn has_damaged_marker(&self) -> Result<bool, LocalError> {
        Ok(self.marker_kind()?.is_some() && self.replica()?.is_none())
    }

    fn marker_kind(&self) -> Result<Option<Kind>, LocalError> {
        const DOING: &str = "look at the replica marker";
        let path = own_path("replica")?;
        if !self.has_own_folder()? {
            return Ok(None);
        }
        let dir = name::open_dir(self.root.dir(), os(OWN_FOLDER)).at(DOING, OWN_FOLDER)?;
        let stat = name::lstat(&dir, os("replica")).at(DOING, &path)?;
        Ok(stat.map(|stat| stat.kind))
    }

    /// Marks the folder, durably; an older marker gives way.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_replica(&self, replica: &ReplicaId) -> Result<(), LocalError> {
        const DOING: &str = "write the replica marker";
        let path = own_path("replica")?;
        let dir = self.own_folder()?;
        let write = || -> io::Result<()> {
            // One fixed name: what a killed run left is taken over, and runs exclude each other.
            absent_is_none(name::unlink(&dir, os("replica.new")))?;
            let temp = Temp::create(dir.try_clone()?, "replica.new", false)?;
            temp.file().write_all(format!("{replica}\n").as_bytes())?;
            temp.seal(Ownership::New, None, &dir)?;
            // A file gives way by itself. What a folder of this name holds is not ours to remove.
            if name::lstat(&dir, os("replica"))?.is_some_and(|stat| stat.kind == Kind::Dir) {
                let aside = format!("replica.aside-{}", super::random_word());
                name::rename_noreplace((&dir, os("replica")), (&dir, os(&aside)))?;
            }
            temp.place_over(&dir, os("replica"))?;
            name::sync_dir(&dir)
        };
        write().at(DOING, &path)
    }

    /// Our own folder, created where it is missing, with a `.gitignore` that keeps it out of repositories.
    pub(super) fn own_folder(&self) -> Result<Dir, LocalError> {
        const DOING: &str = "create";
        let path = own_path(".gitignore")?;
        let (dir, last) = self.root.make_parent(&path).at(DOING, OWN_FOLDER)?;
        if name::lstat(&dir, last).at(DOING, &path)?.is_none() {
            match name::create_new(&dir, last, 0o666) {
                Ok(mut file) => file.write_all(b"*\n").at(DOING, &path)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(LocalError::io(DOING, &path, error)),
            }
        }
        Ok(dir)
    }

    /// Whether our own folder is there at all.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn has_own_folder(&self) -> Result<bool, LocalError> {
        let stat = name::lstat(self.root.dir(), os(OWN_FOLDER)).at("read", OWN_FOLDER)?;
        Ok(stat.is_some_and(|stat| stat.kind == Kind::Dir))
    }
}
