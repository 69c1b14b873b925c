//! Changes to the folder, each blocking and under its conditions.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};

use bytes::Bytes;
use cap_std::fs::Dir;
use md5::{Digest, Md5};

use super::errors::{Context, changed, exists, in_the_way, not_found};
use super::stage::{self, OWN_FOLDER, Stage, TMP, own_path, random_name};
use super::{Inner, Opened, entry, version};
use crate::folder::{Kind, Ownership, Root, Stat, Step, Temp, Walk, WalkOptions, name};
use crate::{
    CopyOptions, Enforcement, Entry, Error, ErrorKind, Operation, Precondition, PutOptions,
    RelPath, Result, Version,
};

/// Putting a file that is written into its place.
pub(super) struct Placing<'call> {
    pub(super) opened: &'call Opened,
    pub(super) stage: &'call Stage,
    pub(super) path: &'call RelPath,
    pub(super) precondition: &'call Precondition,
    pub(super) mtime_ns: Option<i64>,
    pub(super) operation: Operation,
}

impl Placing<'_> {
    pub(super) fn run(&mut self, temp: Temp) -> Result<Entry> {
        let (operation, shown) = (self.operation, self.path.as_str());
        // Asked early, so that no folder is made and nothing flushed in vain, and again under the lock.
        let old = self.opened.root.lstat(self.path);
        let old = old.during(operation, shown)?;
        self.check(old.as_ref())?;
        let made = self.opened.root.make_parent(self.path);
        let (dir, last) = made.during(operation, shown)?;
        temp.seal(Ownership::of(old.as_ref()), self.mtime_ns, &dir)
            .during(operation, shown)?;
        let written = name::fstat(temp.file()).during(operation, shown)?;
        let guard = self.stage.lock().during(operation, shown)?;
        let file = self.act(temp, &dir, last)?;
        drop(guard);
        name::sync_dir(&dir).during(operation, shown)?;
        let placed = name::fstat(&file).during(operation, shown)?;
        // Length and time are ours: what another program has written since must show up as another version.
        let stat = Stat {
            size: written.size,
            mtime_ns: written.mtime_ns,
            ..placed
        };
        Ok(entry(self.path.clone(), &stat, self.opened.lasting_inodes))
    }

    fn check(&self, there: Option<&Stat>) -> Result<()> {
        let lasting = self.opened.lasting_inodes;
        check(
            there,
            self.precondition,
            lasting,
            self.operation,
            self.path.as_str(),
        )
    }

    fn act(&self, temp: Temp, dir: &Dir, last: &OsStr) -> Result<File> {
        let (operation, shown) = (self.operation, self.path.as_str());
        let there = name::lstat(dir, last).during(operation, shown)?;
        self.check(there.as_ref())?;
        match (self.precondition, there) {
            (Precondition::Any, _) => temp.place_over(dir, last).during(operation, shown),
            (Precondition::Absent, _) | (_, None) => {
                temp.place_new(dir, last).during(operation, shown)
            }
            (Precondition::Version(_), Some(old)) => self.exchange(temp, dir, last, &old),
        }
    }

    /// Replaces exactly `old`: the two trade places, and trade back when something else came out.
    fn exchange(&self, mut temp: Temp, dir: &Dir, last: &OsStr, old: &Stat) -> Result<File> {
        let (operation, shown) = (self.operation, self.path.as_str());
        let staged = temp.place().1.to_owned();
        let ours = (&self.stage.dir, staged.as_os_str());
        if !name::exchange(ours, (dir, last)).during(operation, shown)? {
            return temp.place_over(dir, last).during(operation, shown);
        }
        // From here on the temporary name may hold a stranger's file, which must not be removed with the value.
        let file = temp.forget().during(operation, shown)?;
        let out = name::lstat(ours.0, ours.1).during(operation, shown)?;
        if out.is_some_and(|out| out.same_content_as(old)) {
            name::unlink(ours.0, ours.1).during(operation, shown)?;
            return Ok(file);
        }
        if matches!(name::exchange(ours, (dir, last)), Ok(true)) {
            name::unlink(ours.0, ours.1).during(operation, shown)?;
            return Err(changed(operation, shown));
        }
        if name::rename_noreplace(ours, (dir, last)).is_ok() {
            return Err(changed(operation, shown));
        }
        Err(keep(&self.stage.dir, &staged, operation, shown))
    }
}

impl Inner {
    pub(super) fn put(&self, path: &RelPath, body: &Bytes, options: &PutOptions) -> Result<Entry> {
        const PUT: Operation = Operation::Put;
        let shown = path.as_str();
        self.capabilities.check_name(PUT, path)?;
        if let Some(expected) = options.md5 {
            let found: [u8; 16] = Md5::digest(body).into();
            if found != expected {
                let message = "the content is not the one that was announced";
                return Err(Error::new(ErrorKind::Permanent, PUT, shown, message));
            }
        }
        let opened = self.root_or_create(PUT)?;
        let stage = self.stage(&opened, PUT)?;
        let temp = stage.create().during(PUT, shown)?;
        temp.file().write_all(body).during(PUT, shown)?;
        self.tell_clock(&temp).during(PUT, shown)?;
        let mut placing = Placing {
            opened: &opened,
            stage: &stage,
            path,
            precondition: &options.precondition,
            mtime_ns: options.mtime_ns,
            operation: PUT,
        };
        placing.run(temp)
    }

    pub(super) fn copy(
        &self,
        from: &RelPath,
        to: &RelPath,
        options: &CopyOptions,
    ) -> Result<Entry> {
        const COPY: Operation = Operation::Copy;
        self.capabilities.check_name(COPY, to)?;
        let opened = self.root(COPY)?;
        let shown = from.as_str();
        let (mut source, stat) = opened.root.open_regular(from).during(COPY, shown)?;
        check_version(options.source.as_ref(), &stat, &opened, COPY, shown)?;
        let stage = self.stage(&opened, COPY)?;
        let temp = stage.create().during(COPY, to.as_str())?;
        // The system does it without passing the bytes through this process where it can; up to the length that was
        // seen, since a file may grow faster than it is copied.
        let copied = io::copy(&mut (&mut source).take(stat.size), &mut temp.file())
            .during(COPY, to.as_str())?;
        let now = name::fstat(&source).during(COPY, shown)?;
        if !now.unchanged_since(&stat) || copied != stat.size {
            return Err(changed(COPY, shown));
        }
        self.tell_clock(&temp).during(COPY, to.as_str())?;
        let mut placing = Placing {
            opened: &opened,
            stage: &stage,
            path: to,
            precondition: &options.precondition,
            mtime_ns: Some(options.mtime_ns.unwrap_or(stat.mtime_ns)),
            operation: COPY,
        };
        placing.run(temp)
    }

    pub(super) fn rename(
        &self,
        from: &RelPath,
        to: &RelPath,
        options: &CopyOptions,
    ) -> Result<Entry> {
        const RENAME: Operation = Operation::Rename;
        self.capabilities.check_name(RENAME, to)?;
        let opened = self.root(RENAME)?;
        let stage = self.stage(&opened, RENAME)?;
        let shown = from.as_str();
        let (from_dir, from_name) = match opened.root.parent(from) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(not_found(RENAME, shown));
            }
            other => other.during(RENAME, shown)?,
        };
        if name::lstat(&from_dir, from_name)
            .during(RENAME, shown)?
            .is_none()
        {
            return Err(not_found(RENAME, shown));
        }
        let (to_dir, to_name) = opened.root.make_parent(to).during(RENAME, to.as_str())?;
        let (source, target) = ((&from_dir, from_name), (&to_dir, to_name));

        let guard = stage.lock().during(RENAME, shown)?;
        let stat = name::lstat(&from_dir, from_name)
            .during(RENAME, shown)?
            .ok_or_else(|| not_found(RENAME, shown))?;
        match stat.kind {
            Kind::File => check_version(options.source.as_ref(), &stat, &opened, RENAME, shown)?,
            Kind::Dir => {}
            other => return Err(in_the_way(RENAME, shown, other.describe())),
        }
        // A name that is given to itself stays.
        if from != to {
            move_entry(source, target, &stat, &opened, (from, to), options)?;
        }
        if let (Some(mtime_ns), Kind::File) = (options.mtime_ns, stat.kind) {
            let (file, _) = name::open_regular(&to_dir, to_name).during(RENAME, to.as_str())?;
            name::set_mtime(&file, mtime_ns).during(RENAME, to.as_str())?;
        }
        drop(guard);
        name::sync_dir(&to_dir).during(RENAME, to.as_str())?;
        name::sync_dir(&from_dir).during(RENAME, shown)?;
        let placed = name::lstat(&to_dir, to_name)
            .during(RENAME, to.as_str())?
            .ok_or_else(|| not_found(RENAME, to.as_str()))?;
        Ok(entry(to.clone(), &placed, opened.lasting_inodes))
    }

    pub(super) fn delete(&self, path: &RelPath, precondition: &Precondition) -> Result<()> {
        const DELETE: Operation = Operation::Delete;
        let shown = path.as_str();
        if *precondition == Precondition::Absent {
            let message = "deleting what is not there makes no sense";
            return Err(Error::new(ErrorKind::Unsupported, DELETE, shown, message));
        }
        let opened = match self.root(DELETE) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let (dir, last) = match opened.root.parent(path) {
            Err(error) if is_gone(&error) => return Ok(()),
            other => other.during(DELETE, shown)?,
        };
        if name::lstat(&dir, last).during(DELETE, shown)?.is_none() {
            return Ok(());
        }
        let stage = self.stage(&opened, DELETE)?;
        let guard = stage.lock().during(DELETE, shown)?;
        let Some(old) = name::lstat(&dir, last).during(DELETE, shown)? else {
            return Ok(());
        };
        check(
            Some(&old),
            precondition,
            opened.lasting_inodes,
            DELETE,
            shown,
        )?;
        // Taken aside first: what another program has put there since the look can be put back.
        let aside = random_name();
        let aside = (&stage.dir, OsStr::new(&aside));
        match name::rename_noreplace((&dir, last), aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.during(DELETE, shown)?,
        }
        let taken = name::lstat(aside.0, aside.1).during(DELETE, shown)?;
        let expected = taken.is_some_and(|taken| taken.same_content_as(&old));
        if !expected {
            if name::rename_noreplace(aside, (&dir, last)).is_err() {
                return Err(keep(&stage.dir, aside.1, DELETE, shown));
            }
            return Err(changed(DELETE, shown));
        }
        name::unlink(aside.0, aside.1).during(DELETE, shown)?;
        drop(guard);
        name::sync_dir(&dir).during(DELETE, shown)
    }

    pub(super) fn delete_dir(&self, path: &RelPath) -> Result<()> {
        const DELETE_DIR: Operation = Operation::DeleteDir;
        let shown = path.as_str();
        let opened = match self.root(DELETE_DIR) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let (dir, last) = match opened.root.parent(path) {
            Err(error) if is_gone(&error) => return Ok(()),
            other => other.during(DELETE_DIR, shown)?,
        };
        match name::lstat(&dir, last).during(DELETE_DIR, shown)? {
            None => return Ok(()),
            Some(stat) if stat.kind != Kind::Dir => {
                return Err(in_the_way(DELETE_DIR, shown, stat.kind.describe()));
            }
            Some(_) => {}
        }
        match name::remove_dir(&dir, last) {
            Err(error) if is_gone(&error) => return Ok(()),
            other => other.during(DELETE_DIR, shown)?,
        }
        name::sync_dir(&dir).during(DELETE_DIR, shown)
    }
}

/// Finds out what is enforced, by trying it.
pub(super) fn probe(inner: &Inner) -> Result<Enforcement> {
    const PROBE: Operation = Operation::Probe;
    let folder = own_path(&format!("{OWN_FOLDER}/probe")).during(PROBE, "")?;
    let path = own_path(&format!("{folder}/{}", random_name())).during(PROBE, "")?;
    let other = Precondition::Version(Version("none".to_owned()));
    let put = |precondition: Precondition| {
        let options = PutOptions {
            precondition,
            ..PutOptions::default()
        };
        inner.put(&path, &Bytes::from_static(b"probe"), &options)
    };
    let refused = |result: Result<()>, kind: ErrorKind| match result {
        Ok(()) => Ok(false),
        Err(error) if error.kind == kind => Ok(true),
        Err(error) => Err(error),
    };
    put(Precondition::Absent)?;
    let absent = refused(
        put(Precondition::Absent).map(drop),
        ErrorKind::AlreadyExists,
    )?;
    let replace = refused(put(other.clone()).map(drop), ErrorKind::PreconditionFailed)?;
    let delete = refused(inner.delete(&path, &other), ErrorKind::PreconditionFailed)?;
    inner.delete(&path, &Precondition::Any)?;
    match inner.delete_dir(&folder) {
        // Another process is probing.
        Err(error) if error.kind == ErrorKind::PreconditionFailed => {}
        result => result?,
    }
    let opened = inner.root(PROBE)?;
    let stage = inner.stage(&opened, PROBE)?;
    let atomic = can_exchange(&stage).during(PROBE, folder.as_str())?;
    Ok(Enforcement {
        create_if_absent: absent,
        replace_if_match: replace && atomic,
        delete_if_match: delete,
        complete_if_absent: absent,
        complete_if_match: replace && atomic,
        copy_if_absent: absent,
        versioning: Some(false),
    })
}

/// Whether our own folder holds nothing but the stage: then it is not worth showing.
pub(super) fn holds_only_stage(root: &Root) -> io::Result<bool> {
    let own = own_path(OWN_FOLDER)?;
    match root.lstat(&own)? {
        Some(stat) if stat.kind == Kind::Dir => {}
        _ => return Ok(false),
    }
    let options = WalkOptions {
        below: Some(own),
        shallow: true,
        ..WalkOptions::default()
    };
    let mut stage = false;
    for step in Walk::new(root, options)? {
        match step {
            Step::Found(found) if found.path.name() == TMP && found.stat.kind == Kind::Dir => {
                stage = true;
            }
            _ => return Ok(false),
        }
    }
    Ok(stage)
}

fn can_exchange(stage: &Stage) -> io::Result<bool> {
    let (one, other) = (stage.create()?, stage.create()?);
    // Both names stay taken, so that dropping the values removes both files.
    name::exchange(one.place(), other.place())
}

/// Whether what is there, if anything, allows a file to be written or removed under a condition.
fn check(
    there: Option<&Stat>,
    precondition: &Precondition,
    lasting_inodes: bool,
    operation: Operation,
    shown: &str,
) -> Result<()> {
    match (precondition, there) {
        (Precondition::Any | Precondition::Absent, None) => Ok(()),
        (Precondition::Version(_), None) => Err(not_found(operation, shown)),
        (Precondition::Absent, Some(_)) => Err(exists(operation, shown)),
        (Precondition::Any, Some(stat)) if stat.kind == Kind::File => Ok(()),
        (Precondition::Any, Some(stat)) => Err(in_the_way(operation, shown, stat.kind.describe())),
        (Precondition::Version(expected), Some(stat)) => {
            if stat.kind == Kind::File && version(stat, lasting_inodes) == *expected {
                return Ok(());
            }
            Err(changed(operation, shown))
        }
    }
}

fn check_version(
    expected: Option<&Version>,
    stat: &Stat,
    opened: &Opened,
    operation: Operation,
    shown: &str,
) -> Result<()> {
    match expected {
        Some(expected) if version(stat, opened.lasting_inodes) != *expected => {
            Err(changed(operation, shown))
        }
        _ => Ok(()),
    }
}

/// Gives what `stat` describes another name, under the conditions of the call and the lock.
fn move_entry(
    source: (&Dir, &OsStr),
    target: (&Dir, &OsStr),
    stat: &Stat,
    opened: &Opened,
    (from, to): (&RelPath, &RelPath),
    options: &CopyOptions,
) -> Result<()> {
    const RENAME: Operation = Operation::Rename;
    let shown = from.as_str();
    let there = name::lstat(target.0, target.1).during(RENAME, to.as_str())?;
    let same = there.is_some_and(|there| there.identity == stat.identity);
    if same && (stat.kind == Kind::Dir || stat.links == 1) {
        // Another spelling of the same name, where case does not count, is no file in the way.
        return name::rename(source, target).during(RENAME, shown);
    }
    let lasting = opened.lasting_inodes;
    check(
        there.as_ref(),
        &options.precondition,
        lasting,
        RENAME,
        to.as_str(),
    )?;
    if there.is_some() && stat.kind == Kind::Dir {
        return Err(exists(RENAME, to.as_str()));
    }
    if same {
        // Two names of one file: the system's rename would leave both.
        return name::unlink(source.0, source.1).during(RENAME, shown);
    }
    move_file(source, target, stat, there.is_some(), to.as_str())
}

/// Renames, and renames back when something else than what was looked at has moved.
fn move_file(
    source: (&Dir, &OsStr),
    target: (&Dir, &OsStr),
    stat: &Stat,
    replaces: bool,
    shown: &str,
) -> Result<()> {
    const RENAME: Operation = Operation::Rename;
    if replaces {
        name::rename(source, target).during(RENAME, shown)?;
    } else {
        name::rename_noreplace(source, target).during(RENAME, shown)?;
    }
    let moved = name::lstat(target.0, target.1).during(RENAME, shown)?;
    let expected = moved.is_some_and(|moved| match stat.kind {
        // What a folder holds may change at any time.
        Kind::Dir => moved.identity == stat.identity,
        _ => moved.same_content_as(stat),
    });
    if expected {
        return Ok(());
    }
    name::rename_noreplace(target, source).during(RENAME, shown)?;
    Err(changed(RENAME, shown))
}

/// A stranger's file that could not be put back is kept under a name that no sweep removes.
fn keep(dir: &Dir, staged: &OsStr, operation: Operation, shown: &str) -> Error {
    let kept = format!("kept-{}", random_name());
    let place = match name::rename_noreplace((dir, staged), (dir, OsStr::new(&kept))) {
        Ok(()) => kept,
        Err(_) => staged.to_string_lossy().into_owned(),
    };
    Error::new(
        ErrorKind::Permanent,
        operation,
        shown,
        format!(
            "it changed at the same moment and could not be put back; its content is in `{}/{}/{place}`",
            stage::OWN_FOLDER,
            stage::TMP
        ),
    )
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
