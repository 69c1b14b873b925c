//! Snapshots: a stream of tar, gzip and age that the ordinary tools open, an index of its paths, and a manifest that
//! makes it exist.
//!
//! # Map
//! - `ahead`: reads ahead on a thread of its own.
//! - [`archive`]: writes what a scan finds as tar, never corrupt whatever the files do.
//! - `block`: compresses one block of a gzip stream.
//! - [`catalog`]: what the folder of the snapshots holds.
//! - [`choose`]: which snapshot a command is about.
//! - [`connect`]: from the configuration to what every command is told.
//! - [`contents`]: what a snapshot holds.
//! - [`database`]: consistent copies of SQLite databases that others write to.
//! - [`drill`]: restores for practice, and cleans up.
//! - [`entry`]: the words that both sides share: paths in an archive, entries, places, restart points.
//! - [`extract`]: unpacks an archive into a folder, and nowhere else, whatever it says.
//! - [`gzip`]: one gzip member, compressed on several threads, that can be entered at every MiB.
//! - `header`: the headers of a tar member.
//! - [`heartbeat`]: tells a monitoring service how a backup goes.
//! - `impaired`: files that were not whole when the snapshot was made.
//! - [`index`]: the paths of a snapshot, and where each lies; format 1.
//! - [`intents`]: removes what failed runs have left, and nothing else.
//! - [`items`]: the items of the configuration as files and folders.
//! - [`legacy`]: decrypts the snapshots of the old plugin.
//! - [`lock`]: one command that changes backups at a time.
//! - [`manifest`]: what a snapshot is made of; format 1.
//! - [`name`]: the name of a snapshot and of each of its objects; what else lies beside them.
//! - [`now`](mod@now): makes a snapshot, readable from top to bottom.
//! - `owners`: names of owners and groups.
//! - [`pick`]: a few paths of a snapshot, by ranges.
//! - [`pipeline`]: writes the data and the index of a snapshot into objects.
//! - [`proving`]: commands that prove something, and what is remembered of it.
//! - [`prune`]: removes the snapshots that no rule keeps.
//! - [`ranged`]: reads an object of the provider from a blocking thread, anywhere in it.
//! - [`recover`]: how to restore without `ows`.
//! - [`restore`]: a snapshot, or some paths of it, into a folder.
//! - [`retention`]: which snapshots stay, as a pure function.
//! - [`scan`]: walks the items: what is there, in a fixed order.
//! - [`seal`]: seals with age, and opens again.
//! - [`settings`]: what every backup command is told.
//! - [`sink`]: where the blocking side puts its objects: parts of equal size, bounded memory.
//! - [`source`]: the snapshot that is read, its keys, and the layers over its objects.
//! - [`spelling`]: how paths are shown, and read back from what is typed.
//! - [`status`]: how backups stand.
//! - `target`: the folder that is restored into.
//! - [`untar`]: reads a tar archive as if an enemy wrote it.
//! - [`verify`]: proves that snapshots are whole, as deeply as asked.
//!
//! Depends on `local`, `remote` and `ows_providers`; nothing here knows of sync.

mod ahead;
pub mod archive;
mod block;
pub mod catalog;
pub mod choose;
pub mod connect;
pub mod contents;
pub mod database;
pub mod drill;
pub mod entry;
pub mod extract;
pub mod gzip;
mod header;
pub mod heartbeat;
mod impaired;
pub mod index;
pub mod intents;
pub mod items;
pub mod legacy;
pub mod lock;
pub mod manifest;
pub mod name;
pub mod now;
mod owners;
pub mod pick;
pub mod pipeline;
pub mod proving;
pub mod prune;
pub mod ranged;
pub mod recover;
pub mod restore;
pub mod retention;
mod run;
pub mod scan;
pub mod seal;
pub mod settings;
pub mod sink;
pub mod source;
pub mod spelling;
pub mod status;
mod target;
mod unlisted;
pub mod untar;
pub mod verify;
