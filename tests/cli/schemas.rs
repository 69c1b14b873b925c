//! The JSON of each command against its schema, from real runs, good and bad.

use std::path::Path;

use ows_testkit::s3::{Then, When};
use serde_json::Value;

use crate::support::{World, server};

/// The schema of one command. Each allows keys that it does not name, since keys are only ever added.
fn schema(name: &str) -> jsonschema::Validator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schemas");
    let read = |file: &str| -> Value {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let mut own = read(&format!("{name}.json"));
    // The common part is a file of its own; put in place here, so that nothing has to be fetched.
    own["$defs"]["common"] = read("common.json");
    jsonschema::validator_for(&own).unwrap()
}

#[track_caller]
pub fn fits(name: &str, value: &Value) {
    let schema = schema(name);
    let errors: Vec<String> = schema
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}\n{value:#}");
}

#[test]
fn sync_fits_its_schema() {
    let server = server();
    let world = World::with_s3(&server, "");
    world.write("workspace/a", "a");
    world.write("workspace/b/c", "c");
    fits("sync", &world.json(&["sync", "--dry-run"]));
    fits("sync", &world.json(&["sync", "-v"]));
    fits("sync", &world.json(&["sync"]));
    server.access().put("files", "../x", "x");
    fits("sync", &world.json(&["sync"]));
    server.access().clear("files");
    let guarded = world.json(&["sync"]);
    assert_eq!(guarded["exit_code"], 4);
    fits("sync", &guarded);
    server
        .access()
        .fault(When::any().always(), Then::error(403, "AccessDenied"));
    fits("sync", &world.json(&["sync"]));
    fits("sync", &World::bare().json(&["sync"]));
}

#[test]
fn status_fits_its_schema() {
    let server = server();
    let world = World::with_s3(&server, "");
    fits("status", &world.json(&["status"]));
    world.write("workspace/a", "a");
    world.ok(&["sync"]);
    fits("status", &world.json(&["status"]));
    drop(server);
    fits("status", &world.json(&["status"]));
    fits("status", &World::bare().json(&["status"]));
    let off = World::bare();
    off.config("{ sync: { provider: 'off' } }");
    fits("status", &off.json(&["status"]));
}

#[test]
fn list_fits_its_schema() {
    let world = World::with_folder("");
    fits("list", &world.json(&["list"]));
    world.write("workspace/a", "a");
    world.write("workspace/b/c", "c");
    world.ok(&["sync"]);
    let json = world.json(&["list"]);
    assert!(json["entries"].as_array().unwrap().len() > 1);
    fits("list", &json);
    fits("list", &world.json(&["list", "-R"]));
    fits("list", &world.json(&["list", "../x"]));
}

#[test]
fn trash_fits_its_schema() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.ok(&["sync"]);
    fits("trash", &world.json(&["trash", "list"]));
    world.remove("workspace/a");
    world.ok(&["sync"]);
    let json = world.json(&["trash", "list"]);
    assert_eq!(json["items"].as_array().unwrap().len(), 1);
    fits("trash", &json);
    fits("trash", &world.json(&["trash", "empty"]));
    fits("trash", &world.json(&["trash", "restore", "a"]));
    fits("trash", &world.json(&["trash", "restore", "a"]));
    fits("trash", &world.json(&["trash", "empty", "--yes"]));
}

#[test]
fn conflicts_fit_their_schemas() {
    let world = World::with_folder("firstSync: 'merge',");
    fits("conflicts", &world.json(&["conflicts"]));
    for (side, content) in [("workspace", "here"), ("cloud", "there")] {
        for name in ["a", "b", "c"] {
            world.write(&format!("{side}/{name}"), content);
        }
    }
    world.ok(&["sync"]);
    let listed = world.json(&["conflicts"]);
    assert_eq!(listed["conflicts"].as_array().unwrap().len(), 3);
    fits("conflicts", &listed);
    for (keep, path) in [
        ("local", "a"),
        ("remote", "b"),
        ("both", "c"),
        ("both", "c"),
    ] {
        for more in [&["--dry-run"][..], &[]] {
            let mut arguments = vec!["conflicts", "resolve", "--keep", keep, path];
            arguments.extend(more);
            fits("conflicts-resolve", &world.json(&arguments));
        }
    }
    world.write("workspace/d", "d");
    world.write("workspace/d.conflict", "of nobody here");
    let unknown = world.json(&["conflicts"]);
    assert_eq!(unknown["conflicts"][0]["lost"], "unknown", "{unknown}");
    fits("conflicts", &unknown);
    fits("conflicts", &World::bare().json(&["conflicts"]));
}

#[test]
fn session_fits_its_schema() {
    let world = World::with_folder("onSessionStart: true,");
    fits("session", &world.json(&["session", "start"]));
    fits("session", &world.json(&["session", "end"]));
    fits("session", &World::bare().json(&["session", "end"]));
}

#[test]
fn daemon_fits_its_schema() {
    fits("daemon", &World::bare().json(&["daemon"]));
}

#[test]
fn demo_fits_its_schema() {
    fits("demo", &World::bare().json(&["demo"]));
}

#[test]
fn check_fits_its_schema() {
    let world = World::with_folder("");
    world.write("workspace/a", "a");
    world.write("cloud/b", "b");
    let json = world.json(&["check"]);
    assert_eq!(json["differences"].as_array().unwrap().len(), 2);
    fits("check", &json);
    world.ok(&["sync", "--force", "first-sync"]);
    fits("check", &world.json(&["check", "--download"]));
    fits("check", &World::bare().json(&["check"]));
}

#[test]
fn why_fits_its_schema() {
    let world = World::with_folder("exclude: ['*.log'],");
    world.write("workspace/a", "a");
    world.tree().symlink("workspace/link", "a");
    for _ in 0..2 {
        for path in ["a", "x.log", "link", "_inbox", ".ows", "absent", "../x"] {
            fits("why", &world.json(&["why", path]));
        }
        world.ok(&["sync"]);
        world.write("workspace/a", "changed");
    }
    fits("why", &World::bare().json(&["why", "a"]));
}

#[test]
fn wrong_usage_fits_the_schema_of_the_command_that_was_meant() {
    let world = World::bare();
    for (name, arguments) in [
        ("sync", &["sync", "--bogus"][..]),
        ("sync", &["sync", "--force", "x"]),
        ("check", &["check", "--bogus"]),
        ("list", &["list", "--bogus"]),
        ("why", &["why"]),
        ("status", &["status", "x"]),
        ("trash", &["trash", "restore", "--bogus"]),
        ("conflicts", &["conflicts", "--bogus"]),
        ("conflicts-resolve", &["conflicts", "resolve", "a"]),
        (
            "conflicts-resolve",
            &["conflicts", "resolve", "--keep", "newer", "a"],
        ),
        ("demo", &["demo", "x"]),
        ("import-rclone", &["import-rclone", "--bogus"]),
        ("usage", &["bogus"]),
        ("usage", &[]),
        ("usage", &["trash"]),
        ("usage", &["session"]),
        ("session", &["session", "start", "--bogus"]),
        ("daemon", &["daemon", "--listen", "127.0.0.1:9464"]),
    ] {
        let json = world.json(arguments);
        assert_eq!(json["exit_code"], 2);
        fits(name, &json);
    }
}

#[test]
fn the_schemas_refuse_what_is_missing() {
    let world = World::with_folder("");
    let whole = world.json(&["status"]);
    for key in whole.as_object().unwrap().keys() {
        let mut part = whole.clone();
        part.as_object_mut().unwrap().remove(key);
        let added_later = ["local", "connection", "state", "lease"];
        let is_valid = schema("status").is_valid(&part);
        assert_eq!(is_valid, added_later.contains(&key.as_str()), "{key}");
    }
}
