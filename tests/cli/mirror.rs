//! Mirror mode as it is configured: where the ingest folder is, and that hooks keep to the mode.

use serde_json::json;

use crate::support::World;

/// The folder `cloud` as the remote, in mirror mode; `more` are keys of `sync`, each ended by a comma.
fn mirror(more: &str) -> World {
    let world = World::bare();
    let cloud = world.path("cloud");
    world.config(&format!(
        "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {cloud:?} }} }}, remotePath: '', \
         mode: 'mirror', {more} }} }}"
    ));
    world
}

#[test]
fn the_ingest_folder_is_beside_the_local_folder() {
    // Without `localPath` that is beside the workspace.
    for (more, ingest, local) in [
        ("ingest: true,", "inbox", "workspace"),
        (
            "ingest: true, ingestPath: 'up', localPath: 'shared',",
            "workspace/up",
            "workspace/shared",
        ),
    ] {
        let world = mirror(more);
        let name = ingest.rsplit('/').next().unwrap();
        world.write("cloud/a.md", "a");
        world.write(&format!("{ingest}/note"), "sent");
        let json = world.json(&["sync"]);
        assert_eq!(json["exit_code"], 0, "{json}");
        assert_eq!(json["mode"], "mirror");
        let sent = world.read(&format!("cloud/{name}/note"));
        assert_eq!(sent.as_deref(), Some("sent"));
        let came = world.read(&format!("{local}/{name}/note"));
        assert_eq!(came.as_deref(), Some("sent"), "it is mirrored, too");
        assert_eq!(world.read(&format!("{local}/a.md")).as_deref(), Some("a"));
        // Files in flight lay in a folder of ours; there is no checkpoint, no lease, no placeholder.
        let there = world.everything("cloud");
        let ours = there.iter().filter(|path| path.starts_with(".ows"));
        assert!(
            ours.clone()
                .all(|path| world.path("cloud").join(path).is_dir())
        );
        assert!(!world.path("cloud/_outbox").exists());
    }
}

#[test]
fn without_ingest_nothing_local_is_ever_sent() {
    let world = mirror("");
    world.write("cloud/a.md", "a");
    world.write("inbox/note", "stays here");
    world.ok(&["sync"]);
    world.write("workspace/mine.md", "stays here");
    let json = world.json(&["sync"]);
    assert_eq!(json["counts"]["upload"], 0, "{json}");
    assert_eq!(world.everything("cloud"), ["a.md"]);
    let trash = world.json(&["trash", "list"]);
    assert_eq!(trash["items"][0]["path"], "mine.md");
}

#[test]
fn a_session_hook_keeps_to_the_mode() {
    let world = mirror("onSessionStart: true, onSessionEnd: true,");
    world.write("cloud/a.md", "a");
    for (command, content) in [("start", "a"), ("end", "newer")] {
        world.write("cloud/a.md", content);
        let json = world.json(&["session", command]);
        assert_eq!(
            (&json["mode"], &json["exit_code"]),
            (&json!("mirror"), &json!(0))
        );
        assert_eq!(world.read("workspace/a.md").as_deref(), Some(content));
        world.write("workspace/mine.md", "never sent");
    }
    assert_eq!(world.everything("cloud"), ["a.md"]);
    // There is no option for another direction.
    let other = world.ows(&["session", "start", "--direction", "push"]);
    assert_eq!(other.code, Some(2));
}
