//! Renaming a file inside the folder.

use ows_providers::RelPath;
use ows_providers::folder::{Stat, name, now_ns};

use super::error::Context;
use super::write::is_exactly;
use super::{LocalError, LocalErrorKind, LocalFolder, fingerprint, refuse_own};
use crate::tree::LocalFingerprint;

const DOING: &str = "rename";

impl LocalFolder {
    /// Gives a file another name, where nothing may be, if it is still what was observed. Folders that the new name needs
    /// are created. The answer is the file as it is then, with the hash of `expected`.
    ///
    /// # Errors
    /// [`LocalErrorKind::Changed`] or [`LocalErrorKind::NotFound`] when the file is not as expected,
    /// [`LocalErrorKind::Exists`] when something has the new name, [`LocalErrorKind::InUse`] when it is a live database,
    /// whose other half would keep the old name, and what the system says; the file has its old name then.
    pub fn rename(
        &self,
        from: &RelPath,
        to: &RelPath,
        expected: &LocalFingerprint,
    ) -> Result<LocalFingerprint, LocalError> {
        refuse_own(from, DOING)?;
        refuse_own(to, DOING)?;
        if self.is_live_database(from)? {
            return Err(LocalError::new(LocalErrorKind::InUse, DOING, from));
        }
        let (old_dir, old_name) = self.root.parent(from).at(DOING, from)?;
        let look = || -> Result<Stat, LocalError> {
            match name::lstat(&old_dir, old_name).at(DOING, from)? {
                None => Err(LocalError::new(LocalErrorKind::NotFound, DOING, from)),
                Some(stat) if is_exactly(&stat, expected) => Ok(stat),
                Some(_) => Err(LocalError::new(LocalErrorKind::Changed, DOING, from)),
            }
        };
        look()?;
        let (new_dir, new_name) = self.root.make_parent(to).at(DOING, to)?;
        let seen = look()?;
        name::rename_noreplace((&old_dir, old_name), (&new_dir, new_name)).at(DOING, to)?;
        let observed_at_ns = now_ns();
        let moved = name::lstat(&new_dir, new_name).at(DOING, to)?;
        let Some(moved) = moved.filter(|moved| moved.same_content_as(&seen)) else {
            // Somebody was faster between the look and the rename: it gets its name back.
            name::rename_noreplace((&new_dir, new_name), (&old_dir, old_name)).at(DOING, from)?;
            return Err(LocalError::new(LocalErrorKind::Changed, DOING, from));
        };
        name::sync_dir(&new_dir).at(DOING, to)?;
        name::sync_dir(&old_dir).at(DOING, from)?;
        Ok(LocalFingerprint {
            blake3: expected.blake3,
            ..fingerprint(&moved, observed_at_ns)
        })
    }
}
