-- Fragments that several files use, and the statements of `rows.py`.

-- fragment: dispatch
-- The columns that a `Dispatch` is built from.
SELECT m.id, m.generation, p.id, m.object_key, m.ordinal, m.execution, m.lane, e.id, e.batch, e.traceparent,
  coalesce(m.bulk, (SELECT j.bulk FROM jobs j WHERE j.execution = m.execution), false), m.n
FROM messages m JOIN executions e ON e.n = m.execution LEFT JOIN messages p ON p.n = m.parent

-- fragment: attempts
-- The attempts of the message `m` in which a step was called, as people see them.
m.attempt - m.uncalled_attempts

-- fragment: end_of_execution
-- When the execution `e` has ended. A resend changes neither this time nor the duration.
CASE WHEN e.ended_at IS NOT NULL THEN coalesce(e.first_ended_at, e.ended_at) END

-- fragment: tags (postgresql)
-- The tags of the execution `e`, as JSON.
(SELECT json_agg(t.tag ORDER BY t.tag) FROM tags t WHERE t.execution = e.n)

-- fragment: tags (sqlite)
-- The same.
(SELECT json_group_array(t.tag) FROM (SELECT x.tag FROM tags x WHERE x.execution = e.n ORDER BY x.tag) t)

-- fragment: execution
-- The columns that an `Execution` is built from.
SELECT e.n, e.id, e.kind, e.status, c.name, c.version, c.hash, e.parent, e.batch, e.created_at, {end_of_execution},
  e.revision, e.counts, coalesce(j.error_code, ''), coalesce(j.error, ''), e.pinned,
  (SELECT v.retention FROM config_versions v WHERE v.name = c.name ORDER BY v.version DESC LIMIT 1), j.since,
  e.records_deleted_at, e.requested_by, {tags}, EXISTS (SELECT 1 FROM prunings p WHERE p.execution = e.n)
FROM executions e
LEFT JOIN config_versions c ON c.id = e.config_version LEFT JOIN jobs j ON j.execution = e.n

-- fragment: lane
-- The columns that a `Lane` is built from.
SELECT l.id, c.id, c.name, c.version, c.hash, l.route, l.queue, l.stage, l.external, l.max_attempts, l.feeds,
  l.declared
FROM lanes l JOIN config_versions c ON c.id = l.config_version

-- fragment: alive
-- Processes whose last heartbeat is recent.
SELECT p.id FROM processes p WHERE p.heartbeat_at >= playhead_now() - :seconds::float8

-- fragment: of_route
-- The lane `l` belongs to the route that a parameter names as ROUTE or CONFIG/ROUTE.
:route::text IN (l.route, (SELECT v.name FROM config_versions v WHERE v.id = l.config_version) || '/' || l.route)

-- fragment: of_config
-- The lane `l` belongs to a config.
(SELECT v.name FROM config_versions v WHERE v.id = l.config_version) = :config::text

-- fragment: dead_lanes
-- Lanes with a dead letter, each found by one step in the index.
WITH RECURSIVE dead_lanes (lane) AS (
  SELECT (SELECT m.lane FROM messages m /* INDEXED BY messages_dead */ WHERE m.state = {DEAD} ORDER BY m.lane LIMIT 1)
  UNION ALL
  SELECT (SELECT m.lane FROM messages m /* INDEXED BY messages_dead */ WHERE m.state = {DEAD} AND m.lane > d.lane
    ORDER BY m.lane LIMIT 1)
  FROM dead_lanes d WHERE d.lane IS NOT NULL
)

-- fragment: open_jobs
-- Publishing may follow. The index `jobs_open` is used only if its condition is repeated word for word.
state IN ('uploading', 'queued', 'checking', 'publishing', 'paused', 'stalled')

-- name: lanes_by_id
-- Lanes by their numbers.
{lane} WHERE l.id = ANY(:ids::bigint[])

-- name: lanes_of_version
-- The lanes of a config version, in the order of the config.
{lane} WHERE l.config_version = :version ORDER BY l.id

-- name: alive_processes
-- The ids of processes that are not dead.
{alive}

-- name: execution_number
-- The number of an execution.
SELECT n FROM executions WHERE id = :id::uuid

-- name: executions_by_number
-- Executions by their numbers, newest first.
{execution} WHERE e.n = ANY(:numbers::bigint[]) ORDER BY e.n DESC

-- name: executions_by_id
-- Executions by their ids.
{execution} WHERE e.id = ANY(:ids::uuid[])

-- fragment: worker_of
-- The worker that has made the result of the message `m`.
coalesce(m.worker, (SELECT o.worker FROM messages o WHERE o.n = m.original))

-- name: count_messages
-- How many rows executions have in each lane and state, and how many of them have a result that was declared valid.
SELECT execution, lane, state, count(*) FROM messages /* INDEXED BY messages_by_state */
WHERE execution = ANY(:executions::bigint[]) GROUP BY execution, state, lane
UNION ALL SELECT m.execution, m.lane, {DECLARED}, count(*)
FROM executions e JOIN messages m /* INDEXED BY messages_declared */ ON m.execution = e.n AND m.declaration IS NOT NULL
WHERE e.n = ANY(:executions::bigint[]) GROUP BY m.execution, m.lane

-- name: newest_messages (postgresql)
-- Numbers of messages, newest first. Lists are pages of an index: a page takes the newest rows of each (state, lane) that
-- it may hold, and keeps the newest of those, so a page costs the same at the start and at the end of a million rows.
SELECT x.n FROM executions e JOIN lanes l ON l.config_version = e.config_version
CROSS JOIN unnest(:states::smallint[]) AS s (state)
CROSS JOIN LATERAL (SELECT m.n FROM messages m WHERE m.execution = e.n AND m.state = s.state AND m.lane = l.id
  AND m.error_code = :code::text -- if given
  AND m.error_code IS NULL AND m.code = ANY(:ran::bigint[]) -- if given
  AND {worker_of} = :worker::text -- if given
  AND m.ended_at < :ended_before::float8 -- if given
  AND -m.n > -:before::bigint ORDER BY -m.n LIMIT :limit) x
WHERE true
AND e.id = :execution::uuid -- if given
AND e.batch = :batch::uuid -- if given
AND {of_route} -- if given
ORDER BY x.n DESC LIMIT :limit

-- name: newest_messages (sqlite)
-- The same; json_each is SQLite's LATERAL.
SELECT x.value FROM executions e JOIN lanes l ON l.config_version = e.config_version
CROSS JOIN json_each(:states::smallint[]) s
CROSS JOIN json_each((SELECT json_group_array(n) FROM (SELECT m.n FROM messages m INDEXED BY messages_by_state
  WHERE m.execution = e.n AND m.state = s.value AND m.lane = l.id AND m.n < :before
  AND m.error_code = :code -- if given
  AND m.error_code IS NULL AND m.code = ANY(:ran::bigint[]) -- if given
  AND {worker_of} = :worker::text -- if given
  AND m.ended_at < :ended_before -- if given
  ORDER BY m.n DESC LIMIT :limit))) x
WHERE true
AND e.id = :execution::uuid -- if given
AND e.batch = :batch::uuid -- if given
AND {of_route} -- if given
ORDER BY x.value DESC LIMIT :limit

-- name: newest_dead_letters (postgresql)
-- Numbers of dead letters, newest first.
{dead_lanes}
SELECT x.n FROM dead_lanes d CROSS JOIN LATERAL (SELECT * FROM lanes WHERE id = d.lane LIMIT 1) l
CROSS JOIN LATERAL (SELECT m.n FROM messages m WHERE m.state = {DEAD} AND m.lane = l.id
  AND m.error_code = :code::text -- if given
  AND m.ended_at < :ended_before::float8 -- if given
  AND -m.n > -:before::bigint ORDER BY -m.n LIMIT :limit) x
WHERE true
AND {of_route} -- if given
ORDER BY x.n DESC LIMIT :limit

-- name: newest_dead_letters (sqlite)
-- The same; json_each is SQLite's LATERAL.
{dead_lanes}
SELECT x.value FROM dead_lanes d JOIN lanes l ON l.id = d.lane
CROSS JOIN json_each((SELECT json_group_array(n) FROM (SELECT m.n FROM messages m INDEXED BY messages_dead
  WHERE m.state = {DEAD} AND m.lane = l.id AND m.n < :before
  AND m.error_code = :code -- if given
  AND m.ended_at < :ended_before -- if given
  ORDER BY m.n DESC LIMIT :limit))) x
WHERE true
AND {of_route} -- if given
ORDER BY x.value DESC LIMIT :limit

-- name: newest_of_group (postgresql)
-- Numbers of the dead letters of a group, newest first.
SELECT m.n FROM messages m WHERE m.state = {DEAD} AND m.failure_group = :failure_group
AND m.execution = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid) -- if given
AND EXISTS (SELECT 1 FROM lanes l WHERE l.id = m.lane AND {of_route}) -- if given
AND m.error_code = :code::text -- if given
AND m.ended_at < :ended_before::float8 -- if given
AND -m.n > -:before::bigint ORDER BY -m.n LIMIT :limit

-- name: newest_of_group (sqlite)
-- The same.
SELECT m.n FROM messages m WHERE m.state = {DEAD} AND m.failure_group = :failure_group AND m.n < :before
AND m.execution = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid) -- if given
AND EXISTS (SELECT 1 FROM lanes l WHERE l.id = m.lane AND {of_route}) -- if given
AND m.error_code = :code -- if given
AND m.ended_at < :ended_before -- if given
ORDER BY m.n DESC LIMIT :limit

-- name: lock_waiting_rows
-- Lock those of these rows that no worker runs.
SELECT n FROM messages WHERE n = ANY(:rows::bigint[]) AND state IN ({WAITING}) ORDER BY n FOR NO KEY UPDATE

-- name: cancel_rows
-- Cancel rows that no worker runs. No row of an external route is claimed, so no claim excludes a publisher that was
-- suspended: what it may have sent becomes uncertain.
UPDATE messages AS m SET worker = NULL, ended_at = playhead_now(), state = CASE
  WHEN NOT EXISTS (SELECT 1 FROM lanes l WHERE l.id = m.lane AND l.external) THEN {CANCELLED}
  WHEN m.ordinal IS NULL OR m.published IS NOT NULL THEN {UNCERTAIN}
  WHEN m.ordinal <= (SELECT j.watermark + :window::bigint FROM jobs j WHERE j.execution = m.execution
    AND m.ordinal <= coalesce(j.paid, m.ordinal)) THEN {UNCERTAIN}
  ELSE {CANCELLED} END
WHERE m.n = ANY(:rows::bigint[])

-- name: close_execution
-- End an execution, cancelled or failed, whatever rows are open.
UPDATE executions SET status = :status, ended_at = playhead_now(), revision = revision + 1 WHERE n = :execution

-- name: settle_execution
-- Store the final counts of an execution that has ended and has no open row.
UPDATE executions SET settled = true, counts = :counts WHERE n = :n

-- name: has_open_row
-- Whether a message of an execution, or its listing, is open.
SELECT EXISTS (SELECT 1 FROM messages /* INDEXED BY messages_by_state */
    WHERE execution = :n AND state IN ({OPEN}))
  OR EXISTS (SELECT 1 FROM jobs WHERE execution = :n AND listing_state IN ('open', 'cancelling'))

-- name: share_executions
-- Lock executions against cancel, resend and completion, but not against each other.
SELECT n, status FROM executions WHERE n = ANY(:numbers::bigint[]) ORDER BY n FOR SHARE

-- name: lock_executions
-- Lock executions for this transaction alone.
SELECT n, status FROM executions WHERE n = ANY(:numbers::bigint[]) ORDER BY n FOR UPDATE

-- name: refuse_dispatches
-- Close rows whose message the broker will never accept, unless it accepted the message after all. Rows are locked
-- in ascending order, as everywhere, so that no two transactions wait for each other.
WITH given (id, generation, why, failure_group) AS (
  SELECT * FROM unnest(:ids::uuid[], :generations::int[], :reasons::text[], :groups::bigint[])
), held AS MATERIALIZED (
  SELECT m.n, g.why, g.failure_group FROM given g JOIN messages m ON m.id = g.id AND m.generation = g.generation
  WHERE m.state IN ({WAITING}) AND m.published IS DISTINCT FROM {PUBLISHED}
    AND NOT (m.published IS NULL
      AND m.ordinal <= (SELECT j.watermark FROM jobs j WHERE j.execution = m.execution))
  ORDER BY m.n FOR NO KEY UPDATE OF m
)
UPDATE messages AS m SET state = {DEAD}, error_code = 'publish_refused', error = held.why, traceback = NULL,
  ended_at = playhead_now(), failure_group = held.failure_group
FROM held WHERE m.n = held.n

-- name: supersede_outputs
-- Supersede all outputs of messages.
UPDATE outputs SET state = {SUPERSEDED} WHERE message = ANY(:messages::bigint[]) AND state <> {SUPERSEDED}
