-- What a text may name.

-- name: executions_between
-- Executions by their ids.
SELECT e.id, e.id, coalesce(v.name, ''), '', e.status, e.kind
FROM executions e LEFT JOIN config_versions v ON v.id = e.config_version
WHERE e.id >= :first::uuid AND e.id <= :last::uuid ORDER BY e.id DESC LIMIT :limit

-- name: replays_between
-- Replays by their batches.
SELECT e.batch, e.id, coalesce(v.name, ''), coalesce(j.to_route, ''), coalesce(j.state, e.status), ''
FROM executions e LEFT JOIN config_versions v ON v.id = e.config_version LEFT JOIN jobs j ON j.execution = e.n
WHERE e.batch >= :first::uuid AND e.batch <= :last::uuid ORDER BY e.batch DESC LIMIT :limit

-- name: messages_between
-- Messages by their ids.
SELECT m.id, e.id, v.name, l.route, m.state, m.object_key, m.error_code
FROM (SELECT * FROM messages WHERE id >= :first::uuid AND id <= :last::uuid ORDER BY id DESC LIMIT :limit) m
JOIN executions e ON e.n = m.execution JOIN lanes l ON l.id = m.lane JOIN config_versions v ON v.id = l.config_version
ORDER BY m.id DESC

-- name: plans_between
-- Plans by their ids.
SELECT p.id, NULL, v.name, l.route, CASE WHEN p.state = 'ready' AND p.expires_at <= playhead_now() THEN 'expired'
  ELSE p.state END, ''
FROM plans p JOIN lanes l ON l.id = p.lane JOIN config_versions v ON v.id = l.config_version
WHERE p.id >= :first::uuid AND p.id <= :last::uuid ORDER BY p.id DESC LIMIT :limit

-- name: tags_from
-- Tags with the newest execution of each. Each tag is one step in the index, however many executions it has.
WITH RECURSIVE found (tag) AS (
  SELECT (SELECT t.tag FROM tags t WHERE t.tag >= :first ORDER BY t.tag LIMIT 1)
  UNION ALL
  SELECT (SELECT t.tag FROM tags t WHERE t.tag > f.tag ORDER BY t.tag LIMIT 1) FROM found f WHERE f.tag < :last
)
SELECT f.tag, e.id, e.id, coalesce(v.name, ''), '', e.status, e.kind
FROM (SELECT tag FROM found WHERE tag < :last LIMIT :limit) f
JOIN executions e ON e.n = (SELECT max(t.execution) FROM tags t WHERE t.tag = f.tag)
LEFT JOIN config_versions v ON v.id = e.config_version ORDER BY f.tag

-- name: route_names
-- The routes of the newest version of each config.
SELECT v.name, l.route, l.queue, l.stage FROM configs c
JOIN config_versions v ON v.name = c.name
  AND v.version = (SELECT max(w.version) FROM config_versions w WHERE w.name = c.name)
JOIN lanes l ON l.config_version = v.id ORDER BY v.name, l.id
