-- Of a delivery that is dead, `due_ms` is when it was given up.
CREATE INDEX deliveries_died ON deliveries (due_ms) WHERE state = 1;

-- Dead deliveries that are sent again in bulk. `cursor` is the last one that the job has looked at, `upto` the last one
-- that there was when it began: what dies again meanwhile is not its own a second time.
CREATE TABLE replays (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    state       INTEGER NOT NULL, -- 0 running, 1 done, 2 cancelled
    created_ms  INTEGER NOT NULL,
    finished_ms INTEGER,
    account     TEXT,
    hook        TEXT,
    since_ms    INTEGER NOT NULL,
    until_ms    INTEGER NOT NULL,
    cursor      INTEGER NOT NULL,
    upto        INTEGER NOT NULL,
    total       INTEGER NOT NULL,
    replayed    INTEGER NOT NULL
);
CREATE INDEX replays_running ON replays (id) WHERE state = 0;
