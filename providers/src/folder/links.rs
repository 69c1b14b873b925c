//! Symbolic links that stay inside a workspace, for those who ask for them to be followed.
//!
//! A link is resolved by hand, name by name, from the workspace's own handle: `..` cannot leave it, an absolute target
//! counts only when it names the workspace, and at the end stands a path without links, opened like any other.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use cap_std::fs::Dir;

use super::name;
use super::root::open_ambient;
use super::stat::{Kind, Stat};
use crate::RelPath;

/// As many links as Linux follows in one path.
const MAX_LINKS: usize = 40;

/// Our own folder at the root of a pair.
const OWN_FOLDER: &str = ".ows";

/// Where links may lead.
#[derive(Debug)]
pub struct LinkScope {
    workspace: Dir,
    /// The workspace's path as it was given and as the system spells it: absolute links use either.
    spellings: Vec<PathBuf>,
    /// The way from the workspace to the folder in which links are found.
    inner: Vec<OsString>,
}

/// Why a link is not followed.
#[derive(Debug, thiserror::Error)]
pub enum LinkProblem {
    /// It leads out of the workspace, or into our own folder.
    #[error("the link leads out of the workspace")]
    Outside,
    /// Nothing is where it leads.
    #[error("the link leads nowhere")]
    Dangling,
    /// It leads to itself, or to a folder around it.
    #[error("the link leads back to itself")]
    Loop,
    /// It leads to something that is neither file nor folder.
    #[error("the link leads to a {}", .0.describe())]
    Special(Kind),
    /// It could not be read.
    #[error("the link could not be read")]
    Io(#[source] io::Error),
}

/// Where a path leads when the links on it are followed.
#[derive(Debug)]
pub struct Resolved {
    /// The folder that really holds it.
    pub dir: Dir,
    /// Its name there.
    pub name: OsString,
    /// What it is: a file or a folder.
    pub stat: Stat,
}

impl LinkScope {
    /// Links found below `folder` may lead anywhere inside `workspace`, which holds `folder` or is it.
    ///
    /// # Errors
    /// `InvalidInput` when the folder does not lie in the workspace, and what the system gives.
    pub fn new(workspace: &Path, folder: &Path) -> io::Result<Self> {
        let real_workspace = workspace.canonicalize()?;
        let real_folder = folder.canonicalize()?;
        let inner = real_folder.strip_prefix(&real_workspace).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the folder does not lie in the workspace",
            )
        })?;
        Ok(Self {
            workspace: open_ambient(&real_workspace)?,
            inner: inner.iter().map(OsStr::to_owned).collect(),
            spellings: vec![real_workspace, workspace.to_owned()],
        })
    }

    /// Follows the links on `path`, which is relative to the folder given to [`LinkScope::new`].
    ///
    /// # Errors
    /// [`LinkProblem`] says why not.
    pub fn resolve(&self, path: &RelPath) -> Result<Resolved, LinkProblem> {
        let mut todo: VecDeque<OsString> = self.inner.iter().cloned().collect();
        todo.extend(path.segments().map(OsString::from));
        let mut done: Vec<OsString> = Vec::new();
        let mut links = 0;
        let mut last = None;
        while let Some(segment) = todo.pop_front() {
            if segment == ".." {
                if done.pop().is_none() {
                    return Err(LinkProblem::Outside);
                }
                last = None;
                continue;
            }
            let dir = self.open(&done)?;
            let stat = name::lstat(&dir, &segment)
                .map_err(LinkProblem::Io)?
                .ok_or(LinkProblem::Dangling)?;
            if stat.kind == Kind::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(LinkProblem::Loop);
                }
                let target = read_link(&dir, &segment)?;
                self.follow(&target, &mut done, &mut todo)?;
                last = None;
            } else {
                done.push(segment.clone());
                last = Some((dir, segment, stat));
            }
        }
        self.refuse_own_folder(&done)?;
        let (dir, name, stat) = match last {
            Some(found) => found,
            // The way ended with `..`: the folder that remains is looked at from the one around it.
            None => self.look_again(&done)?,
        };
        match stat.kind {
            Kind::File | Kind::Dir => Ok(Resolved { dir, name, stat }),
            other => Err(LinkProblem::Special(other)),
        }
    }

    fn follow(
        &self,
        target: &Path,
        done: &mut Vec<OsString>,
        todo: &mut VecDeque<OsString>,
    ) -> Result<(), LinkProblem> {
        let relative = if target.is_absolute() {
            let inside = self
                .spellings
                .iter()
                .find_map(|workspace| target.strip_prefix(workspace).ok())
                .ok_or(LinkProblem::Outside)?;
            done.clear();
            inside
        } else {
            target
        };
        for component in relative.components().rev() {
            match component {
                Component::Normal(segment) => todo.push_front(segment.to_owned()),
                Component::ParentDir => todo.push_front(OsString::from("..")),
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        Ok(())
    }

    /// What `ows` keeps for itself is no content, also when a link leads there.
    fn refuse_own_folder(&self, real: &[OsString]) -> Result<(), LinkProblem> {
        match real.strip_prefix(&self.inner[..]) {
            Some([first, ..]) if first == OWN_FOLDER => Err(LinkProblem::Outside),
            _ => Ok(()),
        }
    }

    fn open(&self, segments: &[OsString]) -> Result<Dir, LinkProblem> {
        let mut dir = self.workspace.try_clone().map_err(LinkProblem::Io)?;
        for segment in segments {
            dir = name::open_dir(&dir, segment).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => LinkProblem::Dangling,
                _ => LinkProblem::Io(error),
            })?;
        }
        Ok(dir)
    }

    fn look_again(&self, done: &[OsString]) -> Result<(Dir, OsString, Stat), LinkProblem> {
        // The workspace itself holds the link, so that following it would never end.
        let (last, around) = done.split_last().ok_or(LinkProblem::Loop)?;
        let dir = self.open(around)?;
        let stat = name::lstat(&dir, last)
            .map_err(LinkProblem::Io)?
            .ok_or(LinkProblem::Dangling)?;
        Ok((dir, last.clone(), stat))
    }
}

fn read_link(dir: &Dir, segment: &OsStr) -> Result<PathBuf, LinkProblem> {
    use std::os::unix::ffi::OsStringExt;
    let target = rustix::fs::readlinkat(dir, segment, Vec::new())
        .map_err(|error| LinkProblem::Io(error.into()))?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}
