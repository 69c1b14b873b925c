//! Servers and helpers for the tests and benches.
