//! Names: what goes in comes out, whatever it looks like.

use ows_providers::{ErrorKind, ListOptions, Precondition, PutOptions};

use super::{Fixture, fails, on, path};

/// Writes, looks at, lists, reads and deletes files of these names, all at once and each with its own content.
async fn round_trip(fixture: &Fixture, names: &[String]) {
    let rules = fixture.provider.capabilities().names;
    let (fit, unfit): (Vec<&String>, Vec<&String>) = names
        .iter()
        .partition(|name| rules.objection(&path(name)).is_none());
    for name in unfit {
        let put = fixture.try_put(name, b"", PutOptions::default()).await;
        fails(put, ErrorKind::InvalidName);
    }
    for name in &fit {
        let put = fixture.put(name, name.as_bytes()).await;
        assert_eq!(put.path, path(name));
    }
    let entries = fixture.entries(ListOptions::default()).await;
    for name in &fit {
        assert_eq!(
            fixture.read(name).await.unwrap(),
            name.as_bytes(),
            "{name:?}"
        );
        assert_eq!(fixture.stat(name).await.unwrap().path, path(name));
        assert!(
            entries.iter().any(|entry| entry.path == path(name)),
            "{name:?} is not listed"
        );
    }
    for name in &fit {
        fixture.delete(name, Precondition::Any).await.unwrap();
        fails(fixture.stat(name).await, ErrorKind::NotFound);
    }
}

pub async fn unusual_names_come_back_as_they_are(fixture: &Fixture) {
    let mut names: Vec<String> = [
        "with space",
        " leading space",
        "trailing space ",
        "two  spaces",
        "plus+plus",
        "%41",
        "%2F",
        "100%",
        "a%20b",
        "#hash",
        "a?b=c&d",
        "quote'\"",
        "star*",
        "~tilde",
        "[x]",
        "{x}",
        "(x)",
        "semi;colon",
        "comma,",
        "at@",
        "dollar$",
        "equals=",
        "ex!",
        "colon:",
        "pipe|",
        "<less>",
        "caret^",
        "`tick`",
        "back\\slash",
        ".hidden",
        "..two",
        "...",
        "trailing.",
        "dots..",
        "-dash",
        "--",
        "_",
        "日本語",
        "🦀.rs",
        "\u{200b}zero width",
        "e\u{301}",
        "ﬁ",
        "İ",
    ]
    .map(str::to_owned)
    .into();
    let nested: Vec<String> = names
        .iter()
        .map(|name| format!("in {name}/{name}"))
        .collect();
    names.extend(nested);
    round_trip(fixture, &names).await;
}

pub async fn hostile_names_are_only_names(fixture: &Fixture) {
    let names = [
        "..\\..\\x",
        "C:\\x",
        "C:x",
        "..%2f..%2fx",
        "%2e%2e/x",
        "$(touch x)",
        ";rm -rf ~",
        "&amp;",
        "<?xml?>",
        "]]>",
        "con",
        "NUL",
        "\u{202e}txt.exe",
        "line\nfeed",
        "\r",
        "\u{1b}[31m",
        "\t",
        "\u{7f}",
        "\u{85}",
        "a/\u{feff}/b",
        "?versionId=x",
        "?uploads",
        "x?partNumber=1",
    ]
    .map(str::to_owned);
    round_trip(fixture, &names).await;
    assert!(
        fixture
            .entries(ListOptions::default())
            .await
            .iter()
            .all(|entry| entry.kind == ows_providers::EntryKind::Dir),
        "something was left"
    );
}

pub async fn names_in_either_normal_form(fixture: &Fixture) {
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    fixture.put(composed, b"composed").await;
    if fixture.provider.capabilities().names.folds_forms {
        assert_eq!(fixture.read(decomposed).await.unwrap(), b"composed");
        if fixture.enforced().await.create_if_absent {
            let put = fixture.try_put(decomposed, b"second", on(Precondition::Absent));
            fails(put.await, ErrorKind::AlreadyExists);
        }
        assert_eq!(fixture.keys(ListOptions::default()).await, [composed]);
        return;
    }
    fixture.put(decomposed, b"decomposed").await;
    assert_eq!(fixture.read(composed).await.unwrap(), b"composed");
    assert_eq!(fixture.read(decomposed).await.unwrap(), b"decomposed");
    let keys = fixture.keys(ListOptions::default()).await;
    assert_eq!(keys, [decomposed, composed]);
}

pub async fn names_that_differ_in_case(fixture: &Fixture) {
    fixture.put("Folder/Name", b"first").await;
    if !fixture.provider.capabilities().names.folds_case {
        fixture.put("folder/name", b"second").await;
        assert_eq!(fixture.read("Folder/Name").await.unwrap(), b"first");
        assert_eq!(fixture.read("folder/name").await.unwrap(), b"second");
        return;
    }
    assert_eq!(fixture.read("folder/NAME").await.unwrap(), b"first");
    if fixture.enforced().await.create_if_absent {
        let put = fixture
            .try_put("FOLDER/name", b"second", on(Precondition::Absent))
            .await;
        fails(put, ErrorKind::AlreadyExists);
    }
    fixture.put("FOLDER/other", b"").await;
    let mut keys = fixture.keys(ListOptions::default()).await;
    keys.retain(|key| !key.ends_with('/'));
    assert_eq!(keys, ["Folder/Name", "Folder/other"]);
}

pub async fn the_longest_names_fit_and_longer_ones_are_refused(fixture: &Fixture) {
    let rules = fixture.provider.capabilities().names;
    let segment = "s".repeat(rules.max_segment_bytes.min(rules.max_path_bytes));
    let step = rules.max_segment_bytes.min(100);
    let mut long = String::new();
    while long.len() + step < rules.max_path_bytes {
        long.push_str(&"d".repeat(step - 1));
        long.push('/');
    }
    long.push_str(&"f".repeat(rules.max_path_bytes - long.len()));
    assert_eq!(long.len(), rules.max_path_bytes);
    // Two bytes a letter: limits are in bytes.
    let wide = "é".repeat(rules.max_segment_bytes.min(200) / 2);
    for name in [&segment, &long, &wide] {
        fixture.put(name, b"content").await;
        assert_eq!(fixture.read(name).await.unwrap(), b"content");
    }
    let keys = fixture.keys(ListOptions::default()).await;
    assert!(
        [&segment, &long, &wide]
            .iter()
            .all(|name| keys.contains(name))
    );

    for name in [format!("{segment}s"), format!("{long}f")] {
        fails(
            fixture.try_put(&name, b"", PutOptions::default()).await,
            ErrorKind::InvalidName,
        );
    }
}

pub async fn a_file_and_a_folder_of_similar_names(fixture: &Fixture) {
    let names = ["a/b", "a.b", "a b", "a0", "a!", "ab"];
    for name in names {
        fixture.put(name, name.as_bytes()).await;
    }
    fixture.delete("a/b", Precondition::Any).await.unwrap();
    for name in &names[1..] {
        assert_eq!(fixture.read(name).await.unwrap(), name.as_bytes());
    }
    if fixture.has_folders() {
        return;
    }
    // A key may be both a file and a prefix: the file is meant.
    fixture.put("both", b"file").await;
    fixture.put("both/child", b"child").await;
    assert_eq!(fixture.read("both").await.unwrap(), b"file");
    assert_eq!(fixture.stat("both").await.unwrap().size, 4);
    let keys = fixture.keys(ListOptions::default()).await;
    assert!(keys.contains(&"both".to_owned()) && keys.contains(&"both/child".to_owned()));
}
