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

-- name: sent_by
-- Objects for which an execution has roots that it has sent. The sums keep the planner from indexes of executions and
-- states, with which it would read all messages of one.
SELECT DISTINCT m.object_key FROM messages m
WHERE m.object_key = ANY(:keys::text[]) AND m.parent IS NULL
  AND m.execution + 0 = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid)
  AND NOT (m.state + 0 IN ({PENDING}, {CANCELLED}) AND m.published IS NULL
    AND m.ordinal > (SELECT j.watermark FROM jobs j WHERE j.execution = m.execution))
