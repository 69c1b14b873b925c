//! Which snapshots stay: restic's rules, as a pure function of the snapshots, the policy and one moment.
//!
//! - A rule such as `daily: 7` walks from the newest snapshot back and keeps the newest of each day until it has kept
//!   seven. Only days that have snapshots count. Days, hours, ISO weeks, months and years are those of UTC.
//! - `within` keeps everything that is not older than that, counted from the newest snapshot that is not in the future. A
//!   host that slept for a year loses nothing for it.
//! - Rules are OR-ed: what one rule keeps, stays.
//! - The newest snapshot always stays, and so does the one just made.
//! - A policy without any rule keeps everything.
//!
//! *Snapshots from the future* (a clock was wrong) always stay and take part in no rule: they fill no bucket, so they push
//! nothing out, and `within` is not counted from them. Restic lets them take the places of real ones.
//!
//! The caller hands over the snapshots of one profile, and decides which kinds it hands over: what is not in the list is
//! not in the answer, and so never removed.

use chrono::{DateTime, Datelike, Duration, Timelike, Utc};

/// How many snapshots each rule keeps. Zero: the rule is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest ones.
    pub last: u32,
    /// The newest of each of so many hours.
    pub hourly: u32,
    /// The newest of each of so many days.
    pub daily: u32,
    /// The newest of each of so many ISO weeks.
    pub weekly: u32,
    /// The newest of each of so many months.
    pub monthly: u32,
    /// The newest of each of so many years.
    pub yearly: u32,
    /// All that are not older than this. Zero or less: the rule is off.
    pub within: Option<Duration>,
}

impl Policy {
    /// The policy that keeps the newest `count`; zero keeps everything.
    pub fn last(count: u32) -> Self {
        Self {
            last: count,
            ..Self::default()
        }
    }

    /// Whether no rule is on, so that everything is kept.
    pub fn keeps_everything(&self) -> bool {
        let counts = [
            self.last,
            self.hourly,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ];
        counts.iter().all(|count| *count == 0) && self.window().is_none()
    }

    fn window(&self) -> Option<Duration> {
        self.within.filter(|within| *within > Duration::zero())
    }
}

/// Why a snapshot stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No rule is on: nothing is ever removed.
    NoRules,
    /// It was made by this very run.
    JustMade,
    /// It is the newest.
    Newest,
    /// Its time lies in the future: some clock is or was wrong.
    Future,
    /// The rule `last`.
    Last,
    /// The rule `hourly`.
    Hourly,
    /// The rule `daily`.
    Daily,
    /// The rule `weekly`.
    Weekly,
    /// The rule `monthly`.
    Monthly,
    /// The rule `yearly`.
    Yearly,
    /// The rule `within`.
    Within,
}

impl Reason {
    /// The reason in words, for the list of what is kept.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NoRules => "nothing is ever removed",
            Self::JustMade => "just made",
            Self::Newest => "newest",
            Self::Future => "its time lies in the future",
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::Within => "within",
        }
    }
}

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<T> {
    /// The snapshot.
    pub snapshot: T,
    /// Why it stays, in the order of [`Reason`]; without a reason it goes.
    pub reasons: Vec<Reason>,
}

impl<T> Verdict<T> {
    /// Whether it stays.
    pub fn stays(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// Decides about `snapshots`, each with its time, all of one profile. `now` is the provider's clock; what was taken later
/// is in the future. `just_made` stays whatever the rules say.
///
/// The answer holds each snapshot once, newest first. Of two with the same time the greater one counts as newer, so
/// that the order of a listing never decides.
pub fn decide<T: Ord + Clone>(
    snapshots: impl IntoIterator<Item = (DateTime<Utc>, T)>,
    policy: &Policy,
    now: DateTime<Utc>,
    just_made: Option<&T>,
) -> Vec<Verdict<T>> {
    let mut newest_first: Vec<_> = snapshots.into_iter().collect();
    newest_first.sort_by(|a, b| b.cmp(a));
    newest_first.dedup_by(|a, b| a.1 == b.1);
    // The newest of the present: the anchor of `within`, and the one that stays even when there is one in the future.
    let newest = newest_first.iter().position(|(at, _)| *at <= now);
    let since = newest
        .and_then(|index| newest_first.get(index))
        .zip(policy.window())
        .map(|((at, _), window)| {
            at.checked_sub_signed(window)
                .unwrap_or(DateTime::<Utc>::MIN_UTC)
        });
    let mut rules = Rules::new(policy);
    let everything = policy.keeps_everything();
    newest_first
        .into_iter()
        .enumerate()
        .map(|(index, (at, snapshot))| {
            let mut reasons = Vec::new();
            let mut keep = |when: bool, reason| {
                if when {
                    reasons.push(reason);
                }
            };
            keep(everything, Reason::NoRules);
            keep(just_made == Some(&snapshot), Reason::JustMade);
            keep(newest == Some(index), Reason::Newest);
            keep(at > now, Reason::Future);
            if at <= now {
                rules.apply(at, &mut reasons);
                if since.is_some_and(|since| at >= since) {
                    reasons.push(Reason::Within);
                }
            }
            Verdict { snapshot, reasons }
        })
        .collect()
}

/// The counting rules while they walk back in time.
struct Rules([Rule; 6]);

/// One rule: how many it may still keep, and the bucket it kept one of last.
struct Rule {
    reason: Reason,
    left: u32,
    bucket: fn(DateTime<Utc>) -> Option<Bucket>,
    last: Option<Bucket>,
}

/// Names a span of time: year, then what tells the span within the year.
type Bucket = (i32, u32, u32);

impl Rules {
    fn new(policy: &Policy) -> Self {
        let rule = |reason, left, bucket| Rule {
            reason,
            left,
            bucket,
            last: None,
        };
        Self([
            rule(Reason::Last, policy.last, |_| None),
            rule(Reason::Hourly, policy.hourly, |at| {
                Some((at.year(), at.ordinal(), at.hour()))
            }),
            rule(Reason::Daily, policy.daily, |at| {
                Some((at.year(), at.ordinal(), 0))
            }),
            rule(Reason::Weekly, policy.weekly, |at| {
                Some((at.iso_week().year(), at.iso_week().week(), 0))
            }),
            rule(Reason::Monthly, policy.monthly, |at| {
                Some((at.year(), at.month(), 0))
            }),
            rule(Reason::Yearly, policy.yearly, |at| Some((at.year(), 0, 0))),
        ])
    }

    /// Adds the reasons for which the snapshot taken `at` stays. Snapshots come newest first, so equal buckets follow
    /// one another.
    fn apply(&mut self, at: DateTime<Utc>, reasons: &mut Vec<Reason>) {
        for rule in &mut self.0 {
            let bucket = (rule.bucket)(at);
            if rule.left > 0 && (bucket.is_none() || bucket != rule.last) {
                rule.left -= 1;
                rule.last = bucket;
                reasons.push(rule.reason);
            }
        }
    }
}

#[cfg(test)]
mod tests;
