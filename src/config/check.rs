//! Reading a parsed configuration without stopping at the first mistake.
//!
//! A [`Section`] is one object of the file together with its key path. Its readers return `None` both for a key that is
//! absent and for one whose value is wrong; the wrong ones are recorded in [`Findings`], so that one look at the file
//! reports everything. [`Section::finish`] reports the keys that nobody asked for, which makes the readers themselves
//! the list of known keys.
//!
//! What may be shown: the *kind* of a value always, its text only where the key is no secret and no container of
//! secrets. A text that came through `${VAR}` is shown as it stands in the file, since a variable may hold anything.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::{Map, Value};

/// One mistake in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file that holds it.
    pub file: PathBuf,
    /// The full key path, such as `plugins.entries["openclaw-workspace-sync"].config.sync.mode`; empty for the file.
    pub key: String,
    /// What was found and what is allowed; never a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "`{}`: {}", self.key, self.message)
        }
    }
}

/// Every mistake of a configuration, in the order of the file's sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several_files = self.0.windows(2).any(|pair| pair[0].file != pair[1].file);
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            if several_files {
                write!(formatter, "{}: ", problem.file.display())?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A key path as text: plain names are joined by dots, others stand in brackets.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(String);

impl KeyPath {
    pub(super) fn key(&self, name: &str) -> Self {
        let plain = name
            .chars()
            .enumerate()
            .all(|(index, c)| c == '_' || c.is_alphabetic() || index > 0 && c.is_numeric())
            && !name.is_empty();
        Self(match (plain, self.0.is_empty()) {
            (true, true) => name.to_owned(),
            (true, false) => format!("{}.{name}", self.0),
            (false, _) => format!("{}[\"{}\"]", self.0, name.escape_debug()),
        })
    }

    /// A key path that was made before.
    pub(super) fn verbatim(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this path is `ancestor` or lies below it.
    pub(super) fn is_within(&self, ancestor: &Self) -> bool {
        ancestor.0.is_empty()
            || self
                .0
                .strip_prefix(&ancestor.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What the check of one file has found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    file: PathBuf,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<String>>,
    /// The text of expanded strings as it stands in the file, by key path.
    written: RefCell<BTreeMap<KeyPath, String>>,
    /// Strings whose variables could not be filled in; reported already.
    unusable: RefCell<BTreeSet<KeyPath>>,
}

impl Findings {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn problem(&self, key: &KeyPath, message: impl Into<String>) {
        self.problem_in(&self.file, key, message);
    }

    pub(super) fn problem_in(&self, file: &Path, key: &KeyPath, message: impl Into<String>) {
        let problem = Problem {
            file: file.to_owned(),
            key: key.0.clone(),
            message: message.into(),
        };
        // A block that both sync and backup use is looked at twice.
        let mut problems = self.problems.borrow_mut();
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    pub(super) fn warning(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    pub(super) fn note_written(&self, key: &KeyPath, text: &str) {
        self.written
            .borrow_mut()
            .insert(key.clone(), text.to_owned());
    }

    pub(super) fn note_unusable(&self, key: &KeyPath) {
        self.unusable.borrow_mut().insert(key.clone());
    }

    /// Whether a value was refused already, so that nothing is known about it.
    pub(super) fn is_unusable(&self, key: &KeyPath) -> bool {
        self.unusable.borrow().contains(key)
    }

    /// Whether a key of this name was complained about already: then saying that it is missing would only confuse.
    pub(super) fn is_reported(&self, name: &str) -> bool {
        self.problems.borrow().iter().any(|problem| {
            problem
                .key
                .strip_suffix(name)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<String>) {
        (self.problems.into_inner(), self.warnings.into_inner())
    }

    /// How a value that is no secret is shown.
    pub(super) fn shown(&self, key: &KeyPath, value: &Value) -> String {
        const LONGEST: usize = 80;
        let written = self.written.borrow();
        let text = match (written.get(key), value) {
            (Some(text), _) => text.as_str(),
            (None, Value::String(text)) => text.as_str(),
            (None, Value::Number(number)) => return number.to_string(),
            (None, other) => return kind_of(other).to_owned(),
        };
        let short: String = text.chars().take(LONGEST).collect();
        let more = if short.len() < text.len() { "..." } else { "" };
        format!("\"{}{more}\"", short.escape_debug())
    }
}

/// The kind of a value, in words.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The name among `known` that is near enough to `name` to be what was meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this the suggestion is more puzzling than helpful: `mod` and `mode` score 0.98, `abc` and `mode` 0.
    const NEAR: f64 = 0.8;
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|other| (strsim::jaro_winkler(&name, &other.to_lowercase()), other))
        .filter(|(score, _)| *score >= NEAR)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, other)| other)
}

/// What is allowed instead of a value, and first the one that was perhaps meant.
pub(super) fn with_nearest<'a>(
    text: &str,
    known: impl IntoIterator<Item = &'a str>,
    allowed: &str,
) -> String {
    match nearest(text, known) {
        Some(near) => format!("did you mean `{near}`? allowed: {allowed}"),
        None => format!("allowed: {allowed}"),
    }
}

/// A list of names for an "allowed" text: `` `a`, `b` or `c` ``.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// One object of the file, with its place in it.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) findings: &'a Findings,
    pub(super) key: KeyPath,
    map: &'a Map<String, Value>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(findings: &'a Findings, key: KeyPath, map: &'a Map<String, Value>) -> Self {
        Self {
            findings,
            key,
            map,
            asked: RefCell::default(),
        }
    }

    /// The value at `name`, which becomes a known key. `None` too when its variables could not be filled in.
    pub(super) fn raw(&self, name: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(name);
        let value = self.map.get(name)?;
        (!self.findings.is_unusable(&self.at(name))).then_some(value)
    }

    /// Whether the key is written in the file, whatever its value.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.asked.borrow_mut().insert(name);
        self.map.contains_key(name)
    }

    /// Makes keys known that are read elsewhere.
    pub(super) fn know(&self, names: &[&'static str]) {
        self.asked.borrow_mut().extend(names);
    }

    pub(super) fn at(&self, name: &str) -> KeyPath {
        self.key.key(name)
    }

    pub(super) fn problem(&self, name: &str, message: impl Into<String>) {
        self.findings.problem(&self.at(name), message);
    }

    fn wrong_kind(&self, name: &str, value: &Value, allowed: &str) {
        self.problem(
            name,
            format!("found {}; allowed: {allowed}", kind_of(value)),
        );
    }

    /// Reports a value that is no secret.
    pub(super) fn wrong_value(&self, name: &str, value: &Value, allowed: &str) {
        let shown = self.findings.shown(&self.at(name), value);
        self.problem(name, format!("found {shown}; allowed: {allowed}"));
    }

    pub(super) fn boolean(&self, name: &'static str) -> Option<bool> {
        let value = self.raw(name)?;
        if let Value::Bool(value) = value {
            return Some(*value);
        }
        self.wrong_kind(name, value, "`true` or `false`");
        None
    }

    /// A text that may be empty.
    pub(super) fn text(&self, name: &'static str, allowed: &str) -> Option<&'a str> {
        let value = self.raw(name)?;
        if let Value::String(text) = value {
            if text.contains('\0') {
                self.problem(name, format!("holds a NUL character; allowed: {allowed}"));
                return None;
            }
            return Some(text);
        }
        self.wrong_kind(name, value, allowed);
        None
    }

    /// A text that is not empty.
    pub(super) fn filled(&self, name: &'static str, allowed: &str) -> Option<&'a str> {
        let text = self.text(name, allowed)?;
        if text.trim().is_empty() {
            self.problem(name, format!("is empty; allowed: {allowed}"));
            return None;
        }
        Some(text)
    }

    /// A text that must never be shown.
    pub(super) fn secret(&self, name: &'static str) -> Option<SecretString> {
        self.filled(name, "a text that is not empty")
            .map(SecretString::from)
    }

    /// A whole number within `range`; `unit` is named in the error.
    pub(super) fn integer(
        &self,
        name: &'static str,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> Option<u64> {
        let value = self.raw(name)?;
        let allowed = if *range.end() == MOST {
            format!("a whole number of {unit}, at least {}", range.start())
        } else {
            format!(
                "a whole number of {unit} from {} to {}",
                range.start(),
                range.end()
            )
        };
        let Value::Number(number) = value else {
            self.wrong_kind(name, value, &allowed);
            return None;
        };
        match whole(number).filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                self.wrong_value(name, value, &allowed);
                None
            }
        }
    }

    /// One of a few names.
    pub(super) fn choice<T: Copy>(&self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.raw(name)?;
        let allowed = listed(choices.iter().map(|(name, _)| *name));
        let Value::String(text) = value else {
            self.wrong_kind(name, value, &allowed);
            return None;
        };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| name == text) {
            return Some(*choice);
        }
        let allowed = with_nearest(text, choices.iter().map(|(name, _)| *name), &allowed);
        let shown = self.findings.shown(&self.at(name), value);
        self.problem(name, format!("found {shown}; {allowed}"));
        None
    }

    /// A list of texts that are not empty.
    pub(super) fn texts(&self, name: &'static str, of: &str) -> Option<Vec<(KeyPath, &'a str)>> {
        let value = self.raw(name)?;
        let Value::Array(items) = value else {
            self.wrong_kind(name, value, &format!("a list of {of}"));
            return None;
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let key = self.at(name).index(index);
            if self.findings.is_unusable(&key) {
                continue;
            }
            match item {
                Value::String(text) if !text.is_empty() && !text.contains('\0') => {
                    texts.push((key, text.as_str()));
                }
                Value::String(_) => self.findings.problem(
                    &key,
                    format!("is empty or holds a NUL character; allowed: {of}"),
                ),
                other => self
                    .findings
                    .problem(&key, format!("found {}; allowed: {of}", kind_of(other))),
            }
        }
        Some(texts)
    }

    /// An object below this one.
    pub(super) fn section(&self, name: &'static str) -> Option<Section<'a>> {
        let value = self.raw(name)?;
        if let Value::Object(map) = value {
            return Some(Section::new(self.findings, self.at(name), map));
        }
        self.wrong_kind(name, value, "an object");
        None
    }

    /// Reports the keys that no reader asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for name in self.map.keys() {
            if !asked.contains(name.as_str()) {
                self.findings
                    .problem(&self.at(name), unknown(name, asked.iter().copied()));
            }
        }
    }

    /// Every key of the object, for those whose keys are not ours to name.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.map.iter()
    }
}

/// The largest whole number that JSON5 readers agree on.
pub(super) const MOST: u64 = (1 << 53) - 1;

/// The text about a key that nobody knows.
pub(super) fn unknown<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("is no known key; did you mean `{near}`?"),
        None => format!("is no known key; allowed here: {}", listed(known)),
    }
}

fn whole(number: &serde_json::Number) -> Option<u64> {
    number.as_u64().or_else(|| {
        // `60.0` and `6e1` are whole numbers too.
        let float = number.as_f64()?;
        let fits = float >= 0.0 && float <= MOST as f64 && float.fract() == 0.0;
        fits.then_some(float as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Map<String, Value> {
        match json5::from_str(text).unwrap() {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    fn problems(findings: Findings) -> Vec<String> {
        findings
            .into_parts()
            .0
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn key_paths_quote_what_is_no_plain_name() {
        let key = KeyPath::default()
            .key("plugins")
            .key("entries")
            .key("openclaw-workspace-sync")
            .key("config")
            .key("exclude")
            .index(3);
        assert_eq!(
            key.as_str(),
            "plugins.entries[\"openclaw-workspace-sync\"].config.exclude[3]"
        );
        assert_eq!(KeyPath::default().key("a b").as_str(), "[\"a b\"]");
        assert!(key.is_within(&KeyPath::default().key("plugins")));
        assert!(
            !KeyPath::default()
                .key("syncs")
                .is_within(&KeyPath::default().key("sync"))
        );
    }

    #[test]
    fn every_wrong_value_is_reported_with_what_is_allowed() {
        let map =
            object("{a: 'x', b: 5, c: -1, d: 1.5, e: 'nope', f: [1, ''], g: [], h: null, i: 60.0}");
        let findings = Findings::new(Path::new("f"));
        let section = Section::new(&findings, KeyPath::default(), &map);
        assert_eq!(section.boolean("a"), None);
        assert_eq!(section.text("b", "a text"), None);
        assert_eq!(section.integer("c", 0..=5, "seconds"), None);
        assert_eq!(section.integer("d", 0..=MOST, "seconds"), None);
        assert_eq!(section.choice("e", &[("yes", 1), ("no", 2)]), None);
        assert_eq!(section.texts("f", "patterns").unwrap(), vec![]);
        assert!(section.section("g").is_none());
        assert_eq!(section.boolean("h"), None);
        assert_eq!(section.integer("i", 0..=60, "seconds"), Some(60));
        section.finish();
        assert_eq!(
            problems(findings),
            [
                "`a`: found a text; allowed: `true` or `false`",
                "`b`: found a number; allowed: a text",
                "`c`: found -1; allowed: a whole number of seconds from 0 to 5",
                "`d`: found 1.5; allowed: a whole number of seconds, at least 0",
                "`e`: found \"nope\"; did you mean `no`? allowed: `yes` or `no`",
                "`f[0]`: found a number; allowed: patterns",
                "`f[1]`: is empty or holds a NUL character; allowed: patterns",
                "`g`: found a list; allowed: an object",
                "`h`: found null; allowed: `true` or `false`",
            ]
        );
    }

    #[test]
    fn unknown_keys_suggest_the_nearest_known_one() {
        let map = object("{intervall: 1, zzz: 2}");
        let findings = Findings::new(Path::new("f"));
        let section = Section::new(&findings, KeyPath::default().key("sync"), &map);
        section.know(&["interval", "mode"]);
        section.finish();
        assert_eq!(
            problems(findings),
            [
                "`sync.intervall`: is no known key; did you mean `interval`?",
                "`sync.zzz`: is no known key; allowed here: `interval` or `mode`",
            ]
        );
    }

    #[test]
    fn secrets_of_the_wrong_kind_are_not_shown() {
        let map = object("{token: 123456789, key: ['hunter2'], word: '  '}");
        let findings = Findings::new(Path::new("f"));
        let section = Section::new(&findings, KeyPath::default(), &map);
        assert!(section.secret("token").is_none());
        assert!(section.secret("key").is_none());
        assert!(section.secret("word").is_none());
        let text = problems(findings).join("\n");
        assert!(
            !text.contains("123456789") && !text.contains("hunter2"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
    }
}
