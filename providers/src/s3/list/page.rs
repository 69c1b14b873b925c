//! One page of a listing as the store sends it.

use percent_encoding::percent_decode;

use crate::s3::object::{md5_of, parse_stored_at, version_of};
use crate::s3::xml::{self, Element, Problem};
use crate::{Entry, EntryKind, RelPath, Version};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Folder,
    Object {
        size: u64,
        version: Version,
        stored_at_ns: Option<i64>,
    },
}

impl Content {
    pub(super) fn entry(self, path: RelPath) -> Entry {
        match self {
            Self::Folder => Entry::dir(path),
            Self::Object {
                size,
                version,
                stored_at_ns,
            } => Entry {
                path,
                kind: EntryKind::File,
                size,
                mtime_ns: None,
                modified_at_ns: stored_at_ns,
                hash: md5_of(&version),
                version: Some(version),
                id: None,
            },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) key: Vec<u8>,
    pub(super) content: Content,
}

/// One page, objects and folders merged in order.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    /// The token of the next page; `None` when the store said that there is none.
    pub(super) next: Option<String>,
}

impl Page {
    pub(super) fn parse(text: &str) -> std::result::Result<Self, Problem> {
        let root = xml::parse_root(text, "ListBucketResult")?;
        // Stores that do not know the encoding do not say that they used it.
        let encoded = root.text_of("EncodingType") == Some("url");
        let objects = root
            .all("Contents")
            .map(|element| object(element, encoded))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let folders = root
            .all("CommonPrefixes")
            .map(|element| {
                Ok(Item {
                    key: decode(element.required_text("Prefix")?, encoded),
                    content: Content::Folder,
                })
            })
            .collect::<std::result::Result<Vec<_>, Problem>>()?;
        let next = match root.required_flag("IsTruncated")? {
            true => Some(root.required_text("NextContinuationToken")?.to_owned()),
            false => None,
        };
        Ok(Self {
            items: merge(objects, folders),
            next,
        })
    }
}

fn object(element: &Element<'_>, encoded: bool) -> std::result::Result<Item, Problem> {
    let version = version_of(element.required_text("ETag")?)
        .ok_or_else(|| Problem::Unexpected("`ETag` is empty".to_owned()))?;
    let stored_at_ns =
        match element.text_of("LastModified") {
            Some(text) => Some(parse_stored_at(text).ok_or_else(|| {
                Problem::Unexpected(format!("`LastModified` is no time: {text:?}"))
            })?),
            None => None,
        };
    Ok(Item {
        key: decode(element.required_text("Key")?, encoded),
        content: Content::Object {
            size: element.required_number("Size")?,
            version,
            stored_at_ns,
        },
    })
}

/// Decodes a name as `encoding-type=url` gives it: Amazon writes a space as `+` and a plus sign as `%2B`.
pub(in crate::s3) fn decode(text: &str, encoded: bool) -> Vec<u8> {
    if !encoded {
        return text.as_bytes().to_vec();
    }
    if text.contains('+') {
        return percent_decode(text.replace('+', " ").as_bytes()).collect();
    }
    percent_decode(text.as_bytes()).collect()
}

/// Merges two sorted lists; their own order stays for the check that follows.
fn merge(objects: Vec<Item>, folders: Vec<Item>) -> Vec<Item> {
    if folders.is_empty() {
        return objects;
    }
    let mut merged = Vec::with_capacity(objects.len() + folders.len());
    let mut folders = folders.into_iter().peekable();
    for object in objects {
        while let Some(folder) = folders.next_if(|folder| folder.key < object.key) {
            merged.push(folder);
        }
        merged.push(object);
    }
    merged.extend(folders);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(inner: &str) -> std::result::Result<Page, Problem> {
        Page::parse(&format!("<ListBucketResult>{inner}</ListBucketResult>"))
    }

    const END: &str = "<IsTruncated>false</IsTruncated>";

    fn contents(key: &str) -> String {
        format!("<Contents><Key>{key}</Key><ETag>&quot;e&quot;</ETag><Size>1</Size></Contents>")
    }

    #[test]
    fn names_are_decoded_as_the_store_says_they_are_encoded() {
        for (text, encoded, key) in [
            ("a+b", true, "a b"),
            ("a%20b", true, "a b"),
            ("a%2Bb", true, "a+b"),
            ("100%25", true, "100%"),
            ("%C3%A9/x", true, "é/x"),
            ("a+b%20", false, "a+b%20"),
            ("a%2", true, "a%2"),
        ] {
            assert_eq!(decode(text, encoded), key.as_bytes(), "{text}");
        }
    }

    #[test]
    fn a_page_must_say_whether_it_is_the_last() {
        let item = contents("a");
        assert!(page(&item).is_err());
        assert!(page(&format!("{item}<IsTruncated>maybe</IsTruncated>")).is_err());
        assert!(page(&format!("{item}<IsTruncated>true</IsTruncated>")).is_err());
        let token = "<NextContinuationToken>t</NextContinuationToken>";
        let more = page(&format!("{item}<IsTruncated>true</IsTruncated>{token}")).unwrap();
        assert_eq!(more.next.as_deref(), Some("t"));
        assert_eq!(page(&format!("{item}{END}")).unwrap().next, None);
    }

    #[test]
    fn an_object_needs_key_etag_and_size() {
        let whole = contents("a") + END;
        assert_eq!(page(&whole).unwrap().items.len(), 1);
        for missing in [
            "<Key>a</Key>",
            "<ETag>&quot;e&quot;</ETag>",
            "<Size>1</Size>",
        ] {
            assert!(page(&whole.replace(missing, "")).is_err(), "{missing}");
        }
        assert!(page(&whole.replace("<Size>1", "<Size>-1")).is_err());
        assert!(page(&whole.replace("<Key>a", "<Key>")).is_err());
        let time = whole.replace("<Size>", "<LastModified>later</LastModified><Size>");
        assert!(page(&time).is_err());
    }

    #[test]
    fn folders_and_objects_are_merged_by_key() {
        let folder = |key: &str| format!("<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>");
        let text = [
            contents("a"),
            contents("a-b"),
            contents("b"),
            folder("a/"),
            folder("c/"),
        ]
        .concat()
            + END;
        let page = page(&text).unwrap();
        let keys: Vec<_> = page
            .items
            .iter()
            .map(|item| std::str::from_utf8(&item.key).unwrap())
            .collect();
        assert_eq!(keys, ["a", "a-b", "a/", "b", "c/"]);
    }
}
