-- Rate limits, and the limit of running messages of a queue.

-- name: ensure_limit
-- The state of a key, if it is used for the first time.
INSERT INTO limits (key) VALUES (:key::text) ON CONFLICT (key) DO NOTHING

-- name: lock_limit
-- The state of a key, which only this transaction changes now.
SELECT next_at, cooldown_until, playhead_now() FROM limits WHERE key = :key FOR UPDATE

-- name: set_next_call
-- After a reservation.
UPDATE limits SET next_at = :next_at WHERE key = :key

-- name: start_cooldown
-- A longer cooldown that exists is kept.
INSERT INTO limits (key, cooldown_at, cooldown_until, reason)
VALUES (:key::text, playhead_now(), playhead_now() + :seconds::float8, :reason::text)
ON CONFLICT (key) DO UPDATE SET cooldown_at = excluded.cooldown_at, cooldown_until = excluded.cooldown_until,
  reason = excluded.reason WHERE limits.cooldown_until < excluded.cooldown_until

-- name: cooldowns
-- Keys whose calls may not begin now, and routes that are paused.
SELECT key, cooldown_until - playhead_now(), reason FROM limits WHERE cooldown_until > playhead_now()
UNION ALL SELECT :pause || config || '/' || route, until - playhead_now(), reason FROM route_pauses
WHERE coalesce(until > playhead_now(), true)

-- name: pause_route
-- An earlier pause is replaced.
INSERT INTO route_pauses (config, route, reason, until)
VALUES (:config::text, :route::text, :reason::text, playhead_now() + :seconds::float8)
ON CONFLICT (config, route) DO UPDATE SET reason = excluded.reason, until = excluded.until

-- name: resume_route
-- The workers notice it at their next look. A pause that is over is not one.
DELETE FROM route_pauses WHERE config = :config AND route = :route RETURNING coalesce(until > playhead_now(), true)

-- name: end_cooldowns
-- End cooldowns that were recorded before the clock was set back.
UPDATE limits SET cooldown_at = 0, cooldown_until = 0 WHERE cooldown_at > playhead_now() + :seconds::float8

-- name: delete_unused_limits
-- The state of a key that was not used for a long time is that of a new key.
DELETE FROM limits WHERE next_at < playhead_now() - :seconds::float8 AND cooldown_until < playhead_now() - :seconds::float8

-- name: lock_queue
-- Claims of a queue with a limit of running messages come one after the other.
SELECT id FROM lanes WHERE queue = :queue ORDER BY id FOR NO KEY UPDATE

-- name: count_running
-- Messages of a queue that workers hold now. This reads all running messages, of which there are few.
SELECT count(*) FROM messages m /* INDEXED BY messages_running */
WHERE m.state = {RUNNING} AND m.lane IN (SELECT id FROM lanes WHERE queue = :queue)
