//! A tree, read in the order of [`crate::SortKey`].
//!
//! Each folder's names are read whole and sorted, a folder counting as its name plus `/`, so that the whole walk is in
//! order. There is no recursion, and of a deep path only the innermost folders are held open: memory is the names of the
//! folders on the way to where the walk is.
//!
//! A name is looked at when its turn comes, not before. What has gone by then is absent, after a second look; what has
//! become something else can no longer be shown in order and is a [`Step::Changed`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::io::Errno;

use super::links::{LinkProblem, LinkScope};
use super::name;
use super::root::Root;
use super::stat::{Identity, Kind, Stat};
use crate::RelPath;

/// So many of the innermost folders stay open; those above are opened again on the way back.
const OPEN_FOLDERS: usize = 32;

/// A folder that changes while it is read is read again, so often at most.
const READINGS: usize = 3;

/// Says whether a path of this kind is left out. A folder that is left out is not entered.
pub type SkipFn = Box<dyn Fn(&RelPath, Kind) -> bool + Send>;

/// What to walk.
pub struct WalkOptions {
    /// Only what lies below this folder.
    pub below: Option<RelPath>,
    /// Only the direct children.
    pub shallow: bool,
    /// What is left out. Asked before the path is looked at.
    pub skip: SkipFn,
    /// Follow symbolic links that stay in here.
    pub links: Option<Arc<LinkScope>>,
}

impl Default for WalkOptions {
    fn default() -> Self {
        Self {
            below: None,
            shallow: false,
            skip: Box::new(|_, _| false),
            links: None,
        }
    }
}

/// A file or folder.
#[derive(Debug)]
pub struct Found {
    /// Where.
    pub path: RelPath,
    /// What it is.
    pub stat: Stat,
}

/// One thing that a walk meets.
#[derive(Debug)]
pub enum Step {
    /// A file or folder. A folder comes before what it holds.
    Found(Found),
    /// Neither file nor folder, or a link that is not followed. Sorted like a file of that name.
    Other {
        /// Where.
        path: RelPath,
        /// What it is.
        kind: Kind,
    },
    /// A link that was to be followed and cannot be.
    Link {
        /// Where.
        path: RelPath,
        /// Why not.
        problem: LinkProblem,
    },
    /// It became a file, folder or link of another kind while the tree was read; all below it is unknown.
    Changed {
        /// Where.
        path: RelPath,
    },
    /// It, or the rest of this folder, could not be read: what lies below is unknown. This may come after the folder's
    /// own [`Step::Found`].
    Unreadable {
        /// Where.
        path: RelPath,
        /// Why.
        error: io::Error,
    },
    /// A name that is not UTF-8.
    NotUtf8 {
        /// The folder that holds it; `None` is the root.
        parent: Option<RelPath>,
        /// The name.
        name: OsString,
    },
}

/// The walk itself: an iterator over [`Step`]s.
pub struct Walk {
    options: WalkOptions,
    frames: Vec<Frame>,
}

struct Frame {
    path: Option<RelPath>,
    name: OsString,
    identity: Identity,
    handle: Option<Arc<Dir>>,
    /// Never closed: it cannot be opened again by its name from the folder above.
    pinned: bool,
    children: std::vec::IntoIter<Child>,
}

struct Child {
    name: OsString,
    /// Behind a link that is followed: what it leads to.
    kind: Kind,
    link: bool,
}

impl Walk {
    /// Begins a walk.
    ///
    /// # Errors
    /// When the folder to begin with cannot be opened or read.
    pub fn new(root: &Root, options: WalkOptions) -> io::Result<Self> {
        let dir = root.folder(options.below.as_ref())?;
        let mut walk = Self {
            options,
            frames: Vec::new(),
        };
        let below = walk.options.below.clone();
        walk.push(below, OsString::new(), dir, true)?;
        Ok(walk)
    }

    fn push(
        &mut self,
        path: Option<RelPath>,
        name: OsString,
        dir: Dir,
        pinned: bool,
    ) -> io::Result<Stat> {
        let stat = name::fstat(&dir)?;
        let mut children = read_children(&dir)?;
        if let Some(links) = &self.options.links {
            for child in children
                .iter_mut()
                .filter(|child| child.kind == Kind::Symlink)
            {
                resolve_child(links, path.as_ref(), child);
            }
        }
        children.sort_unstable_by(in_tree_order);
        self.frames.push(Frame {
            path,
            name,
            identity: stat.identity,
            handle: Some(Arc::new(dir)),
            pinned,
            children: children.into_iter(),
        });
        if let Some(index) = self.frames.len().checked_sub(OPEN_FOLDERS + 1) {
            let frame = &mut self.frames[index];
            if !frame.pinned {
                frame.handle = None;
            }
        }
        Ok(stat)
    }

    /// The innermost folder, opened again when it was closed.
    fn handle(&mut self) -> io::Result<Arc<Dir>> {
        let top = self.frames.len() - 1;
        let open = self
            .frames
            .iter()
            .rposition(|frame| frame.handle.is_some())
            .unwrap_or(0);
        let mut current = match &self.frames[open].handle {
            Some(dir) => Arc::clone(dir),
            None => return Err(Errno::BADF.into()),
        };
        for index in open + 1..=top {
            let frame = &mut self.frames[index];
            let next = Arc::new(name::open_dir(&current, &frame.name)?);
            if name::fstat(&*next)?.identity != frame.identity {
                return Err(io::Error::other(
                    "the folder gave way to another one while it was read",
                ));
            }
            if index + OPEN_FOLDERS > top {
                frame.handle = Some(Arc::clone(&next));
            }
            current = next;
        }
        Ok(current)
    }

    fn visit(&mut self, child: Child) -> Option<Step> {
        let frame = self.frames.last()?;
        let Some(text) = child.name.to_str() else {
            return Some(Step::NotUtf8 {
                parent: frame.path.clone(),
                name: child.name,
            });
        };
        let joined = match &frame.path {
            Some(parent) => parent.join(text),
            None => RelPath::new(text),
        };
        let path = match joined {
            Ok(path) => path,
            // No file system has such names; a broken one that has gets them reported like any unusable name.
            Err(_) => {
                return Some(Step::NotUtf8 {
                    parent: frame.path.clone(),
                    name: child.name,
                });
            }
        };
        if (self.options.skip)(&path, child.kind) {
            return None;
        }
        let dir = match self.handle() {
            Ok(dir) => dir,
            Err(error) => return Some(self.give_up(path, error)),
        };
        if child.link {
            return self.visit_link(path, &child);
        }
        match child.kind {
            Kind::Dir if !self.options.shallow => self.enter(path, &dir, &child.name, false),
            Kind::File | Kind::Dir => look(path, &dir, &child),
            kind => Some(Step::Other { path, kind }),
        }
    }

    /// Ends the innermost folder, whose handle is lost, whatever it still holds.
    fn give_up(&mut self, path: RelPath, error: io::Error) -> Step {
        let folder = self.frames.pop().and_then(|frame| frame.path);
        Step::Unreadable {
            path: folder.unwrap_or(path),
            error,
        }
    }

    fn visit_link(&mut self, path: RelPath, child: &Child) -> Option<Step> {
        let links = self.options.links.clone()?;
        let resolved = match links.resolve(&path) {
            Ok(resolved) => resolved,
            Err(problem) => return Some(Step::Link { path, problem }),
        };
        if resolved.stat.kind != child.kind {
            return Some(Step::Changed { path });
        }
        if resolved.stat.kind == Kind::Dir && !self.options.shallow {
            if self
                .frames
                .iter()
                .any(|frame| frame.identity == resolved.stat.identity)
            {
                return Some(Step::Link {
                    path,
                    problem: LinkProblem::Loop,
                });
            }
            return self.enter(path, &resolved.dir, &resolved.name, true);
        }
        Some(Step::Found(Found {
            path,
            stat: resolved.stat,
        }))
    }

    fn enter(&mut self, path: RelPath, dir: &Dir, name: &OsStr, pinned: bool) -> Option<Step> {
        let entered = name::open_dir(dir, name)
            .and_then(|opened| self.push(Some(path.clone()), name.to_owned(), opened, pinned));
        match entered {
            Ok(stat) => Some(Step::Found(Found { path, stat })),
            Err(error) => match look_twice(dir, name) {
                Ok(None) => None,
                Ok(Some(stat)) if stat.kind != Kind::Dir => Some(Step::Changed { path }),
                Ok(Some(_)) | Err(_) => Some(Step::Unreadable { path, error }),
            },
        }
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let Some(child) = self.frames.last_mut()?.children.next() else {
                self.frames.pop();
                continue;
            };
            if let Some(step) = self.visit(child) {
                return Some(step);
            }
        }
    }
}

fn look(path: RelPath, dir: &Dir, child: &Child) -> Option<Step> {
    match look_twice(dir, &child.name) {
        Ok(None) => None,
        Ok(Some(stat)) if stat.kind == child.kind => Some(Step::Found(Found { path, stat })),
        Ok(Some(_)) => Some(Step::Changed { path }),
        Err(error) => Some(Step::Unreadable { path, error }),
    }
}

/// A name that was listed and is gone may be in the middle of being replaced: it is absent when a second look agrees.
fn look_twice(dir: &Dir, name: &OsStr) -> io::Result<Option<Stat>> {
    match name::lstat(dir, name)? {
        Some(stat) => Ok(Some(stat)),
        None => name::lstat(dir, name),
    }
}

/// All names in a folder and what they stand for, in the order of a walk; for those who walk by themselves because they
/// need what a [`Walk`] leaves out: links, and names that are not UTF-8.
///
/// # Errors
/// As the system gives them.
pub fn children(dir: &Dir) -> io::Result<Vec<(OsString, Kind)>> {
    let mut children = read_children(dir)?;
    children.sort_unstable_by(in_tree_order);
    Ok(children
        .into_iter()
        .map(|child| (child.name, child.kind))
        .collect())
}

/// The place of a link in the order depends on what it leads to.
fn resolve_child(links: &LinkScope, parent: Option<&RelPath>, child: &mut Child) {
    let Some(text) = child.name.to_str() else {
        return;
    };
    let path = match parent {
        Some(parent) => parent.join(text),
        None => RelPath::new(text),
    };
    if let Ok(path) = path {
        child.link = true;
        if let Ok(resolved) = links.resolve(&path) {
            child.kind = resolved.stat.kind;
        }
    }
}

/// All names in a folder. A folder in which something was created, removed or renamed meanwhile is read again, and a
/// name seen in any reading counts: a file that is renamed at the wrong moment may be missing from a single one. Those
/// that are really gone turn out so when they are looked at.
fn read_children(dir: &Dir) -> io::Result<Vec<Child>> {
    let mut before = name::fstat(dir)?;
    let mut children = read_once(dir)?;
    for _ in 1..READINGS {
        let after = name::fstat(dir)?;
        if after.unchanged_since(&before) {
            break;
        }
        before = after;
        let mut merged: BTreeMap<OsString, Kind> = BTreeMap::new();
        for child in children.into_iter().chain(read_once(dir)?) {
            merged.insert(child.name, child.kind);
        }
        children = merged
            .into_iter()
            .map(|(name, kind)| Child {
                name,
                kind,
                link: false,
            })
            .collect();
    }
    Ok(children)
}

fn read_once(dir: &Dir) -> io::Result<Vec<Child>> {
    let mut children = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let bytes = entry.file_name().to_bytes();
        if matches!(bytes, b"." | b"..") {
            continue;
        }
        let name = OsStr::from_bytes(bytes).to_owned();
        let kind = match Kind::from_listing(entry.file_type()) {
            Some(kind) => kind,
            None => match look_twice(dir, &name) {
                Ok(Some(stat)) => stat.kind,
                Ok(None) => continue,
                // Its turn will come to be looked at, fail again, and be reported.
                Err(_) => Kind::File,
            },
        };
        children.push(Child {
            name,
            kind,
            link: false,
        });
    }
    Ok(children)
}

fn in_tree_order(one: &Child, other: &Child) -> Ordering {
    let (left, right) = (one.name.as_bytes(), other.name.as_bytes());
    let common = left.len().min(right.len());
    let slash = |child: &Child| (child.kind == Kind::Dir).then_some(b'/');
    left[..common].cmp(&right[..common]).then_with(|| {
        let left = left[common..].iter().copied().chain(slash(one));
        left.cmp(right[common..].iter().copied().chain(slash(other)))
    })
}
