//! From what was written about a provider to a [`ProviderConfig`].
//!
//! The blocks of a configuration (`blocks.rs`) hold what was written, key by key and unmerged. [`Request::resolve`]
//! takes the merged blocks of the chosen provider, adds what an rclone.conf supplies, checks what can only be checked
//! together, and yields the provider and the folder within it.

use std::path::{Path, PathBuf};

use ows_providers::RelPath;
use secrecy::ExposeSecret;

use super::blocks::{Blocks, DRIVE_TYPES, Http, Located, S3Block};
use super::check::{Findings, KeyPath, listed};
use super::custom::Translated;
use super::provider::{
    DropboxConfig, GdriveConfig, GdriveScope, HttpOptions, OauthToken, OnedriveConfig,
    ProviderConfig, S3Config, S3Credentials,
};
use super::rclone;

/// The values of `provider`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProviderKind {
    Off,
    S3,
    Dropbox,
    Gdrive,
    Onedrive,
    Custom,
}

pub(super) const PROVIDERS: [(&str, ProviderKind); 6] = [
    ("s3", ProviderKind::S3),
    ("dropbox", ProviderKind::Dropbox),
    ("gdrive", ProviderKind::Gdrive),
    ("onedrive", ProviderKind::Onedrive),
    ("custom", ProviderKind::Custom),
    ("off", ProviderKind::Off),
];

/// Where an rclone.conf may supply credentials from.
#[derive(Debug, Clone)]
pub(super) struct Supply {
    pub(super) remote_name: String,
    pub(super) config_path: PathBuf,
    /// The key of `configPath`, when it was written.
    pub(super) written_at: Option<KeyPath>,
}

/// A folder of a provider that is to be opened.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) findings: &'a Findings,
    /// `sync` or `backup`.
    pub(super) section: &'a KeyPath,
    pub(super) kind: ProviderKind,
    pub(super) blocks: &'a Blocks,
    pub(super) supplies: &'a [Supply],
    /// A bucket that was named apart from the blocks.
    pub(super) bucket: Option<Located<String>>,
    pub(super) remote_path: Located<String>,
    /// A folder below `remote_path`, never a bucket.
    pub(super) below: Option<Located<String>>,
    pub(super) home: Option<&'a Path>,
}

impl Request<'_> {
    /// The provider and the folder within it; `None` when something is wrong, which is recorded.
    pub(super) fn resolve(&self) -> Option<(ProviderConfig, Option<RelPath>)> {
        match self.kind {
            ProviderKind::Off => Some((ProviderConfig::Off, self.folder()?)),
            ProviderKind::S3 => self.s3(&self.blocks.s3.clone().unwrap_or_default()),
            ProviderKind::Dropbox => self.dropbox(),
            ProviderKind::Gdrive => self.gdrive(),
            ProviderKind::Onedrive => self.onedrive(),
            ProviderKind::Custom => self.custom(),
        }
    }

    /// The folder within the provider; `Some(None)` is the root.
    fn folder(&self) -> Option<Option<RelPath>> {
        let upper = self.checked(&self.remote_path)?;
        self.with_below(upper)
    }

    /// A folder with `below` under it.
    fn with_below(&self, upper: Option<RelPath>) -> Option<Option<RelPath>> {
        let lower = match &self.below {
            Some(below) => self.checked(below)?,
            None => None,
        };
        Some(match (upper, lower) {
            (Some(upper), Some(lower)) => Some(upper.join_path(&lower)),
            (upper, lower) => upper.or(lower),
        })
    }

    /// Checks a remote folder; slashes around it are as good as none.
    fn checked(&self, written: &Located<String>) -> Option<Option<RelPath>> {
        let text = written.value.trim_matches('/');
        if text.is_empty() {
            return Some(None);
        }
        let problem = match RelPath::new(text) {
            Ok(path) if path.segments().any(|segment| segment == ".ows") => {
                "`.ows` belongs to `ows` itself".to_owned()
            }
            Ok(path) => return Some(Some(path)),
            Err(error) => error.to_string(),
        };
        self.findings.problem(
            &written.key,
            format!("{problem}; allowed: a folder in the remote such as `openclaw-share` or `team/agent`"),
        );
        None
    }

    fn s3(&self, block: &S3Block) -> Option<(ProviderConfig, Option<RelPath>)> {
        let mut block = block.clone();
        if block.access_key_id.is_none()
            && block.secret_access_key.is_none()
            && let Some(found) = self.supplied("s3")
        {
            block = block.over(&rclone::s3_block(&found));
        }
        let http = self.http(&block.http)?;
        let credentials = self.s3_credentials(&block)?;
        let folder = self.checked(&self.remote_path)?;
        let (bucket, folder) = match self.bucket.clone().or(block.bucket) {
            Some(bucket) => (bucket.value, folder),
            None => {
                if self.findings.is_reported("bucket") {
                    return None;
                }
                let Some(path) = folder else {
                    self.findings.problem(
                        &self.section.key("s3").key("bucket"),
                        "is missing; allowed: the bucket's name, here or as the first segment of `remotePath`",
                    );
                    return None;
                };
                match path.as_str().split_once('/') {
                    Some((bucket, rest)) => (bucket.to_owned(), RelPath::new(rest).ok()),
                    None => (path.as_str().to_owned(), None),
                }
            }
        };
        let folder = self.with_below(folder)?;
        let config = S3Config {
            force_path_style: block.force_path_style.unwrap_or(http.endpoint.is_some()),
            http,
            bucket,
            region: block.region,
            credentials,
            sse: block.sse,
            storage_class: block.storage_class,
        };
        Some((ProviderConfig::S3(config), folder))
    }

    fn s3_credentials(&self, block: &S3Block) -> Option<Option<S3Credentials>> {
        let key = self.section.key("s3");
        let missing = match (&block.access_key_id, &block.secret_access_key) {
            (Some(id), Some(secret)) => {
                return Some(Some(S3Credentials {
                    access_key_id: id.clone(),
                    secret_access_key: secret.clone(),
                    session_token: block.session_token.clone(),
                }));
            }
            (None, None) if block.session_token.is_none() => return Some(None),
            (None, None) => "accessKeyId",
            (None, Some(_)) => "accessKeyId",
            (Some(_), None) => "secretAccessKey",
        };
        if self.findings.is_reported(missing) {
            return None;
        }
        self.findings.problem(
            &key.key(missing),
            "is missing; allowed: `accessKeyId` and `secretAccessKey` together, or neither of them nor a \
             `sessionToken` for the usual AWS credentials",
        );
        None
    }

    fn custom(&self) -> Option<(ProviderConfig, Option<RelPath>)> {
        let Some(custom) = &self.blocks.custom else {
            self.findings.problem(
                &self.section.key("custom"),
                "is missing; allowed: for example `{ \"type\": \"local\", \"options\": { \"path\": \"/mnt/usb\" } }`",
            );
            return None;
        };
        let translated = custom.translate(self.findings, &self.remote_path, self.home)?;
        if let (Some(bucket), false) = (&self.bucket, matches!(translated, Translated::S3(_))) {
            self.findings.problem(
                &bucket.key,
                "means something for S3 only; allowed for other providers: `remotePath`, `prefix`",
            );
        }
        match translated {
            Translated::S3(block) => self.s3(&block),
            Translated::Local(path) => Some((ProviderConfig::Local { path }, self.folder()?)),
            Translated::LocalFolder(path) => {
                Some((ProviderConfig::Local { path }, self.with_below(None)?))
            }
        }
    }

    fn dropbox(&self) -> Option<(ProviderConfig, Option<RelPath>)> {
        let mut block = self.blocks.dropbox.clone().unwrap_or_default();
        if block.token.is_none()
            && let Some(found) = self.supplied("dropbox")
        {
            block.token = found.token(self.findings);
            block.app_key = block.app_key.or_else(|| found.text("client_id"));
            block.app_secret = block.app_secret.or_else(|| found.secret("client_secret"));
        }
        self.own_client("dropbox", block.token.as_ref(), block.app_key.as_ref());
        let config = DropboxConfig {
            http: self.http(&block.http)?,
            app_key: block.app_key,
            app_secret: block.app_secret,
            app_folder: block.app_folder.unwrap_or(false),
            token: block.token,
        };
        Some((ProviderConfig::Dropbox(config), self.folder()?))
    }

    fn gdrive(&self) -> Option<(ProviderConfig, Option<RelPath>)> {
        let mut block = self.blocks.gdrive.clone().unwrap_or_default();
        if block.token.is_none()
            && block.service_account.is_none()
            && let Some(found) = self.supplied("drive")
        {
            block.token = found.token(self.findings);
            block.client_id = block.client_id.or_else(|| found.text("client_id"));
            block.client_secret = block
                .client_secret
                .or_else(|| found.secret("client_secret"));
            block.team_drive = block.team_drive.or_else(|| found.text("team_drive"));
            block.root_folder_id = block
                .root_folder_id
                .or_else(|| found.text("root_folder_id"));
            block.service_account = found.service_account(self.home);
        }
        self.own_client("gdrive", block.token.as_ref(), block.client_id.as_ref());
        let config = GdriveConfig {
            http: self.http(&block.http)?,
            client_id: block.client_id,
            client_secret: block.client_secret,
            token: block.token,
            team_drive: block.team_drive,
            root_folder_id: block.root_folder_id,
            service_account: block.service_account,
            scope: block.scope.unwrap_or(GdriveScope::Full),
        };
        Some((ProviderConfig::Gdrive(config), self.folder()?))
    }

    fn onedrive(&self) -> Option<(ProviderConfig, Option<RelPath>)> {
        let mut block = self.blocks.onedrive.clone().unwrap_or_default();
        if block.token.is_none()
            && let Some(found) = self.supplied("onedrive")
        {
            block.token = found.token(self.findings);
            block.client_id = block.client_id.or_else(|| found.text("client_id"));
            block.client_secret = block
                .client_secret
                .or_else(|| found.secret("client_secret"));
            block.drive_id = block.drive_id.or_else(|| found.text("drive_id"));
            block.tenant = block.tenant.or_else(|| found.text("tenant"));
            block.drive_type = block.drive_type.or_else(|| {
                let name = found.text("drive_type")?;
                let known = DRIVE_TYPES.iter();
                known
                    .clone()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| *value)
            });
        }
        self.own_client("onedrive", block.token.as_ref(), block.client_id.as_ref());
        let config = OnedriveConfig {
            http: self.http(&block.http)?,
            client_id: block.client_id,
            client_secret: block.client_secret,
            token: block.token,
            drive_id: block.drive_id,
            drive_type: block.drive_type,
            tenant: block.tenant,
        };
        Some((ProviderConfig::Onedrive(config), self.folder()?))
    }

    /// A token that was made for rclone's own app cannot be refreshed without rclone's client id and secret.
    fn own_client(&self, provider: &str, token: Option<&OauthToken>, client: Option<&String>) {
        if token.is_some_and(|token| token.refresh_token.is_some()) && client.is_none() {
            self.findings.warning(format!(
                "`{}`: the token was made for another program's app (rclone's, most likely) and cannot be \
                 refreshed when it ends; run `ows authorize --provider {provider}` to make one of your own",
                self.section.key(provider).key("token"),
            ));
        }
    }

    /// The section of an rclone.conf that supplies credentials for a provider of this type.
    fn supplied(&self, kind: &str) -> Option<rclone::Found> {
        self.supplies
            .iter()
            .find_map(|supply| rclone::look_up(self.findings, supply, kind))
    }

    /// Checks the addresses of an HTTP provider, once it is known whether plain HTTP is allowed.
    fn http(&self, http: &Http) -> Option<HttpOptions> {
        let allow_http = http.allow_http.unwrap_or(false);
        let mut good = true;
        for address in [&http.endpoint, &http.auth_endpoint].into_iter().flatten() {
            if !allow_http && !is_encrypted_or_loopback(&address.value) {
                good = false;
                self.findings.problem(
                    &address.key,
                    "is a plain `http://` address; allowed: `https://`, `http://` for loopback addresses such as \
                     `127.0.0.1`, or any when `allowHttp` is true",
                );
            }
        }
        good.then(|| HttpOptions {
            endpoint: http.endpoint.as_ref().map(|address| address.value.clone()),
            auth_endpoint: http
                .auth_endpoint
                .as_ref()
                .map(|address| address.value.clone()),
            allow_http,
            ca_file: http.ca_file.clone(),
            proxy: http.proxy.clone(),
        })
    }
}

fn is_encrypted_or_loopback(address: &str) -> bool {
    let Ok(url) = url::Url::parse(address) else {
        return false;
    };
    url.scheme() == "https"
        || match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}

/// Whether two providers are, by their configuration alone, the same place: then their folders must not overlap.
/// Accounts are known at run time only; here the same provider with the same credentials counts as one account.
pub(super) fn same_place(left: &ProviderConfig, right: &ProviderConfig) -> bool {
    match (left, right) {
        (ProviderConfig::S3(left), ProviderConfig::S3(right)) => {
            left.bucket == right.bucket && endpoint_of(left) == endpoint_of(right)
        }
        (ProviderConfig::Dropbox(left), ProviderConfig::Dropbox(right)) => {
            same_token(left.token.as_ref(), right.token.as_ref())
        }
        (ProviderConfig::Gdrive(left), ProviderConfig::Gdrive(right)) => {
            left.root_folder_id == right.root_folder_id
                && left.team_drive == right.team_drive
                && same_token(left.token.as_ref(), right.token.as_ref())
        }
        (ProviderConfig::Onedrive(left), ProviderConfig::Onedrive(right)) => {
            left.drive_id == right.drive_id && same_token(left.token.as_ref(), right.token.as_ref())
        }
        _ => false,
    }
}

/// Scheme, host and port in one spelling; AWS itself is the empty text.
fn endpoint_of(config: &S3Config) -> String {
    let Some(endpoint) = &config.http.endpoint else {
        return String::new();
    };
    match url::Url::parse(endpoint) {
        Ok(url)
            if url.host_str().is_some_and(|host| {
                host.starts_with("s3.") && host.ends_with(".amazonaws.com")
                    || host == "s3.amazonaws.com"
            }) =>
        {
            String::new()
        }
        Ok(url) => url.as_str().trim_end_matches('/').to_owned(),
        Err(_) => endpoint.clone(),
    }
}

fn same_token(left: Option<&OauthToken>, right: Option<&OauthToken>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => {
            let text = |token: &OauthToken| {
                token
                    .refresh_token
                    .as_ref()
                    .unwrap_or(&token.access_token)
                    .expose_secret()
                    .to_owned()
            };
            text(left) == text(right)
        }
        // A side without a token of its own uses what is stored, which may be the other's.
        _ => true,
    }
}

/// The types that `custom` serves, for error texts.
pub(super) fn served_types() -> String {
    listed(super::custom::TYPES)
}
