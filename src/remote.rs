//! From a provider of the configuration to an opened one, with all layers around it. Sync and backup open theirs here;
//! what they do with it is not known here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ows_providers::http::HttpOptions;
use ows_providers::layers::{
    BandwidthOptions, CallCounter, Counting, RetryOptions, RetryPolicy, StackOptions, stack,
};
use ows_providers::local::LocalProvider;
use ows_providers::s3::{S3Credentials, S3Options, S3Provider};
use ows_providers::{Provider, RelPath};
use secrecy::ExposeSecret;

use crate::config::{Bandwidth, Environment, ProviderConfig, S3Config};
use crate::error::{Failure, Outcome};

/// What is to be opened, and how it is reached.
#[derive(Debug)]
pub struct Remote<'a> {
    /// The provider.
    pub provider: &'a ProviderConfig,
    /// The folder within it; `None` is its root.
    pub folder: Option<&'a RelPath>,
    /// Limits on what is sent and received.
    pub bandwidth: Bandwidth,
    /// Where `AWS_*`, `HTTPS_PROXY` and such are looked up.
    pub environment: &'a Environment,
    /// Counts the calls.
    pub counter: &'a Arc<CallCounter>,
    /// How often calls are repeated.
    pub retry: RetryOptions,
}

impl Remote<'_> {
    /// Opens it.
    ///
    /// # Errors
    /// When the provider is off or not served, or its adapter cannot be made.
    pub fn open(mut self) -> Outcome<Arc<dyn Provider>> {
        self.retry.metadata.last_failure = self.counter.last_failure();
        self.retry.transfer.last_failure = self.counter.last_failure();
        let (adapter, counting): (Arc<dyn Provider>, Counting) = match self.provider {
            ProviderConfig::S3(s3) => (Arc::new(self.s3(s3)?), Counting::Bytes),
            ProviderConfig::Local { path } => {
                let path = below(path, self.folder);
                (Arc::new(LocalProvider::open(&path)?), Counting::Calls)
            }
            other => {
                return Err(Failure::usage(format!(
                    "the provider \"{}\" is not served in this version",
                    other.name()
                )));
            }
        };
        let bandwidth = BandwidthOptions {
            up: self.bandwidth.up,
            down: self.bandwidth.down,
        };
        let options = StackOptions {
            bandwidth,
            counter: Arc::clone(self.counter),
            counting,
            retry: Some(self.retry),
            ..StackOptions::default()
        };
        Ok(stack(adapter, options))
    }

    fn s3(&self, s3: &S3Config) -> Outcome<S3Provider> {
        let credentials = match &s3.credentials {
            None => S3Credentials::Chain,
            Some(keys) => S3Credentials::Static {
                access_key_id: keys.access_key_id.clone(),
                secret_access_key: keys.secret_access_key.clone(),
                session_token: keys.session_token.clone(),
            },
        };
        let options = S3Options {
            endpoint: s3.http.endpoint.clone(),
            bucket: s3.bucket.clone(),
            prefix: self.folder.map_or_else(String::new, RelPath::to_string),
            region: s3.region.clone(),
            credentials,
            force_path_style: Some(s3.force_path_style),
            sse: s3.sse.map(|sse| sse.header_value().to_owned()),
            storage_class: s3.storage_class.clone(),
            http: HttpOptions {
                ca_file: s3.http.ca_file.clone(),
                proxy: s3
                    .http
                    .proxy
                    .as_ref()
                    .map(|proxy| proxy.expose_secret().to_owned()),
                allow_http: s3.http.allow_http,
                user_agent: None,
            },
            list_retry: self.retry.metadata.clone(),
            counter: Some(Arc::clone(self.counter)),
        };
        let lookup = self.environment.clone();
        let provider = S3Provider::with_environment(
            options,
            Arc::new(move |name| lookup.get(name).map(str::to_owned)),
        )?;
        Ok(provider)
    }
}

/// How often calls are repeated for somebody who waits for the answer: better to hear soon that the remote does not
/// answer.
pub fn impatient() -> RetryOptions {
    let metadata = RetryPolicy {
        attempts: 5,
        budget: std::time::Duration::from_secs(30),
        cap: std::time::Duration::from_secs(2),
        ..RetryPolicy::metadata()
    };
    RetryOptions {
        metadata,
        ..RetryOptions::default()
    }
}

/// The folder on this host that a provider keeps its files in, if it does.
pub fn host_folder(provider: &ProviderConfig, folder: Option<&RelPath>) -> Option<PathBuf> {
    match provider {
        ProviderConfig::Local { path } => Some(below(path, folder)),
        _ => None,
    }
}

fn below(path: &Path, folder: Option<&RelPath>) -> PathBuf {
    match folder {
        Some(folder) => path.join(folder.as_str()),
        None => path.to_owned(),
    }
}
