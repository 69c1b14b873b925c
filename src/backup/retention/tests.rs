use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    let text = match text.len() {
        10 => format!("{text}T12:00:00Z"),
        16 => format!("{text}:00Z"),
        _ => text.to_owned(),
    };
    text.parse().expect("a time")
}

/// The verdicts as text, newest first: `2026-01-31 daily, weekly` for what stays, and the bare name for what goes.
fn table(times: &[&'static str], policy: &Policy, now: &str) -> Vec<String> {
    decide(
        times.iter().map(|text| (at(text), *text)),
        policy,
        at(now),
        None,
    )
    .into_iter()
    .map(|verdict| {
        let reasons: Vec<_> = verdict
            .reasons
            .iter()
            .map(|reason| reason.describe())
            .collect();
        format!("{} {}", verdict.snapshot, reasons.join(", "))
            .trim_end()
            .to_owned()
    })
    .collect()
}

fn kept(times: &[DateTime<Utc>], policy: &Policy, now: DateTime<Utc>) -> BTreeSet<DateTime<Utc>> {
    decide(times.iter().map(|at| (*at, *at)), policy, now, None)
        .into_iter()
        .filter(Verdict::stays)
        .map(|verdict| verdict.snapshot)
        .collect()
}

#[test]
fn only_buckets_that_have_snapshots_count() {
    let policy = Policy {
        daily: 2,
        ..Policy::default()
    };
    assert_eq!(
        table(
            &[
                "2026-01-01",
                "2026-01-02",
                "2026-03-09T11:00:00Z",
                "2026-03-09"
            ],
            &policy,
            "2026-04-01"
        ),
        [
            "2026-03-09 newest, daily",
            "2026-03-09T11:00:00Z",
            "2026-01-02 daily",
            "2026-01-01"
        ],
    );
}

#[test]
fn weeks_are_those_of_iso_and_differ_from_years() {
    // 2024-12-30 and 2025-01-05 are one ISO week (2025-W01), yet two years and two months.
    let policy = Policy {
        weekly: 2,
        ..Policy::default()
    };
    assert_eq!(
        table(
            &["2024-12-29", "2024-12-30", "2025-01-05", "2024-12-20"],
            &policy,
            "2025-02-01"
        ),
        [
            "2025-01-05 newest, weekly",
            "2024-12-30",
            "2024-12-29 weekly",
            "2024-12-20"
        ],
    );
    let policy = Policy {
        yearly: 5,
        monthly: 1,
        ..Policy::default()
    };
    assert_eq!(
        table(
            &["2024-12-29", "2024-12-30", "2025-01-05"],
            &policy,
            "2025-02-01"
        ),
        [
            "2025-01-05 newest, monthly, yearly",
            "2024-12-30 yearly",
            "2024-12-29"
        ],
    );
}

#[test]
fn rules_are_or_ed_and_every_reason_is_told() {
    let policy = Policy {
        last: 1,
        hourly: 2,
        daily: 2,
        weekly: 1,
        monthly: 2,
        yearly: 2,
        within: Some(Duration::hours(1)),
    };
    assert_eq!(
        table(
            &[
                "2026-05-20T10:05:00Z",
                "2026-05-20T10:50:00Z",
                "2026-05-20T09:55:00Z",
                "2026-05-19",
                "2026-04-30",
                "2025-05-20",
                "2024-01-01"
            ],
            &policy,
            "2026-05-21",
        ),
        [
            "2026-05-20T10:50:00Z newest, last, hourly, daily, weekly, monthly, yearly, within",
            "2026-05-20T10:05:00Z within",
            "2026-05-20T09:55:00Z hourly, within",
            "2026-05-19 daily",
            "2026-04-30 monthly",
            "2025-05-20 yearly",
            "2024-01-01",
        ],
    );
}

#[test]
fn no_rule_keeps_everything() {
    for policy in [
        Policy::last(0),
        Policy {
            within: Some(Duration::zero()),
            ..Policy::default()
        },
    ] {
        assert!(policy.keeps_everything());
        assert_eq!(
            table(&["2026-01-01", "2026-01-02"], &policy, "2026-02-01"),
            [
                "2026-01-02 nothing is ever removed, newest",
                "2026-01-01 nothing is ever removed"
            ],
        );
    }
}

#[test]
fn a_snapshot_from_the_future_stays_and_takes_no_place() {
    let policy = Policy {
        last: 1,
        within: Some(Duration::days(3)),
        ..Policy::default()
    };
    assert_eq!(
        table(
            &["2099-01-01", "2026-01-10", "2026-01-08", "2026-01-01"],
            &policy,
            "2026-01-10T12:00:00Z"
        ),
        [
            "2099-01-01 its time lies in the future",
            "2026-01-10 newest, last, within",
            "2026-01-08 within",
            "2026-01-01"
        ],
    );
}

#[test]
fn the_one_just_made_stays_even_when_it_is_dated_back() {
    let times = [(at("2026-01-02"), "new"), (at("2020-01-01"), "dated back")];
    let verdicts = decide(
        times,
        &Policy::last(1),
        at("2026-01-03"),
        Some(&"dated back"),
    );
    assert_eq!(
        verdicts.iter().map(Verdict::stays).collect::<Vec<_>>(),
        [true, true]
    );
    assert_eq!(verdicts[1].reasons, [Reason::JustMade]);
}

#[test]
fn a_long_silence_removes_nothing_that_within_keeps() {
    let policy = Policy {
        within: Some(Duration::days(30)),
        ..Policy::default()
    };
    assert_eq!(
        table(
            &["2020-01-01", "2020-01-20", "2019-11-01"],
            &policy,
            "2026-01-01"
        ),
        [
            "2020-01-20 newest, within",
            "2020-01-01 within",
            "2019-11-01"
        ],
    );
}

#[test]
fn of_one_moment_the_greater_name_is_the_newer_and_doubles_count_once() {
    let one = at("2026-01-01");
    let verdicts = decide(
        [(one, "a"), (one, "b"), (one, "a")],
        &Policy::last(1),
        one,
        None,
    );
    assert_eq!(
        verdicts
            .iter()
            .map(|v| (v.snapshot, v.stays()))
            .collect::<Vec<_>>(),
        [("b", true), ("a", false)]
    );
}

#[test]
fn an_endless_window_keeps_everything() {
    let policy = Policy {
        within: Some(Duration::MAX),
        ..Policy::default()
    };
    let times = [at("2026-01-01"), DateTime::<Utc>::MIN_UTC];
    assert_eq!(kept(&times, &policy, at("2026-01-02")).len(), 2);
}

/// The rules once more, in the plainest form: for each snapshot, how many buckets have a snapshot that is newer.
fn plainly(
    times: &[DateTime<Utc>],
    policy: &Policy,
    now: DateTime<Utc>,
) -> BTreeSet<DateTime<Utc>> {
    let present: BTreeSet<_> = times.iter().copied().filter(|at| *at <= now).collect();
    let formats = [
        (policy.last, "%Y-%j %H:%M:%S"),
        (policy.hourly, "%Y-%j %H"),
        (policy.daily, "%Y-%j"),
        (policy.weekly, "%G-%V"),
        (policy.monthly, "%Y-%m"),
        (policy.yearly, "%Y"),
    ];
    times
        .iter()
        .copied()
        .filter(|at| {
            let by_rule = formats.iter().any(|(count, format)| {
                let bucket = |at: &DateTime<Utc>| at.format(format).to_string();
                let newer: BTreeSet<_> = present.range(at..).skip(1).map(bucket).collect();
                !newer.contains(&bucket(at)) && newer.len() < *count as usize
            });
            let within = policy
                .within
                .zip(present.last())
                .is_some_and(|(within, newest)| {
                    within > Duration::zero() && *newest - *at <= within
                });
            *at > now
                || policy.keeps_everything()
                || present.last() == Some(at)
                || by_rule
                || within
        })
        .collect()
}

#[test]
fn every_set_of_odd_moments_is_decided_as_the_rules_say() {
    // Moments at the borders of hours, days, ISO weeks, months and years; every subset with every rule of 0..=3.
    let moments = [
        "2024-12-29T23:59:59Z",
        "2024-12-30T00:00:00Z",
        "2024-12-31T22:59:59Z",
        "2024-12-31T23:00:00Z",
        "2025-01-01T00:00:00Z",
        "2025-01-05T23:59:59Z",
        "2025-01-06T00:00:00Z",
        "2025-02-01T00:00:00Z",
    ]
    .map(at);
    let mut policies = vec![Policy::default()];
    for count in 1..=3 {
        policies.push(Policy::last(count));
        policies.push(Policy {
            hourly: count,
            ..Policy::default()
        });
        policies.push(Policy {
            daily: count,
            ..Policy::default()
        });
        policies.push(Policy {
            weekly: count,
            ..Policy::default()
        });
        policies.push(Policy {
            monthly: count,
            ..Policy::default()
        });
        policies.push(Policy {
            yearly: count,
            ..Policy::default()
        });
        policies.push(Policy {
            within: Some(Duration::days(i64::from(count))),
            ..Policy::default()
        });
        policies.push(Policy {
            daily: count,
            yearly: 1,
            within: Some(Duration::hours(1)),
            ..Policy::default()
        });
    }
    for subset in 0u32..1 << moments.len() {
        let times: Vec<_> = (0..moments.len())
            .filter(|bit| subset >> bit & 1 == 1)
            .map(|bit| moments[bit])
            .collect();
        for policy in &policies {
            for now in [moments[5], moments[7]] {
                assert_eq!(
                    kept(&times, policy, now),
                    plainly(&times, policy, now),
                    "{times:?} {policy:?} {now}"
                );
            }
        }
    }
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (prop::array::uniform6(0u32..5), prop::option::of(0i64..100)).prop_map(|(counts, hours)| {
        let [last, hourly, daily, weekly, monthly, yearly] = counts;
        Policy {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within: hours.map(Duration::hours),
        }
    })
}

fn any_times() -> impl Strategy<Value = Vec<DateTime<Utc>>> {
    let spread = prop_oneof![0i64..100_000, 0i64..100_000_000];
    prop::collection::vec(
        spread.prop_map(|s| DateTime::from_timestamp(1_700_000_000 + s, 0).expect("a time")),
        1..40,
    )
}

proptest! {
    #[test]
    fn the_rules_hold_for_any_snapshots(times in any_times(), policy in any_policy(), now in 0i64..120_000_000) {
        let now = DateTime::from_timestamp(1_700_000_000 + now, 0).expect("a time");
        let kept = kept(&times, &policy, now);
        prop_assert_eq!(&kept, &plainly(&times, &policy, now));
        let newest = times.iter().filter(|at| **at <= now).max();
        prop_assert!(newest.is_none_or(|newest| kept.contains(newest)), "the newest stays");
        prop_assert!(times.iter().filter(|at| **at > now).all(|at| kept.contains(at)), "the future stays");
    }

    #[test]
    fn neither_order_nor_time_zone_nor_repetition_matters(times in any_times(), policy in any_policy(), hours in -12i32..=12, seed: u64) {
        let now = *times.iter().max().expect("one");
        let zone = chrono::FixedOffset::east_opt(hours * 3600).expect("a zone");
        let mut turned: Vec<_> = times.iter().map(|at| at.with_timezone(&zone).with_timezone(&Utc)).collect();
        let by = usize::try_from(seed % times.len() as u64).expect("small");
        turned.rotate_left(by);
        turned.extend_from_within(..by);
        turned.reverse();
        prop_assert_eq!(kept(&times, &policy, now), kept(&turned, &policy, now));
    }

    #[test]
    fn pruning_twice_removes_nothing_more(times in any_times(), policy in any_policy()) {
        let now = *times.iter().max().expect("one");
        let once = kept(&times, &policy, now);
        let again: Vec<_> = once.iter().copied().collect();
        prop_assert_eq!(kept(&again, &policy, now), once);
    }

    #[test]
    fn a_future_or_back_dated_snapshot_never_pushes_out_what_within_keeps(times in any_times(), hours in 1i64..100, ahead in 1i64..1_000_000, back in 0i64..1_000_000_000) {
        let policy = Policy { within: Some(Duration::hours(hours)), ..Policy::default() };
        let now = *times.iter().max().expect("one");
        let before = kept(&times, &policy, now);
        let mut more = times.clone();
        more.push(now + Duration::seconds(ahead));
        more.push(now - Duration::seconds(back));
        prop_assert!(before.is_subset(&kept(&more, &policy, now)));
    }

    #[test]
    fn a_future_snapshot_changes_nothing_for_the_others(times in any_times(), policy in any_policy(), ahead in 1i64..1_000_000) {
        let now = *times.iter().max().expect("one");
        let future = now + Duration::seconds(ahead);
        let mut expected = kept(&times, &policy, now);
        let mut more = times.clone();
        more.push(future);
        expected.insert(future);
        prop_assert_eq!(kept(&more, &policy, now), expected);
    }
}
