//! Storage providers as the rest of the program sees them.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use secrecy::SecretString;

/// A storage provider with everything that is needed to open it.
#[derive(Debug, Clone)]
pub enum ProviderConfig {
    /// None: nothing is synced.
    Off,
    /// An S3 bucket.
    S3(S3Config),
    /// Dropbox.
    Dropbox(DropboxConfig),
    /// Google Drive.
    Gdrive(GdriveConfig),
    /// OneDrive or SharePoint.
    Onedrive(OnedriveConfig),
    /// A folder of this machine.
    Local {
        /// Its absolute path.
        path: PathBuf,
    },
}

impl ProviderConfig {
    /// The provider's name in the configuration and in JSON; a folder is `local`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::S3(_) => "s3",
            Self::Dropbox(_) => "dropbox",
            Self::Gdrive(_) => "gdrive",
            Self::Onedrive(_) => "onedrive",
            Self::Local { .. } => "local",
        }
    }
}

/// How an HTTP provider is reached.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// The API's base URL, when it is not the provider's own.
    pub endpoint: Option<String>,
    /// The base URL of its authorization server, when it is not the provider's own; none for S3.
    pub auth_endpoint: Option<String>,
    /// Whether plain `http://` is accepted for more than loopback addresses.
    pub allow_http: bool,
    /// A PEM file with further root certificates.
    pub ca_file: Option<PathBuf>,
    /// The proxy's URL, which may hold a password. Without it `HTTPS_PROXY` and `NO_PROXY` apply.
    pub proxy: Option<SecretString>,
}

/// An S3 bucket.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// How it is reached; its `endpoint` is the store's.
    pub http: HttpOptions,
    /// The bucket's name.
    pub bucket: String,
    /// The region, when one was given.
    pub region: Option<String>,
    /// The keys; without them the AWS chain applies.
    pub credentials: Option<S3Credentials>,
    /// Whether the bucket is a segment of the path rather than a part of the host's name.
    pub force_path_style: bool,
    /// Server-side encryption asked for with each upload.
    pub sse: Option<S3Encryption>,
    /// The storage class of new objects.
    pub storage_class: Option<String>,
}

/// Keys of an S3 store.
#[derive(Debug, Clone)]
pub struct S3Credentials {
    /// Access key id.
    pub access_key_id: SecretString,
    /// Secret access key.
    pub secret_access_key: SecretString,
    /// The token that goes with temporary keys.
    pub session_token: Option<SecretString>,
}

/// Server-side encryption of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Encryption {
    /// `AES256`: keys managed by S3.
    Aes256,
    /// `aws:kms`: the account's default KMS key.
    Kms,
    /// `aws:kms:dsse`: twice, with KMS.
    KmsDual,
}

impl S3Encryption {
    /// The value of the header `x-amz-server-side-encryption`.
    pub fn header_value(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms => "aws:kms",
            Self::KmsDual => "aws:kms:dsse",
        }
    }
}

/// An OAuth token, as `rclone authorize` prints it.
#[derive(Debug, Clone)]
pub struct OauthToken {
    /// What is sent with each request.
    pub access_token: SecretString,
    /// Usually `bearer`.
    pub token_type: Option<String>,
    /// What a new access token is asked for with.
    pub refresh_token: Option<SecretString>,
    /// When the access token ends; `None` when it was not said.
    pub expiry: Option<DateTime<Utc>>,
}

/// Dropbox.
#[derive(Debug, Clone)]
pub struct DropboxConfig {
    /// How it is reached.
    pub http: HttpOptions,
    /// The app's key.
    pub app_key: Option<String>,
    /// The app's secret; apps with PKCE have none.
    pub app_secret: Option<SecretString>,
    /// Whether the app sees its own folder only.
    pub app_folder: bool,
    /// The token; without it the stored one counts.
    pub token: Option<OauthToken>,
}

/// Google Drive.
#[derive(Debug, Clone)]
pub struct GdriveConfig {
    /// How it is reached.
    pub http: HttpOptions,
    /// OAuth client id.
    pub client_id: Option<String>,
    /// OAuth client secret.
    pub client_secret: Option<SecretString>,
    /// The token; without it the stored one counts.
    pub token: Option<OauthToken>,
    /// The id of a shared drive.
    pub team_drive: Option<String>,
    /// The id of the folder that counts as the root.
    pub root_folder_id: Option<String>,
    /// A service account instead of a token.
    pub service_account: Option<ServiceAccount>,
    /// The OAuth scope's short name.
    pub scope: GdriveScope,
}

/// What of a Google Drive the token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GdriveScope {
    /// `drive`: everything.
    Full,
    /// `drive.file`: files that this app created.
    File,
    /// `drive.readonly`: everything, for reading.
    ReadOnly,
}

/// A Google service account's key.
#[derive(Debug, Clone)]
pub enum ServiceAccount {
    /// A file that holds the key's JSON.
    File(PathBuf),
    /// The key's JSON.
    Json(SecretString),
}

/// OneDrive or SharePoint.
#[derive(Debug, Clone)]
pub struct OnedriveConfig {
    /// How it is reached.
    pub http: HttpOptions,
    /// OAuth client id.
    pub client_id: Option<String>,
    /// OAuth client secret.
    pub client_secret: Option<SecretString>,
    /// The token; without it the stored one counts.
    pub token: Option<OauthToken>,
    /// The drive's id.
    pub drive_id: Option<String>,
    /// The drive's type.
    pub drive_type: Option<DriveType>,
    /// The tenant whose accounts may sign in; `None` is any.
    pub tenant: Option<String>,
}

/// The kinds of drives that Microsoft Graph knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriveType {
    /// A private account's.
    Personal,
    /// A company account's.
    Business,
    /// A SharePoint document library.
    SharePoint,
}
