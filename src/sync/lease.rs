//! One run at a time across hosts: the lease object `.ows/lease` in the remote.
//!
//! It keeps hosts from disturbing each other; safety comes from the preconditions of every single change. A run that has
//! something to write creates the object only if there is none, stores it again every 30 seconds on condition of the
//! version that it wrote last, and deletes it at its end. A host that dies leaves it behind: then it ends by itself 120
//! seconds after it was last stored, by the provider's clock, for which both times are told by the provider. The replica
//! that it names takes it over at once, since on its own host the lock of the pair keeps runs apart.
//!
//! **Where the provider tells no usable time** (no clock, no stored time, or a stored time in the future) a lease has
//! ended when this host has seen the very same version twice, 120 seconds apart by its own clock: a living holder would
//! have renewed it.
//!
//! **Fencing.** A host may be suspended in the middle of a run while its lease ends and another host takes over. Before
//! each remote change the holder looks at both of its clocks ([`Permit::confirm`]): when the last confirmed renewal is
//! older than 45 seconds by either, the lease is renewed before anything is changed. The renewal is conditional on the
//! version, so that it succeeds only if nobody else has had the lease meanwhile, however long that was. When it is lost
//! the run ends.
//!
//! **A damaged lease, or one of a newer version** is held by somebody who cannot be named, until it ends by its stored
//! time.

mod body;
mod clock;
mod taking;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use futures::TryStreamExt;
use ows_providers::{
    Enforcement, Entry, Error, ErrorKind, GetOptions, Operation, Precondition, Provider,
    PutOptions, RelPath, Version,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::apply::{Conditional, Permit};
use crate::error::Failure;
use crate::plan::mailbox;
pub(super) use body::{Body, LASTS, LONGEST_OBJECT};
pub use clock::{HostClock, Reading};
pub(super) use taking::{Taken, held_now};

/// How often the lease is stored again.
const RENEW_EVERY: Duration = Duration::from_secs(30);

/// A lease that was confirmed this recently needs no look before a change.
const FRESH: Duration = Duration::from_secs(45);

/// How long one attempt to renew it may take.
const ATTEMPT: Duration = Duration::from_secs(20);

/// The pause before a renewal that failed is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// Attempts of one check, should the clocks stand still.
const ATTEMPTS: u32 = 60;

/// How long giving it back may hold up the end of a run.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);

/// Races for a free lease before the run gives up: each was won by somebody else.
const ROUNDS: u32 = 5;

/// A stored time further in the future than this is none.
const FUTURE: TimeDelta = TimeDelta::seconds(5);

type Result<T> = ows_providers::Result<T>;

/// Who wants the lease, and of which remote.
#[derive(Debug, Clone)]
pub(super) struct Claimant {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) enforcement: Enforcement,
    pub(super) replica: String,
    pub(super) host: String,
    pub(super) run: String,
    pub(super) clock: HostClock,
}

/// What came of a claim.
#[derive(Debug)]
pub(super) enum Claim {
    /// The lease is ours.
    Ours(Lease),
    /// It is another host's.
    Theirs(Holder),
}

/// Who holds the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// Host and run, fit to be shown; `None` when the object says nothing that can be understood.
    pub(super) who: Option<(String, String)>,
    /// Since when, by the provider's clock.
    pub(super) since: Option<DateTime<Utc>>,
    /// When it ends unless it is renewed, by the provider's clock; `None` where the provider tells no usable time.
    pub(super) ends_at: Option<DateTime<Utc>>,
    /// The version that was seen.
    pub(super) version: Option<Version>,
}

/// A version of a stranger's lease, and when this host saw it first, by its own clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sighting {
    pub(super) version: Version,
    pub(super) at: DateTime<Utc>,
}

/// The object as it was found.
struct Found {
    body: Option<Body>,
    entry: Entry,
}

impl Found {
    fn is_of(&self, replica: &str) -> bool {
        self.body
            .as_ref()
            .is_some_and(|body| body.replica == replica)
    }

    fn lasts(&self) -> Duration {
        self.body.as_ref().map_or(LASTS, Body::lasts)
    }

    fn precondition(&self) -> Precondition {
        self.entry
            .version
            .clone()
            .map_or(Precondition::Any, Precondition::Version)
    }
}

/// Where the lease lies.
fn path() -> Result<RelPath> {
    let text = format!("{}/lease", mailbox::OWN);
    RelPath::new(&text).map_err(|error| {
        Error::new(
            ErrorKind::InvalidName,
            Operation::Put,
            &text,
            error.to_string(),
        )
    })
}

impl Claimant {
    /// Takes the lease if it is free, ours, or has ended. `seen`: a version that this host has met before.
    pub(super) async fn claim(&self, seen: Option<&Sighting>) -> Result<Claim> {
        let mut last = None;
        for _ in 0..ROUNDS {
            let body = self.body(None);
            match self.store(&body, Precondition::Absent).await {
                Ok(lease) => return Ok(Claim::Ours(lease)),
                Err(error) if error.is_race() => last = Some(error),
                Err(error) => return Err(error),
            }
            let Some(found) = self.look().await? else {
                continue;
            };
            let ends_at = self.ends_at(&found);
            if !found.is_of(&self.replica) && !self.has_ended(&found, ends_at, seen) {
                return Ok(Claim::Theirs(holder(found, ends_at)));
            }
            let body = self.body(found.body.as_ref());
            match self.store(&body, found.precondition()).await {
                Ok(lease) => return Ok(Claim::Ours(lease)),
                Err(error) if error.is_race() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            let text = "other hosts were faster each time";
            Error::new(ErrorKind::PreconditionFailed, Operation::Put, "", text)
        }))
    }

    fn body(&self, before: Option<&Body>) -> Body {
        Body::new(&self.replica, &self.host, &self.run, self.now(), before)
    }

    fn now(&self) -> DateTime<Utc> {
        self.provider
            .clock()
            .unwrap_or_else(|| self.clock.read().wall)
            .trunc_subsecs(3)
    }

    fn conditional(&self) -> Conditional<'_> {
        Conditional {
            provider: self.provider.as_ref(),
            enforcement: self.enforcement,
        }
    }

    async fn store(&self, body: &Body, precondition: Precondition) -> Result<Lease> {
        // The moment before the call: the store may have taken note of it at once and answered late.
        let confirmed = self.clock.read();
        let entry = self.put(body, precondition).await?;
        Ok(Lease::begin(self.clone(), body.clone(), entry, confirmed))
    }

    async fn put(&self, body: &Body, precondition: Precondition) -> Result<Entry> {
        let options = PutOptions {
            precondition,
            ..PutOptions::default()
        };
        self.conditional()
            .put(&path()?, Bytes::from(body.to_bytes()), options)
            .await
    }

    /// What is there now.
    async fn look(&self) -> Result<Option<Found>> {
        look(self.provider.as_ref()).await
    }

    fn ends_at(&self, found: &Found) -> Option<DateTime<Utc>> {
        ends_at(found, self.provider.clock()?)
    }

    fn has_ended(
        &self,
        found: &Found,
        ends_at: Option<DateTime<Utc>>,
        seen: Option<&Sighting>,
    ) -> bool {
        if let (Some(ends_at), Some(now)) = (ends_at, self.provider.clock()) {
            return ends_at <= now;
        }
        let waited = seen
            .filter(|seen| Some(&seen.version) == found.entry.version.as_ref())
            .and_then(|seen| (self.clock.read().wall - seen.at).to_std().ok());
        waited.is_some_and(|waited| waited >= found.lasts())
    }
}

async fn look(provider: &dyn Provider) -> Result<Option<Found>> {
    let download = match provider.get(&path()?, GetOptions::default()).await {
        Ok(download) => download,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let entry = download.entry;
    let mut bytes = Vec::new();
    if entry.size <= LONGEST_OBJECT {
        let mut body = download.body;
        while let Some(piece) = body.try_next().await? {
            bytes.extend_from_slice(&piece);
        }
    }
    Ok(Some(Found {
        body: Body::read(&bytes),
        entry,
    }))
}

/// When the lease ends unless it is stored again, by the provider's clock; `None` where that cannot be told.
fn ends_at(found: &Found, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let stored = DateTime::from_timestamp_nanos(found.entry.modified_at_ns?);
    if stored > now + FUTURE {
        return None;
    }
    stored.checked_add_signed(TimeDelta::from_std(found.lasts()).ok()?)
}

fn holder(found: Found, ends_at: Option<DateTime<Utc>>) -> Holder {
    let body = found.body.as_ref();
    Holder {
        who: body.map(|body| (body.shown_host(), body.shown_run())),
        since: body.and_then(Body::since),
        ends_at,
        version: found.entry.version,
    }
}

/// A lease that is held. Dropped without [`Lease::release`], as by a crash, it is left behind and ends by itself.
#[derive(Debug)]
pub(super) struct Lease {
    held: Arc<Held>,
    renewing: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Held {
    claimant: Claimant,
    body: Body,
    /// The version that was written last. Who holds this lock is the only one that writes.
    version: tokio::sync::Mutex<Precondition>,
    confirmed: Mutex<Reading>,
    lost: OnceLock<String>,
}

/// How an attempt to renew it ended.
enum Renewed {
    Yes,
    /// It failed, which says nothing about whose the lease is.
    Unknown(String),
    Lost,
}

impl Lease {
    fn begin(claimant: Claimant, body: Body, entry: Entry, confirmed: Reading) -> Self {
        let held = Arc::new(Held {
            claimant,
            body,
            version: tokio::sync::Mutex::new(
                entry
                    .version
                    .map_or(Precondition::Any, Precondition::Version),
            ),
            confirmed: Mutex::new(confirmed),
            lost: OnceLock::new(),
        });
        let mut renewing = JoinSet::new();
        let renewed = Arc::clone(&held);
        renewing.spawn(async move { renewed.keep().await });
        Self {
            held,
            renewing: Mutex::new(renewing),
        }
    }

    /// Gives the lease back. Bounded: the end of a run does not hang on it. What went wrong is only worth a word, since
    /// the lease ends by itself.
    pub(super) async fn release(&self) -> Option<String> {
        self.renewing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
        let reason = match tokio::time::timeout(RELEASE_WITHIN, self.held.give_back()).await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => crate::apply::chain(&error),
            Err(_) => "the remote did not answer in time".to_owned(),
        };
        Some(format!(
            "the lease of this run could not be given back, so other hosts wait until it ends by itself, within {} \
             seconds: {reason}",
            LASTS.as_secs()
        ))
    }
}

#[async_trait]
impl Permit for Lease {
    async fn confirm(&self) -> std::result::Result<(), Failure> {
        self.held.confirm().await
    }
}

impl Held {
    /// Renews it again and again, until it is lost.
    async fn keep(&self) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            if self.renew_until(RENEW_EVERY).await.is_err() {
                return;
            }
        }
    }

    async fn confirm(&self) -> std::result::Result<(), Failure> {
        if self.lost.get().is_none() && self.age() < FRESH {
            return Ok(());
        }
        self.renew_until(FRESH).await
    }

    /// Renews it unless it was confirmed less than `fresh` ago, trying again until it has ended.
    async fn renew_until(&self, fresh: Duration) -> std::result::Result<(), Failure> {
        let mut version = self.version.lock().await;
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            if let Some(lost) = self.lost.get() {
                return Err(failure(lost));
            }
            if self.age() < fresh {
                return Ok(());
            }
            match self.renew(&mut version).await {
                Renewed::Yes => return Ok(()),
                Renewed::Lost => return Err(self.lose(self.taken_by().await)),
                Renewed::Unknown(why) => reason = why,
            }
            if self.age() >= LASTS {
                break;
            }
            tracing::warn!(reason, "the lease could not be renewed; trying again");
            tokio::time::sleep(PAUSE).await;
        }
        Err(self.lose(format!(
            "the lease of this run could not be renewed for {} seconds, so another host may be at work now: {reason}",
            LASTS.as_secs()
        )))
    }

    async fn renew(&self, version: &mut Precondition) -> Renewed {
        let confirmed = self.claimant.clock.read();
        let body = self.body.again();
        let put = self.claimant.put(&body, version.clone());
        let found = match tokio::time::timeout(ATTEMPT, put).await {
            Err(_) => return Renewed::Unknown("the remote did not answer in time".to_owned()),
            Ok(Ok(entry)) => Ok(Some(entry)),
            // Our own earlier attempt may have been carried out, and its answer been lost. A remote without room stores
            // nothing: there it must do that the lease is still the one that was stored last.
            Ok(Err(error)) if error.is_race() || error.kind == ErrorKind::QuotaExceeded => {
                self.ours().await
            }
            Ok(Err(error)) => Err(error),
        };
        match found {
            Ok(Some(entry)) => {
                *version = entry
                    .version
                    .map_or(Precondition::Any, Precondition::Version);
                *lock(&self.confirmed) = confirmed;
                Renewed::Yes
            }
            Ok(None) => Renewed::Lost,
            Err(error) => Renewed::Unknown(crate::apply::chain(&error)),
        }
    }

    /// The object if it is this lease, in whatever version.
    async fn ours(&self) -> Result<Option<Entry>> {
        let found = self.claimant.look().await?;
        let ours = found.filter(|found| {
            let body = found.body.as_ref();
            body.is_some_and(|body| body.is_same_lease(&self.body))
        });
        Ok(ours.map(|found| found.entry))
    }

    async fn taken_by(&self) -> String {
        let who = match self.claimant.look().await {
            Ok(Some(found)) => found.body.map(|body| body.shown_host()),
            _ => None,
        };
        match who {
            Some(host) => format!("the host `{host}` has taken over the lease of this run"),
            None => "the lease of this run was taken over or removed".to_owned(),
        }
    }

    fn lose(&self, why: String) -> Failure {
        failure(self.lost.get_or_init(|| why))
    }

    fn age(&self) -> Duration {
        let now = self.claimant.clock.read();
        now.age_of(&lock(&self.confirmed))
    }

    async fn give_back(&self) -> Result<()> {
        let version = self.version.lock().await;
        if self.lost.get().is_some() {
            return Ok(());
        }
        // Without conditional deletes, one that may have ended is left alone: it may be another host's by now.
        if !self.claimant.enforcement.delete_if_match && self.age() >= FRESH {
            return Ok(());
        }
        let delete = async |precondition| {
            self.claimant
                .conditional()
                .delete(&path()?, precondition)
                .await
        };
        match delete(version.clone()).await {
            Err(error) if error.is_race() => match self.ours().await? {
                // The last renewal was carried out, and its answer not heard.
                Some(entry) => {
                    let version = entry.version;
                    delete(version.map_or(Precondition::Any, Precondition::Version)).await
                }
                None => Ok(()),
            },
            other => other,
        }
    }
}

fn failure(why: &str) -> Failure {
    Failure::failed(why).with_hint(
        "the run stopped, and nothing more was changed; what was finished before it counts; run again to go on",
    )
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
