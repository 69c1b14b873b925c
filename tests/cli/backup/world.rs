//! Hosts that back up to one place.

use std::time::{Duration, SystemTime};

use ows_testkit::s3::{Clock, Server};

use crate::support::{BUCKET, World};

/// A server whose clock is moved on between two snapshots, which are told apart by their second.
pub fn server() -> Server {
    let clock = Clock::manual(SystemTime::now());
    Server::builder().bucket(BUCKET).clock(clock).start()
}

/// Two seconds later.
pub fn later(server: &Server) {
    server.access().clock().advance(Duration::from_secs(2));
}

/// A host with a few files, whose snapshots go to the folder `vault`; `more` are keys of `backup`.
pub fn to_folder(more: &str) -> World {
    let world = World::bare();
    let vault = world.path("vault");
    world.folder("vault");
    configure(
        &world,
        &format!(
            "provider: 'custom', custom: {{ type: 'local', options: {{ path: {vault:?} }} }}, remotePath: '', {more}"
        ),
    );
    fill(&world);
    world
}

/// The same with a bucket.
pub fn to_bucket(server: &Server, more: &str) -> World {
    let world = World::bare();
    configure(&world, &format!("{}, {more}", bucket(server)));
    fill(&world);
    world
}

/// The keys of `backup` for the server's bucket.
pub fn bucket(server: &Server) -> String {
    format!(
        "provider: 's3', prefix: 'snapshots', s3: {{ endpoint: '{}', bucket: '{BUCKET}', region: 'us-east-1', \
         accessKeyId: '{}', secretAccessKey: '{}' }}",
        server.endpoint(),
        server.access_key(),
        server.secret_key()
    )
}

pub fn configure(world: &World, keys: &str) {
    world.config(&format!("{{ backup: {{ enabled: true, {keys} }} }}"));
}

/// What is backed up: three files of the workspace, one of the state.
pub fn fill(world: &World) {
    world.write("workspace/notes/plan.md", "The plan.\n");
    world.write("workspace/readme.txt", "Read me.\n");
    world.write("workspace/memory/2026.md", "Remember.\n");
    world.write("state/openclaw.json", "{}\n");
    world.write("state/cron/jobs.json", "[]\n");
}

/// A new pair of keys: the recipient, with the identity in the home's `identity.txt`.
pub fn keygen(world: &World) -> String {
    let json = world.json(&["backup", "keygen", "--output", "identity.txt"]);
    json["recipient"].as_str().unwrap().to_owned()
}

/// Makes a snapshot and gives its name.
#[track_caller]
pub fn now(world: &World) -> String {
    let json = world.json(&["backup", "now"]);
    assert_eq!(json["exit_code"], 0, "{json:#}");
    json["snapshot"].as_str().unwrap().to_owned()
}
