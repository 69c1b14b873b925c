//! Objects as S3 describes them: headers and metadata become an [`Entry`], and the other way round.
//!
//! A [`Version`] is the ETag without its quotes. The version id is left out: listings do not tell it, so that an object
//! would seem to change between the answer to its upload and the next listing. `Entry` carries the other two parts of
//! what makes a version on S3, the size and the time of storing, in fields of their own.
//!
//! Modification time and MD5 are kept in the metadata exactly as rclone keeps them, so that both tools understand each
//! other's objects: `mtime` in seconds since the epoch as a decimal fraction without trailing zeros, `md5chksum` as
//! base64.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use http::header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED};

use crate::http::parse_http_date;
use crate::{Entry, EntryKind, Hash, RelPath, Version};

pub(super) const META_MTIME: HeaderName = HeaderName::from_static("x-amz-meta-mtime");
pub(super) const META_MD5: HeaderName = HeaderName::from_static("x-amz-meta-md5chksum");
pub(super) const META_UPLOAD: HeaderName = HeaderName::from_static("x-amz-meta-ows-upload");
pub(super) const SSE: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
pub(super) const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");
const SSE_CUSTOMER: HeaderName =
    HeaderName::from_static("x-amz-server-side-encryption-customer-algorithm");

const NANOS: u64 = 1_000_000_000;

/// A time in nanoseconds as rclone writes it.
pub(super) fn format_mtime(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let (seconds, rest) = (ns.unsigned_abs() / NANOS, ns.unsigned_abs() % NANOS);
    let fraction = format!("{rest:09}");
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{seconds}"),
        fraction => format!("{sign}{seconds}.{fraction}"),
    }
}

/// Reads what [`format_mtime`] or rclone wrote; digits beyond nanoseconds are dropped. `None` for anything else.
pub(super) fn parse_mtime(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || !is_number(seconds) || !is_number(fraction) {
        return None;
    }
    let fraction: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let ns = seconds
        .parse::<i64>()
        .ok()?
        .checked_mul(NANOS as i64)?
        .checked_add(fraction.parse().ok()?)?;
    Some(if negative { -ns } else { ns })
}

/// An MD5 as rclone writes it.
pub(super) fn format_md5(md5: &[u8; 16]) -> String {
    BASE64_STANDARD.encode(md5)
}

fn parse_md5(text: &str) -> Option<Hash> {
    let bytes = BASE64_STANDARD.decode(text.trim()).ok()?;
    Some(Hash::md5(bytes.try_into().ok()?))
}

/// The version that an ETag means. Quotes are dropped, since stores differ in sending them, and so is the mark of a weak
/// one, which proxies add. `None` when nothing is left.
pub(super) fn version_of(etag: &str) -> Option<Version> {
    let etag = etag.trim();
    let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    (!etag.is_empty()).then(|| Version(etag.to_owned()))
}

/// The ETag of a version, as conditions want it. `None` when it cannot be in a header.
pub(super) fn etag_of(version: &Version) -> Option<HeaderValue> {
    if version.0.is_empty() || version.0.contains('"') || !version.0.is_ascii() {
        return None;
    }
    HeaderValue::from_str(&format!("\"{}\"", version.0)).ok()
}

/// The MD5 that an ETag is, if it has the form of one. With some kinds of encryption it has the form and is none, which
/// is why a difference proves nothing.
pub(super) fn md5_of(version: &Version) -> Option<Hash> {
    let bytes: [u8; 16] = hex::decode(&version.0).ok()?.try_into().ok()?;
    Some(Hash::md5(bytes))
}

/// Nanoseconds since the epoch, whole seconds: headers tell a time of storing in seconds, and a listing must not tell
/// another one.
pub(super) fn stored_at(date: DateTime<Utc>) -> Option<i64> {
    date.timestamp().checked_mul(NANOS as i64)
}

/// Time of storing as XML documents tell it.
pub(super) fn parse_stored_at(text: &str) -> Option<i64> {
    let date = DateTime::parse_from_rfc3339(text.trim()).ok()?;
    stored_at(date.to_utc())
}

/// The version in an answer's headers.
pub(super) fn version_in(headers: &HeaderMap) -> Option<Version> {
    version_of(headers.get(ETAG)?.to_str().ok()?)
}

/// The length in an answer's headers.
pub(super) fn length_in(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The MD5 that headers tell: the one in the metadata, else the ETag where that can be one.
pub(super) fn hash_in(headers: &HeaderMap, version: &Version) -> Option<Hash> {
    let stated = headers
        .get(META_MD5)
        .and_then(|value| parse_md5(value.to_str().ok()?));
    let encrypted = headers.contains_key(SSE_CUSTOMER)
        || headers
            .get(SSE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"aws:kms"));
    stated.or_else(|| if encrypted { None } else { md5_of(version) })
}

/// The entry that the headers of a GET or HEAD describe; `size` is the length of the whole object.
pub(super) fn entry_in(
    path: &RelPath,
    headers: &HeaderMap,
    size: u64,
) -> Result<Entry, &'static str> {
    let version = version_in(headers).ok_or("the answer has no ETag")?;
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Ok(Entry {
        path: path.clone(),
        kind: EntryKind::File,
        size,
        mtime_ns: text(META_MTIME).and_then(parse_mtime),
        modified_at_ns: text(LAST_MODIFIED)
            .and_then(parse_http_date)
            .and_then(stored_at),
        hash: hash_in(headers, &version),
        version: Some(version),
        id: None,
    })
}

/// The headers that describe an object's content and travel with a copy of it.
pub(super) fn portable_headers(headers: &HeaderMap) -> HeaderMap {
    const NAMES: [&str; 6] = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    ];
    headers
        .iter()
        .filter(|(name, _)| {
            NAMES.contains(&name.as_str()) || name.as_str().starts_with("x-amz-meta-")
        })
        // An upload's token belongs to one upload.
        .filter(|(name, _)| **name != META_UPLOAD)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rclone_writes_them() {
        for (ns, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (-1, "-0.000000001"),
            (1_354_040_105_123_456_789, "1354040105.123456789"),
            (1_700_000_000_000_000_000, "1700000000"),
            (1_700_000_000_500_000_000, "1700000000.5"),
            (-1_500_000_000, "-1.5"),
        ] {
            assert_eq!(format_mtime(ns), text);
            assert_eq!(parse_mtime(text), Some(ns));
        }
    }

    #[test]
    fn other_tools_times_are_read_or_ignored() {
        assert_eq!(parse_mtime("1.1234567899"), Some(1_123_456_789));
        assert_eq!(parse_mtime("1."), Some(1_000_000_000));
        for text in [
            "",
            "-",
            ".5",
            "1e9",
            "1.2.3",
            "--1",
            "2024-01-01",
            "99999999999999999999",
            "1.-5",
            "+1",
        ] {
            assert_eq!(parse_mtime(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_time_survives(ns in proptest::num::i64::ANY) {
            proptest::prop_assume!(ns != i64::MIN);
            proptest::prop_assert_eq!(parse_mtime(&format_mtime(ns)), Some(ns));
        }
    }

    #[test]
    fn etags_become_versions_and_back() {
        for (etag, version) in [
            ("\"abc\"", "abc"),
            ("abc", "abc"),
            ("W/\"abc-2\"", "abc-2"),
            (" \"a\" ", "a"),
        ] {
            assert_eq!(version_of(etag), Some(Version(version.into())), "{etag}");
        }
        assert_eq!(version_of("\"\""), None);
        assert_eq!(etag_of(&Version("abc".into())).unwrap(), "\"abc\"");
        for version in ["", "a\"b", "a\nb", "é"] {
            assert_eq!(etag_of(&Version(version.into())), None);
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    const EMPTY_MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

    #[test]
    fn a_hash_comes_from_metadata_or_a_plain_etag() {
        let empty = Hash {
            kind: crate::HashKind::Md5,
            bytes: hex::decode(EMPTY_MD5).unwrap(),
        };
        let plain = Version(EMPTY_MD5.into());
        let parts = Version(format!("{EMPTY_MD5}-2"));
        let stated = [("x-amz-meta-md5chksum", "1B2M2Y8AsgTpgAmY7PhCfg==")];
        let kms = [("x-amz-server-side-encryption", "aws:kms")];
        assert_eq!(hash_in(&headers(&[]), &plain), Some(empty.clone()));
        assert_eq!(
            hash_in(
                &headers(&[("x-amz-server-side-encryption", "AES256")]),
                &plain
            ),
            Some(empty.clone())
        );
        assert_eq!(hash_in(&headers(&kms), &plain), None);
        assert_eq!(hash_in(&headers(&[]), &parts), None);
        assert_eq!(hash_in(&headers(&stated), &parts), Some(empty));
        assert_eq!(
            hash_in(&headers(&[("x-amz-meta-md5chksum", "nonsense")]), &parts),
            None
        );
    }

    #[test]
    fn entries_need_an_etag_and_take_what_else_there_is() {
        let path = RelPath::new("a").unwrap();
        assert!(entry_in(&path, &headers(&[]), 1).is_err());
        let entry = entry_in(
            &path,
            &headers(&[
                ("etag", "\"x\""),
                ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
                ("x-amz-meta-mtime", "1.5"),
            ]),
            7,
        )
        .unwrap();
        assert_eq!(entry.size, 7);
        assert_eq!(entry.mtime_ns, Some(1_500_000_000));
        assert_eq!(entry.modified_at_ns, Some(1_445_412_480_000_000_000));
        assert_eq!(
            parse_stored_at("2015-10-21T07:28:00.999Z"),
            entry.modified_at_ns
        );
    }

    #[test]
    fn a_copy_takes_metadata_along_but_no_token() {
        let portable = portable_headers(&headers(&[
            ("content-type", "text/plain"),
            ("content-length", "3"),
            ("etag", "x"),
            ("x-amz-meta-mine", "1"),
            ("x-amz-meta-ows-upload", "t"),
            ("x-amz-request-id", "r"),
        ]));
        let mut names: Vec<_> = portable.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "x-amz-meta-mine"]);
    }
}
