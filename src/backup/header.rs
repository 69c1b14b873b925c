//! The headers of a tar member: ustar, with pax records for what does not fit.
//!
//! POSIX.1-2001 and nothing else, which every tar of the last twenty years reads. A record stands only where the field has
//! no room or cannot say it:
//!
//! | record | when |
//! |---|---|
//! | `path`, `linkpath` | more than 100 bytes, or beyond ASCII |
//! | `size` | 8 GiB and more |
//! | `mtime` | fractions of a second, before 1970, after 2242 |
//! | `uid`, `gid` | beyond 2,097,151 |
//! | `uname`, `gname` | more than 31 bytes, or beyond ASCII |
//! | `hdrcharset=BINARY` | before a path that is no UTF-8 and too long for its field; a short one stands in the field alone |
//!
//! The field of an owner's number with a record says 65534, which is nobody: a reader that knows no pax must not give
//! the file to root.

use tar::{EntryType, Header};

use super::entry::seconds;

/// The unit of tar.
pub(super) const BLOCK: usize = 512;

/// The first size that eleven octal digits cannot say; the first time as well.
const OCTAL_11: u64 = 1 << 33;

/// The first owner's number that seven octal digits cannot say.
const OCTAL_7: u64 = 1 << 21;

/// The owner that stands for those that the field cannot say.
const NOBODY: u64 = 65_534;

/// What a member's header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    /// Its path; a folder's ends in a slash.
    pub path: &'a [u8],
    /// What it is.
    pub kind: EntryType,
    /// Where a link leads; empty for what is none.
    pub link: &'a [u8],
    /// Length of the content behind it.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i128,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// The owner's name, or nothing.
    pub user: &'a str,
    /// The group's name, or nothing.
    pub group: &'a str,
}

impl Head<'_> {
    /// The blocks that stand before the content.
    pub fn blocks(&self) -> Vec<u8> {
        let mut header = Header::new_ustar();
        let mut records = Records::default();
        header.set_entry_type(self.kind);
        header.set_mode(self.mode & 0o7777);
        header.set_size(records.number("size", self.size, OCTAL_11, 0));
        header.set_uid(records.number("uid", self.uid, OCTAL_7, NOBODY));
        header.set_gid(records.number("gid", self.gid, OCTAL_7, NOBODY));
        header.set_mtime(records.time(self.mtime_ns));
        if let Some(fields) = header.as_ustar_mut() {
            records.text("path", self.path, &mut fields.name);
            records.text("linkpath", self.link, &mut fields.linkname);
            // These end in a zero byte.
            let last = fields.uname.len() - 1;
            records.text("uname", self.user.as_bytes(), &mut fields.uname[..last]);
            records.text("gname", self.group.as_bytes(), &mut fields.gname[..last]);
        }
        // Some readers take a file of this name for a folder, as before POSIX.
        if self.kind == EntryType::Regular
            && let Some(fields) = header.as_ustar_mut()
            && fields.name.last() == Some(&b'/')
        {
            fields.name[fields.name.len() - 1] = b'_';
        }
        header.set_cksum();
        let mut blocks = records.blocks();
        blocks.extend_from_slice(header.as_bytes());
        blocks
    }
}

/// The pax records of one member.
#[derive(Default)]
struct Records {
    data: Vec<u8>,
    binary: bool,
}

impl Records {
    /// What the field says.
    fn number(&mut self, key: &str, value: u64, limit: u64, instead: u64) -> u64 {
        if value < limit {
            return value;
        }
        self.add(key, value.to_string().as_bytes());
        instead
    }

    fn time(&mut self, time_ns: i128) -> u64 {
        let whole = u64::try_from(time_ns.div_euclid(1_000_000_000)).unwrap_or(0);
        let whole = whole.min(OCTAL_11 - 1);
        if i128::from(whole) * 1_000_000_000 != time_ns {
            self.add("mtime", seconds(time_ns).as_bytes());
        }
        whole
    }

    fn text(&mut self, key: &str, value: &[u8], field: &mut [u8]) {
        let fits = value.len() <= field.len();
        let length = value.len().min(field.len());
        field[..length].copy_from_slice(&value[..length]);
        let text = std::str::from_utf8(value).is_ok();
        if !fits || (text && !value.is_ascii()) {
            self.binary |= !text;
            self.add(key, value);
        }
    }

    fn add(&mut self, key: &str, value: &[u8]) {
        self.data.extend_from_slice(&record(key, value));
    }

    /// The header of the records with its content; nothing when there are none.
    fn blocks(mut self) -> Vec<u8> {
        if self.data.is_empty() {
            return Vec::new();
        }
        if self.binary {
            let mut data = record("hdrcharset", b"BINARY");
            data.append(&mut self.data);
            self.data = data;
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(self.data.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        if let Some(fields) = header.as_ustar_mut() {
            let name = b"PaxHeaders/pax";
            fields.name[..name.len()].copy_from_slice(name);
        }
        header.set_cksum();
        let mut blocks = header.as_bytes().to_vec();
        blocks.append(&mut self.data);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        blocks
    }
}

/// `<length> <key>=<value>\n`, the length with all of it.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest;
    // The digits count as well, and one more digit may make one more.
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::untar::{MemberKind, TarReader};

    const PLAIN: Head<'static> = Head {
        path: b"workspace/a.md",
        kind: EntryType::Regular,
        link: b"",
        size: 0,
        mode: 0o644,
        mtime_ns: 1_700_000_000_000_000_000,
        uid: 1000,
        gid: 1000,
        user: "agent",
        group: "agent",
    };

    fn read(head: &Head<'_>) -> crate::backup::untar::Member {
        let blocks = head.blocks();
        assert_eq!(blocks.len() % BLOCK, 0);
        let mut reader = TarReader::new(blocks.as_slice());
        reader.next_member().expect("reads").expect("is there")
    }

    fn records(head: &Head<'_>) -> String {
        let blocks = head.blocks();
        match blocks.len() {
            BLOCK => String::new(),
            length => {
                let data = &blocks[BLOCK..length - BLOCK];
                String::from_utf8_lossy(data)
                    .trim_end_matches('\0')
                    .to_owned()
            }
        }
    }

    #[test]
    fn what_fits_needs_no_records() {
        let longest = [b'n'; 100];
        for head in [
            PLAIN,
            Head {
                path: &longest,
                ..PLAIN
            },
            Head {
                size: (8 << 30) - 1,
                ..PLAIN
            },
            Head {
                uid: OCTAL_7 - 1,
                gid: OCTAL_7 - 1,
                ..PLAIN
            },
            Head {
                path: b"workspace/\xff.bin",
                ..PLAIN
            },
            Head {
                user: "",
                group: "",
                ..PLAIN
            },
        ] {
            assert_eq!(head.blocks().len(), BLOCK);
            let member = read(&head);
            assert_eq!(
                (member.name.as_slice(), member.size, member.kind),
                (head.path, head.size, MemberKind::File)
            );
        }
    }

    #[test]
    fn sizes_of_8_gib_and_more_stand_in_a_record() {
        for size in [8 << 30, (8 << 30) + 1, 1 << 45, i64::MAX.unsigned_abs()] {
            let head = Head { size, ..PLAIN };
            assert_eq!(read(&head).size, size);
            assert!(records(&head).contains(&format!(" size={size}\n")));
        }
    }

    #[test]
    fn times_are_kept_to_the_nanosecond_before_the_epoch_and_far_behind_it() {
        for (mtime_ns, record) in [
            (0, None),
            (1, Some("mtime=0.000000001")),
            (-1, Some("mtime=-0.000000001")),
            (-1_500_000_000, Some("mtime=-1.5")),
            (1_700_000_000_120_000_000, Some("mtime=1700000000.12")),
            (
                i128::from(OCTAL_11) * 1_000_000_000,
                Some("mtime=8589934592"),
            ),
        ] {
            let head = Head { mtime_ns, ..PLAIN };
            assert_eq!(read(&head).mtime_ns, mtime_ns);
            match record {
                Some(record) => assert!(records(&head).contains(record), "{mtime_ns}"),
                None => assert_eq!(records(&head), ""),
            }
        }
    }

    #[test]
    fn long_names_and_targets_stand_in_records_and_say_when_they_are_no_text() {
        let long = vec![b'd'; 5000];
        let head = Head {
            path: &long,
            kind: EntryType::Symlink,
            link: &long,
            ..PLAIN
        };
        let member = read(&head);
        assert_eq!(member.name, long);
        assert_eq!(
            member.kind,
            MemberKind::Symlink {
                target: long.clone()
            }
        );
        assert!(!records(&head).contains("hdrcharset"));
        let odd = [&long[..], b"\xff\n"].concat();
        let head = Head {
            path: &odd,
            ..PLAIN
        };
        assert_eq!(read(&head).name, odd);
        assert!(records(&head).starts_with("21 hdrcharset=BINARY\n"));
        let umlaut = "workspace/\u{e4}.md";
        let head = Head {
            path: umlaut.as_bytes(),
            ..PLAIN
        };
        assert_eq!(records(&head), "24 path=workspace/\u{e4}.md\n");
    }

    #[test]
    fn a_cut_name_in_the_field_is_not_that_of_a_folder() {
        let long = [vec![b'd'; 99], b"/file".to_vec()].concat();
        let head = Head {
            path: &long,
            ..PLAIN
        };
        assert_eq!(
            (read(&head).name, read(&head).kind),
            (long.clone(), MemberKind::File)
        );
        let blocks = head.blocks();
        assert_eq!(blocks[blocks.len() - BLOCK + 99], b'_');
    }

    #[test]
    fn owners_beyond_the_field_are_nobody_to_a_reader_without_pax() {
        let head = Head {
            uid: u64::from(u32::MAX),
            gid: OCTAL_7,
            user: "\u{e4}",
            group: "a-group-whose-name-has-32-letters",
            ..PLAIN
        };
        let records = records(&head);
        for record in [
            "uid=4294967295\n",
            "gid=2097152\n",
            "uname=\u{e4}\n",
            "gname=a-group-whose-name-has-32-letters\n",
        ] {
            assert!(records.contains(record), "{record}");
        }
        let blocks = head.blocks();
        let header = Header::from_byte_slice(&blocks[blocks.len() - BLOCK..]);
        assert_eq!(
            (header.uid().ok(), header.gid().ok()),
            (Some(NOBODY), Some(NOBODY))
        );
    }

    #[test]
    fn the_length_of_a_record_counts_its_own_digits() {
        for length in 0..2000 {
            let record = record("path", &vec![b'x'; length]);
            let digits = record.split(|byte| *byte == b' ').next().expect("digits");
            assert_eq!(
                std::str::from_utf8(digits).expect("digits").parse(),
                Ok(record.len())
            );
        }
    }
}
