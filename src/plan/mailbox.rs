//! What is particular to mailbox mode: which paths take part in the push, which files of `_outbox` are drained, and the
//! names under which they land in `_inbox`.

use ows_providers::RelPath;

/// Where people find what the agent... and the agent finds what people dropped.
pub const INBOX: &str = "_inbox";
/// Where people drop files for the agent.
pub const OUTBOX: &str = "_outbox";
/// The folder at the root of either side that belongs to `ows`.
pub const OWN: &str = ".ows";
/// On stores without folders this object makes `_outbox` visible. It is never drained.
pub const KEEP: &str = ".keep";

/// The first segment of a path.
fn top(path: &RelPath) -> &str {
    path.as_str().split('/').next().unwrap_or_default()
}

/// Whether a path at the root of a pair belongs to `ows` itself.
pub fn is_own(path: &RelPath) -> bool {
    top(path) == OWN
}

/// Whether a path takes no part in the push of mailbox mode.
pub fn is_mail(path: &RelPath) -> bool {
    matches!(top(path), INBOX | OUTBOX)
}

/// Whether a path is `_inbox` or in it.
pub fn is_inbox(path: &RelPath) -> bool {
    top(path) == INBOX
}

/// Whether a file of `_outbox` (path below it) is to be delivered: half-written files of editors and browsers, Finder's
/// notes and our own placeholder stay where they are.
pub fn is_deliverable(below_outbox: &RelPath) -> bool {
    let name = below_outbox.name();
    let half_written = name.starts_with("~$") || name.starts_with(".~") || name.ends_with(".tmp");
    !half_written && name != ".DS_Store" && below_outbox.as_str() != KEEP
}

/// The `attempt`-th name for a file that arrives as `name`: the name itself, then with ` (2)`, ` (3)` before its last
/// extension. A name such as `.env` has no extension.
pub fn landing_name(path: &RelPath, attempt: u32) -> RelPath {
    if attempt < 2 {
        return path.clone();
    }
    let name = path.name();
    let (stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    path.with_name(&format!("{stem} ({attempt}){extension}"))
        .unwrap_or_else(|_| path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn landing_names_count_before_the_last_extension() {
        for (name, attempt, landing) in [
            ("a.txt", 1, "a.txt"),
            ("a.txt", 2, "a (2).txt"),
            ("d/a.tar.gz", 3, "d/a.tar (3).gz"),
            (".env", 2, ".env (2)"),
            ("Makefile", 12, "Makefile (12)"),
            ("d.d/b", 2, "d.d/b (2)"),
        ] {
            assert_eq!(landing_name(&path(name), attempt), path(landing));
        }
    }

    #[test]
    fn half_written_files_stay() {
        for (name, delivered) in [
            ("report.pdf", true),
            ("~$report.docx", false),
            ("a/.~lock.x.odt#", false),
            ("x.tmp", false),
            (".DS_Store", false),
            (".keep", false),
            ("a/.keep", true),
            ("tmp", true),
            (".env", true),
        ] {
            assert_eq!(is_deliverable(&path(name)), delivered, "{name}");
        }
    }

    #[test]
    fn only_the_root_of_the_pair_has_mail_folders() {
        assert!(
            is_mail(&path("_inbox/x"))
                && is_mail(&path("_outbox"))
                && !is_mail(&path("a/_inbox/x"))
        );
        assert!(is_own(&path(".ows/trash")) && !is_own(&path("a/.ows")) && !is_own(&path(".owsx")));
    }
}
