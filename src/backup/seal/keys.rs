//! The keys that open: read from identity files, compared with what a manifest names, made new.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use age::x25519;
use chrono::{DateTime, SecondsFormat, Utc};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use super::OpenError;
use crate::backup::entry::Digest;
use crate::backup::manifest;
use crate::error::{Failure, Outcome};

/// The longest identity file that is read.
const LONGEST_FILE: u64 = 1 << 20;

/// What may open a snapshot: a passphrase, identities, both or neither.
#[derive(Clone, Default)]
pub struct Keys {
    passphrase: Option<SecretString>,
    identities: Vec<x25519::Identity>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = if self.passphrase.is_some() { "a" } else { "no" };
        let count = self.identities.len();
        write!(formatter, "Keys({with} passphrase, {count} identities)")
    }
}

impl Keys {
    /// These.
    pub fn new(passphrase: Option<SecretString>, identities: Vec<x25519::Identity>) -> Self {
        Self {
            passphrase,
            identities,
        }
    }

    /// Those of the configuration: its passphrase, and the identities in `files`.
    pub fn read(passphrase: Option<&SecretString>, files: &[PathBuf]) -> Outcome<Self> {
        let mut identities = Vec::new();
        for file in files {
            identities.extend(read_identities(file)?);
        }
        Ok(Self::new(passphrase.cloned(), identities))
    }

    /// The passphrase, when there is one.
    pub fn passphrase(&self) -> Option<&SecretString> {
        self.passphrase.as_ref()
    }

    /// The identities.
    pub fn identities(&self) -> &[x25519::Identity] {
        &self.identities
    }

    /// Whether what is encrypted like this can be opened, as far as its manifest tells: so that nobody waits for a
    /// download that nothing here opens.
    pub fn suit(&self, encryption: &manifest::Encryption) -> Result<(), OpenError> {
        match encryption {
            manifest::Encryption::None => Ok(()),
            manifest::Encryption::Passphrase if self.passphrase.is_none() => {
                Err(OpenError::NoPassphrase)
            }
            manifest::Encryption::Passphrase => Ok(()),
            manifest::Encryption::Recipients { .. } if self.identities.is_empty() => {
                Err(OpenError::NoIdentity)
            }
            manifest::Encryption::Recipients { fingerprints } => {
                let own = |identity: &x25519::Identity| {
                    fingerprints.contains(&fingerprint(&identity.to_public()))
                };
                match self.identities.iter().any(own) {
                    true => Ok(()),
                    false => Err(OpenError::OtherKeys {
                        tried: self.identities.len(),
                    }),
                }
            }
        }
    }
}

/// What a manifest calls `recipient`: tells keys apart, and names none.
pub fn fingerprint(recipient: &x25519::Recipient) -> String {
    hex::encode(&Digest::of(recipient.to_string().as_bytes()).0[..8])
}

/// A new pair of keys.
pub struct NewKey {
    /// The content of an identity file, as `age-keygen` writes it.
    pub identity: SecretString,
    /// The public key, `age1...`.
    pub recipient: String,
    /// What manifests call it.
    pub fingerprint: String,
}

/// Makes a new pair of keys.
pub fn keygen(now: DateTime<Utc>) -> NewKey {
    let identity = x25519::Identity::generate();
    let recipient = identity.to_public();
    let text = Zeroizing::new(format!(
        "# created: {}\n# public key: {recipient}\n{}\n",
        now.to_rfc3339_opts(SecondsFormat::Secs, true),
        identity.to_string().expose_secret()
    ));
    NewKey {
        identity: SecretString::from(text.as_str()),
        fingerprint: fingerprint(&recipient),
        recipient: recipient.to_string(),
    }
}

fn read_identities(path: &Path) -> Outcome<Vec<x25519::Identity>> {
    let shown = path.display().to_string();
    let mut text = Zeroizing::new(String::new());
    File::open(path)
        .and_then(|file| file.take(LONGEST_FILE + 1).read_to_string(&mut text))
        .map_err(|error| {
            Failure::usage(format!("could not read the identity file `{shown}`"))
                .with_hint("`backup.identities` names files with `AGE-SECRET-KEY-...` lines, as `ows backup keygen` writes them")
                .with_source(error)
        })?;
    parse_identities(&text).map_err(|problem| {
        Failure::usage(format!("the identity file `{shown}` {}", problem.message))
            .with_hint(problem.hint)
    })
}

/// What is wrong with an identity file. Nothing of its content is ever told.
struct FileProblem {
    message: String,
    hint: &'static str,
}

fn parse_identities(text: &str) -> Result<Vec<x25519::Identity>, FileProblem> {
    let problem = |message: String, hint| FileProblem { message, hint };
    if text.len() as u64 > LONGEST_FILE {
        return Err(problem(
            "is longer than 1 MiB".to_owned(),
            "name the file that `ows backup keygen` or `age-keygen` wrote",
        ));
    }
    let mut identities = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let upper = Zeroizing::new(line.to_ascii_uppercase());
        if line.starts_with("-----BEGIN AGE") || line.starts_with("age-encryption.org/") {
            return Err(problem(
                "is itself sealed with a passphrase".to_owned(),
                "open it with `age -d` into a file that only you can read, and name that one",
            ));
        }
        if line.starts_with("-----BEGIN") || line.starts_with("ssh-") {
            return Err(problem(
                "is an ssh key; these are refused, because reading them needs an RSA implementation with an unpatched timing leak"
                    .to_owned(),
                "name a file with an `AGE-SECRET-KEY-...` line; a snapshot that was sealed to an ssh key opens with `age -d -i KEY`",
            ));
        }
        if upper.starts_with("AGE-PLUGIN-") {
            return Err(problem(
                format!("holds a key of an age plugin in line {number}; these are not served"),
                "open the snapshot with `age -d -i KEY` instead",
            ));
        }
        if upper.starts_with("AGE1") {
            return Err(problem(
                format!(
                    "holds a public key in line {number}, and only the secret one opens a snapshot"
                ),
                "name the file with the `AGE-SECRET-KEY-...` line that belongs to it",
            ));
        }
        identities.push(line.parse().map_err(|_: &str| {
            problem(
                format!("holds no age identity in line {number}"),
                "every line of it is `AGE-SECRET-KEY-...` or a comment that begins with `#`",
            )
        })?);
    }
    if identities.is_empty() {
        return Err(problem(
            "holds no identity".to_owned(),
            "name the file with the `AGE-SECRET-KEY-...` line",
        ));
    }
    Ok(identities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_reads_back_and_its_recipient_belongs_to_it() {
        let key = keygen("2026-01-31T23:59:59.5Z".parse().expect("a time"));
        let text = key.identity.expose_secret();
        assert!(
            text.starts_with(&format!(
                "# created: 2026-01-31T23:59:59Z\n# public key: {}\nAGE-SECRET-KEY-1",
                key.recipient
            )),
            "as age-keygen writes it"
        );
        let read = parse_identities(text).ok().expect("reads");
        let [identity] = read.as_slice() else {
            panic!("one identity");
        };
        assert_eq!(identity.to_public().to_string(), key.recipient);
        assert_eq!(fingerprint(&identity.to_public()), key.fingerprint);
        assert_eq!(key.fingerprint.len(), 16);
    }

    #[test]
    fn what_is_no_identity_is_refused_with_the_reason_and_never_shown() {
        let secret = keygen(DateTime::UNIX_EPOCH).identity;
        let whole = secret.expose_secret();
        let cut = &whole[..whole.len() - 4];
        for (text, reason) in [
            ("", "holds no identity"),
            ("# nothing\n\n", "holds no identity"),
            (cut, "no age identity in line 3"),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb",
                "is an ssh key; these are refused, because",
            ),
            ("ssh-ed25519 AAAA", "is an ssh key"),
            (
                "-----BEGIN AGE ENCRYPTED FILE-----\n",
                "sealed with a passphrase",
            ),
            (
                "age-encryption.org/v1\n-> scrypt",
                "sealed with a passphrase",
            ),
            ("AGE-PLUGIN-YUBIKEY-1QQQ", "age plugin in line 1"),
            (
                "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj",
                "public key in line 1",
            ),
        ] {
            let problem = parse_identities(text).err().expect(reason);
            assert!(problem.message.contains(reason), "{}", problem.message);
            let told = format!("{} {}", problem.message, problem.hint);
            assert!(!told.contains("AGE-SECRET-KEY-1") && !told.contains("QQQ"));
        }
    }

    #[test]
    fn keys_know_from_a_manifest_what_they_open() {
        let identity = x25519::Identity::generate();
        let own = fingerprint(&identity.to_public());
        let to = |fingerprints: &[&str]| manifest::Encryption::Recipients {
            fingerprints: fingerprints.iter().map(|text| (*text).to_owned()).collect(),
        };
        let keys = Keys::new(None, vec![identity]);
        assert!(keys.suit(&manifest::Encryption::None).is_ok());
        assert!(keys.suit(&to(&["0000000000000000", &own])).is_ok());
        let other = keys.suit(&to(&["0000000000000000"]));
        assert!(matches!(other, Err(OpenError::OtherKeys { tried: 1 })));
        let passphrase = keys.suit(&manifest::Encryption::Passphrase);
        assert!(matches!(passphrase, Err(OpenError::NoPassphrase)));
        let none = Keys::default();
        assert!(matches!(
            none.suit(&to(&[&own])),
            Err(OpenError::NoIdentity)
        ));
        assert_eq!(format!("{keys:?}"), "Keys(no passphrase, 1 identities)");
    }
}
