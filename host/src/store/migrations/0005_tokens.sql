-- Access tokens, as hashes. `id` is the public part of a token's text.
CREATE TABLE tokens (
    id         TEXT    PRIMARY KEY,
    account    TEXT    NOT NULL,
    admin      INTEGER NOT NULL,
    name       TEXT,
    hash       BLOB    NOT NULL CHECK (length(hash) = 32),
    created_ms INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    used_ms    INTEGER
) WITHOUT ROWID;

-- Who changed what. Rows are added in the order of time, so the oldest are the lowest `id`.
CREATE TABLE audit (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms         INTEGER NOT NULL,
    token         TEXT    NOT NULL,
    token_account TEXT,
    address       TEXT,
    action        TEXT    NOT NULL,
    account       TEXT,
    document      TEXT,
    request       TEXT    NOT NULL
);
CREATE INDEX audit_of_account ON audit (account, id) WHERE account IS NOT NULL;
