//! The manifest of a snapshot: written last, and only if absent. A snapshot without it does not exist.
//!
//! # Format 1
//!
//! One JSON object, UTF-8, never encrypted: a host without an identity lists and prunes by it. Of the content it shows
//! totals and the names of up to 100 files of each class of problems, also to whoever runs the storage.
//!
//! | key | what |
//! |---|---|
//! | `format` | 1; a reader that knows only older formats stops here |
//! | `snapshot` | name of the snapshot |
//! | `profile`, `host` | profile; label of the host that made it |
//! | `started_at`, `finished_at` | RFC 3339, UTC |
//! | `tool` | what wrote it: `ows 0.1.0` |
//! | `encryption` | `{"kind": "none"}`, `{"kind": "passphrase"}` or `{"kind": "recipients", "fingerprints": [...]}` |
//! | `items` | the items that it holds |
//! | `volumes` | per volume `name`, `size` and `sha256` of the object, `tar_size` before compression |
//! | `index` | `name`, `size` and `sha256` of the index's object |
//! | `totals` | `files`, `dirs`, `symlinks`, `hard_links`; `bytes` of content before compression |
//! | `problems` | per class `class`, `count` and up to 100 `names` |
//! | `previous` | `snapshot` and `sha256` of the manifest before it in the profile, or null |
//!
//! A reader takes unknown keys for additions and goes on. Hashes are of what is stored, so that they can be checked without
//! a key. The manifest is no signature: who can write to the storage can write any manifest.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::entry::Digest;
use super::name::{MOST_VOLUMES, Part, SnapshotName};

/// The format that is written, and the newest that is read.
pub const FORMAT: u32 = 1;

/// How many names a class of problems lists.
pub const MOST_NAMES: usize = 100;

/// The longest manifest that is read. One of 9,999 volumes and all names is a quarter of this.
pub const LONGEST: usize = 16 << 20;

/// What a snapshot is made of and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format, [`FORMAT`].
    pub format: u32,
    /// Name of the snapshot.
    pub snapshot: SnapshotName,
    /// The profile that groups snapshots for retention and `latest`.
    pub profile: String,
    /// Label of the host that made it.
    pub host: String,
    /// When the run began.
    pub started_at: DateTime<Utc>,
    /// When the data and the index were stored.
    pub finished_at: DateTime<Utc>,
    /// What wrote it.
    pub tool: String,
    /// How data and index are encrypted.
    pub encryption: Encryption,
    /// The items that it holds.
    pub items: Vec<String>,
    /// Its volumes, in order.
    pub volumes: Vec<Volume>,
    /// Its index.
    pub index: StoredObject,
    /// What it holds in all.
    pub totals: Totals,
    /// What could not be stored as it was.
    pub problems: Vec<Problem>,
    /// The manifest before it in the profile.
    pub previous: Option<Previous>,
}

/// How a snapshot is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Encryption {
    /// Not at all.
    None,
    /// With a passphrase.
    Passphrase,
    /// To the owners of keys.
    Recipients {
        /// Which keys: a fingerprint of each recipient.
        fingerprints: Vec<String>,
    },
}

impl Encryption {
    /// Whether data and index are sealed.
    pub fn is_on(&self) -> bool {
        !matches!(self, Self::None)
    }
}

/// An object as it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Its name below the folder of the snapshots.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of what is stored.
    pub sha256: Digest,
}

/// A volume of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its object.
    #[serde(flatten)]
    pub object: StoredObject,
    /// Length of its tar before compression, in bytes.
    pub tar_size: u64,
}

/// What a snapshot holds in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub dirs: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Content of the files, in bytes before compression.
    pub bytes: u64,
}

impl Totals {
    /// How many paths there are.
    pub fn paths(&self) -> u64 {
        [self.dirs, self.symlinks, self.hard_links]
            .into_iter()
            .fold(self.files, u64::saturating_add)
    }
}

/// Why something could not be stored as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemClass {
    /// It could not be read. It is not in the snapshot; or, where reading failed in the middle of a long file, with zeros
    /// for the rest, and the index marks it.
    Unreadable,
    /// It changed while it was read; what was read is in the snapshot.
    Changed,
    /// It was gone when it was its turn; it is not in the snapshot.
    Vanished,
    /// A database that was stored as its file is, not as a consistent copy.
    SqliteUnverified,
    /// A class that a newer tool knows.
    #[serde(other)]
    Other,
}

/// How often one class of problems occurred, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which class.
    pub class: ProblemClass,
    /// How many paths.
    pub count: u64,
    /// The first of them, escaped for reading; at most [`MOST_NAMES`].
    pub names: Vec<String>,
}

/// The manifest before this one in the profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Whose manifest.
    pub snapshot: SnapshotName,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// Why a manifest is not used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A newer tool wrote it.
    #[error(
        "its manifest has format {found}, and this version of ows reads formats up to {FORMAT}: use a newer ows"
    )]
    Newer {
        /// The format that it names.
        found: u64,
    },
    /// It is no manifest, or was cut off or changed.
    #[error("its manifest is damaged")]
    Damaged(#[source] serde_json::Error),
    /// It reads, but contradicts itself or its place.
    #[error("its manifest is damaged: {0}")]
    Contradiction(String),
}

impl Manifest {
    /// Reads the manifest that is stored for `snapshot`, and checks that it belongs there and holds together.
    pub fn read(bytes: &[u8], snapshot: SnapshotName) -> Result<Self, ManifestError> {
        /// Looked at before the rest, which a newer format may have changed.
        #[derive(Deserialize)]
        struct Probe {
            format: u64,
        }
        if bytes.len() > LONGEST {
            return Err(contradiction("it is far too long"));
        }
        let probe: Probe = serde_json::from_slice(bytes).map_err(ManifestError::Damaged)?;
        if probe.format > u64::from(FORMAT) {
            return Err(ManifestError::Newer {
                found: probe.format,
            });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(ManifestError::Damaged)?;
        manifest.check(snapshot)?;
        Ok(manifest)
    }

    /// The bytes to store, after the same checks that a reader makes: what cannot be read back is not written.
    pub fn write(&self) -> Result<Vec<u8>, ManifestError> {
        self.check(self.snapshot)?;
        let mut bytes = serde_json::to_vec_pretty(self).map_err(ManifestError::Damaged)?;
        bytes.push(b'\n');
        if bytes.len() > LONGEST {
            return Err(contradiction("it would be far too long"));
        }
        Ok(bytes)
    }

    /// The bytes of tar of all volumes.
    pub fn tar_size(&self) -> u64 {
        self.volumes
            .iter()
            .fold(0, |sum, volume| sum.saturating_add(volume.tar_size))
    }

    fn check(&self, snapshot: SnapshotName) -> Result<(), ManifestError> {
        if self.format != FORMAT {
            return Err(contradiction(format!("there is no format {}", self.format)));
        }
        if self.snapshot != snapshot {
            return Err(contradiction(format!(
                "it is that of `{}`, not of `{snapshot}`",
                self.snapshot
            )));
        }
        self.check_objects()?;
        if self
            .previous
            .as_ref()
            .is_some_and(|previous| previous.snapshot == snapshot)
        {
            return Err(contradiction("it names itself as the one before it"));
        }
        for problem in &self.problems {
            let named = problem.names.len();
            if named > MOST_NAMES
                || u64::try_from(named).map_or(true, |named| named > problem.count)
            {
                return Err(contradiction(
                    "it names more paths than it counts or may name",
                ));
            }
        }
        Ok(())
    }

    /// The names of its objects follow from the snapshot's name; no manifest leads a reader, or a prune, elsewhere.
    fn check_objects(&self) -> Result<(), ManifestError> {
        let encrypted = self.encryption.is_on();
        if self.volumes.is_empty() || self.volumes.len() > MOST_VOLUMES as usize {
            return Err(contradiction(format!(
                "it has {} volumes",
                self.volumes.len()
            )));
        }
        let whole = self.snapshot.object(Part::Data {
            volume: None,
            encrypted,
        });
        let is_whole = matches!(self.volumes.as_slice(), [only] if only.object.name == whole);
        for (volume, number) in self.volumes.iter().zip(1..) {
            let part = Part::Data {
                volume: Some(number),
                encrypted,
            };
            if !is_whole && volume.object.name != self.snapshot.object(part) {
                return Err(contradiction(format!(
                    "its volume {number} is called `{}`",
                    volume.object.name.escape_debug()
                )));
            }
        }
        if self.index.name != self.snapshot.object(Part::Index { encrypted }) {
            return Err(contradiction(format!(
                "its index is called `{}`",
                self.index.name.escape_debug()
            )));
        }
        Ok(())
    }
}

fn contradiction(what: impl Into<String>) -> ManifestError {
    ManifestError::Contradiction(what.into())
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../fixtures/backup/manifest-1.json");

    fn name() -> SnapshotName {
        "ows-20260131T235959Z-1a2b3c4d".parse().expect("a name")
    }

    fn object(part: Part, content: &[u8]) -> StoredObject {
        StoredObject {
            name: name().object(part),
            size: content.len() as u64,
            sha256: Digest::of(content),
        }
    }

    fn manifest() -> Manifest {
        let volume = |number, content: &[u8]| Volume {
            object: object(
                Part::Data {
                    volume: Some(number),
                    encrypted: true,
                },
                content,
            ),
            tar_size: 1 << 30,
        };
        Manifest {
            format: FORMAT,
            snapshot: name(),
            profile: "default".into(),
            host: "gateway".into(),
            started_at: "2026-01-31T23:59:59.25Z".parse().expect("a time"),
            finished_at: "2026-02-01T00:03:10Z".parse().expect("a time"),
            tool: "ows 0.1.0".into(),
            encryption: Encryption::Recipients {
                fingerprints: vec!["0f1e2d3c4b5a6978".into()],
            },
            items: vec!["workspace".into(), "config".into()],
            volumes: vec![volume(1, b"first"), volume(2, b"second")],
            index: object(Part::Index { encrypted: true }, b"index"),
            totals: Totals {
                files: 3,
                dirs: 2,
                symlinks: 1,
                hard_links: 1,
                bytes: 1 << 30,
            },
            problems: vec![Problem {
                class: ProblemClass::SqliteUnverified,
                count: 1,
                names: vec!["workspace/memory.db".into()],
            }],
            previous: Some(Previous {
                snapshot: "ows-20260130T235959Z-00000000".parse().expect("a name"),
                sha256: Digest::of(b"previous"),
            }),
        }
    }

    /// What reading says about the manifest with one value replaced, with its causes.
    fn refusal(pointer: &str, value: Value) -> String {
        let mut json: Value = serde_json::from_slice(GOLDEN).expect("reads");
        *json.pointer_mut(pointer).expect("is there") = value;
        let error =
            Manifest::read(&serde_json::to_vec(&json).expect("writes"), name()).expect_err(pointer);
        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        format!("{error}{cause}")
    }

    #[test]
    fn format_1_reads_and_is_written_byte_for_byte() {
        assert_eq!(Manifest::read(GOLDEN, name()).expect("reads"), manifest());
        assert_eq!(
            String::from_utf8(manifest().write().expect("writes")).expect("text"),
            String::from_utf8(GOLDEN.to_vec()).expect("text"),
        );
    }

    #[test]
    fn a_newer_format_is_refused_with_words_whatever_else_it_holds() {
        for newer in [r#"{"format":2}"#, r#"{"volumes":{},"format":4294967297}"#] {
            let error = Manifest::read(newer.as_bytes(), name()).expect_err("newer");
            assert!(matches!(error, ManifestError::Newer { .. }));
            assert!(error.to_string().ends_with("use a newer ows"), "{error}");
        }
        assert_eq!(
            refusal("/format", json!(0)),
            "its manifest is damaged: there is no format 0"
        );
    }

    #[test]
    fn keys_that_are_added_later_are_no_obstacle() {
        let mut json: Value = serde_json::from_slice(GOLDEN).expect("reads");
        json["later"] = json!({"a": 1});
        json["totals"]["sockets"] = json!(7);
        json["problems"][0]["class"] = json!("a-later-class");
        let read =
            Manifest::read(&serde_json::to_vec(&json).expect("writes"), name()).expect("reads");
        assert_eq!(read.problems[0].class, ProblemClass::Other);
        assert_eq!(read.totals, manifest().totals);
    }

    #[test]
    fn a_manifest_names_its_own_objects_and_no_others() {
        let other: SnapshotName = "ows-20260201T000000Z-1a2b3c4d".parse().expect("a name");
        let error = Manifest::read(GOLDEN, other).expect_err("of another snapshot");
        assert_eq!(
            error.to_string(),
            "its manifest is damaged: it is that of `ows-20260131T235959Z-1a2b3c4d`, not of `ows-20260201T000000Z-1a2b3c4d`",
        );
        for (pointer, value) in [
            ("/volumes/0/name", json!("RECOVER.txt")),
            (
                "/volumes/0/name",
                json!("ows-20260131T235959Z-1a2b3c4d.v0002.tar.gz.age"),
            ),
            (
                "/volumes/1/name",
                json!("ows-20260130T235959Z-1a2b3c4d.v0002.tar.gz.age"),
            ),
            (
                "/volumes/1/name",
                json!("ows-20260131T235959Z-1a2b3c4d.v0002.tar.gz"),
            ),
            ("/volumes", json!([])),
            ("/index/name", json!("../secret")),
            ("/encryption", json!({"kind": "none"})),
            ("/problems/0/count", json!(0)),
            ("/previous/snapshot", json!("ows-20260131T235959Z-1a2b3c4d")),
        ] {
            assert!(
                refusal(pointer, value).starts_with("its manifest is damaged: it"),
                "{pointer}"
            );
        }
    }

    #[test]
    fn a_snapshot_in_one_object_needs_no_number() {
        let mut one = manifest();
        one.encryption = Encryption::None;
        one.index = object(Part::Index { encrypted: false }, b"");
        one.volumes.truncate(1);
        one.volumes[0].object = object(
            Part::Data {
                volume: None,
                encrypted: false,
            },
            b"",
        );
        let bytes = one.write().expect("writes");
        assert_eq!(Manifest::read(&bytes, name()).expect("reads"), one);
        one.volumes.push(one.volumes[0].clone());
        assert!(one.write().is_err(), "two volumes of one name");
    }

    #[test]
    fn what_is_missing_or_of_the_wrong_kind_is_told() {
        assert!(refusal("/index/sha256", json!("00")).starts_with(
            "its manifest is damaged: not a SHA-256 of 64 lower-case hexadecimal digits"
        ),);
        assert!(refusal("/totals/files", json!(-1)).contains("invalid value"));
        assert!(refusal("/encryption/kind", json!("rot13")).contains("unknown variant `rot13`"));
    }

    #[test]
    fn no_truncation_reads() {
        // The last byte is the line's end.
        for length in 0..GOLDEN.len() - 1 {
            Manifest::read(&GOLDEN[..length], name()).expect_err("cut off");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, byte: u8) {
            let _ = Manifest::read(&bytes, name());
            let mut damaged = GOLDEN.to_vec();
            let at = at.index(damaged.len());
            damaged[at] = byte;
            if let Ok(read) = Manifest::read(&damaged, name()) {
                // What still reads names the same objects.
                prop_assert_eq!(read.index.name, manifest().index.name);
            }
        }
    }
}
