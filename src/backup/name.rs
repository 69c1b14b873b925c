//! The name of a snapshot and of every object that belongs to it, and what an object found beside them is.
//!
//! | object | what |
//! |---|---|
//! | `ows-20260131T235959Z-1a2b3c4d.tar.gz.age` | data, one volume; `.tar.gz` without encryption |
//! | `ows-20260131T235959Z-1a2b3c4d.v0001.tar.gz.age` | data, first of several volumes |
//! | `ows-20260131T235959Z-1a2b3c4d.index.age` | index; `.index` without encryption |
//! | `ows-20260131T235959Z-1a2b3c4d.manifest.json` | manifest: without it there is no snapshot |
//! | `RECOVER.txt` | how to restore without `ows` |
//! | `backup-*.tar.gz.enc`, `backup-*.tar.gz` | a snapshot of the old plugin |
//!
//! Anything else is foreign and never touched. Parsing is strict: a name that this module would not have written is
//! foreign, so that nothing is ever removed because it merely looks alike.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};

/// How a snapshot's name tells its time.
const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// What every snapshot's name begins with.
const PREFIX: &str = "ows-";

/// The instructions for whoever has the objects and no `ows`.
pub const RECOVER: &str = "RECOVER.txt";

/// The highest number of a volume: four digits keep the volumes in order in any listing.
pub const MOST_VOLUMES: u32 = 9_999;

/// Names a snapshot: `ows-20260131T235959Z-1a2b3c4d`. Orders by time, then by the random ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotName {
    taken_at: DateTime<Utc>,
    random: u32,
}

/// A text that is no snapshot's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no name of a snapshot (they look like `ows-20260131T235959Z-1a2b3c4d`)", .0.escape_debug())]
pub struct NotASnapshotName(String);

impl SnapshotName {
    /// The name of a snapshot taken at `taken_at`, by the provider's clock, to the second. `None` for years that four
    /// digits do not hold. `random` tells apart those of one second.
    pub fn new(taken_at: DateTime<Utc>, random: u32) -> Option<Self> {
        let name = Self {
            taken_at: taken_at.trunc_subsecs(0),
            random,
        };
        // Also refuses leap seconds, which have no second of their own in a `DateTime`.
        (Self::parse(&name.to_string()) == Some(name)).then_some(name)
    }

    /// The name of a snapshot taken at `taken_at`, with a random ending.
    pub fn random(taken_at: DateTime<Utc>) -> Option<Self> {
        Self::new(taken_at, rand::random())
    }

    /// When it was taken, to the second.
    pub fn taken_at(self) -> DateTime<Utc> {
        self.taken_at
    }

    /// The name of one of its objects.
    pub fn object(self, part: Part) -> String {
        format!("{self}{part}")
    }

    fn parse(text: &str) -> Option<Self> {
        let (time, random) = text.strip_prefix(PREFIX)?.split_once('-')?;
        if random.len() != 8 || !random.bytes().all(is_lower_hex) {
            return None;
        }
        let taken_at = parse_time(time)?;
        let random = u32::from_str_radix(random, 16).ok()?;
        Some(Self { taken_at, random })
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{PREFIX}{}-{:08x}",
            self.taken_at.format(TIME_FORMAT),
            self.random
        )
    }
}

impl FromStr for SnapshotName {
    type Err = NotASnapshotName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or_else(|| NotASnapshotName(text.to_owned()))
    }
}

impl serde::Serialize for SnapshotName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for SnapshotName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which object of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Its data.
    Data {
        /// Number from 1 of a snapshot that is split into volumes; `None` when it is one object.
        volume: Option<u32>,
        /// Whether it is sealed with age.
        encrypted: bool,
    },
    /// Its index.
    Index {
        /// Whether it is sealed with age.
        encrypted: bool,
    },
    /// Its manifest.
    Manifest,
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        if text == ".manifest.json" {
            return Some(Self::Manifest);
        }
        let (text, encrypted) = match text.strip_suffix(".age") {
            Some(text) => (text, true),
            None => (text, false),
        };
        if text == ".index" {
            return Some(Self::Index { encrypted });
        }
        let volume = match text.strip_suffix(".tar.gz")? {
            "" => None,
            number => Some(parse_volume(number.strip_prefix(".v")?)?),
        };
        Some(Self::Data { volume, encrypted })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypted = match self {
            Self::Data { volume, encrypted } => {
                if let Some(volume) = volume {
                    write!(formatter, ".v{volume:04}")?;
                }
                formatter.write_str(".tar.gz")?;
                *encrypted
            }
            Self::Index { encrypted } => {
                formatter.write_str(".index")?;
                *encrypted
            }
            Self::Manifest => return formatter.write_str(".manifest.json"),
        };
        formatter.write_str(if encrypted { ".age" } else { "" })
    }
}

/// What an object in the folder of the snapshots is, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectName {
    /// One of the objects of a snapshot.
    Snapshot(SnapshotName, Part),
    /// A snapshot of the old plugin, which goes by its object's name.
    Legacy(LegacyName),
    /// `RECOVER.txt`.
    Recover,
    /// None of ours: never touched, never counted.
    Foreign,
}

impl ObjectName {
    /// What `name` says, the object's name below the folder of the snapshots.
    pub fn parse(name: &str) -> Self {
        if name == RECOVER {
            return Self::Recover;
        }
        if let Some(legacy) = LegacyName::parse(name) {
            return Self::Legacy(legacy);
        }
        // The shortest part begins with a dot, and no dot stands in a snapshot's name.
        let parsed = name.find('.').and_then(|dot| {
            let (snapshot, part) = name.split_at_checked(dot)?;
            Some((SnapshotName::parse(snapshot)?, Part::parse(part)?))
        });
        match parsed {
            Some((snapshot, part)) => Self::Snapshot(snapshot, part),
            None => Self::Foreign,
        }
    }
}

/// The name of a snapshot of the old plugin: `backup-*.tar.gz.enc` or `backup-*.tar.gz`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegacyName {
    name: String,
    encrypted: bool,
}

impl LegacyName {
    /// Takes the name of an object; `None` when it is none of the old plugin's.
    pub fn parse(name: &str) -> Option<Self> {
        let (rest, encrypted) = match name.strip_suffix(".enc") {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        let middle = rest.strip_prefix("backup-")?.strip_suffix(".tar.gz")?;
        (!middle.is_empty() && !middle.contains('/')).then(|| Self {
            name: name.to_owned(),
            encrypted,
        })
    }

    /// The name of its object, which is its own.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether it is encrypted the way `openssl enc` does it.
    pub fn encrypted(&self) -> bool {
        self.encrypted
    }

    /// The time in its name, which the plugin wrote as `backup-20260131T235959Z`, by the host's clock. `None` when the name
    /// tells no such time.
    pub fn taken_at(&self) -> Option<DateTime<Utc>> {
        let rest = self.name.strip_prefix("backup-")?;
        let (time, _) = rest.split_once('.')?;
        parse_time(time)
    }
}

impl fmt::Display for LegacyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// Reads `20260131T235959Z` and nothing else: chrono alone also takes signs, spaces, fewer digits and the second 60.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let time = NaiveDateTime::parse_from_str(text, TIME_FORMAT)
        .ok()?
        .and_utc();
    let exact = time.format(TIME_FORMAT).to_string() == text && time.timestamp_subsec_nanos() == 0;
    exact.then_some(time)
}

fn parse_volume(text: &str) -> Option<u32> {
    if text.len() != 4 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let volume = text.parse().ok()?;
    (1..=MOST_VOLUMES).contains(&volume).then_some(volume)
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn name() -> SnapshotName {
        SnapshotName::new(at("2026-01-31T23:59:59.9Z"), 0x1a2b_3c4d).expect("a name")
    }

    #[test]
    fn every_object_has_the_name_that_the_documentation_says() {
        let names = [
            (
                Part::Data {
                    volume: None,
                    encrypted: true,
                },
                ".tar.gz.age",
            ),
            (
                Part::Data {
                    volume: None,
                    encrypted: false,
                },
                ".tar.gz",
            ),
            (
                Part::Data {
                    volume: Some(1),
                    encrypted: true,
                },
                ".v0001.tar.gz.age",
            ),
            (
                Part::Data {
                    volume: Some(9_999),
                    encrypted: false,
                },
                ".v9999.tar.gz",
            ),
            (Part::Index { encrypted: true }, ".index.age"),
            (Part::Index { encrypted: false }, ".index"),
            (Part::Manifest, ".manifest.json"),
        ];
        for (part, ending) in names {
            let object = name().object(part);
            assert_eq!(object, format!("ows-20260131T235959Z-1a2b3c4d{ending}"));
            assert_eq!(
                ObjectName::parse(&object),
                ObjectName::Snapshot(name(), part)
            );
        }
        assert_eq!(ObjectName::parse("RECOVER.txt"), ObjectName::Recover);
    }

    #[test]
    fn what_merely_looks_alike_is_foreign() {
        for foreign in [
            "",
            ".",
            "ows-20260131T235959Z-1a2b3c4d",
            "ows-20260131T235959Z-1a2b3c4d.",
            "ows-20260131T235959Z-1a2b3c4d.tar",
            "ows-20260131T235959Z-1a2b3c4d.tar.gz.enc",
            "ows-20260131T235959Z-1a2b3c4d.tar.gz.age.age",
            "ows-20260131T235959Z-1A2B3C4D.tar.gz.age",
            "ows-20260131T235959Z-1a2b3c4.tar.gz.age",
            "ows-20260131T235959Z-1a2b3c4d5.tar.gz.age",
            "ows-20260131T235959Z-+a2b3c4d.tar.gz",
            "ows-20260231T235959Z-1a2b3c4d.tar.gz",
            "ows-20260131T245959Z-1a2b3c4d.tar.gz",
            "ows-20260131T235960Z-1a2b3c4d.tar.gz",
            "ows-2026131T235959Z-1a2b3c4d.tar.gz",
            "ows- 20260131T235959Z-1a2b3c4d.tar.gz",
            "ows-20260131T235959-1a2b3c4d.tar.gz",
            "ows-20260131T235959Z-1a2b3c4d.v0000.tar.gz.age",
            "ows-20260131T235959Z-1a2b3c4d.v1.tar.gz.age",
            "ows-20260131T235959Z-1a2b3c4d.v00001.tar.gz.age",
            "ows-20260131T235959Z-1a2b3c4d.v+001.tar.gz.age",
            "ows-20260131T235959Z-1a2b3c4d.manifest.json.age",
            "ows-20260131T235959Z-1a2b3c4d.index.age.tmp",
            "x/ows-20260131T235959Z-1a2b3c4d.manifest.json",
            "OWS-20260131T235959Z-1a2b3c4d.manifest.json",
            "recover.txt",
            "backup-.tar.gz",
            "backup-x.tar",
            "backup-x.tar.gz.enc.age",
            "backup-a/b.tar.gz",
            "mybackup-x.tar.gz",
            "b\u{e4}ckup-\u{e4}.tar.gz",
        ] {
            assert_eq!(ObjectName::parse(foreign), ObjectName::Foreign, "{foreign}");
        }
    }

    #[test]
    fn snapshots_of_the_old_plugin_are_known_by_their_names() {
        let legacy = |name: &str| match ObjectName::parse(name) {
            ObjectName::Legacy(legacy) => legacy,
            other => panic!("{name}: {other:?}"),
        };
        let sealed = legacy("backup-20260131T235959Z.tar.gz.enc");
        assert!(sealed.encrypted());
        assert_eq!(sealed.taken_at(), Some(at("2026-01-31T23:59:59Z")));
        assert_eq!(sealed.to_string(), "backup-20260131T235959Z.tar.gz.enc");
        let plain = legacy("backup-20260131T235959Z.tar.gz");
        assert!(!plain.encrypted());
        for other in [
            "backup-before-the-move.tar.gz",
            "backup-20260131T235959Z-copy.tar.gz",
        ] {
            assert_eq!(legacy(other).taken_at(), None);
        }
    }

    #[test]
    fn names_order_by_time_and_survive_json() {
        let early = SnapshotName::new(at("2026-01-31T23:59:59Z"), u32::MAX).expect("a name");
        let late = SnapshotName::new(at("2026-02-01T00:00:00Z"), 0).expect("a name");
        assert!(early < late && early.to_string() < late.to_string());
        assert!(name() < early);
        let json = serde_json::to_string(&name()).expect("writes");
        assert_eq!(json, "\"ows-20260131T235959Z-1a2b3c4d\"");
        assert_eq!(
            serde_json::from_str::<SnapshotName>(&json).expect("reads"),
            name()
        );
        let error = serde_json::from_str::<SnapshotName>("\"latest\"").expect_err("no name");
        assert!(
            error
                .to_string()
                .starts_with("`latest` is no name of a snapshot"),
            "{error}"
        );
    }

    #[test]
    fn a_time_that_four_digits_do_not_hold_has_no_name() {
        assert_eq!(SnapshotName::new(DateTime::<Utc>::MAX_UTC, 1), None);
        assert_eq!(SnapshotName::new(DateTime::<Utc>::MIN_UTC, 1), None);
    }

    proptest! {
        #[test]
        fn every_name_reads_back(seconds in 0i64..250_000_000_000, random: u32, volume in proptest::option::of(1..=MOST_VOLUMES), encrypted: bool) {
            let name = SnapshotName::new(DateTime::from_timestamp(seconds, 0).expect("a time"), random).expect("a name");
            prop_assert_eq!(name.to_string().parse::<SnapshotName>(), Ok(name));
            prop_assert_eq!(name.taken_at().timestamp(), seconds);
            let part = Part::Data { volume, encrypted };
            prop_assert_eq!(ObjectName::parse(&name.object(part)), ObjectName::Snapshot(name, part));
        }

        #[test]
        fn what_parses_is_what_would_be_written(text in "(ows|backup)-[0-9TZ]{15,17}-[0-9a-f]{7,9}(\\.v[0-9]{3,5})?(\\.tar\\.gz|\\.index|\\.manifest\\.json)(\\.age|\\.enc)?") {
            match ObjectName::parse(&text) {
                ObjectName::Snapshot(name, part) => prop_assert_eq!(name.object(part), text),
                ObjectName::Legacy(name) => prop_assert_eq!(name.as_str(), text),
                ObjectName::Recover | ObjectName::Foreign => {}
            }
        }
    }
}
