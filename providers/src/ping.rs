//! Calls an address whose answer does not matter, such as that of a monitoring service.
//!
//! Such addresses are secrets: whoever knows one can pretend that all is well. No error repeats one.

use std::time::Duration;

use reqwest::{StatusCode, Url};

use crate::http::{HttpOptions, HttpSetupError, HttpStack, Protocols};

/// How long one attempt may take. Whoever pings has better things to do than wait.
const ATTEMPT: Duration = Duration::from_secs(5);

/// One attempt more than none: a lost packet must not raise an alarm.
const ATTEMPTS: u32 = 2;

/// Why nobody was told.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// Not an address that can be called.
    #[error("its URL cannot be used")]
    Address,
    /// No connection, or no answer.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It answered in time with something else than success.
    #[error("it answers with {0}")]
    Refused(StatusCode),
    /// It did not answer.
    #[error("it does not answer within {} seconds", ATTEMPT.as_secs())]
    Silent,
}

/// Calls addresses. Clones share connections.
#[derive(Debug, Clone)]
pub struct Pinger {
    stack: HttpStack,
}

impl Pinger {
    /// Builds the client. Plain `http://` is accepted: a monitoring service often stands in the same network.
    ///
    /// # Errors
    /// [`HttpSetupError`] as for [`HttpStack::new`].
    pub fn new(options: &HttpOptions) -> Result<Self, HttpSetupError> {
        Ok(Self {
            stack: HttpStack::new(options, Protocols::Http1)?,
        })
    }

    /// Calls `url`, with `below` as further segments of its path, once more when it does not work at once.
    ///
    /// # Errors
    /// [`PingError`] of the last attempt.
    pub async fn ping(&self, url: &str, below: Option<&str>) -> Result<(), PingError> {
        let url = address(url, below)?;
        let mut result = self.attempt(url.clone()).await;
        for _ in 1..ATTEMPTS {
            if result.is_ok() {
                break;
            }
            result = self.attempt(url.clone()).await;
        }
        result
    }

    async fn attempt(&self, url: Url) -> Result<(), PingError> {
        let answer = tokio::time::timeout(ATTEMPT, self.stack.get(url))
            .await
            .map_err(|_| PingError::Silent)?
            .map_err(PingError::Unreachable)?;
        match answer {
            status if status.is_success() => Ok(()),
            status => Err(PingError::Refused(status)),
        }
    }
}

fn address(url: &str, below: Option<&str>) -> Result<Url, PingError> {
    let mut url = Url::parse(url).map_err(|_| PingError::Address)?;
    if let Some(below) = below {
        url.path_segments_mut()
            .map_err(|()| PingError::Address)?
            .pop_if_empty()
            .push(below);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_below_keeps_the_query() {
        for (url, expected) in [
            ("https://hc.example/abc", "https://hc.example/abc/fail"),
            ("https://hc.example/abc/", "https://hc.example/abc/fail"),
            (
                "https://hc.example/abc?key=1",
                "https://hc.example/abc/fail?key=1",
            ),
            ("http://10.0.0.1:3001", "http://10.0.0.1:3001/fail"),
        ] {
            assert_eq!(address(url, Some("fail")).unwrap().as_str(), expected);
        }
        assert!(address("nonsense", None).is_err());
        assert!(address("mailto:me@example.org", Some("fail")).is_err());
    }

    #[tokio::test]
    async fn an_error_does_not_repeat_the_address() {
        let pinger = Pinger::new(&HttpOptions::default()).unwrap();
        let error = pinger
            .ping("http://127.0.0.1:1/very-secret", Some("start"))
            .await
            .unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, PingError::Unreachable(_)), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
