//! Restores a few paths of a snapshot without reading all of it: their places from the index, and the blocks that hold them
//! by ranges.
//!
//! The index is read whole: the tables of blocks stand behind the paths, and only its end proves it undamaged. Blocks
//! that follow each other closely are fetched in one request. gzip's CRC covers the whole member and is not seen here;
//! each file is compared with the SHA-256 in the index instead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::bufread::DeflateDecoder;

use super::catalog::Snapshot;
use super::entry::{
    ArchivePath, AskedPath, BLOCK_BYTES, EntryKind, Place, RestartPoints, SnapshotEntry,
};
use super::extract::{ExtractError, Extractor, with_causes};
use super::index::IndexRecord;
use super::ranged::{Ranged, Reach};
use super::seal::Unsealed;
use super::source::{Counted, Index, Source, SourceError, is_network};
use super::untar::TarError;

/// How many paths are kept in memory; with more the data is read from its begin.
const MOST: usize = 20_000;

/// Blocks that are not wanted but lie between two that are, and are fetched with them: a request costs more.
const GAP: u64 = 2;

/// What was asked for, with where it lies.
pub struct Picked {
    /// In the order of the archive.
    pub entries: Vec<SnapshotEntry>,
    tables: BTreeMap<u32, RestartPoints>,
    /// Some are other names of files that were not asked for, and became files of their own.
    pub has_links_out: bool,
    /// What is wrong about the index's object.
    pub fault: Option<String>,
}

impl Picked {
    /// Bytes of their content.
    pub fn bytes(&self) -> u64 {
        self.files()
            .fold(0, |sum, (_, size, _)| sum.saturating_add(size))
    }

    fn files(&self) -> impl Iterator<Item = (&SnapshotEntry, u64, Place)> {
        self.entries.iter().filter_map(|entry| match entry.kind {
            EntryKind::File { size, place, .. } => Some((entry, size, place)),
            _ => None,
        })
    }

    /// Whether each of them can be reached by a restart point.
    fn is_reachable(&self) -> bool {
        self.files().all(|(_, size, place)| {
            let table = self.tables.get(&place.volume);
            size == 0 || table.is_some_and(|table| table.enter(place.offset).is_some())
        })
    }
}

/// Reads the index and picks `only` and what lies below. `None` when these are too many, or not to be reached.
pub fn pick(source: &Source, only: &[AskedPath]) -> Result<Option<Picked>, SourceError> {
    let Some(index) = source.index()? else {
        return Ok(None);
    };
    let Some(mut picked) = gather(index, |entry| {
        only.iter().any(|only| only.covers(&entry.path))
    })?
    else {
        return Ok(None);
    };
    let names: BTreeSet<_> = picked.entries.iter().map(|entry| &entry.path).collect();
    let outside: BTreeSet<ArchivePath> = (picked.entries.iter())
        .filter_map(|entry| match &entry.kind {
            EntryKind::HardLink { to } if !names.contains(to) => Some(to.clone()),
            _ => None,
        })
        .collect();
    if !outside.is_empty() {
        let Some(index) = source.index()? else {
            return Ok(None);
        };
        let Some(first) = gather(index, |entry| outside.contains(&entry.path))? else {
            return Ok(None);
        };
        become_files(&mut picked, &first.entries);
        picked.has_links_out = true;
    }
    Ok(picked.is_reachable().then_some(picked))
}

/// Picks exactly these entries, with the tables of the index; `None` when they cannot be reached.
pub fn pick_lost(
    source: &Source,
    entries: Vec<SnapshotEntry>,
) -> Result<Option<Picked>, SourceError> {
    let Some(index) = source.index()? else {
        return Ok(None);
    };
    let picked = gather(index, |_| false)?.map(|tables| Picked { entries, ..tables });
    Ok(picked.filter(Picked::is_reachable))
}

fn gather(
    mut index: Index,
    wanted: impl Fn(&SnapshotEntry) -> bool,
) -> Result<Option<Picked>, SourceError> {
    let mut picked = Picked {
        entries: Vec::new(),
        tables: BTreeMap::new(),
        has_links_out: false,
        fault: None,
    };
    while let Some(record) = index.reader.next_record()? {
        match record {
            IndexRecord::Entry(entry) if wanted(&entry) => {
                picked.entries.push(entry);
                if picked.entries.len() > MOST {
                    return Ok(None);
                }
            }
            IndexRecord::Entry(_) => {}
            IndexRecord::Blocks { volume, starts } => {
                let table = picked.tables.entry(volume).or_default();
                if !starts.into_iter().all(|start| table.push(start)) {
                    return Ok(None);
                }
            }
        }
    }
    picked.fault = index.check.fault();
    Ok(Some(picked))
}

/// Links to files that were not asked for become files of their own.
fn become_files(picked: &mut Picked, first: &[SnapshotEntry]) {
    let first: BTreeMap<_, _> = first.iter().map(|entry| (&entry.path, entry)).collect();
    for entry in &mut picked.entries {
        if let EntryKind::HardLink { to } = &entry.kind
            && let Some(file) = first.get(to)
        {
            entry.kind = file.kind.clone();
        }
    }
}

/// Blocks that are fetched in one request.
struct Span {
    volume: u32,
    /// From this block on.
    first: u64,
    /// Up to this one.
    last: u64,
    /// Where the content of its last entry ends in the tar.
    end: u64,
    /// Which of the entries lie in it, in the order of their places.
    entries: Vec<usize>,
}

/// Restores what was picked through `extractor`. One file that cannot be read is reported, and the next one goes on.
pub fn restore(
    source: &Source,
    snapshot: &Snapshot,
    picked: &Picked,
    extractor: &mut Extractor<'_>,
) -> Result<(), ExtractError> {
    for entry in &picked.entries {
        if !matches!(entry.kind, EntryKind::File { size: 1.., .. }) {
            extractor.entry(entry, &mut io::empty())?;
        }
    }
    let mut opened: Option<(u32, Volume)> = None;
    // Those that do not open, and why: each is tried once, whatever lies in it.
    let mut closed: BTreeMap<u32, String> = BTreeMap::new();
    let mut waiting = VecDeque::from(spans(picked));
    while let Some(span) = waiting.pop_front() {
        let mut progress = Progress::default();
        if let Some(why) = closed.get(&span.volume) {
            note_all(picked, &span, why, extractor);
            continue;
        }
        let volume = match opened.take() {
            Some((number, volume)) if number == span.volume => Ok(volume),
            _ => source.pieces(snapshot, span.volume),
        };
        let result = match volume {
            Err(error) if is_network(&error) => Err(SpanError::Data(io::Error::other(error))),
            Err(error) => {
                let why = with_causes(&error);
                note_all(picked, &span, &why, extractor);
                closed.insert(span.volume, why);
                continue;
            }
            Ok(mut volume) => {
                let result = restore_span(picked, &span, &mut volume, extractor, &mut progress);
                // After damage the next span begins with a new reader: this one stays broken.
                if result.is_ok() {
                    opened = Some((span.volume, volume));
                }
                result
            }
        };
        match result {
            Ok(()) => {}
            Err(SpanError::Run(error)) => return Err(error),
            Err(SpanError::Data(error)) if is_network(&error) => {
                let at = span.first * BLOCK_BYTES;
                let source = TarError::Io { at, source: error };
                return Err(ExtractError::Archive {
                    after: None,
                    source,
                });
            }
            Err(SpanError::Data(error)) => {
                // What stands behind the damage is tried by itself: it may lie in blocks that are whole.
                let rest = span.entries.get(progress.done..).unwrap_or_default();
                if let ([one], false) = (span.entries.as_slice(), progress.told) {
                    let path = picked.entries[*one].path.to_string();
                    extractor.note(&path, &with_causes(&error));
                    continue;
                }
                for entry in rest.iter().skip(usize::from(progress.told)).rev() {
                    if let Some(span) = Span::of(picked, *entry) {
                        waiting.push_front(span);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Reports each file of a span.
fn note_all(picked: &Picked, span: &Span, why: &str, extractor: &mut Extractor<'_>) {
    for number in &span.entries {
        extractor.note(&picked.entries[*number].path.to_string(), why);
    }
}

/// How far a span has come.
#[derive(Default)]
struct Progress {
    /// How many of its entries are done.
    done: usize,
    /// The next one failed and was reported.
    told: bool,
}

/// Why a span ended.
enum SpanError {
    /// Its data cannot be read.
    Data(io::Error),
    /// The run cannot go on.
    Run(ExtractError),
}

impl From<io::Error> for SpanError {
    fn from(error: io::Error) -> Self {
        Self::Data(error)
    }
}

type Volume = (Unsealed<Counted<Ranged>>, Reach);

/// Restores the files of a span.
fn restore_span(
    picked: &Picked,
    span: &Span,
    (input, reach): &mut Volume,
    extractor: &mut Extractor<'_>,
    progress: &mut Progress,
) -> Result<(), SpanError> {
    let damaged = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the table of blocks has no such block",
        )
    };
    let table = picked.tables.get(&span.volume).ok_or_else(damaged)?;
    let (start, _) = table.enter(span.first * BLOCK_BYTES).ok_or_else(damaged)?;
    let end = table.leave(span.last * BLOCK_BYTES, 1);
    reach.set(end.map_or(u64::MAX, |end| input.stored_end(end)));
    input.seek(SeekFrom::Start(start))?;
    // Not a byte more is asked for than the blocks have: it would be another request.
    let length = end.map_or(u64::MAX, |end| end.saturating_sub(start));
    let blocks = BufReader::with_capacity(64 << 10, input.take(length));
    let mut tar = DeflateDecoder::new(blocks);
    let mut at = span.first * BLOCK_BYTES;
    for number in &span.entries {
        let entry = &picked.entries[*number];
        let EntryKind::File { size, place, .. } = &entry.kind else {
            continue;
        };
        // Spans hold their files in order.
        let skip = place.offset.saturating_sub(at);
        let skipped = io::copy(&mut (&mut tar).take(skip), &mut io::sink())?;
        if skipped < skip {
            return Err(SpanError::Data(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut failed = None;
        let mut content = Watched {
            input: (&mut tar).take(*size),
            failed: &mut failed,
        };
        let result = extractor.entry(entry, &mut content);
        at = place.offset.saturating_add(*size);
        match (result, failed) {
            (Err(_), Some(error)) => {
                progress.told = true;
                return Err(SpanError::Data(error));
            }
            (Err(error), None) => return Err(SpanError::Run(error)),
            (Ok(()), _) => progress.done += 1,
        }
    }
    Ok(())
}

/// Keeps the error that came while a content was read.
struct Watched<'a, R> {
    input: R,
    failed: &'a mut Option<io::Error>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer).map_err(|error| {
            let kind = error.kind();
            *self.failed = Some(error);
            kind.into()
        })
    }
}

impl Span {
    /// That of one entry; `None` when it has no content.
    fn of(picked: &Picked, number: usize) -> Option<Self> {
        let EntryKind::File { size, place, .. } = &picked.entries.get(number)?.kind else {
            return None;
        };
        Some(Self {
            volume: place.volume,
            first: place.offset / BLOCK_BYTES,
            last: place.offset.saturating_add(size.checked_sub(1)?) / BLOCK_BYTES,
            end: place.offset.saturating_add(*size),
            entries: vec![number],
        })
    }
}

fn spans(picked: &Picked) -> Vec<Span> {
    let mut files: Vec<_> = (picked.entries.iter().enumerate())
        .filter_map(|(number, entry)| match &entry.kind {
            EntryKind::File { size, place, .. } if *size > 0 => {
                Some((place.volume, place.offset, number))
            }
            _ => None,
        })
        .collect();
    files.sort_unstable();
    let mut spans: Vec<Span> = Vec::new();
    for (_, offset, number) in files {
        let Some(next) = Span::of(picked, number) else {
            continue;
        };
        match spans.last_mut() {
            // A second name of the same content begins before its end, and is fetched again.
            Some(span)
                if span.volume == next.volume
                    && span.end <= offset
                    && next.first <= span.last.saturating_add(1 + GAP) =>
            {
                span.last = next.last;
                span.end = next.end;
                span.entries.push(number);
            }
            _ => spans.push(next),
        }
    }
    spans
}
