//! Patterns, and the paths that they are asked about.

use ows::pattern::Patterns;
use ows_providers::RelPath;

use crate::assert_words;

pub(crate) const WORDS: &[&str] = &[
    "**/",
    "/**",
    "**",
    "*",
    "?",
    "[^a-z]",
    "[!a]",
    "[[:alpha:]]",
    "[]]",
    "{a,b{c,d}}",
    "{,}",
    "{{",
    "}}",
    "{{a+?$}}",
    "{{(?i)x|^y}}",
    "{{\\pL{1,1000}}}",
    "\\d",
    "\\",
    "\\Q",
    "/",
    "é",
    "\u{feff}",
    "#",
    "\n",
    "node_modules/",
    "[^é]",
];

/// Reads each line of `data` as a pattern, and asks all of them, and the first ones alone, about each line that is a path.
pub fn patterns(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = Patterns::parse_file(&text);
    let paths: Vec<RelPath> = lines
        .iter()
        .map(String::as_str)
        .chain(["a", "node_modules/m/index.js", "a/b/c.txt", ".git/é"])
        .filter_map(|line| RelPath::new(line.trim_matches('/')).ok())
        .take(50)
        .collect();
    match Patterns::new(&lines) {
        Ok(all) => ask(&all, &paths),
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal without a reason");
            for error in &errors {
                assert_words(&error.reason);
            }
        }
    }
    for line in lines.iter().take(8) {
        if let Ok(one) = Patterns::new(&[line]) {
            ask(&one, &paths);
        }
    }
}

fn ask(patterns: &Patterns, paths: &[RelPath]) {
    for path in paths {
        let inside = path.join("x").expect("a name is added to a path");
        if patterns.excludes_folder(path) {
            assert!(
                patterns.is_excluded_file(&inside),
                "the folder `{path}` is left out, and the file `{inside}` is not"
            );
        } else {
            patterns.is_excluded_file(path);
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../../../fixtures/interop/filters.txt").to_vec(),
        b"/build/\n*.{log,tmp}\n**/__pycache__/**\n[a-c]?\n{{.*\\.bak$}}\nbuild/out.o\nx.log\n"
            .to_vec(),
        b"**[^a]\n\\d\\*\n{a,{b,c}d}/**\n[[]]\n[^\xc3\xa9]\nabd/e\nd/e/f\n".to_vec(),
    ]
}
