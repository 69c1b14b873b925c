//! Fetching the copy of the base, uploading it, and the record that the database keeps about it.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use md5::Digest as _;
use ows_providers::{
    Enforcement, Entry, ErrorKind, GetOptions, Precondition, Provider, PutOptions, RelPath,
    UploadOptions, Version,
};
use serde::{Deserialize, Serialize};

use super::{Encoder, Header, Refused, Rows, Stamp, open, path};
use crate::apply::{Conditional, INTENT_UPLOAD};
use crate::error::{Failure, Outcome};
use crate::ids::{PairId, RunId};
use crate::local::ReplicaId;
use crate::state::State;

/// The pair value that holds the [`Record`].
pub(in crate::sync) const RECORD: &str = "checkpoint";

/// A copy larger than this is none of ours: ten million rows take less.
const LARGEST: u64 = 2 << 30;

/// Rows that are encoded at once.
const PAGE: usize = 1000;

/// What the database knows about the copy in the remote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sync) struct Record {
    /// The copy that certainly was there.
    pub(in crate::sync) confirmed: Option<Stamp>,
    /// One that was about to be written: perhaps it is there, and the answer was lost.
    pub(in crate::sync) pending: Option<Stamp>,
    /// The version of what was last seen there, which an upload replaces; without one an upload only creates.
    pub(in crate::sync) version: Option<Version>,
    /// When the confirmed copy was stored.
    pub(in crate::sync) stored_at: Option<DateTime<Utc>>,
}

impl Record {
    /// What was known is no longer so, apart from when something was stored.
    pub(in crate::sync) fn forget(&mut self) {
        *self = Self {
            stored_at: self.stored_at,
            ..Self::default()
        };
    }
}

/// Reads the record. One that cannot be read is as none: then the copy is read once more.
pub(in crate::sync) async fn load(state: &State, pair: &PairId) -> Outcome<Record> {
    let text = state.get_value(pair, RECORD).await?;
    Ok(text
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default())
}

pub(in crate::sync) async fn save(state: &State, pair: &PairId, record: &Record) -> Outcome<()> {
    Ok(state.set_value(pair, RECORD, &as_json(record)?).await?)
}

pub(in crate::sync) fn as_json(record: &Record) -> Outcome<String> {
    serde_json::to_string(record).map_err(|error| {
        Failure::failed("what is known of the checkpoint could not be recorded").with_source(error)
    })
}

/// What lies where the copy should be.
pub(in crate::sync) enum Fetched {
    /// Nothing.
    Absent,
    /// A copy of this replica's base.
    Copy(Header, Box<Rows>, Version),
    /// Something else, with the reason.
    Refused(Refused, Option<Version>),
}

/// Reads the copy. Whatever it holds, this is no error; only a remote that cannot be read is.
pub(in crate::sync) async fn fetch(
    provider: &dyn Provider,
    pair: &PairId,
    replica: &ReplicaId,
) -> Outcome<Fetched> {
    let path = path(pair, replica).map_err(no_name)?;
    let mut download = match provider.get(&path, GetOptions::default()).await {
        Ok(download) => download,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(Fetched::Absent),
        Err(error) => return Err(unreadable(error)),
    };
    let Entry { version, size, .. } = download.entry;
    let Some(version) = version.filter(|_| size <= LARGEST) else {
        let refused = Refused::Damaged(format!("it has {size} bytes"));
        return Ok(Fetched::Refused(refused, None));
    };
    let mut body = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    while let Some(piece) = download.body.next().await {
        let piece = piece.map_err(unreadable)?;
        if (body.len() + piece.len()) as u64 > LARGEST {
            let refused = Refused::Damaged("it does not end".to_owned());
            return Ok(Fetched::Refused(refused, Some(version)));
        }
        body.extend_from_slice(&piece);
    }
    let (pair, replica) = (pair.clone(), replica.clone());
    let opened = tokio::task::spawn_blocking(move || open(&Bytes::from(body), &pair, &replica));
    match opened.await.map_err(internal)? {
        Ok((header, rows)) => Ok(Fetched::Copy(header, Box::new(rows), version)),
        Err(refused) => Ok(Fetched::Refused(refused, Some(version))),
    }
}

fn unreadable(error: ows_providers::Error) -> Failure {
    let hint = "nothing was changed; run again when the remote can be read, or set `checkpoint: false` to do without it";
    let mut failure = Failure::from(error);
    failure.message = "could not read the checkpoint of the base from the remote".to_owned();
    failure.with_hint(hint)
}

fn no_name(error: ows_providers::PathError) -> Failure {
    Failure::failed("the checkpoint has no usable name").with_source(error)
}

fn internal(error: tokio::task::JoinError) -> Failure {
    Failure::failed("an internal error ended the work on the checkpoint").with_source(error)
}

/// Uploads the base as it is now, in place of the version that the record names, and nothing else.
///
/// # Errors
/// When the remote or the database fails, or something else lies there.
pub(in crate::sync) async fn upload(
    provider: &dyn Provider,
    state: &State,
    pair: &PairId,
    replica: &ReplicaId,
    stamp: Stamp,
    run: &RunId,
    enforcement: Enforcement,
) -> Outcome<()> {
    let path = path(pair, replica).map_err(no_name)?;
    let mut record = load(state, pair).await?;
    record.pending = Some(stamp.clone());
    let copy = encode(state, pair, replica, &stamp).await?;
    // Before the upload: when its answer is lost, the next run knows that it was ours.
    save(state, pair, &record).await?;
    let precondition = match &record.version {
        Some(version) => Precondition::Version(version.clone()),
        None => Precondition::Absent,
    };
    let bytes = copy.len() as u64;
    let conditional = Conditional {
        provider,
        enforcement,
    };
    let entry = if bytes <= provider.capabilities().single_put_max {
        let options = PutOptions {
            precondition,
            mtime_ns: None,
            md5: Some(md5::Md5::digest(&copy).into()),
        };
        let put = conditional.put(&path, copy, options).await;
        put.map_err(not_stored)?
    } else {
        // By this an unfinished upload of a killed run is found and given up.
        let intent = serde_json::json!({ "path": path });
        let intent = state
            .record_intent(Some(pair), run, INTENT_UPLOAD, intent)
            .await?;
        let entry = in_parts(&conditional, &path, &copy, precondition).await?;
        state.resolve_intent(intent).await?;
        entry
    };
    record.confirmed = Some(stamp);
    record.pending = None;
    record.version = entry.version;
    record.stored_at = Some(provider.clock().unwrap_or_else(Utc::now));
    save(state, pair, &record).await
}

/// One part after the other: memory holds the copy already, and nobody waits for this.
async fn in_parts(
    conditional: &Conditional<'_>,
    path: &RelPath,
    copy: &Bytes,
    precondition: Precondition,
) -> Outcome<Entry> {
    let provider = conditional.provider;
    let size = copy.len() as u64;
    let part_size = provider.capabilities().parts.part_size(size);
    let options = UploadOptions {
        size: Some(size),
        part_size,
        mtime_ns: None,
        md5: Some(md5::Md5::digest(copy).into()),
    };
    let upload = provider.start_upload(path, options).await;
    let upload = upload.map_err(not_stored)?;
    let length = usize::try_from(part_size).unwrap_or(usize::MAX);
    let sent = async {
        let mut parts = Vec::new();
        for (number, piece) in (1..).zip(copy.chunks(length.max(1))) {
            let part = provider.put_part(&upload, number, copy.slice_ref(piece));
            parts.push(part.await?);
        }
        conditional.complete(&upload, &parts, precondition).await
    };
    match sent.await {
        Ok(entry) => Ok(entry),
        Err(error) => {
            if let Err(error) = provider.abort_upload(&upload).await {
                tracing::debug!(%error, "the next run gives this upload up");
            }
            Err(not_stored(error))
        }
    }
}

fn not_stored(error: ows_providers::Error) -> Failure {
    let message = match error.kind {
        ErrorKind::PreconditionFailed | ErrorKind::AlreadyExists | ErrorKind::NotFound => {
            "the checkpoint in the remote is not the one that this replica stored last, so it was left alone"
        }
        _ => "could not store the checkpoint of the base in the remote",
    };
    Failure::failed(message).with_source(error)
}

/// The whole base as a copy. Rows are read by pages, and packed on another thread.
async fn encode(
    state: &State,
    pair: &PairId,
    replica: &ReplicaId,
    stamp: &Stamp,
) -> Outcome<Bytes> {
    let failed = |error: std::io::Error| {
        Failure::failed("could not make the checkpoint of the base").with_source(error)
    };
    let mut encoder = Encoder::new(pair, replica, stamp).map_err(failed)?;
    let mut rows = state.base_rows(pair).chunks(PAGE);
    while let Some(page) = rows.next().await {
        let page = page.into_iter().collect::<Result<Vec<_>, _>>()?;
        let packed = tokio::task::spawn_blocking(move || {
            for row in &page {
                encoder.push(row)?;
            }
            Ok(encoder)
        });
        encoder = packed.await.map_err(internal)?.map_err(failed)?;
    }
    let copy = tokio::task::spawn_blocking(move || encoder.finish());
    copy.await.map_err(internal)?.map_err(failed)
}
