use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;

use crate::schemas::fits;
use crate::support::World;

/// The line of an identity file that is the key.
fn secret(text: &str) -> String {
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with("AGE-SECRET-KEY-1"));
    let secret = lines.next().unwrap().to_owned();
    assert_eq!(lines.next(), None);
    secret
}

#[test]
fn what_is_printed_is_an_identity_file_with_the_recovery_sheet_in_its_comments() {
    let ran = World::bare().ok(&["backup", "keygen"]);
    let code = ran
        .stdout
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    assert_eq!(code.collect::<Vec<_>>(), [secret(&ran.stdout)]);
    assert_snapshot!(ran.shown(), @r##"
    exit code: 0
    --- stdout
    # created: [TIME]
    # public key: [RECIPIENT]
    [IDENTITY]
    #
    # RECOVERY SHEET of `ows backup`
    #
    # Public key:   [RECIPIENT]
    # Fingerprint:  [FINGERPRINT] (manifests of snapshots name it)
    # Secret key:   above, the line AGE-SECRET-KEY-1...
    #
    # Whoever has the secret key can read every snapshot made for the public key.
    # Whoever has lost it can read none; nobody can help, nor can the storage provider.
    # Keep it in two places, away from the host that makes the backups and from the
    # storage: in a password manager, and on paper, with the line AGE-SECRET-KEY-1...
    #
    # To encrypt with it, on the host that makes the backups:
    #   backup: { encrypt: true, recipients: ["[RECIPIENT]"] }
    #
    # To restore, on any host that has the secret key in the file identity.txt:
    #   backup: { identities: ["identity.txt"] }
    #   ows backup list
    #   ows backup restore --to DIR
    #
    # To restore without `ows`, with `age` and `tar`; RECOVER.txt beside the snapshots
    # tells it word for word:
    #   age -d -i identity.txt ows-....tar.gz.age | tar -xzpf -
    "##);
    let quiet = World::bare().ok(&["backup", "keygen", "--quiet"]);
    secret(&quiet.stdout);
}

#[test]
fn a_file_takes_the_secret_and_nothing_else_shows_it() {
    let world = World::bare();
    let ran = world.ok(&["backup", "keygen", "--output", "identity.txt"]);
    let file = world.read("home/identity.txt").unwrap();
    let secret = secret(&file);
    let shown = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!shown.contains(&secret));
    assert_snapshot!(ran.shown(), @r#"
    exit code: 0
    --- stdout
    identity:   `identity.txt`
    recipient:  [RECIPIENT]

    RECOVERY SHEET of `ows backup`

    Public key:   [RECIPIENT]
    Fingerprint:  [FINGERPRINT] (manifests of snapshots name it)
    Secret key:   in the file identity.txt

    Whoever has the secret key can read every snapshot made for the public key.
    Whoever has lost it can read none; nobody can help, nor can the storage provider.
    Keep it in two places, away from the host that makes the backups and from the
    storage: in a password manager, and on paper, with the line AGE-SECRET-KEY-1...

    To encrypt with it, on the host that makes the backups:
      backup: { encrypt: true, recipients: ["[RECIPIENT]"] }

    To restore, on any host that has the secret key in the file identity.txt:
      backup: { identities: ["identity.txt"] }
      ows backup list
      ows backup restore --to DIR

    To restore without `ows`, with `age` and `tar`; RECOVER.txt beside the snapshots
    tells it word for word:
      age -d -i identity.txt ows-....tar.gz.age | tar -xzpf -
    "#);
    let mode = world.path("home/identity.txt").metadata().unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_key_that_is_there_is_never_overwritten() {
    let world = World::bare();
    world.ok(&["backup", "keygen", "-o", "identity.txt"]);
    let first = world.read("home/identity.txt");
    let ran = world.ows(&["backup", "keygen", "-o", "identity.txt"]);
    assert_snapshot!(ran.shown(), @r"
    exit code: 1
    --- stderr
    error: could not write the identity
    path: identity.txt
    cause: File exists (os error 17)
    hint: what is there is never overwritten, it may be the only key to your snapshots; give another name
    ");
    assert_eq!(world.read("home/identity.txt"), first);
    world.tree().symlink("home/link", "elsewhere");
    assert_eq!(world.ows(&["backup", "keygen", "-o", "link"]).code, Some(1));
    assert!(!world.path("home/elsewhere").exists());
    let nowhere = world.ows(&["backup", "keygen", "-o", "no/such/folder"]);
    assert_snapshot!(nowhere.shown(), @r"
    exit code: 1
    --- stderr
    error: could not write the identity
    path: no/such/folder
    cause: No such file or directory (os error 2)
    hint: no key was made; check the folder, then run again
    ");
}

#[test]
fn json_shows_the_secret_only_when_no_file_was_named() {
    let world = World::bare();
    let printed = world.json(&["backup", "keygen"]);
    fits("backup-keygen", &printed);
    assert!(printed["path"].is_null());
    secret(printed["identity"].as_str().unwrap());
    let kept = world.json(&["backup", "keygen", "--output", "identity.txt"]);
    fits("backup-keygen", &kept);
    assert_eq!(kept["path"], "identity.txt");
    assert!(!kept.to_string().contains("AGE-SECRET-KEY-1Q"), "{kept}");
    let file = world.read("home/identity.txt").unwrap();
    assert!(file.contains(kept["recipient"].as_str().unwrap()));
    fits(
        "backup-keygen",
        &world.json(&["backup", "keygen", "--output", "identity.txt"]),
    );
    fits(
        "backup-keygen",
        &world.json(&["backup", "keygen", "--bogus"]),
    );
}

#[test]
fn two_keys_are_never_the_same() {
    let world = World::bare();
    let one = secret(&world.ok(&["backup", "keygen"]).stdout);
    let two = secret(&world.ok(&["backup", "keygen"]).stdout);
    assert_ne!(one, two);
}
