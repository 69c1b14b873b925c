//! Which paths are left out: rclone's exclude patterns, with its meaning, since configurations already hold them.
//!
//! | pattern | matches |
//! |---|---|
//! | `/x` | `x` at the root of the pair; without the leading `/` at every depth |
//! | `*` `?` | any characters, one character, within a name |
//! | `**` | any characters, `/` among them |
//! | `[a-z]` `[^a-z]` | one of these characters, one that is none of them |
//! | `{x,y}` | either; may be nested |
//! | `x/` | the folder with everything in it, the same as `x/**` |
//! | `\x` | the character itself, where it is punctuation |
//! | `{{x}}` | a regular expression, in Go's syntax |
//!
//! The matching is done by `globset`, on a translation (`glob`), as the same text would mean something else there: in
//! rclone `a**b` crosses folders, `[^a]` matches a `/`, and `[!a]` is no negation, whatever its documents say. Regular
//! expressions are left for what no glob can say: `{{x}}`; an escaped letter or digit, as rclone makes regular expressions
//! of all patterns, in which `\d` is a digit; a class of many but not all characters beyond ASCII, such as `[^é]` or
//! `[\pL]`; and brackets that are more than one class, such as `[[]]`. `go_regex` brings them from Go's syntax to ours.
//! `fixtures/patterns/` holds what real rclone answered, and how it was asked.
//!
//! **One difference is meant.** A leading `**/` also matches at the root, where rclone wants at least one folder: `**/x`
//! stands for `**/x` and `/x`. Apart from it, a `\` at the very end is an error here; rclone lets it escape its own end mark.
//!
//! A folder is left out when its path with a `/` at the end is matched by a pattern that holds `**` or ends in `/` (or by
//! the pattern `*`). All in it is then left out too, as it is not even walked. A pattern such as `x` alone means files.

mod glob;
mod go_regex;

#[cfg(test)]
mod tests;

use globset::{Candidate, Glob, GlobSet, GlobSetBuilder};
use ows_providers::RelPath;
use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};

use self::glob::Rule;

/// The file at the root of the workspace that holds patterns of its own, one a line.
pub const EXCLUDES_FILE: &str = ".sync-excludes";

/// The largest such file that is read.
pub const EXCLUDES_MAX: u64 = 1 << 20;

/// How large the compiled regular expressions may become together, in bytes. Thousands stay far below.
const SIZE_LIMIT: usize = 256 << 20;

/// A pattern that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern `{pattern}` cannot be used: {reason}")]
pub struct PatternError {
    /// The pattern as it was written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Exclude patterns, compiled. Matching is by the bytes of the path, with upper and lower case told apart.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    /// What leaves out a file, by its path.
    files: Matcher,
    /// What leaves out a folder, by its path and a `/`.
    folders: Matcher,
    /// Those of `folders` that may match a folder without matching all that is below it, such as `**[^a]`: for these the
    /// folders above a path are looked at too. There are hardly ever any.
    folders_only: Matcher,
}

impl Patterns {
    /// Compiles `patterns`; a path is left out when any of them matches.
    ///
    /// # Errors
    /// One error for each pattern that cannot be used.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, Vec<PatternError>> {
        let mut rules = Rules::default();
        let mut errors = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            if let Err(reason) = rules.add(pattern) {
                errors.push(PatternError {
                    pattern: pattern.to_owned(),
                    reason,
                });
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        rules.compile().map_err(|reason| {
            vec![PatternError {
                pattern: patterns.first().map_or("", AsRef::as_ref).to_owned(),
                reason: format!("all patterns together: {reason}"),
            }]
        })
    }

    /// No patterns: nothing is left out.
    pub fn none() -> Self {
        Self::default()
    }

    /// The patterns in the text of a `.sync-excludes` file: one a line, without the white space around it. Empty lines and
    /// lines that begin with `#` are none; a name that begins with `#` is written `\#`.
    pub fn parse_file(text: &str) -> Vec<String> {
        text.strip_prefix('\u{feff}')
            .unwrap_or(text)
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }

    /// Whether the file `path` is left out, be it for its own name or for a folder that it is in.
    pub fn is_excluded_file(&self, path: &RelPath) -> bool {
        self.is_excluded_file_bytes(path.as_str().as_bytes())
    }

    /// [`Self::is_excluded_file`] for a path of any bytes: relative, `/` between its segments.
    pub fn is_excluded_file_bytes(&self, path: &[u8]) -> bool {
        self.files.is_match(path) || self.is_below_excluded(path)
    }

    /// Whether the folder `path`, with all that is or may be in it, is left out, and need not be walked.
    pub fn excludes_folder(&self, path: &RelPath) -> bool {
        self.excludes_folder_bytes(path.as_str().as_bytes())
    }

    /// [`Self::excludes_folder`] for a path of any bytes: relative, `/` between its segments.
    pub fn excludes_folder_bytes(&self, path: &[u8]) -> bool {
        if self.folders.is_empty() {
            return false;
        }
        let folder = [path, b"/"].concat();
        self.folders.is_match(&folder) || self.is_below_excluded(path)
    }

    /// Whether a folder above `path` is left out by a pattern that need not match `path` itself.
    fn is_below_excluded(&self, path: &[u8]) -> bool {
        if self.folders_only.is_empty() {
            return false;
        }
        path.iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .any(|(at, _)| self.folders_only.is_match(&path[..=at]))
    }
}

/// Compiled rules, each a glob or a regular expression.
#[derive(Debug, Clone, Default)]
struct Matcher {
    globs: Vec<GlobSet>,
    regexes: RegexSet,
}

impl Matcher {
    fn new(rules: Vec<Rule>) -> Result<Self, String> {
        let mut globs = Vec::new();
        let mut regexes = Vec::new();
        for rule in rules {
            match rule {
                Rule::Glob(glob) => globs.push(glob),
                Rule::Regex(regex) => regexes.push(regex),
            }
        }
        Ok(Self {
            globs: glob_sets(&globs)?,
            regexes: RegexSetBuilder::new(regexes)
                .dot_matches_new_line(true)
                .octal(true)
                .size_limit(SIZE_LIMIT)
                .build()
                .map_err(|error| one_line(&error))?,
        })
    }

    fn is_empty(&self) -> bool {
        self.globs.iter().all(GlobSet::is_empty) && self.regexes.is_empty()
    }

    fn is_match(&self, path: &[u8]) -> bool {
        let candidate = Candidate::from_bytes(path);
        self.globs
            .iter()
            .any(|set| set.is_match_candidate(&candidate))
            || self.regexes.is_match(path)
    }
}

/// `globs` in one set, or in several where one would need more memory than globset allows it.
fn glob_sets(globs: &[Glob]) -> Result<Vec<GlobSet>, String> {
    let mut builder = GlobSetBuilder::new();
    for glob in globs {
        builder.add(glob.clone());
    }
    match builder.build() {
        Ok(set) => Ok(vec![set]),
        Err(_) if globs.len() > 1 => {
            let (some, others) = globs.split_at(globs.len() / 2);
            Ok([glob_sets(some)?, glob_sets(others)?].concat())
        }
        Err(error) => Err(error.kind().to_string()),
    }
}

/// Rules on their way to a [`Patterns`].
#[derive(Default)]
struct Rules {
    files: Vec<Rule>,
    folders: Vec<Rule>,
    folders_only: Vec<Rule>,
}

impl Rules {
    /// Adds what `pattern` stands for, or says what is wrong with it.
    fn add(&mut self, pattern: &str) -> Result<(), String> {
        // As rclone does. A space at the end of a name is written `[ ]`.
        let pattern = pattern.trim_end();
        self.add_glob(pattern)?;
        let mut rest = pattern;
        while let Some(shorter) = rest.strip_prefix("**/") {
            rest = shorter;
        }
        // `**/` alone stands for every folder; there is nothing that could be at the root.
        if rest.len() < pattern.len() && !rest.is_empty() {
            self.add_glob(&format!("/{rest}"))?;
        }
        Ok(())
    }

    /// Adds a pattern as rclone understands it.
    fn add_glob(&mut self, pattern: &str) -> Result<(), String> {
        let mut glob = pattern.to_owned();
        if glob.ends_with('/') {
            glob.push_str("**");
        }
        let rule = glob::translate(&glob)?;
        if let Rule::Regex(regex) = &rule {
            check(regex)?;
        }
        if glob.contains("**") {
            // With `**` at its end a pattern that matches a folder goes on to match what is below. A regular expression
            // may hold an end of text before that.
            if !glob.ends_with("**") || glob.contains('\\') || glob.contains("{{") {
                self.folders_only.push(rule.clone());
            }
            self.folders.push(rule.clone());
        } else if glob == "*" {
            self.folders.push(Rule::Glob(glob::build("**")?));
        }
        self.files.push(rule);
        Ok(())
    }

    fn compile(self) -> Result<Patterns, String> {
        Ok(Patterns {
            files: Matcher::new(self.files)?,
            folders: Matcher::new(self.folders)?,
            folders_only: Matcher::new(self.folders_only)?,
        })
    }
}

/// Compiles one expression by itself, so that an error can be blamed on its pattern.
///
/// A `.` matches line feeds: rclone replaces control characters in names by visible ones before it looks.
fn check(regex: &str) -> Result<(), String> {
    RegexBuilder::new(regex)
        .dot_matches_new_line(true)
        .octal(true)
        .build()
        .map(drop)
        .map_err(|error| one_line(&error))
}

/// The last line of an error of the regex library, without the drawing of where it is: it would show our translation,
/// which nobody wrote.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
