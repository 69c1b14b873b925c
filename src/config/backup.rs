//! The `backup` keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ows_providers::RelPath;
use secrecy::SecretString;
use serde_json::Value;

use super::blocks::{Blocks, Located, Places, bucket};
use super::check::{MOST, Section, kind_of, listed, nearest};
use super::provider::ProviderConfig;
use super::resolve::{PROVIDERS, ProviderKind, Request, Supply};
use super::size::{raised, seconds_or_never, size, span};
use super::sync::{Inherited, heartbeat_url, patterns, per_cent, supply};
use super::unserved::{NOT_SERVED, served};

/// Something that a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    /// The workspace.
    Workspace,
    /// `<state>/openclaw.json`
    Config,
    /// `<state>/cron`
    Cron,
    /// `<workspace>/memory` and `<workspace>/MEMORY.md`
    Memory,
    /// `<state>/sessions`
    Sessions,
    /// `<state>/credentials`
    Credentials,
    /// `<workspace>/skills`
    Skills,
    /// `<state>/hooks`
    Hooks,
    /// `<state>/extensions`
    Extensions,
    /// `<workspace>/.env`
    Env,
    /// `<state>/agents`
    Agents,
    /// `<workspace>/pages`
    Pages,
    /// The `*.jsonl` of `<state>/sessions` and `<state>/agents/*/sessions`
    Transcripts,
}

const ITEMS: [(&str, Item); 13] = [
    ("workspace", Item::Workspace),
    ("config", Item::Config),
    ("cron", Item::Cron),
    ("memory", Item::Memory),
    ("sessions", Item::Sessions),
    ("credentials", Item::Credentials),
    ("skills", Item::Skills),
    ("hooks", Item::Hooks),
    ("extensions", Item::Extensions),
    ("env", Item::Env),
    ("agents", Item::Agents),
    ("pages", Item::Pages),
    ("transcripts", Item::Transcripts),
];

impl Item {
    /// The item's name in the configuration.
    pub fn name(self) -> &'static str {
        ITEMS
            .iter()
            .find(|(_, item)| *item == self)
            .map_or("", |(name, _)| name)
    }
}

/// Which snapshots are kept: one that any rule keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retain {
    /// So many of the newest.
    pub last: u32,
    /// The newest of so many hours.
    pub hourly: u32,
    /// The newest of so many days.
    pub daily: u32,
    /// The newest of so many ISO weeks.
    pub weekly: u32,
    /// The newest of so many months.
    pub monthly: u32,
    /// The newest of so many years.
    pub yearly: u32,
    /// All that are at most so much older than the newest.
    pub within: Option<Duration>,
}

impl Retain {
    /// Whether there is no rule, so that nothing is ever pruned.
    pub fn keeps_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// How snapshots are encrypted.
#[derive(Debug, Clone)]
pub enum Encryption {
    /// Not at all.
    None,
    /// With a passphrase.
    Passphrase(SecretString),
    /// To age public keys: this host can write snapshots, not read them.
    Recipients(Vec<String>),
}

/// Where snapshots go.
#[derive(Debug, Clone)]
pub struct BackupLocation {
    /// The provider.
    pub provider: ProviderConfig,
    /// The folder within it (for S3 within the bucket), `remotePath` and `prefix` together; `None` is its root.
    pub folder: Option<RelPath>,
}

/// The checked `backup` keys.
#[derive(Debug, Clone)]
pub struct BackupConfig {
    /// The key path of the section, for messages.
    pub key: String,
    /// Whether backups are made; reading snapshots works without it.
    pub enabled: bool,
    /// Where snapshots go; `None` when nothing says so, which is an error when backups are enabled.
    pub location: Option<BackupLocation>,
    /// The name that credentials are stored under.
    pub remote_name: String,
    /// The rclone.conf that supplies credentials.
    pub config_path: PathBuf,
    /// Groups snapshots for retention and `latest`.
    pub profile: String,
    /// Between scheduled backups; `None` for none.
    pub interval: Option<Duration>,
    /// How snapshots are encrypted.
    pub encryption: Encryption,
    /// Opens the snapshots that were made with it, whether or not new ones are.
    pub passphrase: Option<SecretString>,
    /// Files with age identities, for reading snapshots.
    pub identities: Vec<PathBuf>,
    /// What a snapshot holds, without doubles.
    pub include: Vec<Item>,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// Whether the contents of folders with a valid `CACHEDIR.TAG` are left out.
    pub exclude_caches: bool,
    /// Which snapshots are kept.
    pub retain: Retain,
    /// Whether mount points inside an item are followed.
    pub cross_mounts: bool,
    /// The gzip level, 0 to 9.
    pub compression: u8,
    /// The size of a volume in bytes; `None` leaves it to the provider.
    pub volume_size: Option<u64>,
    /// Per cent of the largest kept snapshot; a smaller new one stops the pruning.
    pub min_size: u8,
    /// Between scheduled verifications; `None` for never.
    pub verify_interval: Option<Duration>,
    /// Pinged at the start, success and failure of a backup; such URLs are secrets.
    pub heartbeat_url: Option<SecretString>,
}

/// Reads the backup keys; what they lack comes from sync's.
pub(super) fn read(
    section: Section<'_>,
    places: &Places,
    inherited: &Inherited,
) -> Option<BackupConfig> {
    let enabled = section.boolean("enabled").unwrap_or(false);
    let supply = supply(&section, places, "backup", &inherited.supply.config_path);
    let location = location(&section, places, inherited, &supply, enabled);
    let exclude = patterns(&section)
        .or_else(|| inherited.exclude.clone())
        .unwrap_or_else(|| {
            ["node_modules/", "__pycache__/", ".venv/", "venv/"]
                .map(str::to_owned)
                .to_vec()
        });
    let passphrase = section.secret("passphrase");
    let config = BackupConfig {
        key: section.key.as_str().to_owned(),
        enabled,
        location: location.clone().flatten(),
        remote_name: supply.remote_name,
        config_path: supply.config_path,
        profile: profile(&section),
        interval: interval(&section),
        encryption: encryption(&section, enabled, passphrase.as_ref()),
        passphrase,
        identities: identities(&section, places),
        include: include(&section),
        exclude,
        exclude_caches: section.boolean("excludeCaches").unwrap_or(true),
        retain: retain(&section),
        cross_mounts: section.boolean("crossMounts").unwrap_or(false),
        compression: section
            .integer("compression", 0..=9, "the gzip level")
            .and_then(|level| u8::try_from(level).ok())
            .unwrap_or(6),
        volume_size: size(&section, "volumeSize", 1 << 20),
        min_size: per_cent(&section, "minSize").unwrap_or(70),
        verify_interval: section
            .integer("verifyInterval", 0..=MOST, "seconds")
            .and_then(seconds_or_never),
        heartbeat_url: heartbeat_url(&section),
    };
    section.finish();
    location.map(|_| config)
}

/// Where snapshots go; `Some(None)` when nothing says so and nothing needs it, `None` on errors.
fn location(
    section: &Section<'_>,
    places: &Places,
    inherited: &Inherited,
    own: &Supply,
    enabled: bool,
) -> Option<Option<BackupLocation>> {
    let written = ["provider", "bucket", "prefix", "remotePath", "custom"]
        .map(|name| section.has(name))
        .contains(&true);
    let kind = section
        .choice("provider", &PROVIDERS)
        .unwrap_or(inherited.kind);
    let blocks = Blocks::read(section, places);
    let bucket = bucket(section, "bucket");
    if let (Some(_), Some(block)) = (&bucket, &blocks.s3)
        && block.bucket.is_some()
    {
        section.problem(
            "bucket",
            "stands beside `s3.bucket`, which it is shorthand for; allowed: one of them",
        );
    }
    let folder = |name: &'static str| {
        section
            .text(name, "a folder in the remote")
            .map(|text| Located {
                key: section.at(name),
                value: text.to_owned(),
            })
    };
    let (remote_path, below) = (folder("remotePath"), folder("prefix"));
    let in_block = blocks
        .s3
        .as_ref()
        .is_some_and(|block| block.bucket.is_some());
    if !enabled && !written && !in_block {
        return Some(None);
    }
    if kind == ProviderKind::Off {
        if enabled {
            section.problem(
                "provider",
                format!(
                    "is missing, so there is no place for snapshots; allowed: {}",
                    listed(served(
                        &NOT_SERVED,
                        "backup",
                        "provider",
                        PROVIDERS
                            .iter()
                            .map(|(name, _)| *name)
                            .filter(|name| *name != "off"),
                    ))
                ),
            );
            return None;
        }
        return Some(None);
    }
    if bucket.is_some() && !matches!(kind, ProviderKind::S3 | ProviderKind::Custom) {
        section.problem(
            "bucket",
            "means something for S3 only; allowed for other providers: `remotePath`, `prefix`",
        );
    }
    let mut supplies = vec![own.clone()];
    if kind == inherited.kind {
        supplies.push(inherited.supply.clone());
    }
    let (provider, folder) = Request {
        findings: section.findings,
        section: &section.key,
        kind,
        blocks: &blocks.over(&inherited.blocks),
        supplies: &supplies,
        bucket,
        remote_path: remote_path.unwrap_or_else(|| Located {
            key: section.at("remotePath"),
            value: String::new(),
        }),
        below,
        home: places.home.as_deref(),
    }
    .resolve()?;
    Some(Some(BackupLocation { provider, folder }))
}

fn profile(section: &Section<'_>) -> String {
    let allowed = "a name of letters, digits, `_`, `-` and `.`, at most 64 of them";
    let Some(name) = section.filled("profile", allowed) else {
        return "default".to_owned();
    };
    let good = name.chars().count() <= 64
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !good {
        section.problem(
            "profile",
            format!("is no profile's name; allowed: {allowed}"),
        );
    }
    name.to_owned()
}

fn interval(section: &Section<'_>) -> Option<Duration> {
    let seconds = section
        .integer("interval", 0..=MOST, "seconds")
        .unwrap_or(86_400);
    seconds_or_never(match seconds {
        0 => 0,
        seconds => raised(section, &section.at("interval"), seconds, 300),
    })
}

fn encryption(
    section: &Section<'_>,
    enabled: bool,
    passphrase: Option<&SecretString>,
) -> Encryption {
    let encrypt = section.boolean("encrypt").unwrap_or(false);
    let recipients = recipients(section);
    match (section.has("passphrase"), section.has("recipients")) {
        (true, true) => {
            section.problem(
                "recipients",
                "stand beside `passphrase`; allowed: one of them, since age does not mix the two (older snapshots, \
                 made with the passphrase, are read with a configuration of their own, which has the passphrase and no \
                 recipients: `--config FILE`)",
            );
            return Encryption::None;
        }
        (false, false) if encrypt => {
            section.problem(
                "encrypt",
                "is true without a key; allowed: `passphrase`, or `recipients` with `age1...` public keys \
                 (`ows backup keygen` makes one)",
            );
            return Encryption::None;
        }
        (false, false) => return Encryption::None,
        // Whoever only restores sets it for this.
        (true, false) if !encrypt && !enabled => return Encryption::None,
        _ if !encrypt => {
            let (name, what) = if section.has("passphrase") {
                ("passphrase", "it opens snapshots, and new ones")
            } else {
                ("recipients", "snapshots")
            };
            section.findings.warning(format!(
                "`{}` is set, but `encrypt` is not true: {what} are not encrypted",
                section.at(name)
            ));
            return Encryption::None;
        }
        _ => {}
    }
    match (passphrase, recipients) {
        (Some(passphrase), _) => Encryption::Passphrase(passphrase.clone()),
        (None, recipients) => Encryption::Recipients(recipients),
    }
}

/// Public keys. What is none is never shown: it may be the secret one.
fn recipients(section: &Section<'_>) -> Vec<String> {
    let allowed = "`age1...` public keys";
    let Some(texts) = section.texts("recipients", allowed) else {
        return Vec::new();
    };
    if matches!(section.raw("recipients"), Some(Value::Array(items)) if items.is_empty()) {
        section.problem("recipients", format!("is empty; allowed: {allowed}"));
    }
    let mut recipients = Vec::new();
    for (key, text) in texts {
        let text = text.trim();
        let problem = if text.starts_with("ssh-") {
            "is an ssh key; these are refused, because reading them needs an RSA implementation with an unpatched \
             timing leak"
        } else if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            "is a SECRET key, which must not stand here: whoever reads this file could read the snapshots"
        } else if text.starts_with("age1") && is_bech32(text) && text.len() == 62 {
            recipients.push(text.to_owned());
            continue;
        } else if text.starts_with("age1") {
            "is no whole `age1...` key: a character is wrong, missing or too many (keys of age plugins are not served)"
        } else {
            "is no age public key"
        };
        section
            .findings
            .problem(&key, format!("{problem}; allowed: {allowed}"));
    }
    recipients
}

/// Whether a lower-case text has the checksum of bech32 (BIP 173), so that a typo in a key is found before a snapshot
/// is encrypted to nobody.
fn is_bech32(text: &str) -> bool {
    const CHARSET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const GENERATOR: [u32; 5] = [
        0x3b6a_57b2,
        0x2650_8e6d,
        0x1ea1_19fa,
        0x3d42_33dd,
        0x2a14_62b3,
    ];
    let Some((prefix, data)) = text.rsplit_once('1') else {
        return false;
    };
    let Some(data) = data
        .bytes()
        .map(|byte| CHARSET.iter().position(|known| *known == byte))
        .map(|value| value.and_then(|value| u32::try_from(value).ok()))
        .collect::<Option<Vec<u32>>>()
    else {
        return false;
    };
    let high = prefix.bytes().map(|byte| u32::from(byte >> 5));
    let low = prefix.bytes().map(|byte| u32::from(byte & 31));
    let checksum = high
        .chain([0])
        .chain(low)
        .chain(data)
        .fold(1u32, |sum, value| {
            let top = sum >> 25;
            let mut next = ((sum & 0x1ff_ffff) << 5) ^ value;
            for (bit, generator) in GENERATOR.iter().enumerate() {
                if (top >> bit) & 1 == 1 {
                    next ^= generator;
                }
            }
            next
        });
    checksum == 1
}

fn identities(section: &Section<'_>, places: &Places) -> Vec<PathBuf> {
    let Some(texts) = section.texts("identities", "paths of age identity files") else {
        return Vec::new();
    };
    let mut paths = Vec::new();
    for (key, text) in texts {
        if text
            .trim()
            .to_ascii_uppercase()
            .starts_with("AGE-SECRET-KEY-")
        {
            section.findings.problem(
                &key,
                "is a secret key itself; allowed: the path of a file that holds it",
            );
            continue;
        }
        match super::expand::place(text, &places.base, places.home.as_deref()) {
            Ok(path) => paths.push(super::source::clean(Path::new(&path))),
            Err(message) => section.findings.problem(&key, message),
        }
    }
    paths
}

fn include(section: &Section<'_>) -> Vec<Item> {
    let names = || ITEMS.iter().map(|(name, _)| *name);
    let Some(texts) = section.texts("include", &listed(names())) else {
        return vec![Item::Workspace, Item::Config, Item::Cron, Item::Memory];
    };
    if matches!(section.raw("include"), Some(Value::Array(items)) if items.is_empty()) {
        section.problem("include", format!("is empty; allowed: {}", listed(names())));
    }
    let mut items = Vec::new();
    for (key, text) in texts {
        match ITEMS.iter().find(|(name, _)| *name == text) {
            Some((_, item)) if items.contains(item) => {}
            Some((_, item)) => items.push(*item),
            None => {
                let shown = section.findings.shown(&key, &Value::from(text));
                let near = nearest(text, names())
                    .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                section.findings.problem(
                    &key,
                    format!("found {shown}; allowed: {}{near}", listed(names())),
                );
            }
        }
    }
    items
}

fn retain(section: &Section<'_>) -> Retain {
    const NAME: &str = "retain";
    /// More snapshots than anybody keeps.
    const MANY: u64 = 1_000_000;
    let number = |section: &Section<'_>, name: &'static str| {
        section
            .integer(name, 0..=MANY, "snapshots")
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(0)
    };
    match section.raw(NAME) {
        None => Retain {
            last: 7,
            ..Retain::default()
        },
        Some(Value::Number(_)) => Retain {
            last: number(section, NAME),
            ..Retain::default()
        },
        Some(Value::Object(_)) => {
            let Some(inner) = section.section(NAME) else {
                return Retain::default();
            };
            let retain = Retain {
                last: number(&inner, "last"),
                hourly: number(&inner, "hourly"),
                daily: number(&inner, "daily"),
                weekly: number(&inner, "weekly"),
                monthly: number(&inner, "monthly"),
                yearly: number(&inner, "yearly"),
                within: span(&inner, "within").filter(|within| !within.is_zero()),
            };
            inner.finish();
            retain
        }
        Some(other) => {
            section.problem(
                NAME,
                format!(
                    "found {}; allowed: a number of snapshots, or `{{ last, hourly, daily, weekly, monthly, yearly, \
                     within }}`",
                    kind_of(other)
                ),
            );
            Retain::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_in_a_public_key_is_found() {
        let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        assert!(is_bech32(key));
        assert!(!is_bech32(&key.replace("ql3z", "ql3y")));
        assert!(!is_bech32(&key[..key.len() - 1]));
        assert!(!is_bech32("age1"));
        assert!(!is_bech32("nothing"));
    }

    #[test]
    fn every_item_has_its_name() {
        for (name, item) in ITEMS {
            assert_eq!(item.name(), name);
        }
    }
}
