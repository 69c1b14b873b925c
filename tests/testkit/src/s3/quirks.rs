//! What a store does differently from AWS.
//!
//! Everything here is a knob of the one server, so that a test names the deviation it needs and gets AWS for the rest. The
//! knobs may be turned while the server runs and hold from the next request on.

use std::time::Duration;

/// What the server makes of a conditional header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// Checked, atomically with the change.
    #[default]
    Enforced,
    /// Accepted and not looked at, as some stores do without a word.
    Ignored,
    /// Answered with 501 `NotImplemented`.
    Unsupported,
}

/// How entity tags are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ETags {
    /// MD5 of the content; for multipart uploads MD5 of the parts' MD5s, a dash and their number.
    #[default]
    Md5,
    /// Random hex digits of the same length, as with SSE-KMS.
    Random,
}

/// The deviations of one server; the default is AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quirks {
    /// `If-None-Match: *` on `PutObject`.
    pub put_absent: Condition,
    /// `If-Match` on `PutObject`.
    pub put_match: Condition,
    /// `If-Match` on `DeleteObject`, and the `ETag` of an entry of `DeleteObjects`.
    pub delete_match: Condition,
    /// `If-Match` and `If-None-Match` on `CompleteMultipartUpload`.
    pub complete: Condition,
    /// `x-amz-copy-source-if-match` and its relatives on `CopyObject` and `UploadPartCopy`.
    pub copy_source: Condition,
    /// `If-Match` and `If-None-Match`, for the destination, on `CopyObject`.
    pub copy_destination: Condition,
    /// How entity tags are made.
    pub etags: ETags,
    /// Refuse a multipart upload whose parts, the last one apart, differ in size (Cloudflare R2).
    pub equal_parts: bool,
    /// Smallest size in bytes of a part that is not the last; AWS: 5 MiB.
    pub min_part_size: u64,
    /// Most keys on one page of a listing; AWS: 1,000.
    pub page_size: usize,
    /// Added to every request before it is handled.
    pub latency: Duration,
    /// `LastModified` is cut down to a multiple of this; AWS: one second. HTTP dates show whole seconds in any case.
    pub time_granularity: Duration,
    /// The answer to an upload carries the entity tag of what was sent; then the store changes the content, so that size and
    /// entity tag differ from there on.
    pub alters_content: bool,
    /// A new key shows only after this many listings were begun; GET and HEAD find it at once.
    pub list_lag: u32,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            put_absent: Condition::Enforced,
            put_match: Condition::Enforced,
            delete_match: Condition::Enforced,
            complete: Condition::Enforced,
            copy_source: Condition::Enforced,
            copy_destination: Condition::Enforced,
            etags: ETags::Md5,
            equal_parts: false,
            min_part_size: 5 << 20,
            page_size: 1_000,
            latency: Duration::ZERO,
            time_granularity: Duration::from_secs(1),
            alters_content: false,
            list_lag: 0,
        }
    }
}

impl Quirks {
    /// AWS without a single conditional write: every condition gets `condition`.
    #[must_use]
    pub fn all_conditions(condition: Condition) -> Self {
        Self {
            put_absent: condition,
            put_match: condition,
            delete_match: condition,
            complete: condition,
            copy_source: condition,
            copy_destination: condition,
            ..Self::default()
        }
    }
}
