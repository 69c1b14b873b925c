//! A compact copy of the base, as it lies in the remote at `.ows/base-<pair id>-<replica id>`, for hosts that lose their
//! disks. This module knows the format; `store` fetches and uploads, and what a copy means for a run is the affair
//! of `identity`.
//!
//! # Format 1
//!
//! Numbers are little-endian, texts are UTF-8 after their length in bytes (`u16` in the header, `u32` in rows).
//!
//! | part   | content |
//! |--------|---------|
//! | magic  | the 8 bytes `ows-base` |
//! | format | `u32`, 1. A reader that knows only older formats stops here |
//! | header | `u64` number of rows, `u64` generation, then three texts: pair id, replica id, id of the run that wrote it |
//! | rows   | raw deflate (RFC 1951) of the rows, in the order of their keys |
//! | check  | BLAKE3 of everything before, 32 bytes |
//!
//! A row is `u16` flags, key (text; folders end with `/`), local `u64` size, `i64` mtime, `i64` ctime, `u64` inode,
//! `i64` time of observation, `u64` remote size; then what the flags announce, in the order of their bits: 0 local BLAKE3
//! (32 bytes), 1 version (text), 2 `i64` time of storing, 3 `i64` mtime, 4 hash (`u8` kind, 1 = MD5, 2 = BLAKE3, and a
//! text of bytes), 5 id (text), 6 the version is our own (no data), 7 `i64` clock when our upload had ended.
//!
//! The check comes first when a copy is read, and nothing of a copy is believed before it: damage, truncation and single
//! wrong bits are all refused. It is no signature; who can write to the remote can write any base. What such a base
//! can bring about is what its writer could do to the remote directly.
//!
//! Rows are encoded and decoded one at a time: memory is the compressed copy and one page of rows.

mod store;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use ows_providers::{Hash, HashKind, RelPath, SortKey, Version};
use serde::{Deserialize, Serialize};

use crate::ids::{PairId, RunId};
use crate::local::ReplicaId;
use crate::plan::mailbox;
use crate::tree::{BaseRow, LocalFingerprint, RemoteStamp};

pub(super) use store::{Fetched, RECORD, Record, as_json, fetch, load, save, upload};

const MAGIC: &[u8; 8] = b"ows-base";

/// The format that is written, and the newest that is read.
const FORMAT: u32 = 1;

/// Length of the check at the end.
const CHECK: usize = 32;

/// Where the number of rows stands: it is known when they are written.
const ROWS_AT: std::ops::Range<usize> = 12..20;

/// The longest text of a row. Paths and versions are far shorter.
const LONGEST_TEXT: u32 = 1 << 16;

/// Fast: hashes and times do not compress, and names compress well at any level.
const LEVEL: u32 = 3;

/// Where the copy of a replica lies.
pub(super) fn path(
    pair: &PairId,
    replica: &ReplicaId,
) -> Result<RelPath, ows_providers::PathError> {
    RelPath::new(&format!("{}/base-{pair}-{replica}", mailbox::OWN))
}

/// Which state of the base a copy is. Two runs of one generation are told apart by their ids: they come from two hosts
/// that both think they are this replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// The generation of the base.
    pub(super) generation: u64,
    /// The run that wrote the copy.
    pub(super) run: String,
}

/// What stands before the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) pair: PairId,
    pub(super) replica: ReplicaId,
    pub(super) stamp: Stamp,
    pub(super) rows: u64,
}

/// Why a copy is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is damaged ({0})")]
    Damaged(String),
    #[error("a newer version of ows wrote it (format {0}, this version knows {FORMAT})")]
    Newer(u32),
    #[error("it belongs to another {0}")]
    Foreign(&'static str),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Writes a copy, row by row.
pub(super) struct Encoder {
    rows: u64,
    deflate: DeflateEncoder<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(pair: &PairId, replica: &ReplicaId, stamp: &Stamp) -> io::Result<Self> {
        let mut head = Vec::with_capacity(256);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&FORMAT.to_le_bytes());
        head.extend_from_slice(&0_u64.to_le_bytes());
        head.extend_from_slice(&stamp.generation.to_le_bytes());
        for text in [pair.as_str(), replica.as_str(), &stamp.run] {
            let length = u16::try_from(text.len()).map_err(io::Error::other)?;
            head.extend_from_slice(&length.to_le_bytes());
            head.extend_from_slice(text.as_bytes());
        }
        Ok(Self {
            rows: 0,
            deflate: DeflateEncoder::new(head, Compression::new(LEVEL)),
            buffer: Vec::new(),
        })
    }

    pub(super) fn push(&mut self, row: &BaseRow) -> io::Result<()> {
        self.buffer.clear();
        encode_row(&mut self.buffer, row)?;
        self.deflate.write_all(&self.buffer)?;
        self.rows += 1;
        Ok(())
    }

    /// The whole copy.
    pub(super) fn finish(self) -> io::Result<Bytes> {
        let mut copy = self.deflate.finish()?;
        copy.get_mut(ROWS_AT)
            .ok_or(io::ErrorKind::UnexpectedEof)?
            .copy_from_slice(&self.rows.to_le_bytes());
        let check = blake3::hash(&copy);
        copy.extend_from_slice(check.as_bytes());
        Ok(copy.into())
    }
}

/// Checks a copy as a whole, and that it is this replica's. Gives its header and its rows, which are not read yet.
pub(super) fn open(
    copy: &Bytes,
    pair: &PairId,
    replica: &ReplicaId,
) -> Result<(Header, Rows), Refused> {
    let damaged = |text: &str| Refused::Damaged(text.to_owned());
    if !copy.starts_with(MAGIC) {
        return Err(damaged("it does not begin as one does"));
    }
    let mut rest = copy.clone();
    rest.advance(MAGIC.len());
    let format = rest
        .try_get_u32_le()
        .map_err(|_| damaged("it is cut off"))?;
    if format > FORMAT {
        return Err(Refused::Newer(format));
    }
    let Some(end) = rest.len().checked_sub(CHECK) else {
        return Err(damaged("it is cut off"));
    };
    let check = rest.split_off(end);
    if blake3::hash(copy.get(..copy.len() - CHECK).unwrap_or_default()) != *check {
        return Err(damaged("its checksum is wrong"));
    }
    if format == 0 {
        return Err(damaged("it names no format"));
    }
    let header = read_header(&mut rest)?;
    if header.pair != *pair {
        return Err(Refused::Foreign("pair"));
    }
    if header.replica != *replica {
        return Err(Refused::Foreign("replica"));
    }
    let rows = Rows {
        left: header.rows,
        last: None,
        inflate: DeflateDecoder::new(rest.reader()),
        failed: false,
    };
    Ok((header, rows))
}

fn read_header(rest: &mut Bytes) -> Result<Header, Refused> {
    let cut = |_| Refused::Damaged("its header is cut off".to_owned());
    let rows = rest.try_get_u64_le().map_err(cut)?;
    let generation = rest.try_get_u64_le().map_err(cut)?;
    let mut text = || {
        let length = usize::from(rest.try_get_u16_le().map_err(cut)?);
        if rest.len() < length {
            return Err(Refused::Damaged("its header is cut off".to_owned()));
        }
        String::from_utf8(rest.split_to(length).into())
            .map_err(|_| Refused::Damaged("its header is no text".to_owned()))
    };
    let (pair, replica, run) = (text()?, text()?, text()?);
    let replica = ReplicaId::parse(&replica)
        .ok_or_else(|| Refused::Damaged("it names no replica".to_owned()))?;
    let run = RunId::parse(&run).ok_or_else(|| Refused::Damaged("it names no run".to_owned()))?;
    Ok(Header {
        pair: PairId::new(pair),
        replica,
        stamp: Stamp {
            generation,
            run: run.to_string(),
        },
        rows,
    })
}

/// The rows of a copy. Ends after an error.
pub(super) struct Rows {
    left: u64,
    last: Option<SortKey>,
    inflate: DeflateDecoder<bytes::buf::Reader<Bytes>>,
    failed: bool,
}

impl Iterator for Rows {
    type Item = Result<BaseRow, Refused>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.read().transpose()?;
        self.failed = row.is_err();
        Some(row)
    }
}

impl Rows {
    fn read(&mut self) -> Result<Option<BaseRow>, Refused> {
        if self.left == 0 {
            let more = self.inflate.read(&mut [0])? > 0;
            return if more {
                Err(Refused::Damaged("it holds more than it says".to_owned()))
            } else {
                Ok(None)
            };
        }
        self.left -= 1;
        let row = decode_row(&mut self.inflate)?;
        if self.last.as_ref().is_some_and(|last| *last >= row.key) {
            return Err(Refused::Damaged("its rows are not in order".to_owned()));
        }
        self.last = Some(row.key.clone());
        Ok(Some(row))
    }
}

const BLAKE3: u16 = 1;
const VERSION: u16 = 1 << 1;
const MODIFIED_AT: u16 = 1 << 2;
const MTIME: u16 = 1 << 3;
const HASH: u16 = 1 << 4;
const ID: u16 = 1 << 5;
const OWN: u16 = 1 << 6;
const STORED_BY: u16 = 1 << 7;

fn encode_row(to: &mut Vec<u8>, row: &BaseRow) -> io::Result<()> {
    let (local, remote) = (&row.local, &row.remote);
    let flag = |there: bool, flag: u16| if there { flag } else { 0 };
    let flags = flag(local.blake3.is_some(), BLAKE3)
        | flag(remote.version.is_some(), VERSION)
        | flag(remote.modified_at_ns.is_some(), MODIFIED_AT)
        | flag(remote.mtime_ns.is_some(), MTIME)
        | flag(remote.hash.is_some(), HASH)
        | flag(remote.id.is_some(), ID)
        | flag(remote.own, OWN)
        | flag(remote.stored_by_ns.is_some(), STORED_BY);
    to.extend_from_slice(&flags.to_le_bytes());
    put_text(to, row.key.to_text().as_bytes())?;
    to.extend_from_slice(&local.size.to_le_bytes());
    to.extend_from_slice(&local.mtime_ns.to_le_bytes());
    to.extend_from_slice(&local.ctime_ns.to_le_bytes());
    to.extend_from_slice(&local.inode.to_le_bytes());
    to.extend_from_slice(&local.observed_at_ns.to_le_bytes());
    to.extend_from_slice(&remote.size.to_le_bytes());
    if let Some(blake3) = &local.blake3 {
        to.extend_from_slice(blake3);
    }
    if let Some(version) = &remote.version {
        put_text(to, version.0.as_bytes())?;
    }
    for time in [remote.modified_at_ns, remote.mtime_ns]
        .into_iter()
        .flatten()
    {
        to.extend_from_slice(&time.to_le_bytes());
    }
    if let Some(hash) = &remote.hash {
        to.push(match hash.kind {
            HashKind::Md5 => 1,
            HashKind::Blake3 => 2,
        });
        put_text(to, &hash.bytes)?;
    }
    if let Some(id) = &remote.id {
        put_text(to, id.as_bytes())?;
    }
    if let Some(time) = remote.stored_by_ns {
        to.extend_from_slice(&time.to_le_bytes());
    }
    Ok(())
}

fn put_text(to: &mut Vec<u8>, text: &[u8]) -> io::Result<()> {
    let length = u32::try_from(text.len())
        .ok()
        .filter(|length| *length <= LONGEST_TEXT)
        .ok_or_else(|| io::Error::other("a name or a version of the base is too long"))?;
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(text);
    Ok(())
}

fn decode_row(from: &mut impl Read) -> Result<BaseRow, Refused> {
    let flags = u16::from_le_bytes(get(from)?);
    let known = BLAKE3 | VERSION | MODIFIED_AT | MTIME | HASH | ID | OWN | STORED_BY;
    if flags & !known != 0 {
        return Err(Refused::Damaged("a row holds what is not known".to_owned()));
    }
    let has = |flag: u16| flags & flag != 0;
    let key = SortKey::from_text(&text(from)?)
        .map_err(|error| Refused::Damaged(format!("a path in it: {error}")))?;
    let mut local = LocalFingerprint {
        size: size(from)?,
        mtime_ns: i64::from_le_bytes(get(from)?),
        ctime_ns: i64::from_le_bytes(get(from)?),
        inode: u64::from_le_bytes(get(from)?),
        blake3: None,
        observed_at_ns: i64::from_le_bytes(get(from)?),
    };
    let remote_size = size(from)?;
    if has(BLAKE3) {
        local.blake3 = Some(get(from)?);
    }
    let version = has(VERSION).then(|| text(from)).transpose()?.map(Version);
    let mut time = |flag| {
        has(flag)
            .then(|| get(from).map(i64::from_le_bytes))
            .transpose()
    };
    let (modified_at_ns, mtime_ns) = (time(MODIFIED_AT)?, time(MTIME)?);
    let hash = has(HASH).then(|| hash(from)).transpose()?;
    let id = has(ID).then(|| text(from)).transpose()?;
    let stored_by_ns = has(STORED_BY)
        .then(|| get(from).map(i64::from_le_bytes))
        .transpose()?;
    let remote = RemoteStamp {
        size: remote_size,
        version,
        modified_at_ns,
        mtime_ns,
        hash,
        id,
        own: has(OWN),
        stored_by_ns,
    };
    Ok(BaseRow { key, local, remote })
}

fn get<const N: usize>(from: &mut impl Read) -> Result<[u8; N], Refused> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A length that the database can hold.
fn size(from: &mut impl Read) -> Result<u64, Refused> {
    let size = u64::from_le_bytes(get(from)?);
    if i64::try_from(size).is_err() {
        return Err(Refused::Damaged("a length in it is impossible".to_owned()));
    }
    Ok(size)
}

fn raw(from: &mut impl Read) -> Result<Vec<u8>, Refused> {
    let length = u32::from_le_bytes(get(from)?);
    if length > LONGEST_TEXT {
        return Err(Refused::Damaged("a text in it is too long".to_owned()));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(from: &mut impl Read) -> Result<String, Refused> {
    String::from_utf8(raw(from)?)
        .map_err(|_| Refused::Damaged("a text in it is no text".to_owned()))
}

fn hash(from: &mut impl Read) -> Result<Hash, Refused> {
    let kind = match get::<1>(from)? {
        [1] => HashKind::Md5,
        [2] => HashKind::Blake3,
        _ => {
            return Err(Refused::Damaged(
                "a hash in it is of no known kind".to_owned(),
            ));
        }
    };
    Ok(Hash {
        kind,
        bytes: raw(from)?,
    })
}
