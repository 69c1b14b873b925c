//! A snapshot of as many files as one likes, which has an index and no content: made in a moment, and good to be listed.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use ows::backup::entry::{
    ArchivePath, BLOCK_BYTES, Digest, EntryKind, Place, RestartPoints, SnapshotEntry,
};
use ows::backup::index::IndexWriter;
use ows::backup::manifest::{Encryption, FORMAT, Manifest, StoredObject, Totals, Volume};
use ows::backup::name::{Part, SnapshotName};

/// The path of a file, in the order of the numbers.
pub fn listed_name(number: u64) -> String {
    format!("workspace/folder-{:04}/file-{number:07}.txt", number / 1000)
}

/// Writes the objects of a snapshot into `folder`.
pub fn write_snapshot(folder: &Path, files: u64) -> SnapshotName {
    let name: SnapshotName = "ows-20260131T235959Z-1a2b3c4d".parse().expect("a name");
    let mut index = IndexWriter::new(Vec::new(), name).expect("memory takes it");
    let mut offset = 512;
    for number in 0..files {
        let path = listed_name(number);
        let entry = SnapshotEntry {
            path: ArchivePath::new(path.as_bytes()).expect("a path"),
            kind: EntryKind::File {
                size: 1000,
                sha256: Digest::of(path.as_bytes()),
                place: Place { volume: 1, offset },
            },
            mode: 0o644,
            mtime_ns: 1_769_903_999_250_000_000,
            uid: 1000,
            gid: 1000,
            user: Some("agent".into()),
            group: Some("agent".into()),
            problem: None,
        };
        index.entry(&entry).expect("memory takes it");
        offset += 1536;
    }
    let mut points = RestartPoints::new();
    for block in 0..offset.div_ceil(BLOCK_BYTES) {
        assert!(points.push(10 + block * 250_000), "the table ascends");
    }
    index.blocks(1, &points).expect("memory takes it");
    let index = index.finish().expect("memory takes it");

    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&[0; 1024]).expect("memory takes it");
    let data = gzip.finish().expect("memory takes it");
    let stored = |part: Part, content: &[u8]| {
        let object = StoredObject {
            name: name.object(part),
            size: content.len() as u64,
            sha256: Digest::of(content),
        };
        fs::write(folder.join(&object.name), content).expect("the file can be written");
        object
    };
    let whole = Part::Data {
        volume: None,
        encrypted: false,
    };
    let manifest = Manifest {
        format: FORMAT,
        snapshot: name,
        profile: "default".to_owned(),
        host: "bench".to_owned(),
        started_at: "2026-01-31T23:59:59Z".parse().expect("a time"),
        finished_at: "2026-02-01T00:00:59Z".parse().expect("a time"),
        tool: "bench".to_owned(),
        encryption: Encryption::None,
        items: vec!["workspace".to_owned()],
        volumes: vec![Volume {
            object: stored(whole, &data),
            tar_size: offset,
        }],
        index: stored(Part::Index { encrypted: false }, &index),
        totals: Totals {
            files,
            bytes: files * 1000,
            ..Totals::default()
        },
        problems: vec![],
        previous: None,
    };
    stored(
        Part::Manifest,
        &manifest.write().expect("it holds together"),
    );
    name
}
