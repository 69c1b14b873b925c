//! What this version does not do yet, in one table.
//!
//! The keys are known and checked like all others, so that a configuration can be written and shared ahead of time; but
//! a value that asks for something which would silently not happen is an error. When a feature comes, its line goes.

use serde_json::{Map, Value};

use super::check::{Findings, KeyPath, listed};
use super::resolve::PROVIDERS;

/// When a value asks for the feature.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// It is this text.
    Is(&'static str),
    /// It is `true`.
    True,
    /// It is there at all.
    Set,
}

/// A section, a key of it, and the values that ask for what is not there.
pub(super) type Unserved = (&'static str, &'static str, When);

/// Section, key, and which values of it ask for what is not there.
pub(super) const NOT_SERVED: [Unserved; 10] = [
    ("sync", "provider", When::Is("dropbox")),
    ("sync", "provider", When::Is("gdrive")),
    ("sync", "provider", When::Is("onedrive")),
    ("sync", "notifyOnInbox", When::True),
    ("sync", "notify", When::Set),
    ("sync", "watch", When::True),
    ("sync", "heartbeatUrl", When::Set),
    ("backup", "provider", When::Is("dropbox")),
    ("backup", "provider", When::Is("gdrive")),
    ("backup", "provider", When::Is("onedrive")),
];

impl When {
    fn asks(self, value: &Value) -> bool {
        match self {
            Self::Is(text) => value == text,
            Self::True => value == true,
            Self::Set => true,
        }
    }
}

/// Whether a value of a section asks for something that this version does not do.
pub(super) fn asks(section: &str, name: &str, value: &Value) -> bool {
    NOT_SERVED
        .iter()
        .any(|(of, key, when)| *of == section && *key == name && when.asks(value))
}

/// Of `names`, the values of a key that are served.
pub(super) fn served<'a>(
    table: &[Unserved],
    section: &str,
    name: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<&'a str> {
    let refused = |value: &str| {
        let is = |(of, key, when): &Unserved| {
            *of == section && *key == name && matches!(when, When::Is(text) if *text == value)
        };
        table.iter().any(is)
    };
    names.into_iter().filter(|value| !refused(value)).collect()
}

/// The values of a key that is one of a few names.
fn choices(name: &str) -> Vec<&'static str> {
    match name {
        "provider" => PROVIDERS.iter().map(|(name, _)| *name).collect(),
        _ => Vec::new(),
    }
}

/// Records every value of a section (`sync` or `backup`) that asks for something which is not served.
pub(super) fn check(
    findings: &Findings,
    table: &[Unserved],
    section: &str,
    key: &KeyPath,
    map: &Map<String, Value>,
) {
    for (of, name, when) in table.iter().copied() {
        let Some(value) = map.get(name).filter(|_| of == section) else {
            continue;
        };
        if !when.asks(value) {
            continue;
        }
        let key = key.key(name);
        let message = match when {
            When::Is(text) => format!(
                "\"{text}\" is not available in this version; allowed: {}",
                listed(served(table, section, name, choices(name)))
            ),
            When::True => "is not available in this version; allowed: `false`".to_owned(),
            When::Set => "is not available in this version; remove it".to_owned(),
        };
        findings.problem(&key, message);
        if matches!(when, When::Set) {
            // What else is wrong with it does not matter.
            findings.note_unusable(&key);
        }
    }
}
