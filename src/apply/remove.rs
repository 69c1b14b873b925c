//! Deletes, on either side, always into the trash; and folders.

use std::sync::Arc;

use ows_providers::{EntryKind, ErrorKind, RelPath};

use super::Applier;
use super::conditions::expect;
use super::outcome::Problem;
use super::upload::blocking;
use crate::local::{Displace, LocalErrorKind, Observed};
use crate::plan::{Action, Fate};

impl Applier {
    /// Deletes the remote file, after a last look that the workspace still has none, and after it lies in the trash. False
    /// for a folder in which something stays.
    pub(super) async fn delete_remote(&self, action: &Action) -> Result<bool, Problem> {
        let path = &action.key.path;
        if action.key.kind == EntryKind::Dir {
            return self.delete_remote_dir(path).await;
        }
        self.still_absent(path).await?;
        let Some(remote) = &action.remote else {
            return Ok(true);
        };
        if action.keep_displaced
            && self.fates.remote == Fate::Trash
            && self.keep_remote_copy(path, remote, false).await?
        {
            return Ok(true);
        }
        self.conditional()
            .delete(path, expect(Some(remote)))
            .await?;
        Ok(true)
    }

    async fn still_absent(&self, path: &RelPath) -> Result<(), Problem> {
        let local = Arc::clone(&self.local);
        let look = path.clone();
        match blocking(move || local.observe(&look)).await? {
            None => Ok(()),
            // A folder that took the name is no reason to keep the old file.
            Some(Observed::Entry(entry)) if entry.key.kind == EntryKind::Dir => Ok(()),
            Some(_) => Err(Problem::Left(
                "it is back in the workspace, so the remote file was kept".into(),
            )),
        }
    }

    async fn delete_remote_dir(&self, path: &RelPath) -> Result<bool, Problem> {
        match self.provider.delete_dir(path).await {
            // Something that takes no part (an excluded file, a new one) is in it: the folder stays with it.
            Err(error) if error.kind == ErrorKind::PreconditionFailed => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }

    /// Moves the local file to the local trash; an empty folder is removed. False for a folder in which something stays.
    pub(super) async fn delete_local(&self, action: &Action) -> Result<bool, Problem> {
        let path = action.key.path.clone();
        let local = Arc::clone(&self.local);
        if action.key.kind == EntryKind::Dir {
            return match blocking(move || local.remove_empty_dir(&path)).await? {
                // Something that takes no part is in it: the folder stays with it.
                Err(error) if error.kind == LocalErrorKind::NotEmpty => Ok(false),
                other => Ok(other.map(|()| true)?),
            };
        }
        let Some(seen) = action.local.clone() else {
            return Ok(true);
        };
        let run = self.run.clone();
        let displaced = if self.fates.local == Fate::Trash {
            Displace::Trash
        } else {
            Displace::Drop
        };
        match blocking(move || local.remove(&path, run.as_str(), &seen, displaced)).await? {
            Err(error) if error.kind == LocalErrorKind::Changed => Err(Problem::Left(
                "it changed after it was looked at, so it was left alone".into(),
            )),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(true),
        }
    }

    pub(super) async fn create_dir_local(&self, path: &RelPath) -> Result<(), Problem> {
        let local = Arc::clone(&self.local);
        let path = path.clone();
        Ok(blocking(move || local.create_dir(&path)).await??)
    }
}

impl Applier {
    /// Ends a drain: the content was delivered, so it does not go to the trash.
    ///
    /// # Errors
    /// The provider's.
    pub async fn delete_delivered(
        &self,
        path: &RelPath,
        precondition: ows_providers::Precondition,
    ) -> ows_providers::Result<()> {
        self.conditional().delete(path, precondition).await
    }
}
