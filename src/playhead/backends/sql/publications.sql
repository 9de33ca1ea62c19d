-- Datasets, publications and their entries.
--
-- Rows are found by one indexed column, and joined by keys or in Python: with other joins, PostgreSQL's planner, whose
-- statistics are late, may read whole tables for each page. `CROSS JOIN` fixes the order in SQLite, which has no statistics:
-- it would read all entries for each given place.
--
-- A page has entries that one publication has added or closed, in the order of an index. With a range of publications, each page
-- would read and sort all of them. SQLite does not use both columns of a row value if one of them is the primary key.
--
-- No index has `first`: the entries that a publication adds follow one another in the table, between `entries_after` of its draft
-- and of the next one. Only those of other datasets whose drafts were open at the same time are among them.

-- fragment: added_by
-- The next entries that the publication `number` has added. The sum keeps the planner from an index of datasets.
p.n > greatest(:after::bigint, (SELECT x.entries_after FROM publications x WHERE x.dataset = :dataset AND x.n = :number))
  AND p.n <= coalesce((SELECT x.entries_after FROM publications x WHERE x.dataset = :dataset AND x.n = :number + 1), 9223372036854775807)
  AND p.first = :number AND p.dataset + 0 = :dataset

-- fragment: open_draft
-- A publication that may still be decided. The index is used only if its condition is repeated word for word.
state IN ('resolving', 'staging', 'checking', 'prepared')

-- name: insert_dataset
-- A dataset that a config declares.
INSERT INTO datasets (config, name, automatic) SELECT c.n, :name, :automatic FROM configs c WHERE c.name = :config
ON CONFLICT (config, name) DO UPDATE SET automatic = excluded.automatic

-- name: forget_automatic
-- What the earlier version of a config said.
UPDATE datasets SET automatic = false WHERE config = (SELECT c.n FROM configs c WHERE c.name = :config)

-- name: automatic_runs
-- Datasets that are published automatically, each with the newest settled run of its config, unless a draft has tried it.
-- It ended after the preparation of what readers see began, and it began after the end of a hold.
SELECT x.config, x.name, e.id FROM (
  SELECT d.n, d.current, d.automatic_after, c.name AS config, d.name AS name, (SELECT r.n FROM executions r WHERE r.config = d.config AND r.kind = 'run'
    AND r.settled AND r.status IN ('completed', 'failed') ORDER BY r.n DESC LIMIT 1) AS run
  FROM datasets d JOIN configs c ON c.n = d.config WHERE d.automatic AND NOT d.held AND d.draft IS NULL) x
JOIN executions e ON e.n = x.run
WHERE e.n > x.automatic_after
  AND e.ended_at > coalesce((SELECT p.created_at FROM publications p WHERE p.dataset = x.n AND p.n = x.current), 0)
  AND NOT EXISTS (SELECT 1 FROM publication_parts t WHERE t.dataset = x.n AND t.execution = e.n AND t.revision = e.revision)

-- name: insert_replay_publications
-- Datasets in which a replay is to be published.
INSERT INTO replay_publications (execution, dataset)
SELECT :execution::bigint, d.n FROM datasets d JOIN configs c ON c.n = d.config WHERE c.name = :config AND d.name = ANY(:names::text[])

-- name: arm_replay_publications
-- A replay has ended. Unless it was cancelled, or was published after an earlier end, its publication is due.
UPDATE replay_publications SET due = true WHERE execution = :execution
  AND (SELECT e.status FROM executions e WHERE e.n = :execution) <> 'cancelled'
  AND NOT EXISTS (SELECT 1 FROM publication_parts t JOIN publications p ON p.dataset = t.dataset AND p.n = t.n
    WHERE t.execution = replay_publications.execution AND t.dataset = replay_publications.dataset AND p.state IN ('published', 'dropped'))

-- name: tried_replay_publications
-- A draft has taken results of these executions.
UPDATE replay_publications SET due = false WHERE dataset = :dataset AND execution = ANY(:executions::bigint[])

-- name: replays_to_publish
-- Replays to be published, oldest first. A rollback after the request holds them, too.
SELECT c.name, d.name, e.id, j.request FROM replay_publications r JOIN executions e ON e.n = r.execution
JOIN jobs j ON j.execution = r.execution JOIN datasets d ON d.n = r.dataset JOIN configs c ON c.n = d.config
LEFT JOIN switches s ON s.dataset = d.n AND s.seq = d.seq
WHERE r.due AND e.settled AND d.draft IS NULL AND (NOT d.held OR e.created_at > s.at) ORDER BY r.execution

-- name: is_after_switch
-- Whether a replay was requested after a time.
SELECT EXISTS (SELECT 1 FROM executions e WHERE e.id = :execution::uuid AND e.kind = 'replay' AND e.created_at > :at::float8)

-- name: publications_of_replay
-- The publications that were requested with a replay, each with its state.
SELECT d.name, p.n, p.state, p.refusal_code, p.refusal, r.due FROM replay_publications r JOIN datasets d ON d.n = r.dataset
LEFT JOIN publications p ON p.dataset = r.dataset AND p.n = (SELECT max(t.n) FROM publication_parts t
  WHERE t.execution = r.execution AND t.dataset = r.dataset)
WHERE r.execution = :execution ORDER BY d.name

-- name: is_tried
-- Whether a draft of a dataset has taken results of an execution since it ended last.
SELECT EXISTS (SELECT 1 FROM publication_parts t JOIN executions e ON e.n = t.execution
  WHERE t.dataset = :dataset AND e.id = :execution::uuid AND t.revision = e.revision)

-- fragment: dataset
-- The columns that a `Dataset` is built from.
SELECT d.n, c.name, d.name, d.seq, d.current, d.decided, d.draft, d.held,
  (SELECT s.at FROM switches s WHERE s.dataset = d.n AND s.seq = d.seq), d.newest,
  (SELECT v.document FROM config_versions v WHERE v.name = c.name ORDER BY v.version DESC LIMIT 1)
FROM datasets d JOIN configs c ON c.n = d.config

-- name: datasets
-- Datasets of all configs.
{dataset} WHERE true
AND d.name = :name -- if given
AND c.name = :config -- if given
ORDER BY c.name, d.name

-- name: dataset_declaration
-- The newest version of the config that declares a dataset.
SELECT d.name, (SELECT v.document FROM config_versions v WHERE v.name = c.name ORDER BY v.version DESC LIMIT 1)
FROM datasets d JOIN configs c ON c.n = d.config WHERE d.n = :dataset

-- name: unpublished_executions
-- Newest settled runs and replays that ended after the preparation of what readers see began, and are not a part of a
-- published publication.
SELECT e.id FROM executions e WHERE e.config = (SELECT c.n FROM configs c WHERE c.name = :config) AND e.settled
  AND e.kind IN ('run', 'replay') AND e.status IN ('completed', 'failed')
  AND e.ended_at > coalesce((SELECT p.created_at FROM publications p
    JOIN datasets d ON d.n = p.dataset AND d.current = p.n WHERE d.n = :dataset), 0)
  AND NOT EXISTS (SELECT 1 FROM publication_parts t JOIN publications p ON p.dataset = t.dataset AND p.n = t.n
    WHERE t.execution = e.n AND t.dataset = :dataset AND p.state = 'published')
ORDER BY e.n DESC LIMIT :limit

-- name: executions_by_ids
-- The numbers of executions.
SELECT n FROM executions WHERE id = ANY(:ids::uuid[]) ORDER BY n

-- name: executions_with_ids
-- The numbers of executions, with their ids.
SELECT id, n FROM executions WHERE id = ANY(:ids::uuid[])

-- name: lock_dataset
-- One dataset, locked against other drafts, decisions and rollbacks.
{dataset} WHERE d.n = :dataset FOR NO KEY UPDATE OF d

-- name: dataset_number
-- The number of a dataset.
SELECT d.n FROM datasets d JOIN configs c ON c.n = d.config WHERE c.name = :config AND d.name = :name

-- fragment: publication
-- The columns that a `Publication` is built from.
SELECT p.dataset, p.n, e.id, d.name, c.name, v.version, p.state, p.base, p.counts, p.units, p.digest, p.refusal_code, p.refusal,
  p.request, p.pinned, p.created_at, p.published_at, p.dropped_at, p.bytes
FROM publications p JOIN executions e ON e.n = p.execution JOIN datasets d ON d.n = p.dataset
JOIN configs c ON c.n = d.config JOIN config_versions v ON v.id = p.config_version

-- name: publication
-- One publication.
{publication} WHERE p.dataset = :dataset AND p.n = :n

-- name: publication_of_execution
-- The publication with an execution id.
{publication} WHERE p.execution = (SELECT x.n FROM executions x WHERE x.id = :execution::uuid)

-- name: newest_publications
-- Publications, newest first.
{publication} WHERE p.dataset = :dataset
AND p.n < :before -- if given
AND p.state IN ('published', 'resolving', 'staging', 'checking', 'prepared') AND :kept::boolean -- if given
ORDER BY p.n DESC LIMIT :limit

-- name: seen_publications
-- The publication that readers see, and those on which it is based, down to a number.
WITH RECURSIVE seen(n) AS (
  SELECT d.current FROM datasets d WHERE d.n = :dataset AND d.current IS NOT NULL
  UNION ALL
  SELECT p.base FROM seen s CROSS JOIN publications p WHERE p.dataset = :dataset AND p.n = s.n AND p.base >= :lowest
)
SELECT n FROM seen

-- name: parts_of
-- The parts of publications, in order.
SELECT t.n, e.id, t.role, t.revision FROM publication_parts t JOIN executions e ON e.n = t.execution
WHERE t.dataset = :dataset AND t.n = ANY(:numbers::bigint[]) ORDER BY t.n, t.place

-- name: newest_switches
-- Switches, newest first.
SELECT seq, n, kind, reason, at FROM switches WHERE dataset = :dataset
AND seq < :before -- if given
ORDER BY seq DESC LIMIT :limit

-- name: notes_of
-- Notes of a publication.
SELECT x.n, x.kind, x.stage, x.path, e.id, m.id, x.detail FROM publication_notes x
JOIN executions e ON e.n = x.execution LEFT JOIN messages m ON m.n = x.message
WHERE x.dataset = :dataset AND x.publication = :n AND x.n > :after
AND x.kind = :kind -- if given
ORDER BY x.n LIMIT :limit

-- fragment: object_columns
-- The columns that a `PublishedObject` is built from.
p.stage, p.path, o.key, o.size, o.sha256, o.content_type, o.created_at, coalesce(o.location, o.key)

-- fragment: published_object
-- Objects of publications.
SELECT {object_columns} FROM published p JOIN outputs o ON o.n = p.output

-- fragment: seen_with
-- Readers have seen the publication `x`, and it has the entry `p`.
x.dataset = p.dataset AND x.n >= p.first AND (p.last IS NULL OR x.n < p.last) AND x.state IN ('published', 'dropped')

-- name: published_objects
-- Objects of a publication in a range of paths.
{published_object} WHERE p.dataset = :dataset AND p.stage = :stage AND p.path > :first AND p.first <= :n
AND (p.last IS NULL OR p.last > :n)
AND p.path < :last -- if given
ORDER BY p.path LIMIT :limit

-- name: published_below
-- Objects of a publication at or below a path, after another path; all of the stage if the path is empty.
{published_object} WHERE p.dataset = :dataset AND p.stage = :stage AND p.path >= :path AND p.path > :after AND p.first <= :n
AND (p.last IS NULL OR p.last > :n) AND (p.path = :path OR p.path > :first)
AND p.path < :last -- if given
ORDER BY p.path LIMIT :limit

-- name: published_range
-- Objects of a publication from one path to before another.
{published_object} WHERE p.dataset = :dataset AND p.stage = :stage AND p.path >= :from AND p.first <= :n
AND (p.last IS NULL OR p.last > :n)
AND p.path < :to -- if given
ORDER BY p.path LIMIT :limit

-- name: published_totals
-- Number and size of the objects of a publication in a stage.
SELECT count(*), coalesce(sum(o.size), 0)::bigint FROM published p JOIN outputs o ON o.n = p.output
WHERE p.dataset = :dataset AND p.stage = :stage AND p.first <= :n AND (p.last IS NULL OR p.last > :n)

-- name: published_at
-- Objects of a publication by their places.
WITH given (stage, path) AS (SELECT * FROM unnest(:stages::text[], :paths::text[]))
SELECT {object_columns} FROM given g CROSS JOIN published p CROSS JOIN outputs o
WHERE o.n = p.output AND p.stage = g.stage AND p.path = g.path AND p.dataset = :dataset AND p.first <= :n AND (p.last IS NULL OR p.last > :n)

-- name: results_in
-- Results of a publication in a stage after a path, each with its first object, what made it, and what it received.
SELECT p.path, o.key, m.lane, m.stage, m.object_key, m.code
FROM published p CROSS JOIN messages m LEFT JOIN outputs o ON o.n = p.output
WHERE m.n = p.message AND p.dataset = :dataset AND p.stage = :stage AND p.path > :after AND p.is_first AND p.first <= :n
  AND (p.last IS NULL OR p.last > :n)
ORDER BY p.path LIMIT :limit

-- fragment: contained
-- The publication `d.publication` has the entry `p`, or one with the same result at the same place: a rollback may have
-- closed that one.
(p.first <= d.publication AND (p.last IS NULL OR p.last > d.publication) OR EXISTS (SELECT 1 FROM published q
  WHERE q.dataset = p.dataset AND q.stage = p.stage AND q.path = p.path AND q.message = p.message AND q.first <= d.publication
    AND (q.last IS NULL OR q.last > d.publication)))

-- fragment: other_than_declared
-- The message `m` has other code, or other settings, than those that were the newest when `d` was declared.
(d.code IS DISTINCT FROM m.code OR (SELECT l.declared FROM lanes l WHERE l.id = m.lane) IS DISTINCT FROM (SELECT l.declared
  FROM executions e JOIN lanes l ON l.config_version = e.config_version AND l.route = d.route WHERE e.n = d.execution))

-- fragment: declared_valid
-- Entries of a stage of a publication whose results declarations make valid, as their code is another one. The
-- publication of a declaration has them, and no replay since the first of these declarations has received the object,
-- which has its path after the execution and the stage in its key. The sum keeps the planner from an index of
-- executions.
FROM published p CROSS JOIN messages m WHERE m.n = p.message AND m.lane = ANY(:lanes::bigint[])
  AND p.dataset = :dataset AND p.stage = :stage AND p.first <= :n AND (p.last IS NULL OR p.last > :n)
  AND EXISTS (SELECT 1 FROM declarations d WHERE d.execution = ANY(:numbers::bigint[]) AND d.stage = m.stage
    AND {other_than_declared} AND {contained})
  AND NOT EXISTS (SELECT 1 FROM published t CROSS JOIN outputs o CROSS JOIN messages r
    WHERE t.dataset = p.dataset AND t.stage = m.stage AND t.path = substr(m.object_key, 39 + length(m.stage))
      AND t.first <= :n AND (t.last IS NULL OR t.last > :n) AND o.n = t.output AND r.object_key = o.key AND r.parent IS NULL
      AND r.execution + 0 >= :since AND r.lane = ANY(:lanes::bigint[]))

-- name: count_declared
-- The numbers of results, by what has made them.
SELECT m.lane, m.stage, m.code, count(*) {declared_valid} AND p.is_first GROUP BY m.lane, m.stage, m.code

-- name: declared_in
-- The paths of their first objects.
SELECT p.path {declared_valid} AND p.is_first AND p.path > :after AND p.path <= :until

-- name: declared_at
-- Those of some paths.
SELECT p.path {declared_valid} AND p.path = ANY(:paths::text[])

-- fragment: declaration
-- The columns that a `Declaration` is built from.
SELECT d.execution, s.name, d.route, d.stage, d.publication, e.id, e.batch, v.version, d.code, d.reason, d.created_at, d.undone_at
FROM declarations d JOIN datasets s ON s.n = d.dataset JOIN executions e ON e.n = d.execution
JOIN config_versions v ON v.id = e.config_version

-- name: insert_declaration
-- What a person has declared with a replay.
INSERT INTO declarations (execution, dataset, publication, route, stage, code, reason, created_at)
VALUES (:execution, :dataset, :publication, :route, :stage, :code, :reason, playhead_now())

-- name: declarations_named
-- Declarations by the executions of their replays.
{declaration} WHERE d.execution = ANY(:numbers::bigint[])

-- name: open_declarations
-- Newest declarations of a config that were not undone.
{declaration} WHERE s.config = (SELECT c.n FROM configs c WHERE c.name = :config) AND d.undone_at IS NULL
AND s.name = :dataset -- if given
ORDER BY d.execution DESC LIMIT :limit

-- name: replays_of_publications
-- Replays of publications into routes of a config, newest first.
SELECT e.n FROM executions e WHERE e.config = (SELECT c.n FROM configs c WHERE c.name = :config) AND e.kind = 'replay'
  AND EXISTS (SELECT 1 FROM executions a WHERE a.id = e.parent AND a.kind = 'publication')
ORDER BY e.n DESC LIMIT :limit

-- name: open_declarations_of
-- Newest ones of a dataset.
{declaration} WHERE d.dataset = :dataset AND d.undone_at IS NULL ORDER BY d.execution DESC LIMIT :limit

-- name: undo_declarations
-- The results are not valid any more.
UPDATE declarations SET undone_at = playhead_now() WHERE dataset = :dataset AND route = :route AND undone_at IS NULL

-- name: lanes_of_declaration
-- The lanes of its route in all versions of its config.
SELECT l.id FROM declarations d JOIN executions e ON e.n = d.execution JOIN config_versions v ON v.id = e.config_version
JOIN config_versions w ON w.name = v.name JOIN lanes l ON l.config_version = w.id AND l.route = d.route
WHERE d.execution = :execution

-- name: roots_by_key
-- Messages without a parent that received these objects.
SELECT n, object_key, lane, state, error_code FROM messages WHERE object_key = ANY(:keys::text[]) AND parent IS NULL

-- name: shown
-- What readers of each dataset see.
SELECT c.name, d.name, p.n, p.counts, p.made, playhead_now() - p.published_at FROM datasets d JOIN configs c ON c.n = d.config
JOIN publications p ON p.dataset = d.n AND p.n = d.current ORDER BY c.name, d.name

-- name: publication_times
-- How long the steps of each decided publication took.
SELECT resolved_at - created_at, published_at - resolved_at FROM publications WHERE published_at IS NOT NULL

-- name: protected_bytes
-- Bytes of the newest publication of each dataset, and of all objects that its publications name.
SELECT c.name, d.name, p.n, p.bytes, (SELECT coalesce(sum(o.size), 0)::bigint FROM outputs o
  WHERE o.n IN (SELECT x.output FROM published x WHERE x.dataset = d.n AND x.output IS NOT NULL))
FROM datasets d JOIN configs c ON c.n = d.config
JOIN publications p ON p.dataset = d.n AND p.n = d.decided ORDER BY c.name, d.name

-- name: changed_between
-- Places whose entries differ between two numbers, in order. An entry differs if exactly one of them contains it.
SELECT DISTINCT x.stage, x.path FROM (
  SELECT p.stage, p.path FROM published p WHERE p.dataset + 0 = :dataset AND p.output IS NOT NULL AND p.first > :low AND p.first <= :high
    AND p.n > (SELECT x.entries_after FROM publications x WHERE x.dataset = :dataset AND x.n = :low + 1)
    AND p.n <= coalesce((SELECT x.entries_after FROM publications x WHERE x.dataset = :dataset AND x.n = :high + 1), 9223372036854775807)
    AND (p.last IS NULL OR p.last > :high)
  UNION ALL
  SELECT p.stage, p.path FROM published p WHERE p.dataset = :dataset AND p.output IS NOT NULL AND p.last > :low AND p.last <= :high
    AND p.first <= :low) x
WHERE (x.stage, x.path) > (:stage, :path)
AND x.stage = :only -- if given
ORDER BY x.stage, x.path LIMIT :limit

-- name: stage_counts_of
-- The counts of a publication.
SELECT counts, digest FROM publications WHERE dataset = :dataset AND n = :n

-- -- a draft -------------------------------------------------------------------------------------

-- name: executions_for_parts
-- Executions that a draft names.
SELECT e.n, e.id, e.kind, e.status, e.settled, e.config, e.config_version, e.revision, j.source, j.stage, l.route, j.ordinals,
  e.counts, j.listing_state, coalesce(j.error_code, ''), v.version, e.records_deleted_at, j.path, j.request, s.n, coalesce(s.kind, ''),
  s.config
FROM executions e LEFT JOIN jobs j ON j.execution = e.n LEFT JOIN lanes l ON l.id = j.lane
LEFT JOIN config_versions v ON v.id = e.config_version LEFT JOIN executions s ON s.id = j.source
WHERE e.id = ANY(:ids::uuid[]) ORDER BY e.n

-- name: has_runs
-- Whether a config has runs.
SELECT EXISTS (SELECT 1 FROM executions WHERE config = :config AND kind = 'run')

-- name: received_by_base
-- Stage and route of a replay.
SELECT j.stage, l.route FROM jobs j JOIN executions e ON e.n = j.execution JOIN lanes l ON l.id = j.lane
WHERE j.execution = :execution AND e.kind = 'replay'

-- name: config_number
-- The number of a config.
SELECT n FROM configs WHERE name = :name

-- name: version_document
-- The content of a config version.
SELECT document FROM config_versions WHERE id = :id

-- name: base_of_draft
-- The publication that a draft is prepared on: its inputs, its config version and its edges.
SELECT p.base_run, p.config_version, v.version, p.edges FROM publications p JOIN config_versions v ON v.id = p.config_version
WHERE p.dataset = :dataset AND p.n = :n

-- name: newest_number
-- The last number that was given to a draft.
SELECT newest FROM datasets WHERE n = :dataset

-- name: part_rows
-- The parts of a draft, in order.
SELECT t.execution, e.id, t.role FROM publication_parts t JOIN executions e ON e.n = t.execution
WHERE t.dataset = :dataset AND t.n = :n ORDER BY t.place

-- fragment: defines_inputs
-- Whether a publication `p` was made from a run that defines its inputs.
EXISTS (SELECT 1 FROM publication_parts t WHERE t.dataset = p.dataset AND t.n = p.n AND t.role = 'base')

-- name: applied_parts
-- The parts of a publication and of those that it is based on, in the order in which they were applied, from the one that
-- defines its inputs. Each with its publication, and whether it has not run again since.
WITH RECURSIVE chain (n, base, is_new, length) AS (
  SELECT p.n, p.base, {defines_inputs}, 1
  FROM publications p WHERE p.dataset = :dataset AND p.n = :n
  UNION ALL
  SELECT p.n, p.base, {defines_inputs}, k.length + 1
  FROM chain k JOIN publications p ON p.dataset = :dataset AND p.n = k.base WHERE NOT k.is_new AND k.length < :most)
SELECT t.n, t.role, e.id, e.settled AND e.revision = t.revision, p.other_edges, p.units
FROM chain k JOIN publications p ON p.dataset = :dataset AND p.n = k.n
JOIN publication_parts t ON t.dataset = p.dataset AND t.n = p.n JOIN executions e ON e.n = t.execution
ORDER BY t.n, t.place

-- name: publication_source
-- Dataset and number of a publication that is the source of a replay.
SELECT p.dataset, p.n FROM publications p JOIN executions e ON e.n = p.execution WHERE e.id = :source::uuid

-- name: insert_publication_execution
-- A publication can be read like an execution.
INSERT INTO executions (id, kind, status, config, config_version, parent, created_at, requested_by)
VALUES (:id::uuid, 'publication', 'running', :config, :version, :parent::uuid, playhead_now(), :requested_by::text)
RETURNING n

-- name: insert_publication
-- A new draft.
INSERT INTO publications (dataset, n, execution, config_version, state, base, base_run, expected_seq, request, edges, other_edges,
  entries_after, epoch, owner, lease_until, created_at)
VALUES (:dataset, :n, :execution, :version, 'resolving', :base, :base_run::bigint, :seq, :request, :edges, :other_edges::boolean,
  (SELECT coalesce(max(p.n), 0) FROM published p), 1, :owner, playhead_now() + :lease::float8, playhead_now())

-- name: insert_parts
-- The parts of a draft.
INSERT INTO publication_parts (dataset, n, place, execution, role, revision)
VALUES (:dataset::bigint, :n::bigint, :place::int, :execution::bigint, :role::text, :revision::int)

-- name: set_draft
-- The draft of a dataset, which has the newest number.
UPDATE datasets SET draft = :n, newest = :n WHERE n = :dataset

-- name: draft_row
-- A draft, with what its parts are.
SELECT d.n, d.name, c.name, p.n, p.epoch, p.base, p.edges, p.request, p.cursor, p.other_edges, p.config_version,
  (SELECT v.document FROM config_versions v WHERE v.name = c.name ORDER BY v.version DESC LIMIT 1)
FROM publications p JOIN datasets d ON d.n = p.dataset JOIN configs c ON c.n = d.config
WHERE p.dataset = :dataset AND p.n = :n

-- name: acquire_draft
-- Take the lease and raise the epoch, which fences the previous holder.
UPDATE publications SET epoch = epoch + 1, owner = :owner, lease_until = playhead_now() + :lease::float8
WHERE dataset = :dataset AND n = :n AND {open_draft}
  AND (owner IS NULL OR owner = :owner OR lease_until <= playhead_now())

-- name: renew_draft
-- Extend the lease.
UPDATE publications SET lease_until = playhead_now() + :lease::float8
WHERE dataset = :dataset AND n = :n AND epoch = :epoch AND {open_draft}

-- name: release_draft
-- Another process can continue at once.
UPDATE publications SET owner = NULL, lease_until = 0 WHERE dataset = :dataset AND n = :n AND epoch = :epoch

-- name: free_drafts
-- Drafts that a process can acquire.
SELECT dataset, n FROM publications WHERE {open_draft} AND (owner IS NULL OR lease_until <= playhead_now()) ORDER BY dataset

-- name: lock_draft
-- A draft that this process holds.
SELECT cursor FROM publications WHERE dataset = :dataset AND n = :n AND epoch = :epoch AND {open_draft} FOR NO KEY UPDATE

-- name: changed_parts
-- Parts of a draft that have run again, with a lock that keeps the others as they are. Read in a later statement.
SELECT e.n FROM publication_parts t JOIN executions e ON e.n = t.execution
WHERE t.dataset = :dataset AND t.n = :n AND NOT (e.settled AND e.revision = t.revision)

-- name: part_numbers
-- Executions of the parts of a draft.
SELECT execution FROM publication_parts WHERE dataset = :dataset AND n = :n

-- name: move_draft
-- How far a draft is resolved.
UPDATE publications SET cursor = :cursor WHERE dataset = :dataset AND n = :n

-- name: decided_of
-- The highest decided number of a dataset.
SELECT decided FROM datasets WHERE n = :dataset

-- name: undo_added
-- What abandoned drafts have added.
SELECT p.n, p.execution FROM published p
WHERE p.n > (SELECT x.entries_after FROM publications x WHERE x.dataset = :dataset AND x.n = :decided + 1)
  AND p.dataset + 0 = :dataset AND p.first > :decided AND p.first < :draft ORDER BY p.n LIMIT :limit

-- name: undo_closed
-- What abandoned drafts have closed.
SELECT n FROM published WHERE dataset = :dataset AND last > :decided AND last < :draft ORDER BY last, n LIMIT :limit

-- name: open_entries
-- Open entries again.
UPDATE published SET last = NULL WHERE n = ANY(:rows::bigint[])

-- name: close_entries
-- Close entries.
UPDATE published SET last = :draft WHERE n = ANY(:rows::bigint[])

-- name: delete_entries
-- Delete entries, which the caller has counted.
DELETE FROM published WHERE n = ANY(:rows::bigint[])

-- name: count_entries
-- Entries of an execution that were added or deleted.
INSERT INTO published_executions (execution, dataset, entries) VALUES (:execution::bigint, :dataset::bigint, :entries::bigint)
ON CONFLICT (execution, dataset) DO UPDATE SET entries = published_executions.entries + excluded.entries

-- name: forget_counts
-- Executions without entries.
DELETE FROM published_executions WHERE dataset = :dataset AND entries <= 0

-- name: rewind_newer
-- Open entries that are newer than a publication and not in it.
SELECT p.n, p.first FROM published p WHERE {added_by} AND p.last IS NULL
  AND NOT EXISTS (SELECT 1 FROM published b WHERE b.dataset = p.dataset AND b.stage = p.stage AND b.path = p.path
    AND b.first <= :base AND b.last > :base AND b.up IS NOT DISTINCT FROM p.up AND coalesce(b.message, -b.output) = coalesce(p.message, -p.output))
ORDER BY p.n LIMIT :limit

-- name: rewind_older
-- Entries of a publication that were closed later and are not open again. Those that the draft itself has closed are opened by
-- the caller.
SELECT p.n, p.last FROM published p WHERE p.dataset = :dataset AND p.last = :number AND p.n > :after AND p.first <= :base
  AND NOT EXISTS (SELECT 1 FROM published b WHERE b.dataset = p.dataset AND b.stage = p.stage AND b.path = p.path
    AND b.last IS NULL AND b.up IS NOT DISTINCT FROM p.up AND coalesce(b.message, -b.output) = coalesce(p.message, -p.output))
ORDER BY p.n LIMIT :limit

-- name: copy_entries
-- The same entries, open from the draft on.
INSERT INTO published (dataset, stage, path, up, message, attempt, is_first, execution, output, first)
SELECT dataset, stage, path, up, message, attempt, is_first, execution, output, :draft FROM published WHERE n = ANY(:rows::bigint[])

-- name: executions_of_entries
-- The executions of entries.
SELECT n, execution FROM published WHERE n = ANY(:rows::bigint[])

-- fragment: named (sqlite)
-- The earlier message that publications name, if `m` was taken over at the same place.
LEFT JOIN messages p ON p.n = m.result

-- fragment: named (postgresql)
-- OFFSET keeps the planner from a join that reads all messages for each page.
LEFT JOIN LATERAL (SELECT q.* FROM messages q WHERE q.n = m.result OFFSET 0) p ON true

-- fragment: node
-- The columns that a `Node` is built from. Of a message that was taken over at the same place, publications name the earlier
-- one. The last column is the message that was processed.
SELECT m.n, m.parent, m.lane, m.stage, m.object_key, m.state, m.error_code, m.error, m.ordinal,
  coalesce(p.n, m.n), coalesce(p.attempt, m.attempt), coalesce(p.execution, m.execution), m.whole,
  coalesce(m.original, m.n)
FROM messages m {named}

-- name: unit_roots
-- The next roots of a part.
{node} WHERE m.execution = :execution AND m.ordinal > :after ORDER BY m.ordinal LIMIT :limit

-- name: roots_with
-- Roots of a part by their objects. The sum keeps the planner from an index of executions.
{node} WHERE m.object_key = ANY(:keys::text[]) AND m.parent IS NULL AND m.execution + 0 = :execution

-- name: listed_keys
-- Those of these objects that a part has received.
SELECT m.object_key FROM messages m
WHERE m.object_key = ANY(:keys::text[]) AND m.parent IS NULL AND m.execution + 0 = :execution

-- name: unit_children
-- All messages directly below others.
{node} WHERE m.parent = ANY(:parents::bigint[])

-- fragment: object_row
-- An object as an entry names it: the row of the execution that stored the bytes. If that was pruned, or has the bytes at
-- another place, the reference: a replay of the publication has to find the object where readers see it.
o.key, CASE WHEN b.n IS NULL OR b.pruned_at IS NOT NULL OR substr(b.key, 37) <> substr(o.key, 37) THEN o.n ELSE b.n END, o.fingerprint
FROM outputs o LEFT JOIN outputs b ON b.key = o.location

-- name: objects_of_messages
-- The objects that messages have produced.
SELECT o.message, {object_row} WHERE o.message = ANY(:rows::bigint[]) AND o.state = {STORED}

-- name: objects_with
-- Objects by their keys.
SELECT {object_row} WHERE o.key = ANY(:keys::text[]) AND o.state = {STORED}

-- fragment: at_given (sqlite)
-- Entries at given places.
FROM given g CROSS JOIN published p ON p.dataset = :dataset AND p.stage = g.stage AND p.path = g.path

-- fragment: at_given (postgresql)
-- OFFSET keeps the planner from other joins: without statistics, it takes a dataset for a few entries, and reads all of them.
FROM given g CROSS JOIN LATERAL (SELECT q.* FROM published q
  WHERE q.dataset = :dataset AND q.stage = g.stage AND q.path = g.path OFFSET 0) p

-- name: keys_at
-- The keys of objects of a publication.
WITH given (stage, path) AS (SELECT * FROM unnest(:stages::text[], :paths::text[]))
SELECT o.key, p.stage, p.path {at_given} CROSS JOIN outputs o
WHERE o.n = p.output AND p.first <= :n AND (p.last IS NULL OR p.last > :n)

-- fragment: entry_columns
-- The columns that an `Entry` is built from. The last one is the message that was processed.
p.n, p.stage, p.path, p.up, p.message, p.attempt, p.execution, p.output, o.fingerprint, m.lane, m.stage, m.object_key,
coalesce(m.original, m.n)

-- fragment: entry
-- Entries.
SELECT {entry_columns} FROM published p LEFT JOIN outputs o ON o.n = p.output LEFT JOIN messages m ON m.n = p.message

-- fragment: is_in
-- An entry is open; or, if a number is given, in that publication.
(CASE WHEN :at::bigint IS NULL THEN p.last IS NULL ELSE p.first <= :at::bigint AND (p.last IS NULL OR p.last > :at::bigint) END)

-- name: entries_at
-- Entries by their places.
WITH given (stage, path) AS (SELECT * FROM unnest(:stages::text[], :paths::text[]))
SELECT {entry_columns} {at_given} LEFT JOIN outputs o ON o.n = p.output LEFT JOIN messages m ON m.n = p.message
WHERE {is_in}

-- name: entries_below
-- Entries directly below results. The sum keeps the planner from an index of datasets.
{entry} WHERE p.up = ANY(:ups::bigint[]) AND p.dataset + 0 = :dataset AND {is_in}

-- name: scan_entries
-- Entries in order.
{entry} WHERE p.dataset = :dataset AND (p.stage, p.path) > (:after_stage, :after_path) AND {is_in}
AND p.stage = :stage -- if given
ORDER BY p.stage, p.path LIMIT :limit

-- name: lock_unpruned
-- Those of these outputs that are not pruned. A prune that marks one of them waits, and then finds the entry.
SELECT n FROM outputs WHERE n = ANY(:outputs::bigint[]) AND pruned_at IS NULL ORDER BY key FOR SHARE

-- name: entries_closed_by
-- Entries at these places that are open, or that a draft has closed.
WITH given (stage, path) AS (SELECT * FROM unnest(:stages::text[], :paths::text[]))
SELECT p.n, p.stage, p.path, p.up, coalesce(p.message, -p.output), p.last {at_given}
WHERE (p.last IS NULL OR p.last = :draft)

-- name: first_of_entries
-- The first publication that contains each of these entries.
SELECT n, first, execution FROM published WHERE n = ANY(:rows::bigint[]) AND last IS NULL

-- name: insert_entries
-- New entries.
INSERT INTO published (dataset, stage, path, up, message, attempt, is_first, execution, output, first)
VALUES (:dataset::bigint, :stage::text, :path::text, :up::bigint, :message::bigint, :attempt::int, :is_first::boolean,
  :execution::bigint, :output::bigint, :first::bigint)

-- name: insert_notes
-- New notes.
INSERT INTO publication_notes (dataset, publication, kind, stage, path, execution, message, detail)
VALUES (:dataset::bigint, :publication::bigint, :kind::text, :stage::text, :path::text, :execution::bigint, :message::bigint,
  :detail::text)

-- name: duplicates
-- Entries of a draft, newer than its base publication, with the number of open entries at their place. Results without
-- objects have their slots as places.
SELECT p.first, p.n, p.stage, p.path, (SELECT count(*) FROM published q WHERE q.dataset = p.dataset AND q.stage = p.stage AND q.path = p.path
  AND q.last IS NULL) FROM published p
WHERE {added_by} AND p.last IS NULL ORDER BY p.n LIMIT :limit

-- fragment: entry_of_base
-- The entry `q` is at the same place as `p` in the publication that the draft is prepared on.
q.dataset = p.dataset AND q.stage = p.stage AND q.path = p.path AND q.first <= :base AND (q.last IS NULL OR q.last > :base)

-- name: added_entries
-- Entries of a draft that its base publication does not have, each with the fingerprint of the one that it has at the same
-- place; of a result without objects, an empty one. Some were added by later publications, and opened again.
SELECT p.first, p.n, p.stage, p.path, (SELECT coalesce(oq.fingerprint, ''::bytea) FROM published q LEFT JOIN outputs oq ON oq.n = q.output
  WHERE {entry_of_base} LIMIT 1), coalesce(o.fingerprint, ''::bytea)
FROM published p LEFT JOIN outputs o ON o.n = p.output
WHERE {added_by} AND p.last IS NULL
  AND NOT EXISTS (SELECT 1 FROM published q WHERE {entry_of_base} AND q.up IS NOT DISTINCT FROM p.up
    AND coalesce(q.message, -q.output) = coalesce(p.message, -p.output))
ORDER BY p.n LIMIT :limit

-- name: first_entries
-- The same without a base publication.
SELECT p.first, p.n, p.stage, p.path, NULL, coalesce(o.fingerprint, ''::bytea) FROM published p LEFT JOIN outputs o ON o.n = p.output
WHERE {added_by} AND p.last IS NULL ORDER BY p.n LIMIT :limit

-- name: closed_entries
-- The same of entries of the base publication that are not open any more. Places with a new entry are among the added ones, too.
SELECT p.last, p.n, p.stage, p.path, coalesce(o.fingerprint, ''::bytea), (SELECT coalesce(oq.fingerprint, ''::bytea) FROM published q
  LEFT JOIN outputs oq ON oq.n = q.output WHERE q.dataset = p.dataset AND q.stage = p.stage AND q.path = p.path AND q.last IS NULL LIMIT 1)
FROM published p LEFT JOIN outputs o ON o.n = p.output
WHERE p.dataset = :dataset AND p.last = :number AND p.n > :after AND p.first <= :base ORDER BY p.n LIMIT :limit

-- fragment: counted
-- Some entries by what made their results: entries, the last one, results, and bytes of objects. Inputs have no lane.
SELECT m.lane, m.stage, m.code, count(*), max(p.n), count(m.n), coalesce(sum(o.size), 0)::bigint
FROM p LEFT JOIN outputs o ON o.n = p.output LEFT JOIN messages m ON m.n = p.message AND p.is_first
GROUP BY m.lane, m.stage, m.code

-- name: count_added
-- Entries of a draft that are newer than its base publication.
WITH p AS MATERIALIZED (SELECT p.n, p.message, p.output, p.is_first FROM published p
  WHERE {added_by} AND p.last IS NULL ORDER BY p.n LIMIT :limit)
{counted}

-- name: count_closed
-- Entries of the base publication that were closed since. If one was opened again, a copy of it is newer.
WITH p AS MATERIALIZED (SELECT n, message, output, is_first FROM published
  WHERE dataset = :dataset AND last = :number AND n > :after AND first <= :base ORDER BY n LIMIT :limit)
{counted}

-- name: base_made
-- What made the results of a publication, and the bytes of its objects.
SELECT made, bytes FROM publications WHERE dataset = :dataset AND n = :n

-- name: made_of
-- What made the results of publications, as it was counted.
SELECT n, made FROM publications WHERE dataset = :dataset AND n = ANY(:numbers::bigint[])

-- name: finish_draft
-- The content of a draft is complete.
UPDATE publications SET state = 'staging', counts = :counts, units = :units, digest = :digest, made = :made, bytes = :bytes,
  resolved_at = playhead_now()
WHERE dataset = :dataset AND n = :n AND epoch = :epoch AND state = 'resolving'

-- name: decision_row
-- What a decision compares.
SELECT state, expected_seq FROM publications WHERE dataset = :dataset AND n = :n

-- name: insert_switch
-- A switch.
INSERT INTO switches (dataset, seq, n, kind, reason, at) VALUES (:dataset, :seq, :n, :kind, :reason, playhead_now())

-- fragment: runs_from_now_on
-- At the end of a hold, runs that exist wait for a person.
automatic_after = CASE WHEN held THEN (SELECT max(e.n) FROM executions e) ELSE automatic_after END

-- name: set_current
-- The newest switch names a publication.
UPDATE datasets SET seq = :seq, current = :n, held = :held, {runs_from_now_on},
  decided = CASE WHEN decided < :n THEN :n ELSE decided END, draft = CASE WHEN draft = :n THEN NULL ELSE draft END
WHERE n = :dataset

-- name: set_published
-- A draft is decided.
UPDATE publications SET state = 'published', published_at = playhead_now(), owner = NULL WHERE dataset = :dataset AND n = :n

-- name: abandon_draft
-- A draft will never be current. The epoch fences its holder.
UPDATE publications SET state = 'abandoned', epoch = epoch + 1, owner = NULL, refusal_code = :code, refusal = :detail
WHERE dataset = :dataset AND n = :n AND {open_draft}

-- name: clear_draft
-- The dataset has no draft.
UPDATE datasets SET draft = NULL WHERE n = :dataset AND draft = :n

-- name: end_publication_execution
-- A publication that was decided or abandoned runs no more.
UPDATE executions SET status = :status, settled = true, counts = '[]', ended_at = playhead_now(), revision = revision + 1
WHERE n = (SELECT execution FROM publications WHERE dataset = :dataset AND n = :n)

-- -- afterwards -----------------------------------------------------------------------------------

-- name: before_current
-- The publications that were current, newest first.
SELECT n FROM switches WHERE dataset = :dataset ORDER BY seq DESC LIMIT :limit

-- name: release_dataset
-- Automatic publication goes on.
UPDATE datasets SET held = false, {runs_from_now_on} WHERE n = :dataset

-- name: pin_publication
-- Keep a publication, or no longer.
UPDATE publications SET pinned = :pinned WHERE dataset = :dataset AND n = :n AND state = 'published'
  AND pinned IS DISTINCT FROM :pinned

-- name: droppable
-- Publications that are neither current nor pinned, nor the source of an open replay or of a part of a draft, newest first.
SELECT p.n FROM publications p JOIN datasets d ON d.n = p.dataset JOIN executions e ON e.n = p.execution
WHERE p.dataset = :dataset AND p.state = 'published' AND NOT p.pinned AND p.n <> d.current
  AND NOT EXISTS (SELECT 1 FROM jobs j JOIN executions r ON r.n = j.execution WHERE j.source = e.id AND NOT r.settled)
  AND NOT {in_draft}
ORDER BY p.n DESC

-- name: newest_published
-- The newest publications, which are kept.
SELECT n FROM publications WHERE dataset = :dataset AND state = 'published' ORDER BY n DESC LIMIT :limit

-- name: executions_of_publications
-- The executions of publications.
SELECT execution FROM publications WHERE dataset = :dataset AND n = ANY(:numbers::bigint[])

-- name: publication_state
-- Whether an execution is a publication, and its state.
SELECT p.state, p.n, d.name FROM publications p JOIN datasets d ON d.n = p.dataset WHERE p.execution = :execution

-- name: drop_publications
-- Dropped for ever.
UPDATE publications SET state = 'dropped', dropped_at = playhead_now() WHERE dataset = :dataset AND n = ANY(:numbers::bigint[])

-- name: unswept
-- Dropped publications whose entries exist.
SELECT dataset, n FROM publications WHERE state = 'dropped' AND NOT swept ORDER BY dataset, n

-- name: droppable_entries
-- Closed entries that no kept publication contains, and that no draft has closed.
SELECT p.n, p.execution, p.output, p.last FROM published p WHERE p.dataset = :dataset AND p.last = :number AND p.n > :after
  AND NOT EXISTS (SELECT 1 FROM publications k WHERE k.dataset = p.dataset AND k.state = 'published'
    AND k.n >= p.first AND k.n < p.last)
ORDER BY p.n LIMIT :limit

-- name: unnamed_outputs
-- Those of these outputs that no entry names, with their keys.
SELECT o.n, o.key FROM outputs o WHERE o.n = ANY(:outputs::bigint[])
  AND NOT EXISTS (SELECT 1 FROM published p WHERE p.output = o.n)

-- name: reopen_prunings
-- Prunings of executions that have left these objects because an entry named them.
UPDATE prunings SET deleted_at = NULL, cursor = '' WHERE execution = ANY(:executions::bigint[]) AND deleted_at IS NOT NULL

-- name: swept
-- The entries of dropped publications are deleted.
UPDATE publications SET swept = true WHERE dataset = :dataset AND n = ANY(:numbers::bigint[])

-- name: numbers_with_part
-- Publications that readers have seen and that have an execution as a part, newest first.
SELECT t.n FROM publication_parts t JOIN publications p ON p.dataset = t.dataset AND p.n = t.n
WHERE t.execution = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid) AND t.dataset = :dataset
  AND p.state IN ('published', 'dropped') ORDER BY t.n DESC

-- name: entries_of_objects
-- Entries that name an object or the bytes of a reference, each with the publications that readers have seen it in.
SELECT g.key, c.name, d.name, d.current, p.first, p.last,
  (SELECT min(x.n) FROM publications x WHERE {seen_with}), (SELECT max(x.n) FROM publications x WHERE {seen_with}),
  d.n, p.stage, p.path
FROM (SELECT o.key AS key, o.n AS output FROM outputs o WHERE o.key = ANY(:keys::text[])
    UNION ALL SELECT o.key, b.n FROM outputs o JOIN outputs b ON b.key = o.location WHERE o.key = ANY(:keys::text[])) g
CROSS JOIN published p CROSS JOIN datasets d CROSS JOIN configs c
WHERE p.output = g.output AND d.n = p.dataset AND c.n = d.config ORDER BY c.name, d.name, p.first

-- name: based_on
-- A publication and those that it is based on, newest first, down to a number. It ends at one whose inputs
-- a run defines: it replaces all earlier results.
WITH RECURSIVE chain (n, base, is_new) AS (
  SELECT p.n, p.base, EXISTS (SELECT 1 FROM publication_parts t WHERE t.dataset = p.dataset AND t.n = p.n AND t.role = 'base')
  FROM publications p WHERE p.dataset = :dataset AND p.n = :n
  UNION ALL
  SELECT p.n, p.base, EXISTS (SELECT 1 FROM publication_parts t WHERE t.dataset = p.dataset AND t.n = p.n AND t.role = 'base')
  FROM chain k JOIN publications p ON p.dataset = :dataset AND p.n = k.base WHERE NOT k.is_new AND k.n > :least)
SELECT n, is_new FROM chain ORDER BY n DESC

-- name: newest_refused
-- The newest publications of datasets, if they were refused.
{publication} WHERE p.n = d.newest AND p.state = 'abandoned' AND p.refusal_code IS NOT NULL ORDER BY c.name, d.name
