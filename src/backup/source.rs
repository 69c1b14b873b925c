//! A snapshot that is read: the keys that open it, and the layers over its objects.
//!
//! What is named here blocks, but for choosing: it runs on a thread that may wait.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use flate2::bufread::MultiGzDecoder;
use ows_providers::Entry;
use sha2::{Digest as _, Sha256};

use super::ahead::Ahead;
use super::catalog::{Catalog, Legacy, Snapshot};
pub use super::choose::{Chosen, Which};
use super::entry::Digest;
use super::index::{IndexError, IndexReader};
use super::legacy::{LegacyError, LegacyReader};
use super::manifest::StoredObject;
use super::ranged::{Ranged, Reach, Remote, Stopped};
use super::seal::{Keys, OpenError, Unsealed};
use super::settings::BackupSettings;
use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};
use crate::report::Reporter;

/// How much of an object is buffered below gzip.
const BUFFER: usize = 128 << 10;

/// Why a snapshot, or one of its objects, cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The listing does not have it.
    #[error("`{object}` is missing")]
    Missing {
        /// Its name.
        object: String,
    },
    /// Nothing opens it.
    #[error("`{object}` does not open")]
    Open {
        /// Its name.
        object: String,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// Its first bytes are not what was stored. To age that looks like a wrong key; no other key would help.
    #[error(
        "`{object}` does not open: its first bytes are damaged, or it is none of this snapshot"
    )]
    Head {
        /// Its name.
        object: String,
    },
    /// It is the old plugin's, and nothing opens it.
    #[error("`{object}` does not open")]
    Legacy {
        /// Its name.
        object: String,
        /// Why.
        #[source]
        source: LegacyError,
    },
    /// There is no thread to read it on.
    #[error("the system has no thread to read it on")]
    Thread(#[source] io::Error),
    /// Its index does not read as one.
    #[error("its index cannot be used")]
    Index(#[from] IndexError),
}

/// A snapshot and what it takes to read it.
#[derive(Clone)]
pub struct Source {
    /// Where its objects are.
    pub remote: Remote,
    /// What opens it.
    pub keys: Keys,
    /// Which it is.
    pub chosen: Chosen,
    /// Who is told of the bytes that came.
    pub reporter: Arc<dyn Reporter>,
    /// The keys have opened an object of it.
    has_opened: Arc<AtomicBool>,
}

/// A volume that is read from begin to end.
pub struct Volume {
    /// Its tar.
    pub tar: Ahead,
    /// Whether its object was the one that the manifest names, once it was read to its end.
    pub check: ObjectCheck,
}

impl Source {
    /// Chooses the snapshot, reads the keys, and finds out from the manifest whether they open it: before anything is
    /// downloaded. Called on tokio.
    pub fn choose(
        settings: &BackupSettings,
        catalog: &Catalog,
        which: &Which,
        reporter: Arc<dyn Reporter>,
        cancel: &Cancel,
    ) -> Outcome<Self> {
        let chosen = Chosen::find(settings, catalog, which)?;
        let keys = settings.keys()?;
        let suits = match &chosen {
            Chosen::Snapshot(snapshot) => keys.suit(&snapshot.manifest.encryption),
            Chosen::Legacy(legacy) if legacy.name.encrypted() && keys.passphrase().is_none() => {
                Err(OpenError::NoPassphrase)
            }
            Chosen::Legacy(_) => Ok(()),
        };
        suits.map_err(|error| {
            failure(
                format!("the snapshot `{}` cannot be read here", chosen.name()),
                error,
                cancel,
            )
        })?;
        Ok(Self {
            remote: Remote::new(Arc::clone(&settings.provider), cancel.clone()),
            keys,
            chosen,
            reporter,
            has_opened: Arc::default(),
        })
    }

    /// Like [`Source::choose`], to look at objects as they are stored.
    pub fn without_keys(
        settings: &BackupSettings,
        catalog: &Catalog,
        which: &Which,
        reporter: Arc<dyn Reporter>,
        cancel: &Cancel,
    ) -> Outcome<Self> {
        Ok(Self {
            remote: Remote::new(Arc::clone(&settings.provider), cancel.clone()),
            keys: Keys::default(),
            chosen: Chosen::find(settings, catalog, which)?,
            reporter,
            has_opened: Arc::default(),
        })
    }

    /// How many volumes it has.
    pub fn volumes(&self) -> u32 {
        match &self.chosen {
            Chosen::Snapshot(snapshot) => {
                u32::try_from(snapshot.manifest.volumes.len()).unwrap_or(u32::MAX)
            }
            Chosen::Legacy(_) => 1,
        }
    }

    /// The name of the object of a volume, from 1.
    pub fn volume_name(&self, number: u32) -> String {
        match &self.chosen {
            Chosen::Snapshot(snapshot) => stored(snapshot, number)
                .map_or_else(|| format!("volume {number}"), |object| object.name.clone()),
            Chosen::Legacy(legacy) => legacy.name.to_string(),
        }
    }

    /// Opens its index. `None` where it has none by nature.
    pub fn index(&self) -> Result<Option<Index>, SourceError> {
        let Chosen::Snapshot(snapshot) = &self.chosen else {
            return Ok(None);
        };
        let object = &snapshot.manifest.index;
        let (input, check) = self.whole(&snapshot.objects, object)?;
        let input = self.unseal(snapshot, object, input)?;
        let reader = IndexReader::open(input, snapshot.name)?;
        Ok(Some(Index { reader, check }))
    }

    /// Opens a volume, from 1, to read its tar from the begin.
    pub fn volume(&self, number: u32) -> Result<Volume, SourceError> {
        match &self.chosen {
            Chosen::Snapshot(snapshot) => {
                let object = stored(snapshot, number).ok_or_else(|| SourceError::Missing {
                    object: format!("volume {number}"),
                })?;
                let (input, check) = self.whole(&snapshot.objects, object)?;
                let input = self.unseal(snapshot, object, input)?;
                let tar = Ahead::new(unpack(input)).map_err(SourceError::Thread)?;
                Ok(Volume { tar, check })
            }
            Chosen::Legacy(legacy) => self.legacy(legacy),
        }
    }

    /// Opens the object of a volume to read pieces of it; its length, and how far is read at once.
    pub fn pieces(
        &self,
        snapshot: &Snapshot,
        number: u32,
    ) -> Result<(Unsealed<Counted<Ranged>>, Reach), SourceError> {
        let object = stored(snapshot, number).ok_or_else(|| SourceError::Missing {
            object: format!("volume {number}"),
        })?;
        let entry = found(&snapshot.objects, &object.name)?;
        let reach = Reach::default();
        let input = Counted {
            input: self.remote.open(entry, reach.clone()),
            reporter: Arc::clone(&self.reporter),
        };
        Ok((self.unseal(snapshot, object, input)?, reach))
    }

    /// Reads one object as it is stored, to its end, and compares it with what the manifest says; what is wrong, in words.
    pub fn rehash(&self, snapshot: &Snapshot, object: &StoredObject) -> io::Result<Option<String>> {
        let (mut input, check) = match self.whole(&snapshot.objects, object) {
            Ok(opened) => opened,
            Err(error) => return Ok(Some(error.to_string())),
        };
        io::copy(&mut input, &mut io::sink())?;
        Ok(check.fault())
    }

    fn legacy(&self, legacy: &Legacy) -> Result<Volume, SourceError> {
        let input = self.counted(&legacy.entry);
        let object = legacy.name.to_string();
        let tar = match (legacy.name.encrypted(), self.keys.passphrase()) {
            (false, _) => Ahead::new(unpack(input)),
            (true, None) => {
                let source = OpenError::NoPassphrase;
                return Err(SourceError::Open { object, source });
            }
            (true, Some(passphrase)) => Ahead::new(unpack(
                LegacyReader::open(input, passphrase)
                    .map_err(|source| SourceError::Legacy { object, source })?,
            )),
        }
        .map_err(SourceError::Thread)?;
        let check = ObjectCheck::none();
        Ok(Volume { tar, check })
    }

    fn counted(&self, entry: &Entry) -> Counted<Ranged> {
        Counted {
            input: self.remote.open_whole(entry),
            reporter: Arc::clone(&self.reporter),
        }
    }

    fn whole(
        &self,
        objects: &BTreeMap<String, Entry>,
        object: &StoredObject,
    ) -> Result<(Hashing<Counted<Ranged>>, ObjectCheck), SourceError> {
        let entry = found(objects, &object.name)?;
        let end = Arc::new(OnceLock::new());
        let input = Hashing {
            input: self.counted(entry),
            sha256: Some(Sha256::new()),
            end: Arc::clone(&end),
        };
        let check = ObjectCheck {
            expected: Some((object.name.clone(), object.sha256)),
            end,
        };
        Ok((input, check))
    }

    fn unseal<R: Read>(
        &self,
        snapshot: &Snapshot,
        object: &StoredObject,
        input: R,
    ) -> Result<Unsealed<R>, SourceError> {
        let name = || object.name.clone();
        let error = match self
            .keys
            .unseal(snapshot.manifest.encryption.is_on(), input)
        {
            Ok(input) => {
                self.has_opened.store(true, Ordering::Relaxed);
                return Ok(input);
            }
            Err(error) => error,
        };
        let is_damage = error.is_about_keys()
            && self
                .is_damaged(snapshot, object)
                .map_err(|error| SourceError::Open {
                    object: name(),
                    source: OpenError::Io(error),
                })?;
        Err(match is_damage {
            true => SourceError::Head { object: name() },
            false => SourceError::Open {
                object: name(),
                source: error,
            },
        })
    }

    /// Whether an object that the keys do not open is damaged, and no other key is wanted. What has opened one object opens
    /// all of them; before that, the one that the manifest names has no damage.
    fn is_damaged(&self, snapshot: &Snapshot, object: &StoredObject) -> io::Result<bool> {
        Ok(self.has_opened.load(Ordering::Relaxed) || self.rehash(snapshot, object)?.is_some())
    }
}

/// An index that is read from begin to end.
pub struct Index {
    /// Its records.
    pub reader: IndexReader<Unsealed<Hashing<Counted<Ranged>>>>,
    /// Whether its object was the one that the manifest names, once it was read to its end.
    pub check: ObjectCheck,
}

/// gzip, of one member or several, with nothing else behind it.
fn unpack<R: Read>(input: R) -> MultiGzDecoder<BufReader<R>> {
    MultiGzDecoder::new(BufReader::with_capacity(BUFFER, input))
}

/// What the manifest says of the object of a volume, from 1.
pub(super) fn stored(snapshot: &Snapshot, number: u32) -> Option<&StoredObject> {
    let place = usize::try_from(number.checked_sub(1)?).ok()?;
    Some(&snapshot.manifest.volumes.get(place)?.object)
}

fn found<'a>(objects: &'a BTreeMap<String, Entry>, name: &str) -> Result<&'a Entry, SourceError> {
    objects.get(name).ok_or_else(|| SourceError::Missing {
        object: name.to_owned(),
    })
}

/// Tells how many bytes came.
pub struct Counted<R> {
    input: R,
    reporter: Arc<dyn Reporter>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.reporter.moved(count as u64);
        Ok(count)
    }
}

impl<R: io::Seek> io::Seek for Counted<R> {
    fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
        self.input.seek(position)
    }
}

/// Hashes what is read.
pub struct Hashing<R> {
    input: R,
    sha256: Option<Sha256>,
    end: Arc<OnceLock<Digest>>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&buffer[..count]);
        }
        if count == 0
            && !buffer.is_empty()
            && let Some(sha256) = self.sha256.take()
        {
            // Only the first end counts, and there is no second one: the hasher is gone.
            let _first = self.end.set(Digest(sha256.finalize().into()));
        }
        Ok(count)
    }
}

/// Whether an object was the one that the manifest names.
pub struct ObjectCheck {
    expected: Option<(String, Digest)>,
    end: Arc<OnceLock<Digest>>,
}

impl ObjectCheck {
    fn none() -> Self {
        Self {
            expected: None,
            end: Arc::default(),
        }
    }

    /// What is wrong, when it was read to its end and something is.
    pub fn fault(&self) -> Option<String> {
        let (name, expected) = self.expected.as_ref()?;
        let found = self.end.get()?;
        (found != expected).then(|| {
            format!("`{name}` is not the object that the manifest names: its SHA-256 is {found}, not {expected}")
        })
    }
}

/// The error of this type in `error` or below it.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What an `io::Error` wraps is not its source.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// Whether `error` is about the way to the storage, and says nothing about what is stored.
pub(super) fn is_network(error: &(dyn Error + 'static)) -> bool {
    find::<ows_providers::Error>(error).is_some() || find::<Stopped>(error).is_some()
}

/// Whether `error` says that the keys of this host do not open it. A damaged head is none of these ([`SourceError::Head`]).
pub(super) fn is_about_keys(error: &(dyn Error + 'static)) -> bool {
    find::<OpenError>(error).is_some_and(OpenError::is_about_keys)
        || matches!(find(error), Some(LegacyError::WrongPassphrase))
}

/// Which key is to be configured, when `error` says that those of this host do not open it.
fn which_key(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let open = find::<OpenError>(error);
    match open {
        Some(OpenError::NoIdentity | OpenError::OtherKeys { .. }) => {
            Some("name the file with its age identity in `backup.identities`")
        }
        _ if is_about_keys(error) => Some(
            "set `backup.passphrase` to the one that it was made with; where the configuration has `recipients`, \
             write a second one without them and name it: `--config FILE`",
        ),
        _ => None,
    }
}

/// What a person reads about `error`.
pub(super) fn failure(
    message: String,
    error: impl Error + Send + Sync + 'static,
    cancel: &Cancel,
) -> Failure {
    if find::<Stopped>(&error).is_some() || cancel.is_stopped() {
        return cancel.failure();
    }
    let provider = find::<ows_providers::Error>(&error).map(|error| error.kind);
    let (kind, hint) = match provider {
        Some(ows_providers::ErrorKind::Unauthorized) => (
            FailureKind::Unauthorized,
            "check the credentials in the configuration or the environment",
        ),
        Some(_) => (
            FailureKind::Failed,
            "check the network and the storage, then run again",
        ),
        None => match which_key(&error) {
            Some(hint) => (FailureKind::Usage, hint),
            None => (
                FailureKind::Failed,
                "`ows backup verify` shows which snapshots are whole; one file out of this one may still be restored with \
                 --path",
            ),
        },
    };
    Failure::new(kind, message)
        .with_hint(hint)
        .with_source(error)
}
