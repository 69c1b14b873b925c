//! The plugin's configuration, with what the plugin made of it.
//!
//! Three things are not as they are written. The plugin made a section of an rclone.conf of its provider block once, and from
//! then on used that section, whatever the configuration said: the section wins here too. It handed `remotePath` to rclone as it
//! is, so on S3 its first segment was the bucket and `s3.bucket` meant nothing. And without `exclude` it had a pattern of
//! its own, which is our default as well.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::document::Entry;
use super::section::{self, Mapped, Options};
use super::{Note, NoteKind, Parts, Surroundings, backup, mode_entry, rebase, refused};
use crate::config::check::Findings;
use crate::config::source::{self, Found};
use crate::config::sync::{KEYS, MODES};
use crate::error::{Failure, Outcome};

/// Provider, our key, rclone's option: what the plugin wrote into the rclone.conf, and what we read from one beyond that.
const OPTIONS: [(&str, &str, &str); 17] = [
    ("s3", "endpoint", "endpoint"),
    ("s3", "region", "region"),
    ("s3", "accessKeyId", "access_key_id"),
    ("s3", "secretAccessKey", "secret_access_key"),
    ("s3", "sessionToken", "session_token"),
    ("dropbox", "appKey", "client_id"),
    ("dropbox", "appSecret", "client_secret"),
    ("dropbox", "token", "token"),
    ("gdrive", "clientId", "client_id"),
    ("gdrive", "clientSecret", "client_secret"),
    ("gdrive", "token", "token"),
    ("gdrive", "teamDrive", "team_drive"),
    ("gdrive", "rootFolderId", "root_folder_id"),
    ("onedrive", "clientId", "client_id"),
    ("onedrive", "token", "token"),
    ("onedrive", "driveId", "drive_id"),
    ("onedrive", "driveType", "drive_type"),
];

/// The provider blocks.
pub(super) const BLOCKS: [&str; 5] = ["s3", "dropbox", "gdrive", "onedrive", "custom"];

/// Keys of blocks whose texts are secrets, wherever they stand.
const SECRETS: [&str; 7] = [
    "clientSecret",
    "proxy",
    "serviceAccount",
    "token",
    "url",
    "heartbeatUrl",
    "passphrase",
];

/// The plugin's two halves, whichever of its shapes they were in.
pub(super) fn import(around: &Surroundings<'_>, found: &Found) -> Outcome<Parts> {
    let findings = Findings::new(&found.document.path);
    let part = source::part(found, &findings);
    let Some(part) = part.filter(|_| !findings.has_problems()) else {
        return Err(refused(&found.document.path, findings));
    };
    let mut map = part.map;
    let backup = map.remove("backup");
    let mut sync = match map.remove("sync") {
        Some(Value::Object(mut sync)) => {
            // Blocks beside both halves are shared by them.
            for name in BLOCKS {
                if let Some(Value::Object(shared)) = map.remove(name) {
                    let own = sync
                        .entry(name)
                        .or_insert_with(|| Value::Object(Map::new()));
                    if let Value::Object(own) = own {
                        shared.into_iter().for_each(|(key, value)| {
                            own.entry(key).or_insert(value);
                        });
                    }
                }
            }
            sync
        }
        Some(_) => {
            findings.problem(&part.key.key("sync"), "is no object; allowed: an object");
            return Err(refused(&found.document.path, findings));
        }
        None => std::mem::take(&mut map),
    };
    map.remove("$schema");
    sync.remove("$schema");
    let mut parts = Parts::default();
    for name in map.keys() {
        let why = "is no key that `ows` knows";
        parts.notes.push(Note::new(NoteKind::LeftOut, name, why));
    }
    let conf = conf_path(around, &sync);
    let remote = sync_entries(around, &mut sync, &conf, &mut parts)?;
    if let Some(Value::Object(backup)) = backup {
        backup::import(around, backup, &remote, &conf, &mut parts)?;
    }
    Ok(parts)
}

/// What the backup takes over from the sync.
pub(super) struct Remote {
    /// The plugin's `provider`.
    pub(super) provider: String,
    /// The sync's own blocks.
    pub(super) blocks: Map<String, Value>,
    pub(super) exclude: Option<Value>,
    /// Whether our S3 block of the sync names an endpoint.
    pub(super) has_endpoint: bool,
}

fn conf_path(around: &Surroundings<'_>, sync: &Map<String, Value>) -> PathBuf {
    let Some(text) = sync.get("configPath").and_then(Value::as_str) else {
        return around.rclone_conf.clone();
    };
    let text = around.variables.expand(text).unwrap_or(text.to_owned());
    let home = around.variables.environment.home();
    crate::config::expand::place(&text, &around.folder, home.as_deref())
        .unwrap_or_else(|_| around.folder.join(text))
}

fn sync_entries(
    around: &Surroundings<'_>,
    sync: &mut Map<String, Value>,
    conf: &std::path::Path,
    parts: &mut Parts,
) -> Outcome<Remote> {
    let provider = text_of(sync, "provider").unwrap_or_else(|| "off".to_owned());
    let remote_name = text_of(sync, "remoteName").unwrap_or_else(|| "cloud".to_owned());
    let blocks: Map<String, Value> = BLOCKS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), sync.remove(*name)?)))
        .collect();
    let mut remote = Remote {
        provider: provider.clone(),
        exclude: sync.get("exclude").cloned(),
        has_endpoint: false,
        blocks,
    };
    let used = conf_section(conf, &remote_name);
    let mut entries = Vec::new();
    let asked = around.request.remote_path.clone();
    let path = asked.or_else(|| text_of(sync, "remotePath"));
    let mut path = path.unwrap_or_else(|| "openclaw-share".to_owned());
    match block(
        around,
        &provider,
        &remote.blocks,
        used,
        "sync",
        &mut parts.notes,
    )? {
        None => entries.push(Entry::plain("provider", provider.as_str())),
        Some((mapped, took_section)) => {
            let mut block = mapped.block;
            parts.notes.extend(mapped.notes);
            rebase(&mut block, &around.folder);
            remote.has_endpoint = block.iter().any(|entry| entry.key == "endpoint");
            if mapped.provider == "s3" {
                path = bucket(&path, &remote, &mut block, &mut parts.notes)?;
            }
            entries.push(Entry::plain("provider", mapped.provider));
            entries.push(Entry::block(mapped.provider, block));
            if took_section {
                sync.remove("configPath");
            }
        }
    }
    let written = sync.get("mode").and_then(Value::as_str);
    let known = MODES.iter().find(|(name, _)| Some(*name) == written);
    let mode = around.request.mode.or(known.map(|(_, mode)| *mode));
    let mode = match (mode, written) {
        (None, Some(written)) => Entry::plain("mode", written),
        (mode, _) => mode_entry(mode, &mut parts.notes),
    };
    entries.insert(1, mode);
    entries.push(Entry::plain("remotePath", path));
    rest(around, sync, &mut entries, &mut parts.notes);
    parts.entries.push(Entry::block("sync", entries));
    Ok(remote)
}

/// The bucket of the sync, and the folder in it.
fn bucket(
    path: &str,
    remote: &Remote,
    block: &mut Vec<Entry>,
    notes: &mut Vec<Note>,
) -> Outcome<String> {
    let named = remote
        .blocks
        .get("s3")
        .and_then(|block| block["bucket"].as_str())
        .filter(|_| remote.provider == "s3");
    let first = path.trim_matches('/').split('/').next().unwrap_or_default();
    let why = match named {
        Some(named) if first.is_empty() => {
            let why =
                "`remotePath` was empty, with which rclone could not sync; this was `s3.bucket`";
            block.insert(0, Entry::plain("bucket", named).because(why));
            return Ok(String::new());
        }
        _ if first.is_empty() => {
            return Err(Failure::usage(
                "`remotePath` is empty, so nothing says which bucket to sync with",
            )
            .with_hint("give it: `--remote-path BUCKET` or `--remote-path BUCKET/FOLDER`; nothing was written"));
        }
        Some(named) if named != first => {
            let why = "the first segment of `remotePath`: that is where the plugin put the files; it made no use of `s3.bucket`";
            notes.push(Note::new(
                NoteKind::Changed,
                "sync.s3.bucket",
                format!(
                    "the bucket is `{first}`, {why}, which was `{named}`. If the files should go there, change the file \
                     before the first sync"
                ),
            ));
            Some(why.to_owned())
        }
        _ => Some("the first segment of the plugin's `remotePath`".to_owned()),
    };
    Ok(super::split_bucket("s3", path, block, why))
}

/// The sections of the plugin's rclone.conf. What cannot be read there cannot have been used.
fn conf_section(conf: &std::path::Path, name: &str) -> Option<(String, Options)> {
    let sections: BTreeMap<String, Options> = super::find::read_rclone(conf).ok()?;
    let options = sections.into_iter().find(|(found, _)| found == name)?.1;
    Some((format!("[{name}] of {}", conf.display()), options))
}

/// The block of a provider of the plugin's, and whether a section of the rclone.conf took part; `None` for none.
pub(super) fn block(
    around: &Surroundings<'_>,
    provider: &str,
    blocks: &Map<String, Value>,
    used: Option<(String, Options)>,
    of: &str,
    notes: &mut Vec<Note>,
) -> Outcome<Option<(Mapped, bool)>> {
    let own = blocks.get(provider).and_then(Value::as_object);
    let empty = Map::new();
    let own = own.unwrap_or(&empty);
    let (kind, mut options, key) = match provider {
        "s3" => ("s3".to_owned(), from_block(provider, own), "s3"),
        "dropbox" => ("dropbox".to_owned(), from_block(provider, own), "dropbox"),
        "gdrive" => ("drive".to_owned(), from_block(provider, own), "gdrive"),
        "onedrive" => ("onedrive".to_owned(), from_block(provider, own), "onedrive"),
        "custom" => {
            let kind = text_of(own, "rcloneType").or_else(|| text_of(own, "type"));
            let inner = own.get("rcloneOptions").or_else(|| own.get("options"));
            let options = inner.and_then(Value::as_object).map(as_options);
            (
                kind.unwrap_or_default(),
                options.unwrap_or_default(),
                "custom",
            )
        }
        _ => return Ok(None),
    };
    let key = format!("{of}.{key}");
    let took_section = match used {
        None => false,
        Some((place, section)) => {
            let there = section.get("type").map(ExposeSecret::expose_secret);
            if there == Some(kind.as_str()) {
                prefer(around, &mut options, &section, &place, &key, notes);
                true
            } else {
                let why = format!("{place} is of another type, and was not taken over");
                notes.push(Note::new(NoteKind::LeftOut, &key, why));
                false
            }
        }
    };
    let mut mapped = section::map(&kind, &options, &key)?;
    if provider != "custom" {
        for (name, value) in own {
            let is_known = OPTIONS
                .iter()
                .any(|(of, ours, _)| *of == provider && ours == name);
            if !is_known && name != "bucket" && !mapped.block.iter().any(|entry| entry.key == *name)
            {
                mapped.block.push(entry(name, value));
            }
        }
    }
    Ok(Some((mapped, took_section)))
}

/// The options that the plugin wrote into the rclone.conf.
fn from_block(provider: &str, own: &Map<String, Value>) -> Options {
    let options = OPTIONS.iter().filter(|(of, ..)| *of == provider);
    let options = options.filter_map(|(_, ours, theirs)| {
        let text = match own.get(*ours)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(((*theirs).to_owned(), SecretString::from(text)))
    });
    options.collect()
}

fn as_options(map: &Map<String, Value>) -> Options {
    let texts = map.iter().map(|(name, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (name.clone(), SecretString::from(text))
    });
    texts.collect()
}

/// What the section says wins: rclone never saw anything else. Where both say the same, what the configuration wrote stays,
/// a variable most likely.
fn prefer(
    around: &Surroundings<'_>,
    options: &mut Options,
    section: &Options,
    place: &str,
    key: &str,
    notes: &mut Vec<Note>,
) {
    for (name, theirs) in section.iter().filter(|(name, _)| *name != "type") {
        // Both are written in our form; only what they stand for can be compared.
        let stands_for = |text: &SecretString| around.variables.expand(text.expose_secret()).ok();
        let ours = options.get(name);
        let is_same = ours.is_some_and(|ours| {
            let ours = stands_for(ours);
            ours.is_some() && ours.map(|text| text.trim().to_owned()) == stands_for(theirs)
        });
        if is_same {
            continue;
        }
        let message = match ours {
            None => format!("`{name}` was taken from {place}"),
            Some(_) if name == "token" => {
                format!(
                    "`token` was taken from {place}, where rclone keeps the one that it refreshed"
                )
            }
            Some(_) => format!(
                "`{name}` was taken from {place}: it says something else there, and that is what the plugin used"
            ),
        };
        notes.push(Note::new(
            NoteKind::Changed,
            &format!("{key}.{name}"),
            message,
        ));
        options.insert(name.clone(), theirs.clone());
    }
}

/// The keys that mean the same here and there.
fn rest(
    around: &Surroundings<'_>,
    sync: &Map<String, Value>,
    entries: &mut Vec<Entry>,
    notes: &mut Vec<Note>,
) {
    let done = ["provider", "mode", "remotePath"];
    for name in KEYS.iter().filter(|name| !done.contains(name)) {
        let Some(value) = sync.get(*name) else {
            continue;
        };
        let mut line = vec![entry(name, value)];
        match *name {
            "localPath" if value == "/" => {
                line =
                    vec![Entry::plain("localPath", "").because("\"/\" meant the workspace itself")];
            }
            "exclude" if patterns(value).any(|pattern| pattern.starts_with("**/")) => {
                let why =
                    "a leading `**/` also matches at the root here, which with rclone it does not";
                notes.push(Note::new(NoteKind::Changed, "sync.exclude", why));
                line = vec![entry(name, value).because(why)];
            }
            "configPath" => rebase(&mut line, &around.folder),
            _ => {}
        }
        entries.append(&mut line);
    }
    for name in sync.keys().filter(|name| !KEYS.contains(&name.as_str())) {
        let why = "is no key that `ows` knows";
        notes.push(Note::new(NoteKind::LeftOut, &format!("sync.{name}"), why));
    }
}

pub(super) fn patterns(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

pub(super) fn text_of(map: &Map<String, Value>, name: &str) -> Option<String> {
    map.get(name)?.as_str().map(str::to_owned)
}

/// A key as it is, with its secrets marked.
pub(super) fn entry(name: &str, value: &Value) -> Entry {
    match value {
        Value::String(text) if SECRETS.contains(&name) => Entry::secret(name, text.clone().into()),
        Value::Object(map) => {
            let inner = map.iter().map(|(name, value)| entry(name, value));
            Entry::block(name, inner.collect())
        }
        other => Entry::plain(name, other.clone()),
    }
}
