//! Random histories: a person works on both sides, runs meet faults and die, and nothing may be lost.
//!
//! `OWS_SEED=N` replays one history; `OWS_SEEDS=N` plays so many of each kind, from that one on.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::state::{FaultPoint, StateFaults};
use ows::sync::{Finished, SyncOptions};
use ows_providers::layers::Fault;
use ows_providers::memory::{Alteration, MemoryOptions, VersionStyle};
use ows_providers::{ErrorKind, Operation};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Notify;

use crate::person::Person;
use crate::support::{Pair, TRANSIENT, clean};

/// Histories of each kind, without `OWS_SEEDS`.
const SEEDS: u64 = 340;

/// Files larger than this are uploaded in parts.
const LARGE: usize = 6 << 10;

const KINDS: &[ErrorKind] = &[
    TRANSIENT,
    TRANSIENT,
    ErrorKind::Permanent,
    ErrorKind::RateLimited { after: None },
    ErrorKind::Forbidden,
    ErrorKind::QuotaExceeded,
    ErrorKind::PreconditionFailed,
    ErrorKind::Unauthorized,
];

#[test]
fn nothing_is_lost_over_s3() {
    histories("s3", &|rng| {
        let mut options = small(MemoryOptions::s3());
        match rng.random_range(0..6) {
            0 => options.versions = VersionStyle::OpaqueEtag,
            1 => options.alteration = Alteration::Version,
            2 => options.enforced.versioning = Some(true),
            _ => {}
        }
        options.page_size = rng.random_range(2..50);
        options
    });
}

#[test]
fn nothing_is_lost_over_a_folder() {
    histories("folder", &|rng| {
        let mut options = small(MemoryOptions::folder());
        options.rename = rng.random_bool(0.7);
        options
    });
}

#[test]
fn nothing_is_lost_over_a_drive() {
    histories("drive", &|_| small(MemoryOptions::drive()));
}

fn small(options: MemoryOptions) -> MemoryOptions {
    MemoryOptions {
        single_put_max: LARGE as u64,
        ..options
    }
}

/// Files one after the other, no deaths, and no faults that depend on the time.
#[test]
fn the_same_seed_gives_the_same_run() {
    let play = |seed| {
        let mut history = History::new(seed, &|_| small(MemoryOptions::s3()));
        history.pair.settings.transfers = Some(1);
        history.is_calm = true;
        history.play();
        let log: Vec<String> = history
            .pair
            .store
            .log()
            .iter()
            .map(|call| {
                format!(
                    "{:?} {} {:?}",
                    call.operation,
                    without_runs(&call.path),
                    call.failure
                )
            })
            .collect();
        (log, history.pair.workspace(), history.pair.inbox())
    };
    for seed in 0..20 {
        let (once, again) = (play(seed), play(seed));
        assert_eq!(once, again, "seed {seed}");
    }
    assert_ne!(play(1).0, play(2).0);
}

/// A path without the random name of the run, or of the replica, that it may hold.
fn without_runs(path: &str) -> String {
    if path.starts_with(".ows/base-") {
        return ".ows/base".to_owned();
    }
    let Some((before, rest)) = path.split_once(".ows/trash/") else {
        return path.to_owned();
    };
    let after = rest.split_once('/').map_or("", |(_, after)| after);
    format!("{before}.ows/trash/RUN/{after}")
}

type MakeOptions<'a> = &'a (dyn Fn(&mut StdRng) -> MemoryOptions + Sync);

#[expect(
    clippy::print_stderr,
    reason = "a failing test must show how to run it again"
)]
fn histories(kind: &str, options: MakeOptions<'_>) {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let seeds = match number("OWS_SEED") {
        Some(seed) => seed..seed.saturating_add(number("OWS_SEEDS").unwrap_or(1)),
        None => 0..number("OWS_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let mut history = History::new(seed, options);
        let played = catch_unwind(AssertUnwindSafe(|| history.play()));
        if let Err(panic) = played {
            let diary = history.person().diary.join("\n");
            eprintln!("{kind}: OWS_SEED={seed} plays this again:\n{diary}");
            resume_unwind(panic);
        }
    }
}

struct History {
    rng: StdRng,
    pair: Pair,
    person: Arc<Mutex<Person>>,
    /// Nothing happens whose moment depends on threads.
    is_calm: bool,
}

impl History {
    fn new(seed: u64, options: MakeOptions<'_>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let options = options(&mut rng);
        let folders = options.folders;
        let mut pair = Pair::new(options, &[("keep.md", "stays")]);
        pair.settings.max_delete = 100;
        pair.settings.transfers = Some(rng.random_range(1..5));
        let mut person = Person::new(rng.random(), pair.local.path(), &pair.store, folders, LARGE);
        person.pulls = rng.random_bool(0.2);
        Self {
            rng,
            pair,
            person: Arc::new(Mutex::new(person)),
            is_calm: false,
        }
    }

    fn person(&self) -> MutexGuard<'_, Person> {
        self.person.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn play(&mut self) {
        for _ in 0..self.rng.random_range(1..6) {
            for _ in 0..self.rng.random_range(0..10) {
                self.person().act();
            }
            self.disturbed_run();
            self.assert_nothing_lost();
        }
        self.pair.faults.clear();
        self.pair.later();
        let finished = self.run(Script::none(), options(None));
        clean(&finished.expect("it is not killed"));
        self.assert_nothing_lost();
        self.assert_delivered();
        let pair = &self.pair;
        runtime().block_on(pair.assert_converged());
    }

    /// A run that meets faults, edits at the same time, a stop, or its death.
    fn disturbed_run(&mut self) {
        self.pair.faults.clear();
        let pulls = self.person().pulls && self.rng.random_bool(0.4);
        let mut options = options(pulls.then_some(Direction::Pull));
        for _ in 0..self.rng.random_range(0..3) {
            let person = Arc::clone(&self.person);
            let act = move || {
                person.lock().unwrap_or_else(PoisonError::into_inner).act();
            };
            let when = Fault::any().nth(self.rng.random_range(1..40));
            self.pair.faults.add(when.meanwhile(act));
        }
        let what = self.rng.random_range(0..if self.is_calm { 3 } else { 8 });
        let script = match what {
            0 => Script::none(),
            1 | 2 => {
                let probability = [0.02, 0.1, 0.3][self.rng.random_range(0..3)];
                self.pair
                    .faults
                    .random(self.rng.random(), probability, KINDS);
                Script::none()
            }
            3 => Script::failing(self.rng.random(), 0.03),
            4 => {
                self.one_odd_answer(&mut options);
                Script::none()
            }
            _ => Script::dying(self.rng.random_range(1..120)),
        };
        let how = format!(
            "run {:?} {script:?} {:?}",
            options.direction,
            self.pair.faults.unreached()
        );
        self.person().diary.push(how);
        let finished = self.run(script, options);
        let end = match finished {
            None => "killed".to_owned(),
            Some(finished) => format!(
                "{:?} {:?}",
                finished.failure.map(|failure| failure.message),
                finished.report.errors
            ),
        };
        self.person().diary.push(format!("ended: {end}"));
    }

    fn one_odd_answer(&mut self, options: &mut SyncOptions) {
        let nth = self.rng.random_range(1..4);
        let kind = KINDS[self.rng.random_range(0..KINDS.len())];
        let bytes = self.rng.random_range(0..20);
        let fault = match self.rng.random_range(0..4) {
            0 => Fault::on(Operation::Get).nth(nth).short_body(bytes, None),
            1 => Fault::on(Operation::Get)
                .nth(nth)
                .short_body(bytes, Some(kind)),
            2 => Fault::on(Operation::List).breaks_listing(self.rng.random_range(0..5), kind),
            _ => {
                options.timeout = Some(Duration::from_millis(200));
                let call = Fault::any().nth(self.rng.random_range(1..30));
                if self.rng.random() {
                    call.hangs()
                } else {
                    call.hangs_after()
                }
            }
        };
        self.pair.faults.add(fault);
    }

    /// One run in a runtime of its own; `None` when it was killed. What it had begun has ended when this returns.
    fn run(&self, script: Script, mut options: SyncOptions) -> Option<Finished> {
        let life = Arc::new(Life::new(script));
        options.state_faults = Some(life.faults());
        let step = Arc::clone(&life);
        let faults = Arc::clone(&self.pair.faults);
        faults.add(Fault::any().times(u64::MAX).meanwhile({
            let faults = Arc::clone(&faults);
            move || {
                if step.step() {
                    faults.crash_at(1, ows_providers::layers::Moment::Before);
                }
            }
        }));
        let runtime = runtime();
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = life.death.notified() => None,
                finished = self.pair.run(options) => Some(finished),
            }
        })
    }

    fn assert_nothing_lost(&self) {
        let there = self.pair.contents();
        let person = self.person();
        let lost: Vec<_> = person
            .required
            .difference(&there)
            .map(|content| shown(content))
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }

    /// What was dropped was delivered exactly once.
    fn assert_delivered(&self) {
        assert_eq!(
            self.pair.outbox(),
            ows_testkit::tree::Files::new(),
            "what is left in _outbox"
        );
        let inbox: Vec<_> = self.pair.inbox().into_values().collect();
        for dropped in &self.person().dropped {
            let copies = inbox.iter().filter(|content| *content == dropped).count();
            assert_eq!(copies, 1, "deliveries of {}", shown(dropped));
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn options(direction: Option<Direction>) -> SyncOptions {
    SyncOptions {
        direction,
        force: GuardName::ALL.into_iter().collect(),
        ..SyncOptions::default()
    }
}

fn shown(content: &[u8]) -> String {
    String::from_utf8_lossy(&content[..content.len().min(22)]).into_owned()
}

/// What happens to a run beside the faults of its remote.
#[derive(Debug)]
struct Script {
    dies_at: Option<u64>,
    failing: Option<(u64, f64)>,
}

impl Script {
    fn none() -> Self {
        Self {
            dies_at: None,
            failing: None,
        }
    }

    /// Killed at this call to the remote or the database.
    fn dying(at: u64) -> Self {
        Self {
            dies_at: Some(at),
            ..Self::none()
        }
    }

    /// Each call to the database fails with this probability, before or after it took effect.
    fn failing(seed: u64, probability: f64) -> Self {
        Self {
            failing: Some((seed, probability)),
            ..Self::none()
        }
    }
}

/// Counts the calls of one run to remote and database, and ends it.
struct Life {
    steps: AtomicU64,
    dies_at: Option<u64>,
    dead: AtomicBool,
    death: Notify,
    failing: Option<Mutex<(StdRng, f64)>>,
}

impl Life {
    fn new(script: Script) -> Self {
        Self {
            steps: AtomicU64::new(0),
            dies_at: script.dies_at,
            dead: AtomicBool::new(false),
            death: Notify::new(),
            failing: script
                .failing
                .map(|(seed, probability)| Mutex::new((StdRng::seed_from_u64(seed), probability))),
        }
    }

    /// One more call. True when it is the last one.
    fn step(&self) -> bool {
        let step = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
        if Some(step) != self.dies_at {
            return false;
        }
        self.dead.store(true, Ordering::SeqCst);
        self.death.notify_one();
        true
    }

    fn faults(self: &Arc<Self>) -> StateFaults {
        let life = Arc::clone(self);
        StateFaults(Arc::new(move |_call: &'static str, _point: FaultPoint| {
            life.step();
            let fails = || {
                let mut failing = life.failing.as_ref()?.lock().ok()?;
                let probability = failing.1;
                Some(failing.0.random_bool(probability))
            };
            life.dead.load(Ordering::SeqCst) || fails().unwrap_or(false)
        }))
    }
}
