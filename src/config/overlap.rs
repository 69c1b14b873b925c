//! Folders that must not overlap, as far as the configuration and the local disk tell.
//!
//! Comparisons are made on real paths: every symbolic link that exists already is followed. What depends on accounts is
//! known at run time only.

use std::path::{Component, Path, PathBuf};

use ows_providers::RelPath;

use super::backup::{BackupConfig, BackupLocation};
use super::check::{Findings, KeyPath};
use super::provider::ProviderConfig;
use super::resolve::same_place;
use super::sync::{Mode, SyncConfig};

/// The places that the checks are about.
#[derive(Debug)]
pub(super) struct Ours<'a> {
    pub(super) workspace: &'a Path,
    pub(super) state_dir: &'a Path,
    pub(super) own_dir: &'a Path,
    pub(super) openclaw_file: &'a Path,
}

/// Checks the pair and fills in its protected paths.
pub(super) fn check_sync(findings: &Findings, config: &mut SyncConfig, ours: &Ours<'_>) {
    let key = |name: &str| KeyPath::verbatim(&config.key).key(name);
    let folder = real(&config.local_folder);
    if !folder.starts_with(real(ours.workspace)) {
        findings.problem(
            &key("localPath"),
            format!(
                "`{}` leaves the workspace through a symbolic link, to `{}`; allowed: a folder within the workspace",
                config.local_folder.display(),
                folder.display()
            ),
        );
        return;
    }
    for (place, what) in [
        (ours.own_dir.to_owned(), "the folder of `ows` itself"),
        (ours.state_dir.join("credentials"), "OpenClaw's credentials"),
    ] {
        if folder.starts_with(real(&place)) {
            findings.problem(
                &key("localPath"),
                format!(
                    "the local folder `{}` lies in {what}, which is never synced; allowed: another workspace or \
                     `localPath`",
                    folder.display()
                ),
            );
            return;
        }
    }
    check_ingest(findings, &key("ingestPath"), config, ours);
    if let ProviderConfig::Local { path } = &config.provider {
        let remote = real(&joined(path, config.remote_path.as_ref()));
        if let Some(how) = overlap(&remote, &folder) {
            findings.problem(
                &key("remotePath"),
                format!(
                    "the remote folder `{}` {how} the local folder `{}`; allowed: folders that do not overlap",
                    remote.display(),
                    folder.display()
                ),
            );
        }
    }
    if let ProviderConfig::Local { path } = &config.provider {
        let remote = real(&joined(path, config.remote_path.as_ref()));
        let own = real(ours.own_dir);
        if let Some(how) = overlap(&remote, &own) {
            findings.problem(
                &key("remotePath"),
                format!(
                    "the remote folder `{}` {how} the folder of `ows`, `{}`: a push would remove the database; allowed: \
                     folders that do not overlap",
                    remote.display(),
                    own.display()
                ),
            );
        }
    }
    match protected(&folder, &config.local_folder, ours) {
        Ok(paths) => config.protected = paths,
        Err(path) => findings.problem(
            &key("localPath"),
            format!(
                "`{}` lies in the local folder and cannot be kept out of it, since its name is no valid UTF-8; \
                 allowed: a local folder that does not hold it",
                path.display()
            ),
        ),
    }
}

/// Checks the folder beside the local one whose files are sent: what is never synced must not be sent either. Where it
/// meets the local folder, the remote one or the state, the guard `overlap` says so.
fn check_ingest(findings: &Findings, key: &KeyPath, config: &SyncConfig, ours: &Ours<'_>) {
    let (Some(name), Some(parent)) = (&config.ingest, config.local_folder.parent()) else {
        return;
    };
    if config.mode != Some(Mode::Mirror) {
        return;
    }
    let folder = real(&parent.join(name.as_str()));
    for (place, what) in [
        (ours.state_dir.join("credentials"), "OpenClaw's credentials"),
        (
            ours.state_dir.join("openclaw.json"),
            "OpenClaw's configuration",
        ),
        (ours.openclaw_file.to_owned(), "OpenClaw's configuration"),
    ] {
        let place = real(&place);
        if let Some(how) = overlap(&folder, &place) {
            findings.problem(
                key,
                format!(
                    "the ingest folder `{}` {how} {what}, `{}`, which is never sent; allowed: a folder beside the local \
                     one that does not overlap with it",
                    folder.display(),
                    place.display()
                ),
            );
            return;
        }
    }
}

/// Checks where snapshots go.
pub(super) fn check_backup(
    findings: &Findings,
    backup: &BackupConfig,
    sync: Option<&SyncConfig>,
    ours: &Ours<'_>,
) {
    let Some(location) = &backup.location else {
        return;
    };
    let key = KeyPath::verbatim(&backup.key).key("remotePath");
    if let ProviderConfig::Local { path } = &location.provider {
        let folder = real(&joined(path, location.folder.as_ref()));
        if folder.starts_with(real(ours.workspace)) {
            findings.problem(
                &key,
                format!(
                    "snapshots would go into the workspace, to `{}`, and into the next snapshot; allowed: a folder \
                     outside of it",
                    folder.display()
                ),
            );
        }
    }
    if let Some(sync) = sync {
        check_locations(findings, &key, location, sync);
    }
}

fn check_locations(
    findings: &Findings,
    key: &KeyPath,
    location: &BackupLocation,
    sync: &SyncConfig,
) {
    let root = Path::new("/");
    let (backup, pair) = match (&location.provider, &sync.provider) {
        (ProviderConfig::Local { path: backup }, ProviderConfig::Local { path: pair }) => (
            real(&joined(backup, location.folder.as_ref())),
            real(&joined(pair, sync.remote_path.as_ref())),
        ),
        (backup, pair) if same_place(backup, pair) => (
            joined(root, location.folder.as_ref()),
            joined(root, sync.remote_path.as_ref()),
        ),
        _ => return,
    };
    if let Some(how) = overlap(&backup, &pair) {
        findings.problem(
            key,
            format!(
                "the folder of the snapshots, `{}`, {how} the remote folder of the sync, `{}`: the sync would remove \
                 snapshots; allowed: folders that do not overlap, or another bucket",
                backup.display(),
                pair.display()
            ),
        );
    }
}

pub(crate) fn overlap(left: &Path, right: &Path) -> Option<&'static str> {
    if left == right {
        Some("is")
    } else if left.starts_with(right) {
        Some("lies in")
    } else if right.starts_with(left) {
        Some("lies around")
    } else {
        None
    }
}

/// What lies below the pair's folder and is never synced, both by its real path and by the one it was given with.
fn protected(real_folder: &Path, folder: &Path, ours: &Ours<'_>) -> Result<Vec<RelPath>, PathBuf> {
    let mut paths = Vec::new();
    for place in [
        ours.own_dir.to_owned(),
        ours.state_dir.join("openclaw.json"),
        ours.openclaw_file.to_owned(),
        ours.state_dir.join("credentials"),
    ] {
        // The name itself counts even where it is a link: the link's target may be named elsewhere in the folder.
        let by_name = match (place.parent(), place.file_name()) {
            (Some(parent), Some(name)) => real(parent).join(name),
            _ => real(&place),
        };
        for (base, path) in [
            (real_folder, real(&place)),
            (real_folder, by_name),
            (folder, place.clone()),
        ] {
            let Ok(below) = path.strip_prefix(base) else {
                continue;
            };
            let below = below
                .to_str()
                .and_then(|text| RelPath::new(text).ok())
                .ok_or(path.clone())?;
            if !paths.contains(&below) {
                paths.push(below);
            }
        }
    }
    Ok(paths)
}

fn joined(path: &Path, folder: Option<&RelPath>) -> PathBuf {
    match folder {
        Some(folder) => path.join(folder.as_str()),
        None => path.to_owned(),
    }
}

/// The path with the links resolved as far as it exists, and `..` removed from the rest.
pub(crate) fn real(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let Ok(mut resolved) = ancestor.canonicalize() {
            let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
            for component in rest.components() {
                match component {
                    Component::ParentDir => {
                        resolved.pop();
                    }
                    Component::Normal(name) => resolved.push(name),
                    _ => {}
                }
            }
            return resolved;
        }
    }
    path.to_owned()
}
