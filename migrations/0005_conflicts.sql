-- Conflicts: which file is the copy, beside which name, and which side's content gave that name up. Written before the copy
-- is made, so that a row may speak of a copy that is not there.
CREATE TABLE conflicts (
    pair  INTEGER NOT NULL REFERENCES pairs (number),
    copy  TEXT    NOT NULL,
    path  TEXT    NOT NULL,
    lost  TEXT    NOT NULL CHECK (lost IN ('local', 'remote', 'unknown')),
    run   TEXT    NOT NULL,
    at_ns INTEGER NOT NULL,
    PRIMARY KEY (pair, copy)
) STRICT, WITHOUT ROWID;
