//! Sizes, rates and spans of time as people write them.

use std::num::NonZeroU64;
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

use super::check::{KeyPath, MOST, Section, kind_of};

/// What a size may look like, for error texts. `k` is 1000 and `Ki` is 1024, with or without a `B`.
const SIZES: &str = "a number of bytes, or a text such as `500k`, `4MiB`, `1.5 GB`";

/// Limits on what is sent and received, in bytes a second; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Towards the remote.
    pub up: Option<NonZeroU64>,
    /// From the remote.
    pub down: Option<NonZeroU64>,
}

/// Reads a size in bytes, at least `least`.
pub(super) fn size(section: &Section<'_>, name: &'static str, least: u64) -> Option<u64> {
    let value = section.raw(name)?;
    let bytes = bytes_of(value);
    if bytes.is_none_or(|bytes| bytes < least) {
        let allowed = format!("{SIZES}, at least {}", ByteSize(least).display().iec());
        section.wrong_value(name, value, &allowed);
        return None;
    }
    bytes
}

/// Reads `"4MiB/s"`, a number, or `{ "up", "down" }`; nothing and 0 are no limit.
pub(super) fn bandwidth(section: &Section<'_>, name: &'static str) -> Bandwidth {
    let Some(value) = section.raw(name) else {
        return Bandwidth::default();
    };
    if value.is_object() {
        let Some(inner) = section.section(name) else {
            return Bandwidth::default();
        };
        let limits = Bandwidth {
            up: inner.raw("up").and_then(|value| rate(&inner, "up", value)),
            down: inner
                .raw("down")
                .and_then(|value| rate(&inner, "down", value)),
        };
        inner.finish();
        return limits;
    }
    let limit = rate(section, name, value);
    Bandwidth {
        up: limit,
        down: limit,
    }
}

fn rate(section: &Section<'_>, name: &str, value: &Value) -> Option<NonZeroU64> {
    /// Slower than this no part of an upload ends before its connection is given up.
    const SLOWEST: u64 = 1_000;
    let without_second = match value {
        Value::String(text) => {
            let text = text.trim();
            let text = text
                .strip_suffix("/s")
                .or_else(|| text.strip_suffix("ps"))
                .unwrap_or(text);
            Value::String(text.to_owned())
        }
        other => other.clone(),
    };
    match bytes_of(&without_second) {
        Some(0) => None,
        Some(bytes) if bytes >= SLOWEST => NonZeroU64::new(bytes),
        _ => {
            section.wrong_value(
                name,
                value,
                "a rate such as `4MiB/s`, `500k` or a number of bytes a second, at least 1000; \
                 `{ up, down }`; 0 is no limit",
            );
            None
        }
    }
}

fn bytes_of(value: &Value) -> Option<u64> {
    let bytes = match value {
        Value::Number(number) => number.as_u64(),
        // A sign or an exponent is no size, and the crate leaves them to the unit.
        Value::String(text) => text.trim().parse::<ByteSize>().ok().map(|size| size.0),
        _ => None,
    };
    bytes.filter(|bytes| *bytes <= MOST)
}

/// Reads a span such as `"30d"`, `"2w"`, `"36h"` or `"1y6d"`; a day has 24 hours, a year 365 days.
pub(super) fn span(section: &Section<'_>, name: &'static str) -> Option<Duration> {
    let value = section.raw(name)?;
    let allowed = "a span such as `36h`, `30d`, `2w` or `1y` (hours, days, weeks, years)";
    let Value::String(text) = value else {
        section.problem(
            name,
            format!("found {}; allowed: {allowed}", kind_of(value)),
        );
        return None;
    };
    let span = parse_span(text);
    if span.is_none() {
        section.wrong_value(name, value, allowed);
    }
    span
}

/// Reads a span such as `30d`, `2w`, `36h` or `1y6d`; `None` when it is none.
pub fn parse_span(text: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let mut after = rest[digits..].chars();
        let unit: u64 = match after.next()? {
            'h' => 3_600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            'y' => 365 * 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = after.as_str();
    }
    // Beyond a century the arithmetic on dates gets nearer to its limits than anybody's snapshots.
    (seconds <= 100 * 365 * 86_400).then(|| Duration::from_secs(seconds))
}

/// Seconds as a duration, where 0 stands for never.
pub(super) fn seconds_or_never(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// A value that is raised to the smallest sensible one, with a warning.
pub(super) fn raised(section: &Section<'_>, key: &KeyPath, value: u64, least: u64) -> u64 {
    if value < least {
        section.findings.warning(format!(
            "`{key}` is {value} seconds, which is too short: {least} seconds are used"
        ));
    }
    value.max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_know_thousands_and_1024s() {
        for (text, bytes) in [
            ("'500k'", Some(500_000)),
            ("'4MiB'", Some(4 << 20)),
            ("'4Mi'", Some(4 << 20)),
            ("'1.5 GB'", Some(1_500_000_000)),
            ("'123'", Some(123)),
            ("123", Some(123)),
            ("'12 apples'", None),
            ("'-5M'", None),
            ("'1e3'", None),
            ("''", None),
            ("-1", None),
            ("1.5", None),
            ("true", None),
            ("'99999999E'", None),
        ] {
            let value: Value = json5::from_str(text).unwrap();
            assert_eq!(bytes_of(&value), bytes, "{text}");
        }
    }

    #[test]
    fn spans_add_up() {
        for (text, days) in [
            ("30d", Some(30)),
            ("2w", Some(14)),
            ("48h", Some(2)),
            ("1y6d", Some(371)),
        ] {
            assert_eq!(
                parse_span(text),
                days.map(|days| Duration::from_secs(days * 86_400)),
                "{text}"
            );
        }
        for text in [
            "",
            "30",
            "d",
            "3m",
            "-1d",
            "1d!",
            "99999999999999999999d",
            "1000y",
            "1d 2",
        ] {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }
}
