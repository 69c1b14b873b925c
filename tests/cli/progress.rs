//! Without a terminal there is no progress bar: nothing but the result, without a single control character.

use crate::support::{World, server};

#[test]
fn without_a_terminal_nothing_is_drawn() {
    let server = server();
    server
        .access()
        .set_quirks(|quirks| quirks.latency = std::time::Duration::from_millis(200));
    let world = World::with_s3(&server, "");
    world.write("workspace/a", "a".repeat(100_000));
    let ran = world.ok(&["sync"]);
    assert_eq!(ran.stderr, "");
    assert!(!ran.stdout.contains(['\u{1b}', '\r']), "{:?}", ran.stdout);
}
