-- Claim, bind, finish, publish and mark: what workers do all the time.
--
-- Message rows are found by their ids alone and sorted out in Python: with a second condition that an index knows,
-- PostgreSQL's planner, whose statistics are late, may read a whole execution to find a batch.

-- name: share_executions_of
-- Lock the executions of messages against cancel, resend and completion.
SELECT e.n FROM executions e
WHERE e.n IN (SELECT m.execution FROM messages m WHERE m.id = ANY(:ids::uuid[]))
ORDER BY e.n FOR SHARE OF e

-- name: executions_named
-- What messages of executions carry with them. Only a replay skips routes.
SELECT e.n, e.id, e.batch, e.traceparent, coalesce(j.bulk, false), j.effects, j.takeover IS NOT NULL FROM executions e
LEFT JOIN jobs j ON j.execution = e.n
WHERE e.n = ANY(:numbers::bigint[])

-- name: claimable
-- Rows to claim, with what the catalog knows of their objects. A published retry was due: if the clock was set back since,
-- it is not too early, because a refused dispatch is acked, and no other one would follow.
SELECT m.id, m.n, m.execution, e.status, m.lane, m.state, m.attempt, m.uncounted_attempts, m.worker,
  m.consecutive_crashes, coalesce(m.not_before > playhead_now(), false) AND m.published = {UNPUBLISHED}, m.object_key, m.stage,
  o.content_type, o.attributes, o.size, o.sha256, o.pruned_at, o.location
FROM messages m JOIN executions e ON e.n = m.execution LEFT JOIN outputs o ON o.key = m.object_key
WHERE m.id = ANY(:ids::uuid[]) ORDER BY m.n FOR NO KEY UPDATE OF m

-- fragment: beat_with_claim
-- A claim is also a heartbeat, in the same commit.
UPDATE processes SET heartbeat_at = playhead_now() WHERE id = :worker AND heartbeat_at < playhead_now() - :beat::float8

-- fragment: claimed
-- A claim settles an uncertain row as published.
UPDATE messages SET state = {RUNNING}, attempt = attempt + 1,
  uncounted_attempts = uncounted_attempts + :uncounted, uncalled_attempts = uncalled_attempts + :uncounted,
  consecutive_crashes = :crashes, worker = :worker,
  started_at = playhead_now(), not_before = NULL, published = {PUBLISHED}
WHERE n = ANY(:rows::bigint[])

-- name: claim (postgresql)
-- In PostgreSQL, one statement saves a round trip.
WITH living AS ({beat_with_claim}) {claimed}

-- name: claim (sqlite)
-- SQLite cannot write in WITH.
{claimed}

-- name: beat_with_claim (sqlite)
-- In PostgreSQL it is a part of `claim`.
{beat_with_claim}

-- name: unpublished_children
-- Children of completed messages that no process has published.
{dispatch} WHERE m.parent = ANY(:parents::bigint[]) AND m.published = {UNPUBLISHED} AND m.state = {PENDING}
ORDER BY m.n

-- name: close_lost
-- Close rows whose last attempt was lost with its worker.
WITH given (n, why, failure_group) AS (SELECT * FROM unnest(:rows::bigint[], :reasons::text[], :groups::bigint[]))
UPDATE messages AS m SET state = {DEAD}, worker = NULL, ended_at = playhead_now(), error_code = 'worker_lost',
  error = g.why, traceback = NULL, failure_group = g.failure_group
FROM given g WHERE m.n = g.n

-- name: lock_bindable
-- Lock rows whose outputs are to be bound, so that their tokens hold until the commit.
SELECT m.id, m.attempt, m.state, m.n, m.lane, m.execution, playhead_now() FROM messages m
WHERE m.id = ANY(:ids::uuid[]) ORDER BY m.n FOR NO KEY UPDATE

-- name: bind
-- Returns the keys that were free.
INSERT INTO outputs (key, message, attempt, size, sha256, fingerprint, content_type, attributes, state, created_at)
VALUES (:key::text, :message::bigint, :attempt::int, :size::bigint, :sha256::bytea, :fingerprint::bytea,
  :content_type::text, :attributes::text, {WRITING}, :created_at::float8)
ON CONFLICT (key) DO NOTHING RETURNING key

-- name: unbind
-- Remove bindings of this transaction.
DELETE FROM outputs WHERE key = ANY(:keys::text[])

-- name: bound_outputs
-- What is bound under these keys.
SELECT key, message, attempt, state, fingerprint, created_at FROM outputs WHERE key = ANY(:keys::text[])

-- name: set_output_state
-- Change bindings that exist.
UPDATE outputs SET state = :state WHERE key = ANY(:keys::text[])

-- name: lock_running
-- Lock rows whose attempts are to be ended. An object may have failed before.
SELECT m.id, m.attempt, m.state, m.n, m.lane, m.execution, e.status, m.bulk,
  EXISTS (SELECT 1 FROM failing f WHERE f.open AND f.path = substr(m.object_key, 38)),
  substr(m.object_key, 39 + length(m.stage))
FROM messages m JOIN executions e ON e.n = m.execution
WHERE m.id = ANY(:ids::uuid[]) ORDER BY m.n FOR NO KEY UPDATE OF m

-- name: complete
-- End attempts that are done. The row keeps the worker, which has made the result.
UPDATE messages SET state = {COMPLETED}, ended_at = playhead_now(), error_code = NULL,
  code = :ran::bigint, reads = :reads::smallint, error = NULL, traceback = NULL WHERE n = ANY(:rows::bigint[])

-- name: skip
-- End attempts that are done without an output, for a reason.
WITH given (n, why, reason, ran, reads) AS (
  SELECT * FROM unnest(:rows::bigint[], :codes::text[], :reasons::text[], :ran::bigint[], :reads::smallint[]))
UPDATE messages AS m SET state = {SKIPPED}, ended_at = playhead_now(), worker = NULL, error_code = g.why,
  code = g.ran, reads = g.reads, error = g.reason, traceback = NULL
FROM given g WHERE m.n = g.n

-- name: supersede_unstored
-- Outputs of earlier attempts.
UPDATE outputs SET state = {SUPERSEDED} WHERE message = ANY(:messages::bigint[]) AND state = {WRITING}

-- name: insert_children
-- Children of attempts that are done.
INSERT INTO messages (id, execution, lane, object_key, stage, state, published, parent, publisher, bulk)
VALUES (:id::uuid, :execution::bigint, :lane::bigint, :key::text, :stage::text, :state::smallint, {UNPUBLISHED},
  :parent::bigint, :publisher::text, :bulk::boolean)

-- name: insert_skipped_children
-- Children in routes that a replay skips. They are closed from the start, so no process publishes or claims them.
INSERT INTO messages (id, execution, lane, object_key, stage, state, published, parent, ended_at, error_code, error)
VALUES (:id::uuid, :execution::bigint, :lane::bigint, :key::text, :stage::text, {SKIPPED}, {UNPUBLISHED},
  :parent::bigint, playhead_now(), :code::text, :reason::text)

-- name: lock_effects
-- What a replay does in routes with external effects, locked until the transaction ends.
SELECT j.execution, j.effects FROM executions e JOIN jobs j ON j.execution = e.n
WHERE e.id = :execution::uuid FOR NO KEY UPDATE OF j

-- name: end_failed
-- End attempts that failed or were released. A released attempt keeps the error of the attempt before, and so does a
-- failed one whose message is cancelled: the failure did not end it. `held` rows keep their dispatch: it is not acked, and
-- no claim is too early, because a claim that is refused is acked.
WITH r (n, state, released, called, held, delay, code, error, traceback, ran, failure_group) AS (
  SELECT * FROM unnest(:rows::bigint[], :states::smallint[], :released::boolean[], :called::boolean[],
    :held::boolean[], :delays::float8[], :codes::text[], :errors::text[], :tracebacks::text[], :ran::bigint[], :groups::bigint[])
)
UPDATE messages AS m SET state = r.state, worker = NULL, consecutive_crashes = 0, failure_group = r.failure_group,
  uncounted_attempts = m.uncounted_attempts + r.released::int,
  uncalled_attempts = m.uncalled_attempts + (NOT r.called)::int,
  error_code = CASE WHEN r.released OR r.state = {CANCELLED} THEN m.error_code ELSE r.code END,
  code = CASE WHEN r.released THEN m.code ELSE r.ran END,
  error = CASE WHEN r.released OR r.state = {CANCELLED} THEN m.error ELSE r.error END,
  traceback = CASE WHEN r.released OR r.state = {CANCELLED} THEN m.traceback ELSE r.traceback END,
  ended_at = CASE WHEN r.state = {RETRY} THEN m.ended_at ELSE playhead_now() END,
  not_before = CASE WHEN r.held THEN NULL WHEN r.state = {RETRY} THEN playhead_now() + r.delay ELSE m.not_before END,
  published = CASE WHEN r.state = {RETRY} AND NOT r.held THEN {UNPUBLISHED} ELSE m.published END,
  publisher = CASE WHEN r.state = {RETRY} THEN NULL ELSE m.publisher END,
  generation = m.generation + (r.state = {RETRY} AND NOT r.held)::int
FROM r WHERE m.n = r.n

-- name: done_before
-- Rows that an earlier call has completed or skipped under these tokens.
WITH given (id, attempt) AS (SELECT * FROM unnest(:ids::uuid[], :attempts::int[]))
SELECT m.id, m.attempt, m.n FROM given g JOIN messages m ON m.id = g.id AND m.attempt = g.attempt
WHERE m.state IN ({COMPLETED}, {SKIPPED})

-- name: share_executions_by_id
-- Lock executions whose rows are marked next. No read depends on the lock, but cancel locks the same rows in another
-- order.
SELECT n FROM executions WHERE id = ANY(:ids::uuid[]) ORDER BY n FOR SHARE

-- name: lock_messages
-- Lock rows that several statements mark next, each in its own order.
SELECT n FROM messages WHERE id = ANY(:ids::uuid[]) ORDER BY n FOR NO KEY UPDATE

-- name: mark_published
-- The broker has confirmed these dispatches.
UPDATE messages SET published = {PUBLISHED}, publisher = NULL
WHERE id = ANY(:ids::uuid[]) AND generation = :generation

-- name: mark_external
-- Published rows of external routes are complete.
UPDATE messages SET published = {PUBLISHED}, publisher = NULL, state = {COMPLETED}, ended_at = playhead_now()
WHERE id = ANY(:ids::uuid[]) AND generation = :generation AND state IN ({WAITING})

-- name: leave_unpublished
-- No process publishes these rows any more; the reconciler does.
UPDATE messages SET publisher = NULL
WHERE id = ANY(:ids::uuid[]) AND generation = :generation AND published = {UNPUBLISHED}

-- fragment: nothing_open
-- The execution `e` has no open row and no open listing. LIMIT keeps each subquery a lookup in the index; PostgreSQL
-- would join them as a whole without it.
(SELECT 1 FROM messages m WHERE m.execution = e.n AND m.state = {PENDING} LIMIT 1) IS NULL
  AND (SELECT 1 FROM messages m WHERE m.execution = e.n AND m.state = {RUNNING} LIMIT 1) IS NULL
  AND (SELECT 1 FROM messages m WHERE m.execution = e.n AND m.state = {RETRY} LIMIT 1) IS NULL
  AND (SELECT 1 FROM jobs j WHERE j.execution = e.n AND j.listing_state IN ('open', 'cancelling') LIMIT 1) IS NULL

-- name: completable
-- Executions that can end.
SELECT e.n, e.id FROM executions e WHERE NOT e.settled AND e.status = 'running' AND {nothing_open}
AND e.id = ANY(:ids::uuid[]) -- if given
ORDER BY e.n

-- name: end_execution
-- The execution has failed if a message or its listing is dead.
UPDATE executions SET ended_at = playhead_now(), revision = revision + 1, status = CASE
    WHEN EXISTS (SELECT 1 FROM messages WHERE execution = :n AND state = {DEAD})
      OR EXISTS (SELECT 1 FROM jobs WHERE execution = :n AND listing_state = 'dead')
    THEN 'failed' ELSE 'completed' END
WHERE n = :n
