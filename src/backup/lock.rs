//! One command that changes backups at a time per state directory: a lock held by the operating system, which a crash frees.
//! Syncs go on meanwhile.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};

/// How often a waiting command looks again.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct BackupLock {
    file: File,
}

impl BackupLock {
    /// Takes the lock, waiting up to `wait` for another command to end.
    ///
    /// # Errors
    /// [`FailureKind::Busy`] when another one holds it for longer; others when the lock file cannot be made.
    pub async fn take(own_dir: &Path, wait: Duration, cancel: &Cancel) -> Outcome<Self> {
        let folder = own_dir.join("locks");
        let path = folder.join("backup.lock");
        let failed = |error| {
            Failure::failed("could not open the lock file")
                .with_path(path.display().to_string())
                .with_source(error)
                .with_hint("check the permissions of the state directory, then run again")
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(failed)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let deadline = Instant::now() + wait;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file }),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    let busy = "another backup is in progress on this host";
                    return Err(Failure::new(FailureKind::Busy, busy)
                        .with_hint("wait for it to end, then run again; nothing was changed"));
                }
                Err(TryLockError::WouldBlock) => {
                    let slept = cancel.unless_stopped(tokio::time::sleep(LOOK_EVERY)).await;
                    slept.ok_or_else(|| cancel.failure())?;
                }
            }
        }
    }
}

impl Drop for BackupLock {
    /// Closing would not do: a process that is being started at this moment, by a program that embeds this, has the file open as
    /// well until it becomes what it is to be, and would hold the lock until then.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the lock goes when its file is closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_free_at_once_though_somebody_else_has_its_file_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let cancel = Cancel::default();
        let take = || BackupLock::take(folder.path(), Duration::ZERO, &cancel);
        let lock = take().await.expect("the lock");
        take().await.expect_err("it is held");
        // What a process that is being started holds, too.
        let _copy = lock.file.try_clone().expect("a copy");
        drop(lock);
        take().await.expect("the lock");
    }
}
