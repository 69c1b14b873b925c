//! Snapshots: a stream of tar, gzip and age that the ordinary tools open, an index of its paths, and a manifest that
//! makes it exist.
//!
//! # Map
//! - [`entry`]: the words that both sides share: paths in an archive, entries, places, restart points.
//! - [`extract`]: unpacks an archive into a folder, and nowhere else, whatever it says.
//! - [`index`]: the paths of a snapshot, and where each lies; format 1.
//! - [`legacy`]: decrypts the snapshots of the old plugin.
//! - [`manifest`]: what a snapshot is made of; format 1.
//! - [`name`]: the name of a snapshot and of each of its objects; what else lies beside them.
//! - [`retention`]: which snapshots stay, as a pure function.
//! - [`untar`]: reads a tar archive as if an enemy wrote it.
//!
//! Depends on `local` and `ows_providers`; nothing here knows of sync.

pub mod archive;
pub mod database;
pub mod entry;
pub mod extract;
mod header;
pub mod index;
pub mod items;
pub mod legacy;
pub mod manifest;
pub mod name;
mod owners;
pub mod retention;
pub mod scan;
pub mod untar;
