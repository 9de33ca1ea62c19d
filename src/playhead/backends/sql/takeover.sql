-- What a run takes over from an earlier one. `takeover.py` has the order of the statements.

-- name: set_plan
-- The run whose results are taken over, and what may be taken over.
UPDATE jobs SET since = :since::uuid, plan = :plan WHERE execution = :execution

-- name: plan_of
-- What a run may take over; NULL: nothing.
SELECT j.since, j.plan FROM jobs j JOIN executions e ON e.n = j.execution WHERE e.id = :execution::uuid

-- name: count_inputs_and_outputs
-- How many inputs an execution has, and how many inputs and outputs are below its prefix.
SELECT (SELECT count(*) FROM outputs o WHERE o.key > :first_input AND o.key < :last_input),
  (SELECT count(*) FROM outputs o WHERE o.key > :first AND o.key < :last)

-- name: refer_inputs
-- Inputs whose bytes an earlier run has stored under the same path.
WITH given (key, old, sha256) AS (SELECT * FROM unnest(:keys::text[], :olds::text[], :hashes::bytea[]))
INSERT INTO outputs (key, state, size, sha256, fingerprint, content_type, attributes, created_at, location)
SELECT g.key, {WRITING}, o.size, o.sha256, o.fingerprint, o.content_type, o.attributes, o.created_at,
  coalesce(o.location, o.key)
FROM given g JOIN outputs o ON o.key = g.old
WHERE o.sha256 = g.sha256 AND o.state = {STORED} AND o.pruned_at IS NULL ORDER BY g.key
ON CONFLICT DO NOTHING

-- name: same_inputs
-- Roots, and those of the earlier run for an input with the same path and the same content. The sum keeps the planner
-- from an index of executions, with which it would read all messages of one.
WITH given (id, old) AS (SELECT * FROM unnest(:ids::uuid[], :olds::text[]))
SELECT m.id, m.n, m.lane, s.n, s.lane, s.state, s.code
FROM given g JOIN messages m ON m.id = g.id JOIN outputs i ON i.key = m.object_key
JOIN outputs o ON o.key = g.old AND o.sha256 = i.sha256 AND o.state = {STORED}
JOIN messages s ON s.object_key = g.old AND s.parent IS NULL AND s.execution + 0 = :source::bigint

-- name: children_of
-- All children of messages. No index has their keys too: which child has the same key as another is found in Python,
-- because one message may have 100,000 children, and a join would compare each with each.
SELECT n, parent, object_key, lane, state, code FROM messages
WHERE parent = ANY(:parents::bigint[])

-- fragment: taken
-- The rows that are taken over, each with the row whose result it gets.
WITH given (n, source) AS (SELECT * FROM unnest(:rows::bigint[], :sources::bigint[]))

-- name: insert_references
-- Outputs of the earlier messages become outputs of the new ones. The id at the start of a key has 36 characters.
{taken}
INSERT INTO outputs (key, message, attempt, state, size, sha256, fingerprint, content_type, attributes, created_at,
  location)
SELECT :execution::text || substr(o.key, 37), g.n, o.attempt, {STORED}, o.size, o.sha256, o.fingerprint,
  o.content_type, o.attributes, o.created_at, coalesce(o.location, o.key)
FROM given g JOIN outputs o ON o.message = g.source WHERE o.state = {STORED} ORDER BY o.n
ON CONFLICT DO NOTHING

-- name: missing_references
-- Rows that did not get all outputs of the earlier ones: another message has bound a key.
{taken}
SELECT DISTINCT g.n FROM given g JOIN outputs o ON o.message = g.source AND o.state = {STORED}
JOIN outputs x ON x.key = :execution::text || substr(o.key, 37) WHERE x.message IS DISTINCT FROM g.n

-- name: delete_references
-- Outputs of rows that are processed after all.
DELETE FROM outputs WHERE message = ANY(:rows::bigint[])

-- name: close_taken_over
-- A copy of a copy names the message that was processed.
{taken}
UPDATE messages AS m SET state = {TAKEN_OVER}, published = {PUBLISHED}, ended_at = playhead_now(), code = s.code,
  error = s.error, original = coalesce(s.original, s.n)
FROM given g JOIN messages s ON s.n = g.source WHERE m.n = g.n

-- name: outputs_of
-- Outputs of messages, in their order.
SELECT message, key FROM outputs WHERE message = ANY(:rows::bigint[]) ORDER BY n

-- name: stored_references
-- References under a key or below it. In bytes, `{prefix}/` and `{prefix}0` enclose the keys below; others may be between
-- the prefix and the first.
SELECT key, location, size, created_at FROM outputs /* INDEXED BY outputs_references */
WHERE location IS NOT NULL AND state = {STORED} AND pruned_at IS NULL
  AND key >= :prefix AND key < :last AND key > :after AND (key = :prefix OR key > :first) ORDER BY key LIMIT :limit
