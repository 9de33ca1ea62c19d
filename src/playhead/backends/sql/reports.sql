-- What follows from the end of a replay, and from other events of it: completion reports and webhooks.

-- name: record_end
-- A report is due, and so is an event of a webhook. Returns how the execution ended, and whether there is a webhook.
UPDATE jobs SET report = CASE WHEN report > 0 THEN 1 ELSE 0 END,
  webhook_revision = CASE WHEN webhook_revision IS NOT NULL THEN (SELECT revision FROM executions WHERE n = :execution) END
WHERE execution = :execution AND (report > 0 OR webhook_revision IS NOT NULL)
RETURNING state, (SELECT status FROM executions WHERE n = :execution), webhook_revision IS NOT NULL

-- name: reports_due
-- Executions that have ended and whose report no process writes. A lease with more than two periods left was taken before
-- the clock was set back.
SELECT e.id FROM jobs j JOIN executions e ON e.n = j.execution
LEFT JOIN reports r ON r.execution = e.n AND r.revision = e.revision
WHERE j.report = 1 AND e.settled AND (r.lease_until IS NULL OR r.lease_until <= playhead_now()
  OR r.lease_until > playhead_now() + 2 * :lease::float8)
ORDER BY j.execution LIMIT :limit

-- name: reportable
-- The end of an execution whose report is due.
SELECT e.revision FROM executions e JOIN jobs j ON j.execution = e.n
WHERE e.n = :execution AND e.settled AND j.report = 1

-- name: insert_report
-- The row of a report, unless there is one.
INSERT INTO reports (execution, revision, state) VALUES (:execution, :revision, 'writing') ON CONFLICT DO NOTHING

-- name: lock_report
-- A report that is being written, or is free.
SELECT r.epoch, r.epoch - r.asked_at, r.lease_until <= playhead_now() OR r.lease_until > playhead_now() + 2 * :lease::float8, r.error
FROM reports r WHERE r.execution = :execution AND r.revision = :revision AND r.state = 'writing' FOR UPDATE

-- name: take_report
-- Raise the epoch, which fences the previous holder.
UPDATE reports SET epoch = epoch + 1, owner = :owner, lease_until = playhead_now() + :lease::float8
WHERE execution = :execution AND revision = :revision

-- name: supersede_reports
-- Reports of earlier ends that will not be written any more.
UPDATE reports SET state = 'superseded', owner = NULL
WHERE execution = :execution AND revision < :revision AND state = 'writing'

-- name: supersede_parts
-- Parts that will not be stored.
UPDATE outputs SET state = {SUPERSEDED} WHERE key > :first AND key < :last AND state = {WRITING}

-- name: renew_report
-- Extend the lease of a report that is still held.
UPDATE reports SET lease_until = playhead_now() + :lease::float8
WHERE execution = :execution AND revision = :revision AND epoch = :epoch AND state = 'writing'

-- name: delay_report
-- Release a report that is still held, until it is tried again.
UPDATE reports SET lease_until = playhead_now() + :seconds::float8, owner = NULL, error = :error
WHERE execution = :execution AND revision = :revision AND epoch = :epoch AND state = 'writing'

-- name: lock_held_report
-- A report that is still held, of an execution that is still ended at this revision.
SELECT 1 FROM reports r JOIN executions e ON e.n = r.execution
WHERE r.execution = :execution AND r.revision = :revision AND r.epoch = :epoch AND r.state = 'writing'
  AND e.settled AND e.revision = r.revision FOR UPDATE OF r

-- name: report_rows
-- Rows of the listing, in its order, with what decides their outcome.
SELECT m.object_key, m.id, m.state, m.error_code, m.error, m.attempt,
  m.published IS NOT DISTINCT FROM {UNANSWERED} OR (m.published IS NULL AND m.ordinal > j.watermark)
FROM jobs j JOIN messages m /* INDEXED BY messages_by_ordinal */ ON m.execution = j.execution
WHERE j.execution = :execution AND m.ordinal > :after ORDER BY m.ordinal LIMIT :limit

-- name: final_counts
-- The counts of an execution that has ended.
SELECT e.counts FROM executions e WHERE e.n = :execution AND e.settled

-- name: report_below (postgresql)
-- For a page of rows of one state, newest first: how many are below each root, by its ordinal. The last row has the
-- smallest number of the page. OFFSET keeps each step a lookup in the index.
WITH RECURSIVE page AS MATERIALIZED (
  SELECT m.n, m.parent FROM messages m
  WHERE m.execution = :execution AND m.state = :state AND m.lane = :lane AND -m.n > -:before::bigint
  ORDER BY -m.n LIMIT :limit
), above (parent, ordinal) AS (
  SELECT p.parent, NULL::bigint FROM page p WHERE p.parent IS NOT NULL
  UNION ALL
  SELECT up.parent, up.ordinal FROM above a
  CROSS JOIN LATERAL (SELECT m.parent, m.ordinal FROM messages m WHERE m.n = a.parent OFFSET 0) up
)
SELECT a.ordinal, count(*), NULL::bigint FROM above a WHERE a.parent IS NULL AND a.ordinal IS NOT NULL GROUP BY a.ordinal
UNION ALL SELECT NULL, count(*), min(p.n) FROM page p

-- name: report_below (sqlite)
-- The same; CROSS JOIN keeps the order.
WITH RECURSIVE page AS MATERIALIZED (
  SELECT m.n, m.parent FROM messages m INDEXED BY messages_by_state
  WHERE m.execution = :execution AND m.state = :state AND m.lane = :lane AND m.n < :before
  ORDER BY m.n DESC LIMIT :limit
), above (parent, ordinal) AS (
  SELECT p.parent, NULL FROM page p WHERE p.parent IS NOT NULL
  UNION ALL
  SELECT m.parent, m.ordinal FROM above a CROSS JOIN messages m ON m.n = a.parent
)
SELECT a.ordinal, count(*), NULL FROM above a WHERE a.parent IS NULL AND a.ordinal IS NOT NULL GROUP BY a.ordinal
UNION ALL SELECT NULL, count(*), min(p.n) FROM page p

-- name: bind_part
-- The key of a part. A repeated request has the same part.
INSERT INTO outputs (key, state, size, sha256, fingerprint, content_type, attributes, created_at)
VALUES (:key::text, {WRITING}, :size::bigint, :sha256::bytea, :sha256::bytea, :content_type::text, '{}', playhead_now())
ON CONFLICT DO NOTHING

-- name: store_parts
-- All parts of a report are written.
UPDATE outputs SET state = {STORED} WHERE key = ANY(:keys::text[]) AND state = {WRITING}

-- name: supersede_report
-- The execution was resumed before its report was stored.
UPDATE reports SET state = 'superseded', owner = NULL
WHERE execution = :execution AND revision = :revision AND epoch = :epoch AND state = 'writing'
  AND NOT EXISTS (SELECT 1 FROM executions e WHERE e.n = :execution AND e.settled AND e.revision = :revision)

-- name: end_report
-- The report is stored, or abandoned.
UPDATE reports SET state = :state, parts = :parts, counts = :counts, error = :error, owner = NULL
WHERE execution = :execution AND revision = :revision

-- name: ask_report_again
-- A report that was abandoned is due now.
UPDATE reports SET state = 'writing', asked_at = epoch, lease_until = 0, error = NULL
WHERE execution = :execution AND revision = :revision AND state = 'failed'
  AND (SELECT e.records_deleted_at FROM executions e WHERE e.n = :execution) IS NULL

-- name: report_is_due
-- A report is due until it is stored or abandoned.
UPDATE jobs SET report = 1 WHERE execution = :execution

-- name: settle_report
-- No report is due until the execution ends again.
UPDATE jobs SET report = 2 WHERE execution = :execution

-- name: report_of_batch
-- The last end of a replay, or the next one while it runs; and what it was asked for, if it has reports.
SELECT e.n, CASE WHEN e.settled THEN e.revision ELSE e.revision + 1 END, j.request
FROM executions e JOIN jobs j ON j.execution = e.n WHERE e.batch = :batch::uuid AND j.report > 0

-- name: find_report
-- The row of a report.
SELECT r.state, r.parts, r.counts, r.error FROM reports r WHERE r.execution = :execution AND r.revision = :revision

-- name: replay_with_webhook
-- The replay of an execution and what it was asked for, if it has a webhook.
SELECT e.batch, e.revision, j.request, playhead_now() FROM jobs j JOIN executions e ON e.n = j.execution
WHERE j.execution = :execution AND j.webhook_revision IS NOT NULL

-- name: is_start_recorded
-- Whether the webhook of a replay has an event for its start.
SELECT 1 FROM deliveries WHERE execution = :execution AND event = 'replay.started' LIMIT 1

-- name: insert_delivery
-- An event for a webhook.
INSERT INTO deliveries (id, execution, dataset, revision, event, url, body, state, next_at)
VALUES (:id::uuid, :execution::bigint, :dataset::bigint, :revision, :event, :url, :body, 'due', playhead_now())

-- name: delete_old_deliveries
-- All but the newest events of a dataset, except those that are due.
DELETE FROM deliveries WHERE dataset = :dataset AND state <> 'due' AND n <= (
  SELECT d.n FROM deliveries d WHERE d.dataset = :dataset ORDER BY d.n DESC LIMIT 1 OFFSET :keep)

-- name: has_due_delivery
-- Whether there is one.
SELECT 1 FROM deliveries WHERE state = 'due' AND next_at <= playhead_now() LIMIT 1

-- name: end_deliveries
-- Deliveries whose last attempt was never answered: its process died.
UPDATE deliveries SET state = 'failed', last_error = coalesce(last_error, :error::text)
WHERE state = 'due' AND next_at <= playhead_now() AND attempts >= :most

-- name: claim_deliveries
-- Skip rows that another transaction has locked: another process sends them.
WITH found AS MATERIALIZED (
  SELECT n FROM deliveries WHERE state = 'due' AND next_at <= playhead_now() ORDER BY next_at LIMIT :limit
  FOR UPDATE SKIP LOCKED
)
UPDATE deliveries SET attempts = attempts + 1, next_at = playhead_now() + :lease::float8
WHERE n IN (SELECT n FROM found) RETURNING id, attempts, url, body

-- name: mark_sent
-- The receiver has accepted a delivery.
UPDATE deliveries SET state = 'sent', sent_at = playhead_now(), last_status = :status, last_error = NULL
WHERE id = :id::uuid AND state = 'due'

-- name: mark_unsent
-- An attempt has failed. Another process may have claimed the delivery since.
UPDATE deliveries SET state = CASE WHEN :retry::float8 IS NULL THEN 'failed' ELSE 'due' END,
  next_at = playhead_now() + coalesce(:retry::float8, 0), last_status = :status, last_error = :error
WHERE id = :id::uuid AND state = 'due' AND attempts = :attempt

-- fragment: delivery
-- The columns that a `WebhookDelivery` is built from.
SELECT d.n, d.id, d.event, d.revision, d.state, d.attempts, d.last_status, d.last_error, d.next_at, d.sent_at
FROM deliveries d

-- name: newest_deliveries
-- Newest first.
{delivery} WHERE true
AND d.execution = (SELECT e.n FROM executions e WHERE e.batch = :batch::uuid) -- if given
AND d.dataset = :dataset -- if given
AND d.n < :before -- if given
ORDER BY d.n DESC LIMIT :limit

-- name: delivery
-- One delivery of a replay or of a dataset.
{delivery} WHERE d.id = :id::uuid
AND d.execution = (SELECT e.n FROM executions e WHERE e.batch = :batch::uuid) -- if given
AND d.dataset = :dataset -- if given

-- name: send_again
-- A delivery is due now, with all of its attempts.
UPDATE deliveries SET state = 'due', attempts = 0, next_at = playhead_now(), sent_at = NULL
WHERE id = :id::uuid
AND execution = (SELECT e.n FROM executions e WHERE e.batch = :batch::uuid) -- if given
AND dataset = :dataset -- if given

-- name: move_deliveries
-- Retries that were planned before the clock was set back are due now.
UPDATE deliveries SET next_at = playhead_now() WHERE state = 'due' AND next_at > playhead_now() + :seconds::float8
