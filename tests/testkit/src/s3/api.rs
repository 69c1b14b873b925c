//! The operations as `s3s` wants them, handed on to [`Shared`], and what they have in common.

use std::sync::Arc;
use std::time::SystemTime;

use hyper::HeaderMap;
use s3s::dto::{self, Checksum, ETag, ETagCondition, Timestamp};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::Shared;
use super::body::Declared;
use super::store::{Object, Precondition};

pub(crate) struct Api(pub Arc<Shared>);

macro_rules! serve {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        #[async_trait::async_trait]
        impl S3 for Api {
            $(async fn $operation(
                &self,
                request: S3Request<dto::$input>,
            ) -> S3Result<S3Response<dto::$output>> {
                self.0.$operation(request).await.map(S3Response::new)
            })*
        }
    };
}

serve! {
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput,
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput,
    copy_object: CopyObjectInput => CopyObjectOutput,
    create_bucket: CreateBucketInput => CreateBucketOutput,
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput,
    delete_object: DeleteObjectInput => DeleteObjectOutput,
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput,
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput,
    get_bucket_versioning: GetBucketVersioningInput => GetBucketVersioningOutput,
    get_object: GetObjectInput => GetObjectOutput,
    head_bucket: HeadBucketInput => HeadBucketOutput,
    head_object: HeadObjectInput => HeadObjectOutput,
    list_buckets: ListBucketsInput => ListBucketsOutput,
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput,
    list_object_versions: ListObjectVersionsInput => ListObjectVersionsOutput,
    list_objects: ListObjectsInput => ListObjectsOutput,
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output,
    list_parts: ListPartsInput => ListPartsOutput,
    put_bucket_versioning: PutBucketVersioningInput => PutBucketVersioningOutput,
    put_object: PutObjectInput => PutObjectOutput,
    upload_part: UploadPartInput => UploadPartOutput,
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput,
}

pub(crate) fn unsupported(what: &str) -> s3s::S3Error {
    s3_error!(NotImplemented, "{what} is not implemented by this server")
}

/// What a write demands of the object it replaces: `If-None-Match: *` or `If-Match: "etag"`, and nothing else, as on AWS.
pub(crate) fn write_precondition(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Precondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::None),
        (None, Some(ETagCondition::Any)) => Ok(Precondition::Absent),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Precondition::Match(etag.value().to_owned())),
        _ => Err(unsupported("this combination of conditional headers")),
    }
}

/// The same, from headers that `s3s` does not parse for the operation.
pub(crate) fn precondition_in(headers: &HeaderMap) -> S3Result<Precondition> {
    let condition = |name: &str| -> S3Result<Option<ETagCondition>> {
        let Some(value) = headers.get(name) else {
            return Ok(None);
        };
        ETagCondition::parse_http_header(value.as_bytes())
            .map(Some)
            .map_err(|_| s3_error!(InvalidArgument, "the header {name} is malformed"))
    };
    write_precondition(
        condition("if-match")?.as_ref(),
        condition("if-none-match")?.as_ref(),
    )
}

/// The conditions of a read, in the order of RFC 9110.
pub(crate) struct ReadConditions<'a> {
    pub if_match: Option<&'a ETagCondition>,
    pub if_none_match: Option<&'a ETagCondition>,
    pub if_modified_since: Option<&'a Timestamp>,
    pub if_unmodified_since: Option<&'a Timestamp>,
}

/// How the conditions of a read turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Read,
    Failed,
    NotModified,
}

impl ReadConditions<'_> {
    pub(crate) fn judge(&self, etag: &str, modified: SystemTime) -> Verdict {
        let names = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(wanted) => wanted.value() == etag,
        };
        // HTTP dates have whole seconds: a client that sends back what it was shown must not be told that it is older.
        let modified = whole_seconds(modified);
        match self.if_match {
            Some(condition) if !names(condition) => return Verdict::Failed,
            Some(_) => {}
            None => {
                if self.if_unmodified_since.is_some_and(|at| modified > *at) {
                    return Verdict::Failed;
                }
            }
        }
        match self.if_none_match {
            Some(condition) if names(condition) => Verdict::NotModified,
            Some(_) => Verdict::Read,
            None if self.if_modified_since.is_some_and(|at| modified <= *at) => {
                Verdict::NotModified
            }
            None => Verdict::Read,
        }
    }
}

pub(crate) fn whole_seconds(time: SystemTime) -> Timestamp {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(since.as_secs()))
}

pub(crate) fn strong(etag: &str) -> Option<ETag> {
    Some(ETag::Strong(etag.to_owned()))
}

/// The version id as answers show it: not at all while a bucket has never been versioned.
pub(crate) fn shown_version(is_versioned: bool, id: &str) -> Option<String> {
    is_versioned.then(|| id.to_owned())
}

pub(crate) fn size_of(object: &Object) -> i64 {
    i64::try_from(object.content.size()).unwrap_or(i64::MAX)
}

/// What the headers of an upload say about its body. `S3Request` and the inputs of `PutObject` and `UploadPart` share these
/// fields, but no type.
macro_rules! declared {
    ($request:expr) => {
        $crate::s3::api::declared_with(
            $request.input.content_length,
            $request.input.content_md5.clone(),
            s3s::dto::Checksum {
                checksum_crc32: $request.input.checksum_crc32.clone(),
                checksum_crc32c: $request.input.checksum_crc32c.clone(),
                checksum_crc64nvme: $request.input.checksum_crc64nvme.clone(),
                checksum_sha1: $request.input.checksum_sha1.clone(),
                checksum_sha256: $request.input.checksum_sha256.clone(),
                checksum_type: None,
            },
            $request.trailing_headers.clone(),
            &$request.headers,
        )
    };
}
pub(crate) use declared;

pub(crate) fn declared_with(
    length: Option<i64>,
    md5: Option<String>,
    checksum: Checksum,
    trailers: Option<s3s::TrailingHeaders>,
    headers: &HeaderMap,
) -> Declared {
    let names = headers.get("x-amz-trailer");
    Declared {
        length,
        md5,
        checksum,
        trailers,
        trailer_names: names
            .and_then(|value| value.to_str().ok())
            .map(str::to_ascii_lowercase),
    }
}
