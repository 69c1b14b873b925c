//! The S3 adapter against a real S3 server with scripted faults and counted calls.

#![expect(
    clippy::unwrap_used,
    reason = "what is unexpected fails the test, in helpers as well"
)]

#[path = "../s3_setup/mod.rs"]
mod setup;

mod counting;
mod faults;
mod segments;
