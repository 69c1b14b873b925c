//! From rclone to a configuration of our own: one remote of an rclone.conf, or everything that the OpenClaw plugin was told.
//!
//! What is imported must behave as it did: the same bucket and folder, the same mode, the same patterns. Where the plugin
//! did something else than its configuration said, what it *did* counts, and a [`Note`] names the difference. What cannot come
//! along is a note too, never a silent loss; when nothing useful would be left, the import is refused.
//!
//! The new text goes through the ordinary loader before it is written. Variables stay what they were, `${VAR}`, so that
//! secrets stay where they are kept. The source is only read.
//!
//! `document.rs` is the file to be, `section.rs` knows rclone's options, `plugin.rs` the plugin's keys, `backup.rs` those of its
//! backups, `find.rs` finds the source, `write.rs` puts the file in its place.

mod backup;
mod document;
mod find;
mod plugin;
mod section;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value};

use self::document::{Content, Entry, render};
use self::find::{Input, choose, find};
use self::section::Options;
use super::check::Findings;
use super::expand::Variables;
use super::source::{self, Found};
use super::{Config, Invocation, Mode, Problems, unserved};
use crate::error::{Failure, Outcome};

/// What to import.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// An rclone.conf, an openclaw.json, or a file with the plugin's configuration alone; the usual places without it.
    pub file: Option<PathBuf>,
    /// The section of the rclone.conf.
    pub section: Option<String>,
    /// The mode, where the source does not say it or another one is wanted.
    pub mode: Option<Mode>,
    /// The folder in the remote, in rclone's form: on S3 it begins with the bucket.
    pub remote_path: Option<String>,
}

/// How something differs from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// It does not carry over.
    LeftOut,
    /// It carries over, and is written or behaves otherwise.
    Changed,
    /// It is written, and this version does not do it yet.
    Later,
    /// A person must decide it.
    Missing,
}

impl NoteKind {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::Changed => "changed",
            Self::Later => "not in this version",
            Self::Missing => "to decide",
        }
    }
}

/// A difference between the source and what was made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What kind of difference.
    pub kind: NoteKind,
    /// The key, where it stands in the source or would stand in ours.
    pub key: String,
    /// What and why.
    pub message: String,
}

impl Note {
    fn new(kind: NoteKind, key: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            key: key.to_owned(),
            message: message.into(),
        }
    }
}

/// A configuration that is ready to be written.
#[derive(Debug)]
pub struct Import {
    /// The file that it comes from.
    pub source: PathBuf,
    /// The section of an rclone.conf.
    pub section: Option<String>,
    /// Where it is written to.
    pub target: PathBuf,
    /// What is not as it was.
    pub notes: Vec<Note>,
    /// The new configuration as the loader reads it.
    pub config: Config,
    heading: Vec<String>,
    entries: Vec<Entry>,
}

impl Import {
    /// The new file with every secret as `***`.
    pub fn shown(&self) -> String {
        let text = render(&self.heading, &self.entries, false);
        text.expose_secret().to_owned()
    }

    /// Whether `ows sync` works with it as it is.
    pub fn can_sync(&self) -> bool {
        let stops = |note: &Note| match note.kind {
            NoteKind::Missing => true,
            NoteKind::Later => note.key == "sync.provider",
            _ => false,
        };
        !self.notes.iter().any(stops) && self.config.idle_reason().is_none()
    }

    /// Writes the file, readable for its owner alone. What is there already is left alone, or with `replace` moved aside;
    /// then the answer is where to.
    ///
    /// # Errors
    /// When something is there and may not be replaced, or the file cannot be written.
    pub fn write(&self, replace: bool) -> Outcome<Option<PathBuf>> {
        write::write(
            &self.target,
            &render(&self.heading, &self.entries, true),
            replace,
        )
    }
}

/// What an import works with.
struct Surroundings<'a> {
    request: &'a ImportRequest,
    variables: Variables<'a>,
    /// The folder of the source, which its relative paths start at.
    folder: PathBuf,
    rclone_conf: PathBuf,
}

/// The parts of a document to be.
#[derive(Default)]
struct Parts {
    entries: Vec<Entry>,
    notes: Vec<Note>,
}

/// Reads the source and makes a configuration of it. Nothing is written.
///
/// # Errors
/// When there is no source, it cannot be read, or what it describes cannot carry over.
pub fn prepare(invocation: &Invocation, request: &ImportRequest) -> Outcome<Import> {
    let state_dir = invocation.state_dir()?;
    let target = match &invocation.config {
        Some(path) => source::clean(&invocation.working_dir.join(path)),
        None => state_dir.join("ows").join("config.json5"),
    };
    let found = find(invocation, request, &state_dir)?;
    let root = match &found {
        Input::Plugin(found) => found.document.root.clone(),
        Input::Rclone { .. } => Map::new(),
    };
    let source = found.path().to_owned();
    let (dotenv, _) = super::dotenv(&state_dir, &mut Vec::new());
    let around = Surroundings {
        request,
        variables: Variables {
            environment: &invocation.environment,
            dotenv,
            openclaw: super::openclaw_variables(&root),
        },
        folder: source.parent().unwrap_or(Path::new("/")).to_owned(),
        rclone_conf: state_dir.join(".config/rclone/rclone.conf"),
    };
    let (mut parts, section, heading) = match found {
        Input::Plugin(found) => (
            plugin::import(&around, &found)?,
            None,
            format!(
                "Written by `ows import-rclone` from the plugin's configuration in {}.",
                source.display()
            ),
        ),
        Input::Rclone { path, sections } => {
            let name = choose(request.section.as_deref(), &sections, &path)?;
            let heading = format!(
                "Written by `ows import-rclone` from the section [{name}] of {}.",
                path.display()
            );
            (one_section(&around, &sections, &name)?, Some(name), heading)
        }
    };
    for (name, entries) in sections_of(&mut parts.entries) {
        parts.notes.extend(mark_unserved(name, entries));
    }
    let heading = vec![heading];
    let config = check(invocation, &source, &target, &heading, &parts.entries)?;
    Ok(Import {
        source,
        section,
        target,
        notes: parts.notes,
        config,
        heading,
        entries: parts.entries,
    })
}

/// A remote alone: what to sync it with, and how, is not in the rclone.conf.
fn one_section(
    around: &Surroundings<'_>,
    sections: &BTreeMap<String, Options>,
    name: &str,
) -> Outcome<Parts> {
    let (mapped, below) = follow(sections, name, String::new(), 0)?;
    let mut parts = Parts {
        notes: mapped.notes,
        ..Parts::default()
    };
    let asked = around.request.remote_path.as_deref();
    if asked.is_none() && below.is_empty() && mapped.provider == "s3" {
        return Err(Failure::usage(format!(
            "`[{name}]` is an S3 store, and nothing says which bucket to sync with"
        ))
        .with_hint("give it as with rclone: `--remote-path BUCKET` or `--remote-path BUCKET/FOLDER`; nothing was written"));
    }
    let joined = [below.as_str(), asked.unwrap_or_default()]
        .iter()
        .map(|part| part.trim_matches('/'))
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/");
    let mut sync = vec![Entry::plain("provider", mapped.provider)];
    sync.push(mode_entry(around.request.mode, &mut parts.notes));
    let mut block = mapped.block;
    let path = if asked.is_none() && below.is_empty() {
        Entry::plain("remotePath", "openclaw-share").because(
            "the folder in the remote; an rclone.conf does not say one, this is the plugin's usual one",
        )
    } else {
        let rest = split_bucket(mapped.provider, &joined, &mut block, None);
        Entry::plain("remotePath", rest)
    };
    rebase(&mut block, &around.folder);
    sync.push(Entry::block(mapped.provider, block));
    sync.push(path);
    parts.entries.push(Entry::block("sync", sync));
    Ok(parts)
}

/// An alias of another remote is that remote, with a folder.
fn follow(
    sections: &BTreeMap<String, Options>,
    name: &str,
    below: String,
    depth: usize,
) -> Outcome<(section::Mapped, String)> {
    /// Aliases that name each other would be followed for ever.
    const DEEPEST: usize = 8;
    let empty = Options::new();
    let options = sections.get(name).unwrap_or(&empty);
    let text = |name: &str| {
        let value = options.get(name).map(ExposeSecret::expose_secret);
        value.unwrap_or_default().trim().to_owned()
    };
    let kind = text("type");
    let behind = text("remote");
    if kind == "alias"
        && let Some((inner, folder)) = behind.split_once(':')
        && sections.contains_key(inner)
        && depth < DEEPEST
    {
        let below = format!("{}/{below}", folder.trim_matches('/'));
        return follow(
            sections,
            inner,
            below.trim_matches('/').to_owned(),
            depth + 1,
        );
    }
    Ok((section::map(&kind, options, &format!("[{name}]"))?, below))
}

/// On S3 rclone takes the first segment of the path for the bucket. What is left is our `remotePath`.
fn split_bucket(provider: &str, path: &str, block: &mut Vec<Entry>, why: Option<String>) -> String {
    let path = path.trim_matches('/');
    if provider != "s3" {
        return path.to_owned();
    }
    let (bucket, rest) = path.split_once('/').unwrap_or((path, ""));
    let mut entry = Entry::plain("bucket", bucket);
    entry.why = why;
    block.insert(0, entry);
    rest.trim_matches('/').to_owned()
}

/// `mode`, or a place for it: which one is meant only a person knows.
fn mode_entry(mode: Option<Mode>, notes: &mut Vec<Note>) -> Entry {
    if let Some(mode) = mode {
        return Entry::plain("mode", mode.name());
    }
    let why = "nothing runs without it. `mailbox`: the workspace is the truth; `mirror`: the remote is; `bisync`: both may \
               change";
    notes.push(Note::new(
        NoteKind::Missing,
        "sync.mode",
        format!("{why}. Set it in the file, or import with `--mode MODE`"),
    ));
    Entry::plain("mode", "mailbox").off().because(why)
}

/// Paths that were relative to the source would be relative to the new file.
fn rebase(entries: &mut [Entry], folder: &Path) {
    for entry in entries {
        if !["serviceAccount", "caFile", "configPath"].contains(&entry.key.as_str()) {
            continue;
        }
        if let Content::Plain(Value::String(text)) = &entry.content
            && !text.starts_with(['/', '~', '$', '{'])
        {
            let path = folder.join(text).display().to_string();
            entry.content = Content::Plain(path.into());
        }
    }
}

/// The sections of the document that this version's table of what it does not do knows.
fn sections_of(entries: &mut [Entry]) -> impl Iterator<Item = (&'static str, &mut Vec<Entry>)> {
    entries.iter_mut().filter_map(|entry| {
        let name = match entry.key.as_str() {
            "sync" => "sync",
            "backup" => "backup",
            _ => return None,
        };
        match &mut entry.content {
            Content::Block(inner) => Some((name, inner)),
            _ => None,
        }
    })
}

/// What this version does not do is kept as a comment. Not so the provider: another one in its place would be another
/// sync.
fn mark_unserved(section: &str, entries: &mut [Entry]) -> Vec<Note> {
    let mut notes = Vec::new();
    for entry in entries.iter_mut().filter(|entry| !entry.is_off) {
        let value = match &entry.content {
            Content::Block(_) => Some(Value::Object(Map::new())),
            _ => entry.value(),
        };
        let Some(value) = value else { continue };
        if !unserved::asks(section, &entry.key, &value) {
            continue;
        }
        let key = format!("{section}.{}", entry.key);
        let message = if entry.key == "provider" {
            format!("{value} is written, but this version does not sync with it yet")
        } else {
            entry.is_off = true;
            entry.why = Some(
                "not in this version; to be taken out of the comment with one that has it"
                    .to_owned(),
            );
            "written as a comment, to be taken up with a version that has it".to_owned()
        };
        notes.push(Note::new(NoteKind::Later, &key, message));
    }
    notes
}

/// Loads the text as if it were in its place already, with everything served: what is not was noted before.
fn check(
    invocation: &Invocation,
    source: &Path,
    target: &Path,
    heading: &[String],
    entries: &[Entry],
) -> Outcome<Config> {
    let text = render(heading, entries, true);
    let document = source::parse(target, text.expose_secret())?;
    let found = Found {
        document,
        is_openclaw: false,
        warnings: Vec::new(),
    };
    super::load_found(invocation, found, &[], super::Need::Nothing).map_err(|failure| {
        let has_problems = failure
            .source
            .as_ref()
            .is_some_and(|source| source.is::<Problems>());
        if !has_problems {
            return failure;
        }
        let mut refused = Failure::usage(format!(
            "what `{}` says cannot be taken over as it is",
            source.display()
        ))
        .with_hint("nothing was written; correct it there (a variable may also be set in `.env` in the state directory) and run again");
        refused.source = failure.source;
        refused
    })
}

/// The findings of one look at a part of the source.
fn refused(source: &Path, findings: Findings) -> Failure {
    let (problems, _) = findings.into_parts();
    Failure::usage(format!("`{}` cannot be imported", source.display()))
        .with_hint("nothing was written; correct it there and run again")
        .with_source(Problems(problems))
}
