//! Reads the XML of S3's answers, strictly: a document that is cut short, holds something else (a proxy's HTML page), or
//! has anything before or after its one root element is an error, never a shorter answer.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// What is deeper nested is no answer of S3.
const MAX_DEPTH: usize = 16;

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    /// It is no whole XML document: cut short or damaged on the way, so that asking again may help.
    #[error("the answer is no complete XML document: {0}")]
    Broken(String),
    /// It is a document, but not the one that was asked for.
    #[error("the answer is not what S3 sends: {0}")]
    Unexpected(String),
}

/// An element: either text or children matter, as in all of S3's documents.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// The name without its namespace; `?` for a name that none of the documents read here has.
    pub(super) name: &'static str,
    pub(super) text: Cow<'a, str>,
    pub(super) children: Vec<Element<'a>>,
}

impl<'a> Element<'a> {
    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Element<'a>> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of that name.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| &*child.text)
    }

    /// The text of a child that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Problem> {
        self.text_of(name)
            .ok_or_else(|| Problem::Unexpected(format!("`{}` lacks `{name}`", self.name)))
    }

    /// The text of a child that must be there and hold something.
    pub(super) fn required_text(&self, name: &str) -> Result<&str, Problem> {
        match self.required(name)? {
            "" => Err(Problem::Unexpected(format!("`{name}` is empty"))),
            text => Ok(text),
        }
    }

    /// A number that must be there.
    pub(super) fn required_number(&self, name: &str) -> Result<u64, Problem> {
        let text = self.required(name)?;
        text.trim()
            .parse()
            .map_err(|_| Problem::Unexpected(format!("`{name}` is no number: {text:?}")))
    }

    /// `true` or `false`, which must be there.
    pub(super) fn required_flag(&self, name: &str) -> Result<bool, Problem> {
        match self.required(name)?.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            text => Err(Problem::Unexpected(format!(
                "`{name}` is neither true nor false: {text:?}"
            ))),
        }
    }

    /// The children of that name.
    pub(super) fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b Element<'a>> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

/// Parses a document whose root element has the given name. Some servers (moto) name the roots of a few documents after
/// the operation, since Amazon's own clients do not look at them: `alias` is accepted as well.
pub(super) fn parse_root_or<'a>(
    text: &'a str,
    name: &str,
    alias: &str,
) -> Result<Element<'a>, Problem> {
    let root = parse(text)?;
    if root.name == name || root.name == alias {
        return Ok(root);
    }
    Err(Problem::Unexpected(format!(
        "`{name}` was expected, it is another document"
    )))
}

/// Parses a document whose root element has the given name.
pub(super) fn parse_root<'a>(text: &'a str, name: &str) -> Result<Element<'a>, Problem> {
    parse_root_or(text, name, name)
}

/// Parses a document.
pub(super) fn parse(text: &str) -> Result<Element<'_>, Problem> {
    // Amazon sends white space to keep a connection alive while it copies or completes, before the XML declaration.
    let text = text.trim_start();
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Element<'_>> = Vec::new();
    let mut root = None;
    loop {
        let event = reader
            .read_event()
            .map_err(|error| Problem::Broken(error.to_string()))?;
        match event {
            Event::Start(start) => {
                if root.is_some() || open.len() >= MAX_DEPTH {
                    return Err(Problem::Unexpected("too many elements".to_owned()));
                }
                let name = known(start.local_name().as_ref());
                open.push(Element {
                    name,
                    ..Element::default()
                });
            }
            Event::End(_) => {
                // The reader has checked that the names agree.
                let done = open.pop().ok_or_else(unbalanced)?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None => root = Some(done),
                }
            }
            Event::Text(piece) => {
                let piece = piece.decode().map_err(undecodable)?;
                add_text(&mut open, piece)?;
            }
            Event::CData(piece) => {
                let piece = piece.decode().map_err(undecodable)?;
                add_text(&mut open, piece)?;
            }
            Event::GeneralRef(reference) => {
                let character = resolve(&reference)?;
                add_text(&mut open, Cow::Owned(character.to_string()))?;
            }
            Event::Eof => break,
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::DocType(_) | Event::Empty(_) => {
                return Err(Problem::Unexpected("it has a document type".to_owned()));
            }
        }
    }
    match root {
        Some(root) if open.is_empty() => Ok(root),
        _ => Err(unbalanced()),
    }
}

fn unbalanced() -> Problem {
    Problem::Broken("it ends before its last element does".to_owned())
}

fn undecodable(error: impl std::fmt::Display) -> Problem {
    Problem::Broken(error.to_string())
}

/// Adds text to the innermost open element. Between elements only white space is allowed outside the root.
fn add_text<'a>(open: &mut [Element<'a>], piece: Cow<'a, str>) -> Result<(), Problem> {
    match open.last_mut() {
        Some(element) if element.text.is_empty() => element.text = piece,
        Some(element) => element.text.to_mut().push_str(&piece),
        None if piece.trim().is_empty() => {}
        None => return Err(Problem::Broken("there is text outside of it".to_owned())),
    }
    Ok(())
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, Problem> {
    let number = reference.resolve_char_ref().map_err(undecodable)?;
    if let Some(character) = number {
        return Ok(character);
    }
    match &*reference.decode().map_err(undecodable)? {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        // HTML's entities are the likely ones.
        other => Err(Problem::Unexpected(format!(
            "it holds the entity `{}`",
            other.escape_debug()
        ))),
    }
}

macro_rules! known_names {
    ($($name:literal)*) => {
        /// The name as a constant: a listing has thousands of elements, and their names are these.
        fn known(name: &[u8]) -> &'static str {
            $(if name == $name.as_bytes() { return $name; })*
            "?"
        }
    };
}

known_names! {
    "Contents" "Key" "LastModified" "ETag" "Size" "StorageClass" "Owner" "ID" "DisplayName" "CommonPrefixes" "Prefix"
    "ListBucketResult" "IsTruncated" "NextContinuationToken" "ContinuationToken" "EncodingType" "StartAfter" "KeyCount"
    "MaxKeys" "Delimiter" "Name"
    "Error" "Code" "Message" "RequestId" "Region" "Endpoint" "Condition" "Resource" "BucketName"
    "InitiateMultipartUploadResult" "UploadId" "Bucket"
    "CompleteMultipartUploadResult" "CompleteMultipartUploadResponse" "Location" "CopyObjectResult" "CopyPartResult"
    "ListMultipartUploadsResult" "Upload" "Initiated" "NextKeyMarker" "NextUploadIdMarker"
    "ListPartsResult" "ListPartsResponse" "Part" "PartNumber" "NextPartNumberMarker"
    "VersioningConfiguration" "GetBucketVersioningResponse" "Status"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_with_its_references_and_spaces() {
        let text = "\n  <?xml version=\"1.0\"?>\n<a:Error xmlns:a=\"x\"><!-- c --><Code> a&amp;b&#x41; </Code>\
                    <ETag>&quot;e&quot;</ETag><Message><![CDATA[<x>&]]></Message><Size/></a:Error>\n";
        let root = parse_root(text, "Error").unwrap();
        assert_eq!(root.text_of("Code"), Some(" a&bA "));
        assert_eq!(root.text_of("ETag"), Some("\"e\""));
        assert_eq!(root.text_of("Message"), Some("<x>&"));
        assert_eq!(root.required("Size"), Ok(""));
        assert!(root.required_text("Size").is_err());
        assert!(root.required("Key").is_err());
    }

    #[test]
    fn a_document_cut_anywhere_is_broken() {
        let whole = "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>\
                     <Contents><Key>a&amp;</Key></Contents></ListBucketResult>";
        assert!(parse(whole).is_ok());
        for end in 0..whole.len() {
            assert!(
                matches!(parse(&whole[..end]), Err(Problem::Broken(_))),
                "{}",
                &whole[..end]
            );
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "",
            "not xml",
            "{}",
            "<Error></Code>",
            "<Error/><Error/>",
            "<Error/>tail",
            "<!DOCTYPE html><html></html>",
            "<Error>&nbsp;</Error>",
            "<Error>&</Error>",
            "<html><body><p>busy<br></body></html>",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = "<Error>".repeat(100_000);
        assert!(parse(&deep).is_err());
        assert!(matches!(
            parse_root("<html></html>", "ListBucketResult"),
            Err(Problem::Unexpected(_))
        ));
    }

    #[test]
    fn numbers_and_flags_are_strict() {
        let root =
            parse("<Error><Size>12</Size><IsTruncated>true</IsTruncated><Key>-1</Key></Error>")
                .unwrap();
        assert_eq!(root.required_number("Size"), Ok(12));
        assert_eq!(root.required_flag("IsTruncated"), Ok(true));
        assert!(root.required_number("Key").is_err());
        assert!(root.required_flag("Size").is_err());
    }
}
