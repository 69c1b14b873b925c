//! The configuration: find the file, read it, fill in variables, check everything, and hand out one checked [`Config`].
//!
//! ```no_run
//! use ows::config::{Environment, Invocation, load};
//!
//! let invocation = Invocation::new(Environment::from_process(), std::env::current_dir()?);
//! let config = load(&invocation)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The file is JSON5 and is the first that exists of `--config`, `$OWS_CONFIG`, `<state>/ows/config.json5`,
//! `$OPENCLAW_CONFIG_PATH` and `<state>/openclaw.json`. It has one of three shapes, see [`Shape`]. All mistakes of a file
//! are reported together, each with its key path and what is allowed: the [`Failure`]'s source is then a [`Problems`].
//!
//! Secrets are [`secrecy::SecretString`]s from the moment they are read, and no error shows a value that may be one.
//!
//! Nothing here opens a provider or touches the workspace: whether a bucket or a folder exists is found out when it is
//! used. What the sync and backup keys *mean* is decided where they are used, too; here they only get types.
//!
//! `source.rs` finds and parses the file, `expand.rs` fills in variables, `check.rs` is the reader that collects
//! mistakes, `sync.rs` and `backup.rs` read their keys, `blocks.rs` and `custom.rs` the provider blocks, `resolve.rs`
//! makes the providers of `provider.rs` of them, `rclone.rs` reads an rclone.conf, `overlap.rs` compares folders, `unserved.rs` lists what
//! this version does not do, `workspace.rs` finds the workspace. [`import`] makes a
//! configuration from rclone's or the plugin's.

mod backup;
mod blocks;
mod check;
mod custom;
mod expand;
mod gateway;
pub mod import;
pub(crate) mod overlap;
mod provider;
mod rclone;
mod resolve;
mod size;
mod source;
mod sync;
#[cfg(test)]
mod tests;
mod unserved;
mod workspace;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use backup::{BackupConfig, BackupLocation, Encryption, Item, Retain};
pub(crate) use check::nearest;
pub use check::{Problem, Problems};
pub use expand::Environment;
pub use gateway::Gateway;
pub use provider::{
    DriveType, DropboxConfig, GdriveConfig, GdriveScope, HttpOptions, OauthToken, OnedriveConfig,
    ProviderConfig, S3Config, S3Credentials, S3Encryption, ServiceAccount,
};
pub use size::{Bandwidth, parse_span};
pub use source::{Invocation, PLUGIN_ID, Shape};
pub use sync::{ConflictResolve, FirstSync, Mode, Notify, SyncConfig, Trash};

use crate::error::{Failure, Outcome};
use blocks::{Blocks, Places};
use check::{Findings, Section};
use expand::{Variables, parse_dotenv};
use overlap::Ours;
use resolve::{ProviderKind, Supply};
use source::{Found, Part};
use sync::{Inherited, Surroundings};
use unserved::Unserved;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from.
    pub source: PathBuf,
    /// The file's shape.
    pub shape: Shape,
    /// The plugin entry's `enabled` (true without one): false stops `daemon` and `session`, not the other commands.
    pub plugin_enabled: bool,
    /// OpenClaw's state directory.
    pub state_dir: PathBuf,
    /// Our folder in it, `<state>/ows`.
    pub own_dir: PathBuf,
    /// The agent's workspace.
    pub workspace: PathBuf,
    /// The agent that `--agent` selected.
    pub agent: Option<String>,
    /// The sync keys; `None` when the file has a `backup` block alone.
    pub sync: Option<SyncConfig>,
    /// The backup keys; `None` without a `backup` block.
    pub backup: Option<BackupConfig>,
    /// The OpenClaw gateway, from openclaw.json.
    pub gateway: Gateway,
    /// Said by every command: the plugin works on the same folder.
    pub engine_warning: Option<String>,
    /// What the check of the file wants people to know.
    pub warnings: Vec<String>,
    /// The environment that the configuration was read in. Providers look up `AWS_*`, `HTTPS_PROXY` and such here.
    pub environment: Environment,
}

impl Config {
    /// Everything that people should hear: first that two engines work on one folder, then the rest.
    pub fn all_warnings(&self) -> impl Iterator<Item = &String> {
        self.engine_warning.iter().chain(&self.warnings)
    }

    /// Why no sync runs by itself, whatever its interval says; `None` when one may.
    pub fn idle_reason(&self) -> Option<String> {
        if let Some(reason) = self.switched_off() {
            return Some(reason);
        }
        match &self.sync {
            None => Some(format!("`{}` has no `sync` section", self.source.display())),
            Some(sync) if matches!(sync.provider, ProviderConfig::Off) => {
                Some(format!("`{}` is \"off\"", sync.key_of("provider")))
            }
            Some(_) => None,
        }
    }
}

impl Config {
    /// Why neither backups nor verifications run by themselves; `None` when one of them does.
    pub fn backup_idle_reason(&self) -> Option<String> {
        if let Some(reason) = self.switched_off() {
            return Some(reason);
        }
        let source = self.source.display();
        let Some(backup) = &self.backup else {
            return Some(format!("`{source}` has no `backup` section"));
        };
        if !backup.enabled {
            return Some(format!("`{}.enabled` is not true", backup.key));
        }
        let has_interval = backup.interval.or(backup.verify_interval).is_some();
        (!has_interval).then(|| format!("`{}.interval` is 0", backup.key))
    }

    fn switched_off(&self) -> Option<String> {
        (!self.plugin_enabled).then(|| {
            format!(
                "`plugins.entries[\"{PLUGIN_ID}\"].enabled` is false in `{}`",
                self.source.display()
            )
        })
    }
}

/// Finds, reads and checks the configuration.
///
/// # Errors
/// Everything that is wrong with it, as one [`Failure`] of kind [`crate::error::FailureKind::Usage`]. When the file
/// could be parsed, the failure's source is a [`Problems`].
pub fn load(invocation: &Invocation) -> Outcome<Config> {
    load_serving(invocation, &unserved::NOT_SERVED)
}

/// As [`load`], for a command that syncs: a provider and a mode must be chosen, and when they are not, that is told
/// together with all other mistakes. A file without a `sync` section is left to whoever misses it.
///
/// # Errors
/// Those of [`load`].
pub fn load_to_sync(invocation: &Invocation) -> Outcome<Config> {
    let found = source::find(invocation, &invocation.state_dir()?)?;
    load_found(invocation, found, &unserved::NOT_SERVED, Need::Pair)
}

/// As [`load`], where what is not served is given: tests look at features ahead of their time.
fn load_serving(invocation: &Invocation, not_served: &[Unserved]) -> Outcome<Config> {
    let found = source::find(invocation, &invocation.state_dir()?)?;
    load_found(invocation, found, not_served, Need::Nothing)
}

/// What the configuration must hold besides being right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// A provider and a mode.
    Pair,
}

/// As [`load_serving`], where the file was found already.
fn load_found(
    invocation: &Invocation,
    mut found: Found,
    not_served: &[Unserved],
    need: Need,
) -> Outcome<Config> {
    let state_dir = invocation.state_dir()?;
    let mut warnings = std::mem::take(&mut found.warnings);
    let openclaw = openclaw(invocation, &state_dir, &found, &mut warnings)?;
    let (dotenv, skipped) = dotenv(&state_dir, &mut warnings);
    let loader = Loader {
        invocation,
        not_served,
        need,
        findings: Findings::new(&found.document.path),
        variables: Variables {
            environment: &invocation.environment,
            dotenv,
            openclaw: openclaw_variables(&openclaw.root),
        },
        own_dir: state_dir.join("ows"),
        state_dir,
        openclaw,
    };
    let mut config = loader.config(&found);
    let has_problems = loader.findings.has_problems();
    let (problems, mut more) = loader.findings.into_parts();
    if let Some(config) = config.as_mut().filter(|_| !has_problems) {
        warnings.append(&mut more);
        config.warnings = warnings;
    }
    config
        .filter(|_| !has_problems)
        .ok_or_else(|| failure(&found.document.path, problems, skipped))
}

fn failure(file: &Path, problems: Vec<Problem>, skipped: Option<String>) -> Failure {
    let count = match problems.len() {
        1 => "one error".to_owned(),
        count => format!("{count} errors"),
    };
    let mut hint = "nothing was done; correct the file and run again".to_owned();
    if let Some(skipped) = skipped {
        hint = format!("{hint}; {skipped}");
    }
    Failure::usage(format!(
        "the configuration `{}` has {count}",
        file.display()
    ))
    .with_path(file.display().to_string())
    .with_hint(hint)
    .with_source(Problems(problems))
}

/// What OpenClaw itself is configured to do.
#[derive(Debug)]
struct OpenClaw {
    path: PathBuf,
    root: Map<String, Value>,
}

/// openclaw.json, which is where the workspace, the gateway and variables come from, whatever our own file is.
fn openclaw(
    invocation: &Invocation,
    state_dir: &Path,
    found: &Found,
    warnings: &mut Vec<String>,
) -> Outcome<OpenClaw> {
    if found.is_openclaw || found.document.root.contains_key("plugins") {
        return Ok(OpenClaw {
            path: found.document.path.clone(),
            root: found.document.root.clone(),
        });
    }
    let path = source::openclaw_path(invocation, state_dir)?;
    let root = if source::exists(&path) {
        match source::read(&path) {
            Ok(document) => document.root,
            // A damaged openclaw.json is when a backup is needed most: it stops nobody who does not depend on it.
            Err(failure) if invocation.workspace.is_some() => {
                warnings.push(format!(
                    "{}; the gateway and the variables in it are not known",
                    failure.message
                ));
                Map::new()
            }
            Err(failure) => {
                return Err(failure.with_hint(
                    "the workspace is looked up in this file; correct it, or give `--workspace DIR`",
                ));
            }
        }
    } else {
        Map::new()
    };
    Ok(OpenClaw { path, root })
}

/// The variables of `<state>/.env`, and a remark about lines that were not understood.
fn dotenv(state_dir: &Path, warnings: &mut Vec<String>) -> (Environment, Option<String>) {
    let path = state_dir.join(".env");
    if !source::exists(&path) {
        return (Environment::default(), None);
    }
    match source::read_text(&path, "the file of variables") {
        Ok(text) => {
            let (variables, skipped) = parse_dotenv(&text);
            let lines: Vec<String> = skipped.iter().map(ToString::to_string).collect();
            let remark = (!lines.is_empty()).then(|| {
                format!(
                    "line {} of `{}` could not be understood and was left out",
                    lines.join(", "),
                    path.display()
                )
            });
            (variables, remark)
        }
        Err(failure) => {
            warnings.push(format!("{}; its variables are not known", failure.message));
            (Environment::default(), None)
        }
    }
}

/// The `env.vars` and `env` blocks of openclaw.json; the first wins.
fn openclaw_variables(root: &Map<String, Value>) -> Environment {
    let env = root.get("env").and_then(Value::as_object);
    let vars = env
        .and_then(|env| env.get("vars"))
        .and_then(Value::as_object);
    let texts = |map: &Map<String, Value>| {
        map.iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect::<Vec<_>>()
    };
    // Later pairs replace earlier ones.
    let pairs = env.map(texts).into_iter().chain(vars.map(texts)).flatten();
    Environment::from_pairs(pairs)
}

/// What is needed while one configuration is checked.
#[derive(Debug)]
struct Loader<'a> {
    invocation: &'a Invocation,
    not_served: &'a [Unserved],
    need: Need,
    findings: Findings,
    variables: Variables<'a>,
    state_dir: PathBuf,
    own_dir: PathBuf,
    openclaw: OpenClaw,
}

impl Loader<'_> {
    fn config(&self, found: &Found) -> Option<Config> {
        let workspace = self.workspace();
        let mut part = source::part(found, &self.findings)?;
        for (name, value) in &mut part.map {
            self.variables
                .expand_all(&self.findings, &part.key.key(name), value);
        }
        let places = Places {
            base: found
                .document
                .path
                .parent()
                .unwrap_or(Path::new("/"))
                .to_owned(),
            home: self
                .invocation
                .environment
                .home()
                .map(|home| self.invocation.working_dir.join(home)),
        };
        let workspace = workspace?;
        let (mut sync, backup) = self.sections(&part, &places, &workspace);
        let ours = Ours {
            workspace: &workspace,
            state_dir: &self.state_dir,
            own_dir: &self.own_dir,
            openclaw_file: &self.openclaw.path,
        };
        if let Some(sync) = &mut sync {
            overlap::check_sync(&self.findings, sync, &ours);
        }
        if let Some(backup) = &backup {
            overlap::check_backup(&self.findings, backup, sync.as_ref(), &ours);
        }
        Some(Config {
            source: found.document.path.clone(),
            shape: part.shape,
            plugin_enabled: part.plugin_enabled,
            engine_warning: self.engine_warning(&part),
            gateway: Gateway::read(&self.openclaw.root, &self.variables),
            state_dir: self.state_dir.clone(),
            own_dir: self.own_dir.clone(),
            workspace,
            agent: self.invocation.agent.clone(),
            sync,
            backup,
            warnings: Vec::new(),
            environment: self.invocation.environment.clone(),
        })
    }

    fn sections(
        &self,
        part: &Part,
        places: &Places,
        workspace: &Path,
    ) -> (Option<SyncConfig>, Option<BackupConfig>) {
        let root = Section::new(&self.findings, part.key.clone(), &part.map);
        root.know(&["$schema"]);
        // Without any block there is nothing to tell the shapes apart; the flat one knows most keys to suggest.
        let is_flat = part.shape == Shape::Flat || !(root.has("sync") || root.has("backup"));
        let shared = if is_flat {
            Blocks::default()
        } else {
            Blocks::read(&root, places)
        };
        let around = Surroundings {
            places,
            workspace,
            rclone_conf: self.state_dir.join(".config/rclone/rclone.conf"),
            shared: &shared,
        };
        let read_sync = |section: &Section<'_>, map: &Map<String, Value>| {
            unserved::check(&self.findings, self.not_served, "sync", &section.key, map);
            let read = sync::read(section, &around);
            if self.need == Need::Pair {
                sync::check_complete(section);
            }
            read
        };
        let (sync, inherited) = if is_flat {
            read_sync(&root, &part.map)
        } else {
            match (root.section("sync"), part.map.get("sync")) {
                (Some(section), Some(Value::Object(map))) => {
                    let read = read_sync(&section, map);
                    section.finish();
                    read
                }
                _ => (None, nothing_inherited(&around)),
            }
        };
        let backup = root.section("backup").and_then(|section| {
            if let Some(Value::Object(map)) = part.map.get("backup") {
                unserved::check(&self.findings, self.not_served, "backup", &section.key, map);
            }
            backup::read(section, places, &inherited)
        });
        root.finish();
        (sync, backup)
    }

    /// Two engines on one folder take each other's changes for people's.
    fn engine_warning(&self, part: &Part) -> Option<String> {
        let entry = self
            .openclaw
            .root
            .get("plugins")
            .and_then(|plugins| plugins.get("entries"))
            .and_then(|entries| entries.get(PLUGIN_ID));
        let switched_off = entry.is_some_and(|entry| entry["enabled"] == false);
        let manifest = installed_plugin(&self.state_dir);
        if switched_off || (manifest.is_none() && entry.is_none()) {
            return None;
        }
        let where_found = match &manifest {
            Some(manifest) => format!("is installed in `{}`", manifest.display()),
            None => format!("is switched on in `{}`", self.openclaw.path.display()),
        };
        let advice = if part.in_openclaw {
            format!(
                "move its `config` to `{}` and remove the plugin (`openclaw plugins uninstall {PLUGIN_ID}`), or set its \
                 `enabled` to false, which stops `ows daemon` and `ows session` too",
                self.own_dir.join("config.json5").display()
            )
        } else {
            format!(
                "remove the plugin (`openclaw plugins uninstall {PLUGIN_ID}`), or set \
                 `plugins.entries[\"{PLUGIN_ID}\"].enabled` to false"
            )
        };
        Some(format!(
            "the OpenClaw plugin `{PLUGIN_ID}` {where_found}: two engines on one folder lose data. To switch, {advice}, \
             and restart the gateway"
        ))
    }
}

fn nothing_inherited(around: &Surroundings<'_>) -> Inherited {
    Inherited {
        kind: ProviderKind::Off,
        blocks: around.shared.clone(),
        supply: Supply {
            remote_name: "cloud".to_owned(),
            config_path: around.rclone_conf.clone(),
            written_at: None,
        },
        exclude: None,
    }
}

/// The folder under `<state>/extensions` that the plugin is installed in. What cannot be read there is passed over: it
/// decides about a warning only.
fn installed_plugin(state_dir: &Path) -> Option<PathBuf> {
    let extensions = std::fs::read_dir(state_dir.join("extensions")).ok()?;
    let mut folders: Vec<PathBuf> = extensions.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.into_iter().find(|folder| {
        let manifest = folder.join("openclaw.plugin.json");
        source::read(&manifest)
            .is_ok_and(|manifest| manifest.root.get("id").is_some_and(|id| id == PLUGIN_ID))
    })
}
