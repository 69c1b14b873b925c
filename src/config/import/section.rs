//! One remote of rclone as a provider block of ours: which options there are, what becomes of them, and why some of them
//! cannot come along.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::document::{Entry, is_reference};
use super::{Note, NoteKind};
use crate::config::blocks::{DRIVE_TYPES, ENCRYPTIONS, SCOPES, parse_token};
use crate::config::custom::HOST_STYLE;
use crate::error::{Failure, Outcome};

/// Options by rclone's names, as they are to be written in our file: a `${` that is no variable is escaped already.
pub(super) type Options = BTreeMap<String, SecretString>;

/// A remote as ours.
#[derive(Debug)]
pub(super) struct Mapped {
    /// The value of `provider`, which names the block as well.
    pub(super) provider: &'static str,
    pub(super) block: Vec<Entry>,
    pub(super) notes: Vec<Note>,
}

/// Takes options out one by one; what is left at the end does not carry over.
struct Taker<'a> {
    options: &'a Options,
    key: &'a str,
    taken: Vec<&'static str>,
    block: Vec<Entry>,
    notes: Vec<Note>,
}

impl Taker<'_> {
    fn get(&mut self, name: &'static str) -> Option<String> {
        self.taken.push(name);
        self.options
            .get(name)
            .map(|value| value.expose_secret().trim().to_owned())
            .filter(|text| !text.is_empty())
    }

    fn plain(&mut self, name: &'static str, ours: &str) {
        if let Some(text) = self.get(name) {
            self.block.push(Entry::plain(ours, text));
        }
    }

    fn secret(&mut self, name: &'static str, ours: &str) {
        if let Some(text) = self.get(name) {
            self.block.push(Entry::secret(ours, text.into()));
        }
    }

    fn left_out(&mut self, name: &str, why: impl Into<String>) {
        let key = format!("{}.{name}", self.key);
        self.notes.push(Note::new(NoteKind::LeftOut, &key, why));
    }

    fn finish(mut self, provider: &'static str) -> Mapped {
        let names: Vec<&String> = self.options.keys().collect();
        for name in names {
            // The text for people that rclone keeps, and what our engine does anyway.
            let is_idle = ["type", "description", "no_check_bucket"].contains(&name.as_str());
            if !is_idle && !self.taken.contains(&name.as_str()) {
                self.left_out(name, why_not(name));
            }
        }
        Mapped {
            provider,
            block: self.block,
            notes: self.notes,
        }
    }
}

/// Why an option of rclone stays behind.
fn why_not(name: &str) -> &'static str {
    match name {
        "sse_kms_key_id" => {
            "a KMS key of your own cannot be named; set it as the bucket's default key instead"
        }
        "sse_customer_algorithm"
        | "sse_customer_key"
        | "sse_customer_key_base64"
        | "sse_customer_key_md5" => {
            "keys of the customer are not served: files that were stored with one cannot be read without it"
        }
        "profile" | "shared_credentials_file" => {
            "set `AWS_PROFILE` or `AWS_SHARED_CREDENTIALS_FILE` in the environment instead"
        }
        "role_arn" => "assume the role outside, and hand its temporary keys in",
        "upload_cutoff" | "chunk_size" | "upload_concurrency" | "copy_cutoff" | "list_chunk" => {
            "`ows` chooses sizes of parts by itself"
        }
        "acl" | "bucket_acl" => "`ows` leaves access to the bucket's own rules; set them there",
        "impersonate" | "shared_files" | "shared_with_me" | "root_namespace" => {
            "another person's files are not served"
        }
        "encoding" => {
            "names are stored as they are; those that the provider cannot store are reported"
        }
        _ => "is an option of rclone that `ows` does not have",
    }
}

/// A remote of rclone's type `kind`. `key` names its section in notes.
pub(super) fn map(kind: &str, options: &Options, key: &str) -> Outcome<Mapped> {
    let taker = Taker {
        options,
        key,
        taken: Vec::new(),
        block: Vec::new(),
        notes: Vec::new(),
    };
    match kind {
        "s3" => s3(taker),
        "local" => Ok(folder(taker, "path")),
        "alias" => Ok(folder(taker, "remote")),
        "dropbox" => Ok(dropbox(taker)),
        "drive" => Ok(drive(taker)),
        "onedrive" => Ok(onedrive(taker)),
        other => Err(not_served(other, options, key)),
    }
}

fn not_served(kind: &str, options: &Options, key: &str) -> Failure {
    let kind_shown: String = kind.escape_debug().take(40).collect();
    let inner = options
        .get("remote")
        .and_then(|remote| remote.expose_secret().split_once(':'))
        .map(|(name, _)| name.escape_debug().take(40).collect::<String>());
    let (why, hint) = match kind {
        "crypt" => (
            "what it stored is encrypted by rclone, names included, and `ows` would take it for strange files".to_owned(),
            "copy the files out with rclone into a new folder, and let `ows` sync to that; encrypted snapshots are \
             what `backup` is for"
                .to_owned(),
        ),
        "chunker" | "compress" | "union" | "combine" | "cache" | "hasher" | "archive" => (
            "it changes what lies in the remote behind it, or what of it is seen".to_owned(),
            match &inner {
                Some(inner) => format!(
                    "if the files in `[{inner}]` behind it are plain, import that: `--section '{inner}'`"
                ),
                None => "import the remote behind it, when the files in it are plain".to_owned(),
            },
        ),
        "b2" => (
            "Backblaze B2 is served through its S3 interface".to_owned(),
            "make an application key, and use `provider: \"s3\"` with `endpoint: \
             \"https://s3.<region>.backblazeb2.com\"`"
                .to_owned(),
        ),
        "google cloud storage" => (
            "Google Cloud Storage is served through its S3 interface".to_owned(),
            "make an HMAC key, and use `provider: \"s3\"` with `endpoint: \"https://storage.googleapis.com\"`"
                .to_owned(),
        ),
        "" => (
            "it has no type".to_owned(),
            "add `type = ...` to the section".to_owned(),
        ),
        _ => (
            "`ows` has no such provider".to_owned(),
            "mount it (`rclone mount`, `sshfs`) and sync to the folder with `custom: { type: \"local\" }`, or use one of \
             rclone's types `s3`, `dropbox`, `drive`, `onedrive`, `local` and `alias`"
                .to_owned(),
        ),
    };
    let obscured = ["pass", "password", "password2", "user_pass", "bearer_token"]
        .iter()
        .any(|name| options.contains_key(*name));
    let obscured = if obscured {
        "; the password in it, which rclone obscures, was not read"
    } else {
        ""
    };
    Failure::usage(format!(
        "`{key}` is of rclone's type \"{kind_shown}\", which does not carry over: {why}{obscured}"
    ))
    .with_hint(format!("nothing was written; {hint}"))
}

fn s3(mut taker: Taker<'_>) -> Outcome<Mapped> {
    let vendor = taker.get("provider");
    let endpoint = taker.get("endpoint");
    match (&endpoint, vendor.as_deref()) {
        (Some(text), _) => {
            // rclone also takes a bare host.
            let has_scheme = text.contains("://") || text.starts_with("${");
            let text = if has_scheme {
                text.clone()
            } else {
                format!("https://{text}")
            };
            taker.block.push(Entry::plain("endpoint", text));
        }
        (None, None | Some("AWS")) => {}
        (None, Some(vendor)) => {
            let vendor: String = vendor.escape_debug().take(40).collect();
            return Err(Failure::usage(format!(
                "`{}` names the store \"{vendor}\" and no `endpoint`, which only AWS can do without",
                taker.key
            ))
            .with_hint("add `endpoint` to the section, as the store's documentation gives it; nothing was written"));
        }
    }
    taker.plain("region", "region");
    let keys = [taker.get("access_key_id"), taker.get("secret_access_key")];
    let env_auth = taker.get("env_auth");
    if keys.iter().all(Option::is_none) {
        if env_auth.as_deref() == Some("false") && vendor.is_some() {
            return Err(Failure::usage(format!(
                "`{}` has no keys and `env_auth = false`, which is anonymous access and is not served",
                taker.key
            ))
            .with_hint("add keys, or `env_auth = true` for the usual AWS credentials; nothing was written"));
        }
        let mut none = Entry::plain("accessKeyId", "...").off();
        none.why = Some(
            "no keys here: the usual AWS credentials apply (environment, credentials file, instance)".to_owned(),
        );
        taker.block.push(none);
    }
    let [id, secret] = keys;
    for (ours, key) in [("accessKeyId", id), ("secretAccessKey", secret)] {
        if let Some(key) = key {
            taker.block.push(Entry::secret(ours, key.into()));
        }
    }
    taker.secret("session_token", "sessionToken");
    path_style(&mut taker, vendor.as_deref());
    if let Some(name) = taker.get("server_side_encryption") {
        if ENCRYPTIONS.iter().any(|(known, _)| *known == name) {
            taker.block.push(Entry::plain("sse", name));
        } else {
            taker.left_out(
                "server_side_encryption",
                "is no encryption that `ows` knows",
            );
        }
    }
    taker.plain("storage_class", "storageClass");
    if taker.options.get("acl").map(ExposeSecret::expose_secret) == Some("private") {
        taker.taken.push("acl");
    }
    Ok(taker.finish("s3"))
}

/// Only a few stores want the bucket in the host's name although they have an endpoint.
fn path_style(taker: &mut Taker<'_>, vendor: Option<&str>) {
    match taker.get("force_path_style").as_deref() {
        Some(flag @ ("true" | "false")) => {
            taker
                .block
                .push(Entry::plain("forcePathStyle", flag == "true"));
        }
        Some(_) => taker.left_out("force_path_style", "is neither `true` nor `false`"),
        None if vendor.is_some_and(|vendor| HOST_STYLE.contains(&vendor)) => {
            let entry = Entry::plain("forcePathStyle", false);
            taker
                .block
                .push(entry.because("this store wants the bucket in the host's name"));
        }
        None => {}
    }
}

fn folder(mut taker: Taker<'_>, option: &'static str) -> Mapped {
    let path = taker.get(option);
    taker.block.push(Entry::plain("type", "local"));
    if let Some(path) = path {
        let path = path.strip_prefix(":local:").unwrap_or(&path).to_owned();
        let options = vec![Entry::plain("path", path)];
        taker.block.push(Entry::block("options", options));
    }
    taker.finish("custom")
}

/// The token. Made for rclone's own app, it can only be refreshed with rclone's client id, which is not ours to use.
fn token(taker: &mut Taker<'_>, provider: &str, client: Option<&String>) {
    let Some(text) = taker.get("token") else {
        return;
    };
    let mut entry = Entry::secret("token", text.clone().into());
    let is_readable = is_reference(&text) || parse_token(&text.into()).is_ok();
    if !is_readable {
        taker.left_out("token", "is no token that `rclone authorize` prints");
        return;
    }
    if client.is_none() {
        let why = format!(
            "made for rclone's own app: it ends within hours and cannot be refreshed without rclone's client id; make one \
             of your own: `ows authorize --provider {provider}` in a later version"
        );
        entry = entry.because(why.clone());
        let key = format!("{}.token", taker.key);
        taker.notes.push(Note::new(NoteKind::Changed, &key, why));
    }
    taker.block.push(entry);
}

fn dropbox(mut taker: Taker<'_>) -> Mapped {
    let client = taker.get("client_id");
    taker.plain("client_id", "appKey");
    taker.secret("client_secret", "appSecret");
    token(&mut taker, "dropbox", client.as_ref());
    taker.finish("dropbox")
}

fn drive(mut taker: Taker<'_>) -> Mapped {
    let client = taker.get("client_id");
    taker.plain("client_id", "clientId");
    taker.secret("client_secret", "clientSecret");
    taker.plain("team_drive", "teamDrive");
    taker.plain("root_folder_id", "rootFolderId");
    let file = taker.get("service_account_file");
    match taker.get("service_account_credentials") {
        Some(json) => taker
            .block
            .push(Entry::secret("serviceAccount", json.into())),
        None => {
            if let Some(file) = file {
                taker.block.push(Entry::plain("serviceAccount", file));
            }
        }
    }
    if let Some(scope) = taker.get("scope") {
        if SCOPES.iter().any(|(known, _)| *known == scope) {
            taker.block.push(Entry::plain("scope", scope));
        } else {
            taker.left_out(
                "scope",
                "is no scope that `ows` can work with; `drive` is used",
            );
        }
    }
    token(&mut taker, "gdrive", client.as_ref());
    taker.finish("gdrive")
}

fn onedrive(mut taker: Taker<'_>) -> Mapped {
    let client = taker.get("client_id");
    taker.plain("client_id", "clientId");
    taker.secret("client_secret", "clientSecret");
    taker.plain("drive_id", "driveId");
    if let Some(kind) = taker.get("drive_type") {
        if DRIVE_TYPES.iter().any(|(known, _)| *known == kind) || is_reference(&kind) {
            taker.block.push(Entry::plain("driveType", kind));
        } else {
            // SharePoint's libraries have a name of their own in rclone.
            let kind = if kind == "documentLibrary" {
                "sharepoint"
            } else {
                ""
            };
            if kind.is_empty() {
                taker.left_out("drive_type", "is no type of drive that `ows` knows");
            } else {
                taker.block.push(Entry::plain("driveType", kind));
            }
        }
    }
    taker.plain("tenant", "tenant");
    if taker.get("region").is_some_and(|region| region != "global") {
        taker.left_out(
            "region",
            "a national cloud is reached by `endpoint` and `authEndpoint` here; add them",
        );
    }
    token(&mut taker, "onedrive", client.as_ref());
    taker.finish("onedrive")
}
