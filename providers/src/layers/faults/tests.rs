use futures::TryStreamExt as _;

use super::*;
use crate::memory::{MemoryOptions, MemoryStore};

const TRANSIENT: ErrorKind = ErrorKind::Transient { after: None };

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn faulty(store: &MemoryStore) -> (Faults, Arc<FaultSet>) {
    let set = FaultSet::new();
    (Faults::new(store.provider(), Arc::clone(&set)), set)
}

async fn put(provider: &Faults, name: &str) -> Result<Entry> {
    provider
        .put(
            &path(name),
            Bytes::from_static(b"content"),
            PutOptions::default(),
        )
        .await
}

#[tokio::test]
async fn the_nth_matching_call_fails_before_or_after_it_took_effect() {
    let store = MemoryStore::new(MemoryOptions::s3());
    let (provider, set) = faulty(&store);
    set.add(
        Fault::on(Operation::Put)
            .below("in")
            .nth(2)
            .before(ErrorKind::QuotaExceeded),
    )
    .add(Fault::on(Operation::Put).at("lost").after(TRANSIENT));
    put(&provider, "in/1").await.unwrap();
    put(&provider, "out").await.unwrap();
    assert_eq!(set.unreached().len(), 2);
    assert_eq!(
        put(&provider, "in/2").await.unwrap_err().kind,
        ErrorKind::QuotaExceeded
    );
    put(&provider, "in/3").await.unwrap();
    assert_eq!(put(&provider, "lost").await.unwrap_err().kind, TRANSIENT);
    put(&provider, "lost").await.unwrap();
    let names: Vec<String> = store.files().into_keys().collect();
    assert_eq!(names, ["in/1", "in/3", "lost", "out"]);
    assert_eq!(set.calls(), 6);
    set.assert_all_reached();
}

#[tokio::test]
#[should_panic(expected = "never reached")]
async fn a_fault_that_is_not_reached_fails_the_test() {
    let store = MemoryStore::new(MemoryOptions::s3());
    let (provider, set) = faulty(&store);
    set.add(Fault::any().nth(2).hangs());
    put(&provider, "a").await.unwrap();
    set.assert_all_reached();
}

#[tokio::test]
async fn bodies_and_listings_end_where_the_script_says() {
    let store = MemoryStore::new(MemoryOptions::s3());
    for name in ["a", "b", "c"] {
        store.insert(name, b"content");
    }
    let (provider, set) = faulty(&store);
    set.add(Fault::on(Operation::Get).short_body(3, Some(TRANSIENT)))
        .add(Fault::on(Operation::Get).short_body(4, None))
        .add(Fault::on(Operation::List).breaks_listing(2, TRANSIENT));

    for (expected, fails) in [("con", true), ("cont", false), ("content", false)] {
        let mut body = provider
            .get(&path("a"), GetOptions::default())
            .await
            .unwrap()
            .body;
        let mut content = Vec::new();
        let mut failed = false;
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => content.extend_from_slice(&piece),
                Err(_) => failed = true,
            }
        }
        assert_eq!(String::from_utf8(content).unwrap(), expected);
        assert_eq!(failed, fails, "{expected}");
    }
    let items: Vec<bool> = provider
        .list(ListOptions::default())
        .map(|item| item.is_ok())
        .collect()
        .await;
    assert_eq!(items, [true, true, false]);
    set.assert_all_reached();
}

#[tokio::test]
async fn after_a_crash_every_call_fails_and_open_streams_too() {
    let store = MemoryStore::new(MemoryOptions {
        page_size: 1,
        ..MemoryOptions::s3()
    });
    store.insert("a", b"content");
    store.insert("b", b"content");
    let (provider, set) = faulty(&store);
    let mut listing = provider.list(ListOptions::default());
    assert!(listing.next().await.unwrap().is_ok());
    set.crash_at(1, Moment::After);
    assert!(put(&provider, "c").await.is_err());
    assert!(listing.next().await.unwrap().is_err());
    assert!(provider.stat(&path("a")).await.is_err());
    assert!(put(&provider, "d").await.is_err());
    let names: Vec<String> = store.files().into_keys().collect();
    assert_eq!(names, ["a", "b", "c"]);
    set.assert_all_reached();
}

#[tokio::test]
async fn someone_else_can_act_right_before_a_call() {
    let store = MemoryStore::new(MemoryOptions::s3());
    let (provider, set) = faulty(&store);
    let stranger = store.clone();
    set.add(Fault::on(Operation::Put).meanwhile(move || {
        stranger.insert("a", b"theirs");
    }));
    let options = PutOptions {
        precondition: Precondition::Absent,
        ..PutOptions::default()
    };
    let error = provider
        .put(&path("a"), Bytes::from_static(b"ours"), options)
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
    assert_eq!(store.get("a").unwrap(), b"theirs");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    async fn outcomes(seed: u64) -> Vec<bool> {
        let store = MemoryStore::new(MemoryOptions::s3());
        let (provider, set) = faulty(&store);
        set.random(seed, 0.3, &[TRANSIENT]);
        let mut outcomes = Vec::new();
        for number in 0..100 {
            outcomes.push(put(&provider, &number.to_string()).await.is_ok());
        }
        assert_eq!(
            set.random_faults(),
            outcomes.iter().filter(|succeeded| !**succeeded).count() as u64
        );
        let listed: Vec<Result<Listed>> = store
            .provider()
            .list(ListOptions::default())
            .map_err(|error| panic!("{error}"))
            .collect()
            .await;
        assert!(listed.len() < 100);
        outcomes
    }
    let first = outcomes(7).await;
    assert_eq!(first, outcomes(7).await);
    assert_ne!(first, outcomes(8).await);
    assert!((10..=60).contains(&first.iter().filter(|succeeded| !**succeeded).count()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_made_later() {
    const DELAY: Duration = Duration::from_secs(3);
    let store = MemoryStore::new(MemoryOptions::s3());
    let (provider, set) = faulty(&store);
    set.add(Fault::any().times(3).slow(DELAY));
    let began = tokio::time::Instant::now();
    put(&provider, "a").await.unwrap();
    let listed: Vec<_> = (provider.list(ListOptions::default()).try_collect())
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    let got = provider.get(&path("a"), GetOptions::default()).await;
    assert_eq!(got.unwrap().entry.size, 7);
    assert_eq!(began.elapsed(), 3 * DELAY);
    set.assert_all_reached();
}
