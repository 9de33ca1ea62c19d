-- Causes of failures: over all routes and executions.

-- name: insert_causes
-- Causes of messages that have just become dead letters.
WITH given (id, cause) AS (SELECT * FROM unnest(:ids::uuid[], :causes::bigint[]))
INSERT INTO causes (id, error_code, error, first_failed_at)
SELECT g.cause, min(m.error_code), coalesce(min(m.error), ''), min(m.ended_at)
FROM given g JOIN messages m ON m.id = g.id AND m.state = {DEAD}
WHERE true GROUP BY g.cause ORDER BY g.cause ON CONFLICT (id) DO NOTHING

-- name: insert_failing
-- Their objects. Rows are in the order of their key, so that no two transactions wait for each other. A repeated call
-- changes nothing.
WITH given (id, cause) AS (SELECT * FROM unnest(:ids::uuid[], :causes::bigint[]))
INSERT INTO failing AS f (cause, config, path, route, message, execution, letters, first_failed_at, failed_at)
SELECT g.cause, v.name, substr(m.object_key, 38), l.route, max(m.n), max(m.execution), count(*), min(m.ended_at),
  max(m.ended_at)
FROM given g JOIN messages m ON m.id = g.id AND m.state = {DEAD}
JOIN lanes l ON l.id = m.lane JOIN config_versions v ON v.id = l.config_version
WHERE true GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (cause, config, path, route) DO UPDATE SET
  letters = f.letters + excluded.letters - (f.message = excluded.message)::int,
  message = greatest(f.message, excluded.message), execution = greatest(f.execution, excluded.execution),
  failed_at = greatest(f.failed_at, excluded.failed_at), processed_at = NULL, open = true

-- name: close_failing
-- Objects that a route has processed after all, in these messages.
UPDATE failing AS f SET open = false, processed_at = playhead_now()
FROM messages m, lanes l, config_versions v
WHERE m.id = ANY(:ids::uuid[]) AND l.id = m.lane AND v.id = l.config_version
  AND f.open AND f.path = substr(m.object_key, 38) AND f.route = l.route AND f.config = v.name AND f.message <= m.n

-- fragment: acknowledged
-- The acknowledgement of the cause `c` has not ended.
(c.acknowledged_at IS NOT NULL AND coalesce(c.until_at > playhead_now(), true) AND NOT EXISTS (
  SELECT 1 FROM config_versions v WHERE v.name = c.until_config AND v.version >= c.until_version))

-- fragment: newest_open
-- When the newest open object of the cause `c` failed.
(SELECT max(f.failed_at) FROM failing f WHERE f.cause = c.id AND f.open = true)

-- name: newest_causes
-- Causes with the time of the newest failure of each, newest first.
SELECT y.id, y.newest FROM (
  SELECT c.id, {newest_open} IS NOT NULL AS is_open, {acknowledged} AS is_acknowledged,
    coalesce({newest_open}, (SELECT max(f.failed_at) FROM failing f WHERE f.cause = c.id AND f.open = false)) AS newest
  FROM causes c) y
WHERE (y.newest, y.id) < (:before::float8, :before_id::bigint)
AND y.is_open = :is_open::boolean -- if given
AND y.is_acknowledged = :is_acknowledged::boolean -- if given
AND EXISTS (SELECT 1 FROM failing f WHERE f.cause = y.id AND f.failed_at >= :since::float8) -- if given
AND EXISTS (SELECT 1 FROM failing f WHERE f.cause = y.id AND f.first_failed_at < :until::float8) -- if given
AND EXISTS (SELECT 1 FROM failing f WHERE f.cause = y.id AND :route IN (f.route, f.config || '/' || f.route)) -- if given
ORDER BY y.newest DESC, y.id DESC LIMIT :limit

-- name: causes_named
-- Causes by their ids.
SELECT c.id, c.error_code, c.error, c.first_failed_at, {acknowledged}, c.acknowledged_at, c.reason, c.requested_by,
  c.until_config, c.until_version, c.until_at, {newest_open} IS NOT NULL, playhead_now()
FROM causes c WHERE c.id = ANY(:causes::bigint[])

-- fragment: newest_failing
-- The newest objects of a cause.
x AS (SELECT f.config, f.path, f.route, f.execution, f.letters, f.failed_at, f.processed_at FROM failing f
  WHERE f.cause = :cause AND f.open = :open::boolean ORDER BY f.failed_at DESC LIMIT :most)

-- name: count_failing
-- Count the objects of a cause, each once, however many routes it has failed in.
WITH {newest_failing}
SELECT (SELECT count(*) FROM (SELECT DISTINCT x.config, x.path FROM x) d), count(DISTINCT x.execution),
  coalesce(sum(x.letters), 0), max(x.failed_at), max(x.processed_at) FROM x

-- name: failing_by_route
-- The routes in which a cause occurs, those with the most objects first.
WITH {newest_failing}
SELECT x.config, x.route, count(*) FROM x GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2

-- name: newest_failing_message
-- The message of the newest object of a cause.
SELECT m.id, e.id, m.object_key, m.stage, m.error, m.traceback, m.code FROM failing f JOIN messages m ON m.n = f.message
JOIN executions e ON e.n = m.execution
WHERE f.cause = :cause AND f.open = :open::boolean ORDER BY f.failed_at DESC LIMIT 1

-- name: acknowledge_cause
-- A newer acknowledgement replaces the one before.
UPDATE causes SET acknowledged_at = playhead_now(), reason = :reason, requested_by = :requested_by::text,
  until_config = :until_config::text, until_version = :until_version::int, until_at = :until_at::float8 WHERE id = :cause

-- name: end_acknowledgement
-- As if the cause had never been acknowledged.
UPDATE causes SET acknowledged_at = NULL, reason = NULL, requested_by = NULL, until_config = NULL, until_version = NULL,
  until_at = NULL WHERE id = :cause

-- name: delete_failing
-- Objects of an execution whose records are deleted.
DELETE FROM failing WHERE execution = :execution
