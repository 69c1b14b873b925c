//! The README's section on switching, typed as it stands there; and what else the README promises in lists.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ows::plan::guards::GuardName;
use ows_testkit::process::Child;
use ows_testkit::s3::Server;
use regex::Regex;

use crate::support::World;

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    std::fs::read_to_string(path).unwrap()
}

/// The text of a section, without its heading.
fn section(heading: &str) -> String {
    let text = readme();
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The contents of the code blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence)
        .skip(1)
        .map(|part| part.split("```").next().unwrap().to_owned())
        .collect()
}

/// Numbers of calls and times depend on the machine and the store.
fn steady(text: &str) -> String {
    let seconds = Regex::new(r"\d+ calls, \d+\.\d s\)").unwrap();
    let text = seconds.replace_all(text, "[N] calls, [T] s)");
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A home as the README assumes it: nothing is set but the keys.
struct Home<'a> {
    world: World,
    server: &'a Server,
}

impl Home<'_> {
    fn ows(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.world.command(arguments);
        command
            .env_remove("OPENCLAW_STATE_DIR")
            .env_remove("OPENCLAW_WORKSPACE_DIR")
            .env("S3_ACCESS_KEY_ID", self.server.access_key())
            .env("S3_SECRET_ACCESS_KEY", self.server.secret_key());
        let ran = self.world.run(command);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        let home = self.world.path("home").display().to_string();
        let text = text
            .replace(&home, "/home/me")
            .replace(&self.server.endpoint(), "https://s3.example.com");
        (ran.code, text)
    }
}

impl Home<'_> {
    /// What the daemon says until it says `word`; it is ended then.
    fn daemon_until(&self, word: &str) -> String {
        let mut command = self.world.command(&["daemon"]);
        command
            .env_remove("OPENCLAW_STATE_DIR")
            .env_remove("OPENCLAW_WORKSPACE_DIR")
            .env("S3_ACCESS_KEY_ID", self.server.access_key())
            .env("S3_SECRET_ACCESS_KEY", self.server.secret_key())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = Child::spawn(&mut command).unwrap();
        let mut told = String::new();
        for line in BufReader::new(child.take_stderr().unwrap()).lines() {
            told.push_str(&line.unwrap());
            told.push('\n');
            if told.contains(word) {
                child.terminate().unwrap();
            }
        }
        let ended = child.wait_for(Duration::from_secs(60)).unwrap();
        assert_eq!(ended.and_then(|status| status.code()), Some(0), "{told}");
        told
    }
}

fn home(server: &Server, enabled: bool) -> Home<'_> {
    let world = World::bare();
    let setup = blocks(&section("Switching from the plugin"), "json").remove(0);
    let setup = setup
        .replace("https://s3.example.com", &server.endpoint())
        .replace("\"enabled\": false", &format!("\"enabled\": {enabled}"));
    world.write("home/.openclaw/openclaw.json", setup);
    for (name, content) in [("readme.txt", "hello\n"), ("notes/plan.md", "1. go\n")] {
        world.write(&format!("home/.openclaw/workspace/{name}"), content);
        server
            .access()
            .put("my-files", &format!("agent/{name}"), content);
    }
    Home { world, server }
}

#[test]
fn each_command_of_the_switch_does_what_the_readme_shows() {
    let server = Server::with_bucket("my-files");
    let home = home(&server, false);
    let mut told = String::new();
    let mut shown = String::new();
    for block in blocks(&section("Switching from the plugin"), "console") {
        shown.push_str(&steady(&block));
        shown.push('\n');
        for line in block.lines().filter(|line| line.starts_with("$ ")) {
            let words: Vec<&str> = line.trim_start_matches("$ ").split(' ').collect();
            assert_eq!(words[0], "ows");
            let (code, text) = home.ows(&words[1..]);
            assert_eq!(code, Some(0), "{line}\n{text}");
            told.push_str(&format!("{line}\n{}\n", steady(&text)));
        }
    }
    assert_eq!(told, shown, "\n{told}");
    assert_eq!(
        server
            .access()
            .object("my-files", "agent/readme.txt")
            .unwrap()
            .content(),
        "hello\n"
    );
}

#[test]
fn as_long_as_the_plugin_is_on_every_command_says_that_two_engines_lose_data() {
    let server = Server::with_bucket("my-files");
    let on = home(&server, true);
    for arguments in [
        &["sync", "--dry-run"][..],
        &["import-rclone"],
        &["sync"],
        &["status"],
        &["list"],
        &["trash", "list"],
        &["check"],
        &["why", "readme.txt"],
        &["trash", "restore", "--dry-run"],
        &["trash", "empty", "--dry-run"],
        &["session", "start"],
        &["session", "end"],
    ] {
        let (_, text) = on.ows(arguments);
        assert!(
            text.contains("two engines on one folder lose data"),
            "{arguments:?}: {text}"
        );
        assert!(
            text.contains("openclaw plugins uninstall"),
            "how to switch: {text}"
        );
    }
    // Switched off, nothing is left to warn of: with the imported file and with the plugin's own.
    for import in [true, false] {
        let server = Server::with_bucket("my-files");
        let off = home(&server, false);
        if import {
            off.ows(&["import-rclone"]);
        }
        let (_, text) = off.ows(&["status"]);
        assert!(!text.contains("two engines"), "{text}");
    }
}

#[test]
fn the_imported_file_runs_by_itself_while_the_plugin_is_switched_off() {
    let server = Server::with_bucket("my-files");
    let home = home(&server, false);
    let (code, text) = home.ows(&["session", "start"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("enabled` is false"),
        "the plugin's own: {text}"
    );
    assert_eq!(home.ows(&["import-rclone"]).0, Some(0));
    let file = "home/.openclaw/ows/config.json5";
    let config = home.world.read(file).unwrap();
    let hooked = config.replace("interval: 300,", "interval: 300, onSessionStart: true,");
    home.world.write(file, hooked);
    home.world
        .write("home/.openclaw/workspace/new.md", "written since");
    let (code, text) = home.ows(&["session", "start"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 uploaded"), "{text}");
    let log = home.daemon_until("started");
    assert!(log.contains("interval=300"), "{log}");
    assert!(log.contains("ows/config.json5"), "{log}");
    assert!(!log.contains("two engines"), "{log}");
}

#[test]
fn the_daemon_too_warns_while_the_plugin_is_on() {
    let server = Server::with_bucket("my-files");
    let log = home(&server, true).daemon_until("started");
    assert!(log.contains("two engines on one folder lose data"), "{log}");
}

#[test]
fn a_bucket_that_differs_stops_the_first_run_and_nothing_is_changed() {
    let server = Server::with_bucket("my-files");
    let home = home(&server, false);
    server
        .access()
        .put("my-files", "agent/theirs.txt", "theirs");
    assert_eq!(home.ows(&["import-rclone"]).0, Some(0));
    let (code, text) = home.ows(&["sync", "--dry-run"]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("first-sync"), "{text}");
    assert_eq!(home.ows(&["sync"]).0, Some(4));
    assert!(
        server
            .access()
            .object("my-files", "agent/theirs.txt")
            .is_some()
    );
}

#[test]
fn every_guard_and_what_to_type_stand_in_the_readme() {
    let guards = section("When it stops: guards");
    for guard in GuardName::ALL {
        let row = guards
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", guard.name())));
        let row = row.unwrap_or_else(|| panic!("`{}` has no row", guard.name()));
        assert!(
            row.contains("`ows ") || row.contains("correct the configuration"),
            "{row}"
        );
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "says what could not be tested")]
fn the_packaged_files_start_a_daemon() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let unit = std::fs::read_to_string(folder.join("ows.service")).unwrap();
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=%h/.local/bin/ows "));
    let compose = std::fs::read_to_string(folder.join("compose.yaml")).unwrap();
    let command = compose
        .lines()
        .find_map(|line| line.trim().strip_prefix("command: "));
    let command: Vec<String> = json5::from_str(command.unwrap()).unwrap();
    let world = World::bare();
    let start: Vec<&str> = start.unwrap().split(' ').collect();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    for arguments in [start, command] {
        assert_eq!(arguments.last(), Some(&"daemon"));
        let mut all = arguments.clone();
        all.push("--help");
        assert_eq!(world.ows(&all).code, Some(0), "{arguments:?}");
    }
    // What systemd itself thinks of the unit, where there is one.
    let here = world.path("tmp/ows.service");
    let binary = env!("CARGO_BIN_EXE_ows");
    std::fs::write(&here, unit.replace("%h/.local/bin/ows", binary)).unwrap();
    let verify = std::process::Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--user"])
        .arg(&here)
        .env("XDG_RUNTIME_DIR", world.path("tmp"))
        .output();
    match verify {
        Ok(output) => assert!(
            output.status.success()
                && !String::from_utf8_lossy(&output.stderr).contains("ows.service"),
            "{output:?}"
        ),
        Err(error) => eprintln!("the unit was not verified: {error}"),
    }
}
