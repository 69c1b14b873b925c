//! Unpacks a snapshot's tar into a folder, and nowhere else, whatever the archive says.
//!
//! - Paths are checked segment by segment ([`ArchivePath`]); what is absolute or leads upwards is refused and reported.
//! - Every folder on the way is opened by itself, without following links (`place`), so that nothing is written through a
//!   link, be it from the archive or from before. Files are created exclusively. Links are made last.
//! - Devices, fifos and sparse files are refused. Set-uid, set-gid and sticky bits and owners are dropped.
//! - A second member of one name (or of names that the file system takes for one) is refused and reported, unless it is the
//!   same content again, as the old plugin packed it.
//! - More paths or bytes than announced stop the run before they are written.
//! - With an index every member is compared with it: path, kind, size, SHA-256. A file that is not what the index says does
//!   not stay.
//!
//! One bad member is reported and the next one goes on. What makes the rest doubtful ends the run ([`ExtractError`]). Until
//! all is well a file [`PARTIAL`] marks the target.
//!
//! Short files are filled on other threads (`writers`).
//!
//! Memory: 4 MiB of short files; 40 bytes per path, which tell what this run made; the paths of all folders; up to 32 MiB of links. More
//! links than that are made earlier: never following links makes that as safe.

mod compare;
mod files;
mod outcome;
mod place;
#[cfg(test)]
mod tests;
mod writers;

use std::io::{self, Read};

use cap_std::fs::Dir;

use super::entry::{ArchivePath, AskedPath, Digest, EntryKind, SnapshotEntry, escape};
use super::index::{IndexError, IndexReader, IndexRecord};
use super::manifest::ProblemClass;
use super::untar::{Member, MemberKind, TarError, TarReader, plain_path};
pub(super) use compare::{agrees, hash, wanted, with_causes};
use compare::{points_outside, with_cause};
use outcome::shorten;
pub use outcome::{Bad, ExtractError, Extracted};
use place::{Places, Refusal};
use writers::{SHORT, Writers};

/// The file that marks a target as not, or not wholly, restored.
pub const PARTIAL: &str = ".ows-partial";

/// How many bytes of links wait for the end.
const MOST_DEFERRED: usize = 32 << 20;

/// How many paths behind damage are kept for another try.
const MOST_BEHIND: usize = 20_000;

/// Said of a file that was not read to its end when the snapshot was made.
pub(super) const INCOMPLETE: &str =
    "it could not be read to its end when the snapshot was made; zeros stand for the rest";

/// Where the expected entries come from, in the order of the archive.
pub trait Proof {
    /// The next entry; `None` after the last.
    fn next_entry(&mut self) -> Result<Option<SnapshotEntry>, IndexError>;
}

impl<R: Read> Proof for IndexReader<R> {
    fn next_entry(&mut self) -> Result<Option<SnapshotEntry>, IndexError> {
        loop {
            match self.next_record()? {
                None => return Ok(None),
                Some(IndexRecord::Entry(entry)) => return Ok(Some(entry)),
                Some(IndexRecord::Blocks { .. }) => {}
            }
        }
    }
}

/// What is extracted and how.
#[derive(Default)]
pub struct ExtractOptions<'a> {
    /// Only these paths and what lies below them; all when empty.
    pub only: Vec<AskedPath>,
    /// What the snapshot is expected to hold.
    pub proof: Option<Box<dyn Proof + 'a>>,
    /// The most members there may be, from the manifest.
    pub most_paths: Option<u64>,
    /// The most bytes of content there may be, from the manifest.
    pub most_bytes: Option<u64>,
    /// Where to move what is in the way; without it that stays, and the member is refused.
    pub aside: Option<Dir>,
}

/// Where the content of a member comes from.
trait Content: Read {
    /// What an error while it is read means.
    fn failure(&self, error: io::Error) -> TarError;
}

impl<R: Read> Content for TarReader<R> {
    fn failure(&self, error: io::Error) -> TarError {
        self.failed(error)
    }
}

/// A content that was found by its place.
struct Placed<'a> {
    content: &'a mut dyn Read,
    offset: u64,
}

impl Read for Placed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.content.read(buffer)
    }
}

impl Content for Placed<'_> {
    fn failure(&self, source: io::Error) -> TarError {
        TarError::Io {
            at: self.offset,
            source,
        }
    }
}

/// Unpacks the volumes of one snapshot, in their order.
pub struct Extractor<'a> {
    places: Places<'a>,
    /// The mark is not one that an earlier run left.
    is_mark_new: bool,
    options: ExtractOptions<'a>,
    /// Which of `options.only` were met.
    met: Vec<bool>,
    volume: u32,
    paths: u64,
    announced: u64,
    last: Option<String>,
    symlinks: Vec<(ArchivePath, Vec<u8>, i128)>,
    hard_links: Vec<(ArchivePath, ArchivePath)>,
    deferred: usize,
    /// A volume ended too early: the index may be ahead of the archive.
    lost: bool,
    /// What the index has behind damage, in its order.
    behind: Vec<SnapshotEntry>,
    dirs: Vec<(ArchivePath, u32, i128)>,
    writers: Writers,
    done: Extracted,
}

impl<'a> Extractor<'a> {
    /// Begins to extract into `target`, and marks it as partial.
    pub fn new(target: &'a Dir, mut options: ExtractOptions<'a>) -> Result<Self, ExtractError> {
        let mut places = Places::new(target, options.aside.take());
        let is_mark_new = ArchivePath::new(PARTIAL)
            .map_err(io::Error::other)
            .and_then(|mark| places.mark(&mark))
            .map_err(|source| ExtractError::Target {
                path: PARTIAL.to_owned(),
                source,
            })?;
        Ok(Self {
            places,
            is_mark_new,
            met: vec![false; options.only.len()],
            options,
            volume: 0,
            paths: 0,
            announced: 0,
            last: None,
            symlinks: Vec::new(),
            hard_links: Vec::new(),
            deferred: 0,
            lost: false,
            behind: Vec::new(),
            dirs: Vec::new(),
            writers: Writers::default(),
            done: Extracted::default(),
        })
    }

    /// Unpacks one volume: an uncompressed tar, read to the end of `tar`, where gzip and age check themselves.
    pub fn volume(&mut self, tar: impl Read) -> Result<(), ExtractError> {
        self.volume += 1;
        let result = self.members(TarReader::new(tar));
        // Also when it ended early: what is not as it should be does not stay.
        let settled = self.settle(0);
        result.and(settled)
    }

    fn members(&mut self, mut tar: TarReader<impl Read>) -> Result<(), ExtractError> {
        loop {
            let member = match tar.next_member() {
                Ok(Some(member)) => member,
                Ok(None) => return Ok(()),
                Err(source) => return Err(self.stopped(source)),
            };
            self.count(&member)?;
            self.last = Some(shorten(&escape(&member.name)));
            let path = match member.path() {
                Ok(Some(path)) => path,
                Ok(None) if member.kind == MemberKind::Dir => continue,
                Ok(None) => {
                    self.bad(&escape(&member.name), "it is the target itself");
                    continue;
                }
                Err(problem) => {
                    self.bad(&escape(&member.name), &problem.to_string());
                    continue;
                }
            };
            let expected = self.expected(&path, &member);
            if !self.is_wanted(&path) {
                continue;
            }
            if self.is_ours(&path) {
                continue;
            }
            let digest = expected.as_ref().and_then(digest_of);
            let is_short = member.kind == MemberKind::File && member.size <= SHORT;
            match is_short {
                true => self.short(&path, &member, digest, &mut tar)?,
                false => self.member(&path, member, digest, &mut tar)?,
            }
            if let Some(entry) = expected {
                self.tell_incomplete(&entry);
            }
        }
    }

    /// Takes note that the volume in `object` ended with `error`. What follows in the next one is found again in the
    /// index, and what the index has in between is reported as lost.
    pub fn lose(&mut self, object: &str, error: &dyn std::error::Error) {
        self.bad(object, &with_causes(error));
        self.lost = true;
    }

    /// What stands behind damage, as the index has it, once all volumes were read: it may lie in blocks that are whole. What
    /// is not restored by its place then is to be noted with [`LOST`].
    pub fn take_lost(&mut self) -> Vec<SnapshotEntry> {
        if self.lost || !self.behind.is_empty() {
            self.expect_no_more();
        }
        std::mem::take(&mut self.behind)
    }

    /// Takes note of something that is bad about the whole.
    pub fn note(&mut self, path: &str, message: &str) {
        self.bad(path, message);
    }

    /// Unpacks one path whose place the index told: `content` is what stands there.
    pub fn entry(
        &mut self,
        entry: &SnapshotEntry,
        content: &mut dyn Read,
    ) -> Result<(), ExtractError> {
        let (kind, size, offset, expected) = match &entry.kind {
            EntryKind::File {
                size,
                sha256,
                place,
            } => (MemberKind::File, *size, place.offset, Some(*sha256)),
            EntryKind::Dir => (MemberKind::Dir, 0, 0, None),
            EntryKind::Symlink { target } => {
                let target = target.clone();
                (MemberKind::Symlink { target }, 0, 0, None)
            }
            EntryKind::HardLink { to } => {
                let to = to.as_bytes().to_vec();
                (MemberKind::HardLink { to }, 0, 0, None)
            }
        };
        let path = &entry.path;
        let member = Member {
            name: path.as_bytes().to_vec(),
            kind,
            size,
            offset,
            mode: entry.mode,
            mtime_ns: entry.mtime_ns,
        };
        self.count(&member)?;
        self.last = Some(shorten(&path.to_string()));
        if !self.is_wanted(path) {
            return Ok(());
        }
        if self.is_ours(path) {
            return Ok(());
        }
        self.member(path, member, expected, &mut Placed { content, offset })?;
        self.tell_incomplete(entry);
        Ok(())
    }

    /// Makes the links, sets modes and times of folders, and takes the mark away when all is well.
    pub fn finish(mut self) -> Result<Extracted, ExtractError> {
        self.make_links()?;
        // Deepest first: a folder that may not be entered any more is touched after what lies in it.
        let mut dirs = std::mem::take(&mut self.dirs);
        dirs.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        for (path, mode, mtime_ns) in dirs {
            if let Err(refusal) = self.places.finish_dir(&path, mode, mtime_ns) {
                self.refused(&path, refusal)?;
            }
        }
        self.expect_no_more();
        for entry in std::mem::take(&mut self.behind) {
            self.bad(&entry.path.to_string(), LOST);
        }
        for (only, met) in self.options.only.iter().zip(std::mem::take(&mut self.met)) {
            if !met {
                self.done.note_missing(&only.to_string());
            }
        }
        // Where nothing was restored, what was there before is as whole as it was.
        let is_untouched = self.is_mark_new && self.done.is_nothing_of(self.options.only.len());
        if self.done.bad_count == 0 || is_untouched {
            self.places
                .unmark(PARTIAL)
                .map_err(|source| ExtractError::Target {
                    path: PARTIAL.to_owned(),
                    source,
                })?;
        }
        Ok(self.done)
    }

    /// Stops before more is written than was announced.
    fn count(&mut self, member: &Member) -> Result<(), ExtractError> {
        self.paths += 1;
        self.announced = self.announced.saturating_add(member.size);
        if self
            .options
            .most_paths
            .is_some_and(|most| self.paths > most)
        {
            return Err(ExtractError::TooMuch { what: "paths" });
        }
        if self
            .options
            .most_bytes
            .is_some_and(|most| self.announced > most)
        {
            return Err(ExtractError::TooMuch { what: "bytes" });
        }
        Ok(())
    }

    /// Whether `path` is the mark's, which no member takes.
    fn is_ours(&mut self, path: &ArchivePath) -> bool {
        let ours = path.segments().next() == Some(PARTIAL.as_bytes());
        if ours {
            self.bad(&path.to_string(), "this name belongs to ows");
        }
        ours
    }

    fn is_wanted(&mut self, path: &ArchivePath) -> bool {
        wanted(&self.options.only, &mut self.met, path)
    }

    /// What the index says of `member`. From the first disagreement on it is not believed, and nothing is proven by it.
    fn expected(&mut self, path: &ArchivePath, member: &Member) -> Option<SnapshotEntry> {
        let proof = self.options.proof.as_mut()?;
        let mut next = proof.next_entry();
        while self.lost
            && let Ok(Some(entry)) = &next
            && !agrees(entry, path, member, self.volume)
        {
            if wanted(&self.options.only, &mut self.met, &entry.path) {
                leave_behind(&mut self.behind, &mut self.done, entry);
            }
            next = proof.next_entry();
        }
        self.lost = false;
        match next {
            Ok(Some(entry)) if agrees(&entry, path, member, self.volume) => Some(entry),
            Ok(Some(entry)) => {
                let says = format!(
                    "here the index has `{}`: they do not belong together; the rest is restored without proof",
                    entry.path
                );
                self.doubt(path, &says)
            }
            Ok(None) => self.doubt(
                path,
                "it is not in the index; the rest is restored without proof",
            ),
            Err(error) => {
                let says = format!("{}; the rest is restored without proof", with_cause(&error));
                self.doubt(path, &says)
            }
        }
    }

    /// Reports a file that is in the snapshot with zeros instead of what could not be read: its hash is right, and nobody
    /// is to take it for whole.
    fn tell_incomplete(&mut self, entry: &SnapshotEntry) {
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        if is_file && entry.problem == Some(ProblemClass::Unreadable) {
            self.bad(&entry.path.to_string(), INCOMPLETE);
        }
    }

    fn doubt(&mut self, path: &ArchivePath, why: &str) -> Option<SnapshotEntry> {
        self.options.proof = None;
        self.bad(&path.to_string(), why);
        None
    }

    /// Reports what the index has and the archive had not.
    fn expect_no_more(&mut self) {
        let Some(mut proof) = self.options.proof.take() else {
            return;
        };
        loop {
            match proof.next_entry() {
                Ok(None) => return,
                Ok(Some(entry)) if self.is_wanted(&entry.path) => match self.lost {
                    true => leave_behind(&mut self.behind, &mut self.done, &entry),
                    false => self.bad(
                        &entry.path.to_string(),
                        "it is in the index and not in the archive",
                    ),
                },
                Ok(Some(_)) => {}
                Err(error) => return self.bad("", &with_cause(&error)),
            }
        }
    }

    fn member(
        &mut self,
        path: &ArchivePath,
        member: Member,
        expected: Option<Digest>,
        tar: &mut impl Content,
    ) -> Result<(), ExtractError> {
        match member.kind {
            MemberKind::File => self.file(path, &member, expected, tar)?,
            MemberKind::Dir => match self.places.dir(path) {
                Ok(true) => {
                    self.done.dirs += 1;
                    self.dirs
                        .push((path.clone(), member.mode & 0o777, member.mtime_ns));
                }
                Ok(false) => self.done.repeated += 1,
                Err(refusal) => self.refused(path, refusal)?,
            },
            MemberKind::Symlink { target } => {
                self.deferred += path.as_bytes().len() + target.len() + 128;
                self.symlinks.push((path.clone(), target, member.mtime_ns));
            }
            MemberKind::HardLink { to } => match plain_path(&to) {
                Ok(Some(to)) => {
                    self.deferred += path.as_bytes().len() + to.as_bytes().len() + 128;
                    self.hard_links.push((path.clone(), to));
                }
                _ => self.bad(
                    &path.to_string(),
                    &format!("it is a link to `{}`, outside the snapshot", escape(&to)),
                ),
            },
            MemberKind::Other(what) => self.bad(
                &path.to_string(),
                &format!("it is {what}, which is not restored"),
            ),
        }
        if self.deferred > MOST_DEFERRED {
            self.make_links()?;
        }
        Ok(())
    }

    fn make_links(&mut self) -> Result<(), ExtractError> {
        // A link is only made to a file that stays.
        self.settle(0)?;
        self.deferred = 0;
        for (path, target, mtime_ns) in std::mem::take(&mut self.symlinks) {
            match self.places.symlink(&path, &target, mtime_ns) {
                Ok(()) => {
                    self.done.symlinks += 1;
                    self.done.links_outside += u64::from(points_outside(&path, &target));
                }
                Err(refusal) => self.refused(&path, refusal)?,
            }
        }
        for (path, to) in std::mem::take(&mut self.hard_links) {
            match self.places.hard_link(&path, &to) {
                Ok(()) => self.done.hard_links += 1,
                Err(refusal) => self.refused(&path, refusal)?,
            }
        }
        Ok(())
    }

    /// Notes a refusal; a disk without space ends the run.
    fn refused(&mut self, path: &ArchivePath, refusal: Refusal) -> Result<(), ExtractError> {
        match refusal {
            Refusal::Io(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull
                        | io::ErrorKind::QuotaExceeded
                        | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                Err(ExtractError::Target {
                    path: path.to_string(),
                    source,
                })
            }
            other => {
                self.bad(&path.to_string(), &other.to_string());
                Ok(())
            }
        }
    }

    fn stopped(&self, source: TarError) -> ExtractError {
        ExtractError::Archive {
            after: self.last.clone(),
            source,
        }
    }

    fn bad(&mut self, path: &str, message: &str) {
        self.done.note(path, message);
    }
}

/// Keeps `entry` for another try, or reports it when there are too many to keep.
fn leave_behind(behind: &mut Vec<SnapshotEntry>, done: &mut Extracted, entry: &SnapshotEntry) {
    match behind.len() < MOST_BEHIND {
        true => behind.push(entry.clone()),
        false => done.note(&entry.path.to_string(), LOST),
    }
}

/// What is said of what stands behind damage.
pub const LOST: &str = "it lies behind the damage and was not restored";

fn digest_of(entry: &SnapshotEntry) -> Option<Digest> {
    match entry.kind {
        EntryKind::File { sha256, .. } => Some(sha256),
        _ => None,
    }
}
