//! Reads the files in which AWS's tools keep credentials: `~/.aws/credentials` and `~/.aws/config`.
//!
//! Only what names keys, a web identity and a region is read. A profile that gets its keys in a way that is not served
//! here is told apart, so that nobody wonders why other credentials were used.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// Where the files are and which profile counts.
#[derive(Debug, Clone)]
pub(super) struct ProfileFiles {
    pub(super) credentials: Option<PathBuf>,
    pub(super) config: Option<PathBuf>,
    pub(super) profile: String,
    /// The profile was asked for by name, so that it must be there.
    pub(super) named: bool,
}

/// What the files say about a profile.
#[derive(Default)]
pub(super) struct Profile {
    values: HashMap<String, String>,
    pub(super) found: bool,
}

impl Profile {
    /// A value that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The way of getting keys that the profile names and that is not served here.
    pub(super) fn unserved(&self) -> Option<&'static str> {
        [
            "credential_process",
            "sso_session",
            "sso_start_url",
            "source_profile",
            "credential_source",
            "login_session",
        ]
        .into_iter()
        .find(|name| self.get(name).is_some())
    }
}

impl ProfileFiles {
    /// Finds the files by the environment: `AWS_PROFILE`, `AWS_SHARED_CREDENTIALS_FILE`, `AWS_CONFIG_FILE`, `HOME`.
    pub(super) fn find(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let home = variable("HOME").map(|home| PathBuf::from(home).join(".aws"));
        let file = |name: &str, default: &str| {
            variable(name)
                .map(PathBuf::from)
                .or_else(|| Some(home.as_ref()?.join(default)))
        };
        let profile = variable("AWS_PROFILE");
        Self {
            credentials: file("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            config: file("AWS_CONFIG_FILE", "config"),
            named: profile.is_some(),
            profile: profile.unwrap_or_else(|| "default".to_owned()),
        }
    }

    /// Reads both files. What the credentials file says wins over the config file.
    ///
    /// # Errors
    /// A file that is there and cannot be read.
    pub(super) fn read(&self) -> Result<Profile, String> {
        let mut profile = Profile::default();
        if let Some(path) = &self.config {
            let prefixed = format!("profile {}", self.profile);
            let default = self.profile == "default";
            read_section(path, &mut profile, |name| {
                name == prefixed || (default && name == "default")
            })?;
        }
        if let Some(path) = &self.credentials {
            read_section(path, &mut profile, |name| name == self.profile)?;
        }
        Ok(profile)
    }

    /// The files and the profile, for messages.
    pub(super) fn describe(&self) -> String {
        let paths: Vec<_> = [&self.credentials, &self.config]
            .into_iter()
            .flatten()
            .map(|path| format!("`{}`", path.display()))
            .collect();
        if paths.is_empty() {
            return "no credentials file, since HOME is not set".to_owned();
        }
        format!("profile `{}` of {}", self.profile, paths.join(" and "))
    }
}

fn read_section(
    path: &Path,
    profile: &mut Profile,
    wanted: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("`{}` cannot be read: {error}", path.display())),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut inside = false;
    // Indented lines below a key without a value are settings of that key.
    let mut nested = false;
    for line in text.lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = content.strip_prefix('[') {
            let name = rest.split(']').next().unwrap_or_default();
            inside = wanted(&section_name(name));
            profile.found |= inside;
            nested = false;
            continue;
        }
        if nested && line.starts_with([' ', '\t']) {
            continue;
        }
        let Some((key, value)) = content.split_once('=') else {
            continue;
        };
        let value = without_comment(value);
        nested = value.is_empty();
        if inside {
            profile
                .values
                .insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    Ok(())
}

/// A section's name with single spaces and without quotes: `profile "a"` is `profile a`.
fn section_name(text: &str) -> String {
    let bare = text.replace('"', "");
    bare.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A comment needs white space before it; keys may hold neither sign there.
fn without_comment(value: &str) -> &str {
    let end = [" #", " ;", "\t#", "\t;"]
        .into_iter()
        .filter_map(|mark| value.find(mark))
        .min()
        .unwrap_or(value.len());
    value.get(..end).unwrap_or(value).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(credentials: &str, config: &str, profile: &str) -> (tempfile::TempDir, ProfileFiles) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("credentials"), credentials).unwrap();
        std::fs::write(folder.path().join("config"), config).unwrap();
        let found = ProfileFiles {
            credentials: Some(folder.path().join("credentials")),
            config: Some(folder.path().join("config")),
            profile: profile.to_owned(),
            named: true,
        };
        (folder, found)
    }

    const CREDENTIALS: &str = "\u{feff}# mine\n[default]\naws_access_key_id=AKD\naws_secret_access_key = S/+=x  # old\n\n\
        [ work ]\r\nAWS_ACCESS_KEY_ID = AKW\r\naws_secret_access_key = SW\r\naws_session_token = T\r\n[other]\nregion = no\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  region = wrong\n  addressing_style = path\noutput = json\n\
        [profile \"work\"]\nregion=eu-west-2\naws_access_key_id = overridden\n[work]\nregion = wrong\n";

    #[test]
    fn both_files_make_one_profile() {
        let (_folder, files) = files(CREDENTIALS, CONFIG, "work");
        let profile = files.read().unwrap();
        assert!(profile.found);
        assert_eq!(profile.get("aws_access_key_id"), Some("AKW"));
        assert_eq!(profile.get("aws_session_token"), Some("T"));
        assert_eq!(profile.get("region"), Some("eu-west-2"));
    }

    #[test]
    fn comments_nested_settings_and_equal_signs_are_understood() {
        let (_folder, files) = files(CREDENTIALS, CONFIG, "default");
        let profile = files.read().unwrap();
        assert_eq!(profile.get("aws_secret_access_key"), Some("S/+=x"));
        assert_eq!(profile.get("region"), Some("eu-west-1"));
        assert_eq!(profile.get("output"), Some("json"));
        assert_eq!(profile.get("addressing_style"), None);
    }

    #[test]
    fn a_missing_profile_or_file_is_just_not_found() {
        let (folder, files) = files(CREDENTIALS, CONFIG, "nobody");
        assert!(!files.read().unwrap().found);
        let none = ProfileFiles {
            credentials: Some(folder.path().join("absent")),
            config: None,
            ..files.clone()
        };
        assert!(!none.read().unwrap().found);
        let unreadable = ProfileFiles {
            config: Some(folder.path().to_owned()),
            ..files
        };
        assert!(unreadable.read().is_err());
    }

    #[test]
    fn ways_that_are_not_served_are_named() {
        let (_folder, files) = files("", "[profile a]\nsso_session = x\n", "a");
        assert_eq!(files.read().unwrap().unserved(), Some("sso_session"));
    }

    #[test]
    fn the_environment_says_where_the_files_are() {
        let variable = |name: &str| match name {
            "HOME" => Some("/h".to_owned()),
            "AWS_CONFIG_FILE" => Some("/c".to_owned()),
            _ => None,
        };
        let found = ProfileFiles::find(&variable);
        assert_eq!(
            found.credentials.unwrap(),
            PathBuf::from("/h/.aws/credentials")
        );
        assert_eq!(found.config.unwrap(), PathBuf::from("/c"));
        assert!(!found.named);
    }
}
