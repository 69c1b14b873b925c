//! Every statement of the project, in one list, so that a test can prepare each of them on a fresh database.
//!
//! Statements are literals and values are bound, always. Pairs and runs are known by their ids outside and by numbers
//! inside; `pair IS ?` also finds what belongs to no pair.

/// Declares each statement as a constant, and all of them as a list for the test.
macro_rules! statements {
    ($($(#[$comment:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$comment])* pub(super) const $name: &str = $text;)*

        /// All statements with their names.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $text)),*];
    };
}

statements! {
    // Opening.
    QUICK_CHECK = "PRAGMA quick_check(1)";
    APPLICATION_ID = "PRAGMA application_id";
    TABLE_COUNT = "SELECT count(*) FROM sqlite_schema";
    SCHEMA_TEXTS = "
        SELECT CAST(name || ' ' || tbl_name || ' ' || coalesce(sql, '') AS BLOB) AS text FROM sqlite_schema";
    USE_LOG = "PRAGMA journal_mode = WAL";

    // Pairs.
    PAIR_NUMBER = "SELECT number FROM pairs WHERE id = ?1";
    PAIR = "
        SELECT remote_id, remote_display, local_path, replica_id, generation, created_at_ns, first_synced_at_ns
        FROM pairs WHERE id = ?1";
    PAIR_IDS = "SELECT id FROM pairs ORDER BY number";
    PAIR_INSERT = "
        INSERT INTO pairs (id, remote_id, remote_display, local_path, replica_id, created_at_ns)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (id) DO NOTHING";
    PAIR_DESCRIBE = "UPDATE pairs SET remote_display = ?2, local_path = ?3 WHERE id = ?1";
    PAIR_FIRST_SYNCED = "UPDATE pairs SET first_synced_at_ns = coalesce(first_synced_at_ns, ?2) WHERE id = ?1";
    PAIR_RAISE_GENERATION = "UPDATE pairs SET generation = generation + 1 WHERE id = ?1 RETURNING generation";
    PAIR_NEW_REPLICA = "
        UPDATE pairs SET replica_id = ?2, generation = 0, first_synced_at_ns = NULL WHERE id = ?1";
    PAIR_RENAME_REPLICA = "UPDATE pairs SET replica_id = ?2, generation = max(generation, ?3) WHERE id = ?1";
    PAIR_TAKE_UP = "
        UPDATE pairs SET replica_id = ?2, generation = ?3, first_synced_at_ns = ?4 WHERE id = ?1";

    // Base.
    /// The first page after a key; the empty text is before every key.
    BASE_PAGE = "
        SELECT key, local_size, local_mtime_ns, local_ctime_ns, local_inode, local_blake3, local_observed_at_ns,
               remote_size, remote_version, remote_modified_at_ns, remote_mtime_ns, remote_hash_kind, remote_hash,
               remote_id, remote_own, remote_stored_by_ns
        FROM base
        WHERE pair = ?1 AND key > ?2
        ORDER BY key
        LIMIT ?3";
    BASE_ROW = "
        SELECT key, local_size, local_mtime_ns, local_ctime_ns, local_inode, local_blake3, local_observed_at_ns,
               remote_size, remote_version, remote_modified_at_ns, remote_mtime_ns, remote_hash_kind, remote_hash,
               remote_id, remote_own, remote_stored_by_ns
        FROM base
        WHERE pair = (SELECT number FROM pairs WHERE id = ?1) AND key = ?2";
    BASE_RUN = "
        SELECT runs.id FROM base JOIN runs ON runs.number = base.run
        WHERE base.pair = (SELECT number FROM pairs WHERE id = ?1) AND key = ?2";
    /// `total` cannot overflow, `sum` of integers would fail.
    BASE_TOTALS = "
        SELECT coalesce(sum(substr(key, -1) <> '/'), 0), coalesce(sum(substr(key, -1) = '/'), 0),
               cast(total(local_size) AS INTEGER)
        FROM base
        WHERE pair = (SELECT number FROM pairs WHERE id = ?1)";
    /// The name of every n-th file.
    BASE_SPLITS = "
        SELECT key FROM (
            SELECT key, row_number() OVER (ORDER BY key) AS place FROM base
            WHERE pair = (SELECT number FROM pairs WHERE id = ?1) AND substr(key, -1) <> '/')
        WHERE place % ?2 = 0
        ORDER BY key";
    BASE_FILES_AFTER = "
        SELECT count(*) FROM base
        WHERE pair = (SELECT number FROM pairs WHERE id = ?1) AND key > ?2 AND substr(key, -1) <> '/'";
    BASE_FILE_AFTER = "
        SELECT key FROM base
        WHERE pair = (SELECT number FROM pairs WHERE id = ?1) AND key > ?2 AND substr(key, -1) <> '/'
        ORDER BY key LIMIT 1 OFFSET ?3";
    /// A whole batch at once, each row an array in JSON: a call per row would cost ten times as much, since each one is
    /// handed to the thread of the connection and back. Blobs travel as hexadecimal digits.
    BASE_AGREED = "
        INSERT OR REPLACE INTO base (
            pair, run, key, local_size, local_mtime_ns, local_ctime_ns, local_inode, local_blake3,
            local_observed_at_ns, remote_size, remote_version, remote_modified_at_ns, remote_mtime_ns,
            remote_hash_kind, remote_hash, remote_id, remote_own, remote_stored_by_ns)
        SELECT ?1, ?2, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, unhex(value ->> 5),
               value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10,
               value ->> 11, unhex(value ->> 12), value ->> 13, value ->> 14, value ->> 15
        FROM json_each(?3)";
    /// Materialized, or SQLite reads the batch anew for each row of the base.
    BASE_STORED = "
        WITH changed (key, at) AS MATERIALIZED (SELECT value ->> 0, value ->> 1 FROM json_each(?3))
        UPDATE base SET run = ?2, remote_modified_at_ns = changed.at, remote_stored_by_ns = NULL
        FROM changed
        WHERE base.pair = ?1 AND base.key = changed.key";
    BASE_FORGET = "DELETE FROM base WHERE pair = ?1 AND key IN (SELECT value FROM json_each(?2))";
    BASE_CLEAR = "DELETE FROM base WHERE pair = (SELECT number FROM pairs WHERE id = ?1)";

    // Runs.
    RUN_NUMBER = "SELECT number FROM runs WHERE id = ?1";
    RUN_INSERT = "INSERT INTO runs (id, pair, command, started_at_ns) VALUES (?1, ?2, ?3, ?4)";
    RUN_FINISH = "
        UPDATE runs SET ended_at_ns = ?2, exit_code = ?3, outcome = ?4 WHERE id = ?1 RETURNING pair";
    RUNS_LAST = "
        SELECT id, command, started_at_ns, ended_at_ns, exit_code, outcome FROM runs
        WHERE pair IS ?1 ORDER BY number DESC LIMIT ?2";
    /// Keeps the newest runs of a pair.
    RUNS_PRUNE = "
        DELETE FROM runs
        WHERE pair IS ?1
          AND number <= (SELECT number FROM runs WHERE pair IS ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)";

    // Intents.
    INTENT_INSERT = "INSERT INTO intents (pair, run, kind, payload) VALUES (?1, ?2, ?3, ?4) RETURNING number";
    INTENT_RESOLVE = "DELETE FROM intents WHERE number = ?1";
    INTENTS_OPEN = "SELECT number, run, kind, payload FROM intents WHERE pair IS ?1 ORDER BY number";

    // Uploads.
    UPLOAD_INSERT = "
        INSERT INTO uploads (
            pair, upload, local_size, local_mtime_ns, local_ctime_ns, local_inode, local_blake3,
            local_observed_at_ns, md5, started_at_ns)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
        RETURNING number";
    UPLOADS = "
        SELECT number, upload, local_size, local_mtime_ns, local_ctime_ns, local_inode, local_blake3,
               local_observed_at_ns, md5, started_at_ns
        FROM uploads
        WHERE pair = (SELECT number FROM pairs WHERE id = ?1)
        ORDER BY number";
    UPLOAD_FORGET = "DELETE FROM uploads WHERE number = ?1";
    PART_RECORD = "INSERT OR REPLACE INTO upload_parts (upload, part_number, size, tag) VALUES (?1, ?2, ?3, ?4)";
    PARTS = "SELECT part_number, size, tag FROM upload_parts WHERE upload = ?1 ORDER BY part_number";

    // Backups.
    BACKUP_INTENT_INSERT = "
        INSERT INTO backup_intents (remote, run, snapshot, begun_at_ns) VALUES (?1, ?2, ?3, ?4) RETURNING number";
    BACKUP_OBJECT_RECORD = "INSERT OR REPLACE INTO backup_objects (intent, name, upload) VALUES (?1, ?2, ?3)";
    BACKUP_INTENT_RESOLVE = "DELETE FROM backup_intents WHERE number = ?1";
    /// A row per object; one without an object for an intent that has none yet.
    BACKUP_INTENTS = "
        SELECT number, run, snapshot, begun_at_ns, name, upload
        FROM backup_intents LEFT JOIN backup_objects ON intent = number
        WHERE remote = ?1
        ORDER BY number, name";
    BACKUP_OUTCOME_RECORD = "
        INSERT OR REPLACE INTO backup_outcomes (remote, profile, command, success, run, snapshot, at_ns, message)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    BACKUP_OUTCOMES = "
        SELECT command, success, run, snapshot, at_ns, message FROM backup_outcomes
        WHERE remote = ?1 AND profile = ?2 ORDER BY at_ns DESC, success DESC";
    BACKUP_PROOF_RECORD = "
        INSERT OR REPLACE INTO backup_proofs (remote, snapshot, level, proven_at_ns) VALUES (?1, ?2, ?3, ?4)";
    BACKUP_PROOFS = "
        SELECT snapshot, level, proven_at_ns FROM backup_proofs WHERE remote = ?1 ORDER BY snapshot, level";
    BACKUP_PROOFS_FORGET = "DELETE FROM backup_proofs WHERE remote = ?1 AND snapshot = ?2";
    BACKUP_MANIFESTS = "SELECT name, version, body FROM backup_manifests WHERE remote = ?1";
    BACKUP_MANIFEST_RECORD = "
        INSERT OR REPLACE INTO backup_manifests (remote, name, version, body) VALUES (?1, ?2, ?3, ?4)";
    BACKUP_MANIFESTS_FORGET = "
        DELETE FROM backup_manifests
        WHERE remote = ?1 AND name NOT IN (SELECT value FROM json_each(?2))";

    // Deliveries, enforcement, values.
    DELIVERY_RECORD = "
        INSERT OR REPLACE INTO deliveries (pair, path, version, inbox_name, delivered_at_ns)
        VALUES (?1, ?2, ?3, ?4, ?5)";
    DELIVERY = "
        SELECT inbox_name, delivered_at_ns FROM deliveries
        WHERE pair = (SELECT number FROM pairs WHERE id = ?1) AND path = ?2 AND version = ?3";
    DELIVERIES_FORGET = "
        DELETE FROM deliveries
        WHERE pair = (SELECT number FROM pairs WHERE id = ?1) AND delivered_at_ns < ?2";
    INGESTED_PAGE = "
        SELECT path, local_size, local_mtime_ns, local_ctime_ns, local_inode, local_blake3, local_observed_at_ns,
               remote_version, remote_modified_at_ns, remote_stored_by_ns
        FROM ingested
        WHERE pair = ?1 AND path > ?2
        ORDER BY path
        LIMIT ?3";
    INGESTED_RECORD = "
        INSERT OR REPLACE INTO ingested (
            pair, path, local_size, local_mtime_ns, local_ctime_ns, local_inode, local_blake3, local_observed_at_ns,
            remote_version, remote_modified_at_ns, remote_stored_by_ns)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    CONFLICT_RECORD = "
        INSERT OR REPLACE INTO conflicts (pair, copy, path, lost, run, at_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    CONFLICTS = "
        SELECT copy, path, lost, run, at_ns FROM conflicts
        WHERE pair = (SELECT number FROM pairs WHERE id = ?1)
        ORDER BY copy";
    CONFLICT_FORGET = "
        DELETE FROM conflicts WHERE pair = (SELECT number FROM pairs WHERE id = ?1) AND copy = ?2";
    /// The other file may be a folder, of which stores without folders have no row: what lies in it sorts between
    /// `path/` and `path0`.
    CONFLICTS_FORGET_ENDED = "
        DELETE FROM conflicts
        WHERE pair = (SELECT number FROM pairs WHERE id = ?1)
          AND (NOT EXISTS (SELECT 1 FROM base WHERE base.pair = conflicts.pair AND base.key = conflicts.copy)
            OR NOT EXISTS (
                SELECT 1 FROM base
                WHERE base.pair = conflicts.pair
                  AND (base.key = conflicts.path
                    OR base.key >= conflicts.path || '/' AND base.key < conflicts.path || '0')))";
    ENFORCEMENT_RECORD = "
        INSERT OR REPLACE INTO enforcements (endpoint, enforcement, probed_at_ns) VALUES (?1, ?2, ?3)";
    ENFORCEMENT = "SELECT enforcement, probed_at_ns FROM enforcements WHERE endpoint = ?1";
    VALUE_SET = "INSERT OR REPLACE INTO pair_values (pair, name, value) VALUES (?1, ?2, ?3)";
    VALUE = "
        SELECT value FROM pair_values
        WHERE pair = (SELECT number FROM pairs WHERE id = ?1) AND name = ?2";
}
