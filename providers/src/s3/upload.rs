//! Uploads in parts: begun, resumed, completed and given up.
//!
//! The object of an upload carries the upload's random token. When the answer to a completion was lost and the next
//! attempt finds the upload gone, or the condition unmet, the token tells whether it was ours that got there.

use http::Method;
use http::header::{HeaderMap, HeaderValue};
use object_store::client::HttpResponse;

use super::client::Call;
use super::error::{Attempt, Condition};
use super::object::{
    META_MD5, META_MTIME, META_UPLOAD, VERSION_ID, format_md5, format_mtime, version_in, version_of,
};
use super::xml::{self, Element};
use super::{PARTS, S3Provider};
use crate::{
    Entry, ErrorKind, Operation, Part, Precondition, RelPath, Result, UnfinishedUpload, Upload,
    UploadOptions, Version, total_size,
};

/// A store whose pages of uploads or parts do not end is not believed.
const MAX_PAGES: usize = 10_000;

/// What a completion answered.
#[derive(Debug)]
pub(super) struct Completed {
    pub(super) version: Version,
    /// The id of the stored version in a bucket with versioning.
    pub(super) version_id: Option<String>,
}

impl S3Provider {
    pub(super) async fn begin(&self, path: &RelPath, options: &UploadOptions) -> Result<Upload> {
        let attempt = Attempt::new(Operation::StartUpload, path.as_str());
        self.capabilities.check_name(Operation::StartUpload, path)?;
        check_part_size(&attempt, options)?;
        let mut headers = HeaderMap::new();
        if let Some(mtime) = options.mtime_ns {
            headers.insert(META_MTIME, header(&attempt, &format_mtime(mtime))?);
        }
        if let Some(md5) = &options.md5 {
            headers.insert(META_MD5, header(&attempt, &format_md5(md5))?);
        }
        let (id, token) = self.create(&attempt, self.key(path), headers).await?;
        Ok(Upload {
            path: path.clone(),
            id,
            size: options.size,
            part_size: options.part_size,
            token,
        })
    }

    /// Begins an upload whose object will have these headers, and a token; answers its id and the token.
    pub(super) async fn create(
        &self,
        attempt: &Attempt,
        key: String,
        headers: HeaderMap,
    ) -> Result<(String, String)> {
        let token = hex::encode(rand::random::<[u8; 16]>());
        let call = Call::object(Method::POST, key)
            .query("uploads", "")
            .headers(self.storage_headers.clone())
            .headers(headers)
            .header(META_UPLOAD, header(attempt, &token)?);
        let answer = self.client.send(attempt, call).await?;
        let text = self.client.document(attempt, answer).await?;
        let id = xml::parse_root(&text, "InitiateMultipartUploadResult")
            .and_then(|root| root.required_text("UploadId").map(str::to_owned))
            .map_err(|problem| attempt.unusable(problem))?;
        Ok((id, token))
    }

    pub(super) async fn store_part(
        &self,
        upload: &Upload,
        number: u32,
        body: bytes::Bytes,
    ) -> Result<Part> {
        let attempt = Attempt::new(Operation::PutPart, upload.path.as_str());
        let size = body.len() as u64;
        if number == 0 || u64::from(number) > PARTS.max_count || size > upload.part_size {
            return Err(attempt.error(
                ErrorKind::Permanent,
                format!("part {number} of {size} bytes does not fit into this upload"),
            ));
        }
        let tag = self
            .send_part(&attempt, self.key(&upload.path), &upload.id, number, body)
            .await?;
        Ok(Part { number, size, tag })
    }

    pub(super) async fn send_part(
        &self,
        attempt: &Attempt,
        key: String,
        id: &str,
        number: u32,
        body: bytes::Bytes,
    ) -> Result<String> {
        let call = Call::object(Method::PUT, key)
            .query("partNumber", number.to_string())
            .query("uploadId", id)
            .body(body);
        let answer = self.client.send_content(attempt, call).await?;
        let version = version_in(answer.headers())
            .ok_or_else(|| attempt.error(ErrorKind::Permanent, "the answer has no ETag"))?;
        Ok(version.0)
    }

    pub(super) async fn finish(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: &Precondition,
    ) -> Result<Entry> {
        let attempt = Attempt::new(Operation::CompleteUpload, upload.path.as_str())
            .on_condition(Condition::from(precondition));
        check_parts(&attempt, upload, parts)?;
        let key = self.key(&upload.path);
        let tags: Vec<_> = parts
            .iter()
            .map(|part| (part.number, part.tag.as_str()))
            .collect();
        let completed = self
            .complete(&attempt, key, &upload.id, &tags, precondition)
            .await;
        match completed {
            Ok(completed) => Ok(Entry {
                path: upload.path.clone(),
                kind: crate::EntryKind::File,
                size: total_size(parts),
                mtime_ns: None,
                modified_at_ns: None,
                version: Some(completed.version),
                hash: None,
                id: None,
            }),
            Err(error) if error.is_race() => {
                match self.find_own(&upload.path, &upload.token).await? {
                    Some(entry) => Ok(entry),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The object at the path when it is the one of the upload with this token.
    pub(super) async fn find_own(&self, path: &RelPath, token: &str) -> Result<Option<Entry>> {
        let attempt = Attempt::new(Operation::CompleteUpload, path.as_str());
        match self.head(&attempt, path, None).await {
            Ok((entry, headers)) => {
                let ours = headers
                    .get(META_UPLOAD)
                    .is_some_and(|value| value.as_bytes() == token.as_bytes());
                Ok(ours.then_some(entry))
            }
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn complete(
        &self,
        attempt: &Attempt,
        key: String,
        id: &str,
        parts: &[(u32, &str)],
        precondition: &Precondition,
    ) -> Result<Completed> {
        // The store puts the parts together before it answers.
        let patience = std::time::Duration::from_secs(parts.len() as u64);
        let call = Call::object(Method::POST, key)
            .query("uploadId", id)
            .body(completion(parts))
            .extra_time(patience)
            .precondition(attempt, precondition)?;
        let answer = self.client.send(attempt, call).await?;
        let version_id = version_id_in(&answer);
        let text = self.client.document(attempt, answer).await?;
        let root = xml::parse_root_or(
            &text,
            "CompleteMultipartUploadResult",
            "CompleteMultipartUploadResponse",
        );
        let version = root
            .and_then(|root| root.required_text("ETag").map(version_of))
            .map_err(|problem| attempt.unusable(problem))?
            .ok_or_else(|| attempt.error(ErrorKind::Permanent, "the answer has no ETag"))?;
        Ok(Completed {
            version,
            version_id,
        })
    }

    pub(super) async fn abort(&self, attempt: &Attempt, key: String, id: &str) -> Result<()> {
        let call = Call::object(Method::DELETE, key).query("uploadId", id);
        match self.client.send(attempt, call).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn uploads(&self) -> Result<Vec<UnfinishedUpload>> {
        let attempt = Attempt::new(Operation::ListUploads, "");
        let prefix = self.client.address().prefix();
        let mut found = Vec::new();
        let mut from: Option<(String, String)> = None;
        for _ in 0..MAX_PAGES {
            let mut call = Call::bucket(Method::GET)
                .query("uploads", "")
                .query("encoding-type", "url")
                .query("prefix", prefix);
            if let Some((key, id)) = &from {
                call = call
                    .query("key-marker", key.clone())
                    .query("upload-id-marker", id.clone());
            }
            let answer = self.client.send(&attempt, call).await?;
            let text = self.client.document(&attempt, answer).await?;
            let page =
                UploadPage::parse(&text, prefix).map_err(|problem| attempt.unusable(problem))?;
            found.extend(page.uploads);
            match page.next {
                None => return Ok(found),
                next if next == from => break,
                next => from = next,
            }
        }
        Err(attempt.error(
            ErrorKind::Permanent,
            "the store's list of uploads does not end",
        ))
    }

    pub(super) async fn parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        let attempt = Attempt::new(Operation::ListParts, upload.path.as_str());
        let mut found: Vec<Part> = Vec::new();
        let mut marker = 0;
        for _ in 0..MAX_PAGES {
            let mut call = Call::object(Method::GET, self.key(&upload.path))
                .query("uploadId", upload.id.clone());
            if marker > 0 {
                call = call.query("part-number-marker", marker.to_string());
            }
            let answer = self.client.send(&attempt, call).await?;
            let text = self.client.document(&attempt, answer).await?;
            let page = PartPage::parse(&text).map_err(|problem| attempt.unusable(problem))?;
            for part in page.parts {
                if found.last().is_some_and(|last| last.number >= part.number) {
                    let message = "the store's list of parts is out of order";
                    return Err(attempt.error(ErrorKind::Permanent, message));
                }
                found.push(part);
            }
            match page.next {
                None => return Ok(found),
                Some(next) if next > marker => marker = next,
                Some(_) => break,
            }
        }
        Err(attempt.error(
            ErrorKind::Permanent,
            "the store's list of parts does not end",
        ))
    }
}

pub(super) fn version_id_in(answer: &HttpResponse) -> Option<String> {
    let id = answer.headers().get(VERSION_ID)?.to_str().ok()?;
    (id != "null").then(|| id.to_owned())
}

pub(super) fn header(attempt: &Attempt, text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|error| attempt.error(ErrorKind::Permanent, error.to_string()))
}

fn check_part_size(attempt: &Attempt, options: &UploadOptions) -> Result<()> {
    let UploadOptions {
        size, part_size, ..
    } = *options;
    let in_one = size.is_some_and(|size| size <= part_size);
    let count = match size {
        Some(size) if part_size > 0 => size.div_ceil(part_size),
        _ => 1,
    };
    let allowed = part_size > 0
        && part_size <= PARTS.max
        && (part_size >= PARTS.min || in_one)
        && count <= PARTS.max_count;
    if allowed {
        return Ok(());
    }
    let what = match size {
        Some(size) => format!("{size} bytes"),
        None => "a stream".to_owned(),
    };
    Err(attempt.error(
        ErrorKind::Permanent,
        format!("{what} cannot be stored in parts of {part_size} bytes"),
    ))
}

fn check_parts(attempt: &Attempt, upload: &Upload, parts: &[Part]) -> Result<()> {
    if upload.is_whole(parts) {
        return Ok(());
    }
    let announced = match upload.size {
        Some(size) => format!(" of {size} bytes"),
        None => String::new(),
    };
    Err(attempt.error(
        ErrorKind::Permanent,
        format!(
            "the {} parts of {} bytes are not the whole upload{announced} in parts of {} bytes",
            parts.len(),
            total_size(parts),
            upload.part_size
        ),
    ))
}

fn completion(parts: &[(u32, &str)]) -> String {
    let mut body =
        String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (number, tag) in parts {
        let tag = quick_xml::escape::escape(*tag);
        body.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>&quot;{tag}&quot;</ETag></Part>"
        ));
    }
    body.push_str("</CompleteMultipartUpload>");
    body
}

struct UploadPage {
    uploads: Vec<UnfinishedUpload>,
    next: Option<(String, String)>,
}

impl UploadPage {
    fn parse(text: &str, prefix: &str) -> std::result::Result<Self, xml::Problem> {
        let root = xml::parse_root(text, "ListMultipartUploadsResult")?;
        let encoded = root.text_of("EncodingType") == Some("url");
        let mut uploads = Vec::new();
        for element in root.all("Upload") {
            let key = super::list::decode(element.required_text("Key")?, encoded);
            let id = element.required_text("UploadId")?.to_owned();
            let started = element.text_of("Initiated");
            // A key that is no path here is no upload of ours.
            if let Some(path) = own_path(&key, prefix) {
                uploads.push(UnfinishedUpload {
                    path,
                    id,
                    started_at_ns: started.and_then(super::object::parse_stored_at),
                });
            }
        }
        let next = match root.required_flag("IsTruncated")? {
            true => Some(Self::marker(&root, encoded)?),
            false => None,
        };
        Ok(Self { uploads, next })
    }

    fn marker(
        root: &Element<'_>,
        encoded: bool,
    ) -> std::result::Result<(String, String), xml::Problem> {
        let key = super::list::decode(root.required_text("NextKeyMarker")?, encoded);
        let key = String::from_utf8(key)
            .map_err(|_| xml::Problem::Unexpected("`NextKeyMarker` is not UTF-8".to_owned()))?;
        Ok((key, root.required_text("NextUploadIdMarker")?.to_owned()))
    }
}

fn own_path(key: &[u8], prefix: &str) -> Option<RelPath> {
    let key = std::str::from_utf8(key).ok()?;
    RelPath::new(key.strip_prefix(prefix)?).ok()
}

struct PartPage {
    parts: Vec<Part>,
    next: Option<u32>,
}

impl PartPage {
    fn parse(text: &str) -> std::result::Result<Self, xml::Problem> {
        let root = xml::parse_root_or(text, "ListPartsResult", "ListPartsResponse")?;
        let number = |element: &Element<'_>, name: &str| {
            u32::try_from(element.required_number(name)?)
                .map_err(|_| xml::Problem::Unexpected(format!("`{name}` is too large")))
        };
        let mut parts = Vec::new();
        for element in root.all("Part") {
            let tag = version_of(element.required_text("ETag")?)
                .ok_or_else(|| xml::Problem::Unexpected("`ETag` is empty".to_owned()))?;
            parts.push(Part {
                number: number(element, "PartNumber")?,
                size: element.required_number("Size")?,
                tag: tag.0,
            });
        }
        let next = match root.required_flag("IsTruncated")? {
            true => Some(number(&root, "NextPartNumberMarker")?),
            false => None,
        };
        Ok(Self { parts, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_lists_every_part_with_its_quoted_tag() {
        let body = completion(&[(1, "a"), (2, "b<&")]);
        let root = xml::parse(&body).unwrap();
        let tags: Vec<_> = root
            .all("Part")
            .map(|part| part.text_of("ETag").unwrap())
            .collect();
        assert_eq!(tags, ["\"a\"", "\"b<&\""]);
    }

    fn upload(size: Option<u64>) -> Upload {
        Upload {
            path: RelPath::new("a").unwrap(),
            id: "u".into(),
            size,
            part_size: 10,
            token: "t".into(),
        }
    }

    fn part(number: u32, size: u64) -> Part {
        Part {
            number,
            size,
            tag: "e".into(),
        }
    }

    #[test]
    fn only_whole_uploads_of_equal_parts_are_completed() {
        let attempt = Attempt::new(Operation::CompleteUpload, "a");
        let check =
            |size, parts: &[Part]| check_parts(&attempt, &upload(Some(size)), parts).is_ok();
        assert!(check(25, &[part(1, 10), part(2, 10), part(3, 5)]));
        assert!(check(0, &[part(1, 0)]));
        assert!(!check(0, &[]));
        assert!(!check(25, &[part(1, 10), part(2, 5), part(3, 10)]));
        assert!(!check(25, &[part(1, 10), part(3, 10), part(2, 5)]));
        assert!(!check(25, &[part(1, 10), part(3, 15)]));
        assert!(!check(25, &[part(1, 10), part(2, 10)]));
        let check = |parts: &[Part]| check_parts(&attempt, &upload(None), parts).is_ok();
        assert!(check(&[part(1, 10), part(2, 10), part(3, 5)]));
        assert!(check(&[part(1, 10), part(2, 10)]));
        assert!(check(&[part(1, 0)]));
        assert!(!check(&[]));
        assert!(!check(&[part(1, 11)]));
        assert!(!check(&[part(1, 5), part(2, 10)]));
        assert!(!check(&[part(1, 10), part(3, 10)]));
    }

    #[test]
    fn part_sizes_follow_the_rules_of_the_store() {
        const MIB: u64 = 1 << 20;
        let attempt = Attempt::new(Operation::StartUpload, "a");
        let check = |size, part_size| {
            let options = UploadOptions {
                size,
                part_size,
                mtime_ns: None,
                md5: None,
            };
            check_part_size(&attempt, &options).is_ok()
        };
        assert!(check(Some(20 * MIB), 8 * MIB));
        assert!(check(Some(MIB), MIB));
        assert!(!check(Some(20 * MIB), MIB));
        assert!(!check(Some(20 * MIB), 0));
        assert!(!check(Some(10_001 * 5 * MIB), 5 * MIB));
        assert!(check(None, 8 * MIB));
        assert!(!check(None, MIB));
        assert!(!check(None, 0));
    }

    #[test]
    fn lists_of_uploads_and_parts_must_end() {
        let uploads = |inner: &str| {
            UploadPage::parse(
                &format!("<ListMultipartUploadsResult>{inner}</ListMultipartUploadsResult>"),
                "p/",
            )
        };
        let one = "<EncodingType>url</EncodingType><Upload><Key>p/a+b</Key><UploadId>u</UploadId></Upload>\
                   <Upload><Key>p/a//b</Key><UploadId>v</UploadId></Upload>";
        assert!(uploads(one).is_err());
        assert!(uploads(&format!("{one}<IsTruncated>true</IsTruncated>")).is_err());
        let page = uploads(&format!("{one}<IsTruncated>false</IsTruncated>")).unwrap();
        assert_eq!(page.uploads.len(), 1);
        assert_eq!(page.uploads[0].path.as_str(), "a b");

        let parts =
            |inner: &str| PartPage::parse(&format!("<ListPartsResult>{inner}</ListPartsResult>"));
        let one = "<Part><PartNumber>1</PartNumber><ETag>e</ETag><Size>5</Size></Part>";
        assert!(parts(one).is_err());
        assert!(parts(&format!("{one}<IsTruncated>true</IsTruncated>")).is_err());
        assert_eq!(
            parts(&format!("{one}<IsTruncated>false</IsTruncated>"))
                .unwrap()
                .parts,
            [Part {
                number: 1,
                size: 5,
                tag: "e".into()
            }]
        );
    }
}
