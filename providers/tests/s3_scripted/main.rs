//! The S3 adapter against scripted answers: everything that a store, a proxy or a bad line can answer, one at a time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod probe;
mod support;
