//! From the checked configuration to a pair that can be synced.

use ows_providers::layers::{CallCounter, RetryOptions};

use super::{FirstSync, PairSettings, SyncMode};
use crate::config::{self, Config, Mode, ProviderConfig, SyncConfig};
use crate::error::{Failure, Outcome};
use crate::plan::{Resolve, Side};
use crate::remote::{Remote, host_folder, impatient};

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
    let sync = sync_section(config)?;
    let mode = match sync.mode {
        Some(Mode::Mirror) => SyncMode::Mirror,
        Some(Mode::Bisync) => SyncMode::Bisync,
        Some(Mode::Mailbox) | None => SyncMode::Mailbox,
    };
    settings(config, sync, mode, impatient())
}

fn settings(
    config: &Config,
    sync: &SyncConfig,
    mode: SyncMode,
    retry: RetryOptions,
) -> Outcome<PairSettings> {
    let counter = CallCounter::new();
    if matches!(sync.provider, ProviderConfig::Off) {
        return Err(switched_off(sync));
    }
    let provider = Remote {
        provider: &sync.provider,
        folder: sync.remote_path.as_ref(),
        bandwidth: sync.bandwidth,
        environment: &config.environment,
        counter: &counter,
        retry,
    }
    .open()?;
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
