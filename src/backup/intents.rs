//! What runs that failed or were killed have left behind is removed: exactly what their intents name, and nothing of a
//! snapshot that has a manifest.
//!
//! An intent is durable before the first object of its snapshot is begun and is resolved after its manifest was read back,
//! or after nothing is left of it. A snapshot that is pruned has one too, from before its manifest goes until its data is
//! gone. Where something cannot be removed (credentials without the right to delete, locked objects), the intent stays, and
//! what it names is never listed as a snapshot. It is over once nothing of it is there any more, whoever removed it.

use std::collections::BTreeSet;

use ows_providers::{ErrorKind, Precondition, Provider, RelPath, Result, Upload};

use super::catalog::{Folder, list};
use super::name::{ObjectName, Part, SnapshotName};
use crate::error::Outcome;
use crate::state::{BackupIntent, State};

/// How often an upload is aborted: a part that was on its way may arrive after the first time.
const MOST_ABORTS: usize = 3;

/// What became of the intents of earlier runs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Names of the objects that were removed, and of those whose uploads were given up.
    pub removed: Vec<String>,
    /// Snapshots of which the storage does not let everything go: later runs try again until somebody has removed it.
    pub retained: Vec<String>,
    /// What could not be removed, and why: a later run tries again.
    pub problems: Vec<String>,
}

impl Settled {
    /// What a person should hear of.
    pub fn warnings(self) -> Vec<String> {
        let retained = (!self.retained.is_empty()).then(|| {
            format!(
                "what earlier backups have left, and does not count, could not be removed: the storage does not let it go \
                 (it is locked, or these keys may not delete). `ows backup prune --unlisted` with keys that may removes \
                 what is older than a day: {}",
                self.retained.join(", ")
            )
        });
        self.problems.into_iter().chain(retained).collect()
    }
}

/// Settles the intents of runs that are over. Only whoever holds the lock of the backups may call this.
///
/// # Errors
/// When the database cannot be read or changed. What the provider refuses is told in the answer.
pub async fn settle(provider: &dyn Provider, state: &State, remote: &str) -> Outcome<Settled> {
    let mut settled = Settled::default();
    let intents = state.open_backup_intents(remote).await?;
    if intents.is_empty() {
        return Ok(settled);
    }
    let there = There::look(provider, &intents).await;
    for intent in intents {
        if there.as_ref().is_some_and(|there| there.is_over(&intent)) {
            state.resolve_backup_intent(intent.id).await?;
            continue;
        }
        match settle_one(provider, &intent, &mut settled.removed).await {
            Ok(()) => state.resolve_backup_intent(intent.id).await?,
            Err(error) if error.kind == ErrorKind::Forbidden => {
                settled.retained.push(intent.snapshot.clone());
            }
            Err(error) => settled.problems.push(format!(
                "what a failed run left of the snapshot `{}` could not be removed: {error}; the next run tries again",
                intent.snapshot
            )),
        }
    }
    Ok(settled)
}

/// What the provider shows, asked for once for all intents: without it those of keys that may not delete would cost calls
/// at each run for ever, also when somebody else has removed what they name.
struct There {
    folder: Folder,
    /// `None` where the store tells of no uploads.
    uploads: Option<BTreeSet<RelPath>>,
}

impl There {
    /// `None` when it cannot be found out, or there is something of each intent anyway.
    async fn look(provider: &dyn Provider, intents: &[BackupIntent]) -> Option<Self> {
        let folder = match list(provider).await {
            Ok(folder) => folder,
            // What an intent names is then removed without having been looked at, which fails for the same reason.
            Err(failure) => {
                tracing::debug!(%failure, "what failed runs have left could not be listed");
                return None;
            }
        };
        if intents.iter().all(|intent| is_listed(&folder, intent)) {
            return None;
        }
        let uploads = match provider.list_uploads().await {
            Ok(uploads) => Some(uploads.into_iter().map(|upload| upload.path).collect()),
            // Where there is no such list, or it is not for us, only those that are known can be given up.
            Err(error) if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Forbidden) => {
                None
            }
            Err(error) => {
                tracing::debug!(%error, "the uploads that failed runs have left could not be listed");
                return None;
            }
        };
        Some(Self { folder, uploads })
    }

    /// Whether nothing of the intent is left, neither an object nor an upload.
    fn is_over(&self, intent: &BackupIntent) -> bool {
        let has_upload = |(name, known): (&String, &Option<Upload>)| match &self.uploads {
            Some(uploads) => uploads.iter().any(|path| path.as_str() == name),
            None => known.is_some(),
        };
        !is_listed(&self.folder, intent) && !intent.objects.iter().any(has_upload)
    }
}

/// Whether an object carries the name of the intent's snapshot.
fn is_listed(folder: &Folder, intent: &BackupIntent) -> bool {
    let snapshot = intent.snapshot.parse::<SnapshotName>();
    snapshot.is_ok_and(|snapshot| folder.snapshots.contains_key(&snapshot))
}

async fn settle_one(
    provider: &dyn Provider,
    intent: &BackupIntent,
    removed: &mut Vec<String>,
) -> Result<()> {
    let Ok(snapshot) = intent.snapshot.parse::<SnapshotName>() else {
        tracing::warn!(
            snapshot = intent.snapshot,
            "a stored intent names no snapshot"
        );
        return Ok(());
    };
    if has_manifest(provider, snapshot).await? {
        // It was made whole; only the word that it was did not reach the database.
        return Ok(());
    }
    let ours: Vec<_> = intent
        .objects
        .iter()
        .filter(|(name, _)| {
            matches!(ObjectName::parse(name), ObjectName::Snapshot(of, part)
                if of == snapshot && part != Part::Manifest)
        })
        .filter_map(|(name, upload)| Some((RelPath::new(name).ok()?, upload.as_ref())))
        .collect();
    for upload in known_and_unknown(provider, &ours).await? {
        abort(provider, &upload).await?;
    }
    for (path, _) in &ours {
        provider.delete(path, Precondition::Any).await?;
        removed.push(path.to_string());
    }
    // One that was sent by the run that was killed, and arrived only now: it names what is gone.
    let late = RelPath::new(&snapshot.object(Part::Manifest)).ok();
    if let Some(path) = late.filter(|_| !ours.is_empty())
        && has_manifest(provider, snapshot).await?
    {
        provider.delete(&path, Precondition::Any).await?;
        removed.push(path.to_string());
    }
    Ok(())
}

pub(super) async fn has_manifest(provider: &dyn Provider, snapshot: SnapshotName) -> Result<bool> {
    let Ok(path) = RelPath::new(&snapshot.object(Part::Manifest)) else {
        return Ok(true);
    };
    match provider.stat(&path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The uploads that make these objects. One whose id never reached the database is found in the provider's own list, by
/// the random name of its object.
async fn known_and_unknown(
    provider: &dyn Provider,
    objects: &[(RelPath, Option<&Upload>)],
) -> Result<Vec<Upload>> {
    let mut uploads: Vec<_> = objects
        .iter()
        .filter_map(|(_, upload)| upload.cloned())
        .collect();
    if objects.iter().all(|(_, upload)| upload.is_some()) {
        return Ok(uploads);
    }
    let listed = match provider.list_uploads().await {
        Ok(listed) => listed,
        // Where there is no such list, or it is not for us, an upload that nobody knows is left to the store.
        Err(error) if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Forbidden) => {
            tracing::debug!(%error, "unknown uploads are left to the store");
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let unknown = listed.into_iter().filter(|listed| {
        objects
            .iter()
            .any(|(path, upload)| upload.is_none() && *path == listed.path)
    });
    uploads.extend(unknown.map(|listed| Upload {
        path: listed.path,
        id: listed.id,
        size: None,
        part_size: 0,
        token: String::new(),
    }));
    Ok(uploads)
}

/// Gives an upload up, until the store no longer shows it.
pub(super) async fn abort(provider: &dyn Provider, upload: &Upload) -> Result<()> {
    for _ in 0..MOST_ABORTS {
        provider.abort_upload(upload).await?;
        match provider.list_parts(upload).await {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    tracing::debug!(path = %upload.path, "the store still shows an upload that was aborted");
    Ok(())
}
