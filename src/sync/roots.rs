//! The two ends of a pair: opening the local folder, its marker, what takes part, and the guard that knows them.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use ows_providers::{Entry, EntryKind, ErrorKind, ListOptions, Listed, RelPath};

use super::run::Opened;
use super::scope::Scope;
use super::{PairSettings, SyncMode, SyncOptions};
use crate::error::{Failure, Outcome};
use crate::local::{LocalError, LocalErrorKind, LocalFolder, ReplicaId};
use crate::pattern::{EXCLUDES_FILE, EXCLUDES_MAX, PatternError, Patterns};
use crate::plan::guards::{GuardName, Stop};
use crate::plan::{Direction, mailbox};
use crate::state::PairRecord;

/// What has begun to fill the folder and has not come to its end, by the names of [`Filling`].
const FILLING: &str = "filling";

/// Set once the first run came past its guard: a push that has begun, or anything else that has come to its end.
const CAME_PAST: &str = "came_past_first_run";

/// Whether a first run was begun and did not come to its end.
const FIRST_RUN: &str = "first_run";

/// What fills the folder: until it has come to its end, nothing that is missing in the folder was deleted by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filling {
    /// A pull.
    Pull,
    /// A merge of both sides.
    Merge,
}

impl Filling {
    fn name(self) -> &'static str {
        match self {
            Self::Pull => "true",
            Self::Merge => "merge",
        }
    }
}

/// A local folder that is open, or the guard that keeps it from being created.
pub(super) enum LocalRoot {
    /// It is open.
    Open(Arc<LocalFolder>),
    /// It is missing, and a person must decide.
    Stop(Stop),
}

/// Opens the local folder. A missing one is created only where nothing was ever synced: for a pull, or when the remote
/// is empty too. Where a base exists a missing folder is a volume that is not mounted. A dry run plans against an empty
/// folder in our own directory instead of creating one.
///
/// # Errors
/// When it cannot be opened or created, or the remote cannot be looked at.
pub(super) async fn open_local(
    settings: &PairSettings,
    has_base: bool,
    direction: Direction,
    dry_run: bool,
) -> Outcome<LocalRoot> {
    let path = &settings.local_path;
    let shown = path.display();
    let links = |folder: LocalFolder| {
        if settings.copy_symlinks {
            folder.following_links(&settings.workspace)
        } else {
            Ok(folder)
        }
        .map(|folder| LocalRoot::Open(Arc::new(folder)))
        .map_err(|error| cannot_open(path, error))
    };
    match LocalFolder::open(path) {
        Ok(folder) => return links(folder),
        Err(error) if error.kind == LocalErrorKind::NotFound => {}
        Err(error) => return Err(cannot_open(path, error)),
    }
    if has_base {
        return Ok(LocalRoot::Stop(Stop {
            name: GuardName::LocalRoot,
            message: format!("the local folder `{shown}` is missing, and it was synced before"),
            count: 0,
            examples: Vec::new(),
            hint: "nothing was changed; if a volume is not mounted, mount it; if the folder is really lost, create it \
                   and run `ows sync --direction pull` to fill it from the remote"
                .to_owned(),
        }));
    }
    let fills = matches!(direction, Direction::Pull | Direction::Both)
        || matches!(
            settings.first_sync,
            super::FirstSync::Remote | super::FirstSync::Merge
        );
    if !fills && !remote_is_empty(settings).await? {
        return Ok(LocalRoot::Stop(Stop {
            name: GuardName::FirstSync,
            message: format!("the local folder `{shown}` is missing, and the remote is not empty"),
            count: 0,
            examples: Vec::new(),
            hint: "nothing was changed; to fill the folder from the remote: `ows sync --direction pull`; if it is \
                   another folder, set `--workspace` or `localPath`"
                .to_owned(),
        }));
    }
    if dry_run {
        let stand_in = settings.own_dir.join("empty");
        let folder =
            LocalFolder::create(&stand_in).map_err(|error| cannot_open(&stand_in, error))?;
        return Ok(LocalRoot::Open(Arc::new(folder)));
    }
    links(LocalFolder::create(path).map_err(|error| cannot_open(path, error))?)
}

fn cannot_open(path: &Path, error: LocalError) -> Failure {
    Failure::failed("could not open the local folder")
        .with_path(path.display().to_string())
        .with_source(error)
        .with_hint("nothing was changed; check the workspace and `localPath`")
}

async fn remote_is_empty(settings: &PairSettings) -> Outcome<bool> {
    let options = ListOptions {
        skip: RelPath::new(mailbox::OWN).into_iter().collect(),
        ..ListOptions::default()
    };
    let mut listing = settings.provider.list(options);
    while let Some(item) = listing.next().await {
        match item {
            Ok(Listed::Entry(entry)) if is_empty_outbox(settings, &entry) => {}
            // What cannot be used or listed is there all the same.
            Ok(_) => return Ok(false),
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Whether this is the folder for drops, or the placeholder in it: a first run makes them, and they are nobody's content.
fn is_empty_outbox(settings: &PairSettings, entry: &Entry) -> bool {
    let path = entry.path.as_str();
    let below = path.strip_prefix(mailbox::OUTBOX);
    let name = below.and_then(|below| below.strip_prefix('/'));
    settings.mode == SyncMode::Mailbox
        && match entry.kind {
            EntryKind::Dir => path == mailbox::OUTBOX,
            EntryKind::File => name == Some(mailbox::KEEP) && entry.size == 0,
        }
}

/// The replica that the folder is marked with.
///
/// # Errors
/// When the marker cannot be read or is no marker.
pub(super) fn marker(local: &LocalFolder) -> Outcome<Option<ReplicaId>> {
    local.replica().map_err(|error| {
        Failure::failed("could not read the marker of the local folder")
            .with_path(local.path().join(".ows/replica").display().to_string())
            .with_source(error)
            .with_hint(
                "nothing was changed; let the user that runs `ows` read it, or check the disk",
            )
    })
}

/// Whether what has the marker's name is none.
///
/// # Errors
/// When it cannot be read.
pub(super) fn is_damaged(local: &LocalFolder) -> Outcome<bool> {
    local.has_damaged_marker().map_err(|error| {
        Failure::failed("could not look at the marker of the local folder")
            .with_path(local.path().join(".ows/replica").display().to_string())
            .with_source(error)
            .with_hint(
                "nothing was changed; let the user that runs `ows` read it, or check the disk",
            )
    })
}

/// Whether this replica came past its first run in this folder. An empty base says nothing of that: the last file may have
/// been deleted, or there never was one. A first push that was begun counts, also when it was killed: its guard had found
/// nothing in the remote that it would displace, so what differs there now is its own work or came later. In a folder
/// without the marker an empty base says nothing at all, so there the run is a first one again.
///
/// # Errors
/// When the marker or the database cannot be read.
pub(super) async fn came_past_first_run(opened: &Opened) -> Outcome<bool> {
    if marker(&opened.local)?.as_ref() != Some(&opened.scope.replica) {
        return Ok(false);
    }
    if opened.pair.first_synced_at.is_some() {
        return Ok(true);
    }
    let value = opened.state.get_value(&opened.pair.id, CAME_PAST).await?;
    Ok(value.is_some())
}

async fn come_past_first_run(opened: &Opened) -> Outcome<()> {
    let (state, pair) = (&opened.state, &opened.pair.id);
    Ok(state.set_value(pair, CAME_PAST, "true").await?)
}

/// Whether a first run may take the remote as the truth over what the folder holds, unattended: in a folder without a
/// marker, or one that such a run has begun to fill. A folder that carries a marker was synced before and holds the latest
/// work of an agent; that nothing is remembered of it (the database is lost, and there is no checkpoint) proves nothing
/// against that work, so there a person decides.
///
/// # Errors
/// When the marker or the database cannot be read.
pub(super) async fn may_be_filled_over(opened: &Opened) -> Outcome<bool> {
    let is_unmarked = marker(&opened.local)?.is_none() && !is_damaged(&opened.local)?;
    Ok(is_unmarked || filling(opened).await? == Some(Filling::Pull))
}

/// Whether the folder is not the one that the base was made in.
///
/// # Errors
/// When the marker cannot be read.
pub(super) fn is_another_folder(opened: &Opened) -> Outcome<bool> {
    Ok(opened.has_base && marker(&opened.local)?.as_ref() != Some(&opened.scope.replica))
}

/// Prepares for a change of the base. A pull into a folder that this replica has not synced before fills it, and until
/// it was filled nothing that is missing in it was ever deleted by a person. That is remembered before the folder gets
/// the marker.
///
/// # Errors
/// When the marker cannot be written, or the database not be changed.
pub(super) async fn begin(opened: &Opened, direction: Direction) -> Outcome<()> {
    let ours = marker(&opened.local)?.as_ref() == Some(&opened.scope.replica);
    let fills = match direction {
        // What has no row yet is new on its side: an ordinary run goes on with it.
        Direction::Push | Direction::Both => None,
        Direction::Pull => Some(Filling::Pull),
        Direction::Merge => Some(Filling::Merge),
    };
    if !(ours && opened.has_base)
        && let Some(fills) = fills
    {
        set_filling(opened, Some(fills)).await?;
    }
    if !opened.has_base {
        set_first_run(opened, true).await?;
    }
    mark(opened).await?;
    // After the marker: a kill in between leaves a first run, not a folder that the base does not belong to.
    if direction == Direction::Push && !opened.has_base {
        come_past_first_run(opened).await?;
    }
    Ok(())
}

/// Everything that was to be done is done: from now on what is missing in the folder was deleted in it.
///
/// # Errors
/// When the database cannot be changed.
pub(super) async fn complete(opened: &Opened) -> Outcome<()> {
    if filling(opened).await?.is_some() {
        set_filling(opened, None).await?;
    }
    if first_run_is_open(opened).await? {
        set_first_run(opened, false).await?;
    }
    if !opened.has_base {
        come_past_first_run(opened).await?;
    }
    Ok(())
}

/// Whether a first run was begun and did not come to its end: what it displaces is kept, and so is what a run displaces
/// that goes on with it.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn first_run_is_open(opened: &Opened) -> Outcome<bool> {
    let value = opened.state.get_value(&opened.pair.id, FIRST_RUN).await?;
    Ok(value.as_deref() == Some("open"))
}

async fn set_first_run(opened: &Opened, is_open: bool) -> Outcome<()> {
    let value = if is_open { "open" } else { "done" };
    Ok(opened
        .state
        .set_value(&opened.pair.id, FIRST_RUN, value)
        .await?)
}

/// Whether the folder does not hold what the base speaks of: it is not marked as this replica's, or was filled in part.
///
/// # Errors
/// When the marker or the database cannot be read.
pub(super) async fn needs_filling(opened: &Opened) -> Outcome<bool> {
    let ours = marker(&opened.local)?.as_ref() == Some(&opened.scope.replica);
    Ok(!ours || filling(opened).await?.is_some())
}

/// Whether both sides are to be united: nothing was ever agreed on, or a merge was begun and did not come to its end.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn needs_merge(opened: &Opened) -> Outcome<bool> {
    Ok(!opened.has_base || filling(opened).await? == Some(Filling::Merge))
}

/// Whether a pull was filling the folder and did not come to its end.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn is_filled_in_part(opened: &Opened) -> Outcome<bool> {
    Ok(filling(opened).await? == Some(Filling::Pull))
}

async fn filling(opened: &Opened) -> Outcome<Option<Filling>> {
    let value = opened.state.get_value(&opened.pair.id, FILLING).await?;
    let known = [Filling::Pull, Filling::Merge];
    Ok(known
        .into_iter()
        .find(|filling| value.as_deref() == Some(filling.name())))
}

async fn set_filling(opened: &Opened, filling: Option<Filling>) -> Outcome<()> {
    let value = filling.map_or("false", Filling::name);
    Ok(opened
        .state
        .set_value(&opened.pair.id, FILLING, value)
        .await?)
}

/// Marks the folder as this replica's, before the base knows anything of it.
///
/// # Errors
/// When the marker cannot be written.
pub(super) async fn mark(opened: &Opened) -> Outcome<()> {
    if marker(&opened.local)?.as_ref() == Some(&opened.scope.replica) {
        return Ok(());
    }
    let (local, replica) = (Arc::clone(&opened.local), opened.scope.replica.clone());
    let written = tokio::task::spawn_blocking(move || local.write_replica(&replica)).await;
    let failed = || {
        Failure::failed("could not mark the local folder as a replica")
            .with_path(opened.local.path().join(".ows").display().to_string())
            .with_hint("nothing was changed; the folder must be writable")
    };
    written
        .map_err(|error| failed().with_source(error))?
        .map_err(|error| failed().with_source(error))
}

/// What takes part: the configured patterns and those of the workspace.
///
/// # Errors
/// When a pattern is wrong or the file with them cannot be read.
pub(super) fn scope(
    settings: &PairSettings,
    local: &LocalFolder,
    pair: &PairRecord,
) -> Outcome<Scope> {
    let replica = ReplicaId::parse(&pair.replica_id)
        .ok_or_else(|| Failure::failed("the state database names a replica that is none"))?;
    scope_of(settings, local, replica)
}

/// The same for a replica of which nothing is remembered.
///
/// # Errors
/// When a pattern is wrong or the file with them cannot be read.
pub(super) fn scope_of(
    settings: &PairSettings,
    local: &LocalFolder,
    replica: ReplicaId,
) -> Outcome<Scope> {
    let mut lines = settings.exclude.clone();
    if let Some(text) = excludes_text(local)? {
        let own = Patterns::parse_file(&text);
        if let Err(errors) = Patterns::new(&own) {
            return Err(wrong_lines(local, &text, &errors));
        }
        lines.extend(own);
    }
    let patterns = Patterns::new(&lines).map_err(|errors| {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::usage(format!("wrong patterns: {}", texts.join("; "))).with_hint(format!(
            "correct them in `exclude` or in `{EXCLUDES_FILE}`; nothing was changed"
        ))
    })?;
    Ok(Scope {
        patterns,
        lines,
        protected: settings.protected.clone(),
        mailbox: settings.mode == SyncMode::Mailbox,
        replica,
    })
}

/// The patterns of the workspace as they are written; `None` when it has none.
///
/// # Errors
/// When they cannot be read: what they leave out is not known then, and may be a secret.
fn excludes_text(local: &LocalFolder) -> Outcome<Option<String>> {
    let failed = || {
        Failure::usage("could not read the patterns of the workspace")
            .with_path(local.path().join(EXCLUDES_FILE).display().to_string())
            .with_hint(format!(
                "`{EXCLUDES_FILE}` must be an ordinary text file in UTF-8, no link and no folder: correct it or move it \
                 away; what it was to leave out is not known, so nothing was changed, and what lies in `_outbox` waits \
                 there"
            ))
    };
    let file = RelPath::new(EXCLUDES_FILE).map_err(|error| failed().with_source(error))?;
    read_text(local, &file).map_err(|error| failed().with_source(error))
}

/// Which lines of the workspace's file are no patterns.
fn wrong_lines(local: &LocalFolder, text: &str, errors: &[PatternError]) -> Failure {
    let told = errors.iter().map(|error| {
        let line = text
            .trim_start_matches('\u{feff}')
            .lines()
            .position(|line| line.trim() == error.pattern);
        match line {
            Some(index) => format!("line {}: {error}", index + 1),
            None => error.to_string(),
        }
    });
    let file = local.path().join(EXCLUDES_FILE).display().to_string();
    Failure::usage(format!("wrong patterns in `{file}`"))
        .with_path(file)
        .with_source(told.collect::<Vec<_>>().join("\n"))
        .with_hint("correct the file; nothing was changed, and what lies in `_outbox` waits there")
}

/// The text of a small file; `None` when there is none.
fn read_text(local: &LocalFolder, path: &RelPath) -> std::io::Result<Option<String>> {
    let opened = match local.open_read(path) {
        Ok(opened) => opened,
        Err(error) if error.kind == LocalErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(std::io::Error::other(error)),
    };
    if opened.fingerprint().size > EXCLUDES_MAX {
        let text = format!("it has more than {EXCLUDES_MAX} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
    }
    let mut text = String::new();
    std::io::BufReader::new(opened).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Guard `local-root`: a base authorises deleting or replacing remote content only while the folder carries the marker of
/// this replica. An unmarked folder is a new volume, an empty mount point or a template: its absences mean nothing, and no
/// force changes that. A folder with another replica's marker may be forced.
///
/// A folder that a pull has filled in part is like an unmarked one, but it may be forced: whoever gives the rest up must
/// be able to go on.
///
/// # Errors
/// When the marker or the database cannot be read.
pub(super) async fn local_root(
    opened: &Opened,
    direction: Direction,
    options: &SyncOptions,
) -> Outcome<Option<Stop>> {
    if !opened.has_base || direction != Direction::Push {
        return Ok(None);
    }
    let marker = marker(&opened.local)?;
    let stop = |message: &str, hint: &str| {
        let stop = Stop {
            name: GuardName::LocalRoot,
            message: message.to_owned(),
            count: 0,
            examples: Vec::new(),
            hint: hint.to_owned(),
        };
        stop.directed(options.direction)
    };
    let (go_on, fill) = if opened.scope.mailbox {
        (
            "`ows sync` with `firstSync: \"merge\"`",
            "`ows sync --direction pull` (or set `firstSync: \"remote\"`)",
        )
    } else {
        ("`ows sync`", "`ows sync`, which only adds what is missing")
    };
    match marker {
        Some(marker) if marker == opened.scope.replica => {
            let forced = options.force.contains(&GuardName::LocalRoot);
            let filling = if forced { None } else { filling(opened).await? };
            Ok(filling.map(|filling| match filling {
                Filling::Merge => stop(
                    "the first run was uniting both sides, and that did not come to its end, so what is missing in the \
                     local folder was never there",
                    &format!(
                        "to go on: {go_on}; to give the rest up, and make the remote equal to the workspace: \
                         `ows sync --force local-root`; nothing was changed"
                    ),
                ),
                Filling::Pull => stop(
                "the local folder was being filled from the remote, and that did not come to its end, so what is missing \
                 in it was never there",
                "to fill the rest: `ows sync --direction pull`; to give the rest up, and remove it from the remote: \
                 `ows sync --force local-root`; nothing was changed",
                ),
            }))
        }
        Some(_) if options.force.contains(&GuardName::LocalRoot) => Ok(None),
        Some(_) => Ok(Some(stop(
            "the local folder carries the marker of another replica, so what is missing in it was perhaps never there",
            "to fill it from the remote: `ows sync --direction pull`; if it really is this workspace: \
             `ows sync --force local-root`; nothing was changed",
        ))),
        None if is_damaged(&opened.local)? => Ok(Some(stop(
            "the replica marker `.ows/replica` of the local folder is damaged, so the folder is not known to be the one \
             that was synced before",
            "to make the folder equal to the remote, and mark it again: `ows sync --direction pull`, and with `--dry-run` to \
             see before what it displaces; or bring `.ows/replica` back from a copy; nothing was changed",
        ))),
        None => Ok(Some(stop(
            "the local folder does not carry the replica marker `.ows/replica`: it is not the folder that was synced \
             before, or its volume is not mounted",
            &format!(
                "if a volume is not mounted, mount it; if the folder is new, fill it from the remote: {fill}; nothing \
                 was changed"
            ),
        ))),
    }
}
