//! From rclone's patterns to globs of `globset`, by the steps of rclone's `fs/filter/glob.go`.
//!
//! rclone makes a regular expression of a pattern, so that classes and escaped letters mean what they mean in there. Both
//! are written here, the glob and the regular expression, of which the latter counts where there is no such glob.

use globset::{Glob, GlobBuilder};
use regex_syntax::hir::{Class, ClassUnicodeRange, HirKind};

use super::go_regex;

/// What a pattern has become.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    Glob(Glob),
    /// In the syntax of crate `regex`.
    Regex(String),
}

/// Translates `pattern`, or says what is wrong with it.
pub(super) fn translate(pattern: &str) -> Result<Rule, String> {
    let mut translation = Translation::default();
    let rest = match pattern.strip_prefix('/') {
        Some(rest) => {
            translation.put("^", "");
            rest
        }
        None => {
            translation.put("(^|/)", "**/");
            pattern
        }
    };
    let mut last = '\0';
    for character in rest.chars() {
        translation.take(character, last)?;
        last = character;
    }
    translation.finish()
}

/// A glob with the settings that the translation counts on.
pub(super) fn build(glob: &str) -> Result<Glob, String> {
    GlobBuilder::new(glob)
        .literal_separator(true)
        .backslash_escape(true)
        .empty_alternates(true)
        .build()
        .map_err(|error| error.kind().to_string())
}

/// Where the translation is inside a `{{...}}`.
#[derive(Default, PartialEq)]
enum Raw {
    #[default]
    Outside,
    /// After `{{`.
    Inside,
    /// After `}}`, of which more may follow: the longest expression counts.
    Ending,
}

#[derive(Default)]
struct Translation {
    /// In Go's syntax.
    regex: String,
    glob: String,
    /// Whether there is no glob that means the same.
    regex_only: bool,
    stars: usize,
    braces: usize,
    brackets: usize,
    /// Where in `regex` the class begins that is being read.
    class_start: usize,
    escaped: bool,
    raw: Raw,
}

impl Translation {
    fn take(&mut self, character: char, last: char) -> Result<(), String> {
        if self.escaped {
            self.escaped = false;
            self.regex.push(character);
            push_literal(&mut self.glob, character);
            // Letters and digits have meanings of their own then, such as `\d`.
            self.regex_only |= !character.is_ascii() || character.is_ascii_alphanumeric();
            return Ok(());
        }
        if self.raw == Raw::Ending {
            if character == '}' {
                self.replace_last("})");
                return Ok(());
            }
            self.raw = Raw::Outside;
        }
        if self.raw == Raw::Inside {
            if character == '}' && last == '}' {
                self.raw = Raw::Ending;
                self.replace_last(")");
            } else {
                self.regex.push(character);
            }
            return Ok(());
        }
        if character != '*' {
            self.put_stars()?;
        }
        if self.brackets > 0 {
            self.take_in_class(character);
            return Ok(());
        }
        self.take_plain(character, last)
    }

    fn take_in_class(&mut self, character: char) {
        self.regex.push(character);
        match character {
            '[' => self.brackets += 1,
            ']' => self.brackets -= 1,
            _ => {}
        }
        if self.brackets == 0 {
            self.end_class();
        }
    }

    fn end_class(&mut self) {
        match one_of(&self.regex[self.class_start..]) {
            Some(glob) => self.glob.push_str(&glob),
            None => self.regex_only = true,
        }
    }

    /// A character outside classes and regular expressions.
    fn take_plain(&mut self, character: char, last: char) -> Result<(), String> {
        match character {
            '\\' => {
                self.regex.push('\\');
                self.escaped = true;
            }
            '*' => self.stars += 1,
            '?' => {
                self.class_start = self.regex.len();
                self.regex.push_str("[^/]");
                self.end_class();
            }
            '[' => {
                self.class_start = self.regex.len();
                self.take_in_class('[');
            }
            ']' => return Err("a `]` has no `[`".to_owned()),
            // The first of the two has opened a group, which holds the regular expression.
            '{' if self.braces > 0 && last == '{' => {
                self.regex_only = true;
                self.raw = Raw::Inside;
                self.braces -= 1;
            }
            '{' => {
                self.braces += 1;
                self.put("(", "{");
            }
            '}' if self.braces == 0 => return Err("a `}` has no `{`".to_owned()),
            '}' => {
                self.put(")", "}");
                self.braces -= 1;
            }
            ',' if self.braces > 0 => self.put("|", ","),
            _ => {
                if ".+()|^$".contains(character) {
                    self.regex.push('\\');
                }
                self.regex.push(character);
                push_literal(&mut self.glob, character);
            }
        }
        Ok(())
    }

    fn put_stars(&mut self) -> Result<(), String> {
        match std::mem::take(&mut self.stars) {
            0 => {}
            1 => self.put("[^/]*", "*"),
            // Next to anything but `/` a `**` is no more than a `*` for globset.
            2 => self.put(".*", "{**/}*"),
            _ => return Err("it has more than two `*` in a row".to_owned()),
        }
        Ok(())
    }

    fn put(&mut self, regex: &str, glob: &str) {
        self.regex.push_str(regex);
        self.glob.push_str(glob);
    }

    fn replace_last(&mut self, text: &str) {
        self.regex.pop();
        self.regex.push_str(text);
    }

    fn finish(mut self) -> Result<Rule, String> {
        self.put_stars()?;
        if self.brackets > 0 {
            return Err("a `[` has no `]`".to_owned());
        }
        if self.raw == Raw::Inside {
            return Err("a `{{` has no `}}`".to_owned());
        }
        if self.braces > 0 {
            return Err("a `{` has no `}`".to_owned());
        }
        if self.escaped {
            return Err("it ends with a `\\` that escapes nothing".to_owned());
        }
        if self.regex_only {
            self.regex.push('$');
            return go_regex::to_rust(&self.regex).map(Rule::Regex);
        }
        if self.glob == "**/" {
            // Alone it would be everything, for globset.
            self.glob.push_str("{}");
        }
        build(&self.glob).map(Rule::Glob)
    }
}

fn push_literal(glob: &mut String, character: char) {
    if character.is_ascii_punctuation() {
        glob.push('\\');
    }
    glob.push(character);
}

/// A glob for the one character that the class `regex` stands for. None where that takes a regular expression, because it
/// is not just a class, or one that holds many but not all of the characters beyond ASCII.
///
/// globset's own classes and `?` are about bytes, so that they serve for ASCII only.
fn one_of(regex: &str) -> Option<String> {
    const MOST_LISTED: usize = 256;
    let hir = go_regex::parse_class(regex)?;
    let mut ranges = match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => class.ranges().to_vec(),
        // A class of one.
        HirKind::Literal(literal) => {
            let mut characters = std::str::from_utf8(&literal.0).ok()?.chars();
            let character = characters.next().filter(|_| characters.next().is_none())?;
            vec![ClassUnicodeRange::new(character, character)]
        }
        _ => return None,
    };
    let others = ranges.pop_if(|range| range.start() <= '\u{80}' && range.end() == char::MAX);
    if let Some(range) = others.filter(|range| range.start() < '\u{80}') {
        ranges.push(ClassUnicodeRange::new(range.start(), '\u{7f}'));
    }
    let mut alternatives = Vec::from_iter(others.map(|_| beyond_ascii()));
    for range in ranges {
        let (start, end) = (range.start(), range.end());
        if end.is_ascii() && start != end && !"!^".contains(start) && end != ']' {
            alternatives.push(format!("[{start}-{end}]"));
            continue;
        }
        for character in start..=end {
            let mut literal = String::new();
            push_literal(&mut literal, character);
            alternatives.push(literal);
            if alternatives.len() > MOST_LISTED {
                return None;
            }
        }
    }
    // Nothing at all is in a class such as `[^\x00-\x{10FFFF}]`.
    (!alternatives.is_empty()).then(|| format!("{{{}}}", alternatives.join(",")))
}

/// Alternatives for any one character beyond ASCII, byte by byte.
///
/// To globset a character in a class is the set of its bytes, and a range runs from the last byte of its one end to the
/// first byte of the other. A path is valid UTF-8, so the first byte of a character says how many belong to it.
fn beyond_ascii() -> String {
    const FOUR: &str = "\u{10000}\u{40000}\u{80000}\u{c0000}\u{100000}";
    const NEXT: &str = "[^\0-\u{7f}]";
    // Characters that have, together, each first byte of three and each byte that is not the first.
    let three: String = (0..64)
        .filter_map(|n| char::from_u32((((n % 16) << 12) | n).max(0x800 | n)))
        .collect();
    [
        format!("[^\0-\u{7f}{three}{FOUR}]{NEXT}"),
        format!("[^\0-\u{7c0}{FOUR}]{NEXT}{NEXT}"),
        format!("[^\0-\u{ffff}]{NEXT}{NEXT}{NEXT}"),
    ]
    .join(",")
}
