-- Recorded outputs, for comparing executions. Rows are found by one indexed column, because with joins, PostgreSQL's
-- planner may read whole tables for each page.

-- name: recorded
-- Stored inputs and outputs in a range of keys.
SELECT key, size, sha256, content_type, pruned_at FROM outputs
WHERE key >= :first AND key < :last AND state = {STORED} ORDER BY key LIMIT :limit

-- name: inputs_of
-- What the messages received that produced these outputs.
SELECT o.key, m.object_key, m.stage FROM outputs o JOIN messages m ON m.n = o.message
WHERE o.key = ANY(:keys::text[]) AND o.state = {STORED}

-- name: listed_by
-- Objects for which an execution has roots. The sum keeps the planner from an index of executions, with which it would
-- read all messages of one.
SELECT DISTINCT m.object_key FROM messages m
WHERE m.object_key = ANY(:keys::text[]) AND m.parent IS NULL
  AND m.execution + 0 = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid)
