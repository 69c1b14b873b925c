//! What extraction tells: what was done, what is bad, and why it stops.

use std::io;

use crate::backup::untar::TarError;

/// How many bad paths are listed; all are counted.
const MOST_BAD: usize = 1000;

/// How many characters of a bad path are shown.
const LONGEST_SHOWN: usize = 4096;

/// A path that was not restored, or not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Which, escaped for reading.
    pub path: String,
    /// Why.
    pub message: String,
}

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Files written.
    pub files: u64,
    /// Folders that the archive holds.
    pub dirs: u64,
    /// Symbolic links made.
    pub symlinks: u64,
    /// Further names of files made.
    pub hard_links: u64,
    /// Bytes of content written.
    pub bytes: u64,
    /// Symbolic links that point out of the target.
    pub links_outside: u64,
    /// Members that were there twice with the same content.
    pub repeated: u64,
    /// Files that no index vouches for.
    pub unproven: u64,
    /// The first bad paths.
    pub bad: Vec<Bad>,
    /// How many bad paths there are.
    pub bad_count: u64,
    /// How many of these were asked for and are not in the snapshot.
    pub missing: u64,
}

/// Why extraction stops.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The archive is damaged, or made to deceive.
    #[error("nothing behind {} could be restored", .after.as_deref().map_or("the beginning".to_owned(), |path| format!("`{path}`")))]
    Archive {
        /// The last member that was reached.
        after: Option<String>,
        /// Why.
        #[source]
        source: TarError,
    },
    /// There is more in it than was announced.
    #[error(
        "the archive holds more {what} than its manifest announces: it is not the snapshot it claims to be"
    )]
    TooMuch {
        /// Of what: `paths` or `bytes`.
        what: &'static str,
    },
    /// The target cannot be written to at all.
    #[error("could not write `{path}` in the target")]
    Target {
        /// What was to be written, escaped.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Extracted {
    /// Notes a bad path.
    pub(in crate::backup) fn note(&mut self, path: &str, message: &str) {
        self.bad_count += 1;
        if self.bad.len() < MOST_BAD {
            self.bad.push(Bad {
                path: shorten(path),
                message: shorten(message),
            });
        }
    }

    /// Notes a path that was asked for and is not there.
    pub(in crate::backup) fn note_missing(&mut self, path: &str) {
        self.missing += 1;
        self.note(path, "it is not in the snapshot");
    }

    /// Whether none of the paths that were asked for is in the snapshot, and nothing else is bad.
    pub(in crate::backup) fn is_nothing_of(&self, asked: usize) -> bool {
        asked > 0 && self.missing == asked as u64 && self.bad_count == self.missing
    }
}

/// Names from an archive may be a MiB long; a thousand of those are not kept.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(LONGEST_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}
