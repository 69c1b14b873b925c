//! `${VAR}` in the strings of our part of the configuration.
//!
//! A variable is looked up in the process's environment, then in `<state>/.env`, then in the `env.vars` and `env`
//! blocks of openclaw.json: the first that has it wins, also when its value is empty. Replacement happens once: what a
//! variable holds is never expanded again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::check::{Findings, KeyPath};

/// Environment variables, given rather than read from the process, so that programs that embed `ows` and tests decide
/// what it sees. Values are never printed.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process. Those that are no valid Unicode cannot be named in a configuration and are left
    /// out.
    pub fn from_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        )
    }

    /// The given variables and no others.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a variable that names a place; an empty one counts as unset, as in a shell's `${VAR:-default}`.
    pub(super) fn place(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// The home directory.
    pub fn home(&self) -> Option<PathBuf> {
        self.place("HOME").map(PathBuf::from)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Environment({} variables)", self.0.len())
    }
}

/// Where variables are looked up, nearest first.
#[derive(Debug)]
pub(super) struct Variables<'a> {
    pub(super) environment: &'a Environment,
    pub(super) dotenv: Environment,
    pub(super) openclaw: Environment,
}

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name)
            .or_else(|| self.dotenv.get(name))
            .or_else(|| self.openclaw.get(name))
    }

    /// Replaces the variables of one text.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let before = &rest[..start];
            let after = &rest[start + 2..];
            if let Some(before) = before.strip_suffix('$') {
                result.push_str(before);
                result.push_str("${");
                rest = after;
                continue;
            }
            result.push_str(before);
            let name = after.split_once('}').map(|(name, _)| name);
            let Some(name) = name.filter(|name| is_name(name)) else {
                return Err(
                    "holds `${` without a variable's name and `}` after it; write `$${` for a literal `${`"
                        .to_owned(),
                );
            };
            let Some(value) = self.get(name) else {
                return Err(format!(
                    "the variable `{name}` is not set; allowed: a variable of the environment, of `.env` in the \
                     state directory, or of the `env` block of openclaw.json (write `$${{` for a literal `${{`)"
                ));
            };
            result.push_str(value);
            rest = &after[name.len() + 1..];
        }
        result.push_str(rest);
        Ok(result)
    }

    /// Replaces the variables of every text below `value`. Texts that could not be expanded are reported.
    pub(super) fn expand_all(&self, findings: &Findings, key: &KeyPath, value: &mut Value) {
        match value {
            Value::String(text) if text.contains("${") => match self.expand(text) {
                Ok(expanded) => {
                    findings.note_written(key, text);
                    *text = expanded;
                }
                Err(message) => {
                    findings.note_unusable(key);
                    findings.problem(key, message);
                }
            },
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.expand_all(findings, &key.index(index), item);
                }
            }
            Value::Object(map) => {
                for (name, item) in map.iter_mut() {
                    self.expand_all(findings, &key.key(name), item);
                }
            }
            _ => {}
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}

/// Reads the text of a `.env` file: `NAME=value` lines, `export` before them, `#` comments, single quotes (literal) and
/// double quotes (`\n`, `\r`, `\t`, `\"`, `\\`). A quoted value may span lines. A line that is none of these is skipped
/// and returned by its number: the file belongs to others and may hold what only they understand.
pub(super) fn parse_dotenv(text: &str) -> (Environment, Vec<usize>) {
    let mut variables = BTreeMap::new();
    let mut skipped = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = text;
    while !rest.is_empty() {
        let number = text[..text.len() - rest.len()].matches('\n').count() + 1;
        let line_end = rest.find('\n').unwrap_or(rest.len());
        let line = rest[..line_end].trim();
        let next_line = rest.get(line_end + 1..).unwrap_or("");
        if line.is_empty() || line.starts_with('#') {
            rest = next_line;
            continue;
        }
        let Some((name, _)) = line.split_once('=') else {
            skipped.push(number);
            rest = next_line;
            continue;
        };
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        let value_start = rest.find('=').map_or(line_end, |at| at + 1);
        match read_value(&rest[value_start..]) {
            Some((value, used)) if is_name(name) => {
                variables.insert(name.to_owned(), value);
                rest = &rest[value_start + used..];
                rest = rest.split_once('\n').map_or("", |(_, next)| next);
            }
            _ => {
                skipped.push(number);
                rest = next_line;
            }
        }
    }
    (Environment(variables), skipped)
}

/// The value at the beginning of `text`, and how many bytes of it were read; `None` when a quote is not closed.
fn read_value(text: &str) -> Option<(String, usize)> {
    let blank = text.len() - text.trim_start_matches([' ', '\t']).len();
    let body = &text[blank..];
    match body.chars().next() {
        Some('\'') => {
            let end = body[1..].find('\'')?;
            Some((body[1..=end].to_owned(), blank + end + 2))
        }
        Some('"') => {
            let mut value = String::new();
            let mut chars = body.char_indices().skip(1);
            while let Some((index, c)) = chars.next() {
                match c {
                    '"' => return Some((value, blank + index + 1)),
                    '\\' => match chars.next()?.1 {
                        'n' => value.push('\n'),
                        'r' => value.push('\r'),
                        't' => value.push('\t'),
                        other @ ('"' | '\\' | '$') => value.push(other),
                        other => value.extend(['\\', other]),
                    },
                    other => value.push(other),
                }
            }
            None
        }
        _ => {
            let end = body.find('\n').unwrap_or(body.len());
            let line = &body[..end];
            // A comment needs a blank before it: `#` occurs in passwords.
            let value = line.find(" #").map_or(line, |comment| &line[..comment]);
            Some((value.trim().to_owned(), blank + end))
        }
    }
}

/// `~` and `~/...` as the home directory, anything else relative to `base`.
pub(super) fn place(text: &str, base: &Path, home: Option<&Path>) -> Result<PathBuf, String> {
    let below_home = match text.strip_prefix('~') {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    };
    match (below_home, home) {
        (Some(rest), Some(home)) => Ok(base.join(home).join(rest)),
        (Some(_), None) => Err("begins with `~`, but `HOME` is not set".to_owned()),
        (None, _) => Ok(base.join(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(environment: &Environment) -> Variables<'_> {
        Variables {
            environment,
            dotenv: Environment::from_pairs([("B", "dotenv"), ("A", "shadowed")]),
            openclaw: Environment::from_pairs([("C", "openclaw"), ("B", "shadowed")]),
        }
    }

    #[test]
    fn the_first_place_that_has_a_variable_wins() {
        let environment = Environment::from_pairs([("A", "process"), ("EMPTY", ""), ("N", "${A}")]);
        let variables = variables(&environment);
        for (text, expanded) in [
            ("${A}-${B}-${C}", "process-dotenv-openclaw"),
            ("x${EMPTY}y", "xy"),
            ("$${A} costs $5", "${A} costs $5"),
            ("$$${A}", "$${A}"),
            ("${N}", "${A}"),
            ("plain $A", "plain $A"),
        ] {
            assert_eq!(variables.expand(text).as_deref(), Ok(expanded), "{text}");
        }
        for text in ["${}", "${A", "${A B}", "${1A}", "${A:-x}"] {
            assert!(
                variables.expand(text).unwrap_err().contains("literal"),
                "{text}"
            );
        }
        assert!(
            variables
                .expand("${NONE}")
                .unwrap_err()
                .contains("`NONE` is not set")
        );
    }

    #[test]
    fn dotenv_files_are_read_as_usual() {
        let (variables, skipped) = parse_dotenv(
            "\u{feff}# comment\nA=1\nexport B = two words # comment\nC='single # ${A}'\r\nD=\"a\\nb \\\"q\\\"\" # end\n\
             no assignment\nE=\nF=pa#ss\nG=\"line one\nline two\"\nH=last\n1BAD=x\nI=\"open\nJ=j",
        );
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "single # ${A}"),
            ("D", "a\nb \"q\""),
            ("E", ""),
            ("F", "pa#ss"),
            ("G", "line one\nline two"),
            ("H", "last"),
            ("J", "j"),
        ];
        for (name, value) in expected {
            assert_eq!(variables.get(name), Some(value), "{name}");
        }
        assert_eq!(variables.0.len(), expected.len());
        assert_eq!(skipped, [6, 12, 13]);
    }

    #[test]
    fn tilde_is_the_home_directory() {
        let base = Path::new("/srv");
        let home = Some(Path::new("/home/me"));
        assert_eq!(place("~/x", base, home), Ok("/home/me/x".into()));
        assert_eq!(place("~", base, home), Ok("/home/me".into()));
        assert_eq!(place("~x", base, home), Ok("/srv/~x".into()));
        assert_eq!(place("a/b", base, home), Ok("/srv/a/b".into()));
        assert_eq!(place("/a", base, home), Ok("/a".into()));
        assert!(place("~/x", base, None).is_err());
    }

    #[test]
    fn debug_of_an_environment_shows_no_value() {
        let text = format!("{:?}", Environment::from_pairs([("A", "hunter2")]));
        assert_eq!(text, "Environment(1 variables)");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[a-zA-Z0-9_=$\\{}'\"#\\\\ \n\réx]{0,40}") {
            let environment = Environment::default();
            let _ = variables(&environment).expand(&text);
            let (_, skipped) = parse_dotenv(&text);
            proptest::prop_assert!(skipped.len() <= text.lines().count().max(1));
        }
    }
}
