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
-- counts no letter again.
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
  c.until_config, c.until_version, c.until_at, {newest_open}, (SELECT count(*) FROM (
    SELECT 1 FROM failing f WHERE f.cause = c.id AND f.open = false LIMIT :most) d), playhead_now()
FROM causes c WHERE c.id = ANY(:causes::bigint[])

-- fragment: some_failing
-- Objects of a cause, open or not, up to the limit.
SELECT f.config, f.route, f.execution, f.letters, f.failed_at, f.processed_at, f.path FROM failing f
  WHERE f.cause = g.cause AND f.open = g.open LIMIT :most

-- name: figures_of_causes (postgresql)
-- Figures of the objects of causes by route and execution. A value of JSON has them: config, route, execution, objects,
-- dead letters, the times of the newest failure and of the last success, in microseconds, and the first and the last path.
WITH given (cause, open) AS (SELECT * FROM unnest(:causes::bigint[], :open::boolean[]))
SELECT g.cause, (SELECT json_agg(json_build_array(r.config, r.route, r.execution, r.objects, r.letters, r.failed, r.processed,
    r.first, r.last))
  FROM (SELECT config, route, execution, count(*) AS objects, sum(letters) AS letters,
    (max(failed_at) * 1000000)::bigint AS failed, (max(processed_at) * 1000000)::bigint AS processed,
    min(path) AS first, max(path) AS last
    FROM ({some_failing}) x GROUP BY 1, 2, 3) r)
FROM given g

-- name: figures_of_causes (sqlite)
-- The same.
WITH given (cause, open) AS (SELECT * FROM unnest(:causes::bigint[], :open::boolean[]))
SELECT g.cause, (SELECT json_group_array(json_array(config, route, execution, objects, letters, failed, processed,
    first, last))
  FROM (SELECT config, route, execution, count(*) AS objects, sum(letters) AS letters,
    CAST(max(failed_at) * 1000000 AS integer) AS failed, CAST(max(processed_at) * 1000000 AS integer) AS processed,
    min(path) AS first, max(path) AS last
    FROM ({some_failing}) GROUP BY 1, 2, 3))
FROM given g

-- name: objects_of_causes
-- Count the objects of causes, each once, however many routes it has failed in.
WITH given (cause, open) AS (SELECT * FROM unnest(:causes::bigint[], :open::boolean[]))
SELECT g.cause, (SELECT count(*) FROM (SELECT DISTINCT f.config, f.path FROM failing f
  WHERE f.cause = g.cause AND f.open = g.open LIMIT :most) d) FROM given g

-- name: objects_of_cause
-- A page of them. `until` is always given, because without it SQLite reads all objects of the cause.
SELECT f.failed_at, f.path, f.config, f.route, f.letters, m.error, f.processed_at, m.id, m.object_key
FROM failing f LEFT JOIN messages m ON m.n = f.message WHERE f.cause = :cause AND f.open = :open
AND f.failed_at <= :until::float8
AND (f.failed_at, f.path, f.config, f.route) < (:at, :path, :config, :route) -- if given
ORDER BY f.failed_at DESC, f.path DESC, f.config DESC, f.route DESC LIMIT :limit

-- name: newest_failing_messages
-- The message of the newest object of each cause.
WITH given (cause, open) AS (SELECT * FROM unnest(:causes::bigint[], :open::boolean[]))
SELECT g.cause, (SELECT f.message FROM failing f WHERE f.cause = g.cause AND f.open = g.open
  ORDER BY f.failed_at DESC LIMIT 1) FROM given g

-- name: failing_messages
-- What pages show of messages that have failed.
SELECT m.n, m.id, e.id, m.object_key, m.stage, m.error, m.traceback, m.code
FROM messages m JOIN executions e ON e.n = m.execution WHERE m.n = ANY(:rows::bigint[])

-- fragment: source
-- The id of the execution whose object the newest message received; empty if its records are deleted.
coalesce(substr(m.object_key, 1, 36), '')

-- fragment: open_objects
-- The open objects of a cause behind a place, the newest source first.
FROM failing f LEFT JOIN messages m ON m.n = f.message WHERE f.cause = :cause AND f.open = true
AND ({source}, f.path, f.config, f.route) < (:source, :path, :config, :route) -- if given

-- name: failing_objects
-- Some of them. A new failure of an object has the same source, or a newer one, so it changes no later page.
SELECT {source}, f.path, f.config, f.route, m.stage
{open_objects}
ORDER BY 1 DESC, 2 DESC, 3 DESC, 4 DESC LIMIT :limit

-- name: count_failing_objects
-- Their number.
SELECT count(*)
{open_objects}

-- name: configs_of_cause
-- The configs in which a cause occurs.
SELECT DISTINCT f.config FROM failing f WHERE f.cause = :cause

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
