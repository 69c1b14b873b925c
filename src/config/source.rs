//! Finding the configuration file, reading it, and telling which of the three shapes it has.
//!
//! Files are read with a limit of size and of nesting, since they may have been damaged or swapped; every way in which
//! a file cannot be read has its own text.

use std::cell::RefCell;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::check::{Findings, KeyPath};
use super::expand::{Environment, place};
use crate::error::{Failure, Outcome};

/// The name under which OpenClaw knows the plugin whose configuration we read.
pub const PLUGIN_ID: &str = "openclaw-workspace-sync";

/// No configuration that a person wrote comes near this.
const LARGEST_FILE: u64 = 4 << 20;

/// Deeper nesting would only serve to exhaust the stack.
const DEEPEST: usize = 64;

/// What was asked for on the command line, and the surroundings that it was asked in.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// `--workspace`
    pub workspace: Option<PathBuf>,
    /// `--agent`
    pub agent: Option<String>,
    /// The environment variables to go by.
    pub environment: Environment,
    /// What relative paths of the command line and of the environment are relative to.
    pub working_dir: PathBuf,
}

impl Invocation {
    /// No options, the given environment, relative to `working_dir`.
    pub fn new(environment: Environment, working_dir: impl Into<PathBuf>) -> Self {
        Self {
            config: None,
            state_dir: None,
            workspace: None,
            agent: None,
            environment,
            working_dir: working_dir.into(),
        }
    }

    /// OpenClaw's state directory: `--state-dir`, `$OPENCLAW_STATE_DIR`, `~/.openclaw`.
    ///
    /// # Errors
    /// When it hangs on the home directory and there is none.
    pub fn state_dir(&self) -> Outcome<PathBuf> {
        if let Some(path) = &self.state_dir {
            return Ok(clean(&self.working_dir.join(path)));
        }
        if let Some(path) = self.environment_path("OPENCLAW_STATE_DIR")? {
            return Ok(path);
        }
        match self.environment.home() {
            Some(home) => Ok(clean(&self.working_dir.join(home).join(".openclaw"))),
            None => Err(
                Failure::usage("the state directory is not known: `HOME` is not set")
                    .with_hint("set `HOME` or `OPENCLAW_STATE_DIR`, or give `--state-dir DIR`"),
            ),
        }
    }

    /// The path that an environment variable holds.
    pub(super) fn environment_path(&self, name: &str) -> Outcome<Option<PathBuf>> {
        let Some(text) = self.environment.place(name) else {
            return Ok(None);
        };
        match place(text, &self.working_dir, self.environment.home().as_deref()) {
            Ok(path) => Ok(Some(clean(&path))),
            Err(message) => Err(Failure::usage(format!("`${name}` {message}"))),
        }
    }
}

/// The path without `.` and doubled slashes. `..` stays: what it means depends on symbolic links.
pub(super) fn clean(path: &Path) -> PathBuf {
    path.components().collect()
}

/// A file that was read and parsed.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    pub(super) root: Map<String, Value>,
    /// Keys that occur twice in one object. The later value counted.
    pub(super) doubled: Vec<KeyPath>,
}

/// The file that the configuration is read from, and what was said on the way there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) document: Document,
    /// Whether the file was looked for as openclaw.json.
    pub(super) is_openclaw: bool,
    pub(super) warnings: Vec<String>,
}

/// Where openclaw.json is: `$OPENCLAW_CONFIG_PATH` when that exists, else `<state>/openclaw.json`.
pub(super) fn openclaw_path(invocation: &Invocation, state_dir: &Path) -> Outcome<PathBuf> {
    Ok(invocation
        .environment_path("OPENCLAW_CONFIG_PATH")?
        .filter(|path| exists(path))
        .unwrap_or_else(|| state_dir.join("openclaw.json")))
}

/// The first configuration file that exists.
pub(super) fn find(invocation: &Invocation, state_dir: &Path) -> Outcome<Found> {
    if let Some(path) = &invocation.config {
        // What was typed is meant: nothing else takes its place.
        let document = read(&clean(&invocation.working_dir.join(path)))?;
        return Ok(Found {
            document,
            is_openclaw: false,
            warnings: Vec::new(),
        });
    }
    let candidates = [
        (
            "$OWS_CONFIG",
            invocation.environment_path("OWS_CONFIG")?,
            false,
        ),
        ("", Some(state_dir.join("ows").join("config.json5")), false),
        (
            "$OPENCLAW_CONFIG_PATH",
            invocation.environment_path("OPENCLAW_CONFIG_PATH")?,
            true,
        ),
        ("", Some(state_dir.join("openclaw.json")), true),
    ];
    let mut warnings = Vec::new();
    let mut tried = Vec::new();
    for (variable, path, is_openclaw) in candidates {
        let Some(path) = path else { continue };
        if exists(&path) {
            warnings.iter_mut().for_each(|warning: &mut String| {
                warning.push_str(&format!("; `{}` is read instead", path.display()));
            });
            return Ok(Found {
                document: read(&path)?,
                is_openclaw,
                warnings,
            });
        }
        if !variable.is_empty() {
            warnings.push(format!(
                "`{variable}` names `{}`, which does not exist",
                path.display()
            ));
        }
        tried.push(format!("`{}`", path.display()));
    }
    Err(Failure::usage(format!(
        "there is no configuration; looked for {}",
        tried.join(", ")
    ))
    .with_hint(format!(
        "give `--config FILE`, or write `{}`, for example:\n\
         {{ sync: {{ provider: \"custom\", mode: \"mailbox\", remotePath: \"agent\",\n    \
         custom: {{ type: \"local\", options: {{ path: \"/mnt/usb\" }} }} }} }}",
        state_dir.join("ows").join("config.json5").display()
    )))
}

/// Whether something is there. What cannot be looked at counts as there: reading it then says why.
pub(super) fn exists(path: &Path) -> bool {
    !matches!(path.metadata(), Err(error) if matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    ))
}

/// Reads a text file of bounded size.
pub(super) fn read_text(path: &Path, what: &str) -> Outcome<String> {
    let shown = path.display().to_string();
    let cannot = |error: std::io::Error| {
        Failure::usage(format!("could not read {what} `{shown}`"))
            .with_path(&*shown)
            .with_source(error)
            .with_hint("nothing was done")
    };
    let refused = |why: String| {
        Failure::usage(format!("{what} `{shown}` {why}"))
            .with_path(&*shown)
            .with_hint("nothing was done")
    };
    let meta = path.metadata().map_err(cannot)?;
    if meta.is_dir() {
        return Err(refused("is a folder, not a file".to_owned()));
    }
    if !meta.is_file() {
        // Opening a fifo would wait for ever.
        return Err(refused("is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(cannot)?
        .take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(refused(format!(
            "is larger than {} MiB, the most that is read",
            LARGEST_FILE >> 20
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        refused(format!(
            "is no valid UTF-8: byte {} cannot be read",
            error.utf8_error().valid_up_to() + 1
        ))
    })
}

/// Reads and parses a JSON5 file whose root is an object.
pub(super) fn read(path: &Path) -> Outcome<Document> {
    let text = read_text(path, "the configuration")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    parse(path, text)
}

pub(super) fn parse(path: &Path, text: &str) -> Outcome<Document> {
    let shown = path.display().to_string();
    let refused = |why: String| {
        Failure::usage(format!("the configuration `{shown}` {why}"))
            .with_path(&*shown)
            .with_hint("nothing was done; correct the file and run again")
    };
    let doubled = RefCell::new(Vec::new());
    let mut deserializer = json5::Deserializer::from_str(text);
    let tree = Tree {
        key: KeyPath::default(),
        depth: 0,
        doubled: &doubled,
    };
    let value = tree
        .deserialize(&mut deserializer)
        .map_err(|error| refused(syntax(text, &error)))?;
    // The deserializer stops after the first value; whether anything follows, only its own entry point tells.
    if let Err(error) = json5::from_str::<serde::de::IgnoredAny>(text) {
        return Err(refused(syntax(text, &error)));
    }
    match value {
        Value::Object(root) => Ok(Document {
            path: path.to_owned(),
            root,
            doubled: doubled.into_inner(),
        }),
        other => Err(refused(format!(
            "holds {} at its root; allowed: an object",
            super::check::kind_of(&other)
        ))),
    }
}

/// What the parser says, in words that do not repeat the file's content.
fn syntax(text: &str, error: &json5::Error) -> String {
    let code = error.code().map(|code| code.to_string());
    let too_early = code
        .as_deref()
        .and_then(|code| code.strip_prefix("EOF parsing "));
    let (line, column) = match error.position() {
        // The parser gives the place where what is unfinished began, which is often the file's first line.
        _ if too_early.is_some() => (
            text.lines().count().max(1),
            text.lines().last().unwrap_or("").chars().count() + 1,
        ),
        Some(position) => (position.line + 1, position.column + 1),
        None => (0, 0),
    };
    let what = match (too_early, &code) {
        (Some(what), _) => format!("the file ends before the {what} does"),
        (None, Some(code)) => code.clone(),
        (None, None) if error.to_string().starts_with(TOO_DEEP) => {
            format!("{TOO_DEEP}: more than {DEEPEST} objects and lists within each other")
        }
        (None, None) => "it holds a value that cannot be read".to_owned(),
    };
    if line == 0 {
        format!("is no valid JSON5: {what}")
    } else {
        format!("is no valid JSON5: {what}, at line {line}, column {column}")
    }
}

const TOO_DEEP: &str = "it is nested too deeply";

/// Builds a [`Value`] with a limit of depth (the parser has none and would overflow the stack) and notes doubled keys
/// (the parser lets the last one win silently).
struct Tree<'a> {
    key: KeyPath,
    depth: usize,
    doubled: &'a RefCell<Vec<KeyPath>>,
}

impl Tree<'_> {
    fn below<E: serde::de::Error>(&self, key: KeyPath) -> Result<Tree<'_>, E> {
        if self.depth >= DEEPEST {
            return Err(E::custom(TOO_DEEP));
        }
        Ok(Tree {
            key,
            depth: self.depth + 1,
            doubled: self.doubled,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // `Infinity` and `NaN` are JSON5 but mean nothing here: as null they are refused where they stand.
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.below(self.key.index(items.len()))?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let key = self.key.key(&name);
            let value = access.next_value_seed(self.below(key.clone())?)?;
            if map.insert(name, value).is_some() {
                self.doubled.borrow_mut().push(key);
            }
        }
        Ok(Value::Object(map))
    }
}

/// Which of the accepted shapes the configuration has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `plugins.entries["openclaw-workspace-sync"].config` of openclaw.json, with `sync` and `backup` blocks.
    OpenClaw,
    /// `sync` and `backup` blocks at the root of the file.
    StandAlone,
    /// The sync keys without a `sync` block around them, in either place.
    Flat,
}

/// Our part of the file.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) shape: Shape,
    /// Whether it stands in openclaw.json.
    pub(super) in_openclaw: bool,
    /// The plugin's `enabled`, true when it is absent.
    pub(super) plugin_enabled: bool,
    pub(super) key: KeyPath,
    pub(super) map: Map<String, Value>,
}

/// Takes our part out of a file. `None` when something is wrong with it, which is recorded.
pub(super) fn part(found: &Found, findings: &Findings) -> Option<Part> {
    let root = &found.document.root;
    // Each shape is accepted in each place: a file without `plugins` that holds our keys is ours, whatever its name.
    let is_ours = ["sync", "backup", "provider"]
        .iter()
        .any(|name| root.contains_key(*name));
    let in_openclaw = root.contains_key("plugins") || found.is_openclaw && !is_ours;
    let (key, map, plugin_enabled) = if in_openclaw {
        openclaw_entry(root, findings)?
    } else {
        (KeyPath::default(), root.clone(), true)
    };
    for doubled in found
        .document
        .doubled
        .iter()
        .filter(|doubled| doubled.is_within(&key))
    {
        findings.problem(doubled, "is written twice in one object; allowed: once");
    }
    let nested = map.contains_key("sync");
    let flat: Vec<&str> = map
        .keys()
        .map(String::as_str)
        .filter(|name| super::sync::KEYS.contains(name))
        .collect();
    if nested && !flat.is_empty() {
        let names: Vec<String> = flat.iter().map(|name| format!("`{name}`")).collect();
        findings.problem(
            &key,
            format!(
                "sync keys stand both in `sync` and beside it: {}; allowed: all of them in `sync`",
                names.join(", ")
            ),
        );
        return None;
    }
    let shape = match (flat.is_empty(), in_openclaw) {
        (false, _) => Shape::Flat,
        (true, true) => Shape::OpenClaw,
        (true, false) => Shape::StandAlone,
    };
    Some(Part {
        shape,
        in_openclaw,
        plugin_enabled,
        key,
        map,
    })
}

fn openclaw_entry(
    root: &Map<String, Value>,
    findings: &Findings,
) -> Option<(KeyPath, Map<String, Value>, bool)> {
    let mut key = KeyPath::default();
    let mut map = root;
    for name in ["plugins", "entries", PLUGIN_ID] {
        key = key.key(name);
        match map.get(name) {
            Some(Value::Object(inner)) => map = inner,
            Some(other) => {
                let found = super::check::kind_of(other);
                findings.problem(&key, format!("found {found}; allowed: an object"));
                return None;
            }
            None => {
                findings.problem(
                    &key,
                    "is missing, so nothing is configured; allowed: \
                     `{ \"enabled\": true, \"config\": { \"sync\": {...}, \"backup\": {...} } }`",
                );
                return None;
            }
        }
    }
    let enabled = match map.get("enabled") {
        None => true,
        Some(Value::Bool(enabled)) => *enabled,
        Some(other) => {
            let found = super::check::kind_of(other);
            findings.problem(
                &key.key("enabled"),
                format!("found {found}; allowed: `true` or `false`"),
            );
            true
        }
    };
    let key = key.key("config");
    match map.get("config") {
        Some(Value::Object(config)) => Some((key, config.clone(), enabled)),
        None => Some((key, Map::new(), enabled)),
        Some(other) => {
            let found = super::check::kind_of(other);
            findings.problem(&key, format!("found {found}; allowed: an object"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(Path::new("/c.json5"), text).unwrap_err().message
    }

    #[test]
    fn syntax_errors_name_line_and_column() {
        for (text, expected) in [
            (
                "{\n  a: 1,\n  b 2\n}",
                "expected colon, at line 3, column 5",
            ),
            (
                "{\n  a: 1",
                "the file ends before the object does, at line 2, column 7",
            ),
            (
                "",
                "the file ends before the value does, at line 1, column 1",
            ),
            ("{} x", "trailing characters, at line 1, column 4"),
            ("[]", "holds a list at its root; allowed: an object"),
        ] {
            let message = refusal(text);
            assert!(message.ends_with(expected), "{message}");
            assert!(message.contains("`/c.json5`"));
        }
    }

    #[test]
    fn deep_nesting_is_refused_instead_of_overflowing() {
        let message = refusal(&format!("{{a: {}", "[".repeat(1_000_000)));
        assert!(message.contains("nested too deeply"), "{message}");
    }

    #[test]
    fn numbers_that_no_key_can_hold_are_null() {
        let document = parse(Path::new("f"), "{a: NaN, b: -Infinity, c: 0x10, d: +.5}").unwrap();
        assert_eq!(
            Value::Object(document.root),
            serde_json::json!({"a": null, "b": null, "c": 16, "d": 0.5})
        );
    }

    #[test]
    fn doubled_keys_are_noted() {
        let document = parse(Path::new("f"), "{a: {b: 1, b: 2}, c: [{d: 1, d: 1}]}").unwrap();
        let doubled: Vec<_> = document.doubled.iter().map(KeyPath::as_str).collect();
        assert_eq!(doubled, ["a.b", "c[0].d"]);
    }
}
