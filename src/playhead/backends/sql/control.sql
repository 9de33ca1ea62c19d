-- Replays as managed jobs: what was asked for, keys of requests, control, pace, and places in the lines of queues.

-- name: set_options
-- What a replay was asked for, as JSON.
UPDATE jobs SET options = :options WHERE execution = :execution

-- name: set_managed
-- Pace, canary, report and webhook of a new replay.
UPDATE jobs SET pace_rate = :rate, pace_depth = :depth, hold_at = :hold, paid = :paid, tokens_at = playhead_now(),
  report = :report, webhook_revision = :webhook
WHERE execution = :execution

-- fragment: expired_key
-- The row `i` of a key may be dropped: it is old enough, and the publishing of its replay has ended.
i.created_at < playhead_now() - :seconds::float8 AND NOT EXISTS (
  SELECT 1 FROM executions e JOIN jobs j ON j.execution = e.n WHERE e.batch = i.batch AND j.{open_jobs})

-- name: find_key
-- The request and the replay of a key.
SELECT i.body_sha256, i.batch FROM idempotency i
WHERE i.scope = :scope AND i.key = :key AND NOT ({expired_key})

-- name: delete_expired_key
-- Make room for a new request with the same key.
DELETE FROM idempotency AS i WHERE i.scope = :scope AND i.key = :key AND {expired_key}

-- name: delete_expired_keys
-- Drop keys that no request can repeat.
DELETE FROM idempotency AS i WHERE {expired_key}

-- name: insert_key
-- Returns a row if the key is new.
INSERT INTO idempotency AS i (scope, key, body_sha256, batch, created_at)
VALUES (:scope, :key, :body, :batch::uuid, playhead_now()) ON CONFLICT DO NOTHING RETURNING 1
