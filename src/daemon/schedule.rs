//! When the next run starts. Pure: times come in as durations since the daemon's start, chance as a number from 0 to 1.

use std::time::Duration;

use crate::error::FailureKind;

/// The first run after the start, and after a new configuration: soon, but not while the container still comes up.
pub const FIRST: Duration = Duration::from_secs(5);

/// The first backup after the start comes no sooner than this: a container that dies at once and again must not fill the
/// storage.
pub const FIRST_BACKUP: Duration = Duration::from_secs(30);

/// The pause after the first failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(60);

/// Where doubling ends, unless the interval is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(15 * 60);

/// So long at least after a run that took longer than the interval.
const BREATH: Duration = Duration::from_secs(5);

/// By how much of a pause chance lengthens it, so that many hosts do not call at the same moment.
const JITTER: f64 = 0.1;

/// How a run ended, as far as the next one is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did what it could, or somebody else was doing it, or a person must decide: the next comes after the interval.
    Well,
    /// It failed: the next comes after a pause that grows.
    Failed,
}

impl Ended {
    /// What a run's failure means for the next one.
    pub fn of(failure: Option<FailureKind>) -> Self {
        match failure {
            // Another run does the work at this moment. A guard asks for a person, who is in no hurry. Files that were
            // left alone will be looked at again.
            None | Some(FailureKind::Busy | FailureKind::Guard | FailureKind::Partial) => {
                Self::Well
            }
            Some(_) => Self::Failed,
        }
    }
}

/// Says when the next run is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    interval: Option<Duration>,
    next: Option<Duration>,
    failures: u32,
}

impl Schedule {
    /// From `now` on; without an interval nothing is ever due.
    pub fn starting(now: Duration, interval: Option<Duration>) -> Self {
        Self::first_after(now, FIRST, interval)
    }

    /// The same, with another pause before the first run.
    pub fn first_after(now: Duration, pause: Duration, interval: Option<Duration>) -> Self {
        Self {
            interval,
            next: interval.map(|_| now + pause),
            failures: 0,
        }
    }

    /// When the next run starts; `None` for never.
    pub fn due(&self) -> Option<Duration> {
        self.next
    }

    /// How many runs have failed one after the other.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A run is over. `chance` is a random number from 0 to 1.
    pub fn ran(&mut self, started: Duration, ended: Duration, how: Ended, chance: f64) {
        let Some(interval) = self.interval else {
            return;
        };
        let next = match how {
            Ended::Well => {
                self.failures = 0;
                (started + lengthened(interval, chance)).max(ended + BREATH)
            }
            Ended::Failed => {
                self.failures = self.failures.saturating_add(1);
                ended + lengthened(retry_after(interval, self.failures), chance)
            }
        };
        self.next = Some(next);
    }
}

/// The pause before the first backup, or the first verification, of a daemon: until the last one is as old as the
/// interval. `age` is how old it is; `None` without one.
pub fn pause_before_first(interval: Duration, age: Option<Duration>) -> Duration {
    let left = age.map_or(Duration::ZERO, |age| interval.saturating_sub(age));
    left.max(FIRST_BACKUP)
}

/// The pause after so many failures in a row.
fn retry_after(interval: Duration, failures: u32) -> Duration {
    let longest = LONGEST_RETRY.max(interval);
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_RETRY.saturating_mul(doubled).min(longest)
}

fn lengthened(pause: Duration, chance: f64) -> Duration {
    pause.saturating_add(pause.mul_f64(JITTER * chance.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_run_is_soon_and_the_others_follow_at_the_interval() {
        let mut schedule = Schedule::starting(at(100), Some(at(300)));
        assert_eq!(schedule.due(), Some(at(105)));
        schedule.ran(at(105), at(110), Ended::Well, 0.0);
        assert_eq!(
            schedule.due(),
            Some(at(405)),
            "counted from the start of a run, or they would drift"
        );
        schedule.ran(at(405), at(406), Ended::Well, 0.0);
        assert_eq!(schedule.due(), Some(at(705)));
    }

    #[test]
    fn a_run_longer_than_the_interval_is_followed_after_a_breath() {
        let mut schedule = Schedule::starting(at(0), Some(MINUTE));
        schedule.ran(at(5), at(500), Ended::Well, 1.0);
        assert_eq!(schedule.due(), Some(at(505)));
    }

    #[test]
    fn without_an_interval_nothing_is_ever_due() {
        let mut schedule = Schedule::starting(at(0), None);
        assert_eq!(schedule.due(), None);
        schedule.ran(at(0), at(1), Ended::Failed, 0.5);
        assert_eq!(schedule.due(), None);
    }

    #[test]
    fn failures_double_the_pause_up_to_a_limit_and_success_ends_it() {
        let mut schedule = Schedule::starting(at(0), Some(at(300)));
        let mut now = at(5);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            schedule.ran(now, now, Ended::Failed, 0.0);
            pauses.push((schedule.due().unwrap() - now).as_secs());
            now = schedule.due().unwrap();
        }
        assert_eq!(pauses, [60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(schedule.failures(), 7);
        schedule.ran(now, now, Ended::Well, 0.0);
        assert_eq!(schedule.due(), Some(now + at(300)));
        assert_eq!(schedule.failures(), 0);
    }

    #[test]
    fn a_daily_run_that_fails_is_tried_again_the_same_hour_and_never_later_than_a_day() {
        let day = at(86_400);
        let mut schedule = Schedule::starting(at(0), Some(day));
        schedule.ran(at(5), at(6), Ended::Failed, 0.0);
        assert_eq!(schedule.due(), Some(at(66)));
        for _ in 0..100 {
            schedule.ran(at(5), at(6), Ended::Failed, 0.0);
        }
        assert_eq!(schedule.due(), Some(at(6) + day));
    }

    #[test]
    fn chance_only_lengthens_a_pause_and_by_a_tenth_at_most() {
        for (chance, pause) in [
            (0.0, 1000),
            (0.5, 1050),
            (1.0, 1100),
            (7.0, 1100),
            (-1.0, 1000),
        ] {
            let mut schedule = Schedule::starting(at(0), Some(at(1000)));
            schedule.ran(at(5), at(6), Ended::Well, chance);
            assert_eq!(schedule.due(), Some(at(5 + pause)), "{chance}");
        }
    }

    #[test]
    fn the_first_backup_comes_when_the_last_one_is_due_and_never_at_once() {
        let day = at(86_400);
        for (age, pause) in [
            (None, 30),
            (Some(at(0)), 86_400),
            (Some(at(86_300)), 100),
            (Some(at(86_390)), 30),
            (Some(at(9_000_000)), 30),
        ] {
            assert_eq!(pause_before_first(day, age), at(pause), "{age:?}");
        }
        let mut schedule = Schedule::first_after(at(7), at(100), Some(day));
        assert_eq!(schedule.due(), Some(at(107)));
        schedule.ran(at(107), at(200), Ended::Well, 0.0);
        assert_eq!(schedule.due(), Some(at(107) + day));
        assert_eq!(
            Schedule::first_after(at(7), at(100), None).due(),
            None,
            "nothing is due without an interval"
        );
    }

    #[test]
    fn only_what_a_later_run_may_mend_counts_as_a_failure() {
        for well in [
            None,
            Some(FailureKind::Busy),
            Some(FailureKind::Guard),
            Some(FailureKind::Partial),
        ] {
            assert_eq!(Ended::of(well), Ended::Well, "{well:?}");
        }
        for failed in [
            FailureKind::Failed,
            FailureKind::Usage,
            FailureKind::Unauthorized,
            FailureKind::TimedOut,
        ] {
            assert_eq!(Ended::of(Some(failed)), Ended::Failed, "{failed:?}");
        }
    }
}
