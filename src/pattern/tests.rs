//! Patterns against what real rclone answered, and against themselves.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Reference {
    files: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    patterns: Vec<String>,
    #[serde(default)]
    refused: bool,
    #[serde(default)]
    excluded: Vec<String>,
}

fn reference() -> Reference {
    let text = include_str!("../../fixtures/patterns/reference.json");
    serde_json::from_str(text).unwrap()
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn patterns(list: &[&str]) -> Patterns {
    Patterns::new(list).unwrap()
}

/// The folders above a path, outermost first.
fn folders_above(path: &RelPath) -> Vec<RelPath> {
    let mut above: Vec<_> = std::iter::successors(path.parent(), RelPath::parent).collect();
    above.reverse();
    above
}

/// What a walk leaves out that enters no folder that is left out.
fn excluded_by_walk(patterns: &Patterns, file: &RelPath) -> bool {
    folders_above(file)
        .iter()
        .any(|folder| patterns.excludes_folder(folder))
        || patterns.is_excluded_file(file)
}

#[test]
fn patterns_decide_as_rclone_does() {
    let reference = reference();
    assert!(reference.cases.len() > 400);
    let mut wrong = Vec::new();
    for case in &reference.cases {
        let compiled = Patterns::new(&case.patterns);
        let compiled = match (compiled, case.refused) {
            (Err(_), true) => continue,
            (Ok(compiled), false) => compiled,
            (Ok(_), true) => {
                wrong.push(format!("{:?}: rclone refuses it", case.patterns));
                continue;
            }
            // A `\` at the very end; rclone lets it escape its own end mark.
            (Err(_), false) if case.patterns[0].ends_with('\\') => continue,
            (Err(errors), false) => {
                wrong.push(format!("{:?}: refused, {errors:?}", case.patterns));
                continue;
            }
        };
        let expected: BTreeSet<_> = case.excluded.iter().collect();
        for file in &reference.files {
            let found = (
                compiled.is_excluded_file(&path(file)),
                excluded_by_walk(&compiled, &path(file)),
            );
            let expected = expected.contains(file);
            if found != (expected, expected) {
                wrong.push(format!(
                    "{:?} on {file:?}: rclone {expected}, (filter, walk) {found:?}",
                    case.patterns
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_leading_double_star_also_matches_at_the_root() {
    let patterns = patterns(&["**/.DS_Store", "**/cache/"]);
    for file in [
        ".DS_Store",
        "a/.DS_Store",
        "a/b/.DS_Store",
        "cache/x",
        "a/cache/x/y",
    ] {
        assert!(patterns.is_excluded_file(&path(file)), "{file}");
    }
    for file in ["x.DS_Store", ".DS_Store/x", "cache", "acache/x"] {
        assert!(!patterns.is_excluded_file(&path(file)), "{file}");
    }
    assert!(patterns.excludes_folder(&path("cache")));
    assert!(patterns.excludes_folder(&path("a/cache/x")));
    assert!(!patterns.excludes_folder(&path("a")));
}

#[test]
fn folders_are_left_out_by_patterns_for_folders_only() {
    for (pattern, folder, excluded) in [
        (".git/**", ".git", true),
        (".git/**", "a/.git", true),
        (".git/**", "a/.git/b/c", true),
        (".git/**", ".github", false),
        ("/.git/**", "a/.git", false),
        (".git/", "a/.git", true),
        (".git", ".git", false),
        ("*.log", "x.log", false),
        ("*.log/", "x.log", true),
        ("build/*", "build", false),
        ("build/*", "build/x", false),
        ("*", "a", true),
        ("/*", "a", false),
        ("**", "a", true),
        ("/**", "a/b", true),
        ("a/**/f", "a/b", false),
        ("a/**/f/", "a/b/f", true),
        ("{a,b}/**", "x/b", true),
        ("{{a|b}}/", "x/b", true),
    ] {
        assert_eq!(
            patterns(&[pattern]).excludes_folder(&path(folder)),
            excluded,
            "{pattern} on {folder}"
        );
    }
}

#[test]
fn nothing_is_left_out_without_patterns() {
    for patterns in [Patterns::none(), patterns(&[])] {
        assert!(!patterns.is_excluded_file(&path("a/b")));
        assert!(!patterns.excludes_folder(&path("a/b")));
    }
}

#[test]
fn names_are_matched_as_they_are() {
    // rclone shows control characters as pictures, so that it cannot be asked about these.
    assert!(patterns(&["a\nb"]).is_excluded_file(&path("x/a\nb")));
    assert!(patterns(&["a\\tb"]).is_excluded_file(&path("a\tb")));
    assert!(patterns(&["x/**"]).is_excluded_file(&path("x/a\nb/c\nd")));
    assert!(patterns(&["*.log"]).is_excluded_file(&path("a\nb.log")));
    assert!(!patterns(&["/b"]).is_excluded_file(&path("a\nb")));
    assert!(!patterns(&["a"]).is_excluded_file(&path("a\nb")));
    assert!(!patterns(&["e\u{301}"]).is_excluded_file(&path("é")));
    assert!(patterns(&["a[ ]"]).is_excluded_file(&path("a ")));
    assert!(patterns(&["a "]).is_excluded_file(&path("a")));
    assert!(!patterns(&["*.LOG"]).is_excluded_file(&path("a.log")));
}

#[test]
fn one_character_is_one_however_many_bytes_it_has() {
    let one = patterns(&["/?"]);
    let two = patterns(&["/??"]);
    let not_a = patterns(&["/x*[^a]*y"]);
    let borders = [0x80, 0xbf, 0xc0, 0x7bf, 0x7c0, 0x7ff, 0x800, 0xfff, 0xffff];
    let borders = borders.into_iter().chain([0x10000, 0x3ffff, 0x40000]);
    for character in borders
        .chain((0x21..=0x10_ffff).step_by(61))
        .filter_map(char::from_u32)
    {
        if character != '/' && character != '.' {
            let text = character.to_string();
            assert!(one.is_excluded_file(&path(&text)), "{text:?}");
            assert!(!two.is_excluded_file(&path(&text)), "{text:?}");
            assert!(two.is_excluded_file(&path(&text.repeat(2))), "{text:?}");
            assert!(!two.is_excluded_file(&path(&text.repeat(3))), "{text:?}");
            assert!(
                not_a.is_excluded_file(&path(&format!("xa{text}y"))),
                "{text:?}"
            );
        }
    }
    // Not even next to a `*` does a part of a character count as one.
    for text in ["\u{40000}\u{40000}", "\u{3000}\u{3000}", "\u{80}\u{80}"] {
        assert!(patterns(&["/*??*"]).is_excluded_file(&path(text)));
        assert!(!patterns(&["/*???*"]).is_excluded_file(&path(text)));
    }
}

#[test]
fn only_what_no_glob_can_say_takes_a_regular_expression() {
    let taking: Vec<_> = reference()
        .cases
        .into_iter()
        .filter(|case| !case.refused)
        .flat_map(|case| case.patterns)
        .filter(|pattern| !pattern.contains("{{"))
        .filter(|pattern| matches!(glob::translate(pattern), Ok(glob::Rule::Regex(_))))
        .collect();
    let expected = "[[]] [^é] [\\pL] a\\b \\d \\d\\d \\w \\W \\D \\s* \\S \\z \\A \\t* \\n \\Qa*b\\E \\x61 \\141 \\pN \\b \\B";
    assert_eq!(taking.join(" "), expected);
}

#[test]
fn every_class_of_ascii_characters_is_just_that() {
    let ascii = || (' '..='~').filter(|character| !"/.".contains(*character));
    for first in ascii() {
        for last in ascii().filter(|last| *last >= first) {
            let class = format!("/[\\x{:x}-\\x{:x}]", u32::from(first), u32::from(last));
            assert!(matches!(glob::translate(&class), Ok(glob::Rule::Glob(_))));
            let patterns = patterns(&[&class]);
            let found: String = ascii()
                .filter(|c| patterns.is_excluded_file(&path(&c.to_string())))
                .collect();
            let expected: String = ascii().filter(|c| (first..=last).contains(c)).collect();
            assert_eq!(found, expected, "{class}");
        }
    }
}

#[test]
fn brackets_that_are_two_classes_are_alternatives() {
    // To rclone the brackets balance, and the regular expression is `(^|/)x[a[b]|[]-c]$`.
    assert!(patterns(&["x[a[b]|[]-c]"]).is_excluded_file(&path("xaz")));
    assert!(patterns(&["x[a[b]|[]-c]"]).is_excluded_file(&path("zb")));
    assert!(!patterns(&["x[a[b]|[]-c]"]).is_excluded_file(&path("zd")));
}

#[test]
fn escaped_numbers_mean_the_same_in_and_outside_classes() {
    for pattern in [
        "\\141b",
        "[\\141]b",
        "\\x61b",
        "[\\x61]b",
        "[\\x{61}]b",
        "[\\140-\\x61]b",
    ] {
        assert!(
            patterns(&[pattern]).is_excluded_file(&path("ab")),
            "{pattern}"
        );
        assert!(
            !patterns(&[pattern]).is_excluded_file(&path("4b")),
            "{pattern}"
        );
    }
}

#[test]
fn every_bad_pattern_is_named_with_what_is_wrong() {
    let errors = Patterns::new(&["good", "[a", "a***", "{{(?=x)}}", "x}", "\\"]).unwrap_err();
    let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "the pattern `[a` cannot be used: a `[` has no `]`",
            "the pattern `a***` cannot be used: it has more than two `*` in a row",
            "the pattern `{{(?=x)}}` cannot be used: look-around, including look-ahead and look-behind, is not supported",
            "the pattern `x}` cannot be used: a `}` has no `{`",
            "the pattern `\\` cannot be used: it ends with a `\\` that escapes nothing",
        ]
    );
}

#[test]
fn a_pattern_that_would_need_too_much_memory_is_refused() {
    let errors = Patterns::new(&["{{(((.{1000}){1000}){1000})}}"]).unwrap_err();
    assert!(errors[0].reason.contains("size limit"), "{}", errors[0]);
}

#[test]
fn thousands_of_patterns_can_be_used() {
    let list: Vec<_> = (0..5000)
        .map(|n| format!("/folder-{n}/**/*.{{jpg,png}}"))
        .collect();
    let patterns = Patterns::new(&list).unwrap();
    assert!(patterns.is_excluded_file(&path("folder-4999/a/b.png")));
    assert!(!patterns.is_excluded_file(&path("folder-5000/a/b.png")));
}

#[test]
fn patterns_that_need_more_than_one_set_can_be_used() {
    let long = "x".repeat(2000);
    let list: Vec<_> = (0..400).map(|n| format!("/{n}-{long}/?")).collect();
    let patterns = Patterns::new(&list).unwrap();
    assert!(patterns.files.globs.len() > 1);
    assert!(patterns.is_excluded_file(&path(&format!("0-{long}/é"))));
    assert!(patterns.is_excluded_file(&path(&format!("399-{long}/é"))));
    assert!(!patterns.is_excluded_file(&path(&format!("400-{long}/é"))));
}

#[test]
fn a_file_of_patterns_is_read_line_by_line() {
    let text = "\u{feff}# comment\r\n*.log\r\n\r\n  .git/**  \n\\#name\n   # also a comment\nlast";
    assert_eq!(
        Patterns::parse_file(text),
        ["*.log", ".git/**", "\\#name", "last"]
    );
    assert_eq!(Patterns::parse_file(""), Vec::<String>::new());
}

/// Patterns made of pieces that mean something, most of them valid.
fn pattern() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "a", "b", ".", "/", "*", "**", "?", "[ab]", "[^a]", "{a,b}", "{a/,b}", "{**,a}", "**/",
        "/**", "{{a.}}", "{{.*/}}", "\\*", "é",
    ]);
    proptest::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

fn some_path() -> impl Strategy<Value = RelPath> {
    let name = proptest::sample::select(vec!["a", "b", "ab", "a.b", "é", "x", "*", "a\nb", ".a"]);
    proptest::collection::vec(name, 1..5).prop_map(|names| path(&names.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_that_skips_folders_finds_the_same_files(
        list in proptest::collection::vec(pattern(), 1..4),
        file in some_path(),
    ) {
        if let Ok(patterns) = Patterns::new(&list) {
            prop_assert_eq!(excluded_by_walk(&patterns, &file), patterns.is_excluded_file(&file));
        }
    }

    #[test]
    fn what_is_in_an_excluded_folder_is_excluded(
        list in proptest::collection::vec(pattern(), 1..4),
        folder in some_path(),
        rest in some_path(),
    ) {
        if let Ok(patterns) = Patterns::new(&list)
            && patterns.excludes_folder(&folder)
        {
            let inner = folder.join_path(&rest);
            prop_assert!(patterns.is_excluded_file(&inner));
            prop_assert!(patterns.excludes_folder(&inner));
        }
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in "\\PC{0,20}|[\\[\\]{}()*?\\\\^$|+.,/a-c0-9-]{0,16}", file in some_path()) {
        if let Ok(patterns) = Patterns::new(&[text]) {
            patterns.is_excluded_file(&file);
        }
    }
}
