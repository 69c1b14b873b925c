//! What cannot be read is told, and never the same as what is not there.

use super::*;
use crate::folder::tests::as_nobody;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A tree that everybody may read, but for the folders named.
fn tree_without(closed: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("remote");
    for folder in ["a", "b/in", "c"] {
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::write(root.join(folder).join("file"), "content").unwrap();
    }
    set_mode(temp.path(), 0o755);
    for folder in closed {
        set_mode(&root.join(folder), 0o000);
    }
    (temp, root)
}

/// Lists with no more rights than anybody has: the names that came, and the error that ended the listing.
fn told(root: &Path, options: ListOptions) -> (Vec<String>, Option<ErrorKind>) {
    let root = root.to_owned();
    as_nobody(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let provider = LocalProvider::open(&root).unwrap();
        runtime.block_on(async {
            let mut items = provider.list(options);
            let mut names = Vec::new();
            loop {
                match items.try_next().await {
                    Ok(Some(Listed::Entry(entry))) => names.push(entry.sort_key().to_text()),
                    Ok(Some(Listed::Unreadable { path, error })) => {
                        names.push(format!("{path} {:?}", error.kind));
                    }
                    Ok(Some(other)) => panic!("{other:?}"),
                    Ok(None) => return (names, None),
                    Err(error) => return (names, Some(error.kind)),
                }
            }
        })
    })
}

fn below(folder: &str) -> ListOptions {
    ListOptions {
        below: Some(path(folder)),
        ..ListOptions::default()
    }
}

#[test]
fn a_folder_that_may_not_be_read_is_told_and_the_rest_is_listed() {
    let (_temp, root) = tree_without(&["b"]);
    let (names, error) = told(&root, ListOptions::default());
    set_mode(&root.join("b"), 0o755);
    assert_eq!(names, ["a/", "a/file", "b Forbidden", "c/", "c/file"]);
    assert_eq!(error, None);
}

#[test]
fn a_listing_of_what_may_not_be_read_is_an_error_and_not_empty() {
    let (_temp, root) = tree_without(&["b", ""]);
    let whole = told(&root, ListOptions::default());
    set_mode(&root, 0o755);
    let part = told(&root, below("b"));
    let deeper = told(&root, below("b/in"));
    set_mode(&root.join("b"), 0o755);
    for (names, error) in [whole, part, deeper] {
        assert!(names.is_empty(), "{names:?}");
        assert_eq!(error, Some(ErrorKind::Forbidden));
    }
}

#[test]
fn a_listing_of_what_is_no_folder_is_an_error_and_not_empty() {
    let (_temp, root) = tree_without(&[]);
    let file = root.join("a/file");
    for (place, options) in [
        (root.join("missing"), ListOptions::default()),
        (file.clone(), ListOptions::default()),
        (file.join("below"), ListOptions::default()),
        (root.clone(), below("missing")),
        (root.clone(), below("a/file")),
        (root.clone(), below("a/file/below")),
    ] {
        let shown = format!("{place:?} {options:?}");
        let (names, error) = told(&place, options);
        assert!(names.is_empty() && error.is_some(), "{shown}: {names:?}");
    }
}
