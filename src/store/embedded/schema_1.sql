-- A table with row numbers is appended to; random keys are scattered over indexes only.
-- Times and durations are in milliseconds. A timeout that is NULL follows the configuration, which may change at any
-- time: so no row holds the time it ends, and what is due is a range of an index under the clocks of the moment.
CREATE TABLE sessions (
    row           INTEGER PRIMARY KEY,
    key           BLOB    NOT NULL UNIQUE,   -- SHA-256 of the token
    id            BLOB    NOT NULL UNIQUE,   -- UUIDv7
    user          TEXT,                      -- NULL: anonymous
    created_at    INTEGER NOT NULL,
    last_activity INTEGER NOT NULL,          -- changes often, and keeps its width: the row is overwritten in place
    idle_ms       INTEGER,
    absolute_ms   INTEGER,
    revision      INTEGER NOT NULL,
    size          INTEGER NOT NULL,          -- bytes of data and user
    data          BLOB    NOT NULL
) STRICT;

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

-- Notices that a session ended, written with its removal.
CREATE TABLE outbox (
    seq        INTEGER PRIMARY KEY,
    event_id   BLOB    NOT NULL UNIQUE,
    session_id BLOB    NOT NULL,
    user       TEXT,
    reason     TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    next_at    INTEGER NOT NULL              -- hidden until then
) STRICT;

CREATE INDEX outbox_due ON outbox (next_at);
