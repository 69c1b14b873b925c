-- What this host knows of its backups. `remote` is the id of the folder that holds the snapshots.

-- A snapshot that a run is making. A row that is there when a run starts belongs to a run that failed or was killed: what it
-- names is removed, unless the snapshot has a manifest, and nothing else is.
CREATE TABLE backup_intents (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    remote      TEXT    NOT NULL,
    run         TEXT    NOT NULL,
    snapshot    TEXT    NOT NULL,
    begun_at_ns INTEGER NOT NULL
) STRICT;

CREATE INDEX backup_intents_by_remote ON backup_intents (remote, number);

-- Its objects, each stored before the first call that makes something of it.
CREATE TABLE backup_objects (
    intent INTEGER NOT NULL REFERENCES backup_intents (number) ON DELETE CASCADE,
    name   TEXT    NOT NULL,
    upload TEXT, -- JSON; NULL before an upload is known to have begun, and for what is stored in one call
    PRIMARY KEY (intent, name)
) STRICT, WITHOUT ROWID;

-- The last success and the last failure of each command.
CREATE TABLE backup_outcomes (
    remote   TEXT    NOT NULL,
    profile  TEXT    NOT NULL,
    command  TEXT    NOT NULL,
    success  INTEGER NOT NULL CHECK (success IN (0, 1)),
    run      TEXT    NOT NULL,
    snapshot TEXT,
    at_ns    INTEGER NOT NULL,
    message  TEXT, -- why it failed, or what was not whole about a success
    PRIMARY KEY (remote, profile, command, success)
) STRICT, WITHOUT ROWID;

-- What was proven of a snapshot, and when last.
CREATE TABLE backup_proofs (
    remote       TEXT    NOT NULL,
    snapshot     TEXT    NOT NULL, -- a legacy one goes by its object's name
    level        TEXT    NOT NULL,
    proven_at_ns INTEGER NOT NULL,
    PRIMARY KEY (remote, snapshot, level)
) STRICT, WITHOUT ROWID;

-- Manifests as they were read, by the version of their object: listing a hundred snapshots takes one call then.
CREATE TABLE backup_manifests (
    remote  TEXT NOT NULL,
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    body    BLOB NOT NULL,
    PRIMARY KEY (remote, name)
) STRICT;
