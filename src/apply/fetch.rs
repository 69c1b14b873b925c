//! Remote files to the local folder: into a temporary file beside the destination, checked, flushed, renamed into place.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use ows_providers::hash::ContentHashes;
use ows_providers::{Entry, EntryKind, GetOptions, Provider, RelPath, SortKey};
use tokio::sync::mpsc;

use super::Applier;
use super::outcome::Problem;
use super::upload::blocking;
use crate::ids::RunId;
use crate::local::{
    Commit, Displace, Expect, LocalError, LocalErrorKind, LocalFolder, Observed, ReplicaId,
    WalkOptions,
};
use crate::plan::{Action, Fate};
use crate::report::Reporter;
use crate::tree::{BaseRow, LocalFingerprint, RemoteStamp};

/// Pieces of a body between the network and the disk.
const QUEUE: usize = 4;

/// Files from this size on are not begun without room for them.
const CHECK_SPACE_FROM: u64 = 64 << 20;

/// Where a fetched file goes.
#[derive(Debug, Clone)]
pub struct Landing {
    /// The path.
    pub path: RelPath,
    /// What must be there.
    pub expect: Expect,
    /// What becomes of it.
    pub displaced: Displace,
    /// The run, which names the place in the trash.
    pub run: RunId,
    /// The replica, which names the temporary file.
    pub replica: ReplicaId,
    /// Files that may hold the same content already: then nothing is written, and the first of them is the answer.
    pub unless_in: Vec<RelPath>,
}

/// A file that arrived.
#[derive(Debug)]
pub struct Fetched {
    /// Where it landed.
    pub path: RelPath,
    /// What is there now.
    pub local: LocalFingerprint,
    /// The version that was read.
    pub entry: Entry,
    /// What it replaced had other names as well; those still lead to the old content.
    pub broke_hard_link: bool,
}

impl Applier {
    /// Downloads the file and gives the row that both sides agree on.
    pub(super) async fn download(self: &Arc<Self>, action: &Action) -> Result<BaseRow, Problem> {
        let Some(remote) = &action.remote else {
            return Err(Problem::Failed("the plan names no file to download".into()));
        };
        let expect = action
            .local
            .as_deref()
            .cloned()
            .map_or(Expect::Absent, Expect::Exactly);
        let landing = Landing {
            path: action.key.path.clone(),
            expect,
            displaced: if action.keep_displaced && self.fates.local == Fate::Trash {
                Displace::Trash
            } else {
                Displace::Drop
            },
            run: self.run.clone(),
            replica: self.replica.clone(),
            unless_in: Vec::new(),
        };
        let fetched = self.fetch(&action.key.path, remote, landing).await?;
        let mut stamp = RemoteStamp::from_entry(&fetched.entry, true);
        // The listing knows when it was stored; the answer to a read may not.
        stamp.modified_at_ns = stamp.modified_at_ns.or(remote.modified_at_ns);
        Ok(BaseRow {
            key: SortKey::file(action.key.path.clone()),
            local: fetched.local,
            remote: stamp,
        })
    }

    /// [`fetch`] with what this run works on.
    ///
    /// # Errors
    /// Those of [`fetch`].
    pub async fn fetch(
        &self,
        from: &RelPath,
        version: &RemoteStamp,
        landing: Landing,
    ) -> Result<Fetched, Problem> {
        let fetched = fetch(
            self.provider.as_ref(),
            &self.local,
            self.reporter.as_ref(),
            from,
            version,
            landing,
        )
        .await?;
        if fetched.broke_hard_link {
            self.tally().warnings.push(format!(
                "`{}`: had other names (hard links), which still lead to the old content: they are files of their own now",
                fetched.path
            ));
        }
        Ok(fetched)
    }
}

/// Fetches one version of a remote file to where it lands. `version.version` may be `None`: then any version will do.
///
/// # Errors
/// [`Problem`]; what had arrived is removed.
pub async fn fetch(
    provider: &dyn Provider,
    local: &Arc<LocalFolder>,
    reporter: &dyn Reporter,
    from: &RelPath,
    version: &RemoteStamp,
    landing: Landing,
) -> Result<Fetched, Problem> {
    if version.size >= CHECK_SPACE_FROM {
        check_space(local, version.size).await?;
    }
    let options = GetOptions {
        range: None,
        version: version.version.clone(),
    };
    let mut download = provider.get(from, options).await?;
    let entry = download.entry;
    let (sender, receiver) = mpsc::channel::<Piece>(QUEUE);
    let proves = provider
        .capabilities()
        .hash
        .is_some_and(|hash| hash.difference_proves);
    let expected = Expected {
        size: version.size,
        entry: entry.clone(),
        proves,
    };
    let folder = Arc::clone(local);
    let writer = tokio::task::spawn_blocking(move || write(&folder, &landing, receiver, &expected));
    // When the writer gives up it closes the channel; its own error says why.
    let mut failure = None;
    while let Some(piece) = download.body.next().await {
        match piece {
            Ok(bytes) => {
                reporter.moved(bytes.len() as u64);
                if sender.send(Piece::Bytes(bytes)).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    if failure.is_none() && sender.send(Piece::End).await.is_err() {
        tracing::debug!(path = %from, "the writer ended before the body did");
    }
    drop(sender);
    let written = writer.await.map_err(|error| {
        Problem::Failed(format!(
            "an internal error ended the work on this path: {error}"
        ))
    })?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    let landed = written.map_err(|error| match error {
        WriteError::Local(error) if error.kind == LocalErrorKind::Changed => Problem::Left(
            "the local file changed after it was looked at, so it was left alone".into(),
        ),
        WriteError::Local(error) => error.into(),
        WriteError::Content(message) => Problem::Failed(message),
    })?;
    Ok(Fetched {
        path: landed.path,
        local: landed.local,
        entry,
        broke_hard_link: landed.broke_hard_link,
    })
}

async fn check_space(local: &Arc<LocalFolder>, size: u64) -> Result<(), Problem> {
    let local = Arc::clone(local);
    let free = blocking(move || local.free_space())
        .await?
        .map_err(Problem::from)?;
    if free < size {
        return Err(Problem::Failed(format!(
            "the disk has {free} bytes free and the file needs {size}; free space and run again"
        )));
    }
    Ok(())
}

enum Piece {
    Bytes(Bytes),
    /// The body ended as announced. Without it the file is not kept.
    End,
}

struct Expected {
    size: u64,
    entry: Entry,
    proves: bool,
}

/// Where a file landed, and what is there now.
struct Landed {
    path: RelPath,
    local: LocalFingerprint,
    broke_hard_link: bool,
}

enum WriteError {
    Local(LocalError),
    Content(String),
}

impl From<LocalError> for WriteError {
    fn from(error: LocalError) -> Self {
        Self::Local(error)
    }
}

fn write(
    local: &LocalFolder,
    landing: &Landing,
    mut pieces: mpsc::Receiver<Piece>,
    expected: &Expected,
) -> Result<Landed, WriteError> {
    let path = &landing.path;
    clear_empty_folders(local, path)?;
    let mut temp = local.new_file(path, &landing.replica)?;
    let mut ended = false;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                temp.write_all(&bytes)
                    .map_err(|error| LocalError::io("write", path, error))?;
            }
            Piece::End => ended = true,
        }
    }
    if !ended {
        return Err(WriteError::Content(
            "the download broke off; what had arrived was removed".into(),
        ));
    }
    let digest = temp.digest();
    if digest.size != expected.size {
        return Err(WriteError::Content(format!(
            "{} bytes arrived where {} were announced; what had arrived was removed",
            digest.size, expected.size
        )));
    }
    let hashes = ContentHashes {
        md5: digest.md5,
        blake3: digest.blake3,
    };
    if expected.proves
        && let Some(hash) = &expected.entry.hash
        && !hashes.agree_with(hash)
    {
        return Err(WriteError::Content(
            "what arrived does not have the remote's hash, so it was removed".into(),
        ));
    }
    for there in &landing.unless_in {
        // A name that cannot be read is merely taken.
        if let Ok(hashed) = local.hash(there)
            && hashed.fingerprint.blake3 == Some(digest.blake3)
        {
            return Ok(Landed {
                path: there.clone(),
                local: hashed.fingerprint,
                broke_hard_link: false,
            });
        }
    }
    let placed = temp.commit(&Commit {
        expect: landing.expect.clone(),
        displaced: landing.displaced,
        run: landing.run.as_str(),
        mtime_ns: expected.entry.mtime_ns.or(expected.entry.modified_at_ns),
    })?;
    Ok(Landed {
        path: path.clone(),
        local: placed.fingerprint,
        broke_hard_link: placed.broke_hard_link,
    })
}

/// A remote without folders knows nothing of the empty ones here; one that stands where a file is to go is removed.
pub(super) fn clear_empty_folders(local: &LocalFolder, path: &RelPath) -> Result<(), LocalError> {
    let is_folder = matches!(local.observe(path), Some(Observed::Entry(entry)) if entry.key.kind == EntryKind::Dir);
    if !is_folder {
        return Ok(());
    }
    let mut folders = vec![path.clone()];
    for item in local.walk(WalkOptions {
        below: Some(path.clone()),
        ..WalkOptions::default()
    })? {
        match item {
            Observed::Entry(entry) if entry.key.kind == EntryKind::Dir => {
                folders.push(entry.key.path)
            }
            _ => {
                return Err(LocalError::new(
                    LocalErrorKind::NotEmpty,
                    "replace the folder",
                    path,
                ));
            }
        }
    }
    folders
        .iter()
        .rev()
        .try_for_each(|folder| local.remove_empty_dir(folder))
}
