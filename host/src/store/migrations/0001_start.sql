-- Accounts, hooks and metadata as JSON text. `rev` repeats the document's `_rev`, `account` its
-- `pvt_account_id`, `deleted` its `pvt_deleted`, so that no query needs to read the text.
CREATE TABLE documents (
    seq     INTEGER PRIMARY KEY,
    kind    TEXT    NOT NULL CHECK (kind IN ('account', 'hook', 'metadata')),
    id      TEXT    NOT NULL,
    rev     TEXT    NOT NULL,
    account TEXT,
    deleted INTEGER NOT NULL,
    doc     TEXT    NOT NULL,
    UNIQUE (kind, id)
);
CREATE INDEX documents_of_account ON documents (kind, account) WHERE account IS NOT NULL;

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Identities of accepted events. Rows are added in the order of time, so the oldest are the lowest `seq`.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY,
    identity    TEXT    NOT NULL UNIQUE,
    accepted_ms INTEGER NOT NULL
);

-- A payload that several deliveries of one event share. They lie between `id` and `last`.
CREATE TABLE payloads (
    id   INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    body BLOB    NOT NULL
);

-- Ids come from the host's own counter and are never used twice. Either `payload` or `payload_id` is set.
-- Small columns stand first, so that reading them does not walk over a long payload.
CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY,
    state       INTEGER NOT NULL, -- 0 pending, 1 dead
    tries       INTEGER NOT NULL,
    due_ms      INTEGER NOT NULL,
    created_ms  INTEGER NOT NULL,
    payload_id  INTEGER,
    hook        TEXT    NOT NULL,
    account     TEXT    NOT NULL,
    webhook_id  TEXT    NOT NULL,
    reason      TEXT,
    direct_hook BLOB,
    payload     BLOB
);
-- A delivery that arrives at its first try touches neither index.
CREATE INDEX deliveries_due ON deliveries (due_ms) WHERE state = 0 AND tries > 0;
CREATE INDEX deliveries_dead ON deliveries (account, hook, id) WHERE state = 1;
