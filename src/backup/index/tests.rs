use proptest::prelude::*;

use super::*;

const GOLDEN: &[u8] = include_bytes!("../../../fixtures/backup/index-1.gz");

fn name() -> SnapshotName {
    "ows-20260131T235959Z-1a2b3c4d".parse().expect("a name")
}

fn path(bytes: &[u8]) -> ArchivePath {
    ArchivePath::new(bytes).expect("a path")
}

fn entry(bytes: &[u8], kind: EntryKind) -> SnapshotEntry {
    SnapshotEntry {
        path: path(bytes),
        kind,
        mode: 0o644,
        mtime_ns: 1_769_903_999_250_000_000,
        uid: 1000,
        gid: 1000,
        user: Some("agent".into()),
        group: None,
        problem: None,
    }
}

fn file(bytes: &[u8], offset: u64) -> SnapshotEntry {
    let place = Place { volume: 1, offset };
    entry(
        bytes,
        EntryKind::File {
            size: 3,
            sha256: Digest::of(bytes),
            place,
        },
    )
}

fn records() -> Vec<IndexRecord> {
    let entries = [
        SnapshotEntry {
            mode: 0o2755,
            ..entry(b"workspace", EntryKind::Dir)
        },
        SnapshotEntry {
            mtime_ns: -1_500_000_000,
            uid: u64::MAX,
            ..file(b"workspace/a b\n.md", 1536)
        },
        file(b"workspace/\xff.bin", u64::MAX),
        entry(
            b"workspace/l",
            EntryKind::Symlink {
                target: b"../\xfe".to_vec(),
            },
        ),
        entry(
            b"workspace/m",
            EntryKind::Symlink {
                target: b"/etc/passwd".to_vec(),
            },
        ),
        entry(
            b"workspace/h",
            EntryKind::HardLink {
                to: path(b"workspace/\xff.bin"),
            },
        ),
    ];
    let mut records: Vec<_> = entries.into_iter().map(IndexRecord::Entry).collect();
    records.push(IndexRecord::Blocks {
        volume: 1,
        starts: vec![10, 500, 501],
    });
    records.push(IndexRecord::Entry(file(b"second-volume", 512)));
    records.push(IndexRecord::Blocks {
        volume: 2,
        starts: vec![10],
    });
    records
}

fn written(records: &[IndexRecord]) -> Vec<u8> {
    let mut writer = IndexWriter::new(Vec::new(), name()).expect("begins");
    for record in records {
        match record {
            IndexRecord::Entry(entry) => writer.entry(entry).expect("writes"),
            IndexRecord::Blocks { volume, starts } => {
                let mut points = RestartPoints::new();
                assert!(starts.iter().all(|start| points.push(*start)));
                writer.blocks(*volume, &points).expect("writes");
            }
        }
    }
    writer.finish().expect("ends")
}

fn read(bytes: &[u8]) -> Result<Vec<IndexRecord>, IndexError> {
    let mut reader = IndexReader::open(bytes, name())?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(record);
    }
    assert!(
        matches!(reader.next_record(), Ok(None)),
        "it stays at its end"
    );
    Ok(records)
}

fn unzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes)
        .read_to_string(&mut text)
        .expect("text");
    text
}

fn zipped(text: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).expect("writes");
    gzip.finish().expect("ends")
}

#[test]
fn format_1_reads_and_its_lines_are_written_as_ever() {
    assert_eq!(read(GOLDEN).expect("reads"), records());
    // Not the compressed bytes: those may change with the compressor.
    assert_eq!(unzipped(&written(&records())), unzipped(GOLDEN));
}

#[test]
fn an_index_of_nothing_reads() {
    assert_eq!(read(&written(&[])).expect("reads"), []);
}

#[test]
fn a_newer_format_or_another_snapshot_is_refused_with_words() {
    let error = read(&zipped("{\"format\":2,\"snapshot\":7}\n")).expect_err("newer");
    assert!(error.to_string().ends_with("use a newer ows"), "{error}");
    let other = "ows-20260201T000000Z-1a2b3c4d".parse().expect("a name");
    let error = IndexReader::open(GOLDEN, other).err().expect("swapped");
    assert_eq!(
        error.to_string(),
        "the index is that of `ows-20260131T235959Z-1a2b3c4d`, not of `ows-20260201T000000Z-1a2b3c4d`",
    );
}

#[test]
fn no_truncation_reads() {
    for length in 0..GOLDEN.len() {
        let error = read(&GOLDEN[..length]).expect_err("cut off");
        assert!(
            matches!(error, IndexError::Damaged { .. }),
            "{length}: {error:?}"
        );
    }
}

#[test]
fn no_flipped_bit_reads_as_something_else() {
    for bit in 0..GOLDEN.len() * 8 {
        let mut damaged = GOLDEN.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // Flags, time and system in the gzip header and the bits that fill the last byte of deflate are under no
        // check; they say nothing of the content.
        if let Ok(read) = read(&damaged) {
            assert_eq!(read, records(), "bit {bit}");
            assert!(bit / 8 < 10 || bit / 8 == GOLDEN.len() - 9, "bit {bit}");
        }
    }
}

#[test]
fn what_stands_behind_the_end_is_damage() {
    for more in [&b"x"[..], GOLDEN] {
        assert!(matches!(
            read(&[GOLDEN, more].concat()),
            Err(IndexError::Damaged { .. })
        ));
    }
    let text = unzipped(GOLDEN);
    assert!(read(&zipped(&format!("{text}{{}}\n"))).is_err());
}

#[test]
fn a_line_that_is_missing_or_says_something_odd_is_told() {
    let text = unzipped(GOLDEN);
    let lines: Vec<_> = text.lines().collect();
    for missing in 0..lines.len() {
        let kept: Vec<_> = (0..lines.len())
            .filter(|line| *line != missing)
            .map(|line| lines[line])
            .collect();
        let is_table = lines[missing].contains("\"blocks\"");
        assert_eq!(
            read(&zipped(&(kept.join("\n") + "\n"))).is_ok(),
            is_table,
            "{}",
            lines[missing]
        );
    }
    for (wrong, right, says) in [
        (
            "\"../x\"",
            "\"workspace\"",
            "after 0 paths: `../x`: the path leads upwards",
        ),
        (
            "\"mode\":\"17777\"",
            "\"mode\":\"2755\"",
            "after 0 paths: `workspace` has no valid mode",
        ),
        (
            "\"volume\":0",
            "\"volume\":1",
            "after 1 paths: `workspace/a b\\n.md` has no valid volume",
        ),
        (
            "\"device\"",
            "\"symlink\"",
            "after 3 paths: `workspace/l` is of unknown type `device`",
        ),
        (
            "[10,490,0]",
            "[10,490,1]",
            "after 6 paths: the table of volume 1 does not ascend",
        ),
        (
            "[10,18446744073709551615,1]",
            "[10,490,1]",
            "after 6 paths: the table of volume 1 does not ascend",
        ),
        (
            "\"paths\":8",
            "\"paths\":7",
            "after 7 paths: some of its lines are missing",
        ),
        (
            "\"path_hex\":\"xx\"",
            "\"path_hex\":\"776f726b73706163652fff2e62696e\"",
            "a `path_hex` is not hexadecimal",
        ),
    ] {
        assert!(text.contains(right), "{right}");
        let error = read(&zipped(&text.replacen(right, wrong, 1))).expect_err(wrong);
        assert!(error.to_string().contains(says), "{wrong}: {error}");
    }
}

#[test]
fn keys_that_are_added_later_are_no_obstacle() {
    let text = unzipped(GOLDEN).replace("\"type\":", "\"later\":{\"a\":[1]},\"type\":");
    assert_eq!(read(&zipped(&text)).expect("reads"), records());
}

#[test]
fn what_is_not_as_it_stood_on_the_disk_is_marked() {
    let mut entry = file(b"workspace/half", 512);
    let mark = |entry: &SnapshotEntry| {
        let bytes = written(&[IndexRecord::Entry(entry.clone())]);
        let read = read(&bytes).expect("reads");
        assert_eq!(read, [IndexRecord::Entry(entry.clone())]);
        bytes
    };
    assert!(!unzipped(&mark(&entry)).contains("problem"));
    entry.problem = Some(ProblemClass::Unreadable);
    let text = unzipped(&mark(&entry));
    assert!(text.contains(r#""problem":"unreadable""#), "{text}");
    entry.problem = Some(ProblemClass::Other);
    let later = text.replace("unreadable", "a-later-class");
    assert_eq!(
        read(&zipped(&later)).expect("reads"),
        [IndexRecord::Entry(entry)]
    );
}

#[test]
fn a_line_without_end_costs_no_memory() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..3 {
        gzip.write_all(&vec![b' '; 1 << 20]).expect("writes");
    }
    let error = read(&gzip.finish().expect("ends")).expect_err("a bomb");
    assert_eq!(
        error.to_string(),
        "the index is damaged after 0 paths: a line is far too long"
    );
}

#[test]
fn a_long_table_goes_over_many_lines() {
    let starts: Vec<u64> = (0..10_000).map(|block| 10 + block * 1000).collect();
    let bytes = written(&[IndexRecord::Blocks {
        volume: 3,
        starts: starts.clone(),
    }]);
    let records = read(&bytes).expect("reads");
    assert_eq!(records.len(), 3);
    let pieces = records.into_iter().flat_map(|record| match record {
        IndexRecord::Blocks { volume: 3, starts } => starts,
        other => panic!("{other:?}"),
    });
    assert_eq!(pieces.collect::<Vec<_>>(), starts);
}

#[test]
fn many_paths_pass_through_one_line_of_memory() {
    let entries =
        (0..20_000).map(|n| file(format!("workspace/{:03}/file-{n}", n % 1000).as_bytes(), n));
    let mut writer = IndexWriter::new(Vec::new(), name()).expect("begins");
    for entry in entries.clone() {
        writer.entry(&entry).expect("writes");
    }
    assert!(writer.line.capacity() < 4096, "one line at a time");
    let bytes = writer.finish().expect("ends");
    let mut reader = IndexReader::open(bytes.as_slice(), name()).expect("opens");
    for entry in entries {
        assert_eq!(
            reader.next_record().expect("reads"),
            Some(IndexRecord::Entry(entry))
        );
    }
    assert_eq!(reader.next_record().expect("ends"), None);
    assert!(reader.line.capacity() < 4096, "one line at a time");
}

fn any_kind() -> impl Strategy<Value = EntryKind> {
    let bytes = prop::collection::vec(1u8.., 1..30);
    prop_oneof![
        (any::<u64>(), any::<[u8; 32]>(), 1u32.., any::<u64>()).prop_map(
            |(size, sha256, volume, offset)| EntryKind::File {
                size,
                sha256: Digest(sha256),
                place: Place { volume, offset },
            }
        ),
        Just(EntryKind::Dir),
        bytes
            .clone()
            .prop_map(|target| EntryKind::Symlink { target }),
        bytes.prop_filter_map("a path", |to| Some(EntryKind::HardLink {
            to: ArchivePath::new(to).ok()?
        })),
    ]
}

fn any_entry() -> impl Strategy<Value = SnapshotEntry> {
    let path = prop::collection::vec(1u8.., 1..30)
        .prop_filter_map("a path", |bytes| ArchivePath::new(bytes).ok());
    (
        path,
        any_kind(),
        0u32..=0o7777,
        any::<i64>(),
        any::<(u64, u64)>(),
        prop::option::of(".*"),
    )
        .prop_map(
            |(path, kind, mode, mtime_ns, (uid, gid), user)| SnapshotEntry {
                path,
                kind,
                mode,
                mtime_ns: mtime_ns.into(),
                uid,
                gid,
                group: user.clone(),
                problem: None,
                user,
            },
        )
}

proptest! {
    #[test]
    fn any_entries_read_back(entries in prop::collection::vec(any_entry(), 0..20)) {
        let records: Vec<_> = entries.into_iter().map(IndexRecord::Entry).collect();
        prop_assert_eq!(read(&written(&records)).expect("reads"), records);
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "(\\{\"(path|type|format)\":\"?[0-9a-z]{0,3}\"?\\}\n){0,4}") {
        prop_assert!(read(&bytes).is_err());
        prop_assert!(read(&zipped(&text)).is_err());
    }
}
