//! Snapshots: a stream of tar, gzip and age that the ordinary tools open, an index of its paths, and a manifest that
//! makes it exist.
//!
//! # Map
//! - `block`: compresses one block of a gzip stream.
//! - [`catalog`]: what the folder of the snapshots holds.
//! - [`connect`]: from the configuration to what every command is told.
//! - [`entry`]: the words that both sides share: paths in an archive, entries, places, restart points.
//! - [`extract`]: unpacks an archive into a folder, and nowhere else, whatever it says.
//! - [`gzip`]: one gzip member, compressed on several threads, that can be entered at every MiB.
//! - [`heartbeat`]: tells a monitoring service how a backup goes.
//! - [`index`]: the paths of a snapshot, and where each lies; format 1.
//! - [`intents`]: removes what failed runs have left, and nothing else.
//! - [`legacy`]: decrypts the snapshots of the old plugin.
//! - [`manifest`]: what a snapshot is made of; format 1.
//! - [`name`]: the name of a snapshot and of each of its objects; what else lies beside them.
//! - [`pipeline`]: writes the data and the index of a snapshot into objects.
//! - [`retention`]: which snapshots stay, as a pure function.
//! - [`seal`]: seals with age, and opens again.
//! - [`settings`]: what every backup command is told.
//! - [`sink`]: where the blocking side puts its objects: parts of equal size, bounded memory.
//! - [`untar`]: reads a tar archive as if an enemy wrote it.
//!
//! Depends on `local`, `remote` and `ows_providers`; nothing here knows of sync.

pub mod archive;
mod block;
pub mod catalog;
pub mod connect;
pub mod database;
pub mod entry;
pub mod extract;
pub mod gzip;
pub mod heartbeat;
mod header;
pub mod index;
pub mod intents;
pub mod items;
pub mod legacy;
pub mod manifest;
pub mod name;
pub mod pipeline;
mod owners;
pub mod retention;
pub mod scan;
pub mod seal;
pub mod settings;
pub mod sink;
pub mod untar;
