//! Backups, through the library: real snapshots in a store in memory, in a folder, or behind a real S3 server.

#![expect(
    clippy::unwrap_used,
    reason = "this is a test: what goes wrong fails it"
)]

mod archives;
mod catalog;
mod database;
mod drill;
mod faults;
mod gzip;
mod heads;
mod now;
mod pipeline;
mod prune;
mod ranged;
mod reading_faults;
mod recover;
mod restore;
mod roundtrip;
mod seal;
mod shelf;
mod sink;
mod status;
mod store;
mod tampering;
mod tree;
mod verify;
