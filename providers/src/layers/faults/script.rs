//! The script of a test's faults: which calls, and what becomes of them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::{Error, ErrorKind, Operation, Result};

/// Whether a call that fails has taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened at the provider.
    Before,
    /// It has happened, and the answer was lost.
    After,
}

/// What is to become of one call.
#[derive(Clone)]
pub(super) enum Play {
    Pass,
    Fail { moment: Moment, kind: ErrorKind },
    Hang(Moment),
    Slow(Duration),
    ShortBody { bytes: u64, kind: Option<ErrorKind> },
    BreakListing { items: usize, kind: ErrorKind },
}

/// Which calls a fault concerns, and what it does to them. Begin with [`Fault::any`] or [`Fault::on`], narrow it down,
/// end with what happens.
#[derive(Clone)]
pub struct Fault {
    operation: Option<Operation>,
    path: Option<PathMatch>,
    skip: u64,
    times: u64,
    effect: Effect,
}

#[derive(Debug, Clone)]
enum PathMatch {
    At(String),
    Below(String),
}

#[derive(Clone)]
enum Effect {
    Play(Play),
    Run(Arc<dyn Fn() + Send + Sync>),
}

impl Fault {
    /// Concerns calls of every operation.
    pub fn any() -> Self {
        Self {
            operation: None,
            path: None,
            skip: 0,
            times: 1,
            effect: Effect::Play(Play::Pass),
        }
    }

    /// Concerns calls of one operation.
    pub fn on(operation: Operation) -> Self {
        Self {
            operation: Some(operation),
            ..Self::any()
        }
    }

    /// Only calls with exactly this path (copies: the destination; renames: the source).
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        self.path = Some(PathMatch::At(path.to_owned()));
        self
    }

    /// Only calls with a path below this folder.
    #[must_use]
    pub fn below(mut self, folder: &str) -> Self {
        self.path = Some(PathMatch::Below(format!("{folder}/")));
        self
    }

    /// Begins with the n-th call that matches, from 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// Concerns so many calls in a row; 1 unless told.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// The call fails and nothing has happened.
    #[must_use]
    pub fn before(self, kind: ErrorKind) -> Self {
        self.plays(Play::Fail {
            moment: Moment::Before,
            kind,
        })
    }

    /// The call takes effect, then its answer is lost. A call that would have failed fails as it would. A listing is
    /// delivered whole, but for its end.
    #[must_use]
    pub fn after(self, kind: ErrorKind) -> Self {
        self.plays(Play::Fail {
            moment: Moment::After,
            kind,
        })
    }

    /// The call never comes back, and nothing has happened.
    #[must_use]
    pub fn hangs(self) -> Self {
        self.plays(Play::Hang(Moment::Before))
    }

    /// The call takes effect and never comes back.
    #[must_use]
    pub fn hangs_after(self) -> Self {
        self.plays(Play::Hang(Moment::After))
    }

    /// The call begins so much later.
    #[must_use]
    pub fn slow(self, delay: Duration) -> Self {
        self.plays(Play::Slow(delay))
    }

    /// A download ends after so many bytes: with an error, or without one as if that were all.
    #[must_use]
    pub fn short_body(self, bytes: u64, kind: Option<ErrorKind>) -> Self {
        self.plays(Play::ShortBody { bytes, kind })
    }

    /// A listing fails after so many items: between its pages, when the number is a multiple of theirs.
    #[must_use]
    pub fn breaks_listing(self, items: usize, kind: ErrorKind) -> Self {
        self.plays(Play::BreakListing { items, kind })
    }

    /// Someone else acts right before the call, which then goes on.
    #[must_use]
    pub fn meanwhile(mut self, act: impl Fn() + Send + Sync + 'static) -> Self {
        self.effect = Effect::Run(Arc::new(act));
        self
    }

    fn plays(mut self, play: Play) -> Self {
        self.effect = Effect::Play(play);
        self
    }

    fn matches(&self, operation: Operation, path: &str) -> bool {
        self.operation.is_none_or(|own| own == operation)
            && match &self.path {
                None => true,
                Some(PathMatch::At(own)) => own == path,
                Some(PathMatch::Below(own)) => path.starts_with(own),
            }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.operation.map_or("any call", Operation::name))?;
        match &self.path {
            None => {}
            Some(PathMatch::At(path)) => write!(formatter, " of `{path}`")?,
            Some(PathMatch::Below(folder)) => write!(formatter, " below `{folder}`")?,
        }
        write!(
            formatter,
            ": {} to be played after {} more that match",
            self.times, self.skip
        )
    }
}

/// A script of faults, shared by layers and the test.
#[derive(Debug, Default)]
pub struct FaultSet {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    faults: Vec<Fault>,
    crash: Option<(u64, Moment)>,
    dead: bool,
    random: Option<Random>,
}

#[derive(Debug)]
struct Random {
    generator: StdRng,
    probability: f64,
    kinds: Vec<ErrorKind>,
    played: u64,
}

impl FaultSet {
    /// An empty script: every call passes.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds a fault. When several concern one call, the first added is played; those that only run something all are.
    pub fn add(&self, fault: Fault) -> &Self {
        self.state().faults.push(fault);
        self
    }

    /// The process dies at the `call`-th call from now, from 1, before or after that took effect: it and every later
    /// call, listing and download fails.
    pub fn crash_at(&self, call: u64, moment: Moment) -> &Self {
        let mut state = self.state();
        state.crash = Some((state.calls + call, moment));
        drop(state);
        self
    }

    /// Beside the script each call fails with this probability, before or after it took effect, with one of `kinds`.
    /// The same seed and the same calls give the same faults.
    ///
    /// # Panics
    /// When `probability` is not between 0 and 1, or `kinds` is empty.
    pub fn random(&self, seed: u64, probability: f64, kinds: &[ErrorKind]) -> &Self {
        assert!((0.0..=1.0).contains(&probability) && !kinds.is_empty());
        self.state().random = Some(Random {
            generator: StdRng::seed_from_u64(seed),
            probability,
            kinds: kinds.to_vec(),
            played: 0,
        });
        self
    }

    /// Forgets script, chance and crash: from now on every call passes.
    pub fn clear(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.crash = None;
        state.random = None;
        state.dead = false;
    }

    /// How many calls there were. A sweep plays a scenario once without faults to learn it.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many faults of [`FaultSet::random`] were played.
    pub fn random_faults(&self) -> u64 {
        self.state()
            .random
            .as_ref()
            .map_or(0, |random| random.played)
    }

    /// What was not reached: faults that were played less often than asked, and the crash.
    pub fn unreached(&self) -> Vec<String> {
        let state = self.state();
        let crash = state.crash.filter(|_| !state.dead);
        state
            .faults
            .iter()
            .filter(|fault| fault.times > 0)
            .map(|fault| format!("{fault:?}"))
            .chain(crash.map(|(call, _)| format!("crash at call {call} of {}", state.calls)))
            .collect()
    }

    /// Fails the test when a part of the script was not played.
    ///
    /// # Panics
    /// When a fault was not reached.
    #[track_caller]
    pub fn assert_all_reached(&self) {
        let unreached = self.unreached();
        assert!(
            unreached.is_empty(),
            "faults that were never reached: {unreached:#?}"
        );
    }

    /// What becomes of the call that begins now.
    pub(super) fn next(&self, operation: Operation, path: &str) -> Play {
        let (play, acts) = self.state().next(operation, path);
        // Run without the lock: what they do may make calls of its own.
        for act in acts {
            act();
        }
        play
    }

    /// Fails when the process has died.
    pub(super) fn alive(&self, operation: Operation, path: &str) -> Result<()> {
        if self.state().dead {
            return Err(scripted(ErrorKind::Permanent, operation, path));
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(
        &mut self,
        operation: Operation,
        path: &str,
    ) -> (Play, Vec<Arc<dyn Fn() + Send + Sync>>) {
        self.calls += 1;
        let dying = |moment| Play::Fail {
            moment,
            kind: ErrorKind::Permanent,
        };
        if self.dead {
            return (dying(Moment::Before), Vec::new());
        }
        if let Some((_, moment)) = self.crash.filter(|(call, _)| *call == self.calls) {
            self.dead = true;
            return (dying(moment), Vec::new());
        }
        let mut play = None;
        let mut acts = Vec::new();
        for fault in &mut self.faults {
            if fault.times == 0 || !fault.matches(operation, path) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            match &fault.effect {
                Effect::Run(act) => acts.push(Arc::clone(act)),
                Effect::Play(_) if play.is_some() => continue,
                Effect::Play(own) => play = Some(own.clone()),
            }
            fault.times -= 1;
        }
        let play = play.unwrap_or_else(|| self.random.as_mut().map_or(Play::Pass, Random::next));
        (play, acts)
    }
}

impl Random {
    fn next(&mut self) -> Play {
        if !self.generator.random_bool(self.probability) {
            return Play::Pass;
        }
        self.played += 1;
        let kind = self.kinds[self.generator.random_range(0..self.kinds.len())];
        let moment = if self.generator.random_bool(0.5) {
            Moment::Before
        } else {
            Moment::After
        };
        Play::Fail { moment, kind }
    }
}

/// The error of a scripted fault.
pub(super) fn scripted(kind: ErrorKind, operation: Operation, path: &str) -> Error {
    Error::new(kind, operation, path, "a scripted fault")
}
