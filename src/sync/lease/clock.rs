//! The host's clocks, which a test can replace.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// Both clocks of this host at one moment. The wall clock goes on while the host is suspended, and may be set; the other
/// one is never set, and on Linux stands still while the host is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: DateTime<Utc>,
    /// The clock that only goes forward, from any beginning.
    pub steady: Duration,
}

impl Reading {
    /// The longest time that may have passed since `earlier`. A wall clock that was set, in either direction, counts as
    /// the time that it jumped over: nobody knows how long that took.
    pub fn age_of(&self, earlier: &Self) -> Duration {
        let steady = self.steady.saturating_sub(earlier.steady);
        let wall = (self.wall - earlier.wall)
            .abs()
            .to_std()
            .unwrap_or_default();
        steady.max(wall)
    }
}

/// Where a run reads the time of its own host.
#[derive(Clone)]
pub struct HostClock(Arc<dyn Fn() -> Reading + Send + Sync>);

impl HostClock {
    /// A clock that reads what `read` says.
    pub fn new(read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// What the clocks say now.
    pub fn read(&self) -> Reading {
        (self.0)()
    }
}

impl Default for HostClock {
    fn default() -> Self {
        let start = Instant::now();
        Self::new(move || Reading {
            wall: Utc::now(),
            steady: start.elapsed(),
        })
    }
}

impl fmt::Debug for HostClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HostClock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, steady: u64) -> Reading {
        Reading {
            wall: DateTime::from_timestamp(wall, 0).unwrap(),
            steady: Duration::from_secs(steady),
        }
    }

    #[test]
    fn a_suspended_host_and_a_set_clock_both_count_as_time() {
        let earlier = at(1000, 10);
        assert_eq!(at(1005, 15).age_of(&earlier), Duration::from_secs(5));
        assert_eq!(at(4600, 10).age_of(&earlier), Duration::from_secs(3600));
        assert_eq!(at(900, 11).age_of(&earlier), Duration::from_secs(100));
        assert_eq!(at(1000, 70).age_of(&earlier), Duration::from_secs(60));
    }
}
