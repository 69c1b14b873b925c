//! A host that can write and not read, and the computer that has the identity.

use serde_json::Value;

use super::world::{bucket, configure, keygen, later, now, server, to_bucket};
use crate::support::{BUCKET, World};

fn names(json: &Value) -> Vec<String> {
    let snapshots = json["snapshots"].as_array().unwrap().iter();
    snapshots
        .map(|snapshot| snapshot["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_host_with_the_recipient_makes_lists_and_prunes_what_only_the_identity_opens() {
    let server = server();
    let owner = World::bare();
    let recipient = keygen(&owner);
    let keys = format!("encrypt: true, recipients: ['{recipient}'], retain: 2");
    let host = to_bucket(&server, &keys);

    let first = now(&host);
    later(&server);
    let second = now(&host);
    later(&server);
    host.write("workspace/notes/new.md", "Since then.\n");
    let third = now(&host);
    let listed = host.json(&["backup", "list"]);
    assert_eq!(names(&listed), [third.clone(), second.clone()]);
    assert_eq!(listed["snapshots"][0]["encrypted"], true);
    let left = server.access().keys(BUCKET);
    assert!(
        !left.iter().any(|key| key.contains(&first)),
        "pruned with all its objects: {left:?}"
    );

    for arguments in [
        &["backup", "ls", "latest"][..],
        &["backup", "restore"],
        &["backup", "restore", "--path", "workspace/readme.txt"],
        &["backup", "verify", "--level", "read"],
        &["backup", "drill"],
    ] {
        let json = host.json(arguments);
        assert_eq!(json["exit_code"], 2, "{arguments:?}: {json:#}");
        let message = json["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("identities"), "what to do: {message}");
    }
    assert!(!host.path("state/.backup-restore").exists());
    let verified = host.json(&["backup", "verify"]);
    assert_eq!(verified["exit_code"], 0, "{verified:#}");
    assert_eq!(verified["level"], "hash", "all that it can prove");

    for (key, object) in server.access().objects(BUCKET) {
        let content = object.content();
        let shows = |text: &[u8]| content.windows(text.len()).any(|part| part == text);
        assert!(!shows(b"The plan."), "{key}");
        if !key.ends_with("RECOVER.txt") {
            assert!(!shows(b"readme.txt"), "names are sealed as well: {key}");
        }
    }

    let identity = owner.path("home/identity.txt");
    configure(
        &owner,
        &format!("{}, identities: [{identity:?}]", bucket(&server)),
    );
    assert_eq!(
        names(&owner.json(&["backup", "list"])),
        [third, second.clone()]
    );
    owner.ok(&["backup", "verify", "--all", "--level", "read"]);
    owner.ok(&["backup", "restore", "--to", "newest"]);
    owner.ok(&["backup", "restore", "--snapshot", &second, "--to", "before"]);
    for (path, content) in [
        ("workspace/notes/plan.md", "The plan.\n"),
        ("workspace/readme.txt", "Read me.\n"),
        ("workspace/memory/2026.md", "Remember.\n"),
        ("openclaw.json", "{}\n"),
        ("cron/jobs.json", "[]\n"),
    ] {
        for target in ["newest", "before"] {
            let restored = owner.read(&format!("home/{target}/{path}"));
            assert_eq!(restored.as_deref(), Some(content), "{target}: {path}");
        }
    }
    assert_eq!(
        owner.read("home/newest/workspace/notes/new.md").as_deref(),
        Some("Since then.\n")
    );
    assert_eq!(owner.read("home/before/workspace/notes/new.md"), None);
}

#[test]
fn a_third_key_opens_nothing() {
    let server = server();
    let (owner, stranger) = (World::bare(), World::bare());
    let recipient = keygen(&owner);
    keygen(&stranger);
    let host = to_bucket(
        &server,
        &format!("encrypt: true, recipients: ['{recipient}']"),
    );
    now(&host);
    let identity = stranger.path("home/identity.txt");
    configure(
        &stranger,
        &format!("{}, identities: [{identity:?}]", bucket(&server)),
    );
    let json = stranger.json(&["backup", "restore", "--to", "here"]);
    assert_eq!(json["exit_code"], 2, "{json:#}");
    assert!(!stranger.path("home/here").exists(), "nothing was begun");
}
