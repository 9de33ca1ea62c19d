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

-- fragment: below (postgresql)
-- The consuming rows of a page of objects, and all rows below these.
WITH RECURSIVE {consuming}, {chosen}, tree AS (
  SELECT c.key, true AS is_top, m.n, m.lane, m.state, m.failure_group FROM chosen c CROSS JOIN LATERAL (
    SELECT m.n, m.lane, m.state, m.failure_group FROM messages m WHERE m.n = c.n OFFSET 0) m
  UNION ALL
  SELECT t.key, false, c.n, c.lane, c.state, c.failure_group FROM tree t CROSS JOIN LATERAL (
    SELECT m.n, m.lane, m.state, m.failure_group FROM messages m WHERE m.parent = t.n OFFSET 0) c
)

-- fragment: below (sqlite)
-- The same; CROSS JOIN keeps the order.
WITH RECURSIVE {consuming}, {chosen}, tree AS (
  SELECT c.key, true AS is_top, m.n, m.lane, m.state, m.failure_group
  FROM chosen c CROSS JOIN messages m ON m.n = c.n
  UNION ALL
  SELECT t.key, false, m.n, m.lane, m.state, m.failure_group FROM tree t
  CROSS JOIN messages m INDEXED BY messages_children ON m.parent = t.n
)

-- name: outcomes_below
-- What happened to a page of objects in an execution, counted by object, lane, state and group of failures. `digest` is
-- the sum of the digests of the stored outputs; it does not depend on their order.
{below}
SELECT f.key, f.is_top, f.lane, f.state, f.failure_group, count(*), min(f.n), sum(f.digest)
FROM (
  SELECT t.key, t.is_top, t.n, t.lane, t.state, t.failure_group,
    (SELECT sum(playhead_digest(o.key, o.sha256)) FROM outputs o WHERE o.message = t.n AND o.state = {STORED}) AS digest
  FROM tree t
) f GROUP BY f.key, f.is_top, f.lane, f.state, f.failure_group

-- name: messages_below
-- The messages at or below a page of objects in an execution, counted by object and lane.
{below}
SELECT t.key, t.is_top, t.lane, count(*), count(CASE WHEN t.state NOT IN ({COMPLETED}, {TAKEN_OVER}) THEN 1 END),
  coalesce(sum(m.ended_at - m.started_at), 0.0)
FROM tree t CROSS JOIN messages m WHERE m.n = t.n GROUP BY t.key, t.is_top, t.lane

-- name: outputs_below (postgresql)
-- What was stored from a page of objects in an execution. OFFSET keeps the planner from reading all outputs.
{below}
SELECT o.key, o.size, o.sha256, o.content_type, o.pruned_at, t.is_top, t.lane FROM tree t CROSS JOIN LATERAL (
  SELECT o.key, o.size, o.sha256, o.content_type, o.pruned_at FROM outputs o
  WHERE o.message = t.n AND o.state = {STORED} OFFSET 0) o
ORDER BY o.key LIMIT :limit

-- name: outputs_below (sqlite)
-- The same.
{below}
SELECT o.key, o.size, o.sha256, o.content_type, o.pruned_at, t.is_top, t.lane FROM tree t
CROSS JOIN outputs o INDEXED BY outputs_by_message ON o.message = t.n AND o.state = {STORED}
ORDER BY o.key LIMIT :limit

-- name: listed_after
-- The root rows that a run or a replay has listed, in their order.
SELECT m.ordinal, m.object_key, m.stage, m.id FROM messages m /* INDEXED BY messages_by_ordinal */
WHERE m.execution = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid) AND m.ordinal > :after
ORDER BY m.ordinal LIMIT :limit

-- name: listed_at
-- Some of them.
SELECT m.ordinal, m.object_key, m.stage, m.id FROM messages m
WHERE m.execution = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid)
  AND m.ordinal = ANY(:ordinals::bigint[]) ORDER BY m.ordinal

-- name: failures
-- Why these rows are dead.
SELECT m.n, m.id, m.lane, m.error_code, m.error FROM messages m WHERE m.n = ANY(:rows::bigint[]) AND m.state = {DEAD}

-- name: record_review
-- What a person thinks of an object. A newer review replaces the one before.
INSERT INTO reviews (execution, against, ordinal, is_right, reviewed_by, reviewed_at)
SELECT e.n, a.n, :ordinal::bigint, :is_right::boolean, :reviewed_by::text, playhead_now()
FROM executions e CROSS JOIN executions a WHERE e.id = :execution::uuid AND a.id = :against::uuid
ON CONFLICT (execution, against, ordinal) DO UPDATE
SET is_right = excluded.is_right, reviewed_by = excluded.reviewed_by, reviewed_at = excluded.reviewed_at

-- name: reviews
-- The reviews of two executions, by the places of the objects.
SELECT r.ordinal, r.is_right, r.reviewed_by, r.reviewed_at FROM reviews r
WHERE r.execution = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid)
  AND r.against = (SELECT e.n FROM executions e WHERE e.id = :against::uuid)
ORDER BY r.ordinal LIMIT :limit
