//! All layers in their order.

use std::sync::Arc;

use super::{
    Bandwidth, BandwidthOptions, CallCounter, Count, Counting, FaultSet, Faults, Limit,
    LimitOptions, Retry, RetryOptions,
};
use crate::Provider;

/// What the layers are told.
#[derive(Debug)]
pub struct StackOptions {
    /// How often calls are repeated; `None` where something else repeats them, for exactly one layer may.
    pub retry: Option<RetryOptions>,
    /// Bytes per second.
    pub bandwidth: BandwidthOptions,
    /// Calls per second and at once.
    pub limit: LimitOptions,
    /// Where calls and bytes are counted.
    pub counter: Arc<CallCounter>,
    /// Whether the adapter counts its calls into the counter itself.
    pub counting: Counting,
    /// Scripted faults, in tests.
    pub faults: Option<Arc<FaultSet>>,
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            retry: Some(RetryOptions::default()),
            bandwidth: BandwidthOptions::default(),
            limit: LimitOptions::default(),
            counter: CallCounter::new(),
            counting: Counting::Calls,
            faults: None,
        }
    }
}

/// Wraps `adapter` in all layers. From the outside in:
///
/// 1. [`Retry`]: each attempt passes through everything below, so that repeated calls are paced and counted too.
/// 2. [`Bandwidth`]: waits before a call takes a place, so that a slow line does not hold the places.
/// 3. [`Limit`]: a place and a turn.
/// 4. [`Count`]: what is really sent.
/// 5. [`Faults`]: what becomes of it, in tests.
pub fn stack(adapter: Arc<dyn Provider>, options: StackOptions) -> Arc<dyn Provider> {
    let mut provider = adapter;
    if let Some(faults) = options.faults {
        provider = Arc::new(Faults::new(provider, faults));
    }
    provider = Arc::new(Count::new(provider, options.counter, options.counting));
    if options.limit != LimitOptions::default() {
        provider = Arc::new(Limit::new(provider, options.limit));
    }
    if options.bandwidth != BandwidthOptions::default() {
        provider = Arc::new(Bandwidth::new(provider, options.bandwidth));
    }
    if let Some(retry) = options.retry {
        provider = Arc::new(Retry::new(provider, retry));
    }
    provider
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Fault;
    use crate::memory::{MemoryOptions, MemoryStore};
    use crate::{ErrorKind, Operation, RelPath};

    #[tokio::test(start_paused = true)]
    async fn repeated_calls_are_counted() {
        let store = MemoryStore::new(MemoryOptions::s3());
        store.insert("a", b"content");
        let faults = FaultSet::new();
        faults.add(
            Fault::on(Operation::Stat)
                .times(3)
                .before(ErrorKind::Transient { after: None }),
        );
        let counter = CallCounter::new();
        let provider = stack(
            store.provider(),
            StackOptions {
                counter: Arc::clone(&counter),
                faults: Some(Arc::clone(&faults)),
                ..StackOptions::default()
            },
        );
        provider.stat(&RelPath::new("a").unwrap()).await.unwrap();
        assert_eq!(counter.counts().of(Operation::Stat), 4);
        faults.assert_all_reached();
    }
}
