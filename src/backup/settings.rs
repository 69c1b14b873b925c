//! What every backup command is told: where snapshots go, what they hold, how they are sealed, which of them stay.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use ows_providers::Provider;
use ows_providers::http::HttpOptions;
use ows_providers::layers::CallCounter;
use secrecy::SecretString;

use super::retention::Policy;
use super::seal::Keys;
use crate::config::{Encryption, Item};
use crate::error::Outcome;

/// A backup as it is configured. The command line makes it from the configuration; a program that embeds the library may
/// make it by itself.
#[derive(Debug, Clone)]
pub struct BackupSettings {
    /// The folder of the snapshots, with its layers; its root holds the snapshots' objects.
    pub provider: Arc<dyn Provider>,
    /// Counts the calls to it.
    pub counter: Arc<CallCounter>,
    /// Where the database, the locks and spool files are: `<state>/ows`.
    pub own_dir: PathBuf,
    /// The state directory, in which most items lie.
    pub state_dir: PathBuf,
    /// The workspace.
    pub workspace: PathBuf,
    /// Groups snapshots for retention and `latest`.
    pub profile: String,
    /// How manifests call this host; for people only.
    pub host: String,
    /// How snapshots are sealed.
    pub encryption: Encryption,
    /// Opens snapshots that were made with it, where `encryption` has no passphrase itself.
    pub passphrase: Option<SecretString>,
    /// Files with age identities, for reading snapshots. Making and pruning them needs none.
    pub identities: Vec<PathBuf>,
    /// What a snapshot holds.
    pub items: Vec<Item>,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// The local folder of the pair, whose trash is left out.
    pub pair_folder: Option<PathBuf>,
    /// Where snapshots lie, when that is a folder on this host: left out too.
    pub destination: Option<PathBuf>,
    /// Whether the contents of folders with a valid `CACHEDIR.TAG` are left out.
    pub exclude_caches: bool,
    /// Whether mount points inside an item are followed.
    pub cross_mounts: bool,
    /// The gzip level, 0 to 9.
    pub compression: u8,
    /// The size of a volume in bytes; one volume when `None`.
    pub volume_size: Option<u64>,
    /// Which snapshots stay.
    pub retain: Policy,
    /// Per cent of the largest kept snapshot, in files and in bytes; a smaller new one stops the pruning. 0: never.
    pub min_size: u8,
    /// Pinged when a backup begins, succeeds and fails.
    pub heartbeat: Option<Heartbeat>,
    /// Where the time of this host is read; tests bring their own.
    pub clock: BackupClock,
}

impl BackupSettings {
    /// Whether this host encrypts its snapshots: a plain one is none of its own then.
    pub fn encrypts(&self) -> bool {
        !matches!(self.encryption, Encryption::None)
    }

    /// The keys that open snapshots: they are asked for when one is read, and by nothing else.
    ///
    /// # Errors
    /// When a file with identities cannot be read.
    pub fn keys(&self) -> Outcome<Keys> {
        let passphrase = match &self.encryption {
            Encryption::Passphrase(passphrase) => Some(passphrase),
            _ => self.passphrase.as_ref(),
        };
        Keys::read(passphrase, &self.identities)
    }
}

/// Who is told how a backup went.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Where; such addresses are secrets.
    pub url: SecretString,
    /// How it is reached.
    pub http: HttpOptions,
}

/// The clock of this host.
#[derive(Debug, Clone, Copy)]
pub struct BackupClock(pub fn() -> DateTime<Utc>);

impl Default for BackupClock {
    fn default() -> Self {
        Self(Utc::now)
    }
}

impl BackupClock {
    /// The time of this host.
    pub fn now(self) -> DateTime<Utc> {
        (self.0)()
    }
}
