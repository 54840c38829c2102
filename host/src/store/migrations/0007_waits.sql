-- How long a failed delivery was to wait when that was written, in milliseconds: where the clock was set back since,
-- `due_ms` alone would make it wait for longer.
ALTER TABLE deliveries ADD COLUMN wait_ms INTEGER;

-- Deliveries of events that are stored in pieces and whose last piece is not there: the ids of each piece. They are
-- no deliveries yet, and are removed where the host ended in between.
CREATE TABLE unfinished (
    first INTEGER PRIMARY KEY,
    last  INTEGER NOT NULL,
    event INTEGER NOT NULL
);
CREATE INDEX unfinished_of_event ON unfinished (event);
