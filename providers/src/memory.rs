//! A store in memory that can behave like any real one.
//!
//! The engine's tests run over it: [`MemoryOptions`] has a knob for each way in which stores differ, and presets for
//! their kinds. A [`MemoryStore`] is the remote itself: it is cloned by everyone who has a hand in it, the hosts through
//! their [`MemoryProvider`]s and the test directly. Nothing in it is random and its clock stands still until it is
//! moved, so that the same calls always give the same answers.
//!
//! Each call of the trait is one step that nothing interrupts; before it the task yields once, so that tasks of one
//! thread take turns.

mod moves;
mod options;
mod probe;
mod provider;
mod state;
mod store;
mod uploads;

pub use options::{Alteration, MemoryOptions, VersionStyle};
pub use provider::MemoryProvider;
pub use store::{Logged, MemoryStore};

#[cfg(test)]
mod tests;
