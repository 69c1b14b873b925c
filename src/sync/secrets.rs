//! Files whose names say that they hold secrets: a first push that would send some up says so.
//!
//! Names alone decide; nothing is read. The list is short on purpose: a warning that comes for every project is not read.

use ows_providers::RelPath;

use crate::plan::{Op, Plan};

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

/// Whether a file's name says that it holds a secret.
fn looks_secret(path: &RelPath) -> bool {
    let name = path.name().to_ascii_lowercase();
    if TEMPLATES.contains(&name.as_str()) {
        return false;
    }
    NAMES.contains(&name.as_str())
        || name.starts_with(".env.")
        || ENDS.iter().any(|end| name.ends_with(end))
}

/// What a person should hear before such files go up for the first time.
pub(super) fn warning(plan: &Plan) -> Option<String> {
    let uploads = plan.actions().filter(|action| action.op == Op::Upload);
    let paths = uploads.map(|action| &action.key.path);
    told(paths.filter(|path| looks_secret(path)))
}

fn told<'a>(secret: impl Iterator<Item = &'a RelPath>) -> Option<String> {
    let mut named = Vec::new();
    let mut count = 0;
    for path in secret {
        count += 1;
        if named.len() < NAMED {
            named.push(format!("`{path}`"));
        }
    }
    let what = match count {
        0 => return None,
        1 => "1 file that looks".to_owned(),
        count => format!("{count} files that look"),
    };
    let more = match count - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "this first push sends up {what} like a secret, unencrypted: {}{more}; to leave a file out, name it in `exclude` \
         or in `.sync-excludes` (such as `.env` or `*.pem`)",
        named.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

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
            assert_eq!(looks_secret(&path(name)), is_secret, "{name}");
        }
    }

    #[test]
    fn a_few_are_named_and_all_are_counted() {
        assert_eq!(told(std::iter::empty()), None);
        let one = told([path(".env")].iter()).unwrap();
        assert!(
            one.contains("1 file that looks like a secret, unencrypted: `.env`; "),
            "{one}"
        );
        let paths: Vec<_> = (1..=7)
            .map(|number| path(&format!("{number}.pem")))
            .collect();
        let many = told(paths.iter()).unwrap();
        assert!(many.contains("7 files that look"), "{many}");
        assert!(many.contains("`5.pem` and 2 more; "), "{many}");
        assert!(!many.contains("6.pem"), "{many}");
    }
}
