//! Uploads in parts: a file on the stage that parts are written into at their offsets.
//!
//! It lives as long as this process; what a dead one left is swept from the stage. A completion that comes once more is
//! told from the version that the first one made.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use super::errors::{Context, not_found};
use super::{Inner, entry, lock, stage};
use crate::folder::{Temp, now_ns};
use crate::{
    Entry, Error, ErrorKind, Operation, Part, Precondition, RelPath, Result, UnfinishedUpload,
    Upload, UploadOptions, Version, total_size,
};

#[derive(Debug)]
pub(super) struct OpenUpload {
    path: RelPath,
    mtime_ns: Option<i64>,
    started_at_ns: i64,
    temp: Temp,
    /// Lengths of the parts that are written, by number.
    parts: Mutex<BTreeMap<u32, u64>>,
}

/// So many completions are remembered. A second one comes soon after the first or never.
const REMEMBERED: usize = 256;

/// An upload whose file was put in place.
#[derive(Debug)]
pub(super) struct Completed {
    id: String,
    token: String,
    version: Option<Version>,
}

impl OpenUpload {
    pub(super) fn unfinished(&self, id: &str) -> UnfinishedUpload {
        UnfinishedUpload {
            path: self.path.clone(),
            id: id.to_owned(),
            started_at_ns: Some(self.started_at_ns),
        }
    }

    pub(super) fn parts_stored(&self) -> Vec<Part> {
        let parts = lock(&self.parts);
        parts
            .iter()
            .map(|(&number, &size)| part(number, size))
            .collect()
    }
}

impl Inner {
    pub(super) fn start_upload(&self, path: &RelPath, options: &UploadOptions) -> Result<Upload> {
        const START: Operation = Operation::StartUpload;
        self.capabilities.check_name(START, path)?;
        if options.part_size == 0 {
            let message = "parts of no length were asked for";
            return Err(Error::new(
                ErrorKind::Permanent,
                START,
                path.as_str(),
                message,
            ));
        }
        let opened = self.root_or_create(START)?;
        let stage = self.stage(&opened, START)?;
        let temp = stage.create().during(START, path.as_str())?;
        self.tell_clock(&temp).during(START, path.as_str())?;
        let id = stage::random_name();
        let upload = OpenUpload {
            path: path.clone(),
            mtime_ns: options.mtime_ns,
            started_at_ns: now_ns(),
            temp,
            parts: Mutex::new(BTreeMap::new()),
        };
        lock(&self.uploads).insert(id.clone(), Arc::new(upload));
        Ok(Upload {
            path: path.clone(),
            id,
            size: options.size,
            part_size: options.part_size,
            token: stage::random_name(),
        })
    }

    pub(super) fn upload(&self, upload: &Upload, operation: Operation) -> Result<Arc<OpenUpload>> {
        let uploads = lock(&self.uploads);
        let open = uploads.get(&upload.id).map(Arc::clone);
        open.ok_or_else(|| not_found(operation, upload.path.as_str()))
    }

    pub(super) fn put_part(&self, upload: &Upload, number: u32, body: &[u8]) -> Result<Part> {
        const PUT_PART: Operation = Operation::PutPart;
        let shown = upload.path.as_str();
        let open = self.upload(upload, PUT_PART)?;
        let size = body.len() as u64;
        let offset = u64::from(number)
            .checked_sub(1)
            .and_then(|index| index.checked_mul(upload.part_size));
        let Some(offset) = offset else {
            return Err(wrong_parts(PUT_PART, shown));
        };
        // Of a stream any part may be the last one, and so a short one; whether it was is seen at the end.
        let fits = match upload.size.map(|whole| whole.checked_sub(offset)) {
            None => size <= upload.part_size,
            Some(Some(left)) => size == left.min(upload.part_size),
            Some(None) => false,
        };
        if !fits {
            return Err(wrong_parts(PUT_PART, shown));
        }
        open.temp
            .file()
            .write_all_at(body, offset)
            .during(PUT_PART, shown)?;
        lock(&open.parts).insert(number, size);
        Ok(part(number, size))
    }

    pub(super) fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: &Precondition,
    ) -> Result<Entry> {
        const COMPLETE: Operation = Operation::CompleteUpload;
        let shown = upload.path.as_str();
        if let Some(entry) = self.completed_before(upload)? {
            return Ok(entry);
        }
        let open = self.upload(upload, COMPLETE)?;
        if open.parts_stored() != parts || !upload.is_whole(parts) {
            return Err(wrong_parts(COMPLETE, shown));
        }
        if upload.size.is_none() {
            // A part may have been stored twice, first with more bytes.
            open.temp
                .file()
                .set_len(total_size(parts))
                .during(COMPLETE, shown)?;
        }
        drop(open);
        let removed = lock(&self.uploads).remove(&upload.id);
        let open = removed.ok_or_else(|| not_found(COMPLETE, shown))?;
        let open = match Arc::try_unwrap(open) {
            Ok(open) => open,
            // A part is still being written, or another completion is under way: the upload stays.
            Err(shared) => {
                lock(&self.uploads).insert(upload.id.clone(), shared);
                return Err(wrong_parts(COMPLETE, shown));
            }
        };
        let opened = self.root(COMPLETE)?;
        let stage = self.stage(&opened, COMPLETE)?;
        let mut placing = super::ops::Placing {
            opened: &opened,
            stage: &stage,
            path: &upload.path,
            precondition,
            mtime_ns: open.mtime_ns,
            operation: COMPLETE,
        };
        let entry = placing.run(open.temp)?;
        let mut completed = lock(&self.completed);
        if completed.len() >= REMEMBERED {
            completed.pop_front();
        }
        completed.push_back(Completed {
            id: upload.id.clone(),
            token: upload.token.clone(),
            version: entry.version.clone(),
        });
        Ok(entry)
    }

    /// The file that this upload has already become, while it is still that one.
    fn completed_before(&self, upload: &Upload) -> Result<Option<Entry>> {
        const COMPLETE: Operation = Operation::CompleteUpload;
        let version = lock(&self.completed)
            .iter()
            .find(|completed| completed.id == upload.id && completed.token == upload.token)
            .and_then(|completed| completed.version.clone());
        let Some(version) = version else {
            return Ok(None);
        };
        let opened = self.root(COMPLETE)?;
        let shown = upload.path.as_str();
        let Some(stat) = opened.root.lstat(&upload.path).during(COMPLETE, shown)? else {
            return Ok(None);
        };
        let entry = entry(upload.path.clone(), &stat, opened.lasting_inodes);
        Ok((entry.version == Some(version)).then_some(entry))
    }
}

fn part(number: u32, size: u64) -> Part {
    Part {
        number,
        size,
        tag: size.to_string(),
    }
}

fn wrong_parts(operation: Operation, path: &str) -> Error {
    let message = "the parts do not fit the upload";
    Error::new(ErrorKind::Permanent, operation, path, message)
}
