//! Gives a file the name that it has on the other side already. The content crosses no network, and is replaced nowhere.
//!
//! What was edited under its old name is given the new one with its edit; the base keeps what was agreed on before for the
//! edited side, so that the next pass sees the edit.

use std::sync::Arc;

use ows_providers::{CopyOptions, EntryKind, Precondition, RelPath};

use super::conditions::expect;
use super::fetch::clear_empty_folders;
use super::outcome::Problem;
use super::source;
use super::upload::blocking;
use super::{Applier, folder_row};
use crate::local::{LocalError, LocalErrorKind};
use crate::plan::Action;
use crate::tree::{BaseRow, RemoteStamp};

impl Applier {
    /// Gives the remote file its new name.
    pub(super) async fn move_remote(
        &self,
        action: &Action,
        from: &RelPath,
        old: &BaseRow,
    ) -> Result<BaseRow, Problem> {
        if action.key.kind == EntryKind::Dir {
            return self.respell_folder(action, from).await;
        }
        let (Some(local), Some(remote)) = (&action.local, &action.remote) else {
            return Err(Problem::Failed("the plan names no file to move".into()));
        };
        let path = &action.key.path;
        let folder = Arc::clone(&self.local);
        let (new, gone) = (path.clone(), from.clone());
        let (now, gone) = blocking(move || {
            Ok::<_, LocalError>((
                source::look(&folder, &new)?,
                source::is_gone(&folder, &gone)?,
            ))
        })
        .await??;
        if !gone || !now.is_some_and(|now| now.same_attributes(local)) {
            return Err(Problem::Left(
                "the workspace changed after it was looked at; the next run looks again".into(),
            ));
        }
        let options = CopyOptions {
            source: remote.version.clone(),
            precondition: Precondition::Absent,
            size: remote.size,
            mtime_ns: None,
        };
        let names = self.provider.capabilities().names;
        let only_above = names.folds() && names.folded(from) == names.folded(path);
        let row = |remote, is_edited| BaseRow {
            key: action.key.clone(),
            local: (**local).clone(),
            remote: if is_edited {
                agreed_before(old)
            } else {
                remote
            },
        };
        let mut is_edited = action.changed.remote;
        let entry = if only_above && from.name() == path.name() {
            // A folder above has got another spelling, and this has it by that. No call has told which version that is.
            let entry = self.provider.stat(path).await?;
            is_edited |= !remote.same_version(&RemoteStamp::from_entry(&entry, false));
            entry
        } else if self.provider.capabilities().rename {
            self.provider.rename(from, path, options).await?
        } else {
            let entry = self.conditional().copy_new(from, path, options).await?;
            // The copy is there: from now on the old name holds nothing that would be lost.
            self.base
                .agreed(row(self.stamp_of_own(&entry), is_edited))
                .await?;
            self.conditional()
                .delete(from, expect(Some(remote)))
                .await?;
            entry
        };
        let mut stamp = self.stamp_of_own(&entry);
        stamp.mtime_ns = stamp.mtime_ns.or(old.remote.mtime_ns);
        Ok(row(stamp, is_edited))
    }

    /// Gives a folder another spelling of its name, with all that is in it.
    async fn respell_folder(&self, action: &Action, from: &RelPath) -> Result<BaseRow, Problem> {
        let path = &action.key.path;
        if from.name() != path.name() {
            let options = CopyOptions {
                source: None,
                precondition: Precondition::Any,
                size: 0,
                mtime_ns: None,
            };
            self.provider.rename(from, path, options).await?;
        }
        Ok(folder_row(&action.key, action))
    }

    /// Gives the local file its new name, if it is still what was looked at and nothing has the name.
    pub(super) async fn move_local(
        &self,
        action: &Action,
        from: &RelPath,
        old: &BaseRow,
    ) -> Result<BaseRow, Problem> {
        let (Some(local), Some(remote)) = (&action.local, &action.remote) else {
            return Err(Problem::Failed("the plan names no file to move".into()));
        };
        let folder = Arc::clone(&self.local);
        let (old_name, new_name, seen) = (from.clone(), action.key.path.clone(), local.clone());
        let renamed = blocking(move || {
            clear_empty_folders(&folder, &new_name)?;
            folder.rename(&old_name, &new_name, &seen)
        })
        .await?;
        let moved = renamed.map_err(|error| match error.kind {
            LocalErrorKind::Changed => Problem::Left(
                "it changed after it was looked at, so it keeps its name; the next run looks again"
                    .into(),
            ),
            _ => error.into(),
        })?;
        let mut remote = (**remote).clone();
        remote.mtime_ns = remote.mtime_ns.or(old.remote.mtime_ns);
        // Its content is what was agreed on, by its hash.
        remote.own = true;
        Ok(BaseRow {
            key: action.key.clone(),
            local: if action.changed.local {
                old.local.clone()
            } else {
                moved
            },
            remote,
        })
    }
}

/// What the remote held before it was edited. It is no version of the new name, so nothing there passes for it.
fn agreed_before(old: &BaseRow) -> RemoteStamp {
    RemoteStamp {
        own: false,
        stored_by_ns: None,
        ..old.remote.clone()
    }
}
