//! Objects on their way to a store: what is stored, what memory it takes, what a failure leaves.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ows::backup::intents::{Settled, settle};
use ows::backup::name::{Part, SnapshotName};
use ows::backup::sink::{Cut, ObjectSink, ProviderSink, SinkParts};
use ows::cancel::{Cancel, StopCause};
use ows::error::{Failure, FailureKind};
use ows::report::{Reporter, Silent};
use ows_providers::layers::{Fault, Retry, RetryOptions, RetryPolicy};
use ows_providers::memory::MemoryOptions;
use ows_providers::{Enforcement, ErrorKind, Operation, Provider};

use super::store::{Store, TRANSIENT, snapshot};

const PART: usize = 1024;
const CUT: Cut = Cut {
    part_size: PART,
    in_flight: 3,
};

fn name() -> SnapshotName {
    snapshot("2026-01-31T23:59:59Z")
}

fn data() -> String {
    name().object(Part::Data {
        volume: None,
        encrypted: true,
    })
}

fn index() -> String {
    name().object(Part::Index { encrypted: true })
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

async fn sink(store: &Store, reporter: Arc<dyn Reporter>, cancel: &Cancel) -> ProviderSink {
    sink_over(store, Arc::clone(&store.provider), reporter, cancel).await
}

async fn sink_over(
    store: &Store,
    provider: Arc<dyn Provider>,
    reporter: Arc<dyn Reporter>,
    cancel: &Cancel,
) -> ProviderSink {
    ProviderSink::new(SinkParts {
        provider,
        state: store.state.clone(),
        intent: store.intent(name()).await,
        cut: CUT,
        reporter,
        cancel: cancel.clone(),
    })
}

/// Writes objects on a thread of their own, turn by turn, and finishes them.
async fn write(sink: &ProviderSink, objects: Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    let own = sink.clone();
    let written = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        let mut writers = Vec::new();
        for (name, content) in &objects {
            writers.push((own.create(name)?, content.chunks(100)));
        }
        loop {
            let mut wrote = false;
            for (writer, chunks) in &mut writers {
                if let Some(chunk) = chunks.next() {
                    writer.write_all(chunk)?;
                    wrote = true;
                }
            }
            if !wrote {
                break;
            }
        }
        for (writer, _) in writers {
            writer.finish()?;
        }
        Ok(())
    });
    let written = tokio::time::timeout(Duration::from_secs(30), written).await;
    match written.expect("it does not hang").unwrap() {
        Ok(()) => {
            assert!(sink.take_failure().is_none());
            Ok(())
        }
        Err(error) => Err(sink
            .take_failure()
            .unwrap_or_else(|| panic!("no failure for {error}"))),
    }
}

#[tokio::test]
async fn objects_of_every_length_are_stored_whole() {
    for length in [0, 1, PART - 1, PART, PART + 1, 5 * PART, 5 * PART + 17] {
        let store = Store::new(MemoryOptions::s3()).await;
        let sink = sink(&store, Arc::new(Silent), &Cancel::new()).await;
        let objects = vec![(data(), content(length)), (index(), content(300))];
        write(&sink, objects).await.unwrap();
        assert!(store.store.get(&data()).unwrap() == content(length));
        assert!(store.store.get(&index()).unwrap() == content(300));
        assert!(store.store.uploads().is_empty());
        let counts = store.counter.counts();
        let parts = if length > PART {
            length.div_ceil(PART)
        } else {
            0
        };
        assert_eq!(counts.of(Operation::PutPart), parts as u64, "{length}");
        let single = if parts == 0 { 2 } else { 1 };
        assert_eq!(counts.of(Operation::Put), single, "{length}");
    }
}

/// Also where the store refuses conditions instead of keeping them.
#[tokio::test]
async fn stores_without_conditions_are_looked_at_first() {
    let store = Store::new(MemoryOptions {
        enforced: Enforcement::default(),
        ..MemoryOptions::s3()
    })
    .await;
    for operation in [Operation::Put, Operation::CompleteUpload] {
        store
            .faults
            .add(Fault::on(operation).before(ErrorKind::Unsupported));
    }
    let sink = sink(&store, Arc::new(Silent), &Cancel::new()).await;
    let objects = vec![(data(), content(3 * PART)), (index(), content(300))];
    write(&sink, objects).await.unwrap();
    store.faults.assert_all_reached();
    assert!(store.store.get(&data()).unwrap() == content(3 * PART));
    assert!(store.store.get(&index()).unwrap() == content(300));
}

/// Counts what is stored, and with it what is not: the memory of the sink.
#[derive(Default)]
struct Balance {
    taken: AtomicU64,
    stored: AtomicU64,
    most_held: AtomicU64,
}

impl Balance {
    fn look(&self) {
        let taken = self.taken.load(Ordering::SeqCst);
        let held = taken.saturating_sub(self.stored.load(Ordering::SeqCst));
        self.most_held.fetch_max(held, Ordering::SeqCst);
    }
}

impl Reporter for Balance {
    fn moved(&self, bytes: u64) {
        self.stored.fetch_add(bytes, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_store_that_stands_still_stops_the_writers_within_the_memory_that_is_promised() {
    let store = Store::new(MemoryOptions::s3()).await;
    store
        .faults
        .add(Fault::on(Operation::PutPart).times(u64::MAX).hangs());
    let balance = Arc::new(Balance::default());
    let cancel = Cancel::new();
    let sink = sink(&store, Arc::clone(&balance) as Arc<dyn Reporter>, &cancel).await;
    let (own, counted) = (sink.clone(), Arc::clone(&balance));
    let writing = tokio::task::spawn_blocking(move || {
        let mut writers = [own.create(&data()).unwrap(), own.create(&index()).unwrap()];
        for turn in 0.. {
            let writer = &mut writers[turn % 2];
            if let Err(error) = writer.write_all(&[7; 64]) {
                return error;
            }
            counted.taken.fetch_add(64, Ordering::SeqCst);
            counted.look();
        }
        unreachable!()
    });
    // Every place for a part is taken, and the memory that the writers may fill is full; nothing moves after that.
    let most = (PART * (CUT.in_flight + 1)) as u64;
    while balance.taken.load(Ordering::SeqCst) < most {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cancel.stop(StopCause::Terminated);
    writing.await.unwrap();
    let failure = sink.take_failure().unwrap();
    assert_eq!(failure.kind, FailureKind::Terminated);
    let held = balance.most_held.load(Ordering::SeqCst);
    assert!(held <= (PART * (CUT.in_flight + 2)) as u64, "{held}");
    assert_eq!(balance.stored.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_slow_store_makes_the_writers_wait() {
    let store = Store::new(MemoryOptions::s3()).await;
    let balance = Arc::new(Balance::default());
    let looking = Arc::clone(&balance);
    store.faults.add(
        Fault::on(Operation::PutPart)
            .times(u64::MAX)
            .meanwhile(move || {
                looking.look();
                std::thread::sleep(Duration::from_millis(2));
            }),
    );
    let sink = sink(
        &store,
        Arc::clone(&balance) as Arc<dyn Reporter>,
        &Cancel::new(),
    )
    .await;
    let (own, counted) = (sink.clone(), Arc::clone(&balance));
    let writing = tokio::task::spawn_blocking(move || {
        let mut writers = [own.create(&data()).unwrap(), own.create(&index()).unwrap()];
        for turn in 0..2048 {
            writers[turn % 2].write_all(&[7; 64]).unwrap();
            counted.taken.fetch_add(64, Ordering::SeqCst);
            counted.look();
        }
        for writer in writers {
            writer.finish().unwrap();
        }
    });
    writing.await.unwrap();
    let held = balance.most_held.load(Ordering::SeqCst);
    assert!(held <= (PART * (CUT.in_flight + 2)) as u64, "{held}");
    assert!(
        held >= (PART * CUT.in_flight) as u64,
        "{held}: the writers were slower"
    );
    assert_eq!(balance.stored.load(Ordering::SeqCst), 2048 * 64);
}

#[tokio::test]
async fn parts_that_fail_are_sent_again() {
    let store = Store::new(MemoryOptions::s3()).await;
    store.faults.random(7, 0.3, &[TRANSIENT]);
    let fast = |policy: RetryPolicy| RetryPolicy {
        base: Duration::from_micros(1),
        attempts: 1000,
        ..policy
    };
    let retry = RetryOptions {
        metadata: fast(RetryPolicy::metadata()),
        transfer: fast(RetryPolicy::transfer()),
    };
    let provider = Arc::new(Retry::new(Arc::clone(&store.provider), retry));
    let sink = sink_over(&store, provider, Arc::new(Silent), &Cancel::new()).await;
    let objects = vec![(data(), content(50 * PART)), (index(), content(300))];
    write(&sink, objects).await.unwrap();
    assert!(store.faults.random_faults() > 10);
    assert!(store.store.get(&data()).unwrap() == content(50 * PART));
    assert!(store.store.get(&index()).unwrap() == content(300));
}

/// Every call fails once, before it has happened and after: nothing is visible but whole objects, and what is left is
/// removed by the intent, with what it does not name left alone.
#[tokio::test]
async fn whatever_a_failure_leaves_is_removed_by_the_intent() {
    let objects = || vec![(data(), content(5 * PART + 17)), (index(), content(300))];
    let store = Store::new(MemoryOptions::s3()).await;
    let whole = sink(&store, Arc::new(Silent), &Cancel::new()).await;
    let before = store.faults.calls();
    write(&whole, objects()).await.unwrap();
    let calls = store.faults.calls() - before;
    assert!(calls >= 11, "{calls}");

    let foreign = "ows-20260131T235959Z-00000000.index.age";
    for call in 1..=calls {
        for after in [false, true] {
            let store = Store::new(MemoryOptions::s3()).await;
            store.store.insert(foreign, b"of another host");
            let sink = sink(&store, Arc::new(Silent), &Cancel::new()).await;
            let fault = Fault::any().nth(call);
            store.faults.add(match after {
                false => fault.before(TRANSIENT),
                true => fault.after(TRANSIENT),
            });
            let failure = write(&sink, objects()).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Failed, "{failure}");
            store.faults.assert_all_reached();
            drop(sink);
            let settled = settle(store.provider.as_ref(), &store.state, &store.remote);
            let settled = settled.await.unwrap();
            assert!(settled.problems.is_empty(), "{settled:?}");
            assert!(store.store.uploads().is_empty(), "call {call}, {after}");
            assert_eq!(store.names().into_iter().collect::<Vec<_>>(), [foreign]);
            let open = store.state.open_backup_intents(&store.remote).await;
            assert!(open.unwrap().is_empty());
        }
    }
}

/// The intent outlives a cleaning that fails, and what it names a cleaning that works.
#[tokio::test]
async fn an_intent_stays_until_everything_is_removed() {
    let written = async || {
        let store = Store::new(MemoryOptions::s3()).await;
        let sink = sink(&store, Arc::new(Silent), &Cancel::new()).await;
        store
            .faults
            .add(Fault::on(Operation::PutPart).nth(3).before(TRANSIENT));
        let objects = vec![(data(), content(5 * PART)), (index(), content(300))];
        write(&sink, objects).await.unwrap_err();
        store
    };
    let store = written().await;
    let before = store.faults.calls();
    let clean = async |store: &Store| {
        settle(store.provider.as_ref(), &store.state, &store.remote)
            .await
            .unwrap()
    };
    clean(&store).await;
    let calls = store.faults.calls() - before;
    assert!(calls >= 4, "{calls}");
    for call in 1..=calls {
        for fault in [
            Fault::any().before(TRANSIENT),
            Fault::any().before(ErrorKind::Forbidden),
            Fault::any().after(TRANSIENT),
        ] {
            let store = written().await;
            store.faults.add(fault.nth(call));
            let settled = clean(&store).await;
            let open = store.state.open_backup_intents(&store.remote).await;
            let told = settled.problems.len() + settled.retained.len();
            assert_eq!(told, open.unwrap().len(), "call {call}");
            clean(&store).await;
            assert!(store.store.uploads().is_empty() && store.names().is_empty());
            assert_eq!(clean(&store).await, Settled::default());
        }
    }
}

/// Killed between the manifest and the word of it: the snapshot exists.
#[tokio::test]
async fn a_snapshot_with_a_manifest_is_never_removed_by_an_intent() {
    let store = Store::new(MemoryOptions::s3()).await;
    let sink = sink(&store, Arc::new(Silent), &Cancel::new()).await;
    let objects = vec![(data(), content(5 * PART)), (index(), content(300))];
    write(&sink, objects).await.unwrap();
    let manifest = name().object(Part::Manifest);
    store.store.insert(&manifest, b"{}");
    let before = store.names();
    let settled = settle(store.provider.as_ref(), &store.state, &store.remote);
    assert_eq!(settled.await.unwrap(), Settled::default());
    assert_eq!(store.names(), before);
    let open = store.state.open_backup_intents(&store.remote).await;
    assert!(open.unwrap().is_empty());
}

#[test]
fn parts_grow_with_the_last_snapshot() {
    const MIB: usize = 1 << 20;
    let provider = ows_providers::memory::MemoryStore::new(MemoryOptions {
        parts: ows_providers::PartRules {
            min: 5 << 20,
            max: 5 << 30,
            preferred: 8 << 20,
            max_count: 10_000,
        },
        ..MemoryOptions::s3()
    })
    .provider();
    let cut = |last| Cut::new(provider.capabilities(), last);
    assert_eq!((cut(0).part_size, cut(0).in_flight), (16 * MIB, 4));
    assert_eq!(cut(30 << 30).part_size, 16 * MIB);
    assert_eq!(cut(200 << 30).part_size, 128 * MIB);
}
