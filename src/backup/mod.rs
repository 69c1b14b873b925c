//! Snapshots: a stream of tar, gzip and age that the ordinary tools open, an index of its paths, and a manifest that
//! makes it exist.
//!
//! # Map
//! - [`entry`]: the words that both sides share: paths in an archive, entries, places, restart points.
//!
//! Depends on `local` and `ows_providers`; nothing here knows of sync.

pub mod entry;
