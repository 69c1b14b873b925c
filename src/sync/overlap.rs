//! Guard `overlap`, as far as it can only be told on the spot: folders that are one place under two names, and replicas
//! inside each other.
//!
//! The configuration has been checked already ([`crate::config`]), with every link followed. What it cannot see is found
//! here, right before anything is observed: bind mounts, folders of other pairs, markers of replicas in folders above.
//!
//! | what overlaps | `--force overlap` |
//! |---|---|
//! | the remote folder and the local folder | never: each run would copy its own result |
//! | the remote folder and the folder of `ows` | never: a push would remove the database |
//! | the remote folder and that of the snapshots | never: a push would remove snapshots |
//! | the ingest folder and any of them | never: it would be sent in circles |
//! | the local folder and that of another pair or replica | yes: both then carry the same files, which may be meant |

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::PairSettings;
use super::ingest;
use super::run::Opened;
use crate::config::overlap::{overlap, real};
use crate::error::Outcome;
use crate::local::{LocalFolder, OWN_FOLDER};
use crate::plan::guards::{GuardName, Stop};

/// Looks at all folders of the pair. `forced`: `--force overlap` was given.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn guard(
    settings: &PairSettings,
    opened: &Opened,
    forced: bool,
) -> Outcome<Option<Stop>> {
    if let Some(stop) = on_this_host(settings) {
        return Ok(Some(stop));
    }
    if forced {
        return Ok(None);
    }
    if let Some(stop) = inside_a_replica(&real(&settings.local_path)) {
        return Ok(Some(stop));
    }
    nested_pairs(settings, opened).await
}

/// What nothing can force.
fn on_this_host(settings: &PairSettings) -> Option<Stop> {
    let mounts = Mounts::of_this_process();
    let local = ("the local folder", settings.local_path.clone());
    let own = ("the folder of `ows`", settings.own_dir.clone());
    let remote = settings.remote_folder.clone();
    let remote = remote.map(|folder| ("the remote folder", folder));
    let backup = settings.backup_folder.clone();
    let backup = backup.map(|folder| ("the folder of the snapshots", folder));
    let ingest = ingest::folder(settings).map(|folder| ("the ingest folder", folder));
    let mut together = Vec::new();
    if let Some(remote) = &remote {
        together.push((remote, &local));
        together.push((remote, &own));
        together.extend(backup.as_ref().map(|backup| (remote, backup)));
    }
    if let Some(ingest) = &ingest {
        together.push((ingest, &local));
        together.push((ingest, &own));
        together.extend(remote.as_ref().map(|remote| (ingest, remote)));
    }
    together.into_iter().find_map(|(one, other)| {
        let how = mounts.overlap(&one.1, &other.1)?;
        let (one, other) = (shown(one), shown(other));
        Some(stop(
            format!("{one} {how} {other}"),
            "correct the configuration, or the mount that makes them one place, so that they do not overlap; this guard \
             cannot be forced; nothing was changed",
        ))
    })
}

fn shown((what, path): &(&str, PathBuf)) -> String {
    let canonical = real(path);
    if canonical == *path {
        return format!("{what} `{}`", path.display());
    }
    format!(
        "{what} `{}` (really `{}`)",
        path.display(),
        canonical.display()
    )
}

/// A folder above that is a replica already.
fn inside_a_replica(folder: &Path) -> Option<Stop> {
    let above = folder.ancestors().skip(1).find(|above| {
        // A marker that cannot be read belongs to a folder that this run could not touch either.
        above.join(OWN_FOLDER).join("replica").is_file()
            && LocalFolder::open(above).is_ok_and(|above| matches!(above.replica(), Ok(Some(_))))
    })?;
    Some(stop(
        format!(
            "the local folder `{}` lies in `{}`, which is synced itself (it holds `.ows/replica`)",
            folder.display(),
            above.display()
        ),
        &format!(
            "if that folder is no longer synced, remove `{}`; if both are meant: `ows sync --force overlap`, and exclude \
             the inner folder from the outer pair; nothing was changed",
            above.join(OWN_FOLDER).join("replica").display()
        ),
    ))
}

/// Another pair of this database whose folder lies in ours or around it. A folder that no longer carries that pair's
/// marker is history.
async fn nested_pairs(settings: &PairSettings, opened: &Opened) -> Outcome<Option<Stop>> {
    let ours = real(&settings.local_path);
    for id in opened.state.pair_ids().await? {
        if id == opened.pair.id {
            continue;
        }
        let Some(pair) = opened.state.pair(&id).await? else {
            continue;
        };
        let theirs = real(&pair.local_path);
        // One folder with two remotes is how a pair moves to another remote: one run at a time, one marker.
        let Some(how) = overlap(&ours, &theirs).filter(|_| ours != theirs) else {
            continue;
        };
        let looking = theirs.clone();
        let marker = tokio::task::spawn_blocking(move || {
            LocalFolder::open(&looking).and_then(|folder| folder.replica())
        });
        let lives =
            matches!(marker.await, Ok(Ok(Some(marker))) if marker.as_str() == pair.replica_id);
        if lives {
            return Ok(Some(stop(
                format!(
                    "the local folder `{}` {how} `{}`, which is synced with {}",
                    ours.display(),
                    theirs.display(),
                    pair.remote_display
                ),
                &format!(
                    "if that pair is no longer synced, remove `{}`; if both are meant: `ows sync --force overlap`, and \
                     exclude the inner folder from the outer pair; nothing was changed",
                    theirs.join(OWN_FOLDER).join("replica").display()
                ),
            )));
        }
    }
    Ok(None)
}

fn stop(message: String, hint: &str) -> Stop {
    Stop {
        name: GuardName::Overlap,
        message,
        count: 0,
        examples: Vec::new(),
        hint: hint.to_owned(),
    }
}

/// Where file systems are mounted, so that a folder is known again under another name.
#[derive(Debug, Default)]
struct Mounts(Vec<Mount>);

#[derive(Debug)]
struct Mount {
    /// Major and minor number of the device.
    device: String,
    /// Which folder of the file system is seen there.
    root: PathBuf,
    /// Where it is seen.
    point: PathBuf,
}

impl Mounts {
    /// Those of this process; none where the system does not tell, so that only the paths themselves are compared.
    fn of_this_process() -> Self {
        match std::fs::read("/proc/self/mountinfo") {
            Ok(text) => Self::parse(&text),
            Err(error) => {
                tracing::debug!(%error, "the mount points cannot be read");
                Self::default()
            }
        }
    }

    /// The format is that of proc_pid_mountinfo(5): id, parent, device, root, mount point, and what is not needed here.
    fn parse(text: &[u8]) -> Self {
        let mount = |line: &[u8]| {
            let mut fields = line.split(|byte| *byte == b' ').skip(2);
            Some(Mount {
                device: String::from_utf8_lossy(fields.next()?).into_owned(),
                root: unescaped(fields.next()?),
                point: unescaped(fields.next()?),
            })
        };
        Self(
            text.split(|byte| *byte == b'\n')
                .filter_map(mount)
                .collect(),
        )
    }

    /// How two folders lie to each other, whatever names they have.
    fn overlap(&self, one: &Path, other: &Path) -> Option<&'static str> {
        let (one, other) = (real(one), real(other));
        if let Some(how) = overlap(&one, &other) {
            return Some(how);
        }
        let (one, other) = (self.place(&one)?, self.place(&other)?);
        if one.0 != other.0 {
            return None;
        }
        overlap(&one.1, &other.1)
    }

    /// The device and the path within its file system.
    fn place(&self, path: &Path) -> Option<(&str, PathBuf)> {
        // Of several mounts on one point the last one hides the others.
        let mount = self
            .0
            .iter()
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())?;
        let below = path.strip_prefix(&mount.point).ok()?;
        Some((mount.device.as_str(), mount.root.join(below)))
    }
}

/// Blanks and the like are written as a backslash with three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut at = 0;
    while let Some(byte) = field.get(at) {
        let octal = field
            .get(at + 1..at + 4)
            .filter(|_| *byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(octal) => {
                bytes.push(octal);
                at += 4;
            }
            None => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"\
        21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 21 8:2 / /data rw - ext4 /dev/sda2 rw\n\
        31 21 8:2 /srv/space\\040one/sub /bound rw - ext4 /dev/sda2 rw\n\
        32 21 0:40 / /bound/over rw - tmpfs tmpfs rw\n";

    #[test]
    fn a_bind_mount_of_a_folder_is_known_to_lie_in_it() {
        let mounts = Mounts::parse(MOUNTS);
        let how = |one: &str, other: &str| mounts.overlap(Path::new(one), Path::new(other));
        assert_eq!(how("/bound/x", "/data/srv/space one"), Some("lies in"));
        assert_eq!(how("/data/srv", "/bound"), Some("lies around"));
        assert_eq!(how("/data/srv/space one/sub", "/bound"), Some("is"));
        assert_eq!(how("/data/other", "/bound"), None);
        assert_eq!(
            how("/bound/over/x", "/data"),
            None,
            "another file system lies over it"
        );
        assert_eq!(
            how("/data", "/data/x"),
            Some("lies around"),
            "by name alone"
        );
    }

    #[test]
    fn without_mount_points_the_names_are_compared() {
        let mounts = Mounts::default();
        let how = |one: &str, other: &str| mounts.overlap(Path::new(one), Path::new(other));
        assert_eq!(how("/no/such/a", "/no/such"), Some("lies in"));
        assert_eq!(how("/no/such/a", "/no/such/b"), None);
    }
}
