//! Snapshots: a stream of tar, gzip and age that the ordinary tools open, an index of its paths, and a manifest that
//! makes it exist.
//!
//! # Map
//! - `block`: compresses one block of a gzip stream.
//! - [`catalog`]: what the folder of the snapshots holds.
//! - [`contents`]: what a snapshot holds.
//! - [`entry`]: the words that both sides share: paths in an archive, entries, places, restart points.
//! - [`extract`]: unpacks an archive into a folder, and nowhere else, whatever it says.
//! - [`gzip`]: one gzip member, compressed on several threads, that can be entered at every MiB.
//! - [`index`]: the paths of a snapshot, and where each lies; format 1.
//! - [`legacy`]: decrypts the snapshots of the old plugin.
//! - [`manifest`]: what a snapshot is made of; format 1.
//! - [`name`]: the name of a snapshot and of each of its objects; what else lies beside them.
//! - [`pipeline`]: writes the data and the index of a snapshot into objects.
//! - [`pick`]: a few paths of a snapshot, by ranges.
//! - [`ranged`]: reads an object of the provider from a blocking thread, anywhere in it.
//! - [`restore`]: a snapshot, or some paths of it, into a folder.
//! - [`retention`]: which snapshots stay, as a pure function.
//! - [`seal`]: seals with age, and opens again.
//! - [`settings`]: what every backup command is told.
//! - [`sink`]: where the blocking side puts its objects.
//! - [`source`]: the snapshot that is read, its keys, and the layers over its objects.
//! - [`untar`]: reads a tar archive as if an enemy wrote it.
//!
//! Depends on `local` and `ows_providers`; nothing here knows of sync.

pub mod archive;
mod block;
pub mod catalog;
pub mod contents;
pub mod database;
pub mod entry;
pub mod extract;
pub mod gzip;
pub mod index;
pub mod items;
pub mod legacy;
pub mod manifest;
pub mod name;
pub mod pick;
pub mod pipeline;
pub mod ranged;
pub mod restore;
pub mod retention;
pub mod scan;
pub mod seal;
pub mod settings;
pub mod sink;
pub mod source;
pub mod untar;
