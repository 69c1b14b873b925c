//! Contents of objects, and reading a request's body into one.
//!
//! A body is hashed while it arrives, outside of every lock, and copied once, into a buffer of its exact size.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use md5::{Digest as _, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, StreamingBlob};
use s3s::stream::{ByteStream, DynByteStream, RemainingLength};
use s3s::{Body, S3Result, StdError, TrailingHeaders, s3_error};

/// Content in one or more pieces: a completed multipart upload keeps its parts as they came.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pieces: Arc<[Bytes]>,
    size: u64,
}

impl Content {
    pub(crate) fn new(pieces: Vec<Bytes>) -> Self {
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            pieces: pieces.into(),
            size,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The whole content as one buffer; copies when there are several pieces.
    pub(crate) fn to_bytes(&self) -> Bytes {
        match &*self.pieces {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }

    /// The pieces of `start..end`, cut without copying.
    pub(crate) fn slice(&self, start: u64, end: u64) -> Self {
        let mut pieces = Vec::new();
        let mut offset = 0;
        for piece in self.pieces.iter() {
            let length = piece.len() as u64;
            let from = start.clamp(offset, offset + length) - offset;
            let to = end.clamp(offset, offset + length) - offset;
            if from < to {
                pieces.push(piece.slice(from as usize..to as usize));
            }
            offset += length;
        }
        Self::new(pieces)
    }

    pub(crate) fn md5(&self) -> [u8; 16] {
        let mut hasher = Md5::new();
        for piece in self.pieces.iter() {
            hasher.update(piece);
        }
        hasher.finalize().into()
    }

    pub(crate) fn into_blob(self) -> StreamingBlob {
        if let [one] = &*self.pieces {
            return Body::from(one.clone()).into();
        }
        let stream: DynByteStream = Box::pin(Pieces {
            remaining: self.size as usize,
            pieces: self.pieces.iter().cloned().collect(),
        });
        stream.into()
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::new(vec![bytes])
    }
}

struct Pieces {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl Stream for Pieces {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.pieces.pop_front();
        self.remaining -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(Ok))
    }
}

impl ByteStream for Pieces {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(self.remaining)
    }
}

/// What a client said about the body it sends.
#[derive(Default)]
pub(crate) struct Declared {
    pub length: Option<i64>,
    pub md5: Option<String>,
    pub checksum: Checksum,
    pub trailers: Option<TrailingHeaders>,
    /// Names of `x-amz-trailer`, lower case.
    pub trailer_names: Option<String>,
}

/// A body that arrived and was what the client had said.
pub(crate) struct Received {
    pub content: Content,
    pub md5: [u8; 16],
    pub checksum: Checksum,
}

/// Reads and checks a body.
pub(crate) async fn receive(body: Option<StreamingBlob>, declared: Declared) -> S3Result<Received> {
    let mut hasher = checksum_hasher(&declared);
    let mut md5 = Md5::new();
    let expected = declared.length.unwrap_or(0).max(0) as usize;
    let mut buffer = BytesMut::with_capacity(expected);
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(body_error)?;
            md5.update(&chunk);
            hasher.update(&chunk);
            buffer.extend_from_slice(&chunk);
        }
    }
    if declared.length.is_some() && buffer.len() != expected {
        return Err(s3_error!(IncompleteBody));
    }
    let md5: [u8; 16] = md5.finalize().into();
    if let Some(claimed) = &declared.md5 {
        let claimed = BASE64
            .decode(claimed)
            .map_err(|_| s3_error!(InvalidDigest))?;
        if claimed.len() != md5.len() {
            return Err(s3_error!(InvalidDigest));
        }
        if claimed != md5 {
            return Err(s3_error!(BadDigest, "the Content-MD5 did not match"));
        }
    }
    let checksum = hasher.finalize();
    compare_checksums(&declared.checksum, &checksum)?;
    if let Some(trailers) = declared.trailers.as_ref().and_then(TrailingHeaders::take) {
        let claimed = |name: &str| {
            let value = trailers.get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let claimed = Checksum {
            checksum_crc32: claimed("x-amz-checksum-crc32"),
            checksum_crc32c: claimed("x-amz-checksum-crc32c"),
            checksum_crc64nvme: claimed("x-amz-checksum-crc64nvme"),
            checksum_sha1: claimed("x-amz-checksum-sha1"),
            checksum_sha256: claimed("x-amz-checksum-sha256"),
            ..Checksum::default()
        };
        compare_checksums(&claimed, &checksum)?;
    }
    Ok(Received {
        content: Content::from(buffer.freeze()),
        md5,
        checksum,
    })
}

/// Hashers for the checksums that the headers carry or announce for the trailer.
fn checksum_hasher(declared: &Declared) -> ChecksumHasher {
    let given = &declared.checksum;
    let trailer = declared.trailer_names.as_deref().unwrap_or_default();
    let announced = |name: &str| trailer.split(',').any(|field| field.trim() == name);
    ChecksumHasher {
        crc32: (given.checksum_crc32.is_some() || announced("x-amz-checksum-crc32"))
            .then(Default::default),
        crc32c: (given.checksum_crc32c.is_some() || announced("x-amz-checksum-crc32c"))
            .then(Default::default),
        sha1: (given.checksum_sha1.is_some() || announced("x-amz-checksum-sha1"))
            .then(Default::default),
        sha256: (given.checksum_sha256.is_some() || announced("x-amz-checksum-sha256"))
            .then(Default::default),
        crc64nvme: (given.checksum_crc64nvme.is_some() || announced("x-amz-checksum-crc64nvme"))
            .then(Default::default),
    }
}

/// Computes the checksums of `content` that `claimed` names and compares them.
pub(crate) fn verify_checksums(content: &Content, claimed: &Checksum) -> S3Result<Checksum> {
    let mut hasher = checksum_hasher(&Declared {
        checksum: claimed.clone(),
        ..Declared::default()
    });
    for piece in content.pieces() {
        hasher.update(piece);
    }
    let actual = hasher.finalize();
    compare_checksums(claimed, &actual)?;
    Ok(actual)
}

/// Fails when a checksum that was claimed differs from the one that was computed.
pub(crate) fn compare_checksums(claimed: &Checksum, actual: &Checksum) -> S3Result<()> {
    let pairs = [
        (&claimed.checksum_crc32, &actual.checksum_crc32),
        (&claimed.checksum_crc32c, &actual.checksum_crc32c),
        (&claimed.checksum_crc64nvme, &actual.checksum_crc64nvme),
        (&claimed.checksum_sha1, &actual.checksum_sha1),
        (&claimed.checksum_sha256, &actual.checksum_sha256),
    ];
    let differs = |(claimed, actual): &(&Option<String>, &Option<String>)| {
        claimed.is_some() && claimed != actual
    };
    if pairs.iter().any(differs) {
        return Err(s3_error!(
            BadDigest,
            "the x-amz-checksum did not match the content"
        ));
    }
    Ok(())
}

/// `s3s` checks the signed hash of the payload while it is read and keeps its error type to itself: tell by its text.
fn body_error(error: StdError) -> s3s::S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        let code = s3s::S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into());
        let mut error = s3s::S3Error::with_message(code, "the payload is not what was signed");
        error.set_status_code(hyper::StatusCode::BAD_REQUEST);
        error
    } else if text.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch)
    } else {
        s3_error!(IncompleteBody, "the body ended early: {text}")
    }
}
