-- What people look at.

-- name: last_execution
-- The number of the newest execution.
SELECT max(n) FROM executions

-- name: execution_bounds
-- The first and the last number of executions that began in a period. Numbers and times have the same order, unless a
-- clock was set back. The sum keeps both planners from a walk over all numbers.
SELECT min(e.n + 0), max(e.n + 0) FROM executions e WHERE true
AND e.created_at >= :since::float8 -- if given
AND e.created_at < :until::float8 -- if given

-- fragment: of_executions
-- Conditions of a list. SQLite reads up to 100,000 rows for a rare status or kind in 7 ms. With an index of status, it
-- would look up as many rows one by one if most executions have the status, which takes three times as long. The sums
-- keep both planners from the index of times, which has another order.
AND e.status = :status -- if given
AND e.kind = :kind -- if given
AND e.parent = :parent::uuid -- if given
AND e.config = (SELECT c.n FROM configs c WHERE c.name = :config) -- if given
AND e.created_at + 0 >= :since::float8 -- if given
AND e.created_at + 0 < :until::float8 -- if given

-- name: newest_executions
-- Numbers of executions, newest first. Running ones are found by the index of those that have not settled.
SELECT e.n FROM executions e WHERE e.n < :before
AND e.n >= :first -- if given
AND NOT e.settled AND :running::boolean -- if given
AND EXISTS (SELECT 1 FROM tags t WHERE t.tag = :tag AND t.execution = e.n) -- if given
{of_executions}
ORDER BY e.n DESC LIMIT :limit

-- name: newest_tagged_executions
-- The same, found by their tag. CROSS JOIN keeps SQLite at the tags, whose index has their order.
SELECT t.execution FROM tags t CROSS JOIN executions e
WHERE e.n = t.execution AND t.tag = :tag AND t.execution < :before
AND t.execution >= :first -- if given
{of_executions}
ORDER BY t.execution DESC LIMIT :limit

-- name: records_deleted
-- Those of these executions whose records are deleted.
SELECT id, records_deleted_at FROM executions WHERE id = ANY(:executions::uuid[]) AND records_deleted_at IS NOT NULL

-- name: has_prunings
-- Whether anything was pruned of executions.
SELECT EXISTS (SELECT 1 FROM prunings p JOIN executions e ON e.n = p.execution WHERE e.id = ANY(:executions::uuid[]))

-- name: pruned_among
-- Those of these keys whose objects are pruned. No index has them: it would grow with every pruned object, and most of
-- these are in no listing any more.
SELECT key FROM outputs WHERE key = ANY(:keys::text[]) AND pruned_at IS NOT NULL

-- name: execution_counts
-- The counts of an execution, if they are final.
SELECT n, config_version, counts FROM executions WHERE id = :id::uuid

-- name: execution_totals
-- The totals of the stages of an execution, if they are final, and what decides whether they can be.
SELECT n, config_version, settled, revision, totals, playhead_now() FROM executions WHERE id = :id::uuid

-- name: count_outputs
-- Number and size of the stored outputs of a stage, pruned ones too. Reads the rows of the stage. With an index of state
-- and size, each output would cost more when it is stored.
SELECT count(*), coalesce(sum(o.size), 0)::bigint FROM outputs o
WHERE o.key > :first AND o.key < :last AND o.state = {STORED}

-- name: record_totals
-- Record totals, unless the execution has run again since they were counted: each end raises the revision.
UPDATE executions SET totals = :totals WHERE n = :execution AND settled AND revision = :revision

-- name: newest_execution
-- The run or replay that was recorded last.
SELECT id FROM executions WHERE kind <> 'adopted' ORDER BY n DESC LIMIT 1

-- name: executions_ending
-- Ids of executions by their last two bytes.
SELECT id FROM executions /* INDEXED BY executions_by_id_end */ WHERE substr(uuid_send(id), 15) = :tail::bytea

-- name: batches_ending
-- Ids of replay batches by their last two bytes.
SELECT batch FROM executions /* INDEXED BY executions_by_batch_end */
WHERE batch IS NOT NULL AND substr(uuid_send(batch), 15) = :tail::bytea

-- name: dead_ending
-- Ids of dead letters by their last two bytes.
SELECT id FROM messages /* INDEXED BY messages_dead_by_id_end */
WHERE state = {DEAD} AND substr(uuid_send(id), 15) = :tail::bytea

-- name: messages_ending
-- Ids of an execution's messages by their last two bytes. Reads all of them.
SELECT m.id FROM executions e JOIN messages m ON m.execution = e.n
WHERE e.id = :execution::uuid AND substr(uuid_send(m.id), 15) = :tail::bytea

-- fragment: outputs_pruned_at
-- When the outputs of the message `m` were pruned. They are in one stage, so any of them decides.
(SELECT o.pruned_at FROM outputs o /* INDEXED BY outputs_by_message */
  WHERE o.message = m.n AND o.state = {STORED} LIMIT 1)

-- fragment: lineage
-- The columns that a `Lineage` is built from.
SELECT m.n, m.id, p.id, e.id, e.batch, m.lane, m.state, {attempts}, m.object_key, m.error_code, m.error,
  m.started_at, m.ended_at, m.code, (SELECT o.pruned_at FROM outputs o WHERE o.key = m.object_key),
  {outputs_pruned_at}, (SELECT o.id FROM messages o WHERE o.n = m.original), m.declaration
FROM messages m JOIN executions e ON e.n = m.execution LEFT JOIN messages p ON p.n = m.parent

-- name: keys_of_messages
-- The objects that messages refer to.
SELECT id, object_key FROM messages WHERE id = ANY(:ids::uuid[])

-- name: lineage_of_message
-- One message. While the records of its execution are deleted, it has none.
{lineage} WHERE m.id = :id::uuid AND e.records_deleted_at IS NULL

-- name: lineage_of_consumers
-- Roots that took an object, newest first.
{lineage} WHERE m.object_key = :key AND m.parent IS NULL ORDER BY m.n DESC

-- name: lineages
-- Messages by their numbers, newest first.
{lineage} WHERE m.n = ANY(:rows::bigint[]) ORDER BY m.n DESC

-- name: first_outputs (postgresql)
-- The number of outputs of each message, and its first outputs. The sum keeps the planner from the primary key, with
-- which it would read outputs of all messages.
SELECT above.n, (SELECT count(*) FROM outputs o WHERE o.message = above.n AND o.state = {STORED}), x.key
FROM unnest(:messages::bigint[]) AS above (n) LEFT JOIN LATERAL (
  SELECT o.n, o.key FROM outputs o WHERE o.message = above.n AND o.state = {STORED} ORDER BY o.n + 0 LIMIT :limit) x
ON true ORDER BY x.n

-- name: first_outputs (sqlite)
-- The same; json_each is SQLite's LATERAL.
SELECT above.value, (SELECT count(*) FROM outputs o INDEXED BY outputs_by_message
  WHERE o.message = above.value AND o.state = {STORED}), x.value
FROM json_each(:messages::bigint[]) above
LEFT JOIN json_each((SELECT json_group_array(key) FROM (SELECT o.key FROM outputs o INDEXED BY outputs_by_message
  WHERE o.message = above.value AND o.state = {STORED} ORDER BY o.n LIMIT :limit))) x
ORDER BY above.value, x.key

-- name: producer
-- The message that produced an object.
SELECT message FROM outputs WHERE key = :key AND state = {STORED}

-- fragment: dead_letter
-- The columns that a `DeadLetter` is built from.
SELECT m.n, m.id, e.id, m.lane, m.object_key, {attempts}, m.error_code, m.error, m.ended_at,
  m.failure_group, m.traceback
FROM messages m JOIN executions e ON e.n = m.execution

-- name: dead_letter
-- One dead letter.
{dead_letter} WHERE m.id = :id::uuid AND m.state = {DEAD}

-- name: dead_letters
-- Dead letters by their numbers, newest first.
{dead_letter} WHERE m.n = ANY(:rows::bigint[]) ORDER BY m.n DESC

-- name: newest_groups (postgresql)
-- Groups of failures with the number of the newest dead letter of each, newest first. Each group is one step in the index.
WITH RECURSIVE groups (id) AS (
  SELECT (SELECT m.failure_group FROM messages m WHERE m.state = {DEAD} AND m.failure_group >= 0
    AND m.execution = :execution -- if given
    ORDER BY m.failure_group LIMIT 1)
  UNION ALL
  SELECT (SELECT m.failure_group FROM messages m WHERE m.state = {DEAD} AND m.failure_group > g.id
    AND m.execution = :execution -- if given
    ORDER BY m.failure_group LIMIT 1)
  FROM groups g WHERE g.id IS NOT NULL
)
SELECT x.n FROM groups g CROSS JOIN LATERAL (SELECT m.n FROM messages m WHERE m.state = {DEAD} AND m.failure_group = g.id
  AND m.execution = :execution -- if given
  ORDER BY -m.n LIMIT 1) x
WHERE x.n < :before
AND EXISTS (SELECT 1 FROM messages m JOIN lanes l ON l.id = m.lane WHERE m.n = x.n AND {of_route}) -- if given
AND EXISTS (SELECT 1 FROM messages m JOIN lanes l ON l.id = m.lane WHERE m.n = x.n AND {of_config}) -- if given
ORDER BY x.n DESC LIMIT :limit

-- name: newest_groups (sqlite)
-- The same.
WITH RECURSIVE groups (id) AS (
  SELECT (SELECT m.failure_group FROM messages m WHERE m.state = {DEAD} AND m.failure_group >= 0
    AND m.execution = :execution -- if given
    ORDER BY m.failure_group LIMIT 1)
  UNION ALL
  SELECT (SELECT m.failure_group FROM messages m WHERE m.state = {DEAD} AND m.failure_group > g.id
    AND m.execution = :execution -- if given
    ORDER BY m.failure_group LIMIT 1)
  FROM groups g WHERE g.id IS NOT NULL
)
SELECT x.n FROM (
  SELECT (SELECT max(m.n) FROM messages m WHERE m.state = {DEAD} AND m.failure_group = g.id
    AND m.execution = :execution -- if given
  ) AS n FROM groups g) x
WHERE x.n < :before
AND EXISTS (SELECT 1 FROM messages m JOIN lanes l ON l.id = m.lane WHERE m.n = x.n AND {of_route}) -- if given
AND EXISTS (SELECT 1 FROM messages m JOIN lanes l ON l.id = m.lane WHERE m.n = x.n AND {of_config}) -- if given
ORDER BY x.n DESC LIMIT :limit

-- fragment: newest_of_group
-- The newest dead letters of the group `g`, up to the limit.
SELECT m.object_key, m.execution, m.ended_at FROM messages m WHERE m.state = {DEAD} AND m.failure_group = g.id
      AND m.execution = :execution -- if given

-- fragment: unprocessed
-- No row shows that the route of the group `g` has processed the object of the dead letter `x` since. Rows are deleted with
-- the records of the newest execution that failed, so a missing row shows nothing. A value, so that each object is one
-- lookup in the index: PostgreSQL may join a NOT EXISTS with the whole table.
(SELECT f.path FROM failing f WHERE f.path = substr(x.object_key, 38) AND f.route = g.route AND f.config = g.config
      AND f.processed_at >= x.ended_at LIMIT 1) IS NULL

-- name: count_groups (postgresql)
-- Count the newest dead letters of groups, and their executions; when the first and the last of them failed; and whether
-- one of their objects was not processed since.
WITH given (id, config, route) AS (SELECT * FROM unnest(:groups::bigint[], :configs::text[], :routes::text[]))
SELECT g.id, c.* FROM given g CROSS JOIN LATERAL (
  WITH newest AS ({newest_of_group}
    ORDER BY -m.n LIMIT :most)
  SELECT count(*), count(DISTINCT n.execution), min(n.ended_at), max(n.ended_at),
    EXISTS (SELECT 1 FROM newest x WHERE {unprocessed}) FROM newest n) c

-- name: count_groups (sqlite)
-- The same; a value of JSON has the four figures. Times are in microseconds: JSON would round them.
WITH given (id, config, route) AS (SELECT * FROM unnest(:groups::bigint[], :configs::text[], :routes::text[]))
SELECT g.id, (
  SELECT json_array(count(*), count(DISTINCT n.execution), CAST(min(n.ended_at) * 1000000 AS integer),
    CAST(max(n.ended_at) * 1000000 AS integer)) FROM ({newest_of_group}
    ORDER BY m.n DESC LIMIT :most) n),
  EXISTS (SELECT 1 FROM ({newest_of_group}
    ORDER BY m.n DESC LIMIT :most) x WHERE {unprocessed})
FROM given g

-- name: open_by_lane (postgresql)
-- How many rows are open. Execution by execution: as one join, the planner may walk the index of all executions.
SELECT c.lane, c.state, sum(c.count)::bigint FROM executions e CROSS JOIN LATERAL (
  SELECT m.lane, m.state, count(*) AS count FROM messages m WHERE m.execution = e.n AND m.state IN ({OPEN})
  GROUP BY 1, 2) c
WHERE NOT e.settled GROUP BY 1, 2

-- name: open_by_lane (sqlite)
-- The same; CROSS JOIN keeps the order.
SELECT m.lane, m.state, count(*) FROM executions e
CROSS JOIN messages m INDEXED BY messages_by_state ON m.execution = e.n AND m.state IN ({OPEN})
WHERE NOT e.settled GROUP BY m.lane, m.state

-- name: retries_by_route
-- How many messages of each route wait for their next attempt, and when the first one is due. Those that are due first
-- are counted, up to the limit.
SELECT v.name, l.route, sum(r.count)::bigint, min(r.due) - playhead_now() FROM (
  SELECT d.lane, count(*) AS count, min(d.not_before) AS due FROM (
    SELECT m.lane, m.not_before FROM messages m /* INDEXED BY messages_due */
    WHERE m.published = {UNPUBLISHED} AND m.state = {RETRY} ORDER BY m.not_before LIMIT :limit) d GROUP BY d.lane) r
JOIN lanes l ON l.id = r.lane JOIN config_versions v ON v.id = l.config_version GROUP BY 1, 2

-- name: dead_by_route
-- How many dead letters each route has.
SELECT v.name, l.route, sum(d.count)::bigint FROM (
  SELECT lane, count(*) AS count FROM messages /* INDEXED BY messages_dead */ WHERE state = {DEAD} GROUP BY lane) d
JOIN lanes l ON l.id = d.lane JOIN config_versions v ON v.id = l.config_version GROUP BY 1, 2
