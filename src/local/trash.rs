//! The local trash: `.ows/trash/<run>/<path>`.
//!
//! Content moves there by a rename, which needs no space. Nothing there is ever overwritten: when a run displaces the
//! same path twice, or a file where a folder was, the second goes to `<run>.2`, and so on, so that every path in the trash
//! stays the one that it had.

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use chrono::{DateTime, NaiveDateTime, Utc};
use ows_providers::RelPath;
use ows_providers::folder::{Kind, Stat, Step, Walk, WalkOptions, name};

use super::error::Context;
use super::write::{is_exactly, prove_content};
use super::{
    Displace, LocalError, LocalErrorKind, LocalFolder, absent_is_none, own_path, refuse_own,
};
use crate::tree::LocalFingerprint;

/// How often one run may displace the same path.
const MAX_SLOTS: u32 = 1000;

/// The names of runs begin with a time of this form.
const RUN_TIME: &str = "%Y%m%dT%H%M%SZ";

/// A file in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// The run that displaced it.
    pub run: String,
    /// Its original path.
    pub path: RelPath,
    /// Its length in bytes.
    pub size: u64,
    /// Its modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Where it lies now, below the local folder.
    pub place: RelPath,
}

/// What the trash holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrashTotals {
    /// Files.
    pub files: u64,
    /// Their length in bytes.
    pub bytes: u64,
}

/// A free place in the trash.
pub(super) struct Slot {
    pub(super) dir: Dir,
    pub(super) name: OsString,
    folder: LocalFolder,
    place: RelPath,
    is_kept: bool,
}

/// The places that are about to be used. Files give way side by side, and the folders above a place that one of them has
/// no more use for may have been made for another, so empty folders go when no place is open.
#[derive(Debug, Default)]
pub(super) struct OpenSlots(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    open: usize,
    /// Places that hold nothing in the end.
    unused: Vec<RelPath>,
}

impl OpenSlots {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalFolder {
    /// Removes a file, if it is still what was observed; by default into the trash of the run. The answer is where in the
    /// folder it lies now.
    ///
    /// # Errors
    /// [`LocalErrorKind::Changed`] or [`LocalErrorKind::NotFound`] when the file is not as expected,
    /// [`LocalErrorKind::InUse`] when it is a live database, whose last changes are in its other half, and what the system
    /// says; the file is where it was then.
    pub fn remove(
        &self,
        path: &RelPath,
        run: &str,
        expected: &LocalFingerprint,
        displaced: Displace,
    ) -> Result<Option<RelPath>, LocalError> {
        const DOING: &str = "remove";
        refuse_own(path, DOING)?;
        let (dir, last) = self.root.parent(path).at(DOING, path)?;
        let look = || -> Result<Stat, LocalError> {
            let stat = name::lstat(&dir, last)
                .at(DOING, path)?
                .ok_or_else(|| LocalError::new(LocalErrorKind::NotFound, DOING, path))?;
            if is_exactly(&stat, expected) {
                Ok(stat)
            } else {
                Err(LocalError::new(LocalErrorKind::Changed, DOING, path))
            }
        };
        look()?;
        if self.is_live_database(path)? {
            return Err(LocalError::new(LocalErrorKind::InUse, DOING, path));
        }
        prove_content(self, path, expected, displaced, DOING)?;
        let slot = self.free_slot(run, path)?;
        let old = look()?;
        if !slot.take(&dir, last, &old).at(DOING, path)? {
            return Err(LocalError::new(LocalErrorKind::Changed, DOING, path));
        }
        name::sync_dir(&dir).at(DOING, path)?;
        slot.settle(displaced)
    }

    /// Everything in the trash, oldest run first. What is in there that is no file is left out.
    ///
    /// # Errors
    /// When the trash cannot be read; a missing one is empty.
    pub fn trash_list(
        &self,
    ) -> Result<impl Iterator<Item = Result<Trashed, LocalError>> + use<>, LocalError> {
        let folder = self.clone();
        let slots = self.trash_folders()?;
        Ok(slots.into_iter().flat_map(move |slot| {
            let (files, failure) = match folder.walk_slot(&slot) {
                Ok(walk) => (Some(walk), None),
                Err(error) => (None, Some(Err(error))),
            };
            files
                .into_iter()
                .flatten()
                .filter_map(move |step| trashed(&slot, step))
                .chain(failure)
        }))
    }

    /// How much the trash holds.
    ///
    /// # Errors
    /// When part of the trash cannot be read.
    pub fn trash_totals(&self) -> Result<TrashTotals, LocalError> {
        let mut totals = TrashTotals::default();
        for item in self.trash_list()? {
            totals.files += 1;
            totals.bytes += item?.size;
        }
        Ok(totals)
    }

    /// Moves a file from the trash back to its original path, where nothing may be.
    ///
    /// # Errors
    /// [`LocalErrorKind::Exists`] when something is there, and what the system says.
    pub fn trash_restore(&self, item: &Trashed) -> Result<(), LocalError> {
        const DOING: &str = "restore";
        refuse_own(&item.path, DOING)?;
        let (from, from_name) = self.root.parent(&item.place).at(DOING, &item.place)?;
        let (to, to_name) = self.root.make_parent(&item.path).at(DOING, &item.path)?;
        name::rename_noreplace((&from, from_name), (&to, to_name)).at(DOING, &item.path)?;
        name::sync_dir(&to).at(DOING, &item.path)?;
        name::sync_dir(&from).at(DOING, &item.path)?;
        self.remove_empty_above(&item.place)
    }

    /// Removes one file of the trash for good, and the folders above it as far as they are empty then.
    ///
    /// # Errors
    /// When `place` is not in the trash, and what the system says.
    pub fn trash_remove(&self, place: &RelPath) -> Result<(), LocalError> {
        if !place.is_below(&own_path("trash")?) {
            return Err(LocalError::new(LocalErrorKind::Denied, "remove", place));
        }
        self.unlink(place)?;
        self.remove_empty_above(place)
    }

    /// Removes, for good, what runs before `cutoff` displaced. Folders in the trash whose names tell no time stay. The
    /// answer counts what was removed.
    ///
    /// # Errors
    /// What the system says; what was removed before stays so.
    pub fn trash_purge(&self, cutoff: DateTime<Utc>) -> Result<TrashTotals, LocalError> {
        let mut totals = TrashTotals::default();
        for slot in self.trash_folders()? {
            if run_time(&slot).is_some_and(|time| time < cutoff) {
                self.purge_slot(&slot, &mut totals)?;
            }
        }
        Ok(totals)
    }

    /// A place in the run's trash where nothing is, with the folders above it.
    pub(super) fn free_slot(&self, run: &str, path: &RelPath) -> Result<Slot, LocalError> {
        const DOING: &str = "keep a copy in the trash of";
        if run.is_empty() || run.contains(['/', '.', '\0']) {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "this is no name of a run");
            return Err(LocalError::io(DOING, run, error));
        }
        self.own_folder()?;
        // Until it counts as open nobody may remove its folders.
        let mut slots = self.slots.lock();
        for number in 1..=MAX_SLOTS {
            let place = own_path(&format!("trash/{}/{path}", slot_name(run, number)))?;
            let (dir, last) = match self.root.make_parent(&place) {
                Ok(found) => found,
                // A file of this run stands where a folder would have to be.
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
                Err(error) => return Err(LocalError::io(DOING, path, error)),
            };
            if name::lstat(&dir, last).at(DOING, path)?.is_none() {
                slots.open += 1;
                return Ok(Slot {
                    dir,
                    name: last.to_owned(),
                    folder: self.clone(),
                    place,
                    is_kept: false,
                });
            }
        }
        Err(LocalError::new(LocalErrorKind::Exists, DOING, path))
    }

    /// The folders in the trash, by run, which is by time.
    fn trash_folders(&self) -> Result<Vec<String>, LocalError> {
        const DOING: &str = "read";
        if !self.has_own_folder()? {
            return Ok(Vec::new());
        }
        let trash = own_path("trash")?;
        let shallow = WalkOptions {
            below: Some(trash.clone()),
            shallow: true,
            ..WalkOptions::default()
        };
        let Some(walk) = absent_is_none(Walk::new(&self.root, shallow)).at(DOING, &trash)? else {
            return Ok(Vec::new());
        };
        let mut slots = Vec::new();
        for step in walk {
            match step {
                Step::Found(found) if found.stat.kind == Kind::Dir => {
                    slots.push(found.path.name().to_owned());
                }
                Step::Unreadable { path, error } => {
                    return Err(LocalError::io(DOING, path, error));
                }
                // A person put it there; it is not ours.
                Step::Found(_)
                | Step::Other { .. }
                | Step::Link { .. }
                | Step::Changed { .. }
                | Step::NotUtf8 { .. } => {}
            }
        }
        slots.sort_by(|one, other| split_slot(one).cmp(&split_slot(other)));
        Ok(slots)
    }

    fn walk_slot(&self, slot: &str) -> Result<Walk, LocalError> {
        let below = own_path(&format!("trash/{slot}"))?;
        let options = WalkOptions {
            below: Some(below.clone()),
            ..WalkOptions::default()
        };
        Walk::new(&self.root, options).at("read", below)
    }

    fn purge_slot(&self, slot: &str, totals: &mut TrashTotals) -> Result<(), LocalError> {
        const DOING: &str = "remove";
        let top = own_path(&format!("trash/{slot}"))?;
        let mut folders = vec![top];
        for step in self.walk_slot(slot)? {
            match step {
                Step::Found(found) if found.stat.kind == Kind::Dir => folders.push(found.path),
                Step::Found(found) => {
                    self.unlink(&found.path)?;
                    totals.files += 1;
                    totals.bytes += found.stat.size;
                }
                Step::Other { path, .. } | Step::Link { path, .. } => self.unlink(&path)?,
                Step::NotUtf8 { parent, name } => {
                    let dir = self.root.folder(parent.as_ref()).at(DOING, slot)?;
                    name::unlink(&dir, &name).at(DOING, slot)?;
                }
                Step::Changed { path } => {
                    return Err(LocalError::new(LocalErrorKind::Changed, DOING, path));
                }
                Step::Unreadable { path, error } => {
                    return Err(LocalError::io(DOING, path, error));
                }
            }
        }
        // What is innermost was met last.
        for folder in folders.iter().rev() {
            let (dir, last) = self.root.parent(folder).at(DOING, folder)?;
            absent_is_none(name::remove_dir(&dir, last)).at(DOING, folder)?;
        }
        Ok(())
    }

    fn unlink(&self, path: &RelPath) -> Result<(), LocalError> {
        let remove = || {
            let (dir, last) = self.root.parent(path)?;
            absent_is_none(name::unlink(&dir, last)).map(drop)
        };
        remove().at("remove", path)
    }

    /// Removes the folders above a place in the trash, up to the trash itself, as far as they are empty.
    fn remove_empty_above(&self, place: &RelPath) -> Result<(), LocalError> {
        let trash = own_path("trash")?;
        let mut above = place.parent();
        while let Some(folder) = above.filter(|folder| folder.is_below(&trash)) {
            let remove = || {
                let (dir, last) = self.root.parent(&folder)?;
                name::remove_dir(&dir, last)
            };
            match remove() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
                Err(error) => return Err(LocalError::io("remove", &folder, error)),
            }
            above = folder.parent();
        }
        Ok(())
    }
}

impl Slot {
    /// Moves a file here, if it is what was expected. `false`: it was not, and is where it was.
    pub(super) fn take(&self, dir: &Dir, last: &OsStr, expected: &Stat) -> io::Result<bool> {
        name::rename_noreplace((dir, last), (&self.dir, &self.name))?;
        let taken = name::lstat(&self.dir, &self.name)?;
        if taken.is_some_and(|taken| taken.same_content_as(expected)) {
            return Ok(true);
        }
        self.put_back(dir, last)?;
        Ok(false)
    }

    /// Moves what is here back to where it came from.
    pub(super) fn put_back(&self, dir: &Dir, last: &OsStr) -> io::Result<()> {
        name::rename_noreplace((&self.dir, &self.name), (dir, last))
    }

    /// Makes it last, or lets it go. The answer is where it lies now.
    pub(super) fn settle(mut self, displaced: Displace) -> Result<Option<RelPath>, LocalError> {
        const DOING: &str = "keep a copy in the trash of";
        match displaced {
            Displace::Trash => {
                self.is_kept = true;
                name::sync_dir(&self.dir).at(DOING, &self.place)?;
                Ok(Some(self.place.clone()))
            }
            Displace::Drop => {
                name::unlink(&self.dir, &self.name).at("remove", &self.place)?;
                Ok(None)
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = self.folder.slots.lock();
        slots.open -= 1;
        if !self.is_kept {
            slots.unused.push(self.place.clone());
        }
        if slots.open > 0 {
            return;
        }
        for place in std::mem::take(&mut slots.unused) {
            if let Err(error) = self.folder.remove_empty_above(&place) {
                // An empty folder in the trash is nothing that a person would miss, or must know of.
                tracing::debug!(%error, %place, "an empty folder stays in the trash");
            }
        }
    }
}

fn trashed(slot: &str, step: Step) -> Option<Result<Trashed, LocalError>> {
    match step {
        Step::Found(found) if found.stat.kind == Kind::File => {
            let top = own_path(&format!("trash/{slot}")).ok()?;
            Some(Ok(Trashed {
                run: split_slot(slot).0.to_owned(),
                path: found.path.strip_folder(&top)?,
                size: found.stat.size,
                mtime_ns: found.stat.mtime_ns,
                place: found.path,
            }))
        }
        Step::Unreadable { path, error } => Some(Err(LocalError::io("read", path, error))),
        Step::Found(_)
        | Step::Other { .. }
        | Step::Link { .. }
        | Step::Changed { .. }
        | Step::NotUtf8 { .. } => None,
    }
}

/// The name of a run's folder in the trash: the first is the run's own, the others are numbered.
pub fn slot_name(run: &str, number: u32) -> String {
    match number {
        1 => run.to_owned(),
        _ => format!("{run}.{number}"),
    }
}

/// The run that a folder in the trash belongs to, and which of the run's folders it is.
pub fn split_slot(slot: &str) -> (&str, u32) {
    slot.rsplit_once('.')
        .and_then(|(run, number)| Some((run, number.parse().ok()?)))
        .unwrap_or((slot, 1))
}

fn run_time(slot: &str) -> Option<DateTime<Utc>> {
    let time = slot.get(..16)?;
    let parsed = NaiveDateTime::parse_from_str(time, RUN_TIME).ok()?;
    Some(parsed.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_runs_tell_their_time() {
        let time = run_time("20260131T235959Z-1a2b3c4d.2").unwrap();
        assert_eq!(time.to_rfc3339(), "2026-01-31T23:59:59+00:00");
        for (slot, split) in [
            (
                "20260131T235959Z-1a2b3c4d.2",
                ("20260131T235959Z-1a2b3c4d", 2),
            ),
            (
                "20260131T235959Z-1a2b3c4d",
                ("20260131T235959Z-1a2b3c4d", 1),
            ),
            ("notes.old", ("notes.old", 1)),
        ] {
            assert_eq!(split_slot(slot), split);
        }
        for other in ["", "notes", "20261331T235959Z-1a2b3c4d", "éééééééééééé"] {
            assert_eq!(run_time(other), None, "{other:?}");
        }
    }
}
