-- Prune: delete the objects of executions that have ended, and later their records.

-- name: set_pinned
-- Protect an execution from pruning, or end the protection.
UPDATE executions SET pinned = :pinned WHERE n = :execution AND pinned IS DISTINCT FROM :pinned

-- name: prunings_of
-- What was pruned of executions.
SELECT execution, stage, pruned_at, deleted_at FROM prunings WHERE execution = ANY(:executions::bigint[]) ORDER BY n

-- name: newest_retentions
-- The retention of the newest version of each config, where it has one.
SELECT v.name, v.retention FROM config_versions v WHERE {is_newest} AND v.retention IS NOT NULL ORDER BY v.name

-- name: newest_tags
-- Tags of the newest executions.
SELECT t.tag FROM tags t GROUP BY t.tag ORDER BY max(t.execution) DESC LIMIT :limit

-- name: stage_names
-- Stages of all versions of configs.
SELECT DISTINCT l.stage FROM lanes l JOIN config_versions v ON v.id = l.config_version WHERE l.stage IS NOT NULL
AND v.name = :config -- if given
ORDER BY l.stage

-- fragment: of_prune
-- Conditions of a prune.
AND e.id = ANY(:executions::uuid[]) -- if given
AND e.config = (SELECT c.n FROM configs c WHERE c.name = :config) -- if given
AND e.n IN (SELECT t.execution FROM tags t WHERE t.tag = :tag) -- if given
AND coalesce({end_of_execution}, e.created_at) <= playhead_now() - :older_than::float8 -- if given
ORDER BY e.n LIMIT :limit

-- name: prune_selection
-- Executions that a prune selects, oldest first. Those whose objects are all pruned need nothing any more.
SELECT e.n FROM executions e WHERE e.n > :after
  AND NOT EXISTS (SELECT 1 FROM prunings p WHERE p.execution = e.n AND p.stage = '')
{of_prune}

-- name: records_selection
-- The same of a prune of records.
SELECT e.n FROM executions e WHERE e.n > :after AND e.records_deleted_at IS NULL
{of_prune}

-- name: other_retentions
-- What retentions have pruned in executions of a config, except one. Each step is a lookup in the index.
WITH RECURSIVE found (retained) AS (
  SELECT min(e.retained) FROM executions e WHERE e.config = (SELECT c.n FROM configs c WHERE c.name = :config)
  UNION ALL
  SELECT (SELECT min(e.retained) FROM executions e
    WHERE e.config = (SELECT c.n FROM configs c WHERE c.name = :config) AND e.retained > f.retained)
  FROM found f WHERE f.retained IS NOT NULL
)
SELECT f.retained FROM found f WHERE f.retained NOT IN (:retention, 'records')

-- name: retention_selection
-- Executions that a retention selects, oldest first. The first bound is that of the index. If the clock was set back, it
-- selects some of them later.
SELECT e.n FROM executions e WHERE e.config = (SELECT c.n FROM configs c WHERE c.name = :config)
  AND e.retained = :retained AND e.n > :after
  AND e.n <= (SELECT b.n FROM executions b WHERE b.created_at <= playhead_now() - :older_than::float8
    ORDER BY b.created_at DESC, b.n DESC LIMIT 1)
  AND coalesce({end_of_execution}, e.created_at) <= playhead_now() - :older_than::float8
ORDER BY e.n LIMIT :limit

-- name: mark_retained
-- A retention has nothing left to prune in these executions.
UPDATE executions SET retained = :retention
WHERE n IN (SELECT n FROM executions WHERE n = ANY(:numbers::bigint[]) ORDER BY n FOR NO KEY UPDATE)

-- fragment: is_source
-- Another execution needs the execution `e`. A replay reads the objects of its source until it has settled: it may still
-- list them, or have a message whose input is one of them. Until a run has settled, it takes over results of its earlier
-- run, and of replays of it and of publications of its config.
(EXISTS (SELECT 1 FROM jobs j JOIN executions r ON r.n = j.execution
    WHERE j.source = e.id AND r.n <> e.n AND NOT r.settled)
  OR EXISTS (SELECT 1 FROM jobs j JOIN executions r ON r.n = j.execution WHERE j.since IN (e.id, e.parent) AND NOT r.settled)
  OR EXISTS (SELECT 1 FROM executions r JOIN jobs j ON j.execution = r.n
    WHERE NOT r.settled AND r.config = e.config AND j.since IS NOT NULL AND e.kind = 'replay'
      AND EXISTS (SELECT 1 FROM executions a WHERE a.id = e.parent AND a.kind = 'publication')))

-- fragment: in_draft
-- A publication that is being prepared takes results from the execution, or a part has received objects of it, which may be inputs.
EXISTS (SELECT 1 FROM publications w JOIN publication_parts t ON t.dataset = w.dataset AND t.n = w.n
  LEFT JOIN jobs b ON b.execution = t.execution
  WHERE w.state IN ('resolving', 'staging', 'checking', 'prepared') AND (t.execution = e.n OR b.source = e.id))

-- name: prune_states
-- What decides whether the objects of executions may be deleted.
SELECT e.n, e.id, e.kind, e.settled, e.pinned, e.config_version, e.status, c.name, {is_source}, {in_draft}
FROM executions e LEFT JOIN config_versions c ON c.id = e.config_version
WHERE e.n = ANY(:numbers::bigint[]) ORDER BY e.n

-- name: records_states
-- What decides whether the records of executions may be deleted: whether all objects are gone, whether a report or a
-- webhook is due, whether a run takes over its results (those of a route without a stage need no object), and whether a
-- publication names them.
SELECT e.n, e.id, e.kind, e.settled
    AND EXISTS (SELECT 1 FROM prunings p WHERE p.execution = e.n AND p.stage = '' AND p.deleted_at IS NOT NULL),
  EXISTS (SELECT 1 FROM jobs j WHERE j.execution = e.n AND j.report = 1)
    OR EXISTS (SELECT 1 FROM deliveries d WHERE d.execution = e.n AND d.state = 'due'), {is_source},
  {in_draft} OR EXISTS (SELECT 1 FROM published_executions x WHERE x.execution = e.n)
FROM executions e WHERE e.n = ANY(:numbers::bigint[]) AND e.records_deleted_at IS NULL ORDER BY e.n

-- name: first_kept
-- The oldest of the newest executions of a config and a kind, which are kept. Those whose objects are all pruned do not
-- count: they would take the place of executions that can be replayed.
SELECT min(x.n), count(*) FROM (SELECT e.n FROM executions e WHERE e.kind = :kind
  AND e.status = :status -- if given
  AND NOT EXISTS (SELECT 1 FROM prunings p WHERE p.execution = e.n AND p.stage = '')
  AND e.config = (SELECT c.n FROM configs c WHERE c.name = :config)
  AND e.n IN (SELECT t.execution FROM tags t WHERE t.tag = :tag) -- if given
  ORDER BY e.n DESC LIMIT :keep) x

-- fragment: disposable
-- The bytes of the output `o` may be deleted once `o` is pruned: every other output with the same bytes is pruned, and so
-- is the one that they are stored under. Each statement that chooses objects to delete has this condition, and no other
-- part of Playhead deletes objects of executions. No entry of a publication names `o`. The newest reference is looked at first: after a year of nightly runs,
-- an object has hundreds of pruned ones. With NOT EXISTS, PostgreSQL would drop the order.
(SELECT u.n FROM outputs u /* INDEXED BY outputs_by_location */
  WHERE u.location = coalesce(o.location, o.key) AND u.pruned_at IS NULL AND u.n <> o.n ORDER BY u.n DESC LIMIT 1) IS NULL
AND (o.location IS NULL OR EXISTS (SELECT 1 FROM outputs u WHERE u.key = o.location AND u.pruned_at IS NOT NULL))
AND NOT EXISTS (SELECT 1 FROM published x WHERE x.output = o.n)

-- name: count_disposable
-- How many objects of each stage a pruning deletes, and their bytes.
SELECT coalesce(l.stage, 'input'), count(*), sum(o.size)::bigint
FROM outputs o LEFT JOIN messages m ON m.n = o.message LEFT JOIN lanes l ON l.id = m.lane
WHERE o.key > :first AND o.key < :last AND o.pruned_at IS NULL AND {disposable}
GROUP BY 1 ORDER BY 1

-- name: count_protected
-- Bytes of objects that a pruning leaves, because publications name them.
SELECT coalesce(sum(o.size), 0)::bigint FROM outputs o WHERE o.key > :first AND o.key < :last AND o.pruned_at IS NULL
  AND EXISTS (SELECT 1 FROM published x WHERE x.output = o.n)

-- name: begin_pruning
-- Returns the number of the pruning, unless there is one.
INSERT INTO prunings (execution, stage, pruned_at) VALUES (:execution, :stage, playhead_now())
ON CONFLICT DO NOTHING RETURNING n

-- name: count_records
-- How many records an execution has.
SELECT (SELECT count(*) FROM messages m /* INDEXED BY messages_by_state */ WHERE m.execution = :execution)
  + (SELECT count(*) FROM outputs o WHERE o.key > :first AND o.key < :last)

-- name: begin_records
-- From now on, the records of an execution count as deleted.
UPDATE executions SET records_deleted_at = playhead_now(), records_open = true WHERE n = :execution

-- name: open_prunings
-- Prunings that have not ended. Those that began after now began before the clock was set back: how old they are is not
-- known.
SELECT p.n, e.id, p.stage FROM prunings p JOIN executions e ON e.n = p.execution
WHERE p.deleted_at IS NULL
  AND (p.pruned_at <= playhead_now() - :older_than::float8 OR p.pruned_at > playhead_now()) ORDER BY p.n

-- name: open_records
-- The same of records.
SELECT e.n, e.id FROM executions e WHERE e.records_open
  AND (e.records_deleted_at <= playhead_now() - :older_than::float8 OR e.records_deleted_at > playhead_now()) ORDER BY e.n

-- name: lock_pruning
-- A pruning that has not ended.
SELECT cursor, pruned_at FROM prunings WHERE n = :pruning AND deleted_at IS NULL FOR UPDATE

-- name: prune_keys
-- The next objects of a pruning. Those that are marked as pruned are among them: the process that marked them may have
-- died before it deleted them.
SELECT o.key, o.size, o.pruned_at IS NULL, o.location FROM outputs o WHERE o.key > :first AND o.key < :last
ORDER BY o.key LIMIT :limit

-- name: lock_outputs
-- Two prunings may mark two outputs with the same bytes at once. The one that has this lock last sees both marks.
SELECT key FROM outputs WHERE key = ANY(:keys::text[]) ORDER BY key FOR UPDATE

-- name: disposable_among
-- Those of these objects whose bytes may be deleted, each with the key of the bytes.
SELECT o.key, coalesce(o.location, o.key) FROM outputs o WHERE o.key = ANY(:keys::text[]) AND {disposable}

-- name: late_among
-- Those of these keys under which only a late write can have stored something.
SELECT o.key FROM outputs o WHERE o.key = ANY(:keys::text[]) AND (o.state <> {STORED} OR o.pruned_at IS NOT NULL)
  AND {disposable}

-- name: mark_pruned
-- No listing shows these objects any more. Those that a publication names stay.
UPDATE outputs SET pruned_at = :pruned_at WHERE key = ANY(:keys::text[]) AND pruned_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM published x WHERE x.output = outputs.n)

-- name: move_prune_cursor
-- The objects up to this key are deleted.
UPDATE prunings SET cursor = :cursor WHERE n = :pruning

-- name: pruned_object
-- The record of an object that was pruned.
SELECT o.content_type, o.attributes, o.size, o.sha256, o.created_at, o.pruned_at, m.id, o.attempt
FROM outputs o LEFT JOIN messages m ON m.n = o.message
WHERE o.key = :key AND o.state = {STORED} AND o.pruned_at IS NOT NULL

-- name: end_pruning
-- All objects of a pruning are deleted.
UPDATE prunings SET deleted_at = playhead_now() WHERE n = :pruning AND deleted_at IS NULL

-- name: output_records
-- The next outputs of an execution whose records are deleted. With a lock, as in `lock_outputs`.
SELECT o.n, o.key, o.location FROM outputs o WHERE o.key > :first AND o.key < :last
ORDER BY o.key LIMIT :limit FOR UPDATE

-- name: referred_among
-- Those of these objects to which an output refers.
SELECT o.key FROM outputs o WHERE o.key = ANY(:keys::text[])
  AND EXISTS (SELECT 1 FROM outputs u /* INDEXED BY outputs_by_location */ WHERE u.location = o.key)

-- name: delete_outputs
-- Outputs by their keys.
DELETE FROM outputs WHERE key = ANY(:keys::text[])

-- name: detach_outputs
-- Outputs whose messages are about to be deleted.
UPDATE outputs SET message = NULL WHERE key = ANY(:keys::text[]) AND message IS NOT NULL

-- name: delete_messages
-- Some messages of an execution. Returns their numbers.
DELETE FROM messages WHERE n IN (SELECT m.n FROM messages m /* INDEXED BY messages_by_state */
  WHERE m.execution = :execution LIMIT :limit) RETURNING n

-- name: delete_reports
-- All reports of an execution.
DELETE FROM reports WHERE execution = :execution

-- name: delete_deliveries
-- All webhooks of an execution.
DELETE FROM deliveries WHERE execution = :execution

-- name: keep_numbers
-- What was counted in the records of a replay.
UPDATE jobs SET numbers = :numbers WHERE execution = :execution

-- name: end_records
-- All records of an execution are deleted.
UPDATE executions SET records_open = false, retained = 'records' WHERE n = :execution
