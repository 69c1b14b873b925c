//! Looks whether a race that was met by a repeated call is our own first attempt, whose answer was lost.
//!
//! The rule: a stranger's write is never taken for ours. Each function gives the object back when it is proven to be
//! ours, and the race as the store reported it in every other case, a failing look included.

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;

use super::Retry;
use crate::hash::ContentHashes;
use crate::{
    CopyOptions, Entry, EntryKind, Error, ErrorKind, GetOptions, Hash, HashKind, Precondition,
    Provider, PutOptions, RelPath, Result,
};

impl Retry {
    pub(super) async fn settle_put(
        &self,
        race: Error,
        path: &RelPath,
        body: &Bytes,
        options: &PutOptions,
    ) -> Result<Entry> {
        let Some(found) = self.look(path).await else {
            return Err(race);
        };
        let fits = found.kind == EntryKind::File
            && found.size == body.len() as u64
            && !is_the_replaced(&found, &options.precondition)
            && self.times_agree(found.mtime_ns, options.mtime_ns);
        if fits && self.holds(&found, body, options.md5).await {
            return Ok(found);
        }
        Err(race)
    }

    pub(super) async fn settle_copy(
        &self,
        race: Error,
        from: &RelPath,
        to: &RelPath,
        options: &CopyOptions,
    ) -> Result<Entry> {
        let (Some(source), Some(copy)) = (self.look(from).await, self.look(to).await) else {
            return Err(race);
        };
        let source_is_meant = options.source.is_none() || source.version == options.source;
        let same_content = matches!((&source.hash, &copy.hash), (Some(a), Some(b)) if a == b)
            && source.size == copy.size;
        if source_is_meant
            && same_content
            && !is_the_replaced(&copy, &options.precondition)
            && self.times_agree(copy.mtime_ns, options.mtime_ns.or(source.mtime_ns))
        {
            return Ok(copy);
        }
        Err(race)
    }

    /// A rename has happened when the source is gone and its version is at the destination. Stores that give a new
    /// version to what is renamed leave it unproven.
    pub(super) async fn settle_rename(
        &self,
        race: Error,
        from: &RelPath,
        to: &RelPath,
        options: &CopyOptions,
    ) -> Result<Entry> {
        let source_is_gone = matches!(
            self.stat(from).await,
            Err(Error {
                kind: ErrorKind::NotFound,
                ..
            })
        );
        match self.look(to).await {
            Some(found)
                if source_is_gone
                    && options.source.is_some()
                    && found.version == options.source =>
            {
                Ok(found)
            }
            _ => Err(race),
        }
    }

    /// What is at `path`, if that can be seen.
    async fn look(&self, path: &RelPath) -> Option<Entry> {
        match self.stat(path).await {
            Ok(entry) => Some(entry),
            Err(error) => {
                tracing::debug!(%error, "could not see what became of an attempt whose answer was lost");
                None
            }
        }
    }

    fn times_agree(&self, stored: Option<i64>, given: Option<i64>) -> bool {
        let (Some(stored), Some(given)) = (stored, given) else {
            return true;
        };
        let step = self
            .capabilities()
            .mtime_precision
            .map_or(u64::MAX, |step| {
                u64::try_from(step.as_nanos()).unwrap_or(u64::MAX)
            });
        stored.abs_diff(given) < step.max(1)
    }

    /// Whether the object is proven to hold `body`: by its hash, else by reading it.
    async fn holds(&self, found: &Entry, body: &Bytes, md5: Option<[u8; 16]>) -> bool {
        if let Some(hash) = &found.hash {
            let ours = match (hash.kind, md5) {
                (HashKind::Md5, Some(md5)) => Hash::md5(md5),
                _ => ContentHashes::of(body).get(hash.kind),
            };
            if *hash == ours {
                return true;
            }
            if self
                .capabilities()
                .hash
                .is_some_and(|hash| hash.difference_proves)
            {
                return false;
            }
        }
        // Without a version the content read might belong to something newer than what was looked at.
        if found.version.is_none() {
            return false;
        }
        match self.read(found, body.len()).await {
            Ok(content) => content == body,
            Err(error) => {
                tracing::debug!(%error, "could not read back an attempt whose answer was lost");
                false
            }
        }
    }

    async fn read(&self, found: &Entry, limit: usize) -> Result<BytesMut> {
        let options = GetOptions {
            range: None,
            version: found.version.clone(),
        };
        let mut body = self.get(&found.path, options).await?.body;
        let mut content = BytesMut::with_capacity(limit);
        while let Some(piece) = body.try_next().await? {
            content.extend_from_slice(&piece);
            if content.len() > limit {
                break;
            }
        }
        Ok(content)
    }
}

/// Whether this is the very version that was to be replaced: then nothing was written, by us or anyone.
fn is_the_replaced(found: &Entry, precondition: &Precondition) -> bool {
    matches!((precondition, &found.version), (Precondition::Version(before), Some(now)) if before == now)
}
