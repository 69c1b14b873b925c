//! The format: round trips, the golden file, and every kind of copy that is none.

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn ids() -> (PairId, ReplicaId, Stamp) {
    let replica = ReplicaId::parse("0123456789abcdef0123456789abcdef").unwrap();
    let stamp = Stamp {
        generation: 7,
        run: "20260131T235959Z-1a2b3c4d".to_owned(),
    };
    (PairId::new("00112233445566aa"), replica, stamp)
}

/// A row whose fields all differ, made from its key and a number; together they have every flag on and off.
fn row(key: &str, number: u64) -> BaseRow {
    let signed = i64::try_from(number).unwrap();
    let bit = |bit: u32| number >> bit & 1 == 1;
    BaseRow {
        key: SortKey::from_text(key).unwrap(),
        local: LocalFingerprint {
            size: number,
            mtime_ns: -signed,
            ctime_ns: i64::MAX - signed,
            inode: u64::MAX - number,
            blake3: bit(0).then(|| *blake3::hash(&number.to_le_bytes()).as_bytes()),
            observed_at_ns: i64::MIN + signed,
        },
        remote: RemoteStamp {
            size: number + 1,
            version: bit(1).then(|| Version(format!("\"etag-{number}\""))),
            modified_at_ns: bit(2).then_some(signed + 3),
            mtime_ns: bit(3).then_some(signed + 4),
            hash: bit(4).then(|| Hash {
                kind: if bit(0) {
                    HashKind::Md5
                } else {
                    HashKind::Blake3
                },
                bytes: vec![number.to_le_bytes()[0]; 16],
            }),
            id: bit(5).then(|| format!("id-{number}")),
            own: bit(6),
            stored_by_ns: bit(7).then_some(signed + 5),
        },
    }
}

/// 256 rows, one for each combination of flags, in order.
fn rows() -> Vec<BaseRow> {
    let key = |number: u64| match number % 4 {
        3 => format!("f{number:03}/"),
        _ => format!("f{number:03} ü"),
    };
    (0..256).map(|number| row(&key(number), number)).collect()
}

fn encoded(rows: &[BaseRow]) -> Bytes {
    let (pair, replica, stamp) = ids();
    let mut encoder = Encoder::new(&pair, &replica, &stamp).unwrap();
    for row in rows {
        encoder.push(row).unwrap();
    }
    encoder.finish().unwrap()
}

fn decoded(copy: &[u8]) -> Result<(Header, Vec<BaseRow>), Refused> {
    let (pair, replica, _) = ids();
    let (header, rows) = open(&Bytes::copy_from_slice(copy), &pair, &replica)?;
    Ok((header, rows.collect::<Result<_, _>>()?))
}

/// The copy with the check that it should have.
fn sealed(mut copy: Vec<u8>) -> Vec<u8> {
    copy.truncate(copy.len() - CHECK);
    let check = blake3::hash(&copy);
    copy.extend_from_slice(check.as_bytes());
    copy
}

#[test]
fn every_row_comes_back_as_it_was() {
    for rows in [rows(), rows()[..1].to_vec(), Vec::new()] {
        let (header, back) = decoded(&encoded(&rows)).unwrap();
        assert_eq!(back, rows);
        assert_eq!(header.rows, rows.len() as u64);
        assert_eq!(header.stamp, ids().2);
    }
}

/// A base of a workspace: most of it is paths that resemble each other, and fields that hold nothing new.
#[test]
fn a_copy_is_much_smaller_than_what_it_holds() {
    let rows: Vec<BaseRow> = (0..2000)
        .map(|number| BaseRow {
            key: SortKey::from_text(&format!("projects/website/pages/{number:05}.md")).unwrap(),
            ..row("x", 0)
        })
        .collect();
    let paths: usize = rows.iter().map(|row| row.key.path.as_str().len()).sum();
    let size = encoded(&rows).len();
    assert!(size < paths / 2, "{size} bytes for paths of {paths} alone");
}

/// Written by the first version; every later one must read it. `OWS_WRITE_GOLDEN=1` writes it anew, for a new format.
#[test]
fn the_golden_file_still_decodes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/checkpoint/format-1.bin");
    if std::env::var_os("OWS_WRITE_GOLDEN").is_some() {
        std::fs::write(&file, encoded(&rows())).unwrap();
    }
    let (header, back) = decoded(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(back, rows());
    assert_eq!((header.rows, header.stamp), (256, ids().2));
}

#[test]
fn another_pair_or_replica_is_refused() {
    let (pair, replica, _) = ids();
    let copy = encoded(&rows());
    let other = ReplicaId::parse(&"f".repeat(32)).unwrap();
    let refusal = |pair: &PairId, replica: &ReplicaId| open(&copy, pair, replica).err();
    assert_eq!(refusal(&pair, &other), Some(Refused::Foreign("replica")));
    let elsewhere = PairId::new("elsewhere");
    assert_eq!(
        refusal(&elsewhere, &replica),
        Some(Refused::Foreign("pair"))
    );
    assert_eq!(refusal(&pair, &replica), None);
}

#[test]
fn a_newer_format_is_named_whatever_comes_after_it() {
    let mut copy = encoded(&rows()).to_vec();
    copy[8] = 2;
    for copy in [copy.clone(), sealed(copy.clone()), copy[..12].to_vec()] {
        assert_eq!(decoded(&copy).err(), Some(Refused::Newer(2)));
    }
    let mut none = encoded(&rows()).to_vec();
    none[8] = 0;
    assert!(matches!(decoded(&sealed(none)), Err(Refused::Damaged(_))));
}

#[test]
fn rows_that_no_version_writes_are_refused_though_the_check_is_right() {
    let claims = |rows: u64| {
        let mut copy = encoded(&self::rows()).to_vec();
        copy[ROWS_AT].copy_from_slice(&rows.to_le_bytes());
        decoded(&sealed(copy)).err()
    };
    assert!(matches!(claims(255), Some(Refused::Damaged(_))), "fewer");
    assert!(matches!(claims(257), Some(Refused::Damaged(_))), "more");
    assert!(matches!(claims(u64::MAX), Some(Refused::Damaged(_))));
    let twice = encoded(&[row("a", 1), row("a", 2)]);
    assert!(matches!(decoded(&twice), Err(Refused::Damaged(_))));
    let backwards = encoded(&[row("b", 1), row("a", 2)]);
    assert!(matches!(decoded(&backwards), Err(Refused::Damaged(_))));
    let mut huge = row("a", 1);
    huge.local.size = u64::MAX;
    assert!(matches!(
        decoded(&encoded(&[huge])),
        Err(Refused::Damaged(_))
    ));
}

#[test]
fn hostile_rows_are_refused() {
    let deflated = |raw: &[u8]| {
        let (pair, replica, stamp) = ids();
        let mut encoder = Encoder::new(&pair, &replica, &stamp).unwrap();
        encoder.deflate.write_all(raw).unwrap();
        encoder.rows = 1;
        decoded(&encoder.finish().unwrap()).err()
    };
    let named = |name: &str| {
        let mut raw = vec![0, 0];
        raw.extend_from_slice(&u32::try_from(name.len()).unwrap().to_le_bytes());
        raw.extend_from_slice(name.as_bytes());
        raw.extend_from_slice(&[0; 48]);
        raw
    };
    assert_eq!(deflated(&named("a")), None);
    for name in ["", "../a", "/a", "a//b", "a/./b", "a\0"] {
        assert!(
            matches!(deflated(&named(name)), Some(Refused::Damaged(_))),
            "{name:?}"
        );
    }
    let mut flags = named("a");
    flags[1] = 1;
    assert!(matches!(deflated(&flags), Some(Refused::Damaged(_))));
    // A length that would take all memory.
    assert!(matches!(
        deflated(&[0, 0, 255, 255, 255, 255]),
        Some(Refused::Damaged(_))
    ));
}

#[test]
fn every_truncation_is_refused() {
    let copy = encoded(&rows());
    for length in 0..copy.len() {
        assert!(decoded(&copy[..length]).is_err(), "{length}");
    }
}

#[test]
fn every_single_wrong_bit_is_refused() {
    let copy = encoded(&rows()[..8]).to_vec();
    for bit in 0..copy.len() * 8 {
        let mut flipped = copy.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decoded(&flipped).is_err(), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn whatever_is_changed_or_cut_off_is_refused(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 0..20),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
        more in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let whole = encoded(&rows()).to_vec();
        let mut copy = whole.clone();
        for (at, mask) in &flips {
            let at = at.index(copy.len());
            copy[at] ^= mask;
        }
        if cuts {
            copy.truncate(cut.index(copy.len()));
        }
        copy.extend_from_slice(&more);
        prop_assert_eq!(decoded(&copy).is_ok(), copy == whole);
    }

    #[test]
    fn random_bytes_with_a_right_check_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut copy = encoded(&rows()[..2]).to_vec();
        let end = copy.len() - CHECK;
        copy.truncate(110.min(end));
        copy.extend_from_slice(&bytes);
        copy.extend_from_slice(&[0; CHECK]);
        // Whether it is refused is chance; that it comes to an end is not.
        drop(decoded(&sealed(copy)));
    }
}
