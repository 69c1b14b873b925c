//! From the checked configuration to a backup that can be made, read, pruned.

use ows_providers::http::HttpOptions;
use ows_providers::layers::{CallCounter, RetryOptions};
use secrecy::ExposeSecret;

use super::retention::Policy;
use super::settings::{BackupClock, BackupSettings, Heartbeat};
use crate::config::{BackupConfig, BackupLocation, Bandwidth, Config, ProviderConfig, Retain};
use crate::error::{Failure, Outcome};
use crate::remote::{Remote, host_folder, impatient};

/// The backup that the configuration describes, with its folder opened, for work that may take long.
///
/// # Errors
/// When no backup is configured, or its folder cannot be opened.
pub fn backup_settings(config: &Config) -> Outcome<BackupSettings> {
    settings(config, RetryOptions::default())
}

/// The same for somebody who waits for an answer.
///
/// # Errors
/// Those of [`backup_settings`].
pub fn backup_settings_to_look(config: &Config) -> Outcome<BackupSettings> {
    settings(config, impatient())
}

/// Refuses to make backups where they are switched off.
///
/// # Errors
/// When no backup is configured, or `enabled` is not true.
pub fn require_enabled(config: &Config) -> Outcome<()> {
    let backup = section(config)?;
    if backup.enabled {
        return Ok(());
    }
    Err(
        Failure::usage(format!("`{}.enabled` is not true", backup.key))
            .with_path(config.source.display().to_string())
            .with_hint(
                "set it to true to make backups; nothing was done. `ows backup list`, `ls`, `restore` and `verify` \
                 work without it",
            ),
    )
}

fn section(config: &Config) -> Outcome<&BackupConfig> {
    config.backup.as_ref().ok_or_else(|| {
        Failure::usage("no backup is configured")
            .with_path(config.source.display().to_string())
            .with_hint(
                "add a `backup` section with `enabled`, `provider`, `encrypt` and `recipients`; docs/backup.md shows \
                 one, and `ows backup keygen` makes the key",
            )
    })
}

fn location<'a>(config: &'a Config, backup: &'a BackupConfig) -> Outcome<&'a BackupLocation> {
    backup.location.as_ref().ok_or_else(|| {
        Failure::usage(format!(
            "`{}` does not say where snapshots are",
            backup.key
        ))
        .with_path(config.source.display().to_string())
        .with_hint("set `provider` and `bucket`, or `provider` \"custom\" with a folder; nothing was done")
    })
}

fn settings(config: &Config, retry: RetryOptions) -> Outcome<BackupSettings> {
    let backup = section(config)?;
    let location = location(config, backup)?;
    let counter = CallCounter::new();
    let provider = Remote {
        provider: &location.provider,
        folder: location.folder.as_ref(),
        bandwidth: Bandwidth::default(),
        environment: &config.environment,
        counter: &counter,
        retry,
    }
    .open()?;
    Ok(BackupSettings {
        provider,
        counter,
        own_dir: config.own_dir.clone(),
        state_dir: config.state_dir.clone(),
        workspace: config.workspace.clone(),
        profile: backup.profile.clone(),
        host: host(),
        encryption: backup.encryption.clone(),
        passphrase: backup.passphrase.clone(),
        identities: backup.identities.clone(),
        items: backup.include.clone(),
        exclude: backup.exclude.clone(),
        pair_folder: config.sync.as_ref().map(|sync| sync.local_folder.clone()),
        destination: host_folder(&location.provider, location.folder.as_ref()),
        exclude_caches: backup.exclude_caches,
        cross_mounts: backup.cross_mounts,
        compression: backup.compression,
        volume_size: backup.volume_size,
        retain: policy(&backup.retain)?,
        min_size: backup.min_size,
        heartbeat: backup.heartbeat_url.as_ref().map(|url| Heartbeat {
            url: url.clone(),
            http: http(&location.provider),
        }),
        clock: BackupClock::default(),
    })
}

/// How manifests call this host.
fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

fn policy(retain: &Retain) -> Outcome<Policy> {
    let within = retain.within.map(chrono::Duration::from_std).transpose();
    Ok(Policy {
        last: retain.last,
        hourly: retain.hourly,
        daily: retain.daily,
        weekly: retain.weekly,
        monthly: retain.monthly,
        yearly: retain.yearly,
        within: within.map_err(|error| {
            Failure::usage("`retain.within` is longer than dates reach").with_source(error)
        })?,
    })
}

/// A monitoring service is reached by the same way as the storage. It may stand in the same network without TLS.
fn http(provider: &ProviderConfig) -> HttpOptions {
    let configured = match provider {
        ProviderConfig::S3(s3) => Some(&s3.http),
        ProviderConfig::Dropbox(dropbox) => Some(&dropbox.http),
        ProviderConfig::Gdrive(gdrive) => Some(&gdrive.http),
        ProviderConfig::Onedrive(onedrive) => Some(&onedrive.http),
        ProviderConfig::Off | ProviderConfig::Local { .. } => None,
    };
    HttpOptions {
        ca_file: configured.and_then(|http| http.ca_file.clone()),
        proxy: configured
            .and_then(|http| http.proxy.as_ref())
            .map(|proxy| proxy.expose_secret().to_owned()),
        allow_http: true,
        user_agent: None,
    }
}
