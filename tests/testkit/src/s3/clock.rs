//! The server's clock: what it stamps on objects and sends as `Date`.
//!
//! Signatures are checked against the real time whatever this clock says, since clients sign with theirs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A clock that follows the system's or stands still until a test moves it. Clones share the time.
#[derive(Clone)]
pub struct Clock(Option<Arc<Mutex<SystemTime>>>);

impl Clock {
    /// The system's time.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// Stands at `start` until it is moved.
    #[must_use]
    pub fn manual(start: SystemTime) -> Self {
        Self(Some(Arc::new(Mutex::new(start))))
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            None => SystemTime::now(),
            Some(time) => *time.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    /// On the system's clock.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    /// Sets a manual clock, backwards as well.
    ///
    /// # Panics
    /// On the system's clock.
    pub fn set(&self, to: SystemTime) {
        let time = self.0.as_ref().expect("only a manual clock can be set");
        *time.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    pub(crate) fn is_system(&self) -> bool {
        self.0.is_none()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Clock::system"),
            Some(_) => write!(f, "Clock::manual({:?})", self.now()),
        }
    }
}
