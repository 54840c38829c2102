-- Events that a module could not handle, as they came. `identity` is that of the event's part for this module, as in
-- `events`; `failed_ms` is when it failed first, `last_ms` when it did last. Small columns stand first, so that reading
-- them does not walk over a long event.
CREATE TABLE failed_events (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    failed_ms  INTEGER NOT NULL,
    last_ms    INTEGER NOT NULL,
    times      INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    module     TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    sha256     TEXT    NOT NULL,
    category   TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    account    TEXT,
    identity   TEXT,
    source     TEXT,
    source_id  TEXT,
    request    TEXT,
    trace      TEXT,
    kind       TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    place      TEXT,
    log        TEXT    NOT NULL,
    event      BLOB    NOT NULL
);
CREATE UNIQUE INDEX failed_events_identity ON failed_events (identity) WHERE identity IS NOT NULL;
-- What a job counts stands in it.
CREATE INDEX failed_events_of_module ON failed_events (module, id, failed_ms, kind, sha256);
CREATE INDEX failed_events_age ON failed_events (failed_ms);

-- How many there are of each module, and what they take.
CREATE TABLE failed_totals (
    module TEXT    PRIMARY KEY,
    events INTEGER NOT NULL,
    bytes  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER failed_events_added AFTER INSERT ON failed_events BEGIN
    INSERT INTO failed_totals (module, events, bytes) VALUES (new.module, 1, new.bytes)
    ON CONFLICT (module) DO UPDATE SET events = events + 1, bytes = bytes + new.bytes;
END;
CREATE TRIGGER failed_events_removed AFTER DELETE ON failed_events BEGIN
    UPDATE failed_totals SET events = events - 1, bytes = bytes - old.bytes WHERE module = old.module;
END;
CREATE TRIGGER failed_events_changed AFTER UPDATE OF bytes ON failed_events BEGIN
    UPDATE failed_totals SET bytes = bytes + new.bytes - old.bytes WHERE module = new.module;
END;

-- Jobs that hand failed events to the generation that serves. `cursor` is the last event that the job has looked at,
-- `upto` the last one that there was when it began. `not_sha256`: only events that another file failed on, or that were
-- kept without a call.
CREATE TABLE module_replays (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    state       INTEGER NOT NULL, -- 0 running, 1 done, 2 cancelled, 3 stopped
    created_ms  INTEGER NOT NULL,
    finished_ms INTEGER,
    module      TEXT    NOT NULL,
    cause       TEXT    NOT NULL,
    since_ms    INTEGER NOT NULL,
    event       INTEGER,
    not_sha256  TEXT,
    cursor      INTEGER NOT NULL,
    upto        INTEGER NOT NULL,
    total       INTEGER NOT NULL,
    handled     INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    in_a_row    INTEGER NOT NULL,
    fired       INTEGER NOT NULL,
    reason      TEXT
);
CREATE INDEX module_replays_running ON module_replays (id) WHERE state = 0;
CREATE INDEX module_replays_of_module ON module_replays (module, id);
