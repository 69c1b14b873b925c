//! The map in `src/lib.rs` holds: who may use whom is read from the sources.
//!
//! Comments, strings apart from SQL, and everything from a file's `#[cfg(test)]` on are left out of account. A file named
//! `tests.rs`, or in a folder `tests`, is a test.

use std::fs;
use std::path::{Path, PathBuf};

/// A line of code, without its comment.
struct Line {
    file: PathBuf,
    number: usize,
    code: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{}:{}: {}",
            self.file.display(),
            self.number,
            self.code.trim()
        )
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            if !path.ends_with("tests") {
                files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            found.push(path);
        }
    }
}

/// All code below a folder of the repository.
fn code(folder: &str) -> Vec<Line> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(&root.join(folder), &mut found);
    assert!(!found.is_empty(), "{folder} holds no sources");
    let mut lines = Vec::new();
    for file in found {
        let text = fs::read_to_string(&file).expect("the file can be read");
        let name = file.strip_prefix(root).expect("it is in the repository");
        for (index, line) in text.lines().enumerate() {
            if line.trim() == "#[cfg(test)]" {
                break;
            }
            let code = line.split("//").next().unwrap_or_default().to_owned();
            lines.push(Line {
                file: name.to_owned(),
                number: index + 1,
                code,
            });
        }
    }
    lines
}

/// The lines in which one of `words` occurs.
fn naming(lines: &[Line], words: &[&str]) -> Vec<String> {
    lines
        .iter()
        .filter(|line| words.iter().any(|word| line.code.contains(word)))
        .map(Line::to_string)
        .collect()
}

fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn planning_is_pure() {
    let words = [
        "tokio",
        "async ",
        ".await",
        "sqlx",
        "reqwest",
        "std::fs",
        "std::io",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "Instant",
        "SystemTime",
        "Utc::now",
        "Local::now",
        "rand::",
        "getrandom",
        "thread_rng",
        "tracing",
        "crate::state",
        "crate::local",
        "crate::apply",
        "crate::sync",
        "crate::config",
        "HashSet<",
        "RandomState",
    ];
    assert_none(
        &naming(&code("src/plan"), &words),
        "src/plan does no I/O and reads no clock",
    );
}

#[test]
fn sql_is_in_state_alone() {
    let statements = [
        "SELECT ",
        "INSERT ",
        "UPDATE ",
        "DELETE FROM",
        "PRAGMA ",
        "CREATE TABLE",
        "sqlx::",
        "sqlx;",
        "rusqlite",
    ];
    let elsewhere: Vec<Line> = code("src")
        .into_iter()
        .filter(|line| !line.file.starts_with("src/state"))
        // The databases of others are copied there; ours are not touched.
        .filter(|line| !line.file.ends_with("src/backup/database.rs"))
        .collect();
    assert_none(
        &naming(&elsewhere, &statements),
        "SQL is in src/state alone",
    );
    assert_none(
        &naming(&code("providers/src"), &statements),
        "SQL is in src/state alone",
    );
    assert!(
        !naming(&code("src/state"), &statements).is_empty(),
        "this test looks for the wrong words"
    );
}

#[test]
fn printing_is_in_cli_alone() {
    let words = [
        "println!",
        "print!(",
        "eprint!(",
        "io::stdout",
        "io::stderr",
        "stdout()",
        "stderr()",
    ];
    let elsewhere: Vec<Line> = code("src")
        .into_iter()
        .filter(|line| !line.file.starts_with("src/cli"))
        .collect();
    assert_none(&naming(&elsewhere, &words), "printing is in src/cli alone");
    assert_none(
        &naming(&code("providers/src"), &words),
        "printing is in src/cli alone",
    );
    assert!(
        !naming(&code("src/cli"), &words).is_empty(),
        "this test looks for the wrong words"
    );
}

#[test]
fn dependencies_point_one_way() {
    for (folder, above) in [
        ("src/apply", &["crate::sync", "crate::config"][..]),
        (
            "src/state",
            &[
                "crate::sync",
                "crate::config",
                "crate::apply",
                "crate::plan",
                "crate::local",
            ],
        ),
        (
            "src/local",
            &[
                "crate::sync",
                "crate::config",
                "crate::apply",
                "crate::plan",
                "crate::state",
            ],
        ),
        (
            "src/config",
            &[
                "crate::sync",
                "crate::apply",
                "crate::plan",
                "crate::state",
                "crate::local",
            ],
        ),
        (
            "src/sync",
            &["crate::cli", "crate::daemon", "clap::", "indicatif"],
        ),
        (
            "src/daemon",
            &[
                "crate::cli",
                "clap::",
                "crate::state",
                "crate::apply",
                "crate::local",
            ],
        ),
        ("providers/src", &["ows::", "sqlx", "clap", "indicatif"]),
    ] {
        assert_none(
            &naming(&code(folder), above),
            &format!("{folder} uses nothing above it"),
        );
    }
}

#[test]
fn generic_code_asks_for_facts_and_not_for_the_provider() {
    for folder in ["src/plan", "src/apply", "src/state", "src/local"] {
        let named = naming(
            &code(folder),
            &[
                "S3Provider",
                "LocalProvider",
                "capabilities().name ==",
                "\"s3\"",
                "providers::s3",
            ],
        );
        assert_none(&named, &format!("{folder} branches on capabilities"));
    }
}
