//! Random trees and edits that can be made again.
//!
//! ```
//! use ows_testkit::random::{Seed, Shape, edit, files};
//!
//! let seed = Seed::new(); // prints itself; `OWS_SEED=N` replays
//! let mut rng = seed.rng();
//! let before = files(&mut rng, &Shape::default());
//! let mut after = before.clone();
//! edit(&mut after, &mut rng, 5);
//! ```

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::tree::Files;

/// What a random test starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed in `OWS_SEED`, else a new one; printed to stderr, which the test harness shows when the test fails.
    ///
    /// # Panics
    /// When `OWS_SEED` is no number.
    #[must_use]
    #[expect(
        clippy::print_stderr,
        reason = "a failing test must show how to run it again"
    )]
    pub fn new() -> Self {
        let seed = match std::env::var("OWS_SEED") {
            Ok(text) => text.parse().expect("OWS_SEED is a number"),
            Err(_) => rand::rng().random(),
        };
        eprintln!("seed {seed}: OWS_SEED={seed} runs it again");
        Self(seed)
    }

    /// A generator that gives the same numbers for the same seed.
    #[must_use]
    pub fn rng(self) -> StdRng {
        StdRng::seed_from_u64(self.0)
    }
}

impl Default for Seed {
    fn default() -> Self {
        Self::new()
    }
}

/// How a random tree is to look.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Number of files.
    pub files: usize,
    /// Most folders above a file.
    pub depth: usize,
    /// Most bytes in a file.
    pub max_size: usize,
    /// Names with spaces, quotes, percent signs, emoji, other scripts, leading dashes and the like.
    pub odd_names: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            files: 20,
            depth: 3,
            max_size: 200,
            odd_names: true,
        }
    }
}

const PLAIN: &[&str] = &["alpha", "beta", "gamma", "delta", "notes", "data"];
const ODD: &[&str] = &[
    "two words",
    " leading",
    "trailing ",
    "-dash",
    "100%",
    "%41",
    "a+b",
    "q?u",
    "h#sh",
    "a&b;c",
    "it's",
    "\"quoted\"",
    "back\\slash",
    "st*r[0]{a,b}",
    "new\nline",
    "tab\tbed",
    "ünïcode",
    "u\u{308}nicode",
    "日本語",
    "👩‍👩‍👧",
    "UPPER",
    "upper",
    ".hidden",
    "~tilde",
    "a:b|c<d>",
    "$HOME",
    "con.txt",
];

/// Random files. No path is a folder and a file at once.
#[must_use]
pub fn files(rng: &mut StdRng, shape: &Shape) -> Files {
    let mut files = Files::new();
    while files.len() < shape.files {
        let path = free_path(&files, rng, shape);
        let content = content(rng, shape.max_size);
        files.insert(path, content);
    }
    files
}

/// Changes `files` at random `count` times: a file is added, changed, emptied, removed, moved, or its content copied.
pub fn edit(files: &mut Files, rng: &mut StdRng, count: usize) {
    let shape = Shape::default();
    for _ in 0..count {
        let paths: Vec<String> = files.keys().cloned().collect();
        let Some(path) = paths.choose(rng).cloned() else {
            let path = free_path(files, rng, &shape);
            files.insert(path, content(rng, shape.max_size));
            continue;
        };
        match rng.random_range(0..6) {
            0 => {
                let new = free_path(files, rng, &shape);
                files.insert(new, content(rng, shape.max_size));
            }
            1 => {
                files.insert(path, content(rng, shape.max_size));
            }
            2 => {
                files.insert(path, Vec::new());
            }
            3 => {
                files.remove(&path);
            }
            action => {
                let new = free_path(files, rng, &shape);
                let copied = files[&path].clone();
                if action == 4 {
                    files.remove(&path);
                }
                files.insert(new, copied);
            }
        }
    }
}

fn content(rng: &mut StdRng, max_size: usize) -> Vec<u8> {
    let size = rng.random_range(0..=max_size);
    (0..size).map(|_| rng.random()).collect()
}

fn free_path(files: &Files, rng: &mut StdRng, shape: &Shape) -> String {
    loop {
        let depth = rng.random_range(0..=shape.depth);
        let mut names: Vec<String> = (0..depth).map(|_| name(rng, shape, 3)).collect();
        names.push(name(rng, shape, 1_000));
        let path = names.join("/");
        if !clashes(files, &path) {
            return path;
        }
    }
}

fn name(rng: &mut StdRng, shape: &Shape, numbers: u32) -> String {
    let pool = if shape.odd_names && rng.random() {
        ODD
    } else {
        PLAIN
    };
    let stem = pool.choose(rng).copied().unwrap_or_default();
    format!("{stem}{}", rng.random_range(0..numbers))
}

/// Whether `path` is taken, lies below a file, or is a folder already.
fn clashes(files: &Files, path: &str) -> bool {
    let is_below_a_file = path
        .match_indices('/')
        .any(|(at, _)| files.contains_key(&path[..at]));
    let inside = format!("{path}/");
    let is_a_folder = files
        .range(inside.clone()..)
        .next()
        .is_some_and(|(key, _)| key.starts_with(&inside));
    files.contains_key(path) || is_below_a_file || is_a_folder
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TempTree;

    #[test]
    fn a_seed_gives_the_same_tree_again() {
        let make = |seed| {
            let mut rng = Seed(seed).rng();
            let mut files = files(&mut rng, &Shape::default());
            edit(&mut files, &mut rng, 20);
            files
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn random_trees_exist_on_disk_as_they_were_made() {
        let seed = Seed::new();
        let mut rng = seed.rng();
        let mut made = files(&mut rng, &Shape::default());
        assert_eq!(made.len(), 20);
        edit(&mut made, &mut rng, 50);
        let tree = TempTree::new();
        tree.write_all(&made);
        assert_eq!(tree.files(), made);
    }
}
