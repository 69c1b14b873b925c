//! From regular expressions in Go's syntax (package `regexp/syntax`) to ours.
//!
//! The two are alike but for classes of characters and escapes: `\d` and `\w` are ASCII in Go, a `[` or `&&` inside a
//! class is literal there, `\<` is a literal too, and octal escapes and `\Q...\E` exist. All else is passed on; what is
//! an error in both, such as a look-ahead, becomes one when the result is compiled, with octal escapes allowed.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;

/// `regex` in our syntax, or what is wrong with it.
pub(super) fn to_rust(regex: &str) -> Result<String, String> {
    Translation {
        rest: regex,
        out: String::new(),
    }
    .run()
}

/// What `regex` means if it is one class in Go's syntax and nothing else.
pub(super) fn parse_class(regex: &str) -> Option<Hir> {
    let mut translation = Translation {
        rest: regex.strip_prefix('[')?,
        out: String::new(),
    };
    translation.class().ok()?;
    let mut parser = ParserBuilder::new().octal(true).build();
    let alone = translation.rest.is_empty();
    alone.then(|| parser.parse(&translation.out).ok())?
}

struct Translation<'a> {
    rest: &'a str,
    out: String,
}

impl Translation<'_> {
    fn run(mut self) -> Result<String, String> {
        let mut last = '\0';
        let mut repeated = false;
        while let Some(character) = self.next() {
            let repeats = match character {
                '*' | '+' => true,
                // After `(` it begins flags or a name.
                '?' => last != '(',
                '{' => self.is_count(),
                _ => false,
            };
            if repeats && repeated {
                return Err("it repeats a repetition".to_owned());
            }
            match character {
                '\\' if self.rest.starts_with('Q') => self.quoted(),
                '\\' => drop(self.escape()?),
                '[' => self.class()?,
                '{' if !repeats => self.out.push_str("\\{"),
                _ => self.out.push(character),
            }
            if repeats {
                if character == '{' {
                    self.copy_through("}");
                }
                if self.rest.starts_with('?') {
                    // It is lazy.
                    self.copy_through("?");
                }
            }
            repeated = repeats;
            last = character;
        }
        Ok(self.out)
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.rest = &self.rest[character.len_utf8()..];
        Some(character)
    }

    /// Copies up to and with `end`, or all that is left.
    fn copy_through(&mut self, end: &str) {
        let length = self
            .rest
            .find(end)
            .map_or(self.rest.len(), |at| at + end.len());
        let (copied, rest) = self.rest.split_at(length);
        self.out.push_str(copied);
        self.rest = rest;
    }

    /// Whether what follows a `{` makes it a count, as in `{2}`, `{2,}` or `{2,3}`; it is literal otherwise.
    fn is_count(&self) -> bool {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        self.rest.split_once('}').is_some_and(|(inner, _)| {
            let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
            !least.is_empty() && digits(least) && digits(most)
        })
    }

    /// What stands between `\Q` and `\E`, or the end.
    fn quoted(&mut self) {
        let (inner, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
        self.out.push_str(&regex_syntax::escape(&inner[1..]));
        self.rest = rest;
    }

    /// What follows a `\`. Returns whether it is one character, which a range may begin or end with.
    fn escape(&mut self) -> Result<bool, String> {
        let Some(character) = self.next() else {
            return Err("it ends with a `\\` that escapes nothing".to_owned());
        };
        if let Some(class) = perl_class(character) {
            self.out.push_str(class);
            return Ok(false);
        }
        match character {
            // Between ASCII letters and others, in Go.
            'b' | 'B' => self.out.push_str(&format!("(?-u:\\{character})")),
            '1'..='7' if !self.rest.starts_with(|next: char| next.is_digit(8)) => {
                return Err(format!("`\\{character}` would refer to a group"));
            }
            _ if character.is_ascii() && !character.is_ascii_alphanumeric() => {
                self.literal(character);
            }
            _ => {
                self.out.push('\\');
                self.out.push(character);
            }
        }
        let more = match character {
            'p' | 'P' | 'x' if self.rest.starts_with('{') => {
                self.copy_through("}");
                0
            }
            'p' | 'P' => 1,
            'x' => 2,
            '0'..='7' => self
                .rest
                .chars()
                .take(2)
                .take_while(|next| next.is_digit(8))
                .count(),
            _ => 0,
        };
        for _ in 0..more {
            let next = self.next();
            self.out.extend(next);
        }
        Ok(!matches!(character, 'p' | 'P'))
    }

    /// A class; the `[` is taken already.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.starts_with('^') {
            self.copy_through("^");
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if self.named_class()? || !self.class_item()? {
                continue;
            }
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.copy_through("-");
                if !self.class_item()? {
                    return Err("a range ends with a class".to_owned());
                }
            }
        }
        self.copy_through("]");
        Ok(())
    }

    /// `[:alpha:]` or `[:^alpha:]` inside a class. False when it is none.
    fn named_class(&mut self) -> Result<bool, String> {
        let inner = self.rest.strip_prefix("[:");
        let Some((name, _)) = inner.and_then(|inner| inner.split_once(":]")) else {
            return Ok(false);
        };
        if !NAMED_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("there is no class `[:{name}:]`"));
        }
        self.copy_through(":]");
        Ok(true)
    }

    /// A character or an escape inside a class. Returns what [`Self::escape`] does.
    fn class_item(&mut self) -> Result<bool, String> {
        match self.next() {
            Some('\\') => self.escape(),
            Some(character) => {
                self.literal(character);
                Ok(true)
            }
            None => Err("a `[` has no `]`".to_owned()),
        }
    }

    /// Writes a character as a number, which means nothing else anywhere.
    fn literal(&mut self, character: char) {
        self.out
            .push_str(&format!("\\x{{{:x}}}", u32::from(character)));
    }
}

/// The classes that have names; both sides know the same.
const NAMED_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Perl's classes, which are ASCII in Go. Inside a class they are classes in a class, which means their union.
fn perl_class(letter: char) -> Option<&'static str> {
    match letter {
        'd' => Some("[0-9]"),
        'D' => Some("[^0-9]"),
        's' => Some("[\\t\\n\\x0c\\r ]"),
        'S' => Some("[^\\t\\n\\x0c\\r ]"),
        'w' => Some("[0-9A-Za-z_]"),
        'W' => Some("[^0-9A-Za-z_]"),
        _ => None,
    }
}
