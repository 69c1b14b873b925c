//! The `custom` block: a type and its options, by the names that rclone gives them.
//!
//! It exists because configurations of the rclone wrapper have it. What `ows` serves is translated; what it would have
//! to ignore is refused, so that nobody relies on an option that does nothing. Values of options are never shown: any
//! of them may be a key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::blocks::{ENCRYPTIONS, Http, Located, S3Block, check_address};
use super::check::{Findings, KeyPath, Section, kind_of, listed, nearest, with_nearest};
use super::expand;
use super::provider::S3Encryption;
use super::resolve::served_types;

/// The types that `custom` serves.
pub(super) const TYPES: [&str; 3] = ["local", "alias", "s3"];

/// Options of rclone's `s3` that are translated, or that say what `ows` does anyway.
const S3_OPTIONS: [&str; 13] = [
    "provider",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "region",
    "endpoint",
    "force_path_style",
    "server_side_encryption",
    "storage_class",
    "env_auth",
    "acl",
    "no_check_bucket",
    "description",
];

/// The stores that rclone addresses by the bucket's host name although their endpoint is set.
pub(super) const HOST_STYLE: [&str; 3] = ["Alibaba", "HuaweiOBS", "TencentCOS"];

/// The `custom` block as it is written.
#[derive(Debug, Clone)]
pub(super) struct CustomBlock {
    key: KeyPath,
    /// The key of the options, for errors about missing ones.
    options_key: KeyPath,
    kind: Option<Located<String>>,
    options: BTreeMap<String, OptionValue>,
    /// Options whose variables could not be filled in, which was reported.
    unusable: BTreeSet<String>,
}

/// The value of an option as text, and where it stands.
#[derive(Clone)]
struct OptionValue(Located<String>);

impl std::fmt::Debug for OptionValue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "[redacted] at {}", self.0.key)
    }
}

/// What a `custom` block stands for.
#[derive(Debug)]
pub(super) enum Translated {
    S3(Box<S3Block>),
    /// A folder; `remotePath` lies below it.
    Local(PathBuf),
    /// A folder that `remotePath` itself named.
    LocalFolder(PathBuf),
}

impl CustomBlock {
    pub(super) fn read(section: Section<'_>) -> Self {
        let both = |new: &'static str, old: &'static str| {
            if section.has(new) && section.has(old) {
                section.problem(
                    old,
                    format!("stands beside `{new}`, its other spelling; allowed: one of them"),
                );
            }
        };
        both("type", "rcloneType");
        both("options", "rcloneOptions");
        let kind_name = if section.has("rcloneType") {
            "rcloneType"
        } else {
            "type"
        };
        let options_name = if section.has("rcloneOptions") {
            "rcloneOptions"
        } else {
            "options"
        };
        let kind = section
            .filled(kind_name, &served_types())
            .map(|kind| Located {
                key: section.at(kind_name),
                value: kind.to_owned(),
            });
        let mut options = BTreeMap::new();
        let mut unusable = BTreeSet::new();
        if let Some(inner) = section.section(options_name) {
            for (name, value) in inner.entries() {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Bool(value) => value.to_string(),
                    Value::Number(value) => value.to_string(),
                    other => {
                        inner.problem(
                            name,
                            format!(
                                "found {}; allowed: a text, a number, `true` or `false`",
                                kind_of(other)
                            ),
                        );
                        continue;
                    }
                };
                let key = inner.at(name);
                if section.findings.is_unusable(&key) {
                    unusable.insert(name.clone());
                    continue;
                }
                options.insert(name.clone(), OptionValue(Located { key, value: text }));
            }
        }
        let block = Self {
            key: section.key.clone(),
            options_key: section.at(options_name),
            kind,
            options,
            unusable,
        };
        section.finish();
        block
    }

    /// Key by key; options of another type are not this one's.
    pub(super) fn over(&self, base: &Self) -> Self {
        let kind_of = |block: &Self| block.kind.as_ref().map(|kind| kind.value.clone());
        let mut merged = self.clone();
        if self.kind.is_none() {
            merged.kind.clone_from(&base.kind);
        }
        if self.kind.is_none() || kind_of(self) == kind_of(base) {
            for (name, value) in &base.options {
                merged
                    .options
                    .entry(name.clone())
                    .or_insert_with(|| value.clone());
            }
            let inherited = |name: &&String| !self.options.contains_key(*name);
            merged
                .unusable
                .extend(base.unusable.iter().filter(inherited).cloned());
            // What was meant to stand here is not what the base says.
            merged
                .options
                .retain(|name, _| !merged.unusable.contains(name));
        }
        merged
    }

    pub(super) fn translate(
        &self,
        findings: &Findings,
        remote_path: &Located<String>,
        home: Option<&Path>,
    ) -> Option<Translated> {
        let Some(kind) = &self.kind else {
            findings.problem(
                &self.key.key("type"),
                format!("is missing; allowed: {}", served_types()),
            );
            return None;
        };
        match kind.value.as_str() {
            "local" => self.local(findings, remote_path, home, "path"),
            "alias" => self.local(findings, remote_path, home, "remote"),
            "s3" => self
                .s3(findings)
                .filter(|_| self.unusable.is_empty())
                .map(|block| Translated::S3(Box::new(block))),
            other => {
                let instead = match other {
                    "dropbox" => "; Dropbox has a block of its own: `provider: \"dropbox\"`",
                    "drive" => "; Google Drive has a block of its own: `provider: \"gdrive\"`",
                    "onedrive" => "; OneDrive has a block of its own: `provider: \"onedrive\"`",
                    _ => "",
                };
                findings.problem(
                    &kind.key,
                    format!(
                        "found \"{}\", a type that `ows` does not serve; {}{instead}",
                        other.escape_debug(),
                        with_nearest(other, TYPES, &served_types())
                    ),
                );
                None
            }
        }
    }

    fn local(
        &self,
        findings: &Findings,
        remote_path: &Located<String>,
        home: Option<&Path>,
        option: &'static str,
    ) -> Option<Translated> {
        let known = [option, "description"];
        let mut good = self.only(findings, &known, &known);
        if self.unusable.contains(option) {
            return None;
        }
        let Some(OptionValue(value)) = self.options.get(option) else {
            // rclone's `local` has no root of its own: there the remote path is absolute.
            if option == "path" && remote_path.value.starts_with('/') && remote_path.value.len() > 1
            {
                let folder = PathBuf::from(remote_path.value.trim_end_matches('/'));
                return good.then_some(Translated::LocalFolder(folder));
            }
            findings.problem(
                &self.options_key.key(option),
                "is missing; allowed: the absolute path of a folder, such as `/mnt/usb`",
            );
            return None;
        };
        let text = value.value.strip_prefix(":local:").unwrap_or(&value.value);
        let path = match expand::place(text, Path::new(""), home) {
            Ok(path) if path.is_absolute() => super::source::clean(&path),
            Ok(_) => {
                good = false;
                findings.problem(
                    &value.key,
                    "is no absolute path; allowed: the absolute path of a folder, such as `/mnt/usb` (an alias of \
                     another remote is not served)",
                );
                PathBuf::new()
            }
            Err(message) => {
                good = false;
                findings.problem(&value.key, message);
                PathBuf::new()
            }
        };
        good.then_some(Translated::Local(path))
    }

    /// Reports the options that are not `honoured`; `known` are those worth suggesting.
    fn only(&self, findings: &Findings, honoured: &[&str], known: &[&str]) -> bool {
        let mut good = true;
        for (name, OptionValue(value)) in &self.options {
            if honoured.contains(&name.as_str()) {
                continue;
            }
            good = false;
            let message = match nearest(name, known.iter().copied()) {
                Some(near) => format!("is no option that `ows` honours; did you mean `{near}`?"),
                None => format!(
                    "is no option that `ows` honours, and none is ignored; remove it; allowed: {}",
                    listed(known.iter().copied())
                ),
            };
            findings.problem(&value.key, message);
        }
        good
    }

    /// The value of an option; rclone takes an empty one for one that is not there.
    fn get(&self, name: &str) -> Option<&str> {
        self.options
            .get(name)
            .map(|OptionValue(value)| value.value.trim())
            .filter(|text| !text.is_empty())
    }

    fn s3(&self, findings: &Findings) -> Option<S3Block> {
        let mut good = self.only(findings, &S3_OPTIONS, &S3_OPTIONS);
        let endpoint = self.get("endpoint").map(|text| {
            // rclone also takes a bare host.
            if text.contains("://") {
                text.to_owned()
            } else {
                format!("https://{text}")
            }
        });
        for (name, message) in self.s3_refusals(endpoint.as_deref()) {
            good = false;
            findings.problem(&self.options_key.key(name), message);
        }
        let text = |name: &str| self.get(name).map(str::to_owned);
        let host_style = self
            .get("provider")
            .is_some_and(|vendor| HOST_STYLE.contains(&vendor));
        let block = S3Block {
            http: Http {
                endpoint: endpoint.map(|value| Located {
                    key: self.options_key.key("endpoint"),
                    value: value.trim_end_matches('/').to_owned(),
                }),
                ..Http::default()
            },
            bucket: None,
            region: text("region"),
            access_key_id: self.get("access_key_id").map(Into::into),
            secret_access_key: self.get("secret_access_key").map(Into::into),
            session_token: self.get("session_token").map(Into::into),
            force_path_style: match self.get("force_path_style") {
                Some(flag) => Some(flag == "true"),
                None => host_style.then_some(false),
            },
            sse: self.get("server_side_encryption").and_then(encryption),
            storage_class: text("storage_class"),
        };
        good.then_some(block)
    }

    /// What cannot be honoured, by the option's name.
    fn s3_refusals(&self, endpoint: Option<&str>) -> Vec<(&'static str, String)> {
        let mut refusals = Vec::new();
        let mut refuse = |name, message: &str| refusals.push((name, message.to_owned()));
        for name in ["force_path_style", "env_auth", "no_check_bucket"] {
            if self
                .get(name)
                .is_some_and(|flag| !matches!(flag, "true" | "false"))
            {
                refuse(name, "is no flag; allowed: `true` or `false`");
            }
        }
        // What could not be filled in was reported, and is not missing.
        let is_missing = |name: &str| self.get(name).is_none() && !self.unusable.contains(name);
        if self.get("env_auth") == Some("false") && is_missing("access_key_id") {
            refuse(
                "env_auth",
                "is `false` without keys, which is anonymous access; allowed: `access_key_id` and \
                 `secret_access_key`, or `env_auth: true` for the usual AWS credentials",
            );
        }
        if self.get("acl").is_some_and(|acl| acl != "private") {
            refuse(
                "acl",
                "cannot be honoured: `ows` leaves access to the bucket's own rules; allowed: `private`, or no `acl`",
            );
        }
        if let Some(Err(why)) = endpoint.map(check_address) {
            refuse(
                "endpoint",
                &format!("{why}; allowed: a URL such as `https://s3.example.com`"),
            );
        }
        if is_missing("endpoint") && self.get("provider").is_some_and(|vendor| vendor != "AWS") {
            refuse(
                "endpoint",
                "is missing; allowed: the URL of the store, which only AWS can do without",
            );
        }
        for name in ["region", "storage_class"] {
            let is_word = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
            if self.get(name).is_some_and(|text| !is_word(text)) {
                refuse(
                    name,
                    "holds blanks or special characters; allowed: one word",
                );
            }
        }
        if self
            .get("server_side_encryption")
            .is_some_and(|text| encryption(text).is_none())
        {
            let allowed = listed(ENCRYPTIONS.iter().map(|(name, _)| *name));
            refuse(
                "server_side_encryption",
                &format!("is unknown; allowed: {allowed}"),
            );
        }
        refusals
    }
}

fn encryption(name: &str) -> Option<S3Encryption> {
    let found = ENCRYPTIONS.iter().find(|(known, _)| *known == name);
    found.map(|(_, encryption)| *encryption)
}
