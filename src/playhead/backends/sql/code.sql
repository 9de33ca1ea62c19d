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

-- name: worker_code
-- Processes with a recent heartbeat and the code that they have loaded, oldest first.
SELECT p.id, p.kind, p.host, p.pid, p.queues, p.started_at, p.heartbeat_at, playhead_now() - p.heartbeat_at,
  coalesce(p.version, ''), coalesce(p.changed, '[]'), coalesce(c.adapters, '[]')
FROM processes p LEFT JOIN codes c ON c.id = p.code
WHERE p.heartbeat_at >= playhead_now() - :seconds::float8 ORDER BY p.started_at, p.id
