//! Reads a tar archive as if an enemy wrote it: one member after the other, in constant memory.
//!
//! The fields of a header are decoded by the crate `tar`; what is here decides which archives are believed. Readers of tar
//! differ in details, and attacks live from that: an archive that shows one content to the tool that checks it and
//! another to the tool that unpacks it. So wherever two readers could differ in where the next member begins, this one
//! stops ([`TarError::Damaged`]):
//!
//! - the size of a pax record that is not that of the header, but where the header has no room for it (8 GiB and more);
//! - content behind a link, a folder or a device; a size beyond what any file has;
//! - a wrong checksum, a lone block of zeros, a missing end, anything but zeros behind the end;
//! - extensions in headers that are neither POSIX's nor GNU's;
//! - pax records that are malformed, occur twice, or set path or size for all members; two long names for one member;
//! - headers of more than 1 MiB for one member.
//!
//! What a member may be called and what becomes of it is decided by `extract`.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::entry::{ArchivePath, PathProblem, escape, parse_seconds};

/// The unit of tar.
const BLOCK: usize = 512;

/// How much name and pax data one member may have.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// From this size on a header of 11 octal digits has no room, and the pax record alone counts.
const OCTAL_ROOM: u64 = 1 << 33;

/// How many zeros may stand behind the end: writers fill up to a record, 10 KiB as a rule.
const LONGEST_PADDING: u64 = 16 << 20;

/// Why reading stops.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The archive ends before its end.
    #[error("the archive was cut off after {at} bytes")]
    CutOff {
        /// Where.
        at: u64,
    },
    /// It is no tar, or one that two readers could take for two different ones.
    #[error("the archive is damaged or made to deceive, at byte {at}: {what}")]
    Damaged {
        /// Where.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// The bytes could not be read; what decrypts and inflates reports damage this way.
    #[error("the archive could not be read after {at} bytes")]
    Io {
        /// Where.
        at: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file; its content is read from the [`TarReader`].
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink {
        /// What it says.
        target: Vec<u8>,
    },
    /// Another name of an earlier member.
    HardLink {
        /// Of which, as it stands there.
        to: Vec<u8>,
    },
    /// Something that no snapshot holds, in words: a device, for one.
    Other(&'static str),
}

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name as it stands there.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// Length of its content.
    pub size: u64,
    /// Offset of its content in the archive.
    pub offset: u64,
    /// Permission bits, with set-uid, set-gid and sticky.
    pub mode: u32,
    /// When it changed last, nanoseconds since the epoch.
    pub mtime_ns: i128,
}

impl Member {
    /// Where it belongs; `None` for the top itself, as `tar c .` writes it.
    pub fn path(&self) -> Result<Option<ArchivePath>, PathProblem> {
        plain_path(&self.name)
    }
}

/// `name` without the `./` before and the `/` behind it that tar writes; `None` when nothing else was there.
pub fn plain_path(name: &[u8]) -> Result<Option<ArchivePath>, PathProblem> {
    let mut rest = name;
    while let Some(shorter) = rest.strip_prefix(b"./") {
        rest = shorter;
    }
    if !rest.starts_with(b"/") {
        while let Some(shorter) = rest.strip_suffix(b"/") {
            rest = shorter;
        }
    }
    if rest == b"." || (rest.is_empty() && !name.is_empty()) {
        return Ok(None);
    }
    ArchivePath::new(rest).map(Some)
}

/// Reads an archive. [`Read`] reads the content of the member that [`TarReader::next_member`] returned last.
pub struct TarReader<R> {
    input: R,
    at: u64,
    /// What is left of the content of the member, and of the zeros that fill its last block.
    content: u64,
    padding: u64,
}

/// What the headers before a member's own say of it.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime_ns: Option<i128>,
    sparse: bool,
    pax: bool,
    bytes: u64,
}

impl<R: Read> TarReader<R> {
    /// Begins at the first byte of an archive.
    pub fn new(input: R) -> Self {
        Self {
            input,
            at: 0,
            content: 0,
            padding: 0,
        }
    }

    /// How many bytes were read.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next member, after what is left of the one before. `None` at the end, once the input was read up to its own.
    pub fn next_member(&mut self) -> Result<Option<Member>, TarError> {
        self.skip_content()?;
        let mut extension = Extension::default();
        let mut extended = false;
        loop {
            let Some(header) = self.header()? else {
                if extended {
                    return Err(self.damaged("a header without its member"));
                }
                return Ok(None);
            };
            let kind = header.entry_type();
            if !(kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions())
            {
                return self.member(&header, extension).map(Some);
            }
            // Some readers take an extension in such a header for a member of its own.
            if header.as_gnu().is_none() && header.as_ustar().is_none() {
                return Err(self.damaged("an extension in a header of no known form"));
            }
            extended = true;
            self.extend(&header, &mut extension)?;
        }
    }

    /// Reads one header block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0; BLOCK];
        self.exact(&mut block)?;
        if block == [0; BLOCK] {
            self.exact(&mut block)?;
            if block != [0; BLOCK] {
                return Err(self.damaged("a lone block of zeros"));
            }
            self.end()?;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let field = 148..156;
        let sum: u32 = (block.iter().enumerate())
            .map(|(at, byte)| u32::from(if field.contains(&at) { b' ' } else { *byte }))
            .sum();
        if header.cksum().ok() != Some(sum) {
            return Err(self.damaged("a header with a wrong checksum"));
        }
        Ok(Some(header))
    }

    /// Reads a header that belongs to the member behind it.
    fn extend(&mut self, header: &Header, extension: &mut Extension) -> Result<(), TarError> {
        let size = self.size(header)?;
        extension.bytes = extension
            .bytes
            .saturating_add(size)
            .saturating_add(BLOCK as u64);
        if extension.bytes > LONGEST_EXTENSION {
            return Err(self.damaged("headers of more than 1 MiB for one member"));
        }
        self.begin_content(size);
        let mut data = Vec::new();
        self.by_ref()
            .read_to_end(&mut data)
            .map_err(|error| self.failed(error))?;
        self.skip_content()?;
        let kind = header.entry_type();
        if kind.is_gnu_longname() || kind.is_gnu_longlink() {
            if data.last() == Some(&0) {
                data.pop();
            }
            let place = if kind.is_gnu_longname() {
                &mut extension.name
            } else {
                &mut extension.link
            };
            return match place.replace(data) {
                None => Ok(()),
                Some(_) => Err(self.damaged("two long names for one member")),
            };
        }
        let records = pax_records(&data).map_err(|what| self.damaged(what))?;
        if kind.is_pax_global_extensions() {
            let frames = |key: &[u8]| {
                matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse")
            };
            return match records.iter().any(|(key, _)| frames(key)) {
                true => Err(self.damaged("a name or a size for all members")),
                false => Ok(()),
            };
        }
        if std::mem::replace(&mut extension.pax, true) {
            return Err(self.damaged("two pax headers for one member"));
        }
        extension.take(&records).map_err(|what| self.damaged(what))
    }

    /// The member that `header` announces.
    fn member(&mut self, header: &Header, extension: Extension) -> Result<Member, TarError> {
        let announced = self.size(header)?;
        let size = extension.size.unwrap_or(announced);
        if size != announced && size < OCTAL_ROOM {
            return Err(self.damaged(format!("two sizes for one member, {announced} and {size}")));
        }
        if size > i64::MAX.unsigned_abs() {
            return Err(self.damaged("a size beyond all files"));
        }
        let name = extension
            .name
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extension
            .link
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let mut kind = self.kind(header, &name, link)?;
        if extension.sparse {
            kind = MemberKind::Other("a sparse file");
        }
        if size > 0
            && !matches!(
                kind,
                MemberKind::File | MemberKind::Other("a sparse file" | "of an unknown type")
            )
        {
            return Err(self.damaged("content behind something that has none"));
        }
        if name.contains(&0) {
            return Err(self.damaged("a zero byte in a name"));
        }
        // A negative time is stored in two's complement.
        let header_mtime = header
            .mtime()
            .map_err(|_| self.damaged("a time that is no number"))?;
        let mode = header
            .mode()
            .map_err(|_| self.damaged("a mode that is no number"))?;
        self.begin_content(size);
        Ok(Member {
            name,
            kind,
            size,
            offset: self.at,
            mode: mode & 0o7777,
            mtime_ns: extension
                .mtime_ns
                .unwrap_or(i128::from(header_mtime.cast_signed()) * 1_000_000_000),
        })
    }

    fn kind(
        &mut self,
        header: &Header,
        name: &[u8],
        link: Option<Vec<u8>>,
    ) -> Result<MemberKind, TarError> {
        let link = link.unwrap_or_default();
        if link.contains(&0) {
            return Err(self.damaged("a zero byte in the target of a link"));
        }
        Ok(match header.entry_type() {
            // Before POSIX a slash at the end made the folder.
            EntryType::Regular if name.ends_with(b"/") => MemberKind::Dir,
            EntryType::Regular | EntryType::Continuous => MemberKind::File,
            EntryType::Directory => MemberKind::Dir,
            EntryType::Symlink => MemberKind::Symlink { target: link },
            EntryType::Link => MemberKind::HardLink { to: link },
            EntryType::Char | EntryType::Block => MemberKind::Other("a device"),
            EntryType::Fifo => MemberKind::Other("a fifo"),
            EntryType::GNUSparse => {
                self.skip_sparse_map(header)?;
                MemberKind::Other("a sparse file")
            }
            _ => MemberKind::Other("of an unknown type"),
        })
    }

    /// The blocks of a sparse file's map, which stand between header and content and in no size.
    fn skip_sparse_map(&mut self, header: &Header) -> Result<(), TarError> {
        let mut more = header.as_gnu().is_some_and(tar::GnuHeader::is_extended);
        let mut block = [0; BLOCK];
        while more {
            self.exact(&mut block)?;
            more = block[504] != 0;
        }
        Ok(())
    }

    fn size(&self, header: &Header) -> Result<u64, TarError> {
        header
            .entry_size()
            .map_err(|_| self.damaged("a size that is no number"))
    }

    fn begin_content(&mut self, size: u64) {
        self.content = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip_content(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 64 * BLOCK];
        while self.content > 0 {
            self.read(&mut buffer).map_err(|error| self.failed(error))?;
        }
        let padding = usize::try_from(std::mem::take(&mut self.padding)).unwrap_or_default();
        self.exact(&mut buffer[..padding])
    }

    /// Everything behind the end must be zeros, and is read: gzip and age check themselves at their ends.
    fn end(&mut self) -> Result<(), TarError> {
        let begin = self.at;
        let mut buffer = [0; 64 * BLOCK];
        loop {
            let count = self
                .fetch(&mut buffer)
                .map_err(|error| self.failed(error))?;
            if count == 0 {
                return Ok(());
            }
            self.at += count as u64;
            if buffer[..count].iter().any(|byte| *byte != 0) || self.at - begin > LONGEST_PADDING {
                return Err(self.damaged("more data behind the end"));
            }
        }
    }

    fn fetch(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.input.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        self.input
            .read_exact(buffer)
            .map_err(|error| self.failed(error))?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn damaged(&self, what: impl Into<String>) -> TarError {
        TarError::Damaged {
            at: self.at,
            what: what.into(),
        }
    }

    /// The failure that `error` means, also when it comes from reading content.
    pub fn failed(&self, error: io::Error) -> TarError {
        // What lies below may say more about its early end than its kind.
        if error.kind() == io::ErrorKind::UnexpectedEof
            && error.get_ref().is_none_or(|inner| inner.is::<CutOff>())
        {
            return TarError::CutOff { at: self.at };
        }
        TarError::Io {
            at: self.at,
            source: error,
        }
    }
}

/// The archive ended in the middle of a content.
#[derive(Debug, thiserror::Error)]
#[error("the archive was cut off")]
struct CutOff;

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.content)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.fetch(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, CutOff));
        }
        self.at += count as u64;
        self.content -= count as u64;
        Ok(count)
    }
}

impl Extension {
    fn take(&mut self, records: &[Record<'_>]) -> Result<(), String> {
        for (key, value) in records {
            match *key {
                b"path" | b"linkpath" => {
                    let place = if *key == b"path" {
                        &mut self.name
                    } else {
                        &mut self.link
                    };
                    if value.is_empty() || place.replace(value.to_vec()).is_some() {
                        return Err("two names, or an empty one, for one member".to_owned());
                    }
                }
                b"size" => {
                    let digits = value
                        .iter()
                        .all(u8::is_ascii_digit)
                        .then(|| std::str::from_utf8(value).ok());
                    let size = digits.flatten().and_then(|digits| digits.parse().ok());
                    self.size = Some(size.ok_or("a size that is no number")?);
                }
                b"mtime" => {
                    self.mtime_ns = Some(parse_seconds(value).ok_or("a time that is no number")?)
                }
                other if other.starts_with(b"GNU.sparse") => self.sparse = true,
                // Owners are not restored; access lists and the like are not ours.
                _ => {}
            }
        }
        Ok(())
    }
}

/// Key and value of a pax record.
type Record<'a> = (&'a [u8], &'a [u8]);

/// The records of a pax header: `<length> <key>=<value>\n`, the length including itself.
fn pax_records(mut data: &[u8]) -> Result<Vec<Record<'_>>, String> {
    let mut records: Vec<Record<'_>> = Vec::new();
    while !data.is_empty() {
        let (key, value, rest) = pax_record(data).ok_or("a malformed pax record")?;
        if records.iter().any(|(earlier, _)| *earlier == key) {
            return Err(format!("two pax records `{}`", escape(key)));
        }
        // A handful is usual; comparing each with all must not become the work of an attack.
        if records.len() == 256 {
            return Err("more than 256 pax records".to_owned());
        }
        records.push((key, value));
        data = rest;
    }
    Ok(records)
}

fn pax_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(12).position(|byte| *byte == b' ')?;
    let digits = data.get(..space)?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = record.split_at_checked(equals)?;
    (!key.is_empty()).then_some((key, value.get(1..)?, rest))
}
