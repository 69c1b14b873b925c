//! Uploads in parts.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::state::{Origin, State, Step};
use crate::hash::ContentHashes;
use crate::{
    Entry, ErrorKind, Part, Precondition, RelPath, UnfinishedUpload, Upload, UploadOptions,
};

/// An upload that was begun and not ended.
#[derive(Debug, Clone)]
pub(super) struct PendingUpload {
    upload: Upload,
    mtime_ns: Option<i64>,
    md5: Option<[u8; 16]>,
    started_at_ns: i64,
    parts: BTreeMap<u32, Bytes>,
}

impl PendingUpload {
    pub(super) fn unfinished(&self) -> UnfinishedUpload {
        UnfinishedUpload {
            path: self.upload.path.clone(),
            id: self.upload.id.clone(),
            started_at_ns: Some(self.started_at_ns),
        }
    }
}

impl State {
    pub(super) fn start_upload(&mut self, path: &RelPath, options: UploadOptions) -> Step<Upload> {
        self.check_name(path)?;
        let rules = self.options.parts;
        let part_size = options.part_size;
        let fits_in_one = options.size.is_some_and(|size| size <= part_size);
        if (part_size < rules.min && !fits_in_one)
            || part_size > rules.max
            || part_size == 0
            || options
                .size
                .is_some_and(|size| size.div_ceil(part_size) > rules.max_count)
        {
            return Err((
                ErrorKind::Permanent,
                format!("parts of {} bytes are not allowed here", options.part_size),
            ));
        }
        let serial = self.next_serial();
        let upload = Upload {
            path: self.spelled(path),
            id: format!("upload-{serial}"),
            size: options.size,
            part_size: options.part_size,
            token: format!("token-{serial}"),
        };
        let pending = PendingUpload {
            upload: upload.clone(),
            mtime_ns: options.mtime_ns,
            md5: options.md5,
            started_at_ns: self.now_ns(),
            parts: BTreeMap::new(),
        };
        self.uploads.insert(upload.id.clone(), pending);
        Ok(upload)
    }

    pub(super) fn put_part(&mut self, upload: &Upload, number: u32, body: Bytes) -> Step<Part> {
        let rules = self.options.parts;
        let equal_parts = self.options.equal_parts;
        let pending = self.uploads.get_mut(&upload.id).ok_or_else(gone)?;
        if number == 0 || u64::from(number) > rules.max_count || body.len() as u64 > rules.max {
            return Err((
                ErrorKind::Permanent,
                format!("part {number} of {} bytes is not allowed", body.len()),
            ));
        }
        // Looked at here and not at the end, so that the faulty call is the one that fails. Of a stream any part may be
        // the last.
        let is_last = upload
            .size
            .is_none_or(|size| u64::from(number) * upload.part_size >= size);
        if equal_parts && !is_last && body.len() as u64 != upload.part_size {
            return Err((
                ErrorKind::Permanent,
                "all parts but the last must be of equal size".to_owned(),
            ));
        }
        let part = part(number, &body);
        pending.parts.insert(number, body);
        Ok(part)
    }

    pub(super) fn list_parts(&self, upload: &Upload) -> Step<Vec<Part>> {
        let pending = self.uploads.get(&upload.id).ok_or_else(gone)?;
        Ok(pending
            .parts
            .iter()
            .map(|(number, body)| part(*number, body))
            .collect())
    }

    pub(super) fn complete_upload(
        &mut self,
        upload: &Upload,
        parts: &[Part],
        precondition: &Precondition,
    ) -> Step<Entry> {
        let Some(pending) = self.uploads.get(&upload.id).cloned() else {
            // The answer to an earlier completion may have been lost.
            return match self.file(&self.spelled(&upload.path)) {
                Some(file) if file.token.as_ref() == Some(&upload.token) => {
                    Ok(self.write_answer(&upload.path, file))
                }
                _ => Err(gone()),
            };
        };
        let enforced = self.options.enforced;
        let enforced = (enforced.complete_if_absent, enforced.complete_if_match);
        let path = self.spelled(&upload.path);
        self.check_target(&path, precondition, enforced)?;
        let (content, etag) = self.assembled(&pending, parts)?;
        let origin = Origin::Parts {
            etag,
            count: parts.len(),
            md5: pending.md5,
            token: upload.token.clone(),
        };
        let entry = self.write(&path, content, pending.mtime_ns, origin)?;
        self.uploads.remove(&upload.id);
        Ok(entry)
    }

    /// The whole content, and the MD5 of the parts' MD5s.
    fn assembled(&self, pending: &PendingUpload, parts: &[Part]) -> Step<(Bytes, [u8; 16])> {
        let refuse = |text: String| Err((ErrorKind::Permanent, text));
        let mut content = Vec::new();
        let mut tags = Vec::new();
        for (index, wanted) in parts.iter().enumerate() {
            let is_last = index + 1 == parts.len();
            let Some(body) = pending.parts.get(&wanted.number) else {
                return refuse(format!("part {} was never stored", wanted.number));
            };
            if part(wanted.number, body) != *wanted || wanted.number as usize != index + 1 {
                return refuse(format!("part {} is not the one stored", wanted.number));
            }
            if !is_last && (body.len() as u64) < self.options.parts.min {
                return refuse(format!("part {} is too small", wanted.number));
            }
            if self.options.equal_parts && !is_last && body.len() as u64 != pending.upload.part_size
            {
                return refuse("all parts but the last must be of equal size".to_owned());
            }
            content.extend_from_slice(body);
            tags.extend_from_slice(&ContentHashes::of(body).md5);
        }
        if parts.is_empty() {
            return refuse("an upload without parts cannot be completed".to_owned());
        }
        if let Some(announced) = pending.upload.size
            && announced != content.len() as u64
        {
            return refuse(format!(
                "the parts have {} bytes, {announced} were announced",
                content.len(),
            ));
        }
        Ok((content.into(), ContentHashes::of(&tags).md5))
    }
}

fn part(number: u32, body: &Bytes) -> Part {
    Part {
        number,
        size: body.len() as u64,
        tag: hex::encode(ContentHashes::of(body).md5),
    }
}

fn gone() -> (ErrorKind, String) {
    (ErrorKind::NotFound, "there is no such upload".to_owned())
}
