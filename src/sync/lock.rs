//! One run at a time on one host: locks held by the operating system, which a crash frees. One is for the pair, one for
//! the local folder: two state directories, or two pairs, may share a folder, and a run takes away the temporary files
//! that it finds there.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};
use crate::ids::PairId;

/// How often a waiting run looks again.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Holds a lock until it is dropped.
#[derive(Debug)]
pub struct PairLock {
    file: File,
}

impl PairLock {
    /// Takes the lock, waiting up to `wait` for another run to end.
    ///
    /// # Errors
    /// [`FailureKind::Busy`] when another run holds it for longer; others when the lock file cannot be made.
    pub async fn take(
        own_dir: &Path,
        pair: &PairId,
        wait: Duration,
        cancel: &Cancel,
    ) -> Outcome<Self> {
        let folder = own_dir.join("locks");
        let path = folder.join(format!("{pair}.lock"));
        let failed = |error| {
            Failure::failed("could not open the lock file")
                .with_path(path.display().to_string())
                .with_source(error)
                .with_hint("check the permissions of the state directory, then run again")
        };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let busy = "another run of this pair is in progress on this host";
        wait_for(&file, wait, cancel, busy).await?.map_err(failed)?;
        Ok(Self { file })
    }

    /// Takes the lock of a local folder, waiting up to `wait` for another run to end. On a file system that has no such
    /// locks nothing is held.
    ///
    /// # Errors
    /// [`FailureKind::Busy`] when another run holds it for longer; others when the folder cannot be opened.
    pub async fn take_folder(folder: &Path, wait: Duration, cancel: &Cancel) -> Outcome<Self> {
        let file = File::open(folder).map_err(|error| {
            Failure::failed("could not open the local folder")
                .with_path(folder.display().to_string())
                .with_source(error)
        })?;
        let busy = "another run is in progress in the same local folder";
        if let Err(error) = wait_for(&file, wait, cancel, busy).await? {
            tracing::debug!(%error, folder = %folder.display(), "the folder cannot be locked");
        }
        Ok(Self { file })
    }
}

impl Drop for PairLock {
    /// Closing would not do: a process that is being started at this moment, by a program that embeds this, has the file open as
    /// well until it becomes what it is to be, and would hold the lock until then.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the lock goes when its file is closed");
        }
    }
}

/// Waits until the lock is ours. The inner error is the system's.
async fn wait_for(
    file: &File,
    wait: Duration,
    cancel: &Cancel,
    busy: &str,
) -> Outcome<std::io::Result<()>> {
    let deadline = Instant::now() + wait;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Ok(())),
            Err(TryLockError::Error(error)) => return Ok(Err(error)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(Failure::new(FailureKind::Busy, busy).with_hint(
                    "wait for it to end, or give `--wait SECONDS`; nothing was changed",
                ));
            }
            Err(TryLockError::WouldBlock) => {
                let slept = cancel.unless_stopped(tokio::time::sleep(LOOK_EVERY)).await;
                slept.ok_or_else(|| cancel.failure())?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_free_at_once_though_somebody_else_has_it_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let cancel = Cancel::default();
        let take = || PairLock::take_folder(folder.path(), Duration::ZERO, &cancel);
        let lock = take().await.expect("the lock");
        take().await.expect_err("it is held");
        // What a process that is being started holds, too.
        let _copy = lock.file.try_clone().expect("a copy");
        drop(lock);
        take().await.expect("the lock");
    }
}
