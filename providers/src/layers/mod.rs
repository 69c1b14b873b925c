//! Layers: each wraps a [`Provider`](crate::Provider) in a `Provider` and does one thing. Adapters stay free of them.
//!
//! [`stack()`] puts them together and shows the order. What belongs to one kind of store (its signatures, its error codes,
//! its pages) belongs into the adapter; what every store needs belongs here.

mod bandwidth;
mod count;
mod faults;
mod limit;
pub mod retry;
mod stack;

pub use bandwidth::{Bandwidth, BandwidthOptions, Pacer};
pub use count::{CallCounter, CallCounts, Count, Counting};
pub use faults::{Fault, FaultSet, Faults, Moment};
pub use limit::{Limit, LimitOptions};
pub use retry::{LastFailure, Retry, RetryOptions, RetryPolicy};
pub use stack::{StackOptions, stack};
