//! The real binary, killed with SIGKILL, then run again: the trees are right, nothing is lost, every drop is delivered once,
//! nothing is left lying about, and the run after is quiet.
//!
//! Two kinds of kill. At a *moment*: a fraction of the time that an undisturbed run of the same work takes, spread evenly over
//! the whole run. On a *call*: when the server receives the n-th call of an operation, which is then either carried out with
//! nobody left to hear of it, or never carried out.
//!
//! - `OWS_KILLS`: how many kills at moments over all tests together, and as many of backups; 20 by default, 500 in the soak.
//! - `OWS_SEED`: replays the work and the moments. A moment is a time, so a replay hits the same place only about.

mod backup;
mod bisync;
mod checks;
mod mirror;
mod place;
mod vault;
mod work;

use std::time::{Duration, Instant};

use ows_testkit::random::Seed;
use ows_testkit::s3::Op;
use place::{Kill, Mode, Place, RemoteKind};

/// The seed when none is given: the tests of two machines are the same.
const SEED: u64 = 0x0005_eed0;

fn seed() -> u64 {
    match std::env::var_os("OWS_SEED") {
        Some(_) => Seed::new().0,
        None => SEED,
    }
}

/// This test's share of all kills, in per cent.
fn kills(share: u32) -> u32 {
    let all = std::env::var("OWS_KILLS").map_or(20, |text| {
        text.parse::<u32>().expect("OWS_KILLS is a number")
    });
    (all * share / 100).max(1)
}

/// Fractions of a run that cover it evenly however many are taken: multiples of the golden ratio.
fn moments(seed: u64) -> impl Iterator<Item = f64> {
    let start = (seed % 1000) as f64 / 1000.0;
    (1_u32..).map(move |index| (start + f64::from(index) * 0.618_033_988_75).fract())
}

/// Work, a run killed in the middle of it, maybe more work, maybe a second kill, a run to the end; and all over again.
fn killed_at_moments(mode: Mode, remote: RemoteKind, seed: u64, wanted: u32) {
    let mut place = Place::new(mode, remote, seed);
    place.first_work();
    place.finish();
    checks::all(&place, "before any kill");

    let mut whole = measure(&mut place);
    let mut killed = 0;
    for (round, moment) in (1_u32..).zip(moments(seed)) {
        if killed >= wanted {
            break;
        }
        assert!(
            round <= wanted * 4 + 8,
            "the runs end before they are killed: {killed} of {wanted}"
        );
        if round % 16 == 0 {
            whole = measure(&mut place);
        }
        place.work();
        let at = whole.mul_f64(moment);
        let what = format!("round {round}, killed after {at:?} of {whole:?}");
        let hit = place.run_killed(Kill::After(at));
        killed += u32::from(hit);
        if hit && round % 3 == 0 {
            place.more_work();
        }
        if hit && round % 4 == 0 && place.run_killed(Kill::After(at / 2)) {
            killed += 1;
        }
        place.finish();
        checks::all(&place, &what);
    }
}

/// How long an undisturbed run takes over a round's work.
fn measure(place: &mut Place) -> Duration {
    place.work();
    let begin = Instant::now();
    place.finish();
    let whole = begin.elapsed();
    checks::all(place, "an undisturbed run");
    whole
}

/// Runs that have no base yet: what was uploaded and not recorded is found again, and nothing guards against it.
fn first_runs_killed(mode: Mode, remote: RemoteKind, seed: u64, wanted: u32) {
    let mut whole = None;
    let mut killed = 0;
    for (round, moment) in (1_u64..).zip(moments(seed)) {
        if killed >= wanted {
            break;
        }
        assert!(
            round <= u64::from(wanted) * 4 + 8,
            "the runs end before they are killed"
        );
        let mut place = Place::new(mode, remote, seed.wrapping_add(round));
        place.first_work();
        let whole = *whole.get_or_insert_with(|| {
            let mut twin = Place::new(mode, remote, seed);
            twin.first_work();
            let begin = Instant::now();
            twin.finish();
            begin.elapsed()
        });
        let at = whole.mul_f64(moment);
        let what = format!("first run {round}, killed after {at:?} of {whole:?}");
        killed += u32::from(place.run_killed(Kill::After(at)));
        place.finish();
        checks::all(&place, &what);
    }
}

#[test]
fn runs_against_s3_survive_a_kill_at_any_moment() {
    killed_at_moments(Mode::Mailbox, RemoteKind::S3, seed(), kills(40));
}

#[test]
fn runs_against_a_folder_survive_a_kill_at_any_moment() {
    killed_at_moments(Mode::Mailbox, RemoteKind::Folder, seed() + 1, kills(30));
}

#[test]
fn first_runs_against_s3_survive_a_kill_at_any_moment() {
    first_runs_killed(Mode::Mailbox, RemoteKind::S3, seed() + 2, kills(15));
}

#[test]
fn first_runs_against_a_folder_survive_a_kill_at_any_moment() {
    first_runs_killed(Mode::Mailbox, RemoteKind::Folder, seed() + 3, kills(15));
}

#[test]
fn mirror_runs_with_ingest_against_s3_survive_a_kill_at_any_moment() {
    killed_at_moments(Mode::Mirror, RemoteKind::S3, seed() + 20, kills(20));
}

#[test]
fn mirror_runs_with_ingest_against_a_folder_survive_a_kill_at_any_moment() {
    killed_at_moments(Mode::Mirror, RemoteKind::Folder, seed() + 21, kills(20));
}

#[test]
fn first_mirror_runs_with_ingest_survive_a_kill_at_any_moment() {
    for remote in [RemoteKind::S3, RemoteKind::Folder] {
        first_runs_killed(Mode::Mirror, remote, seed() + 22, kills(5));
    }
}

#[test]
fn bisync_runs_against_s3_survive_a_kill_at_any_moment() {
    killed_at_moments(Mode::Bisync, RemoteKind::S3, seed() + 30, kills(30));
}

#[test]
fn bisync_runs_against_a_folder_survive_a_kill_at_any_moment() {
    killed_at_moments(Mode::Bisync, RemoteKind::Folder, seed() + 31, kills(30));
}

#[test]
fn first_bisync_runs_survive_a_kill_at_any_moment() {
    for remote in [RemoteKind::S3, RemoteKind::Folder] {
        first_runs_killed(Mode::Bisync, remote, seed() + 32, kills(10));
    }
}

/// Nothing is done but renaming, so that a kill often comes between a rename and the record of it.
#[test]
fn renames_of_the_remote_survive_a_kill_at_any_moment() {
    let seed = seed() + 33;
    let mut place = Place::new(Mode::Bisync, RemoteKind::S3, seed);
    bisync::small_files(&mut place, 40);
    place.finish();
    bisync::rename_all_there(&mut place);
    let begin = Instant::now();
    place.finish();
    let whole = begin.elapsed();
    let mut killed = 0;
    let wanted = kills(15);
    for (round, moment) in (1_u32..).zip(moments(seed)) {
        if killed >= wanted {
            break;
        }
        assert!(
            round <= wanted * 4 + 8,
            "the runs end before they are killed"
        );
        bisync::rename_all_there(&mut place);
        let at = whole.mul_f64(moment);
        killed += u32::from(place.run_killed(Kill::After(at)));
        place.finish();
        checks::all(
            &place,
            &format!("renamed, killed after {at:?} of {whole:?}"),
        );
    }
}

/// Whatever of settling a conflict was done when it was killed, both contents are there, and the same command ends it.
#[test]
fn settling_a_conflict_survives_a_kill_at_any_moment() {
    let seed = seed() + 34;
    let mut place = Place::new(Mode::Bisync, RemoteKind::Folder, seed);
    bisync::small_files(&mut place, 3);
    place.finish();
    let mut whole = Duration::from_millis(100);
    for (round, moment) in (0..kills(45)).zip(moments(seed)) {
        let keep = ["local", "remote", "both"][round as usize % 3];
        let (path, here) = bisync::conflict(&mut place);
        let there = place.expected.files[&path].clone();
        let command = ["conflicts", "resolve", "--keep", keep, &path];
        let at = whole.mul_f64(moment);
        let what = format!("`{}` killed after {at:?} of {whole:?}", command.join(" "));
        place.start_command(&command).killed_after(at);
        checks::are_held(&place, [&here, &there], &what);
        let begin = Instant::now();
        let mut again = place.start_command(&command);
        let status = again.wait();
        // It may have been done with: then it is in conflict no more.
        let is_done = again.output().contains("is not in conflict");
        assert!(status.success() || is_done, "{what}: {}", again.output());
        if status.success() {
            whole = begin.elapsed();
        }
        let files = &mut place.expected.files;
        let gives_way = match keep {
            "local" => files.insert(path, here),
            "remote" => Some(here),
            _ => {
                let name = checks::name_of(&place.workspace, &here, &what);
                assert!(!name.contains(".conflict"), "{what}: `{name}`");
                files.insert(name, here)
            }
        };
        let lost = gives_way.as_deref().map(work::digest);
        place.expected.displaced_here.extend(lost);
        place.finish();
        checks::all(&place, &what);
    }
}

/// How many calls of each operation a round's work takes: the places to be killed at.
fn calls_of_a_round(place: &mut Place) -> Vec<(Op, u64)> {
    place.work();
    place.server().reset_calls();
    place.finish();
    let calls = place.server().calls().into_iter().collect();
    checks::all(place, "an undisturbed run");
    calls
}

#[test]
fn runs_survive_a_kill_on_every_kind_of_call() {
    let seed = seed() + 4;
    let mut place = Place::new(Mode::Mailbox, RemoteKind::S3, seed);
    place.first_work();
    place.finish();
    let calls = calls_of_a_round(&mut place);
    let names: Vec<Op> = calls.iter().map(|(op, _)| *op).collect();
    for op in [
        Op::List,
        Op::Get,
        Op::Put,
        Op::Copy,
        Op::Delete,
        Op::CreateUpload,
        Op::UploadPart,
        Op::CompleteUpload,
    ] {
        assert!(names.contains(&op), "the work takes no {op}: {names:?}");
    }
    // Of each operation the first, and one further in; the soak takes them all.
    let thorough = kills(100) > 100;
    for (op, count) in calls {
        let mut numbers = vec![1];
        if thorough {
            numbers.extend(2..=count);
        } else if count > 2 {
            numbers.push(count / 2);
        }
        for nth in numbers {
            for carried_out in [true, false] {
                place.work();
                let kill = Kill::OnCall {
                    op,
                    nth: nth as usize,
                    carried_out,
                };
                let what = format!("killed on {op} number {nth}, carried out: {carried_out}");
                let hit = place.run_killed(kill);
                assert!(hit || nth > 1, "{what}: the call was not reached");
                place.finish();
                checks::all(&place, &what);
            }
        }
    }
}

#[test]
fn first_runs_survive_a_kill_on_every_kind_of_call() {
    let seed = seed() + 5;
    let mut twin = Place::new(Mode::Mailbox, RemoteKind::S3, seed);
    twin.first_work();
    twin.finish();
    for (op, count) in twin.server().calls() {
        for (nth, carried_out) in [(1, true), (1, false), (count / 2 + 1, true)] {
            let mut place = Place::new(Mode::Mailbox, RemoteKind::S3, seed);
            place.first_work();
            let kill = Kill::OnCall {
                op,
                nth: nth as usize,
                carried_out,
            };
            let what =
                format!("first run, killed on {op} number {nth}, carried out: {carried_out}");
            let hit = place.run_killed(kill);
            assert!(hit || nth > 1, "{what}: the call was not reached");
            place.finish();
            checks::all(&place, &what);
        }
    }
}

/// What a killed first run has uploaded is its own work, also when the agent has changed those files since.
#[test]
fn a_first_push_killed_early_goes_on_after_edits() {
    for (remote, kill) in [
        (
            RemoteKind::S3,
            Kill::OnCall {
                op: Op::Put,
                nth: 12,
                carried_out: true,
            },
        ),
        (RemoteKind::Folder, Kill::After(Duration::from_millis(120))),
    ] {
        let mut place = Place::new(Mode::Mailbox, remote, seed() + 20);
        place.first_work();
        place.run_killed(kill);
        place.edit_everything();
        place.finish();
        checks::all(&place, "the first push was killed, and then all was edited");
    }
}

#[test]
fn a_run_that_waits_takes_over_when_the_first_is_killed() {
    let mut place = Place::new(Mode::Mailbox, RemoteKind::S3, seed() + 6);
    place.first_work();
    place.finish();
    place.work();
    let mut first = place.start_hung(Op::Put);
    let mut second = place.start(&["--wait", "60"]);
    place.wait_until_waiting(&second);
    first.kill();
    let status = second.wait();
    assert!(status.success(), "{}", second.output());
    checks::all(&place, "the waiting run took over");
}

#[test]
fn killing_the_run_that_waits_disturbs_nobody() {
    let mut place = Place::new(Mode::Mailbox, RemoteKind::S3, seed() + 7);
    place.first_work();
    place.finish();
    place.work();
    let mut first = place.start_slowed(Op::Put, Duration::from_millis(400));
    let mut second = place.start(&["--wait", "60"]);
    place.wait_until_waiting(&second);
    second.kill();
    let status = first.wait();
    assert!(status.success(), "{}", first.output());
    checks::all(&place, "the waiting run was killed");
}

/// Without its database a killed run is forgotten: a drop may come twice, but never not at all, and nothing is lost.
#[test]
fn the_state_can_be_rebuilt_after_a_kill() {
    for (round, moment) in [0.3, 0.6, 0.9].into_iter().enumerate() {
        for remote in [RemoteKind::S3, RemoteKind::Folder] {
            let mut place = Place::new(Mode::Mailbox, remote, seed() + 8 + round as u64);
            place.first_work();
            place.finish();
            let whole = measure(&mut place);
            place.work();
            place.run_killed(Kill::After(whole.mul_f64(moment)));
            let mut run = place.start(&["--rebuild-state", "--force", "first-sync"]);
            let status = run.wait();
            assert!(status.success(), "{}", run.output());
            checks::after_rebuild(&place, &format!("rebuilt after a kill at {moment}"));
        }
    }
}
