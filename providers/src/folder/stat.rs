//! What the file system says about one name.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat as RawStat};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block or character device.
    Device,
    /// Something that this system does not name.
    Other,
}

impl Kind {
    /// The kind as people call it.
    pub fn describe(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "folder",
            Self::Symlink => "symbolic link",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
            Self::Device => "device",
            Self::Other => "special file",
        }
    }

    /// The kind that a listing of a folder tells; `None` where the file system leaves it open.
    pub(super) fn from_listing(file_type: FileType) -> Option<Self> {
        match file_type {
            FileType::Unknown => None,
            known => Some(Self::from_type(known)),
        }
    }

    fn from_type(file_type: FileType) -> Self {
        match file_type {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Dir,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice | FileType::BlockDevice => Self::Device,
            FileType::Unknown => Self::Other,
        }
    }
}

/// Which file or folder it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The device's number.
    pub device: u64,
    /// The inode's number.
    pub inode: u64,
}

/// The attributes of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// Time of the last change of content or attributes in nanoseconds since the epoch.
    pub ctime_ns: i64,
    /// Which one it is.
    pub identity: Identity,
    /// Permission bits, with set-id and sticky bits.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// How many names it has.
    pub links: u64,
}

impl Stat {
    /// The same file with the same length and modification time. Leaves the change time out, which a rename moves.
    pub fn same_content_as(&self, other: &Self) -> bool {
        self.identity == other.identity
            && self.size == other.size
            && self.mtime_ns == other.mtime_ns
    }

    /// Nothing at all was done to it in between, as far as the system tells.
    pub fn unchanged_since(&self, earlier: &Self) -> bool {
        self.same_content_as(earlier) && self.ctime_ns == earlier.ctime_ns
    }
}

impl From<&RawStat> for Stat {
    fn from(raw: &RawStat) -> Self {
        Self {
            kind: Kind::from_type(FileType::from_raw_mode(raw.st_mode)),
            size: u64::try_from(raw.st_size).unwrap_or(0),
            mtime_ns: nanoseconds(i128::from(raw.st_mtime), i128::from(raw.st_mtime_nsec)),
            ctime_ns: nanoseconds(i128::from(raw.st_ctime), i128::from(raw.st_ctime_nsec)),
            identity: Identity {
                device: raw.st_dev,
                inode: raw.st_ino,
            },
            mode: raw.st_mode & 0o7777,
            uid: raw.st_uid,
            gid: raw.st_gid,
            // Its width differs from machine to machine.
            links: u64::try_from(i128::from(raw.st_nlink)).unwrap_or(u64::MAX),
        }
    }
}

/// The system's clock in nanoseconds since the Unix epoch.
pub fn now_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// Times beyond the years 1677 and 2262 are cut to those: 64 bits hold no more.
fn nanoseconds(seconds: i128, fraction: i128) -> i64 {
    let total = seconds * 1_000_000_000 + fraction;
    i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX })
}
