//! types first
use std::io;
use std::path::Path;

/// The folder in our own one in which copies of databases are made.
#[derive(Debug)]
pub struct Spool {}

impl Spool {
    /// Opens it, creates it where it is missing, and removes what a killed run left there: one backup at a time uses it.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn open(own_dir: &Path) -> io::Result<Self> {
        let _ = own_dir;
        Ok(Self {})
    }
}
