//! Relative paths, checked once where they enter, and the one order in which every tree is read.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A path below the root of a pair: valid UTF-8, segments separated by `/`, no empty, `.` or `..` segment, no NUL,
/// neither absolute nor empty. Cheap to clone.
///
/// Control characters and backslashes are allowed, since local file names may hold them; whether a provider can store
/// such a name is the provider's affair (see [`crate::NameRules`]).
///
/// The `Ord` of this type is plain byte order. Trees are read in the order of [`SortKey`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Arc<str>);

/// Why a string is not a [`RelPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The string is empty.
    #[error("the name is empty")]
    Empty,
    /// It begins with `/`.
    #[error("the name begins with `/`")]
    Absolute,
    /// Two slashes in a row, or one at the end.
    #[error("the name holds an empty segment")]
    EmptySegment,
    /// A segment is `.` or `..`.
    #[error("the name holds a `.` or `..` segment")]
    DotSegment,
    /// It holds a NUL character, which no file system stores.
    #[error("the name holds a NUL character")]
    Nul,
}

impl RelPath {
    /// Checks `text` and wraps it.
    ///
    /// # Errors
    /// [`PathError`] when the text is no relative path.
    pub fn new(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(PathError::EmptySegment),
                "." | ".." => return Err(PathError::DotSegment),
                _ if segment.contains('\0') => return Err(PathError::Nul),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }

    /// The folder that holds this path; `None` at the root.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.into()))
    }

    /// The path's segments, outermost first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// This path with `rest` below it.
    ///
    /// # Errors
    /// [`PathError`] when `rest` is no relative path.
    pub fn join(&self, rest: &str) -> Result<Self, PathError> {
        let rest = Self::new(rest)?;
        Ok(Self(format!("{}/{}", self.0, rest.0).into()))
    }

    /// This path with the checked path `rest` below it.
    pub fn join_path(&self, rest: &Self) -> Self {
        Self(format!("{}/{}", self.0, rest.0).into())
    }

    /// Whether this path lies strictly below `folder`.
    pub fn is_below(&self, folder: &Self) -> bool {
        self.0
            .strip_prefix(&*folder.0)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// What remains of this path below `folder`.
    pub fn strip_folder(&self, folder: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(&*folder.0)?.strip_prefix('/')?;
        Some(Self(rest.into()))
    }

    /// This path with its last segment replaced.
    ///
    /// # Errors
    /// [`PathError`] when `name` is no path segment.
    pub fn with_name(&self, name: &str) -> Result<Self, PathError> {
        match self.parent() {
            Some(parent) => parent.join(name),
            None => Self::new(name),
        }
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, formatter)
    }
}

impl AsRef<str> for RelPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for RelPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for RelPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::new(text)
    }
}

impl serde::Serialize for RelPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RelPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// What a tree holds at a path.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file, or an object.
    File,
    /// A folder of its own, not merely a prefix of keys.
    Dir,
}

/// A path together with its kind, in the one order in which trees are read: the bytes of the path, where a folder counts
/// as its name plus `/`. It is the order in which S3 lists keys, so that three sorted streams can be merged.
///
/// A file `a` and a folder `a` have different keys: a change of type is a deletion of one and a creation of the other.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SortKey {
    /// The path.
    pub path: RelPath,
    /// Its kind.
    pub kind: EntryKind,
}

impl SortKey {
    /// The key of `path` as a file.
    pub fn file(path: RelPath) -> Self {
        Self {
            path,
            kind: EntryKind::File,
        }
    }

    /// The key of `path` as a folder.
    pub fn dir(path: RelPath) -> Self {
        Self {
            path,
            kind: EntryKind::Dir,
        }
    }

    /// The text whose bytes order the trees; what the database stores.
    pub fn to_text(&self) -> String {
        match self.kind {
            EntryKind::File => self.path.as_str().to_owned(),
            EntryKind::Dir => format!("{}/", self.path),
        }
    }

    /// Reads a key back from [`SortKey::to_text`].
    ///
    /// # Errors
    /// [`PathError`] when the text is no path.
    pub fn from_text(text: &str) -> Result<Self, PathError> {
        match text.strip_suffix('/') {
            Some(path) => Ok(Self::dir(RelPath::new(path)?)),
            None => Ok(Self::file(RelPath::new(text)?)),
        }
    }

    fn bytes(&self) -> impl Iterator<Item = u8> + '_ {
        let slash = (self.kind == EntryKind::Dir).then_some(b'/');
        self.path.as_str().bytes().chain(slash)
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl fmt::Debug for SortKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_path_is_refused() {
        for (text, error) in [
            ("", PathError::Empty),
            ("/a", PathError::Absolute),
            ("a//b", PathError::EmptySegment),
            ("a/", PathError::EmptySegment),
            ("a/./b", PathError::DotSegment),
            ("../x", PathError::DotSegment),
            ("a/..", PathError::DotSegment),
            ("a\0b", PathError::Nul),
        ] {
            assert_eq!(RelPath::new(text), Err(error), "{text:?}");
        }
        for text in ["a", "a/b", "..a", "a b", "é", "a\nb", ".ows", "a\\b", "..."] {
            assert_eq!(
                RelPath::new(text).map(|path| path.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn folders_sort_as_their_name_plus_slash() {
        let mut keys: Vec<_> = ["a/b", "a-b", "a/", "a", "a/b/c", "a0", "b"]
            .iter()
            .map(|text| SortKey::from_text(text).unwrap())
            .collect();
        keys.sort();
        let sorted: Vec<_> = keys.iter().map(SortKey::to_text).collect();
        assert_eq!(sorted, ["a", "a-b", "a/", "a/b", "a/b/c", "a0", "b"]);
    }

    proptest::proptest! {
        #[test]
        fn order_of_keys_is_the_order_of_their_text(left in "[a-c/.-]{1,6}", right in "[a-c/.-]{1,6}") {
            if let (Ok(a), Ok(b)) = (SortKey::from_text(&left), SortKey::from_text(&right)) {
                proptest::prop_assert_eq!(a.cmp(&b), left.as_bytes().cmp(right.as_bytes()));
            }
        }
    }
}
