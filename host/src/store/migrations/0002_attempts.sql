-- What was sent and what came back, a row for each try that is kept. `doc` is the document that clients are shown,
-- without any secret in it. Rows are added in the order of time and leave at the other end, so that the oldest are the
-- lowest `id`.
CREATE TABLE attempts (
    id         INTEGER PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    account    TEXT    NOT NULL,
    hook       TEXT    NOT NULL,
    doc        TEXT    NOT NULL
);
CREATE INDEX attempts_of_account ON attempts (account, created_ms);
CREATE INDEX attempts_of_hook ON attempts (account, hook, created_ms);
