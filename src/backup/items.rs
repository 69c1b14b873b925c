//! What a snapshot holds: the items of the configuration as files and folders on this host.
//!
//! Every path has one place in a snapshot: what is inside the workspace lies under `workspace/`, whatever that folder is
//! called here, and the rest below the state directory under its path there. An item that lies in another one is part of
//! it and is not stored again.
//!
//! - The folder or file that an item names is resolved through links: who configures it vouches for it. Links in it are
//!   stored as links.
//! - An item that is a link into another item is stored as the link that it is.
//! - A workspace inside another item, as `<state>/agents/ID/workspace` is, is left out there and lies under `workspace/`.
//! - What is ours is a hole in the items around it, and so is the folder that snapshots go to.
//!
//! The walk through what is found here is `scan`'s.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::entry::{ArchivePath, escape};
use crate::config::Item;
use crate::config::overlap::real;
use crate::error::{Failure, Outcome};
use crate::local::OWN_FOLDER;

/// Where the workspace lies in a snapshot.
const WORKSPACE: &str = "workspace";

/// Where items lie, and what is left out of all of them.
#[derive(Debug, Clone)]
pub struct ItemPlaces {
    /// The workspace.
    pub workspace: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
    /// Our own folder, wherever it is.
    pub own_dir: PathBuf,
    /// The local folder of the pair, whose `.ows` is left out.
    pub pair: Option<PathBuf>,
    /// Where snapshots go, when that is a local folder.
    pub destination: Option<PathBuf>,
}

/// What of an item is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Only {
    /// All that the patterns leave.
    All,
    /// Files whose names end in `.jsonl`, and folders.
    Transcripts,
}

/// A file or folder that is stored with everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ItemRoot {
    /// Where it belongs in the snapshot.
    pub prefix: ArchivePath,
    /// Where it lies here, without a link on the way; the last name may be a link, which is then what is stored.
    pub path: PathBuf,
    /// What of it.
    pub only: Only,
    /// Whether it lies in the workspace.
    pub in_workspace: bool,
    /// What is left out, relative to it.
    pub holes: Vec<PathBuf>,
}

/// The items of a snapshot, found.
#[derive(Debug, Clone)]
pub struct Items {
    pub(super) roots: Vec<ItemRoot>,
    /// The items that the snapshot holds.
    pub present: Vec<Item>,
    /// The items that do not exist.
    pub missing: Vec<Item>,
}

/// What is called the folder that snapshots go to.
const SNAPSHOTS: &str = "the snapshots";

/// The folders that everything is placed by, without links.
struct Bases {
    workspace: PathBuf,
    state: PathBuf,
}

/// A file or folder of an item before it is settled what is stored of it.
struct Candidate {
    prefix: ArchivePath,
    /// By its own name; the folders above without links.
    named: PathBuf,
    /// Without links.
    real: PathBuf,
    only: Only,
}

impl Items {
    /// Finds the items of `include`. Blocks.
    ///
    /// # Errors
    /// When the workspace is to be stored and is no folder that can be read, and when an item is or lies in a folder that
    /// is never stored.
    pub fn find(include: &[Item], places: &ItemPlaces) -> Outcome<Self> {
        if include.contains(&Item::Workspace) {
            require_workspace(&places.workspace)?;
        }
        let bases = Bases {
            workspace: real(&places.workspace),
            state: real(&places.state_dir),
        };
        let mut found = Self {
            roots: Vec::new(),
            present: Vec::new(),
            missing: Vec::new(),
        };
        let mut candidates = Vec::new();
        for item in include {
            let before = candidates.len();
            for (path, only) in paths_of(*item, &bases) {
                candidates.extend(bases.candidate(&path, only)?);
            }
            if candidates.len() > before {
                found.present.push(*item);
            } else {
                found.missing.push(*item);
            }
        }
        let mut roots = settle(candidates, &bases)?;
        let never = never_stored(places);
        for root in &mut roots {
            root.holes.extend(holes(root, &never)?);
        }
        roots.sort_by(|one, other| one.prefix.cmp(&other.prefix));
        found.roots = roots;
        Ok(found)
    }
}

fn require_workspace(path: &Path) -> Outcome<()> {
    match std::fs::read_dir(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::failed("the workspace cannot be backed up")
            .with_path(path.display().to_string())
            .with_hint(
                "nothing was stored; `--workspace` or `agents.defaults.workspace` says where it is",
            )
            .with_source(error)),
    }
}

/// The paths that an item names, with nothing said of whether they exist.
fn paths_of(item: Item, bases: &Bases) -> Vec<(PathBuf, Only)> {
    let workspace = |names: &[&str]| -> Vec<_> {
        names
            .iter()
            .map(|name| (bases.workspace.join(name), Only::All))
            .collect()
    };
    let state = |name: &str| vec![(bases.state.join(name), Only::All)];
    match item {
        Item::Workspace => vec![(bases.workspace.clone(), Only::All)],
        Item::Memory => workspace(&["memory", "MEMORY.md"]),
        Item::Skills => workspace(&["skills"]),
        Item::Env => workspace(&[".env"]),
        Item::Pages => workspace(&["pages"]),
        Item::Config => state("openclaw.json"),
        Item::Cron => state("cron"),
        Item::Sessions => state("sessions"),
        Item::Credentials => state("credentials"),
        Item::Hooks => state("hooks"),
        Item::Extensions => state("extensions"),
        Item::Agents => state("agents"),
        Item::Transcripts => transcripts(&bases.state),
    }
}

fn transcripts(state: &Path) -> Vec<(PathBuf, Only)> {
    let agents = state.join("agents");
    let mut folders = vec![state.join("sessions")];
    let listed = std::fs::read_dir(&agents)
        .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
        .map(|entries| entries.into_iter().map(|entry| entry.path()));
    match listed {
        Ok(agents) => folders.extend(agents.map(|agent| agent.join("sessions"))),
        Err(error) if is_absent(&error) => {}
        // The scan will meet the same error and report it.
        Err(_) => folders.push(agents),
    }
    folders
        .into_iter()
        .map(|folder| (folder, Only::Transcripts))
        .collect()
}

impl Bases {
    /// `None` when nothing is there. What is there and cannot be looked at is for the scan to report.
    fn candidate(&self, named: &Path, only: Only) -> Outcome<Option<Candidate>> {
        let real = match named.canonicalize() {
            Ok(real) => real,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(_) => named.to_owned(),
        };
        Ok(Some(Candidate {
            prefix: self.place(named)?,
            named: named.to_owned(),
            real,
            only,
        }))
    }

    /// Where `path`, which lies in one of the two folders, belongs in the snapshot.
    fn place(&self, path: &Path) -> Outcome<ArchivePath> {
        let bytes = match path.strip_prefix(&self.workspace) {
            Ok(rest) => Path::new(WORKSPACE).join(rest),
            Err(_) => path.strip_prefix(&self.state).unwrap_or(path).to_path_buf(),
        };
        // Joined with nothing, a path ends in a slash.
        let bytes: PathBuf = bytes.components().collect();
        ArchivePath::new(bytes.as_os_str().as_bytes()).map_err(|problem| {
            Failure::failed("an item has no place in a snapshot")
                .with_path(path.display().to_string())
                .with_source(problem)
        })
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Stores everything once: which of the candidates become roots, and what other roots leave out for that.
fn settle(mut candidates: Vec<Candidate>, bases: &Bases) -> Outcome<Vec<ItemRoot>> {
    let workspace = &bases.workspace;
    let is_around = |around: &Candidate| {
        around.only == Only::All && around.real != *workspace && workspace.starts_with(&around.real)
    };
    if !candidates.iter().any(|one| one.real == *workspace)
        && candidates.iter().any(is_around)
        && workspace.is_dir()
    {
        candidates.extend(bases.candidate(workspace, Only::All)?);
    }
    // The workspace first, as nothing takes it in; what goes by its own name before links to it; then what is further up,
    // which takes in what is below.
    let depth = |path: &Path| path.components().count();
    candidates.sort_by_key(|one| {
        let only = one.only == Only::Transcripts;
        (
            one.real != *workspace,
            only,
            one.named != one.real,
            depth(&one.real),
            one.prefix.clone(),
        )
    });
    let mut roots: Vec<ItemRoot> = Vec::new();
    for candidate in candidates {
        let in_workspace = candidate.named.starts_with(workspace);
        let root = |path: &Path| ItemRoot {
            prefix: candidate.prefix.clone(),
            path: path.to_owned(),
            only: candidate.only,
            in_workspace,
            holes: Vec::new(),
        };
        let is_stored = |path: &Path| {
            roots
                .iter()
                .any(|root| path.starts_with(&root.path) && takes_in(root, candidate.only))
        };
        if !is_stored(&candidate.real) {
            // The link to it, in an item that is walked, gives way to what it leads to.
            if candidate.named != candidate.real {
                leave_out(&mut roots, &candidate.named);
            }
            let root = root(&candidate.real);
            roots.push(root);
        } else if !is_stored(&candidate.named) {
            let link = root(&candidate.named);
            roots.push(link);
        }
    }
    let inner: Vec<PathBuf> = roots.iter().map(|root| root.path.clone()).collect();
    for path in inner {
        leave_out(&mut roots, &path);
    }
    Ok(roots)
}

fn takes_in(root: &ItemRoot, only: Only) -> bool {
    root.only == Only::All || only == Only::Transcripts
}

/// Makes `path` a hole in the roots around it.
fn leave_out(roots: &mut [ItemRoot], path: &Path) {
    for root in roots {
        if let Ok(rest) = path.strip_prefix(&root.path)
            && !rest.as_os_str().is_empty()
        {
            root.holes.push(rest.to_owned());
        }
    }
}

/// What no snapshot holds, with what to call it. By its own name and without links: either may be met.
fn never_stored(places: &ItemPlaces) -> Vec<(PathBuf, &'static str)> {
    const OURS: &str = "our own state";
    let mut never = vec![
        (places.state_dir.join("ows"), OURS),
        (places.own_dir.clone(), OURS),
        (
            places.state_dir.join(".backup-restore"),
            "restored snapshots",
        ),
        (places.workspace.join(OWN_FOLDER), OURS),
    ];
    never.extend(places.pair.iter().map(|pair| (pair.join(OWN_FOLDER), OURS)));
    never.extend(
        places
            .destination
            .iter()
            .map(|folder| (folder.clone(), SNAPSHOTS)),
    );
    let by_name = |path: &Path| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_owned(),
    };
    let mut all: Vec<(PathBuf, &'static str)> = Vec::new();
    for (path, what) in never {
        all.push((by_name(&path), what));
        all.push((real(&path), what));
    }
    all.sort();
    all.dedup();
    all
}

/// What of `never` lies in `root`.
fn holes(root: &ItemRoot, never: &[(PathBuf, &'static str)]) -> Outcome<Vec<PathBuf>> {
    let mut holes = Vec::new();
    for (path, what) in never {
        // Snapshots may go to a folder around an item: they lie beside it then.
        if root.path == *path || (*what != SNAPSHOTS && root.path.starts_with(path)) {
            let message = format!(
                "the item `{}` lies in the folder of {what}, `{}`, which is never stored",
                root.prefix,
                escape(path.as_os_str().as_bytes()),
            );
            return Err(Failure::usage(message)
                .with_path(root.path.display().to_string())
                .with_hint("nothing was stored; keep the two apart"));
        }
        if let Ok(rest) = path.strip_prefix(&root.path) {
            holes.push(rest.to_owned());
        }
    }
    Ok(holes)
}

/// Whether `name` is one of the names that downloads have before they are whole; never content.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    let hex =
        |part: &[u8], length: usize| part.len() == length && part.iter().all(u8::is_ascii_hexdigit);
    let Some(rest) = name.as_bytes().strip_prefix(b".ows-tmp-") else {
        return false;
    };
    let mut parts = rest.splitn(2, |byte| *byte == b'-');
    matches!((parts.next(), parts.next()), (Some(id), Some(random)) if hex(id, 8) && hex(random, 16))
}

#[cfg(test)]
mod tests;
