//! Names of files that say that these hold secrets. A first push and a backup without encryption warn of them.
//!
//! Names alone decide; nothing is read. The list is short on purpose: a warning that comes for every project is not read.

use std::fmt::Display;

/// So many files are named; the rest is counted.
const NAMED: usize = 5;

/// Names that are secrets in whatever folder they lie.
const NAMES: [&str; 14] = [
    ".env",
    ".git-credentials",
    ".htpasswd",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    "_netrc",
    "credentials.json",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "token.json",
];

/// The ends of names that are private keys, or hold some.
const ENDS: [&str; 6] = [".jks", ".key", ".keystore", ".p12", ".pem", ".pfx"];

/// `.env.local` and such hold values; these are made to be shown.
const TEMPLATES: [&str; 5] = [
    ".env.dist",
    ".env.example",
    ".env.sample",
    ".env.schema",
    ".env.template",
];

/// Whether a file's name, without its folders, says that it holds a secret.
pub fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if TEMPLATES.contains(&name.as_str()) {
        return false;
    }
    NAMES.contains(&name.as_str())
        || name.starts_with(".env.")
        || ENDS.iter().any(|end| name.ends_with(end))
}

/// The files of such names that were met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretFiles {
    named: Vec<String>,
    count: usize,
}

impl SecretFiles {
    /// Adds one.
    pub fn add(&mut self, path: impl Display) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("`{path}`"));
        }
    }

    /// How many look like a secret, and the first of them by name; `None` without any.
    pub fn told(&self) -> Option<(String, String)> {
        let what = match self.count {
            0 => return None,
            1 => "1 file that looks like a secret".to_owned(),
            count => format!("{count} files that look like a secret"),
        };
        let more = match self.count - self.named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some((what, format!("{}{more}", self.named.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_secrets_in_every_folder() {
        for (name, is_secret) in [
            (".env", true),
            ("app/.env.local", true),
            (".env.example", false),
            ("keys/id_ed25519", true),
            ("keys/id_ed25519.pub", false),
            ("tls/server.PEM", true),
            ("server.key", true),
            ("keyboard.md", false),
            ("credentials.json", true),
            ("token.json", true),
            ("tokens.json", false),
            ("environment", false),
        ] {
            assert_eq!(
                looks_secret(name.rsplit('/').next().unwrap_or_default()),
                is_secret,
                "{name}"
            );
        }
    }
}
