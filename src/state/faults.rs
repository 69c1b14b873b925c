//! Failures on request, for tests: every call to the database can be made to fail, by its name, before it did anything
//! or after it was committed. Outside tests the cost is one look at an empty option.

use std::sync::Arc;

use super::StateError;

/// When a requested failure strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// Before the call did anything.
    Before,
    /// After the call was committed: the caller hears of a failure all the same, as when a process dies between the
    /// commit and its answer. Calls that only read have no such moment.
    After,
}

/// Decides whether a call fails: gets its name (that of the method; `base_batch` for a batch of a
/// [`super::BaseWriter`], `open`) and the moment. It may count, and may panic to end a test.
pub type Faults = Arc<dyn Fn(&'static str, FaultPoint) -> bool + Send + Sync>;

/// [`Faults`] as part of options that can be shown.
#[derive(Clone)]
pub struct StateFaults(pub Faults);

impl std::fmt::Debug for StateFaults {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("StateFaults")
    }
}

/// Asks `faults`, when there are any.
pub(super) fn check(
    faults: Option<&Faults>,
    call: &'static str,
    point: FaultPoint,
) -> Result<(), StateError> {
    match faults {
        Some(fails) if fails(call, point) => Err(StateError::Injected { call }),
        _ => Ok(()),
    }
}
