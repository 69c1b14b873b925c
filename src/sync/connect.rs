//! From the checked configuration to a pair that can be synced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ows_providers::http::HttpOptions;
use ows_providers::layers::{
    BandwidthOptions, CallCounter, Counting, RetryOptions, RetryPolicy, StackOptions, stack,
};
use ows_providers::local::LocalProvider;
use ows_providers::s3::{S3Credentials, S3Options, S3Provider};
use ows_providers::{Provider, RelPath};
use secrecy::ExposeSecret;

use super::{FirstSync, PairSettings, SyncMode};
use crate::config::{self, Config, Environment, Mode, ProviderConfig, S3Config, SyncConfig};
use crate::error::{Failure, Outcome};
use crate::plan::{Resolve, Side};

/// The pair that the configuration describes, with its remote opened, ready to be synced.
///
/// # Errors
/// When no provider or mode is configured, or the remote cannot be opened.
pub fn pair_settings(config: &Config) -> Outcome<PairSettings> {
    let sync = sync_section(config)?;
    if matches!(sync.provider, ProviderConfig::Off) {
        return Err(switched_off(sync).with_path(config.source.display().to_string()));
    }
    let named = |failure: Failure| failure.with_path(config.source.display().to_string());
    let mode = match sync.required_mode().map_err(named)? {
        Mode::Mailbox => SyncMode::Mailbox,
        Mode::Mirror => SyncMode::Mirror,
        Mode::Bisync => SyncMode::Bisync,
    };
    settings(config, sync, mode, RetryOptions::default())
}

/// The same for whoever only looks at a pair, or handles its trash: no mode is needed for that.
///
/// # Errors
/// When no provider is configured, or the remote cannot be opened.
pub fn modeless_settings(config: &Config) -> Outcome<PairSettings> {
    // Somebody waits for the answer: better to hear soon that the remote does not answer.
    let metadata = RetryPolicy {
        attempts: 5,
        budget: Duration::from_secs(30),
        cap: Duration::from_secs(2),
        ..RetryPolicy::metadata()
    };
    let retry = RetryOptions {
        metadata,
        ..RetryOptions::default()
    };
    let sync = sync_section(config)?;
    let mode = match sync.mode {
        Some(Mode::Mirror) => SyncMode::Mirror,
        Some(Mode::Bisync) => SyncMode::Bisync,
        Some(Mode::Mailbox) | None => SyncMode::Mailbox,
    };
    settings(config, sync, mode, retry)
}

fn settings(
    config: &Config,
    sync: &SyncConfig,
    mode: SyncMode,
    retry: RetryOptions,
) -> Outcome<PairSettings> {
    let counter = CallCounter::new();
    let provider = connect(sync, &config.environment, &counter, retry)?;
    Ok(PairSettings {
        mode,
        provider,
        counter,
        local_path: sync.local_folder.clone(),
        workspace: config.workspace.clone(),
        own_dir: config.own_dir.clone(),
        exclude: sync.exclude.clone(),
        remote_folder: host_folder(&sync.provider, sync.remote_path.as_ref()),
        backup_folder: config
            .backup
            .as_ref()
            .and_then(|backup| backup.location.as_ref())
            .and_then(|location| host_folder(&location.provider, location.folder.as_ref())),
        ingest: sync.ingest.clone().filter(|_| mode == SyncMode::Mirror),
        protected: sync.protected.clone(),
        copy_symlinks: sync.copy_symlinks,
        max_delete: sync.max_delete,
        max_change: sync.max_change,
        first_sync: match sync.first_sync {
            config::FirstSync::Local => FirstSync::Local,
            config::FirstSync::Remote => FirstSync::Remote,
            config::FirstSync::Merge => FirstSync::Merge,
            config::FirstSync::Ask => FirstSync::Ask,
        },
        conflict_resolve: match sync.conflict_resolve {
            config::ConflictResolve::Newer => Resolve::Newer,
            config::ConflictResolve::Local => Resolve::Always(Side::Local),
            config::ConflictResolve::Remote => Resolve::Always(Side::Remote),
        },
        trash_remote: sync.trash.remote,
        trash_local: sync.trash.local,
        trash_keep_days: sync.trash.keep_days,
        checkpoint: sync.checkpoint,
        settle: sync.settle.as_secs(),
        transfers: sync.transfers.map(std::num::NonZeroUsize::get),
        audit_days: sync.audit_days,
        timeout: sync.timeout,
    })
}

/// The folder on this host that a provider keeps its files in, if it does.
fn host_folder(provider: &ProviderConfig, folder: Option<&RelPath>) -> Option<PathBuf> {
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

fn sync_section(config: &Config) -> Outcome<&SyncConfig> {
    config.sync.as_ref().ok_or_else(|| {
        Failure::usage("nothing is configured to be synced")
            .with_path(config.source.display().to_string())
            .with_hint("add a `sync` section with `provider` and `mode`; the README shows one")
    })
}

fn switched_off(sync: &SyncConfig) -> Failure {
    Failure::usage(format!(
        "`{}` is \"off\", so there is nothing to sync with",
        sync.key_of("provider")
    ))
    .with_hint(
        "set `provider` to \"s3\", or to \"custom\" with `type: \"local\"`, and `mode`; nothing was done",
    )
}

/// Opens the remote of a pair, with all layers around it.
///
/// # Errors
/// When no provider is configured, or the adapter cannot be made.
pub fn connect(
    sync: &SyncConfig,
    environment: &Environment,
    counter: &Arc<CallCounter>,
    mut retry: RetryOptions,
) -> Outcome<Arc<dyn Provider>> {
    retry.metadata.last_failure = counter.last_failure();
    retry.transfer.last_failure = counter.last_failure();
    let (adapter, counting): (Arc<dyn Provider>, Counting) = match &sync.provider {
        ProviderConfig::Off => return Err(switched_off(sync)),
        ProviderConfig::S3(s3) => (
            Arc::new(s3_provider(
                s3,
                sync,
                environment,
                counter,
                &retry.metadata,
            )?),
            Counting::Bytes,
        ),
        ProviderConfig::Local { path } => {
            let path = below(path, sync.remote_path.as_ref());
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
        up: sync.bandwidth.up,
        down: sync.bandwidth.down,
    };
    let options = StackOptions {
        bandwidth,
        counter: Arc::clone(counter),
        counting,
        retry: Some(retry),
        ..StackOptions::default()
    };
    Ok(stack(adapter, options))
}

fn s3_provider(
    s3: &S3Config,
    sync: &SyncConfig,
    environment: &Environment,
    counter: &Arc<CallCounter>,
    list_retry: &RetryPolicy,
) -> Outcome<S3Provider> {
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
        prefix: sync
            .remote_path
            .as_ref()
            .map_or_else(String::new, RelPath::to_string),
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
        list_retry: list_retry.clone(),
        counter: Some(Arc::clone(counter)),
    };
    let lookup = environment.clone();
    let provider = S3Provider::with_environment(
        options,
        Arc::new(move |name| lookup.get(name).map(str::to_owned)),
    )?;
    Ok(provider)
}
