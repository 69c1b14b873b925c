//! `backup restore`: a snapshot, or some paths of it, into a folder.
//!
//! All of it is read from begin to end, in constant memory: the download runs ahead on tokio, one thread opens and inflates,
//! one creates files, and hashes and writes the long ones, a few do that for short ones. A few paths are fetched by ranges
//! instead ([`super::pick`]), where the index tells where they lie, and so is what stands behind damage. Every file is
//! compared with the index; without one, or with one that is damaged, restoring goes on with a warning.
//!
//! Until all of it is there and right, a file [`PARTIAL`](super::extract::PARTIAL) marks the target.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use chrono::{DateTime, Utc};

use super::catalog::Catalog;
use super::entry::{AskedPath, EntryKind, SnapshotEntry};
use super::extract::{
    ExtractError, ExtractOptions, Extracted, Extractor, INCOMPLETE, LOST, Proof, with_causes,
};
use super::impaired::{Impaired, Noting};
use super::index::IndexError;
use super::manifest::ProblemClass;
use super::pick;
use super::settings::BackupSettings;
use super::source::{
    Chosen, ObjectCheck, Source, SourceError, Which, failure, is_about_keys, is_network,
};
use super::target::{aside_for, is_taken_back, look_at, make_private};
use crate::cancel::Cancel;
use crate::error::{Failure, Outcome};
use crate::report::Reporter;

/// What is restored, and where to.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Which snapshot.
    pub snapshot: Which,
    /// Into which folder; `<state>/.backup-restore/<snapshot>/` when `None`.
    pub to: Option<PathBuf>,
    /// Only these archive paths and what lies below them; everything when empty.
    pub only: Vec<AskedPath>,
    /// Nothing is written.
    pub dry_run: bool,
    /// Restore into a folder that holds something, and move aside what is replaced.
    pub overwrite: bool,
}

/// How a restore went.
#[derive(Debug)]
pub struct Restored {
    /// The snapshot.
    pub snapshot: String,
    /// Into which folder.
    pub target: PathBuf,
    /// Where what was replaced is now, when something was.
    pub replaced: Option<PathBuf>,
    /// Nothing was written: the counts are of what would be.
    pub dry_run: bool,
    /// What was done, and what is bad.
    pub done: Extracted,
    /// An object is not what was stored, or the index does not belong to the archive: nothing that was proven of the snapshot
    /// before holds. What stood in the way in the target says less.
    pub is_damaged: bool,
    /// What a person must know.
    pub warnings: Vec<String>,
}

impl Restored {
    /// Whether all of it is there, and every file is what the index says.
    pub fn is_whole(&self) -> bool {
        self.done.bad_count == 0
    }
}

/// Restores.
///
/// # Errors
/// When nothing can be restored, the target is refused, or the run was stopped or lost the storage in the middle: what was
/// restored so far stays, marked as partial. Damage is no error: what is bad is listed, and the rest is restored.
pub async fn restore(
    settings: &BackupSettings,
    catalog: &Catalog,
    options: RestoreOptions,
    reporter: Arc<dyn Reporter>,
    cancel: &Cancel,
) -> Outcome<Restored> {
    let source = Source::choose(settings, catalog, &options.snapshot, reporter, cancel)?;
    let now = settings.clock.now();
    let target = options.to.clone().unwrap_or_else(|| {
        let name = source.chosen.name();
        settings.state_dir.join(".backup-restore").join(name)
    });
    let mut warnings = options.snapshot.warnings(settings, catalog);
    warnings.extend(source.chosen.warnings(settings));
    let stopped = cancel.clone();
    blocking(move || {
        let mut job = Job {
            source,
            options,
            target,
            warnings,
            faults: Vec::new(),
            is_damaged: false,
            cancel: stopped,
        };
        job.run(now)
    })
    .await
}

/// Runs `work` on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(Failure::failed("the run was stopped").with_source(error)),
        },
    }
}

/// What vouches for the files, and whether it is itself what the manifest names.
type Vouching = (Option<Box<dyn Proof>>, Vec<ObjectCheck>);

/// What the extractor says of a hard link to what it did not restore.
const NO_SOURCE: &str = "the file that it is another name of was not restored";

/// Said when the target is as it was.
const NOTHING: &str = "nothing was restored";

/// Puts `hint` before what the failure has.
fn add_hint(error: Failure, hint: &str) -> Failure {
    let hint = match &error.hint {
        Some(before) => format!("{hint}; {before}"),
        None => hint.to_owned(),
    };
    error.with_hint(hint)
}

struct Job {
    source: Source,
    options: RestoreOptions,
    target: PathBuf,
    warnings: Vec<String>,
    /// What is wrong about the whole.
    faults: Vec<String>,
    /// What [`Restored::is_damaged`] says.
    is_damaged: bool,
    cancel: Cancel,
}

impl Job {
    fn run(&mut self, now: DateTime<Utc>) -> Outcome<Restored> {
        let is_new = look_at(&self.target, self.options.overwrite)?;
        let impaired = Impaired::default();
        if self.options.dry_run {
            let done = self.rehearse(&impaired)?;
            if done.is_nothing_of(self.options.only.len()) {
                return Err(self.no_such_path());
            }
            return Ok(self.restored(done, None, &impaired));
        }
        let picked = self.pick().map_err(|error| add_hint(error, NOTHING))?;
        if (picked.as_ref())
            .is_some_and(|picked| picked.entries.is_empty() && picked.fault.is_none())
        {
            return Err(self.no_such_path());
        }
        let shown = self.target.display().to_string();
        let unusable = |error| {
            Failure::failed(format!("could not make the folder `{shown}`")).with_source(error)
        };
        make_private(&self.target).map_err(unusable)?;
        let target = Dir::open_ambient_dir(&self.target, ambient_authority()).map_err(unusable)?;
        let aside = match is_new {
            true => None,
            false => Some(aside_for(&self.target, &target, now)?),
        };
        let aside_dir = aside.as_ref().map(|(_, dir)| dir);
        let result = self.extract(&target, aside_dir, picked, &impaired);
        // A folder in which nothing was put says nothing.
        let replaced = aside.and_then(|(path, _)| match fs::remove_dir(&path) {
            Ok(()) => None,
            Err(_) => Some(path),
        });
        let done = result.map_err(|error| {
            // With a wrong key, say, nothing was begun, and the next try should find the place free.
            match is_new && is_taken_back(&self.target) {
                true => add_hint(error, NOTHING),
                false => {
                    let shown = self.target.display();
                    add_hint(error, &format!("`{shown}` is partial, and marked as such"))
                }
            }
        })?;
        let is_nothing = done.is_nothing_of(self.options.only.len());
        if is_new && (is_nothing || done.bad_count > 0) {
            // What cannot be removed stays as it is, marked.
            let _is_gone = is_taken_back(&self.target);
        }
        if is_nothing {
            return Err(self.no_such_path());
        }
        Ok(self.restored(done, replaced, &impaired))
    }

    /// Said when nothing that was asked for is there: most often a slip of the pen.
    fn no_such_path(&self) -> Failure {
        let name = self.source.chosen.name();
        let what = match self.options.only.as_slice() {
            [_] => "no such path",
            _ => "none of these paths",
        };
        let asked: Vec<_> = self.options.only.iter().map(AskedPath::to_string).collect();
        Failure::usage(format!("the snapshot `{name}` holds {what}; {NOTHING}"))
            .with_path(asked.join(", "))
            .with_hint(format!("`ows backup ls {name}` shows which paths it holds"))
    }

    fn restored(
        &mut self,
        done: Extracted,
        replaced: Option<PathBuf>,
        impaired: &Impaired,
    ) -> Restored {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.extend(impaired.take());
        if done.unproven > 0 {
            warnings.push(format!(
                "{} of the files are as the archive has them, without an index that vouches for them",
                done.unproven
            ));
        }
        if done.links_outside > 0 {
            warnings.push(format!(
                "{} symbolic links point out of the target; nothing was written through them",
                done.links_outside
            ));
        }
        Restored {
            snapshot: self.source.chosen.name(),
            target: self.target.clone(),
            replaced,
            dry_run: self.options.dry_run,
            done,
            is_damaged: self.is_damaged,
            warnings,
        }
    }

    fn extract(
        &mut self,
        target: &Dir,
        aside: Option<&Dir>,
        picked: Option<pick::Picked>,
        impaired: &Impaired,
    ) -> Outcome<Extracted> {
        let failed = |cancel: &Cancel, error: ExtractError| {
            failure(
                "the restore did not come to its end".to_owned(),
                error,
                cancel,
            )
        };
        let aside = aside
            .map(Dir::try_clone)
            .transpose()
            .map_err(|error| Failure::failed("the system reported an error").with_source(error))?;
        let mut options = ExtractOptions {
            only: self.options.only.clone(),
            aside,
            ..ExtractOptions::default()
        };
        if let Chosen::Snapshot(snapshot) = &self.source.chosen {
            options.most_paths = Some(snapshot.manifest.totals.paths());
            options.most_bytes = Some(snapshot.manifest.totals.bytes);
        }
        if let Some(picked) = picked {
            let Chosen::Snapshot(snapshot) = &self.source.chosen else {
                return Err(Failure::failed("a snapshot of the old plugin has no index"));
            };
            picked.entries.iter().for_each(|entry| impaired.look(entry));
            let mut extractor =
                Extractor::new(target, options).map_err(|error| failed(&self.cancel, error))?;
            if let Some(fault) = &picked.fault {
                extractor.note("", fault);
            }
            return pick::restore(&self.source, snapshot, &picked, &mut extractor)
                .and_then(|()| extractor.finish())
                .map_err(|error| failed(&self.cancel, error));
        }
        let (proof, mut checks) = self.proof(impaired)?;
        let has_proof = proof.is_some();
        options.proof = proof;
        let mut extractor =
            Extractor::new(target, options).map_err(|error| failed(&self.cancel, error))?;
        for number in 1..=self.source.volumes() {
            match self.volume(number, &mut extractor) {
                Ok(check) => checks.extend(check),
                Err(error) => return Err(failed(&self.cancel, error)),
            }
        }
        self.rescue(&mut extractor)
            .map_err(|error| failed(&self.cancel, error))?;
        let mut faults = std::mem::take(&mut self.faults);
        faults.extend(checks.iter().filter_map(ObjectCheck::fault));
        self.is_damaged |= !faults.is_empty();
        for fault in &faults {
            extractor.note("", fault);
        }
        let mut done = extractor
            .finish()
            .map_err(|error| failed(&self.cancel, error))?;
        if !self.options.only.is_empty() {
            tell_links_out(&mut done);
        }
        // From where the archive is not what the index says, nothing vouches for the files.
        self.is_damaged |= has_proof && done.unproven > 0;
        Ok(done)
    }

    /// Restores what lies behind damage by its places, as far as the blocks there are whole.
    fn rescue(&self, extractor: &mut Extractor<'_>) -> Result<(), ExtractError> {
        let lost = extractor.take_lost();
        let Chosen::Snapshot(snapshot) = &self.source.chosen else {
            return Ok(());
        };
        if lost.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = lost.iter().map(|entry| entry.path.to_string()).collect();
        match pick::pick_lost(&self.source, lost) {
            Ok(Some(picked)) => pick::restore(&self.source, snapshot, &picked, extractor),
            // What is wrong about the index was told when it was read with the data.
            Ok(None) | Err(_) => {
                for name in names {
                    extractor.note(&name, LOST);
                }
                Ok(())
            }
        }
    }

    /// Restores one volume. Damage is noted, and the next one is another object; what ends the run is an error.
    fn volume(
        &mut self,
        number: u32,
        extractor: &mut Extractor<'_>,
    ) -> Result<Option<ObjectCheck>, ExtractError> {
        let object = self.source.volume_name(number);
        let volume = match self.source.volume(number) {
            Ok(volume) => volume,
            Err(error)
                if !is_network(&error)
                    && !is_about_keys(&error)
                    && !matches!(error, SourceError::Thread(_)) =>
            {
                self.is_damaged = true;
                extractor.lose(&object, &error);
                return Ok(None);
            }
            Err(error) => {
                return Err(ExtractError::Archive {
                    after: None,
                    source: super::untar::TarError::Io {
                        at: 0,
                        source: io::Error::other(error),
                    },
                });
            }
        };
        match extractor.volume(volume.tar) {
            Ok(()) => Ok(Some(volume.check)),
            Err(error @ ExtractError::Archive { .. }) if !is_network(&error) => {
                self.is_damaged = true;
                extractor.lose(&object, &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What to fetch by ranges; `None` where reading all of it is better, or all there is.
    fn pick(&mut self) -> Outcome<Option<pick::Picked>> {
        let Chosen::Snapshot(snapshot) = &self.source.chosen else {
            return Ok(None);
        };
        if self.options.only.is_empty() {
            return Ok(None);
        }
        match pick::pick(&self.source, &self.options.only) {
            // Half of it in pieces takes longer than all of it at once. But what is another name of a file that was not
            // asked for is there only by its place.
            Ok(Some(picked))
                if picked.bytes() > snapshot.manifest.tar_size() / 2 && !picked.has_links_out =>
            {
                Ok(None)
            }
            Ok(picked) => Ok(picked),
            Err(error) => self.without_index(error).map(|()| None),
        }
    }

    /// The index as what vouches for the files.
    fn proof(&mut self, impaired: &Impaired) -> Outcome<Vouching> {
        match self.source.index() {
            Ok(None) => Ok((None, Vec::new())),
            Ok(Some(index)) => {
                let proof = Noting {
                    proof: index.reader,
                    impaired: impaired.clone(),
                };
                Ok((Some(Box::new(proof)), vec![index.check]))
            }
            Err(error) => self.without_index(error).map(|()| (None, Vec::new())),
        }
    }

    /// Goes on without an index, with a warning, unless that is the network's fault or the key's.
    fn without_index(
        &mut self,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Outcome<()> {
        if is_network(&error) || is_about_keys(&error) {
            let message = "the index could not be read".to_owned();
            return Err(failure(message, error, &self.cancel));
        }
        let index_error = super::source::find(&error);
        // Nobody loses an index and finds another one by accident.
        let exchanged = matches!(index_error, Some(IndexError::Swapped { .. }));
        self.is_damaged |= !matches!(index_error, Some(IndexError::Newer { .. }));
        let warning = format!(
            "the index cannot be used, so nothing vouches for single files: {}",
            with_causes(&error)
        );
        if exchanged {
            self.faults = vec![with_causes(&error)];
        }
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
        Ok(())
    }

    /// Counts what would be restored: from the index, or from the data where there is none.
    fn rehearse(&mut self, impaired: &Impaired) -> Outcome<Extracted> {
        let mut done = Extracted::default();
        let mut met = vec![false; self.options.only.len()];
        let only = self.options.only.clone();
        let from = super::contents::each(&self.source, &mut |entry| {
            if super::extract::wanted(&only, &mut met, &entry.path) {
                impaired.look(entry);
                if entry.problem == Some(ProblemClass::Unreadable) {
                    done.note(&entry.path.to_string(), INCOMPLETE);
                }
                count(&mut done, entry);
            }
        })
        .map_err(|error| {
            failure(
                "the snapshot could not be read".to_owned(),
                error,
                &self.cancel,
            )
        })?;
        self.warnings.extend(from.warnings);
        for (object, error) in from.lost {
            done.note(&object, &with_causes(&error));
        }
        for (only, met) in only.iter().zip(met) {
            if !met {
                done.note_missing(&only.to_string());
            }
        }
        Ok(done)
    }
}

/// Says what helps where the first name of a file was not restored: most often it was not asked for.
fn tell_links_out(done: &mut Extracted) {
    for bad in &mut done.bad {
        if bad.message == NO_SOURCE {
            bad.message
                .push_str(": `ows backup ls` shows which it is, name it with --path too");
        }
    }
}

fn count(done: &mut Extracted, entry: &SnapshotEntry) {
    match &entry.kind {
        EntryKind::File { size, .. } => {
            done.files += 1;
            done.bytes = done.bytes.saturating_add(*size);
        }
        EntryKind::Dir => done.dirs += 1,
        EntryKind::Symlink { .. } => done.symlinks += 1,
        EntryKind::HardLink { .. } => done.hard_links += 1,
    }
}
