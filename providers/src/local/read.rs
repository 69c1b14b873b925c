//! Listing the folder and reading files, each blocking and into a stream.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::errors::{Context, changed, from_io, in_the_way};
use super::stream::Sink;
use super::{Inner, entry, ops, stage};
use crate::folder::{Kind, Stat, Step, Walk, WalkOptions, name};
use crate::{Entry, Error, ErrorKind, GetOptions, ListOptions, Listed, Operation, RelPath, Result};

/// Bytes in one piece of a download.
pub(super) const CHUNK: usize = 256 * 1024;

impl Inner {
    pub(super) fn list(&self, options: ListOptions, sink: &Sink<Listed>) -> Result<()> {
        const LIST: Operation = Operation::List;
        let opened = self.root(LIST)?;
        let shown = options
            .below
            .as_ref()
            .map_or("", RelPath::as_str)
            .to_owned();
        let mut skip = options.skip;
        skip.push(stage::own_path(".ows/tmp").during(LIST, &shown)?);
        if ops::holds_only_stage(&opened.root).during(LIST, &shown)? {
            skip.push(stage::own_path(stage::OWN_FOLDER).during(LIST, &shown)?);
        }
        let walk = Walk::new(
            &opened.root,
            WalkOptions {
                below: options.below,
                shallow: options.shallow,
                // A file of that name is content.
                skip: Box::new(move |path, kind| kind == Kind::Dir && skip.contains(path)),
                links: None,
            },
        )
        .during(LIST, &shown)?;
        for step in walk {
            if !sink.send(Ok(listed(step, opened.lasting_inodes))) {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn open_download(&self, path: &RelPath, options: &GetOptions) -> Result<Opening> {
        const GET: Operation = Operation::Get;
        let opened = self.root(GET)?;
        let shown = path.as_str();
        if let Some(stat) = opened.root.lstat(path).during(GET, shown)?
            && stat.kind != Kind::File
        {
            return Err(in_the_way(GET, shown, stat.kind.describe()));
        }
        let (file, stat) = opened.root.open_regular(path).during(GET, shown)?;
        let entry = entry(path.clone(), &stat, opened.lasting_inodes);
        if options.version.is_some() && entry.version != options.version {
            return Err(changed(GET, shown));
        }
        let mut range = options.range.clone().unwrap_or(0..stat.size);
        range.end = range.end.min(stat.size);
        if range.start > range.end {
            let message = format!("bytes {range:?} were asked of {}", stat.size);
            return Err(Error::new(ErrorKind::Permanent, GET, shown, message));
        }
        Ok(Opening {
            entry,
            file,
            stat,
            range,
        })
    }
}

/// A download that is about to begin.
pub(super) struct Opening {
    pub(super) entry: Entry,
    file: File,
    stat: Stat,
    range: Range<u64>,
}

impl Opening {
    /// Sends the bytes, and an error at the end when the file changed meanwhile: they may be no state that it ever had.
    pub(super) fn send(self, sink: &Sink<Bytes>) -> Result<()> {
        const GET: Operation = Operation::Get;
        let shown = self.entry.path.as_str();
        let mut offset = self.range.start;
        while offset < self.range.end {
            let left = self.range.end - offset;
            let wanted = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let mut piece = vec![0; wanted];
            match self.file.read_exact_at(&mut piece, offset) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(changed(GET, shown));
                }
                other => other.during(GET, shown)?,
            }
            offset += wanted as u64;
            // The last piece waits for the proof that the file is still the same.
            if offset >= self.range.end {
                let now = name::fstat(&self.file).during(GET, shown)?;
                if !now.unchanged_since(&self.stat) {
                    return Err(changed(GET, shown));
                }
            }
            if !sink.send(Ok(Bytes::from(piece))) {
                break;
            }
        }
        Ok(())
    }
}

fn listed(step: Step, lasting_inodes: bool) -> Listed {
    match step {
        Step::Found(found) => Listed::Entry(entry(found.path, &found.stat, lasting_inodes)),
        Step::Other { path, kind } => Listed::Unusable {
            key: path.to_string(),
            reason: format!("it is a {}", kind.describe()),
        },
        Step::Link { path, problem } => Listed::Unusable {
            key: path.to_string(),
            reason: problem.to_string(),
        },
        Step::NotUtf8 { parent, name } => {
            let name = name.to_string_lossy();
            Listed::Unusable {
                key: match parent {
                    Some(parent) => format!("{parent}/{name}"),
                    None => name.into_owned(),
                },
                reason: "the name is not UTF-8".to_owned(),
            }
        }
        Step::Changed { path } => Listed::Unreadable {
            error: changed(Operation::List, path.as_str()),
            path,
        },
        Step::Unreadable { path, error } => Listed::Unreadable {
            error: from_io(Operation::List, path.as_str(), &error),
            path,
        },
    }
}
