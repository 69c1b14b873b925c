//! What `ows` reads from strangers, as functions over arbitrary bytes: each reads its input in every way that a run would,
//! and panics when a promise does not hold. Two callers share them: `fuzz/` (cargo-fuzz, for as long as it is let) and
//! `tests/arbitrary.rs` (stable, a few seconds, a part of every test run). Not published.
//!
//! Beyond not panicking, each function asserts what its reader promises of an input that it accepts: what is written back
//! reads the same, no content is longer than its input, nothing lands outside the target. What it refuses it refuses with
//! words. Memory and time are bounded by the callers.

mod backup;
mod config;
mod patterns;

pub use backup::{extract, index, legacy, manifest, tar};
pub use config::config;
pub use patterns::patterns;

/// One thing that is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, that of its function and of its file in `fuzz/fuzz_targets/`.
    pub name: &'static str,
    /// Reads an input.
    pub run: fn(&[u8]),
    /// Inputs that are accepted, to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces of which an input that is nearly right is made.
    pub words: &'static [&'static str],
    /// How many times longer than others one call takes.
    pub cost: usize,
}

/// Everything that is fuzzed.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "index",
        run: index,
        seeds: backup::index_seeds,
        words: backup::INDEX_WORDS,
        cost: 1,
    },
    Target {
        name: "manifest",
        run: manifest,
        seeds: backup::manifest_seeds,
        words: backup::MANIFEST_WORDS,
        cost: 1,
    },
    Target {
        name: "tar",
        run: tar,
        seeds: backup::tar_seeds,
        words: backup::TAR_WORDS,
        cost: 1,
    },
    Target {
        name: "extract",
        run: extract,
        seeds: backup::tar_seeds,
        words: backup::TAR_WORDS,
        cost: 4,
    },
    Target {
        name: "legacy",
        run: legacy,
        seeds: backup::legacy_seeds,
        words: &["Salted__"],
        // 100,000 rounds of PBKDF2 each time, a second without optimisation.
        cost: 200,
    },
    Target {
        name: "config",
        run: config,
        seeds: config::seeds,
        words: config::WORDS,
        cost: 4,
    },
    Target {
        name: "patterns",
        run: patterns,
        seeds: patterns::seeds,
        words: patterns::WORDS,
        cost: 10,
    },
];

/// An error must say something, and no input may make it say a novel.
fn assert_words(text: &str) {
    assert!(text.trim().len() > 5, "an error without words: {text:?}");
    assert!(
        text.len() < 64 << 10,
        "an error of {} bytes: {}...",
        text.len(),
        text.chars().take(200).collect::<String>()
    );
}
