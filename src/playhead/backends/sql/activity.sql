-- How many messages have ended, by time, and what happened meanwhile.

-- name: count_failures
-- Count messages that have just become dead letters.
WITH given (id, cause) AS (SELECT * FROM unnest(:ids::uuid[], :causes::bigint[]))
INSERT INTO minutes AS c (minute, writer, config, route, cause, messages)
SELECT floor(m.ended_at / 60)::bigint, :writer::bigint, v.name, l.route, g.cause, count(*)
FROM given g JOIN messages m ON m.id = g.id AND m.state = {DEAD}
JOIN lanes l ON l.id = m.lane JOIN config_versions v ON v.id = l.config_version
WHERE true GROUP BY 1, 3, 4, 5 ORDER BY 1, 3, 4, 5
ON CONFLICT (minute, writer, config, route, cause) DO UPDATE SET messages = c.messages + excluded.messages

-- name: count_done
-- Count messages that are done, by lane.
WITH given (lane, messages) AS (SELECT * FROM unnest(:lanes::bigint[], :messages::bigint[]))
INSERT INTO minutes AS c (minute, writer, config, route, cause, messages)
SELECT floor(playhead_now() / 60)::bigint, :writer::bigint, v.name, l.route, 0, sum(g.messages)::bigint
FROM given g JOIN lanes l ON l.id = g.lane JOIN config_versions v ON v.id = l.config_version
WHERE true GROUP BY 3, 4
ON CONFLICT (minute, writer, config, route, cause) DO UPDATE SET messages = c.messages + excluded.messages

-- name: delete_minutes
-- Counts that are too old.
DELETE FROM minutes WHERE minute < floor(playhead_now() / 60)::bigint - :keep

-- name: record_waiting
-- A sample of this minute, by route. A second one replaces the first one.
WITH given (lane, messages) AS (SELECT * FROM unnest(:lanes::bigint[], :messages::bigint[]))
INSERT INTO samples (minute, config, route, waiting)
SELECT floor(playhead_now() / 60)::bigint, v.name, l.route, sum(g.messages)::bigint
FROM given g JOIN lanes l ON l.id = g.lane JOIN config_versions v ON v.id = l.config_version
WHERE true GROUP BY 2, 3 ORDER BY 2, 3
ON CONFLICT (minute, config, route) DO UPDATE SET waiting = excluded.waiting

-- name: delete_samples
-- Samples that are too old.
DELETE FROM samples WHERE minute < floor(playhead_now() / 60)::bigint - :keep

-- name: waiting_by_time
-- The most messages that waited at once, in intervals of some minutes.
SELECT w.minute / :interval::bigint, max(w.waiting)::bigint FROM (
  SELECT s.minute, sum(s.waiting) AS waiting FROM samples s WHERE s.minute >= :first AND s.minute < :last GROUP BY 1) w
GROUP BY 1

-- name: minute_now
-- The present minute by the clock of the catalog.
SELECT floor(playhead_now() / 60)::bigint

-- name: counts_by_time
-- How many messages were done, and how many have failed, in intervals of some minutes.
SELECT c.minute / :interval::bigint, sum(CASE WHEN c.cause = 0 THEN c.messages ELSE 0 END)::bigint,
  sum(CASE WHEN c.cause = 0 THEN 0 ELSE c.messages END)::bigint
FROM minutes c WHERE c.minute >= :first AND c.minute < :last GROUP BY 1 ORDER BY 1

-- name: failures_by_hour
-- How many messages have failed for each of these causes, by hour.
SELECT c.cause, c.minute / 60, sum(c.messages)::bigint FROM minutes c
WHERE c.cause > 0 AND c.cause = ANY(:causes::bigint[]) AND c.minute >= :first GROUP BY 1, 2

-- name: marks
-- What happened since a time, newest first: at most some of each kind. Replays are looked for among the newest executions.
SELECT x.kind, x.name, x.at FROM (
  SELECT 'config' AS kind, v.name || '@' || v.version AS name, v.created_at AS at FROM config_versions v
  UNION ALL
  SELECT 'worker', p.host || ' ' || p.pid, p.started_at FROM processes p WHERE p.kind = 'worker'
  UNION ALL
  SELECT 'replay', j.stage || ' → ' || j.to_route, e.created_at FROM executions e JOIN jobs j ON j.execution = e.n
  WHERE e.n > (SELECT max(n.n) FROM executions n) - 1000 AND e.batch IS NOT NULL
  UNION ALL
  SELECT s.kind, d.name || '@' || s.n, s.at FROM datasets d JOIN switches s ON s.dataset = d.n AND s.seq > d.seq - :limit
) x WHERE x.at >= :since::float8 ORDER BY x.at DESC LIMIT :limit

-- name: timeline
-- Messages of an execution that workers have ended, by route and interval; `:every`: one of this number. A message waits
-- from the end of the one before it, or from the start of the execution, until its last attempt. Messages that were resent
-- may have ended after the last interval: they count there, so that there are few groups.
SELECT m.lane, CASE WHEN m.ended_at < :start::float8 THEN 0
    WHEN m.ended_at >= :start::float8 + :width::float8 * :intervals::bigint THEN :intervals::bigint - 1
    ELSE floor((m.ended_at - :start::float8) / :width::float8)::bigint END, m.state = {DEAD}, count(*),
  sum({attempts} - 1)::bigint, sum(m.started_at - coalesce(p.ended_at, :start::float8)), sum(m.ended_at - m.started_at)
FROM executions e JOIN messages m /* INDEXED BY messages_by_state */ ON m.execution = e.n
LEFT JOIN messages p ON p.n = m.parent
WHERE e.id = :execution::uuid AND m.state IN ({COMPLETED}, {DEAD}) AND m.started_at IS NOT NULL
  AND m.n % :every::bigint = 0
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
