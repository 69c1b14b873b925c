//! Backups, through the library: real snapshots in a store in memory, in a folder, or behind a real S3 server.

mod archives;
mod catalog;
mod database;
mod faults;
mod gzip;
mod ranged;
mod now;
mod pipeline;
mod prune;
mod shelf;
mod restore;
mod seal;
mod sink;
mod store;
mod tampering;
mod verify;
mod tree;
