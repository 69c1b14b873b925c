//! The provider blocks as they are written: `s3`, `dropbox`, `gdrive`, `onedrive`, `custom`.
//!
//! They may stand in `sync`, in `backup` and beside both, and merge key by key, so every key is optional here. Each
//! block is checked where it stands, whether its provider is chosen or not.

use std::path::PathBuf;

use chrono::DateTime;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::check::{KeyPath, Section, kind_of};
use super::custom::CustomBlock;
use super::expand;
use super::provider::{DriveType, GdriveScope, OauthToken, S3Encryption, ServiceAccount};

/// A value and the key that it was written at.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) key: KeyPath,
    pub(super) value: T,
}

/// What paths of a configuration are relative to.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// The folder of the configuration file.
    pub(super) base: PathBuf,
    pub(super) home: Option<PathBuf>,
}

impl Places {
    /// A path: `~` is the home directory, a relative one starts at the configuration file.
    pub(super) fn path(&self, section: &Section<'_>, name: &'static str) -> Option<PathBuf> {
        let text = section.filled(name, "a path")?;
        match expand::place(text, &self.base, self.home.as_deref()) {
            Ok(path) => Some(super::source::clean(&path)),
            Err(message) => {
                section.problem(name, message);
                None
            }
        }
    }
}

/// All provider blocks of one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    pub(super) s3: Option<S3Block>,
    pub(super) dropbox: Option<DropboxBlock>,
    pub(super) gdrive: Option<GdriveBlock>,
    pub(super) onedrive: Option<OnedriveBlock>,
    pub(super) custom: Option<CustomBlock>,
}

impl Blocks {
    pub(super) fn read(section: &Section<'_>, places: &Places) -> Self {
        Self {
            s3: section
                .section("s3")
                .map(|block| S3Block::read(block, places)),
            dropbox: section
                .section("dropbox")
                .map(|block| DropboxBlock::read(block, places)),
            gdrive: section
                .section("gdrive")
                .map(|block| GdriveBlock::read(block, places)),
            onedrive: section
                .section("onedrive")
                .map(|block| OnedriveBlock::read(block, places)),
            custom: section.section("custom").map(CustomBlock::read),
        }
    }

    /// These blocks, with what they lack taken from `base`.
    pub(super) fn over(&self, base: &Self) -> Self {
        Self {
            s3: merged(&self.s3, &base.s3, S3Block::over),
            dropbox: merged(&self.dropbox, &base.dropbox, DropboxBlock::over),
            gdrive: merged(&self.gdrive, &base.gdrive, GdriveBlock::over),
            onedrive: merged(&self.onedrive, &base.onedrive, OnedriveBlock::over),
            custom: merged(&self.custom, &base.custom, CustomBlock::over),
        }
    }
}

fn merged<T: Clone>(upper: &Option<T>, lower: &Option<T>, over: fn(&T, &T) -> T) -> Option<T> {
    match (upper, lower) {
        (Some(upper), Some(lower)) => Some(over(upper, lower)),
        (upper, lower) => upper.clone().or_else(|| lower.clone()),
    }
}

/// The upper block's fields, and the lower's where the upper has none; `http` merges by its own keys.
macro_rules! merge {
    ($upper:expr, $lower:expr, $($field:ident),+; http) => {
        Self {
            http: $upper.http.over(&$lower.http),
            $($field: $upper.$field.clone().or_else(|| $lower.$field.clone())),+
        }
    };
    ($upper:expr, $lower:expr, $($field:ident),+) => {
        Self { $($field: $upper.$field.clone().or_else(|| $lower.$field.clone())),+ }
    };
}

/// What every HTTP provider takes.
#[derive(Debug, Clone, Default)]
pub(super) struct Http {
    pub(super) endpoint: Option<Located<String>>,
    pub(super) auth_endpoint: Option<Located<String>>,
    pub(super) allow_http: Option<bool>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) proxy: Option<SecretString>,
}

impl Http {
    fn read(section: &Section<'_>, places: &Places, has_authorization: bool) -> Self {
        Self {
            endpoint: address(section, "endpoint"),
            auth_endpoint: has_authorization
                .then(|| address(section, "authEndpoint"))
                .flatten(),
            allow_http: section.boolean("allowHttp"),
            ca_file: places.path(section, "caFile"),
            proxy: proxy(section),
        }
    }

    fn over(&self, base: &Self) -> Self {
        merge!(
            self,
            base,
            endpoint,
            auth_endpoint,
            allow_http,
            ca_file,
            proxy
        )
    }
}

const ADDRESS: &str = "a URL such as `https://s3.example.com`, without user, query or fragment";

/// A base URL. Its text is never shown: people paste URLs with keys in them.
fn address(section: &Section<'_>, name: &'static str) -> Option<Located<String>> {
    let text = section.filled(name, ADDRESS)?.trim();
    if let Err(why) = check_address(text) {
        section.problem(name, format!("{why}; allowed: {ADDRESS}"));
        return None;
    }
    Some(Located {
        key: section.at(name),
        value: text.trim_end_matches('/').to_owned(),
    })
}

/// Whether a text may be the base URL of a provider.
pub(super) fn check_address(text: &str) -> Result<(), &'static str> {
    let url = url::Url::parse(text).map_err(|_| "is no URL")?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("is no `http` or `https` URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("holds a query or a fragment");
    }
    Ok(())
}

fn proxy(section: &Section<'_>) -> Option<SecretString> {
    let allowed = "a URL such as `http://proxy.example.com:3128`";
    let text = section.filled("proxy", allowed)?;
    let good = url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    if !good {
        section.problem(
            "proxy",
            format!("is no `http` or `https` URL; allowed: {allowed}"),
        );
        return None;
    }
    Some(text.into())
}

/// The `s3` block.
#[derive(Debug, Clone, Default)]
pub(super) struct S3Block {
    pub(super) http: Http,
    pub(super) bucket: Option<Located<String>>,
    pub(super) region: Option<String>,
    pub(super) access_key_id: Option<SecretString>,
    pub(super) secret_access_key: Option<SecretString>,
    pub(super) session_token: Option<SecretString>,
    pub(super) force_path_style: Option<bool>,
    pub(super) sse: Option<S3Encryption>,
    pub(super) storage_class: Option<String>,
}

pub(super) const ENCRYPTIONS: [(&str, S3Encryption); 3] = [
    ("AES256", S3Encryption::Aes256),
    ("aws:kms", S3Encryption::Kms),
    ("aws:kms:dsse", S3Encryption::KmsDual),
];

impl S3Block {
    fn read(section: Section<'_>, places: &Places) -> Self {
        if section.has("authEndpoint") {
            section.problem(
                "authEndpoint",
                "S3 has no authorization server; remove the key",
            );
        }
        let block = Self {
            http: Http::read(&section, places, false),
            bucket: bucket(&section, "bucket"),
            region: plain(
                &section,
                "region",
                "a region such as `eu-central-1` or `auto`",
            ),
            access_key_id: section.secret("accessKeyId"),
            secret_access_key: section.secret("secretAccessKey"),
            session_token: section.secret("sessionToken"),
            force_path_style: section.boolean("forcePathStyle"),
            sse: section.choice("sse", &ENCRYPTIONS),
            storage_class: plain(
                &section,
                "storageClass",
                "a storage class such as `STANDARD_IA`",
            ),
        };
        section.finish();
        block
    }

    pub(super) fn over(&self, base: &Self) -> Self {
        let mut block = merge!(
            self, base, bucket, region, access_key_id, secret_access_key, session_token, force_path_style, sse,
            storage_class; http
        );
        // A session token belongs to the very keys that it was issued with.
        if self.access_key_id.is_some() || self.secret_access_key.is_some() {
            block.session_token.clone_from(&self.session_token);
        }
        block
    }
}

/// The name of a bucket. The rules are those that every store has; most are stricter, and say so themselves.
pub(super) fn bucket(section: &Section<'_>, name: &'static str) -> Option<Located<String>> {
    let allowed = "a bucket's name; a folder within it belongs into `remotePath` or `prefix`";
    let text = section.filled(name, allowed)?;
    if text.contains('/') || text.contains(char::is_whitespace) || matches!(text, "." | "..") {
        section.problem(name, format!("is no bucket's name; allowed: {allowed}"));
        return None;
    }
    Some(Located {
        key: section.at(name),
        value: text.to_owned(),
    })
}

/// A text that goes into a header or a URL: one printable word.
pub(super) fn plain(section: &Section<'_>, name: &'static str, allowed: &str) -> Option<String> {
    let text = section.filled(name, allowed)?;
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        section.problem(
            name,
            format!("holds blanks or special characters; allowed: {allowed}"),
        );
        return None;
    }
    Some(text.to_owned())
}

/// The `dropbox` block.
#[derive(Debug, Clone, Default)]
pub(super) struct DropboxBlock {
    pub(super) http: Http,
    pub(super) app_key: Option<String>,
    pub(super) app_secret: Option<SecretString>,
    pub(super) app_folder: Option<bool>,
    pub(super) token: Option<OauthToken>,
}

impl DropboxBlock {
    fn read(section: Section<'_>, places: &Places) -> Self {
        let block = Self {
            http: Http::read(&section, places, true),
            app_key: plain(&section, "appKey", "the key of a Dropbox app"),
            app_secret: section.secret("appSecret"),
            app_folder: section.boolean("appFolder"),
            token: token(&section, "token"),
        };
        section.finish();
        block
    }

    fn over(&self, base: &Self) -> Self {
        merge!(self, base, app_key, app_secret, app_folder, token; http)
    }
}

/// The `gdrive` block.
#[derive(Debug, Clone, Default)]
pub(super) struct GdriveBlock {
    pub(super) http: Http,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<SecretString>,
    pub(super) token: Option<OauthToken>,
    pub(super) team_drive: Option<String>,
    pub(super) root_folder_id: Option<String>,
    pub(super) service_account: Option<ServiceAccount>,
    pub(super) scope: Option<GdriveScope>,
}

pub(super) const SCOPES: [(&str, GdriveScope); 3] = [
    ("drive", GdriveScope::Full),
    ("drive.file", GdriveScope::File),
    ("drive.readonly", GdriveScope::ReadOnly),
];

impl GdriveBlock {
    fn read(section: Section<'_>, places: &Places) -> Self {
        let block = Self {
            http: Http::read(&section, places, true),
            client_id: plain(&section, "clientId", "an OAuth client id"),
            client_secret: section.secret("clientSecret"),
            token: token(&section, "token"),
            team_drive: plain(&section, "teamDrive", "the id of a shared drive"),
            root_folder_id: plain(&section, "rootFolderId", "the id of a folder"),
            service_account: service_account(&section, places),
            scope: section.choice("scope", &SCOPES),
        };
        section.finish();
        block
    }

    fn over(&self, base: &Self) -> Self {
        merge!(self, base, client_id, client_secret, token, team_drive, root_folder_id, service_account, scope; http)
    }
}

/// `serviceAccount`: a path, or the key's JSON as a text or an object.
fn service_account(section: &Section<'_>, places: &Places) -> Option<ServiceAccount> {
    const NAME: &str = "serviceAccount";
    let allowed = "a path, or the JSON of a service account's key";
    let json = match section.raw(NAME)? {
        Value::String(text) if text.trim_start().starts_with('{') => text.clone(),
        Value::String(_) => return places.path(section, NAME).map(ServiceAccount::File),
        object @ Value::Object(_) => object.to_string(),
        other => {
            section.problem(
                NAME,
                format!("found {}; allowed: {allowed}", kind_of(other)),
            );
            return None;
        }
    };
    let good = serde_json::from_str::<Value>(&json).is_ok_and(|value| {
        value["type"] == "service_account"
            && value["client_email"].is_string()
            && value["private_key"].is_string()
    });
    if !good {
        section.problem(
            NAME,
            format!(
                "is no service account's key: it needs `type`, `client_email` and `private_key`; allowed: {allowed}"
            ),
        );
        return None;
    }
    Some(ServiceAccount::Json(json.into()))
}

/// The `onedrive` block.
#[derive(Debug, Clone, Default)]
pub(super) struct OnedriveBlock {
    pub(super) http: Http,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<SecretString>,
    pub(super) token: Option<OauthToken>,
    pub(super) drive_id: Option<String>,
    pub(super) drive_type: Option<DriveType>,
    pub(super) tenant: Option<String>,
}

pub(super) const DRIVE_TYPES: [(&str, DriveType); 3] = [
    ("personal", DriveType::Personal),
    ("business", DriveType::Business),
    ("sharepoint", DriveType::SharePoint),
];

impl OnedriveBlock {
    fn read(section: Section<'_>, places: &Places) -> Self {
        let block = Self {
            http: Http::read(&section, places, true),
            client_id: plain(&section, "clientId", "an OAuth client id"),
            client_secret: section.secret("clientSecret"),
            token: token(&section, "token"),
            drive_id: plain(&section, "driveId", "the id of a drive"),
            drive_type: section.choice("driveType", &DRIVE_TYPES),
            tenant: plain(&section, "tenant", "a tenant's id or domain"),
        };
        section.finish();
        block
    }

    fn over(&self, base: &Self) -> Self {
        merge!(self, base, client_id, client_secret, token, drive_id, drive_type, tenant; http)
    }
}

const TOKEN: &str = "the JSON that `rclone authorize` prints, or a bare access token";

fn token(section: &Section<'_>, name: &'static str) -> Option<OauthToken> {
    let text = match section.raw(name)? {
        Value::String(text) => text.clone(),
        object @ Value::Object(_) => object.to_string(),
        other => {
            section.problem(name, format!("found {}; allowed: {TOKEN}", kind_of(other)));
            return None;
        }
    };
    match parse_token(&SecretString::from(text)) {
        Ok(token) => Some(token),
        Err(why) => {
            section.problem(name, format!("{why}; allowed: {TOKEN}"));
            None
        }
    }
}

/// Reads `{"access_token","token_type","refresh_token","expiry"}`, or a bare access token. Errors do not quote it.
pub(super) fn parse_token(text: &SecretString) -> Result<OauthToken, &'static str> {
    let text = text.expose_secret().trim();
    if text.is_empty() {
        return Err("is empty");
    }
    if !text.starts_with('{') {
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("is neither JSON nor one word");
        }
        return Ok(OauthToken {
            access_token: text.into(),
            token_type: None,
            refresh_token: None,
            expiry: None,
        });
    }
    let value: Value = serde_json::from_str(text).map_err(|_| "is no valid JSON")?;
    let field = |name: &str| match &value[name] {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => Ok(Some(text.as_str())),
        _ => Err("holds a field that is no text"),
    };
    let expiry = match field("expiry")? {
        None => None,
        Some(text) => {
            let expiry = DateTime::parse_from_rfc3339(text)
                .map_err(|_| "holds an `expiry` that is no time")?
                .to_utc();
            // The year 1 is how Go writes "never".
            Some(expiry).filter(|expiry| expiry.timestamp() > 0)
        }
    };
    Ok(OauthToken {
        access_token: field("access_token")?
            .ok_or("has no `access_token`")?
            .into(),
        token_type: field("token_type")?.map(str::to_owned),
        refresh_token: field("refresh_token")?.map(SecretString::from),
        expiry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_json_or_one_word() {
        let token = parse_token(
            &r#"{"access_token":"a","token_type":"bearer","refresh_token":"r","expiry":"2026-01-02T03:04:05.5+01:00"}"#
                .into(),
        )
        .unwrap();
        assert_eq!(token.access_token.expose_secret(), "a");
        assert_eq!(token.token_type.as_deref(), Some("bearer"));
        assert_eq!(token.refresh_token.unwrap().expose_secret(), "r");
        assert_eq!(
            token.expiry.unwrap().to_rfc3339(),
            "2026-01-02T02:04:05.500+00:00"
        );

        let bare = parse_token(&" sl.abc \n".into()).unwrap();
        assert_eq!(bare.access_token.expose_secret(), "sl.abc");
        assert!(bare.refresh_token.is_none() && bare.expiry.is_none());

        let never = parse_token(&r#"{"access_token":"a","expiry":"0001-01-01T00:00:00Z"}"#.into());
        assert!(never.unwrap().expiry.is_none());

        for bad in [
            "",
            "{",
            "{}",
            "two words",
            r#"{"access_token":5}"#,
            r#"{"access_token":"a","expiry":"x"}"#,
        ] {
            assert!(parse_token(&bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_with_credentials_are_refused() {
        for good in [
            "https://s3.example.com",
            "http://127.0.0.1:9000/",
            "https://h/base",
        ] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in [
            "s3.example.com",
            "ftp://x",
            "https://u:p@h",
            "https://u@h",
            "https://h?x=1",
            "https://h#f",
            "https://",
        ] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }
}
