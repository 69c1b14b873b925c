//! Makes a failing history small: takes steps away, many at a time and then one by one, as long as the same promise is
//! broken (Zeller's delta debugging), and takes what goes wrong out of runs.

use std::time::{Duration, Instant};

use super::play::Broken;
use super::step::{Step, Trouble};

/// A failure is shown before its history is as small as it can be.
const LONGEST: Duration = Duration::from_secs(60);

/// The smallest history found that still breaks the same promise. `fails` plays one.
pub fn shrink(
    steps: Vec<Step>,
    broken: Broken,
    fails: impl Fn(&[Step]) -> Option<Broken>,
) -> Vec<Step> {
    let begin = Instant::now();
    let is_same = |steps: &[Step]| begin.elapsed() < LONGEST && fails(steps) == Some(broken);
    let mut steps = steps;
    loop {
        let before = steps.len();
        steps = without_parts(steps, &is_same);
        let calmed = calmed(&mut steps, &is_same);
        if steps.len() == before && !calmed || begin.elapsed() >= LONGEST {
            return steps;
        }
    }
}

/// Takes away parts of half the length, then of a quarter, down to single steps.
fn without_parts(mut steps: Vec<Step>, is_same: &impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut length = steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + length).min(steps.len()));
            if is_same(&fewer) {
                steps = fewer;
            } else {
                at += length;
            }
        }
        if length == 1 {
            return steps;
        }
        length = length.div_ceil(2);
    }
}

/// Takes out of each run what goes wrong in it, where that changes nothing. True when something was taken out.
fn calmed(steps: &mut [Step], is_same: &impl Fn(&[Step]) -> bool) -> bool {
    let mut has_changed = false;
    for at in 0..steps.len() {
        let Step::Run(host, how, trouble, meanwhile) = steps[at].clone() else {
            continue;
        };
        let mut simpler = Vec::new();
        if !matches!(trouble, Trouble::None) {
            simpler.push(Step::Run(host, how, Trouble::None, meanwhile.clone()));
        }
        for index in 0..meanwhile.len() {
            let mut fewer = meanwhile.clone();
            fewer.remove(index);
            simpler.push(Step::Run(host, how, trouble.clone(), fewer));
        }
        for step in simpler {
            let old = std::mem::replace(&mut steps[at], step);
            if is_same(steps) {
                has_changed = true;
                break;
            }
            steps[at] = old;
        }
    }
    has_changed
}

#[test]
fn a_failing_history_is_made_as_small_as_it_can_be() {
    use super::step::{How, Place};
    let needed = |step: &Step| matches!(step, Step::Rewrite(0, "f") | Step::LoseMarker(1));
    let fails = |steps: &[Step]| {
        (steps.iter().filter(|step| needed(step)).count() == 2).then_some(Broken::Lost)
    };
    let mut steps = vec![Step::Wait; 40];
    steps[7] = Step::Rewrite(0, "f");
    steps[20] = Step::Write(Place::Cloud, "f", 3);
    steps[21] = Step::Run(0, How::Plain, Trouble::Kill(3), Vec::new());
    steps[33] = Step::LoseMarker(1);
    let small = shrink(steps, Broken::Lost, fails);
    assert_eq!(small.len(), 2, "{small:?}");
    assert!(small.iter().all(needed));
}
