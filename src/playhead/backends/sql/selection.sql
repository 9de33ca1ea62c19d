-- What a replay selects by: the rows of objects, and what happened to them.

-- name: sources
-- The rows of stored objects.
SELECT key, content_type, attributes, size, sha256, location FROM outputs
WHERE key = ANY(:keys::text[]) AND state = {STORED} AND pruned_at IS NULL

-- name: has_failed
-- Whether a message of an execution failed or was cancelled.
SELECT EXISTS (SELECT 1 FROM messages m /* INDEXED BY messages_by_state */
  WHERE m.execution = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid)
    AND m.state IN ({DEAD}, {CANCELLED}))

-- fragment: consuming (postgresql)
-- The rows of an execution that received an object of a page: roots; or else children of the message that produced it,
-- which are read once for each producer: one message may have 100,000 children, and no index has their keys too. OFFSET 0
-- keeps the planner from joins that read a whole table, and IS TRUE from a join that compares each child with each key.
given (key) AS MATERIALIZED (
  SELECT * FROM unnest(:keys::text[])
), within AS MATERIALIZED (
  SELECT n FROM executions WHERE id = :execution::uuid
), roots AS MATERIALIZED (
  SELECT g.key, r.n, r.lane, r.state FROM within w CROSS JOIN given g CROSS JOIN LATERAL (
    SELECT m.n, m.lane, m.state, m.execution FROM messages m WHERE m.object_key = g.key AND m.parent IS NULL OFFSET 0) r
  WHERE r.execution = w.n
), producers AS MATERIALIZED (
  SELECT DISTINCT o.message FROM outputs o WHERE o.key = ANY(:keys::text[]) AND o.state = {STORED}
    AND o.message IS NOT NULL AND o.key NOT IN (SELECT key FROM roots)
), consuming AS MATERIALIZED (
  SELECT key, n, lane, state FROM roots
  UNION ALL
  SELECT c.object_key, c.n, c.lane, c.state FROM within w CROSS JOIN producers above CROSS JOIN LATERAL (
    SELECT m.object_key, m.n, m.lane, m.state, m.execution FROM messages m WHERE m.parent = above.message OFFSET 0) c
  WHERE c.execution = w.n AND (c.object_key IN (SELECT key FROM given)) IS TRUE
    AND c.object_key NOT IN (SELECT key FROM roots)
)

-- fragment: consuming (sqlite)
-- The same; CROSS JOIN keeps the order.
given (key) AS MATERIALIZED (
  SELECT * FROM unnest(:keys::text[])
), within AS MATERIALIZED (
  SELECT n FROM executions WHERE id = :execution::uuid
), roots AS MATERIALIZED (
  SELECT g.key, m.n, m.lane, m.state FROM within w CROSS JOIN given g
  CROSS JOIN messages m INDEXED BY messages_roots_by_key ON m.object_key = g.key AND m.parent IS NULL
    AND m.execution + 0 = w.n
), producers AS MATERIALIZED (
  SELECT DISTINCT o.message FROM given g CROSS JOIN outputs o ON o.key = g.key
  WHERE o.state = {STORED} AND o.message IS NOT NULL AND g.key NOT IN (SELECT key FROM roots)
), consuming AS MATERIALIZED (
  SELECT key, n, lane, state FROM roots
  UNION ALL
  SELECT m.object_key, m.n, m.lane, m.state FROM within w CROSS JOIN producers above
  CROSS JOIN messages m INDEXED BY messages_children ON m.parent = above.message
    AND m.execution + 0 = w.n AND m.object_key IN (SELECT key FROM given)
    AND m.object_key NOT IN (SELECT key FROM roots)
)

-- fragment: chosen
-- Of the rows `consuming`, which are those that received an object: those of the target route, if there are any.
target AS MATERIALIZED (
  SELECT l.id FROM executions e JOIN lanes l ON l.config_version = e.config_version
  WHERE e.id = :execution::uuid AND {of_route}
), chosen AS MATERIALIZED (
  SELECT key, n, state FROM consuming WHERE :has_failed::boolean AND (lane IN (SELECT id FROM target)
    OR key NOT IN (SELECT key FROM consuming WHERE lane IN (SELECT id FROM target)))
)

-- fragment: found_below
-- The keys with a row `tree` that failed, or with `unfinished` was cancelled; then also the keys that no row received.
SELECT key FROM tree WHERE state = {DEAD} OR (:unfinished::boolean AND state = {CANCELLED})
UNION
SELECT key FROM given WHERE :unfinished::boolean AND key NOT IN (SELECT key FROM consuming)

-- name: failed_below (postgresql)
-- Keys of a page whose consuming rows in an execution, or rows below these, failed.
WITH RECURSIVE {consuming}, {chosen}, tree AS (
  SELECT key, n, state FROM chosen
  UNION ALL
  SELECT t.key, c.n, c.state FROM tree t CROSS JOIN LATERAL (
    SELECT m.n, m.state FROM messages m WHERE m.parent = t.n OFFSET 0) c
)
{found_below}

-- name: failed_below (sqlite)
-- The same; CROSS JOIN keeps the order.
WITH RECURSIVE {consuming}, {chosen}, tree AS (
  SELECT key, n, state FROM chosen
  UNION ALL
  SELECT t.key, m.n, m.state FROM tree t
  CROSS JOIN messages m INDEXED BY messages_children ON m.parent = t.n
)
{found_below}
