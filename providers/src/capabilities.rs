//! Facts about providers, as data: generic code branches on these and never asks which provider it has.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::{Error, ErrorKind, HashKind, Operation, RelPath, Result};

/// What an adapter can do.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// The adapter's name, for messages: `s3`, `local`, `memory`.
    pub name: &'static str,
    /// The hash of content that entries carry, if any.
    pub hash: Option<HashCapability>,
    /// Folders exist by themselves; where they do not, empty folders are no difference.
    pub folders: bool,
    /// Files and folders can be renamed in one call.
    pub rename: bool,
    /// Files can be copied within the provider.
    pub copy: bool,
    /// There is a change feed ([`crate::Provider::changes`]).
    pub change_feed: bool,
    /// What is deleted or replaced can be got back from the provider's own bin or history, without our doing.
    pub bin: bool,
    /// The steps in which modification times are stored; `None` where they are not stored.
    pub mtime_precision: Option<Duration>,
    /// Listings carry the modification time.
    pub listing_has_mtime: bool,
    /// What is listed is complete; where it is not (a folder into which someone copies), a file may still be growing.
    pub complete_objects: bool,
    /// Which names can be stored.
    pub names: NameRules,
    /// The largest body of [`crate::Provider::put`] in bytes.
    pub single_put_max: u64,
    /// Rules for uploads in parts.
    pub parts: PartRules,
    /// An upload in parts outlives the process that began it.
    pub resumable_uploads: bool,
    /// How many calls may be under way at once.
    pub parallel: usize,
}

/// What a provider's hash is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashCapability {
    /// Which hash.
    pub kind: HashKind,
    /// Different hashes prove different content. False on S3, where an ETag may be no MD5.
    pub difference_proves: bool,
}

/// Rules for uploads in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartRules {
    /// The smallest part but the last, in bytes.
    pub min: u64,
    /// The largest part in bytes.
    pub max: u64,
    /// The part size to use when nothing speaks against it.
    pub preferred: u64,
    /// How many parts an upload may have.
    pub max_count: u64,
}

impl PartRules {
    /// The size of all parts but the last for an object of `size` bytes: the preferred one, doubled until the number of
    /// parts is allowed. Parts are of equal size because some stores (R2) refuse others.
    pub fn part_size(&self, size: u64) -> u64 {
        let mut part = self.preferred.clamp(self.min, self.max);
        while size.div_ceil(part) > self.max_count && part < self.max {
            part = (part * 2).min(self.max);
        }
        part
    }
}

/// Which names a provider can store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameRules {
    /// The longest path below the root in bytes of UTF-8.
    pub max_path_bytes: usize,
    /// The longest segment in bytes of UTF-8.
    pub max_segment_bytes: usize,
    /// ASCII control characters can be stored.
    pub control_characters: bool,
    /// Names that differ only in case are one name.
    pub folds_case: bool,
    /// Names that differ only in how Unicode encodes their characters are one name.
    pub folds_forms: bool,
}

impl Capabilities {
    /// Fails with [`ErrorKind::InvalidName`] when `path` cannot be stored.
    pub(crate) fn check_name(&self, operation: Operation, path: &RelPath) -> Result<()> {
        match self.names.objection(path) {
            None => Ok(()),
            Some(objection) => Err(Error::new(
                ErrorKind::InvalidName,
                operation,
                path.as_str(),
                objection,
            )),
        }
    }
}

impl NameRules {
    /// Whether two names can be one name here.
    pub fn folds(&self) -> bool {
        self.folds_case || self.folds_forms
    }

    /// The same text for all names that are one name here. Providers do not tell how they fold; this takes each
    /// character by itself and leaves those alone that become several (`ß`, which is not `ss` to any of them).
    pub fn folded(&self, path: &RelPath) -> String {
        let text = path.as_str();
        let composed = if self.folds_forms {
            text.nfc().collect()
        } else {
            text.to_owned()
        };
        if !self.folds_case {
            return composed;
        }
        composed.chars().map(without_case).collect()
    }

    /// Says why `path` cannot be stored, or `None` when it can.
    pub fn objection(&self, path: &RelPath) -> Option<String> {
        let text = path.as_str();
        if text.len() > self.max_path_bytes {
            return Some(format!(
                "the name has {} bytes, {} are allowed",
                text.len(),
                self.max_path_bytes
            ));
        }
        if let Some(segment) = path
            .segments()
            .find(|segment| segment.len() > self.max_segment_bytes)
        {
            return Some(format!(
                "a segment has {} bytes, {} are allowed",
                segment.len(),
                self.max_segment_bytes
            ));
        }
        if !self.control_characters && text.chars().any(|character| character.is_ascii_control()) {
            return Some("the name holds a control character".to_owned());
        }
        None
    }
}

fn without_case(character: char) -> char {
    fn only(mut characters: impl Iterator<Item = char>) -> Option<char> {
        let first = characters.next()?;
        characters.next().is_none().then_some(first)
    }
    let upper = only(character.to_uppercase()).unwrap_or(character);
    only(upper.to_lowercase()).unwrap_or(upper)
}

/// What a store really enforces, found by [`crate::Provider::probe`]. Some S3 stores ignore conditions silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Enforcement {
    /// Writing with [`crate::Precondition::Absent`] fails when something is there.
    pub create_if_absent: bool,
    /// Writing with [`crate::Precondition::Version`] fails when another version is there.
    pub replace_if_match: bool,
    /// Deleting with [`crate::Precondition::Version`] fails when another version is there.
    pub delete_if_match: bool,
    /// Completing an upload with [`crate::Precondition::Absent`] fails when something is there.
    pub complete_if_absent: bool,
    /// Completing an upload with [`crate::Precondition::Version`] fails when another version is there.
    pub complete_if_match: bool,
    /// Copying in one call with [`crate::Precondition::Absent`] fails when something is at the new name.
    #[serde(default)]
    pub copy_if_absent: bool,
    /// Old versions are kept by the store; `None` when it does not say.
    pub versioning: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_before_their_number_is_exceeded() {
        const MIB: u64 = 1 << 20;
        let rules = PartRules {
            min: 5 * MIB,
            max: 5 << 30,
            preferred: 8 * MIB,
            max_count: 1000,
        };
        assert_eq!(rules.part_size(1), 8 * MIB);
        assert_eq!(rules.part_size(8000 * MIB), 8 * MIB);
        assert_eq!(rules.part_size(8000 * MIB + 1), 16 * MIB);
        assert!((1_u64 << 42).div_ceil(rules.part_size(1 << 42)) <= 1000);
    }

    #[test]
    fn names_fold_as_far_as_the_rules_say() {
        let rules = |folds_case, folds_forms| NameRules {
            max_path_bytes: 100,
            max_segment_bytes: 100,
            control_characters: true,
            folds_case,
            folds_forms,
        };
        for (one, other, by_case, by_form) in [
            ("Readme.md", "README.MD", true, false),
            ("d/Ä", "D/ä", true, false),
            ("\u{c4}", "A\u{308}", false, true),
            ("ΟΔΟΣ", "οδος", true, false),
            ("straße", "STRASSE", false, false),
            ("a", "b", false, false),
            ("a/b", "a-b", false, false),
        ] {
            let (one, other) = (RelPath::new(one).unwrap(), RelPath::new(other).unwrap());
            let same = |rules: NameRules| rules.folded(&one) == rules.folded(&other);
            let found = (same(rules(true, false)), same(rules(false, true)));
            assert_eq!(found, (by_case, by_form), "{one} {other}");
            assert_eq!(same(rules(true, true)), by_case || by_form, "{one} {other}");
            assert!(!same(rules(false, false)) && !rules(false, false).folds());
        }
        let mixed = ["\u{c4}x", "a\u{308}X"].map(|name| RelPath::new(name).unwrap());
        let folded = mixed.each_ref().map(|name| rules(true, true).folded(name));
        assert_eq!(folded[0], folded[1]);
    }

    #[test]
    fn names_are_measured() {
        let rules = NameRules {
            max_path_bytes: 10,
            max_segment_bytes: 5,
            control_characters: false,
            folds_case: false,
            folds_forms: false,
        };
        for (name, fits) in [
            ("a/b", true),
            ("abcdef", false),
            ("ab/cd/ef/gh", false),
            ("a\nb", false),
            ("äöü", false),
            ("äö", true),
        ] {
            assert_eq!(
                rules.objection(&RelPath::new(name).unwrap()).is_none(),
                fits,
                "{name:?}"
            );
        }
    }
}
