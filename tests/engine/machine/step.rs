//! What can happen in a history, as plain data: drawn from a seed, printed, and taken away again by the shrinker. A step
//! that does not fit the world as it is then (nothing to delete, a file in the way) does nothing, so every part of a
//! history is a history.

use std::fmt;

use ows::plan::{Resolve, Side};
use ows::sync::FirstSync;
use ows_providers::layers::Moment;
use ows_providers::memory::{Alteration, MemoryOptions, VersionStyle};
use ows_providers::{Enforcement, ErrorKind};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::support::TRANSIENT;

/// Files larger than this are uploaded in parts.
pub const LARGE: usize = 6 << 10;

/// Names that are files at one time and folders at another.
const PATHS: &[&str] = &[
    "f", "f", "g.txt", "h", "a", "b", "d", "a/f", "a/f", "a/g.txt", "a/b", "a/b/f", "a/b/h", "b/f",
    "b/a", "d/f", "d/g.txt", "d/a/h",
];
const FOLDERS: &[&str] = &["a", "a", "a/b", "b", "d", "d/a", "e"];

/// What a provider, or the way to it, answers now and then.
const KINDS: &[ErrorKind] = &[
    TRANSIENT,
    TRANSIENT,
    ErrorKind::Permanent,
    ErrorKind::NotFound,
    ErrorKind::PreconditionFailed,
    ErrorKind::AlreadyExists,
    ErrorKind::RateLimited { after: None },
    ErrorKind::Forbidden,
    ErrorKind::QuotaExceeded,
    ErrorKind::Unauthorized,
];

/// What is not what it seems after a success: the answers that a store may give to a call that it has carried out.
const AFTER: &[ErrorKind] = &[
    TRANSIENT,
    ErrorKind::NotFound,
    ErrorKind::PreconditionFailed,
];

/// The kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    S3,
    /// It ignores every condition.
    CarelessS3,
    Folder,
    Drive,
}

/// What does not change in a history.
#[derive(Clone)]
pub struct Setting {
    pub kind: Kind,
    pub store: MemoryOptions,
    pub hosts: usize,
    pub first_sync: FirstSync,
    pub resolve: Resolve,
    pub transfers: usize,
    /// Whether the hosts hold files before they are joined.
    pub holds_files: Vec<bool>,
}

impl fmt::Debug for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = &self.store;
        write!(
            formatter,
            "{:?} of {} per page, {:?}, {:?}, versioning {:?}, rename {}; {} hosts, with files {:?}, {:?}, {:?}, {} transfers",
            self.kind,
            store.page_size,
            store.versions,
            store.alteration,
            store.enforced.versioning,
            store.rename,
            self.hosts,
            self.holds_files,
            self.first_sync,
            self.resolve,
            self.transfers,
        )
    }
}

/// Where somebody works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Host(usize),
    Cloud,
}

#[derive(Debug, Clone)]
pub enum Step {
    /// A new content at a path, of about this size; in a new inode or in the old one.
    Write(Place, &'static str, usize),
    /// Another content of the same size in the same inode with the same time.
    Rewrite(usize, &'static str),
    /// Only the time.
    Touch(usize, &'static str, i64),
    /// A file, or a folder with all that is in it.
    Delete(Place, &'static str),
    /// A file or a folder.
    Rename(Place, &'static str, &'static str),
    MakeDir(Place, &'static str),
    /// A clock is set, by so many seconds.
    Clock(Place, i64),
    /// Ten minutes go by for everybody.
    Wait,
    Run(usize, How, Trouble, Vec<(u64, Self)>),
    /// The database is kept for later.
    Snapshot(usize),
    /// It is put back.
    Rollback(usize),
    LoseState(usize),
    LoseStateAndCheckpoint(usize),
    LoseMarker(usize),
    /// The folder is not mounted: an empty one is there.
    Unmount(usize),
    Mount(usize),
    /// The folder is lost for good, and an empty one is there.
    NewVolume(usize),
}

/// What a person types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Plain,
    Forced,
    Resync,
    Push,
    Pull,
}

/// What goes wrong in a run.
#[derive(Debug, Clone)]
pub enum Trouble {
    None,
    /// Each call fails with this probability in per cent.
    Calls(u64, u32),
    /// Each call to the database fails with this probability in per cent.
    Database(u64, u32),
    /// From this call to remote or database on the process is no more.
    Kill(u64),
    /// Every call to the remote from this one on fails.
    Crash(u64, Moment),
    /// One call fails.
    Before(u64, ErrorKind),
    /// One call succeeds, and the answer says that it did not.
    After(u64, ErrorKind),
    /// One call never answers.
    Hang(u64, Moment),
    /// A download ends early.
    Short(u64, u64, Option<ErrorKind>),
    /// A listing ends early.
    Listing(usize, ErrorKind),
    /// Every call to the database from this one on fails.
    DatabaseGone(u64),
}

impl Setting {
    pub fn draw(kind: Kind, rng: &mut StdRng) -> Self {
        let hosts = rng.random_range(1..=3);
        Self {
            kind,
            store: store(kind, rng),
            hosts,
            first_sync: [
                FirstSync::Ask,
                FirstSync::Ask,
                FirstSync::Merge,
                FirstSync::Remote,
            ][rng.random_range(0..4)],
            resolve: [
                Resolve::Newer,
                Resolve::Newer,
                Resolve::Always(Side::Local),
                Resolve::Always(Side::Remote),
            ][rng.random_range(0..4)],
            transfers: [1, 1, 1, 3][rng.random_range(0..4)],
            holds_files: (0..hosts).map(|_| rng.random_bool(0.3)).collect(),
        }
    }

    /// Whether what happens in the middle of a run is outside of every window that the provider leaves open.
    pub fn allows_interruption(&self) -> bool {
        self.kind != Kind::CarelessS3
    }
}

fn store(kind: Kind, rng: &mut StdRng) -> MemoryOptions {
    let mut options = match kind {
        Kind::S3 | Kind::CarelessS3 => MemoryOptions::s3(),
        Kind::Folder => MemoryOptions::folder(),
        Kind::Drive => MemoryOptions::drive(),
    };
    options.single_put_max = LARGE as u64;
    match kind {
        Kind::S3 => {
            options.page_size = rng.random_range(2..50);
            match rng.random_range(0..6) {
                0 => options.versions = VersionStyle::OpaqueEtag,
                1 => options.alteration = Alteration::Version,
                2 => options.enforced.versioning = Some(true),
                _ => {}
            }
        }
        Kind::CarelessS3 => {
            options.enforced = Enforcement {
                versioning: Some(false),
                ..Enforcement::default()
            };
        }
        Kind::Folder => options.rename = rng.random_bool(0.7),
        Kind::Drive => {}
    }
    options
}

/// A whole history.
pub fn history(setting: &Setting, rng: &mut StdRng) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..rng.random_range(2..8) {
        for _ in 0..rng.random_range(0..6) {
            steps.push(edit(setting, rng));
        }
        if rng.random_bool(0.35) {
            steps.push(mishap(setting, rng));
        }
        steps.push(run(setting, rng));
    }
    steps
}

fn path(rng: &mut StdRng) -> &'static str {
    PATHS.choose(rng).copied().unwrap_or("f")
}

fn folder(rng: &mut StdRng) -> &'static str {
    FOLDERS.choose(rng).copied().unwrap_or("a")
}

fn host(setting: &Setting, rng: &mut StdRng) -> usize {
    rng.random_range(0..setting.hosts)
}

/// What a person does to the files of a host, or in the cloud.
fn edit(setting: &Setting, rng: &mut StdRng) -> Step {
    let on_host = host(setting, rng);
    let place = if rng.random_bool(0.3) {
        Place::Cloud
    } else {
        Place::Host(on_host)
    };
    let size = match rng.random_range(0..10) {
        0 => LARGE + rng.random_range(0..2 * LARGE),
        // Few sizes, so that contents of one size meet.
        1..=5 => 30,
        _ => rng.random_range(0..200),
    };
    match rng.random_range(0..20) {
        0..=8 => Step::Write(place, path(rng), size),
        9 | 10 => Step::Rewrite(on_host, path(rng)),
        11 => Step::Touch(on_host, path(rng), rng.random_range(-100_000..100_000)),
        12..=14 => Step::Delete(place, path(rng)),
        15 => Step::Delete(place, folder(rng)),
        16 => Step::Rename(place, path(rng), path(rng)),
        17 => Step::Rename(place, folder(rng), folder(rng)),
        18 => Step::MakeDir(place, folder(rng)),
        _ => Step::Clock(place, rng.random_range(-20_000..20_000)),
    }
}

/// Something that goes wrong between two runs.
fn mishap(setting: &Setting, rng: &mut StdRng) -> Step {
    let host = host(setting, rng);
    match rng.random_range(0..16) {
        0..=3 => Step::Snapshot(host),
        4..=6 => Step::Rollback(host),
        7 => Step::LoseState(host),
        8 => Step::LoseStateAndCheckpoint(host),
        9 => Step::LoseMarker(host),
        10 => Step::Unmount(host),
        11 | 12 => Step::Mount(host),
        13 => Step::NewVolume(host),
        _ => Step::Wait,
    }
}

fn run(setting: &Setting, rng: &mut StdRng) -> Step {
    let host = host(setting, rng);
    let how = match rng.random_range(0..14) {
        0 => How::Resync,
        1 => How::Push,
        2 => How::Pull,
        3 => How::Forced,
        _ => How::Plain,
    };
    let trouble = trouble(rng);
    let mut meanwhile = Vec::new();
    if setting.allows_interruption() {
        for _ in 0..[0, 0, 0, 1, 2][rng.random_range(0..5)] {
            let step = if setting.hosts > 1 && rng.random_bool(0.4) {
                let other = (host + rng.random_range(1..setting.hosts)) % setting.hosts;
                Step::Run(other, How::Plain, Trouble::None, Vec::new())
            } else {
                edit(setting, rng)
            };
            meanwhile.push((rng.random_range(1..40), step));
        }
    }
    Step::Run(host, how, trouble, meanwhile)
}

fn trouble(rng: &mut StdRng) -> Trouble {
    let call = rng.random_range(1..40);
    let kind = KINDS.choose(rng).copied().unwrap_or(TRANSIENT);
    let moment = if rng.random() {
        Moment::Before
    } else {
        Moment::After
    };
    match rng.random_range(0..20) {
        0..=6 => Trouble::None,
        7 | 8 => Trouble::Calls(rng.random(), [2, 10, 30][rng.random_range(0..3)]),
        9 => Trouble::Database(rng.random(), 3),
        10 | 11 => Trouble::Kill(rng.random_range(1..120)),
        12 | 13 => Trouble::Crash(call, moment),
        14 => Trouble::Before(call, kind),
        15 => Trouble::After(call, AFTER.choose(rng).copied().unwrap_or(TRANSIENT)),
        16 => {
            // Rarely: it takes as long as the run may.
            if rng.random_bool(0.3) {
                Trouble::Hang(call, moment)
            } else {
                Trouble::None
            }
        }
        17 => {
            let kind = rng.random_bool(0.5).then_some(kind);
            Trouble::Short(rng.random_range(1..4), rng.random_range(0..20), kind)
        }
        18 => Trouble::Listing(rng.random_range(0..5), kind),
        _ => Trouble::DatabaseGone(rng.random_range(1..60)),
    }
}
