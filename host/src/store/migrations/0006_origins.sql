-- Where the event of a delivery came from: the id of the request that brought it, and its place in a trace (the value
-- of a W3C `traceparent`). Behind the payload, as they are read with it.
ALTER TABLE deliveries ADD COLUMN request TEXT;
ALTER TABLE deliveries ADD COLUMN trace TEXT;
