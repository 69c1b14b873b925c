//! The plugin's `backup` block. Snapshots go to the same place and the same number of them is kept; how they are encrypted is
//! another matter, which the notes say.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::document::Entry;
use super::plugin::{self, Remote, entry, patterns, text_of};
use super::{Note, NoteKind, Parts, Surroundings, rebase};
use crate::error::Outcome;

/// What the plugin left out when nothing was said, as `tar` understands it.
const USUAL: [&str; 5] = [".git", "node_modules", "__pycache__", ".venv", "venv"];

/// Keys that mean the same here and there.
const SAME: [&str; 20] = [
    "enabled",
    "profile",
    "interval",
    "encrypt",
    "passphrase",
    "recipients",
    "identities",
    "include",
    "excludeCaches",
    "crossMounts",
    "compression",
    "volumeSize",
    "minSize",
    "verifyInterval",
    "heartbeatUrl",
    "remoteName",
    "retain",
    "exclude",
    "configPath",
    "$schema",
];

pub(super) fn import(
    around: &Surroundings<'_>,
    backup: Map<String, Value>,
    sync: &Remote,
    sync_conf: &Path,
    parts: &mut Parts,
) -> Outcome<()> {
    let mut entries = Vec::new();
    let notes = &mut parts.notes;
    if let Err(failure) = place(around, &backup, sync, sync_conf, &mut entries, notes) {
        // The sync is what people cannot do without; a backup that cannot come along is set up anew.
        notes.push(Note::new(NoteKind::LeftOut, "backup", failure.message));
        return Ok(());
    }
    for name in SAME {
        let Some(value) = backup.get(name) else {
            continue;
        };
        match name {
            "$schema" | "configPath" => {}
            "retain" => entries.push(retain(value, notes)),
            "exclude" => {}
            "encrypt" if *value == true => {
                notes.push(Note::new(
                    NoteKind::Changed,
                    "backup.encrypt",
                    "new snapshots are encrypted with age and the same passphrase; the plugin's old ones stay what they are",
                ));
                entries.push(entry(name, value));
            }
            _ => entries.push(entry(name, value)),
        }
    }
    exclude(&backup, sync, &mut entries, notes);
    let placed = ["provider", "bucket", "prefix", "remotePath"];
    for name in backup.keys() {
        let is_known = SAME.contains(&name.as_str())
            || placed.contains(&name.as_str())
            || plugin::BLOCKS.contains(&name.as_str());
        if !is_known {
            let key = format!("backup.{name}");
            let why = "is no key that `ows` knows";
            notes.push(Note::new(NoteKind::LeftOut, &key, why));
        }
    }
    parts.entries.push(Entry::block("backup", entries));
    Ok(())
}

/// Provider, credentials and folder.
fn place(
    around: &Surroundings<'_>,
    backup: &Map<String, Value>,
    sync: &Remote,
    sync_conf: &Path,
    entries: &mut Vec<Entry>,
    notes: &mut Vec<Note>,
) -> Outcome<()> {
    let own = text_of(backup, "provider");
    let provider = own.clone().unwrap_or_else(|| sync.provider.clone());
    // Without any provider the plugin took S3.
    let provider = if provider == "off" {
        "s3".to_owned()
    } else {
        provider
    };
    let blocks: Map<String, Value> = plugin::BLOCKS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), backup.get(*name)?.clone())))
        .collect();
    let name = text_of(backup, "remoteName").unwrap_or_else(|| "backup".to_owned());
    let conf = match text_of(backup, "configPath") {
        Some(path) => around.folder.join(path),
        None => sync_conf.to_owned(),
    };
    let used = super::find::read_rclone(&conf)
        .ok()
        .and_then(|mut sections| sections.remove(&name))
        .map(|options| (format!("[{name}] of {}", conf.display()), options));
    let is_own = blocks.contains_key(&provider) || used.is_some();
    let from = if blocks.contains_key(&provider) {
        &blocks
    } else {
        &sync.blocks
    };
    let mapped = plugin::block(around, &provider, from, used, "backup", notes)?;
    let Some((mapped, _)) = mapped else {
        return Ok(());
    };
    let bucket_named = text_of(backup, "bucket").or_else(|| {
        let block = backup.get("s3")?;
        block["bucket"].as_str().map(str::to_owned)
    });
    // The plugin took the bucket for the whole folder, whatever the provider.
    let folder = bucket_named.or_else(|| text_of(backup, "remotePath"));
    let prefix = text_of(backup, "prefix");
    let whole = [folder, prefix]
        .iter()
        .flatten()
        .map(|part| part.trim_matches('/').to_owned())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/");
    entries.push(Entry::plain("provider", mapped.provider));
    let is_s3 = mapped.provider == "s3";
    if is_own || mapped.provider != sync.provider {
        let mut block = mapped.block;
        parts_of(&mut block, sync, is_s3, around, notes);
        if !block.is_empty() {
            entries.push(Entry::block(mapped.provider, block));
        }
        notes.extend(mapped.notes);
    }
    if is_s3 {
        let (bucket, rest) = whole.split_once('/').unwrap_or((&whole, ""));
        if !bucket.is_empty() {
            let why = "as with the plugin; the sync's bucket otherwise";
            entries.push(Entry::plain("bucket", bucket).because(why));
        }
        if !rest.is_empty() {
            entries.push(Entry::plain("prefix", rest));
        }
    } else if !whole.is_empty() {
        entries.push(Entry::plain("remotePath", whole));
    }
    Ok(())
}

/// Our blocks merge key by key with the sync's; the plugin's did not.
fn parts_of(
    block: &mut Vec<Entry>,
    sync: &Remote,
    is_s3: bool,
    around: &Surroundings<'_>,
    notes: &mut Vec<Note>,
) {
    rebase(block, &around.folder);
    let has_endpoint = block.iter().any(|entry| entry.key == "endpoint");
    if is_s3 && sync.has_endpoint && !has_endpoint {
        let region = block.iter().find(|entry| entry.key == "region");
        let region = region.and_then(Entry::value);
        let region = region
            .as_ref()
            .and_then(Value::as_str)
            .unwrap_or("us-east-1");
        let endpoint = format!("https://s3.{region}.amazonaws.com");
        let why = "AWS, said here because the sync's endpoint would count otherwise";
        notes.push(Note::new(NoteKind::Changed, "backup.s3.endpoint", why));
        block.insert(0, Entry::plain("endpoint", endpoint).because(why));
    }
}

/// How many snapshots are kept. The plugin kept at least one, and 7 days unless it was told another number of days.
fn retain(value: &Value, notes: &mut Vec<Note>) -> Entry {
    let note = |notes: &mut Vec<Note>, why: &str| {
        notes.push(Note::new(NoteKind::Changed, "backup.retain", why));
    };
    match value {
        Value::Number(number) if number.as_f64().is_some_and(|number| number < 1.0) => {
            let why = "the plugin kept one snapshot at least; 0 keeps all of them here";
            note(notes, why);
            Entry::plain("retain", 1).because(why)
        }
        Value::Object(map) => {
            let mut map = map.clone();
            if !map.contains_key("daily") {
                map.insert("daily".to_owned(), json!(7));
            }
            let why = "a snapshot that counts as a day's counts as its week's and month's too, which the plugin did not \
                       do: it kept a few more";
            note(notes, why);
            entry("retain", &Value::Object(map)).because(why)
        }
        other => Entry::plain("retain", other.clone()),
    }
}

/// The plugin gave its patterns to `tar`, for which a bare name is a file or a folder; here it is a file.
fn exclude(
    backup: &Map<String, Value>,
    sync: &Remote,
    entries: &mut Vec<Entry>,
    notes: &mut Vec<Note>,
) {
    let written = backup.get("exclude").or(sync.exclude.as_ref());
    let Some(written) = written else {
        let list: Vec<String> = USUAL.iter().flat_map(|name| both(name)).collect();
        let why = "what the plugin left out; without this line `.git` is kept, which may hold unpushed work";
        entries.push(Entry::plain("exclude", list).because(why));
        return;
    };
    let list: Vec<String> = patterns(written).flat_map(both).collect();
    let inherits = backup.get("exclude").is_none();
    let is_same = list.iter().map(String::as_str).eq(patterns(written));
    if inherits && is_same {
        return;
    }
    let entry = Entry::plain("exclude", list);
    if is_same {
        entries.push(entry);
    } else {
        let why = "a bare name left out files and folders in the plugin's backups; here a folder's ends with `/`";
        notes.push(Note::new(NoteKind::Changed, "backup.exclude", why));
        entries.push(entry.because(why));
    }
}

/// A pattern for files and folders, unless it says which.
fn both(pattern: &str) -> Vec<String> {
    if pattern.ends_with('/')
        || pattern.ends_with("/**")
        || pattern.contains('.') && pattern.contains('*')
    {
        return vec![pattern.to_owned()];
    }
    vec![pattern.to_owned(), format!("{pattern}/")]
}
