//! A folder as remote: a mounted disk, a network share, a folder that another program syncs.
//!
//! Everything below the folder is reached without following a symbolic link ([`crate::folder`]); links and special files
//! in it are reported and never touched. A file is written to `.ows/tmp` at the folder's root, made durable, and renamed
//! into place, so that it is visible whole or not at all.
//!
//! **Versions** are made of length, times and inode. On file systems that make inode numbers up (FAT, network shares,
//! FUSE) only length and modification time count: an edit that keeps both is not seen there.
//!
//! **Conditions.** That nothing is there is enforced by the system. That a certain version is there is looked at right
//! before the act, and what gives way is looked at again after it: new and old file trade places in one step, and trade
//! back when the old one is not what was expected. Between `ows` processes a lock makes this exact. Another program that
//! replaces the file at the very same moment may see its file vanish and come back; only if this process dies between the
//! two steps is that program's version lost. Where the file system cannot let names trade places
//! ([`crate::Enforcement::replace_if_match`]), what is written between look and rename is replaced.

mod errors;
mod ops;
mod read;
mod stage;
mod stream;
mod system;
mod upload;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;

use self::errors::{Context, in_the_way, not_found, stopped};
use self::stage::Stage;
use self::stream::blocking_stream;
use self::system::{FileSystem, file_system};
use self::upload::{Completed, OpenUpload};
use crate::folder::{Identity, Kind, Root, Stat, Temp, name};
use crate::{
    Capabilities, ChangePage, CopyOptions, Download, Enforcement, Entry, EntryKind, Error,
    ErrorKind, GetOptions, ListOptions, Listed, NameRules, Operation, Part, PartRules,
    Precondition, Provider, PutOptions, RelPath, RemoteIdentity, Result, UnfinishedUpload, Upload,
    UploadOptions, Version,
};

/// Pieces of a download that wait for their reader.
const CHUNKS_AHEAD: usize = 2;

/// Entries of a listing that wait for their reader.
const ENTRIES_AHEAD: usize = 1024;

const MIB: u64 = 1 << 20;

/// A folder as remote.
#[derive(Debug, Clone)]
pub struct LocalProvider {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    capabilities: Capabilities,
    /// The folder that the path led to when it was first opened.
    seen: Mutex<Option<Seen>>,
    /// The newest time that the file system has told, and when.
    clock: Mutex<Option<(i64, Instant)>>,
    uploads: Mutex<HashMap<String, Arc<OpenUpload>>>,
    completed: Mutex<VecDeque<Completed>>,
    swept: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    identity: Identity,
    /// Inode numbers and change times last, and tell one file from the next.
    lasting_inodes: bool,
}

/// The folder, opened for one call.
struct Opened {
    root: Root,
    lasting_inodes: bool,
}

impl LocalProvider {
    /// The folder at `path`. It need not be there yet: listing it fails with [`ErrorKind::NotFound`] then, and the first
    /// write creates it.
    ///
    /// # Errors
    /// When the path is empty, or the current folder, which a relative path begins at, is gone.
    pub fn open(path: &Path) -> Result<Self> {
        let absolute =
            std::path::absolute(path).during(Operation::Describe, path.to_string_lossy())?;
        let narrow = nearest_existing(&absolute)
            .and_then(|(folder, _)| Root::open(&folder))
            .and_then(|root| file_system(&root))
            .is_ok_and(|system| system == FileSystem::Narrow);
        Ok(Self {
            inner: Arc::new(Inner {
                path: absolute,
                capabilities: capabilities(narrow),
                seen: Mutex::new(None),
                clock: Mutex::new(None),
                uploads: Mutex::new(HashMap::new()),
                completed: Mutex::new(VecDeque::new()),
                swept: AtomicBool::new(false),
            }),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        operation: Operation,
        path: &str,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(stopped(operation, path)),
        }
    }
}

fn capabilities(narrow: bool) -> Capabilities {
    Capabilities {
        name: "local",
        hash: None,
        folders: true,
        rename: true,
        copy: true,
        change_feed: false,
        bin: false,
        mtime_precision: Some(if narrow {
            Duration::from_secs(2)
        } else {
            Duration::from_nanos(1)
        }),
        listing_has_mtime: true,
        complete_objects: false,
        names: NameRules {
            // Longer ones can be stored, but other programs could not open them.
            max_path_bytes: 4000,
            max_segment_bytes: 255,
            control_characters: !narrow,
            folds_case: narrow || cfg!(target_os = "macos"),
            folds_forms: cfg!(target_os = "macos"),
        },
        single_put_max: 64 * MIB,
        parts: PartRules {
            min: 1,
            max: 1024 * MIB,
            preferred: 8 * MIB,
            max_count: u64::from(u32::MAX),
        },
        resumable_uploads: false,
        parallel: 8,
    }
}

impl Inner {
    /// Opens the folder. A folder that was there before and is gone, or has given way to another (a disk that was
    /// unmounted), is an error: what is missing in its successor was deleted by nobody.
    fn root(&self, operation: Operation) -> Result<Opened> {
        let shown = self.path.to_string_lossy();
        let root = Root::open(&self.path).during(operation, &shown)?;
        self.check_seen(root, operation)
    }

    fn root_or_create(&self, operation: Operation) -> Result<Opened> {
        let seen = *lock(&self.seen);
        if seen.is_some() {
            return self.root(operation);
        }
        let root = Root::create(&self.path).during(operation, self.path.to_string_lossy())?;
        self.check_seen(root, operation)
    }

    fn check_seen(&self, root: Root, operation: Operation) -> Result<Opened> {
        let shown = self.path.to_string_lossy();
        let identity = root.identity().during(operation, &shown)?;
        let lasting_inodes = file_system(&root).during(operation, &shown)? == FileSystem::Full;
        let mut seen = lock(&self.seen);
        let first = *seen.get_or_insert(Seen {
            identity,
            lasting_inodes,
        });
        if first.identity != identity {
            return Err(Error::new(
                ErrorKind::Permanent,
                operation,
                shown,
                "the folder has given way to another one since this run began",
            ));
        }
        Ok(Opened {
            root,
            lasting_inodes: first.lasting_inodes,
        })
    }

    /// The place where files are written; swept when it is first used.
    fn stage(&self, opened: &Opened, operation: Operation) -> Result<Stage> {
        let shown = self.path.to_string_lossy();
        let stage = Stage::open(&opened.root).during(operation, &shown)?;
        if !self.swept.swap(true, Ordering::Relaxed) {
            // What could not be removed is in nobody's way.
            if let Err(error) = stage.sweep(&opened.root) {
                tracing::warn!(%error, "old temporary files in the remote folder could not be removed");
            }
        }
        Ok(stage)
    }

    /// Takes the time from a file that was written just now, before it is given another one.
    fn tell_clock(&self, temp: &Temp) -> io::Result<()> {
        let written = name::fstat(temp.file())?.mtime_ns;
        *lock(&self.clock) = Some((written, Instant::now()));
        Ok(())
    }
}

fn entry(path: RelPath, stat: &Stat, lasting_inodes: bool) -> Entry {
    if stat.kind == Kind::Dir {
        return Entry::dir(path);
    }
    Entry {
        path,
        kind: EntryKind::File,
        size: stat.size,
        mtime_ns: Some(stat.mtime_ns),
        modified_at_ns: Some(stat.ctime_ns),
        version: Some(version(stat, lasting_inodes)),
        hash: None,
        id: None,
    }
}

fn version(stat: &Stat, lasting_inodes: bool) -> Version {
    let content = format!("{}-{}", stat.size, stat.mtime_ns);
    Version(if lasting_inodes {
        format!("{content}-{}-{}", stat.ctime_ns, stat.identity.inode)
    } else {
        content
    })
}

/// The innermost folder on the way to `path` that exists, and what is missing below it.
fn nearest_existing(path: &Path) -> io::Result<(PathBuf, PathBuf)> {
    for ancestor in path.ancestors() {
        match ancestor.canonicalize() {
            Ok(real) => {
                let missing = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
                return Ok((real, missing.to_owned()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// A lock whose holder panicked is taken all the same: the values behind ours are whole at every instant.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Provider for LocalProvider {
    fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }

    fn clock(&self) -> Option<DateTime<Utc>> {
        // Nothing written yet: it is most likely this machine's own disk.
        let Some((told_ns, at)) = *lock(&self.inner.clock) else {
            return Some(Utc::now());
        };
        let since = i64::try_from(at.elapsed().as_nanos()).unwrap_or(i64::MAX);
        Some(DateTime::from_timestamp_nanos(
            told_ns.saturating_add(since),
        ))
    }

    async fn describe(&self) -> Result<RemoteIdentity> {
        const DESCRIBE: Operation = Operation::Describe;
        self.blocking(DESCRIBE, "", |inner| {
            let shown = inner.path.to_string_lossy();
            let (existing, missing) = nearest_existing(&inner.path).during(DESCRIBE, &shown)?;
            let path = if missing.as_os_str().is_empty() {
                existing
            } else {
                existing.join(missing)
            };
            Ok(RemoteIdentity {
                // Two paths that are not UTF-8 must not become one.
                id: match path.to_str() {
                    Some(text) => text.to_owned(),
                    None => format!("{path:?}"),
                },
                display: path.display().to_string(),
            })
        })
        .await
    }

    async fn probe(&self) -> Result<Enforcement> {
        self.blocking(Operation::Probe, ".ows/probe", ops::probe)
            .await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'_, Result<Listed>> {
        let inner = Arc::clone(&self.inner);
        let path = options
            .below
            .as_ref()
            .map_or(String::new(), RelPath::to_string);
        blocking_stream(ENTRIES_AHEAD, Operation::List, path, move |sink| {
            inner.list(options, sink)
        })
    }

    async fn changes(&self, _cursor: Option<&str>) -> Result<ChangePage> {
        Err(Error::new(
            ErrorKind::Unsupported,
            Operation::Changes,
            "",
            "a folder has no change feed",
        ))
    }

    async fn stat(&self, path: &RelPath) -> Result<Entry> {
        const STAT: Operation = Operation::Stat;
        let path = path.clone();
        self.blocking(STAT, path.clone().as_str(), move |inner| {
            let opened = inner.root(STAT)?;
            let shown = path.as_str();
            match opened.root.lstat(&path).during(STAT, shown)? {
                None => Err(not_found(STAT, shown)),
                Some(stat) if matches!(stat.kind, Kind::File | Kind::Dir) => {
                    Ok(entry(path, &stat, opened.lasting_inodes))
                }
                Some(stat) => Err(in_the_way(STAT, shown, stat.kind.describe())),
            }
        })
        .await
    }

    async fn get(&self, path: &RelPath, options: GetOptions) -> Result<Download> {
        const GET: Operation = Operation::Get;
        let path = path.clone();
        let shown = path.to_string();
        let opening = self
            .blocking(GET, &shown, move |inner| {
                inner.open_download(&path, &options)
            })
            .await?;
        Ok(Download {
            entry: opening.entry.clone(),
            body: blocking_stream(CHUNKS_AHEAD, GET, shown, move |sink| opening.send(sink)),
        })
    }

    async fn put(&self, path: &RelPath, body: Bytes, options: PutOptions) -> Result<Entry> {
        let path = path.clone();
        self.blocking(Operation::Put, path.clone().as_str(), move |inner| {
            inner.put(&path, &body, &options)
        })
        .await
    }

    async fn start_upload(&self, path: &RelPath, options: UploadOptions) -> Result<Upload> {
        let path = path.clone();
        self.blocking(
            Operation::StartUpload,
            path.clone().as_str(),
            move |inner| inner.start_upload(&path, &options),
        )
        .await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        let upload = upload.clone();
        self.blocking(
            Operation::PutPart,
            upload.path.clone().as_str(),
            move |inner| inner.put_part(&upload, number, &body),
        )
        .await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: Precondition,
    ) -> Result<Entry> {
        let upload = upload.clone();
        let parts = parts.to_vec();
        self.blocking(
            Operation::CompleteUpload,
            upload.path.clone().as_str(),
            move |inner| inner.complete_upload(&upload, &parts, &precondition),
        )
        .await
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        let id = upload.id.clone();
        self.blocking(Operation::AbortUpload, upload.path.as_str(), move |inner| {
            // Dropping it removes its file.
            drop(lock(&inner.uploads).remove(&id));
            Ok(())
        })
        .await
    }

    async fn list_uploads(&self) -> Result<Vec<UnfinishedUpload>> {
        let uploads = lock(&self.inner.uploads);
        Ok(uploads
            .iter()
            .map(|(id, upload)| upload.unfinished(id))
            .collect())
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        Ok(self
            .inner
            .upload(upload, Operation::ListParts)?
            .parts_stored())
    }

    async fn delete(&self, path: &RelPath, precondition: Precondition) -> Result<()> {
        let path = path.clone();
        self.blocking(Operation::Delete, path.clone().as_str(), move |inner| {
            inner.delete(&path, &precondition)
        })
        .await
    }

    async fn copy(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        let (from, to) = (from.clone(), to.clone());
        self.blocking(Operation::Copy, from.clone().as_str(), move |inner| {
            inner.copy(&from, &to, &options)
        })
        .await
    }

    async fn rename(&self, from: &RelPath, to: &RelPath, options: CopyOptions) -> Result<Entry> {
        let (from, to) = (from.clone(), to.clone());
        self.blocking(Operation::Rename, from.clone().as_str(), move |inner| {
            inner.rename(&from, &to, &options)
        })
        .await
    }

    async fn create_dir(&self, path: &RelPath) -> Result<Entry> {
        const CREATE_DIR: Operation = Operation::CreateDir;
        let path = path.clone();
        self.blocking(CREATE_DIR, path.clone().as_str(), move |inner| {
            inner.capabilities.check_name(CREATE_DIR, &path)?;
            let opened = inner.root_or_create(CREATE_DIR)?;
            opened
                .root
                .make_folder(Some(&path))
                .during(CREATE_DIR, path.as_str())?;
            Ok(Entry::dir(path))
        })
        .await
    }

    async fn delete_dir(&self, path: &RelPath) -> Result<()> {
        let path = path.clone();
        self.blocking(Operation::DeleteDir, path.clone().as_str(), move |inner| {
            inner.delete_dir(&path)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
