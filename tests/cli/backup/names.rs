//! Names of every sort: what `ls` shows, and what `--path` takes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use serde_json::Value;

use super::world::{now, to_folder};
use crate::schemas::fits;
use crate::support::World;

/// Names, and how a terminal shows them.
fn names() -> Vec<(&'static [u8], &'static str)> {
    vec![
        (&b"plain.md"[..], "plain.md"),
        // As a Mac writes it: the accent is a character of its own.
        ("cafe\u{301}.md".as_bytes(), "cafe\u{301}.md"),
        ("\u{e19}\u{e49}\u{e33}".as_bytes(), "\u{e19}\u{e49}\u{e33}"),
        ("\u{2764}\u{fe0f}".as_bytes(), "\u{2764}\u{fe0f}"),
        (
            "\u{1f469}\u{200d}\u{1f680}".as_bytes(),
            "\u{1f469}\\u{200d}\u{1f680}",
        ),
        ("evil\u{202e}gpj.exe".as_bytes(), "evil\\u{202e}gpj.exe"),
        (b"back\\slash", "back\\\\slash"),
        (b"windows\\new\\table.md", "windows\\\\new\\\\table.md"),
        (b"two\\\\of them", "two\\\\\\\\of them"),
        (b"literally \\xff", "literally \\\\xff"),
        (b"line\nfeed\t\x1b[31m", "line\\nfeed\\t\\u{1b}[31m"),
        (b"latin \xe9t\xe9", "latin \\xe9t\\xe9"),
        (b"'quotes' \"and\" spaces ", "'quotes' \"and\" spaces "),
    ]
}

/// A host with a file of each name; its content is its number.
fn host() -> World {
    let world = to_folder("");
    world.folder("workspace/names");
    for (number, (name, _)) in names().into_iter().enumerate() {
        let path = world.path("workspace/names").join(OsStr::from_bytes(name));
        std::fs::write(path, number.to_string()).unwrap();
    }
    now(&world);
    world
}

/// Restores `path` alone, and gives the names and contents of the files that came.
#[track_caller]
fn restored(world: &World, path: &OsStr) -> Vec<(OsString, String)> {
    let to = world.path("restored");
    let mut command = world.command(&["backup", "restore", "--json", "--to"]);
    command.arg(&to).arg("--path").arg(path);
    let ran = world.run(command);
    assert_eq!(ran.code, Some(0), "{path:?}: {}", ran.shown());
    let found = std::fs::read_dir(to.join("workspace/names")).unwrap();
    let found = found.map(|file| {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    });
    let found = found.collect();
    std::fs::remove_dir_all(to).unwrap();
    found
}

#[test]
fn a_path_can_be_given_as_ls_shows_it_and_as_it_is() {
    let world = host();
    let listed = world
        .ok(&["backup", "ls", "latest", "workspace/names"])
        .stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), names().len() + 1, "{listed}");
    for (number, (name, shown)) in names().into_iter().enumerate() {
        let shown = format!("workspace/names/{shown}");
        let is_shown = |line: &str| line.get(36..) == Some(shown.as_str());
        assert!(
            lines.iter().any(|line| is_shown(line)),
            "{shown} in {listed}"
        );
        let exact = OsString::from_vec([&b"workspace/names/"[..], name].concat());
        let expected = vec![(OsStr::from_bytes(name).to_owned(), number.to_string())];
        for typed in [OsString::from(&shown), exact] {
            assert_eq!(restored(&world, &typed), expected, "{typed:?}");
            let mut command = world.command(&["backup", "ls", "latest"]);
            command.arg(&typed);
            let one = world.run(command);
            assert_eq!(one.code, Some(0), "{typed:?}: {}", one.shown());
            assert_eq!(one.stdout.lines().count(), 1, "{}", one.stdout);
            assert!(
                is_shown(one.stdout.trim_end_matches('\n')),
                "{}",
                one.stdout
            );
        }
    }
}

#[test]
fn json_has_the_names_themselves() {
    let world = host();
    let json = world.json(&["backup", "ls", "latest", "workspace/names/"]);
    fits("backup-ls", &json);
    let entries = json["entries"].as_array().unwrap();
    for (name, shown) in names() {
        let hex: String = [&b"workspace/names/"[..], name]
            .concat()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let (path, path_hex) = match std::str::from_utf8(name) {
            Ok(text) => (text, Value::Null),
            Err(_) => (shown, Value::from(hex)),
        };
        let path = format!("workspace/names/{path}");
        let entry = entries.iter().find(|entry| entry["path"] == path.as_str());
        let entry = entry.unwrap_or_else(|| panic!("{path:?} in {json:#}"));
        assert_eq!(entry["path_hex"], path_hex, "{path:?}");
        // What a script reads there it can give back.
        let taken = restored(&world, OsStr::new(&path));
        assert_eq!(taken[0].0.as_bytes(), name);
    }
}

#[test]
fn what_is_bad_has_its_name_in_json_and_is_escaped_on_a_terminal() {
    let world = host();
    let json = |paths: &[&str]| {
        let mut arguments = vec!["backup", "restore", "--json"];
        for &path in paths {
            arguments.extend(["--path", path]);
        }
        world.ows(&arguments)
    };
    let missing = "workspace/cafe\u{301}\\mis\u{200b}sing";
    let ran = json(&["workspace/readme.txt", missing]);
    assert_eq!(ran.code, Some(3), "{}", ran.shown());
    let json = ran.json();
    fits("backup-restore", &json);
    assert_eq!(json["bad"][0]["path"], missing, "{json:#}");
    assert_eq!(json["errors"][0]["path"], missing, "{json:#}");
    std::fs::remove_dir_all(world.path("state/.backup-restore")).unwrap();

    let mut command = world.command(&["backup", "restore", "--path", "workspace/readme.txt"]);
    command
        .arg("--path")
        .arg(Path::new(OsStr::from_bytes(b"mis\xffsing\n")));
    let ran = world.run(command);
    assert_eq!(ran.code, Some(3), "{}", ran.shown());
    assert!(ran.stderr.contains("`mis\\xffsing\\n`: "), "{}", ran.stderr);
}
