//! Where the blocking side of a backup puts its objects.
//!
//! Tar, gzip and age write into a [`Write`] on their own threads; what carries it to a provider is not their business.

use std::io::{self, Write};

/// Makes objects.
pub trait ObjectSink: Send + Sync {
    /// Begins the object of this name below the folder of the snapshots. Several may be open at once.
    ///
    /// # Errors
    /// When it cannot be begun. Some sinks find out only while it is written.
    fn create(&self, name: &str) -> io::Result<Box<dyn ObjectWriter>>;
}

/// An object that is being written. Nothing of it is visible before [`ObjectWriter::finish`] has come back without an
/// error; one that is dropped before never becomes visible.
pub trait ObjectWriter: Write + Send {
    /// Makes the object visible, unless one of its name is there.
    ///
    /// # Errors
    /// When it could not be stored whole. Then it does not count as stored, whatever the provider shows.
    fn finish(self: Box<Self>) -> io::Result<()>;
}
