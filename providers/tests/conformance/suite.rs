//! The cases, what they are run on, and what they share.

use std::any::Any;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use ows_providers::layers::{BandwidthOptions, FaultSet, LimitOptions, StackOptions, stack};
use ows_providers::{
    Enforcement, Entry, Error, ErrorKind, GetOptions, ListOptions, Listed, Precondition, Provider,
    PutOptions, RelPath, Result, SortKey, Version,
};

mod conditions;
mod folders;
mod listing;
mod moves;
mod names;
mod objects;
mod uploads;

/// Puts a raw key into a store behind its adapter's back.
type Plant = Box<dyn Fn(&str) + Send + Sync>;

/// A fresh, empty remote.
pub struct Fixture {
    pub provider: Arc<dyn Provider>,
    page_size: usize,
    enforces: Option<Enforcement>,
    refuses: bool,
    plant: Option<Plant>,
    exempt: Vec<(&'static str, &'static str)>,
    keep: Vec<Box<dyn Any + Send + Sync>>,
}

impl Fixture {
    /// A remote whose pages are not known to end; `provider` must be empty.
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self {
            provider,
            page_size: 20,
            enforces: None,
            refuses: false,
            plant: None,
            exempt: Vec::new(),
            keep: Vec::new(),
        }
    }

    /// How many items a page of a listing has, so that the cases fill more than one.
    pub fn page_size(mut self, items: usize) -> Self {
        self.page_size = items;
        self
    }

    /// What the store is known to enforce. Without it the cases believe the probe, and an adapter that forgets to send
    /// its conditions passes for a store that ignores them.
    pub fn enforces(mut self, enforces: Enforcement) -> Self {
        self.enforces = Some(enforces);
        self
    }

    /// The store answers conditions that it does not enforce with a refusal, rather than to ignore them.
    pub fn refuses_conditions(mut self) -> Self {
        self.refuses = true;
        self
    }

    /// Puts a raw key into the store behind the adapter's back.
    pub fn plant(mut self, plant: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.plant = Some(Box::new(plant));
        self
    }

    /// Leaves out a case that this server (not the adapter) cannot pass, and says why.
    pub fn exempt(mut self, case: &'static str, reason: &'static str) -> Self {
        self.exempt.push((case, reason));
        self
    }

    /// Keeps a server or a temporary folder alive as long as the fixture.
    pub fn keep(mut self, thing: impl Any + Send + Sync) -> Self {
        self.keep.push(Box::new(thing));
        self
    }

    /// The same with all layers around the provider, each of them switched on.
    pub fn behind_all_layers(mut self) -> Self {
        self.provider = stack(
            self.provider,
            StackOptions {
                bandwidth: BandwidthOptions {
                    up: NonZeroU64::new(1 << 40),
                    down: NonZeroU64::new(1 << 40),
                },
                limit: LimitOptions {
                    calls_per_second: NonZeroU32::new(1_000_000),
                    concurrent: NonZeroU32::new(3),
                },
                faults: Some(FaultSet::new()),
                ..StackOptions::default()
            },
        );
        self
    }
}

type Case = for<'a> fn(&'a Fixture) -> LocalBoxFuture<'a, ()>;

macro_rules! cases {
    ($($module:ident: $($name:ident),+ $(,)?;)+) => {
        const CASES: &[(&str, Case)] = &[
            $($((stringify!($name), |fixture| Box::pin($module::$name(fixture)))),+),+
        ];
    };
}

cases! {
    objects:
        what_was_put_is_read_back,
        what_is_missing_is_not_found,
        empty_files_are_files,
        a_file_is_replaced_whole,
        ranges_are_exact,
        reading_another_version_fails,
        versions_are_the_same_in_every_answer,
        modification_times_come_back,
        hashes_are_those_of_the_content,
        large_bodies_arrive_whole,
        deleting_removes_and_deleting_again_succeeds,
        a_delete_on_condition_of_absence_is_refused,
        the_provider_tells_its_time_and_its_identity;
    conditions:
        creation_on_condition_of_absence,
        replacement_on_condition_of_a_version,
        deletion_on_condition_of_a_version,
        of_concurrent_creations_exactly_one_wins,
        of_concurrent_replacements_exactly_one_wins,
        the_probe_finds_what_is_enforced,
        probing_leaves_nothing_behind;
    listing:
        an_empty_root_lists_nothing,
        items_come_in_the_order_of_their_keys,
        more_than_one_page_is_listed_whole,
        a_listing_below_a_folder_holds_only_that,
        a_shallow_listing_holds_only_children,
        skipped_folders_are_not_entered,
        a_folder_that_is_missing,
        entries_tell_what_the_capabilities_promise,
        keys_that_are_no_paths_are_reported;
    uploads:
        an_upload_in_parts_becomes_one_file,
        a_stream_of_unknown_length_becomes_one_file,
        a_stream_with_a_gap_or_without_parts_is_refused,
        parts_may_come_in_any_order_and_at_once,
        a_part_that_is_stored_again_is_replaced,
        nothing_is_visible_before_completion,
        unfinished_uploads_are_listed_and_can_be_resumed,
        an_aborted_upload_is_gone,
        completion_on_condition_of_absence,
        completion_on_condition_of_a_version,
        completing_again_succeeds_while_the_file_is_ours,
        uploads_keep_time_and_hash;
    moves:
        a_copy_is_equal_to_its_source,
        copies_obey_their_conditions,
        a_renamed_file_is_at_the_new_name_only,
        renames_obey_their_conditions,
        a_folder_is_renamed_with_what_is_in_it;
    folders:
        folders_are_made_with_those_above_them,
        only_empty_folders_are_deleted,
        a_file_in_the_way_of_a_folder_stays,
        stores_without_folders_say_so;
    names:
        unusual_names_come_back_as_they_are,
        hostile_names_are_only_names,
        names_in_either_normal_form,
        names_that_differ_in_case,
        the_longest_names_fit_and_longer_ones_are_refused,
        a_file_and_a_folder_of_similar_names;
}

/// Runs every case on a remote of its own.
///
/// # Panics
/// When a case fails; the message names all that did.
pub async fn suite(make: impl AsyncFn() -> Fixture) {
    let failed = failures(make).await;
    let (count, all) = (failed.len(), CASES.len());
    assert!(
        failed.is_empty(),
        "{count} of {all} cases failed: {failed:#?}"
    );
}

/// The cases that fail.
pub async fn failures(make: impl AsyncFn() -> Fixture) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for (name, case) in CASES {
        let fixture = make().await;
        for (exempt, _) in &fixture.exempt {
            let is_known = CASES.iter().any(|(name, _)| name == exempt);
            assert!(is_known, "no case is called {exempt}");
        }
        if let Some((_, reason)) = fixture.exempt.iter().find(|(exempt, _)| exempt == name) {
            eprintln!("left out {name}: {reason}");
            continue;
        }
        let outcome = AssertUnwindSafe(case(&fixture)).catch_unwind().await;
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    failed
}

pub fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

pub fn on(precondition: Precondition) -> PutOptions {
    PutOptions {
        precondition,
        ..PutOptions::default()
    }
}

/// A version that no object has.
pub fn other_version() -> Precondition {
    Precondition::Version(Version("00000000000000000000000000000000".to_owned()))
}

#[track_caller]
pub fn fails<Value: fmt::Debug>(result: Result<Value>, kind: ErrorKind) -> Error {
    match result {
        Ok(value) => panic!("succeeded with {value:?}, expected {kind:?}"),
        Err(error) => {
            assert_eq!(error.kind, kind, "{error}");
            error
        }
    }
}

impl Fixture {
    /// What a call does whose condition the store does not enforce. Whether it was carried out.
    #[track_caller]
    pub fn not_enforced<Value: fmt::Debug>(&self, result: Result<Value>) -> bool {
        if self.refuses {
            fails(result, ErrorKind::Unsupported);
        } else {
            result.unwrap();
        }
        !self.refuses
    }

    pub async fn put(&self, name: &str, content: &[u8]) -> Entry {
        self.try_put(name, content, PutOptions::default())
            .await
            .unwrap()
    }

    pub async fn try_put(&self, name: &str, content: &[u8], options: PutOptions) -> Result<Entry> {
        let body = Bytes::copy_from_slice(content);
        self.provider.put(&path(name), body, options).await
    }

    pub async fn stat(&self, name: &str) -> Result<Entry> {
        self.provider.stat(&path(name)).await
    }

    pub async fn delete(&self, name: &str, precondition: Precondition) -> Result<()> {
        self.provider.delete(&path(name), precondition).await
    }

    pub async fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.read_with(name, GetOptions::default()).await
    }

    pub async fn read_with(&self, name: &str, options: GetOptions) -> Result<Vec<u8>> {
        let download = self.provider.get(&path(name), options).await?;
        let pieces: Vec<Bytes> = download.body.try_collect().await?;
        Ok(pieces.concat())
    }

    pub async fn enforced(&self) -> Enforcement {
        self.provider.probe().await.unwrap()
    }

    pub async fn list(&self, options: ListOptions) -> Result<Vec<Listed>> {
        self.provider.list(options).try_collect().await
    }

    /// The keys of a listing in which everything can be used: folders end in `/`.
    pub async fn keys(&self, options: ListOptions) -> Vec<String> {
        let entries = self.entries(options).await;
        let keys = entries.iter().map(|entry| entry.sort_key().to_text());
        keys.collect()
    }

    pub async fn entries(&self, options: ListOptions) -> Vec<Entry> {
        let mut entries = Vec::new();
        for item in self.list(options).await.unwrap() {
            match item {
                Listed::Entry(entry) => entries.push(entry),
                other => panic!("{other:?}"),
            }
        }
        let keys: Vec<SortKey> = entries.iter().map(Entry::sort_key).collect();
        assert!(
            keys.windows(2).all(|pair| pair[0] < pair[1]),
            "not in order: {keys:?}"
        );
        entries
    }

    /// The listed entry of one file.
    pub async fn listed(&self, name: &str) -> Entry {
        let entries = self.entries(ListOptions::default()).await;
        let mut found = entries.into_iter().filter(|entry| entry.path == path(name));
        found.next().unwrap()
    }

    pub fn has_folders(&self) -> bool {
        self.provider.capabilities().folders
    }
}
