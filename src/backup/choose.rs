//! Which snapshot a command is about.

use std::sync::Arc;

use super::catalog::{AHEAD, Catalog, Legacy, Snapshot};
use super::name::SnapshotName;
use super::settings::BackupSettings;
use crate::error::{Failure, Outcome};

/// Which snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The newest of the profile: never one of the old plugin's, and where this host encrypts never a plain one.
    Latest,
    /// The one of this name, `ows-...` or that of an old plugin's object.
    Name(String),
}

impl Which {
    /// What a person types: a name, or `latest`.
    pub fn parse(text: &str) -> Self {
        match text {
            "latest" => Self::Latest,
            name => Self::Name(name.to_owned()),
        }
    }

    /// What a person must know who asks for the latest: that something newer is there, and why it is not taken.
    pub fn warnings(&self, settings: &BackupSettings, catalog: &Catalog) -> Vec<String> {
        let latest = match self {
            Self::Latest => catalog.latest(&settings.profile, settings.encrypts()),
            Self::Name(_) => None,
        };
        let Some(latest) = latest else {
            return Vec::new();
        };
        // One from the future that is taken is told of by itself.
        let mut warnings = match catalog.is_from_future(latest.name) {
            true => Vec::new(),
            false => catalog.warn_of_future(&settings.profile),
        };
        let newer = (catalog.unusable.iter()).filter(|unusable| unusable.name > latest.name);
        warnings.extend(newer.map(|unusable| {
            let (name, reason) = (unusable.name, &unusable.reason);
            format!("`{name}` is newer and cannot be used: {reason}")
        }));
        warnings
    }
}

/// The snapshot that was meant.
#[derive(Debug, Clone)]
pub enum Chosen {
    /// One of ours.
    Snapshot(Arc<Snapshot>),
    /// One of the old plugin's.
    Legacy(Legacy),
}

impl Chosen {
    /// Finds it in `catalog`.
    pub fn find(settings: &BackupSettings, catalog: &Catalog, which: &Which) -> Outcome<Self> {
        let name = match which {
            Which::Latest => return latest(settings, catalog),
            Which::Name(name) => name,
        };
        if let Some(legacy) = (catalog.legacy.iter()).find(|legacy| legacy.name.as_str() == name) {
            return Ok(Self::Legacy(legacy.clone()));
        }
        let hint = "`ows backup list` shows what there is";
        let parsed: SnapshotName = name.parse().map_err(|error| {
            Failure::usage("no such snapshot")
                .with_hint(hint)
                .with_source(error)
        })?;
        if let Some(snapshot) = catalog.find(parsed) {
            return Ok(Self::Snapshot(Arc::new(snapshot.clone())));
        }
        if let Some(unusable) = (catalog.unusable.iter()).find(|unusable| unusable.name == parsed) {
            return Err(Failure::failed(format!(
                "the snapshot `{parsed}` cannot be used: {}",
                unusable.reason
            ))
            .with_hint("its data may still be whole: RECOVER.txt beside it tells how `age` and `tar` open it"));
        }
        if catalog
            .unlisted
            .iter()
            .any(|unlisted| unlisted.name == parsed)
        {
            return Err(Failure::usage(format!(
                "`{parsed}` has no manifest: it was never finished, or is being made just now"
            ))
            .with_hint(hint));
        }
        Err(Failure::usage(format!(
            "there is no snapshot `{parsed}` in {}",
            catalog.remote.display
        ))
        .with_hint(hint))
    }

    /// Its name.
    pub fn name(&self) -> String {
        match self {
            Self::Snapshot(snapshot) => snapshot.name.to_string(),
            Self::Legacy(legacy) => legacy.name.to_string(),
        }
    }

    /// What a person must know who relies on it.
    pub fn warnings(&self, settings: &BackupSettings) -> Vec<String> {
        let snapshot = match self {
            Self::Legacy(legacy) => {
                let how = match legacy.name.encrypted() {
                    true => "its encryption proves nothing: what was changed may not be noticed",
                    false => "it is not encrypted: whoever can write to the storage can change it",
                };
                return vec![format!(
                    "`{}` is a snapshot of the old plugin; {how}",
                    legacy.name
                )];
            }
            Self::Snapshot(snapshot) => snapshot,
        };
        let mut warnings = Vec::new();
        let clock = settings.provider.clock();
        if snapshot.name.taken_at() > clock.unwrap_or_else(|| settings.clock.now()) + AHEAD {
            warnings.push(format!(
                "`{}` lies in the future: a clock was wrong, or someone put it there",
                snapshot.name
            ));
        }
        if !snapshot.manifest.encryption.is_on() {
            let name = snapshot.name;
            warnings.push(format!(
                "`{name}` is not encrypted: whoever can write to the storage can change it, and nothing would tell"
            ));
        }
        let manifest = &snapshot.manifest;
        if manifest.profile == settings.profile && manifest.host != settings.host {
            warnings.push(format!(
                "it was made on the host `{}`, and this one is `{}`",
                manifest.host.escape_debug(),
                settings.host
            ));
        }
        for (object, fault) in snapshot.faults() {
            warnings.push(format!("`{object}`: {fault}"));
        }
        warnings
    }
}

fn latest(settings: &BackupSettings, catalog: &Catalog) -> Outcome<Chosen> {
    if let Some(snapshot) = catalog.latest(&settings.profile, settings.encrypts()) {
        return Ok(Chosen::Snapshot(Arc::new(snapshot.clone())));
    }
    let (profile, place) = (&settings.profile, &catalog.remote.display);
    let failure = Failure::failed(format!(
        "there is no snapshot of the profile `{profile}` in {place}"
    ));
    Err(match catalog.latest(profile, false) {
        Some(plain) => failure.with_hint(format!(
            "`latest` is never a plain one where backups are encrypted; name it to take it: --snapshot {}",
            plain.name
        )),
        None if !catalog.legacy.is_empty() => failure
            .with_hint("those of the old plugin are taken by name only; `ows backup list` shows them"),
        None => failure.with_hint("`ows backup list` shows what there is; `ows backup now` makes one"),
    })
}
