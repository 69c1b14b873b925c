//! One page of a listing: prefix, delimiter, and where to go on.

use std::collections::BTreeMap;
use std::ops::Bound;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What to list.
#[derive(Debug, Default)]
pub(crate) struct Query<'a> {
    pub prefix: &'a str,
    /// Empty: none.
    pub delimiter: &'a str,
    /// Only what comes after this key, or after everything that a common prefix of this name stands for.
    pub after: &'a str,
    pub limit: usize,
}

/// A line of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a, T> {
    Key(&'a str, &'a T),
    CommonPrefix(&'a str),
}

/// Lines in key order, and the last of them when there are more.
#[derive(Debug)]
pub(crate) struct Page<'a, T> {
    pub lines: Vec<Line<'a, T>>,
    pub next: Option<String>,
}

/// Lists the keys of `map` for which `shows` holds.
pub(crate) fn page<'a, T>(
    map: &'a BTreeMap<String, T>,
    query: &Query<'_>,
    shows: impl Fn(&T) -> bool,
) -> Page<'a, T> {
    let mut lines = Vec::new();
    let mut last = String::new();
    if query.limit == 0 {
        return Page { lines, next: None };
    }
    // A common prefix that the last page ended with stands for all its keys.
    let rolled_up = query.after.starts_with(query.prefix)
        && common_prefix(query.after, query) == Some(query.after);
    let mut start = if query.after >= query.prefix && !query.after.is_empty() {
        if rolled_up {
            Bound::Excluded(past(query.after))
        } else {
            Bound::Excluded(query.after.to_owned())
        }
    } else {
        Bound::Included(query.prefix.to_owned())
    };
    'seek: loop {
        for (key, value) in map.range((start, Bound::Unbounded)) {
            if !key.starts_with(query.prefix) {
                break 'seek;
            }
            if !shows(value) {
                continue;
            }
            if lines.len() == query.limit {
                return Page {
                    lines,
                    next: Some(last),
                };
            }
            match common_prefix(key, query) {
                Some(common) => {
                    lines.push(Line::CommonPrefix(common));
                    last = common.to_owned();
                    start = Bound::Excluded(past(common));
                    continue 'seek;
                }
                None => {
                    lines.push(Line::Key(key, value));
                    last.clone_from(key);
                }
            }
        }
        break;
    }
    Page { lines, next: None }
}

/// The part of `key` up to the first delimiter after the prefix.
fn common_prefix<'k>(key: &'k str, query: &Query<'_>) -> Option<&'k str> {
    if query.delimiter.is_empty() {
        return None;
    }
    let rest = &key[query.prefix.len()..];
    let at = rest.find(query.delimiter)?;
    Some(&key[..query.prefix.len() + at + query.delimiter.len()])
}

/// Sorts after every key that begins with `prefix`: no key holds more than 1,024 bytes, so none is longer than this.
fn past(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    text.extend(std::iter::repeat_n(char::MAX, 257));
    text
}

/// What `encoding-type=url` does to names: as in a form, but with slashes left alone.
pub(crate) fn encode(name: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'*')
        .remove(b'/')
        .remove(b' ');
    utf8_percent_encode(name, ESCAPED)
        .to_string()
        .replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(keys: &[&str]) -> BTreeMap<String, ()> {
        keys.iter().map(|key| ((*key).to_owned(), ())).collect()
    }

    fn names(page: &Page<'_, ()>) -> Vec<String> {
        let name = |line: &Line<'_, ()>| match line {
            Line::Key(key, ()) => (*key).to_owned(),
            Line::CommonPrefix(prefix) => format!("<{prefix}>"),
        };
        page.lines.iter().map(name).collect()
    }

    /// All pages of a listing, each going on where the one before ended.
    fn all(map: &BTreeMap<String, ()>, prefix: &str, delimiter: &str, limit: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let query = Query {
                prefix,
                delimiter,
                after: &after,
                limit,
            };
            let page = page(map, &query, |()| true);
            assert!(page.lines.len() <= limit);
            found.extend(names(&page));
            match page.next {
                None => return found,
                Some(next) => after = next,
            }
        }
    }

    #[test]
    fn every_page_size_lists_the_same() {
        let map = tree(&[
            "a",
            "a/",
            "a/1",
            "a/2",
            "a/b/3",
            "a0",
            "b/\u{10ffff}",
            "b/x",
            "c",
            "\u{e9}/y",
        ]);
        for delimiter in ["", "/"] {
            for prefix in ["", "a", "a/", "b/", "missing"] {
                let whole = all(&map, prefix, delimiter, 1_000);
                for limit in 1..=map.len() {
                    assert_eq!(all(&map, prefix, delimiter, limit), whole, "limit {limit}");
                }
            }
        }
    }

    #[test]
    fn folders_are_rolled_up_in_byte_order() {
        let map = tree(&["a/1", "a/2", "a-b", "a0", "z"]);
        assert_eq!(all(&map, "", "/", 1_000), ["a-b", "<a/>", "a0", "z"]);
    }

    #[test]
    fn a_folder_marker_is_a_key_of_its_own_folder() {
        let map = tree(&["a/", "a/1", "a/2"]);
        assert_eq!(all(&map, "a/", "/", 1), ["a/", "a/1", "a/2"]);
    }

    #[test]
    fn a_page_that_is_exactly_full_is_the_last() {
        let map = tree(&["a", "b"]);
        let query = Query {
            limit: 2,
            ..Query::default()
        };
        assert_eq!(page(&map, &query, |()| true).next, None);
    }

    #[test]
    fn names_are_encoded_as_in_a_form_but_for_slashes() {
        assert_eq!(encode("a b/c+d%\u{e9}*(1)"), "a+b/c%2Bd%25%C3%A9*%281%29");
    }
}
