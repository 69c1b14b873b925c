//! Through the real binary: what people type, what they read, what scripts get.
//!
//! Each test has a home, a state and a workspace of its own and inherits nothing from the environment. What is shown is
//! compared as a whole, with paths, times and ids replaced.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod backup;
mod bisync;
mod check;
mod conflicts;
mod daemon;
mod demo;
mod errors;
mod exit_codes;
mod guards;
mod help;
mod hostile;
mod import;
mod lease;
mod mirror;
mod overlap;
mod progress;
mod round;
mod schemas;
mod secrets;
mod session;
mod signals;
mod support;
mod switching;
mod trash;
mod why;
