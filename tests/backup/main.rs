//! Backups through the public functions of the library.

mod gzip;
