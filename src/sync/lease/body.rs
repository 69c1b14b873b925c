//! What the lease object holds: a small JSON object, written by hosts of any version and readable by people.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// The format that is written.
const FORMAT: u32 = 1;

/// How long a lease lasts without being renewed.
pub const LASTS: Duration = Duration::from_secs(120);

/// Whatever an object says, it is not believed to last longer: a damaged number must not lock a remote for ever.
const LONGEST: Duration = Duration::from_secs(600);

/// A lease has some 300 bytes. Whatever is longer than this is none.
pub const LONGEST_OBJECT: u64 = 16 << 10;

/// How much of a name that another host has written is shown.
const LONGEST_NAME: usize = 64;

/// The object `.ows/lease`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// The version of this format.
    pub format: u32,
    /// The replica that holds it.
    pub replica: String,
    /// The host that holds it, for people.
    pub host: String,
    /// The run that holds it.
    pub run: String,
    /// Grows with each holder: above that of the lease that was taken over, and not below the provider's clock in
    /// milliseconds, which carries it over the times when there is no object.
    pub fence: u64,
    /// How long it lasts after it was last stored.
    pub seconds: u64,
    /// When this run took it, by the provider's clock.
    pub since: String,
    /// Random, and another one each time: where the version is a hash of the content, equal content would be an equal
    /// version.
    pub word: String,
}

impl Body {
    /// The lease of a run.
    pub fn new(
        replica: &str,
        host: &str,
        run: &str,
        since: DateTime<Utc>,
        before: Option<&Self>,
    ) -> Self {
        let now = u64::try_from(since.timestamp_millis()).unwrap_or_default();
        let fence = before.map_or(now, |before| before.fence.saturating_add(1).max(now));
        Self {
            format: FORMAT,
            replica: replica.to_owned(),
            host: host.to_owned(),
            run: run.to_owned(),
            fence,
            seconds: LASTS.as_secs(),
            since: since.to_rfc3339_opts(SecondsFormat::Secs, true),
            word: word(),
        }
    }

    /// The same lease, to be stored once more.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            word: word(),
            ..self.clone()
        }
    }

    /// The bytes that are stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Numbers and texts are always JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads an object; `None` when it is damaged or of another format, whose rules are not known here.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        // Some stores add to what they are given; what stands behind the object does no harm.
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Self>();
        let body = values.next()?.ok()?;
        (body.format == FORMAT).then_some(body)
    }

    /// How long it lasts after it was last stored.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs(self.seconds).min(LONGEST)
    }

    /// Whether both are one lease, however often it was renewed.
    pub fn is_same_lease(&self, other: &Self) -> bool {
        (&self.replica, &self.run, self.fence) == (&other.replica, &other.run, other.fence)
    }

    /// The host as it can be shown: who wrote it is not known.
    pub fn shown_host(&self) -> String {
        shown(&self.host)
    }

    /// The run as it can be shown.
    pub fn shown_run(&self) -> String {
        shown(&self.run)
    }

    /// When the holder took it.
    pub fn since(&self) -> Option<DateTime<Utc>> {
        let since = DateTime::parse_from_rfc3339(&self.since).ok()?;
        Some(since.with_timezone(&Utc))
    }
}

fn word() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn shown(name: &str) -> String {
    let short: String = name.chars().take(LONGEST_NAME).collect();
    short.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Body {
        let since = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        Body::new("ab", "host", "run", since, None)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let body = body();
        assert_eq!(Body::read(&body.to_bytes()), Some(body.clone()));
        assert_eq!(body.since().unwrap().timestamp(), 1_700_000_000);
        assert!(body.to_bytes().len() < 400);
    }

    #[test]
    fn damaged_and_newer_objects_are_not_understood() {
        let newer = Body {
            format: FORMAT + 1,
            ..body()
        };
        let mut cut = body().to_bytes();
        cut.truncate(40);
        let texts: [&[u8]; 5] = [b"", b"\0\0", b"[]", &cut, &newer.to_bytes()];
        for text in texts {
            assert_eq!(Body::read(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn the_fencing_number_only_grows() {
        let first = body();
        let early = DateTime::from_timestamp(0, 0).unwrap();
        let second = Body::new("cd", "host", "run2", early, Some(&first));
        assert!(second.fence > first.fence, "whatever the clock says");
        let late = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        assert!(Body::new("ab", "host", "run3", late, None).fence > second.fence);
        let last = Body {
            fence: u64::MAX,
            ..first
        };
        assert_eq!(
            Body::new("ab", "host", "run", early, Some(&last)).fence,
            u64::MAX
        );
    }

    #[test]
    fn a_renewal_has_other_content_and_is_the_same_lease() {
        let first = body();
        let again = first.again();
        assert_ne!(first.to_bytes(), again.to_bytes());
        assert!(first.is_same_lease(&again));
    }

    #[test]
    fn no_object_lasts_for_ever() {
        let endless = Body {
            seconds: u64::MAX,
            ..body()
        };
        assert_eq!(endless.lasts(), LONGEST);
    }

    #[test]
    fn names_of_strangers_are_shown_short_and_escaped() {
        let hostile = Body {
            host: format!("\u{1b}[2J{}", "x".repeat(1000)),
            ..body()
        };
        let shown = hostile.shown_host();
        assert!(shown.starts_with("\\u{1b}[2Jxxx") && shown.len() < 80);
    }
}
