//! Operations on multipart uploads.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Checksum, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CopyPartResult,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload, Part, Range,
    Timestamp, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Result, s3_error};

use super::Shared;
use super::api::{
    ReadConditions, declared, shown_version, strong, unsupported, write_precondition,
};
use super::body::{receive, verify_checksums};
use super::listing::encode;
use super::objects::{checked_metadata, stored_encoding};
use super::store::{Draft, Headers, Versioning, etag_for, honour};
use super::uploads::{StoredPart, Upload};

impl Shared {
    pub(crate) async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let input = request.input;
        if input.sse_customer_algorithm.is_some() {
            return Err(unsupported("SSE-C"));
        }
        let headers = Headers {
            metadata: checked_metadata(input.metadata)?,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: stored_encoding(input.content_encoding),
            content_language: input.content_language,
            content_type: input.content_type,
            encryption: input.server_side_encryption.clone(),
            storage_class: input.storage_class,
        };
        let now = self.clock.now();
        let id = self
            .store()
            .bucket_mut(&input.bucket)?
            .begin_upload(&input.key, headers, now);
        Ok(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            key: Some(input.key),
            server_side_encryption: input.server_side_encryption,
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        })
    }

    pub(crate) async fn upload_part(
        &self,
        mut request: S3Request<UploadPartInput>,
    ) -> S3Result<UploadPartOutput> {
        check_part_number(request.input.part_number)?;
        self.store()
            .bucket(&request.input.bucket)?
            .upload(&request.input.key, &request.input.upload_id)?;
        let body = request.input.body.take();
        let received = receive(body, declared!(request)).await?;
        let quirks = self.quirks();
        let now = self.clock.now();
        let input = request.input;
        let mut store = self.store();
        let upload = store
            .bucket_mut(&input.bucket)?
            .upload_mut(&input.key, &input.upload_id)?;
        let part = StoredPart {
            etag: etag_for(received.md5, &upload.headers, &quirks),
            content: received.content,
            md5: received.md5,
            checksum: received.checksum.clone(),
            modified: now,
        };
        let etag = strong(&part.etag);
        upload.parts.insert(input.part_number, part);
        Ok(UploadPartOutput {
            checksum_crc32: received.checksum.checksum_crc32,
            checksum_crc32c: received.checksum.checksum_crc32c,
            checksum_crc64nvme: received.checksum.checksum_crc64nvme,
            checksum_sha1: received.checksum.checksum_sha1,
            checksum_sha256: received.checksum.checksum_sha256,
            e_tag: etag,
            server_side_encryption: upload.headers.encryption.clone(),
            ..UploadPartOutput::default()
        })
    }

    pub(crate) async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<UploadPartCopyOutput> {
        let input = request.input;
        check_part_number(input.part_number)?;
        let quirks = self.quirks();
        let source = self.copy_source(
            &input.copy_source,
            &ReadConditions {
                if_match: input.copy_source_if_match.as_ref(),
                if_none_match: input.copy_source_if_none_match.as_ref(),
                if_modified_since: input.copy_source_if_modified_since.as_ref(),
                if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
            },
            &quirks,
        )?;
        let mut content = source.object.content.clone();
        if let Some(range) = &input.copy_source_range {
            let malformed = || s3_error!(InvalidArgument, "the range `{range}` is malformed");
            let Ok(Range::Int {
                first,
                last: Some(last),
            }) = Range::parse(range)
            else {
                return Err(malformed());
            };
            if last >= content.size() {
                return Err(s3_error!(
                    InvalidRange,
                    "the range reaches beyond the source"
                ));
            }
            content = content.slice(first, last + 1);
        }
        let md5 = content.md5();
        let now = self.clock.now();
        let mut store = self.store();
        let upload = store
            .bucket_mut(&input.bucket)?
            .upload_mut(&input.key, &input.upload_id)?;
        let part = StoredPart {
            etag: etag_for(md5, &upload.headers, &quirks),
            content,
            md5,
            checksum: Checksum::default(),
            modified: now,
        };
        let result = CopyPartResult {
            e_tag: strong(&part.etag),
            last_modified: Some(Timestamp::from(now)),
            ..CopyPartResult::default()
        };
        upload.parts.insert(input.part_number, part);
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: shown_version(source.is_versioned, &source.version.id),
            ..UploadPartCopyOutput::default()
        })
    }

    pub(crate) async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let input = request.input;
        let quirks = self.quirks();
        let demanded = write_precondition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let precondition = honour(demanded, quirks.complete)?;
        let listed = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let mut draft = self
            .store()
            .bucket(&input.bucket)?
            .upload(&input.key, &input.upload_id)?
            .assemble(&listed, &quirks)?;
        let claimed = Checksum {
            checksum_crc32: input.checksum_crc32,
            checksum_crc32c: input.checksum_crc32c,
            checksum_crc64nvme: input.checksum_crc64nvme,
            checksum_sha1: input.checksum_sha1,
            checksum_sha256: input.checksum_sha256,
            checksum_type: input.checksum_type,
        };
        check_claims(&mut draft, input.mpu_object_size, &claimed)?;
        let etag = draft.etag.clone();
        let checksum = draft.checksum.clone();
        let encryption = draft.headers.encryption.clone();
        let now = self.clock.now();
        let mut store = self.store();
        let bucket = store.bucket_mut(&input.bucket)?;
        // A failed precondition leaves the upload where it is, to be completed again or aborted.
        bucket.upload(&input.key, &input.upload_id)?;
        let version = bucket.put(&input.key, draft, &precondition, &quirks, now)?;
        bucket.end_upload(&input.key, &input.upload_id)?;
        let is_versioned = bucket.versioning != Versioning::Never;
        Ok(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, encode(&input.key))),
            bucket: Some(input.bucket),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            e_tag: strong(&etag),
            key: Some(input.key),
            server_side_encryption: encryption,
            version_id: shown_version(is_versioned, &version.id),
            ..CompleteMultipartUploadOutput::default()
        })
    }

    pub(crate) async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<AbortMultipartUploadOutput> {
        let input = request.input;
        self.store()
            .bucket_mut(&input.bucket)?
            .end_upload(&input.key, &input.upload_id)?;
        Ok(AbortMultipartUploadOutput::default())
    }

    pub(crate) async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<ListMultipartUploadsOutput> {
        let input = request.input;
        if input.delimiter.is_some() {
            return Err(unsupported("ListMultipartUploads with a delimiter"));
        }
        let limit = page_limit(input.max_uploads, self.quirks().page_size)?;
        let encodes = input.encoding_type.is_some();
        let show = |name: &str| {
            if encodes {
                encode(name)
            } else {
                name.to_owned()
            }
        };
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let key_marker = input.key_marker.as_deref().unwrap_or_default();
        // Without a key marker the other one is ignored.
        let id_marker = input
            .upload_id_marker
            .as_deref()
            .filter(|_| !key_marker.is_empty());
        let store = self.store();
        let after = |(key, id): &(String, String)| match id_marker {
            Some(marker) => (key.as_str(), id.as_str()) > (key_marker, marker),
            None => key_marker.is_empty() || key.as_str() > key_marker,
        };
        let mut uploads: Vec<(&(String, String), &Upload)> = store
            .bucket(&input.bucket)?
            .uploads
            .iter()
            .filter(|(name, _)| name.0.starts_with(prefix) && after(name))
            .take(limit + 1)
            .collect();
        let is_truncated = uploads.len() > limit;
        uploads.truncate(limit);
        let last = uploads
            .last()
            .filter(|_| is_truncated)
            .map(|(name, _)| *name);
        Ok(ListMultipartUploadsOutput {
            bucket: Some(input.bucket.clone()),
            encoding_type: input.encoding_type.clone(),
            is_truncated: Some(is_truncated),
            key_marker: Some(show(key_marker)),
            max_uploads: i32::try_from(limit).ok(),
            next_key_marker: last.map(|(key, _)| show(key)),
            next_upload_id_marker: last.map(|(_, id)| id.clone()),
            prefix: Some(show(prefix)),
            upload_id_marker: input.upload_id_marker.clone(),
            uploads: Some(
                uploads
                    .iter()
                    .map(|((key, id), upload)| MultipartUpload {
                        initiated: Some(Timestamp::from(upload.initiated)),
                        key: Some(show(key)),
                        storage_class: upload.headers.storage_class.clone(),
                        upload_id: Some(id.clone()),
                        ..MultipartUpload::default()
                    })
                    .collect(),
            ),
            ..ListMultipartUploadsOutput::default()
        })
    }

    pub(crate) async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<ListPartsOutput> {
        let input = request.input;
        let limit = page_limit(input.max_parts, self.quirks().page_size)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let store = self.store();
        let upload = store
            .bucket(&input.bucket)?
            .upload(&input.key, &input.upload_id)?;
        let rest = upload.parts.range(marker.saturating_add(1)..);
        let mut parts: Vec<(&i32, &StoredPart)> = rest.take(limit + 1).collect();
        let is_truncated = parts.len() > limit;
        parts.truncate(limit);
        Ok(ListPartsOutput {
            is_truncated: Some(is_truncated),
            max_parts: i32::try_from(limit).ok(),
            next_part_number_marker: parts.last().map(|(number, _)| **number),
            part_number_marker: Some(marker),
            parts: Some(
                parts
                    .iter()
                    .map(|(number, part)| listed_part(**number, part))
                    .collect(),
            ),
            storage_class: upload.headers.storage_class.clone(),
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(input.upload_id.clone()),
            ..ListPartsOutput::default()
        })
    }
}

/// Compares what the client says of the whole object with what its parts make.
fn check_claims(draft: &mut Draft, size: Option<i64>, claimed: &Checksum) -> S3Result<()> {
    if size.is_some_and(|size| u64::try_from(size) != Ok(draft.content.size())) {
        return Err(s3_error!(
            InvalidRequest,
            "the object has another size than announced"
        ));
    }
    let sums = Checksum {
        checksum_type: None,
        ..claimed.clone()
    };
    if sums == Checksum::default() {
        return Ok(());
    }
    let kind = claimed.checksum_type.as_ref().map(ChecksumType::as_str);
    if kind != Some(ChecksumType::FULL_OBJECT) {
        return Err(unsupported("a composite checksum of the whole upload"));
    }
    draft.checksum = verify_checksums(&draft.content, claimed)?;
    Ok(())
}

fn listed_part(number: i32, part: &StoredPart) -> Part {
    let checksum = part.checksum.clone();
    Part {
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        e_tag: strong(&part.etag),
        last_modified: Some(Timestamp::from(part.modified)),
        part_number: Some(number),
        size: i64::try_from(part.content.size()).ok(),
    }
}

fn check_part_number(number: i32) -> S3Result<()> {
    if (1..=10_000).contains(&number) {
        return Ok(());
    }
    Err(s3_error!(
        InvalidArgument,
        "part number must be an integer between 1 and 10000"
    ))
}

/// How many lines a page has: what the client asks for, and no more than the server's page.
pub(crate) fn page_limit(asked: Option<i32>, page_size: usize) -> S3Result<usize> {
    let asked = match asked {
        None => return Ok(page_size),
        Some(asked) => usize::try_from(asked)
            .map_err(|_| s3_error!(InvalidArgument, "a page cannot have fewer than 0 lines"))?,
    };
    Ok(asked.min(page_size))
}
