//! Listing a bucket: one LIST request for a thousand objects, in the order of keys, and never the end of a listing that
//! the store did not declare.
//!
//! S3 lists keys by their bytes, which is the order of [`crate::SortKey`]. That is checked: a store that goes backwards
//! or starts over would make files seem deleted. What no path can be made of is shown as unusable. An empty object whose
//! key ends in a slash is the mark that consoles make for a folder, and nothing.
//!
//! **Segments.** The token of a page comes with the page before it, so that a long listing is a chain of waits. A caller
//! who knows from before where pages are likely to end ([`ListOptions::splits`]) breaks the chain: the listing is cut at
//! these names, and the first pages of the next [`AT_ONCE`] segments are asked for at once. Whatever else a segment
//! needs is asked for when its turn comes, so that no more than one page for each of them is in memory. A wrong cut
//! costs a request and changes nothing: each segment is walked until it has reached its bound, or the listing its end.

mod page;

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::Method;

use super::address::MAX_KEY_BYTES;
use super::client::{Call, Client};
use super::error::Attempt;
use crate::layers::RetryPolicy;
use crate::layers::retry::retry;
use crate::{ErrorKind, ListOptions, Listed, Operation, RelPath, Result};
pub(super) use page::decode;
use page::{Content, Item, Page};

/// Segments whose first page is asked for at once.
const AT_ONCE: usize = 8;

/// A store may answer with an empty page and go on, but not for ever.
const MAX_EMPTY_PAGES: usize = 1_000;

/// Sorts behind every key of a folder when it stands behind the folder's slash.
const LAST_CHARACTER: char = '\u{10FFFF}';

/// Lists what lies below a folder of the bucket.
pub(super) fn list<'a>(
    client: &'a Client,
    policy: &'a RetryPolicy,
    options: ListOptions,
) -> BoxStream<'a, Result<Listed>> {
    let question = Arc::new(Question::new(client, policy, &options));
    let segments = question.segments(&options);
    let pagers = stream::iter(segments)
        .map(move |segment| Pager::begin(Arc::clone(&question), segment))
        .buffered(AT_ONCE)
        .boxed();
    let listing = Listing {
        pagers,
        current: None,
    };
    stream::try_unfold(listing, |mut listing| async move {
        Ok(listing.item().await?.map(|item| (item, listing)))
    })
    .boxed()
}

/// The segments in their order.
struct Listing<'a> {
    pagers: BoxStream<'a, Pager<'a>>,
    current: Option<Pager<'a>>,
}

impl Listing<'_> {
    async fn item(&mut self) -> Result<Option<Listed>> {
        loop {
            if let Some(pager) = &mut self.current {
                if let Some(item) = pager.item().await? {
                    return Ok(Some(item));
                }
                if pager.reached_the_end {
                    return Ok(None);
                }
            }
            self.current = self.pagers.next().await;
            if self.current.is_none() {
                return Ok(None);
            }
        }
    }
}

/// Where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    Start,
    Token(String),
    /// Behind this key.
    Key(String),
}

/// A piece of the listing.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    /// Only keys behind this one; from the start without one.
    behind: Option<String>,
    /// Only keys up to this one; to the end without one.
    up_to: Option<String>,
}

/// What is asked of the store, in all segments.
struct Question<'a> {
    client: &'a Client,
    policy: &'a RetryPolicy,
    attempt: Attempt,
    /// Every key asked for begins with it: empty, or ends with a slash.
    base: String,
    /// Keys of folders to leave out, each with its slash.
    skip: Vec<Vec<u8>>,
    shallow: bool,
}

impl<'a> Question<'a> {
    fn new(client: &'a Client, policy: &'a RetryPolicy, options: &ListOptions) -> Self {
        let root = client.address().prefix();
        let (base, shown) = match &options.below {
            Some(folder) => (format!("{root}{folder}/"), folder.to_string()),
            None => (root.to_owned(), String::new()),
        };
        let skip = options
            .skip
            .iter()
            .map(|folder| format!("{root}{folder}/"))
            // Who asks for what lies in a folder does not mean to skip it.
            .filter(|folder| !base.starts_with(folder.as_str()))
            .map(String::into_bytes)
            .collect();
        Self {
            client,
            policy,
            attempt: Attempt::new(Operation::List, shown),
            base,
            skip,
            shallow: options.shallow,
        }
    }

    /// Cuts the listing at the names that can be used. The last of them is no cut: what is behind it was less than a
    /// page when the caller saw it, so that the page before it most likely declares the end of the listing, and a
    /// segment of its own would be a request for nothing.
    fn segments(&self, options: &ListOptions) -> Vec<Segment> {
        let mut cuts: Vec<String> = match options.shallow {
            true => Vec::new(),
            false => (options.splits.iter())
                .map(|path| self.client.address().key(path))
                .filter(|key| self.can_cut(key))
                .collect(),
        };
        cuts.sort_unstable();
        cuts.dedup();
        cuts.pop();
        let mut segments = Vec::with_capacity(cuts.len() + 1);
        let mut behind = None;
        for cut in cuts {
            let up_to = Some(cut.clone());
            segments.push(Segment { behind, up_to });
            behind = Some(cut);
        }
        segments.push(Segment {
            behind,
            up_to: None,
        });
        segments
    }

    /// Whether a key can be where a segment begins: it lies below the folder asked for and in none that is left out,
    /// whose objects would be asked for, and the store does not refuse it.
    fn can_cut(&self, key: &str) -> bool {
        key.starts_with(&self.base)
            && key.len() <= MAX_KEY_BYTES
            && !key.contains(|character: char| character.is_ascii_control())
            && !self.skips(key.as_bytes())
    }

    fn skips(&self, key: &[u8]) -> bool {
        self.skip.iter().any(|folder| key.starts_with(folder))
    }

    async fn page(&self, from: &From) -> Result<Page> {
        let answer = self.client.send(&self.attempt, self.call(from)).await?;
        let text = self.client.document(&self.attempt, answer).await?;
        // An answer that is half a document is a fault that may pass.
        Page::parse(&text).map_err(|problem| self.attempt.unusable(problem))
    }

    fn call(&self, from: &From) -> Call {
        let call = Call::bucket(Method::GET)
            .query("list-type", "2")
            // Without it a key that XML cannot hold makes the page unreadable.
            .query("encoding-type", "url")
            .query("max-keys", "1000")
            .query("prefix", self.base.clone());
        let call = if self.shallow {
            call.query("delimiter", "/")
        } else {
            call
        };
        match from {
            From::Start => call,
            From::Token(token) => call.query("continuation-token", token.clone()),
            From::Key(key) => call.query("start-after", key.clone()),
        }
    }

    /// When a page ended within a folder that is left out: the key to go on behind, so that its objects are not paid for.
    fn behind_skipped(&self, last: &[u8]) -> Option<String> {
        if self.shallow {
            // Its objects are one line already, which would come once more if one of them sorts behind the jump.
            return None;
        }
        let folder = self.skip.iter().find(|folder| last.starts_with(folder))?;
        let mut key = String::from_utf8(folder.clone()).ok()?;
        key.push(LAST_CHARACTER);
        // From a key that is already behind there is nowhere to jump to.
        (last < key.as_bytes()).then_some(key)
    }

    fn wrong(&self, what: &str) -> crate::Error {
        self.attempt.error(
            ErrorKind::Permanent,
            format!("the store's listing cannot be trusted: {what}"),
        )
    }

    fn listed(&self, item: Item) -> Option<Listed> {
        if self.skips(&item.key) {
            return None;
        }
        if let Content::Object { size: 0, .. } = item.content
            && item.key.ends_with(b"/")
        {
            return None;
        }
        let relative = item
            .key
            .get(self.client.address().prefix().len()..)
            .unwrap_or_default();
        Some(match path_of(relative, &item.content) {
            Ok(path) => Listed::Entry(item.content.entry(path)),
            Err(reason) => Listed::Unusable {
                key: String::from_utf8_lossy(&item.key).into_owned(),
                reason,
            },
        })
    }
}

/// Walks one segment.
struct Pager<'a> {
    question: Arc<Question<'a>>,
    up_to: Option<Vec<u8>>,
    next: Option<From>,
    /// What the first request for the first page gave, while others were before it.
    first: Option<Result<Page>>,
    last_token: Option<String>,
    last_key: Option<Vec<u8>>,
    empty_pages: usize,
    ready: VecDeque<Listed>,
    /// The store has declared the end of the whole listing.
    reached_the_end: bool,
}

impl<'a> Pager<'a> {
    /// Asks for the first page, once: if that fails, it is for [`Pager::turn`] to repeat it when its turn comes, with
    /// the whole time that the policy gives and after the pause that the store wants.
    async fn begin(question: Arc<Question<'a>>, segment: Segment) -> Self {
        let from = segment.behind.clone().map_or(From::Start, From::Key);
        let first = question.page(&from).await;
        Self {
            question,
            up_to: segment.up_to.map(String::into_bytes),
            next: Some(from),
            first: Some(first),
            last_token: None,
            last_key: segment.behind.map(String::into_bytes),
            empty_pages: 0,
            ready: VecDeque::new(),
            reached_the_end: false,
        }
    }

    async fn item(&mut self) -> Result<Option<Listed>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            let Some(from) = self.next.take() else {
                return Ok(None);
            };
            self.turn(from).await?;
        }
    }

    async fn turn(&mut self, from: From) -> Result<()> {
        let question = Arc::clone(&self.question);
        let mut first = self.first.take();
        let page = retry(question.policy, || {
            let first = first.take();
            let (question, from) = (&question, &from);
            async move {
                match first {
                    Some(outcome) => outcome,
                    None => question.page(from).await,
                }
            }
        })
        .await?;
        self.check_order(&page)?;
        self.check_progress(&page)?;
        let last = page.items.last().map(|item| item.key.clone());
        let up_to = self.up_to.as_deref();
        for item in page.items {
            if up_to.is_some_and(|bound| item.key.as_slice() > bound) {
                break;
            }
            self.ready.extend(question.listed(item));
        }
        let reached = last.as_deref().zip(up_to);
        let is_done = reached.is_some_and(|(last, bound)| last >= bound);
        let is_beyond = reached.is_some_and(|(last, bound)| last > bound);
        // The end behind keys that belong to the next segments is theirs to find.
        self.reached_the_end = page.next.is_none() && !is_beyond;
        self.next = page.next.filter(|_| !is_done).map(|token| {
            let behind = last.as_deref().and_then(|key| question.behind_skipped(key));
            behind.map_or(From::Token(token), From::Key)
        });
        if last.is_some() {
            self.last_key = last;
        }
        Ok(())
    }

    fn check_order(&self, page: &Page) -> Result<()> {
        let mut previous = self.last_key.as_deref();
        for item in &page.items {
            if !item.key.starts_with(self.question.base.as_bytes()) {
                return Err(self.question.wrong("it names a key that was not asked for"));
            }
            if previous.is_some_and(|previous| previous >= item.key.as_slice()) {
                return Err(self
                    .question
                    .wrong("its keys are out of order or repeat themselves"));
            }
            previous = Some(&item.key);
        }
        Ok(())
    }

    fn check_progress(&mut self, page: &Page) -> Result<()> {
        if page.items.is_empty() {
            self.empty_pages += 1;
        } else {
            self.empty_pages = 0;
        }
        if self.empty_pages > MAX_EMPTY_PAGES {
            return Err(self
                .question
                .wrong("it goes on without end and without keys"));
        }
        if page.next.is_some() && page.next == self.last_token {
            return Err(self
                .question
                .wrong("it gives the same continuation token twice"));
        }
        self.last_token.clone_from(&page.next);
        Ok(())
    }
}

/// The path that a key below the root means.
fn path_of(key: &[u8], content: &Content) -> std::result::Result<RelPath, String> {
    let text = std::str::from_utf8(key).map_err(|_| "the name is not UTF-8".to_owned())?;
    let text = match content {
        Content::Folder => text.strip_suffix('/').unwrap_or(text),
        Content::Object { .. } => text,
    };
    if text.chars().any(|character| character.is_ascii_control()) {
        return Err("the name holds a control character".to_owned());
    }
    RelPath::new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_no_path_are_told_why() {
        let object = Content::Object {
            size: 1,
            version: crate::Version("e".into()),
            stored_at_ns: None,
        };
        for key in ["/a", "a//b", "../x", "a/./b", "a/", "a\nb", "a\u{7f}", ""] {
            assert!(path_of(key.as_bytes(), &object).is_err(), "{key:?}");
        }
        assert!(path_of(b"\xff", &object).is_err());
        assert_eq!(path_of(b"a/b c+", &object).unwrap().as_str(), "a/b c+");
        assert_eq!(path_of(b"a/", &Content::Folder).unwrap().as_str(), "a");
        assert!(path_of(b"/", &Content::Folder).is_err());
    }
}
