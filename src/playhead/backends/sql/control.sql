-- Replays as managed jobs: what was asked for, keys of requests, control, pace, and places in the lines of queues.

-- name: set_request
-- What a replay was asked for, and what it does in routes with external effects, as JSON.
UPDATE jobs SET request = :request, paths = :paths, effects = :effects WHERE execution = :execution

-- name: set_effects_of_job
-- What a replay does in routes with external effects, as JSON.
UPDATE jobs SET effects = :effects WHERE execution = :execution

-- name: set_managed
-- Pace, canary, report and webhook of a new replay.
UPDATE jobs SET pace_rate = :rate, pace_depth = :depth, hold_at = :hold, hold_by = :by, paid = :paid,
  tokens_at = playhead_now(), report = :report, webhook_revision = :webhook
WHERE execution = :execution

-- fragment: expired_key
-- The row `i` of a key may be dropped: it is old enough, and the publishing of its replay, or its publication, has ended.
i.created_at < playhead_now() - :seconds::float8 AND NOT EXISTS (
  SELECT 1 FROM executions e JOIN jobs j ON j.execution = e.n WHERE e.batch = i.batch AND j.{open_jobs})
  AND NOT EXISTS (SELECT 1 FROM executions e WHERE e.id = i.batch AND NOT e.settled)

-- name: find_key
-- The request of a key, and the batch of its replay or the execution of its publication.
SELECT i.body_sha256, i.batch FROM idempotency i
WHERE i.scope = :scope AND i.key = :key AND NOT ({expired_key})

-- name: delete_expired_key
-- Make room for a new request with the same key.
DELETE FROM idempotency AS i WHERE i.scope = :scope AND i.key = :key AND {expired_key}

-- name: delete_expired_keys
-- Drop some of the oldest keys whose requests cannot be repeated.
DELETE FROM idempotency AS i WHERE {expired_key}
  AND i.created_at <= (SELECT max(created_at) FROM (SELECT created_at FROM idempotency ORDER BY created_at LIMIT 20) AS oldest)

-- name: insert_key
-- Returns a row if the key is new.
INSERT INTO idempotency AS i (scope, key, body_sha256, batch, created_at)
VALUES (:scope, :key, :body, :batch::uuid, playhead_now()) ON CONFLICT DO NOTHING RETURNING 1

-- name: move_key
-- The request has found the replay of an earlier one.
UPDATE idempotency SET batch = :batch::uuid WHERE scope = :scope AND key = :key

-- name: execution_of_batch
-- The numbers of the execution of a replay and of its source.
SELECT e.n, s.n FROM executions e LEFT JOIN executions s ON s.id = e.parent WHERE e.batch = :batch::uuid

-- name: lock_job
-- The job of an execution, locked.
SELECT j.state, j.ordinals, j.watermark, j.paid, j.hold_at, j.pace_rate, j.tokens, j.tokens_at, playhead_now(),
  j.source, j.stage, j.paused_by, j.request
FROM jobs j WHERE j.execution = :execution FOR UPDATE

-- name: pause_job
-- No process acquires a paused job, and its holder is fenced.
UPDATE jobs SET state = 'paused', paused_by = :by, pause_reason = :reason, epoch = epoch + 1, owner = NULL,
  idle_takeovers = 0, waits_for = NULL WHERE execution = :execution

-- name: queue_job
-- The job waits until fewer replays publish to its queue. `paid` stays: rows up to it may have been sent, and the next
-- pause must name them. Its plan is compared from the first object on: the pause may have lasted for days.
UPDATE jobs SET state = 'queued', paused_by = NULL, epoch = epoch + 1, owner = NULL, idle_takeovers = 0, checked = '',
  ended_at = NULL WHERE execution = :execution

-- name: cancel_publishing
-- End the publishing of a replay; the messages that are published are processed. `cancelling`: rows behind the window
-- are still to be cancelled, and the execution cannot end before.
UPDATE jobs SET state = 'cancelled', epoch = epoch + 1, owner = NULL, waits_for = NULL, paused_by = NULL,
  ended_at = playhead_now(), listing_state = CASE WHEN ordinals > watermark + :window::bigint THEN 'cancelling'
    WHEN listing_state = 'open' THEN 'cancelled' ELSE listing_state END
WHERE execution = :execution

-- name: lock_unsent
-- Rows of a job that are not marked, and that no worker has claimed. Locked in the order of their numbers, as everywhere.
SELECT m.n FROM messages m /* INDEXED BY messages_by_ordinal */ WHERE m.execution = :execution
  AND m.ordinal > :after AND m.ordinal <= :upto AND m.state + 0 = {PENDING} AND m.published IS NULL
ORDER BY m.n FOR NO KEY UPDATE

-- name: lock_uncertain
-- Rows for which the broker gave no answer, and that no worker has claimed.
SELECT m.n FROM messages m /* INDEXED BY messages_uncertain */ WHERE m.execution = :execution
  AND m.published = {UNANSWERED} AND m.state = {PENDING} ORDER BY m.n FOR NO KEY UPDATE

-- name: cancelling_jobs
-- Cancelled replays with rows that are still to be cancelled.
SELECT j.execution, j.watermark + :window::bigint, j.ordinals FROM jobs j WHERE j.listing_state = 'cancelling'
AND j.execution = :execution -- if given
ORDER BY j.execution

-- name: end_cancelling
-- All rows are cancelled.
UPDATE jobs SET listing_state = 'cancelled' WHERE execution = :execution AND listing_state = 'cancelling'

-- name: retry_refused
-- Publish refused messages again. They are uncertain, so the holder of the job settles them, and no one else sends them.
UPDATE messages AS m SET state = {PENDING}, published = {UNANSWERED}, generation = generation + 1, ended_at = NULL,
  error_code = NULL, error = NULL, traceback = NULL
WHERE -m.execution = -:execution::bigint AND m.state = {DEAD} AND m.ordinal IS NOT NULL
  AND m.error_code IN ('publish_refused', 'invalid_key') AND m.error_code = 'publish_refused' AND m.attempt = 0

-- name: reopen_listing
-- Continue a listing that was abandoned.
UPDATE jobs SET listing_state = 'open', error_code = NULL, error = NULL
WHERE execution = :execution AND listing_state = 'dead' AND error_code IN ('listing_failed', 'too_many_objects')

-- name: set_pace
-- Change the pace of a job.
UPDATE jobs SET pace_rate = :rate, pace_depth = :depth, paid = :paid, tokens = :tokens, tokens_at = playhead_now()
WHERE execution = :execution

-- name: fence_job
-- Its holder stops at its next write, and the next one follows the new pace.
UPDATE jobs SET epoch = epoch + 1, owner = NULL WHERE execution = :execution

-- name: pace_of_job
-- What decides how many rows may be sent.
SELECT j.pace_rate, j.pace_depth, j.tokens, j.tokens_at, j.paid, j.hold_at, playhead_now()
FROM jobs j WHERE j.execution = :execution

-- name: pay
-- Rows up to `paid` may be sent.
UPDATE jobs SET paid = :paid, tokens = :tokens, tokens_at = playhead_now() WHERE execution = :execution

-- name: lock_queue (postgresql)
-- One transaction at a time counts the messages or the replays of a queue. SQLite has one writer anyway.
SELECT pg_advisory_xact_lock(hashtextextended('playhead.queue.' || :queue::text, 0))

-- name: count_paid
-- Rows into a queue that their jobs may have sent, although they are not marked. Those of a paused job may never be sent,
-- so they do not keep the queue of another job full.
SELECT coalesce(sum((SELECT count(*) {window_rows} AND m.ordinal <= j.paid AND m.published IS NULL
      AND m.state + 0 = {PENDING})
    + (SELECT count(*) {uncertain_rows} AND m.state = {PENDING})), 0)
FROM jobs j JOIN lanes l ON l.id = j.lane WHERE j.{open_jobs} AND j.state = 'publishing' AND l.queue = :queue

-- name: queued_queues
-- Queues with a replay that waits for a place.
SELECT DISTINCT l.queue FROM jobs j JOIN lanes l ON l.id = j.lane WHERE j.{open_jobs} AND j.state = 'queued'
ORDER BY l.queue

-- name: count_places
-- How many replays have a place in a queue.
SELECT count(*) FROM jobs j JOIN lanes l ON l.id = j.lane JOIN executions e ON e.n = j.execution
WHERE j.{open_jobs} AND j.state IN ('checking', 'publishing') AND l.queue = :queue AND e.batch IS NOT NULL

-- name: lock_queued
-- The oldest replays that wait for a place in a queue.
SELECT e.n, e.id FROM jobs j JOIN lanes l ON l.id = j.lane JOIN executions e ON e.n = j.execution
WHERE j.{open_jobs} AND j.state = 'queued' AND l.queue = :queue ORDER BY j.execution LIMIT :limit FOR UPDATE OF j

-- name: admit_job
-- A plan is compared with the store before anything is listed from it.
UPDATE jobs SET state = CASE WHEN plan IS NOT NULL AND ordinals = 0 AND listing_state = 'open' THEN 'checking'
  ELSE 'publishing' END WHERE execution = :execution AND state = 'queued'

-- name: close_ended_job
-- An execution has ended before its job: all of its messages were processed. The state fences a holder of the job.
UPDATE jobs SET state = 'publishing_complete', watermark = ordinals, owner = NULL, waits_for = NULL, paused_by = NULL,
  ended_at = playhead_now()
WHERE execution = :execution AND state IN ('publishing', 'paused', 'queued')
