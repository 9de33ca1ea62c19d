-- What happened to an object: walks over messages.

-- name: message_number
-- The number of a message. While the records of its execution are deleted, it has none.
SELECT m.n FROM messages m JOIN executions e ON e.n = m.execution WHERE m.id = :id::uuid AND e.records_deleted_at IS NULL

-- name: chain_up
-- The messages above a message: the parent, or for a root the message that produced its object.
WITH RECURSIVE up (n, parent, object_key, distance, via) AS (
  SELECT n, parent, object_key, 0, 'self' FROM messages WHERE n = :start
  UNION ALL
  SELECT p.n, p.parent, p.object_key, u.distance - 1, CASE WHEN u.parent IS NULL THEN 'replay' ELSE 'parent' END
  FROM up u JOIN messages p ON p.n = coalesce(u.parent, (SELECT o.message FROM outputs o WHERE o.key = u.object_key))
  WHERE u.distance > 1 - :limit::bigint
)
SELECT n, distance, via FROM up ORDER BY distance DESC

-- name: chain_down (postgresql)
-- The messages directly below each of these: children, and roots that took one of their outputs; and which is above.
-- The sum keeps the planner from the primary key, and OFFSET keeps each step a lookup: with late statistics, the planner
-- would read all roots for each of these.
SELECT c.n, c.via, above.n FROM unnest(:above::bigint[]) WITH ORDINALITY AS above (n, place) CROSS JOIN LATERAL (
  (SELECT m.n, 'parent' AS via FROM messages m WHERE m.parent = above.n ORDER BY m.n + 0 LIMIT :limit)
  UNION ALL
  (SELECT r.n, 'replay' FROM (SELECT o.key FROM outputs o WHERE o.message = above.n AND o.state = {STORED} OFFSET 0) o
    CROSS JOIN LATERAL (SELECT m.n FROM messages m WHERE m.object_key = o.key AND m.parent IS NULL OFFSET 0) r
    ORDER BY r.n LIMIT :limit)) c
ORDER BY above.place, c.n LIMIT :limit

-- name: chain_down (sqlite)
-- The same; json_each numbers its values, in `key`.
SELECT n, via, above FROM (
  SELECT above.key AS place, m.n AS n, 'parent' AS via, above.value AS above FROM json_each(:above::bigint[]) above
  CROSS JOIN messages m INDEXED BY messages_children ON m.parent = above.value
  UNION ALL
  SELECT above.key, m.n, 'replay', above.value FROM json_each(:above::bigint[]) above
  CROSS JOIN outputs o INDEXED BY outputs_by_message ON o.message = above.value AND o.state = {STORED}
  CROSS JOIN messages m INDEXED BY messages_roots_by_key ON m.object_key = o.key AND m.parent IS NULL)
ORDER BY place, n LIMIT :limit

-- name: children (postgresql)
-- The messages below each of these in the same execution.
SELECT c.n FROM unnest(:above::bigint[]) WITH ORDINALITY AS above (n, place)
CROSS JOIN LATERAL (SELECT m.n FROM messages m WHERE m.parent = above.n ORDER BY m.n LIMIT :limit) c
ORDER BY above.place, c.n LIMIT :limit

-- name: children (sqlite)
-- The same; json_each numbers its values, in `key`.
SELECT m.n FROM json_each(:above::bigint[]) above
CROSS JOIN messages m INDEXED BY messages_children ON m.parent = above.value
ORDER BY above.key, m.n LIMIT :limit

-- name: takers
-- The messages that received an object: roots, and children of the message that produced it. The sum keeps the planner
-- from an index of executions, with which it would read all messages of one.
SELECT m.n, 'replay' AS via, m.id FROM messages m /* INDEXED BY messages_roots_by_key */
WHERE m.object_key = :key AND m.parent IS NULL
AND m.execution + 0 = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid) -- if given
UNION ALL
SELECT m.n, 'parent', m.id FROM outputs o CROSS JOIN messages m /* INDEXED BY messages_children */
WHERE o.key = :key AND o.state = {STORED} AND m.parent = o.message AND m.object_key = o.key
AND m.execution + 0 = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid) -- if given
ORDER BY 1 LIMIT :limit

-- name: replayed (postgresql)
-- Roots of an execution that received outputs of messages. OFFSET as in `chain_down`.
SELECT x.id FROM unnest(:above::bigint[]) AS above (n) CROSS JOIN LATERAL (
  SELECT r.n, r.id FROM (SELECT o.key FROM outputs o WHERE o.message = above.n AND o.state = {STORED} OFFSET 0) o
  CROSS JOIN LATERAL (SELECT m.n, m.id, m.execution FROM messages m WHERE m.object_key = o.key AND m.parent IS NULL
    OFFSET 0) r
  WHERE r.execution = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid)
  LIMIT :limit) x
ORDER BY x.n LIMIT :limit

-- name: replayed (sqlite)
-- The same.
SELECT m.id FROM json_each(:above::bigint[]) above
CROSS JOIN outputs o INDEXED BY outputs_by_message ON o.message = above.value AND o.state = {STORED}
CROSS JOIN messages m INDEXED BY messages_roots_by_key ON m.object_key = o.key AND m.parent IS NULL
  AND m.execution + 0 = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid)
ORDER BY m.n LIMIT :limit

-- name: message_numbers
-- The same of several, oldest first.
SELECT m.n FROM messages m JOIN executions e ON e.n = m.execution
WHERE m.id = ANY(:ids::uuid[]) AND e.records_deleted_at IS NULL ORDER BY m.n

-- name: descendants
-- The columns that a `Descendant` is built from. The text of an error is shortened.
SELECT m.n, m.id, e.id, m.lane, m.object_key, m.state, {attempts}, m.error_code, substr(m.error, 1, :length::int),
  m.not_before, {outputs_pruned_at}, m.declaration
FROM messages m JOIN executions e ON e.n = m.execution WHERE m.n = ANY(:rows::bigint[])

-- name: relatives
-- The columns that a `Relative` is built from, except its outputs.
SELECT m.n, m.id, e.id, m.lane, m.object_key, m.state FROM messages m JOIN executions e ON e.n = m.execution
WHERE m.n = ANY(:rows::bigint[])

-- name: outputs_counted
-- How many outputs messages have, and the first one.
SELECT o.message, count(*), min(o.key) FROM outputs o WHERE o.message = ANY(:rows::bigint[]) AND o.state = {STORED}
GROUP BY o.message

-- name: known_keys
-- Keys of objects that the catalog contains: stored ones, and those that a run or a replay has listed.
SELECT key FROM outputs WHERE key = ANY(:keys::text[]) AND state = {STORED}
UNION SELECT object_key FROM messages WHERE object_key = ANY(:keys::text[]) AND parent IS NULL

-- name: some_outputs
-- Outputs of a message, with their number. Without an order: the message may have a hundred thousand.
SELECT o.key, (SELECT count(*) FROM outputs a /* INDEXED BY outputs_by_message */ WHERE a.message = m.n AND a.state = {STORED})
FROM messages m JOIN outputs o /* INDEXED BY outputs_by_message */ ON o.message = m.n
WHERE m.id = :id::uuid AND o.state = {STORED} LIMIT :limit
