//! The `sync` keys.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ows_providers::RelPath;
use secrecy::SecretString;
use serde_json::Value;

use super::blocks::{Blocks, Located, Places};
use super::check::{KeyPath, MOST, Section};
use super::provider::ProviderConfig;
use super::rclone::is_remote_name;
use super::resolve::{PROVIDERS, ProviderKind, Request, Supply};
use super::size::{Bandwidth, bandwidth, raised, seconds_or_never};
use crate::error::Failure;
use crate::pattern::Patterns;

/// Every sync key but the provider blocks, which may stand elsewhere too. In the flat shape they stand at the root, and
/// there nothing else tells them from a typo.
pub(super) const KEYS: [&str; 28] = [
    "provider",
    "mode",
    "remotePath",
    "localPath",
    "interval",
    "timeout",
    "onSessionStart",
    "onSessionEnd",
    "exclude",
    "copySymlinks",
    "conflictResolve",
    "ingest",
    "ingestPath",
    "notifyOnInbox",
    "notify",
    "remoteName",
    "configPath",
    "maxDelete",
    "maxChange",
    "firstSync",
    "checkpoint",
    "watch",
    "settle",
    "auditDays",
    "bandwidth",
    "transfers",
    "trash",
    "heartbeatUrl",
];

/// How the two sides relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The workspace is the truth; people send files through `_outbox`.
    Mailbox,
    /// The remote is the truth.
    Mirror,
    /// Both sides may change.
    Bisync,
}

impl Mode {
    /// The mode's name in the configuration and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mailbox => "mailbox",
            Self::Mirror => "mirror",
            Self::Bisync => "bisync",
        }
    }
}

/// Who keeps the name when both sides changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictResolve {
    /// The younger content.
    Newer,
    /// The workspace's.
    Local,
    /// The remote's.
    Remote,
}

/// What the first run of a replica takes as the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstSync {
    /// Nothing: it stops when anything would give way.
    Ask,
    /// The workspace.
    Local,
    /// The remote.
    Remote,
    /// Both, united.
    Merge,
}

/// Where displaced content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trash {
    /// How many days it is kept.
    pub keep_days: u32,
    /// Whether content displaced in the remote is kept there.
    pub remote: bool,
    /// Whether content displaced in the workspace is kept there.
    pub local: bool,
}

/// Who is told of new files, instead of the gateway.
#[derive(Debug, Clone)]
pub enum Notify {
    /// The event is posted to a URL.
    Url {
        /// Where; it may hold a secret.
        url: SecretString,
        /// Sent as a bearer token.
        token: Option<SecretString>,
    },
    /// A program gets the event on standard input, without a shell.
    Command(Vec<String>),
}

/// The checked `sync` keys.
#[derive(Debug, Clone)]
pub struct SyncConfig {
    /// The key path of the section, for messages.
    pub key: String,
    /// Where the remote folder is.
    pub provider: ProviderConfig,
    /// The mode; without one nothing runs, see [`SyncConfig::required_mode`].
    pub mode: Option<Mode>,
    /// The folder within the provider (for S3 within the bucket); `None` is its root.
    pub remote_path: Option<RelPath>,
    /// The folder within the workspace; `None` is the workspace itself.
    pub local_path: Option<RelPath>,
    /// The local folder of the pair: the workspace joined with `local_path`.
    pub local_folder: PathBuf,
    /// Paths below the local folder that are left out whatever the patterns say: the state, openclaw.json, credentials.
    pub protected: Vec<RelPath>,
    /// Between background runs; `None` for none.
    pub interval: Option<Duration>,
    /// For one run.
    pub timeout: Duration,
    /// Whether a session's begin starts a run.
    pub on_session_start: bool,
    /// Whether a session's end starts a run.
    pub on_session_end: bool,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// Whether symbolic links that stay inside the workspace are followed.
    pub copy_symlinks: bool,
    /// Who keeps the name in a conflict.
    pub conflict_resolve: ConflictResolve,
    /// The folder beside the local one that is sent up in mirror mode, when that is asked for.
    pub ingest: Option<RelPath>,
    /// Whether new files in `_inbox` are told of.
    pub notify_on_inbox: bool,
    /// Who is told, when it is not the gateway.
    pub notify: Option<Notify>,
    /// The name that credentials are stored under.
    pub remote_name: String,
    /// The rclone.conf that supplies credentials.
    pub config_path: PathBuf,
    /// Per cent; a plan that deletes more stops. 0 stops at the first delete, 100 never.
    pub max_delete: u8,
    /// Per cent; a plan that changes more stops.
    pub max_change: u8,
    /// What the first run takes as the truth.
    pub first_sync: FirstSync,
    /// Whether a copy of the base is kept in the remote.
    pub checkpoint: bool,
    /// Whether the daemon reacts to events between intervals.
    pub watch: bool,
    /// How long an `_outbox` file of a local provider must rest before it is drained.
    pub settle: Duration,
    /// Within how many days everything is looked at again; `None` for never.
    pub audit_days: Option<u32>,
    /// Limits on traffic.
    pub bandwidth: Bandwidth,
    /// Files in flight at once; `None` leaves it to the provider.
    pub transfers: Option<NonZeroUsize>,
    /// Where displaced content goes.
    pub trash: Trash,
    /// Pinged after a successful run; such URLs are secrets.
    pub heartbeat_url: Option<SecretString>,
}

impl SyncConfig {
    /// The key path of one of the section's keys, for messages.
    pub fn key_of(&self, name: &str) -> String {
        KeyPath::verbatim(&self.key).key(name).to_string()
    }

    /// The mode that a run needs.
    ///
    /// # Errors
    /// Without one: a failure that explains them, since choosing for people could delete their files.
    pub fn required_mode(&self) -> Result<Mode, Failure> {
        self.mode.ok_or_else(|| {
            let key = self.key_of("mode");
            let lines: Vec<String> = meanings()
                .map(|(name, meaning)| format!("\n  `{name}`: {meaning}"))
                .collect();
            Failure::usage(format!("`{key}` is not set, so nothing was synced"))
                .with_hint(format!("set it to one of{}", lines.concat()))
        })
    }
}

/// What the modes mean.
fn meanings() -> impl Iterator<Item = (&'static str, &'static str)> {
    MODES.into_iter().map(|(name, mode)| {
        let meaning = match mode {
            Mode::Mailbox => {
                "the workspace is the truth and the remote is made equal to it; people send files to the agent through \
                 the remote folder `_outbox`"
            }
            Mode::Mirror => "the remote is the truth and the local folder is made equal to it",
            Mode::Bisync => "both sides may change; changes go both ways, conflicts keep both versions",
        };
        (name, meaning)
    })
}

/// What a run needs that other commands do without, reported together with all other mistakes.
pub(super) fn check_complete(section: &Section<'_>) {
    const ALLOWED: &str = "`s3`, or `custom` with `type: \"local\"`";
    if !section.has("provider") {
        section.problem("provider", format!("is missing; allowed: {ALLOWED}"));
    } else if let Some(Value::String(text)) = section.raw("provider")
        && text == "off"
    {
        section.problem(
            "provider",
            format!("is \"off\", so there is nothing to sync with; allowed: {ALLOWED}"),
        );
    }
    if !section.has("mode") {
        let modes: Vec<String> = meanings()
            .map(|(name, meaning)| format!("`{name}` ({meaning})"))
            .collect();
        section.problem(
            "mode",
            format!(
                "is missing, and is chosen for nobody; allowed: {}",
                modes.join(" or ")
            ),
        );
    }
}

pub(super) const MODES: [(&str, Mode); 3] = [
    ("mailbox", Mode::Mailbox),
    ("mirror", Mode::Mirror),
    ("bisync", Mode::Bisync),
];

const RESOLUTIONS: [(&str, ConflictResolve); 3] = [
    ("newer", ConflictResolve::Newer),
    ("local", ConflictResolve::Local),
    ("remote", ConflictResolve::Remote),
];

/// What the sync keys are read against.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) places: &'a Places,
    pub(super) workspace: &'a std::path::Path,
    /// `<state>/.config/rclone/rclone.conf`
    pub(super) rclone_conf: PathBuf,
    /// The blocks that stand beside `sync` and `backup`.
    pub(super) shared: &'a Blocks,
}

/// What the backup takes over from the sync keys.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) kind: ProviderKind,
    pub(super) blocks: Blocks,
    pub(super) supply: Supply,
    pub(super) exclude: Option<Vec<String>>,
}

/// Reads the sync keys. The second value is there also when the first is not, so that the backup can be checked too.
pub(super) fn read(
    section: &Section<'_>,
    around: &Surroundings<'_>,
) -> (Option<SyncConfig>, Inherited) {
    let kind = section
        .choice("provider", &PROVIDERS)
        .unwrap_or(ProviderKind::Off);
    let blocks = Blocks::read(section, around.places).over(around.shared);
    let supply = supply(section, around.places, "cloud", &around.rclone_conf);
    let exclude = patterns(section);
    let remote_path = Located {
        key: section.at("remotePath"),
        value: section
            .text("remotePath", "a folder in the remote")
            .unwrap_or("openclaw-share")
            .to_owned(),
    };
    let mode = section.choice("mode", &MODES);
    let provider = Request {
        findings: section.findings,
        section: &section.key,
        kind,
        blocks: &blocks,
        supplies: std::slice::from_ref(&supply),
        bucket: None,
        remote_path,
        below: None,
        home: around.places.home.as_deref(),
    }
    .resolve();
    let first_sync = first_sync(section, mode);
    let local_path = local_path(section);
    let rest = |provider: ProviderConfig, remote_path, local_path: Option<RelPath>| SyncConfig {
        key: section.key.as_str().to_owned(),
        provider,
        mode,
        remote_path,
        local_folder: match &local_path {
            Some(path) => around.workspace.join(path.as_str()),
            None => around.workspace.to_owned(),
        },
        local_path,
        protected: Vec::new(),
        interval: interval(section),
        timeout: timeout(section),
        on_session_start: section.boolean("onSessionStart").unwrap_or(false),
        on_session_end: section.boolean("onSessionEnd").unwrap_or(false),
        exclude: exclude
            .clone()
            .unwrap_or_else(|| vec![".DS_Store".to_owned()]),
        copy_symlinks: section.boolean("copySymlinks").unwrap_or(false),
        conflict_resolve: conflict_resolve(section, mode, first_sync),
        ingest: ingest(section, mode),
        notify_on_inbox: section.boolean("notifyOnInbox").unwrap_or(false),
        notify: notify(section),
        remote_name: supply.remote_name.clone(),
        config_path: supply.config_path.clone(),
        max_delete: per_cent(section, "maxDelete").unwrap_or(50),
        max_change: per_cent(section, "maxChange").unwrap_or(match mode {
            Some(Mode::Bisync) => 80,
            _ => 100,
        }),
        first_sync,
        checkpoint: section.boolean("checkpoint").unwrap_or(true),
        watch: section.boolean("watch").unwrap_or(false),
        settle: Duration::from_secs(
            section
                .integer("settle", 0..=86_400, "seconds")
                .unwrap_or(10),
        ),
        audit_days: audit_days(section),
        bandwidth: bandwidth(section, "bandwidth"),
        transfers: transfers(section),
        trash: trash(section),
        heartbeat_url: heartbeat_url(section),
    };
    let good = provider.is_some() && local_path.is_some();
    let (provider, remote_path) = provider.unwrap_or((ProviderConfig::Off, None));
    let config = rest(provider, remote_path, local_path.flatten());
    let inherited = Inherited {
        kind,
        blocks,
        supply,
        exclude,
    };
    (good.then_some(config), inherited)
}

/// `remoteName` and `configPath`.
pub(super) fn supply(
    section: &Section<'_>,
    places: &Places,
    default_name: &str,
    default_path: &std::path::Path,
) -> Supply {
    let allowed = "a name of letters, digits, `_`, `-`, `.`, `+`, `@` and blanks, such as `cloud`";
    let name = section.filled("remoteName", allowed).filter(|name| {
        let good = is_remote_name(name);
        if !good {
            section.problem(
                "remoteName",
                format!("is no name for credentials; allowed: {allowed}"),
            );
        }
        good
    });
    Supply {
        remote_name: name.unwrap_or(default_name).to_owned(),
        config_path: places
            .path(section, "configPath")
            .unwrap_or_else(|| default_path.to_owned()),
        written_at: section.has("configPath").then(|| section.at("configPath")),
    }
}

/// `exclude`. Each pattern is compiled by itself, so that a mistake is blamed on its place in the list.
pub(super) fn patterns(section: &Section<'_>) -> Option<Vec<String>> {
    const ALLOWED: &str = "patterns such as `*.log` or `/build/**`";
    let texts = section.texts("exclude", ALLOWED)?;
    for (key, text) in &texts {
        for error in Patterns::new(&[text]).err().into_iter().flatten() {
            let shown = section.findings.shown(key, &Value::from(*text));
            let why = error.reason;
            let problem = format!("found {shown}, which cannot be used: {why}; allowed: {ALLOWED}");
            section.findings.problem(key, problem);
        }
    }
    Some(texts.into_iter().map(|(_, text)| text.to_owned()).collect())
}

/// `localPath`; `Some(None)` is the workspace itself, `None` an error.
fn local_path(section: &Section<'_>) -> Option<Option<RelPath>> {
    let allowed =
        "a folder within the workspace, such as `shared`, or `\"\"` for the workspace itself";
    if !section.has("localPath") {
        return Some(None);
    }
    let text = section.text("localPath", allowed)?;
    let problem = match relative(text) {
        Ok(None) => return Some(None),
        Ok(Some(path)) if path.segments().any(|segment| segment == ".ows") => {
            "`.ows` belongs to `ows` itself"
        }
        Ok(Some(path)) => return Some(Some(path)),
        Err(why) => why,
    };
    let shown = section
        .findings
        .shown(&section.at("localPath"), &Value::from(text));
    section.problem(
        "localPath",
        format!("found {shown}: {problem}; allowed: {allowed}"),
    );
    None
}

/// A relative path without `.` and `..`, as far as it stays inside.
fn relative(text: &str) -> Result<Option<RelPath>, &'static str> {
    if text.starts_with(['/', '~']) || text.starts_with('\\') || text.get(1..3) == Some(":\\") {
        return Err("it is no relative path");
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop().ok_or("it leaves the workspace")?;
            }
            other => segments.push(other),
        }
    }
    if segments.is_empty() {
        return Ok(None);
    }
    RelPath::new(&segments.join("/"))
        .map(Some)
        .map_err(|_| "it is no path")
}

fn interval(section: &Section<'_>) -> Option<Duration> {
    let seconds = section.integer("interval", 0..=MOST, "seconds")?;
    seconds_or_never(match seconds {
        0 => 0,
        seconds => raised(section, &section.at("interval"), seconds, 60),
    })
}

fn timeout(section: &Section<'_>) -> Duration {
    let seconds = section
        .integer("timeout", 0..=MOST, "seconds")
        .unwrap_or(1800);
    Duration::from_secs(raised(section, &section.at("timeout"), seconds, 60))
}

fn conflict_resolve(
    section: &Section<'_>,
    mode: Option<Mode>,
    first_sync: FirstSync,
) -> ConflictResolve {
    let resolve = section
        .choice("conflictResolve", &RESOLUTIONS)
        .unwrap_or(ConflictResolve::Newer);
    // A first run that unites both sides has conflicts in mailbox mode, too.
    let has_conflicts = mode == Some(Mode::Bisync) || first_sync == FirstSync::Merge;
    if resolve != ConflictResolve::Newer
        && let Some(mode) = mode.filter(|_| !has_conflicts)
    {
        section.findings.warning(format!(
            "`{}` does nothing in {} mode: one side is the truth there, so there are no conflicts",
            section.at("conflictResolve"),
            mode.name()
        ));
    }
    resolve
}

fn ingest(section: &Section<'_>, mode: Option<Mode>) -> Option<RelPath> {
    let asked = section.boolean("ingest").unwrap_or(false);
    if asked && let Some(mode) = mode.filter(|mode| *mode != Mode::Mirror) {
        section.findings.warning(format!(
            "`{}` does nothing in {} mode: only a mirror needs a way for files to be sent up",
            section.at("ingest"),
            mode.name()
        ));
    }
    let allowed = "one plain folder name, such as `inbox`";
    let name = section.filled("ingestPath", allowed).unwrap_or("inbox");
    let problem = if name.chars().any(char::is_control) {
        "holds control characters"
    } else if name.contains(NOT_IN_A_FOLDER_NAME) {
        "is no folder name that every provider takes"
    } else if name.len() > LONGEST_NAME {
        "is too long"
    } else if name == ".ows" {
        "is the folder of `ows` itself"
    } else if let Ok(path) = RelPath::new(name) {
        return asked.then_some(path);
    } else {
        "is no folder name"
    };
    section.problem(
        "ingestPath",
        format!(
            "{problem}; allowed: {allowed}, of at most {LONGEST_NAME} bytes and without {}",
            NOT_IN_A_FOLDER_NAME
                .map(|character| format!("`{character}`"))
                .join(" ")
        ),
    );
    None
}

/// The longest name of a folder that common file systems take, in bytes.
const LONGEST_NAME: usize = 255;

/// What a folder that is made on both sides cannot have in its name: some provider refuses it, or it means a pattern.
const NOT_IN_A_FOLDER_NAME: [char; 9] = ['/', '\\', '*', '?', '"', '<', '>', '|', ':'];

fn notify(section: &Section<'_>) -> Option<Notify> {
    let inner = section.section("notify")?;
    let allowed = "`{ \"url\", \"token\" }` or `{ \"command\": [...] }`";
    let url = url(&inner, "url");
    let token = inner.secret("token");
    let command = inner.texts("command", "a program and its arguments");
    let notify = match (inner.has("url"), inner.has("command")) {
        (true, false) => url.map(|url| Notify::Url { url, token }),
        (false, true) => {
            if inner.has("token") {
                inner.problem("token", "goes with `url`, not with `command`; remove it");
            }
            let words: Vec<String> = command
                .into_iter()
                .flatten()
                .map(|(_, word)| word.to_owned())
                .collect();
            if words.is_empty() {
                inner.problem(
                    "command",
                    "names no program; allowed: `[\"program\", \"argument\", ...]`",
                );
            }
            (!words.is_empty()).then_some(Notify::Command(words))
        }
        (true, true) => {
            section.problem(
                "notify",
                format!("has both `url` and `command`; allowed: {allowed}"),
            );
            None
        }
        (false, false) => {
            section.problem(
                "notify",
                format!("has neither `url` nor `command`; allowed: {allowed}"),
            );
            None
        }
    };
    inner.finish();
    notify
}

/// A URL that may hold a secret.
fn url(section: &Section<'_>, name: &'static str) -> Option<SecretString> {
    let allowed = "an `http` or `https` URL";
    let text = section.filled(name, allowed)?;
    let good = url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    if !good {
        section.problem(name, format!("is no URL; allowed: {allowed}"));
        return None;
    }
    Some(text.into())
}

/// `heartbeatUrl`, of sync and of backup.
pub(super) fn heartbeat_url(section: &Section<'_>) -> Option<SecretString> {
    url(section, "heartbeatUrl")
}

/// A share from 0 to 100.
pub(super) fn per_cent(section: &Section<'_>, name: &'static str) -> Option<u8> {
    let value = section.integer(name, 0..=100, "per cent")?;
    u8::try_from(value).ok()
}

fn first_sync(section: &Section<'_>, mode: Option<Mode>) -> FirstSync {
    let first = section.choice(
        "firstSync",
        &[
            ("ask", FirstSync::Ask),
            ("local", FirstSync::Local),
            ("remote", FirstSync::Remote),
            ("merge", FirstSync::Merge),
        ],
    );
    let sends_up = match first {
        Some(FirstSync::Local) => Some("local"),
        Some(FirstSync::Merge) => Some("merge"),
        _ => None,
    };
    if let Some(name) = sends_up
        && mode == Some(Mode::Mirror)
    {
        section.problem(
            "firstSync",
            format!(
                "is `{name}`, but in mirror mode the remote is the truth and local files are never sent up; allowed \
                 there: `ask` or `remote`"
            ),
        );
    }
    first.unwrap_or(FirstSync::Ask)
}

fn audit_days(section: &Section<'_>) -> Option<u32> {
    let days = section.integer("auditDays", 0..=3650, "days").unwrap_or(7);
    u32::try_from(days).ok().filter(|days| *days > 0)
}

fn transfers(section: &Section<'_>) -> Option<NonZeroUsize> {
    let count = section.integer("transfers", 1..=256, "files")?;
    usize::try_from(count).ok().and_then(NonZeroUsize::new)
}

fn trash(section: &Section<'_>) -> Trash {
    let mut trash = Trash {
        keep_days: 30,
        remote: true,
        local: true,
    };
    let Some(inner) = section.section("trash") else {
        return trash;
    };
    if let Some(days) = inner.integer("keepDays", 0..=36_500, "days") {
        trash.keep_days = u32::try_from(days).unwrap_or(u32::MAX);
    }
    trash.remote = inner.boolean("remote").unwrap_or(trash.remote);
    trash.local = inner.boolean("local").unwrap_or(trash.local);
    inner.finish();
    trash
}
