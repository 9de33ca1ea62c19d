-- Rate limits, and the limit of running messages of a queue.

-- name: ensure_limit
-- The state of a key, if it is used for the first time.
INSERT INTO limits (key) VALUES (:key::text) ON CONFLICT (key) DO NOTHING

-- name: lock_limit
-- The state of a key, which only this transaction changes now.
SELECT next_at, paused_until, playhead_now() FROM limits WHERE key = :key FOR UPDATE

-- name: set_next_call
-- After a reservation.
UPDATE limits SET next_at = :next_at WHERE key = :key

-- name: pause_limit
-- A longer pause that exists is kept.
INSERT INTO limits (key, paused_at, paused_until, reason)
VALUES (:key::text, playhead_now(), playhead_now() + :seconds::float8, :reason::text)
ON CONFLICT (key) DO UPDATE SET paused_at = excluded.paused_at, paused_until = excluded.paused_until,
  reason = excluded.reason WHERE limits.paused_until < excluded.paused_until

-- name: pauses
-- Keys that are paused now.
SELECT key, paused_until - playhead_now(), reason FROM limits WHERE paused_until > playhead_now() ORDER BY key

-- name: move_pauses
-- End pauses that were recorded before the clock was set back.
UPDATE limits SET paused_at = 0, paused_until = 0 WHERE paused_at > playhead_now() + :seconds::float8

-- name: delete_unused_limits
-- The state of a key that was not used for a long time is that of a new key.
DELETE FROM limits WHERE next_at < playhead_now() - :seconds::float8 AND paused_until < playhead_now() - :seconds::float8

-- name: lock_queue
-- Claims of a queue with a limit of running messages come one after the other.
SELECT id FROM lanes WHERE queue = :queue ORDER BY id FOR NO KEY UPDATE

-- name: count_running
-- Messages of a queue that workers hold now. This reads all running messages, of which there are few.
SELECT count(*) FROM messages m /* INDEXED BY messages_running */
WHERE m.state = {RUNNING} AND m.lane IN (SELECT id FROM lanes WHERE queue = :queue)
