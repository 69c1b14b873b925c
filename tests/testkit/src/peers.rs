//! Programs of others that tests stand beside.

use std::io::Write as _;
use std::path::PathBuf;

/// The program that `variable` names, or `name` in `PATH`; `None`, said aloud, when there is none.
///
/// # Panics
/// When there is none and `OWS_REQUIRE_PEERS=1`.
#[must_use]
pub fn find(variable: &str, name: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let in_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    };
    let found = named.or_else(in_path);
    if found.is_none() {
        let required = std::env::var("OWS_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "{name} is required and was not found: set {variable}"
        );
        writeln!(
            std::io::stderr(),
            "skipped: {name} was not found; set {variable}"
        )
        .expect("stderr is open");
    }
    found
}
