//! `backup verify`: proves that snapshots are whole, as deeply as asked, and says what exactly was proven.
//!
//! - `list`: the manifest reads, and each object that it names is there in the right length. Nothing is downloaded.
//! - `hash`: each object is, byte by byte, the one that the manifest names. Needs no key.
//! - `read`: it opens, inflates and unpacks, and each path is what the index says. This is what a restore would get.
//!
//! A level includes those before it. A snapshot of the old plugin has nothing to compare with: at best it reads.

use std::io::Read;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::catalog::{Catalog, Snapshot};
use super::entry::{EntryKind, SnapshotEntry, escape};
use super::extract::{Bad, Extracted, Proof, agrees, hash, with_causes};
use super::index::IndexError;
use super::restore::blocking;
use super::settings::BackupSettings;
use super::source::{Chosen, Source, SourceError, Which, failure, is_about_keys, is_network};
use super::untar::{MemberKind, TarError, TarReader};
use crate::cancel::Cancel;
use crate::error::Outcome;
use crate::report::Reporter;

/// How deeply is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Manifest against listing.
    List,
    /// The objects' hashes.
    Hash,
    /// Every file's hash.
    Read,
}

impl Level {
    /// As it is typed, and recorded.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Hash => "hash",
            Self::Read => "read",
        }
    }
}

/// Which snapshots are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One.
    One(Which),
    /// All that the folder holds: of every profile, and the old plugin's.
    All,
}

/// What was found out about one snapshot.
#[derive(Debug)]
pub struct Verified {
    /// Its name.
    pub snapshot: String,
    /// How deeply was looked.
    pub level: Level,
    /// What was proven; `None` when it is not whole, or carries no proof.
    pub proven: Option<Level>,
    /// When, by this host's clock.
    pub at: DateTime<Utc>,
    /// Files that were read and are right.
    pub files: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// The first of what is bad.
    pub bad: Vec<Bad>,
    /// How much is bad.
    pub bad_count: u64,
    /// What a person must know.
    pub warnings: Vec<String>,
}

/// Verifies.
///
/// # Errors
/// When the storage cannot be read, the run was stopped, or nothing here opens a single snapshot that was asked for. That
/// a snapshot is damaged is no error but a result.
pub async fn verify(
    settings: &BackupSettings,
    catalog: &Catalog,
    subject: &Subject,
    level: Level,
    reporter: Arc<dyn Reporter>,
    cancel: &Cancel,
) -> Outcome<Vec<Verified>> {
    let names = match subject {
        Subject::One(which) => {
            // By name: what is looked at must not change with the snapshot that is newest meanwhile.
            let chosen = Chosen::find(settings, catalog, which)?;
            let mut verified =
                one(settings, catalog, chosen.name(), level, &reporter, cancel).await?;
            let newer = which.warnings(settings, catalog);
            verified.warnings.splice(0..0, newer);
            return Ok(vec![verified]);
        }
        Subject::All => (catalog.snapshots.iter())
            .map(|snapshot| snapshot.name.to_string())
            .chain(catalog.legacy.iter().map(|legacy| legacy.name.to_string()))
            .collect::<Vec<_>>(),
    };
    if level == Level::Read {
        require_one_to_open(settings, catalog, &names, &reporter, cancel)?;
    }
    let mut all = Vec::new();
    let mut closed = Vec::new();
    for name in &names {
        match one(settings, catalog, name.clone(), level, &reporter, cancel).await {
            Ok(verified) => all.push(verified),
            // One that nothing here opens says nothing about the others; its objects may still be looked at.
            Err(error)
                if error.kind == crate::error::FailureKind::Usage && level == Level::Read =>
            {
                let name = name.clone();
                let mut verified =
                    one(settings, catalog, name, Level::Hash, &reporter, cancel).await?;
                verified.level = level;
                verified
                    .warnings
                    .push(format!("its content was not looked at: {}", error.reason()));
                all.push(verified);
                closed.push(error);
            }
            Err(error) => return Err(error),
        }
    }
    // A wrong passphrase shows only here. Damage that was found meanwhile is worth more than the reason.
    if closed.len() == all.len() && all.iter().all(Verified::is_whole) {
        closed.into_iter().next().map_or(Ok(()), Err)?;
    }
    for unusable in &catalog.unusable {
        let mut verified = Verified::new(unusable.name.to_string(), level, settings);
        verified.note("", &unusable.reason);
        all.push(verified);
    }
    Ok(all)
}

/// Fails when nothing here opens a single one of these, before anything is downloaded.
fn require_one_to_open(
    settings: &BackupSettings,
    catalog: &Catalog,
    names: &[String],
    reporter: &Arc<dyn Reporter>,
    cancel: &Cancel,
) -> Outcome<()> {
    let mut first = None;
    for name in names {
        let which = Which::Name(name.clone());
        match Source::choose(settings, catalog, &which, Arc::clone(reporter), cancel) {
            Ok(_) => return Ok(()),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    first.map_or(Ok(()), Err)
}

async fn one(
    settings: &BackupSettings,
    catalog: &Catalog,
    name: String,
    level: Level,
    reporter: &Arc<dyn Reporter>,
    cancel: &Cancel,
) -> Outcome<Verified> {
    let mut verified = Verified::new(name.clone(), level, settings);
    let which = Which::Name(name);
    let source = match level {
        Level::Read => Source::choose(settings, catalog, &which, Arc::clone(reporter), cancel)?,
        _ => Source::without_keys(settings, catalog, &which, Arc::clone(reporter), cancel)?,
    };
    verified.warnings = source.chosen.warnings(settings);
    let cancel = cancel.clone();
    let clock = settings.clock;
    blocking(move || {
        verified.look(&source, level).map_err(|error| {
            let name = &verified.snapshot;
            failure(
                format!("the snapshot `{name}` could not be verified to its end"),
                error,
                &cancel,
            )
        })?;
        verified.at = clock.now();
        Ok(verified)
    })
    .await
}

impl Verified {
    fn new(snapshot: String, level: Level, settings: &BackupSettings) -> Self {
        Self {
            snapshot,
            level,
            proven: None,
            at: settings.clock.now(),
            files: 0,
            bytes: 0,
            bad: Vec::new(),
            bad_count: 0,
            warnings: Vec::new(),
        }
    }

    /// Whether nothing bad was found.
    pub fn is_whole(&self) -> bool {
        self.bad_count == 0
    }

    fn note(&mut self, path: &str, message: &str) {
        // The same bounds as a restore's.
        let mut noted = Extracted::default();
        noted.note(path, message);
        self.bad_count += 1;
        if self.bad.len() < 1000 {
            self.bad.extend(noted.bad);
        }
    }

    fn look(&mut self, source: &Source, level: Level) -> Result<(), TarError> {
        let snapshot = match &source.chosen {
            Chosen::Snapshot(snapshot) => Arc::clone(snapshot),
            Chosen::Legacy(_) => {
                if level == Level::Read {
                    self.read(source)?;
                }
                return Ok(());
            }
        };
        let faults = snapshot.faults();
        for (object, fault) in &faults {
            self.note(object, fault);
        }
        match level {
            Level::List => {}
            Level::Hash => self.rehash(source, &snapshot)?,
            // Reading hashes the objects on the way.
            Level::Read => self.read(source)?,
        }
        if self.bad_count == 0 {
            self.proven = Some(level);
        }
        Ok(())
    }

    fn rehash(&mut self, source: &Source, snapshot: &Snapshot) -> Result<(), TarError> {
        let volumes = snapshot
            .manifest
            .volumes
            .iter()
            .map(|volume| &volume.object);
        for object in volumes.chain([&snapshot.manifest.index]) {
            if !snapshot.objects.contains_key(&object.name) {
                continue;
            }
            match source.rehash(snapshot, object) {
                Ok(None) => {}
                Ok(Some(fault)) => self.note(&object.name, &fault),
                Err(source) => return Err(TarError::Io { at: 0, source }),
            }
        }
        Ok(())
    }

    /// Reads all of it, as a restore would, and compares it with the index.
    fn read(&mut self, source: &Source) -> Result<(), TarError> {
        let mut checks = Vec::new();
        let mut proof: Option<Box<dyn Proof>> = None;
        match source.index() {
            Ok(None) => {}
            Ok(Some(index)) => {
                checks.push(index.check);
                proof = Some(Box::new(index.reader));
            }
            Err(error) if is_network(&error) || is_about_keys(&error) => {
                return Err(wrapped(error));
            }
            Err(error) => self.note("", &with_causes(&error)),
        }
        let mut against = Against { proof, lost: false };
        for number in 1..=source.volumes() {
            let object = source.volume_name(number);
            let result = match source.volume(number) {
                Ok(volume) => {
                    checks.push(volume.check);
                    self.read_volume(volume.tar, number, &mut against)
                }
                Err(error) if is_about_keys(&error) => return Err(wrapped(error)),
                Err(error) => Err(wrapped(error)),
            };
            match result {
                Ok(()) => {}
                Err(error) if is_network(&error) => return Err(error),
                Err(error) => {
                    let files = self.files;
                    let why = with_causes(&error);
                    self.note(
                        &object,
                        &format!("{why}; {files} files before that are good"),
                    );
                    against.lost = true;
                }
            }
        }
        self.expect_no_more(&mut against);
        for fault in checks.iter().filter_map(super::source::ObjectCheck::fault) {
            self.note("", &fault);
        }
        Ok(())
    }

    fn read_volume(
        &mut self,
        tar: impl Read,
        volume: u32,
        against: &mut Against,
    ) -> Result<(), TarError> {
        let mut tar = TarReader::new(tar);
        while let Some(member) = tar.next_member()? {
            let shown = escape(&member.name);
            let path = match member.path() {
                Ok(Some(path)) => path,
                Ok(None) => continue,
                Err(problem) => {
                    self.note(&shown, &problem.to_string());
                    continue;
                }
            };
            if let MemberKind::Other(what) = member.kind {
                self.note(&shown, &format!("it is {what}, which is not restored"));
            }
            let expected = match against.next(self, |entry| agrees(entry, &path, &member, volume)) {
                Ok(expected) => expected,
                Err(why) => {
                    self.note(&shown, &why);
                    None
                }
            };
            if member.kind != MemberKind::File {
                continue;
            }
            let digest = hash(&mut tar).map_err(|error| tar.failed(error))?;
            match expected.map(|entry| entry.kind) {
                Some(EntryKind::File { sha256, .. }) if sha256 != digest => {
                    self.note(&shown, "its content is not what the index says");
                }
                _ => {
                    self.files += 1;
                    self.bytes = self.bytes.saturating_add(member.size);
                }
            }
        }
        Ok(())
    }

    fn expect_no_more(&mut self, against: &mut Against) {
        let Some(mut proof) = against.proof.take() else {
            return;
        };
        let why = match against.lost {
            true => LOST,
            false => "it is in the index and not in the archive",
        };
        loop {
            match proof.next_entry() {
                Ok(None) => return,
                Ok(Some(entry)) => self.note(&entry.path.to_string(), why),
                Err(error) => return self.note("", &with_causes(&error)),
            }
        }
    }
}

const LOST: &str = "it lies behind the damage and could not be looked at";

/// The index, as far as it agrees with the archive.
struct Against {
    proof: Option<Box<dyn Proof>>,
    /// A volume ended too early: the index may be ahead.
    lost: bool,
}

impl Against {
    /// The next entry; an error, and no index from then on, when it is not the one that agrees.
    fn next(
        &mut self,
        verified: &mut Verified,
        agrees: impl Fn(&SnapshotEntry) -> bool,
    ) -> Result<Option<SnapshotEntry>, String> {
        let Some(proof) = &mut self.proof else {
            return Ok(None);
        };
        let mut next: Result<_, IndexError> = proof.next_entry();
        while self.lost
            && let Ok(Some(entry)) = &next
            && !agrees(entry)
        {
            verified.note(&entry.path.to_string(), LOST);
            next = proof.next_entry();
        }
        self.lost = false;
        let why = match next {
            Ok(Some(entry)) if agrees(&entry) => return Ok(Some(entry)),
            Ok(Some(entry)) => format!(
                "here the index has `{}`: they do not belong together; the rest is not compared",
                entry.path
            ),
            Ok(None) => "it is not in the index; the rest is not compared".to_owned(),
            Err(error) => format!("{}; the rest is not compared", with_causes(&error)),
        };
        self.proof = None;
        Err(why)
    }
}

fn wrapped(error: SourceError) -> TarError {
    TarError::Io {
        at: 0,
        source: std::io::Error::other(error),
    }
}
