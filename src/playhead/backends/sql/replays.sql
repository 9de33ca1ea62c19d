-- Replay batches: their numbers are counted from rows.

-- fragment: failed_rows
-- Rows of the job `j` that were refused before a worker claimed them, or whose key is outside the grammar. Only one index
-- has -execution: by execution and state, the planner may read all dead letters.
FROM messages m /* INDEXED BY messages_refused */ WHERE -m.execution = -j.execution AND m.state = {DEAD}
  AND m.ordinal IS NOT NULL AND m.error_code IN ('publish_refused', 'invalid_key') AND m.attempt = 0

-- fragment: unmarked_rows
-- Rows of the job `j` behind its watermark that no broker has confirmed; a condition on `state + 0` follows. On `state`,
-- PostgreSQL's planner may use the index by state, and read all pending rows.
FROM messages m /* INDEXED BY messages_by_ordinal */ WHERE m.execution = j.execution
  AND m.ordinal > j.watermark AND m.published IS NULL

-- fragment: uncertain_rows
-- Rows of the job `j` for which the broker gave no answer; a condition on their state follows.
FROM messages m /* INDEXED BY messages_uncertain */ WHERE m.execution = j.execution AND m.published = {UNANSWERED}

-- fragment: may_be_sent
-- Rows of the job `j` that may have been sent to another program when they were cancelled.
FROM messages m /* INDEXED BY messages_by_state */ WHERE m.execution = j.execution AND m.state = {UNCERTAIN}
  AND m.ordinal IS NOT NULL

-- fragment: window_rows
-- Rows of the job `j` that may be on their way to the broker: no row behind this window is sent.
FROM messages m /* INDEXED BY messages_by_ordinal */ WHERE m.execution = j.execution
  AND m.ordinal > j.watermark AND m.ordinal <= j.watermark + :window::bigint

-- fragment: replay
-- The columns that a `Replay` is built from. A claimed row was published, although the watermark is before it.
SELECT e.n, e.id, j.source, j.stage, j.path, j.to_route, j.lane, j.ordinals, e.batch, j.state, j.listing_state,
  e.created_at, j.ended_at, j.error, j.watermark,
  (SELECT count(*) {window_rows} AND m.published >= 0),
  (SELECT count(*) {window_rows} AND m.published IS NULL AND m.state + 0 = {PENDING}
    AND m.ordinal <= coalesce(j.paid, m.ordinal)),
  (SELECT count(*) {uncertain_rows} AND m.state = {PENDING}),
  (SELECT count(*) {uncertain_rows} AND m.state = {CANCELLED}) + (SELECT count(*) {may_be_sent} AND m.ordinal <= j.watermark),
  (SELECT count(*) {may_be_sent}),
  (SELECT count(*) {failed_rows}),
  (SELECT count(*) {failed_rows} AND m.ordinal > j.watermark),
  j.request, j.effects, j.paused_by, j.pause_reason, j.waits_for, j.pace_rate, j.pace_depth, j.paid,
  j.hold_at, j.hold_from, j.hold_by,
  coalesce((SELECT r.state FROM reports r WHERE r.execution = e.n AND r.revision = e.revision AND e.settled),
    CASE WHEN j.report > 0 THEN 'due' ELSE 'none' END), e.revision,
  j.owner IS NULL OR j.lease_until <= playhead_now(),
  CASE WHEN j.state = 'queued' THEN (SELECT count(*) FROM jobs q JOIN lanes ql ON ql.id = q.lane
    WHERE q.{open_jobs} AND q.state = 'queued' AND q.execution <= j.execution
      AND ql.queue = (SELECT l.queue FROM lanes l WHERE l.id = j.lane)) END,
  e.counts, (SELECT p.id FROM plans p WHERE p.n = j.plan), j.bulk, j.numbers, e.records_deleted_at,
  e.requested_by
FROM jobs j JOIN executions e ON e.n = j.execution

-- name: replay_of_batch
-- One batch.
{replay} WHERE e.batch = :batch::uuid

-- name: replay_of_execution
-- The batch of an execution, if it is a replay.
{replay} WHERE e.n = :execution AND e.batch IS NOT NULL

-- name: newest_replays
-- Batches, newest first. Open ones are found by their index, however many have ended.
{replay} WHERE e.batch IS NOT NULL
AND j.source = :source::uuid -- if given
AND e.n IN (SELECT x.execution FROM jobs x WHERE x.{open_jobs}) AND :open::boolean -- if given
AND e.n < :before -- if given
ORDER BY e.n DESC LIMIT :limit

-- name: replays_named
-- Those of these batches that exist.
{replay} WHERE e.batch = ANY(:batches::uuid[])

-- name: job_outcome
-- How many rows of a job wait to be confirmed, and how many failed.
SELECT (SELECT count(*) {unmarked_rows} AND m.state + 0 = {PENDING})
    + (SELECT count(*) {uncertain_rows} AND m.state = {PENDING}),
  (SELECT count(*) {failed_rows})
FROM jobs j WHERE j.execution = :execution

-- name: errors_of_job
-- The first rows that failed, with code and error, or that are uncertain, with a code.
SELECT * FROM (SELECT m.object_key, m.error_code, m.error
  FROM messages m /* INDEXED BY messages_refused */ WHERE -m.execution = -:execution::bigint AND m.state = {DEAD}
    AND m.ordinal IS NOT NULL AND m.error_code IN ('publish_refused', 'invalid_key') AND m.attempt = 0 ORDER BY m.n LIMIT :limit) AS f
UNION ALL SELECT * FROM (SELECT m.object_key, 'uncertain', NULL
  FROM messages m /* INDEXED BY messages_uncertain */ WHERE m.execution = :execution
    AND m.published = {UNANSWERED} AND m.state = {PENDING}
    AND EXISTS (SELECT 1 FROM jobs j WHERE j.execution = :execution AND j.{open_jobs}) ORDER BY m.n LIMIT :limit) AS u
UNION ALL SELECT * FROM (SELECT m.object_key, 'may_be_sent', NULL FROM messages m /* INDEXED BY messages_by_state */
  WHERE m.execution = :execution AND m.state = {UNCERTAIN} AND m.ordinal IS NOT NULL ORDER BY m.n LIMIT :limit) AS s
LIMIT :limit

-- name: count_errors
-- How many rows of a job failed or are uncertain.
SELECT (SELECT count(*) {failed_rows}) + (SELECT count(*) {uncertain_rows} AND m.state = {PENDING} AND j.{open_jobs})
  + (SELECT count(*) {may_be_sent})
FROM jobs j WHERE j.execution = :execution
