-- Times are nanoseconds since the Unix epoch, sizes are bytes. Text compares byte by byte (the BINARY collation), which
-- is the order in which trees are read. Numbers given by the database stand for longer names inside it and leave it nowhere.

-- Marks the file as ours, so that a stranger's database is never written to. The bytes are "ows1".
PRAGMA application_id = 1870099249;

CREATE TABLE pairs (
    number             INTEGER PRIMARY KEY,
    id                 TEXT    NOT NULL UNIQUE,
    remote_id          TEXT    NOT NULL,
    remote_display     TEXT    NOT NULL,
    local_path         BLOB    NOT NULL, -- the path's bytes; file names need not be UTF-8
    replica_id         TEXT    NOT NULL,
    generation         INTEGER NOT NULL DEFAULT 0 CHECK (generation >= 0),
    created_at_ns      INTEGER NOT NULL,
    first_synced_at_ns INTEGER           -- NULL before the first run that ended with a base
) STRICT;

-- Runs outside any pair (backups) have pair NULL. AUTOINCREMENT: base rows keep the number of a run that is
-- forgotten since, so that a number must never be given twice.
CREATE TABLE runs (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT    NOT NULL UNIQUE,
    pair          INTEGER REFERENCES pairs (number),
    command       TEXT    NOT NULL,
    started_at_ns INTEGER NOT NULL,
    ended_at_ns   INTEGER,               -- NULL while it runs, and for ever when it was killed
    exit_code     INTEGER,
    outcome       TEXT                   -- JSON
) STRICT;

CREATE INDEX runs_by_pair ON runs (pair, number);

-- What both sides agreed on, one row a path. The key is the path, with "/" at its end for folders. Clustered by key, so
-- that a page of rows is one contiguous read.
CREATE TABLE base (
    pair                  INTEGER NOT NULL REFERENCES pairs (number),
    key                   TEXT    NOT NULL,
    run                   INTEGER NOT NULL, -- the run that agreed; it may be forgotten since
    local_size            INTEGER NOT NULL CHECK (local_size >= 0),
    local_mtime_ns        INTEGER NOT NULL,
    local_ctime_ns        INTEGER NOT NULL,
    local_inode           INTEGER NOT NULL, -- the 64 bits of an unsigned number
    local_blake3          BLOB CHECK (length(local_blake3) = 32),
    local_observed_at_ns  INTEGER NOT NULL,
    remote_size           INTEGER NOT NULL CHECK (remote_size >= 0),
    remote_version        TEXT,
    remote_modified_at_ns INTEGER,
    remote_mtime_ns       INTEGER,
    remote_hash_kind      TEXT,
    remote_hash           BLOB,
    remote_id             TEXT,
    remote_own            INTEGER NOT NULL CHECK (remote_own IN (0, 1)),
    PRIMARY KEY (pair, key),
    CHECK ((remote_hash_kind IS NULL) = (remote_hash IS NULL))
) STRICT, WITHOUT ROWID;

-- What is about to be done and cannot be undone. A row that is there when a run starts belongs to a run that was killed.
CREATE TABLE intents (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    pair           INTEGER REFERENCES pairs (number),
    run            TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    payload        TEXT    NOT NULL -- JSON
) STRICT;

CREATE INDEX intents_by_pair ON intents (pair, number);

-- Uploads in parts that have begun: to be resumed while the local file is unchanged, else aborted.
CREATE TABLE uploads (
    number               INTEGER PRIMARY KEY AUTOINCREMENT,
    pair                 INTEGER NOT NULL REFERENCES pairs (number),
    upload               TEXT    NOT NULL, -- JSON, what the provider needs to go on
    local_size           INTEGER NOT NULL CHECK (local_size >= 0),
    local_mtime_ns       INTEGER NOT NULL,
    local_ctime_ns       INTEGER NOT NULL,
    local_inode          INTEGER NOT NULL,
    local_blake3         BLOB CHECK (length(local_blake3) = 32),
    local_observed_at_ns INTEGER NOT NULL,
    md5                  BLOB CHECK (length(md5) = 16),
    started_at_ns        INTEGER NOT NULL
) STRICT;

CREATE INDEX uploads_by_pair ON uploads (pair, number);

CREATE TABLE upload_parts (
    upload      INTEGER NOT NULL REFERENCES uploads (number) ON DELETE CASCADE,
    part_number INTEGER NOT NULL CHECK (part_number BETWEEN 1 AND 4294967295),
    size        INTEGER NOT NULL CHECK (size >= 0),
    tag         TEXT    NOT NULL,
    PRIMARY KEY (upload, part_number)
) STRICT, WITHOUT ROWID;

-- Files taken out of the remote _outbox. A version that stands here was delivered and is not delivered again.
CREATE TABLE deliveries (
    pair            INTEGER NOT NULL REFERENCES pairs (number),
    path            TEXT    NOT NULL,
    version         TEXT    NOT NULL,
    inbox_name      TEXT    NOT NULL,
    delivered_at_ns INTEGER NOT NULL,
    PRIMARY KEY (pair, path, version)
) STRICT, WITHOUT ROWID;

-- What an endpoint was found to enforce. Not of a pair: two folders in one bucket share it.
CREATE TABLE enforcements (
    endpoint     TEXT    NOT NULL PRIMARY KEY,
    enforcement  TEXT    NOT NULL, -- JSON
    probed_at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Small facts that need no table, such as when the trash was last purged.
CREATE TABLE pair_values (
    pair  INTEGER NOT NULL REFERENCES pairs (number),
    name  TEXT    NOT NULL,
    value TEXT    NOT NULL,
    PRIMARY KEY (pair, name)
) STRICT, WITHOUT ROWID;
