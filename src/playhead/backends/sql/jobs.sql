-- Runs, replays and their jobs.

-- name: config_version
-- The number and the content of a config version.
SELECT id, document FROM config_versions WHERE name = :name AND version = :version

-- name: insert_execution
-- Returns the number of the execution.
INSERT INTO executions (id, kind, status, config, config_version, parent, batch, created_at, traceparent, requested_by)
VALUES (:id::uuid, :kind, 'running',
  (SELECT c.n FROM config_versions v JOIN configs c ON c.name = v.name WHERE v.id = :version), :version, :parent::uuid, :batch::uuid, playhead_now(), :traceparent,
  :requested_by::text)
RETURNING n

-- name: insert_adopted
-- Returns the number of the execution, unless there is one with this id.
INSERT INTO executions (id, kind, status, settled, created_at, ended_at)
VALUES (:id::uuid, 'adopted', 'completed', true, playhead_now(), playhead_now())
ON CONFLICT DO NOTHING RETURNING n

-- name: insert_tags
-- Tags of one execution.
INSERT INTO tags (tag, execution) VALUES (:tag::text, :execution::bigint)

-- name: insert_job
-- A job; an owner holds its lease from the start, or no process does.
INSERT INTO jobs (execution, source, stage, path, prefix, to_route, lane, bulk, state, owner, lease_until)
VALUES (:execution, :source::uuid, :stage, :path, :prefix, :to_route, :lane, :bulk::boolean, :state, :owner,
  playhead_now() + :lease::float8)

-- name: bind_inputs
-- Returns the keys that were free.
INSERT INTO outputs (key, state, size, sha256, fingerprint, content_type, stamp, attributes, created_at)
VALUES (:key::text, {WRITING}, :size::bigint, :sha256::bytea, :fingerprint::bytea, :content_type::text, :stamp::text,
  '{}', playhead_now())
ON CONFLICT DO NOTHING RETURNING key

-- name: bound_inputs
-- What is bound under these keys.
SELECT key, size, sha256, location FROM outputs WHERE key = ANY(:keys::text[])

-- name: seal_job
-- The inputs of a run are stored: its job can be acquired.
UPDATE jobs SET state = 'publishing', owner = NULL, lease_until = 0
WHERE execution = (SELECT n FROM executions WHERE id = :execution::uuid)
  AND state = 'uploading' AND listing_state = 'open'

-- name: is_sealed
-- Whether a run that waits for no inputs was sealed, and not cancelled or abandoned.
SELECT EXISTS (SELECT 1 FROM jobs j JOIN executions e ON e.n = j.execution
  WHERE e.id = :execution::uuid AND e.status <> 'cancelled'
    AND j.error_code IS DISTINCT FROM 'upload_incomplete')

-- name: store_inputs
-- Keys are ordered by bytes, so `{prefix}/` and `{prefix}0` enclose exactly the keys below the prefix.
UPDATE outputs SET state = {STORED} WHERE state = {WRITING} AND key > :first AND key < :last

-- name: acquirable_job
-- A job that can be acquired: its lease is free or has expired.
SELECT e.n, e.batch, e.traceparent, j.source, j.stage, j.prefix, j.lane, j.epoch, j.cursor, j.listing_state,
  j.idle_takeovers, j.since, j.takeover, j.state, j.request, j.paths, j.paid, j.bulk,
  EXISTS (SELECT 1 FROM executions x JOIN jobs s ON s.execution = x.n WHERE x.id = j.source AND s.since IS NOT NULL)
    OR EXISTS (SELECT 1 FROM executions x JOIN publications p ON p.execution = x.n WHERE x.id = j.source),
  j.plan, j.checked, j.owner
FROM jobs j JOIN executions e ON e.n = j.execution
WHERE e.id = :job::uuid AND j.state IN ('checking', 'publishing') AND (j.owner IS NULL OR j.lease_until <= playhead_now())
FOR UPDATE OF j

-- name: acquire_job
-- Take the lease and raise the epoch, which fences the previous holder.
UPDATE jobs SET epoch = epoch + 1, owner = :owner, lease_until = playhead_now() + :lease::float8,
  idle_takeovers = idle_takeovers + 1 WHERE execution = :execution

-- name: stall_job
-- No process acquires a stalled job until an operator resumes it.
UPDATE jobs SET state = 'stalled', epoch = epoch + 1, owner = NULL WHERE execution = :execution

-- name: declared_stages
-- The stages that the config of an execution declares; of a publication whose base is a replay, also that of its inputs.
SELECT l.stage FROM lanes l JOIN executions e ON e.config_version = l.config_version
WHERE e.id = :execution::uuid AND l.stage IS NOT NULL
UNION SELECT j.stage FROM executions e JOIN publications p ON p.execution = e.n JOIN executions r ON r.n = p.base_run
JOIN jobs j ON j.execution = r.n WHERE e.id = :execution::uuid AND r.kind = 'replay'

-- name: renew_lease
-- Extend the lease of a job that is still held.
UPDATE jobs SET owner = :owner, lease_until = playhead_now() + :lease::float8, waits_for = :waits_for
WHERE execution = (SELECT n FROM executions WHERE id = :job::uuid) AND epoch = :epoch
  AND state IN ('checking', 'publishing')

-- name: release_lease
-- Release a job that is still held; this acquisition does not count as idle.
UPDATE jobs SET owner = NULL, lease_until = 0, idle_takeovers = greatest(idle_takeovers - 1, 0)
WHERE execution = (SELECT n FROM executions WHERE id = :job::uuid) AND epoch = :epoch

-- fragment: leased
-- The job of a holder whose epoch is current.
SELECT j.execution, j.lane, j.cursor, j.ordinals, j.watermark, j.listing_state, j.bulk
FROM executions e JOIN jobs j ON j.execution = e.n
WHERE e.id = :job::uuid AND j.epoch = :epoch AND j.state = 'publishing'

-- name: lock_listing
-- Read and lock the job of a holder that lists, or that compares a plan first.
SELECT j.execution, j.lane, j.cursor, j.ordinals, j.watermark, j.listing_state, j.bulk
FROM executions e JOIN jobs j ON j.execution = e.n
WHERE e.id = :job::uuid AND j.epoch = :epoch AND j.state IN ('checking', 'publishing') FOR UPDATE OF j

-- name: find_leased
-- Read the job of a holder.
{leased}

-- name: lock_leased
-- Read and lock the job of a holder, so that the epoch stays current until the transaction ends.
{leased} FOR UPDATE OF j

-- name: stored_between
-- Stored keys after the first and before the last, in order.
SELECT key FROM outputs WHERE state = {STORED} AND key > :first AND key < :last ORDER BY key LIMIT :limit

-- name: unstored_between
-- Keys of a page that are bound but not stored.
SELECT key FROM outputs WHERE state <> {STORED} AND key >= :first AND key <= :last

-- name: insert_listed
-- One row for each object of a page.
INSERT INTO messages (id, execution, lane, object_key, stage, ordinal)
VALUES (:id::uuid, :execution::bigint, :lane::bigint, :key::text, :stage::text, :ordinal::bigint)

-- name: close_invalid
-- Close rows whose key is outside the grammar.
WITH given (id, error, failure_group) AS (SELECT * FROM unnest(:ids::uuid[], :errors::text[], :groups::bigint[]))
UPDATE messages AS m SET state = {DEAD}, error_code = 'invalid_key', error = g.error, ended_at = playhead_now(),
  failure_group = g.failure_group
FROM given g WHERE m.id = g.id

-- name: move_cursor
-- Record how far the listing is.
UPDATE jobs SET cursor = :cursor, ordinals = :ordinals, idle_takeovers = 0, listing_state = :listing_state,
  bulk = :bulk::boolean
WHERE execution = :execution

-- name: is_listed
-- Whether the listing of a job has ended.
SELECT EXISTS (SELECT 1 FROM jobs j JOIN executions e ON e.n = j.execution
  WHERE e.id = :job::uuid AND j.listing_state <> 'open')

-- name: fail_listing
-- Give a listing up; recorded rows are still processed.
UPDATE jobs SET listing_state = 'dead', error_code = :code, error = :error, state = 'publishing',
  bulk = coalesce(bulk, false)
WHERE execution = :execution

-- name: unpublished_rows
-- Rows of a window behind the watermark that wait to be published.
{dispatch} WHERE m.execution = :execution AND m.ordinal > :watermark AND m.ordinal <= :upto AND m.state = {PENDING}
  AND m.published IS NULL ORDER BY m.ordinal

-- name: mark_uncertain
-- Rows for which the broker gave no answer. A claimed row was published, so it is left out.
WITH held AS MATERIALIZED (
  SELECT n FROM messages WHERE id = ANY(:ids::uuid[])
    AND published IS NULL AND ordinal > :watermark AND state = {PENDING} ORDER BY n FOR NO KEY UPDATE
)
UPDATE messages AS m SET published = {UNANSWERED} FROM held WHERE m.n = held.n

-- name: complete_external
-- Published rows of an external route are complete.
UPDATE messages /* INDEXED BY messages_by_ordinal */
SET state = {COMPLETED}, published = {PUBLISHED}, ended_at = playhead_now()
WHERE execution = :execution AND ordinal > :watermark AND ordinal <= :upto
  AND state = {PENDING} AND published IS NULL

-- name: move_watermark
-- Rows up to here are published. A takeover with progress does not count towards stalling.
UPDATE jobs SET watermark = greatest(watermark, :upto), idle_takeovers = 0 WHERE execution = :execution

-- name: uncertain_rows
-- Rows that wait to be settled, oldest first.
{dispatch} WHERE m.published = {UNANSWERED} AND m.state = {PENDING} AND m.execution = :execution
  ORDER BY m.n LIMIT :limit

-- name: settle_confirmed
-- Uncertain rows that the broker has confirmed; on an external route they are complete.
WITH held AS MATERIALIZED (
  SELECT n FROM messages WHERE id = ANY(:ids::uuid[])
    AND published = {UNANSWERED} AND state = {PENDING} ORDER BY n FOR NO KEY UPDATE
)
UPDATE messages AS m SET published = {PUBLISHED},
  state = CASE WHEN :external::boolean THEN {COMPLETED} ELSE {PENDING} END,
  ended_at = CASE WHEN :external::boolean THEN playhead_now() END
FROM held WHERE m.n = held.n

-- name: close_job
-- The job has published all of its rows.
UPDATE jobs SET state = :state, watermark = ordinals, owner = NULL, waits_for = NULL, ended_at = playhead_now()
WHERE execution = :execution

-- name: is_closed
-- Whether the job of a holder was closed, by an earlier call or with its execution.
SELECT EXISTS (SELECT 1 FROM executions e JOIN jobs j ON j.execution = e.n WHERE e.id = :job::uuid
  AND j.epoch = :epoch AND j.state IN ('publishing_complete', 'partial_failure'))

-- name: cancel_job
-- End a job with its execution.
UPDATE jobs SET epoch = epoch + 1, owner = NULL,
  listing_state = CASE WHEN listing_state IN ('open', 'cancelling') THEN 'cancelled' ELSE listing_state END,
  ended_at = coalesce(ended_at, playhead_now()),
  state = CASE WHEN {open_jobs} THEN 'cancelled' ELSE state END
WHERE execution = :execution
