//! Uploads in parts: resumable after a crash, aborted when given up.
//!
//! The file is hashed first, because its MD5 must be named when the upload begins (rclone reads it from the object's
//! metadata) and because only equal content may go on where an interrupted upload stopped. It is hashed again while the
//! parts are read: the object becomes visible only when both agree.
//!
//! Memory is part size x parts in flight, and is taken from the budget that all transfers share.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use ows_providers::{Entry, ErrorKind, Part, RelPath, Upload, UploadOptions};

use tokio::task::JoinSet;

use super::Applier;
use super::buffers::Buffer;
use super::outcome::Problem;
use super::source::{self, Reading};
use super::upload::blocking;
use crate::local::{Hashed, LocalError, LocalErrorKind, OpenedFile};
use crate::plan::Action;
use crate::state::{StoredUpload, UploadId, UploadRecord};
use crate::tree::LocalFingerprint;

/// Parts of one file in flight at once.
const PARTS_IN_FLIGHT: usize = 3;

/// An upload that goes on: what is stored of it, and which parts the remote has already.
struct Running {
    id: UploadId,
    upload: Upload,
    layout: Layout,
    have: Vec<Part>,
}

/// How a file of known length is cut: all parts but the last are equal.
#[derive(Debug, Clone, Copy)]
struct Layout {
    size: u64,
    part_size: u64,
}

impl Layout {
    fn count(self) -> u32 {
        u32::try_from(self.size.div_ceil(self.part_size).max(1)).unwrap_or(u32::MAX)
    }

    fn offset(self, number: u32) -> u64 {
        u64::from(number.saturating_sub(1)) * self.part_size
    }

    fn length(self, number: u32) -> u64 {
        self.size
            .saturating_sub(self.offset(number))
            .min(self.part_size)
    }
}

impl Applier {
    pub(super) async fn upload_parts(
        self: &Arc<Self>,
        action: &Action,
        reading: Reading,
    ) -> Result<(LocalFingerprint, Entry), Problem> {
        let path = action.key.path.clone();
        let local = Arc::clone(&self.local);
        let hash_path = path.clone();
        let hashed = {
            // Hashing takes a core for itself. More at once would only keep the first file from being sent.
            let _core = self
                .shared
                .hashing
                .acquire()
                .await
                .map_err(|_| Problem::Stopped)?;
            blocking(move || source::hash(&local, &hash_path, reading)).await??
        };
        let running = self.begin_or_resume(&path, &hashed).await?;
        let sent = self.send_parts(&path, &running, &hashed, reading).await;
        let parts = match sent {
            Ok(parts) => parts,
            Err(problem) => {
                // A file that changed cannot be continued; anything else (a stop, a lost network) can.
                if matches!(problem, Problem::Changing | Problem::Left(_)) {
                    self.give_up(&running.upload, running.id).await?;
                }
                return Err(problem);
            }
        };
        // Sending may have taken hours.
        self.may_write().await?;
        let precondition = match self.displace(action).await {
            Ok(precondition) => precondition,
            Err(problem) => {
                self.give_up(&running.upload, running.id).await?;
                return Err(problem);
            }
        };
        let completed = self
            .conditional()
            .complete(&running.upload, &parts, precondition)
            .await;
        let entry = match completed {
            Ok(entry) => entry,
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => {
                self.give_up(&running.upload, running.id).await?;
                return Err(error.into());
            }
        };
        self.state.forget_upload(running.id).await?;
        Ok((hashed.fingerprint, entry))
    }

    /// Goes on with an upload of the same content to the same path, if one is stored and the remote still has it; else
    /// begins a new one, which is stored before its first part is sent.
    async fn begin_or_resume(&self, path: &RelPath, hashed: &Hashed) -> Result<Running, Problem> {
        let fingerprint = &hashed.fingerprint;
        let rules = self.provider.capabilities().parts;
        for stored in self.state.uploads(&self.pair).await? {
            if stored.record.upload.path != *path {
                continue;
            }
            let same = stored.record.md5 == Some(hashed.md5)
                && stored.record.upload.size == Some(fingerprint.size)
                && self.provider.capabilities().resumable_uploads;
            if same && let Some(running) = self.resume(&stored, fingerprint.size).await? {
                return Ok(running);
            }
            self.give_up(&stored.record.upload, stored.id).await?;
        }
        let options = UploadOptions {
            size: Some(fingerprint.size),
            part_size: rules.part_size(fingerprint.size),
            mtime_ns: Some(fingerprint.mtime_ns),
            md5: Some(hashed.md5),
        };
        // Between the remote's answer and the record of it a killed run would leave an upload that nobody knows.
        let intent = serde_json::json!({ "path": path });
        let intent = self
            .state
            .record_intent(Some(&self.pair), &self.run, super::INTENT_UPLOAD, intent)
            .await?;
        let upload = self.provider.start_upload(path, options).await?;
        let record = UploadRecord {
            upload: upload.clone(),
            local: fingerprint.clone(),
            md5: Some(hashed.md5),
            started_at: Utc::now(),
        };
        let id = self.state.record_upload(&self.pair, &record).await?;
        self.state.resolve_intent(intent).await?;
        let layout = Layout {
            size: fingerprint.size,
            part_size: upload.part_size,
        };
        Ok(Running {
            id,
            upload,
            layout,
            have: Vec::new(),
        })
    }

    async fn resume(&self, stored: &StoredUpload, size: u64) -> Result<Option<Running>, Problem> {
        let upload = stored.record.upload.clone();
        let layout = Layout {
            size,
            part_size: upload.part_size,
        };
        match self.provider.list_parts(&upload).await {
            Ok(parts) => {
                let have = parts
                    .into_iter()
                    .filter(|part| part.size == layout.length(part.number))
                    .collect();
                Ok(Some(Running {
                    id: stored.id,
                    upload,
                    layout,
                    have,
                }))
            }
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Aborts an upload and forgets it.
    pub(super) async fn give_up(&self, upload: &Upload, id: UploadId) -> Result<(), Problem> {
        self.provider.abort_upload(upload).await?;
        self.state.forget_upload(id).await?;
        Ok(())
    }

    async fn send_parts(
        self: &Arc<Self>,
        path: &RelPath,
        running: &Running,
        hashed: &Hashed,
        reading: Reading,
    ) -> Result<Vec<Part>, Problem> {
        let local = Arc::clone(&self.local);
        let open_path = path.clone();
        let opened = Arc::new(blocking(move || local.open_read(&open_path)).await??);
        let same = opened.fingerprint().same_attributes(&hashed.fingerprint);
        if opened.fingerprint().size < hashed.fingerprint.size
            || (reading == Reading::Whole && !same)
        {
            return Err(Problem::Changing);
        }
        let mut hasher = blake3::Hasher::new();
        let mut parts = Vec::new();
        // Tasks of their own: while this one waits for its share of the budget, the parts that hold it must go on.
        let mut in_flight = JoinSet::new();
        let layout = running.layout;
        for number in 1..=layout.count() {
            while in_flight.len() >= PARTS_IN_FLIGHT {
                parts.extend(next_part(&mut in_flight).await?);
            }
            let held = self.hold(layout.length(number)).await?;
            self.may_write().await?;
            let buffer = self.shared.buffers.take(in_memory(layout.length(number)));
            let (body, next) =
                read_part(&opened, path, layout.offset(number), buffer, hasher).await?;
            hasher = next;
            if let Some(part) = running.have.iter().find(|part| part.number == number) {
                self.reporter.moved(part.size);
                parts.push(part.clone());
                continue;
            }
            let upload = running.upload.clone();
            let (provider, reporter) = (Arc::clone(&self.provider), Arc::clone(&self.reporter));
            in_flight.spawn(async move {
                let length = body.len() as u64;
                let part = provider.put_part(&upload, number, body).await?;
                reporter.moved(length);
                drop(held);
                Ok(part)
            });
        }
        while let Some(part) = next_part(&mut in_flight).await? {
            parts.push(part);
        }
        if Some(*hasher.finalize().as_bytes()) != hashed.fingerprint.blake3 {
            return Err(Problem::Changing);
        }
        parts.sort_by_key(|part| part.number);
        Ok(parts)
    }
}

/// Reads the part that begins at `offset`, hashing on from the parts before it.
async fn read_part(
    opened: &Arc<OpenedFile>,
    path: &RelPath,
    offset: u64,
    mut buffer: Buffer,
    mut hasher: blake3::Hasher,
) -> Result<(Bytes, blake3::Hasher), Problem> {
    let (opened, path) = (Arc::clone(opened), path.clone());
    let read = move || -> Result<_, LocalError> {
        let body = buffer.as_mut_slice();
        let filled = opened
            .read_at(body, offset)
            .map_err(|error| LocalError::io("read", &path, error))?;
        if filled != body.len() {
            return Err(LocalError::new(LocalErrorKind::Changed, "read", &path));
        }
        hasher.update(body);
        Ok((buffer.freeze(), hasher))
    };
    Ok(blocking(read).await??)
}

async fn next_part(
    in_flight: &mut JoinSet<ows_providers::Result<Part>>,
) -> Result<Option<Part>, Problem> {
    match in_flight.join_next().await {
        None => Ok(None),
        Some(Ok(part)) => Ok(Some(part?)),
        Some(Err(error)) => Err(Problem::Failed(format!(
            "an internal error ended the upload: {error}"
        ))),
    }
}

/// A part is a piece of memory; what does not fit into it cannot be read.
fn in_memory(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
