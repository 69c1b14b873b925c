//! The lease by itself, over a store in memory; time is tokio's and stands still unless somebody waits for it.

use ows_providers::layers::{Fault, FaultSet, Faults};
use ows_providers::memory::{MemoryOptions, MemoryStore, VersionStyle};

use super::*;

const PATH: &str = ".ows/lease";

/// A host's clocks, which a test sets.
#[derive(Debug, Clone)]
struct Clocks(Arc<Mutex<Reading>>);

impl Clocks {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Reading {
            wall: DateTime::from_timestamp(1_600_000_000, 0).unwrap(),
            steady: Duration::from_secs(5),
        })))
    }

    fn pass(&self, wall: i64, steady: u64) {
        let mut reading = lock(&self.0);
        reading.wall += TimeDelta::seconds(wall);
        reading.steady += Duration::from_secs(steady);
    }

    fn clock(&self) -> HostClock {
        let clocks = self.clone();
        HostClock::new(move || *lock(&clocks.0))
    }
}

fn claimant(provider: Arc<dyn Provider>, name: &str, clock: HostClock) -> Claimant {
    Claimant {
        provider,
        enforcement: MemoryOptions::s3().enforced,
        replica: format!("replica-{name}"),
        host: format!("host-{name}"),
        run: format!("run-{name}"),
        clock,
    }
}

/// Two hosts at one store, and the clocks of the first.
struct Two {
    store: MemoryStore,
    faults: Arc<FaultSet>,
    clocks: Clocks,
    a: Claimant,
    b: Claimant,
}

impl Two {
    fn new(options: MemoryOptions) -> Self {
        let store = MemoryStore::new(options);
        let faults = FaultSet::new();
        let clocks = Clocks::new();
        let a = Faults::new(store.provider(), Arc::clone(&faults));
        Self {
            a: claimant(Arc::new(a), "a", clocks.clock()),
            b: claimant(store.provider(), "b", HostClock::default()),
            store,
            faults,
            clocks,
        }
    }

    fn holder(&self) -> Option<String> {
        Some(Body::read(&self.store.get(PATH)?)?.host)
    }
}

async fn ours(claimant: &Claimant) -> Lease {
    match claimant.claim(None).await.unwrap() {
        Claim::Ours(lease) => lease,
        Claim::Theirs(holder) => panic!("{holder:?} holds it"),
    }
}

async fn theirs(claimant: &Claimant) -> Holder {
    match claimant.claim(None).await.unwrap() {
        Claim::Theirs(holder) => holder,
        Claim::Ours(_) => panic!("it was free"),
    }
}

fn every_kind() -> [MemoryOptions; 4] {
    let mut opaque = MemoryOptions::s3();
    opaque.versions = VersionStyle::OpaqueEtag;
    [
        MemoryOptions::s3(),
        opaque,
        MemoryOptions::folder(),
        MemoryOptions::drive(),
    ]
}

#[tokio::test(start_paused = true)]
async fn one_host_holds_it_and_gives_it_back() {
    for options in every_kind() {
        let two = Two::new(options);
        // A run has listed the remote before, so that the provider has told its time.
        assert!(two.a.look().await.unwrap().is_none());
        let lease = ours(&two.a).await;
        let holder = theirs(&two.b).await;
        assert_eq!(holder.who, Some(("host-a".into(), "run-a".into())));
        assert_eq!(holder.since, Some(two.store.now()));
        assert_eq!(holder.ends_at, Some(two.store.now() + LASTS));
        assert_eq!(lease.release().await, None);
        assert_eq!(two.store.get(PATH), None);
        ours(&two.b).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_by_the_clock_of_the_provider() {
    for options in every_kind() {
        let two = Two::new(options);
        drop(ours(&two.a).await);
        let fence = Body::read(&two.store.get(PATH).unwrap()).unwrap().fence;
        two.store.advance(LASTS - Duration::from_secs(1));
        theirs(&two.b).await;
        two.store.advance(Duration::from_secs(1));
        let lease = ours(&two.b).await;
        assert_eq!(two.holder().as_deref(), Some("host-b"));
        assert!(lease.held.body.fence > fence);
    }
}

#[tokio::test(start_paused = true)]
async fn the_replica_that_it_names_takes_it_over_at_once() {
    let two = Two::new(MemoryOptions::s3());
    drop(ours(&two.a).await);
    let mut next_run = two.a.clone();
    next_run.run = "run-2".to_owned();
    ours(&next_run).await;
    theirs(&two.b).await;
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_renews_it() {
    for options in every_kind() {
        let two = Two::new(options);
        let lease = ours(&two.a).await;
        let first = two.store.entry(PATH).unwrap().version;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(15)).await;
            two.store.advance(Duration::from_secs(15));
            two.clocks.pass(15, 15);
            theirs(&two.b).await;
        }
        assert_ne!(two.store.entry(PATH).unwrap().version, first);
        lease.confirm().await.unwrap();
        assert_eq!(lease.release().await, None);
        assert_eq!(two.store.get(PATH), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_lease_is_renewed_no_more() {
    let two = Two::new(MemoryOptions::s3());
    drop(ours(&two.a).await);
    let left = two.store.get(PATH);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(two.store.get(PATH), left);
}

#[tokio::test(start_paused = true)]
async fn of_many_that_see_it_ended_one_takes_it() {
    for (conditions, options) in [
        (true, MemoryOptions::s3()),
        (true, MemoryOptions::folder()),
        (false, MemoryOptions::s3()),
    ] {
        let store = MemoryStore::new(options);
        let hosts: Vec<Claimant> = (0..10)
            .map(|number| {
                let name = number.to_string();
                let mut host = claimant(store.provider(), &name, HostClock::default());
                host.enforcement.replace_if_match = conditions;
                host
            })
            .collect();
        drop(ours(&claimant(store.provider(), "dead", HostClock::default())).await);
        store.advance(LASTS);
        let claims = futures::future::join_all(hosts.iter().map(|host| host.claim(None))).await;
        let leases: Vec<Lease> = claims
            .into_iter()
            .filter_map(|claim| match claim.unwrap() {
                Claim::Ours(lease) => Some(lease),
                Claim::Theirs(_) => None,
            })
            .collect();
        // Where replacing is not conditional several may think so; the next look tells all but one.
        let mut held = 0;
        for lease in &leases {
            lock(&lease.held.confirmed).wall -= TimeDelta::hours(1);
            held += usize::from(lease.confirm().await.is_ok());
        }
        assert_eq!(held, 1, "conditions: {conditions}");
        assert!(!conditions || leases.len() == 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_lease_is_confirmed_without_a_call() {
    let two = Two::new(MemoryOptions::s3());
    let lease = ours(&two.a).await;
    two.store.clear_log();
    two.clocks.pass(44, 44);
    lease.confirm().await.unwrap();
    assert_eq!(two.store.log(), []);
    two.clocks.pass(1, 1);
    lease.confirm().await.unwrap();
    assert_eq!(two.store.log().len(), 1, "now it was renewed");
    lease.confirm().await.unwrap();
    assert_eq!(two.store.log().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_suspended_finds_out_that_another_took_over() {
    // Suspended: only the wall clock goes on. Stopped (SIGSTOP): both do. Set back: who knows.
    for (wall, steady) in [(600, 0), (600, 600), (0, 600), (-600, 0)] {
        let two = Two::new(MemoryOptions::s3());
        let lease = ours(&two.a).await;
        two.store.advance(Duration::from_secs(600));
        two.clocks.pass(wall, steady);
        let other = ours(&two.b).await;
        let failure = lease.confirm().await.unwrap_err();
        assert!(failure.message.contains("`host-b`"), "{failure}");
        assert_eq!(failure.kind.exit_code(), 1);
        lease.confirm().await.unwrap_err();
        lease.release().await;
        assert_eq!(two.holder().as_deref(), Some("host-b"), "left to it");
        other.release().await;
        lease.confirm().await.unwrap_err();
        assert_eq!(two.store.get(PATH), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_suspended_goes_on_if_nobody_took_over() {
    let two = Two::new(MemoryOptions::s3());
    let lease = ours(&two.a).await;
    two.store.advance(Duration::from_secs(6000));
    two.clocks.pass(6000, 0);
    lease.confirm().await.unwrap();
    theirs(&two.b).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_deleted_is_lost() {
    let two = Two::new(MemoryOptions::s3());
    let lease = ours(&two.a).await;
    two.store.remove(PATH);
    two.clocks.pass(50, 50);
    lease.confirm().await.unwrap_err();
    assert_eq!(two.store.get(PATH), None, "it is not made anew");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_for_a_while_is_tried_again() {
    for fault in [
        Fault::on(Operation::Put)
            .times(3)
            .before(ErrorKind::Transient { after: None }),
        // Carried out, and the answer lost: the object is found to be ours.
        Fault::on(Operation::Put).after(ErrorKind::Transient { after: None }),
        Fault::on(Operation::Put).hangs(),
    ] {
        let two = Two::new(MemoryOptions::s3());
        let lease = ours(&two.a).await;
        two.faults.add(fault);
        two.clocks.pass(50, 50);
        lease.confirm().await.unwrap();
        two.faults.assert_all_reached();
        two.store.advance(Duration::from_secs(50));
        assert_eq!(lease.release().await, None);
        assert_eq!(two.store.get(PATH), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_remote_without_room_does_not_take_it_away() {
    let two = Two::new(MemoryOptions::s3());
    let lease = ours(&two.a).await;
    let full = Fault::on(Operation::Put).times(u64::MAX);
    two.faults.add(full.before(ErrorKind::QuotaExceeded));
    two.clocks.pass(50, 50);
    lease.confirm().await.unwrap();
    two.store.advance(LASTS);
    ours(&two.b).await;
    two.clocks.pass(200, 200);
    lease.confirm().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn when_it_ended_without_a_renewal_the_run_stops() {
    let two = Two::new(MemoryOptions::s3());
    let lease = ours(&two.a).await;
    let down = Fault::on(Operation::Put).times(u64::MAX);
    two.faults
        .add(down.before(ErrorKind::Transient { after: None }));
    two.clocks.pass(121, 121);
    let failure = lease.confirm().await.unwrap_err();
    assert!(
        failure.message.contains("could not be renewed"),
        "{failure}"
    );
    two.faults.clear();
    lease.confirm().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn the_renewing_task_gives_up_by_itself() {
    let two = Two::new(MemoryOptions::s3());
    let lease = Lease::begin(
        Claimant {
            clock: HostClock::default(),
            ..two.a.clone()
        },
        two.a.body(None),
        two.a
            .put(&two.a.body(None), Precondition::Absent)
            .await
            .unwrap(),
        HostClock::default().read(),
    );
    let down = Fault::on(Operation::Put).times(u64::MAX);
    two.faults
        .add(down.before(ErrorKind::Transient { after: None }));
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(lease.held.lost.get().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_or_newer_lease_is_held_until_its_stored_time_is_over() {
    let newer = br#"{"format":2,"holders":["x"]}"#.to_vec();
    for content in [b"".to_vec(), b"{".to_vec(), vec![0xff; 100_000], newer] {
        let two = Two::new(MemoryOptions::s3());
        two.store.insert(PATH, &content);
        let holder = theirs(&two.a).await;
        assert_eq!(holder.who, None);
        assert_eq!(holder.ends_at, Some(two.store.now() + LASTS));
        two.store.advance(LASTS);
        ours(&two.a).await;
        assert_eq!(two.holder().as_deref(), Some("host-a"));
    }
}

/// A provider that never tells the time.
async fn without_clock() -> (MemoryStore, Claimant) {
    // A stored time far in the future is as good as none.
    let store = MemoryStore::new(MemoryOptions::s3());
    let now = store.now();
    store.set_now(now + TimeDelta::days(2));
    drop(ours(&claimant(store.provider(), "dead", HostClock::default())).await);
    store.set_now(now);
    let clocks = Clocks::new();
    let claimant = claimant(store.provider(), "a", clocks.clock());
    (store, claimant)
}

#[tokio::test(start_paused = true)]
async fn without_a_usable_time_the_same_version_seen_twice_has_ended() {
    let (_store, host) = without_clock().await;
    let holder = theirs(&host).await;
    assert_eq!(holder.ends_at, None);
    let now = host.clock.read().wall;
    let seen = |version: &str, ago: i64| Sighting {
        version: Version(version.to_owned()),
        at: now - TimeDelta::seconds(ago),
    };
    let version = holder.version.unwrap().0;
    for early in [
        seen(&version, 119),
        seen("other", 500),
        seen(&version, -500),
    ] {
        let claim = host.claim(Some(&early)).await.unwrap();
        assert!(matches!(claim, Claim::Theirs(_)), "{early:?}");
    }
    let claim = host.claim(Some(&seen(&version, 120))).await.unwrap();
    assert!(matches!(claim, Claim::Ours(_)));
}

#[tokio::test(start_paused = true)]
async fn giving_it_back_does_not_hold_up_the_end_of_a_run() {
    let two = Two::new(MemoryOptions::s3());
    let lease = ours(&two.a).await;
    two.faults.add(Fault::on(Operation::Delete).hangs());
    let before = tokio::time::Instant::now();
    let word = lease.release().await.unwrap();
    assert!(word.contains("within 120 seconds"), "{word}");
    assert!(before.elapsed() <= RELEASE_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn without_conditional_deletes_only_a_fresh_one_is_deleted() {
    for (age, gone) in [(0, true), (50, false)] {
        let mut two = Two::new(MemoryOptions::s3());
        two.a.enforcement.delete_if_match = false;
        let lease = ours(&two.a).await;
        two.clocks.pass(age, 0);
        assert_eq!(lease.release().await, None);
        assert_eq!(two.store.get(PATH).is_none(), gone);
    }
}
