-- Of a pending delivery that was put off, when it is due. All that is asked of these stands in the index: any number may
-- wait, and no row is read before its time comes near. A delivery that arrives at its first try touches no index.
ALTER TABLE deliveries ADD COLUMN later_ms INTEGER;
UPDATE deliveries SET later_ms = due_ms WHERE state = 0 AND tries > 0;
DROP INDEX deliveries_due;
CREATE INDEX deliveries_later ON deliveries (later_ms) WHERE later_ms IS NOT NULL;

-- Dead ones are listed by their ids, however many others wait.
CREATE INDEX deliveries_dead_ids ON deliveries (id) WHERE state = 1;
CREATE INDEX deliveries_dead_of_account ON deliveries (account, id) WHERE state = 1;

-- How much is owed, changed in each commit by what it does: `pending` and `dead` deliveries, and of those that are
-- pending the ones that were never put off (`untried`), which no index leads to.
CREATE TABLE delivery_totals (
    pending INTEGER NOT NULL,
    untried INTEGER NOT NULL,
    dead    INTEGER NOT NULL
);
INSERT INTO delivery_totals
    SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 0 AND later_ms IS NULL),
           count(*) FILTER (WHERE state = 1)
    FROM deliveries;
