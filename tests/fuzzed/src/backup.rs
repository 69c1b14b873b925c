//! The readers of snapshots: index, manifest, tar, extraction, the old plugin's encryption.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use flate2::Compression;
use flate2::write::GzEncoder;
use ows::backup::entry::SnapshotEntry;
use ows::backup::extract::{ExtractOptions, Extractor, PARTIAL};
use ows::backup::index::{IndexError, IndexReader, IndexRecord, IndexWriter};
use ows::backup::legacy::LegacyReader;
use ows::backup::manifest::Manifest;
use ows::backup::name::SnapshotName;
use ows::backup::untar::{Member, MemberKind, TarError, TarReader};

use crate::assert_words;

pub(crate) const INDEX_WORDS: &[&str] = &[
    "\"path\":\"",
    "\"path_hex\":\"",
    "\"type\":\"blocks\"",
    "\"type\":\"end\"",
    "\"type\":\"hardlink\"",
    "\"type\":\"symlink\"",
    "\"starts\":[",
    "\"volume\":1",
    "\"offset\":",
    "\"paths\":0",
    "\"mtime\":\"-0.000000001\"",
    "\"mode\":\"7777\"",
    "18446744073709551615",
    "\"size\":0",
    "..",
    "\\u0000",
    "\n",
];
pub(crate) const MANIFEST_WORDS: &[&str] = &[
    "\"volumes\":[",
    "\"sha256\":\"",
    ".v0001.tar.gz.age",
    "\"kind\":\"passphrase\"",
    "\"fingerprints\":[]",
    "18446744073709551615",
    "0001-01-01T00:00:00Z",
    "+262142-12-31T23:59:60.999999999Z",
    "null",
    "\"format\":2",
    "\"class\":\"other\"",
    "1e400",
];
pub(crate) const TAR_WORDS: &[&str] = &[
    "11 path=a/b\n",
    "12 size=512\n",
    "22 linkpath=../../x/y\n",
    "20 mtime=-1.000001\n",
    "../",
    "/etc/passwd",
    "ustar\x0000",
    "ustar  \x00",
    "00000001000",
    "77777777777",
    "L",
    "K",
    "x",
    "g",
    "1",
    "2",
    "S",
    "5",
];

fn snapshot() -> SnapshotName {
    "ows-20260131T235959Z-1a2b3c4d".parse().expect("a name")
}

/// Reads `data` as an index: as it is, and packed, since no changed gzip passes its own check.
pub fn index(data: &[u8]) {
    read_index(data);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(data).expect("memory takes it");
    read_index(&gzip.finish().expect("memory takes it"));
}

fn read_index(bytes: &[u8]) {
    /// Enough of them; a megabyte of lines that all look alike packs into a kilobyte.
    const MOST: usize = 10_000;
    let mut entries = Vec::new();
    let outcome = records(bytes, |record| {
        if let IndexRecord::Entry(entry) = record {
            entries.push(entry);
        }
        entries.len() < MOST
    });
    if let Err(error) = outcome {
        assert_words(&error.to_string());
    }
    if bytes.len() > 100 << 10 {
        // What is written back is longer than what was read where hexadecimal becomes text, up to the longest line.
        return;
    }
    let mut writer = IndexWriter::new(Vec::new(), snapshot()).expect("memory takes it");
    for entry in &entries {
        writer
            .entry(entry)
            .expect("an entry that was read can be written");
    }
    let written = writer.finish().expect("memory takes it");
    let mut again: Vec<SnapshotEntry> = Vec::new();
    records(written.as_slice(), |record| {
        if let IndexRecord::Entry(entry) = record {
            again.push(entry);
        }
        true
    })
    .expect("what was written can be read");
    assert_eq!(again, entries, "an entry changes when it is written again");
}

/// Gives each record of an index to `take` until it has enough.
fn records(bytes: impl Read, mut take: impl FnMut(IndexRecord) -> bool) -> Result<(), IndexError> {
    let mut reader = IndexReader::open(bytes, snapshot())?;
    while let Some(record) = reader.next_record()? {
        if !take(record) {
            break;
        }
    }
    Ok(())
}

pub(crate) fn index_seeds() -> Vec<Vec<u8>> {
    let packed = include_bytes!("../../../fixtures/backup/index-1.gz");
    let mut lines = Vec::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut lines)
        .expect("the golden file is gzip");
    vec![lines, packed.to_vec()]
}

/// Reads `data` as a manifest.
pub fn manifest(data: &[u8]) {
    match Manifest::read(data, snapshot()) {
        Err(error) => assert_words(&error.to_string()),
        Ok(manifest) => {
            let written = manifest.write().expect("what was read can be written");
            let again = Manifest::read(&written, snapshot()).expect("what was written can be read");
            assert_eq!(again, manifest, "a manifest changes when it is written");
        }
    }
}

pub(crate) fn manifest_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("../../../fixtures/backup/manifest-1.json").to_vec()]
}

/// Reads `data` as an archive: as it is, and with the checksums of its headers put right, since no changed header passes
/// otherwise. Where it is believed to its end, the crate `tar` must have seen the same: an archive that two readers take
/// for two different ones is what an attack is made of.
pub fn tar(data: &[u8]) {
    for archive in [data.to_vec(), with_checksums(data)] {
        match members(&archive) {
            Err(error) => assert_words(&error.to_string()),
            Ok(members) => assert_same_elsewhere(&archive, &members),
        }
    }
}

fn members(archive: &[u8]) -> Result<Vec<Member>, TarError> {
    let mut reader = TarReader::new(archive);
    let (mut members, mut content) = (Vec::<Member>::new(), 0);
    while let Some(member) = reader.next_member()? {
        if let Err(problem) = member.path() {
            assert_words(&problem.to_string());
        }
        let before = members.last().map_or(0, |last| last.offset + last.size);
        assert!(member.offset > before, "members overlap");
        // Every second one is left for the reader to skip.
        if members.len() % 2 == 0 {
            let read =
                io::copy(&mut reader, &mut io::sink()).map_err(|error| reader.failed(error))?;
            assert_eq!(read, member.size, "a content is as long as was said");
        }
        content += member.size;
        members.push(member);
    }
    assert!(content <= archive.len() as u64, "more content than archive");
    assert_eq!(
        reader.position(),
        archive.len() as u64,
        "it is read to its end"
    );
    Ok(members)
}

/// Sets the checksum of every block that calls itself a header.
fn with_checksums(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    for block in archive.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    archive
}

fn assert_same_elsewhere(archive: &[u8], members: &[Member]) {
    // Of sparse files each reader has its own idea of what is their content; they are not restored.
    if members
        .iter()
        .any(|member| member.kind == MemberKind::Other("a sparse file"))
    {
        return;
    }
    let mut other = tar::Archive::new(archive);
    let mut seen = Vec::new();
    for entry in other.entries().expect("it begins at the beginning") {
        let entry = entry.expect("what is believed here is believed there");
        // Global headers are members to that crate.
        if !entry.header().entry_type().is_pax_global_extensions() {
            seen.push((
                entry.path_bytes().into_owned(),
                entry.size(),
                entry.raw_file_position(),
            ));
        }
    }
    let ours: Vec<_> = (members.iter())
        .map(|member| (member.name.clone(), member.size, member.offset))
        .collect();
    assert_eq!(ours, seen, "two readers see two archives");
}

pub(crate) fn tar_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![made(|_| {})];
    seeds.push(made(|tar| {
        let long = "long/".repeat(60) + "name";
        add(tar, tar::EntryType::Regular, &long, "", b"content");
        add(tar, tar::EntryType::Symlink, "link", &long, b"");
        tar.append_pax_extensions([
            ("mtime", b"1769903999.25".as_slice()),
            ("path", b"from/pax"),
        ])
        .expect("memory takes it");
        add(tar, tar::EntryType::Regular, "short", "", &[7; 1000]);
    }));
    seeds.push(made(|tar| {
        add(tar, tar::EntryType::Directory, "workspace/", "", b"");
        add(tar, tar::EntryType::Regular, "workspace/a", "", b"a");
        add(tar, tar::EntryType::Link, "workspace/b", "workspace/a", b"");
        add(tar, tar::EntryType::Symlink, "workspace/c", "../..", b"");
        add(tar, tar::EntryType::Regular, "workspace/c/d", "", b"d");
        add(tar, tar::EntryType::Fifo, "workspace/e", "", b"");
        add(tar, tar::EntryType::Regular, "workspace/a", "", b"b");
    }));
    seeds
}

fn made(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    fill(&mut tar);
    tar.into_inner().expect("memory takes it")
}

fn add(
    tar: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    path: &str,
    target: &str,
    content: &[u8],
) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_mtime(1_769_903_999);
    header.set_size(content.len() as u64);
    let added = if target.is_empty() {
        tar.append_data(&mut header, path, content)
    } else {
        tar.append_link(&mut header, path, target)
    };
    added.expect("memory takes it");
}

/// Extracts `data` into an empty folder; nothing beside that folder may change.
pub fn extract(data: &[u8]) {
    for archive in [data.to_vec(), with_checksums(data)] {
        extract_one(&archive);
    }
}

fn extract_one(archive: &[u8]) {
    let place = tempfile::tempdir().expect("a temporary folder");
    let inside = place.path().join("target");
    fs::create_dir(&inside).expect("the folder is ours");
    fs::write(place.path().join("beside"), "beside").expect("the folder is ours");
    let target =
        Dir::open_ambient_dir(&inside, ambient_authority()).expect("the folder was just made");
    let options = ExtractOptions {
        most_paths: Some(1000),
        most_bytes: Some(1 << 20),
        ..ExtractOptions::default()
    };
    let mut extractor = Extractor::new(&target, options).expect("an empty folder takes it");
    let is_whole = match extractor.volume(archive) {
        Err(error) => {
            assert_words(&error.to_string());
            false
        }
        Ok(()) => match extractor.finish() {
            Err(error) => {
                assert_words(&error.to_string());
                false
            }
            Ok(done) => {
                assert!(done.bytes <= archive.len() as u64, "more than there was");
                for bad in &done.bad {
                    assert_words(&bad.message);
                }
                done.bad_count == 0
            }
        },
    };
    let is_marked = inside.join(PARTIAL).symlink_metadata().is_ok();
    assert_eq!(is_marked, !is_whole, "the mark says whether all is well");
    let left: BTreeSet<_> = fs::read_dir(place.path())
        .expect("the folder is ours")
        .map(|entry| entry.expect("the folder is ours").file_name())
        .collect();
    assert!(
        left.iter().eq(["beside", "target"].iter()),
        "beside the target lies {left:?}"
    );
    let beside = fs::read(place.path().join("beside")).expect("it still is a file");
    assert_eq!(beside, b"beside");
    open_up(&inside);
}

/// Lets folders be removed that an archive made unreadable.
fn open_up(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("the folder is ours");
    for entry in fs::read_dir(folder).expect("the folder is ours") {
        let entry = entry.expect("the folder is ours");
        if entry.file_type().expect("the folder is ours").is_dir() {
            open_up(&entry.path());
        }
    }
}

/// Decrypts `data` as a snapshot of the old plugin.
pub fn legacy(data: &[u8]) {
    let read = LegacyReader::open(data, &"correct horse battery staple".into())
        .map_err(io::Error::from)
        .and_then(|mut reader| io::copy(&mut reader, &mut io::sink()));
    match read {
        Ok(count) => assert!(count < data.len() as u64, "more came out than went in"),
        Err(error) => assert_words(&error.to_string()),
    }
}

pub(crate) fn legacy_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("../../../fixtures/backup/backup-20260131T235959Z.tar.gz.enc").to_vec()]
}
