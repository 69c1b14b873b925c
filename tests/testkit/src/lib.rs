//! Servers and helpers for the tests and benches of `ows`. Not published.
//!
//! * [`s3`]: a real S3 server over an in-memory store, with quirks, scripted faults and counts.
//! * `s3-server` (binary): the same for scripts and benches, with a side channel for counts.
//! * [`process`]: child processes that do not outlive a test.
//! * [`peers`]: programs of others, where they are installed.
//! * [`rclone`]: the options that the plugin gives it.
//! * [`tree`]: folders written from a list and compared as a whole; [`random`]: trees and edits from a seed.
//!
//! What stands here may panic when something goes wrong: it is a test that fails then.

pub mod peers;
pub mod process;
pub mod random;
pub mod rclone;
pub mod s3;
pub mod tree;
