//! A state machine that tries to break bisync: one to three hosts at one remote, edits on all of them and in the cloud,
//! runs of every kind with everything that goes wrong in them, databases and markers that are lost or put back, volumes
//! that are not mounted, clocks that are set.
//!
//! The model ([`world`]): every content that a person wrote, and that no person deleted or overwrote where it was seen, is
//! on a side or in a trash, after each run and at the end. When people stop, all hosts come to rest within a few runs, with
//! equal trees, and then each makes one listing and nothing else. No run stops but for a guard that the
//! specification names, and then what the guard says leads on.
//!
//! On a store that ignores conditions nobody acts in the middle of a run: what comes between the last look and the act is
//! the window that is documented.
//!
//! `OWS_SEED=N` plays one history again, `OWS_SEEDS=N` so many of each kind from there on. A failing one is made
//! small, and shown with what was done in it.

mod play;
mod shrink;
mod step;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use play::{Broken, Played, play};
use step::{Kind, Setting, Step, Trouble};

/// Histories of each kind, without `OWS_SEEDS`: 200 over all of them.
const SEEDS: u64 = 50;

#[test]
fn bisync_over_s3_loses_nothing_and_comes_to_rest() {
    histories(Kind::S3);
}

#[test]
fn bisync_over_s3_without_conditions_loses_nothing_and_comes_to_rest() {
    histories(Kind::CarelessS3);
}

#[test]
fn bisync_over_a_folder_loses_nothing_and_comes_to_rest() {
    histories(Kind::Folder);
}

#[test]
fn bisync_over_a_drive_loses_nothing_and_comes_to_rest() {
    histories(Kind::Drive);
}

/// What does not depend on threads: files one after the other, and no run that dies.
#[test]
fn the_same_seed_gives_the_same_history() {
    let log = |kind, seed| {
        let (mut setting, mut steps) = drawn(kind, seed);
        setting.transfers = 1;
        steps.iter_mut().for_each(calm);
        let played = play(&setting, &steps);
        assert_eq!(played.verdict, Ok(()), "seed {seed}");
        let log = played.world.store.log().into_iter();
        let calls = log.map(|call| (call.operation, call.failure));
        let trees = (0..setting.hosts).map(|host| played.world.local_tree(host));
        (calls.collect::<Vec<_>>(), trees.collect::<Vec<_>>())
    };
    for seed in 0..4 {
        for kind in [Kind::S3, Kind::Folder] {
            assert!(log(kind, seed) == log(kind, seed), "{kind:?} seed {seed}");
        }
    }
}

fn calm(step: &mut Step) {
    if let Step::Run(_, _, trouble, _) = step
        && matches!(
            trouble,
            Trouble::Kill(_) | Trouble::Hang(..) | Trouble::Database(..) | Trouble::DatabaseGone(_)
        )
    {
        *trouble = Trouble::None;
    }
}

fn drawn(kind: Kind, seed: u64) -> (Setting, Vec<Step>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let setting = Setting::draw(kind, &mut rng);
    let steps = step::history(&setting, &mut rng);
    (setting, steps)
}

fn histories(kind: Kind) {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let first = number("OWS_SEED");
    let count = number("OWS_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(0);
    for seed in first..first.saturating_add(count) {
        let (setting, steps) = drawn(kind, seed);
        if let Some((broken, _)) = failure(&setting, &steps) {
            show(kind, seed, &setting, steps, broken);
        }
    }
}

/// How a history fails, with what was done in it.
fn failure(setting: &Setting, steps: &[Step]) -> Option<(Broken, String)> {
    let played = catch_unwind(AssertUnwindSafe(|| play(setting, steps)));
    match played {
        Ok(Played {
            verdict: Ok(()), ..
        }) => None,
        Ok(Played {
            verdict: Err((broken, text)),
            diary,
            ..
        }) => Some((broken, format!("{}\n{text}", diary.join("\n")))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some((Broken::Panicked, text.unwrap_or_default()))
        }
    }
}

fn show(kind: Kind, seed: u64, setting: &Setting, steps: Vec<Step>, broken: Broken) -> ! {
    let length = steps.len();
    let small = shrink::shrink(steps, broken, |steps| {
        failure(setting, steps).map(|(broken, _)| broken)
    });
    let listed: Vec<String> = small.iter().map(|step| format!("  {step:?}")).collect();
    let (_, text) = failure(setting, &small).unwrap_or((broken, "not every time".to_owned()));
    panic!(
        "{kind:?}: {broken:?}; to play it again: OWS_SEED={seed} cargo test --test engine machine::{}\n{setting:?}\nOf {length} steps these are enough:\n{}\n\n{text}",
        test_of(kind),
        listed.join("\n")
    );
}

fn test_of(kind: Kind) -> &'static str {
    match kind {
        Kind::S3 => "bisync_over_s3_loses",
        Kind::CarelessS3 => "bisync_over_s3_without",
        Kind::Folder => "bisync_over_a_folder",
        Kind::Drive => "bisync_over_a_drive",
    }
}
