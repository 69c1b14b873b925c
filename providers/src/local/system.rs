//! Which file system it is, as far as that decides what can be relied on.

use std::io;

use crate::folder::Root;

/// What can be relied on in a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileSystem {
    /// Inode numbers and change times last.
    Full,
    /// They may be made up anew at every mount.
    Fleeting,
    /// FAT and its kin: that, no case, coarse times, narrow rules for names.
    Narrow,
}

#[cfg(target_os = "linux")]
pub(super) fn file_system(root: &Root) -> io::Result<FileSystem> {
    // Numbers from statfs(2) and linux/magic.h.
    const MSDOS: u32 = 0x4d44;
    const EXFAT: u32 = 0x2011_bab0;
    const FULL: [u32; 10] = [
        0xef53,      // ext2, ext3, ext4
        0x5846_5342, // xfs
        0x9123_683e, // btrfs
        0x0102_1994, // tmpfs
        0x2fc1_2fc1, // zfs
        0xf2f5_2010, // f2fs
        0xca45_1a4e, // bcachefs
        0x794c_7630, // overlayfs
        0x6969,      // nfs
        0x5265_4973, // reiserfs
    ];
    let stat = rustix::fs::fstatfs(root.dir())?;
    // The type's width and sign differ from machine to machine; the numbers have 32 bits.
    let magic = stat.f_type as u32;
    Ok(match magic {
        MSDOS | EXFAT => FileSystem::Narrow,
        known if FULL.contains(&known) => FileSystem::Full,
        _ => FileSystem::Fleeting,
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn file_system(_root: &Root) -> io::Result<FileSystem> {
    Ok(FileSystem::Fleeting)
}
