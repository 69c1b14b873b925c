//! Which paths of a pair take part in a run.

use ows_providers::{EntryKind, RelPath};

use crate::local::ReplicaId;
use crate::pattern::Patterns;
use crate::plan::mailbox;

/// Decides by the path alone.
#[derive(Debug)]
pub struct Scope {
    /// The pair's patterns.
    pub patterns: Patterns,
    /// The same as they were written, in their order.
    pub lines: Vec<String>,
    /// Paths that are left out whatever the patterns say: our own state, credentials, openclaw.json.
    pub protected: Vec<RelPath>,
    /// `_inbox` and `_outbox` at the root mean something.
    pub mailbox: bool,
    /// Marks our temporary files.
    pub replica: ReplicaId,
}

impl Scope {
    /// Whether patterns or protection exclude a file.
    pub fn is_excluded(&self, path: &RelPath) -> bool {
        self.is_protected(path) || self.patterns.is_excluded_file(path)
    }

    /// Whether a file at this path takes part in the push or pull.
    pub fn takes_part(&self, path: &RelPath) -> bool {
        !(mailbox::is_own(path)
            || (self.mailbox && mailbox::is_mail(path))
            || self.is_excluded(path))
    }

    /// Whether a folder takes no part with everything in it.
    pub fn prunes(&self, path: &RelPath) -> bool {
        mailbox::is_own(path)
            || (self.mailbox && mailbox::is_mail(path))
            || self.is_protected(path)
            || self.patterns.excludes_folder(path)
    }

    /// Whether the walk of the local folder leaves a folder out. It enters `_inbox`, where nothing takes part, for the
    /// temporary files that a killed drain may have left there.
    pub fn leaves_out(&self, path: &RelPath) -> bool {
        let may_hold_ours = self.mailbox && mailbox::is_inbox(path);
        if may_hold_ours {
            return self.is_protected(path) || self.patterns.excludes_folder(path);
        }
        self.prunes(path)
    }

    /// Whether a path is in one of the mail folders, where nothing takes part in the push or pull.
    pub fn is_mail(&self, path: &RelPath) -> bool {
        self.mailbox && mailbox::is_mail(path)
    }

    /// The first pattern by which a path is left out; `kind` is what it is, where that is known.
    pub fn pattern_of(&self, path: &RelPath, kind: Option<EntryKind>) -> Option<&str> {
        let excludes = |line: &&String| {
            Patterns::new(std::slice::from_ref(*line)).is_ok_and(|pattern| match kind {
                Some(EntryKind::File) => pattern.is_excluded_file(path),
                Some(EntryKind::Dir) => pattern.excludes_folder(path),
                None => pattern.is_excluded_file(path) || pattern.excludes_folder(path),
            })
        };
        self.lines.iter().find(excludes).map(String::as_str)
    }

    /// Whether a path is one that is left out whatever the patterns say.
    pub fn is_protected(&self, path: &RelPath) -> bool {
        self.protected
            .iter()
            .any(|protected| path == protected || path.is_below(protected))
    }
}
