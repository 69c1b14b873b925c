//! Guard `overlap`: what the configuration alone does not show.

use insta::assert_snapshot;

use crate::support::World;

fn config(world: &World, remote: &str, more: &str) {
    let cloud = world.path(remote);
    world.config(&format!(
        "{{ sync: {{ provider: 'custom', custom: {{ type: 'local', options: {{ path: {cloud:?} }} }}, mode: 'mailbox', \
         remotePath: '', {more} }} }}"
    ));
}

#[test]
fn a_folder_inside_that_of_another_pair_stops_until_it_is_forced() {
    let world = World::bare();
    world.write("workspace/a.md", "a");
    world.write("workspace/inner/b.md", "b");
    config(&world, "cloud", "");
    world.ok(&["sync"]);
    config(&world, "other", "localPath: 'inner'");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r"
    exit code: 4
    --- stderr
    error: stopped by the guard `overlap`: the local folder `[ROOT]/workspace/inner` lies in `[ROOT]/workspace`, which is synced itself (it holds `.ows/replica`)
    hint: if that folder is no longer synced, remove `[ROOT]/workspace/.ows/replica`; if both are meant: `ows sync --force overlap`, and exclude the inner folder from the outer pair; nothing was changed
    ");
    assert_eq!(
        world.json(&["sync", "--dry-run"])["guard"]["name"],
        "overlap"
    );
    assert!(!world.path("other/b.md").exists());
    world.ok(&["sync", "--force", "overlap"]);
    assert!(world.path("other/b.md").exists());
    // From the other side it is the same.
    config(&world, "cloud", "");
    assert_snapshot!(world.ows(&["sync"]).shown(), @r"
    exit code: 4
    --- stderr
    error: stopped by the guard `overlap`: the local folder `[ROOT]/workspace` lies around `[ROOT]/workspace/inner`, which is synced with [ROOT]/other
    hint: if that pair is no longer synced, remove `[ROOT]/workspace/inner/.ows/replica`; if both are meant: `ows sync --force overlap`, and exclude the inner folder from the outer pair; nothing was changed
    ");
    // A folder that is no longer synced is in nobody's way.
    world.remove("workspace/inner/.ows/replica");
    world.ok(&["sync"]);
}

#[test]
fn a_pair_that_moved_to_another_remote_overlaps_with_nothing() {
    let world = World::bare();
    world.write("workspace/a.md", "a");
    config(&world, "cloud", "");
    world.ok(&["sync"]);
    config(&world, "other", "");
    world.ok(&["sync"]);
    assert!(world.path("other/a.md").exists());
}

#[test]
fn a_remote_that_touches_the_folder_of_ows_is_refused() {
    let world = World::bare();
    world.write("workspace/a.md", "a");
    for (remote, how) in [
        ("state", "lies around"),
        ("state/ows", "is"),
        ("state/ows/cloud", "lies in"),
    ] {
        config(&world, remote, "");
        let before = world.everything("state");
        let run = world.ows(&["sync", "--force", "overlap"]).shown();
        assert!(run.contains("exit code: 2"), "{run}");
        assert!(run.contains(&format!("{how} the folder of `ows`")), "{run}");
        let after = world.everything("state");
        assert!(before.iter().all(|path| after.contains(path)), "{after:?}");
    }
}
