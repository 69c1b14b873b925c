//! Conflicts: what is remembered of them whatever fails, names that two hosts choose at once, and no end of copies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use chrono::Utc;
use ows::cancel::Cancel;
use ows::error::FailureKind;
use ows::plan::{Resolve, Side};
use ows::state::{FaultPoint, State, StateFaults};
use ows::sync::conflicts::{Conflict, Keep, list, resolve};
use ows::sync::{FirstSync, SyncMode, SyncOptions, pair_id};
use ows::tree::Lost;
use ows_providers::layers::{Fault, Moment};
use ows_providers::memory::MemoryOptions;
use ows_providers::{Enforcement, Operation, RelPath};
use ows_testkit::random::Seed;
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::bisync::agreed;
use crate::support::{Pair, TRANSIENT, clean, files, kept, kind};

/// A store that takes no notice of what is to be absent or unchanged.
fn weak(options: MemoryOptions) -> MemoryOptions {
    MemoryOptions {
        enforced: Enforcement {
            versioning: options.enforced.versioning,
            ..Enforcement::default()
        },
        ..options
    }
}

/// `a` was changed on both sides, and the remote's content keeps the name.
async fn differing(options: MemoryOptions) -> Pair {
    let mut pair = agreed(options, &[("a", "1"), ("b", "2")]).await;
    pair.settings.conflict_resolve = Resolve::Always(Side::Remote);
    // One after the other, so that the n-th call is always the same.
    pair.settings.transfers = Some(1);
    pair.local.write("a", "here");
    pair.store.insert("a", b"there");
    pair
}

async fn listed(pair: &Pair) -> Vec<Conflict> {
    list(&pair.settings).await.expect("it is listed").conflicts
}

/// Path, copy and whose content it is.
async fn told(pair: &Pair) -> Vec<(String, String, Lost)> {
    let listed = listed(pair).await.into_iter();
    let told = |one: Conflict| (one.path.to_string(), one.copy.to_string(), one.lost);
    listed.map(told).collect()
}

/// What is stored, whether there is anything to show of it or not.
async fn stored(pair: &Pair) -> usize {
    let identity = pair.settings.provider.describe().await.expect("it answers");
    let state = State::open(&pair.settings.own_dir).await.expect("it opens");
    let rows = state.conflicts(&pair_id(&identity)).await.expect("rows");
    state.close().await;
    rows.len()
}

async fn settle(pair: &Pair, path: &str, keep: Keep) {
    let path = RelPath::new(path).expect("a path");
    let settled = resolve(&pair.settings, &path, keep, false, &Cancel::new()).await;
    settled.expect("it is settled");
}

fn one(copy: &str, lost: Lost) -> Vec<(String, String, Lost)> {
    vec![("a".to_owned(), copy.to_owned(), lost)]
}

#[tokio::test]
async fn whose_content_is_in_the_copy_is_known_on_either_side() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        for (winner, lost) in [(Side::Remote, Lost::Local), (Side::Local, Lost::Remote)] {
            let mut pair = differing(options.clone()).await;
            pair.settings.conflict_resolve = Resolve::Always(winner);
            clean(&pair.sync().await);
            assert_eq!(told(&pair).await, one("a.conflict", lost));
            pair.assert_converged().await;
            assert_eq!(told(&pair).await, one("a.conflict", lost));
        }
    }
}

#[tokio::test]
async fn a_run_that_failed_or_was_killed_at_any_call_leaves_no_copy_that_is_not_remembered() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let mut reached = 0;
        for nth in 1.. {
            let mut any = false;
            for moment in [Moment::Before, Moment::After] {
                for dies in [false, true] {
                    let pair = differing(options.clone()).await;
                    let what = format!("call {nth}, {moment:?}, dies: {dies}");
                    match (dies, moment) {
                        (true, _) => pair.faults.crash_at(pair.faults.calls() + nth, moment),
                        (false, Moment::Before) => {
                            pair.faults.add(Fault::any().nth(nth).before(TRANSIENT))
                        }
                        (false, Moment::After) => {
                            pair.faults.add(Fault::any().nth(nth).after(TRANSIENT))
                        }
                    };
                    drop(pair.sync().await);
                    any |= pair.faults.unreached().is_empty();
                    pair.faults.clear();
                    if pair.local.files().contains_key("a.conflict") {
                        assert_eq!(told(&pair).await, one("a.conflict", Lost::Local), "{what}");
                    } else {
                        assert_eq!(told(&pair).await, [], "{what}");
                    }
                    pair.store.advance(Duration::from_secs(5));
                    clean(&pair.sync().await);
                    assert_eq!(told(&pair).await, one("a.conflict", Lost::Local), "{what}");
                    let expected = files(&[("a", "there"), ("a.conflict", "here"), ("b", "2")]);
                    assert_eq!(pair.workspace(), expected, "{what}");
                    pair.assert_converged().await;
                }
            }
            if !any {
                break;
            }
            reached = nth;
        }
        assert!(reached > 5, "only {reached} calls were disturbed");
    }
}

#[tokio::test]
async fn a_database_that_fails_at_any_call_leaves_no_copy_that_is_not_remembered() {
    let mut reached = 0;
    for nth in 0.. {
        let pair = differing(MemoryOptions::s3()).await;
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let fails =
            move |_: &'static str, _: FaultPoint| counter.fetch_add(1, Ordering::SeqCst) >= nth;
        let options = SyncOptions {
            state_faults: Some(StateFaults(Arc::new(fails))),
            ..SyncOptions::default()
        };
        drop(pair.run(options).await);
        let there = pair.local.files().contains_key("a.conflict");
        let expected = if there {
            one("a.conflict", Lost::Local)
        } else {
            vec![]
        };
        assert_eq!(told(&pair).await, expected, "call {nth}");
        pair.store.advance(Duration::from_secs(5));
        clean(&pair.sync().await);
        assert_eq!(
            told(&pair).await,
            one("a.conflict", Lost::Local),
            "call {nth}"
        );
        pair.assert_converged().await;
        if calls.load(Ordering::SeqCst) <= nth {
            break;
        }
        reached = nth;
    }
    assert!(reached > 10, "only {reached} calls were disturbed");
}

#[tokio::test]
async fn what_a_person_settles_by_hand_leaves_the_list_at_once_and_the_database_with_the_next_run()
{
    for gone in ["a", "a.conflict"] {
        for locally in [true, false] {
            let pair = differing(MemoryOptions::s3()).await;
            clean(&pair.sync().await);
            assert_eq!((listed(&pair).await.len(), stored(&pair).await), (1, 1));
            pair.later();
            if locally {
                pair.local.remove(gone);
                assert_eq!(listed(&pair).await, [], "{gone}");
            } else {
                pair.store.remove(gone);
            }
            clean(&pair.sync().await);
            assert_eq!((listed(&pair).await.len(), stored(&pair).await), (0, 0));
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn a_new_file_beside_the_name_of_an_old_copy_is_not_taken_for_what_it_was() {
    let pair = differing(MemoryOptions::s3()).await;
    clean(&pair.sync().await);
    pair.later();
    pair.local.remove("a");
    clean(&pair.sync().await);
    pair.later();
    pair.local.write("a", "another one");
    assert_eq!(told(&pair).await, one("a.conflict", Lost::Unknown));
}

#[tokio::test]
async fn what_was_settled_is_carried_to_the_other_side_and_nothing_is_lost() {
    for options in [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ] {
        for (keep, expected) in [
            (Keep::Remote, &[("a", "there"), ("b", "2")][..]),
            (Keep::Local, &[("a", "here"), ("b", "2")]),
            (Keep::Both, &[("a", "there"), ("a (2)", "here"), ("b", "2")]),
        ] {
            let pair = differing(options.clone()).await;
            clean(&pair.sync().await);
            pair.later();
            settle(&pair, "a", keep).await;
            assert_eq!((listed(&pair).await.len(), stored(&pair).await), (0, 0));
            clean(&pair.sync().await);
            assert_eq!(pair.remote(), files(expected), "{keep:?}");
            for content in ["here", "there"] {
                assert!(pair.contents().contains(content.as_bytes()), "{keep:?}");
            }
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn a_settled_conflict_that_is_edited_on_the_other_side_meanwhile_loses_nothing() {
    for keep in [Keep::Local, Keep::Remote, Keep::Both] {
        // What the edit replaces in the cloud is replaced by a person.
        for (edited, other) in [("a", "here"), ("a.conflict", "there")] {
            let pair = differing(MemoryOptions::s3()).await;
            clean(&pair.sync().await);
            pair.later();
            settle(&pair, "a", keep).await;
            pair.store.insert(edited, b"edited in the cloud");
            clean(&pair.sync().await);
            for content in [other, "edited in the cloud"] {
                assert!(
                    pair.contents().contains(content.as_bytes()),
                    "{keep:?} {edited}: {content}"
                );
            }
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn a_conflict_about_a_copy_takes_the_next_number() {
    let pair = differing(MemoryOptions::s3()).await;
    clean(&pair.sync().await);
    for (name, copy) in [
        ("a.conflict", "a.conflict2"),
        ("a.conflict2", "a.conflict3"),
        ("a", "a.conflict4"),
    ] {
        pair.later();
        pair.local.write(name, format!("{name} here"));
        pair.store.insert(name, format!("{name} there").as_bytes());
        clean(&pair.sync().await);
        let held = pair.remote().remove(copy);
        assert_eq!(held, Some(format!("{name} here").into_bytes()));
    }
    let names: Vec<_> = pair.remote().into_keys().collect();
    let all = [
        "a",
        "a.conflict",
        "a.conflict2",
        "a.conflict3",
        "a.conflict4",
        "b",
    ];
    assert_eq!(names, all);
    pair.assert_converged().await;
}

#[tokio::test]
async fn conflicts_about_a_name_and_its_copies_in_one_run_get_different_names() {
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let mut pair = differing(options).await;
        pair.settings.transfers = Some(16);
        clean(&pair.sync().await);
        pair.later();
        for name in ["a", "a.conflict"] {
            pair.local.write(name, format!("{name} here"));
            pair.store.insert(name, format!("{name} there").as_bytes());
        }
        clean(&pair.sync().await);
        let contents: BTreeSet<_> = pair.remote().into_values().collect();
        assert_eq!(contents.len(), pair.remote().len());
        assert_eq!(pair.remote().len(), 5);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_file_that_a_person_calls_so_is_an_ordinary_one() {
    let pair = agreed(MemoryOptions::s3(), &[("x.conflict", "mine")]).await;
    assert_eq!(told(&pair).await, []);
    pair.store.insert("x.conflict", b"edited in the cloud");
    clean(&pair.sync().await);
    assert_eq!(
        pair.workspace(),
        files(&[("x.conflict", "edited in the cloud")])
    );
    pair.local.remove("x.conflict");
    pair.local.write("y", "y");
    clean(&pair.sync().await);
    assert_eq!(pair.remote(), files(&[("y", "y")]));
    pair.assert_converged().await;
}

/// Another host's copy comes to the remote under the name that this one has chosen, before or after it writes there.
#[tokio::test]
async fn a_name_that_another_host_takes_at_the_same_moment_is_left_to_it() {
    let of_the_other = |pair: &Pair| {
        let store = pair.store.clone();
        move || store.insert("a.conflict", b"of the other host")
    };
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let strong = differing(options.clone()).await;
        let act = of_the_other(&strong);
        let copy = Fault::on(Operation::Put).at("a.conflict").nth(1);
        strong.faults.add(copy.meanwhile(act));
        // Where nothing is enforced: between the write and the second look.
        let weak = differing(weak(options)).await;
        let act = of_the_other(&weak);
        let look = Fault::on(Operation::Stat).at("a.conflict").nth(3);
        weak.faults.add(look.meanwhile(act));
        for pair in [strong, weak] {
            clean(&pair.sync().await);
            pair.faults.assert_all_reached();
            pair.faults.clear();
            let held = pair.remote();
            assert_eq!(held["a"], b"there");
            assert_eq!(held["a.conflict"], b"of the other host");
            assert_eq!(held["a.conflict2"], b"here");
            assert_eq!(told(&pair).await, one("a.conflict2", Lost::Local));
            pair.later();
            clean(&pair.sync().await);
            let expected = [
                ("a", "there"),
                ("a.conflict", "of the other host"),
                ("a.conflict2", "here"),
                ("b", "2"),
            ];
            assert_eq!(pair.workspace(), files(&expected));
            pair.assert_converged().await;
        }
    }
}

#[tokio::test]
async fn a_copy_that_a_remote_without_conditions_lets_another_host_replace_is_in_the_trash() {
    let pair = differing(weak(MemoryOptions::s3())).await;
    clean(&pair.sync().await);
    pair.later();
    // The other host had looked before this one wrote.
    pair.store.insert("a.conflict", b"of the other host");
    clean(&pair.sync().await);
    let held = pair.workspace();
    assert_eq!(held["a.conflict"], b"of the other host");
    assert_eq!(pair.local_trash(), kept(&[("a.conflict", "here")]));
    pair.assert_converged().await;
}

/// Two hosts and a person in the cloud, who go on editing what is in conflict.
struct Rounds {
    rng: StdRng,
    hosts: Vec<Pair>,
    written: BTreeSet<Vec<u8>>,
    removed: BTreeSet<Vec<u8>>,
    diary: Vec<String>,
}

impl Rounds {
    async fn new(seed: Seed, options: MemoryOptions) -> Self {
        let mut rng = seed.rng();
        let first = agreed(options, &[("x", "the first")]).await;
        let mut second = Pair::joined(&first, &[]);
        second.settings.mode = SyncMode::Bisync;
        second.settings.first_sync = FirstSync::Merge;
        let mut hosts = vec![first, second];
        for host in &mut hosts {
            host.settings.conflict_resolve = match rng.random_range(0..3) {
                0 => Resolve::Newer,
                1 => Resolve::Always(Side::Local),
                _ => Resolve::Always(Side::Remote),
            };
        }
        Self {
            rng,
            hosts,
            written: [b"the first".to_vec()].into(),
            removed: BTreeSet::new(),
            diary: Vec::new(),
        }
    }

    /// Writes something new, or removes a file: on a host, or in the cloud.
    fn act(&mut self, may_remove: bool) {
        let place = self.rng.random_range(0..3_usize);
        let held = match self.hosts.get(place) {
            Some(host) => host.workspace(),
            None => self.hosts[0].remote(),
        };
        let names: Vec<&String> = held.keys().collect();
        if names.is_empty() {
            return;
        }
        let name = names[self.rng.random_range(0..names.len())].clone();
        // One file always stays: an empty remote stops at a guard.
        let removes = may_remove && self.rng.random_bool(0.15) && name != "x";
        let content = format!("content {}", self.written.len());
        self.diary
            .push(format!("{place} {name} {content} removes: {removes}"));
        self.removed.insert(held[&name].clone());
        match (self.hosts.get(place), removes) {
            (Some(host), true) => host.local.remove(&name),
            (Some(host), false) => {
                host.local.write(&name, &content);
                // On either side of what the store says, whatever the time and the speed of this machine.
                let ahead = chrono::Duration::seconds(self.rng.random_range(-20..=20));
                let written_at = SystemTime::from(host.store.now() + ahead);
                std::fs::File::options()
                    .write(true)
                    .open(host.local.join(&name))
                    .and_then(|file| file.set_modified(written_at))
                    .expect("a file");
            }
            (None, true) => drop(self.hosts[0].store.remove(&name)),
            (None, false) => self.hosts[0].store.insert(&name, content.as_bytes()),
        }
        if !removes {
            self.written.insert(content.into_bytes());
        }
    }

    /// Runs until both hosts have nothing to do.
    async fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 8, "there is no end: {:#?}", self.diary);
            let mut is_quiet = true;
            for host in &self.hosts {
                host.later();
                let finished = host.sync().await;
                clean(&finished);
                let counts = finished.report.counts;
                is_quiet &= counts.upload
                    + counts.download
                    + counts.conflict
                    + counts.moved
                    + counts.delete_local
                    + counts.delete_remote
                    == 0;
            }
            if is_quiet {
                return;
            }
        }
    }

    fn check(&self) {
        let held = self.hosts[0].remote();
        for host in &self.hosts {
            assert_eq!(host.workspace(), held, "{:#?}", self.diary);
        }
        assert!(
            held.len() <= self.written.len(),
            "{} files for {} contents: {:#?}",
            held.len(),
            self.written.len(),
            self.diary
        );
        let twice = |name: &&String| name.matches(".conflict").count() > 1;
        assert_eq!(held.keys().find(twice), None, "{:#?}", self.diary);
        let there: BTreeSet<_> = self.hosts.iter().flat_map(Pair::contents).collect();
        for content in self.written.difference(&self.removed) {
            let text = String::from_utf8_lossy(content);
            assert!(there.contains(content), "{text} is lost: {:#?}", self.diary);
        }
    }
}

#[tokio::test]
async fn there_are_no_more_files_than_contents_that_a_person_wrote_however_long_it_goes_on() {
    let seed = Seed::new();
    for (number, options) in (0..).zip([
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
        weak(MemoryOptions::s3()),
    ]) {
        for may_remove in [false, true] {
            let seed = Seed(seed.0.wrapping_add(number));
            let mut rounds = Rounds::new(seed, options.clone()).await;
            rounds.hosts[0].store.set_now(Utc::now());
            rounds.settle().await;
            for _ in 0..12 {
                for _ in 0..rounds.rng.random_range(1..5) {
                    rounds.act(may_remove);
                }
                rounds.settle().await;
                rounds.check();
            }
        }
    }
}

/// Each round forgets everything, and unites both sides as on a first run.
#[tokio::test]
async fn uniting_both_sides_again_and_again_makes_no_copies_of_copies() {
    let seed = Seed::new();
    let mut rng = seed.rng();
    for options in [MemoryOptions::s3(), MemoryOptions::folder()] {
        let mut written = 2_usize;
        let mut pair = Pair::new(options, &[("x", "content 1")]);
        pair.settings.mode = SyncMode::Mailbox;
        pair.settings.first_sync = FirstSync::Merge;
        pair.store.insert("x", b"content 2");
        for _ in 0..10 {
            clean(&pair.sync().await);
            let held = pair.remote();
            assert_eq!(pair.workspace(), held);
            assert!(held.len() <= written, "{held:?} of {written}");
            pair.assert_converged().await;
            let names: Vec<_> = held.keys().collect();
            for _ in 0..4 {
                written += 1;
                let content = format!("content {written}");
                let name = names[rng.random_range(0..names.len())];
                if rng.random() {
                    pair.store.insert(name, content.as_bytes());
                } else {
                    pair.local.write(name, &content);
                }
            }
            pair.state.remove("ows");
            pair.local.remove(".ows/replica");
            let of_ours = |path: &String| path.starts_with(".ows/");
            for path in pair.store.files().into_keys().filter(of_ours) {
                pair.store.remove(&path);
            }
            pair.later();
        }
    }
}

#[tokio::test]
async fn a_copy_that_the_other_side_has_deleted_is_kept_when_it_is_all_that_is_left() {
    for options in [
        MemoryOptions::s3(),
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ] {
        let base = &[("a", "1"), ("a.conflict", "X"), ("b", "2")];
        let mut pair = agreed(options, base).await;
        pair.settings.trash_local = false;
        pair.settings.trash_remote = false;
        // There the copy got the name; here a folder did.
        pair.store.insert("a", b"X");
        pair.store.remove("a.conflict");
        pair.local.remove("a");
        pair.local.write("a/new", "3");
        clean(&pair.sync().await);
        let expected = files(&[("a.conflict", "X"), ("a/new", "3"), ("b", "2")]);
        assert_eq!(pair.workspace(), expected);
        pair.assert_converged().await;
    }
}

#[tokio::test]
async fn a_conflict_about_an_open_database_waits_and_makes_no_copies() {
    let database = |text: &str| format!("SQLite format 3\0{text}");
    let mut pair = agreed(MemoryOptions::s3(), &[("x.db", &database("1")), ("b", "2")]).await;
    pair.settings.conflict_resolve = Resolve::Always(Side::Remote);
    pair.store.insert("x.db", database("there").as_bytes());
    pair.local.write("x.db-wal", "not in it yet");
    for round in 0..3 {
        pair.local.write("x.db", database(&format!("here {round}")));
        pair.later();
        let finished = pair.sync().await;
        assert_eq!(kind(&finished), Some(FailureKind::Partial));
        let paths: Vec<_> = pair.workspace().into_keys().collect();
        assert_eq!(paths, ["b", "x.db", "x.db-wal"]);
    }
    // Closed.
    pair.local.remove("x.db-wal");
    clean(&pair.sync().await);
    assert_eq!(
        pair.workspace(),
        files(&[
            ("b", "2"),
            ("x.db", &database("there")),
            ("x.db.conflict", &database("here 2")),
        ])
    );
    pair.assert_converged().await;
}

#[tokio::test]
async fn a_name_that_is_too_long_for_a_copy_is_left_alone_and_no_other_number_is_tried() {
    let name = "n".repeat(250);
    let pair = agreed(MemoryOptions::s3(), &[(&name, "1"), ("b", "2")]).await;
    pair.local.write(&name, "here");
    pair.store.insert(&name, b"there");
    let finished = pair.sync().await;
    assert_eq!(kind(&finished), Some(FailureKind::Partial));
    let message = &finished.report.errors[0].message;
    assert!(message.contains("could not copy it to"), "{message}");
    assert_eq!(pair.workspace(), files(&[("b", "2"), (&name, "here")]));
    assert_eq!(pair.remote(), files(&[("b", "2"), (&name, "there")]));
}
