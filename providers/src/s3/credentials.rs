//! Where the keys come from.
//!
//! Keys of the configuration are used as they are. Without any the usual chain applies: environment, AWS's shared files,
//! then object_store's web identity, container and instance metadata. Which link is used is decided once; what it gives
//! is renewed before a request when it is about to expire. The environment comes in as a function, so that tests bring
//! their own.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};
use object_store::client::HttpConnector;
use object_store::{CredentialProvider, RetryConfig, StaticCredentialProvider};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::profile::{Profile, ProfileFiles};
use crate::http::{HttpOptions, HttpStack, check_address};

/// Reads a variable of the environment.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Temporary keys in a file are replaced by other programs; the file is read again this often.
const FILE_LIFETIME: Duration = Duration::from_secs(30);

/// The keys of an S3 store.
#[derive(Debug, Clone)]
pub enum S3Credentials {
    /// Keys from the configuration.
    Static {
        /// Access key id.
        access_key_id: SecretString,
        /// Secret access key.
        secret_access_key: SecretString,
        /// Session token of temporary keys.
        session_token: Option<SecretString>,
    },
    /// The usual AWS chain: environment, shared credentials and config file, web identity, container and instance
    /// metadata.
    Chain,
}

/// A function that reads variables, empty ones as if they were not set.
pub(super) fn non_empty(environment: Environment) -> Environment {
    Arc::new(move |name| environment(name).filter(|value| !value.is_empty()))
}

/// The region to sign for: the configuration's, the environment's, with the chain the profile's, else `us-east-1`.
pub(super) fn region(
    configured: Option<&str>,
    credentials: &S3Credentials,
    environment: &Environment,
) -> Result<String, String> {
    let named = configured
        .filter(|region| !region.is_empty())
        .map(str::to_owned)
        .or_else(|| environment("AWS_REGION"))
        .or_else(|| environment("AWS_DEFAULT_REGION"));
    if let Some(region) = named {
        return Ok(region);
    }
    let profile = match credentials {
        S3Credentials::Chain => ProfileFiles::find(&**environment).read()?,
        S3Credentials::Static { .. } => Profile::default(),
    };
    Ok(profile.get("region").unwrap_or("us-east-1").to_owned())
}

/// Finds the link of the chain that gives the keys. The error is a sentence for people.
pub(super) fn provider(
    credentials: &S3Credentials,
    environment: &Environment,
    region: &str,
    http: &HttpStack,
    options: &HttpOptions,
) -> Result<AwsCredentialProvider, String> {
    match credentials {
        S3Credentials::Static {
            access_key_id,
            secret_access_key,
            session_token,
        } => Ok(fixed(AwsCredential {
            key_id: access_key_id.expose_secret().to_owned(),
            secret_key: secret_access_key.expose_secret().to_owned(),
            token: session_token
                .as_ref()
                .map(|token| token.expose_secret().to_owned())
                .filter(|token| !token.is_empty()),
        })),
        S3Credentials::Chain => chain(environment, region, http, options),
    }
}

fn fixed(credential: AwsCredential) -> AwsCredentialProvider {
    Arc::new(StaticCredentialProvider::new(credential))
}

fn chain(
    environment: &Environment,
    region: &str,
    http: &HttpStack,
    options: &HttpOptions,
) -> Result<AwsCredentialProvider, String> {
    match (
        environment("AWS_ACCESS_KEY_ID"),
        environment("AWS_SECRET_ACCESS_KEY"),
    ) {
        (Some(key_id), Some(secret_key)) => {
            let token = environment("AWS_SESSION_TOKEN");
            return Ok(fixed(AwsCredential {
                key_id,
                secret_key,
                token,
            }));
        }
        (Some(_), None) => {
            return Err("AWS_ACCESS_KEY_ID is set, but not AWS_SECRET_ACCESS_KEY".to_owned());
        }
        (None, Some(_)) => {
            return Err("AWS_SECRET_ACCESS_KEY is set, but not AWS_ACCESS_KEY_ID".to_owned());
        }
        (None, None) => {}
    }
    let files = ProfileFiles::find(&**environment);
    let profile = files.read()?;
    if profile.get("aws_access_key_id").is_some() || profile.get("aws_secret_access_key").is_some()
    {
        // Read once now, so that a half profile is an error at once.
        keys_of(&profile, &files)?;
        return Ok(Arc::new(FileCredentials {
            files,
            cache: tokio::sync::Mutex::new(None),
        }));
    }
    if files.named && !profile.found {
        return Err(format!("there is no {}", files.describe()));
    }
    if let Some(way) = profile.unserved() {
        return Err(format!(
            "{} gets its keys by `{way}`, which is not served; put keys into the environment or the configuration (`aws configure export-credentials --format env` prints them)",
            files.describe()
        ));
    }
    remote(environment, &profile, &files, region, http, options)
}

/// The links that ask a service: object_store's.
fn remote(
    environment: &Environment,
    profile: &Profile,
    files: &ProfileFiles,
    region: &str,
    http: &HttpStack,
    options: &HttpOptions,
) -> Result<AwsCredentialProvider, String> {
    let metadata = || HttpStack::for_metadata(options).map_err(|error| error.to_string());
    let from_profile = |name: &str| profile.get(name).map(str::to_owned);
    let identity = environment("AWS_WEB_IDENTITY_TOKEN_FILE")
        .or_else(|| from_profile("web_identity_token_file"));
    let role = environment("AWS_ROLE_ARN").or_else(|| from_profile("role_arn"));
    if let (Some(file), Some(role)) = (identity, role) {
        let mut settings = vec![
            (AmazonS3ConfigKey::WebIdentityTokenFile, file),
            (AmazonS3ConfigKey::RoleArn, role),
        ];
        if let Some(name) = environment("AWS_ROLE_SESSION_NAME") {
            settings.push((AmazonS3ConfigKey::RoleSessionName, name));
        }
        if let Some(endpoint) = environment("AWS_ENDPOINT_URL_STS") {
            settings.push((AmazonS3ConfigKey::StsEndpoint, endpoint));
        }
        return ask("the web identity", settings, region, http.clone());
    }
    if let Some(uri) = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        let settings = vec![(AmazonS3ConfigKey::ContainerCredentialsRelativeUri, uri)];
        return ask("the container's credentials", settings, region, metadata()?);
    }
    if let Some(uri) = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
        let file = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").ok_or(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI needs AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE here",
        )?;
        check_container_uri(&uri)?;
        let settings = vec![
            (AmazonS3ConfigKey::ContainerCredentialsFullUri, uri),
            (AmazonS3ConfigKey::ContainerAuthorizationTokenFile, file),
        ];
        return ask("the container's credentials", settings, region, metadata()?);
    }
    let looked = format!(
        "no keys are configured, none are in the environment (AWS_ACCESS_KEY_ID) or in {}",
        files.describe()
    );
    if environment("AWS_EC2_METADATA_DISABLED")
        .is_some_and(|text| text.eq_ignore_ascii_case("true"))
    {
        return Err(looked);
    }
    let settings = environment("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        .map(|endpoint| {
            (
                AmazonS3ConfigKey::MetadataEndpoint,
                endpoint.trim_end_matches('/').to_owned(),
            )
        })
        .into_iter()
        .collect();
    let source = format!("{looked}; the instance's metadata service");
    ask(&source, settings, region, metadata()?)
}

/// Plain HTTP carries keys only to the addresses that AWS reserves for this.
fn check_container_uri(uri: &str) -> Result<(), String> {
    let host = Url::parse(uri)
        .ok()
        .and_then(|url| Some(url.host_str()?.to_owned()));
    let reserved = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
    let reserved = host.is_some_and(|host| reserved.contains(&host.as_str()));
    let bare = uri.split(['?', '#']).next().unwrap_or(uri);
    check_address(bare, reserved)
        .map(|_| ())
        .map_err(|error| format!("AWS_CONTAINER_CREDENTIALS_FULL_URI: {error}"))
}

fn ask(
    source: &str,
    settings: Vec<(AmazonS3ConfigKey, String)>,
    region: &str,
    http: impl HttpConnector,
) -> Result<AwsCredentialProvider, String> {
    let builder = AmazonS3Builder::new()
        // Only the credentials of what is built are used; the bucket plays no part in them.
        .with_bucket_name("credentials")
        .with_region(region)
        .with_http_connector(http)
        .with_retry(RetryConfig {
            max_retries: 1,
            retry_timeout: Duration::from_secs(20),
            ..RetryConfig::default()
        });
    let store = settings
        .into_iter()
        .fold(builder, |builder, (key, value)| {
            builder.with_config(key, value)
        })
        .build()
        .map_err(|error| explain(&error))?;
    Ok(Arc::new(Named {
        source: source.to_owned(),
        inner: Arc::clone(store.credentials()),
    }))
}

/// What object_store says, without the name of its store around it.
pub(super) fn explain(error: &object_store::Error) -> String {
    match error {
        object_store::Error::Generic { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn failure(message: String) -> object_store::Error {
    object_store::Error::Generic {
        store: "S3",
        source: message.into(),
    }
}

/// Says in its errors who was asked.
struct Named {
    source: String,
    inner: AwsCredentialProvider,
}

impl fmt::Debug for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Named").field(&self.source).finish()
    }
}

#[async_trait]
impl CredentialProvider for Named {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.inner
            .get_credential()
            .await
            .map_err(|error| failure(format!("{} gave no keys: {}", self.source, explain(&error))))
    }
}

/// Keys in AWS's files.
struct FileCredentials {
    files: ProfileFiles,
    cache: tokio::sync::Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

impl fmt::Debug for FileCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FileCredentials")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialProvider for FileCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut cache = self.cache.lock().await;
        if let Some((read_at, credential)) = &*cache
            && read_at.elapsed() < FILE_LIFETIME
        {
            return Ok(Arc::clone(credential));
        }
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || {
            files.read().and_then(|profile| keys_of(&profile, &files))
        });
        let credential = read
            .await
            .map_err(|error| failure(error.to_string()))?
            .map_err(failure)?;
        let credential = Arc::new(credential);
        *cache = Some((Instant::now(), Arc::clone(&credential)));
        Ok(credential)
    }
}

fn keys_of(profile: &Profile, files: &ProfileFiles) -> Result<AwsCredential, String> {
    let value = |name: &str| {
        profile
            .get(name)
            .map(str::to_owned)
            .ok_or_else(|| format!("{} lacks `{name}`", files.describe()))
    };
    Ok(AwsCredential {
        key_id: value("aws_access_key_id")?,
        secret_key: value("aws_secret_access_key")?,
        token: profile.get("aws_session_token").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests;
