-- The canary of a replay, and its guard (`pause_if`): they decide about the rows after the ordinal `hold_from`, up to
-- `hold_at`. Nothing behind them was sent, and everything before them had ended, or was resent. So every child of the
-- execution with a number above `hold_n` belongs to them. Only roots are in the lane of the job, and most of them may be
-- held: no statement reads that lane by state.

-- name: canary_of_job
-- The rows about which a job is to be decided.
SELECT j.hold_from, j.hold_at, j.hold_n, e.config_version, j.hold_by, j.request
FROM jobs j JOIN executions e ON e.n = j.execution WHERE j.execution = :execution

-- fragment: canary_roots
-- These rows; a condition on `state + 0` follows, so that the planner does not use an index by state.
messages m /* INDEXED BY messages_by_ordinal */ WHERE m.execution = :execution AND m.ordinal > :after
  AND m.ordinal <= :hold

-- name: canary_is_open
-- Whether a message at or below them is still to be processed. Each lane is one step in the index: in a join, PostgreSQL's
-- planner may read all open rows of the execution.
SELECT EXISTS (SELECT 1 FROM lanes l WHERE l.config_version = :version AND l.id <> :lane
    AND (SELECT m.n FROM messages m /* INDEXED BY messages_by_state */
      WHERE m.execution = :execution AND m.state IN ({OPEN}) AND m.lane = l.id LIMIT 1) IS NOT NULL)
  OR EXISTS (SELECT 1 FROM {canary_roots} AND m.state + 0 IN ({OPEN}))

-- fragment: failed_roots
-- How many roots have a dead row: the end of a recursion that begins with the dead children.
UNION ALL SELECT m.n, m.parent FROM {canary_roots} AND m.state + 0 = {DEAD}
  UNION SELECT p.n, p.parent FROM failed f JOIN messages p ON p.n = f.parent
) SELECT count(*) FROM failed f CROSS JOIN messages m WHERE f.parent IS NULL AND m.n = f.n AND m.ordinal > :after

-- name: failed_canary_objects (postgresql)
-- How many of these rows are dead, or have a dead row below them. The state is joined, so that the index of all dead
-- letters of a lane is not used.
WITH RECURSIVE failed (n, parent) AS (
  SELECT x.n, x.parent FROM lanes l CROSS JOIN unnest(ARRAY[{DEAD}]::smallint[]) AS s (state)
  CROSS JOIN LATERAL (SELECT m.n, m.parent FROM messages m
    WHERE m.execution = :execution AND m.state = s.state AND m.lane = l.id
      AND -m.n < -:since::bigint LIMIT 1000000000) x
  WHERE l.config_version = :version AND l.id <> :lane
  {failed_roots}

-- name: failed_canary_objects (sqlite)
-- The same, by the index that SQLite has.
WITH RECURSIVE failed (n, parent) AS (
  SELECT m.n, m.parent FROM lanes l CROSS JOIN messages m INDEXED BY messages_by_state
    ON m.execution = :execution AND m.state = {DEAD} AND m.lane = l.id AND m.n > :since
  WHERE l.config_version = :version AND l.id <> :lane
  {failed_roots}

-- name: lift_hold
-- No decision follows. A job that is neither paced nor held pays for nothing.
UPDATE jobs SET hold_at = NULL, paid = CASE WHEN pace_rate IS NULL AND pace_depth IS NULL THEN NULL ELSE paid END
WHERE execution = :execution

-- name: move_hold
-- The next decision is about the following rows.
UPDATE jobs SET hold_from = hold_at, hold_at = hold_at + :objects, hold_by = :by,
  hold_n = coalesce((SELECT max(n) FROM messages), 0)
WHERE execution = :execution

-- name: canary_of_unsent
-- What a job was asked for, if it has a canary and no row may have been sent.
SELECT j.request FROM jobs j WHERE j.execution = :execution AND j.hold_at IS NOT NULL AND j.paid = 0

-- name: rows_at
-- The rows of some ordinals that nothing has closed.
WITH given (ordinal) AS (SELECT * FROM unnest(:ordinals::bigint[]))
SELECT m.ordinal, m.n FROM given g CROSS JOIN messages m /* INDEXED BY messages_by_ordinal */
WHERE m.execution = :execution AND m.ordinal = g.ordinal AND m.state + 0 = {PENDING}

-- name: exchange_objects
-- Give each row the object of its partner.
WITH given (n, partner) AS (SELECT * FROM unnest(:rows::bigint[], :partners::bigint[]))
UPDATE messages AS m SET object_key = p.object_key, stage = p.stage
FROM given g JOIN messages p ON p.n = g.partner WHERE m.n = g.n
