-- Processes, leases, and the reconciler's queries.

-- name: beat
-- A heartbeat of a known process.
UPDATE processes SET queues = :queues, heartbeat_at = playhead_now(), counters = :counters
, changed = :changed -- if given
WHERE id = :id

-- name: other_processes
-- How long ago each process sent its last heartbeat.
SELECT host, pid, playhead_now() - heartbeat_at FROM processes

-- name: insert_process
-- The first heartbeat of a process.
INSERT INTO processes (id, kind, host, pid, queues, started_at, heartbeat_at, version, code, changed)
VALUES (:id, :kind, :host, :pid, :queues, playhead_now(), playhead_now(), :version, :code, :changed)

-- name: delete_process
-- Returns its counters.
DELETE FROM processes WHERE id = :id RETURNING counters

-- name: delete_forgotten
-- Processes that have been dead for long; returns their counters.
DELETE FROM processes WHERE heartbeat_at < playhead_now() - :seconds::float8 RETURNING counters

-- name: move_job_leases
-- Move the leases of processes whose heartbeats were recorded before the clock was set back, by the same time.
UPDATE jobs SET lease_until = lease_until - (SELECT p.heartbeat_at - playhead_now() FROM processes p WHERE p.id = owner)
WHERE {open_jobs}
  AND owner IN (SELECT p.id FROM processes p WHERE p.heartbeat_at > playhead_now() + :seconds::float8)

-- name: move_heartbeats
-- Treat heartbeats ahead of the clock as recorded now.
UPDATE processes SET heartbeat_at = playhead_now() WHERE heartbeat_at > playhead_now() + :seconds::float8

-- name: last_retry_is_ahead
-- Whether the attempt before the last retry began after now: the clock was set back. This reads one row.
SELECT m.started_at > playhead_now() + :seconds::float8 FROM messages m /* INDEXED BY messages_due */
WHERE m.published = {UNPUBLISHED} AND m.state = {RETRY} ORDER BY m.not_before DESC LIMIT 1

-- name: move_retries
-- Make retries due whose last attempt began after now.
UPDATE messages SET not_before = playhead_now()
WHERE published = {UNPUBLISHED} AND state = {RETRY} AND not_before > playhead_now() + :seconds::float8
  AND started_at > playhead_now() + :seconds::float8

-- name: delete_leases
-- Leases of a process that has ended.
DELETE FROM leases WHERE owner = :owner

-- name: release_jobs
-- Jobs of a process that has ended.
UPDATE jobs SET owner = NULL, lease_until = 0, idle_takeovers = greatest(idle_takeovers - 1, 0)
WHERE owner = :owner AND {open_jobs}

-- name: departed_counters
-- The sum of the counters of processes that have ended.
SELECT counters FROM departed FOR UPDATE

-- name: set_departed_counters
-- Replace the sum.
UPDATE departed SET counters = :counters

-- name: all_counters
-- Counters of all processes that ever were.
SELECT counters FROM processes WHERE counters IS NOT NULL UNION ALL SELECT counters FROM departed

-- name: living_processes
-- Processes with a recent heartbeat, oldest first.
SELECT id, kind, host, pid, queues, started_at, heartbeat_at FROM processes
WHERE heartbeat_at >= playhead_now() - :seconds::float8 ORDER BY started_at, id

-- name: take_lease
-- Returns a row if the lease was free, expired, or the owner's own. A lease with more than two periods left was taken
-- before the clock was set back.
INSERT INTO leases (name, owner, until) VALUES (:name, :owner, playhead_now() + :seconds::float8)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
WHERE leases.owner = excluded.owner OR leases.until <= playhead_now()
  OR leases.until > playhead_now() + 2 * :seconds::float8 RETURNING 1

-- name: consumed_versions
-- The newest versions of active configs, and versions that a running execution uses.
SELECT (SELECT v.id FROM config_versions v WHERE v.name = c.name ORDER BY v.version DESC LIMIT 1)
FROM configs c WHERE c.active
UNION SELECT e.config_version FROM executions e WHERE NOT e.settled AND e.status = 'running'

-- name: subscriptions
-- Queues of config versions, newest version last.
SELECT l.queue, v.name, v.version, l.route FROM lanes l JOIN config_versions v ON v.id = l.config_version
WHERE l.config_version = ANY(:versions::bigint[]) AND NOT l.external ORDER BY l.queue, v.created_at, v.id

-- fragment: orphaned
-- Unpublished rows whose publisher is dead, was never named, or has had a minute. Ids begin with the time of the clock
-- that minted them, so `stale` is an id and not a time of the catalog.
FROM messages m /* INDEXED BY messages_unpublished */
WHERE m.published = {UNPUBLISHED} AND m.state = {PENDING}
  AND (m.publisher IS NULL OR m.publisher NOT IN ({alive}) OR m.id < :stale::uuid)
AND m.lane NOT IN (SELECT l.id FROM lanes l WHERE l.queue = ANY(:without::text[])) -- if given

-- name: has_orphan
-- Whether there is one.
SELECT 1 {orphaned}
LIMIT 1

-- name: orphans
-- Skip rows that another transaction has locked: the next look finds them.
SELECT m.n {orphaned}
ORDER BY m.n LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED

-- fragment: due
-- Retries whose time has come.
FROM messages m /* INDEXED BY messages_due */
WHERE m.published = {UNPUBLISHED} AND m.state = {RETRY} AND m.not_before <= playhead_now()
AND m.lane NOT IN (SELECT l.id FROM lanes l WHERE l.queue = ANY(:without::text[])) -- if given

-- name: has_due
-- Whether there is one.
SELECT 1 {due}
LIMIT 1

-- name: due
-- The longest overdue first.
SELECT m.n {due}
ORDER BY m.not_before LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED

-- name: take_over
-- Rows that a queue rejects come again each second: they are not written each time.
UPDATE messages SET publisher = :owner
WHERE n = ANY(:rows::bigint[]) AND publisher IS DISTINCT FROM :owner

-- name: dispatches_of
-- Dispatches of rows.
{dispatch} WHERE m.n = ANY(:rows::bigint[])

-- fragment: abandoned
-- The row `m` is running, and its worker is dead.
m.state = {RUNNING} AND m.worker NOT IN ({alive})

-- name: abandoned_rows
-- Rows that run in dead workers.
SELECT m.n, m.execution FROM messages m /* INDEXED BY messages_running */ WHERE {abandoned} LIMIT :limit

-- name: lock_still_running
-- Skip rows that another transaction has locked: their workers are alive.
SELECT m.n FROM messages m WHERE m.n = ANY(:rows::bigint[]) AND m.state = {RUNNING}
ORDER BY m.n FOR NO KEY UPDATE SKIP LOCKED

-- name: recall
-- Whether the worker is dead is asked of the locked row, in a new statement: another worker may have claimed it since.
UPDATE messages AS m SET worker = NULL,
  state = CASE WHEN m.execution = ANY(:running::bigint[]) THEN {RETRY} ELSE {CANCELLED} END,
  ended_at = CASE WHEN m.execution = ANY(:running::bigint[]) THEN m.ended_at ELSE playhead_now() END,
  not_before = playhead_now(), published = {UNPUBLISHED}, publisher = NULL, generation = m.generation + 1,
  consecutive_crashes = m.consecutive_crashes + 1
WHERE m.n = ANY(:rows::bigint[]) AND {abandoned}

-- fragment: processed
-- The execution `e` runs, and workers of Playhead consume the lane `l`.
NOT e.settled AND e.status = 'running' AND NOT l.external

-- fragment: dispatched
-- The row `m` was published.
(m.published = {PUBLISHED} OR (m.published IS NULL
  AND m.ordinal <= (SELECT j.watermark FROM jobs j WHERE j.execution = e.n)))

-- fragment: first_unmarked
-- Where the unmarked rows of a job begin in its lane: numbers grow with ordinals, and only roots are in that lane.
(SELECT u.n FROM jobs j JOIN messages u ON u.execution = j.execution AND u.ordinal = j.watermark + 1
  WHERE j.execution = e.n AND j.lane = l.id)

-- fragment: waiting_lanes
-- Lanes in which a running execution has a pending row or a retry. Each step finds the next lane by the index, so the
-- cost grows with the executions, not with their rows and lanes.
WITH RECURSIVE waiting (execution, state, lane) AS (
  SELECT e.n, s.state, (SELECT m.lane FROM messages m /* INDEXED BY messages_by_state */
    WHERE m.execution = e.n AND m.state = s.state ORDER BY m.lane LIMIT 1)
  FROM executions e CROSS JOIN (SELECT {PENDING} AS state UNION ALL SELECT {RETRY}) s
  WHERE NOT e.settled AND e.status = 'running'
  AND e.id = ANY(:executions::uuid[]) -- if given
  UNION ALL
  SELECT w.execution, w.state, (SELECT m.lane FROM messages m /* INDEXED BY messages_by_state */
    WHERE m.execution = w.execution AND m.state = w.state AND m.lane > w.lane ORDER BY m.lane LIMIT 1)
  FROM waiting w WHERE w.lane IS NOT NULL
), waiting_lanes (lane) AS (SELECT DISTINCT lane FROM waiting WHERE lane IS NOT NULL)

-- name: waiting_by_lane
-- How many messages wait. One range of the index after the other: as one group, SQLite sorts all of them.
{waiting_lanes}
SELECT w.lane, sum((SELECT count(*) FROM messages m /* INDEXED BY messages_by_state */
  WHERE m.execution = w.execution AND m.state = w.state AND m.lane = w.lane))::bigint
FROM waiting w WHERE w.lane IS NOT NULL GROUP BY 1

-- fragment: pending_of_lane
-- Pending rows of an execution in a lane, in PostgreSQL. Without the bound, each second would read all rows that a job has
-- yet to publish.
SELECT m.n FROM messages m WHERE m.execution = e.n AND m.state = {PENDING} AND m.lane = l.id
    AND -m.n > coalesce(-{first_unmarked}, -9223372036854775807)

-- fragment: retries_of_lane
-- Published retries of an execution in a lane, in PostgreSQL.
SELECT m.n FROM messages m WHERE m.execution = e.n AND m.state = {RETRY} AND m.lane = l.id
    AND {dispatched} ORDER BY -m.n DESC LIMIT :limit

-- fragment: waiting_of_lane
-- Published rows of an execution in a lane that no worker has claimed, in PostgreSQL.
({pending_of_lane} AND {dispatched} ORDER BY -m.n DESC LIMIT :limit) UNION ALL ({retries_of_lane})

-- name: waiting_queues (postgresql)
-- Queues with a published row that no worker has claimed. The limit is 1.
{waiting_lanes}
SELECT l.queue FROM waiting_lanes w CROSS JOIN LATERAL (SELECT * FROM lanes WHERE id = w.lane LIMIT 1) l
WHERE EXISTS (SELECT 1 FROM waiting x CROSS JOIN LATERAL (SELECT * FROM executions WHERE n = x.execution LIMIT 1) e
  WHERE x.lane = l.id AND {processed} AND (SELECT w.n FROM ({waiting_of_lane}) w LIMIT 1) IS NOT NULL)
ORDER BY l.id

-- name: waiting_queues (sqlite)
-- The same, by the index that SQLite has.
{waiting_lanes}
SELECT l.queue FROM waiting_lanes w JOIN lanes l ON l.id = w.lane
WHERE EXISTS (SELECT 1 FROM waiting x CROSS JOIN executions e ON e.n = x.execution WHERE x.lane = l.id AND {processed} AND (
  EXISTS (SELECT 1 FROM messages m INDEXED BY messages_by_state
    WHERE m.execution = e.n AND m.state = {PENDING} AND m.lane = l.id
      AND m.n < coalesce({first_unmarked}, 9223372036854775807) AND {dispatched})
  OR EXISTS (SELECT 1 FROM messages m INDEXED BY messages_by_state
    WHERE m.execution = e.n AND m.state = {RETRY} AND m.lane = l.id AND {dispatched})))
ORDER BY l.id

-- name: processed_by_queue
-- Running executions whose messages go to a queue.
SELECT e.n FROM executions e JOIN lanes l ON l.config_version = e.config_version
WHERE {processed} AND l.queue = :queue

-- name: waiting_rows (postgresql)
-- Published rows of a queue that no worker has claimed.
SELECT w.n FROM executions e JOIN lanes l ON l.config_version = e.config_version
CROSS JOIN LATERAL ({waiting_of_lane}) w
WHERE {processed} AND e.n = ANY(:executions::bigint[]) AND l.queue = :queue LIMIT :limit

-- fragment: pending_by_index
-- Pending rows of a queue, by the index that SQLite has.
SELECT m.n FROM executions e JOIN lanes l ON l.config_version = e.config_version
CROSS JOIN messages m INDEXED BY messages_by_state ON m.execution = e.n AND m.state = {PENDING} AND m.lane = l.id
  AND m.n < coalesce({first_unmarked}, 9223372036854775807)
WHERE {processed} AND e.n = ANY(:executions::bigint[]) AND l.queue = :queue

-- fragment: retries_by_index
-- Published retries of a queue, by the index that SQLite has.
SELECT m.n FROM executions e JOIN lanes l ON l.config_version = e.config_version
CROSS JOIN messages m INDEXED BY messages_by_state ON m.execution = e.n AND m.state = {RETRY} AND m.lane = l.id
WHERE {processed} AND e.n = ANY(:executions::bigint[]) AND l.queue = :queue AND {dispatched}

-- name: waiting_rows (sqlite)
-- The same. One half for each state: a condition with OR would read all pending rows.
{pending_by_index} AND {dispatched} UNION ALL {retries_by_index} LIMIT :limit

-- name: count_waiting (postgresql)
-- How many rows a queue holds or is about to get again, at most `limit`: also those that the broker has lost. Uncertain
-- rows are counted with their jobs.
SELECT count(*) FROM (SELECT w.n FROM executions e JOIN lanes l ON l.config_version = e.config_version
CROSS JOIN LATERAL (({pending_of_lane} AND m.published IS DISTINCT FROM {UNANSWERED} ORDER BY -m.n DESC LIMIT :limit)
  UNION ALL ({retries_of_lane})) w
WHERE {processed} AND e.n = ANY(:executions::bigint[]) AND l.queue = :queue LIMIT :limit) AS waiting

-- name: count_waiting (sqlite)
-- The same.
SELECT count(*) FROM ({pending_by_index} AND m.published IS DISTINCT FROM {UNANSWERED}
UNION ALL {retries_by_index} LIMIT :limit) AS waiting

-- name: lock_waiting
-- Skip rows that another transaction has locked: they are being claimed.
SELECT n FROM messages WHERE n = ANY(:rows::bigint[]) AND state IN ({WAITING})
  AND published IS DISTINCT FROM {UNPUBLISHED} ORDER BY n FOR NO KEY UPDATE SKIP LOCKED

-- name: publish_again
-- A new generation makes a new message for the broker.
UPDATE messages SET published = {UNPUBLISHED}, publisher = :owner, generation = generation + 1
WHERE n = ANY(:rows::bigint[])

-- name: catalog_size (postgresql)
-- The bytes of all tables and indexes, when the first execution began, and the time.
SELECT (SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
  WHERE s.nspname = current_schema() AND c.relkind = 'r'),
  (SELECT e.created_at FROM executions e ORDER BY e.created_at LIMIT 1), playhead_now()

-- name: catalog_size (sqlite)
-- The same, without free pages.
SELECT (p.page_count - f.freelist_count) * s.page_size,
  (SELECT e.created_at FROM executions e ORDER BY e.created_at LIMIT 1), playhead_now()
FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s

-- name: some_running
-- The next running executions, oldest first.
SELECT e.n, e.id FROM executions e WHERE NOT e.settled AND e.status = 'running' AND e.n > :after ORDER BY e.n LIMIT :limit

-- name: running_executions
-- Oldest first.
SELECT id FROM executions WHERE NOT settled AND status = 'running' ORDER BY n

-- name: unsettled_cancelled
-- Cancelled executions with an open row.
SELECT n, id FROM executions WHERE NOT settled AND status = 'cancelled'

-- fragment: unsealed
-- Runs whose owner died before all inputs were stored. The lease with which a run was opened counts from its opening and
-- from the last heartbeat of its owner.
SELECT e.n, e.id FROM jobs j JOIN executions e ON e.n = j.execution LEFT JOIN processes o ON o.id = j.owner
WHERE j.{open_jobs} AND j.state = 'uploading' AND j.lease_until <= playhead_now()
  AND (o.heartbeat_at IS NULL OR o.heartbeat_at + j.lease_until - e.created_at <= playhead_now())
  AND (j.owner IS NULL OR j.owner NOT IN ({alive}))
ORDER BY e.n

-- name: unsealed_runs
-- Without a lock.
{unsealed}

-- name: lock_unsealed_runs
-- With a lock: a run may have been sealed or cancelled since the read without a lock.
{unsealed} FOR UPDATE OF j

-- name: fail_upload
-- The listing of such a run is dead.
UPDATE jobs SET state = 'partial_failure', listing_state = 'dead', epoch = epoch + 1, ended_at = playhead_now(),
  error_code = 'upload_incomplete', error = :error WHERE execution = :execution

-- name: abandoned_jobs
-- Jobs that are checked or published, and whose lease is free or has expired.
SELECT e.id FROM jobs j JOIN executions e ON e.n = j.execution
WHERE j.{open_jobs} AND j.state IN ('checking', 'publishing')
  AND (j.owner IS NULL OR j.lease_until <= playhead_now()) ORDER BY j.execution

-- name: messages_named
-- Rows by their ids.
SELECT n, execution FROM messages WHERE id = ANY(:ids::uuid[])

-- name: executions_of
-- The executions of rows.
SELECT n, execution FROM messages WHERE n = ANY(:rows::bigint[])

-- name: dead_letters_among
-- Rows to resend, with what decides whether each can be.
SELECT m.n, m.id, e.n, e.id, m.error_code, m.state, m.parent FROM messages m JOIN executions e ON e.n = m.execution
WHERE m.n = ANY(:rows::bigint[])
AND m.failure_group = :failure_group -- if given
AND m.ended_at < :ended_before::float8 -- if given
ORDER BY m.n

-- name: sources_of
-- The executions and stages whose objects are the inputs of replays.
SELECT j.execution, s.n, j.stage FROM jobs j JOIN executions s ON s.id = j.source
WHERE j.execution = ANY(:executions::bigint[]) AND s.n <> j.execution

-- name: lock_jobs
-- Jobs of executions, so that none of them ends before the transaction has.
SELECT execution FROM jobs WHERE execution = ANY(:executions::bigint[]) ORDER BY execution FOR NO KEY UPDATE

-- name: resend
-- Attempts are counted from here; the attempt number itself never goes down. A refused message of a job that has not
-- ended is left to the job, which may be paused or paced.
UPDATE messages AS m SET state = {PENDING}, bulk = :bulk::boolean, generation = generation + 1, uncounted_attempts = attempt,
  consecutive_crashes = 0, published = CASE WHEN m.error_code = 'publish_refused' AND m.ordinal IS NOT NULL
    AND EXISTS (SELECT 1 FROM jobs j WHERE j.execution = m.execution AND j.{open_jobs})
    THEN {UNANSWERED} ELSE {UNPUBLISHED} END, publisher = NULL, not_before = NULL, ended_at = NULL,
  error_code = NULL, error = NULL, traceback = NULL WHERE n = ANY(:rows::bigint[])

-- name: reopen_executions
-- Executions with resent messages run again.
UPDATE executions SET status = 'running', settled = false, indexed = false, counts = NULL, totals = NULL,
  first_ended_at = coalesce(first_ended_at, ended_at), ended_at = NULL
WHERE n = ANY(:executions::bigint[])
