//! Operations on one object: PUT, GET, HEAD, COPY, DELETE.

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use s3s::dto::{
    Checksum, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETagCondition,
    Error, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, MetadataDirective,
    ObjectIdentifier, PutObjectInput, PutObjectOutput, Range, Timestamp,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};
use std::collections::HashMap;
use std::sync::Arc;

use super::Shared;
use super::api::{
    ReadConditions, Verdict, declared, precondition_in, shown_version, strong, unsupported,
    write_precondition,
};
use super::body::{Content, receive};
use super::quirks::{Condition, Quirks};
use super::store::{
    Deleted, Draft, Headers, Object, Precondition, Version, Versioning, etag_for, honour,
};

impl Shared {
    pub(crate) async fn put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<PutObjectOutput> {
        let quirks = self.quirks();
        let demanded = write_precondition(
            request.input.if_match.as_ref(),
            request.input.if_none_match.as_ref(),
        )?;
        let condition = match demanded {
            Precondition::Absent => quirks.put_absent,
            _ => quirks.put_match,
        };
        let precondition = honour(demanded, condition)?;
        if request.input.sse_customer_algorithm.is_some() {
            return Err(unsupported("SSE-C"));
        }
        self.store().bucket(&request.input.bucket)?;
        let body = request.input.body.take();
        let received = receive(body, declared!(request)).await?;
        let input = request.input;
        let headers = Headers {
            metadata: checked_metadata(input.metadata)?,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: stored_encoding(input.content_encoding),
            content_language: input.content_language,
            content_type: input.content_type,
            encryption: input.server_side_encryption,
            storage_class: input.storage_class,
        };
        let draft = Draft {
            etag: etag_for(received.md5, &headers, &quirks),
            content: received.content,
            headers,
            checksum: received.checksum.clone(),
            parts: None,
            modified: None,
        };
        let etag = draft.etag.clone();
        let encryption = draft.headers.encryption.clone();
        let now = self.clock.now();
        let mut store = self.store();
        let bucket = store.bucket_mut(&input.bucket)?;
        let version = bucket.put(&input.key, draft, &precondition, &quirks, now)?;
        let is_versioned = bucket.versioning != Versioning::Never;
        Ok(PutObjectOutput {
            checksum_crc32: received.checksum.checksum_crc32,
            checksum_crc32c: received.checksum.checksum_crc32c,
            checksum_crc64nvme: received.checksum.checksum_crc64nvme,
            checksum_sha1: received.checksum.checksum_sha1,
            checksum_sha256: received.checksum.checksum_sha256,
            e_tag: strong(&etag),
            server_side_encryption: encryption,
            version_id: shown_version(is_versioned, &version.id),
            ..PutObjectOutput::default()
        })
    }

    pub(crate) async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<GetObjectOutput> {
        let input = request.input;
        if input.part_number.is_some() {
            return Err(unsupported("GetObject with partNumber"));
        }
        let found = self.find(&input.bucket, &input.key, input.version_id.as_deref())?;
        found.judge(&ReadConditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        })?;
        let (content, content_range) = found.range(input.range.as_ref())?;
        let wants_checksum = input.checksum_mode.is_some() && content_range.is_none();
        let checksum = found.checksum(wants_checksum);
        let Found {
            version,
            object,
            is_versioned,
        } = found;
        let headers = object.headers.clone();
        Ok(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: headers.cache_control,
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            content_disposition: headers.content_disposition,
            content_encoding: headers.content_encoding,
            content_language: headers.content_language,
            content_length: i64::try_from(content.size()).ok(),
            content_range,
            content_type: headers.content_type.or_else(default_content_type),
            e_tag: strong(&object.etag),
            last_modified: Some(Timestamp::from(version.modified)),
            metadata: Some(headers.metadata),
            server_side_encryption: headers.encryption,
            storage_class: headers.storage_class,
            version_id: shown_version(is_versioned, &version.id),
            body: Some(content.into_blob()),
            ..GetObjectOutput::default()
        })
    }

    pub(crate) async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<HeadObjectOutput> {
        let input = request.input;
        if input.part_number.is_some() {
            return Err(unsupported("HeadObject with partNumber"));
        }
        let found = self.find(&input.bucket, &input.key, input.version_id.as_deref())?;
        found.judge(&ReadConditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        })?;
        let (content, content_range) = found.range(input.range.as_ref())?;
        let checksum = found.checksum(input.checksum_mode.is_some() && content_range.is_none());
        let Found {
            version,
            object,
            is_versioned,
        } = found;
        let headers = object.headers.clone();
        Ok(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: headers.cache_control,
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            content_disposition: headers.content_disposition,
            content_encoding: headers.content_encoding,
            content_language: headers.content_language,
            content_length: i64::try_from(content.size()).ok(),
            content_range,
            content_type: headers.content_type.or_else(default_content_type),
            e_tag: strong(&object.etag),
            last_modified: Some(Timestamp::from(version.modified)),
            metadata: Some(headers.metadata),
            server_side_encryption: headers.encryption,
            storage_class: headers.storage_class,
            version_id: shown_version(is_versioned, &version.id),
            ..HeadObjectOutput::default()
        })
    }

    pub(crate) async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<CopyObjectOutput> {
        let quirks = self.quirks();
        let precondition = honour(precondition_in(&request.headers)?, quirks.copy_destination)?;
        let input = request.input;
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
        let bucket_name = input.bucket.clone();
        let key = input.key.clone();
        let headers = copied_headers(input, &source.object.headers)?;
        let content = source.object.content.clone();
        let draft = Draft {
            // The copy is one piece: it loses the entity tag of a multipart upload.
            etag: etag_for(content.md5(), &headers, &quirks),
            content,
            headers,
            checksum: source.object.checksum.clone(),
            parts: None,
            modified: None,
        };
        let etag = draft.etag.clone();
        let now = self.clock.now();
        let mut store = self.store();
        let bucket = store.bucket_mut(&bucket_name)?;
        let version = bucket.put(&key, draft, &precondition, &quirks, now)?;
        let is_versioned = bucket.versioning != Versioning::Never;
        Ok(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: strong(&etag),
                last_modified: Some(Timestamp::from(version.modified)),
                ..CopyObjectResult::default()
            }),
            copy_source_version_id: shown_version(source.is_versioned, &source.version.id),
            version_id: shown_version(is_versioned, &version.id),
            ..CopyObjectOutput::default()
        })
    }

    pub(crate) async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<DeleteObjectOutput> {
        let input = request.input;
        if input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
            return Err(unsupported("a condition of directory buckets"));
        }
        let quirks = self.quirks();
        let demanded = match input.if_match {
            None => Precondition::None,
            Some(ETagCondition::Any) => Precondition::Present,
            Some(ETagCondition::ETag(etag)) => Precondition::Match(etag.into_value()),
        };
        let precondition = honour(demanded, quirks.delete_match)?;
        let version_id = input.version_id.as_deref();
        let now = self.clock.now();
        let deleted = self.store().bucket_mut(&input.bucket)?.delete(
            &input.key,
            version_id,
            &precondition,
            &quirks,
            now,
        )?;
        Ok(DeleteObjectOutput {
            delete_marker: deleted.is_marker.then_some(true),
            version_id: deleted.version_id,
            ..DeleteObjectOutput::default()
        })
    }

    pub(crate) async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<DeleteObjectsOutput> {
        if !has_body_checksum(&request.headers) {
            return Err(s3_error!(
                InvalidRequest,
                "missing required header for this request: Content-MD5"
            ));
        }
        let input = request.input;
        if input.delete.objects.is_empty() || input.delete.objects.len() > 1_000 {
            return Err(s3_error!(MalformedXML, "1 to 1,000 objects are deleted"));
        }
        let quirks = self.quirks();
        let is_quiet = input.delete.quiet == Some(true);
        let mut deleted = Vec::new();
        let mut errors = Vec::new();
        let now = self.clock.now();
        let mut store = self.store();
        let bucket = store.bucket_mut(&input.bucket)?;
        for item in input.delete.objects {
            let outcome = item_precondition(&item, quirks.delete_match).and_then(|precondition| {
                bucket.delete(
                    &item.key,
                    item.version_id.as_deref(),
                    &precondition,
                    &quirks,
                    now,
                )
            });
            match outcome {
                Ok(_) if is_quiet => {}
                Ok(outcome) => deleted.push(deleted_line(item, outcome)),
                Err(error) => errors.push(error_line(item, &error)),
            }
        }
        Ok(DeleteObjectsOutput {
            deleted: (!deleted.is_empty()).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..DeleteObjectsOutput::default()
        })
    }

    fn find(&self, bucket: &str, key: &str, version_id: Option<&str>) -> S3Result<Found> {
        let store = self.store();
        let bucket = store.bucket(bucket)?;
        let (version, object) = bucket.find(key, version_id)?;
        Ok(Found {
            version,
            object,
            is_versioned: bucket.versioning != Versioning::Never,
        })
    }

    /// The object that a copy reads, when it is what the copy demands.
    pub(crate) fn copy_source(
        &self,
        source: &CopySource,
        conditions: &ReadConditions<'_>,
        quirks: &Quirks,
    ) -> S3Result<Found> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(unsupported("copying from an access point"));
        };
        let found = self.find(bucket, key, version_id.as_deref())?;
        let is_conditional = conditions.if_match.is_some()
            || conditions.if_none_match.is_some()
            || conditions.if_modified_since.is_some()
            || conditions.if_unmodified_since.is_some();
        match quirks.copy_source {
            Condition::Unsupported if is_conditional => {
                return Err(unsupported("a conditional copy"));
            }
            Condition::Unsupported | Condition::Ignored => {}
            Condition::Enforced => {
                let verdict = conditions.judge(&found.object.etag, found.version.modified);
                // A copy has no "not modified": both outcomes are a failed precondition.
                if verdict != Verdict::Read {
                    return Err(s3_error!(
                        PreconditionFailed,
                        "the source is not what was demanded"
                    ));
                }
            }
        }
        Ok(found)
    }
}

/// A version that a request names.
pub(crate) struct Found {
    pub version: Version,
    pub object: Arc<Object>,
    pub is_versioned: bool,
}

impl Found {
    fn judge(&self, conditions: &ReadConditions<'_>) -> S3Result<()> {
        match conditions.judge(&self.object.etag, self.version.modified) {
            Verdict::Read => Ok(()),
            Verdict::Failed => Err(s3_error!(PreconditionFailed, "a precondition did not hold")),
            Verdict::NotModified => {
                let mut error = S3Error::new(S3ErrorCode::NotModified);
                let mut headers = HeaderMap::new();
                if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", self.object.etag)) {
                    headers.insert(hyper::header::ETAG, etag);
                }
                error.set_headers(headers);
                Err(error)
            }
        }
    }

    fn range(&self, range: Option<&Range>) -> S3Result<(Content, Option<String>)> {
        let content = &self.object.content;
        let Some(range) = range else {
            return Ok((content.clone(), None));
        };
        let total = content.size();
        let bytes = range.check(total)?;
        let shown = format!("bytes {}-{}/{total}", bytes.start, bytes.end - 1);
        Ok((content.slice(bytes.start, bytes.end), Some(shown)))
    }

    fn checksum(&self, is_wanted: bool) -> Checksum {
        if is_wanted {
            self.object.checksum.clone()
        } else {
            Checksum::default()
        }
    }
}

/// The headers of a copy: those of its source, or with `REPLACE` those of the request. Storage class and encryption always
/// come from the request.
fn copied_headers(input: CopyObjectInput, source: &Headers) -> S3Result<Headers> {
    let directive = input
        .metadata_directive
        .as_ref()
        .map(MetadataDirective::as_str);
    let replaces = directive == Some(MetadataDirective::REPLACE);
    let is_same_key = matches!(&input.copy_source, CopySource::Bucket { bucket, key, .. }
        if **bucket == input.bucket && **key == input.key);
    let changes =
        replaces || input.storage_class.is_some() || input.server_side_encryption.is_some();
    if is_same_key && !changes {
        return Err(s3_error!(
            InvalidRequest,
            "this copy request is illegal: it copies an object onto itself without changing anything"
        ));
    }
    let mut headers = source.clone();
    if replaces {
        headers = Headers {
            metadata: checked_metadata(input.metadata)?,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: stored_encoding(input.content_encoding),
            content_language: input.content_language,
            content_type: input.content_type,
            encryption: None,
            storage_class: None,
        };
    }
    headers.encryption = input.server_side_encryption;
    headers.storage_class = input.storage_class;
    Ok(headers)
}

fn default_content_type() -> Option<String> {
    Some("binary/octet-stream".to_owned())
}

/// User metadata, at most 2 KB of it, as on AWS.
pub(crate) fn checked_metadata(
    metadata: Option<HashMap<String, String>>,
) -> S3Result<HashMap<String, String>> {
    let metadata = metadata.unwrap_or_default();
    let size: usize = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if size > 2_048 {
        return Err(s3_error!(MetadataTooLarge));
    }
    Ok(metadata)
}

/// The content encoding without `aws-chunked`, which is about the transfer and not stored.
pub(crate) fn stored_encoding(encoding: Option<String>) -> Option<String> {
    let kept: Vec<&str> = encoding
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && *name != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// `DeleteObjects` wants its body protected by something other than the signature.
fn has_body_checksum(headers: &HeaderMap) -> bool {
    headers.contains_key("content-md5")
        || headers.contains_key("x-amz-sdk-checksum-algorithm")
        || headers
            .keys()
            .any(|name| name.as_str().starts_with("x-amz-checksum-"))
}

fn item_precondition(item: &ObjectIdentifier, condition: Condition) -> S3Result<Precondition> {
    let demanded = match &item.e_tag {
        None => Precondition::None,
        Some(etag) if etag.value() == "*" => Precondition::Present,
        Some(etag) => Precondition::Match(etag.value().to_owned()),
    };
    honour(demanded, condition)
}

fn deleted_line(item: ObjectIdentifier, outcome: Deleted) -> DeletedObject {
    DeletedObject {
        delete_marker: outcome.is_marker.then_some(true),
        delete_marker_version_id: outcome.version_id.filter(|_| outcome.is_marker),
        key: Some(item.key),
        version_id: item.version_id,
    }
}

fn error_line(item: ObjectIdentifier, error: &S3Error) -> Error {
    Error {
        code: Some(error.code().as_str().to_owned()),
        key: Some(item.key),
        message: error.message().map(str::to_owned),
        version_id: item.version_id,
    }
}
