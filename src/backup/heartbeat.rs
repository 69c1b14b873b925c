//! Tells a monitoring service how a backup goes. It never fails one: what cannot be told is a warning.

use ows_providers::ping::Pinger;
use secrecy::ExposeSecret;

use super::settings::Heartbeat;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// A backup begins.
    Start,
    /// It has succeeded, and its manifest was read back.
    Success,
    /// It has failed.
    Fail,
}

impl Beat {
    /// What is added to the address, as healthchecks.io and its like have it.
    fn below(self) -> Option<&'static str> {
        match self {
            Self::Start => Some("start"),
            Self::Success => None,
            Self::Fail => Some("fail"),
        }
    }
}

impl Heartbeat {
    /// Tells it, and gives back a warning for the person when that did not work. Ends within seconds.
    pub async fn tell(&self, beat: Beat) -> Option<String> {
        let why = match Pinger::new(&self.http) {
            Ok(pinger) => match pinger.ping(self.url.expose_secret(), beat.below()).await {
                Ok(()) => return None,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let what = match beat {
            Beat::Start => "begins",
            Beat::Success => "has succeeded",
            Beat::Fail => "has failed",
        };
        Some(format!(
            "the monitoring at `heartbeatUrl` was not told that the backup {what}: {why}"
        ))
    }
}
