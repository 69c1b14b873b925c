//! What is found out before anything is stored, and all of it that a dry run does.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::tell::{tell_catalog, tell_left_out, tell_missing};
use super::{Begun, Made};
use crate::backup::catalog::Catalog;
use crate::backup::database::Spool;
use crate::backup::drill;
use crate::backup::items::{ItemPlaces, Items};
use crate::backup::scan::{FoundKind, Scan, ScanOptions};
use crate::backup::seal::Seal;
use crate::backup::settings::BackupSettings;
use crate::cancel::Cancel;
use crate::error::{Failure, Outcome};
use crate::pattern::Patterns;
use crate::report::Report;

/// The time in the new snapshot's name: now, but a second after the newest one of the profile where that was made in this very
/// second or by a clock a little ahead. So the order of the names is the order in which they were made, not that of their
/// random endings.
pub(super) fn time_of_next(catalog: &Catalog, profile: &str) -> DateTime<Utc> {
    let newest = catalog.newest(profile, false);
    let after = newest.map(|newest| newest.name.taken_at() + chrono::Duration::seconds(1));
    after.map_or(catalog.read_at, |after| {
        after.max(catalog.read_at).min(catalog.horizon())
    })
}

/// Walks and counts.
pub(super) async fn dry_run(
    settings: &BackupSettings,
    cancel: &Cancel,
    report: &mut Report,
    made: &mut Made,
) -> Outcome<()> {
    Seal::new(&settings.encryption)?;
    let patterns = patterns(settings)?;
    let provider = settings.provider.as_ref();
    let reading = cancel.unless_stopped(Catalog::read(provider, None)).await;
    let catalog = reading.unwrap_or_else(|| Err(cancel.failure()))?;
    tell_catalog(&catalog, settings, report);
    let items = find_items(settings).await?;
    tell_missing(&items, made, report);
    let options = ScanOptions {
        patterns,
        exclude_caches: settings.exclude_caches,
        cross_mounts: settings.cross_mounts,
        spool: None,
    };
    let stopped = cancel.clone();
    let counting = tokio::task::spawn_blocking(move || {
        let mut scan = Scan::new(items, options);
        let (mut files, mut bytes) = (0_u64, 0_u64);
        for found in &mut scan {
            if stopped.is_stopped() {
                break;
            }
            if found.kind == FoundKind::File {
                files += 1;
                bytes = bytes.saturating_add(found.size());
            }
        }
        (files, bytes, scan.left_out().clone())
    });
    let (files, bytes, left_out) = counting
        .await
        .map_err(|error| Failure::failed("an internal error ended the walk").with_source(error))?;
    if cancel.is_stopped() {
        return Err(cancel.failure());
    }
    (made.files, made.bytes_read) = (files, bytes);
    tell_left_out(&left_out, made, report);
    Ok(())
}

pub(super) async fn find_items(settings: &BackupSettings) -> Outcome<Items> {
    let include = settings.items.clone();
    let places = ItemPlaces {
        workspace: settings.workspace.clone(),
        state_dir: settings.state_dir.clone(),
        own_dir: settings.own_dir.clone(),
        pair: settings.pair_folder.clone(),
        destination: settings.destination.clone(),
    };
    tokio::task::spawn_blocking(move || Items::find(&include, &places))
        .await
        .map_err(|error| Failure::failed("an internal error ended the search").with_source(error))?
}

pub(super) fn patterns(settings: &BackupSettings) -> Outcome<Patterns> {
    Patterns::new(&settings.exclude).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Failure::usage(errors.join("; ")).with_hint("correct `exclude`; nothing was done")
    })
}

/// Where databases are copied to. Without it they are stored as they are, and counted.
pub(super) async fn spool(settings: &BackupSettings, report: &mut Report) -> Option<Spool> {
    let own_dir: PathBuf = settings.own_dir.clone();
    let opened = tokio::task::spawn_blocking(move || {
        // What a killed drill had restored is not to lie about until the next one.
        drill::sweep(&own_dir);
        Spool::open(&own_dir)
    })
    .await;
    let why = match opened {
        Ok(Ok(spool)) => return Some(spool),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    report.warnings.push(format!(
        "databases cannot be copied to `{}` first, and are stored as their files are: {why}",
        settings.own_dir.display()
    ));
    None
}

/// Items that the last snapshot of the profile held and that are gone. A plain one that somebody planted hides none.
pub(super) fn newly_missing(begun: &Begun, settings: &BackupSettings) -> Vec<String> {
    let last = begun.catalog.latest(&settings.profile, settings.encrypts());
    let missing = begun.items.missing.iter().map(|item| item.name());
    missing
        .filter(|name| last.is_some_and(|last| last.manifest.items.iter().any(|held| held == name)))
        .map(str::to_owned)
        .collect()
}
