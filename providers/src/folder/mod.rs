//! Files and folders below one root, reached so that nothing outside it can be touched.
//!
//! Everything goes through a folder handle ([`cap_std::fs::Dir`]) and one name at a time, and no symbolic link is ever
//! followed on the way: whoever swaps a folder for a link while a run is under way gets an error, not a write somewhere
//! else. Used by the adapter for a folder as remote ([`crate::local`]) and by the local side of a pair in the crate `ows`.
//!
//! - [`Root`] is the handle and finds folders and files below it.
//! - [`Walk`] reads a tree in the order of [`crate::SortKey`].
//! - [`Temp`] is a file that is written aside and then put in place, whole and durable.
//! - [`LinkScope`] resolves symbolic links that stay inside a workspace, for those who ask for it.
//! - [`name`] holds the calls on one name in one folder.
//!
//! All functions block. What to make of what is seen is left to the callers.

mod links;
pub mod name;
mod root;
mod stat;
mod temp;
mod walk;

pub use links::{LinkProblem, LinkScope, Resolved};
pub use root::{Root, is_link_error};
pub use stat::{Identity, Kind, Stat, now_ns};
pub use temp::{MODE_PROBE, Ownership, Temp, default_mode};
pub use walk::{Found, SkipFn, Step, Walk, WalkOptions, children};

#[cfg(test)]
pub(crate) mod tests;
