//! What a prune is going to do, as a value.

use std::collections::BTreeMap;

use ows_providers::{Entry, Version};

use super::{Kept, PruneOptions, Pruned};
use crate::backup::catalog::{Catalog, Snapshot};
use crate::backup::name::{Part, SnapshotName};
use crate::backup::retention::{Policy, Reason, decide};
use crate::backup::settings::BackupSettings;
use crate::backup::unlisted::Leftover;

/// What is to be removed, in this order.
#[derive(Debug, Clone, Default)]
pub struct PrunePlan {
    pub(super) kept: Vec<Kept>,
    pub(super) snapshots: Vec<Going>,
    /// Objects of the old plugin.
    pub(super) objects: Vec<Entry>,
    /// What belongs to no snapshot.
    pub(super) unlisted: BTreeMap<SnapshotName, Leftover>,
    pub(super) warnings: Vec<String>,
}

/// A snapshot that goes.
#[derive(Debug, Clone)]
pub(super) struct Going {
    pub(super) name: SnapshotName,
    pub(super) manifest_version: Option<Version>,
    /// All its objects but the manifest.
    pub(super) objects: BTreeMap<String, Entry>,
}

impl PrunePlan {
    /// Decides what goes. `just_made` is the snapshot that this run has made.
    pub fn new(
        catalog: &Catalog,
        settings: &BackupSettings,
        options: &PruneOptions,
        just_made: Option<SnapshotName>,
    ) -> Self {
        let mut plan = Self::default();
        plan.judge(catalog, settings, just_made);
        if options.legacy {
            plan.judge_legacy(catalog, &settings.retain);
        }
        plan
    }

    fn judge(
        &mut self,
        catalog: &Catalog,
        settings: &BackupSettings,
        just_made: Option<SnapshotName>,
    ) {
        let of_profile = catalog
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.manifest.profile == settings.profile);
        let (whole, broken): (Vec<_>, Vec<_>) =
            of_profile.partition(|snapshot| snapshot.faults().is_empty());
        if let Some(unread) = catalog.unusable.iter().find(|unusable| unusable.unread) {
            let why = format!(
                "nothing is pruned while the manifest of `{}` cannot be fetched: which profile it belongs to is not known",
                unread.name
            );
            self.warnings.push(why.clone());
            self.kept
                .extend(whole.iter().chain(&broken).map(|snapshot| Kept {
                    name: snapshot.name.to_string(),
                    reasons: vec![why.clone()],
                }));
            self.kept.sort_by(|a, b| b.name.cmp(&a.name));
            return;
        }
        self.kept.extend(broken.into_iter().map(|snapshot| Kept {
            name: snapshot.name.to_string(),
            reasons: vec![
                "not all of its objects are there: look at it before you remove it".to_owned(),
            ],
        }));
        let (whole, plain): (Vec<_>, Vec<_>) = whole
            .into_iter()
            .partition(|snapshot| snapshot.manifest.encryption.is_on() || !settings.encrypts());
        self.kept.extend(plain.into_iter().map(|snapshot| Kept {
            name: snapshot.name.to_string(),
            reasons: vec![
                "not encrypted, and this host encrypts: look at it before you remove it".to_owned(),
            ],
        }));
        let times = whole
            .iter()
            .map(|snapshot| (snapshot.name.taken_at(), snapshot.name));
        for verdict in decide(
            times,
            &settings.retain,
            catalog.horizon(),
            just_made.as_ref(),
        ) {
            if verdict.stays() {
                self.kept.push(Kept {
                    name: verdict.snapshot.to_string(),
                    reasons: words(&verdict.reasons),
                });
            } else if let Some(snapshot) = catalog.find(verdict.snapshot) {
                self.snapshots.push(Going::from(snapshot));
            }
        }
        self.kept.sort_by(|a, b| b.name.cmp(&a.name));
    }

    fn judge_legacy(&mut self, catalog: &Catalog, policy: &Policy) {
        let times = catalog
            .legacy
            .iter()
            .filter_map(|legacy| Some((legacy.name.taken_at()?, legacy.name.clone())));
        for verdict in decide(times, policy, catalog.horizon(), None) {
            let reasons = words(&verdict.reasons);
            let found = catalog
                .legacy
                .iter()
                .find(|legacy| legacy.name == verdict.snapshot);
            match found {
                Some(legacy) if reasons.is_empty() => self.objects.push(legacy.entry.clone()),
                _ => self.kept.push(Kept {
                    name: verdict.snapshot.to_string(),
                    reasons,
                }),
            }
        }
        let timeless = catalog
            .legacy
            .iter()
            .filter(|legacy| legacy.name.taken_at().is_none());
        self.kept.extend(timeless.map(|legacy| Kept {
            name: legacy.name.to_string(),
            reasons: vec!["its name tells no time".to_owned()],
        }));
    }

    /// What it would do.
    pub fn show(&self) -> Pruned {
        let snapshots = self.snapshots.iter().map(|going| going.name.to_string());
        let left = || self.unlisted.values();
        let objects = self
            .objects
            .iter()
            .chain(left().flat_map(|left| &left.objects));
        let uploads = left().flat_map(|left| &left.uploads);
        let uploads = uploads.map(|upload| upload.path.to_string());
        let of_snapshots = self.snapshots.iter().map(Going::size);
        Pruned {
            kept: self.kept.clone(),
            removed: snapshots
                .chain(objects.clone().map(|entry| entry.path.to_string()))
                .chain(uploads)
                .collect(),
            retained: Vec::new(),
            freed: of_snapshots
                .chain(objects.map(|entry| entry.size))
                .fold(0, u64::saturating_add),
            warnings: Vec::new(),
        }
    }
}

fn words(reasons: &[Reason]) -> Vec<String> {
    reasons
        .iter()
        .map(|reason| reason.describe().to_owned())
        .collect()
}

impl From<&Snapshot> for Going {
    fn from(snapshot: &Snapshot) -> Self {
        let mut objects = snapshot.objects.clone();
        objects.remove(&snapshot.name.object(Part::Manifest));
        Self {
            name: snapshot.name,
            manifest_version: snapshot.manifest_version.clone(),
            objects,
        }
    }
}

impl Going {
    fn size(&self) -> u64 {
        self.objects
            .values()
            .fold(0, |sum, entry| sum.saturating_add(entry.size))
    }
}
