//! Arbitrary bytes, and golden files with damage, through everything that is fuzzed: a few seconds of each in every test
//! run. `OWS_SEED` replays, `OWS_FUZZED` sets how many inputs each target gets; `fuzz/run` looks deeper.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use ows_fuzzed::{TARGETS, Target};
use ows_testkit::random::Seed;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// No input takes longer, even on a machine that has much else to do and without optimisation.
const LONGEST: Duration = Duration::from_secs(20);

/// The most memory that this process may ever have held, in KiB. The bound of all patterns together is the largest part.
const MOST_MEMORY: u64 = 700 << 10;

/// The longest input that is made up. Everything that is read has lengths of its own to lie about.
const LONGEST_INPUT: usize = 8 << 10;

#[test]
fn golden_inputs_are_read() {
    for target in TARGETS {
        for seed in (target.seeds)() {
            call(&target, &seed, "a golden input");
        }
        call(&target, b"", "nothing");
    }
}

#[test]
fn damaged_indexes_are_refused_with_words() {
    damage_all("index");
}

#[test]
fn damaged_manifests_are_refused_with_words() {
    damage_all("manifest");
}

#[test]
fn damaged_archives_are_refused_with_words() {
    damage_all("tar");
}

#[test]
fn damaged_archives_stay_in_their_target() {
    damage_all("extract");
}

#[test]
fn damaged_snapshots_of_the_old_plugin_are_refused_with_words() {
    damage_all("legacy");
}

#[test]
fn damaged_configurations_are_refused_with_words() {
    damage_all("config");
}

#[test]
fn damaged_patterns_are_refused_with_words() {
    damage_all("patterns");
}

fn damage_all(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("there is such a target");
    let mut rng = Seed::new().rng();
    let count = std::env::var("OWS_FUZZED").map_or(1000, |text| text.parse().expect("a number"));
    let golden = (target.seeds)();
    for number in 0..count / target.cost {
        let input = input(&mut rng, &golden, target.words);
        call(target, &input, &format!("input {number}"));
    }
    let peak = peak_memory();
    assert!(peak < MOST_MEMORY, "{peak} KiB of memory were held at once");
}

fn call(target: &Target, input: &[u8], what: &str) {
    let begin = Instant::now();
    // Nothing is used afterwards that a panic could have left half done.
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let taken = begin.elapsed();
    let problem = match outcome {
        Err(panic) => text(&*panic),
        Ok(()) if taken > LONGEST => format!("it took {taken:?}"),
        Ok(()) => return,
    };
    panic!(
        "{}, {what}: {problem}\ninput: b\"{}\"",
        target.name,
        input.escape_ascii()
    );
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// One input: now and then noise or words alone, mostly a golden one with some damage.
fn input(rng: &mut StdRng, golden: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut input = match rng.random_range(0..20) {
        0 => (0..rng.random_range(0..600))
            .map(|_| rng.random())
            .collect(),
        1 => Vec::new(),
        _ => golden.choose(rng).cloned().unwrap_or_default(),
    };
    for _ in 0..rng.random_range(1..=8) {
        damage(rng, &mut input, golden, words);
    }
    input.truncate(LONGEST_INPUT);
    input
}

fn damage(rng: &mut StdRng, input: &mut Vec<u8>, golden: &[Vec<u8>], words: &[&str]) {
    let at = rng.random_range(0..=input.len());
    let to = rng.random_range(at..=input.len().min(at + 64));
    match rng.random_range(0..9) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = *b"\0\xff\x80 09/.{[\"\\\n".choose(rng).unwrap_or(&0);
            }
        }
        2 => input.truncate(at),
        3 => drop(input.drain(at..to)),
        4 => {
            let piece = input[at..to].to_vec();
            let times = rng.random_range(1..4);
            input.splice(at..at, piece.repeat(times));
        }
        5 | 6 => {
            let word = words.choose(rng).copied().unwrap_or_default();
            // In place of as much, as fields of fixed length have it, or in between.
            let over = if rng.random() { word.len() } else { 0 };
            let end = input.len().min(at + over);
            input.splice(at..end, word.bytes());
        }
        7 => {
            let other = golden.choose(rng).map_or(&[][..], Vec::as_slice);
            let from = rng.random_range(0..=other.len());
            input.truncate(at);
            input.extend(&other[from..]);
        }
        _ => {
            let noise: Vec<u8> = (0..to - at).map(|_| rng.random()).collect();
            input.splice(at..to, noise);
        }
    }
}

/// The most memory that this process has held, in KiB; nothing where the system does not tell.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|text| text.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_default()
}
