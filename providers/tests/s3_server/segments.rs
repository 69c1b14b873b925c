//! Listings that are cut into segments: the same items as without cuts, and as many requests as there are pages.

use futures::TryStreamExt as _;
use ows_providers::s3::S3Provider;
use ows_providers::{ListOptions, Listed, Provider, RelPath, Result};
use ows_testkit::random::Seed;
use ows_testkit::s3::{Op, Server, Then, When};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::setup::{BUCKET, connect, options};

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// The items as text, all their fields included.
async fn listing(provider: &S3Provider, options: ListOptions) -> Vec<String> {
    let shown = format!("{options:?}");
    let items: Result<Vec<Listed>> = provider.list(options).try_collect().await;
    let items = items.unwrap_or_else(|error| panic!("{shown}: {error}"));
    items.iter().map(|item| format!("{item:?}")).collect()
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("{:04}/{number:08}.txt", number / 1_000))
}

/// The last of every thousand names, as a caller knows them from the run before.
fn every_thousandth(names: impl Iterator<Item = String>) -> Vec<RelPath> {
    names
        .skip(999)
        .step_by(1_000)
        .map(|name| path(&name))
        .collect()
}

#[tokio::test]
async fn an_unchanged_bucket_costs_one_request_for_a_thousand_objects() {
    const COUNT: usize = 50_000;
    let server = Server::with_bucket(BUCKET);
    server.fill(BUCKET, "", COUNT);
    let provider = connect(options(&server));
    let splits = every_thousandth(names(COUNT));
    assert_eq!(splits.len(), 50);
    for (splits, requests) in [
        (splits.clone(), 50),
        (splits[..49].to_vec(), 50),
        (Vec::new(), 50),
    ] {
        server.reset_calls();
        let options = ListOptions {
            splits,
            ..ListOptions::default()
        };
        assert_eq!(listing(&provider, options).await.len(), COUNT);
        assert_eq!(server.count(Op::List), requests);
        assert_eq!(server.calls().values().sum::<u64>(), requests);
    }
}

#[tokio::test]
async fn a_tail_behind_the_last_split_costs_one_request_more() {
    let server = Server::with_bucket(BUCKET);
    server.fill(BUCKET, "", 3_001);
    let provider = connect(options(&server));
    let options = ListOptions {
        splits: every_thousandth(names(3_001)),
        ..ListOptions::default()
    };
    assert_eq!(listing(&provider, options).await.len(), 3_001);
    assert_eq!(server.count(Op::List), 4);
}

#[tokio::test]
async fn several_segments_are_asked_for_at_once_and_no_more_than_eight() {
    let server = Server::with_bucket(BUCKET);
    server.fill(BUCKET, "", 20_000);
    server.set_quirks(|quirks| quirks.latency = std::time::Duration::from_millis(20));
    let provider = connect(options(&server));
    let options = ListOptions {
        splits: every_thousandth(names(20_000)),
        ..ListOptions::default()
    };
    assert_eq!(listing(&provider, options).await.len(), 20_000);
    assert_eq!(server.count(Op::List), 20);
    assert!((2..=8).contains(&server.most_running()));
}

#[tokio::test]
async fn the_end_of_the_listing_ends_it_for_all_segments() {
    let server = Server::with_bucket(BUCKET);
    let provider = connect(options(&server));
    let options = ListOptions {
        splits: every_thousandth(names(100_000)),
        ..ListOptions::default()
    };
    assert!(listing(&provider, options).await.is_empty());
    // What was under way when the first answer came.
    assert!(server.count(Op::List) <= 9, "{}", server.count(Op::List));
}

#[tokio::test]
async fn new_objects_within_a_segment_are_found() {
    let server = Server::with_bucket(BUCKET);
    server.fill(BUCKET, "", 3_000);
    let splits = every_thousandth(names(3_000));
    server.fill(BUCKET, "0001/new-", 2_500);
    let provider = connect(options(&server));
    let cut = ListOptions {
        splits,
        ..ListOptions::default()
    };
    let whole = listing(&provider, ListOptions::default()).await;
    assert_eq!(whole.len(), 5_500);
    server.reset_calls();
    assert_eq!(listing(&provider, cut).await, whole);
    assert!(server.count(Op::List) <= 7, "{}", server.count(Op::List));
}

#[tokio::test]
async fn a_segment_that_fails_for_a_moment_is_asked_for_again_and_one_that_fails_for_good_ends_the_listing()
 {
    let server = Server::with_bucket(BUCKET);
    server.fill(BUCKET, "", 12_000);
    let provider = connect(options(&server));
    let cut = ListOptions {
        splits: every_thousandth(names(12_000)),
        ..ListOptions::default()
    };
    let whole = listing(&provider, ListOptions::default()).await;
    server.reset_calls();
    for (nth, then) in [
        (2, Then::slow_down(None)),
        (4, Then::DropBefore),
        (3, Then::CutBody),
        (5, Then::error(500, "InternalError")),
    ] {
        server.fault(When::op(Op::List).nth(nth), then);
    }
    assert_eq!(listing(&provider, cut.clone()).await, whole);
    assert_eq!(server.count(Op::List), 12 + 4);
    server.assert_faults_reached();

    server.clear_faults();
    let denied = Then::error(403, "AccessDenied");
    server.fault(When::op(Op::List).nth(7), denied);
    let mut stream = provider.list(cut);
    let mut seen = Vec::new();
    let error = loop {
        match stream.try_next().await {
            Ok(Some(item)) => seen.push(format!("{item:?}")),
            Ok(None) => panic!("the listing ended as if it were whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ows_providers::ErrorKind::Forbidden);
    assert!(seen.len() < whole.len() && seen == whole[..seen.len()]);
    server.assert_faults_reached();
}

const SEGMENTS: [&str; 9] = ["a", "b", "a-", "a0", ".ows", "é", " ", "z+", "\u{10ffff}"];

/// A key that may be no path at all.
fn random_key(rng: &mut StdRng) -> String {
    if rng.random_ratio(1, 20) {
        let odd = ["a//b", "/a", "../x", "a/", "b/./c", ".ows/", "a\nb", "~"];
        return (*odd.choose(rng).unwrap()).to_owned();
    }
    let depth = rng.random_range(1..=3);
    let segments: Vec<String> = (0..depth)
        .map(|_| {
            let name = SEGMENTS.choose(rng).unwrap();
            match rng.random_bool(0.5) {
                true => (*name).to_owned(),
                false => format!("{name}{}", rng.random_range(0..9)),
            }
        })
        .collect();
    segments.join("/")
}

fn random_folder(rng: &mut StdRng) -> RelPath {
    loop {
        if let Ok(folder) = RelPath::new(&random_key(rng)) {
            return folder;
        }
    }
}

/// Anything at all: existing names, others, folders, repeated and in any order, far longer than a key may be.
fn random_splits(rng: &mut StdRng, keys: &[String], prefix: &str) -> Vec<RelPath> {
    let count = rng.random_range(0..20);
    let mut splits: Vec<RelPath> = (0..count)
        .map(|_| match rng.random_range(0..10) {
            0 => random_folder(rng),
            1 => random_folder(rng).join(&"x".repeat(1_100)).unwrap(),
            2 => random_folder(rng).join("odd\n\u{1}").unwrap(),
            _ => (keys.choose(rng))
                .and_then(|key| RelPath::new(key.strip_prefix(prefix)?).ok())
                .unwrap_or_else(|| path("nothing")),
        })
        .collect();
    if rng.random_bool(0.5) {
        splits.sort();
    }
    splits
}

#[tokio::test]
async fn whatever_the_splits_are_the_listing_is_the_same() {
    let seed = Seed::new();
    let mut rng = seed.rng();
    for _ in 0..20 {
        let server = Server::with_bucket(BUCKET);
        let prefix = *["", "pre", "pre/fix"].choose(&mut rng).unwrap();
        let root = match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        for _ in 0..rng.random_range(0..120) {
            let root = if rng.random_ratio(1, 15) { "" } else { &root };
            let key = format!("{root}{}", random_key(&mut rng));
            server.put(BUCKET, &key, "");
        }
        let page_size = *[1, 2, 3, 7, 20, 1_000].choose(&mut rng).unwrap();
        server.set_quirks(|quirks| quirks.page_size = page_size);
        let mut connection = options(&server);
        connection.prefix = prefix.to_owned();
        let provider = connect(connection);
        let keys = server.keys(BUCKET);
        for _ in 0..4 {
            let mut asked = ListOptions {
                below: (rng.random_ratio(1, 4)).then(|| random_folder(&mut rng)),
                shallow: rng.random_ratio(1, 5),
                skip: Vec::new(),
                splits: Vec::new(),
            };
            for _ in 0..rng.random_range(0..4) {
                asked.skip.push(random_folder(&mut rng));
            }
            let whole = listing(&provider, asked.clone()).await;
            asked.splits = random_splits(&mut rng, &keys, &root);
            let cut = listing(&provider, asked.clone()).await;
            assert_eq!(cut, whole, "{asked:?}, pages of {page_size}, keys {keys:?}");
        }
    }
}
