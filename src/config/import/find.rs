//! The source of an import: openclaw.json with the plugin's entry, or an rclone.conf.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::ImportRequest;
use super::section::Options;
use crate::config::source::{self, Document, Found};
use crate::config::{Invocation, PLUGIN_ID, rclone};
use crate::error::{Failure, Outcome};

/// A source, parsed.
pub(super) enum Input {
    Plugin(Box<Found>),
    Rclone {
        path: PathBuf,
        sections: BTreeMap<String, Options>,
    },
}

impl Input {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Plugin(found) => &found.document.path,
            Self::Rclone { path, .. } => path,
        }
    }
}

/// The file that was named, else the usual ones.
pub(super) fn find(
    invocation: &Invocation,
    request: &ImportRequest,
    state_dir: &Path,
) -> Outcome<Input> {
    if let Some(file) = &request.file {
        let path = source::clean(&invocation.working_dir.join(file));
        let text = source::read_text(&path, "the file to import")?;
        let is_json = text
            .trim_start_matches('\u{feff}')
            .trim_start()
            .starts_with(['{', '/']);
        return if is_json {
            plugin_file(source::read(&path)?)
        } else {
            rclone_file(&path)
        };
    }
    let openclaw = source::openclaw_path(invocation, state_dir)?;
    let conf = state_dir.join(".config/rclone/rclone.conf");
    if request.section.is_none() && source::exists(&openclaw) {
        let document = source::read(&openclaw)?;
        if document.root["plugins"]["entries"].get(PLUGIN_ID).is_some() {
            return plugin_file(document);
        }
    }
    if source::exists(&conf) {
        return rclone_file(&conf);
    }
    Err(Failure::usage(format!(
        "there is nothing to import: `{}` does not configure the plugin `{PLUGIN_ID}`, and there is no `{}`",
        openclaw.display(),
        conf.display()
    ))
    .with_hint("name the file: `ows import-rclone ~/.config/rclone/rclone.conf`"))
}

fn plugin_file(document: Document) -> Outcome<Input> {
    Ok(Input::Plugin(Box::new(Found {
        document,
        is_openclaw: false,
        warnings: Vec::new(),
    })))
}

fn rclone_file(path: &Path) -> Outcome<Input> {
    Ok(Input::Rclone {
        path: path.to_owned(),
        sections: read_rclone(path)?,
    })
}

/// The sections of an rclone.conf, their values written as our file wants them.
pub(super) fn read_rclone(path: &Path) -> Outcome<BTreeMap<String, Options>> {
    let text = source::read_text(path, "the rclone configuration")?;
    if rclone::is_encrypted(&text) {
        return Err(Failure::usage(format!(
            "`{}` is protected by a password and cannot be read",
            path.display()
        ))
        .with_hint(
            "make it plain for the moment: `rclone config encryption remove`; nothing was written",
        ));
    }
    let escaped = |value: &SecretString| value.expose_secret().replace("${", "$${").into();
    let sections = rclone::parse(&text).into_iter().map(|(name, options)| {
        let options = options
            .iter()
            .map(|(name, value)| (name.clone(), escaped(value)));
        (name, options.collect())
    });
    Ok(sections.collect())
}

/// The section that was asked for; without a wish the plugin's usual one, or the only one.
pub(super) fn choose(
    asked: Option<&str>,
    sections: &BTreeMap<String, Options>,
    path: &Path,
) -> Outcome<String> {
    let names: Vec<String> = sections.keys().map(|name| format!("`{name}`")).collect();
    let wanted = asked.or_else(|| match sections.len() {
        1 => sections.keys().next().map(String::as_str),
        _ => Some("cloud").filter(|name| sections.contains_key(*name)),
    });
    match wanted {
        Some(name) if sections.contains_key(name) => Ok(name.to_owned()),
        _ if names.is_empty() => Err(Failure::usage(format!(
            "`{}` has no sections, so it is no rclone.conf",
            path.display()
        ))
        .with_hint("nothing was written")),
        Some(name) => Err(Failure::usage(format!(
            "`{}` has no section `[{}]`; it has {}",
            path.display(),
            name.escape_debug(),
            names.join(", ")
        ))
        .with_hint("nothing was written")),
        None => Err(Failure::usage(format!(
            "`{}` has several sections: {}",
            path.display(),
            names.join(", ")
        ))
        .with_hint("choose one: `--section NAME`; nothing was written")),
    }
}
