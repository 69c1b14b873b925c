//! Paths about which one side could tell nothing, with everything below them.

use std::collections::BTreeSet;

use ows_providers::RelPath;

/// Paths that could not be observed: a skipped link, a special file, an unreadable folder. Nothing at such a path or
/// below it is deleted or overwritten.
#[derive(Debug, Default, Clone)]
pub struct UnknownPaths {
    paths: BTreeSet<RelPath>,
}

impl UnknownPaths {
    /// Adds a path, with everything below it.
    pub fn insert(&mut self, path: RelPath) {
        self.paths.insert(path);
    }

    /// Adds paths, each with everything below it.
    pub fn extend(&mut self, paths: impl IntoIterator<Item = RelPath>) {
        self.paths.extend(paths);
    }

    /// Whether everything could be observed.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The paths that were added.
    pub fn iter(&self) -> impl Iterator<Item = &RelPath> {
        self.paths.iter()
    }

    /// Whether the path or a folder above it is unknown.
    pub fn covers(&self, path: &RelPath) -> bool {
        if self.paths.is_empty() {
            return false;
        }
        let text = path.as_str();
        self.paths.contains(text)
            || text
                .match_indices('/')
                .any(|(end, _)| self.paths.contains(&text[..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_path_covers_itself_and_what_is_below() {
        let mut unknown = UnknownPaths::default();
        unknown.insert(RelPath::new("a/b").unwrap());
        for (path, covered) in [
            ("a/b", true),
            ("a/b/c", true),
            ("a/b/c/d", true),
            ("a", false),
            ("a/bc", false),
            ("b", false),
        ] {
            assert_eq!(
                unknown.covers(&RelPath::new(path).unwrap()),
                covered,
                "{path}"
            );
        }
    }
}
