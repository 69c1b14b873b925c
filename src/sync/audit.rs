//! The rolling audit: files that look unchanged are read again, so that each is within `auditDays`.
//!
//! A file whose size, times and inode are those of the base counts as unchanged without being read. A disk that went bad,
//! or a program that sets times, can change it all the same. So each run reads a slice of the base's files again, in the
//! order of their names and round in circles, and compares BLAKE3. What differs is handled as a local change.
//!
//! **How large a slice is** follows from the time that has passed: a share of `elapsed / auditDays` of all files, at most
//! once an hour. Time that was not covered yet is caught up with a day's share an hour, never more at once: a clock that
//! jumps ahead by a year, or a host that slept for a month, starts a full round of some hours and not a run that reads
//! everything. A clock that was set back begins the hour anew.
//!
//! **What was read counts** when the run has come to its end. A run that was killed or failed reads the same slice again;
//! so does one that found a difference and could not sync all paths. A dry run records nothing.
//!
//! Providers that list everything in each run (S3, folders) need no audit of their listing.

use chrono::{DateTime, TimeDelta, Utc};
use ows_providers::{EntryKind, SortKey};
use serde::{Deserialize, Serialize};

use super::run::{Opened, Run};
use crate::error::{Failure, FailureKind, Outcome};
use crate::plan::{Plan, Triple};

/// The value of the pair that holds [`Progress`].
const AUDIT: &str = "audit";

/// Slices are no closer together than this.
const EVERY: TimeDelta = TimeDelta::hours(1);

/// However long ago the last one was, a slice covers no more than this.
const MOST: TimeDelta = TimeDelta::days(1);

/// Files of one slice: they are kept in memory until they were read.
const MOST_FILES: u64 = 50_000;

/// How far the audit has come, by the clock of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The time up to which slices were read.
    at: DateTime<Utc>,
    /// When the last slice was read.
    done_at: DateTime<Utc>,
    /// The last file of it, as a key of the base.
    after: String,
}

/// What is to be read now.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    Nothing,
    /// Time begins to count now: it is the first run, or the clock was set back.
    Begin,
    /// So many files, which cover the time up to `at`.
    Files {
        count: u64,
        at: DateTime<Utc>,
    },
}

/// A part of the base's files: those behind `after` up to and including `upto`, round the end where `wraps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    after: String,
    upto: String,
    wraps: bool,
}

/// What a pass audits, and what is to be remembered when it has ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Audit {
    slice: Option<Slice>,
    next: Option<Progress>,
    found: u64,
}

impl Slice {
    fn holds(&self, key: &SortKey) -> bool {
        if key.kind != EntryKind::File {
            return false;
        }
        let text = key.to_text();
        let (behind, before) = (text > self.after, text <= self.upto);
        if self.wraps {
            behind || before
        } else {
            behind && before
        }
    }
}

impl Audit {
    /// Whether the file of a triple is to be read although it looks unchanged.
    pub(super) fn asks_for(&self, triple: &Triple) -> bool {
        let (Some(slice), Some(base)) = (&self.slice, &triple.base) else {
            return false;
        };
        base.local.blake3.is_some() && triple.local.is_some() && slice.holds(&triple.key)
    }

    /// Counts the files of the slice that are other ones than they look.
    pub(super) fn look_at(&mut self, plan: &Plan) {
        let Some(slice) = &self.slice else {
            return;
        };
        let differs =
            |action: &&crate::plan::Action| action.changed.unseen && slice.holds(&action.key);
        self.found = plan.actions().filter(differs).count() as u64;
        if self.found > 0 {
            tracing::warn!(
                files = self.found,
                "files have other content than when they were synced, and their times do not show it"
            );
        }
    }
}

/// What is due at `now` of a base of so many files. Pure.
fn due(progress: Option<&Progress>, now: DateTime<Utc>, days: u32, files: u64) -> Due {
    let Some(progress) = progress else {
        return Due::Begin;
    };
    if now < progress.at || now < progress.done_at {
        return Due::Begin;
    }
    if files == 0 || now - progress.done_at < EVERY {
        return Due::Nothing;
    }
    let round = TimeDelta::days(i64::from(days.max(1)));
    let missed = (now - progress.at).min(round);
    let (covers, round) = (millis(missed.min(MOST)), millis(round));
    let wanted = (u128::from(files) * covers).div_ceil(round);
    let count = wanted.clamp(1, u128::from(MOST_FILES.min(files)));
    // A slice that was cut covers less of the time; one that was rounded up does not cover more.
    let covered = covers.min(covers * count / wanted.max(1));
    let at = now - missed + TimeDelta::milliseconds(i64::try_from(covered).unwrap_or_default());
    Due::Files {
        count: u64::try_from(count).unwrap_or(MOST_FILES),
        at,
    }
}

fn millis(time: TimeDelta) -> u128 {
    u128::try_from(time.num_milliseconds()).unwrap_or_default()
}

impl Run<'_> {
    /// What this pass is to audit.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) async fn audit(&self, opened: &Opened) -> Outcome<Audit> {
        let Some(days) = self.settings.audit_days.filter(|days| *days > 0) else {
            return Ok(Audit::default());
        };
        let (state, pair) = (&opened.state, &opened.pair.id);
        let stored = state.get_value(pair, AUDIT).await?;
        // What cannot be read is as good as nothing: the time begins anew.
        let progress: Option<Progress> = stored.and_then(|text| serde_json::from_str(&text).ok());
        let now = self.options.clock.read().wall;
        let after = progress
            .as_ref()
            .map_or_else(String::new, |progress| progress.after.clone());
        let files = match &progress {
            None => 0,
            Some(progress) if now - progress.done_at < EVERY => 0,
            Some(_) => state.base_totals(pair).await?.files,
        };
        let next = |at, after| Progress {
            at,
            done_at: now,
            after,
        };
        Ok(match due(progress.as_ref(), now, days, files) {
            Due::Nothing => Audit::default(),
            Due::Begin => Audit {
                next: Some(next(now, after)),
                ..Audit::default()
            },
            Due::Files { count, at } => {
                let slice = slice(opened, after, count).await?;
                let next = slice.as_ref().map(|slice| next(at, slice.upto.clone()));
                Audit {
                    slice,
                    next,
                    found: 0,
                }
            }
        })
    }

    /// Remembers that the slice was read, when the run came to its end: in full, or without paths among which what was
    /// found may be.
    ///
    /// # Errors
    /// When the database cannot be changed.
    pub(super) async fn audited(
        &self,
        opened: &Opened,
        audit: &Audit,
        applied: &Outcome<()>,
    ) -> Outcome<()> {
        let Some(next) = &audit.next else {
            return Ok(());
        };
        let counts = match applied {
            Ok(()) => true,
            Err(failure) => failure.kind == FailureKind::Partial && audit.found == 0,
        };
        if !counts {
            return Ok(());
        }
        let text = serde_json::to_string(next).map_err(|error| {
            Failure::failed("how far the audit has come could not be recorded").with_source(error)
        })?;
        Ok(opened
            .state
            .set_value(&opened.pair.id, AUDIT, &text)
            .await?)
    }
}

/// The next `count` files behind `after`. `None` for an empty base.
async fn slice(opened: &Opened, after: String, count: u64) -> Outcome<Option<Slice>> {
    let (state, pair) = (&opened.state, &opened.pair.id);
    let behind = state.base_files_after(pair, &after).await?;
    let (from, place, wraps) = if count <= behind {
        (after.as_str(), count, false)
    } else {
        ("", count - behind, true)
    };
    let upto = state.base_file_after(pair, from, place).await?;
    Ok(upto.map(|upto| Slice { after, upto, wraps }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + hours * 3600, 0).unwrap()
    }

    fn progress(covered: i64, done: i64) -> Progress {
        Progress {
            at: at(covered),
            done_at: at(done),
            after: String::new(),
        }
    }

    fn files(due: &Due) -> u64 {
        match due {
            Due::Files { count, .. } => *count,
            _ => 0,
        }
    }

    #[test]
    fn a_slice_is_the_share_of_the_time_that_has_passed() {
        let due = |hours, days, files| due(Some(&progress(0, 0)), at(hours), days, files);
        assert_eq!(due(0, 7, 1000), Due::Nothing, "not yet an hour");
        assert_eq!(files(&due(1, 7, 1680)), 10);
        assert_eq!(files(&due(1, 7, 3)), 1, "at least one");
        assert_eq!(files(&due(24, 7, 1000)), 143);
        assert_eq!(files(&due(24, 1, 1000)), 1000);
        assert_eq!(due(24, 7, 0), Due::Nothing);
    }

    #[test]
    fn a_long_pause_is_caught_up_by_a_day_each_hour() {
        let mut state = progress(0, 0);
        let mut counts = Vec::new();
        for hour in 24 * 365..24 * 365 + 20 {
            let due = due(Some(&state), at(hour), 7, 7000);
            counts.push(files(&due));
            if let Due::Files { at: covered, .. } = due {
                state = Progress {
                    at: covered,
                    done_at: at(hour),
                    after: String::new(),
                };
            }
        }
        assert!(counts.iter().all(|count| *count <= 1000), "{counts:?}");
        assert!(counts.iter().take(8).sum::<u64>() >= 7000, "{counts:?}");
        assert_eq!(counts.last(), Some(&42), "an hour's share again");
    }

    #[test]
    fn a_clock_that_jumps_never_makes_a_run_read_everything() {
        let mut state: Option<Progress> = None;
        for jump in [0, 5, -4000, 100_000, 1, 1, -1, 100_000, -200_000, 3, 1] {
            let hour = state
                .as_ref()
                .map_or(0, |state| (state.done_at - at(0)).num_hours())
                + jump;
            let due = due(state.as_ref(), at(hour), 7, 7000);
            assert!(files(&due) <= 1000, "{due:?}");
            let covered = match due {
                Due::Nothing => continue,
                Due::Begin => at(hour),
                Due::Files { at, .. } => at,
            };
            state = Some(Progress {
                at: covered,
                done_at: at(hour),
                after: String::new(),
            });
        }
    }

    #[test]
    fn whoever_runs_each_hour_has_read_everything_in_time() {
        for (days, total) in [(1, 10), (7, 1), (7, 1000), (30, 12_345), (7, 20_000_000)] {
            let mut state = progress(0, 0);
            let mut read = 0;
            for hour in 1..=i64::from(days) * 24 {
                let Due::Files { count, at: covered } = due(Some(&state), at(hour), days, total)
                else {
                    panic!("nothing is due at hour {hour}");
                };
                assert!(count <= MOST_FILES);
                read += count;
                state = Progress {
                    at: covered,
                    done_at: at(hour),
                    after: String::new(),
                };
            }
            // More than a slice may hold is read as fast as slices allow.
            let most = MOST_FILES * u64::from(days) * 24;
            assert!(read >= total.min(most), "{days} {total}: {read}");
        }
    }

    #[test]
    fn a_slice_goes_round_the_end() {
        let file = |name: &str| SortKey::file(ows_providers::RelPath::new(name).unwrap());
        let slice = Slice {
            after: "m".to_owned(),
            upto: "c".to_owned(),
            wraps: true,
        };
        let held: Vec<&str> = ["a", "c", "d", "m", "n"]
            .into_iter()
            .filter(|name| slice.holds(&file(name)))
            .collect();
        assert_eq!(held, ["a", "c", "n"]);
        let straight = Slice {
            wraps: false,
            after: "c".to_owned(),
            upto: "m".to_owned(),
        };
        assert!(straight.holds(&file("d")) && straight.holds(&file("m")));
        assert!(!straight.holds(&file("c")) && !straight.holds(&file("n")));
    }
}
