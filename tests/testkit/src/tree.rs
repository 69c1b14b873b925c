//! Folders with content for tests: written from a list, compared as a whole, or made at random.
//!
//! Paths are relative, with slashes. Names that are not UTF-8 show with their foreign bytes as `\xNN`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Contents of files by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A temporary folder, removed when dropped. Its methods panic on I/O errors: a test cannot go on then.
#[derive(Debug)]
pub struct TempTree(tempfile::TempDir);

impl TempTree {
    /// An empty folder.
    #[must_use]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    /// An empty folder in memory where the system has such a place, for tests that make thousands of them.
    #[must_use]
    pub fn in_memory() -> Self {
        Self(
            tempfile::tempdir_in("/dev/shm")
                .unwrap_or_else(|_| tempfile::tempdir().expect("a temporary folder can be made")),
        )
    }

    /// A folder with these files.
    #[must_use]
    pub fn with(files: &[(&str, &str)]) -> Self {
        let tree = Self::new();
        for (path, content) in files {
            tree.write(path, content);
        }
        tree
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The absolute path of something in it.
    #[must_use]
    pub fn join(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    /// Writes a file, with the folders that it needs.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        write(&self.join(path), content.as_ref());
    }

    /// Writes many files.
    pub fn write_all(&self, files: &Files) {
        for (path, content) in files {
            self.write(path, content);
        }
    }

    /// Makes a folder, with those above it.
    pub fn folder(&self, path: &str) {
        let path = self.join(path);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, path: &str, target: &str) {
        let path = self.join(path);
        std::os::unix::fs::symlink(target, &path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Removes a file, or a folder with all that is in it.
    pub fn remove(&self, path: &str) {
        let path = self.join(path);
        let removed = if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Renames a file or folder; the folder of the new name is made when it is missing.
    pub fn rename(&self, from: &str, to: &str) {
        let to = self.join(to);
        let parent = to.parent().expect("it is inside of the tree");
        fs::create_dir_all(parent)
            .and_then(|()| fs::rename(self.join(from), &to))
            .unwrap_or_else(|error| panic!("{from} to {}: {error}", to.display()));
    }

    /// Sets a file's time of modification.
    pub fn set_modified(&self, path: &str, time: SystemTime) {
        fs::File::options()
            .write(true)
            .open(self.join(path))
            .and_then(|file| file.set_modified(time))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// The content of a file, `None` when there is none.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        match fs::read(self.join(path)) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// All that is in it but `.ows`.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, TreeEntry> {
        snapshot_tree(self.path(), OwsFolder::Skip)
    }

    /// The contents of its files but for `.ows`.
    #[must_use]
    pub fn files(&self) -> Files {
        read_files(self.path(), OwsFolder::Skip)
    }
}

impl Default for TempTree {
    fn default() -> Self {
        Self::new()
    }
}

fn write(path: &Path, content: &[u8]) {
    let parent = path.parent().expect("a file is in a folder");
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, content))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Whether a snapshot shows the folder `.ows` at the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwsFolder {
    /// Left out, as it is not content.
    Skip,
    /// Shown like any other.
    Include,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, which is not followed, and its target.
    Symlink(String),
    /// A pipe, socket or device.
    Special,
}

/// One entry of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// What it is.
    pub kind: EntryKind,
    /// BLAKE3 of a file's content, hexadecimal; empty for anything else.
    pub hash: String,
    /// When it was last modified.
    pub modified: SystemTime,
}

/// Everything below `root`, by relative path. Panics when something cannot be read.
#[must_use]
pub fn snapshot_tree(root: &Path, own: OwsFolder) -> BTreeMap<String, TreeEntry> {
    let mut entries = BTreeMap::new();
    walk(root, "", own, &mut |name, path, metadata| {
        let kind = if metadata.is_file() {
            EntryKind::File
        } else if metadata.is_dir() {
            EntryKind::Folder
        } else if metadata.is_symlink() {
            EntryKind::Symlink(shown(fs::read_link(path)?.as_os_str()))
        } else {
            EntryKind::Special
        };
        let hash = if kind == EntryKind::File {
            blake3::hash(&fs::read(path)?).to_string()
        } else {
            String::new()
        };
        let modified = metadata.modified()?;
        entries.insert(
            name,
            TreeEntry {
                kind,
                hash,
                modified,
            },
        );
        Ok(())
    });
    entries
}

/// The contents of all files below `root`, links not followed. Panics when something cannot be read.
#[must_use]
pub fn read_files(root: &Path, own: OwsFolder) -> Files {
    let mut files = Files::new();
    walk(root, "", own, &mut |name, path, metadata| {
        if metadata.is_file() {
            files.insert(name, fs::read(path)?);
        }
        Ok(())
    });
    files
}

type Visit<'a> = dyn FnMut(String, &Path, &fs::Metadata) -> io::Result<()> + 'a;

fn walk(folder: &Path, prefix: &str, own: OwsFolder, visit: &mut Visit<'_>) {
    let fail = |path: &Path, error: io::Error| -> ! { panic!("{}: {error}", path.display()) };
    let listing = fs::read_dir(folder).unwrap_or_else(|error| fail(folder, error));
    for entry in listing {
        let entry = entry.unwrap_or_else(|error| fail(folder, error));
        let name = format!("{prefix}{}", shown(&entry.file_name()));
        if name == ".ows" && own == OwsFolder::Skip {
            continue;
        }
        let path = entry.path();
        let metadata = path
            .symlink_metadata()
            .unwrap_or_else(|error| fail(&path, error));
        visit(name.clone(), &path, &metadata).unwrap_or_else(|error| fail(&path, error));
        if metadata.is_dir() {
            walk(&path, &format!("{name}/"), own, visit);
        }
    }
}

fn shown(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_shows_everything_but_the_own_folder() {
        let tree = TempTree::with(&[("a/b.txt", "x"), (".ows/replica", "1"), ("a/.ows/f", "2")]);
        tree.folder("empty");
        tree.symlink("link", "a/b.txt");
        tree.write("a/b.txt", "y");
        let snapshot = tree.snapshot();
        let names: Vec<&str> = snapshot.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["a", "a/.ows", "a/.ows/f", "a/b.txt", "empty", "link"]
        );
        assert_eq!(
            snapshot["link"].kind,
            EntryKind::Symlink("a/b.txt".to_owned())
        );
        assert_eq!(snapshot["a/b.txt"].hash, blake3::hash(b"y").to_string());
        assert!(snapshot_tree(tree.path(), OwsFolder::Include).contains_key(".ows/replica"));
    }

    #[test]
    fn foreign_bytes_in_names_stay_apart() {
        let tree = TempTree::new();
        for name in [&b"a\xff"[..], b"a\xfe"] {
            fs::write(tree.path().join(OsStr::from_bytes(name)), "x").unwrap();
        }
        assert_eq!(
            tree.files().into_keys().collect::<Vec<_>>(),
            ["a\\xfe", "a\\xff"]
        );
    }

    #[test]
    fn what_is_renamed_removed_and_touched_shows() {
        let tree = TempTree::with(&[("a", "1"), ("b", "2")]);
        tree.rename("a", "c/d");
        tree.remove("b");
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        tree.set_modified("c/d", time);
        assert_eq!(tree.snapshot()["c/d"].modified, time);
        assert_eq!(tree.read("b"), None);
        assert_eq!(
            tree.files(),
            Files::from([("c/d".to_owned(), b"1".to_vec())])
        );
    }
}
