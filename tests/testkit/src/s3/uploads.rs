//! Multipart uploads: parts under way, and the rules for putting them together.

use std::collections::BTreeMap;
use std::time::SystemTime;

use md5::{Digest as _, Md5};
use s3s::dto::{Checksum, CompletedPart};
use s3s::{S3Result, s3_error};

use super::body::{Content, compare_checksums};
use super::quirks::Quirks;
use super::store::{Bucket, Draft, Headers, is_opaque, random_hex};

/// An upload that was begun and neither completed nor aborted.
#[derive(Debug)]
pub(crate) struct Upload {
    pub initiated: SystemTime,
    pub headers: Headers,
    pub parts: BTreeMap<i32, StoredPart>,
}

/// A part that arrived.
#[derive(Debug, Clone)]
pub(crate) struct StoredPart {
    pub content: Content,
    pub md5: [u8; 16],
    pub etag: String,
    pub checksum: Checksum,
    pub modified: SystemTime,
}

impl Bucket {
    pub(crate) fn begin_upload(&mut self, key: &str, headers: Headers, now: SystemTime) -> String {
        let id = random_hex(32);
        let upload = Upload {
            initiated: now,
            headers,
            parts: BTreeMap::new(),
        };
        self.uploads.insert((key.to_owned(), id.clone()), upload);
        id
    }

    pub(crate) fn upload(&self, key: &str, id: &str) -> S3Result<&Upload> {
        self.uploads
            .get(&(key.to_owned(), id.to_owned()))
            .ok_or_else(|| s3_error!(NoSuchUpload, "the upload does not exist"))
    }

    pub(crate) fn upload_mut(&mut self, key: &str, id: &str) -> S3Result<&mut Upload> {
        self.uploads
            .get_mut(&(key.to_owned(), id.to_owned()))
            .ok_or_else(|| s3_error!(NoSuchUpload, "the upload does not exist"))
    }

    pub(crate) fn end_upload(&mut self, key: &str, id: &str) -> S3Result<Upload> {
        self.uploads
            .remove(&(key.to_owned(), id.to_owned()))
            .ok_or_else(|| s3_error!(NoSuchUpload, "the upload does not exist"))
    }
}

impl Upload {
    /// Puts the parts that the client lists together. Fails as AWS does for parts that are missing, out of order or too small.
    pub(crate) fn assemble(&self, listed: &[CompletedPart], quirks: &Quirks) -> S3Result<Draft> {
        if listed.is_empty() {
            return Err(s3_error!(MalformedXML, "the list of parts is empty"));
        }
        let mut parts: Vec<&StoredPart> = Vec::with_capacity(listed.len());
        let mut previous = 0;
        for item in listed {
            let number = item
                .part_number
                .ok_or_else(|| s3_error!(MalformedXML, "a part has no number"))?;
            if number <= previous {
                return Err(s3_error!(InvalidPartOrder));
            }
            previous = number;
            parts.push(self.listed_part(number, item)?);
        }
        check_sizes(&parts, quirks)?;

        let mut joined = Md5::new();
        let mut pieces = Vec::with_capacity(parts.len());
        for part in &parts {
            joined.update(part.md5);
            pieces.extend_from_slice(part.content.pieces());
        }
        let stem = if is_opaque(&self.headers, quirks) {
            random_hex(32)
        } else {
            hex::encode(joined.finalize())
        };
        Ok(Draft {
            content: Content::new(pieces),
            etag: format!("{stem}-{}", parts.len()),
            headers: self.headers.clone(),
            checksum: Checksum::default(),
            parts: i32::try_from(parts.len()).ok(),
            modified: Some(self.initiated),
        })
    }

    fn listed_part(&self, number: i32, item: &CompletedPart) -> S3Result<&StoredPart> {
        let invalid = || {
            s3_error!(
                InvalidPart,
                "part {number} was not uploaded or has another ETag"
            )
        };
        let part = self.parts.get(&number).ok_or_else(invalid)?;
        if item.e_tag.as_ref().map(s3s::dto::ETag::value) != Some(part.etag.as_str()) {
            return Err(invalid());
        }
        let claimed = Checksum {
            checksum_crc32: item.checksum_crc32.clone(),
            checksum_crc32c: item.checksum_crc32c.clone(),
            checksum_crc64nvme: item.checksum_crc64nvme.clone(),
            checksum_sha1: item.checksum_sha1.clone(),
            checksum_sha256: item.checksum_sha256.clone(),
            checksum_type: None,
        };
        compare_checksums(&claimed, &part.checksum).map_err(|_| invalid())?;
        Ok(part)
    }
}

fn check_sizes(parts: &[&StoredPart], quirks: &Quirks) -> S3Result<()> {
    let Some((last, others)) = parts.split_last() else {
        return Ok(());
    };
    if others
        .iter()
        .any(|part| part.content.size() < quirks.min_part_size)
    {
        return Err(s3_error!(
            EntityTooSmall,
            "a part other than the last is smaller than {} bytes",
            quirks.min_part_size
        ));
    }
    let Some(first) = others.first().filter(|_| quirks.equal_parts) else {
        return Ok(());
    };
    let size = first.content.size();
    if others.iter().any(|part| part.content.size() != size) || last.content.size() > size {
        return Err(s3_error!(
            InvalidPart,
            "all non-trailing parts must have the same length"
        ));
    }
    Ok(())
}
