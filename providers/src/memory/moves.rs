//! Deleting, copying and renaming.

use super::state::{File, Origin, Slot, State, Step, check_version, dir_key};
use crate::{CopyOptions, Entry, EntryKind, ErrorKind, Precondition, RelPath};

impl State {
    pub(super) fn delete(&mut self, path: &RelPath, precondition: &Precondition) -> Step<()> {
        if *precondition == Precondition::Absent {
            return Err((
                ErrorKind::Permanent,
                "a delete cannot be conditional on absence".to_owned(),
            ));
        }
        let path = self.spelled(path);
        if self.is_dir(&path) {
            return Err((
                ErrorKind::PreconditionFailed,
                "a folder is there".to_owned(),
            ));
        }
        let Some(file) = self.file(&path) else {
            return Ok(());
        };
        let enforced = (true, self.options.enforced.delete_if_match);
        check_version(Some(&file.version), precondition, enforced)?;
        self.bin(&path);
        self.take(&path, EntryKind::File);
        Ok(())
    }

    pub(super) fn delete_dir(&mut self, path: &RelPath) -> Step<()> {
        let path = self.spelled(path);
        if self.file(&path).is_some() {
            return Err((ErrorKind::PreconditionFailed, "a file is there".to_owned()));
        }
        let key = dir_key(&path);
        let is_empty = !self
            .slots
            .range(key.clone()..)
            .skip_while(|(other, _)| **other == key)
            .take(1)
            .any(|(other, _)| other.starts_with(&key));
        if !is_empty {
            return Err((
                ErrorKind::PreconditionFailed,
                "the folder is not empty".to_owned(),
            ));
        }
        self.take(&path, EntryKind::Dir);
        Ok(())
    }

    pub(super) fn create_dir(&mut self, path: &RelPath) -> Step<Entry> {
        self.check_name(path)?;
        let path = self.spelled(path);
        if self.file(&path).is_some() {
            return Err((ErrorKind::AlreadyExists, "a file is there".to_owned()));
        }
        self.make_parents(&path)?;
        self.insert(&path, Slot::Dir);
        Ok(Entry::dir(path))
    }

    pub(super) fn copy(
        &mut self,
        from: &RelPath,
        to: &RelPath,
        options: &CopyOptions,
    ) -> Step<Entry> {
        self.check_name(to)?;
        let to = self.spelled(to);
        let file = self.source(&self.spelled(from), options)?;
        self.check_copy_target(&to, options)?;
        let mtime_ns = options.mtime_ns.or(file.mtime_ns);
        self.write(&to, file.content, mtime_ns, Origin::Single)
    }

    pub(super) fn rename(
        &mut self,
        from: &RelPath,
        to: &RelPath,
        options: &CopyOptions,
    ) -> Step<Entry> {
        self.check_name(to)?;
        let from = self.spelled(from);
        let target = self.spelled(to);
        let only_respelled = target == from;
        if target.is_below(&from) {
            return Err((
                ErrorKind::Permanent,
                "a folder cannot be moved into itself".to_owned(),
            ));
        }
        // A change of case alone is a rename to the new spelling; the name above it stays as it is spelled.
        let to = match (only_respelled, from.parent()) {
            (false, _) => target,
            (true, Some(folder)) => folder.join(to.name()).unwrap_or(target),
            (true, None) => to.clone(),
        };
        if self.is_dir(&from) {
            if !only_respelled && (self.file(&to).is_some() || self.is_dir(&to)) {
                return Err((ErrorKind::AlreadyExists, "something is there".to_owned()));
            }
            return self.move_dir(&from, &to);
        }
        let file = self.source(&from, options)?;
        if !only_respelled {
            self.check_copy_target(&to, options)?;
        }
        self.make_parents(&to)?;
        if !only_respelled {
            self.bin(&to);
        }
        self.take(&from, EntryKind::File);
        let file = File {
            mtime_ns: match options.mtime_ns {
                Some(_) => self.kept_mtime(options.mtime_ns),
                None => file.mtime_ns,
            },
            ..file
        };
        let entry = self.write_answer(&to, &file);
        self.insert(&to, Slot::File(file));
        Ok(entry)
    }

    fn move_dir(&mut self, from: &RelPath, to: &RelPath) -> Step<Entry> {
        self.make_parents(to)?;
        let prefix = dir_key(from);
        let moving: Vec<(String, Slot)> = self
            .slots
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(key, slot)| (key.clone(), slot.clone()))
            .collect();
        for (key, slot) in moving {
            let kind = match slot {
                Slot::Dir => EntryKind::Dir,
                Slot::File(_) => EntryKind::File,
                Slot::Unusable(_) => continue,
            };
            let Ok(path) = RelPath::new(key.trim_end_matches('/')) else {
                continue;
            };
            let target = match path.strip_folder(from) {
                Some(rest) => to.join_path(&rest),
                None => to.clone(),
            };
            self.take(&path, kind);
            self.insert(&target, slot);
        }
        Ok(Entry::dir(to.clone()))
    }

    fn source(&self, from: &RelPath, options: &CopyOptions) -> Step<File> {
        let file = self
            .file(from)
            .ok_or_else(|| (ErrorKind::NotFound, "there is no source".to_owned()))?;
        match &options.source {
            Some(version) if *version != file.version => Err((
                ErrorKind::PreconditionFailed,
                format!("the source's version is {}", file.version.0),
            )),
            _ => Ok(file.clone()),
        }
    }

    fn check_copy_target(&self, to: &RelPath, options: &CopyOptions) -> Step<()> {
        let enforced = self.options.enforced;
        let enforced = (enforced.copy_if_absent, enforced.replace_if_match);
        self.check_target(to, &options.precondition, enforced)
    }
}
