//! Where a bucket and the objects in it are: URLs, keys, and the name of the remote.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::http::check_address;
use crate::{RelPath, RemoteIdentity};

/// What a signature covers must be encoded exactly like this, see "UriEncode" in the documentation of Signature
/// Version 4.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const STRICT_BUT_SLASH: &AsciiSet = &STRICT.remove(b'/');

/// The longest key in bytes of UTF-8.
pub(super) const MAX_KEY_BYTES: usize = 1024;

/// Encodes a value of a query.
pub(super) fn encode_value(text: &str) -> String {
    utf8_percent_encode(text, STRICT).to_string()
}

/// Encodes a key for a path or an `x-amz-copy-source` header; slashes stay.
pub(super) fn encode_key(key: &str) -> String {
    utf8_percent_encode(key, STRICT_BUT_SLASH).to_string()
}

/// A folder in a bucket at an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// URL of the bucket without a slash at its end.
    bucket_url: String,
    bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
    identity: RemoteIdentity,
}

impl Address {
    /// Checks and joins what the configuration says. The error is a sentence for people.
    pub(super) fn new(
        endpoint: Option<&str>,
        bucket: &str,
        prefix: &str,
        region: &str,
        force_path_style: Option<bool>,
        allow_http: bool,
    ) -> Result<Self, String> {
        check_bucket(bucket)?;
        check_region(region)?;
        let folder = prefix.trim_matches('/');
        if !folder.is_empty() {
            RelPath::new(folder)
                .map_err(|error| format!("the remote folder `{folder}` cannot be used: {error}"))?;
        }
        let url = match endpoint {
            Some(text) => check_address(text, allow_http).map_err(|error| error.to_string())?,
            None => amazon_endpoint(region)?,
        };
        // The wildcard in Amazon's certificate covers one label: a bucket's name with a dot needs path style.
        let path_style = force_path_style.unwrap_or(endpoint.is_some() || bucket.contains('.'));
        let separator = if folder.is_empty() { "" } else { "/" };
        Ok(Self {
            bucket_url: bucket_url(&url, bucket, path_style)?,
            bucket: bucket.to_owned(),
            prefix: format!("{folder}{separator}"),
            identity: RemoteIdentity {
                id: format!("s3:{}/{bucket}/{folder}", normal_host(&url)),
                display: format!(
                    "s3://{bucket}{}{folder}",
                    if folder.is_empty() { "" } else { "/" }
                ),
            },
        })
    }

    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(super) fn bucket_url(&self) -> &str {
        &self.bucket_url
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn identity(&self) -> &RemoteIdentity {
        &self.identity
    }

    /// The key of a path.
    pub(super) fn key(&self, path: &RelPath) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The URL of a key.
    pub(super) fn object_url(&self, key: &str) -> String {
        format!("{}/{}", self.bucket_url, encode_key(key))
    }

    /// The value of `x-amz-copy-source` for a key.
    pub(super) fn copy_source(&self, key: &str) -> String {
        format!("{}/{}", self.bucket, encode_key(key))
    }
}

fn check_bucket(bucket: &str) -> Result<(), String> {
    if bucket.is_empty() {
        return Err("no bucket is named".to_owned());
    }
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if !bucket.chars().all(allowed) || !bucket.contains(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!(
            "`{}` is no name of a bucket: letters, digits, `.`, `_` and `-` are allowed",
            bucket.escape_debug()
        ));
    }
    Ok(())
}

fn check_region(region: &str) -> Result<(), String> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if region.is_empty() || !region.chars().all(allowed) {
        return Err(format!(
            "`{}` is no name of a region",
            region.escape_debug()
        ));
    }
    Ok(())
}

fn amazon_endpoint(region: &str) -> Result<Url, String> {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    Url::parse(&format!("https://s3.{region}.{domain}"))
        .map_err(|error| format!("region `{region}`: {error}"))
}

fn bucket_url(endpoint: &Url, bucket: &str, path_style: bool) -> Result<String, String> {
    let mut url = endpoint.clone();
    let folder = url.path().trim_end_matches('/').to_owned();
    if path_style {
        url.set_path(&format!("{folder}/{bucket}"));
    } else {
        let host = endpoint.host_str().unwrap_or_default();
        url.set_host(Some(&format!("{bucket}.{host}")))
            .map_err(|error| format!("bucket `{bucket}` as part of the host's name: {error}"))?;
        url.set_path(&folder);
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The endpoint's name in the identity of a remote: the same whatever way there was taken (scheme, default port, region
/// of Amazon's own service, where a bucket's name is unique).
fn normal_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    for domain in ["amazonaws.com", "amazonaws.com.cn"] {
        let service = host
            .strip_suffix(domain)
            .and_then(|rest| rest.strip_suffix('.'));
        if service.is_some_and(|service| {
            service == "s3" || service.starts_with("s3.") || service.starts_with("s3-")
        }) {
            return domain.to_owned();
        }
    }
    let port = url
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    let folder = url.path().trim_end_matches('/');
    format!("{host}{port}{folder}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(endpoint: Option<&str>, bucket: &str, prefix: &str, style: Option<bool>) -> Address {
        Address::new(endpoint, bucket, prefix, "eu-central-1", style, false).unwrap()
    }

    #[test]
    fn keys_are_encoded_as_the_signature_wants_them() {
        for (key, encoded) in [
            ("a b", "a%20b"),
            ("a+b", "a%2Bb"),
            ("100%", "100%25"),
            ("a#b?c&d", "a%23b%3Fc%26d"),
            ("it's", "it%27s"),
            ("*~", "%2A~"),
            (".a/..b", ".a/..b"),
            ("é/日", "%C3%A9/%E6%97%A5"),
            ("%2e%2e/x", "%252e%252e/x"),
            ("a\\b\"<>", "a%5Cb%22%3C%3E"),
            ("a:b@c=d!e$f,g;h(i)", "a%3Ab%40c%3Dd%21e%24f%2Cg%3Bh%28i%29"),
        ] {
            assert_eq!(encode_key(key), encoded);
        }
        assert_eq!(encode_value("a/b c"), "a%2Fb%20c");
    }

    #[test]
    fn path_style_follows_the_endpoint() {
        for (endpoint, bucket, style, url) in [
            (
                None,
                "box",
                None,
                "https://box.s3.eu-central-1.amazonaws.com/k",
            ),
            (
                None,
                "my.box",
                None,
                "https://s3.eu-central-1.amazonaws.com/my.box/k",
            ),
            (
                None,
                "box",
                Some(true),
                "https://s3.eu-central-1.amazonaws.com/box/k",
            ),
            (
                Some("https://minio.example:9000/"),
                "box",
                None,
                "https://minio.example:9000/box/k",
            ),
            (
                Some("https://minio.example/s3/"),
                "box",
                None,
                "https://minio.example/s3/box/k",
            ),
            (
                Some("https://r2.example"),
                "box",
                Some(false),
                "https://box.r2.example/k",
            ),
            (
                Some("http://127.0.0.1:9000"),
                "box",
                None,
                "http://127.0.0.1:9000/box/k",
            ),
        ] {
            assert_eq!(address(endpoint, bucket, "", style).object_url("k"), url);
        }
        let china = Address::new(None, "box", "", "cn-north-1", None, false).unwrap();
        assert_eq!(
            china.bucket_url(),
            "https://box.s3.cn-north-1.amazonaws.com.cn"
        );
    }

    #[test]
    fn the_folder_is_a_prefix_of_every_key() {
        let path = RelPath::new("c/d").unwrap();
        for (folder, prefix, display) in [
            ("", "", "s3://box"),
            ("a", "a/", "s3://box/a"),
            ("/a/b/", "a/b/", "s3://box/a/b"),
        ] {
            let address = address(None, "box", folder, None);
            assert_eq!(address.prefix(), prefix);
            assert_eq!(address.key(&path), format!("{prefix}c/d"));
            assert_eq!(address.identity().display, display);
        }
    }

    #[test]
    fn one_remote_has_one_identity() {
        let id = |endpoint| address(endpoint, "box", "a", None).identity().id.clone();
        let amazon = id(None);
        assert_eq!(amazon, "s3:amazonaws.com/box/a");
        for endpoint in [
            "https://s3.amazonaws.com",
            "https://S3.us-west-2.amazonaws.com:443/",
            "https://s3-eu-west-1.amazonaws.com",
        ] {
            assert_eq!(id(Some(endpoint)), amazon);
        }
        assert_eq!(
            id(Some("https://Minio.Example:443/")),
            "s3:minio.example/box/a"
        );
        assert_ne!(
            id(Some("https://minio.example:9000")),
            id(Some("https://minio.example"))
        );
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        let refused = |endpoint, bucket, prefix, region| {
            Address::new(endpoint, bucket, prefix, region, None, false).unwrap_err()
        };
        assert!(refused(None, "", "", "r").contains("bucket"));
        assert!(refused(None, "a/b", "", "r").contains("a/b"));
        assert!(refused(None, "..", "", "r").contains(".."));
        assert!(refused(None, "box", "a/../b", "r").contains("a/../b"));
        assert!(refused(None, "box", "a//b", "r").contains("a//b"));
        assert!(refused(None, "box", "", "r\n").contains("region"));
        assert!(refused(Some("http://minio.example"), "box", "", "r").contains("not encrypted"));
        assert!(refused(Some("https://u:secret@h"), "box", "", "r").contains("password"));
        assert!(!refused(Some("https://u:secret@h"), "box", "", "r").contains("secret"));
        assert!(refused(Some("ftp://h"), "box", "", "r").contains("https"));
        assert!(refused(Some("minio"), "box", "", "r").contains("minio"));
    }
}
