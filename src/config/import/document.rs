//! The configuration file that an import writes: keys in an order that reads well, and the reason of each choice beside it.
//!
//! It is rendered twice: for the file, and for a terminal, where every secret is `***`. A text that is nothing but a
//! `${VAR}` is no secret and is shown in both.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// A line of the file, or an object with lines of its own.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) content: Content,
    /// Why it is as it is.
    pub(super) why: Option<String>,
    /// Written as a comment: to be seen, not to be read.
    pub(super) is_off: bool,
}

#[derive(Debug)]
pub(super) enum Content {
    Plain(Value),
    Secret(SecretString),
    Block(Vec<Entry>),
}

impl Entry {
    pub(super) fn plain(key: &str, value: impl Into<Value>) -> Self {
        Self::new(key, Content::Plain(value.into()))
    }

    pub(super) fn secret(key: &str, value: SecretString) -> Self {
        Self::new(key, Content::Secret(value))
    }

    pub(super) fn block(key: &str, entries: Vec<Self>) -> Self {
        Self::new(key, Content::Block(entries))
    }

    fn new(key: &str, content: Content) -> Self {
        Self {
            key: key.to_owned(),
            content,
            why: None,
            is_off: false,
        }
    }

    pub(super) fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    pub(super) fn off(mut self) -> Self {
        self.is_off = true;
        self
    }

    /// The value as it is written, when it is no object of entries.
    pub(super) fn value(&self) -> Option<Value> {
        match &self.content {
            Content::Plain(value) => Some(value.clone()),
            Content::Secret(text) => Some(Value::from(text.expose_secret())),
            Content::Block(_) => None,
        }
    }
}

/// Whether a text names a variable and holds nothing else.
pub(super) fn is_reference(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| {
            !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        })
}

/// The text of the file. Without `with_secrets` it is for people to look at.
pub(super) fn render(heading: &[String], entries: &[Entry], with_secrets: bool) -> SecretString {
    let mut text = String::new();
    for line in heading {
        text.push_str(&format!("// {}\n", one_line(line)));
    }
    text.push_str("{\n");
    lines(&mut text, entries, 1, false, with_secrets);
    text.push_str("}\n");
    text.into()
}

fn lines(text: &mut String, entries: &[Entry], depth: usize, is_off: bool, with_secrets: bool) {
    for entry in entries {
        let is_off = is_off || entry.is_off;
        let indent = "  ".repeat(depth);
        let begin = if is_off {
            format!("{indent}// ")
        } else {
            indent.clone()
        };
        if let Some(why) = &entry.why {
            text.push_str(&format!("{indent}// {}\n", one_line(why)));
        }
        let key = key_text(&entry.key);
        match &entry.content {
            Content::Plain(value) => {
                text.push_str(&format!("{begin}{key}: {},\n", value_text(value)));
            }
            Content::Secret(value) => {
                let value = value.expose_secret();
                let shown = if with_secrets || is_reference(value) {
                    value
                } else {
                    "***"
                };
                text.push_str(&format!("{begin}{key}: {},\n", Value::from(shown)));
            }
            Content::Block(inner) => {
                text.push_str(&format!("{begin}{key}: {{\n"));
                lines(text, inner, depth + 1, is_off, with_secrets);
                text.push_str(&format!("{begin}}},\n"));
            }
        }
    }
}

/// A value on one line; a list with blanks between its items.
fn value_text(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(value_text).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn key_text(key: &str) -> String {
    let is_plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    if is_plain {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}

/// A comment ends at the end of its line, and a name from the source must not end it earlier.
fn one_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.replace(breaks, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_json5_with_its_reasons_and_hides_secrets_on_request() {
        let entries = [
            Entry::plain("mode", "mailbox").because("line\nbreak"),
            Entry::block(
                "s3",
                vec![
                    Entry::secret("accessKeyId", "${KEY_ID}".into()),
                    Entry::secret("secretAccessKey", "hunter2\"\u{2028}".into()),
                    Entry::plain("odd key", 5).off(),
                ],
            ),
            Entry::block("backup", vec![Entry::plain("enabled", true)]).off(),
        ];
        let heading = ["from there".to_owned()];
        let shown = render(&heading, &entries, false);
        assert_eq!(
            shown.expose_secret(),
            "// from there\n{\n  // line break\n  mode: \"mailbox\",\n  s3: {\n    accessKeyId: \"${KEY_ID}\",\n    \
             secretAccessKey: \"***\",\n    // \"odd key\": 5,\n  },\n  // backup: {\n    // enabled: true,\n  // },\n}\n"
        );
        let whole = render(&heading, &entries, true);
        let read: Value = json5::from_str(whole.expose_secret()).unwrap();
        assert_eq!(
            read,
            serde_json::json!({
                "mode": "mailbox",
                "s3": { "accessKeyId": "${KEY_ID}", "secretAccessKey": "hunter2\"\u{2028}" },
            })
        );
    }

    #[test]
    fn only_a_whole_reference_is_no_secret() {
        for text in ["${A}", "${_a9}"] {
            assert!(is_reference(text), "{text}");
        }
        for text in ["", "${}", "x${A}", "${A}x", "${A}${B}", "$${A}", "${A B}"] {
            assert!(!is_reference(text), "{text}");
        }
    }
}
