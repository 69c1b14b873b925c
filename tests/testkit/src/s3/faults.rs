//! Scripted misbehaviour: which call, and what happens to it instead.
//!
//! Faults stand in a queue. A call is shown to them in order; each that fits counts it, and the first whose turn has come takes
//! it. Two faults for `PUT` therefore answer the first and the second `PUT`. A fault is *reached* when it struck as often as it
//! was meant to; one that was not fails [`Access::assert_faults_reached`](super::Access::assert_faults_reached), because then
//! the test did not test what its name says.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Access;
use super::calls::{Call, Op};

type Predicate = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

/// Which calls a fault strikes.
#[derive(Clone)]
pub struct When {
    op: Option<Op>,
    fits: Vec<(String, Predicate)>,
    nth: usize,
    times: usize,
}

impl When {
    /// The next call, whatever it is.
    #[must_use]
    pub fn any() -> Self {
        Self {
            op: None,
            fits: Vec::new(),
            nth: 1,
            times: 1,
        }
    }

    /// The next call of this operation.
    #[must_use]
    pub fn op(op: Op) -> Self {
        Self {
            op: Some(op),
            ..Self::any()
        }
    }

    /// Only calls for exactly this key (listings: this prefix).
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        let wanted = key.to_owned();
        self.fits(&format!("key `{key}`"), move |call| call.key == wanted)
    }

    /// Only calls whose key begins with `prefix`.
    #[must_use]
    pub fn key_prefix(self, prefix: &str) -> Self {
        let wanted = prefix.to_owned();
        self.fits(&format!("key `{prefix}...`"), move |call| {
            call.key.starts_with(&wanted)
        })
    }

    /// Only calls for which `predicate` holds; `description` is for the message about a fault that was not reached.
    #[must_use]
    pub fn fits(
        mut self,
        description: &str,
        predicate: impl Fn(&Call) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.fits
            .push((description.to_owned(), Arc::new(predicate)));
        self
    }

    /// From the `nth` fitting call on, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: usize) -> Self {
        self.nth = nth;
        self
    }

    /// This many fitting calls in a row.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// All fitting calls from there on; reached as soon as it struck once.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    fn matches(&self, call: &Call) -> bool {
        self.op.is_none_or(|op| op == call.op) && self.fits.iter().all(|(_, fits)| fits(call))
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.map_or("any call", Op::as_str))?;
        for (description, _) in &self.fits {
            write!(f, " of {description}")?;
        }
        write!(f, ", from number {}", self.nth)?;
        match self.times {
            1 => Ok(()),
            usize::MAX => f.write_str(", always"),
            times => write!(f, ", {times} times"),
        }
    }
}

/// Holds a call up until a test lets it go on, however long the test takes to get there.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A gate that is closed.
    #[must_use]
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everything through, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) async fn pass(&self) {
        // The sender lives as long as this value, so that waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|is_open| *is_open).await;
    }
}

/// What happens to a call that a fault strikes.
#[derive(Clone)]
pub enum Then {
    /// Not handled; answered with an error of S3.
    Error {
        /// HTTP status.
        status: u16,
        /// S3 error code, such as `SlowDown`.
        code: String,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// Handled, and then answered with this error all the same.
    ErrorAfter {
        /// HTTP status.
        status: u16,
        /// S3 error code.
        code: String,
    },
    /// Not handled; answered with status 200 and an S3 error as body, as AWS does for `CompleteMultipartUpload` and
    /// `CopyObject`.
    ErrorInBody {
        /// S3 error code.
        code: String,
    },
    /// Not handled; answered with a page of HTML, as a proxy or a captive portal does.
    Html {
        /// HTTP status.
        status: u16,
    },
    /// Not handled; the connection is closed without an answer.
    DropBefore,
    /// Handled; then the connection is closed without an answer.
    DropAfter,
    /// Handled; the connection is closed in the middle of the answer's body.
    CutBody,
    /// Handled; the answer's body ends early, and its length says so: nothing but the content shows it.
    ShortBody,
    /// Handled; one bit in the middle of the answer's body is flipped.
    CorruptBody,
    /// Never answered; ends when the client goes away.
    Hang,
    /// Handled after this time.
    Delay(Duration),
    /// Handled after the gate was opened.
    Wait(Gate),
    /// Handled after `action` was run on the store: the other side of a race.
    Race(Arc<dyn Fn(&Access) + Send + Sync>),
}

impl Then {
    /// An error without `Retry-After`.
    #[must_use]
    pub fn error(status: u16, code: &str) -> Self {
        Self::Error {
            status,
            code: code.to_owned(),
            retry_after: None,
        }
    }

    /// 503 `SlowDown`, with `Retry-After` in seconds when given.
    #[must_use]
    pub fn slow_down(retry_after: Option<u64>) -> Self {
        Self::Error {
            status: 503,
            code: "SlowDown".to_owned(),
            retry_after,
        }
    }

    /// Runs `action` on the store before the call is handled.
    #[must_use]
    pub fn race(action: impl Fn(&Access) + Send + Sync + 'static) -> Self {
        Self::Race(Arc::new(action))
    }
}

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error { status, code, .. } => write!(f, "error {status} {code}"),
            Self::ErrorAfter { status, code } => write!(f, "error {status} {code} afterwards"),
            Self::ErrorInBody { code } => write!(f, "error {code} with status 200"),
            Self::Html { status } => write!(f, "HTML with status {status}"),
            Self::DropBefore => f.write_str("connection dropped before"),
            Self::DropAfter => f.write_str("connection dropped after"),
            Self::CutBody => f.write_str("body cut"),
            Self::ShortBody => f.write_str("body short"),
            Self::CorruptBody => f.write_str("body corrupt"),
            Self::Hang => f.write_str("hang"),
            Self::Delay(time) => write!(f, "delay of {time:?}"),
            Self::Wait(_) => f.write_str("wait"),
            Self::Race(_) => f.write_str("race"),
        }
    }
}

#[derive(Debug)]
struct Fault {
    when: When,
    then: Then,
    seen: usize,
    struck: usize,
}

impl Fault {
    fn is_reached(&self) -> bool {
        self.struck > 0 && (self.when.times == usize::MAX || self.struck == self.when.times)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn push(&self, when: When, then: Then) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Fault {
                when,
                then,
                seen: 0,
                struck: 0,
            });
    }

    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// What is to happen to `call`, if anything.
    pub(crate) fn strike(&self, call: &Call) -> Option<Then> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for fault in faults.iter_mut() {
            if fault.struck >= fault.when.times || !fault.when.matches(call) {
                continue;
            }
            fault.seen += 1;
            if fault.seen >= fault.when.nth {
                fault.struck += 1;
                return Some(fault.then.clone());
            }
        }
        None
    }

    /// One line for each fault that was not reached.
    pub(crate) fn unreached(&self) -> Vec<String> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults
            .iter()
            .filter(|fault| !fault.is_reached())
            .map(|fault| {
                format!(
                    "{:?} for {:?}: saw {} fitting calls, struck {} times",
                    fault.then, fault.when, fault.seen, fault.struck
                )
            })
            .collect()
    }
}
