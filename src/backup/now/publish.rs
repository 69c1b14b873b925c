//! The last step: the manifest, by which a snapshot begins to exist.

use ows_providers::{Entry, Provider, RelPath};

use crate::backup::catalog::{self, Catalog, Snapshot, faults, read_whole};
use crate::backup::manifest::Manifest;
use crate::backup::name::{Part, SnapshotName};
use crate::backup::sink::put_new;
use crate::error::{Failure, FailureKind, Outcome};

/// Looks once more at all that the manifest is going to name. Each object was looked at when it was stored, but that may be days
/// ago, and what has no manifest is removed by whoever takes it for left over.
pub(super) async fn require_there(provider: &dyn Provider, manifest: &Manifest) -> Outcome<()> {
    let mut folder = catalog::list(provider).await?;
    let objects = folder.snapshots.remove(&manifest.snapshot);
    match faults(manifest, &objects.unwrap_or_default()).first() {
        None => Ok(()),
        Some((name, fault)) => Err(Failure::failed(format!(
            "an object of the snapshot is not there as it was stored: {fault}"
        ))
        .with_path(name.clone())
        .with_hint(
            "something else removed or replaced it while the backup was made, such as `ows backup prune --unlisted` on \
             another host; no snapshot was made, run again",
        )),
    }
}

/// Stores the manifest only if absent, and reads it back. An answer that was lost is no failure when what is there is ours.
pub(super) async fn write_manifest(provider: &dyn Provider, manifest: &Manifest) -> Outcome<()> {
    let failed = |message: &str| {
        Failure::failed(message)
            .with_path(manifest.snapshot.object(Part::Manifest))
            .with_hint("without its manifest a snapshot does not exist; run again")
    };
    let path = RelPath::new(&manifest.snapshot.object(Part::Manifest))
        .map_err(|error| failed("the manifest has no usable name").with_source(error))?;
    let bytes = manifest
        .write()
        .map_err(|error| failed("the manifest cannot be written").with_source(error))?;
    let put: Result<Entry, _> = put_new(provider, &path, bytes.clone().into()).await;
    let found = read_whole(provider, &path).await;
    match (put, found) {
        (_, Ok(found)) if found == bytes => Ok(()),
        (Err(error), _) => Err(failed("could not store the manifest").with_source(error)),
        (Ok(_), Ok(_)) => Err(failed(
            "the manifest is not what was stored when it is read back",
        )),
        (Ok(_), Err(error)) => Err(failed("could not read the manifest back").with_source(error)),
    }
}

/// The listing that is read for pruning also shows whether the new snapshot is whole, now that everybody can see that it exists.
pub(super) fn require_whole(catalog: &Catalog, name: SnapshotName) -> Outcome<()> {
    let found = catalog.find(name).map(Snapshot::faults);
    match found.unwrap_or_default().first() {
        None => Ok(()),
        Some((object, fault)) => Err(Failure::new(
            FailureKind::Partial,
            format!("the snapshot `{name}` was made and is not whole any more: {fault}"),
        )
        .with_path(object.clone())
        .with_hint("something else removed or replaced it; nothing was pruned, run again")),
    }
}
