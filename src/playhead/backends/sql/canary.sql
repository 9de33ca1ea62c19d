-- The canary of a replay: its first rows, up to the ordinal `hold_at`. Nothing behind them was sent, so every child of the
-- execution belongs to the canary. Only roots are in the lane of the job, and most of them may be held: no statement
-- reads that lane by state.

-- name: canary_of_job
-- The canary of a job.
SELECT j.hold_at, j.request, e.config_version FROM jobs j JOIN executions e ON e.n = j.execution WHERE j.execution = :execution

-- fragment: canary_roots
-- The first rows; a condition on `state + 0` follows, so that the planner does not use an index by state.
messages m /* INDEXED BY messages_by_ordinal */ WHERE m.execution = :execution AND m.ordinal <= :hold

-- name: canary_is_open
-- Whether a message of the canary is still to be processed. Each lane is one step in the index: in a join, PostgreSQL's
-- planner may read all open rows of the execution.
SELECT EXISTS (SELECT 1 FROM lanes l WHERE l.config_version = :version AND l.id <> :lane
    AND (SELECT m.n FROM messages m /* INDEXED BY messages_by_state */
      WHERE m.execution = :execution AND m.state IN ({OPEN}) AND m.lane = l.id LIMIT 1) IS NOT NULL)
  OR EXISTS (SELECT 1 FROM {canary_roots} AND m.state + 0 IN ({OPEN}))

-- fragment: failed_roots
-- The roots of the dead rows in `failed`, where `dead_children` are before.
UNION ALL SELECT m.n, m.parent FROM {canary_roots} AND m.state + 0 = {DEAD}
  UNION SELECT p.n, p.parent FROM failed f JOIN messages p ON p.n = f.parent
) SELECT count(*) FROM failed WHERE parent IS NULL

-- name: failed_canary_objects (postgresql)
-- How many of the first rows are dead, or have a dead row below them. The state is joined, so that the index of all dead
-- letters of a lane is not used.
WITH RECURSIVE failed (n, parent) AS (
  SELECT x.n, x.parent FROM lanes l CROSS JOIN unnest(ARRAY[{DEAD}]::smallint[]) AS s (state)
  CROSS JOIN LATERAL (SELECT m.n, m.parent FROM messages m
    WHERE m.execution = :execution AND m.state = s.state AND m.lane = l.id LIMIT 1000000000) x
  WHERE l.config_version = :version AND l.id <> :lane
  {failed_roots}

-- name: failed_canary_objects (sqlite)
-- The same, by the index that SQLite has.
WITH RECURSIVE failed (n, parent) AS (
  SELECT m.n, m.parent FROM lanes l CROSS JOIN messages m INDEXED BY messages_by_state
    ON m.execution = :execution AND m.state = {DEAD} AND m.lane = l.id
  WHERE l.config_version = :version AND l.id <> :lane
  {failed_roots}

-- fragment: without_hold
-- A job that is neither paced nor held pays for nothing.
hold_at = NULL, paid = CASE WHEN pace_rate IS NULL AND pace_depth IS NULL THEN NULL ELSE paid END

-- name: lift_hold
-- The canary has ended well.
UPDATE jobs SET {without_hold} WHERE execution = :execution

-- name: end_failed_canary
-- The rest of a replay that its canary has paused is published after all.
UPDATE jobs SET {without_hold} WHERE execution = :execution AND paused_by = 'canary'
