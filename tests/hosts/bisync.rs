//! Two and three hosts in bisync mode as real processes: random edits of a few files on all of them, also while runs are
//! under way, runs at the same time, and SIGKILL. The judge is [`Mystery`], one per file.
//!
//! `OWS_SEED=N` begins with that world, and plays it alone without `OWS_SEEDS=N`, which plays a hundredth of so many of
//! each kind. What people do is the same again; when runs come to it, is not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::mystery::{Life, Mystery, Value};
use crate::world::{RemoteKind, Run, World};

/// Worlds of each size, without `OWS_SEEDS`.
const SEEDS: u64 = 8;

/// Runs of each host after which all hold the same when people have stopped.
const SETTLES_WITHIN: usize = 4;

const PATHS: [&str; 3] = ["f", "d/g.txt", "d/h"];

struct Table {
    world: World,
    rng: StdRng,
    files: Vec<Mystery>,
    values: u32,
}

fn worlds(remote: RemoteKind, hosts: usize) {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let first = number("OWS_SEED");
    // A world takes as long as a hundred histories in memory.
    let count = match (number("OWS_SEEDS"), first) {
        (Some(seeds), _) => (seeds / 100).max(SEEDS),
        (None, Some(_)) => 1,
        (None, None) => SEEDS,
    };
    let first = first.unwrap_or(0);
    for seed in first..first.saturating_add(count) {
        let mut table = Table::new(remote, hosts, seed);
        if let Err(text) = table.play() {
            panic!(
                "{hosts} hosts at {remote:?}: OWS_SEED={seed} begins in the same way again.\n{text}"
            );
        }
    }
}

#[test]
fn what_two_hosts_see_is_explained_by_hidden_uploads_and_downloads() {
    worlds(RemoteKind::S3, 2);
}

#[test]
fn what_three_hosts_see_is_explained_by_hidden_uploads_and_downloads() {
    worlds(RemoteKind::S3, 3);
}

#[test]
fn what_hosts_see_over_a_folder_is_explained_by_hidden_uploads_and_downloads() {
    worlds(RemoteKind::Folder, 2);
}

impl Table {
    fn new(remote: RemoteKind, hosts: usize, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let world = World::bisync(remote, hosts, seed);
        for host in 0..hosts {
            // People's files lie in a folder that is always there.
            world.write(host, "d/keep.md", b"stays too");
            assert_eq!(world.start(host, &[]).end(), Some(0));
        }
        let files = rng.random_range(1..=PATHS.len());
        Self {
            world,
            rng,
            files: (0..files).map(|_| Mystery::new(hosts)).collect(),
            values: 0,
        }
    }

    fn hosts(&self) -> usize {
        self.world.hosts()
    }

    fn play(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.random_range(3..8) {
            for _ in 0..self.rng.random_range(0..4) {
                self.act()?;
            }
            self.runs()?;
        }
        self.settle()
    }

    /// A run, or two at the same time, and people who do not wait for their end.
    fn runs(&mut self) -> Result<(), String> {
        let first = self.rng.random_range(0..self.hosts());
        let killed = self.rng.random_bool(0.3);
        let life = if killed { Life::Mortal } else { Life::Whole };
        let mut runs = vec![(first, self.begin(first, life, &[]))];
        if self.rng.random_bool(0.4) {
            let other = (first + self.rng.random_range(1..self.hosts())) % self.hosts();
            runs.push((other, self.begin(other, Life::Whole, &["--wait", "2"])));
        }
        for _ in 0..self.rng.random_range(0..4) {
            let moment = Duration::from_micros(self.rng.random_range(0..40_000));
            let begin = Instant::now();
            while begin.elapsed() < moment {
                std::thread::yield_now();
            }
            self.act()?;
        }
        if killed {
            let moment = Duration::from_millis(self.rng.random_range(0..80));
            runs[0].1.kill_after(moment);
        }
        for (host, mut run) in runs {
            run.end();
            self.files.iter_mut().for_each(|file| file.run_ends(host));
        }
        Ok(())
    }

    fn begin(&mut self, host: usize, life: Life, options: &[&str]) -> Run {
        let files = self.files.iter_mut();
        files.for_each(|file| file.run_begins(host, life));
        self.world.start(host, options)
    }

    /// Somebody reads, writes or deletes a file.
    fn act(&mut self) -> Result<(), String> {
        let file = self.rng.random_range(0..self.files.len());
        let host = self.rng.random_range(0..self.hosts());
        let path = PATHS[file];
        let what = self.rng.random_range(0..8);
        if what < 2 {
            let found = value(self.world.read(host, path));
            return self.files[file].read(host, found);
        }
        if what == 2 {
            let old = value(self.world.exchange(host, path, None));
            // What is not there is not deleted.
            return match old {
                None => self.files[file].read(host, None),
                old => self.files[file].write(host, None, old),
            };
        }
        self.values += 1;
        let content = content(self.values, self.rng.random_range(0..200));
        let old = value(self.world.exchange(host, path, Some(&content)));
        self.files[file].write(host, Some(self.values), old)
    }

    /// People have stopped: all come to hold the same, and what they hold is explained.
    fn settle(&mut self) -> Result<(), String> {
        let all: Vec<usize> = (0..self.hosts()).collect();
        for host in &all {
            let files = self.files.iter_mut();
            files.for_each(|file| file.run_begins(*host, Life::Whole));
        }
        self.world.assert_becomes_quiet(SETTLES_WITHIN);
        let held = self.world.workspace_files(0);
        for host in all {
            self.files.iter_mut().for_each(|file| file.run_ends(host));
            if self.world.workspace_files(host) != held {
                return Err(format!("host {host} and host 0 hold different files"));
            }
        }
        for (file, path) in self.files.iter_mut().zip(PATHS) {
            let copies = held
                .iter()
                .filter(|(name, _)| name.starts_with(&format!("{path}.conflict")));
            let conflicts: BTreeSet<u32> = copies
                .filter_map(|(_, content)| value(Some(content.clone())))
                .collect();
            file.end(value(held.get(path).cloned()), &conflicts)?;
        }
        Ok(())
    }
}

fn content(value: u32, more: usize) -> Vec<u8> {
    format!("{value}\n{}", ".".repeat(more)).into_bytes()
}

/// The number of a content.
fn value(content: Option<Vec<u8>>) -> Value {
    let text = String::from_utf8(content?).expect("people write text");
    let (number, _) = text.split_once('\n').expect("whole contents only");
    Some(number.parse().expect("people write numbers"))
}
