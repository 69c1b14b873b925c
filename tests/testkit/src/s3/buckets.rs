//! Operations on a bucket: listings, versioning, location.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use s3s::dto::{
    Bucket as BucketLine, BucketLocationConstraint, BucketVersioningStatus, CommonPrefix,
    CreateBucketInput, CreateBucketOutput, DeleteMarkerEntry, GetBucketLocationInput,
    GetBucketLocationOutput, GetBucketVersioningInput, GetBucketVersioningOutput, HeadBucketInput,
    HeadBucketOutput, ListBucketsInput, ListBucketsOutput, ListObjectVersionsInput,
    ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object as ObjectLine, ObjectStorageClass, ObjectVersion, Owner,
    PutBucketVersioningInput, PutBucketVersioningOutput, StorageClass, Timestamp,
};
use s3s::{S3Request, S3Result, s3_error};

use super::api::{size_of, strong, unsupported};
use super::listing::{Line, Query, encode, page};
use super::multipart::page_limit;
use super::store::{Entry, Versioning};
use super::{REGION, Shared};

/// The lines of one page, as both versions of `ListObjects` show them.
struct Lines {
    contents: Vec<ObjectLine>,
    common_prefixes: Vec<CommonPrefix>,
    next: Option<String>,
}

impl Shared {
    pub(crate) async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<ListObjectsV2Output> {
        let input = request.input;
        let limit = page_limit(input.max_keys, self.quirks().page_size)?;
        let encodes = is_encoded(input.encoding_type.as_ref())?;
        let resumed = match &input.continuation_token {
            None => None,
            Some(token) => Some(decode_token(token)?),
        };
        let start_after = input.start_after.clone().unwrap_or_default();
        let lines = self.lines(
            &input.bucket,
            &Query {
                prefix: input.prefix.as_deref().unwrap_or_default(),
                delimiter: input.delimiter.as_deref().unwrap_or_default(),
                after: resumed.as_deref().unwrap_or(&start_after),
                limit,
            },
            resumed.is_none(),
            encodes,
            input.fetch_owner == Some(true),
        )?;
        let show = shower(encodes);
        Ok(ListObjectsV2Output {
            key_count: i32::try_from(lines.contents.len() + lines.common_prefixes.len()).ok(),
            contents: Some(lines.contents),
            common_prefixes: Some(lines.common_prefixes),
            continuation_token: input.continuation_token,
            delimiter: input.delimiter.map(show),
            encoding_type: input.encoding_type,
            is_truncated: Some(lines.next.is_some()),
            max_keys: i32::try_from(limit).ok(),
            name: Some(input.bucket),
            next_continuation_token: lines.next.map(|key| BASE64.encode(key)),
            prefix: Some(show(input.prefix.unwrap_or_default())),
            start_after: input.start_after.map(show),
            ..ListObjectsV2Output::default()
        })
    }

    pub(crate) async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<ListObjectsOutput> {
        let input = request.input;
        let limit = page_limit(input.max_keys, self.quirks().page_size)?;
        let encodes = is_encoded(input.encoding_type.as_ref())?;
        let marker = input.marker.clone().unwrap_or_default();
        let lines = self.lines(
            &input.bucket,
            &Query {
                prefix: input.prefix.as_deref().unwrap_or_default(),
                delimiter: input.delimiter.as_deref().unwrap_or_default(),
                after: &marker,
                limit,
            },
            marker.is_empty(),
            encodes,
            true,
        )?;
        let show = shower(encodes);
        let is_truncated = lines.next.is_some();
        // Without a delimiter a client takes the last key as the next marker; AWS sends none then.
        let next_marker = lines.next.filter(|_| input.delimiter.is_some());
        Ok(ListObjectsOutput {
            contents: Some(lines.contents),
            common_prefixes: Some(lines.common_prefixes),
            delimiter: input.delimiter.map(show),
            encoding_type: input.encoding_type,
            is_truncated: Some(is_truncated),
            marker: Some(show(marker)),
            max_keys: i32::try_from(limit).ok(),
            name: Some(input.bucket),
            next_marker: next_marker.map(show),
            prefix: Some(show(input.prefix.unwrap_or_default())),
            ..ListObjectsOutput::default()
        })
    }

    fn lines(
        &self,
        bucket: &str,
        query: &Query<'_>,
        is_first_page: bool,
        encodes: bool,
        with_owner: bool,
    ) -> S3Result<Lines> {
        let mut store = self.store();
        let bucket = store.bucket_mut(bucket)?;
        bucket.listings += u64::from(is_first_page);
        let listing = bucket.listings;
        let shows = |entry: &Entry| entry.listed_from <= listing && entry.current().is_some();
        let page = page(&bucket.entries, query, shows);
        let show = shower(encodes);
        let mut contents = Vec::new();
        let mut common_prefixes = Vec::new();
        for line in page.lines {
            match line {
                Line::CommonPrefix(prefix) => common_prefixes.push(CommonPrefix {
                    prefix: Some(show(prefix.to_owned())),
                }),
                Line::Key(key, entry) => {
                    let Some((version, object)) = entry.current() else {
                        continue;
                    };
                    contents.push(ObjectLine {
                        e_tag: strong(&object.etag),
                        key: Some(show(key.to_owned())),
                        last_modified: Some(Timestamp::from(version.modified)),
                        owner: with_owner.then(owner),
                        size: Some(size_of(object)),
                        storage_class: Some(storage_class(object.headers.storage_class.as_ref())),
                        ..ObjectLine::default()
                    });
                }
            }
        }
        Ok(Lines {
            contents,
            common_prefixes,
            next: page.next,
        })
    }

    /// All versions of each key stay on one page, so that the key marker alone says where to go on.
    pub(crate) async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<ListObjectVersionsOutput> {
        let input = request.input;
        if input.version_id_marker.is_some() {
            return Err(unsupported("a version id marker"));
        }
        let limit = page_limit(input.max_keys, self.quirks().page_size)?;
        let encodes = is_encoded(input.encoding_type.as_ref())?;
        let show = shower(encodes);
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: input.key_marker.as_deref().unwrap_or_default(),
            limit,
        };
        let store = self.store();
        let page = page(&store.bucket(&input.bucket)?.entries, &query, |_| true);
        let mut versions = Vec::new();
        let mut delete_markers = Vec::new();
        let mut common_prefixes = Vec::new();
        for line in page.lines {
            match line {
                Line::CommonPrefix(prefix) => common_prefixes.push(CommonPrefix {
                    prefix: Some(show(prefix.to_owned())),
                }),
                Line::Key(key, entry) => {
                    push_versions(key, entry, &show, &mut versions, &mut delete_markers);
                }
            }
        }
        Ok(ListObjectVersionsOutput {
            common_prefixes: Some(common_prefixes),
            delete_markers: Some(delete_markers),
            delimiter: input.delimiter.clone().map(show),
            encoding_type: input.encoding_type.clone(),
            is_truncated: Some(page.next.is_some()),
            key_marker: Some(show(input.key_marker.clone().unwrap_or_default())),
            max_keys: i32::try_from(limit).ok(),
            name: Some(input.bucket.clone()),
            next_key_marker: page.next.map(show),
            prefix: Some(show(input.prefix.clone().unwrap_or_default())),
            versions: Some(versions),
            ..ListObjectVersionsOutput::default()
        })
    }

    pub(crate) async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<ListBucketsOutput> {
        if request.input.max_buckets.is_some() || request.input.continuation_token.is_some() {
            return Err(unsupported("paging through buckets"));
        }
        let prefix = request.input.prefix.unwrap_or_default();
        let store = self.store();
        let buckets = store.buckets.iter();
        Ok(ListBucketsOutput {
            buckets: Some(
                buckets
                    .filter(|(name, _)| name.starts_with(&prefix))
                    .map(|(name, bucket)| BucketLine {
                        bucket_region: None,
                        creation_date: Some(Timestamp::from(bucket.created)),
                        name: Some(name.clone()),
                    })
                    .collect(),
            ),
            owner: Some(owner()),
            ..ListBucketsOutput::default()
        })
    }

    pub(crate) async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<CreateBucketOutput> {
        let name = request.input.bucket;
        let now = self.clock.now();
        self.store().create_bucket(&name, now)?;
        Ok(CreateBucketOutput {
            location: Some(format!("/{name}")),
        })
    }

    pub(crate) async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<HeadBucketOutput> {
        self.store().bucket(&request.input.bucket)?;
        Ok(HeadBucketOutput {
            bucket_region: Some(REGION.to_owned()),
            ..HeadBucketOutput::default()
        })
    }

    pub(crate) async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<GetBucketLocationOutput> {
        self.store().bucket(&request.input.bucket)?;
        // The oldest region has an empty name here.
        Ok(GetBucketLocationOutput {
            location_constraint: Some(BucketLocationConstraint::from_static("")),
        })
    }

    pub(crate) async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<GetBucketVersioningOutput> {
        let status = match self.store().bucket(&request.input.bucket)?.versioning {
            Versioning::Never => None,
            Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
            Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
        };
        Ok(GetBucketVersioningOutput {
            status: status.map(BucketVersioningStatus::from_static),
            ..GetBucketVersioningOutput::default()
        })
    }

    pub(crate) async fn put_bucket_versioning(
        &self,
        request: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<PutBucketVersioningOutput> {
        let input = request.input;
        let status = input.versioning_configuration.status;
        let versioning = match status.as_ref().map(BucketVersioningStatus::as_str) {
            Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
            Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
            _ => return Err(s3_error!(MalformedXML, "the status is unknown")),
        };
        self.store().bucket_mut(&input.bucket)?.versioning = versioning;
        Ok(PutBucketVersioningOutput::default())
    }
}

fn push_versions(
    key: &str,
    entry: &Entry,
    show: &impl Fn(String) -> String,
    versions: &mut Vec<ObjectVersion>,
    delete_markers: &mut Vec<DeleteMarkerEntry>,
) {
    for (age, version) in entry.versions.iter().rev().enumerate() {
        let key = Some(show(key.to_owned()));
        let is_latest = Some(age == 0);
        let last_modified = Some(Timestamp::from(version.modified));
        let version_id = Some(version.id.clone());
        match &version.object {
            Some(object) => versions.push(ObjectVersion {
                e_tag: strong(&object.etag),
                is_latest,
                key,
                last_modified,
                owner: Some(owner()),
                size: Some(size_of(object)),
                version_id,
                ..ObjectVersion::default()
            }),
            None => delete_markers.push(DeleteMarkerEntry {
                is_latest,
                key,
                last_modified,
                owner: Some(owner()),
                version_id,
            }),
        }
    }
}

fn is_encoded(encoding: Option<&s3s::dto::EncodingType>) -> S3Result<bool> {
    match encoding.map(s3s::dto::EncodingType::as_str) {
        None => Ok(false),
        Some("url") => Ok(true),
        Some(_) => Err(s3_error!(InvalidArgument, "the encoding type is unknown")),
    }
}

/// Names as the answer shows them.
fn shower(encodes: bool) -> impl Fn(String) -> String + Copy {
    move |name| if encodes { encode(&name) } else { name }
}

fn decode_token(token: &str) -> S3Result<String> {
    let wrong = || s3_error!(InvalidArgument, "the continuation token is incorrect");
    let key = BASE64.decode(token).map_err(|_| wrong())?;
    let key = String::from_utf8(key).map_err(|_| wrong())?;
    if key.is_empty() {
        return Err(wrong());
    }
    Ok(key)
}

fn storage_class(class: Option<&StorageClass>) -> ObjectStorageClass {
    match class {
        None => ObjectStorageClass::from_static(ObjectStorageClass::STANDARD),
        Some(class) => ObjectStorageClass::from(class.as_str().to_owned()),
    }
}

fn owner() -> Owner {
    Owner {
        display_name: Some("owner".to_owned()),
        id: Some("0".repeat(64)),
    }
}
