//! How paths are shown to people, and read back from what they type.
//!
//! Names on Unix are bytes. [`escape`] shows them as text that a terminal takes, [`unescape`] is its exact inverse, and an
//! [`AskedPath`] takes either: what `ows backup ls` shows can be given to `--path`, and so can the name itself.

use std::fmt;

use super::entry::{ArchivePath, PathProblem};

/// Whether a terminal should not see `character`: it controls, has no width, or turns the direction of what follows.
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Marks without width or with a direction, line and paragraph separators, tags.
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'
        )
}

/// `bytes` for people: text as it is, but for what [`is_unsafe`], what is no UTF-8, and the backslash that tells these.
///
/// Accents that are characters of their own (names from a Mac), vowel signs and emoji stay as they are.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' || is_unsafe(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The bytes that [`escape`] shows as `text`; `None` when it shows nothing like that.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        rest = take_escaped(escaped, &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    // Everything has one spelling, so that nothing else is taken for one: `\x41` is these four characters.
    (escape(&bytes) == text).then_some(bytes)
}

/// Adds to `bytes` what stands behind a backslash, and gives what follows it.
fn take_escaped<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let mut characters = text.chars();
    match characters.next()? {
        '\\' => bytes.push(b'\\'),
        'n' => bytes.push(b'\n'),
        'r' => bytes.push(b'\r'),
        't' => bytes.push(b'\t'),
        'x' => {
            let (digits, rest) = characters.as_str().split_at_checked(2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            return Some(rest);
        }
        'u' => {
            let (digits, rest) = characters.as_str().strip_prefix('{')?.split_once('}')?;
            let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        _ => return None,
    }
    Some(characters.as_str())
}

/// A path that somebody asks for: the name itself, or what [`escape`] shows of it.
///
/// The two differ only where there is a backslash. Then both are meant: which of them is in the snapshot shows only while
/// it is read, and one too many is restored sooner than one too few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedPath {
    exact: ArchivePath,
    /// What is shown as `exact`, when something is.
    shown: Option<ArchivePath>,
}

impl AskedPath {
    /// What somebody means who typed `bytes`.
    ///
    /// # Errors
    /// When these bytes are no path.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathProblem> {
        let bytes = bytes.into();
        let shown = std::str::from_utf8(&bytes).ok().and_then(unescape);
        let shown = shown.filter(|shown| *shown != bytes);
        Ok(Self {
            exact: ArchivePath::new(bytes)?,
            shown: shown.and_then(|shown| ArchivePath::new(shown).ok()),
        })
    }

    /// Whether `path` is meant, or lies below what is.
    pub fn covers(&self, path: &ArchivePath) -> bool {
        path.is_within(&self.exact)
            || (self.shown.as_ref()).is_some_and(|shown| path.is_within(shown))
    }
}

impl From<ArchivePath> for AskedPath {
    fn from(exact: ArchivePath) -> Self {
        Self { exact, shown: None }
    }
}

impl fmt::Display for AskedPath {
    /// As it was typed, where that was in the words of [`escape`].
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.as_ref().unwrap_or(&self.exact).fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(bytes: &[u8]) -> ArchivePath {
        ArchivePath::new(bytes).expect("a path")
    }

    /// Bytes in which everything that matters is likely: backslashes, what follows them, controls, marks, broken UTF-8.
    fn odd_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            any::<char>().prop_map(|character| character.to_string().into_bytes()),
            prop::sample::select(vec![
                &b"\\"[..],
                b"\\\\",
                b"\\x",
                b"\\xff",
                b"\\u{301}",
                b"\\u{",
                b"n",
                b"\n",
                b"\r",
                b"\t",
                b"\x1b",
                b"\xc3",
                b"\xa4",
                b"/",
                b"}",
                b"0",
                "\u{301}".as_bytes(),
                "\u{200d}".as_bytes(),
                "\u{fe0f}".as_bytes(),
                "\u{202e}".as_bytes(),
            ])
            .prop_map(<[u8]>::to_vec),
        ];
        prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes in odd_bytes()) {
            let shown = escape(&bytes);
            prop_assert!(!shown.chars().any(is_unsafe), "{shown:?}");
            prop_assert_eq!(unescape(&shown), Some(bytes), "{}", shown);
        }

        #[test]
        fn nothing_has_two_spellings(bytes in odd_bytes()) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some(meant) = unescape(&text) {
                prop_assert_eq!(escape(&meant), text);
            }
        }

        #[test]
        fn both_spellings_of_a_path_ask_for_it(bytes in odd_bytes()) {
            if let Ok(path) = ArchivePath::new(bytes.clone()) {
                prop_assert!(AskedPath::new(bytes).expect("a path").covers(&path));
                let shown = path.to_string();
                let asked = AskedPath::new(shown.as_str()).expect("a path");
                prop_assert!(asked.covers(&path), "{}", shown);
                prop_assert_eq!(asked.to_string(), shown);
            }
        }
    }

    #[test]
    fn what_a_terminal_should_not_see_is_escaped() {
        for (bytes, shown) in [
            (&b"a'b \"c\" \xc3\xa4.md"[..], "a'b \"c\" \u{e4}.md"),
            (b"\x1b[2J\xff\n", "\\u{1b}[2J\\xff\\n"),
            (b"a\\b", "a\\\\b"),
            ("evil\u{202e}gpj.exe".as_bytes(), "evil\\u{202e}gpj.exe"),
            ("line\u{2028}\u{9b}".as_bytes(), "line\\u{2028}\\u{9b}"),
        ] {
            assert_eq!(escape(bytes), shown);
            assert_eq!(unescape(shown).as_deref(), Some(bytes));
        }
    }

    #[test]
    fn names_of_all_languages_are_shown_as_they_are() {
        for name in [
            "cafe\u{301}.md",
            "\u{e19}\u{e49}\u{e33}",
            "\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}",
            "\u{2764}\u{fe0f}",
            "\u{f8ff}",
            "\u{3000}",
        ] {
            assert_eq!(escape(name.as_bytes()), name);
        }
    }

    #[test]
    fn what_is_never_shown_is_no_spelling() {
        for text in [
            "\\",
            "\\x",
            "\\x4",
            "\\x41",
            "\\xFF",
            "\\xc3\\xa4",
            "\\u{301}",
            "\\u{1B}",
            "\\u{d800}",
            "\\u{1b",
            "\\a",
            "\n",
            "\\x\u{e4}",
        ] {
            assert_eq!(unescape(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_backslash_means_the_name_or_what_is_shown() {
        let asked = AskedPath::new("notes\\new.md").expect("a path");
        assert!(asked.covers(&path(b"notes\\new.md")));
        assert!(asked.covers(&path(b"notes\new.md/below")));
        assert!(!asked.covers(&path(b"notes/new.md")));
        let plain = AskedPath::new("a\\b").expect("a path");
        assert_eq!(
            (plain.to_string(), plain.shown),
            ("a\\\\b".to_owned(), None)
        );
        assert_eq!(AskedPath::new("a/../b"), Err(PathProblem::Upwards));
    }
}
