-- Which code ran, and which code processes have loaded.

-- name: insert_code
-- The code of the adapters of a chain, or of a process.
INSERT INTO codes (id, adapters) VALUES (:id::bigint, :adapters::text) ON CONFLICT (id) DO NOTHING

-- name: insert_adapter_code
-- An adapter that is about to run.
INSERT INTO adapter_codes (type, version, code) VALUES (:type::text, :version::text, :code::text)
ON CONFLICT (type, version, code) DO NOTHING

-- name: codes_named
-- Codes by their numbers.
SELECT id, adapters FROM codes WHERE id = ANY(:ids::bigint[])

-- name: recorded_code
-- Adapters that have run.
SELECT type, version, code FROM adapter_codes WHERE type = ANY(:types::text[])

-- name: code_of_execution
-- The codes that ran in the routes of an execution, with the number of messages of each.
SELECT l.route, m.code, m.messages FROM (SELECT lane, code, count(*) AS messages FROM messages
  WHERE execution = :execution AND code IS NOT NULL GROUP BY lane, code) m
JOIN lanes l ON l.id = m.lane ORDER BY l.id, m.messages DESC, m.code

-- name: codes_of_type
-- Codes with an adapter; the pattern has its type in quotes.
SELECT id, adapters FROM codes WHERE adapters LIKE :pattern::text ESCAPE '!'

-- name: recent_executions
-- Numbers of executions with messages, newest first.
SELECT e.n FROM executions e WHERE e.n < :before AND e.config_version IS NOT NULL AND e.kind IN ('run', 'replay')
AND e.created_at >= :since::float8 -- if given
AND e.id = :execution::uuid -- if given
ORDER BY e.n DESC LIMIT :limit

-- fragment: made
-- Messages of the executions with a result of these codes, or of this worker.
FROM messages m /* INDEXED BY messages_by_state */
WHERE m.execution = ANY(:executions::bigint[]) AND m.state IN ({COMPLETED}, {TAKEN_OVER}) AND m.error_code IS NULL
AND m.code = ANY(:ran::bigint[]) -- if given
AND {worker_of} = :worker::text -- if given

-- name: made_in
-- Their number by execution, route and stage of what they received. Reads all messages of the executions.
SELECT e.n, e.id, e.kind, e.created_at, e.parent, e.batch, x.lane, x.stage, x.is_root, x.results FROM (
  SELECT m.execution, m.lane, m.stage, m.parent IS NULL AS is_root, count(*) AS results
  {made}
  GROUP BY m.execution, m.lane, m.stage, m.parent IS NULL) x
JOIN executions e ON e.n = x.execution ORDER BY e.n DESC, x.lane, x.stage, x.is_root

-- name: lane_of_execution
-- The numbers of an execution and of one of its routes.
SELECT e.n, l.id FROM executions e JOIN lanes l ON l.config_version = e.config_version
WHERE e.id = :execution::uuid AND {of_route}

-- name: received_by_makers
-- The objects that such messages of a route have received from a stage.
SELECT m.object_key
{made}
AND m.lane = :lane AND m.stage = :stage LIMIT :limit

-- name: worker_code
-- Processes with a recent heartbeat and the code that they have loaded, oldest first.
SELECT p.id, p.kind, p.host, p.pid, p.queues, p.started_at, p.heartbeat_at, playhead_now() - p.heartbeat_at,
  coalesce(p.version, ''), coalesce(p.changed, '[]'), coalesce(c.adapters, '[]')
FROM processes p LEFT JOIN codes c ON c.id = p.code
WHERE p.heartbeat_at >= playhead_now() - :seconds::float8 ORDER BY p.started_at, p.id
