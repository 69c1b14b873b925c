//! Local files to the remote: small ones in one call, large ones in parts.

use std::sync::Arc;

use bytes::Bytes;
use ows_providers::{CopyOptions, Entry, Precondition, PutOptions, RelPath, SortKey};

use super::Applier;
use super::conditions::{Conditional, expect};
use super::outcome::Problem;
use super::source::{self, Reading};
use crate::local::slot_name;
use crate::plan::{Action, Fate, mailbox};
use crate::tree::{BaseRow, LocalFingerprint, RemoteStamp};

impl Applier {
    pub(super) fn conditional(&self) -> Conditional<'_> {
        Conditional {
            provider: self.provider.as_ref(),
            enforcement: self.enforcement,
        }
    }

    /// Uploads the file and gives the row that both sides agree on.
    pub(super) async fn upload(
        self: &Arc<Self>,
        action: &Action,
        reading: Reading,
    ) -> Result<BaseRow, Problem> {
        let path = &action.key.path;
        let observed = self.observe_source(action, reading).await?;
        let (fingerprint, entry) = if observed.size <= self.provider.capabilities().single_put_max {
            self.upload_small(action, observed.size, reading).await?
        } else {
            self.upload_parts(action, reading).await?
        };
        let mut remote = self.stamp_of_own(&entry);
        remote.mtime_ns = remote.mtime_ns.or(Some(fingerprint.mtime_ns));
        Ok(BaseRow {
            key: SortKey::file(path.clone()),
            local: fingerprint,
            remote,
        })
    }

    /// The stamp of a version that we have just written.
    pub(super) fn stamp_of_own(&self, entry: &Entry) -> RemoteStamp {
        let mut stamp = RemoteStamp::from_entry(entry, true);
        stamp.stored_by_ns = self
            .provider
            .clock()
            .and_then(|time| time.timestamp_nanos_opt());
        stamp
    }

    /// The file must still be what the plan saw; only on the second try may it have moved on.
    async fn observe_source(
        &self,
        action: &Action,
        reading: Reading,
    ) -> Result<LocalFingerprint, Problem> {
        let local = Arc::clone(&self.local);
        let path = action.key.path.clone();
        let now = blocking(move || source::look(&local, &path)).await??;
        match (now, &action.local) {
            (None, _) => Err(Problem::Left(
                "it vanished before it could be uploaded; the next run looks again".into(),
            )),
            (Some(now), Some(seen)) if reading == Reading::Whole && !now.same_attributes(seen) => {
                Err(Problem::Changing)
            }
            (Some(now), _) => Ok(now),
        }
    }

    async fn upload_small(
        self: &Arc<Self>,
        action: &Action,
        size: u64,
        reading: Reading,
    ) -> Result<(LocalFingerprint, Entry), Problem> {
        let path = action.key.path.clone();
        let _held = self.hold(size).await?;
        let local = Arc::clone(&self.local);
        let read_path = path.clone();
        let content = blocking(move || source::read(&local, &read_path, reading)).await??;
        if content.bytes.len() as u64 > self.provider.capabilities().single_put_max {
            return Err(Problem::Changing);
        }
        let precondition = self.displace(action).await?;
        let options = PutOptions {
            precondition,
            mtime_ns: Some(content.hashed.fingerprint.mtime_ns),
            md5: Some(content.hashed.md5),
        };
        let entry = self
            .conditional()
            .put(&path, Bytes::from(content.bytes), options)
            .await?;
        self.reporter.moved(size);
        Ok((content.hashed.fingerprint, entry))
    }

    /// Makes room for an upload: what is displaced and not our own goes to the trash. Gives what must be at the path when
    /// the upload is written.
    pub(super) async fn displace(&self, action: &Action) -> Result<Precondition, Problem> {
        let Some(displaced) = &action.remote else {
            return Ok(Precondition::Absent);
        };
        if action.keep_displaced && self.fates.remote == Fate::Trash {
            // Copied rather than renamed where that can be done: whoever looks meanwhile finds the old content or the new.
            let stays = self.provider.capabilities().copy;
            let renamed = self
                .keep_remote_copy(&action.key.path, displaced, stays)
                .await?;
            if renamed {
                return Ok(Precondition::Absent);
            }
        }
        Ok(expect(action.remote.as_deref()))
    }

    /// Puts the remote file that is about to be displaced into `.ows/trash/<run id>/`, or the folder of this pass. True when it was renamed there, so
    /// that its old name is free now; false when it was copied.
    pub(super) async fn keep_remote_copy(
        &self,
        path: &RelPath,
        displaced: &RemoteStamp,
        stays: bool,
    ) -> Result<bool, Problem> {
        let Some(kept) = trash_path(self.run.as_str(), self.pass, path) else {
            return Err(Problem::Failed(
                "its name is too long for the trash, so it was left alone".into(),
            ));
        };
        if let Some(objection) = self.provider.capabilities().names.objection(&kept) {
            return Err(Problem::Failed(format!(
                "its name does not fit into the trash ({objection}), so it was left alone"
            )));
        }
        let options = CopyOptions {
            source: displaced.version.clone(),
            precondition: Precondition::Absent,
            size: displaced.size,
            mtime_ns: None,
        };
        if self.provider.capabilities().rename && !stays {
            self.provider.rename(path, &kept, options).await?;
            return Ok(true);
        }
        match self
            .provider
            .copy(
                path,
                &kept,
                CopyOptions {
                    precondition: Precondition::Any,
                    ..options
                },
            )
            .await
        {
            Ok(_) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Where displaced content of a pass lies in the remote. Each pass has a folder of its own, so that what one displaces after
/// another under the same name replaces no copy.
fn trash_path(run: &str, pass: u32, path: &RelPath) -> Option<RelPath> {
    let slot = slot_name(run, pass);
    RelPath::new(&format!("{}/trash/{slot}/{path}", mailbox::OWN)).ok()
}

/// Runs blocking work on its own thread. A panic in it becomes a problem of this path alone.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Problem::Failed(format!(
            "an internal error ended the work on this path: {error}"
        ))
    })
}
