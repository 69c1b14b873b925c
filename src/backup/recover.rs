//! `RECOVER.txt`: for whoever has the objects, the key, and no `ows`. Stored once beside the snapshots.

/// What it says, word for word. Every command in it is run by a test.
pub const TEXT: &str = r#"HOW TO RESTORE THESE BACKUPS WITHOUT ows
========================================

This folder holds snapshots made by the tool `ows`. You do not need it. You need
`age` (https://age-encryption.org, Debian: apt install age), `tar`, `gzip`,
`sha256sum`, and the key or the passphrase.

WHAT IS HERE

  ows-DATE-XXXXXXXX.manifest.json    what a snapshot is made of, plain text
  ows-DATE-XXXXXXXX.tar.gz.age       its data, one file, or several volumes:
  ows-DATE-XXXXXXXX.v0001.tar.gz.age     .v0001, .v0002, ...
  ows-DATE-XXXXXXXX.index.age        its table of contents; not needed here

Names without .age at their end are not encrypted. A snapshot without a manifest
is not one: do not use it. DATE is the time (UTC) at which it was made, so that
the newest snapshot is the last one in the order of names.

1. CHOOSE A SNAPSHOT and download everything whose name begins with its name:

     NAME=ows-20260131T235959Z-1a2b3c4d

2. CHECK THE FILES. The manifest lists "name", "size" and "sha256" of each:

     cat "$NAME.manifest.json"
     sha256sum "$NAME".*tar.gz*

3. RESTORE into a new folder. Take the one command that fits:

   a) encrypted to a key ("kind": "recipients" in the manifest), which is in the
      file key.txt and begins with AGE-SECRET-KEY-:

     mkdir restored
     for FILE in "$NAME".*tar.gz.age; do
       age -d -i key.txt "$FILE" | tar -xz -p -C restored -f -
     done

   b) encrypted with a passphrase ("kind": "passphrase"); age asks for it:

     mkdir restored
     for FILE in "$NAME".*tar.gz.age; do
       age -d "$FILE" | tar -xz -p -C restored -f -
     done

   c) not encrypted ("kind": "none"):

     mkdir restored
     for FILE in "$NAME".*tar.gz; do
       tar -xz -p -C restored -f "$FILE"
     done

   If age says anything but nothing, the file is damaged or the key is another
   one: what was unpacked up to there is all that can be had of that file.

4. PUT IT BACK. restored/workspace is the workspace; everything else belongs
   into the state directory, for example ~/.openclaw:

     cp -a restored/workspace/. ~/.openclaw/workspace/

Some files may be listed in the manifest under "problems": those could not be
read, or changed while they were read, when the snapshot was made.

backup-*.tar.gz.enc is older, from before ows:

     openssl enc -d -aes-256-cbc -pbkdf2 -iter 100000 -in FILE | tar -xz -f -
"#;
