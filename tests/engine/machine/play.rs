//! Plays a history: runs with all that goes wrong in them, and what must hold afterwards.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use ows::error::FailureKind;
use ows::plan::Direction;
use ows::plan::guards::GuardName;
use ows::report::Counts;
use ows::state::{FaultPoint, State, StateFaults};
use ows::sync::{Finished, HostClock, Reading, SyncOptions};
use ows_providers::layers::{Fault, Moment};
use ows_providers::{ErrorKind, Operation};
use ows_testkit::tree::{OwsFolder, read_files};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Notify;

use super::step::{How, Setting, Step, Trouble};
use super::world::World;
use crate::support::{TRANSIENT, calls};

/// Within so many rounds over all hosts everything is quiet once people have stopped.
const ROUNDS: usize = 8;

/// What random faults answer.
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

/// How a promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A content that nobody gave up is nowhere.
    Lost,
    /// A run stopped, and nobody had given it a reason.
    LockedOut,
    /// The hosts do not come to rest, or not with the same trees.
    Unsettled,
    /// Something lies about.
    LeftBehind,
    /// The test itself, or the engine, panicked.
    Panicked,
}

/// A promise that was broken, in words.
pub type Verdict = Result<(), (Broken, String)>;

/// What came of a history.
pub struct Played {
    pub verdict: Verdict,
    pub diary: Vec<String>,
    pub world: Arc<World>,
}

/// Plays all of it, and what follows when people have stopped.
pub fn play(setting: &Setting, steps: &[Step]) -> Played {
    let world = Arc::new(World::new(setting));
    let verdict = steps
        .iter()
        .try_for_each(|step| carry_out(&world, step))
        .and_then(|()| settle(&world));
    Played {
        verdict,
        diary: world.diary(),
        world,
    }
}

fn carry_out(world: &Arc<World>, step: &Step) -> Verdict {
    world.note(format!("{step:?}"));
    match step {
        Step::Run(host, how, trouble, meanwhile) => {
            for (call, step) in meanwhile {
                interrupt(world, *host, *call, step.clone());
            }
            let finished = run(world, *host, *how, trouble);
            world.hosts[*host].pair.faults.clear();
            if !is_told_that_all_is_gone(trouble) {
                take_the_way_out(world, *host, finished.as_ref())?;
            }
            // People are slower than a store's clock ticks.
            world.store.advance(Duration::from_secs(2));
            nothing_is_lost(world)
        }
        Step::Snapshot(host) | Step::Rollback(host) | Step::LoseState(host) => {
            let_the_database_rest(world, *host);
            world.act(step);
            Ok(())
        }
        Step::LoseStateAndCheckpoint(host) => {
            let_the_database_rest(world, *host);
            world.act(step);
            Ok(())
        }
        other => {
            world.act(other);
            Ok(())
        }
    }
}

/// Somebody acts in the middle of a run, or another host makes a whole run of its own.
fn interrupt(world: &Arc<World>, host: usize, call: u64, step: Step) {
    let weak = Arc::downgrade(world);
    let act = move || {
        let Some(world) = weak.upgrade() else { return };
        world.note(format!("  meanwhile {step:?}"));
        match &step {
            Step::Run(other, how, ..) => {
                let (other, how) = (*other, *how);
                let run = std::thread::spawn(move || {
                    run(&world, other, how, &Trouble::None);
                    world.store.advance(Duration::from_secs(2));
                });
                run.join().expect("a run does not panic");
            }
            other => world.act(other),
        }
    };
    let faults = &world.hosts[host].pair.faults;
    faults.add(Fault::any().nth(call).meanwhile(act));
}

/// Whether the remote may have told, once, that it is not there. A guard heard that, and a person sees that it was not so.
fn is_told_that_all_is_gone(trouble: &Trouble) -> bool {
    matches!(
        trouble,
        Trouble::Before(_, ErrorKind::NotFound)
            | Trouble::After(_, ErrorKind::NotFound)
            | Trouble::Listing(_, ErrorKind::NotFound)
    )
}

/// Guards stop a run only for what the specification names; then a person types what the guard says.
fn take_the_way_out(world: &Arc<World>, host: usize, finished: Option<&Finished>) -> Verdict {
    let Some(guard) = finished.and_then(|finished| finished.report.guard.as_ref()) else {
        return Ok(());
    };
    let way_out = match guard.name {
        GuardName::FirstSync if world.hosts[host].may_ask.load(Ordering::SeqCst) => How::Resync,
        // A push from a folder that is not the one that was synced.
        GuardName::LocalRoot => How::Pull,
        // It warns, and the run went on.
        GuardName::StateRollback => return Ok(()),
        // Somebody has deleted everything that takes part.
        GuardName::RemoteRoot if world.remote_tree().is_empty() => How::Forced,
        _ => return Err((Broken::LockedOut, format!("host {host}: {guard:?}"))),
    };
    run(world, host, way_out, &Trouble::None);
    Ok(())
}

/// One run in a runtime of its own; `None` when it was killed. What it had begun has ended when this returns.
fn run(world: &Arc<World>, host: usize, how: How, trouble: &Trouble) -> Option<Finished> {
    let mut options = options(world, host, how);
    let life = Arc::new(Life::new(trouble));
    arrange(world, host, trouble, &mut options);
    options.state_faults = Some(life.faults());
    let pair = &world.hosts[host].pair;
    let step = Arc::clone(&life);
    let faults = Arc::clone(&pair.faults);
    if matches!(trouble, Trouble::Kill(_)) {
        pair.faults
            .add(Fault::any().times(u64::MAX).meanwhile(move || {
                if step.step() {
                    faults.crash_at(1, Moment::Before);
                }
            }));
    }
    let finished = runtime().block_on(async {
        tokio::select! {
            biased;
            () = life.death.notified() => None,
            finished = pair.run(options) => Some(finished),
        }
    });
    if let Some(finished) = &finished {
        note(world, host, how, finished);
        if finished.failure.is_none() {
            world.hosts[host].may_ask.store(false, Ordering::SeqCst);
        }
    } else {
        world.note(format!("  host {host} {how:?}: killed"));
    }
    finished
}

fn note(world: &World, host: usize, how: How, finished: &Finished) {
    let failure = finished.failure.as_ref();
    let failure = failure.map(|failure| (failure.kind, &failure.message));
    world.note(format!(
        "  host {host} {how:?}: {failure:?} {:?} {:?} {:?}",
        shown(&finished.report.counts),
        finished.report.errors,
        finished.report.warnings,
    ));
}

fn shown(counts: &Counts) -> String {
    let text = format!("{counts:?}");
    let fields = text.trim_start_matches("Counts { ").trim_end_matches(" }");
    let done: Vec<&str> = fields
        .split(", ")
        .filter(|field| !field.ends_with(": 0") && !field.starts_with("unchanged"))
        .collect();
    done.join(", ")
}

fn options(world: &World, host: usize, how: How) -> SyncOptions {
    let offset = Arc::new(AtomicI64::new(
        world.hosts[host].offset.load(Ordering::SeqCst),
    ));
    let begin = std::time::Instant::now();
    let clock = HostClock::new(move || Reading {
        wall: Utc::now() + TimeDelta::seconds(offset.load(Ordering::SeqCst)),
        steady: begin.elapsed(),
    });
    let direction = match how {
        How::Push => Some(Direction::Push),
        How::Pull => Some(Direction::Pull),
        How::Plain | How::Forced | How::Resync => None,
    };
    // Whoever types a direction means it; nobody means a database that was put back.
    let force = match how {
        How::Plain | How::Resync => [].into(),
        How::Push | How::Pull => [GuardName::FirstSync].into(),
        How::Forced => {
            let all = GuardName::ALL.into_iter();
            all.filter(|guard| *guard != GuardName::StateRollback)
                .collect()
        }
    };
    SyncOptions {
        direction,
        force,
        resync: how == How::Resync,
        clock,
        ..SyncOptions::default()
    }
}

fn arrange(world: &World, host: usize, trouble: &Trouble, options: &mut SyncOptions) {
    let faults = &world.hosts[host].pair.faults;
    match *trouble {
        Trouble::None | Trouble::Database(..) | Trouble::DatabaseGone(_) | Trouble::Kill(_) => {}
        Trouble::Calls(seed, percent) => {
            faults.random(seed, f64::from(percent) / 100.0, KINDS);
        }
        Trouble::Crash(call, moment) => {
            faults.crash_at(call, moment);
        }
        Trouble::Before(call, kind) => {
            faults.add(Fault::any().nth(call).before(kind));
        }
        Trouble::After(call, kind) => {
            faults.add(Fault::any().nth(call).after(kind));
        }
        Trouble::Hang(call, moment) => {
            options.timeout = Some(Duration::from_millis(150));
            let fault = Fault::any().nth(call);
            faults.add(match moment {
                Moment::Before => fault.hangs(),
                Moment::After => fault.hangs_after(),
            });
        }
        Trouble::Short(call, bytes, kind) => {
            faults.add(Fault::on(Operation::Get).nth(call).short_body(bytes, kind));
        }
        Trouble::Listing(items, kind) => {
            faults.add(Fault::on(Operation::List).breaks_listing(items, kind));
        }
    }
}

/// The threads of a database that was not closed may still be busy with it: the last one to close folds the log.
fn let_the_database_rest(world: &World, host: usize) {
    let own = &world.hosts[host].pair.settings.own_dir;
    let runtime = runtime();
    for _ in 0..1000 {
        if !own.join("state.db-wal").exists() {
            return;
        }
        runtime.block_on(async {
            let state = State::open(own).await;
            state.expect("a whole database").close().await;
        });
    }
}

fn nothing_is_lost(world: &World) -> Verdict {
    let lost = world.lost();
    if lost.is_empty() {
        return Ok(());
    }
    Err((Broken::Lost, format!("lost: {lost:?}")))
}

/// People have stopped. All hosts run until nobody has anything to do any more.
fn settle(world: &Arc<World>) -> Verdict {
    world.note("people have stopped".to_owned());
    for host in 0..world.hosts.len() {
        world.mount(host);
    }
    let mut last = String::new();
    for round in 1..=ROUNDS {
        // Leases of killed runs end, also those from the future.
        world.wait(Duration::from_secs(3600));
        let mut is_quiet = true;
        for host in 0..world.hosts.len() {
            let finished = run(world, host, How::Plain, &Trouble::None);
            let finished = finished.ok_or((Broken::Panicked, "nobody killed it".to_owned()))?;
            world.store.advance(Duration::from_secs(2));
            take_the_way_out(world, host, Some(&finished))?;
            may_fail_so(host, &finished)?;
            nothing_is_lost(world)?;
            if let Some(why) = busy(&finished) {
                is_quiet = false;
                last = format!("host {host}: {why}");
            }
        }
        if is_quiet {
            world.note(format!("quiet after {round} rounds"));
            trees_are_equal(world)?;
            return nothing_is_left(world);
        }
    }
    Err((Broken::Unsettled, format!("never quiet: {last}")))
}

/// Without faults a run stops for a guard, waits for another host, or leaves something alone; nothing else.
fn may_fail_so(host: usize, finished: &Finished) -> Verdict {
    let Some(failure) = &finished.failure else {
        return Ok(());
    };
    let may = [FailureKind::Partial, FailureKind::Busy, FailureKind::Guard];
    if may.contains(&failure.kind) {
        return Ok(());
    }
    let text = format!("host {host}: {failure:?} {:?}", finished.report.errors);
    Err((Broken::LockedOut, text))
}

/// What a run did that one with nothing to do does not do.
fn busy(finished: &Finished) -> Option<String> {
    let counts = Counts {
        unchanged: finished.report.counts.unchanged,
        ..Counts::default()
    };
    let calls = calls(finished);
    // As long as nothing was ever agreed on, a folder that is marked asks for the checkpoint of another time.
    let may_ask = counts == Counts::default();
    let is_quiet = finished.failure.is_none()
        && finished.report.counts == counts
        && calls
            .iter()
            .all(|(name, count)| *name == "list" || may_ask && (*name, *count) == ("get", 1));
    (!is_quiet).then(|| {
        format!(
            "{:?} {:?} {:?} {calls:?}",
            finished.failure.as_ref().map(|failure| &failure.message),
            finished.report.counts,
            finished.report.errors
        )
    })
}

fn trees_are_equal(world: &World) -> Verdict {
    let remote = world.remote_tree();
    for host in 0..world.hosts.len() {
        let local = world.local_tree(host);
        if local != remote {
            let names = |tree: &std::collections::BTreeMap<String, Option<Vec<u8>>>| {
                let shown = tree.iter().map(|(path, content)| {
                    let content = content.as_deref().map(super::world::shown);
                    format!("{path}={}", content.unwrap_or_default())
                });
                shown.collect::<Vec<_>>().join(", ")
            };
            let text = format!(
                "host {host} holds: {}\nthe remote: {}",
                names(&local),
                names(&remote)
            );
            return Err((Broken::Unsettled, text));
        }
    }
    Ok(())
}

fn nothing_is_left(world: &World) -> Verdict {
    for (host, its) in world.hosts.iter().enumerate() {
        let local = read_files(its.pair.local.path(), OwsFolder::Include);
        if let Some(path) = local.keys().find(|path| path.contains(".ows-tmp-")) {
            return Err((Broken::LeftBehind, format!("host {host}: {path}")));
        }
        // A conflict about a conflict file takes the next number.
        let is_endless = |path: &&String| path.matches(".conflict").count() > 1;
        if let Some(path) = local.keys().find(is_endless) {
            return Err((Broken::LeftBehind, format!("host {host}: {path}")));
        }
    }
    let mut remote = world.store.files().into_keys();
    let probe = remote.find(|path| path.starts_with(".ows/probe"));
    match probe {
        Some(path) if !world.is_careless() => Err((Broken::LeftBehind, path)),
        _ => Ok(()),
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// Counts the calls of one run to remote and database, and ends it.
struct Life {
    steps: AtomicU64,
    dies_at: Option<u64>,
    dead: AtomicBool,
    death: Notify,
    failing: Option<Mutex<(StdRng, f64)>>,
    gone_from: Option<u64>,
}

impl Life {
    fn new(trouble: &Trouble) -> Self {
        let random = |seed, percent| {
            let probability = f64::from(percent) / 100.0;
            Mutex::new((StdRng::seed_from_u64(seed), probability))
        };
        Self {
            steps: AtomicU64::new(0),
            dies_at: match trouble {
                Trouble::Kill(at) => Some(*at),
                _ => None,
            },
            dead: AtomicBool::new(false),
            death: Notify::new(),
            failing: match trouble {
                Trouble::Database(seed, percent) => Some(random(*seed, *percent)),
                _ => None,
            },
            gone_from: match trouble {
                Trouble::DatabaseGone(from) => Some(*from),
                _ => None,
            },
        }
    }

    /// One more call. True when it is the last one.
    fn step(&self) -> bool {
        let step = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
        if self.gone_from.is_some_and(|from| step >= from) {
            self.dead.store(true, Ordering::SeqCst);
        }
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
                let failing = life.failing.as_ref()?;
                let mut failing = failing.lock().unwrap_or_else(PoisonError::into_inner);
                let probability = failing.1;
                Some(failing.0.random_bool(probability))
            };
            life.dead.load(Ordering::SeqCst) || fails().unwrap_or(false)
        }))
    }
}
