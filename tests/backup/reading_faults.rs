//! Every call to the storage fails in every way while a snapshot is restored, verified and drilled with. What holds: what says
//! that it is whole is; nothing that is wrong lies in the target; what the network did takes no proof back, since nothing was
//! found out about the snapshot; and the next run succeeds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ows::backup::proving::{DRILL, Finished, drill_command, restore_command, verify_command};
use ows::backup::source::Which;
use ows::backup::verify::{Level, Subject};
use ows::cancel::Cancel;
use ows::error::{Failure, FailureKind};
use ows::report::{Report, Silent};
use ows::state::State;
use ows_providers::ErrorKind;
use ows_providers::layers::{Fault, FaultSet, Moment};

use super::archives::{Body, Key, Members, Reader, expected, make, name, noise};
use super::store::TRANSIENT;

/// One way in which a call fails.
#[derive(Debug, Clone, Copy)]
enum Way {
    Error,
    AfterEffect,
    Changed,
    NotFound,
    Forbidden,
    Truncated,
    Slow,
    Dies(Moment),
}

const WAYS: [Way; 9] = [
    Way::Error,
    Way::AfterEffect,
    Way::Changed,
    Way::NotFound,
    Way::Forbidden,
    Way::Truncated,
    Way::Slow,
    Way::Dies(Moment::Before),
    Way::Dies(Moment::After),
];

impl Way {
    fn arm(self, faults: &FaultSet, call: u64) {
        let fault = Fault::any().nth(call);
        let fault = match self {
            Self::Error => fault.before(TRANSIENT),
            Self::AfterEffect => fault.after(TRANSIENT),
            Self::Changed => fault.before(ErrorKind::PreconditionFailed),
            Self::NotFound => fault.before(ErrorKind::NotFound),
            Self::Forbidden => fault.before(ErrorKind::Forbidden),
            Self::Truncated => fault.short_body(20, None),
            Self::Slow => fault.slow(Duration::from_millis(20)),
            Self::Dies(moment) => {
                faults.crash_at(call, moment);
                return;
            }
        };
        faults.add(fault);
    }
}

/// The file that the command for single paths asks for.
const ONE: &str = "workspace/small";

fn volumes() -> [Members; 2] {
    [
        vec![
            ("workspace", Body::Dir),
            ("workspace/a.md", Body::File(b"first".to_vec())),
            ("workspace/link", Body::Symlink("a.md")),
            ("workspace/noise", Body::File(noise(1, 100_000))),
        ],
        vec![
            (ONE, Body::File(noise(2, 10_240))),
            ("openclaw.json", Body::File(b"{}".to_vec())),
        ],
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Restore,
    RestoreOne,
    Verify,
    Drill,
}

/// How one went, as far as all have it.
struct Ended {
    report: Report,
    failure: Option<Failure>,
}

impl<T> From<Finished<T>> for Ended {
    fn from(finished: Finished<T>) -> Self {
        let Finished {
            report, failure, ..
        } = finished;
        Self { report, failure }
    }
}

impl Command {
    async fn run(self, reader: &Reader) -> Ended {
        let (settings, reporter, cancel) = (&reader.settings, Arc::new(Silent), Cancel::new());
        let run = async {
            match self {
                Self::Restore => {
                    let options = reader.options(&[]);
                    Ended::from(restore_command(settings, options, reporter, cancel).await)
                }
                Self::RestoreOne => {
                    let options = reader.options(&[ONE]);
                    Ended::from(restore_command(settings, options, reporter, cancel).await)
                }
                Self::Verify => {
                    let subject = Subject::One(Which::Latest);
                    let level = Some(Level::Read);
                    Ended::from(verify_command(settings, subject, level, reporter, cancel).await)
                }
                Self::Drill => Ended::from(drill_command(settings, reporter, cancel).await),
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), run).await;
        ended.expect("the run ends")
    }

    fn is_restore(self) -> bool {
        matches!(self, Self::Restore | Self::RestoreOne)
    }

    /// What it leaves in the target when it went well.
    fn expected(self) -> BTreeMap<String, Vec<u8>> {
        let mut all = expected(&volumes().concat());
        match self {
            Self::Restore => all,
            Self::RestoreOne => all.remove_entry(ONE).into_iter().collect(),
            Self::Verify | Self::Drill => BTreeMap::new(),
        }
    }
}

fn found(reader: &Reader) -> BTreeMap<String, Vec<u8>> {
    match reader.target().exists() {
        true => reader.found(),
        false => BTreeMap::new(),
    }
}

/// What is proven of the snapshot; what this host has read of the folder is forgotten, so that each run reads it anew.
async fn proven_and_forgotten(reader: &Reader) -> Vec<String> {
    let remote = reader.settings.provider.describe().await.unwrap().id;
    let state = State::open(&reader.settings.own_dir).await.unwrap();
    let proofs = state.backup_proofs(&remote).await.unwrap();
    let forgetting = state.record_backup_manifests(&remote, &[], &[]);
    forgetting.await.unwrap();
    state.close().await;
    let proofs = proofs
        .into_iter()
        .filter(|proof| proof.snapshot == name().to_string());
    proofs.map(|proof| proof.level).collect()
}

/// A run without faults, which must be whole.
async fn clean(reader: &Reader, command: Command, context: &str) {
    if reader.target().exists() {
        std::fs::remove_dir_all(reader.target()).unwrap();
    }
    let ended = command.run(reader).await;
    assert!(ended.failure.is_none(), "{context}: {:?}", ended.failure);
    assert_eq!(ended.report.errors, [], "{context}");
    assert!(found(reader) == command.expected(), "{context}");
    if command.is_restore() {
        std::fs::remove_dir_all(reader.target()).unwrap();
    }
}

async fn sweep(command: Command) {
    let key = Key::new();
    let reader = Reader::with_key(&key);
    reader.put(&make(name(), &key.seal, &volumes()));
    clean(&reader, Command::Verify, "first").await;
    clean(&reader, Command::Drill, "first").await;
    assert_eq!(proven_and_forgotten(&reader).await, [DRILL, "read"]);
    let before = reader.faults.calls();
    clean(&reader, command, "without a fault").await;
    let calls = reader.faults.calls() - before;
    assert!(calls >= 4, "{calls}");
    for way in WAYS {
        for call in 1..=calls {
            proven_and_forgotten(&reader).await;
            way.arm(&reader.faults, call);
            let ended = command.run(&reader).await;
            reader.faults.clear();
            let context = format!("{command:?}, {way:?} at call {call}: {:?}", ended.failure);
            assert_honest(&reader, command, &ended, &context);
            if matches!(way, Way::Slow) {
                assert!(ended.failure.is_none(), "{context}");
            }
            // Nothing is damaged.
            let proven = proven_and_forgotten(&reader).await;
            assert_eq!(proven, [DRILL, "read"], "{context}");
            clean(&reader, command, &context).await;
        }
    }
}

/// It is whole where it says so, and otherwise says what is not; what is there is right in either case.
fn assert_honest(reader: &Reader, command: Command, ended: &Ended, context: &str) {
    let (found, expected) = (found(reader), command.expected());
    let Some(failure) = &ended.failure else {
        assert_eq!(ended.report.errors, [], "{context}");
        assert!(found == expected, "{context}");
        return;
    };
    assert!(!ended.report.errors.is_empty(), "{context}");
    let is_marked = found.contains_key(".ows-partial");
    for (path, content) in &found {
        assert!(
            path == ".ows-partial" || expected.get(path) == Some(content),
            "{context}: `{path}`"
        );
    }
    assert!(
        is_marked || found.is_empty() || failure.kind == FailureKind::Partial,
        "{context}: {:?}",
        found.keys()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_call_of_a_restore_fails_nothing_is_wrong_or_missing_in_silence() {
    sweep(Command::Restore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_call_of_a_restore_of_one_path_fails_nothing_is_wrong_or_missing_in_silence() {
    sweep(Command::RestoreOne).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_call_of_a_verification_fails_it_proves_and_disproves_nothing_by_that() {
    sweep(Command::Verify).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_call_of_a_drill_fails_it_proves_and_disproves_nothing_by_that() {
    sweep(Command::Drill).await;
}
