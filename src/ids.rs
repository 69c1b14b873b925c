//! The names under which pairs and runs are known everywhere: in the database, in folder names, in JSON.

use std::fmt;

use chrono::{DateTime, Utc};

/// Names a pair: a hash of what the remote is and of the path in it. Who computes it decides what goes in; here it is
/// a plain name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct PairId(String);

impl PairId {
    /// Takes `text` as the name of a pair.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PairId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Names a run: `20260131T235959Z-1a2b3c4d`. Later runs sort after earlier ones (to the second), and the text can be
/// the name of a folder on any file system and any provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// The name of a run that started at `started_at`. `random` tells apart runs that start in the same second.
    pub fn new(started_at: DateTime<Utc>, random: u32) -> Self {
        Self(format!(
            "{}-{random:08x}",
            started_at.format("%Y%m%dT%H%M%SZ")
        ))
    }

    /// The name of a run that started at `started_at`, with a random ending.
    pub fn random(started_at: DateTime<Utc>) -> Self {
        Self::new(started_at, rand::random())
    }

    /// Reads a name back; `None` when `text` has another form. Folders in the trash are named by people too.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, random) = text.split_once('-')?;
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let (day, clock) = time.strip_suffix('Z')?.split_once('T')?;
        let well_formed = day.len() == 8
            && clock.len() == 6
            && digits(day)
            && digits(clock)
            && random.len() == 8
            && random
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_runs_sort_after_earlier_ones() {
        let early = RunId::new(
            DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            u32::MAX,
        );
        let late = RunId::new(DateTime::from_timestamp(1_700_000_001, 0).unwrap(), 0);
        assert!(early < late);
        assert_eq!(late.as_str(), "20231114T221321Z-00000000");
    }

    #[test]
    fn only_names_of_runs_are_read_back() {
        let run = RunId::random(DateTime::from_timestamp(1_700_000_000, 0).unwrap());
        assert_eq!(RunId::parse(run.as_str()), Some(run));
        for text in [
            "",
            "20231114T221321Z",
            "20231114T221321Z-0000000G",
            "20231114T221321Z-ABCDEF00",
            "20231114t221321Z-00000000",
            "../31114T221321Z-00000000",
            "20231114T221321Z-00000000-2",
        ] {
            assert_eq!(RunId::parse(text), None, "{text:?}");
        }
    }
}
