//! The `ows` command.
fn main() {}
