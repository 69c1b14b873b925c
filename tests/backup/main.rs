//! Backups, through the library: real snapshots in a store in memory, in a folder, or behind a real S3 server.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is a test: what goes wrong fails it"
)]

mod catalog;
mod database;
mod sink;
mod store;
mod tree;
