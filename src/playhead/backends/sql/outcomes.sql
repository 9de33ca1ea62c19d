-- What happened to objects in an execution, and what publications have of them.

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

-- fragment: results_under (postgresql)
-- The messages directly below a result `t.n` of a publication. OFFSET 0 keeps the planner from joins that read a whole table.
CROSS JOIN LATERAL (SELECT p.message FROM published p
  WHERE p.up = t.n AND p.dataset + 0 = :dataset AND p.is_first AND {is_in} OFFSET 0) r
CROSS JOIN LATERAL (SELECT m.* FROM messages m WHERE m.n = r.message OFFSET 0) m

-- fragment: results_under (sqlite)
-- The same; CROSS JOIN keeps the order.
CROSS JOIN published p ON p.up = t.n AND p.dataset + 0 = :dataset AND p.is_first AND {is_in}
CROSS JOIN messages m ON m.n = p.message

-- fragment: published_at_or_below
-- The same rows of a publication: the messages whose results it has. They may be of any version of the config.
WITH RECURSIVE given (key, stage, path) AS MATERIALIZED (
  SELECT * FROM unnest(:keys::text[], :stages::text[], :paths::text[])
), tops AS MATERIALIZED (
  SELECT g.key, p.stage || '/' || p.path AS rest, coalesce(p.message, -p.output) AS n {at_given} WHERE {is_in}
), consuming AS MATERIALIZED (
  SELECT t.key, m.n, m.lane, m.state, m.failure_group, {of_route} AS is_target
  FROM tops t {results_under} JOIN lanes l ON l.id = m.lane WHERE substr(m.object_key, 38) = t.rest
), tree AS (
  SELECT c.key, true AS is_top, c.n, c.lane, c.state, c.failure_group FROM consuming c
  WHERE c.is_target OR c.key NOT IN (SELECT key FROM consuming WHERE is_target)
  UNION ALL
  SELECT t.key, false, m.n, m.lane, m.state, m.failure_group FROM tree t {results_under}
)

-- fragment: count_outcomes
-- Rows `tree`, counted by object, lane, state and group of failures. `digest` is the sum of the digests of the stored outputs; it
-- does not depend on their order.
SELECT f.key, f.is_top, f.lane, f.state, f.failure_group, count(*), min(f.n), sum(f.digest)
FROM (
  SELECT t.key, t.is_top, t.n, t.lane, t.state, t.failure_group,
    (SELECT sum(playhead_digest(o.key, o.sha256)) FROM outputs o WHERE o.message = t.n AND o.state = {STORED}) AS digest
  FROM tree t
) f GROUP BY f.key, f.is_top, f.lane, f.state, f.failure_group

-- name: outcomes_below
-- What happened to a page of objects in an execution.
{below}
{count_outcomes}

-- name: published_outcomes_below
-- What readers of a publication see of them.
{published_at_or_below}
{count_outcomes}

-- fragment: count_messages
-- Rows `tree`, counted by object and lane.
SELECT t.key, t.is_top, t.lane, count(*), count(CASE WHEN t.state NOT IN ({COMPLETED}, {TAKEN_OVER}) THEN 1 END),
  coalesce(sum(m.ended_at - m.started_at), 0.0)
FROM tree t CROSS JOIN messages m WHERE m.n = t.n GROUP BY t.key, t.is_top, t.lane

-- name: messages_below
-- The messages at or below a page of objects in an execution.
{below}
{count_messages}

-- name: published_messages_below
-- Those whose results a publication has.
{published_at_or_below}
{count_messages}

-- fragment: their_outputs (postgresql)
-- What was stored by rows `tree`. OFFSET keeps the planner from reading all outputs.
SELECT o.key, o.size, o.sha256, o.content_type, o.pruned_at, t.is_top, t.lane FROM tree t CROSS JOIN LATERAL (
  SELECT o.key, o.size, o.sha256, o.content_type, o.pruned_at FROM outputs o
  WHERE o.message = t.n AND o.state = {STORED} OFFSET 0) o
ORDER BY o.key LIMIT :limit

-- fragment: their_outputs (sqlite)
-- The same.
SELECT o.key, o.size, o.sha256, o.content_type, o.pruned_at, t.is_top, t.lane FROM tree t
CROSS JOIN outputs o INDEXED BY outputs_by_message ON o.message = t.n AND o.state = {STORED}
ORDER BY o.key LIMIT :limit

-- name: outputs_below
-- What was stored from a page of objects in an execution.
{below}
{their_outputs}

-- name: published_outputs_below
-- What a publication has of it.
{published_at_or_below}
{their_outputs}

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
-- What a person thinks of an object. A newer review replaces the one before. There is none after a prune of the records.
INSERT INTO reviews (execution, against, ordinal, is_right, reviewed_by, reviewed_at)
SELECT e.n, a.n, :ordinal::bigint, :is_right::boolean, :reviewed_by::text, playhead_now()
FROM executions e CROSS JOIN executions a
WHERE e.id = :execution::uuid AND a.id = :against::uuid AND e.records_deleted_at IS NULL
ON CONFLICT (execution, against, ordinal) DO UPDATE
SET is_right = excluded.is_right, reviewed_by = excluded.reviewed_by, reviewed_at = excluded.reviewed_at

-- name: reviews
-- The reviews of two executions, by the places of the objects.
SELECT r.ordinal, r.is_right, r.reviewed_by, r.reviewed_at FROM reviews r
WHERE r.execution = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid)
  AND r.against = (SELECT e.n FROM executions e WHERE e.id = :against::uuid)
ORDER BY r.ordinal LIMIT :limit

-- name: delete_reviews
-- The reviews of an execution whose records are deleted.
DELETE FROM reviews WHERE execution = :execution
