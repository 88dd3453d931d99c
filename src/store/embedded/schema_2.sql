-- Keys that an app names itself, through the Redis door. What is small stands before the data, which may fill pages of
-- its own.
CREATE TABLE sessions_2 (
    row           INTEGER PRIMARY KEY,
    key           BLOB    NOT NULL UNIQUE,   -- SHA-256 of the token, or of key space and name
    id            BLOB    NOT NULL UNIQUE,   -- UUIDv7
    user          TEXT,                      -- NULL: anonymous
    created_at    INTEGER NOT NULL,
    last_activity INTEGER NOT NULL,          -- changes often, and keeps its width: the row is overwritten in place
    idle_ms       INTEGER,
    absolute_ms   INTEGER,
    revision      INTEGER NOT NULL,
    size          INTEGER NOT NULL,          -- bytes of data, user and name
    content       INTEGER NOT NULL,          -- 0: JSON, 1: text, 2: hash
    bound         INTEGER NOT NULL,          -- 1: a call has said who the user is, not the data
    database      INTEGER,                   -- the key space; NULL: the key is a token's
    name          BLOB,
    data          BLOB    NOT NULL
) STRICT;

INSERT INTO sessions_2
    SELECT row, key, id, user, created_at, last_activity, idle_ms, absolute_ms, revision, size, 0, 0, NULL, NULL, data
    FROM sessions ORDER BY row;
DROP TABLE sessions;
ALTER TABLE sessions_2 RENAME TO sessions;

-- Listing and eviction by age; with `size`, opening counts sessions and bytes a user without reading the table.
CREATE INDEX sessions_of_user ON sessions (user, created_at, id, size);
-- Eviction by idleness, and what has expired of one user. Anonymous sessions are the NULL of `user`.
CREATE INDEX activity_of_user ON sessions (user, last_activity);
-- What is idle or stale. Sessions with their own timeout stand apart, so that nobody has to step over them.
CREATE INDEX activity ON sessions (last_activity) WHERE idle_ms IS NULL;
CREATE INDEX own_activity ON sessions (last_activity) WHERE idle_ms IS NOT NULL;
CREATE INDEX own_idle_end ON sessions (last_activity + idle_ms) WHERE idle_ms IS NOT NULL;
-- What is past its absolute timeout.
CREATE INDEX creation ON sessions (created_at) WHERE absolute_ms IS NULL;
CREATE INDEX own_absolute_end ON sessions (created_at + absolute_ms) WHERE absolute_ms IS NOT NULL;
-- The few of one user that need a look of their own.
CREATE INDEX own_timeouts_of_user ON sessions (user) WHERE idle_ms IS NOT NULL OR absolute_ms IS NOT NULL;

-- Rows of a key space in the order of their numbers.
CREATE INDEX sessions_of_database ON sessions (database) WHERE database IS NOT NULL;

-- What is no session: locks, caches.
CREATE TABLE plain_keys (
    row        INTEGER PRIMARY KEY,
    key        BLOB    NOT NULL UNIQUE,
    database   INTEGER NOT NULL,
    name       BLOB    NOT NULL,
    content    INTEGER NOT NULL,
    expires_at INTEGER,
    revision   INTEGER NOT NULL,
    size       INTEGER NOT NULL,                                     -- bytes of name and data
    data       BLOB    NOT NULL
) STRICT;

CREATE INDEX plain_keys_of_database ON plain_keys (database);
CREATE INDEX plain_keys_due ON plain_keys (expires_at) WHERE expires_at IS NOT NULL;

-- Names whose session has ended a moment ago: a late save must not bring it back.
CREATE TABLE tombstones (
    key      BLOB    NOT NULL PRIMARY KEY,
    ended_at INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    final    INTEGER NOT NULL                                        -- 1: also for who knows that it has ended
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstones_due ON tombstones (until);
