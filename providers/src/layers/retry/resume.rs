//! Downloads that break go on where they broke, as long as the object is still the same version.

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};

use super::{Backoff, Retry};
use crate::{Download, Error, ErrorKind, GetOptions, Operation, RelPath, Result, Version};

/// A body under way.
struct Resume {
    retry: Retry,
    path: RelPath,
    version: Option<Version>,
    next: u64,
    end: u64,
    body: Option<BoxStream<'static, Result<Bytes>>>,
}

impl Retry {
    /// Wraps the body of a download, so that it survives breaks.
    pub(super) fn resumable(
        &self,
        path: &RelPath,
        options: GetOptions,
        download: Download,
    ) -> Download {
        let size = download.entry.size;
        let range = options.range.unwrap_or(0..size);
        let resume = Resume {
            retry: self.clone(),
            path: path.clone(),
            version: download.entry.version.clone(),
            next: range.start.min(size),
            end: range.end.min(size),
            body: Some(download.body),
        };
        let body = futures::stream::unfold(Some(resume), |resume| async move {
            let mut resume = resume?;
            match resume.piece().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(resume))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Download {
            entry: download.entry,
            body: body.boxed(),
        }
    }
}

impl Resume {
    /// The next piece; `None` at the end. The attempts are counted anew from each piece that arrives.
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        let options = self.retry.options.clone();
        let mut backoff = Backoff::new(&options.transfer);
        let path = self.path.clone();
        loop {
            let attempt = backoff.attempt(Operation::Get, path.as_str(), self.step());
            match attempt.await {
                Ok(piece) => return Ok(piece),
                Err(error) if self.version.is_none() => return Err(error),
                Err(error) => {
                    self.body = None;
                    backoff.pause(error).await?;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let options = GetOptions {
                    range: Some(self.next..self.end),
                    version: self.version.clone(),
                };
                let download = self.retry.inner.get(&self.path, options).await?;
                self.body.insert(download.body)
            }
        };
        match body.next().await {
            Some(Ok(piece)) => {
                self.next += piece.len() as u64;
                Ok(Some(piece))
            }
            Some(Err(error)) => Err(error),
            None if self.next < self.end => Err(Error::new(
                ErrorKind::Transient { after: None },
                Operation::Get,
                self.path.as_str(),
                format!("the content ended {} bytes early", self.end - self.next),
            )),
            None => Ok(None),
        }
    }
}
