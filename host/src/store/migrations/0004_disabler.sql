-- Failed tries that may count against a hook, `times` of them in a millisecond.
CREATE TABLE failures (
    hook    TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL,
    account TEXT    NOT NULL,
    times   INTEGER NOT NULL,
    PRIMARY KEY (hook, account, at_ms)
) WITHOUT ROWID;

-- Hooks whose last try failed: since when, how often, and the pause that they are in (`step` 0: none).
CREATE TABLE failing (
    hook     TEXT    PRIMARY KEY,
    account  TEXT    NOT NULL,
    since_ms INTEGER NOT NULL,
    failed   INTEGER NOT NULL,
    step     INTEGER NOT NULL,
    until_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- What was set while the host ran, as JSON text: of an account, or of the whole system under the empty id.
CREATE TABLE configs (
    account TEXT PRIMARY KEY,
    doc     TEXT NOT NULL
) WITHOUT ROWID;
