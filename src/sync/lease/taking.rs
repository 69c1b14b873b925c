//! Where a run takes its lease, waits for it, and gives it back.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ows_providers::{Enforcement, ErrorKind, Provider};

use super::super::SyncMode;
use super::super::run::{Opened, Run};
use super::{Claim, Claimant, Holder, Sighting};
use crate::error::{Failure, FailureKind, Outcome};
use crate::report::Phase;

/// The first and the longest pause between two looks at a lease that is waited for.
const LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A lease of another host whose end the provider's clock does not tell.
const SIGHTING: &str = "lease_seen";

/// Whether the run may write now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sync) enum Taken {
    /// It may, and what it has planned is not older than its last look.
    AtOnce,
    /// It may, but it has waited for another host, which has changed things meanwhile.
    AfterWaiting,
}

impl Run<'_> {
    /// Takes the lease for this run, unless it holds it already or there is none. Called when the run is about to write.
    ///
    /// # Errors
    /// [`FailureKind::Busy`] when another host holds it for longer than the run may wait.
    pub(in crate::sync) async fn take_lease(
        &self,
        opened: &Opened,
        enforcement: Enforcement,
    ) -> Outcome<Taken> {
        let mut lease = opened.lease.lock().await;
        let is_served = self.settings.mode != SyncMode::Mirror && enforcement.create_if_absent;
        if lease.is_some() || !is_served {
            return Ok(Taken::AtOnce);
        }
        let claimant = Claimant {
            provider: Arc::clone(&self.settings.provider),
            enforcement,
            replica: opened.scope.replica.to_string(),
            host: host(),
            run: self.id.to_string(),
            clock: self.options.clock.clone(),
        };
        let deadline = tokio::time::Instant::now() + self.options.wait;
        let mut pause = LOOKS.0;
        let mut taken = Taken::AtOnce;
        loop {
            let seen = sighting(opened).await?;
            let claimed = self.bounded(async { Ok(claimant.claim(seen.as_ref()).await) });
            let holder = match claimed.await? {
                Ok(Claim::Ours(ours)) => {
                    *lease = Some(Arc::new(ours));
                    return Ok(taken);
                }
                Ok(Claim::Theirs(holder)) => holder,
                // Deleting is what makes room again, and the conditions keep it safe.
                Err(error) if error.kind == ErrorKind::QuotaExceeded => {
                    self.reporter.warning(
                        "the remote has no room for the lease, so nothing keeps another host out of this run",
                    );
                    return Ok(taken);
                }
                Err(error) => return Err(not_taken(error)),
            };
            let now = tokio::time::Instant::now();
            remember(opened, &holder, seen, self.options.clock.read().wall).await?;
            if now >= deadline {
                return Err(busy(&holder));
            }
            taken = Taken::AfterWaiting;
            self.reporter.phase(Phase::Waiting);
            let nap = tokio::time::sleep(pause.min(deadline - now));
            self.bounded(async {
                nap.await;
                Ok(())
            })
            .await?;
            pause = (pause * 2).min(LOOKS.1);
        }
    }
}

impl Opened {
    /// Gives the lease back, if the run holds one. What is worth a word is in the answer.
    pub(in crate::sync) async fn release_lease(&self) -> Option<String> {
        let lease = self.lease.lock().await.take()?;
        lease.release().await
    }
}

/// Who holds the lease now, for whoever only looks.
///
/// # Errors
/// When the remote cannot be read.
pub(in crate::sync) async fn held_now(provider: &dyn Provider) -> Outcome<Option<Holder>> {
    let Some(found) = super::look(provider).await? else {
        return Ok(None);
    };
    let now = provider.clock().unwrap_or_else(Utc::now);
    let ends_at = super::ends_at(&found, now);
    Ok(ends_at
        .is_none_or(|ends_at| ends_at > now)
        .then(|| super::holder(found, ends_at)))
}

/// The name of this host, for people.
fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

async fn sighting(opened: &Opened) -> Outcome<Option<Sighting>> {
    let text = opened.state.get_value(&opened.pair.id, SIGHTING).await?;
    // One that cannot be read is as good as none: then the time begins anew.
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Remembers a lease that only time can show to have ended, where the provider does not tell the time.
async fn remember(
    opened: &Opened,
    holder: &Holder,
    seen: Option<Sighting>,
    now: DateTime<Utc>,
) -> Outcome<()> {
    let (None, Some(version)) = (holder.ends_at, &holder.version) else {
        return Ok(());
    };
    // A clock that was set back begins anew.
    if seen.is_some_and(|seen| seen.version == *version && seen.at <= now) {
        return Ok(());
    }
    let sighting = Sighting {
        version: version.clone(),
        at: now,
    };
    let text = serde_json::to_string(&sighting).map_err(|error| {
        Failure::failed("the lease of another host could not be recorded").with_source(error)
    })?;
    Ok(opened
        .state
        .set_value(&opened.pair.id, SIGHTING, &text)
        .await?)
}

fn busy(holder: &Holder) -> Failure {
    let time = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    let since = holder
        .since
        .map_or_else(String::new, |since| format!(" since {}", time(since)));
    let message = match &holder.who {
        Some((host, run)) => {
            format!("the host `{host}` is at work in this remote{since} (run {run})")
        }
        None => "another host is at work in this remote; its lease `.ows/lease` is damaged or of a newer version".to_owned(),
    };
    let ends = match holder.ends_at {
        Some(ends) => format!(
            "if that host is gone, its lease ends by itself at {}",
            time(ends)
        ),
        None => "if that host is gone, its lease ends by itself two minutes from now".to_owned(),
    };
    Failure::new(FailureKind::Busy, message).with_hint(format!(
        "wait for it to end, or give `--wait SECONDS`; {ends}; nothing was changed"
    ))
}

fn not_taken(error: ows_providers::Error) -> Failure {
    let hint = "nothing was changed; the run takes a lease, the object `.ows/lease`, before it changes the remote";
    let mut failure = Failure::from(error);
    failure.message = "could not take the lease of the remote".to_owned();
    let advice = failure.hint.take();
    failure.with_hint(advice.map_or_else(|| hint.to_owned(), |advice| format!("{advice}; {hint}")))
}
