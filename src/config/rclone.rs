//! An rclone.conf that supplies credentials.
//!
//! The file is read only when the configuration itself lacks them, and only for credentials and what they belong to
//! (for S3 the endpoint and the region): everything else in it is rclone's affair. It is never written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ows_providers::RelPath;
use secrecy::{ExposeSecret, SecretString};

use super::blocks::{Http, Located, S3Block, check_address, parse_token};
use super::check::{Findings, KeyPath};
use super::expand;
use super::provider::{OauthToken, ServiceAccount};
use super::resolve::Supply;
use super::source;

/// The first line of an rclone.conf that a password protects.
const ENCRYPTED: &str = "RCLONE_ENCRYPT_V0:";

/// A section of an rclone.conf.
#[derive(Debug)]
pub(super) struct Found {
    file: PathBuf,
    name: String,
    options: BTreeMap<String, SecretString>,
}

impl Found {
    fn key(&self, option: &str) -> KeyPath {
        KeyPath::default().key(&self.name).key(option)
    }

    pub(super) fn secret(&self, option: &str) -> Option<SecretString> {
        self.options
            .get(option)
            .filter(|value| !value.expose_secret().is_empty())
            .cloned()
    }

    pub(super) fn text(&self, option: &str) -> Option<String> {
        Some(self.secret(option)?.expose_secret().to_owned())
    }

    pub(super) fn token(&self, findings: &Findings) -> Option<OauthToken> {
        match parse_token(&self.secret("token")?) {
            Ok(token) => Some(token),
            Err(why) => {
                findings.problem_in(
                    &self.file,
                    &self.key("token"),
                    format!("{why}; allowed: the JSON that `rclone authorize` prints"),
                );
                None
            }
        }
    }

    pub(super) fn service_account(&self, home: Option<&Path>) -> Option<ServiceAccount> {
        if let Some(json) = self.secret("service_account_credentials") {
            return Some(ServiceAccount::Json(json));
        }
        let text = self.text("service_account_file")?;
        let base = self.file.parent().unwrap_or(Path::new(""));
        expand::place(&text, base, home)
            .ok()
            .map(ServiceAccount::File)
    }
}

/// The keys of an `s3` section, and the endpoint and region that they belong to.
pub(super) fn s3_block(found: &Found) -> S3Block {
    let endpoint = found.text("endpoint").map(|text| {
        if text.contains("://") {
            text
        } else {
            format!("https://{text}")
        }
    });
    S3Block {
        http: Http {
            endpoint: endpoint
                .filter(|text| check_address(text).is_ok())
                .map(|value| Located {
                    // Checked together with keys of the configuration, so the key names its own file.
                    key: KeyPath::verbatim(&format!(
                        "{}: {}",
                        found.file.display(),
                        found.key("endpoint")
                    )),
                    value: value.trim_end_matches('/').to_owned(),
                }),
            ..Http::default()
        },
        region: found.text("region"),
        access_key_id: found.secret("access_key_id"),
        secret_access_key: found.secret("secret_access_key"),
        session_token: found.secret("session_token"),
        force_path_style: found
            .text("force_path_style")
            .and_then(|text| text.parse().ok()),
        ..S3Block::default()
    }
}

/// The section that `supply` names, when the file has it and it is of the type `kind`.
pub(super) fn look_up(findings: &Findings, supply: &Supply, kind: &str) -> Option<Found> {
    let path = &supply.config_path;
    let remark = |text: String| {
        // Nobody asked for a file at the usual place to be there.
        if let Some(key) = &supply.written_at {
            findings.warning(format!("`{key}`: {text}"));
        }
    };
    if !source::exists(path) {
        remark(format!(
            "`{}` does not exist, so it supplies no credentials",
            path.display()
        ));
        return None;
    }
    let text = match source::read_text(path, "the rclone configuration") {
        Ok(text) => text,
        Err(failure) => {
            let causes = failure.causes().join(": ");
            let why = if causes.is_empty() {
                String::new()
            } else {
                format!(": {causes}")
            };
            findings.problem_in(
                path,
                &KeyPath::default(),
                format!("{}{why}", failure.message),
            );
            return None;
        }
    };
    if is_encrypted(&text) {
        findings.problem_in(
            path,
            &KeyPath::default(),
            format!(
                "`{}` is protected by a password and cannot be read; allowed: a plain file (`rclone config encryption \
                 remove`), or the credentials in the configuration itself",
                path.display()
            ),
        );
        return None;
    }
    let Some(options) = parse(&text).remove(&supply.remote_name) else {
        remark(format!(
            "`{}` has no section `[{}]`",
            path.display(),
            supply.remote_name
        ));
        return None;
    };
    let found = Found {
        file: path.clone(),
        name: supply.remote_name.clone(),
        options,
    };
    let kind_there = found.text("type").unwrap_or_default();
    if kind_there != kind {
        findings.warning(format!(
            "section `[{}]` of `{}` is of another type than `{kind}`, so it supplies no credentials",
            supply.remote_name,
            path.display()
        ));
        return None;
    }
    if kind == "s3" {
        check_s3(findings, &found);
    }
    Some(found)
}

fn check_s3(findings: &Findings, found: &Found) {
    let block = s3_block(found);
    if found.text("endpoint").is_some() && block.http.endpoint.is_none() {
        findings.problem_in(
            &found.file,
            &found.key("endpoint"),
            "is no `http` or `https` URL; allowed: a URL such as `https://s3.example.com`",
        );
    }
    if found.text("force_path_style").is_some() && block.force_path_style.is_none() {
        findings.problem_in(
            &found.file,
            &found.key("force_path_style"),
            "is no flag; allowed: `true` or `false`",
        );
    }
}

pub(super) fn is_encrypted(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with(['#', ';']))
        .is_some_and(|line| line.starts_with(ENCRYPTED))
}

/// Sections and their `key = value` lines. Lines that are neither are rclone's to complain about.
pub(super) fn parse(text: &str) -> BTreeMap<String, BTreeMap<String, SecretString>> {
    let mut sections: BTreeMap<String, BTreeMap<String, SecretString>> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            sections.entry(name.to_owned()).or_default();
            current = Some(name.to_owned());
            continue;
        }
        if let (Some(section), Some((name, value))) = (&current, line.split_once('=')) {
            sections
                .entry(section.clone())
                .or_default()
                .insert(name.trim().to_owned(), value.trim().into());
        }
    }
    sections
}

/// Whether a text may be a `remoteName`: rclone's rule, without what would leave the folder of credentials.
pub(super) fn is_remote_name(text: &str) -> bool {
    RelPath::new(text).is_ok()
        && text.len() <= 100
        && !text.starts_with(['-', '.', ' '])
        && !text.ends_with(' ')
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '@' | ' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_comments_are_read() {
        let sections = parse(
            "# c\n[cloud]\ntype = s3\nsecret_access_key=a=b \n; c\n\n[other one]\ntoken = {\"a\":\"[x]\"}\nnoise\n",
        );
        assert_eq!(
            sections["cloud"]["secret_access_key"].expose_secret(),
            "a=b"
        );
        assert_eq!(
            sections["other one"]["token"].expose_secret(),
            "{\"a\":\"[x]\"}"
        );
        assert_eq!(sections.len(), 2);
    }

    #[test]
    fn encryption_is_recognised_below_comments() {
        assert!(is_encrypted(
            "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nabc"
        ));
        assert!(!is_encrypted("[RCLONE_ENCRYPT_V0:]\n"));
    }

    #[test]
    fn remote_names_stay_in_their_folder() {
        for good in ["cloud", "my remote", "a.b+c@d-e_f", "Büro"] {
            assert!(is_remote_name(good), "{good}");
        }
        for bad in [
            "", ".", "..", "../x", "a/b", "-x", " x", "x ", "a\\b", "a\nb", ".hidden",
        ] {
            assert!(!is_remote_name(bad), "{bad}");
        }
    }
}
