-- Files of the ingest folder that were sent, with the path in the remote. What stands here with the same content is not
-- sent again, also after somebody deleted it in the remote.
CREATE TABLE ingested (
    pair                  INTEGER NOT NULL REFERENCES pairs (number),
    path                  TEXT    NOT NULL,
    local_size            INTEGER NOT NULL CHECK (local_size >= 0),
    local_mtime_ns        INTEGER NOT NULL,
    local_ctime_ns        INTEGER NOT NULL,
    local_inode           INTEGER NOT NULL, -- the 64 bits of an unsigned number
    local_blake3          BLOB    NOT NULL CHECK (length(local_blake3) = 32),
    local_observed_at_ns  INTEGER NOT NULL,
    remote_version        TEXT,
    remote_modified_at_ns INTEGER,
    remote_stored_by_ns   INTEGER,
    PRIMARY KEY (pair, path)
) STRICT, WITHOUT ROWID;
